// SPDX-License-Identifier: GPL-2.0-only
/*
 * remap.c - maps that grow, shrink and move
 */
#include <linux/mmap_lock.h>

#include "heap.h"
#include "region.h"

/* A place for a map that moves. */
#define PW_ANYWHERE	ULONG_MAX

/* What a map keeps when it moves, part by part. */
#define PW_KEPT	(PW_REGION_LAZY | PW_REGION_AUTO | PW_REGION_READ | PW_REGION_NONE)

static bool span_has_shared(struct pw_heap *heap, unsigned long lo,
			    unsigned long hi)
{
	struct pw_span s;

	pw_for_each_span(s, heap, lo, hi)
		if (pw_entry_flags(s.entry) & PW_REGION_SHARED)
			return true;
	return false;
}

/* Mark what is, or will be, a map. */
static void *moving(const void *entry)
{
	return xa_mk_value(PW_REGION_DYING | (pw_entry_flags(entry) & PW_KEPT));
}

/* [to, to + (hi - lo)) like [lo, hi), then up to @end like @entry. */
static void mark_target(struct pw_heap *heap, unsigned long lo,
			unsigned long hi, unsigned long to, unsigned long end,
			const void *entry)
{
	struct pw_span s;

	pw_for_each_span(s, heap, lo, hi)
		pw_span_store(heap, to + (s.lo - lo), to + (s.hi - lo),
			      moving(s.entry), PW_GFP_UNMAP);
	if (to + (hi - lo) < end)
		pw_span_store(heap, to + (hi - lo), end, moving(entry),
			      PW_GFP_UNMAP);
}

static void unmark_target(struct pw_heap *heap, unsigned long to,
			  unsigned long end)
{
	struct pw_span s;

	pw_for_each_span(s, heap, to, end)
		pw_span_store(heap, s.lo, s.hi,
			      xa_mk_value(PW_REGION_MAP |
					  (pw_entry_flags(s.entry) & PW_KEPT)),
			      PW_GFP_UNMAP);
}

/*
 * A gap for [from, from + nr). What holds pages of 2 MiB keeps them if it lies
 * in the new place as it lay in the old one.
 */
static int find_target(struct pw_heap *heap, unsigned long from,
		       unsigned long old, unsigned long nr, unsigned long *to)
{
	unsigned long offset = from & PW_SLOT_MASK;

	if (old >= PW_SLOT_PAGES &&
	    !pw_find_gap(heap, 0, offset + nr, PW_SLOT_PAGES, to)) {
		*to += offset;
		return 0;
	}
	return pw_find_gap(heap, 0, nr, 1, to);
}

/*
 * Make room for a map that moves to a place of the program's choice, and keep
 * others from there: marked before the move begins, which is no part of it for a fork.
 */
static int take_target(struct pw_heap *heap, unsigned long to, unsigned long nr)
{
	int err;

	pw_lock(&heap->lock);
	err = pw_clear_fixed(heap, PAGEWELL_MAP_FIXED, to, to + nr) ?:
	      pw_span_store(heap, to, to + nr, moving(NULL), PW_GFP_REGION);
	pw_unlock(&heap->lock);
	return err;
}

/* Where a map has moved from, or could not move to; it is marked still. */
static void free_marked(struct pw_heap *heap, unsigned long lo, unsigned long hi)
{
	if (pw_bar_give_up(heap, lo, hi))
		return;
	pw_lock(&heap->lock);
	pw_span_store(heap, lo, hi, NULL, PW_GFP_UNMAP);
	pw_unlock(&heap->lock);
}

/*
 * To *@to, or to where there is room when that is PW_ANYWHERE.
 * Both ranges are marked while pages are on the way from one to the other, so
 * nobody can map there; touching them meanwhile is SIGSEGV. The mmap_lock is
 * held throughout: a fork sees the move done, or not begun.
 */
static int move_map(struct pw_heap *heap, unsigned long *lo, unsigned long hi,
		    unsigned long nr, unsigned long to, const void *entry)
{
	bool split = READ_ONCE(heap->split);
	unsigned long from = *lo;
	struct pw_span gone;
	int err = 0;

	if (to != PW_ANYWHERE)
		err = take_target(heap, to, nr);
	if (err)
		return err;
	mmap_read_lock(heap->mm);
	pw_lock(&heap->lock);
	if (to == PW_ANYWHERE)
		err = find_target(heap, from, hi - from, nr, &to);
	if (!err) {
		mark_target(heap, from, hi, to, to + nr, entry);
		mark_target(heap, to, to + (hi - from), from, hi, NULL);
	}
	pw_unlock(&heap->lock);
	if (err) {
		mmap_read_unlock(heap->mm);
		return err;
	}

	err = pw_range_vacate(heap, to, to + nr) ?:
	      pw_range_cut(heap, from, to, hi - from);
	if (!err)
		pw_range_move(heap, from, to, hi - from);

	pw_lock(&heap->lock);
	if (err) {
		unmark_target(heap, from, hi);
		gone = (struct pw_span){ .lo = to, .hi = to + nr };
	} else {
		unmark_target(heap, to, to + nr);
		gone = (struct pw_span){ .lo = from, .hi = hi };
		*lo = to;
	}
	if (!split)
		pw_span_store(heap, gone.lo, gone.hi, NULL, PW_GFP_UNMAP);
	pw_unlock(&heap->lock);
	mmap_read_unlock(heap->mm);
	if (split)
		free_marked(heap, gone.lo, gone.hi);
	return err;
}

static int grow_in_place(struct pw_heap *heap, unsigned long end,
			 unsigned long new_end, void *entry)
{
	int err = -ENOMEM;

	pw_lock(&heap->lock);
	if (new_end <= heap->window && pw_span_is_free(heap, end, new_end))
		err = pw_span_store(heap, end, new_end, entry, PW_GFP_REGION);
	pw_unlock(&heap->lock);
	return err;
}

/* As what lies before it, but promised as the heap is now. */
static void *added_entry(struct pw_heap *heap, unsigned long end, bool strict)
{
	const unsigned long like = PW_KEPT & ~PW_REGION_LAZY;
	struct pw_span s = pw_span_at(heap, end - 1, 0, ULONG_MAX);

	return xa_mk_value(pw_entry_flags(pw_map_entry(false, strict)) |
			   (pw_entry_flags(s.entry) & like));
}

static int remap_grow(struct pw_heap *heap, u32 flags, unsigned long *lo,
		      unsigned long hi, unsigned long nr, unsigned long to)
{
	bool strict = READ_ONCE(heap->commit) == PAGEWELL_COMMIT_STRICT;
	unsigned long more = nr - (hi - *lo);
	void *entry = added_entry(heap, hi, strict);
	int err = pw_heap_commit(heap, more, strict);

	if (err)
		return err;
	err = -ENOMEM;
	if (to == PW_ANYWHERE)
		err = grow_in_place(heap, hi, *lo + nr, entry);
	if (err && (flags & PAGEWELL_REMAP_MAYMOVE))
		err = move_map(heap, lo, hi, nr, to, entry);
	if (err)
		pw_heap_uncommit(heap, more, strict, 0);
	return err;
}

static void remap_shrink(struct pw_heap *heap, unsigned long lo, unsigned long hi)
{
	pw_lock(&heap->lock);
	pw_unmap_spans(heap, lo, hi);
	pw_unlock(&heap->lock);
}

/* What is to stay moves first: when it cannot, all is as it was. */
static int remap(struct pw_heap *heap, u32 flags, unsigned long *lo, unsigned long hi,
		 unsigned long nr, unsigned long to)
{
	unsigned long end = *lo + nr;
	int err = 0;

	if (end > hi)
		return remap_grow(heap, flags, lo, hi, nr, to);
	if (to != PW_ANYWHERE)
		err = move_map(heap, lo, end, nr, to, NULL);
	if (!err && end < hi)
		remap_shrink(heap, end, hi);
	return err;
}

/* Where it is to go to, with PAGEWELL_REMAP_FIXED. */
static int check_target(struct pw_heap *heap, const struct pagewell_remap *arg,
			unsigned long lo, unsigned long hi, unsigned long *to)
{
	unsigned long end;

	*to = PW_ANYWHERE;
	if (!(arg->flags & PAGEWELL_REMAP_FIXED))
		return arg->target ? -EINVAL : 0;
	if (!(arg->flags & PAGEWELL_REMAP_MAYMOVE) ||
	    pw_user_range(heap, arg->target, arg->new_length, to, &end))
		return -EINVAL;
	return *to < hi && lo < end ? -EINVAL : 0;
}

static int check_remap(struct pw_heap *heap, const struct pagewell_remap *arg,
		       unsigned long *lo, unsigned long *hi, unsigned long *to)
{
	if (arg->flags & ~(PAGEWELL_REMAP_MAYMOVE | PAGEWELL_REMAP_FIXED) ||
	    !arg->new_length)
		return -EINVAL;
	if (pw_user_range(heap, arg->addr, arg->old_length, lo, hi) ||
	    check_target(heap, arg, *lo, *hi, to))
		return -EINVAL;
	if (arg->new_length > (u64)heap->window << PAGE_SHIFT) {
		pw_heap_refused(heap, arg->new_length >> PAGE_SHIFT);
		return -ENOMEM;
	}
	return 0;
}

/**
 * pw_remap() - resize a map, moving it if need be
 * @heap: the caller's
 * @arg: see PAGEWELL_IOC_REMAP
 *
 * Return: 0, -EINVAL, -EFAULT, -EEXIST or -ENOMEM.
 */
int pw_remap(struct pw_heap *heap, struct pagewell_remap *arg)
{
	unsigned long lo, hi, to, from, nr = pw_pages_up(arg->new_length);
	int err = check_remap(heap, arg, &lo, &hi, &to);

	if (err)
		return err;
	from = lo;

	/* Nobody unmaps while we hold this, so what is mapped stays so. */
	pw_lock(&heap->unmap_lock);
	if (!pw_span_is_mapped(heap, lo, hi)) {
		err = -EFAULT;
	} else if (span_has_shared(heap, lo, hi)) {
		err = -EINVAL;
	} else if (pw_region_is_full(heap)) {
		err = -ENOMEM;
	} else {
		err = remap(heap, arg->flags, &lo, hi, nr, to);
	}
	pw_unlock(&heap->unmap_lock);
	if (err)
		return err;
	arg->addr = pw_heap_addr(heap, lo);
	/* What has moved is not mapped where it is now. */
	pw_populate_locked(heap, lo == from ? hi : lo, lo + nr);
	return 0;
}
