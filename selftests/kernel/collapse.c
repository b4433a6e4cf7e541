// SPDX-License-Identifier: GPL-2.0-only
/*
 * collapse.c - pages of 2 MiB built again from small ones, on request
 */
#include "pw_test.h"

#define SLOT		512L
#define in_kib(pages)	((pages) * 4L)

FIXTURE(collapse) {
	struct pw h;
	char *p;		/* four slots of small pages, all written */
};

FIXTURE_SETUP(collapse)
{
	pw_heap(&self->h, 64 * MIB);
	ASSERT_EQ(0, pw_map(self->h.fd, 0, NULL, 4 * HUGE, HUGE, &self->p));
	pw_cover(&self->h, self->p + 4 * HUGE);
	ASSERT_EQ(0, pw_set_huge(self->h.fd, PAGEWELL_HUGE_NEVER));
	pw_fill(self->p, 4 * SLOT, 1);
	ASSERT_EQ(0, pw_smaps(self->h.base, self->h.len, "FilePmdMapped"));
	ASSERT_EQ(0, pw_set_huge(self->h.fd, PAGEWELL_HUGE_AUTO));
}

FIXTURE_TEARDOWN(collapse)
{
	close(self->h.fd);
}

static int collapse(FIXTURE_DATA(collapse) *self, const void *at, size_t len)
{
	return pw_advise(self->h.fd, PAGEWELL_ADVISE_COLLAPSE, at, len);
}

static long pmd_kib(FIXTURE_DATA(collapse) *self)
{
	return pw_smaps(self->h.base, self->h.len, "FilePmdMapped");
}

static long rss_kib(FIXTURE_DATA(collapse) *self)
{
	return pw_smaps(self->h.base, self->h.len, "Rss");
}

static bool pool_as_promised(FIXTURE_DATA(collapse) *self)
{
	return pw_pool("used_pages") * PAGE == pw_resident(self->h.fd) &&
	       (pw_pool("used_pages") + pw_pool("promised_pages")) * PAGE ==
	       pw_committed(self->h.fd);
}

static int hold(char *p, size_t len, int fds[2])
{
	struct iovec iov = { p, len };

	CHECK(pipe(fds) == 0);
	return vmsplice(fds[1], &iov, 1, 0) == (ssize_t)len;
}

/* Halves of a slot that are one region again. */
TEST_F(collapse, where_a_hole_was_filled)
{
	char *half, *again;

	ASSERT_EQ(0, pw_unmap(self->h.fd, self->p, 4 * HUGE));
	ASSERT_EQ(0, pw_map(self->h.fd, 0, NULL, HUGE / 2, HUGE, &half));
	ASSERT_EQ(0, pw_map(self->h.fd, 0, NULL, HUGE / 2, 0, &again));
	ASSERT_EQ((void *)(half + HUGE / 2), (void *)again);
	ASSERT_EQ(0, pw_unmap(self->h.fd, again, HUGE / 2));
	ASSERT_EQ(0, pw_map(self->h.fd, 0, NULL, HUGE / 2, 0, &again));
	ASSERT_EQ((void *)(half + HUGE / 2), (void *)again);
	pw_fill(half, SLOT, 1);
	ASSERT_EQ(0, collapse(self, half, HUGE));
	EXPECT_EQ(-1, pw_wrong(half, SLOT, 1));
	EXPECT_EQ(in_kib(SLOT), pmd_kib(self));
}

/* Full slots: contents stay, the number of pages stays, entries are whole. */
TEST_F(collapse, full)
{
	long tables = pw_key("/proc/self/status", "VmPTE");
	long collapsed = pw_stat("huge_collapsed");

	ASSERT_EQ(0, collapse(self, self->p, 4 * HUGE));
	EXPECT_EQ(collapsed + 4, pw_stat("huge_collapsed"));
	/* The test itself may have needed one more meanwhile. */
	EXPECT_GE(tables - 3 * 4, pw_key("/proc/self/status", "VmPTE"));
	EXPECT_EQ(4 * HUGE, pw_resident(self->h.fd));
	EXPECT_TRUE(pool_as_promised(self));
	EXPECT_EQ(-1, pw_wrong(self->p, 4 * SLOT, 1));
	EXPECT_EQ(in_kib(4 * SLOT), pmd_kib(self));
	EXPECT_EQ(in_kib(4 * SLOT), rss_kib(self));
	pw_fill(self->p, 4 * SLOT, 2);
	EXPECT_EQ(-1, pw_wrong(self->p, 4 * SLOT, 2));
	/* Nothing to do is no error, and does nothing. */
	ASSERT_EQ(0, collapse(self, self->p, 4 * HUGE));
	EXPECT_EQ(collapsed + 4, pw_stat("huge_collapsed"));
	EXPECT_EQ(in_kib(4 * SLOT), pmd_kib(self));
}

/* Holes are filled with zeros, and accounted. */
TEST_F(collapse, holes)
{
	ASSERT_EQ(0, pw_advise(self->h.fd, PAGEWELL_ADVISE_DONTNEED, self->p + PAGE,
			       HUGE - 2 * PAGE));
	ASSERT_EQ(0, pw_advise(self->h.fd, PAGEWELL_ADVISE_DONTNEED, self->p + 2 * HUGE,
			       100 * PAGE));
	EXPECT_EQ((3 * SLOT - 98) * PAGE, pw_resident(self->h.fd));
	EXPECT_TRUE(pool_as_promised(self));
	ASSERT_EQ(0, collapse(self, self->p, 4 * HUGE));
	EXPECT_EQ(4 * HUGE, pw_resident(self->h.fd));
	EXPECT_TRUE(pool_as_promised(self));
	EXPECT_EQ(-1, pw_wrong(self->p, 1, 1));
	EXPECT_EQ(-1, pw_nonzero(self->p + PAGE, SLOT - 2));
	EXPECT_EQ(pw_word(1, SLOT - 1, 5), ((uint64_t *)(self->p + HUGE - PAGE))[5]);
	EXPECT_EQ(pw_word(1, 2 * SLOT - 1, 5), ((uint64_t *)(self->p + 2 * HUGE - PAGE))[5]);
	EXPECT_EQ(-1, pw_nonzero(self->p + 2 * HUGE, 100));
	EXPECT_EQ(pw_word(1, 2 * SLOT + 100, 0), *(uint64_t *)(self->p + 2 * HUGE + 100 * PAGE));
	EXPECT_EQ(in_kib(3 * SLOT), pmd_kib(self));
	ASSERT_EQ(0, pw_unmap(self->h.fd, self->p, 4 * HUGE));
	EXPECT_TRUE(pool_as_promised(self));
}

/* Nothing there at all: no page is taken, but a page of 2 MiB fits again. */
TEST_F(collapse, empty)
{
	ASSERT_EQ(0, pw_advise(self->h.fd, PAGEWELL_ADVISE_DONTNEED, self->p, 4 * HUGE));
	ASSERT_EQ(0, collapse(self, self->p, 4 * HUGE));
	EXPECT_EQ(0, pw_resident(self->h.fd));
	EXPECT_TRUE(pool_as_promised(self));
	ASSERT_EQ(0, pw_set_huge(self->h.fd, PAGEWELL_HUGE_ALWAYS));
	EXPECT_EQ(-1, pw_nonzero(self->p, 4 * SLOT));
	EXPECT_EQ(in_kib(4 * SLOT), pmd_kib(self));
}

/* A page of 2 MiB that is there, but that a page table keeps from being whole. */
TEST_F(collapse, mapped_in_parts)
{
	long collapsed = pw_stat("huge_collapsed");
	int fds[2];

	ASSERT_EQ(0, collapse(self, self->p, 4 * HUGE));
	pw_fill(self->p, 4 * SLOT, 2);
	/* It is held, so it stays in one piece when a part goes, and comes back. */
	ASSERT_TRUE(hold(self->p, PAGE, fds));
	ASSERT_EQ(0, pw_unmap(self->h.fd, self->p + PAGE, PAGE));
	EXPECT_EQ(0, pw_try_read(self->p));
	EXPECT_EQ(-EINVAL, collapse(self, self->p, HUGE));
	ASSERT_EQ(0, pw_map(self->h.fd, PAGEWELL_MAP_FIXED, self->p + PAGE, PAGE, 0, NULL));
	EXPECT_EQ(-1, pw_nonzero(self->p + PAGE, 1));
	pw_fill(self->p, 4 * SLOT, 3);
	EXPECT_EQ(in_kib(3 * SLOT), pmd_kib(self));
	/* Nothing has to move: that it is held is no obstacle. */
	ASSERT_EQ(0, collapse(self, self->p, 4 * HUGE));
	EXPECT_EQ(-1, pw_wrong(self->p, 4 * SLOT, 3));
	EXPECT_EQ(in_kib(4 * SLOT), pmd_kib(self));
	EXPECT_EQ(collapsed + 4, pw_stat("huge_collapsed"));
	EXPECT_EQ(4 * HUGE, pw_resident(self->h.fd));
}

/* Only whole slots inside one region and inside the mapping; not beyond. */
TEST_F(collapse, where_it_fits)
{
	int fd = self->h.fd;
	char *p = self->p, *brk;
	uint32_t id;

	EXPECT_EQ(-EINVAL, collapse(self, p, HUGE - PAGE));
	EXPECT_EQ(-EINVAL, collapse(self, p + PAGE, 2 * HUGE - 2 * PAGE));
	EXPECT_EQ(-EINVAL, collapse(self, p + 8 * HUGE, 2 * HUGE));
	EXPECT_EQ(-EINVAL, collapse(self, p + (1UL << 40), HUGE));
	EXPECT_EQ(0, collapse(self, p, 0));
	EXPECT_EQ(0, pmd_kib(self));
	/* The first and the last are touched in part: only those between. */
	EXPECT_EQ(0, collapse(self, p + PAGE, 4 * HUGE - 2 * PAGE));
	EXPECT_EQ(-1, pw_wrong(p, 4 * SLOT, 1));
	EXPECT_EQ(in_kib(2 * SLOT), pmd_kib(self));
	/* A hole in the region: not that one, but the rest. */
	ASSERT_EQ(0, pw_unmap(fd, p + 7 * PAGE, PAGE));
	EXPECT_EQ(-EINVAL, collapse(self, p, HUGE));
	EXPECT_EQ(0, collapse(self, p, 4 * HUGE));
	EXPECT_EQ(-1, pw_wrong(p, 7, 1));
	EXPECT_EQ(SIGSEGV, pw_try_read(p + 7 * PAGE));
	EXPECT_EQ(pw_word(1, 3 * SLOT, 0), *(uint64_t *)(p + 3 * HUGE));
	EXPECT_EQ(in_kib(3 * SLOT), pmd_kib(self));
	/* Where it was advised against. */
	ASSERT_EQ(0, pw_advise(fd, PAGEWELL_ADVISE_NOHUGEPAGE, p, 4 * HUGE));
	EXPECT_EQ(-EINVAL, collapse(self, p, 4 * HUGE));
	/* A break up to its end. */
	ASSERT_EQ(0, pw_brk_create(fd, 2 * HUGE, &id, &brk));
	pw_cover(&self->h, brk + 2 * HUGE);
	ASSERT_EQ(0, pw_brk(fd, id, brk + HUGE + 9 * PAGE, NULL));
	pw_fill(brk, SLOT + 9, 4);
	EXPECT_EQ(-EINVAL, collapse(self, brk + HUGE, HUGE));
	EXPECT_EQ(0, collapse(self, brk, 2 * HUGE));
	EXPECT_EQ(-1, pw_wrong(brk, SLOT + 9, 4));
	EXPECT_EQ(in_kib(4 * SLOT), pmd_kib(self));
}

/* A VMA's end inside the slot. */
TEST_F(collapse, split_mapping)
{
	ASSERT_EQ(0, mprotect(self->p + HUGE + 3 * PAGE, PAGE, PROT_READ));
	EXPECT_EQ(-EINVAL, collapse(self, self->p + HUGE, HUGE));
	EXPECT_EQ(0, collapse(self, self->p, 4 * HUGE));
	EXPECT_EQ(-1, pw_wrong(self->p, 4 * SLOT, 1));
	EXPECT_EQ(in_kib(3 * SLOT), pmd_kib(self));
	EXPECT_EQ(SIGSEGV, pw_try_write(self->p + HUGE + 3 * PAGE, 1));
	ASSERT_EQ(0, madvise(self->p + 3 * HUGE, HUGE, MADV_NOHUGEPAGE));
	EXPECT_EQ(-EINVAL, collapse(self, self->p + 3 * HUGE, HUGE));
}

/* What a pipe refers to cannot move; the others do, and later it does, too. */
TEST_F(collapse, held)
{
	long lost = pw_stat("pages_lost");
	uint64_t word;
	int fds[2];

	ASSERT_TRUE(hold(self->p + HUGE + 5 * PAGE, PAGE, fds));
	EXPECT_EQ(-EBUSY, collapse(self, self->p, 4 * HUGE));
	EXPECT_EQ(-1, pw_wrong(self->p, 4 * SLOT, 1));
	EXPECT_EQ(in_kib(3 * SLOT), pmd_kib(self));
	EXPECT_TRUE(pool_as_promised(self));
	*(uint64_t *)(self->p + HUGE + 5 * PAGE) = 4711;
	ASSERT_EQ(8, read(fds[0], &word, 8));
	EXPECT_EQ(4711, word);
	close(fds[0]);
	close(fds[1]);
	EXPECT_EQ(0, collapse(self, self->p, 4 * HUGE));
	EXPECT_EQ(4711, *(uint64_t *)(self->p + HUGE + 5 * PAGE));
	EXPECT_EQ(-1, pw_wrong(self->p, SLOT + 5, 1));
	EXPECT_EQ(in_kib(4 * SLOT), pmd_kib(self));
	EXPECT_EQ(lost, pw_stat("pages_lost"));
}

/* Shared since a fork: not until the child has gone, or has what it writes. */
TEST_F(collapse, fork)
{
	int *go = pw_shared();
	pid_t pid = pw_fork();

	if (!pid) {
		CHECK(collapse(self, self->p, HUGE) == -EBUSY);
		CHECK(pw_wrong(self->p, 4 * SLOT, 1) == -1);
		pw_fill(self->p, SLOT, 2);
		CHECK(collapse(self, self->p, 4 * HUGE) == -EBUSY);
		CHECK(pmd_kib(self) == 0);
		CHECK(collapse(self, self->p, HUGE) == 0);
		CHECK(pw_wrong(self->p, SLOT, 2) == -1);
		CHECK(pmd_kib(self) == in_kib(SLOT));
		pw_set(go, 1);
		pw_wait_for(go, 2);
		CHECK(pw_wrong(self->p, SLOT, 2) == -1);
		CHECK(*(uint64_t *)(self->p + HUGE) == pw_word(1, SLOT, 0));
		_exit(0);
	}
	pw_wait_for(go, 1);
	EXPECT_EQ(-1, pw_wrong(self->p, 4 * SLOT, 1));
	EXPECT_EQ(-EBUSY, collapse(self, self->p + HUGE, 3 * HUGE));
	/* The child has its own of the first. */
	EXPECT_EQ(0, collapse(self, self->p, HUGE));
	EXPECT_EQ(-1, pw_wrong(self->p, 4 * SLOT, 1));
	pw_fill(self->p, SLOT, 3);
	pw_set(go, 2);
	EXPECT_EQ(0, pw_wait(pid));
	EXPECT_EQ(0, collapse(self, self->p, 4 * HUGE));
	EXPECT_EQ(-1, pw_wrong(self->p, SLOT, 3));
	EXPECT_EQ(pw_word(1, SLOT, 0), *(uint64_t *)(self->p + HUGE));
	pw_fill(self->p, 4 * SLOT, 4);
	EXPECT_EQ(in_kib(4 * SLOT), pmd_kib(self));
	EXPECT_TRUE(pool_as_promised(self));
}

/* No page to be had: nothing changes. */
TEST_F(collapse, pool_is_empty)
{
	pid_t hog = pw_hog(&self->h);

	EXPECT_EQ(-ENOMEM, collapse(self, self->p, 4 * HUGE));
	EXPECT_EQ(-1, pw_wrong(self->p, 4 * SLOT, 1));
	EXPECT_EQ(0, pmd_kib(self));
	EXPECT_EQ(4 * HUGE, pw_resident(self->h.fd));
	pw_hog_stop(hog);
	EXPECT_EQ(0, collapse(self, self->p, 4 * HUGE));
	EXPECT_EQ(-1, pw_wrong(self->p, 4 * SLOT, 1));
	EXPECT_EQ(in_kib(4 * SLOT), pmd_kib(self));
}

/* The limit of a lazy heap is for the holes, too. */
TEST(lazy)
{
	struct pw h;
	char *p;

	pw_heap(&h, 16 * MIB);
	ASSERT_EQ(0, pw_set_commit(h.fd, PAGEWELL_COMMIT_LAZY));
	ASSERT_EQ(0, pw_map(h.fd, 0, NULL, 2 * HUGE, HUGE, &p));
	ASSERT_EQ(0, pw_set_limit(h.fd, HUGE + 50 * PAGE));
	pw_fill(p, 20, 1);
	pw_fill(p + HUGE, 100, 2);
	EXPECT_EQ(-ENOMEM, pw_advise(h.fd, PAGEWELL_ADVISE_COLLAPSE, p, 2 * HUGE));
	EXPECT_EQ(-1, pw_wrong(p, 20, 1));
	EXPECT_EQ(-1, pw_wrong(p + HUGE, 100, 2));
	EXPECT_GE(HUGE + 50 * PAGE, pw_resident(h.fd));
	ASSERT_EQ(0, pw_advise(h.fd, PAGEWELL_ADVISE_DONTNEED, p, HUGE));
	EXPECT_EQ(0, pw_advise(h.fd, PAGEWELL_ADVISE_COLLAPSE, p, 2 * HUGE));
	EXPECT_EQ(HUGE, pw_resident(h.fd));
	EXPECT_EQ(-1, pw_wrong(p + HUGE, 100, 2));
	EXPECT_EQ(-1, pw_nonzero(p + HUGE + 100 * PAGE, SLOT - 100));
	EXPECT_EQ(in_kib(SLOT), pw_smaps(h.base, h.len, "FilePmdMapped"));
}

/* A lazy heap with a map of that many slots that nobody has touched. */
static char *empty_map(struct pw *h, size_t slots)
{
	char *p;

	pw_heap(h, (slots + 1) * HUGE);
	CHECK(pw_set_commit(h->fd, PAGEWELL_COMMIT_LAZY) == 0);
	CHECK(pw_map(h->fd, 0, NULL, slots * HUGE, HUGE, &p) == 0);
	return p;
}

/* Where nothing is, nothing stays behind; a page table goes all the same. */
TEST(emptiness_takes_no_memory)
{
	const long slots = 32 * KIB;
	long slab = pw_key("/proc/meminfo", "SUnreclaim");
	struct pw h;
	char *p = empty_map(&h, slots);

	EXPECT_EQ(0, pw_advise(h.fd, PAGEWELL_ADVISE_COLLAPSE, p, slots * HUGE));
	EXPECT_LT(pw_key("/proc/meminfo", "SUnreclaim"), slab + slots / 2);
	p[HUGE] = 1;
	ASSERT_EQ(0, pw_advise(h.fd, PAGEWELL_ADVISE_DONTNEED, p + HUGE, HUGE));
	EXPECT_EQ(0, pw_advise(h.fd, PAGEWELL_ADVISE_COLLAPSE, p, slots * HUGE));
	ASSERT_EQ(0, pw_set_huge(h.fd, PAGEWELL_HUGE_ALWAYS));
	p[HUGE] = 1;
	EXPECT_EQ(in_kib(SLOT), pw_smaps(h.base, h.len, "FilePmdMapped"));
}

static double look_time(size_t slots)
{
	struct pw h;
	char *p = empty_map(&h, slots);
	double t = pw_now();

	CHECK(pw_advise(h.fd, PAGEWELL_ADVISE_COLLAPSE, p, slots * HUGE) == 0);
	t = pw_now() - t;
	CHECK(munmap(h.base, h.len) == 0);
	close(h.fd);
	return t;
}

/* Who is killed does not look at the rest. */
TEST(can_be_killed)
{
	const size_t some = 8 * KIB, all = 512 * some;
	double t, look = 1e9, end = 1e9;
	int *ready = pw_shared();
	struct pw h;
	pid_t pid;
	char *p;

	/* Either may be kept from its processor: the best of a few. */
	for (int i = 1; i <= 3; i++) {
		pid = pw_fork();
		if (!pid) {
			p = empty_map(&h, all);
			pw_set(ready, i);
			pw_advise(h.fd, PAGEWELL_ADVISE_COLLAPSE, p, all * HUGE);
			_exit(0);
		}
		pw_wait_for(ready, i);
		t = look_time(some);
		look = t < look ? t : look;
		t = pw_now();
		kill(pid, SIGKILL);
		EXPECT_EQ(128 + SIGKILL, pw_wait(pid));
		t = pw_now() - t;
		end = t < end ? t : end;
	}
	EXPECT_LT(end, 128 * look);
}

/* A shared region has its pages in common: they do not move, but fit again. */
TEST_F(collapse, shared_region)
{
	char *small = NULL, *whole, *there;
	uint64_t len = HUGE;
	uint32_t id = 0;

	ASSERT_EQ(0, pw_map(self->h.fd, 0, self->p + 8 * HUGE, PAGE, HUGE, &whole));
	*whole = 1;
	ASSERT_EQ(0, pw_unmap(self->h.fd, whole, PAGE));
	ASSERT_EQ(0, pw_set_huge(self->h.fd, PAGEWELL_HUGE_NEVER));
	ASSERT_EQ(0, pw_share(self->h.fd, &id, &len, &small));
	ASSERT_EQ(0, pw_set_huge(self->h.fd, PAGEWELL_HUGE_AUTO));
	id = 0;
	there = whole;
	ASSERT_EQ(0, pw_share(self->h.fd, &id, &len, &there));
	ASSERT_EQ(whole, there);
	pw_fill(small, SLOT, 2);
	pw_fill(whole, SLOT, 3);
	EXPECT_EQ(-EBUSY, collapse(self, small, HUGE));
	EXPECT_EQ(0, pmd_kib(self));
	EXPECT_EQ(0, collapse(self, whole, HUGE));
	EXPECT_EQ(-1, pw_wrong(whole, SLOT, 3));
	EXPECT_EQ(-1, pw_wrong(small, SLOT, 2));
	EXPECT_EQ(in_kib(SLOT), pmd_kib(self));
}

/*
 * Threads that write and check words of their own, while the pages under them
 * are put together and cut all the time.
 */
#define WRITERS	2

static struct {
	FIXTURE_DATA(collapse) *self;
	int stop;
} race;

static void *writer(void *arg)
{
	long who = (long)arg;
	uint64_t last[4 * SLOT], rnd = who + 1;

	for (long i = 0; i < 4 * SLOT; i++)
		last[i] = pw_word(1, i, who);
	while (!pw_get(&race.stop)) {
		long i = pw_random(&rnd) % (4 * SLOT);
		volatile uint64_t *w = (uint64_t *)(race.self->p + i * PAGE) + who;

		CHECK(*w == last[i]);
		*w = last[i] = rnd;
	}
	return NULL;
}

TEST_F(collapse, race)
{
	double end = pw_now() + pw_scaled(300) / 100.0;
	long collapsed = pw_stat("huge_collapsed");
	pthread_t threads[WRITERS];
	uint64_t rnd = 4711;

	race.self = self;
	for (long i = 0; i < WRITERS; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, writer, (void *)i));
	while (pw_now() < end) {
		char *at = self->p + pw_random(&rnd) % 4 * HUGE;
		int err = collapse(self, at, HUGE);
		pid_t pid;

		ASSERT_TRUE(err == 0 || err == -EBUSY || err == -ENOMEM);
		if (pw_random(&rnd) % 4) {
			ASSERT_EQ(0, pw_advise(self->h.fd, PAGEWELL_ADVISE_POPULATE, at, HUGE));
			continue;
		}
		/* Cut by whoever writes first. */
		pid = pw_fork();
		if (!pid) {
			collapse(self, at, HUGE);
			at[PAGE - 1] = 1;
			_exit(0);
		}
		ASSERT_EQ(0, pw_wait(pid));
	}
	pw_set(&race.stop, 1);
	for (int i = 0; i < WRITERS; i++)
		pthread_join(threads[i], NULL);
	EXPECT_LT(collapsed, pw_stat("huge_collapsed"));
	for (long i = 0; i < 4 * SLOT; i++)
		ASSERT_EQ(pw_word(1, i, 300), ((uint64_t *)(self->p + i * PAGE))[300]);
	EXPECT_TRUE(pool_as_promised(self));
}

/* Relatives that unmap the same addresses meanwhile: their zaps walk our tables. */
TEST_F(collapse, race_with_relatives)
{
	double end = pw_now() + pw_scaled(300) / 100.0;
	int *stop = pw_shared();
	pid_t pid = pw_fork();

	if (!pid) {
		ASSERT_EQ(0, pw_set_huge(self->h.fd, PAGEWELL_HUGE_ALWAYS));
		while (!pw_get(stop)) {
			/* Cut: unmapped from the whole family. */
			CHECK(pw_unmap(self->h.fd, self->p, 4 * HUGE) == 0);
			CHECK(pw_map(self->h.fd, PAGEWELL_MAP_FIXED, self->p, 4 * HUGE, 0,
				     NULL) == 0);
			for (int i = 0; i < 4; i++) {
				collapse(self, self->p + i * HUGE, HUGE);
				self->p[i * HUGE] = 1;
				CHECK(pw_unmap(self->h.fd, self->p + i * HUGE + PAGE, PAGE) == 0);
			}
		}
		_exit(0);
	}
	while (pw_now() < end) {
		int err = collapse(self, self->p, 4 * HUGE);

		ASSERT_TRUE(err == 0 || err == -EBUSY || err == -ENOMEM);
		ASSERT_EQ(-1, pw_wrong(self->p, 4 * SLOT, 1));
		ASSERT_EQ(0, mprotect(self->p + HUGE, PAGE, PROT_READ));
		ASSERT_EQ(0, mprotect(self->p + HUGE, PAGE, PROT_READ | PROT_WRITE));
	}
	pw_set(stop, 1);
	EXPECT_EQ(0, pw_wait(pid));
}

PW_TEST_POOL_WHOLE

TEST_HARNESS_MAIN
