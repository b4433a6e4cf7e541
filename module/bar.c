// SPDX-License-Identifier: GPL-2.0-only
/*
 * bar.c - addresses that are not given out again
 *
 * What a program did to a part of the VMA stays with the addresses when its region is
 * gone: mprotect(), advice, a hole. It must not be met by who is given them next. So
 * they get back what they had; where that cannot be, because there is no VMA or it
 * has other regions too, they are barred: a guard of our own, until that has changed.
 *
 * A program that makes the hole while it unmaps the same addresses elsewhere may be
 * given them again all the same.
 */
#include <linux/mm.h>
#include <linux/mmap_lock.h>
#include <linux/pkeys.h>

#include "compat.h"
#include "heap.h"
#include "region.h"

#define PLAIN		(VM_READ | VM_WRITE)
#define KEY		ARCH_VM_PKEY_FLAGS
#define ADVISED		(VM_DONTCOPY | VM_DONTDUMP)

/* A key that all has, the last VMA, too, which growth makes larger, nobody misses. */
static unsigned long usual_flags(struct pw_heap *heap)
{
	unsigned long end = pw_heap_addr(heap, heap->window);
	struct vm_area_struct *first = pw_heap_vma(heap, heap->base);
	MA_STATE(mas, &heap->mm->mm_mt, end, end);
	struct vm_area_struct *last = mas_prev(&mas, heap->base);

	if (!first || !pw_vma_is_ours(last) || last->vm_private_data != heap ||
	    (first->vm_flags & KEY) != (last->vm_flags & KEY))
		return PLAIN;
	return PLAIN | (last->vm_flags & KEY);
}

/* May the pages of a VMA be read and written, as far as it goes, like any? */
static bool is_open(const struct vm_area_struct *vma, unsigned long usual)
{
	return (vma->vm_flags & (PLAIN | KEY)) == usual;
}

/* And has nothing else been done to it that would be missed later? */
static bool is_usual(const struct vm_area_struct *vma, unsigned long usual)
{
	return is_open(vma, usual) && !(vma->vm_flags & ADVISED);
}

/* No page of it is mapped. */
static void make_usual(struct vm_area_struct *vma, unsigned long usual)
{
	pw_vm_flags_clear(vma, PLAIN | KEY | ADVISED);
	pw_vm_flags_set(vma, usual);
	pw_vma_set_prot(vma);
}

static unsigned long page_of(const struct pw_heap *heap, unsigned long addr)
{
	return (addr - heap->base) >> PAGE_SHIFT;
}

/* The first bar in a range, and perhaps a map at a fixed place that has its by now. */
static struct pw_span bar_at(struct pw_heap *heap, unsigned long lo, unsigned long hi)
{
	MA_STATE(mas, &heap->bars, lo, lo);
	struct pw_span s = { .lo = hi, .hi = hi };

	if (lo >= hi)
		return s;
	rcu_read_lock();
	s.entry = mas_find(&mas, hi - 1);
	rcu_read_unlock();
	if (s.entry) {
		s.lo = max(mas.index, lo);
		s.hi = min(mas.last + 1, hi);
	}
	return s;
}

/**
 * pw_bar_note() - a range of a heap has been barred
 * @heap: whose
 * @lo: first page
 * @hi: page behind the last
 *
 * Context: pw_heap.lock held.
 */
void pw_bar_note(struct pw_heap *heap, unsigned long lo, unsigned long hi)
{
	mtree_store_range(&heap->bars, lo, hi - 1, PW_BARRED, PW_GFP_UNMAP);
	WRITE_ONCE(heap->split, true);
}

static void bar(struct pw_heap *heap, unsigned long lo, unsigned long hi)
{
	pw_span_store(heap, lo, hi, PW_BARRED, PW_GFP_UNMAP);
	pw_bar_note(heap, lo, hi);
}

static void unbar(struct pw_heap *heap, unsigned long lo, unsigned long hi)
{
	struct pw_span b, s;

	for (b = bar_at(heap, lo, hi); b.entry; b = bar_at(heap, b.hi, hi)) {
		pw_for_each_span(s, heap, b.lo, b.hi)
			if (s.entry == PW_BARRED)
				pw_span_store(heap, s.lo, s.hi, NULL, PW_GFP_UNMAP);
		mtree_store_range(&heap->bars, b.lo, b.hi - 1, NULL, PW_GFP_UNMAP);
	}
}

/* Page behind the VMA that lies before another one; behind it may be a foreign one. */
static unsigned long end_before(struct pw_heap *heap, const struct vm_area_struct *vma)
{
	MA_STATE(mas, &heap->mm->mm_mt, vma->vm_start, vma->vm_start);
	struct vm_area_struct *before = mas_prev(&mas, heap->base);

	return before && before->vm_end > heap->base ? page_of(heap, before->vm_end) : 0;
}

/**
 * pw_bar_look() - look at a VMA that a heap gets
 * @heap: whose
 * @vma: part of another one of the heap, or the first one, the lowest, of a child
 *
 * Context: mmap_lock held for write.
 */
void pw_bar_look(struct pw_heap *heap, const struct vm_area_struct *vma)
{
	if (heap->vmas || vma->vm_pgoff || !is_usual(vma, PLAIN))
		WRITE_ONCE(heap->split, true);
}

/* Is it one VMA, as if it had never been another, with nothing barred? */
static bool is_whole(struct pw_heap *heap)
{
	struct vm_area_struct *first = pw_heap_vma(heap, heap->base);

	return heap->vmas == 1 && first && !first->vm_pgoff && is_usual(first, PLAIN) &&
	       mtree_empty(&heap->bars);
}

/* The end is gone: nothing remembers it, and what is mapped next lies before it. */
static void cut_end(struct pw_heap *heap, const struct vm_area_struct *closing)
{
	unbar(heap, end_before(heap, closing), heap->window);
	pw_spare_flush(heap);
	if (is_whole(heap))
		WRITE_ONCE(heap->split, false);
}

/**
 * pw_bar_hole() - where a VMA was there is none any more
 * @heap: whose
 * @closing: the VMA, not the last that the heap has
 *
 * What is free there is not given out, unless it was the end: there the heap can grow
 * again. A process that ends asks for no addresses.
 *
 * Context: mmap_lock held.
 */
void pw_bar_hole(struct pw_heap *heap, struct vm_area_struct *closing)
{
	struct pw_span s;

	if (!atomic_read(&heap->mm->mm_users))
		return;
	if (!closing->vm_pgoff)
		WRITE_ONCE(heap->split, true);
	pw_lock(&heap->lock);
	if (!pw_heap_vma(heap, closing->vm_end))
		cut_end(heap, closing);
	else
		pw_for_each_span(s, heap, closing->vm_pgoff,
				 closing->vm_pgoff + vma_pages(closing))
			if (!s.entry)
				bar(heap, s.lo, s.hi);
	pw_unlock(&heap->lock);
}

/* Nothing to mend, and no bar that could be lifted. */
static bool is_plain(struct pw_heap *heap, unsigned long lo, unsigned long hi)
{
	unsigned long addr = pw_heap_addr(heap, lo), end = pw_heap_addr(heap, hi), usual;
	struct vm_area_struct *vma;
	bool plain = true;

	mmap_read_lock(heap->mm);
	usual = usual_flags(heap);
	for (; plain && addr < end; addr = vma->vm_end) {
		vma = pw_heap_vma(heap, addr);
		if (!vma)
			break;
		plain = vma->vm_start <= addr && is_usual(vma, usual) &&
			!bar_at(heap, page_of(heap, vma->vm_start),
				page_of(heap, vma->vm_end)).entry;
	}
	mmap_read_unlock(heap->mm);
	return plain;
}

/* Is there anything in a range that may be touched? */
static bool is_used(struct pw_heap *heap, unsigned long lo, unsigned long hi)
{
	struct pw_span s;

	pw_lock_assert_held(&heap->lock);
	pw_for_each_span(s, heap, lo, hi)
		if (pw_entry_flags(s.entry) & PW_REGION_MAP ||
		    (pw_entry_is_break(s.entry) &&
		     s.lo < pw_pages_up(READ_ONCE(((struct pw_break *)s.entry)->settled))))
			return true;
	return false;
}

/*
 * Are addresses fit for anybody, from @lo up to *@end, which is @hi at most? The VMA
 * may be made so, when nothing else is in it. It is still to come behind the last one.
 */
static bool mend(struct pw_heap *heap, unsigned long lo, unsigned long hi, unsigned long *end)
{
	struct vm_area_struct *vma = pw_heap_vma(heap, pw_heap_addr(heap, lo));
	unsigned long first, last, usual = usual_flags(heap);

	*end = hi;
	if (!vma)
		return true;
	first = page_of(heap, vma->vm_start);
	last = page_of(heap, vma->vm_end);
	*end = min(hi, lo < first ? first : last);
	if (lo < first)
		return false;
	if (!is_usual(vma, usual) && !pw_vma_is_sealed(vma) && !is_used(heap, first, last))
		make_usual(vma, usual);
	if (!is_open(vma, usual))
		return false;
	/* The program may have undone itself what they were for. */
	unbar(heap, first, last);
	return true;
}

/* A fault may wait for memory in a VMA that is to be changed: before pw_heap.lock is taken. */
static void begin_mending(struct pw_heap *heap, unsigned long lo, unsigned long hi)
{
	unsigned long addr = pw_heap_addr(heap, lo), end = pw_heap_addr(heap, hi), usual;
	struct vm_area_struct *vma;

	mmap_write_lock(heap->mm);
	usual = usual_flags(heap);
	for (; addr < end; addr = vma->vm_end) {
		vma = pw_heap_vma(heap, addr);
		if (!vma)
			break;
		if (!is_usual(vma, usual))
			pw_vma_start_write(vma);
	}
	pw_lock(&heap->lock);
}

static void end_mending(struct pw_heap *heap)
{
	pw_unlock(&heap->lock);
	mmap_write_unlock(heap->mm);
}

/**
 * pw_bar_give_up() - the addresses of what is gone are free, or barred
 * @heap: whose
 * @lo: first page; it and all up to @hi are marked, so nobody else changes them
 * @hi: page behind the last
 *
 * Return: false when nothing was done, as they are as free as any.
 */
bool pw_bar_give_up(struct pw_heap *heap, unsigned long lo, unsigned long hi)
{
	unsigned long end;

	if (likely(!READ_ONCE(heap->split)) || is_plain(heap, lo, hi))
		return false;
	begin_mending(heap, lo, hi);
	for (; lo < hi; lo = end) {
		if (mend(heap, lo, hi, &end))
			pw_span_store(heap, lo, end, NULL, PW_GFP_UNMAP);
		else
			bar(heap, lo, end);
	}
	end_mending(heap);
	return true;
}

/**
 * pw_bar_mend() - mend what a break has left, as far as it can be: it may grow there again
 * @heap: whose
 * @lo: first page
 * @hi: page behind the last
 */
void pw_bar_mend(struct pw_heap *heap, unsigned long lo, unsigned long hi)
{
	if (likely(!READ_ONCE(heap->split)) || is_plain(heap, lo, hi))
		return;
	begin_mending(heap, lo, hi);
	while (lo < hi)
		mend(heap, lo, hi, &lo);
	end_mending(heap);
}
