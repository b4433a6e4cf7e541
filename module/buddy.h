/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * buddy.h - a binary buddy over blocks of 2 MiB
 *
 * Pure bookkeeping on page numbers: it touches no page, takes no lock and
 * allocates nothing, so the same source runs in user space under sanitizers.
 * The caller serialises every call on one struct pw_buddy.
 *
 * Words: a block is a 2 MiB-aligned range of physical memory, of which we own
 * some pages or all. A node is an aligned run of 2^order pages in it, named as
 * in a heap-ordered binary tree: node 1 is the block, the halves of node n are
 * 2n and 2n + 1, so n ^ 1 is its buddy and n / 2 what the two merge into. Only
 * maximal free nodes are kept, a bit each. A free node is of one kind, clear
 * (every byte zero) or dirty, and merges only with its like.
 */
#ifndef PAGEWELL_BUDDY_H
#define PAGEWELL_BUDDY_H

#ifdef __KERNEL__
#include <linux/bitmap.h>
#include <linux/bitops.h>
#include <linux/list.h>
#include <linux/minmax.h>
#include <linux/string.h>
#include <linux/types.h>
#else
#include "buddy_host.h"
#endif

#define PW_BLOCK_ORDER	9
#define PW_BLOCK_PAGES	512U
#define PW_ORDERS	(PW_BLOCK_ORDER + 1)
#define PW_LISTS	(PW_ORDERS + 1)

enum pw_kind {
	PW_DIRTY,
	PW_CLEAR,
	PW_KINDS,
};

/**
 * struct pw_shelf - the blocks of one node of memory that have free pages
 * @orders: for each kind, a bit for each list that has a block
 * @nr_owned: pages owned
 * @nr_free: of these, free, by kind
 * @whole: blocks that are free in one run
 * @not_before: for the owner: when more may be looked for on this node
 * @drain_from: for the owner: when lists may be emptied for 2 MiB on this node
 * @list: for each kind, blocks by their largest free order; behind those, blocks
 *        that are leaving
 */
struct pw_shelf {
	unsigned long orders[PW_KINDS];
	unsigned long nr_owned;
	unsigned long nr_free[PW_KINDS];
	unsigned long whole;
	unsigned long not_before;
	unsigned long drain_from;
	struct list_head list[PW_KINDS][PW_LISTS];
};

/**
 * struct pw_block - the pages we have of one 2 MiB range
 * @base: page frame number of its first page
 * @nr_owned: pages that are ours, free or not
 * @node: number of its shelf; set before its first page is added
 * @compound: for the owner: its pages are one page of 2 MiB; pw_buddy.cut ends that
 * @leaving: it is to become idle: others are used first
 * @orders: for each kind, a bit for each order of which there is a free node
 * @nr_free: for each kind, free pages
 * @nr: for each kind and order, free nodes
 * @list: for each kind, on the list of its largest free order
 * @all: on the list of all blocks
 * @idle: on the list of blocks without a page in use
 * @owned: a bit a page
 * @free: for each kind, a bit a node
 * @rests_until: for the owner: when it may be asked to leave again
 */
struct pw_block {
	u32 base;
	u16 nr_owned;
	u16 node;
	bool compound;
	bool leaving;
	u16 orders[PW_KINDS];
	u16 nr_free[PW_KINDS];
	u16 nr[PW_KINDS][PW_ORDERS];
	struct list_head list[PW_KINDS];
	struct list_head all;
	struct list_head idle;
	DECLARE_BITMAP(owned, PW_BLOCK_PAGES);
	DECLARE_BITMAP(free[PW_KINDS], 2 * PW_BLOCK_PAGES);
	unsigned long rests_until;
};

/**
 * struct pw_buddy - all blocks
 * @cut: called when part of a wholly free block is about to be taken, or NULL
 * @shelf: blocks with free pages, by node
 * @nr_shelves: how many
 * @near: the shelf that requests look at first
 * @reach: how many shelves they look at, going round from @near
 * @blocks: all blocks
 * @idle: blocks without a page in use: those of which we own a part, then the
 *        longest idle first
 * @nr_blocks: how many blocks
 * @nr_partial: of these, blocks of which we own a part only
 * @nr_owned: pages owned
 * @nr_idle: of these, in idle blocks
 * @low_idle: the least @nr_idle since pw_buddy_low_idle() was called
 * @nr_free: of @nr_owned, free, by kind
 * @nr: free nodes, by kind and order
 */
struct pw_buddy {
	void (*cut)(struct pw_block *blk);
	struct pw_shelf *shelf;
	unsigned int nr_shelves;
	unsigned int near;
	unsigned int reach;
	struct list_head blocks;
	struct list_head idle;
	unsigned long nr_blocks;
	unsigned long nr_partial;
	unsigned long nr_owned;
	unsigned long nr_idle;
	unsigned long low_idle;
	unsigned long nr_free[PW_KINDS];
	unsigned long nr[PW_KINDS][PW_ORDERS];
};

void pw_buddy_init(struct pw_buddy *b, struct pw_shelf *shelf, unsigned int nr);
void pw_buddy_look(struct pw_buddy *b, unsigned int near, unsigned int reach);
int pw_buddy_top_order(const struct pw_buddy *b, enum pw_kind kind);
void pw_block_init(struct pw_block *blk, u32 base);

void pw_buddy_add(struct pw_buddy *b, struct pw_block *blk, unsigned int index,
		  unsigned int order, enum pw_kind kind);
void pw_buddy_remove(struct pw_buddy *b, struct pw_block *blk);
void pw_buddy_disown(struct pw_buddy *b, struct pw_block *blk,
		     unsigned int index, unsigned int order);

struct pw_block *pw_buddy_alloc(struct pw_buddy *b, unsigned int order,
				enum pw_kind *kind, unsigned int *index);
struct pw_block *pw_buddy_alloc_kind(struct pw_buddy *b, unsigned int order,
				     enum pw_kind kind, unsigned int *index);
unsigned int pw_buddy_alloc_bulk(struct pw_buddy *b, u32 *pfns, unsigned int nr,
				 enum pw_kind kind);
unsigned int pw_buddy_alloc_crumbs(struct pw_buddy *b, u32 *pfns, unsigned int nr,
				   enum pw_kind kind);
void pw_buddy_free(struct pw_buddy *b, struct pw_block *blk, unsigned int index,
		   unsigned int order, enum pw_kind kind);

unsigned long pw_buddy_idle_parts(const struct pw_buddy *b, unsigned long enough);
unsigned long pw_buddy_crumbs(const struct pw_buddy *b, unsigned int node);
unsigned int pw_buddy_emptiest(struct pw_buddy *b, unsigned int node,
			       struct pw_block **blks, unsigned int nr,
			       bool (*may)(const struct pw_block *blk));
void pw_buddy_leave(struct pw_buddy *b, struct pw_block *blk, bool leaving);

/* Pages of a block that are ours and not free. */
static inline unsigned int pw_block_used(const struct pw_block *blk)
{
	return blk->nr_owned - blk->nr_free[PW_DIRTY] - blk->nr_free[PW_CLEAR];
}

bool pw_buddy_in_use(const struct pw_block *blk, unsigned int index);
unsigned long pw_buddy_low_idle(struct pw_buddy *b);
const char *pw_buddy_check(const struct pw_buddy *b);

#endif /* PAGEWELL_BUDDY_H */
