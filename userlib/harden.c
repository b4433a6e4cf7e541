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
#define JUNK_MAX	64UL

static size_t junk_size(size_t size)
{
	return MIN(size, JUNK_MAX);
}

typedef uint64_t pair __attribute__((vector_size(16), may_alias));

static const pair junk_pair = { JUNK_WORD, JUNK_WORD };

/* Sizes of blocks are multiples of 16: up to three pairs are first, middle and last. */
static inline pair *junk_last(void *p, size_t size)
{
	return (pair *)((char *)p + size) - 1;
}

static inline pair *junk_middle(void *p, size_t size)
{
	return (pair *)p + size / (2 * sizeof(pair));
}

static inline void fill_junk(void *p, size_t size)
{
	pair *at = p;

	if (likely(size >= JUNK_MAX)) {
		at[0] = junk_pair;
		at[1] = junk_pair;
		at[2] = junk_pair;
		at[3] = junk_pair;
	} else {
		at[0] = junk_pair;
		*junk_middle(p, size) = junk_pair;
		*junk_last(p, size) = junk_pair;
	}
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

static inline bool untouched(void *p, size_t size)
{
	const pair *at = p;
	pair other;

	if (likely(size >= JUNK_MAX))
		other = (at[0] ^ junk_pair) | (at[1] ^ junk_pair) |
			(at[2] ^ junk_pair) | (at[3] ^ junk_pair);
	else
		other = (at[0] ^ junk_pair) | (*junk_middle(p, size) ^ junk_pair) |
			(*junk_last(p, size) ^ junk_pair);
	return likely(!(other[0] | other[1])) || junk_or_zero(p, junk_size(size));
}

static inline void check_untouched(void *p, size_t size)
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
 * @size: of a block
 * @delayed: the last ones that came back, a ring
 * @at: where the next one goes
 * @max_delayed: length of the ring
 * @nr: how many blocks there are in @kept
 * @max: how many there may be
 * @next: which of them is taken next
 * @kept: older ones, in no order
 */
struct hard_bin {
	size_t size;
	uint16_t at;
	uint16_t max_delayed;
	uint16_t nr;
	uint16_t max;
	uint16_t next;
	void *delayed[MAX_DELAYED];
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

/* The upper half of a state that a multiplication moves on. */
static inline uint16_t random_below(struct hard *h, uint16_t n)
{
	h->random = h->random * 0xd1342543de82ef95UL + 1;
	return (uint16_t)(((h->random >> 32) * n) >> 32);
}

/* What the kernel gave this process alone, for canaries and for placement. */
static uint64_t secret;

/* The same for whoever comes first. */
static noinline void make_secret(void)
{
	const void *random = (const void *)getauxval(AT_RANDOM);
	uint64_t words[2];

	memcpy(words, random ?: "no randomness!!", sizeof(words));
	WRITE_ONCE(secret, (words[0] ^ words[1] << 7) * 0x9e3779b97f4a7c15UL);
}

static bool make_hard(struct thread *t)
{
	make_secret();
	t->hard = pw_meta_alloc(sizeof(*t->hard));
	if (!t->hard)
		return false;
	t->hard->random = READ_ONCE(secret) ^ (uintptr_t)t;
	return true;
}

static noinline struct hard_bin *make_hard_bin(struct thread *t, unsigned int c)
{
	struct hard_bin *bin;
	size_t size;

	if (!t->hard && !make_hard(t))
		return NULL;
	bin = pw_meta_alloc(sizeof(*bin));
	if (!bin)
		return NULL;
	size = class_size(c);
	bin->max = (uint16_t)MIN(MAX(KEPT_BYTES / size, size < KEPT_BYTES ? 4UL : 1UL),
				 (size_t)MAX_KEPT);
	bin->max_delayed = (uint16_t)MIN(MAX(KEPT_BYTES / 4 / size, 1UL), (size_t)MAX_DELAYED);
	bin->size = size;
	t->hard->bins[c] = bin;
	return bin;
}

static inline struct hard_bin *hard_bin(struct thread *t, unsigned int c)
{
	if (likely(t->hard && t->hard->bins[c]))
		return t->hard->bins[c];
	return make_hard_bin(t, c);
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

static noinline void refill(struct thread *t, struct hard_bin *bin, unsigned int c)
{
	struct arena *a = arena_enter(&t->arena);
	unsigned int want = (bin->max + 1U) / 2, fresh[MAX_KEPT], nr_fresh = 0, i, n;
	size_t size = class_size(c);
	bool reused;

	while (bin->nr < want) {
		n = bin_take_apart(a, c, want - bin->nr, bin->kept + bin->nr, &reused);
		if (!n)
			break;
		for (i = 0; i < n && !reused; i++)
			fresh[nr_fresh++] = bin->nr + i;
		bin->nr = (uint16_t)(bin->nr + n);
	}
	unlock(&a->lock);
	for (i = 0; i < nr_fresh; i++)
		fill_junk(bin->kept[fresh[i]], size);
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
static inline __attribute__((always_inline))
void *take_kept(struct thread *t, unsigned int c, size_t size)
{
	struct hard_bin *bin = hard_bin(t, c);
	void *p, *newest;
	size_t i;

	if (unlikely(!bin))
		return NULL;
	if (unlikely(bin->nr <= bin->max / 4)) {
		refill(t, bin, c);
		if (!bin->nr)
			return NULL;
	}
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

static inline void keep(struct hard_bin *bin, void *p)
{
	void *old = bin->delayed[bin->at];

	bin->delayed[bin->at] = p;
	bin->at = bin->at + 1 < bin->max_delayed ? bin->at + 1 : 0;
	if (unlikely(!old))
		return;
	if (unlikely(bin->nr == bin->max)) {
		bin->nr /= 2;
		give_back(bin->kept + bin->nr, bin->max - bin->nr);
	}
	bin->kept[bin->nr++] = old;
}

/* ---- what the program has ---- */

/* Distance of an address from the base in units of 16 bytes; misaligned ones are far off. */
static inline size_t units(const void *p)
{
	uintptr_t d = (uintptr_t)p - pw_base;

	return d >> UNIT_SHIFT | d << (64 - UNIT_SHIFT);
}

static inline bool has_table(size_t distance)
{
	return distance >> GRANULE_UNIT_SHIFT < READ_ONCE(pw_heap.granules);
}

/* Notes that the program has a block. */
static inline void set_has(size_t distance)
{
	uint64_t *word = has_word(distance), bit = 1UL << (distance % 64);

	if (single_threaded())
		*word |= bit;
	else
		__atomic_fetch_or(word, bit, __ATOMIC_RELAXED);
}

/* Notes that it has not any more; false: it was so. */
static inline bool clear_has(size_t distance)
{
	uint64_t *word = has_word(distance), bit = 1UL << (distance % 64), before;

	if (single_threaded()) {
		before = *word;
		*word = before & ~bit;
	} else {
		before = __atomic_fetch_and(word, ~bit, __ATOMIC_RELAXED);
	}
	return before & bit;
}

static bool program_has(const void *p)
{
	size_t distance = units(p);

	return has_table(distance) && READ_ONCE(*has_word(distance)) >> (distance % 64) & 1;
}

/* ---- canaries: the last word, and bytes between it and what was asked for ---- */

#define CANARY		sizeof(uint64_t)
#define SLACK_WORD	0xa7a7a7a7a7a7a7a7UL

static inline uint64_t *canary_at(void *p, size_t block_size)
{
	return (uint64_t *)((char *)p + block_size - CANARY);
}

static inline uint64_t canary(const void *p)
{
	return READ_ONCE(secret) ^ (uintptr_t)p << 13;
}

/* There are at least as many bytes behind what was asked for; the canary comes last. */
static inline void write_canary(void *p, size_t block_size, size_t size)
{
	static const uint64_t slack_word = SLACK_WORD;

	memcpy((char *)p + size, &slack_word, sizeof(slack_word));
	*canary_at(p, block_size) = canary(p) ^ (block_size - CANARY - size);
}

/* Bytes that were asked for, or SIZE_MAX if something was written behind them. */
static inline size_t read_canary(void *p, size_t block_size)
{
	uint64_t slack = *canary_at(p, block_size) ^ canary(p), word;
	size_t room = block_size - CANARY;

	if (unlikely(slack > room))
		return SIZE_MAX;
	memcpy(&word, (char *)p + room - slack, sizeof(word));
	word ^= SLACK_WORD;
	if (slack < sizeof(word))
		word = slack ? word << (64 - 8 * slack) : 0;
	return likely(!word) ? room - slack : SIZE_MAX;
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

	make_secret();
	return perturb_take(c, &zeroed);
}

static noinline void *take_first(unsigned int c, size_t block_size)
{
	struct thread *t;

	if (!pw_heap_start())
		return NULL;
	t = tcache_thread();
	return t ? take_kept(t, c, block_size) : take_alone(c);
}

static inline __attribute__((always_inline))
void *take(size_t size, unsigned int c, size_t block_size)
{
	struct thread *t = pw_tcache.thread;
	void *p = likely(t) ? take_kept(t, c, block_size) : take_first(c, block_size);

	if (unlikely(!p))
		return NULL;
	set_has(units(p));
	write_canary(p, block_size, size);
	return p;
}

void *harden_take(size_t size, size_t room, size_t align)
{
	unsigned int c = class_for(MAX(room, 1UL), align);

	return c ? take(MAX(size, 1UL), c, class_size(c)) : NULL;
}

void *harden_small(size_t size)
{
	size_t c = small_class(size + CANARY);

	return take(size, (unsigned int)c, c * MIN_ALIGN);
}

bool harden_resize(struct span *s, void *p, size_t size)
{
	size_t most = s->block_size - CANARY;

	if (size > most || size < most / 2)
		return false;
	write_canary(p, s->block_size, size);
	return true;
}

/* A thread that exits keeps nothing. */
static noinline struct hard_bin *give_bin(unsigned int c)
{
	struct thread *t = tcache_thread();

	return t ? hard_bin(t, c) : NULL;
}

bool harden_give(void *p, const char *call)
{
	struct thread *t = pw_tcache.thread;
	size_t distance = units(p), size;
	struct hard_bin *bin;
	unsigned int c;

	if (unlikely(!has_table(distance) || !clear_has(distance)))
		return false;
	c = READ_ONCE(*map_entry(distance >> GRANULE_UNIT_SHIFT));
	bin = likely(t && t->hard) ? t->hard->bins[c] : NULL;
	if (unlikely(!bin))
		bin = give_bin(c);
	size = likely(bin) ? bin->size : class_size(c);
	if (unlikely(read_canary(p, size) == SIZE_MAX))
		pw_heap_error(call, "written past the end of", p);
	fill_junk(p, size);
	if (likely(bin))
		keep(bin, p);
	else
		give_back(&p, 1);
	return true;
}

size_t harden_size(struct span *s, void *p, const char *call)
{
	size_t size;

	if (unlikely(!program_has(p)))
		pw_heap_error(call, span_block_start(s, (uintptr_t)p) ? "use after free of" :
			      "invalid pointer", p);
	size = read_canary(p, s->block_size);
	if (unlikely(size == SIZE_MAX))
		pw_heap_error(call, "written past the end of", p);
	return size;
}
