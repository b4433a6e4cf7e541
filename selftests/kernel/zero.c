// SPDX-License-Identifier: GPL-2.0-only
/*
 * zero.c - reads of memory that nobody has written to
 */
#include <pthread.h>
#include <sys/uio.h>

#include "pw_test.h"

#define NR	15000
#define STEP	37

FIXTURE(zero) {
	struct pw h;
	char *p;
};

FIXTURE_SETUP(zero)
{
	pw_heap(&self->h, 128 * MIB);
	self->p = pw_map_pages(&self->h, NR);
}

FIXTURE_TEARDOWN(zero)
{
	close(self->h.fd);
}

static void read_some(const char *p)
{
	for (long i = 0; i < NR; i += STEP)
		CHECK(pw_nonzero(p + i * PAGE, 1) == -1);
}

TEST_F(zero, sparse_reads_take_no_pages)
{
	long zeros = pw_stat("zero_faults");

	read_some(self->p);
	EXPECT_EQ(0, pw_resident(self->h.fd));
	EXPECT_EQ(0, pw_smaps(self->h.base, self->h.len, "Rss"));
	EXPECT_GE(pw_stat("zero_faults") - zeros, NR / STEP);
	/* They are there: no fault the second time. */
	zeros = pw_stat("zero_faults");
	read_some(self->p);
	EXPECT_EQ(zeros, pw_stat("zero_faults"));
	EXPECT_EQ(NR * PAGE, pw_committed(self->h.fd));
}

TEST_F(zero, walks_get_pages)
{
	long faults = pw_stat("faults"), zeros = pw_stat("zero_faults");

	EXPECT_EQ(-1, pw_nonzero(self->p, NR));
	EXPECT_LE(pw_stat("faults") - faults, NR / 64);
	EXPECT_LE(pw_stat("zero_faults") - zeros, 16);
	pw_fill(self->p, NR, 1);
	EXPECT_EQ(-1, pw_wrong(self->p, NR, 1));
}

TEST_F(zero, a_write_gets_a_page)
{
	read_some(self->p);
	for (long i = 0; i < NR; i += 2 * STEP)
		pw_fill(self->p + i * PAGE, 1, i + 1);
	for (long i = STEP; i < NR; i += 2 * STEP)
		ASSERT_EQ(-1, pw_nonzero(self->p + i * PAGE, 1));
	for (long i = 0; i < NR; i += 2 * STEP)
		ASSERT_EQ(-1, pw_wrong(self->p + i * PAGE, 1, i + 1));
	pw_fill(self->p, NR, 3);
	EXPECT_EQ(-1, pw_wrong(self->p, NR, 3));
}

TEST_F(zero, goes_with_the_region)
{
	int fd = self->h.fd;
	char *p = self->p, *at;

	read_some(p);
	ASSERT_EQ(0, pw_protect(fd, PW_NONE, p, 100 * PAGE));
	EXPECT_EQ(SIGSEGV, pw_try_read(p + STEP * PAGE));
	ASSERT_EQ(0, pw_protect(fd, PW_BOTH, p, 100 * PAGE));
	read_some(p);
	ASSERT_EQ(0, pw_advise(fd, PAGEWELL_ADVISE_DONTNEED, p, 200 * PAGE));
	EXPECT_EQ(0, pw_try_write(p + STEP * PAGE, 1));
	ASSERT_EQ(0, pw_map(fd, PAGEWELL_MAP_FIXED_NOREPLACE | PAGEWELL_MAP_GUARD,
			    p + NR * PAGE, PAGE, 0, NULL));
	ASSERT_EQ(0, pw_remap(fd, PAGEWELL_REMAP_MAYMOVE, p, NR * PAGE, (NR + 50) * PAGE, &at));
	pw_cover(&self->h, at + (NR + 50) * PAGE);
	for (long i = 0; i < NR; i += STEP)
		ASSERT_EQ(SIGSEGV, pw_try_read(p + i * PAGE));
	for (long i = 2 * STEP; i < NR; i += STEP)
		ASSERT_EQ(-1, pw_nonzero(at + i * PAGE, 1));
	ASSERT_EQ(0, pw_unmap(fd, at, (NR + 50) * PAGE));
	for (long i = 0; i < NR; i += STEP)
		ASSERT_EQ(SIGSEGV, pw_try_read(at + i * PAGE));
	ASSERT_EQ(0, pw_map(fd, PAGEWELL_MAP_FIXED, at, NR * PAGE, 0, NULL));
	pw_fill(at, NR, 5);
	EXPECT_EQ(-1, pw_wrong(at, NR, 5));
}

TEST_F(zero, a_break_shrinks_over_it)
{
	int fd = self->h.fd;
	char *start;
	uint32_t id;

	ASSERT_EQ(0, pw_brk_create(fd, 8 * MIB, &id, &start));
	ASSERT_EQ(0, pw_brk(fd, id, start + 8 * MIB, NULL));
	pw_cover(&self->h, start + 8 * MIB);
	for (int i = 0; i < 2048; i += STEP)
		ASSERT_EQ(0, start[i * PAGE]);
	ASSERT_EQ(0, pw_brk(fd, id, start + MIB, NULL));
	for (int i = 0; i < 2048; i += STEP)
		ASSERT_EQ(i < 256 ? 0 : SIGSEGV, pw_try_read(start + i * PAGE));
}

TEST_F(zero, populate_replaces_it)
{
	read_some(self->p);
	ASSERT_EQ(0, pw_advise(self->h.fd, PAGEWELL_ADVISE_POPULATE, self->p, NR * PAGE));
	EXPECT_EQ(NR * PAGE, pw_resident(self->h.fd));
	EXPECT_EQ(NR * 4, pw_smaps(self->h.base, self->h.len, "Rss"));
	EXPECT_EQ(-1, pw_nonzero(self->p, NR));
	pw_fill(self->p, NR, 1);
	EXPECT_EQ(-1, pw_wrong(self->p, NR, 1));
}

TEST_F(zero, fork)
{
	pid_t pid;

	read_some(self->p);
	pid = pw_fork();
	if (!pid) {
		read_some(self->p);
		pw_fill(self->p, NR, 1);
		CHECK(pw_wrong(self->p, NR, 1) == -1);
		exit(0);
	}
	read_some(self->p);
	for (long i = 0; i < NR; i += STEP)
		pw_fill(self->p + i * PAGE, 1, i);
	EXPECT_EQ(0, pw_wait(pid));
	for (long i = 0; i < NR; i += STEP)
		ASSERT_EQ(-1, pw_wrong(self->p + i * PAGE, 1, i));
	EXPECT_EQ(-1, pw_nonzero(self->p + PAGE, STEP - 1));
}

TEST_F(zero, the_kernel_reads_and_writes)
{
	char buf[PAGE];
	struct iovec mine = { buf, PAGE }, theirs = { self->p + 5 * PAGE, PAGE };

	memset(buf, 1, sizeof(buf));
	ASSERT_EQ(0, *(volatile char *)(self->p + 5 * PAGE));
	EXPECT_EQ(PAGE, process_vm_readv(getpid(), &mine, 1, &theirs, 1, 0));
	EXPECT_EQ(-1, pw_nonzero(buf, 1));
	memset(buf, 7, sizeof(buf));
	EXPECT_EQ(PAGE, process_vm_writev(getpid(), &mine, 1, &theirs, 1, 0));
	EXPECT_EQ(7, self->p[6 * PAGE - 1]);
	/* The one zero page of everybody has stayed what it is. */
	EXPECT_EQ(0, *(volatile char *)(self->p + 300 * PAGE));
}

struct race {
	char *p;
	int stop;
};

static void *reader(void *arg)
{
	struct race *r = arg;

	while (!__atomic_load_n(&r->stop, __ATOMIC_RELAXED))
		for (long i = 0; i < NR; i += STEP) {
			volatile long *w = (void *)(r->p + i * PAGE);
			long v = *w;

			CHECK(!v || v == i + 1);
		}
	return NULL;
}

TEST_F(zero, readers_and_a_writer)
{
	struct race r = { self->p, 0 };
	pthread_t t[2];

	for (int i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(&t[i], NULL, reader, &r));
	for (long n = 0; n < pw_scaled(30); n++) {
		for (long i = 0; i < NR; i += STEP)
			*(volatile long *)(self->p + i * PAGE) = i + 1;
		for (long i = 0; i < NR; i += STEP)
			ASSERT_EQ(i + 1, *(volatile long *)(self->p + i * PAGE));
		ASSERT_EQ(0, pw_advise(self->h.fd, PAGEWELL_ADVISE_DONTNEED, self->p, NR * PAGE));
	}
	r.stop = 1;
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
}

PW_TEST_POOL_WHOLE

TEST_HARNESS_MAIN
