// SPDX-License-Identifier: GPL-2.0-only
/*
 * region.c - what may be touched: breaks and maps
 *
 * The tree maps heap pages to what they belong to: a pointer for a break and
 * all of its reserve, flags for a map, nothing for free addresses. Adjacent
 * maps of the same kind are one entry. Faults look here under RCU alone, so
 * every change is published first and its consequences (pages, PTEs) follow;
 * faults look again once they hold the chunk.
 */
#include <linux/log2.h>
#include <linux/mmap_lock.h>
#include <linux/moduleparam.h>
#include <linux/nospec.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "heap.h"
#include "pool.h"
#include "stats.h"

#define GFP_REGION	GFP_KERNEL_ACCOUNT
#define GFP_UNMAP	(GFP_KERNEL_ACCOUNT | __GFP_NOFAIL)

#define PW_MAX_BREAKS	65536

static unsigned int max_regions = 16 << 20;
module_param(max_regions, uint, 0644);
MODULE_PARM_DESC(max_regions, "regions that one heap may have");

/* A place for a map that moves. */
#define PW_ANYWHERE	ULONG_MAX

/* What a map keeps when it moves, part by part. */
#define PW_KEPT	(PW_REGION_LAZY | PW_REGION_AUTO | PW_REGION_READ | PW_REGION_NONE)

/* A range of pages, [lo, hi), and what the tree has there. */
struct span {
	unsigned long lo;
	unsigned long hi;
	void *entry;
};

static unsigned long entry_flags(const void *entry)
{
	return xa_is_value(entry) ? xa_to_value(entry) : 0;
}

static bool is_break(const void *entry)
{
	return entry && !xa_is_value(entry);
}

static bool is_read_only(const void *entry)
{
	return entry_flags(entry) & PW_REGION_READ;
}

static unsigned long pages_up(unsigned long bytes)
{
	return PAGE_ALIGN(bytes) >> PAGE_SHIFT;
}

/* The entry, or the gap, that @page lies in, cut to [@lo, @hi). */
static struct span span_at(struct pw_heap *heap, unsigned long page,
			   unsigned long lo, unsigned long hi)
{
	MA_STATE(mas, &heap->regions, page, page);
	struct span s;

	rcu_read_lock();
	s.entry = pw_spare_walk(heap, &mas);
	rcu_read_unlock();
	s.lo = max(mas.index, lo);
	s.hi = mas.last >= hi ? hi : mas.last + 1;
	return s;
}

/* There may be millions, and who goes through them holds nothing but mutexes. */
static struct span span_behind(struct pw_heap *heap, const struct span *s, unsigned long hi)
{
	cond_resched();
	return s->hi < hi ? span_at(heap, s->hi, s->hi, hi) :
			    (struct span){ .lo = hi, .hi = hi };
}

#define for_each_span(s, heap, _lo, _hi)				\
	for ((s) = span_at(heap, _lo, _lo, _hi); (s).lo < (_hi);	\
	     (s) = span_behind(heap, &(s), _hi))

void pw_region_init(struct pw_heap *heap)
{
	mt_init_flags(&heap->regions, MT_FLAGS_ALLOC_RANGE | MT_FLAGS_USE_RCU);
	atomic_long_set(&heap->layout, 1);
}

static void free_break_rcu(struct rcu_head *rcu)
{
	kfree(container_of(rcu, struct pw_break, rcu));
}

static void put_break(struct pw_break *b)
{
	if (refcount_dec_and_test(&b->refs))
		call_rcu(&b->rcu, free_break_rcu);
}

/**
 * pw_region_destroy() - free the tree and the breaks
 * @heap: nobody else uses it any more
 */
void pw_region_destroy(struct pw_heap *heap)
{
	struct pw_break *b;
	unsigned long id;

	xa_for_each(&heap->breaks, id, b) {
		xa_erase(&heap->breaks, id);
		put_break(b);
	}
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
	unsigned long end = pages_up(READ_ONCE(b->brk));
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
	if (is_break(entry)) {
		const struct pw_break *b = entry;

		ok = break_lookup(b, page, where);
		where->huge = huge_policy(heap, READ_ONCE(b->huge));
	} else if (entry_flags(entry) & PW_REGION_MAP) {
		where->lo = mas.index;
		where->hi = mas.last + 1;
		where->promised = !(entry_flags(entry) & PW_REGION_LAZY);
		where->prot = protection(entry_flags(entry));
		where->huge = huge_policy(heap, entry_flags(entry));
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
	if (!is_break(entry))
		where.promised = !(entry_flags(entry) & PW_REGION_LAZY);
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
	if (is_break(entry)) {
		strict = READ_ONCE(((struct pw_break *)entry)->strict_from);
		promised = page >= strict;
		if (!promised)
			*end = strict;
	} else {
		flags = entry_flags(entry);
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

/*
 * The tree is the kernel's memory, and a guard costs the program nothing: there is an
 * end to what may be split or added.
 */
static bool is_full(const struct pw_heap *heap)
{
	return READ_ONCE(heap->nr_entries) >= READ_ONCE(max_regions);
}

/* Store @entry over [lo, hi), as one with equal maps on either side. */
static int store_span(struct pw_heap *heap, unsigned long lo, unsigned long hi,
		      void *entry, gfp_t gfp)
{
	int err;

	pw_lock_assert_held(&heap->lock);

	if (entry_flags(entry) & (PW_REGION_MAP | PW_REGION_GUARD)) {
		struct span s;

		if (lo) {
			s = span_at(heap, lo - 1, 0, lo);
			if (s.entry == entry)
				lo = s.lo;
		}
		s = span_at(heap, hi, hi, ULONG_MAX);
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
	struct span s;

	for_each_span(s, heap, lo, hi)
		if (s.entry)
			return s.hi;
	return 0;
}

static bool span_is_free(struct pw_heap *heap, unsigned long lo, unsigned long hi)
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

static int find_gap(struct pw_heap *heap, unsigned long hint, unsigned long nr,
		    unsigned long align, unsigned long *page)
{
	pw_lock_assert_held(&heap->lock);

	pw_spare_flush(heap);
	if (hint && !find_gap_from(heap, hint, nr, align, page))
		return 0;
	return find_gap_from(heap, 0, nr, align, page);
}

/*
 * Split VMAs
 *
 * What a program did to a part of the VMA stays with the addresses when its region is
 * gone: mprotect(), advice, a hole. It must not be met by who is given them next. So
 * they get back what they had; where that cannot be, because there is no VMA or it
 * has other regions too, they are not given out again.
 */

#define BAR	(PW_REGION_GUARD | PW_REGION_BARRED)
#define BARRED	xa_mk_value(BAR)

/* That all bars lie between two pages is enough to find them by, and not for nothing. */
static void note_bar(struct pw_heap *heap, unsigned long lo, unsigned long hi)
{
	bool first = !pw_heap_has_bars(heap, 0, heap->window);

	WRITE_ONCE(heap->bar_lo, first ? lo : min(lo, heap->bar_lo));
	WRITE_ONCE(heap->bar_hi, first ? hi : max(hi, heap->bar_hi));
}

static void bar(struct pw_heap *heap, unsigned long lo, unsigned long hi)
{
	store_span(heap, lo, hi, BARRED, GFP_UNMAP);
	note_bar(heap, lo, hi);
}

static void unbar(struct pw_heap *heap, unsigned long lo, unsigned long hi)
{
	struct span s;

	lo = max(lo, heap->bar_lo);
	hi = min(hi, heap->bar_hi);
	if (lo >= hi)
		return;
	for_each_span(s, heap, lo, hi)
		if (s.entry == BARRED)
			store_span(heap, s.lo, s.hi, NULL, GFP_UNMAP);
	if (lo == heap->bar_lo)
		WRITE_ONCE(heap->bar_lo, hi);
	else if (hi == heap->bar_hi)
		WRITE_ONCE(heap->bar_hi, lo);
}

/**
 * pw_region_bar() - do not give out addresses that are free
 * @heap: whose
 * @lo: first page of a range that has no VMA any more
 * @hi: page behind the last
 *
 * Context: mmap_lock held.
 */
void pw_region_bar(struct pw_heap *heap, unsigned long lo, unsigned long hi)
{
	struct span s;

	pw_lock(&heap->lock);
	for_each_span(s, heap, lo, hi)
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
	struct span s;

	pw_lock_assert_held(&heap->lock);
	for_each_span(s, heap, lo, hi)
		if (entry_flags(s.entry) & PW_REGION_MAP ||
		    (is_break(s.entry) &&
		     s.lo < pages_up(READ_ONCE(((struct pw_break *)s.entry)->brk))))
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

/* The addresses of what is gone are free, or barred. The mmap_lock is held for write. */
static void give_up(struct pw_heap *heap, unsigned long lo, unsigned long hi)
{
	unsigned long end;

	for (; lo < hi; lo = end) {
		if (mend(heap, lo, hi, &end))
			store_span(heap, lo, end, NULL, GFP_UNMAP);
		else
			bar(heap, lo, end);
	}
}

/* The same for what is marked as dying. Return: false when they are as free as any. */
static bool give_up_split(struct pw_heap *heap, unsigned long lo, unsigned long hi)
{
	if (likely(!READ_ONCE(heap->split)) || is_plain(heap, lo, hi))
		return false;
	mmap_write_lock(heap->mm);
	pw_lock(&heap->lock);
	give_up(heap, lo, hi);
	pw_unlock(&heap->lock);
	mmap_write_unlock(heap->mm);
	return true;
}

/* What a break has left is mended as far as it can be: it may grow there again. */
static void mend_break(struct pw_heap *heap, unsigned long lo, unsigned long hi)
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

/*
 * After mlockall(MCL_FUTURE) what is added is put in place, as far as it can be: as the
 * kernel does it, who asked for it does not hear of an error.
 */
static void populate_locked(struct pw_heap *heap, unsigned long lo, unsigned long hi)
{
	unsigned long flags = READ_ONCE(heap->mm->def_flags);

	if (unlikely((flags & (VM_LOCKED | VM_LOCKONFAULT)) == VM_LOCKED))
		pw_populate(heap, lo, hi);
}

/* Breaks */

static struct pw_break *get_break(struct pw_heap *heap, u32 id)
{
	struct pw_break *b;

	rcu_read_lock_sched();
	if (id < PW_NEAR_BREAKS)
		b = rcu_dereference_sched(heap->near_breaks[array_index_nospec(id, PW_NEAR_BREAKS)]);
	else
		b = xa_load(&heap->breaks, id);
	if (b && !refcount_inc_not_zero(&b->refs))
		b = NULL;
	rcu_read_unlock_sched();
	return b;
}

/* Where get_break() finds the lowest ids; @b is NULL when the break goes. */
static void set_near_break(struct pw_heap *heap, u32 id, struct pw_break *b)
{
	if (id < PW_NEAR_BREAKS)
		rcu_assign_pointer(heap->near_breaks[id], b);
}

static struct pw_break *alloc_break(unsigned long start, unsigned long end)
{
	struct pw_break *b = kzalloc(sizeof(*b), GFP_KERNEL_ACCOUNT);

	if (!b)
		return NULL;
	refcount_set(&b->refs, 1);
	pw_lock_init(&b->lock);
	b->start = start;
	b->end = end;
	pw_break_set(b, start << PAGE_SHIFT);
	b->strict_from = start;
	return b;
}

static int add_break(struct pw_heap *heap, struct pw_break *b,
		     unsigned long nr)
{
	int err;

	if (heap->dead)
		return -ENXIO;
	if (is_full(heap))
		return -ENOMEM;
	err = find_gap(heap, 0, nr, PW_SLOT_PAGES, &b->start);
	if (err)
		return err;
	b->end = b->start + nr;
	pw_break_set(b, b->start << PAGE_SHIFT);
	b->strict_from = b->start;
	/* The id is reserved first: once it leads to the break, so may others. */
	err = xa_alloc(&heap->breaks, &b->id, NULL,
		       XA_LIMIT(1, PW_MAX_BREAKS), GFP_KERNEL_ACCOUNT);
	if (err)
		return -ENOMEM;
	err = store_span(heap, b->start, b->end, b, GFP_REGION);
	if (err) {
		xa_release(&heap->breaks, b->id);
		return err;
	}
	xa_store(&heap->breaks, b->id, b, GFP_KERNEL_ACCOUNT);
	set_near_break(heap, b->id, b);
	heap->nr_breaks++;
	return 0;
}

/**
 * pw_brk_create() - a new break
 * @heap: the caller's
 * @arg: see PAGEWELL_IOC_BRK_CREATE
 *
 * Return: 0, -EINVAL, -ENOMEM, or -ENXIO when the heap has lost its last VMA.
 */
int pw_brk_create(struct pw_heap *heap, struct pagewell_brk_create *arg)
{
	unsigned long nr;
	struct pw_break *b;
	int err;

	if (arg->control % sizeof(u64) ||
	    !access_ok(u64_to_user_ptr(arg->control), sizeof(u64)))
		return -EINVAL;
	if (arg->reserve >> PAGE_SHIFT >= heap->window)
		return -ENOMEM;
	nr = max(PW_SLOT_PAGES,
		 ALIGN(pages_up(arg->reserve), PW_SLOT_PAGES));
	b = alloc_break(0, 0);
	if (!b)
		return -ENOMEM;
	b->control = u64_to_user_ptr(arg->control);

	pw_lock(&heap->lock);
	err = add_break(heap, b, nr);
	if (!err) {
		arg->reserve = (u64)nr << PAGE_SHIFT;
		arg->start = pw_heap_addr(heap, b->start);
		arg->id = b->id;
	}
	pw_unlock(&heap->lock);
	if (err)
		kfree(b);
	return err;
}

/* Make the reserve reach to @end when the addresses behind it are free. */
static int extend_reserve(struct pw_heap *heap, struct pw_break *b,
			  unsigned long end)
{
	int err = -ENOMEM;

	if (end > heap->window)
		return -ENOMEM;
	end = min(ALIGN(end, PW_SLOT_PAGES), heap->window);
	pw_lock(&heap->lock);
	if (span_is_free(heap, b->end, end))
		err = store_span(heap, b->start, end, b, GFP_REGION);
	if (!err)
		b->end = end;
	pw_unlock(&heap->lock);
	return err;
}

/* Have it end at @end again: nothing behind that was touched. */
static void cut_reserve(struct pw_heap *heap, struct pw_break *b, unsigned long end)
{
	if (b->end == end)
		return;
	pw_lock(&heap->lock);
	store_span(heap, end, b->end, NULL, GFP_UNMAP);
	b->end = end;
	pw_unlock(&heap->lock);
}

static int grow_break(struct pw_heap *heap, struct pw_break *b,
		      unsigned long brk)
{
	unsigned long old = pages_up(b->brk), new = pages_up(brk), end = b->end;
	bool strict = READ_ONCE(heap->commit) == PAGEWELL_COMMIT_STRICT;
	int err;

	if (new > end) {
		err = extend_reserve(heap, b, new);
		if (err) {
			pw_heap_refused(heap, new - old);
			return err;
		}
	}
	if (new > old) {
		err = pw_heap_commit(heap, new - old, strict);
		if (err) {
			cut_reserve(heap, b, end);
			return err;
		}
		if (!strict)
			WRITE_ONCE(b->strict_from, new);
	}
	pw_break_set(b, brk);
	return 0;
}

/*
 * Publish the new break, then drop what lies behind it. Pages below
 * strict_from are lazy and have no promise to give back.
 */
static void shrink_break(struct pw_heap *heap, struct pw_break *b,
			 unsigned long brk)
{
	unsigned long old = pages_up(b->brk), new = pages_up(brk);
	unsigned long strict = clamp(b->strict_from, new, old);
	unsigned long backed;

	if (new == old) {
		pw_break_set(b, brk);
		return;
	}
	pw_begin_drop(heap);
	pw_break_set(b, brk);
	pw_region_changed(heap);
	if (strict < old) {
		backed = pw_range_drop(heap, strict, old, true);
		pw_heap_uncommit(heap, old - strict, true, backed);
	}
	if (new < strict) {
		pw_range_drop(heap, new, strict, false);
		pw_heap_uncommit(heap, strict - new, false, 0);
	}
	pw_end_drop(heap);
	if (b->strict_from > new)
		WRITE_ONCE(b->strict_from, new);
	mend_break(heap, new, old);
}

/* Nobody knows the break any more. */
static void remove_break(struct pw_heap *heap, struct pw_break *b)
{
	bool split = READ_ONCE(heap->split);

	if (split)
		mmap_write_lock(heap->mm);
	pw_lock(&heap->lock);
	if (split)
		give_up(heap, b->start, b->end);
	else
		store_span(heap, b->start, b->end, NULL, GFP_UNMAP);
	xa_erase(&heap->breaks, b->id);
	set_near_break(heap, b->id, NULL);
	heap->nr_breaks--;
	b->dead = true;
	pw_unlock(&heap->lock);
	if (split)
		mmap_write_unlock(heap->mm);
}

/**
 * pw_brk_move() - ask for or move a break
 * @heap: the caller's
 * @arg: see PAGEWELL_IOC_BRK
 *
 * Return: 0, -ENOENT, -EINVAL or -ENOMEM; arg->brk is where the break is now,
 * on -ENOMEM too.
 */
int pw_brk_move(struct pw_heap *heap, struct pagewell_brk *arg)
{
	struct pw_break *b = get_break(heap, arg->id);
	unsigned long brk = arg->brk - heap->base, old;
	int err = 0;

	if (!b)
		return -ENOENT;
	pw_lock(&b->lock);
	old = pages_up(b->brk);
	if (b->dead) {
		err = -ENOENT;
	} else if (arg->brk && (arg->brk < heap->base ||
				brk < b->start << PAGE_SHIFT)) {
		err = -EINVAL;
	} else if (arg->brk && brk > heap->window << PAGE_SHIFT) {
		err = -ENOMEM;
		pw_heap_refused(heap, (brk - b->brk) >> PAGE_SHIFT);
	} else if (arg->brk && brk >= b->brk) {
		err = grow_break(heap, b, brk);
	} else if (arg->brk) {
		shrink_break(heap, b, brk);
	}
	if (!err || err == -ENOMEM)
		arg->brk = heap->base + b->brk;
	pw_unlock(&b->lock);
	put_break(b);
	pw_stat_inc(brk_calls);
	if (!err && arg->brk)
		populate_locked(heap, old, pages_up(arg->brk - heap->base));
	return err;
}

/**
 * pw_brk_destroy() - give a break back
 * @heap: the caller's
 * @id: which
 *
 * Return: 0 or -ENOENT.
 */
int pw_brk_destroy(struct pw_heap *heap, u32 id)
{
	struct pw_break *b = get_break(heap, id);
	int err = -ENOENT;

	if (!b)
		return err;
	pw_lock(&b->lock);
	if (!b->dead) {
		shrink_break(heap, b, b->start << PAGE_SHIFT);
		remove_break(heap, b);
		put_break(b);
		err = 0;
	}
	pw_unlock(&b->lock);
	put_break(b);
	return err;
}

/* Maps */

/* Heap pages of a range given by a program, or -EINVAL. */
static int user_range(struct pw_heap *heap, u64 addr, u64 length,
		      unsigned long *lo, unsigned long *hi)
{
	u64 bytes = (u64)heap->window << PAGE_SHIFT;
	u64 from = addr - heap->base;

	if (addr < heap->base || !PAGE_ALIGNED(addr) || from >= bytes ||
	    !length || length > bytes - from)
		return -EINVAL;
	*lo = from >> PAGE_SHIFT;
	*hi = *lo + pages_up(length);
	return 0;
}

static void *map_entry(bool guard, bool strict)
{
	if (guard)
		return xa_mk_value(PW_REGION_GUARD);
	return xa_mk_value(strict ? PW_REGION_MAP :
				    PW_REGION_MAP | PW_REGION_LAZY);
}

static bool entry_is_strict(const void *entry)
{
	return (entry_flags(entry) & (PW_REGION_MAP | PW_REGION_LAZY)) ==
	       PW_REGION_MAP;
}

/* Does a range begin or end inside a slot of a shared region? */
static bool cuts_shared(struct pw_heap *heap, unsigned long lo,
			unsigned long hi)
{
	const unsigned long edges[] = { lo, hi };
	int i;

	for (i = 0; i < ARRAY_SIZE(edges); i++) {
		struct span s;

		if (!(edges[i] & PW_SLOT_MASK))
			continue;
		s = span_at(heap, edges[i], 0, ULONG_MAX);
		if (entry_flags(s.entry) & PW_REGION_SHARED)
			return true;
	}
	return false;
}

static bool span_has_shared(struct pw_heap *heap, unsigned long lo,
			    unsigned long hi)
{
	struct span s;

	for_each_span(s, heap, lo, hi)
		if (entry_flags(s.entry) & PW_REGION_SHARED)
			return true;
	return false;
}

static bool span_has_break(struct pw_heap *heap, unsigned long lo,
			   unsigned long hi)
{
	struct span s;

	for_each_span(s, heap, lo, hi)
		if (is_break(s.entry))
			return true;
	return false;
}

/* What was mapped there is free from now on, or dying as @flags say. */
static void set_gone(struct pw_heap *heap, const struct span *s,
		     unsigned long flags)
{
	bool spare = pw_spare_set(heap, s->lo, s->hi, flags) ||
		     (!(entry_flags(s->entry) & PW_REGION_SHARED) &&
		      pw_spare_add(heap, s->lo, s->hi, flags));

	if (!spare)
		store_span(heap, s->lo, s->hi,
			   flags ? xa_mk_value(flags) : NULL, GFP_UNMAP);
}

/*
 * Nothing was ever touched there: the addresses are free at once. A fault that
 * looked just before may still bring pages in; the second look finds them.
 */
static bool unmap_untouched(struct pw_heap *heap, struct span *s)
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
	if (entry_flags(s->entry) & PW_REGION_MAP)
		pw_heap_uncommit(heap, s->hi - s->lo,
				 entry_is_strict(s->entry), 0);
	return true;
}

/*
 * Pages are there. Until no PTE leads to them their addresses must not be given
 * out again, so they are marked and stay taken meanwhile.
 */
static void unmap_touched(struct pw_heap *heap, struct span *s)
{
	bool strict = entry_is_strict(s->entry), done;
	unsigned long backed;

	pw_begin_drop(heap);
	set_gone(heap, s, PW_REGION_DYING | (entry_flags(s->entry) & PW_REGION_LAZY));
	pw_unlock(&heap->lock);

	backed = pw_range_drop(heap, s->lo, s->hi, strict);
	/* Under a guard may be what an unmap had left, which has been counted off. */
	if (entry_flags(s->entry) & PW_REGION_MAP)
		pw_heap_uncommit(heap, s->hi - s->lo, strict, backed);
	done = give_up_split(heap, s->lo, s->hi);
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
	struct span s = {
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
static bool unmappable(const struct span *s, unsigned long lo,
		       unsigned long hi, struct span *part)
{
	*part = *s;
	if (entry_flags(s->entry) & PW_REGION_SHARED) {
		part->lo = max(s->lo, ALIGN(lo, PW_SLOT_PAGES));
		part->hi = min(ALIGN(s->hi, PW_SLOT_PAGES),
			       ALIGN_DOWN(hi, PW_SLOT_PAGES));
	}
	return s->entry && s->entry != BARRED && !is_break(s->entry) && part->lo < part->hi;
}

/* Unmap every map in [lo, hi). */
static void unmap_spans(struct pw_heap *heap, unsigned long lo,
			unsigned long hi)
{
	struct span s, part;

	pw_lock_assert_held(&heap->unmap_lock);
	for_each_span(s, heap, lo, hi) {
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
	struct span s;

	for_each_span(s, heap, lo, hi)
		if (s.entry && s.entry != BARRED)
			return false;
	return true;
}

/* [lo, hi) for a new map at a fixed place, which takes that of bars, too. */
static int clear_fixed(struct pw_heap *heap, u32 flags, unsigned long lo,
		       unsigned long hi)
{
	if (flags & PAGEWELL_MAP_FIXED_NOREPLACE)
		return may_be_placed(heap, lo, hi) ? 0 : -EEXIST;
	do {
		if (span_has_break(heap, lo, hi))
			return -EEXIST;
		if (cuts_shared(heap, lo, hi))
			return -EINVAL;
		unmap_spans(heap, lo, hi);
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
	if (is_full(heap))
		return -ENOMEM;
	if (arg->flags & (PAGEWELL_MAP_FIXED | PAGEWELL_MAP_FIXED_NOREPLACE)) {
		err = user_range(heap, arg->addr, arg->length, &lo, &hi);
		if (err)
			return err;
		*page = lo;
		err = clear_fixed(heap, arg->flags, lo, hi);
	} else {
		unsigned long hint = hint_page(heap, arg->addr);
		struct pw_spare *spare = hint ? NULL : pw_spare_find(heap, nr, align);

		if (spare) {
			*page = spare->lo;
			WRITE_ONCE(spare->flags, entry_flags(entry));
			return 0;
		}
		err = find_gap(heap, hint, nr, align, page);
	}
	return err ?: store_span(heap, *page, *page + nr, entry, GFP_REGION);
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
		return user_range(heap, arg->addr, arg->length, &lo, &hi);
	}
	if (arg->length > (u64)heap->window << PAGE_SHIFT ||
	    arg->align > (u64)heap->window << PAGE_SHIFT)
		return -ENOMEM;
	return 0;
}

/* Does a range lie inside a map, with a rest on either side? */
static bool is_inside(struct pw_heap *heap, unsigned long lo, unsigned long hi)
{
	struct span s = span_at(heap, lo, 0, ULONG_MAX);

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
	else if (span_has_break(heap, lo, hi) || cuts_shared(heap, lo, hi))
		err = -EINVAL;
	else if (!must && is_full(heap) && is_inside(heap, lo, hi))
		err = -ENOMEM;
	else
		unmap_spans(heap, lo, hi);
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
	nr = pages_up(arg->length);
	if (!guard) {
		err = pw_heap_commit(heap, nr, strict);
		if (err)
			return err;
	}
	if (replace)
		pw_lock(&heap->unmap_lock);
	pw_lock(&heap->lock);
	err = place_map(heap, arg, nr, map_entry(guard, strict), &page);
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
		populate_locked(heap, page, page + nr);
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
	int err = user_range(heap, addr, length, &lo, &hi);

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
	err = heap->dead ? -ENXIO : is_full(heap) ? -ENOMEM :
	      find_gap(heap, hint, nr, PW_SLOT_PAGES, &page);
	if (err)
		goto out;
	err = pw_shared_install(heap, s, page >> PW_SLOT_SHIFT);
	if (err)
		goto out;
	err = store_span(heap, page, page + nr,
			 xa_mk_value(strict ? flags : flags | PW_REGION_LAZY),
			 GFP_REGION);
	if (err)
		pw_shared_uninstall(heap, page >> PW_SLOT_SHIFT, nr >> PW_SLOT_SHIFT);
	else
		*addr = pw_heap_addr(heap, page);
out:
	pw_unlock(&heap->lock);
	if (!err)
		populate_locked(heap, page, page + nr);
	return err;
}

/* Remapping */

static bool wholly_mapped(struct pw_heap *heap, unsigned long lo,
			  unsigned long hi)
{
	struct span s;

	for_each_span(s, heap, lo, hi)
		if (!(entry_flags(s.entry) & PW_REGION_MAP))
			return false;
	return true;
}

/* Mark what is, or will be, a map. */
static void *moving(const void *entry)
{
	return xa_mk_value(PW_REGION_DYING | (entry_flags(entry) & PW_KEPT));
}

/* [to, to + (hi - lo)) like [lo, hi), then up to @end like @entry. */
static void mark_target(struct pw_heap *heap, unsigned long lo,
			unsigned long hi, unsigned long to, unsigned long end,
			const void *entry)
{
	struct span s;

	for_each_span(s, heap, lo, hi)
		store_span(heap, to + (s.lo - lo), to + (s.hi - lo),
			   moving(s.entry), GFP_UNMAP);
	if (to + (hi - lo) < end)
		store_span(heap, to + (hi - lo), end, moving(entry),
			   GFP_UNMAP);
}

static void unmark_target(struct pw_heap *heap, unsigned long to,
			  unsigned long end)
{
	struct span s;

	for_each_span(s, heap, to, end)
		store_span(heap, s.lo, s.hi,
			   xa_mk_value(PW_REGION_MAP |
				       (entry_flags(s.entry) & PW_KEPT)),
			   GFP_UNMAP);
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
	    !find_gap(heap, 0, offset + nr, PW_SLOT_PAGES, to)) {
		*to += offset;
		return 0;
	}
	return find_gap(heap, 0, nr, 1, to);
}

/*
 * Make room for a map that moves to a place of the program's choice, and keep
 * others from there: marked before the move begins, which is no part of it for a fork.
 */
static int take_target(struct pw_heap *heap, unsigned long to, unsigned long nr)
{
	int err;

	pw_lock(&heap->lock);
	err = clear_fixed(heap, PAGEWELL_MAP_FIXED, to, to + nr) ?:
	      store_span(heap, to, to + nr, moving(NULL), GFP_REGION);
	pw_unlock(&heap->lock);
	return err;
}

/* Where a map has moved from, or could not move to; it is marked still. */
static void free_marked(struct pw_heap *heap, unsigned long lo, unsigned long hi)
{
	if (give_up_split(heap, lo, hi))
		return;
	pw_lock(&heap->lock);
	store_span(heap, lo, hi, NULL, GFP_UNMAP);
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
	struct span gone;
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
		gone = (struct span){ .lo = to, .hi = to + nr };
	} else {
		unmark_target(heap, to, to + nr);
		gone = (struct span){ .lo = from, .hi = hi };
		*lo = to;
	}
	if (!split)
		store_span(heap, gone.lo, gone.hi, NULL, GFP_UNMAP);
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
	if (new_end <= heap->window && span_is_free(heap, end, new_end))
		err = store_span(heap, end, new_end, entry, GFP_REGION);
	pw_unlock(&heap->lock);
	return err;
}

/* As what lies before it, but promised as the heap is now. */
static void *added_entry(struct pw_heap *heap, unsigned long end, bool strict)
{
	const unsigned long like = PW_KEPT & ~PW_REGION_LAZY;
	struct span s = span_at(heap, end - 1, 0, ULONG_MAX);

	return xa_mk_value(entry_flags(map_entry(false, strict)) |
			   (entry_flags(s.entry) & like));
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
	unmap_spans(heap, lo, hi);
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
	    user_range(heap, arg->target, arg->new_length, to, &end))
		return -EINVAL;
	return *to < hi && lo < end ? -EINVAL : 0;
}

static int check_remap(struct pw_heap *heap, const struct pagewell_remap *arg,
		       unsigned long *lo, unsigned long *hi, unsigned long *to)
{
	if (arg->flags & ~(PAGEWELL_REMAP_MAYMOVE | PAGEWELL_REMAP_FIXED) ||
	    !arg->new_length)
		return -EINVAL;
	if (user_range(heap, arg->addr, arg->old_length, lo, hi) ||
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
	unsigned long lo, hi, to, from, nr = pages_up(arg->new_length);
	int err = check_remap(heap, arg, &lo, &hi, &to);

	if (err)
		return err;
	from = lo;

	/* Nobody unmaps while we hold this, so what is mapped stays so. */
	pw_lock(&heap->unmap_lock);
	if (!wholly_mapped(heap, lo, hi)) {
		err = -EFAULT;
	} else if (span_has_shared(heap, lo, hi)) {
		err = -EINVAL;
	} else if (is_full(heap)) {
		err = -ENOMEM;
	} else {
		err = remap(heap, arg->flags, &lo, hi, nr, to);
	}
	pw_unlock(&heap->unmap_lock);
	if (err)
		return err;
	arg->addr = pw_heap_addr(heap, lo);
	/* What has moved is not mapped where it is now. */
	populate_locked(heap, lo == from ? hi : lo, lo + nr);
	return 0;
}

/* Advice */

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
			end = span_at(heap, lo, lo, hi).hi;
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

/* Other flags for the maps in a range, of those in @mask. */
static int change_flags(struct pw_heap *heap, unsigned long lo,
			unsigned long hi, unsigned long mask,
			unsigned long flags)
{
	struct span s;
	int err = 0;

	pw_lock_assert_held(&heap->lock);
	if (is_full(heap))
		return -ENOMEM;
	for_each_span(s, heap, lo, hi) {
		unsigned long old = entry_flags(s.entry);

		if (!(old & PW_REGION_MAP))
			continue;
		err = store_span(heap, s.lo, s.hi,
				 xa_mk_value((old & ~mask) | flags),
				 GFP_REGION);
		if (err)
			break;
	}
	return err;
}

/* A break has one page size for all of it. */
static int set_page_size(struct pw_heap *heap, unsigned long lo,
			 unsigned long hi, unsigned long size)
{
	struct span s;
	int err;

	pw_lock(&heap->lock);
	for_each_span(s, heap, lo, hi)
		if (is_break(s.entry))
			WRITE_ONCE(((struct pw_break *)s.entry)->huge, size);
	err = change_flags(heap, lo, hi, PW_REGION_AUTO, size);
	pw_region_changed(heap);
	pw_unlock(&heap->lock);
	return err;
}

static int set_protection(struct pw_heap *heap, unsigned long lo,
			  unsigned long hi, unsigned long flags)
{
	int err;

	pw_lock(&heap->lock);
	if (span_has_break(heap, lo, hi))
		err = -EINVAL;
	else if (!wholly_mapped(heap, lo, hi))
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
	if (user_range(heap, addr, length, &lo, &hi))
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
	if (user_range(heap, addr, length, &lo, &hi))
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

/* Fork */

static int fork_break(struct pw_heap *child, const struct pw_break *b)
{
	struct pw_break *copy = alloc_break(b->start, b->end);
	int err;

	if (!copy)
		return -ENOMEM;
	copy->id = b->id;
	pw_break_set(copy, READ_ONCE(b->settled));
	copy->strict_from = pages_up(copy->brk);
	copy->huge = READ_ONCE(b->huge);
	copy->control = b->control;
	err = xa_insert(&child->breaks, copy->id, copy, GFP_KERNEL_ACCOUNT);
	if (err) {
		kfree(copy);
		return err;
	}
	set_near_break(child, copy->id, copy);
	child->nr_breaks++;
	atomic_long_add(copy->strict_from - copy->start, &child->mapped);
	return store_span(child, copy->start, copy->end, copy, GFP_REGION);
}

static int fork_map(struct pw_heap *child, struct pw_heap *parent,
		    const struct span *s)
{
	unsigned long flags = entry_flags(s->entry);

	if (flags & PW_REGION_DYING) {
		if (!parent->split)
			return 0;
		/* What has been done to the VMA, the child's has, too. */
		flags = BAR;
	}
	if (flags & PW_REGION_BARRED)
		note_bar(child, s->lo, s->hi);
	if (flags & PW_REGION_MAP) {
		flags |= PW_REGION_LAZY;
		atomic_long_add(s->hi - s->lo, &child->mapped);
	}
	if (flags & PW_REGION_SHARED)
		pw_shared_fork(child, parent, s->lo, s->hi);
	return store_span(child, s->lo, s->hi, xa_mk_value(flags), GFP_REGION);
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
	struct span s;
	int err = 0;

	pw_lock(&parent->lock);
	pw_lock_nested(&child->lock, SINGLE_DEPTH_NESTING);
	for_each_span(s, parent, 0, parent->window) {
		if (is_break(s.entry))
			err = fork_break(child, s.entry);
		else if (s.entry)
			err = fork_map(child, parent, &s);
		if (err)
			break;
	}
	pw_unlock(&child->lock);
	pw_unlock(&parent->lock);
	return err;
}
