// SPDX-License-Identifier: GPL-2.0-only
/*
 * lock.c - the slow half of the locks
 */
#include <linux/futex.h>
#include <time.h>

#include "lock.h"
#include "sys.h"

#define SPINS	100

static void relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#else
	__asm__ volatile("" ::: "memory");
#endif
}

void pw_lock_slow(struct lock *l)
{
	int i;

	if (lock_is_mine(l) && l->forked)
		return;
	for (i = 0; i < SPINS; i++) {
		relax();
		if (READ_ONCE(l->word) == LOCK_FREE && try_lock(l))
			return;
	}
	while (__atomic_exchange_n(&l->word, LOCK_WAITED, __ATOMIC_ACQUIRE) != LOCK_FREE)
		sys(SYS_futex, &l->word, FUTEX_WAIT_PRIVATE, LOCK_WAITED, NULL, NULL, 0);
	WRITE_ONCE(l->owner, lock_self());
}

void pw_unlock_slow(struct lock *l)
{
	__atomic_store_n(&l->word, LOCK_FREE, __ATOMIC_RELEASE);
	sys(SYS_futex, &l->word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

bool lock_for_fork(struct lock *l, unsigned int patience_us)
{
	const struct timespec nap = { .tv_nsec = 100 * 1000 };
	unsigned int waited;

	if (lock_is_mine(l))
		return false;
	if (!patience_us) {
		lock(l);
		l->forked = true;
		return true;
	}
	for (waited = 0; !try_lock(l); waited += 100) {
		if (waited >= patience_us)
			return false;
		sys(SYS_nanosleep, &nap, NULL);
	}
	l->forked = true;
	return true;
}

void lock_after_fork(struct lock *l)
{
	l->forked = false;
	unlock(l);
}
