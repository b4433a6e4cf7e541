// SPDX-License-Identifier: GPL-2.0-only
/*
 * limit.c - limits on what users and cgroups may commit
 *
 * An account counts what all heaps of a user, or of a cgroup and those below
 * it, have committed, whether it has a limit or not, so that a limit set later
 * finds the sum. It lives as long as a heap or a page is charged to it, an account
 * below it does, or it has a limit. The limit of a removed cgroup ends when it is the
 * last of these, and accounts are looked at.
 *
 * Charging takes no lock: the counter is the authority. Accounts come and go
 * under one mutex, when heaps do, and the last pages of theirs.
 */
#include <linux/cgroup.h>
#include <linux/cred.h>
#include <linux/hashtable.h>
#include <linux/limits.h>
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/xarray.h>

#include "limit.h"
#include "watch.h"

DEFINE_STATIC_KEY_FALSE(pw_limits_key);

static DEFINE_MUTEX(accounts_lock);
/* By number, and so the oldest first; and by whom they are of. */
static DEFINE_XARRAY(accounts);
static DEFINE_HASHTABLE(accounts_by_who, 10);
static unsigned long last_nr;

static unsigned long key_of(kuid_t uid, const struct cgroup *cgrp)
{
	return cgrp ? (unsigned long)cgrp : __kuid_val(uid);
}

/* @cgrp: NULL to look for a user */
static struct pw_account *account_find(kuid_t uid, struct cgroup *cgrp)
{
	struct pw_account *acc;

	lockdep_assert_held(&accounts_lock);
	hash_for_each_possible(accounts_by_who, acc, by_who, key_of(uid, cgrp))
		if (acc->cgrp == cgrp && (cgrp || uid_eq(acc->uid, uid)))
			return acc;
	return NULL;
}

/*
 * A new account has no reference yet. A user may make as many as there are users they
 * can become; to charge a cgroup for that might take long, and others wait for the lock.
 */
static struct pw_account *account_make(kuid_t uid, struct cgroup *cgrp,
				       struct pw_account *parent)
{
	struct pw_account *acc = kzalloc(sizeof(*acc), GFP_KERNEL | __GFP_NOFAIL);

	acc->nr = ++last_nr;
	acc->uid = uid;
	acc->cgrp = cgrp;
	acc->max = PW_NO_LIMIT;
	acc->parent = parent;
	init_rwsem(&acc->trials);
	if (parent)
		parent->refs++;
	hash_add(accounts_by_who, &acc->by_who, key_of(uid, cgrp));
	xa_store(&accounts, acc->nr, acc, GFP_KERNEL | __GFP_NOFAIL);
	return acc;
}

static struct pw_account *account_user(kuid_t uid)
{
	struct pw_account *acc = account_find(uid, NULL);

	return acc ? acc : account_make(uid, NULL, NULL);
}

#ifdef CONFIG_CGROUPS
static struct pw_account *account_cgroup(struct cgroup *cgrp)
{
	struct pw_account *acc = NULL, *parent;
	int level;

	for (level = 0; level <= cgrp->level; level++) {
		struct cgroup *at = cgroup_ancestor(cgrp, level);

		parent = acc;
		acc = account_find(INVALID_UID, at);
		if (acc)
			continue;
		acc = account_make(INVALID_UID, at, parent);
		cgroup_get(at);
	}
	return acc;
}

static struct cgroup *current_cgroup(void)
{
	struct cgroup *cgrp;

	rcu_read_lock();
	do {
		cgrp = task_dfl_cgroup(current);
	} while (!cgroup_tryget(cgrp));
	rcu_read_unlock();
	return cgrp;
}

static struct pw_account *account_current_cgroup(void)
{
	struct cgroup *cgrp = current_cgroup();
	struct pw_account *acc = account_cgroup(cgrp);

	acc->refs++;
	cgroup_put(cgrp);
	return acc;
}

/*
 * A cgroup by its path. The kernel looks for it from where the caller's namespace begins,
 * and everybody is told paths from the root. Nothing at all would be the root: all of
 * the machine.
 */
static struct cgroup *cgroup_at(const char *path)
{
	if (current->nsproxy->cgroup_ns->root_cset->dfl_cgrp->level)
		return ERR_PTR(-EOPNOTSUPP);
	return *path == '/' ? cgroup_get_from_path(path) : ERR_PTR(-EINVAL);
}

static void account_path(struct pw_account *acc, char *path)
{
	if (cgroup_path(acc->cgrp, path, PW_CGROUP_PATH) < 0)
		path[0] = '\0';
}

static void drop_cgroup(struct pw_account *acc)
{
	if (acc->cgrp)
		cgroup_put(acc->cgrp);
}

static bool is_removed(const struct pw_account *acc)
{
	return acc->cgrp && !(READ_ONCE(acc->cgrp->self.flags) & CSS_ONLINE);
}
#else
static struct pw_account *account_current_cgroup(void)
{
	return NULL;
}

static void account_path(struct pw_account *acc, char *path)
{
	path[0] = '\0';
}

static void drop_cgroup(struct pw_account *acc)
{
}

static bool is_removed(const struct pw_account *acc)
{
	return false;
}
#endif

/* One reference less; the account may go, and those above it that it held. */
static void account_put(struct pw_account *acc)
{
	struct pw_account *parent;

	lockdep_assert_held(&accounts_lock);
	for (; acc && !--acc->refs; acc = parent) {
		parent = acc->parent;
		WARN_ON_ONCE(atomic_long_read(&acc->used));
		hash_del(&acc->by_who);
		xa_erase(&accounts, acc->nr);
		drop_cgroup(acc);
		kfree(acc);
	}
}

/**
 * pw_payer_new() - charge a new heap to the process that makes it
 * @gfp: for what is returned
 *
 * Sleeps, may be called with an mmap_lock held.
 *
 * Return: who pays, with a reference for the caller, or NULL.
 */
struct pw_payer *pw_payer_new(gfp_t gfp)
{
	struct pw_payer *payer = kzalloc(sizeof(*payer), gfp);

	if (!payer)
		return NULL;
	refcount_set(&payer->refs, 1);
	mutex_lock(&accounts_lock);
	payer->who.user = account_user(current_uid());
	payer->who.user->refs++;
	payer->who.cgroup = account_current_cgroup();
	mutex_unlock(&accounts_lock);
	return payer;
}

/**
 * pw_payer_put() - a heap is gone, or pages that had taken their charge along
 * @payer: of pw_payer_new(); what the references stood for has been uncharged
 * @nr: how many
 *
 * Sleeps, may be called with a chunk locked.
 */
void pw_payer_put(struct pw_payer *payer, unsigned int nr)
{
	if (!refcount_sub_and_test(nr, &payer->refs))
		return;
	mutex_lock(&accounts_lock);
	account_put(payer->who.user);
	account_put(payer->who.cgroup);
	mutex_unlock(&accounts_lock);
	kfree(payer);
}

/* What there is to say of an account; @st->path has room if it is a cgroup's. */
static void account_stat(struct pw_account *acc, struct pw_limit_stat *st)
{
	st->is_user = !acc->cgrp;
	st->uid = acc->uid;
	st->max = READ_ONCE(acc->max);
	st->used = atomic_long_read(&acc->used);
	st->refused = atomic_long_read(&acc->refused);
	if (acc->cgrp)
		account_path(acc, st->path);
}

/* The heap that was refused keeps the account. */
static void tell(struct pw_account *acc, unsigned long asked)
{
	struct pw_limit_stat st;

	if (!pw_netlink_limit_wanted())
		return;
	st.path = kmalloc(PW_CGROUP_PATH, GFP_KERNEL);
	if (!st.path)
		return;
	account_stat(acc, &st);
	pw_netlink_limit(&st, asked);
	kfree(st.path);
}

/* Refusals are counted, and told, unless the caller will come to terms. */
static bool charge(struct pw_account *acc, unsigned long nr, bool loud)
{
	unsigned long max = READ_ONCE(acc->max);
	long old = atomic_long_read(&acc->used);

	do {
		if (nr > max || (unsigned long)old > max - nr) {
			if (loud) {
				atomic_long_inc(&acc->refused);
				tell(acc, nr);
			}
			return false;
		}
	} while (!atomic_long_try_cmpxchg(&acc->used, &old, old + nr));
	return true;
}

/* Up to, and without, @end. */
static void uncharge(struct pw_account *acc, const struct pw_account *end,
		     unsigned long nr)
{
	for (; acc != end; acc = acc->parent)
		atomic_long_sub(nr, &acc->used);
}

/* All of an account and those above it, or none. */
static bool charge_all(struct pw_account *first, unsigned long nr, bool loud)
{
	struct pw_account *acc;

	for (acc = first; acc; acc = acc->parent) {
		if (charge(acc, nr, loud))
			continue;
		uncharge(first, acc, nr);
		return false;
	}
	return true;
}

/**
 * pw_limit_charge() - count pages that a heap is about to commit
 * @who: of the heap
 * @nr: pages
 * @loud: a refusal is counted and told; the caller may sleep
 *
 * Return: false when a limit is in the way, and nothing is counted.
 */
bool pw_limit_charge(const struct pw_limits *who, unsigned long nr, bool loud)
{
	if (!charge_all(who->user, nr, loud))
		return false;
	if (charge_all(who->cgroup, nr, loud))
		return true;
	uncharge(who->user, NULL, nr);
	return false;
}

/**
 * pw_limit_charge_some() - the same, and fewer when there is no room for more
 * @who: of the heap
 * @nr: pages, at least one
 * @loud: there being none is counted and told; the caller may sleep
 *
 * Return: how many.
 */
unsigned int pw_limit_charge_some(const struct pw_limits *who, unsigned int nr, bool loud)
{
	for (; nr > 1; nr /= 2)
		if (pw_limit_charge(who, nr, false))
			return nr;
	return pw_limit_charge(who, 1, loud);
}

/**
 * pw_limit_uncharge() - count pages off again
 * @who: of the heap
 * @nr: pages
 *
 * Any context.
 */
void pw_limit_uncharge(const struct pw_limits *who, unsigned long nr)
{
	uncharge(who->user, NULL, nr);
	uncharge(who->cgroup, NULL, nr);
}

/*
 * A limit holds a reference, and keeps the key on, which is not switched with the
 * lock held. Return: whether there was one before.
 */
static bool account_set_max(struct pw_account *acc, unsigned long max)
{
	bool had = acc->max != PW_NO_LIMIT;

	acc->refs++;
	WRITE_ONCE(acc->max, max);
	if (max != PW_NO_LIMIT)
		acc->refs++;
	if (had)
		account_put(acc);
	account_put(acc);
	return had;
}

/*
 * End the limits of cgroups that were removed, as nobody can name them any more;
 * where a heap is still charged to one, it holds until that is gone.
 * Return: how many.
 */
static unsigned int forget_removed(void)
{
	struct pw_account *acc;
	unsigned long i;
	unsigned int nr = 0, before;

	lockdep_assert_held(&accounts_lock);
	/* With an account that goes, one above it, and before it, may have its last limit. */
	do {
		before = nr;
		xa_for_each(&accounts, i, acc)
			if (acc->max != PW_NO_LIMIT && acc->refs == 1 && is_removed(acc))
				nr += account_set_max(acc, PW_NO_LIMIT);
	} while (nr > before);
	return nr;
}

static void begin_limit(unsigned long max)
{
	if (max != PW_NO_LIMIT)
		static_branch_inc(&pw_limits_key);
}

static void end_limits(unsigned int nr)
{
	while (nr--)
		static_branch_dec(&pw_limits_key);
}

/**
 * pw_limit_set_user() - limit what all heaps of a user may commit
 * @uid: whose
 * @max: pages, PW_NO_LIMIT for none; below what is in use, nothing new is
 *	 granted, and what there is stays
 */
void pw_limit_set_user(kuid_t uid, unsigned long max)
{
	bool had;

	begin_limit(max);
	mutex_lock(&accounts_lock);
	had = account_set_max(account_user(uid), max);
	mutex_unlock(&accounts_lock);
	end_limits(had);
}

/**
 * pw_limit_get_user() - the account of a user
 * @uid: whose
 * @st: filled in, but for @path
 *
 * Return: false when there is none; who has neither a heap nor a limit has none.
 */
bool pw_limit_get_user(kuid_t uid, struct pw_limit_stat *st)
{
	struct pw_account *acc;

	mutex_lock(&accounts_lock);
	acc = account_find(uid, NULL);
	if (acc)
		account_stat(acc, st);
	mutex_unlock(&accounts_lock);
	return acc;
}

/**
 * pw_limit_set_cgroup() - the same for a cgroup and all below it
 * @path: from the root of the cgroup v2 hierarchy
 * @max: pages, PW_NO_LIMIT for none
 *
 * Return: 0, -EOPNOTSUPP where paths do not begin at the root, or what says that there
 * is no such cgroup.
 */
int pw_limit_set_cgroup(const char *path, unsigned long max)
{
#ifdef CONFIG_CGROUPS
	struct cgroup *cgrp = cgroup_at(path);
	unsigned int over;

	if (IS_ERR(cgrp))
		return PTR_ERR(cgrp);
	begin_limit(max);
	mutex_lock(&accounts_lock);
	over = account_set_max(account_cgroup(cgrp), max);
	over += forget_removed();
	mutex_unlock(&accounts_lock);
	end_limits(over);
	cgroup_put(cgrp);
	return 0;
#else
	return -EOPNOTSUPP;
#endif
}

/**
 * pw_limit_next_stat() - walk all accounts
 * @pos: in: 0, or as it was left; out: where to go on
 * @st: filled in; @st->path has room for PW_CGROUP_PATH bytes
 *
 * Sleeps. Accounts may come and go between calls; none is seen twice. Limits of removed
 * cgroups end when a walk begins.
 *
 * Return: true when there was one.
 */
bool pw_limit_next_stat(unsigned long *pos, struct pw_limit_stat *st)
{
	struct pw_account *acc;
	unsigned int over = 0;

	mutex_lock(&accounts_lock);
	if (!*pos)
		over = forget_removed();
	acc = xa_find_after(&accounts, pos, ULONG_MAX, XA_PRESENT);
	if (acc)
		account_stat(acc, st);
	mutex_unlock(&accounts_lock);
	end_limits(over);
	return acc;
}

/**
 * pw_limit_exit() - forget all limits; no heap is left
 */
void pw_limit_exit(void)
{
	struct pw_account *acc;
	unsigned long i;
	unsigned int nr = 0;

	mutex_lock(&accounts_lock);
	/* Those above it are older and come first: one that goes with it has been passed. */
	xa_for_each(&accounts, i, acc)
		if (acc->max != PW_NO_LIMIT)
			nr += account_set_max(acc, PW_NO_LIMIT);
	WARN_ON_ONCE(!xa_empty(&accounts));
	mutex_unlock(&accounts_lock);
	end_limits(nr);
}
