/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * counter.h - take from a counter without going below zero
 */
#ifndef PAGEWELL_COUNTER_H
#define PAGEWELL_COUNTER_H

#include <linux/atomic.h>
#include <linux/minmax.h>

/* All of @nr, or false and nothing. */
static inline bool pw_counter_take(atomic_long_t *counter, unsigned long nr)
{
	long have = atomic_long_read(counter);

	do {
		if (have < 0 || (unsigned long)have < nr)
			return false;
	} while (!atomic_long_try_cmpxchg(counter, &have, have - nr));
	return true;
}

/* As much of @nr as there is. Return: how much. */
static inline unsigned long pw_counter_take_some(atomic_long_t *counter, unsigned long nr)
{
	long have = atomic_long_read(counter);
	long take;

	do {
		take = min_t(long, have, nr);
		if (take <= 0)
			return 0;
	} while (!atomic_long_try_cmpxchg(counter, &have, have - take));
	return take;
}

#endif /* PAGEWELL_COUNTER_H */
