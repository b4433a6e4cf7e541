// SPDX-License-Identifier: GPL-2.0-only
/*
 * zero.c - zeroing ahead
 *
 * A thread of the lowest priority turns dirty free pages clear while the stock
 * of clear ones is low, so that a fault finds its page zeroed. It takes one
 * free run of pages in its hand at a time, the largest there is, so that clear
 * runs are long, but never more than an eighth of what is free.
 *
 * The pages in the hand still count as free: pw_zero_drop() gets them back at
 * any time, waiting for no more than the page that is just being zeroed. That
 * one is zeroed under a spinlock, so a thread of the lowest priority cannot be
 * preempted with it.
 */
#include <linux/highmem.h>
#include <linux/kthread.h>
#include <linux/kstrtox.h>
#include <linux/log2.h>
#include <linux/moduleparam.h>
#include <linux/sched.h>
#include <linux/sysfs.h>
#include <linux/wait.h>

#include "pace.h"
#include "pool_int.h"

static int zero_stock_mb = -1;
module_param(zero_stock_mb, int, 0644);
MODULE_PARM_DESC(zero_stock_mb, "MiB of free pages kept zeroed ahead (-1: half of pool_mb)");

static unsigned int zero_mbps = 1024;
module_param(zero_mbps, uint, 0644);
MODULE_PARM_DESC(zero_mbps, "MiB a second that may be zeroed ahead (0: none)");

DEFINE_STATIC_KEY_FALSE(pw_zero_on_free_key);

static int set_zero_on_free(const char *val, const struct kernel_param *kp)
{
	bool on;
	int err = kstrtobool(val, &on);

	if (err)
		return err;
	if (on)
		static_branch_enable(&pw_zero_on_free_key);
	else
		static_branch_disable(&pw_zero_on_free_key);
	return 0;
}

static int get_zero_on_free(char *buf, const struct kernel_param *kp)
{
	return sysfs_emit(buf, "%c\n", static_key_enabled(&pw_zero_on_free_key) ? 'Y' : 'N');
}

static const struct kernel_param_ops zero_on_free_ops = {
	.set = set_zero_on_free,
	.get = get_zero_on_free,
};
module_param_cb(zero_on_free, &zero_on_free_ops, NULL, 0644);
__MODULE_PARM_TYPE(zero_on_free, "bool");
MODULE_PARM_DESC(zero_on_free, "zero pages when heaps give them back, not later (N)");

static DECLARE_WAIT_QUEUE_HEAD(zero_wait);
static struct task_struct *zero_task;

/* Zero up to here. */
static unsigned long stock_high(void)
{
	int mb = READ_ONCE(zero_stock_mb);

	return mb < 0 ? pw_pool.floor / 2 : (unsigned long)mb << (20 - PAGE_SHIFT);
}

static __always_inline bool stock_below(unsigned long mark)
{
	return READ_ONCE(zero_mbps) && !atomic_read(&pw_pool.scarce) &&
	       READ_ONCE(pw_pool.buddy.nr_free[PW_CLEAR]) < mark &&
	       READ_ONCE(pw_pool.buddy.nr_free[PW_DIRTY]);
}

/**
 * pw_zero_kick() - wake the thread if the stock is below half
 */
void pw_zero_kick(void)
{
	if (stock_below(stock_high() / 2) && wq_has_sleeper(&zero_wait))
		wake_up(&zero_wait);
}

#ifdef CONFIG_X86_64
/* Past the caches: a program's data stays in them. */
static void zero_uncached(struct page *page)
{
	unsigned long *p = page_address(page);
	unsigned long *end = p + PAGE_SIZE / sizeof(*p);

	for (; p < end; p += 4)
		asm volatile("movnti %4, %0\n\t"
			     "movnti %4, %1\n\t"
			     "movnti %4, %2\n\t"
			     "movnti %4, %3"
			     : "=m" (p[0]), "=m" (p[1]), "=m" (p[2]), "=m" (p[3])
			     : "r" (0UL));
	/* Unlocking does not order these stores. */
	wmb();
}
#else
static void zero_uncached(struct page *page)
{
	clear_highpage(page);
}
#endif

/**
 * pw_zero_pages() - zero pages, in a fault or when they are freed
 * @pfns: their page frame numbers
 * @nr: how many
 */
void pw_zero_pages(const u32 *pfns, unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++)
		clear_highpage(pfn_to_page(pfns[i]));
}

static bool hand_fill(void)
{
	struct pw_hand *hand = &pw_pool.hand;
	struct pw_buddy *b = &pw_pool.buddy;
	bool filled = false;
	int top;

	spin_lock(&hand->lock);
	spin_lock(&pw_pool.lock);
	top = pw_buddy_top_order(b, PW_DIRTY);
	if (top >= 0 && !atomic_read(&pw_pool.scarce)) {
		unsigned long most = max(pw_buddy_nr_free(b) / 8, 1UL);

		hand->order = min_t(unsigned int, top, ilog2(most));
		hand->blk = pw_buddy_alloc_kind(b, hand->order, PW_DIRTY, &hand->index);
		hand->done = 0;
		filled = true;
	}
	spin_unlock(&pw_pool.lock);
	spin_unlock(&hand->lock);
	return filled;
}

/**
 * pw_zero_drop() - put what is in the hand into the buddy
 */
void pw_zero_drop(void)
{
	struct pw_hand *hand = &pw_pool.hand;
	struct pw_buddy *b = &pw_pool.buddy;
	unsigned int i;

	spin_lock(&hand->lock);
	if (hand->blk) {
		if (hand->order == PW_BLOCK_ORDER && hand->done == PW_BLOCK_PAGES)
			pw_block_join(hand->blk);
		spin_lock(&pw_pool.lock);
		if (hand->done == 1U << hand->order) {
			pw_buddy_free(b, hand->blk, hand->index, hand->order, PW_CLEAR);
		} else {
			pw_block_cut(hand->blk);
			for (i = 0; i < 1U << hand->order; i++)
				pw_buddy_free(b, hand->blk, hand->index + i, 0,
					      i < hand->done ? PW_CLEAR : PW_DIRTY);
		}
		spin_unlock(&pw_pool.lock);
		hand->blk = NULL;
	}
	spin_unlock(&hand->lock);
}

/* Return: false when there is nothing left to do in the hand. */
static bool hand_zero_one(void)
{
	struct pw_hand *hand = &pw_pool.hand;
	bool more;

	spin_lock(&hand->lock);
	more = hand->blk && hand->done < 1U << hand->order;
	if (more) {
		zero_uncached(pfn_to_page(hand->blk->base + hand->index + hand->done));
		hand->done++;
	}
	spin_unlock(&hand->lock);
	return more;
}

static unsigned int hand_zero(void)
{
	unsigned int nr = 0;

	while (!kthread_should_stop() && hand_zero_one()) {
		nr++;
		cond_resched();
	}
	pw_zero_drop();
	return nr;
}

/* What the thread costs in all, as far as the scheduler has counted. */
static void account(void)
{
	static u64 before;
	u64 now = current->se.sum_exec_runtime;

	pw_stat_add(zero_ahead_ns, now - before);
	before = now;
}

static int zero_thread(void *unused)
{
	unsigned long owed = 0;

	set_user_nice(current, MAX_NICE);
	while (!kthread_should_stop()) {
		wait_event_interruptible(zero_wait, kthread_should_stop() ||
					 stock_below(stock_high() / 2));
		while (!kthread_should_stop() && stock_below(stock_high()) && hand_fill()) {
			unsigned int nr = hand_zero();

			pw_stat_add(zeroed_ahead, nr);
			pw_pace(&owed, nr, READ_ONCE(zero_mbps));
			account();
		}
	}
	return 0;
}

/**
 * pw_zero_count() - how many pages are in the hand
 * @clear: out: how many of them are zeroed
 *
 * The caller holds the hand's lock.
 *
 * Return: all of them.
 */
unsigned long pw_zero_count(unsigned long *clear)
{
	const struct pw_hand *hand = &pw_pool.hand;

	lockdep_assert_held(&hand->lock);
	*clear = hand->blk ? hand->done : 0;
	return hand->blk ? 1UL << hand->order : 0;
}

/**
 * pw_zero_init() - start the thread
 *
 * Return: 0 or -ENOMEM.
 */
int pw_zero_init(void)
{
	zero_task = kthread_run(zero_thread, NULL, "pagewell_zero");
	return PTR_ERR_OR_ZERO(zero_task);
}

/**
 * pw_zero_exit() - stop the thread; its hand is empty then
 */
void pw_zero_exit(void)
{
	kthread_stop(zero_task);
}
