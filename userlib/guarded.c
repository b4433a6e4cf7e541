// SPDX-License-Identifier: GPL-2.0-only
/*
 * guarded.c - hardened mode's large blocks, each before a page that faults
 *
 * Mapped, touched and unmapped each time, a block of some megabytes costs a hundred
 * times as much as one whose pages are there: mappings that nobody has are kept, guard
 * and all, for the next blocks.
 */
#include <string.h>

#include "guarded.h"
#include "harden.h"
#include "large.h"
#include "os.h"
#include "probe.h"
#include "report.h"

/* Each is a mapping of the kernel's, of which a process has 65,530 unless told otherwise. */
#ifdef PW_TEST
#define MAX_GUARDED	64U
#else
#define MAX_GUARDED	32768U
#endif

/* So many of them; of so many bytes, or as many as are in use. */
#define MAX_KEPT	32U
#define KEPT_BYTES	(4 * MIB)

/* One that is less than so many times as long will do. With 2, twice as many miss. */
#define FIT_TIMES	4U

/* The beginning of a block that was freed is full of this, as in hardened bins. */
#define JUNK_BYTE	0xf5
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

struct lock pw_guarded_lock;

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

/*
 * Instead of unmapping it. What is kept at most follows what the program has: if it lets
 * go of its large blocks, these go, too. False: too long for that.
 */
static bool keep(uintptr_t addr, size_t length, void *block)
{
	size_t most = MAX(KEPT_BYTES, READ_ONCE(pw_large_bytes));
	struct kept k = { addr, length, block };

	lock(&pw_guarded_lock);
	while (nr_kept && (nr_kept == MAX_KEPT || kept_bytes + length > most))
		drop_oldest();
	if (length <= most) {
		memset(block, JUNK_BYTE, junk_bytes(&k));
		kept[nr_kept++] = k;
		kept_bytes += length;
	}
	unlock(&pw_guarded_lock);
	return length <= most;
}

/* The shortest that will do, and how long it is; it holds what was in it. 0: none. */
static uintptr_t take_kept(size_t *length)
{
	struct kept k = { 0 };
	unsigned int i, best;

	lock(&pw_guarded_lock);
	for (i = 0, best = nr_kept; i < nr_kept; i++)
		if (kept[i].length >= *length && kept[i].length / FIT_TIMES < *length &&
		    (best == nr_kept || kept[i].length < kept[best].length))
			best = i;
	if (best < nr_kept)
		k = leave(best);
	unlock(&pw_guarded_lock);
	if (!k.addr)
		return 0;
	check_untouched(&k);
	*length = k.length;
	return k.addr;
}

bool guarded_drop(void)
{
	bool any;

	lock(&pw_guarded_lock);
	any = nr_kept;
	while (nr_kept)
		drop_oldest();
	unlock(&pw_guarded_lock);
	return any;
}

/*
 * The entry of a block's first byte leads to that of the mapping, where that is another
 * one: in a mapping that was kept, a shorter block may begin far behind its start.
 */
static void link_block(uintptr_t addr, uintptr_t block, bool there)
{
	size_t granule = granule_of(block);

	if (granule != granule_of(addr))
		span_entry(granule)->head = there ? (uint32_t)granule_of(addr) : 0;
}

void *guarded_alloc(size_t size, size_t align, bool *zeroed)
{
	size_t length = ALIGN_UP(MAX(size, (size_t)1), GRANULE), offset;
	uintptr_t addr = align <= GRANULE ? take_kept(&length) : 0;

	*zeroed = !addr;
	if (!addr && (READ_ONCE(pw_large_count) >= MAX_GUARDED ||
		      os_map(length, align, OS_GUARD, &addr)))
		return NULL;
	/* It ends where its guard begins, or as near as it can. */
	offset = ALIGN_DOWN(length - size, MAX(align, MIN_ALIGN));
	*span_entry(granule_of(addr)) = (struct span){
		.head = (uint32_t)granule_of(addr),
		.state = SPAN_LARGE,
		.flags = SPAN_GUARDED,
		.size = length,
		.offset = offset,
		.asked = size,
	};
	link_block(addr, addr + offset, true);
	large_count(1, (ptrdiff_t)length);
	harden_seal((void *)(addr + offset), size, length - offset);
	if (*zeroed)
		probe(large_map, addr, length);
	return (void *)(addr + offset);
}

size_t guarded_size(const struct span *s, const char *call)
{
	void *p = (void *)(span_addr(s) + s->offset);

	if (!harden_is_sealed(p, s->asked, s->size - s->offset))
		pw_heap_error(call, "written past the end of", p);
	return s->asked;
}

void guarded_free(struct span *s, const char *call)
{
	uintptr_t addr = span_addr(s), block = addr + s->offset;
	size_t length = s->size;

	guarded_size(s, call);
	link_block(addr, block, false);
	*s = (struct span){ .state = SPAN_NONE };
	large_count(-1, -(ptrdiff_t)length);
	if (keep(addr, length, (void *)block))
		return;
	probe(large_unmap, addr, length);
	os_unmap(addr, length, OS_GUARD);
}
