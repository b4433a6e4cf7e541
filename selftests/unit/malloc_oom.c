// SPDX-License-Identifier: GPL-2.0-only
/*
 * malloc_oom.c - no memory, at every step at which the OS can say so
 */
#include <sys/mman.h>
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

/* As under "ulimit -v" and "-d": sanitizers need more, so add to what there is. */
static void limit_to(__rlimit_resource_t resource, size_t more)
{
	unsigned long all, data;
	struct rlimit limit;
	FILE *fp = fopen("/proc/self/statm", "r");

	CHECK(fp && fscanf(fp, "%lu %*u %*u %*u %*u %lu", &all, &data) == 2);
	fclose(fp);
	limit.rlim_cur = (resource == RLIMIT_AS ? all : data) * PAGE_SIZE + more;
	limit.rlim_max = limit.rlim_cur;
	CHECK(!setrlimit(resource, &limit));
}

static void with_few_addresses(void)
{
	size_t got = 0;

	limit_to(RLIMIT_AS, 256 * MIB);
	while (pw_malloc(50 * KIB))
		got += 50 * KIB;
	CHECK(errno == ENOMEM);
	printf("# %zu MiB of 256\n", got / MIB);
	CHECK(got > 200 * MIB);
}

static char *map_as_others(uintptr_t addr)
{
	char *p = mmap((void *)addr, MIB, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	CHECK(p == (char *)addr);
	return p;
}

/* There is room for the new block, but not for both; in its place there is none. */
static void grow_within(__rlimit_resource_t resource)
{
	char *p, *q, *to;

	/* It stays: an arena with nothing in it lets go of its place, which is lower. */
	CHECK(pw_malloc(100));
	limit_to(resource, 100 * MIB);
	p = pw_malloc(60 * MIB);
	q = pw_malloc(MIB);
	CHECK(p && q == p + 60 * MIB);
	p[0] = 1;
	p[60 * MIB - 1] = 2;
	to = pw_realloc(p, 70 * MIB);
	CHECK(to && to != p && to[0] == 1 && to[60 * MIB - 1] == 2);
	CHECK(!pw_realloc(to, 120 * MIB) && errno == ENOMEM);
	/* In its place now, and then away again: it has to be one mapping still. */
	to[70 * MIB - 1] = 3;
	CHECK(pw_realloc(to, 75 * MIB) == to);
	map_as_others((uintptr_t)to + 75 * MIB);
	to = pw_realloc(to, 80 * MIB);
	CHECK(to && to[0] == 1 && to[60 * MIB - 1] == 2 && to[70 * MIB - 1] == 3);
	/* Its first place is free. */
	CHECK(pw_malloc(10 * MIB) == p);
}

static void grow_with_few_addresses(void)
{
	grow_within(RLIMIT_AS);
}

static void grow_with_little_data(void)
{
	grow_within(RLIMIT_DATA);
}

/*
 * Somebody else's memory is where the block would go: not to be mapped over. The
 * addresses of the first gap behind all blocks are found by a map.
 */
static void grow_beside_others(void)
{
	char *p, *q, *others;
	uintptr_t behind;

	pw_free(pw_malloc(100));
	limit_to(RLIMIT_AS, 100 * MIB);
	p = pw_malloc(60 * MIB);
	q = pw_malloc(MIB);
	CHECK(p && q);
	p[0] = 1;
	CHECK(!os_map(MIB, 0, 0, &behind) && !os_unmap(behind, MIB, 0));
	others = map_as_others(behind + 40 * MIB);
	others[0] = 5;
	p = pw_realloc(p, 70 * MIB);
	CHECK(p && p[0] == 1 && p > others && others[0] == 5);
}

static void larger_than_everything(void)
{
	CHECK(!pw_malloc((size_t)1 << 46) && errno == ENOMEM);
	CHECK(!pw_malloc((size_t)1 << 60) && errno == ENOMEM);
	CHECK(!pw_calloc((size_t)1 << 40, (size_t)1 << 10) && errno == ENOMEM);
	CHECK(!pw_memalign((size_t)1 << 47, 10) && errno == ENOMEM);
	CHECK(!some_work());
}

/* The address of the lowest gap of a gigabyte. */
static uintptr_t gap(void)
{
	uintptr_t addr;

	CHECK(!os_map(GIB, 0, 0, &addr) && !os_unmap(addr, GIB, 0));
	return addr;
}

/* Neither addresses nor tables, which are never given back. */
static void nothing_of_what_failed(void)
{
	void *run, *mapped;
	size_t tables;
	uintptr_t at;

	CHECK(pw_mallopt(M_MMAP_THRESHOLD, 32 * MIB));
	run = pw_malloc(5 * MIB);
	mapped = pw_malloc(40 * MIB);
	CHECK(run && mapped);
	at = gap();
	tables = pw_meta_bytes();
	/* For the tables of 1 TiB that would do. */
	limit_to(RLIMIT_DATA, 16 * GIB);
	CHECK(!pw_malloc(1024 * GIB) && errno == ENOMEM);
	CHECK(!pw_realloc(run, 1024 * GIB) && !pw_realloc(mapped, 1024 * GIB));
	CHECK(pw_mallopt(M_MMAP_MAX, 0) && !pw_malloc(1024 * GIB));
	CHECK(pw_meta_bytes() == tables && gap() == at);
}

int main(void)
{
	static const struct test tests[] = {
		{ "a failure at each step to the OS", at_every_step },
		{ "RLIMIT_AS", with_few_addresses },
		{ "a block grows within RLIMIT_AS", grow_with_few_addresses },
		{ "a block grows within RLIMIT_DATA", grow_with_little_data },
		{ "a block grows, with somebody else's memory in the way", grow_beside_others },
		{ "requests larger than everything", larger_than_everything },
		{ "nothing is left of what could not be had", nothing_of_what_failed },
	};

	return run_tests(tests, ARRAY_SIZE(tests));
}
