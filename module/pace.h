/* SPDX-License-Identifier: GPL-2.0-only */
/* pace.h - work in the background: its speed limit, and what it costs */
#ifndef PAGEWELL_PACE_H
#define PAGEWELL_PACE_H

#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/sched.h>

/**
 * pw_pace() - sleep as long as work takes at the speed limit, in whole ticks
 * @owed: nanoseconds not slept yet; of this worker, 0 at first
 * @nr: pages worked on
 * @mbps: MiB a second, 0: no limit
 */
static inline void pw_pace(unsigned long *owed, unsigned int nr, unsigned int mbps)
{
	if (mbps)
		*owed += nr * (NSEC_PER_SEC >> (20 - PAGE_SHIFT)) / mbps;
	if (*owed >= TICK_NSEC) {
		schedule_timeout_interruptible(*owed / TICK_NSEC);
		*owed %= TICK_NSEC;
	}
}

/**
 * pw_pace_ran() - how long this thread has run since it asked last
 * @before: its own, 0 at first
 *
 * Return: nanoseconds, as far as the scheduler has counted.
 */
static inline u64 pw_pace_ran(u64 *before)
{
	u64 now = current->se.sum_exec_runtime, ran = now - *before;

	*before = now;
	return ran;
}

#endif /* PAGEWELL_PACE_H */
