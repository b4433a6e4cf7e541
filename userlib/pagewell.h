/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * pagewell.h - what libpagewell has beside malloc()
 *
 * Link with -lpagewell. malloc() and its kin need no header of ours.
 *
 * Functions that return a pointer return NULL on failure, those that return an
 * int -1, with errno set. All may be called by any thread at any time, except
 * that what is being destroyed must not be in use.
 */
#ifndef PAGEWELL_H
#define PAGEWELL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- heaps ---- */

/*
 * A heap of its own: its memory can be given back all at once. There may be 1,022 heaps
 * and pools together, less the arenas that threads have. PAGEWELL_HARDEN does not reach
 * into them.
 */
typedef struct pagewell_arena pagewell_heap_t;

/**
 * pagewell_heap_create() - a new, empty heap
 * @limit: bytes it may take from the system, 0 for no limit
 *
 * Return: the heap; NULL and errno ENOMEM if there are too many.
 */
pagewell_heap_t *pagewell_heap_create(size_t limit);

/**
 * pagewell_heap_alloc() - a block of a heap
 * @heap: the heap
 * @size: bytes, any number
 *
 * Return: a block aligned to 16 bytes, or NULL and errno ENOMEM. It may be
 * freed with pagewell_heap_free() or free(), by any thread; realloc() cannot
 * move it.
 */
void *pagewell_heap_alloc(pagewell_heap_t *heap, size_t size);

/**
 * pagewell_heap_calloc() - the same for an array, full of zeroes
 * @heap: the heap
 * @n: how many
 * @size: bytes of each
 *
 * Return: the array, or NULL and errno ENOMEM, also when it would have more bytes than
 * a size_t can say.
 */
void *pagewell_heap_calloc(pagewell_heap_t *heap, size_t n, size_t size);

/**
 * pagewell_heap_realloc() - a block of a heap with another size, copied unless it fits
 * @heap: the heap
 * @p: a block of it, or NULL
 * @size: bytes; 0 frees the block and returns NULL
 *
 * Return: the block, moved or not, with as much of its contents as fits; on
 * failure NULL and errno ENOMEM, and the block is as it was.
 */
void *pagewell_heap_realloc(pagewell_heap_t *heap, void *p, size_t size);

/**
 * pagewell_heap_free() - give a block back to its heap
 * @heap: the heap it came from; a block of another one is a heap error
 * @p: the block, or NULL
 */
void pagewell_heap_free(pagewell_heap_t *heap, void *p);

/**
 * pagewell_heap_destroy() - give a heap back, with every block in it
 * @heap: the heap, which no other thread uses any more, or NULL
 */
void pagewell_heap_destroy(pagewell_heap_t *heap);

/**
 * pagewell_heap_size() - what a heap takes
 * @heap: the heap
 * @in_use: bytes of its blocks that are not free, unless NULL
 *
 * Return: bytes it has from the system.
 */
size_t pagewell_heap_size(pagewell_heap_t *heap, size_t *in_use);

/* ---- pools: objects of one size ---- */

typedef struct pagewell_pool pagewell_pool_t;

/**
 * pagewell_pool_create() - a new, empty pool
 * @size: bytes of an object, 1 to 4 MiB
 * @align: their alignment, a power of two up to 16 KiB, or 0 for 16 bytes
 * @limit: bytes the pool may take from the system, 0 for no limit
 *
 * Return: the pool; NULL and errno EINVAL or ENOMEM.
 */
pagewell_pool_t *pagewell_pool_create(size_t size, size_t align, size_t limit);

/**
 * pagewell_pool_alloc() - an object
 * @pool: the pool
 *
 * Return: an object with whatever contents, or NULL and errno ENOMEM.
 */
void *pagewell_pool_alloc(pagewell_pool_t *pool);

/**
 * pagewell_pool_free() - give an object back
 * @pool: the pool it came from; an object of another one is a heap error
 * @p: the object, or NULL
 */
void pagewell_pool_free(pagewell_pool_t *pool, void *p);

/**
 * pagewell_pool_destroy() - give a pool back, with every object in it
 * @pool: the pool, which no other thread uses any more, or NULL
 */
void pagewell_pool_destroy(pagewell_pool_t *pool);

/* ---- pages ---- */

/* pagewell_map() flags */
#define PAGEWELL_GUARD	1U	/* what lies right behind faults */

/* pagewell_remap() flags */
#define PAGEWELL_MAYMOVE	1U

enum pagewell_advice {
	PAGEWELL_DONTNEED,	/* give the pages back; they read as zero again */
	PAGEWELL_POPULATE,	/* have the pages in place, or ENOMEM */
	PAGEWELL_WILLNEED,	/* the same, as far as possible */
	PAGEWELL_FREE,		/* contents may go when memory is short, until written */
	PAGEWELL_COLD,		/* not needed for a while: may be compressed or swapped */
	PAGEWELL_HUGEPAGE,	/* pages of 2 MiB wherever one fits */
	PAGEWELL_NOHUGEPAGE,	/* none of those */
	PAGEWELL_COLLAPSE	/* put small pages together to such now */
};

/**
 * pagewell_map() - pages of zeroes
 * @length: bytes; what is mapped is that, rounded up to 16 KiB
 * @align: a power of two, or 0
 * @flags: PAGEWELL_GUARD, or 0
 *
 * Return: the pages; NULL and errno EINVAL or ENOMEM.
 */
void *pagewell_map(size_t length, size_t align, unsigned int flags);

/**
 * pagewell_unmap() - give pages back
 * @p: what pagewell_map() or pagewell_remap() returned
 *
 * Return: 0; -1 and errno EINVAL for anything else, ENOMEM if the system refuses it,
 * and it is as it was.
 */
int pagewell_unmap(void *p);

/**
 * pagewell_remap() - make a map longer or shorter, without copying if possible
 * @p: what pagewell_map() or pagewell_remap() returned, without a guard
 * @length: its new length
 * @flags: PAGEWELL_MAYMOVE, or 0
 *
 * Return: where it is now; NULL and errno EINVAL or ENOMEM, and it is as it was.
 */
void *pagewell_remap(void *p, size_t length, unsigned int flags);

/**
 * pagewell_advise() - advice about whole pages of a map or a break
 * @p: the first, aligned to a page
 * @length: bytes, a multiple of a page, within one map or break
 * @advice: which
 *
 * What is only a hint is 0 also where nothing comes of it. PAGEWELL_COLLAPSE does
 * what it can, and says EBUSY or EAGAIN if some pages are held or shared, EINVAL
 * if no aligned 2 MiB lie inside.
 *
 * Return: 0; -1 and errno EINVAL, ENOMEM, EBUSY or EAGAIN.
 */
int pagewell_advise(void *p, size_t length, enum pagewell_advice advice);

/* A program break of its own, as with brk(2). */
typedef struct pagewell_break pagewell_brk_t;

/**
 * pagewell_brk_create() - a new break, with nothing before it
 * @reserve: bytes of addresses to keep free for it
 *
 * Return: the break; NULL and errno ENOMEM, whatever the reason.
 */
pagewell_brk_t *pagewell_brk_create(size_t reserve);

/**
 * pagewell_sbrk() - move a break
 * @brk: the break; one thread at a time
 * @increment: by how much, a multiple of 16 KiB, negative to give memory back
 *
 * Return: where it was before; NULL and errno EINVAL or ENOMEM.
 */
void *pagewell_sbrk(pagewell_brk_t *brk, intptr_t increment);

/* Gives a break and all its memory back. */
void pagewell_brk_destroy(pagewell_brk_t *brk);

/* ---- statistics ---- */

/**
 * struct pagewell_stats - the whole library at one moment, in bytes
 * @backend: "device" or "anonymous"; "device, then anonymous" once the device can be
 *	     reached no more: new memory is anonymous then
 * @committed: asked of the system and not given back
 * @limit: what that may grow to, SIZE_MAX for no limit
 * @arenas: in arenas
 * @in_use: of blocks that the program has
 * @cached: of free blocks in tcaches and fast bins, and in hardened mode's queues; approximate
 * @mapped: of blocks that are mapped by themselves
 * @mapped_blocks: their number
 * @tables: addresses of the library's own tables
 * @returned: given back by lower breaks and advice since the start
 * @brk_moves: breaks grown or shrunk
 * @maps: maps made
 * @remaps: maps resized without copying
 * @refused: calls that failed for want of memory
 */
struct pagewell_stats {
	const char *backend;
	size_t committed;
	size_t limit;
	size_t arenas;
	size_t in_use;
	size_t cached;
	size_t mapped;
	size_t mapped_blocks;
	size_t tables;
	size_t returned;
	size_t brk_moves;
	size_t maps;
	size_t remaps;
	size_t refused;
};

/**
 * pagewell_get_stats() - fill in statistics
 * @stats: where to
 * @size: sizeof(*stats); newer libraries know more fields, and fill in what the
 *	  program knows
 *
 * Return: 0; -1 and errno EINVAL if the program knows more than the library.
 */
int pagewell_get_stats(struct pagewell_stats *stats, size_t size);

#ifdef __cplusplus
}
#endif

#endif /* PAGEWELL_H */
