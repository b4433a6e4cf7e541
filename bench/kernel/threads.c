// SPDX-License-Identifier: GPL-2.0-only
/*
 * threads.c - what two threads of one heap do in the time of one
 *
 * Meant for `scripts/vm --smp 2` on a machine with two idle processors: time,
 * not instructions. What one thread does alone and what two do at once takes
 * turns, so that whatever else the machine does hits both; the median of the
 * ratios counts. Freed pages are zeroed in the background, between the turns.
 * Two threads that only count, and faults of anonymous memory, tell what the
 * machine itself leaves.
 *
 * usage: threads [rounds]
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "pagewell.h"

#define PAGE	4096UL
#define MIB	(1UL << 20)
#define AREA	(48 * MIB)
#define COUNTS	3000000L

static int fd;
static pthread_barrier_t start;
static volatile bool stop;

struct worker {
	void (*work)(struct worker *w);
	int cpu;
	bool anon;
	char *area;
	double units, rate;
};

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static char *map(size_t len)
{
	struct pagewell_map m = { .size = sizeof(m), .length = len, .align = 2 * MIB };

	if (ioctl(fd, PAGEWELL_IOC_MAP, &m))
		err(1, "map");
	return (char *)m.addr;
}

static void unmap(char *p, size_t len)
{
	struct pagewell_unmap u = {
		.size = sizeof(u), .addr = (unsigned long)p, .length = len,
	};

	if (ioctl(fd, PAGEWELL_IOC_UNMAP, &u))
		err(1, "unmap");
}

static char *map_area(bool anon)
{
	char *p;

	if (!anon)
		return map(AREA);
	p = mmap(NULL, AREA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		err(1, "mmap");
	madvise(p, AREA, MADV_NOHUGEPAGE);
	return p;
}

static void unmap_area(char *p, bool anon)
{
	if (anon)
		munmap(p, AREA);
	else
		unmap(p, AREA);
}

/* First touches of an area; whoever does something else stops then. */
static void fault(struct worker *w)
{
	for (size_t at = 0; at < AREA; at += PAGE)
		w->area[at] = 1;
	w->units = AREA / PAGE;
	stop = true;
}

static void count(struct worker *w)
{
	for (volatile long i = 0; i < COUNTS; i++)
		;
	w->units = COUNTS;
}

static void map_unmap(struct worker *w)
{
	for (w->units = 0; !stop; w->units++)
		unmap(map(MIB), MIB);
}

static void *run(void *arg)
{
	struct worker *w = arg;
	cpu_set_t set;
	double t;

	CPU_ZERO(&set);
	CPU_SET(w->cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
	pthread_barrier_wait(&start);
	t = now();
	w->work(w);
	w->rate = w->units / (now() - t);
	return NULL;
}

static void turn(struct worker *w, int n)
{
	pthread_t threads[2];
	bool ends = false;

	stop = false;
	for (int i = 0; i < n; i++) {
		if (w[i].work != fault)
			continue;
		w[i].area = map_area(w[i].anon);
		ends = true;
	}
	pthread_barrier_init(&start, NULL, n + 1);
	for (int i = 0; i < n; i++)
		if (pthread_create(&threads[i], NULL, run, &w[i]))
			errx(1, "no thread");
	pthread_barrier_wait(&start);
	if (!ends) {
		usleep(100000);
		stop = true;
	}
	for (int i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&start);
	for (int i = 0; i < n; i++)
		if (w[i].work == fault)
			unmap_area(w[i].area, w[i].anon);
	usleep(500000);
}

static int compare(const void *a, const void *b)
{
	double d = *(const double *)a - *(const double *)b;

	return d < 0 ? -1 : d > 0;
}

/* Each one's share of what it does alone, added up. */
static void measure(const char *what, struct worker *w, int rounds)
{
	double ratios[rounds], alone[2] = { 0 };

	for (int i = 0; i < rounds; i++) {
		double sum = 0;

		for (int k = 0; k < 2; k++) {
			turn(&w[k], 1);
			alone[k] = w[k].rate;
		}
		turn(w, 2);
		for (int k = 0; k < 2; k++)
			sum += w[k].rate / alone[k];
		ratios[i] = sum;
	}
	qsort(ratios, rounds, sizeof(*ratios), compare);
	printf("%-52s %6.2f   (%.2f to %.2f)\n", what, ratios[rounds / 2], ratios[0],
	       ratios[rounds - 1]);
}

int main(int argc, char **argv)
{
	struct pagewell_heap h = {
		.size = sizeof(h), .set = PAGEWELL_SET_HUGE, .huge = PAGEWELL_HUGE_NEVER,
	};
	int rounds = argc > 1 ? atoi(argv[1]) : 15;
	struct worker faults[2] = { { fault, 0 }, { fault, 1 } };
	struct worker anon[2] = { { fault, 0, true }, { fault, 1, true } };
	struct worker counts[2] = { { count, 0 }, { count, 1 } };
	struct worker mixed[2] = { { fault, 0 }, { map_unmap, 1 } };

	if (rounds < 1)
		errx(2, "usage: threads [rounds]");
	fd = open(PAGEWELL_DEVICE, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		err(1, PAGEWELL_DEVICE);
	if (mmap(NULL, 256 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED)
		err(1, "mmap");
	if (ioctl(fd, PAGEWELL_IOC_HEAP, &h))
		err(1, "policy");
	printf("%-52s %6s\n", "two threads on two processors, one alone is 1", "median");
	measure("both count", counts, rounds);
	measure("both fault, anonymous memory", anon, rounds);
	measure("both fault", faults, rounds);
	measure("one faults, the other maps and unmaps all the time", mixed, rounds);
	return 0;
}
