/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * entry.h - what the public functions share: names, and the hit paths
 */
#ifndef PW_ENTRY_H
#define PW_ENTRY_H

#include <malloc.h>
#include <stdio.h>

#include "class.h"
#include "harden.h"
#include "heap.h"
#include "tcache.h"
#include "tune.h"

/* A build for tests has its functions beside those of libc. */
#ifdef PW_PREFIX
#define NAME(name)	pw_ ## name
#else
#define NAME(name)	name
#endif

#define STRING(name)		#name
#define EXPAND(name)		STRING(name)
#define NAME_STRING(name)	EXPAND(NAME(name))

#define PUBLIC	__attribute__((visibility("default")))

PUBLIC void *NAME(malloc)(size_t size);
PUBLIC void NAME(free)(void *p);
PUBLIC void *NAME(calloc)(size_t n, size_t each);
PUBLIC void *NAME(realloc)(void *p, size_t size);
PUBLIC void *NAME(reallocarray)(void *p, size_t n, size_t each);
PUBLIC void *NAME(aligned_alloc)(size_t align, size_t size);
PUBLIC int NAME(posix_memalign)(void **out, size_t align, size_t size);
PUBLIC void *NAME(memalign)(size_t align, size_t size);
PUBLIC void *NAME(valloc)(size_t size);
PUBLIC void *NAME(pvalloc)(size_t size);
PUBLIC size_t NAME(malloc_usable_size)(void *p);
PUBLIC void NAME(free_sized)(void *p, size_t size);
PUBLIC void NAME(free_aligned_sized)(void *p, size_t align, size_t size);
PUBLIC void NAME(cfree)(void *p);
PUBLIC int NAME(mallopt)(int param, int value);
PUBLIC struct mallinfo NAME(mallinfo)(void);
PUBLIC struct mallinfo2 NAME(mallinfo2)(void);
PUBLIC void NAME(malloc_stats)(void);
PUBLIC int NAME(malloc_info)(int options, FILE *fp);
PUBLIC int NAME(malloc_trim)(size_t pad);

/*
 * Does the process call this malloc()? Not if there is another copy of the library, linked
 * into the program, before this one.
 */
bool pw_malloc_is_ours(void);

/* A block of @size bytes for which @bin, that of its class or bin 0 for none, has none. */
void *pw_malloc_slow(size_t size, struct tcache_bin *bin);

/* free() of what the map does not tell of; @distance is that of @p. */
void pw_free_slow(void *p, uintptr_t distance);

/* free() for @call, of a block that is not hardened, or no block. */
void pw_free_any(void *p, const char *call);

/*
 * free() of a block for which @bin, counted down, had no room: it is full, is bin 0 and
 * @p no block of a class, or the thread has no bins yet.
 */
void pw_free_full(void *p, struct tcache_bin *bin);

/*
 * free() of a block that has the key of a free one. An error, unless that is chance: then
 * the block goes to @bin, which was counted down for it.
 */
void pw_free_twice(void *p, struct tcache_bin *bin);

/* Hardened: returns @p; an error of @call if that block was not asked for with @size bytes. */
void *pw_check_size(void *p, size_t size, const char *call);

/* Requests of the program's that failed for want of memory. */
extern size_t pw_refused;

/* Counts one, and is what it returns: NULL, with errno. */
void *pw_no_memory(void);

/* A block aligned to @align, a power of two. */
void *pw_aligned(size_t align, size_t size);

static inline __attribute__((always_inline)) void *fast_malloc(size_t size)
{
	struct tcache_bin *bin;
	struct block *b;

	/* What pw_malloc_slow() would do, sooner. */
#ifdef PW_HARDEN
	if (likely(size - 1 < HOT_READ(pw_tune.hard_small)))
		return harden_small(size);
	if (likely(size - 1 < HOT_READ(pw_tune.hard_most)))
		return harden_malloc(size);
#endif
	if (likely(size <= SMALL_MAX)) {
		bin = bin_at(small_class(size) * MAP_UNIT);
		b = bin_pop(bin);
		return likely(b) ? b : pw_malloc_slow(size, bin);
	}
	if (unlikely(size > CLASS_MAX))
		return pw_malloc_slow(size, pw_bins);
	bin = bin_at(big_class(size) * MAP_UNIT);
	b = bin_pop(bin);
	if (likely(b)) {
		/* Compilers would join this with the other path, for an instruction. */
		KEEP(b);
		return b;
	}
	return pw_malloc_slow(size, bin);
}

/*
 * Distance of an address from the window's base in units of 16 bytes; a
 * misaligned address ends up far outside, because its low bits are rotated to
 * the top.
 */
static inline uintptr_t distance(const void *p)
{
	uintptr_t d = (uintptr_t)p - pw_base;

	return d >> UNIT_SHIFT | d << (64 - UNIT_SHIFT);
}

/* Class of the block at @p; 0 if it takes a slow path to tell. */
static inline size_t fast_class(const void *p)
{
	uintptr_t d = distance(p);

	if (unlikely(d >= HOT_READ(pw_fast_limit)))
		return 0;
	return HOT_READ(*map_entry(d >> GRANULE_UNIT_SHIFT)) / MAP_UNIT;
}

static inline __attribute__((always_inline)) void fast_free(void *p)
{
	uintptr_t d = distance(p), key = pw_base;
	struct tcache_bin *bin;
	struct block *b = p;

	/* As pw_free_slow(). */
#ifdef PW_HARDEN
	if (likely(d < HOT_READ(pw_hard_limit))) {
		harden_free(p, d);
		return;
	}
#endif
	if (unlikely(d >= HOT_READ(pw_fast_limit))) {
		pw_free_slow(p, d);
		return;
	}
	/* No class is bin 0, which never has room. */
	bin = bin_at(HOT_READ(*map_entry(d >> GRANULE_UNIT_SHIFT)));
	if (unlikely(take_room(bin))) {
		pw_free_full(p, bin);
		return;
	}
	if (unlikely(b->key == key)) {
		pw_free_twice(p, bin);
		return;
	}
	b->key = key;
	b->next = bin->head;
	bin->head = b;
}

#endif /* PW_ENTRY_H */
