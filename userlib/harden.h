/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * harden.h - slow mode: hardened, or perturbed
 *
 * Slow mode keeps nothing in tcaches. With mallopt(M_PERTURB) every block goes
 * straight to its span, full of the byte that was asked for.
 *
 * Hardened (PAGEWELL_HARDEN=1), a thread keeps free blocks in arrays apart from
 * the heap, and what is too much in the depot; nothing inside a free block is ever
 * believed.
 * - A table apart from the heap says which blocks the program has: frees of what
 *   it has not, twice or never its own, are noticed for certain and at once (of
 *   two threads that free a block in the same moment, when it is taken again).
 * - A free block is full of junk, and is looked at before it is used again.
 * - It is not used again for some time, and then at random. (Large ones are, but cannot
 *   be accessed until then.)
 * - Right behind the bytes that were asked for is a canary, looked at by free().
 * - Blocks that are mapped by themselves end at a page that faults, or less than their
 *   alignment before it, with a canary in between, and up to an alignment of 16 KiB
 *   another one in front.
 * - What is freed with its size is freed with the one that was asked for.
 */
#ifndef PW_HARDEN_H
#define PW_HARDEN_H

#include "arena.h"

struct hard;
struct thread;

/* Does what M_PERTURB asks of a new block; false if that is nothing. */
bool perturb_fill(void *p, size_t size);

/* A block came back that is not in a hardened span: an error if it cannot have. */
void slow_freed(struct span *s, void *p, const char *call);

bool slow_is_free(struct span *s, void *p);

/*
 * Hardened: a block of a class, with @room bytes to grow into; NULL without
 * memory, or if no class is right.
 */
void *harden_take(size_t size, size_t room, size_t align);

/* malloc() of 1 to pw_tune.hard_most bytes; pw_malloc_hard() goes on. */
#define HARDEN_MAX	(CLASS_MAX - sizeof(uint64_t))
void *harden_malloc(size_t size);

/* The same of 1 to pw_tune.hard_small bytes. */
#define HARDEN_SMALL_MAX	(SMALL_MAX - sizeof(uint64_t))
void *harden_small(size_t size);

/* The same, aligned; NULL if it takes a longer way. */
void *harden_aligned(size_t align, size_t size);

/* free() of an address that is less than pw_hard_limit from the base; pw_free_hard() goes on. */
void harden_free(void *p, size_t distance);

/* In malloc.c: all that is not as most of it. */
void *pw_malloc_hard(size_t size);
void pw_free_hard(void *p);

/* Hardened: from now on @p, which is in order, has @size bytes, if there is room. */
bool harden_resize(struct span *s, void *p, size_t size);

/*
 * realloc() of an address that is less than pw_hard_limit from the base, where the block is
 * in order, has room and is not half empty then; or nothing was done, and it is to be looked
 * at.
 */
bool harden_fit(void *p, size_t distance, size_t size);

/* Does the program have a block of a hardened span there? */
bool harden_has(const void *p);

/* Hardened: a block came back; false if the program has none of a hardened span there. */
bool harden_give(void *p, const char *call);

/* A canary behind @size bytes, as much of it as @room has. */
void harden_seal(void *p, size_t size, size_t room);

/* Is it there? */
bool harden_is_sealed(const void *p, size_t size, size_t room);

/* Bytes that were asked for; an error of @call if the program has no such block. */
size_t harden_size(struct span *s, void *p, const char *call);

/* The heap has its place: before the first block, and before a pointer is looked at. */
void harden_start(void);

/* A thread's caches, before anything else of its own; false without memory. */
bool harden_attach(struct thread *t);

/* Bytes of the free blocks that a thread keeps; approximate. */
size_t harden_bytes(const struct hard *hard);

/* What a thread keeps goes to the depot, and what is large back to spans. */
void harden_drain(struct thread *t);

/* The same when it ends; what the depot has too much of goes back to spans, too. */
void harden_leave(struct thread *t);

#endif /* PW_HARDEN_H */
