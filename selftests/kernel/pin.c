// SPDX-License-Identifier: GPL-2.0-only
/*
 * pin.c - a page that someone else still holds is never used for anything else
 */
#include "pw_test.h"

#include <linux/io_uring.h>

#define HELD 64UL	/* pages in the pipe */

FIXTURE(pin) {
	struct pw h;
	char *p;
	int pipe[2];
};

FIXTURE_SETUP(pin)
{
	pw_heap(&self->h, 32 * MIB);
	self->p = pw_map_pages(&self->h, HELD);
	pw_fill(self->p, HELD, 1);
	ASSERT_EQ(0, pipe(self->pipe));
	ASSERT_GE(fcntl(self->pipe[1], F_SETPIPE_SZ, HELD * PAGE), (int)(HELD * PAGE));
	ASSERT_TRUE(pw_pool_found());
}

FIXTURE_TEARDOWN(pin)
{
	close(self->h.fd);
}

static void hold(FIXTURE_DATA(pin) *self)
{
	struct iovec iov = { self->p, HELD * PAGE };

	CHECK(vmsplice(self->pipe[1], &iov, 1, 0) == (ssize_t)(HELD * PAGE));
}

/* Another heap takes whatever the pool has at hand, on every CPU. */
static void churn(FIXTURE_DATA(pin) *self)
{
	pid_t pid = pw_fork();

	if (!pid) {
		struct pw h;

		munmap(self->h.base, self->h.len);
		pw_heap(&h, 64 * MIB);
		for (int cpu = 0; cpu < sysconf(_SC_NPROCESSORS_ONLN); cpu++) {
			cpu_set_t set;
			char *p;

			CPU_ZERO(&set);
			CPU_SET(cpu, &set);
			CHECK(sched_setaffinity(0, sizeof(set), &set) == 0);
			p = pw_map_pages(&h, 6000);
			CHECK(pw_nonzero(p, 6000) == -1);
			pw_fill(p, 6000, 99);
		}
		_exit(0);
	}
	CHECK(pw_wait(pid) == 0);
}

static bool still_held(FIXTURE_DATA(pin) *self)
{
	static char buf[HELD * PAGE];

	CHECK(read(self->pipe[0], buf, sizeof(buf)) == sizeof(buf));
	return pw_wrong(buf, HELD, 1) == -1;
}

TEST_F(pin, unmapped)
{
	hold(self);
	ASSERT_EQ(0, pw_unmap(self->h.fd, self->p, HELD * PAGE));
	EXPECT_EQ(0, pw_resident(self->h.fd));
	EXPECT_EQ(self->p, pw_map_pages(&self->h, HELD));
	EXPECT_EQ(-1, pw_nonzero(self->p, HELD));
	pw_fill(self->p, HELD, 2);
	churn(self);
	EXPECT_EQ((long)HELD, pw_pool("lost_pages"));
	EXPECT_TRUE(still_held(self));
	EXPECT_EQ(-1, pw_wrong(self->p, HELD, 2));
	EXPECT_TRUE(pw_pool_found());
	EXPECT_EQ((long)HELD, pw_pool("used_pages"));
}

TEST_F(pin, dontneed)
{
	hold(self);
	ASSERT_EQ(0, pw_advise(self->h.fd, PAGEWELL_ADVISE_DONTNEED, self->p, HELD * PAGE));
	EXPECT_EQ(-1, pw_nonzero(self->p, HELD));
	pw_fill(self->p, HELD, 2);
	churn(self);
	EXPECT_TRUE(still_held(self));
	EXPECT_EQ(-1, pw_wrong(self->p, HELD, 2));
}

TEST_F(pin, below_a_break)
{
	uint32_t id;

	ASSERT_EQ(0, pw_brk_create(self->h.fd, 2 * MIB, &id, &self->p));
	pw_cover(&self->h, self->p + 2 * MIB);
	ASSERT_EQ(0, pw_brk(self->h.fd, id, self->p + HELD * PAGE, NULL));
	pw_fill(self->p, HELD, 1);
	hold(self);
	ASSERT_EQ(0, pw_brk(self->h.fd, id, self->p, NULL));
	ASSERT_EQ(0, pw_brk(self->h.fd, id, self->p + HELD * PAGE, NULL));
	EXPECT_EQ(-1, pw_nonzero(self->p, HELD));
	churn(self);
	EXPECT_TRUE(still_held(self));
}

TEST_F(pin, mapping_gone)
{
	hold(self);
	ASSERT_EQ(0, munmap(self->h.base, self->h.len));
	churn(self);
	EXPECT_TRUE(still_held(self));
	EXPECT_TRUE(pw_pool_whole());
}

TEST_F(pin, process_gone)
{
	pid_t pid;

	ASSERT_EQ(0, munmap(self->h.base, self->h.len));
	pid = pw_fork();
	if (!pid) {
		struct pw h;

		pw_heap(&h, 4 * MIB);
		self->p = pw_map_pages(&h, HELD);
		pw_fill(self->p, HELD, 1);
		hold(self);
		_exit(0);
	}
	ASSERT_EQ(0, pw_wait(pid));
	EXPECT_TRUE(pw_pool_whole());
	churn(self);
	EXPECT_TRUE(still_held(self));
}

/* Moved pages keep their hold: the pipe sees later writes, as for any memory. */
TEST_F(pin, moved)
{
	char *wall = pw_map_pages(&self->h, 1), *to;

	EXPECT_EQ(self->p + HELD * PAGE, wall);
	hold(self);
	ASSERT_EQ(0, pw_remap(self->h.fd, PAGEWELL_REMAP_MAYMOVE, self->p, HELD * PAGE,
			      2 * HELD * PAGE, &to));
	ASSERT_NE(self->p, to);
	EXPECT_EQ(-1, pw_wrong(to, HELD, 1));
	ASSERT_EQ(0, pw_unmap(self->h.fd, to, 2 * HELD * PAGE));
	churn(self);
	EXPECT_TRUE(still_held(self));
}

/* A strict heap keeps its promise although its pages are lost to a pipe. */
TEST_F(pin, promise_holds_with_an_empty_pool)
{
	pid_t hog;

	hold(self);
	hog = pw_hog(&self->h);
	ASSERT_EQ(0, pw_advise(self->h.fd, PAGEWELL_ADVISE_DONTNEED, self->p, HELD * PAGE));
	for (size_t i = 0; i < HELD; i++) {
		ASSERT_EQ(0, pw_try_write(self->p + i * PAGE, 1))
			TH_LOG("page %zu of a committed region", i);
	}
	pw_hog_stop(hog);
	EXPECT_TRUE(still_held(self));
}

/* The same over a fork: nobody has the pages but the pipe, or who merely reads them. */
TEST_F(pin, promise_holds_over_fork_with_an_empty_pool)
{
	pid_t child = pw_fork(), hog;

	while (!child)
		pause();
	hold(self);
	hog = pw_hog(&self->h);
	for (size_t i = 0; i < HELD; i++) {
		ASSERT_EQ(0, pw_try_write(self->p + i * PAGE, 1))
			TH_LOG("page %zu of a committed region", i);
	}
	pw_fill(self->p, HELD, 2);
	pw_hog_stop(hog);
	pw_hog_stop(child);
	EXPECT_TRUE(still_held(self));
	EXPECT_EQ(-1, pw_wrong(self->p, HELD, 2));
}

TEST_F(pin, pool_recovers)
{
	static char buf[HELD * PAGE];
	long lost = pw_stat("pages_lost"), held;

	for (int i = 0; i < 40; i++) {
		pw_fill(self->p, HELD, 1);
		hold(self);
		ASSERT_EQ(0, pw_advise(self->h.fd, PAGEWELL_ADVISE_DONTNEED, self->p, HELD * PAGE));
		ASSERT_EQ(sizeof(buf), read(self->pipe[0], buf, sizeof(buf)));
		ASSERT_EQ(-1, pw_wrong(buf, HELD, 1));
	}
	EXPECT_EQ(lost + 40 * (long)HELD, pw_stat("pages_lost"));
	/* The floor is made good for. */
	for (int i = 0; i < 100; i++) {
		held = pw_pool("held_pages");
		if (held >= pw_pool("floor_pages"))
			break;
		usleep(50000);
	}
	EXPECT_GE(held, pw_pool("floor_pages"));
}

/* Who finds no memory looks at some of what is lost, not at all of it each time. */
TEST_F(pin, looks_are_short)
{
	const long pages = 4000, tries = 100;
	long looks;
	char *p;

	ASSERT_EQ(0, pw_set_huge(self->h.fd, PAGEWELL_HUGE_NEVER));
	p = pw_map_pages(&self->h, pages);
	pw_fill(p, pages, 1);
	ASSERT_LE(pages * (long)PAGE, fcntl(self->pipe[1], F_SETPIPE_SZ, 4096 * PAGE));
	ASSERT_EQ(pages * (long)PAGE,
		  vmsplice(self->pipe[1], &(struct iovec){ p, pages * PAGE }, 1, 0));
	ASSERT_EQ(0, pw_unmap(self->h.fd, p, pages * PAGE));
	ASSERT_EQ(pages, pw_pool("lost_pages"));
	looks = pw_stat("lost_looks");
	for (int i = 0; i < tries; i++)
		ASSERT_EQ(-ENOMEM, pw_map(self->h.fd, 0, NULL, pw_pool("max_pages") * PAGE, 0,
					  NULL));
	looks = pw_stat("lost_looks") - looks;
	EXPECT_GT(looks, tries);
	EXPECT_LT(looks, tries * pages / 2);
}

/* Long-term pins: registered buffers of io_uring, where the kernel allows. */

struct ring {
	int fd;
	struct io_uring_params params;
	char *rings;
	struct io_uring_sqe *sqes;
};

static bool ring_open(struct ring *r, void *buf, size_t len)
{
	struct iovec iov = { buf, len };

	memset(r, 0, sizeof(*r));
	r->fd = syscall(SYS_io_uring_setup, 4, &r->params);
	if (r->fd < 0 || !(r->params.features & IORING_FEAT_SINGLE_MMAP))
		return false;
	if (syscall(SYS_io_uring_register, r->fd, IORING_REGISTER_BUFFERS, &iov, 1))
		return false;
	r->rings = mmap(NULL, 64 * KIB, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd,
			IORING_OFF_SQ_RING);
	r->sqes = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, IORING_OFF_SQES);
	return r->rings != MAP_FAILED && r->sqes != MAP_FAILED;
}

/* Reads or writes the registered buffer; the one request at a time. */
static int ring_io(struct ring *r, int op, int fd, void *buf, size_t len)
{
	uint32_t *tail = (void *)(r->rings + r->params.sq_off.tail);
	uint32_t *array = (void *)(r->rings + r->params.sq_off.array);
	uint32_t *head = (void *)(r->rings + r->params.cq_off.head);
	struct io_uring_cqe *cqes = (void *)(r->rings + r->params.cq_off.cqes);
	uint32_t slot = *tail & (r->params.sq_entries - 1);

	r->sqes[slot] = (struct io_uring_sqe){
		.opcode = op, .fd = fd, .addr = (uintptr_t)buf, .len = len,
	};
	array[slot] = slot;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_SEQ_CST);
	CHECK(syscall(SYS_io_uring_enter, r->fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) == 1);
	slot = *head & (r->params.cq_entries - 1);
	__atomic_store_n(head, *head + 1, __ATOMIC_SEQ_CST);
	return cqes[slot].res;
}

TEST_F(pin, registered_buffer)
{
	const size_t len = HELD * PAGE;
	static char buf[HELD * PAGE];
	int fd = memfd_create("t", 0);
	struct ring r;
	pid_t pid;

	if (pw_kernel_is_6_1())
		SKIP(return, "this kernel registers no buffers in file mappings");
	ASSERT_TRUE(ring_open(&r, self->p, len));
	ASSERT_EQ(len, ring_io(&r, IORING_OP_WRITE_FIXED, fd, self->p, len));
	ASSERT_EQ(len, pread(fd, buf, len, 0));
	EXPECT_EQ(-1, pw_wrong(buf, HELD, 1));
	/* Over a fork the buffer stays the parent's. */
	pid = pw_fork();
	if (!pid) {
		CHECK(pw_wrong(self->p, HELD, 1) == -1);
		pw_fill(self->p, HELD, 50);
		usleep(200000);
		CHECK(pw_wrong(self->p, HELD, 50) == -1);
		_exit(0);
	}
	pw_fill(self->p, HELD, 2);
	usleep(50000);
	ASSERT_EQ(len, ring_io(&r, IORING_OP_WRITE_FIXED, fd, self->p, len));
	ASSERT_EQ(len, pread(fd, buf, len, 0));
	EXPECT_EQ(-1, pw_wrong(buf, HELD, 2));
	pw_fill(buf, HELD, 3);
	ASSERT_EQ(len, pwrite(fd, buf, len, 0));
	ASSERT_EQ(len, ring_io(&r, IORING_OP_READ_FIXED, fd, self->p, len));
	EXPECT_EQ(-1, pw_wrong(self->p, HELD, 3));
	EXPECT_EQ(0, pw_wait(pid));
	/* A device that writes late hits no other heap. */
	ASSERT_EQ(0, pw_unmap(self->h.fd, self->p, len));
	churn(self);
	EXPECT_EQ(self->p, pw_map_pages(&self->h, HELD));
	pw_fill(self->p, HELD, 4);
	ASSERT_EQ(len, ring_io(&r, IORING_OP_READ_FIXED, fd, self->p, len));
	EXPECT_EQ(-1, pw_wrong(self->p, HELD, 4));
	close(r.fd);
}

/* Refused while pages are shared, and possible again when they are not. */
TEST_F(pin, register_after_fork)
{
	const size_t len = HELD * PAGE;
	int *go = pw_shared();
	struct ring r;
	pid_t pid;

	if (pw_kernel_is_6_1())
		SKIP(return, "this kernel registers no buffers in file mappings");
	ASSERT_TRUE(ring_open(&r, self->p, len));
	close(r.fd);
	pid = pw_fork();
	if (!pid) {
		pw_wait_for(go, 1);
		CHECK(pw_wrong(self->p, HELD, 1) == -1);
		_exit(0);
	}
	EXPECT_FALSE(ring_open(&r, self->p, len));
	pw_fill(self->p, 3, 1);
	pw_set(go, 1);
	ASSERT_EQ(0, pw_wait(pid));
	/* Half of it read-only in the page table, half written since. */
	pw_fill(self->p, HELD / 2, 1);
	pw_committed(self->h.fd);
	ASSERT_TRUE(ring_open(&r, self->p, len));
	EXPECT_EQ(-1, pw_wrong(self->p, HELD, 1));
	pw_fill(self->p, HELD, 2);
	EXPECT_EQ(-1, pw_wrong(self->p, HELD, 2));
	close(r.fd);
	/* The next child shares as the first one did. */
	pid = pw_fork();
	if (!pid) {
		pw_wait_for(go, 2);
		CHECK(pw_wrong(self->p, HELD, 2) == -1);
		_exit(0);
	}
	pw_fill(self->p, HELD, 3);
	pw_set(go, 2);
	EXPECT_EQ(0, pw_wait(pid));
	EXPECT_EQ(-1, pw_wrong(self->p, HELD, 3));
}

/* Read-only maps are in the way of it; those that there never were are not. */
TEST_F(pin, register_after_a_failed_protect)
{
	const size_t len = HELD * PAGE;
	char *start;
	struct ring r;
	uint32_t id;

	if (pw_kernel_is_6_1())
		SKIP(return, "this kernel registers no buffers in file mappings");
	ASSERT_TRUE(ring_open(&r, self->p, len));
	close(r.fd);
	ASSERT_EQ(0, pw_brk_create(self->h.fd, HUGE, &id, &start));
	EXPECT_EQ(-EINVAL, pw_protect(self->h.fd, PAGEWELL_PROT_READ, start, PAGE));
	EXPECT_EQ(-ENOMEM, pw_protect(self->h.fd, PAGEWELL_PROT_READ, start + 4 * HUGE, PAGE));
	ASSERT_TRUE(ring_open(&r, self->p, len));
	close(r.fd);
}

/* The zero page is in the way of it, too, until memory is asked for. */
TEST_F(pin, register_after_reads)
{
	const size_t len = HELD * PAGE;
	struct ring r;
	char *far;

	if (pw_kernel_is_6_1())
		SKIP(return, "this kernel registers no buffers in file mappings");
	ASSERT_TRUE(ring_open(&r, self->p, len));
	close(r.fd);
	far = pw_map_pages(&self->h, 1024);
	for (int i = 3; i < 1024; i += 97)
		EXPECT_EQ(0, pw_try_read(far + i * PAGE));
	EXPECT_FALSE(ring_open(&r, far, len));
	ASSERT_EQ(0, pw_advise(self->h.fd, PAGEWELL_ADVISE_POPULATE, far, 1024 * PAGE));
	ASSERT_TRUE(ring_open(&r, far, len));
	EXPECT_EQ(-1, pw_nonzero(far, 1024));
	close(r.fd);
}

PW_TEST_POOL_WHOLE

TEST_HARNESS_MAIN
