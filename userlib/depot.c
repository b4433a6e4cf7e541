// SPDX-License-Identifier: GPL-2.0-only
/*
 * depot.c - magazines of free blocks
 */
#include "decay.h"
#include "depot.h"
#include "fastbin.h"
#include "meta.h"

struct depot pw_depots[NR_CLASSES];
struct lock pw_magazines_lock;

static struct magazine *empty;

struct magazine *magazine_get(void)
{
	struct magazine *m;

	lock(&pw_magazines_lock);
	m = empty;
	if (m)
		empty = m->next;
	unlock(&pw_magazines_lock);
	return m ? m : pw_meta_alloc(sizeof(*m));
}

void magazine_put(struct magazine *m)
{
	lock(&pw_magazines_lock);
	m->next = empty;
	empty = m;
	unlock(&pw_magazines_lock);
}

struct magazine *depot_push(unsigned int c, struct magazine *m)
{
	struct depot *d = &pw_depots[c];
	struct magazine *spare;

	lock(&d->lock);
	fastbins_count((ptrdiff_t)(m->nr * class_size(c)));
	m->next = d->full;
	WRITE_ONCE(d->full, m);
	spare = d->empty;
	d->empty = NULL;
	unlock(&d->lock);
	return spare;
}

struct magazine *depot_pop(unsigned int c, struct magazine **spare)
{
	struct depot *d = &pw_depots[c];
	struct magazine *m;

	if (!READ_ONCE(d->full))
		return NULL;
	lock(&d->lock);
	m = d->full;
	if (m) {
		WRITE_ONCE(d->full, m->next);
		if (!d->empty) {
			d->empty = *spare;
			*spare = NULL;
		}
		fastbins_count(-(ptrdiff_t)(m->nr * class_size(c)));
	}
	unlock(&d->lock);
	return m;
}

size_t depot_blocks(void)
{
	struct magazine *m;
	size_t blocks = 0;
	unsigned int c;

	for (c = 1; c < NR_CLASSES; c++) {
		lock(&pw_depots[c].lock);
		for (m = pw_depots[c].full; m; m = m->next)
			blocks += m->nr;
		unlock(&pw_depots[c].lock);
	}
	return blocks;
}

bool blocks_sort_back(void **blocks, size_t n)
{
	struct arena *a = NULL;
	size_t i = 0;
	bool due;

	while (i < n) {
		struct span *s = span_of((uintptr_t)blocks[i]);

		a = move_lock(a, span_arena(s));
		i += bin_give_some(a, s, blocks + i, n - i);
	}
	if (!a)
		return false;
	due = arena_due(a);
	unlock(&a->lock);
	return due;
}

void depot_sort_back(void)
{
	struct magazine *m, *none = NULL;
	unsigned int c;

	for (c = 1; c < NR_CLASSES; c++) {
		while ((m = depot_pop(c, &none))) {
			blocks_sort_back(m->blocks, m->nr);
			magazine_put(m);
		}
	}
}
