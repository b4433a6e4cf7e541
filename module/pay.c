// SPDX-License-Identifier: GPL-2.0-only
/*
 * pay.c - what is charged for the pages of a chunk
 *
 * In a strict region pages are charged as what was committed. Those that were found
 * without a promise are noted in the chunk, with the one heap that is charged for them,
 * until it lets go of them. What others keep then takes the charge along (charge.c).
 */
#include "chunk.h"
#include "heap.h"

/**
 * pw_chunk_pay() - note that pages were found, and charged, without a promise
 * @heap: who found them
 * @c: its chunk, locked, not shared
 * @i: first entry
 * @nr: how many
 */
void pw_chunk_pay(struct pw_heap *heap, struct pw_chunk *c, unsigned int i,
		  unsigned int nr)
{
	c->payer = heap;
	bitmap_set(c->paid, i, nr);
}

/**
 * pw_chunk_pay_copies() - the same for pages that are there and not charged yet
 * @heap: whose; limits are not in the way
 * @c: its chunk, locked, not shared
 * @i: first entry
 * @nr: how many
 */
void pw_chunk_pay_copies(struct pw_heap *heap, struct pw_chunk *c,
			 unsigned int i, unsigned int nr)
{
	unsigned int to = i + nr, found = 0;

	for (; i < to; i++)
		found += !__test_and_set_bit(i, c->paid);
	c->payer = heap;
	pw_heap_paid(heap, found);
}

/**
 * pw_chunk_pays_for() - is a page charged to a heap that has it?
 * @heap: which
 * @c: its chunk, locked
 * @i: the entry
 * @promised: it lies in a strict region of that heap
 */
bool pw_chunk_pays_for(const struct pw_heap *heap, const struct pw_chunk *c,
		       unsigned int i, bool promised)
{
	return promised || (c->payer == heap && test_bit(i, c->paid));
}

/**
 * pw_chunk_take_charge() - a page goes, but what was in it stays the heap's
 * @heap: whose; a charge that the page has taken along is its own from now on
 * @c: its chunk, locked, not shared
 * @i: the entry
 */
void pw_chunk_take_charge(struct pw_heap *heap, struct pw_chunk *c, unsigned int i)
{
	if (pw_page_is_charged(pfn_to_page(c->pfn[i])))
		pw_chunk_pay_copies(heap, c, i, 1);
}

/**
 * pw_chunk_pass_charge() - what is charged to a heap goes with the pages that others keep
 * @heap: is about to let go of them
 * @c: its chunk, locked
 * @from: first entry
 * @to: entry behind the last
 * @promised: they lie, or lay, in a strict region
 *
 * Only what was shared can be others'.
 */
void pw_chunk_pass_charge(struct pw_heap *heap, struct pw_chunk *c, unsigned int from,
			  unsigned int to, bool promised)
{
	unsigned int i;

	for (i = find_next_bit(c->suspect, to, from); i < to;
	     i = find_next_bit(c->suspect, to, i + 1)) {
		u32 pfn = c->block ?: c->pfn[i];

		if (pw_pfn_is_page(pfn) && pw_chunk_pays_for(heap, c, i, promised) &&
		    (c->users > 1 || pw_page_sharers(pfn_to_page(pfn))))
			pw_page_charge(heap, pfn);
		if (c->block && pw_page_is_charged(pfn_to_page(pfn)))
			return;
	}
}

/**
 * pw_slot_pass_charge() - the same for all of a slot, whose regions are still there
 * @heap: whose
 * @slot: which
 * @c: its chunk, locked
 */
void pw_slot_pass_charge(struct pw_heap *heap, unsigned long slot, struct pw_chunk *c)
{
	unsigned long first = slot << PW_SLOT_SHIFT, end;
	unsigned int i, to;

	for (i = find_first_bit(c->suspect, PW_SLOT_PAGES); i < PW_SLOT_PAGES;
	     i = find_next_bit(c->suspect, PW_SLOT_PAGES, to)) {
		bool promised = pw_region_promised(heap, first + i, &end);

		to = min(end - first, (unsigned long)PW_SLOT_PAGES);
		pw_chunk_pass_charge(heap, c, i, to, promised);
	}
}

/**
 * pw_slot_pay_copies() - all of a slot are copies now: charge those without a promise
 * @heap: whose
 * @slot: which
 * @c: its chunk, locked; a shared one is not charged
 */
void pw_slot_pay_copies(struct pw_heap *heap, unsigned long slot, struct pw_chunk *c)
{
	unsigned long page = slot << PW_SLOT_SHIFT, hi = page + PW_SLOT_PAGES, end;

	for (; c->users == 1 && page < hi; page = end) {
		bool lazy = pw_region_unpromised(heap, page, &end);

		end = min(hi, end);
		if (lazy)
			pw_chunk_pay_copies(heap, c, page & PW_SLOT_MASK, end - page);
	}
}

/**
 * pw_chunk_move_paid() - a heap takes its own part of a chunk to another one
 * @heap: whose
 * @from: the chunk that it leaves to others, locked
 * @to: its own, locked
 */
void pw_chunk_move_paid(struct pw_heap *heap, struct pw_chunk *from,
			struct pw_chunk *to)
{
	if (from->payer != heap)
		return;
	to->payer = heap;
	bitmap_copy(to->paid, from->paid, PW_SLOT_PAGES);
	from->payer = NULL;
	bitmap_zero(from->paid, PW_SLOT_PAGES);
}

/**
 * pw_chunk_stop_paying() - a heap lets go of a chunk, or of all that is in it
 * @heap: which
 * @c: the chunk, locked
 */
void pw_chunk_stop_paying(struct pw_heap *heap, struct pw_chunk *c)
{
	if (likely(c->payer != heap))
		return;
	pw_heap_unpaid(heap, bitmap_weight(c->paid, PW_SLOT_PAGES));
	bitmap_zero(c->paid, PW_SLOT_PAGES);
	c->payer = NULL;
}
