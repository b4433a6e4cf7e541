/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * lock.h - a futex lock that knows its owner
 *
 * The owner matters at fork(): the forking thread takes all locks, and handlers
 * of other libraries that run in between, in the same thread, may still
 * allocate. It also lets a fork() from a signal handler see that the thread
 * itself was interrupted with a lock held.
 *
 * While the process has a single thread, a lock is two plain stores.
 *
 * Lock order: threads, arenas list, arena, OS, metadata. Fast-bin locks are
 * leaves: nothing is taken inside them.
 */
#ifndef PW_LOCK_H
#define PW_LOCK_H

#include "types.h"

struct lock {
	uint32_t word;
	bool forked;		/* kept over fork() by @owner, who may pass */
	uintptr_t owner;
};

#define LOCK_FREE	0U
#define LOCK_HELD	1U
#define LOCK_WAITED	2U	/* held, and somebody sleeps */

extern char __libc_single_threaded __attribute__((weak));

static inline bool single_threaded(void)
{
#ifdef __SANITIZE_THREAD__
	return false;
#else
	return &__libc_single_threaded && __libc_single_threaded;
#endif
}

static inline uintptr_t lock_self(void)
{
	return (uintptr_t)__builtin_thread_pointer();
}

void pw_lock_slow(struct lock *l);
void pw_unlock_slow(struct lock *l);

static inline bool try_lock(struct lock *l)
{
	uint32_t word = LOCK_FREE;

	if (single_threaded()) {
		if (l->word != LOCK_FREE)
			return false;
		l->word = LOCK_HELD;
	} else if (!__atomic_compare_exchange_n(&l->word, &word, LOCK_HELD, false,
						__ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
		return false;
	}
	WRITE_ONCE(l->owner, lock_self());
	return true;
}

static inline void lock(struct lock *l)
{
	if (unlikely(!try_lock(l)))
		pw_lock_slow(l);
}

static inline void unlock(struct lock *l)
{
	uint32_t word = LOCK_HELD;

	if (single_threaded() && l->word == LOCK_HELD && !l->forked) {
		l->owner = 0;
		l->word = LOCK_FREE;
		return;
	}
	if (unlikely(l->forked))
		return;
	WRITE_ONCE(l->owner, 0);
	if (unlikely(!__atomic_compare_exchange_n(&l->word, &word, LOCK_FREE, false,
						  __ATOMIC_RELEASE, __ATOMIC_RELAXED)))
		pw_unlock_slow(l);
}

/* Does this thread hold @l? */
static inline bool lock_is_mine(const struct lock *l)
{
	return READ_ONCE(l->owner) == lock_self() && READ_ONCE(l->word) != LOCK_FREE;
}

/**
 * lock_for_fork() - take a lock and keep it over fork()
 * @l: the lock
 * @patience_us: how long to wait for another thread, 0 for as long as it takes
 *
 * Return: false if this thread held the lock already or patience ran out; the
 * lock was not taken then and lock_after_fork() must not be called for it.
 */
bool lock_for_fork(struct lock *l, unsigned int patience_us);

/* Parent: let go of it. */
void lock_after_fork(struct lock *l);

/* Child: nobody else is left, whatever the lock says. */
static inline void lock_reset(struct lock *l)
{
	l->forked = false;
	l->owner = 0;
	l->word = LOCK_FREE;
}

#endif /* PW_LOCK_H */
