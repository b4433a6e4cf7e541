// SPDX-License-Identifier: GPL-2.0-only
/*
 * buddy_cases.c - the buddy: what it must do, and random use against a model
 *
 * Built into a program and, for KUnit, into a module.
 */
#include "buddy.h"
#include "buddy_cases.h"
#include "buddy_drive.h"

#define NR_BLOCKS	4
#define RANDOM_LEN	4000

static struct pw_buddy buddy;
static struct pw_shelf shelf[2];
static struct pw_block block[NR_BLOCKS];

static void setup(unsigned int blocks, enum pw_kind kind)
{
	unsigned int i;

	pw_buddy_init(&buddy, shelf, 2);
	for (i = 0; i < NR_BLOCKS; i++)
		pw_block_init(&block[i], i * PW_BLOCK_PAGES);
	for (i = 0; i < blocks; i++)
		pw_buddy_add(&buddy, &block[i], 0, PW_BLOCK_ORDER, kind);
}

static bool sound(void)
{
	const char *bad = pw_buddy_check(&buddy);

	if (bad)
		buddy_say("%s", bad);
	return !bad;
}

static struct pw_block *take(unsigned int order, enum pw_kind kind, unsigned int *index)
{
	return pw_buddy_alloc_kind(&buddy, order, kind, index);
}

/* Halves of one kind become a whole again, from single pages up. */
static bool test_merge(void)
{
	static u32 pfns[PW_BLOCK_PAGES];
	unsigned int i;

	setup(1, PW_CLEAR);
	if (pw_buddy_alloc_bulk(&buddy, pfns, PW_BLOCK_PAGES, PW_CLEAR) != PW_BLOCK_PAGES)
		return false;
	for (i = 0; i < PW_BLOCK_PAGES; i++)
		pw_buddy_free(&buddy, &block[0], (i * 77) % PW_BLOCK_PAGES, 0, PW_CLEAR);
	return sound() && buddy.nr[PW_CLEAR][PW_BLOCK_ORDER] == 1;
}

/* Clear and dirty do not merge by themselves ... */
static bool test_apart(void)
{
	unsigned int index;

	setup(1, PW_CLEAR);
	take(0, PW_CLEAR, &index);
	pw_buddy_free(&buddy, &block[0], index, 0, PW_DIRTY);
	return sound() && !take(PW_BLOCK_ORDER, PW_CLEAR, &index) &&
	       !take(PW_BLOCK_ORDER, PW_DIRTY, &index) &&
	       buddy.nr[PW_CLEAR][PW_BLOCK_ORDER - 1] == 1;
}

/* ... but do when only both together give what is asked for: as dirty. */
static bool test_force(void)
{
	enum pw_kind kind = PW_CLEAR;
	unsigned int index;
	bool ok = test_apart();

	ok = ok && pw_buddy_alloc(&buddy, PW_BLOCK_ORDER, &kind, &index) == &block[0];
	return ok && kind == PW_DIRTY && sound() && !buddy.nr_free[PW_CLEAR];
}

/* The same below 2 MiB, in a block that is partly in use. */
static bool test_force_small(void)
{
	enum pw_kind kind = PW_CLEAR;
	unsigned int index;

	setup(0, PW_CLEAR);
	pw_buddy_add(&buddy, &block[0], 8, 0, PW_CLEAR);
	pw_buddy_add(&buddy, &block[0], 9, 0, PW_DIRTY);
	pw_buddy_add(&buddy, &block[0], 11, 0, PW_CLEAR);
	return pw_buddy_alloc(&buddy, 1, &kind, &index) == &block[0] && index == 8 &&
	       kind == PW_DIRTY && sound() && buddy.nr_free[PW_CLEAR] == 1;
}

/* Small requests go where little is left, so that other blocks can empty. */
static bool test_fullest(void)
{
	unsigned int index, i;
	struct pw_block *first;

	setup(3, PW_DIRTY);
	first = take(0, PW_DIRTY, &index);
	for (i = 1; i < PW_BLOCK_PAGES; i++)
		if (take(0, PW_DIRTY, &index) != first)
			return false;
	return take(0, PW_DIRTY, &index) != first && sound() &&
	       buddy.nr[PW_DIRTY][PW_BLOCK_ORDER] == 1;
}

/* The same for pages taken in bulk; they come in runs. */
static bool test_fullest_bulk(void)
{
	unsigned int index, i;
	struct pw_block *first;
	u32 pfns[64];

	setup(3, PW_DIRTY);
	first = take(7, PW_DIRTY, &index);
	if (pw_buddy_alloc_bulk(&buddy, pfns, 64, PW_DIRTY) != 64)
		return false;
	for (i = 0; i < 64; i++)
		if (pfns[i] / PW_BLOCK_PAGES * PW_BLOCK_PAGES != first->base ||
		    pfns[i] != pfns[0] + i)
			return false;
	return sound() && buddy.nr[PW_DIRTY][PW_BLOCK_ORDER] == 2;
}

/* The near node first, another one only when that is within reach. */
static bool test_nodes(void)
{
	unsigned int index;
	bool ok;

	setup(0, PW_DIRTY);
	block[1].node = 1;
	pw_buddy_add(&buddy, &block[0], 0, PW_BLOCK_ORDER, PW_DIRTY);
	pw_buddy_add(&buddy, &block[1], 0, 1, PW_DIRTY);
	pw_buddy_look(&buddy, 1, 1);
	ok = take(1, PW_DIRTY, &index) == &block[1] && !take(0, PW_DIRTY, &index);
	pw_buddy_look(&buddy, 1, 2);
	return ok && take(0, PW_DIRTY, &index) == &block[0] && sound();
}

/* Small requests leave compound pages whole as long as other blocks do. */
static bool test_compound(void)
{
	unsigned int index;

	setup(0, PW_DIRTY);
	block[1].compound = true;
	block[2].compound = true;
	pw_buddy_add(&buddy, &block[1], 0, PW_BLOCK_ORDER, PW_DIRTY);
	pw_buddy_add(&buddy, &block[0], 0, PW_BLOCK_ORDER, PW_DIRTY);
	pw_buddy_add(&buddy, &block[2], 0, PW_BLOCK_ORDER, PW_DIRTY);
	return take(0, PW_DIRTY, &index) == &block[0] &&
	       take(PW_BLOCK_ORDER, PW_DIRTY, &index)->compound && sound();
}

/* The block that has been idle longest is the first of the idle ones. */
static bool test_idle(void)
{
	struct pw_block *blk[2];
	unsigned int index[2];

	setup(2, PW_DIRTY);
	blk[0] = take(PW_BLOCK_ORDER, PW_DIRTY, &index[0]);
	blk[1] = take(PW_BLOCK_ORDER, PW_DIRTY, &index[1]);
	if (!list_empty(&buddy.idle) || buddy.nr_idle)
		return false;
	pw_buddy_free(&buddy, blk[1], 0, PW_BLOCK_ORDER, PW_DIRTY);
	pw_buddy_free(&buddy, blk[0], 0, PW_BLOCK_ORDER, PW_DIRTY);
	return sound() && buddy.idle.next == &blk[1]->idle &&
	       buddy.nr_idle == 2 * PW_BLOCK_PAGES;
}

/* What lay idle all the time is known, even if not the same blocks did. */
static bool test_low_idle(void)
{
	unsigned int index, i;
	struct pw_block *blk;
	bool ok;

	setup(4, PW_DIRTY);
	pw_buddy_low_idle(&buddy);
	for (i = 0; i < 20; i++) {
		blk = take(PW_BLOCK_ORDER, PW_DIRTY, &index);
		pw_buddy_free(&buddy, blk, 0, PW_BLOCK_ORDER, PW_DIRTY);
	}
	ok = pw_buddy_low_idle(&buddy) == 3 * PW_BLOCK_PAGES;
	return ok && pw_buddy_low_idle(&buddy) == 4 * PW_BLOCK_PAGES;
}

/* A block may be ours in part; what is not ours is never handed out. */
static bool test_partial(void)
{
	unsigned int index, got;
	u32 pfns[8];

	setup(0, PW_DIRTY);
	pw_buddy_add(&buddy, &block[0], 4, 2, PW_DIRTY);
	if (buddy.nr_partial != 1 || take(3, PW_DIRTY, &index))
		return false;
	got = pw_buddy_alloc_bulk(&buddy, pfns, 8, PW_DIRTY);
	return got == 4 && pfns[0] == 4 && pfns[3] == 7 && sound();
}

/* A page in use can be forgotten; with the last one the block is gone. */
static bool test_disown(void)
{
	unsigned int index, other;

	setup(0, PW_DIRTY);
	pw_buddy_add(&buddy, &block[0], 0, 1, PW_DIRTY);
	take(0, PW_DIRTY, &index);
	pw_buddy_disown(&buddy, &block[0], index, 0);
	if (!sound() || buddy.nr_idle != 1 || take(1, PW_DIRTY, &other))
		return false;
	take(0, PW_DIRTY, &other);
	pw_buddy_disown(&buddy, &block[0], other, 0);
	return sound() && other == (index ^ 1) && !buddy.nr_blocks && !buddy.nr_partial &&
	       !buddy.nr_owned;
}

/* All of two blocks is in use, then a half of one and a bit of the other free. */
static void setup_halves(void)
{
	unsigned int index;

	setup(2, PW_DIRTY);
	take(PW_BLOCK_ORDER, PW_DIRTY, &index);
	take(PW_BLOCK_ORDER, PW_DIRTY, &index);
	pw_buddy_free(&buddy, &block[0], 0, 7, PW_DIRTY);
	pw_buddy_free(&buddy, &block[0], 128, 7, PW_CLEAR);
	pw_buddy_free(&buddy, &block[1], 0, 4, PW_DIRTY);
}

static void free_rest(struct pw_block *blk)
{
	unsigned int i;

	for (i = 0; i < PW_BLOCK_PAGES; i++)
		if (pw_buddy_in_use(blk, i))
			pw_buddy_free(&buddy, blk, i, 0, PW_DIRTY);
}

/* A block that is leaving is used last, and 2 MiB again when it has left. */
static bool test_leave(void)
{
	unsigned int index, i;

	setup_halves();
	pw_buddy_leave(&buddy, &block[0], true);
	for (i = 0; i < 16; i++)
		if (take(0, PW_DIRTY, &index) != &block[1])
			return false;
	if (!sound() || pw_buddy_top_order(&buddy, PW_CLEAR) >= 0 ||
	    take(0, PW_DIRTY, &index) != &block[0] ||
	    take(7, PW_CLEAR, &index) != &block[0])
		return false;
	pw_buddy_free(&buddy, &block[0], 128, 7, PW_CLEAR);
	free_rest(&block[0]);
	return sound() && !block[0].leaving && shelf[0].whole == 1 &&
	       buddy.nr[PW_DIRTY][PW_BLOCK_ORDER] == 1;
}

/* Crumbs are what is left of blocks in use that may stay. */
static bool test_crumbs(void)
{
	u32 pfns[32];

	setup_halves();
	free_rest(&block[1]);
	if (pw_buddy_crumbs(&buddy, 0) != 256 || shelf[0].whole != 1 ||
	    pw_buddy_alloc_crumbs(&buddy, pfns, 32, PW_DIRTY) != 32 ||
	    pfns[31] >= PW_BLOCK_PAGES)
		return false;
	pw_buddy_leave(&buddy, &block[0], true);
	if (!sound() || pw_buddy_alloc_crumbs(&buddy, pfns, 1, PW_DIRTY) ||
	    pw_buddy_alloc_crumbs(&buddy, pfns, 1, PW_CLEAR))
		return false;
	/* What is ours in part is never 2 MiB, in use or not. */
	pw_buddy_add(&buddy, &block[2], 8, 2, PW_DIRTY);
	return pw_buddy_alloc_crumbs(&buddy, pfns, 32, PW_DIRTY) == 4 && sound();
}

static bool any(const struct pw_block *blk)
{
	return blk->nr_owned;
}

static bool not_the_first(const struct pw_block *blk)
{
	return blk != &block[0];
}

/* Blocks with some pages in use, the emptiest first; not those that are idle. */
static bool test_emptiest(void)
{
	struct pw_block *blks[4];

	setup_halves();
	if (pw_buddy_emptiest(&buddy, 0, blks, 1, any) != 1 || blks[0] != &block[0] ||
	    pw_buddy_emptiest(&buddy, 0, blks, 4, any) != 2 || blks[1] != &block[1] ||
	    pw_buddy_emptiest(&buddy, 0, blks, 4, not_the_first) != 1 ||
	    blks[0] != &block[1] || pw_buddy_emptiest(&buddy, 1, blks, 4, any))
		return false;
	free_rest(&block[0]);
	return pw_buddy_emptiest(&buddy, 0, blks, 4, any) == 1 && blks[0] == &block[1];
}

/* Blocks of a part are the first to go, when they are idle. */
static bool test_idle_parts(void)
{
	unsigned int index;

	setup(2, PW_DIRTY);
	pw_buddy_add(&buddy, &block[2], 8, 3, PW_DIRTY);
	pw_buddy_add(&buddy, &block[3], 4, 2, PW_CLEAR);
	if (!sound() || pw_buddy_idle_parts(&buddy, PW_BLOCK_PAGES) != 12 ||
	    pw_buddy_idle_parts(&buddy, 1) >= 12 ||
	    list_first_entry(&buddy.idle, struct pw_block, idle)->nr_owned > 8)
		return false;
	/* One that is in use is none. */
	if (take(2, PW_CLEAR, &index) != &block[3])
		return false;
	return pw_buddy_idle_parts(&buddy, PW_BLOCK_PAGES) == 8 && sound();
}

static bool test_remove(void)
{
	setup(2, PW_CLEAR);
	pw_buddy_remove(&buddy, &block[0]);
	return sound() && buddy.nr_blocks == 1 && buddy.nr_free[PW_CLEAR] == PW_BLOCK_PAGES &&
	       block[0].nr_owned == PW_BLOCK_PAGES;
}

/* The self-check sees what it is for. */
static bool test_check(void)
{
	bool seen = true;

	setup(2, PW_CLEAR);
	seen &= !pw_buddy_check(&buddy);
	__set_bit(77, block[0].free[PW_DIRTY]);
	seen &= !!pw_buddy_check(&buddy);
	__clear_bit(77, block[0].free[PW_DIRTY]);
	block[1].nr_free[PW_CLEAR]--;
	seen &= !!pw_buddy_check(&buddy);
	block[1].nr_free[PW_CLEAR]++;
	__clear_bit(5, block[1].owned);
	seen &= !!pw_buddy_check(&buddy);
	__set_bit(5, block[1].owned);
	shelf[0].orders[PW_CLEAR] = 0;
	seen &= !!pw_buddy_check(&buddy);
	return seen;
}

bool buddy_random(u32 seed, unsigned int runs)
{
	static uint8_t data[RANDOM_LEN];
	unsigned int run, i;
	const char *bad;

	buddy_say("seed %u", seed);
	for (run = 0; run < runs; run++) {
		for (i = 0; i < RANDOM_LEN; i++) {
			seed = seed * 1664525 + 1013904223;
			data[i] = seed >> 24;
		}
		bad = buddy_drive(data, RANDOM_LEN);
		if (bad) {
			buddy_say("run %u: %s", run, bad);
			return false;
		}
	}
	return true;
}

const struct buddy_case buddy_cases[] = {
	{ test_merge, "like merges with like" },
	{ test_apart, "clear and dirty stay apart" },
	{ test_force, "2 MiB of both kinds merge when asked for" },
	{ test_force_small, "a run of both kinds merges when asked for" },
	{ test_fullest, "the fullest block is used first" },
	{ test_fullest_bulk, "the fullest block is used first in bulk" },
	{ test_nodes, "the near node comes first" },
	{ test_compound, "compound pages are cut last" },
	{ test_idle, "idle blocks are known, oldest first" },
	{ test_low_idle, "what lay idle all the time is known" },
	{ test_partial, "partial blocks hand out only what they have" },
	{ test_disown, "pages in use can be disowned" },
	{ test_leave, "a block that is leaving is used last" },
	{ test_crumbs, "crumbs come from blocks that stay" },
	{ test_emptiest, "the emptiest blocks are known" },
	{ test_idle_parts, "idle parts of blocks go first" },
	{ test_remove, "idle blocks can be removed" },
	{ test_check, "the self-check finds damage" },
	{ NULL },
};
