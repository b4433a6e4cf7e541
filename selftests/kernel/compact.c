// SPDX-License-Identifier: GPL-2.0-only
/*
 * compact.c - pages are moved so that there are free pages of 2 MiB
 *
 * The pool is kept from growing, filled with small pages and thinned out, so
 * that half of it is free and nowhere as much as 2 MiB in one piece.
 */
#include <linux/genetlink.h>
#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>
#include <netlink/netlink.h>

#include "pagewell_netlink.h"
#include "pw_test.h"

#define SLOTS	48L	/* that are asked for */
#define FRESH	8192L	/* pages that the pool gets for this */
#define SPARE	256L	/* pages for everything else */
#define THREADS	3
#define HELD	16L	/* pages in a pipe */

FIXTURE(compact) {
	struct pw h;
	long max;	/* of the pool, pages */
	long nr;	/* pages of the heap */
	long step;	/* from one that is in use to the next */
	char *p;
	char *asked;	/* slots for which 2 MiB are asked for */
	long slots;	/* how many of them there are */
	long next;	/* the one to be touched next */
};

static void set_ceiling(long pages)
{
	struct nl_sock *sock = nl_socket_alloc();
	struct nl_msg *msg = nlmsg_alloc();
	int family;

	CHECK(sock && msg && !genl_connect(sock));
	family = genl_ctrl_resolve(sock, PAGEWELL_FAMILY_NAME);
	CHECK(genlmsg_put(msg, NL_AUTO_PORT, NL_AUTO_SEQ, family, 0, 0, PAGEWELL_CMD_POOL_SET,
			  PAGEWELL_FAMILY_VERSION));
	nla_put_u64(msg, PAGEWELL_A_POOL_MAX_SIZE, pages * PAGE);
	CHECK(nl_send_auto(sock, msg) >= 0);
	CHECK(nl_wait_for_ack(sock) == 0);
	nlmsg_free(msg);
	nl_socket_free(sock);
}

/* Thousandths. */
static long fragmentation(void)
{
	FILE *f = fopen(PW_DEBUGFS "pool", "re");
	char line[256];
	double value = -1;

	CHECK(f);
	while (value < 0 && fgets(line, sizeof(line), f))
		if (sscanf(line, "fragmentation: %lf", &value) != 1)
			value = -1;
	fclose(f);
	CHECK(value >= 0);
	return value * 1000;
}

static void thin_out(FIXTURE_DATA(compact) *self, long from, long step)
{
	for (long i = from; i < self->nr; i += step)
		CHECK(pw_advise(self->h.fd, PAGEWELL_ADVISE_DONTNEED, self->p + i * PAGE,
				PAGE) == 0);
}

/* Have all the pool may have, by a promise for all of it. */
static bool grow(void)
{
	pid_t pid = pw_hog(NULL);

	pw_hog_stop(pid);
	return pw_pool_whole() && pw_pool("held_pages") == pw_pool("max_pages");
}

FIXTURE_SETUP(compact)
{
	ASSERT_TRUE(pw_pool_whole());
	self->max = pw_pool("max_pages");
	ASSERT_TRUE(pw_pool_found());
	set_ceiling(pw_pool("floor_pages"));
	set_ceiling(pw_pool("floor_pages") + FRESH);
	CHECK(grow());
	self->nr = pw_pool("avail_pages") - SPARE;
	pw_heap(&self->h, 4 * MIB);
	ASSERT_EQ(0, pw_set_huge(self->h.fd, PAGEWELL_HUGE_NEVER));
	/* More may be asked for than there is. */
	ASSERT_EQ(0, pw_set_commit(self->h.fd, PAGEWELL_COMMIT_LAZY));
	self->p = pw_map_pages(&self->h, self->nr);
	pw_fill(self->p, self->nr, 1);
	thin_out(self, 1, 2);
	self->step = 2;
	self->slots = SLOTS;
	ASSERT_EQ(0, pw_map(self->h.fd, 0, NULL, SLOTS * HUGE, HUGE,
			    &self->asked));
	pw_cover(&self->h, self->asked + SLOTS * HUGE);
	ASSERT_EQ(0, pw_advise(self->h.fd, PAGEWELL_ADVISE_HUGEPAGE, self->asked, SLOTS * HUGE));
}

FIXTURE_TEARDOWN(compact)
{
	close(self->h.fd);
	munmap(self->h.base, self->h.len);
	set_ceiling(self->max);
}

static long nr_huge(FIXTURE_DATA(compact) *self)
{
	return pw_smaps(self->asked, self->slots * HUGE, "FilePmdMapped") / 2048;
}

static void touch_next(FIXTURE_DATA(compact) *self)
{
	CHECK(self->next < self->slots);
	self->asked[self->next++ * HUGE] = 1;
}

/* Touch slots until @want more have 2 MiB. Return: how many have. */
static long ask(FIXTURE_DATA(compact) *self, long want)
{
	long before = nr_huge(self), got = 0, had, won;
	double next;

	while (got < want && self->next < self->slots) {
		won = pw_stat("blocks_emptied");
		had = got;
		touch_next(self);
		got = nr_huge(self) - before;
		if (got > had)
			continue;
		for (next = pw_now() + 2; pw_now() < next; usleep(10000))
			if (pw_stat("blocks_emptied") > won)
				break;
	}
	return got;
}

static void check_pages(FIXTURE_DATA(compact) *self)
{
	for (long i = 0; i < self->nr; i += self->step) {
		volatile uint64_t *w = (void *)(self->p + i * PAGE);

		for (size_t j = 0; j < PAGE / 8; j++)
			CHECK(w[j] == pw_word(1, i, j));
	}
}

TEST_F(compact, makes_room)
{
	long moved = pw_stat("pages_moved");
	double end = pw_now() + 120;

	ASSERT_EQ(1000, fragmentation());
	touch_next(self);
	EXPECT_EQ(0, nr_huge(self));
	while (fragmentation() == 1000 && pw_now() < end)
		usleep(10000);
	EXPECT_LT(fragmentation(), 1000);
	EXPECT_GT(pw_stat("pages_moved"), moved);
	EXPECT_EQ(6, ask(self, 6));
	check_pages(self);
	EXPECT_TRUE(pw_pool_sound());
}

static void drop_slab(void)
{
	int fd = open("/proc/sys/vm/drop_caches", O_WRONLY);

	CHECK(fd >= 0 && write(fd, "2", 1) == 1);
	close(fd);
}

/* Return: whether the pool comes down to its floor. @shrink: the kernel asks for it. */
static bool comes_down(bool shrink)
{
	double end = pw_now() + 120;

	while (pw_pool("held_pages") > pw_pool("floor_pages") && pw_now() < end) {
		if (shrink)
			drop_slab();
		usleep(100000);
	}
	fprintf(stderr, "# held %ld used %ld floor %ld\n", pw_pool("held_pages"),
		pw_pool("used_pages"), pw_pool("floor_pages"));
	return pw_pool("held_pages") == pw_pool("floor_pages");
}

/* What is free in pieces goes back to the kernel when that is short. */
TEST_F(compact, gives_back_under_pressure)
{
	long idle_s = pw_get_param("pool_idle_s");

	ASSERT_LT(pw_pool("used_pages"), pw_pool("floor_pages") - SPARE);
	ASSERT_LT(pw_pool("idle_pages"), 512);
	ASSERT_EQ(0, pw_set_param("pool_idle_s", 3600));
	EXPECT_TRUE(comes_down(true));
	ASSERT_EQ(0, pw_set_param("pool_idle_s", idle_s));
	check_pages(self);
	EXPECT_TRUE(pw_pool_sound());
}

/* And when it was of no use for a time. */
TEST_F(compact, gives_back_with_time)
{
	long idle_s = pw_get_param("pool_idle_s");

	ASSERT_EQ(0, pw_set_param("pool_idle_s", 1));
	EXPECT_TRUE(comes_down(false));
	ASSERT_EQ(0, pw_set_param("pool_idle_s", idle_s));
	check_pages(self);
	EXPECT_TRUE(pw_pool_sound());
}

/* A heap to which all is promised that is free, the slots that are asked for with it. */
static void promise_all(FIXTURE_DATA(compact) *self)
{
	size_t len;

	self->slots = pw_pool("avail_pages") / 512;
	len = self->slots * HUGE;
	CHECK(pw_map(self->h.fd, 0, NULL, len, HUGE, &self->asked) == 0);
	pw_cover(&self->h, self->asked + len);
	CHECK(pw_advise(self->h.fd, PAGEWELL_ADVISE_HUGEPAGE, self->asked, len) == 0);
	pw_map_pages(&self->h, pw_pool("avail_pages"));
	CHECK(pw_pool("avail_pages") == 0);
}

/* Have nothing that was asked for still on its way: the thread looks once a second. */
static void forget_what_was_asked(void)
{
	long mbps = pw_get_param("compact_mbps");

	CHECK(pw_set_param("compact_mbps", 0) == 0);
	usleep(2500000);
	CHECK(pw_set_param("compact_mbps", mbps) == 0);
}

/* What is promised is a place to move to, and there when it is touched. */
TEST_F(compact, all_is_promised)
{
	pid_t pid = pw_fork();
	char *end;

	if (!pid) {
		CHECK(!munmap(self->h.base, self->h.len));
		pw_heap(&self->h, 4 * MIB);
		promise_all(self);
		CHECK(ask(self, 6) == 6);
		end = self->h.base + pw_committed(self->h.fd);
		for (char *at = self->h.base; at < end; at += PAGE)
			*at = 1;
		_exit(0);
	}
	EXPECT_EQ(0, pw_wait(pid));
	check_pages(self);
	EXPECT_TRUE(pw_pool_sound());
	forget_what_was_asked();
}

TEST_F(compact, can_be_switched_off)
{
	long mbps = pw_get_param("compact_mbps"), moved;

	ASSERT_EQ(0, pw_set_param("compact_mbps", 0));
	moved = pw_stat("pages_moved");
	for (int i = 0; i < 4; i++) {
		touch_next(self);
		usleep(300000);
	}
	EXPECT_EQ(moved, pw_stat("pages_moved"));
	EXPECT_EQ(0, nr_huge(self));
	ASSERT_EQ(0, pw_set_param("compact_mbps", mbps));
}

/* Who locks memory wants no faults. */
TEST_F(compact, locked_pages_stay)
{
	long moved;

	ASSERT_EQ(0, mlock2(self->p, self->nr * PAGE, MLOCK_ONFAULT));
	moved = pw_stat("pages_moved");
	for (int i = 0; i < 4; i++) {
		touch_next(self);
		usleep(300000);
	}
	EXPECT_EQ(moved, pw_stat("pages_moved"));
	ASSERT_EQ(0, munlock(self->p, self->nr * PAGE));
}

#define LOCKED	32L	/* pages, in the middle of each slot */

/* What is there of the locked pages, in KiB. */
static long locked(FIXTURE_DATA(compact) *self)
{
	return pw_smaps(self->p, self->nr * PAGE, "Locked");
}

/* Others are moved, and those next to them stay mapped. */
TEST_F(compact, locked_neighbours_stay)
{
	long moved = pw_stat("pages_moved"), had;
	double end = pw_now() + 120;

	for (long slot = 0; slot < self->nr / 512; slot++)
		ASSERT_EQ(0, mlock2(self->p + slot * HUGE + HUGE / 2, LOCKED * PAGE,
				    MLOCK_ONFAULT));
	had = locked(self);
	EXPECT_EQ(self->nr / 512 * LOCKED / 2 * PAGE / 1024, had);
	while (pw_stat("pages_moved") < moved + 100 && self->next < SLOTS && pw_now() < end) {
		touch_next(self);
		usleep(300000);
	}
	EXPECT_GE(pw_stat("pages_moved"), moved + 100);
	EXPECT_EQ(had, locked(self));
	check_pages(self);
	ASSERT_EQ(0, munlock(self->p, self->nr * PAGE));
}

/* Whoever holds a page goes on to see what is written to it. */
TEST_F(compact, held_pages_stay)
{
	static char buf[PAGE];
	int fds[2];

	ASSERT_EQ(0, pipe(fds));
	for (long i = 0; i < HELD; i++) {
		struct iovec iov = { self->p + i * 64 * PAGE, PAGE };

		ASSERT_EQ((ssize_t)PAGE, vmsplice(fds[1], &iov, 1, 0));
	}
	EXPECT_EQ(4, ask(self, 4));
	check_pages(self);
	for (long i = 0; i < HELD; i++)
		self->p[i * 64 * PAGE] = i + 1;
	for (long i = 0; i < HELD; i++) {
		ASSERT_EQ((ssize_t)PAGE, read(fds[0], buf, PAGE));
		EXPECT_EQ(i + 1, buf[0]);
	}
	EXPECT_TRUE(pw_pool_sound());
}

/* Each has pages of its own, and counts in them. */
struct writer {
	pthread_t thread;
	FIXTURE_DATA(compact) *self;
	int nr;
	bool stop;
};

static volatile uint64_t *counter(struct writer *w, long i)
{
	return (volatile uint64_t *)(w->self->p + i * PAGE) + 7;
}

static void *write_pages(void *arg)
{
	struct writer *w = arg;
	long step = w->self->step;
	uint64_t round;

	for (long i = w->nr * step; i < w->self->nr; i += THREADS * step)
		*counter(w, i) = 0;
	for (round = 0; !__atomic_load_n(&w->stop, __ATOMIC_RELAXED); round++)
		for (long i = w->nr * step; i < w->self->nr; i += THREADS * step) {
			CHECK(*counter(w, i) == round);
			*counter(w, i) = round + 1;
		}
	for (long i = w->nr * step; i < w->self->nr; i += THREADS * step) {
		CHECK(*counter(w, i) == round);
		*counter(w, i) = pw_word(1, i, 7);
	}
	return NULL;
}

static void start_writers(FIXTURE_DATA(compact) *self, struct writer *w)
{
	for (int i = 0; i < THREADS; i++) {
		w[i] = (struct writer){ .self = self, .nr = i };
		CHECK(!pthread_create(&w[i].thread, NULL, write_pages, &w[i]));
	}
}

static void stop_writers(struct writer *w)
{
	for (int i = 0; i < THREADS; i++)
		__atomic_store_n(&w[i].stop, true, __ATOMIC_RELAXED);
	for (int i = 0; i < THREADS; i++)
		CHECK(!pthread_join(w[i].thread, NULL));
}

TEST_F(compact, while_pages_are_written)
{
	struct writer w[THREADS];

	start_writers(self, w);
	EXPECT_EQ(6, ask(self, 6));
	stop_writers(w);
	check_pages(self);
	EXPECT_TRUE(pw_pool_sound());
}

/* A heap of its own, which comes and goes. */
static void churn(struct pw *mine)
{
	char *at;
	struct pw h;

	CHECK(!munmap(mine->base, mine->len));
	pw_heap(&h, 4 * MIB);
	at = pw_map_pages(&h, 100);
	for (uint64_t seed = 0; ; seed++) {
		pw_fill(at, 100, seed);
		CHECK(pw_wrong(at, 100, seed) == -1);
	}
}

/* Reads what the parent has, and writes to what is its own. */
static void inherit(FIXTURE_DATA(compact) *self)
{
	for (long i = 0; i < self->nr; i += 16 * self->step) {
		char *page = self->p + i * PAGE;

		CHECK(*(uint64_t *)page == pw_word(1, i, 0));
		*(uint64_t *)page = i;
		CHECK(*(uint64_t *)page == (uint64_t)i);
	}
}

/* Children are made and killed, pages held and let go, all the time. */
static void disturb(FIXTURE_DATA(compact) *self, uint64_t *rnd)
{
	struct iovec iov = { self->p + pw_random(rnd) % self->nr / 4 * 4 * PAGE, PAGE };
	pid_t pid[2];
	int fds[2];

	CHECK(!pipe(fds) && vmsplice(fds[1], &iov, 1, 0) == (ssize_t)PAGE);
	pid[0] = pw_fork();
	if (!pid[0]) {
		inherit(self);
		_exit(0);
	}
	pid[1] = pw_fork();
	if (!pid[1])
		churn(&self->h);
	usleep(pw_random(rnd) % 30000);
	CHECK(!kill(pid[1], SIGKILL));
	CHECK(pw_wait(pid[1]) == 128 + SIGKILL);
	CHECK(pw_wait(pid[0]) == 0);
	close(fds[0]);
	close(fds[1]);
}

TEST_F(compact, among_forks_holders_and_the_killed)
{
	long moved = pw_stat("pages_moved");
	double end = pw_now() + pw_scaled(10);
	struct writer w[THREADS];
	uint64_t rnd = 77;

	/* Room for what writers and children copy. */
	thin_out(self, 2, 4);
	self->step = 4;
	start_writers(self, w);
	for (long i = 0; pw_now() < end; i++) {
		if (i % 4 == 0 && self->next < SLOTS / 2)
			touch_next(self);
		disturb(self, &rnd);
	}
	/* There may be some 2 MiB left over. */
	do {
		EXPECT_EQ(1, ask(self, 1));
	} while (pw_stat("pages_moved") == moved && self->next < SLOTS);
	stop_writers(w);
	EXPECT_GT(pw_stat("pages_moved"), moved);
	check_pages(self);
	EXPECT_TRUE(pw_pool_sound());
}

PW_TEST_POOL_WHOLE

TEST_HARNESS_MAIN
