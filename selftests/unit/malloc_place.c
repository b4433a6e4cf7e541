// SPDX-License-Identifier: GPL-2.0-only
/*
 * malloc_place.c - where anonymous maps are placed, and how long it takes to find that
 */
#include <time.h>

#include "malloc_test.h"
#include "runs.h"

/**
 * struct map - a map of the test
 * @addr: where it is; 0 if it is not
 * @granules: how long
 * @taken: the same with its guard
 */
struct map {
	uintptr_t addr;
	size_t granules;
	size_t taken;
};

#define NR_MAPS		400
#define MODEL_GRANULES	(256 * KIB)

static struct map maps[NR_MAPS];
static bool used[MODEL_GRANULES];
static uintptr_t base;

static uint32_t random_below(uint32_t limit)
{
	static uint64_t state = 1;

	state = state * 6364136223846793005UL + 1442695040888963407UL;
	return (uint32_t)(state >> 33) % limit;
}

/* From here on everything is free, and nothing is before it. */
static void find_base(void)
{
	uintptr_t addr;

	pw_free(pw_malloc(100));
	CHECK(!os_map(GIB, 0, 0, &base) && !os_unmap(base, GIB, 0));
	do
		CHECK(!os_map(GRANULE, 0, 0, &addr));
	while (addr < base);
	CHECK(addr == base && !os_unmap(addr, GRANULE, 0));
}

static bool all_free(size_t at, size_t granules)
{
	return at + granules <= MODEL_GRANULES && !memchr(&used[at], true, granules);
}

static uintptr_t lowest_gap(size_t granules, size_t align)
{
	uintptr_t addr = ALIGN_UP(base, align);

	while (!all_free((addr - base) >> GRANULE_SHIFT, granules))
		addr += align;
	return addr;
}

static void mark(uintptr_t addr, size_t granules, bool what)
{
	memset(&used[(addr - base) >> GRANULE_SHIFT], what, granules);
}

static void map_one(struct map *m)
{
	unsigned int flags = random_below(4) ? 0 : OS_GUARD;
	size_t align = GRANULE << (random_below(2) ? 0 : random_below(9));
	uintptr_t want;

	m->granules = 1 + random_below(random_below(8) ? 24 : 500);
	m->taken = m->granules + !!flags;
	want = lowest_gap(m->taken, align);
	CHECK(!os_map(m->granules << GRANULE_SHIFT, align, flags, &m->addr));
	CHECK(m->addr == want);
	mark(m->addr, m->taken, true);
}

static void unmap_one(struct map *m)
{
	CHECK(!os_unmap(m->addr, m->granules << GRANULE_SHIFT,
			m->taken > m->granules ? OS_GUARD : 0));
	mark(m->addr, m->taken, false);
	m->addr = 0;
}

/* In its place, if what lies behind it is free; or else in the lowest gap. */
static void resize_one(struct map *m)
{
	size_t granules = 1 + random_below((uint32_t)m->granules * 2);
	uintptr_t addr = m->addr, want = addr;
	bool may_move = random_below(2);
	int ret;

	if (granules > m->granules &&
	    !all_free(((addr - base) >> GRANULE_SHIFT) + m->granules, granules - m->granules))
		want = may_move ? lowest_gap(granules, GRANULE) : 0;
	ret = os_remap(&addr, m->granules << GRANULE_SHIFT, granules << GRANULE_SHIFT, 0,
		       may_move);
	if (!want || ret == -EOPNOTSUPP) {
		/* Neighbours that are one mapping cannot be moved apart; see os_anon.c. */
		CHECK(ret && addr == m->addr && want != addr);
		return;
	}
	CHECK(!ret && addr == want);
	mark(m->addr, m->taken, false);
	*m = (struct map){ addr, granules, granules };
	mark(m->addr, m->taken, true);
}

static void always_the_lowest(void)
{
	unsigned int step;

	find_base();
	for (step = 0; step < 40000; step++) {
		struct map *m = &maps[random_below(NR_MAPS)];

		if (!m->addr)
			map_one(m);
		else if (random_below(3) || m->taken > m->granules)
			unmap_one(m);
		else
			resize_one(m);
	}
}

/* Of the processor, in nanoseconds. */
static uint64_t now(void)
{
	struct timespec ts;

	CHECK(!clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts));
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static uint64_t median(uint64_t *times, unsigned int nr)
{
	qsort(times, nr, sizeof(*times), compare);
	return times[nr / 2];
}

#define BATCHES		200
#define BATCH		150
#define SAMPLE		20

static void check_no_slower(uint64_t times[BATCHES])
{
	uint64_t first = median(times, SAMPLE), last = median(times + BATCHES - SAMPLE, SAMPLE);

	printf("# the last ones take %.1f times as long as the first\n",
	       (double)last / (double)first);
	CHECK(last < 3 * first);
}

/* Between blocks that are aligned so widely there are gaps, in which no other one fits. */
static void gaps_that_do_not_fit(void)
{
	uint64_t times[BATCHES];
	unsigned int i, k;
	uintptr_t addr;

	pw_free(pw_malloc(100));
	for (i = 0; i < BATCHES; i++) {
		times[i] = now();
		for (k = 0; k < BATCH; k++)
			CHECK(!os_map(208 * KIB, MIB, 0, &addr));
		times[i] = now() - times[i];
	}
	check_no_slower(times);
}

/* The same with blocks of several kinds, of which some go again. */
static void several_kinds(void)
{
	static const struct {
		size_t length;
		size_t align;
	} kinds[] = { { 208 * KIB, MIB }, { 3 * MIB, GRANULE }, { 240 * KIB, MIB },
		      { 2 * MIB, 2 * MIB }, { 960 * KIB, GRANULE } };
	uint64_t times[BATCHES];
	unsigned int i, k;
	uintptr_t addr;

	pw_free(pw_malloc(100));
	for (i = 0; i < BATCHES; i++) {
		times[i] = now();
		for (k = 0; k < BATCH; k++) {
			unsigned int kind = k % ARRAY_SIZE(kinds);

			CHECK(!os_map(kinds[kind].length, kinds[kind].align, 0, &addr));
			if (k % 7 == 0)
				CHECK(!os_unmap(addr, kinds[kind].length, 0));
		}
		times[i] = now() - times[i];
	}
	check_no_slower(times);
}

#define PAIRS		8000
#define MANY		250

/* Time to look for a run of 70 granules, which there is only behind all others. */
static uint64_t time_to_fail(struct arena *a)
{
	uint64_t times[SAMPLE];
	unsigned int i, k;
	bool dirty;

	for (i = 0; i < SAMPLE; i++) {
		times[i] = now();
		for (k = 0; k < 10; k++)
			CHECK(!run_alloc(a, 70, 1, USED_PAGES, &dirty));
		times[i] = now() - times[i];
	}
	return median(times, SAMPLE);
}

/* Free runs in the same bin that are all too short, with something in use between them. */
static void runs_that_are_too_short(void)
{
	struct arena *a = arena_create(true, SIZE_MAX);
	uint64_t few = 0, many;
	bool dirty;
	size_t at;
	int i;

	pw_free(pw_malloc(100));
	CHECK(a);
	lock(&a->lock);
	for (i = 0; i < PAIRS; i++) {
		at = run_alloc(a, 65 + 1, 1, NEW_PAGES, &dirty);
		CHECK(at);
		run_free(a, at, 65, false);
		if (i == PAIRS / MANY)
			few = time_to_fail(a);
	}
	many = time_to_fail(a);
	printf("# %.1f times as long for %d times as many\n", (double)many / (double)few, MANY);
	CHECK(many < few * 10);
	/* One that is long enough is seen, and when it has gone, that it has. */
	at = run_alloc(a, 72 + 1, 1, NEW_PAGES, &dirty);
	CHECK(at);
	run_free(a, at, 72, false);
	CHECK(run_alloc(a, 70, 1, USED_PAGES, &dirty) == at);
	CHECK(!run_alloc(a, 70, 1, USED_PAGES, &dirty));
	CHECK(run_alloc(a, 65, 1, USED_PAGES, &dirty));
	unlock(&a->lock);
}

int main(void)
{
	static const struct test tests[] = {
		{ "a map is in the lowest gap that it fits in", always_the_lowest },
		{ "many maps with gaps between them are found a place as fast as few",
		  gaps_that_do_not_fit },
		{ "the same with several kinds of maps", several_kinds },
		{ "many free runs that are too short", runs_that_are_too_short },
	};

	setenv("PAGEWELL_BACKEND", "anon", 1);
	pw_env_read();
	return run_tests(tests, ARRAY_SIZE(tests));
}
