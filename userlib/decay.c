// SPDX-License-Identifier: GPL-2.0-only
/*
 * decay.c - giving memory back: by time, by amount, and when it is asked for
 */
#include <time.h>

#include "decay.h"
#include "env.h"
#include "fastbin.h"
#include "guarded.h"
#include "probe.h"
#include "runs.h"
#include "tcache.h"
#include "tune.h"

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
	if (seg->clean > end)
		os_drop_pages(granule_addr(end), (seg->clean - end) << GRANULE_SHIFT);
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

/*
 * Lowers the breaks that have more than @threshold of top. A segment with nothing in it
 * goes, unless it is the only one and @pad is for it: what is asked for next shall be
 * where other addresses are free.
 */
static size_t lower_breaks(struct arena *a, size_t threshold, size_t pad)
{
	struct segment *seg, *next;
	size_t bytes = 0;

	for (seg = a->segments; seg; seg = next) {
		bool only = a->segments == seg && !seg->next;
		bool empty = seg->top == seg->start && (!only || !pad);

		next = seg->next;
		if (empty || (size_t)(seg->end - seg->top) << GRANULE_SHIFT > threshold)
			bytes += lower_break(a, seg, empty ? 0 : pad);
		if (empty && seg->end == seg->start)
			arena_drop_segment(a, seg);
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
	return !a->decay.falling || a->blocks_out <= a->decay.fell_from / 8 * 3;
}

/*
 * Where huge pages were asked for, the kernel would make whole ones again of what is
 * left between the pages that went back. Those that there are stay.
 */
static void want_no_huge(struct segment *seg)
{
	if (!seg->huge || pw_env.huge == HUGE_ALWAYS)
		return;
	os_advise(seg->brk.start, seg->brk.brk - seg->brk.start, OS_NOHUGEPAGE);
	seg->huge = false;
}

static size_t purge(struct arena *a, size_t threshold, size_t pad)
{
	bool parts = worth_parts(a);
	size_t bytes = 0, lowered;
	struct segment *seg;
	struct span *s;
	unsigned int i;

	bin_sort(a);
	lowered = lower_breaks(a, threshold, pad);
	for (seg = a->segments; seg; seg = seg->next)
		bytes += purge_top(a, seg);
	for (i = 1; i < NR_LARGE_BINS; i++)
		for (s = a->large[i]; s; s = s->next)
			bytes += purge_run(a, s);
	for (i = 1; i < NR_CLASSES && parts; i++)
		for (s = a->small[i].first; s; s = s->next)
			if (s->flags & SPAN_RETURN)
				bytes += span_purge(s);
	for (seg = a->segments; seg && bytes; seg = seg->next)
		want_no_huge(seg);
	bytes += lowered;
	/* What comes next may be little: the first huge page of a step is taken at once. */
	if (lowered && !a->huge_skip)
		a->huge_skip = 1;
	a->decay.purged = bytes;
	a->decay.purged_out = a->blocks_out;
	a->decay.peak_out = a->blocks_out;
	a->decay.waiting = parts ? 0 : a->decay.waiting + a->decay.given;
	a->decay.given = 0;
	probe(arena_less, a->id, bytes);
	return bytes;
}

/* Bytes of pages that were used and may be free now: blocks may have left again. */
static size_t idle_bytes(const struct arena *a)
{
	return MIN((a->dirty << GRANULE_SHIFT) + a->decay.given,
		   a->size - MIN(a->size, a->blocks_out));
}

static bool is_nearly_empty(const struct arena *a)
{
	return a->blocks_out <= a->decay.peak_out / 8;
}

static bool fell(const struct arena *a, size_t idle)
{
	if (idle >= FALL_MIN)
		return a->blocks_out <= a->decay.peak_out / 8 * 5;
	return idle >= EMPTY_MIN && is_nearly_empty(a);
}

/*
 * Did the heap grow again by about what was returned a moment ago? Where it has grown by far
 * more, and all of that is free, what was in vain was little.
 */
static bool swings(const struct arena *a)
{
	size_t grown = a->decay.peak_out - a->decay.purged_out;

	if (!a->decay.purged || grown <= a->decay.purged / 2)
		return false;
	if (grown / 4 > a->decay.purged && is_nearly_empty(a))
		return false;
	return arena_now() - a->decay.purged_at < CALM_MS;
}

/* Did it fall by another step since pages were returned, and only fall? */
static bool falls_on(const struct arena *a)
{
	size_t step = MAX(FALL_STEP_MIN, a->decay.purged_out >> FALL_STEP_SHIFT);

	return a->decay.falling && a->blocks_out + step <= a->decay.purged_out &&
	       a->decay.peak_out - a->decay.purged_out <= step;
}

static bool may_return(void)
{
	return READ_ONCE(pw_tune.trim_threshold) != SIZE_MAX;
}

bool arena_due(struct arena *a)
{
	size_t idle = idle_bytes(a), enough = MAX(IDLE_MIN, a->blocks_out >> IDLE_SHIFT);

	if (falls_on(a))
		return may_return();
	if (idle < enough && a->decay.waiting < enough)
		return false;
	if (!may_return())
		return false;
	if (fell(a, idle) && !swings(a)) {
		a->decay.falling = true;
		a->decay.fell_from = a->decay.peak_out;
		return true;
	}
	if (idle >= enough)
		a->decay.falling = false;
	if (arena_now() - a->decay.purged_at < CALM_MS)
		return false;
	a->decay.falling = false;
	return true;
}

void arena_freed(struct arena *a)
{
	if (likely(!arena_due(a)))
		return;
	a->decay.purged_at = arena_now();
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

	guarded_drop_old();
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

bool arenas_squeeze(size_t wanted, bool own)
{
	uint32_t nr = __atomic_load_n(&pw_nr_arenas, __ATOMIC_ACQUIRE), i;
	size_t out = all_out(nr), bytes = 0;

	if (!os_can_ever_have(wanted))
		return false;
	if (own)
		tcache_drain();
	fastbins_sort_back();
	for (i = 0; i < nr; i++) {
		struct arena *a = pw_arenas[i];

		lock(&a->lock);
		bin_sort(a);
		bytes += lower_breaks(a, 0, 0);
		unlock(&a->lock);
	}
	return bytes || all_out(nr) < out;
}

bool arenas_squeeze_for(const struct arena *a, size_t granules)
{
	size_t bytes = granules << GRANULE_SHIFT, size = READ_ONCE(a->size);

	return bytes <= a->limit && size <= a->limit - bytes && arenas_squeeze(bytes, true);
}

bool arenas_trim(size_t pad)
{
	uint32_t nr = __atomic_load_n(&pw_nr_arenas, __ATOMIC_ACQUIRE), i;
	size_t bytes = guarded_drop();

	fastbins_sort_back();
	for (i = 0; i < nr; i++) {
		struct arena *a = pw_arenas[i];

		lock(&a->lock);
		a->decay.falling = false;
		bytes += purge(a, pad, pad);
		unlock(&a->lock);
	}
	os_trim();
	return bytes > 0;
}
