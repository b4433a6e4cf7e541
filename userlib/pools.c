// SPDX-License-Identifier: GPL-2.0-only
/*
 * pools.c - objects of one size, in a private arena
 *
 * The arena's lock protects the pool: fork() knows it.
 */
#include <errno.h>

#include "arena.h"
#include "decay.h"
#include "entry.h"
#include "pagewell.h"
#include "report.h"

/**
 * struct pagewell_pool - lies in its own arena and goes with it
 * @arena: where objects come from
 * @class: theirs
 * @room: most objects in @list
 * @nr: how many there are
 * @list: free ones, last in first out
 */
struct pagewell_pool {
	struct arena *arena;
	unsigned int class;
	unsigned int room;
	unsigned int nr;
	struct block *list;
};

PUBLIC pagewell_pool_t *pagewell_pool_create(size_t size, size_t align, size_t limit)
{
	struct pagewell_pool *pool;
	struct arena *a;

	align = align ? align : MIN_ALIGN;
	if (!size || size > CLASS_MAX || align > GRANULE || (align & (align - 1))) {
		errno = EINVAL;
		return NULL;
	}
	a = pw_heap_start() ? arena_create(true, limit ? limit : SIZE_MAX) : NULL;
	if (!a)
		return pw_no_memory();
	pool = private_alloc(a, sizeof(*pool));
	if (!pool) {
		arena_destroy(a);
		return NULL;
	}
	/* Classes are multiples of every alignment that a size in them has. */
	size = ALIGN_UP(size, align);
	*pool = (struct pagewell_pool){
		.arena = a,
		.class = (unsigned int)class_of(size),
		.room = 2 * class_room(size),
	};
	return pool;
}

static struct block *take(struct pagewell_pool *pool)
{
	struct arena *a = pool->arena;
	struct block *b;
	struct batch batch;

	lock(&a->lock);
	b = pool->list;
	if (b) {
		pool->list = b->next;
		pool->nr--;
	} else if (bin_take(a, pool->class, pool->room / 2, NEW_PAGES, &batch)) {
		b = batch.first;
		pool->list = batch.rest;
		pool->nr = batch.nr_rest;
	}
	if (b)
		b->key = 0;
	unlock(&a->lock);
	return b;
}

PUBLIC void *pagewell_pool_alloc(pagewell_pool_t *pool)
{
	bool squeezed = false;
	struct block *b;

	/* Called in one place: compilers leave no call on the hit path. */
	while (unlikely(!(b = take(pool)))) {
		if (squeezed || !arenas_squeeze_for(pool->arena, bin_span_granules(pool->class)))
			return pw_no_memory();
		squeezed = true;
	}
	return b;
}

static bool in_list(const struct pagewell_pool *pool, const struct block *b)
{
	const struct block *p = pool->list;

	while (p && p != b)
		p = p->next;
	return p;
}

/* Says what is wrong with giving @b back, or gives it back. */
static const char *give_back(struct pagewell_pool *pool, struct span *s, struct block *b)
{
	if (b->key == pw_base && (in_list(pool, b) || bin_has(s, (uintptr_t)b)))
		return "double free of";
	b->key = pw_base;
	if (pool->nr == pool->room)
		return bin_give(pool->arena, s, (uintptr_t)b) == GIVE_OK ? NULL : "double free of";
	b->next = pool->list;
	pool->list = b;
	pool->nr++;
	return NULL;
}

PUBLIC void pagewell_pool_free(pagewell_pool_t *pool, void *p)
{
	const char *wrong = "not an object of this pool:";
	struct span *s;

	if (!p)
		return;
	s = in_window((uintptr_t)p) ? span_of((uintptr_t)p) : NULL;
	if (s && s->state == SPAN_CLASS && span_arena(s) == pool->arena &&
	    s->class == pool->class && p != pool && span_block_start(s, (uintptr_t)p)) {
		lock(&pool->arena->lock);
		wrong = give_back(pool, s, p);
		/* With room in the list nothing has come to where pages are. */
		if (pool->nr == pool->room)
			arena_freed(pool->arena);
		unlock(&pool->arena->lock);
	}
	if (wrong)
		pw_heap_error("pagewell_pool_free()", wrong, p);
}

PUBLIC void pagewell_pool_destroy(pagewell_pool_t *pool)
{
	if (pool)
		arena_destroy(pool->arena);
}
