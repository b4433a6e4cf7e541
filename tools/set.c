// SPDX-License-Identifier: GPL-2.0-only
/*
 * set.c - pagewell set: change the module's settings
 */
#include <getopt.h>
#include <string.h>

#include "tool.h"

int cmd_set(int argc, char **argv)
{
	static const struct option options[] = {
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
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
	if (argc - optind != 2 || strcmp(argv[optind], "pool-max")) {
		bad_usage("set", "say what to set: pool-max SIZE");
		return EXIT_USAGE;
	}
	if (!parse_size(argv[optind + 1], &bytes)) {
		bad_usage("set", "%s: not a size (a number, then K, M, G, T or nothing)",
			  argv[optind + 1]);
		return EXIT_USAGE;
	}
	mod = mod_open();
	if (!mod)
		return 1;
	ok = mod_set_pool_max(mod, bytes);
	mod_close(mod);
	return !ok;
}
