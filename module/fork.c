// SPDX-License-Identifier: GPL-2.0-only
/*
 * fork.c - VMAs of a heap come and go
 *
 * open() is called when the kernel has copied a VMA: because it split one, and
 * then the heap has one VMA more; or because it forks, and then the child gets
 * a heap that shares the pages of this VMA with its parent's.
 *
 * In fork the mmap_locks of both are held for write, current is the parent,
 * and the parent's TLB is flushed after the last VMA.
 */
#include <linux/highmem.h>
#include <linux/mmu_notifier.h>
#include <linux/sched/coredump.h>
#include <linux/sched/mm.h>
#include <linux/userfaultfd_k.h>

#include "compat.h"
#include "heap.h"
#include "map.h"
#include "pool.h"
#include "stats.h"
#include "trace.h"

/**
 * pw_vma_set_prot() - have the page tables of a VMA say what its flags and vm_ops say
 * @vma: of a heap
 *
 * As of private memory where writes are to come to us.
 *
 * Context: mmap_lock held for write.
 */
void pw_vma_set_prot(struct vm_area_struct *vma)
{
	unsigned long flags = vma->vm_flags;

	if (vma->vm_ops == &pw_vm_ops_cow && (flags & VM_WRITE))
		flags &= ~VM_SHARED;
	WRITE_ONCE(vma->vm_page_prot, vm_get_page_prot(flags));
}

/* Writes to pages that are mapped read-only are ours from here on. */
static void use_cow_ops(struct vm_area_struct *vma)
{
	if (vma->vm_ops == &pw_vm_ops_cow)
		return;
	vma->vm_ops = &pw_vm_ops_cow;
	pw_vma_set_prot(vma);
}

static void use_plain_ops(struct vm_area_struct *vma)
{
	vma->vm_ops = &pw_vm_ops;
	pw_vma_set_prot(vma);
}

/*
 * May the heap go back to pw_vm_ops, as far as this slot goes? If so, its zero page is
 * unmapped, which needs the pfn_mkwrite of the others.
 */
static bool slot_is_private(struct pw_heap *heap, unsigned long slot)
{
	struct pw_chunk *c = pw_chunk_lock(heap, slot);
	bool private = !c || pw_chunk_is_private(c);

	if (private && c && !c->shared)
		pw_chunk_drop_zeros(heap, slot, c, 0, PW_SLOT_PAGES, true);
	if (c)
		pw_chunk_unlock(c);
	return private;
}

static bool is_private(struct pw_heap *heap)
{
	unsigned long slot;

	if (!heap->shares && !heap->zeros)
		return true;
	/* If others have pages still, that is soon seen where they had some. */
	if (!slot_is_private(heap, heap->shared_slot))
		return false;
	for (slot = 0; pw_slot_next(heap, &slot, ULONG_MAX); slot++) {
		if (!slot_is_private(heap, slot)) {
			heap->shared_slot = slot;
			return false;
		}
		cond_resched();
	}
	return true;
}

/**
 * pw_heap_vma() - the first VMA of a heap that ends behind an address
 * @heap: the caller's own
 * @addr: in its window
 *
 * Context: mmap_lock held.
 *
 * Return: the VMA, or NULL.
 */
struct vm_area_struct *pw_heap_vma(struct pw_heap *heap, unsigned long addr)
{
	unsigned long end = pw_heap_addr(heap, heap->window);
	struct vm_area_struct *vma;

	while (addr < end) {
		vma = find_vma_intersection(heap->mm, addr, end);
		if (!vma)
			break;
		if (pw_vma_is_ours(vma) && vma->vm_private_data == heap)
			return vma;
		addr = vma->vm_end;
	}
	return NULL;
}

static struct vm_area_struct *next_vma(struct pw_heap *heap,
				       struct vm_area_struct *vma)
{
	return pw_heap_vma(heap, vma ? vma->vm_end : heap->base);
}

/* Context: the mmap_lock of the heap's mm is held for write. */
#define for_each_heap_vma(vma, heap)					\
	for ((vma) = next_vma(heap, NULL); (vma);			\
	     (vma) = next_vma(heap, vma))

/**
 * pw_heap_begin_cow() - have writes to read-only entries come to us
 * @heap: the caller's own
 *
 * Context: pw_heap.unmap_lock held, and kept until a region that needs this is
 * published: pw_heap_end_cow() would take it back before. A fault asks again.
 *
 * Return: 0 or -EINTR.
 */
int pw_heap_begin_cow(struct pw_heap *heap)
{
	struct vm_area_struct *vma;

	if (READ_ONCE(heap->cow))
		return 0;
	if (mmap_write_lock_killable(heap->mm))
		return -EINTR;
	for_each_heap_vma(vma, heap) {
		pw_vma_start_write(vma);
		use_cow_ops(vma);
	}
	WRITE_ONCE(heap->cow, true);
	mmap_write_unlock(heap->mm);
	return 0;
}

/**
 * pw_heap_end_cow() - go back to the vm_ops without mkwrite, if nothing is shared
 * @heap: the caller's own
 *
 * Entries that are read-only still become writable without us then, so no
 * region may be read-only.
 */
void pw_heap_end_cow(struct pw_heap *heap)
{
	struct vm_area_struct *vma;

	WRITE_ONCE(heap->ask_cow, false);
	if (!READ_ONCE(heap->cow) || READ_ONCE(heap->nr_read))
		return;
	pw_lock(&heap->unmap_lock);
	if (mmap_write_lock_killable(heap->mm))
		goto out;
	/* A fault meanwhile could map the zero page behind is_private()'s back. */
	for_each_heap_vma(vma, heap)
		pw_vma_start_write(vma);
	if (!heap->dead && !heap->nr_read && is_private(heap)) {
		for_each_heap_vma(vma, heap)
			use_plain_ops(vma);
		heap->zeros = false;
		heap->shares = false;
		WRITE_ONCE(heap->cow, false);
	}
	mmap_write_unlock(heap->mm);
out:
	pw_unlock(&heap->unmap_lock);
}

/*
 * Before anything is shared: no page of the parent may be written unseen. Its
 * VMAs are locked for writing.
 */
static void protect_parent(struct pw_heap *parent)
{
	struct vm_area_struct *vma;

	for_each_heap_vma(vma, parent) {
		use_cow_ops(vma);
		/* The kernel tells whoever has the entries, too: a guest of KVM, say. */
		if (mm_has_notifiers(vma->vm_mm))
			pw_map_zap(vma, vma->vm_start, vma->vm_end - vma->vm_start);
		else
			pw_map_wrprotect(vma);
	}
	parent->cow = true;
	parent->shares = true;
}

static struct pw_heap *make_child(struct pw_heap *parent, struct mm_struct *mm)
{
	struct vm_area_struct *vma;
	struct pw_heap *child;

	child = pw_heap_create(mm, parent->family, parent->base,
			       parent->window, GFP_KERNEL | __GFP_NOFAIL);
	child->limit = READ_ONCE(parent->limit);
	child->commit = parent->commit;
	child->huge = parent->huge;
	child->mailbox = READ_ONCE(parent->mailbox);
	child->cow = true;
	child->shares = true;
	child->streams = parent->streams;
	/* What a fault brings from here on, the child's regions might not know. */
	for_each_heap_vma(vma, parent)
		pw_vma_start_write(vma);
	child->poisoned = parent->poisoned || pw_region_fork(child, parent);
	protect_parent(parent);
	pw_stat_inc(fork_heaps);
	trace_pw_fork(parent->id, child->id);
	return child;
}

/*
 * Someone else holds the page, and did before the fork: a device may be
 * writing to it for the parent, so the parent must keep this very page.
 */
static bool page_is_pinned(struct page *page)
{
	return pw_page_is_held(page, 0);
}

static bool has_pinned(struct pw_heap *parent, struct pw_chunk *c)
{
	bool pinned = test_bit(MMF_HAS_PINNED, &parent->mm->flags);
	unsigned int i;

	/*
	 * Who refers to one page of a block, without a pin, would lose it with a write to any
	 * other; unless the block is shared already, and the next write copies it anyway.
	 */
	if (c->block)
		return (pinned || pw_block_is_exclusive(c)) && pw_block_is_held(c, 0);
	if (!pinned)
		return false;
	for (i = 0; i < PW_SLOT_PAGES; i++)
		if (pw_pfn_is_page(c->pfn[i]) &&
		    page_is_pinned(pfn_to_page(c->pfn[i])))
			return true;
	return false;
}

/* A block that could not be cut is held as a whole. */
static bool must_copy(struct pw_heap *parent, struct pw_chunk *c,
		      struct page *page)
{
	return c->block || (test_bit(MMF_HAS_PINNED, &parent->mm->flags) &&
			    page_is_pinned(page));
}

/*
 * The child's entry for a page of the parent: the page, or a copy of it, which is
 * charged to the child as one that it makes itself.
 */
static u32 child_entry(struct pw_heap *child, struct pw_heap *parent,
		       struct pw_chunk *c, unsigned int i, struct pw_chunk *own)
{
	u32 pfn = c->pfn[i], new;

	if (!pw_pfn_is_page(pfn)) {
		pw_entry_share(pfn);
		return pfn;
	}
	if (!must_copy(parent, c, pfn_to_page(pfn))) {
		pw_entry_share(pfn);
		__set_bit(i, c->suspect);
		__set_bit(i, own->suspect);
		return pfn;
	}
	if (!pw_pool_alloc(&new, 1, 0))
		return PW_PFN_GONE;
	copy_highpage(pfn_to_page(new), pfn_to_page(pfn));
	pw_chunk_pay_copies(child, own, i, 1);
	pw_stat_inc(fork_copies);
	return new;
}

/* Page by page: where the chunk as a whole must not be shared. */
static void copy_chunk(struct pw_heap *child, struct pw_heap *parent,
		       unsigned long slot, struct pw_chunk *c,
		       unsigned long lo, unsigned long hi)
{
	struct pw_where where;
	struct pw_chunk *own = NULL;

	pw_chunk_cut(parent, slot, c);
	for (; lo < hi; lo++) {
		unsigned int i = lo & PW_SLOT_MASK;

		/* Pages that an unmap under way has not taken yet stay out. */
		if (!c->pfn[i] || !pw_region_lookup(child, lo, &where))
			continue;
		if (!own)
			own = pw_chunk_lock_child(child, slot);
		own->pfn[i] = child_entry(child, parent, c, i, own);
		pw_chunk_filled(own, i, 1);
		if (pw_pfn_is_packed(own->pfn[i]))
			pw_chunk_packed(child, own, 1);
		atomic_long_inc(&child->resident);
	}
	if (own)
		pw_chunk_unlock(own);
}

static void share_chunk(struct pw_heap *child, struct pw_heap *parent,
			unsigned long slot, unsigned long lo, unsigned long hi)
{
	unsigned long first = slot << PW_SLOT_SHIFT;
	struct pw_chunk *c = pw_chunk_lock(parent, slot);
	bool whole = lo <= first && hi >= first + PW_SLOT_PAGES;

	if (!c)
		return;
	if (c->shared || !c->nr) {
		/* The child has it with its regions, or has no use for it. */
		pw_chunk_unlock(c);
		return;
	}
	/* Whoever published before the regions were copied is counted by now. */
	smp_rmb();
	if (whole && !atomic_read(&parent->dying) && !has_pinned(parent, c)) {
		pw_chunk_share(child, slot, c);
		pw_stat_inc(fork_chunks);
	} else {
		copy_chunk(child, parent, slot, c, max(lo, first),
			   min(hi, first + PW_SLOT_PAGES));
	}
	pw_chunk_unlock(c);
}

static void share_range(struct pw_heap *child, struct pw_heap *parent,
			unsigned long lo, unsigned long hi)
{
	unsigned long slot = lo >> PW_SLOT_SHIFT;
	unsigned long last = (hi - 1) >> PW_SLOT_SHIFT;

	while (pw_slot_next(parent, &slot, last)) {
		share_chunk(child, parent, slot, lo, hi);
		if (slot++ == last)
			break;
		cond_resched();
	}
}

/* The child's heap: made by the first of its VMAs that is opened. */
static struct pw_heap *child_heap(struct pw_heap *parent, struct mm_struct *mm)
{
	struct pw_heap *child = pw_heap_get_by_mm(mm);

	if (!child)
		return make_child(parent, mm);
	/* Its VMAs hold the reference that counts. */
	pw_heap_put(child);
	return child;
}

#ifdef UFFD_FEATURE_WP_ASYNC
/*
 * From 6.7 on any VMA may be registered with a userfaultfd that only follows writes. Where
 * that gives up a VMA whose left neighbour is alike, the kernel begins to merge them, finds
 * that ours have a close() and must not be removed, and goes on from the neighbour: it meets
 * the same VMA again, which is a BUG_ON() of userfaultfd_unregister(). So no two VMAs of a
 * heap are alike: all but one have numbers, in flags that mean nothing.
 */
#define ID_SHIFT	43
#define ID_BITS		20
#define ID_MASK		GENMASK_ULL(ID_SHIFT + ID_BITS - 1, ID_SHIFT)

#ifdef VM_SEALED
static_assert(!(ID_MASK & VM_SEALED));
#endif
#ifdef VM_DROPPABLE
static_assert(!(ID_MASK & VM_DROPPABLE));
#endif
static_assert(!(ID_MASK & VM_UFFD_MINOR));

static void take_id(struct pw_heap *heap, struct vm_area_struct *vma)
{
	int id = ida_alloc_range(&heap->vma_ids, 1, BIT(ID_BITS) - 1,
				 GFP_KERNEL | __GFP_NOFAIL);

	pw_vm_flags_clear(vma, ID_MASK);
	/* Of a million there is none left: nobody may register, or merge, or grow that one. */
	pw_vm_flags_set(vma, id > 0 ? (unsigned long)id << ID_SHIFT : VM_MIXEDMAP);
}

static void take_child_id(struct pw_heap *child, struct vm_area_struct *vma)
{
	if (vma->vm_flags & ID_MASK)
		take_id(child, vma);
}

static void give_id(struct pw_heap *heap, const struct vm_area_struct *vma)
{
	unsigned long id = (vma->vm_flags & ID_MASK) >> ID_SHIFT;

	if (id)
		ida_free(&heap->vma_ids, id);
}
#else
static void take_id(struct pw_heap *heap, struct vm_area_struct *vma)
{
}

static void take_child_id(struct pw_heap *child, struct vm_area_struct *vma)
{
}

static void give_id(struct pw_heap *heap, const struct vm_area_struct *vma)
{
}
#endif

void pw_vma_open(struct vm_area_struct *vma)
{
	struct pw_heap *heap = vma->vm_private_data;
	struct pw_heap *child;

	if (heap->mm == vma->vm_mm) {
		pw_bar_look(heap, vma);
		heap->vmas++;
		take_id(heap, vma);
		return;
	}
	child = child_heap(heap, vma->vm_mm);
	pw_bar_look(child, vma);
	child->vmas++;
	take_child_id(child, vma);
	vma->vm_private_data = child;
	use_cow_ops(vma);
	if (!child->poisoned)
		share_range(child, heap, vma->vm_pgoff,
			    vma->vm_pgoff + vma_pages(vma));
}

/* Is there still a VMA of the heap for this page? */
static bool still_mapped(struct pw_heap *heap, unsigned long page,
			 const struct vm_area_struct *closing)
{
	unsigned long addr = pw_heap_addr(heap, page);
	struct vm_area_struct *vma;

	vma = find_vma_intersection(heap->mm, addr, addr + 1);
	return vma && vma != closing && pw_vma_is_ours(vma) &&
	       vma->vm_private_data == heap;
}

/*
 * Pages go with the VMA that showed them. Not so when it was a copy that
 * mremap() made and was refused, or half of a split that failed: then another
 * VMA shows the same pages.
 */
void pw_vma_close(struct vm_area_struct *vma)
{
	struct pw_heap *heap = vma->vm_private_data;

	give_id(heap, vma);
	if (!--heap->vmas) {
		pw_heap_kill(heap);
		return;
	}
	if (vma->vm_start == pw_heap_addr(heap, vma->vm_pgoff) &&
	    !still_mapped(heap, vma->vm_pgoff, vma)) {
		pw_bar_hole(heap, vma);
		pw_range_forget(heap, vma->vm_pgoff, vma->vm_pgoff + vma_pages(vma));
	}
}
