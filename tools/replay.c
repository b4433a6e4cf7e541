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
#include <sys/auxv.h>
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

/* Nobody can choose addresses that come to one place, unless they know the seed. */
static size_t hash(uint64_t addr)
{
	static uint64_t seed;

	if (!seed)
		memcpy(&seed, (const void *)getauxval(AT_RANDOM), sizeof(seed));
	addr ^= seed;
	addr = (addr ^ addr >> 32) * 0x9e3779b97f4a7c15UL;
	addr = (addr ^ addr >> 29) * 0xbf58476d1ce4e5b9UL;
	return addr ^ addr >> 32;
}

static struct place *find(struct place *places, size_t mask, uint64_t addr)
{
	size_t i = hash(addr) & mask;

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

/**
 * struct reader - what is known of the blocks while a plan is made
 * @plan: the plan
 * @places: where blocks are, @mask + 1 of them
 * @pending: by thread: the slot of what realloc() has taken, plus 1; 0: nothing
 * @free_slots: slots without a block, @nr_free of them
 */
struct reader {
	struct plan *plan;
	struct place *places;
	size_t mask;
	uint32_t *pending;
	uint32_t *free_slots;
	uint32_t nr_free;
};

static bool reader_start(struct reader *rd, struct plan *plan, size_t nr)
{
	size_t places = 1024;

	while (places < 2 * nr)
		places *= 2;
	plan->steps = pages(nr * sizeof(*plan->steps));
	*rd = (struct reader) {
		.plan = plan,
		.places = pages(places * sizeof(*rd->places)),
		.mask = places - 1,
		.pending = pages(65536 * sizeof(*rd->pending)),
		.free_slots = pages(nr * sizeof(*rd->free_slots)),
	};
	return plan->steps && rd->places && rd->pending && rd->free_slots;
}

static void add_step(struct reader *rd, const struct trace_record *r, uint8_t op, uint32_t slot)
{
	rd->plan->steps[rd->plan->nr_steps++] = (struct step) {
		.op = op, .align = r->align, .slot = slot, .size = r->size,
	};
}

static void add_end(struct reader *rd, const struct trace_record *r)
{
	struct place *at = find(rd->places, rd->mask, r->addr);
	uint32_t slot = at->slot;

	if (r->op == TRACE_REALLOC_FROM)
		rd->pending[r->thread] = at->used ? slot + 1 : 0;
	/* From before the record begins. */
	if (!at->used) {
		rd->plan->unknown++;
		return;
	}
	forget(rd->places, rd->mask, at);
	if (r->op == TRACE_REALLOC_FROM)
		return;
	rd->free_slots[rd->nr_free++] = slot;
	add_step(rd, r, r->op, slot);
}

/* Return: false if there is a block already. */
static bool add_block(struct reader *rd, const struct trace_record *r)
{
	struct place *at = find(rd->places, rd->mask, r->addr);
	uint32_t slot;

	if (at->used || r->align > 40)
		return false;
	if (r->op == TRACE_REALLOC_TO && rd->pending[r->thread]) {
		slot = rd->pending[r->thread] - 1;
		rd->pending[r->thread] = 0;
		/* Without a size, it failed: the block is where it was. */
		if (r->size)
			add_step(rd, r, r->op, slot);
	} else {
		slot = rd->nr_free ? rd->free_slots[--rd->nr_free] : rd->plan->nr_slots++;
		add_step(rd, r, r->op == TRACE_REALLOC_TO ? TRACE_MALLOC : r->op, slot);
	}
	*at = (struct place){ r->addr, slot, true };
	return true;
}

static bool add_record(struct reader *rd, const struct trace_record *r)
{
	if (r->thread >= rd->plan->threads && r->thread != TRACE_NO_THREAD)
		rd->plan->threads = r->thread + 1;
	switch (r->op) {
	case TRACE_FREE:
	case TRACE_REALLOC_FROM:
		add_end(rd, r);
		return true;
	case TRACE_MALLOC:
	case TRACE_CALLOC:
	case TRACE_ALIGNED:
	case TRACE_REALLOC_TO:
		return add_block(rd, r);
	default:
		return false;
	}
}

/* At the end there is room for records that did not come. Return: false if it is too much. */
static bool leave_room_out(const struct trace_record *r, size_t *nr)
{
	size_t room = 0;

	while (*nr && !r[*nr - 1].op && room <= TRACE_ROOM) {
		room++;
		--*nr;
	}
	return room <= TRACE_ROOM;
}

static bool make_plan(const struct trace_record *r, size_t nr, struct plan *plan)
{
	struct reader rd;
	size_t i;

	if (!leave_room_out(r, &nr)) {
		say("the trace ends with more room than is ever left: it is damaged");
		return false;
	}
	if (!reader_start(&rd, plan, nr)) {
		say("out of memory");
		return false;
	}
	for (i = 0; i < nr; i++) {
		if (add_record(&rd, &r[i]))
			continue;
		say("record %zu of the trace cannot be: it is damaged", i);
		return false;
	}
	return true;
}

static bool read_plan(const char *file, struct plan *plan)
{
	const size_t magic = sizeof(TRACE_MAGIC) - 1;
	int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	const char *data = NULL;
	struct stat st;
	size_t rest;
	bool good;

	if (fd < 0 || fstat(fd, &st)) {
		say("cannot read %s: %s", file, strerror(errno));
		return false;
	}
	if (S_ISREG(st.st_mode) && (size_t)st.st_size >= magic)
		data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (!data || data == MAP_FAILED || memcmp(data, TRACE_MAGIC, magic)) {
		say("%s is no trace of pagewell record", file);
		return false;
	}
	rest = (size_t)st.st_size - magic;
	if (rest % sizeof(struct trace_record))
		say("the last record of %s is cut, and left out", file);
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

/* What reading the trace took does not count. Return: false if it cannot be told apart. */
static bool reset_peak(void)
{
	FILE *f = fopen("/proc/self/clear_refs", "w");
	bool good = f && fputs("5", f) >= 0;

	return f && !fclose(f) && good;
}

static int run_plan(const struct plan *plan, long times)
{
	void **slots = pages(plan->nr_slots * sizeof(*slots));
	uint64_t before, start, took, peak;
	char text[SIZE_TEXT];
	bool measured;
	long i;

	if (!slots) {
		say("out of memory");
		return 1;
	}
	memset(slots, 0, plan->nr_slots * sizeof(*slots));
	measured = reset_peak();
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
	if (measured)
		printf("memory    %s more than before at most\n",
		       size_text(peak > before ? peak - before : 0, text));
	else
		say("the memory cannot be measured: /proc/self/clear_refs is out of reach");
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
