/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * sys.h - system calls that leave errno alone and are no cancellation points
 */
#ifndef PW_SYS_H
#define PW_SYS_H

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Returns what the kernel returns: a result, or a negative error number. */
#define sys(...)						\
({								\
	int saved_errno_ = errno;				\
	long ret_ = syscall(__VA_ARGS__);			\
	if (ret_ == -1) {					\
		ret_ = -errno;					\
		errno = saved_errno_;				\
	}							\
	ret_;							\
})

#endif /* PW_SYS_H */
