// SPDX-License-Identifier: GPL-2.0-only
/*
 * pool_test.c - the pool under use that no heap makes of it
 *
 *	insmod pagewell_test.ko test=NAME [PARAMETER=VALUE...]
 *
 * runs a test on a pool of its own and fails with EUCLEAN when something was
 * wrong; the kernel log says what.
 *
 *	random	threads take, mark, check, split and free pages of both sizes
 *	last	threads promise each other's last pages away, then take all
 *	order	half the pages freed in random order: are there 2 MiB pages?
 *	node	do pages come from the CPU's node, or from where the policy says?
 *	bare	does a CPU on a node without memory have lists and a stock?
 *	share	does a node have more pages than its part of the pool when they are wanted?
 *	far	are pages that are zeroed on other nodes not zeroed again?
 *	zero	is each node's part of the stock zeroed ahead?
 *	return	the pool grows to its ceiling and shrinks to its floor
 *	parts	what others held is replaced, and the pool is of 2 MiB pages again
 *	marks	what a CPU keeps at hand follows demand
 *	numbers	what is free and promised, seen while it changes
 *	debt	a request that finds less than was not promised
 *	vain	a list is not emptied again for 2 MiB that were not there
 *	scan	reclaim that finds nothing idle does not empty lists all the time
 *	shut	what a CPU keeps at hand while more than the ceiling is promised
 *	tries	nobody is refused on account of tries for 2 MiB
 *	bench	instructions of single operations, in a VM that counts those
 */
#define pr_fmt(fmt) "pagewell_test: " fmt

#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/random.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "pool.h"
#include "pool_int.h"
#include "pool_test.h"
#include "stats.h"
#include "watch.h"

static char *test = "random";
module_param(test, charp, 0444);
MODULE_PARM_DESC(test, "random, last, order, node, bare, share, far, zero, return, parts, marks, "
		 "numbers, debt, vain, scan, shut, tries or bench");

static unsigned int floor_mb = 16;
module_param(floor_mb, uint, 0444);
MODULE_PARM_DESC(floor_mb, "MiB held from load on");

static unsigned int max_mb = 64;
module_param(max_mb, uint, 0444);
MODULE_PARM_DESC(max_mb, "MiB the pool may grow to");

static unsigned int threads = 3;
module_param(threads, uint, 0444);
MODULE_PARM_DESC(threads, "how many at once");

static unsigned int secs = 5;
module_param(secs, uint, 0444);
MODULE_PARM_DESC(secs, "seconds");

static bool hold;
module_param(hold, bool, 0444);
MODULE_PARM_DESC(hold, "hold references of pages that are freed");

#define OWN_NODE	-1
#define ANY_NODE	-2

static int node = OWN_NODE;
module_param(node, int, 0444);
MODULE_PARM_DESC(node, "the one of the task's policy; -1 the CPU's own, -2 all in turn");

static atomic_t errors;
static atomic_long_t operations, refused;

void pool_error(const char *fmt, ...)
{
	struct va_format vaf = { .fmt = fmt };
	va_list args;

	if (atomic_inc_return(&errors) > 20)
		return;
	va_start(args, fmt);
	vaf.va = &args;
	pr_err("wrong: %pV\n", &vaf);
	va_end(args);
}

/* The pool tells the netlink family. */
void pw_netlink_pool_low(unsigned long avail, unsigned long held, unsigned long max)
{
}

#define SMALL	600
#define HUGE	6

struct taker {
	u64 id;
	struct completion done;
	unsigned long promises;
	unsigned int nr, nr_huge, nr_held;
	u32 small[SMALL];
	struct {
		u32 pfn;
		bool split;
	} huge[HUGE];
	struct page *held[32];
};

static u64 *words(u32 pfn)
{
	return page_address(pfn_to_page(pfn));
}

static void mark(struct taker *u, u32 pfn)
{
	words(pfn)[0] = u->id;
	words(pfn)[1] = pfn;
	words(pfn)[511] = u->id;
}

static void check(struct taker *u, u32 pfn)
{
	const u64 *w = words(pfn);

	if (w[0] != u->id || w[1] != pfn || w[511] != u->id)
		pool_error("page %x of user %llu has another mark: %llu %llx",
			   pfn, u->id, w[0], w[1]);
}

static bool is_zero(u32 pfn)
{
	return !memchr_inv(words(pfn), 0, PAGE_SIZE);
}

/* A page that the pool hands out is as the kernel's own are. */
static void receive(struct taker *u, u32 pfn, bool zero)
{
	struct page *page = pfn_to_page(pfn);

	/* Somebody may look at any page for a moment. */
	if (page_ref_count(page) < 1 || atomic_read(&page->_mapcount) != -1)
		pool_error("page %x: count %d", pfn, page_ref_count(page));
	if (PageCompound(page) || page->mapping || page_private(page) ||
	    page->flags & PAGE_FLAGS_CHECK_AT_PREP)
		pool_error("page %x: flags %lx", pfn, page->flags);
	if (zero && !is_zero(pfn))
		pool_error("page %x is not zero", pfn);
	mark(u, pfn);
}

static void receive_huge(struct taker *u, u32 pfn, bool zero)
{
	struct page *head = pfn_to_page(pfn);
	unsigned int i;

	if (pfn % 512 || !PageHead(head) || compound_order(head) != 9)
		pool_error("2 MiB page %x: no head", pfn);
	if (page_ref_count(head) < 1 || head->mapping || page_private(head) ||
	    head->flags & PAGE_FLAGS_CHECK_AT_PREP & ~BIT(PG_head))
		pool_error("2 MiB page %x: count %d flags %lx", pfn,
			   page_ref_count(head), head->flags);
	for (i = 0; i < 512; i++) {
		if (i && (compound_head(head + i) != head || page_ref_count(head + i) ||
			  atomic_read(&head[i]._mapcount) != -1))
			pool_error("2 MiB page %x: part %u", pfn, i);
		if (zero && !is_zero(pfn + i))
			pool_error("2 MiB page %x: part %u is not zero", pfn, i);
		mark(u, pfn + i);
	}
}

/* What use leaves on a page. */
static void make_used(struct page *page)
{
	SetPageDirty(page);
	set_bit(PG_referenced, &page->flags);
	page->index = 99;
	page->mapping = NULL;
	set_page_private(page, 7);
}

/* Like a pipe or direct I/O; the pool must not hand the page out again. */
static bool hold_on(struct taker *u, struct page *page)
{
	if (!hold || u->nr_held == ARRAY_SIZE(u->held) || get_random_u32() % 200)
		return false;
	get_page(page);
	u->held[u->nr_held++] = page;
	set_page_private(compound_head(page), 0);
	ClearPageDirty(compound_head(page));
	return true;
}

static void let_go(struct taker *u)
{
	while (u->nr_held) {
		struct page *page = u->held[--u->nr_held];

		if (PageTail(page) && page_ref_count(compound_head(page)) < 1)
			pool_error("a held page was freed");
		put_page(page);
	}
}

static void take_small(struct taker *u, u32 r)
{
	unsigned int want = min_t(unsigned int, 1 + (r >> 8) % (r & 1 ? 16 : 150), SMALL - u->nr);
	unsigned int flags = r & 2 ? PW_ALLOC_ZERO : 0, got, i;

	if (r & 4 && u->promises) {
		flags |= PW_ALLOC_PROMISED;
		want = min_t(unsigned long, want, u->promises);
		u->promises -= want;
	}
	if (!want)
		return;
	got = pw_pool_alloc(u->small + u->nr, want, flags);
	if (flags & PW_ALLOC_PROMISED && got < want)
		pool_error("%u pages for %u promises", got, want);
	for (i = 0; i < got; i++)
		receive(u, u->small[u->nr + i], flags & PW_ALLOC_ZERO);
	u->nr += got;
}

static void free_small(struct taker *u, u32 r)
{
	unsigned int i, nr = min(1 + (r >> 8) % (r & 1 ? 16 : 150), u->nr);

	u->nr -= nr;
	for (i = u->nr; i < u->nr + nr; i++) {
		check(u, u->small[i]);
		make_used(pfn_to_page(u->small[i]));
		hold_on(u, pfn_to_page(u->small[i]));
	}
	pw_pool_free(u->small + u->nr, nr, r & 2 ? PW_FREE_PROMISED : 0);
	if (r & 2)
		u->promises += nr;
}

static void take_huge(struct taker *u, u32 r)
{
	unsigned int flags = r & 2 ? PW_ALLOC_ZERO : 0;
	unsigned long pfn;

	if (u->nr_huge == HUGE)
		return;
	if (r & 4 && u->promises >= 512)
		flags |= PW_ALLOC_PROMISED;
	pfn = pw_pool_alloc_huge(flags);
	if (!pfn)
		return;
	if (flags & PW_ALLOC_PROMISED)
		u->promises -= 512;
	receive_huge(u, pfn, flags & PW_ALLOC_ZERO);
	u->huge[u->nr_huge].pfn = pfn;
	u->huge[u->nr_huge++].split = false;
}

static void check_huge(struct taker *u, u32 pfn)
{
	unsigned int i;

	for (i = 0; i < 512; i++)
		check(u, pfn + i);
}

static void split_huge(struct taker *u, u32 r)
{
	unsigned int i, at = u->nr_huge ? r % u->nr_huge : 0;
	u32 pfn = u->huge[at].pfn;

	if (!u->nr_huge || u->huge[at].split)
		return;
	check_huge(u, pfn);
	pw_pool_split_huge(pfn);
	u->huge[at].split = true;
	for (i = 0; i < 512; i++)
		receive(u, pfn + i, false);
}

static void free_parts(u32 pfn, unsigned int step, unsigned int flags)
{
	unsigned int i, k, nr;
	u32 pfns[64];

	for (i = 0; i < 512; i += nr) {
		nr = min(step, 512 - i);
		for (k = 0; k < nr; k++)
			pfns[k] = pfn + i + k;
		pw_pool_free(pfns, nr, flags);
	}
}

static void free_huge(struct taker *u, u32 r)
{
	unsigned int at = u->nr_huge ? r % u->nr_huge : 0;
	unsigned int flags = r & 0x10000 ? PW_FREE_PROMISED : 0;
	u32 pfn = u->huge[at].pfn;

	if (!u->nr_huge)
		return;
	check_huge(u, pfn);
	if (u->huge[at].split) {
		free_parts(pfn, 1 + (r >> 20) % 64, flags);
	} else {
		make_used(pfn_to_page(pfn));
		hold_on(u, pfn_to_page(pfn + (r >> 20) % 512));
		pw_pool_free_huge(pfn, flags);
	}
	if (flags)
		u->promises += 512;
	u->huge[at] = u->huge[--u->nr_huge];
}

static void random_step(struct taker *u)
{
	u32 r = get_random_u32(), what = get_random_u32() % 16;

	atomic_long_inc(&operations);
	if (what < 5)
		take_small(u, r);
	else if (what < 10)
		free_small(u, r);
	else if (what < 12)
		take_huge(u, r);
	else if (what < 13)
		split_huge(u, r);
	else if (what < 14)
		free_huge(u, r);
	else if (u->promises < 1200 && !pw_pool_reserve(r % 600))
		u->promises += r % 600;
	if (u->promises > 1500) {
		pw_pool_unreserve(u->promises - 700);
		u->promises = 700;
	}
	if (u->nr_held && !(r % 64))
		let_go(u);
}

/* Promise pages away until there is none, then all of them must be there. */
static void last_step(struct taker *u)
{
	unsigned int want, got, i;

	atomic_long_inc(&operations);
	/* Pages and credit on this CPU's lists. */
	got = pw_pool_alloc(u->small, 1 + get_random_u32() % 30, 0);
	pw_pool_free(u->small, got, 0);
	for (want = 256; want; want /= 2)
		while (u->nr + want <= SMALL && !pw_pool_reserve(want)) {
			u->promises += want;
			u->nr += want;
		}
	if (u->nr < SMALL)
		atomic_long_inc(&refused);
	for (u->nr = 0; u->promises; u->promises -= want, u->nr += got) {
		want = min_t(unsigned long, u->promises, 1 + get_random_u32() % 40);
		got = pw_pool_alloc(u->small + u->nr, want, PW_ALLOC_PROMISED);
		if (got != want)
			pool_error("%u pages for %u promises", got, want);
		for (i = 0; i < got; i++)
			receive(u, u->small[u->nr + i], false);
	}
	for (i = 0; i < u->nr; i++)
		check(u, u->small[i]);
	while (u->nr) {
		want = min_t(unsigned int, u->nr, 1 + get_random_u32() % 40);
		u->nr -= want;
		pw_pool_free(u->small + u->nr, want, 0);
	}
}

static void give_all(struct taker *u)
{
	while (u->nr)
		free_small(u, 0);
	while (u->nr_huge)
		free_huge(u, 0);
	pw_pool_unreserve(u->promises);
	u->promises = 0;
	let_go(u);
}

static int user_thread(void *arg)
{
	void (*step)(struct taker *u) = strcmp(test, "last") ? random_step : last_step;
	unsigned long end = jiffies + secs * HZ;
	struct taker *u = arg;

	while (time_before(jiffies, end)) {
		step(u);
		cond_resched();
	}
	give_all(u);
	complete(&u->done);
	return 0;
}

static bool is_whole(const struct pw_pool_stat *st)
{
	return st->free == st->held && st->avail == st->free && !st->debt;
}

/*
 * With nobody at work, every page is free and the numbers agree. They are not
 * read at one moment, and the zeroing thread is at work still, so look again.
 */
static void check_rest(void)
{
	const char *bad = pw_pool_check();
	struct pw_pool_stat st;
	int tries;

	if (bad)
		pool_error("%s", bad);
	for (tries = 0; tries < 100; tries++) {
		pw_pool_get_stat(&st);
		if (is_whole(&st))
			break;
		msleep(20);
	}
	if (!is_whole(&st))
		pool_error("held %lu free %lu avail %lu debt %lu", st.held, st.free,
			   st.avail, st.debt);
	if (st.held < st.floor)
		pool_error("held %lu, floor %lu", st.held, st.floor);
}

static int run_threads(int (*thread)(void *))
{
	struct taker *users = vzalloc(array_size(threads, sizeof(*users)));
	const char *bad;
	unsigned int i;

	if (!users)
		return -ENOMEM;
	for (i = 0; i < threads; i++) {
		users[i].id = i + 1;
		init_completion(&users[i].done);
		if (IS_ERR(kthread_run(thread, &users[i], "pool_test/%u", i)))
			complete(&users[i].done);
	}
	for (i = 0; i < threads; i++)
		while (!wait_for_completion_timeout(&users[i].done, HZ / 4)) {
			bad = pw_pool_check();
			if (bad)
				pool_error("%s", bad);
		}
	vfree(users);
	return 0;
}

static void shuffle(u32 *pfns, unsigned int nr)
{
	unsigned int i;

	for (i = nr; i > 1; i--) {
		unsigned int other = get_random_u32() % i;

		swap(pfns[i - 1], pfns[other]);
	}
}

/* What part of the free memory cannot be had as 2 MiB, in thousandths? */
static void check_fragmentation(u32 *pfns)
{
	struct pw_pool_stat st;
	unsigned long permille;
	unsigned int nr = 0;

	pw_pool_get_stat(&st);
	while ((pfns[nr] = pw_pool_alloc_huge(0)))
		nr++;
	permille = 1000 - 512000UL * nr / st.free;
	pr_info("order: of %lu free pages %lu.%lu%% are of no use for 2 MiB\n",
		st.free, permille / 10, permille % 10);
	if (permille >= 50)
		pool_error("fragmentation of %lu permille", permille);
	while (nr)
		pw_pool_free_huge(pfns[--nr], 0);
}

/*
 * Requests of random orders until nothing is left; then all but a part is freed
 * in other sizes, in the order of the requests or page by page at random. Many
 * times over, then everything is freed.
 */
static int test_order(void)
{
	unsigned int total = max_mb << (20 - PAGE_SHIFT), round, nr = 0, got;
	u32 *pfns = vmalloc(array_size(total, sizeof(*pfns)));

	if (!pfns)
		return -ENOMEM;
	for (round = 0; round < 8; round++) {
		unsigned int keep = total / 2 / (round + 1);

		while (nr < total) {
			unsigned int want = min(1U << get_random_u32() % 10, total - nr);

			got = pw_pool_alloc(pfns + nr, want, 0);
			nr += got;
			if (!got)
				break;
		}
		if (round & 1)
			shuffle(pfns, nr);
		while (nr > keep) {
			got = min(1U << get_random_u32() % 10, nr - keep);
			nr -= got;
			pw_pool_free(pfns + nr, got, 0);
		}
		cond_resched();
	}
	while (nr) {
		got = min(512U, nr);
		nr -= got;
		pw_pool_free(pfns + nr, got, 0);
	}
	check_fragmentation(pfns);
	vfree(pfns);
	return 0;
}

static unsigned int count_pages(const u32 *pfns, unsigned int nr, int nid)
{
	unsigned int i, sum = 0;

	for (i = 0; i < nr; i++)
		sum += page_to_nid(pfn_to_page(pfns[i])) == nid;
	return sum;
}

/* On a CPU of that node: pages one by one, in batches and of 2 MiB. */
static void node_pages(u32 *pfns, int nid)
{
	unsigned int nr, huge, near;
	int want = node < 0 ? nid : node;

	for (nr = 0; nr < 500; nr++)
		pw_pool_alloc(pfns + nr, 1, nr & 1 ? PW_ALLOC_ZERO : 0);
	while (nr < 2000)
		nr += pw_pool_alloc(pfns + nr, 16, PW_ALLOC_ZERO);
	for (huge = 0; huge < 4; huge++)
		pfns[nr + huge] = pw_pool_alloc_huge(0);
	near = count_pages(pfns, nr + huge, want);
	pr_info("node: on node %d %u of %u pages from node %d\n", nid, near, nr + huge, want);
	if (node == ANY_NODE ? near < nr / 3 || near > 2 * nr / 3 : near < nr + huge)
		pool_error("pages from the wrong node");
	while (huge)
		pw_pool_free_huge(pfns[nr + --huge], 0);
	/* Where they are freed must not matter. */
	set_cpus_allowed_ptr(current, cpu_online_mask);
	while (nr)
		pw_pool_free_one(pfns[--nr], 0);
}

static void expect_near(const u32 *pfns, unsigned int nr, int nid, const char *what)
{
	unsigned int near = count_pages(pfns, nr, nid);

	pr_info("share: %u of %u %s from node %d\n", near, nr, what, nid);
	if (near < nr)
		pool_error("%s from the wrong node", what);
}

/* More than half of what the pool may have, in pages of both sizes. */
static void node_share(u32 *pfns, unsigned int total, int nid)
{
	unsigned int nr = 0, huge = 0;
	unsigned long pfn;

	set_cpus_allowed_ptr(current, cpumask_of_node(nid));
	while (nr < total / 4 * 3)
		nr += pw_pool_alloc(pfns + nr, 16, nr & 16 ? PW_ALLOC_ZERO : 0);
	expect_near(pfns, nr, nid, "pages");
	pw_pool_free(pfns, nr, 0);
	while (huge < total / 4 * 3 / PW_BLOCK_PAGES && (pfn = pw_pool_alloc_huge(0)))
		pfns[huge++] = pfn;
	expect_near(pfns, huge, nid, "pages of 2 MiB");
	while (huge)
		pw_pool_free_huge(pfns[--huge], 0);
}

/* First on one node, then on the other, whose memory went to the first. */
static int test_share(void)
{
	unsigned int total = max_mb << (20 - PAGE_SHIFT);
	u32 *pfns = vmalloc(array_size(total, sizeof(*pfns)));
	struct pw_pool_stat st;
	int nid;

	if (!pfns)
		return -ENOMEM;
	for_each_online_node(nid)
		node_share(pfns, total, nid);
	vfree(pfns);
	pw_pool_get_stat(&st);
	if (st.held > st.max)
		pool_error("%lu pages held, %lu at most", st.held, st.max);
	return 0;
}

/* To the front: the first page of each block. Return: how many. */
static unsigned int sort_out(u32 *pfns, unsigned int nr)
{
	unsigned int first = 0, i;

	for (i = 0; i < nr; i++) {
		if (pfns[i] % PW_BLOCK_PAGES)
			continue;
		swap(pfns[i], pfns[first]);
		first++;
	}
	return first;
}

/* All are free, but the list of a CPU of that node has one of each of its blocks. */
static void node_lists(u32 *pfns, unsigned int total, int nid)
{
	unsigned int nr = pw_pool_alloc(pfns, total, 0), i;
	unsigned int first = sort_out(pfns, nr);
	u32 pfn;

	pw_pool_free(pfns + first, nr - first, 0);
	for (i = 0; i < first; i++)
		pw_pool_free_one(pfns[i], 0);
	pfn = pw_pool_alloc_huge(0);
	if (!pfn || page_to_nid(pfn_to_page(pfn)) != nid)
		pool_error("no page of 2 MiB from node %d", nid);
	if (pfn)
		pw_pool_free_huge(pfn, 0);
}

static int test_node(void)
{
	unsigned int total = max_mb << (20 - PAGE_SHIFT);
	u32 *pfns = vmalloc(array_size(total, sizeof(*pfns)));
	int nid, round;

	if (!pfns)
		return -ENOMEM;
	for (round = 0; round < 3; round++) {
		for_each_online_node(nid) {
			if (!cpumask_intersects(cpumask_of_node(nid), cpu_online_mask))
				continue;
			set_cpus_allowed_ptr(current, cpumask_of_node(nid));
			node_pages(pfns, nid);
			set_cpus_allowed_ptr(current, cpumask_of_node(nid));
			if (node == OWN_NODE)
				node_lists(pfns, total, nid);
		}
	}
	vfree(pfns);
	return 0;
}

/* All pages used once, and free again. */
static int soil(void)
{
	unsigned int total = max_mb << (20 - PAGE_SHIFT), nr = 0, got;
	u32 *pfns = vmalloc(array_size(total, sizeof(*pfns)));

	if (!pfns)
		return -ENOMEM;
	while ((got = pw_pool_alloc(pfns + nr, total - nr, 0)))
		nr += got;
	pw_pool_free(pfns, nr, 0);
	vfree(pfns);
	return 0;
}

static u64 zeroed_at_fault(void)
{
	struct pw_stats sum;

	pw_stats_sum(&sum);
	return sum.zeroed_fault;
}

/* All free pages are clear, but for a few that are at hand somewhere. */
static bool all_clear(void)
{
	struct pw_pool_stat st;

	pw_pool_get_stat(&st);
	return st.clear + 64 >= st.free;
}

static void wait_all_clear(void)
{
	unsigned int tries = 0;

	while (!all_clear() && tries++ < 1000)
		msleep(20);
	if (!all_clear())
		pool_error("the stock does not fill");
}

/* From a CPU of that node, @nr pages that read as zero: how many are zeroed for that? */
static void check_zeroed_ahead(u32 *pfns, unsigned int nr, int nid)
{
	unsigned int got = 0, zeroed;
	u64 before;

	wait_all_clear();
	set_cpus_allowed_ptr(current, cpumask_of_node(nid));
	before = zeroed_at_fault();
	while (got < nr)
		got += pw_pool_alloc(pfns + got, got & 16 ? 1 : min(16U, nr - got), PW_ALLOC_ZERO);
	zeroed = zeroed_at_fault() - before;
	pr_info("%s: on node %d %u of %u pages were zeroed late\n", test, nid, zeroed, nr);
	if (zeroed > 64)
		pool_error("pages were zeroed that were zero");
}

static int test_bare(void)
{
	unsigned int nr = 1000, bare = 0;
	u32 *pfns = vmalloc(array_size(nr, sizeof(*pfns)));
	int nid;

	if (!pfns)
		return -ENOMEM;
	for_each_online_node(nid) {
		if (node_state(nid, N_MEMORY) ||
		    !cpumask_intersects(cpumask_of_node(nid), cpu_online_mask))
			continue;
		bare++;
		check_zeroed_ahead(pfns, nr, nid);
		while (nr)
			pw_pool_free_one(pfns[--nr], 0);
		migrate_disable();
		if (!this_cpu_read(pw_pool.pcp->nr[PW_DIRTY]))
			pool_error("no list has what was freed on node %d", nid);
		migrate_enable();
	}
	if (!bare)
		pool_error("every node with a CPU has memory");
	vfree(pfns);
	return 0;
}

/* One page of each block stays in use, so that no other takes the place of a block. */
static int test_far(void)
{
	unsigned int total = max_mb << (20 - PAGE_SHIFT), nr, kept, more;
	u32 *pfns = vmalloc(array_size(total, sizeof(*pfns)));
	int nid = numa_node_id();

	if (!pfns)
		return -ENOMEM;
	nr = pw_pool_alloc(pfns, total, 0);
	kept = sort_out(pfns, nr);
	pw_pool_free(pfns + kept, nr - kept, 0);
	more = (nr - kept) / 4 * 3;
	check_zeroed_ahead(pfns + kept, more, nid);
	nr = count_pages(pfns + kept, more, nid);
	pr_info("far: %u of %u pages from node %d\n", nr, more, nid);
	if (nr > more * 3 / 4)
		pool_error("node %d had nearly all of them", nid);
	pw_pool_free(pfns, kept + more, 0);
	vfree(pfns);
	return 0;
}

static bool stock_is_full(int nid)
{
	const struct pw_shelf *shelf = &pw_pool.buddy.shelf[nid];

	return READ_ONCE(shelf->nr_free[PW_CLEAR]) >= shelf->nr_owned / 2;
}

static int test_zero(void)
{
	unsigned int nid, tries = 0;

	if (soil())
		return -ENOMEM;
	for_each_online_node(nid) {
		while (!stock_is_full(nid) && tries++ < 1000)
			msleep(20);
		pr_info("zero: node %u has %lu pages, %lu of them clear\n", nid,
			pw_pool.buddy.shelf[nid].nr_owned,
			pw_pool.buddy.shelf[nid].nr_free[PW_CLEAR]);
		if (!stock_is_full(nid) || !pw_pool.buddy.shelf[nid].nr_owned)
			pool_error("node %u: no stock", nid);
	}
	return 0;
}

static int test_return(void)
{
	unsigned long floor = (unsigned long)floor_mb << (20 - PAGE_SHIFT);
	unsigned long max = (unsigned long)max_mb << (20 - PAGE_SHIFT);
	struct pw_pool_stat st;

	if (pw_pool_reserve(max))
		pool_error("the pool does not grow to its ceiling");
	else
		pw_pool_unreserve(max);
	if (!pw_pool_reserve(max + 1))
		pool_error("a promise above the ceiling");
	pw_pool_set_max(floor);
	pw_pool_get_stat(&st);
	if (st.held != floor)
		pool_error("shrunk to %lu pages, not %lu", st.held, floor);
	pw_pool_set_max(max);
	return 0;
}

/* Somebody holds a page of each block while it is freed, and some time longer. */
static int test_parts(void)
{
	unsigned int total = floor_mb << (20 - PAGE_SHIFT), nr, i, tries;
	u32 *pfns = vmalloc(array_size(total, sizeof(*pfns)));
	struct pw_pool_stat st;

	if (!pfns)
		return -ENOMEM;
	nr = pw_pool_alloc(pfns, total, 0);
	for (i = 0; i < nr; i++)
		if (pfns[i] % PW_BLOCK_PAGES == 300)
			get_page(pfn_to_page(pfns[i]));
	for (i = 0; i < nr; i++) {
		struct page *page = pfn_to_page(pfns[i]);

		pw_pool_free_one(pfns[i], 0);
		if (pfns[i] % PW_BLOCK_PAGES == 300)
			put_page(page);
	}
	vfree(pfns);
	pw_pool_get_stat(&st);
	pr_info("parts: of %lu pages %lu are lost\n", st.held, st.lost);
	if (st.lost < total / PW_BLOCK_PAGES)
		pool_error("nothing was lost");
	for (tries = 0; st.lost && tries < 1000; tries++) {
		msleep(50);
		pw_pool_get_stat(&st);
	}
	if (st.lost)
		pool_error("%lu pages of %lu did not come back", st.lost, st.held);
	return 0;
}

static unsigned int at_hand(const struct pw_pcp *pcp)
{
	return pcp->nr[PW_CLEAR] + pcp->nr[PW_DIRTY];
}

static void one_by_one(u32 *pfns, unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++)
		pw_pool_alloc(pfns + i, 1, PW_ALLOC_PROMISED);
	for (i = 0; i < nr; i++)
		pw_pool_free(pfns + i, 1, PW_FREE_PROMISED);
}

static void check_marks(u32 *pfns, unsigned int nr)
{
	const struct pw_pcp *pcp = this_cpu_ptr(pw_pool.pcp);
	unsigned int i;

	for (i = 0; i < 10; i++)
		one_by_one(pfns, nr);
	if (pcp->high != PW_PCP_MAX || at_hand(pcp) < PW_PCP_MAX / 2)
		pool_error("in demand: %u at hand, up to %u", at_hand(pcp), pcp->high);
	/* As under pressure. */
	pw_pcp_drain_all();
	if (at_hand(pcp) || pcp->credit)
		pool_error("drained: %u at hand, %u credit", at_hand(pcp), pcp->credit);
	one_by_one(pfns, nr);
	/* As with time. */
	pw_pcp_drain_idle();
	if (!at_hand(pcp) || at_hand(pcp) > PW_PCP_MAX)
		pool_error("just used: %u at hand", at_hand(pcp));
	for (i = 0; i < 4; i++)
		pw_pcp_drain_idle();
	if (pcp->high != 2 * PW_PCP_BATCH || at_hand(pcp) || pcp->credit)
		pool_error("idle: %u at hand, up to %u", at_hand(pcp), pcp->high);
}

static int test_marks(void)
{
	const unsigned int nr = 1024;
	u32 *pfns = kmalloc_array(nr, sizeof(*pfns), GFP_KERNEL);

	if (!pfns || pw_pool_reserve(nr)) {
		kfree(pfns);
		return -ENOMEM;
	}
	migrate_disable();
	check_marks(pfns, nr);
	migrate_enable();
	pw_pool_unreserve(nr);
	kfree(pfns);
	return 0;
}

/* Little enough to be a CPU's credit, which goes to avail and comes back all the time. */
static int promise_thread(void *unused)
{
	unsigned int nr[4], i;

	while (!kthread_should_stop()) {
		for (i = 0; i < ARRAY_SIZE(nr); i++) {
			nr[i] = get_random_u32() % PW_PCP_BATCH;
			if (pw_pool_reserve(nr[i]))
				nr[i] = 0;
		}
		while (i)
			pw_pool_unreserve(nr[--i]);
		cond_resched();
	}
	return 0;
}

static int test_numbers(void)
{
	struct task_struct *task = kthread_run(promise_thread, NULL, "pool_test");
	unsigned long end = jiffies + secs * HZ;
	struct pw_pool_stat st;

	if (IS_ERR(task))
		return PTR_ERR(task);
	while (time_before(jiffies, end)) {
		pw_pool_get_stat(&st);
		if (st.avail > st.free || st.free + st.lost > st.held)
			pool_error("held %lu lost %lu free %lu avail %lu", st.held, st.lost,
				   st.free, st.avail);
		cond_resched();
	}
	return kthread_stop(task);
}

/* Pages were lost between the look at avail and the look for pages. */
static int test_debt(void)
{
	unsigned int total = max_mb << (20 - PAGE_SHIFT), nr;
	u32 *pfns = vmalloc(array_size(total, sizeof(*pfns)));
	const long lost = 10;
	long avail;

	if (!pfns)
		return -ENOMEM;
	nr = pw_pool_alloc(pfns, total, 0);
	pw_pcp_drain_all();
	atomic_long_add(lost, &pw_pool.avail);
	if (pw_pool_alloc(pfns + nr, lost, 0))
		pool_error("a page that is not there");
	pw_pcp_drain_all();
	avail = atomic_long_read(&pw_pool.avail);
	if (avail != lost)
		pool_error("%ld pages may be promised, not %ld", avail, lost);
	atomic_long_sub(avail, &pw_pool.avail);
	pw_pool_free(pfns, nr, 0);
	vfree(pfns);
	return 0;
}

/* How often of 10 times does the list keep its pages? No block is whole. */
static unsigned int kept_at_hand(u32 *pfns, unsigned int nr)
{
	const struct pw_pcp *pcp = this_cpu_ptr(pw_pool.pcp);
	unsigned int i, k, kept = 0;

	for (i = 0; i < 10; i++) {
		for (k = 0; k < nr; k++)
			pw_pool_alloc(pfns + k, 1, 0);
		for (k = 0; k < nr; k++)
			pw_pool_free(pfns + k, 1, 0);
		if (pw_pool_alloc_huge(0))
			pool_error("a block that is not whole");
		kept += at_hand(pcp) >= nr;
	}
	return kept;
}

static int test_vain(void)
{
	unsigned int total = max_mb << (20 - PAGE_SHIFT), nr, first, kept;
	u32 *pfns = vmalloc(array_size(total, sizeof(*pfns)));

	if (!pfns)
		return -ENOMEM;
	nr = pw_pool_alloc(pfns, total, 0);
	first = sort_out(pfns, nr);
	pw_pool_free(pfns + first, nr - first, 0);
	migrate_disable();
	kept = kept_at_hand(pfns + first, PW_PCP_BATCH);
	migrate_enable();
	pr_info("vain: a list kept its pages %u times of 10\n", kept);
	if (kept < 5)
		pool_error("the list was emptied in vain");
	pw_pool_free(pfns, first, 0);
	vfree(pfns);
	return 0;
}

/* Have everybody's shrinkers called. */
static void reclaim(void)
{
	struct file *file = filp_open("/proc/sys/vm/drop_caches", O_WRONLY, 0);
	loff_t pos = 0;

	if (IS_ERR(file) || kernel_write(file, "2", 1, &pos) != 1)
		pool_error("drop_caches cannot be written");
	if (!IS_ERR(file))
		fput(file);
}

/* For half a second, as often as can be. */
static void check_scans(u32 *pfns, unsigned int nr)
{
	const struct pw_pcp *pcp = this_cpu_ptr(pw_pool.pcp);
	unsigned long begin = jiffies, now;
	unsigned int calls = 0, emptied = 0, most;

	do {
		one_by_one(pfns, nr);
		reclaim();
		emptied += at_hand(pcp) < nr;
		calls++;
		now = jiffies;
	} while (time_before(now, begin + HZ / 2));
	most = 1 + (now - begin) / (HZ / 10);
	pr_info("scan: a list was emptied %u times in %u calls, %u at most\n", emptied, calls,
		most);
	if (!emptied || emptied > most)
		pool_error("emptied %u times", emptied);
}

/* One page of each block is in use: nothing is idle, and reclaim is told of what could be. */
static int test_scan(void)
{
	unsigned int total = max_mb << (20 - PAGE_SHIFT), nr, first;
	u32 *pfns = vmalloc(array_size(total, sizeof(*pfns)));

	if (!pfns || pw_pool_reserve(total)) {
		vfree(pfns);
		return -ENOMEM;
	}
	nr = pw_pool_alloc(pfns, total, PW_ALLOC_PROMISED);
	first = sort_out(pfns, nr);
	pw_pool_free(pfns + first, nr - first, 0);
	pw_pool_reserve(PW_PCP_BATCH);
	reclaim();
	msleep(150);
	migrate_disable();
	check_scans(pfns + first, PW_PCP_BATCH);
	migrate_enable();
	pw_pool_unreserve(PW_PCP_BATCH);
	pw_pool_free(pfns, first, 0);
	vfree(pfns);
	return 0;
}

/* More is promised than may be: pages at hand do no harm, but no credit. */
static void check_shut(u32 *pfns)
{
	const struct pw_pcp *pcp = this_cpu_ptr(pw_pool.pcp);
	long avail = atomic_long_read(&pw_pool.avail);
	unsigned int i;

	if (avail >= 0)
		pool_error("%ld pages may be promised", avail);
	one_by_one(pfns, 2 * PW_PCP_BATCH);
	if (at_hand(pcp) < PW_PCP_BATCH)
		pool_error("avail below zero: %u at hand", at_hand(pcp));
	for (i = 1; i < PW_PCP_BATCH; i++)
		pw_pool_unreserve(1);
	avail += PW_PCP_BATCH - 1;
	if (pcp->credit || atomic_long_read(&pw_pool.avail) != avail)
		pool_error("avail below zero: %u credit", pcp->credit);
}

/* Nobody asks for anything, and gives up hardly any: somebody may just have size_lock. */
static unsigned int check_open(void)
{
	unsigned int tries = 0;

	for (; READ_ONCE(pw_pool.shut) && tries < 10; tries++) {
		msleep(20);
		pw_pool_unreserve(1);
	}
	if (READ_ONCE(pw_pool.shut))
		pool_error("no credit though %ld pages may be promised",
			   atomic_long_read(&pw_pool.avail));
	return tries;
}

static int test_shut(void)
{
	unsigned long floor = (unsigned long)floor_mb << (20 - PAGE_SHIFT);
	unsigned long max = (unsigned long)max_mb << (20 - PAGE_SHIFT);
	u32 *pfns = kmalloc_array(2 * PW_PCP_BATCH, sizeof(*pfns), GFP_KERNEL);

	if (!pfns || pw_pool_reserve(max)) {
		kfree(pfns);
		return -ENOMEM;
	}
	pw_pool_set_max(floor);
	migrate_disable();
	check_shut(pfns);
	migrate_enable();
	pw_pool_unreserve(max - floor / 2 - PW_PCP_BATCH + 1);
	pw_pool_unreserve(floor / 2 - check_open());
	pw_pool_set_max(max);
	kfree(pfns);
	return 0;
}

/* Looks for 2 MiB, by itself and in the place of small pages, where there are none. */
static int try_thread(void *unused)
{
	while (!kthread_should_stop()) {
		if (pw_pool_alloc_huge(0) || pw_pool_swap_huge(PW_PCP_BATCH))
			pool_error("a block that is not whole");
		cond_resched();
	}
	return 0;
}

/* Promises, and pages, up to so many: there are as many for everybody who does this. */
static void share_step(struct taker *u, unsigned int share)
{
	unsigned int nr = 0, want;

	while (nr < share) {
		want = min(1 + get_random_u32() % 100, share - nr);
		if (pw_pool_reserve(want)) {
			pool_error("%u pages refused to %llu, who has %u of %u", want, u->id,
				   nr, share);
			break;
		}
		nr += want;
	}
	pw_pool_unreserve(nr);
	for (nr = 0; nr < share; nr++) {
		if (!pw_pool_alloc(&u->small[nr], 1, 0)) {
			pool_error("no page for %llu, who has %u of %u", u->id, nr, share);
			break;
		}
	}
	while (nr) {
		want = min(1 + get_random_u32() % 100, nr);
		nr -= want;
		pw_pool_free(u->small + nr, want, 0);
	}
	atomic_long_inc(&operations);
}

static unsigned int share_of_each;

static int share_thread(void *arg)
{
	unsigned long end = jiffies + secs * HZ;
	struct taker *u = arg;

	while (time_before(jiffies, end)) {
		share_step(u, share_of_each);
		cond_resched();
	}
	complete(&u->done);
	return 0;
}

/* One page of each block is in use; the others are enough for everybody, to the last. */
static int test_tries(void)
{
	unsigned int total = max_mb << (20 - PAGE_SHIFT), nr, first;
	u32 *pfns = vmalloc(array_size(total, sizeof(*pfns)));
	struct task_struct *task;
	int err = -ENOMEM;

	if (!pfns)
		return -ENOMEM;
	nr = pw_pool_alloc(pfns, total, 0);
	first = sort_out(pfns, nr);
	pw_pool_free(pfns + first, nr - first, 0);
	share_of_each = min(SMALL, (nr - first - PW_PCP_BATCH) / threads);
	/* What remains, and what the tries in the place of small pages had before. */
	pw_pool_reserve(nr - first - threads * share_of_each);
	task = kthread_run(try_thread, NULL, "pool_test/try");
	if (!IS_ERR(task)) {
		err = run_threads(share_thread);
		kthread_stop(task);
	}
	pw_pool_unreserve(nr - first - threads * share_of_each);
	pw_pool_free(pfns, first, 0);
	vfree(pfns);
	return err;
}

static int run(void)
{
	if (!strcmp(test, "random") || !strcmp(test, "last"))
		return run_threads(user_thread);
	if (!strcmp(test, "order"))
		return test_order();
	if (!strcmp(test, "node"))
		return test_node();
	if (!strcmp(test, "bare"))
		return test_bare();
	if (!strcmp(test, "share"))
		return test_share();
	if (!strcmp(test, "far"))
		return test_far();
	if (!strcmp(test, "zero"))
		return test_zero();
	if (!strcmp(test, "return"))
		return test_return();
	if (!strcmp(test, "parts"))
		return test_parts();
	if (!strcmp(test, "marks"))
		return test_marks();
	if (!strcmp(test, "numbers"))
		return test_numbers();
	if (!strcmp(test, "debt"))
		return test_debt();
	if (!strcmp(test, "vain"))
		return test_vain();
	if (!strcmp(test, "scan"))
		return test_scan();
	if (!strcmp(test, "shut"))
		return test_shut();
	if (!strcmp(test, "tries"))
		return test_tries();
	if (!strcmp(test, "bench"))
		return pool_bench();
	return -EINVAL;
}

static int __init pool_test_init(void)
{
	struct pw_stats sum;
	int err = pw_stats_init();

	if (err)
		return err;
	err = pw_pool_init((unsigned long)floor_mb << (20 - PAGE_SHIFT),
			   (unsigned long)max_mb << (20 - PAGE_SHIFT));
	if (err)
		goto out_stats;
	err = run();
	check_rest();
	pw_stats_sum(&sum);
	pr_info("%s: %ld operations, %ld refused, %llu joined, %llu cut, %llu lost, %d errors\n",
		test, atomic_long_read(&operations), atomic_long_read(&refused),
		sum.blocks_joined, sum.blocks_cut, sum.pages_lost, atomic_read(&errors));
	if (!err && !atomic_read(&errors))
		return 0;
	pw_pool_exit();
out_stats:
	pw_stats_exit();
	return err ? err : -EUCLEAN;
}

static void __exit pool_test_exit(void)
{
	pw_pool_exit();
	pw_stats_exit();
}

module_init(pool_test_init);
module_exit(pool_test_exit);

MODULE_DESCRIPTION("Tests of Pagewell's page pool");
MODULE_AUTHOR("The Pagewell developers");
MODULE_LICENSE("GPL");
