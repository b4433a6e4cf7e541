// SPDX-License-Identifier: GPL-2.0-only
/*
 * bar.c - addresses that are not given out again
 *
 * What a program did to a part of the VMA stays with the addresses when its region is
 * gone: mprotect(), advice, a hole. It must not be met by who is given them next. So
 * they get back what they had; where that cannot be, because there is no VMA or it
 * has other regions too, they are barred: a guard of our own, until that has changed.
 */
#include <linux/mmap_lock.h>

#include "heap.h"
#include "region.h"

/**
 * pw_bar_note() - a range of a heap has been barred
 * @heap: whose
 * @lo: first page
 * @hi: page behind the last
 *
 * That all bars lie between two pages is enough to find them by, and not for nothing.
 */
void pw_bar_note(struct pw_heap *heap, unsigned long lo, unsigned long hi)
{
	bool first = !pw_heap_has_bars(heap, 0, heap->window);

	WRITE_ONCE(heap->bar_lo, first ? lo : min(lo, heap->bar_lo));
	WRITE_ONCE(heap->bar_hi, first ? hi : max(hi, heap->bar_hi));
}

static void bar(struct pw_heap *heap, unsigned long lo, unsigned long hi)
{
	pw_span_store(heap, lo, hi, PW_BARRED, PW_GFP_UNMAP);
	pw_bar_note(heap, lo, hi);
}

static void unbar(struct pw_heap *heap, unsigned long lo, unsigned long hi)
{
	struct pw_span s;

	lo = max(lo, heap->bar_lo);
	hi = min(hi, heap->bar_hi);
	if (lo >= hi)
		return;
	pw_for_each_span(s, heap, lo, hi)
		if (s.entry == PW_BARRED)
			pw_span_store(heap, s.lo, s.hi, NULL, PW_GFP_UNMAP);
	if (lo == heap->bar_lo)
		WRITE_ONCE(heap->bar_lo, hi);
	else if (hi == heap->bar_hi)
		WRITE_ONCE(heap->bar_hi, lo);
}

/**
 * pw_bar_free() - do not give out addresses that are free
 * @heap: whose
 * @lo: first page of a range that has no VMA any more
 * @hi: page behind the last
 *
 * Context: mmap_lock held.
 */
void pw_bar_free(struct pw_heap *heap, unsigned long lo, unsigned long hi)
{
	struct pw_span s;

	pw_lock(&heap->lock);
	pw_for_each_span(s, heap, lo, hi)
		if (!s.entry)
			bar(heap, s.lo, s.hi);
	pw_unlock(&heap->lock);
}

static unsigned long page_of(const struct pw_heap *heap, unsigned long addr)
{
	return (addr - heap->base) >> PAGE_SHIFT;
}

/* Nothing to mend, and no bar that could be lifted. */
static bool is_plain(struct pw_heap *heap, unsigned long lo, unsigned long hi)
{
	unsigned long addr = pw_heap_addr(heap, lo), end = pw_heap_addr(heap, hi);
	struct vm_area_struct *vma;
	bool plain = true;

	mmap_read_lock(heap->mm);
	for (; plain && addr < end; addr = vma->vm_end) {
		vma = pw_heap_vma(heap, addr);
		if (!vma)
			break;
		plain = vma->vm_start <= addr && pw_vma_is_plain(vma) &&
			!pw_heap_has_bars(heap, page_of(heap, vma->vm_start),
					  page_of(heap, vma->vm_end));
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
		     s.lo < pw_pages_up(READ_ONCE(((struct pw_break *)s.entry)->brk))))
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
	unsigned long first, last;

	*end = hi;
	if (!vma)
		return true;
	first = page_of(heap, vma->vm_start);
	last = page_of(heap, vma->vm_end);
	*end = min(hi, lo < first ? first : last);
	if (lo < first)
		return false;
	if (!pw_vma_is_plain(vma) && !is_used(heap, first, last))
		pw_vma_make_plain(vma);
	if (!pw_vma_is_open(vma))
		return false;
	/* The program may have undone itself what they were for. */
	unbar(heap, first, last);
	return true;
}

/**
 * pw_give_up() - the addresses of what is gone are free, or barred
 * @heap: whose
 * @lo: first page
 * @hi: page behind the last
 *
 * Context: mmap_lock held for write, and pw_heap.lock.
 */
void pw_give_up(struct pw_heap *heap, unsigned long lo, unsigned long hi)
{
	unsigned long end;

	for (; lo < hi; lo = end) {
		if (mend(heap, lo, hi, &end))
			pw_span_store(heap, lo, end, NULL, PW_GFP_UNMAP);
		else
			bar(heap, lo, end);
	}
}

/**
 * pw_give_up_split() - the same for what is marked as dying
 * @heap: whose
 * @lo: first page
 * @hi: page behind the last
 *
 * Return: false when nothing was done, as they are as free as any.
 */
bool pw_give_up_split(struct pw_heap *heap, unsigned long lo, unsigned long hi)
{
	if (likely(!READ_ONCE(heap->split)) || is_plain(heap, lo, hi))
		return false;
	mmap_write_lock(heap->mm);
	pw_lock(&heap->lock);
	pw_give_up(heap, lo, hi);
	pw_unlock(&heap->lock);
	mmap_write_unlock(heap->mm);
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
	mmap_write_lock(heap->mm);
	pw_lock(&heap->lock);
	while (lo < hi)
		mend(heap, lo, hi, &lo);
	pw_unlock(&heap->lock);
	mmap_write_unlock(heap->mm);
}
