/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * watch.h - what the module shows: debugfs files and the netlink family
 *
 * heap.c, pool.c, limit.c, pack.c and stats.c answer the questions, debugfs.c and
 * netlink.c print the answers.
 */
#ifndef PAGEWELL_WATCH_H
#define PAGEWELL_WATCH_H

#include <linux/sched.h>
#include <linux/types.h>

struct pw_limit_stat;

/**
 * struct pw_heap_stat - a snapshot of one heap
 * @id: never used twice in a boot
 * @pid: of the process that owns it, in the reader's pid namespace; 0 when it
 *       cannot be told
 * @comm: its name
 * @base: address of the heap
 * @limit: bytes, PW_NO_LIMIT for none
 * @committed: bytes promised by strict regions, touched or not
 * @resident: bytes of pages held, shared ones counted for each sharer
 * @packed: bytes of pages that are packed; not in @resident
 * @shared: of @resident, in 2 MiB chunks still shared since a fork
 * @regions: regions and breaks
 * @breaks: of these, breaks
 * @faults: faults that put pages in place
 * @fault_pages: pages those put in place
 * @cow_copies: pages copied
 * @refused: requests refused
 * @lazy: new regions are lazy
 * @huge: PAGEWELL_HUGE_
 */
struct pw_heap_stat {
	u64 id;
	pid_t pid;
	char comm[TASK_COMM_LEN];
	unsigned long base;
	unsigned long limit;
	unsigned long committed;
	unsigned long resident;
	unsigned long packed;
	unsigned long shared;
	unsigned long regions;
	unsigned long breaks;
	u64 faults;
	u64 fault_pages;
	u64 cow_copies;
	u64 refused;
	bool lazy;
	u32 huge;
};

/**
 * pw_heap_next_stat() - walk all heaps by id
 * @id: in: look at this id and above; out: the id after the one found
 * @pid: only that of this process; 0: any
 * @st: filled in
 *
 * Sleeps. Heaps may come and go between calls; none is seen twice.
 *
 * Return: true when there was one.
 */
bool pw_heap_next_stat(u64 *id, pid_t pid, struct pw_heap_stat *st);
unsigned long pw_heap_count(void);

/**
 * struct pw_idle_stat - what is packed now
 * @max: bytes of memory that packed pages may take, 0: nothing is packed
 * @store: bytes that they take, records of them included
 * @pages: how many they are
 * @same: of these, pages of one word over and over, which take no more than a record
 * @bytes: of the others, when they are packed
 */
struct pw_idle_stat {
	unsigned long max, store, pages, same, bytes;
};

void pw_idle_get_stat(struct pw_idle_stat *st);

void pw_debugfs_init(void);
void pw_debugfs_exit(void);

int pw_netlink_init(void);
void pw_netlink_exit(void);
/* Tell listeners, at most a few times a second a kind. May sleep. */
void pw_netlink_heap_limit(const struct pw_heap_stat *st, unsigned long asked);
/* The same for the limit of a user or a cgroup; first whether anybody wants it. */
bool pw_netlink_limit_wanted(void);
void pw_netlink_limit(const struct pw_limit_stat *st, unsigned long asked);
/* The same; safe in atomic context. All in pages. */
void pw_netlink_pool_low(unsigned long avail, unsigned long held, unsigned long max);

#endif /* PAGEWELL_WATCH_H */
