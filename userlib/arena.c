// SPDX-License-Identifier: GPL-2.0-only
/*
 * arena.c - arenas and their segments
 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "arena.h"
#include "decay.h"
#include "env.h"
#include "meta.h"
#include "probe.h"
#include "tcache.h"
#include "tune.h"

/* Addresses kept free behind a new break; growth past them is likely to work. */
#define MAIN_RESERVE	(64 * MIB)
#define OTHER_RESERVE	(8 * MIB)

/*
 * A break grows by at least this, by an eighth of the arena, by no more than
 * that; or, where a move is a store, by so little.
 */
#define GROW_MIN	(256 * KIB)
#define GROW_MAX	(64 * MIB)
#define GROW_CHEAP	(64 * KIB)

/* Huge pages are asked for so many bytes at a time. */
#define HUGE_STEP	(8 * MIB)

/* Processor time of a huge page that was not at hand. Small ones: 300 us. */
#define HUGE_SLOW_NS	1000000

/* Most steps that go without huge pages before they are tried again. */
#define HUGE_SKIP_MAX	63

/* Threads that must have met a locked arena before one moves off. */
#define CONTENTION	4

static struct arena first_arenas[BIG_ARENA + 1];

struct arena *pw_arenas[MAX_ARENAS];
uint32_t pw_nr_arenas = ARRAY_SIZE(first_arenas);
struct lock pw_arenas_lock;

void arenas_start(void)
{
	uint32_t i;

	for (i = 0; i < ARRAY_SIZE(first_arenas); i++) {
		first_arenas[i].id = i;
		first_arenas[i].big = i == BIG_ARENA;
		first_arenas[i].limit = SIZE_MAX;
		pw_arenas[i] = &first_arenas[i];
	}
}

static struct arena *free_arenas;

struct arena *arena_create(bool private, size_t limit)
{
	struct arena *a = NULL;

	lock(&pw_arenas_lock);
	if (free_arenas) {
		a = free_arenas;
		free_arenas = a->next_free;
	} else if (pw_nr_arenas < MAX_ARENAS) {
		a = pw_meta_alloc(sizeof(*a));
		if (a) {
			a->id = pw_nr_arenas;
			pw_arenas[a->id] = a;
		}
	}
	if (a) {
		a->limit = limit;
		WRITE_ONCE(a->private, private);
		/* Others look for a calm arena among all that are counted. */
		if (a->id == pw_nr_arenas)
			__atomic_store_n(&pw_nr_arenas, a->id + 1, __ATOMIC_RELEASE);
	}
	unlock(&pw_arenas_lock);
	return a;
}

/* Clears the table entries of all that a segment held. */
static void forget_segment(struct segment *seg)
{
	size_t granule = seg->start;

	while (granule < seg->end) {
		struct span *s = span_entry(granule++);

		*s = (struct span){ .state = SPAN_NONE };
	}
}

static struct segment *free_segments;

static struct segment *segment_alloc(void)
{
	struct segment *seg;

	lock(&pw_records_lock);
	seg = free_segments;
	if (seg)
		free_segments = seg->next;
	unlock(&pw_records_lock);
	return seg ? seg : pw_meta_alloc(sizeof(*seg));
}

static void segment_free(struct segment *seg)
{
	lock(&pw_records_lock);
	seg->next = free_segments;
	free_segments = seg;
	unlock(&pw_records_lock);
}

/*
 * As new, but for its lock and what it is. Others go through all arenas, those that
 * nobody has among them, and may wait for the lock right now: once they have it
 * there must be nothing left to find.
 */
static void arena_reset(struct arena *a)
{
	size_t kept = offsetof(struct arena, big);

	memset((char *)a + kept, 0, sizeof(*a) - kept);
}

void arena_destroy(struct arena *a)
{
	struct segment *seg, *next;

	lock(&a->lock);
	bins_release(a);
	seg = a->segments;
	arena_reset(a);
	unlock(&a->lock);
	for (; seg; seg = next) {
		next = seg->next;
		forget_segment(seg);
		os_brk_destroy(&seg->brk);
		segment_free(seg);
	}
	lock(&pw_arenas_lock);
	a->next_free = free_arenas;
	free_arenas = a;
	unlock(&pw_arenas_lock);
}

/* Another arena that is not locked right now, or a new one. */
static struct arena *find_calm(struct arena *mine)
{
	uint32_t nr = __atomic_load_n(&pw_nr_arenas, __ATOMIC_ACQUIRE), i;
	unsigned int usable = 0;

	for (i = 0; i < nr; i++) {
		struct arena *a = pw_arenas[(mine->id + 1 + i) % nr];

		if (READ_ONCE(a->private) || a->big)
			continue;
		usable++;
		if (a != mine && try_lock(&a->lock))
			return a;
	}
	if (usable < pw_arena_max()) {
		struct arena *a = arena_create(false, SIZE_MAX);

		if (a) {
			lock(&a->lock);
			return a;
		}
	}
	return NULL;
}

struct arena *arena_enter(struct arena **mine)
{
	struct arena *a = *mine;

	if (likely(try_lock(&a->lock)))
		return a;
	if (__atomic_fetch_add(&a->contended, 1, __ATOMIC_RELAXED) >= CONTENTION) {
		struct arena *calm = find_calm(a);

		if (calm) {
			WRITE_ONCE(a->contended, 0);
			*mine = calm;
			return calm;
		}
	}
	lock(&a->lock);
	return a;
}

/* An arena is worth moving to if this part of it is free. */
#define ROOMY_MIN	(512 * KIB)
#define ROOMY_SHIFT	2

struct arena *arena_roomy(struct arena *mine)
{
	uint32_t nr = __atomic_load_n(&pw_nr_arenas, __ATOMIC_ACQUIRE), i;

	for (i = 0; i < nr; i++) {
		struct arena *a = pw_arenas[i];
		size_t size, out;

		if (a == mine || a->big || READ_ONCE(a->private))
			continue;
		size = READ_ONCE(a->size);
		out = READ_ONCE(a->blocks_out);
		if (out < size && size - out >= MAX(ROOMY_MIN, size >> ROOMY_SHIFT) &&
		    try_lock(&a->lock))
			return a;
	}
	return NULL;
}

static struct segment *new_segment(struct arena *a, size_t bytes)
{
	size_t reserve = a->id ? OTHER_RESERVE : MAIN_RESERVE;
	struct segment *seg = segment_alloc();

	if (!seg)
		return NULL;
	reserve = ALIGN_UP(MAX(MAX(reserve, a->size), bytes), HUGE_SIZE);
	if (os_brk_create(reserve, &seg->brk) &&
	    os_brk_create(ALIGN_UP(bytes, HUGE_SIZE), &seg->brk)) {
		segment_free(seg);
		return NULL;
	}
	seg->start = (uint32_t)granule_of(seg->brk.start);
	seg->top = seg->start;
	seg->clean = seg->start;
	seg->end = seg->start;
	seg->huge = false;
	seg->next = a->segments;
	a->segments = seg;
	return seg;
}

void arena_drop_segment(struct arena *a, struct segment *seg)
{
	struct segment **link = &a->segments;

	while (*link != seg)
		link = &(*link)->next;
	*link = seg->next;
	os_brk_destroy(&seg->brk);
	segment_free(seg);
}

static uint64_t thread_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* Takes a huge page; how long did it take? */
static uint64_t probe_huge(uintptr_t page)
{
	uint64_t start = thread_ns();

	*(volatile char *)page = 0;
	return thread_ns() - start;
}

/*
 * A huge page pays if the system has one at hand. It may have to move pages
 * about for it first, or be a guest whose own free memory went back to its
 * host: that takes ten times as long as small pages from what is at hand. So
 * the first huge page of each step is taken here, with a look at the time, and
 * while that is slow further steps get small pages. What is too short to have
 * one gets none: nobody would see how long it takes.
 */
static void try_huge(struct arena *a, struct segment *seg, uintptr_t old)
{
	struct os_brk *b = &seg->brk;
	uintptr_t from = ALIGN_DOWN(old, HUGE_SIZE);
	struct os_brk first = *b;

	first.brk = ALIGN_UP(old, HUGE_SIZE) + HUGE_SIZE;
	if (first.brk > b->brk)
		return;
	if (a->huge_skip) {
		a->huge_skip--;
		return;
	}
	if (!os_brk_grew_large(&first, from))
		return;
	seg->huge = true;
	if (probe_huge(first.brk - HUGE_SIZE) < HUGE_SLOW_NS) {
		a->huge_backoff = 0;
		os_brk_grew_large(b, from);
		return;
	}
	a->huge_backoff = (uint8_t)MIN(4 * a->huge_backoff + 3, HUGE_SKIP_MAX);
	a->huge_skip = a->huge_backoff;
}

static int move_break(struct arena *a, struct segment *seg, size_t bytes)
{
	uintptr_t old = seg->brk.brk;
	int ret;

	if (bytes > a->limit || a->size > a->limit - bytes)
		return -ENOMEM;
	ret = os_brk_move(&seg->brk, old + bytes);
	if (ret)
		return ret;
	if (!a->size)
		a->decay.purged_at = arena_now();
	seg->end = (uint32_t)granule_of(seg->brk.brk);
	WRITE_ONCE(a->size, a->size + bytes);
	a->size_max = MAX(a->size_max, a->size);
	probe(arena_more, a->id, seg->brk.brk, bytes);
	if (pw_env.huge == HUGE_ALWAYS)
		os_brk_grew_large(&seg->brk, ALIGN_DOWN(old, HUGE_SIZE));
	else if (a->size >= HUGE_FROM && !a->big)
		try_huge(a, seg, old);
	return 0;
}

/*
 * By a step that follows the arena's size, or if that is refused by the least.
 * Where moving a break costs nothing, the step is small.
 */
int arena_grow_segment(struct arena *a, struct segment *seg, size_t granules)
{
	size_t least = (granules << GRANULE_SHIFT) -
		       ((size_t)(seg->end - seg->top) << GRANULE_SHIFT);
	size_t step = MIN(MAX(a->size / 8, GROW_MIN), GROW_MAX);
	int ret;

	if (os_brk_is_cheap(&seg->brk))
		step = GROW_CHEAP;

	step = ALIGN_UP(MAX(step, least + MIN(READ_ONCE(pw_tune.top_pad), GIB)), GRANULE);
	/* A huge page that the break cuts in two is small pages until it moves on. */
	if (a->size >= HUGE_FROM) {
		step = MAX(MIN(step, HUGE_STEP), least);
		step = ALIGN_UP(seg->brk.brk + step, HUGE_SIZE) - seg->brk.brk;
	}
	ret = move_break(a, seg, step);
	return ret && step > least ? move_break(a, seg, least) : ret;
}

struct segment *arena_grow(struct arena *a, size_t granules)
{
	struct segment *seg;
	int ret = -EAGAIN;

	/* One that somebody was in the way of has fallen since, perhaps. */
	for (seg = a->segments; seg && ret == -EAGAIN; seg = seg->next) {
		ret = arena_grow_segment(a, seg, granules);
		if (!ret)
			return seg;
	}
	seg = new_segment(a, granules << GRANULE_SHIFT);
	if (!seg)
		return NULL;
	if (!arena_grow_segment(a, seg, granules))
		return seg;
	arena_drop_segment(a, seg);
	return NULL;
}

bool arenas_try(bool (*try)(struct arena *a, void *arg), void *arg)
{
	uint32_t nr = __atomic_load_n(&pw_nr_arenas, __ATOMIC_ACQUIRE), i;
	bool done = false;

	for (i = 0; i < nr && !done; i++) {
		struct arena *a = pw_arenas[i];

		if (READ_ONCE(a->private))
			continue;
		lock(&a->lock);
		done = !a->private && try(a, arg);
		unlock(&a->lock);
	}
	return done;
}
