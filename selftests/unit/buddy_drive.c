// SPDX-License-Identifier: GPL-2.0-only
/*
 * buddy_drive.c - the buddy against a trivial model, operations from bytes
 *
 * The model is one byte a page. All that the buddy promises is said in terms
 * of those bytes: what it hands out was free and of the kind it says, and it
 * says no only when no aligned run of such pages exists.
 */
#include "buddy.h"
#include "buddy_drive.h"

#define NR_BLOCKS	6
#define NR_NODES	2
#define NR_PAGES	(NR_BLOCKS * PW_BLOCK_PAGES)
#define MAX_BULK	700

enum state {
	FOREIGN,	/* not owned */
	USED,
	DIRTY,		/* free */
	CLEAR,		/* free */
};

struct run {
	struct pw_buddy buddy;
	struct pw_shelf shelf[NR_NODES];
	struct pw_block block[NR_BLOCKS];
	uint8_t page[NR_PAGES];
	u32 pfns[MAX_BULK];
	const uint8_t *data, *end;
};

static unsigned int next_byte(struct run *r)
{
	return r->data < r->end ? *r->data++ : 0;
}

static unsigned int next_page(struct run *r)
{
	unsigned int low = next_byte(r);

	return (next_byte(r) << 8 | low) % NR_PAGES;
}

static unsigned int next_order(struct run *r)
{
	return next_byte(r) % PW_ORDERS;
}

static enum pw_kind next_kind(struct run *r)
{
	return next_byte(r) % 2 ? PW_CLEAR : PW_DIRTY;
}

static enum state free_as(enum pw_kind kind)
{
	return kind == PW_CLEAR ? CLEAR : DIRTY;
}

/* Blocks lie apart, so that no run can cross from one into the next. */
static u32 block_base(unsigned int block)
{
	return (2 * block + 1) * PW_BLOCK_PAGES;
}

static void block_init(struct run *r, unsigned int block)
{
	pw_block_init(&r->block[block], block_base(block));
	r->block[block].node = block % NR_NODES;
}

static unsigned int page_of(const struct run *r, const struct pw_block *blk,
			    unsigned int index)
{
	return (blk - r->block) * PW_BLOCK_PAGES + index;
}

static bool all_are(const struct run *r, unsigned int page, unsigned int order,
		    enum state a, enum state b)
{
	unsigned int i;

	for (i = page; i < page + (1U << order); i++)
		if (r->page[i] != a && r->page[i] != b)
			return false;
	return true;
}

/* Requests may be confined to one node. */
static bool in_reach(const struct run *r, unsigned int page)
{
	return r->buddy.reach > 1 || page / PW_BLOCK_PAGES % NR_NODES == r->buddy.near;
}

static bool any_run(const struct run *r, unsigned int order, enum state a, enum state b)
{
	unsigned int page;

	for (page = 0; page < NR_PAGES; page += 1U << order)
		if (in_reach(r, page) && all_are(r, page, order, a, b))
			return true;
	return false;
}

static void set_run(struct run *r, unsigned int page, unsigned int order, enum state s)
{
	memset(r->page + page, s, 1U << order);
}

/* A block that was leaving and is idle is of one kind. */
static void has_left(struct run *r, unsigned int block, bool was_leaving)
{
	uint8_t *page = r->page + block * PW_BLOCK_PAGES;

	if (was_leaving && !r->block[block].leaving &&
	    all_are(r, block * PW_BLOCK_PAGES, PW_BLOCK_ORDER, CLEAR, DIRTY) &&
	    memchr(page, DIRTY, PW_BLOCK_PAGES))
		memset(page, DIRTY, PW_BLOCK_PAGES);
}

static void cut(struct pw_block *blk)
{
	blk->compound = false;
}

static const char *do_add(struct run *r)
{
	unsigned int order = next_order(r);
	unsigned int page = next_page(r) >> order << order;
	enum pw_kind kind = next_kind(r);
	bool leaving = r->block[page / PW_BLOCK_PAGES].leaving;

	if (!all_are(r, page, order, FOREIGN, FOREIGN))
		return NULL;
	pw_buddy_add(&r->buddy, &r->block[page / PW_BLOCK_PAGES], page % PW_BLOCK_PAGES,
		     order, kind);
	set_run(r, page, order, free_as(kind));
	has_left(r, page / PW_BLOCK_PAGES, leaving);
	return NULL;
}

static const char *do_alloc(struct run *r)
{
	unsigned int order = next_order(r), index, page;
	enum pw_kind want = next_kind(r), got = want;
	struct pw_block *blk = pw_buddy_alloc(&r->buddy, order, &got, &index);

	if (!blk)
		return any_run(r, order, CLEAR, DIRTY) ? "alloc: refused a run" : NULL;
	page = page_of(r, blk, index);
	if (index % (1U << order))
		return "alloc: not aligned";
	if (!all_are(r, page, order, CLEAR, DIRTY))
		return "alloc: a page that was not free";
	if (!in_reach(r, page))
		return "alloc: out of reach";
	if (got == PW_CLEAR && !all_are(r, page, order, CLEAR, CLEAR))
		return "alloc: called clear, is not";
	if (got != want && any_run(r, order, free_as(want), free_as(want)))
		return "alloc: the kind that was liked less";
	if (order < PW_BLOCK_ORDER && blk->compound)
		return "alloc: part of a compound page";
	/* Some stay what they were, as blocks of small pages do. */
	if (order == PW_BLOCK_ORDER && page % 1024)
		blk->compound = true;
	set_run(r, page, order, USED);
	return NULL;
}

static const char *do_alloc_kind(struct run *r)
{
	unsigned int order = next_order(r), index, page;
	enum state s;
	enum pw_kind kind = next_kind(r);
	struct pw_block *blk = pw_buddy_alloc_kind(&r->buddy, order, kind, &index);

	s = free_as(kind);
	if (!blk)
		return any_run(r, order, s, s) ? "alloc_kind: refused a run" : NULL;
	page = page_of(r, blk, index);
	if (index % (1U << order) || !all_are(r, page, order, s, s) || !in_reach(r, page))
		return "alloc_kind: not what was asked for";
	if (order < PW_BLOCK_ORDER && blk->compound)
		return "alloc_kind: part of a compound page";
	set_run(r, page, order, USED);
	return NULL;
}

static const char *do_bulk(struct run *r)
{
	unsigned int nr = 1 + next_page(r) % MAX_BULK, i, got;
	enum pw_kind kind = next_kind(r);
	unsigned long had = 0;

	for (i = 0; i < NR_PAGES; i++)
		had += in_reach(r, i) && r->page[i] == free_as(kind);

	got = pw_buddy_alloc_bulk(&r->buddy, r->pfns, nr, kind);
	if (got != min_t(unsigned long, nr, had))
		return "bulk: not as many as there were";
	for (i = 0; i < got; i++) {
		u32 pfn = r->pfns[i];
		unsigned int block = (pfn / PW_BLOCK_PAGES - 1) / 2;
		unsigned int page = block * PW_BLOCK_PAGES + pfn % PW_BLOCK_PAGES;

		if (block >= NR_BLOCKS || block_base(block) != (pfn & ~511U))
			return "bulk: a page of no block";
		if (!in_reach(r, page))
			return "bulk: out of reach";
		if (r->page[page] != free_as(kind))
			return "bulk: a page that was not free of that kind";
		if (r->block[block].compound)
			return "bulk: part of a compound page";
		r->page[page] = USED;
	}
	return NULL;
}

/* Blocks that are leaving keep what they have from whoever takes crumbs. */
static const char *do_crumbs(struct run *r)
{
	unsigned int nr = 1 + next_byte(r), i, got;
	enum pw_kind kind = next_kind(r);

	got = pw_buddy_alloc_crumbs(&r->buddy, r->pfns, nr, kind);
	if (got > nr)
		return "crumbs: more than asked for";
	for (i = 0; i < got; i++) {
		unsigned int block = (r->pfns[i] / PW_BLOCK_PAGES - 1) / 2;
		unsigned int page = block * PW_BLOCK_PAGES + r->pfns[i] % PW_BLOCK_PAGES;

		if (r->page[page] != free_as(kind))
			return "crumbs: a page that was not free of that kind";
		if (r->block[block].leaving)
			return "crumbs: a page of a block that is leaving";
		if (block % NR_NODES != r->buddy.near)
			return "crumbs: a page of another node";
		r->page[page] = USED;
	}
	return NULL;
}

static bool may_leave(const struct pw_block *blk)
{
	return blk->base % 3;
}

/* The emptiest block that may is told to leave, and some other to stay. */
static const char *do_leave(struct run *r)
{
	unsigned int nr = 1 + next_byte(r) % 3, node = next_byte(r) % NR_NODES, i, had, used = 0;
	struct pw_block *stay = &r->block[next_byte(r) % NR_BLOCKS], *blks[3];

	had = pw_buddy_emptiest(&r->buddy, node, blks, nr, may_leave);
	for (i = 0; i < had; i++) {
		unsigned int first = page_of(r, blks[i], 0), page, now = 0;

		for (page = first; page < first + PW_BLOCK_PAGES; page++) {
			if (r->page[page] == FOREIGN)
				return "emptiest: a block that is not ours as a whole";
			now += r->page[page] == USED;
		}
		if (!now || now < used || !may_leave(blks[i]) || blks[i]->node != node)
			return "emptiest: not what was asked for";
		used = now;
		pw_buddy_leave(&r->buddy, blks[i], true);
	}
	if (stay->leaving)
		pw_buddy_leave(&r->buddy, stay, false);
	return NULL;
}

static const char *do_free(struct run *r)
{
	unsigned int order = next_order(r);
	unsigned int page = next_page(r) >> order << order;
	enum pw_kind kind = next_kind(r);
	bool leaving = r->block[page / PW_BLOCK_PAGES].leaving;

	while (order && !all_are(r, page, order, USED, USED))
		order--;
	if (r->page[page] != USED)
		return NULL;
	if (order < PW_BLOCK_ORDER)
		cut(&r->block[page / PW_BLOCK_PAGES]);
	pw_buddy_free(&r->buddy, &r->block[page / PW_BLOCK_PAGES], page % PW_BLOCK_PAGES,
		      order, kind);
	set_run(r, page, order, free_as(kind));
	has_left(r, page / PW_BLOCK_PAGES, leaving);
	return NULL;
}

/* Everything in use in one block comes back, page by page. */
static const char *do_free_block(struct run *r)
{
	unsigned int block = next_byte(r) % NR_BLOCKS, i;
	enum pw_kind kind = next_kind(r);
	bool leaving = r->block[block].leaving;

	if (!memchr(r->page + block * PW_BLOCK_PAGES, USED, PW_BLOCK_PAGES))
		return NULL;
	cut(&r->block[block]);
	for (i = 0; i < PW_BLOCK_PAGES; i++) {
		uint8_t *s = &r->page[block * PW_BLOCK_PAGES + i];

		if (*s != USED)
			continue;
		pw_buddy_free(&r->buddy, &r->block[block], i, 0, kind);
		*s = free_as(kind);
	}
	has_left(r, block, leaving);
	return NULL;
}

static const char *do_disown(struct run *r)
{
	unsigned int page = next_page(r), order = page % 3 ? 0 : PW_BLOCK_ORDER;

	page = page >> order << order;
	if (!all_are(r, page, order, USED, USED))
		return NULL;
	cut(&r->block[page / PW_BLOCK_PAGES]);
	pw_buddy_disown(&r->buddy, &r->block[page / PW_BLOCK_PAGES], page % PW_BLOCK_PAGES,
			order);
	set_run(r, page, order, FOREIGN);
	return NULL;
}

static const char *do_remove(struct run *r)
{
	struct pw_block *blk;
	unsigned int i, first;

	if (list_empty(&r->buddy.idle))
		return NULL;
	blk = list_first_entry(&r->buddy.idle, struct pw_block, idle);
	first = page_of(r, blk, 0);
	for (i = 0; i < PW_BLOCK_PAGES; i++) {
		if (r->page[first + i] == USED)
			return "remove: an idle block had a page in use";
		if (test_bit(i, blk->owned) != (r->page[first + i] != FOREIGN))
			return "remove: owned pages are wrong";
	}
	pw_buddy_remove(&r->buddy, blk);
	memset(r->page + first, FOREIGN, PW_BLOCK_PAGES);
	block_init(r, blk - r->block);
	return NULL;
}

static const char *do_op(struct run *r)
{
	unsigned int op = next_byte(r);

	pw_buddy_look(&r->buddy, op / 16 % NR_NODES, op / 32 % 4 ? NR_NODES : 1);
	switch (op % 16) {
	case 0 ... 1:
		return do_add(r);
	case 2 ... 4:
		return do_alloc(r);
	case 5 ... 6:
		return do_alloc_kind(r);
	case 7:
		return do_bulk(r);
	case 8:
		return op & 16 ? do_crumbs(r) : do_leave(r);
	case 9 ... 12:
		return do_free(r);
	case 13:
		return do_free_block(r);
	case 14:
		return do_disown(r);
	default:
		return do_remove(r);
	}
}

/* Mark what the block's tree has free; false when a page is there twice. */
static bool tree_states(const struct pw_block *blk, uint8_t *state)
{
	unsigned int kind, node, order, i;

	for (kind = 0; kind < PW_KINDS; kind++) {
		for (node = 1; node < 2 * PW_BLOCK_PAGES; node++) {
			if (!test_bit(node, blk->free[kind]))
				continue;
			order = PW_BLOCK_ORDER + 1 - fls(node);
			for (i = 0; i < 1U << order; i++) {
				uint8_t *s = &state[(node << order) - PW_BLOCK_PAGES + i];

				if (*s != USED)
					return false;
				*s = free_as(kind);
			}
		}
	}
	return true;
}

static const char *compare(const struct run *r)
{
	uint8_t state[PW_BLOCK_PAGES];
	unsigned int block, i;

	for (block = 0; block < NR_BLOCKS; block++) {
		const struct pw_block *blk = &r->block[block];

		for (i = 0; i < PW_BLOCK_PAGES; i++)
			state[i] = test_bit(i, blk->owned) ? USED : FOREIGN;
		if (!tree_states(blk, state))
			return "a page is free twice, or free and foreign";
		if (memcmp(state, r->page + block * PW_BLOCK_PAGES, PW_BLOCK_PAGES))
			return "buddy and model disagree about a page";
	}
	return NULL;
}

const char *buddy_drive(const uint8_t *data, size_t len)
{
	static struct run r;
	const char *bad = NULL;
	unsigned int i;

	memset(&r, 0, sizeof(r));
	r.data = data;
	r.end = data + len;
	pw_buddy_init(&r.buddy, r.shelf, NR_NODES);
	r.buddy.cut = cut;
	for (i = 0; i < NR_BLOCKS; i++)
		block_init(&r, i);
	while (!bad && r.data < r.end) {
		bad = do_op(&r);
		if (!bad)
			bad = pw_buddy_check(&r.buddy);
		if (!bad)
			bad = compare(&r);
	}
	return bad;
}
