// SPDX-License-Identifier: GPL-2.0-only
/*
 * model.c - random operations against a heap, and against an array that says
 * what must be there; parents and children go on side by side
 *
 * model [SEED [OPERATIONS]]: repeats a run. The seed is printed.
 */
#define PW_NO_HARNESS
#include "pw_test.h"

#define SLOT		512
#define PAGES		(4 * SLOT)	/* slot 0 is the break, the rest are maps */
#define MAX_DEPTH	3

enum kind { NONE, MAP, GUARD, BREAK };

struct page {
	uint8_t kind;
	bool strict;
	uint8_t denied;		/* PAGEWELL_PROT_ bits taken away */
	uint64_t tag;		/* what was written there, 0 for nothing */
};

static struct page model[PAGES];
static struct pw heap;
static uint32_t brk_id;
static long brk_pages;
static uint64_t rnd, next_tag = 1;
static uint64_t seed;
static bool huge;		/* pages of 2 MiB wherever one fits */
static bool strict;		/* what is mapped is promised, but not to children */
static int hold[2];		/* a pipe that refers to some pages */
static long op_nr;
static int depth;

#define MUST(cond) do {							\
	if (!(cond)) {							\
		fprintf(stderr, "# model.c:%d: (%s) is not so, errno %d;"	\
			" seed %#lx, depth %d, operation %ld\n",	\
			__LINE__, #cond, errno, (unsigned long)seed,	\
			depth, op_nr);					\
		_exit(KSFT_FAIL);					\
	}								\
} while (0)

static long pick(long n)
{
	return pw_random(&rnd) % n;
}

static char *addr(long page)
{
	return heap.base + page * PAGE;
}

static bool touchable(long page)
{
	return model[page].kind == MAP || model[page].kind == BREAK;
}

static bool allowed(long page, uint8_t prot)
{
	return touchable(page) && !(model[page].denied & prot);
}

/* Contents */

static void check_page(long page, bool all)
{
	volatile uint64_t *w = (void *)addr(page);
	uint64_t tag = model[page].tag;

	for (int i = all ? 0 : pick(SLOT); i < SLOT; i += all ? 1 : SLOT)
		MUST(w[i] == (tag ? pw_word(tag, 0, i) : 0));
}

/* Pages of the process's own that count for RLIMIT_DATA. Nothing is allocated for it. */
static long data_pages(void)
{
	int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	static char text[8192];
	char *line;

	MUST(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0);
	close(fd);
	line = strstr(text, "VmData:");
	MUST(line);
	return strtol(line + strlen("VmData:"), NULL, 10) * KIB / PAGE;
}

/*
 * A limit that leaves room for some pages leaves it for just those. They may lie behind
 * all others, where op_map() must not find them again: it asks for fewer.
 */
static void check_mapped(long mapped)
{
	const struct rlimit none = { RLIM_INFINITY, RLIM_INFINITY };
	struct rlimit few = none;
	long room = 701 + pick(9);
	char *at;

	few.rlim_cur = (mapped + data_pages() + room) * PAGE;
	MUST(setrlimit(RLIMIT_DATA, &few) == 0);
	MUST(pw_map(heap.fd, 0, NULL, (room + 1) * PAGE, 0, NULL) == -ENOMEM);
	MUST(pw_map(heap.fd, 0, NULL, room * PAGE, 0, &at) == 0);
	MUST(pw_unmap(heap.fd, at, room * PAGE) == 0);
	MUST(setrlimit(RLIMIT_DATA, &none) == 0);
}

static void check_all(void)
{
	uint64_t committed = 0;
	long mapped = 0;

	for (long i = 0; i < PAGES; i++) {
		if (allowed(i, PW_READ))
			check_page(i, true);
		else if (pick(16) == 0)
			MUST(pw_try_read(addr(i)) == SIGSEGV);
		committed += touchable(i) && model[i].strict;
		mapped += touchable(i);
	}
	MUST(pw_committed(heap.fd) == committed * PAGE);
	check_mapped(mapped);
}

static void op_write(void)
{
	long page = pick(PAGES), n = 1 + pick(40);

	for (; n-- && page < PAGES; page++) {
		if (!allowed(page, PAGEWELL_PROT_WRITE)) {
			MUST(pw_try_write(addr(page), 1) == SIGSEGV);
			return;
		}
		model[page].tag = next_tag++;
		pw_fill(addr(page), 1, model[page].tag);
	}
}

static void op_read(void)
{
	long page = pick(PAGES), n = 1 + pick(40);

	for (; n-- && page < PAGES; page++) {
		if (!allowed(page, PW_READ)) {
			MUST(pw_try_read(addr(page)) == SIGSEGV);
			return;
		}
		check_page(page, false);
	}
}

/* Layout */

static void set_range(long lo, long hi, struct page p)
{
	for (; lo < hi; lo++)
		model[lo] = p;
}

static bool all_are(long lo, long hi, int kind)
{
	for (; lo < hi; lo++)
		if (model[lo].kind != kind)
			return false;
	return true;
}

/* Slot 0 belongs to the break, in use or not. */
static bool range_free(long lo, long hi)
{
	return lo >= SLOT && all_are(lo, hi, NONE);
}

static long lowest_gap(long nr)
{
	for (long lo = SLOT; lo + nr <= PAGES; lo++)
		if (range_free(lo, lo + nr))
			return lo;
	return -1;
}

static void op_brk(void)
{
	long to = pick(3) ? pick(SLOT + 1) : brk_pages + pick(9) - 4;

	if (to < 0) {
		MUST(pw_brk(heap.fd, brk_id, addr(to), NULL) == -EINVAL);
		return;
	}
	if (to > SLOT)
		to = SLOT;
	MUST(pw_brk(heap.fd, brk_id, addr(to), NULL) == 0);
	if (to > brk_pages)
		set_range(brk_pages, to, (struct page){ BREAK, strict });
	else
		set_range(to, brk_pages, (struct page){ NONE });
	brk_pages = to;
}

static void op_map(void)
{
	bool guard = pick(8) == 0;
	uint32_t flags = guard ? PAGEWELL_MAP_GUARD : pick(6) ? 0 : PAGEWELL_MAP_POPULATE;
	long nr = pick(4) ? 1 + pick(60) : 1 + pick(700);
	long want = lowest_gap(nr);
	char *at;

	if (want < 0)
		return;
	MUST(pw_map(heap.fd, flags, NULL, nr * PAGE, 0, &at) == 0);
	/* There, or where as many pages were given up a moment ago. */
	want = (at - heap.base) / PAGE;
	MUST(want + nr <= PAGES && range_free(want, want + nr));
	set_range(want, want + nr, (struct page){ guard ? GUARD : MAP, strict && !guard });
}

/* Whole slots, for pages of 2 MiB. */
static void op_map_slots(void)
{
	long lo = SLOT * (1 + pick(3)), nr = SLOT * (1 + pick(2));
	uint32_t populate = pick(2) ? PAGEWELL_MAP_POPULATE : 0;

	if (lo + nr > PAGES)
		nr = PAGES - lo;
	MUST(pw_map(heap.fd, PAGEWELL_MAP_FIXED | populate, addr(lo), nr * PAGE, 0, NULL) == 0);
	set_range(lo, lo + nr, (struct page){ MAP, strict });
}

static void op_map_fixed(void)
{
	bool guard = pick(8) == 0, replace = pick(2);
	uint32_t flags = (guard ? PAGEWELL_MAP_GUARD : 0) |
			 (replace ? PAGEWELL_MAP_FIXED : PAGEWELL_MAP_FIXED_NOREPLACE);
	long lo = pick(PAGES), nr = 1 + pick(pick(4) ? 40 : 600);
	int err;

	if (lo + nr > PAGES)
		nr = PAGES - lo;
	err = pw_map(heap.fd, flags, addr(lo), nr * PAGE, 0, NULL);
	if (lo < SLOT || (!replace && !range_free(lo, lo + nr))) {
		MUST(err == -EEXIST);
		return;
	}
	MUST(err == 0);
	set_range(lo, lo + nr, (struct page){ guard ? GUARD : MAP, strict && !guard });
}

static void op_unmap(void)
{
	long lo = pick(PAGES), nr = 1 + pick(pick(4) ? 40 : 800);
	int err;

	if (lo + nr > PAGES)
		nr = PAGES - lo;
	err = pw_unmap(heap.fd, addr(lo), nr * PAGE);
	if (lo < SLOT) {
		MUST(err == -EINVAL);
		return;
	}
	MUST(err == 0);
	set_range(lo, lo + nr, (struct page){ NONE });
}

/* What a pipe refers to must stay with whom it belongs to, and nobody else. */
static void op_hold(void)
{
	struct iovec iov = { addr(pick(PAGES)), PAGE };

	vmsplice(hold[1], &iov, 1, SPLICE_F_NONBLOCK);
}

static void op_let_go(void)
{
	static char buf[16 * PAGE];

	while (read(hold[0], buf, sizeof(buf)) > 0)
		;
}

/* From a slot on, what moves stays where it was within its slot, if it can. */
static long remap_target(long lo, long old, long nr)
{
	long offset = lo % SLOT;

	for (long to = SLOT; old >= SLOT && to + offset + nr <= PAGES; to += SLOT)
		if (range_free(to, to + offset + nr))
			return to + offset;
	return lowest_gap(nr);
}

static void op_remap(void)
{
	bool move = pick(2);
	long lo = SLOT + pick(PAGES - SLOT), old = 1 + pick(pick(4) ? 60 : 900);
	long nr = pick(4) ? 1 + pick(120) : 1 + pick(1100), to = lo;
	static struct page saved[PAGES];
	char *at;
	int err;

	/* Mostly ranges that are mapped. */
	while (old > 1 && (lo + old > PAGES || !all_are(lo, lo + old, MAP)))
		old /= 2;
	if (lo + nr > PAGES)
		return;
	if (nr > old && all_are(lo, lo + old, MAP) && !range_free(lo + old, lo + nr)) {
		to = remap_target(lo, old, nr);
		if (move && to < 0)
			return;
	}
	err = pw_remap(heap.fd, move ? PAGEWELL_REMAP_MAYMOVE : 0, addr(lo),
		       old * PAGE, nr * PAGE, &at);
	if (!all_are(lo, lo + old, MAP)) {
		MUST(err == -EFAULT);
		return;
	}
	/* Part of a page of 2 MiB that a pipe refers to may be in the way. */
	if (err == -ENOMEM && move) {
		op_let_go();
		err = pw_remap(heap.fd, PAGEWELL_REMAP_MAYMOVE, addr(lo), old * PAGE,
			       nr * PAGE, &at);
		if (err == -ENOMEM && huge)
			return;
	}
	if (nr > old && to != lo && !move) {
		MUST(err == -ENOMEM);
		return;
	}
	MUST(err == 0);
	MUST(at == addr(to));
	if (nr <= old) {
		set_range(lo + nr, lo + old, (struct page){ NONE });
		return;
	}
	memcpy(saved, &model[lo], old * sizeof(*saved));
	/* What is added is new: as the heap says, whatever was inherited. */
	set_range(lo, lo + old, (struct page){ NONE });
	memcpy(&model[to], saved, old * sizeof(*saved));
	set_range(to + old, to + nr, (struct page){ MAP, strict, saved[old - 1].denied });
}

static void op_remap_fixed(void)
{
	long lo = SLOT + pick(PAGES - SLOT), old = 1 + pick(pick(4) ? 60 : 900);
	long nr = pick(4) ? 1 + pick(120) : 1 + pick(1100), to = pick(PAGES);
	static struct page saved[PAGES];
	int err, try;

	while (old > 1 && (lo + old > PAGES || !all_are(lo, lo + old, MAP)))
		old /= 2;
	if (to + nr > PAGES)
		return;
	for (try = 0; try < 2; try++) {
		err = pw_remap_to(heap.fd, PAGEWELL_REMAP_MAYMOVE | PAGEWELL_REMAP_FIXED,
				  addr(lo), old * PAGE, nr * PAGE, addr(to));
		if (err != -ENOMEM)
			break;
		/* Part of a page of 2 MiB that a pipe refers to; the target is empty. */
		set_range(to, to + nr, (struct page){ NONE });
		op_let_go();
	}
	if (to < lo + old && lo < to + nr) {
		MUST(err == -EINVAL);
		return;
	}
	if (!all_are(lo, lo + old, MAP)) {
		MUST(err == -EFAULT);
		return;
	}
	if (to < SLOT) {
		MUST(err == -EEXIST);
		return;
	}
	if (err == -ENOMEM && huge)
		return;
	MUST(err == 0);
	memcpy(saved, &model[lo], old * sizeof(*saved));
	set_range(lo, lo + old, (struct page){ NONE });
	set_range(to, to + nr, (struct page){ MAP, strict, saved[old - 1].denied });
	memcpy(&model[to], saved, (nr < old ? nr : old) * sizeof(*saved));
}

static void op_dontneed(void)
{
	long lo = pick(PAGES), nr = pick(200);

	if (lo + nr > PAGES)
		nr = PAGES - lo;
	MUST(pw_advise(heap.fd, PAGEWELL_ADVISE_DONTNEED, addr(lo), nr * PAGE) == 0);
	for (; nr--; lo++)
		model[lo].tag = 0;
}

/* The pool is not short: nothing goes. */
static void op_free(void)
{
	long lo = pick(PAGES), nr = pick(pick(4) ? 60 : 700);

	if (lo + nr > PAGES)
		nr = PAGES - lo;
	MUST(pw_advise(heap.fd, PAGEWELL_ADVISE_FREE, addr(lo), nr * PAGE) == 0);
}

/* What can be is packed; nothing that can be seen changes. */
static void op_cold(void)
{
	long lo = pick(PAGES), nr = 1 + pick(pick(4) ? 60 : 700);

	if (lo + nr > PAGES)
		nr = PAGES - lo;
	MUST(pw_advise(heap.fd, PAGEWELL_ADVISE_COLD, addr(lo), nr * PAGE) == 0);
}

/* What can be is put together; nothing that can be seen changes. */
static void op_collapse(void)
{
	long lo = pick(PAGES), nr = 1 + pick(2 * SLOT);
	int err;

	if (lo + nr > PAGES)
		nr = PAGES - lo;
	err = pw_advise(heap.fd, PAGEWELL_ADVISE_COLLAPSE, addr(lo), nr * PAGE);
	MUST(err == 0 || err == -EINVAL || err == -EBUSY || err == -ENOMEM);
}

static void op_populate(void)
{
	long lo = pick(PAGES), nr = 1 + pick(100), i;
	int err;

	if (lo + nr > PAGES)
		nr = PAGES - lo;
	err = pw_advise(heap.fd, PAGEWELL_ADVISE_POPULATE, addr(lo), nr * PAGE);
	for (i = lo; i < lo + nr && allowed(i, PW_READ); i++)
		;
	MUST(err == (i < lo + nr ? -ENOMEM : 0));
}

static void op_protect(void)
{
	static const uint32_t prots[] = { PW_NONE, PW_READ, PW_BOTH, PW_BOTH };
	uint32_t prot = prots[pick(ARRAY_SIZE(prots))];
	long lo = SLOT + pick(PAGES - SLOT), nr = 1 + pick(pick(4) ? 40 : 600);

	while (nr > 1 && (lo + nr > PAGES || !all_are(lo, lo + nr, MAP)))
		nr /= 2;
	if (!all_are(lo, lo + nr, MAP)) {
		MUST(pw_protect(heap.fd, prot, addr(lo), nr * PAGE) == -ENOMEM);
		return;
	}
	MUST(pw_protect(heap.fd, prot, addr(lo), nr * PAGE) == 0);
	for (; nr--; lo++)
		model[lo].denied = PW_BOTH & ~prot;
}

static void run(long ops);

static void op_fork(long ops)
{
	static int children;
	pid_t pid;

	if (depth >= MAX_DEPTH || children >= 4)
		return;
	children++;
	pid = pw_fork();
	if (pid)
		return;
	children = 0;
	depth++;
	rnd ^= 0x5555555555555555ULL * depth;
	for (long i = 0; i < PAGES; i++)
		model[i].strict = false;
	run(ops / 2);
	exit(0);
}

static void wait_for_children(void)
{
	int status;

	while (wait(&status) > 0)
		MUST(WIFEXITED(status) && !WEXITSTATUS(status));
}

static void run(long ops)
{
	static void (*const all[])(void) = {
		op_write, op_write, op_write, op_write, op_read, op_read, op_brk,
		op_map, op_map, op_map_fixed, op_unmap, op_remap, op_remap,
		op_remap_fixed,
		op_dontneed, op_populate, op_map_slots, op_hold, op_let_go, op_collapse,
		op_protect, op_free, op_cold,
	};

	for (op_nr = 0; op_nr < ops; op_nr++) {
		if (op_nr % 97 == 50)
			op_fork(ops);
		else
			all[pick(ARRAY_SIZE(all))]();
		if (op_nr % 150 == 149)
			check_all();
	}
	check_all();
	wait_for_children();
}

static int one_seed(uint64_t s, long ops)
{
	pid_t pid = pw_fork();
	char *start;

	if (pid)
		return pw_wait(pid);
	seed = s;
	rnd = s * 0x9e3779b97f4a7c15ULL | 1;
	huge = s % 2;
	strict = s / 2 % 2;
	pw_heap(&heap, PAGES * PAGE);
	MUST(pw_set_commit(heap.fd, strict ? PAGEWELL_COMMIT_STRICT :
			   PAGEWELL_COMMIT_LAZY) == 0);
	MUST(pw_set_huge(heap.fd, huge ? PAGEWELL_HUGE_ALWAYS : PAGEWELL_HUGE_AUTO) == 0);
	MUST(pipe2(hold, O_NONBLOCK) == 0);
	MUST(pw_brk_create(heap.fd, HUGE, &brk_id, &start) == 0);
	MUST(start == heap.base);
	run(ops);
	exit(0);
}

int main(int argc, char **argv)
{
	uint64_t s = argc > 1 ? strtoull(argv[1], NULL, 0) : (uint64_t)time(NULL) << 8;
	long ops = argc > 2 ? atol(argv[2]) : 700;
	int seeds = argc > 1 ? 1 : pw_scaled(4);

	/* Idle pages are packed, where the kernel has what that takes. */
	if (pw_set_param("idle_max_mb", 64) == 0)
		pw_set_param("idle_s", 1);
	ksft_print_header();
	ksft_set_plan(seeds + 1);
	for (int i = 0; i < seeds; i++) {
		int status = one_seed(s + i, ops);

		ksft_test_result(!status, "seed %#lx, %ld operations a process\n",
				 (unsigned long)(s + i), ops);
	}
	pw_set_param("idle_s", 0);
	pw_set_param("idle_max_mb", 0);
	ksft_test_result(pw_pool_whole(), "pool is whole\n");
	ksft_finished();
}
