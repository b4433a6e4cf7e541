// SPDX-License-Identifier: GPL-2.0-only
/*
 * fastbin.c - lists that threads gave back, for the next thread
 */
#include "decay.h"
#include "depot.h"
#include "env.h"
#include "fastbin.h"

struct fastbin pw_fastbins[NR_CLASSES];
size_t pw_fastbin_bytes;
size_t pw_fastbin_limit = FASTBIN_LIMIT;

void fastbin_push(unsigned int c, struct block *first, unsigned int blocks)
{
	struct fastbin *f = &pw_fastbins[c];

	/* Large blocks are few, and keep many pages. */
	if (class_size(c) >= FASTBIN_BLOCK_MAX) {
		if (list_sort_back(first))
			arenas_return();
		return;
	}
	lock(&f->lock);
	fastbins_count((ptrdiff_t)(blocks * class_size(c)));
	*list_next(first, c) = f->lists;
	WRITE_ONCE(f->lists, list_word(first, blocks));
	WRITE_ONCE(f->nr_blocks, f->nr_blocks + blocks);
	unlock(&f->lock);
	if (unlikely(READ_ONCE(pw_fastbin_bytes) > READ_ONCE(pw_fastbin_limit)))
		arenas_collect();
}

uintptr_t fastbin_pop_list(unsigned int c)
{
	struct fastbin *f = &pw_fastbins[c];
	uintptr_t word;

	lock(&f->lock);
	word = f->lists;
	if (word) {
		WRITE_ONCE(f->lists, *list_next(list_first(word), c));
		WRITE_ONCE(f->nr_blocks, f->nr_blocks - list_blocks(word));
		fastbins_count(-(ptrdiff_t)(list_blocks(word) * class_size(c)));
	}
	unlock(&f->lock);
	return word;
}

bool fastbin_has(unsigned int c, struct block *b)
{
	struct fastbin *f = &pw_fastbins[c];
	bool found = false;
	struct block *p;
	uintptr_t word;

	lock(&f->lock);
	for (word = f->lists; word && !found; word = *list_next(list_first(word), c))
		for (p = list_first(word); p && !found; p = p->next)
			found = p == b;
	unlock(&f->lock);
	return found;
}

static uintptr_t fastbin_pop_all(unsigned int c)
{
	struct fastbin *f = &pw_fastbins[c];
	uintptr_t word;

	if (!READ_ONCE(f->lists))
		return 0;
	lock(&f->lock);
	word = f->lists;
	fastbins_count(-(ptrdiff_t)(f->nr_blocks * class_size(c)));
	WRITE_ONCE(f->lists, 0);
	WRITE_ONCE(f->nr_blocks, 0);
	unlock(&f->lock);
	return word;
}

void fastbins_sort_back(void)
{
	unsigned int c;

	for (c = 1; c < NR_CLASSES; c++) {
		uintptr_t word = fastbin_pop_all(c);

		while (word) {
			struct block *first = list_first(word);

			word = *list_next(first, c);
			list_sort_back(first);
		}
	}
	if (pw_env.harden)
		depot_sort_back();
}
