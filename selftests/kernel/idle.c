// SPDX-License-Identifier: GPL-2.0-only
/*
 * idle.c - pages that nobody touches are packed, and come back
 */
#include <pthread.h>

#include "pw_test.h"

#define NR	600

static long idle(const char *key)
{
	long value = pw_key(PW_DEBUGFS "idle", key);

	CHECK(value >= 0);
	return value;
}

/* Another heap's last packed page may be on its way out. */
static bool comes_to(const char *key, long value)
{
	for (double end = pw_now() + 20; pw_now() < end; usleep(20000))
		if (idle(key) == value)
			return true;
	fprintf(stderr, "# %s: %ld, not %ld\n", key, idle(key), value);
	return false;
}

static int cold(struct pw *h, const char *p, long nr)
{
	return pw_advise(h->fd, PAGEWELL_ADVISE_COLD, p, nr * PAGE);
}

static void make_lazy(struct pw *h)
{
	pw_heap(h, 64 * MIB);
	CHECK(pw_set_commit(h->fd, PAGEWELL_COMMIT_LAZY) == 0);
}

static void fill_random(char *p, uint64_t seed)
{
	uint64_t *w = (void *)p;

	seed |= 1;
	for (int i = 0; i < 512; i++)
		w[i] = pw_random(&seed);
}

static bool is_random(const char *p, uint64_t seed)
{
	const uint64_t *w = (const void *)p;

	seed |= 1;
	for (int i = 0; i < 512; i++)
		if (w[i] != pw_random(&seed))
			return false;
	return true;
}

static bool is_full_of(const char *p, char c)
{
	for (unsigned long i = 0; i < PAGE; i++)
		if (p[i] != c)
			return false;
	return true;
}

static long rss(struct pw *h)
{
	return pw_smaps(h->base, h->len, "Rss") / 4;
}

TEST(off_by_default)
{
	long packed = pw_stat("packed");
	struct pw h;
	char *p;

	EXPECT_EQ(0, pw_get_param("idle_max_mb"));
	EXPECT_EQ(0, pw_get_param("idle_s"));
	make_lazy(&h);
	p = pw_map_pages(&h, NR);
	pw_fill(p, NR, 1);
	ASSERT_EQ(0, cold(&h, p, NR));
	EXPECT_EQ(packed, pw_stat("packed"));
	EXPECT_EQ(NR, rss(&h));
}

TEST(bad_settings)
{
	EXPECT_EQ(-EINVAL, pw_set_param("idle_max_mb", 1L << 40));
	EXPECT_EQ(0, pw_get_param("idle_max_mb"));
	EXPECT_EQ(-EINVAL, pw_set_param("idle_s", -1));
	EXPECT_EQ(-EINVAL, pw_set_param("idle_mbps", -1));
}

FIXTURE(idle) {
	struct pw h;
	char *p;
	long packed, unpacked;
};

FIXTURE_SETUP(idle)
{
	if (!pw_can_pack())
		SKIP(return, "this kernel has no zsmalloc or no lz4");
	ASSERT_EQ(0, pw_set_param("idle_max_mb", 64));
	make_lazy(&self->h);
	self->p = pw_map_pages(&self->h, NR);
	pw_fill(self->p, NR, 1);
	ASSERT_TRUE(comes_to("packed_pages", 0));
	self->packed = pw_stat("packed");
	self->unpacked = pw_stat("unpacked");
}

FIXTURE_TEARDOWN(idle)
{
	pw_set_param("idle_s", 0);
	pw_set_param("idle_max_mb", 0);
	close(self->h.fd);
}

static long packed(FIXTURE_DATA(idle) *self)
{
	return pw_stat("packed") - self->packed;
}

static long unpacked(FIXTURE_DATA(idle) *self)
{
	return pw_stat("unpacked") - self->unpacked;
}

TEST_F(idle, contents_come_back)
{
	long used = pw_pool("used_pages");

	ASSERT_EQ(0, cold(&self->h, self->p, NR));
	EXPECT_EQ(NR, packed(self));
	EXPECT_EQ(0, rss(&self->h));
	EXPECT_EQ(0, pw_resident(self->h.fd));
	EXPECT_EQ(NR, idle("packed_pages"));
	EXPECT_EQ(used - NR, pw_pool("used_pages"));
	EXPECT_GT(idle("packed_bytes"), 0);
	EXPECT_LT(idle("packed_bytes"), NR * PAGE * 3 / 4 + 1);
	EXPECT_GE(idle("store_bytes"), idle("packed_bytes"));
	/* Again: there is nothing left to be packed. */
	ASSERT_EQ(0, cold(&self->h, self->p, NR));
	EXPECT_EQ(NR, packed(self));

	EXPECT_EQ(-1, pw_wrong(self->p, NR / 2, 1));
	EXPECT_EQ(NR / 2, unpacked(self));
	EXPECT_EQ(NR / 2, idle("packed_pages"));
	EXPECT_EQ(NR / 2 * PAGE, pw_resident(self->h.fd));
	pw_fill(self->p + NR / 2 * PAGE, NR - NR / 2, 3);
	EXPECT_EQ(-1, pw_wrong(self->p, NR / 2, 1));
	EXPECT_EQ(-1, pw_wrong(self->p + NR / 2 * PAGE, NR - NR / 2, 3));
	EXPECT_EQ(NR, unpacked(self));
	EXPECT_EQ(0, idle("packed_pages"));
	EXPECT_EQ(0, idle("packed_bytes"));
	EXPECT_EQ(0, idle("store_bytes"));
	EXPECT_EQ(used, pw_pool("used_pages"));
}

/* Same words take hardly any; what does not get smaller stays where it is. */
TEST_F(idle, all_kinds)
{
	long same = pw_stat("packed_same"), refused = pw_stat("pack_refused");

	for (long i = 0; i < 300; i++)
		if (i % 3 == 0)
			memset(self->p + i * PAGE, i % 2 ? 0 : 'x', PAGE);
		else if (i % 3 == 1)
			fill_random(self->p + i * PAGE, i);
	ASSERT_EQ(0, cold(&self->h, self->p, 300));
	EXPECT_EQ(200, packed(self));
	EXPECT_EQ(100, pw_stat("packed_same") - same);
	EXPECT_EQ(100, pw_stat("pack_refused") - refused);
	EXPECT_EQ(100, idle("same_pages"));
	for (long i = 0; i < 300; i++) {
		const char *p = self->p + i * PAGE;
		const uint64_t *w = (const void *)p;

		if (i % 3 == 0) {
			EXPECT_TRUE(is_full_of(p, i % 2 ? 0 : 'x'));
		} else if (i % 3 == 1) {
			EXPECT_TRUE(is_random(p, i));
		} else {
			EXPECT_EQ(pw_word(1, i, 0), w[0]);
			EXPECT_EQ(pw_word(1, i, 511), w[511]);
		}
	}
	EXPECT_EQ(200, unpacked(self));
	EXPECT_EQ(0, idle("same_pages"));
}

/* What was promised is there: packing it would give nobody a page. */
TEST_F(idle, a_strict_heap_keeps_everything)
{
	pid_t pid = pw_fork();
	struct pw h;
	char *p;

	if (!pid) {
		CHECK(munmap(self->h.base, self->h.len) == 0);
		pw_heap(&h, 16 * MIB);
		p = pw_map_pages(&h, NR);
		pw_fill(p, NR, 3);
		CHECK(pw_set_param("idle_s", 1) == 0);
		CHECK(cold(&h, p, NR) == 0);
		sleep(4);
		CHECK(rss(&h) == NR);
		CHECK(pw_wrong(p, NR, 3) == -1);
		exit(0);
	}
	EXPECT_EQ(0, pw_wait(pid));
}

TEST_F(idle, limit)
{
	char *p = pw_map_pages(&self->h, 4000);

	pw_fill(p, 4000, 2);
	ASSERT_EQ(0, pw_set_param("idle_max_mb", 1));
	ASSERT_EQ(0, cold(&self->h, p, 4000));
	EXPECT_GT(packed(self), 200);
	EXPECT_LT(packed(self), 2000);
	/* A piece of its own is at most 8 or 16 pages. */
	EXPECT_LE(idle("store_bytes"), MIB + 16 * PAGE);
	EXPECT_EQ(MIB, idle("max_bytes"));
	EXPECT_EQ(-1, pw_wrong(p, 4000, 2));
	EXPECT_EQ(0, idle("packed_pages"));

	/* Off: what is packed still comes back. */
	ASSERT_EQ(0, cold(&self->h, self->p, 100));
	ASSERT_EQ(0, pw_set_param("idle_max_mb", 0));
	EXPECT_EQ(100, idle("packed_pages"));
	EXPECT_EQ(-1, pw_wrong(self->p, NR, 1));
	EXPECT_EQ(0, idle("packed_pages"));
}

/* A page of one word has no store, but the kernel keeps that word and where it was. */
TEST_F(idle, limit_of_same_words)
{
	const long slots = 100;
	char *p;

	ASSERT_EQ(0, pw_set_huge(self->h.fd, PAGEWELL_HUGE_NEVER));
	ASSERT_EQ(0, pw_map(self->h.fd, 0, NULL, slots * HUGE, HUGE, &p));
	pw_cover(&self->h, p + slots * HUGE);
	ASSERT_EQ(0, pw_set_param("idle_max_mb", 1));
	for (long i = 0; i < slots; i++) {
		memset(p + i * HUGE, 'x', HUGE);
		ASSERT_EQ(0, cold(&self->h, p + i * HUGE, 512));
	}
	/* 16 bytes for itself, and at least 8 to be found again. */
	EXPECT_LT(packed(self), (long)MIB / 24 + 512);
	EXPECT_GT(packed(self), (long)MIB / 64);
	EXPECT_GE(idle("store_bytes"), (long)MIB);
	EXPECT_LT(idle("store_bytes"), (long)(MIB + 16 * PAGE));
	ASSERT_EQ(0, pw_unmap(self->h.fd, p, slots * HUGE));
	EXPECT_EQ(0, idle("store_bytes"));
}

TEST_F(idle, fork)
{
	pid_t pid;

	ASSERT_EQ(0, cold(&self->h, self->p, 400));
	pid = pw_fork();
	if (!pid) {
		CHECK(pw_resident(self->h.fd) == (NR - 400) * PAGE);
		CHECK(pw_wrong(self->p, 100, 1) == -1);
		pw_fill(self->p + 100 * PAGE, 100, 4);
		CHECK(pw_wrong(self->p + 100 * PAGE, 100, 4) == -1);
		/* 200 of them are still packed, here and in the parent. */
		CHECK(pw_resident(self->h.fd) == (NR - 200) * PAGE);
		exit(0);
	}
	EXPECT_EQ(0, pw_wait(pid));
	EXPECT_TRUE(comes_to("packed_pages", 400));
	EXPECT_EQ(-1, pw_wrong(self->p, NR, 1));
	EXPECT_EQ(0, idle("packed_pages"));

	/* Parent first, child and grandchild after it. */
	ASSERT_EQ(0, cold(&self->h, self->p, 400));
	pid = pw_fork();
	if (!pid) {
		pid_t second = pw_fork();

		usleep(200000);
		CHECK(pw_wrong(self->p, NR, 1) == -1);
		exit(second ? pw_wait(second) : 0);
	}
	pw_fill(self->p, 400, 5);
	EXPECT_EQ(0, pw_wait(pid));
	EXPECT_EQ(-1, pw_wrong(self->p, 400, 5));
	EXPECT_TRUE(comes_to("packed_pages", 0));

	/* What a child still shares with its parent is not packed. */
	pid = pw_fork();
	if (!pid) {
		CHECK(cold(&self->h, self->p, 400) == 0);
		CHECK(idle("packed_pages") == 0);
		exit(0);
	}
	EXPECT_EQ(0, pw_wait(pid));
	EXPECT_EQ(-1, pw_wrong(self->p, 400, 5));
}

/* A pinned page keeps fork from sharing the chunk: page by page then. */
TEST_F(idle, fork_page_by_page)
{
	int fds[2];
	pid_t pid;

	ASSERT_EQ(0, cold(&self->h, self->p, 100));
	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(0, munmap(self->h.base + 32 * MIB, PAGE));
	ASSERT_EQ(0, mprotect(self->p + 50 * PAGE, 10 * PAGE, PROT_READ));
	pid = pw_fork();
	if (!pid) {
		CHECK(pw_wrong(self->p, NR, 1) == -1);
		exit(0);
	}
	EXPECT_EQ(0, pw_wait(pid));
	EXPECT_TRUE(comes_to("packed_pages", 100));
	EXPECT_EQ(-1, pw_wrong(self->p, NR, 1));
}

TEST_F(idle, unmap_dontneed_and_exit)
{
	pid_t pid;
	char *q;

	ASSERT_EQ(0, cold(&self->h, self->p, NR));
	ASSERT_EQ(0, pw_advise(self->h.fd, PAGEWELL_ADVISE_DONTNEED, self->p + 100 * PAGE,
			       100 * PAGE));
	EXPECT_EQ(NR - 100, idle("packed_pages"));
	EXPECT_EQ(-1, pw_nonzero(self->p + 100 * PAGE, 100));
	ASSERT_EQ(0, pw_advise(self->h.fd, PAGEWELL_ADVISE_FREE, self->p, 50 * PAGE));
	EXPECT_EQ(-1, pw_wrong(self->p, 50, 1));
	ASSERT_EQ(0, pw_unmap(self->h.fd, self->p + 200 * PAGE, 200 * PAGE));
	EXPECT_EQ(NR - 350, idle("packed_pages"));
	ASSERT_EQ(0, pw_map(self->h.fd, PAGEWELL_MAP_FIXED, self->p + 400 * PAGE, 100 * PAGE, 0,
			    NULL));
	EXPECT_EQ(NR - 450, idle("packed_pages"));
	EXPECT_EQ(-1, pw_nonzero(self->p + 400 * PAGE, 100));

	pid = pw_fork();
	if (!pid) {
		struct pw h;

		CHECK(munmap(self->h.base, self->h.len) == 0);
		make_lazy(&h);
		q = pw_map_pages(&h, NR);
		pw_fill(q, NR, 2);
		CHECK(cold(&h, q, NR) == 0);
		CHECK(idle("packed_pages") == NR - 450 + NR);
		exit(0);
	}
	EXPECT_EQ(0, pw_wait(pid));
	EXPECT_TRUE(comes_to("packed_pages", NR - 450));
	ASSERT_EQ(0, munmap(self->h.base, self->h.len));
	EXPECT_EQ(0, idle("packed_pages"));
}

TEST_F(idle, brk)
{
	uint32_t id;
	char *b;

	ASSERT_EQ(0, pw_brk_create(self->h.fd, HUGE, &id, &b));
	pw_cover(&self->h, b + HUGE);
	ASSERT_EQ(0, pw_brk(self->h.fd, id, b + 300 * PAGE, NULL));
	pw_fill(b, 300, 7);
	ASSERT_EQ(0, cold(&self->h, b, 300));
	EXPECT_EQ(300, idle("packed_pages"));
	ASSERT_EQ(0, pw_brk(self->h.fd, id, b + 100 * PAGE, NULL));
	EXPECT_EQ(100, idle("packed_pages"));
	ASSERT_EQ(0, pw_brk(self->h.fd, id, b + 300 * PAGE, NULL));
	EXPECT_EQ(-1, pw_nonzero(b + 100 * PAGE, 200));
	EXPECT_EQ(-1, pw_wrong(b, 100, 7));
}

/* They move as they are. */
TEST_F(idle, remap)
{
	char *q;

	ASSERT_EQ(0, cold(&self->h, self->p + 3 * PAGE, NR - 3));
	EXPECT_NE(NULL, pw_map_pages(&self->h, 1));
	ASSERT_EQ(0, pw_remap(self->h.fd, PAGEWELL_REMAP_MAYMOVE, self->p, NR * PAGE,
			      3 * NR * PAGE, &q));
	pw_cover(&self->h, q + 3 * NR * PAGE);
	EXPECT_NE(self->p, q);
	EXPECT_EQ(NR - 3, idle("packed_pages"));
	EXPECT_EQ(3 * PAGE, pw_resident(self->h.fd));
	EXPECT_EQ(-1, pw_wrong(q, NR, 1));
	EXPECT_EQ(0, idle("packed_pages"));
}

TEST_F(idle, populate_and_collapse)
{
	char *q;

	ASSERT_EQ(0, cold(&self->h, self->p, NR));
	ASSERT_EQ(0, pw_advise(self->h.fd, PAGEWELL_ADVISE_POPULATE, self->p + 10 * PAGE,
			       200 * PAGE));
	EXPECT_EQ(NR - 200, idle("packed_pages"));
	EXPECT_EQ(200, rss(&self->h));

	ASSERT_EQ(0, pw_set_huge(self->h.fd, PAGEWELL_HUGE_ALWAYS));
	ASSERT_EQ(0, pw_map(self->h.fd, 0, NULL, 2 * HUGE, HUGE, &q));
	pw_cover(&self->h, q + 2 * HUGE);
	pw_fill(q, 1024, 8);
	/* Part of a page of 2 MiB: it is cut. */
	ASSERT_EQ(0, cold(&self->h, q + 100 * PAGE, 50));
	EXPECT_EQ(NR - 150, idle("packed_pages"));
	EXPECT_EQ(-1, pw_wrong(q, 125, 8));
	EXPECT_EQ(NR - 175, idle("packed_pages"));
	ASSERT_EQ(0, pw_advise(self->h.fd, PAGEWELL_ADVISE_COLLAPSE, q, 2 * HUGE));
	EXPECT_EQ(NR - 200, idle("packed_pages"));
	EXPECT_EQ(-1, pw_wrong(q, 1024, 8));
	EXPECT_EQ(2 * HUGE >> 10, (size_t)pw_smaps(q, 2 * HUGE, "FilePmdMapped"));
	EXPECT_EQ(-1, pw_wrong(self->p, NR, 1));
}

/* Pages that others refer to, and locked ones, stay where they are. */
TEST_F(idle, pinned_and_locked)
{
	struct iovec iov = { self->p + 5 * PAGE, 3 * PAGE };
	int fds[2];

	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ((ssize_t)(3 * PAGE), vmsplice(fds[1], &iov, 1, 0));
	ASSERT_EQ(0, mlock(self->p + 20 * PAGE, 10 * PAGE));
	ASSERT_EQ(0, cold(&self->h, self->p, 100));
	EXPECT_EQ(100 - 3 - 10, idle("packed_pages"));
	EXPECT_EQ(-1, pw_wrong(self->p, NR, 1));
	ASSERT_EQ(0, munlock(self->p + 20 * PAGE, 10 * PAGE));
}

/* The kernel reads and writes them like any other. */
TEST_F(idle, system_calls)
{
	static char buf[8 * PAGE];
	int fds[2];

	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(0, cold(&self->h, self->p, NR));
	ASSERT_EQ((ssize_t)(8 * PAGE), write(fds[1], self->p, 8 * PAGE));
	ASSERT_EQ((ssize_t)(8 * PAGE), read(fds[0], buf, 8 * PAGE));
	EXPECT_EQ(-1, pw_wrong(buf, 8, 1));
	pw_fill(buf, 8, 9);
	ASSERT_EQ((ssize_t)(8 * PAGE), write(fds[1], buf, 8 * PAGE));
	ASSERT_EQ((ssize_t)(8 * PAGE), read(fds[0], self->p + 100 * PAGE, 8 * PAGE));
	EXPECT_EQ(-1, pw_wrong(self->p + 100 * PAGE, 8, 9));
	EXPECT_EQ(16, unpacked(self));
}

/* What was granted once is not refused by the limit when it comes back. */
TEST_F(idle, the_heaps_limit)
{
	char *q = pw_map_pages(&self->h, 1);

	ASSERT_EQ(0, pw_set_limit(self->h.fd, NR * PAGE));
	ASSERT_EQ(0, cold(&self->h, self->p, NR));
	EXPECT_EQ(SIGBUS, pw_try_write(q, 1));
	EXPECT_EQ(-1, pw_wrong(self->p, NR, 1));
	ASSERT_EQ(0, pw_unmap(self->h.fd, self->p, PAGE));
	EXPECT_EQ(0, pw_try_write(q, 1));
}

/* No page for it now: SIGBUS, and it is there when the pool has one again. */
TEST_F(idle, an_empty_pool)
{
	pid_t hog;

	ASSERT_EQ(0, cold(&self->h, self->p, NR));
	hog = pw_hog(&self->h);
	EXPECT_EQ(SIGBUS, pw_try_read(self->p));
	EXPECT_EQ(SIGBUS, pw_try_write(self->p + 300 * PAGE, 1));
	EXPECT_EQ(NR, idle("packed_pages"));
	pw_hog_stop(hog);
	EXPECT_EQ(-1, pw_wrong(self->p, NR, 1));
}

/* A page at the end of what is looked at every second, the others never. */
TEST_F(idle, by_age)
{
	volatile char *hot = self->p + 7 * PAGE;
	double end = pw_now() + 60;

	ASSERT_EQ(0, pw_set_param("idle_s", 2));
	while (packed(self) < NR - 1 && pw_now() < end) {
		hot[0] = hot[0];
		usleep(50000);
	}
	EXPECT_EQ(NR - 1, packed(self));
	EXPECT_EQ(1, rss(&self->h));
	EXPECT_EQ(-1, pw_wrong(self->p, NR, 1));
}

TEST_F(idle, two_mib_by_age)
{
	double end = pw_now() + 60;
	volatile char *hot;
	char *q;

	ASSERT_EQ(0, pw_set_huge(self->h.fd, PAGEWELL_HUGE_ALWAYS));
	ASSERT_EQ(0, pw_map(self->h.fd, 0, NULL, 2 * HUGE, HUGE, &q));
	pw_cover(&self->h, q + 2 * HUGE);
	pw_fill(q, 1024, 8);
	hot = q + HUGE + 5000;
	ASSERT_EQ(0, pw_set_param("idle_s", 2));
	while (packed(self) < NR + 512 && pw_now() < end) {
		hot[0] = hot[0];
		usleep(50000);
	}
	EXPECT_EQ(NR + 512, packed(self));
	EXPECT_EQ(HUGE >> 10, (size_t)pw_smaps(q, 2 * HUGE, "FilePmdMapped"));
	EXPECT_EQ(-1, pw_wrong(q, 1024, 8));
}

struct race {
	struct pw *h;
	char *p;
	uint64_t seed;
	int stop;
};

static void *toucher(void *arg)
{
	struct race *r = arg;
	uint64_t rnd = r->seed;

	while (!__atomic_load_n(&r->stop, __ATOMIC_RELAXED)) {
		long i = pw_random(&rnd) % (NR / 2) * 2 + r->seed % 2;
		volatile uint64_t *w = (void *)(r->p + i * PAGE);
		int k = pw_random(&rnd) % 500;

		CHECK(w[511] == pw_word(1, i, 511));
		/* Each page has one thread that writes to it. */
		w[k] += 1;
		w[k + 1] = w[k];
		CHECK(w[k + 1] == w[k]);
		w[k] = pw_word(1, i, k);
		w[k + 1] = pw_word(1, i, k + 1);
	}
	return NULL;
}

static void *forker(void *arg)
{
	struct race *r = arg;

	while (!__atomic_load_n(&r->stop, __ATOMIC_RELAXED)) {
		pid_t pid = fork();

		if (!pid) {
			for (long i = 0; i < NR; i += 7) {
				volatile uint64_t *w = (void *)(r->p + i * PAGE);

				CHECK(w[511] == pw_word(1, i, 511));
				w[511] = 0;
			}
			_exit(0);
		}
		CHECK(pid > 0 && pw_wait(pid) == 0);
	}
	return NULL;
}

static void race(FIXTURE_DATA(idle) *self, bool forks)
{
	struct race r[3] = {
		{ &self->h, self->p, 2 }, { &self->h, self->p, 3 }, { &self->h, self->p, 4 },
	};
	pthread_t t[3];

	CHECK(pw_set_param("idle_s", 1) == 0);
	for (int i = 0; i < 2 + forks; i++)
		CHECK(pthread_create(&t[i], NULL, i < 2 ? toucher : forker, &r[i]) == 0);
	for (long i = 0, n = pw_scaled(forks ? 100 : 300); i < n; i++)
		CHECK(cold(&self->h, self->p + i % 50 * PAGE, NR - 50) == 0);
	for (int i = 0; i < 2 + forks; i++) {
		r[i].stop = 1;
		pthread_join(t[i], NULL);
	}
	CHECK(pw_set_param("idle_s", 0) == 0);
	sleep(1);
	CHECK(pw_wrong(self->p, NR, 1) == -1);
	CHECK(unpacked(self) > 0);
}

TEST_F(idle, against_touches)
{
	race(self, false);
	EXPECT_EQ(0, idle("packed_pages"));
}

TEST_F(idle, against_fork)
{
	race(self, true);
	EXPECT_TRUE(comes_to("packed_pages", 0));
}

TEST(nothing_left)
{
	EXPECT_TRUE(comes_to("packed_pages", 0));
	EXPECT_EQ(0, idle("packed_bytes"));
	EXPECT_EQ(0, idle("store_bytes"));
}

PW_TEST_POOL_WHOLE

TEST_HARNESS_MAIN
