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

#include "pool_hit.h"
#include "pool_int.h"

static int hotplug_state;

static unsigned int list_pop(struct pw_pcp *pcp, u32 *pfns, unsigned int nr,
			     enum pw_kind kind)
{
	const u32 *list;
	unsigned int i;

	nr = min(nr, pcp->nr[kind]);
	pcp->nr[kind] -= nr;
	list = &pcp->pfn[kind][pcp->nr[kind]];
	for (i = 0; i < nr; i++)
		pfns[i] = list[i];
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
	pcp->nr[kind] -= nr;
	spin_unlock(&pw_pool.lock);
	memmove(list, list + nr, pcp->nr[kind] * sizeof(*list));
}

static void set_high(struct pw_pcp *pcp, u32 high)
{
	pcp->high = high;
	pcp->limit = pcp->closed ? 0 : high;
	pcp->credit_limit = READ_ONCE(pw_pool.shut) ? 0 : pcp->limit;
}

/* The list is empty: take pages from the buddy, some more for the list. */
static unsigned int refill(struct pw_pcp *pcp, u32 *pfns, unsigned int nr,
			   enum pw_kind kind, int node)
{
	unsigned int got;

	spin_lock(&pw_pool.lock);
	pw_buddy_look(&pw_pool.buddy, node, 1);
	got = pw_buddy_alloc_bulk(&pw_pool.buddy, pfns, nr, kind);
	if (got == nr && pcp->limit && node == pcp->node)
		pcp->nr[kind] = pw_buddy_alloc_bulk(&pw_pool.buddy, pcp->pfn[kind],
						    pcp->high / 2, kind);
	spin_unlock(&pw_pool.lock);
	set_high(pcp, min(pcp->high + PW_PCP_BATCH, (u32)PW_PCP_MAX));
	return got;
}

/* Pages of one node. */
static unsigned int take(struct pw_pcp *pcp, u32 *pfns, unsigned int nr,
			 enum pw_kind kind, int node, bool *refilled)
{
	unsigned int got = node == pcp->node ? list_pop(pcp, pfns, nr, kind) : 0;

	/* A look ahead: when the stock is empty every fault comes here. */
	if (got < nr && READ_ONCE(pw_pool.buddy.nr_free[kind])) {
		got += refill(pcp, pfns + got, nr - got, kind, node);
		*refilled = true;
	}
	return got;
}

static enum pw_kind other_kind(enum pw_kind kind)
{
	return kind == PW_CLEAR ? PW_DIRTY : PW_CLEAR;
}

/*
 * More, to the @got that there are, from so many shelves. @liked: these are of @kind;
 * behind one of the other kind a page would be liked in vain.
 */
static unsigned int take_shelves(u32 *pfns, unsigned int got, unsigned int nr,
				 enum pw_kind kind, int node, unsigned int reach,
				 unsigned int *liked)
{
	enum pw_kind first = got == *liked ? kind : other_kind(kind);
	struct pw_buddy *b = &pw_pool.buddy;

	spin_lock(&pw_pool.lock);
	pw_buddy_look(b, node, reach);
	got += pw_buddy_alloc_bulk(b, pfns + got, nr - got, first);
	if (first == kind)
		*liked = got;
	got += pw_buddy_alloc_bulk(b, pfns + got, nr - got, other_kind(first));
	spin_unlock(&pw_pool.lock);
	return got;
}

/* The node that is wanted has no more: if the kernel has none there either, of any. */
static unsigned int take_far(u32 *pfns, unsigned int got, unsigned int nr,
			     enum pw_kind kind, int node, unsigned int *liked)
{
	if (pw_supply_grow_node(node))
		got = take_shelves(pfns, got, nr, kind, node, 1, liked);
	if (got < nr)
		got = take_shelves(pfns, got, nr, kind, node, pw_pool.buddy.nr_shelves, liked);
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
	struct pw_pcp *pcp = pw_pcp_get();
	int node = pw_nodes() ? pw_node_wanted(pcp->node) : pcp->node;
	bool refilled = false;
	unsigned int got;

	got = take(pcp, pfns, nr, kind, node, &refilled);
	*liked = got;
	if (got < nr)
		got += take(pcp, pfns + got, nr - got, other_kind(kind), node, &refilled);
	pcp->used = true;
	pw_pcp_unlock(pcp);

	if (got < nr && pw_nodes())
		got = take_far(pfns, got, nr, kind, node, liked);
	if (unlikely(got < nr))
		got += pw_pcp_rescue(pfns + got, nr - got);
	if (refilled)
		pw_supply_tick();
	if (refilled || *liked < got)
		pw_zero_kick();
	return got;
}

static void free_direct(const u32 *pfns, unsigned int nr, enum pw_kind kind)
{
	spin_lock(&pw_pool.lock);
	pw_buddy_put(pfns, nr, kind);
	spin_unlock(&pw_pool.lock);
}

/* Pages of other nodes go home; their numbers are taken out of @pfns. */
static unsigned int free_far(struct pw_pcp *pcp, u32 *pfns, unsigned int nr,
			     enum pw_kind kind)
{
	unsigned int i, near = 0;

	for (i = 0; i < nr; i++) {
		if (pw_is_far(pcp, pfns[i]))
			free_direct(&pfns[i], 1, kind);
		else
			pfns[near++] = pfns[i];
	}
	return near;
}

/**
 * pw_pcp_free() - put free pages back
 * @pfns: their page frame numbers
 * @nr: how many
 * @kind: what they contain
 */
void pw_pcp_free(const u32 *pfns, unsigned int nr, enum pw_kind kind)
{
	u32 near[PW_PCP_BATCH];
	struct pw_pcp *pcp;
	bool to_buddy;

	if (!nr)
		return;
	if (nr >= PW_PCP_BATCH) {
		free_direct(pfns, nr, kind);
		pw_zero_kick();
		return;
	}
	pcp = pw_pcp_get();
	if (pw_nodes()) {
		memcpy(near, pfns, nr * sizeof(*pfns));
		nr = free_far(pcp, near, nr, kind);
		pfns = near;
	}
	to_buddy = pcp->nr[kind] + nr > pcp->limit;
	if (unlikely(!pcp->limit)) {
		free_direct(pfns, nr, kind);
	} else {
		if (to_buddy)
			list_drain(pcp, min(pcp->nr[kind], pcp->high / 2), kind);
		list_push(pcp, pfns, nr, kind);
	}
	pcp->used = true;
	pw_pcp_unlock(pcp);
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
static u32 huge_refill(struct pw_pcp *pcp, enum pw_kind kind, int node)
{
	u32 pfn, more = 0;

	spin_lock(&pw_pool.lock);
	pw_buddy_look(&pw_pool.buddy, node, 1);
	pfn = huge_from_buddy(&kind, false);
	if (pfn && pcp->used && pcp->limit && node == pcp->node)
		more = huge_from_buddy(&kind, false);
	if (more)
		pcp->huge[kind][pcp->nr_huge[kind]++] = more;
	spin_unlock(&pw_pool.lock);
	return pfn;
}

static u32 huge_from_shelves(enum pw_kind *kind, int node, unsigned int reach)
{
	u32 pfn;

	spin_lock(&pw_pool.lock);
	pw_buddy_look(&pw_pool.buddy, node, reach);
	pfn = huge_from_buddy(kind, true);
	spin_unlock(&pw_pool.lock);
	return pfn;
}

static u32 huge_other(struct pw_pcp *pcp, enum pw_kind *kind, int node)
{
	enum pw_kind other = other_kind(*kind);

	if (node == pcp->node && pcp->nr_huge[other]) {
		*kind = other;
		return pcp->huge[other][--pcp->nr_huge[other]];
	}
	return huge_from_shelves(kind, node, 1);
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
	pcp->nr_huge[kind] -= nr;
	spin_unlock(&pw_pool.lock);
	memmove(list, list + nr, pcp->nr_huge[kind] * sizeof(*list));
}

static void credit_drain(struct pw_pcp *pcp, u32 nr)
{
	pcp->credit -= nr;
	atomic_long_add(nr, &pw_pool.avail);
}

/* Everything to the buddy, and to avail. */
static void drain_locked(struct pw_pcp *pcp)
{
	enum pw_kind kind;

	for (kind = 0; kind < PW_KINDS; kind++) {
		list_drain(pcp, pcp->nr[kind], kind);
		huge_drain(pcp, pcp->nr_huge[kind], kind);
	}
	credit_drain(pcp, pcp->credit);
}

static void drain(struct pw_pcp *pcp)
{
	pw_pcp_lock(pcp);
	drain_locked(pcp);
	pw_pcp_unlock(pcp);
}

static unsigned long count_listed(const struct pw_pcp *pcp, enum pw_kind kind)
{
	return READ_ONCE(pcp->nr[kind]) + READ_ONCE(pcp->nr_huge[kind]) * PW_BLOCK_PAGES;
}

/*
 * Have a node's free pages in the buddy, if they may make 2 MiB there. Return: whether
 * they may.
 */
static bool drain_node(int node)
{
	unsigned long nr = pw_buddy_crumbs(&pw_pool.buddy, node);
	int cpu;

	for_each_possible_cpu(cpu) {
		const struct pw_pcp *pcp = per_cpu_ptr(pw_pool.pcp, cpu);

		if (pcp->node == node)
			nr += count_listed(pcp, PW_CLEAR) + count_listed(pcp, PW_DIRTY);
	}
	if (nr < PW_BLOCK_PAGES)
		return false;
	for_each_possible_cpu(cpu)
		if (per_cpu_ptr(pw_pool.pcp, cpu)->node == node)
			drain(per_cpu_ptr(pw_pool.pcp, cpu));
	pw_zero_drop();
	return true;
}

/* From what is in lists and hands of that node; not with every fault when in vain. */
static u32 huge_drained(enum pw_kind *kind, int node)
{
	unsigned long *from = &pw_pool.buddy.shelf[node].drain_from;
	u32 pfn;

	if (time_before(jiffies, READ_ONCE(*from)) || !drain_node(node))
		return 0;
	pfn = huge_from_shelves(kind, node, 1);
	if (!pfn)
		WRITE_ONCE(*from, jiffies + HZ / 10);
	return pfn;
}

/* Of the node that is wanted, whoever has it there, the kernel too, or else of any. */
static u32 huge_far(enum pw_kind *kind, int node)
{
	const enum pw_kind liked = *kind;
	u32 pfn = huge_drained(kind, node);

	if (!pfn && pw_supply_grow_node(node)) {
		*kind = liked;
		pfn = huge_from_shelves(kind, node, 1);
	}
	if (!pfn) {
		*kind = liked;
		pfn = huge_from_shelves(kind, node, pw_pool.buddy.nr_shelves);
	}
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
	struct pw_pcp *pcp = pw_pcp_get();
	int node = pw_nodes() ? pw_node_wanted(pcp->node) : pcp->node;
	enum pw_kind liked = *kind;
	bool hit = true;
	u32 pfn;

	if (node == pcp->node && pcp->nr_huge[*kind]) {
		pfn = pcp->huge[*kind][--pcp->nr_huge[*kind]];
	} else {
		hit = false;
		pfn = huge_refill(pcp, *kind, node);
		if (!pfn)
			pfn = huge_other(pcp, kind, node);
	}
	pcp->used = true;
	pw_pcp_unlock(pcp);
	if (!pfn && pw_nodes()) {
		*kind = liked;
		pfn = huge_far(kind, node);
	}
	if (!hit) {
		pw_zero_kick();
		pw_supply_tick();
	}
	return pfn;
}

/**
 * pw_pcp_free_huge() - put a free page of 2 MiB back
 * @pfn: page frame number of its head
 * @kind: what it contains
 */
void pw_pcp_free_huge(u32 pfn, enum pw_kind kind)
{
	struct pw_pcp *pcp = pw_pcp_get();
	bool to_buddy = !pcp->limit || pcp->nr_huge[kind] == PW_PCP_HUGE;

	if (unlikely(to_buddy))
		huge_drain(pcp, pcp->nr_huge[kind], kind);
	pcp->huge[kind][pcp->nr_huge[kind]++] = pfn;
	if (unlikely(!pcp->limit) || pw_is_far(pcp, pfn))
		huge_drain(pcp, pcp->nr_huge[kind], kind);
	pcp->used = true;
	pw_pcp_unlock(pcp);
	if (to_buddy)
		pw_zero_kick();
}

/**
 * pw_pcp_credit_take() - take a few pages out of what is not promised
 * @nr: how many
 *
 * Return: whether this CPU had as many, or could get a batch out of avail.
 */
bool pw_pcp_credit_take(unsigned long nr)
{
	struct pw_pcp *pcp;
	bool ok;

	if (nr > PW_PCP_BATCH)
		return false;
	pcp = pw_pcp_get();
	if (pcp->credit < nr && pcp->credit_limit && pw_avail_take(nr + PW_PCP_BATCH))
		pcp->credit += nr + PW_PCP_BATCH;
	ok = pcp->credit >= nr;
	if (ok)
		pcp->credit -= nr;
	pw_pcp_unlock(pcp);
	return ok;
}

/**
 * pw_pcp_credit_give() - pages that were promised or used are so no more
 * @nr: how many
 */
void pw_pcp_credit_give(unsigned long nr)
{
	struct pw_pcp *pcp;

	if (nr > PW_PCP_BATCH) {
		atomic_long_add(nr, &pw_pool.avail);
		pw_avail_came();
		return;
	}
	pcp = pw_pcp_get();
	pcp->credit += nr;
	if (pcp->credit > pcp->credit_limit)
		credit_drain(pcp, pcp->credit_limit ? pcp->credit - PW_PCP_BATCH :
			     pcp->credit);
	pw_pcp_unlock(pcp);
	pw_avail_came();
}

/**
 * pw_pcp_close() - have everything in the buddy and in avail
 *
 * Until pw_pcp_open() nothing gets on a list and no credit is kept, so once all
 * CPUs have been gone through, what the buddy and avail have is all there is.
 */
void pw_pcp_close(void)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		struct pw_pcp *pcp = per_cpu_ptr(pw_pool.pcp, cpu);

		pw_pcp_lock(pcp);
		pcp->closed++;
		set_high(pcp, pcp->high);
		drain_locked(pcp);
		pw_pcp_unlock(pcp);
	}
}

/**
 * pw_pcp_open() - end what pw_pcp_close() began
 */
void pw_pcp_open(void)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		struct pw_pcp *pcp = per_cpu_ptr(pw_pool.pcp, cpu);

		pw_pcp_lock(pcp);
		pcp->closed--;
		set_high(pcp, pcp->high);
		pw_pcp_unlock(pcp);
	}
}

/**
 * pw_pcp_heed() - let CPUs have credit, or none, as pw_pool.shut says now
 */
void pw_pcp_heed(void)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		struct pw_pcp *pcp = per_cpu_ptr(pw_pool.pcp, cpu);

		pw_pcp_lock(pcp);
		set_high(pcp, pcp->high);
		if (!pcp->credit_limit)
			credit_drain(pcp, pcp->credit);
		pw_pcp_unlock(pcp);
	}
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

		pw_pcp_lock(pcp);
		set_high(pcp, max(pcp->high / 2, 2U * PW_PCP_BATCH));
		for (kind = 0; kind < PW_KINDS; kind++) {
			unsigned int keep = pcp->used ? pcp->high : 0;

			if (pcp->nr[kind] > keep)
				list_drain(pcp, pcp->nr[kind] - keep, kind);
			if (!pcp->used)
				huge_drain(pcp, pcp->nr_huge[kind], kind);
		}
		if (!pcp->used)
			credit_drain(pcp, pcp->credit);
		pcp->used = false;
		pw_pcp_unlock(pcp);
	}
}

/**
 * pw_pcp_rescue() - find pages wherever they are
 * @pfns: out: their page frame numbers
 * @nr: how many; the caller has a right to as many
 *
 * While the lists are closed nothing leaves the buddy but to be used, so once
 * every list and the hand have been emptied behind it, all free pages are in
 * the buddy, and more of them than the others who look have a right to.
 *
 * Return: how many; fewer than @nr only when the pool has a debt.
 */
unsigned int pw_pcp_rescue(u32 *pfns, unsigned int nr)
{
	unsigned int got;

	atomic_inc(&pw_pool.scarce);
	pw_pcp_close();
	pw_zero_drop();
	spin_lock(&pw_pool.lock);
	pw_buddy_look(&pw_pool.buddy, numa_node_id(), pw_pool.buddy.nr_shelves);
	got = pw_buddy_alloc_bulk(&pw_pool.buddy, pfns, nr, PW_DIRTY);
	got += pw_buddy_alloc_bulk(&pw_pool.buddy, pfns + got, nr - got, PW_CLEAR);
	spin_unlock(&pw_pool.lock);
	pw_pcp_open();
	atomic_dec(&pw_pool.scarce);
	return got;
}

/* Is the page taken out of the buddy, and nobody's? */
static const char *check_page(u32 pfn, bool huge)
{
	struct pw_block *blk = pw_pool_block(pfn);

	if (!blk || !pw_buddy_in_use(blk, pfn % PW_BLOCK_PAGES))
		return "a page on a list is not out of the buddy";
	if (blk->compound != huge || (huge && pfn % PW_BLOCK_PAGES))
		return "a page on a list is of the wrong size";
	if (pfn_to_page(pfn)->flags & PW_FLAGS_HELD || page_private(pfn_to_page(pfn)))
		return "a page on a list is not as new";
	return NULL;
}

static const char *check_lists(const struct pw_pcp *pcp)
{
	const char *bad = NULL;
	unsigned int i, kind;

	for (kind = 0; kind < PW_KINDS; kind++) {
		if (pcp->nr[kind] > PW_PCP_MAX || pcp->nr_huge[kind] > PW_PCP_HUGE)
			return "a list is too long";
		for (i = 0; i < pcp->nr[kind] && !bad; i++)
			bad = check_page(pcp->pfn[kind][i], false);
		for (i = 0; i < pcp->nr_huge[kind] && !bad; i++)
			bad = check_page(pcp->huge[kind][i], true);
	}
	return bad;
}

/**
 * pw_pcp_check() - verify that what is on the lists belongs there
 *
 * Return: NULL, or what is wrong.
 */
const char *pw_pcp_check(void)
{
	const char *bad = NULL;
	int cpu;

	for_each_possible_cpu(cpu) {
		struct pw_pcp *pcp = per_cpu_ptr(pw_pool.pcp, cpu);

		pw_pcp_lock(pcp);
		spin_lock(&pw_pool.lock);
		bad = check_lists(pcp);
		spin_unlock(&pw_pool.lock);
		pw_pcp_unlock(pcp);
		if (bad)
			break;
	}
	return bad;
}

/**
 * pw_pcp_count() - how many pages are on the lists
 * @clear: out: how many of them are clear
 * @credit: out: pages that count as avail; may be NULL
 *
 * With pw_pool.lock held, none of them is just going to the buddy, or coming
 * from there.
 *
 * Return: all of them.
 */
unsigned long pw_pcp_count(unsigned long *clear, unsigned long *credit)
{
	unsigned long dirty = 0, sum = 0;
	int cpu;

	*clear = 0;
	for_each_possible_cpu(cpu) {
		const struct pw_pcp *pcp = per_cpu_ptr(pw_pool.pcp, cpu);

		sum += READ_ONCE(pcp->credit);
		*clear += count_listed(pcp, PW_CLEAR);
		dirty += count_listed(pcp, PW_DIRTY);
	}
	if (credit)
		*credit = sum;
	return *clear + dirty;
}

/* One that comes late: only now is it known where it lies. Its lists are empty. */
static int cpu_prepare(unsigned int cpu)
{
	WRITE_ONCE(per_cpu_ptr(pw_pool.pcp, cpu)->node, pw_node_of(cpu));
	return 0;
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
	static struct lock_class_key __maybe_unused key;
	int cpu;

	pw_pool.pcp = alloc_percpu(struct pw_pcp);
	if (!pw_pool.pcp)
		return -ENOMEM;
	for_each_possible_cpu(cpu) {
		struct pw_pcp *pcp = per_cpu_ptr(pw_pool.pcp, cpu);

#ifdef CONFIG_DEBUG_LOCK_ALLOC
		lockdep_init_map(&pcp->lock.dep_map, "pw_pcp", &key, 0);
#endif
		set_high(pcp, 2 * PW_PCP_BATCH);
		pcp->node = pw_node_of(cpu);
	}
	hotplug_state = cpuhp_setup_state_nocalls(CPUHP_BP_PREPARE_DYN,
						  "mm/pagewell:prepare", cpu_prepare, cpu_dead);
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
