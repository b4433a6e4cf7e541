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

/*
 * Free blocks are full of this; a pointer made of it faults. Where all bits are
 * set, the AND of many words tells whether one of them is another.
 */
#define JUNK_BYTE	0xff
#define JUNK_WORD	(~0UL)

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
static bool junk_or_zero(const uint64_t *words, size_t size)
{
	size_t i;

	for (i = 0; i < size / sizeof(*words); i++)
		if (words[i] != JUNK_WORD && words[i])
			return false;
	return true;
}

static inline pair all_of(void *p, size_t size)
{
	const pair *at = p;

	if (likely(size >= JUNK_MAX))
		return at[0] & at[1] & at[2] & at[3];
	return at[0] & *junk_middle(p, size) & *junk_last(p, size);
}

static void check_untouched(void *p, size_t size)
{
	if (!junk_or_zero(p, junk_size(size)))
		pw_heap_error("malloc()", "written to after free:", p);
}

/* Two free blocks at once; false: perhaps not. */
static inline bool untouched(void *p, void *q, size_t size)
{
	pair all = all_of(p, size) & all_of(q, size);

	return likely((all[0] & all[1]) == JUNK_WORD);
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

#define MAX_KEPT	64UL
#define MAX_DELAYED	8UL
#define KEPT_BYTES	(32 * KIB)

/**
 * struct hard_bin - free blocks of a class
 * @random: state of a generator
 * @newest: the block that came back last, NULL for none; it is in @delayed
 * @size: of a block
 * @next: which of @kept is taken next, less than @nr
 * @at: where in @delayed the next one goes
 * @last_delayed: length of that ring, a power of two, less one
 * @nr: how many blocks there are in @kept
 * @low: so many are too few to choose from
 * @max: how many there may be
 * @delayed: the last ones that came back, a ring
 * @kept: older ones, in no order
 */
struct hard_bin {
	uint64_t random;
	void *newest;
	uint32_t size;
	uint16_t next;
	uint16_t at;
	uint16_t last_delayed;
	uint16_t nr;
	uint16_t low;
	uint16_t max;
	void *delayed[MAX_DELAYED];
	void *kept[MAX_KEPT];
};

/**
 * struct hard - a thread's free blocks
 * @bins: by class, NULL for those not used yet
 */
struct hard {
	struct hard_bin *bins[NR_CLASSES];
};

/* The upper half of a state that a multiplication moves on. */
static inline uint16_t random_below(struct hard_bin *bin, size_t n)
{
	bin->random = bin->random * 0xd1342543de82ef95UL + 1;
	return (uint16_t)(((bin->random >> 32) * n) >> 32);
}

/* What the kernel gave this process alone, for canaries and for placement. */
static uint64_t secret;

/*
 * The same for whoever comes first. Its lowest byte is no secret: a string's end,
 * written one too far, always changes it.
 */
static noinline void make_secret(void)
{
	const void *random = (const void *)getauxval(AT_RANDOM);
	uint64_t words[2];

	memcpy(words, random ?: "no randomness!!", sizeof(words));
	words[0] = (words[0] ^ words[1] << 7) * 0x9e3779b97f4a7c15UL;
	WRITE_ONCE(secret, (words[0] & ~0xffUL) | 0xa7);
}

static noinline struct hard_bin *make_hard_bin(struct thread *t, unsigned int c)
{
	size_t size = class_size(c), delayed = MIN(KEPT_BYTES / 4 / size, MAX_DELAYED);
	struct hard_bin *bin;

	make_secret();
	if (!t->hard)
		t->hard = pw_meta_alloc(sizeof(*t->hard));
	bin = t->hard ? pw_meta_alloc(sizeof(*bin)) : NULL;
	if (!bin)
		return NULL;
	bin->max = (uint16_t)MIN(MAX(KEPT_BYTES / size, size < KEPT_BYTES ? 4UL : 1UL), MAX_KEPT);
	bin->low = bin->max / 4;
	while (bin->last_delayed + 1U <= delayed / 2)
		bin->last_delayed = (uint16_t)(2 * bin->last_delayed + 1);
	bin->size = (uint32_t)size;
	bin->random = READ_ONCE(secret) ^ (uintptr_t)bin;
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

	for (c = 1; c < NR_CLASSES; c++) {
		struct hard_bin *bin = t->hard->bins[c];

		if (!bin)
			continue;
		give_back(bin->kept, bin->nr);
		bin->nr = 0;
		bin->next = 0;
		for (i = 0; i <= bin->last_delayed; i++)
			if (bin->delayed[i])
				give_back(&bin->delayed[i], 1);
		memset(bin->delayed, 0, sizeof(bin->delayed));
		bin->newest = NULL;
	}
}

/* One of the older blocks, at random. There is one. */
static inline void *take_kept(struct hard_bin *bin)
{
	void **chosen = &bin->kept[bin->next], *p = *chosen;

	*chosen = bin->kept[--bin->nr];
	/* Chosen now, the next one is in the caches when it is looked at. */
	bin->next = random_below(bin, bin->nr);
	__builtin_prefetch(bin->kept[bin->next], 1);
	return p;
}

static noinline void give_half(struct hard_bin *bin)
{
	unsigned int n = (bin->nr + 1U) / 2;

	bin->nr = (uint16_t)(bin->nr - n);
	bin->next = random_below(bin, bin->nr);
	give_back(bin->kept + bin->nr, n);
}

static inline void keep(struct hard_bin *bin, void *p)
{
	void *old = bin->delayed[bin->at];

	bin->delayed[bin->at] = p;
	bin->at = (bin->at + 1U) & bin->last_delayed;
	bin->newest = p;
	if (unlikely(!old))
		return;
	bin->kept[bin->nr++] = old;
	if (unlikely(bin->nr == bin->max))
		give_half(bin);
}

/* ---- what the program has ---- */

/*
 * A byte for each 16 of the heap, apart from it: 0, or the program has the block that
 * begins there, and then one more than the bytes between what was asked for and the
 * end, less the canary. Where they are as many as this, the last word has their number.
 */
#define HAS_MANY	255UL

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

/* What the program has at @p: its byte in the table, 0 for nothing. */
static size_t program_has(const void *p)
{
	size_t distance = units(p);

	return has_table(distance) ? READ_ONCE(*has_entry(distance)) : 0;
}

/* ---- canaries: a word right behind what was asked for ---- */

#define CANARY		sizeof(uint64_t)

static inline uint64_t canary(const void *p)
{
	return READ_ONCE(secret) ^ (uintptr_t)p << 13;
}

static inline uint64_t *last_word(void *p, size_t block_size)
{
	return (uint64_t *)((char *)p + block_size) - 1;
}

/* Writes a block's canary; its byte for the table. */
static inline uint8_t write_canary(void *p, size_t block_size, size_t size)
{
	uint64_t word = canary(p);
	size_t slack = block_size - CANARY - size;

	memcpy((char *)p + size, &word, sizeof(word));
	if (likely(slack + 1 < HAS_MANY))
		return (uint8_t)(slack + 1);
	*last_word(p, block_size) = word ^ slack;
	return HAS_MANY;
}

/* Bytes that were asked for, or SIZE_MAX if something was written behind them. */
static inline size_t read_canary(void *p, size_t block_size, size_t has)
{
	size_t room = block_size - CANARY, slack = has - 1;
	uint64_t word;

	if (unlikely(has == HAS_MANY)) {
		slack = *last_word(p, block_size) ^ canary(p);
		if (slack > room)
			return SIZE_MAX;
	}
	memcpy(&word, (char *)p + room - slack, sizeof(word));
	return likely(word == canary(p)) ? room - slack : SIZE_MAX;
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

/* From the thread's bin, which may be new or nearly empty. */
static void *take_checked(struct thread *t, unsigned int c)
{
	struct hard_bin *bin = hard_bin(t, c);
	void *p;

	if (bin && bin->nr <= bin->low)
		refill(t, bin, c);
	if (!bin || !bin->nr)
		return NULL;
	p = take_kept(bin);
	check_untouched(p, bin->size);
	if (bin->newest)
		check_untouched(bin->newest, bin->size);
	return p;
}

void *harden_take(size_t size, size_t room, size_t align)
{
	unsigned int c = class_for(MAX(room, 1UL), align);
	struct thread *t;
	uint8_t *has;
	void *p;

	if (!c || !pw_heap_start())
		return NULL;
	t = tcache_thread();
	p = t ? take_checked(t, c) : take_alone(c);
	if (!p)
		return NULL;
	has = has_entry(units(p));
	/* Two threads freed it, at the same moment. */
	if (READ_ONCE(*has))
		pw_heap_error("free()", "double free of", p);
	WRITE_ONCE(*has, write_canary(p, class_size(c), MAX(size, 1UL)));
	return p;
}

/* The bin of a class that the thread used before. */
static inline struct hard_bin *known_bin(size_t c)
{
	struct thread *t = pw_tcache.thread;

	return likely(t && t->hard) ? t->hard->bins[c] : NULL;
}

void *harden_malloc(size_t size)
{
	struct hard_bin *bin = known_bin(class_of(size + CANARY));
	uint8_t *has;
	void *p;

	if (unlikely(!bin || bin->nr <= bin->low))
		goto slow;
	p = take_kept(bin);
	has = has_entry(units(p));
	if (unlikely(!untouched(p, bin->newest ?: p, bin->size) || READ_ONCE(*has))) {
		/* Taken next, the slow way, which says what is wrong. */
		bin->next = bin->nr;
		bin->kept[bin->nr++] = p;
		goto slow;
	}
	WRITE_ONCE(*has, write_canary(p, bin->size, size));
	return p;
slow:
	return pw_malloc_hard(size);
}

bool harden_resize(struct span *s, void *p, size_t size)
{
	size_t most = s->block_size - CANARY;

	if (size > most || size < most / 2)
		return false;
	WRITE_ONCE(*has_entry(units(p)), write_canary(p, s->block_size, size));
	return true;
}

bool harden_give(void *p, const char *call)
{
	size_t has = program_has(p), size;
	struct hard_bin *bin;
	struct thread *t;
	unsigned int c;

	if (!has)
		return false;
	c = READ_ONCE(*map_entry(granule_of((uintptr_t)p)));
	size = class_size(c);
	WRITE_ONCE(*has_entry(units(p)), 0);
	if (read_canary(p, size, has) == SIZE_MAX)
		pw_heap_error(call, "written past the end of", p);
	fill_junk(p, size);
	t = tcache_thread();
	bin = t ? hard_bin(t, c) : NULL;
	if (bin)
		keep(bin, p);
	else
		give_back(&p, 1);
	return true;
}

void harden_free(void *p)
{
	size_t distance = units(p), has;
	struct hard_bin *bin;

	if (unlikely(!has_table(distance)))
		goto slow;
	has = READ_ONCE(*has_entry(distance));
	bin = known_bin(READ_ONCE(*map_entry(distance >> GRANULE_UNIT_SHIFT)));
	/* Where the canary is depends on @has, which may take as long to come. */
	if (likely(bin)) {
		__builtin_prefetch(p, 1);
		__builtin_prefetch(last_word(p, bin->size), 1);
	}
	if (unlikely(!has || !bin || bin->nr + 1 >= bin->max ||
		     read_canary(p, bin->size, has) == SIZE_MAX))
		goto slow;
	WRITE_ONCE(*has_entry(distance), 0);
	fill_junk(p, bin->size);
	keep(bin, p);
	return;
slow:
	pw_free_hard(p);
}

size_t harden_size(struct span *s, void *p, const char *call)
{
	size_t has = program_has(p), size;

	if (unlikely(!has))
		pw_heap_error(call, span_block_start(s, (uintptr_t)p) ? "use after free of" :
			      "invalid pointer", p);
	size = read_canary(p, s->block_size, has);
	if (unlikely(size == SIZE_MAX))
		pw_heap_error(call, "written past the end of", p);
	return size;
}
