// SPDX-License-Identifier: GPL-2.0-only
/*
 * runs.c - large bins, of free runs of granules, and the top
 */
#include "decay.h"
#include "runs.h"

unsigned int run_bin(size_t granules)
{
	unsigned int log;

	if (granules < EXACT_RUNS)
		return (unsigned int)granules;
	log = 63 - (unsigned int)__builtin_clzl(granules);
	return EXACT_RUNS + ((log - 6) << RUN_STEP_SHIFT) +
	       (unsigned int)((granules >> (log - RUN_STEP_SHIFT)) & ((1U << RUN_STEP_SHIFT) - 1));
}

static void run_insert(struct arena *a, size_t granule, size_t granules, bool dirty)
{
	struct span *s = span_entry(granule);
	unsigned int bin = run_bin(granules);

	*s = (struct span){
		.head = (uint32_t)granule,
		.state = SPAN_FREE,
		.flags = dirty ? SPAN_DIRTY : 0,
		.granules = (uint32_t)granules,
		.arena = (uint16_t)a->id,
		.next = a->large[bin],
	};
	/* The last entry leads back, for the run behind to find this one. */
	if (granules > 1)
		span_entry(granule + granules - 1)->head = (uint32_t)granule;
	if (s->next)
		s->next->prev = s;
	a->large[bin] = s;
	a->longest[bin] = MAX(a->longest[bin], s->granules);
	a->large_map[bin / 64] |= 1UL << (bin % 64);
	a->free += granules;
	if (dirty)
		a->dirty += granules;
}

static void run_remove(struct arena *a, struct span *s)
{
	unsigned int bin = run_bin(s->granules);

	if (s->prev)
		s->prev->next = s->next;
	else
		a->large[bin] = s->next;
	if (s->next)
		s->next->prev = s->prev;
	if (!a->large[bin])
		a->large_map[bin / 64] &= ~(1UL << (bin % 64));
	a->free -= s->granules;
	if (s->flags & SPAN_DIRTY)
		a->dirty -= s->granules;
	span_entry(s->head + s->granules - 1)->head = 0;
	s->head = 0;
	s->state = SPAN_NONE;
}

static struct segment *segment_of(struct arena *a, size_t granule)
{
	struct segment *seg = a->segments;

	while (granule < seg->start || granule >= seg->end)
		seg = seg->next;
	return seg;
}

/* The free run that ends right before @granule. */
static struct span *run_before(struct segment *seg, size_t granule)
{
	struct span *s;

	if (granule <= seg->start)
		return NULL;
	s = span_of(granule_addr(granule - 1));
	return s->state == SPAN_FREE ? s : NULL;
}

static struct span *run_behind(struct segment *seg, size_t granule)
{
	struct span *s;

	if (granule >= seg->top)
		return NULL;
	s = span_entry(granule);
	return s->state == SPAN_FREE ? s : NULL;
}

static void lower_top(struct arena *a, struct segment *seg, size_t granule, bool dirty)
{
	size_t old_top = seg->top;

	seg->top = (uint32_t)granule;
	/* A top that is clean to the bottom stays so. */
	if (seg->clean == old_top && !dirty)
		seg->clean = (uint32_t)granule;
	else
		a->dirty += old_top - granule;
}

void run_free(struct arena *a, size_t granule, size_t granules, bool dirty)
{
	struct segment *seg = segment_of(a, granule);
	struct span *before = run_before(seg, granule);
	struct span *behind = run_behind(seg, granule + granules);

	if (before) {
		dirty |= before->flags & SPAN_DIRTY;
		granule = before->head;
		granules += before->granules;
		run_remove(a, before);
	}
	if (behind) {
		dirty |= behind->flags & SPAN_DIRTY;
		granules += behind->granules;
		run_remove(a, behind);
	}
	if (granule + granules == seg->top)
		lower_top(a, seg, granule, dirty);
	else
		run_insert(a, granule, granules, dirty);
}

/* The first granule from @granule on whose address is a multiple of @align granules. */
static size_t aligned_granule(size_t granule, size_t align)
{
	return granule_of(ALIGN_UP(granule_addr(granule), align << GRANULE_SHIFT));
}

static bool fits(const struct span *s, size_t granules, size_t align)
{
	return s->granules >= granules &&
	       (align == 1 || aligned_granule(s->head, align) + granules <=
			      (size_t)s->head + s->granules);
}

/*
 * Smallest run of a bin that fits, lowest address first; looks at @looks of them. Many that
 * are a bit too short would be gone through each time, if it were not known that they are.
 */
static struct span *fit_in_bin(struct arena *a, unsigned int bin, size_t granules, size_t align,
			       size_t looks)
{
	struct span *s, *best = NULL;
	uint32_t longest = 0;

	if (a->longest[bin] < granules)
		return NULL;
	for (s = a->large[bin]; s && looks--; s = s->next) {
		longest = MAX(longest, s->granules);
		if (!fits(s, granules, align))
			continue;
		if (!best || s->granules < best->granules ||
		    (s->granules == best->granules && s < best))
			best = s;
	}
	if (!s)
		a->longest[bin] = longest;
	return best;
}

/* The first bin from @bin on that is not empty, or as many as there are. */
static unsigned int next_bin(struct arena *a, unsigned int bin)
{
	size_t word = bin / 64;
	uint64_t map;

	if (word >= ARRAY_SIZE(a->large_map))
		return ARRAY_SIZE(a->large);
	map = a->large_map[word] & (~0UL << (bin % 64));
	while (!map) {
		if (++word == ARRAY_SIZE(a->large_map))
			return ARRAY_SIZE(a->large);
		map = a->large_map[word];
	}
	return (unsigned int)(word * 64) + (unsigned int)__builtin_ctzl(map);
}

#define LOOKS	64

/* Where few looks find nothing, and no larger one is free, all that are as long are looked at. */
static struct span *best_fit(struct arena *a, size_t granules, size_t align)
{
	unsigned int first = run_bin(granules), bin;
	struct span *s = NULL;

	for (bin = next_bin(a, first); !s && bin < ARRAY_SIZE(a->large); bin = next_bin(a, bin + 1))
		s = fit_in_bin(a, bin, granules, align, LOOKS);
	return s || align > 1 ? s : fit_in_bin(a, first, granules, align, SIZE_MAX);
}

/* Takes granules from the bottom of a top that has them. */
static size_t take_top(struct arena *a, struct segment *seg, size_t granules, bool *dirty)
{
	size_t granule = seg->top;
	size_t used = MIN(seg->clean - granule, granules);

	seg->top += (uint32_t)granules;
	*dirty = used > 0;
	a->dirty -= used;
	if (seg->clean < seg->top)
		seg->clean = seg->top;
	return granule;
}

static struct segment *roomy_segment(struct arena *a, size_t granules, enum source source)
{
	struct segment *seg = a->segments;

	while (seg && (source == USED_PAGES ? seg->clean : seg->end) - seg->top < granules)
		seg = seg->next;
	return seg;
}

/* Gives what lies before and behind an aligned part back. */
static size_t trim_to_alignment(struct arena *a, size_t granule, size_t had,
				size_t granules, size_t align, bool dirty)
{
	size_t start = aligned_granule(granule, align);
	size_t end = start + granules;

	if (granule + had > end)
		run_free(a, end, granule + had - end, dirty);
	if (start > granule)
		run_free(a, granule, start - granule, dirty);
	return start;
}

size_t run_alloc(struct arena *a, size_t granules, size_t align, enum source source,
		 bool *dirty)
{
	struct span *s = best_fit(a, granules, align);
	size_t want = granules + align - 1, granule;
	struct segment *seg;

	if (!s && a->unsorted.first) {
		bin_sort(a);
		s = best_fit(a, granules, align);
	}
	if (s) {
		size_t had = s->granules;

		granule = s->head;
		*dirty = s->flags & SPAN_DIRTY;
		run_remove(a, s);
		if (had > want)
			run_insert(a, granule + want, had - want, *dirty);
		want = MIN(had, want);
	} else {
		seg = roomy_segment(a, want, source);
		if (!seg && source == NEW_PAGES)
			seg = arena_grow(a, want);
		if (!seg)
			return 0;
		granule = take_top(a, seg, want, dirty);
	}
	if (align > 1)
		granule = trim_to_alignment(a, granule, want, granules, align, *dirty);
	arena_count_out(a, granules << GRANULE_SHIFT);
	return granule;
}

static bool top_has(struct arena *a, struct segment *seg, size_t granules, enum source source)
{
	return seg->end - seg->top >= granules ||
	       (source == NEW_PAGES && !arena_grow_segment(a, seg, granules));
}

bool run_extend(struct arena *a, size_t granule, size_t granules, size_t more,
		enum source source)
{
	struct segment *seg = segment_of(a, granule);
	struct span *s = run_behind(seg, granule + granules);
	bool dirty;

	if (s && s->granules >= more) {
		size_t had = s->granules, at = granule + granules;

		dirty = s->flags & SPAN_DIRTY;
		run_remove(a, s);
		if (had > more)
			run_insert(a, at + more, had - more, dirty);
	} else if (granule + granules == seg->top && top_has(a, seg, more, source)) {
		take_top(a, seg, more, &dirty);
	} else {
		return false;
	}
	arena_count_out(a, more << GRANULE_SHIFT);
	return true;
}
