/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * lock.h - a mutex that can also be tried in three instructions
 *
 * What a program does to its heap all the time is done in the quick way
 * (quick.c), where nothing waits, and where locks were a third of the work.
 */
#ifndef PAGEWELL_LOCK_H
#define PAGEWELL_LOCK_H

#include <linux/bitops.h>
#include <linux/mutex.h>
#include <linux/processor.h>

/**
 * struct pw_lock - such a mutex
 * @mutex: who may wait takes this one first
 * @busy: bit 0: somebody has the lock; who tries it takes nothing else, with
 *        preemption off for as long as it is held, so others need not wait long
 */
struct pw_lock {
	struct mutex mutex;
	unsigned long busy;
};

#define pw_lock_init(lock)						\
do {									\
	mutex_init(&(lock)->mutex);					\
	(lock)->busy = 0;						\
} while (0)

#define pw_lock_assert_held(lock)	lockdep_assert_held(&(lock)->mutex)

static inline void pw_lock_destroy(struct pw_lock *lock)
{
	mutex_destroy(&lock->mutex);
}

static __always_inline bool pw_lock_get_busy(struct pw_lock *lock)
{
	return !test_and_set_bit_lock(0, &lock->busy);
}

static __always_inline void pw_lock_put_busy(struct pw_lock *lock)
{
	/* Pairs with the acquire of whoever tries next. */
	smp_store_release(&lock->busy, 0);
}

/* To lockdep it is the mutex that was tried. */
static __always_inline bool pw_lock_try(struct pw_lock *lock)
{
	if (!pw_lock_get_busy(lock))
		return false;
	mutex_acquire(&lock->mutex.dep_map, 0, 1, _THIS_IP_);
	return true;
}

static __always_inline void pw_lock_untry(struct pw_lock *lock)
{
	mutex_release(&lock->mutex.dep_map, _THIS_IP_);
	pw_lock_put_busy(lock);
}

static inline void pw_lock_nested(struct pw_lock *lock, unsigned int subclass)
{
	mutex_lock_nested(&lock->mutex, subclass);
	while (unlikely(!pw_lock_get_busy(lock)))
		cpu_relax();
}

static inline void pw_lock(struct pw_lock *lock)
{
	pw_lock_nested(lock, 0);
}

static inline void pw_unlock(struct pw_lock *lock)
{
	pw_lock_put_busy(lock);
	mutex_unlock(&lock->mutex);
}

#endif /* PAGEWELL_LOCK_H */
