// SPDX-License-Identifier: GPL-2.0-only
/*
 * harden.c - slow mode
 */
#include <string.h>

#include "env.h"
#include "harden.h"
#include "large.h"
#include "report.h"
#include "tcache.h"
#include "tune.h"

/* Free blocks are full of this; a pointer made of it faults. */
#define JUNK_BYTE	0xdb
#define JUNK_WORD	0xdbdbdbdbdbdbdbdbUL

/* Pages of a free block may have been returned meanwhile and read as zero. */
static bool untouched(const uint64_t *words, size_t size)
{
	size_t i;

	for (i = 0; i < size / sizeof(*words); i++)
		if (words[i] != JUNK_WORD && words[i])
			return false;
	return true;
}

void *harden_take(size_t c, bool *zeroed)
{
	struct arena *a;
	struct batch b;
	bool done;

	if (!pw_heap_start())
		return NULL;
	a = arena_enter(tcache_arena());
	done = bin_take(a, c, 1, NEW_PAGES, &b);
	unlock(&a->lock);
	if (!done)
		return NULL;
	if (pw_env.harden && b.reused && !untouched((uint64_t *)b.first, class_size(c)))
		pw_heap_error("malloc()", "written to after free:", b.first);
	*zeroed = b.fresh;
	return b.first;
}

void harden_fill(void *p, size_t size)
{
	if (READ_ONCE(pw_tune.perturb))
		memset(p, READ_ONCE(pw_tune.perturb) ^ 0xff, size);
}

bool harden_is_free(struct span *s, void *p)
{
	struct arena *a = span_arena(s);
	bool found;

	lock(&a->lock);
	found = bin_has(s, (uintptr_t)p);
	unlock(&a->lock);
	return found;
}

void harden_freed(struct span *s, void *p, const char *call)
{
	size_t size;

	if (s->state != SPAN_CLASS)
		return;
	if (!span_block_start(s, (uintptr_t)p))
		pw_heap_error(call, "invalid pointer", p);
	if (harden_is_free(s, p))
		pw_heap_error(call, "double free of", p);
	size = class_size(s->class);
	if (pw_env.harden)
		memset(p, JUNK_BYTE, size);
	else
		memset(p, READ_ONCE(pw_tune.perturb), size);
}
