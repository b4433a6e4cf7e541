// SPDX-License-Identifier: GPL-2.0-only
/*
 * meta.c - the map, the spans, the program's blocks, and a bump allocator for the rest
 */
#include <sys/mman.h>

#include "env.h"
#include "heap.h"
#include "lock.h"
#include "meta.h"
#include "sys.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE	0x100000
#endif

/* One page of the map describes 32 MiB; the tables grow by this at least. */
#define COVER_STEP	(PAGE_SIZE / sizeof(uint16_t) * 8)
#define CHUNK		(256 * KIB)

struct lock pw_meta_lock;

static uintptr_t bump, bump_end;
static size_t meta_bytes;

static long map_at(uintptr_t addr, size_t length)
{
	long ret = sys(SYS_mmap, addr, length, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE |
		       (addr ? MAP_FIXED_NOREPLACE : 0), -1, 0);

	/* Kernels before 4.17 take the address for a hint. */
	if (addr && ret > 0 && (uintptr_t)ret != addr) {
		sys(SYS_munmap, ret, length);
		ret = -EEXIST;
	}
	return ret;
}

static size_t tables_bytes(size_t granules)
{
	return granules * (sizeof(uint16_t) + SPAN_BYTES + (pw_env.harden ? HAS_BYTES : 0));
}

static uintptr_t has_entries(size_t granule)
{
	return (uintptr_t)has_entry(granule << GRANULE_UNIT_SHIFT);
}

/* Maps the tables for granules [@from, @to). */
static int map_tables(size_t from, size_t to)
{
	uintptr_t map = (uintptr_t)map_entry(from);
	uintptr_t spans = (uintptr_t)span_entry(from);
	size_t map_len = (to - from) * sizeof(uint16_t);
	size_t span_len = (to - from) * SPAN_BYTES;
	long ret;

	ret = map_at(map, map_len);
	if (ret < 0)
		return (int)ret;
	ret = map_at(spans, span_len);
	if (ret < 0)
		goto unmap_map;
	if (pw_env.harden) {
		ret = map_at(has_entries(from), (to - from) * HAS_BYTES);
		if (ret < 0)
			goto unmap_spans;
	}
	meta_bytes += tables_bytes(to - from);
	return 0;

unmap_spans:
	sys(SYS_munmap, spans, span_len);
unmap_map:
	sys(SYS_munmap, map, map_len);
	return (int)ret;
}

#ifdef PW_TEST
int pw_meta_harden(void)
{
	long ret = map_at(has_entries(0), pw_heap.granules * HAS_BYTES);

	return ret < 0 ? (int)ret : 0;
}
#endif

static void publish(size_t granules)
{
	WRITE_ONCE(pw_heap.granules, granules);
	pw_heap_limits();
}

int pw_meta_place(uintptr_t start, size_t size)
{
	size_t granules = ALIGN_UP((size >> GRANULE_SHIFT) + 1, COVER_STEP);
	int ret;

	pw_base = start - GRANULE;
	/* Page-aligned tables want the window to begin on a whole step. */
	ret = map_tables(0, granules);
	if (!ret)
		publish(granules);
	return ret;
}

void pw_meta_unplace(void)
{
	size_t granules = pw_heap.granules;

	publish(0);
	sys(SYS_munmap, map_entry(0), granules * sizeof(uint16_t));
	sys(SYS_munmap, span_entry(0), granules * SPAN_BYTES);
	if (pw_env.harden)
		sys(SYS_munmap, has_entries(0), granules * HAS_BYTES);
	meta_bytes -= tables_bytes(granules);
}

int pw_meta_cover(uintptr_t end)
{
	size_t need = granule_of(end - 1) + 1;
	size_t have, want;
	int ret = 0;

	if (need <= READ_ONCE(pw_heap.granules))
		return 0;
	lock(&pw_meta_lock);
	have = pw_heap.granules;
	if (need > have) {
		want = ALIGN_UP(MAX(need, have + have / 8), COVER_STEP);
		want = MIN(want, MAX_GRANULES);
		ret = need > MAX_GRANULES ? -ENOMEM : map_tables(have, want);
		if (!ret)
			publish(want);
	}
	unlock(&pw_meta_lock);
	return ret < 0 ? -ENOMEM : 0;
}

void *pw_meta_alloc(size_t size)
{
	uintptr_t p = 0;

	size = ALIGN_UP(size, 64UL);
	lock(&pw_meta_lock);
	if (bump_end - bump < size) {
		size_t chunk = ALIGN_UP(MAX(size, CHUNK), PAGE_SIZE);
		long ret = map_at(0, chunk);

		if (ret < 0)
			goto out;
		meta_bytes += chunk;
		if ((uintptr_t)ret != bump_end)
			bump = (uintptr_t)ret;
		bump_end = (uintptr_t)ret + chunk;
	}
	p = bump;
	bump += size;
out:
	unlock(&pw_meta_lock);
	return (void *)p;
}

size_t pw_meta_bytes(void)
{
	return READ_ONCE(meta_bytes);
}
