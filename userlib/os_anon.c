// SPDX-License-Identifier: GPL-2.0-only
/*
 * os_anon.c - anonymous memory, with addresses given out the module's way
 *
 * Nothing is reserved with the kernel: the window lies far from where it
 * places mappings by itself, and every piece is mapped where it belongs with
 * MAP_FIXED_NOREPLACE. So RLIMIT_AS and core dumps see what is used, no more.
 * Which addresses are taken is a sorted array of intervals.
 */
#include <string.h>
#include <sys/mman.h>

#include "env.h"
#include "heap.h"
#include "meta.h"
#include "os_backend.h"
#include "sys.h"

/* Where headers are older than the kernel. */
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE	23	/* Linux 5.14 */
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE		25	/* Linux 6.1 */
#endif

/* Granules [start, end) that are taken; neighbours are merged. */
struct interval {
	uint32_t start;
	uint32_t end;
};

#define MAX_INTERVALS	(128 * KIB)

static struct interval *taken;
static uint32_t nr_taken;
static uint32_t first_granule;

/**
 * struct bound - where the search for a gap may begin
 * @align: asked for this alignment, or a wider one,
 * @count: and this many granules, or more,
 * @from: there is no gap that starts before this granule
 */
struct bound {
	size_t align;
	uint32_t count;
	uint32_t from;
};

/* Of what was asked for last: blocks of few kinds may leave many gaps that fit none of them. */
static struct bound bounds[8];

/* Index of the first interval that ends behind @granule. */
static uint32_t find(uint32_t granule)
{
	uint32_t low = 0, high = nr_taken;

	while (low < high) {
		uint32_t mid = (low + high) / 2;

		if (taken[mid].end > granule)
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

static bool is_free(uint32_t start, uint32_t end)
{
	uint32_t i = find(start);

	return end <= MAX_GRANULES && (i == nr_taken || taken[i].start >= end);
}

static void close_up(uint32_t i)
{
	memmove(&taken[i], &taken[i + 1], (--nr_taken - i) * sizeof(*taken));
}

static bool open_up(uint32_t i)
{
	if (nr_taken == MAX_INTERVALS)
		return false;
	memmove(&taken[i + 1], &taken[i], (nr_taken++ - i) * sizeof(*taken));
	return true;
}

/* Takes free granules. */
static bool take(uint32_t start, uint32_t end)
{
	uint32_t i = find(start);
	bool before = i > 0 && taken[i - 1].end == start;
	bool after = i < nr_taken && taken[i].start == end;

	if (before && after) {
		taken[i - 1].end = taken[i].end;
		close_up(i);
	} else if (before) {
		taken[i - 1].end = end;
	} else if (after) {
		taken[i].start = start;
	} else {
		if (!open_up(i))
			return false;
		taken[i] = (struct interval){ start, end };
	}
	return true;
}

/* The first granule from @granule on that starts at a multiple of @align bytes. */
static size_t aligned_granule(uint32_t granule, size_t align)
{
	return granule_of(ALIGN_UP(granule_addr(granule), align));
}

/* The gap that @granule is in now may fit what those before it do not. */
static void lower_bounds(uint32_t granule)
{
	uint32_t i = find(granule);
	uint32_t start = i > 0 ? taken[i - 1].end : first_granule;
	uint32_t end = i < nr_taken ? taken[i].start : MAX_GRANULES;
	struct bound *b;

	for (b = bounds; b < bounds + ARRAY_SIZE(bounds); b++) {
		size_t at = start < b->from ? aligned_granule(start, b->align) : b->from;

		if (at < b->from && at + b->count <= end)
			b->from = (uint32_t)at;
	}
}

/* Gives taken granules back; they stay taken when the array is full. */
static void give(uint32_t start, uint32_t end)
{
	uint32_t i = find(start);
	struct interval *t = &taken[i];

	if (t->start == start && t->end == end) {
		close_up(i);
	} else if (t->start == start) {
		t->start = end;
	} else if (t->end == end) {
		t->end = start;
	} else {
		if (!open_up(i))
			return;
		taken[i].end = start;
		taken[i + 1].start = end;
	}
	lower_bounds(start);
}

static uint32_t bound_of(uint32_t count, size_t align)
{
	uint32_t from = first_granule;
	const struct bound *b;

	for (b = bounds; b < bounds + ARRAY_SIZE(bounds); b++)
		if (align >= b->align && count >= b->count)
			from = MAX(from, b->from);
	return from;
}

/* In the place of what is known of the same kind, or of the one that was noted longest ago. */
static void note_bound(uint32_t count, size_t align, uint32_t from)
{
	static unsigned int oldest;
	struct bound *b;

	for (b = bounds; b < bounds + ARRAY_SIZE(bounds); b++)
		if (b->align == align && b->count == count)
			break;
	if (b == bounds + ARRAY_SIZE(bounds))
		b = &bounds[oldest++ % ARRAY_SIZE(bounds)];
	*b = (struct bound){ .align = align, .count = count, .from = from };
}

/* Lowest gap of @count granules whose start is aligned to @align bytes. */
static uint32_t find_gap(size_t count, size_t align)
{
	uint32_t at, i;

	if (count >= MAX_GRANULES)
		return 0;
	at = bound_of((uint32_t)count, align);
	for (i = find(at);; at = taken[i++].end) {
		size_t start = aligned_granule(at, align);

		if (start + count > MAX_GRANULES)
			return 0;
		if (i == nr_taken || start + count <= taken[i].start) {
			note_bound((uint32_t)count, align, (uint32_t)start);
			return (uint32_t)start;
		}
	}
}

static long map_at(uintptr_t addr, size_t length, int prot)
{
	long ret = sys(SYS_mmap, addr, length, prot,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	if (ret > 0 && (uintptr_t)ret != addr) {
		sys(SYS_munmap, ret, length);
		return -EEXIST;
	}
	return ret;
}

static long map_fixed(uintptr_t addr, size_t length)
{
	long ret = map_at(addr, length, PROT_READ | PROT_WRITE);

	/* The system's own policy may be huge pages everywhere. */
	if (ret > 0 && pw_env.huge == HUGE_NEVER)
		sys(SYS_madvise, addr, length, MADV_NOHUGEPAGE);
	return ret;
}

static uint32_t end_granule(uintptr_t addr, size_t length)
{
	return (uint32_t)granule_of(addr + length + GRANULE - 1);
}

/* How much of the window's tables a first heap needs. */
#define FIRST_COVER	(128 * MIB)
#define PLACE_TRIES	16

int os_anon_start(uintptr_t from)
{
	int i, ret = -ENOMEM;

	for (i = 0; !from && ret && i < PLACE_TRIES; i++)
		ret = pw_meta_place(os_random_place(), FIRST_COVER);
	if (!from && ret)
		return ret;
	taken = pw_meta_alloc(MAX_INTERVALS * sizeof(*taken));
	if (!taken)
		return -ENOMEM;
	first_granule = from ? (uint32_t)granule_of(from) : 1;
	return 0;
}

bool os_anon_started(void)
{
	return taken;
}

uintptr_t os_anon_high(void)
{
	return nr_taken ? granule_addr(taken[nr_taken - 1].end) : 0;
}

static int take_place(size_t bytes, size_t align, uintptr_t *addr)
{
	uint32_t start = taken ? find_gap((bytes + GRANULE - 1) >> GRANULE_SHIFT, align) : 0;

	*addr = granule_addr(start);
	return start && take(start, end_granule(*addr, bytes)) ? 0 : -ENOMEM;
}

void os_anon_give_place(uintptr_t addr, size_t bytes)
{
	give((uint32_t)granule_of(addr), end_granule(addr, bytes));
}

int os_anon_brk_create(size_t reserve, struct os_brk *b)
{
	uintptr_t addr;

	reserve = ALIGN_UP(reserve, HUGE_SIZE);
	if (take_place(reserve, HUGE_SIZE, &addr))
		return -ENOMEM;
	*b = (struct os_brk){ .start = addr, .brk = addr, .reserved = addr + reserve };
	return 0;
}

/* More addresses for a break, if they are free. */
static bool reserve(struct os_brk *b, uintptr_t end)
{
	uint32_t from = (uint32_t)granule_of(b->reserved), to = end_granule(end, 0);

	if (!is_free(from, to) || !take(from, to))
		return false;
	b->reserved = granule_addr(to);
	return true;
}

static void unreserve(struct os_brk *b, uintptr_t end)
{
	if (b->reserved == end)
		return;
	os_anon_give_place(end, b->reserved - end);
	b->reserved = end;
}

int os_anon_brk_move(struct os_brk *b, uintptr_t brk)
{
	uintptr_t reserved = b->reserved;
	long ret;

	if (brk > reserved && !reserve(b, brk))
		return -EAGAIN;
	if (brk > b->brk)
		ret = map_fixed(b->brk, brk - b->brk);
	else
		ret = brk < b->brk ? sys(SYS_munmap, brk, b->brk - brk) : 0;
	if (ret < 0) {
		/* Where somebody else is, nobody is to look again. */
		if (ret != -EEXIST)
			unreserve(b, reserved);
		return ret == -EEXIST ? -EAGAIN : (int)ret;
	}
	b->brk = brk;
	return 0;
}

int os_anon_brk_destroy(struct os_brk *b)
{
	long ret = b->brk > b->start ? sys(SYS_munmap, b->start, b->brk - b->start) : 0;

	if (ret)
		return (int)ret;
	os_anon_give_place(b->start, b->reserved - b->start);
	b->brk = b->start;
	return 0;
}

/*
 * Takes a place of @bytes and has @map map @length of them. Should somebody else
 * have mapped memory in a gap, its addresses stay taken and the next gap is tried.
 */
static int map_place(size_t bytes, size_t align, long (*map)(uintptr_t addr, size_t length),
		     size_t length, uintptr_t *addr)
{
	int i;

	for (i = 0; i < PLACE_TRIES; i++) {
		long ret = take_place(bytes, align, addr);

		if (ret)
			return (int)ret;
		ret = map(*addr, length);
		if (ret > 0)
			return 0;
		if (ret != -EEXIST) {
			os_anon_give_place(*addr, bytes);
			return -ENOMEM;
		}
	}
	return -ENOMEM;
}

/* Addresses behind a map that stay free. */
static size_t guard_bytes(unsigned int flags)
{
	return flags & OS_GUARD ? GRANULE : 0;
}

int os_anon_map(size_t length, size_t align, unsigned int flags, uintptr_t *addr)
{
	size_t bytes = length + guard_bytes(flags);
	int ret = map_place(bytes, align, map_fixed, length, addr);

	if (!ret && pw_env.huge == HUGE_ALWAYS)
		os_anon_huge(*addr, length);
	return ret;
}

bool os_anon_unmap(uintptr_t addr, size_t length)
{
	if (!sys(SYS_munmap, addr, length))
		return true;
	/* Too many mappings to split one: the pages go. */
	sys(SYS_madvise, addr, length, MADV_DONTNEED);
	return false;
}

static int grow_in_place(uintptr_t addr, size_t old_length, size_t new_length, size_t guard)
{
	uint32_t old_end = end_granule(addr, old_length + guard);
	uint32_t new_end = end_granule(addr, new_length + guard);
	long ret;

	if (new_end > old_end && (!is_free(old_end, new_end) || !take(old_end, new_end)))
		return -ENOMEM;
	/* What has moved does not merge with a new mapping behind it: its own one is to grow. */
	ret = sys(SYS_mremap, addr, old_length, new_length, 0, 0);
	if (ret == -EFAULT)
		ret = map_fixed(addr + old_length, new_length - old_length);
	if (ret > 0)
		return 0;
	if (new_end > old_end)
		give(old_end, new_end);
	return -ENOMEM;
}

/* Further away than a mapping within RLIMIT_AS is long. */
#define FAR	(1024 * GIB)

/* Is this where the kernel places mappings by itself? In the legacy layout, that may be. */
static bool kernel_is_near(uintptr_t addr)
{
	long ret = sys(SYS_mmap, 0, GRANULE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (ret < 0)
		return true;
	sys(SYS_munmap, ret, GRANULE);
	return MAX((uintptr_t)ret, addr) - MIN((uintptr_t)ret, addr) < FAR;
}

/*
 * Until mremap() comes, nobody else may map something here: a mapping keeps them out. It is
 * no data, as it cannot be accessed, but it counts for RLIMIT_AS. When the kernel says so, it
 * has looked for others' mappings already, and there are none; nor will there be.
 */
static long keep_empty(uintptr_t addr, size_t length)
{
	long ret = map_at(addr, length, PROT_NONE);

	return ret == -ENOMEM && !kernel_is_near(addr) ? (long)addr : ret;
}

/*
 * mremap() moves one mapping only, and neighbours of the same kind merge into
 * one; it fails with EFAULT where they did not, and then copying it is.
 */
static int move(uintptr_t *addr, size_t old_length, size_t new_length, size_t guard)
{
	uintptr_t to;
	long ret;

	ret = map_place(new_length + guard, GRANULE, keep_empty, new_length, &to);
	if (ret)
		return (int)ret;
	ret = sys(SYS_mremap, *addr, old_length, new_length,
		  MREMAP_MAYMOVE | MREMAP_FIXED, to);
	if (ret < 0) {
		if (os_anon_unmap(to, new_length))
			os_anon_give_place(to, new_length + guard);
		return -EOPNOTSUPP;
	}
	os_anon_give_place(*addr, old_length + guard);
	*addr = to;
	return 0;
}

bool os_anon_could_have(size_t bytes)
{
	long ret = sys(SYS_mmap, 0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);

	return ret > 0 && !sys(SYS_munmap, ret, bytes);
}

int os_anon_remap(uintptr_t *addr, size_t old_length, size_t new_length, unsigned int flags,
		  bool may_move)
{
	size_t guard = guard_bytes(flags);
	uint32_t old_end = end_granule(*addr, old_length + guard);
	uint32_t new_end = end_granule(*addr, new_length + guard);
	long ret;

	if (new_length > old_length) {
		ret = grow_in_place(*addr, old_length, new_length, guard);
		return ret && may_move ? move(addr, old_length, new_length, guard) : (int)ret;
	}
	if (new_length < old_length) {
		ret = sys(SYS_munmap, *addr + new_length, old_length - new_length);
		if (ret)
			return (int)ret;
		if (new_end < old_end)
			give(new_end, old_end);
	}
	return 0;
}

int os_anon_advise(uintptr_t addr, size_t length, enum os_advice advice)
{
	static const int madvice[] = {
		[OS_DONTNEED] = MADV_DONTNEED,
		[OS_POPULATE] = MADV_POPULATE_WRITE,
		[OS_WILLNEED] = MADV_POPULATE_WRITE,
		[OS_FREE] = MADV_FREE,
		[OS_COLD] = MADV_COLD,
		[OS_HUGEPAGE] = MADV_HUGEPAGE,
		[OS_NOHUGEPAGE] = MADV_NOHUGEPAGE,
		[OS_COLLAPSE] = MADV_COLLAPSE,
	};
	bool hint = advice == OS_WILLNEED || (advice >= OS_FREE && advice < OS_COLLAPSE);
	long ret = sys(SYS_madvise, addr, length, madvice[advice]);

	/* Kernels may be built without what a hint asks for. */
	return hint ? 0 : (int)ret;
}

void os_anon_huge(uintptr_t addr, size_t length)
{
	uintptr_t from = ALIGN_UP(addr, HUGE_SIZE);
	uintptr_t to = ALIGN_DOWN(addr + length, HUGE_SIZE);

	if (pw_env.huge != HUGE_NEVER && from < to)
		sys(SYS_madvise, from, to - from, MADV_HUGEPAGE);
}
