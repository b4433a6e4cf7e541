// SPDX-License-Identifier: GPL-2.0-only
/* stats.c - event counters since load */
#include <linux/errno.h>
#include <linux/string.h>

#include "stats.h"

struct pw_stats __percpu *pw_stats;

int pw_stats_init(void)
{
	pw_stats = alloc_percpu(struct pw_stats);
	return pw_stats ? 0 : -ENOMEM;
}

void pw_stats_exit(void)
{
	free_percpu(pw_stats);
}

/**
 * pw_stats_sum() - add up the counters of all CPUs
 * @sum: filled in
 */
void pw_stats_sum(struct pw_stats *sum)
{
	int cpu;

	memset(sum, 0, sizeof(*sum));
	for_each_possible_cpu(cpu) {
		const struct pw_stats *s = per_cpu_ptr(pw_stats, cpu);

#define X(name, text) sum->name += READ_ONCE(s->name);
		PW_STATS(X)
#undef X
	}
}
