// SPDX-License-Identifier: GPL-2.0-only
/*
 * arena.c - arenas and their segments: growing, trimming, returning pages
 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "arena.h"
#include "env.h"
#include "kept.h"
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

/*
 * Free pages are returned by time and by amount. By time: from this much on,
 * or this fraction of what is in use, at the first free after as long a time
 * without returning any.
 */
#define IDLE_MIN	MIB
#define IDLE_SHIFT	2
#define CALM_MS		1000

/*
 * By amount: at once when a heap with this much to return fell to 5/8 of what
 * was in use, or a smaller one to an eighth, and then for each 16th it falls
 * further, down to steps of so much: the last blocks may lie on a page each. The
 * program may sleep when it is done freeing; nobody would return what is left then.
 * Small heaps are not worth it: pages that are used again at once cost more than
 * they save.
 */
#define FALL_MIN	(16 * MIB)
#define EMPTY_MIN	(8 * MIB)
#define FALL_STEP_MIN	(32 * KIB)
#define FALL_STEP_SHIFT	4

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

	lock(&pw_bits_lock);
	seg = free_segments;
	if (seg)
		free_segments = seg->next;
	unlock(&pw_bits_lock);
	return seg ? seg : pw_meta_alloc(sizeof(*seg));
}

static void segment_free(struct segment *seg)
{
	lock(&pw_bits_lock);
	seg->next = free_segments;
	free_segments = seg;
	unlock(&pw_bits_lock);
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
	seg->next = a->segments;
	a->segments = seg;
	return seg;
}

/* An empty segment that could not get memory is no use. */
static void drop_segment(struct arena *a, struct segment *seg)
{
	a->segments = seg->next;
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
static void try_huge(struct arena *a, struct os_brk *b, uintptr_t old)
{
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
		a->purged_at = arena_now();
	seg->end = (uint32_t)granule_of(seg->brk.brk);
	WRITE_ONCE(a->size, a->size + bytes);
	probe(arena_more, a->id, seg->brk.brk, bytes);
	if (pw_env.huge == HUGE_ALWAYS)
		os_brk_grew_large(&seg->brk, ALIGN_DOWN(old, HUGE_SIZE));
	else if (a->size >= HUGE_FROM && !a->big)
		try_huge(a, &seg->brk, old);
	return 0;
}

/*
 * By a step that follows the arena's size, or if that is refused by the least.
 * Where moving a break costs nothing, the step is small.
 */
static int grow_segment(struct arena *a, struct segment *seg, size_t granules)
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
	struct segment *seg = a->segments;

	if (seg && !grow_segment(a, seg, granules))
		return seg;
	seg = new_segment(a, granules << GRANULE_SHIFT);
	if (!seg)
		return NULL;
	if (!grow_segment(a, seg, granules))
		return seg;
	drop_segment(a, seg);
	return NULL;
}

/* ---- giving memory back ---- */

uint64_t arena_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* Lowers the break, keeping @pad bytes of the top. */
static size_t lower_break(struct arena *a, struct segment *seg, size_t pad)
{
	size_t keep = ALIGN_UP(MIN(pad, GIB), GRANULE) >> GRANULE_SHIFT;
	size_t end = seg->top + keep;
	size_t bytes;

	if (end >= seg->end)
		return 0;
	bytes = (seg->end - end) << GRANULE_SHIFT;
	if (os_brk_move(&seg->brk, granule_addr(end)))
		return 0;
	seg->end = (uint32_t)end;
	WRITE_ONCE(a->size, a->size - bytes);
	a->sorted_size = MIN(a->sorted_size, a->size);
	if (seg->clean > end) {
		a->dirty -= seg->clean - end;
		seg->clean = (uint32_t)end;
	}
	return bytes;
}

static size_t purge_top(struct arena *a, struct segment *seg)
{
	size_t bytes = (size_t)(seg->clean - seg->top) << GRANULE_SHIFT;

	if (!bytes || os_advise(granule_addr(seg->top), bytes, OS_DONTNEED))
		return 0;
	a->dirty -= seg->clean - seg->top;
	seg->clean = seg->top;
	return bytes;
}

static size_t purge_run(struct arena *a, struct span *s)
{
	size_t bytes = (size_t)s->granules << GRANULE_SHIFT;

	if (!(s->flags & SPAN_DIRTY) || os_advise(span_addr(s), bytes, OS_DONTNEED))
		return 0;
	s->flags &= (uint8_t)~SPAN_DIRTY;
	a->dirty -= s->granules;
	return bytes;
}

/*
 * Pages between blocks that are in use are many small pieces: a heap that falls
 * may rise again, and they wait until it has lost most of what it had.
 */
static bool worth_parts(const struct arena *a)
{
	return !a->falling || a->blocks_out <= a->fell_from / 8 * 3;
}

static size_t purge(struct arena *a, size_t threshold, size_t pad)
{
	bool parts = worth_parts(a);
	struct segment *seg;
	size_t bytes = 0;
	struct span *s;
	unsigned int i;

	bin_sort(a);
	for (seg = a->segments; seg; seg = seg->next) {
		if ((size_t)(seg->end - seg->top) << GRANULE_SHIFT > threshold)
			bytes += lower_break(a, seg, pad);
		bytes += purge_top(a, seg);
	}
	for (i = 1; i < NR_LARGE_BINS; i++)
		for (s = a->large[i]; s; s = s->next)
			bytes += purge_run(a, s);
	for (i = 1; i < NR_CLASSES && parts; i++)
		for (s = a->small[i].first; s; s = s->next)
			if (s->flags & SPAN_RETURN)
				bytes += span_purge(s);
	a->purged = bytes;
	a->purged_out = a->blocks_out;
	a->peak_out = a->blocks_out;
	a->waiting = parts ? 0 : a->waiting + a->given;
	a->given = 0;
	probe(arena_less, a->id, bytes);
	return bytes;
}

static bool fell(const struct arena *a, size_t idle)
{
	if (idle >= FALL_MIN)
		return a->blocks_out <= a->peak_out / 8 * 5;
	return idle >= EMPTY_MIN && a->blocks_out <= a->peak_out / 8;
}

/* Did the heap grow again by a good part of what was returned last? */
static bool swings(const struct arena *a)
{
	return a->purged && a->peak_out - a->purged_out > a->purged / 2;
}

/* Bytes of pages that were used and may be free now: blocks may have left again. */
static size_t idle_bytes(const struct arena *a)
{
	return MIN((a->dirty << GRANULE_SHIFT) + a->given,
		   a->size - MIN(a->size, a->blocks_out));
}

/* Did it fall by another step since pages were returned, and only fall? */
static bool falls_on(const struct arena *a)
{
	size_t step = MAX(FALL_STEP_MIN, a->purged_out >> FALL_STEP_SHIFT);

	return a->falling && a->blocks_out + step <= a->purged_out &&
	       a->peak_out - a->purged_out <= step;
}

bool arena_due(struct arena *a)
{
	size_t idle = idle_bytes(a), enough = MAX(IDLE_MIN, a->blocks_out >> IDLE_SHIFT);

	if (falls_on(a))
		return true;
	if (idle < enough && a->waiting < enough)
		return false;
	if (READ_ONCE(pw_tune.trim_threshold) == SIZE_MAX)
		return false;
	if (fell(a, idle) && !swings(a)) {
		a->falling = true;
		a->fell_from = a->peak_out;
		return true;
	}
	if (idle >= enough)
		a->falling = false;
	if (arena_now() - a->purged_at < CALM_MS)
		return false;
	a->falling = false;
	return true;
}

void arena_freed(struct arena *a)
{
	if (likely(!arena_due(a)))
		return;
	a->purged_at = arena_now();
	purge(a, READ_ONCE(pw_tune.trim_threshold), READ_ONCE(pw_tune.top_pad));
}

static size_t all_out(uint32_t nr)
{
	size_t out = 0;
	uint32_t i;

	for (i = 0; i < nr; i++)
		out += READ_ONCE(pw_arenas[i]->blocks_out);
	return out;
}

/*
 * How much the fast bins may hold until the next time. If half of what was
 * sorted back has left again since, sorting was in vain: twice as much.
 */
static void adapt_limit(size_t before, size_t after)
{
	static size_t last_after, last_sorted;
	size_t limit = READ_ONCE(pw_fastbin_limit);

	if (before > READ_ONCE(last_after) + READ_ONCE(last_sorted) / 2)
		limit = MIN(2 * limit, FASTBIN_LIMIT_MAX);
	else
		limit = FASTBIN_LIMIT;
	WRITE_ONCE(last_after, after);
	WRITE_ONCE(last_sorted, before > after ? before - after : 0);
	WRITE_ONCE(pw_fastbin_limit, MAX(limit, after / 8));
}

static bool is_due(struct arena *a)
{
	bool due;

	lock(&a->lock);
	due = arena_due(a) && !swings(a);
	unlock(&a->lock);
	return due;
}

void arenas_return(void)
{
	uint32_t nr = __atomic_load_n(&pw_nr_arenas, __ATOMIC_ACQUIRE), i;

	/* Blocks that a thread keeps for itself keep whole pages. */
	tcache_drain();
	fastbins_sort_back();
	for (i = 0; i < nr; i++) {
		struct arena *a = pw_arenas[i];

		lock(&a->lock);
		arena_freed(a);
		unlock(&a->lock);
	}
}

void arenas_collect(void)
{
	uint32_t nr = __atomic_load_n(&pw_nr_arenas, __ATOMIC_ACQUIRE), i;
	size_t before = all_out(nr);
	bool due = false;

	fastbins_sort_back();
	adapt_limit(before, all_out(nr));
	for (i = 0; i < nr; i++)
		due |= is_due(pw_arenas[i]);
	if (due)
		arenas_return();
}

static size_t all_size(uint32_t nr)
{
	size_t size = 0;
	uint32_t i;

	for (i = 0; i < nr; i++)
		size += READ_ONCE(pw_arenas[i]->size);
	return size;
}

bool arenas_squeeze(size_t wanted, bool own)
{
	uint32_t nr = __atomic_load_n(&pw_nr_arenas, __ATOMIC_ACQUIRE), i;
	size_t out = all_out(nr), bytes = 0;

	if (wanted > all_size(nr))
		return false;
	if (own)
		tcache_drain();
	fastbins_sort_back();
	for (i = 0; i < nr; i++) {
		struct arena *a = pw_arenas[i];
		struct segment *seg;

		lock(&a->lock);
		bin_sort(a);
		for (seg = a->segments; seg; seg = seg->next)
			bytes += lower_break(a, seg, 0);
		unlock(&a->lock);
	}
	return bytes || all_out(nr) < out;
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

bool arenas_trim(size_t pad)
{
	uint32_t nr = __atomic_load_n(&pw_nr_arenas, __ATOMIC_ACQUIRE), i;
	size_t bytes = kept_drop();

	fastbins_sort_back();
	for (i = 0; i < nr; i++) {
		struct arena *a = pw_arenas[i];

		lock(&a->lock);
		a->falling = false;
		bytes += purge(a, pad, pad);
		unlock(&a->lock);
	}
	return bytes > 0;
}
