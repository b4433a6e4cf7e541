// SPDX-License-Identifier: GPL-2.0-only
/*
 * malloc_heaps.c - what pagewell.h declares: heaps, pools, pages, statistics
 */
#include <pthread.h>

#include "malloc_test.h"
#include "../../userlib/pagewell.h"

#define FAILS(call, error)	do { errno = 0; CHECK((call) && errno == (error)); } while (0)

static size_t refusals(void)
{
	struct pagewell_stats s;

	CHECK(!pagewell_get_stats(&s, sizeof(s)));
	return s.refused;
}

static void heap_calloc_and_realloc(void)
{
	pagewell_heap_t *h = pagewell_heap_create(0);
	unsigned char *p;
	size_t size, i;

	for (size = 1; size < 9 * MIB; size = size * 3 + 5) {
		p = pagewell_heap_alloc(h, size);
		memset(p, 0xff, size);
		pagewell_heap_free(h, p);
		p = pagewell_heap_calloc(h, 1, size);
		CHECK(p);
		for (i = 0; i < size; i++)
			CHECK(!p[i]);
		memset(p, 0x5a, size);
		p = pagewell_heap_realloc(h, p, 2 * size + 1);
		CHECK(p && p[0] == 0x5a && p[size - 1] == 0x5a);
		p = pagewell_heap_realloc(h, p, 1);
		CHECK(p && p[0] == 0x5a);
		CHECK(!pagewell_heap_realloc(h, p, 0));
	}
	FAILS(!pagewell_heap_calloc(h, SIZE_MAX / 2, 3), ENOMEM);
	FAILS(!pagewell_heap_alloc(h, SIZE_MAX), ENOMEM);
	p = pagewell_heap_realloc(h, NULL, 100);
	CHECK(p);
	FAILS(!pagewell_heap_realloc(h, p, SIZE_MAX - 100), ENOMEM);
	pagewell_heap_free(h, p);
	pagewell_heap_destroy(h);
}

static void heap_sizes(void)
{
	pagewell_heap_t *h = pagewell_heap_create(8 * MIB);
	size_t in_use = 1, i;
	void *p;

	CHECK(pagewell_heap_size(h, &in_use) == 0 && in_use == 0);
	p = pagewell_heap_alloc(h, 1000);
	CHECK(pagewell_heap_size(h, &in_use) >= 1000 && in_use == 1008);
	pagewell_heap_free(h, p);
	CHECK(pagewell_heap_size(h, NULL) >= 1000);
	pagewell_heap_size(h, &in_use);
	CHECK(in_use == 0);
	/* The limit is what it has from the system. */
	for (i = 0; pagewell_heap_alloc(h, 10000); i++)
		CHECK(pagewell_heap_size(h, NULL) <= 8 * MIB);
	CHECK(i > 700 && i < 839);
	pagewell_heap_destroy(h);
}

/* Heaps that are gone are still in the table of arenas, which others go through. */
static void heaps_gone(void)
{
	pagewell_heap_t *h[4];
	char *info = NULL;
	unsigned int i;
	size_t len;
	FILE *fp;
	void *p;

	for (i = 0; i < ARRAY_SIZE(h); i++) {
		h[i] = pagewell_heap_create(0);
		p = pagewell_heap_alloc(h[i], 100);
		CHECK(p && pagewell_heap_alloc(h[i], 10 * MIB));
		pagewell_heap_free(h[i], p);
	}
	for (i = 0; i < ARRAY_SIZE(h); i++)
		pagewell_heap_destroy(h[i]);
	pw_malloc_trim(0);
	fp = open_memstream(&info, &len);
	CHECK(fp && !pw_malloc_info(0, fp) && !fclose(fp));
	CHECK(!strstr(info, "<unsorted"));
	free(info);
	h[0] = pagewell_heap_create(0);
	CHECK(h[0] && pagewell_heap_alloc(h[0], 100));
	pagewell_heap_destroy(h[0]);
}

static volatile bool trimming;

static void *trim_all_the_time(void *arg)
{
	while (trimming)
		pw_malloc_trim(0);
	return arg;
}

static void heaps_beside_trim(void)
{
	pthread_t thread;
	int i, k;

	trimming = true;
	CHECK(!pthread_create(&thread, NULL, trim_all_the_time, NULL));
	for (i = 0; i < 1000; i++) {
		pagewell_heap_t *h = pagewell_heap_create(0);

		for (k = 0; k < 100; k++) {
			char *p = pagewell_heap_alloc(h, 10000);

			CHECK(p);
			p[0] = 1;
			if (k % 3)
				pagewell_heap_free(h, p);
		}
		pagewell_heap_destroy(h);
	}
	trimming = false;
	CHECK(!pthread_join(thread, NULL));
}

/* realloc() may make a heap's block larger where it is, but not take it elsewhere. */
static void heap_keeps_blocks(void)
{
	pagewell_heap_t *h = pagewell_heap_create(0);
	static const size_t sizes[] = { 100, 6 * MIB };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		void *p = pagewell_heap_alloc(h, sizes[i]);

		CHECK(p && pagewell_heap_alloc(h, sizes[i]));
		FAILS(!pw_realloc(p, 10 * sizes[i]), ENOMEM);
		CHECK(pw_realloc(p, sizes[i] / 3) == p);
		pagewell_heap_free(h, p);
	}
	pagewell_heap_destroy(h);
}

/* Takes what the limit leaves. */
static pagewell_heap_t *full_heap(size_t size, void **first)
{
	pagewell_heap_t *h = pagewell_heap_create(2 * MIB);

	*first = pagewell_heap_alloc(h, size);
	CHECK(*first);
	while (pagewell_heap_alloc(h, size))
		;
	while (pagewell_heap_alloc(h, 1000))
		;
	return h;
}

/* As realloc() does: what cannot be had was not needed. */
static void heap_shrinks_at_limit(void)
{
	static const size_t sizes[] = { 4000, 70000 };
	size_t was;
	unsigned int i;
	void *p;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		pagewell_heap_t *h = full_heap(sizes[i], &p);

		was = refusals();
		errno = 0;
		CHECK(pagewell_heap_realloc(h, p, 1000) == p && !errno);
		CHECK(refusals() == was);
		FAILS(!pagewell_heap_realloc(h, p, 2 * sizes[i]), ENOMEM);
		CHECK(refusals() == was + 1);
		pagewell_heap_destroy(h);
	}
}

static void realloc_in_child(size_t size, size_t offset, bool freed)
{
	pagewell_heap_t *h = pagewell_heap_create(0);
	char *p = pagewell_heap_alloc(h, size);

	if (freed)
		pagewell_heap_free(h, p);
	pagewell_heap_realloc(h, p + offset, size - offset);
}

static void realloc_middle_of_class(void)
{
	realloc_in_child(1000, 16, false);
}

static void realloc_middle_of_run(void)
{
	realloc_in_child(6 * MIB, GRANULE, false);
}

static void realloc_freed_class(void)
{
	realloc_in_child(1000, 0, true);
}

static void realloc_freed_run(void)
{
	realloc_in_child(6 * MIB, 0, true);
}

/* Also where the size would let a block be as it is. */
static void heap_realloc_errors(void)
{
	static void (*const wrong[])(void) = {
		realloc_middle_of_class, realloc_middle_of_run, realloc_freed_class,
		realloc_freed_run,
	};
	char text[256];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(wrong); i++) {
		int status = in_child(wrong[i], text, sizeof(text));

		CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
		CHECK(strstr(text, "pagewell_heap_realloc(): not a block of this heap:"));
	}
}

/* Every size and alignment: contents stay apart, and all of it comes back. */
static void pools(void)
{
	static const size_t sizes[] = { 1, 16, 24, 100, 1000, 5000, 70000, MIB };
	size_t before = pw_mallinfo2().arena, align;
	unsigned int s, i;

	for (s = 0; s < ARRAY_SIZE(sizes); s++) {
		for (align = 0; align <= 16 * KIB; align = align ? 4 * align : 16) {
			pagewell_pool_t *pool = pagewell_pool_create(sizes[s], align, 0);
			unsigned char *p[40];

			CHECK(pool);
			for (i = 0; i < 40; i++) {
				p[i] = pagewell_pool_alloc(pool);
				CHECK(p[i] && (uintptr_t)p[i] % (align ? align : 16) == 0);
				memset(p[i], (int)i, sizes[s]);
			}
			for (i = 0; i < 40; i++) {
				CHECK(p[i][0] == i && p[i][sizes[s] - 1] == i);
				if (i % 2)
					pagewell_pool_free(pool, p[i]);
			}
			for (i = 1; i < 40; i += 2) {
				p[i] = pagewell_pool_alloc(pool);
				memset(p[i], 0xee, sizes[s]);
			}
			for (i = 0; i < 40; i += 2)
				CHECK(p[i][0] == i && p[i][sizes[s] - 1] == i);
			pagewell_pool_free(pool, NULL);
			pagewell_pool_destroy(pool);
		}
	}
	pagewell_pool_destroy(NULL);
	CHECK(pw_mallinfo2().arena == before);
}

static void pool_errors(void)
{
	pagewell_pool_t *pool = pagewell_pool_create(1000, 0, 2 * MIB);
	size_t i;

	FAILS(!pagewell_pool_create(0, 0, 0), EINVAL);
	FAILS(!pagewell_pool_create(CLASS_MAX + 1, 0, 0), EINVAL);
	FAILS(!pagewell_pool_create(10, 48, 0), EINVAL);
	FAILS(!pagewell_pool_create(10, 32 * KIB, 0), EINVAL);
	FAILS(!pagewell_pool_create(10, 0, 1), ENOMEM);
	for (i = 0; pagewell_pool_alloc(pool); i++)
		CHECK(i < 2100);
	CHECK(errno == ENOMEM && i > 1800);
	pagewell_pool_destroy(pool);
}

static size_t returned(void)
{
	struct pagewell_stats s;

	CHECK(!pagewell_get_stats(&s, sizeof(s)));
	return s.returned;
}

static void fill_and_empty(pagewell_pool_t *pool, size_t nr)
{
	static void *p[100000];
	size_t i;

	for (i = 0; i < nr; i++) {
		p[i] = pagewell_pool_alloc(pool);
		CHECK(p[i]);
		memset(p[i], 1, 1000);
	}
	for (i = 0; i < nr; i++)
		pagewell_pool_free(pool, p[i]);
}

/* By amount at once, and by time with the next object that comes back. */
static void pool_returns_pages(void)
{
	pagewell_pool_t *pool = pagewell_pool_create(1000, 0, 0);
	size_t before = returned();

	fill_and_empty(pool, 100000);
	CHECK(returned() - before > 80000 * 1000);
	pagewell_pool_destroy(pool);

	pool = pagewell_pool_create(1000, 0, 0);
	before = returned();
	fill_and_empty(pool, 4000);
	usleep(1100 * 1000);
	pagewell_pool_free(pool, pagewell_pool_alloc(pool));
	CHECK(returned() - before > 3000 * 1000);
	pagewell_pool_destroy(pool);
}

static pagewell_pool_t *shared;

static void *use_pool(void *arg)
{
	unsigned char *p[64] = { NULL };
	unsigned int i, round;

	for (round = 0; round < 20000; round++) {
		i = (round * 7 + (unsigned int)(long)arg) % 64;
		if (p[i]) {
			CHECK(p[i][0] == (long)arg && p[i][99] == (long)arg);
			pagewell_pool_free(shared, p[i]);
			p[i] = NULL;
		} else {
			p[i] = pagewell_pool_alloc(shared);
			memset(p[i], (int)(long)arg, 100);
		}
	}
	return NULL;
}

static void pool_of_threads(void)
{
	pthread_t thread[4];
	long i;

	shared = pagewell_pool_create(100, 0, 0);
	for (i = 0; i < 4; i++)
		CHECK(!pthread_create(&thread[i], NULL, use_pool, (void *)(i + 1)));
	for (i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	pagewell_pool_destroy(shared);
}

static bool is_zero(const unsigned char *p, size_t size)
{
	size_t i;

	for (i = 0; i < size; i++)
		if (p[i])
			return false;
	return true;
}

static void maps(void)
{
	unsigned char *p, *q;
	size_t size;

	for (size = 1; size < 10 * MIB; size = size * 5 + 1) {
		p = pagewell_map(size, size & 1 ? 0 : 64 * KIB, 0);
		CHECK(p && is_zero(p, ALIGN_UP(size, GRANULE)));
		memset(p, 7, size);
		q = pagewell_remap(p, 2 * size + GRANULE, PAGEWELL_MAYMOVE);
		CHECK(q && q[0] == 7 && q[size - 1] == 7);
		CHECK(is_zero(q + ALIGN_UP(size, GRANULE), GRANULE));
		q = pagewell_remap(q, 1, 0);
		CHECK(q && q[0] == 7);
		CHECK(!pagewell_advise(q, GRANULE, PAGEWELL_DONTNEED) && is_zero(q, GRANULE));
		CHECK(!pagewell_advise(q, GRANULE, PAGEWELL_WILLNEED));
		CHECK(!pagewell_unmap(q));
	}
	p = pagewell_map(1, 4 * MIB, 0);
	CHECK((uintptr_t)p % (4 * MIB) == 0);
	CHECK(!pagewell_unmap(p));
}

/* Advice does not change what is there, unless it says so. */
static void advice(void)
{
	static const enum pagewell_advice hints[] = {
		PAGEWELL_WILLNEED, PAGEWELL_COLD, PAGEWELL_HUGEPAGE, PAGEWELL_NOHUGEPAGE,
		PAGEWELL_HUGEPAGE,
	};
	char *p = pagewell_map(8 * MIB, 2 * MIB, 0);
	size_t i;

	CHECK(p);
	memset(p, 5, 8 * MIB);
	for (i = 0; i < ARRAY_SIZE(hints); i++)
		CHECK(!pagewell_advise(p, 8 * MIB, hints[i]));
	CHECK(!pagewell_advise(p, 8 * MIB, PAGEWELL_COLLAPSE) ||
	      errno == EINVAL || errno == EAGAIN || errno == EBUSY || errno == ENOMEM);
	for (i = 0; i < 8 * MIB; i += PAGE_SIZE)
		CHECK(p[i] == 5);
	/* What is written after that stays. */
	CHECK(!pagewell_advise(p, 8 * MIB, PAGEWELL_FREE));
	memset(p, 6, 8 * MIB);
	for (i = 0; i < 8 * MIB; i += PAGE_SIZE)
		CHECK(p[i] == 6);
	CHECK(!pagewell_advise(p, 8 * MIB, PAGEWELL_DONTNEED));
	CHECK(is_zero((unsigned char *)p, 8 * MIB));
	CHECK(!pagewell_unmap(p));
}

static void map_errors(void)
{
	char *p = pagewell_map(100000, 0, 0), *guarded;

	FAILS(!pagewell_map(0, 0, 0), EINVAL);
	FAILS(!pagewell_map(100, 3, 0), EINVAL);
	FAILS(!pagewell_map(100, 0, 2), EINVAL);
	FAILS(!pagewell_map((size_t)1 << 46, 0, 0), ENOMEM);
	FAILS(pagewell_unmap(p + GRANULE), EINVAL);
	FAILS(pagewell_unmap(NULL), EINVAL);
	FAILS(pagewell_unmap(&p), EINVAL);
	FAILS(!pagewell_remap(p, 0, 0), EINVAL);
	FAILS(!pagewell_remap(p, 100, 8), EINVAL);
	FAILS(!pagewell_remap(p, (size_t)1 << 46, PAGEWELL_MAYMOVE), ENOMEM);
	FAILS(pagewell_advise(p + 1, PAGE_SIZE, PAGEWELL_DONTNEED), EINVAL);
	FAILS(pagewell_advise(p, PAGE_SIZE + 1, PAGEWELL_DONTNEED), EINVAL);
	FAILS(pagewell_advise(p, PAGE_SIZE, (enum pagewell_advice)8), EINVAL);
	FAILS(pagewell_advise(ALIGN_DOWN((uintptr_t)&p, PAGE_SIZE) + (char *)NULL, PAGE_SIZE,
			      PAGEWELL_DONTNEED), EINVAL);
	CHECK(!pagewell_unmap(p));
	FAILS(pagewell_unmap(p), EINVAL);
	guarded = pagewell_map(GRANULE, 0, PAGEWELL_GUARD);
	CHECK(guarded);
	FAILS(!pagewell_remap(guarded, 2 * GRANULE, PAGEWELL_MAYMOVE), EINVAL);
	CHECK(!pagewell_unmap(guarded));
}

static void no_advice(char *p, size_t length)
{
	FAILS(pagewell_advise(p, length, PAGEWELL_DONTNEED), EINVAL);
}

/* Only what lies in one map, or in one break, and nothing of malloc()'s. */
static void advice_elsewhere(void)
{
	pagewell_brk_t *b = pagewell_brk_create(4 * MIB), *gone = pagewell_brk_create(4 * MIB);
	char *large = pw_malloc(10 * MIB), *run = pw_malloc(3 * MIB), *start, *map[20];
	char *old = pagewell_sbrk(gone, MIB);
	size_t i;

	CHECK(b && large && run && old);
	memset(large, 1, 10 * MIB);
	no_advice((char *)ALIGN_UP((uintptr_t)large, PAGE_SIZE) + MIB, PAGE_SIZE);
	no_advice((char *)ALIGN_UP((uintptr_t)run, PAGE_SIZE) + MIB, PAGE_SIZE);
	CHECK(large[MIB] == 1);
	for (i = 0; i < ARRAY_SIZE(map); i++) {
		map[i] = pagewell_map(MIB, 0, i % 2 ? PAGEWELL_GUARD : 0);
		CHECK(map[i]);
	}
	for (i = 0; i < ARRAY_SIZE(map); i++) {
		memset(map[i], 1, MIB);
		CHECK(!pagewell_advise(map[i] + MIB / 2, MIB / 2, PAGEWELL_DONTNEED));
		CHECK(map[i][MIB / 2 - 1] == 1 && !map[i][MIB / 2]);
		no_advice(map[i] + MIB / 2, MIB / 2 + PAGE_SIZE);
		if (i % 2)
			no_advice(map[i] + MIB, PAGE_SIZE);
		CHECK(!pagewell_unmap(map[i]));
		no_advice(map[i] + MIB / 2, PAGE_SIZE);
	}
	start = pagewell_sbrk(b, MIB);
	memset(start, 1, MIB);
	CHECK(!pagewell_advise(start + MIB / 2, MIB / 2, PAGEWELL_DONTNEED));
	CHECK(start[MIB / 2 - 1] == 1 && !start[MIB / 2]);
	no_advice(start + MIB / 2, MIB / 2 + PAGE_SIZE);
	pagewell_brk_destroy(gone);
	no_advice(old + MIB / 2, PAGE_SIZE);
}

static void behind_guard(void)
{
	char *p = pagewell_map(GRANULE, 0, PAGEWELL_GUARD);

	/* As without a sanitizer, which would print a page about it. */
	signal(SIGSEGV, SIG_DFL);
	((volatile char *)p)[GRANULE] = 1;
}

static void guard(void)
{
	char text[64];
	int status = in_child(behind_guard, text, sizeof(text));

	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

static void breaks(void)
{
	pagewell_brk_t *b = pagewell_brk_create(4 * MIB), *c = pagewell_brk_create(0);
	unsigned char *start = pagewell_sbrk(b, 0), *p;

	CHECK(b && c && start);
	CHECK(pagewell_sbrk(b, MIB) == start);
	CHECK(is_zero(start, MIB));
	memset(start, 1, MIB);
	CHECK(pagewell_sbrk(b, MIB) == start + MIB);
	CHECK(pagewell_sbrk(b, -(intptr_t)MIB - (intptr_t)GRANULE) == start + 2 * MIB);
	CHECK(start[MIB - GRANULE - 1] == 1);
	/* What was given back is new when it comes again. */
	CHECK(pagewell_sbrk(b, MIB) == start + MIB - GRANULE);
	CHECK(is_zero(start + MIB - GRANULE, MIB));
	FAILS(!pagewell_sbrk(b, 1), EINVAL);
	FAILS(!pagewell_sbrk(b, -(intptr_t)(16 * MIB)), EINVAL);
	FAILS(!pagewell_sbrk(b, (intptr_t)1 << 46), ENOMEM);
	p = pagewell_sbrk(c, 0);
	CHECK(pagewell_sbrk(c, GRANULE) == p && (p < start || p >= start + 2 * MIB));
	pagewell_brk_destroy(b);
	pagewell_brk_destroy(c);
	pagewell_brk_destroy(NULL);
	FAILS(!pagewell_brk_create(SIZE_MAX), ENOMEM);
}

static void statistics(void)
{
	struct pagewell_stats before, after;
	struct {
		struct pagewell_stats stats;
		size_t more;
	} newer;
	void *p, *map;

	CHECK(!pagewell_get_stats(&before, sizeof(before)));
	CHECK(!strcmp(before.backend, "device") || !strcmp(before.backend, "anonymous"));
	p = pw_malloc(100 * KIB);
	map = pagewell_map(MIB, 0, 0);
	CHECK(!pagewell_get_stats(&after, sizeof(after)));
	CHECK(after.in_use >= before.in_use + 100 * KIB);
	CHECK(after.committed >= before.committed + MIB + 100 * KIB);
	CHECK(after.maps == before.maps + 1 && after.limit == before.limit);
	pw_free(p);
	pagewell_unmap(map);
	CHECK(!pagewell_get_stats(&after, sizeof(after)) && after.in_use == before.in_use);
	/* An older program's is shorter, a newer one's is refused. */
	memset(&after, 0x77, sizeof(after));
	CHECK(!pagewell_get_stats(&after, offsetof(struct pagewell_stats, limit)));
	CHECK(after.backend && after.limit == 0x7777777777777777);
	FAILS(pagewell_get_stats(&newer.stats, sizeof(newer)), EINVAL);
}

static struct pagewell_stats stats_now(void)
{
	struct pagewell_stats s;

	CHECK(!pagewell_get_stats(&s, sizeof(s)));
	return s;
}

/* Leaves all that the limit allows in free blocks of malloc(). */
static void all_in_free_blocks(void)
{
	static void *p[9000];
	size_t nr, i;

	for (nr = 0; nr < ARRAY_SIZE(p) && (p[nr] = pw_malloc(1000)); nr++)
		memset(p[nr], 1, 1000);
	CHECK(nr > 6000 && nr < ARRAY_SIZE(p));
	for (i = 0; i < nr; i++)
		pw_free(p[i]);
}

static void map_squeezes(void)
{
	char *p;

	all_in_free_blocks();
	p = pagewell_map(4 * MIB, 0, 0);
	CHECK(p && is_zero((unsigned char *)p, 4 * MIB));
}

static void remap_squeezes(void)
{
	char *p = pagewell_map(GRANULE, 0, 0);

	CHECK(p);
	all_in_free_blocks();
	CHECK(pagewell_remap(p, 4 * MIB, PAGEWELL_MAYMOVE));
}

static void sbrk_squeezes(void)
{
	pagewell_brk_t *b = pagewell_brk_create(8 * MIB);

	all_in_free_blocks();
	CHECK(b && pagewell_sbrk(b, 4 * MIB));
	FAILS(!pagewell_sbrk(b, 100 * MIB), ENOMEM);
}

static void heap_squeezes(void)
{
	pagewell_heap_t *h = pagewell_heap_create(0);

	all_in_free_blocks();
	CHECK(h && pagewell_heap_alloc(h, 2 * MIB) && pagewell_heap_alloc(h, 70000));
}

static void class_squeezes(void)
{
	pagewell_heap_t *h = pagewell_heap_create(0);

	all_in_free_blocks();
	CHECK(h && pagewell_heap_calloc(h, 7, 10000));
}

static void pool_squeezes(void)
{
	pagewell_pool_t *pool;

	all_in_free_blocks();
	pool = pagewell_pool_create(100000, 0, 0);
	CHECK(pool && pagewell_pool_alloc(pool));
}

static void full_pool_squeezes(void)
{
	pagewell_pool_t *pool = pagewell_pool_create(100000, 0, 0);

	all_in_free_blocks();
	CHECK(pool && pagewell_pool_alloc(pool));
}

static void (*const squeezes[])(void) = {
	map_squeezes, remap_squeezes, sbrk_squeezes, heap_squeezes, class_squeezes,
	pool_squeezes, full_pool_squeezes,
};

static char squeeze[] = "0";

static void squeeze_again(void)
{
	setenv("PAGEWELL_LIMIT", "8M", 1);
	execl("/proc/self/exe", "malloc_heaps", squeeze, NULL);
	_exit(126);
}

/* What nobody uses is no reason to refuse. Limits are read when a program starts. */
static void squeezed(void)
{
	char text[1024];

	for (; squeeze[0] < '0' + (char)ARRAY_SIZE(squeezes); squeeze[0]++)
		CHECK(!in_child(squeeze_again, text, sizeof(text)));
}

/* A heap at its own limit takes nothing away from what threads have cached. */
static void own_limit(void)
{
	size_t cached;
	void *p;

	pagewell_heap_t *h = full_heap(10000, &p);
	pagewell_pool_t *pool = pagewell_pool_create(10000, 0, 2 * MIB);

	CHECK(pool);
	while (pagewell_pool_alloc(pool))
		;
	pw_free(pw_malloc(100));
	cached = tcaches_bytes();
	CHECK(cached);
	CHECK(!pagewell_heap_alloc(h, 10000) && !pagewell_heap_alloc(h, 3 * MIB));
	CHECK(!pagewell_pool_alloc(pool));
	CHECK(tcaches_bytes() == cached);
}

#define REFUSED(call, times) do {				\
	size_t was = stats_now().refused;			\
								\
	CHECK(call);						\
	CHECK(stats_now().refused == was + (times));		\
} while (0)

/* A call that fails is one, however often it was tried; others are none. */
static void refused(void)
{
	pagewell_heap_t *h = pagewell_heap_create(0);
	pagewell_pool_t *pool = pagewell_pool_create(MIB, 0, 0);
	pagewell_brk_t *b = pagewell_brk_create(0);
	void *p = pw_malloc(300), *large = pw_malloc(50 * MIB), *map = pagewell_map(MIB, 0, 0);
	size_t moves;

	CHECK(h && pool && b && p && large && map);
	while (pw_malloc(300))
		if (!pw_os_fail_after)
			pw_os_fail_after = 1;
	moves = stats_now().brk_moves;
	REFUSED(!pw_malloc(300), 1);
	REFUSED(!pw_calloc(3, 3 * MIB), 1);
	REFUSED(!pw_malloc(50 * MIB), 1);
	REFUSED(!pw_aligned_alloc(4096, 3 * MIB), 1);
	REFUSED(!pw_realloc(p, 5 * MIB), 1);
	/* With room to grow further, then without. */
	REFUSED(!pw_realloc(p, 330), 1);
	REFUSED(!pw_realloc(large, 60 * MIB), 1);
	REFUSED(pw_realloc(large, 200 * KIB), 0);
	REFUSED(!pagewell_heap_alloc(h, 100), 1);
	REFUSED(!pagewell_heap_calloc(h, 1, 6 * MIB), 1);
	REFUSED(!pagewell_pool_alloc(pool), 1);
	REFUSED(!pagewell_map(MIB, 0, 0), 1);
	REFUSED(!pagewell_remap(map, 2 * MIB, PAGEWELL_MAYMOVE), 1);
	REFUSED(!pagewell_sbrk(b, MIB), 1);
	/* What makes no sense is not refused for want of memory. */
	REFUSED(!pagewell_map(0, 0, 0), 0);
	/* The same where nothing is cached. */
	CHECK(pw_mallopt(M_PERTURB, 1));
	REFUSED(!pw_malloc(300), 1);
	REFUSED(!pw_aligned_alloc(4096, 3 * MIB), 1);
	REFUSED(!pw_aligned_alloc(4096, 6 * MIB), 1);
	CHECK(stats_now().brk_moves == moves);
	pw_os_fail_after = 0;
	REFUSED(pagewell_sbrk(b, MIB), 0);
	CHECK(stats_now().brk_moves == moves + 1);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{ "heaps: calloc and realloc", heap_calloc_and_realloc },
		{ "heaps: sizes and limits", heap_sizes },
		{ "heaps that are gone", heaps_gone },
		{ "heaps come and go beside malloc_trim", heaps_beside_trim },
		{ "heaps keep their blocks", heap_keeps_blocks },
		{ "heaps: blocks that shrink at the limit", heap_shrinks_at_limit },
		{ "heaps: realloc of what is no block", heap_realloc_errors },
		{ "pools of every size and alignment", pools },
		{ "pools: errors and limits", pool_errors },
		{ "pools: pages go back", pool_returns_pages },
		{ "a pool that threads share", pool_of_threads },
		{ "maps: remap, advice", maps },
		{ "maps: advice", advice },
		{ "maps: errors", map_errors },
		{ "maps: advice elsewhere", advice_elsewhere },
		{ "maps: the guard", guard },
		{ "breaks", breaks },
		{ "memory that is only kept is given up", squeezed },
		{ "but not for a heap at its own limit", own_limit },
		{ "statistics", statistics },
		{ "statistics: what was refused", refused },
	};

	if (argc > 1) {
		squeezes[argv[1][0] - '0']();
		return 0;
	}
	return run_tests(tests, ARRAY_SIZE(tests));
}
