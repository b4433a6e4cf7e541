/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * stats.h - event counters since load, one set a CPU
 *
 * Add a line to PW_STATS() and the counter appears in debugfs `faults` and in
 * the netlink dump under its name.
 */
#ifndef PAGEWELL_STATS_H
#define PAGEWELL_STATS_H

#include <linux/percpu.h>
#include <linux/types.h>

#define PW_STATS(X)							\
	X(faults,		"faults that put pages in place")	\
	X(fault_pages,		"pages first touched")			\
	X(huge_faults,		"of these, faults that took 2 MiB at once") \
	X(huge_cut,		"pages of 2 MiB cut into small ones")	\
	X(huge_collapsed,	"pages of 2 MiB put together on request") \
	X(zero_faults,		"reads that got the kernel's zero page") \
	X(refaults,		"faults on pages the heap already had")	\
	X(refault_pages,	"pages mapped by those")		\
	X(cow_faults,		"write faults on shared pages")		\
	X(cow_copies,		"pages copied after fork")		\
	X(cow_reused,		"pages made writable, last sharer gone")\
	X(cow_stolen,		"pages taken from a child, pool empty")	\
	X(fork_heaps,		"heaps made by fork")			\
	X(fork_chunks,		"2 MiB chunks shared by fork")		\
	X(fork_copies,		"pinned pages copied at fork")		\
	X(loose_taken,		"pages advised FREE that were taken")	\
	X(packed,		"pages that were idle and are packed")	\
	X(packed_same,		"of these, pages of one word")		\
	X(pack_refused,		"idle pages that do not get smaller")	\
	X(pack_ns,		"time spent on packing, ns")		\
	X(unpacked,		"pages brought back")			\
	X(unpack_ns,		"time spent on that, ns")		\
	X(segv,			"touches outside every region")		\
	X(sigbus,		"touches that found no page")		\
	X(refused,		"requests refused: limit or pool")	\
	X(brk_calls,		"breaks moved")				\
	X(map_calls,		"regions mapped")			\
	X(unmap_calls,		"ranges unmapped")			\
	X(zeroed_fault,		"pages zeroed in a fault")		\
	X(zeroed_ahead,		"pages zeroed in the background")	\
	X(zero_ahead_ns,	"time spent on that, ns")		\
	X(pool_grown,		"blocks taken from the kernel")		\
	X(pool_shrunk,		"blocks given back to the kernel")	\
	X(pool_grow_failed,	"blocks the kernel did not have")	\
	X(pages_moved,		"pages moved to have free pages of 2 MiB") \
	X(blocks_emptied,	"pages of 2 MiB that gave")		\
	X(compact_ns,		"time spent on that, ns")		\
	X(pages_lost,		"pages someone else still held when freed") \
	X(lost_looks,		"times such a page was looked at again") \
	X(zeroed_free,		"pages zeroed when they were freed")	\
	X(blocks_joined,	"512 pages of 4 KiB made a page of 2 MiB") \
	X(blocks_cut,		"pages of 2 MiB made 512 of 4 KiB")

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
