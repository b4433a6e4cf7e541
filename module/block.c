// SPDX-License-Identifier: GPL-2.0-only
/*
 * block.c - blocks: pages of 2 MiB, each behind all of a chunk
 *
 * A block is cut into small pages when a part of it goes its own way. That cannot be while
 * anybody refers to it: it is unmapped first, and if it is held even so it stays in one
 * piece. The heap goes on with it, or has copies and leaves it to those who hold it.
 */
#include <linux/highmem.h>
#include <linux/page_ref.h>
#include <linux/slab.h>

#include "chunk.h"
#include "compat.h"
#include "heap.h"
#include "pool.h"
#include "stats.h"

/**
 * pw_block_is_held() - does somebody refer to a chunk's block?
 * @c: the chunk, locked
 * @extra: references that the caller knows of
 */
bool pw_block_is_held(const struct pw_chunk *c, unsigned int extra)
{
	struct page *head = pfn_to_page(c->block);

	return page_count(head) != 1 + extra + pw_compound_mapcount(head);
}

/**
 * pw_block_must_leave() - must what a heap writes from now on go to another page?
 * @c: its chunk, which has a block, locked
 *
 * Return: true when another chunk has the block too, or had it and somebody may still
 * see it.
 */
bool pw_block_must_leave(const struct pw_chunk *c)
{
	return pw_page_sharers(pfn_to_page(c->block)) || test_bit(0, c->suspect);
}

/* Two at a time: one at a time was a fifth of what the touch of a block cost. */
static void fill_pfns(u32 *to, u32 pfn)
{
	union {
		u32 pfn[2];
		u64 both;
	} pair = { { pfn, pfn + 1 } }, step = { { 2, 2 } };
	u64 *pairs = (u64 *)to;
	unsigned int i;

#pragma GCC unroll 16
	for (i = 0; i < PW_SLOT_PAGES / 2; i++, pair.both += step.both)
		pairs[i] = pair.both;
}

/**
 * pw_chunk_set_block() - put a page of 2 MiB into an empty chunk
 * @heap: whose
 * @slot: which
 * @c: its chunk, locked, not shared
 * @pfn: the head of the page, which counts as resident already
 */
void pw_chunk_set_block(struct pw_heap *heap, unsigned long slot,
			struct pw_chunk *c, u32 pfn)
{
	struct page *head = pfn_to_page(pfn);

	fill_pfns(c->pfn, pfn);
	c->block = pfn;
	pw_chunk_filled(c, 0, PW_SLOT_PAGES);
	head->mapping = heap->family->inode->i_mapping;
	head->index = pw_chunk_index(c, slot << PW_SLOT_SHIFT);
}

/**
 * pw_chunk_cut() - small pages instead of one of 2 MiB
 * @heap: whose
 * @slot: which
 * @c: its chunk, locked; others may have it too
 *
 * Return: true when the chunk has small pages now; false when somebody refers
 * to the block, it is unmapped then, or when it is shared on purpose.
 */
bool pw_chunk_cut(struct pw_heap *heap, unsigned long slot, struct pw_chunk *c)
{
	struct page *head = pfn_to_page(c->block);

	lockdep_assert_held(&c->lock);
	if (!c->block)
		return true;
	if (c->shared)
		return false;
	pw_block_unmap(heap, slot, head);
	/* Nobody gets hold of a page that is about to change its form. */
	if (pw_page_sharers(head) || !page_ref_freeze(head, 1))
		return false;
	pw_pool_split_huge(c->block);
	page_ref_unfreeze(head, 1);
	pw_page_split_charge(head);
	c->block = 0;
	pw_stat_inc(huge_cut);
	return true;
}

/**
 * pw_block_put() - let go of a block, which another chunk may keep
 * @pfn: its head, taken out of an index and unmapped from that heap
 * @flags: for pw_pool_free_huge()
 */
void pw_block_put(u32 pfn, unsigned int flags)
{
	if (pw_page_unshare(pfn))
		return;
	pw_page_uncharge(pfn_to_page(pfn));
	pw_pool_free_huge(pfn, flags);
}

/**
 * pw_chunk_copy_block() - small pages for a block that somebody holds, as copies
 * @heap: whose
 * @slot: which
 * @c: its chunk, locked
 * @over: the copies may come beyond the ceiling of the pool
 *
 * What the holder writes or sees from now on is not what the heap does.
 *
 * Return: false without memory; nothing has changed then.
 */
bool pw_chunk_copy_block(struct pw_heap *heap, unsigned long slot,
			 struct pw_chunk *c, bool over)
{
	u32 *pfns = kmalloc_array(PW_SLOT_PAGES, sizeof(*pfns), GFP_KERNEL);
	unsigned int got, i;

	if (!pfns)
		return false;
	/* All or none: the pool grows for that. */
	if (over ? pw_pool_reserve_over(PW_SLOT_PAGES) : pw_pool_reserve(PW_SLOT_PAGES)) {
		kfree(pfns);
		return false;
	}
	got = pw_pool_alloc(pfns, PW_SLOT_PAGES, PW_ALLOC_PROMISED);
	if (got < PW_SLOT_PAGES) {
		pw_pool_free(pfns, got, 0);
		pw_pool_unreserve(PW_SLOT_PAGES - got);
		kfree(pfns);
		return false;
	}
	pw_block_unmap(heap, slot, pfn_to_page(c->block));
	for (i = 0; i < PW_SLOT_PAGES; i++)
		copy_highpage(pfn_to_page(pfns[i]), pfn_to_page(c->pfn[i]));
	pw_slot_pass_charge(heap, slot, c);
	pw_block_put(c->block, 0);
	memcpy(c->pfn, pfns, sizeof(c->pfn));
	bitmap_zero(c->suspect, PW_SLOT_PAGES);
	c->block = 0;
	kfree(pfns);
	pw_slot_pay_copies(heap, slot, c);
	pw_stat_inc(huge_cut);
	return true;
}

/**
 * pw_chunk_make_small() - cut a block, or copy it where that is needed
 * @heap: whose
 * @slot: which
 * @c: its chunk, locked, not shared
 *
 * A holder keeps the block in one piece, and what it writes goes to the heap; but if it
 * is held because another chunk has it too, or had it, the heap gets copies.
 *
 * Return: true when the chunk has small pages now.
 */
bool pw_chunk_make_small(struct pw_heap *heap, unsigned long slot,
			 struct pw_chunk *c)
{
	if (pw_chunk_cut(heap, slot, c))
		return true;
	return pw_block_must_leave(c) && pw_chunk_copy_block(heap, slot, c, false);
}

/**
 * pw_chunk_take_away() - take a block away from a heap that shares it
 * @heap: whose
 * @slot: which
 * @c: its chunk, locked, nobody else's
 *
 * Touching it is SIGBUS then.
 */
void pw_chunk_take_away(struct pw_heap *heap, unsigned long slot, struct pw_chunk *c)
{
	u32 block = c->block;

	pw_block_unmap(heap, slot, pfn_to_page(block));
	memset32(c->pfn, PW_PFN_GONE, PW_SLOT_PAGES);
	bitmap_zero(c->suspect, PW_SLOT_PAGES);
	c->block = 0;
	pw_chunk_stop_paying(heap, c);
	pw_block_put(block, 0);
}

/**
 * pw_chunk_detach_block() - take a block out of a chunk and out of the page tables
 * @heap: whose
 * @slot: which
 * @c: its chunk, locked, not shared
 * @mapped: it may be mapped; mmap_lock is held then
 *
 * Return: the head of the block, which is counted and charged as it was.
 */
u32 pw_chunk_detach_block(struct pw_heap *heap, unsigned long slot,
			  struct pw_chunk *c, bool mapped)
{
	unsigned long first = slot << PW_SLOT_SHIFT;
	u32 pfn = c->block;

	c->block = 0;
	memset(c->pfn, 0, sizeof(c->pfn));
	bitmap_zero(c->used, PW_SLOT_PAGES);
	bitmap_zero(c->suspect, PW_SLOT_PAGES);
	bitmap_zero(c->zeros, PW_SLOT_PAGES);
	c->nr = 0;
	if (mapped) {
		pw_block_wait(pfn_to_page(pfn));
		pw_heap_zap(heap, first, first + PW_SLOT_PAGES);
	}
	return pfn;
}
