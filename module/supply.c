// SPDX-License-Identifier: GPL-2.0-only
/*
 * supply.c - blocks from the kernel and back
 *
 * Memory comes in pages of 2 MiB while the kernel has them; in less when it has
 * not, and then in pages with a reference count each (split_page()).
 * Above the floor the pool only takes what the machine can spare: no OOM
 * killer, hardly any reclaim, and a margin for everybody else. Above the floor,
 * as much as lay idle all the time for a while goes back, and everything idle
 * at once when the kernel is short. What is there in smaller pieces goes first, and
 * below the floor 2 MiB in one piece take its place. Free pages that lie scattered
 * are moved together, so that they can go another time.
 *
 * A node that has no more of the pool's pages gets more while the kernel has 2 MiB in
 * one piece there, and can spare them. Where it cannot, other nodes are asked.
 */
#include <linux/gfp.h>
#include <linux/log2.h>
#include <linux/moduleparam.h>
#include <linux/shrinker.h>
#include <linux/slab.h>
#include <linux/workqueue.h>

#include "compat.h"
#include "evacuate.h"
#include "pool_int.h"
#include "trace.h"

/* Pages given back in one go under size_lock, by the decay. */
#define DECAY_BATCH	(16 * PW_BLOCK_PAGES)

/* Blocks that take the place of parts in one go. */
#define MEND_BATCH	16

#define LIGHT_GFP	((GFP_HIGHUSER | __GFP_NOWARN) & ~__GFP_DIRECT_RECLAIM)
#define BLOCK_GFP	(PW_HAVE_COMPOUND ? __GFP_COMP : 0)

/* pool_idle_s is watched in so many steps. */
#define DECAY_STEPS	4

static unsigned int pool_idle_s = 30;
static int set_idle(const char *val, const struct kernel_param *kp);
static const struct kernel_param_ops idle_ops = {
	.set = set_idle,
	.get = param_get_uint,
};
module_param_cb(pool_idle_s, &idle_ops, &pool_idle_s, 0644);
__MODULE_PARM_TYPE(pool_idle_s, "uint");
MODULE_PARM_DESC(pool_idle_s, "seconds that memory above pool_mb must lie idle to go back");

static struct shrinker *shrinker;

static void decay(struct work_struct *work);
static DECLARE_DEFERRABLE_WORK(decay_work, decay);
static DEFINE_MUTEX(decay_lock);
static bool decay_ended;

/*
 * Pages of a zone that the kernel gives to anybody and does not reclaim for; with @cache,
 * others that it would, half of those with what can be read again.
 */
static long zone_spare(struct zone *zone, bool cache)
{
	long nr = zone_page_state(zone, NR_FREE_PAGES) - high_wmark_pages(zone) -
		  zone->lowmem_reserve[gfp_zone(GFP_HIGHUSER)];

	if (cache)
		nr += (zone_page_state(zone, NR_ZONE_INACTIVE_FILE) +
		       zone_page_state(zone, NR_ZONE_ACTIVE_FILE)) / 2;
	return max(nr, 0L);
}

/* What the kernel has of its own there, and can do without. */
static long node_slab(int node)
{
	return atomic_long_read(&NODE_DATA(node)->vm_stat[NR_SLAB_RECLAIMABLE_B]);
}

/* Pages that a node can spare. Everybody else there, and who is bound to it, keeps a 32nd. */
static long node_spare(int node, bool cache)
{
	long nr = -(long)(node_present_pages(node) / 32);
	int i;

	for (i = 0; i <= gfp_zone(GFP_HIGHUSER); i++)
		if (populated_zone(&NODE_DATA(node)->node_zones[i]))
			nr += zone_spare(&NODE_DATA(node)->node_zones[i], cache);
	return cache ? nr + node_slab(node) / 2 : nr;
}

/* All that the nodes that the task may have can spare. */
static unsigned long nodes_spare(void)
{
	unsigned long nr = 0;
	int node;

	for_each_node_state(node, N_MEMORY)
		if (pw_node_may(node, false))
			nr += max(node_spare(node, true), 0L);
	return nr;
}

/* The one that can spare most, of those that the task may have, or is bound to. */
static int richest_node(bool bound, bool cache, long nr)
{
	int node, best = NUMA_NO_NODE;

	for_each_node_state(node, N_MEMORY)
		if (pw_node_may(node, bound) && node_spare(node, cache) >= nr &&
		    (best == NUMA_NO_NODE ||
		     node_spare(node, cache) > node_spare(best, cache)))
			best = node;
	return best;
}

/*
 * The node that is wanted, or the next best that can spare something: who is bound to
 * one that is empty finds no page for a page table there, and is killed for that.
 */
static int node_to_ask(long nr)
{
	int wanted = pw_node_wanted(this_cpu_read(pw_pool.pcp->node)), node, cache;

	for (cache = false; cache <= true; cache++) {
		if (pw_node_may(wanted, false) && node_spare(wanted, cache) >= nr)
			return wanted;
		node = richest_node(true, cache, nr);
		if (node == NUMA_NO_NODE)
			node = richest_node(false, cache, nr);
		if (node != NUMA_NO_NODE)
			return node;
	}
	return NUMA_NO_NODE;
}

/* What is held from load on comes from all nodes; the rest as the task wants it. */
static struct page *node_pages(bool must, gfp_t gfp, unsigned int order)
{
	static int next;
	int node;

	if (!pw_nodes())
		return alloc_pages(gfp, order);
	if (must) {
		node = next = next_node_in(next, node_states[N_MEMORY]);
		return alloc_pages_node(node, gfp, order);
	}
	node = node_to_ask(1L << order);
	/* What it has cached goes before others that have nothing to spare. */
	return node == NUMA_NO_NODE ? NULL : alloc_pages_node(node, gfp | __GFP_THISNODE, order);
}

/*
 * A piece of the largest order up to @order; @order becomes what it has. Large
 * pieces are only looked for, one of 2 MiB is worth compacting for, and small
 * ones may be reclaimed.
 */
static struct page *take_piece(unsigned int *order, bool must)
{
	gfp_t last = GFP_HIGHUSER | __GFP_NOWARN |
		     (must ? __GFP_RETRY_MAYFAIL : __GFP_NORETRY);
	struct page *page;

	if (*order == PW_BLOCK_ORDER) {
		page = node_pages(must, LIGHT_GFP | BLOCK_GFP, *order);
		if (!page)
			page = node_pages(must, GFP_HIGHUSER | __GFP_NOWARN | __GFP_NORETRY |
					   BLOCK_GFP, *order);
	} else {
		page = node_pages(must, LIGHT_GFP, *order);
		if (!page && !*order)
			page = node_pages(must, last, 0);
	}
	while (!page && *order) {
		--*order;
		page = node_pages(must, *order > PAGE_ALLOC_COSTLY_ORDER ? LIGHT_GFP : last, *order);
	}
	return page;
}

static struct pw_block *block_get(unsigned long pfn)
{
	struct pw_block *blk;

	if (pfn >= PW_PFN_END)
		return NULL;
	blk = pw_pool_block(pfn);
	if (blk)
		return blk;
	blk = kmalloc(sizeof(*blk), GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN);
	if (!blk)
		return NULL;
	pw_block_init(blk, pfn & ~(PW_BLOCK_PAGES - 1));
	blk->node = page_to_nid(pfn_to_page(pfn));
	if (xa_err(xa_store(&pw_pool.blocks, pfn / PW_BLOCK_PAGES, blk,
			    GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN))) {
		kfree(blk);
		return NULL;
	}
	return blk;
}

/**
 * pw_supply_settle() - withhold what the pool holds beyond its ceiling, and no more
 * @nr: pages that have come and count as avail from now on
 *
 * The caller holds size_lock.
 */
void pw_supply_settle(unsigned long nr)
{
	unsigned long held = READ_ONCE(pw_pool.buddy.nr_owned);
	unsigned long over = held > pw_pool.max ? held - pw_pool.max : 0;

	lockdep_assert_held(&pw_pool.size_lock);
	atomic_long_add((long)(nr + pw_pool.over - over), &pw_pool.avail);
	WRITE_ONCE(pw_pool.over, over);
}

static void make_ours(struct pw_block *blk, struct page *page, unsigned int order)
{
	blk->compound = PageCompound(page);
	if (order && !blk->compound)
		split_page(page, order);
}

static void add_to_buddy(struct pw_block *blk, struct page *page, unsigned int order)
{
	bool clear = want_init_on_alloc(GFP_HIGHUSER) || want_init_on_free();

	lockdep_assert_held(&pw_pool.lock);
	pw_buddy_add(&pw_pool.buddy, blk, page_to_pfn(page) % PW_BLOCK_PAGES, order,
		     clear ? PW_CLEAR : PW_DIRTY);
}

static bool add_piece(struct page *page, unsigned int order)
{
	struct pw_block *blk = block_get(page_to_pfn(page));

	if (!blk) {
		__free_pages(page, order);
		return false;
	}
	make_ours(blk, page, order);
	spin_lock(&pw_pool.lock);
	add_to_buddy(blk, page, order);
	spin_unlock(&pw_pool.lock);
	pw_supply_settle(1UL << order);
	pw_stat_inc(pool_grown);
	return true;
}

/**
 * pw_supply_room() - pages that the pool may still take
 *
 * A debt is paid beyond the ceiling too. The caller holds size_lock.
 *
 * Return: how many.
 */
unsigned long pw_supply_room(void)
{
	unsigned long held = READ_ONCE(pw_pool.buddy.nr_owned);

	return max(pw_pool.max > held ? pw_pool.max - held : 0, pw_debt());
}

/**
 * pw_supply_available() - pages that the kernel could find for the pool, by its estimate
 *
 * Free or full of what can be read again, and not where only pages may be that can be
 * moved.
 *
 * Return: how many.
 */
unsigned long pw_supply_available(void)
{
	long nr = si_mem_available();
	int node;

	for_each_node_state(node, N_MEMORY) {
		struct zone *zone = &NODE_DATA(node)->node_zones[ZONE_MOVABLE];

		nr -= zone_page_state(zone, NR_FREE_PAGES) +
		      zone_page_state(zone, NR_ZONE_INACTIVE_FILE) +
		      zone_page_state(zone, NR_ZONE_ACTIVE_FILE);
	}
	return max(nr, 0L);
}

/**
 * pw_supply_can_spare() - may the kernel be asked for so much?
 * @nr: pages
 *
 * Everybody else keeps a 32nd of the machine, and of the nodes that the task may have.
 */
bool pw_supply_can_spare(unsigned long nr)
{
	return pw_supply_available() >= nr + totalram_pages() / 32 &&
	       (!pw_nodes() || nodes_spare() >= nr);
}

/**
 * pw_supply_grow() - take pages from the kernel
 * @nr: how many at least; rounded up to blocks as far as the ceiling permits
 * @must: try hard, and leave nothing for others
 *
 * The caller holds size_lock.
 *
 * Return: how many were taken, possibly fewer than @nr.
 */
unsigned long pw_supply_grow(unsigned long nr, bool must)
{
	unsigned int top = PW_BLOCK_ORDER;
	unsigned long got = 0, left;

	lockdep_assert_held(&pw_pool.size_lock);
	while (got < nr && (left = pw_supply_room())) {
		unsigned int order = min_t(unsigned int, top, ilog2(left));
		unsigned int asked = order;
		struct page *page = NULL;

		if (must || pw_supply_can_spare(1UL << order))
			page = take_piece(&order, must);
		if (order < asked || !page)
			pw_stat_inc(pool_grow_failed);
		if (!page || !add_piece(page, order))
			break;
		if (order < asked)
			top = order;
		got += 1UL << order;
		cond_resched();
	}
	pw_supply_tick();
	if (got)
		trace_pw_pool(got, READ_ONCE(pw_pool.buddy.nr_owned));
	return got;
}

static bool may_take_block(void)
{
	return pw_supply_room() >= PW_BLOCK_PAGES && pw_supply_can_spare(PW_BLOCK_PAGES);
}

/**
 * pw_supply_grow_block() - take 2 MiB from the kernel if it has them at hand
 *
 * Return: whether it had, and the pool may grow.
 */
bool pw_supply_grow_block(void)
{
	struct page *page = NULL;
	bool ok = false;

	mutex_lock(&pw_pool.size_lock);
	if (may_take_block())
		page = node_pages(false, LIGHT_GFP | BLOCK_GFP, PW_BLOCK_ORDER);
	if (page)
		ok = add_piece(page, PW_BLOCK_ORDER);
	mutex_unlock(&pw_pool.size_lock);
	if (ok) {
		pw_supply_tick();
		trace_pw_pool(PW_BLOCK_PAGES, READ_ONCE(pw_pool.buddy.nr_owned));
	}
	return ok;
}

/* A whole block at once; fails when somebody looks at one of its pages. */
static bool free_whole(struct pw_block *blk)
{
	struct page *page = pfn_to_page(blk->base);

	if (blk->compound && PW_COMPOUND_FREES_SLOWLY)
		pw_block_unlink(blk);
	else if (!blk->compound && !pw_block_freeze(blk))
		return false;
	__free_pages(page, PW_BLOCK_ORDER);
	return true;
}

/**
 * pw_supply_free_block() - give the pages of a block to the kernel
 * @blk: an idle block, no longer in the buddy; it is freed too
 *
 * The caller holds size_lock, or is the last one here.
 */
void pw_supply_free_block(struct pw_block *blk)
{
	struct page *page = pfn_to_page(blk->base);
	unsigned int i;

	xa_erase(&pw_pool.blocks, blk->base / PW_BLOCK_PAGES);
	if (blk->nr_owned < PW_BLOCK_PAGES || !free_whole(blk))
		for_each_set_bit(i, blk->owned, PW_BLOCK_PAGES)
			__free_page(page + i);
	kfree(blk);
	pw_stat_inc(pool_shrunk);
}

/*
 * May as many free pages go to the kernel? If so, they are no longer counted: first
 * those that are withheld.
 */
static bool let_go(unsigned long nr)
{
	unsigned long over;

	pw_supply_settle(0);
	over = min(nr, pw_pool.over);
	if (nr > over ? !pw_avail_take(nr - over) :
	    atomic_long_read(&pw_pool.avail) + (long)pw_pool.over < (long)nr)
		return false;
	WRITE_ONCE(pw_pool.over, pw_pool.over - over);
	return true;
}

/* The one that has been idle longest, of those on another node that are all ours. */
static struct pw_block *idle_elsewhere(int node)
{
	struct pw_block *blk;

	lockdep_assert_held(&pw_pool.lock);
	list_for_each_entry(blk, &pw_pool.buddy.idle, idle)
		if (blk->node != node && blk->nr_owned == PW_BLOCK_PAGES)
			return blk;
	return NULL;
}

/* In the place of 2 MiB elsewhere, at one moment: no count but of nodes changes. */
static bool exchange(struct page *page, int node)
{
	struct pw_block *blk = NULL, *old;

	lockdep_assert_held(&pw_pool.size_lock);
	spin_lock(&pw_pool.lock);
	old = idle_elsewhere(node);
	spin_unlock(&pw_pool.lock);
	/* Its record stays: none for what is not to come. */
	if (old)
		blk = block_get(page_to_pfn(page));
	spin_lock(&pw_pool.lock);
	old = blk ? idle_elsewhere(node) : NULL;
	if (old) {
		pw_buddy_remove(&pw_pool.buddy, old);
		make_ours(blk, page, PW_BLOCK_ORDER);
		add_to_buddy(blk, page, PW_BLOCK_ORDER);
	}
	spin_unlock(&pw_pool.lock);
	if (!old) {
		__free_pages(page, PW_BLOCK_ORDER);
		return false;
	}
	pw_supply_free_block(old);
	pw_stat_inc(pool_grown);
	return true;
}

/**
 * pw_supply_grow_node() - take 2 MiB of a node if the kernel has them at hand there
 * @node: which node
 *
 * Where the pool may not grow, as much that lies idle on other nodes goes. Waits for
 * nobody, and when it was in vain nothing is tried for a while.
 *
 * Return: whether there are more pages on that node.
 */
bool pw_supply_grow_node(int node)
{
	unsigned long *not_before = &pw_pool.buddy.shelf[node].not_before;
	struct page *page = NULL;
	bool ok = false;

	if (time_before(jiffies, READ_ONCE(*not_before)) || !node_state(node, N_MEMORY))
		return false;
	/* Before the lock, which others hold who do the same: pages may be zeroed here. */
	if (node_spare(node, false) >= PW_BLOCK_PAGES &&
	    (READ_ONCE(pw_pool.buddy.nr_idle) || may_take_block()))
		page = alloc_pages_node(node, (LIGHT_GFP & ~__GFP_RECLAIM) | BLOCK_GFP |
					__GFP_THISNODE, PW_BLOCK_ORDER);
	if (page && mutex_trylock(&pw_pool.size_lock)) {
		ok = may_take_block() ? add_piece(page, PW_BLOCK_ORDER) :
					exchange(page, node);
		mutex_unlock(&pw_pool.size_lock);
	} else if (page) {
		__free_pages(page, PW_BLOCK_ORDER);
	}
	if (ok)
		pw_supply_tick();
	else
		WRITE_ONCE(*not_before, jiffies + HZ / 10);
	return ok;
}

/* Take the block that is to go first, when it may go: @least pages stay. */
static struct pw_block *pick_idle(unsigned long least)
{
	struct pw_buddy *b = &pw_pool.buddy;
	struct pw_block *blk;

	spin_lock(&pw_pool.lock);
	blk = list_first_entry_or_null(&b->idle, struct pw_block, idle);
	if (blk && (b->nr_owned < least + blk->nr_owned || !let_go(blk->nr_owned)))
		blk = NULL;
	if (blk)
		pw_buddy_remove(b, blk);
	spin_unlock(&pw_pool.lock);
	return blk;
}

/**
 * pw_supply_give_back() - give idle blocks to the kernel
 * @nr: pages; rounded up to blocks
 *
 * Never below the floor, and never what is promised. The caller holds
 * size_lock.
 *
 * Return: how many pages went.
 */
unsigned long pw_supply_give_back(unsigned long nr)
{
	unsigned long gone = 0;
	struct pw_block *blk;

	lockdep_assert_held(&pw_pool.size_lock);
	while (gone < nr && (blk = pick_idle(pw_pool.floor))) {
		gone += blk->nr_owned;
		pw_supply_free_block(blk);
		cond_resched();
	}
	if (gone)
		trace_pw_pool(-(long)gone, READ_ONCE(pw_pool.buddy.nr_owned));
	return gone;
}

/* Would all that is missing and what is idle in parts make up a block? */
static bool has_idle_parts(void)
{
	unsigned long held = READ_ONCE(pw_pool.buddy.nr_owned), nr = PW_BLOCK_PAGES, sum;

	if (!READ_ONCE(pw_pool.buddy.nr_partial))
		return false;
	if (held < pw_pool.floor)
		nr -= min(pw_pool.floor - held, nr - 1);
	spin_lock(&pw_pool.lock);
	sum = pw_buddy_idle_parts(&pw_pool.buddy, nr);
	spin_unlock(&pw_pool.lock);
	return sum >= nr;
}

/* An idle block that is ours in part, taken out of the buddy. */
static struct pw_block *pick_part(void)
{
	struct pw_buddy *b = &pw_pool.buddy;
	struct pw_block *blk;

	spin_lock(&pw_pool.lock);
	blk = list_first_entry_or_null(&b->idle, struct pw_block, idle);
	if (blk && (blk->nr_owned == PW_BLOCK_PAGES || !let_go(blk->nr_owned)))
		blk = NULL;
	if (blk)
		pw_buddy_remove(b, blk);
	spin_unlock(&pw_pool.lock);
	return blk;
}

/* Take 2 MiB that the kernel has at hand, and give it as much in parts. */
static bool replace_parts(void)
{
	const unsigned long *held = &pw_pool.buddy.nr_owned;
	unsigned long top = max(READ_ONCE(*held), pw_pool.floor);
	struct page *page = node_pages(false, LIGHT_GFP | BLOCK_GFP, PW_BLOCK_ORDER);
	struct pw_block *blk;

	lockdep_assert_held(&pw_pool.size_lock);
	if (!page)
		return false;
	while (READ_ONCE(*held) + PW_BLOCK_PAGES > top && (blk = pick_part()))
		pw_supply_free_block(blk);
	/* Somebody may use them again, or have been promised them. */
	if (READ_ONCE(*held) + PW_BLOCK_PAGES > top) {
		__free_pages(page, PW_BLOCK_ORDER);
		return false;
	}
	return add_piece(page, PW_BLOCK_ORDER);
}

/**
 * pw_supply_fit() - hold no more than the ceiling, as far as blocks are idle
 *
 * Where the ceiling is less than a block above the floor, a block is given back
 * and a part of it taken again. The caller holds size_lock.
 */
void pw_supply_fit(void)
{
	const unsigned long *held = &pw_pool.buddy.nr_owned;
	struct pw_block *blk;

	pw_supply_settle(0);
	if (!pw_pool.over)
		return;
	pw_pcp_drain_all();
	pw_supply_give_back(READ_ONCE(*held) - pw_pool.max);
	while (READ_ONCE(*held) > pw_pool.max && (blk = pick_idle(0)))
		pw_supply_free_block(blk);
	if (READ_ONCE(*held) < pw_pool.floor)
		pw_supply_grow(pw_pool.floor - READ_ONCE(*held), true);
}

/* Pages that nobody needs above the floor, wherever they lie. */
static unsigned long unneeded(void)
{
	unsigned long held = READ_ONCE(pw_pool.buddy.nr_owned);
	long avail = atomic_long_read(&pw_pool.avail) + READ_ONCE(pw_pool.over);

	if (avail <= 0 || held <= pw_pool.floor)
		return 0;
	return min((unsigned long)avail, held - pw_pool.floor);
}

/* Pages that pw_supply_give_back() could give, roughly. */
static unsigned long spare(void)
{
	return min(unneeded(), READ_ONCE(pw_pool.buddy.nr_idle));
}

/* Pages that it could give besides if others were moved together. */
static unsigned long scattered(void)
{
	unsigned long nr = unneeded();

	nr -= min(nr, READ_ONCE(pw_pool.buddy.nr_idle));
	return min(nr, pw_evac_could());
}

/* Have blocks emptied, so many at most; they go another time. */
static void want_blocks(unsigned long most)
{
	unsigned long nr = min(scattered() / PW_BLOCK_PAGES, most);

	if (nr && !pw_evac_wanted())
		pw_evac_want(nr);
}

static unsigned long shrink_count(struct shrinker *s, struct shrink_control *sc)
{
	return spare() + scattered();
}

/* When lists and hands were emptied last; written under size_lock. */
static unsigned long last_scan = INITIAL_JIFFIES - HZ;

/*
 * With nothing idle, lists and hands are emptied for others to see it now and then only:
 * reclaim asks over and over, and compaction wants the lock, too.
 */
static bool may_scan(void)
{
	return spare() || time_after_eq(jiffies, READ_ONCE(last_scan) + HZ / 10);
}

static unsigned long shrink_scan(struct shrinker *s, struct shrink_control *sc)
{
	unsigned long gone;

	if (!may_scan()) {
		want_blocks(PW_EVAC_BLOCKS);
		return SHRINK_STOP;
	}
	if (!mutex_trylock(&pw_pool.size_lock))
		return SHRINK_STOP;
	WRITE_ONCE(last_scan, jiffies);
	if (spare() < sc->nr_to_scan)
		pw_pcp_drain_all();
	gone = pw_supply_give_back(sc->nr_to_scan);
	mutex_unlock(&pw_pool.size_lock);
	if (gone < sc->nr_to_scan)
		want_blocks(PW_EVAC_BLOCKS);
	return gone ? gone : SHRINK_STOP;
}

static unsigned long decay_interval(void)
{
	return max_t(unsigned long, READ_ONCE(pool_idle_s), 1) * HZ / DECAY_STEPS;
}

/*
 * The step that is under way begins anew, and takes as long as is wanted now. The
 * parameter can be written until the module is gone, when there shall be no further step.
 */
static int set_idle(const char *val, const struct kernel_param *kp)
{
	int err = param_set_uint(val, kp);

	mutex_lock(&decay_lock);
	if (!err && !decay_ended && delayed_work_pending(&decay_work))
		mod_delayed_work(system_wq, &decay_work, decay_interval());
	mutex_unlock(&decay_lock);
	return err;
}

/**
 * pw_supply_tick() - see to it that the decay runs
 */
void pw_supply_tick(void)
{
	if (!delayed_work_pending(&decay_work))
		schedule_delayed_work(&decay_work, decay_interval());
}

/*
 * The least that was idle in each of the last steps, and what was scattered at the end
 * of each; the newest first.
 */
static unsigned long low_idle[DECAY_STEPS], low_scattered[DECAY_STEPS];

/* Return: the least of a step that ends with @now and those before. */
static unsigned long least_of(unsigned long *low, unsigned long now)
{
	unsigned long least = now;
	unsigned int i;

	memmove(low + 1, low, (DECAY_STEPS - 1) * sizeof(*low));
	low[0] = now;
	for (i = 1; i < DECAY_STEPS; i++)
		least = min(least, low[i]);
	return least;
}

/* Return: what lay idle all the time in the last DECAY_STEPS steps. */
static unsigned long decay_step(void)
{
	unsigned long now;

	spin_lock(&pw_pool.lock);
	now = pw_buddy_low_idle(&pw_pool.buddy);
	spin_unlock(&pw_pool.lock);
	return least_of(low_idle, now);
}

static void decay_give_back(unsigned long nr)
{
	unsigned long gone;
	unsigned int i;

	while (nr) {
		mutex_lock(&pw_pool.size_lock);
		gone = pw_supply_give_back(min_t(unsigned long, nr, DECAY_BATCH));
		mutex_unlock(&pw_pool.size_lock);
		if (!gone)
			break;
		for (i = 0; i < DECAY_STEPS; i++)
			low_idle[i] -= min(gone, low_idle[i]);
		nr -= min(gone, nr);
	}
}

/*
 * Have the floor in blocks, and all of it, and no more than the ceiling, and CPUs with
 * credit. Return: whether there is more to do.
 */
static bool mend(void)
{
	unsigned int i;
	unsigned long held;
	bool more;

	mutex_lock(&pw_pool.size_lock);
	for (i = 0; i < MEND_BATCH && has_idle_parts(); i++)
		if (!replace_parts())
			break;
	pw_supply_fit();
	held = READ_ONCE(pw_pool.buddy.nr_owned);
	if (held < pw_pool.floor)
		pw_supply_grow(pw_pool.floor - held, false);
	pw_avail_heed();
	more = pw_pool.shut || has_idle_parts() ||
	       READ_ONCE(pw_pool.buddy.nr_owned) < pw_pool.floor;
	mutex_unlock(&pw_pool.size_lock);
	return more;
}

static void forget(void)
{
	memset(low_idle, 0, sizeof(low_idle));
	memset(low_scattered, 0, sizeof(low_scattered));
}

static void decay(struct work_struct *work)
{
	unsigned long clear;
	bool more;

	pw_pcp_drain_idle();
	more = mend();
	decay_give_back(decay_step());
	want_blocks(least_of(low_scattered, scattered()) / PW_BLOCK_PAGES);
	pw_zero_kick();
	if (more || READ_ONCE(pw_pool.buddy.nr_owned) != pw_pool.floor ||
	    pw_pcp_count(&clear, NULL))
		pw_supply_tick();
	else
		forget();
}

/**
 * pw_supply_init() - start giving back
 *
 * Return: 0 or -ENOMEM.
 */
int pw_supply_init(void)
{
	shrinker = shrinker_alloc(0, "pagewell");
	if (!shrinker)
		return -ENOMEM;
	shrinker->count_objects = shrink_count;
	shrinker->scan_objects = shrink_scan;
	shrinker->batch = PW_BLOCK_PAGES;
	shrinker->seeks = DEFAULT_SEEKS;
	shrinker_register(shrinker);
	return 0;
}

/**
 * pw_supply_exit() - stop giving back
 */
void pw_supply_exit(void)
{
	shrinker_free(shrinker);
	mutex_lock(&decay_lock);
	decay_ended = true;
	mutex_unlock(&decay_lock);
	cancel_delayed_work_sync(&decay_work);
}
