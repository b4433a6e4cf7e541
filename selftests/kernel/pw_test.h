/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * pw_test.h - what all tests of the module share
 *
 * Every TEST() runs in a process of its own, so it starts without a heap and
 * leaves none behind. The call wrappers return 0 or a negative errno. CHECK()
 * is for threads, children and helpers, where the harness's ASSERT_ does not
 * reach: it names the condition and ends the process.
 *
 * PAGEWELL_TEST_SCALE scales the amount of work of the long tests, in percent.
 */
#ifndef PW_TEST_H
#define PW_TEST_H

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>

#ifdef PW_NO_HARNESS	/* programs with a main() of their own */
#include "kselftest.h"
#else
#include "kselftest_harness.h"
/* Emulated, on a busy machine, in a debug kernel: seconds become minutes. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 300
#endif
#include "pagewell.h"

#define KIB		(1UL << 10)
#define MIB		(1UL << 20)
#define GIB		(1UL << 30)
#define PAGE		4096UL
#define HUGE		(2 * MIB)
#define NO_LIMIT	(~0ULL)

/* Far from everything that the kernel places by itself: room to grow. */
#define PW_HINT		((void *)0x200000000000UL)
#define PW_DEBUGFS	"/sys/kernel/debug/pagewell/"
#define PW_PARAMS	"/sys/module/pagewell/parameters/"

#define CHECK(cond) do {						\
	if (!(cond)) {							\
		fprintf(stderr, "# %s:%d:%s: (%s) is not so, errno %d\n", \
			__FILE__, __LINE__, __func__, #cond, errno);	\
		_exit(KSFT_FAIL);					\
	}								\
} while (0)

/**
 * struct pw - a heap under test
 * @fd: of the device
 * @base: address of the heap
 * @len: of its mapping, bytes
 */
struct pw {
	int fd;
	char *base;
	size_t len;
};

/* Numbers */

static inline long pw_scaled(long n)
{
	const char *s = getenv("PAGEWELL_TEST_SCALE");
	long scale = s ? atol(s) : 100;

	return n * scale / 100 ?: 1;
}

static inline double pw_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static inline uint64_t pw_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* Calls */

static inline int pw_ioctl(int fd, unsigned long cmd, void *arg)
{
	return ioctl(fd, cmd, arg) ? -errno : 0;
}

static inline int pw_info(int fd, struct pagewell_info *info)
{
	memset(info, 0, sizeof(*info));
	info->size = sizeof(*info);
	return pw_ioctl(fd, PAGEWELL_IOC_INFO, info);
}

static inline int pw_policy(int fd, struct pagewell_heap *heap)
{
	heap->size = sizeof(*heap);
	return pw_ioctl(fd, PAGEWELL_IOC_HEAP, heap);
}

static inline int pw_set_limit(int fd, uint64_t limit)
{
	struct pagewell_heap heap = { .set = PAGEWELL_SET_LIMIT, .limit = limit };

	return pw_policy(fd, &heap);
}

static inline int pw_set_commit(int fd, uint32_t commit)
{
	struct pagewell_heap heap = { .set = PAGEWELL_SET_COMMIT, .commit = commit };

	return pw_policy(fd, &heap);
}

static inline int pw_set_huge(int fd, uint32_t policy)
{
	struct pagewell_heap heap = { .set = PAGEWELL_SET_HUGE, .huge = policy };

	return pw_policy(fd, &heap);
}

static inline int pw_brk_create(int fd, size_t reserve, uint32_t *id, char **start)
{
	struct pagewell_brk_create arg = { .size = sizeof(arg), .reserve = reserve };
	int err = pw_ioctl(fd, PAGEWELL_IOC_BRK_CREATE, &arg);

	*id = arg.id;
	*start = (char *)arg.start;
	return err;
}

static inline int pw_brk(int fd, uint32_t id, const void *to, char **now)
{
	struct pagewell_brk arg = {
		.size = sizeof(arg), .id = id, .brk = (uintptr_t)to,
	};
	int err = pw_ioctl(fd, PAGEWELL_IOC_BRK, &arg);

	if (now)
		*now = (char *)arg.brk;
	return err;
}

static inline int pw_brk_destroy(int fd, uint32_t id)
{
	struct pagewell_brk_destroy arg = { .size = sizeof(arg), .id = id };

	return pw_ioctl(fd, PAGEWELL_IOC_BRK_DESTROY, &arg);
}

static inline int pw_map(int fd, uint32_t flags, const void *addr, uint64_t len,
			 uint64_t align, char **at)
{
	struct pagewell_map arg = {
		.size = sizeof(arg), .flags = flags, .addr = (uintptr_t)addr,
		.length = len, .align = align,
	};
	int err = pw_ioctl(fd, PAGEWELL_IOC_MAP, &arg);

	if (at)
		*at = (char *)arg.addr;
	return err;
}

static inline int pw_unmap(int fd, const void *addr, uint64_t len)
{
	struct pagewell_unmap arg = {
		.size = sizeof(arg), .addr = (uintptr_t)addr, .length = len,
	};

	return pw_ioctl(fd, PAGEWELL_IOC_UNMAP, &arg);
}

static inline int pw_remap(int fd, uint32_t flags, const void *addr,
			   uint64_t old_len, uint64_t new_len, char **at)
{
	struct pagewell_remap arg = {
		.size = sizeof(arg), .flags = flags, .addr = (uintptr_t)addr,
		.old_length = old_len, .new_length = new_len,
	};
	int err = pw_ioctl(fd, PAGEWELL_IOC_REMAP, &arg);

	if (at)
		*at = (char *)arg.addr;
	return err;
}

static inline int pw_remap_to(int fd, uint32_t flags, const void *addr,
			      uint64_t old_len, uint64_t new_len, const void *target)
{
	struct pagewell_remap arg = {
		.size = sizeof(arg), .flags = flags, .addr = (uintptr_t)addr,
		.old_length = old_len, .new_length = new_len, .target = (uintptr_t)target,
	};
	int err = pw_ioctl(fd, PAGEWELL_IOC_REMAP, &arg);

	CHECK(err || arg.addr == (uintptr_t)target);
	return err;
}

static inline int pw_advise(int fd, uint32_t advice, const void *addr, uint64_t len)
{
	struct pagewell_advise arg = {
		.size = sizeof(arg), .advice = advice,
		.addr = (uintptr_t)addr, .length = len,
	};

	return pw_ioctl(fd, PAGEWELL_IOC_ADVISE, &arg);
}

static inline int pw_protect(int fd, uint32_t prot, const void *addr, uint64_t len)
{
	struct pagewell_protect arg = {
		.size = sizeof(arg), .prot = prot,
		.addr = (uintptr_t)addr, .length = len,
	};

	return pw_ioctl(fd, PAGEWELL_IOC_PROTECT, &arg);
}

#define PW_NONE		PAGEWELL_PROT_NONE
#define PW_READ		PAGEWELL_PROT_READ
#define PW_BOTH		(PAGEWELL_PROT_READ | PAGEWELL_PROT_WRITE)

/* @id and @len: 0 for what the other one says, filled in. @at is a hint, too. */
static inline int pw_share(int fd, uint32_t *id, uint64_t *len, char **at)
{
	struct pagewell_share arg = {
		.size = sizeof(arg), .addr = (uintptr_t)*at, .length = *len, .id = *id,
	};
	int err = pw_ioctl(fd, PAGEWELL_IOC_SHARE, &arg);

	if (!err) {
		*id = arg.id;
		*len = arg.length;
		*at = (char *)arg.addr;
	}
	return err;
}

/* Settings of the module */

/* Return: 0 or a negative errno. */
static inline int pw_set_param(const char *name, long value)
{
	char path[128], text[32];
	int fd, len, err;

	snprintf(path, sizeof(path), PW_PARAMS "%s", name);
	len = snprintf(text, sizeof(text), "%ld\n", value);
	fd = open(path, O_WRONLY);
	CHECK(fd >= 0);
	err = write(fd, text, len) == len ? 0 : -errno;
	close(fd);
	return err;
}

static inline long pw_get_param(const char *name)
{
	char path[128];
	long value;
	FILE *f;

	snprintf(path, sizeof(path), PW_PARAMS "%s", name);
	f = fopen(path, "re");
	CHECK(f && fscanf(f, "%ld", &value) == 1);
	fclose(f);
	return value;
}

/* Heaps */

static inline int pw_open(void)
{
	int fd = open(PAGEWELL_DEVICE, O_RDWR | O_CLOEXEC);

	CHECK(fd >= 0);
	return fd;
}

static inline void pw_heap_at(struct pw *h, int fd, size_t len)
{
	h->fd = fd;
	h->len = len;
	h->base = mmap(PW_HINT, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(h->base != MAP_FAILED);
}

static inline void pw_heap(struct pw *h, size_t len)
{
	pw_heap_at(h, pw_open(), len);
}

/* The mapping reaches at least to @end. */
static inline void pw_cover(struct pw *h, const char *end)
{
	size_t len = ((end - h->base) + HUGE - 1) & ~(HUGE - 1);

	if (len <= h->len)
		return;
	CHECK(mremap(h->base, h->len, len, 0) == h->base);
	h->len = len;
}

static inline char *pw_map_pages(struct pw *h, size_t pages)
{
	char *at;

	CHECK(pw_map(h->fd, 0, NULL, pages * PAGE, 0, &at) == 0);
	pw_cover(h, at + pages * PAGE);
	return at;
}

static inline uint64_t pw_committed(int fd)
{
	struct pagewell_info info;

	CHECK(pw_info(fd, &info) == 0);
	return info.committed;
}

static inline uint64_t pw_resident(int fd)
{
	struct pagewell_info info;

	CHECK(pw_info(fd, &info) == 0);
	return info.resident;
}

/* Contents: each page different for each seed, all of its words */

static inline uint64_t pw_word(uint64_t seed, size_t page, size_t word)
{
	return (seed + 1) * 0x9e3779b97f4a7c15ULL + page * 1024 + word;
}

static inline void pw_fill(void *p, size_t pages, uint64_t seed)
{
	volatile uint64_t *w = p;

	for (size_t i = 0; i < pages; i++)
		for (size_t j = 0; j < PAGE / 8; j++)
			*w++ = pw_word(seed, i, j);
}

/* Return: -1, or the first page with something else in it. */
static inline long pw_wrong(const void *p, size_t pages, uint64_t seed)
{
	const volatile uint64_t *w = p;

	for (size_t i = 0; i < pages; i++)
		for (size_t j = 0; j < PAGE / 8; j++)
			if (*w++ != pw_word(seed, i, j))
				return i;
	return -1;
}

/* Return: -1, or the first page that is not all zero. */
static inline long pw_nonzero(const void *p, size_t pages)
{
	const volatile uint64_t *w = p;

	for (size_t i = 0; i < pages; i++)
		for (size_t j = 0; j < PAGE / 8; j++)
			if (*w++)
				return i;
	return -1;
}

/* Touches that may be refused */

static __thread sigjmp_buf pw_env;
static __thread volatile sig_atomic_t pw_armed;
static __thread void *volatile pw_fault_addr;

static inline void pw_on_fault(int sig, siginfo_t *si, void *context)
{
	if (!pw_armed) {
		signal(sig, SIG_DFL);
		return;
	}
	pw_fault_addr = si->si_addr;
	siglongjmp(pw_env, sig);
}

static inline void pw_catch(void)
{
	struct sigaction sa = { .sa_sigaction = pw_on_fault, .sa_flags = SA_SIGINFO };

	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
}

/* The value: 0, or the signal that the statement raised. */
#define PW_TRY(statement) ({						\
	int _sig;							\
									\
	pw_catch();							\
	_sig = sigsetjmp(pw_env, 1);					\
	if (!_sig) {							\
		pw_armed = 1;						\
		statement;						\
	}								\
	pw_armed = 0;							\
	_sig;								\
})

static inline int pw_try_read(const volatile void *p)
{
	return PW_TRY((void)*(const volatile char *)p);
}

static inline int pw_try_write(volatile void *p, char c)
{
	return PW_TRY(*(volatile char *)p = c);
}

/* Processes */

/* The child dies with its parent, also if that is dead by now. */
static inline pid_t pw_fork(void)
{
	pid_t pid, parent = getpid();

	fflush(NULL);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			kill(getpid(), SIGKILL);
	}
	return pid;
}

/* Return: the exit status, or 128 and the signal. */
static inline int pw_wait(pid_t pid)
{
	int status;

	CHECK(waitpid(pid, &status, 0) == pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Words that a process, its threads and its children share. */
static inline int *pw_shared(void)
{
	int *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

static inline void pw_wake(int *p)
{
	syscall(SYS_futex, p, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static inline void pw_set(int *p, int value)
{
	__atomic_store_n(p, value, __ATOMIC_SEQ_CST);
	pw_wake(p);
}

static inline void pw_inc(int *p)
{
	__atomic_add_fetch(p, 1, __ATOMIC_SEQ_CST);
	pw_wake(p);
}

static inline int pw_get(int *p)
{
	return __atomic_load_n(p, __ATOMIC_SEQ_CST);
}

static inline void pw_wait_for(int *p, int value)
{
	struct timespec second = { 1, 0 };
	double end = pw_now() + 150;
	int now;

	while ((now = pw_get(p)) < value) {
		CHECK(pw_now() < end);
		syscall(SYS_futex, p, FUTEX_WAIT, now, &second, NULL, 0);
	}
}

/* What the kernel and the module say */

/* "key: value" or "Key:   value kB"; Return: the number, -1 without the key. */
static inline long pw_key(const char *path, const char *key)
{
	size_t len = strlen(key);
	char line[256];
	long value = -1;
	FILE *f = fopen(path, "re");

	if (!f)
		return -1;
	while (value < 0 && fgets(line, sizeof(line), f))
		if (!strncmp(line, key, len) && line[len] == ':')
			value = strtol(line + len + 1, NULL, 10);
	fclose(f);
	return value;
}

static inline long pw_pool(const char *key)
{
	long value = pw_key(PW_DEBUGFS "pool", key);

	CHECK(value >= 0);
	return value;
}

static inline long pw_stat(const char *key)
{
	long value = pw_key(PW_DEBUGFS "faults", key);

	CHECK(value >= 0);
	return value;
}

/* Does the kernel itself have what packing needs? The module may be wrong about it. */
static inline bool pw_can_pack(void)
{
	static const char *const needed[] = { "zsmalloc", "lz4" };
	char command[64];
	bool found = true;
	int status;

	for (int i = 0; i < 2; i++) {
		snprintf(command, sizeof(command), "/sbin/modprobe -n -q %s", needed[i]);
		status = system(command);
		CHECK(WIFEXITED(status) && WEXITSTATUS(status) <= 1);
		found &= !status;
	}
	return found;
}

/* It keeps to its own memory some services that later kernels offer for any mapping. */
static inline bool pw_kernel_is_6_1(void)
{
	struct utsname name;

	CHECK(uname(&name) == 0);
	return !strncmp(name.release, "6.1.", 4);
}

/* The sum of a field of smaps, in KiB, over all VMAs in [at, at + len). */
static inline long pw_smaps(const void *at, size_t len, const char *key)
{
	unsigned long lo, hi, from = (unsigned long)at;
	size_t keylen = strlen(key);
	bool ours = false;
	char line[512];
	long sum = 0;
	FILE *f = fopen("/proc/self/smaps", "re");

	CHECK(f);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &lo, &hi) == 2)
			ours = lo < from + len && hi > from;
		else if (ours && !strncmp(line, key, keylen) && line[keylen] == ':')
			sum += strtol(line + keylen + 1, NULL, 10);
	}
	fclose(f);
	return sum;
}

/*
 * No heap has a page left. The last reference to a process's memory may be
 * dropped a moment after it was waited for.
 */
static inline bool pw_pool_whole(void)
{
	double end = pw_now() + 20;

	while (pw_now() < end) {
		if (!pw_pool("used_pages") && !pw_pool("promised_pages"))
			return true;
		usleep(20000);
	}
	fprintf(stderr, "# pool: used %ld promised %ld free %ld held %ld\n",
		pw_pool("used_pages"), pw_pool("promised_pages"),
		pw_pool("free_pages"), pw_pool("held_pages"));
	return false;
}

/* The module goes through the pool's runs and lists, and finds nothing wrong. */
static inline bool pw_pool_sound(void)
{
	FILE *f = fopen(PW_DEBUGFS "check", "re");
	char line[256];
	bool ok;

	CHECK(f && fgets(line, sizeof(line), f));
	ok = !strcmp(line, "check: ok\n");
	if (!ok)
		fprintf(stderr, "# %s", line);
	fclose(f);
	return ok;
}

/* What was lost is back: nobody refers to pages of the pool any more. */
static inline bool pw_pool_found(void)
{
	double end = pw_now() + 20;

	while (pw_pool("lost_pages") && pw_now() < end)
		usleep(20000);
	return !pw_pool("lost_pages");
}

/*
 * A process that reserves every page of the pool, in a heap of its own, until
 * it is stopped. @mine is the heap that it inherits from the caller, or NULL.
 */
static inline pid_t pw_hog(struct pw *mine)
{
	int *ready = pw_shared();
	size_t chunk = 64 * MIB;
	pid_t pid = pw_fork();
	struct pw h;

	if (pid) {
		pw_wait_for(ready, 1);
		munmap(ready, PAGE);
		return pid;
	}
	if (mine)
		CHECK(munmap(mine->base, mine->len) == 0);
	pw_heap(&h, 4 * MIB);
	while (chunk >= PAGE)
		if (pw_map(h.fd, 0, NULL, chunk, 0, NULL))
			chunk /= 2;
	pw_set(ready, 1);
	for (;;)
		pause();
}

/* The same with memory of the kernel's, until no more than @spare_kb is available. */
static inline pid_t pw_eater(struct pw *mine, long spare_kb)
{
	int *ready = pw_shared();
	pid_t pid = pw_fork();

	if (pid) {
		pw_wait_for(ready, 1);
		munmap(ready, PAGE);
		return pid;
	}
	CHECK(munmap(mine->base, mine->len) == 0);
	while (pw_key("/proc/meminfo", "MemAvailable") > spare_kb) {
		char *p = mmap(NULL, 2 * HUGE, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		CHECK(p != MAP_FAILED);
		madvise(p, 2 * HUGE, MADV_HUGEPAGE);
		for (size_t i = 0; i < 2 * HUGE; i += PAGE)
			p[i] = 1;
	}
	pw_set(ready, 1);
	for (;;)
		pause();
}

static inline void pw_hog_stop(pid_t pid)
{
	CHECK(kill(pid, SIGKILL) == 0);
	CHECK(waitpid(pid, NULL, 0) == pid);
}

/* The kernel's page of zeros, which all programs share, is full of them. */
static inline bool pw_zero_page_whole(void)
{
	char *p = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bool whole;

	CHECK(p != MAP_FAILED);
	whole = pw_nonzero(p, 1) == -1;
	munmap(p, PAGE);
	return whole;
}

/* The last test of a file: what the others used is back, and nobody's page has changed. */
#define PW_TEST_POOL_WHOLE						\
FIXTURE(pool) { };							\
FIXTURE_SETUP(pool) { }							\
FIXTURE_TEARDOWN(pool) { }						\
TEST_F(pool, whole)							\
{									\
	ASSERT_TRUE(pw_pool_whole());					\
	EXPECT_TRUE(pw_pool_found());					\
	EXPECT_TRUE(pw_pool_sound());					\
	EXPECT_TRUE(pw_zero_page_whole());				\
}

#endif /* PW_TEST_H */
