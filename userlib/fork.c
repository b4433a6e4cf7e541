// SPDX-License-Identifier: GPL-2.0-only
/*
 * fork.c - a child's heap is in order, whatever the parent's threads were doing
 *
 * The forking thread takes every lock, in lock order, and both sides let go of
 * them. Handlers of other libraries that run in between may allocate: locks
 * let their owner pass (lock.h).
 *
 * A signal handler that interrupted this thread inside malloc() may call
 * fork() too. Locks this thread holds already stay as they are: the child
 * returns from the handler into the same function, which then unlocks them.
 * Another thread may wait for one of those while holding one that we want, so
 * we wait a limited time, and go without in that case. Any other fork() tries
 * again.
 *
 * libc takes its lock on the list of streams when all handlers have run. A
 * thread in fflush(NULL) has that lock and waits for a stream; another one has
 * the stream and waits for malloc(): so the list is locked before our locks.
 */
#include <pthread.h>

#include "arena.h"
#include "depot.h"
#include "env.h"
#include "fastbin.h"
#include "fork.h"
#include "guarded.h"
#include "meta.h"
#include "os.h"
#include "sys.h"
#include "tcache.h"
#include "tracer.h"

#define PATIENCE_US	(20 * 1000)

/* libc's, exported by it; the lock is recursive. */
void _IO_list_lock(void) __attribute__((weak));
void _IO_list_unlock(void) __attribute__((weak));
void _IO_list_resetlock(void) __attribute__((weak));

/* What pthread_atfork() calls, with a handle of the library's: it is never unloaded. */
int __register_atfork(void (*before)(void), void (*in_parent)(void), void (*in_child)(void),
		      void *handle);

typedef void (*lock_fn)(struct lock *l, unsigned int arg);

static void for_each_lock(lock_fn fn, unsigned int arg)
{
	uint32_t i;

	fn(&pw_threads_lock, arg);
	fn(&pw_arenas_lock, arg);
	for (i = 0; i < pw_nr_arenas && __atomic_load_n(&pw_heap.ready, __ATOMIC_ACQUIRE); i++)
		fn(&pw_arenas[i]->lock, arg);
	fn(&pw_guarded_lock, arg);
	fn(&pw_os_lock, arg);
	fn(&pw_meta_lock, arg);
	fn(&pw_bits_lock, arg);
	for (i = 1; i < NR_CLASSES; i++)
		fn(&pw_fastbins[i].lock, arg);
	if (!pw_env.harden)
		return;
	for (i = 1; i < NR_CLASSES; i++)
		fn(&pw_depots[i].lock, arg);
	fn(&pw_magazines_lock, arg);
}

/* Theirs who have the lock on the list of streams. */
static bool interrupted;
static bool missing;
static unsigned int streams_locked;	/* how often */

static void look(struct lock *l, unsigned int arg)
{
	(void)arg;
	interrupted |= lock_is_mine(l);
}

static void take(struct lock *l, unsigned int patience)
{
	missing |= !lock_for_fork(l, patience) && !lock_is_mine(l);
}

static void let_go(struct lock *l, unsigned int arg)
{
	(void)arg;
	if (lock_is_forked(l))
		lock_after_fork(l);
}

static void reset(struct lock *l, unsigned int arg)
{
	(void)arg;
	if (lock_is_forked(l) || !lock_is_mine(l))
		lock_reset(l);
}

static void lock_streams(void)
{
	if (single_threaded() || !_IO_list_lock || !_IO_list_unlock || !_IO_list_resetlock)
		return;
	_IO_list_lock();
	streams_locked++;
}

static void parent(void)
{
	for_each_lock(let_go, 0);
	if (!streams_locked)
		return;
	streams_locked--;
	_IO_list_unlock();
}

static bool take_all(void)
{
	lock_streams();
	interrupted = false;
	missing = false;
	for_each_lock(look, 0);
	for_each_lock(take, PATIENCE_US);
	return interrupted || !missing;
}

/* One that cannot have all of them lets go: their holder may want to fork, too. */
static void prepare(void)
{
	const struct timespec nap = { .tv_nsec = PATIENCE_US * 1000 / 4 };

	while (!take_all()) {
		parent();
		sys(SYS_nanosleep, &nap, NULL);
	}
}

static void child(void)
{
	for_each_lock(reset, 0);
	if (streams_locked)
		_IO_list_resetlock();
	streams_locked = 0;
	if (!pw_heap.ready)
		return;
	tcache_fork_child();
	os_fork_child();
	trace_fork_child();
}

void pw_fork_watch(bool libc_is_up)
{
	static bool watched;

	if (watched || !libc_is_up)
		return;
	watched = true;
	__register_atfork(prepare, parent, child, NULL);
}
