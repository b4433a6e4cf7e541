// SPDX-License-Identifier: GPL-2.0-only
/*
 * exhaust.c - the pool runs dry: who was promised pages has them
 */
#include <sys/mount.h>
#include <sys/stat.h>

#include "pw_test.h"

#define TAKERS 4

FIXTURE(exhaust) {
	struct pw h;
};

FIXTURE_SETUP(exhaust)
{
	pw_heap(&self->h, 16 * MIB);
}

FIXTURE_TEARDOWN(exhaust)
{
	close(self->h.fd);
}

/* Maps pieces of changing size until not one page is left; touches nothing. */
static uint64_t take_all(struct pw *h, uint64_t rnd)
{
	uint64_t taken = 0;
	size_t most = 8192;

	while (most) {
		size_t pages = 1 + pw_random(&rnd) % most;
		int err = pw_map(h->fd, 0, NULL, pages * PAGE, 0, NULL);

		CHECK(err == 0 || err == -ENOMEM);
		if (err)
			most = pages > 1 ? pages / 2 : 0;
		else
			taken += pages;
	}
	return taken;
}

/* Maps of a fresh heap lie one behind the other: [base, base + pages). */
static void touch_all(struct pw *h, uint64_t pages)
{
	pw_cover(h, h->base + pages * PAGE);
	for (uint64_t i = 0; i < pages; i++)
		CHECK(pw_try_write(h->base + i * PAGE, i) == 0);
}

TEST(processes_get_what_they_were_promised)
{
	int *ready = pw_shared(), *go = pw_shared();
	uint64_t *taken = (void *)pw_shared(), sum = 0;
	pid_t pid[TAKERS];

	for (int i = 0; i < TAKERS; i++) {
		pid[i] = pw_fork();
		if (!pid[i]) {
			struct pw h;

			pw_heap(&h, 4 * MIB);
			taken[i] = take_all(&h, i + 1);
			pw_inc(ready);
			pw_wait_for(go, 1);
			pw_cover(&h, h.base + taken[i] * PAGE);
			for (uint64_t j = 0; j < taken[i]; j++)
				h.base[j * PAGE] = 1;
			CHECK(pw_resident(h.fd) == taken[i] * PAGE);
			pw_inc(ready);
			pw_wait_for(go, 2);
			_exit(0);
		}
	}
	pw_wait_for(ready, TAKERS);
	for (int i = 0; i < TAKERS; i++)
		sum += taken[i];
	/* Strict means exact: nothing is promised twice, and nothing kept back. */
	EXPECT_EQ(sum, pw_pool("promised_pages"));
	EXPECT_LE(sum, pw_pool("held_pages"));
	EXPECT_LE(pw_pool("avail_pages"), TAKERS);
	EXPECT_LE(pw_pool("held_pages"), pw_pool("max_pages"));
	pw_set(go, 1);
	pw_wait_for(ready, 2 * TAKERS);
	EXPECT_EQ(sum, pw_pool("used_pages"));
	EXPECT_EQ(0, pw_pool("promised_pages"));
	pw_set(go, 2);
	for (int i = 0; i < TAKERS; i++) {
		EXPECT_EQ(0, pw_wait(pid[i]));
	}
}

struct taker {
	struct pw *h;
	uint64_t rnd;
	uint64_t taken;
};

static void *taker(void *arg)
{
	struct taker *t = arg;

	t->taken = take_all(t->h, t->rnd);
	return NULL;
}

TEST_F(exhaust, threads)
{
	struct taker takers[TAKERS];
	pthread_t thread[TAKERS];
	uint64_t sum = 0;

	ASSERT_EQ(0, pw_set_limit(self->h.fd, 60 * MIB));
	for (int i = 0; i < TAKERS; i++) {
		takers[i] = (struct taker){ &self->h, i + 1, 0 };
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, taker, &takers[i]));
	}
	for (int i = 0; i < TAKERS; i++) {
		pthread_join(thread[i], NULL);
		sum += takers[i].taken;
	}
	EXPECT_EQ(sum * PAGE, pw_committed(self->h.fd));
	EXPECT_LE(sum * PAGE, 60 * MIB);
	/* The last one to ask asked alone. */
	EXPECT_EQ(sum * PAGE, 60 * MIB);
	touch_all(&self->h, sum);
}

TEST_F(exhaust, lazy_is_sigbus)
{
	char *p, *q;
	pid_t hog;
	int fd = memfd_create("t", 0);
	long sigbus;

	ASSERT_EQ(0, pw_set_commit(self->h.fd, PAGEWELL_COMMIT_LAZY));
	p = pw_map_pages(&self->h, 1000);
	pw_fill(p, 100, 1);
	hog = pw_hog(&self->h);
	sigbus = pw_stat("sigbus");
	/* Addresses cost nothing, pages are not to be had. */
	q = pw_map_pages(&self->h, 100000);
	EXPECT_EQ(SIGBUS, pw_try_write(q + 5 * PAGE, 1));
	EXPECT_EQ((void *)(q + 5 * PAGE), (void *)pw_fault_addr);
	EXPECT_EQ(SIGBUS, pw_try_write(p + 900 * PAGE, 1));
	EXPECT_EQ(sigbus + 2, pw_stat("sigbus"));
	EXPECT_EQ(-1, pw_wrong(p, 100, 1));
	/* The kernel's own touches fail, they do not hang. */
	ASSERT_EQ(PAGE, pwrite(fd, p, PAGE, 0));
	EXPECT_EQ(-1, pread(fd, q, PAGE, 0));
	EXPECT_EQ(EFAULT, errno);
	/* A read alone takes no page. */
	EXPECT_EQ(0, pw_try_read(p + 950 * PAGE));
	EXPECT_EQ(-ENOMEM, pw_advise(self->h.fd, PAGEWELL_ADVISE_POPULATE, q, 100 * PAGE));
	EXPECT_EQ(0, pw_advise(self->h.fd, PAGEWELL_ADVISE_WILLNEED, q, 100 * PAGE));
	EXPECT_EQ(-ENOMEM, pw_map(self->h.fd, PAGEWELL_MAP_POPULATE, NULL, 50 * PAGE, 0, NULL));
	pw_hog_stop(hog);
	EXPECT_TRUE(pw_try_write(q + 5 * PAGE, 1) == 0 || !usleep(500000));
	EXPECT_EQ(0, pw_try_write(q + 5 * PAGE, 1));
	EXPECT_EQ(-1, pw_nonzero(p + 900 * PAGE, 100));
}

TEST_F(exhaust, strict_is_not_disturbed)
{
	char *p = pw_map_pages(&self->h, 2000), *now;
	uint64_t committed;
	uint32_t id;
	pid_t hog;

	pw_fill(p, 500, 1);
	ASSERT_EQ(0, pw_brk_create(self->h.fd, 2 * MIB, &id, &now));
	ASSERT_EQ(0, pw_brk(self->h.fd, id, now + 10 * PAGE, NULL));
	pw_cover(&self->h, now + 2 * MIB);
	committed = pw_committed(self->h.fd);
	hog = pw_hog(&self->h);
	EXPECT_EQ(-ENOMEM, pw_map(self->h.fd, 0, NULL, 64 * PAGE, 0, NULL));
	EXPECT_EQ(-ENOMEM, pw_remap(self->h.fd, PAGEWELL_REMAP_MAYMOVE, p, 2000 * PAGE,
				    2064 * PAGE, NULL));
	EXPECT_EQ(-ENOMEM, pw_brk(self->h.fd, id, now + 74 * PAGE, &now));
	EXPECT_EQ(-ENOMEM, pw_brk(self->h.fd, id, now + 74 * PAGE, NULL));
	EXPECT_EQ(committed, pw_committed(self->h.fd));
	/* What was committed is there, also after it was given back. */
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 2000; i++)
			ASSERT_EQ(0, pw_try_write(p + i * PAGE, 1));
		ASSERT_EQ(0, pw_advise(self->h.fd, PAGEWELL_ADVISE_DONTNEED, p, 2000 * PAGE));
	}
	ASSERT_EQ(0, pw_advise(self->h.fd, PAGEWELL_ADVISE_POPULATE, p, 2000 * PAGE));
	EXPECT_EQ(-1, pw_nonzero(p, 2000));
	/* Shrinking and growing again is not promised to work, but leaves no harm. */
	EXPECT_EQ(0, pw_unmap(self->h.fd, p, 1000 * PAGE));
	pw_fill(p + 1000 * PAGE, 1000, 3);
	EXPECT_EQ(-1, pw_wrong(p + 1000 * PAGE, 1000, 3));
	pw_hog_stop(hog);
}

/* The pool has no more than its floor, whatever others have used. */
static bool is_at_floor(void)
{
	const long idle = pw_get_param("pool_idle_s");
	double end = pw_now() + 60;

	CHECK(pw_set_param("pool_idle_s", 1) == 0);
	while (pw_pool("held_pages") > pw_pool("floor_pages") && pw_now() < end)
		usleep(100000);
	CHECK(pw_set_param("pool_idle_s", idle) == 0);
	return pw_pool("held_pages") == pw_pool("floor_pages");
}

static int map_beyond(struct pw *h, long kb)
{
	return pw_map(h->fd, 0, NULL, (pw_pool("avail_pages") + kb / 4) * PAGE, 0, NULL);
}

/* Whoever asks for more than the machine has changes nothing by it. */
TEST_F(exhaust, what_is_refused_is_not_taken)
{
	const long margin = pw_key("/proc/meminfo", "MemTotal") / 32;
	long spare, held, grown;
	double since;
	int tries = 0;
	pid_t pid;

	ASSERT_TRUE(is_at_floor());
	pid = pw_eater(&self->h, 300 * KIB);
	spare = pw_key("/proc/meminfo", "MemAvailable");
	ASSERT_GT(spare, 2 * margin);
	held = pw_pool("held_pages");
	ASSERT_GT(pw_pool("max_pages"), held + (spare + 64 * (long)KIB) / 4);
	grown = pw_stat("pool_grown");
	EXPECT_EQ(-ENOMEM, map_beyond(&self->h, spare + 64 * KIB));
	EXPECT_EQ(grown, pw_stat("pool_grown"));
	EXPECT_EQ(held, pw_pool("held_pages"));
	/* This could be, but others keep a 32nd: what was taken goes back. */
	EXPECT_EQ(-ENOMEM, map_beyond(&self->h, spare - margin / 2));
	EXPECT_GE(held, pw_pool("held_pages"));
	EXPECT_LT(grown, pw_stat("pool_grown"));
	/* For a while nothing is taken for what could not be had just now. */
	do {
		EXPECT_EQ(-ENOMEM, map_beyond(&self->h, spare - margin / 2));
		since = pw_now();
		grown = pw_stat("pool_grown");
		EXPECT_EQ(-ENOMEM, map_beyond(&self->h, spare - margin / 2));
		grown = pw_stat("pool_grown") - grown;
	} while (pw_now() - since > 0.9 && ++tries < 5);
	EXPECT_EQ(0, grown);
	/* What is not too much is granted all the same, and there. */
	spare = pw_key("/proc/meminfo", "MemAvailable");
	EXPECT_EQ(0, map_beyond(&self->h, spare - margin - 32 * KIB));
	EXPECT_LT(held, pw_pool("held_pages"));
	touch_all(&self->h, pw_committed(self->h.fd) / PAGE);
	pw_hog_stop(pid);
}

/*
 * Part of a region whose pages a child has is unmapped by the kernel, and there are no
 * promises for that. When the rest goes, other regions keep theirs.
 */
TEST_F(exhaust, munmap_takes_no_promises)
{
	char *p, *q;
	pid_t pid[3];

	ASSERT_EQ(0, pw_set_huge(self->h.fd, PAGEWELL_HUGE_NEVER));
	p = pw_map_pages(&self->h, 512);
	q = pw_map_pages(&self->h, 1000);
	pw_fill(p, 512, 1);
	pid[0] = pw_fork();
	if (!pid[0])
		for (;;)
			pause();
	pid[1] = pw_hog(&self->h);
	ASSERT_EQ(0, munmap(p + 256 * PAGE, 256 * PAGE));
	ASSERT_EQ(0, pw_unmap(self->h.fd, p, 512 * PAGE));
	EXPECT_EQ(1000 * PAGE, pw_committed(self->h.fd));
	pid[2] = pw_hog(&self->h);
	for (int i = 0; i < 1000; i++)
		ASSERT_EQ(0, pw_try_write(q + i * PAGE, 1));
	for (int i = 0; i < 3; i++)
		pw_hog_stop(pid[i]);
}

TEST_F(exhaust, lazy_limit)
{
	char *p;

	ASSERT_EQ(0, pw_set_commit(self->h.fd, PAGEWELL_COMMIT_LAZY));
	ASSERT_EQ(0, pw_set_limit(self->h.fd, 100 * PAGE));
	p = pw_map_pages(&self->h, 4000);
	for (int i = 0; i < 100; i++)
		ASSERT_EQ(0, pw_try_write(p + i * PAGE, 1));
	EXPECT_EQ(SIGBUS, pw_try_write(p + 3000 * PAGE, 1));
	EXPECT_EQ(SIGBUS, pw_try_write(p + 100 * PAGE, 1));
	EXPECT_EQ(100 * PAGE, pw_resident(self->h.fd));
	EXPECT_EQ(0, pw_try_write(p + 99 * PAGE, 2));
	ASSERT_EQ(0, pw_advise(self->h.fd, PAGEWELL_ADVISE_DONTNEED, p, 50 * PAGE));
	EXPECT_EQ(0, pw_try_write(p + 3000 * PAGE, 1));
	EXPECT_EQ(2, p[99 * PAGE]);
}

struct toucher {
	struct pw *h;
	char *at;
	int *stop;
	long refused;
};

/* Has a page, or a few, and gives them back. */
static void *touch_often(void *arg)
{
	struct toucher *t = arg;

	while (!pw_get(t->stop)) {
		t->refused += pw_try_write(t->at, 1) != 0;
		CHECK(pw_advise(t->h->fd, PAGEWELL_ADVISE_DONTNEED, t->at, HUGE) == 0);
	}
	return NULL;
}

/*
 * The limit has room for a block, and the pool has none. Whoever touches a slot for the
 * first time asks for one, and then for a page; who needs just that page is not refused
 * meanwhile.
 */
TEST_F(exhaust, lazy_limit_is_not_reached_by_a_try)
{
	const long slots = pw_scaled(1000);
	struct toucher t;
	pthread_t thread;
	long refused = 0;
	char *p, *q;
	pid_t hog;

	ASSERT_EQ(0, pw_set_commit(self->h.fd, PAGEWELL_COMMIT_LAZY));
	ASSERT_EQ(0, pw_set_huge(self->h.fd, PAGEWELL_HUGE_NEVER));
	p = pw_map_pages(&self->h, 1000);
	ASSERT_EQ(0, pw_map(self->h.fd, 0, NULL, (slots + 1) * HUGE, HUGE, &q));
	pw_cover(&self->h, q + (slots + 1) * HUGE);
	pw_fill(p, 1000, 1);
	t = (struct toucher){ .h = &self->h, .at = q, .stop = pw_shared() };
	*q = 1;
	ASSERT_EQ(0, pw_advise(self->h.fd, PAGEWELL_ADVISE_DONTNEED, q, HUGE));
	hog = pw_hog(&self->h);
	ASSERT_EQ(0, pw_advise(self->h.fd, PAGEWELL_ADVISE_DONTNEED, p, 400 * PAGE));
	ASSERT_EQ(0, pw_set_huge(self->h.fd, PAGEWELL_HUGE_ALWAYS));
	ASSERT_EQ(0, pw_set_limit(self->h.fd, pw_resident(self->h.fd) + HUGE));
	ASSERT_EQ(0, pthread_create(&thread, NULL, touch_often, &t));
	for (long i = 1; i <= slots; i++) {
		refused += pw_try_write(q + i * HUGE, 1) != 0;
		ASSERT_EQ(0, pw_advise(self->h.fd, PAGEWELL_ADVISE_DONTNEED, q + i * HUGE, HUGE));
	}
	pw_set(t.stop, 1);
	pthread_join(thread, NULL);
	EXPECT_EQ(0, refused);
	EXPECT_EQ(0, t.refused);
	EXPECT_EQ(600 * PAGE, pw_resident(self->h.fd));
	pw_hog_stop(hog);
}

#define MORE	2000L

/* Touches pages that it has not had yet, as far as that is permitted. */
static void *touch_more(void *arg)
{
	struct toucher *t = arg;

	while (!pw_get(t->stop))
		for (long i = 0; i < MORE; i++)
			t->refused += pw_try_write(t->at + i * PAGE, 1) != 0;
	return NULL;
}

/* Pages that are on their way to another place are resident there or here. */
static void move_at_the_limit(struct __test_metadata *_metadata, struct pw *h, uint32_t huge)
{
	const uint32_t flags = PAGEWELL_REMAP_MAYMOVE | PAGEWELL_REMAP_FIXED;
	struct toucher t = { .h = h, .stop = pw_shared() };
	pthread_t thread;
	uint64_t limit;
	char *at[2];

	ASSERT_EQ(0, pw_set_commit(h->fd, PAGEWELL_COMMIT_LAZY));
	ASSERT_EQ(0, pw_set_huge(h->fd, huge));
	ASSERT_EQ(0, pw_map(h->fd, 0, NULL, HUGE, HUGE, &at[0]));
	ASSERT_EQ(0, pw_map(h->fd, 0, NULL, HUGE, HUGE, &at[1]));
	pw_cover(h, at[1] + HUGE);
	t.at = pw_map_pages(h, MORE);
	pw_fill(at[0], 512, 1);
	ASSERT_EQ(0, pw_set_huge(h->fd, PAGEWELL_HUGE_NEVER));
	limit = pw_resident(h->fd) + 64 * PAGE;
	ASSERT_EQ(0, pw_set_limit(h->fd, limit));
	ASSERT_EQ(0, pthread_create(&thread, NULL, touch_more, &t));
	while (pw_resident(h->fd) < limit)
		sched_yield();
	for (long i = 0; i < pw_scaled(300); i++)
		ASSERT_EQ(0, pw_remap_to(h->fd, flags, at[i % 2], HUGE, HUGE, at[!(i % 2)]));
	pw_set(t.stop, 1);
	pthread_join(thread, NULL);
	EXPECT_LT(0, t.refused);
	EXPECT_EQ(limit, pw_resident(h->fd));
	EXPECT_EQ(-1, pw_wrong(at[pw_scaled(300) % 2], 512, 1));
}

TEST_F(exhaust, lazy_limit_holds_while_pages_move)
{
	move_at_the_limit(_metadata, &self->h, PAGEWELL_HUGE_NEVER);
}

TEST_F(exhaust, lazy_limit_holds_while_a_block_moves)
{
	move_at_the_limit(_metadata, &self->h, PAGEWELL_HUGE_ALWAYS);
}

#define TOP	"/sys/fs/cgroup"
#define GROUP	TOP "/pwexhaust"

static bool put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : write(fd, text, strlen(text));

	close(fd);
	return n == (ssize_t)strlen(text);
}

/* The cgroup may have so much more of the kernel's memory than it has now. */
static bool put_max(long more)
{
	char text[32];
	long now;
	FILE *f = fopen(GROUP "/memory.current", "re");

	CHECK(f && fscanf(f, "%ld", &now) == 1);
	fclose(f);
	snprintf(text, sizeof(text), "%ld", now + more);
	return put(GROUP "/memory.max", text);
}

static void remap_at_the_limit(int *step)
{
	const long slots = 3000;
	struct pw h;
	char *p, *to;

	CHECK(put(GROUP "/cgroup.procs", "0"));
	pw_heap(&h, 16 * MIB);
	CHECK(pw_set_commit(h.fd, PAGEWELL_COMMIT_LAZY) == 0);
	CHECK(pw_set_huge(h.fd, PAGEWELL_HUGE_NEVER) == 0);
	CHECK(pw_map(h.fd, 0, NULL, slots * HUGE, HUGE, &p) == 0);
	CHECK(pw_map(h.fd, 0, NULL, PAGE, 0, &to) == 0);
	pw_cover(&h, p + 3 * slots * HUGE);
	for (long i = 0; i < slots; i++)
		p[i * HUGE + 3 * PAGE] = 1;
	/* Who shares the chunks keeps them, so the move takes new ones. */
	if (!pw_fork()) {
		CHECK(put(TOP "/cgroup.procs", "0"));
		pw_set(step, 1);
		for (;;)
			pause();
	}
	pw_wait_for(step, 1);
	CHECK(put_max(MIB));
	pw_set(step, 2);
	pw_remap(h.fd, PAGEWELL_REMAP_MAYMOVE, p, slots * HUGE, (slots + 1) * HUGE, &to);
	_exit(0);
}

/* The kernel kills who needs more of its memory than its cgroup may have: that works. */
TEST(killed_where_the_kernel_has_no_memory)
{
	int *step = pw_shared();
	pid_t pid, gone = 0;
	int status = 0;
	double end;

	if (access(TOP "/cgroup.procs", F_OK))
		mount("none", TOP, "cgroup2", 0, NULL);
	if (!put(TOP "/cgroup.subtree_control", "+memory"))
		SKIP(return, "no memory cgroups");
	ASSERT_TRUE(mkdir(GROUP, 0755) == 0 || errno == EEXIST);
	pid = pw_fork();
	if (!pid)
		remap_at_the_limit(step);
	pw_wait_for(step, 2);
	for (end = pw_now() + 60; !gone && pw_now() < end; usleep(20000))
		gone = waitpid(pid, &status, WNOHANG);
	EXPECT_EQ(pid, gone);
	EXPECT_EQ(SIGKILL, WIFSIGNALED(status) ? WTERMSIG(status) : 0);
	put(GROUP "/memory.max", "max");
	if (!gone)
		pw_hog_stop(pid);
	rmdir(GROUP);
	put(TOP "/cgroup.subtree_control", "-memory");
}

PW_TEST_POOL_WHOLE

TEST_HARNESS_MAIN
