// SPDX-License-Identifier: GPL-2.0-only
/*
 * shared.c - regions that several processes have on purpose
 */
#include "pw_test.h"

#include <sys/socket.h>

#define SLOT		512L

/* What a process that inherited nothing maps its heap at. */
#define OTHER_HINT	((void *)0x280000000000UL)

FIXTURE(shared) {
	struct pw h;
	char *p;		/* three slots, made by this process */
	uint32_t id;
	long used;		/* pages of the pool before */
	long pool_idle_s;
};

static char *share(struct pw *h, uint32_t *id, uint64_t len)
{
	char *at = NULL;

	CHECK(pw_share(h->fd, id, &len, &at) == 0);
	CHECK((uintptr_t)at % HUGE == 0 && len % HUGE == 0);
	pw_cover(h, at + len);
	return at;
}

FIXTURE_SETUP(shared)
{
	/* What others had may go back to the kernel, but not while we count. */
	self->pool_idle_s = pw_get_param("pool_idle_s");
	ASSERT_EQ(0, pw_set_param("pool_idle_s", 3600));
	self->used = pw_pool("used_pages");
	self->id = 0;
	pw_heap(&self->h, 32 * MIB);
	self->p = share(&self->h, &self->id, 3 * HUGE);
	ASSERT_NE(0, self->id);
}

FIXTURE_TEARDOWN(shared)
{
	close(self->h.fd);
	pw_set_param("pool_idle_s", self->pool_idle_s);
}

static long used(FIXTURE_DATA(shared) *self)
{
	return pw_pool("used_pages") - self->used;
}

/* Of the whole mapping that the range lies in: a heap is one. */
static long pmd_kib(const void *at, size_t len)
{
	return pw_smaps(at, len, "FilePmdMapped");
}

/* By fork */

TEST_F(shared, both_ways)
{
	int *go = pw_shared();
	pid_t pid;

	pw_fill(self->p, 3 * SLOT, 1);
	pid = pw_fork();
	if (!pid) {
		CHECK(pw_wrong(self->p, 3 * SLOT, 1) == -1);
		pw_fill(self->p, 3 * SLOT, 2);
		pw_set(go, 1);
		pw_wait_for(go, 2);
		CHECK(pw_wrong(self->p, 3 * SLOT, 3) == -1);
		_exit(0);
	}
	pw_wait_for(go, 1);
	EXPECT_EQ(-1, pw_wrong(self->p, 3 * SLOT, 2));
	pw_fill(self->p, 3 * SLOT, 3);
	pw_set(go, 2);
	EXPECT_EQ(0, pw_wait(pid));
	EXPECT_EQ(3 * SLOT, used(self));
}

/* Never written before the fork, and by small pages. */
TEST_F(shared, untouched_over_fork)
{
	uint32_t id = 0;
	char *at;
	pid_t pid;

	ASSERT_EQ(0, pw_set_huge(self->h.fd, PAGEWELL_HUGE_NEVER));
	at = share(&self->h, &id, HUGE);
	pid = pw_fork();
	if (!pid) {
		CHECK(pw_nonzero(at, SLOT) == -1);
		pw_fill(at, SLOT, 1);
		pw_fill(self->p, 3 * SLOT, 1);
		_exit(0);
	}
	EXPECT_EQ(0, pw_wait(pid));
	EXPECT_EQ(-1, pw_wrong(at, SLOT, 1));
	EXPECT_EQ(-1, pw_wrong(self->p, 3 * SLOT, 1));
	EXPECT_EQ(3 * SLOT * 4, pmd_kib(self->h.base, self->h.len));
}

TEST_F(shared, grandchild_after_the_parent)
{
	int *go = pw_shared();
	pid_t pid = pw_fork();

	if (!pid) {
		pid = fork();
		if (pid)
			_exit(pid < 0);
		/* The child in between is gone, or soon will be. */
		pw_wait_for(go, 1);
		CHECK(pw_wrong(self->p, 3 * SLOT, 4) == -1);
		pw_fill(self->p, 3 * SLOT, 5);
		pw_set(go, 2);
		_exit(0);
	}
	ASSERT_EQ(0, pw_wait(pid));
	pw_fill(self->p, 3 * SLOT, 4);
	pw_set(go, 1);
	pw_wait_for(go, 2);
	EXPECT_EQ(-1, pw_wrong(self->p, 3 * SLOT, 5));
}

/* Pages stay until the last one lets go of them, and that is not their maker. */
TEST_F(shared, maker_leaves_first)
{
	int *go = pw_shared();
	pid_t pid;

	pw_fill(self->p, 3 * SLOT, 1);
	pid = pw_fork();
	if (!pid) {
		CHECK(pw_committed(self->h.fd) == 0);
		CHECK(pw_resident(self->h.fd) == 3 * HUGE);
		pw_wait_for(go, 1);
		CHECK(pw_wrong(self->p, 3 * SLOT, 1) == -1);
		pw_fill(self->p, 3 * SLOT, 2);
		CHECK(used(self) == 3 * SLOT);
		CHECK(pw_unmap(self->h.fd, self->p, 3 * HUGE) == 0);
		CHECK(pw_resident(self->h.fd) == 0);
		CHECK(used(self) == 0);
		_exit(0);
	}
	ASSERT_EQ(0, pw_unmap(self->h.fd, self->p, 3 * HUGE));
	EXPECT_EQ(0, pw_committed(self->h.fd));
	EXPECT_EQ(0, pw_resident(self->h.fd));
	EXPECT_EQ(0, pw_pool("promised_pages"));
	EXPECT_EQ(3 * SLOT, used(self));
	EXPECT_EQ(SIGSEGV, pw_try_read(self->p));
	pw_set(go, 1);
	EXPECT_EQ(0, pw_wait(pid));
	EXPECT_EQ(0, used(self));
}

/* What is not shared is copied as ever, right beside it. */
TEST_F(shared, others_are_copied)
{
	char *mine = pw_map_pages(&self->h, 700);
	int *go = pw_shared();
	pid_t pid;

	pw_fill(mine, 700, 1);
	pw_fill(self->p, 3 * SLOT, 1);
	pid = pw_fork();
	if (!pid) {
		pw_fill(mine, 700, 2);
		pw_fill(self->p, 3 * SLOT, 2);
		pw_set(go, 1);
		pw_wait_for(go, 2);
		CHECK(pw_wrong(mine, 700, 2) == -1);
		CHECK(pw_wrong(self->p, 3 * SLOT, 3) == -1);
		_exit(0);
	}
	pw_wait_for(go, 1);
	EXPECT_EQ(-1, pw_wrong(mine, 700, 1));
	EXPECT_EQ(-1, pw_wrong(self->p, 3 * SLOT, 2));
	pw_fill(mine, 700, 3);
	pw_fill(self->p, 3 * SLOT, 3);
	pw_set(go, 2);
	EXPECT_EQ(0, pw_wait(pid));
	EXPECT_EQ(-1, pw_wrong(mine, 700, 3));
}

/* Writes need no page: they go on when the pool has none. */
TEST_F(shared, pool_is_empty)
{
	pid_t hog, pid;

	pw_fill(self->p, 3 * SLOT, 1);
	hog = pw_hog(&self->h);
	pid = pw_fork();
	if (!pid) {
		CHECK(pw_wrong(self->p, 3 * SLOT, 1) == -1);
		pw_fill(self->p, 3 * SLOT, 2);
		_exit(0);
	}
	EXPECT_EQ(0, pw_wait(pid));
	EXPECT_EQ(-1, pw_wrong(self->p, 3 * SLOT, 2));
	pw_fill(self->p, 3 * SLOT, 3);
	pw_hog_stop(hog);
}

/* A thread unmaps while another forks: the child has it whole or not at all. */
static void *share_and_unmap(void *arg)
{
	FIXTURE_DATA(shared) *self = arg;
	double end = pw_now() + 1;

	while (pw_now() < end) {
		uint32_t id = self->id;
		uint64_t len = 0;
		char *at = NULL;

		CHECK(pw_share(self->h.fd, &id, &len, &at) == 0);
		CHECK(at == self->p + 3 * HUGE && len == 3 * HUGE);
		*(volatile long *)(at + HUGE) = 1;
		CHECK(pw_unmap(self->h.fd, at, 3 * HUGE) == 0);
	}
	return NULL;
}

TEST_F(shared, unmapped_while_forking)
{
	double end = pw_now() + 1;
	pthread_t thread;

	pw_cover(&self->h, self->p + 6 * HUGE);
	ASSERT_EQ(0, pthread_create(&thread, NULL, share_and_unmap, self));
	while (pw_now() < end) {
		pid_t pid = pw_fork();

		if (!pid) {
			char *at = self->p + 3 * HUGE;
			int sig = pw_try_write(at + 2 * HUGE, 7);

			CHECK(sig == 0 || sig == SIGSEGV);
			CHECK(sig || self->p[2 * HUGE] == 7);
			CHECK(pw_unmap(self->h.fd, at, 3 * HUGE) == 0);
			self->p[2 * HUGE] = 0;
			_exit(0);
		}
		ASSERT_EQ(0, pw_wait(pid));
	}
	pthread_join(thread, NULL);
	EXPECT_EQ(3 * HUGE, pw_committed(self->h.fd));
	EXPECT_EQ(3 * HUGE, pw_resident(self->h.fd));
}

/* By descriptor */

static void send_fd(int sock, int fd)
{
	char control[CMSG_SPACE(sizeof(fd))] = { 0 }, c = 0;
	struct iovec iov = { &c, 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
	CHECK(sendmsg(sock, &msg, 0) == 1);
}

static int receive_fd(int sock)
{
	char control[CMSG_SPACE(sizeof(int))], c;
	struct iovec iov = { &c, 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	int fd;

	CHECK(recvmsg(sock, &msg, 0) == 1);
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
	return fd;
}

/* A heap of one's own, elsewhere, with something before what is to come. */
static void other_heap(struct pw *h, int fd)
{
	h->fd = fd;
	h->len = 32 * MIB;
	h->base = mmap(OTHER_HINT, h->len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(h->base == OTHER_HINT);
	pw_fill(pw_map_pages(h, 3 * SLOT + 5), 3 * SLOT + 5, 9);
}

/* A process without a heap, that gets a descriptor from us. */
static pid_t stranger(int sock[2])
{
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, sock) == 0);
	return pw_fork();
}


TEST(handed_on)
{
	long used = pw_pool("used_pages");
	int *go = pw_shared(), sock[2];
	pid_t pid = stranger(sock);
	struct pw h;
	uint32_t id;
	char *p;

	if (!pid) {
		other_heap(&h, receive_fd(sock[1]));
		id = pw_get(go);
		p = share(&h, &id, 3 * HUGE);
		CHECK(p != PW_HINT && (p - h.base) / HUGE == 4);
		CHECK((int)id == pw_get(go));
		CHECK(pw_wrong(p, 3 * SLOT, 1) == -1);
		CHECK(pw_committed(h.fd) == (3 * SLOT + 5) * PAGE);
		CHECK(pw_resident(h.fd) == (6 * SLOT + 5) * PAGE);
		pw_fill(p, 3 * SLOT, 2);
		pw_set(go + 1, 1);
		pw_wait_for(go + 1, 2);
		CHECK(pw_wrong(p, 3 * SLOT, 3) == -1);
		CHECK(pw_unmap(h.fd, p, 3 * HUGE) == 0);
		CHECK(pw_try_read(p) == SIGSEGV);
		CHECK(pw_wrong(h.base, 3 * SLOT + 5, 9) == -1);
		_exit(0);
	}
	pw_heap(&h, 32 * MIB);
	id = 0;
	p = share(&h, &id, 3 * HUGE);
	pw_fill(p, 3 * SLOT, 1);
	pw_set(go, id);
	send_fd(sock[0], h.fd);
	pw_wait_for(go + 1, 1);
	EXPECT_EQ(-1, pw_wrong(p, 3 * SLOT, 2));
	pw_fill(p, 3 * SLOT, 3);
	pw_set(go + 1, 2);
	EXPECT_EQ(0, pw_wait(pid));
	EXPECT_EQ(-1, pw_wrong(p, 3 * SLOT, 3));
	ASSERT_EQ(0, pw_unmap(h.fd, p, 3 * HUGE));
	EXPECT_EQ(used, pw_pool("used_pages"));
}

/*
 * A futex is known by where its page is in the file. That must not depend on
 * who maps it first, or again: the waiter's entry is zapped while it waits,
 * because its relative cuts a page of 2 MiB at the same place of the heap.
 */
static void futex(struct __test_metadata *_metadata, uint32_t policy)
{
	int *go = pw_shared(), sock[2];
	pid_t pid = stranger(sock);
	struct timespec limit = { 100, 0 };
	char *p, *mine;
	long woken = 0;
	struct pw h;
	uint32_t id;
	double end;

	if (!pid) {
		other_heap(&h, receive_fd(sock[1]));
		pw_wait_for(go, 1);
		id = pw_get(go + 1);
		p = share(&h, &id, 0);
		pw_set(go, 2);
		CHECK(syscall(SYS_futex, p + HUGE + 8, FUTEX_WAIT, 0, &limit, NULL, 0) == 0);
		_exit(0);
	}
	pw_heap(&h, 32 * MIB);
	ASSERT_EQ(0, pw_set_huge(h.fd, policy));
	id = 0;
	p = share(&h, &id, 3 * HUGE);
	ASSERT_EQ(0, pw_map(h.fd, PAGEWELL_MAP_FIXED, h.base + 10 * MIB, HUGE, 0, &mine));
	ASSERT_EQ(0, pw_advise(h.fd, PAGEWELL_ADVISE_HUGEPAGE, mine, HUGE));
	*mine = 1;
	ASSERT_EQ(SLOT * 4, pmd_kib(mine, HUGE));
	pw_set(go + 1, id);
	pw_set(go, 1);
	send_fd(sock[0], h.fd);
	pw_wait_for(go, 2);
	sleep(1);
	ASSERT_EQ(0, pw_unmap(h.fd, mine, PAGE));
	*(volatile char *)(p + HUGE) = 1;
	/* A second is enough for it to wait, mostly. */
	for (end = pw_now() + 60; !woken && pw_now() < end; usleep(10000))
		woken = syscall(SYS_futex, p + HUGE + 8, FUTEX_WAKE, 1, NULL, NULL, 0);
	EXPECT_EQ(1, woken);
	EXPECT_EQ(0, pw_wait(pid));
}

TEST(futex_small)
{
	futex(_metadata, PAGEWELL_HUGE_NEVER);
}

TEST(futex_huge)
{
	futex(_metadata, PAGEWELL_HUGE_ALWAYS);
}

TEST_F(shared, attached_twice)
{
	char *q = share(&self->h, &self->id, 0);

	EXPECT_NE(self->p, q);
	pw_fill(self->p, 3 * SLOT, 1);
	EXPECT_EQ(-1, pw_wrong(q, 3 * SLOT, 1));
	EXPECT_EQ(3 * SLOT, used(self));
	EXPECT_EQ(3 * HUGE, pw_committed(self->h.fd));
	ASSERT_EQ(0, pw_unmap(self->h.fd, self->p, 3 * HUGE));
	EXPECT_EQ(0, pw_committed(self->h.fd));
	EXPECT_EQ(-1, pw_wrong(q, 3 * SLOT, 1));
	EXPECT_EQ(3 * SLOT, used(self));
	ASSERT_EQ(0, pw_unmap(self->h.fd, q, 3 * HUGE));
	EXPECT_EQ(0, used(self));
	EXPECT_EQ(0, pw_pool("promised_pages"));
}

/* Parts go by themselves; the number goes with the last. */
TEST_F(shared, parts)
{
	int fd = self->h.fd;
	uint64_t len = 0;
	char *q = NULL;
	uint32_t id;

	pw_fill(self->p, 3 * SLOT, 1);
	ASSERT_EQ(0, pw_unmap(fd, self->p + HUGE, HUGE));
	EXPECT_EQ(2 * HUGE, pw_committed(fd));
	EXPECT_EQ(2 * HUGE, pw_resident(fd));
	EXPECT_EQ(2 * SLOT, used(self));
	EXPECT_EQ(SIGSEGV, pw_try_read(self->p + HUGE));
	EXPECT_EQ(-1, pw_wrong(self->p, SLOT, 1));
	/* Nobody has the middle, so it is empty when it comes back. */
	q = share(&self->h, &self->id, 0);
	EXPECT_EQ(-1, pw_wrong(q, SLOT, 1));
	EXPECT_EQ(-1, pw_nonzero(q + HUGE, SLOT));
	EXPECT_EQ(*(uint64_t *)(q + 2 * HUGE), pw_word(1, 2 * SLOT, 0));
	EXPECT_EQ(2 * HUGE, pw_committed(fd));
	pw_fill(q + HUGE, SLOT, 2);
	/* The gap is for others now. */
	ASSERT_EQ(0, pw_map(fd, PAGEWELL_MAP_FIXED_NOREPLACE, self->p + HUGE, HUGE, 0, NULL));
	EXPECT_EQ(-1, pw_nonzero(self->p + HUGE, SLOT));
	ASSERT_EQ(0, pw_unmap(fd, self->p, 3 * HUGE));
	EXPECT_EQ(-1, pw_wrong(q + HUGE, SLOT, 2));
	ASSERT_EQ(0, pw_unmap(fd, q, 3 * HUGE));
	EXPECT_EQ(0, used(self));
	EXPECT_EQ(0, pw_committed(fd));
	id = self->id;
	EXPECT_EQ(-ENOENT, pw_share(fd, &id, &len, &q));
	/* Nor is it given out again. */
	id = 0;
	share(&self->h, &id, HUGE);
	EXPECT_NE(self->id, id);
}

/* Limits and accounts */

TEST_F(shared, strict_is_exact)
{
	long avail = pw_pool("avail_pages"), promised = pw_pool("promised_pages");
	int fd = self->h.fd;
	uint64_t len = 1;
	uint32_t id = 0;
	char *at = NULL;

	EXPECT_EQ(0, promised);
	EXPECT_EQ(3 * SLOT, used(self));
	EXPECT_EQ(3 * HUGE, pw_committed(fd));
	EXPECT_EQ(3 * HUGE, pw_resident(fd));
	ASSERT_EQ(0, pw_share(fd, &id, &len, &at));
	EXPECT_EQ(HUGE, len);
	EXPECT_EQ(4 * HUGE, pw_committed(fd));
	EXPECT_EQ(4 * HUGE, pw_resident(fd));
	EXPECT_EQ(0, pw_pool("promised_pages"));
	EXPECT_EQ(4 * SLOT, used(self));
	ASSERT_EQ(0, pw_unmap(fd, at, HUGE));
	EXPECT_EQ(3 * HUGE, pw_committed(fd));
	EXPECT_EQ(avail, pw_pool("avail_pages"));

	ASSERT_EQ(0, pw_set_limit(fd, 5 * HUGE));
	len = 3 * HUGE, id = 0;
	EXPECT_EQ(-ENOMEM, pw_share(fd, &id, &len, &at));
	id = self->id, len = 0;
	EXPECT_EQ(-ENOMEM, pw_share(fd, &id, &len, &at));
	len = 2 * HUGE, id = 0;
	EXPECT_EQ(0, pw_share(fd, &id, &len, &at));
	EXPECT_EQ(-ENOMEM, pw_map(fd, 0, NULL, PAGE, 0, NULL));
	EXPECT_EQ(5 * HUGE, pw_committed(fd));
	EXPECT_EQ(5 * SLOT, used(self));
	ASSERT_EQ(0, pw_unmap(fd, at, 2 * HUGE));
	EXPECT_EQ(0, pw_map(fd, 0, NULL, PAGE, 0, NULL));
}

/* What does not fit is refused at once, and leaves nothing behind. */
TEST_F(shared, refused)
{
	struct rlimit rlim = { 4 * HUGE, RLIM_INFINITY };
	long avail = pw_pool("avail_pages");
	int fd = self->h.fd;
	uint64_t sizes[] = {
		(pw_pool("max_pages") + SLOT) * PAGE, 1ULL << 43, 1ULL << 44, 1ULL << 63, ~0ULL,
	};
	uint64_t len;
	uint32_t id;
	char *at = NULL;
	pid_t hog;

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		len = sizes[i], id = 0;
		EXPECT_EQ(-ENOMEM, pw_share(fd, &id, &len, &at));
	}
	hog = pw_hog(&self->h);
	len = HUGE, id = 0;
	EXPECT_EQ(-ENOMEM, pw_share(fd, &id, &len, &at));
	pw_hog_stop(hog);
	ASSERT_EQ(0, setrlimit(RLIMIT_DATA, &rlim));
	len = 4 * HUGE, id = 0;
	EXPECT_EQ(-ENOMEM, pw_share(fd, &id, &len, &at));
	len = 0, id = self->id;
	EXPECT_EQ(-ENOMEM, pw_share(fd, &id, &len, &at));
	EXPECT_EQ(3 * HUGE, pw_committed(fd));
	EXPECT_LE(avail, pw_pool("avail_pages"));
	EXPECT_EQ(3 * SLOT, used(self));
}

TEST(lazy)
{
	long used = pw_pool("used_pages");
	uint64_t len = 8 * HUGE;
	uint32_t id = 0;
	char *at = NULL;
	struct pw h;
	pid_t pid;
	int *go = pw_shared();

	pw_heap(&h, 32 * MIB);
	ASSERT_EQ(0, pw_set_commit(h.fd, PAGEWELL_COMMIT_LAZY));
	ASSERT_EQ(0, pw_set_huge(h.fd, PAGEWELL_HUGE_NEVER));
	ASSERT_EQ(0, pw_set_limit(h.fd, 8 * HUGE));
	ASSERT_EQ(0, pw_share(h.fd, &id, &len, &at));
	EXPECT_EQ(0, pw_committed(h.fd));
	EXPECT_EQ(0, pw_resident(h.fd));
	EXPECT_EQ(used, pw_pool("used_pages"));
	/* It counts as a whole: there is no room for anything else. */
	EXPECT_EQ(SIGBUS, pw_try_write(pw_map_pages(&h, 1), 1));
	pid = pw_fork();
	if (!pid) {
		at[5 * HUGE] = 5;
		CHECK(pw_nonzero(at, SLOT) == -1);
		pw_set(go, 1);
		pw_wait_for(go, 2);
		CHECK(at[6 * HUGE] == 6);
		_exit(0);
	}
	pw_wait_for(go, 1);
	EXPECT_EQ(5, at[5 * HUGE]);
	EXPECT_LE(SLOT * PAGE, pw_resident(h.fd));
	EXPECT_GE((SLOT + 64) * PAGE, pw_resident(h.fd));
	EXPECT_EQ(pw_resident(h.fd) / PAGE, pw_pool("used_pages") - used);
	at[6 * HUGE] = 6;
	pw_set(go, 2);
	EXPECT_EQ(0, pw_wait(pid));
	pw_fill(at, 8 * SLOT, 1);
	EXPECT_EQ(-1, pw_wrong(at, 8 * SLOT, 1));
	EXPECT_EQ(8 * HUGE, pw_resident(h.fd));
	/* A second one is beyond the limit; and so is more than all the pool. */
	len = HUGE, id = 0;
	EXPECT_EQ(-ENOMEM, pw_share(h.fd, &id, &len, &at));
	len = (pw_pool("max_pages") + SLOT) * PAGE, id = 0;
	EXPECT_EQ(-ENOMEM, pw_share(h.fd, &id, &len, &at));
	ASSERT_EQ(0, pw_unmap(h.fd, at, 8 * HUGE));
	EXPECT_EQ(0, pw_resident(h.fd));
	EXPECT_EQ(used, pw_pool("used_pages"));
	EXPECT_EQ(0, pw_try_write(pw_map_pages(&h, 1), 1));
}

/* Nor more than all the pool in pieces: what could never have pages has no index. */
TEST(lazy_sum)
{
	uint64_t half = (pw_pool("max_pages") / 2 + SLOT) * PAGE & ~(HUGE - 1), len = half;
	char *at = NULL, *second = NULL;
	uint32_t id = 0;
	struct pw h;

	pw_heap(&h, 16 * MIB);
	ASSERT_EQ(0, pw_set_commit(h.fd, PAGEWELL_COMMIT_LAZY));
	ASSERT_EQ(0, pw_share(h.fd, &id, &len, &at));
	id = 0;
	EXPECT_EQ(-ENOMEM, pw_share(h.fd, &id, &len, &second));
	ASSERT_EQ(0, pw_unmap(h.fd, at, len));
	EXPECT_EQ(0, pw_share(h.fd, &id, &len, &second));
}

/* By 2 MiB at a time, and found by the one that did not make it. */
TEST(lazy_huge)
{
	uint64_t len = 4 * HUGE;
	uint32_t id = 0;
	char *at = NULL;
	struct pw h;
	pid_t pid;

	pw_heap(&h, 32 * MIB);
	ASSERT_EQ(0, pw_set_commit(h.fd, PAGEWELL_COMMIT_LAZY));
	ASSERT_EQ(0, pw_set_huge(h.fd, PAGEWELL_HUGE_ALWAYS));
	ASSERT_EQ(0, pw_share(h.fd, &id, &len, &at));
	pid = pw_fork();
	if (!pid) {
		pw_fill(at, 2 * SLOT, 1);
		CHECK(pmd_kib(at, 4 * HUGE) == 2 * SLOT * 4);
		CHECK(pw_advise(h.fd, PAGEWELL_ADVISE_POPULATE, at, 3 * HUGE) == 0);
		CHECK(pmd_kib(at, 4 * HUGE) == 3 * SLOT * 4);
		_exit(0);
	}
	EXPECT_EQ(0, pw_wait(pid));
	EXPECT_EQ(3 * HUGE, pw_resident(h.fd));
	EXPECT_EQ(-1, pw_wrong(at, 2 * SLOT, 1));
	EXPECT_EQ(2 * SLOT * 4, pmd_kib(at, 4 * HUGE));
}

/* Pages of 2 MiB */

TEST_F(shared, huge_stays_whole)
{
	long cut = pw_stat("huge_cut");
	pid_t pid;

	pw_fill(self->p, 3 * SLOT, 1);
	EXPECT_EQ(3 * SLOT * 4, pmd_kib(self->p, 3 * HUGE));
	pid = pw_fork();
	if (!pid) {
		self->p[HUGE] = 1;
		CHECK(pmd_kib(self->p, 3 * HUGE) == SLOT * 4);
		pw_fill(self->p, 3 * SLOT, 2);
		CHECK(pmd_kib(self->p, 3 * HUGE) == 3 * SLOT * 4);
		_exit(0);
	}
	EXPECT_EQ(0, pw_wait(pid));
	EXPECT_EQ(-1, pw_wrong(self->p, 3 * SLOT, 2));
	pw_fill(self->p, 3 * SLOT, 3);
	EXPECT_EQ(3 * SLOT * 4, pmd_kib(self->p, 3 * HUGE));
	EXPECT_EQ(cut, pw_stat("huge_cut"));
}

/* Where small pages were, by small entries; the others see the same page. */
TEST_F(shared, huge_in_parts)
{
	char *small, *q;
	pid_t pid;

	ASSERT_EQ(0, pw_map(self->h.fd, 0, NULL, PAGE, HUGE, &small));
	pw_cover(&self->h, small + 4 * HUGE);
	*small = 1;
	ASSERT_EQ(0, pw_unmap(self->h.fd, small, PAGE));
	q = share(&self->h, &self->id, 0);
	ASSERT_EQ(small, q);
	pw_fill(self->p, 3 * SLOT, 1);
	EXPECT_EQ(-1, pw_wrong(q, 3 * SLOT, 1));
	EXPECT_EQ(5 * SLOT * 4, pmd_kib(q, 3 * HUGE));
	pw_fill(q, 3 * SLOT, 2);
	EXPECT_EQ(-1, pw_wrong(self->p, 3 * SLOT, 2));

	/* A page in the middle has another protection, for this process. */
	ASSERT_EQ(0, mprotect(self->p + HUGE + 7 * PAGE, PAGE, PROT_READ));
	EXPECT_EQ(SIGSEGV, pw_try_write(self->p + HUGE + 7 * PAGE, 1));
	EXPECT_EQ(-1, pw_wrong(self->p, 3 * SLOT, 2));
	pid = pw_fork();
	if (!pid) {
		CHECK(pw_try_write(self->p + HUGE + 7 * PAGE, 1) == SIGSEGV);
		pw_fill(q, 3 * SLOT, 3);
		_exit(0);
	}
	EXPECT_EQ(0, pw_wait(pid));
	EXPECT_EQ(-1, pw_wrong(self->p, 3 * SLOT, 3));
	EXPECT_EQ(3 * SLOT, used(self));
	ASSERT_EQ(0, mprotect(self->p, 3 * HUGE, PROT_READ | PROT_WRITE));
	pw_fill(self->p, 3 * SLOT, 4);
	EXPECT_EQ(-1, pw_wrong(q, 3 * SLOT, 4));
}

/* Part of the mapping itself goes: the pages are not this process's alone. */
TEST_F(shared, munmap)
{
	char *q = share(&self->h, &self->id, 0);

	pw_fill(self->p, 3 * SLOT, 1);
	ASSERT_EQ(0, munmap(self->p + HUGE - PAGE, 2 * PAGE));
	EXPECT_EQ(SIGSEGV, pw_try_read(self->p + HUGE));
	EXPECT_EQ(-1, pw_wrong(q, 3 * SLOT, 1));
	EXPECT_EQ(-1, pw_wrong(self->p, SLOT - 1, 1));
	EXPECT_EQ(3 * HUGE, pw_committed(self->h.fd));
	EXPECT_EQ(3 * SLOT, used(self));
	ASSERT_EQ(0, pw_unmap(self->h.fd, self->p, 3 * HUGE));
	EXPECT_EQ(0, pw_committed(self->h.fd));
	EXPECT_EQ(-1, pw_wrong(q, 3 * SLOT, 1));
	ASSERT_EQ(0, pw_unmap(self->h.fd, q, 3 * HUGE));
	EXPECT_EQ(0, used(self));
	EXPECT_EQ(0, pw_pool("promised_pages"));
}

/* What a pipe refers to stays what it was when the last one has left. */
TEST_F(shared, held)
{
	long lost = pw_stat("pages_lost");
	struct iovec iov = { self->p + 3 * PAGE, PAGE };
	uint64_t word;
	int fds[2];

	pw_fill(self->p, 3 * SLOT, 1);
	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ((ssize_t)PAGE, vmsplice(fds[1], &iov, 1, 0));
	ASSERT_EQ(0, pw_unmap(self->h.fd, self->p, 3 * HUGE));
	EXPECT_LT(lost, pw_stat("pages_lost"));
	pw_fill(share(&self->h, (uint32_t[]){ 0 }, 3 * HUGE), 3 * SLOT, 2);
	ASSERT_EQ(8, read(fds[0], &word, 8));
	EXPECT_EQ(pw_word(1, 3, 0), word);
}

/* Advice and bad input */

TEST_F(shared, advice)
{
	int fd = self->h.fd;

	pw_fill(self->p, 3 * SLOT, 1);
	EXPECT_EQ(0, pw_advise(fd, PAGEWELL_ADVISE_DONTNEED, self->p, 3 * HUGE));
	EXPECT_EQ(0, pw_advise(fd, PAGEWELL_ADVISE_DONTNEED, self->p + PAGE, PAGE));
	EXPECT_EQ(0, pw_advise(fd, PAGEWELL_ADVISE_WILLNEED, self->p, 3 * HUGE));
	EXPECT_EQ(0, pw_advise(fd, PAGEWELL_ADVISE_POPULATE, self->p, 3 * HUGE));
	EXPECT_EQ(0, pw_advise(fd, PAGEWELL_ADVISE_NOHUGEPAGE, self->p, 3 * HUGE));
	EXPECT_EQ(0, pw_advise(fd, PAGEWELL_ADVISE_HUGEPAGE, self->p, 3 * HUGE));
	/* Nobody may take from the others what one of them can do without. */
	EXPECT_EQ(0, pw_advise(fd, PAGEWELL_ADVISE_FREE, self->p, 3 * HUGE));
	EXPECT_EQ(0, pw_advise(fd, PAGEWELL_ADVISE_COLD, self->p, 3 * HUGE));
	EXPECT_EQ(-1, pw_wrong(self->p, 3 * SLOT, 1));
	EXPECT_EQ(3 * SLOT, used(self));
	EXPECT_EQ(0, pw_pool("promised_pages"));
}

/* What one may do with it says nothing about the others. */
TEST_F(shared, protected_by_one)
{
	char *part = self->p + HUGE + 5 * PAGE;
	int fd = self->h.fd;
	pid_t pid;

	pw_fill(self->p, 3 * SLOT, 1);
	ASSERT_EQ(0, pw_protect(fd, PAGEWELL_PROT_READ, part, 10 * PAGE));
	EXPECT_EQ(SIGSEGV, pw_try_write(part, 2));
	pid = pw_fork();
	if (!pid) {
		CHECK(pw_try_write(part, 2) == SIGSEGV);
		CHECK(pw_protect(fd, PAGEWELL_PROT_READ | PAGEWELL_PROT_WRITE, part,
				 10 * PAGE) == 0);
		pw_fill(part, 10, 2);
		_exit(0);
	}
	ASSERT_EQ(0, pw_wait(pid));
	EXPECT_EQ(-1, pw_wrong(part, 10, 2));
	EXPECT_EQ(SIGSEGV, pw_try_write(part, 3));
	ASSERT_EQ(0, pw_protect(fd, PAGEWELL_PROT_NONE, part, 10 * PAGE));
	EXPECT_EQ(SIGSEGV, pw_try_read(part));
	EXPECT_EQ(-1, pw_wrong(self->p, SLOT, 1));
	ASSERT_EQ(0, pw_protect(fd, PAGEWELL_PROT_READ | PAGEWELL_PROT_WRITE, part,
				10 * PAGE));
	EXPECT_EQ(-1, pw_wrong(part, 10, 2));
	pw_fill(part, 10, 4);
}

/* A slot goes as a whole, whatever was said about parts of it. */
TEST(protected_parts_go_together)
{
	uint64_t len = 2 * HUGE;
	uint32_t id = 0;
	char *at = NULL;
	struct pw h;

	pw_heap(&h, 32 * MIB);
	ASSERT_EQ(0, pw_set_commit(h.fd, PAGEWELL_COMMIT_LAZY));
	ASSERT_EQ(0, pw_set_huge(h.fd, PAGEWELL_HUGE_NEVER));
	ASSERT_EQ(0, pw_share(h.fd, &id, &len, &at));
	ASSERT_EQ(0, pw_protect(h.fd, PAGEWELL_PROT_READ, at, 5 * PAGE));
	ASSERT_EQ(0, pw_protect(h.fd, PAGEWELL_PROT_NONE, at + HUGE - 3 * PAGE, 7 * PAGE));
	at[20 * PAGE] = 1;
	at[HUGE + 20 * PAGE] = 1;
	ASSERT_EQ(0, pw_unmap(h.fd, at, HUGE));
	EXPECT_EQ(SIGSEGV, pw_try_read(at + 20 * PAGE));
	EXPECT_EQ(SIGSEGV, pw_try_read(at + HUGE));
	EXPECT_EQ(1, at[HUGE + 20 * PAGE]);
	ASSERT_EQ(0, pw_unmap(h.fd, at + HUGE, HUGE));
	EXPECT_EQ(0, pw_resident(h.fd));
	ASSERT_EQ(0, pw_map(h.fd, PAGEWELL_MAP_FIXED_NOREPLACE, at, 2 * HUGE, 0, NULL));
	EXPECT_EQ(-1, pw_nonzero(at, 2 * SLOT));
}

TEST_F(shared, only_whole_slots)
{
	int fd = self->h.fd;
	char *p = self->p;
	const struct { char *at; size_t len; } parts[] = {
		{ p, PAGE }, { p, HUGE - PAGE }, { p, HUGE + PAGE }, { p + PAGE, HUGE },
		{ p + HUGE, 1 }, { p + 3 * HUGE - PAGE, PAGE }, { p + 3 * HUGE - PAGE, 2 * PAGE },
		{ p + 3 * HUGE - PAGE, HUGE + PAGE }, { p + HUGE, HUGE - PAGE },
	};
	char *behind;

	pw_fill(p, 3 * SLOT, 1);
	ASSERT_EQ(0, pw_map(fd, PAGEWELL_MAP_FIXED_NOREPLACE, p + 3 * HUGE, 2 * HUGE, 0, &behind));
	pw_cover(&self->h, behind + 2 * HUGE);
	pw_fill(behind, 2 * SLOT, 2);
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		EXPECT_EQ(-EINVAL, pw_unmap(fd, parts[i].at, parts[i].len))
			TH_LOG("part %zu", i);
		EXPECT_EQ(-EINVAL, pw_map(fd, PAGEWELL_MAP_FIXED, parts[i].at,
					  parts[i].len, 0, NULL))
			TH_LOG("part %zu", i);
		EXPECT_EQ(-EEXIST, pw_map(fd, PAGEWELL_MAP_FIXED_NOREPLACE, parts[i].at,
					  parts[i].len, 0, NULL))
			TH_LOG("part %zu", i);
	}
	EXPECT_EQ(-EINVAL, pw_remap(fd, PAGEWELL_REMAP_MAYMOVE, p, 3 * HUGE, 4 * HUGE, NULL));
	EXPECT_EQ(-EINVAL, pw_remap(fd, 0, p, 3 * HUGE, 2 * HUGE, NULL));
	EXPECT_EQ(-EINVAL, pw_remap(fd, 0, p + 2 * HUGE, 2 * HUGE, HUGE, NULL));
	EXPECT_EQ(-EINVAL, pw_remap(fd, 0, p, 3 * HUGE, 3 * HUGE, NULL));
	EXPECT_EQ(-1, pw_wrong(p, 3 * SLOT, 1));
	EXPECT_EQ(-1, pw_wrong(behind, 2 * SLOT, 2));
	EXPECT_EQ(5 * HUGE, pw_committed(fd));
	/* A whole slot, and the neighbour with it. */
	ASSERT_EQ(0, pw_map(fd, PAGEWELL_MAP_FIXED, p + 2 * HUGE, HUGE + 5 * PAGE, 0, NULL));
	EXPECT_EQ(-1, pw_nonzero(p + 2 * HUGE, SLOT + 5));
	EXPECT_EQ(-1, pw_wrong(p, 2 * SLOT, 1));
	EXPECT_EQ(*(uint64_t *)(behind + 5 * PAGE), pw_word(2, 5, 0));
	EXPECT_EQ(5 * HUGE, pw_committed(fd));
}

TEST_F(shared, bad_input)
{
	struct pagewell_share arg;
	int fd = self->h.fd;
	uint32_t ids[] = { self->id + 1, 0x7fffffff, ~0U };
	uint64_t lens[] = { 1, HUGE, 4 * HUGE, 1ULL << 43, ~0ULL };
	uint64_t len = 0;
	uint32_t id = 0;
	char *at = NULL;

	EXPECT_EQ(-EINVAL, pw_share(fd, &id, &len, &at));
	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		id = ids[i];
		EXPECT_EQ(-ENOENT, pw_share(fd, &id, &len, &at));
	}
	id = self->id;
	for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
		len = lens[i];
		EXPECT_EQ(-EINVAL, pw_share(fd, &id, &len, &at));
	}
	len = 2 * HUGE + 1;
	EXPECT_EQ(0, pw_share(fd, &id, &len, &at));
	EXPECT_EQ(3 * HUGE, len);
	for (int bit = 0; bit < 32; bit++) {
		arg = (struct pagewell_share){
			.size = sizeof(arg), .flags = 1U << bit, .length = HUGE,
		};
		EXPECT_EQ(-EINVAL, pw_ioctl(fd, PAGEWELL_IOC_SHARE, &arg));
		arg.flags = 0;
		arg.pad = 1U << bit;
		EXPECT_EQ(-EINVAL, pw_ioctl(fd, PAGEWELL_IOC_SHARE, &arg));
	}
	EXPECT_EQ(3 * HUGE, pw_committed(fd));
}

TEST_F(shared, hints)
{
	char *want = self->h.base + 100 * HUGE, *at = want + PAGE;
	uint64_t len = HUGE;
	uint32_t id = 0;

	ASSERT_EQ(0, pw_share(self->h.fd, &id, &len, &at));
	EXPECT_EQ(want + HUGE, at);
	/* Taken: the next one above. Nonsense: anywhere. */
	ASSERT_EQ(0, pw_share(self->h.fd, &id, &len, &at));
	EXPECT_EQ(want + 2 * HUGE, at);
	at = (void *)-PAGE;
	ASSERT_EQ(0, pw_share(self->h.fd, &id, &len, &at));
	EXPECT_EQ(self->p + 3 * HUGE, at);
}

/* The number is worth nothing without the file. */
TEST_F(shared, other_file)
{
	uint64_t len = 0;
	char *at = NULL;
	struct pw h;
	pid_t pid = pw_fork();

	if (!pid) {
		CHECK(munmap(self->h.base, self->h.len) == 0);
		pw_heap(&h, 8 * MIB);
		CHECK(pw_share(h.fd, &self->id, &len, &at) == -ENOENT);
		/* Nor does it help to use the right file for the call. */
		CHECK(pw_share(self->h.fd, &self->id, &len, &at) == -ENOENT);
		_exit(0);
	}
	EXPECT_EQ(0, pw_wait(pid));
}

/* Everybody at once */

static struct {
	FIXTURE_DATA(shared) *self;
	char *at;
	int stop;
} race;

static void *toucher(void *arg)
{
	uint64_t rnd = (uintptr_t)arg;

	while (!pw_get(&race.stop)) {
		char *at = race.self->h.base + pw_random(&rnd) % (9 * HUGE);
		int sig = pw_random(&rnd) % 2 ? pw_try_write(at, 1) : pw_try_read(at);

		CHECK(sig == 0 || sig == SIGSEGV);
	}
	return NULL;
}

static void *writer(void *arg)
{
	while (!pw_get(&race.stop)) {
		int sig = pw_try_write(race.at, 1);

		CHECK(sig == 0 || sig == SIGSEGV);
	}
	return NULL;
}

static void attach_and_unmap(FIXTURE_DATA(shared) *self, uint64_t seed, double end)
{
	while (pw_now() < end) {
		char *at = NULL;
		uint64_t len = 0;
		uint32_t id = self->id;

		switch (pw_random(&seed) % 4) {
		case 0:
			CHECK(pw_share(self->h.fd, &id, &len, &at) == 0);
			break;
		case 1:
			at = self->p + (3 + pw_random(&seed) % 6) * HUGE;
			CHECK(pw_unmap(self->h.fd, at, (1 + pw_random(&seed) % 3) * HUGE) == 0);
			break;
		case 2:
			at = self->p + (3 + pw_random(&seed) % 6) * HUGE;
			pw_unmap(self->h.fd, at, 5 * PAGE);
			pw_map(self->h.fd, PAGEWELL_MAP_FIXED, at, HUGE, 0, NULL);
			break;
		default:
			pw_advise(self->h.fd, PAGEWELL_ADVISE_WILLNEED, self->h.base, 9 * HUGE);
		}
	}
}

TEST_F(shared, race)
{
	double end = pw_now() + 2;
	pthread_t threads[2];
	pid_t pids[2];

	pw_cover(&self->h, self->h.base + 40 * HUGE);
	race.self = self;
	for (int i = 0; i < 2; i++) {
		pids[i] = pw_fork();
		if (!pids[i]) {
			pthread_t t;

			CHECK(pthread_create(&t, NULL, toucher, (void *)(i + 99L)) == 0);
			attach_and_unmap(self, i + 47, end);
			pw_set(&race.stop, 1);
			pthread_join(t, NULL);
			_exit(0);
		}
	}
	for (int i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, toucher, (void *)(i + 1L)));
	attach_and_unmap(self, 4711, end);
	pw_set(&race.stop, 1);
	for (int i = 0; i < 2; i++) {
		pthread_join(threads[i], NULL);
		EXPECT_EQ(0, pw_wait(pids[i]));
	}
	ASSERT_EQ(0, pw_unmap(self->h.fd, self->h.base, 1ULL << 40));
	EXPECT_EQ(0, pw_committed(self->h.fd));
	EXPECT_EQ(0, pw_resident(self->h.fd));
	EXPECT_EQ(0, used(self));
	EXPECT_EQ(0, pw_pool("promised_pages"));
}

/* A write to the zero page is on its way when a page of 2 MiB comes there. */
TEST_F(shared, zero_page_replaced)
{
	double end = pw_now() + 2;
	char *at = self->p + 3 * HUGE;
	pthread_t thread;

	pw_cover(&self->h, self->h.base + 9 * HUGE);
	race.self = self;
	race.at = at;
	ASSERT_EQ(0, pthread_create(&thread, NULL, writer, NULL));
	while (pw_now() < end) {
		uint64_t len = 0;
		uint32_t id = self->id;
		char *hint = self->p;

		ASSERT_EQ(0, pw_map(self->h.fd, PAGEWELL_MAP_FIXED, at, HUGE, 0, NULL));
		EXPECT_GE(1, *(volatile char *)at);
		ASSERT_EQ(0, pw_unmap(self->h.fd, at, HUGE));
		ASSERT_EQ(0, pw_share(self->h.fd, &id, &len, &hint));
		ASSERT_EQ(at, hint);
		ASSERT_EQ(0, pw_unmap(self->h.fd, at, 3 * HUGE));
	}
	pw_set(&race.stop, 1);
	pthread_join(thread, NULL);
	EXPECT_EQ(3 * HUGE, pw_resident(self->h.fd));
}

/* Killed wherever they are: everything comes back. */
TEST_F(shared, killed)
{
	int *ready = pw_shared();
	uint64_t rnd = 7;
	pid_t pids[4];

	pw_cover(&self->h, self->h.base + 40 * HUGE);
	race.self = self;
	for (int round = 0; round < 5; round++) {
		for (int i = 0; i < 4; i++) {
			pids[i] = pw_fork();
			if (!pids[i]) {
				pw_inc(ready);
				attach_and_unmap(self, round * 4 + i + 1, pw_now() + 60);
			}
		}
		pw_wait_for(ready, 4 * round + 4);
		for (int i = 0; i < 4; i++) {
			usleep(pw_random(&rnd) % 20000);
			ASSERT_EQ(0, kill(pids[i], SIGKILL));
		}
		for (int i = 0; i < 4; i++)
			EXPECT_EQ(128 + SIGKILL, pw_wait(pids[i]));
	}
	EXPECT_EQ(3 * SLOT, used(self));
	ASSERT_EQ(0, pw_unmap(self->h.fd, self->p, 3 * HUGE));
	EXPECT_EQ(0, used(self));
	EXPECT_EQ(0, pw_committed(self->h.fd));
}

PW_TEST_POOL_WHOLE

TEST_HARNESS_MAIN
