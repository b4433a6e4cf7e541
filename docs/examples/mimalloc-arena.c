// SPDX-License-Identifier: GPL-2.0-only
/*
 * mimalloc-arena.c - mimalloc on our pages
 *
 * cc mimalloc-arena.c -lmimalloc -lpagewell
 *
 * mimalloc can be handed memory to allocate from, once, as an arena. It wants
 * it aligned to its segments. A heap that is made in an exclusive arena has its
 * blocks from nowhere else.
 * The allocator that comes first on the command line is the program's malloc().
 */
#include <mimalloc.h>
#include <pagewell.h>
#include <stdio.h>
#include <string.h>

#define SEGMENT	((size_t)64 << 20)
#define SIZE	(2 * SEGMENT)

int main(void)
{
	static char *blocks[1000];
	mi_arena_id_t arena;
	mi_heap_t *heap;
	size_t size, i;
	char *pages;

	pages = pagewell_map(SIZE, SEGMENT, 0);
	if (!pages) {
		perror("mimalloc-arena: pagewell_map");
		return 1;
	}
	/* Committed, of small pages, zero, on no node in particular. */
	if (!mi_manage_os_memory_ex(pages, SIZE, true, false, true, -1, true, &arena)) {
		fprintf(stderr, "mimalloc-arena: mimalloc does not take the memory\n");
		return 1;
	}
	heap = mi_heap_new_in_arena(arena);
	if (!heap)
		return 1;
	for (i = 0; i < 1000; i++) {
		size = 100 + i * 37;
		blocks[i] = mi_heap_malloc(heap, size);
		if (!blocks[i] || blocks[i] < pages || blocks[i] + size > pages + SIZE) {
			fprintf(stderr, "mimalloc-arena: block %zu is not in our pages\n", i);
			return 1;
		}
		memset(blocks[i], (int)i, size);
	}
	printf("%zu blocks, all in our pages\n", i);
	for (i = 0; i < 1000; i++) {
		size = 100 + i * 37;
		if (blocks[i][0] != (char)i || blocks[i][size - 1] != (char)i)
			return 1;
		mi_free(blocks[i]);
	}
	/* The arena is mimalloc's as long as the process lives. */
	mi_heap_destroy(heap);
	return 0;
}
