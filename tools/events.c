// SPDX-License-Identifier: GPL-2.0-only
/*
 * events.c - pagewell events: what the module has to say, one event a line
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#include "tool.h"

static void print_time(void)
{
	time_t now = time(NULL);
	char buf[32];

	strftime(buf, sizeof(buf), "%Y-%m-%dT%H:%M:%S%z", localtime(&now));
	fputs(buf, stdout);
}

/* A reader that has gone away ends us, as SIGPIPE would. */
static void end_line(void)
{
	if (putchar('\n') == EOF || fflush(stdout))
		exit(finish(1));
}

/* No name looks like the end of its field, or like another one. */
static void print_field(const char *key, const char *name)
{
	printf(" %s=", key);
	print_name(name, " =\\");
}

static void on_heap_limit(const struct heap *heap)
{
	print_time();
	printf(" heap-limit pid=%" PRIu32, heap->pid);
	print_field("comm", heap->comm);
	printf(" heap=%" PRIu64, heap->id);
	if (heap->limit == NO_LIMIT)
		printf(" limit=none");
	else
		printf(" limit=%" PRIu64, heap->limit);
	printf(" committed=%" PRIu64 " asked=%" PRIu64, heap->committed, heap->asked);
	end_line();
}

static void on_limit(const struct limit *limit)
{
	print_time();
	printf(" limit");
	if (limit->is_user)
		printf(" uid=%" PRIu32, limit->uid);
	else
		print_field("cgroup", limit->cgroup ?: "?");
	printf(" max=%" PRIu64 " used=%" PRIu64 " pid=%" PRIu32, limit->max, limit->used,
	       limit->pid);
	print_field("comm", limit->comm);
	printf(" asked=%" PRIu64, limit->asked);
	end_line();
}

static void on_pool_low(const struct pool *pool)
{
	print_time();
	printf(" pool-low avail=%" PRIu64 " held=%" PRIu64 " max=%" PRIu64,
	       pool->avail, pool->held, pool->max);
	end_line();
}

static void on_lost(void)
{
	print_time();
	printf(" lost");
	end_line();
}

int cmd_events(int argc, char **argv)
{
	static const struct option options[] = {
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	static const struct listener listener = {
		.heap_limit = on_heap_limit,
		.limit = on_limit,
		.pool_low = on_pool_low,
		.lost = on_lost,
	};
	struct mod *mod;
	int c;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (c != 'h')
			return EXIT_USAGE;
		print_usage("events");
		return 0;
	}
	if (optind != argc) {
		bad_usage("events", "takes no arguments");
		return EXIT_USAGE;
	}
	mod = mod_open();
	if (!mod)
		return 1;
	mod_listen(mod, &listener);
	mod_close(mod);
	return 1;
}
