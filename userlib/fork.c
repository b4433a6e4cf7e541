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
 * again. The same goes for a handler that interrupted fork() itself: what that
 * one has taken stays taken until it is done.
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
#include "report.h"
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

typedef bool (*lock_fn)(struct lock *l, unsigned int arg);

/* Is @fn true of any of them? It is called for all. */
static bool for_each_lock(lock_fn fn, unsigned int arg)
{
	bool any = fn(&pw_start_lock, arg);
	uint32_t i;

	any |= fn(&pw_threads_lock, arg);
	any |= fn(&pw_arenas_lock, arg);
	for (i = 0; i < pw_nr_arenas && __atomic_load_n(&pw_heap.ready, __ATOMIC_ACQUIRE); i++)
		any |= fn(&pw_arenas[i]->lock, arg);
	any |= fn(&pw_guarded_lock, arg);
	any |= fn(&pw_os_lock, arg);
	any |= fn(&pw_meta_lock, arg);
	any |= fn(&pw_records_lock, arg);
	for (i = 1; i < NR_CLASSES; i++)
		any |= fn(&pw_fastbins[i].lock, arg);
	if (!pw_env.harden)
		return any;
	for (i = 1; i < NR_CLASSES; i++)
		any |= fn(&pw_depots[i].lock, arg);
	return any | fn(&pw_magazines_lock, arg);
}

#define OF_THREAD	static __thread __attribute__((tls_model("initial-exec")))

/* How many calls of fork() this thread is in: handlers of signals may interrupt one. */
OF_THREAD unsigned int depth;

/* How often it has locked the list of streams. */
OF_THREAD unsigned int streams_locked;

/* Was it the outermost? Not every one has begun: we may be registered in the middle of one. */
static bool leave(void)
{
	if (depth)
		depth--;
	return !depth;
}

static bool is_in_use(struct lock *l, unsigned int arg)
{
	(void)arg;
	return lock_is_mine(l) && !lock_is_forked(l);
}

static bool cannot_take(struct lock *l, unsigned int patience)
{
	return !lock_for_fork(l, patience) && !lock_is_mine(l);
}

static bool let_go(struct lock *l, unsigned int arg)
{
	(void)arg;
	lock_after_fork(l);
	return false;
}

/* What was taken for a fork() that is still to come is its. */
static bool reset(struct lock *l, unsigned int is_last)
{
	if (!lock_is_mine(l) || (is_last && lock_is_forked(l)))
		lock_reset(l);
	return false;
}

static void lock_streams(void)
{
	if (single_threaded() || !_IO_list_lock || !_IO_list_unlock || !_IO_list_resetlock)
		return;
	/*
	 * Who has that lock may wait for a stream of somebody who waits for us: a handler that
	 * interrupted parent() finds it unlocked, and locks of ours not yet.
	 */
	if (!streams_locked)
		for_each_lock(let_go, 0);
	_IO_list_lock();
	streams_locked++;
}

static void unlock_streams(void)
{
	if (!streams_locked)
		return;
	streams_locked--;
	_IO_list_unlock();
}

/*
 * The outermost fork() lets go of all, of what those inside it took, too. The list of streams
 * comes first: one that interrupts us from here on is an outermost one itself, and while it
 * waits it must be able to let go of everything.
 */
static void parent(void)
{
	unlock_streams();
	if (leave())
		for_each_lock(let_go, 0);
}

/* An outer fork() holds what we cannot let go of, as does what was interrupted. */
static bool take_all(void)
{
	bool interrupted, missing;

	depth++;
	lock_streams();
	interrupted = for_each_lock(is_in_use, 0) || depth > 1;
	missing = for_each_lock(cannot_take, PATIENCE_US);
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
	for_each_lock(reset, leave());
	if (streams_locked)
		_IO_list_resetlock();
	streams_locked = 0;
	if (!pw_heap.ready)
		return;
	tcache_fork_child();
	os_fork_child();
	trace_fork_child();
	pw_drop_stderr();
}

void pw_fork_watch(bool libc_is_up)
{
	static bool watched;

	if (watched || !libc_is_up)
		return;
	watched = true;
	__register_atfork(prepare, parent, child, NULL);
}
