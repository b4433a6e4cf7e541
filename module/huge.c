// SPDX-License-Identifier: GPL-2.0-only
/*
 * huge.c - pages of 2 MiB: blocks as one compound page
 *
 * The core maps 2 MiB at once only when they are one compound page: a head with
 * the one reference count, and 511 pages that point to it. Blocks come from the
 * kernel in that form and keep it while they are free or in use as a whole.
 * The buddy cuts one when it needs smaller pieces (pw_block_cut()), and
 * a block whose pieces are all back is joined again when 2 MiB are wanted, by
 * the zeroing thread ahead of that if it has the block in its hand.
 *
 * Only the one who has all pages of a block changes its form.
 */
#include <linux/highmem.h>
#include <linux/page_ref.h>

#include "compat.h"
#include "evacuate.h"
#include "pool_hit.h"
#include "pool_int.h"

/**
 * pw_block_freeze() - take the references of 511 pages away
 * @blk: all its pages are the caller's; it is no compound page
 *
 * Return: false when someone refers to one of the pages; nothing is changed.
 */
bool pw_block_freeze(struct pw_block *blk)
{
	struct page *head = pfn_to_page(blk->base), *page = head + 1;

#pragma GCC unroll 8
	for (; page < head + PW_BLOCK_PAGES; page++)
		if (unlikely(atomic_cmpxchg(&page->_refcount, 1, 0) != 1))
			goto thaw;
	return true;
thaw:
	while (--page > head)
		page_ref_unfreeze(page, 1);
	return false;
}

/**
 * pw_block_join() - make one page of 2 MiB out of 512
 * @blk: all its pages are the caller's; it may be a compound page already
 *
 * Does not sleep.
 *
 * Return: false when someone refers to one of the pages; nothing is changed.
 */
bool pw_block_join(struct pw_block *blk)
{
	struct page *head = pfn_to_page(blk->base);
	unsigned int i;

	if (blk->compound)
		return true;
	if (!PW_HAVE_COMPOUND || blk->nr_owned < PW_BLOCK_PAGES)
		return false;
	if (!pw_block_freeze(blk))
		return false;
	__SetPageHead(head);
	for (i = 1; i < PW_BLOCK_PAGES; i++) {
		head[i].mapping = TAIL_MAPPING;
		set_page_private(head + i, 0);
		set_compound_head(head + i, head);
	}
	pw_compound_begin(head, PW_BLOCK_ORDER);
	blk->compound = true;
	pw_stat_inc(blocks_joined);
	return true;
}

static void unlink_tails(struct page *head)
{
	struct page *page;

	pw_compound_end(head);
	__ClearPageHead(head);
#pragma GCC unroll 8
	for (page = head + 1; page < head + PW_BLOCK_PAGES; page++) {
		page->mapping = NULL;
		clear_compound_head(page);
	}
}

/**
 * pw_block_unlink() - make a page of 2 MiB a block that may be freed as such
 * @blk: all its pages are the caller's; it is a compound page
 *
 * All pages but the first have no reference then, as pages of a larger
 * allocation that is not a compound page.
 */
void pw_block_unlink(struct pw_block *blk)
{
	blk->compound = false;
	unlink_tails(pfn_to_page(blk->base));
}

/**
 * pw_block_cut() - make 512 pages out of one of 2 MiB
 * @blk: all its pages are the caller's; they may be 512 already
 *
 * Each gets a reference count of one. Does not sleep.
 */
void pw_block_cut(struct pw_block *blk)
{
	struct page *head = pfn_to_page(blk->base), *page;

	if (!blk->compound)
		return;
	blk->compound = false;
	unlink_tails(head);
#pragma GCC unroll 8
	for (page = head + 1; page < head + PW_BLOCK_PAGES; page++)
		atomic_set_release(&page->_refcount, 1);
	pw_stat_inc(blocks_cut);
}

/*
 * No block is whole in the buddy. Empty everybody's lists into it, and then try
 * to grow, but not with every fault of a heap that could do with small pages.
 */
static u32 search(enum pw_kind *kind)
{
	static unsigned long not_before;
	const enum pw_kind liked = *kind;
	u32 pfn;

	if (time_before(jiffies, READ_ONCE(not_before)))
		return 0;
	pw_pcp_drain_all();
	pfn = pw_pcp_alloc_huge(kind);
	if (!pfn && pw_supply_grow_block()) {
		*kind = liked;
		pfn = pw_pcp_alloc_huge(kind);
	}
	if (!pfn)
		WRITE_ONCE(not_before, jiffies + HZ / 10);
	return pfn;
}

static void zero_block(u32 pfn)
{
	unsigned int i;

	for (i = 0; i < PW_BLOCK_PAGES; i++) {
		clear_highpage(pfn_to_page(pfn + i));
		cond_resched();
	}
}

static u32 find(enum pw_kind *kind)
{
	const enum pw_kind liked = *kind;
	u32 pfn = pw_pcp_alloc_huge(kind);

	if (!pfn) {
		*kind = liked;
		pfn = search(kind);
	}
	if (!pfn)
		pw_evac_want(1);
	return pfn;
}

/* With @nr pages that are not promised: they go back when there is none. */
static u32 try(enum pw_kind *kind, unsigned int nr)
{
	u32 pfn = 0;

	down_read(&pw_pool.trials);
	if (pw_avail_try(nr)) {
		pfn = find(kind);
		if (!pfn)
			pw_pool_unreserve(nr);
	}
	up_read(&pw_pool.trials);
	return pfn;
}

static noinline u32 alloc_slow(enum pw_kind kind, unsigned int flags)
{
	u32 pfn = flags & PW_ALLOC_PROMISED ? find(&kind) : try(&kind, PW_BLOCK_PAGES);

	if (pfn && flags & PW_ALLOC_ZERO && kind != PW_CLEAR) {
		zero_block(pfn);
		pw_stat_add(zeroed_fault, PW_BLOCK_PAGES);
	}
	return pfn;
}

/**
 * pw_pool_alloc_huge() - take a page of 2 MiB for a heap
 * @flags: PW_ALLOC_PROMISED: against 512 promises that the caller holds, which
 *	   are used up; PW_ALLOC_ZERO: the page reads as zero
 *
 * Return: page frame number of the head of a compound page with a reference
 * count of one; 0 when there is none, and then no promise is used.
 */
u32 pw_pool_alloc_huge(unsigned int flags)
{
	enum pw_kind kind = flags & PW_ALLOC_ZERO ? PW_CLEAR : PW_DIRTY;
	u32 pfn = pw_hit_alloc_huge(kind, flags);

	return likely(pfn) ? pfn : alloc_slow(kind, flags);
}

/**
 * pw_pool_swap_huge() - take a page of 2 MiB in whose place small ones will go
 * @promised: of its 512 pages, those that the caller holds promises for
 *
 * Return: as pw_pool_alloc_huge(); contents undefined.
 */
u32 pw_pool_swap_huge(unsigned int promised)
{
	enum pw_kind kind = PW_DIRTY;

	return try(&kind, PW_BLOCK_PAGES - promised);
}

/* As pw_page_recycle() for small pages. */
static bool huge_recycle(struct page *head)
{
	if (unlikely(page_ref_count(head) != 1 || head->flags & PW_FLAGS_HELD ||
		     PageHasHWPoisoned(head)))
		return false;
	head->flags &= ~(PAGE_FLAGS_CHECK_AT_PREP & ~BIT(PG_head));
	head->mapping = NULL;
	set_page_private(head, 0);
	pw_compound_recycle(head);
	return true;
}

static void zero_freed(u32 pfn)
{
	zero_block(pfn);
	pw_stat_add(zeroed_free, PW_BLOCK_PAGES);
	pw_pcp_free_huge(pfn, PW_CLEAR);
}

/**
 * pw_pool_free_huge() - take a page of 2 MiB back from a heap
 * @pfn: page frame number of its head
 * @flags: PW_FREE_PROMISED: the caller keeps 512 promises for it
 *
 * The page is mapped nowhere any more. If somebody else still refers to it, or
 * to a part of it, it is not used again before that has ended.
 */
void pw_pool_free_huge(u32 pfn, unsigned int flags)
{
	if (unlikely(!huge_recycle(pfn_to_page(pfn)))) {
		if (flags & PW_FREE_PROMISED)
			atomic_long_sub(PW_BLOCK_PAGES, &pw_pool.avail);
		pw_page_lose(pfn);
		if (flags & PW_FREE_PROMISED)
			pw_pay_debt();
		return;
	}
	if (pw_zero_on_free())
		zero_freed(pfn);
	else if (unlikely(!pw_hit_free_huge(pfn)))
		pw_pcp_free_huge(pfn, PW_DIRTY);
	if (!(flags & PW_FREE_PROMISED))
		pw_pcp_credit_give(PW_BLOCK_PAGES);
}

/**
 * pw_pool_split_huge() - make 512 pages out of a page of 2 MiB in use
 * @pfn: page frame number of its head
 *
 * Nobody but the caller refers to it, and nothing maps it. Each of the pages
 * gets a reference count of one, and the 511 new ones no mapping, no flags and
 * a page_private() of zero; the first one keeps what it has. Does not sleep.
 */
void pw_pool_split_huge(u32 pfn)
{
	struct pw_block *blk = pw_pool_block(pfn);

	if (!WARN_ON_ONCE(!blk))
		pw_block_cut(blk);
}
