// SPDX-License-Identifier: GPL-2.0-only
/*
 * kept.c - guarded mappings that nobody has, kept for the next large blocks
 *
 * Mapped, touched and unmapped each time, a block of some megabytes costs a hundred
 * times as much as one whose pages are there.
 */
#include <string.h>

#include "kept.h"
#include "os.h"
#include "report.h"

/* So many of them; of so many bytes, or as many as are in use. */
#define MAX_KEPT	32U
#define KEPT_BYTES	(4 * MIB)

/* One that is less than so many times as long will do. With 2, twice as many miss. */
#define FIT_TIMES	4U

/* The beginning of a block that was freed is full of this, as in hardened bins. */
#define JUNK_BYTE	0xff
#define JUNK_BYTES	64UL

/**
 * struct kept - a mapping
 * @addr: its start
 * @length: without the guard
 * @block: what was in it
 */
struct kept {
	uintptr_t addr;
	size_t length;
	void *block;
};

struct lock pw_kept_lock;

/* In the order in which they came. */
static struct kept kept[MAX_KEPT];
static unsigned int nr_kept;
static size_t kept_bytes;

static struct kept leave(unsigned int i)
{
	struct kept k = kept[i];

	kept_bytes -= k.length;
	memmove(kept + i, kept + i + 1, (--nr_kept - i) * sizeof(*kept));
	return k;
}

static size_t junk_bytes(const struct kept *k)
{
	return MIN(k->addr + k->length - (uintptr_t)k->block, JUNK_BYTES);
}

static void check_untouched(const struct kept *k)
{
	const unsigned char *bytes = k->block;
	size_t i;

	for (i = 0; i < junk_bytes(k); i++)
		if (bytes[i] != JUNK_BYTE)
			pw_heap_error("malloc()", "written to after free:", k->block);
}

static void drop_oldest(void)
{
	struct kept k = leave(0);

	check_untouched(&k);
	os_unmap(k.addr, k.length, OS_GUARD);
}

bool kept_put(uintptr_t addr, size_t length, void *block, size_t in_use)
{
	struct kept k = { addr, length, block };
	size_t most = MAX(KEPT_BYTES, in_use);

	lock(&pw_kept_lock);
	while (nr_kept && (nr_kept == MAX_KEPT || kept_bytes + length > most))
		drop_oldest();
	if (length <= most) {
		memset(block, JUNK_BYTE, junk_bytes(&k));
		kept[nr_kept++] = k;
		kept_bytes += length;
	}
	unlock(&pw_kept_lock);
	return length <= most;
}

uintptr_t kept_take(size_t *length)
{
	struct kept k = { 0 };
	unsigned int i, best;

	lock(&pw_kept_lock);
	for (i = 0, best = nr_kept; i < nr_kept; i++)
		if (kept[i].length >= *length && kept[i].length / FIT_TIMES < *length &&
		    (best == nr_kept || kept[i].length < kept[best].length))
			best = i;
	if (best < nr_kept)
		k = leave(best);
	unlock(&pw_kept_lock);
	if (!k.addr)
		return 0;
	check_untouched(&k);
	*length = k.length;
	return k.addr;
}

bool kept_drop(void)
{
	bool any;

	lock(&pw_kept_lock);
	any = nr_kept;
	while (nr_kept)
		drop_oldest();
	unlock(&pw_kept_lock);
	return any;
}
