// SPDX-License-Identifier: GPL-2.0-only
/*
 * race.c - regions change while others touch them
 *
 * What a touch may meet is SIGSEGV or the right contents. A mapping that
 * outlives its region, or a page that is in two places, is found by what is
 * written through it. And limits that many come to.
 */
#include "pw_test.h"

#define SECONDS 1.2
#define ENOUGH 10	/* rounds, however slow the machine is */

struct race {
	struct pw h;
	char *at;
	long pages;
	int stop;
	int bad;
	int generation;		/* odd while the memory is there */
	long touched;
	double longest;
};

FIXTURE(race) {
	struct race r;
};

FIXTURE_SETUP(race)
{
	pw_heap(&self->r.h, 64 * MIB);
}

FIXTURE_TEARDOWN(race)
{
	close(self->r.h.fd);
}

static double duration(void)
{
	return SECONDS * pw_scaled(100) / 100;
}

static void start(pthread_t *thread, int nr, void *(*fn)(void *), struct race *r)
{
	for (int i = 0; i < nr; i++)
		CHECK(pthread_create(&thread[i], NULL, fn, r) == 0);
}

static void finish(pthread_t *thread, int nr, struct race *r)
{
	pw_set(&r->stop, 1);
	for (int i = 0; i < nr; i++)
		pthread_join(thread[i], NULL);
}

static uint64_t seed_of_thread(void)
{
	static int next;

	return 77777 * (1 + __atomic_fetch_add(&next, 1, __ATOMIC_SEQ_CST));
}

/*
 * Writes wherever it can. A write that succeeds although the memory was gone
 * before it began and still gone when it ended went through a stale mapping.
 */
static void *toucher(void *arg)
{
	struct race *r = arg;
	uint64_t rnd = seed_of_thread();
	long touched = 0;

	while (!pw_get(&r->stop)) {
		char *p = r->at + pw_random(&rnd) % r->pages * PAGE + 8;
		int before = pw_get(&r->generation), sig;

		sig = rnd % 3 ? pw_try_write(p, 1) : pw_try_read(p);
		if (sig && sig != SIGSEGV)
			pw_set(&r->bad, 1);
		if (!sig)
			touched++;
		if (!sig && !(before & 1) && before == pw_get(&r->generation))
			pw_set(&r->bad, 2);
	}
	__atomic_add_fetch(&r->touched, touched, __ATOMIC_SEQ_CST);
	return NULL;
}

static void flip(struct race *r)
{
	__atomic_add_fetch(&r->generation, 1, __ATOMIC_SEQ_CST);
}

/* Pages that just came out of a region are somebody else's at once. */
static void reuse(struct race *r, int round)
{
	char *p = pw_map_pages(&r->h, 64);

	CHECK(pw_nonzero(p, 64) == -1);
	pw_fill(p, 64, round);
	CHECK(pw_wrong(p, 64, round) == -1);
	CHECK(pw_unmap(r->h.fd, p, 64 * PAGE) == 0);
}

struct hole {
	char *at;
	int us;
	int go;
};

static void *make_hole(void *arg)
{
	struct hole *hole = arg;

	pw_wait_for(&hole->go, 1);
	usleep(hole->us);
	CHECK(munmap(hole->at, 2 * HUGE) == 0);
	return NULL;
}

/* A region of many pages goes, and before it has, the kernel unmaps a part of it. */
static void unmap_in_unmap(int round)
{
	const long slots = 20, untouched = 3000;
	struct hole hole = { .us = round * 500 };
	pthread_t thread;
	uint32_t id = 0;
	struct pw h;
	char *p;

	pw_heap(&h, 4 * MIB);
	CHECK(pw_set_huge(h.fd, PAGEWELL_HUGE_NEVER) == 0);
	pw_map_pages(&h, untouched);
	if (round % 2) {
		CHECK(pw_brk_create(h.fd, slots * HUGE, &id, &p) == 0);
		CHECK(pw_brk(h.fd, id, p + slots * HUGE, NULL) == 0);
	} else {
		CHECK(pw_map(h.fd, 0, NULL, slots * HUGE, HUGE, &p) == 0);
	}
	pw_cover(&h, p + slots * HUGE);
	for (long i = 0; i < slots * 512; i++)
		p[i * PAGE] = 1;
	CHECK(pw_pool("promised_pages") == untouched);
	hole.at = p + (slots - 4) * HUGE;
	CHECK(pthread_create(&thread, NULL, make_hole, &hole) == 0);
	pw_set(&hole.go, 1);
	CHECK((id ? pw_brk(h.fd, id, p, NULL) : pw_unmap(h.fd, p, slots * HUGE)) == 0);
	pthread_join(thread, NULL);
	CHECK(pw_pool("promised_pages") == untouched);
	CHECK(pw_pool("used_pages") == 0);
}

/* What is promised to other regions stays that. */
TEST(munmap_in_an_unmap)
{
	ASSERT_TRUE(pw_pool_whole());
	for (int i = 0; i < pw_scaled(20); i++) {
		pid_t pid = pw_fork();

		if (!pid) {
			unmap_in_unmap(i);
			_exit(0);
		}
		ASSERT_EQ(0, pw_wait(pid));
		ASSERT_TRUE(pw_pool_whole());
	}
}

TEST_F(race, shrink_and_grow)
{
	struct race *r = &self->r;
	pthread_t thread[2];
	double end = pw_now() + duration();
	uint32_t id;
	int rounds = 0;

	r->pages = 700;
	ASSERT_EQ(0, pw_brk_create(r->h.fd, 4 * MIB, &id, &r->at));
	pw_cover(&r->h, r->at + 4 * MIB);
	start(thread, 2, toucher, r);
	for (; (pw_now() < end || rounds < ENOUGH) && !r->bad; rounds++) {
		flip(r);
		ASSERT_EQ(0, pw_brk(r->h.fd, id, r->at + r->pages * PAGE, NULL));
		usleep(rounds % 4 * 500);
		ASSERT_EQ(0, pw_brk(r->h.fd, id, r->at, NULL));
		flip(r);
		reuse(r, rounds);
		ASSERT_EQ(0, pw_resident(r->h.fd));
	}
	finish(thread, 2, r);
	EXPECT_EQ(0, r->bad);
	EXPECT_GE(r->touched, ENOUGH);
}

TEST_F(race, map_and_unmap)
{
	struct race *r = &self->r;
	pthread_t thread[2];
	double end = pw_now() + duration();
	int rounds = 0;

	r->pages = 700;
	r->at = r->h.base + 32 * MIB + 5 * PAGE;
	start(thread, 2, toucher, r);
	for (; (pw_now() < end || rounds < ENOUGH) && !r->bad; rounds++) {
		flip(r);
		ASSERT_EQ(0, pw_map(r->h.fd, PAGEWELL_MAP_FIXED_NOREPLACE, r->at,
				    r->pages * PAGE, 0, NULL));
		usleep(rounds % 4 * 500);
		if (rounds % 3 == 0) {
			ASSERT_EQ(0, pw_map(r->h.fd, PAGEWELL_MAP_FIXED,
					    r->at + 300 * PAGE, 300 * PAGE, 0, NULL));
		} else if (rounds % 3 == 1) {
			ASSERT_EQ(0, pw_advise(r->h.fd, PAGEWELL_ADVISE_DONTNEED, r->at,
					       r->pages * PAGE));
		}
		ASSERT_EQ(0, pw_unmap(r->h.fd, r->at, r->pages * PAGE));
		flip(r);
		reuse(r, rounds);
		ASSERT_EQ(0, pw_resident(r->h.fd));
		ASSERT_EQ(0, pw_committed(r->h.fd));
	}
	finish(thread, 2, r);
	EXPECT_EQ(0, r->bad);
	EXPECT_GE(r->touched, ENOUGH);
}

/* Each keeps to what it mapped; addresses and pages change hands all the time. */
static void *mapper(void *arg)
{
	struct race *r = arg;
	uint64_t seed = seed_of_thread(), rnd = seed;

	for (int i = 0; i < 3 || !pw_get(&r->stop); i++) {
		size_t pages = 1 + pw_random(&rnd) % 60, more = pages + pw_random(&rnd) % 30;
		char *p;

		CHECK(pw_map(r->h.fd, 0, NULL, pages * PAGE, 0, &p) == 0);
		CHECK(pw_nonzero(p, pages) == -1);
		pw_fill(p, pages, seed + i);
		CHECK(pw_remap(r->h.fd, PAGEWELL_REMAP_MAYMOVE, p, pages * PAGE,
			       more * PAGE, &p) == 0);
		CHECK(pw_wrong(p, pages, seed + i) == -1);
		CHECK(pw_nonzero(p + pages * PAGE, more - pages) == -1);
		CHECK(pw_advise(r->h.fd, PAGEWELL_ADVISE_DONTNEED, p + pages / 2 * PAGE,
				PAGE) == 0);
		CHECK(pw_nonzero(p + pages / 2 * PAGE, 1) == -1);
		CHECK(pw_wrong(p, pages / 2, seed + i) == -1);
		CHECK(pw_unmap(r->h.fd, p, more * PAGE) == 0);
		__atomic_add_fetch(&r->touched, 1, __ATOMIC_SEQ_CST);
	}
	return NULL;
}

TEST_F(race, many_mappers)
{
	struct race *r = &self->r;
	pthread_t thread[4];

	start(thread, 4, mapper, r);
	usleep(duration() * 1e6);
	finish(thread, 4, r);
	EXPECT_GE(r->touched, ENOUGH);
	EXPECT_EQ(0, pw_committed(r->h.fd));
	EXPECT_EQ(0, pw_resident(r->h.fd));
	EXPECT_EQ(r->h.base, pw_map_pages(&r->h, 1));
}

/* Regions come and go in the parent while children are made. */
TEST_F(race, mappers_and_forks)
{
	struct race *r = &self->r;
	double end = pw_now() + duration();
	pthread_t thread[2];
	char *fixed = pw_map_pages(&r->h, 600);

	pw_fill(fixed, 600, 5);
	start(thread, 2, mapper, r);
	for (int i = 0; pw_now() < end; i++) {
		pid_t pid = pw_fork();

		if (!pid) {
			char *p;

			CHECK(pw_wrong(fixed, 600, 5) == -1);
			CHECK(pw_map(r->h.fd, 0, NULL, 300 * PAGE, 0, &p) == 0);
			CHECK(pw_nonzero(p, 300) == -1);
			pw_fill(fixed, 600, 6);
			CHECK(pw_wrong(fixed, 600, 6) == -1);
			_exit(0);
		}
		ASSERT_EQ(0, pw_wait(pid));
		ASSERT_EQ(-1, pw_wrong(fixed, 600, 5));
	}
	finish(thread, 2, r);
	EXPECT_GE(r->touched, 1);
}

/*
 * Nearly always in the middle of an unmap: a child that forks off there must
 * not find the pages that were about to go where it maps next.
 */
static void *unmapper(void *arg)
{
	struct race *r = arg;
	char *p;

	while (!pw_get(&r->stop)) {
		CHECK(pw_map(r->h.fd, PAGEWELL_MAP_POPULATE, NULL, 40 * PAGE, 0, &p) == 0);
		for (int i = 0; i < 40; i++)
			p[i * PAGE] = 1;
		CHECK(pw_unmap(r->h.fd, p, 40 * PAGE) == 0);
	}
	return NULL;
}

TEST_F(race, unmap_and_fork)
{
	struct race *r = &self->r;
	double end = pw_now() + duration();
	pthread_t thread[3];

	start(thread, 3, unmapper, r);
	for (int i = 0; i < ENOUGH || pw_now() < end; i++) {
		pid_t pid = pw_fork();

		if (!pid) {
			CHECK(pw_nonzero(pw_map_pages(&r->h, 400), 400) == -1);
			_exit(0);
		}
		ASSERT_EQ(0, pw_wait(pid));
	}
	finish(thread, 3, r);
}

/* Even pages are only read; odd ones are read, so that they are the page of zeros, and written. */
static void *zero_reader(void *arg)
{
	struct race *r = arg;
	uint64_t rnd = seed_of_thread();

	while (!pw_get(&r->stop)) {
		long page = pw_random(&rnd) % r->pages;
		volatile uint64_t *w = (void *)(r->at + page * PAGE);

		if (page % 2 == 0 && w[1])
			pw_set(&r->bad, 1);
		if (page % 2 && !w[1])
			w[1] = page;
	}
	return NULL;
}

/* After each fork writes come to us for a while, then to the kernel alone again. */
TEST_F(race, zeros_and_forks)
{
	struct race *r = &self->r;
	double end = pw_now() + 2 * duration();
	pthread_t thread[3];

	r->pages = 12000;
	r->at = pw_map_pages(&r->h, r->pages);
	pw_cover(&r->h, r->at + r->pages * PAGE);
	start(thread, 3, zero_reader, r);
	for (int i = 0; (i < ENOUGH || pw_now() < end) && !r->bad; i++) {
		pid_t pid = pw_fork();

		if (!pid)
			_exit(0);
		ASSERT_EQ(0, pw_wait(pid));
		ASSERT_EQ(0, pw_advise(r->h.fd, PAGEWELL_ADVISE_DONTNEED, r->at,
				       r->pages * PAGE));
	}
	finish(thread, 3, r);
	EXPECT_EQ(0, r->bad);
	EXPECT_TRUE(pw_zero_page_whole());
}

/* While pages move, a reader sees them at one place or the other, or nowhere. */
static void *reader(void *arg)
{
	struct race *r = arg;
	uint64_t rnd = seed_of_thread();

	while (!pw_get(&r->stop)) {
		long page = pw_random(&rnd) % (r->pages - 1);
		volatile uint64_t *w = (void *)(r->at + page * PAGE);
		uint64_t seen = 0;
		int sig = PW_TRY(seen = w[rnd % 512]);

		if (sig == SIGBUS)
			pw_set(&r->bad, 1);
		else if (!sig && seen != 0x5a5a5a5a5a5a5a5aULL)
			pw_set(&r->bad, 2);
		if (!sig)
			__atomic_add_fetch(&r->touched, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

TEST_F(race, moves)
{
	struct race *r = &self->r;
	double end = pw_now() + duration();
	pthread_t thread[2];
	char *p, *wall, *block;
	int rounds = 0;

	/*
	 * The readers look at the lowest place, which the pages leave and come
	 * back to; not at the last page of it, which is new each time. So much
	 * goes where it lies in a slot as before.
	 */
	r->pages = 600;
	p = r->at = pw_map_pages(&r->h, r->pages);
	memset(p, 0x5a, r->pages * PAGE);
	ASSERT_EQ(0, pw_map(r->h.fd, PAGEWELL_MAP_GUARD, p + r->pages * PAGE, PAGE, 0, &wall));
	pw_cover(&r->h, r->h.base + 128 * MIB);
	start(thread, 2, reader, r);
	for (; (pw_now() < end || rounds < ENOUGH ||
		__atomic_load_n(&r->touched, __ATOMIC_RELAXED) < ENOUGH) && !r->bad; rounds++) {
		/* The wall behind it makes growing a move: up, and cut to size; */
		ASSERT_EQ(0, pw_remap(r->h.fd, PAGEWELL_REMAP_MAYMOVE, p, r->pages * PAGE,
				      (r->pages + 1) * PAGE, &p));
		ASSERT_EQ(r->at + 2 * HUGE, p);
		ASSERT_EQ(0, pw_remap(r->h.fd, 0, p, (r->pages + 1) * PAGE,
				      (r->pages - 1) * PAGE, &p));
		/* and down again, with a new page at the end. */
		ASSERT_EQ(0, pw_map(r->h.fd, PAGEWELL_MAP_GUARD | PAGEWELL_MAP_FIXED_NOREPLACE,
				    p + (r->pages - 1) * PAGE, PAGE, 0, &block));
		ASSERT_EQ(0, pw_remap(r->h.fd, PAGEWELL_REMAP_MAYMOVE, p,
				      (r->pages - 1) * PAGE, r->pages * PAGE, &p));
		ASSERT_EQ(r->at, p);
		memset(p + (r->pages - 1) * PAGE, 0x5a, PAGE);
		ASSERT_EQ(0, pw_unmap(r->h.fd, block, PAGE));
	}
	finish(thread, 2, r);
	EXPECT_EQ(0, r->bad);
	EXPECT_GE(r->touched, ENOUGH);
}

/* The mapping itself goes while ioctls and touches are on the way. */
static void *ioctler(void *arg)
{
	struct race *r = arg;
	char *p;

	while (!pw_get(&r->stop)) {
		int err = pw_map(r->h.fd, PAGEWELL_MAP_POPULATE, NULL, 40 * PAGE, 0, &p);

		if (!err) {
			pw_try_write(p, 1);
			err = pw_unmap(r->h.fd, p, 40 * PAGE);
		}
		if (err && err != -ENXIO && err != -ENOMEM)
			pw_set(&r->bad, 1);
	}
	return NULL;
}

static void unmap_under_fire(struct race *r, uint64_t rnd)
{
	pthread_t thread[2];
	size_t cut = pw_random(&rnd) % 4096 * PAGE;

	r->at = pw_map_pages(&r->h, 3000);
	r->pages = 3000;
	start(&thread[0], 1, ioctler, r);
	start(&thread[1], 1, toucher, r);
	usleep(pw_random(&rnd) % 3000);
	/* In two pieces, or one; sometimes the process just ends. */
	if (rnd & 1)
		CHECK(munmap(r->h.base + cut, r->h.len - cut) == 0);
	usleep(pw_random(&rnd) % 500);
	if (rnd & 2)
		CHECK(munmap(r->h.base, r->h.len) == 0);
	if (rnd & 4)
		_exit(0);
	finish(thread, 2, r);
	CHECK(r->bad != 1);
	_exit(0);
}

TEST_F(race, mapping_goes)
{
	const long rounds = pw_scaled(60);

	ASSERT_EQ(0, munmap(self->r.h.base, self->r.h.len));
	for (long i = 0; i < rounds; i++) {
		pid_t pid = pw_fork();

		if (!pid) {
			/* The generation is odd: touches are never stale. */
			self->r.generation = 1;
			pw_heap(&self->r.h, 32 * MIB);
			unmap_under_fire(&self->r, 1000 + i * 7919);
		}
		ASSERT_EQ(0, pw_wait(pid));
	}
	EXPECT_TRUE(pw_pool_whole());
}

static void *protector(void *arg)
{
	struct race *r = arg;
	uint64_t rnd = seed_of_thread();

	while (!pw_get(&r->stop)) {
		static const int prot[] = { PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE };
		long page = pw_random(&rnd) % r->pages, nr = 1 + pw_random(&rnd) % 100;

		if (page + nr > r->pages)
			nr = r->pages - page;
		CHECK(mprotect(r->at + page * PAGE, nr * PAGE, prot[rnd % 3]) == 0);
	}
	return NULL;
}

/* Protection changes, forks, and writes whose success is remembered. */
TEST_F(race, mprotect_and_forks)
{
	struct race *r = &self->r;
	static uint8_t last[1200];
	double end = pw_now() + duration();
	uint64_t rnd = 4242;
	pthread_t thread;

	r->pages = 1200;
	r->at = pw_map_pages(&r->h, r->pages);
	start(&thread, 1, protector, r);
	for (int i = 0; pw_now() < end; i++) {
		pid_t pid = pw_fork();

		if (!pid) {
			for (long p = 0; p < r->pages; p++) {
				pw_try_write(r->at + p * PAGE + 100, 0xee);
				if (!pw_try_read(r->at + p * PAGE))
					CHECK((uint8_t)r->at[p * PAGE] == last[p]);
			}
			_exit(0);
		}
		for (int n = 0; n < 2000; n++) {
			long p = pw_random(&rnd) % r->pages;

			if (!pw_try_write(r->at + p * PAGE, n + i))
				last[p] = n + i;
		}
		ASSERT_EQ(0, pw_wait(pid));
	}
	finish(&thread, 1, r);
	ASSERT_EQ(0, mprotect(r->at, r->pages * PAGE, PROT_READ | PROT_WRITE));
	for (long p = 0; p < r->pages; p++) {
		ASSERT_EQ(last[p], (uint8_t)r->at[p * PAGE]);
		ASSERT_EQ(0, r->at[p * PAGE + 100])
			TH_LOG("a child's write is in page %ld", p);
	}
}

/* The kernel reads and writes what is being taken away. */
TEST_F(race, kernel_copies)
{
	struct race *r = &self->r;
	double end = pw_now() + duration();
	pthread_t thread[2];
	static char buf[400 * PAGE];
	int fd = memfd_create("t", 0);

	r->pages = 400;
	r->at = r->h.base + 16 * MIB;
	ASSERT_EQ(sizeof(buf), pwrite(fd, buf, sizeof(buf), 0));
	start(thread, 2, mapper, r);
	for (int i = 0; pw_now() < end; i++) {
		ssize_t n;

		ASSERT_EQ(0, pw_map(r->h.fd, PAGEWELL_MAP_FIXED, r->at, r->pages * PAGE, 0, NULL));
		n = pwrite(fd, r->at, sizeof(buf), 0);
		ASSERT_EQ(sizeof(buf), n);
		ASSERT_EQ(sizeof(buf), pread(fd, r->at, sizeof(buf), 0));
		ASSERT_EQ(-1, pw_nonzero(r->at, r->pages));
		ASSERT_EQ(0, pw_unmap(r->h.fd, r->at + i % 2 * 100 * PAGE, 200 * PAGE));
		n = pread(fd, r->at, sizeof(buf), 0);
		ASSERT_LT(n, (ssize_t)sizeof(buf));
		ASSERT_EQ(0, pw_unmap(r->h.fd, r->at, r->pages * PAGE));
	}
	finish(thread, 2, r);
}

/* The limit of a lazy heap, which threads come to at once */

#define CROWD 6
#define ATTACHED (16 * HUGE)	/* counts as a whole, touched or not */

struct crowd {
	struct pw h;
	char *at;
	uint32_t id;
	int rounds;
	int next;
	char *mine[CROWD];	/* what each of them has attached */
	pthread_barrier_t gate;
};

static void *limit_toucher(void *arg)
{
	struct crowd *c = arg;
	int me = __atomic_fetch_add(&c->next, 1, __ATOMIC_SEQ_CST);

	for (int i = 0; i < c->rounds; i++) {
		pthread_barrier_wait(&c->gate);
		pw_try_write(c->at + me * HUGE, 1);
		pthread_barrier_wait(&c->gate);
		pthread_barrier_wait(&c->gate);
	}
	return NULL;
}

static void *attacher(void *arg)
{
	struct crowd *c = arg;
	int me = __atomic_fetch_add(&c->next, 1, __ATOMIC_SEQ_CST);

	for (int i = 0; i < c->rounds; i++) {
		uint32_t id = c->id;
		uint64_t len = 0;
		char *at = NULL;

		pthread_barrier_wait(&c->gate);
		c->mine[me] = pw_share(c->h.fd, &id, &len, &at) ? NULL : at;
		pthread_barrier_wait(&c->gate);
		pthread_barrier_wait(&c->gate);
	}
	return NULL;
}

static void undo_crowd(struct crowd *c)
{
	CHECK(pw_advise(c->h.fd, PAGEWELL_ADVISE_DONTNEED, c->at, CROWD * HUGE) == 0);
	for (int i = 0; i < CROWD; i++)
		if (c->mine[i])
			CHECK(pw_unmap(c->h.fd, c->mine[i], ATTACHED) == 0);
}

/*
 * The most that was resident after a round of @fn by all at once; @attached: how many
 * had attached something, at most.
 */
static uint64_t crowd(struct crowd *c, void *(*fn)(void *), int *attached)
{
	pthread_t thread[CROWD];
	uint64_t most = 0, now;
	int i, j, n;

	c->rounds = 5 + pw_scaled(100);
	CHECK(pthread_barrier_init(&c->gate, NULL, CROWD + 1) == 0);
	for (i = 0; i < CROWD; i++)
		CHECK(pthread_create(&thread[i], NULL, fn, c) == 0);
	for (i = 0; i < c->rounds; i++) {
		pthread_barrier_wait(&c->gate);
		pthread_barrier_wait(&c->gate);
		now = pw_resident(c->h.fd);
		most = now > most ? now : most;
		for (j = 0, n = 0; j < CROWD; j++)
			n += !!c->mine[j];
		*attached = n > *attached ? n : *attached;
		undo_crowd(c);
		pthread_barrier_wait(&c->gate);
	}
	for (i = 0; i < CROWD; i++)
		pthread_join(thread[i], NULL);
	pthread_barrier_destroy(&c->gate);
	return most;
}

static void lazy_crowd(struct crowd *c, struct race *r, uint64_t limit)
{
	*c = (struct crowd){ .h = r->h };
	CHECK(pw_set_commit(c->h.fd, PAGEWELL_COMMIT_LAZY) == 0);
	CHECK(pw_set_huge(c->h.fd, PAGEWELL_HUGE_ALWAYS) == 0);
	CHECK(pw_set_limit(c->h.fd, limit) == 0);
	CHECK(pw_map(c->h.fd, 0, NULL, CROWD * HUGE, HUGE, &c->at) == 0);
	pw_cover(&c->h, c->at + CROWD * HUGE);
}

TEST_F(race, touches_at_a_lazy_limit)
{
	struct crowd c;
	int none = 0;

	lazy_crowd(&c, &self->r, 3 * HUGE);
	EXPECT_EQ(3 * HUGE, crowd(&c, limit_toucher, &none));
}

TEST_F(race, attaching_at_a_lazy_limit)
{
	uint64_t len = ATTACHED;
	char *at = NULL;
	struct crowd c;
	int most = 0;

	lazy_crowd(&c, &self->r, 3 * ATTACHED);
	ASSERT_EQ(0, pw_share(c.h.fd, &c.id, &len, &at));
	crowd(&c, attacher, &most);
	/* It has been made, and then attached. */
	EXPECT_EQ(2, most);
}

/* A limit that there is room in, and what is refused for another reason meanwhile */

/* More than the pool could ever have, within the limit: counted until it is refused. */
static void ask_too_much(struct pw *h)
{
	if (pw_map(h->fd, 0, NULL, (pw_pool("max_pages") + 64) * PAGE, 0, NULL) != -ENOMEM)
		abort();
}

static void *greedy(void *arg)
{
	struct race *r = arg;

	while (!pw_get(&r->stop))
		ask_too_much(&r->h);
	return NULL;
}

/* How often something small is refused. */
static int refusals(struct pw *h)
{
	int n = 0;
	char *p;

	for (int i = 0; i < pw_scaled(4000); i++) {
		if (pw_map(h->fd, 0, NULL, 128 * PAGE, 0, &p))
			n++;
		else
			CHECK(pw_unmap(h->fd, p, 128 * PAGE) == 0);
	}
	return n;
}

TEST_F(race, what_others_ask_for_at_a_heaps_limit)
{
	struct race *r = &self->r;
	pthread_t thread;

	ASSERT_EQ(0, pw_set_limit(r->h.fd, (pw_pool("max_pages") + 100) * PAGE));
	start(&thread, 1, greedy, r);
	EXPECT_EQ(0, refusals(&r->h));
	finish(&thread, 1, r);
}

TEST_F(race, what_others_ask_for_at_a_users_limit)
{
	pid_t child = pw_fork();
	char text[80];

	if (!child) {
		CHECK(pw_set_limit(self->r.h.fd, NO_LIMIT) == 0);
		for (;;)
			ask_too_much(&self->r.h);
	}
	snprintf(text, sizeof(text), "pagewell set user-max root %ldK",
		 (pw_pool("max_pages") + 100) * PAGE / 1024);
	ASSERT_EQ(0, system(text));
	EXPECT_EQ(0, refusals(&self->r.h));
	EXPECT_EQ(0, system("pagewell set user-max root none"));
	kill(child, SIGKILL);
	EXPECT_EQ(128 + SIGKILL, pw_wait(child));
}

/* Long calls, and who wants the mmap_lock for writing meanwhile */

static void *mmapper(void *arg)
{
	struct race *r = arg;

	while (!pw_get(&r->stop)) {
		double start = pw_now();
		void *p = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		CHECK(p != MAP_FAILED && munmap(p, PAGE) == 0);
		r->longest = pw_now() - start > r->longest ? pw_now() - start : r->longest;
		pw_inc(&r->generation);
	}
	return NULL;
}

/* The longest that somebody else had to wait for the lock, as part of an advice. */
static double longest_wait(struct race *r, uint32_t advice)
{
	int round = pw_get(&r->generation);
	double start;

	pw_wait_for(&r->generation, round + 2);
	r->longest = 0;
	start = pw_now();
	CHECK(pw_advise(r->h.fd, advice, r->at, r->pages * PAGE) == 0);
	start = pw_now() - start;
	round = pw_get(&r->generation);
	pw_wait_for(&r->generation, round + 2);
	return r->longest / start;
}

TEST_F(race, long_calls_let_others_in)
{
	/* FREE does nothing here: the pages were promised. */
	static const uint32_t advice[] = { PAGEWELL_ADVISE_POPULATE, PAGEWELL_ADVISE_DONTNEED };
	double part[] = { 1, 1 }, now;
	struct race *r = &self->r;
	pthread_t thread;

	ASSERT_EQ(0, pw_set_huge(r->h.fd, PAGEWELL_HUGE_NEVER));
	r->pages = pw_scaled(160) * 512;
	ASSERT_EQ(0, pw_map(r->h.fd, 0, NULL, r->pages * PAGE, HUGE, &r->at));
	pw_cover(&r->h, r->at + r->pages * PAGE);
	start(&thread, 1, mmapper, r);
	/* The machine may be busy with something else: the best of a few. */
	for (int i = 0; i < 5 * 2; i++) {
		now = longest_wait(r, advice[i % 2]);
		part[i % 2] = now < part[i % 2] ? now : part[i % 2];
	}
	finish(&thread, 1, r);
	for (int i = 0; i < 2; i++) {
		EXPECT_LT(100 * part[i], 50) {
			TH_LOG("advice %u", advice[i]);
		}
	}
}

/* A heap that goes, and a relative that has no page for a copy meanwhile */

static void *sleeper(void *arg)
{
	for (;;)
		pause();
	return arg;
}

/* It is not gone before threads that it might have in a call are out of there. */
static void leave_heap(struct race *r, int *step)
{
	pthread_t thread;

	start(&thread, 1, sleeper, r);
	pw_set(step, 1);
	pw_wait_for(step, 2);
	CHECK(munmap(r->h.base, r->h.len) == 0);
	pw_set(step, 3);
	_exit(0);
}

/* How often a write was tried at most, while a relative's heap went. */
static long most_tries(struct race *r, int *step)
{
	long before, most = 0, tries;
	pid_t hog, child;

	pw_set(step, 0);
	r->at = pw_map_pages(&r->h, r->pages);
	pw_fill(r->at, r->pages, 1);
	child = pw_fork();
	if (!child)
		leave_heap(r, step);
	pw_wait_for(step, 1);
	hog = pw_hog(&r->h);
	pw_set(step, 2);
	for (long i = r->pages - 1; i >= 0 && pw_get(step) < 3; i--) {
		before = pw_stat("cow_faults");
		r->at[i * PAGE] = 1;
		tries = pw_stat("cow_faults") - before;
		most = tries > most ? tries : most;
	}
	CHECK(pw_get(step) == 3);
	CHECK(pw_wait(child) == 0);
	pw_hog_stop(hog);
	CHECK(pw_unmap(r->h.fd, r->at, r->pages * PAGE) == 0);
	return most;
}

/* Pages are taken from it as before: who was promised them does not wait for its end. */
TEST_F(race, a_heap_that_goes_is_stolen_from)
{
	struct race *r = &self->r;
	int *step = pw_shared();
	long most, least = LONG_MAX;

	ASSERT_EQ(0, pw_set_huge(r->h.fd, PAGEWELL_HUGE_NEVER));
	r->pages = 10000;
	/*
	 * A processor that is not run just then has pages in hand: the best of a few
	 * in which we came to write at all.
	 */
	for (int i = 0; i < 10 && least >= 10; i++) {
		most = most_tries(r, step);
		if (most)
			least = most < least ? most : least;
	}
	EXPECT_GT(10, least);
}

/* Long calls about many regions, and who wants their processor meanwhile */

#define ROUNDS	5
#define LITTLE	0.25

static void keep_to_one(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(0, &set);
	CHECK(sched_setaffinity(0, sizeof(set), &set) == 0);
}

static void *runner(void *arg)
{
	struct race *r = arg;
	double last, now = pw_now();

	keep_to_one();
	while (!pw_get(&r->stop)) {
		last = now;
		now = pw_now();
		r->longest = now - last > r->longest ? now - last : r->longest;
		pw_inc(&r->generation);
	}
	return NULL;
}

static void unmap_all(struct race *r)
{
	CHECK(pw_unmap(r->h.fd, r->at, 2 * r->pages * PAGE) == 0);
}

static void change_all(struct race *r)
{
	CHECK(pw_advise(r->h.fd, PAGEWELL_ADVISE_NOHUGEPAGE, r->at, 2 * r->pages * PAGE) == 0);
}

static void fork_all(struct race *r)
{
	pid_t pid = pw_fork();

	if (!pid)
		_exit(0);
	CHECK(pw_wait(pid) == 0);
}

/*
 * The longest that somebody else did not run, as part of a call; half of it if they run
 * only before and after.
 */
static double longest_pause(struct race *r, void (*call)(struct race *r))
{
	int round = pw_get(&r->generation);
	double start;

	pw_wait_for(&r->generation, round + 2);
	r->longest = 0;
	start = pw_now();
	call(r);
	start = pw_now() - start;
	round = pw_get(&r->generation);
	pw_wait_for(&r->generation, round + 2);
	return r->longest / start;
}

/* Regions between guards, which cannot become one. */
static void map_many(struct race *r)
{
	CHECK(pw_map(r->h.fd, PAGEWELL_MAP_GUARD, NULL, 2 * r->pages * PAGE, 0, &r->at) == 0);
	for (long i = 0; i < r->pages; i++)
		CHECK(pw_map(r->h.fd, PAGEWELL_MAP_FIXED, r->at + 2 * i * PAGE, PAGE, 0,
			     NULL) == 0);
}

TEST_F_TIMEOUT(race, long_calls_let_others_run, 900)
{
	static void (*const calls[])(struct race *r) = { fork_all, change_all, unmap_all };
	double part[] = { 1, 1, 1 }, now;
	struct race *r = &self->r;
	pthread_t thread;

	r->pages = pw_scaled(20000);
	keep_to_one();
	start(&thread, 1, runner, r);
	/* The machine may be busy with something else: the best of a few. */
	for (int i = 0; i < ROUNDS * 3 && (part[0] >= LITTLE || part[1] >= LITTLE ||
					   part[2] >= LITTLE); i++) {
		if (i % 3 == 0)
			map_many(r);
		now = longest_pause(r, calls[i % 3]);
		part[i % 3] = now < part[i % 3] ? now : part[i % 3];
	}
	finish(&thread, 1, r);
	for (int i = 0; i < 3; i++) {
		EXPECT_LT(100 * part[i], 100 * LITTLE) {
			TH_LOG("call %d", i);
		}
	}
}

PW_TEST_POOL_WHOLE

TEST_HARNESS_MAIN
