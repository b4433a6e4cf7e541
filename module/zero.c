// SPDX-License-Identifier: GPL-2.0-only
/*
 * zero.c - zeroing ahead
 *
 * A thread of the lowest priority turns dirty free pages clear while the stock
 * of clear ones is low, so that a fault finds its page zeroed. Each node of memory
 * has a thread of its own, on the processors next to it, and a part of the stock as
 * large as its part of the pool. A thread takes one free run of pages in its hand at
 * a time, the largest there is, so that clear runs are long, but never more than an
 * eighth of what is free there.
 *
 * The pages in a hand still count as free: pw_zero_drop() gets them back at
 * any time, waiting for no more than the page that is just being zeroed. That
 * one is zeroed under a spinlock, so a thread of the lowest priority cannot be
 * preempted with it.
 */
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/highmem.h>
#include <linux/kthread.h>
#include <linux/kstrtox.h>
#include <linux/log2.h>
#include <linux/math64.h>
#include <linux/moduleparam.h>
#include <linux/nodemask.h>
#include <linux/sched.h>
#include <linux/sched/stat.h>
#include <linux/slab.h>
#include <linux/sysfs.h>
#include <linux/topology.h>
#include <linux/wait.h>

#include "pace.h"
#include "pool_int.h"
#include "trace.h"

static DECLARE_WAIT_QUEUE_HEAD(zero_wait);
static struct task_struct **zero_tasks;

/* Whether there is something to do is for the threads to see. */
static int set_stock(const char *val, const struct kernel_param *kp)
{
	int mb, err = kstrtoint(val, 0, &mb);

	if (!err && mb < -1)
		err = -EINVAL;
	if (!err)
		err = param_set_int(val, kp);
	wake_up_all(&zero_wait);
	return err;
}

static const struct kernel_param_ops stock_ops = {
	.set = set_stock,
	.get = param_get_int,
};

static int zero_stock_mb = -1;
module_param_cb(zero_stock_mb, &stock_ops, &zero_stock_mb, 0644);
__MODULE_PARM_TYPE(zero_stock_mb, "int");
MODULE_PARM_DESC(zero_stock_mb, "MiB of free pages kept zeroed ahead (-1: half of pool_mb)");

static int set_mbps(const char *val, const struct kernel_param *kp)
{
	int err = param_set_uint(val, kp);

	wake_up_all(&zero_wait);
	return err;
}

static const struct kernel_param_ops mbps_ops = {
	.set = set_mbps,
	.get = param_get_uint,
};

static unsigned int zero_mbps = 1024;
module_param_cb(zero_mbps, &mbps_ops, &zero_mbps, 0644);
__MODULE_PARM_TYPE(zero_mbps, "uint");
MODULE_PARM_DESC(zero_mbps, "MiB a second that may be zeroed ahead, on each node (0: none)");

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

/* Zero up to here: the node's part. */
static unsigned long stock_high(int node)
{
	const struct pw_buddy *b = &pw_pool.buddy;
	int mb = READ_ONCE(zero_stock_mb);
	unsigned long all = mb < 0 ? pw_pool.floor / 2 : (unsigned long)mb << (20 - PAGE_SHIFT);

	if (!pw_nodes())
		return all;
	return mul_u64_u64_div_u64(all, READ_ONCE(b->shelf[node].nr_owned),
				   max(READ_ONCE(b->nr_owned), 1UL));
}

/* @nr_free: by kind, of a node or of all */
static __always_inline bool is_below(const unsigned long *nr_free, unsigned long mark)
{
	return READ_ONCE(zero_mbps) && !atomic_read(&pw_pool.scarce) &&
	       READ_ONCE(nr_free[PW_CLEAR]) < mark && READ_ONCE(nr_free[PW_DIRTY]);
}

static bool stock_below(int node, unsigned long mark)
{
	return is_below(pw_pool.buddy.shelf[node].nr_free, mark);
}

static noinline bool any_stock_below_half(void)
{
	unsigned int node;

	for (node = 0; node < nr_node_ids; node++)
		if (stock_below(node, stock_high(node) / 2))
			return true;
	return false;
}

/**
 * pw_zero_kick() - wake the threads if a stock is below half
 */
void pw_zero_kick(void)
{
	/* When the stock is empty every fault comes here. */
	if ((pw_nodes() ? any_stock_below_half() :
	     is_below(pw_pool.buddy.nr_free, stock_high(0) / 2)) &&
	    wq_has_sleeper(&zero_wait))
		wake_up_all(&zero_wait);
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

static bool hand_fill(int node)
{
	struct pw_hand *hand = &pw_pool.hand[node];
	struct pw_buddy *b = &pw_pool.buddy;
	bool filled = false;
	int top;

	spin_lock(&hand->lock);
	spin_lock(&pw_pool.lock);
	pw_buddy_look(b, node, 1);
	top = pw_buddy_top_order(b, PW_DIRTY);
	if (top >= 0 && !atomic_read(&pw_pool.scarce)) {
		const struct pw_shelf *shelf = &b->shelf[node];
		unsigned long most = max((shelf->nr_free[PW_DIRTY] +
					  shelf->nr_free[PW_CLEAR]) / 8, 1UL);

		hand->order = min_t(unsigned int, top, ilog2(most));
		hand->blk = pw_buddy_alloc_kind(b, hand->order, PW_DIRTY, &hand->index);
		hand->done = 0;
		filled = true;
	}
	spin_unlock(&pw_pool.lock);
	spin_unlock(&hand->lock);
	return filled;
}

static void hand_drop(struct pw_hand *hand)
{
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
		hand->blk = NULL;
		spin_unlock(&pw_pool.lock);
	}
	spin_unlock(&hand->lock);
}

/**
 * pw_zero_drop() - put what is in all hands into the buddy
 */
void pw_zero_drop(void)
{
	int node;

	for_each_node(node)
		hand_drop(&pw_pool.hand[node]);
}

/* Return: false when there is nothing left to do in the hand. */
static bool hand_zero_one(struct pw_hand *hand)
{
	bool more;

	spin_lock(&hand->lock);
	more = hand->blk && hand->done < 1U << hand->order;
	if (more) {
		zero_uncached(pfn_to_page(hand->blk->base + hand->index + hand->done));
		WRITE_ONCE(hand->done, hand->done + 1);
	}
	spin_unlock(&hand->lock);
	return more;
}

/*
 * Whom the thread has taken the processor from waits no longer than these pages
 * take; left to itself the scheduler lets it go on for a millisecond and more.
 */
#define TURN_PAGES	8
#define TURN_REST_US	50

static unsigned int hand_zero(struct pw_hand *hand)
{
	unsigned int nr = 0;

	while (!kthread_should_stop() && hand_zero_one(hand)) {
		if (!(++nr % TURN_PAGES) && !single_task_running())
			usleep_range_state(TURN_REST_US, 2 * TURN_REST_US, TASK_IDLE);
		else
			cond_resched();
	}
	hand_drop(hand);
	return nr;
}

/* Processors come and go, and take it off those it was on. */
static void stay_near(int node)
{
	const struct cpumask *near = cpumask_of_node(node);

	if (pw_nodes() && cpumask_intersects(near, cpu_online_mask) &&
	    !cpumask_equal(near, current->cpus_ptr))
		set_cpus_allowed_ptr(current, near);
}

static int zero_thread(void *data)
{
	struct pw_hand *hand = data;
	int node = hand - pw_pool.hand;
	unsigned long owed = 0;
	u64 before = 0;

	set_user_nice(current, MAX_NICE);
	while (!kthread_should_stop()) {
		wait_event_interruptible(zero_wait, kthread_should_stop() ||
					 stock_below(node, stock_high(node) / 2));
		stay_near(node);
		while (!kthread_should_stop() && stock_below(node, stock_high(node)) &&
		       hand_fill(node)) {
			unsigned int nr = hand_zero(hand);

			pw_stat_add(zeroed_ahead, nr);
			trace_pw_zeroed(node, nr);
			pw_pace(&owed, nr, READ_ONCE(zero_mbps));
			pw_stat_add(zero_ahead_ns, pw_pace_ran(&before));
		}
		/* What is dirty may be in blocks that are being emptied. */
		if (!kthread_should_stop() && stock_below(node, stock_high(node) / 2))
			schedule_timeout_interruptible(HZ / 10);
	}
	return 0;
}

/**
 * pw_zero_count() - how many pages are in the hands
 * @clear: out: how many of them are zeroed
 *
 * The caller holds pw_pool.lock.
 *
 * Return: all of them.
 */
unsigned long pw_zero_count(unsigned long *clear)
{
	unsigned long sum = 0;
	int node;

	lockdep_assert_held(&pw_pool.lock);
	*clear = 0;
	for_each_node(node) {
		const struct pw_hand *hand = &pw_pool.hand[node];

		if (!hand->blk)
			continue;
		*clear += READ_ONCE(hand->done);
		sum += 1UL << hand->order;
	}
	return sum;
}

/**
 * pw_zero_init_hands() - set up empty hands, before there is a page
 *
 * Return: 0 or -ENOMEM.
 */
int pw_zero_init_hands(void)
{
	int node;

	pw_pool.hand = kcalloc(nr_node_ids, sizeof(*pw_pool.hand), GFP_KERNEL);
	if (!pw_pool.hand)
		return -ENOMEM;
	for_each_node(node)
		spin_lock_init(&pw_pool.hand[node].lock);
	return 0;
}

/**
 * pw_zero_init() - start the threads
 *
 * Return: 0 or -ENOMEM.
 */
int pw_zero_init(void)
{
	struct task_struct *task;
	int node;

	zero_tasks = kcalloc(nr_node_ids, sizeof(*zero_tasks), GFP_KERNEL);
	if (!zero_tasks)
		return -ENOMEM;
	/* Nodes that come later are thought of; till then their threads sleep. */
	for_each_node(node) {
		task = kthread_create_on_node(zero_thread, &pw_pool.hand[node],
					      node_online(node) ? node : NUMA_NO_NODE,
					      "pagewell_zero/%d", node);
		if (IS_ERR(task)) {
			pw_zero_exit();
			return PTR_ERR(task);
		}
		zero_tasks[node] = task;
		wake_up_process(task);
	}
	return 0;
}

/**
 * pw_zero_exit() - stop the threads; the hands are empty then
 */
void pw_zero_exit(void)
{
	int node;

	for_each_node(node)
		if (zero_tasks[node])
			kthread_stop(zero_tasks[node]);
	kfree(zero_tasks);
}
