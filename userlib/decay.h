/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * decay.h - giving memory back to the system
 */
#ifndef PW_DECAY_H
#define PW_DECAY_H

#include "arena.h"

/* Milliseconds of a clock that is cheap to read. */
uint64_t arena_now(void);

/* Has @a, locked, pages to return, and is it time? */
bool arena_due(struct arena *a);

/* A run became free in @a, locked: returns pages if it is time. */
void arena_freed(struct arena *a);

/* Has the caches let go of their blocks, and returns pages where it is time. */
void arenas_return(void);

/* Sorts the fast bins back, and the same. */
void arenas_collect(void);

/**
 * arenas_squeeze() - no more memory is to be had
 * @wanted: bytes; nothing is done for more than there could ever be
 * @own: the calling thread's caches may be emptied, too
 *
 * What is cached becomes free runs, and breaks are lowered as far as they can be. No
 * lock held.
 *
 * Return: whether there is more now that is free, or not ours.
 */
bool arenas_squeeze(size_t wanted, bool own);

/*
 * The same for a private arena that could not have a span of so many granules; nothing
 * is done if that is for its own limit.
 */
bool arenas_squeeze_for(const struct arena *a, size_t granules);

/* Gives back what can be; @pad bytes of each top are kept. True if anything was. */
bool arenas_trim(size_t pad);

#endif /* PW_DECAY_H */
