// SPDX-License-Identifier: GPL-2.0-only
/*
 * pagewell.c - the command: runs, limits, watches
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "tool.h"

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *args;
	const char *help;
	const char *more;
} commands[] = {
	{ "run", cmd_run,
	  "[--limit SIZE] [--huge auto|always|never] [--lazy] [--fallback] [--] COMMAND [ARG...]",
	  "run a program with its heap on our pages",
	  "  --limit SIZE   what its heap may commit; beyond that malloc() returns NULL\n"
	  "  --huge WHEN    2 MiB pages, where the module has them: auto, always, never\n"
	  "  --lazy         find memory when it is touched, not when it is asked for\n"
	  "  --fallback     without the module, run on anonymous memory\n"
	  "SIZE is in bytes, or has K, M, G or T behind it.\n"
	  "Exit status: that of COMMAND; 125 if it cannot have such a heap, 126 if it\n"
	  "cannot be executed, 127 if there is none of that name.\n" },
	{ "stat", cmd_stat, "[PID] [--json|--openmetrics]",
	  "show the pool and the heaps, or one heap",
	  "  --json          sizes in bytes, null for no limit\n"
	  "  --openmetrics   the exposition format of OpenMetrics 1.0\n" },
	{ "top", cmd_top, "[-b] [-d SECONDS] [-n TIMES]",
	  "show them again and again, the largest first",
	  "  -b           print instead of drawing on the terminal\n"
	  "  -d SECONDS   between two looks (2)\n"
	  "  -n TIMES     stop after that many\n"
	  "q quits.\n" },
	{ "events", cmd_events, "",
	  "print what happens: limits hit, the pool running low",
	  "One event a line, until interrupted. Sizes are in bytes.\n" },
	{ "set", cmd_set, "pool-max SIZE | user-max USER SIZE | cgroup-max PATH SIZE",
	  "set what the pool may grow to, and what users and cgroups may commit",
	  "SIZE may be none for a user or a cgroup. Needs CAP_SYS_ADMIN, but for\n"
	  "lowering one's own limit. What is in use above it stays in use.\n" },
	{ "limits", cmd_limits, "",
	  "show what users and cgroups have committed, and may",
	  "Without CAP_SYS_ADMIN: what oneself has.\n" },
	{ "explain", cmd_explain, "SIZE",
	  "make an allocation and tell what happened at each step",
	  "Runs malloc(SIZE), touches it, frees it, in a process of its own on our pages;\n"
	  "every number printed is measured there.\n" },
	{ "map", cmd_map, "PID",
	  "show where the heap of a process lies",
	  "Needs the right to read /proc/PID/smaps.\n" },
	{ "record", cmd_record, "[-o FILE] [--] COMMAND [ARG...]",
	  "run a program and record its allocations",
	  "  -o, --output FILE   where to (pagewell.trace)\n"
	  "Only of the process itself, not of its children. Works without the module.\n" },
	{ "replay", cmd_replay, "[-n TIMES] FILE",
	  "make the allocations of a record again, and measure",
	  "  -n, --times TIMES   one after the other; what is printed is of one (1)\n"
	  "With the malloc() this command has: LD_PRELOAD another one to compare, or use\n"
	  "pagewell run -- pagewell replay FILE.\n" },
};

#define NR_COMMANDS	(sizeof(commands) / sizeof(commands[0]))

static const struct command *find_command(const char *name)
{
	unsigned int i;

	for (i = 0; i < NR_COMMANDS; i++)
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	return NULL;
}

void (*before_words)(void);

static void vsay(const char *fmt, va_list ap)
{
	if (before_words)
		before_words();
	fflush(stdout);
	fprintf(stderr, "pagewell: ");
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
}

void say(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsay(fmt, ap);
	va_end(ap);
}

static void print_synopsis(FILE *f, const struct command *c)
{
	fprintf(f, "usage: pagewell %s%s%s\n", c->name, *c->args ? " " : "", c->args);
}

void print_usage(const char *name)
{
	const struct command *c = find_command(name);

	print_synopsis(stdout, c);
	printf("%s\n", c->more);
}

void bad_usage(const char *name, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsay(fmt, ap);
	va_end(ap);
	print_synopsis(stderr, find_command(name));
}

static int help(const char *name)
{
	unsigned int i;

	if (name && find_command(name)) {
		print_usage(name);
		return 0;
	}
	if (name) {
		say("no command %s; pagewell help lists them", name);
		return EXIT_USAGE;
	}
	printf("usage: pagewell COMMAND [ARG...]\n\n");
	for (i = 0; i < NR_COMMANDS; i++)
		printf("  %-9s %s\n", commands[i].name, commands[i].help);
	printf("\npagewell help COMMAND tells more, pagewell --version which one this is.\n");
	return 0;
}

int finish(int status)
{
	if (fflush(stdout) || ferror(stdout)) {
		say("cannot write: %s", strerror(errno));
		return status ?: 1;
	}
	return status;
}

/*
 * What is opened later shall not get the number of a standard stream that is closed, and what
 * is meant for the stream. These cannot be read or written, and programs find them closed.
 */
static void keep_numbers_of_streams(void)
{
	int fd;

	for (fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0)
			open("/", O_PATH | O_CLOEXEC);
}

int main(int argc, char **argv)
{
	const struct command *c;
	char name[32];

	keep_numbers_of_streams();
	if (argc < 2) {
		help(NULL);
		return finish(EXIT_USAGE);
	}
	if (!strcmp(argv[1], "--version")) {
		printf("pagewell %s, interface %d\n", PAGEWELL_VERSION, PAGEWELL_ABI_VERSION);
		return finish(0);
	}
	if (!strcmp(argv[1], "help") || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))
		return finish(help(argv[2]));
	c = find_command(argv[1]);
	if (!c) {
		say("no command %s; pagewell help lists them", argv[1]);
		return EXIT_USAGE;
	}
	/* What getopt() begins its complaints with. */
	snprintf(name, sizeof(name), "pagewell %s", c->name);
	argv[1] = name;
	return finish(c->run(argc - 1, argv + 1));
}
