// SPDX-License-Identifier: GPL-2.0-only
/*
 * large.c - blocks of whole granules
 *
 * From the mmap threshold on a block is a mapping of its own, so that freeing
 * it gives its pages back at once. Below it, what is too large for a class is
 * a run of granules in an arena.
 */
#include <errno.h>

#include "env.h"
#include "large.h"
#include "probe.h"
#include "report.h"
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

static void count_large(size_t blocks, size_t bytes)
{
	raise_max(&pw_large_count_max,
		  __atomic_add_fetch(&pw_large_count, blocks, __ATOMIC_RELAXED));
	raise_max(&pw_large_bytes_max,
		  __atomic_add_fetch(&pw_large_bytes, bytes, __ATOMIC_RELAXED));
}

/* Hardened, a block ends where its guard begins; its start is in the span. */
static size_t block_offset(size_t length, size_t size, size_t align)
{
	return pw_env.harden ? ALIGN_DOWN(length - size, MAX(align, MIN_ALIGN)) : 0;
}

void *large_alloc(size_t size, size_t align)
{
	size_t length = ALIGN_UP(MAX(size, (size_t)1), GRANULE);
	unsigned int flags = pw_env.harden ? OS_GUARD : 0;
	struct span *s;
	uintptr_t addr;

	if (READ_ONCE(pw_large_count) >= READ_ONCE(pw_tune.mmap_max) ||
	    os_map(length, align, flags, &addr))
		return NULL;
	s = span_entry(granule_of(addr));
	*s = (struct span){
		.head = (uint32_t)granule_of(addr),
		.state = SPAN_LARGE,
		.flags = flags ? SPAN_GUARDED : 0,
		.size = length,
		.offset = block_offset(length, size, align),
	};
	count_large(1, length);
	probe(large_map, addr, length);
	return (void *)(addr + s->offset);
}

void *run_block_alloc(struct arena *a, size_t size, size_t align, bool *zeroed)
{
	size_t granules = ALIGN_UP(size, GRANULE) >> GRANULE_SHIFT;
	size_t granule;
	bool dirty;

	if (granules >= MAX_GRANULES / 2 || align > GIB)
		return NULL;
	granules = MAX(granules, (size_t)1);
	lock(&a->lock);
	granule = run_alloc(a, granules, MAX(align >> GRANULE_SHIFT, (size_t)1), NEW_PAGES, &dirty);
	if (granule)
		*span_entry(granule) = (struct span){
			.head = (uint32_t)granule,
			.state = SPAN_RUN,
			.granules = (uint32_t)granules,
			.arena = (uint16_t)a->id,
			.size = granules << GRANULE_SHIFT,
		};
	unlock(&a->lock);
	if (!granule)
		return NULL;
	*zeroed = !dirty;
	return (void *)granule_addr(granule);
}

void *big_alloc(size_t size, size_t align, bool *zeroed)
{
	bool mapped = size >= READ_ONCE(pw_tune.mmap_threshold);
	void *p = NULL;

	if (!pw_heap_start())
		return NULL;
	*zeroed = true;
	if (mapped)
		p = large_alloc(size, align);
	if (!p)
		p = run_block_alloc(pw_arenas[BIG_ARENA], size, align, zeroed);
	if (!p && !mapped)
		p = large_alloc(size, align);
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
	unsigned int flags = s->flags & SPAN_GUARDED ? OS_GUARD : 0;
	uintptr_t addr = span_addr(s);
	size_t length = s->size;

	/* Unmapped addresses may be another thread's at once. */
	*s = (struct span){ .state = SPAN_NONE };
	count_large((size_t)-1, -length);
	pw_tune_freed(length);
	probe(large_unmap, addr, length);
	os_unmap(addr, length, flags);
}

static void run_block_free(struct span *s)
{
	struct arena *a = span_arena(s);
	size_t granule, granules;

	lock(&a->lock);
	granule = s->head;
	granules = s->granules;
	*s = (struct span){ .state = SPAN_NONE };
	WRITE_ONCE(a->blocks_out, a->blocks_out - (granules << GRANULE_SHIFT));
	run_free(a, granule, granules, true);
	arena_freed(a);
	unlock(&a->lock);
}

void big_free(struct span *s, const char *call, void *p)
{
	if (!big_block_start(s, (uintptr_t)p))
		pw_heap_error(call, "invalid pointer", p);
	if (s->state == SPAN_LARGE)
		large_free(s);
	else
		run_block_free(s);
}

static void *large_resize(struct span *s, size_t size)
{
	size_t old = s->size, length = ALIGN_UP(size, GRANULE);
	uintptr_t addr = span_addr(s), from = addr;
	struct span copy = *s;

	if (length == old)
		return (void *)addr;
	/* The old addresses may be somebody's as soon as the block has moved. */
	*s = (struct span){ .state = SPAN_NONE };
	if (os_remap(&addr, old, length, true)) {
		*span_entry(granule_of(from)) = copy;
		return NULL;
	}
	copy.head = (uint32_t)granule_of(addr);
	copy.size = length;
	*span_entry(granule_of(addr)) = copy;
	count_large(0, length - old);
	probe(large_remap, from, addr, length);
	return (void *)addr;
}

static void *run_resize(struct span *s, size_t size)
{
	size_t granules = ALIGN_UP(size, GRANULE) >> GRANULE_SHIFT;
	struct arena *a = span_arena(s);
	size_t old = s->granules;
	bool done = true;

	if (granules >= MAX_GRANULES / 2)
		return NULL;
	lock(&a->lock);
	if (granules > old)
		done = run_extend(a, s->head, old, granules - old);
	if (done) {
		s->granules = (uint32_t)granules;
		s->size = granules << GRANULE_SHIFT;
	}
	if (granules < old) {
		WRITE_ONCE(a->blocks_out, a->blocks_out - ((old - granules) << GRANULE_SHIFT));
		run_free(a, s->head + granules, old - granules, true);
	}
	unlock(&a->lock);
	return done ? (void *)span_addr(s) : NULL;
}

void *big_resize(struct span *s, void *p, size_t size)
{
	if (!big_block_start(s, (uintptr_t)p))
		pw_heap_error("realloc()", "invalid pointer", p);
	return s->state == SPAN_LARGE ? large_resize(s, size) : run_resize(s, size);
}
