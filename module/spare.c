// SPDX-License-Identifier: GPL-2.0-only
/*
 * spare.c - addresses that were given up a moment ago
 *
 * A program that unmaps a region often maps another one of the same length
 * next, and two changes of the region tree are most of what the pair costs. So a
 * few ranges that were given up keep an entry of their own in the tree. The entry
 * does not say what is there but who knows: its flags are here, none while the
 * range is free, and a map of just that length takes it by a store.
 *
 * Whoever changes the tree in any other way where a spare range lies takes the
 * entry back first, so everybody else sees what the tree would hold.
 */
#include "heap.h"

#define SPARE_SHIFT	16

static void *spare_entry(const struct pw_heap *heap, const struct pw_spare *s)
{
	return xa_mk_value(PW_REGION_SPARE |
			   (unsigned long)(s - heap->spares) << SPARE_SHIFT);
}

static void *plain_entry(const struct pw_spare *s)
{
	unsigned long flags = READ_ONCE(s->flags);

	return flags ? xa_mk_value(flags) : NULL;
}

/**
 * pw_spare_walk() - what the region tree holds for a page
 * @heap: whose
 * @mas: set to the page; says where the entry or gap begins and ends
 *
 * Context: RCU read lock held, or pw_heap.lock.
 *
 * Return: a break, the flags of a map, or NULL.
 */
void *pw_spare_walk(struct pw_heap *heap, struct ma_state *mas)
{
	unsigned long page = mas->index;
	unsigned long moved;
	void *entry, *plain;

	for (;;) {
		moved = smp_load_acquire(&heap->spares_moved);
		entry = mas_walk(mas);
		if (!xa_is_value(entry) ||
		    likely(!(xa_to_value(entry) & PW_REGION_SPARE)))
			return entry;
		plain = plain_entry(&heap->spares[xa_to_value(entry) >>
						  SPARE_SHIFT]);
		/* Before a spare stands for another range, this is counted. */
		smp_rmb();
		if (READ_ONCE(heap->spares_moved) == moved)
			return plain;
		mas_set(mas, page);
	}
}

static void *tree_entry(struct pw_heap *heap, unsigned long page, struct ma_state *mas)
{
	mas_set(mas, page);
	return mas_walk(mas);
}

/* As one with equal maps on either side; other spare ranges are not until they are maps. */
static int take_back(struct pw_heap *heap, struct pw_spare *s, gfp_t gfp)
{
	MA_STATE(mas, &heap->regions, 0, 0);
	bool merges = s->flags & (PW_REGION_MAP | PW_REGION_GUARD);
	unsigned long lo = s->lo, hi = s->hi;
	void *entry = plain_entry(s);
	int err;

	rcu_read_lock();
	if (merges && lo && tree_entry(heap, lo - 1, &mas) == entry)
		lo = mas.index;
	if (merges && tree_entry(heap, hi, &mas) == entry)
		hi = mas.last + 1;
	rcu_read_unlock();
	err = pw_region_store(heap, lo, hi, entry, gfp);
	if (err)
		return err;
	smp_store_release(&heap->spares_moved, heap->spares_moved + 1);
	/* Counted before it stands for anything else. */
	smp_wmb();
	s->hi = 0;
	return 0;
}

/**
 * pw_spare_take_back() - have what the tree says in the tree itself
 * @heap: whose
 * @lo: first page of a range that is about to change
 * @hi: page behind the last
 * @gfp: for the tree
 *
 * Context: pw_heap.lock held.
 *
 * Return: 0 or -ENOMEM.
 */
int pw_spare_take_back(struct pw_heap *heap, unsigned long lo,
		       unsigned long hi, gfp_t gfp)
{
	struct pw_spare *s = heap->spares;
	int i, err = 0;

	for (i = 0; i < PW_SPARES && !err; i++, s++)
		if (s->lo < hi && s->hi > lo)
			err = take_back(heap, s, gfp);
	return err;
}

/**
 * pw_spare_flush() - take back all that are free: the tree is searched for gaps
 * @heap: whose
 *
 * Context: pw_heap.lock held.
 */
void pw_spare_flush(struct pw_heap *heap)
{
	struct pw_spare *s = heap->spares;
	int i;

	for (i = 0; i < PW_SPARES; i++, s++)
		if (s->hi && !s->flags)
			take_back(heap, s, GFP_KERNEL_ACCOUNT);
}

/**
 * pw_spare_count() - entries that the tree has on account of spare ranges only
 * @heap: whose
 *
 * Context: no matter; more or less while they change.
 */
unsigned long pw_spare_count(struct pw_heap *heap)
{
	MA_STATE(mas, &heap->regions, 0, 0);
	unsigned long flags, nr = 0;
	struct pw_spare *s;
	void *entry;

	rcu_read_lock();
	for (s = heap->spares; s < heap->spares + PW_SPARES; s++) {
		flags = READ_ONCE(s->flags);
		if (READ_ONCE(s->hi) && !flags)
			nr++;
		if (!READ_ONCE(s->hi) || !(flags & (PW_REGION_MAP | PW_REGION_GUARD)))
			continue;
		/* Each border once: other spare ranges are looked at before it, not behind. */
		entry = xa_mk_value(flags);
		mas_set(&mas, READ_ONCE(s->lo) - 1);
		nr += READ_ONCE(s->lo) && pw_spare_walk(heap, &mas) == entry;
		nr += tree_entry(heap, READ_ONCE(s->hi), &mas) == entry;
	}
	rcu_read_unlock();
	return nr;
}

/**
 * pw_spare_find() - a free range of just this length
 * @heap: whose
 * @nr: pages
 * @align: of its address, in pages
 *
 * Context: pw_heap.lock held.
 *
 * Return: a range that is a map when its flags say so, or NULL.
 */
struct pw_spare *pw_spare_find(struct pw_heap *heap, unsigned long nr,
			       unsigned long align)
{
	int i;

	heap->map_size = nr;
	for (i = 0; i < PW_SPARES; i++)
		if (pw_spare_fits(heap, &heap->spares[i], nr, align))
			return &heap->spares[i];
	return NULL;
}

/**
 * pw_spare_at() - the spare range that is just this one
 * @heap: whose
 * @lo: first page
 * @hi: page behind the last
 *
 * Context: pw_heap.lock held.
 *
 * Return: the range, or NULL.
 */
struct pw_spare *pw_spare_at(struct pw_heap *heap, unsigned long lo,
			     unsigned long hi)
{
	struct pw_spare *s = heap->spares;
	int i;

	for (i = 0; i < PW_SPARES; i++, s++)
		if (s->lo == lo && s->hi == hi)
			return s;
	return NULL;
}

/**
 * pw_spare_set() - other flags for a range
 * @heap: whose
 * @lo: first page
 * @hi: page behind the last
 * @flags: PW_REGION_ bits, or 0: it is free
 *
 * Context: pw_heap.lock held.
 *
 * Return: true when it is a spare range, just this one, and it is done.
 */
bool pw_spare_set(struct pw_heap *heap, unsigned long lo, unsigned long hi,
		  unsigned long flags)
{
	struct pw_spare *s = pw_spare_at(heap, lo, hi);

	if (!s)
		return false;
	WRITE_ONCE(s->flags, flags);
	pw_region_changed(heap);
	return true;
}

/**
 * pw_spare_add() - keep the entry of a range that is being given up
 * @heap: whose
 * @lo: first page of a map, or of a part of one
 * @hi: page behind the last
 * @flags: what it is until it is free
 *
 * Only for lengths that the program maps just now.
 *
 * Context: pw_heap.lock held.
 *
 * Return: true when it is a spare range from now on.
 */
bool pw_spare_add(struct pw_heap *heap, unsigned long lo, unsigned long hi,
		  unsigned long flags)
{
	struct pw_spare *s;

	if (hi - lo != heap->map_size)
		return false;
	/* It may be a part of another one, which then stands for less. */
	if (pw_spare_take_back(heap, lo, hi, GFP_KERNEL_ACCOUNT))
		return false;
	s = &heap->spares[heap->next_spare++ % PW_SPARES];
	if (s->hi && take_back(heap, s, GFP_KERNEL_ACCOUNT))
		return false;
	s->lo = lo;
	WRITE_ONCE(s->flags, flags);
	/* Readers that find the entry find the flags. */
	smp_wmb();
	if (pw_region_store(heap, lo, hi, spare_entry(heap, s), GFP_KERNEL_ACCOUNT))
		return false;
	s->hi = hi;
	pw_region_changed(heap);
	return true;
}
