// SPDX-License-Identifier: GPL-2.0-only
/*
 * plugin.c - dlopen(), so that all that is loaded later has our malloc(), too
 *
 * With RTLD_DEEPBIND a plugin finds its own libraries' symbols first, and libc is one of
 * them: its free() is libc's then, for blocks that the program has of us. PHP opens its
 * extensions so.
 */
#include <dlfcn.h>

#include "entry.h"

/* Not in the archive: what it is linked into may have no dynamic loader, and no other dlopen(). */
#ifdef PW_SHARED
PUBLIC void *dlopen(const char *file, int mode)
{
	static __typeof__(&dlopen) next;
	__typeof__(&dlopen) open = READ_ONCE(next);

	if (unlikely(!open)) {
		open = (__typeof__(&dlopen))dlsym(RTLD_NEXT, "dlopen");
		WRITE_ONCE(next, open);
	}
	if (pw_malloc_is_ours())
		mode &= ~RTLD_DEEPBIND;
	/* A jump: by who has called it the loader knows where else to look for the file. */
	return open(file, mode);
}
#endif
