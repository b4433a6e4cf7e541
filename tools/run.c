// SPDX-License-Identifier: GPL-2.0-only
/*
 * run.c - pagewell run: a command with its heap on our pages
 */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tool.h"

static int run(const struct launch *launch, char **argv)
{
	int err;

	if (!launch_prepare(launch))
		return EXIT_CANNOT_RUN;
	warn_if_out_of_reach(argv[0], "its heap stays where it is");
	execvp(argv[0], argv);
	err = errno;
	say("cannot run %s: %s", argv[0], strerror(err));
	return err == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_EXEC;
}

static bool is_huge_word(const char *s)
{
	return !strcmp(s, "auto") || !strcmp(s, "always") || !strcmp(s, "never");
}

int cmd_run(int argc, char **argv)
{
	static const struct option options[] = {
		{ "limit", required_argument, NULL, 'l' },
		{ "huge", required_argument, NULL, 'u' },
		{ "lazy", no_argument, NULL, 'z' },
		{ "fallback", no_argument, NULL, 'f' },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	struct launch launch = { };
	static char limit[24];
	uint64_t bytes;
	int c;

	while ((c = getopt_long(argc, argv, "+h", options, NULL)) != -1) {
		switch (c) {
		case 'l':
			if (!parse_size(optarg, &bytes) || !bytes) {
				bad_usage("run", "--limit %s: not a size above 0: a number, then K, M, G, T or nothing",
					  optarg);
				return EXIT_CANNOT_RUN;
			}
			snprintf(limit, sizeof(limit), "%llu", (unsigned long long)bytes);
			launch.limit = limit;
			break;
		case 'u':
			if (!is_huge_word(optarg)) {
				bad_usage("run", "--huge %s: not one of auto, always, never", optarg);
				return EXIT_CANNOT_RUN;
			}
			launch.huge = optarg;
			break;
		case 'z':
			launch.lazy = true;
			break;
		case 'f':
			launch.fallback = true;
			break;
		case 'h':
			print_usage("run");
			return 0;
		default:
			return EXIT_CANNOT_RUN;
		}
	}
	if (optind == argc) {
		bad_usage("run", "no command given");
		return EXIT_CANNOT_RUN;
	}
	return run(&launch, argv + optind);
}
