// SPDX-License-Identifier: GPL-2.0-only
/*
 * pcp.c - per-CPU page lists in front of the buddy
 *
 * A list is an array of page numbers, hot end on top, so taking and giving
 * pages touches neither struct page nor a cache line of another CPU. Longer
 * requests and what a list cannot hold go to the buddy directly.
 */
#include <linux/cpuhotplug.h>
#include <linux/string.h>

#include "pool_int.h"

static int hotplug_state;

static unsigned int list_pop(struct pw_pcp *pcp, u32 *pfns, unsigned int nr,
			     enum pw_kind kind)
{
	nr = min(nr, pcp->nr[kind]);
	pcp->nr[kind] -= nr;
	memcpy(pfns, &pcp->pfn[kind][pcp->nr[kind]], nr * sizeof(*pfns));
	return nr;
}

static void list_push(struct pw_pcp *pcp, const u32 *pfns, unsigned int nr,
		      enum pw_kind kind)
{
	memcpy(&pcp->pfn[kind][pcp->nr[kind]], pfns, nr * sizeof(*pfns));
	pcp->nr[kind] += nr;
}

/* Give the @nr pages at the cold end to the buddy. */
static void list_drain(struct pw_pcp *pcp, unsigned int nr, enum pw_kind kind)
{
	u32 *list = pcp->pfn[kind];

	lockdep_assert_held(&pcp->lock);
	if (!nr)
		return;
	spin_lock(&pw_pool.lock);
	pw_buddy_put(list, nr, kind);
	spin_unlock(&pw_pool.lock);
	pcp->nr[kind] -= nr;
	memmove(list, list + nr, pcp->nr[kind] * sizeof(*list));
}

/* The list is empty: take pages from the buddy, some more for the list. */
static unsigned int refill(struct pw_pcp *pcp, u32 *pfns, unsigned int nr,
			   enum pw_kind kind)
{
	unsigned int got;

	spin_lock(&pw_pool.lock);
	got = pw_buddy_alloc_bulk(&pw_pool.buddy, pfns, nr, kind);
	if (got == nr && !atomic_read(&pw_pool.scarce))
		pcp->nr[kind] = pw_buddy_alloc_bulk(&pw_pool.buddy, pcp->pfn[kind],
						    PW_PCP_BATCH, kind);
	spin_unlock(&pw_pool.lock);
	pcp->high = min(pcp->high + PW_PCP_BATCH, (unsigned int)PW_PCP_MAX);
	return got;
}

static unsigned int take(struct pw_pcp *pcp, u32 *pfns, unsigned int nr,
			 enum pw_kind kind, bool *refilled)
{
	unsigned int got = list_pop(pcp, pfns, nr, kind);

	if (got < nr) {
		got += refill(pcp, pfns + got, nr - got, kind);
		*refilled = true;
	}
	return got;
}

/**
 * pw_pcp_alloc() - take free pages
 * @pfns: out: their page frame numbers
 * @nr: how many; the caller has taken them out of avail or holds promises
 * @kind: the kind that is liked better
 * @liked: out: how many pages are of that kind; they come first in @pfns, what
 *	   comes behind them must be taken for the other kind
 *
 * Return: how many; fewer than @nr only when the pool has a debt.
 */
unsigned int pw_pcp_alloc(u32 *pfns, unsigned int nr, enum pw_kind kind,
			  unsigned int *liked)
{
	struct pw_pcp *pcp = raw_cpu_ptr(pw_pool.pcp);
	bool refilled = false;
	unsigned int got;

	spin_lock(&pcp->lock);
	got = take(pcp, pfns, nr, kind, &refilled);
	*liked = got;
	if (got < nr)
		got += take(pcp, pfns + got, nr - got,
			    kind == PW_CLEAR ? PW_DIRTY : PW_CLEAR, &refilled);
	pcp->used = true;
	spin_unlock(&pcp->lock);

	if (unlikely(got < nr))
		got += pw_pcp_rescue(pfns + got, nr - got);
	if (refilled) {
		pw_zero_kick();
		pw_supply_tick();
	}
	return got;
}

static void free_direct(const u32 *pfns, unsigned int nr, enum pw_kind kind)
{
	spin_lock(&pw_pool.lock);
	pw_buddy_put(pfns, nr, kind);
	spin_unlock(&pw_pool.lock);
}

/**
 * pw_pcp_free() - put free pages back
 * @pfns: their page frame numbers
 * @nr: how many
 * @kind: what they contain
 */
void pw_pcp_free(const u32 *pfns, unsigned int nr, enum pw_kind kind)
{
	bool to_buddy = true;
	struct pw_pcp *pcp;

	if (!nr)
		return;
	if (nr >= PW_PCP_BATCH) {
		free_direct(pfns, nr, kind);
		pw_zero_kick();
		return;
	}
	pcp = raw_cpu_ptr(pw_pool.pcp);
	spin_lock(&pcp->lock);
	if (unlikely(atomic_read(&pw_pool.scarce))) {
		free_direct(pfns, nr, kind);
	} else {
		to_buddy = pcp->nr[kind] + nr > pcp->high;
		if (to_buddy)
			list_drain(pcp, min(pcp->nr[kind], pcp->high / 2), kind);
		list_push(pcp, pfns, nr, kind);
	}
	pcp->used = true;
	spin_unlock(&pcp->lock);
	if (to_buddy)
		pw_zero_kick();
}

static void huge_to_buddy(u32 pfn, enum pw_kind kind)
{
	struct pw_block *blk = pw_pool_block(pfn);

	lockdep_assert_held(&pw_pool.lock);
	if (!WARN_ON_ONCE(!blk))
		pw_buddy_free(&pw_pool.buddy, blk, 0, PW_BLOCK_ORDER, kind);
}

/* A block of 2 MiB that is one page; it may have to become one. */
static u32 huge_from_buddy(enum pw_kind *kind, bool force)
{
	struct pw_block *blk;
	unsigned int index;

	lockdep_assert_held(&pw_pool.lock);
	blk = force ? pw_buddy_alloc(&pw_pool.buddy, PW_BLOCK_ORDER, kind, &index) :
	      pw_buddy_alloc_kind(&pw_pool.buddy, PW_BLOCK_ORDER, *kind, &index);
	if (!blk)
		return 0;
	if (pw_block_join(blk))
		return blk->base;
	pw_buddy_free(&pw_pool.buddy, blk, 0, PW_BLOCK_ORDER, *kind);
	return 0;
}

/* Of the kind that is liked better, one for the list too when there was demand. */
static u32 huge_refill(struct pw_pcp *pcp, enum pw_kind kind)
{
	u32 pfn, more = 0;

	spin_lock(&pw_pool.lock);
	pfn = huge_from_buddy(&kind, false);
	if (pfn && pcp->used && !atomic_read(&pw_pool.scarce))
		more = huge_from_buddy(&kind, false);
	spin_unlock(&pw_pool.lock);
	if (more)
		pcp->huge[kind][pcp->nr_huge[kind]++] = more;
	return pfn;
}

static u32 huge_other(struct pw_pcp *pcp, enum pw_kind *kind)
{
	enum pw_kind other = *kind == PW_CLEAR ? PW_DIRTY : PW_CLEAR;
	u32 pfn;

	if (pcp->nr_huge[other]) {
		*kind = other;
		return pcp->huge[other][--pcp->nr_huge[other]];
	}
	spin_lock(&pw_pool.lock);
	pfn = huge_from_buddy(kind, true);
	spin_unlock(&pw_pool.lock);
	return pfn;
}

/**
 * pw_pcp_alloc_huge() - take a free page of 2 MiB
 * @kind: in: the kind that is liked better; out: what the page is
 *
 * The caller has taken its 512 pages out of avail or holds promises.
 *
 * Return: the page frame number of its head, 0 when nobody has one.
 */
u32 pw_pcp_alloc_huge(enum pw_kind *kind)
{
	struct pw_pcp *pcp = raw_cpu_ptr(pw_pool.pcp);
	bool hit = true;
	u32 pfn;

	spin_lock(&pcp->lock);
	if (likely(pcp->nr_huge[*kind])) {
		pfn = pcp->huge[*kind][--pcp->nr_huge[*kind]];
	} else {
		hit = false;
		pfn = huge_refill(pcp, *kind);
		if (!pfn)
			pfn = huge_other(pcp, kind);
	}
	pcp->used = true;
	spin_unlock(&pcp->lock);
	if (!hit) {
		pw_zero_kick();
		pw_supply_tick();
	}
	return pfn;
}

static void huge_drain(struct pw_pcp *pcp, unsigned int nr, enum pw_kind kind)
{
	u32 *list = pcp->huge[kind];
	unsigned int i;

	lockdep_assert_held(&pcp->lock);
	if (!nr)
		return;
	spin_lock(&pw_pool.lock);
	for (i = 0; i < nr; i++)
		huge_to_buddy(list[i], kind);
	spin_unlock(&pw_pool.lock);
	pcp->nr_huge[kind] -= nr;
	memmove(list, list + nr, pcp->nr_huge[kind] * sizeof(*list));
}

/**
 * pw_pcp_free_huge() - put a free page of 2 MiB back
 * @pfn: page frame number of its head
 * @kind: what it contains
 */
void pw_pcp_free_huge(u32 pfn, enum pw_kind kind)
{
	struct pw_pcp *pcp = raw_cpu_ptr(pw_pool.pcp);
	bool to_buddy;

	spin_lock(&pcp->lock);
	to_buddy = atomic_read(&pw_pool.scarce) || pcp->nr_huge[kind] == PW_PCP_HUGE;
	if (unlikely(to_buddy))
		huge_drain(pcp, pcp->nr_huge[kind], kind);
	pcp->huge[kind][pcp->nr_huge[kind]++] = pfn;
	if (unlikely(atomic_read(&pw_pool.scarce)))
		huge_drain(pcp, pcp->nr_huge[kind], kind);
	pcp->used = true;
	spin_unlock(&pcp->lock);
	if (to_buddy)
		pw_zero_kick();
}

static void drain(struct pw_pcp *pcp)
{
	enum pw_kind kind;

	spin_lock(&pcp->lock);
	for (kind = 0; kind < PW_KINDS; kind++) {
		list_drain(pcp, pcp->nr[kind], kind);
		huge_drain(pcp, pcp->nr_huge[kind], kind);
	}
	spin_unlock(&pcp->lock);
}

/**
 * pw_pcp_drain_all() - empty the lists of all CPUs, and the zeroing hand, into
 *			the buddy
 */
void pw_pcp_drain_all(void)
{
	int cpu;

	for_each_possible_cpu(cpu)
		drain(per_cpu_ptr(pw_pool.pcp, cpu));
	pw_zero_drop();
}

/**
 * pw_pcp_drain_idle() - empty the lists that nobody used since the last call
 *
 * The others are trimmed to half of what they may hold.
 */
void pw_pcp_drain_idle(void)
{
	int cpu, kind;

	for_each_possible_cpu(cpu) {
		struct pw_pcp *pcp = per_cpu_ptr(pw_pool.pcp, cpu);

		spin_lock(&pcp->lock);
		pcp->high = max(pcp->high / 2, 2U * PW_PCP_BATCH);
		for (kind = 0; kind < PW_KINDS; kind++) {
			unsigned int keep = pcp->used ? pcp->high : 0;

			if (pcp->nr[kind] > keep)
				list_drain(pcp, pcp->nr[kind] - keep, kind);
			if (!pcp->used)
				huge_drain(pcp, pcp->nr_huge[kind], kind);
		}
		pcp->used = false;
		spin_unlock(&pcp->lock);
	}
}

/**
 * pw_pcp_rescue() - find pages wherever they are
 * @pfns: out: their page frame numbers
 * @nr: how many; the caller has a right to as many
 *
 * While pw_pool.scarce is set nothing leaves the buddy but to be used, so once
 * every list and the hand have been emptied behind it, all free pages are in
 * the buddy, and more of them than the others who look have a right to.
 *
 * Return: how many; fewer than @nr only when the pool has a debt.
 */
unsigned int pw_pcp_rescue(u32 *pfns, unsigned int nr)
{
	unsigned int got;

	atomic_inc(&pw_pool.scarce);
	pw_pcp_drain_all();
	spin_lock(&pw_pool.lock);
	got = pw_buddy_alloc_bulk(&pw_pool.buddy, pfns, nr, PW_DIRTY);
	got += pw_buddy_alloc_bulk(&pw_pool.buddy, pfns + got, nr - got, PW_CLEAR);
	spin_unlock(&pw_pool.lock);
	atomic_dec(&pw_pool.scarce);
	return got;
}

/**
 * pw_pcp_count() - how many pages are on the lists
 * @clear: out: how many of them are clear
 *
 * Return: all of them.
 */
unsigned long pw_pcp_count(unsigned long *clear)
{
	unsigned long dirty = 0;
	int cpu;

	*clear = 0;
	for_each_possible_cpu(cpu) {
		const struct pw_pcp *pcp = per_cpu_ptr(pw_pool.pcp, cpu);

		*clear += READ_ONCE(pcp->nr[PW_CLEAR]) +
			  READ_ONCE(pcp->nr_huge[PW_CLEAR]) * PW_BLOCK_PAGES;
		dirty += READ_ONCE(pcp->nr[PW_DIRTY]) +
			 READ_ONCE(pcp->nr_huge[PW_DIRTY]) * PW_BLOCK_PAGES;
	}
	return *clear + dirty;
}

static int cpu_dead(unsigned int cpu)
{
	drain(per_cpu_ptr(pw_pool.pcp, cpu));
	return 0;
}

/**
 * pw_pcp_init() - set up empty lists for all CPUs
 *
 * Return: 0, -ENOMEM, or what the CPU hotplug core answers.
 */
int pw_pcp_init(void)
{
	int cpu;

	pw_pool.pcp = alloc_percpu(struct pw_pcp);
	if (!pw_pool.pcp)
		return -ENOMEM;
	for_each_possible_cpu(cpu) {
		struct pw_pcp *pcp = per_cpu_ptr(pw_pool.pcp, cpu);

		spin_lock_init(&pcp->lock);
		pcp->high = 2 * PW_PCP_BATCH;
	}
	hotplug_state = cpuhp_setup_state_nocalls(CPUHP_BP_PREPARE_DYN,
						  "mm/pagewell:dead", NULL, cpu_dead);
	if (hotplug_state < 0) {
		free_percpu(pw_pool.pcp);
		return hotplug_state;
	}
	return 0;
}

/**
 * pw_pcp_exit() - empty the lists and take them down
 */
void pw_pcp_exit(void)
{
	cpuhp_remove_state_nocalls(hotplug_state);
	pw_pcp_drain_all();
	free_percpu(pw_pool.pcp);
}
