// SPDX-License-Identifier: GPL-2.0-only
/*
 * slot.c - the table of a heap's slots, and what stands in them
 *
 * Three levels, of which the first is in the heap. Every touch looks here, so a
 * look costs a dozen instructions where an xarray's costs a hundred. Tables are
 * made when a chunk is put in and stay for as long as the heap does.
 *
 * A slot that is empty may be filled by anyone, see pw_slot_fill(). What is in one
 * is changed by whoever holds the chunk that is there locked; or in fork by the
 * parent, when the heap is its new child's.
 */
#include <linux/slab.h>

#include "heap.h"

/* What @where leads to, made if there is nothing yet. */
static void *get_table(void **where, size_t size, gfp_t gfp)
{
	void *table = READ_ONCE(*where), *old;

	if (table)
		return table;
	table = kzalloc(size, gfp);
	if (!table)
		return NULL;
	old = cmpxchg(where, NULL, table);
	if (!old)
		return table;
	kfree(table);
	return old;
}

static struct pw_chunk **get_place(struct pw_heap *heap, unsigned long slot, gfp_t gfp)
{
	struct pw_slot_branch *b;
	struct pw_slot_leaf *l;

	if (slot >= PW_WINDOW_SLOTS)
		return NULL;
	b = get_table((void **)&heap->slots[slot >> PW_BRANCH_SHIFT], sizeof(*b), gfp);
	if (!b)
		return NULL;
	l = get_table((void **)&b->leaf[pw_slot_leaf(slot)], sizeof(*l), gfp);
	return l ? &l->chunk[slot & PW_LEAF_MASK] : NULL;
}

/**
 * pw_slot_fill() - put a chunk into a slot that is empty
 * @heap: whose
 * @slot: which
 * @c: what
 * @gfp: for the table
 *
 * A full barrier when it has been done.
 *
 * Return: 0, -ENOMEM, or -EEXIST when the slot is not empty.
 */
int pw_slot_fill(struct pw_heap *heap, unsigned long slot, struct pw_chunk *c, gfp_t gfp)
{
	struct pw_chunk **place = get_place(heap, slot, gfp);

	if (!place)
		return -ENOMEM;
	return cmpxchg(place, NULL, c) ? -EEXIST : 0;
}

/**
 * pw_slot_set() - put another chunk into a slot, or none
 * @heap: whose
 * @slot: which; its chunk is locked
 * @c: what, or NULL
 */
void pw_slot_set(struct pw_heap *heap, unsigned long slot, struct pw_chunk *c)
{
	struct pw_chunk **place = get_place(heap, slot, GFP_ATOMIC);

	/* There is a table, for there is a chunk. */
	if (WARN_ON_ONCE(!place))
		return;
	/* Who finds the chunk finds what is in it. */
	smp_store_release(place, c);
}

/**
 * pw_slot_next() - find the next slot that is not empty
 * @heap: whose
 * @slot: in: where to begin; out: which
 * @last: where to end
 *
 * Return: whether there is one, or was a moment ago.
 */
bool pw_slot_next(struct pw_heap *heap, unsigned long *slot, unsigned long last)
{
	unsigned long s = *slot;

	last = min(last, PW_WINDOW_SLOTS - 1);
	while (s <= last) {
		struct pw_slot_branch *b = READ_ONCE(heap->slots[s >> PW_BRANCH_SHIFT]);
		struct pw_slot_leaf *l;

		if (!b) {
			s = (s | PW_BRANCH_MASK) + 1;
			continue;
		}
		l = READ_ONCE(b->leaf[pw_slot_leaf(s)]);
		if (!l) {
			s = (s | PW_LEAF_MASK) + 1;
			continue;
		}
		do {
			if (READ_ONCE(l->chunk[s & PW_LEAF_MASK])) {
				*slot = s;
				return true;
			}
		} while (s++ < last && (s & PW_LEAF_MASK));
	}
	return false;
}

/**
 * pw_slots_free() - free the tables
 * @heap: whose; all slots are empty, and nobody looks any more
 */
void pw_slots_free(struct pw_heap *heap)
{
	unsigned int i, k;

	for (i = 0; i < PW_SLOT_BRANCHES; i++) {
		struct pw_slot_branch *b = heap->slots[i];

		for (k = 0; b && k < PW_BRANCH_LEAVES; k++)
			kfree(b->leaf[k]);
		kfree(b);
	}
}
