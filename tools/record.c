// SPDX-License-Identifier: GPL-2.0-only
/*
 * record.c - pagewell record: a command with a record of all its allocations
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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

/*
 * Noticed now, with a status, and not when the command has begun. What is in the
 * file stays until then: perhaps it never does. @made: there was none.
 */
static bool can_write(const char *file, bool *made)
{
	const int flags = O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK;
	int fd = open(file, flags | O_EXCL, 0666);
	struct stat st;
	bool good;

	*made = fd >= 0;
	if (fd < 0 && errno == EEXIST)
		fd = open(file, flags, 0666);
	if (fd < 0 || fstat(fd, &st)) {
		say("cannot write %s: %s", file, strerror(errno));
		return false;
	}
	close(fd);
	good = S_ISREG(st.st_mode);
	if (!good)
		say("cannot write a trace to %s: it is no file", file);
	return good;
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
	bool made;
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
	if (!launch_prepare(&launch) || !set_trace(file) || !can_write(file, &made))
		return EXIT_CANNOT_RUN;
	warn_if_out_of_reach(argv[optind], "nothing is recorded");
	execvp(argv[optind], argv + optind);
	err = errno;
	if (made)
		unlink(file);
	say("cannot execute %s: %s", argv[optind], strerror(err));
	return err == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_EXEC;
}
