/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * tcache.h - the thread's own bins
 *
 * The hit paths are inline: no lock, no atomic operation, no call. All zeroes
 * is a valid tcache that misses, so nothing asks whether it was set up.
 */
#ifndef PW_TCACHE_H
#define PW_TCACHE_H

#include "arena.h"
#include "class.h"
#include "heap.h"

/**
 * struct bin - a list of free blocks of one class
 * @head: the first
 * @room: how many more may be added until it is full
 */
struct bin {
	struct block *head;
	int32_t room;
	uint32_t pad;
};

_Static_assert(sizeof(struct bin) == OFF_STEP, "a class's offset is its bin's");

/**
 * struct stack - a thread's full lists of one class
 * @lists: last in, first out; filed as in the fast bins
 * @nr: how many
 * @budget: how many there may be
 * @flushed: how many had to go to the fast bins since the last refill
 */
struct stack {
	uintptr_t lists;
	uint16_t nr;
	uint16_t budget;
	uint32_t flushed;
};

struct tcache;

/**
 * struct thread - what a thread needs on the slow paths
 * @full: full lists
 * @used: classes that ever had a list here
 * @bytes: in @full
 * @arena: where it allocates
 * @tcache: its bins
 * @next: in the list of all threads, or of unused ones
 * @prev: in the list of all threads
 */
struct thread {
	struct stack full[NR_CLASSES];
	uint64_t used[(NR_CLASSES + 63) / 64];
	size_t bytes;
	struct arena *arena;
	struct tcache *tcache;
	struct thread *next;
	struct thread *prev;
};

/**
 * struct tcache - the thread-local part
 * @bins: by class; bin 0 is no class: it has no blocks and never room
 * @thread: NULL before the first miss
 * @gone: the thread is exiting and keeps no caches any more
 */
struct tcache {
	struct bin bins[NR_CLASSES];
	struct thread *thread;
	bool gone;
};

extern __thread struct tcache pw_tcache __attribute__((tls_model("initial-exec")));

extern struct lock pw_threads_lock;
extern struct thread *pw_threads;
extern uint32_t pw_nr_threads;

static inline struct bin *bin_at(size_t off)
{
	return (struct bin *)((char *)pw_tcache.bins + off);
}

/* A block of the class, or NULL. */
static inline struct block *tcache_pop(size_t off)
{
	struct bin *bin = bin_at(off);
	struct block *b = bin->head;

	if (unlikely(!b))
		return NULL;
	bin->head = b->next;
	bin->room++;
	b->key = 0;
	return b;
}

/* Blocks from the thread's full lists or the fast bins; NULL if there are none. */
struct block *tcache_refill(size_t off);

/* A block from an arena, and the tcache's bin filled. */
struct block *tcache_refill_arena(size_t off, bool *fresh);

/* Files the full list of a bin and starts a new one with @b. */
void tcache_spill(struct block *b, size_t off);

/* Sorts everything the calling thread has cached back into spans. */
void tcache_drain(void);

/* The calling thread's arena. */
struct arena **tcache_arena(void);

/* Is @b in one of the calling thread's lists? */
bool tcache_has(struct block *b, size_t off);

/* Bytes that all threads have cached; approximate. */
size_t tcaches_bytes(void);

/* In the child of a fork(): only the calling thread is left. */
void tcache_fork_child(void);

#endif /* PW_TCACHE_H */
