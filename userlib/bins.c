// SPDX-License-Identifier: GPL-2.0-only
/*
 * bins.c - spans of blocks: small and unsorted bins
 */
#include <string.h>

#include "arena.h"
#include "decay.h"
#include "env.h"
#include "meta.h"
#include "report.h"
#include "runs.h"

/* ---- small bins: spans of blocks of one class ---- */

/* See span_divide(). */
static uint64_t reciprocal(size_t size)
{
	return UINT64_MAX / size + 1;
}

/* Length of a span of this class: little waste, and more than a few blocks. */
static size_t span_length(size_t size)
{
	size_t granules = (size + GRANULE - 1) >> GRANULE_SHIFT;

	for (;; granules++) {
		size_t bytes = granules << GRANULE_SHIFT;

		if (bytes % size <= bytes / 16)
			return granules;
	}
}

/**
 * struct shape - what spans of a class look like; it takes divisions to tell
 * @reciprocal: of the block size
 * @nr_blocks: how many fit
 * @granules: length; 0: not filled in yet
 */
struct shape {
	uint64_t reciprocal;
	uint16_t nr_blocks;
	uint16_t granules;
};

static struct shape shapes[NR_CLASSES];

static noinline void fill_shape(struct shape *shape, size_t size)
{
	size_t granules = span_length(size);

	/* Whoever else is here writes the same. */
	WRITE_ONCE(shape->reciprocal, reciprocal(size));
	WRITE_ONCE(shape->nr_blocks, (uint16_t)((granules << GRANULE_SHIFT) / size));
	__atomic_store_n(&shape->granules, (uint16_t)granules, __ATOMIC_RELEASE);
}

static inline const struct shape *shape_of(unsigned int c)
{
	struct shape *shape = &shapes[c];

	if (unlikely(!__atomic_load_n(&shape->granules, __ATOMIC_ACQUIRE)))
		fill_shape(shape, class_size(c));
	return shape;
}

size_t bin_span_granules(unsigned int c)
{
	return shape_of(c)->granules;
}

static uint64_t *span_bits(struct span *s)
{
	return s->flags & SPAN_BITS ? s->more_bits : &s->bits;
}

/* Arrays of bits are used again. */
#define BITS_SIZE	(BITS_WORDS * sizeof(uint64_t))

static uint64_t *free_bits;
struct lock pw_records_lock;

static uint64_t *bits_alloc(void)
{
	uint64_t *bits;

	lock(&pw_records_lock);
	bits = free_bits;
	if (bits)
		free_bits = (uint64_t *)bits[0];
	unlock(&pw_records_lock);
	if (!bits)
		return pw_meta_alloc(BITS_SIZE);
	bits[0] = 0;
	return bits;
}

static void bits_free(struct span *s)
{
	uint64_t *bits = s->more_bits;

	if (!(s->flags & SPAN_BITS))
		return;
	lock(&pw_records_lock);
	memset(bits, 0, BITS_SIZE);
	bits[0] = (uint64_t)free_bits;
	free_bits = bits;
	unlock(&pw_records_lock);
}

/* Writes the map entries of a span: what free() finds. */
static void map_span(struct span *s, unsigned int c)
{
	size_t granule = span_granule(s), i;

	for (i = 0; i < s->granules; i++)
		WRITE_ONCE(*map_entry(granule + i), (uint16_t)(c * MAP_UNIT));
}

/*
 * Makes granules that are nobody's a span of blocks, all but its entries in the
 * map. False without memory for its bits.
 */
static bool span_set_up(struct arena *a, size_t granule, unsigned int c, bool dirty)
{
	bool hard = unlikely(pw_heap.slow) && pw_env.harden && !a->private;
	const struct shape *shape = shape_of(c);
	struct span *s = span_entry(granule);
	uint64_t *bits = NULL;

	if (shape->nr_blocks > 64) {
		bits = bits_alloc();
		if (!bits)
			return false;
	}
	*s = (struct span){
		.head = (uint32_t)granule,
		.state = SPAN_CLASS,
		.flags = (dirty ? SPAN_DIRTY : 0) | (bits ? SPAN_BITS : 0),
		.hard = hard,
		.class = (uint8_t)c,
		.granules = shape->granules,
		.nr_blocks = shape->nr_blocks,
		.arena = (uint16_t)a->id,
		.block_size = (uint32_t)class_size(c),
		.more_bits = bits,
		.reciprocal = shape->reciprocal,
	};
	return true;
}

static struct span *span_create(struct arena *a, unsigned int c, enum source source)
{
	size_t granules = shape_of(c)->granules, granule, i;
	struct span *s;
	bool dirty;

	granule = run_alloc(a, granules, 1, source, &dirty);
	if (!granule)
		return NULL;
	arena_count_in(a, granules << GRANULE_SHIFT);
	if (!span_set_up(a, granule, c, dirty)) {
		run_free(a, granule, granules, dirty);
		return NULL;
	}
	s = span_entry(granule);
	for (i = 1; i < granules; i++)
		span_entry(granule + i)->head = (uint32_t)granule;
	if (!a->private)
		map_span(s, c);
	return s;
}

bool span_extend(struct arena *a, struct span *s, unsigned int c)
{
	const struct shape *shape = shape_of(c);
	size_t size = class_size(c), granules = shape->granules, old = s->granules, i;

	if (c <= s->class || s->nr_blocks != 1 || shape->nr_blocks != 1 ||
	    (granules > old && !run_extend(a, s->head, old, granules - old, OWN_PAGES)))
		return false;
	/* Blocks count with their size, not with that of their span. */
	arena_count_in(a, (granules - old) << GRANULE_SHIFT);
	arena_count_out(a, size - s->block_size);
	for (i = old; i < granules; i++)
		span_entry(s->head + i)->head = s->head;
	s->granules = (uint32_t)granules;
	s->class = (uint8_t)c;
	s->block_size = (uint32_t)size;
	s->reciprocal = shape->reciprocal;
	s->returned = 0;
	if (!a->private)
		map_span(s, c);
	return true;
}

static void span_destroy(struct arena *a, struct span *s)
{
	size_t granule = span_granule(s), granules = s->granules, i;

	map_span(s, 0);
	bits_free(s);
	for (i = 0; i < granules; i++)
		span_entry(granule + i)->head = 0;
	s->state = SPAN_NONE;
	run_free(a, granule, granules, s->carved > 0 || (s->flags & SPAN_DIRTY));
}

void bin_sort(struct arena *a)
{
	struct span *s, *next;

	for (s = a->unsorted.first; s; s = next) {
		next = s->next;
		span_destroy(a, s);
	}
	a->unsorted = (struct spans){ NULL, NULL };
}

void bins_release(struct arena *a)
{
	struct segment *seg;

	for (seg = a->segments; seg; seg = seg->next) {
		size_t granule = seg->start;

		while (granule < seg->top) {
			struct span *s = span_entry(granule);

			granule += s->granules;
			if (s->state == SPAN_CLASS)
				bits_free(s);
		}
	}
}

/*
 * A span that fell empty starts again: its blocks in a row are handed out
 * faster than those that bits tell. Hardened ones keep what they know.
 */
static void span_restart(struct span *s)
{
	if (s->hard)
		return;
	memset(span_bits(s), 0, (s->carved + 63UL) / 64 * sizeof(uint64_t));
	s->carved = 0;
	s->nr_free = 0;
	s->flags |= SPAN_DIRTY;
}

/* An empty span becomes one of another class that is as long. */
static struct span *span_convert(struct arena *a, struct span *s, unsigned int c)
{
	struct span old = *s;

	if (!span_set_up(a, span_granule(s), c, true))
		return NULL;
	bits_free(&old);
	s->returned = old.returned;
	if (!a->private)
		map_span(s, c);
	return s;
}

/* How many spans of the unsorted bin are looked at before it is sorted. */
#define UNSORTED_LOOKS	8

/*
 * A span of the class from the unsorted bin, or one that is as long. If there is
 * none among the last that came, all of them become free runs.
 */
static struct span *unsorted_span(struct arena *a, unsigned int c)
{
	struct span *s, *same = NULL, *converted;
	size_t granules = shape_of(c)->granules;
	unsigned int looks = UNSORTED_LOOKS;

	for (s = a->unsorted.last; s && looks; s = s->prev, looks--) {
		if (s->class == c) {
			spans_del(&a->unsorted, s);
			s->flags &= (uint8_t)~SPAN_UNSORTED;
			span_restart(s);
			return s;
		}
		if (!same && s->granules == granules)
			same = s;
	}
	if (!same) {
		bin_sort(a);
		return NULL;
	}
	spans_del(&a->unsorted, same);
	converted = span_convert(a, same, c);
	if (!converted)
		spans_add(&a->unsorted, same);
	return converted;
}

/* Sets a bit; true if it was set. Compilers make five instructions of it. */
static inline bool set_bit(uint64_t *word, size_t bit)
{
#if defined(__x86_64__)
	bool was;

	__asm__("btsq %2, %0" : "+r"(*word), "=@ccc"(was) : "r"(bit));
	return was;
#else
	bool was = *word >> (bit % 64) & 1;

	*word |= 1UL << (bit % 64);
	return was;
#endif
}

static void small_add(struct arena *a, struct span *s)
{
	s->flags |= SPAN_BINNED;
	spans_add(&a->small[s->class], s);
	set_bit(&a->small_map[s->class / 64], s->class);
}

static void small_del(struct arena *a, struct span *s)
{
	s->flags &= (uint8_t)~SPAN_BINNED;
	spans_del(&a->small[s->class], s);
}

/* The next class behind @c, up to @last, with something in its small bin, perhaps; or 0. */
static unsigned int next_small(const struct arena *a, unsigned int c, unsigned int last)
{
	while (++c <= last) {
		uint64_t map = a->small_map[c / 64] >> (c % 64);

		if (map) {
			c += (unsigned int)__builtin_ctzl(map);
			return c <= last ? c : 0;
		}
		c |= 63;
	}
	return 0;
}

/* A span with something to take. */
static struct span *usable_span(struct arena *a, unsigned int c, enum source source)
{
	struct span *s = a->small[c].first;

	if (s)
		return s;
	s = a->unsorted.first ? unsorted_span(a, c) : NULL;
	if (!s)
		s = span_create(a, c, source);
	if (s)
		small_add(a, s);
	return s;
}

/* Links a block to the end of the list that is being built. */
static inline struct block **link_block(struct block **end, uintptr_t addr, uintptr_t key)
{
	struct block *block = (struct block *)addr;

	block->key = key;
	*end = block;
	return &block->next;
}

/* Free blocks, lowest address first. The first of all is not written to. */
static unsigned int take_free(struct span *s, size_t size, unsigned int want, struct batch *b)
{
	unsigned int n = MIN(want, (unsigned int)s->nr_free), left = n;
	uint64_t *bits = span_bits(s);
	uintptr_t addr = span_addr(s), key = pw_base;
	struct block **end = b->end;

	for (; left; bits++, addr += 64 * size) {
		uint64_t word = *bits;

		if (word && !b->first) {
			b->first = (struct block *)(addr + (size_t)__builtin_ctzl(word) * size);
			b->reused = true;
			word &= word - 1;
			left--;
		}
		for (; word && left; word &= word - 1, left--)
			end = link_block(end, addr + (size_t)__builtin_ctzl(word) * size, key);
		*bits = word;
	}
	b->end = end;
	s->nr_free = (uint16_t)(s->nr_free - n);
	s->returned = 0;
	return n;
}

/* Blocks behind the others: of untouched memory, no more than fill a page at a time. */
static unsigned int carve(struct span *s, size_t size, unsigned int want, struct batch *b)
{
	uintptr_t addr = span_addr(s) + s->carved * size;
	unsigned int n = MIN(want, (unsigned int)(s->nr_blocks - s->carved)), i = 0;

	if (!(s->flags & SPAN_DIRTY))
		n = MIN(n, (unsigned int)MAX(PAGE_SIZE / size, (size_t)1));
	if (!b->first) {
		b->first = (struct block *)addr;
		b->fresh = !(s->flags & SPAN_DIRTY);
		addr += size;
		i++;
	}
	for (; i < n; i++, addr += size)
		b->end = link_block(b->end, addr, pw_base);
	s->carved = (uint16_t)(s->carved + n);
	s->returned = 0;
	return n;
}

/* Takes a span that has no more blocks to give out of its bin. */
static inline void span_emptied(struct arena *a, struct span *s)
{
	if (s->nr_free || s->carved < s->nr_blocks)
		return;
	small_del(a, s);
}

unsigned int bin_take_apart(struct arena *a, unsigned int c, unsigned int want,
			    enum source source, void **blocks, enum content *content)
{
	struct span *s = usable_span(a, c, source);
	unsigned int n = 0;
	uint64_t *bits;
	char *addr;
	size_t size;

	if (!s)
		return 0;
	addr = (char *)span_addr(s);
	size = s->block_size;
	if (s->nr_free) {
		*content = s->flags & SPAN_ZEROES ? WAS_FREE : AS_LEFT;
		for (bits = span_bits(s); n < want && n < s->nr_free; bits++, addr += 64 * size)
			for (; *bits && n < want; *bits &= *bits - 1)
				blocks[n++] = addr + (size_t)__builtin_ctzl(*bits) * size;
		s->nr_free = (uint16_t)(s->nr_free - n);
		if (!s->nr_free)
			s->flags &= (uint8_t)~SPAN_ZEROES;
	} else {
		*content = s->flags & SPAN_DIRTY ? ANY_BYTES : ALL_ZERO;
		for (; n < want && s->carved < s->nr_blocks; s->carved++)
			blocks[n++] = addr + s->carved * size;
	}
	s->returned = 0;
	span_emptied(a, s);
	arena_count_out(a, n * size);
	return n;
}

/*
 * Where to take more blocks from when there are some: what was never touched is
 * only touched if there is nothing else.
 */
static struct span *more_blocks(struct arena *a, unsigned int c)
{
	struct span *s = a->small[c].first;

	if (!s)
		s = a->unsorted.first ? usable_span(a, c, USED_PAGES) : NULL;
	return s && (s->nr_free || (s->flags & SPAN_DIRTY)) ? s : NULL;
}

bool bin_take(struct arena *a, unsigned int c, unsigned int want, enum source source,
	      struct batch *b)
{
	size_t size = class_size(c);
	unsigned int got = 0;

	*b = (struct batch){ .first = NULL };
	b->end = &b->rest;
	while (got < want) {
		struct span *s = got ? more_blocks(a, c) : usable_span(a, c, source);

		if (!s)
			break;
		got += s->nr_free ? take_free(s, size, want - got, b) :
				    carve(s, size, want - got, b);
		span_emptied(a, s);
	}
	*b->end = NULL;
	b->nr_rest = got - (got > 0);
	arena_count_out(a, got * size);
	return got > 0;
}

/* Larger blocks are used in heaps from this size on, up to that of a block. */
#ifdef PW_TEST
#define HOLES_FROM	(256 * KIB)
#else
#define HOLES_FROM	(2 * MIB)
#endif

/* The span among the first of a bin that has free blocks. */
static struct span *span_with_holes(struct arena *a, unsigned int c)
{
	struct span *s = a->small[c].first;

	if (!s)
		a->small_map[c / 64] &= ~(1UL << (c % 64));
	if (s && !s->nr_free)
		s = s->next;
	return s && s->nr_free ? s : NULL;
}

bool bin_take_larger(struct arena *a, unsigned int c, unsigned int want, size_t times,
		     struct batch *b)
{
	size_t size = class_size(c), align = size & -size;
	unsigned int got = 0, larger = c, last;
	struct span *s;

	*b = (struct batch){ .first = NULL };
	b->end = &b->rest;
	/* A list of the smallest class has no room for a larger block's key. */
	if (a->size < HOLES_FROM || c == 1)
		return false;
	last = (unsigned int)class_of(MIN(times * size, HOLE_MAX));
	/* is_free() looks no further. */
	if (class_size(last) > times * size)
		last--;
	while (got < want && (larger = next_small(a, larger, last))) {
		size_t more = class_size(larger);

		/* Who asked for this size may have asked for its alignment. */
		if (more % align)
			continue;
		while (got < want && (s = span_with_holes(a, larger))) {
			unsigned int n = take_free(s, more, want - got, b);

			got += n;
			span_emptied(a, s);
			arena_count_out(a, n * more);
		}
	}
	*b->end = NULL;
	b->nr_rest = got - (got > 0);
	return got > 0;
}

bool span_block_start(const struct span *s, uintptr_t addr)
{
	return span_block_index(s, addr) >= 0;
}

bool bin_has(struct span *s, uintptr_t addr)
{
	size_t index;

	if (!span_divide(s, addr - span_addr(s), &index) || index >= s->nr_blocks)
		return false;
	return index >= s->carved || (span_bits(s)[index / 64] >> (index % 64) & 1);
}

/* Files a span by what is free in it, when @n more blocks are. */
static void span_filled(struct arena *a, struct span *s, unsigned int n)
{
	size_t bytes = (size_t)n * s->block_size;

	s->nr_free = (uint16_t)(s->nr_free + n);
	s->flags |= SPAN_RETURN;
	arena_count_in(a, bytes);
	a->decay.given += bytes;
	if (s->nr_free == s->carved) {
		if (s->flags & SPAN_BINNED)
			small_del(a, s);
		s->flags |= SPAN_UNSORTED;
		spans_add(&a->unsorted, s);
	} else if (!(s->flags & SPAN_BINNED)) {
		small_add(a, s);
	}
}

enum give bin_give(struct arena *a, struct span *s, uintptr_t addr)
{
	int index = span_block_index(s, addr);
	uint64_t *word, bit;

	if (unlikely(index < 0))
		return GIVE_INVALID;
	word = &span_bits(s)[index / 64];
	bit = 1UL << (index % 64);
	if (unlikely(*word & bit))
		return GIVE_TWICE;
	*word |= bit;
	span_filled(a, s, 1);
	return GIVE_OK;
}

size_t bin_give_some(struct arena *a, struct span *s, void **blocks, size_t n)
{
	uintptr_t start = span_addr(s), used = (size_t)s->carved * s->block_size;
	uint64_t *bits = span_bits(s);
	size_t i, index;

	for (i = 0; i < n && (uintptr_t)blocks[i] - start < used; i++) {
		if (unlikely(!span_divide(s, (uintptr_t)blocks[i] - start, &index)))
			pw_heap_error("free()", "invalid pointer", blocks[i]);
		if (unlikely(set_bit(&bits[index / 64], index)))
			pw_heap_error("free()", "double free of", blocks[i]);
	}
	if (unlikely(!i))
		pw_heap_error("free()", "invalid pointer", blocks[0]);
	span_filled(a, s, (unsigned int)i);
	return i;
}

/* First block at or behind @from that is free, or is not. */
static unsigned int next_block(struct span *s, unsigned int from, bool is_free)
{
	const uint64_t *bits = span_bits(s);

	while (from < s->carved) {
		uint64_t word = (is_free ? bits[from / 64] : ~bits[from / 64]) >> (from % 64);

		if (word)
			return MIN(from + (unsigned int)__builtin_ctzl(word), (unsigned int)s->carved);
		from = (from | 63) + 1;
	}
	return s->carved;
}

/* Returns the pages of [@from, @to) of a span that were not returned yet. */
static size_t return_part(struct span *s, uintptr_t from, uintptr_t to)
{
	uintptr_t addr = span_addr(s);
	size_t length = (size_t)s->granules << GRANULE_SHIFT;
	size_t part = MAX(PAGE_SIZE, length / 64);
	uint64_t mask, fresh;
	size_t first, last;

	/* Pages in parts of which others are in use are not remembered. */
	first = (from - addr + part - 1) / part;
	last = (to - addr) / part;
	mask = first < last ? ~0UL >> (64 - (last - first)) << first : 0;
	fresh = mask & ~s->returned;
	if (mask && !fresh)
		return 0;
	if (mask && part == PAGE_SIZE) {
		to = addr + (64 - (size_t)__builtin_clzl(fresh)) * part;
		from = addr + (size_t)__builtin_ctzl(fresh) * part;
	}
	/* Even if it fails, where a part of the pages may be locked: the others are gone. */
	s->flags |= SPAN_ZEROES;
	if (os_advise(from, to - from, OS_DONTNEED))
		return 0;
	s->returned |= mask;
	return to - from;
}

size_t span_purge(struct span *s)
{
	uintptr_t addr = span_addr(s), end = addr + ((size_t)s->granules << GRANULE_SHIFT);
	size_t size = s->block_size, returned = 0;
	unsigned int from = next_block(s, 0, true), to;

	s->flags &= (uint8_t)~SPAN_RETURN;
	for (; from < s->carved; from = next_block(s, to, true)) {
		uintptr_t start = ALIGN_UP(addr + from * size, PAGE_SIZE), stop;

		to = next_block(s, from, false);
		if (to == s->carved)
			break;
		stop = ALIGN_DOWN(addr + to * size, PAGE_SIZE);
		if (start < stop)
			returned += return_part(s, start, stop);
	}
	/* Nothing is behind the last block. */
	addr = ALIGN_UP(addr + from * size, PAGE_SIZE);
	if (addr < end && (from < s->carved || (s->flags & SPAN_DIRTY)))
		returned += return_part(s, addr, end);
	return returned;
}

/* ---- lists that come back ---- */

/* The span of a block in a list; @before leads to it, and may be overwritten. */
static struct span *listed_span(struct block *b, struct block *before)
{
	struct span *s = in_window((uintptr_t)b) ? span_of((uintptr_t)b) : NULL;

	if (unlikely(!s || s->state != SPAN_CLASS))
		pw_heap_error("malloc()", "overwritten after free:", before);
	return s;
}

/*
 * Marks the blocks of a list that are in a span, up to the first one that is
 * not. Blocks that come back together are often neighbours: the word of their
 * bits stays in a register, where no mark waits for the store of the one before.
 */
static struct block *mark_list(struct span *s, struct block *b, struct block **last,
			       unsigned int *marked)
{
	uintptr_t start = span_addr(s), used = (size_t)s->carved * s->block_size;
	uint64_t *bits = span_bits(s), word = bits[0];
	size_t at = 0;
	unsigned int n = 0;

	for (; (uintptr_t)b - start < used; *last = b, b = b->next, n++) {
		size_t index;

		if (unlikely(!span_divide(s, (uintptr_t)b - start, &index)))
			pw_heap_error("free()", "invalid pointer", b);
		if (index / 64 != at) {
			bits[at] = word;
			at = index / 64;
			word = bits[at];
		}
		if (unlikely(set_bit(&word, index)))
			pw_heap_error("free()", "double free of", b);
	}
	bits[at] = word;
	*marked = n;
	return b;
}

bool list_sort_back(struct block *first)
{
	struct block *b = first, *last = first;
	struct arena *a = NULL;
	bool due;

	while (b) {
		struct span *s = listed_span(b, last);
		unsigned int n;

		a = move_lock(a, span_arena(s));
		b = mark_list(s, b, &last, &n);
		if (unlikely(!n))
			pw_heap_error("free()", "invalid pointer", b);
		span_filled(a, s, n);
	}
	if (!a)
		return false;
	due = arena_due(a);
	unlock(&a->lock);
	return due;
}
