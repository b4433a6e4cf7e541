/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * limit.h - limits on how much of the pool users and cgroups may have
 *
 * A heap is charged to the user and the cgroup (v2) that its process had when
 * the heap was made, and to all cgroups above that one. It stays with them
 * wherever the process goes. All in pages: those it has committed, those that
 * it has found where nothing was promised, and those that others keep when it
 * lets go of them (charge.c).
 */
#ifndef PAGEWELL_LIMIT_H
#define PAGEWELL_LIMIT_H

#include <linux/atomic.h>
#include <linux/jump_label.h>
#include <linux/refcount.h>
#include <linux/rwsem.h>
#include <linux/types.h>
#include <linux/uidgid.h>

struct cgroup;

/**
 * struct pw_account - what one user or cgroup has committed
 * @by_who: in the table of all accounts, by whose it is
 * @nr: never used twice; for those who walk all accounts
 * @parent: of a cgroup that is not the root
 * @cgrp: the cgroup, referenced; NULL: it is a user's
 * @uid: the user
 * @refs: heaps, accounts below, and one for a limit; under accounts_lock
 * @used: pages charged
 * @refused: charges refused
 * @max: pages, PW_NO_LIMIT for none; written under accounts_lock
 * @trials: of a user; held for reading by who counts or charges pages and may give
 *          them back, for writing by who is not refused on account of those. Where
 *          several users are in a cgroup, one may be on account of another's.
 */
struct pw_account {
	struct hlist_node by_who;
	unsigned long nr;
	struct pw_account *parent;
	struct cgroup *cgrp;
	kuid_t uid;
	unsigned int refs;
	atomic_long_t used;
	atomic_long_t refused;
	unsigned long max;
	struct rw_semaphore trials;
};

/**
 * struct pw_limits - who pays for a heap
 * @user: the user
 * @cgroup: the cgroup, NULL when the kernel has none
 */
struct pw_limits {
	struct pw_account *user, *cgroup;
};

/**
 * struct pw_payer - the same, for the heap and for pages that outlive it
 * @who: the accounts
 * @refs: lifetime; one for the heap, one for each page that takes its charge along
 */
struct pw_payer {
	struct pw_limits who;
	refcount_t refs;
};

struct pw_payer *pw_payer_new(gfp_t gfp);
void pw_payer_put(struct pw_payer *payer, unsigned int nr);
bool pw_limit_charge(const struct pw_limits *who, unsigned long nr, bool loud);
unsigned int pw_limit_charge_some(const struct pw_limits *who, unsigned int nr, bool loud);
void pw_limit_uncharge(const struct pw_limits *who, unsigned long nr);

#define PW_NO_LIMIT	ULONG_MAX

/* Somebody has a limit. */
DECLARE_STATIC_KEY_FALSE(pw_limits_key);

/**
 * pw_limit_charge_all() - count pages that a heap has already, limit or not
 * @who: of the heap
 * @nr: pages
 *
 * Any context. A limit that is set now finds the sum.
 */
static __always_inline void pw_limit_charge_all(const struct pw_limits *who, unsigned long nr)
{
	struct pw_account *acc;

	atomic_long_add(nr, &who->user->used);
	for (acc = who->cgroup; acc; acc = acc->parent)
		atomic_long_add(nr, &acc->used);
}

/* As pw_limit_uncharge(). */
static __always_inline void pw_limit_uncharge_quick(const struct pw_limits *who,
						    unsigned long nr)
{
	struct pw_account *acc;

	atomic_long_sub(nr, &who->user->used);
	for (acc = who->cgroup; acc; acc = acc->parent)
		atomic_long_sub(nr, &acc->used);
}

/**
 * struct pw_limit_stat - a snapshot of one account
 * @uid: the user, when @is_user
 * @is_user: else it is a cgroup
 * @max: PW_NO_LIMIT for none
 * @used: charged now
 * @refused: how often something was refused
 * @path: of the cgroup, from the root of the hierarchy; the caller's buffer
 */
struct pw_limit_stat {
	kuid_t uid;
	bool is_user;
	unsigned long max, used, refused;
	char *path;
};

#define PW_CGROUP_PATH	4096

void pw_limit_set_user(kuid_t uid, unsigned long max);
bool pw_limit_get_user(kuid_t uid, struct pw_limit_stat *st);
int pw_limit_set_cgroup(const char *path, unsigned long max);
bool pw_limit_next_stat(unsigned long *pos, struct pw_limit_stat *st);
void pw_limit_exit(void);

#endif /* PAGEWELL_LIMIT_H */
