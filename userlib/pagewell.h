/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * pagewell.h - what libpagewell has beside malloc()
 *
 * Link with -lpagewell. malloc() and its kin need no header of ours.
 */
#ifndef PAGEWELL_H
#define PAGEWELL_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A heap of its own: its memory can be given back all at once. */
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

#ifdef __cplusplus
}
#endif

#endif /* PAGEWELL_H */
