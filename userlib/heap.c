// SPDX-License-Identifier: GPL-2.0-only
/*
 * heap.c - the heap's start, and what is done when the program ends
 */
#include "arena.h"
#include "entry.h"
#include "env.h"
#include "fork.h"
#include "harden.h"
#include "heap.h"
#include "os.h"
#include "report.h"
#include "tcache.h"
#include "tracer.h"
#include "tune.h"

struct heap pw_heap;
uintptr_t pw_base;
uintptr_t pw_fast_limit;
uintptr_t pw_hard_limit;

struct lock pw_start_lock;

void pw_heap_limits(void)
{
	uintptr_t limit = READ_ONCE(pw_heap.granules) << GRANULE_UNIT_SHIFT;

	WRITE_ONCE(pw_fast_limit, pw_heap.slow ? 0 : limit);
	/* Traced, nothing takes the short way. */
	WRITE_ONCE(pw_hard_limit, pw_env.harden && !pw_env.trace ? limit : 0);
}

void pw_heap_slow_mode(void)
{
	pw_heap.slow = true;
	pw_heap_limits();
	pw_tune_hard_most();
}

bool pw_heap_start(void)
{
	bool ready;

	if (likely(__atomic_load_n(&pw_heap.ready, __ATOMIC_ACQUIRE)))
		return true;
	lock(&pw_start_lock);
	ready = pw_heap.ready;
	if (!ready) {
		pw_env_read();
		if (pw_env.stats)
			pw_keep_stderr();
		arenas_start();
		if (pw_env.harden || pw_env.trace)
			pw_heap_slow_mode();
		ready = os_start();
		if (ready && pw_env.harden)
			harden_start();
		if (ready && pw_env.trace)
			trace_start();
		__atomic_store_n(&pw_heap.ready, ready, __ATOMIC_RELEASE);
	}
	unlock(&pw_start_lock);
	return ready;
}

__attribute__((constructor)) static void loaded(void)
{
	/*
	 * A backend that must be there is missed now, not at the first malloc(). One that
	 * nobody calls does not take the device away from the other.
	 */
	if (pw_malloc_is_ours())
		pw_heap_start();
	pw_fork_watch(true);
	/* While there are keys: programs may use up all of them. */
	tcache_start();
}

__attribute__((destructor)) static void unloaded(void)
{
	if (!pw_env.stats)
		return;
	pw_reopen_stderr();
	pw_print_stats();
}
