// SPDX-License-Identifier: GPL-2.0-only
/*
 * many_threads.c - 10,000 threads at once, each with blocks of its own
 *
 * Linked with the library itself, without sanitizers, which would need a
 * thousand times the memory for each thread.
 */
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../userlib/pagewell.h"

#include "kselftest.h"

#define THREADS	10000
#define BLOCKS	8
#define ROUNDS	4
#define STACK	(64 * 1024)

static pthread_t threads[THREADS];
static unsigned char *blocks[THREADS][BLOCKS];
static pthread_barrier_t all_there, all_filled;
static unsigned int wrong;

static int idle(void *arg)
{
	for (;;)
		pause();
	return arg != NULL;
}

/* As many threads as libc makes them, with a guard each, but without malloc(). */
static bool have_threads(void)
{
	const int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
			  CLONE_SYSVSEM;
	const size_t guard = 4096;
	unsigned int i;
	char *stack;

	for (i = 0; i < THREADS; i++) {
		stack = mmap(NULL, guard + STACK, PROT_NONE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
		if (stack == MAP_FAILED ||
		    mprotect(stack + guard, STACK, PROT_READ | PROT_WRITE) ||
		    clone(idle, stack + guard + STACK, flags, NULL) < 0)
			return false;
	}
	return true;
}

/* Does this machine let us have them? The library has no part in the answer. */
static bool can_have_threads(void)
{
	int status;
	pid_t pid = fork();

	if (!pid)
		_exit(!have_threads());
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		ksft_exit_fail_msg("a child that makes threads came to harm\n");
	return !WEXITSTATUS(status);
}

static size_t size_of(unsigned int thread, unsigned int block)
{
	return 1 + (thread * 37 + block * 1013) % 3000;
}

static unsigned char mark_of(unsigned int thread, unsigned int block)
{
	return (unsigned char)(thread * 13 + block * 5 + 1);
}

static void fill(unsigned int t)
{
	unsigned int i;

	for (i = 0; i < BLOCKS; i++) {
		size_t size = size_of(t, i);
		unsigned char *p = malloc(size);

		if (!p) {
			__atomic_fetch_add(&wrong, 1, __ATOMIC_RELAXED);
			continue;
		}
		memset(p, mark_of(t, i), size);
		blocks[t][i] = p;
	}
}

/* Another thread's blocks, which nobody may have written to since. */
static void check_and_free(unsigned int t)
{
	unsigned int i;

	for (i = 0; i < BLOCKS; i++) {
		size_t size = size_of(t, i), at;
		unsigned char *p = blocks[t][i];

		for (at = 0; p && at < size; at++)
			if (p[at] != mark_of(t, i)) {
				__atomic_fetch_add(&wrong, 1, __ATOMIC_RELAXED);
				break;
			}
		free(p);
		blocks[t][i] = NULL;
	}
}

static void *one(void *arg)
{
	unsigned int t = (unsigned int)(uintptr_t)arg;

	pthread_barrier_wait(&all_there);
	fill(t);
	pthread_barrier_wait(&all_filled);
	check_and_free((t + 1) % THREADS);
	return arg;
}

/* How many threads there were; all of them ran, or none. */
static unsigned int run_all(void)
{
	pthread_attr_t attr;
	unsigned int i;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK);
	pthread_barrier_init(&all_there, NULL, THREADS);
	pthread_barrier_init(&all_filled, NULL, THREADS);
	for (i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], &attr, one, (void *)(uintptr_t)i))
			return i;
	for (i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&all_there);
	pthread_barrier_destroy(&all_filled);
	pthread_attr_destroy(&attr);
	return i;
}

static struct pagewell_stats stats(void)
{
	struct pagewell_stats s;

	pagewell_get_stats(&s, sizeof(s));
	return s;
}

int main(void)
{
	struct pagewell_stats before, first, last;
	unsigned int ran, round;

	setbuf(stdout, NULL);
	ksft_print_header();
	if (!can_have_threads())
		ksft_exit_skip("this machine does not let us have %u threads\n", THREADS);
	before = stats();
	ran = run_all();
	if (ran < THREADS)
		ksft_exit_fail_msg("pthread_create() failed after %u threads\n", ran);
	first = stats();
	ksft_set_plan(4);
	ksft_test_result(!wrong, "blocks of %u threads stay as they are\n", THREADS);
	ksft_test_result(first.in_use <= before.in_use + 256 * 1024,
			 "exiting threads leave nothing in use: %zu, then %zu bytes\n",
			 before.in_use, first.in_use);
	for (round = 1; round < ROUNDS && ran == THREADS; round++)
		ran = run_all();
	last = stats();
	ksft_test_result(ran == THREADS && !wrong, "the same again, %d times\n", ROUNDS - 1);
	/* Notes of all threads that ever were would take 40 MiB a round. */
	ksft_test_result(last.tables < 128 * 1024 * 1024,
			 "threads that are gone leave no notes: tables %zu, then %zu bytes\n",
			 first.tables, last.tables);
	ksft_finished();
}
