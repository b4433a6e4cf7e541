// SPDX-License-Identifier: GPL-2.0-only
/* json.c - pagewell stat --json: sizes in bytes, null for no limit */
#include <inttypes.h>
#include <stdlib.h>

#include <cjson/cJSON.h>

#include "tool.h"

/* cJSON's own numbers are doubles; these are exact. */
static void add(cJSON *to, const char *name, uint64_t value)
{
	char buf[24];

	snprintf(buf, sizeof(buf), "%" PRIu64, value);
	cJSON_AddRawToObject(to, name, buf);
}

static void add_pool(cJSON *to, const struct pool *p)
{
	cJSON *pool = cJSON_AddObjectToObject(to, "pool");
	cJSON *counters = cJSON_AddObjectToObject(to, "counters");
	unsigned int i;

	add(pool, "floor", p->floor);
	add(pool, "max", p->max);
	add(pool, "held", p->held);
	add(pool, "used", pool_used(p));
	add(pool, "free", p->free);
	add(pool, "clear", p->clear);
	add(pool, "pcp", p->pcp);
	add(pool, "idle", p->idle);
	add(pool, "avail", p->avail);
	add(pool, "promised", pool_promised(p));
	add(pool, "lost", p->lost);
	for (i = 0; i < p->nr_counters; i++)
		add(counters, p->counters[i].name, p->counters[i].value);
}

static cJSON *heap_object(const struct heap *h)
{
	cJSON *heap = cJSON_CreateObject();
	char base[24];

	add(heap, "pid", h->pid);
	cJSON_AddStringToObject(heap, "comm", h->comm);
	add(heap, "id", h->id);
	if (h->has_base) {
		snprintf(base, sizeof(base), "0x%" PRIx64, h->base);
		cJSON_AddStringToObject(heap, "base", base);
	}
	if (h->limit == NO_LIMIT)
		cJSON_AddNullToObject(heap, "limit");
	else
		add(heap, "limit", h->limit);
	add(heap, "committed", h->committed);
	add(heap, "resident", h->resident);
	add(heap, "shared", h->shared);
	add(heap, "packed", h->packed);
	add(heap, "regions", h->regions);
	add(heap, "breaks", h->breaks);
	add(heap, "faults", h->faults);
	add(heap, "fault_pages", h->fault_pages);
	add(heap, "cow_copies", h->cow_copies);
	add(heap, "refused", h->refused);
	cJSON_AddStringToObject(heap, "commit", commit_name(h->commit));
	cJSON_AddStringToObject(heap, "huge", huge_name(h->huge));
	return heap;
}

bool print_json(const struct pool *pool, const struct heaps *heaps)
{
	cJSON *root = cJSON_CreateObject();
	cJSON *array;
	char *text;
	size_t i;

	add_pool(root, pool);
	array = cJSON_AddArrayToObject(root, "heaps");
	for (i = 0; i < heaps->nr; i++)
		cJSON_AddItemToArray(array, heap_object(&heaps->heap[i]));
	text = cJSON_Print(root);
	cJSON_Delete(root);
	if (!text) {
		say("out of memory");
		return false;
	}
	puts(text);
	free(text);
	return true;
}
