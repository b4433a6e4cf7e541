// SPDX-License-Identifier: GPL-2.0-only
/*
 * ops.c - what one operation costs, ours beside anonymous memory
 *
 * Meant for `scripts/vm --icount`: there a nanosecond of the guest's clock is
 * one instruction of the guest, so the figures repeat whatever the host does.
 * Elsewhere they are nanoseconds.
 *
 * usage: ops [settle-seconds [rest-seconds]]
 *
 * settle: sleep at first, so that what the boot left running ends. rest: sleep
 * before each of our rows, so that freed pages are zeroed again; that happens
 * in the background, and the rows of zeroing say what it costs and what it saves.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "pagewell.h"

#define PAGE	4096UL
#define MIB	(1UL << 20)
#define HEAP	(768 * MIB)
#define RUN	(256 * MIB)

static int fd;
static int rest;
static char *heap;
static struct pagewell_brk_create brk_id = { .size = sizeof(brk_id) };

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1e9 + ts.tv_nsec;
}

static void set_huge(unsigned int policy)
{
	struct pagewell_heap h = {
		.size = sizeof(h), .set = PAGEWELL_SET_HUGE, .huge = policy,
	};

	if (ioctl(fd, PAGEWELL_IOC_HEAP, &h))
		err(1, "page size");
}

static void map_heap(void)
{
	heap = mmap(NULL, HEAP, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (heap == MAP_FAILED)
		err(1, "mmap " PAGEWELL_DEVICE);
}

static char *map_ours(size_t len)
{
	struct pagewell_map m = {
		.size = sizeof(m), .length = len, .align = 2 * MIB,
	};

	if (ioctl(fd, PAGEWELL_IOC_MAP, &m))
		err(1, "map %zu", len);
	return (char *)m.addr;
}

static void unmap_ours(char *p, size_t len)
{
	struct pagewell_unmap u = {
		.size = sizeof(u), .addr = (unsigned long)p, .length = len,
	};

	if (ioctl(fd, PAGEWELL_IOC_UNMAP, &u))
		err(1, "unmap");
}

static char *map_anon(size_t len)
{
	char *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		err(1, "mmap");
	madvise(p, len, MADV_NOHUGEPAGE);
	return p;
}

/* Aligned; what was reserved to align it goes with the process. */
static char *map_thp(size_t len)
{
	char *p = mmap(NULL, len + 2 * MIB, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		err(1, "mmap");
	p += -(unsigned long)p % (2 * MIB);
	madvise(p, len, MADV_HUGEPAGE);
	return p;
}

static void unmap_anon(char *p, size_t len)
{
	munmap(p, len);
}

struct memory {
	char *(*map)(size_t len);
	void (*unmap)(char *p, size_t len);
};

static const struct memory ours = { map_ours, unmap_ours };
static const struct memory anon = { map_anon, unmap_anon };
static const struct memory thp = { map_thp, unmap_anon };

static double touch(char *p, size_t len, size_t step)
{
	double t = now();

	for (size_t i = 0; i < len; i += step)
		p[i] = 1;
	return now() - t;
}

static double first_touch(const struct memory *m)
{
	char *p = m->map(RUN);
	double t = touch(p, RUN, PAGE);

	m->unmap(p, RUN);
	return t / (RUN / PAGE);
}

static double backward_touch(const struct memory *m)
{
	char *p = m->map(RUN);
	double t = now();

	for (size_t i = RUN; i; i -= PAGE)
		p[i - PAGE] = 1;
	t = now() - t;
	m->unmap(p, RUN);
	return t / (RUN / PAGE);
}

/* One page in 37, in an order in which no two are near each other. */
static double lone_touch(const struct memory *m)
{
	const size_t pages = RUN / PAGE, nr = pages / 37;
	char *p = m->map(RUN);
	double t = now();

	for (size_t i = 0; i < nr; i++)
		p[i * 40503 % pages * PAGE] = 1;
	t = now() - t;
	m->unmap(p, RUN);
	return t / nr;
}

/* The same pages one after the other. */
static double step_touch(const struct memory *m)
{
	size_t step = 37 * PAGE;
	char *p = m->map(RUN);
	double t = touch(p, RUN, step);

	m->unmap(p, RUN);
	return t / (RUN / step + 1);
}

static double worst_touch(const struct memory *m)
{
	char *p = m->map(RUN);
	double worst = 0;

	for (size_t i = 0; i < RUN; i += PAGE) {
		double t = now();

		p[i] = 1;
		t = now() - t;
		if (t > worst)
			worst = t;
	}
	m->unmap(p, RUN);
	return worst;
}

static double map_unmap(const struct memory *m)
{
	const int n = 1000;
	double t = now();

	for (int i = 0; i < n; i++)
		m->unmap(m->map(MIB), MIB);
	return (now() - t) / n;
}

static double map_touch_unmap(const struct memory *m)
{
	const int n = 1000;
	double t = now();

	for (int i = 0; i < n; i++) {
		char *p = m->map(MIB);

		p[0] = 1;
		m->unmap(p, MIB);
	}
	return (now() - t) / n;
}

static void move_ours(long by)
{
	static unsigned long at;
	struct pagewell_brk b = { .size = sizeof(b), .id = brk_id.id };

	if (!at)
		at = brk_id.start + PAGE;
	at += by;
	b.brk = at;
	if (ioctl(fd, PAGEWELL_IOC_BRK, &b))
		err(1, "break");
}

static void move_sbrk(long by)
{
	if (sbrk(by) == (void *)-1)
		err(1, "sbrk");
}

static double break_pair(const struct memory *m)
{
	void (*move)(long) = m == &ours ? move_ours : move_sbrk;
	const int n = 1000;
	double t;

	move(PAGE);
	t = now();
	for (int i = 0; i < n; i++) {
		move(PAGE);
		move(-PAGE);
	}
	return (now() - t) / n;
}

/* A break that the program moves by a store, 256 MiB of it granted at once. */
static volatile __u64 control;

static void grant(struct pagewell_brk_create *b, struct pagewell_brk *brk)
{
	*b = (struct pagewell_brk_create){
		.size = sizeof(*b), .reserve = RUN, .control = (unsigned long)&control,
	};
	if (ioctl(fd, PAGEWELL_IOC_BRK_CREATE, b))
		err(1, "break");
	*brk = (struct pagewell_brk){
		.size = sizeof(*brk), .id = b->id, .brk = b->start + RUN,
	};
	control = b->start;
	if (ioctl(fd, PAGEWELL_IOC_BRK, brk))
		err(1, "break");
}

static double grow(bool touched)
{
	struct pagewell_brk_create b;
	struct pagewell_brk_destroy d = { .size = sizeof(d) };
	struct pagewell_brk brk;
	double t;

	grant(&b, &brk);
	t = now();
	while (control < b.start + RUN) {
		control += PAGE;
		if (touched)
			*(volatile char *)(control - 1) = 1;
	}
	t = now() - t;
	d.id = b.id;
	if (ioctl(fd, PAGEWELL_IOC_BRK_DESTROY, &d))
		err(1, "break");
	return t / (RUN / PAGE);
}

static double grow_sbrk(bool touched)
{
	const int n = 10000;
	char *start = sbrk(0);
	double t = now();

	for (int i = 0; i < n; i++) {
		char *p = sbrk(PAGE);

		if (touched)
			*(volatile char *)p = 1;
	}
	t = now() - t;
	if (brk(start))
		err(1, "brk");
	return t / n;
}

struct fork_cost {
	double fork, exit, cow, rewrite;
};

static struct fork_cost fork_cost(const struct memory *m)
{
	const double pages = RUN / PAGE;
	struct fork_cost c;
	char *p = m->map(RUN);
	int go[2];
	double t;
	pid_t pid;

	touch(p, RUN, PAGE);
	/* The stock is filled up again meanwhile, not while we measure. */
	sleep(rest);
	if (pipe(go))
		err(1, "pipe");
	t = now();
	pid = fork();
	if (!pid) {
		char x;

		_exit(read(go[0], &x, 1) != 1);
	}
	c.fork = (now() - t) / pages;
	c.cow = touch(p, RUN / 16, PAGE) / (pages / 16);
	t = now();
	if (write(go[1], "", 1) != 1)
		err(1, "write");
	waitpid(pid, NULL, 0);
	c.exit = (now() - t) / pages;
	c.rewrite = touch(p + RUN / 2, RUN / 2, PAGE) / (pages / 2);
	close(go[0]);
	close(go[1]);
	m->unmap(p, RUN);
	return c;
}

static void row(const char *what, double a, double b)
{
	printf("%-44s %10.0f %10.0f %7.3f\n", what, a, b, a / b);
}

static void compare_with(const struct memory *other, const char *what,
			 double (*fn)(const struct memory *))
{
	double b = fn(other), a;

	fn(&ours);
	sleep(rest);
	a = fn(&ours);
	row(what, a, b);
}

static void compare(const char *what, double (*fn)(const struct memory *))
{
	compare_with(&anon, what, fn);
}

#define FAULTS	"/sys/kernel/debug/pagewell/faults"
#define ZEROING_RUNS 6
#define ZERO_MBPS "/sys/module/pagewell/parameters/zero_mbps"

static double counter(const char *name)
{
	char key[64];
	double value;
	FILE *f = fopen(FAULTS, "r");

	if (!f)
		err(1, FAULTS);
	while (fscanf(f, "%63[^:]: %lf\n", key, &value) == 2) {
		if (!strcmp(key, name)) {
			fclose(f);
			return value;
		}
	}
	errx(1, "no %s in " FAULTS, name);
}

static unsigned int set_zero_mbps(unsigned int mbps)
{
	unsigned int before;
	FILE *f = fopen(ZERO_MBPS, "r+");

	if (!f || fscanf(f, "%u", &before) != 1)
		err(1, ZERO_MBPS);
	rewind(f);
	if (fprintf(f, "%u\n", mbps) < 0 || fclose(f))
		err(1, ZERO_MBPS);
	return before;
}

/*
 * What the thread that zeroes ahead takes for a page, beside what the program is spared at
 * its faults: the same run with nothing ahead is measured, too. Several runs, as the
 * thread waits until the stock is low.
 */
static void zeroing(void)
{
	double ahead = 0, ns, pages, late;
	unsigned int mbps;

	ns = counter("zero_ahead_ns");
	pages = counter("zeroed_ahead");
	late = counter("zeroed_fault");
	for (int i = 0; i < ZEROING_RUNS; i++) {
		sleep(rest);
		ahead = first_touch(&ours);
	}
	ns = counter("zero_ahead_ns") - ns;
	pages = counter("zeroed_ahead") - pages;
	late = counter("zeroed_fault") - late;
	printf("%-44s %10.0f\n", "zeroing ahead, in the background, a page",
	       pages ? ns / pages : 0);
	printf("%-44s %10.0f\n", "percent of the pages zeroed late",
	       100 * late / (ZEROING_RUNS * (RUN / PAGE)));

	mbps = set_zero_mbps(0);
	/* What was zeroed before goes first. */
	first_touch(&ours);
	first_touch(&ours);
	printf("%-44s %10.0f\n", "saved at the fault, a page", first_touch(&ours) - ahead);
	set_zero_mbps(mbps);
}

static void compare_fork(const struct memory *other)
{
	struct fork_cost f, g = fork_cost(other);

	sleep(rest);
	f = fork_cost(&ours);
	row("fork, a page of 256 MiB", f.fork, g.fork);
	row("child exit, a page", f.exit, g.exit);
	row("write to a shared page", f.cow, g.cow);
	row("write after the child is gone, a page", f.rewrite, g.rewrite);
}

int main(int argc, char **argv)
{
	fd = open(PAGEWELL_DEVICE, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		err(1, PAGEWELL_DEVICE);
	map_heap();
	if (ioctl(fd, PAGEWELL_IOC_BRK_CREATE, &brk_id))
		err(1, "break");
	sleep(argc > 1 ? atoi(argv[1]) : 0);
	rest = argc > 2 ? atoi(argv[2]) : 0;

	set_huge(PAGEWELL_HUGE_NEVER);
	printf("%-44s %10s %10s %7s\n", "with pages of 4 KiB", "ours", "anonymous",
	       "ratio");
	compare("first touch, sequential, a page", first_touch);
	zeroing();
	compare("first touch, backward, a page", backward_touch);
	compare("first touch, far from any other", lone_touch);
	compare("first touch, one page in 37", step_touch);
	compare("worst of all sequential first touches", worst_touch);
	compare("break up and down by a page, untouched", break_pair);
	row("grow by a page, control word and sbrk", grow(false), grow_sbrk(false));
	sleep(rest);
	row("the same, and touch it", grow(true), grow_sbrk(true));
	compare("map and unmap 1 MiB, untouched", map_unmap);
	compare("map, touch once and unmap 1 MiB", map_touch_unmap);
	compare_fork(&anon);

	printf("\n%-44s %10s %10s %7s\n", "with pages of 2 MiB", "ours", "THP",
	       "ratio");
	/* Where small pages were, page tables are left, and no 2 MiB fit. */
	munmap(heap, HEAP);
	map_heap();
	set_huge(PAGEWELL_HUGE_ALWAYS);
	compare_with(&thp, "first touch, sequential, a page of 4 KiB", first_touch);
	compare_fork(&thp);
	set_huge(PAGEWELL_HUGE_AUTO);
	compare_with(&thp, "worst first touch, automatic", worst_touch);
	return 0;
}
