// SPDX-License-Identifier: GPL-2.0-only
/* pool.c - promises, pages out and pages in */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/page_ref.h>
#include <linux/printk.h>
#include <linux/slab.h>

#include "counter.h"
#include "pool_hit.h"
#include "pool_int.h"
#include "watch.h"

struct pw_pool pw_pool;

/* Tell whoever listens that promises are about to be, or were, refused. */
static void tell_low(bool refused)
{
	long avail = atomic_long_read(&pw_pool.avail);
	unsigned long held, max;

	if (likely(avail >= (long)READ_ONCE(pw_pool.low)))
		return;
	held = READ_ONCE(pw_pool.buddy.nr_owned);
	max = READ_ONCE(pw_pool.max);
	if (refused || held + PW_BLOCK_PAGES > max)
		pw_netlink_pool_low(avail > 0 ? avail : 0, held, max);
}

/**
 * pw_avail_take() - take pages out of what is not promised
 * @nr: how many
 *
 * Any context.
 *
 * Return: whether there were as many; otherwise none is taken.
 */
bool pw_avail_take(unsigned long nr)
{
	return pw_counter_take(&pw_pool.avail, nr);
}

/**
 * pw_avail_take_some() - the same, and fewer when there are fewer
 * @nr: how many at most
 *
 * Return: how many.
 */
unsigned int pw_avail_take_some(unsigned int nr)
{
	return pw_counter_take_some(&pw_pool.avail, nr);
}

/* Until then the kernel had less than its estimate, once. Under size_lock. */
static unsigned long in_vain = INITIAL_JIFFIES;

/*
 * Others do not lose their caches to a request that cannot be met. What they keep is
 * not asked for here: it makes up for what the estimate may lack, if that was not found
 * to be so a moment ago.
 */
static bool can_grow(unsigned long lack)
{
	return lack <= pw_supply_room() &&
	       (time_before(jiffies, in_vain) ? pw_supply_can_spare(lack) :
						lack <= pw_supply_available());
}

/* From the kernel, if that could help, or of what was lost. */
static bool find_more(unsigned long lack)
{
	return (can_grow(lack) && pw_supply_grow(lack, false)) || pw_lost_look_for(lack);
}

/* What was taken for a request that is refused goes back. */
static void shrink_to(unsigned long held)
{
	unsigned long now = READ_ONCE(pw_pool.buddy.nr_owned);

	if (now <= held)
		return;
	pw_supply_give_back(now - held);
	in_vain = jiffies + HZ;
}

/**
 * pw_avail_heed() - keep CPUs from credit while avail is below zero, no longer
 *
 * What is freed then makes up for what is missing: as the credit of a CPU it would be
 * promised again. The caller holds size_lock, and has changed avail.
 */
void pw_avail_heed(void)
{
	lockdep_assert_held(&pw_pool.size_lock);
	if (!pw_pool.shut && atomic_long_read(&pw_pool.avail) < 0) {
		WRITE_ONCE(pw_pool.shut, true);
		pw_pcp_heed();
		/* Whoever uses what he has only does not look; the decay does. */
		pw_supply_tick();
	}
	/* The credits may have done. */
	if (pw_pool.shut && atomic_long_read(&pw_pool.avail) >= 0) {
		WRITE_ONCE(pw_pool.shut, false);
		pw_pcp_heed();
	}
}

/**
 * pw_avail_open() - let CPUs have credit again if avail is not below zero any more
 *
 * Does not sleep: if somebody has size_lock the next one does it, or the decay.
 */
void pw_avail_open(void)
{
	if (atomic_long_read(&pw_pool.avail) < 0 || !mutex_trylock(&pw_pool.size_lock))
		return;
	pw_avail_heed();
	mutex_unlock(&pw_pool.size_lock);
}

/* End of what pw_pcp_close() began, under size_lock. */
static void open_lists(void)
{
	pw_avail_heed();
	pw_pcp_open();
}

/* After something could be taken out of avail. */
static void was_taken(void)
{
	tell_low(false);
	pw_avail_came();
}

/* Grow until @nr pages can be taken; all credits are in avail meanwhile. */
static bool take_grow(unsigned long nr)
{
	unsigned long held;
	bool taken;

	mutex_lock(&pw_pool.size_lock);
	held = READ_ONCE(pw_pool.buddy.nr_owned);
	pw_pcp_close();
	/* Without the lock spoiled pages may have gone. */
	pw_supply_settle(0);
	while (!(taken = pw_avail_take(nr)) && nr <= READ_ONCE(pw_pool.max)) {
		long lack = (long)nr - atomic_long_read(&pw_pool.avail);

		/* Pages may have come back this moment. */
		if (lack > 0 && !find_more(lack))
			break;
	}
	if (!taken)
		shrink_to(held);
	open_lists();
	mutex_unlock(&pw_pool.size_lock);
	return taken;
}

/* What is refused now, no try has. */
static noinline bool take_last(unsigned long nr)
{
	bool taken;

	down_write(&pw_pool.trials);
	taken = take_grow(nr);
	up_write(&pw_pool.trials);
	return taken;
}

static bool avail_take_grow(unsigned long nr)
{
	/* Nobody is held up for what can never be had. */
	bool taken = nr <= READ_ONCE(pw_pool.max) && (take_grow(nr) || take_last(nr));

	tell_low(!taken);
	return taken;
}

static __always_inline bool take_at_hand(unsigned long nr)
{
	if (likely(pw_pcp_credit_take(nr)))
		return true;
	if (!pw_avail_take(nr))
		return false;
	was_taken();
	return true;
}

/**
 * pw_avail_try() - take pages out of what is not promised, for a try
 * @nr: how many
 *
 * As pw_pool_reserve(), but it may be refused what another try gives back. The caller
 * holds pw_pool.trials for reading.
 *
 * Return: whether there were as many.
 */
bool pw_avail_try(unsigned long nr)
{
	bool taken = take_at_hand(nr);

	lockdep_assert_held(&pw_pool.trials);
	if (!taken && nr <= READ_ONCE(pw_pool.max)) {
		taken = take_grow(nr);
		tell_low(false);
	}
	return taken;
}

/**
 * pw_pool_reserve() - promise pages
 * @nr: how many
 *
 * Grows the pool when it must and may. A promise is used up by
 * pw_pool_alloc(PW_ALLOC_PROMISED), comes back with
 * pw_pool_free(PW_FREE_PROMISED) and ends with pw_pool_unreserve().
 *
 * Return: 0, or -ENOMEM and nothing is promised.
 */
int pw_pool_reserve(unsigned long nr)
{
	return take_at_hand(nr) || avail_take_grow(nr) ? 0 : -ENOMEM;
}

/**
 * pw_pool_unreserve() - give promises back
 * @nr: how many
 */
void pw_pool_unreserve(unsigned long nr)
{
	pw_pcp_credit_give(nr);
}

/* Return: whether there is a page for every promise now. */
static bool pay_debt(void)
{
	unsigned long debt = pw_debt();

	return !debt || pw_supply_grow(debt, false) >= debt;
}

/**
 * pw_pool_reserve_over() - promise pages beyond the ceiling if need be
 * @nr: how many
 *
 * For copies that a heap must have of pages that others keep: like the pages of
 * a debt they come on top of what the pool may hold.
 *
 * Return: 0, or -ENOMEM and nothing is promised.
 */
int pw_pool_reserve_over(unsigned long nr)
{
	unsigned long held;
	bool paid;

	if (!pw_pool_reserve(nr))
		return 0;
	mutex_lock(&pw_pool.size_lock);
	held = READ_ONCE(pw_pool.buddy.nr_owned);
	pw_pcp_close();
	atomic_long_sub(nr, &pw_pool.avail);
	paid = !pw_debt() || (can_grow(pw_debt()) && pay_debt());
	if (!paid) {
		atomic_long_add(nr, &pw_pool.avail);
		shrink_to(held);
	}
	open_lists();
	mutex_unlock(&pw_pool.size_lock);
	return paid ? 0 : -ENOMEM;
}

/* Pages for a caller without a promise. */
static unsigned int take_unpromised(unsigned int nr)
{
	unsigned int got;

	if (pw_pcp_credit_take(nr))
		return nr;
	got = pw_avail_take_some(nr);
	if (got)
		was_taken();
	else if (nr && avail_take_grow(1))
		got = 1 + pw_avail_take_some(nr - 1);
	return got;
}

/*
 * No page is free for a promise. Either they are on their way from one block to
 * another, and back when size_lock is free; or none stands behind it, as pages
 * were lost and could not be replaced. Then try once more to pay that debt: what
 * cannot be paid is what a machine without memory owes to who leaves pages in pipes.
 */
static unsigned int alloc_in_debt(u32 *pfns, unsigned int nr)
{
	unsigned int got;

	mutex_lock(&pw_pool.size_lock);
	got = pw_pcp_rescue(pfns, nr);
	if (got < nr && pw_lost_look_long())
		got += pw_pcp_rescue(pfns + got, nr - got);
	if (got < nr && pw_supply_grow(nr - got, false))
		got += pw_pcp_rescue(pfns + got, nr - got);
	mutex_unlock(&pw_pool.size_lock);
	if (got < nr)
		pr_warn_ratelimited("no page for a promise, avail %ld\n",
				    atomic_long_read(&pw_pool.avail));
	return got;
}

static void zero_rest(const u32 *pfns, unsigned int nr)
{
	if (!nr)
		return;
	pw_zero_pages(pfns, nr);
	pw_stat_add(zeroed_fault, nr);
}

static noinline unsigned int alloc_slow(u32 *pfns, unsigned int nr, unsigned int flags)
{
	bool zero = flags & PW_ALLOC_ZERO;
	unsigned int got, liked;

	if (!(flags & PW_ALLOC_PROMISED))
		nr = take_unpromised(nr);
	if (!nr)
		return 0;
	got = pw_pcp_alloc(pfns, nr, zero ? PW_CLEAR : PW_DIRTY, &liked);
	if (unlikely(got < nr))
		got += alloc_in_debt(pfns + got, nr - got);
	/* As many were taken out of avail. */
	if (unlikely(got < nr) && !(flags & PW_ALLOC_PROMISED))
		pw_pool_unreserve(nr - got);
	if (zero)
		zero_rest(pfns + liked, got - liked);
	return got;
}

/* One page that was not on the list: when none is clear, one that is zeroed now. */
static noinline unsigned int alloc_miss(u32 *pfns, unsigned int flags)
{
	u32 pfn = 0;

	if (flags & PW_ALLOC_ZERO && !READ_ONCE(pw_pool.buddy.nr_free[PW_CLEAR]))
		pfn = pw_hit_alloc(flags & ~PW_ALLOC_ZERO);
	if (!pfn)
		return alloc_slow(pfns, 1, flags);
	*pfns = pfn;
	zero_rest(pfns, 1);
	pw_zero_kick();
	return 1;
}

/**
 * pw_pool_alloc() - take pages for a heap
 * @pfns: out: their page frame numbers
 * @nr: how many
 * @flags: PW_ALLOC_PROMISED: against promises that the caller holds, which are
 *	   used up; PW_ALLOC_ZERO: the pages read as zero
 *
 * Without a promise the pool may have to grow, and there may be fewer pages
 * than asked for, or none.
 *
 * Return: how many; with PW_ALLOC_PROMISED all of them, unless pages behind promises
 * were lost and could not be replaced. The promise for one that is missing is kept.
 */
unsigned int pw_pool_alloc(u32 *pfns, unsigned int nr, unsigned int flags)
{
	u32 pfn;

	if (unlikely(nr != 1))
		return alloc_slow(pfns, nr, flags);
	pfn = pw_hit_alloc(flags);
	if (unlikely(!pfn))
		return alloc_miss(pfns, flags);
	*pfns = pfn;
	return 1;
}

/*
 * How many of the page numbers follow one another inside a block, upwards, or
 * downwards as they come when a list was used up? @first: out: the lowest.
 */
static unsigned int run_length(const u32 *pfns, unsigned int nr, u32 *first)
{
	unsigned int len = 1;

	while (len < nr && pfns[len] == pfns[0] + len && pfns[len] % PW_BLOCK_PAGES)
		len++;
	*first = pfns[0];
	if (len > 1)
		return len;
	while (len < nr && pfns[len] == pfns[0] - len && pfns[len - 1] % PW_BLOCK_PAGES)
		len++;
	*first = pfns[len - 1];
	return len;
}

static void put_run(struct pw_block *blk, unsigned int index, unsigned int len,
		    enum pw_kind kind)
{
	while (len) {
		unsigned int order = min(__ffs(index | PW_BLOCK_PAGES), __fls(len));

		pw_buddy_free(&pw_pool.buddy, blk, index, order, kind);
		index += 1U << order;
		len -= 1U << order;
	}
}

/**
 * pw_buddy_put() - put pages into the buddy
 * @pfns: their page frame numbers
 * @nr: how many
 * @kind: what they contain
 *
 * The caller holds pw_pool.lock.
 */
void pw_buddy_put(const u32 *pfns, unsigned int nr, enum pw_kind kind)
{
	struct pw_block *blk = NULL;
	unsigned int len;
	u32 first;

	lockdep_assert_held(&pw_pool.lock);
	for (; nr; pfns += len, nr -= len) {
		len = run_length(pfns, nr, &first);
		if (!blk || blk->base != first - first % PW_BLOCK_PAGES)
			blk = pw_pool_block(first);
		if (!WARN_ON_ONCE(!blk))
			put_run(blk, first % PW_BLOCK_PAGES, len, kind);
	}
}

/**
 * pw_pay_debt() - replace pages of promises that were lost
 *
 * The caller has taken as many out of avail. If that is a debt now, others are
 * needed.
 */
void pw_pay_debt(void)
{
	bool paid = true;

	if (!pw_debt() && (READ_ONCE(pw_pool.shut) || atomic_long_read(&pw_pool.avail) >= 0))
		return;
	mutex_lock(&pw_pool.size_lock);
	pw_pcp_close();
	if (pw_debt()) {
		pw_lost_look();
		paid = pay_debt();
	}
	open_lists();
	mutex_unlock(&pw_pool.size_lock);
	if (!paid)
		pr_warn_ratelimited("no pages behind %lu promises, others hold them\n",
				    pw_debt());
}

/* Free pages that are as new again. */
static void put_recycled(const u32 *pfns, unsigned int nr)
{
	if (!pw_zero_on_free()) {
		pw_pcp_free(pfns, nr, PW_DIRTY);
		return;
	}
	pw_zero_pages(pfns, nr);
	pw_stat_add(zeroed_free, nr);
	pw_pcp_free(pfns, nr, PW_CLEAR);
}

static noinline void free_slow(const u32 *pfns, unsigned int nr, unsigned int flags)
{
	bool promised = flags & PW_FREE_PROMISED;
	unsigned int i, from = 0, lost = 0;

	for (i = 0; i < nr; i++) {
		if (likely(pw_page_recycle(pfn_to_page(pfns[i]))))
			continue;
		put_recycled(pfns + from, i - from);
		if (promised)
			atomic_long_dec(&pw_pool.avail);
		pw_page_lose(pfns[i]);
		from = i + 1;
		lost++;
	}
	put_recycled(pfns + from, nr - from);
	if (!promised)
		pw_pcp_credit_give(nr - lost);
	else if (unlikely(lost))
		pw_pay_debt();
}

/**
 * pw_pool_free() - take pages back from a heap
 * @pfns: their page frame numbers
 * @nr: how many
 * @flags: PW_FREE_PROMISED: the caller keeps a promise for each
 *
 * The pages are mapped nowhere any more. One that somebody else still refers
 * to (direct I/O, a pipe) is not used again before that has ended.
 */
void pw_pool_free(const u32 *pfns, unsigned int nr, unsigned int flags)
{
	if (unlikely(nr != 1 || !pw_hit_free(*pfns, flags)))
		free_slow(pfns, nr, flags);
}

/* The long way, with the page in memory: so who hits needs no stack. */
static noinline void free_one_slow(u32 pfn, unsigned int flags)
{
	free_slow(&pfn, 1, flags);
}

/**
 * pw_pool_free_one() - pw_pool_free() of one page
 * @pfn: its page frame number
 * @flags: PW_FREE_
 */
void pw_pool_free_one(u32 pfn, unsigned int flags)
{
	if (unlikely(!pw_hit_free(pfn, flags)))
		free_one_slow(pfn, flags);
}

/**
 * pw_pool_set_max() - move the ceiling
 * @max: pages
 *
 * Below what the pool holds, free blocks are given back and nothing more is taken;
 * pages in use or promised stay, and nothing more is promised until they are fewer.
 *
 * Return: 0, or -EINVAL when @max is below the floor.
 */
int pw_pool_set_max(unsigned long max)
{
	if (max < pw_pool.floor)
		return -EINVAL;
	mutex_lock(&pw_pool.size_lock);
	WRITE_ONCE(pw_pool.max, max);
	WRITE_ONCE(pw_pool.low, max / 16);
	pw_pcp_close();
	pw_supply_fit();
	open_lists();
	mutex_unlock(&pw_pool.size_lock);
	return 0;
}

/**
 * pw_pool_is_overdrawn() - was enough lost that the pool holds more than it may?
 *
 * That is what promises may cost that are kept although their pages were lost.
 */
bool pw_pool_is_overdrawn(void)
{
	return READ_ONCE(pw_pool.lost) &&
	       READ_ONCE(pw_pool.buddy.nr_owned) > READ_ONCE(pw_pool.max) + READ_ONCE(pw_pool.low);
}

/* For whoever may ask as often as he likes: these take no lock and no time. */

/**
 * pw_pool_held() - pages that the pool owns now
 */
unsigned long pw_pool_held(void)
{
	return READ_ONCE(pw_pool.buddy.nr_owned);
}

/**
 * pw_pool_avail() - pages that may be promised, but for what CPUs have at hand
 */
unsigned long pw_pool_avail(void)
{
	long avail = atomic_long_read(&pw_pool.avail);

	return avail > 0 ? avail : 0;
}

/**
 * pw_pool_lack() - pages that must come free before so many can be promised
 * @nr: how many that were just refused, so that CPUs have none at hand
 *
 * Return: how many, more than @nr while more than the ceiling is in use.
 */
unsigned long pw_pool_lack(unsigned long nr)
{
	long avail = atomic_long_read(&pw_pool.avail);

	return avail >= (long)nr ? 0 : nr - avail;
}

/**
 * pw_pool_has_clear() - is there a stock of zeroed pages?
 * @nr: how many there should be
 *
 * A look without a lock, at the pages of all nodes but for the lists of CPUs.
 */
bool pw_pool_has_clear(unsigned long nr)
{
	return READ_ONCE(pw_pool.buddy.nr_free[PW_CLEAR]) >= nr;
}

/**
 * pw_pool_max() - pages that the pool may grow to
 */
unsigned long pw_pool_max(void)
{
	return READ_ONCE(pw_pool.max);
}

/**
 * pw_pool_get_stat() - a snapshot of the pool
 * @st: filled in; pages that go from one place of the pool to another meanwhile
 *      are counted once, and no more are available than are free
 */
void pw_pool_get_stat(struct pw_pool_stat *st)
{
	unsigned long pcp_clear, hand_clear, credit;
	long avail;

	memset(st, 0, sizeof(*st));
	spin_lock(&pw_pool.lock);
	st->pcp = pw_pcp_count(&pcp_clear, &credit);
	st->zeroing = pw_zero_count(&hand_clear);
	st->held = pw_pool.buddy.nr_owned;
	st->idle = pw_pool.buddy.nr_idle;
	st->lost = pw_pool.lost;
	st->free = pw_buddy_nr_free(&pw_pool.buddy) + st->pcp + st->zeroing + pw_pool.moving;
	st->clear = pw_pool.buddy.nr_free[PW_CLEAR] + pcp_clear + hand_clear;
	spin_unlock(&pw_pool.lock);
	/* A page that one CPU takes and another frees may be on the lists of both. */
	st->free = min(st->free, st->held - st->lost);
	avail = atomic_long_read(&pw_pool.avail) + READ_ONCE(pw_pool.over) + credit;
	/* Credit may have become avail between the two looks. */
	st->avail = avail > 0 ? min_t(unsigned long, avail, st->free) : 0;
	st->debt = avail < 0 ? -avail : 0;
	st->floor = pw_pool.floor;
	st->max = READ_ONCE(pw_pool.max);
}

/**
 * pw_pool_buddy_stat() - a snapshot of the buddy
 * @st: filled in
 */
void pw_pool_buddy_stat(struct pw_buddy_stat *st)
{
	const size_t block_size = kmalloc_size_roundup(sizeof(struct pw_block)) + sizeof(long);
	const struct pw_buddy *b = &pw_pool.buddy;
	unsigned int kind, order;

	BUILD_BUG_ON(PW_STAT_ORDERS != PW_ORDERS);
	memset(st, 0, sizeof(*st));
	spin_lock(&pw_pool.lock);
	/* An entry of the xarray for each block; lists for each CPU. */
	st->bookkeeping = b->nr_blocks * block_size +
			  num_possible_cpus() * sizeof(struct pw_pcp);
	for (order = 0; order < PW_ORDERS; order++)
		for (kind = 0; kind < PW_KINDS; kind++)
			st->nr_free[order][kind] = b->nr[kind][order];
	spin_unlock(&pw_pool.lock);
}

/**
 * pw_pool_check() - verify the buddy and the lists
 *
 * Slow, and keeps everybody else from the buddy meanwhile: for debugging.
 *
 * Return: NULL, or what is wrong.
 */
const char *pw_pool_check(void)
{
	const char *bad;

	spin_lock(&pw_pool.lock);
	bad = pw_buddy_check(&pw_pool.buddy);
	spin_unlock(&pw_pool.lock);
	return bad ? bad : pw_pcp_check();
}

static int pool_fill(unsigned long floor)
{
	unsigned long got = pw_supply_available();

	/* Else everybody would be without memory for a while, and to no end. */
	if (got >= floor) {
		mutex_lock(&pw_pool.size_lock);
		got = pw_supply_grow(floor, true);
		mutex_unlock(&pw_pool.size_lock);
	}
	if (got >= floor)
		return 0;
	pr_err("the kernel has %lu of the %lu MiB of pool_mb\n",
	       got >> (20 - PAGE_SHIFT), floor >> (20 - PAGE_SHIFT));
	return -ENOMEM;
}

/* Everything back to the kernel; the other parts are stopped already. */
static void pool_empty(void)
{
	struct pw_buddy *b = &pw_pool.buddy;
	struct pw_block *blk;
	unsigned long key;

	WARN_ONCE(b->nr_idle != b->nr_owned, "pagewell: %lu pages are missing",
		  b->nr_owned - pw_buddy_nr_free(b));
	while (!list_empty(&b->idle)) {
		blk = list_first_entry(&b->idle, struct pw_block, idle);
		pw_buddy_remove(b, blk);
		pw_supply_free_block(blk);
		cond_resched();
	}
	xa_for_each(&pw_pool.blocks, key, blk)
		kfree(blk);
	xa_destroy(&pw_pool.blocks);
}

/**
 * pw_pool_init() - set the pool up and fill it to its floor
 * @floor: pages held from now on
 * @max: pages it may grow to
 *
 * Return: 0, -EINVAL when @max is below @floor, -ENOMEM.
 */
int pw_pool_init(unsigned long floor, unsigned long max)
{
	struct pw_shelf *shelves;
	int err;

	if (max < floor)
		return -EINVAL;
	pw_pool.floor = floor;
	pw_pool.max = max;
	pw_pool.low = max / 16;
	xa_init(&pw_pool.blocks);
	init_rwsem(&pw_pool.trials);
	mutex_init(&pw_pool.size_lock);
	spin_lock_init(&pw_pool.lock);
	shelves = kcalloc(nr_node_ids, sizeof(*shelves), GFP_KERNEL);
	if (!shelves)
		return -ENOMEM;
	pw_buddy_init(&pw_pool.buddy, shelves, nr_node_ids);
	pw_node_init();
	pw_pool.buddy.cut = pw_block_cut;

	err = pw_zero_init_hands();
	if (err)
		goto err_shelves;
	err = pw_pcp_init();
	if (err)
		goto err_hands;
	err = pw_supply_init();
	if (err)
		goto err_pcp;
	err = pool_fill(floor);
	if (err)
		goto err_supply;
	err = pw_zero_init();
	if (err)
		goto err_supply;
	return 0;

err_supply:
	pw_supply_exit();
err_pcp:
	pw_pcp_exit();
	pool_empty();
err_hands:
	kfree(pw_pool.hand);
err_shelves:
	kfree(pw_pool.buddy.shelf);
	return err;
}

/**
 * pw_pool_exit() - give everything back
 *
 * No heap has a page or a promise any more.
 */
void pw_pool_exit(void)
{
	pw_lost_exit();
	pw_zero_exit();
	pw_supply_exit();
	pw_pcp_exit();
	pool_empty();
	kfree(pw_pool.hand);
	kfree(pw_pool.buddy.shelf);
}
