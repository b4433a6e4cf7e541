/* SPDX-License-Identifier: GPL-2.0-only */
/* pace.h - work in the background that keeps to a speed limit */
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

#endif /* PAGEWELL_PACE_H */
