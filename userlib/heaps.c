// SPDX-License-Identifier: GPL-2.0-only
/*
 * heaps.c - heaps of the program's: private arenas
 */
#include <string.h>

#include "arena.h"
#include "decay.h"
#include "entry.h"
#include "harden.h"
#include "large.h"
#include "pagewell.h"
#include "report.h"

/**
 * struct pagewell_arena - all there is to a heap
 * @arena: a private one
 */
struct pagewell_arena {
	struct arena arena;
};

_Static_assert(sizeof(struct pagewell_arena) == sizeof(struct arena), "one is the other");

static struct arena *to_arena(pagewell_heap_t *heap)
{
	return &heap->arena;
}

PUBLIC pagewell_heap_t *pagewell_heap_create(size_t limit)
{
	struct arena *a = pw_heap_start() ? arena_create(true, limit ? limit : SIZE_MAX) : NULL;

	return a ? (pagewell_heap_t *)a : pw_no_memory();
}

static bool take_one(struct arena *a, unsigned int c, struct batch *batch)
{
	bool done;

	lock(&a->lock);
	done = bin_take(a, c, 1, NEW_PAGES, batch);
	unlock(&a->lock);
	return done;
}

static void *class_block(struct arena *a, size_t size, bool *zeroed)
{
	unsigned int c = (unsigned int)class_of(size ? size : 1);
	bool squeezed = false;
	struct batch batch;

	/* Called in one place: compilers leave no call on the hit path. */
	while (unlikely(!take_one(a, c, &batch))) {
		if (squeezed || !arenas_squeeze_for(a, bin_span_granules(c)))
			return NULL;
		squeezed = true;
	}
	*zeroed = batch.fresh;
	batch.first->key = 0;
	return batch.first;
}

static void *run_block(struct arena *a, size_t size, bool *zeroed)
{
	void *p = run_block_alloc(a, size, MIN_ALIGN, zeroed);

	if (!p && arenas_squeeze_for(a, ALIGN_UP(size, GRANULE) >> GRANULE_SHIFT))
		p = run_block_alloc(a, size, MIN_ALIGN, zeroed);
	return p;
}

static void *alloc(struct arena *a, size_t size, bool *zeroed)
{
	if (size <= CLASS_MAX)
		return class_block(a, size, zeroed);
	return size <= PTRDIFF_MAX ? run_block(a, size, zeroed) : NULL;
}

void *private_alloc(struct arena *a, size_t size)
{
	bool zeroed;
	void *p = alloc(a, size, &zeroed);

	return p ? p : pw_no_memory();
}

PUBLIC void *pagewell_heap_alloc(pagewell_heap_t *heap, size_t size)
{
	return private_alloc(to_arena(heap), size);
}

PUBLIC void *pagewell_heap_calloc(pagewell_heap_t *heap, size_t n, size_t size)
{
	bool zeroed;
	void *p;

	if (__builtin_mul_overflow(n, size, &size))
		return pw_no_memory();
	p = alloc(to_arena(heap), size, &zeroed);
	if (!p)
		return pw_no_memory();
	return zeroed ? p : memset(p, 0, size);
}

static void not_ours(const char *call, void *p)
{
	pw_heap_error(call, "not a block of this heap:", p);
}

static struct span *check_block(pagewell_heap_t *heap, void *p, const char *call)
{
	struct span *s = in_window((uintptr_t)p) ? span_of((uintptr_t)p) : NULL;
	bool ours = s && (s->state == SPAN_CLASS || s->state == SPAN_RUN) &&
		    span_arena(s) == to_arena(heap);

	if (!ours)
		not_ours(call, p);
	return s;
}

/* Does a block start here that is in use? That of a run is, as long as there is the run. */
static bool is_block(struct span *s, uintptr_t addr)
{
	struct arena *a = span_arena(s);
	bool free;

	if (s->state == SPAN_RUN)
		return big_block_start(s, addr);
	if (!span_block_start(s, addr))
		return false;
	lock(&a->lock);
	free = bin_has(s, addr);
	unlock(&a->lock);
	return !free;
}

PUBLIC void *pagewell_heap_realloc(pagewell_heap_t *heap, void *p, size_t size)
{
	struct span *s;
	bool zeroed;
	size_t old;
	void *q;

	if (!p)
		return pagewell_heap_alloc(heap, size);
	s = check_block(heap, p, "pagewell_heap_realloc()");
	if (!is_block(s, (uintptr_t)p))
		not_ours("pagewell_heap_realloc()", p);
	old = s->state == SPAN_CLASS ? s->block_size : big_usable(s, (uintptr_t)p);
	if (size && size <= old && size > old / 2)
		return p;
	q = size ? alloc(to_arena(heap), size, &zeroed) : NULL;
	/* Shrinking needs no memory: where there is none to move to, the block stays. */
	if (size && !q)
		return size <= old ? p : pw_no_memory();
	if (q)
		memcpy(q, p, MIN(old, size));
	pw_free_any(p, "pagewell_heap_realloc()");
	return q;
}

PUBLIC void pagewell_heap_free(pagewell_heap_t *heap, void *p)
{
	if (!p)
		return;
	check_block(heap, p, "pagewell_heap_free()");
	pw_free_any(p, "pagewell_heap_free()");
}

PUBLIC size_t pagewell_heap_size(pagewell_heap_t *heap, size_t *in_use)
{
	struct arena *a = to_arena(heap);
	size_t size;

	lock(&a->lock);
	size = a->size;
	if (in_use)
		*in_use = a->blocks_out;
	unlock(&a->lock);
	return size;
}

PUBLIC void pagewell_heap_destroy(pagewell_heap_t *heap)
{
	if (heap)
		arena_destroy(to_arena(heap));
}
