// SPDX-License-Identifier: GPL-2.0-only
/*
 * start.c - what is done when the library is loaded and when the program ends
 */
#include "env.h"
#include "fork.h"
#include "heap.h"
#include "tracer.h"
#include "tune.h"

__attribute__((constructor)) static void loaded(void)
{
	/* A backend that must be there is missed now, not at the first malloc(). */
	pw_heap_start();
	pw_fork_watch(true);
}

__attribute__((destructor)) static void unloaded(void)
{
	if (pw_env.trace)
		trace_flush();
	if (pw_env.stats)
		pw_print_stats();
}
