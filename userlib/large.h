/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * large.h - blocks of whole granules: mapped by themselves, or runs
 */
#ifndef PW_LARGE_H
#define PW_LARGE_H

#include "arena.h"

/**
 * large_alloc() - a block mapped by itself
 * @size: bytes, at most PTRDIFF_MAX
 * @align: a power of two
 * @zeroed: set to whether it reads as zero
 *
 * Return: the block, or NULL if there is no memory or as many are mapped as may.
 */
void *large_alloc(size_t size, size_t align, bool *zeroed);

/* A block of whole granules in a segment of @a, which is not locked. */
void *run_block_alloc(struct arena *a, size_t size, size_t align, bool *zeroed);

/* Whichever of the two suits the size and what is tuned. */
void *big_alloc(size_t size, size_t align, bool *zeroed);

/* Bytes the program may use from @p to the end of its block. */
size_t big_usable(const struct span *s, uintptr_t p);

/* Is @p the start of the block? */
bool big_block_start(const struct span *s, uintptr_t p);

void big_free(struct span *s, const char *call, void *p);

/*
 * The block with at least @size bytes, moved or not; NULL: copy it. @must: that has been
 * tried, and there is no memory for a second block.
 */
void *big_resize(struct span *s, size_t size, bool must);

/* So many mapped blocks more, and so many bytes in them. */
void large_count(ptrdiff_t blocks, ptrdiff_t bytes);

/* Blocks that are mapped by themselves: their number, their bytes, and the most of each. */
extern size_t pw_large_count;
extern size_t pw_large_bytes;
extern size_t pw_large_count_max;
extern size_t pw_large_bytes_max;

#endif /* PW_LARGE_H */
