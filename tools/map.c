// SPDX-License-Identifier: GPL-2.0-only
/*
 * map.c - pagewell map: where the heap of a process lies
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "tool.h"

/**
 * struct area - a part of a heap that the kernel holds as one VMA
 * @start: first address
 * @end: address behind it
 * @perms: as in maps
 * @rss: KiB mapped
 * @huge: of it, in 2 MiB pages
 */
struct area {
	unsigned long start, end;
	char perms[5];
	unsigned long rss, huge;
};

static void print_area(const struct area *a)
{
	char size[SIZE_TEXT], rss[SIZE_TEXT], huge[SIZE_TEXT];

	printf("%016lx-%016lx %s %8s %8s %8s\n", a->start, a->end, a->perms,
	       size_text(a->end - a->start, size), size_text((uint64_t)a->rss << 10, rss),
	       size_text((uint64_t)a->huge << 10, huge));
}

static bool ends_in(const char *s, const char *end)
{
	size_t len = strlen(s), n = strlen(end);

	return len >= n && !strcmp(s + len - n, end);
}

/*
 * The path begins at our root, not at that of the process: there may be directories before it.
 * The base is told to some only. Other files of that name, as the command, are mapped private.
 */
static bool is_of_heap(const struct area *a, const char *path, const struct heap *heap)
{
	return (heap->has_base && a->start == heap->base) ||
	       (a->perms[3] == 's' && (ends_in(path, PAGEWELL_DEVICE "\n") ||
				       ends_in(path, PAGEWELL_DEVICE " (deleted)\n")));
}

/* Is this the first line of a mapping? If so, is it of the heap? */
static bool read_head(const char *line, const struct heap *heap, struct area *a, bool *ours)
{
	int path = 0;

	if (sscanf(line, "%lx-%lx %4s %*s %*s %*s %n", &a->start, &a->end, a->perms, &path) < 3)
		return false;
	*ours = is_of_heap(a, line + path, heap);
	a->rss = 0;
	a->huge = 0;
	return true;
}

/* Return: how many; @lines: of all mappings. */
static unsigned int print_areas(FILE *smaps, const struct heap *heap, unsigned int *lines)
{
	struct area area = { }, next;
	bool ours = false, next_ours;
	unsigned int nr = 0;
	char line[PATH_MAX + 128];

	for (*lines = 0; fgets(line, sizeof(line), smaps); ++*lines) {
		if (read_head(line, heap, &next, &next_ours)) {
			if (ours)
				print_area(&area);
			area = next;
			ours = next_ours;
			nr += ours;
			continue;
		}
		sscanf(line, "Rss: %lu", &area.rss);
		sscanf(line, "FilePmdMapped: %lu", &area.huge);
	}
	if (ours)
		print_area(&area);
	return nr;
}

static void print_heap(const struct heap *h)
{
	char limit[SIZE_TEXT], committed[SIZE_TEXT], resident[SIZE_TEXT], shared[SIZE_TEXT];
	char packed[SIZE_TEXT];

	printf("process %" PRIu32 " (%s), heap %" PRIu64, h->pid, h->comm, h->id);
	if (h->has_base)
		printf(" at 0x%" PRIx64, h->base);
	printf("\nregions %" PRIu64 " (breaks %" PRIu64 "), committed %s, resident %s (shared %s), "
	       "packed %s, limit %s\n", h->regions, h->breaks,
	       size_text(h->committed, committed), size_text(h->resident, resident),
	       size_text(h->shared, shared), size_text(h->packed, packed),
	       size_text(h->limit, limit));
	printf("faults %" PRIu64 " (%.2f pages each), pages copied %" PRIu64 ", refused %" PRIu64
	       ", commit %s, huge pages %s\n\n", h->faults,
	       ratio(h->fault_pages, h->faults), h->cow_copies, h->refused,
	       commit_name(h->commit), huge_name(h->huge));
}

static bool map(pid_t pid)
{
	struct mod *mod = mod_open();
	unsigned int nr, lines;
	struct heap heap;
	char path[32];
	FILE *smaps;
	bool ok;

	if (!mod)
		return false;
	ok = mod_get_heap(mod, pid, &heap);
	mod_close(mod);
	if (!ok)
		return false;

	snprintf(path, sizeof(path), "/proc/%d/smaps", (int)pid);
	smaps = fopen(path, "re");
	if (!smaps) {
		say("cannot open %s: %s", path, strerror(errno));
		return false;
	}
	print_heap(&heap);
	printf("%-33s %4s %8s %8s %8s\n", "ADDRESSES", "PERM", "SIZE", "MAPPED", "IN 2M");
	nr = print_areas(smaps, &heap, &lines);
	ok = nr && !ferror(smaps);
	if (!lines || ferror(smaps))
		say("process %d went away", (int)pid);
	else if (!nr)
		say("the heap of process %d is not found in %s", (int)pid, path);
	fclose(smaps);
	return ok;
}

int cmd_map(int argc, char **argv)
{
	static const struct option options[] = {
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	long pid;
	int c;

	while ((c = getopt_long(argc, argv, "+h", options, NULL)) != -1) {
		if (c != 'h')
			return EXIT_USAGE;
		print_usage("map");
		return 0;
	}
	if (argc - optind != 1 || !parse_number(argv[optind], 1, INT_MAX, &pid)) {
		bad_usage("map", "give the number of a process");
		return EXIT_USAGE;
	}
	return !map(pid);
}
