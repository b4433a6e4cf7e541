/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * guarded.h - hardened mode's large blocks, each before a page that faults
 */
#ifndef PW_GUARDED_H
#define PW_GUARDED_H

#include "arena.h"

/* Of mappings that are kept. Taken below those of arenas, above the one of os.c. */
extern struct lock pw_guarded_lock;

/**
 * guarded_alloc() - a block with a guard behind it
 * @size: bytes, at most PTRDIFF_MAX
 * @align: a power of two
 * @zeroed: set to whether it reads as zero
 *
 * Return: the block, or NULL without memory, or if there are too many.
 */
void *guarded_alloc(size_t size, size_t align, bool *zeroed);

/* What was asked for; an error of @call if something was written behind it, or in front. */
size_t guarded_size(const struct span *s, const char *call);

/* How many bytes there are up to the guard. */
static inline size_t guarded_room(const struct span *s)
{
	return s->size - s->offset;
}

/* From now on the block, which is in order, has @size bytes, if there is room. */
bool guarded_resize(struct span *s, size_t size);

/*
 * The block, which is in order, where it has room for @room bytes, @size of them used,
 * moved or not; or NULL: copy it.
 */
void *guarded_grow(struct span *s, size_t size, size_t room);

/* The look of guarded_size(), and the block is free. */
void guarded_free(struct span *s, const char *call);

/**
 * guarded_drop() - unmap what is kept for later
 *
 * Takes &pw_guarded_lock.
 *
 * Return: whether there was anything.
 */
bool guarded_drop(void);

/* The same with what was kept for a second. */
void guarded_drop_old(void);

#endif /* PW_GUARDED_H */
