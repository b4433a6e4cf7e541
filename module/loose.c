// SPDX-License-Identifier: GPL-2.0-only
/*
 * loose.c - pages that may be taken (PAGEWELL_ADVISE_FREE)
 *
 * They are unmapped and marked. Whoever maps one again takes the mark off, under the
 * chunk's lock; until then the pool takes it when it is short, where that lock is free.
 */
#include <linux/mmap_lock.h>

#include "chunk.h"
#include "heap.h"
#include "stats.h"

static void loosen_in_slot(struct pw_heap *heap, unsigned long slot,
			   unsigned int from, unsigned int to)
{
	unsigned long first = slot << PW_SLOT_SHIFT;
	struct pw_chunk *c = pw_chunk_lock(heap, slot);
	unsigned int i;

	if (!c)
		return;
	if (c->shared || !pw_chunk_has_pages(c, from, to))
		goto out;
	c = pw_chunk_own(heap, slot, c);
	/* A page of 2 MiB is held, or shared: it stays what it is. */
	if (c->block && !pw_chunk_make_small(heap, slot, c))
		goto out;
	pw_heap_zap(heap, first + from, first + to);
	for (i = find_next_bit(c->used, to, from); i < to;
	     i = find_next_bit(c->used, to, i + 1))
		if (pw_pfn_is_page(c->pfn[i]))
			__set_bit(i, c->loose);
	/* Whoever sees it sees what it is about. */
	smp_store_release(&heap->loose, true);
out:
	pw_chunk_unlock(c);
}

/**
 * pw_range_loosen() - pages may be taken, until they are touched again
 * @heap: the caller's own
 * @lo: first page
 * @hi: page behind the last
 *
 * They are unmapped, so that a touch is seen. Takes the mmap_lock for read.
 */
void pw_range_loosen(struct pw_heap *heap, unsigned long lo, unsigned long hi)
{
	unsigned long slot = lo >> PW_SLOT_SHIFT;
	unsigned long last = (hi - 1) >> PW_SLOT_SHIFT;

	mmap_read_lock(heap->mm);
	while (pw_slot_next(heap, &slot, last)) {
		unsigned long first = slot << PW_SLOT_SHIFT;

		loosen_in_slot(heap, slot, lo > first ? lo - first : 0,
			       min(hi - first, (unsigned long)PW_SLOT_PAGES));
		if (slot++ == last)
			break;
		pw_let_writers_in(heap->mm);
	}
	mmap_read_unlock(heap->mm);
}

/**
 * pw_chunk_keep() - pages are about to be mapped: they must not be taken now
 * @c: the chunk, locked
 * @i: first entry
 * @nr: how many
 */
void pw_chunk_keep(struct pw_chunk *c, unsigned int i, unsigned int nr)
{
	unsigned int to = i + nr;

	for (i = find_next_bit(c->loose, to, i); i < to;
	     i = find_next_bit(c->loose, to, i + 1))
		__clear_bit(i, c->loose);
}

/**
 * pw_chunk_may_take() - has nobody a page but this index?
 * @c: the chunk, locked
 * @i: the entry, a page that is not mapped
 */
bool pw_chunk_may_take(const struct pw_chunk *c, unsigned int i)
{
	struct page *page = pfn_to_page(c->pfn[i]);

	return !pw_page_sharers(page) && page_count(page) == 1;
}

/* Take pages that may be taken out of an index: how many, at most @max, are in @pfns. */
static unsigned int take_loose(struct pw_heap *heap, struct pw_chunk *c,
			       u32 *pfns, unsigned int max)
{
	unsigned int i, n = 0, unpaid = 0;

	for_each_set_bit(i, c->loose, PW_SLOT_PAGES) {
		if (n == max || !pw_chunk_may_take(c, i))
			continue;
		pfns[n++] = c->pfn[i];
		c->pfn[i] = 0;
		__clear_bit(i, c->used);
		__clear_bit(i, c->suspect);
		__clear_bit(i, c->loose);
		__clear_bit(i, c->left);
		unpaid += __test_and_clear_bit(i, c->paid);
	}
	c->nr -= n;
	pw_pages_gone(heap, n);
	if (unpaid)
		pw_heap_unpaid(heap, unpaid);
	return n;
}

/* The same for a slot, unless somebody is at work on it; @more: there may be others. */
static unsigned int take_in_slot(struct pw_heap *heap, unsigned long slot,
				 u32 *pfns, unsigned int max, bool *more)
{
	struct pw_chunk *c;
	unsigned int n = 0;

	*more = false;
	rcu_read_lock();
	c = pw_slot_load(heap, slot);
	if (c && !bitmap_empty(c->loose, PW_SLOT_PAGES)) {
		*more = true;
		if (!refcount_inc_not_zero(&c->refs))
			c = NULL;
	}
	rcu_read_unlock();
	if (!c || !*more)
		return 0;
	if (mutex_trylock(&c->lock)) {
		if (pw_slot_load(heap, slot) == c) {
			if (c->users == 1)
				n = take_loose(heap, c, pfns, max);
			*more = !bitmap_empty(c->loose, PW_SLOT_PAGES);
		}
		mutex_unlock(&c->lock);
	}
	pw_chunk_put(c);
	return n;
}

/**
 * pw_heap_take_loose() - give pages that may be taken back to the pool
 * @heap: any
 * @want: how many would do
 *
 * Does not wait for chunks that somebody else is at work on; the caller may be
 * holding one.
 *
 * Return: how many there were.
 */
unsigned long pw_heap_take_loose(struct pw_heap *heap, unsigned long want)
{
	unsigned long slot, got = 0;
	bool more, any = false;
	unsigned int n;

	/* Whoever gives advice from now on says so again. */
	smp_store_mb(heap->loose, false);
	/* Where there was a batch there may be another. */
	for (slot = 0; got < want &&
	     pw_slot_next(heap, &slot, ULONG_MAX); slot += n < PW_DROP_BATCH) {
		u32 pfns[PW_DROP_BATCH];

		n = take_in_slot(heap, slot, pfns,
				 min_t(unsigned long, want - got, PW_DROP_BATCH), &more);
		any |= more;
		pw_pages_drop(pfns, n, 0);
		got += n;
		cond_resched();
	}
	/* Others may have them too, and let go of them one day. */
	if (any || got >= want)
		WRITE_ONCE(heap->loose, true);
	pw_stat_add(loose_taken, got);
	return got;
}
