/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * chunk.h - chunks, for those who change what is in them
 *
 *   chunk.c block.c pay.c     which pages are where, whose, and who is charged
 *   zap.c                     they are unmapped
 *   drop.c move.c loose.c     they go, here or there
 */
#ifndef PAGEWELL_CHUNK_H
#define PAGEWELL_CHUNK_H

#include <linux/bitmap.h>

#include "heap.h"

/* Pages detached, unmapped and dropped at a time; an array on the stack. */
#define PW_DROP_BATCH	128

/**
 * struct pw_batch - pages on their way out of an index
 * @nr: how many
 * @first: entry of the first one
 * @end: entry behind the last
 * @pfns: which
 */
struct pw_batch {
	unsigned int nr;
	unsigned int first;
	unsigned int end;
	u32 pfns[PW_DROP_BATCH];
};

/* Is there a page in [from, to) of an index? */
static inline bool pw_chunk_has_pages(const struct pw_chunk *c, unsigned int from,
				      unsigned int to)
{
	return c->nr && find_next_bit(c->used, to, from) < to;
}

/* Pages, or places where the zero page is mapped? */
static inline bool pw_chunk_has_entries(const struct pw_chunk *c, unsigned int from,
					unsigned int to)
{
	return pw_chunk_has_pages(c, from, to) ||
	       find_next_bit(c->zeros, to, from) < to;
}

static inline bool pw_chunk_is_unused(const struct pw_chunk *c)
{
	return !c->nr && bitmap_empty(c->zeros, PW_SLOT_PAGES);
}

/* A heap lets go of pages [from, to). */
static inline void pw_chunk_stop_paying_for(struct pw_heap *heap, struct pw_chunk *c,
					    unsigned int from, unsigned int to)
{
	unsigned int i, n = 0;

	if (likely(c->payer != heap))
		return;
	for (i = find_next_bit(c->paid, to, from); i < to;
	     i = find_next_bit(c->paid, to, i + 1), n++)
		__clear_bit(i, c->paid);
	if (n)
		pw_heap_unpaid(heap, n);
}

/* chunk.c */
void pw_chunk_remove(struct pw_heap *heap, unsigned long slot,
		     struct pw_chunk *c);
void pw_chunk_leave_shared(struct pw_heap *heap, unsigned long slot,
			   struct pw_chunk *c);

/* block.c */
bool pw_block_must_leave(const struct pw_chunk *c);
void pw_block_put(u32 pfn, unsigned int flags);
bool pw_chunk_make_small(struct pw_heap *heap, unsigned long slot,
			 struct pw_chunk *c);
u32 pw_chunk_detach_block(struct pw_heap *heap, unsigned long slot,
			  struct pw_chunk *c, bool mapped);

/* pay.c */
void pw_chunk_pass_charge(struct pw_heap *heap, struct pw_chunk *c, unsigned int from,
			  unsigned int to, bool promised);
void pw_slot_pass_charge(struct pw_heap *heap, unsigned long slot, struct pw_chunk *c);
void pw_slot_pay_copies(struct pw_heap *heap, unsigned long slot, struct pw_chunk *c);
void pw_chunk_move_paid(struct pw_heap *heap, struct pw_chunk *from,
			struct pw_chunk *to);
void pw_chunk_stop_paying(struct pw_heap *heap, struct pw_chunk *c);

/* zap.c */
void pw_block_wait(struct page *head);
void pw_block_unmap(struct pw_heap *heap, unsigned long slot,
		    struct page *head);

/* drop.c */
void pw_pages_gone(struct pw_heap *heap, unsigned int nr);
void pw_chunk_detach(struct pw_heap *heap, struct pw_chunk *c, unsigned int from,
		     unsigned int to, struct pw_batch *b);

#endif /* PAGEWELL_CHUNK_H */
