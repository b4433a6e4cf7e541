// SPDX-License-Identifier: GPL-2.0-only
/*
 * launch.c - what a program needs to have its heap on our pages
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tool.h"

#define LIBRARY	"libpagewell.so"

static void say_cannot_open(int err)
{
	switch (err) {
	case ENOENT:
	case ENODEV:
	case ENXIO:
		say("no " PAGEWELL_DEVICE ": the module is not loaded"
		    " (modprobe pagewell, or insmod build/$(uname -r)/pagewell.ko)");
		break;
	case EACCES:
	case EPERM:
		say("no permission to open " PAGEWELL_DEVICE
		    ": ls -l tells who may (see pagewell(4))");
		break;
	default:
		say("cannot open " PAGEWELL_DEVICE ": %s", strerror(err));
	}
}

bool device_usable(void)
{
	struct pagewell_info info = { .size = sizeof(info) };
	int fd = open(PAGEWELL_DEVICE, O_RDWR | O_CLOEXEC);
	int err;

	if (fd < 0) {
		say_cannot_open(errno);
		return false;
	}
	err = ioctl(fd, PAGEWELL_IOC_INFO, &info) ? errno : 0;
	close(fd);
	if (err) {
		say(PAGEWELL_DEVICE " does not answer as Pagewell's device: %s", strerror(err));
		return false;
	}
	if (info.abi != PAGEWELL_ABI_VERSION) {
		say("the module speaks version %u of the interface, this command version %u:"
		    " install both from one release", info.abi, PAGEWELL_ABI_VERSION);
		return false;
	}
	return true;
}

/* Beside the command (build/), in its prefix, or where it was installed. */
static bool find_library(char path[PATH_MAX])
{
	static const char *const places[] = { "%s/" LIBRARY, "%s/../lib/" LIBRARY,
					      PAGEWELL_LIBDIR "/" LIBRARY };
	char dir[PATH_MAX], try[PATH_MAX + sizeof(LIBRARY) + 8];
	ssize_t len = readlink("/proc/self/exe", dir, sizeof(dir) - 1);
	unsigned int i;

	if (len < 0)
		len = 0;
	dir[len] = '\0';
	*(strrchr(dir, '/') ?: dir) = '\0';

	for (i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		snprintf(try, sizeof(try), places[i], dir);
		if (realpath(try, path) && !access(path, R_OK))
			return true;
	}
	say("cannot find " LIBRARY " in %s, %s/../lib or " PAGEWELL_LIBDIR, dir, dir);
	return false;
}

static bool preload(void)
{
	const char *old = getenv("LD_PRELOAD");
	char path[PATH_MAX];
	char *value;
	bool ok;

	if (!find_library(path))
		return false;
	if (strpbrk(path, " :\t\n")) {
		say("the dynamic loader takes no LD_PRELOAD with a space or colon in it: %s", path);
		return false;
	}
	if (asprintf(&value, old && *old ? "%s:%s" : "%s", path, old) < 0) {
		say("out of memory");
		return false;
	}
	ok = !setenv("LD_PRELOAD", value, 1);
	free(value);
	return ok;
}

bool launch_prepare(const struct launch *launch)
{
	if (!preload() || (!launch->fallback && !device_usable()))
		return false;
	if (launch->limit)
		setenv("PAGEWELL_LIMIT", launch->limit, 1);
	if (launch->huge)
		setenv("PAGEWELL_HUGE", launch->huge, 1);
	if (launch->lazy)
		setenv("PAGEWELL_COMMIT", "lazy", 1);
	setenv("PAGEWELL_BACKEND", launch->fallback ? "auto" : "device", 1);
	return true;
}
