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

/* The kernel compares 32 bits: the low ones, where the flags are. */
static uint32_t *futex_of(struct lock *l)
{
	return (uint32_t *)&l->word + (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__);
}

static __thread bool passes_own __attribute__((tls_model("initial-exec")));

void locks_pass_own(void)
{
	passes_own = true;
}

/* May the calling thread, which holds it already, go on? */
static bool may_pass(struct lock *l)
{
	if (!lock_is_mine(l))
		return false;
	/* So that unlocking does not let go of it. */
	if (passes_own)
		__atomic_fetch_or(&l->word, LOCK_PASSED, __ATOMIC_RELAXED);
	return READ_ONCE(l->word) & LOCK_KEPT;
}

void pw_lock_slow(struct lock *l)
{
	uintptr_t self = lock_self(), word, next;
	int i;

	if (may_pass(l))
		return;
	for (i = 0; i < SPINS; i++) {
		relax();
		if (!READ_ONCE(l->word) && try_lock(l))
			return;
	}
	for (;;) {
		word = __atomic_load_n(&l->word, __ATOMIC_RELAXED);
		/* Others may sleep as well: who wakes up says so. */
		next = word ? word | LOCK_WAITED : self | LOCK_WAITED;
		if (word != next &&
		    !__atomic_compare_exchange_n(&l->word, &word, next, false,
						 __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			continue;
		if (!word)
			return;
		sys(SYS_futex, futex_of(l), FUTEX_WAIT_PRIVATE, (uint32_t)next, NULL, NULL, 0);
	}
}

void pw_unlock_slow(struct lock *l)
{
	if (READ_ONCE(l->word) & LOCK_KEPT)
		return;
	if (__atomic_exchange_n(&l->word, 0, __ATOMIC_RELEASE) & LOCK_WAITED)
		sys(SYS_futex, futex_of(l), FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

bool lock_for_fork(struct lock *l, unsigned int patience_us)
{
	const struct timespec nap = { .tv_nsec = 100 * 1000 };
	unsigned int waited;

	if (lock_is_mine(l))
		return false;
	for (waited = 0; !try_lock(l); waited += 100) {
		if (waited >= patience_us)
			return false;
		sys(SYS_nanosleep, &nap, NULL);
	}
	__atomic_fetch_or(&l->word, LOCK_FORKED, __ATOMIC_RELAXED);
	return true;
}

/* In one step: a handler that interrupts us may fork, too, and let go of it. */
void lock_after_fork(struct lock *l)
{
	uintptr_t word = __atomic_load_n(&l->word, __ATOMIC_RELAXED);

	do {
		if ((word & ~(uintptr_t)LOCK_WAITED) != (lock_self() | LOCK_FORKED))
			return;
	} while (!__atomic_compare_exchange_n(&l->word, &word, 0, false,
					      __ATOMIC_RELEASE, __ATOMIC_RELAXED));
	if (word & LOCK_WAITED)
		sys(SYS_futex, futex_of(l), FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}
