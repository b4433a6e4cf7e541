// SPDX-License-Identifier: GPL-2.0-only
/*
 * stat.c - pagewell stat: the pool and the heaps, once
 */
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>

#include "tool.h"

enum format { TEXT, JSON, OPENMETRICS };

static void print_pool(const struct pool *p)
{
	char a[SIZE_TEXT], b[SIZE_TEXT], c[SIZE_TEXT], d[SIZE_TEXT], e[SIZE_TEXT];

	printf("pool    %s held: %s in heaps, %s free (%s zeroed); %s promised\n",
	       size_text(p->held, a), size_text(pool_used(p), b), size_text(p->free, c),
	       size_text(p->clear, d), size_text(pool_promised(p), e));
	printf("        %s available now, may grow to %s, never below %s\n",
	       size_text(p->avail, a), size_text(p->max, b), size_text(p->floor, c));
	printf("faults  %" PRIu64 ", %.2f pages each; %" PRIu64 " pages copied after fork, %"
	       PRIu64 " requests refused\n", pool_counter(p, "faults"),
	       ratio(pool_counter(p, "fault_pages"), pool_counter(p, "faults")),
	       pool_counter(p, "cow_copies"), pool_counter(p, "refused"));
}

static void print_heap(const struct heap *h)
{
	char limit[SIZE_TEXT], committed[SIZE_TEXT], resident[SIZE_TEXT], shared[SIZE_TEXT];
	char packed[SIZE_TEXT];

	printf("%7" PRIu32 " %-15s %8s %9s %8s %8s %8s %7" PRIu64 " %9" PRIu64 " %7.2f %8" PRIu64
	       " %7" PRIu64 " %-6s %s\n", h->pid, h->comm, size_text(h->limit, limit),
	       size_text(h->committed, committed), size_text(h->resident, resident),
	       size_text(h->shared, shared), size_text(h->packed, packed), h->regions, h->faults,
	       ratio(h->fault_pages, h->faults), h->cow_copies, h->refused,
	       commit_name(h->commit), huge_name(h->huge));
}

void print_text(const struct pool *pool, const struct heaps *heaps)
{
	size_t i;

	print_pool(pool);
	printf("\n%7s %-15s %8s %9s %8s %8s %8s %7s %9s %7s %8s %7s %-6s %s\n", "PID", "COMMAND",
	       "LIMIT", "COMMITTED", "RESIDENT", "SHARED", "PACKED", "REGIONS", "FAULTS",
	       "PG/FLT", "COPIES", "REFUSED", "COMMIT", "HUGE");
	for (i = 0; i < heaps->nr; i++)
		print_heap(&heaps->heap[i]);
}

static bool get_heaps(struct mod *mod, pid_t pid, struct heaps *heaps)
{
	if (!pid)
		return mod_get_heaps(mod, heaps);
	heaps->nr = 1;
	heaps->heap = calloc(1, sizeof(*heaps->heap));
	if (!heaps->heap) {
		say("out of memory");
		return false;
	}
	return mod_get_heap(mod, pid, heaps->heap);
}

static bool print(enum format format, const struct pool *pool, const struct heaps *heaps)
{
	switch (format) {
	case JSON:
		return print_json(pool, heaps);
	case OPENMETRICS:
		print_openmetrics(pool, heaps);
		return true;
	default:
		print_text(pool, heaps);
		return true;
	}
}

static bool stat_once(enum format format, pid_t pid)
{
	struct heaps heaps = { };
	struct mod *mod = mod_open();
	struct pool pool;
	bool ok;

	if (!mod)
		return false;
	ok = mod_get_pool(mod, &pool) && get_heaps(mod, pid, &heaps) &&
	     print(format, &pool, &heaps);
	free(heaps.heap);
	mod_close(mod);
	return ok;
}

/* It is one report that is printed. */
static bool choose(enum format *format, enum format wanted)
{
	if (*format != TEXT && *format != wanted) {
		bad_usage("stat", "--json or --openmetrics, not both");
		return false;
	}
	*format = wanted;
	return true;
}

int cmd_stat(int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "openmetrics", no_argument, NULL, 'o' },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	enum format format = TEXT;
	long pid = 0;
	int c;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (c) {
		case 'j':
			if (!choose(&format, JSON))
				return EXIT_USAGE;
			break;
		case 'o':
			if (!choose(&format, OPENMETRICS))
				return EXIT_USAGE;
			break;
		case 'h':
			print_usage("stat");
			return 0;
		default:
			return EXIT_USAGE;
		}
	}
	if (argc - optind > 1 ||
	    (optind < argc && !parse_number(argv[optind], 1, INT_MAX, &pid))) {
		bad_usage("stat", "%s: not a process number", argv[argc - 1]);
		return EXIT_USAGE;
	}
	return !stat_once(format, pid);
}
