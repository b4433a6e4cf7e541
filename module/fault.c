// SPDX-License-Identifier: GPL-2.0-only
/*
 * fault.c - a page is touched
 *
 * Three cases end here: a page nobody has touched yet (take pages from the
 * pool, as many as the access pattern promises to use, or the zero page for a
 * read that stands alone), a page that the heap
 * has but this page table lacks (map it and its neighbours), and a write to a
 * page that fork made read-only (copy it, or take it over when the others are
 * gone). Everything else is a signal.
 *
 * Runs under the mmap_lock for read or, from 6.4 on, under the VMA's own lock:
 * nothing here may take the mmap_lock or look for other VMAs.
 */
#include <linux/highmem.h>
#include <linux/huge_mm.h>
#include <linux/log2.h>
#include <linux/pagemap.h>
#include <linux/sched/coredump.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/userfaultfd_k.h>

#include "compat.h"
#include "heap.h"
#include "map.h"
#include "pool.h"
#include "stats.h"
#include "trace.h"

/* Pages that are there already are mapped in aligned groups of this many. */
#define REFAULT_PAGES	64

/*
 * Pages that are brought in on a guess, and not seen to be used since, are at
 * most this part of the heap's resident pages, which is an eighth of the others.
 * A run may have a few more, a touch by itself may not.
 */
#define GUESS_SHARE	9
#define GUESS_FREE	16

/*
 * A fault is to be short: where 2 MiB can be had in one piece, so many single pages
 * are enough until then; and fewer where they are to be zeroed first. Who wants no
 * 2 MiB gets as many pages, if they are zeroed.
 */
#define SINGLE_MAX	96
#define SINGLE_DIRTY	32

/* A run starts with the rest of an aligned group of this many pages. */
#define RUN_START	4

/* Touches farther from each other than this, in pages, are no run. */
#define MAX_STEP	128U

/**
 * struct touch - one page being touched, and how far its surroundings reach
 * @heap: whose
 * @vma: through which
 * @vmf: the fault, NULL when populating
 * @page: heap-relative
 * @slot: of the page
 * @c: its chunk, locked
 * @lo: first page of the surroundings: same slot, same VMA, same region
 * @hi: page behind them
 * @promised: they are strict
 * @write: the touch is a write
 * @writable: region and VMA allow it
 * @huge: PAGEWELL_HUGE_ for them
 */
struct touch {
	struct pw_heap *heap;
	struct vm_area_struct *vma;
	struct vm_fault *vmf;
	unsigned long page;
	unsigned long slot;
	struct pw_chunk *c;
	unsigned long lo;
	unsigned long hi;
	bool promised;
	bool write;
	bool writable;
	u32 huge;
};

static u32 *entry_at(struct touch *t, unsigned long page)
{
	return &t->c->pfn[page & PW_SLOT_MASK];
}

static unsigned long addr_of(struct touch *t, unsigned long page)
{
	return t->vma->vm_start + ((page - t->vma->vm_pgoff) << PAGE_SHIFT);
}

/* What the region tree says, as far as the slot goes. */
static bool find_in_slot(struct touch *t, struct pw_where *where)
{
	unsigned long first = t->slot << PW_SLOT_SHIFT;

	if (!pw_region_lookup(t->heap, t->page, where))
		return false;
	where->lo = max(where->lo, first);
	where->hi = min(where->hi, first + PW_SLOT_PAGES);
	return true;
}

/*
 * A chunk that is this heap's alone remembers what was said about it last, for
 * as long as the regions stay as they were.
 */
static const struct pw_where *find_region(struct touch *t,
					  struct pw_where *where)
{
	struct pw_chunk *c = t->c;
	/* Read before the regions are: they are as new as this or newer. */
	unsigned long layout = atomic_long_read_acquire(&t->heap->layout);

	if (!c || c->owner != t->heap)
		return find_in_slot(t, where) ? where : NULL;
	if (c->layout == layout && t->page >= c->where.lo &&
	    t->page < c->where.hi)
		return &c->where;
	c->layout = 0;
	if (!find_in_slot(t, &c->where))
		return NULL;
	c->layout = layout;
	return &c->where;
}

static bool is_allowed(const struct pw_where *where, bool write)
{
	return where->prot & (write ? PAGEWELL_PROT_WRITE : PAGEWELL_PROT_READ);
}

static bool look_up(struct touch *t)
{
	struct pw_where found;
	const struct pw_where *where = find_region(t, &found);

	if (!where || !is_allowed(where, t->write) ||
	    (where->control && pw_region_passed(t->heap, t->page, where)))
		return false;
	t->lo = max(where->lo, t->vma->vm_pgoff);
	t->hi = min(where->hi, t->vma->vm_pgoff + vma_pages(t->vma));
	t->promised = where->promised;
	t->writable = is_allowed(where, true) && (t->vma->vm_flags & VM_WRITE);
	t->huge = where->huge;
	return true;
}

/*
 * Fault-around. A heap keeps a few runs of touches in equal steps: next to each
 * other, upwards or downwards, or some pages apart. A touch where a run was
 * expected to go continues it, and doubles it; one in its neighbourhood says
 * what its step is; anything else starts a run. What is brought in beyond the
 * touched page is a guess, and guesses are on a budget: they come off it when
 * the run goes on and the page that was guessed last is found used. So a walk
 * soon takes 2 MiB a fault, touches far from each other take a page, and who
 * skips the guessed pages spends the budget and gets no more of it. Threads
 * that race here spoil a guess, nothing more.
 */
static unsigned long guess_budget(struct pw_heap *heap, long extra)
{
	long budget = atomic_long_read(&heap->resident) / GUESS_SHARE + extra -
		      READ_ONCE(heap->guessed);

	return max(budget, 0L);
}

static void charge_guess(struct pw_heap *heap, long guess)
{
	if (guess)
		WRITE_ONCE(heap->guessed, READ_ONCE(heap->guessed) + guess);
}

static void confirm_guess(struct pw_heap *heap, struct pw_stream *s)
{
	long guess = READ_ONCE(s->guess);

	if (guess)
		WRITE_ONCE(heap->guessed,
			   max(READ_ONCE(heap->guessed) - guess, 0L));
}

/* Was the page that was guessed last used, as far as we can tell? */
static bool guess_was_right(struct touch *t, const struct pw_stream *s)
{
	unsigned long last = READ_ONCE(s->sample);

	if (!READ_ONCE(s->guess) || last < t->vma->vm_pgoff ||
	    last >= t->vma->vm_pgoff + vma_pages(t->vma))
		return true;
	return pw_map_accessed(t->vma, addr_of(t, last));
}

/*
 * The number of the run that expects this touch, or else of one in whose
 * neighbourhood it is, or else -1. Every first touch comes through here.
 */
static int find_run(struct touch *t, bool *expected)
{
	const struct pw_streams *s = &t->heap->streams;
	u32 page = t->page, low = page - MAX_STEP;
	int i;

	*expected = true;
#pragma GCC unroll 8
	for (i = 0; i < PW_STREAMS; i++)
		if (READ_ONCE(s->next[i]) == page)
			return i;
	*expected = false;
#pragma GCC unroll 8
	for (i = 0; i < PW_STREAMS; i++)
		/* Runs that are known already go their own way. */
		if (unlikely(READ_ONCE(s->at[i]) - low < 2 * MAX_STEP) &&
		    READ_ONCE(s->stream[i].run) <= RUN_START)
			return i;
	return -1;
}

static int place_for_run(unsigned long page)
{
	static const unsigned long hash = 0x9E3779B97F4A7C15UL;

	return (page / RUN_START * hash) >> (64 - ilog2(PW_STREAMS));
}

/*
 * The run that a touch belongs to, how many pages that lets us expect, and how many may
 * be guessed beyond the budget.
 */
static int choose_run(struct touch *t, unsigned long *nr, long *extra)
{
	struct pw_streams *all = &t->heap->streams;
	bool expected;
	int i = find_run(t, &expected);
	struct pw_stream *s;
	long step = 1;

	*extra = GUESS_FREE;
	if (expected) {
		s = &all->stream[i];
		if (guess_was_right(t, s)) {
			confirm_guess(t->heap, s);
			*nr = READ_ONCE(s->run) + 1UL;
			return i;
		}
	}
	*nr = 1;
	if (i >= 0) {
		step = (long)t->page - READ_ONCE(all->at[i]);
		/* One step back is enough to know a walk downwards. */
		if (step == 1 || step == -1)
			*nr = 2;
	} else {
		*extra = 0;
		i = place_for_run(t->page);
		*nr = t->write ? RUN_START - t->page % RUN_START : 1;
	}
	s = &all->stream[i];
	WRITE_ONCE(s->step, step ?: 1);
	WRITE_ONCE(s->run, 0);
	return i;
}

/* Steps from the touched page to the last of its surroundings, plus one. */
static unsigned long room_for(const struct touch *t, long step)
{
	if (step == 1)
		return t->hi - t->page;
	if (step == -1)
		return t->page - t->lo + 1;
	return step > 0 ? (t->hi - 1 - t->page) / step + 1 :
			  (t->page - t->lo) / -step + 1;
}

/* Cut a batch to the entries from the touched one on that are empty. */
static unsigned long empty_run(struct touch *t, unsigned long nr, long step)
{
	unsigned long i = t->page & PW_SLOT_MASK, n;

	if (step == 1)
		return find_next_bit(t->c->used, i + nr, i + 1) - i;
	for (n = 1; n < nr; n++)
		if (test_bit(i + n * step, t->c->used))
			break;
	return n;
}

/**
 * struct plan - what a touch is likely to be the first of
 * @run: number of the run it belongs to
 * @step: pages from one touch of the run to the next
 * @nr: how many to bring in, from the touched one on
 */
struct plan {
	int run;
	long step;
	unsigned long nr;
};

static void make_plan(struct touch *t, struct plan *p)
{
	long extra;

	p->run = choose_run(t, &p->nr, &extra);
	p->step = READ_ONCE(t->heap->streams.stream[p->run].step);
	/* A walk of reads is given pages; those far apart need none. */
	if (!t->write && p->step != 1 && p->step != -1)
		p->nr = 1;
	if (p->nr > 1)
		p->nr = min3(p->nr, guess_budget(t->heap, extra) + 1, room_for(t, p->step));
	if (p->nr > 1)
		p->nr = empty_run(t, p->nr, p->step);
}

/* No 2 MiB: what comes in at once is single pages. */
static void plan_singles(struct touch *t, struct plan *p)
{
	if (p->nr > SINGLE_MAX && t->huge != PAGEWELL_HUGE_NEVER)
		p->nr = SINGLE_MAX;
	if (p->nr > SINGLE_DIRTY && !pw_pool_has_clear(p->nr))
		p->nr = SINGLE_DIRTY;
}

/* This is what is done: the run goes on behind it. */
static void follow_plan(struct touch *t, const struct plan *p)
{
	struct pw_streams *all = &t->heap->streams;
	struct pw_stream *s = &all->stream[p->run];
	unsigned long nr = p->nr;

	charge_guess(t->heap, nr - 1);
	WRITE_ONCE(s->guess, nr - 1);
	WRITE_ONCE(s->sample, t->page + (nr - 1) * p->step);
	WRITE_ONCE(all->at[p->run], t->page);
	WRITE_ONCE(all->next[p->run], t->page + nr * p->step);
	WRITE_ONCE(s->run, READ_ONCE(s->run) + nr);
}

/* A shared region is counted as a whole, and no promise is left to it. */
static unsigned int take_pages(struct touch *t, u32 *pfns, unsigned int nr)
{
	if (t->c->shared)
		return pw_pool_alloc(pfns, nr, PW_ALLOC_ZERO);
	return pw_heap_alloc(t->heap, pfns, nr, t->promised);
}

/*
 * Pages for the empty entries [*from, *from + nr): how many there are now. If
 * they are fewer, they stand behind the first entries, or going down behind
 * the last, and *from is moved.
 */
static unsigned int fill(struct touch *t, unsigned long *from, unsigned int nr,
			 bool up)
{
	u32 *pfns = entry_at(t, *from);
	unsigned int got, gap;

	got = take_pages(t, pfns, nr);
	if (got < nr && !up) {
		gap = nr - got;
		memmove(pfns + gap, pfns, got * sizeof(*pfns));
		memset(pfns, 0, min(got, gap) * sizeof(*pfns));
		*from += gap;
	}
	pw_chunk_filled(t->c, *from & PW_SLOT_MASK, got);
	if (!t->promised && !t->c->shared)
		pw_chunk_pay(t->heap, t->c, *from & PW_SLOT_MASK, got);
	return got;
}

/* The same for entries some pages apart; these are few. */
static unsigned int fill_steps(struct touch *t, unsigned int nr, long step)
{
	unsigned long page = t->page;
	unsigned int got;

	for (got = 0; got < nr; got++, page += step)
		if (!fill(t, &page, 1, true))
			break;
	return got;
}

static vm_fault_t insert_run(struct touch *t, unsigned long from,
			     unsigned int nr, long step, int sample)
{
	struct pw_run run = {
		.vma = t->vma, .pmd = t->vmf ? t->vmf->pmd : NULL, .c = t->c,
		.addr = addr_of(t, from),
		.i = from & PW_SLOT_MASK, .nr = nr, .step = step,
		.sample = sample, .writable = t->writable,
	};

	return pw_map_insert(&run) ? VM_FAULT_OOM : VM_FAULT_NOPAGE;
}

static vm_fault_t insert(struct touch *t, unsigned long from, unsigned int nr)
{
	return insert_run(t, from, nr, 1, PW_NO_SAMPLE);
}

static vm_fault_t no_page(struct touch *t)
{
	pw_stat_inc(sigbus);
	trace_pw_no_page(addr_of(t, t->page));
	pw_heap_refused(t->heap, 1);
	return VM_FAULT_SIGBUS;
}

/* Can the slot be mapped by one entry, as far as anybody but the pool knows? */
static bool slot_is_whole(struct touch *t)
{
	unsigned long first = t->slot << PW_SLOT_SHIFT;

	if (t->lo != first || t->hi != first + PW_SLOT_PAGES ||
	    pw_vma_wants_small(t->vma))
		return false;
	return !pw_map_has_table(t->vma, addr_of(t, t->page));
}

/* Hand the block to the kernel, which maps it, all of it where it can. */
static vm_fault_t map_block(struct touch *t)
{
	struct page *head = pfn_to_page(t->c->block);

	/* Locked until it is mapped: whoever unmaps it waits for that. */
	get_page(head);
	lock_page(head);
	t->vmf->page = head + (t->page & PW_SLOT_MASK);
	if (pw_block_is_exclusive(t->c) && t->writable)
		t->vmf->flags |= FAULT_FLAG_WRITE;
	return VM_FAULT_LOCKED;
}

static bool take_block(struct touch *t)
{
	u32 pfn = t->c->shared ? pw_pool_alloc_huge(PW_ALLOC_ZERO) :
				 pw_heap_alloc_block(t->heap, t->promised);

	if (!pfn)
		return false;
	pw_chunk_set_block(t->heap, t->slot, t->c, pfn);
	if (!t->promised && !t->c->shared)
		pw_chunk_pay(t->heap, t->c, 0, PW_SLOT_PAGES);
	pw_stat_add(fault_pages, PW_SLOT_PAGES);
	atomic64_add(PW_SLOT_PAGES, &t->heap->fault_pages);
	return true;
}

/* Where one page alone is read, the kernel's zero page does as well. */
static bool zero_will_do(const struct touch *t, unsigned long nr)
{
	return nr == 1 && !t->write && !t->c->shared &&
	       t->huge != PAGEWELL_HUGE_ALWAYS &&
	       !(t->vma->vm_flags & VM_LOCKED) && !userfaultfd_wp(t->vma);
}

/*
 * The first zero page of a heap. Writes to it must come to us, and the vm_ops for
 * that are put in under locks that a fault cannot have: let go of those it came
 * with, and have it come again. False when it must not let go.
 */
static bool may_map_zero(struct touch *t, vm_fault_t *ret)
{
	unsigned int flags = t->vmf->flags;
	struct pw_heap *heap = t->heap;

	*ret = 0;
	if (t->vma->vm_ops == &pw_vm_ops_cow)
		return true;
	if (!(flags & FAULT_FLAG_ALLOW_RETRY) ||
	    (flags & FAULT_FLAG_RETRY_NOWAIT) || current->mm != heap->mm)
		return false;
	refcount_inc(&heap->refs);
	pw_chunk_unlock(t->c);
	t->c = NULL;
	pw_fault_unlock(t->vmf);
	pw_lock(&heap->unmap_lock);
	pw_heap_begin_cow(heap);
	pw_unlock(&heap->unmap_lock);
	pw_heap_put(heap);
	*ret = VM_FAULT_RETRY;
	return false;
}

static vm_fault_t map_zero(struct touch *t)
{
	__set_bit(t->page & PW_SLOT_MASK, t->c->zeros);
	WRITE_ONCE(t->heap->zeros, true);
	pw_stat_inc(zero_faults);
	trace_pw_zero_page(addr_of(t, t->page));
	return pw_map_zero(t->vma, addr_of(t, t->page)) ?
	       VM_FAULT_OOM : VM_FAULT_NOPAGE;
}

static void count_fault(struct touch *t, unsigned int nr)
{
	pw_stat_inc(faults);
	pw_stat_add(fault_pages, nr);
	atomic64_inc(&t->heap->faults);
	atomic64_add(nr, &t->heap->fault_pages);
	trace_pw_touch(addr_of(t, t->page), t->write, nr, false);
}

/* A page that stands alone, as most do that are touched here and there. */
static vm_fault_t touch_one(struct touch *t)
{
	unsigned int i = t->page & PW_SLOT_MASK;
	u32 pfn = pw_heap_alloc_one(t->heap);

	if (unlikely(!pfn))
		return no_page(t);
	atomic_long_inc(&t->heap->resident);
	t->c->pfn[i] = pfn;
	__set_bit(i, t->c->used);
	t->c->nr++;
	count_fault(t, 1);
	if (likely(pw_map_insert_new(t->vma, t->vmf->pmd, addr_of(t, t->page), pfn,
				     t->writable)))
		return VM_FAULT_NOPAGE;
	return insert(t, t->page, 1);
}

static vm_fault_t first_touch(struct touch *t)
{
	unsigned long from = t->page;
	unsigned int got;
	vm_fault_t ret;
	struct plan p;

	/* A hole in a core dump is a hole, not a page. */
	if (current->flags & PF_DUMPCORE)
		return VM_FAULT_SIGBUS;

	make_plan(t, &p);
	if (zero_will_do(t, p.nr)) {
		if (may_map_zero(t, &ret)) {
			follow_plan(t, &p);
			return map_zero(t);
		}
		if (ret)
			return ret;
	}
	if (unlikely(!pw_chunk_is_own(t->c)))
		t->c = pw_chunk_own(t->heap, t->slot, t->c);
	if (!t->c->nr && (t->huge == PAGEWELL_HUGE_ALWAYS ||
			  (t->huge == PAGEWELL_HUGE_AUTO &&
			   p.nr == PW_SLOT_PAGES)) &&
	    slot_is_whole(t) && take_block(t)) {
		follow_plan(t, &p);
		pw_stat_inc(faults);
		pw_stat_inc(huge_faults);
		atomic64_inc(&t->heap->faults);
		trace_pw_touch(addr_of(t, t->page), t->write, PW_SLOT_PAGES, true);
		return map_block(t);
	}
	plan_singles(t, &p);
	follow_plan(t, &p);
	if (p.nr == 1 && t->promised && !t->c->shared)
		return touch_one(t);
	if (p.step == -1)
		from -= p.nr - 1;
	if (p.step == 1 || p.step == -1)
		got = fill(t, &from, p.nr, p.step == 1);
	else
		got = fill_steps(t, p.nr, p.step);
	if (!got)
		return no_page(t);

	count_fault(t, got);
	/* The guessed page farthest from the touched one tells if it was right. */
	return insert_run(t, from, got, p.step == -1 ? 1 : p.step,
			  got == 1 ? PW_NO_SAMPLE : p.step == -1 ? 0 : got - 1);
}

/* Pages of the heap that this page table lacks, after fork or mprotect(). */
static vm_fault_t refault(struct touch *t)
{
	unsigned long from = max(t->page & ~(REFAULT_PAGES - 1UL), t->lo);
	unsigned long to = min((t->page | (REFAULT_PAGES - 1UL)) + 1, t->hi);

	pw_stat_inc(refaults);
	pw_stat_add(refault_pages, to - from);
	pw_chunk_keep(t->c, from & PW_SLOT_MASK, to - from);
	return insert(t, from, to - from);
}

/* Take a page, or a block by its head, away from another heap where it is behind @page. */
static bool take_away(struct pw_heap *h, unsigned long page, u32 pfn)
{
	unsigned long slot = page >> PW_SLOT_SHIFT;
	struct pw_chunk *c = pw_chunk_lock(h, slot);
	bool found, block = false;

	if (!c)
		return false;
	/* What no other has any more is not what was looked for, but in its place. */
	found = c->pfn[page & PW_SLOT_MASK] == pfn && pw_page_sharers(pfn_to_page(pfn));
	if (found) {
		c = pw_chunk_own(h, slot, c);
		block = c->block;
		pw_chunk_keep(c, page & PW_SLOT_MASK, 1);
		if (block)
			pw_chunk_take_away(h, slot, c);
		else
			c->pfn[page & PW_SLOT_MASK] = PW_PFN_GONE;
	}
	pw_chunk_unlock(c);
	if (!found)
		return false;
	if (!block) {
		/* Unmapped before it is dropped: it must not see what comes next. */
		pw_family_zap(h, page, 1);
		pw_pages_drop(&pfn, 1, 0);
	}
	pw_stat_inc(cow_stolen);
	return true;
}

/* The heap, or its parent, has moved the page: look everywhere. */
static void search_and_take(struct pw_heap *h, u32 pfn)
{
	unsigned long slot;
	struct pw_chunk *c;
	unsigned int i;

	for (slot = 0; pw_slot_next(h, &slot, ULONG_MAX);
	     slot++) {
		c = pw_chunk_lock(h, slot);
		if (!c)
			continue;
		for_each_set_bit(i, c->used, PW_SLOT_PAGES)
			if (c->pfn[i] == pfn)
				break;
		pw_chunk_unlock(c);
		if (i < PW_SLOT_PAGES &&
		    take_away(h, (slot << PW_SLOT_SHIFT) + i, pfn))
			return;
	}
}

/*
 * The pool has no page for a copy, and this heap was promised that it can
 * write. Its relatives were promised nothing: take the page away from them.
 */
static void steal(struct pw_heap *heap, unsigned long page, u32 pfn)
{
	struct pw_family *family = heap->family;
	struct pw_heap *h;

	mutex_lock(&family->lock);
	list_for_each_entry(h, &family->heaps, family_node)
		if (h != heap && !take_away(h, page, pfn) &&
		    pw_page_sharers(pfn_to_page(pfn)))
			search_and_take(h, pfn);
	mutex_unlock(&family->lock);
}

/*
 * There is no memory for a copy of a page or block, @pfn, that stands behind
 * @page, @over: not even beyond the ceiling. Unlocks the chunk: the fault is tried
 * again when nobody else has it in an index, and by then that may be so.
 */
static vm_fault_t no_copy(struct touch *t, unsigned long page, u32 pfn, bool over)
{
	if (!t->promised || over)
		return no_page(t);
	pw_chunk_unlock(t->c);
	t->c = NULL;
	steal(t->heap, page, pfn);
	return VM_FAULT_NOPAGE;
}

/*
 * What was promised, and nobody has but a pipe, say, or who is reading it just now, is
 * given up by the pool or comes back to it, so its copy may come beyond the ceiling.
 */
static bool may_copy_over(const struct touch *t, u32 old)
{
	return t->promised && !pw_page_sharers(pfn_to_page(old));
}

/* A page for a copy, 0 if none can be had. */
static u32 page_for_copy(bool over)
{
	u32 new = 0;

	if (!pw_pool_alloc(&new, 1, 0) &&
	    !(pw_heaps_reclaim(1) && pw_pool_alloc(&new, 1, 0)) &&
	    over && !pw_pool_reserve_over(1) &&
	    !pw_pool_alloc(&new, 1, PW_ALLOC_PROMISED))
		pw_pool_unreserve(1);
	return new;
}

static vm_fault_t copy(struct touch *t, bool mapped)
{
	unsigned int i = t->page & PW_SLOT_MASK;
	u32 *entry = entry_at(t, t->page);
	unsigned long addr = addr_of(t, t->page);
	bool pays = pw_chunk_pays_for(t->heap, t->c, i, t->promised);
	u32 old = *entry, new;
	bool over = may_copy_over(t, old);

	pw_chunk_keep(t->c, i, 1);
	new = page_for_copy(over);
	if (!new)
		return no_copy(t, t->page, old, over);
	copy_user_highpage(pfn_to_page(new), pfn_to_page(old), addr, t->vma);
	pw_map_zap(t->vma, addr, PAGE_SIZE);
	/* What it pays for from here on is the copy; others keep the page. */
	if (pays && pw_page_sharers(pfn_to_page(old)))
		pw_page_charge(t->heap, old);
	if (!pw_page_unshare(old)) {
		/* Nobody else has it in an index, or not any more. */
		if (pw_chunk_clear_suspect(t->c, i, mapped)) {
			if (pays)
				pw_page_uncharge(pfn_to_page(old));
			pw_pool_free_one(new, 0);
			return insert(t, t->page, 1);
		}
		pw_pages_drop(&old, 1, 0);
	}
	*entry = new;
	__clear_bit(i, t->c->suspect);
	if (!t->promised)
		pw_chunk_pay_copies(t->heap, t->c, i, 1);
	pw_stat_inc(cow_copies);
	atomic64_inc(&t->heap->cow_copies);
	trace_pw_copy(addr);
	return insert(t, t->page, 1);
}

static vm_fault_t make_writable(struct touch *t)
{
	struct pw_run run = {
		.vma = t->vma, .pmd = t->vmf->pmd, .c = t->c,
		.addr = addr_of(t, t->lo),
		.i = t->lo & PW_SLOT_MASK, .nr = t->hi - t->lo, .step = 1,
	};

	return pw_map_mkwrite(&run) ? VM_FAULT_OOM : VM_FAULT_NOPAGE;
}

/*
 * A write to a page of the index; @mapped read-only, with a reference that the
 * kernel took for the fault, or not mapped at all.
 */
static vm_fault_t write_touch(struct touch *t, bool mapped)
{
	struct page *page;

	t->c = pw_chunk_own(t->heap, t->slot, t->c);
	page = pfn_to_page(*entry_at(t, t->page));
	if (pw_page_sharers(page) ||
	    !pw_chunk_clear_suspect(t->c, t->page & PW_SLOT_MASK, mapped)) {
		pw_stat_inc(cow_faults);
		return copy(t, mapped);
	}
	if (!mapped)
		return refault(t);
	/* The last sharer is gone; that holds for the neighbours, too. */
	pw_stat_inc(cow_reused);
	return make_writable(t);
}

/* What was in the way is not any more: the touch starts over. */
static vm_fault_t touch(struct touch *t);

/*
 * A block that cannot be mapped by one entry: part of the slot is unmapped or
 * protected, or has been, and a page table is there. If it is held and so must
 * stay what it is, the kernel maps the one page that is touched.
 */
static vm_fault_t map_part(struct touch *t)
{
	if (pw_chunk_cut(t->heap, t->slot, t->c))
		return touch(t);
	if (pw_map_make_table(t->vma, addr_of(t, t->page)))
		return VM_FAULT_OOM;
	return map_block(t);
}

/* A write to a block; @known references are the fault's own. */
static vm_fault_t write_block(struct touch *t, unsigned int known)
{
	struct page *head = pfn_to_page(t->c->block);
	bool over;

	t->c = pw_chunk_own(t->heap, t->slot, t->c);
	if (t->c->block && !pw_page_sharers(head) &&
	    !pw_block_is_held(t->c, known))
		bitmap_zero(t->c->suspect, PW_SLOT_PAGES);
	over = t->c->block && may_copy_over(t, t->c->block);
	if (t->c->block && !pw_block_is_exclusive(t->c) &&
	    !pw_chunk_copy_block(t->heap, t->slot, t->c, over))
		return no_copy(t, t->slot << PW_SLOT_SHIFT, t->c->block, over);
	if (!t->c->block)
		return known ? VM_FAULT_NOPAGE : touch(t);
	if (known) {
		lock_page(head);
		return VM_FAULT_LOCKED;
	}
	return slot_is_whole(t) ? map_block(t) : map_part(t);
}

static vm_fault_t touch_block(struct touch *t)
{
	pw_stat_inc(refaults);
	if (t->write)
		return write_block(t, 0);
	return slot_is_whole(t) ? map_block(t) : map_part(t);
}

static vm_fault_t segv(struct touch *t)
{
	pw_stat_inc(segv);
	trace_pw_segv(addr_of(t, t->page));
	return VM_FAULT_SIGSEGV;
}

/* The page is packed, or was taken away. */
static noinline vm_fault_t touch_no_page(struct touch *t)
{
	unsigned int i = t->page & PW_SLOT_MASK;

	if (*entry_at(t, t->page) == PW_PFN_GONE)
		return no_page(t);
	t->c = pw_chunk_own(t->heap, t->slot, t->c);
	return pw_chunk_unpack(t->heap, t->c, i, i + 1) ? touch(t) : no_page(t);
}

static vm_fault_t touch(struct touch *t)
{
	u32 pfn = *entry_at(t, t->page);

	if (unlikely(pfn >= PW_PFN_PACKED))
		return touch_no_page(t);
	if (!pfn)
		return first_touch(t);
	if (t->c->block)
		return touch_block(t);
	if (t->write)
		return write_touch(t, false);
	return refault(t);
}

/* The chunk of a touched slot; a wild touch must not leave one behind. */
static struct pw_chunk *lock_slot(struct touch *t, vm_fault_t *ret)
{
	struct pw_chunk *c = pw_chunk_lock(t->heap, t->slot);

	if (c)
		return c;
	if (!look_up(t)) {
		*ret = segv(t);
		return NULL;
	}
	*ret = VM_FAULT_OOM;
	return pw_chunk_lock_new(t->heap, t->slot, GFP_KERNEL_ACCOUNT);
}

static struct touch touch_of(struct vm_fault *vmf, bool write)
{
	return (struct touch){
		.heap = vmf->vma->vm_private_data,
		.vma = vmf->vma,
		.vmf = vmf,
		.page = vmf->pgoff,
		.slot = vmf->pgoff >> PW_SLOT_SHIFT,
		.write = write,
	};
}

static vm_fault_t pw_fault(struct vm_fault *vmf)
{
	struct touch t = touch_of(vmf, vmf->flags & FAULT_FLAG_WRITE);
	vm_fault_t ret;

	if (t.heap->poisoned)
		return no_page(&t);
	t.c = lock_slot(&t, &ret);
	if (!t.c)
		return ret;
	/* Asked with the chunk locked: nobody can take the page away unseen. */
	if (look_up(&t))
		ret = touch(&t);
	else
		ret = segv(&t);
	if (t.c)
		pw_chunk_unlock(t.c);
	return ret;
}

/* A write to a page that is mapped read-only. */
static vm_fault_t pw_mkwrite(struct vm_fault *vmf)
{
	struct touch t = touch_of(vmf, true);
	vm_fault_t ret = VM_FAULT_NOPAGE;

	t.c = pw_chunk_lock(t.heap, t.slot);
	if (!t.c)
		return VM_FAULT_NOPAGE;
	if (*entry_at(&t, t.page) != page_to_pfn(vmf->page))
		goto out;
	if (!look_up(&t))
		ret = segv(&t);
	else if (t.c->block)
		ret = write_block(&t, 1);
	else
		ret = write_touch(&t, true);
out:
	if (t.c)
		pw_chunk_unlock(t.c);
	return ret;
}

/* A write to the zero page: a page takes its place. */
static vm_fault_t pw_zero_mkwrite(struct vm_fault *vmf)
{
	struct touch t = touch_of(vmf, true);
	vm_fault_t ret;

	t.c = lock_slot(&t, &ret);
	if (!t.c)
		return ret;
	if (look_up(&t)) {
		pw_map_zap(t.vma, addr_of(&t, t.page), PAGE_SIZE);
		if (t.c->users == 1)
			__clear_bit(t.page & PW_SLOT_MASK, t.c->zeros);
		ret = touch(&t);
		/* A block has come meanwhile: whoever called us unlocks no page. */
		if (ret & VM_FAULT_LOCKED) {
			unlock_page(vmf->page);
			put_page(vmf->page);
			ret = VM_FAULT_NOPAGE;
		}
	} else {
		ret = segv(&t);
	}
	if (t.c)
		pw_chunk_unlock(t.c);
	return ret;
}

/*
 * Fault-around is ours; but a VMA that has this callback has its faults taken
 * under its own lock, others wait for the mmap_lock.
 */
static vm_fault_t pw_map_pages(struct vm_fault *vmf, pgoff_t start, pgoff_t end)
{
	return 0;
}

/* mremap() grows a heap in place; anywhere else its pages would not be found. */
static int pw_vma_mremap(struct vm_area_struct *vma)
{
	return -EINVAL;
}

/* A name puts the VMA into core dumps, as anonymous memory is. */
static const char *pw_vma_name(struct vm_area_struct *vma)
{
	if ((vma->vm_flags & VM_DONTDUMP) ||
	    !test_bit(MMF_DUMP_ANON_PRIVATE, &vma->vm_mm->flags))
		return NULL;
	return "[pagewell]";
}

/* What the heap has at an address, whatever the regions say, or zeros. */
static bool read_page(struct pw_heap *heap, unsigned long page,
		      unsigned long offset, void *buf, int len)
{
	unsigned long slot = page >> PW_SLOT_SHIFT;
	unsigned int i = page & PW_SLOT_MASK;
	struct pw_chunk *c = pw_chunk_lock(heap, slot);
	bool ok = true;

	memset(buf, 0, len);
	if (!c)
		return true;
	if (pw_pfn_is_packed(c->pfn[i])) {
		c = pw_chunk_own(heap, slot, c);
		ok = pw_chunk_unpack(heap, c, i, i + 1);
	}
	if (pw_pfn_is_page(c->pfn[i]))
		memcpy_from_page(buf, pfn_to_page(c->pfn[i]), offset, len);
	pw_chunk_unlock(c);
	return ok;
}

/*
 * A debugger reads what the program itself may not touch: where nothing is,
 * zeros, as from memory that nobody has touched. After an error gcore would
 * leave out all of the heap that lies behind.
 */
static int pw_vma_access(struct vm_area_struct *vma, unsigned long addr, void *buf,
			 int len, int write)
{
	unsigned long offset = offset_in_page(addr);

	if (write)
		return -EFAULT;
	len = min_t(int, len, PAGE_SIZE - offset);
	return read_page(vma->vm_private_data, linear_page_index(vma, addr),
			 offset, buf, len) ? len : -EFAULT;
}

#define PW_VM_OPS_COMMON						\
	.access = pw_vma_access,					\
	.open = pw_vma_open,						\
	.close = pw_vma_close,						\
	.mremap = pw_vma_mremap,					\
	.fault = pw_fault,						\
	.map_pages = pw_map_pages,					\
	.name = pw_vma_name

/*
 * Two of them: the kernel refuses long-term pins (io_uring, RDMA) where there
 * is a mkwrite, and only a heap that shares pages needs one.
 */
const struct vm_operations_struct pw_vm_ops = {
	PW_VM_OPS_COMMON,
};

const struct vm_operations_struct pw_vm_ops_cow = {
	PW_VM_OPS_COMMON,
	.page_mkwrite = pw_mkwrite,
	.pfn_mkwrite = pw_zero_mkwrite,
};

/* Populating */

/* Pages are there now: what maps the zero page in their place must go. */
static void replace_zeros(struct touch *t, unsigned long to)
{
	unsigned int i = t->page & PW_SLOT_MASK;
	unsigned int nr = to - t->page;

	if (find_next_bit(t->c->zeros, i + nr, i) >= i + nr)
		return;
	pw_map_zap(t->vma, addr_of(t, t->page),
		   (unsigned long)nr << PAGE_SHIFT);
	if (t->c->users == 1)
		bitmap_clear(t->c->zeros, i, nr);
}

static int populate_slot(struct touch *t, unsigned long to)
{
	unsigned long first = t->slot << PW_SLOT_SHIFT;
	unsigned long page = t->page, end, got;

	if (!t->c->nr && t->huge != PAGEWELL_HUGE_NEVER && page == first &&
	    to == first + PW_SLOT_PAGES && slot_is_whole(t)) {
		t->c = pw_chunk_own(t->heap, t->slot, t->c);
		take_block(t);
	}
	if (t->c->block)
		return 0;

	for (;;) {
		page = first + find_next_zero_bit(t->c->used, to - first,
						  page - first);
		if (page >= to)
			break;
		t->c = pw_chunk_own(t->heap, t->slot, t->c);
		end = first + find_next_bit(t->c->used, to - first,
					    page - first);
		got = fill(t, &page, end - page, true);
		pw_stat_add(fault_pages, got);
		atomic64_add(got, &t->heap->fault_pages);
		if (!got)
			return -ENOMEM;
		page += got;
	}
	pw_chunk_keep(t->c, t->page & PW_SLOT_MASK, to - t->page);
	replace_zeros(t, to);
	if (t->c->packed) {
		t->c = pw_chunk_own(t->heap, t->slot, t->c);
		if (!pw_chunk_unpack(t->heap, t->c, t->page & PW_SLOT_MASK,
				     to - first))
			return -ENOMEM;
	}
	if (insert(t, t->page, to - t->page) != VM_FAULT_NOPAGE)
		return -ENOMEM;
	for (page = t->page; page < to; page++)
		if (*entry_at(t, page) == PW_PFN_GONE)
			return -ENOMEM;
	return 0;
}

/* As far as slot, region and VMA reach; *page is where to go on. */
static int populate_some(struct pw_heap *heap, unsigned long *page,
			 unsigned long hi)
{
	unsigned long addr = pw_heap_addr(heap, *page);
	struct touch t = {
		.heap = heap,
		.page = *page,
		.slot = *page >> PW_SLOT_SHIFT,
	};
	bool block, write;
	int err = -ENOMEM;

	t.vma = find_vma_intersection(heap->mm, addr, addr + PAGE_SIZE);
	if (!t.vma || !pw_vma_is_ours(t.vma) ||
	    t.vma->vm_private_data != heap || heap->poisoned)
		return -ENOMEM;
	t.c = pw_chunk_lock(heap, t.slot);
	/* As for a touch: what is wild leaves no chunk behind. */
	if (!t.c && look_up(&t))
		t.c = pw_chunk_lock_new(heap, t.slot, GFP_KERNEL_ACCOUNT);
	if (!t.c)
		return -ENOMEM;
	if (look_up(&t)) {
		unsigned long to = min(t.hi, hi);

		err = populate_slot(&t, to);
		*page = to;
	}
	block = t.c->block;
	/* What others have, too, is not copied before it is written to. */
	write = block && t.writable && pw_block_is_exclusive(t.c);
	pw_chunk_unlock(t.c);
	/* The kernel maps it, and for that takes the way of a fault. */
	if (block && !err &&
	    fixup_user_fault(heap->mm, addr, write ? FAULT_FLAG_WRITE : 0, NULL))
		err = -ENOMEM;
	return err;
}

/**
 * pw_populate() - put pages in place before they are touched
 * @heap: the caller's own
 * @lo: first page
 * @hi: page behind the last
 *
 * Return: 0; -ENOMEM when a page cannot be had or part of the range is not mapped,
 * -EINTR when the task is to die. What came before that is in place.
 */
int pw_populate(struct pw_heap *heap, unsigned long lo, unsigned long hi)
{
	int err = 0;

	mmap_read_lock(heap->mm);
	while (lo < hi && !err) {
		err = populate_some(heap, &lo, hi);
		if (fatal_signal_pending(current))
			err = -EINTR;
		pw_let_writers_in(heap->mm);
	}
	mmap_read_unlock(heap->mm);
	return err;
}
