// SPDX-License-Identifier: GPL-2.0-only
/*
 * tune.c - mallopt() and the functions that tell what the heap looks like
 */
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>

#include "decay.h"
#include "depot.h"
#include "entry.h"
#include "env.h"
#include "fastbin.h"
#include "harden.h"
#include "large.h"
#include "meta.h"
#include "os.h"
#include "pagewell.h"
#include "report.h"
#include "sys.h"
#include "tcache.h"
#include "tune.h"

#define ARENAS_A_CPU	8

/* What mallopt(3) allows; it changes nothing here. */
#define MXFAST_MAX	((int)(80 * sizeof(size_t) / 4))

struct tune pw_tune = {
	.mmap_threshold = MMAP_THRESHOLD,
	.trim_threshold = 128 * KIB,
	.top_pad = 128 * KIB,
	.mmap_max = 65536,
	.dynamic = true,
};

/* Traced, nothing takes the short way. */
void pw_tune_hard_most(void)
{
	size_t size = READ_ONCE(pw_tune.mmap_threshold);
	bool hard = pw_env.harden && !pw_env.trace;

	WRITE_ONCE(pw_tune.hard_most, hard && size ? MIN(size - 1, HARDEN_MAX) : 0);
	WRITE_ONCE(pw_tune.hard_small, MIN(pw_tune.hard_most, HARDEN_SMALL_MAX));
}

void pw_tune_threshold(size_t size)
{
	WRITE_ONCE(pw_tune.mmap_threshold, size);
	pw_tune_hard_most();
}

void pw_tune_freed(size_t size)
{
	/* What is hardened stays mapped by itself, with a page behind it that faults. */
	if (!READ_ONCE(pw_tune.dynamic) || pw_env.harden)
		return;
	if (size <= READ_ONCE(pw_tune.mmap_threshold) || size > MMAP_THRESHOLD_MAX)
		return;
	/* The next one of this size is not mapped. */
	pw_tune_threshold(size + 1);
	WRITE_ONCE(pw_tune.trim_threshold, 2 * size);
}

unsigned int pw_arena_max(void)
{
	size_t max = READ_ONCE(pw_tune.arena_max);
	long cpus;

	if (!max) {
		cpus = sysconf(_SC_NPROCESSORS_ONLN);
		max = ARENAS_A_CPU * (size_t)(cpus > 0 ? cpus : 1);
		WRITE_ONCE(pw_tune.arena_max, max);
	}
	return (unsigned int)MIN(max, (size_t)MAX_ARENAS);
}

static bool set_size(size_t *what, int value, bool stop_rule)
{
	/* As with glibc, -1 is no limit. */
	WRITE_ONCE(*what, (size_t)value);
	if (stop_rule)
		WRITE_ONCE(pw_tune.dynamic, false);
	return true;
}

PUBLIC int NAME(mallopt)(int param, int value)
{
	if (!pw_heap_start())
		return 0;
	switch (param) {
	case M_MMAP_THRESHOLD:
		if (value < 0 || (size_t)value > MMAP_THRESHOLD_MAX)
			return 0;
		pw_tune_threshold((size_t)value);
		WRITE_ONCE(pw_tune.dynamic, false);
		return 1;
	case M_TRIM_THRESHOLD:
		return set_size(&pw_tune.trim_threshold, value, true);
	case M_TOP_PAD:
		return value >= 0 && set_size(&pw_tune.top_pad, value, true);
	case M_MMAP_MAX:
		return value >= 0 && set_size(&pw_tune.mmap_max, value, true);
	case M_ARENA_MAX:
		return value >= 0 && set_size(&pw_tune.arena_max, value, false);
	case M_MXFAST:
		return value >= 0 && value <= MXFAST_MAX;
	case M_ARENA_TEST:
	case M_CHECK_ACTION:
	case M_NLBLKS:
	case M_GRAIN:
	case M_KEEP:
		/* Their mechanisms do not exist here; they change nothing. */
		return 1;
	case M_PERTURB:
		WRITE_ONCE(pw_tune.perturb, value & 0xff);
		if (value) {
			pw_heap_slow_mode();
			tcache_drain();
		}
		return 1;
	default:
		return 0;
	}
}

/* ---- what there is ---- */

/**
 * struct view - one arena, seen at one moment
 * @system: bytes between starts and breaks
 * @system_max: the most there ever were
 * @out: bytes of blocks that left the bins
 * @runs: free runs
 * @run_bytes: in them
 * @top: bytes of the tops
 * @blocks: free blocks in small bins, by class
 * @unsorted: spans in the unsorted bin
 * @unsorted_bytes: in them
 */
struct view {
	size_t system;
	size_t system_max;
	size_t out;
	size_t runs;
	size_t run_bytes;
	size_t top;
	size_t unsorted;
	size_t unsorted_bytes;
	size_t blocks[NR_CLASSES];
};

/* False if nobody has it: it was a heap of the program's. */
static bool look(struct arena *a, struct view *v)
{
	struct segment *seg;
	struct span *s;
	unsigned int i;
	bool used;

	memset(v, 0, sizeof(*v));
	lock(&a->lock);
	used = a->limit;
	v->system = a->size;
	v->system_max = a->size_max;
	v->out = a->blocks_out;
	v->run_bytes = a->free << GRANULE_SHIFT;
	for (i = 1; i < NR_LARGE_BINS; i++)
		for (s = a->large[i]; s; s = s->next)
			v->runs++;
	for (i = 1; i < NR_CLASSES; i++)
		for (s = a->small[i].first; s; s = s->next)
			v->blocks[i] += s->nr_free;
	for (s = a->unsorted.first; s; s = s->next) {
		v->unsorted++;
		v->unsorted_bytes += (size_t)s->granules << GRANULE_SHIFT;
	}
	for (seg = a->segments; seg; seg = seg->next)
		v->top += (size_t)(seg->end - seg->top) << GRANULE_SHIFT;
	unlock(&a->lock);
	return used;
}

/* In fast bins, or in the depot, which takes their place. */
static size_t fast_blocks(void)
{
	size_t blocks = depot_blocks();
	unsigned int c;

	for (c = 1; c < NR_CLASSES; c++)
		blocks += READ_ONCE(pw_fastbins[c].nr_blocks);
	return blocks;
}

/* Bytes that threads and fast bins hold. */
static size_t cached(void)
{
	return READ_ONCE(pw_fastbin_bytes) + tcaches_bytes();
}

static size_t small_bytes(const struct view *v, size_t *blocks)
{
	size_t bytes = 0;
	unsigned int c;

	*blocks = 0;
	for (c = 1; c < NR_CLASSES; c++) {
		bytes += v->blocks[c] * class_size(c);
		*blocks += v->blocks[c];
	}
	return bytes;
}

static void fill(struct mallinfo2 *mi)
{
	uint32_t nr = __atomic_load_n(&pw_nr_arenas, __ATOMIC_ACQUIRE), i;
	size_t out = 0, fast = cached();
	struct view v;

	memset(mi, 0, sizeof(*mi));
	mi->smblks = fast_blocks();
	for (i = 0; i < nr; i++) {
		look(pw_arenas[i], &v);
		mi->arena += v.system;
		mi->ordblks += v.runs + (v.top > 0);
		if (!i)
			mi->keepcost = v.top;
		out += v.out;
	}
	mi->hblks = READ_ONCE(pw_large_count);
	mi->hblkhd = READ_ONCE(pw_large_bytes);
	mi->fsmblks = READ_ONCE(pw_fastbin_bytes);
	mi->uordblks = out > fast ? out - fast : 0;
	mi->fordblks = mi->arena > mi->uordblks ? mi->arena - mi->uordblks : 0;
}

PUBLIC struct mallinfo2 NAME(mallinfo2)(void)
{
	struct mallinfo2 mi = { 0 };

	if (pw_heap_start())
		fill(&mi);
	return mi;
}

/* The old form, which wraps at 2 GiB. */
PUBLIC struct mallinfo NAME(mallinfo)(void)
{
	struct mallinfo2 mi = NAME(mallinfo2)();

	return (struct mallinfo) {
		.arena = (int)mi.arena,
		.ordblks = (int)mi.ordblks,
		.smblks = (int)mi.smblks,
		.hblks = (int)mi.hblks,
		.hblkhd = (int)mi.hblkhd,
		.fsmblks = (int)mi.fsmblks,
		.uordblks = (int)mi.uordblks,
		.fordblks = (int)mi.fordblks,
		.keepcost = (int)mi.keepcost,
	};
}

/* What threads and fast bins hold is of any arena: each counts it as in use. */
PUBLIC void NAME(malloc_stats)(void)
{
	struct mallinfo2 mi = { 0 };
	struct view v;
	uint32_t nr, i;

	if (!pw_heap_start())
		return;
	fill(&mi);
	nr = __atomic_load_n(&pw_nr_arenas, __ATOMIC_ACQUIRE);
	for (i = 0; i < nr; i++) {
		if (!look(pw_arenas[i], &v))
			continue;
		pw_line("Arena %u:", i);
		pw_line("system bytes     = %10zu", v.system);
		pw_line("in use bytes     = %10zu", v.out);
	}
	pw_line("Total (incl. mmap):");
	pw_line("system bytes     = %10zu", mi.arena + mi.hblkhd);
	pw_line("in use bytes     = %10zu", mi.uordblks + mi.hblkhd);
	pw_line("cached bytes     = %10zu", cached());
	pw_line("max mmap regions = %10zu", READ_ONCE(pw_large_count_max));
	pw_line("max mmap bytes   = %10zu", READ_ONCE(pw_large_bytes_max));
}

PUBLIC int NAME(malloc_trim)(size_t pad)
{
	if (!pw_heap_start())
		return 0;
	tcache_drain();
	return arenas_trim(pad);
}

/* ---- malloc_info(): XML of the form that glibc's has ---- */

struct totals {
	size_t fast_blocks, fast_bytes;
	size_t rest_blocks, rest_bytes;
	size_t system, system_max;
};

/* glibc prints the sizes a bin takes: from the class below to this one. */
static size_t class_from(unsigned int c)
{
	return c > 1 ? class_size(c - 1) + 1 : 1;
}

static void print_range(FILE *fp, const char *what, size_t from, size_t to, size_t total,
			size_t count)
{
	fprintf(fp, "  <%s from=\"%zu\" to=\"%zu\" total=\"%zu\" count=\"%zu\"/>\n",
		what, from, to, total, count);
}

static void print_sizes(FILE *fp, const struct view *v, struct totals *t)
{
	unsigned int c;

	fprintf(fp, "<sizes>\n");
	for (c = 1; c < NR_CLASSES; c++)
		if (v->blocks[c])
			print_range(fp, "size", class_from(c), class_size(c),
				    v->blocks[c] * class_size(c), v->blocks[c]);
	if (v->unsorted)
		print_range(fp, "unsorted", GRANULE, v->unsorted_bytes, v->unsorted_bytes,
			    v->unsorted);
	fprintf(fp, "</sizes>\n");
	t->rest_bytes += small_bytes(v, &t->rest_blocks);
	t->rest_blocks += v->runs + v->unsorted;
	t->rest_bytes += v->run_bytes + v->unsorted_bytes + v->top;
}

static void print_bin(FILE *fp, const char *name, size_t count, size_t bytes)
{
	fprintf(fp, "<bin name=\"%s\" count=\"%zu\" size=\"%zu\"/>\n", name, count, bytes);
}

/* Ours by their names; glibc's has none of these lines. */
static void print_bins(FILE *fp, const struct view *v)
{
	size_t blocks, bytes = small_bytes(v, &blocks);

	print_bin(fp, "small", blocks, bytes);
	print_bin(fp, "unsorted", v->unsorted, v->unsorted_bytes);
	print_bin(fp, "large", v->runs, v->run_bytes);
	print_bin(fp, "top", v->top > 0, v->top);
}

static void print_totals(FILE *fp, const struct totals *t)
{
	fprintf(fp, "<total type=\"fast\" count=\"%zu\" size=\"%zu\"/>\n",
		t->fast_blocks, t->fast_bytes);
	fprintf(fp, "<total type=\"rest\" count=\"%zu\" size=\"%zu\"/>\n",
		t->rest_blocks, t->rest_bytes);
}

static void print_system(FILE *fp, size_t bytes, size_t max)
{
	fprintf(fp, "<system type=\"current\" size=\"%zu\"/>\n"
		"<system type=\"max\" size=\"%zu\"/>\n"
		"<aspace type=\"total\" size=\"%zu\"/>\n"
		"<aspace type=\"mprotect\" size=\"%zu\"/>\n", bytes, max, bytes, bytes);
}

static void print_arena(FILE *fp, uint32_t i, struct totals *sum)
{
	struct totals t = { 0 };
	struct view v;

	if (!look(pw_arenas[i], &v))
		return;
	fprintf(fp, "<heap nr=\"%u\">\n", i);
	print_sizes(fp, &v, &t);
	/* The fast bins are common to all arenas; they are told of in the first. */
	if (!i) {
		t.fast_blocks = fast_blocks();
		t.fast_bytes = READ_ONCE(pw_fastbin_bytes);
		print_bin(fp, "tcache", READ_ONCE(pw_nr_threads), tcaches_bytes());
		print_bin(fp, "fast", t.fast_blocks, t.fast_bytes);
	}
	print_bins(fp, &v);
	print_totals(fp, &t);
	print_system(fp, v.system, v.system_max);
	fprintf(fp, "</heap>\n");
	sum->fast_blocks += t.fast_blocks;
	sum->fast_bytes += t.fast_bytes;
	sum->rest_blocks += t.rest_blocks;
	sum->rest_bytes += t.rest_bytes;
	sum->system += v.system;
	sum->system_max += v.system_max;
}

PUBLIC int NAME(malloc_info)(int options, FILE *fp)
{
	struct totals sum = { 0 };
	uint32_t nr, i;

	if (options)
		return EINVAL;
	if (!pw_heap_start())
		return ENOMEM;
	nr = __atomic_load_n(&pw_nr_arenas, __ATOMIC_ACQUIRE);
	fprintf(fp, "<malloc version=\"1\">\n");
	for (i = 0; i < nr; i++)
		print_arena(fp, i, &sum);
	print_totals(fp, &sum);
	fprintf(fp, "<total type=\"mmap\" count=\"%zu\" size=\"%zu\"/>\n",
		READ_ONCE(pw_large_count), READ_ONCE(pw_large_bytes));
	/* As glibc's: each arena's most, whenever that was. */
	print_system(fp, sum.system + READ_ONCE(pw_large_bytes),
		     sum.system_max + READ_ONCE(pw_large_bytes_max));
	fprintf(fp, "</malloc>\n");
	return 0;
}

#ifndef PW_PREFIX
/* glibc's own names, as for malloc() and its kin. */
PUBLIC extern struct mallinfo __libc_mallinfo(void) __attribute__((alias("mallinfo")));
PUBLIC extern __typeof__(mallopt) __libc_mallopt __attribute__((alias("mallopt"), copy(mallopt)));
#endif

/* ---- pagewell.h ---- */

PUBLIC int pagewell_get_stats(struct pagewell_stats *stats, size_t size)
{
	struct mallinfo2 mi = { 0 };
	struct pagewell_stats all;
	struct os_stats os;

	if (size > sizeof(all) || !pw_heap_start()) {
		errno = size > sizeof(all) ? EINVAL : ENOMEM;
		return -1;
	}
	fill(&mi);
	os_get_stats(&os);
	all = (struct pagewell_stats){
		.backend = os.backend,
		.committed = os.committed,
		.limit = os.limit,
		.arenas = mi.arena,
		.in_use = mi.uordblks + mi.hblkhd,
		.cached = cached(),
		.mapped = mi.hblkhd,
		.mapped_blocks = mi.hblks,
		.tables = pw_meta_bytes(),
		.returned = os.returned,
		.brk_moves = os.brk_moves,
		.maps = os.maps,
		.remaps = os.remaps,
		.refused = READ_ONCE(pw_refused),
	};
	memcpy(stats, &all, size);
	return 0;
}

/* ---- PAGEWELL_STATS=1 ---- */

void pw_print_stats(void)
{
	uint32_t nr = __atomic_load_n(&pw_nr_arenas, __ATOMIC_ACQUIRE), i;
	size_t small = 0, unsorted = 0, large = 0, top = 0, blocks;
	unsigned int arenas = 0;
	struct mallinfo2 mi = { 0 };
	struct os_stats os;
	struct view v;

	fill(&mi);
	for (i = 0; i < nr; i++) {
		arenas += look(pw_arenas[i], &v);
		small += small_bytes(&v, &blocks);
		unsorted += v.unsorted_bytes;
		large += v.run_bytes;
		top += v.top;
	}
	os_get_stats(&os);
	pw_note("statistics of process %d", (int)sys(SYS_getpid));
	pw_line("  backend     %s memory%s%s", os.backend, os.why[0] ? ": " : "", os.why);
	pw_line("  window      %p  heap %lu", (void *)os.window, (unsigned long)os_heap_id());
	pw_line("  committed   %10zu KiB", os.committed / KIB);
	pw_line("  in arenas   %10zu KiB in %u", mi.arena / KIB, arenas);
	pw_line("  in use      %10zu KiB", (mi.uordblks + mi.hblkhd) / KIB);
	pw_line("  tcaches     %10zu KiB", tcaches_bytes() / KIB);
	pw_line("  fast bins   %10zu KiB", mi.fsmblks / KIB);
	pw_line("  small bins  %10zu KiB", small / KIB);
	pw_line("  unsorted    %10zu KiB", unsorted / KIB);
	pw_line("  large bins  %10zu KiB", large / KIB);
	pw_line("  top         %10zu KiB", top / KIB);
	pw_line("  mapped      %10zu KiB in %zu blocks", mi.hblkhd / KIB, mi.hblks);
	pw_line("  tables      %10zu KiB of addresses", pw_meta_bytes() / KIB);
	pw_line("  returned    %10zu KiB", os.returned / KIB);
	pw_line("  break moves %10zu   maps %zu   remaps %zu   refused %zu",
		os.brk_moves, os.maps, os.remaps, READ_ONCE(pw_refused));
}
