/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * fastbin.h - lists that threads gave back, for the next thread
 */
#ifndef PW_FASTBIN_H
#define PW_FASTBIN_H

#include "arena.h"

/**
 * struct fastbin - lists of one class that threads gave back
 * @lock: a leaf
 * @lists: last in, first out
 * @nr_blocks: blocks in them
 */
struct fastbin {
	struct lock lock;
	uint32_t nr_blocks;
	uintptr_t lists;
};

extern struct fastbin pw_fastbins[NR_CLASSES];

/* Bytes in all fast bins and the depot; approximate. Beyond the limit they are sorted back. */
extern size_t pw_fastbin_bytes;
extern size_t pw_fastbin_limit;

/*
 * So many bytes more are in fast bins, or in hardened mode's depot. While the bin is locked:
 * a thread that a fork() leaves behind has done both or neither.
 */
static inline void fastbins_count(ptrdiff_t bytes)
{
	if (single_threaded())
		pw_fastbin_bytes += (size_t)bytes;
	else
		__atomic_fetch_add(&pw_fastbin_bytes, (size_t)bytes, __ATOMIC_RELAXED);
}

#define FASTBIN_LIMIT		(512 * KIB)
#define FASTBIN_LIMIT_MAX	(32 * MIB)

/* Blocks of this size and more never enter a fast bin. */
#define FASTBIN_BLOCK_MAX	(32 * KIB)

/*
 * A list is filed by a word that holds its first block's address and how many
 * blocks it has. The word that leads to the next list is kept in the block.
 */
static inline uintptr_t list_word(struct block *first, unsigned int blocks)
{
	return (uintptr_t)first | (uintptr_t)blocks << 48;
}

static inline struct block *list_first(uintptr_t word)
{
	return (struct block *)(word & ((1UL << 48) - 1));
}

static inline unsigned int list_blocks(uintptr_t word)
{
	return (unsigned int)(word >> 48);
}

/* Blocks of 16 bytes have no room for it beside the key, and go without one. */
static inline uintptr_t *list_next(struct block *first, unsigned int c)
{
	return (uintptr_t *)first + (c == 1 ? 1 : 2);
}

/**
 * fastbin_push() - give a list to whoever needs it next
 * @c: class of the blocks
 * @first: leads to the others
 * @blocks: how many they are
 *
 * Takes the bin's lock. Where the bins hold too much by it, everything is sorted back,
 * what the calling thread has cached, too: no lock held.
 */
void fastbin_push(unsigned int c, struct block *first, unsigned int blocks);

/* Takes the bin's lock; the word of a list, or 0. */
uintptr_t fastbin_pop_list(unsigned int c);

/* The same, without the lock if there is nothing to be seen. */
static inline uintptr_t fastbin_pop(unsigned int c)
{
	return READ_ONCE(pw_fastbins[c].lists) ? fastbin_pop_list(c) : 0;
}

/* Is @b in one of the lists? */
bool fastbin_has(unsigned int c, struct block *b);

/* Sorts all fast bins and the depot back. No lock held. */
void fastbins_sort_back(void);

#endif /* PW_FASTBIN_H */
