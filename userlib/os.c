// SPDX-License-Identifier: GPL-2.0-only
/*
 * os.c - chooses between the backends, counts, and keeps the limit
 */
#include <stdarg.h>
#include <string.h>
#include <sys/random.h>

#include "env.h"
#include "guarded.h"
#include "heap.h"
#include "meta.h"
#include "os_backend.h"
#include "report.h"
#include "sys.h"

struct lock pw_os_lock;

static struct os_stats stats;

#ifdef PW_TEST
long pw_os_fail_after;

static bool injected_failure(void)
{
	long left = READ_ONCE(pw_os_fail_after);

	if (!left)
		return false;
	if (left > 1) {
		WRITE_ONCE(pw_os_fail_after, left - 1);
		return false;
	}
	return true;
}
#else
static bool injected_failure(void)
{
	return false;
}
#endif

/* Sanitizers leave programs only certain addresses. */
#if defined(__SANITIZE_THREAD__)
#define PLACE_LOW	0x7fa000000000UL
#define PLACE_BITS	36
#else
#define PLACE_LOW	0x180000000000UL
#define PLACE_BITS	45
#endif

static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9UL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebUL;
	return x ^ (x >> 31);
}

/*
 * Of the kernel's start-up randomness, whose bytes also guard the stack. A product of both
 * words, folded, has many origins: who comes to know it has learned neither of them.
 */
static uint64_t hash_of_start(uint64_t key)
{
	uint64_t words[2] = { 0 };
	unsigned __int128 product;

	if (pw_env.random)
		memcpy(words, pw_env.random, sizeof(words));
	product = (unsigned __int128)(words[0] ^ key) * (words[1] ^ mix(key));
	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

uint64_t os_secret(void)
{
	uint64_t secret;

	if (sys(SYS_getrandom, &secret, sizeof(secret), GRND_NONBLOCK) != sizeof(secret))
		secret = hash_of_start(0xd6e8feb86659fd93UL);
	return secret;
}

/* No call of the system: every program has one. */
uintptr_t os_random_place(void)
{
	static uint64_t seed;
	uint64_t value;

	if (!seed)
		seed = hash_of_start(0x9e3779b97f4a7c15UL) ^ (uint64_t)sys(SYS_getpid) << 32;
	seed += 0x9e3779b97f4a7c15UL;
	value = mix(seed) & ((1UL << PLACE_BITS) - 1);
	return PLACE_LOW + ALIGN_DOWN(value, HUGE_SIZE);
}

void os_set_why(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	pw_vformat(stats.why, sizeof(stats.why), fmt, ap);
	va_end(ap);
}

bool os_start(void)
{
	static const char asked_for[] = "PAGEWELL_BACKEND=anon asks for it";
	int ret = -ENODEV;

	stats.limit = pw_env.limit;
	if (pw_env.backend == BACKEND_ANON)
		memcpy(stats.why, asked_for, sizeof(asked_for));
	else
		ret = os_device_start();
	if (ret && pw_env.backend == BACKEND_DEVICE) {
		pw_note("PAGEWELL_BACKEND=device, but %s", stats.why);
		sys(SYS_exit_group, 127);
	}
	stats.backend = ret ? "anonymous" : "device";
	if (ret)
		ret = os_anon_start(0);
	stats.window = pw_base + GRANULE;
	return !ret;
}

/*
 * Is new memory the device's? The first time that it is not any more, anonymous
 * memory begins behind the device's part of the window.
 */
static bool use_device(void)
{
	if (!os_device_end())
		return false;
	if (os_anon_started())
		return false;
	if (os_device_usable())
		return true;
	stats.backend = "device, then anonymous";
	os_anon_start(os_device_end());
	return false;
}

/* The module keeps the limit of what is all its own, and tells who listens. */
static bool over_limit(size_t more)
{
	size_t sum;

	if (os_device_end() && !os_anon_started())
		return false;
	return __builtin_add_overflow(stats.committed, more, &sum) || sum > stats.limit;
}

/* Something is free between two addresses; a break may be so far behind its reserve, too. */
static void gave_back(uintptr_t from, uintptr_t to)
{
	if (os_device_owns(from))
		os_device_gave_back(from, to, stats.committed);
}

/* Is it worth another try? What is kept for later is in the way of what is wanted now. */
static bool made_room(int ret)
{
	return ret == -ENOMEM && pw_env.harden && guarded_drop();
}

/* Accounts for the outcome of a request that adds @more bytes, or takes some away. */
static int account(int ret, ptrdiff_t more)
{
	if (!ret)
		stats.committed += (size_t)more;
	return ret;
}

static int brk_create(size_t reserve, struct os_brk *b)
{
	int ret = -ENODEV;

	/* Only the first request tells that the device cannot be reached any more. */
	if (use_device())
		ret = os_device_brk_create(reserve, b);
	if (ret == -ENODEV && !use_device())
		ret = os_anon_brk_create(reserve, b);
	return ret;
}

int os_brk_create(size_t reserve, struct os_brk *b)
{
	int ret = -ENOMEM;

	lock(&pw_os_lock);
	if (!injected_failure())
		ret = brk_create(reserve, b);
	unlock(&pw_os_lock);
	return ret;
}

static int brk_move(struct os_brk *b, uintptr_t brk)
{
	if (os_device_owns(b->start))
		return os_device_brk_move(b, brk);
	return os_anon_brk_move(b, brk);
}

static int try_brk_move(struct os_brk *b, uintptr_t brk)
{
	uintptr_t old = b->brk;
	int ret = -ENOMEM;

	lock(&pw_os_lock);
	if (brk <= old || (!over_limit(brk - old) && !injected_failure()))
		ret = account(brk_move(b, brk), (ptrdiff_t)(brk - old));
	if (!ret && brk < old) {
		stats.returned += old - brk;
		gave_back(b->start, UINTPTR_MAX);
	}
	stats.brk_moves += !ret;
	unlock(&pw_os_lock);
	return ret;
}

int os_brk_move(struct os_brk *b, uintptr_t brk)
{
	uintptr_t old = b->brk;
	int ret;

	do
		ret = try_brk_move(b, brk);
	while (made_room(ret));
	/* Only now, as tables stay: those for what could not be had would be of no use. */
	if (!ret && brk > old && pw_meta_cover(brk)) {
		try_brk_move(b, old);
		ret = -ENOMEM;
	}
	return ret;
}

bool os_brk_is_cheap(const struct os_brk *b)
{
	return os_device_owns(b->start) && os_device_has_control();
}

void os_drop_pages(uintptr_t addr, size_t length)
{
	if (!os_device_owns(addr))
		os_anon_advise(addr, length, OS_DONTNEED);
}

int os_brk_destroy(struct os_brk *b)
{
	size_t size = b->brk - b->start;
	int ret;

	os_drop_pages(b->start, size);
	lock(&pw_os_lock);
	if (os_device_owns(b->start))
		ret = os_device_brk_destroy(b);
	else
		ret = os_anon_brk_destroy(b);
	if (!ret) {
		stats.committed -= size;
		gave_back(b->start, UINTPTR_MAX);
	}
	unlock(&pw_os_lock);
	return ret;
}

/* What a map of @length takes with its guard. */
static size_t guarded(size_t length, unsigned int flags)
{
	return flags & OS_GUARD ? length + GRANULE : length;
}

static int map(size_t length, size_t align, unsigned int flags, uintptr_t *addr)
{
	int ret = -ENODEV;

	if (over_limit(length) || injected_failure())
		return -ENOMEM;
	if (use_device())
		ret = os_device_map(length, align, flags, addr);
	if (ret == -ENODEV && !use_device())
		ret = os_anon_map(length, align, flags, addr);
	return ret;
}

static int try_map(size_t length, size_t align, unsigned int flags, uintptr_t *addr)
{
	int ret;

	lock(&pw_os_lock);
	ret = account(map(length, MAX(align, GRANULE), flags, addr), (ptrdiff_t)length);
	stats.maps += !ret;
	unlock(&pw_os_lock);
	return ret;
}

int os_map(size_t length, size_t align, unsigned int flags, uintptr_t *addr)
{
	int ret;

	do
		ret = try_map(length, align, flags, addr);
	while (made_room(ret));
	if (!ret && pw_meta_cover(*addr + guarded(length, flags))) {
		os_unmap(*addr, length, flags);
		ret = -ENOMEM;
	}
	return ret;
}

static int device_unmap(uintptr_t addr, size_t length, unsigned int flags)
{
	int ret;

	lock(&pw_os_lock);
	ret = account(os_device_unmap(addr, guarded(length, flags)), -(ptrdiff_t)length);
	if (!ret)
		gave_back(addr, addr + guarded(length, flags));
	unlock(&pw_os_lock);
	return ret;
}

/*
 * That takes as long as there are pages: the lock is taken when they are gone. In the child
 * of a fork() meanwhile nobody does, and they stay counted.
 */
static int anon_unmap(uintptr_t addr, size_t length, unsigned int flags)
{
	bool unmapped = os_anon_unmap(addr, guarded(length, flags));

	lock(&pw_os_lock);
	if (unmapped)
		os_anon_give_place(addr, guarded(length, flags));
	stats.committed -= length;
	unlock(&pw_os_lock);
	return 0;
}

int os_unmap(uintptr_t addr, size_t length, unsigned int flags)
{
	return os_device_owns(addr) ? device_unmap(addr, length, flags) :
				      anon_unmap(addr, length, flags);
}

static int remap(uintptr_t *addr, size_t old_length, size_t new_length, unsigned int flags,
		 bool may_move)
{
	if (new_length > old_length &&
	    (over_limit(new_length - old_length) || injected_failure()))
		return -ENOMEM;
	if (!os_device_owns(*addr))
		return os_anon_remap(addr, old_length, new_length, flags, may_move);
	return flags & OS_GUARD ? -EOPNOTSUPP :
	       os_device_remap(addr, old_length, new_length, may_move);
}

/* Behind everything that was ever given out. */
static uintptr_t window_end(void)
{
	return MAX(os_device_high(), os_anon_high());
}

/*
 * Tables for a map that grows by @more, wherever it goes: once it has moved there is no
 * way back. They stay: before they grow, somebody is asked whether there is so much.
 */
static int cover_remap(uintptr_t addr, size_t new_bytes, size_t more)
{
	uintptr_t end = window_end() + MOVE_SLACK + new_bytes;

	if (in_window(end - 1))
		return 0;
	if (over_limit(more) || (!os_device_owns(addr) && !os_anon_could_have(more)))
		return -ENOMEM;
	return pw_meta_cover(end);
}

static int try_remap(uintptr_t *addr, size_t old_length, size_t new_length, unsigned int flags,
		     bool may_move)
{
	uintptr_t from = *addr;
	int ret;

	lock(&pw_os_lock);
	if (new_length > old_length &&
	    cover_remap(*addr, guarded(new_length, flags), new_length - old_length))
		ret = -ENOMEM;
	else
		ret = remap(addr, old_length, new_length, flags, may_move);
	account(ret, (ptrdiff_t)(new_length - old_length));
	if (!ret && (*addr != from || new_length < old_length))
		gave_back(from, from + old_length);
	stats.remaps += !ret;
	unlock(&pw_os_lock);
	return ret;
}

int os_remap(uintptr_t *addr, size_t old_length, size_t new_length, unsigned int flags,
	     bool may_move)
{
	int ret;

	do
		ret = try_remap(addr, old_length, new_length, flags, may_move);
	while (made_room(ret));
	return ret;
}

bool os_is_device(uintptr_t addr)
{
	return os_device_owns(addr);
}

static int device_advise(uintptr_t addr, size_t length, enum os_advice advice)
{
	int ret;

	lock(&pw_os_lock);
	ret = os_device_advise(addr, length, advice);
	unlock(&pw_os_lock);
	return ret;
}

int os_advise(uintptr_t addr, size_t length, enum os_advice advice)
{
	int ret;

	if (os_device_owns(addr))
		ret = device_advise(addr, length, advice);
	else
		ret = os_anon_advise(addr, length, advice);
	if (ret || advice != OS_DONTNEED)
		return ret;
	lock(&pw_os_lock);
	stats.returned += length;
	gave_back(addr, addr);
	unlock(&pw_os_lock);
	return 0;
}

void os_trim(void)
{
	lock(&pw_os_lock);
	os_device_cut(stats.committed);
	unlock(&pw_os_lock);
}

bool os_brk_grew_large(struct os_brk *b, uintptr_t from)
{
	if (os_device_owns(b->start) || pw_env.huge == HUGE_NEVER)
		return false;
	os_anon_huge(from, b->brk - from);
	return true;
}

bool os_can_ever_have(size_t bytes)
{
	return bytes <= stats.limit && bytes < MAX_WINDOW;
}

void os_get_stats(struct os_stats *out)
{
	lock(&pw_os_lock);
	*out = stats;
	unlock(&pw_os_lock);
}

uint64_t os_heap_id(void)
{
	uint64_t id;

	lock(&pw_os_lock);
	id = os_device_heap_id();
	unlock(&pw_os_lock);
	return id;
}

/*
 * A handler that interrupted a request may have called fork(): the child goes on with
 * that request, and nothing may be asked of the device before.
 */
void os_fork_child(void)
{
	os_device_fork_child();
}
