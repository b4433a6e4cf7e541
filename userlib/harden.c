// SPDX-License-Identifier: GPL-2.0-only
/*
 * harden.c - slow mode
 */
#include <string.h>

#include "env.h"
#include "harden.h"
#include "large.h"
#include "report.h"
#include "tune.h"

/* Free blocks are full of this; a pointer made of it faults. */
#define JUNK_BYTE	0xdb
#define JUNK_WORD	0xdbdbdbdbdbdbdbdbUL

/*
 * Pages of a free block may have been returned meanwhile and read as zero. The
 * second word is the key's and was cleared on the way here.
 */
static bool untouched(const uint64_t *words, size_t size)
{
	size_t i;

	for (i = 0; i < size / sizeof(*words); i++)
		if (words[i] != JUNK_WORD && words[i])
			return false;
	return true;
}

void harden_allocated(void *p, size_t size, bool fresh)
{
	struct span *s = span_of((uintptr_t)p);

	if (pw_env.harden && s->state == SPAN_CLASS && !fresh &&
	    !untouched(p, class_size(s->class)))
		pw_heap_error("malloc()", "written to after free:", p);
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
