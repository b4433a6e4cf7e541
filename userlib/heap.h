/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * heap.h - where the heap is: the window and the tables that describe it
 *
 * The tables lie at fixed distances below the window, so that finding an entry
 * needs no other load than that of the window's address: the map, 16 bits a
 * granule, is all that free() looks at, and says where the bin of the granule's
 * class is; struct span has the rest; and hardened, there is a third one. They are mapped
 * as far as the window is used.
 */
#ifndef PW_HEAP_H
#define PW_HEAP_H

#include "lock.h"
#include "types.h"

struct span;

#define MAP_DISTANCE	(2 * GIB)
#define MAX_GRANULES	(MAP_DISTANCE / sizeof(uint16_t))
#define MAX_WINDOW	(MAX_GRANULES * GRANULE)	/* 16 TiB */
#define SPAN_BYTES	64UL
#define SPAN_DISTANCE	(MAP_DISTANCE + MAX_GRANULES * SPAN_BYTES)

/* What the map has is the class times this. */
#define MAP_UNIT	16UL

/* Hardened, a third table has a byte for each 16: what the program has of a block there. */
#define HAS_BYTES	(GRANULE / MIN_ALIGN)
#define HAS_DISTANCE	(SPAN_DISTANCE + MAX_GRANULES * HAS_BYTES)

/* Distances that free() tests are in units of MIN_ALIGN. */
#define UNIT_SHIFT	4
#define GRANULE_UNIT_SHIFT	(GRANULE_SHIFT - UNIT_SHIFT)

/**
 * struct heap - the one heap of the process
 * @granules: up to where the tables are mapped
 * @slow: nothing may be served from the tcache
 * @ready: the OS backend is chosen and the window is there
 */
struct heap {
	size_t granules;
	bool slow;
	bool ready;
};

extern HIDDEN struct heap pw_heap;

/*
 * A granule before the window: granule 0 is no memory, and this is no block's
 * address, so it doubles as the key of free blocks.
 */
extern HIDDEN uintptr_t pw_base;

/*
 * Distance from the base, in units of 16 bytes, up to which free() may read
 * the map; 0 sends it the slow way always (hardened, perturbed).
 */
extern HIDDEN uintptr_t pw_fast_limit;

/* The same for free() the hardened way; 0 if that is not on. */
extern HIDDEN uintptr_t pw_hard_limit;

static inline size_t granule_of(uintptr_t addr)
{
	return (addr - pw_base) >> GRANULE_SHIFT;
}

static inline uintptr_t granule_addr(size_t granule)
{
	return pw_base + (granule << GRANULE_SHIFT);
}

static inline uint16_t *map_entry(size_t granule)
{
	return (uint16_t *)(pw_base - MAP_DISTANCE) + granule;
}

static inline struct span *span_entry(size_t granule)
{
	return (struct span *)(pw_base - SPAN_DISTANCE + granule * SPAN_BYTES);
}

/* The byte of a block at @distance, in units of 16 bytes, from the base. */
static inline uint8_t *has_entry(size_t distance)
{
	return (uint8_t *)(pw_base - HAS_DISTANCE) + distance;
}

/* Is @addr inside the part of the window that the tables describe? */
static inline bool in_window(uintptr_t addr)
{
	return ((addr - pw_base) >> GRANULE_SHIFT) < READ_ONCE(pw_heap.granules);
}

/* Of who starts the heap; the others inside. */
extern struct lock pw_start_lock;

/* Chooses the backend and lays out the window; false without memory for it. */
bool pw_heap_start(void);

/* Up to where the tables are mapped is known, or what they are used for has changed. */
void pw_heap_limits(void);

/* From now on nothing is served from the tcache. */
void pw_heap_slow_mode(void);

#endif /* PW_HEAP_H */
