/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * types.h - the words of the library and what every file needs
 *
 * window	the one range of addresses that the heap lives in, given by the OS
 *		backend; it never moves, and all blocks lie inside it
 * granule	16 KiB of the window; the unit of all bookkeeping outside blocks
 * class	a block size; small classes are multiples of 16, larger ones go in
 *		eighths of a power of two
 * block	what malloc() returns; it has no header
 * span		a range of granules that is used for one thing: blocks of one
 *		class, one big run, or one large mapped block
 * run		a range of granules that is free, or is one big block
 * list		blocks of one class linked through their first word
 * tcache	a thread's bins: for each class a list, and a stack of full lists
 * fast bins	for each class a stack of lists that threads gave back, last in
 *		first out, not coalesced
 * depot	hardened, what the fast bins are otherwise: arrays of blocks, magazines
 * small bins	for each class the spans that have free blocks, oldest first
 * unsorted bin	spans that fell empty and may be used again as they are, or for
 *		blocks of another class
 * large bins	free runs by length, best fit
 * top		what lies between the last span of a segment and its break
 * segment	a break of the OS backend and the granules in it
 * arena	segments, bins and a lock
 */
#ifndef PW_TYPES_H
#define PW_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* One function in libc, and each of its names is looked up whenever a program starts. */
void *memcpy(void *restrict to, const void *restrict from, size_t size) __asm__("memmove");

#define likely(x)	__builtin_expect(!!(x), 1)
#define unlikely(x)	__builtin_expect(!!(x), 0)
/* Not through the GOT: declarations do not inherit -fvisibility=hidden. */
#define HIDDEN		__attribute__((__visibility__("hidden")))
#define noinline	__attribute__((__noinline__))
#define cold_path	__attribute__((__cold__, __noinline__))

#define ARRAY_SIZE(a)		(sizeof(a) / sizeof((a)[0]))
#define ALIGN_UP(x, a)		(((x) + ((a) - 1)) & ~((__typeof__(x))(a) - 1))
#define ALIGN_DOWN(x, a)	((x) & ~((__typeof__(x))(a) - 1))
#define MIN(a, b)		((a) < (b) ? (a) : (b))
#define MAX(a, b)		((a) > (b) ? (a) : (b))

#define KIB		((size_t)1 << 10)
#define MIB		((size_t)1 << 20)
#define GIB		((size_t)1 << 30)

#define PAGE_SHIFT	12
#define PAGE_SIZE	((size_t)1 << PAGE_SHIFT)
#define HUGE_SIZE	(2 * MIB)

#define MIN_ALIGN	16UL

#define GRANULE_SHIFT	14
#define GRANULE		((size_t)1 << GRANULE_SHIFT)

/* Relaxed accesses: statistics and hints that others may be changing. */
#define READ_ONCE(x)		__atomic_load_n(&(x), __ATOMIC_RELAXED)
#define WRITE_ONCE(x, v)	__atomic_store_n(&(x), v, __ATOMIC_RELAXED)

/*
 * The same on the hit paths, where it would cost an instruction: compilers do
 * not fold such a load into the operation that uses it.
 */
#ifdef __SANITIZE_THREAD__
#define HOT_READ(x)		READ_ONCE(x)
#else
#define HOT_READ(x)		(x)
#endif

/* By hand: each function of libc's is looked up whenever a program starts. */
static inline bool same_string(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

static inline size_t string_length(const char *s)
{
	const char *end = s;

	while (*end) {
		end++;
		/* Or else the compiler knows a function for it. */
		__asm__("" : "+r" (end));
	}
	return (size_t)(end - s);
}

/**
 * struct block - a free block
 * @next: the next block of the list
 * @key: pw_base while the block is free, so that a second free() is noticed
 */
struct block {
	struct block *next;
	uintptr_t key;
};

#endif /* PW_TYPES_H */
