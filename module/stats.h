/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * stats.h - event counters since load, one set a CPU
 *
 * Add a line to PW_STATS() and the counter appears in debugfs `faults` and in
 * the netlink dump under its name. pagewell(4) lists them with the same words.
 */
#ifndef PAGEWELL_STATS_H
#define PAGEWELL_STATS_H

#include <linux/percpu.h>
#include <linux/types.h>

#define PW_STATS(X)									\
	X(faults,		"faults that put pages in place")			\
	X(fault_pages,		"pages put in place, by faults and by populating")	\
	X(huge_faults,		"of the faults, those that took 2 MiB at once")		\
	X(huge_cut,		"heaps' pages of 2 MiB cut into small ones")		\
	X(huge_collapsed,	"pages of 2 MiB put together on request")		\
	X(zero_faults,		"reads that got the kernel's zero page")		\
	X(refaults,		"faults on pages the heap already had")			\
	X(refault_pages,	"small pages mapped by those, at most")			\
	X(cow_faults,		"write faults on shared pages")				\
	X(cow_copies,		"small pages copied after fork")			\
	X(cow_reused,		"write faults that found the last sharer gone")		\
	X(cow_stolen,		"pages, large or small, taken from a child, pool empty") \
	X(fork_heaps,		"heaps made by fork")					\
	X(fork_chunks,		"2 MiB chunks shared by fork")				\
	X(fork_copies,		"pinned pages copied at fork")				\
	X(loose_taken,		"pages advised FREE that were taken")			\
	X(packed,		"idle pages that were packed")				\
	X(packed_same,		"of these, pages of one word")				\
	X(pack_refused,		"idle pages that would not get small enough")		\
	X(pack_ns,		"time spent on packing, in ns")				\
	X(unpacked,		"packed pages brought back")				\
	X(unpack_ns,		"time spent on that, in ns")				\
	X(segv,			"touches outside every region")				\
	X(sigbus,		"touches that found no page")				\
	X(refused,		"requests and touches refused: limit or pool")		\
	X(brk_calls,		"calls that move or ask for a break")			\
	X(map_calls,		"regions mapped")					\
	X(unmap_calls,		"calls that unmap a range")				\
	X(zeroed_fault,		"pages zeroed at the moment they were needed")		\
	X(zeroed_ahead,		"pages zeroed in the background")			\
	X(zero_ahead_ns,	"time spent on that, in ns")				\
	X(pool_grown,		"pieces taken from the kernel, 4 KiB to 2 MiB")		\
	X(pool_shrunk,		"ranges of 2 MiB given back to it, or what was ours of them") \
	X(pool_grow_failed,	"times that it had a smaller piece or none")		\
	X(pages_moved,		"pages moved to have free pages of 2 MiB")		\
	X(blocks_emptied,	"pages of 2 MiB that compaction won")			\
	X(compact_ns,		"time spent on compaction, in ns")			\
	X(pages_lost,		"pages someone else still held when freed")		\
	X(lost_looks,		"times such a page was looked at again")		\
	X(zeroed_free,		"pages zeroed when they were freed")			\
	X(blocks_joined,	"pages of 2 MiB made of 512 of 4 KiB")			\
	X(blocks_cut,		"pages of 2 MiB, free or in heaps, made 512 of 4 KiB")

struct pw_stats {
#define X(name, text) u64 name;
	PW_STATS(X)
#undef X
};

extern struct pw_stats __percpu *pw_stats;

/* Any context; the sum over CPUs is exact when nothing counts meanwhile. */
#define pw_stat_add(name, n)	this_cpu_add(pw_stats->name, (n))
#define pw_stat_inc(name)	pw_stat_add(name, 1)

int pw_stats_init(void);
void pw_stats_exit(void);
void pw_stats_sum(struct pw_stats *sum);

#endif /* PAGEWELL_STATS_H */
