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
#include "pool_int.h"

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
	for (i = 1; i < PW_BLOCK_PAGES; i++)
		if (!page_ref_freeze(head + i, 1))
			goto thaw;
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
thaw:
	while (--i)
		page_ref_unfreeze(head + i, 1);
	return false;
}

/**
 * pw_block_cut() - make 512 pages out of one of 2 MiB
 * @blk: all its pages are the caller's; they may be 512 already
 *
 * Each gets a reference count of one. Does not sleep.
 */
void pw_block_cut(struct pw_block *blk)
{
	struct page *head = pfn_to_page(blk->base);
	unsigned int i;

	if (!blk->compound)
		return;
	blk->compound = false;
	pw_compound_end(head);
	__ClearPageHead(head);
	for (i = 1; i < PW_BLOCK_PAGES; i++) {
		head[i].mapping = NULL;
		clear_compound_head(head + i);
		page_ref_unfreeze(head + i, 1);
	}
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

/**
 * pw_pool_alloc_huge() - take a page of 2 MiB for a heap
 * @flags: PW_ALLOC_PROMISED: against 512 promises that the caller holds, which
 *	   are used up; PW_ALLOC_ZERO: the page reads as zero
 *
 * Return: page frame number of the head of a compound page with a reference
 * count of one; 0 when there is none, and then no promise is used.
 */
unsigned long pw_pool_alloc_huge(unsigned int flags)
{
	enum pw_kind kind = flags & PW_ALLOC_ZERO ? PW_CLEAR : PW_DIRTY;
	unsigned int i;
	u32 pfn;

	if (!(flags & PW_ALLOC_PROMISED) && pw_pool_reserve(PW_BLOCK_PAGES))
		return 0;
	pfn = pw_pcp_alloc_huge(&kind);
	if (unlikely(!pfn)) {
		kind = flags & PW_ALLOC_ZERO ? PW_CLEAR : PW_DIRTY;
		pfn = search(&kind);
	}
	if (unlikely(!pfn)) {
		if (!(flags & PW_ALLOC_PROMISED))
			pw_pool_unreserve(PW_BLOCK_PAGES);
		return 0;
	}
	if (flags & PW_ALLOC_ZERO && kind != PW_CLEAR) {
		for (i = 0; i < PW_BLOCK_PAGES; i++) {
			clear_highpage(pfn_to_page(pfn + i));
			cond_resched();
		}
		pw_stat_add(zeroed_fault, PW_BLOCK_PAGES);
	}
	return pfn;
}

/* As page_recycle() for small pages. */
static bool huge_recycle(struct page *head)
{
	if (!page_ref_freeze(head, 1))
		return false;
	if (unlikely(head->flags & PW_FLAGS_HELD || PageHasHWPoisoned(head))) {
		page_ref_unfreeze(head, 1);
		return false;
	}
	head->flags &= ~(PAGE_FLAGS_CHECK_AT_PREP & ~BIT(PG_head));
	head->mapping = NULL;
	set_page_private(head, 0);
	pw_compound_recycle(head);
	page_ref_unfreeze(head, 1);
	return true;
}

/* The last one who holds the page gives it to the kernel, all of it. */
static void huge_lose(unsigned long pfn)
{
	struct page *head = pfn_to_page(pfn);
	struct pw_block *blk = pw_pool_block(pfn);

	if (WARN_ON_ONCE(!blk))
		return;
	spin_lock(&pw_pool.lock);
	blk->compound = false;
	pw_buddy_disown(&pw_pool.buddy, blk, 0, PW_BLOCK_ORDER);
	pw_pool.lost += PW_BLOCK_PAGES;
	spin_unlock(&pw_pool.lock);
	/* The kernel calls a page bad that is freed with a mapping. */
	head->mapping = NULL;
	put_page(head);
	pw_stat_add(pages_lost, PW_BLOCK_PAGES);
}

/**
 * pw_pool_free_huge() - take a page of 2 MiB back from a heap
 * @pfn: page frame number of its head
 * @flags: PW_FREE_PROMISED: the caller keeps 512 promises for it
 *
 * The page is mapped nowhere any more. If somebody else still refers to it, or
 * to a part of it, the pool forgets it.
 */
void pw_pool_free_huge(unsigned long pfn, unsigned int flags)
{
	bool promised = flags & PW_FREE_PROMISED;

	if (unlikely(!huge_recycle(pfn_to_page(pfn)))) {
		if (promised)
			atomic_long_sub(PW_BLOCK_PAGES, &pw_pool.avail);
		huge_lose(pfn);
		if (promised)
			pw_pay_debt();
		return;
	}
	pw_pcp_free_huge(pfn, PW_DIRTY);
	if (!promised)
		atomic_long_add(PW_BLOCK_PAGES, &pw_pool.avail);
}

/**
 * pw_pool_split_huge() - make 512 pages out of a page of 2 MiB in use
 * @pfn: page frame number of its head
 *
 * Nobody but the caller refers to it, and nothing maps it. Each of the pages
 * gets a reference count of one, and the 511 new ones no mapping, no flags and
 * a page_private() of zero; the first one keeps what it has. Does not sleep.
 */
void pw_pool_split_huge(unsigned long pfn)
{
	struct pw_block *blk = pw_pool_block(pfn);

	if (!WARN_ON_ONCE(!blk))
		pw_block_cut(blk);
}
