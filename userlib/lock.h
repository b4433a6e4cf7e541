/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * lock.h - a futex lock that knows its owner
 *
 * The owner matters at fork(): the forking thread takes all locks, and handlers
 * of other libraries that run in between, in the same thread, may still
 * allocate. It also lets a fork() from a signal handler see that the thread
 * itself was interrupted with a lock held. And a handler of SIGABRT may allocate
 * when a heap error was found with one held.
 *
 * While the process has a single thread, a lock is a plain store.
 *
 * Lock order: start, threads, list of arenas, arena, kept mappings, OS, metadata, records.
 * Those of fast bins, of the depot, of magazines, of the trace and of the exit key are
 * leaves: of ours nothing is taken inside them.
 */
#ifndef PW_LOCK_H
#define PW_LOCK_H

#include "types.h"

/*
 * One word says all: who holds it, in the same instruction that takes it. A
 * signal may come between any two instructions, and its handler may fork().
 */
struct lock {
	uintptr_t word;		/* 0 or the holder's lock_self(), and these: */
};

#define LOCK_WAITED	1U	/* somebody sleeps */
#define LOCK_FORKED	2U	/* kept over fork() by the holder, who may pass */
#define LOCK_PASSED	4U	/* kept over abort(), the same */
#define LOCK_KEPT	(LOCK_FORKED | LOCK_PASSED)
#define LOCK_FLAGS	(LOCK_WAITED | LOCK_KEPT)

extern char __libc_single_threaded __attribute__((weak));

static inline bool single_threaded(void)
{
#ifdef __SANITIZE_THREAD__
	return false;
#else
	return &__libc_single_threaded && __libc_single_threaded;
#endif
}

/* The thread's control block is aligned: the flags fit below. */
static inline uintptr_t lock_self(void)
{
	return (uintptr_t)__builtin_thread_pointer();
}

void pw_lock_slow(struct lock *l);
void pw_unlock_slow(struct lock *l);

static inline bool try_lock(struct lock *l)
{
	uintptr_t word = 0;

	if (single_threaded()) {
		if (l->word)
			return false;
		WRITE_ONCE(l->word, lock_self());
		return true;
	}
	return __atomic_compare_exchange_n(&l->word, &word, lock_self(), false,
					   __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

static inline void lock(struct lock *l)
{
	if (unlikely(!try_lock(l)))
		pw_lock_slow(l);
}

static inline void unlock(struct lock *l)
{
	uintptr_t word = lock_self();

	if (single_threaded() && READ_ONCE(l->word) == word) {
		WRITE_ONCE(l->word, 0);
		return;
	}
	if (unlikely(!__atomic_compare_exchange_n(&l->word, &word, 0, false,
						  __ATOMIC_RELEASE, __ATOMIC_RELAXED)))
		pw_unlock_slow(l);
}

/* Does this thread hold @l? */
static inline bool lock_is_mine(const struct lock *l)
{
	return (READ_ONCE(l->word) & ~(uintptr_t)LOCK_FLAGS) == lock_self();
}

/* Was @l taken by lock_for_fork()? */
static inline bool lock_is_forked(const struct lock *l)
{
	return READ_ONCE(l->word) & LOCK_FORKED;
}

/**
 * lock_for_fork() - take a lock and keep it over fork()
 * @l: the lock
 * @patience_us: how long to wait for another thread
 *
 * Return: false if this thread held the lock already or patience ran out; the
 * lock was not taken then and lock_after_fork() leaves it alone.
 */
bool lock_for_fork(struct lock *l, unsigned int patience_us);

/* Parent: let go of it, if this thread took it by lock_for_fork(). */
void lock_after_fork(struct lock *l);

/* The calling thread has an error to report, and passes all that it holds from now on. */
void locks_pass_own(void);

/* Child: nobody else is left, whatever the lock says. */
static inline void lock_reset(struct lock *l)
{
	WRITE_ONCE(l->word, 0);
}

#endif /* PW_LOCK_H */
