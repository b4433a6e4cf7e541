// SPDX-License-Identifier: GPL-2.0-only
/*
 * malloc_class.c - sizes and classes agree, for every size
 */
#include "malloc_test.h"
#include "runs.h"

static void every_size(void)
{
	size_t size, last = 0;

	for (size = 1; size <= CLASS_MAX; size++) {
		size_t c = class_of(size);

		CHECK(c >= 1 && c < NR_CLASSES);
		CHECK(class_size((unsigned int)c) >= size);
		CHECK(c == 1 || class_size((unsigned int)c - 1) < size);
		CHECK(c == last || c == last + 1);
		last = c;
	}
	CHECK(last == NR_CLASSES - 1);
}

static void every_class(void)
{
	unsigned int c;

	for (c = 1; c < NR_CLASSES; c++) {
		size_t size = class_size(c);

		CHECK(size % MIN_ALIGN == 0);
		CHECK(class_of(size) == c);
		CHECK(class_room(size) >= 1 && class_room(size) <= 64);
		/* An eighth is what a block may waste. */
		CHECK(c <= NR_SMALL || size - class_size(c - 1) <= class_size(c - 1) / 8);
	}
}

static void run_bins(void)
{
	size_t granules;

	for (granules = 1; granules < 1 << 20; granules++) {
		unsigned int bin = run_bin(granules), next = run_bin(granules + 1);

		CHECK(next == bin || next == bin + 1);
		CHECK(bin < NR_LARGE_BINS);
		CHECK(granules >= EXACT_RUNS || bin == granules);
	}
	CHECK(run_bin((1 << 30) - 1) < NR_LARGE_BINS);
}

int main(void)
{
	static const struct test tests[] = {
		{ "every size has the smallest class that holds it", every_size },
		{ "every class is aligned and wastes little", every_class },
		{ "longer runs are in later bins", run_bins },
	};

	return run_tests(tests, ARRAY_SIZE(tests));
}
