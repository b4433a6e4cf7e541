// SPDX-License-Identifier: GPL-2.0-only
/*
 * huge.c - pages of 2 MiB: taken where they fit, cut when a part goes its own way
 */
#include "pw_test.h"

#define SLOT		512L
#define in_kib(pages)	((pages) * 4L)

FIXTURE(huge) {
	struct pw h;
	char *p;		/* four slots */
};

FIXTURE_SETUP(huge)
{
	pw_heap(&self->h, 32 * MIB);
	ASSERT_EQ(0, pw_set_huge(self->h.fd, PAGEWELL_HUGE_ALWAYS));
	ASSERT_EQ(0, pw_map(self->h.fd, 0, NULL, 4 * HUGE, HUGE, &self->p));
	pw_cover(&self->h, self->p + 4 * HUGE);
}

FIXTURE_TEARDOWN(huge)
{
	close(self->h.fd);
}

static long pmd_kib(FIXTURE_DATA(huge) *self)
{
	return pw_smaps(self->h.base, self->h.len, "FilePmdMapped");
}

static long rss_kib(FIXTURE_DATA(huge) *self)
{
	return pw_smaps(self->h.base, self->h.len, "Rss");
}

/* All four slots, written, in pages of 2 MiB. */
static void fill(FIXTURE_DATA(huge) *self)
{
	pw_fill(self->p, 4 * SLOT, 1);
	CHECK(pmd_kib(self) == in_kib(4 * SLOT));
}

TEST_F(huge, one_fault_for_all)
{
	long faults = pw_stat("faults");

	EXPECT_EQ(-1, pw_nonzero(self->p, 4 * SLOT));
	fill(self);
	EXPECT_EQ(faults + 4, pw_stat("faults"));
	EXPECT_EQ(in_kib(4 * SLOT), rss_kib(self));
	EXPECT_EQ(4 * HUGE, pw_resident(self->h.fd));
	EXPECT_EQ(-1, pw_wrong(self->p, 4 * SLOT, 1));
}

/* Only where a whole slot is mapped: no more than was asked for. */
TEST_F(huge, not_beyond_the_region)
{
	char *at;

	ASSERT_EQ(0, pw_map(self->h.fd, 0, NULL, HUGE + 5 * PAGE, HUGE, &at));
	pw_cover(&self->h, at + 2 * HUGE);
	pw_fill(at, SLOT + 5, 2);
	EXPECT_EQ(in_kib(SLOT), pmd_kib(self));
	EXPECT_EQ(SIGSEGV, pw_try_write(at + HUGE + 5 * PAGE, 1));
	EXPECT_EQ(-1, pw_wrong(at, SLOT + 5, 2));
}

TEST_F(huge, never)
{
	ASSERT_EQ(0, pw_set_huge(self->h.fd, PAGEWELL_HUGE_NEVER));
	pw_fill(self->p, 4 * SLOT, 1);
	EXPECT_EQ(0, pmd_kib(self));
	EXPECT_EQ(in_kib(4 * SLOT), rss_kib(self));
}

/* By itself when a walk is long enough, and not for a touch here and there. */
TEST_F(huge, automatic)
{
	const size_t big = 64 * MIB;
	char *at;

	ASSERT_EQ(0, pw_set_huge(self->h.fd, PAGEWELL_HUGE_AUTO));
	ASSERT_EQ(0, pw_map(self->h.fd, 0, NULL, big, HUGE, &at));
	pw_cover(&self->h, at + big);
	for (size_t i = 0; i < big; i += HUGE)
		at[i + 77 * PAGE] = 1;
	EXPECT_EQ(0, pmd_kib(self));
	ASSERT_EQ(0, pw_unmap(self->h.fd, at, big));

	ASSERT_EQ(0, pw_map(self->h.fd, 0, NULL, 2 * big, HUGE, &at));
	pw_cover(&self->h, at + 2 * big);
	pw_fill(at, 2 * big / PAGE, 3);
	EXPECT_GT(pmd_kib(self), in_kib(10 * SLOT));
	EXPECT_EQ(-1, pw_wrong(at, 2 * big / PAGE, 3));
}

/* Each range its own way, and its children inherit it. */
TEST_F(huge, advice)
{
	uint32_t id;
	pid_t pid;
	char *at;

	ASSERT_EQ(0, pw_set_huge(self->h.fd, PAGEWELL_HUGE_NEVER));
	ASSERT_EQ(0, pw_advise(self->h.fd, PAGEWELL_ADVISE_HUGEPAGE, self->p + HUGE, 2 * HUGE));
	ASSERT_EQ(0, pw_advise(self->h.fd, PAGEWELL_ADVISE_NOHUGEPAGE, self->p + 2 * HUGE, HUGE));
	pw_fill(self->p, 4 * SLOT, 1);
	EXPECT_EQ(in_kib(SLOT), pmd_kib(self));
	EXPECT_EQ(-1, pw_wrong(self->p, 4 * SLOT, 1));

	ASSERT_EQ(0, pw_brk_create(self->h.fd, 2 * HUGE, &id, &at));
	pw_cover(&self->h, at + 2 * HUGE);
	ASSERT_EQ(0, pw_brk(self->h.fd, id, at + 2 * HUGE, NULL));
	ASSERT_EQ(0, pw_advise(self->h.fd, PAGEWELL_ADVISE_HUGEPAGE, at, PAGE));
	pid = pw_fork();
	if (!pid) {
		*at = 1;
		CHECK(pw_smaps(at, HUGE, "FilePmdMapped") == in_kib(SLOT));
		_exit(0);
	}
	EXPECT_EQ(0, pw_wait(pid));
	pw_fill(at, 2 * SLOT, 2);
	EXPECT_EQ(in_kib(3 * SLOT), pmd_kib(self));
}

/* What was said of a range is taken back: the heap's policy rules, whatever it is by then. */
TEST_F(huge, advice_taken_back)
{
	int fd = self->h.fd;

	ASSERT_EQ(0, pw_advise(fd, PAGEWELL_ADVISE_NOHUGEPAGE, self->p, 2 * HUGE));
	ASSERT_EQ(0, pw_advise(fd, PAGEWELL_ADVISE_HUGEPAGE, self->p + 2 * HUGE, 2 * HUGE));
	ASSERT_EQ(0, pw_advise(fd, PAGEWELL_ADVISE_HEAPHUGEPAGE, self->p + HUGE, 2 * HUGE));
	self->p[0] = 1;
	self->p[HUGE] = 1;
	EXPECT_EQ(in_kib(SLOT), pmd_kib(self));
	ASSERT_EQ(0, pw_set_huge(fd, PAGEWELL_HUGE_NEVER));
	self->p[2 * HUGE] = 1;
	self->p[3 * HUGE] = 1;
	EXPECT_EQ(in_kib(2 * SLOT), pmd_kib(self));
	EXPECT_EQ(-EINVAL, pw_advise(fd, PAGEWELL_ADVISE_AUTOHUGEPAGE + 1, self->p, HUGE));
}

/* A range follows the walk where the heap's policy is always, and where it is never. */
TEST_F(huge, advice_automatic)
{
	int fd = self->h.fd;

	ASSERT_EQ(0, pw_advise(fd, PAGEWELL_ADVISE_AUTOHUGEPAGE, self->p, 4 * HUGE));
	self->p[0] = 1;
	EXPECT_EQ(0, pmd_kib(self));
	ASSERT_EQ(0, pw_set_huge(fd, PAGEWELL_HUGE_NEVER));
	ASSERT_EQ(0, pw_advise(fd, PAGEWELL_ADVISE_POPULATE, self->p + 2 * HUGE, HUGE));
	EXPECT_EQ(in_kib(SLOT), pmd_kib(self));
	ASSERT_EQ(0, pw_advise(fd, PAGEWELL_ADVISE_HEAPHUGEPAGE, self->p + 3 * HUGE, HUGE));
	ASSERT_EQ(0, pw_advise(fd, PAGEWELL_ADVISE_POPULATE, self->p + 3 * HUGE, HUGE));
	EXPECT_EQ(in_kib(SLOT), pmd_kib(self));
}

TEST_F(huge, populate)
{
	ASSERT_EQ(0, pw_advise(self->h.fd, PAGEWELL_ADVISE_POPULATE, self->p, 4 * HUGE));
	EXPECT_EQ(in_kib(4 * SLOT), pmd_kib(self));
	EXPECT_EQ(-1, pw_nonzero(self->p, 4 * SLOT));
}

/* What is left is what was there, and what comes back is zero. */
TEST_F(huge, unmap_part)
{
	long cut = pw_stat("huge_cut");

	fill(self);
	ASSERT_EQ(0, pw_unmap(self->h.fd, self->p + 10 * PAGE, 20 * PAGE));
	EXPECT_EQ(cut + 1, pw_stat("huge_cut"));
	EXPECT_EQ(SIGSEGV, pw_try_read(self->p + 10 * PAGE));
	EXPECT_EQ(SIGSEGV, pw_try_read(self->p + 29 * PAGE));
	EXPECT_EQ(-1, pw_wrong(self->p, 10, 1));
	EXPECT_EQ((uint64_t)(4 * SLOT - 20) * PAGE, pw_resident(self->h.fd));
	ASSERT_EQ(0, pw_map(self->h.fd, PAGEWELL_MAP_FIXED, self->p + 10 * PAGE, 20 * PAGE, 0, NULL));
	EXPECT_EQ(-1, pw_nonzero(self->p + 10 * PAGE, 20));
	EXPECT_EQ(pw_word(1, 100, 3), *(uint64_t *)(self->p + 100 * PAGE + 24));
	EXPECT_EQ(in_kib(3 * SLOT), pmd_kib(self));
}

TEST_F(huge, unmap_whole)
{
	long cut = pw_stat("huge_cut");

	fill(self);
	ASSERT_EQ(0, pw_unmap(self->h.fd, self->p + HUGE, 2 * HUGE));
	EXPECT_EQ(cut, pw_stat("huge_cut"));
	EXPECT_EQ(2 * HUGE, pw_resident(self->h.fd));
	EXPECT_EQ(SIGSEGV, pw_try_read(self->p + HUGE));
	EXPECT_EQ(-1, pw_wrong(self->p, SLOT, 1));
}

TEST_F(huge, dontneed)
{
	fill(self);
	ASSERT_EQ(0, pw_advise(self->h.fd, PAGEWELL_ADVISE_DONTNEED, self->p, HUGE + PAGE));
	EXPECT_EQ(-1, pw_nonzero(self->p, SLOT + 1));
	EXPECT_EQ(pw_word(1, SLOT + 1, 0), *(uint64_t *)(self->p + HUGE + PAGE));
	EXPECT_EQ(4 * HUGE, pw_committed(self->h.fd));
}

/* mprotect() and munmap() of the kernel's, within 2 MiB. */
TEST_F(huge, protect_part)
{
	fill(self);
	ASSERT_EQ(0, mprotect(self->p + 8 * PAGE, PAGE, PROT_NONE));
	EXPECT_EQ(SIGSEGV, pw_try_read(self->p + 8 * PAGE));
	EXPECT_EQ(-1, pw_wrong(self->p, 8, 1));
	ASSERT_EQ(0, mprotect(self->p + 8 * PAGE, PAGE, PROT_READ | PROT_WRITE));
	EXPECT_EQ(-1, pw_wrong(self->p, 4 * SLOT, 1));
	EXPECT_EQ(in_kib(4 * SLOT), rss_kib(self));
}

TEST_F(huge, vma_gone_in_part)
{
	fill(self);
	ASSERT_EQ(0, munmap(self->p + 3 * HUGE + 5 * PAGE, PAGE));
	EXPECT_EQ(-1, pw_wrong(self->p, 3 * SLOT + 5, 1));
	EXPECT_EQ(pw_word(1, 4 * SLOT - 1, 7), *(uint64_t *)(self->p + 4 * HUGE - PAGE + 56));
}

/* A whole slot moves as it is when it can lie in a slot again. */
TEST_F(huge, remap)
{
	long cut = pw_stat("huge_cut");
	char *at;

	fill(self);
	ASSERT_EQ(0, pw_map(self->h.fd, PAGEWELL_MAP_FIXED_NOREPLACE, self->p + 4 * HUGE, PAGE, 0, NULL));
	ASSERT_EQ(0, pw_remap(self->h.fd, PAGEWELL_REMAP_MAYMOVE, self->p, 4 * HUGE, 5 * HUGE, &at));
	pw_cover(&self->h, at + 5 * HUGE);
	EXPECT_NE(self->p, at);
	EXPECT_EQ(-1, pw_wrong(at, 4 * SLOT, 1));
	EXPECT_EQ(cut, pw_stat("huge_cut"));
	EXPECT_EQ(in_kib(4 * SLOT), pmd_kib(self));
	EXPECT_EQ(SIGSEGV, pw_try_read(self->p));
}

TEST_F(huge, fork)
{
	long cut = pw_stat("huge_cut"), chunks = pw_stat("fork_chunks");
	pid_t pid;

	fill(self);
	pid = pw_fork();
	if (!pid) {
		CHECK(pw_wrong(self->p, 4 * SLOT, 1) == -1);
		CHECK(pmd_kib(self) == in_kib(4 * SLOT));
		CHECK(pw_stat("huge_cut") == cut);
		/* One page of one slot is written: one slot is cut, one page copied. */
		self->p[HUGE] = 1;
		CHECK(pw_stat("huge_cut") == cut + 1);
		self->p[HUGE] = pw_word(1, SLOT, 0);
		CHECK(pw_wrong(self->p, 4 * SLOT, 1) == -1);
		_exit(0);
	}
	EXPECT_EQ(0, pw_wait(pid));
	EXPECT_LE(chunks + 4, pw_stat("fork_chunks"));
	EXPECT_EQ(-1, pw_wrong(self->p, 4 * SLOT, 1));
	/* The child is gone: the rest is the parent's again, in one piece. */
	cut = pw_stat("huge_cut");
	pw_fill(self->p, 4 * SLOT, 2);
	EXPECT_EQ(cut, pw_stat("huge_cut"));
	EXPECT_EQ(-1, pw_wrong(self->p, 4 * SLOT, 2));
}

TEST_F(huge, both_write)
{
	int *go = pw_shared();
	pid_t pid;

	fill(self);
	pid = pw_fork();
	if (!pid) {
		pw_wait_for(go, 1);
		CHECK(pw_wrong(self->p, 4 * SLOT, 1) == -1);
		pw_fill(self->p + 100 * PAGE, 2 * SLOT, 3);
		pw_set(go, 2);
		pw_wait_for(go, 3);
		CHECK(pw_wrong(self->p + 100 * PAGE, 2 * SLOT, 3) == -1);
		_exit(0);
	}
	pw_fill(self->p, 600, 2);
	pw_set(go, 1);
	pw_wait_for(go, 2);
	EXPECT_EQ(-1, pw_wrong(self->p, 600, 2));
	pw_fill(self->p, 4 * SLOT, 4);
	pw_set(go, 3);
	EXPECT_EQ(0, pw_wait(pid));
	EXPECT_EQ(-1, pw_wrong(self->p, 4 * SLOT, 4));
}

static int hold(char *p, size_t len, int fds[2])
{
	struct iovec iov = { p, len };

	CHECK(pipe(fds) == 0);
	CHECK(fcntl(fds[1], F_SETPIPE_SZ, len) >= (int)len);
	return vmsplice(fds[1], &iov, 1, 0) == (ssize_t)len;
}

/* What a pipe refers to stays what it was, whatever becomes of the block. */
TEST_F(huge, held_and_unmapped)
{
	static char buf[16 * PAGE];
	long lost = pw_stat("pages_lost");
	int fds[2];

	fill(self);
	ASSERT_TRUE(hold(self->p + 16 * PAGE, sizeof(buf), fds));
	ASSERT_EQ(0, pw_unmap(self->h.fd, self->p, HUGE));
	EXPECT_EQ(lost + SLOT, pw_stat("pages_lost"));
	ASSERT_EQ(0, pw_map(self->h.fd, PAGEWELL_MAP_FIXED, self->p, HUGE, 0, NULL));
	EXPECT_EQ(-1, pw_nonzero(self->p, SLOT));
	pw_fill(self->p, SLOT, 5);
	ASSERT_EQ((ssize_t)sizeof(buf), read(fds[0], buf, sizeof(buf)));
	for (long i = 0; i < 16; i++)
		EXPECT_EQ(pw_word(1, 16 + i, 9), *(uint64_t *)(buf + i * PAGE + 72));
}

/* Held, and another part goes: the holder and the heap still see one page. */
TEST_F(huge, held_and_cut_elsewhere)
{
	uint64_t word;
	int fds[2];

	fill(self);
	ASSERT_TRUE(hold(self->p, PAGE, fds));
	ASSERT_EQ(0, pw_unmap(self->h.fd, self->p + 256 * PAGE, 256 * PAGE));
	EXPECT_EQ(SIGSEGV, pw_try_read(self->p + 256 * PAGE));
	EXPECT_EQ(-1, pw_wrong(self->p, 256, 1));
	*(uint64_t *)self->p = 4711;
	ASSERT_EQ(8, read(fds[0], &word, 8));
	EXPECT_EQ(4711, word);
	ASSERT_EQ(0, pw_map(self->h.fd, PAGEWELL_MAP_FIXED, self->p + 256 * PAGE, 256 * PAGE, 0, NULL));
	EXPECT_EQ(-1, pw_nonzero(self->p + 256 * PAGE, 256));
}

/* Shared while held: what the parent writes is not what the pipe tells. */
TEST_F(huge, held_over_fork)
{
	static char buf[PAGE];
	int fds[2];
	pid_t pid;

	fill(self);
	pid = pw_fork();
	if (!pid) {
		CHECK(pw_wrong(self->p, 4 * SLOT, 1) == -1);
		CHECK(hold(self->p + PAGE, PAGE, fds));
		CHECK(pw_unmap(self->h.fd, self->p, HUGE) == 0);
		kill(getpid(), SIGSTOP);
		CHECK(read(fds[0], buf, PAGE) == PAGE);
		CHECK(*(uint64_t *)buf == pw_word(1, 1, 0));
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, NULL, WUNTRACED));
	pw_fill(self->p, SLOT, 6);
	kill(pid, SIGCONT);
	EXPECT_EQ(0, pw_wait(pid));
	EXPECT_EQ(-1, pw_wrong(self->p, SLOT, 6));
}

/* Whoever shares what lies behind self->p, until it is stopped. */
static pid_t sharer(void)
{
	pid_t pid = pw_fork();

	while (!pid)
		pause();
	return pid;
}

/*
 * A device may be writing to a part of a block while the process forks: whatever the
 * parent writes to the rest, what it has of that part is where the device finds it.
 */
TEST_F(huge, held_part_stays_with_the_parent)
{
	char buf[PAGE];
	pid_t child;
	int fds[2];

	fill(self);
	ASSERT_TRUE(hold(self->p + 256 * PAGE, PAGE, fds));
	child = sharer();
	self->p[0] = 1;
	self->p[256 * PAGE] = 'X';
	ASSERT_EQ(PAGE, read(fds[0], buf, PAGE));
	EXPECT_EQ('X', buf[0]);
	pw_hog_stop(child);
	close(fds[0]);
	close(fds[1]);
}

/* What a move would take from under a device stays where it is. */
TEST_F(huge, held_part_is_not_moved_away_from)
{
	char *half = self->p + 256 * PAGE, buf[PAGE];
	int fds[2];

	fill(self);
	ASSERT_TRUE(hold(half, PAGE, fds));
	ASSERT_EQ(-ENOMEM, pw_remap(self->h.fd, PAGEWELL_REMAP_MAYMOVE, self->p, 256 * PAGE,
				    300 * PAGE, NULL));
	*half = 'X';
	ASSERT_EQ(PAGE, read(fds[0], buf, PAGE));
	EXPECT_EQ('X', buf[0]);
	close(fds[0]);
	close(fds[1]);
	EXPECT_EQ(0, pw_remap(self->h.fd, PAGEWELL_REMAP_MAYMOVE, self->p, 256 * PAGE,
			      300 * PAGE, NULL));
}

/* To have all in place takes nothing from a relative, and cuts no block. */
TEST_F(huge, populate_after_fork)
{
	long cut = pw_stat("huge_cut"), copies = pw_stat("cow_copies");
	pid_t child;

	fill(self);
	child = sharer();
	EXPECT_EQ(0, pw_advise(self->h.fd, PAGEWELL_ADVISE_POPULATE, self->p, 4 * HUGE));
	EXPECT_EQ(cut, pw_stat("huge_cut"));
	EXPECT_EQ(copies, pw_stat("cow_copies"));
	pw_hog_stop(child);
}

/* Advice for a part of a block that somebody holds costs the other parts nothing. */
TEST_F(huge, dontneed_part_without_memory)
{
	int *step = pw_shared(), fds[2];
	pid_t child, hog;

	fill(self);
	child = pw_fork();
	if (!child) {
		pw_wait_for(step, 1);
		CHECK(pw_advise(self->h.fd, PAGEWELL_ADVISE_DONTNEED, self->p + 256 * PAGE,
				256 * PAGE) == -ENOMEM);
		CHECK(pw_wrong(self->p, 4 * SLOT, 1) == -1);
		_exit(0);
	}
	ASSERT_TRUE(hold(self->p, PAGE, fds));
	hog = pw_hog(&self->h);
	pw_set(step, 1);
	EXPECT_EQ(0, pw_wait(child));
	pw_hog_stop(hog);
	munmap(step, PAGE);
}

/* A copy of all of it is needed, and there is memory, but not in the pool. */
TEST_F(huge, held_and_the_pool_grows)
{
	int *step = pw_shared(), fds[2];
	pid_t child, other;
	struct pw h;

	fill(self);
	child = pw_fork();
	if (!child) {
		CHECK(hold(self->p, PAGE, fds));
		pw_set(step, 1);
		for (;;)
			pause();
	}
	pw_wait_for(step, 1);
	other = pw_fork();
	if (!other) {
		CHECK(munmap(self->h.base, self->h.len) == 0);
		pw_heap(&h, 4 * MIB);
		CHECK(pw_map(h.fd, 0, NULL, (pw_pool("avail_pages") - 300) * PAGE, 0, NULL) == 0);
		pw_set(step, 2);
		for (;;)
			pause();
	}
	pw_wait_for(step, 2);
	EXPECT_EQ(0, pw_try_write(self->p + PAGE, 1));
	pw_hog_stop(other);
	pw_hog_stop(child);
	munmap(step, PAGE);
}

/* Held and shared, so it takes copies to cut the block, and the pool has no page. */
TEST_F(huge, unmapped_without_memory)
{
	int *go = pw_shared(), fds[2];
	pid_t child, hog;

	fill(self);
	child = pw_fork();
	if (!child) {
		pw_wait_for(go, 1);
		CHECK(pw_wrong(self->p, 4 * SLOT, 1) == -1);
		_exit(0);
	}
	ASSERT_TRUE(hold(self->p, PAGE, fds));
	hog = pw_hog(&self->h);
	EXPECT_EQ(0, pw_unmap(self->h.fd, self->p + 256 * PAGE, SLOT * PAGE));
	for (long i = 256; i < 256 + SLOT; i += 51)
		EXPECT_EQ(SIGSEGV, pw_try_read(self->p + i * PAGE));
	EXPECT_EQ(-1, pw_wrong(self->p, 256, 1));
	EXPECT_EQ(0, pw_try_write(self->p + PAGE, 1));
	EXPECT_EQ(pw_word(1, 256 + SLOT, 0), *(uint64_t *)(self->p + (256 + SLOT) * PAGE));
	pw_hog_stop(hog);
	pw_set(go, 1);
	EXPECT_EQ(0, pw_wait(child));
	ASSERT_EQ(0, pw_map(self->h.fd, PAGEWELL_MAP_FIXED, self->p + 256 * PAGE,
			    SLOT * PAGE, 0, NULL));
	EXPECT_EQ(-1, pw_nonzero(self->p + 256 * PAGE, SLOT));
	munmap(go, PAGE);
}

/* The same in a child, which was promised nothing: it loses what it cannot copy. */
TEST_F(huge, child_unmaps_without_memory)
{
	int *step = pw_shared(), fds[2];
	pid_t child, hog;

	fill(self);
	child = pw_fork();
	if (!child) {
		pw_wait_for(step, 1);
		CHECK(pw_unmap(self->h.fd, self->p + 256 * PAGE, 256 * PAGE) == 0);
		CHECK(pw_try_read(self->p + 256 * PAGE) == SIGSEGV);
		CHECK(pw_try_read(self->p) == SIGBUS);
		CHECK(*(uint64_t *)(self->p + HUGE) == pw_word(1, SLOT, 0));
		_exit(0);
	}
	ASSERT_TRUE(hold(self->p, PAGE, fds));
	hog = pw_hog(&self->h);
	pw_set(step, 1);
	EXPECT_EQ(0, pw_wait(child));
	EXPECT_EQ(-1, pw_wrong(self->p, 4 * SLOT, 1));
	pw_hog_stop(hog);
	munmap(step, PAGE);
}

/* What is left of several unmaps stays until nobody holds the block. */
TEST_F(huge, left_over_without_memory)
{
	pid_t child, hog;
	int fds[2];

	fill(self);
	ASSERT_TRUE(hold(self->p, PAGE, fds));
	ASSERT_EQ(0, pw_unmap(self->h.fd, self->p + 300 * PAGE, 100 * PAGE));
	ASSERT_EQ(4 * HUGE, pw_resident(self->h.fd));
	/* The child has copies. */
	child = sharer();
	hog = pw_hog(&self->h);
	ASSERT_EQ(0, pw_unmap(self->h.fd, self->p + 100 * PAGE, 100 * PAGE));
	EXPECT_EQ(4 * HUGE, pw_resident(self->h.fd));
	EXPECT_EQ(SIGSEGV, pw_try_read(self->p + 100 * PAGE));
	EXPECT_EQ(SIGSEGV, pw_try_read(self->p + 300 * PAGE));
	pw_hog_stop(hog);
	pw_hog_stop(child);
	ASSERT_EQ(0, pw_map(self->h.fd, PAGEWELL_MAP_FIXED, self->p + 300 * PAGE, 100 * PAGE, 0,
			    NULL));
	EXPECT_EQ(-1, pw_nonzero(self->p + 300 * PAGE, 100));
	EXPECT_EQ(-1, pw_wrong(self->p, 100, 1));
}

/* What was unmapped stays, for it is held: nobody's promise is given up for it. */
TEST_F(huge, held_and_promises_of_others)
{
	char *half = self->p + 256 * PAGE, *other;
	pid_t hog, second;
	long promised;
	int fds[2];

	self->p[0] = 1;
	ASSERT_EQ(0, pw_set_huge(self->h.fd, PAGEWELL_HUGE_NEVER));
	other = pw_map_pages(&self->h, 256);
	/* Whoever takes what the pool has never shared the block. */
	ASSERT_EQ(0, madvise(self->h.base, self->h.len, MADV_DONTFORK));
	ASSERT_TRUE(hold(self->p, PAGE, fds));
	hog = pw_hog(NULL);
	promised = pw_pool("promised_pages");
	EXPECT_EQ(0, pw_unmap(self->h.fd, half, 256 * PAGE));
	EXPECT_EQ(promised, pw_pool("promised_pages"));
	second = pw_hog(NULL);
	for (long i = 0; i < 256; i++)
		ASSERT_EQ(0, pw_try_write(other + i * PAGE, 1));
	pw_hog_stop(second);
	pw_hog_stop(hog);

	/* Mapped and unmapped again: promises come and go. */
	promised = pw_pool("promised_pages");
	for (int i = 0; i < 3; i++) {
		ASSERT_EQ(0, pw_map(self->h.fd, PAGEWELL_MAP_FIXED, half, 256 * PAGE, 0, NULL));
		EXPECT_EQ(-1, pw_nonzero(half, 256));
		pw_fill(half, 256, i);
		ASSERT_EQ(0, pw_unmap(self->h.fd, half, 256 * PAGE));
		EXPECT_EQ(promised, pw_pool("promised_pages"));
	}

	/* It is not held any more, and cut. */
	ASSERT_EQ(0, pw_map(self->h.fd, PAGEWELL_MAP_FIXED, half, 256 * PAGE, 0, NULL));
	close(fds[0]);
	close(fds[1]);
	ASSERT_EQ(0, pw_advise(self->h.fd, PAGEWELL_ADVISE_DONTNEED, half, 128 * PAGE));
	EXPECT_EQ(-1, pw_nonzero(half, 256));
	ASSERT_EQ(0, pw_unmap(self->h.fd, half, 256 * PAGE));
	EXPECT_EQ(promised, pw_pool("promised_pages"));
	EXPECT_EQ(1, self->p[0]);
}

/* Once all of the block is unmapped nothing is left of it, held still or not. */
TEST_F(huge, held_and_unmapped_by_halves)
{
	char *half = self->p + 256 * PAGE;
	int fds[2];

	for (int held = 0; held < 2; held++) {
		ASSERT_EQ(0, pw_map(self->h.fd, PAGEWELL_MAP_FIXED, self->p, 4 * HUGE, 0, NULL));
		fill(self);
		ASSERT_TRUE(hold(self->p + 300 * PAGE, PAGE, fds));
		ASSERT_EQ(0, pw_unmap(self->h.fd, half, 256 * PAGE));
		EXPECT_EQ(4 * HUGE, pw_resident(self->h.fd));
		if (!held) {
			close(fds[0]);
			close(fds[1]);
		}
		ASSERT_EQ(0, pw_unmap(self->h.fd, self->p + 100 * PAGE, 156 * PAGE));
		ASSERT_EQ(0, pw_unmap(self->h.fd, self->p, 100 * PAGE));
		EXPECT_EQ(3 * HUGE, pw_resident(self->h.fd));
	}
}

/* A guard counts for nothing, also one above what an unmap had left of a block. */
TEST_F(huge, held_and_guarded)
{
	char *half = self->p + 256 * PAGE;
	int fds[2];

	fill(self);
	ASSERT_TRUE(hold(self->p, PAGE, fds));
	ASSERT_EQ(0, pw_unmap(self->h.fd, half, 256 * PAGE));
	for (int i = 0; i < 20; i++) {
		ASSERT_EQ(0, pw_map(self->h.fd, PAGEWELL_MAP_GUARD | PAGEWELL_MAP_FIXED, half,
				    256 * PAGE, 0, NULL));
		ASSERT_EQ(0, pw_unmap(self->h.fd, half, 256 * PAGE));
	}
	EXPECT_EQ(0, pw_map(self->h.fd, 0, NULL, PAGE, 0, NULL));
	ASSERT_EQ(0, pw_set_limit(self->h.fd, 4 * HUGE - 250 * PAGE));
	EXPECT_EQ(-ENOMEM, pw_map(self->h.fd, 0, NULL, 6 * PAGE, 0, NULL));
	EXPECT_EQ(0, pw_map(self->h.fd, 0, NULL, 5 * PAGE, 0, NULL));
}

/* Neither child nor pipe keeps a strict heap from writing; the pipe tells what was there. */
TEST_F(huge, held_and_written_without_memory)
{
	static char buf[PAGE];
	pid_t child, hog;
	int fds[2];

	fill(self);
	child = sharer();
	ASSERT_TRUE(hold(self->p, PAGE, fds));
	hog = pw_hog(&self->h);
	ASSERT_EQ(0, pw_try_write(self->p, 1));
	pw_fill(self->p, SLOT, 6);
	pw_hog_stop(hog);
	pw_hog_stop(child);
	EXPECT_EQ(-1, pw_wrong(self->p, SLOT, 6));
	ASSERT_EQ((ssize_t)PAGE, read(fds[0], buf, PAGE));
	EXPECT_EQ(-1, pw_wrong(buf, 1, 1));
}

/* Two threads, and the pages under them cut and gone all the time. */
static struct {
	FIXTURE_DATA(huge) *self;
	int stop;
} race;

static void *toucher(void *arg)
{
	uint64_t rnd = 88172645463325252ULL;

	while (!pw_get(&race.stop)) {
		volatile char *p = race.self->p + pw_random(&rnd) % (3 * HUGE);

		*p = *p | 1;
	}
	return NULL;
}

TEST_F(huge, race)
{
	double end = pw_now() + 3;
	pthread_t thread;
	uint64_t rnd = 4711;
	pid_t pid;

	race.self = self;
	ASSERT_EQ(0, pthread_create(&thread, NULL, toucher, NULL));
	while (pw_now() < end) {
		char *at = self->p + pw_random(&rnd) % (3 * SLOT) * PAGE;

		if (pw_random(&rnd) % 4 == 0) {
			pid = pw_fork();
			if (!pid) {
				*at = 2;
				_exit(0);
			}
			ASSERT_EQ(0, pw_wait(pid));
		} else {
			ASSERT_EQ(0, pw_advise(self->h.fd, PAGEWELL_ADVISE_DONTNEED, at,
					       pw_random(&rnd) % 2 ? PAGE : HUGE));
		}
	}
	pw_set(&race.stop, 1);
	pthread_join(thread, NULL);
	ASSERT_EQ(0, pw_unmap(self->h.fd, self->p, 4 * HUGE));
	EXPECT_EQ(0, pw_resident(self->h.fd));
}

PW_TEST_POOL_WHOLE

TEST_HARNESS_MAIN
