/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * env.h - what the PAGEWELL_ variables ask for
 */
#ifndef PW_ENV_H
#define PW_ENV_H

#include "types.h"

enum backend_choice { BACKEND_AUTO, BACKEND_DEVICE, BACKEND_ANON };
enum huge_choice { HUGE_AUTO, HUGE_ALWAYS, HUGE_NEVER };

/**
 * struct env - what the PAGEWELL_ variables ask for
 * @backend: PAGEWELL_BACKEND
 * @huge: PAGEWELL_HUGE
 * @limit: PAGEWELL_LIMIT in bytes, SIZE_MAX for none
 * @lazy: PAGEWELL_COMMIT=lazy
 * @stats: PAGEWELL_STATS=1
 * @harden: PAGEWELL_HARDEN=1
 * @trace: a copy of PAGEWELL_TRACE, or NULL
 * @random: 16 bytes that the kernel drew for the process, or NULL
 */
struct env {
	enum backend_choice backend;
	enum huge_choice huge;
	size_t limit;
	bool lazy;
	bool stats;
	bool harden;
	const char *trace;
	const void *random;
};

extern struct env pw_env;

/*
 * Reads the environment the process was started with. Needs no libc that has
 * been initialised. A program that runs with more rights than its caller
 * ignores the variables. A value that is not understood is named on standard
 * error and has no effect.
 */
void pw_env_read(void);

/* "64M", "2G", "4096": false if it is no size. */
bool pw_parse_size(const char *s, size_t *size);

#endif /* PW_ENV_H */
