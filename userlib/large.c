// SPDX-License-Identifier: GPL-2.0-only
/*
 * large.c - blocks of whole granules
 *
 * From the mmap threshold on a block is a mapping of its own, so that freeing
 * it gives its pages back at once. Below it, what is too large for a class is
 * a run of granules in an arena.
 */
#include <errno.h>

#include "decay.h"
#include "env.h"
#include "guarded.h"
#include "large.h"
#include "probe.h"
#include "report.h"
#include "runs.h"
#include "tcache.h"
#include "tune.h"

size_t pw_large_count;
size_t pw_large_bytes;
size_t pw_large_count_max;
size_t pw_large_bytes_max;

static void raise_max(size_t *max, size_t value)
{
	if (value > READ_ONCE(*max))
		WRITE_ONCE(*max, value);
}

void large_count(ptrdiff_t blocks, ptrdiff_t bytes)
{
	raise_max(&pw_large_count_max,
		  __atomic_add_fetch(&pw_large_count, (size_t)blocks, __ATOMIC_RELAXED));
	raise_max(&pw_large_bytes_max,
		  __atomic_add_fetch(&pw_large_bytes, (size_t)bytes, __ATOMIC_RELAXED));
}

static void *mapped_alloc(size_t size, size_t align)
{
	size_t length = ALIGN_UP(MAX(size, (size_t)1), GRANULE);
	uintptr_t addr;

	if (os_map(length, align, 0, &addr))
		return NULL;
	*span_entry(granule_of(addr)) = (struct span){
		.head = (uint32_t)granule_of(addr),
		.state = SPAN_LARGE,
		.size = length,
	};
	large_count(1, (ptrdiff_t)length);
	probe(large_map, addr, length);
	return (void *)addr;
}

void *large_alloc(size_t size, size_t align, bool *zeroed)
{
	*zeroed = true;
	if (READ_ONCE(pw_large_count) >= READ_ONCE(pw_tune.mmap_max))
		return NULL;
	return pw_env.harden ? guarded_alloc(size, align, zeroed) : mapped_alloc(size, align);
}

/**
 * struct wanted_run - what shall be a block of whole granules
 * @granules: how many
 * @align: in granules
 * @source: where they may come from
 * @granule: set to the first of them
 * @dirty: set if they may hold something
 */
struct wanted_run {
	size_t granules;
	size_t align;
	enum source source;
	size_t granule;
	bool dirty;
};

/* The arena is locked. */
static bool take_run(struct arena *a, void *arg)
{
	struct wanted_run *w = arg;

	w->granule = run_alloc(a, w->granules, w->align, w->source, &w->dirty);
	if (!w->granule)
		return false;
	*span_entry(w->granule) = (struct span){
		.head = (uint32_t)w->granule,
		.state = SPAN_RUN,
		.granules = (uint32_t)w->granules,
		.arena = (uint16_t)a->id,
		.size = w->granules << GRANULE_SHIFT,
	};
	return true;
}

static bool want_run(size_t size, size_t align, enum source source, struct wanted_run *w)
{
	size_t granules = ALIGN_UP(size, GRANULE) >> GRANULE_SHIFT;

	*w = (struct wanted_run){
		.granules = MAX(granules, (size_t)1),
		.align = MAX(align >> GRANULE_SHIFT, (size_t)1),
		.source = source,
	};
	return granules < MAX_GRANULES / 2 && align <= GIB;
}

void *run_block_alloc(struct arena *a, size_t size, size_t align, bool *zeroed)
{
	struct wanted_run w;
	bool done;

	if (!want_run(size, align, NEW_PAGES, &w))
		return NULL;
	lock(&a->lock);
	done = take_run(a, &w);
	unlock(&a->lock);
	*zeroed = !w.dirty;
	return done ? (void *)granule_addr(w.granule) : NULL;
}

/* In whatever arena there is room, and be it of small blocks. */
static void *run_block_anywhere(size_t size, size_t align, bool *zeroed)
{
	struct wanted_run w;

	if (!want_run(size, align, OWN_PAGES, &w) || !arenas_try(take_run, &w))
		return NULL;
	*zeroed = !w.dirty;
	return (void *)granule_addr(w.granule);
}

static void *big_try(size_t size, size_t align, bool *zeroed)
{
	bool mapped = pw_env.harden || size >= READ_ONCE(pw_tune.mmap_threshold);
	void *p = NULL;

	if (mapped)
		p = large_alloc(size, align, zeroed);
	if (!p)
		p = run_block_alloc(pw_arenas[BIG_ARENA], size, align, zeroed);
	if (!p && !mapped)
		p = large_alloc(size, align, zeroed);
	return p ? p : run_block_anywhere(size, align, zeroed);
}

void *big_alloc(size_t size, size_t align, bool *zeroed)
{
	void *p;

	if (!pw_heap_start())
		return NULL;
	p = big_try(size, align, zeroed);
	if (!p && arenas_squeeze(size, true))
		p = big_try(size, align, zeroed);
	return p;
}

bool big_block_start(const struct span *s, uintptr_t p)
{
	return p == span_addr(s) + (s->state == SPAN_LARGE ? s->offset : 0);
}

size_t big_usable(const struct span *s, uintptr_t p)
{
	return s->size - (p - span_addr(s));
}

static void large_free(struct span *s)
{
	uintptr_t addr = span_addr(s);
	size_t length = s->size;

	/* Unmapped addresses may be another thread's at once. */
	*s = (struct span){ .state = SPAN_NONE };
	large_count(-1, -(ptrdiff_t)length);
	pw_tune_freed(length);
	probe(large_unmap, addr, length);
	os_unmap(addr, length, 0);
}

static void run_block_free(struct span *s)
{
	struct arena *a = span_arena(s);
	size_t granule, granules;

	lock(&a->lock);
	granule = s->head;
	granules = s->granules;
	*s = (struct span){ .state = SPAN_NONE };
	arena_count_in(a, granules << GRANULE_SHIFT);
	run_free(a, granule, granules, true);
	arena_freed(a);
	unlock(&a->lock);
}

void big_free(struct span *s, const char *call, void *p)
{
	if (!big_block_start(s, (uintptr_t)p))
		pw_heap_error(call, "invalid pointer", p);
	if (s->state == SPAN_RUN)
		run_block_free(s);
	else if (s->flags & SPAN_GUARDED)
		guarded_free(s, call);
	else
		large_free(s);
}

static void *large_resize(struct span *s, size_t size)
{
	size_t old = s->size, length = ALIGN_UP(size, GRANULE);
	uintptr_t addr = span_addr(s), from = addr;
	struct span copy = *s;

	if (length == old)
		return (void *)addr;
	if (length < old)
		os_drop_pages(addr + length, old - length);
	/* The old addresses may be somebody's as soon as the block has moved. */
	*s = (struct span){ .state = SPAN_NONE };
	if (os_remap(&addr, old, length, 0, true)) {
		*span_entry(granule_of(from)) = copy;
		return NULL;
	}
	copy.head = (uint32_t)granule_of(addr);
	copy.size = length;
	*span_entry(granule_of(addr)) = copy;
	large_count(0, (ptrdiff_t)(length - old));
	probe(large_remap, from, addr, length);
	return (void *)addr;
}

/*
 * What would be a mapping of its own takes the arena's top only when nothing else is
 * left: the pages of a mapping go back when it is freed.
 */
static enum source pages_for(const struct arena *a, size_t size, bool must)
{
	return must || a->private || size < READ_ONCE(pw_tune.mmap_threshold) ? NEW_PAGES
									      : OWN_PAGES;
}

static void *run_resize(struct span *s, size_t size, bool must)
{
	size_t granules = ALIGN_UP(size, GRANULE) >> GRANULE_SHIFT;
	struct arena *a = span_arena(s);
	size_t old = s->granules;
	bool done = true;

	if (granules >= MAX_GRANULES / 2)
		return NULL;
	lock(&a->lock);
	if (granules > old)
		done = run_extend(a, s->head, old, granules - old, pages_for(a, size, must));
	if (done) {
		s->granules = (uint32_t)granules;
		s->size = granules << GRANULE_SHIFT;
	}
	if (granules < old) {
		arena_count_in(a, (old - granules) << GRANULE_SHIFT);
		run_free(a, s->head + granules, old - granules, true);
	}
	unlock(&a->lock);
	return done ? (void *)span_addr(s) : NULL;
}

void *big_resize(struct span *s, size_t size, bool must)
{
	return s->state == SPAN_LARGE ? large_resize(s, size) : run_resize(s, size, must);
}
