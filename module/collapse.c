// SPDX-License-Identifier: GPL-2.0-only
/*
 * collapse.c - one page of 2 MiB again where small ones are, when asked for it
 *
 * The opposite of what happens when a part of a slot goes its own way. Nobody
 * may touch the slot meanwhile, so this takes what a heap otherwise spares its
 * threads: the mmap_lock for writing, for a slot at a time.
 */
#include <linux/highmem.h>
#include <linux/sched/signal.h>

#include "compat.h"
#include "heap.h"
#include "map.h"
#include "pool.h"
#include "stats.h"

/* No error, and not a slot that can have a page of 2 MiB. */
#define NOT_ELIGIBLE	1

/* Maps that are one but for how they came to be are one (spare.c). */
static void settle_regions(struct pw_heap *heap, unsigned long first)
{
	pw_lock(&heap->lock);
	pw_spare_take_back(heap, first, first + PW_SLOT_PAGES, GFP_KERNEL_ACCOUNT);
	pw_unlock(&heap->lock);
}

/* May the slot be mapped by one entry? */
static bool is_eligible(struct pw_heap *heap, unsigned long first,
			struct vm_area_struct *vma, bool *promised)
{
	struct pw_where where;

	if (pw_vma_wants_small(vma) || vma->vm_pgoff > first ||
	    vma->vm_pgoff + vma_pages(vma) < first + PW_SLOT_PAGES)
		return false;
	if (!pw_region_lookup(heap, first, &where) ||
	    where.huge == PAGEWELL_HUGE_NEVER || where.lo > first ||
	    where.hi < first + PW_SLOT_PAGES)
		return false;
	*promised = where.promised;
	return true;
}

/* Of the pages that may move nobody else has any, by index or by reference. */
static bool pages_are_ours(const struct pw_chunk *c)
{
	unsigned int i;

	for_each_set_bit(i, c->used, PW_SLOT_PAGES)
		if (!pw_pfn_is_page(c->pfn[i]) || !pw_chunk_may_take(c, i))
			return false;
	return true;
}

static void copy_pages(const struct pw_chunk *c, u32 to)
{
	unsigned int i;

	for (i = 0; i < PW_SLOT_PAGES; i++) {
		if (c->pfn[i])
			copy_highpage(pfn_to_page(to + i),
				      pfn_to_page(c->pfn[i]));
		else
			clear_highpage(pfn_to_page(to + i));
		cond_resched();
	}
}

/* The slot is unmapped, and its small pages are the heap's alone. */
static void move_to_block(struct pw_heap *heap, unsigned long slot,
			  struct pw_chunk *c, u32 block, bool promised)
{
	DECLARE_BITMAP(holes, PW_SLOT_PAGES);
	unsigned int i;

	if (!promised) {
		for_each_set_bit(i, c->used, PW_SLOT_PAGES)
			pw_chunk_take_charge(heap, c, i);
		c->payer = heap;
		bitmap_complement(holes, c->used, PW_SLOT_PAGES);
		bitmap_or(c->paid, c->paid, holes, PW_SLOT_PAGES);
	}
	copy_pages(c, block);
	pw_chunk_keep(c, 0, PW_SLOT_PAGES);
	pw_chunk_empty(c);
	bitmap_zero(c->suspect, PW_SLOT_PAGES);
	bitmap_zero(c->zeros, PW_SLOT_PAGES);
	pw_chunk_set_block(heap, slot, c, block);
	pw_stat_inc(huge_collapsed);
}

/*
 * A block, whosever else it is, needs no more than to be without a page table.
 * Small pages need that too, and it is the last step that may fail.
 */
static int collapse_chunk(struct pw_heap *heap, unsigned long slot,
			  struct pw_chunk *c, struct vm_area_struct *vma,
			  bool promised)
{
	unsigned long addr = pw_heap_addr(heap, slot << PW_SLOT_SHIFT);
	unsigned int holes = PW_SLOT_PAGES - c->nr;
	bool small = c->nr && !c->block;
	unsigned long used;
	u32 block = 0;

	if (!small && !pw_map_has_table(vma, addr))
		return 0;
	if (small && (c->users > 1 || c->shared))
		return -EBUSY;
	if (small && c->packed && !pw_chunk_unpack(heap, c, 0, PW_SLOT_PAGES))
		return -ENOMEM;
	if (small) {
		block = pw_heap_swap_block(heap, holes, promised, &used);
		if (!block)
			return -ENOMEM;
	}
	pw_map_zap(vma, addr, PW_SLOT_BYTES);
	pw_family_wait(heap);
	if ((small && !pages_are_ours(c)) || !pw_map_free_table(vma, addr)) {
		if (small)
			pw_heap_unswap_block(heap, block, holes, promised, used);
		return -EBUSY;
	}
	if (small)
		move_to_block(heap, slot, c, block, promised);
	return 0;
}

/* No chunk, so no page either, and no fault that could bring one now: only a table. */
static int collapse_empty(struct vm_area_struct *vma, unsigned long addr)
{
	return pw_map_free_table(vma, addr) ? 0 : -EBUSY;
}

static int collapse_locked(struct pw_heap *heap, unsigned long slot)
{
	unsigned long first = slot << PW_SLOT_SHIFT;
	unsigned long addr = pw_heap_addr(heap, first);
	struct vm_area_struct *vma;
	struct pw_chunk *c;
	int err = NOT_ELIGIBLE;
	bool promised;

	vma = find_vma_intersection(heap->mm, addr, addr + 1);
	if (!vma || !pw_vma_is_ours(vma) || vma->vm_private_data != heap)
		return NOT_ELIGIBLE;
	settle_regions(heap, first);
	if (!is_eligible(heap, first, vma, &promised))
		return NOT_ELIGIBLE;
	pw_vma_start_write(vma);
	c = pw_chunk_lock(heap, slot);
	if (!c)
		return collapse_empty(vma, addr);
	/* The regions may have changed until the chunk was locked. */
	if (is_eligible(heap, first, vma, &promised))
		err = collapse_chunk(heap, slot, c, vma, promised);
	pw_chunk_unlock(c);
	return err;
}

static int collapse_slot(struct pw_heap *heap, unsigned long slot)
{
	int err = NOT_ELIGIBLE;

	if (mmap_write_lock_killable(heap->mm))
		return -EINTR;
	if (!heap->dead && !heap->poisoned)
		err = collapse_locked(heap, slot);
	mmap_write_unlock(heap->mm);
	return err;
}

/**
 * pw_collapse() - pages of 2 MiB instead of small ones
 * @heap: the caller's own
 * @lo: first page
 * @hi: page behind the last; slots that lie partly in the range stay as they are
 *
 * What can be done is done, also behind what cannot.
 *
 * Return: 0; -EINVAL when no whole slot of the range lies in a region and VMA
 * that may have pages of 2 MiB; -EBUSY when one has pages that somebody else
 * has or refers to; -ENOMEM when no page of 2 MiB could be had; -EINTR.
 */
int pw_collapse(struct pw_heap *heap, unsigned long lo, unsigned long hi)
{
	unsigned long slot = DIV_ROUND_UP(lo, PW_SLOT_PAGES);
	int err, ret = -EINVAL;

	for (; (slot + 1) << PW_SLOT_SHIFT <= hi; slot++) {
		/* The lock looks for signals only when somebody else has it. */
		err = fatal_signal_pending(current) ? -EINTR : collapse_slot(heap, slot);
		if (err == -EINTR)
			return err;
		if (err != NOT_ELIGIBLE && (!ret || ret == -EINVAL))
			ret = err;
		cond_resched();
	}
	return ret;
}
