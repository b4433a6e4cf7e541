/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * probe.h - probes for perf, bpftrace and systemtap: provider pagewell
 *
 * One instruction that does nothing each, on slow paths only. The module's
 * tracepoints tell what becomes of it: together they are the whole way.
 */
#ifndef PW_PROBE_H
#define PW_PROBE_H

#define SDT_USE_VARIADIC
#include <sys/sdt.h>

#define probe(name, ...)	STAP_PROBEV(pagewell, name, ##__VA_ARGS__)

#endif /* PW_PROBE_H */
