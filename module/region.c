// SPDX-License-Identifier: GPL-2.0-only
/*
 * region.c - what may be touched: the tree of breaks and maps
 *
 * The tree maps heap pages to what they belong to: a pointer for a break and
 * all of its reserve, flags for a map, nothing for free addresses. Adjacent
 * maps of the same kind are one entry. Faults look here under RCU alone, so
 * every change is published first and its consequences (pages, PTEs) follow;
 * faults look again once they hold the chunk.
 */
#include <linux/moduleparam.h>
#include <linux/uaccess.h>

#include "heap.h"
#include "region.h"

static unsigned int max_regions = 16 << 20;
module_param(max_regions, uint, 0644);
MODULE_PARM_DESC(max_regions, "regions that one heap may have");

static bool is_read_only(const void *entry)
{
	return pw_entry_flags(entry) & PW_REGION_READ;
}

/**
 * pw_span_at() - what the tree has for a page, and as far as it goes
 * @heap: whose
 * @page: heap-relative
 * @lo: the answer is cut to begin here,
 * @hi: and to end here
 *
 * Return: the entry, or the gap, that @page lies in.
 */
struct pw_span pw_span_at(struct pw_heap *heap, unsigned long page,
			  unsigned long lo, unsigned long hi)
{
	MA_STATE(mas, &heap->regions, page, page);
	struct pw_span s;

	rcu_read_lock();
	s.entry = pw_spare_walk(heap, &mas);
	rcu_read_unlock();
	s.lo = max(mas.index, lo);
	s.hi = mas.last >= hi ? hi : mas.last + 1;
	return s;
}

void pw_region_init(struct pw_heap *heap)
{
	mt_init_flags(&heap->regions, MT_FLAGS_ALLOC_RANGE | MT_FLAGS_USE_RCU);
	mt_init_flags(&heap->bars, MT_FLAGS_USE_RCU);
	atomic_long_set(&heap->layout, 1);
}

/**
 * pw_region_destroy() - free the tree and the breaks
 * @heap: nobody else uses it any more
 */
void pw_region_destroy(struct pw_heap *heap)
{
	pw_brk_forget(heap);
	mtree_destroy(&heap->bars);
	mtree_destroy(&heap->regions);
}

/* What the flags of a region say about page size, or else the heap. */
static u32 huge_policy(const struct pw_heap *heap, unsigned long flags)
{
	switch (flags & PW_REGION_AUTO) {
	case 0:
		return READ_ONCE(heap->huge);
	case PW_REGION_HUGE:
		return PAGEWELL_HUGE_ALWAYS;
	case PW_REGION_SMALL:
		return PAGEWELL_HUGE_NEVER;
	default:
		return PAGEWELL_HUGE_AUTO;
	}
}

static u32 protection(unsigned long flags)
{
	if (flags & PW_REGION_NONE)
		return PAGEWELL_PROT_NONE;
	if (flags & PW_REGION_READ)
		return PAGEWELL_PROT_READ;
	return PAGEWELL_PROT_READ | PAGEWELL_PROT_WRITE;
}

static bool break_lookup(const struct pw_break *b, unsigned long page,
			 struct pw_where *where)
{
	unsigned long end = pw_pages_up(READ_ONCE(b->brk));
	unsigned long strict = min(READ_ONCE(b->strict_from), end);

	if (page >= end)
		return false;
	where->promised = page >= strict;
	where->lo = where->promised ? strict : b->start;
	where->hi = where->promised ? end : strict;
	where->prot = PAGEWELL_PROT_READ | PAGEWELL_PROT_WRITE;
	where->control = b->control;
	return true;
}

/**
 * pw_region_lookup() - may a page be touched?
 * @heap: where
 * @page: heap-relative
 * @where: filled in when it may
 *
 * Takes no lock. The answer holds for as long as the caller holds the chunk
 * that it had locked before it asked: whoever takes pages away publishes that
 * first and locks the chunk then.
 *
 * Return: true when it may.
 */
bool pw_region_lookup(struct pw_heap *heap, unsigned long page,
		      struct pw_where *where)
{
	MA_STATE(mas, &heap->regions, page, page);
	bool ok = false;
	void *entry;

	rcu_read_lock();
	entry = pw_spare_walk(heap, &mas);
	if (pw_entry_is_break(entry)) {
		const struct pw_break *b = entry;

		ok = break_lookup(b, page, where);
		where->huge = huge_policy(heap, READ_ONCE(b->huge));
	} else if (pw_entry_flags(entry) & PW_REGION_MAP) {
		where->lo = mas.index;
		where->hi = mas.last + 1;
		where->promised = !(pw_entry_flags(entry) & PW_REGION_LAZY);
		where->prot = protection(pw_entry_flags(entry));
		where->huge = huge_policy(heap, pw_entry_flags(entry));
		where->control = NULL;
		ok = true;
	}
	rcu_read_unlock();
	return ok;
}

/**
 * pw_region_unpromised() - was nothing promised for a page?
 * @heap: whose
 * @page: heap-relative
 * @end: the answer is the same for all up to here
 *
 * Unlike pw_region_lookup() it knows of pages that are being moved, too.
 *
 * Context: no matter; the page's chunk is locked.
 *
 * Return: true for those of a lazy region; false also where there is no region, or a
 * guard, so it is not the opposite of pw_region_promised().
 */
bool pw_region_unpromised(struct pw_heap *heap, unsigned long page,
			  unsigned long *end)
{
	MA_STATE(mas, &heap->regions, page, page);
	struct pw_where where = { .promised = true };
	void *entry;

	rcu_read_lock();
	entry = pw_spare_walk(heap, &mas);
	*end = min(mas.last, heap->window) + 1;
	if (!pw_entry_is_break(entry))
		where.promised = !(pw_entry_flags(entry) & PW_REGION_LAZY);
	else if (break_lookup(entry, page, &where))
		*end = where.hi;
	rcu_read_unlock();
	return !where.promised;
}

/**
 * pw_region_promised() - does a promise of the heap stand behind a page?
 * @heap: whose
 * @page: heap-relative
 * @end: the answer is the same for all up to here
 *
 * Of pages that are being moved or unmapped, too, and of those that a break that has
 * shrunk is leaving: there are no others behind it.
 *
 * Context: no matter; the page's chunk is locked.
 *
 * Return: true for those of a strict region; false also where there is no region, or a
 * guard.
 */
bool pw_region_promised(struct pw_heap *heap, unsigned long page, unsigned long *end)
{
	MA_STATE(mas, &heap->regions, page, page);
	unsigned long flags, strict;
	bool promised;
	void *entry;

	rcu_read_lock();
	entry = pw_spare_walk(heap, &mas);
	*end = min(mas.last, heap->window) + 1;
	if (pw_entry_is_break(entry)) {
		strict = READ_ONCE(((struct pw_break *)entry)->strict_from);
		promised = page >= strict;
		if (!promised)
			*end = strict;
	} else {
		flags = pw_entry_flags(entry);
		promised = flags & (PW_REGION_MAP | PW_REGION_DYING) &&
			   !(flags & PW_REGION_LAZY);
	}
	rcu_read_unlock();
	return promised;
}

/**
 * pw_region_passed() - does a page lie behind the break as the program keeps it?
 * @heap: whose
 * @page: heap-relative, in a region
 * @where: what pw_region_lookup() said
 *
 * Nothing is trusted to the program's word, so it does not matter when it is
 * read, or that it may not be. It belongs to the process that the heap does.
 */
bool pw_region_passed(struct pw_heap *heap, unsigned long page,
		      const struct pw_where *where)
{
	u64 word;
	int err;

	if (!where->control || current->mm != heap->mm)
		return false;
	pagefault_disable();
	err = __get_user(word, where->control);
	pagefault_enable();
	return !err && word >= heap->base &&
	       page >= DIV_ROUND_UP_ULL(word - heap->base, PAGE_SIZE);
}

/**
 * pw_region_count() - regions and breaks, more or less while they change
 * @heap: whose
 */
unsigned long pw_region_count(struct pw_heap *heap)
{
	unsigned long nr = READ_ONCE(heap->nr_entries), more = pw_spare_count(heap);

	return nr - min(nr, more);
}

/**
 * pw_region_store() - change what the tree holds, and count its entries
 * @heap: whose
 * @lo: first page
 * @hi: page behind the last
 * @entry: for them
 * @gfp: for the tree
 *
 * Context: pw_heap.lock held.
 *
 * Return: 0 or -ENOMEM.
 */
int pw_region_store(struct pw_heap *heap, unsigned long lo, unsigned long hi,
		    void *entry, gfp_t gfp)
{
	MA_STATE(mas, &heap->regions, lo, lo);
	long more = entry ? 1 : 0, more_read = is_read_only(entry);
	void *old;
	int err;

	pw_lock_assert_held(&heap->lock);
	rcu_read_lock();
	mas_for_each(&mas, old, hi - 1) {
		/* Gone, but for what sticks out on either side. */
		long n = (mas.index < lo) + (mas.last >= hi) - 1;

		more += n;
		if (is_read_only(old))
			more_read += n;
		if (mas.last >= hi - 1)
			break;
	}
	rcu_read_unlock();
	err = mtree_store_range(&heap->regions, lo, hi - 1, entry, gfp);
	if (!err) {
		WRITE_ONCE(heap->nr_entries, heap->nr_entries + more);
		WRITE_ONCE(heap->nr_read, heap->nr_read + more_read);
		if (more_read && !heap->nr_read)
			WRITE_ONCE(heap->ask_cow, true);
	}
	return err;
}

/**
 * pw_region_is_full() - has a heap as many regions as it may have?
 * @heap: whose
 *
 * The tree is the kernel's memory, and a guard costs the program nothing: there is an
 * end to what may be split or added.
 */
bool pw_region_is_full(const struct pw_heap *heap)
{
	return READ_ONCE(heap->nr_entries) >= READ_ONCE(max_regions);
}

/**
 * pw_span_store() - change what the tree holds, as one with equal maps on either side
 * @heap: whose
 * @lo: first page
 * @hi: page behind the last
 * @entry: for them; NULL: free
 * @gfp: for the tree, PW_GFP_
 *
 * Context: pw_heap.lock held.
 *
 * Return: 0, or -ENOMEM with PW_GFP_REGION.
 */
int pw_span_store(struct pw_heap *heap, unsigned long lo, unsigned long hi,
		  void *entry, gfp_t gfp)
{
	int err;

	pw_lock_assert_held(&heap->lock);

	if (pw_entry_flags(entry) & (PW_REGION_MAP | PW_REGION_GUARD)) {
		struct pw_span s;

		if (lo) {
			s = pw_span_at(heap, lo - 1, 0, lo);
			if (s.entry == entry)
				lo = s.lo;
		}
		s = pw_span_at(heap, hi, hi, ULONG_MAX);
		if (s.entry == entry)
			hi = s.hi;
	}
	err = pw_spare_take_back(heap, lo, hi, gfp) ?:
	      pw_region_store(heap, lo, hi, entry, gfp);
	pw_region_changed(heap);
	return err;
}

/* The end of the first region that reaches into a range, up to @hi; 0: it is free. */
static unsigned long first_taken(struct pw_heap *heap, unsigned long lo, unsigned long hi)
{
	struct pw_span s;

	pw_for_each_span(s, heap, lo, hi)
		if (s.entry)
			return s.hi;
	return 0;
}

/**
 * pw_span_is_free() - is nothing at all in a range?
 * @heap: whose
 * @lo: first page
 * @hi: page behind the last
 */
bool pw_span_is_free(struct pw_heap *heap, unsigned long lo, unsigned long hi)
{
	return !first_taken(heap, lo, hi);
}

/* So many gaps that have no aligned place are passed over one by one. */
#define GAPS_TRIED	16

/* First page of the lowest gap of @size pages at or above @from. */
static int find_room(struct pw_heap *heap, unsigned long from, unsigned long size,
		     unsigned long *page)
{
	MA_STATE(mas, &heap->regions, 0, 0);
	int err;

	if (size > heap->window || from > heap->window - size)
		return -ENOMEM;
	mas_lock(&mas);
	err = mas_empty_area(&mas, from, heap->window - 1, size);
	mas_unlock(&mas);
	*page = mas.index;
	return err ? -ENOMEM : 0;
}

/*
 * The same, aligned. Most gaps are aligned as they are, or have room to align in; when
 * many have not, one is looked for that has in any case.
 */
static int find_gap_from(struct pw_heap *heap, unsigned long from,
			 unsigned long nr, unsigned long align,
			 unsigned long *page)
{
	unsigned long base = heap->base >> PAGE_SHIFT, gap;
	int tries;

	for (tries = 0; tries < GAPS_TRIED; tries++) {
		if (find_room(heap, from, nr, &gap))
			return -ENOMEM;
		*page = ALIGN(base + gap, align) - base;
		if (*page == gap)
			return 0;
		if (*page > heap->window - nr)
			return -ENOMEM;
		from = first_taken(heap, *page, *page + nr);
		if (!from)
			return 0;
	}
	if (find_room(heap, from, nr + align - 1, &gap))
		return -ENOMEM;
	*page = ALIGN(base + gap, align) - base;
	return 0;
}

/**
 * pw_find_gap() - the lowest free addresses
 * @heap: whose
 * @hint: page to look from first, 0: from the bottom
 * @nr: how many pages
 * @align: of the address, in pages
 * @page: set to the first one
 *
 * Context: pw_heap.lock held.
 *
 * Return: 0 or -ENOMEM.
 */
int pw_find_gap(struct pw_heap *heap, unsigned long hint, unsigned long nr,
		unsigned long align, unsigned long *page)
{
	pw_lock_assert_held(&heap->lock);

	pw_spare_flush(heap);
	if (hint && !find_gap_from(heap, hint, nr, align, page))
		return 0;
	return find_gap_from(heap, 0, nr, align, page);
}

/**
 * pw_region_end() - behind what is taken, reserves of breaks and bars too, all is free
 * @heap: whose
 *
 * Return: a page, 0 when nothing is taken.
 */
unsigned long pw_region_end(struct pw_heap *heap)
{
	struct pw_span s = { .lo = heap->window };

	pw_lock(&heap->lock);
	do
		s = pw_span_at(heap, s.lo - 1, 0, heap->window);
	while (!s.entry && s.lo);
	pw_unlock(&heap->lock);
	return s.entry ? s.hi : 0;
}

/**
 * pw_span_has_break() - does a break, or its reserve, reach into a range?
 * @heap: whose
 * @lo: first page
 * @hi: page behind the last
 */
bool pw_span_has_break(struct pw_heap *heap, unsigned long lo,
		       unsigned long hi)
{
	struct pw_span s;

	pw_for_each_span(s, heap, lo, hi)
		if (pw_entry_is_break(s.entry))
			return true;
	return false;
}

/**
 * pw_span_is_mapped() - is all of a range mapped, not by a break?
 * @heap: whose
 * @lo: first page
 * @hi: page behind the last
 */
bool pw_span_is_mapped(struct pw_heap *heap, unsigned long lo,
		       unsigned long hi)
{
	struct pw_span s;

	pw_for_each_span(s, heap, lo, hi)
		if (!(pw_entry_flags(s.entry) & PW_REGION_MAP))
			return false;
	return true;
}

/**
 * pw_user_range() - heap pages of a range that a program gave
 * @heap: whose
 * @addr: start
 * @length: bytes, rounded up to a page
 * @lo: set to the first page
 * @hi: set to the page behind the last
 *
 * Return: 0, or -EINVAL when it is not inside the window, or empty.
 */
int pw_user_range(struct pw_heap *heap, u64 addr, u64 length,
		  unsigned long *lo, unsigned long *hi)
{
	u64 bytes = (u64)heap->window << PAGE_SHIFT;
	u64 from = addr - heap->base;

	if (addr < heap->base || !PAGE_ALIGNED(addr) || from >= bytes ||
	    !length || length > bytes - from)
		return -EINVAL;
	*lo = from >> PAGE_SHIFT;
	*hi = *lo + pw_pages_up(length);
	return 0;
}

static int fork_map(struct pw_heap *child, struct pw_heap *parent,
		    const struct pw_span *s)
{
	unsigned long flags = pw_entry_flags(s->entry);

	if (flags & PW_REGION_DYING) {
		if (!parent->split)
			return 0;
		/* What has been done to the VMA, the child's has, too. */
		flags = PW_BAR;
	}
	if (flags & PW_REGION_BARRED)
		pw_bar_note(child, s->lo, s->hi);
	if (flags & PW_REGION_MAP) {
		flags |= PW_REGION_LAZY;
		atomic_long_add(s->hi - s->lo, &child->mapped);
	}
	if (flags & PW_REGION_SHARED)
		pw_shared_fork(child, parent, s->lo, s->hi);
	return pw_span_store(child, s->lo, s->hi, xa_mk_value(flags), PW_GFP_REGION);
}

/**
 * pw_region_fork() - give a child the regions of its parent, all lazy
 * @child: new, nobody else sees it
 * @parent: may be changing
 *
 * Context: mmap_lock of both held for write.
 *
 * Return: 0 or -ENOMEM, the child then has part of them.
 */
int pw_region_fork(struct pw_heap *child, struct pw_heap *parent)
{
	struct pw_span s;
	int err = 0;

	pw_lock(&parent->lock);
	pw_lock_nested(&child->lock, SINGLE_DEPTH_NESTING);
	pw_for_each_span(s, parent, 0, parent->window) {
		if (pw_entry_is_break(s.entry))
			err = pw_brk_fork(child, s.entry, s.hi);
		else if (s.entry)
			err = fork_map(child, parent, &s);
		if (err)
			break;
	}
	pw_unlock(&child->lock);
	pw_unlock(&parent->lock);
	return err;
}
