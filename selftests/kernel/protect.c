// SPDX-License-Identifier: GPL-2.0-only
/*
 * protect.c - what may be done to a map, by call
 */
#include <pthread.h>
#include <sys/uio.h>

#include "pw_test.h"

FIXTURE(protect) {
	struct pw h;
	char *p;
};

#define NR	1100

FIXTURE_SETUP(protect)
{
	pw_heap(&self->h, 64 * MIB);
	ASSERT_EQ(0, pw_map(self->h.fd, 0, NULL, NR * PAGE, HUGE, &self->p));
	pw_fill(self->p, NR, 1);
}

FIXTURE_TEARDOWN(protect)
{
	close(self->h.fd);
}

TEST_F(protect, read_only)
{
	int fd = self->h.fd;
	char *p = self->p;

	ASSERT_EQ(0, pw_protect(fd, PW_READ, p + 10 * PAGE, 600 * PAGE));
	for (int i = 10; i < 610; i += 37)
		EXPECT_EQ(SIGSEGV, pw_try_write(p + i * PAGE, 0));
	EXPECT_EQ(-1, pw_wrong(p, NR, 1));
	for (int i = 10; i < 610; i += 37)
		EXPECT_EQ(SIGSEGV, pw_try_write(p + i * PAGE, 0));
	EXPECT_EQ(0, pw_try_write(p + 9 * PAGE, 0));
	EXPECT_EQ(0, pw_try_write(p + 610 * PAGE, 0));
	EXPECT_EQ(NR * PAGE, pw_committed(fd));
	EXPECT_EQ(NR * PAGE, pw_resident(fd));

	ASSERT_EQ(0, pw_protect(fd, PW_BOTH, p, NR * PAGE));
	pw_fill(p, NR, 2);
	EXPECT_EQ(-1, pw_wrong(p, NR, 2));
}

TEST_F(protect, none)
{
	int fd = self->h.fd;
	char *p = self->p;

	ASSERT_EQ(0, pw_protect(fd, PW_NONE, p + 510 * PAGE, 4 * PAGE));
	EXPECT_EQ(0, pw_try_read(p + 510 * PAGE - 1));
	EXPECT_EQ(SIGSEGV, pw_try_read(p + 510 * PAGE));
	EXPECT_EQ(SIGSEGV, pw_try_write(p + 514 * PAGE - 1, 1));
	EXPECT_EQ(0, pw_try_read(p + 514 * PAGE));
	EXPECT_EQ(-ENOMEM, pw_advise(fd, PAGEWELL_ADVISE_POPULATE, p, NR * PAGE));
	ASSERT_EQ(0, pw_protect(fd, PW_READ, p + 510 * PAGE, 4 * PAGE));
	EXPECT_EQ(-1, pw_wrong(p, NR, 1));
	EXPECT_EQ(SIGSEGV, pw_try_write(p + 511 * PAGE, 1));
}

/* A debugger sees what is there all the same, but may not change it. */
TEST_F(protect, debugger)
{
	int fd = self->h.fd, mem = open("/proc/self/mem", O_RDWR);
	char *p = self->p, buf[2 * PAGE];
	off_t at = (off_t)(uintptr_t)(p + 511 * PAGE);

	ASSERT_LE(0, mem);
	ASSERT_EQ(0, pw_protect(fd, PW_NONE, p + 510 * PAGE, 4 * PAGE));
	ASSERT_EQ(sizeof(buf), pread(mem, buf, sizeof(buf), at));
	ASSERT_EQ(0, pw_protect(fd, PW_BOTH, p + 510 * PAGE, 4 * PAGE));
	EXPECT_EQ(0, memcmp(buf, p + 511 * PAGE, sizeof(buf)));
	ASSERT_EQ(0, pw_protect(fd, PW_NONE, p + 510 * PAGE, 4 * PAGE));
	EXPECT_GT(1, pwrite(mem, "x", 1, at));
	ASSERT_EQ(0, pw_protect(fd, PW_BOTH, p + 510 * PAGE, 4 * PAGE));
	EXPECT_EQ(-1, pw_wrong(p, NR, 1));
	close(mem);
}

TEST_F(protect, untouched_and_populated)
{
	int fd = self->h.fd;
	char *p = pw_map_pages(&self->h, 2000);

	ASSERT_EQ(0, pw_protect(fd, PW_READ, p, 2000 * PAGE));
	EXPECT_EQ(-1, pw_nonzero(p, 700));
	ASSERT_EQ(0, pw_advise(fd, PAGEWELL_ADVISE_POPULATE, p, 2000 * PAGE));
	for (int i = 0; i < 2000; i += 99)
		EXPECT_EQ(SIGSEGV, pw_try_write(p + i * PAGE, 1));
	EXPECT_EQ(-1, pw_nonzero(p, 2000));
	ASSERT_EQ(0, pw_protect(fd, PW_BOTH, p, 2000 * PAGE));
	pw_fill(p, 2000, 3);
	EXPECT_EQ(-1, pw_wrong(p, 2000, 3));
}

/* Pages of 2 MiB, protected whole and in part. */
TEST_F(protect, two_mib)
{
	int fd = self->h.fd;
	char *p;

	ASSERT_EQ(0, pw_set_huge(fd, PAGEWELL_HUGE_ALWAYS));
	ASSERT_EQ(0, pw_map(fd, 0, NULL, 2 * HUGE, HUGE, &p));
	pw_cover(&self->h, p + 2 * HUGE);
	pw_fill(p, 1024, 1);
	ASSERT_EQ(0, pw_protect(fd, PW_READ, p, HUGE));
	EXPECT_EQ(SIGSEGV, pw_try_write(p + HUGE - 1, 1));
	EXPECT_EQ(-1, pw_wrong(p, 1024, 1));
	EXPECT_EQ(SIGSEGV, pw_try_write(p, 1));
	ASSERT_EQ(0, pw_protect(fd, PW_NONE, p + HUGE + 7 * PAGE, PAGE));
	EXPECT_EQ(SIGSEGV, pw_try_read(p + HUGE + 7 * PAGE));
	EXPECT_EQ(0, pw_try_write(p + HUGE + 8 * PAGE, 1));
	ASSERT_EQ(0, pw_protect(fd, PW_BOTH, p, 2 * HUGE));
	pw_fill(p, 1024, 2);
	EXPECT_EQ(-1, pw_wrong(p, 1024, 2));
}

TEST_F(protect, kernel_asks_too)
{
	char *p = self->p, buf[8];
	struct iovec mine = { buf, 8 }, theirs = { p + 5 * PAGE, 8 };

	ASSERT_EQ(0, pw_protect(self->h.fd, PW_READ, p, 10 * PAGE));
	EXPECT_EQ(8, process_vm_readv(getpid(), &mine, 1, &theirs, 1, 0));
	EXPECT_EQ(-1, process_vm_writev(getpid(), &mine, 1, &theirs, 1, 0));
	EXPECT_EQ(EFAULT, errno);
	ASSERT_EQ(0, pw_protect(self->h.fd, PW_NONE, p, 10 * PAGE));
	EXPECT_EQ(-1, process_vm_readv(getpid(), &mine, 1, &theirs, 1, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, read(open("/dev/zero", O_RDONLY), p, 8));
	EXPECT_EQ(EFAULT, errno);
}

/* mprotect() of the same pages, in between and on top. */
TEST_F(protect, with_mprotect)
{
	char *p = self->p;

	ASSERT_EQ(0, pw_protect(self->h.fd, PW_READ, p, 20 * PAGE));
	ASSERT_EQ(0, mprotect(p + 5 * PAGE, 10 * PAGE, PROT_NONE));
	EXPECT_EQ(SIGSEGV, pw_try_read(p + 5 * PAGE));
	ASSERT_EQ(0, mprotect(p + 5 * PAGE, 10 * PAGE, PROT_READ | PROT_WRITE));
	EXPECT_EQ(0, pw_try_read(p + 5 * PAGE));
	EXPECT_EQ(SIGSEGV, pw_try_write(p + 5 * PAGE, 1));
	EXPECT_EQ(SIGSEGV, pw_try_write(p + 4 * PAGE, 1));
	ASSERT_EQ(0, pw_protect(self->h.fd, PW_BOTH, p, 20 * PAGE));
	pw_fill(p, 20, 4);
	EXPECT_EQ(-1, pw_wrong(p, 20, 4));
}

static char *mapped(struct pw *h, long pages)
{
	char *p = pw_map_pages(h, pages);

	pw_fill(p, pages, 1);
	return p;
}

/* Mapped and written as if nobody had been there before; then gone again. Return: where. */
static char *as_new(struct pw *h, long pages)
{
	char *p = mapped(h, pages);

	CHECK(pw_wrong(p, pages, 1) == -1);
	CHECK(pw_unmap(h->fd, p, pages * PAGE) == 0);
	return p;
}

/* What a program did to the VMA ends with the map that it did it to. */
TEST_F(protect, mprotect_ends_with_the_map)
{
	static const int prots[] = { PROT_NONE, PROT_READ };
	struct pw *h = &self->h;
	char *p = as_new(h, 256), *q, *start;
	uint32_t id;

	for (int i = 0; i < 300; i++) {
		bool touched = i % 2;

		q = pw_map_pages(h, 256);
		ASSERT_EQ(p, q);
		if (touched)
			pw_fill(q, 256, 3);
		ASSERT_EQ(0, mprotect(q + i % 256 * PAGE, PAGE, prots[i / 2 % 2]));
		ASSERT_EQ(0, pw_unmap(h->fd, q, 256 * PAGE));
		ASSERT_EQ(p, as_new(h, 256));
	}
	/* One that moves away leaves nothing behind, too. */
	q = mapped(h, 256);
	ASSERT_EQ(p, q);
	ASSERT_EQ(0, mprotect(q + 255 * PAGE, PAGE, PROT_NONE));
	ASSERT_EQ(0, pw_map(h->fd, PAGEWELL_MAP_FIXED_NOREPLACE, q + 256 * PAGE, PAGE, 0, NULL));
	ASSERT_EQ(0, pw_remap(h->fd, PAGEWELL_REMAP_MAYMOVE, q, 256 * PAGE, 300 * PAGE, &q));
	ASSERT_NE(p, q);
	EXPECT_EQ(p, as_new(h, 256));

	ASSERT_EQ(0, pw_brk_create(h->fd, HUGE, &id, &start));
	pw_cover(h, start + HUGE);
	ASSERT_EQ(0, pw_brk(h->fd, id, start + 64 * PAGE, NULL));
	ASSERT_EQ(0, mprotect(start + 40 * PAGE, PAGE, PROT_NONE));
	ASSERT_EQ(0, pw_brk(h->fd, id, start + 10 * PAGE, NULL));
	ASSERT_EQ(0, pw_brk(h->fd, id, start + 64 * PAGE, NULL));
	pw_fill(start, 64, 5);
	ASSERT_EQ(0, mprotect(start + 3 * PAGE, PAGE, PROT_NONE));
	ASSERT_EQ(0, pw_brk_destroy(h->fd, id));
	ASSERT_EQ(0, pw_map(h->fd, PAGEWELL_MAP_FIXED_NOREPLACE, start, 64 * PAGE, 0, NULL));
	pw_fill(start, 64, 6);
}

/* Two maps have been protected together: what the first one was is not given out before. */
TEST_F(protect, mprotect_of_neighbours)
{
	static const unsigned int flags[] = {
		PAGEWELL_MAP_FIXED, PAGEWELL_MAP_FIXED_NOREPLACE,
		PAGEWELL_MAP_FIXED | PAGEWELL_MAP_GUARD,
	};
	struct pw *h = &self->h;
	char *p = mapped(h, 200), *q;

	ASSERT_EQ(0, mprotect(p + 90 * PAGE, 20 * PAGE, PROT_NONE));
	ASSERT_EQ(0, pw_unmap(h->fd, p, 100 * PAGE));
	EXPECT_EQ(p, as_new(h, 90));
	q = as_new(h, 91);
	EXPECT_TRUE(q >= p + 200 * PAGE);
	/* Who wants just that place has it, as it is; a guard, too. */
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
		ASSERT_EQ(0, pw_map(h->fd, flags[i], p, 100 * PAGE, 0, NULL));
		EXPECT_EQ(SIGSEGV, pw_try_write(p + 90 * PAGE, 1));
		ASSERT_EQ(0, pw_unmap(h->fd, p, 100 * PAGE));
		/* Once more: there is nothing. */
		ASSERT_EQ(0, pw_unmap(h->fd, p, 100 * PAGE));
		/* Each of another length: the last place is taken again where it fits. */
		EXPECT_EQ(q, as_new(h, 92 + i));
	}
	ASSERT_EQ(0, pw_unmap(h->fd, p + 100 * PAGE, 100 * PAGE));
	EXPECT_EQ(p, as_new(h, 200));
}

/* What the program itself makes as it was is given out again. */
TEST_F(protect, mprotect_and_back)
{
	struct pw *h = &self->h;
	char *p = mapped(h, 200);

	ASSERT_EQ(0, mprotect(p + 90 * PAGE, 20 * PAGE, PROT_NONE));
	ASSERT_EQ(0, pw_unmap(h->fd, p, 100 * PAGE));
	ASSERT_EQ(0, mprotect(p + 90 * PAGE, 20 * PAGE, PROT_READ | PROT_WRITE));
	ASSERT_EQ(0, pw_unmap(h->fd, p + 100 * PAGE, 100 * PAGE));
	EXPECT_EQ(p, as_new(h, 200));
}

TEST_F(protect, a_key_ends_with_the_map)
{
	struct pw *h = &self->h;
	int key = pkey_alloc(0, PKEY_DISABLE_ACCESS);
	char *p, *q;

	if (key < 0)
		SKIP(return, "no protection keys here");
	p = mapped(h, 200);
	ASSERT_EQ(0, pkey_mprotect(p + 10 * PAGE, PAGE, PROT_READ | PROT_WRITE, key));
	ASSERT_EQ(0, pw_unmap(h->fd, p, 200 * PAGE));
	ASSERT_EQ(p, mapped(h, 200));
	ASSERT_EQ(0, pkey_mprotect(p + 90 * PAGE, 20 * PAGE, PROT_READ | PROT_WRITE, key));
	ASSERT_EQ(0, pw_unmap(h->fd, p, 100 * PAGE));
	q = as_new(h, 100);
	EXPECT_TRUE(q >= p + 200 * PAGE);
	/* What all has, nobody misses: addresses are used again. */
	ASSERT_EQ(0, pkey_mprotect(h->base, h->len, PROT_READ | PROT_WRITE, key));
	ASSERT_EQ(0, mprotect(q, PAGE, PROT_NONE));
	p = pw_map_pages(h, 100);
	pw_map_pages(h, 100);
	for (int i = 0; i < 10; i++) {
		ASSERT_EQ(0, pw_unmap(h->fd, p, 100 * PAGE));
		ASSERT_EQ(p, pw_map_pages(h, 100));
	}
	pkey_free(key);
}

/* Where the VMA has a hole, with somebody else in it or not, nothing is given out. */
TEST_F(protect, a_hole_is_not_given_out)
{
	struct pw *h = &self->h;
	char *p = mapped(h, 256), *hole = p + 100 * PAGE, *q;

	ASSERT_EQ(0, munmap(hole, 4 * PAGE));
	ASSERT_EQ(hole, mmap(hole, PAGE, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
	pw_fill(hole, 1, 7);
	ASSERT_EQ(0, pw_unmap(h->fd, p, 256 * PAGE));
	q = mapped(h, 256);
	EXPECT_EQ(hole + 4 * PAGE, q);
	EXPECT_EQ(p, as_new(h, 100));
	/* An unmap of it makes it no better. */
	ASSERT_EQ(0, pw_unmap(h->fd, p, 104 * PAGE));
	EXPECT_TRUE(as_new(h, 101) > q);
	EXPECT_EQ(-1, pw_wrong(hole, 1, 7));
	/* Behind the mapping there is no hole: it can grow. */
	ASSERT_EQ(0, pw_map(h->fd, 0, NULL, h->len, 0, &p));
	ASSERT_EQ(0, pw_unmap(h->fd, p, h->len));
	ASSERT_EQ(0, pw_map(h->fd, 0, NULL, h->len, 0, &q));
	EXPECT_EQ(p, q);
}

/* When all behind a hole has gone, too, it is no hole any more. */
TEST_F(protect, a_hole_that_became_the_end)
{
	struct pw *h = &self->h;
	size_t len = h->len;
	char *p = mapped(h, 256);

	ASSERT_EQ(0, munmap(p + 100 * PAGE, 4 * PAGE));
	ASSERT_EQ(0, pw_unmap(h->fd, p, 256 * PAGE));
	ASSERT_EQ(0, munmap(p + 104 * PAGE, h->base + len - (p + 104 * PAGE)));
	ASSERT_EQ(h->base, mremap(h->base, p + 100 * PAGE - h->base, len, 0));
	EXPECT_EQ(p, as_new(h, 256));
}

/* One VMA is left, as the program has made it. */
TEST_F(protect, what_is_left_ends_with_the_map)
{
	struct pw *h = &self->h;
	char *p = self->p;

	ASSERT_EQ(h->base, p);
	ASSERT_EQ(0, mprotect(p, NR * PAGE, PROT_NONE));
	ASSERT_EQ(0, munmap(p + NR * PAGE, h->len - NR * PAGE));
	ASSERT_EQ(0, pw_unmap(h->fd, p, NR * PAGE));
	EXPECT_EQ(p, as_new(h, NR));
}

/* What an unmap of @nr maps of a page takes, beside holes. */
static double unmaps_time(struct pw *h, char *at, long nr)
{
	double t = pw_now();

	for (long i = 0; i < nr; i++)
		CHECK(pw_unmap(h->fd, at + 4 * i * PAGE, PAGE) == 0);
	return (pw_now() - t) / nr;
}

/* Nobody looks for bars through all maps of a VMA that has none. */
TEST_F(protect, holes_on_both_sides)
{
	const long few = 100, many = 8000;
	struct pw *h = &self->h;
	char *p = mapped(h, 4 * many + 8), *q = p + PAGE;
	double usual;

	for (long i = 0; i < few; i++)
		ASSERT_EQ(0, pw_protect(h->fd, PW_READ, q + 4 * i * PAGE, PAGE));
	ASSERT_EQ(0, munmap(p, PAGE));
	ASSERT_EQ(0, munmap(p + (4 * many + 7) * PAGE, PAGE));
	ASSERT_EQ(0, pw_unmap(h->fd, p, PAGE));
	ASSERT_EQ(0, pw_unmap(h->fd, p + (4 * many + 7) * PAGE, PAGE));
	usual = unmaps_time(h, q, few);
	for (long i = few; i < many; i++)
		ASSERT_EQ(0, pw_protect(h->fd, PW_READ, q + 4 * i * PAGE, PAGE));
	EXPECT_LE(unmaps_time(h, q + 4 * few * PAGE, few), 10 * usual);
}

/* The same where nothing was mapped when the hole was made. */
TEST_F(protect, a_hole_in_what_is_free)
{
	struct pw *h = &self->h;
	char *p = as_new(h, 256);

	ASSERT_EQ(0, munmap(p + 100 * PAGE, 4 * PAGE));
	EXPECT_EQ(p + 104 * PAGE, as_new(h, 256));
	EXPECT_EQ(p, as_new(h, 100));
}

/* The mapping is in one piece still, but does not begin where it did. */
TEST_F(protect, a_hole_at_the_head)
{
	struct pw *h = &self->h;
	char *p = self->p;

	ASSERT_EQ(h->base, p);
	ASSERT_EQ(0, munmap(p, 4 * PAGE));
	ASSERT_EQ(0, pw_unmap(h->fd, p, NR * PAGE));
	EXPECT_EQ(p + 4 * PAGE, as_new(h, NR));
}

/* So does that of a child. */
TEST_F(protect, a_child_without_the_head)
{
	struct pw *h = &self->h;
	char *p = self->p;
	pid_t pid;

	ASSERT_EQ(h->base, p);
	ASSERT_EQ(0, madvise(p, 4 * PAGE, MADV_DONTFORK));
	pid = pw_fork();
	if (!pid) {
		CHECK(pw_unmap(h->fd, p, NR * PAGE) == 0);
		CHECK(as_new(h, NR) == p + 4 * PAGE);
		_exit(0);
	}
	EXPECT_EQ(0, pw_wait(pid));
}

/* Nor is the next one missing in a child. */
TEST_F(protect, advice_ends_with_the_map)
{
	struct pw *h = &self->h;
	char *p = mapped(h, 200);
	pid_t pid;

	ASSERT_EQ(0, madvise(p + 10 * PAGE, 10 * PAGE, MADV_DONTFORK));
	ASSERT_EQ(0, pw_unmap(h->fd, p, 200 * PAGE));
	ASSERT_EQ(p, mapped(h, 200));
	pid = pw_fork();
	if (!pid) {
		CHECK(pw_wrong(p, 200, 1) == -1);
		_exit(0);
	}
	EXPECT_EQ(0, pw_wait(pid));
}

TEST_F(protect, fork)
{
	int fd = self->h.fd;
	char *p = self->p;
	pid_t pid;

	ASSERT_EQ(0, pw_protect(fd, PW_READ, p, 100 * PAGE));
	pid = pw_fork();
	if (!pid) {
		CHECK(pw_try_write(p + PAGE, 1) == SIGSEGV);
		CHECK(pw_wrong(p, NR, 1) == -1);
		CHECK(pw_protect(fd, PW_BOTH, p, 100 * PAGE) == 0);
		pw_fill(p, NR, 2);
		CHECK(pw_wrong(p, NR, 2) == -1);
		exit(0);
	}
	EXPECT_EQ(SIGSEGV, pw_try_write(p + 2 * PAGE, 1));
	EXPECT_EQ(0, pw_wait(pid));
	EXPECT_EQ(-1, pw_wrong(p, NR, 1));
	/* The child is gone, the region is read-only all the same. */
	EXPECT_EQ(0, pw_advise(fd, PAGEWELL_ADVISE_WILLNEED, p, PAGE));
	EXPECT_EQ(0, pw_advise(fd, PAGEWELL_ADVISE_WILLNEED, p, PAGE));
	EXPECT_EQ(SIGSEGV, pw_try_write(p + 2 * PAGE, 1));
	EXPECT_EQ(0, pw_try_write(p + 200 * PAGE, 1));
}

TEST_F(protect, goes_with_a_move_and_not_with_an_unmap)
{
	int fd = self->h.fd;
	char *p = self->p, *at;

	ASSERT_EQ(0, pw_protect(fd, PW_READ, p + 600 * PAGE, 10 * PAGE));
	ASSERT_EQ(0, pw_map(fd, PAGEWELL_MAP_FIXED_NOREPLACE | PAGEWELL_MAP_GUARD, p + NR * PAGE,
			    PAGE, 0, NULL));
	ASSERT_EQ(0, pw_remap(fd, PAGEWELL_REMAP_MAYMOVE, p, NR * PAGE, (NR + 50) * PAGE, &at));
	pw_cover(&self->h, at + (NR + 50) * PAGE);
	EXPECT_NE(p, at);
	EXPECT_EQ(SIGSEGV, pw_try_write(at + 605 * PAGE, 1));
	EXPECT_EQ(-1, pw_wrong(at, NR, 1));
	ASSERT_EQ(0, pw_unmap(fd, at, (NR + 50) * PAGE));
	ASSERT_EQ(0, pw_map(fd, PAGEWELL_MAP_FIXED, at, NR * PAGE, 0, NULL));
	pw_fill(at, NR, 5);
	EXPECT_EQ(-1, pw_wrong(at, NR, 5));
}

static int by_time(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

/* What it takes to make a page read-only and writable again. */
static double pair_time(struct pw *h, char *p)
{
	double t[101];

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		t[i] = pw_now();
		CHECK(pw_protect(h->fd, PW_READ, p, PAGE) == 0);
		CHECK(pw_protect(h->fd, PW_BOTH, p, PAGE) == 0);
		t[i] = pw_now() - t[i];
	}
	qsort(t, ARRAY_SIZE(t), sizeof(*t), by_time);
	return t[ARRAY_SIZE(t) / 2];
}

/* It is not asked of each 2 MiB whether anything is shared, nor while a child is there. */
TEST_F(protect, in_a_large_heap)
{
	const long slots = 4000;
	double usual = pair_time(&self->h, self->p);
	int *step = pw_shared();
	char *q;
	pid_t pid;

	ASSERT_EQ(0, pw_set_huge(self->h.fd, PAGEWELL_HUGE_NEVER));
	for (long i = 0; i < slots; i++) {
		ASSERT_EQ(0, pw_map(self->h.fd, 0, self->h.base + (i + 8) * HUGE, PAGE, 0, &q));
		pw_cover(&self->h, q + PAGE);
		*q = 1;
	}
	EXPECT_LE(pair_time(&self->h, self->p), 5 * usual);
	pid = pw_fork();
	if (!pid) {
		/* All but the last page is its parent's alone again. */
		CHECK(pw_unmap(self->h.fd, self->h.base, q - self->h.base) == 0);
		pw_set(step, 1);
		pause();
	}
	pw_wait_for(step, 1);
	EXPECT_LE(pair_time(&self->h, self->p), 10 * usual);
	pw_hog_stop(pid);
}

TEST_F(protect, bad_input)
{
	int fd = self->h.fd;
	char *p = self->p, *start;
	uint32_t id;

	EXPECT_EQ(-EINVAL, pw_protect(fd, PAGEWELL_PROT_WRITE, p, PAGE));
	EXPECT_EQ(-EINVAL, pw_protect(fd, 4, p, PAGE));
	EXPECT_EQ(-EINVAL, pw_protect(fd, PW_READ, p + 1, PAGE));
	EXPECT_EQ(-EINVAL, pw_protect(fd, PW_READ, p, 0));
	EXPECT_EQ(-EINVAL, pw_protect(fd, PW_READ, p, ~0ULL));
	EXPECT_EQ(-EINVAL, pw_protect(fd, PW_READ, self->h.base - PAGE, PAGE));
	ASSERT_EQ(0, pw_brk_create(fd, HUGE, &id, &start));
	ASSERT_EQ(0, pw_brk(fd, id, start + 2 * PAGE, NULL));
	EXPECT_EQ(-EINVAL, pw_protect(fd, PW_NONE, start, PAGE));
	ASSERT_EQ(0, pw_unmap(fd, p + 20 * PAGE, PAGE));
	EXPECT_EQ(-ENOMEM, pw_protect(fd, PW_NONE, p, 30 * PAGE));
	pw_fill(p, 20, 1);
	EXPECT_EQ(-1, pw_wrong(p, 20, 1));
}

struct race {
	struct pw *h;
	char *p;
	int stop;
};

static void *unmapper(void *arg)
{
	struct race *r = arg;
	char *p;

	while (!__atomic_load_n(&r->stop, __ATOMIC_RELAXED)) {
		CHECK(pw_map(r->h->fd, 0, NULL, NR * PAGE, HUGE, &p) == 0);
		pw_fill(p, NR, 2);
		CHECK(mprotect(p, NR * PAGE, PROT_READ) == 0);
		CHECK(pw_unmap(r->h->fd, p, NR * PAGE) == 0);
	}
	return NULL;
}

/* A child does not get for free what is on its way to be, and protected still. */
TEST_F(protect, fork_against_unmap)
{
	struct race r = { &self->h };
	pthread_t t;

	ASSERT_EQ(0, pthread_create(&t, NULL, unmapper, &r));
	for (long i = 0, n = pw_scaled(100); i < n; i++) {
		pid_t pid = pw_fork();

		if (!pid) {
			mapped(r.h, NR);
			_exit(0);
		}
		ASSERT_EQ(0, pw_wait(pid));
	}
	__atomic_store_n(&r.stop, 1, __ATOMIC_RELAXED);
	pthread_join(t, NULL);
}

static void *writer(void *arg)
{
	struct race *r = arg;
	char c = 0;

	pw_catch();
	while (!__atomic_load_n(&r->stop, __ATOMIC_RELAXED))
		for (int i = 0; i < 64; i++)
			pw_try_write(r->p + i * 8 * PAGE, ++c);
	return NULL;
}

/* What is read-only stays as it is, however others try just then. */
TEST_F(protect, against_writers)
{
	struct race r = { &self->h, self->p };
	pthread_t t;

	ASSERT_EQ(0, pthread_create(&t, NULL, writer, &r));
	for (long i = 0, n = pw_scaled(400); i < n; i++) {
		volatile char *c = r.p + i % 64 * 8 * PAGE;
		char was;

		ASSERT_EQ(0, pw_protect(self->h.fd, PW_READ, r.p, 512 * PAGE));
		was = *c;
		for (int k = 0; k < 200; k++)
			ASSERT_EQ(was, *c);
		ASSERT_EQ(0, pw_protect(self->h.fd, PW_BOTH, r.p, 512 * PAGE));
	}
	r.stop = 1;
	pthread_join(t, NULL);
}

PW_TEST_POOL_WHOLE

TEST_HARNESS_MAIN
