// SPDX-License-Identifier: GPL-2.0-only
/*
 * guarded.c - hardened mode's large blocks, each before a page that faults
 *
 * Mapped, touched and unmapped each time, a block of some megabytes costs a hundred
 * times as much as one whose pages are there: mappings that nobody has are kept, guard
 * and all, for the next blocks.
 *
 * In front of a block is a word that tells of writes there.
 */
#include <string.h>
#include <sys/mman.h>

#include "decay.h"
#include "guarded.h"
#include "harden.h"
#include "large.h"
#include "os.h"
#include "probe.h"
#include "report.h"
#include "sys.h"

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

/* A canary in front of the block. */
#define FRONT		sizeof(uint64_t)

/* And so many milliseconds if blocks are freed meanwhile. */
#define KEPT_MS		1000

/**
 * struct kept - a mapping
 * @addr: its start
 * @length: without the guard
 * @since: when it came, milliseconds
 */
struct kept {
	uintptr_t addr;
	size_t length;
	uint64_t since;
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

static void drop_oldest(void)
{
	struct kept k = leave(0);

	os_unmap(k.addr, k.length, OS_GUARD);
}

static void drop_old(uint64_t now)
{
	while (nr_kept && now - kept[0].since >= KEPT_MS)
		drop_oldest();
}

/*
 * Instead of unmapping it, out of the program's reach. What is kept at most follows what
 * the program has: if it lets go of its large blocks, these go, too. False: that is too
 * much, or not cheaper, as for the device.
 */
static bool keep(uintptr_t addr, size_t length)
{
	size_t most = MAX(KEPT_BYTES, READ_ONCE(pw_large_bytes));
	uint64_t now;

	if (length > most || os_is_device(addr) || sys(SYS_mprotect, addr, length, PROT_NONE))
		return false;
	lock(&pw_guarded_lock);
	/* Read inside: others that came first must not be younger. */
	now = arena_now();
	drop_old(now);
	while (nr_kept && (nr_kept == MAX_KEPT || kept_bytes + length > most))
		drop_oldest();
	kept[nr_kept++] = (struct kept){ addr, length, now };
	kept_bytes += length;
	unlock(&pw_guarded_lock);
	return true;
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
	if (sys(SYS_mprotect, k.addr, k.length, PROT_READ | PROT_WRITE)) {
		os_unmap(k.addr, k.length, OS_GUARD);
		return 0;
	}
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

void guarded_drop_old(void)
{
	if (!READ_ONCE(nr_kept))
		return;
	lock(&pw_guarded_lock);
	drop_old(arena_now());
	unlock(&pw_guarded_lock);
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
	/* Room for the word in front, where it does not take more than a granule. */
	size_t front = align <= GRANULE ? MAX(align, MIN_ALIGN) : 0;
	size_t length = ALIGN_UP(MAX(size + front, 1UL), GRANULE), offset;
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
	if (offset)
		harden_seal((void *)(addr + offset - FRONT), 0, FRONT);
	if (*zeroed)
		probe(large_map, addr, length);
	return (void *)(addr + offset);
}

static void *block_of(const struct span *s)
{
	return (void *)(span_addr(s) + s->offset);
}

size_t guarded_size(const struct span *s, const char *call)
{
	char *block = block_of(s);

	if (!harden_is_sealed(block, s->asked, guarded_room(s)))
		pw_heap_error(call, "written past the end of", block);
	if (s->offset && !harden_is_sealed(block - FRONT, 0, FRONT))
		pw_heap_error(call, "written in front of", block);
	return s->asked;
}

bool guarded_resize(struct span *s, size_t size)
{
	if (size > guarded_room(s))
		return false;
	s->asked = size;
	harden_seal(block_of(s), size, guarded_room(s));
	return true;
}

void *guarded_grow(struct span *s, size_t size, size_t room)
{
	uintptr_t from = span_addr(s), addr = from;
	struct span copy = *s;
	size_t length = ALIGN_UP(s->offset + room, GRANULE);

	if (length <= copy.size)
		return NULL;
	/* The old addresses may be somebody's as soon as the block has moved. */
	link_block(from, from + copy.offset, false);
	*s = (struct span){ .state = SPAN_NONE };
	if (os_remap(&addr, copy.size, length, OS_GUARD, true)) {
		*s = copy;
		link_block(from, from + copy.offset, true);
		return NULL;
	}
	s = span_entry(granule_of(addr));
	copy.head = (uint32_t)granule_of(addr);
	*s = copy;
	s->size = length;
	link_block(addr, addr + s->offset, true);
	large_count(0, (ptrdiff_t)(length - copy.size));
	probe(large_remap, from, addr, length);
	/* Where it lies is part of what is in front of it. */
	if (s->offset)
		harden_seal((char *)block_of(s) - FRONT, 0, FRONT);
	guarded_resize(s, size);
	return block_of(s);
}

void guarded_free(struct span *s, const char *call)
{
	uintptr_t addr = span_addr(s), block = addr + s->offset;
	size_t length = s->size;

	guarded_size(s, call);
	link_block(addr, block, false);
	*s = (struct span){ .state = SPAN_NONE };
	large_count(-1, -(ptrdiff_t)length);
	if (keep(addr, length))
		return;
	probe(large_unmap, addr, length);
	os_unmap(addr, length, OS_GUARD);
}
