// SPDX-License-Identifier: GPL-2.0-only
/*
 * harden.c - slow mode
 */
#include <string.h>
#include <sys/auxv.h>

#include "env.h"
#include "harden.h"
#include "large.h"
#include "meta.h"
#include "report.h"
#include "tcache.h"
#include "tune.h"

/* Free blocks are full of this; a pointer made of it faults. */
#define JUNK_BYTE	0xdb
#define JUNK_WORD	0xdbdbdbdbdbdbdbdbUL

/* Of larger blocks only the beginning is filled and looked at. */
#define JUNK_MAX	128UL
#define JUNK_PAIRS	(JUNK_MAX / sizeof(pair))

static size_t junk_size(size_t size)
{
	return MIN(size, JUNK_MAX);
}

typedef uint64_t pair __attribute__((vector_size(16), may_alias));

static const pair junk_pair = { JUNK_WORD, JUNK_WORD };

/* Sizes of blocks are multiples of 16. */
static inline void fill_junk(void *p, size_t size)
{
	pair *at = p, *end = (pair *)((char *)p + size);
	size_t i;

	/* Most blocks are as large, and then it is no loop. */
	if (likely(size >= JUNK_MAX)) {
#pragma GCC unroll 8
		for (i = 0; i < JUNK_PAIRS; i++)
			at[i] = junk_pair;
		return;
	}
	for (; at < end; at++)
		*at = junk_pair;
}

/* Pages of a free block may have been returned meanwhile and read as zero. */
static noinline bool junk_or_zero(const uint64_t *words, size_t size)
{
	size_t i;

	for (i = 0; i < size / sizeof(*words); i++)
		if (words[i] != JUNK_WORD && words[i])
			return false;
	return true;
}

static inline bool untouched(const void *p, size_t size)
{
	const pair *at = p, *end = (const pair *)((const char *)p + size);
	pair other = { 0 };
	size_t i;

	if (likely(size >= JUNK_MAX)) {
#pragma GCC unroll 8
		for (i = 0; i < JUNK_PAIRS; i++)
			other |= at[i] ^ junk_pair;
	} else {
		for (; at < end; at++)
			other |= *at ^ junk_pair;
	}
	return likely(!(other[0] | other[1])) || junk_or_zero(p, junk_size(size));
}

static inline void check_untouched(const void *p, size_t size)
{
	if (unlikely(!untouched(p, size)))
		pw_heap_error("malloc()", "written to after free:", p);
}

/* ---- perturbed, and blocks of heaps of the program's ---- */

void *perturb_take(size_t c, bool *zeroed)
{
	struct arena *a;
	struct batch b;
	bool done;

	if (!pw_heap_start())
		return NULL;
	a = arena_enter(tcache_arena());
	done = bin_take(a, (unsigned int)c, 1, NEW_PAGES, &b);
	unlock(&a->lock);
	if (!done)
		return NULL;
	*zeroed = b.fresh;
	return b.first;
}

void perturb_fill(void *p, size_t size)
{
	if (READ_ONCE(pw_tune.perturb))
		memset(p, READ_ONCE(pw_tune.perturb) ^ 0xff, size);
}

bool slow_is_free(struct span *s, void *p)
{
	struct arena *a = span_arena(s);
	bool found;

	lock(&a->lock);
	found = bin_has(s, (uintptr_t)p);
	unlock(&a->lock);
	return found;
}

void slow_freed(struct span *s, void *p, const char *call)
{
	if (s->state != SPAN_CLASS)
		return;
	if (!span_block_start(s, (uintptr_t)p))
		pw_heap_error(call, "invalid pointer", p);
	if (slow_is_free(s, p))
		pw_heap_error(call, "double free of", p);
	if (pw_env.harden)
		memset(p, JUNK_BYTE, s->block_size);
	else if (READ_ONCE(pw_tune.perturb))
		memset(p, READ_ONCE(pw_tune.perturb), s->block_size);
}

/* ---- what a thread keeps ---- */

#define MAX_KEPT	64
#define MAX_DELAYED	8
#define KEPT_BYTES	(32 * KIB)

/**
 * struct hard_bin - free blocks of a class
 * @delayed: the last ones that came back, a ring
 * @at: where the next one goes
 * @max_delayed: length of the ring
 * @nr: how many blocks there are in @kept
 * @max: how many there may be
 * @next: which of them is taken next
 * @kept: older ones, in no order
 */
struct hard_bin {
	void *delayed[MAX_DELAYED];
	uint16_t at;
	uint16_t max_delayed;
	uint16_t nr;
	uint16_t max;
	uint16_t next;
	void *kept[MAX_KEPT];
};

/**
 * struct hard - a thread's free blocks
 * @random: state of a generator
 * @bins: by class, NULL for those not used yet
 */
struct hard {
	uint64_t random;
	struct hard_bin *bins[NR_CLASSES];
};

static uint64_t next_random(struct hard *h)
{
	h->random ^= h->random << 13;
	h->random ^= h->random >> 7;
	h->random ^= h->random << 17;
	return h->random >> 32;
}

static inline uint16_t random_below(struct hard *h, uint16_t n)
{
	return (uint16_t)((next_random(h) * n) >> 32);
}

/* What the kernel gave this process alone, for canaries and for placement. */
static inline uint64_t secret(void)
{
	static uint64_t value;
	const void *random;
	uint64_t words[2];

	if (likely(READ_ONCE(value)))
		return READ_ONCE(value);
	random = (const void *)getauxval(AT_RANDOM);
	memcpy(words, random ?: "no randomness!!", sizeof(words));
	WRITE_ONCE(value, (words[0] ^ words[1] << 7) | 1);
	return READ_ONCE(value);
}

static inline struct hard_bin *hard_bin(struct thread *t, unsigned int c)
{
	struct hard_bin *bin;
	size_t size;

	if (unlikely(!t->hard)) {
		t->hard = pw_meta_alloc(sizeof(*t->hard));
		if (!t->hard)
			return NULL;
		t->hard->random = secret() ^ (uintptr_t)t;
	}
	bin = t->hard->bins[c];
	if (likely(bin))
		return bin;
	bin = pw_meta_alloc(sizeof(*bin));
	if (!bin)
		return NULL;
	size = class_size(c);
	bin->max = (uint16_t)MIN(MAX(KEPT_BYTES / size, 4UL), (size_t)MAX_KEPT);
	bin->max_delayed = (uint16_t)MIN(MAX(KEPT_BYTES / 4 / size, 1UL), (size_t)MAX_DELAYED);
	t->hard->bins[c] = bin;
	return bin;
}

/* Sorts @n blocks back. They keep their junk: no list is made of them. */
static void give_back(void **blocks, unsigned int n)
{
	struct arena *a = NULL;
	unsigned int i;

	for (i = 0; i < n; i++) {
		struct span *s = span_of((uintptr_t)blocks[i]);

		a = move_lock(a, span_arena(s));
		bin_give(a, s, (uintptr_t)blocks[i]);
	}
	if (!a)
		return;
	arena_freed(a);
	unlock(&a->lock);
}

static void refill(struct thread *t, struct hard_bin *bin, unsigned int c)
{
	struct arena *a = arena_enter(&t->arena);
	size_t size = class_size(c);
	struct batch b;

	while (bin->nr < (bin->max + 1) / 2 && bin_take(a, c, 1, NEW_PAGES, &b)) {
		if (b.reused)
			check_untouched(b.first, size);
		else
			fill_junk(b.first, size);
		bin->kept[bin->nr++] = b.first;
	}
	unlock(&a->lock);
}

void harden_drain(struct thread *t)
{
	unsigned int c, i;

	for (c = 1; t->hard && c < NR_CLASSES; c++) {
		struct hard_bin *bin = t->hard->bins[c];

		if (!bin)
			continue;
		give_back(bin->kept, bin->nr);
		bin->nr = 0;
		for (i = 0; i < bin->max_delayed; i++)
			if (bin->delayed[i])
				give_back(&bin->delayed[i], 1);
		memset(bin->delayed, 0, sizeof(bin->delayed));
	}
}

/* A random one of the older blocks; the newest is looked at, too. */
static void *take_kept(struct thread *t, unsigned int c)
{
	struct hard_bin *bin = hard_bin(t, c);
	size_t size = class_size(c), i;
	void *p, *newest;

	if (!bin)
		return NULL;
	if (bin->nr <= bin->max / 4)
		refill(t, bin, c);
	if (!bin->nr)
		return NULL;
	i = bin->next < bin->nr ? bin->next : random_below(t->hard, bin->nr);
	p = bin->kept[i];
	bin->kept[i] = bin->kept[--bin->nr];
	/* Chosen now, the next one is in the caches when it is looked at. */
	if (likely(bin->nr)) {
		bin->next = random_below(t->hard, bin->nr);
		__builtin_prefetch(bin->kept[bin->next], 1);
	}
	check_untouched(p, size);
	newest = bin->delayed[(bin->at ? bin->at : bin->max_delayed) - 1];
	if (newest)
		check_untouched(newest, size);
	return p;
}

static void keep(struct thread *t, unsigned int c, void *p)
{
	struct hard_bin *bin = hard_bin(t, c);
	void *old = p;

	if (likely(bin)) {
		old = bin->delayed[bin->at];
		bin->delayed[bin->at] = p;
		bin->at = bin->at + 1 < bin->max_delayed ? bin->at + 1 : 0;
		if (!old)
			return;
		if (bin->nr == bin->max) {
			bin->nr /= 2;
			give_back(bin->kept + bin->nr, bin->max - bin->nr);
		}
		bin->kept[bin->nr++] = old;
		return;
	}
	give_back(&old, 1);
}

/* ---- what the program has ---- */

/* Notes that the program has a block, or has not any more; false: it was so. */
static inline bool set_has(struct span *s, unsigned int index, bool has)
{
	uint64_t *word = &s->more_bits[BITS_WORDS + index / 64];
	uint64_t bit = 1UL << (index % 64), before;

	if (single_threaded()) {
		before = *word;
		*word = has ? before | bit : before & ~bit;
	} else if (has) {
		before = __atomic_fetch_or(word, bit, __ATOMIC_RELAXED);
	} else {
		before = __atomic_fetch_and(word, ~bit, __ATOMIC_RELAXED);
	}
	return !(before & bit) == has;
}

static bool program_has(struct span *s, int index)
{
	return index >= 0 &&
	       READ_ONCE(s->more_bits[BITS_WORDS + index / 64]) >> (index % 64) & 1;
}

/* ---- canaries: the last word, and bytes between it and what was asked for ---- */

#define CANARY		sizeof(uint64_t)
#define SLACK_BYTE	0xa7
#define SLACK_WORD	0xa7a7a7a7a7a7a7a7UL
#define SLACK_MAX	sizeof(uint64_t)

static uint64_t *canary_at(const struct span *s, void *p)
{
	return (uint64_t *)((char *)p + s->block_size - CANARY);
}

static uint64_t canary(const void *p)
{
	return secret() * 0x9e3779b97f4a7c15UL ^ (uintptr_t)p << 13;
}

static inline void write_canary(struct span *s, void *p, size_t size)
{
	static const uint64_t slack_word = SLACK_WORD;
	size_t slack = s->block_size - CANARY - size;

	*canary_at(s, p) = canary(p) ^ slack;
	if (likely(slack >= SLACK_MAX))
		memcpy((char *)p + size, &slack_word, SLACK_MAX);
	else
		memset((char *)p + size, SLACK_BYTE, slack);
}

/* Bytes that were asked for, or SIZE_MAX if something was written behind them. */
static inline size_t read_canary(struct span *s, void *p)
{
	uint64_t slack = *canary_at(s, p) ^ canary(p);
	const unsigned char *end;
	uint64_t word;
	size_t i;

	if (slack > s->block_size - CANARY)
		return SIZE_MAX;
	end = (unsigned char *)p + s->block_size - CANARY - slack;
	if (slack >= sizeof(word)) {
		memcpy(&word, end, sizeof(word));
		return word == SLACK_WORD ? s->block_size - CANARY - slack : SIZE_MAX;
	}
	for (i = 0; i < slack; i++)
		if (end[i] != SLACK_BYTE)
			return SIZE_MAX;
	return s->block_size - CANARY - slack;
}

/* ---- blocks out and in ---- */

/* A class for so many bytes and a canary, or 0. */
static unsigned int class_for(size_t size, size_t align)
{
	size_t with = size + CANARY;

	if (align > MIN_ALIGN)
		with = ALIGN_UP(with, align);
	/* Classes are multiples of every alignment that a size in them has. */
	return align > GRANULE || with > CLASS_MAX ? 0 : (unsigned int)class_of(with);
}

/* An exiting thread keeps nothing. */
static void *take_alone(unsigned int c)
{
	bool zeroed;

	return perturb_take(c, &zeroed);
}

void *harden_take(size_t size, size_t room, size_t align)
{
	unsigned int c = class_for(MAX(room, 1UL), align);
	struct thread *t;
	struct span *s;
	void *p;

	if (unlikely(!c || !pw_heap_start()))
		return NULL;
	t = tcache_thread();
	p = likely(t) ? take_kept(t, c) : take_alone(c);
	if (unlikely(!p))
		return NULL;
	s = span_of((uintptr_t)p);
	if (unlikely(!s->hard))
		return p;
	set_has(s, (unsigned int)span_block_index(s, (uintptr_t)p), true);
	write_canary(s, p, MAX(size, 1UL));
	return p;
}

bool harden_resize(struct span *s, void *p, size_t size)
{
	size_t most = s->block_size - CANARY;

	if (size > most || size < most / 2)
		return false;
	write_canary(s, p, size);
	return true;
}

void harden_give(struct span *s, void *p, const char *call)
{
	int index = span_block_index(s, (uintptr_t)p);
	struct thread *t;

	if (unlikely(index < 0))
		pw_heap_error(call, "invalid pointer", p);
	if (unlikely(!set_has(s, (unsigned int)index, false)))
		pw_heap_error(call, "double free of", p);
	if (unlikely(read_canary(s, p) == SIZE_MAX))
		pw_heap_error(call, "written past the end of", p);
	fill_junk(p, s->block_size);
	t = tcache_thread();
	if (likely(t))
		keep(t, s->class, p);
	else
		give_back(&p, 1);
}

size_t harden_size(struct span *s, void *p, const char *call)
{
	int index = span_block_index(s, (uintptr_t)p);
	size_t size;

	if (unlikely(!program_has(s, index)))
		pw_heap_error(call, index < 0 ? "invalid pointer" : "use after free of", p);
	size = read_canary(s, p);
	if (unlikely(size == SIZE_MAX))
		pw_heap_error(call, "written past the end of", p);
	return size;
}
