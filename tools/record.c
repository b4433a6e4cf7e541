// SPDX-License-Identifier: GPL-2.0-only
/*
 * record.c - pagewell record: a command with a record of all its allocations
 */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tool.h"

#define NAME	"record"

/* The command may change its directory before the first record is written. */
static bool set_trace(const char *file)
{
	char dir[PATH_MAX], path[2 * PATH_MAX];

	/* The number stays when this process becomes the command. */
	snprintf(path, sizeof(path), "%d", (int)getpid());
	if (setenv("PAGEWELL_TRACE_PID", path, 1))
		return false;
	if (*file == '/')
		return !setenv("PAGEWELL_TRACE", file, 1);
	if (!getcwd(dir, sizeof(dir))) {
		say("cannot tell the current directory: %s", strerror(errno));
		return false;
	}
	snprintf(path, sizeof(path), "%s/%s", dir, file);
	return !setenv("PAGEWELL_TRACE", path, 1);
}

/* Noticed now, with a status, and not when the command has ended. */
static bool can_write(const char *file)
{
	FILE *f = fopen(file, "w");

	if (!f || fclose(f)) {
		say("cannot write %s: %s", file, strerror(errno));
		return false;
	}
	return true;
}

int cmd_record(int argc, char **argv)
{
	static const struct option options[] = {
		{ "output", required_argument, NULL, 'o' },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	const struct launch launch = { .fallback = true };
	const char *file = "pagewell.trace";
	int c, err;

	while ((c = getopt_long(argc, argv, "+o:h", options, NULL)) != -1) {
		switch (c) {
		case 'o':
			file = optarg;
			break;
		case 'h':
			print_usage(NAME);
			return 0;
		default:
			bad_usage(NAME, "see what it takes:");
			return EXIT_CANNOT_RUN;
		}
	}
	if (optind == argc) {
		bad_usage(NAME, "no command to record");
		return EXIT_CANNOT_RUN;
	}
	if (!can_write(file) || !launch_prepare(&launch) || !set_trace(file))
		return EXIT_CANNOT_RUN;
	execvp(argv[optind], argv + optind);
	err = errno;
	say("cannot execute %s: %s", argv[optind], strerror(err));
	return err == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_EXEC;
}
