// SPDX-License-Identifier: GPL-2.0-only
/*
 * fault.c - touching memory: by the program, by the kernel for it, by others;
 * and everything else that can be done to a mapping
 */
#include "pw_test.h"

#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/stat.h>

FIXTURE(fault) {
	struct pw h;
};

FIXTURE_SETUP(fault)
{
	pw_heap(&self->h, 64 * MIB);
}

FIXTURE_TEARDOWN(fault)
{
	close(self->h.fd);
}

static long rss_pages(struct pw *h)
{
	return pw_smaps(h->base, h->len, "Rss") / 4;
}

/*
 * The most that may be there after @touched pages were: guesses stay under an
 * eighth of what is there, and a few.
 */
static long with_guesses(long touched)
{
	return (touched + 16) * 8 / 7 + 4;
}

static long minor_faults(void)
{
	struct rusage ru;

	getrusage(RUSAGE_SELF, &ru);
	return ru.ru_minflt;
}

/* Accounting */

TEST_F(fault, rss_of_a_walk)
{
	const long pages = 6000;
	long before, faults;
	char *p = pw_map_pages(&self->h, 12000);

	EXPECT_EQ(0, rss_pages(&self->h));
	before = minor_faults();
	for (long i = 0; i < pages; i++)
		p[i * PAGE] = 1;
	faults = minor_faults() - before;
	EXPECT_GE(rss_pages(&self->h), pages);
	EXPECT_LE(rss_pages(&self->h), with_guesses(pages));
	EXPECT_EQ(rss_pages(&self->h) * (long)PAGE, pw_resident(self->h.fd));
	EXPECT_EQ(rss_pages(&self->h), pw_smaps(self->h.base, self->h.len, "Pss") / 4);
	/* Many pages a fault, and each fault counted. */
	EXPECT_GE(faults, pages / 512);
	EXPECT_LE(faults, pages / 16);
	ASSERT_EQ(0, pw_unmap(self->h.fd, p, 12000 * PAGE));
	EXPECT_EQ(0, rss_pages(&self->h));
}

/* Faults of a walk through new pages, too short for pages of 2 MiB. */
static long faults_of_a_walk(struct pw *h, uint32_t policy, long pages)
{
	char *p = pw_map_pages(h, pages);
	long before;

	CHECK(pw_set_huge(h->fd, policy) == 0);
	before = minor_faults();
	pw_fill(p, pages, 1);
	before = minor_faults() - before;
	CHECK(pw_unmap(h->fd, p, pages * PAGE) == 0);
	return before;
}

TEST_F(fault, faults_of_a_walk_are_short)
{
	const long pages = 4000;
	long mbps = pw_get_param("zero_mbps");
	double end = pw_now() + 10;
	long never;

	while (pw_pool("clear_pages") < 2 * pages && pw_now() < end)
		usleep(10000);
	/* Up to 2 MiB in single pages for those who want no others. */
	never = faults_of_a_walk(&self->h, PAGEWELL_HUGE_NEVER, pages);
	EXPECT_LE(never, 40);
	EXPECT_GE(faults_of_a_walk(&self->h, PAGEWELL_HUGE_AUTO, pages), never + 6);

	/* Pages that are to be zeroed first. */
	ASSERT_EQ(0, pw_set_param("zero_mbps", 0));
	end = pw_now() + 10;
	while (pw_pool("clear_pages") > pages / 8 && pw_now() < end)
		faults_of_a_walk(&self->h, PAGEWELL_HUGE_NEVER, 4 * pages);
	EXPECT_GE(faults_of_a_walk(&self->h, PAGEWELL_HUGE_NEVER, pages), pages / 40);
	ASSERT_EQ(0, pw_set_param("zero_mbps", mbps));
}

/*
 * No free page is clear, and nobody wakes the thread that zeroes but for what the test
 * does: as long as the decay has something to do, that does, too.
 */
static bool all_dirty_at_rest(struct pw *h)
{
	double end = pw_now() + 60;

	faults_of_a_walk(h, PAGEWELL_HUGE_NEVER, pw_pool("avail_pages"));
	while ((pw_pool("held_pages") > pw_pool("floor_pages") || pw_pool("pcp_pages")) &&
	       pw_now() < end)
		usleep(100000);
	sleep(1);
	return !pw_pool("pcp_pages") && pw_pool("clear_pages") < 1000;
}

static bool is_zeroed_soon(void)
{
	double end = pw_now() + 20;

	while (pw_pool("clear_pages") < 4000 && pw_now() < end)
		usleep(10000);
	return pw_pool("clear_pages") >= 4000;
}

TEST_F(fault, zeroing_ahead_obeys_at_once)
{
	long mbps = pw_get_param("zero_mbps"), stock = pw_get_param("zero_stock_mb");
	long idle = pw_get_param("pool_idle_s");

	ASSERT_EQ(0, pw_set_param("pool_idle_s", 1));
	ASSERT_EQ(0, pw_set_param("zero_mbps", 0));
	EXPECT_TRUE(all_dirty_at_rest(&self->h));
	ASSERT_EQ(0, pw_set_param("zero_mbps", mbps));
	EXPECT_TRUE(is_zeroed_soon());
	ASSERT_EQ(0, pw_set_param("zero_stock_mb", 0));
	EXPECT_TRUE(all_dirty_at_rest(&self->h));
	ASSERT_EQ(0, pw_set_param("zero_stock_mb", stock));
	EXPECT_TRUE(is_zeroed_soon());
	ASSERT_EQ(0, pw_set_param("pool_idle_s", idle));
	/* Neither is taken if it is no number, or one that means nothing. */
	EXPECT_EQ(-EINVAL, pw_set_param("zero_mbps", -1));
	EXPECT_EQ(-ERANGE, pw_set_param("zero_stock_mb", 1L << 40));
	EXPECT_EQ(-EINVAL, pw_set_param("zero_stock_mb", -2));
}

TEST_F(fault, rss_of_a_walk_down)
{
	const long pages = 6000;
	char *p = pw_map_pages(&self->h, 12000);
	long faults = minor_faults();

	for (long i = 11999; i >= 12000 - pages; i--)
		p[i * PAGE] = 1;
	faults = minor_faults() - faults;
	EXPECT_LE(faults, pages / 16);
	EXPECT_GE(rss_pages(&self->h), pages);
	EXPECT_LE(rss_pages(&self->h), with_guesses(pages));
}

TEST_F(fault, rss_of_sparse_touches)
{
	const long touches = 300;
	char *p = pw_map_pages(&self->h, 15000);
	uint64_t rnd = 12345;
	static bool seen[15000];
	long distinct = 0;

	/* Far apart: a page each, whatever was guessed. */
	for (long i = 0; i < touches; i++) {
		long page = pw_random(&rnd) % 15000;

		p[page * PAGE] = 1;
		distinct += !seen[page];
		seen[page] = true;
	}
	EXPECT_GE(rss_pages(&self->h), distinct);
	EXPECT_LE(rss_pages(&self->h), with_guesses(distinct));
}

/* Too far from each other for a run: not even a few that cost nothing. */
TEST_F(fault, rss_of_lone_touches)
{
	const long apart = 150, touches[] = { 8, 32, 100 };
	char *p = pw_map_pages(&self->h, 15000);

	for (long i = 0, n = 0; n < (long)ARRAY_SIZE(touches); n++) {
		for (; i < touches[n]; i++)
			p[i * apart * PAGE] = 1;
		EXPECT_GE(rss_pages(&self->h), touches[n]);
		EXPECT_LE(rss_pages(&self->h), touches[n] * 9 / 8);
	}
}

TEST_F(fault, rss_of_a_stride)
{
	char *p = pw_map_pages(&self->h, 15000);
	long faults = pw_stat("faults");

	for (long i = 0; i < 15000; i += 30)
		p[i * PAGE] = 1;
	/* Seen for what it is: 17 pages lie in 2 MiB, and come in one or two faults. */
	EXPECT_LE(pw_stat("faults") - faults, 150);
	EXPECT_GE(rss_pages(&self->h), 500);
	EXPECT_LE(rss_pages(&self->h), with_guesses(500));
}

TEST_F(fault, counters)
{
	long faults = pw_stat("faults"), pages = pw_stat("fault_pages"), segv = pw_stat("segv");
	char *p = pw_map_pages(&self->h, 1000);

	pw_fill(p, 1000, 1);
	EXPECT_GE(pw_stat("fault_pages") - pages, 1000);
	EXPECT_GT(pw_stat("faults") - faults, 0);
	EXPECT_LE(pw_stat("faults") - faults, 1000 / 8);
	EXPECT_EQ(SIGSEGV, pw_try_read(p + 1000 * PAGE));
	EXPECT_EQ(segv + 1, pw_stat("segv"));
	EXPECT_EQ((void *)(p + 1000 * PAGE), (void *)pw_fault_addr);
}

TEST_F(fault, rss_is_given_back)
{
	char *p = pw_map_pages(&self->h, 2000);
	long vmrss = pw_key("/proc/self/status", "VmRSS");

	for (int i = 0; i < 20; i++) {
		for (long j = 0; j < 2000; j++)
			p[j * PAGE] = 1;
		ASSERT_EQ(2000, rss_pages(&self->h));
		ASSERT_EQ(0, pw_advise(self->h.fd, PAGEWELL_ADVISE_DONTNEED, p, 2000 * PAGE));
		ASSERT_EQ(0, rss_pages(&self->h));
	}
	/* The counter of the process, which is exact to a few dozen pages. */
	EXPECT_LE(pw_key("/proc/self/status", "VmRSS") - vmrss, 1600);
}

/* Threads */

struct walk {
	char *p;
	long pages;
	int go;
	int thread;
};

static void *walker(void *arg)
{
	struct walk *w = arg;
	int me = __atomic_fetch_add(&w->thread, 1, __ATOMIC_SEQ_CST);

	while (!pw_get(&w->go))
		sched_yield();
	for (long i = 0; i < w->pages; i++)
		((volatile uint64_t *)(w->p + i * PAGE))[me] = i + me + 1;
	return NULL;
}

TEST_F(fault, two_threads_one_range)
{
	struct walk w = { .pages = 5000 };
	pthread_t thread[2];

	for (int round = 0; round < 4; round++) {
		w.p = pw_map_pages(&self->h, w.pages);
		w.go = w.thread = 0;
		for (int i = 0; i < 2; i++)
			ASSERT_EQ(0, pthread_create(&thread[i], NULL, walker, &w));
		pw_set(&w.go, 1);
		for (int i = 0; i < 2; i++)
			pthread_join(thread[i], NULL);
		for (long i = 0; i < w.pages; i++) {
			uint64_t *at = (void *)(w.p + i * PAGE);

			ASSERT_TRUE(at[0] == i + 1UL && at[1] == i + 2UL && !at[2]);
		}
		ASSERT_EQ(w.pages, rss_pages(&self->h));
		ASSERT_EQ(0, pw_unmap(self->h.fd, w.p, w.pages * PAGE));
		ASSERT_EQ(0, rss_pages(&self->h));
	}
}

/* The kernel as the one that touches */

TEST_F(fault, read_and_write_calls)
{
	char *p = pw_map_pages(&self->h, 64), *from = pw_map_pages(&self->h, 64);
	int fd = memfd_create("t", 0);

	ASSERT_GE(fd, 0);
	/* From memory nobody has touched: zeros. */
	ASSERT_EQ(64 * PAGE, pwrite(fd, from, 64 * PAGE, 0));
	ASSERT_EQ(64 * PAGE, pread(fd, p, 64 * PAGE, 0));
	EXPECT_EQ(-1, pw_nonzero(p, 64));
	pw_fill(from, 64, 1);
	ASSERT_EQ(64 * PAGE - 100, pwrite(fd, from + 100, 64 * PAGE - 100, 100));
	ASSERT_EQ(0, pw_advise(self->h.fd, PAGEWELL_ADVISE_DONTNEED, p, 64 * PAGE));
	ASSERT_EQ(64 * PAGE, pread(fd, p, 64 * PAGE, 0));
	EXPECT_EQ(0, memcmp(p + 100, from + 100, 64 * PAGE - 100));
	/* Into and out of a hole: EFAULT, or what there was before it. */
	ASSERT_EQ(0, pw_unmap(self->h.fd, p + 32 * PAGE, PAGE));
	EXPECT_EQ(-1, pread(fd, p + 32 * PAGE, PAGE, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_LE(pread(fd, p, 64 * PAGE, 0), (ssize_t)(32 * PAGE));
	EXPECT_EQ(-1, pwrite(fd, p + 32 * PAGE, PAGE, 0));
	EXPECT_EQ(EFAULT, errno);
}

TEST_F(fault, other_process_reads_and_writes)
{
	char *p = pw_map_pages(&self->h, 16), buf[3 * PAGE];
	pid_t parent = getpid(), pid;

	pw_fill(p, 8, 1);
	prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
	pid = pw_fork();
	if (!pid) {
		struct iovec local = { buf, sizeof(buf) }, remote = { p + PAGE, sizeof(buf) };
		char path[64];
		int fd;

		CHECK(munmap(self->h.base, self->h.len) == 0);
		CHECK(process_vm_readv(parent, &local, 1, &remote, 1, 0) == sizeof(buf));
		CHECK(*(uint64_t *)buf == pw_word(1, 1, 0));
		/* Pages the owner has not touched yet. */
		remote.iov_base = p + 10 * PAGE;
		pw_fill(buf, 3, 9);
		CHECK(process_vm_writev(parent, &local, 1, &remote, 1, 0) == sizeof(buf));
		remote.iov_base = p + 16 * PAGE;
		CHECK(process_vm_readv(parent, &local, 1, &remote, 1, 0) == -1);
		snprintf(path, sizeof(path), "/proc/%d/mem", parent);
		fd = open(path, O_RDWR);
		CHECK(fd >= 0);
		CHECK(pread(fd, buf, PAGE, (off_t)(p + 2 * PAGE)) == PAGE);
		CHECK(*(uint64_t *)buf == pw_word(1, 2, 0));
		CHECK(pwrite(fd, buf, PAGE, (off_t)(p + 15 * PAGE)) == PAGE);
		_exit(0);
	}
	ASSERT_EQ(0, pw_wait(pid));
	EXPECT_EQ(-1, pw_wrong(p, 8, 1));
	EXPECT_EQ(-1, pw_wrong(p + 10 * PAGE, 3, 9));
	EXPECT_EQ(*(uint64_t *)(p + 15 * PAGE), pw_word(1, 2, 0));
}

TEST_F(fault, ptrace)
{
	char *p = pw_map_pages(&self->h, 4);
	pid_t pid;

	*(long *)p = 77;
	pid = pw_fork();
	if (!pid) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		_exit(*(volatile long *)p == 78 && *(volatile long *)(p + PAGE) == 5 ? 0 : 1);
	}
	ASSERT_EQ(pid, waitpid(pid, NULL, 0));
	EXPECT_EQ(77, ptrace(PTRACE_PEEKDATA, pid, p, 0));
	errno = 0;
	EXPECT_EQ(0, ptrace(PTRACE_PEEKDATA, pid, p + 3 * PAGE, 0));
	EXPECT_EQ(0, errno);
	EXPECT_EQ(0, ptrace(PTRACE_POKEDATA, pid, p, 78));
	EXPECT_EQ(0, ptrace(PTRACE_POKEDATA, pid, p + PAGE, 5));
	EXPECT_EQ(77, *(long *)p);
	ASSERT_EQ(0, ptrace(PTRACE_CONT, pid, 0, 0));
	EXPECT_EQ(0, pw_wait(pid));
	EXPECT_EQ(77, *(long *)p);
}

TEST_F(fault, futex)
{
	uint32_t *word = (void *)pw_map_pages(&self->h, 1);
	struct timespec ts = { 0, 1000000 };
	pid_t pid;

	/* Shared, in an untouched page, and in one after fork. */
	EXPECT_EQ(-1, syscall(SYS_futex, word, FUTEX_WAIT, 1, &ts, NULL, 0));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_EQ(-1, syscall(SYS_futex, word, FUTEX_WAIT, 0, &ts, NULL, 0));
	EXPECT_EQ(ETIMEDOUT, errno);
	EXPECT_EQ(0, syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0));
	pid = pw_fork();
	if (!pid) {
		*word = 5;
		CHECK(syscall(SYS_futex, word, FUTEX_WAIT, 5, &ts, NULL, 0) == -1);
		CHECK(errno == ETIMEDOUT);
		_exit(0);
	}
	EXPECT_EQ(0, pw_wait(pid));
	EXPECT_EQ(0, *word);
	EXPECT_EQ(0, syscall(SYS_futex, word, FUTEX_WAKE_OP, 1, 1, word,
			     FUTEX_OP(FUTEX_OP_SET, 9, FUTEX_OP_CMP_EQ, 0)));
	EXPECT_EQ(9, *word);
}

TEST_F(fault, vmsplice_both_ways)
{
	char *p = pw_map_pages(&self->h, 16);
	struct iovec iov = { p, 8 * PAGE };
	int fds[2];

	pw_fill(p, 8, 1);
	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(8 * PAGE, vmsplice(fds[1], &iov, 1, 0));
	iov.iov_base = p + 8 * PAGE;
	ASSERT_EQ(8 * PAGE, vmsplice(fds[0], &iov, 1, 0));
	EXPECT_EQ(-1, pw_wrong(p + 8 * PAGE, 8, 1));
	iov = (struct iovec){ p, 4 * PAGE };
	ASSERT_EQ(4 * PAGE, vmsplice(fds[1], &iov, 1, SPLICE_F_GIFT));
	ASSERT_EQ(4 * PAGE, read(fds[0], p + 12 * PAGE, 4 * PAGE));
	EXPECT_EQ(-1, pw_wrong(p + 12 * PAGE, 4, 1));
	EXPECT_EQ(-1, pw_wrong(p, 8, 1));
}

/*
 * O_DIRECT needs a file system on a block device: an ext4 image in a tmpfs,
 * mounted by mount(8), which finds a loop device.
 */
#define DIRECT_DIR "/tmp/pagewell-direct"

static int direct_file(void)
{
	static const char script[] =
		"exec >/dev/null 2>&1; modprobe -a loop ext4; "
		"mkdir -p " DIRECT_DIR " && mount -t tmpfs none " DIRECT_DIR " && "
		"truncate -s 32M " DIRECT_DIR "/image && mkfs.ext4 -q -F " DIRECT_DIR "/image && "
		"mkdir " DIRECT_DIR "/fs && mount -o loop " DIRECT_DIR "/image " DIRECT_DIR "/fs";

	if (system(script))
		return -1;
	return open(DIRECT_DIR "/fs/file", O_RDWR | O_CREAT | O_TRUNC | O_DIRECT, 0600);
}

static void direct_gone(int fd)
{
	close(fd);
	CHECK(system("umount " DIRECT_DIR "/fs && umount " DIRECT_DIR) == 0);
}

TEST_F(fault, direct_io)
{
	char *p = pw_map_pages(&self->h, 1400), *q = pw_map_pages(&self->h, 1400);
	const size_t len = 1400 * PAGE;
	int fd = direct_file();
	pid_t pid;

	if (fd < 0)
		SKIP(return, "no ext4 on a loop device here");
	pw_fill(p, 1400, 1);
	ASSERT_EQ(len, pwrite(fd, p, len, 0));
	/* Into pages nobody has touched, and over old contents. */
	ASSERT_EQ(len, pread(fd, q, len, 0));
	EXPECT_EQ(-1, pw_wrong(q, 1400, 1));
	pw_fill(q, 1400, 2);
	ASSERT_EQ(len, pread(fd, q, len, 0));
	EXPECT_EQ(-1, pw_wrong(q, 1400, 1));
	/* Into pages shared with a child: only ours change. */
	pw_fill(q, 1400, 3);
	pid = pw_fork();
	if (!pid) {
		usleep(300000);
		CHECK(pw_wrong(q, 1400, 3) == -1);
		CHECK(pread(fd, p, len, 0) == (ssize_t)len);
		CHECK(pw_wrong(p, 1400, 1) == -1);
		_exit(0);
	}
	ASSERT_EQ(len, pread(fd, q, len, 0));
	EXPECT_EQ(-1, pw_wrong(q, 1400, 1));
	EXPECT_EQ(0, pw_wait(pid));
	EXPECT_EQ(-1, pw_wrong(p, 1400, 1));
	/* Nothing but memory that may be touched. */
	ASSERT_EQ(0, pw_unmap(self->h.fd, q, len));
	EXPECT_EQ(-1, pread(fd, q, len, 0));
	EXPECT_EQ(EFAULT, errno);
	direct_gone(fd);
	/* No page is kept by what is over. */
	EXPECT_EQ(1400 * PAGE, pw_resident(self->h.fd));
}

/* What can be done to a mapping: contents stay, nothing else breaks */

TEST_F(fault, madvise_keeps_data)
{
	static const int advice[] = {
		MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED, MADV_DONTNEED,
		MADV_FREE, MADV_REMOVE, MADV_MERGEABLE, MADV_UNMERGEABLE, MADV_HUGEPAGE,
		MADV_NOHUGEPAGE, MADV_DONTDUMP, MADV_DODUMP, MADV_WIPEONFORK,
		MADV_KEEPONFORK, MADV_COLD, MADV_PAGEOUT, 22 /* POPULATE_READ */,
		23 /* POPULATE_WRITE */, 24 /* DONTNEED_LOCKED */, 25 /* COLLAPSE */,
	};
	char *p = pw_map_pages(&self->h, 1200);

	pw_fill(p, 1200, 1);
	for (size_t i = 0; i < ARRAY_SIZE(advice); i++) {
		madvise(p, 1200 * PAGE, advice[i]);
		ASSERT_EQ(-1, pw_wrong(p, 1200, 1))
			TH_LOG("advice %d", advice[i]);
		madvise(p + 100 * PAGE, 3 * PAGE, advice[i]);
		ASSERT_EQ(-1, pw_wrong(p, 1200, 1))
			TH_LOG("advice %d of a part", advice[i]);
		EXPECT_EQ(1200 * PAGE, pw_resident(self->h.fd));
	}
	pw_fill(p, 1200, 2);
	EXPECT_EQ(-1, pw_wrong(p, 1200, 2));
	ASSERT_EQ(0, pw_unmap(self->h.fd, p, 1200 * PAGE));
	EXPECT_EQ(0, rss_pages(&self->h));
}

TEST_F(fault, mprotect)
{
	char *p = pw_map_pages(&self->h, 1100);
	int rw = PROT_READ | PROT_WRITE;

	pw_fill(p, 1100, 1);
	ASSERT_EQ(0, mprotect(p + 5 * PAGE, PAGE, PROT_NONE));
	ASSERT_EQ(0, mprotect(p + 500 * PAGE, 50 * PAGE, PROT_READ));
	EXPECT_EQ(SIGSEGV, pw_try_read(p + 5 * PAGE));
	EXPECT_EQ(SIGSEGV, pw_try_write(p + 520 * PAGE, 1));
	EXPECT_EQ(0, pw_try_read(p + 520 * PAGE));
	EXPECT_EQ(0, pw_try_write(p + 550 * PAGE, 1));
	pw_fill(p + 6 * PAGE, 1, 3);
	/* Regions change below a mapping in pieces. */
	ASSERT_EQ(0, pw_unmap(self->h.fd, p + 4 * PAGE, 600 * PAGE));
	EXPECT_EQ(SIGSEGV, pw_try_read(p + 520 * PAGE));
	ASSERT_EQ(0, pw_map(self->h.fd, PAGEWELL_MAP_FIXED, p + 4 * PAGE, 600 * PAGE, 0, NULL));
	/* What is new is not protected, as after mmap(); what is left can be unprotected. */
	EXPECT_EQ(-1, pw_nonzero(p + 4 * PAGE, 600));
	EXPECT_EQ(0, pw_try_write(p + 520 * PAGE, 1));
	ASSERT_EQ(0, mprotect(self->h.base, self->h.len, rw));
	EXPECT_EQ(-1, pw_wrong(p, 4, 1));
	EXPECT_EQ(*(uint64_t *)(p + 1099 * PAGE), pw_word(1, 1099, 0));
	pw_fill(p, 1100, 2);
	EXPECT_EQ(-1, pw_wrong(p, 1100, 2));
	EXPECT_EQ(1100, rss_pages(&self->h));
}

TEST_F(fault, munmap_a_part)
{
	char *p = pw_map_pages(&self->h, 1500), *foreign;
	uint64_t resident;

	pw_fill(p, 1500, 1);
	ASSERT_EQ(0, munmap(p + 100 * PAGE, PAGE));
	ASSERT_EQ(0, munmap(p + 400 * PAGE, 600 * PAGE));
	EXPECT_EQ(SIGSEGV, pw_try_read(p + 100 * PAGE));
	EXPECT_EQ(SIGSEGV, pw_try_write(p + 700 * PAGE, 1));
	EXPECT_EQ(-1, pw_wrong(p, 100, 1));
	EXPECT_EQ(*(uint64_t *)(p + 1400 * PAGE), pw_word(1, 1400, 0));
	resident = pw_resident(self->h.fd);
	EXPECT_EQ(899 * PAGE, resident);
	EXPECT_EQ(899, rss_pages(&self->h));
	/* Someone else's page in the hole: our calls do not touch it. */
	foreign = mmap(p + 512 * PAGE, 4 * PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	ASSERT_EQ(p + 512 * PAGE, foreign);
	pw_fill(foreign, 4, 9);
	EXPECT_EQ(0, pw_advise(self->h.fd, PAGEWELL_ADVISE_DONTNEED, p, 1500 * PAGE));
	EXPECT_EQ(-1, pw_wrong(foreign, 4, 9));
	EXPECT_NE(0, pw_advise(self->h.fd, PAGEWELL_ADVISE_POPULATE, foreign, 4 * PAGE));
	EXPECT_EQ(0, pw_unmap(self->h.fd, p, 1500 * PAGE));
	EXPECT_EQ(-1, pw_wrong(foreign, 4, 9));
	EXPECT_EQ(0, pw_resident(self->h.fd));
	EXPECT_EQ(0, pw_committed(self->h.fd));
	/* Nothing of ours comes back when the rest is mapped again. */
	ASSERT_EQ(0, pw_map(self->h.fd, PAGEWELL_MAP_FIXED, p, 1500 * PAGE, 0, NULL));
	EXPECT_EQ(-1, pw_wrong(foreign, 4, 9));
	EXPECT_EQ(-1, pw_nonzero(p, 100));
	EXPECT_EQ(-1, pw_nonzero(p + 1000 * PAGE, 500));
}

/* Both ends of the mapping go, one after the other. */
TEST_F(fault, munmap_from_the_ends)
{
	char *p = pw_map_pages(&self->h, 1500);
	struct pagewell_info info;

	pw_fill(p, 1500, 1);
	ASSERT_EQ(0, munmap(self->h.base, 10 * PAGE));
	EXPECT_EQ(SIGSEGV, pw_try_read(p));
	EXPECT_EQ(*(uint64_t *)(p + 10 * PAGE), pw_word(1, 10, 0));
	ASSERT_EQ(0, munmap(p + 1400 * PAGE, self->h.len - 1400 * PAGE));
	EXPECT_EQ(*(uint64_t *)(p + 1399 * PAGE), pw_word(1, 1399, 0));
	ASSERT_EQ(0, pw_info(self->h.fd, &info));
	EXPECT_EQ((uintptr_t)self->h.base, info.heap_base);
	EXPECT_EQ(1390 * PAGE, info.resident);
	ASSERT_EQ(0, munmap(p + 10 * PAGE, 1390 * PAGE));
	ASSERT_EQ(0, pw_info(self->h.fd, &info));
	EXPECT_EQ(0, info.heap_base);
	EXPECT_TRUE(pw_pool_whole());
}

TEST_F(fault, mremap_elsewhere)
{
	char *p = pw_map_pages(&self->h, 1100), *to = self->h.base + GIB;

	pw_fill(p, 1100, 1);
	for (int i = 0; i < 2; i++) {
		size_t len = i ? 100 * PAGE : self->h.len;

		EXPECT_EQ(MAP_FAILED, mremap(self->h.base, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, to));
		EXPECT_EQ(MAP_FAILED, mremap(self->h.base, 0, len, MREMAP_MAYMOVE | MREMAP_FIXED, to));
		EXPECT_EQ(MAP_FAILED, mremap(self->h.base, len, len,
					     MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, to));
		EXPECT_EQ(-1, pw_wrong(p, 1100, 1));
		EXPECT_EQ(SIGSEGV, pw_try_read(to));
		EXPECT_EQ(1100 * PAGE, pw_resident(self->h.fd));
	}
	pw_fill(p, 1100, 2);
	EXPECT_EQ(-1, pw_wrong(p, 1100, 2));
	ASSERT_EQ(0, pw_unmap(self->h.fd, p, 1100 * PAGE));
	EXPECT_EQ(0, rss_pages(&self->h));
	EXPECT_EQ(0, pw_resident(self->h.fd));
	/* Growing in place works as ever. */
	pw_cover(&self->h, self->h.base + 128 * MIB);
	EXPECT_EQ(-1, pw_nonzero(pw_map_pages(&self->h, 20000), 200));
}

TEST_F(fault, mlock)
{
	char *p = pw_map_pages(&self->h, 600);
	long lost = pw_stat("pages_lost"), locked = pw_key("/proc/meminfo", "Mlocked");

	ASSERT_EQ(0, mlock(p, 600 * PAGE));
	EXPECT_EQ(600, rss_pages(&self->h));
	pw_fill(p, 600, 1);
	EXPECT_EQ(0, pw_advise(self->h.fd, PAGEWELL_ADVISE_DONTNEED, p, 300 * PAGE));
	EXPECT_EQ(-1, pw_nonzero(p, 300));
	EXPECT_EQ(0, munlock(p, 600 * PAGE));
	/* Regions with holes between them: as far as they go. */
	mlockall(MCL_CURRENT | MCL_FUTURE);
	for (int i = 0; i < 10; i++) {
		pw_fill(p, 600, i);
		EXPECT_EQ(-1, pw_wrong(p, 600, i));
		EXPECT_EQ(0, pw_advise(self->h.fd, PAGEWELL_ADVISE_DONTNEED, p, 600 * PAGE));
	}
	munlockall();
	ASSERT_EQ(0, pw_unmap(self->h.fd, p, 600 * PAGE));
	EXPECT_EQ(0, rss_pages(&self->h));
	/* The kernel counts them off in batches of 15 a CPU. */
	EXPECT_LE(pw_key("/proc/meminfo", "Mlocked") - locked, 4 * 15 * sysconf(_SC_NPROCESSORS_ONLN));
	/* Locking is no reason for pages to leave the pool. */
	EXPECT_LE(pw_stat("pages_lost") - lost, 100);
}

TEST_F(fault, proc_files_are_harmless)
{
	static const char *const files[] = {
		"/proc/self/maps", "/proc/self/smaps", "/proc/self/smaps_rollup",
		"/proc/self/numa_maps", "/proc/self/statm",
	};
	char *p = pw_map_pages(&self->h, 1100), buf[8192];
	unsigned char vec[1100];
	uint64_t map[16];
	bool named = false;
	FILE *maps;
	int fd;

	pw_fill(p, 600, 1);
	fd = open("/proc/self/pagemap", O_RDONLY);
	ASSERT_EQ(sizeof(map), pread(fd, map, sizeof(map), (uintptr_t)p / PAGE * 8));
	for (int i = 0; i < 16; i++)
		EXPECT_TRUE(map[i] >> 63);
	close(fd);
	EXPECT_EQ(0, mincore(p, 1100 * PAGE, vec));
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		fd = open(files[i], O_RDONLY);
		if (fd < 0)
			continue;
		while (read(fd, buf, sizeof(buf)) > 0)
			;
		close(fd);
	}
	fd = open("/proc/self/clear_refs", O_WRONLY);
	for (char c = '1'; c <= '5'; c++)
		if (write(fd, &c, 1) < 0)
			continue;
	close(fd);
	EXPECT_EQ(-1, pw_wrong(p, 600, 1));
	maps = fopen("/proc/self/maps", "r");
	while (fgets(buf, sizeof(buf), maps))
		named |= strstr(buf, "pagewell") && strtoul(buf, NULL, 16) == (uintptr_t)self->h.base;
	fclose(maps);
	EXPECT_TRUE(named);
	EXPECT_GE(rss_pages(&self->h), 600);
	EXPECT_LE(rss_pages(&self->h), with_guesses(600));
}

PW_TEST_POOL_WHOLE

TEST_HARNESS_MAIN
