/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * limit.h - limits on what users and cgroups may commit
 *
 * A heap is charged to the user and the cgroup (v2) that its process had when
 * the heap was made, and to all cgroups above that one. It stays with them
 * wherever the process goes. All in pages: those it has committed, and those that
 * it has found where nothing was promised.
 */
#ifndef PAGEWELL_LIMIT_H
#define PAGEWELL_LIMIT_H

#include <linux/types.h>
#include <linux/uidgid.h>

struct cgroup;
struct pw_account;

/**
 * struct pw_limits - who pays for a heap
 * @user: the user
 * @cgroup: the cgroup, NULL when the kernel has none
 */
struct pw_limits {
	struct pw_account *user, *cgroup;
};

void pw_limits_get(struct pw_limits *who);
void pw_limits_put(struct pw_limits *who);
int pw_limit_charge(const struct pw_limits *who, unsigned long nr);
unsigned int pw_limit_charge_some(const struct pw_limits *who, unsigned int nr);
void pw_limit_charge_all(const struct pw_limits *who, unsigned long nr);
void pw_limit_uncharge(const struct pw_limits *who, unsigned long nr);

#define PW_NO_LIMIT	ULONG_MAX

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
unsigned long pw_limit_user_max(kuid_t uid);
int pw_limit_set_cgroup(const char *path, unsigned long max);
bool pw_limit_next_stat(unsigned long *pos, struct pw_limit_stat *st);
void pw_limit_exit(void);

#endif /* PAGEWELL_LIMIT_H */
