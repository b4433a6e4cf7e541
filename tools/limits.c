// SPDX-License-Identifier: GPL-2.0-only
/*
 * limits.c - pagewell limits: what users and cgroups have committed, and may
 */
#include <getopt.h>
#include <inttypes.h>
#include <pwd.h>

#include "tool.h"

static void print_limit(const struct limit *limit)
{
	const struct passwd *user = limit->is_user ? getpwuid(limit->uid) : NULL;
	char max[SIZE_TEXT], used[SIZE_TEXT];

	printf("%9s %9s %8" PRIu64 " ", size_text(limit->max, max), size_text(limit->used, used),
	       limit->refused);
	if (user)
		printf("user %s", user->pw_name);
	else if (limit->is_user)
		printf("user %" PRIu32, limit->uid);
	else
		printf("cgroup ");
	if (!limit->is_user)
		print_name(limit->cgroup ?: "?", "");
	putchar('\n');
}

int cmd_limits(int argc, char **argv)
{
	static const struct option options[] = {
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	struct limits limits;
	struct mod *mod;
	size_t i;
	bool ok;
	int c;

	while ((c = getopt_long(argc, argv, "+h", options, NULL)) != -1) {
		if (c != 'h')
			return EXIT_USAGE;
		print_usage("limits");
		return 0;
	}
	if (optind < argc) {
		bad_usage("limits", "it takes no arguments");
		return EXIT_USAGE;
	}
	mod = mod_open();
	if (!mod)
		return 1;
	ok = mod_get_limits(mod, &limits);
	if (ok)
		printf("%9s %9s %8s %s\n", "LIMIT", "COMMITTED", "REFUSED", "OF");
	for (i = 0; ok && i < limits.nr; i++)
		print_limit(&limits.limit[i]);
	limits_free(&limits);
	mod_close(mod);
	return !ok;
}
