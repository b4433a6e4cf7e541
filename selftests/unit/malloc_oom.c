// SPDX-License-Identifier: GPL-2.0-only
/*
 * malloc_oom.c - no memory, at every step at which the OS can say so
 */
#include <sys/resource.h>

#include "malloc_test.h"

static void *held[512];
static size_t sizes[512];

/* Every kind of request; says whether one of them failed. */
static bool some_work(void)
{
	bool failed = false;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(held); i++) {
		sizes[i] = (size_t)1 << (i % 23);
		errno = 0;
		held[i] = i % 3 ? pw_malloc(sizes[i]) : pw_aligned_alloc(4096, sizes[i]);
		CHECK(held[i] || errno == ENOMEM);
		failed |= !held[i];
		if (held[i])
			memset(held[i], (int)i, MIN(sizes[i], (size_t)8192));
	}
	for (i = 0; i < ARRAY_SIZE(held); i += 2) {
		unsigned char *p = held[i];

		if (!p)
			continue;
		errno = 0;
		p = pw_realloc(p, sizes[i] * 3);
		CHECK(p || errno == ENOMEM);
		failed |= !p;
		if (p)
			held[i] = p;
		CHECK(((unsigned char *)held[i])[0] == (unsigned char)i);
	}
	return failed;
}

static void drop_all(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(held); i++)
		pw_free(held[i]);
}

/* Each first failure in turn, until there is none any more. */
static void at_every_step(void)
{
	long step;

	for (step = 1; step < 2000; step++) {
		bool failed;

		pw_os_fail_after = step;
		failed = some_work();
		pw_os_fail_after = 0;
		drop_all();
		pw_malloc_trim(0);
		CHECK(pw_mallinfo2().uordblks == 0 && pw_mallinfo2().hblks == 0);
		if (!failed)
			break;
	}
	printf("# %ld steps\n", step);
	CHECK(step > 20 && step < 2000);
	/* And after all that, everything works. */
	CHECK(!some_work());
}

/* As under "ulimit -v": sanitizers need more addresses, so add to what there is. */
static void with_few_addresses(void)
{
	unsigned long pages;
	struct rlimit limit;
	size_t got = 0;
	FILE *fp = fopen("/proc/self/statm", "r");

	CHECK(fp && fscanf(fp, "%lu", &pages) == 1);
	fclose(fp);
	limit.rlim_cur = pages * PAGE_SIZE + 256 * MIB;
	limit.rlim_max = limit.rlim_cur;
	CHECK(!setrlimit(RLIMIT_AS, &limit));
	while (pw_malloc(50 * KIB))
		got += 50 * KIB;
	CHECK(errno == ENOMEM);
	printf("# %zu MiB of 256\n", got / MIB);
	CHECK(got > 200 * MIB);
}

static void larger_than_everything(void)
{
	CHECK(!pw_malloc((size_t)1 << 46) && errno == ENOMEM);
	CHECK(!pw_malloc((size_t)1 << 60) && errno == ENOMEM);
	CHECK(!pw_calloc((size_t)1 << 40, (size_t)1 << 10) && errno == ENOMEM);
	CHECK(!pw_memalign((size_t)1 << 47, 10) && errno == ENOMEM);
	CHECK(!some_work());
}

int main(void)
{
	static const struct test tests[] = {
		{ "a failure at each step to the OS", at_every_step },
		{ "RLIMIT_AS", with_few_addresses },
		{ "requests larger than everything", larger_than_everything },
	};

	return run_tests(tests, ARRAY_SIZE(tests));
}
