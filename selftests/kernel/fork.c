// SPDX-License-Identifier: GPL-2.0-only
/*
 * fork.c - copy-on-write: every process sees its own writes and nobody else's
 */
#include "pw_test.h"

#include <spawn.h>

#define PAGES 1300UL	/* two whole slots and a part of a third */

FIXTURE(fork) {
	struct pw h;
	char *p;
	int *step;
};

FIXTURE_SETUP(fork)
{
	pw_heap(&self->h, 16 * MIB);
	self->p = pw_map_pages(&self->h, PAGES);
	pw_fill(self->p, PAGES, 1);
	self->step = pw_shared();
}

FIXTURE_TEARDOWN(fork)
{
	close(self->h.fd);
}

static void fill_every(char *p, size_t from, size_t step, uint64_t seed)
{
	for (size_t i = from; i < PAGES; i += step)
		pw_fill(p + i * PAGE, 1, seed + i);
}

/* What fill_every() did to pages that pw_fill(p, PAGES, old) had filled. */
static bool is_filled_every(char *p, size_t from, size_t step, uint64_t seed, uint64_t old)
{
	for (size_t i = 0; i < PAGES; i++) {
		bool ours = i >= from && (i - from) % step == 0;
		volatile uint64_t *w = (void *)(p + i * PAGE);

		for (int j = 0; j < 512; j += 73)
			if (w[j] != (ours ? pw_word(seed + i, 0, j) : pw_word(old, i, j)))
				return false;
	}
	return true;
}

TEST_F(fork, child_inherits)
{
	pid_t pid = pw_fork();

	if (!pid) {
		struct pagewell_info info;

		CHECK(pw_info(self->h.fd, &info) == 0);
		CHECK((char *)info.heap_base == self->h.base);
		CHECK(info.committed == 0);
		CHECK(info.resident == PAGES * PAGE);
		CHECK(pw_wrong(self->p, PAGES, 1) == -1);
		_exit(0);
	}
	ASSERT_EQ(0, pw_wait(pid));
	EXPECT_EQ(-1, pw_wrong(self->p, PAGES, 1));
	EXPECT_EQ(PAGES * PAGE, pw_committed(self->h.fd));
}

TEST_F(fork, ids_differ)
{
	struct pagewell_info mine, *its = (void *)pw_shared();
	pid_t pid = pw_fork();

	if (!pid) {
		CHECK(pw_info(self->h.fd, its) == 0);
		_exit(0);
	}
	ASSERT_EQ(0, pw_wait(pid));
	ASSERT_EQ(0, pw_info(self->h.fd, &mine));
	EXPECT_NE(mine.heap_id, its->heap_id);
	EXPECT_NE(0, its->heap_id);
}

TEST_F(fork, both_write)
{
	long copies = pw_stat("cow_copies");
	pid_t pid = pw_fork();

	if (!pid) {
		fill_every(self->p, 0, 3, 1000);
		pw_set(self->step, 1);
		pw_wait_for(self->step, 2);
		CHECK(is_filled_every(self->p, 0, 3, 1000, 1));
		_exit(0);
	}
	fill_every(self->p, 1, 4, 9000);
	pw_wait_for(self->step, 1);
	EXPECT_TRUE(is_filled_every(self->p, 1, 4, 9000, 1));
	pw_set(self->step, 2);
	ASSERT_EQ(0, pw_wait(pid));
	EXPECT_TRUE(is_filled_every(self->p, 1, 4, 9000, 1));
	EXPECT_GE(pw_stat("cow_copies") - copies, PAGES / 2);
	/* Alone again: no page is copied any more. */
	copies = pw_stat("cow_copies");
	pw_fill(self->p, PAGES, 3);
	EXPECT_EQ(copies, pw_stat("cow_copies"));
	EXPECT_EQ(-1, pw_wrong(self->p, PAGES, 3));
	EXPECT_EQ(PAGES * 4, pw_smaps(self->h.base, self->h.len, "Rss"));
}

static long minor_faults(void)
{
	struct rusage ru;

	CHECK(getrusage(RUSAGE_SELF, &ru) == 0);
	return ru.ru_minflt;
}

/* When nobody else has them any more, one fault makes all of a slot writable. */
TEST_F(fork, rewritten_in_batches)
{
	const long nr = 1024;
	long faults, reused;
	pid_t pid;
	char *p;

	ASSERT_EQ(0, pw_set_huge(self->h.fd, PAGEWELL_HUGE_NEVER));
	ASSERT_EQ(0, pw_map(self->h.fd, 0, NULL, nr * PAGE, HUGE, &p));
	pw_cover(&self->h, p + nr * PAGE);
	pw_fill(p, nr, 1);
	pid = pw_fork();
	if (!pid)
		_exit(0);
	ASSERT_EQ(0, pw_wait(pid));
	reused = pw_stat("cow_reused");
	faults = minor_faults();
	for (long i = 0; i < nr; i++)
		p[i * PAGE] = 1;
	EXPECT_LE(minor_faults() - faults, 8);
	reused = pw_stat("cow_reused") - reused;
	EXPECT_GE(reused, 2);
	EXPECT_LE(reused, 4);
}

TEST_F(fork, grandchildren)
{
	for (int depth = 1; depth <= 5; depth++) {
		pid_t pid = pw_fork();

		if (pid) {
			int status = pw_wait(pid);

			/* What the children below wrote is not here. */
			CHECK(pw_wrong(self->p, PAGES, depth) == -1);
			if (depth > 1)
				_exit(status);
			ASSERT_EQ(0, status);
			return;
		}
		CHECK(pw_wrong(self->p, PAGES, depth) == -1);
		pw_fill(self->p, PAGES, depth + 1);
	}
	_exit(0);
}

TEST_F(fork, the_middle_one_exits)
{
	pid_t pid = pw_fork();

	if (!pid) {
		fill_every(self->p, 0, 2, 500);
		if (!fork()) {
			pw_wait_for(self->step, 1);
			if (!is_filled_every(self->p, 0, 2, 500, 1))
				pw_set(self->step, 100);
			pw_fill(self->p, PAGES, 6);
			if (pw_wrong(self->p, PAGES, 6) != -1)
				pw_set(self->step, 100);
			pw_inc(self->step);
			_exit(0);
		}
		_exit(0);
	}
	ASSERT_EQ(0, pw_wait(pid));
	fill_every(self->p, 1, 2, 7000);
	pw_set(self->step, 1);
	pw_wait_for(self->step, 2);
	EXPECT_EQ(2, pw_get(self->step));
	EXPECT_TRUE(is_filled_every(self->p, 1, 2, 7000, 1));
}

TEST_F(fork, many_children)
{
	pid_t pid[8];

	/* Each is a snapshot of what the parent had written by then. */
	for (int i = 0; i < 8; i++) {
		pw_fill(self->p + i * PAGE, 1, 40 + i);
		pid[i] = pw_fork();
		if (pid[i])
			continue;
		fill_every(self->p, 8, 9, 100 * i);
		pw_wait_for(self->step, 1);
		for (int j = 0; j < 8; j++)
			CHECK(*(uint64_t *)(self->p + j * PAGE) ==
			      (j <= i ? pw_word(40 + j, 0, 0) : pw_word(1, j, 0)));
		for (size_t j = 8; j < PAGES; j++)
			CHECK(*(uint64_t *)(self->p + j * PAGE) ==
			      (j % 9 == 8 ? pw_word(100 * i + j, 0, 0) : pw_word(1, j, 0)));
		_exit(0);
	}
	pw_fill(self->p, PAGES, 9);
	pw_set(self->step, 1);
	for (int i = 0; i < 8; i++) {
		EXPECT_EQ(0, pw_wait(pid[i]));
	}
	EXPECT_EQ(-1, pw_wrong(self->p, PAGES, 9));
}

TEST_F(fork, child_grows_and_shrinks)
{
	uint32_t id;
	char *start;
	pid_t pid;

	ASSERT_EQ(0, pw_brk_create(self->h.fd, 4 * MIB, &id, &start));
	ASSERT_EQ(0, pw_brk(self->h.fd, id, start + 600 * PAGE, NULL));
	pw_cover(&self->h, start + 4 * MIB);
	pw_fill(start, 600, 2);
	pid = pw_fork();
	if (!pid) {
		CHECK(pw_brk(self->h.fd, id, start + 700 * PAGE, NULL) == 0);
		CHECK(pw_nonzero(start + 600 * PAGE, 100) == -1);
		CHECK(pw_committed(self->h.fd) == 100 * PAGE);
		CHECK(pw_wrong(start, 600, 2) == -1);
		CHECK(pw_brk(self->h.fd, id, start + 10 * PAGE, NULL) == 0);
		CHECK(pw_try_read(start + 10 * PAGE) == SIGSEGV);
		CHECK(pw_brk(self->h.fd, id, start + 600 * PAGE, NULL) == 0);
		CHECK(pw_wrong(start, 10, 2) == -1);
		CHECK(pw_nonzero(start + 10 * PAGE, 590) == -1);
		CHECK(pw_committed(self->h.fd) == 590 * PAGE);
		CHECK(pw_unmap(self->h.fd, self->p, PAGES * PAGE) == 0);
		CHECK(pw_map_pages(&self->h, PAGES) == self->p);
		CHECK(pw_nonzero(self->p, PAGES) == -1);
		/* The child grows its own mapping, too. */
		pw_cover(&self->h, self->h.base + 64 * MIB);
		CHECK(pw_nonzero(pw_map_pages(&self->h, 5000), 5000) == -1);
		CHECK(pw_brk_destroy(self->h.fd, id) == 0);
		_exit(0);
	}
	ASSERT_EQ(0, pw_wait(pid));
	EXPECT_EQ(-1, pw_wrong(start, 600, 2));
	EXPECT_EQ(-1, pw_wrong(self->p, PAGES, 1));
	EXPECT_EQ((600 + PAGES) * PAGE, pw_committed(self->h.fd));
	EXPECT_EQ(SIGSEGV, pw_try_read(start + 600 * PAGE));
}

TEST_F(fork, parent_frees_while_child_reads)
{
	pid_t pid = pw_fork();

	if (!pid) {
		pw_wait_for(self->step, 1);
		CHECK(pw_wrong(self->p, PAGES, 1) == -1);
		CHECK(pw_advise(self->h.fd, PAGEWELL_ADVISE_DONTNEED, self->p + PAGE, PAGE) == 0);
		CHECK(pw_nonzero(self->p + PAGE, 1) == -1);
		_exit(0);
	}
	ASSERT_EQ(0, pw_advise(self->h.fd, PAGEWELL_ADVISE_DONTNEED, self->p, 600 * PAGE));
	ASSERT_EQ(0, pw_unmap(self->h.fd, self->p + 600 * PAGE, 100 * PAGE));
	EXPECT_EQ(-1, pw_nonzero(self->p, 600));
	pw_fill(self->p, 600, 5);
	pw_set(self->step, 1);
	ASSERT_EQ(0, pw_wait(pid));
	EXPECT_EQ(-1, pw_wrong(self->p, 600, 5));
	EXPECT_EQ(*(uint64_t *)(self->p + 700 * PAGE), pw_word(1, 700, 0));
}

/* A dirty page made read-only must not become writable again while shared. */
TEST_F(fork, mprotect_does_not_leak)
{
	const int prots[] = { PROT_READ, PROT_NONE };

	for (int i = 0; i < 2; i++) {
		pid_t pid;

		pw_fill(self->p, PAGES, 1);
		ASSERT_EQ(0, mprotect(self->h.base, self->h.len, prots[i]));
		pid = pw_fork();
		if (!pid) {
			CHECK(mprotect(self->h.base, self->h.len, PROT_READ | PROT_WRITE) == 0);
			pw_set(self->step, 1);
			pw_wait_for(self->step, 2);
			CHECK(pw_wrong(self->p, PAGES, 1) == -1);
			pw_fill(self->p, PAGES, 70);
			pw_set(self->step, 3);
			pw_wait_for(self->step, 4);
			_exit(0);
		}
		pw_wait_for(self->step, 1);
		ASSERT_EQ(0, mprotect(self->h.base, self->h.len, PROT_READ | PROT_WRITE));
		pw_fill(self->p, PAGES, 80);
		pw_set(self->step, 2);
		pw_wait_for(self->step, 3);
		EXPECT_EQ(-1, pw_wrong(self->p, PAGES, 80));
		pw_set(self->step, 4);
		ASSERT_EQ(0, pw_wait(pid));
		pw_set(self->step, 0);
	}
}

/* The same on a part, so that the heap's VMA is split when it forks. */
TEST_F(fork, split_mapping)
{
	pid_t pid;

	ASSERT_EQ(0, mprotect(self->p + 100 * PAGE, 50 * PAGE, PROT_READ));
	ASSERT_EQ(0, mprotect(self->p + 600 * PAGE, 3 * PAGE, PROT_NONE));
	ASSERT_EQ(0, munmap(self->p + 1000 * PAGE, 10 * PAGE));
	pid = pw_fork();
	if (!pid) {
		CHECK(pw_try_write(self->p + 100 * PAGE, 1) == SIGSEGV);
		CHECK(pw_try_read(self->p + 600 * PAGE) == SIGSEGV);
		CHECK(pw_try_read(self->p + 1000 * PAGE) == SIGSEGV);
		CHECK(mprotect(self->p, 700 * PAGE, PROT_READ | PROT_WRITE) == 0);
		CHECK(pw_wrong(self->p, 1000, 1) == -1);
		CHECK(pw_committed(self->h.fd) == 0);
		pw_fill(self->p, 1000, 2);
		pw_set(self->step, 1);
		pw_wait_for(self->step, 2);
		CHECK(pw_wrong(self->p, 1000, 2) == -1);
		_exit(0);
	}
	pw_wait_for(self->step, 1);
	EXPECT_EQ(-1, pw_wrong(self->p, 600, 1));
	ASSERT_EQ(0, mprotect(self->p, 700 * PAGE, PROT_READ | PROT_WRITE));
	EXPECT_EQ(-1, pw_wrong(self->p, 1000, 1));
	pw_fill(self->p, 1000, 3);
	pw_set(self->step, 2);
	ASSERT_EQ(0, pw_wait(pid));
	EXPECT_EQ(-1, pw_wrong(self->p, 1000, 3));
	EXPECT_EQ(*(uint64_t *)(self->p + 1010 * PAGE), pw_word(1, 1010, 0));
}

TEST_F(fork, dontfork)
{
	pid_t pid;
	char *at;

	ASSERT_EQ(0, madvise(self->p + 512 * PAGE, 100 * PAGE, MADV_DONTFORK));
	pid = pw_fork();
	if (!pid) {
		CHECK(pw_wrong(self->p, 512, 1) == -1);
		CHECK(pw_try_read(self->p + 512 * PAGE) == SIGSEGV);
		CHECK(*(uint64_t *)(self->p + 612 * PAGE) == pw_word(1, 612, 0));
		pw_fill(self->p, 512, 2);
		_exit(0);
	}
	ASSERT_EQ(0, pw_wait(pid));
	EXPECT_EQ(-1, pw_wrong(self->p, PAGES, 1));
	/* All of it: the child has no heap, and may make one. */
	ASSERT_EQ(0, madvise(self->h.base, self->h.len, MADV_DONTFORK));
	pid = pw_fork();
	if (!pid) {
		struct pw h;

		CHECK(pw_map(self->h.fd, 0, NULL, PAGE, 0, &at) == -ENXIO);
		pw_heap(&h, 4 * MIB);
		CHECK(pw_nonzero(pw_map_pages(&h, 100), 100) == -1);
		_exit(0);
	}
	ASSERT_EQ(0, pw_wait(pid));
	EXPECT_EQ(-1, pw_wrong(self->p, PAGES, 1));
}

struct writers {
	char *p;
	int stop;
	int bad;
};

/* Each thread owns every other page and finds there what it wrote last. */
static void *writer(void *arg)
{
	static int next;
	struct writers *w = arg;
	size_t mine = __atomic_fetch_add(&next, 1, __ATOMIC_SEQ_CST) % 2;
	uint64_t round = 0;

	while (!pw_get(&w->stop)) {
		for (size_t i = mine; i < PAGES; i += 14) {
			volatile uint64_t *at = (void *)(w->p + i * PAGE);

			if (round && (at[3] != round || at[500] != round + i))
				pw_set(&w->bad, 1);
			at[3] = round + 1;
			at[500] = round + 1 + i;
		}
		round++;
	}
	return NULL;
}

TEST_F(fork, threads_write_meanwhile)
{
	struct writers *w = (void *)pw_shared();
	pthread_t thread[2];
	double end = pw_now() + 3;
	int forks = 0;

	w->p = self->p;
	for (int i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, writer, w));
	for (; (pw_now() < end || forks < 5) && !pw_get(&w->bad); forks++) {
		pid_t pid = pw_fork();

		if (!pid) {
			/* A snapshot: it stands still from here on. */
			uint64_t sum[2] = { 0, 0 };

			for (int round = 0; round < 2; round++) {
				for (size_t i = 0; i < PAGES; i++)
					sum[round] += *(uint64_t *)(self->p + i * PAGE + 24);
				usleep(2000);
			}
			CHECK(sum[0] == sum[1]);
			for (size_t i = 0; i < PAGES; i += 7)
				*(uint64_t *)(self->p + i * PAGE + 24) = 1ULL << 60;
			_exit(0);
		}
		EXPECT_EQ(0, pw_wait(pid));
	}
	pw_set(&w->stop, 1);
	for (int i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	EXPECT_EQ(0, w->bad);
}

TEST_F(fork, vfork_shares)
{
	pid_t pid = vfork();

	if (!pid) {
		*(volatile uint64_t *)self->p = 42;
		_exit(pw_committed(self->h.fd) != PAGES * PAGE);
	}
	ASSERT_EQ(0, pw_wait(pid));
	EXPECT_EQ(42, *(volatile uint64_t *)self->p);
	EXPECT_EQ(PAGES * PAGE, pw_resident(self->h.fd));
}

static int clone_child(void *arg)
{
	*(volatile uint64_t *)arg = 43;
	return 0;
}

TEST_F(fork, clone_vm)
{
	static char stack[64 * KIB] __attribute__((aligned(64)));
	long heaps = pw_stat("fork_heaps");
	pid_t pid = clone(clone_child, stack + sizeof(stack), CLONE_VM | SIGCHLD, self->p);

	ASSERT_GT(pid, 0);
	ASSERT_EQ(0, pw_wait(pid));
	EXPECT_EQ(43, *(volatile uint64_t *)self->p);
	EXPECT_EQ(heaps, pw_stat("fork_heaps"));
}

TEST_F(fork, spawn_and_exec)
{
	char *argv[] = { "sh", "-c", "exit 7", NULL };
	pid_t pid;

	ASSERT_EQ(0, posix_spawn(&pid, "/bin/sh", NULL, NULL, argv, environ));
	EXPECT_EQ(7, pw_wait(pid));
	pid = pw_fork();
	if (!pid) {
		pw_fill(self->p, PAGES, 2);
		execv("/bin/sh", argv);
		_exit(1);
	}
	EXPECT_EQ(7, pw_wait(pid));
	EXPECT_EQ(-1, pw_wrong(self->p, PAGES, 1));
	pw_fill(self->p, PAGES, 3);
	EXPECT_EQ(PAGES * PAGE, pw_resident(self->h.fd));
}

static void splice_out(int fd, void *p, size_t len)
{
	struct iovec iov = { p, len };

	CHECK(vmsplice(fd, &iov, 1, 0) == (ssize_t)len);
}

static bool pipe_holds(int fd, size_t pages, uint64_t seed)
{
	static char buf[16 * PAGE];

	CHECK(read(fd, buf, pages * PAGE) == (ssize_t)(pages * PAGE));
	return pw_wrong(buf, pages, seed) == -1;
}

/* Pages in a pipe when the process forks: all three go their own ways. */
TEST_F(fork, page_in_a_pipe)
{
	int fds[2];
	pid_t pid;

	ASSERT_EQ(0, pipe(fds));
	splice_out(fds[1], self->p, 8 * PAGE);
	pid = pw_fork();
	if (!pid) {
		pw_wait_for(self->step, 1);
		CHECK(pw_wrong(self->p, 8, 1) == -1);
		_exit(0);
	}
	pw_fill(self->p, 8, 2);
	pw_set(self->step, 1);
	ASSERT_EQ(0, pw_wait(pid));
	EXPECT_TRUE(pipe_holds(fds[0], 8, 1));
	EXPECT_EQ(-1, pw_wrong(self->p, 8, 2));
}

/*
 * A child keeps a shared page in a pipe and lets go of it otherwise: what the
 * parent writes from then on must not come out of the pipe.
 */
TEST_F(fork, child_pipe_does_not_see_parent)
{
	for (int how = 0; how < 3; how++) {
		int fds[2];
		pid_t pid;

		pw_fill(self->p, 8, 1);
		pw_set(self->step, 0);
		ASSERT_EQ(0, pipe(fds));
		pid = pw_fork();
		if (!pid) {
			splice_out(fds[1], self->p, 8 * PAGE);
			if (how == 0)
				CHECK(pw_unmap(self->h.fd, self->p, 8 * PAGE) == 0);
			else if (how == 1)
				CHECK(pw_advise(self->h.fd, PAGEWELL_ADVISE_DONTNEED,
						self->p, 8 * PAGE) == 0);
			_exit(0);
		}
		ASSERT_EQ(0, pw_wait(pid));
		pw_fill(self->p, 8, 66);
		EXPECT_TRUE(pipe_holds(fds[0], 8, 1))
			TH_LOG("way %d: the parent's new data were in the child's pipe", how);
		EXPECT_EQ(-1, pw_wrong(self->p, 8, 66));
		close(fds[0]);
		close(fds[1]);
	}
}

/*
 * Strict parent, lazy child: with the pool empty the parent can still write
 * everywhere, and the child loses the pages that it had not copied.
 */
TEST_F(fork, exhausted)
{
	pid_t hog, child = pw_fork();

	if (!child) {
		int lost = 0;

		pw_wait_for(self->step, 2);
		for (size_t i = 0; i < PAGES; i++) {
			int sig = pw_try_read(self->p + i * PAGE);

			CHECK(sig == 0 || sig == SIGBUS);
			if (sig)
				lost++;
			else
				CHECK(*(uint64_t *)(self->p + i * PAGE) == pw_word(1, i, 0));
		}
		CHECK(lost >= (int)PAGES / 2);
		_exit(0);
	}
	hog = pw_hog(&self->h);
	pw_fill(self->p, PAGES, 2);
	EXPECT_EQ(-1, pw_wrong(self->p, PAGES, 2));
	pw_set(self->step, 2);
	EXPECT_EQ(0, pw_wait(child));
	EXPECT_GT(pw_stat("cow_stolen"), 0);
	pw_hog_stop(hog);
	EXPECT_EQ(-1, pw_wrong(self->p, PAGES, 2));
}

TEST_F(fork, exhausted_child_write)
{
	pid_t hog, child = pw_fork();

	if (!child) {
		pw_wait_for(self->step, 1);
		CHECK(pw_try_write(self->p, 1) == SIGBUS);
		CHECK(pw_wrong(self->p, PAGES, 1) == -1);
		_exit(0);
	}
	hog = pw_hog(&self->h);
	pw_set(self->step, 1);
	EXPECT_EQ(0, pw_wait(child));
	pw_hog_stop(hog);
	EXPECT_EQ(-1, pw_wrong(self->p, PAGES, 1));
	pw_fill(self->p, PAGES, 2);
	EXPECT_EQ(-1, pw_wrong(self->p, PAGES, 2));
}

/* The same page at different addresses in parent and child. */
TEST_F(fork, exhausted_after_move)
{
	char *wall = pw_map_pages(&self->h, 1), *at;
	int *moved = pw_shared();
	pid_t hog, child;

	ASSERT_EQ(self->p + PAGES * PAGE, wall);
	child = pw_fork();
	if (!child) {
		CHECK(pw_remap(self->h.fd, PAGEWELL_REMAP_MAYMOVE, self->p, PAGES * PAGE,
			       (PAGES + 1) * PAGE, &at) == 0);
		CHECK(at != self->p);
		pw_cover(&self->h, at + (PAGES + 1) * PAGE);
		CHECK(pw_wrong(at, PAGES, 1) == -1);
		pw_set(moved, 1);
		pw_wait_for(self->step, 2);
		_exit(0);
	}
	pw_wait_for(moved, 1);
	hog = pw_hog(&self->h);
	alarm(100);
	pw_fill(self->p, PAGES, 2);
	alarm(0);
	EXPECT_EQ(-1, pw_wrong(self->p, PAGES, 2));
	pw_set(self->step, 2);
	EXPECT_EQ(0, pw_wait(child));
	pw_hog_stop(hog);
}

PW_TEST_POOL_WHOLE

TEST_HARNESS_MAIN
