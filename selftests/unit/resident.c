// SPDX-License-Identifier: GPL-2.0-only
/*
 * resident.c - how much memory the heap has when the program has let go of it
 *
 * Linked with the library itself: sanitizers' memory is not of interest here.
 */
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest.h"
#include "../../userlib/pagewell.h"

#define KIB	1024UL
#define MIB	(1024 * KIB)

/* Without a block of its own. */
static size_t resident(void)
{
	int fd = open("/proc/self/statm", O_RDONLY);
	unsigned long size, pages;
	char text[128] = "";

	if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0 ||
	    sscanf(text, "%lu %lu", &size, &pages) != 2)
		ksft_exit_fail_msg("/proc/self/statm cannot be read\n");
	close(fd);
	return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static uint32_t next(uint32_t *state)
{
	*state = *state * 1664525 + 1013904223;
	return *state >> 8;
}

/* ---- many blocks, and then few or none ---- */

#define BLOCKS	400000

static char *blocks[BLOCKS];

static void shuffle(void)
{
	uint32_t state = 1;
	int i;

	for (i = BLOCKS - 1; i > 0; i--) {
		int other = (int)(next(&state) % (uint32_t)(i + 1));
		char *p = blocks[i];

		blocks[i] = blocks[other];
		blocks[other] = p;
	}
}

/* What is resident of blocks of @size when the first @freed of them went. */
static size_t left_of(size_t size, int freed, bool random)
{
	size_t before;
	int i;

	memset(blocks, 1, sizeof(blocks));
	before = resident();
	for (i = 0; i < BLOCKS; i++) {
		blocks[i] = malloc(size);
		if (!blocks[i])
			ksft_exit_fail_msg("no memory\n");
		memset(blocks[i], 1, size);
	}
	if (random)
		shuffle();
	for (i = 0; i < freed; i++)
		free(blocks[i]);
	return resident() - before;
}

/*
 * In a process of its own, with nothing to go by but its frees. With @first, if not 0, as
 * many blocks of that size came and went before.
 */
static bool no_more_is_left_then(size_t first, size_t size, int freed, bool random, size_t most)
{
	pid_t pid;
	int status;

	fflush(stdout);
	pid = fork();
	if (!pid) {
		size_t before = first ? left_of(first, BLOCKS, false) : 0;
		size_t left = left_of(size, freed, random) + before;

		printf("# %d of %zu bytes, %d freed%s: %zu KiB, at most %zu\n", BLOCKS, size,
		       freed, random ? " in any order" : "", left / KIB, most / KIB);
		fflush(stdout);
		_exit(left > most);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && !status;
}

static bool no_more_is_left(size_t size, int freed, bool random, size_t most)
{
	return no_more_is_left_then(0, size, freed, random, most);
}

static bool all_freed(void)
{
	static const size_t sizes[] = { 16, 32, 64, 100, 1000 };
	bool good = true;
	unsigned int i;

	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		good &= no_more_is_left(sizes[i], BLOCKS, false, 8 * MIB);
		good &= no_more_is_left(sizes[i], BLOCKS, true, 8 * MIB);
	}
	/* A phase that is much larger than one that has just ended. */
	good &= no_more_is_left_then(100, 1000, BLOCKS, false, 8 * MIB);
	return good;
}

static bool most_freed(void)
{
	const int few = BLOCKS / 50;

	return no_more_is_left(1000, BLOCKS - few, false, few * 1000UL * 3 / 2) &
	       no_more_is_left(4000, BLOCKS - few, false, few * 4000UL * 3 / 2);
}

/* Are huge pages asked for anywhere? The kernel would fill what went back again. */
static bool huge_asked_for(void)
{
	FILE *f = fopen("/proc/self/smaps", "r");
	char line[512];
	bool found = false;

	while (f && fgets(line, sizeof(line), f))
		found |= !strncmp(line, "VmFlags:", 8) && strstr(line, " hg");
	if (f)
		fclose(f);
	return found;
}

static bool stays_returned(void)
{
	pid_t pid;
	int status;

	fflush(stdout);
	pid = fork();
	if (!pid) {
		left_of(1000, BLOCKS / 50 * 49, true);
		_exit(huge_asked_for());
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && !status;
}

/* ---- phases of other sizes, of which a few blocks are left each time ---- */

#define SLOTS	60000
#define PHASES	40

static struct slot {
	char *block;
	size_t size;
} slots[SLOTS];

/* Gives most slots blocks of new sizes; how many bytes the blocks have then. */
static size_t phase(uint32_t *state)
{
	size_t from = 16 + next(state) % 60 * 16, range = 16 + next(state) % 500, sum = 0;
	struct slot *s;

	for (s = slots; s < slots + SLOTS; s++) {
		if (!s->block || next(state) % 5) {
			free(s->block);
			s->size = from + next(state) % range;
			s->block = malloc(s->size);
			if (!s->block)
				ksft_exit_fail_msg("no memory\n");
			s->block[0] = 1;
		}
		sum += s->size;
	}
	return sum;
}

/* The most that is resident is less than 15/8 of the most that the program had. */
static bool phases_are_few_bytes(uint32_t state)
{
	size_t most = 0, had = 0, before, now;
	int i;

	memset(slots, 0, sizeof(slots));
	before = resident();
	for (i = 0; i < PHASES; i++) {
		now = phase(&state);
		had = now > had ? now : had;
		now = resident() - before;
		most = now > most ? now : most;
	}
	printf("# %zu MiB of blocks, %zu MiB resident\n", had / MIB, most / MIB);
	fflush(stdout);
	return most < had / 8 * 15;
}

static bool phases(void)
{
	static const uint32_t seeds[] = { 1, 3, 6 };
	bool good = true;
	unsigned int i;

	for (i = 0; i < sizeof(seeds) / sizeof(seeds[0]); i++) {
		int status;
		pid_t pid;

		fflush(stdout);
		pid = fork();
		if (!pid)
			_exit(!phases_are_few_bytes(seeds[i]));
		good &= pid > 0 && waitpid(pid, &status, 0) == pid && !status;
	}
	return good;
}

/* ---- threads ---- */

/* libc may free something for a thread when its end was seen already. */
static void *nothing(void *arg)
{
	return arg;
}

static int nr_threads(void)
{
	FILE *f = fopen("/proc/self/status", "r");
	char line[256];
	int nr = 0;

	while (f && !nr && fgets(line, sizeof(line), f))
		sscanf(line, "Threads: %d", &nr);
	if (!nr)
		ksft_exit_fail_msg("/proc/self/status says nothing of threads\n");
	fclose(f);
	return nr;
}

/* With no thread that is detached and at its end still. */
static size_t resident_alone(void)
{
	int i;

	for (i = 0; i < 30000 && nr_threads() > 1; i++)
		usleep(1000);
	return resident();
}

static bool short_threads(void)
{
	pthread_attr_t attr;
	size_t before = 0, after;
	pthread_t thread;
	int i;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	for (i = 0; i < 20000; i++) {
		if (i == 4000)
			before = resident_alone();
		while (pthread_create(&thread, &attr, nothing, NULL))
			usleep(1000);
		if (i % 100 == 99)
			usleep(2000);
	}
	pthread_attr_destroy(&attr);
	after = resident_alone();
	printf("# 16000 detached threads: %zd KiB more\n",
	       (ssize_t)(after - before) / (ssize_t)KIB);
	return after < before + 2 * MIB;
}

static pthread_barrier_t barrier;

#define THREADS	20
#define LARGE	300

static void *hoard(void *arg)
{
	void *p[LARGE];
	int round, i;

	for (round = 0; round < 20; round++) {
		for (i = 0; i < LARGE; i++) {
			p[i] = malloc(64 * KIB);
			memset(p[i], 1, 64 * KIB);
		}
		for (i = 0; i < LARGE; i++)
			free(p[i]);
	}
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	return arg;
}

#define SIZES	10

/* One block of each of a few sizes, at the same time. */
static void *use_sizes(void *arg)
{
	size_t size = 300 * KIB;
	void *p[SIZES];
	int i;

	free(malloc(100));
	/* How much a thread may keep depends on how many there are. */
	pthread_barrier_wait(&barrier);
	for (i = 0; i < SIZES; i++, size += 400 * KIB) {
		p[i] = malloc(size);
		memset(p[i], 1, size);
	}
	for (i = 0; i < SIZES; i++)
		free(p[i]);
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	return arg;
}

static bool idle_threads_of_many_sizes(void)
{
	pthread_t threads[THREADS];
	size_t left;
	int i;

	mallopt(M_MMAP_THRESHOLD, 32 * MIB);
	left = resident();
	pthread_barrier_init(&barrier, NULL, THREADS + 1);
	for (i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, use_sizes, NULL);
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	malloc_trim(0);
	left = resident() - left;
	pthread_barrier_wait(&barrier);
	for (i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	printf("# %zd MiB\n", (ssize_t)left / (ssize_t)MIB);
	return (ssize_t)left < (ssize_t)(160 * MIB);
}

/* What threads keep that do nothing any more is out of the others' reach. */
static bool idle_threads(void)
{
	pthread_t threads[THREADS];
	size_t left;
	int i;

	pthread_barrier_init(&barrier, NULL, THREADS + 1);
	for (i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, hoard, NULL);
	pthread_barrier_wait(&barrier);
	malloc_trim(0);
	left = resident();
	pthread_barrier_wait(&barrier);
	for (i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	printf("# %zu MiB of %lu\n", left / MIB, THREADS * LARGE * 64 * KIB / MIB);
	return left < 200 * MIB;
}

#define BIG	200

/* Two arenas side by side, of small blocks and of big ones, that grow and fall in turns. */
static void grow_and_fall(void)
{
	static char *big[BIG], *small[BIG][10000];
	int i, k;

	for (i = 0; i < BIG; i++) {
		for (k = 0; k < 10000; k++)
			small[i][k] = malloc(100);
		big[i] = malloc(700 * KIB);
	}
	for (i = 0; i < BIG; i++) {
		for (k = 0; k < 10000; k++)
			free(small[i][k]);
		free(big[i]);
	}
	malloc_trim(0);
}

/*
 * A heap that has just been trimmed is given what it asks for, not a huge page: a program
 * that trims all the time would wait for one each time.
 */
static bool trimmed(void)
{
	size_t before, most = 0;
	int i, round, status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid)
		return pid > 0 && waitpid(pid, &status, 0) == pid && !status;

	for (i = 0; i < 4000; i++)
		memset(blocks[i] = malloc(16000), 1, 16000);
	for (round = 0; round < 20; round++) {
		malloc_trim(0);
		before = resident();
		for (i = 4000; i < 4008; i++)
			memset(blocks[i] = malloc(30000), 1, 30000);
		if (resident() - before > most)
			most = resident() - before;
		for (i = 4000; i < 4008; i++)
			free(blocks[i]);
	}
	printf("# %zu KiB for 8 blocks of 30,000 bytes\n", most / KIB);
	fflush(stdout);
	_exit(most >= MIB);
}

/* Addresses that were used, and the tables for them, are used again. */
static bool addresses(void)
{
	struct pagewell_stats early, late;
	int i;

	mallopt(M_MMAP_THRESHOLD, 32 * MIB);
	for (i = 0; i < 12; i++) {
		grow_and_fall();
		pagewell_get_stats(i < 4 ? &early : &late, sizeof(early));
		printf("# %zu KiB of tables\n", (i < 4 ? early : late).tables / KIB);
	}
	return late.tables <= early.tables;
}

int main(void)
{
	ksft_print_header();
	ksft_set_plan(9);
	ksft_test_result(trimmed(), "no huge page for each malloc_trim()\n");
	ksft_test_result(all_freed(), "all blocks freed\n");
	ksft_test_result(most_freed(), "all but a few that lie together\n");
	ksft_test_result(stays_returned(), "no huge pages where parts went back\n");
	ksft_test_result(phases(), "phases of other sizes\n");
	ksft_test_result(short_threads(), "threads that call nothing leave nothing\n");
	ksft_test_result(idle_threads(), "caches of threads that are idle\n");
	ksft_test_result(idle_threads_of_many_sizes(), "the same with blocks of many sizes\n");
	ksft_test_result(addresses(), "addresses of arenas that fell\n");
	ksft_finished();
}
