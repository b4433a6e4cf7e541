// SPDX-License-Identifier: GPL-2.0-only
/*
 * netlink.c - the generic netlink family: questions, changes, events, refusals
 */
#include <linux/capability.h>
#include <linux/netlink.h>
#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>
#include <netlink/netlink.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "pagewell_netlink.h"
#include "pw_test.h"

#define MANY	150

/* What an answer said; the pool's and the heaps' attributes have the same types. */
struct answer {
	int err;
	char why[128];
	bool done;
	unsigned int nr;
	uint8_t cmd;
	uint64_t value[32];
	char comm[32];
	uint32_t pids[2 * MANY];
	char counters[64][32];
	uint64_t counter_values[64];
	unsigned int nr_counters;
};

static void take_counter(struct nlattr *nest, struct answer *a)
{
	struct nlattr *tb[PAGEWELL_A_COUNTER_MAX + 1];

	CHECK(!nla_parse_nested(tb, PAGEWELL_A_COUNTER_MAX, nest, NULL));
	CHECK(tb[PAGEWELL_A_COUNTER_NAME] && tb[PAGEWELL_A_COUNTER_VALUE]);
	CHECK(a->nr_counters < 64);
	nla_strlcpy(a->counters[a->nr_counters], tb[PAGEWELL_A_COUNTER_NAME], 32);
	a->counter_values[a->nr_counters++] = nla_get_u64(tb[PAGEWELL_A_COUNTER_VALUE]);
}

static int on_message(struct nl_msg *msg, void *arg)
{
	struct nlmsghdr *nlh = nlmsg_hdr(msg);
	struct answer *a = arg;
	struct nlattr *attr;
	int rest;

	a->cmd = genlmsg_hdr(nlh)->cmd;
	memset(a->value, 0, sizeof(a->value));
	nlmsg_for_each_attr(attr, nlh, GENL_HDRLEN, rest) {
		bool heap = a->cmd == PAGEWELL_CMD_HEAP_GET || a->cmd == PAGEWELL_CMD_HEAP_LIMIT;
		int type = nla_type(attr);

		if (heap && type == PAGEWELL_A_HEAP_COMM)
			nla_strlcpy(a->comm, attr, sizeof(a->comm));
		else if (!heap && type == PAGEWELL_A_POOL_COUNTER)
			take_counter(attr, a);
		else if (nla_len(attr) == 8)
			a->value[type] = nla_get_u64(attr);
		else if (nla_len(attr) == 4)
			a->value[type] = nla_get_u32(attr);
	}
	if (a->nr < 2 * MANY)
		a->pids[a->nr] = a->value[PAGEWELL_A_HEAP_PID];
	a->nr++;
	return NL_OK;
}

static int on_error(struct sockaddr_nl *from, struct nlmsgerr *err, void *arg)
{
	struct nlmsghdr *nlh = (struct nlmsghdr *)((char *)err - NLMSG_HDRLEN);
	size_t skip = sizeof(*err);
	struct answer *a = arg;
	struct nlattr *attr = NULL;

	if (!(nlh->nlmsg_flags & NLM_F_CAPPED))
		skip += NLMSG_ALIGN(err->msg.nlmsg_len) - NLMSG_HDRLEN;
	if (nlh->nlmsg_flags & NLM_F_ACK_TLVS)
		attr = nlmsg_find_attr(nlh, skip, NLMSGERR_ATTR_MSG);
	if (attr)
		nla_strlcpy(a->why, attr, sizeof(a->why));
	a->err = err->error;
	a->done = true;
	return NL_STOP;
}

static int on_end(struct nl_msg *msg, void *arg)
{
	((struct answer *)arg)->done = true;
	return NL_STOP;
}

static void hear(struct nl_sock *sock, struct answer *a)
{
	nl_socket_modify_cb(sock, NL_CB_VALID, NL_CB_CUSTOM, on_message, a);
	nl_socket_modify_cb(sock, NL_CB_FINISH, NL_CB_CUSTOM, on_end, a);
	nl_socket_modify_cb(sock, NL_CB_ACK, NL_CB_CUSTOM, on_end, a);
	nl_socket_modify_err_cb(sock, NL_CB_CUSTOM, on_error, a);
}

static struct nl_sock *connected(int *family)
{
	struct nl_sock *sock = nl_socket_alloc();
	int on = 1;

	CHECK(sock && !genl_connect(sock));
	*family = genl_ctrl_resolve(sock, PAGEWELL_FAMILY_NAME);
	CHECK(*family > 0);
	CHECK(!setsockopt(nl_socket_get_fd(sock), SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof(on)));
	return sock;
}

FIXTURE(nl) {
	struct nl_sock *sock;
	int family;
	struct answer a;
};

FIXTURE_SETUP(nl)
{
	self->sock = connected(&self->family);
}

FIXTURE_TEARDOWN(nl)
{
	nl_socket_free(self->sock);
}

static struct nl_msg *request(int family, int flags, int cmd)
{
	struct nl_msg *msg = nlmsg_alloc();

	CHECK(msg && genlmsg_put(msg, NL_AUTO_PORT, NL_AUTO_SEQ, family, 0, flags, cmd,
				 PAGEWELL_FAMILY_VERSION));
	return msg;
}

static int ask(struct nl_sock *sock, struct nl_msg *msg, struct answer *a)
{
	memset(a, 0, sizeof(*a));
	hear(sock, a);
	CHECK(nl_send_auto(sock, msg) >= 0);
	nlmsg_free(msg);
	while (!a->done)
		if (nl_recvmsgs_default(sock) < 0)
			break;
	CHECK(a->done);
	return a->err;
}

static int pool_get(struct nl_sock *sock, int family, struct answer *a)
{
	return ask(sock, request(family, 0, PAGEWELL_CMD_POOL_GET), a);
}

static int pool_set(struct nl_sock *sock, int family, uint64_t max, struct answer *a)
{
	struct nl_msg *msg = request(family, 0, PAGEWELL_CMD_POOL_SET);

	nla_put_u64(msg, PAGEWELL_A_POOL_MAX_SIZE, max);
	return ask(sock, msg, a);
}

static int heap_get(struct nl_sock *sock, int family, uint32_t pid, struct answer *a)
{
	struct nl_msg *msg = request(family, 0, PAGEWELL_CMD_HEAP_GET);

	nla_put_u32(msg, PAGEWELL_A_HEAP_PID, pid);
	return ask(sock, msg, a);
}

static int heap_dump(struct nl_sock *sock, int family, struct answer *a)
{
	return ask(sock, request(family, NLM_F_DUMP, PAGEWELL_CMD_HEAP_GET), a);
}

/* Everything but this one: CAP_NET_ADMIN is not what it takes. */
static void drop_sys_admin(void)
{
	struct __user_cap_header_struct hdr = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	CHECK(!syscall(SYS_capget, &hdr, data));
	data[CAP_SYS_ADMIN >> 5].effective &= ~(1U << (CAP_SYS_ADMIN & 31));
	CHECK(!syscall(SYS_capset, &hdr, data));
}

/* Questions */

TEST_F(nl, pool_as_in_debugfs)
{
	ASSERT_EQ(0, pool_get(self->sock, self->family, &self->a));
	ASSERT_EQ(1, self->a.nr);
	EXPECT_EQ(pw_pool("floor_pages") * PAGE, self->a.value[PAGEWELL_A_POOL_FLOOR]);
	EXPECT_EQ(pw_pool("max_pages") * PAGE, self->a.value[PAGEWELL_A_POOL_MAX_SIZE]);
	EXPECT_EQ(pw_pool("held_pages") * PAGE, self->a.value[PAGEWELL_A_POOL_HELD]);
	EXPECT_EQ(pw_pool("free_pages") * PAGE, self->a.value[PAGEWELL_A_POOL_FREE]);
	EXPECT_EQ(pw_pool("avail_pages") * PAGE, self->a.value[PAGEWELL_A_POOL_AVAIL]);
	EXPECT_EQ(pw_pool("lost_pages") * PAGE, self->a.value[PAGEWELL_A_POOL_LOST]);
}

TEST_F(nl, counters_as_in_debugfs)
{
	uint64_t before[ARRAY_SIZE(self->a.counter_values)];
	unsigned int i, lines = 0;
	char line[128];
	FILE *f;

	/* Some count what the module does by itself: they may move in between. */
	ASSERT_EQ(0, pool_get(self->sock, self->family, &self->a));
	for (i = 0; i < self->a.nr_counters; i++)
		before[i] = pw_stat(self->a.counters[i]);
	ASSERT_EQ(0, pool_get(self->sock, self->family, &self->a));
	for (i = 0; i < self->a.nr_counters; i++) {
		EXPECT_LE(before[i], self->a.counter_values[i]) {
			TH_LOG("%s", self->a.counters[i]);
		}
		EXPECT_GE(pw_stat(self->a.counters[i]), self->a.counter_values[i]) {
			TH_LOG("%s", self->a.counters[i]);
		}
	}
	f = fopen(PW_DEBUGFS "faults", "re");
	ASSERT_NE(NULL, f);
	while (fgets(line, sizeof(line), f))
		lines++;
	fclose(f);
	/* One line, pages_per_fault, is made of two others. */
	EXPECT_EQ(lines - 1, self->a.nr_counters);
}

TEST_F(nl, own_heap)
{
	struct pagewell_info info;
	struct pw h;
	char *p;

	pw_heap(&h, HUGE);
	ASSERT_EQ(0, pw_set_limit(h.fd, 64 * MIB));
	p = pw_map_pages(&h, 100);
	pw_fill(p, 50, 1);
	ASSERT_EQ(0, pw_info(h.fd, &info));
	ASSERT_EQ(0, heap_get(self->sock, self->family, getpid(), &self->a));
	EXPECT_EQ(1, self->a.nr);
	EXPECT_EQ(getpid(), self->a.value[PAGEWELL_A_HEAP_PID]);
	EXPECT_EQ(info.heap_id, self->a.value[PAGEWELL_A_HEAP_ID]);
	EXPECT_EQ((uintptr_t)h.base, self->a.value[PAGEWELL_A_HEAP_BASE]);
	EXPECT_EQ(64 * MIB, self->a.value[PAGEWELL_A_HEAP_LIMIT]);
	EXPECT_EQ(100 * PAGE, self->a.value[PAGEWELL_A_HEAP_COMMITTED]);
	EXPECT_EQ(info.resident, self->a.value[PAGEWELL_A_HEAP_RESIDENT]);
	EXPECT_LE(50 * PAGE, self->a.value[PAGEWELL_A_HEAP_RESIDENT]);
	EXPECT_EQ(1, self->a.value[PAGEWELL_A_HEAP_REGIONS]);
	EXPECT_EQ(0, self->a.value[PAGEWELL_A_HEAP_BREAKS]);
	EXPECT_EQ(info.resident / PAGE, self->a.value[PAGEWELL_A_HEAP_FAULT_PAGES]);
	EXPECT_STREQ("netlink", self->a.comm);
}

TEST_F(nl, packed_pages_of_a_heap)
{
	struct pw h;
	char *p;

	if (!pw_can_pack())
		SKIP(return, "this kernel has no zsmalloc or no lz4");
	ASSERT_EQ(0, pw_set_param("idle_max_mb", 64));
	pw_heap(&h, 64 * MIB);
	ASSERT_EQ(0, pw_set_commit(h.fd, PAGEWELL_COMMIT_LAZY));
	p = pw_map_pages(&h, 100);
	pw_fill(p, 100, 1);
	EXPECT_EQ(0, pw_advise(h.fd, PAGEWELL_ADVISE_COLD, p, 60 * PAGE));
	EXPECT_EQ(0, heap_get(self->sock, self->family, getpid(), &self->a));
	EXPECT_EQ(60 * PAGE, self->a.value[PAGEWELL_A_HEAP_PACKED]);
	EXPECT_EQ(pw_resident(h.fd), self->a.value[PAGEWELL_A_HEAP_RESIDENT]);
	pw_set_param("idle_max_mb", 0);
	close(h.fd);
}

TEST_F(nl, no_limit_is_all_ones)
{
	struct pw h;

	pw_heap(&h, HUGE);
	ASSERT_EQ(0, heap_get(self->sock, self->family, getpid(), &self->a));
	EXPECT_EQ(NO_LIMIT, self->a.value[PAGEWELL_A_HEAP_LIMIT]);
}

TEST_F(nl, address_only_for_admins)
{
	struct pw h;

	pw_heap(&h, HUGE);
	drop_sys_admin();
	ASSERT_EQ(0, heap_get(self->sock, self->family, getpid(), &self->a));
	EXPECT_EQ(0, self->a.value[PAGEWELL_A_HEAP_BASE]);
	ASSERT_EQ(0, heap_dump(self->sock, self->family, &self->a));
	EXPECT_EQ(0, self->a.value[PAGEWELL_A_HEAP_BASE]);
}

/* More heaps than fit into one message. */
TEST_F(nl, dump_has_every_heap_once)
{
	pid_t child[MANY];
	int *ready = pw_shared();
	unsigned int i, j, found;
	struct pw h;

	for (i = 0; i < MANY; i++) {
		child[i] = pw_fork();
		if (!child[i]) {
			pw_heap(&h, HUGE);
			pw_inc(ready);
			for (;;)
				pause();
		}
	}
	pw_wait_for(ready, MANY);
	ASSERT_EQ(0, heap_dump(self->sock, self->family, &self->a));
	EXPECT_EQ(MANY, self->a.nr);
	for (i = 0; i < MANY; i++) {
		for (found = j = 0; j < self->a.nr && j < 2 * MANY; j++)
			found += self->a.pids[j] == child[i];
		EXPECT_EQ(1, found);
	}
	for (i = 0; i < MANY; i++) {
		kill(child[i], SIGKILL);
		pw_wait(child[i]);
	}
}

/* Refusals: each says why */

TEST_F(nl, heap_get_refuses)
{
	struct nl_msg *msg;

	EXPECT_EQ(-ESRCH, heap_get(self->sock, self->family, getpid(), &self->a));
	EXPECT_STRNE("", self->a.why);
	EXPECT_EQ(-ERANGE, heap_get(self->sock, self->family, 0, &self->a));
	EXPECT_STRNE("", self->a.why);

	EXPECT_EQ(-EINVAL, ask(self->sock, request(self->family, 0, PAGEWELL_CMD_HEAP_GET),
			       &self->a));
	EXPECT_STRNE("", self->a.why);

	msg = request(self->family, NLM_F_DUMP, PAGEWELL_CMD_HEAP_GET);
	nla_put_u32(msg, PAGEWELL_A_HEAP_PID, 1);
	/* Why is not said: Linux 6.1 does not hand on what the start of a dump says. */
	EXPECT_EQ(-EINVAL, ask(self->sock, msg, &self->a));
}

TEST_F(nl, attributes_are_checked)
{
	static const int cmds[] = { PAGEWELL_CMD_POOL_GET, PAGEWELL_CMD_POOL_SET,
				    PAGEWELL_CMD_HEAP_GET };
	struct nl_msg *msg;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(cmds); i++) {
		/* one there is not */
		msg = request(self->family, 0, cmds[i]);
		if (cmds[i] == PAGEWELL_CMD_HEAP_GET)
			nla_put_u32(msg, PAGEWELL_A_HEAP_PID, 1);
		if (cmds[i] == PAGEWELL_CMD_POOL_SET)
			nla_put_u64(msg, PAGEWELL_A_POOL_MAX_SIZE, 64 * MIB);
		nla_put_u64(msg, 99, 1);
		EXPECT_EQ(-EINVAL, ask(self->sock, msg, &self->a));
		EXPECT_STRNE("", self->a.why);
	}
	/* one that only answers have */
	msg = request(self->family, 0, PAGEWELL_CMD_POOL_SET);
	nla_put_u64(msg, PAGEWELL_A_POOL_FLOOR, 0);
	EXPECT_EQ(-EINVAL, ask(self->sock, msg, &self->a));
	/* the wrong size */
	msg = request(self->family, 0, PAGEWELL_CMD_POOL_SET);
	nla_put_u32(msg, PAGEWELL_A_POOL_MAX_SIZE, 1 << 30);
	EXPECT_EQ(-EINVAL, ask(self->sock, msg, &self->a));
	EXPECT_STRNE("", self->a.why);
	/* a command there is not */
	EXPECT_EQ(-EOPNOTSUPP, ask(self->sock, request(self->family, 0, 77), &self->a));
	/* events are not asked for */
	EXPECT_EQ(-EOPNOTSUPP, ask(self->sock, request(self->family, 0, PAGEWELL_CMD_POOL_LOW),
				   &self->a));
}

/* Limits of a user, who sees no other */

static uint64_t charged(FIXTURE_DATA(nl) *self)
{
	CHECK(ask(self->sock, request(self->family, NLM_F_DUMP, PAGEWELL_CMD_LIMIT_GET),
		  &self->a) == 0);
	CHECK(self->a.nr == 1 && self->a.value[PAGEWELL_A_LIMIT_UID] == getuid());
	return self->a.value[PAGEWELL_A_LIMIT_USED];
}

/* The last of a process's memory may go a moment after it was waited for. */
static uint64_t charged_soon(FIXTURE_DATA(nl) *self, uint64_t want)
{
	double end = pw_now() + 20;

	while (charged(self) != want && pw_now() < end)
		usleep(20000);
	return charged(self);
}

static struct nl_msg *limit_of(FIXTURE_DATA(nl) *self, uid_t uid, uint64_t max)
{
	struct nl_msg *msg = request(self->family, 0, PAGEWELL_CMD_LIMIT_SET);

	nla_put_u32(msg, PAGEWELL_A_LIMIT_UID, uid);
	nla_put_u64(msg, PAGEWELL_A_LIMIT_MAX_SIZE, max);
	return msg;
}

static int limit_self(FIXTURE_DATA(nl) *self, uint64_t max)
{
	return ask(self->sock, limit_of(self, getuid(), max), &self->a);
}

/* Who may become another user is not one yet, whatever the message says. */
TEST_F(nl, others_limits_are_not_ones_own)
{
	const uid_t uid = 100000 + getpid();
	struct ucred other = { .pid = getpid(), .uid = uid, .gid = getgid() };
	struct nl_msg *msg;

	drop_sys_admin();
	msg = limit_of(self, uid, MIB);
	nlmsg_set_creds(msg, &other);
	EXPECT_EQ(-EPERM, ask(self->sock, msg, &self->a));
	EXPECT_STRNE("", self->a.why);
	/* One may lower one's own, heap or no heap. */
	nl_socket_free(self->sock);
	ASSERT_EQ(0, setresuid(uid, uid, 0));
	self->sock = connected(&self->family);
	EXPECT_EQ(0, limit_self(self, MIB));
	EXPECT_EQ(-EPERM, limit_self(self, 2 * MIB));
	EXPECT_EQ(0, charged(self));
	EXPECT_EQ(MIB, self->a.value[PAGEWELL_A_LIMIT_MAX_SIZE]);
	ASSERT_EQ(0, setresuid(0, 0, 0));
	nl_socket_free(self->sock);
	self->sock = connected(&self->family);
	EXPECT_EQ(0, ask(self->sock, limit_of(self, uid, NO_LIMIT), &self->a));
}

#define SOME_UID	1000000

static void limit_many(FIXTURE_DATA(nl) *self, long from, long to, uint64_t max)
{
	for (; from < to; from++)
		CHECK(ask(self->sock, limit_of(self, SOME_UID + from, max), &self->a) == 0);
}

/* The best of a few: the machine may be busy with something else. */
static double dump_time(FIXTURE_DATA(nl) *self)
{
	double best = 1e9;

	for (int i = 0; i < 5; i++) {
		double t = pw_now();

		CHECK(ask(self->sock, request(self->family, NLM_F_DUMP, PAGEWELL_CMD_LIMIT_GET),
			  &self->a) == 0);
		t = pw_now() - t;
		best = t < best ? t : best;
	}
	return best;
}

static double heap_time(void)
{
	double best = 1e9;
	struct pw h;

	for (int i = 0; i < 300; i++) {
		double t = pw_now();

		pw_heap(&h, HUGE);
		CHECK(munmap(h.base, h.len) == 0 && close(h.fd) == 0);
		t = pw_now() - t;
		best = t < best ? t : best;
	}
	return best;
}

/* Users that have limits cost others no time. */
TEST_F_TIMEOUT(nl, many_limits, 900)
{
	const long nr = pw_scaled(30000);
	double heap = heap_time(), few;
	unsigned int others;

	dump_time(self);
	others = self->a.nr;
	limit_many(self, 0, nr / 8, MIB);
	few = dump_time(self);
	EXPECT_EQ(nr / 8 + others, self->a.nr);
	limit_many(self, nr / 8, nr, MIB);
	EXPECT_LT(dump_time(self), 24 * few);
	EXPECT_EQ(nr + others, self->a.nr);
	EXPECT_LT(heap_time(), 2 * heap);
	limit_many(self, 0, nr, NO_LIMIT);
	dump_time(self);
	EXPECT_EQ(others, self->a.nr);
}

#define TOP	"/sys/fs/cgroup"
#define GROUP	"pwpath"

/* @len: of the path, with what ends it. */
static int limit_cgroup(FIXTURE_DATA(nl) *self, const char *path, size_t len)
{
	struct nl_msg *msg = request(self->family, 0, PAGEWELL_CMD_LIMIT_SET);

	nla_put(msg, PAGEWELL_A_LIMIT_CGROUP, len, path);
	nla_put_u64(msg, PAGEWELL_A_LIMIT_MAX_SIZE, 1ULL << 40);
	return ask(self->sock, msg, &self->a);
}

/* A path that begins elsewhere might lead to a cgroup, no path to all of the machine. */
TEST_F(nl, a_cgroup_is_named_from_the_root)
{
	static const char *const bad[] = { "", GROUP, "./" GROUP, "../" GROUP, " /" GROUP };
	struct nl_msg *msg;

	if (access(TOP "/cgroup.procs", F_OK))
		mount("none", TOP, "cgroup2", 0, NULL);
	ASSERT_TRUE(mkdir(TOP "/" GROUP, 0755) == 0 || errno == EEXIST);
	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(-EINVAL, limit_cgroup(self, bad[i], strlen(bad[i]) + 1)) {
			TH_LOG("%s", bad[i]);
		}
		EXPECT_STRNE("", self->a.why);
	}
	EXPECT_EQ(-EINVAL, limit_cgroup(self, "/" GROUP, strlen("/" GROUP)));
	EXPECT_EQ(-ENOENT, limit_cgroup(self, "/" GROUP "x", sizeof("/" GROUP "x")));
	EXPECT_EQ(0, limit_cgroup(self, "/" GROUP, sizeof("/" GROUP)));
	/* Neither a user nor a cgroup, and both. */
	msg = request(self->family, 0, PAGEWELL_CMD_LIMIT_SET);
	nla_put_u64(msg, PAGEWELL_A_LIMIT_MAX_SIZE, 1ULL << 40);
	EXPECT_EQ(-EINVAL, ask(self->sock, msg, &self->a));
	msg = request(self->family, 0, PAGEWELL_CMD_LIMIT_SET);
	nla_put_u64(msg, PAGEWELL_A_LIMIT_MAX_SIZE, 1ULL << 40);
	nla_put_u32(msg, PAGEWELL_A_LIMIT_UID, 0);
	nla_put_string(msg, PAGEWELL_A_LIMIT_CGROUP, "/" GROUP);
	EXPECT_EQ(-EINVAL, ask(self->sock, msg, &self->a));
	/* The limit of a cgroup that is gone ends when the limits are looked at. */
	EXPECT_EQ(0, rmdir(TOP "/" GROUP));
	EXPECT_EQ(0, ask(self->sock, request(self->family, NLM_F_DUMP, PAGEWELL_CMD_LIMIT_GET),
			 &self->a));
	EXPECT_EQ(0, self->a.nr);
}

/* A user who has nothing yet, with a lazy heap. */
static void become_user(FIXTURE_DATA(nl) *self, struct pw *h)
{
	uid_t uid = 100000 + getpid();

	nl_socket_free(self->sock);
	CHECK(setresuid(uid, uid, uid) == 0);
	self->sock = connected(&self->family);
	pw_heap(h, 64 * MIB);
	CHECK(pw_set_commit(h->fd, PAGEWELL_COMMIT_LAZY) == 0);
}

/* What a lazy heap finds is charged, for as long as it has it. */
TEST_F(nl, found_pages_are_charged)
{
	uint64_t all;
	struct pw h;
	pid_t pid;
	char *p, *q;

	become_user(self, &h);
	p = pw_map_pages(&h, 3000);
	EXPECT_EQ(0, charged(self));
	pw_fill(p, 700, 1);
	for (long i = 1000; i < 3000; i += 37)
		p[i * PAGE] = 1;
	all = pw_resident(h.fd);
	EXPECT_GE(all, 700 * PAGE);
	EXPECT_EQ(all, charged(self));

	ASSERT_EQ(0, pw_advise(h.fd, PAGEWELL_ADVISE_DONTNEED, p + 100 * PAGE, 50 * PAGE));
	EXPECT_EQ(all - 50 * PAGE, charged(self));
	ASSERT_EQ(0, pw_remap(h.fd, PAGEWELL_REMAP_MAYMOVE, p, 3000 * PAGE, 6000 * PAGE, &p));
	EXPECT_EQ(all - 50 * PAGE, charged(self));
	ASSERT_EQ(0, pw_advise(h.fd, PAGEWELL_ADVISE_COLD, p, 90 * PAGE));
	EXPECT_EQ(all - 50 * PAGE, charged(self));
	EXPECT_EQ(-1, pw_wrong(p, 100, 1));

	ASSERT_EQ(0, pw_set_huge(h.fd, PAGEWELL_HUGE_ALWAYS));
	ASSERT_EQ(0, pw_map(h.fd, 0, NULL, 2 * HUGE, HUGE, &q));
	pw_cover(&h, q + 2 * HUGE);
	pw_fill(q, 1024, 2);
	EXPECT_EQ(all - 50 * PAGE + 2 * HUGE, charged(self));
	ASSERT_EQ(0, pw_unmap(h.fd, q + 100 * PAGE, 100 * PAGE));
	EXPECT_EQ(pw_resident(h.fd), charged(self));
	ASSERT_EQ(0, pw_unmap(h.fd, q, 2 * HUGE));
	EXPECT_EQ(all - 50 * PAGE, charged(self));

	/* A child pays for what it copies, not for what it has inherited. */
	pid = pw_fork();
	if (!pid) {
		pw_fill(p, 100, 5);
		CHECK(charged(self) == all + 50 * PAGE);
		CHECK(pw_unmap(h.fd, p, 200 * PAGE) == 0);
		CHECK(charged(self) == all - 50 * PAGE);
		exit(0);
	}
	EXPECT_EQ(0, pw_wait(pid));
	pw_fill(p, 100, 6);
	EXPECT_EQ(all - 50 * PAGE, charged_soon(self, all - 50 * PAGE));
	EXPECT_EQ(pw_resident(h.fd), charged(self));
	ASSERT_EQ(0, pw_unmap(h.fd, p, 6000 * PAGE));
	EXPECT_EQ(0, charged(self));
	close(h.fd);
}

static void bring_back(FIXTURE_DATA(nl) *self)
{
	uint64_t all;
	struct pw h;
	pid_t pid;
	char *p;

	become_user(self, &h);
	p = pw_map_pages(&h, 300);
	pw_fill(p, 300, 1);
	all = charged(self);
	CHECK(pw_advise(h.fd, PAGEWELL_ADVISE_COLD, p, 100 * PAGE) == 0);
	CHECK(pw_resident(h.fd) + 100 * PAGE == all);
	CHECK(charged(self) == all);
	pid = pw_fork();
	if (!pid) {
		CHECK(pw_wrong(p, 300, 1) == -1);
		CHECK(charged(self) == all + 100 * PAGE);
		_exit(0);
	}
	CHECK(pw_wait(pid) == 0);
	CHECK(charged_soon(self, all) == all);
	CHECK(pw_wrong(p, 300, 1) == -1);
	CHECK(charged(self) == all);
}

/* Packed pages that a child brings back are its own, those of its parent stay packed. */
TEST_F(nl, packed_pages_that_come_back_are_charged)
{
	pid_t pid;

	if (!pw_can_pack())
		SKIP(return, "this kernel has no zsmalloc or no lz4");
	ASSERT_EQ(0, pw_set_param("idle_max_mb", 64));
	pid = pw_fork();
	if (!pid) {
		bring_back(self);
		_exit(0);
	}
	EXPECT_EQ(0, pw_wait(pid));
	EXPECT_EQ(0, pw_set_param("idle_max_mb", 0));
}

/* Pages that somebody holds stay what they are: others get copies, and pay for them. */
static void hold(int fd, void *p, long pages)
{
	struct iovec iov = { p, pages * PAGE };

	CHECK(fcntl(fd, F_SETPIPE_SZ, pages * PAGE) >= pages * (long)PAGE);
	CHECK(vmsplice(fd, &iov, 1, 0) == pages * (long)PAGE);
}

TEST_F(nl, copies_at_fork_are_charged)
{
	struct iovec mine = { &(char){ 0 }, 1 }, theirs;
	int held[2], go[2];
	uint64_t all;
	struct pw h;
	pid_t pid;
	char *p;

	become_user(self, &h);
	p = pw_map_pages(&h, 200);
	pw_fill(p, 200, 1);
	all = charged(self);
	ASSERT_EQ(0, pipe(held));
	ASSERT_EQ(0, pipe(go));
	hold(held[1], p, 64);
	/* The kernel pins a page for this, and then fork looks for such. */
	theirs = (struct iovec){ p, 1 };
	ASSERT_EQ(1, process_vm_readv(getpid(), &mine, 1, &theirs, 1, 0));
	pid = pw_fork();
	if (!pid) {
		char c;

		_exit(read(go[0], &c, 1) != 1);
	}
	EXPECT_EQ(all + 64 * PAGE, charged(self));
	ASSERT_EQ(1, write(go[1], "", 1));
	EXPECT_EQ(0, pw_wait(pid));
	EXPECT_EQ(all, charged_soon(self, all));
	close(h.fd);
}

TEST_F(nl, copies_of_a_held_block_are_charged)
{
	uint64_t all;
	int held[2];
	struct pw h;
	pid_t pid;
	char *p;

	become_user(self, &h);
	ASSERT_EQ(0, pw_set_huge(h.fd, PAGEWELL_HUGE_ALWAYS));
	ASSERT_EQ(0, pw_map(h.fd, 0, NULL, HUGE, HUGE, &p));
	pw_cover(&h, p + HUGE);
	pw_fill(p, 512, 1);
	all = charged(self);
	ASSERT_EQ(HUGE, all);
	ASSERT_EQ(0, pipe(held));
	hold(held[1], p, 1);
	pid = pw_fork();
	if (!pid) {
		CHECK(pw_unmap(h.fd, p, 100 * PAGE) == 0);
		CHECK(charged(self) == all + 412 * PAGE);
		CHECK(pw_unmap(h.fd, p + 100 * PAGE, 412 * PAGE) == 0);
		CHECK(charged(self) == all);
		exit(0);
	}
	EXPECT_EQ(0, pw_wait(pid));
	EXPECT_EQ(-1, pw_wrong(p, 512, 1));
	EXPECT_EQ(all, charged(self));
	close(h.fd);
}

/*
 * The same where part of a block is on its way to another place. Its owner has
 * inherited it, and what is charged before is the block.
 */
TEST_F(nl, copies_in_a_move_are_charged)
{
	int *step = pw_shared(), held[2];
	struct pw h;
	pid_t pid;
	char *p, *q;

	become_user(self, &h);
	ASSERT_EQ(0, pw_set_huge(h.fd, PAGEWELL_HUGE_ALWAYS));
	ASSERT_EQ(0, pw_map(h.fd, 0, NULL, HUGE, HUGE, &p));
	pw_cover(&h, p + HUGE);
	pw_fill(p, 512, 1);
	ASSERT_EQ(0, pipe(held));
	hold(held[1], p, 1);
	pid = pw_fork();
	if (!pid) {
		pw_wait_for(step, 1);
		CHECK(charged(self) == HUGE);
		CHECK(pw_remap(h.fd, PAGEWELL_REMAP_MAYMOVE, p, 100 * PAGE, 200 * PAGE, &q) == 0);
		CHECK(q != p);
		CHECK(charged(self) == HUGE);
		CHECK(pw_wrong(q, 100, 1) == -1);
		CHECK(pw_unmap(h.fd, q, 200 * PAGE) == 0);
		CHECK(charged(self) == 412 * PAGE);
		exit(0);
	}
	ASSERT_EQ(0, pw_unmap(h.fd, p, HUGE));
	pw_set(step, 1);
	EXPECT_EQ(0, pw_wait(pid));
	EXPECT_EQ(0, charged(self));
	close(h.fd);
}

/*
 * Part of a held block stays in its place when its region goes, and is charged for that.
 * A region that comes there has a promise beside, and takes it to where it goes.
 */
TEST_F(nl, a_part_that_was_left_is_charged_where_it_goes)
{
	const uint32_t flags = PAGEWELL_REMAP_MAYMOVE | PAGEWELL_REMAP_FIXED;
	int held[2];
	struct pw h;
	char *p, *q;

	become_user(self, &h);
	ASSERT_EQ(0, pw_set_commit(h.fd, PAGEWELL_COMMIT_STRICT));
	ASSERT_EQ(0, pw_set_huge(h.fd, PAGEWELL_HUGE_ALWAYS));
	ASSERT_EQ(0, pw_map(h.fd, 0, NULL, HUGE, HUGE, &p));
	pw_cover(&h, p + 2 * HUGE);
	q = p + HUGE;
	pw_fill(p, 512, 1);
	ASSERT_EQ(0, pipe(held));
	hold(held[1], p + HUGE / 2, 1);
	ASSERT_EQ(0, pw_unmap(h.fd, p, 100 * PAGE));
	EXPECT_EQ(HUGE, charged(self));
	ASSERT_EQ(0, pw_map(h.fd, PAGEWELL_MAP_FIXED, p, 100 * PAGE, 0, NULL));
	EXPECT_EQ(HUGE + 100 * PAGE, charged(self));
	ASSERT_EQ(0, pw_remap_to(h.fd, flags, p, HUGE, HUGE, q));
	EXPECT_EQ(HUGE + 100 * PAGE, charged(self));
	EXPECT_EQ(-1, pw_nonzero(q, 100));
	ASSERT_EQ(0, pw_unmap(h.fd, q, HUGE));
	EXPECT_EQ(0, charged(self));
	close(h.fd);
}

/*
 * Part of a held block stays in its place, and is charged: but not where the block is,
 * with that part, since its payer has let go of it.
 */
TEST_F(nl, a_part_that_was_left_is_charged_once)
{
	int *step = pw_shared(), held[2];
	struct pw h;
	pid_t pid;
	char *p;

	become_user(self, &h);
	ASSERT_EQ(0, pw_set_commit(h.fd, PAGEWELL_COMMIT_STRICT));
	ASSERT_EQ(0, pw_set_huge(h.fd, PAGEWELL_HUGE_ALWAYS));
	ASSERT_EQ(0, pw_map(h.fd, 0, NULL, HUGE, HUGE, &p));
	pw_cover(&h, p + HUGE);
	pw_fill(p, 512, 1);
	pid = pw_fork();
	if (!pid) {
		pw_wait_for(step, 1);
		CHECK(charged(self) == HUGE);
		/* Nobody else has it: it stays a block. */
		p[HUGE / 2] = 1;
		CHECK(charged(self) == HUGE);
		CHECK(pipe(held) == 0);
		hold(held[1], p + HUGE / 2, 1);
		CHECK(pw_unmap(h.fd, p, 100 * PAGE) == 0);
		CHECK(charged(self) == HUGE);
		CHECK(pw_unmap(h.fd, p, HUGE) == 0);
		CHECK(charged(self) == 0);
		_exit(0);
	}
	ASSERT_EQ(0, munmap(h.base, h.len));
	pw_set(step, 1);
	EXPECT_EQ(0, pw_wait(pid));
	close(h.fd);
}

/* A relative with so many VMAs that it takes long to unmap a block from all of the family. */
static pid_t slow_relative(char *p)
{
	int *ready = pw_shared();
	pid_t pid = pw_fork();

	if (pid) {
		pw_wait_for(ready, 1);
		return pid;
	}
	for (long i = 0; i < 512; i += 2)
		CHECK(mprotect(p + i * PAGE, PAGE, PROT_READ) == 0);
	pw_set(ready, 1);
	for (;;)
		pause();
}

/*
 * A child makes copies of a held block while its parent, some time later, gives up a
 * part of it. Return: how long the child takes, in microseconds.
 */
static long part_after(FIXTURE_DATA(nl) *self, struct pw *h, char *p, long us)
{
	int *step = pw_shared(), *took = step + 1, held[2];
	double began;
	pid_t pid;

	CHECK(pw_map(h->fd, PAGEWELL_MAP_FIXED, p, HUGE, 0, NULL) == 0);
	pw_fill(p, 512, 1);
	CHECK(pipe(held) == 0);
	pid = pw_fork();
	if (!pid) {
		close(held[0]);
		close(held[1]);
		pw_wait_for(step, 1);
		began = pw_now();
		p[0] = 1;
		*took = (pw_now() - began) * 1e6;
		pw_fill(p, 512, 2);
		pw_set(step, 2);
		pw_wait_for(step, 3);
		_exit(0);
	}
	hold(held[1], p, 1);
	pw_set(step, 1);
	for (began = pw_now() + us / 1e6; pw_now() < began;)
		;
	close(held[0]);
	close(held[1]);
	CHECK(pw_unmap(h->fd, p, 100 * PAGE) == 0);
	pw_wait_for(step, 2);
	CHECK(charged(self) == (412 + 512) * PAGE);
	us = *took;
	pw_set(step, 3);
	CHECK(pw_wait(pid) == 0);
	CHECK(pw_unmap(h->fd, p, HUGE) == 0);
	CHECK(charged_soon(self, 0) == 0);
	munmap(step, PAGE);
	return us;
}

/* Whenever the child lets go of the block, the rest is charged once. */
TEST_F(nl, the_rest_of_a_block_is_charged_once)
{
	pid_t slow[4];
	struct pw h;
	long us;
	char *p;

	become_user(self, &h);
	ASSERT_EQ(0, pw_set_commit(h.fd, PAGEWELL_COMMIT_STRICT));
	ASSERT_EQ(0, pw_set_huge(h.fd, PAGEWELL_HUGE_ALWAYS));
	ASSERT_EQ(0, pw_map(h.fd, 0, NULL, HUGE, HUGE, &p));
	ASSERT_EQ(0, pw_unmap(h.fd, p, HUGE));
	pw_cover(&h, p + HUGE);
	for (int i = 0; i < 4; i++)
		slow[i] = slow_relative(p);
	/* The first time it is done by then. */
	us = part_after(self, &h, p, 200000);
	for (int i = 0; i < 20; i++)
		part_after(self, &h, p, us * i / 20);
	for (int i = 0; i < 4; i++)
		pw_hog_stop(slow[i]);
	close(h.fd);
}

/* What children keep of pages that their parent let go of is charged, whoever they are. */
static void children_keep(struct __test_metadata *_metadata, FIXTURE_DATA(nl) *self,
			  uint32_t commit, uint32_t huge)
{
	int *step = pw_shared();
	pid_t child[3];
	struct pw h;
	char *p, *q;
	int i;

	become_user(self, &h);
	ASSERT_EQ(0, pw_set_commit(h.fd, commit));
	ASSERT_EQ(0, pw_set_huge(h.fd, huge));
	ASSERT_EQ(0, pw_map(h.fd, 0, NULL, 2 * HUGE, HUGE, &p));
	q = pw_map_pages(&h, 1);
	q[0] = 1;
	ASSERT_EQ(0, pw_unmap(h.fd, q, PAGE));
	pw_cover(&h, p + 2 * HUGE);
	pw_fill(p, 1024, 1);
	ASSERT_EQ(2 * HUGE, charged(self));
	ASSERT_EQ(0, limit_self(self, 3 * HUGE));
	for (i = 0; i < 3; i++) {
		child[i] = pw_fork();
		if (!child[i]) {
			pw_wait_for(step, 1);
			exit(pw_wrong(p, 1024, 1 + i) != -1);
		}
		/* The last one's are not copied, they are unmapped. */
		if (i < 2)
			pw_fill(p, 1024, 2 + i);
		else
			EXPECT_EQ(0, pw_unmap(h.fd, p, 2 * HUGE));
		EXPECT_EQ((i < 2 ? i + 2 : 3) * 2 * HUGE, charged(self));
		if (commit == PAGEWELL_COMMIT_STRICT) {
			EXPECT_EQ(-ENOMEM, pw_map(h.fd, 0, NULL, PAGE, 0, &q));
		} else {
			q = pw_map_pages(&h, 1);
			EXPECT_EQ(SIGBUS, pw_try_write(q, 1));
		}
	}
	pw_set(step, 1);
	for (i = 0; i < 3; i++)
		EXPECT_EQ(0, pw_wait(child[i]));
	EXPECT_EQ(0, charged_soon(self, 0));
	close(h.fd);
}

TEST_F(nl, what_a_child_keeps_is_charged)
{
	children_keep(_metadata, self, PAGEWELL_COMMIT_STRICT, PAGEWELL_HUGE_NEVER);
}

TEST_F(nl, blocks_that_a_child_keeps_are_charged)
{
	children_keep(_metadata, self, PAGEWELL_COMMIT_STRICT, PAGEWELL_HUGE_ALWAYS);
}

TEST_F(nl, what_a_child_keeps_of_a_lazy_heap_is_charged)
{
	children_keep(_metadata, self, PAGEWELL_COMMIT_LAZY, PAGEWELL_HUGE_NEVER);
}

TEST_F(nl, blocks_that_a_child_keeps_of_a_lazy_heap_are_charged)
{
	children_keep(_metadata, self, PAGEWELL_COMMIT_LAZY, PAGEWELL_HUGE_ALWAYS);
}

/* A process hands its heap on, by fork, and ends. Return: 0 in who has it now. */
static pid_t hand_on(struct pw *h, char **p, uint32_t huge)
{
	pid_t first;

	CHECK(pw_set_commit(h->fd, PAGEWELL_COMMIT_STRICT) == 0);
	CHECK(pw_set_huge(h->fd, huge) == 0);
	CHECK(pw_map(h->fd, 0, NULL, 2 * HUGE, HUGE, p) == 0);
	CHECK(pw_unmap(h->fd, *p, 2 * HUGE) == 0);
	pw_cover(h, *p + 2 * HUGE);
	first = pw_fork();
	if (first) {
		CHECK(pw_wait(first) == 0);
		return first;
	}
	CHECK(pw_map(h->fd, PAGEWELL_MAP_FIXED, *p, 2 * HUGE, 0, NULL) == 0);
	memset(*p, 7, 2 * HUGE);
	if (fork())
		_exit(0);
	alarm(120);
	while (getppid() == first)
		usleep(1000);
	return 0;
}

static void heir(struct __test_metadata *_metadata, FIXTURE_DATA(nl) *self, uint32_t huge)
{
	int *step = pw_shared();
	struct pw h;
	char *p;
	int i;

	become_user(self, &h);
	if (!hand_on(&h, &p, huge)) {
		for (i = 0; i < 5; i++) {
			pw_wait_for(step, 2 * i + 1);
			switch (i) {
			case 0: /* nobody else has it, so there are no copies */
				memset(p, 8, 2 * HUGE);
				break;
			case 1:
				CHECK(pw_set_huge(h.fd, PAGEWELL_HUGE_ALWAYS) == 0);
				CHECK(pw_advise(h.fd, PAGEWELL_ADVISE_COLLAPSE, p, HUGE) == 0);
				break;
			case 2:
				CHECK(pw_advise(h.fd, PAGEWELL_ADVISE_COLD, p + HUGE, HUGE) == 0);
				break;
			case 3:
				CHECK(pw_unmap(h.fd, p + HUGE / 2, HUGE) == 0);
				break;
			}
			pw_set(step, 2 * i + 2);
		}
		_exit(0);
	}
	EXPECT_EQ(2 * HUGE, charged_soon(self, 2 * HUGE));
	for (i = 0; i < 5; i++) {
		pw_set(step, 2 * i + 1);
		pw_wait_for(step, 2 * i + 2);
		if (i < 4)
			EXPECT_EQ((i < 3 ? 2 : 1) * HUGE, charged(self));
	}
	EXPECT_EQ(0, charged_soon(self, 0));
	close(h.fd);
}

/* So does what is left of a process that has ended. */
TEST_F(nl, what_an_heir_has_is_charged)
{
	heir(_metadata, self, PAGEWELL_HUGE_NEVER);
}

TEST_F(nl, blocks_that_an_heir_has_are_charged)
{
	heir(_metadata, self, PAGEWELL_HUGE_ALWAYS);
}

/* The same of a region that is shared on purpose: its maker is charged for it. */
static void share_and_leave(struct __test_metadata *_metadata, FIXTURE_DATA(nl) *self,
			    uint32_t huge)
{
	int *step = pw_shared();
	uint64_t len = 2 * HUGE;
	char *p = NULL;
	uint32_t id = 0;
	struct pw h;
	pid_t pid;

	become_user(self, &h);
	ASSERT_EQ(0, pw_set_commit(h.fd, PAGEWELL_COMMIT_STRICT));
	ASSERT_EQ(0, pw_set_huge(h.fd, huge));
	ASSERT_EQ(0, pw_share(h.fd, &id, &len, &p));
	pw_cover(&h, p + len);
	ASSERT_EQ(2 * HUGE, charged(self));
	pid = pw_fork();
	if (!pid) {
		pw_wait_for(step, 1);
		pw_fill(p, 1024, 1);
		CHECK(pw_unmap(h.fd, p, HUGE) == 0);
		pw_set(step, 2);
		pw_wait_for(step, 3);
		_exit(0);
	}
	ASSERT_EQ(0, pw_unmap(h.fd, p, 2 * HUGE));
	EXPECT_EQ(2 * HUGE, charged(self));
	pw_set(step, 1);
	pw_wait_for(step, 2);
	EXPECT_EQ(HUGE, charged(self));
	pw_set(step, 3);
	EXPECT_EQ(0, pw_wait(pid));
	EXPECT_EQ(0, charged_soon(self, 0));
	close(h.fd);
}

TEST_F(nl, what_is_shared_is_charged)
{
	share_and_leave(_metadata, self, PAGEWELL_HUGE_NEVER);
}

TEST_F(nl, shared_blocks_are_charged)
{
	share_and_leave(_metadata, self, PAGEWELL_HUGE_ALWAYS);
}

/* So it is when the maker ends; who has it by its number pays for nothing. */
TEST_F(nl, what_is_shared_is_charged_when_its_maker_ends)
{
	int *step = pw_shared();
	uint64_t len = HUGE, none = 0;
	char *p = NULL;
	uint32_t id = 0;
	struct pw h;
	pid_t pid;

	become_user(self, &h);
	pid = pw_fork();
	if (!pid) {
		CHECK(pw_set_commit(h.fd, PAGEWELL_COMMIT_STRICT) == 0);
		CHECK(pw_share(h.fd, &id, &len, &p) == 0);
		pw_set(step + 1, id);
		pw_set(step, 1);
		pw_wait_for(step, 2);
		_exit(0);
	}
	pw_wait_for(step, 1);
	EXPECT_EQ(HUGE, charged(self));
	id = pw_get(step + 1);
	ASSERT_EQ(0, pw_share(h.fd, &id, &none, &p));
	EXPECT_EQ(HUGE, charged(self));
	pw_set(step, 2);
	EXPECT_EQ(0, pw_wait(pid));
	EXPECT_EQ(HUGE, charged_soon(self, HUGE));
	ASSERT_EQ(0, pw_unmap(h.fd, p, HUGE));
	EXPECT_EQ(0, charged_soon(self, 0));
	close(h.fd);
}

TEST_F(nl, a_users_limit_holds_a_lazy_heap)
{
	uint64_t max;
	struct pw h;
	pid_t pid;
	long n;
	char *p;

	become_user(self, &h);
	p = pw_map_pages(&h, 3000);
	pw_fill(p, 700, 1);
	max = charged(self) + 100 * PAGE;
	ASSERT_EQ(0, limit_self(self, max));
	for (n = 0; n < 3000 && !pw_try_write(p + n * PAGE, 1); n++)
		;
	EXPECT_LT(n, 3000);
	EXPECT_EQ(max, charged(self));
	EXPECT_EQ(max, pw_resident(h.fd));
	EXPECT_GT(self->a.value[PAGEWELL_A_LIMIT_REFUSED], 0);
	ASSERT_EQ(0, pw_unmap(h.fd, p, PAGE));
	EXPECT_EQ(0, pw_try_write(p + n * PAGE, 1));
	EXPECT_EQ(SIGBUS, pw_try_write(p + 2999 * PAGE, 1));
	/* Another heap of the same user is refused, too. */
	pid = pw_fork();
	if (!pid) {
		CHECK(munmap(h.base, h.len) == 0);
		pw_heap(&h, HUGE);
		CHECK(pw_map(h.fd, 0, NULL, PAGE, 0, &p) == -ENOMEM);
		exit(0);
	}
	EXPECT_EQ(0, pw_wait(pid));
	EXPECT_EQ(-EPERM, limit_self(self, NO_LIMIT));
	close(h.fd);
}

/* The ceiling */

FIXTURE(ceiling) {
	struct nl_sock *sock;
	int family;
	struct answer a;
	uint64_t floor, max;
};

FIXTURE_SETUP(ceiling)
{
	self->sock = connected(&self->family);
	self->floor = pw_pool("floor_pages") * PAGE;
	self->max = pw_pool("max_pages") * PAGE;
}

FIXTURE_TEARDOWN(ceiling)
{
	EXPECT_EQ(0, pool_set(self->sock, self->family, self->max, &self->a));
	EXPECT_EQ(self->max, pw_pool("max_pages") * PAGE);
	nl_socket_free(self->sock);
}

TEST_F(ceiling, is_set)
{
	ASSERT_EQ(0, pool_set(self->sock, self->family, self->floor + 10 * MIB, &self->a));
	EXPECT_EQ(self->floor + 10 * MIB, pw_pool("max_pages") * PAGE);
	ASSERT_EQ(0, pool_get(self->sock, self->family, &self->a));
	EXPECT_EQ(self->floor + 10 * MIB, self->a.value[PAGEWELL_A_POOL_MAX_SIZE]);
}

TEST_F(ceiling, holds)
{
	struct pw h;
	char *at;

	ASSERT_EQ(0, pool_set(self->sock, self->family, self->floor, &self->a));
	pw_heap(&h, HUGE);
	EXPECT_EQ(-ENOMEM, pw_map(h.fd, 0, NULL, self->floor + PAGE, 0, &at));
	EXPECT_EQ(0, pw_map(h.fd, 0, NULL, self->floor / 2, 0, &at));
}

/* What the pool holds above its ceiling is promised to nobody, all requests together. */
TEST_F(ceiling, holds_for_many)
{
	const uint64_t part = self->floor / 4 * 3;
	struct pw h;
	char *at;

	pw_heap(&h, HUGE);
	ASSERT_EQ(0, pw_map(h.fd, 0, NULL, 3 * self->floor, 0, &at));
	ASSERT_EQ(0, pool_set(self->sock, self->family, self->floor, &self->a));
	EXPECT_EQ(3 * self->floor, pw_pool("held_pages") * PAGE);
	EXPECT_EQ(3 * self->floor, pw_pool("promised_pages") * PAGE);
	EXPECT_EQ(0, pw_pool("debt_pages"));
	EXPECT_EQ(-ENOMEM, pw_map(h.fd, 0, NULL, PAGE, 0, NULL));
	ASSERT_EQ(0, pw_unmap(h.fd, at, 3 * self->floor));
	EXPECT_EQ(0, pw_map(h.fd, 0, NULL, part, 0, &at));
	EXPECT_EQ(-ENOMEM, pw_map(h.fd, 0, NULL, part, 0, NULL));
	/* To the last page, and back where the ceiling is. */
	EXPECT_EQ(-ENOMEM, pw_map(h.fd, 0, NULL, self->floor - part + PAGE, 0, NULL));
	EXPECT_EQ(0, pw_map(h.fd, 0, NULL, self->floor - part, 0, NULL));
	EXPECT_EQ(-ENOMEM, pw_map(h.fd, 0, NULL, PAGE, 0, NULL));
	ASSERT_EQ(0, pw_unmap(h.fd, at, part));
	ASSERT_EQ(0, pool_set(self->sock, self->family, self->max, &self->a));
	EXPECT_EQ(0, pw_map(h.fd, 0, NULL, 2 * self->floor, 0, NULL));
	close(h.fd);
}

/* While more than that is in use nobody gets what is free of a block in use. */
TEST_F(ceiling, holds_in_blocks_that_are_in_use)
{
	const long extra = 100 * PAGE, used = self->floor / 2 * 3 + extra;
	struct pw h;
	char *at;

	pw_heap(&h, HUGE);
	at = pw_map_pages(&h, used / PAGE);
	ASSERT_EQ(0, pw_advise(h.fd, PAGEWELL_ADVISE_POPULATE, at, used));
	ASSERT_EQ(0, pool_set(self->sock, self->family, self->floor, &self->a));
	EXPECT_EQ(-ENOMEM, pw_map(h.fd, 0, NULL, MIB, 0, NULL));
	EXPECT_EQ(-ENOMEM, pw_map(h.fd, 0, NULL, PAGE, 0, NULL));
	ASSERT_EQ(0, pw_unmap(h.fd, at + self->floor - 2 * PAGE, used - self->floor + 2 * PAGE));
	EXPECT_EQ(-ENOMEM, pw_map(h.fd, 0, NULL, MIB, 0, NULL));
	ASSERT_EQ(0, pw_unmap(h.fd, at, MIB));
	EXPECT_EQ(0, pw_map(h.fd, 0, NULL, MIB, 0, &at));
	EXPECT_EQ(0, pw_advise(h.fd, PAGEWELL_ADVISE_POPULATE, at, MIB));
	close(h.fd);
}

/* What is given up in small pieces is not promised again while too much is. */
TEST_F(ceiling, holds_for_small_pieces)
{
	const long piece = 16, over = 32 * piece + 1;
	long nr = self->floor / PAGE + over;
	struct pw h;
	char *p;

	pw_heap(&h, HUGE);
	ASSERT_EQ(0, pw_set_huge(h.fd, PAGEWELL_HUGE_NEVER));
	p = pw_map_pages(&h, nr);
	ASSERT_EQ(0, pool_set(self->sock, self->family, self->floor, &self->a));
	EXPECT_EQ(-ENOMEM, pw_map(h.fd, 0, NULL, PAGE, 0, NULL));
	for (long i = 0; i < over / piece; i++) {
		long at_hand = 0;

		nr -= piece;
		ASSERT_EQ(0, pw_unmap(h.fd, p + nr * PAGE, piece * PAGE));
		EXPECT_EQ(-ENOMEM, pw_map(h.fd, 0, NULL, piece * PAGE, 0, NULL));
		/* Pages are at hand for who has promises all the same, but after a decay. */
		for (int tries = 0; !at_hand && tries < 5; tries++) {
			pw_fill(p, piece, 1);
			ASSERT_EQ(0, pw_advise(h.fd, PAGEWELL_ADVISE_DONTNEED, p, piece * PAGE));
			at_hand = pw_pool("pcp_pages");
		}
		EXPECT_LT(0, at_hand);
	}
	nr -= 2 * piece;
	ASSERT_EQ(0, pw_unmap(h.fd, p + nr * PAGE, 2 * piece * PAGE));
	EXPECT_EQ(0, pw_map(h.fd, 0, NULL, piece * PAGE, 0, NULL));
	close(h.fd);
}

/*
 * Of @loose pages that may be taken no more go than are needed for 100 to be promised
 * where @avail could be, or were so many too many.
 */
static void take_some_loose(struct __test_metadata *_metadata, FIXTURE_DATA(ceiling) *self,
			    long loose, long avail)
{
	int *step = pw_shared();
	long taken, lack = 100 - avail;
	struct pw h;
	pid_t pid;
	char *p;

	pw_heap(&h, 16 * MIB);
	ASSERT_EQ(0, pw_set_commit(h.fd, PAGEWELL_COMMIT_LAZY));
	ASSERT_EQ(0, pw_set_huge(h.fd, PAGEWELL_HUGE_NEVER));
	p = pw_map_pages(&h, loose);
	pw_fill(p, loose, 1);
	pid = pw_fork();
	if (!pid) {
		CHECK(munmap(h.base, h.len) == 0);
		pw_heap(&h, HUGE);
		CHECK(pw_map(h.fd, 0, NULL, self->floor - (loose + avail) * PAGE, 0, NULL) == 0);
		pw_set(step, 1);
		pw_wait_for(step, 2);
		CHECK(pw_map(h.fd, 0, NULL, 100 * PAGE, 0, NULL) == 0);
		exit(0);
	}
	pw_wait_for(step, 1);
	ASSERT_EQ(0, pool_set(self->sock, self->family, self->floor, &self->a));
	ASSERT_EQ(0, pw_advise(h.fd, PAGEWELL_ADVISE_FREE, p, loose * PAGE));
	taken = pw_stat("loose_taken");
	pw_set(step, 2);
	EXPECT_EQ(0, pw_wait(pid));
	EXPECT_EQ(lack, pw_stat("loose_taken") - taken);
	EXPECT_EQ((loose - lack) * (long)PAGE, (long)pw_resident(h.fd));
	close(h.fd);
}

TEST_F(ceiling, what_is_there_is_not_taken_from_others)
{
	take_some_loose(_metadata, self, 1000, 50);
}

TEST_F(ceiling, what_is_too_much_is_taken_from_others)
{
	take_some_loose(_metadata, self, 500, -200);
}

/* Where its pages lie: one that others have, too, one that is packed, none, loose ones. */
#define AT_COPY		0
#define AT_PACKED	(HUGE / PAGE)
#define AT_NONE		(2 * HUGE / PAGE)
#define AT_LOOSE	(3 * HUGE / PAGE)

/* A touch that needs a page has it, however many pages too many are in use by then. */
static void touch_with_loose(struct __test_metadata *_metadata, FIXTURE_DATA(ceiling) *self,
			     long at)
{
	const long loose = 500, over = 200;
	int *step = pw_shared();
	long taken, used;
	pid_t pid[2];
	struct pw h;
	char *p;

	pw_heap(&h, 16 * MIB);
	ASSERT_EQ(0, pw_set_commit(h.fd, PAGEWELL_COMMIT_LAZY));
	ASSERT_EQ(0, pw_set_huge(h.fd, PAGEWELL_HUGE_NEVER));
	ASSERT_EQ(0, pw_map(h.fd, 0, NULL, 4 * HUGE, HUGE, &p));
	pw_cover(&h, p + 4 * HUGE);
	pw_fill(p + AT_COPY * PAGE, 1, 1);
	pw_fill(p + AT_PACKED * PAGE, 1, 2);
	pw_fill(p + AT_LOOSE * PAGE, loose, 3);
	ASSERT_EQ(0, pw_advise(h.fd, PAGEWELL_ADVISE_COLD, p + AT_PACKED * PAGE, PAGE));
	pid[0] = pw_fork();
	if (!pid[0]) {
		CHECK(pw_unmap(h.fd, p + HUGE, 3 * HUGE) == 0);
		pw_inc(step);
		for (;;)
			pause();
	}
	pw_wait_for(step, 1);
	used = pw_pool("used_pages");
	pid[1] = pw_fork();
	if (!pid[1]) {
		CHECK(munmap(h.base, h.len) == 0);
		pw_heap(&h, HUGE);
		CHECK(pw_map(h.fd, 0, NULL, self->floor - (used - over) * PAGE, 0, NULL) == 0);
		pw_inc(step);
		for (;;)
			pause();
	}
	pw_wait_for(step, 2);
	ASSERT_EQ(0, pool_set(self->sock, self->family, self->floor, &self->a));
	ASSERT_EQ(0, pw_advise(h.fd, PAGEWELL_ADVISE_FREE, p + AT_LOOSE * PAGE, loose * PAGE));
	taken = pw_stat("loose_taken");
	EXPECT_EQ(0, pw_try_write(p + at * PAGE, 1));
	EXPECT_EQ(over + 1, pw_stat("loose_taken") - taken);
	for (int i = 0; i < 2; i++)
		pw_hog_stop(pid[i]);
	close(h.fd);
}

TEST_F(ceiling, what_is_too_much_is_taken_for_a_first_touch)
{
	touch_with_loose(_metadata, self, AT_NONE);
}

TEST_F(ceiling, what_is_too_much_is_taken_for_a_copy)
{
	touch_with_loose(_metadata, self, AT_COPY);
}

TEST_F(ceiling, what_is_too_much_is_taken_for_what_was_packed)
{
	const long packed = pw_stat("unpacked");

	if (!pw_can_pack())
		SKIP(return, "nothing can be packed");
	ASSERT_EQ(0, pw_set_param("idle_max_mb", 1));
	touch_with_loose(_metadata, self, AT_PACKED);
	EXPECT_LT(packed, pw_stat("unpacked"));
	ASSERT_EQ(0, pw_set_param("idle_max_mb", 0));
}

/* A page that was lost is within the ceiling, and can be had again later. */
TEST_F(ceiling, holds_after_a_loss)
{
	long lost = pw_pool("lost_pages");
	struct pw h;
	struct iovec iov = { .iov_len = PAGE };
	char *at;
	int fds[2];

	pw_heap(&h, HUGE);
	ASSERT_EQ(0, pw_set_huge(h.fd, PAGEWELL_HUGE_NEVER));
	iov.iov_base = pw_map_pages(&h, 1);
	*(char *)iov.iov_base = 1;
	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ((ssize_t)PAGE, vmsplice(fds[1], &iov, 1, 0));
	ASSERT_EQ(0, pw_unmap(h.fd, iov.iov_base, PAGE));
	ASSERT_LT(lost, pw_pool("lost_pages"));
	/* It takes a block for that, which is more than it has lost. */
	ASSERT_EQ(0, pw_map(h.fd, 0, NULL, self->floor, 0, &at));
	ASSERT_EQ(0, pw_unmap(h.fd, at, self->floor));

	ASSERT_EQ(0, pool_set(self->sock, self->family, self->floor, &self->a));
	EXPECT_EQ(self->floor, pw_pool("held_pages") * PAGE);
	EXPECT_EQ(-ENOMEM, pw_map(h.fd, 0, NULL, self->floor, 0, &at));
	EXPECT_EQ(0, pw_map(h.fd, 0, NULL, self->floor - PAGE, 0, &at));
	ASSERT_EQ(0, pw_unmap(h.fd, at, self->floor - PAGE));
	close(fds[0]);
	close(fds[1]);
	EXPECT_EQ(0, pw_map(h.fd, 0, NULL, self->floor, 0, &at));
}

/*
 * Pages that are left in pipes. What the pool takes to replace them is within its
 * ceiling, but for what it may owe to promises; and it gets them back.
 */
TEST_F(ceiling, holds_whatever_is_lost)
{
	const long max = self->floor + 16 * HUGE, pages = HUGE / PAGE;
	int pipes[64][2], err = 0, n;
	char *p, *q;
	struct pw h;

	ASSERT_TRUE(pw_pool_found());
	ASSERT_EQ(0, pool_set(self->sock, self->family, max, &self->a));
	pw_heap(&h, 4 * HUGE);
	ASSERT_EQ(0, pw_set_huge(h.fd, PAGEWELL_HUGE_NEVER));
	q = pw_map_pages(&h, 1);
	*q = 1;
	p = pw_map_pages(&h, pages);
	for (n = 0; !err && n < 64; n++) {
		ASSERT_EQ(0, pipe(pipes[n]));
		pw_fill(p, pages, n);
		hold(pipes[n][1], p, pages);
		err = pw_advise(h.fd, PAGEWELL_ADVISE_DONTNEED, p, HUGE);
	}
	EXPECT_EQ(-ENOMEM, err);
	EXPECT_LE(pw_pool("held_pages") * PAGE, max + max / 16 + (long)HUGE);
	/* What is there can be used, and given back where nobody refers to it. */
	EXPECT_EQ(-1, pw_wrong(p, pages, n - 1));
	EXPECT_EQ(0, pw_advise(h.fd, PAGEWELL_ADVISE_DONTNEED, q, PAGE));
	EXPECT_EQ(0, pw_try_write(q, 1));
	while (n--) {
		close(pipes[n][0]);
		close(pipes[n][1]);
	}
	EXPECT_TRUE(pw_pool_found());
	EXPECT_EQ(0, pw_advise(h.fd, PAGEWELL_ADVISE_DONTNEED, p, HUGE));
	EXPECT_EQ(-1, pw_nonzero(p, pages));
}

/* Every second page is left to a child, and so to nobody else. */
static void keep_half(FIXTURE_DATA(nl) *self, long pages, int *step)
{
	struct pw h;
	pid_t pid;
	char *p;

	become_user(self, &h);
	CHECK(pw_set_commit(h.fd, PAGEWELL_COMMIT_STRICT) == 0);
	CHECK(pw_set_huge(h.fd, PAGEWELL_HUGE_NEVER) == 0);
	p = pw_map_pages(&h, pages);
	for (long i = 0; i < pages; i++)
		p[i * PAGE] = 1;
	pid = pw_fork();
	if (!pid) {
		for (long i = 1; i < pages; i += 2)
			CHECK(pw_advise(h.fd, PAGEWELL_ADVISE_DONTNEED, p + i * PAGE, PAGE) == 0);
		pw_set(step, 1);
		pw_wait_for(step, 3);
		for (long i = 0; i < pages; i += 2)
			CHECK(p[i * PAGE] == 1);
		_exit(0);
	}
	pw_wait_for(step, 1);
	CHECK(pw_unmap(h.fd, p, pages * PAGE) == 0);
	CHECK(charged(self) == (pages + 1) / 2 * PAGE);
	pw_set(step, 2);
	pw_wait_for(step, 3);
	CHECK(pw_wait(pid) == 0);
	CHECK(charged_soon(self, 0) == 0);
	_exit(0);
}

/* Pages that are moved to make room have their charge along at the new place. */
TEST_F(ceiling, moved_pages_stay_charged)
{
	FIXTURE_DATA(nl) other = { .sock = connected(&other.family) };
	long pages, moved = pw_stat("pages_moved");
	double end = pw_now() + 60;
	int *step = pw_shared();
	struct pw h;
	pid_t pid;
	char *p;

	ASSERT_TRUE(pw_pool_whole());
	ASSERT_EQ(0, pool_set(self->sock, self->family, self->floor, &self->a));
	pages = pw_pool("avail_pages") - 256;
	pid = pw_fork();
	if (!pid)
		keep_half(&other, pages, step);
	pw_wait_for(step, 2);
	pw_heap(&h, HUGE);
	ASSERT_EQ(0, pw_set_huge(h.fd, PAGEWELL_HUGE_ALWAYS));
	ASSERT_EQ(0, pw_map(h.fd, 0, NULL, 16 * HUGE, HUGE, &p));
	pw_cover(&h, p + 16 * HUGE);
	for (int i = 0; i < 16 && pw_now() < end; i++) {
		p[i * HUGE] = 1;
		usleep(200000);
	}
	EXPECT_LT(moved + 100, pw_stat("pages_moved"));
	pw_set(step, 3);
	EXPECT_EQ(0, pw_wait(pid));
	nl_socket_free(other.sock);
	close(h.fd);
}

/*
 * Promises were kept whose pages are in pipes, and nothing could be had in their place.
 * Whoever finds no page behind a promise sees all that were lost, however many of them
 * are still held.
 */
TEST_F(ceiling, promises_find_what_was_lost)
{
	const long lost = 3 * 512, back = 100;
	int held[2], soon[2];
	struct pw h;
	pid_t pid;
	char *p, *q;
	long rest;

	ASSERT_TRUE(pw_pool_found());
	ASSERT_EQ(0, pool_set(self->sock, self->family, self->floor, &self->a));
	pw_heap(&h, HUGE);
	ASSERT_EQ(0, pw_set_huge(h.fd, PAGEWELL_HUGE_NEVER));
	ASSERT_EQ(0, pw_map(h.fd, 0, NULL, lost * PAGE, HUGE, &p));
	rest = pw_pool("avail_pages");
	q = pw_map_pages(&h, rest);
	ASSERT_EQ(0, pw_advise(h.fd, PAGEWELL_ADVISE_POPULATE, p, lost * PAGE));
	ASSERT_EQ(0, pw_advise(h.fd, PAGEWELL_ADVISE_POPULATE, q, rest * PAGE));
	/* The machine can spare none for the pool. */
	pid = pw_eater(&h, pw_key("/proc/meminfo", "MemTotal") / 32 - 12 * KIB);
	ASSERT_EQ(0, pipe(held));
	ASSERT_EQ(0, pipe(soon));
	hold(held[1], p, lost - back);
	hold(soon[1], p + (lost - back) * PAGE, back);
	/* It is not long until they are looked at by themselves. */
	ASSERT_EQ(0, pw_advise(h.fd, PAGEWELL_ADVISE_DONTNEED, p, lost * PAGE));
	/* There is nothing yet. A short look, the third one, would not reach what is next. */
	EXPECT_EQ(SIGBUS, pw_try_write(p + HUGE, 1));
	EXPECT_EQ(SIGBUS, pw_try_write(p + 2 * HUGE - PAGE, 1));
	close(soon[0]);
	close(soon[1]);
	for (long i = 0; i < back - 10; i++)
		ASSERT_EQ(0, pw_try_write(p + i * PAGE, 1));
	pw_hog_stop(pid);
	close(held[0]);
	close(held[1]);
	for (long i = 0; i < lost; i++)
		ASSERT_EQ(0, pw_try_write(p + i * PAGE, 1));
	ASSERT_EQ(0, pw_unmap(h.fd, p, lost * PAGE));
	ASSERT_EQ(0, pw_unmap(h.fd, q, rest * PAGE));
	EXPECT_TRUE(pw_pool_found());
	close(h.fd);
}

/* Who asks for pages, too, where they would be refused. */
TEST_F(ceiling, requests_find_what_was_lost)
{
	const long lost = 3 * 512, back = 100;
	int held[2], soon[2];
	struct pw h;
	char *p;

	ASSERT_TRUE(pw_pool_found());
	ASSERT_EQ(0, pool_set(self->sock, self->family, self->floor, &self->a));
	pw_heap(&h, HUGE);
	ASSERT_EQ(0, pw_set_huge(h.fd, PAGEWELL_HUGE_NEVER));
	ASSERT_EQ(0, pw_map(h.fd, 0, NULL, lost * PAGE, HUGE, &p));
	pw_map_pages(&h, pw_pool("avail_pages"));
	ASSERT_EQ(0, pw_advise(h.fd, PAGEWELL_ADVISE_POPULATE, p, lost * PAGE));
	ASSERT_EQ(0, pipe(held));
	ASSERT_EQ(0, pipe(soon));
	hold(held[1], p, lost - back);
	hold(soon[1], p + (lost - back) * PAGE, back);
	ASSERT_EQ(0, pw_unmap(h.fd, p, lost * PAGE));
	close(soon[0]);
	close(soon[1]);
	/* A short look does not get that far. */
	EXPECT_EQ(0, pw_map(h.fd, 0, NULL, back / 2 * PAGE, 0, NULL));
	close(held[0]);
	close(held[1]);
	close(h.fd);
	EXPECT_TRUE(pw_pool_found());
}

TEST_F(ceiling, is_refused)
{
	EXPECT_EQ(-EINVAL, pool_set(self->sock, self->family, self->floor - PAGE, &self->a));
	EXPECT_STRNE("", self->a.why);
	EXPECT_EQ(-EINVAL, pool_set(self->sock, self->family, 1ULL << 50, &self->a));
	EXPECT_STRNE("", self->a.why);
	EXPECT_EQ(-EINVAL, pool_set(self->sock, self->family, ~0ULL, &self->a));
	EXPECT_EQ(-EINVAL, ask(self->sock, request(self->family, 0, PAGEWELL_CMD_POOL_SET),
			       &self->a));
	EXPECT_STRNE("", self->a.why);
	EXPECT_EQ(self->max, pw_pool("max_pages") * PAGE);
}

TEST_F(ceiling, needs_cap_sys_admin)
{
	pid_t pid = pw_fork();

	if (!pid) {
		drop_sys_admin();
		CHECK(pool_set(self->sock, self->family, self->floor, &self->a) == -EPERM);
		CHECK(self->a.why[0]);
		CHECK(pool_get(self->sock, self->family, &self->a) == 0);
		_exit(0);
	}
	EXPECT_EQ(0, pw_wait(pid));
	EXPECT_EQ(self->max, pw_pool("max_pages") * PAGE);
}

/* Events */

FIXTURE(events) {
	struct nl_sock *sock;
	int family;
	struct answer a;
	struct pw h;
};

FIXTURE_SETUP(events)
{
	int group;

	self->sock = connected(&self->family);
	group = genl_ctrl_resolve_grp(self->sock, PAGEWELL_FAMILY_NAME, PAGEWELL_MCGRP_EVENTS);
	ASSERT_LE(0, group);
	ASSERT_EQ(0, nl_socket_add_membership(self->sock, group));
	nl_socket_disable_seq_check(self->sock);
	nl_socket_set_nonblocking(self->sock);
	pw_heap(&self->h, HUGE);
	/* The events of the test before do not count against these. */
	sleep(1);
}

FIXTURE_TEARDOWN(events)
{
	nl_socket_free(self->sock);
}

/* Return: events of one kind that came within a time; the last is in @a. */
static unsigned int wait_events(struct nl_sock *sock, struct answer *a, uint8_t cmd,
				double seconds, unsigned int enough)
{
	struct pollfd fd = { .fd = nl_socket_get_fd(sock), .events = POLLIN };
	double end = pw_now() + seconds;
	unsigned int found = 0;

	while (found < enough && pw_now() < end) {
		memset(a, 0, sizeof(*a));
		hear(sock, a);
		if (poll(&fd, 1, 100) == 1 && !nl_recvmsgs_default(sock))
			found += a->nr && a->cmd == cmd;
	}
	return found;
}

TEST_F(events, heap_limit)
{
	char *at;

	ASSERT_EQ(0, pw_set_limit(self->h.fd, MIB));
	ASSERT_EQ(0, pw_map(self->h.fd, 0, NULL, 10 * PAGE, 0, &at));
	ASSERT_EQ(-ENOMEM, pw_map(self->h.fd, 0, NULL, 2 * MIB, 0, &at));
	ASSERT_EQ(1, wait_events(self->sock, &self->a, PAGEWELL_CMD_HEAP_LIMIT, 5, 1));
	EXPECT_EQ(getpid(), self->a.value[PAGEWELL_A_HEAP_PID]);
	EXPECT_STREQ("netlink", self->a.comm);
	EXPECT_EQ(MIB, self->a.value[PAGEWELL_A_HEAP_LIMIT]);
	EXPECT_EQ(10 * PAGE, self->a.value[PAGEWELL_A_HEAP_COMMITTED]);
	EXPECT_EQ(2 * MIB, self->a.value[PAGEWELL_A_HEAP_ASKED]);
	EXPECT_EQ(0, self->a.value[PAGEWELL_A_HEAP_BASE]);
}

TEST_F(events, are_few)
{
	unsigned int i, found;
	char *at;

	ASSERT_EQ(0, pw_set_limit(self->h.fd, MIB));
	for (i = 0; i < 200; i++)
		ASSERT_EQ(-ENOMEM, pw_map(self->h.fd, 0, NULL, 2 * MIB, 0, &at));
	found = wait_events(self->sock, &self->a, PAGEWELL_CMD_HEAP_LIMIT, 1, 200);
	EXPECT_LE(5, found);
	/* 200 refusals may take more than a second on a slow machine. */
	EXPECT_GT(100, found);
}

TEST_F(events, pool_low)
{
	uint64_t floor = pw_pool("floor_pages") * PAGE, max = pw_pool("max_pages") * PAGE;
	struct nl_sock *sock;
	unsigned int found;
	struct answer a;
	int family;
	char *at;

	sock = connected(&family);
	ASSERT_EQ(0, pool_set(sock, family, floor, &a));
	while (!pw_map(self->h.fd, 0, NULL, MIB, 0, &at))
		;
	found = wait_events(self->sock, &self->a, PAGEWELL_CMD_POOL_LOW, 5, 1);
	EXPECT_EQ(0, pool_set(sock, family, max, &a));
	ASSERT_EQ(1, found);
	EXPECT_EQ(floor, self->a.value[PAGEWELL_A_POOL_MAX_SIZE]);
	EXPECT_GT(floor / 8, self->a.value[PAGEWELL_A_POOL_AVAIL]);
	EXPECT_LT(0, self->a.value[PAGEWELL_A_POOL_HELD]);
	nl_socket_free(sock);
}

PW_TEST_POOL_WHOLE

TEST_HARNESS_MAIN
