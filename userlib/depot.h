/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * depot.h - hardened mode's fast bins: free blocks that threads have too many of
 *
 * They travel in magazines, arrays apart from the heap, which are handed over
 * whole. Their bytes count as those of the fast bins, and they are sorted back
 * with these.
 */
#ifndef PW_DEPOT_H
#define PW_DEPOT_H

#include "fastbin.h"

#define MAGAZINE_BLOCKS	30

/**
 * struct magazine - free blocks of a class
 * @next: the next one of the depot
 * @nr: how many
 * @blocks: them
 */
struct magazine {
	struct magazine *next;
	size_t nr;
	void *blocks[MAGAZINE_BLOCKS];
};

/**
 * struct depot - the magazines of a class
 * @lock: a leaf
 * @full: last in, first out; none of them is empty
 * @empty: one that is, or NULL: from who takes full ones to who brings them
 *
 * Threads that use others do not share its line.
 */
struct depot {
	struct lock lock;
	struct magazine *full;
	struct magazine *empty;
} __attribute__((aligned(64)));

extern struct depot pw_depots[NR_CLASSES];
extern struct lock pw_magazines_lock;

/* A magazine that the caller fills, or NULL without memory. */
struct magazine *magazine_get(void);
void magazine_put(struct magazine *m);

/* An empty one for the next time, or NULL. */
struct magazine *depot_push(unsigned int c, struct magazine *m);

/*
 * The magazine that came last, or NULL. An empty one at @spare may be left there, and is
 * NULL then.
 */
struct magazine *depot_pop(unsigned int c, struct magazine **spare);

/* How many blocks all of them hold. */
size_t depot_blocks(void);

/* Does the depot hold more than it may? Then arenas_collect() is due. */
static inline bool depot_is_full(void)
{
	return READ_ONCE(pw_fastbin_bytes) > READ_ONCE(pw_fastbin_limit);
}

/*
 * Sorts @n blocks back into their spans. They keep their junk: no list is made
 * of them. True: arenas_return() is due.
 */
bool blocks_sort_back(void **blocks, size_t n);

/* Sorts all of the depot back. No lock held. */
void depot_sort_back(void);

#endif /* PW_DEPOT_H */
