// SPDX-License-Identifier: GPL-2.0-only
/*
 * free.c - advice that the contents of pages may go
 */
#include <pthread.h>

#include "pw_test.h"

#define NR	3000

FIXTURE(free) {
	struct pw h;
	char *p;
};

FIXTURE_SETUP(free)
{
	pw_heap(&self->h, 64 * MIB);
	ASSERT_EQ(0, pw_set_commit(self->h.fd, PAGEWELL_COMMIT_LAZY));
	self->p = pw_map_pages(&self->h, NR);
	pw_fill(self->p, NR, 1);
}

FIXTURE_TEARDOWN(free)
{
	close(self->h.fd);
}

static int give(struct pw *h, char *p, long nr)
{
	return pw_advise(h->fd, PAGEWELL_ADVISE_FREE, p, nr * PAGE);
}

/* Pages that have kept what pw_fill() wrote; any other reads as zero. */
static long kept(const char *p, long nr, uint64_t seed)
{
	long n = 0;

	for (long i = 0; i < nr; i++) {
		const uint64_t *w = (const void *)(p + i * PAGE);

		if (!*w) {
			CHECK(pw_nonzero(p + i * PAGE, 1) == -1);
			continue;
		}
		for (int k = 0; k < 512; k++)
			CHECK(w[k] == pw_word(seed, i, k));
		n++;
	}
	return n;
}

static long rss(struct pw *h)
{
	return pw_smaps(h->base, h->len, "Rss") / 4;
}

TEST_F(free, kept_while_there_is_enough)
{
	ASSERT_EQ(0, give(&self->h, self->p + PAGE, NR - 2));
	EXPECT_EQ(2, rss(&self->h));
	EXPECT_EQ(NR * PAGE, pw_resident(self->h.fd));
	EXPECT_EQ(-1, pw_wrong(self->p, NR, 1));
	EXPECT_EQ(NR, rss(&self->h));
	pw_fill(self->p, NR, 2);
	EXPECT_EQ(-1, pw_wrong(self->p, NR, 2));
}

/* Touched again, read or written, a page is as safe as before. */
TEST_F(free, goes_when_the_pool_is_short)
{
	long taken = pw_stat("loose_taken");
	pid_t hog;

	ASSERT_EQ(0, give(&self->h, self->p, NR));
	EXPECT_EQ(-1, pw_wrong(self->p, 512, 1));
	self->p[1000 * PAGE] = 1;
	hog = pw_hog(&self->h);
	EXPECT_GE(pw_stat("loose_taken") - taken, NR - 512 - 512);
	EXPECT_EQ(-1, pw_wrong(self->p, 512, 1));
	EXPECT_EQ(1, self->p[1000 * PAGE]);
	EXPECT_LE(pw_resident(self->h.fd), 1100 * PAGE);
	pw_hog_stop(hog);
	self->p[1000 * PAGE] = (char)pw_word(1, 1000, 0);
	EXPECT_LE(kept(self->p, NR, 1), 1100);
	pw_fill(self->p, NR, 2);
	EXPECT_EQ(-1, pw_wrong(self->p, NR, 2));
}

/* Nor does it go for a request that no pool of this size can meet. */
TEST_F(free, kept_when_too_much_is_asked_for)
{
	long taken = pw_stat("loose_taken");
	pid_t pid;

	ASSERT_EQ(0, give(&self->h, self->p, NR));
	pid = pw_fork();
	if (!pid) {
		size_t all = pw_pool("max_pages") * PAGE;
		struct pw h;

		CHECK(munmap(self->h.base, self->h.len) == 0);
		pw_heap(&h, 4 * MIB);
		for (int i = 0; i < 10; i++)
			CHECK(pw_map(h.fd, 0, NULL, all + PAGE, 0, NULL) == -ENOMEM);
		exit(0);
	}
	EXPECT_EQ(0, pw_wait(pid));
	EXPECT_EQ(taken, pw_stat("loose_taken"));
	EXPECT_EQ(NR, kept(self->p, NR, 1));
}

TEST_F(free, own_touches_take_them)
{
	long room = pw_pool("max_pages") + NR;
	char *q = pw_map_pages(&self->h, room);
	long n;

	ASSERT_EQ(0, give(&self->h, self->p, NR));
	for (n = 0; n < room && !pw_try_write(q + n * PAGE, 1); n++)
		;
	EXPECT_LT(n, room);
	EXPECT_GE(pw_resident(self->h.fd), n * PAGE);
	ASSERT_EQ(0, pw_unmap(self->h.fd, q, room * PAGE));
	EXPECT_EQ(0, kept(self->p, NR, 1));
}

TEST_F(free, a_strict_heap_keeps_everything)
{
	pid_t pid = pw_fork(), hog;
	struct pw h;
	char *p;

	if (!pid) {
		CHECK(munmap(self->h.base, self->h.len) == 0);
		pw_heap(&h, 16 * MIB);
		p = pw_map_pages(&h, 2000);
		pw_fill(p, 2000, 3);
		CHECK(give(&h, p, 2000) == 0);
		hog = pw_hog(&h);
		CHECK(pw_wrong(p, 2000, 3) == -1);
		pw_hog_stop(hog);
		exit(0);
	}
	EXPECT_EQ(0, pw_wait(pid));
}

/* What a child shares is not taken; what it gave up is its own affair. */
TEST_F(free, fork)
{
	pid_t pid, hog;

	ASSERT_EQ(0, give(&self->h, self->p, 600));
	pid = pw_fork();
	if (!pid) {
		CHECK(pw_wrong(self->p, NR, 1) == -1);
		CHECK(give(&self->h, self->p, NR) == 0);
		hog = pw_hog(&self->h);
		CHECK(kept(self->p, NR, 1) == NR);
		pw_hog_stop(hog);
		exit(0);
	}
	EXPECT_EQ(0, pw_wait(pid));
	EXPECT_EQ(-1, pw_wrong(self->p, NR, 1));
}

/* What it gives up after its parent has gone goes, whatever the two did before. */
TEST_F(free, child_alone)
{
	int *step = pw_shared();
	pid_t pid, hog;

	ASSERT_EQ(0, give(&self->h, self->p, NR));
	pid = pw_fork();
	if (!pid) {
		CHECK(pw_wrong(self->p, NR, 1) == -1);
		pw_set(step, 1);
		pw_wait_for(step, 2);
		CHECK(give(&self->h, self->p, NR) == 0);
		hog = pw_hog(&self->h);
		pw_hog_stop(hog);
		CHECK(kept(self->p, NR, 1) == 0);
		exit(0);
	}
	pw_wait_for(step, 1);
	ASSERT_EQ(0, munmap(self->h.base, self->h.len));
	pw_set(step, 2);
	EXPECT_EQ(0, pw_wait(pid));
}

/* What a child gave up and its parent took away from it is nobody's to take. */
TEST_F(free, stolen)
{
	pid_t pid = pw_fork();

	if (!pid) {
		int *step = pw_shared();
		pid_t child, hog;
		struct pw h;
		char *p;

		CHECK(munmap(self->h.base, self->h.len) == 0);
		pw_heap(&h, 16 * MIB);
		p = pw_map_pages(&h, 1000);
		pw_fill(p, 1000, 3);
		child = pw_fork();
		if (!child) {
			CHECK(give(&h, p, 1000) == 0);
			pw_set(step, 1);
			pause();
		}
		pw_wait_for(step, 1);
		hog = pw_hog(&h);
		pw_fill(p, 1000, 4);
		CHECK(pw_wrong(p, 1000, 4) == -1);
		pw_hog_stop(hog);
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
		exit(0);
	}
	EXPECT_EQ(0, pw_wait(pid));
}

/* The same of what was given up before, and not touched since. */
TEST_F(free, child_inherits)
{
	int *step = pw_shared();
	pid_t pid, hog;

	ASSERT_EQ(0, give(&self->h, self->p, NR));
	pid = pw_fork();
	if (!pid) {
		pw_wait_for(step, 1);
		hog = pw_hog(&self->h);
		pw_hog_stop(hog);
		CHECK(kept(self->p, NR, 1) == 0);
		exit(0);
	}
	for (long i = 0; i < NR / 2; i += 500)
		self->p[i * PAGE] = 1;
	ASSERT_EQ(0, munmap(self->h.base, self->h.len));
	pw_set(step, 1);
	EXPECT_EQ(0, pw_wait(pid));
}

TEST_F(free, two_mib)
{
	char *p;
	pid_t hog;

	ASSERT_EQ(0, pw_set_huge(self->h.fd, PAGEWELL_HUGE_ALWAYS));
	ASSERT_EQ(0, pw_map(self->h.fd, 0, NULL, 2 * HUGE, HUGE, &p));
	pw_cover(&self->h, p + 2 * HUGE);
	pw_fill(p, 1024, 1);
	ASSERT_EQ(0, give(&self->h, p, 600));
	EXPECT_EQ(-1, pw_wrong(p, 1024, 1));
	ASSERT_EQ(0, give(&self->h, p, 600));
	hog = pw_hog(&self->h);
	pw_hog_stop(hog);
	EXPECT_EQ(424, kept(p, 1024, 1));
	pw_fill(p, 1024, 2);
	EXPECT_EQ(-1, pw_wrong(p, 1024, 2));
}

struct race {
	struct pw *h;
	char *p;
	int stop;
};

static void *taker(void *arg)
{
	struct race *r = arg;

	while (!__atomic_load_n(&r->stop, __ATOMIC_RELAXED)) {
		pid_t pid = fork();

		if (!pid) {
			pid = pw_hog(r->h);
			pw_hog_stop(pid);
			_exit(0);
		}
		waitpid(pid, NULL, 0);
	}
	return NULL;
}

/* Nothing but what was written or zero, whoever takes pages meanwhile. */
TEST_F(free, against_touches)
{
	struct race r = { &self->h, self->p };
	pthread_t t;

	pw_catch();
	ASSERT_EQ(0, pthread_create(&t, NULL, taker, &r));
	for (long i = 0, n = pw_scaled(60); i < n; i++) {
		ASSERT_EQ(0, give(&self->h, self->p, NR));
		for (long k = 0; k < NR; k += 1 + i % 7) {
			volatile uint64_t *w = (void *)(self->p + k * PAGE);

			/* SIGBUS where the pool is empty is a lazy heap's lot. */
			if (pw_try_read(w))
				continue;
			ASSERT_TRUE(!w[3] || w[3] == pw_word(1, k, 3));
			/* The fork makes it a lot for each write. */
			if (pw_try_write((char *)&w[511], 0) ||
			    PW_TRY(w[3] = pw_word(1, k, 3)))
				continue;
			ASSERT_EQ(w[3], pw_word(1, k, 3));
		}
	}
	r.stop = 1;
	pthread_join(t, NULL);
}

PW_TEST_POOL_WHOLE

TEST_HARNESS_MAIN
