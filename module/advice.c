// SPDX-License-Identifier: GPL-2.0-only
/*
 * advice.c - what a program says of parts of its heap: protection, advice
 */
#include <linux/sched/signal.h>

#include "heap.h"
#include "region.h"

/* Call @fn for each part of [lo, hi) that may be touched, until it fails. */
static int for_each_mapped(struct pw_heap *heap, unsigned long lo,
			   unsigned long hi,
			   int (*fn)(struct pw_heap *heap, unsigned long lo,
				     unsigned long hi, bool promised))
{
	struct pw_where where;
	unsigned long end;
	int err = 0;

	for (; lo < hi && !err; lo = end) {
		if (pw_region_lookup(heap, lo, &where)) {
			end = min(where.hi, hi);
			err = fn(heap, lo, end, where.promised);
		} else {
			end = pw_span_at(heap, lo, lo, hi).hi;
		}
		cond_resched();
	}
	return err;
}

static int will_need(struct pw_heap *heap, unsigned long lo, unsigned long hi,
		     bool promised)
{
	int err = pw_populate(heap, lo, hi);

	return err == -EINTR ? err : 0;
}

/* What is promised stays promised: taking it would gain nobody a page. */
static int loosen(struct pw_heap *heap, unsigned long lo, unsigned long hi,
		  bool promised)
{
	if (!promised)
		pw_range_loosen(heap, lo, hi);
	return 0;
}

/* The same: a page that was promised is there. */
static int pack(struct pw_heap *heap, unsigned long lo, unsigned long hi,
		bool promised)
{
	if (!promised)
		pw_range_pack(heap, lo, hi);
	return fatal_signal_pending(current) ? -EINTR : 0;
}

/* Does a range begin or end inside a map? */
static bool cuts_map(struct pw_heap *heap, unsigned long lo, unsigned long hi)
{
	struct pw_span first = pw_span_at(heap, lo, 0, ULONG_MAX);
	struct pw_span behind = pw_span_at(heap, hi, 0, ULONG_MAX);

	return (first.lo < lo && pw_entry_flags(first.entry) & PW_REGION_MAP) ||
	       (behind.lo < hi && pw_entry_flags(behind.entry) & PW_REGION_MAP);
}

/* Other flags for the maps in a range, of those in @mask. */
static int change_flags(struct pw_heap *heap, unsigned long lo,
			unsigned long hi, unsigned long mask,
			unsigned long flags)
{
	struct pw_span s;
	int err = 0;

	pw_lock_assert_held(&heap->lock);
	if (pw_region_is_full(heap) && cuts_map(heap, lo, hi))
		return -ENOMEM;
	pw_for_each_span(s, heap, lo, hi) {
		unsigned long old = pw_entry_flags(s.entry);

		if (!(old & PW_REGION_MAP))
			continue;
		err = pw_span_store(heap, s.lo, s.hi,
				    xa_mk_value((old & ~mask) | flags),
				    PW_GFP_REGION);
		if (err)
			break;
	}
	return err;
}

/* A break has one page size for all of it. */
static int set_page_size(struct pw_heap *heap, unsigned long lo,
			 unsigned long hi, unsigned long size)
{
	struct pw_span s;
	int err;

	pw_lock(&heap->lock);
	err = change_flags(heap, lo, hi, PW_REGION_AUTO, size);
	if (!err) {
		pw_for_each_span(s, heap, lo, hi)
			if (pw_entry_is_break(s.entry))
				WRITE_ONCE(((struct pw_break *)s.entry)->huge, size);
	}
	pw_region_changed(heap);
	pw_unlock(&heap->lock);
	return err;
}

static int set_protection(struct pw_heap *heap, unsigned long lo,
			  unsigned long hi, unsigned long flags)
{
	int err;

	pw_lock(&heap->lock);
	if (pw_span_has_break(heap, lo, hi))
		err = -EINVAL;
	else if (!pw_span_is_mapped(heap, lo, hi))
		err = -ENOMEM;
	else
		err = change_flags(heap, lo, hi,
				   PW_REGION_READ | PW_REGION_NONE, flags);
	pw_unlock(&heap->lock);
	return err;
}

/**
 * pw_protect() - say what may be done to the maps in a range
 * @heap: the caller's
 * @addr: see PAGEWELL_IOC_PROTECT
 * @length: the same
 * @prot: the same
 *
 * Return: 0, -EINVAL, -ENOMEM or -EINTR.
 */
int pw_protect(struct pw_heap *heap, u64 addr, u64 length, u32 prot)
{
	const u32 both = PAGEWELL_PROT_READ | PAGEWELL_PROT_WRITE;
	unsigned long lo, hi, flags;
	int err;

	if (prot != PAGEWELL_PROT_NONE && prot != PAGEWELL_PROT_READ &&
	    prot != both)
		return -EINVAL;
	if (pw_user_range(heap, addr, length, &lo, &hi))
		return -EINVAL;
	flags = prot == both ? 0 :
		prot == PAGEWELL_PROT_READ ? PW_REGION_READ : PW_REGION_NONE;

	pw_lock(&heap->unmap_lock);
	/* Or else the kernel makes a page writable without asking. */
	err = prot == PAGEWELL_PROT_READ ? pw_heap_begin_cow(heap) : 0;
	if (!err)
		err = set_protection(heap, lo, hi, flags);
	if (!err && prot != both)
		pw_range_unmap(heap, lo, hi);
	if (err && !READ_ONCE(heap->nr_read))
		WRITE_ONCE(heap->ask_cow, true);
	pw_unlock(&heap->unmap_lock);
	return err;
}

/**
 * pw_advise() - advice about a range
 * @heap: the caller's
 * @addr: see PAGEWELL_IOC_ADVISE
 * @length: the same
 * @advice: the same
 *
 * Return: 0, -EINVAL, -ENOMEM, -EBUSY or -EINTR.
 */
int pw_advise(struct pw_heap *heap, u64 addr, u64 length, u32 advice)
{
	unsigned long lo, hi;
	int err;

	if (advice < PAGEWELL_ADVISE_POPULATE ||
	    advice > PAGEWELL_ADVISE_AUTOHUGEPAGE)
		return -EINVAL;
	if (!length)
		return 0;
	if (pw_user_range(heap, addr, length, &lo, &hi))
		return -EINVAL;
	switch (advice) {
	case PAGEWELL_ADVISE_POPULATE:
		/* Perhaps for a long-term pin, which the zero page prevents. */
		if (READ_ONCE(heap->zeros))
			WRITE_ONCE(heap->ask_cow, true);
		return pw_populate(heap, lo, hi);
	case PAGEWELL_ADVISE_WILLNEED:
		return for_each_mapped(heap, lo, hi, will_need);
	case PAGEWELL_ADVISE_HUGEPAGE:
		return set_page_size(heap, lo, hi, PW_REGION_HUGE);
	case PAGEWELL_ADVISE_NOHUGEPAGE:
		return set_page_size(heap, lo, hi, PW_REGION_SMALL);
	case PAGEWELL_ADVISE_HEAPHUGEPAGE:
		return set_page_size(heap, lo, hi, 0);
	case PAGEWELL_ADVISE_AUTOHUGEPAGE:
		return set_page_size(heap, lo, hi, PW_REGION_AUTO);
	case PAGEWELL_ADVISE_FREE:
		return for_each_mapped(heap, lo, hi, loosen);
	case PAGEWELL_ADVISE_COLD:
		return for_each_mapped(heap, lo, hi, pack);
	case PAGEWELL_ADVISE_COLLAPSE:
		return pw_collapse(heap, lo, hi);
	}
	pw_lock(&heap->unmap_lock);
	err = for_each_mapped(heap, lo, hi, pw_range_clear);
	pw_unlock(&heap->unmap_lock);
	return err;
}
