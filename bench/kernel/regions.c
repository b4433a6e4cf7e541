// SPDX-License-Identifier: GPL-2.0-only
/*
 * regions.c - what an operation costs among a million regions, beside a hundred
 *
 * Meant for `scripts/vm --icount`, as ops.c is. The regions lie evenly over one
 * and the same range of addresses, a page each, so that what differs is their
 * number alone: neither page tables nor the index of pages.
 *
 * usage: regions [settle-seconds]
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "pagewell.h"

#define PAGE	4096UL
#define MIB	(1UL << 20)
#define FEW	100
#define MANY	1000000UL
#define SPAN	(2 * MANY * PAGE)	/* every other page, when there are many */

static int fd;
static char *heap;

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1e9 + ts.tv_nsec;
}

/* Lazy: a million pages that nobody touches are not to be promised. */
static void map_heap(void)
{
	struct pagewell_heap h = {
		.size = sizeof(h), .set = PAGEWELL_SET_COMMIT | PAGEWELL_SET_HUGE,
		.commit = PAGEWELL_COMMIT_LAZY, .huge = PAGEWELL_HUGE_NEVER,
	};

	heap = mmap(NULL, SPAN + 16 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (heap == MAP_FAILED)
		err(1, "mmap " PAGEWELL_DEVICE);
	if (ioctl(fd, PAGEWELL_IOC_HEAP, &h))
		err(1, "policy");
}

static char *map_at(char *at, size_t len)
{
	struct pagewell_map m = {
		.size = sizeof(m), .length = len, .addr = (unsigned long)at,
		.flags = at ? PAGEWELL_MAP_FIXED_NOREPLACE : 0,
	};

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

struct cost {
	double anywhere, between, touch;
};

/* One in FEW of the regions, in an order in which no two are near each other. */
static char *nth(unsigned long i)
{
	return heap + i * 37 % FEW * (SPAN / FEW);
}

static double map_anywhere(void)
{
	const int n = 1000;
	double t = now();

	for (int i = 0; i < n; i++)
		unmap(map_at(NULL, MIB), MIB);
	return (now() - t) / n;
}

static double map_between(void)
{
	const int n = 1000;
	double t = now();

	for (int i = 0; i < n; i++) {
		char *at = nth(i) + PAGE;

		map_at(at, PAGE);
		unmap(at, PAGE);
	}
	return (now() - t) / n;
}

static double touch(void)
{
	double t = now();

	for (int i = 0; i < FEW; i++)
		*nth(i) = 1;
	return (now() - t) / FEW;
}

static struct cost measure(unsigned long regions)
{
	struct cost c;

	map_heap();
	for (unsigned long i = 0; i < regions; i++)
		map_at(heap + i * (SPAN / regions), PAGE);
	map_anywhere();
	c.anywhere = map_anywhere();
	c.between = map_between();
	c.touch = touch();
	if (munmap(heap, SPAN + 16 * MIB))
		err(1, "munmap");
	return c;
}

static void row(const char *what, double few, double many)
{
	printf("%-44s %10.0f %10.0f %7.3f\n", what, few, many, many / few);
}

int main(int argc, char **argv)
{
	struct cost few, many;

	fd = open(PAGEWELL_DEVICE, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		err(1, PAGEWELL_DEVICE);
	sleep(argc > 1 ? atoi(argv[1]) : 0);
	few = measure(FEW);
	many = measure(MANY);
	printf("%-44s %10d %10lu %7s\n", "regions", FEW, MANY, "ratio");
	row("map and unmap 1 MiB, anywhere", few.anywhere, many.anywhere);
	row("map and unmap a page between two others", few.between, many.between);
	row("first touch, far from any other", few.touch, many.touch);
	return 0;
}
