// SPDX-License-Identifier: GPL-2.0-only
/*
 * mmap.c - maps: regions that come and go as a whole, or part by part
 */
#include <linux/log2.h>
#include <linux/mm.h>

#include "heap.h"
#include "region.h"
#include "stats.h"

/**
 * pw_populate_locked() - put in place what was added, after mlockall(MCL_FUTURE)
 * @heap: whose
 * @lo: first page of it
 * @hi: page behind the last
 *
 * As far as it can be: as the kernel does it, who asked does not hear of an error.
 */
void pw_populate_locked(struct pw_heap *heap, unsigned long lo, unsigned long hi)
{
	unsigned long flags = READ_ONCE(heap->mm->def_flags);

	if (unlikely((flags & (VM_LOCKED | VM_LOCKONFAULT)) == VM_LOCKED))
		pw_populate(heap, lo, hi);
}

static bool entry_is_strict(const void *entry)
{
	return (pw_entry_flags(entry) & (PW_REGION_MAP | PW_REGION_LAZY)) ==
	       PW_REGION_MAP;
}

/* Does a range begin or end inside a slot of a shared region? */
static bool cuts_shared(struct pw_heap *heap, unsigned long lo,
			unsigned long hi)
{
	const unsigned long edges[] = { lo, hi };
	int i;

	for (i = 0; i < ARRAY_SIZE(edges); i++) {
		struct pw_span s;

		if (!(edges[i] & PW_SLOT_MASK))
			continue;
		s = pw_span_at(heap, edges[i], 0, ULONG_MAX);
		if (pw_entry_flags(s.entry) & PW_REGION_SHARED)
			return true;
	}
	return false;
}

/* What was mapped there is free from now on, or dying as @flags say. */
static void set_gone(struct pw_heap *heap, const struct pw_span *s,
		     unsigned long flags)
{
	bool spare = pw_spare_set(heap, s->lo, s->hi, flags) ||
		     (!(pw_entry_flags(s->entry) & PW_REGION_SHARED) &&
		      pw_spare_add(heap, s->lo, s->hi, flags));

	if (!spare)
		pw_span_store(heap, s->lo, s->hi,
			      flags ? xa_mk_value(flags) : NULL, PW_GFP_UNMAP);
}

/*
 * Nothing was ever touched there: the addresses are free at once. A fault that
 * looked just before may still bring pages in; the second look finds them.
 */
static bool unmap_untouched(struct pw_heap *heap, struct pw_span *s)
{
	/* It takes a look at the VMAs, for which the lock is let go of. */
	if (unlikely(READ_ONCE(heap->split)))
		return false;
	if (!pw_spare_set(heap, s->lo, s->hi, 0)) {
		if (pw_range_populated(heap, s->lo, s->hi))
			return false;
		set_gone(heap, s, 0);
	}
	/* Pairs with the barrier in pw_chunk_lock_new(). */
	smp_mb();
	if (pw_range_populated(heap, s->lo, s->hi))
		return false;
	if (pw_entry_flags(s->entry) & PW_REGION_MAP)
		pw_heap_uncommit(heap, s->hi - s->lo,
				 entry_is_strict(s->entry), 0);
	return true;
}

/*
 * Pages are there. Until no PTE leads to them their addresses must not be given
 * out again, so they are marked and stay taken meanwhile.
 */
static void unmap_touched(struct pw_heap *heap, struct pw_span *s)
{
	bool strict = entry_is_strict(s->entry), done;
	unsigned long backed;

	pw_begin_drop(heap);
	set_gone(heap, s, PW_REGION_DYING | (pw_entry_flags(s->entry) & PW_REGION_LAZY));
	pw_unlock(&heap->lock);

	backed = pw_range_drop(heap, s->lo, s->hi, strict);
	/* Under a guard may be what an unmap had left, which has been counted off. */
	if (pw_entry_flags(s->entry) & PW_REGION_MAP)
		pw_heap_uncommit(heap, s->hi - s->lo, strict, backed);
	done = pw_bar_give_up(heap, s->lo, s->hi);
	pw_lock(&heap->lock);
	pw_end_drop(heap);
	if (!done)
		set_gone(heap, s, 0);
}

/* The common case, without a look at the tree: all of a spare range. */
static bool unmap_spare(struct pw_heap *heap, unsigned long lo,
			unsigned long hi)
{
	const struct pw_spare *spare = pw_spare_at(heap, lo, hi);
	unsigned long flags = spare ? spare->flags : 0;
	struct pw_span s = {
		.lo = lo, .hi = hi, .entry = xa_mk_value(flags),
	};

	if (!(flags & PW_REGION_MAP))
		return false;
	if (!unmap_untouched(heap, &s))
		unmap_touched(heap, &s);
	return true;
}

/*
 * The part of a span that may be unmapped; whole slots of what is shared, whatever
 * the protection of their parts. The lock is let go of between one map and the
 * next: a break, or a shared slot that the range cuts, may have come by then. A bar is
 * no map, and stays.
 */
static bool unmappable(const struct pw_span *s, unsigned long lo,
		       unsigned long hi, struct pw_span *part)
{
	*part = *s;
	if (pw_entry_flags(s->entry) & PW_REGION_SHARED) {
		part->lo = max(s->lo, ALIGN(lo, PW_SLOT_PAGES));
		part->hi = min(ALIGN(s->hi, PW_SLOT_PAGES),
			       ALIGN_DOWN(hi, PW_SLOT_PAGES));
	}
	return s->entry && s->entry != PW_BARRED && !pw_entry_is_break(s->entry) && part->lo < part->hi;
}

/**
 * pw_unmap_spans() - unmap every map in a range
 * @heap: whose
 * @lo: first page
 * @hi: page behind the last
 *
 * Context: pw_heap.unmap_lock held, and pw_heap.lock, which is let go of.
 */
void pw_unmap_spans(struct pw_heap *heap, unsigned long lo,
		    unsigned long hi)
{
	struct pw_span s, part;

	pw_lock_assert_held(&heap->unmap_lock);
	pw_for_each_span(s, heap, lo, hi) {
		if (!unmappable(&s, lo, hi, &part))
			continue;
		if (!unmap_untouched(heap, &part))
			unmap_touched(heap, &part);
		s.hi = max(s.hi, part.hi);
	}
}

/* Who asks for just these addresses has them, barred or not. */
static bool may_be_placed(struct pw_heap *heap, unsigned long lo, unsigned long hi)
{
	struct pw_span s;

	pw_for_each_span(s, heap, lo, hi)
		if (s.entry && s.entry != PW_BARRED)
			return false;
	return true;
}

/**
 * pw_clear_fixed() - make room for a new map at a fixed place, over bars, too
 * @heap: whose
 * @flags: PAGEWELL_MAP_
 * @lo: first page
 * @hi: page behind the last
 *
 * Context: as pw_unmap_spans() without PAGEWELL_MAP_FIXED_NOREPLACE, which needs
 * pw_heap.lock only.
 *
 * Return: 0, -EEXIST or -EINVAL.
 */
int pw_clear_fixed(struct pw_heap *heap, u32 flags, unsigned long lo,
		   unsigned long hi)
{
	if (flags & PAGEWELL_MAP_FIXED_NOREPLACE)
		return may_be_placed(heap, lo, hi) ? 0 : -EEXIST;
	do {
		if (pw_span_has_break(heap, lo, hi))
			return -EEXIST;
		if (cuts_shared(heap, lo, hi))
			return -EINVAL;
		pw_unmap_spans(heap, lo, hi);
		/* It let go of the lock: someone may have mapped there. */
	} while (!may_be_placed(heap, lo, hi));
	return 0;
}

/* A hint that makes no sense is none. */
static unsigned long hint_page(const struct pw_heap *heap, u64 addr)
{
	if (addr <= heap->base ||
	    addr - heap->base >= (u64)heap->window << PAGE_SHIFT)
		return 0;
	return (addr - heap->base) >> PAGE_SHIFT;
}

static int place_map(struct pw_heap *heap, struct pagewell_map *arg,
		     unsigned long nr, void *entry, unsigned long *page)
{
	unsigned long align = max_t(u64, arg->align >> PAGE_SHIFT, 1);
	unsigned long lo, hi;
	int err;

	if (heap->dead)
		return -ENXIO;
	if (pw_region_is_full(heap))
		return -ENOMEM;
	if (arg->flags & (PAGEWELL_MAP_FIXED | PAGEWELL_MAP_FIXED_NOREPLACE)) {
		err = pw_user_range(heap, arg->addr, arg->length, &lo, &hi);
		if (err)
			return err;
		*page = lo;
		err = pw_clear_fixed(heap, arg->flags, lo, hi);
	} else {
		unsigned long hint = hint_page(heap, arg->addr);
		struct pw_spare *spare = hint ? NULL : pw_spare_find(heap, nr, align);

		if (spare) {
			*page = spare->lo;
			WRITE_ONCE(spare->flags, pw_entry_flags(entry));
			return 0;
		}
		err = pw_find_gap(heap, hint, nr, align, page);
	}
	return err ?: pw_span_store(heap, *page, *page + nr, entry, PW_GFP_REGION);
}

static int check_map(struct pw_heap *heap, const struct pagewell_map *arg)
{
	const u32 fixed = PAGEWELL_MAP_FIXED | PAGEWELL_MAP_FIXED_NOREPLACE;
	unsigned long lo, hi;

	if (arg->flags & ~(fixed | PAGEWELL_MAP_POPULATE | PAGEWELL_MAP_GUARD))
		return -EINVAL;
	if ((arg->flags & fixed) == fixed)
		return -EINVAL;
	if ((arg->flags & PAGEWELL_MAP_GUARD) &&
	    (arg->flags & PAGEWELL_MAP_POPULATE))
		return -EINVAL;
	if (!arg->length || (arg->align && !is_power_of_2(arg->align)))
		return -EINVAL;
	if (arg->flags & fixed) {
		if (arg->align && !IS_ALIGNED(arg->addr, arg->align))
			return -EINVAL;
		return pw_user_range(heap, arg->addr, arg->length, &lo, &hi);
	}
	if (arg->length > (u64)heap->window << PAGE_SHIFT ||
	    arg->align > (u64)heap->window << PAGE_SHIFT)
		return -ENOMEM;
	return 0;
}

/* Does a range lie inside a map, with a rest on either side? */
static bool is_inside(struct pw_heap *heap, unsigned long lo, unsigned long hi)
{
	struct pw_span s = pw_span_at(heap, lo, 0, ULONG_MAX);

	return s.entry && s.lo < lo && s.hi > hi;
}

/* Unmap all maps in a range; @must: even if that makes one region too many. */
static int unmap(struct pw_heap *heap, unsigned long lo, unsigned long hi, bool must)
{
	int err = 0;

	pw_lock(&heap->unmap_lock);
	pw_lock(&heap->lock);
	if (unmap_spare(heap, lo, hi))
		;
	else if (pw_span_has_break(heap, lo, hi) || cuts_shared(heap, lo, hi))
		err = -EINVAL;
	else if (!must && pw_region_is_full(heap) && is_inside(heap, lo, hi))
		err = -ENOMEM;
	else
		pw_unmap_spans(heap, lo, hi);
	pw_unlock(&heap->lock);
	pw_unlock(&heap->unmap_lock);
	return err;
}

/**
 * pw_map() - map a region
 * @heap: the caller's
 * @arg: see PAGEWELL_IOC_MAP
 *
 * Return: 0, -EINVAL, -EEXIST, -ENOMEM, -ENXIO when the heap has lost its last VMA, or
 * -EINTR when the task is to die while pages are put in place.
 */
int pw_map(struct pw_heap *heap, struct pagewell_map *arg)
{
	bool strict = READ_ONCE(heap->commit) == PAGEWELL_COMMIT_STRICT;
	bool guard = arg->flags & PAGEWELL_MAP_GUARD;
	bool replace = arg->flags & PAGEWELL_MAP_FIXED;
	unsigned long nr, page;
	int err = check_map(heap, arg);

	if (err) {
		if (err == -ENOMEM)
			pw_heap_refused(heap, arg->length >> PAGE_SHIFT);
		return err;
	}
	nr = pw_pages_up(arg->length);
	if (!guard) {
		err = pw_heap_commit(heap, nr, strict);
		if (err)
			return err;
	}
	if (replace)
		pw_lock(&heap->unmap_lock);
	pw_lock(&heap->lock);
	err = place_map(heap, arg, nr, pw_map_entry(guard, strict), &page);
	pw_unlock(&heap->lock);
	if (replace)
		pw_unlock(&heap->unmap_lock);
	if (err) {
		if (!guard)
			pw_heap_uncommit(heap, nr, strict, 0);
		return err;
	}
	pw_stat_inc(map_calls);
	arg->addr = pw_heap_addr(heap, page);
	if (arg->flags & PAGEWELL_MAP_POPULATE) {
		err = pw_populate(heap, page, page + nr);
		/* It may have become a part of its neighbours. */
		if (err)
			unmap(heap, page, page + nr, true);
	} else if (!guard) {
		pw_populate_locked(heap, page, page + nr);
	}
	return err;
}

/**
 * pw_unmap() - unmap all maps in a range
 * @heap: the caller's
 * @addr: see PAGEWELL_IOC_UNMAP
 * @length: the same
 *
 * Return: 0, -EINVAL or -ENOMEM.
 */
int pw_unmap(struct pw_heap *heap, u64 addr, u64 length)
{
	unsigned long lo, hi;
	int err = pw_user_range(heap, addr, length, &lo, &hi);

	if (err)
		return err;
	pw_stat_inc(unmap_calls);
	return unmap(heap, lo, hi, false);
}

/**
 * pw_region_add_shared() - find addresses for a shared region and publish it
 * @heap: the caller's
 * @s: the region
 * @nr: its pages
 * @strict: the heap made it and has committed it
 * @addr: in: from where to look, out: where it is
 *
 * Return: 0, -ENOMEM or -ENXIO.
 */
int pw_region_add_shared(struct pw_heap *heap, struct pw_shared *s,
			 unsigned long nr, bool strict, u64 *addr)
{
	unsigned long page, hint = hint_page(heap, *addr);
	unsigned long flags = PW_REGION_MAP | PW_REGION_SHARED;
	int err;

	pw_lock(&heap->lock);
	err = heap->dead ? -ENXIO : pw_region_is_full(heap) ? -ENOMEM :
	      pw_find_gap(heap, hint, nr, PW_SLOT_PAGES, &page);
	if (err)
		goto out;
	err = pw_shared_install(heap, s, page >> PW_SLOT_SHIFT);
	if (err)
		goto out;
	err = pw_span_store(heap, page, page + nr,
			    xa_mk_value(strict ? flags : flags | PW_REGION_LAZY),
			    PW_GFP_REGION);
	if (err)
		pw_shared_uninstall(heap, page >> PW_SLOT_SHIFT, nr >> PW_SLOT_SHIFT);
	else
		*addr = pw_heap_addr(heap, page);
out:
	pw_unlock(&heap->lock);
	if (!err)
		pw_populate_locked(heap, page, page + nr);
	return err;
}
