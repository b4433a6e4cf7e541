/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * runs.h - runs of whole granules: free ones in large bins, and the top
 *
 * The arena is locked by the caller of each.
 */
#ifndef PW_RUNS_H
#define PW_RUNS_H

#include "arena.h"

/**
 * run_alloc() - whole granules
 * @a: the arena
 * @granules: how many
 * @align: alignment in granules, a power of two
 * @source: where from
 * @dirty: set if the memory may not be zero
 *
 * Return: the first granule, or 0. The caller fills in the span entries.
 */
size_t run_alloc(struct arena *a, size_t granules, size_t align, enum source source,
		 bool *dirty);

/**
 * run_free() - granules that nothing is in any more
 * @a: the arena
 * @granule: the first; no span entry of theirs refers to a span
 * @granules: how many
 * @dirty: they may not be zero
 */
void run_free(struct arena *a, size_t granule, size_t granules, bool dirty);

/**
 * run_extend() - make a run longer where it is
 * @a: the arena
 * @granule: the run's first
 * @granules: its length
 * @more: so much longer
 * @source: NEW_PAGES if the break may move up for the last run; or OWN_PAGES
 *
 * Return: false if what follows is not free.
 */
bool run_extend(struct arena *a, size_t granule, size_t granules, size_t more,
		enum source source);

/* Bin of free runs of this length. */
unsigned int run_bin(size_t granules);

#endif /* PW_RUNS_H */
