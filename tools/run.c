// SPDX-License-Identifier: GPL-2.0-only
/*
 * run.c - pagewell run: a command with its heap on our pages
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tool.h"

/* Like execvp(): the first executable file of that name on the PATH. */
static bool find_command(const char *name, char path[PATH_MAX])
{
	const char *dir = getenv("PATH"), *end;

	if (strchr(name, '/'))
		return snprintf(path, PATH_MAX, "%s", name) < PATH_MAX;
	for (dir = dir ?: "/usr/bin:/bin"; ; dir = end + 1) {
		end = strchrnul(dir, ':');
		snprintf(path, PATH_MAX, "%.*s/%s", (int)(end - dir),
			 end == dir ? "." : dir, name);
		if (!access(path, X_OK))
			return true;
		if (!*end)
			return false;
	}
}

static bool has_interpreter(int fd, const Elf64_Ehdr *ehdr)
{
	Elf64_Phdr phdr;
	unsigned int i;

	for (i = 0; i < ehdr->e_phnum; i++) {
		off_t at = ehdr->e_phoff + i * sizeof(phdr);

		if (pread(fd, &phdr, sizeof(phdr), at) != sizeof(phdr))
			break;
		if (phdr.p_type == PT_INTERP)
			return true;
	}
	return false;
}

/* Why the dynamic loader will not preload anything into it; NULL if it will. */
static const char *no_preload(int fd)
{
	struct stat st;
	Elf64_Ehdr ehdr;

	if (!fstat(fd, &st) && (((st.st_mode & S_ISUID) && st.st_uid != geteuid()) ||
				((st.st_mode & S_ISGID) && st.st_gid != getegid())))
		return "is set-user-ID or set-group-ID";
	if (pread(fd, &ehdr, sizeof(ehdr), 0) != sizeof(ehdr) ||
	    memcmp(ehdr.e_ident, ELFMAG, SELFMAG))
		return NULL;
	if (ehdr.e_ident[EI_CLASS] != ELFCLASS64)
		return "is a 32-bit program";
	return has_interpreter(fd, &ehdr) ? NULL : "is statically linked";
}

static void warn_if_out_of_reach(const char *name)
{
	char path[PATH_MAX];
	const char *why;
	int fd;

	if (!find_command(name, path))
		return;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	why = no_preload(fd);
	close(fd);
	if (why)
		say("%s %s: its heap stays where it is", path, why);
}

static int run(const struct launch *launch, char **argv)
{
	int err;

	if (!launch_prepare(launch))
		return EXIT_CANNOT_RUN;
	warn_if_out_of_reach(argv[0]);
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
