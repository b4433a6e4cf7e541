/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * tool.h - what the subcommands of pagewell share
 */
#ifndef PAGEWELL_TOOL_H
#define PAGEWELL_TOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "pagewell.h"
#include "pagewell_netlink.h"

#define NO_LIMIT	UINT64_MAX

/* Exit statuses; run has those of env(1). */
#define EXIT_USAGE	2
#define EXIT_CANNOT_RUN	125
#define EXIT_NOT_EXEC	126
#define EXIT_NOT_FOUND	127

/* One subcommand a file; argv[0] is its name. Return: the exit status. */
int cmd_run(int argc, char **argv);
int cmd_stat(int argc, char **argv);
int cmd_top(int argc, char **argv);
int cmd_events(int argc, char **argv);
int cmd_set(int argc, char **argv);
int cmd_limits(int argc, char **argv);
int cmd_explain(int argc, char **argv);
int cmd_map(int argc, char **argv);
int cmd_record(int argc, char **argv);
int cmd_replay(int argc, char **argv);

/* pagewell.c */

/* Called before anything is said, or NULL. */
extern void (*before_words)(void);
/* One line on stderr, "pagewell: ..." */
void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* How a subcommand is called, on stdout. */
void print_usage(const char *name);
/*
 * Output that got lost is an error, and is said on stderr.
 * Return: the exit status, @status unless that is 0 and there was one.
 */
int finish(int status);
/* Says on stderr that @name was called wrongly, and how it is called. */
void bad_usage(const char *name, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* number.c */

/* Bytes, with K, M, G or T behind them for powers of 1024. */
bool parse_size(const char *s, uint64_t *bytes);
/* A whole number from @min to @max. */
bool parse_number(const char *s, long min, long max, long *value);

#define SIZE_TEXT	16
/* "4.0K", "1.5G", "none" for NO_LIMIT; for people. Return: @buf. */
const char *size_text(uint64_t bytes, char buf[SIZE_TEXT]);
/* @parts / @whole with two digits behind the point, 0.00 without a whole. */
double ratio(uint64_t parts, uint64_t whole);

/* name.c */

/*
 * A name that others chose, on stdout: what a terminal might obey, and what is
 * in @also, is printed in octal, as \ooo.
 */
void print_name(const char *name, const char *also);

/* nl.c */

/**
 * struct counter - a counter of events since the module was loaded
 * @name: as in debugfs pagewell/faults
 * @value: its value
 */
struct counter {
	char name[32];
	uint64_t value;
};

/**
 * struct pool - the pool as the module tells it, in bytes
 * @floor: held from load to unload
 * @max: it may grow to
 * @held: owned now
 * @free: of it, in no heap
 * @clear: of what is free, known to be zero
 * @pcp: of what is free, on per-CPU lists
 * @idle: of what is free, in blocks without a page in use
 * @avail: free and not promised
 * @lost: of @held, in no heap, but someone else still holds it
 * @counters: the counters
 * @nr_counters: how many
 */
struct pool {
	uint64_t floor, max, held, free, clear, pcp, idle, avail, lost;
	struct counter counters[64];
	unsigned int nr_counters;
};

/* 0 if there is no counter of that name. */
uint64_t pool_counter(const struct pool *pool, const char *name);
/* What is in heaps, and what is promised to them but not yet in them. */
uint64_t pool_used(const struct pool *pool);
uint64_t pool_promised(const struct pool *pool);

/**
 * struct heap - a heap as the module tells it; see pagewell.yaml
 * @asked: in a heap-limit event
 * @has_base: @base is known
 */
struct heap {
	uint32_t pid;
	char comm[16];
	uint64_t id, base, limit, committed, resident, shared, packed, regions, breaks;
	uint64_t faults, fault_pages, cow_copies, refused, asked;
	uint32_t commit, huge;
	bool has_base;
};

struct heaps {
	struct heap *heap;
	size_t nr;
};

const char *commit_name(uint32_t commit);
const char *huge_name(uint32_t huge);

/*
 * A connection to the module. What goes wrong is said on stderr in one line;
 * then functions return NULL or false.
 */
struct mod;

struct mod *mod_open(void);
void mod_close(struct mod *mod);
bool mod_get_pool(struct mod *mod, struct pool *pool);
bool mod_set_pool_max(struct mod *mod, uint64_t bytes);
bool mod_get_heap(struct mod *mod, pid_t pid, struct heap *heap);
/* All heaps by id; free(heaps->heap). */
bool mod_get_heaps(struct mod *mod, struct heaps *heaps);

/**
 * struct limit - what a user or a cgroup has committed, and may
 * @is_user: it is the user @uid, else the cgroup @cgroup
 * @max: bytes or NO_LIMIT
 * @pid: in events, the process that was refused, and its name @comm
 * @asked: in events
 */
struct limit {
	bool is_user;
	uint32_t uid;
	char *cgroup;
	uint64_t max, used, refused, asked;
	uint32_t pid;
	char comm[16];
};

struct limits {
	struct limit *limit;
	size_t nr;
};

/* All there are; limits_free() them. */
bool mod_get_limits(struct mod *mod, struct limits *limits);
void limits_free(struct limits *limits);
/* @max and the user, or the cgroup, of @limit */
bool mod_set_limit(struct mod *mod, const struct limit *limit);

/**
 * struct listener - what to do with events
 * @heap_limit: a heap's limit refused a request
 * @limit: the limit of a user or a cgroup did
 * @pool_low: the pool is low; avail, held and max are set
 * @lost: some events did not get through
 */
struct listener {
	void (*heap_limit)(const struct heap *heap);
	void (*limit)(const struct limit *limit);
	void (*pool_low)(const struct pool *pool);
	void (*lost)(void);
};

/* Returns only when something goes wrong: false. */
bool mod_listen(struct mod *mod, const struct listener *listener);

/* launch.c */

/**
 * struct launch - how to run a program with its heap on our pages
 * @limit: bytes, or NULL
 * @huge: auto, always, never, or NULL
 * @lazy: commit when touched
 * @fallback: without the module, run on anonymous memory
 */
struct launch {
	const char *limit;
	const char *huge;
	bool lazy;
	bool fallback;
};

/* Is the device there, and ours? Else says why not. */
bool device_usable(void);
/* The same, and sets up the environment for exec; says why when it cannot. */
bool launch_prepare(const struct launch *launch);

/* reach.c */

/* Says so, and that @so, when the dynamic loader will not preload into @name. */
void warn_if_out_of_reach(const char *name, const char *so);

/* report formats of stat, on stdout */
void print_text(const struct pool *pool, const struct heaps *heaps);
bool print_json(const struct pool *pool, const struct heaps *heaps);
void print_openmetrics(const struct pool *pool, const struct heaps *heaps);

#endif /* PAGEWELL_TOOL_H */
