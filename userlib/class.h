/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * class.h - which size belongs to which class
 *
 * Class 0 is none; the small ones have blocks of 16 times their number.
 */
#ifndef PW_CLASS_H
#define PW_CLASS_H

#include "types.h"

/* Many ask for 1 KiB and a few bytes: two more classes, for which there is room. */
#define SMALL_SHIFT	10
#define SMALL_MAX	(((size_t)1 << SMALL_SHIFT) + 2 * MIN_ALIGN)
#define STEP_SHIFT	3	/* 8 classes a doubling above SMALL_MAX */
#define CLASS_SHIFT	22
#define CLASS_MAX	((size_t)1 << CLASS_SHIFT)

#define NR_SMALL	(SMALL_MAX / MIN_ALIGN)
#define NR_CLASSES	(1 + NR_SMALL + ((CLASS_SHIFT - SMALL_SHIFT) << STEP_SHIFT))

/* Class of a size from 1 to SMALL_MAX; 0 gives 0, no class. */
static inline size_t small_class(size_t size)
{
	return (size + MIN_ALIGN - 1) / MIN_ALIGN;
}

#define BIG_STEPS	((uint32_t)NR_SMALL + 1 - ((SMALL_SHIFT + 1) << STEP_SHIFT))

/* Class of a size above SMALL_MAX, up to CLASS_MAX. */
static inline size_t big_class(size_t size)
{
	unsigned int log = 31 ^ (unsigned int)__builtin_clz((uint32_t)size);
	uint32_t last = ((uint32_t)size - 1) << STEP_SHIFT;

	/* A power of two is one step short of its own doubling: the last of the one before. */
	return (last >> log) + (log << STEP_SHIFT) + BIG_STEPS;
}

static inline size_t class_of(size_t size)
{
	return size <= SMALL_MAX ? small_class(size) : big_class(size);
}

/* Block size of class @c. */
static inline size_t class_size(unsigned int c)
{
	unsigned int step, log;

	if (c <= NR_SMALL)
		return (size_t)c * MIN_ALIGN;
	step = c - NR_SMALL - 1;
	log = SMALL_SHIFT + (step >> STEP_SHIFT);
	step &= (1U << STEP_SHIFT) - 1;
	return (size_t)((1U << STEP_SHIFT) + step + 1) << (log - STEP_SHIFT);
}

/*
 * How many blocks make a full list: more are moved whole more rarely, and are
 * more memory that waits in each thread.
 */
static inline unsigned int class_room(size_t size)
{
	if (size <= 2 * KIB)
		return MIN(64U, (unsigned int)(32 * KIB / size));
	if (size <= 32 * KIB)
		return 12;
	if (size <= 64 * KIB)
		return 4;
	return size <= 256 * KIB ? 2 : 1;
}

#endif /* PW_CLASS_H */
