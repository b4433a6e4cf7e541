// SPDX-License-Identifier: GPL-2.0-only
/*
 * zap.c - page table entries go, the pages stay
 *
 * While its chunk is locked nothing new is mapped in a slot: what is unmapped then stays
 * unmapped until the lock is let go. A block is the exception, as the kernel maps it when
 * the chunk is unlocked already: until then it is locked as a page.
 *
 * pw_heap_zap() goes through a heap's own VMAs, and needs the mmap_lock; pw_family_zap()
 * finds those of all relatives by the inode, and does not.
 */
#include <linux/mmap_lock.h>
#include <linux/pagemap.h>
#include <linux/wait_bit.h>

#include "chunk.h"
#include "compat.h"
#include "heap.h"
#include "map.h"

/**
 * struct zap - pages are being unmapped from all heaps of a family
 * @node: in pw_family.zaps, in the order of @nr
 * @nr: counts them
 */
struct zap {
	struct list_head node;
	u64 nr;
};

static void begin_zap(struct pw_family *family, struct zap *zap)
{
	spin_lock(&family->zap_lock);
	zap->nr = ++family->last_zap;
	list_add_tail(&zap->node, &family->zaps);
	spin_unlock(&family->zap_lock);
}

static void end_zap(struct pw_family *family, struct zap *zap)
{
	spin_lock(&family->zap_lock);
	list_del(&zap->node);
	spin_unlock(&family->zap_lock);
	/* Pairs with the look of a waiter behind its way onto the queue. */
	smp_mb();
	wake_up_var(&family->zaps);
}

/* Is one of those that had begun when @last was the last one still under way? */
static bool zaps_until(struct pw_family *family, u64 last)
{
	struct zap *oldest;
	bool found;

	spin_lock(&family->zap_lock);
	oldest = list_first_entry_or_null(&family->zaps, struct zap, node);
	found = oldest && oldest->nr <= last;
	spin_unlock(&family->zap_lock);
	return found;
}

/**
 * pw_family_zap() - unmap pages from all heaps of a family
 * @heap: one of them
 * @page: the first, heap-relative
 * @nr: how many
 *
 * Hits whatever the others have there, which costs them a fault.
 */
void pw_family_zap(struct pw_heap *heap, unsigned long page, unsigned long nr)
{
	struct pw_family *family = heap->family;
	struct zap zap;

	begin_zap(family, &zap);
	unmap_mapping_range(family->inode->i_mapping, (loff_t)page << PAGE_SHIFT,
			    (loff_t)nr << PAGE_SHIFT, 1);
	end_zap(family, &zap);
}

/**
 * pw_family_wait() - let zaps by relatives come to their end
 * @heap: whose
 *
 * Pages that they unmapped, and nobody else has, have no references of it left. Zaps
 * that begin meanwhile are not waited for: a hostile relative may begin one after
 * the other.
 */
void pw_family_wait(struct pw_heap *heap)
{
	struct pw_family *family = heap->family;
	u64 last;

	if (likely(list_empty_careful(&family->zaps)))
		return;
	spin_lock(&family->zap_lock);
	last = family->last_zap;
	spin_unlock(&family->zap_lock);
	/* Asleep: who is at it may be waiting for our processor. */
	wait_var_event(&family->zaps, !zaps_until(family, last));
}

/**
 * pw_heap_zap() - unmap pages from all of a heap's VMAs
 * @heap: whose
 * @lo: first page
 * @hi: page behind the last
 *
 * Context: mmap_lock held for read.
 */
void pw_heap_zap(struct pw_heap *heap, unsigned long lo, unsigned long hi)
{
	unsigned long addr = pw_heap_addr(heap, lo);
	unsigned long end = pw_heap_addr(heap, hi);
	struct vm_area_struct *vma;

	mmap_assert_locked(heap->mm);
	while (addr < end) {
		unsigned long to;

		/* Nearly always there is one, and asking for it is cheaper. */
		vma = vma_lookup(heap->mm, addr) ?:
		      find_vma_intersection(heap->mm, addr, end);
		if (!vma)
			return;
		addr = max(addr, vma->vm_start);
		to = min(end, vma->vm_end);
		if (pw_vma_is_ours(vma) && vma->vm_private_data == heap)
			pw_map_zap(vma, addr, to - addr);
		addr = to;
	}
}

/**
 * pw_block_wait() - wait until nobody is about to map a block
 * @head: of it, in a chunk that is locked
 *
 * Who is about to has locked the page; the chunk's lock keeps others off.
 */
void pw_block_wait(struct page *head)
{
	lock_page(head);
	unlock_page(head);
}

/**
 * pw_block_unmap() - unmap a block from all heaps of a family
 * @heap: one of them
 * @slot: where it stands; the chunk is locked
 * @head: of the block
 */
void pw_block_unmap(struct pw_heap *heap, unsigned long slot,
		    struct page *head)
{
	pw_block_wait(head);
	pw_family_zap(heap, slot << PW_SLOT_SHIFT, PW_SLOT_PAGES);
}

/**
 * pw_chunk_drop_zeros() - unmap the zero page
 * @heap: whose
 * @slot: which
 * @c: its chunk, locked, not shared
 * @from: first entry
 * @to: entry behind the last
 * @mapped: it may be mapped
 *
 * Context: mmap_lock held, unless nothing is mapped there any more.
 */
void pw_chunk_drop_zeros(struct pw_heap *heap, unsigned long slot,
			 struct pw_chunk *c, unsigned int from,
			 unsigned int to, bool mapped)
{
	unsigned long first = slot << PW_SLOT_SHIFT;

	if (find_next_bit(c->zeros, to, from) >= to)
		return;
	if (mapped)
		pw_heap_zap(heap, first + from, first + to);
	bitmap_clear(c->zeros, from, to - from);
}

/**
 * pw_let_writers_in() - let go of the mmap_lock if somebody wants it for writing
 * @mm: whose, held for read, and again on return
 *
 * To be called between two slots: a long way holds up nobody's mmap(), nor faults
 * that wait behind that. What was known of VMAs is not known any more.
 */
void pw_let_writers_in(struct mm_struct *mm)
{
	if (mmap_lock_is_contended(mm)) {
		mmap_read_unlock(mm);
		mmap_read_lock(mm);
	}
	cond_resched();
}

static void unmap_in_slot(struct pw_heap *heap, unsigned long slot,
			  unsigned int from, unsigned int to)
{
	unsigned long first = slot << PW_SLOT_SHIFT;
	struct pw_chunk *c = pw_chunk_lock(heap, slot);

	if (!c)
		return;
	if (pw_chunk_has_entries(c, from, to)) {
		if (c->block)
			pw_block_wait(pfn_to_page(c->block));
		pw_heap_zap(heap, first + from, first + to);
	}
	pw_chunk_unlock(c);
}

/**
 * pw_range_unmap() - take page table entries out; the pages stay
 * @heap: the caller's own
 * @lo: first page
 * @hi: page behind the last
 *
 * What is touched from then on goes by the regions as they were published
 * before. Takes the mmap_lock for read.
 */
void pw_range_unmap(struct pw_heap *heap, unsigned long lo, unsigned long hi)
{
	unsigned long slot = lo >> PW_SLOT_SHIFT;
	unsigned long last = (hi - 1) >> PW_SLOT_SHIFT;

	mmap_read_lock(heap->mm);
	/* Pairs with the barrier in pw_chunk_lock_new(). */
	smp_mb();
	while (pw_slot_next(heap, &slot, last)) {
		unsigned long first = slot << PW_SLOT_SHIFT;

		unmap_in_slot(heap, slot, lo > first ? lo - first : 0,
			      min(hi - first, (unsigned long)PW_SLOT_PAGES));
		if (slot++ == last)
			break;
		pw_let_writers_in(heap->mm);
	}
	mmap_read_unlock(heap->mm);
}
