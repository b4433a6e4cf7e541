// SPDX-License-Identifier: GPL-2.0-only
/*
 * openmetrics.c - pagewell stat --openmetrics: for Prometheus and its kin
 */
#include <inttypes.h>
#include <string.h>

#include "tool.h"

static void print_family(const char *name, const char *type, const char *unit, const char *help)
{
	printf("# TYPE pagewell_%s %s\n", name, type);
	if (unit)
		printf("# UNIT pagewell_%s %s\n", name, unit);
	printf("# HELP pagewell_%s %s\n", name, help);
}

static void print_pool_gauge(const char *name, const char *help, uint64_t value)
{
	print_family(name, "gauge", "bytes", help);
	printf("pagewell_%s %" PRIu64 "\n", name, value);
}

static void print_pool_gauges(const struct pool *p)
{
	print_pool_gauge("pool_floor_bytes", "Held from load to unload.", p->floor);
	print_pool_gauge("pool_max_bytes", "What the pool may grow to.", p->max);
	print_pool_gauge("pool_held_bytes", "Owned now.", p->held);
	print_pool_gauge("pool_used_bytes", "In heaps.", pool_used(p));
	print_pool_gauge("pool_free_bytes", "In no heap.", p->free);
	print_pool_gauge("pool_clear_bytes", "Free and known to be zero.", p->clear);
	print_pool_gauge("pool_avail_bytes", "Free and not promised.", p->avail);
	print_pool_gauge("pool_promised_bytes", "Promised and not yet touched.",
			 pool_promised(p));
	print_pool_gauge("pool_lost_bytes", "In no heap, held by someone else.",
			 p->lost);
}

/* Times are in seconds here, whatever the module counts in. */
static void print_counter(const struct counter *c)
{
	static const char help[] = "Since the module was loaded: see pagewell(4).";
	size_t len = strlen(c->name);
	char name[sizeof(c->name) + sizeof("seconds")];

	if (len > 3 && !strcmp(c->name + len - 3, "_ns")) {
		snprintf(name, sizeof(name), "%.*s_seconds", (int)len - 3, c->name);
		print_family(name, "counter", "seconds", help);
		printf("pagewell_%s_total %" PRIu64 ".%09" PRIu64 "\n", name,
		       c->value / 1000000000, c->value % 1000000000);
	} else {
		print_family(c->name, "counter", NULL, help);
		printf("pagewell_%s_total %" PRIu64 "\n", c->name, c->value);
	}
}

/* The names of processes are printable by now. */
static void print_labels(const struct heap *h)
{
	const char *p;

	printf("{heap=\"%" PRIu64 "\",pid=\"%" PRIu32 "\",comm=\"", h->id, h->pid);
	for (p = h->comm; *p; p++) {
		if (*p == '"' || *p == '\\')
			putchar('\\');
		putchar(*p);
	}
	printf("\"}");
}

/**
 * struct metric - something that every heap has
 * @name: behind "pagewell_heap_"
 * @unit: or NULL
 * @counter: it only grows
 * @help: what it is
 * @offset: where it is in struct heap
 */
static const struct metric {
	const char *name;
	const char *unit;
	bool counter;
	const char *help;
	size_t offset;
} metrics[] = {
	{ "heap_limit_bytes", "bytes", false, "What may be committed; absent without a limit.",
	  offsetof(struct heap, limit) },
	{ "heap_committed_bytes", "bytes", false, "Promised by strict regions, touched or not.",
	  offsetof(struct heap, committed) },
	{ "heap_resident_bytes", "bytes", false, "Pages held.", offsetof(struct heap, resident) },
	{ "heap_shared_bytes", "bytes", false, "Of these, still shared since a fork.",
	  offsetof(struct heap, shared) },
	{ "heap_packed_bytes", "bytes", false, "What is packed, before it was.",
	  offsetof(struct heap, packed) },
	{ "heap_regions", NULL, false, "Regions and breaks.", offsetof(struct heap, regions) },
	{ "heap_faults", NULL, true, "Faults that put pages in place.",
	  offsetof(struct heap, faults) },
	{ "heap_fault_pages", NULL, true, "Pages those put in place.",
	  offsetof(struct heap, fault_pages) },
	{ "heap_cow_copies", NULL, true, "Pages copied.", offsetof(struct heap, cow_copies) },
	{ "heap_refused", NULL, true, "Requests refused.", offsetof(struct heap, refused) },
};

static void print_sample(const struct metric *m, const struct heap *h)
{
	uint64_t value = *(const uint64_t *)((const char *)h + m->offset);

	if (value == NO_LIMIT)
		return;
	printf("pagewell_%s%s", m->name, m->counter ? "_total" : "");
	print_labels(h);
	printf(" %" PRIu64 "\n", value);
}

void print_openmetrics(const struct pool *pool, const struct heaps *heaps)
{
	unsigned int i;
	size_t n;

	print_pool_gauges(pool);
	for (i = 0; i < pool->nr_counters; i++)
		print_counter(&pool->counters[i]);
	for (i = 0; i < sizeof(metrics) / sizeof(metrics[0]); i++) {
		print_family(metrics[i].name, metrics[i].counter ? "counter" : "gauge",
			     metrics[i].unit, metrics[i].help);
		for (n = 0; n < heaps->nr; n++)
			print_sample(&metrics[i], &heaps->heap[n]);
	}
	printf("# EOF\n");
}
