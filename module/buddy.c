// SPDX-License-Identifier: GPL-2.0-only
/*
 * buddy.c - a binary buddy over blocks of 2 MiB
 *
 * A request is served from the block whose largest free node is the smallest
 * that will do, so nearly full blocks fill up and nearly empty ones get a
 * chance to empty. Nothing here loops over blocks, except merging by force.
 */
#include "buddy.h"

/* The list of a shelf that blocks are on when they are leaving. */
#define LEAVING		PW_ORDERS

/* Blocks that pw_buddy_emptiest() looks at, at most. */
#define LOOK		512

static unsigned int node_of(unsigned int index, unsigned int order)
{
	return (PW_BLOCK_PAGES + index) >> order;
}

static unsigned int node_index(unsigned int node, unsigned int order)
{
	return (node << order) - PW_BLOCK_PAGES;
}

/* The lowest free node of that order; there must be one. */
static unsigned int first_node(const struct pw_block *blk, unsigned int order,
			       enum pw_kind kind)
{
	unsigned int first = PW_BLOCK_PAGES >> order;

	return find_next_bit(blk->free[kind], 2 * first, first);
}

static void node_add(struct pw_buddy *b, struct pw_block *blk,
		     unsigned int node, unsigned int order, enum pw_kind kind)
{
	__set_bit(node, blk->free[kind]);
	blk->orders[kind] |= 1U << order;
	blk->nr[kind][order]++;
	b->nr[kind][order]++;
}

static void node_del(struct pw_buddy *b, struct pw_block *blk,
		     unsigned int node, unsigned int order, enum pw_kind kind)
{
	__clear_bit(node, blk->free[kind]);
	b->nr[kind][order]--;
	if (!--blk->nr[kind][order])
		blk->orders[kind] &= ~(1U << order);
}

static void count_free(struct pw_buddy *b, struct pw_block *blk,
		       enum pw_kind kind, int pages)
{
	blk->nr_free[kind] += pages;
	b->shelf[blk->node].nr_free[kind] += pages;
	b->nr_free[kind] += pages;
}

/* Wholly free blocks that are no compound page are the first to be cut. */
static bool may_cut(const struct pw_block *blk, unsigned int order)
{
	return order == PW_BLOCK_ORDER && !blk->compound;
}

/* Of those that are leaving, one that has a free run of that order. */
static struct pw_block *leaving_block(struct list_head *list, unsigned int order,
				      enum pw_kind kind)
{
	struct pw_block *blk;

	list_for_each_entry(blk, list, list[kind])
		if (blk->orders[kind] >> order)
			return blk;
	return NULL;
}

/* The block of a shelf to take 2^order pages from, NULL when none has so many. */
static struct pw_block *shelf_block(struct pw_shelf *s, unsigned int order,
				    enum pw_kind kind)
{
	unsigned long fit = s->orders[kind] >> order;
	struct list_head *list;

	if (!fit)
		return NULL;
	list = &s->list[kind][order + __ffs(fit)];
	if (list == &s->list[kind][LEAVING])
		return leaving_block(list, order, kind);
	if (list == &s->list[kind][PW_BLOCK_ORDER] && order < PW_BLOCK_ORDER)
		return list_last_entry(list, struct pw_block, list[kind]);
	return list_first_entry(list, struct pw_block, list[kind]);
}

/* The same, of the first shelf within reach that has one. */
static struct pw_block *block_for(struct pw_buddy *b, unsigned int order,
				  enum pw_kind kind)
{
	struct pw_block *blk = shelf_block(&b->shelf[b->near], order, kind);
	unsigned int i;

	for (i = 1; !blk && i < b->reach; i++)
		blk = shelf_block(&b->shelf[(b->near + i) % b->nr_shelves], order, kind);
	return blk;
}

static bool in_reach(const struct pw_buddy *b, const struct pw_block *blk)
{
	return (blk->node + b->nr_shelves - b->near) % b->nr_shelves < b->reach;
}

/* The list for a block with free runs of these orders, -1: none. */
static int list_for(const struct pw_block *blk, unsigned int orders)
{
	return orders && blk->leaving ? LEAVING : fls(orders) - 1;
}

static void unlist(struct pw_buddy *b, struct pw_block *blk, enum pw_kind kind, int from)
{
	struct pw_shelf *s = &b->shelf[blk->node];

	if (from < 0)
		return;
	list_del(&blk->list[kind]);
	s->whole -= from == PW_BLOCK_ORDER;
	if (list_empty(&s->list[kind][from]))
		s->orders[kind] &= ~(1UL << from);
}

static void enlist(struct pw_buddy *b, struct pw_block *blk, enum pw_kind kind, int to)
{
	struct pw_shelf *s = &b->shelf[blk->node];
	struct list_head *list;

	if (to < 0)
		return;
	list = &s->list[kind][to];
	/* See shelf_block(). */
	list_add(&blk->list[kind], may_cut(blk, to) ? list->prev : list);
	s->orders[kind] |= 1UL << to;
	s->whole += to == PW_BLOCK_ORDER;
}

/* Move the block to the list of its largest free order; @old: its orders. */
static void relist(struct pw_buddy *b, struct pw_block *blk, enum pw_kind kind,
		   unsigned int old)
{
	int from = list_for(blk, old), to = list_for(blk, blk->orders[kind]);

	if (from == to)
		return;
	unlist(b, blk, kind, from);
	enlist(b, blk, kind, to);
}

static bool all_free(const struct pw_block *blk)
{
	return !pw_block_used(blk);
}

static void idle_end(struct pw_buddy *b, struct pw_block *blk)
{
	if (list_empty(&blk->idle))
		return;
	list_del_init(&blk->idle);
	b->nr_idle -= blk->nr_owned;
	b->low_idle = min(b->low_idle, b->nr_idle);
}

static bool is_partial(const struct pw_block *blk)
{
	return blk->nr_owned && blk->nr_owned < PW_BLOCK_PAGES;
}

static void count_owned(struct pw_buddy *b, struct pw_block *blk, int pages)
{
	b->nr_partial -= is_partial(blk);
	blk->nr_owned += pages;
	b->nr_owned += pages;
	b->shelf[blk->node].nr_owned += pages;
	b->nr_partial += is_partial(blk);
}

/**
 * pw_buddy_init() - start with no blocks
 * @b: what to set up
 * @shelf: for @b to use
 * @nr: how many: one for each node of memory
 */
void pw_buddy_init(struct pw_buddy *b, struct pw_shelf *shelf, unsigned int nr)
{
	unsigned int kind, order, i;

	memset(b, 0, sizeof(*b));
	INIT_LIST_HEAD(&b->blocks);
	INIT_LIST_HEAD(&b->idle);
	b->shelf = shelf;
	b->nr_shelves = nr;
	b->reach = nr;
	memset(shelf, 0, nr * sizeof(*shelf));
	for (i = 0; i < nr; i++)
		for (kind = 0; kind < PW_KINDS; kind++)
			for (order = 0; order < PW_LISTS; order++)
				INIT_LIST_HEAD(&shelf[i].list[kind][order]);
}

/**
 * pw_buddy_look() - say where the next requests are served from
 * @b: all blocks
 * @near: the node that is liked best
 * @reach: 1 for that one only, or the number of nodes for any
 */
void pw_buddy_look(struct pw_buddy *b, unsigned int near, unsigned int reach)
{
	b->near = near;
	b->reach = reach;
}

/**
 * pw_buddy_top_order() - the largest free runs of a kind
 * @b: all blocks; looks at the near shelf only
 * @kind: what they contain
 *
 * Blocks that are leaving do not count.
 *
 * Return: their order, -1 when there are none.
 */
int pw_buddy_top_order(const struct pw_buddy *b, enum pw_kind kind)
{
	return fls(b->shelf[b->near].orders[kind] & ~(1UL << LEAVING)) - 1;
}

/**
 * pw_block_init() - make a block of which no page is owned yet
 * @blk: what to set up
 * @base: page frame number of its first page, a multiple of PW_BLOCK_PAGES
 */
void pw_block_init(struct pw_block *blk, u32 base)
{
	memset(blk, 0, sizeof(*blk));
	blk->base = base;
	INIT_LIST_HEAD(&blk->idle);
}

/**
 * pw_buddy_add() - own 2^order more pages of a block, free
 * @b: all blocks
 * @blk: the block; it enters @b with its first page
 * @index: first page, in pages from the start of the block, aligned to @order
 * @order: how many
 * @kind: what they contain
 *
 * None of the pages may be owned already.
 */
void pw_buddy_add(struct pw_buddy *b, struct pw_block *blk, unsigned int index,
		  unsigned int order, enum pw_kind kind)
{
	if (!blk->nr_owned) {
		list_add_tail(&blk->all, &b->blocks);
		b->nr_blocks++;
	}
	idle_end(b, blk);
	bitmap_set(blk->owned, index, 1U << order);
	count_owned(b, blk, 1 << order);
	pw_buddy_free(b, blk, index, order, kind);
}

/**
 * pw_buddy_remove() - take an idle block out
 * @b: all blocks
 * @blk: a block without a page in use
 *
 * The caller may free the block afterwards; nr_owned and owned still tell
 * which pages it had.
 */
void pw_buddy_remove(struct pw_buddy *b, struct pw_block *blk)
{
	unsigned int kind, order, old;

	idle_end(b, blk);
	for (kind = 0; kind < PW_KINDS; kind++) {
		for (order = 0; order < PW_ORDERS; order++)
			b->nr[kind][order] -= blk->nr[kind][order];
		b->nr_free[kind] -= blk->nr_free[kind];
		b->shelf[blk->node].nr_free[kind] -= blk->nr_free[kind];
		old = blk->orders[kind];
		blk->orders[kind] = 0;
		relist(b, blk, kind, old);
	}
	list_del(&blk->all);
	b->nr_blocks--;
	b->nr_partial -= is_partial(blk);
	b->nr_owned -= blk->nr_owned;
	b->shelf[blk->node].nr_owned -= blk->nr_owned;
}

/* Is every page of the node free, of whatever kind? */
static bool node_free(const struct pw_block *blk, unsigned int node,
		      unsigned int order)
{
	if (test_bit(node, blk->free[PW_DIRTY]) ||
	    test_bit(node, blk->free[PW_CLEAR]))
		return true;
	return order && node_free(blk, 2 * node, order - 1) &&
	       node_free(blk, 2 * node + 1, order - 1);
}

/* Take all free nodes out of the tree under @node; counts the clear pages. */
static unsigned int node_clean(struct pw_buddy *b, struct pw_block *blk,
			       unsigned int node, unsigned int order)
{
	if (test_bit(node, blk->free[PW_DIRTY])) {
		node_del(b, blk, node, order, PW_DIRTY);
		return 0;
	}
	if (test_bit(node, blk->free[PW_CLEAR])) {
		node_del(b, blk, node, order, PW_CLEAR);
		return 1U << order;
	}
	return node_clean(b, blk, 2 * node, order - 1) +
	       node_clean(b, blk, 2 * node + 1, order - 1);
}

/* Make one dirty node of the free pages of both kinds under @node. */
static void node_merge(struct pw_buddy *b, struct pw_block *blk,
		       unsigned int node, unsigned int order)
{
	unsigned int old[PW_KINDS] = { blk->orders[PW_DIRTY], blk->orders[PW_CLEAR] };
	unsigned int clear = node_clean(b, blk, node, order);

	count_free(b, blk, PW_CLEAR, -(int)clear);
	count_free(b, blk, PW_DIRTY, clear);
	node_add(b, blk, node, order, PW_DIRTY);
	relist(b, blk, PW_DIRTY, old[PW_DIRTY]);
	relist(b, blk, PW_CLEAR, old[PW_CLEAR]);
}

/**
 * pw_buddy_leave() - have a block's free pages used after all others, or not so
 * @b: all blocks
 * @blk: the block
 * @leaving: which
 *
 * When it is idle it is no longer leaving, and 2 MiB in one piece if all of it is
 * ours.
 */
void pw_buddy_leave(struct pw_buddy *b, struct pw_block *blk, bool leaving)
{
	unsigned int kind;

	for (kind = 0; kind < PW_KINDS; kind++)
		unlist(b, blk, kind, list_for(blk, blk->orders[kind]));
	blk->leaving = leaving;
	for (kind = 0; kind < PW_KINDS; kind++)
		enlist(b, blk, kind, list_for(blk, blk->orders[kind]));
}

static void idle_begin(struct pw_buddy *b, struct pw_block *blk)
{
	list_add(&blk->idle, is_partial(blk) ? &b->idle : b->idle.prev);
	b->nr_idle += blk->nr_owned;
	if (likely(!blk->leaving))
		return;
	pw_buddy_leave(b, blk, false);
	if (blk->nr_owned == PW_BLOCK_PAGES && blk->nr_free[PW_DIRTY] &&
	    blk->nr_free[PW_CLEAR])
		node_merge(b, blk, 1, PW_BLOCK_ORDER);
}

/**
 * pw_buddy_disown() - forget 2^order pages that are in use
 * @b: all blocks
 * @blk: their block; with its last page it leaves @b
 * @index: first page, in pages from the start of the block, aligned to @order
 * @order: how many
 */
void pw_buddy_disown(struct pw_buddy *b, struct pw_block *blk,
		     unsigned int index, unsigned int order)
{
	bitmap_clear(blk->owned, index, 1U << order);
	count_owned(b, blk, -(1 << order));
	if (!blk->nr_owned) {
		list_del(&blk->all);
		b->nr_blocks--;
		blk->leaving = false;
	} else if (all_free(blk)) {
		idle_begin(b, blk);
	}
}

static bool block_merge(struct pw_buddy *b, struct pw_block *blk,
			unsigned int order)
{
	unsigned int node, first = PW_BLOCK_PAGES >> order;

	if (blk->nr_free[PW_DIRTY] + blk->nr_free[PW_CLEAR] < 1U << order)
		return false;
	for (node = first; node < 2 * first; node++) {
		if (node_free(blk, node, order)) {
			node_merge(b, blk, node, order);
			return true;
		}
	}
	return false;
}

/* No node of this order is free, of either kind: make one out of both. */
static bool force_merge(struct pw_buddy *b, unsigned int order)
{
	struct pw_block *blk;

	if (order == PW_BLOCK_ORDER) {
		list_for_each_entry(blk, &b->idle, idle)
			if (in_reach(b, blk) && block_merge(b, blk, order))
				return true;
		return false;
	}
	list_for_each_entry(blk, &b->blocks, all)
		if (in_reach(b, blk) && block_merge(b, blk, order))
			return true;
	return false;
}

/* Give the upper halves of a node back until it is of the order asked for. */
static unsigned int node_split(struct pw_buddy *b, struct pw_block *blk,
			       unsigned int node, unsigned int order,
			       unsigned int want, enum pw_kind kind)
{
	while (order > want) {
		order--;
		node *= 2;
		node_add(b, blk, node + 1, order, kind);
	}
	return node;
}

/* A wholly free block is about to be taken in smaller pieces. */
static void cut(struct pw_buddy *b, struct pw_block *blk)
{
	if (blk->compound && b->cut)
		b->cut(blk);
}

/**
 * pw_buddy_alloc_kind() - take 2^order pages of one kind
 * @b: all blocks
 * @order: how many, at most PW_BLOCK_ORDER
 * @kind: what they must contain
 * @index: out: first page, from the start of the block
 *
 * Return: the block they are in, NULL when there is no such run.
 */
struct pw_block *pw_buddy_alloc_kind(struct pw_buddy *b, unsigned int order,
				     enum pw_kind kind, unsigned int *index)
{
	struct pw_block *blk = block_for(b, order, kind);
	unsigned int old, node, from;

	if (!blk)
		return NULL;
	idle_end(b, blk);
	old = blk->orders[kind];
	from = order + __ffs((unsigned long)(old >> order));
	node = first_node(blk, from, kind);
	if (order < PW_BLOCK_ORDER)
		cut(b, blk);
	node_del(b, blk, node, from, kind);
	*index = node_index(node_split(b, blk, node, from, order, kind), order);
	count_free(b, blk, kind, -(1 << order));
	relist(b, blk, kind, old);
	return blk;
}

/**
 * pw_buddy_alloc() - take 2^order pages, of one kind rather than the other
 * @b: all blocks
 * @order: how many, at most PW_BLOCK_ORDER
 * @kind: in: the kind that is liked better; out: what the pages are
 * @index: out: first page, from the start of the block
 *
 * When neither kind has such a run, clear and dirty pages that lie together
 * are merged into a dirty one; that walks all blocks.
 *
 * Return: the block they are in, NULL when there is no such run.
 */
struct pw_block *pw_buddy_alloc(struct pw_buddy *b, unsigned int order,
				enum pw_kind *kind, unsigned int *index)
{
	struct pw_block *blk = pw_buddy_alloc_kind(b, order, *kind, index);

	if (blk)
		return blk;
	*kind = *kind == PW_CLEAR ? PW_DIRTY : PW_CLEAR;
	blk = pw_buddy_alloc_kind(b, order, *kind, index);
	if (blk || !force_merge(b, order))
		return blk;
	*kind = PW_DIRTY;
	return pw_buddy_alloc_kind(b, order, PW_DIRTY, index);
}

/* Up to @nr pages from one block, smallest nodes first. */
static unsigned int block_take(struct pw_buddy *b, struct pw_block *blk,
			       u32 *pfns, unsigned int nr, enum pw_kind kind)
{
	unsigned int old = blk->orders[kind], got = 0;

	cut(b, blk);
	idle_end(b, blk);
	while (got < nr && blk->orders[kind]) {
		unsigned int from = __ffs((unsigned long)blk->orders[kind]);
		unsigned int order = min_t(unsigned int, from, fls(nr - got) - 1);
		unsigned int node = first_node(blk, from, kind);
		u32 pfn, end;

		node_del(b, blk, node, from, kind);
		node = node_split(b, blk, node, from, order, kind);
		pfn = blk->base + node_index(node, order);
		for (end = pfn + (1U << order); pfn != end; pfn++)
			pfns[got++] = pfn;
	}
	count_free(b, blk, kind, -(int)got);
	relist(b, blk, kind, old);
	return got;
}

/**
 * pw_buddy_alloc_bulk() - take single pages of one kind
 * @b: all blocks
 * @pfns: out: their page frame numbers, runs of neighbours where possible
 * @nr: how many at most
 * @kind: what they must contain
 *
 * Return: how many there were.
 */
unsigned int pw_buddy_alloc_bulk(struct pw_buddy *b, u32 *pfns, unsigned int nr,
				 enum pw_kind kind)
{
	struct pw_block *blk;
	unsigned int got = 0;

	while (got < nr && (blk = block_for(b, 0, kind)))
		got += block_take(b, blk, pfns + got, nr - got, kind);
	return got;
}

/**
 * pw_buddy_alloc_crumbs() - take single pages that no 2 MiB could be made of now
 * @b: all blocks; looks at the near shelf only
 * @pfns: out: their page frame numbers
 * @nr: how many at most
 * @kind: what they must contain
 *
 * So none of a block that is leaving, or idle, unless a part of it only is ours.
 *
 * Return: how many there were.
 */
unsigned int pw_buddy_alloc_crumbs(struct pw_buddy *b, u32 *pfns, unsigned int nr,
				   enum pw_kind kind)
{
	struct pw_block *blk;
	unsigned int got = 0;

	while (got < nr) {
		blk = shelf_block(&b->shelf[b->near], 0, kind);
		if (!blk || blk->leaving ||
		    (!list_empty(&blk->idle) && blk->nr_owned == PW_BLOCK_PAGES))
			break;
		got += block_take(b, blk, pfns + got, nr - got, kind);
	}
	return got;
}

/**
 * pw_buddy_free() - give 2^order pages back
 * @b: all blocks
 * @blk: their block
 * @index: first page, from the start of the block, aligned to @order
 * @order: how many; not necessarily as they were taken
 * @kind: what they contain now
 */
void pw_buddy_free(struct pw_buddy *b, struct pw_block *blk, unsigned int index,
		   unsigned int order, enum pw_kind kind)
{
	unsigned int node = node_of(index, order);
	unsigned int old = blk->orders[kind];

	count_free(b, blk, kind, 1 << order);
	while (order < PW_BLOCK_ORDER && test_bit(node ^ 1, blk->free[kind])) {
		node_del(b, blk, node ^ 1, order, kind);
		node /= 2;
		order++;
	}
	node_add(b, blk, node, order, kind);
	relist(b, blk, kind, old);
	if (all_free(blk))
		idle_begin(b, blk);
}

/**
 * pw_buddy_idle_parts() - pages of blocks that are ours in part and not in use
 * @b: all blocks
 * @enough: it need not be known whether there are more
 *
 * Blocks of a part come first among the idle ones.
 *
 * Return: how many, at least @enough if there are as many.
 */
unsigned long pw_buddy_idle_parts(const struct pw_buddy *b, unsigned long enough)
{
	const struct pw_block *blk;
	unsigned long sum = 0;

	list_for_each_entry(blk, &b->idle, idle) {
		if (sum >= enough || !is_partial(blk))
			break;
		sum += blk->nr_owned;
	}
	return sum;
}

/**
 * pw_buddy_crumbs() - free pages that are not in free runs of 2 MiB
 * @b: all blocks
 * @node: of which shelf
 *
 * May be called by whoever does not mind that it is out of date.
 */
unsigned long pw_buddy_crumbs(const struct pw_buddy *b, unsigned int node)
{
	const struct pw_shelf *s = &b->shelf[node];
	unsigned long nr = READ_ONCE(s->nr_free[PW_DIRTY]) + READ_ONCE(s->nr_free[PW_CLEAR]);
	unsigned long whole = READ_ONCE(s->whole) * PW_BLOCK_PAGES;

	return nr > whole ? nr - whole : 0;
}

/* Put a block where it belongs among those with the fewest pages in use. */
static unsigned int rank(struct pw_block **blks, unsigned int have, unsigned int nr,
			 struct pw_block *blk)
{
	unsigned int i;

	for (i = 0; i < have; i++)
		if (blks[i] == blk)
			return have;
	if (have == nr && pw_block_used(blks[nr - 1]) <= pw_block_used(blk))
		return have;
	if (have < nr)
		have++;
	for (i = have - 1; i && pw_block_used(blks[i - 1]) > pw_block_used(blk); i--)
		blks[i] = blks[i - 1];
	blks[i] = blk;
	return have;
}

/**
 * pw_buddy_emptiest() - blocks that have the fewest pages in use, but some
 * @b: all blocks
 * @node: of which shelf
 * @blks: out: the blocks, all of whose pages are ours, the emptiest first
 * @nr: how many at most
 * @may: is it one to be thought of?
 *
 * Looks at so many blocks only, those with large free runs first.
 *
 * Return: how many there are.
 */
unsigned int pw_buddy_emptiest(struct pw_buddy *b, unsigned int node,
			       struct pw_block **blks, unsigned int nr,
			       bool (*may)(const struct pw_block *blk))
{
	unsigned int i, have = 0, looked = 0;
	struct pw_block *blk;

	for (i = PW_KINDS * PW_BLOCK_ORDER; i--; ) {
		unsigned int kind = i % PW_KINDS;

		list_for_each_entry(blk, &b->shelf[node].list[kind][i / PW_KINDS], list[kind]) {
			if (looked++ == LOOK)
				return have;
			if (blk->nr_owned == PW_BLOCK_PAGES && list_empty(&blk->idle) &&
			    may(blk))
				have = rank(blks, have, nr, blk);
		}
	}
	return have;
}

/**
 * pw_buddy_in_use() - is a page owned and not free?
 * @blk: its block
 * @index: which page of the block
 */
bool pw_buddy_in_use(const struct pw_block *blk, unsigned int index)
{
	unsigned int order;

	for (order = 0; order < PW_ORDERS; order++)
		if (test_bit(node_of(index, order), blk->free[PW_DIRTY]) ||
		    test_bit(node_of(index, order), blk->free[PW_CLEAR]))
			return false;
	return test_bit(index, blk->owned);
}

/**
 * pw_buddy_low_idle() - how much lay idle all the time since the last call
 * @b: all blocks
 *
 * Return: pages in idle blocks, the least there were at any moment.
 */
unsigned long pw_buddy_low_idle(struct pw_buddy *b)
{
	unsigned long low = b->low_idle;

	b->low_idle = b->nr_idle;
	return low;
}

/* What a walk over a block's tree counts. */
struct tally {
	unsigned long nr[PW_KINDS][PW_ORDERS];
	unsigned long free[PW_KINDS];
	unsigned long listed[PW_KINDS];
};

/* @above: a larger node that holds this one is free. */
static const char *check_node(const struct pw_block *blk, unsigned int node,
			      unsigned int order, bool above, struct tally *t)
{
	bool is[PW_KINDS] = { test_bit(node, blk->free[PW_DIRTY]),
			      test_bit(node, blk->free[PW_CLEAR]) };
	unsigned int kind, i, index = node_index(node, order);
	const char *bad;

	if (above + is[PW_DIRTY] + is[PW_CLEAR] > 1)
		return "a page is free twice";
	for (kind = 0; kind < PW_KINDS; kind++) {
		if (!is[kind])
			continue;
		if (node > 1 && test_bit(node ^ 1, blk->free[kind]))
			return "free buddies of a kind are not merged";
		t->nr[kind][order]++;
		t->free[kind] += 1U << order;
		for (i = index; i < index + (1U << order); i++)
			if (!test_bit(i, blk->owned))
				return "a page is free and not owned";
	}
	if (!order)
		return NULL;
	above |= is[PW_DIRTY] || is[PW_CLEAR];
	bad = check_node(blk, 2 * node, order - 1, above, t);
	return bad ? bad : check_node(blk, 2 * node + 1, order - 1, above, t);
}

static const char *check_block(const struct pw_block *blk, struct tally *sum)
{
	struct tally t = { };
	unsigned int kind, order, orders;
	const char *bad = check_node(blk, 1, PW_BLOCK_ORDER, false, &t);

	if (bad)
		return bad;
	if (blk->compound && t.free[PW_DIRTY] + t.free[PW_CLEAR] &&
	    !t.nr[PW_DIRTY][PW_BLOCK_ORDER] && !t.nr[PW_CLEAR][PW_BLOCK_ORDER])
		return "a compound page is free in part";
	if (!blk->nr_owned ||
	    blk->nr_owned != bitmap_weight(blk->owned, PW_BLOCK_PAGES))
		return "a block's count of owned pages is wrong";
	for (kind = 0; kind < PW_KINDS; kind++) {
		if (t.free[kind] != blk->nr_free[kind])
			return "a block's count of free pages is wrong";
		sum->free[kind] += t.free[kind];
		for (order = 0, orders = 0; order < PW_ORDERS; order++) {
			if (t.nr[kind][order] != blk->nr[kind][order])
				return "a block's count of nodes is wrong";
			sum->nr[kind][order] += t.nr[kind][order];
			orders |= t.nr[kind][order] ? 1U << order : 0;
		}
		if (orders != blk->orders[kind])
			return "a block's mask of orders is wrong";
		sum->listed[kind] += !!orders;
	}
	if (list_empty(&blk->idle) == all_free(blk))
		return "a block is idle and not listed so, or the reverse";
	if (blk->leaving && all_free(blk))
		return "a block is leaving and has left";
	return NULL;
}

/* One shelf; @sum: blocks on its lists, by kind. */
static const char *check_shelf(const struct pw_buddy *b, unsigned int node,
			       unsigned long *sum)
{
	const struct pw_shelf *s = &b->shelf[node];
	const struct pw_block *blk;
	unsigned long whole = 0;
	unsigned int kind, order;

	for (kind = 0; kind < PW_KINDS; kind++) {
		unsigned long free = 0;

		for (order = 0; order < PW_LISTS; order++) {
			if (list_empty(&s->list[kind][order]) ==
			    !!(s->orders[kind] & (1UL << order)))
				return "the mask of lists is wrong";
			list_for_each_entry(blk, &s->list[kind][order], list[kind]) {
				if (list_for(blk, blk->orders[kind]) != (int)order)
					return "a block is on the wrong list";
				if (blk->node != node)
					return "a block is on another node's list";
				sum[kind]++;
				free += blk->nr_free[kind];
				whole += order == PW_BLOCK_ORDER;
			}
		}
		if (free != s->nr_free[kind])
			return "a node's count of free pages is wrong";
	}
	return whole == s->whole ? NULL : "a node's count of whole blocks is wrong";
}

/* @listed: for each kind, blocks that must be on some list. */
static const char *check_lists(const struct pw_buddy *b, const unsigned long *listed)
{
	unsigned long sum[PW_KINDS] = { };
	const char *bad = NULL;
	unsigned int i;

	for (i = 0; i < b->nr_shelves && !bad; i++)
		bad = check_shelf(b, i, sum);
	if (!bad && (sum[PW_DIRTY] != listed[PW_DIRTY] || sum[PW_CLEAR] != listed[PW_CLEAR]))
		bad = "a block is on no list or on two";
	return bad;
}

static const char *check_sums(const struct pw_buddy *b, const struct tally *sum)
{
	unsigned int kind, order;

	for (kind = 0; kind < PW_KINDS; kind++) {
		if (sum->free[kind] != b->nr_free[kind])
			return "the count of free pages is wrong";
		for (order = 0; order < PW_ORDERS; order++)
			if (sum->nr[kind][order] != b->nr[kind][order])
				return "the count of nodes is wrong";
	}
	return NULL;
}

/**
 * pw_buddy_check() - verify everything that must always hold
 * @b: all blocks
 *
 * Looks at every node and every list.
 *
 * Return: NULL, or what is wrong.
 */
const char *pw_buddy_check(const struct pw_buddy *b)
{
	unsigned long blocks = 0, partial = 0, owned = 0, idle = 0, shelved = 0;
	struct tally sum = { };
	const struct pw_block *blk;
	const char *bad;
	unsigned int i;

	list_for_each_entry(blk, &b->blocks, all) {
		bad = check_block(blk, &sum);
		if (bad)
			return bad;
		blocks++;
		partial += is_partial(blk);
		owned += blk->nr_owned;
		idle += all_free(blk) ? blk->nr_owned : 0;
	}
	for (i = 0; i < b->nr_shelves; i++)
		shelved += b->shelf[i].nr_owned;
	if (blocks != b->nr_blocks || partial != b->nr_partial ||
	    owned != b->nr_owned || idle != b->nr_idle || owned != shelved)
		return "the counts of blocks are wrong";
	bad = check_sums(b, &sum);
	return bad ? bad : check_lists(b, sum.listed);
}
