/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef PAGEWELL_POOL_TEST_H
#define PAGEWELL_POOL_TEST_H

#include <linux/types.h>

/* What went wrong; the first few are printed. */
void pool_error(const char *fmt, ...) __printf(1, 2);

int pool_bench(void);

#endif /* PAGEWELL_POOL_TEST_H */
