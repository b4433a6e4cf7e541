// SPDX-License-Identifier: GPL-2.0-only
/*
 * pool_bench.c - instructions of single operations of the pool
 *
 * For a machine whose clock counts instructions (scripts/vm --icount): there a
 * nanosecond is one. The loop itself is measured and taken off.
 */
#define pr_fmt(fmt) "pagewell_test: " fmt

#include <linux/delay.h>
#include <linux/highmem.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/moduleparam.h>
#include <linux/vmalloc.h>

#include "pool_hit.h"
#include "pool_test.h"

#define ROUNDS	20000

static u32 *pfns;
static u64 loop;

/* Runs @code for @r from 0 to @n - 1; says what one of @parts of it costs. */
#define MEASURE(what, n, parts, code) do {				\
	unsigned int r, rounds = (n);					\
	u64 t = ktime_get_ns();						\
									\
	for (r = 0; r < rounds; r++) {					\
		code;							\
		barrier();						\
	}								\
	t = ktime_get_ns() - t - loop * rounds / ROUNDS;		\
	pr_info("bench %-44s %llu\n", what, t / rounds / (parts));	\
} while (0)

static void measure_loop(void)
{
	unsigned int r;
	u64 t = ktime_get_ns();

	for (r = 0; r < ROUNDS; r++)
		barrier();
	loop = ktime_get_ns() - t;
}

/* @nr pages in pieces of @step, taken and freed. */
static void through(unsigned int nr, unsigned int step, unsigned int flags)
{
	unsigned int i;

	for (i = 0; i < nr; i += step)
		pw_pool_alloc(pfns + i, step, PW_ALLOC_PROMISED | flags);
	for (i = 0; i < nr; i += step)
		pw_pool_free(pfns + i, step, PW_FREE_PROMISED);
}

static void bench_lists(void)
{
	unsigned long huge;
	u32 pfn;

	pw_pool_reserve(2048);
	through(16, 1, 0);
	MEASURE("4 KiB, from the list and back", ROUNDS, 1, {
		pfn = pw_pool_alloc_one(PW_ALLOC_PROMISED);
		pw_pool_free_one(pfn, PW_FREE_PROMISED);
	});
	MEASURE("4 KiB, the same without a promise", ROUNDS, 1, {
		pfn = pw_pool_alloc_one(0);
		pw_pool_free_one(pfn, 0);
	});
	MEASURE("4 KiB, the same by calls of any length", ROUNDS, 1, {
		pw_pool_alloc(&pfn, 1, PW_ALLOC_PROMISED);
		pw_pool_free(&pfn, 1, PW_FREE_PROMISED);
	});
	MEASURE("4 KiB, each of 16 a call", ROUNDS / 16, 16, through(16, 16, 0));
	MEASURE("4 KiB, 2048 one by one: with refill and drain", 20, 2048,
		through(2048, 1, 0));
	MEASURE("4 KiB, each of 512 a call: without lists", 20, 2048, through(2048, 512, 0));

	huge = pw_pool_alloc_huge(PW_ALLOC_PROMISED);
	pw_pool_free_huge(huge, PW_FREE_PROMISED);
	MEASURE("2 MiB, from the list and back", ROUNDS, 1, {
		huge = pw_pool_alloc_huge(PW_ALLOC_PROMISED);
		pw_pool_free_huge(huge, PW_FREE_PROMISED);
	});
	MEASURE("2 MiB, the same without a promise", ROUNDS, 1, {
		huge = pw_pool_alloc_huge(0);
		pw_pool_free_huge(huge, 0);
	});
	MEASURE("promise and its end", ROUNDS, 1, {
		pw_pool_reserve(1);
		pw_pool_unreserve(1);
	});
	pw_pool_unreserve(2048);
}

/* No clear page is left: what an allocation costs beside the zeroing. */
static void bench_empty_stock(void)
{
	struct page *page = alloc_page(GFP_KERNEL);
	unsigned int nr = 0, got;
	u32 dirty[16];

	if (!page)
		return;
	/* All pages, clear ones too, become dirty. */
	while ((got = pw_pool_alloc(pfns + nr, 512, 0)))
		nr += got;
	while (nr) {
		got = min(512U, nr);
		nr -= got;
		pw_pool_free(pfns + nr, got, 0);
	}
	pw_pool_reserve(16);
	MEASURE("clear a page", ROUNDS / 16, 1, clear_highpage(page));
	MEASURE("1 page zeroed at fault, taken and freed", ROUNDS / 16, 1, {
		pw_pool_alloc(dirty, 1, PW_ALLOC_PROMISED | PW_ALLOC_ZERO);
		pw_pool_free(dirty, 1, PW_FREE_PROMISED);
	});
	MEASURE("16 pages zeroed at fault, taken and freed", ROUNDS / 16, 1, {
		pw_pool_alloc(dirty, 16, PW_ALLOC_PROMISED | PW_ALLOC_ZERO);
		pw_pool_free(dirty, 16, PW_FREE_PROMISED);
	});
	pw_pool_unreserve(16);
	__free_page(page);
}

static void bench_blocks(unsigned long max, unsigned long floor)
{
	unsigned long blocks = (max - floor) / 512;
	struct page *pages[16];
	unsigned int nr = 0, i;

	/* What the kernel itself takes for memory that nobody split or mapped. */
	for (nr = 0; nr < 16; nr++) {
		pages[nr] = alloc_pages(GFP_KERNEL, 9);
		if (!pages[nr])
			break;
	}
	if (nr)
		MEASURE("free 2 MiB in the kernel", nr, 1, __free_pages(pages[r], 9));

	/* All were used in small pieces. */
	MEASURE("2 MiB back to the kernel, used as 4 KiB", 1, blocks, pw_pool_set_max(floor));
	pw_pool_set_max(max);
	pw_pool_reserve(max);
	pw_pool_unreserve(max);
	MEASURE("2 MiB back to the kernel, never cut", 1, blocks, pw_pool_set_max(floor));
	pw_pool_set_max(max);

	for (i = 0; i < 6; i++)
		pfns[i] = pw_pool_alloc_huge(0);
	MEASURE("split 2 MiB", 6, 1, pw_pool_split_huge(pfns[r]));
	while (i) {
		unsigned int k;
		u32 first = pfns[--i];

		for (k = 0; k < 512; k++)
			pfns[k + 512] = first + k;
		pw_pool_free(pfns + 512, 512, 0);
	}
}

int pool_bench(void)
{
	struct pw_pool_stat st;

	pw_pool_get_stat(&st);
	pfns = vmalloc(array_size(st.max + 1024, sizeof(*pfns)));
	if (!pfns)
		return -ENOMEM;
	pw_pool_reserve(st.max);
	pw_pool_unreserve(st.max);
	measure_loop();
	bench_lists();
	bench_empty_stock();
	bench_blocks(st.max, st.floor);
	vfree(pfns);
	return 0;
}
