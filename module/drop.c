// SPDX-License-Identifier: GPL-2.0-only
/*
 * drop.c - pages leave a heap
 *
 * Order of every removal: the new layout is published; then, with the chunk
 * locked, pages are detached from the index, unmapped, and only then dropped.
 * A page that is dropped while an entry still leads to it would look pinned
 * and be lost to the pool.
 */
#include <linux/highmem.h>
#include <linux/mmap_lock.h>

#include "chunk.h"
#include "heap.h"
#include "pool.h"
#include "stats.h"

/**
 * pw_pages_gone() - pages are not a heap's any more
 * @heap: whose
 * @nr: how many
 *
 * With them go, in proportion, those that were brought in on a guess.
 */
void pw_pages_gone(struct pw_heap *heap, unsigned int nr)
{
	long left = atomic_long_sub_return(nr, &heap->resident);
	long guessed = READ_ONCE(heap->guessed);

	if (nr && guessed)
		WRITE_ONCE(heap->guessed, guessed * left / (left + nr));
}

/**
 * pw_chunk_detach() - take the next pages out of an index
 * @heap: whose; they count as resident still
 * @c: its chunk, locked, not shared, without a block
 * @from: first entry to look at
 * @to: entry behind the last
 * @b: filled in; without a page when there was none
 */
void pw_chunk_detach(struct pw_heap *heap, struct pw_chunk *c, unsigned int from,
		     unsigned int to, struct pw_batch *b)
{
	unsigned int i = find_next_bit(c->used, to, from);

	pw_chunk_keep(c, from, to - from);
	b->nr = 0;
	b->first = i;
	b->end = i;
	for (; i < to && b->nr < PW_DROP_BATCH;
	     i = find_next_bit(c->used, to, i + 1)) {
		if (unlikely(pw_pfn_is_packed(c->pfn[i])))
			pw_chunk_packed(heap, c, -1);
		b->pfns[b->nr++] = c->pfn[i];
		b->end = i + 1;
		c->pfn[i] = 0;
		__clear_bit(i, c->used);
		__clear_bit(i, c->suspect);
	}
	c->nr -= b->nr;
}

/* Give up our hold on pages; those that nobody else has are moved up front. */
static unsigned int drop_shares(u32 *pfns, unsigned int nr)
{
	struct pw_charges charges = { .payer = NULL };
	unsigned int i, last = 0;

	for (i = 0; i < nr; i++) {
		struct page *page;

		if (!pw_pfn_is_page(pfns[i])) {
			if (pw_pfn_is_packed(pfns[i]))
				pw_packed_put(pfns[i]);
			continue;
		}
		page = pfn_to_page(pfns[i]);
		if (pw_page_sharers(page) &&
		    atomic_long_dec_return(pw_sharers(page)) >= 0)
			continue;
		set_page_private(page, 0);
		if (unlikely(pw_page_is_charged(page)))
			pw_charges_add(&charges, page);
		pfns[last++] = pfns[i];
	}
	pw_charges_end(&charges);
	return last;
}

/**
 * pw_pages_drop() - let go of pages that were taken out of an index
 * @pfns: which, unmapped from this heap; the array is used up
 * @nr: how many
 * @flags: for pw_pool_free()
 */
void pw_pages_drop(u32 *pfns, unsigned int nr, unsigned int flags)
{
	nr = drop_shares(pfns, nr);
	if (nr)
		pw_pool_free(pfns, nr, flags);
}

/*
 * The same, and each of the pages becomes a promise again: by itself, or, if
 * others keep it, by one of the @spare promises made for that.
 */
static void drop_keeping_promise(struct pw_heap *heap, u32 *pfns,
				 unsigned int nr, unsigned long *spare)
{
	unsigned int last = drop_shares(pfns, nr);
	unsigned long used = min_t(unsigned long, nr - last, *spare);

	if (last)
		pw_pool_free(pfns, last, PW_FREE_PROMISED);
	*spare -= used;
	atomic_long_add(last + used, &heap->promised);
}

/*
 * Pages of a range go. Four ask for that:
 *
 *	pw_range_drop()		an unmap, a break that shrinks: mapped, leave
 *	pw_range_clear()	advice, the region stays: mapped
 *	pw_range_vacate()	the addresses are free: none of the two
 *	forget()		the VMA is gone: none of the two; first it keeps promises
 */
struct drop {
	struct pw_heap *heap;
	bool mapped;		/* there may be entries: zap, under mmap_lock */
	bool leave;		/* for good; what is shared on purpose others keep */
	bool promised;		/* it is, or was, a strict region */
	bool keep_promise;	/* each page becomes a promise again, or the drop fails */
	bool unback;		/* its region stays, and has no promise for it */
	bool mmap_locked;
	int err;		/* where may_fail() */
	unsigned long dropped;	/* pages, but for those left by an unmap before */
};

/* Advice may, and a first try to keep promises; what loses addresses or VMA must go. */
static bool may_fail(const struct drop *d)
{
	return d->keep_promise || (d->mapped && !d->leave);
}

/* Pages of [from, to) that others will keep when we let go of them. */
static unsigned long count_kept(const struct pw_chunk *c, unsigned int from,
				unsigned int to)
{
	unsigned long n = 0;
	unsigned int i;

	if (c->block)
		return pw_page_sharers(pfn_to_page(c->block)) ? to - from : 0;
	for (i = find_next_bit(c->used, to, from); i < to;
	     i = find_next_bit(c->used, to, i + 1))
		n += !pw_pfn_is_page(c->pfn[i]) ||
		     pw_page_sharers(pfn_to_page(c->pfn[i]));
	return n;
}

/* How many of [from, to) an unmap had left there; they are going now. */
static unsigned int end_left(struct pw_chunk *c, unsigned int from, unsigned int to)
{
	unsigned int i, n = 0;

	for (i = find_next_bit(c->left, to, from); i < to;
	     i = find_next_bit(c->left, to, i + 1), n++)
		__clear_bit(i, c->left);
	return n;
}

/* Does somebody refer to one of the pages? */
static bool any_is_held(const struct pw_chunk *c, unsigned int from, unsigned int to)
{
	unsigned int i;

	if (c->block)
		return pw_block_is_held(c, 0);
	for (i = find_next_bit(c->used, to, from); i < to;
	     i = find_next_bit(c->used, to, i + 1))
		if (pw_pfn_is_page(c->pfn[i]) && pw_page_is_held(pfn_to_page(c->pfn[i]), 0))
			return true;
	return false;
}

/*
 * Pages that are lost while their promises are kept are replaced, beyond the
 * ceiling of the pool if need be. That comes to an end for who loses them.
 */
static bool may_keep_promise(const struct pw_chunk *c, unsigned int from, unsigned int to)
{
	return likely(!pw_pool_is_overdrawn()) || !any_is_held(c, from, to);
}

static void drop_block(struct drop *d, unsigned long slot, struct pw_chunk *c)
{
	unsigned long spare = d->keep_promise ?
			      count_kept(c, 0, PW_SLOT_PAGES) : 0;
	unsigned int left;
	u32 pfn;

	if ((d->keep_promise && !may_keep_promise(c, 0, PW_SLOT_PAGES)) ||
	    (spare && pw_pool_reserve(spare))) {
		d->err = -ENOMEM;
		return;
	}
	left = end_left(c, 0, PW_SLOT_PAGES);
	pw_chunk_pass_charge(d->heap, c, 0, PW_SLOT_PAGES, d->promised);
	pfn = pw_chunk_detach_block(d->heap, slot, c, d->mapped);
	pw_pages_gone(d->heap, PW_SLOT_PAGES);
	pw_chunk_stop_paying(d->heap, c);
	pw_family_wait(d->heap);
	d->dropped += PW_SLOT_PAGES - left;
	/* Promised by itself, or by the spare ones if another chunk has it. */
	pw_block_put(pfn, d->keep_promise && !spare ? PW_FREE_PROMISED : 0);
	if (d->keep_promise) {
		atomic_long_add(PW_SLOT_PAGES, &d->heap->promised);
		pw_heap_unpromise(d->heap, left);
	}
}

static bool is_left_over(struct pw_heap *heap, const struct pw_chunk *c,
			 unsigned long first, unsigned int i)
{
	struct pw_where where;

	return test_bit(i, c->left) && !pw_region_lookup(heap, first + i, &where);
}

/*
 * Copies of pages [lo, hi) of a block that the heap has left, which count and are
 * charged as those were. Those of a strict region were promised, and come beyond the
 * ceiling if need be; what cannot be had is lost. What an unmap had left is given up.
 */
static void copy_rest(struct pw_heap *heap, unsigned long lo, unsigned long hi,
		      struct pw_chunk *c, u32 block)
{
	unsigned long first = lo & ~(unsigned long)PW_SLOT_MASK, end;

	for (; lo < hi; lo = end) {
		bool lazy = pw_region_unpromised(heap, lo, &end);
		unsigned int i = lo & PW_SLOT_MASK, to, got = 0;

		if (is_left_over(heap, c, first, i)) {
			__clear_bit(i, c->left);
			pw_pages_gone(heap, 1);
			pw_chunk_stop_paying_for(heap, c, i, i + 1);
			end = lo + 1;
			continue;
		}
		end = min(hi, end);
		to = i + (end - lo);
		if (lazy) {
			got = pw_pool_alloc(c->pfn + i, to - i, 0);
		} else if (!pw_pool_reserve_over(to - i)) {
			got = pw_pool_alloc(c->pfn + i, to - i, PW_ALLOC_PROMISED);
			pw_pool_unreserve(to - i - got);
		}
		pw_chunk_filled(c, i, to - i);
		if (lazy)
			pw_chunk_pay_copies(heap, c, i, got);
		for (got += i; i < got; i++)
			copy_highpage(pfn_to_page(c->pfn[i]), pfn_to_page(block + i));
		pw_chunk_stop_paying_for(heap, c, i, to);
		for (; i < to; i++)
			c->pfn[i] = PW_PFN_GONE;
	}
}

/*
 * Part of a block goes for good, others have or had the block too, and there is
 * no memory to copy all of it: the heap leaves it to them.
 */
static void leave_block(struct drop *d, unsigned long slot, struct pw_chunk *c,
			unsigned int from, unsigned int to)
{
	unsigned long first = slot << PW_SLOT_SHIFT;
	u32 block = c->block;

	pw_block_unmap(d->heap, slot, pfn_to_page(block));
	pw_slot_pass_charge(d->heap, slot, c);
	pw_chunk_detach_block(d->heap, slot, c, false);
	pw_pages_gone(d->heap, to - from);
	pw_chunk_stop_paying_for(d->heap, c, from, to);
	copy_rest(d->heap, first, first + from, c, block);
	copy_rest(d->heap, first + to, first + PW_SLOT_PAGES, c, block);
	d->dropped += to - from - end_left(c, from, to);
	pw_family_wait(d->heap);
	pw_block_put(block, 0);
	pw_stat_inc(huge_cut);
}

/*
 * Part of a block goes, and somebody holds the block, so it stays in one piece:
 * that part is cleared in place, and stays the heap's. If its region goes too, it
 * keeps the page that its promise has become, and goes with what is around it.
 */
static void clear_part(struct drop *d, unsigned long slot, struct pw_chunk *c,
		       unsigned int from, unsigned int to)
{
	unsigned long first = slot << PW_SLOT_SHIFT;

	if (d->leave) {
		d->dropped += to - from - end_left(c, from, to);
		bitmap_set(c->left, from, to - from);
		if (!pw_page_is_charged(pfn_to_page(c->block)))
			pw_chunk_pay_copies(d->heap, c, from, to - from);
	}
	if (d->mapped)
		pw_heap_zap(d->heap, first + from, first + to);
	for (; from < to; from++)
		clear_highpage(pfn_to_page(c->pfn[from]));
}

/*
 * With a part goes what an unmap left on either side of it. That is on its way to no
 * other place: a remap has unmap_lock, as who unmaps a map has; and a break has its
 * slots for itself.
 */
static void widen(struct drop *d, unsigned long slot, const struct pw_chunk *c,
		  unsigned int *from, unsigned int *to)
{
	unsigned long first = slot << PW_SLOT_SHIFT;

	while (*to < PW_SLOT_PAGES && is_left_over(d->heap, c, first, *to))
		++*to;
	while (*from && is_left_over(d->heap, c, first, *from - 1))
		--*from;
}

/*
 * As pw_chunk_make_small(), where the part may be in no region any more, so that its charge is
 * not found when the block goes. Not before the block cannot be cut: who cuts it keeps
 * the rest, and is charged for that. Return: false when the part is dealt with.
 */
static bool make_small_for(struct drop *d, unsigned long slot, struct pw_chunk *c,
			   unsigned int from, unsigned int to)
{
	if (pw_chunk_cut(d->heap, slot, c))
		return true;
	if (!pw_block_must_leave(c)) {
		clear_part(d, slot, c, from, to);
		return false;
	}
	/* For advice the region is there: its charge is found when the block goes. */
	if (!may_fail(d))
		pw_chunk_pass_charge(d->heap, c, from, to, d->promised);
	if (pw_chunk_copy_block(d->heap, slot, c, false))
		return true;
	/* What must go goes, whatever that costs the rest. */
	if (may_fail(d))
		d->err = -ENOMEM;
	else
		leave_block(d, slot, c, from, to);
	return false;
}

static void drop_part(struct drop *d, unsigned long slot, struct pw_chunk *c,
		      unsigned int from, unsigned int to)
{
	unsigned long first = slot << PW_SLOT_SHIFT;
	unsigned long spare = 0;
	unsigned int left;
	struct pw_batch b;

	if (d->leave)
		widen(d, slot, c, &from, &to);
	if (c->block && to - from == PW_SLOT_PAGES) {
		drop_block(d, slot, c);
		return;
	}
	if (!make_small_for(d, slot, c, from, to))
		return;

	if (d->keep_promise)
		spare = count_kept(c, from, to);
	if ((d->keep_promise && !may_keep_promise(c, from, to)) ||
	    (spare && pw_pool_reserve(spare))) {
		d->err = -ENOMEM;
		return;
	}
	left = end_left(c, from, to);
	if (!d->keep_promise)
		d->dropped -= left;
	pw_chunk_pass_charge(d->heap, c, from, to, d->promised);
	for (;; from = b.end) {
		pw_chunk_detach(d->heap, c, from, to, &b);
		if (!b.nr)
			break;
		pw_pages_gone(d->heap, b.nr);
		pw_chunk_stop_paying_for(d->heap, c, b.first, b.end);
		if (d->mapped)
			pw_heap_zap(d->heap, first + b.first, first + b.end);
		d->dropped += b.nr;
		pw_family_wait(d->heap);
		if (d->keep_promise)
			drop_keeping_promise(d->heap, b.pfns, b.nr, &spare);
		else
			pw_pages_drop(b.pfns, b.nr, 0);
	}
	pw_pool_unreserve(spare);
	if (d->keep_promise)
		pw_heap_unpromise(d->heap, left);
}

/* Nothing but an unmap, which is of whole slots, lets go of these. */
static void drop_shared(struct drop *d, unsigned long slot, struct pw_chunk *c)
{
	unsigned long first = slot << PW_SLOT_SHIFT;

	if (!d->leave)
		return;
	if (c->block)
		pw_block_wait(pfn_to_page(c->block));
	if (c->nr)
		pw_heap_zap(d->heap, first, first + PW_SLOT_PAGES);
	d->dropped += PW_SLOT_PAGES;
	pw_chunk_leave_shared(d->heap, slot, c);
}

/*
 * Part of a slot went, and that was the last of it. Programs often map such a
 * part again at once, so the chunk stays until this happens to another one.
 */
static void leave_idle(struct pw_heap *heap, unsigned long slot)
{
	unsigned long old = xchg(&heap->idle_slot, slot);
	struct pw_chunk *c;

	if (old == slot || old == PW_NO_SLOT)
		return;
	c = pw_chunk_lock(heap, old);
	if (!c)
		return;
	if (!c->shared && c->users == 1 && pw_chunk_is_unused(c))
		pw_chunk_remove(heap, old, c);
	pw_chunk_unlock(c);
}

static void drop_in_slot(struct drop *d, unsigned long slot,
			 unsigned int from, unsigned int to)
{
	struct pw_chunk *c = pw_chunk_lock(d->heap, slot);
	bool entries = c && pw_chunk_has_entries(c, from, to);
	bool idle;

	if (entries && d->mapped && !d->mmap_locked) {
		/* The mmap_lock comes before chunks: if it is taken, back off. */
		if (!mmap_read_trylock(d->heap->mm)) {
			pw_chunk_unlock(c);
			mmap_read_lock(d->heap->mm);
			c = pw_chunk_lock(d->heap, slot);
			entries = c && pw_chunk_has_entries(c, from, to);
		}
		d->mmap_locked = true;
	}
	if (!c)
		return;
	if (c->shared) {
		drop_shared(d, slot, c);
		pw_chunk_unlock(c);
		return;
	}
	if (entries)
		c = pw_chunk_own(d->heap, slot, c);
	if (entries && pw_chunk_has_pages(c, from, to))
		drop_part(d, slot, c, from, to);
	if (entries && c->users == 1)
		pw_chunk_drop_zeros(d->heap, slot, c, from, to, d->mapped);
	idle = pw_chunk_is_unused(c) && c->users == 1;
	if (idle && to - from == PW_SLOT_PAGES)
		pw_chunk_remove(d->heap, slot, c);
	/* Before anybody finds that they are gone. */
	if (d->unback)
		atomic_long_add(d->dropped, &d->heap->unbacked);
	pw_chunk_unlock(c);
	if (idle && to - from < PW_SLOT_PAGES)
		leave_idle(d->heap, slot);
}

static void drop_range(struct drop *d, unsigned long lo, unsigned long hi)
{
	unsigned long slot = lo >> PW_SLOT_SHIFT;
	unsigned long last = (hi - 1) >> PW_SLOT_SHIFT;

	/* Pairs with the barrier in pw_chunk_lock_new(). */
	smp_mb();
	while (!d->err && pw_slot_next(d->heap, &slot, last)) {
		unsigned long first = slot << PW_SLOT_SHIFT;

		drop_in_slot(d, slot, lo > first ? lo - first : 0,
			     min(hi - first, (unsigned long)PW_SLOT_PAGES));
		if (slot++ == last)
			break;
		/* Of what is going for good, munmap() must not find a part. */
		if (d->mmap_locked && !d->leave)
			pw_let_writers_in(d->heap->mm);
	}
	if (d->mmap_locked)
		mmap_read_unlock(d->heap->mm);
}

/**
 * pw_range_drop() - take pages out of a heap, unmap them, let them go
 * @heap: the caller's own
 * @lo: first page
 * @hi: page behind the last
 * @promised: the range was strict
 *
 * Takes the mmap_lock for read if there is something to unmap. Of what is shared
 * on purpose the range has whole slots.
 *
 * Return: pages dropped.
 */
unsigned long pw_range_drop(struct pw_heap *heap, unsigned long lo,
			    unsigned long hi, bool promised)
{
	struct drop d = {
		.heap = heap, .mapped = true, .leave = true, .promised = promised,
	};

	drop_range(&d, lo, hi);
	return d.dropped;
}

/**
 * pw_range_clear() - the same where the range stays mapped: it reads as zero
 * @heap: the caller's own
 * @lo: first page
 * @hi: page behind the last
 * @promised: the range is strict, each page becomes a promise again
 *
 * Return: 0, or -ENOMEM when no promise can be had for a page that a child
 * keeps, or no copies of what is around a part of a block that others have, too;
 * that page, and those behind it, are still there.
 */
int pw_range_clear(struct pw_heap *heap, unsigned long lo, unsigned long hi,
		   bool promised)
{
	struct drop d = {
		.heap = heap, .mapped = true,
		.promised = promised, .keep_promise = promised,
	};

	drop_range(&d, lo, hi);
	return d.err;
}

/* The VMA is gone: pages of a slot go, with their promise when there is none to keep. */
static void forget(struct pw_heap *heap, unsigned long lo, unsigned long hi,
		   bool promised)
{
	struct drop d = {
		.heap = heap, .promised = promised, .keep_promise = promised,
	};

	drop_range(&d, lo, hi);
	if (d.err) {
		d.err = 0;
		d.dropped = 0;
		d.keep_promise = false;
		d.unback = true;
		drop_range(&d, lo, hi);
	}
}

/**
 * pw_range_forget() - let go of the pages of a range whose VMA is gone
 * @heap: whose
 * @lo: first page
 * @hi: page behind the last
 *
 * Promises are kept where that can be: the VMA may grow there again; and who is about
 * to unmap the region gives them back.
 *
 * Context: mmap_lock held.
 */
void pw_range_forget(struct pw_heap *heap, unsigned long lo, unsigned long hi)
{
	unsigned long end;

	for (; lo < hi; lo = end) {
		unsigned long slot = lo >> PW_SLOT_SHIFT;
		bool promised;

		/* A VMA may be much longer than what it was ever used for. */
		if (!pw_slot_next(heap, &slot, (hi - 1) >> PW_SLOT_SHIFT))
			return;
		lo = max(lo, slot << PW_SLOT_SHIFT);
		promised = pw_region_promised(heap, lo, &end);
		end = min3(end, (lo | PW_SLOT_MASK) + 1, hi);
		forget(heap, lo, end, promised);
		cond_resched();
	}
}

/**
 * pw_range_vacate() - make sure that no page stands behind free addresses
 * @heap: the caller's own
 * @lo: first page; nobody may touch the range, and nothing is mapped there
 * @hi: page behind the last
 *
 * A part of a held block stays where it is when its addresses are given up.
 *
 * Return: 0, or -ENOMEM when it is held still.
 */
int pw_range_vacate(struct pw_heap *heap, unsigned long lo, unsigned long hi)
{
	struct drop d = { .heap = heap };

	drop_range(&d, lo, hi);
	return pw_range_populated(heap, lo, hi) ? -ENOMEM : 0;
}
