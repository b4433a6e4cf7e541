// SPDX-License-Identifier: GPL-2.0-only
/*
 * move.c - pages change their addresses
 *
 * What can fail comes first: blocks that the move takes apart are cut before anything
 * has moved. Then pages go from one index to the other, and nothing is copied. Nobody may
 * touch either range meanwhile, so a page can be in neither for a moment.
 */
#include "chunk.h"
#include "heap.h"

/*
 * At most PW_DROP_BATCH pages on their way, and which of the entries they are. They count
 * as resident, and are charged: nobody gets past a limit meanwhile.
 */
struct move {
	struct pw_batch b;
	DECLARE_BITMAP(used, PW_DROP_BATCH);
	DECLARE_BITMAP(suspect, PW_DROP_BATCH);
	DECLARE_BITMAP(paid, PW_DROP_BATCH);
	DECLARE_BITMAP(left, PW_DROP_BATCH);
};

/*
 * The chunk of a slot, locked and nobody else's, for pages that must not be lost.
 * The kernel does not refuse it even to a task that it has killed.
 */
static struct pw_chunk *lock_own(struct pw_heap *heap, unsigned long slot)
{
	return pw_chunk_own(heap, slot,
			    pw_chunk_lock_new(heap, slot, GFP_KERNEL_ACCOUNT | __GFP_NOFAIL));
}

static void attach(struct pw_heap *heap, unsigned long page,
		   const struct move *m)
{
	unsigned int i, n = 0, at = page & PW_SLOT_MASK;
	struct pw_chunk *c = lock_own(heap, page >> PW_SLOT_SHIFT);

	for_each_set_bit(i, m->used, PW_DROP_BATCH) {
		c->pfn[at + i] = m->b.pfns[n++];
		if (pw_pfn_is_packed(c->pfn[at + i]))
			pw_chunk_packed(heap, c, 1);
		pw_chunk_filled(c, at + i, 1);
		if (test_bit(i, m->suspect))
			__set_bit(at + i, c->suspect);
		if (test_bit(i, m->left))
			__set_bit(at + i, c->left);
		if (test_bit(i, m->paid))
			pw_chunk_pay(heap, c, at + i, 1);
	}
	pw_chunk_unlock(c);
}

/* A whole slot, and what stands behind it is one page of 2 MiB. */
static bool move_block(struct pw_heap *heap, unsigned long from,
		       unsigned long to)
{
	unsigned long slot = from >> PW_SLOT_SHIFT;
	struct pw_chunk *c = pw_chunk_lock(heap, slot);
	DECLARE_BITMAP(left, PW_SLOT_PAGES);
	DECLARE_BITMAP(paid, PW_SLOT_PAGES);
	struct pw_heap *payer;
	bool suspect;
	u32 pfn;

	if (!c)
		return false;
	if (c->block)
		c = pw_chunk_own(heap, slot, c);
	if (!c->block) {
		pw_chunk_unlock(c);
		return false;
	}
	suspect = !bitmap_empty(c->suspect, PW_SLOT_PAGES);
	bitmap_copy(paid, c->paid, PW_SLOT_PAGES);
	bitmap_copy(left, c->left, PW_SLOT_PAGES);
	payer = c->payer;
	c->payer = NULL;
	pfn = pw_chunk_detach_block(heap, slot, c, true);
	pw_chunk_remove(heap, slot, c);
	pw_chunk_unlock(c);

	c = lock_own(heap, to >> PW_SLOT_SHIFT);
	pw_chunk_set_block(heap, to >> PW_SLOT_SHIFT, c, pfn);
	bitmap_copy(c->left, left, PW_SLOT_PAGES);
	bitmap_copy(c->paid, paid, PW_SLOT_PAGES);
	c->payer = payer;
	if (suspect)
		bitmap_fill(c->suspect, PW_SLOT_PAGES);
	pw_chunk_unlock(c);
	return true;
}

static bool slot_moves_whole(unsigned long from, unsigned long to,
			     unsigned long nr)
{
	return !((from | to) & PW_SLOT_MASK) && nr >= PW_SLOT_PAGES;
}

/* Within one slot on either side. */
static void move_part(struct pw_heap *heap, unsigned long from,
		      unsigned long to, unsigned int nr)
{
	unsigned long slot = from >> PW_SLOT_SHIFT;
	struct pw_chunk *c = pw_chunk_lock(heap, slot);
	unsigned int i, at = from & PW_SLOT_MASK;
	struct move m = { };

	if (!c)
		return;
	if (!pw_chunk_has_entries(c, at, at + nr)) {
		pw_chunk_unlock(c);
		return;
	}
	c = pw_chunk_own(heap, slot, c);
	for (i = 0; i < nr; i++) {
		if (test_bit(at + i, c->used))
			__set_bit(i, m.used);
		if (test_bit(at + i, c->suspect))
			__set_bit(i, m.suspect);
		if (__test_and_clear_bit(at + i, c->paid))
			__set_bit(i, m.paid);
		if (__test_and_clear_bit(at + i, c->left))
			__set_bit(i, m.left);
	}
	pw_chunk_detach(heap, c, at, at + nr, &m.b);
	pw_heap_zap(heap, from, from + nr);
	bitmap_clear(c->zeros, at, nr);
	if (pw_chunk_is_unused(c))
		pw_chunk_remove(heap, slot, c);
	pw_chunk_unlock(c);
	if (m.b.nr)
		attach(heap, to, &m);
}

/**
 * pw_range_cut() - prepare for a move: cut the blocks that it takes apart
 * @heap: the caller's own
 * @from: first page of the old range, which nobody may touch now
 * @to: first page of the new one
 * @nr: pages
 *
 * Return: 0, or -ENOMEM when a block is held: by a device, perhaps, that is to find it
 * where it is; or on account of a relative, and there is no memory to copy it.
 */
int pw_range_cut(struct pw_heap *heap, unsigned long from, unsigned long to,
		 unsigned long nr)
{
	int err = 0;

	/* Pairs with the barrier in pw_chunk_lock_new(). */
	smp_mb();
	while (nr && !err) {
		unsigned long n = min(nr, PW_SLOT_PAGES - (from & PW_SLOT_MASK));
		unsigned long slot = from >> PW_SLOT_SHIFT;
		struct pw_chunk *c = NULL;

		if (!slot_moves_whole(from, to, n))
			c = pw_chunk_lock(heap, slot);
		if (c) {
			if (!pw_chunk_cut(heap, slot, c)) {
				/* A relative's zap may have had it for a moment. */
				pw_family_wait(heap);
				c = pw_chunk_own(heap, slot, c);
				err = pw_chunk_make_small(heap, slot, c) ? 0 : -ENOMEM;
			}
			pw_chunk_unlock(c);
		}
		from += n;
		to += n;
		nr -= n;
	}
	return err;
}

/**
 * pw_range_move() - let the pages of one range stand behind another
 * @heap: the caller's own
 * @from: first page of the old range, prepared by pw_range_cut()
 * @to: first page of the new one, empty, nobody may touch it
 * @nr: pages
 *
 * Nothing is copied.
 *
 * Context: mmap_lock held for read.
 */
void pw_range_move(struct pw_heap *heap, unsigned long from, unsigned long to,
		   unsigned long nr)
{
	/* Pairs with the barrier in pw_chunk_lock_new(). */
	smp_mb();
	while (nr) {
		unsigned long n = min3(nr, PW_SLOT_PAGES - (from & PW_SLOT_MASK),
				       PW_SLOT_PAGES - (to & PW_SLOT_MASK));

		if (!slot_moves_whole(from, to, n) ||
		    !move_block(heap, from, to)) {
			n = min_t(unsigned long, n, PW_DROP_BATCH);
			move_part(heap, from, to, n);
		}
		from += n;
		to += n;
		nr -= n;
	}
}
