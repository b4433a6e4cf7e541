// SPDX-License-Identifier: GPL-2.0-only
/*
 * malloc_api.c - every function of the interface, and its error cases
 */
#include <pthread.h>

#include "malloc_test.h"
#include "../../userlib/pagewell.h"

/* A value that no compiler can see through. */
static size_t opaque(size_t n)
{
	__asm__ volatile("" : "+r"(n));
	return n;
}

static void too_large(void)
{
	static const size_t sizes[] = {
		SIZE_MAX, SIZE_MAX - 15, SIZE_MAX - 4096, (size_t)PTRDIFF_MAX + 1,
		PTRDIFF_MAX, SIZE_MAX / 4,
	};
	void *p = pw_malloc(100), *out = &out;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		size_t size = opaque(sizes[i]);

#define FAILS(call)	errno = 0; CHECK(!(call) && errno == ENOMEM)
		FAILS(pw_malloc(size));
		FAILS(pw_calloc(1, size));
		FAILS(pw_calloc(size, 2));
		FAILS(pw_realloc(NULL, size));
		FAILS(pw_realloc(p, size));
		FAILS(pw_reallocarray(p, size, 3));
		FAILS(pw_aligned_alloc(64, size));
		FAILS(pw_aligned_alloc(65536, size));
		FAILS(pw_memalign(4096, size));
		FAILS(pw_valloc(size));
		FAILS(pw_pvalloc(size));
		errno = 7;
		CHECK(pw_posix_memalign(&out, 64, size) == ENOMEM);
		CHECK(errno == ENOMEM && out == &out);
	}
	FAILS(pw_calloc(opaque(SIZE_MAX / 2), 3));
	FAILS(pw_reallocarray(NULL, opaque(SIZE_MAX / 2), 3));
	FAILS(pw_aligned_alloc(opaque(SIZE_MAX / 2 + 1), 100));
	/* The block that could not be resized is as it was. */
	CHECK(pw_malloc_usable_size(p) >= 100);
	pw_free(p);
}

static void errno_stays(void)
{
	void *p, *q;

	errno = 42;
	p = pw_malloc(100);
	q = pw_malloc(10 * MIB);
	p = pw_realloc(p, 5000);
	q = pw_realloc(q, 20 * MIB);
	pw_free(p);
	pw_free(q);
	pw_free(NULL);
	pw_malloc_trim(0);
	CHECK(errno == 42);
}

static void zero_size(void)
{
	void *p = pw_malloc(0), *q = pw_malloc(0), *r = pw_calloc(0, 8), *s = pw_calloc(8, 0);

	CHECK(p && q && r && s && p != q && r != s && p != r);
	CHECK(pw_malloc_usable_size(NULL) == 0);
	pw_free(p);
	pw_free(q);
	pw_free(r);
	CHECK(!pw_realloc(s, 0));
	p = pw_realloc(NULL, 0);
	CHECK(p);
	pw_free(p);
	p = pw_aligned_alloc(64, 0);
	CHECK(p && (uintptr_t)p % 64 == 0);
	pw_free(p);
	p = pw_pvalloc(0);
	CHECK(p && pw_malloc_usable_size(p) >= PAGE_SIZE);
	pw_free(p);
}

static void alignment(void)
{
	size_t align, size;
	void *p;

	for (size = 1; size < 300; size++) {
		p = pw_malloc(size);
		CHECK((uintptr_t)p % 16 == 0);
		pw_free(p);
	}
	for (align = 1; align <= 64 * MIB; align *= 2) {
		for (size = 1; size <= 2 * MIB; size = size * 3 + 1) {
			p = pw_memalign(align, size);
			CHECK(p && (uintptr_t)p % align == 0);
			CHECK(pw_malloc_usable_size(p) >= size);
			memset(p, 0xaa, size);
			pw_free(p);
		}
	}
	p = pw_valloc(10);
	CHECK((uintptr_t)p % PAGE_SIZE == 0);
	pw_free(p);
	p = pw_pvalloc(PAGE_SIZE + 1);
	CHECK((uintptr_t)p % PAGE_SIZE == 0 && pw_malloc_usable_size(p) >= 2 * PAGE_SIZE);
	pw_free(p);
	p = pw_memalign(48, 10);
	CHECK((uintptr_t)p % 64 == 0);
	pw_free_aligned_sized(p, 48, 10);
}

/* Free blocks of larger sizes are used, if they are as aligned. */
static void alignment_in_holes(void)
{
	static void *held[10000];
	size_t larger = 0;
	int i;

	for (i = 0; i < 10000; i++)
		held[i] = pw_malloc((size_t)(200 + 16 * (i % 4)));
	for (i = 0; i < 10000; i++)
		if (i / 4 % 2)
			pw_free(held[i]);
	pw_malloc_trim(0);
	for (i = 0; i < 10000; i++) {
		size_t align = (size_t)32 << (i % 3);

		if (!(i / 4 % 2))
			continue;
		held[i] = pw_aligned_alloc(align, align);
		CHECK(held[i] && !((uintptr_t)held[i] % align));
		larger += pw_malloc_usable_size(held[i]) > align;
	}
	CHECK(larger > 1000);
	for (i = 0; i < 10000; i++)
		pw_free(held[i]);
}

static void bad_alignment(void)
{
	void *out = &out;

	CHECK(pw_posix_memalign(&out, 0, 8) == EINVAL);
	CHECK(pw_posix_memalign(&out, 4, 8) == EINVAL);
	CHECK(pw_posix_memalign(&out, 24, 8) == EINVAL);
	CHECK(out == &out);
	errno = 0;
	CHECK(!pw_aligned_alloc(24, 8) && errno == EINVAL);
	errno = 0;
	CHECK(!pw_aligned_alloc(0, 8) && errno == EINVAL);
	errno = 0;
	CHECK(!pw_memalign(SIZE_MAX / 2 + 2, 8) && errno == EINVAL);
}

static void zeroed(void)
{
	size_t size, i;
	int round;

	for (round = 0; round < 3; round++) {
		for (size = 1; size <= 6 * MIB; size = size * 2 + 7) {
			unsigned char *p = pw_calloc(1, size);

			CHECK(p);
			for (i = 0; i < size; i++)
				CHECK(!p[i]);
			memset(p, 0xff, pw_malloc_usable_size(p));
			pw_free(p);
		}
	}
}

static void realloc_keeps(void)
{
	static const size_t sizes[] = {
		1, 16, 17, 100, 1000, 1024, 1025, 5000, 70000, 131071, 131072, 300000,
		MIB, 5 * MIB, 9 * MIB, 40 * MIB,
	};
	unsigned int from, to;
	size_t i;

	for (from = 0; from < ARRAY_SIZE(sizes); from++) {
		for (to = 0; to < ARRAY_SIZE(sizes); to++) {
			size_t kept = MIN(sizes[from], sizes[to]);
			unsigned char *p = pw_malloc(sizes[from]);

			for (i = 0; i < kept; i += 97)
				p[i] = (unsigned char)(i * 31);
			p = pw_realloc(p, sizes[to]);
			CHECK(p && pw_malloc_usable_size(p) >= sizes[to]);
			for (i = 0; i < kept; i += 97)
				CHECK(p[i] == (unsigned char)(i * 31));
			pw_free_sized(p, sizes[to]);
		}
	}
}

static void grow_by_steps(void)
{
	unsigned char *p = NULL;
	size_t size;

	for (size = 64; size <= 2 * MIB; size += size < 64 * KIB ? 64 : 4096) {
		p = pw_realloc(p, size);
		CHECK(p);
		memset(p + size - 64, (int)(size / 64), 64);
		CHECK(p[0] == 1);
	}
	pw_free(p);
}

/* glibc's rule: the first large block is mapped, its size is the next limit. */
static void dynamic_threshold(void)
{
	struct mallinfo2 mi;
	void *p = pw_malloc(300 * KIB);

	mi = pw_mallinfo2();
	CHECK(mi.hblks == 1 && mi.hblkhd >= 300 * KIB);
	pw_free(p);
	CHECK(pw_mallinfo2().hblks == 0);
	p = pw_malloc(300 * KIB);
	CHECK(pw_mallinfo2().hblks == 0);
	pw_free(p);
	p = pw_malloc(33 * MIB);
	CHECK(pw_mallinfo2().hblks == 1);
	pw_free(p);
	p = pw_malloc(33 * MIB);
	CHECK(pw_mallinfo2().hblks == 1);
	pw_free(p);
}

static void options(void)
{
	void *p, *q;

	CHECK(pw_mallopt(M_MMAP_THRESHOLD, 64 * 1024) == 1);
	p = pw_malloc(64 * KIB);
	CHECK(pw_mallinfo2().hblks == 1);
	pw_free(p);
	/* Setting it ends the dynamic rule. */
	p = pw_malloc(64 * KIB);
	CHECK(pw_mallinfo2().hblks == 1);
	CHECK(pw_mallopt(M_MMAP_MAX, 1) == 1);
	q = pw_malloc(64 * KIB);
	CHECK(q && pw_mallinfo2().hblks == 1);
	pw_free(p);
	pw_free(q);
	CHECK(pw_mallopt(M_MMAP_THRESHOLD, 64 * 1024 * 1024) == 0);
	CHECK(pw_mallopt(M_MXFAST, 160) == 1);
	CHECK(pw_mallopt(M_MXFAST, 161) == 0);
	CHECK(pw_mallopt(M_MXFAST, -1) == 0);
	/* Of System V, and without effect with glibc, too. */
	CHECK(pw_mallopt(M_NLBLKS, 1) == 1 && pw_mallopt(M_GRAIN, 1) == 1);
	CHECK(pw_mallopt(M_KEEP, 1) == 1);
	CHECK(pw_mallopt(12345, 1) == 0);
}

/* What an arena has of the system after 40 MiB came and went. */
static size_t left_of_much(void)
{
	void *p[400];
	int i;

	for (i = 0; i < 400; i++)
		memset(p[i] = pw_malloc(100 * KIB), 1, 100 * KIB);
	while (i--)
		pw_free(p[i]);
	return pw_mallinfo2().arena;
}

static void trim_by_default(void)
{
	CHECK(left_of_much() < 20 * MIB);
}

static void trim_threshold(void)
{
	CHECK(pw_mallopt(M_TRIM_THRESHOLD, 64 << 20) == 1);
	CHECK(left_of_much() >= 40 * MIB);
}

#define FALLING		100000

/* Once it has begun to return pages. */
static void no_trim_any_more(void)
{
	static void *p[FALLING];
	struct os_stats before, after;
	int i;

	for (i = 0; i < FALLING; i++)
		CHECK((p[i] = pw_malloc(1000)));
	while (i > FALLING / 2)
		pw_free(p[--i]);
	os_get_stats(&before);
	CHECK(before.returned > 16 * MIB);
	CHECK(pw_mallopt(M_TRIM_THRESHOLD, -1) == 1);
	while (i)
		pw_free(p[--i]);
	os_get_stats(&after);
	CHECK(after.returned == before.returned);
}

static void top_pad(void)
{
	CHECK(pw_mallopt(M_TOP_PAD, -1) == 0);
	CHECK(pw_malloc(1000) && pw_mallinfo2().arena < 4 * MIB);
	CHECK(pw_mallopt(M_TOP_PAD, 8 << 20) == 1);
	/* More than is there. */
	CHECK(pw_malloc(100 * KIB) && pw_malloc(100 * KIB) && pw_malloc(100 * KIB));
	CHECK(pw_mallinfo2().arena > 8 * MIB);
	/* As much stays when the break is lowered. */
	CHECK(left_of_much() > 8 * MIB);
}

static void *hold_first_arena(void *entered)
{
	lock(&pw_arenas[0]->lock);
	__atomic_store_n((bool *)entered, true, __ATOMIC_RELEASE);
	usleep(200 * 1000);
	unlock(&pw_arenas[0]->lock);
	return NULL;
}

/* The arena of a thread that finds its own locked, once more than it puts up with. */
static struct arena *enter_contended(void)
{
	struct arena *mine = pw_arenas[0], *a;
	bool entered = false;
	pthread_t thread;

	CHECK(!pthread_create(&thread, NULL, hold_first_arena, &entered));
	while (!__atomic_load_n(&entered, __ATOMIC_ACQUIRE))
		sched_yield();
	__atomic_store_n(&mine->contended, 100, __ATOMIC_RELAXED);
	a = arena_enter(&mine);
	unlock(&a->lock);
	CHECK(!pthread_join(thread, NULL));
	return a;
}

static void arena_max(void)
{
	CHECK(pw_malloc(1));
	CHECK(pw_mallopt(M_ARENA_MAX, -1) == 0);
	CHECK(pw_mallopt(M_ARENA_MAX, 1) == 1);
	CHECK(enter_contended() == pw_arenas[0]);
	CHECK(pw_mallopt(M_ARENA_MAX, 2) == 1);
	CHECK(enter_contended() != pw_arenas[0]);
}

static void perturb(void)
{
	unsigned char *p = pw_malloc(100);

	pw_free(p);
	CHECK(pw_mallopt(M_PERTURB, 0x5a) == 1);
	p = pw_malloc(100);
	CHECK(p[0] == (0x5a ^ 0xff) && p[99] == (0x5a ^ 0xff));
	pw_free(p);
	CHECK(p[50] == 0x5a);
	p = pw_calloc(1, 100);
	CHECK(!p[0] && !p[99]);
	pw_free(p);
}

static bool switch_on;

static void *switch_perturbing(void *arg)
{
	while (__atomic_load_n(&switch_on, __ATOMIC_RELAXED)) {
		pw_mallopt(M_PERTURB, 0x5a);
		pw_mallopt(M_PERTURB, 0);
	}
	return arg;
}

/* A fresh block may be filled, and the filling end, before anybody knows that it is zero. */
static void perturb_ends(void)
{
	static const char zeroes[256 * KIB];
	pthread_t thread;
	void *p;
	int i;

	CHECK(pw_mallopt(M_MMAP_THRESHOLD, 128 << 10) == 1);
	switch_on = true;
	CHECK(!pthread_create(&thread, NULL, switch_perturbing, NULL));
	for (i = 0; i < 2000; i++) {
		p = pw_calloc(1, sizeof(zeroes));
		CHECK(p && !memcmp(p, zeroes, sizeof(zeroes)));
		pw_free(p);
	}
	__atomic_store_n(&switch_on, false, __ATOMIC_RELAXED);
	CHECK(!pthread_join(thread, NULL));
}

static void info_adds_up(void)
{
	struct mallinfo2 before = pw_mallinfo2(), after;
	void *p[1000];
	int i;

	for (i = 0; i < 1000; i++)
		p[i] = pw_malloc(1000);
	after = pw_mallinfo2();
	CHECK(after.uordblks - before.uordblks == 1000 * 1008);
	CHECK(after.uordblks + after.fordblks == after.arena);
	for (i = 0; i < 1000; i++)
		pw_free(p[i]);
	CHECK(pw_mallinfo2().uordblks == before.uordblks);
	CHECK((size_t)pw_mallinfo().arena == pw_mallinfo2().arena);
}

static void trim_returns(void)
{
	size_t before, i;
	void *p[200];

	for (i = 0; i < 200; i++)
		memset(p[i] = pw_malloc(100 * KIB), 1, 100 * KIB);
	before = pw_mallinfo2().arena;
	CHECK(before >= 200 * 100 * KIB);
	for (i = 0; i < 200; i++)
		pw_free(p[i]);
	pw_malloc_trim(0);
	CHECK(pw_mallinfo2().arena < before / 10);
}

static void info_xml(void)
{
	char *text = NULL;
	size_t len = 0;
	FILE *fp = open_memstream(&text, &len);
	static const char *const bins[] = {
		"tcache", "fast", "small", "unsorted", "large", "top"
	};
	void *p = pw_malloc(77);
	unsigned int i;
	char line[64];

	CHECK(pw_malloc_info(1, fp) == EINVAL);
	CHECK(pw_malloc_info(0, fp) == 0);
	fclose(fp);
	CHECK(!strncmp(text, "<malloc version=\"1\">\n<heap nr=\"0\">\n<sizes>\n", 40));
	CHECK(strstr(text, "<total type=\"fast\" count=\""));
	for (i = 0; i < ARRAY_SIZE(bins); i++) {
		snprintf(line, sizeof(line), "<bin name=\"%s\" count=\"", bins[i]);
		CHECK(strstr(text, line));
	}
	CHECK(strstr(text, "<total type=\"mmap\" count=\"0\" size=\"0\"/>"));
	CHECK(!strcmp(text + len - 10, "</malloc>\n"));
	free(text);
	pw_free(p);
}

/* The number in the last line of malloc_info()'s that begins with @before. */
static size_t last_number(const char *text, const char *before)
{
	const char *line, *last = NULL;

	for (line = strstr(text, before); line; line = strstr(line + 1, before))
		last = line + strlen(before);
	CHECK(last);
	return strtoul(last, NULL, 10);
}

static unsigned int count_lines(const char *text, const char *with)
{
	unsigned int n = 0;

	for (text = strstr(text, with); text; text = strstr(text + 1, with))
		n++;
	return n;
}

static char *info_text(void)
{
	char *text = NULL;
	size_t len = 0;
	FILE *fp = open_memstream(&text, &len);

	CHECK(fp && !pw_malloc_info(0, fp) && !fclose(fp));
	return text;
}

static void info_of_the_past(void)
{
	pagewell_heap_t *h[3];
	size_t peak, i;
	void *p[200];
	char *text;

	for (i = 0; i < ARRAY_SIZE(p); i++)
		memset(p[i] = pw_malloc(100 * KIB), 1, 100 * KIB);
	for (i = 0; i < ARRAY_SIZE(h); i++)
		CHECK((h[i] = pagewell_heap_create(0)) && pagewell_heap_alloc(h[i], 1));
	text = info_text();
	peak = last_number(text, "<system type=\"current\" size=\"");
	CHECK(peak > 200 * 100 * KIB);
	CHECK(last_number(text, "<system type=\"max\" size=\"") >= peak);
	CHECK(count_lines(text, "<heap nr=") == 2 + ARRAY_SIZE(h));
	free(text);

	for (i = 0; i < ARRAY_SIZE(p); i++)
		pw_free(p[i]);
	for (i = 0; i < ARRAY_SIZE(h); i++)
		pagewell_heap_destroy(h[i]);
	pw_malloc_trim(0);
	text = info_text();
	CHECK(last_number(text, "<system type=\"current\" size=\"") < peak / 10);
	CHECK(last_number(text, "<system type=\"max\" size=\"") >= 200 * 100 * KIB);
	CHECK(count_lines(text, "<heap nr=") == 2);
	free(text);
}

/* Freed, and kept for the next ones: not in use, and said in all places. */
static void free_many_and_tell(void)
{
	struct mallinfo2 mi;
	void *p[1000];
	int i;

	for (i = 0; i < 1000; i++)
		p[i] = pw_malloc(1000);
	for (i = 0; i < 1000; i++)
		pw_free(p[i]);
	CHECK(pw_malloc(10 * MIB) && pw_malloc(100));
	mi = pw_mallinfo2();
	dprintf(2, "in use bytes     = %10zu\n", mi.uordblks + mi.hblkhd);
	pw_malloc_stats();
}

static void stats_agree(void)
{
	static char text[4096];
	const char *total;

	CHECK(!in_child(free_many_and_tell, text, sizeof(text)));
	total = strstr(text, "Total (incl. mmap):");
	CHECK(total && strstr(total, "in use bytes     = "));
	CHECK(!strncmp(strstr(total, "in use bytes"), text, strcspn(text, "\n")));
}

static void heaps(void)
{
	pagewell_heap_t *h = pagewell_heap_create(0), *limited = pagewell_heap_create(MIB);
	size_t before = pw_mallinfo2().arena, i;
	void *p;

	CHECK(h && limited && h != limited);
	for (i = 0; i < 5000; i++) {
		p = pagewell_heap_alloc(h, i);
		CHECK(p && (uintptr_t)p % 16 == 0 && pw_malloc_usable_size(p) >= i);
		memset(p, 1, i);
		if (i % 3 == 0)
			pagewell_heap_free(h, p);
		if (i % 3 == 1)
			pw_free(p);
	}
	CHECK(pagewell_heap_alloc(h, 20 * MIB));
	pagewell_heap_free(h, NULL);
	for (i = 0; (p = pagewell_heap_alloc(limited, 1000)); i++)
		CHECK(i < 1100);
	CHECK(errno == ENOMEM && i > 900);
	pagewell_heap_destroy(h);
	pagewell_heap_destroy(limited);
	pagewell_heap_destroy(NULL);
	CHECK(pw_mallinfo2().arena == before);
	h = pagewell_heap_create(0);
	p = pagewell_heap_alloc(h, 100);
	CHECK(p);
	for (i = 0; i < 100; i++)
		CHECK(!((char *)p)[i]);
	pagewell_heap_destroy(h);
}

/* A thread's full lists do not leave it while it needs them again. */
static void lists_stay(void)
{
	static void *p[300];
	const unsigned int c = (unsigned int)class_of(48);
	unsigned int round, i;

	for (round = 0; round < 2000; round++) {
		for (i = 0; i < ARRAY_SIZE(p); i++)
			p[i] = pw_malloc(48);
		for (i = 0; i < ARRAY_SIZE(p); i++)
			pw_free(p[i]);
		CHECK(round < 20 || !pw_fastbins[c].nr_blocks);
	}
}

static pthread_t first;

static void *outlive_first(void *arg)
{
	CHECK(!pthread_join(first, NULL));
	CHECK(!pw_nr_threads && !tcaches_bytes());
	_exit(0);
	return arg;
}

static void first_thread_ends(void)
{
	pthread_t thread;
	int i;

	for (i = 0; i < 100; i++)
		pw_free(pw_malloc(100));
	CHECK(pw_nr_threads == 1 && tcaches_bytes());
	first = pthread_self();
	CHECK(!pthread_create(&thread, NULL, outlive_first, NULL));
	pthread_exit(NULL);
}

static void *free_it(void *block)
{
	pw_free(block);
	return NULL;
}

/* A thread's first call may be free(), on the bins of nobody. */
static void bins_of_nobody(void)
{
	pthread_t thread;
	int i;

	for (i = 0; i < 50; i++) {
		CHECK(!pthread_create(&thread, NULL, free_it, pw_malloc(100)));
		CHECK(!pthread_join(thread, NULL));
	}
	for (i = 0; i < NR_CLASSES; i++)
		CHECK(!pw_nobody.bins[i].room && !pw_nobody.bins[i].head);
}

/* It keeps more than fast bins may hold, and ends when pages are due to be returned. */
static void *keep_much(void *arg)
{
	static void *p[1000];
	size_t size;
	int i, round;

	for (size = 1000; size < 4000; size += 500) {
		for (round = 0; round < 10; round++) {
			for (i = 0; i < 200; i++)
				p[i] = pw_malloc(size);
			for (i = 0; i < 200; i++)
				pw_free(p[i]);
		}
	}
	CHECK(tcaches_bytes() > FASTBIN_LIMIT);
	usleep(1100 * 1000);
	(void)arg;
	return tcache_self();
}

static void end_when_due(void)
{
	struct pagewell_stats before, after;
	static void *p[4000];
	struct thread *gone;
	pthread_t thread;
	int i;

	/* So that there are pages to return when the fast bins are sorted back. */
	for (i = 0; i < 4000; i++)
		p[i] = pw_malloc(1000);
	for (i = 0; i < 4000; i++)
		pw_free(p[i]);
	CHECK(!pagewell_get_stats(&before, sizeof(before)));
	CHECK(!pthread_create(&thread, NULL, keep_much, NULL));
	CHECK(!pthread_join(thread, (void **)&gone));
	CHECK(!pagewell_get_stats(&after, sizeof(after)));
	CHECK(after.returned > before.returned);
	/* The next thread that has them finds them unused. */
	for (i = 0; i < NR_CLASSES; i++)
		CHECK(!gone->bins[i].room && !gone->bins[i].head && !gone->full[i].room);
}

int main(void)
{
	static const struct test tests[] = {
		{ "sizes that nothing can hold fail with ENOMEM", too_large },
		{ "success leaves errno alone", errno_stays },
		{ "blocks of no bytes", zero_size },
		{ "every alignment", alignment },
		{ "aligned blocks in place of larger ones", alignment_in_holes },
		{ "alignments that are none", bad_alignment },
		{ "calloc clears what was used before", zeroed },
		{ "realloc keeps the contents, from any size to any", realloc_keeps },
		{ "a block that grows by small steps", grow_by_steps },
		{ "the mmap threshold follows what is freed", dynamic_threshold },
		{ "mallopt", options },
		{ "a large top is given back", trim_by_default },
		{ "M_TRIM_THRESHOLD", trim_threshold },
		{ "M_TRIM_THRESHOLD of -1 while the heap falls", no_trim_any_more },
		{ "M_TOP_PAD", top_pad },
		{ "M_ARENA_MAX", arena_max },
		{ "M_PERTURB", perturb },
		{ "calloc while M_PERTURB ends", perturb_ends },
		{ "mallinfo2 adds up", info_adds_up },
		{ "malloc_trim lowers the break", trim_returns },
		{ "malloc_info is glibc's XML", info_xml },
		{ "malloc_info tells of the most there was, and not of heaps that are gone",
		  info_of_the_past },
		{ "malloc_stats and mallinfo2 agree", stats_agree },
		{ "heaps of the program's own", heaps },
		{ "lists that a thread needs again", lists_stay },
		{ "the first thread ends before the others", first_thread_ends },
		{ "threads that free first", bins_of_nobody },
		{ "a thread ends when pages are to be returned", end_when_due },
	};

	return run_tests(tests, ARRAY_SIZE(tests));
}
