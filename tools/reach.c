// SPDX-License-Identifier: GPL-2.0-only
/*
 * reach.c - can the library be preloaded into a program?
 */
#include <elf.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
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
	/* Root has them already, and gains nothing. */
	if (getuid() && fgetxattr(fd, "security.capability", NULL, 0) > 0)
		return "has file capabilities";
	if (pread(fd, &ehdr, sizeof(ehdr), 0) != sizeof(ehdr) ||
	    memcmp(ehdr.e_ident, ELFMAG, SELFMAG))
		return NULL;
	if (ehdr.e_ident[EI_CLASS] != ELFCLASS64)
		return "is a 32-bit program";
	return has_interpreter(fd, &ehdr) ? NULL : "is statically linked";
}

void warn_if_out_of_reach(const char *name, const char *so)
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
		say("%s %s: %s", path, why, so);
}
