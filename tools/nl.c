// SPDX-License-Identifier: GPL-2.0-only
/*
 * nl.c - talks to the module: the generic netlink family `pagewell`
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/netlink.h>
#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>
#include <netlink/netlink.h>

#include "tool.h"

/**
 * struct mod - a connection to the module
 * @sock: libnl's part
 * @family: number of the family
 * @error: errno of the last answer, 0 if it was none
 * @why: what the kernel said about it
 * @pool: where answers about the pool go
 * @heap: where the answer about one heap goes
 * @heaps: where answers about all heaps go
 * @limits: where answers about limits go
 * @listener: where events go
 * @done: the answer is complete
 * @gone: the family has been taken away
 */
struct mod {
	struct nl_sock *sock;
	int family;
	int error;
	char why[160];
	struct pool *pool;
	struct heap *heap;
	struct heaps *heaps;
	struct limits *limits;
	const struct listener *listener;
	bool done;
	bool gone;
};

uint64_t pool_counter(const struct pool *pool, const char *name)
{
	unsigned int i;

	for (i = 0; i < pool->nr_counters; i++)
		if (!strcmp(pool->counters[i].name, name))
			return pool->counters[i].value;
	return 0;
}

uint64_t pool_used(const struct pool *pool)
{
	uint64_t rest = pool->free + pool->lost;

	return pool->held > rest ? pool->held - rest : 0;
}

uint64_t pool_promised(const struct pool *pool)
{
	return pool->free > pool->avail ? pool->free - pool->avail : 0;
}

const char *commit_name(uint32_t commit)
{
	return commit == PAGEWELL_COMMIT_LAZY ? "lazy" : "strict";
}

const char *huge_name(uint32_t huge)
{
	if (huge == PAGEWELL_HUGE_ALWAYS)
		return "always";
	return huge == PAGEWELL_HUGE_NEVER ? "never" : "auto";
}

/* ---- answers ---- */

static uint64_t get_u64(struct nlattr **attrs, int type)
{
	return attrs[type] ? nla_get_u64(attrs[type]) : 0;
}

static uint32_t get_u32(struct nlattr **attrs, int type)
{
	return attrs[type] ? nla_get_u32(attrs[type]) : 0;
}

/* Processes name themselves: let nothing through that a terminal obeys. */
static void get_name(struct nlattr **attrs, int type, char *buf, size_t size)
{
	char *p;

	buf[0] = '\0';
	if (attrs[type])
		nla_strlcpy(buf, attrs[type], size);
	for (p = buf; *p; p++)
		if (*p < ' ' || *p > '~')
			*p = '?';
}

static void read_counter(struct nlattr *nest, struct pool *pool)
{
	static struct nla_policy policy[PAGEWELL_A_COUNTER_MAX + 1] = {
		[PAGEWELL_A_COUNTER_NAME] = { .type = NLA_STRING },
		[PAGEWELL_A_COUNTER_VALUE] = { .type = NLA_U64 },
	};
	struct nlattr *attrs[PAGEWELL_A_COUNTER_MAX + 1];
	struct counter *c;

	if (pool->nr_counters == sizeof(pool->counters) / sizeof(pool->counters[0]) ||
	    nla_parse_nested(attrs, PAGEWELL_A_COUNTER_MAX, nest, policy))
		return;
	c = &pool->counters[pool->nr_counters++];
	get_name(attrs, PAGEWELL_A_COUNTER_NAME, c->name, sizeof(c->name));
	c->value = get_u64(attrs, PAGEWELL_A_COUNTER_VALUE);
}

static bool read_pool(struct nlmsghdr *nlh, struct pool *pool)
{
	static struct nla_policy policy[PAGEWELL_A_POOL_MAX + 1] = {
		[PAGEWELL_A_POOL_FLOOR] = { .type = NLA_U64 },
		[PAGEWELL_A_POOL_MAX_SIZE] = { .type = NLA_U64 },
		[PAGEWELL_A_POOL_HELD] = { .type = NLA_U64 },
		[PAGEWELL_A_POOL_FREE] = { .type = NLA_U64 },
		[PAGEWELL_A_POOL_CLEAR] = { .type = NLA_U64 },
		[PAGEWELL_A_POOL_PCP] = { .type = NLA_U64 },
		[PAGEWELL_A_POOL_IDLE] = { .type = NLA_U64 },
		[PAGEWELL_A_POOL_AVAIL] = { .type = NLA_U64 },
		[PAGEWELL_A_POOL_LOST] = { .type = NLA_U64 },
		[PAGEWELL_A_POOL_COUNTER] = { .type = NLA_NESTED },
	};
	struct nlattr *attrs[PAGEWELL_A_POOL_MAX + 1];
	struct nlattr *attr;
	int rest;

	if (genlmsg_parse(nlh, 0, attrs, PAGEWELL_A_POOL_MAX, policy))
		return false;
	*pool = (struct pool) {
		.floor = get_u64(attrs, PAGEWELL_A_POOL_FLOOR),
		.max = get_u64(attrs, PAGEWELL_A_POOL_MAX_SIZE),
		.held = get_u64(attrs, PAGEWELL_A_POOL_HELD),
		.free = get_u64(attrs, PAGEWELL_A_POOL_FREE),
		.clear = get_u64(attrs, PAGEWELL_A_POOL_CLEAR),
		.pcp = get_u64(attrs, PAGEWELL_A_POOL_PCP),
		.idle = get_u64(attrs, PAGEWELL_A_POOL_IDLE),
		.avail = get_u64(attrs, PAGEWELL_A_POOL_AVAIL),
		.lost = get_u64(attrs, PAGEWELL_A_POOL_LOST),
	};
	nlmsg_for_each_attr(attr, nlh, GENL_HDRLEN, rest)
		if (nla_type(attr) == PAGEWELL_A_POOL_COUNTER)
			read_counter(attr, pool);
	return true;
}

static bool read_heap(struct nlmsghdr *nlh, struct heap *heap)
{
	static struct nla_policy policy[PAGEWELL_A_HEAP_MAX + 1] = {
		[PAGEWELL_A_HEAP_PID] = { .type = NLA_U32 },
		[PAGEWELL_A_HEAP_COMM] = { .type = NLA_STRING },
		[PAGEWELL_A_HEAP_ID] = { .type = NLA_U64 },
		[PAGEWELL_A_HEAP_BASE] = { .type = NLA_U64 },
		[PAGEWELL_A_HEAP_LIMIT] = { .type = NLA_U64 },
		[PAGEWELL_A_HEAP_COMMITTED] = { .type = NLA_U64 },
		[PAGEWELL_A_HEAP_RESIDENT] = { .type = NLA_U64 },
		[PAGEWELL_A_HEAP_SHARED] = { .type = NLA_U64 },
		[PAGEWELL_A_HEAP_PACKED] = { .type = NLA_U64 },
		[PAGEWELL_A_HEAP_REGIONS] = { .type = NLA_U64 },
		[PAGEWELL_A_HEAP_BREAKS] = { .type = NLA_U64 },
		[PAGEWELL_A_HEAP_FAULTS] = { .type = NLA_U64 },
		[PAGEWELL_A_HEAP_FAULT_PAGES] = { .type = NLA_U64 },
		[PAGEWELL_A_HEAP_COW_COPIES] = { .type = NLA_U64 },
		[PAGEWELL_A_HEAP_REFUSED] = { .type = NLA_U64 },
		[PAGEWELL_A_HEAP_COMMIT] = { .type = NLA_U32 },
		[PAGEWELL_A_HEAP_HUGE] = { .type = NLA_U32 },
		[PAGEWELL_A_HEAP_ASKED] = { .type = NLA_U64 },
	};
	struct nlattr *attrs[PAGEWELL_A_HEAP_MAX + 1];

	if (genlmsg_parse(nlh, 0, attrs, PAGEWELL_A_HEAP_MAX, policy))
		return false;
	*heap = (struct heap) {
		.pid = get_u32(attrs, PAGEWELL_A_HEAP_PID),
		.id = get_u64(attrs, PAGEWELL_A_HEAP_ID),
		.base = get_u64(attrs, PAGEWELL_A_HEAP_BASE),
		.has_base = attrs[PAGEWELL_A_HEAP_BASE],
		.limit = get_u64(attrs, PAGEWELL_A_HEAP_LIMIT),
		.committed = get_u64(attrs, PAGEWELL_A_HEAP_COMMITTED),
		.resident = get_u64(attrs, PAGEWELL_A_HEAP_RESIDENT),
		.shared = get_u64(attrs, PAGEWELL_A_HEAP_SHARED),
		.packed = get_u64(attrs, PAGEWELL_A_HEAP_PACKED),
		.regions = get_u64(attrs, PAGEWELL_A_HEAP_REGIONS),
		.breaks = get_u64(attrs, PAGEWELL_A_HEAP_BREAKS),
		.faults = get_u64(attrs, PAGEWELL_A_HEAP_FAULTS),
		.fault_pages = get_u64(attrs, PAGEWELL_A_HEAP_FAULT_PAGES),
		.cow_copies = get_u64(attrs, PAGEWELL_A_HEAP_COW_COPIES),
		.refused = get_u64(attrs, PAGEWELL_A_HEAP_REFUSED),
		.commit = get_u32(attrs, PAGEWELL_A_HEAP_COMMIT),
		.huge = get_u32(attrs, PAGEWELL_A_HEAP_HUGE),
		.asked = get_u64(attrs, PAGEWELL_A_HEAP_ASKED),
	};
	get_name(attrs, PAGEWELL_A_HEAP_COMM, heap->comm, sizeof(heap->comm));
	return true;
}

static void add_heap(struct mod *mod, const struct heap *heap)
{
	struct heaps *heaps = mod->heaps;
	struct heap *more = reallocarray(heaps->heap, heaps->nr + 1, sizeof(*heap));

	if (!more) {
		mod->error = ENOMEM;
		return;
	}
	more[heaps->nr++] = *heap;
	heaps->heap = more;
}

/* @limit->cgroup is to be freed. */
static bool read_limit(struct nlmsghdr *nlh, struct limit *limit)
{
	static struct nla_policy policy[PAGEWELL_A_LIMIT_MAX + 1] = {
		[PAGEWELL_A_LIMIT_UID] = { .type = NLA_U32 },
		[PAGEWELL_A_LIMIT_CGROUP] = { .type = NLA_STRING },
		[PAGEWELL_A_LIMIT_MAX_SIZE] = { .type = NLA_U64 },
		[PAGEWELL_A_LIMIT_USED] = { .type = NLA_U64 },
		[PAGEWELL_A_LIMIT_REFUSED] = { .type = NLA_U64 },
		[PAGEWELL_A_LIMIT_PID] = { .type = NLA_U32 },
		[PAGEWELL_A_LIMIT_COMM] = { .type = NLA_STRING },
		[PAGEWELL_A_LIMIT_ASKED] = { .type = NLA_U64 },
	};
	struct nlattr *attrs[PAGEWELL_A_LIMIT_MAX + 1];

	if (genlmsg_parse(nlh, 0, attrs, PAGEWELL_A_LIMIT_MAX, policy))
		return false;
	*limit = (struct limit) {
		.is_user = attrs[PAGEWELL_A_LIMIT_UID],
		.uid = get_u32(attrs, PAGEWELL_A_LIMIT_UID),
		.max = get_u64(attrs, PAGEWELL_A_LIMIT_MAX_SIZE),
		.used = get_u64(attrs, PAGEWELL_A_LIMIT_USED),
		.refused = get_u64(attrs, PAGEWELL_A_LIMIT_REFUSED),
		.pid = get_u32(attrs, PAGEWELL_A_LIMIT_PID),
		.asked = get_u64(attrs, PAGEWELL_A_LIMIT_ASKED),
	};
	get_name(attrs, PAGEWELL_A_LIMIT_COMM, limit->comm, sizeof(limit->comm));
	if (attrs[PAGEWELL_A_LIMIT_CGROUP])
		limit->cgroup = nla_strdup(attrs[PAGEWELL_A_LIMIT_CGROUP]);
	return true;
}

static void add_limit(struct mod *mod, const struct limit *limit)
{
	struct limits *limits = mod->limits;
	struct limit *more = reallocarray(limits->limit, limits->nr + 1, sizeof(*limit));

	if (!more) {
		mod->error = ENOMEM;
		free(limit->cgroup);
		return;
	}
	more[limits->nr++] = *limit;
	limits->limit = more;
}

static void on_limit_reached(struct mod *mod, struct nlmsghdr *nlh)
{
	struct limit limit;

	if (!mod->listener || !read_limit(nlh, &limit))
		return;
	mod->listener->limit(&limit);
	free(limit.cgroup);
}

static void read_family_gone(struct mod *mod, struct nlmsghdr *nlh)
{
	struct nlattr *attrs[CTRL_ATTR_MAX + 1];

	if (genlmsg_hdr(nlh)->cmd == CTRL_CMD_DELFAMILY &&
	    !genlmsg_parse(nlh, 0, attrs, CTRL_ATTR_MAX, NULL) &&
	    attrs[CTRL_ATTR_FAMILY_ID] &&
	    nla_get_u16(attrs[CTRL_ATTR_FAMILY_ID]) == mod->family)
		mod->gone = true;
}

static int on_message(struct nl_msg *msg, void *arg)
{
	struct nlmsghdr *nlh = nlmsg_hdr(msg);
	struct mod *mod = arg;
	struct limit limit;
	struct heap heap;
	struct pool pool;

	if (nlh->nlmsg_type == GENL_ID_CTRL) {
		read_family_gone(mod, nlh);
		return NL_OK;
	}
	switch (genlmsg_hdr(nlh)->cmd) {
	case PAGEWELL_CMD_POOL_GET:
		if (mod->pool)
			read_pool(nlh, mod->pool);
		break;
	case PAGEWELL_CMD_HEAP_GET:
		if (!read_heap(nlh, &heap))
			break;
		if (mod->heaps)
			add_heap(mod, &heap);
		else if (mod->heap)
			*mod->heap = heap;
		break;
	case PAGEWELL_CMD_LIMIT_GET:
		if (mod->limits && read_limit(nlh, &limit))
			add_limit(mod, &limit);
		break;
	case PAGEWELL_CMD_LIMIT_REACHED:
		on_limit_reached(mod, nlh);
		break;
	case PAGEWELL_CMD_HEAP_LIMIT:
		if (mod->listener && read_heap(nlh, &heap))
			mod->listener->heap_limit(&heap);
		break;
	case PAGEWELL_CMD_POOL_LOW:
		if (mod->listener && read_pool(nlh, &pool))
			mod->listener->pool_low(&pool);
		break;
	}
	return NL_OK;
}

/* The sentence that the kernel adds to an error, behind what it echoes. */
static void read_why(struct mod *mod, struct nlmsgerr *err)
{
	struct nlmsghdr *nlh = (struct nlmsghdr *)((char *)err - NLMSG_HDRLEN);
	size_t skip = sizeof(*err);
	struct nlattr *attr;

	mod->why[0] = '\0';
	if (!(nlh->nlmsg_flags & NLM_F_ACK_TLVS))
		return;
	if (!(nlh->nlmsg_flags & NLM_F_CAPPED))
		skip += NLMSG_ALIGN(err->msg.nlmsg_len) - NLMSG_HDRLEN;
	attr = nlmsg_find_attr(nlh, skip, NLMSGERR_ATTR_MSG);
	if (attr)
		nla_strlcpy(mod->why, attr, sizeof(mod->why));
}

static int on_error(struct sockaddr_nl *from, struct nlmsgerr *err, void *arg)
{
	struct mod *mod = arg;

	(void)from;
	mod->error = -err->error;
	mod->done = true;
	read_why(mod, err);
	return NL_STOP;
}

/* The end of a dump, or the confirmation behind any other answer. */
static int on_end(struct nl_msg *msg, void *arg)
{
	struct mod *mod = arg;

	(void)msg;
	mod->done = true;
	return NL_STOP;
}

/* ---- questions ---- */

void mod_close(struct mod *mod)
{
	nl_socket_free(mod->sock);
	free(mod);
}

/* The family is in the initial network namespace only, the module's directory everywhere. */
static void say_no_family(int err)
{
	if (err != -NLE_OBJ_NOTFOUND)
		say("cannot ask for the module: %s", nl_geterror(err));
	else if (!access("/sys/module/pagewell", F_OK))
		say("the module is loaded, but answers in the initial network namespace only");
	else
		say("the module is not loaded: modprobe pagewell, or insmod build/$(uname -r)/pagewell.ko");
}

static bool connect_family(struct mod *mod)
{
	int on = 1, err;

	err = genl_connect(mod->sock);
	if (err) {
		say("no generic netlink here: %s", nl_geterror(err));
		return false;
	}
	mod->family = genl_ctrl_resolve(mod->sock, PAGEWELL_FAMILY_NAME);
	if (mod->family < 0) {
		say_no_family(mod->family);
		return false;
	}
	setsockopt(nl_socket_get_fd(mod->sock), SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof(on));
	return true;
}

struct mod *mod_open(void)
{
	struct mod *mod = calloc(1, sizeof(*mod));

	if (mod)
		mod->sock = nl_socket_alloc();
	if (!mod || !mod->sock) {
		say("out of memory");
		free(mod);
		return NULL;
	}
	if (!connect_family(mod)) {
		mod_close(mod);
		return NULL;
	}
	nl_socket_modify_cb(mod->sock, NL_CB_VALID, NL_CB_CUSTOM, on_message, mod);
	nl_socket_modify_cb(mod->sock, NL_CB_FINISH, NL_CB_CUSTOM, on_end, mod);
	nl_socket_modify_cb(mod->sock, NL_CB_ACK, NL_CB_CUSTOM, on_end, mod);
	nl_socket_modify_err_cb(mod->sock, NL_CB_CUSTOM, on_error, mod);
	return mod;
}

/* Room for the path of a cgroup and what stands around it. */
#define REQUEST_SIZE	(PATH_MAX + 256)

static struct nl_msg *new_request(struct mod *mod, int flags, int cmd)
{
	struct nl_msg *msg = nlmsg_alloc_size(REQUEST_SIZE);

	if (msg && !genlmsg_put(msg, NL_AUTO_PORT, NL_AUTO_SEQ, mod->family, 0,
				flags, cmd, PAGEWELL_FAMILY_VERSION)) {
		nlmsg_free(msg);
		msg = NULL;
	}
	if (!msg)
		say("out of memory");
	return msg;
}

/* For what could not be put into a request. Return: false. */
static bool too_long(struct nl_msg *msg)
{
	nlmsg_free(msg);
	say("that is too long to be told to the module");
	return false;
}

/* Sends and waits for all of the answer. Return: 0, or an errno with mod->why set. */
static int ask(struct mod *mod, struct nl_msg *msg)
{
	int err;

	mod->error = 0;
	mod->why[0] = '\0';
	mod->done = false;
	err = nl_send_auto(mod->sock, msg);
	nlmsg_free(msg);
	while (err >= 0 && !mod->done)
		err = nl_recvmsgs_default(mod->sock);
	if (err < 0 && !mod->error) {
		mod->error = EIO;
		snprintf(mod->why, sizeof(mod->why), "%s", nl_geterror(err));
	}
	return mod->error;
}

static const char *reason(const struct mod *mod)
{
	return mod->why[0] ? mod->why : strerror(mod->error);
}

bool mod_get_pool(struct mod *mod, struct pool *pool)
{
	struct nl_msg *msg = new_request(mod, 0, PAGEWELL_CMD_POOL_GET);
	int err;

	if (!msg)
		return false;
	mod->pool = pool;
	err = ask(mod, msg);
	mod->pool = NULL;
	if (err)
		say("cannot read the pool: %s", reason(mod));
	return !err;
}

bool mod_set_pool_max(struct mod *mod, uint64_t bytes)
{
	struct nl_msg *msg = new_request(mod, 0, PAGEWELL_CMD_POOL_SET);
	int err;

	if (!msg)
		return false;
	if (nla_put_u64(msg, PAGEWELL_A_POOL_MAX_SIZE, bytes))
		return too_long(msg);
	err = ask(mod, msg);
	if (err == EPERM)
		say("cannot set pool-max: you need CAP_SYS_ADMIN (be root)");
	else if (err)
		say("cannot set pool-max: %s", reason(mod));
	return !err;
}

bool mod_get_heap(struct mod *mod, pid_t pid, struct heap *heap)
{
	struct nl_msg *msg = new_request(mod, 0, PAGEWELL_CMD_HEAP_GET);
	int err;

	if (!msg)
		return false;
	if (nla_put_u32(msg, PAGEWELL_A_HEAP_PID, pid))
		return too_long(msg);
	mod->heap = heap;
	err = ask(mod, msg);
	mod->heap = NULL;
	if (err == ESRCH)
		say("process %d has no heap on our pages", (int)pid);
	else if (err)
		say("cannot read the heap of process %d: %s", (int)pid, reason(mod));
	return !err;
}

bool mod_get_heaps(struct mod *mod, struct heaps *heaps)
{
	struct nl_msg *msg = new_request(mod, NLM_F_DUMP, PAGEWELL_CMD_HEAP_GET);
	int err;

	*heaps = (struct heaps) { 0 };
	if (!msg)
		return false;
	mod->heaps = heaps;
	err = ask(mod, msg);
	mod->heaps = NULL;
	if (err)
		say("cannot read the heaps: %s", reason(mod));
	return !err;
}

bool mod_get_limits(struct mod *mod, struct limits *limits)
{
	struct nl_msg *msg = new_request(mod, NLM_F_DUMP, PAGEWELL_CMD_LIMIT_GET);
	int err;

	*limits = (struct limits) { 0 };
	if (!msg)
		return false;
	mod->limits = limits;
	err = ask(mod, msg);
	mod->limits = NULL;
	if (err)
		say("cannot read the limits: %s", reason(mod));
	return !err;
}

void limits_free(struct limits *limits)
{
	size_t i;

	for (i = 0; i < limits->nr; i++)
		free(limits->limit[i].cgroup);
	free(limits->limit);
}

static bool put_limit(struct nl_msg *msg, const struct limit *limit)
{
	int err = limit->is_user ? nla_put_u32(msg, PAGEWELL_A_LIMIT_UID, limit->uid) :
		  nla_put_string(msg, PAGEWELL_A_LIMIT_CGROUP, limit->cgroup);

	return !err && !nla_put_u64(msg, PAGEWELL_A_LIMIT_MAX_SIZE, limit->max);
}

bool mod_set_limit(struct mod *mod, const struct limit *limit)
{
	struct nl_msg *msg = new_request(mod, 0, PAGEWELL_CMD_LIMIT_SET);
	int err;

	if (!msg)
		return false;
	if (!put_limit(msg, limit))
		return too_long(msg);
	err = ask(mod, msg);
	if (err)
		say("cannot set the limit: %s", reason(mod));
	return !err;
}

static bool subscribe(struct mod *mod)
{
	int group = genl_ctrl_resolve_grp(mod->sock, PAGEWELL_FAMILY_NAME,
					  PAGEWELL_MCGRP_EVENTS);
	int err = group;

	if (group >= 0)
		err = nl_socket_add_memberships(mod->sock, group, GENL_ID_CTRL, 0);
	if (err < 0)
		say("cannot listen to events: %s", nl_geterror(err));
	return err >= 0;
}

bool mod_listen(struct mod *mod, const struct listener *listener)
{
	int err;

	nl_socket_disable_seq_check(mod->sock);
	if (!subscribe(mod))
		return false;
	mod->listener = listener;
	while (!mod->gone) {
		err = nl_recvmsgs_default(mod->sock);
		if (err == -NLE_NOMEM) {
			listener->lost();
		} else if (err < 0) {
			say("cannot hear events any more: %s", nl_geterror(err));
			return false;
		}
	}
	say("the module was unloaded");
	return false;
}
