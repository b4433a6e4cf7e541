/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * region.h - the tree of regions, for those who change it
 *
 *   bar.c mmap.c brk.c remap.c advice.c   what is done, call by call
 *   region.c spare.c                      the tree
 */
#ifndef PAGEWELL_REGION_H
#define PAGEWELL_REGION_H

#include <linux/xarray.h>

#include "heap.h"

/* For changes that may fail, and for those that must not, as something is gone already. */
#define PW_GFP_REGION	GFP_KERNEL_ACCOUNT
#define PW_GFP_UNMAP	(GFP_KERNEL_ACCOUNT | __GFP_NOFAIL)

/* What the tree has for a bar. */
#define PW_BAR		(PW_REGION_GUARD | PW_REGION_BARRED)
#define PW_BARRED	xa_mk_value(PW_BAR)

/**
 * struct pw_span - a range of pages, and what the tree has there
 * @lo: the first one
 * @hi: behind the last
 * @entry: a break, the flags of a map as a value, NULL when free
 */
struct pw_span {
	unsigned long lo;
	unsigned long hi;
	void *entry;
};

static inline unsigned long pw_entry_flags(const void *entry)
{
	return xa_is_value(entry) ? xa_to_value(entry) : 0;
}

static inline bool pw_entry_is_break(const void *entry)
{
	return entry && !xa_is_value(entry);
}

/* The entry of a new map. */
static inline void *pw_map_entry(bool guard, bool strict)
{
	if (guard)
		return xa_mk_value(PW_REGION_GUARD);
	return xa_mk_value(strict ? PW_REGION_MAP :
				    PW_REGION_MAP | PW_REGION_LAZY);
}

static inline unsigned long pw_pages_up(unsigned long bytes)
{
	return PAGE_ALIGN(bytes) >> PAGE_SHIFT;
}

/* region.c */
struct pw_span pw_span_at(struct pw_heap *heap, unsigned long page, unsigned long lo,
			  unsigned long hi);
int pw_span_store(struct pw_heap *heap, unsigned long lo, unsigned long hi, void *entry,
		  gfp_t gfp);
bool pw_span_is_free(struct pw_heap *heap, unsigned long lo, unsigned long hi);
bool pw_span_is_mapped(struct pw_heap *heap, unsigned long lo, unsigned long hi);
bool pw_span_has_break(struct pw_heap *heap, unsigned long lo, unsigned long hi);
bool pw_region_is_full(const struct pw_heap *heap);
int pw_find_gap(struct pw_heap *heap, unsigned long hint, unsigned long nr,
		unsigned long align, unsigned long *page);
int pw_user_range(struct pw_heap *heap, u64 addr, u64 length, unsigned long *lo,
		  unsigned long *hi);

/* bar.c */
void pw_bar_note(struct pw_heap *heap, unsigned long lo, unsigned long hi);
bool pw_bar_give_up(struct pw_heap *heap, unsigned long lo, unsigned long hi);
void pw_bar_mend(struct pw_heap *heap, unsigned long lo, unsigned long hi);

/* brk.c */
int pw_brk_fork(struct pw_heap *child, const struct pw_break *b, unsigned long end);
void pw_brk_forget(struct pw_heap *heap);

/* mmap.c */
void pw_populate_locked(struct pw_heap *heap, unsigned long lo, unsigned long hi);
void pw_unmap_spans(struct pw_heap *heap, unsigned long lo, unsigned long hi);
int pw_clear_fixed(struct pw_heap *heap, u32 flags, unsigned long lo, unsigned long hi);

/* There may be millions, and who goes through them holds nothing but mutexes. */
static inline struct pw_span pw_span_behind(struct pw_heap *heap, const struct pw_span *s,
					    unsigned long hi)
{
	cond_resched();
	return s->hi < hi ? pw_span_at(heap, s->hi, s->hi, hi) :
			    (struct pw_span){ .lo = hi, .hi = hi };
}

#define pw_for_each_span(s, heap, _lo, _hi)				\
	for ((s) = pw_span_at(heap, _lo, _lo, _hi); (s).lo < (_hi);	\
	     (s) = pw_span_behind(heap, &(s), _hi))

#endif /* PAGEWELL_REGION_H */
