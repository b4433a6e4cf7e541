// SPDX-License-Identifier: GPL-2.0-only
/*
 * heaps.c - heaps of the program's: private arenas
 */
#include <errno.h>

#include "arena.h"
#include "entry.h"
#include "harden.h"
#include "large.h"
#include "pagewell.h"
#include "report.h"

static struct arena *to_arena(pagewell_heap_t *heap)
{
	return (struct arena *)heap;
}

PUBLIC pagewell_heap_t *pagewell_heap_create(size_t limit)
{
	struct arena *a = pw_heap_start() ? arena_create(true, limit ? limit : SIZE_MAX) : NULL;

	if (!a)
		errno = ENOMEM;
	return (pagewell_heap_t *)a;
}

static void *alloc(struct arena *a, size_t size)
{
	struct batch batch;
	bool done, zeroed;

	if (size > CLASS_MAX)
		return size > PTRDIFF_MAX ? NULL : run_block_alloc(a, size, MIN_ALIGN, &zeroed);
	lock(&a->lock);
	done = bin_take(a, (unsigned int)class_of(size ? size : 1), 1, NEW_PAGES, &batch);
	unlock(&a->lock);
	return done ? batch.first : NULL;
}

PUBLIC void *pagewell_heap_alloc(pagewell_heap_t *heap, size_t size)
{
	void *p = alloc(to_arena(heap), size);

	if (!p)
		errno = ENOMEM;
	return p;
}

PUBLIC void pagewell_heap_free(pagewell_heap_t *heap, void *p)
{
	if (!p)
		return;
	if (!in_window((uintptr_t)p) || span_of((uintptr_t)p)->state == SPAN_LARGE ||
	    span_arena(span_of((uintptr_t)p)) != to_arena(heap))
		pw_heap_error("pagewell_heap_free()", "not a block of this heap:", p);
	pw_free_slow(p);
}

PUBLIC void pagewell_heap_destroy(pagewell_heap_t *heap)
{
	if (heap)
		arena_destroy(to_arena(heap));
}
