// SPDX-License-Identifier: GPL-2.0-only
/*
 * pairs.c - loops whose instructions are counted
 *
 * usage: pairs LOOP ROUNDS
 *
 * Each loop does a fixed number of malloc() and free() pairs a round. Count
 * the instructions of two runs with different ROUNDS: the difference, divided
 * by the pairs between, is free of start-up and of the first round.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAIRS	1000
#define LIVE	20000

static void *held[LIVE];

static void pair(size_t size)
{
	int i;

	for (i = 0; i < PAIRS; i++)
		free(malloc(size));
}

static void fifo(size_t size, int blocks)
{
	int i;

	for (i = 0; i < blocks; i++)
		held[i] = malloc(size);
	for (i = 0; i < blocks; i++)
		free(held[i]);
}

/* Replaces random blocks by others of random size; none to begin with. */
static void random_sizes(size_t max)
{
	static uint32_t r = 1;
	int i;

	for (i = 0; i < LIVE; i++) {
		void **h;

		r = r * 1664525 + 1013904223;
		h = &held[(uint64_t)r * LIVE >> 32];
		free(*h);
		*h = malloc(((r >> 4) & (max - 1)) + 1);
	}
}

static void callocs(size_t size)
{
	int i;

	for (i = 0; i < PAIRS; i++)
		free(calloc(1, size));
}

static void memaligns(size_t size)
{
	void *p;
	int i;

	for (i = 0; i < PAIRS; i++) {
		if (posix_memalign(&p, 64, size))
			abort();
		free(p);
	}
}

static void reallocs(size_t step)
{
	void *p = NULL;
	size_t i;

	for (i = 1; i <= PAIRS; i++)
		p = realloc(p, i * step);
	free(p);
}

/* One thread at a time runs, so that the count is of the work alone. */
static pthread_barrier_t barrier;
static int remote_rounds;

static void *free_all(void *arg)
{
	int round, i;

	for (round = 0; round < remote_rounds; round++) {
		pthread_barrier_wait(&barrier);
		for (i = 0; i < PAIRS; i++)
			free(held[i]);
		pthread_barrier_wait(&barrier);
	}
	return arg;
}

static void remote(size_t size, int rounds)
{
	pthread_t thread;
	int round, i;

	remote_rounds = rounds;
	pthread_barrier_init(&barrier, NULL, 2);
	pthread_create(&thread, NULL, free_all, NULL);
	for (round = 0; round < rounds; round++) {
		for (i = 0; i < PAIRS; i++)
			held[i] = malloc(size);
		pthread_barrier_wait(&barrier);
		pthread_barrier_wait(&barrier);
	}
	pthread_join(thread, NULL);
}

int main(int argc, char **argv)
{
	const char *loop = argc > 2 ? argv[1] : "";
	int rounds = argc > 2 ? atoi(argv[2]) : 0, i;
	size_t size = strpbrk(loop, "0123456789") ?
		      strtoul(strpbrk(loop, "0123456789"), NULL, 10) : 0;

	if (!size || !rounds) {
		fprintf(stderr, "usage: pairs onceN|pairN|fifoN|fewN|randomN|callocN|memalignN|reallocN|remoteN ROUNDS\n");
		return 2;
	}
	if (!strncmp(loop, "once", 4)) {
		free(malloc(size));
		return 0;
	}
	if (!strncmp(loop, "remote", 6)) {
		remote(size, rounds);
		return 0;
	}
	for (i = 0; i < rounds; i++) {
		if (!strncmp(loop, "pair", 4))
			pair(size);
		else if (!strncmp(loop, "fifo", 4))
			fifo(size, PAIRS);
		else if (!strncmp(loop, "few", 3))
			fifo(size, 100);
		else if (!strncmp(loop, "random", 6))
			random_sizes(size);
		else if (!strncmp(loop, "calloc", 6))
			callocs(size);
		else if (!strncmp(loop, "memalign", 8))
			memaligns(size);
		else if (!strncmp(loop, "realloc", 7))
			reallocs(size);
	}
	return 0;
}
