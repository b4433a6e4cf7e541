// SPDX-License-Identifier: GPL-2.0-only
/*
 * replay.c - pagewell replay: the allocations of a record once more
 *
 * All in one thread, in the order of the record, with the malloc() that this
 * process has. Addresses are turned into numbers of slots beforehand, in memory
 * that is not malloc()ed.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../userlib/trace.h"
#include "tool.h"

#define NAME	"replay"
#define TOUCH	4096

/**
 * struct step - a call to make
 * @op: TRACE_MALLOC, TRACE_CALLOC, TRACE_ALIGNED, TRACE_FREE or TRACE_REALLOC_TO
 * @align: log2 of the alignment
 * @slot: which block
 * @size: bytes
 */
struct step {
	uint8_t op;
	uint8_t align;
	uint32_t slot;
	uint64_t size;
};

/* Where a block of the record is: a hash table with open addressing. */
struct place {
	uint64_t addr;
	uint32_t slot;
	bool used;
};

struct plan {
	struct step *steps;
	size_t nr_steps;
	uint32_t nr_slots;
	uint32_t threads;
	size_t unknown;
};

static void *pages(size_t bytes)
{
	void *p = mmap(NULL, bytes ?: 1, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static struct place *find(struct place *places, size_t mask, uint64_t addr)
{
	size_t i = (addr >> 4) * 0x9e3779b97f4a7c15UL >> 20 & mask;

	while (places[i].used && places[i].addr != addr)
		i = (i + 1) & mask;
	return &places[i];
}

/* Closes the gap, so that no search ends too early. */
static void forget(struct place *places, size_t mask, struct place *gone)
{
	size_t i = (size_t)(gone - places);

	gone->used = false;
	for (i = (i + 1) & mask; places[i].used; i = (i + 1) & mask) {
		struct place moved = places[i];

		places[i].used = false;
		*find(places, mask, moved.addr) = moved;
	}
}

static bool make_plan(const struct trace_record *r, size_t nr, struct plan *plan)
{
	size_t mask = 1024, i;
	uint32_t *pending = pages(65536 * sizeof(*pending));
	uint32_t *free_slots = pages(nr * sizeof(*free_slots)), nr_free = 0;
	struct place *places, *at;

	while (mask < 2 * nr)
		mask *= 2;
	places = pages(mask-- * sizeof(*places));
	plan->steps = pages(nr * sizeof(*plan->steps));
	if (!pending || !free_slots || !places || !plan->steps) {
		say("out of memory");
		return false;
	}
	for (i = 0; i < nr; i++, r++) {
		struct step step = { .op = r->op, .align = r->align, .size = r->size };

		if (r->thread >= plan->threads)
			plan->threads = r->thread + 1;
		at = find(places, mask, r->addr);
		switch (r->op) {
		case TRACE_FREE:
		case TRACE_REALLOC_FROM:
			/* From before the record begins. */
			if (!at->used) {
				plan->unknown++;
				pending[r->thread] = 0;
				continue;
			}
			step.slot = at->slot;
			forget(places, mask, at);
			if (r->op == TRACE_REALLOC_FROM) {
				pending[r->thread] = step.slot + 1;
				continue;
			}
			free_slots[nr_free++] = step.slot;
			break;
		case TRACE_REALLOC_TO:
			if (pending[r->thread]) {
				step.slot = pending[r->thread] - 1;
				*at = (struct place){ r->addr, step.slot, true };
				if (!r->size)
					continue;
				break;
			}
			step.op = TRACE_MALLOC;
			/* fall through */
		case TRACE_MALLOC:
		case TRACE_CALLOC:
		case TRACE_ALIGNED:
			if (at->used || r->align > 40) {
				say("record %zu of the trace cannot be: it is damaged", i);
				return false;
			}
			step.slot = nr_free ? free_slots[--nr_free] : plan->nr_slots++;
			*at = (struct place){ r->addr, step.slot, true };
			break;
		default:
			say("record %zu of the trace is of no kind known here: it is damaged", i);
			return false;
		}
		plan->steps[plan->nr_steps++] = step;
	}
	return true;
}

static bool read_plan(const char *file, struct plan *plan)
{
	const size_t magic = sizeof(TRACE_MAGIC) - 1;
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	const char *data = NULL;
	struct stat st;
	size_t rest;
	bool good;

	if (fd < 0 || fstat(fd, &st)) {
		say("cannot read %s: %s", file, strerror(errno));
		return false;
	}
	if ((size_t)st.st_size >= magic)
		data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (!data || data == MAP_FAILED || memcmp(data, TRACE_MAGIC, magic)) {
		say("%s is no trace of pagewell record", file);
		return false;
	}
	rest = (size_t)st.st_size - magic;
	good = make_plan((const void *)(data + magic), rest / sizeof(struct trace_record), plan);
	munmap((void *)data, (size_t)st.st_size);
	return good;
}

/* As the program did, who knows what: the first byte of each page. */
static void touch(char *p, size_t size)
{
	size_t i;

	for (i = 0; p && i < size; i += TOUCH)
		p[i] = 1;
}

static bool replay(const struct plan *plan, void **slots)
{
	const struct step *s = plan->steps, *end = s + plan->nr_steps;
	void *p;

	for (; s < end; s++) {
		switch (s->op) {
		case TRACE_FREE:
			free(slots[s->slot]);
			slots[s->slot] = NULL;
			continue;
		case TRACE_CALLOC:
			p = calloc(1, s->size);
			break;
		case TRACE_ALIGNED:
			p = aligned_alloc((size_t)1 << s->align, s->size);
			break;
		case TRACE_REALLOC_TO:
			p = realloc(slots[s->slot], s->size);
			break;
		default:
			p = malloc(s->size);
		}
		if (!p && s->size) {
			say("out of memory: %llu bytes could not be had",
			    (unsigned long long)s->size);
			return false;
		}
		touch(p, s->size);
		slots[s->slot] = p;
	}
	return true;
}

/* Not everything was freed in the record. */
static void free_all(const struct plan *plan, void **slots)
{
	uint32_t i;

	for (i = 0; i < plan->nr_slots; i++) {
		free(slots[i]);
		slots[i] = NULL;
	}
}

static uint64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static uint64_t resident(const char *which)
{
	FILE *f = fopen("/proc/self/status", "r");
	char line[128];
	uint64_t kib = 0;

	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, which, strlen(which)))
			kib = strtoull(line + strlen(which), NULL, 10);
	if (f)
		fclose(f);
	return kib * 1024;
}

static int run_plan(const struct plan *plan, long times)
{
	void **slots = pages(plan->nr_slots * sizeof(*slots));
	uint64_t before, start, took, peak;
	char text[SIZE_TEXT];
	long i;

	if (!slots) {
		say("out of memory");
		return 1;
	}
	memset(slots, 0, plan->nr_slots * sizeof(*slots));
	before = resident("VmRSS:");
	start = cpu_ns();
	for (i = 0; i < times; i++) {
		if (!replay(plan, slots))
			return 1;
		free_all(plan, slots);
	}
	took = cpu_ns() - start;
	peak = resident("VmHWM:");
	printf("calls     %zu of %u thread%s, %zu for blocks from before\n", plan->nr_steps,
	       plan->threads, plan->threads == 1 ? "" : "s", plan->unknown);
	printf("CPU time  %.3f ms, %.1f ns a call\n", (double)took / 1e6 / (double)times,
	       plan->nr_steps ? (double)took / (double)times / (double)plan->nr_steps : 0);
	printf("memory    %s more than before at most\n",
	       size_text(peak > before ? peak - before : 0, text));
	return 0;
}

int cmd_replay(int argc, char **argv)
{
	static const struct option options[] = {
		{ "times", required_argument, NULL, 'n' },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	struct plan plan = { };
	long times = 1;
	int c;

	while ((c = getopt_long(argc, argv, "n:h", options, NULL)) != -1) {
		switch (c) {
		case 'n':
			if (parse_number(optarg, 1, 1000000, &times))
				break;
			bad_usage(NAME, "-n takes a number from 1 to 1000000, not %s", optarg);
			return EXIT_USAGE;
		case 'h':
			print_usage(NAME);
			return 0;
		default:
			bad_usage(NAME, "see what it takes:");
			return EXIT_USAGE;
		}
	}
	if (optind + 1 != argc) {
		bad_usage(NAME, "one trace, please");
		return EXIT_USAGE;
	}
	if (!read_plan(argv[optind], &plan))
		return 1;
	return run_plan(&plan, times);
}
