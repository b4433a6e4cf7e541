// SPDX-License-Identifier: GPL-2.0-only
/*
 * netlink.c - the generic netlink family `pagewell`
 *
 * docs/netlink/pagewell.yaml describes it. Anyone may read, but for the
 * addresses of heaps; changes need CAP_SYS_ADMIN, as for any memory of the
 * whole machine.
 */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/mm.h>
#include <linux/ratelimit.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>
#include <net/genetlink.h>

#include "pagewell.h"
#include "pagewell_netlink.h"
#include "limit.h"
#include "pool.h"
#include "stats.h"
#include "watch.h"

enum { PW_MCGRP_EVENTS };

static struct genl_family pw_genl;

/**
 * struct pool_low - a pool-low event on its way out
 * @lock: protects the rest; taken in any context, under the pool's locks too
 * @on: the family is there
 * @avail: pages free and not promised
 * @held: pages the pool owns
 * @max: pages it may own
 * @rate: of events
 * @work: sends it
 */
static struct pool_low {
	spinlock_t lock; /* of what follows */
	bool on;
	unsigned long avail;
	unsigned long held;
	unsigned long max;
	struct ratelimit_state rate;
	struct work_struct work;
} low;

static struct ratelimit_state heap_limit_rate;
static struct ratelimit_state limit_rate;

static bool put_u64(struct sk_buff *skb, int attr, u64 value, int pad)
{
	return !nla_put_u64_64bit(skb, attr, value, pad);
}

static bool put_pages(struct sk_buff *skb, int attr, unsigned long pages)
{
	return put_u64(skb, attr, (u64)pages << PAGE_SHIFT, PAGEWELL_A_POOL_PAD);
}

static bool put_heap_u64(struct sk_buff *skb, int attr, u64 value)
{
	return put_u64(skb, attr, value, PAGEWELL_A_HEAP_PAD);
}

static bool put_counter(struct sk_buff *skb, const char *name, u64 value)
{
	struct nlattr *nest = nla_nest_start(skb, PAGEWELL_A_POOL_COUNTER);

	if (!nest || nla_put_string(skb, PAGEWELL_A_COUNTER_NAME, name) ||
	    !put_u64(skb, PAGEWELL_A_COUNTER_VALUE, value, PAGEWELL_A_COUNTER_PAD))
		return false;
	nla_nest_end(skb, nest);
	return true;
}

static bool put_counters(struct sk_buff *skb)
{
	struct pw_stats st;
	bool ok = true;

	pw_stats_sum(&st);
#define X(name, text) ok = ok && put_counter(skb, #name, st.name);
	PW_STATS(X)
#undef X
	return ok;
}

static bool put_pool(struct sk_buff *skb)
{
	struct pw_pool_stat st;

	pw_pool_get_stat(&st);
	return put_pages(skb, PAGEWELL_A_POOL_FLOOR, st.floor) &&
	       put_pages(skb, PAGEWELL_A_POOL_MAX_SIZE, st.max) &&
	       put_pages(skb, PAGEWELL_A_POOL_HELD, st.held) &&
	       put_pages(skb, PAGEWELL_A_POOL_FREE, st.free) &&
	       put_pages(skb, PAGEWELL_A_POOL_CLEAR, st.clear) &&
	       put_pages(skb, PAGEWELL_A_POOL_PCP, st.pcp) &&
	       put_pages(skb, PAGEWELL_A_POOL_IDLE, st.idle) &&
	       put_pages(skb, PAGEWELL_A_POOL_AVAIL, st.avail) &&
	       put_pages(skb, PAGEWELL_A_POOL_LOST, st.lost);
}

static u64 limit_bytes(const struct pw_heap_stat *st)
{
	return st->limit == PW_NO_LIMIT ? U64_MAX : st->limit;
}

/* What replies and events share. */
static bool put_heap_head(struct sk_buff *skb, const struct pw_heap_stat *st)
{
	return !nla_put_u32(skb, PAGEWELL_A_HEAP_PID, st->pid) &&
	       !nla_put_string(skb, PAGEWELL_A_HEAP_COMM, st->comm) &&
	       put_heap_u64(skb, PAGEWELL_A_HEAP_ID, st->id) &&
	       put_heap_u64(skb, PAGEWELL_A_HEAP_LIMIT, limit_bytes(st)) &&
	       put_heap_u64(skb, PAGEWELL_A_HEAP_COMMITTED, st->committed);
}

static bool put_heap(struct sk_buff *skb, const struct pw_heap_stat *st, bool admin)
{
	return put_heap_head(skb, st) &&
	       (!admin || put_heap_u64(skb, PAGEWELL_A_HEAP_BASE, st->base)) &&
	       put_heap_u64(skb, PAGEWELL_A_HEAP_RESIDENT, st->resident) &&
	       put_heap_u64(skb, PAGEWELL_A_HEAP_SHARED, st->shared) &&
	       put_heap_u64(skb, PAGEWELL_A_HEAP_PACKED, st->packed) &&
	       put_heap_u64(skb, PAGEWELL_A_HEAP_REGIONS, st->regions) &&
	       put_heap_u64(skb, PAGEWELL_A_HEAP_BREAKS, st->breaks) &&
	       put_heap_u64(skb, PAGEWELL_A_HEAP_FAULTS, st->faults) &&
	       put_heap_u64(skb, PAGEWELL_A_HEAP_FAULT_PAGES, st->fault_pages) &&
	       put_heap_u64(skb, PAGEWELL_A_HEAP_COW_COPIES, st->cow_copies) &&
	       put_heap_u64(skb, PAGEWELL_A_HEAP_REFUSED, st->refused) &&
	       !nla_put_u32(skb, PAGEWELL_A_HEAP_COMMIT, st->lazy ?
			    PAGEWELL_COMMIT_LAZY : PAGEWELL_COMMIT_STRICT) &&
	       !nla_put_u32(skb, PAGEWELL_A_HEAP_HUGE, st->huge);
}

static int pool_get_doit(struct sk_buff *skb, struct genl_info *info)
{
	struct sk_buff *msg = genlmsg_new(GENLMSG_DEFAULT_SIZE, GFP_KERNEL);
	void *hdr;

	if (!msg)
		return -ENOMEM;
	hdr = genlmsg_put_reply(msg, info, &pw_genl, 0, PAGEWELL_CMD_POOL_GET);
	if (!hdr || !put_pool(msg) || !put_counters(msg)) {
		nlmsg_free(msg);
		return -EMSGSIZE;
	}
	genlmsg_end(msg, hdr);
	return genlmsg_reply(msg, info);
}

static int pool_set_doit(struct sk_buff *skb, struct genl_info *info)
{
	const struct nlattr *attr = info->attrs[PAGEWELL_A_POOL_MAX_SIZE];
	u64 pages;
	int err;

	if (!netlink_capable(skb, CAP_SYS_ADMIN)) {
		NL_SET_ERR_MSG(info->extack, "changing the pool needs CAP_SYS_ADMIN");
		return -EPERM;
	}
	if (!attr) {
		NL_SET_ERR_MSG(info->extack, "nothing to set: max-size is missing");
		return -EINVAL;
	}
	pages = nla_get_u64(attr) >> PAGE_SHIFT;
	err = pages > totalram_pages() ? -EINVAL : pw_pool_set_max(pages);
	if (err == -EINVAL)
		NL_SET_ERR_MSG_ATTR(info->extack, attr,
				    "max-size must lie between the pool's floor and the machine's memory");
	return err;
}

static int heap_get_doit(struct sk_buff *skb, struct genl_info *info)
{
	const struct nlattr *attr = info->attrs[PAGEWELL_A_HEAP_PID];
	struct pw_heap_stat st;
	struct sk_buff *msg;
	void *hdr;
	u64 id = 0;

	if (!attr) {
		NL_SET_ERR_MSG(info->extack, "which heap: pid is missing");
		return -EINVAL;
	}
	if (!nla_get_u32(attr) || !pw_heap_next_stat(&id, nla_get_u32(attr), &st)) {
		NL_SET_ERR_MSG_ATTR(info->extack, attr, "no process with this pid has a heap");
		return -ESRCH;
	}
	msg = genlmsg_new(GENLMSG_DEFAULT_SIZE, GFP_KERNEL);
	if (!msg)
		return -ENOMEM;
	hdr = genlmsg_put_reply(msg, info, &pw_genl, 0, PAGEWELL_CMD_HEAP_GET);
	if (!hdr || !put_heap(msg, &st, netlink_capable(skb, CAP_SYS_ADMIN))) {
		nlmsg_free(msg);
		return -EMSGSIZE;
	}
	genlmsg_end(msg, hdr);
	return genlmsg_reply(msg, info);
}

static int heap_get_start(struct netlink_callback *cb)
{
	if (nlmsg_attrlen(cb->nlh, GENL_HDRLEN)) {
		NL_SET_ERR_MSG(cb->extack, "a dump gives all heaps and takes no attributes");
		return -EINVAL;
	}
	return 0;
}

static bool dump_heap(struct sk_buff *skb, struct netlink_callback *cb,
		      const struct pw_heap_stat *st)
{
	void *hdr = genlmsg_put(skb, NETLINK_CB(cb->skb).portid, cb->nlh->nlmsg_seq,
				&pw_genl, NLM_F_MULTI, PAGEWELL_CMD_HEAP_GET);

	if (!hdr)
		return false;
	if (!put_heap(skb, st, netlink_capable(cb->skb, CAP_SYS_ADMIN))) {
		genlmsg_cancel(skb, hdr);
		return false;
	}
	genlmsg_end(skb, hdr);
	return true;
}

/* cb->args[0]: id from which to go on. */
static int heap_get_dumpit(struct sk_buff *skb, struct netlink_callback *cb)
{
	struct pw_heap_stat st;
	u64 id = cb->args[0];

	while (pw_heap_next_stat(&id, 0, &st) && dump_heap(skb, cb, &st))
		cb->args[0] = id;
	return skb->len;
}

/* All ones for none; what is left over of a page is not granted. */
static unsigned long max_pages(const struct nlattr *attr)
{
	u64 bytes = nla_get_u64(attr);

	return bytes == U64_MAX ? PW_NO_LIMIT : bytes >> PAGE_SHIFT;
}

static unsigned long user_max(kuid_t uid)
{
	struct pw_limit_stat st;

	return pw_limit_get_user(uid, &st) ? st.max : PW_NO_LIMIT;
}

/*
 * Genetlink runs one operation of ours at a time: nobody sets it after we looked. A
 * message may say that it comes from somebody else, so that is not asked.
 */
static int limit_set_user(struct sk_buff *skb, struct genl_info *info, unsigned long max)
{
	kuid_t uid = make_kuid(&init_user_ns, nla_get_u32(info->attrs[PAGEWELL_A_LIMIT_UID]));

	if (!uid_valid(uid))
		return -EINVAL;
	if (!netlink_capable(skb, CAP_SYS_ADMIN) &&
	    (!uid_eq(uid, current_uid()) || max > user_max(uid))) {
		NL_SET_ERR_MSG(info->extack,
			       "users may lower their own limit, all else needs CAP_SYS_ADMIN");
		return -EPERM;
	}
	pw_limit_set_user(uid, max);
	return 0;
}

static int limit_set_cgroup(struct sk_buff *skb, struct genl_info *info, unsigned long max)
{
	const struct nlattr *attr = info->attrs[PAGEWELL_A_LIMIT_CGROUP];
	int err;

	if (!netlink_capable(skb, CAP_SYS_ADMIN)) {
		NL_SET_ERR_MSG(info->extack, "the limit of a cgroup needs CAP_SYS_ADMIN");
		return -EPERM;
	}
	err = pw_limit_set_cgroup(nla_data(attr), max);
	if (err == -EOPNOTSUPP)
		NL_SET_ERR_MSG_ATTR(info->extack, attr,
				    "a path begins at the root, this cgroup namespace does not");
	else if (err)
		NL_SET_ERR_MSG_ATTR(info->extack, attr, "no cgroup v2 has this path");
	return err;
}

static int limit_set_doit(struct sk_buff *skb, struct genl_info *info)
{
	struct nlattr **attrs = info->attrs;

	if (!attrs[PAGEWELL_A_LIMIT_MAX_SIZE] ||
	    !attrs[PAGEWELL_A_LIMIT_UID] == !attrs[PAGEWELL_A_LIMIT_CGROUP]) {
		NL_SET_ERR_MSG(info->extack, "a limit is a uid or a cgroup, and max-size");
		return -EINVAL;
	}
	if (attrs[PAGEWELL_A_LIMIT_UID])
		return limit_set_user(skb, info, max_pages(attrs[PAGEWELL_A_LIMIT_MAX_SIZE]));
	return limit_set_cgroup(skb, info, max_pages(attrs[PAGEWELL_A_LIMIT_MAX_SIZE]));
}

static bool put_limit_u64(struct sk_buff *skb, int attr, u64 value)
{
	return put_u64(skb, attr, value, PAGEWELL_A_LIMIT_PAD);
}

static bool put_limit(struct sk_buff *skb, const struct pw_limit_stat *st)
{
	u64 max = st->max == PW_NO_LIMIT ? U64_MAX : (u64)st->max << PAGE_SHIFT;

	if (st->is_user ? nla_put_u32(skb, PAGEWELL_A_LIMIT_UID,
				      from_kuid_munged(&init_user_ns, st->uid)) :
			  nla_put_string(skb, PAGEWELL_A_LIMIT_CGROUP, st->path))
		return false;
	return put_limit_u64(skb, PAGEWELL_A_LIMIT_MAX_SIZE, max) &&
	       put_limit_u64(skb, PAGEWELL_A_LIMIT_USED, (u64)st->used << PAGE_SHIFT) &&
	       put_limit_u64(skb, PAGEWELL_A_LIMIT_REFUSED, st->refused);
}

static bool dump_limit(struct sk_buff *skb, struct netlink_callback *cb,
		       const struct pw_limit_stat *st)
{
	void *hdr = genlmsg_put(skb, NETLINK_CB(cb->skb).portid, cb->nlh->nlmsg_seq,
				&pw_genl, NLM_F_MULTI, PAGEWELL_CMD_LIMIT_GET);

	if (!hdr)
		return false;
	if (!put_limit(skb, st)) {
		genlmsg_cancel(skb, hdr);
		return false;
	}
	genlmsg_end(skb, hdr);
	return true;
}

static int dump_own_limit(struct sk_buff *skb, struct netlink_callback *cb)
{
	struct pw_limit_stat st;

	if (!cb->args[0] && pw_limit_get_user(current_uid(), &st) && dump_limit(skb, cb, &st))
		cb->args[0] = 1;
	return skb->len;
}

/* Others see their own account only. cb->args[0]: where to go on. */
static int limit_get_dumpit(struct sk_buff *skb, struct netlink_callback *cb)
{
	unsigned long pos = cb->args[0];
	struct pw_limit_stat st;

	if (!netlink_capable(cb->skb, CAP_SYS_ADMIN))
		return dump_own_limit(skb, cb);
	st.path = kmalloc(PW_CGROUP_PATH, GFP_KERNEL);
	if (!st.path)
		return -ENOMEM;
	while (pw_limit_next_stat(&pos, &st) && dump_limit(skb, cb, &st))
		cb->args[0] = pos;
	kfree(st.path);
	return skb->len;
}

static const struct nla_policy limit_set_policy[] = {
	[PAGEWELL_A_LIMIT_UID] = { .type = NLA_U32 },
	[PAGEWELL_A_LIMIT_CGROUP] = { .type = NLA_NUL_STRING, .len = PW_CGROUP_PATH - 1 },
	[PAGEWELL_A_LIMIT_MAX_SIZE] = { .type = NLA_U64 },
};

static const struct nla_policy pool_set_policy[] = {
	[PAGEWELL_A_POOL_MAX_SIZE] = { .type = NLA_U64 },
};

static const struct nla_policy heap_get_policy[] = {
	[PAGEWELL_A_HEAP_PID] = NLA_POLICY_MIN(NLA_U32, 1),
};

/* An operation without a policy takes no attributes. */
static const struct genl_ops pw_genl_ops[] = {
	{
		.cmd		= PAGEWELL_CMD_POOL_GET,
		.doit		= pool_get_doit,
	}, {
		.cmd		= PAGEWELL_CMD_POOL_SET,
		.policy		= pool_set_policy,
		.maxattr	= ARRAY_SIZE(pool_set_policy) - 1,
		.doit		= pool_set_doit,
	}, {
		.cmd		= PAGEWELL_CMD_HEAP_GET,
		.policy		= heap_get_policy,
		.maxattr	= ARRAY_SIZE(heap_get_policy) - 1,
		.doit		= heap_get_doit,
		.start		= heap_get_start,
		.dumpit		= heap_get_dumpit,
	}, {
		.cmd		= PAGEWELL_CMD_LIMIT_GET,
		.dumpit		= limit_get_dumpit,
	}, {
		.cmd		= PAGEWELL_CMD_LIMIT_SET,
		.policy		= limit_set_policy,
		.maxattr	= ARRAY_SIZE(limit_set_policy) - 1,
		.doit		= limit_set_doit,
	},
};

static const struct genl_multicast_group pw_genl_groups[] = {
	[PW_MCGRP_EVENTS] = { .name = PAGEWELL_MCGRP_EVENTS },
};

static struct genl_family pw_genl __ro_after_init = {
	.name		= PAGEWELL_FAMILY_NAME,
	.version	= PAGEWELL_FAMILY_VERSION,
	.module		= THIS_MODULE,
	.ops		= pw_genl_ops,
	.n_ops		= ARRAY_SIZE(pw_genl_ops),
	.resv_start_op	= PAGEWELL_CMD_POOL_GET,
	.mcgrps		= pw_genl_groups,
	.n_mcgrps	= ARRAY_SIZE(pw_genl_groups),
};

/* Events that nobody hears must not use up the rate. */
static bool someone_listens(void)
{
	return genl_has_listeners(&pw_genl, &init_net, PW_MCGRP_EVENTS);
}

static void send_event(struct sk_buff *msg, void *hdr)
{
	genlmsg_end(msg, hdr);
	genlmsg_multicast(&pw_genl, msg, 0, PW_MCGRP_EVENTS, GFP_KERNEL);
}

/**
 * pw_netlink_heap_limit() - say that a heap was refused memory
 * @st: the heap; its pid, comm, id, limit and commitment are told
 * @asked: bytes that were asked for
 *
 * Sleeps. For processes with a heap only: while there is one, so is the family.
 */
void pw_netlink_heap_limit(const struct pw_heap_stat *st, unsigned long asked)
{
	struct sk_buff *msg;
	void *hdr;

	if (!someone_listens() || !__ratelimit(&heap_limit_rate))
		return;
	msg = genlmsg_new(GENLMSG_DEFAULT_SIZE, GFP_KERNEL);
	if (!msg)
		return;
	hdr = genlmsg_put(msg, 0, 0, &pw_genl, 0, PAGEWELL_CMD_HEAP_LIMIT);
	if (hdr && put_heap_head(msg, st) &&
	    put_heap_u64(msg, PAGEWELL_A_HEAP_ASKED, asked))
		send_event(msg, hdr);
	else
		nlmsg_free(msg);
}

/**
 * pw_netlink_limit_wanted() - shall the next pw_netlink_limit() be called?
 */
bool pw_netlink_limit_wanted(void)
{
	return someone_listens() && __ratelimit(&limit_rate);
}

/**
 * pw_netlink_limit() - say that a user's or a cgroup's limit was in the way
 * @st: the limit
 * @asked: pages that this process asked for
 *
 * Sleeps. As pw_netlink_heap_limit().
 */
void pw_netlink_limit(const struct pw_limit_stat *st, unsigned long asked)
{
	struct sk_buff *msg = genlmsg_new(GENLMSG_DEFAULT_SIZE + PW_CGROUP_PATH, GFP_KERNEL);
	char comm[TASK_COMM_LEN];
	void *hdr;

	if (!msg)
		return;
	get_task_comm(comm, current);
	hdr = genlmsg_put(msg, 0, 0, &pw_genl, 0, PAGEWELL_CMD_LIMIT_REACHED);
	if (hdr && put_limit(msg, st) &&
	    !nla_put_u32(msg, PAGEWELL_A_LIMIT_PID, task_tgid_nr(current)) &&
	    !nla_put_string(msg, PAGEWELL_A_LIMIT_COMM, comm) &&
	    put_limit_u64(msg, PAGEWELL_A_LIMIT_ASKED, (u64)asked << PAGE_SHIFT))
		send_event(msg, hdr);
	else
		nlmsg_free(msg);
}

static void pool_low_work(struct work_struct *work)
{
	unsigned long avail, held, max;
	struct sk_buff *msg;
	void *hdr;

	spin_lock_irq(&low.lock);
	avail = low.avail;
	held = low.held;
	max = low.max;
	spin_unlock_irq(&low.lock);

	msg = genlmsg_new(GENLMSG_DEFAULT_SIZE, GFP_KERNEL);
	if (!msg)
		return;
	hdr = genlmsg_put(msg, 0, 0, &pw_genl, 0, PAGEWELL_CMD_POOL_LOW);
	if (hdr && put_pages(msg, PAGEWELL_A_POOL_AVAIL, avail) &&
	    put_pages(msg, PAGEWELL_A_POOL_HELD, held) &&
	    put_pages(msg, PAGEWELL_A_POOL_MAX_SIZE, max))
		send_event(msg, hdr);
	else
		nlmsg_free(msg);
}

/**
 * pw_netlink_pool_low() - say that the pool is running out
 * @avail: pages free and not promised
 * @held: pages the pool owns
 * @max: pages it may own
 *
 * Any context; does nothing when the family is not there.
 */
void pw_netlink_pool_low(unsigned long avail, unsigned long held, unsigned long max)
{
	unsigned long flags;

	if (!READ_ONCE(low.on))
		return;
	spin_lock_irqsave(&low.lock, flags);
	if (low.on && someone_listens() && __ratelimit(&low.rate)) {
		low.avail = avail;
		low.held = held;
		low.max = max;
		schedule_work(&low.work);
	}
	spin_unlock_irqrestore(&low.lock, flags);
}

static void low_switch(bool on)
{
	spin_lock_irq(&low.lock);
	WRITE_ONCE(low.on, on);
	spin_unlock_irq(&low.lock);
}

static void rate_init(struct ratelimit_state *rate)
{
	ratelimit_state_init(rate, HZ, 5);
	/* Keep it from writing to the log what it held back. */
	ratelimit_set_flags(rate, RATELIMIT_MSG_ON_RELEASE);
}

/**
 * pw_netlink_init() - register the family
 *
 * Before any heap can be made; the pool and the counters must be there.
 *
 * Return: 0 or a negative error.
 */
int pw_netlink_init(void)
{
	int err;

	spin_lock_init(&low.lock);
	INIT_WORK(&low.work, pool_low_work);
	rate_init(&low.rate);
	rate_init(&heap_limit_rate);
	rate_init(&limit_rate);

	err = genl_register_family(&pw_genl);
	if (!err)
		low_switch(true);
	return err;
}

/**
 * pw_netlink_exit() - take the family away
 *
 * After the last heap is gone.
 */
void pw_netlink_exit(void)
{
	low_switch(false);
	cancel_work_sync(&low.work);
	genl_unregister_family(&pw_genl);
}
