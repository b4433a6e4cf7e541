/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * pool_int.h - shared by the files of the pool
 *
 * pool.c	promises, pages out and in: the interface of pool.h
 * node.c	from which node of memory
 * huge.c	pages of 2 MiB: blocks as one compound page
 * pcp.c	per-CPU page lists in front of the buddy
 * supply.c	blocks from the kernel and back: growth, decay, shrinker
 * zero.c	zeroing ahead
 * evacuate.c	blocks whose pages are to be moved elsewhere
 * lost.c	pages that somebody else still refers to
 *
 * A free page is in one of three places: the buddy, a per-CPU list, or the
 * hand of a zeroing thread. It changes place under the lock of both, so at
 * no moment is it nowhere: whoever has a promise finds a page by emptying the
 * lists and the hands into the buddy (pw_pcp_rescue()).
 *
 * What is not promised is kept in the same way, by number: most of it in avail,
 * a little as credit of each CPU. Nobody is refused before the credits have been
 * collected into avail and are kept out of the CPUs (pw_pcp_close()). What the pool
 * holds beyond its ceiling is taken out of avail, which may so fall below zero: then
 * more is in use or promised than the ceiling, and nobody is promised anything. Until
 * it is not below zero any more no CPU has credit (pw_avail_heed()).
 *
 * A page of 2 MiB that was not promised is looked for with 512 pages out of avail, and
 * they go back where there is none. That is a try, and holds pw_pool.trials for reading:
 * nobody else is refused before he has asked with that held for writing.
 *
 * Lock order:
 *
 *	pw_pool.trials
 *	pw_pool.size_lock
 *	  look_lock (lost.c)
 *	  pw_pcp.lock (one at a time), pw_hand.lock
 *	    pw_pool.lock
 *
 * The shrinker runs inside anyone's allocation, ours under size_lock too, so
 * it only tries size_lock. Nothing is allocated under a spinlock.
 */
#ifndef PAGEWELL_POOL_INT_H
#define PAGEWELL_POOL_INT_H

#include <linux/atomic.h>
#include <linux/bitops.h>
#include <linux/lockdep.h>
#include <linux/mm.h>
#include <linux/jump_label.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/preempt.h>
#include <linux/rwsem.h>
#include <linux/spinlock.h>
#include <linux/xarray.h>

#include "buddy.h"
#include "pool.h"
#include "stats.h"

#define PW_PCP_BATCH	32
#define PW_PCP_MAX	256
#define PW_PCP_HUGE	4

/*
 * With one of these a page is somebody's, whatever its reference count says;
 * the kernel would call such a page bad when it is freed.
 */
#define PW_FLAGS_HELD	(PAGE_FLAGS_CHECK_AT_FREE | __PG_HWPOISON)

/**
 * struct pw_pcp_lock - a lock that is hardly ever contended
 * @bit: bit 0 is set while it is held
 *
 * Half the instructions of a spinlock_t. Preemption is off while it is held.
 */
struct pw_pcp_lock {
	unsigned long bit;
#ifdef CONFIG_DEBUG_LOCK_ALLOC
	struct lockdep_map dep_map;
#endif
};

/**
 * struct pw_pcp - pages at hand on one CPU, the hottest on top
 * @lock: taken by its own CPU all the time, by others to empty it
 * @limit: what each list may grow to now: @high, or none while others want
 *	   everything to be in the buddy and in avail
 * @credit: pages taken out of avail that nobody has been given
 * @credit_limit: what that may grow to now: @limit, or none while avail is below zero
 * @nr: pages on each list
 * @nr_huge: pages of 2 MiB on each list of those
 * @high: a list that would grow past this is drained; follows demand
 * @closed: how many want both limits to be 0
 * @node: the CPU's own, see pw_node_of(): pages of others do not get on a list
 * @turn: the node that interleaving took last
 * @used: was touched since the last tick of decay
 * @huge: the lists of pages of 2 MiB
 * @pfn: the lists
 */
struct pw_pcp {
	struct pw_pcp_lock lock;	/* see above */
	u32 limit;
	u32 credit;
	u32 credit_limit;
	u32 nr[PW_KINDS];
	u32 nr_huge[PW_KINDS];
	u32 high;
	u32 closed;
	int node;
	int turn;
	bool used;
	u32 huge[PW_KINDS][PW_PCP_HUGE];
	u32 pfn[PW_KINDS][PW_PCP_MAX];
} ____cacheline_aligned_in_smp;

/**
 * struct pw_hand - the run of pages that is being zeroed, of one node of memory
 * @lock: held while one page is zeroed, so for about a microsecond
 * @blk: their block; NULL when the hand is empty. Written under pw_pool.lock, too,
 *	 as @order is
 * @index: first page of the run in its block
 * @order: how long the run is
 * @done: pages zeroed, from the first on
 */
struct pw_hand {
	spinlock_t lock;	/* see above */
	struct pw_block *blk;
	unsigned int index;
	unsigned int order;
	unsigned int done;
};

/**
 * struct pw_pool - the one pool
 * @floor: pages held from load to unload
 * @max: ceiling in pages; written under @size_lock
 * @low: avail below this is worth telling when the pool cannot grow
 * @shut: no CPU has credit as avail is below zero; written under @size_lock
 * @pcp: per-CPU lists
 * @scarce: somebody is looking for the last pages: nothing may leave the buddy
 *          for a hand. Read under its lock.
 * @blocks: struct pw_block by pfn / PW_BLOCK_PAGES
 * @trials: held for reading by who takes pages out of avail and may give them back, for
 *	   writing by who is not refused on account of those
 * @size_lock: whoever takes blocks from the kernel or gives them back
 * @hand: of the zeroing threads, by node
 * @over: pages held beyond the ceiling when this was last settled; written under
 *	  @size_lock
 * @avail: free pages - promised pages - credit of all CPUs - @over
 * @lock: protects @buddy, @lost and @moving; innermost
 * @buddy: pages neither in a heap nor on a list nor in a hand
 * @lost: pages in no heap that someone else refers to; in use for @buddy
 * @moving: pages that compaction has taken to move others to; free all the same
 */
struct pw_pool {
	unsigned long floor;
	unsigned long max;
	unsigned long low;
	bool shut;
	struct pw_pcp __percpu *pcp;
	atomic_t scarce;
	struct xarray blocks;

	struct rw_semaphore trials;	/* see above */

	struct mutex size_lock ____cacheline_aligned_in_smp;	/* see above */
	struct pw_hand *hand;
	unsigned long over;

	atomic_long_t avail ____cacheline_aligned_in_smp;

	spinlock_t lock ____cacheline_aligned_in_smp;
	struct pw_buddy buddy;
	unsigned long lost;
	unsigned long moving;
};

extern struct pw_pool pw_pool;

/* All free pages that are in the buddy. Racy unless pw_pool.lock is held. */
static inline unsigned long pw_buddy_nr_free(const struct pw_buddy *b)
{
	return READ_ONCE(b->nr_free[PW_DIRTY]) + READ_ONCE(b->nr_free[PW_CLEAR]);
}

/* Pages that are promised and not there. */
static inline unsigned long pw_debt(void)
{
	long left = atomic_long_read(&pw_pool.avail) + READ_ONCE(pw_pool.over);

	return left < 0 ? -left : 0;
}

/* These two for somebody who has preemption off, for as long as it is held. */
static __always_inline void pw_pcp_acquire(struct pw_pcp *pcp)
{
#ifdef CONFIG_DEBUG_LOCK_ALLOC
	spin_acquire(&pcp->lock.dep_map, 0, 0, _THIS_IP_);
#endif
	while (unlikely(test_and_set_bit_lock(0, &pcp->lock.bit)))
		cpu_relax();
}

static __always_inline void pw_pcp_put_here(struct pw_pcp *pcp)
{
#ifdef CONFIG_DEBUG_LOCK_ALLOC
	spin_release(&pcp->lock.dep_map, _THIS_IP_);
#endif
	smp_store_release(&pcp->lock.bit, 0);
}

static inline void pw_pcp_lock(struct pw_pcp *pcp)
{
	preempt_disable();
	pw_pcp_acquire(pcp);
}

static __always_inline void pw_pcp_unlock(struct pw_pcp *pcp)
{
	pw_pcp_put_here(pcp);
	preempt_enable();
}

/* The lists of this CPU, locked, for somebody who has preemption off. */
static __always_inline struct pw_pcp *pw_pcp_get_here(void)
{
	struct pw_pcp *pcp = this_cpu_ptr(pw_pool.pcp);

	pw_pcp_acquire(pcp);
	return pcp;
}

/* The lists of some CPU, of this one if the task does not move: locked. */
static __always_inline struct pw_pcp *pw_pcp_get(void)
{
	preempt_disable();
	return pw_pcp_get_here();
}

static inline struct pw_block *pw_pool_block(u32 pfn)
{
	return xa_load(&pw_pool.blocks, pfn / PW_BLOCK_PAGES);
}

/* pool.c */
bool pw_avail_take(unsigned long nr);
bool pw_avail_try(unsigned long nr);
unsigned int pw_avail_take_some(unsigned int nr);
void pw_avail_heed(void);
void pw_avail_open(void);
void pw_buddy_put(const u32 *pfns, unsigned int nr, enum pw_kind kind);
void pw_pay_debt(void);

/* Something has come to avail: it may not be below zero any more. Does not sleep. */
static __always_inline void pw_avail_came(void)
{
	if (unlikely(READ_ONCE(pw_pool.shut)))
		pw_avail_open();
}

/* node.c */
DECLARE_STATIC_KEY_FALSE(pw_nodes_key);
#define pw_nodes()		static_branch_unlikely(&pw_nodes_key)
int pw_node_of(unsigned int cpu);
int pw_node_wanted(int local);
bool pw_node_may(int node, bool bound);
void pw_node_init(void);

/* huge.c */
bool pw_block_freeze(struct pw_block *blk);
void pw_block_unlink(struct pw_block *blk);
bool pw_block_join(struct pw_block *blk);
void pw_block_cut(struct pw_block *blk);

/* pcp.c */
int pw_pcp_init(void);
void pw_pcp_exit(void);
unsigned int pw_pcp_alloc(u32 *pfns, unsigned int nr, enum pw_kind kind,
			  unsigned int *liked);
void pw_pcp_free(const u32 *pfns, unsigned int nr, enum pw_kind kind);
u32 pw_pcp_alloc_huge(enum pw_kind *kind);
void pw_pcp_free_huge(u32 pfn, enum pw_kind kind);
bool pw_pcp_credit_take(unsigned long nr);
void pw_pcp_credit_give(unsigned long nr);
void pw_pcp_close(void);
void pw_pcp_open(void);
void pw_pcp_heed(void);
unsigned int pw_pcp_rescue(u32 *pfns, unsigned int nr);
void pw_pcp_drain_all(void);
void pw_pcp_drain_idle(void);
const char *pw_pcp_check(void);
unsigned long pw_pcp_count(unsigned long *clear, unsigned long *credit);

/* supply.c */
int pw_supply_init(void);
void pw_supply_exit(void);
unsigned long pw_supply_room(void);
unsigned long pw_supply_available(void);
bool pw_supply_can_spare(unsigned long nr);
unsigned long pw_supply_grow(unsigned long nr, bool must);
bool pw_supply_grow_block(void);
bool pw_supply_grow_node(int node);
unsigned long pw_supply_give_back(unsigned long nr);
void pw_supply_settle(unsigned long nr);
void pw_supply_fit(void);
void pw_supply_tick(void);
void pw_supply_free_block(struct pw_block *blk);

/* lost.c */
void pw_page_lose(u32 pfn);
unsigned long pw_lost_look(void);
unsigned long pw_lost_look_long(void);
unsigned long pw_lost_look_for(unsigned long lack);
void pw_lost_exit(void);

/* zero.c */
DECLARE_STATIC_KEY_FALSE(pw_zero_on_free_key);
#define pw_zero_on_free()	static_branch_unlikely(&pw_zero_on_free_key)
void pw_zero_pages(const u32 *pfns, unsigned int nr);
int pw_zero_init_hands(void);
int pw_zero_init(void);
void pw_zero_exit(void);
void pw_zero_kick(void);
void pw_zero_drop(void);
unsigned long pw_zero_count(unsigned long *clear);

#endif /* PAGEWELL_POOL_INT_H */
