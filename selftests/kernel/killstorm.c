// SPDX-License-Identifier: GPL-2.0-only
/*
 * killstorm.c - processes are killed at any moment: every page comes back
 *
 * killstorm [SEED [PROCESSES]]. The seed is printed.
 */
#define PW_NO_HARNESS
#include "pw_test.h"

#define ALIVE 4		/* at a time, and their children */

/* Everything may be refused: the pool is shared, and the heap has a limit. */
static bool done(int err)
{
	CHECK(err == 0 || err == -ENOMEM);
	return !err;
}

static void fork_some(int *forks, uint64_t *rnd)
{
	if (!*forks)
		return;
	--*forks;
	if (!pw_fork())
		*rnd ^= 0xabcdef;
}

static void churn(struct pw *h, uint64_t rnd)
{
	int forks = 1;
	uint32_t id;
	char *start;

	CHECK(pw_brk_create(h->fd, 4 * MIB, &id, &start) == 0);
	for (;;) {
		size_t pages = 1 + pw_random(&rnd) % 200;
		char *p;

		done(pw_brk(h->fd, id, start + pw_random(&rnd) % 900 * PAGE, NULL));
		pw_try_write(start + rnd % 900 * PAGE, 1);
		if (rnd % 6 == 0)
			fork_some(&forks, &rnd);
		if (!done(pw_map(h->fd, rnd % 5 ? 0 : PAGEWELL_MAP_POPULATE, NULL,
				 pages * PAGE, 0, &p)))
			continue;
		for (size_t i = 0; i < pages; i += 1 + rnd % 3)
			pw_try_write(p + i * PAGE, 1);
		if (rnd % 4 == 0)
			done(pw_remap(h->fd, PAGEWELL_REMAP_MAYMOVE, p, pages * PAGE,
				      (pages + 50) * PAGE, &p));
		if (rnd % 3)
			CHECK(pw_unmap(h->fd, p, pages * PAGE) == 0);
	}
}

static void *thread(void *arg)
{
	churn(arg, 4711);
	return NULL;
}

static pid_t victim(uint64_t rnd)
{
	pid_t pid = pw_fork();
	pthread_t t;
	struct pw h;

	if (pid)
		return pid;
	/* The killer must get its turn. */
	CHECK(setpriority(PRIO_PROCESS, 0, 10) == 0);
	pw_heap(&h, 64 * MIB);
	CHECK(pw_set_limit(h.fd, 16 * MIB) == 0);
	/* Some of them with a thread, which dies in the middle of it, too. */
	if (rnd % 4 == 0)
		CHECK(pthread_create(&t, NULL, thread, &h) == 0);
	churn(&h, rnd | 1);
	_exit(0);
}

/*
 * Whoever is dead: victims, and their children, which come to us. Return:
 * whether all of them died as they should, of SIGKILL.
 */
static bool reap(int flags)
{
	bool ok = true;
	int status;

	while (waitpid(-1, &status, flags) > 0)
		ok &= WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
	return ok;
}

int main(int argc, char **argv)
{
	uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : (uint64_t)time(NULL);
	long count = argc > 2 ? atol(argv[2]) : pw_scaled(1000);
	uint64_t rnd = seed * 0x9e3779b97f4a7c15ULL | 1;
	pid_t alive[ALIVE] = { 0 };
	bool ok = true;

	ksft_print_header();
	ksft_set_plan(2);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	setpriority(PRIO_PROCESS, 0, -10);
	for (long i = 0; i < count + ALIVE; i++) {
		pid_t *slot = &alive[i % ALIVE];

		if (*slot)
			kill(*slot, SIGKILL);
		*slot = i < count ? victim(pw_random(&rnd)) : 0;
		usleep(pw_random(&rnd) % 4000);
		ok &= reap(WNOHANG);
	}
	ok &= reap(0);
	ksft_test_result(ok, "%ld processes killed, seed %#lx\n", count, (unsigned long)seed);
	ksft_test_result(pw_pool_whole(), "pool is whole\n");
	ksft_finished();
}
