/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * pool.h - pages that are there when they were promised
 *
 * The pool owns every page that a heap can map. It holds blocks of 2 MiB of
 * physical memory, cut up by a buddy of our own (buddy.h), with per-CPU page
 * lists in front. Two numbers rule it: the floor, held from load to unload,
 * and the ceiling, which it may grow to.
 *
 * A promise (pw_pool_reserve()) is a claim on a page that the pool holds
 * already, so a page taken against a promise is always there. The pool keeps
 * one number for that, avail = free pages - promised pages - pages held beyond the
 * ceiling. It falls below zero when the ceiling is set below what is in use or
 * promised, and when pages are lost (someone else holds a page that a heap gives
 * back) and neither the pool nor the kernel has others. Until use is down and
 * that debt is paid nothing is promised. What is lost stays the pool's, and comes
 * back when nobody holds it any more.
 *
 * A page of a heap is known by its page frame number, below PW_PFN_END (15 TiB
 * of physical memory); 0 means none. Pages leave the pool with a reference count
 * of one, no flags set and page_private() zero.
 *
 * Pages of 2 MiB are compound pages, and known by the number of their head.
 *
 * May sleep: everything here, unless it says otherwise. Callers hold no
 * spinlock. None of these take the mmap_lock or a lock of a heap.
 */
#ifndef PAGEWELL_POOL_H
#define PAGEWELL_POOL_H

#include <linux/types.h>

#define PW_PFN_END		0xf0000000U

/* Flags of pw_pool_alloc() and pw_pool_alloc_huge() */
#define PW_ALLOC_PROMISED	0x1	/* against promises the caller holds */
#define PW_ALLOC_ZERO		0x2	/* pages read as zero */

/* Flags of pw_pool_free() and pw_pool_free_huge() */
#define PW_FREE_PROMISED	0x1	/* the caller's promise comes back with it */

/**
 * struct pw_pool_stat - a snapshot of the pool, all in 4 KiB pages
 * @floor: held from load to unload
 * @max: ceiling
 * @held: pages the pool owns now
 * @free: of these, not in any heap (buddy, per-CPU lists, being zeroed)
 * @clear: of the free ones, known to be zero
 * @pcp: of the free ones, on per-CPU lists
 * @zeroing: of the free ones, being zeroed ahead
 * @idle: of the free ones, in blocks without a page in use
 * @avail: free and not promised
 * @debt: promised and not free: pages lost while no other could be had
 * @lost: of @held, neither free nor in a heap: someone else still holds them
 */
struct pw_pool_stat {
	unsigned long floor, max, held, free, clear, pcp, zeroing, idle;
	unsigned long avail, debt, lost;
};

#define PW_STAT_ORDERS	10	/* 4 KiB to 2 MiB */

/**
 * struct pw_buddy_stat - a snapshot of the buddy
 * @bookkeeping: bytes that the pool needs to know what it has
 * @nr_free: free runs of 2^order pages, [order][0] dirty, [order][1] clear;
 *           pages on per-CPU lists and being zeroed are not in here
 */
struct pw_buddy_stat {
	unsigned long bookkeeping;
	unsigned long nr_free[PW_STAT_ORDERS][2];
};

int pw_pool_init(unsigned long floor, unsigned long max);
void pw_pool_exit(void);
int pw_pool_reserve(unsigned long nr);
int pw_pool_reserve_over(unsigned long nr);
void pw_pool_unreserve(unsigned long nr);
unsigned int pw_pool_alloc(u32 *pfns, unsigned int nr, unsigned int flags);
void pw_pool_free(const u32 *pfns, unsigned int nr, unsigned int flags);
void pw_pool_free_one(u32 pfn, unsigned int flags);
u32 pw_pool_alloc_huge(unsigned int flags);
u32 pw_pool_swap_huge(unsigned int promised);
void pw_pool_free_huge(u32 pfn, unsigned int flags);
void pw_pool_split_huge(u32 pfn);
int pw_pool_set_max(unsigned long max);
unsigned long pw_pool_held(void);
unsigned long pw_pool_avail(void);
unsigned long pw_pool_lack(unsigned long nr);
unsigned long pw_pool_max(void);
bool pw_pool_is_overdrawn(void);
bool pw_pool_has_clear(unsigned long nr);
void pw_pool_get_stat(struct pw_pool_stat *st);
void pw_pool_buddy_stat(struct pw_buddy_stat *st);
const char *pw_pool_check(void);

#endif /* PAGEWELL_POOL_H */
