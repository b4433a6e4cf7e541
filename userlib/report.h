/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * report.h - what the library says on standard error, heap errors among it
 */
#ifndef PW_REPORT_H
#define PW_REPORT_H

#include <stdarg.h>

#include "types.h"

/* Formats know %s, %d, %u, %lu, %zu, %p, %x, %c and %%; nothing is allocated. */
int pw_vformat(char *buf, size_t size, const char *fmt, va_list ap);
__attribute__((format(printf, 3, 4)))
int pw_format(char *buf, size_t size, const char *fmt, ...);

/* Writes "pagewell: ..." and a newline to standard error. */
__attribute__((format(printf, 1, 2)))
void pw_note(const char *fmt, ...);

/* The same without the name in front, for tables. */
__attribute__((format(printf, 1, 2)))
void pw_line(const char *fmt, ...);

/*
 * Commands close standard error before they end, to see whether all was written. A copy
 * serves those who have something to say after that.
 */
void pw_keep_stderr(void);
void pw_reopen_stderr(void);

/* A child may live for long, and who reads from the other end waits for all copies. */
void pw_drop_stderr(void);

/*
 * A heap error: one line that names the call and the address, then abort(). Locks may
 * be held: a handler of SIGABRT that allocates passes them.
 */
__attribute__((noreturn, __cold__))
void pw_heap_error(const char *call, const char *what, const void *p);

#endif /* PW_REPORT_H */
