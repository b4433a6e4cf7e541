// SPDX-License-Identifier: GPL-2.0-only
/*
 * set.c - pagewell set: change the module's settings
 */
#include <getopt.h>
#include <pwd.h>
#include <string.h>

#include "tool.h"

/**
 * struct setting - something to set
 * @name: its name
 * @words: how many follow that; the last is a size
 * @apply: what the words do
 * @path: the first one is the path of a cgroup
 */
struct setting {
	const char *name;
	int words;
	bool (*apply)(struct mod *mod, char **words, uint64_t bytes);
	bool path;
};

static bool set_pool_max(struct mod *mod, char **words, uint64_t bytes)
{
	(void)words;
	return mod_set_pool_max(mod, bytes);
}

static bool find_user(const char *name, uint32_t *uid)
{
	const struct passwd *user = getpwnam(name);
	long number;

	if (user) {
		*uid = user->pw_uid;
		return true;
	}
	if (!parse_number(name, 0, UINT32_MAX - 1L, &number)) {
		say("%s: no such user", name);
		return false;
	}
	*uid = number;
	return true;
}

static bool set_user_max(struct mod *mod, char **words, uint64_t bytes)
{
	struct limit limit = { .is_user = true, .max = bytes };

	return find_user(words[0], &limit.uid) && mod_set_limit(mod, &limit);
}

static bool set_cgroup_max(struct mod *mod, char **words, uint64_t bytes)
{
	struct limit limit = { .cgroup = words[0], .max = bytes };

	return mod_set_limit(mod, &limit);
}

static const struct setting settings[] = {
	{ .name = "pool-max", .words = 1, .apply = set_pool_max },
	{ .name = "user-max", .words = 2, .apply = set_user_max },
	{ .name = "cgroup-max", .words = 2, .apply = set_cgroup_max, .path = true },
};

static const struct setting *find_setting(int argc, char **argv)
{
	unsigned int i;

	for (i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
		if (argc == 1 + settings[i].words && !strcmp(argv[0], settings[i].name))
			return &settings[i];
	return NULL;
}

/* The size is the last word; a limit may be none. */
static bool parse_value(const struct setting *setting, const char *word, uint64_t *bytes)
{
	if (setting->words > 1 && !strcmp(word, "none")) {
		*bytes = NO_LIMIT;
		return true;
	}
	return parse_size(word, bytes);
}

int cmd_set(int argc, char **argv)
{
	static const struct option options[] = {
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	const struct setting *setting;
	struct mod *mod;
	uint64_t bytes;
	bool ok;
	int c;

	while ((c = getopt_long(argc, argv, "+h", options, NULL)) != -1) {
		if (c != 'h')
			return EXIT_USAGE;
		print_usage("set");
		return 0;
	}
	setting = find_setting(argc - optind, argv + optind);
	if (!setting) {
		bad_usage("set", "say what to set: pool-max SIZE, user-max USER SIZE or cgroup-max PATH SIZE");
		return EXIT_USAGE;
	}
	if (!parse_value(setting, argv[argc - 1], &bytes)) {
		bad_usage("set", "%s: not a size (a number, then K, M, G, T or nothing)",
			  argv[argc - 1]);
		return EXIT_USAGE;
	}
	/* An empty path is the root to the kernel: all of the machine. */
	if (setting->path && *argv[optind + 1] != '/') {
		bad_usage("set", "%s: not the path of a cgroup, which begins with /",
			  argv[optind + 1]);
		return EXIT_USAGE;
	}
	mod = mod_open();
	if (!mod)
		return 1;
	ok = setting->apply(mod, argv + optind + 1, bytes);
	mod_close(mod);
	return !ok;
}
