/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * tracer.h - the record of all calls, as the library's functions write it
 */
#ifndef PW_TRACER_H
#define PW_TRACER_H

#include <stddef.h>

#include "env.h"
#include "trace.h"

/* Begins the file. Called once, when pw_env.trace is there. */
void trace_start(void);

/* Adds a record, unless the thread is inside another call. */
void trace_add(enum trace_op op, const void *addr, size_t size, size_t align);

static inline void trace(enum trace_op op, const void *addr, size_t size, size_t align)
{
	if (unlikely(pw_env.trace) && addr)
		trace_add(op, addr, size, align);
}

/* What the thread does until trace_loud() is part of a call that is recorded. */
void trace_quiet(void);
void trace_loud(void);

/* In the child of a fork(): it is not recorded. */
void trace_fork_child(void);

#endif /* PW_TRACER_H */
