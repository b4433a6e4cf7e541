// SPDX-License-Identifier: GPL-2.0-only
/*
 * set.c - pagewell set: change the module's settings
 */
#include <getopt.h>
#include <pwd.h>
#include <string.h>

#include "tool.h"

/* A setting: its name, how many words follow it, and what the words do. */
struct setting {
	const char *name;
	int words;
	bool (*apply)(struct mod *mod, char **words, uint64_t bytes);
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
	{ "pool-max", 1, set_pool_max },
	{ "user-max", 2, set_user_max },
	{ "cgroup-max", 2, set_cgroup_max },
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
	mod = mod_open();
	if (!mod)
		return 1;
	ok = setting->apply(mod, argv + optind + 1, bytes);
	mod_close(mod);
	return !ok;
}
