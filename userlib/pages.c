// SPDX-License-Identifier: GPL-2.0-only
/*
 * pages.c - page-level calls: maps and breaks for the program
 */
#include <errno.h>
#include <string.h>

#include "arena.h"
#include "entry.h"
#include "meta.h"
#include "os.h"
#include "pagewell.h"

/* Sets errno for a negative error number. */
static int failed(int ret)
{
	if (ret == -ENOMEM)
		pw_no_memory();
	errno = -ret;
	return -1;
}

static void *invalid(void)
{
	errno = EINVAL;
	return NULL;
}

static size_t whole_granules(size_t length)
{
	return length && length <= PTRDIFF_MAX ? ALIGN_UP(length, GRANULE) : 0;
}

static void note_map(uintptr_t addr, size_t length, unsigned int flags)
{
	*span_entry(granule_of(addr)) = (struct span){
		.head = (uint32_t)granule_of(addr),
		.state = SPAN_PAGES,
		.flags = flags & OS_GUARD ? SPAN_GUARDED : 0,
		.size = length,
	};
}

/* The map that starts at @p, or NULL. */
static struct span *map_at(void *p)
{
	uintptr_t addr = (uintptr_t)p;
	struct span *s;

	if (addr % GRANULE || !in_window(addr))
		return NULL;
	s = span_entry(granule_of(addr));
	return s->state == SPAN_PAGES ? s : NULL;
}

_Static_assert(PAGEWELL_GUARD == OS_GUARD, "passed on as it is");

PUBLIC void *pagewell_map(size_t length, size_t align, unsigned int flags)
{
	uintptr_t addr;
	int ret;

	length = whole_granules(length);
	if (!length || (align & (align - 1)) || (flags & ~PAGEWELL_GUARD))
		return invalid();
	ret = pw_heap_start() ? os_map(length, align, flags, &addr) : -ENOMEM;
	if (ret) {
		failed(ret);
		return NULL;
	}
	note_map(addr, length, flags);
	return (void *)addr;
}

PUBLIC int pagewell_unmap(void *p)
{
	struct span *s = map_at(p);
	struct span copy;

	if (!s)
		return failed(-EINVAL);
	copy = *s;
	/* Unmapped addresses may be another thread's at once. */
	*s = (struct span){ .state = SPAN_NONE };
	if (os_unmap((uintptr_t)p, copy.size, copy.flags & SPAN_GUARDED ? OS_GUARD : 0)) {
		*s = copy;
		return failed(-ENOMEM);
	}
	return 0;
}

static void *copy_map(void *p, size_t old, size_t length)
{
	void *q = pagewell_map(length, 0, 0);

	if (q) {
		memcpy(q, p, MIN(old, length));
		pagewell_unmap(p);
	}
	return q;
}

PUBLIC void *pagewell_remap(void *p, size_t length, unsigned int flags)
{
	struct span *s = map_at(p), copy;
	uintptr_t addr = (uintptr_t)p;
	int ret;

	length = whole_granules(length);
	if (!s || !length || (flags & ~PAGEWELL_MAYMOVE) || (s->flags & SPAN_GUARDED))
		return invalid();
	if (length == s->size)
		return p;
	copy = *s;
	/* The old addresses may be somebody's as soon as the map has moved. */
	*s = (struct span){ .state = SPAN_NONE };
	ret = os_remap(&addr, copy.size, length, flags & PAGEWELL_MAYMOVE);
	if (!ret) {
		note_map(addr, length, 0);
		return (void *)addr;
	}
	*s = copy;
	if (ret == -EOPNOTSUPP && (flags & PAGEWELL_MAYMOVE))
		return copy_map(p, copy.size, length);
	failed(ret == -EOPNOTSUPP ? -ENOMEM : ret);
	return NULL;
}

/* Nothing of malloc()'s, and not from one map into what follows it. */
static bool is_one_range(uintptr_t addr, uintptr_t last)
{
	struct span *s = span_of(addr);
	size_t granule;

	if (s->state != SPAN_NONE && (s->state != SPAN_PAGES || last - span_addr(s) >= s->size))
		return false;
	for (granule = granule_of(addr) + 1; granule <= granule_of(last); granule++)
		if (span_entry(granule)->state != SPAN_NONE || span_entry(granule)->head)
			return false;
	return true;
}

PUBLIC int pagewell_advise(void *p, size_t length, enum pagewell_advice advice)
{
	static const enum os_advice os_advices[] = {
		[PAGEWELL_DONTNEED] = OS_DONTNEED,
		[PAGEWELL_POPULATE] = OS_POPULATE,
		[PAGEWELL_WILLNEED] = OS_WILLNEED,
		[PAGEWELL_FREE] = OS_FREE,
		[PAGEWELL_COLD] = OS_COLD,
		[PAGEWELL_HUGEPAGE] = OS_HUGEPAGE,
		[PAGEWELL_NOHUGEPAGE] = OS_NOHUGEPAGE,
		[PAGEWELL_COLLAPSE] = OS_COLLAPSE,
	};
	uintptr_t addr = (uintptr_t)p, last;
	int ret;

	if ((size_t)advice >= ARRAY_SIZE(os_advices) || addr % PAGE_SIZE || length % PAGE_SIZE ||
	    __builtin_add_overflow(addr, length - 1, &last) || !in_window(addr) ||
	    !in_window(last) || !is_one_range(addr, last))
		return failed(-EINVAL);
	ret = os_advise(addr, length, os_advices[advice]);
	return ret ? failed(ret) : 0;
}

/* ---- breaks ---- */

/**
 * struct pagewell_break - a break of the program's
 * @os: the break
 * @next: among those that are not in use
 */
struct pagewell_break {
	struct os_brk os;
	struct pagewell_break *next;
};

static struct pagewell_break *free_brks;

static struct pagewell_break *brk_alloc(void)
{
	struct pagewell_break *b;

	lock(&pw_bits_lock);
	b = free_brks;
	if (b)
		free_brks = b->next;
	unlock(&pw_bits_lock);
	return b ? b : pw_meta_alloc(sizeof(*b));
}

static void brk_free(struct pagewell_break *b)
{
	lock(&pw_bits_lock);
	b->next = free_brks;
	free_brks = b;
	unlock(&pw_bits_lock);
}

PUBLIC pagewell_brk_t *pagewell_brk_create(size_t reserve)
{
	struct pagewell_break *b = pw_heap_start() ? brk_alloc() : NULL;
	int ret = -ENOMEM;

	if (b && reserve <= PTRDIFF_MAX)
		ret = os_brk_create(ALIGN_UP(MAX(reserve, GRANULE), GRANULE), &b->os);
	if (!ret)
		return b;
	if (b)
		brk_free(b);
	failed(-ENOMEM);
	return NULL;
}

PUBLIC void *pagewell_sbrk(pagewell_brk_t *b, intptr_t increment)
{
	uintptr_t old = b->os.brk, new = old + (uintptr_t)increment;
	int ret;

	if (increment % (intptr_t)GRANULE || (increment < 0 && new < b->os.start) ||
	    (increment < 0 && new > old))
		return invalid();
	ret = increment > 0 && new < old ? -ENOMEM : os_brk_move(&b->os, new);
	if (!ret)
		return (void *)old;
	/* Something in its way is no memory, too. */
	failed(ret == -EAGAIN ? -ENOMEM : ret);
	return NULL;
}

PUBLIC void pagewell_brk_destroy(pagewell_brk_t *b)
{
	if (!b)
		return;
	os_brk_destroy(&b->os);
	brk_free(b);
}
