// SPDX-License-Identifier: GPL-2.0-only
/*
 * pages.c - page-level calls: maps and breaks for the program
 */
#include <errno.h>
#include <string.h>

#include "arena.h"
#include "decay.h"
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

/* Granules where maps began that were made or looked for of late. Some may be gone. */
static uint32_t recent_maps[16];

/* No map was ever longer, in granules. */
static size_t longest_map;

static void remember_map(size_t granule)
{
	static uint32_t next;
	uint32_t i = __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED);

	WRITE_ONCE(recent_maps[i % ARRAY_SIZE(recent_maps)], (uint32_t)granule);
}

static void note_map(uintptr_t addr, size_t length, unsigned int flags)
{
	size_t granules = length >> GRANULE_SHIFT, longest = READ_ONCE(longest_map);

	*span_entry(granule_of(addr)) = (struct span){
		.head = (uint32_t)granule_of(addr),
		.state = SPAN_PAGES,
		.flags = flags & OS_GUARD ? SPAN_GUARDED : 0,
		.size = length,
	};
	remember_map(granule_of(addr));
	while (longest < granules &&
	       !__atomic_compare_exchange_n(&longest_map, &longest, granules, true,
					    __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
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
	if (!pw_heap_start())
		return pw_no_memory();
	ret = os_map(length, align, flags, &addr);
	if (ret == -ENOMEM && arenas_squeeze(length, true))
		ret = os_map(length, align, flags, &addr);
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
	ret = os_remap(&addr, copy.size, length, 0, flags & PAGEWELL_MAYMOVE);
	/* In place it may be somebody else who is in the way, not the limit. */
	if (ret == -ENOMEM && length > copy.size && (flags & PAGEWELL_MAYMOVE) &&
	    arenas_squeeze(length - copy.size, true))
		ret = os_remap(&addr, copy.size, length, 0, true);
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

/* ---- breaks ---- */

/**
 * struct pagewell_break - a break of the program's
 * @os: the break
 * @next: in the list of those in use, or of others
 * @prev: what points here, in the list of those in use
 */
struct pagewell_break {
	struct os_brk os;
	struct pagewell_break *next;
	struct pagewell_break **prev;
};

static struct pagewell_break *free_brks;
static struct pagewell_break *used_brks;

static struct pagewell_break *brk_alloc(void)
{
	struct pagewell_break *b;

	lock(&pw_records_lock);
	b = free_brks;
	if (b)
		free_brks = b->next;
	unlock(&pw_records_lock);
	return b ? b : pw_meta_alloc(sizeof(*b));
}

static void brk_free(struct pagewell_break *b)
{
	lock(&pw_records_lock);
	b->next = free_brks;
	free_brks = b;
	unlock(&pw_records_lock);
}

static void brk_list(struct pagewell_break *b)
{
	lock(&pw_records_lock);
	b->next = used_brks;
	b->prev = &used_brks;
	if (b->next)
		b->next->prev = &b->next;
	used_brks = b;
	unlock(&pw_records_lock);
}

static void brk_unlist(struct pagewell_break *b)
{
	lock(&pw_records_lock);
	*b->prev = b->next;
	if (b->next)
		b->next->prev = b->prev;
	unlock(&pw_records_lock);
}

static bool in_break(uintptr_t addr, uintptr_t last)
{
	struct pagewell_break *b;

	lock(&pw_records_lock);
	for (b = used_brks; b; b = b->next)
		if (addr >= b->os.start && last < READ_ONCE(b->os.brk))
			break;
	unlock(&pw_records_lock);
	return b;
}

PUBLIC pagewell_brk_t *pagewell_brk_create(size_t reserve)
{
	struct pagewell_break *b = pw_heap_start() ? brk_alloc() : NULL;
	int ret = -ENOMEM;

	if (b && reserve <= PTRDIFF_MAX)
		ret = os_brk_create(ALIGN_UP(MAX(reserve, GRANULE), GRANULE), &b->os);
	if (!ret) {
		brk_list(b);
		return b;
	}
	if (b)
		brk_free(b);
	failed(-ENOMEM);
	return NULL;
}

static int move_brk(struct pagewell_break *b, uintptr_t old, uintptr_t new)
{
	int ret = os_brk_move(&b->os, new);

	if (ret == -ENOMEM && new > old && arenas_squeeze(new - old, true))
		ret = os_brk_move(&b->os, new);
	return ret;
}

PUBLIC void *pagewell_sbrk(pagewell_brk_t *b, intptr_t increment)
{
	uintptr_t old = b->os.brk, new = old + (uintptr_t)increment;
	int ret;

	if (increment % (intptr_t)GRANULE || (increment < 0 && new < b->os.start) ||
	    (increment < 0 && new > old))
		return invalid();
	ret = increment > 0 && new < old ? -ENOMEM : move_brk(b, old, new);
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
	brk_unlist(b);
	os_brk_destroy(&b->os);
	brk_free(b);
}

/* ---- advice ---- */

static bool map_has(const struct span *s, uintptr_t addr)
{
	return s->state == SPAN_PAGES && addr - span_addr(s) < s->size;
}

static bool is_empty(const struct span *s)
{
	return s->state == SPAN_NONE && !s->head;
}

/*
 * The map that @addr is in, or NULL. Its first granule only has an entry: from others it
 * is as far away as it is long, so that those that are used now are remembered.
 */
static struct span *map_around(uintptr_t addr)
{
	size_t granule = granule_of(addr), most = READ_ONCE(longest_map), i;
	struct span *s;

	for (i = 0; i < ARRAY_SIZE(recent_maps); i++) {
		s = span_entry(READ_ONCE(recent_maps[i]));
		if (map_has(s, addr))
			return s;
	}
	for (; granule && most && is_empty(span_entry(granule)); most--)
		granule--;
	s = span_entry(granule);
	if (!map_has(s, addr))
		return NULL;
	remember_map(granule);
	return s;
}

/* Nothing of malloc()'s, and not from one map or break into what follows it. */
static bool is_one_range(uintptr_t addr, uintptr_t last)
{
	struct span *s;

	if (in_break(addr, last))
		return true;
	s = map_around(addr);
	return s && map_has(s, last);
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
