// SPDX-License-Identifier: GPL-2.0-only
/*
 * evacuate.c - blocks whose pages are to be moved, and where these go
 *
 * The pool's part of compaction (compact.c). A block that is chosen is leaving:
 * it is the last that pages are taken from, so it empties by itself, too. It does
 * so no longer when it is empty, or given up; then it rests for a while.
 *
 * What pages are moved to is what others could not have as 2 MiB either, crumbs
 * of the blocks that stay. They may be promised: for each there is soon one that
 * it was taken for, and who finds none meanwhile waits, see alloc_in_debt().
 */
#include <linux/highmem.h>
#include <linux/jiffies.h>
#include <linux/moduleparam.h>
#include <linux/sched.h>

#include "evacuate.h"
#include "pool_hit.h"
#include "pool_int.h"

/* How long a block is left alone after it could not be emptied. */
#define REST		(10 * HZ)

/* Pages of a block that may be where nobody finds them, on their way to it. */
#define STRAYS		32

unsigned int pw_compact_mbps = 256;
module_param_named(compact_mbps, pw_compact_mbps, uint, 0644);
MODULE_PARM_DESC(compact_mbps, "MiB a second that may be moved to have free pages of 2 MiB (0: none)");

DECLARE_WAIT_QUEUE_HEAD(pw_evac_wait);
static atomic_t wanted;

/**
 * pw_evac_could() - pages of blocks that could be emptied, as far as one can see
 *
 * Two blocks can be had out of two blocks' worth, but somebody may be faster.
 */
unsigned long pw_evac_could(void)
{
	unsigned long blocks, sum = 0;
	int node;

	if (!READ_ONCE(pw_compact_mbps))
		return 0;
	for_each_node_state(node, N_MEMORY) {
		blocks = pw_buddy_crumbs(&pw_pool.buddy, node) / PW_BLOCK_PAGES;
		sum += blocks ? blocks - 1 : 0;
	}
	return sum * PW_BLOCK_PAGES;
}

/**
 * pw_evac_want() - pages of 2 MiB were looked for, and there was none
 * @nr: how many
 *
 * Does not sleep.
 */
void pw_evac_want(unsigned int nr)
{
	if (!pw_evac_could())
		return;
	atomic_add(nr, &wanted);
	if (wq_has_sleeper(&pw_evac_wait))
		wake_up(&pw_evac_wait);
}

/**
 * pw_evac_wanted() - is it time to move pages?
 */
bool pw_evac_wanted(void)
{
	return atomic_read(&wanted);
}

/**
 * pw_evac_begin_all() - find out how many pages of 2 MiB are wanted
 *
 * What is wanted from now on is counted anew.
 *
 * Return: how many.
 */
unsigned int pw_evac_begin_all(void)
{
	return atomic_xchg(&wanted, 0);
}

static bool is_rested(const struct pw_block *blk)
{
	return !blk->rests_until || time_after_eq(jiffies, blk->rests_until);
}

static void let_rest(struct pw_block *blk)
{
	blk->rests_until = (jiffies + REST) ?: 1;
}

/* As far as one can see, and it may be different in a moment. */
static bool pages_may_move(const struct pw_block *blk)
{
	struct page *page = pfn_to_page(blk->base);
	unsigned int i;

	for (i = 0; i < PW_BLOCK_PAGES; i++, page++)
		if (page_ref_count(page) > 2 + atomic_read(&page->_mapcount) ||
		    page_private(page))
			return false;
	return true;
}

/* Pages may have been freed or disowned since pw_buddy_emptiest() looked. */
static void leave(struct pw_evac *e, struct pw_block *blk)
{
	spin_lock(&pw_pool.lock);
	if (blk->nr_owned == PW_BLOCK_PAGES && list_empty(&blk->idle)) {
		pw_buddy_leave(&pw_pool.buddy, blk, true);
		e->base[e->nr++] = blk->base;
	}
	spin_unlock(&pw_pool.lock);
}

/* Return: false when there is nothing to choose from. */
static bool choose(struct pw_evac *e, unsigned int nr)
{
	unsigned long crumbs = pw_buddy_crumbs(&pw_pool.buddy, e->node) / PW_BLOCK_PAGES;
	struct pw_block *blks[PW_EVAC_BLOCKS];
	unsigned int i;

	/* Under this no block goes away. */
	lockdep_assert_held(&pw_pool.size_lock);
	/* One block's worth is left to others. */
	if (crumbs < 2)
		return false;
	nr = min3((unsigned long)nr, (unsigned long)PW_EVAC_BLOCKS, crumbs - 1);
	spin_lock(&pw_pool.lock);
	nr = pw_buddy_emptiest(&pw_pool.buddy, e->node, blks, nr, is_rested);
	spin_unlock(&pw_pool.lock);
	for (i = 0; i < nr; i++) {
		if (pages_may_move(blks[i]))
			leave(e, blks[i]);
		else
			let_rest(blks[i]);
	}
	return nr;
}

/**
 * pw_evac_begin() - choose blocks that are to be emptied
 * @e: filled in
 * @node: of which node of memory
 * @nr: how many at most
 *
 * Return: whether there are any; then pw_evac_end() must follow.
 */
bool pw_evac_begin(struct pw_evac *e, int node, unsigned int nr)
{
	bool any;

	memset(e, 0, sizeof(*e));
	e->node = node;
	pw_pcp_drain_all();
	do {
		mutex_lock(&pw_pool.size_lock);
		any = choose(e, nr);
		mutex_unlock(&pw_pool.size_lock);
		cond_resched();
	} while (any && !e->nr);
	return any;
}

/**
 * pw_evac_find() - is a page in a block that is to be emptied?
 * @e: the blocks
 * @pfn: the page
 *
 * Return: the number of the block among them, or -1.
 */
int pw_evac_find(const struct pw_evac *e, u32 pfn)
{
	u32 base = pfn & ~(PW_BLOCK_PAGES - 1);
	unsigned int i;

	for (i = 0; i < e->nr; i++)
		if (e->base[i] == base)
			return i;
	return -1;
}

/* Under size_lock no block goes away. */
static struct pw_block *leaving_block(u32 base)
{
	struct pw_block *blk = pw_pool_block(base);

	lockdep_assert_held(&pw_pool.size_lock);
	lockdep_assert_held(&pw_pool.lock);
	return blk && blk->leaving ? blk : NULL;
}

static void give_up(struct pw_evac *e, unsigned int i, struct pw_block *blk)
{
	pw_buddy_leave(&pw_pool.buddy, blk, false);
	let_rest(blk);
	e->base[i] = e->base[e->nr - 1];
	e->found[i] = e->found[e->nr - 1];
	e->nr--;
}

/**
 * pw_evac_choose() - give up blocks with pages that nobody could move
 * @e: the blocks, with what was found of each
 *
 * Return: whether any is left.
 */
bool pw_evac_choose(struct pw_evac *e)
{
	struct pw_block *blk;
	unsigned int i;

	mutex_lock(&pw_pool.size_lock);
	spin_lock(&pw_pool.lock);
	for (i = e->nr; i--; ) {
		blk = leaving_block(e->base[i]);
		if (blk && pw_block_used(blk) > e->found[i] + STRAYS)
			give_up(e, i, blk);
	}
	spin_unlock(&pw_pool.lock);
	mutex_unlock(&pw_pool.size_lock);
	return e->nr;
}

/* Whoever takes blocks from the kernel may take long, and faults wait for our caller. */
static bool get_size_lock(void)
{
	if (mutex_trylock(&pw_pool.size_lock))
		return true;
	schedule_timeout_uninterruptible(1);
	return mutex_trylock(&pw_pool.size_lock);
}

/**
 * pw_evac_take() - pages to move others to
 * @e: the blocks
 * @pfns: out: page frame numbers, none in one of the blocks; contents undefined
 * @nr: how many at most
 *
 * Until pw_evac_put() size_lock is held, and they may be all that somebody was
 * promised: who finds no page asks again under that.
 *
 * Return: how many there are; when there are none, pw_evac_put() must not follow.
 */
unsigned int pw_evac_take(const struct pw_evac *e, u32 *pfns, unsigned int nr)
{
	struct pw_buddy *b = &pw_pool.buddy;
	unsigned int got;

	if (!get_size_lock())
		return 0;
	spin_lock(&pw_pool.lock);
	pw_buddy_look(b, e->node, 1);
	got = pw_buddy_alloc_crumbs(b, pfns, nr, PW_DIRTY);
	got += pw_buddy_alloc_crumbs(b, pfns + got, nr - got, PW_CLEAR);
	pw_pool.moving = got;
	spin_unlock(&pw_pool.lock);
	if (!got)
		mutex_unlock(&pw_pool.size_lock);
	return got;
}

/**
 * pw_evac_copy() - move what a page contains
 * @from: the page, mapped nowhere, in one index; it is as new then
 * @to: another one
 *
 * Return: false when somebody else refers to the page.
 */
bool pw_evac_copy(u32 from, u32 to)
{
	if (!pw_page_recycle(pfn_to_page(from)))
		return false;
	copy_highpage(pfn_to_page(to), pfn_to_page(from));
	return true;
}

/**
 * pw_evac_put() - give pages back, those that are empty now or were not needed
 * @pfns: their page frame numbers
 * @nr: how many pw_evac_take() has given
 */
void pw_evac_put(const u32 *pfns, unsigned int nr)
{
	enum pw_kind kind = PW_DIRTY;

	lockdep_assert_held(&pw_pool.size_lock);
	if (pw_zero_on_free()) {
		pw_zero_pages(pfns, nr);
		pw_stat_add(zeroed_free, nr);
		kind = PW_CLEAR;
	}
	spin_lock(&pw_pool.lock);
	pw_buddy_put(pfns, nr, kind);
	pw_pool.moving = 0;
	spin_unlock(&pw_pool.lock);
	mutex_unlock(&pw_pool.size_lock);
}

/**
 * pw_evac_end() - be done with the blocks that were chosen
 * @e: the blocks
 *
 * Return: how many are free as a whole, or were, until somebody took them.
 */
unsigned int pw_evac_end(struct pw_evac *e)
{
	unsigned int i, won;

	pw_pcp_drain_all();
	mutex_lock(&pw_pool.size_lock);
	spin_lock(&pw_pool.lock);
	for (i = e->nr; i--; ) {
		struct pw_block *blk = leaving_block(e->base[i]);

		if (blk)
			give_up(e, i, blk);
	}
	won = e->nr;
	spin_unlock(&pw_pool.lock);
	mutex_unlock(&pw_pool.size_lock);
	pw_stat_add(blocks_emptied, won);
	return won;
}
