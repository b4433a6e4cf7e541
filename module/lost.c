// SPDX-License-Identifier: GPL-2.0-only
/*
 * lost.c - pages that somebody refers to when a heap gives them back
 *
 * A pipe, or a device that is at work, may have them for as long as it likes. Until
 * then they stay the pool's, in use: they count against its ceiling, so nobody
 * can have more of the machine's memory by leaving pages behind. Whoever finds
 * no page has those looked at that may have become free, and so does a timer.
 *
 * While a page is on the list its last reference is ours. Nobody can newly come by
 * it, see pw_page_recycle(), so where the count is one it stays one.
 */
#include <linux/list.h>
#include <linux/page_ref.h>
#include <linux/workqueue.h>

#include "pool_int.h"

/*
 * Pages that are looked at in one go, and in one turn of the timer. Others come first
 * in the next one.
 */
#define LOOK	512
#define TURN	65536U

/* Looks for somebody who is refused otherwise. */
#define LOOKS	8

static LIST_HEAD(lost);		/* by page.lru; under pw_pool.lock */
static DEFINE_MUTEX(look_lock);	/* of who has taken the list; inside size_lock */

static void look(struct work_struct *work);
static DECLARE_DELAYED_WORK(look_work, look);

static unsigned int nr_of(struct page *page)
{
	return PageHead(page) ? PW_BLOCK_PAGES : 1;
}

static bool is_spoiled(struct page *page)
{
	return PageHWPoison(page) || (PageHead(page) && PageHasHWPoisoned(page));
}

/* The last one who holds the page gives it to the kernel, all of it. */
static void disown(struct page *page)
{
	unsigned int order = PageHead(page) ? PW_BLOCK_ORDER : 0;
	unsigned long pfn = page_to_pfn(page);
	struct pw_block *blk = pw_pool_block(pfn);

	if (WARN_ON_ONCE(!blk))
		return;
	spin_lock(&pw_pool.lock);
	blk->compound = false;
	pw_buddy_disown(&pw_pool.buddy, blk, pfn % PW_BLOCK_PAGES, order);
	spin_unlock(&pw_pool.lock);
	put_page(page);
}

static void count(long nr)
{
	lockdep_assert_held(&pw_pool.lock);
	WRITE_ONCE(pw_pool.lost, pw_pool.lost + nr);
}

/**
 * pw_page_lose() - keep a page that cannot be used again yet
 * @pfn: its page frame number, or that of the head of a page of 2 MiB
 *
 * It is in no heap and mapped nowhere. Bad memory, and what nobody refers to and
 * has flags that it should not have, goes to the kernel.
 */
void pw_page_lose(u32 pfn)
{
	struct page *page = pfn_to_page(pfn);

	pw_stat_add(pages_lost, nr_of(page));
	/* The kernel calls a page bad that is freed with a mapping. */
	page->mapping = NULL;
	if (is_spoiled(page) || page_ref_count(page) == 1) {
		disown(page);
		return;
	}
	spin_lock(&pw_pool.lock);
	list_add_tail(&page->lru, &lost);
	count(nr_of(page));
	spin_unlock(&pw_pool.lock);
	schedule_delayed_work(&look_work, HZ);
}

/* As a heap would; if it still is as it should not be it goes, see above. */
static void give_back(struct page *page)
{
	u32 pfn = page_to_pfn(page);

	spin_lock(&pw_pool.lock);
	count(-(long)nr_of(page));
	spin_unlock(&pw_pool.lock);
	if (PageHead(page))
		pw_pool_free_huge(pfn, 0);
	else
		pw_pool_free_one(pfn, 0);
}

/**
 * pw_lost_look() - take back pages that nobody refers to any more
 *
 * Looks at some of them, so that it is short. The caller may hold size_lock.
 *
 * Return: how many.
 */
unsigned long pw_lost_look(void)
{
	LIST_HEAD(all);
	LIST_HEAD(seen);
	unsigned long got = 0;
	struct page *page;
	unsigned int i;

	if (!READ_ONCE(pw_pool.lost))
		return 0;
	mutex_lock(&look_lock);
	spin_lock(&pw_pool.lock);
	list_splice_init(&lost, &all);
	spin_unlock(&pw_pool.lock);
	for (i = 0; i < LOOK && !list_empty(&all); i++) {
		page = list_first_entry(&all, struct page, lru);
		list_move_tail(&page->lru, &seen);
		if (page_ref_count(page) == 1 || is_spoiled(page)) {
			list_del(&page->lru);
			got += nr_of(page);
			give_back(page);
		}
		cond_resched();
	}
	spin_lock(&pw_pool.lock);
	list_splice(&all, &lost);
	list_splice_tail(&seen, &lost);
	spin_unlock(&pw_pool.lock);
	mutex_unlock(&look_lock);
	pw_stat_add(lost_looks, i);
	return got;
}

/**
 * pw_lost_look_long() - the same for many, where it may take long
 *
 * Return: how many.
 */
unsigned long pw_lost_look_long(void)
{
	unsigned int n = min_t(unsigned long, READ_ONCE(pw_pool.lost), TURN);
	unsigned long got = 0;

	/* A page of 2 MiB is 512 of those that are counted, and is looked at once. */
	for (; n; n -= min_t(unsigned int, n, LOOK))
		got += pw_lost_look();
	return got;
}

/**
 * pw_lost_look_for() - the same for a request that is refused otherwise
 * @lack: how many would do
 *
 * Looks on where nothing has come, if all that are lost would do; but not at so many
 * again when that was in vain a moment ago. The caller holds size_lock.
 *
 * Return: how many.
 */
unsigned long pw_lost_look_for(unsigned long lack)
{
	static unsigned long in_vain = INITIAL_JIFFIES;
	unsigned long all = READ_ONCE(pw_pool.lost), got = pw_lost_look();
	unsigned int i, nr = min_t(unsigned long, DIV_ROUND_UP(all, LOOK), LOOKS);

	lockdep_assert_held(&pw_pool.size_lock);
	if (got || nr < 2 || lack > all || time_before(jiffies, in_vain))
		return got;
	for (i = 1; i < nr && !got; i++)
		got = pw_lost_look();
	if (!got)
		in_vain = jiffies + HZ / 2;
	return got;
}

static void look(struct work_struct *work)
{
	pw_lost_look_long();
	if (READ_ONCE(pw_pool.lost))
		schedule_delayed_work(&look_work, HZ);
}

/**
 * pw_lost_exit() - let go of what somebody still refers to
 *
 * Nothing is lost any more.
 */
void pw_lost_exit(void)
{
	struct page *page, *next;

	/* What cannot come back after all has the work done again. */
	pw_lost_look();
	cancel_delayed_work_sync(&look_work);
	list_for_each_entry_safe(page, next, &lost, lru) {
		list_del(&page->lru);
		disown(page);
	}
	pw_pool.lost = 0;
}
