// SPDX-License-Identifier: GPL-2.0-only
/*
 * services.c - what the kernel offers for memory of other kinds: user space that
 * handles faults, merging of equal pages, advice from another process, memory
 * that stays locked. Each is refused or works; none harms a heap.
 */
#include "pw_test.h"

#include <linux/userfaultfd.h>

#ifndef UFFD_FEATURE_WP_UNPOPULATED
#define UFFD_FEATURE_WP_UNPOPULATED	(1 << 13)
#endif
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC		(1 << 15)
#endif
#ifndef PR_SET_MEMORY_MERGE
#define PR_SET_MEMORY_MERGE		67
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE			25
#endif

#define PAGES	1200

FIXTURE(services) {
	struct pw h;
	char *p;
};

FIXTURE_SETUP(services)
{
	pw_heap(&self->h, 64 * MIB);
	self->p = pw_map_pages(&self->h, PAGES);
	pw_fill(self->p, PAGES, 1);
}

FIXTURE_TEARDOWN(services)
{
	close(self->h.fd);
}

/* Return: whether any VMA of the heap has this flag in smaps. */
static bool has_flag(struct pw *h, const char *flag)
{
	unsigned long lo, hi, base = (unsigned long)h->base;
	bool ours = false, found = false;
	char line[512];
	FILE *f = fopen("/proc/self/smaps", "re");

	CHECK(f);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &lo, &hi) == 2)
			ours = lo < base + h->len && hi > base;
		else if (ours && !strncmp(line, "VmFlags:", 8))
			found |= !!strstr(line, flag);
	}
	fclose(f);
	return found;
}

static void put(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	CHECK(fd >= 0);
	CHECK(write(fd, value, strlen(value)) == (ssize_t)strlen(value));
	close(fd);
}

static long number_in(const char *path)
{
	FILE *f = fopen(path, "re");
	long value = -1;

	if (!f || fscanf(f, "%ld", &value) != 1)
		value = -1;
	if (f)
		fclose(f);
	return value;
}

/* Userfaultfd */

/* Return: a descriptor with these features, or -1 where there is no such thing. */
static int uffd_open(uint64_t features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC);

	if (fd >= 0 && ioctl(fd, UFFDIO_API, &api)) {
		close(fd);
		return -1;
	}
	return fd;
}

static int uffd_register(int fd, void *at, size_t len, uint64_t mode)
{
	struct uffdio_register reg = {
		.range = { (uintptr_t)at, len }, .mode = mode,
	};

	return ioctl(fd, UFFDIO_REGISTER, &reg) ? -errno : 0;
}

static int uffd_protect(int fd, void *at, size_t len)
{
	struct uffdio_writeprotect wp = {
		.range = { (uintptr_t)at, len }, .mode = UFFDIO_WRITEPROTECT_MODE_WP,
	};

	return ioctl(fd, UFFDIO_WRITEPROTECT, &wp) ? -errno : 0;
}

TEST_F(services, userfaultfd_is_refused)
{
	static const uint64_t modes[] = {
		UFFDIO_REGISTER_MODE_MISSING, UFFDIO_REGISTER_MODE_WP,
		UFFDIO_REGISTER_MODE_MINOR,
		UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP,
	};
	int fd = uffd_open(0);

	ASSERT_LE(0, fd);
	for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
		EXPECT_EQ(-EINVAL, uffd_register(fd, self->p, 512 * PAGE, modes[i]));
		EXPECT_EQ(-EINVAL, uffd_register(fd, self->h.base, self->h.len, modes[i]));
	}
	EXPECT_EQ(-1, pw_wrong(self->p, PAGES, 1));
	pw_fill(self->p, PAGES, 2);
	EXPECT_EQ(-1, pw_wrong(self->p, PAGES, 2));
	close(fd);
}

/* Does the kernel still wait for the first write to this page? */
static bool is_followed(const char *p)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t entry;

	CHECK(pread(fd, &entry, sizeof(entry), (uintptr_t)p / PAGE * 8) == sizeof(entry));
	close(fd);
	return entry >> 57 & 1;
}

/* From 6.7 on writes can be followed in any mapping: pages and their lack. */
TEST_F(services, writes_are_followed)
{
	int fd = uffd_open(UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED);
	char *untouched = pw_map_pages(&self->h, PAGES);
	pid_t pid;

	if (pw_kernel_is_6_1())
		SKIP(return, "this kernel follows writes in memory of its own only");
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, uffd_register(fd, self->h.base, self->h.len, UFFDIO_REGISTER_MODE_WP));
	for (int round = 2; round < 6; round++) {
		ASSERT_EQ(0, uffd_protect(fd, self->h.base, self->h.len));
		EXPECT_EQ(-1, pw_wrong(self->p, PAGES, round - 1));
		pw_fill(self->p, PAGES, round);
		EXPECT_EQ(-1, pw_wrong(self->p, PAGES, round));
		EXPECT_EQ(-1, pw_nonzero(untouched, PAGES));
		pw_fill(untouched, PAGES, round);
		ASSERT_EQ(0, uffd_protect(fd, self->h.base, self->h.len));
		pid = pw_fork();
		if (!pid) {
			CHECK(pw_wrong(self->p, PAGES, round) == -1);
			pw_fill(self->p, PAGES, 77);
			CHECK(pw_wrong(self->p, PAGES, 77) == -1);
			CHECK(pw_wrong(untouched, PAGES, round) == -1);
			_exit(0);
		}
		pw_fill(untouched, PAGES / 2, round);
		EXPECT_EQ(0, pw_wait(pid));
		EXPECT_EQ(-1, pw_wrong(self->p, PAGES, round));
		EXPECT_EQ(-1, pw_wrong(untouched, PAGES, round));
		ASSERT_EQ(0, uffd_protect(fd, self->h.base, self->h.len));
		ASSERT_EQ(0, pw_advise(self->h.fd, PAGEWELL_ADVISE_DONTNEED, untouched,
				       PAGES * PAGE));
	}
	EXPECT_EQ(-1, pw_nonzero(untouched, PAGES));
	/* Every single write is seen, also in pages that a child has shared. */
	pid = pw_fork();
	if (!pid)
		_exit(0);
	EXPECT_EQ(0, pw_wait(pid));
	ASSERT_EQ(0, uffd_protect(fd, self->p, PAGES * PAGE));
	for (int i = 0; i < 100; i++) {
		EXPECT_TRUE(is_followed(self->p + i * PAGE));
		self->p[i * PAGE] = i;
		EXPECT_FALSE(is_followed(self->p + i * PAGE));
	}
	close(fd);
	pw_fill(untouched, PAGES, 9);
	EXPECT_EQ(-1, pw_wrong(untouched, PAGES, 9));
	ASSERT_EQ(0, pw_unmap(self->h.fd, self->p, PAGES * PAGE));
	ASSERT_EQ(0, pw_unmap(self->h.fd, untouched, PAGES * PAGE));
	EXPECT_EQ(0, pw_resident(self->h.fd));
	EXPECT_EQ(0, pw_smaps(self->h.base, self->h.len, "Rss"));
}

static int uffd_unregister(int fd, void *at, size_t len)
{
	struct uffdio_range range = { (uintptr_t)at, len };

	return ioctl(fd, UFFDIO_UNREGISTER, &range) ? -errno : 0;
}

/* Whether a part is the kernel's to follow or not, it comes to no harm. */
static void follow_part(struct __test_metadata *_metadata, int fd, char *at, size_t len)
{
	int ret = uffd_register(fd, at, len, UFFDIO_REGISTER_MODE_WP);

	EXPECT_EQ(pw_kernel_is_6_1() ? -EINVAL : 0, ret);
	if (!ret) {
		EXPECT_EQ(0, uffd_protect(fd, at, len));
		*(volatile char *)at = *at;
		EXPECT_EQ(0, uffd_unregister(fd, at, len));
	}
}

TEST_F(services, parts_are_followed)
{
	uint64_t features = pw_kernel_is_6_1() ? 0 : UFFD_FEATURE_WP_ASYNC;
	int fd = uffd_open(features);
	char *part = self->p + 32 * PAGE;
	pid_t pid;

	ASSERT_LE(0, fd);
	follow_part(_metadata, fd, self->p + 8 * PAGE, 4 * PAGE);
	/* Split off before, and like its neighbours again. */
	ASSERT_EQ(0, mprotect(part, 4 * PAGE, PROT_READ));
	ASSERT_EQ(0, mprotect(part, 4 * PAGE, PROT_READ | PROT_WRITE));
	follow_part(_metadata, fd, part, 4 * PAGE);
	follow_part(_metadata, fd, part + 4 * PAGE, 4 * PAGE);
	follow_part(_metadata, fd, self->p, PAGES * PAGE);
	/* A neighbour that came when what was between had gone. */
	ASSERT_EQ(0, munmap(part, 4 * PAGE));
	ASSERT_EQ(part - PAGE, mremap(part - PAGE, PAGE, 5 * PAGE, 0));
	follow_part(_metadata, fd, part + 4 * PAGE, 4 * PAGE);
	/* In a child, whose VMAs are copies. */
	pid = pw_fork();
	if (!pid) {
		close(fd);
		fd = uffd_open(features);
		follow_part(_metadata, fd, part + 4 * PAGE, 4 * PAGE);
		_exit(0);
	}
	EXPECT_EQ(0, pw_wait(pid));
	close(fd);
	EXPECT_EQ(-1, pw_wrong(self->p, 32, 1));
}

/* Merging of equal pages */

#define KSM	"/sys/kernel/mm/ksm/"
#define EQUAL	64

TEST_F(services, pages_are_not_merged)
{
	char *other = mmap(NULL, EQUAL * PAGE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	double end = pw_now() + 60;
	long sharing = 0;

	if (access(KSM "run", W_OK))
		SKIP(return, "this kernel merges no pages");
	for (int i = 0; i < EQUAL; i++) {
		pw_fill(self->p + i * PAGE, 1, 5);
		pw_fill(other + i * PAGE, 1, 5);
	}
	/* It is for anonymous memory, and says nothing where it does nothing. */
	EXPECT_EQ(0, madvise(self->p, EQUAL * PAGE, MADV_MERGEABLE));
	EXPECT_EQ(0, madvise(other, EQUAL * PAGE, MADV_MERGEABLE));
	EXPECT_FALSE(has_flag(&self->h, " mg"));
	prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0);
	EXPECT_FALSE(has_flag(&self->h, " mg"));
	put(KSM "sleep_millisecs", "1");
	put(KSM "pages_to_scan", "10000");
	put(KSM "run", "1");
	while (sharing < EQUAL - 1 && pw_now() < end) {
		usleep(20000);
		sharing = number_in(KSM "pages_sharing");
	}
	/* All of the others, and one more scan in which ours could follow. */
	EXPECT_LE(EQUAL - 1, sharing);
	end = number_in(KSM "full_scans") + 3;
	for (int i = 0; i < 500 && number_in(KSM "full_scans") < end; i++)
		usleep(20000);
	EXPECT_EQ(PAGES * PAGE, pw_resident(self->h.fd));
	EXPECT_LE(PAGES * 4, pw_smaps(self->h.base, self->h.len, "Rss"));
	for (int i = 0; i < EQUAL; i++)
		EXPECT_EQ(-1, pw_wrong(self->p + i * PAGE, 1, 5));
	pw_fill(self->p, 1, 6);
	EXPECT_EQ(-1, pw_wrong(self->p + PAGE, 1, 5));
	EXPECT_EQ(-1, pw_wrong(other, 1, 5));
	prctl(PR_SET_MEMORY_MERGE, 0, 0, 0, 0);
	put(KSM "run", "2");
	put(KSM "run", "0");
	munmap(other, EQUAL * PAGE);
}

/* Advice from another process */

TEST_F(services, process_madvise)
{
	static const int advice[] = {
		MADV_COLD, MADV_PAGEOUT, MADV_WILLNEED, MADV_COLLAPSE, MADV_DONTNEED,
	};
	struct iovec iov[2] = {
		{ self->p, 700 * PAGE }, { self->p + 900 * PAGE, 10 * PAGE },
	};
	int *step = pw_shared(), fd;
	pid_t pid = pw_fork();

	if (!pid) {
		struct pw h;
		char *p;

		/* A heap of its own, at the same place. */
		CHECK(munmap(self->h.base, self->h.len) == 0);
		pw_heap(&h, 64 * MIB);
		p = pw_map_pages(&h, PAGES);
		CHECK(h.base == self->h.base && p == self->p);
		pw_fill(p, PAGES, 3);
		for (size_t i = 1; i <= ARRAY_SIZE(advice); i++) {
			pw_set(step, 2 * i - 1);
			pw_wait_for(step, 2 * i);
			CHECK(pw_wrong(p, PAGES, 3) == -1);
			CHECK(pw_resident(h.fd) == PAGES * PAGE);
			pw_fill(p, PAGES, 3);
		}
		_exit(0);
	}
	fd = syscall(SYS_pidfd_open, pid, 0);
	ASSERT_LE(0, fd);
	for (size_t i = 1; i <= ARRAY_SIZE(advice); i++) {
		long done;

		pw_wait_for(step, 2 * i - 1);
		done = syscall(SYS_process_madvise, fd, iov, 2, advice[i - 1], 0);
		/* Not for everybody to throw away what others have. */
		if (advice[i - 1] == MADV_DONTNEED)
			EXPECT_EQ(-1, done);
		if (advice[i - 1] == MADV_WILLNEED)
			EXPECT_EQ(710 * PAGE, done);
		pw_set(step, 2 * i);
	}
	EXPECT_EQ(0, pw_wait(pid));
	EXPECT_EQ(-1, pw_wrong(self->p, PAGES, 1));
	close(fd);
}

/* Memory that stays locked */

static void *second(void *arg)
{
	pw_fill(arg, PAGES, 4);
	return NULL;
}

TEST(mlockall_future)
{
	pthread_t thread;
	struct pw h;
	pid_t pid;
	char *p;

	ASSERT_EQ(0, mlockall(MCL_CURRENT | MCL_FUTURE));
	pw_heap(&h, 4 * MIB);
	/* What nobody mapped takes no memory, locked or not. */
	EXPECT_EQ(0, pw_smaps(h.base, h.len, "Rss"));
	p = pw_map_pages(&h, PAGES);
	ASSERT_EQ(0, pthread_create(&thread, NULL, second, p));
	pthread_join(thread, NULL);
	EXPECT_EQ(-1, pw_wrong(p, PAGES, 4));
	EXPECT_EQ(PAGES * PAGE, pw_resident(h.fd));
	pid = pw_fork();
	if (!pid) {
		CHECK(pw_wrong(p, PAGES, 4) == -1);
		pw_fill(p, PAGES, 5);
		_exit(0);
	}
	pw_fill(p, PAGES / 2, 4);
	EXPECT_EQ(0, pw_wait(pid));
	EXPECT_EQ(-1, pw_wrong(p, PAGES, 4));
	ASSERT_EQ(0, pw_unmap(h.fd, p + 100 * PAGE, (PAGES - 100) * PAGE));
	EXPECT_EQ(100 * PAGE, pw_resident(h.fd));
	EXPECT_EQ(400, pw_smaps(h.base, h.len, "Rss"));
	EXPECT_EQ(0, munlockall());
	ASSERT_EQ(0, munmap(h.base, h.len));
	close(h.fd);
}

static long minor_faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_minflt;
}

/* Pages that are resident by now and were not before; each is written without a fault. */
static long put_in_place(struct pw *h, char *p, long pages)
{
	static long before;
	long now = pw_resident(h->fd) / PAGE, more = now - before;
	long faults = minor_faults();

	for (long i = 0; p && i < pages; i++)
		p[i * PAGE] = 1;
	CHECK(!p || minor_faults() - faults < 4);
	before = now;
	return more;
}

/* What is locked from the beginning is in place when the call returns. */
TEST(mlockall_future_is_in_place)
{
	char *p, *q, *start;
	uint32_t id;
	struct pw h;

	pw_heap(&h, 32 * MIB);
	ASSERT_EQ(0, mlockall(MCL_FUTURE));
	p = pw_map_pages(&h, 300);
	EXPECT_EQ(300, put_in_place(&h, p, 300));
	/* Addresses given up a moment ago, too. */
	ASSERT_EQ(0, pw_unmap(h.fd, p, 300 * PAGE));
	EXPECT_EQ(-300, put_in_place(&h, NULL, 0));
	EXPECT_EQ(p, pw_map_pages(&h, 300));
	EXPECT_EQ(300, put_in_place(&h, p, 300));

	ASSERT_EQ(0, pw_brk_create(h.fd, HUGE, &id, &start));
	ASSERT_EQ(0, pw_brk(h.fd, id, start + 10 * PAGE, NULL));
	EXPECT_EQ(10, put_in_place(&h, start, 10));
	ASSERT_EQ(0, pw_brk(h.fd, id, start + 9 * PAGE, NULL));
	EXPECT_EQ(-1, put_in_place(&h, start, 9));
	ASSERT_EQ(0, pw_brk(h.fd, id, start + 200 * PAGE, NULL));
	EXPECT_EQ(191, put_in_place(&h, start, 200));

	ASSERT_EQ(0, pw_remap(h.fd, PAGEWELL_REMAP_MAYMOVE, p, 300 * PAGE, 350 * PAGE, &q));
	EXPECT_EQ(50, put_in_place(&h, q, 350));
	p = pw_map_pages(&h, 1);
	ASSERT_EQ(0, pw_remap(h.fd, PAGEWELL_REMAP_MAYMOVE, q, 350 * PAGE, 700 * PAGE, &q));
	EXPECT_EQ(351, put_in_place(&h, q, 700));
	ASSERT_EQ(0, pw_map(h.fd, PAGEWELL_MAP_GUARD, NULL, 9 * PAGE, 0, NULL));
	EXPECT_EQ(0, put_in_place(&h, NULL, 0));

	/* Only when it is touched, or not at all any more. */
	ASSERT_EQ(0, mlockall(MCL_FUTURE | MCL_ONFAULT));
	ASSERT_EQ(0, pw_map(h.fd, 0, NULL, 100 * PAGE, 0, &p));
	EXPECT_EQ(0, put_in_place(&h, NULL, 0));
	ASSERT_EQ(0, munlockall());
	ASSERT_EQ(0, pw_map(h.fd, 0, NULL, 100 * PAGE, 0, &p));
	EXPECT_EQ(0, put_in_place(&h, NULL, 0));
	close(h.fd);
}

/* What there is no memory for is missing: who locked is not told, as by the kernel. */
TEST(mlockall_future_without_memory)
{
	struct pw h;
	char *p;

	pw_heap(&h, 32 * MIB);
	ASSERT_EQ(0, pw_set_commit(h.fd, PAGEWELL_COMMIT_LAZY));
	ASSERT_EQ(0, pw_set_limit(h.fd, 100 * PAGE));
	ASSERT_EQ(0, mlockall(MCL_FUTURE));
	ASSERT_EQ(0, pw_map(h.fd, 0, NULL, 300 * PAGE, 0, &p));
	EXPECT_EQ(100 * PAGE, pw_resident(h.fd));
	EXPECT_EQ(0, munlockall());
	close(h.fd);
}

/* Who may not lock so much gets no larger heap, and is told so. */
TEST(mlockall_future_within_limits)
{
	struct rlimit few = { 8 * MIB, 8 * MIB };
	struct pw h;
	void *at;
	char *p;

	ASSERT_EQ(0, setrlimit(RLIMIT_MEMLOCK, &few));
	ASSERT_EQ(0, setresgid(65534, 65534, 65534));
	ASSERT_EQ(0, setresuid(65534, 65534, 65534));
	pw_heap(&h, 4 * MIB);
	p = pw_map_pages(&h, 900);
	pw_fill(p, 900, 1);
	ASSERT_EQ(0, mlockall(MCL_FUTURE));
	/* What is mapped already is not locked, and may grow. */
	pw_cover(&h, h.base + 64 * MIB);
	EXPECT_EQ(-1, pw_wrong(p, 900, 1));
	ASSERT_EQ(0, munmap(h.base, h.len));
	close(h.fd);
	h.fd = pw_open();
	at = mmap(PW_HINT, 64 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED, h.fd, 0);
	EXPECT_EQ(MAP_FAILED, at);
	EXPECT_EQ(EAGAIN, errno);
	pw_heap_at(&h, h.fd, 4 * MIB);
	p = pw_map_pages(&h, 900);
	pw_fill(p, 900, 2);
	EXPECT_EQ(-1, pw_wrong(p, 900, 2));
	EXPECT_EQ(MAP_FAILED, mremap(h.base, h.len, 64 * MIB, 0));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_EQ(-1, pw_wrong(p, 900, 2));
	close(h.fd);
}

PW_TEST_POOL_WHOLE

TEST_HARNESS_MAIN
