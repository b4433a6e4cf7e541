/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * tune.h - what mallopt() sets, and who follows it
 */
#ifndef PW_TUNE_H
#define PW_TUNE_H

#include "types.h"

/**
 * struct tune - what mallopt() sets, and the dynamic rule changes
 * @mmap_threshold: blocks of this size and more are mapped by themselves
 * @hard_most: bytes that are less, and that a class is for; 0 unless hardened
 * @hard_small: the same, and that a small class is for
 * @trim_threshold: a top larger than this is given back, and that of an empty segment;
 *		    SIZE_MAX: never
 * @top_pad: how much more than needed a break grows, and keeps when it shrinks
 * @mmap_max: how many blocks may be mapped by themselves
 * @arena_max: how many arenas there may be, 0 for the default
 * @perturb: fill byte for new and, inverted, for freed blocks; 0 for none
 * @dynamic: the rule is on: freeing a mapped block raises @mmap_threshold to
 *	     its size and @trim_threshold to twice that
 */
struct tune {
	size_t mmap_threshold;
	size_t hard_most;
	size_t hard_small;
	size_t trim_threshold;
	size_t top_pad;
	size_t mmap_max;
	size_t arena_max;
	int perturb;
	bool dynamic;
};

extern struct tune pw_tune;

#define MMAP_THRESHOLD		(128 * KIB)
#define MMAP_THRESHOLD_MAX	(32 * MIB)

/* From this size on blocks are mapped by themselves. Takes the next one along. */
void pw_tune_threshold(size_t size);

/* Sets @hard_most and @hard_small as threshold and mode, which may have changed, have it. */
void pw_tune_hard_most(void);

/* A mapped block of this size was freed: the dynamic rule. */
void pw_tune_freed(size_t size);

unsigned int pw_arena_max(void);

/* The screen of PAGEWELL_STATS=1. */
void pw_print_stats(void);

#endif /* PW_TUNE_H */
