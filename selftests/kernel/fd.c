// SPDX-License-Identifier: GPL-2.0-only
/*
 * fd.c - descriptors come and go, heaps belong to processes
 */
#include "pw_test.h"

#include <sys/socket.h>
#include <sys/stat.h>

FIXTURE(fd) {
	struct pw h;
	char *p;
};

FIXTURE_SETUP(fd)
{
	pw_heap(&self->h, 16 * MIB);
	self->p = pw_map_pages(&self->h, 100);
	pw_fill(self->p, 100, 1);
}

FIXTURE_TEARDOWN(fd)
{
	close(self->h.fd);
}

TEST_F(fd, closed_and_found_again)
{
	struct pagewell_info before, after;
	char *p;

	ASSERT_EQ(0, pw_info(self->h.fd, &before));
	close_range(3, ~0U, 0);
	EXPECT_EQ(-1, pw_wrong(self->p, 100, 1));
	pw_fill(self->p, 100, 2);
	self->h.fd = pw_open();
	ASSERT_EQ(0, pw_info(self->h.fd, &after));
	EXPECT_EQ(before.heap_base, after.heap_base);
	EXPECT_EQ(before.heap_id, after.heap_id);
	EXPECT_EQ(before.committed, after.committed);
	p = pw_map_pages(&self->h, 5000);
	EXPECT_EQ(-1, pw_nonzero(p, 5000));
	EXPECT_EQ(0, pw_unmap(self->h.fd, self->p, 100 * PAGE));
	EXPECT_EQ(SIGSEGV, pw_try_read(self->p));
}

/* A child finds its own heap through a file that its parent never saw. */
TEST_F(fd, child_opens_anew)
{
	pid_t pid = pw_fork();

	if (!pid) {
		close(self->h.fd);
		self->h.fd = pw_open();
		CHECK(pw_wrong(self->p, 100, 1) == -1);
		pw_fill(self->p, 100, 2);
		CHECK(pw_unmap(self->h.fd, self->p + 50 * PAGE, 50 * PAGE) == 0);
		CHECK(pw_try_read(self->p + 50 * PAGE) == SIGSEGV);
		CHECK(pw_map_pages(&self->h, 50) == self->p + 50 * PAGE);
		CHECK(pw_nonzero(self->p + 50 * PAGE, 50) == -1);
		_exit(0);
	}
	ASSERT_EQ(0, pw_wait(pid));
	EXPECT_EQ(-1, pw_wrong(self->p, 100, 1));
}

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

/* Whoever is handed the descriptor gets a heap of its own with it, not ours. */
static void stranger(int sock)
{
	struct pagewell_info info;
	struct pw h;
	int fd = receive_fd(sock);
	char *at;

	CHECK(pw_info(fd, &info) == 0);
	CHECK(info.heap_base == 0 && info.heap_id == 0);
	CHECK(pw_map(fd, 0, NULL, PAGE, 0, &at) == -ENXIO);
	CHECK(pw_unmap(fd, PW_HINT, 100 * PAGE) == -ENXIO);
	CHECK(pw_advise(fd, PAGEWELL_ADVISE_DONTNEED, PW_HINT, PAGE) == -ENXIO);
	CHECK(pw_set_limit(fd, PAGE) == -ENXIO);
	/* At the same address, so that every mix-up shows. */
	pw_heap_at(&h, fd, 16 * MIB);
	CHECK(h.base == PW_HINT);
	at = pw_map_pages(&h, 100);
	CHECK(pw_nonzero(at, 100) == -1);
	pw_fill(at, 100, 7);
	CHECK(pw_set_limit(fd, 200 * PAGE) == 0);
	CHECK(pw_unmap(fd, at + 10 * PAGE, 20 * PAGE) == 0);
	CHECK(pw_advise(fd, PAGEWELL_ADVISE_DONTNEED, at + 50 * PAGE, 20 * PAGE) == 0);
	if (!pw_fork()) {
		pw_fill(at, 10, 8);
		_exit(0);
	}
	wait(NULL);
	CHECK(pw_wrong(at, 10, 7) == -1);
	CHECK(munmap(h.base, h.len) == 0);
	_exit(0);
}

TEST(handed_on)
{
	struct pagewell_info before, after;
	struct pw h;
	int sock[2];
	pid_t pid;
	char *p;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sock));
	pid = pw_fork();
	if (!pid)
		stranger(sock[1]);
	pw_heap(&h, 16 * MIB);
	p = pw_map_pages(&h, 100);
	pw_fill(p, 100, 1);
	ASSERT_EQ(0, pw_info(h.fd, &before));
	send_fd(sock[0], h.fd);
	EXPECT_EQ(0, pw_wait(pid));
	EXPECT_EQ(-1, pw_wrong(p, 100, 1));
	ASSERT_EQ(0, pw_info(h.fd, &after));
	EXPECT_EQ(before.heap_id, after.heap_id);
	EXPECT_EQ(before.committed, after.committed);
	EXPECT_EQ(before.resident, after.resident);
	EXPECT_EQ(NO_LIMIT, after.limit);
}

/* Opened by one, used by nobody else: an open file alone is no heap. */
TEST(open_files_cost_nothing)
{
	struct rlimit rlim = { 4096, 4096 };
	long used = pw_pool("used_pages");
	int fd;

	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &rlim));
	for (int i = 0; i < 3000; i++) {
		fd = open(PAGEWELL_DEVICE, O_RDWR);
		ASSERT_GE(fd, 0);
	}
	EXPECT_EQ(used, pw_pool("used_pages"));
	ASSERT_EQ(0, close_range(3, ~0U, 0));
}

static int open_as(uid_t uid)
{
	pid_t pid = pw_fork();

	if (!pid) {
		if (setresgid(uid, uid, uid) || setresuid(uid, uid, uid))
			_exit(255);
		_exit(open(PAGEWELL_DEVICE, O_RDWR) < 0 ? errno : 0);
	}
	return pw_wait(pid);
}

TEST(node_mode_decides)
{
	struct stat st;

	ASSERT_EQ(0, stat(PAGEWELL_DEVICE, &st));
	ASSERT_TRUE(S_ISCHR(st.st_mode));
	EXPECT_EQ((st.st_mode & 6) == 6 ? 0 : EACCES, open_as(65534));
	ASSERT_EQ(0, chmod(PAGEWELL_DEVICE, 0600));
	EXPECT_EQ(EACCES, open_as(65534));
	ASSERT_EQ(0, chmod(PAGEWELL_DEVICE, 0666));
	EXPECT_EQ(0, open_as(65534));
	ASSERT_EQ(0, chmod(PAGEWELL_DEVICE, st.st_mode & 07777));
}

TEST(unprivileged)
{
	struct pw h;

	ASSERT_EQ(0, setresuid(65534, 65534, 65534));
	pw_heap(&h, 16 * MIB);
	pw_fill(pw_map_pages(&h, 500), 500, 1);
	EXPECT_EQ(-1, pw_wrong(h.base, 500, 1));
	EXPECT_EQ(-EPERM, pw_set_limit(h.fd, NO_LIMIT) ?: -EPERM);
	EXPECT_EQ(0, pw_set_limit(h.fd, MIB));
	EXPECT_EQ(-EPERM, pw_set_limit(h.fd, 2 * MIB));
}

TEST_F(fd, chroot)
{
	ASSERT_EQ(0, chroot("/proc"));
	ASSERT_EQ(0, chdir("/"));
	EXPECT_EQ(-1, pw_nonzero(pw_map_pages(&self->h, 500), 500));
	EXPECT_EQ(-1, pw_wrong(self->p, 100, 1));
}

/* A heap whose mailbox is up and whose descriptor is closed. */
static struct pagewell_request *put_up_mailbox(struct pw *h)
{
	struct pagewell_request *req = calloc(1, sizeof(*req));
	struct pagewell_mailbox box = { .size = sizeof(box), .addr = (uintptr_t)req };

	pw_heap(h, 16 * MIB);
	CHECK(pw_ioctl(h->fd, PAGEWELL_IOC_MAILBOX, &box) == 0);
	close(h->fd);
	return req;
}

static int ring(struct pw *h, size_t length)
{
	return msync(h->base, length, MS_SYNC) ? -errno : 0;
}

static int call(struct pw *h, struct pagewell_request *req, unsigned int cmd, void *arg)
{
	req->cmd = cmd;
	req->arg = (uintptr_t)arg;
	return ring(h, PAGEWELL_CALL_LENGTH);
}

TEST(mailbox)
{
	struct pagewell_info info = { .size = sizeof(info) };
	struct pagewell_map map = { .size = sizeof(map), .length = 10 * PAGE };
	struct pagewell_unmap unmap = { .size = sizeof(unmap), .length = 10 * PAGE };
	struct pagewell_request *req;
	struct pw h;
	pid_t pid;

	req = put_up_mailbox(&h);
	ASSERT_EQ(0, call(&h, req, PAGEWELL_IOC_INFO, &info));
	ASSERT_EQ(0, req->cmd);
	ASSERT_EQ((uintptr_t)h.base, info.heap_base);
	ASSERT_EQ(0, call(&h, req, PAGEWELL_IOC_MAP, &map));
	pw_fill((char *)(uintptr_t)map.addr, 10, 3);

	/* The child's calls are for the child. */
	pid = pw_fork();
	if (!pid) {
		uint64_t parent = info.heap_id;

		CHECK(call(&h, req, PAGEWELL_IOC_INFO, &info) == 0);
		CHECK(info.heap_id && info.heap_id != parent);
		unmap.addr = map.addr;
		CHECK(call(&h, req, PAGEWELL_IOC_UNMAP, &unmap) == 0);
		_exit(0);
	}
	ASSERT_EQ(0, pw_wait(pid));
	EXPECT_EQ(-1, pw_wrong((char *)(uintptr_t)map.addr, 10, 3));

	/* Errors come through, and the request is used up all the same. */
	map.flags = ~0U;
	EXPECT_EQ(-EINVAL, call(&h, req, PAGEWELL_IOC_MAP, &map));
	EXPECT_EQ(0, req->cmd);
	EXPECT_EQ(-ENOTTY, call(&h, req, 4711, &map));
	EXPECT_EQ(-EFAULT, call(&h, req, PAGEWELL_IOC_MAP, NULL));
	req->pad = 1;
	EXPECT_EQ(-EINVAL, call(&h, req, PAGEWELL_IOC_INFO, &info));
}

TEST(mailbox_is_left_alone)
{
	struct pagewell_mailbox box = { .size = sizeof(box) };
	struct pagewell_info info = { .size = sizeof(info) };
	struct pagewell_request *req;
	struct pw h;

	/* Nothing in it, or a sync that means something else. */
	req = put_up_mailbox(&h);
	EXPECT_EQ(0, ring(&h, PAGEWELL_CALL_LENGTH));
	req->cmd = PAGEWELL_IOC_INFO;
	req->arg = (uintptr_t)&info;
	EXPECT_EQ(0, ring(&h, PAGE));
	EXPECT_EQ(0, ring(&h, h.len));
	EXPECT_EQ(0, info.abi);
	EXPECT_EQ(PAGEWELL_IOC_INFO, req->cmd);

	/* One that is not there. */
	h.fd = open(PAGEWELL_DEVICE, O_RDWR);
	box.addr = 0x1000;
	ASSERT_EQ(0, pw_ioctl(h.fd, PAGEWELL_IOC_MAILBOX, &box));
	EXPECT_EQ(-EFAULT, ring(&h, PAGEWELL_CALL_LENGTH));
	box.addr = ~7ULL;
	EXPECT_EQ(-EINVAL, pw_ioctl(h.fd, PAGEWELL_IOC_MAILBOX, &box));
	box.addr = (uintptr_t)req + 1;
	EXPECT_EQ(-EINVAL, pw_ioctl(h.fd, PAGEWELL_IOC_MAILBOX, &box));
	box.addr = 0;
	ASSERT_EQ(0, pw_ioctl(h.fd, PAGEWELL_IOC_MAILBOX, &box));
	EXPECT_EQ(0, ring(&h, PAGEWELL_CALL_LENGTH));
	EXPECT_EQ(PAGEWELL_IOC_INFO, req->cmd);

	/* A mapping that is split: what arrives is the sync of a page. */
	box.addr = (uintptr_t)req;
	ASSERT_EQ(0, pw_ioctl(h.fd, PAGEWELL_IOC_MAILBOX, &box));
	ASSERT_EQ(0, mprotect(h.base, PAGE, PROT_NONE));
	EXPECT_EQ(0, ring(&h, PAGEWELL_CALL_LENGTH));
	EXPECT_EQ(PAGEWELL_IOC_INFO, req->cmd);
	EXPECT_EQ(0, info.abi);
}

TEST(many_heaps)
{
	const int count = pw_scaled(200);
	int *ready = pw_shared(), *go = pw_shared();
	uint64_t *ids = mmap(NULL, count * sizeof(*ids), PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t *pid = calloc(count, sizeof(*pid));

	for (int i = 0; i < count; i++) {
		pid[i] = pw_fork();
		if (!pid[i]) {
			struct pagewell_info info;
			struct pw h;
			char *p;

			pw_heap(&h, 4 * MIB);
			p = pw_map_pages(&h, 20);
			pw_fill(p, 20, i);
			CHECK(pw_info(h.fd, &info) == 0);
			ids[i] = info.heap_id;
			pw_inc(ready);
			pw_wait_for(go, 1);
			CHECK(pw_wrong(p, 20, i) == -1);
			_exit(0);
		}
	}
	pw_wait_for(ready, count);
	EXPECT_GE(pw_pool("used_pages"), 20 * count);
	for (int i = 0; i < count; i++) {
		ASSERT_NE(0, ids[i]);
		for (int j = 0; j < i; j++)
			ASSERT_NE(ids[i], ids[j]);
	}
	pw_set(go, 1);
	for (int i = 0; i < count; i++)
		ASSERT_EQ(0, pw_wait(pid[i]));
}

TEST(ids_are_never_used_again)
{
	uint64_t last = 0;

	for (int i = 0; i < 50; i++) {
		struct pagewell_info info;
		struct pw h;

		pw_heap(&h, 2 * MIB);
		ASSERT_EQ(0, pw_info(h.fd, &info));
		ASSERT_GT(info.heap_id, last);
		last = info.heap_id;
		ASSERT_EQ(0, munmap(h.base, h.len));
		close(h.fd);
	}
}

PW_TEST_POOL_WHOLE

TEST_HARNESS_MAIN
