// SPDX-License-Identifier: GPL-2.0-only
/*
 * harden.c - slow mode
 */
#include <string.h>

#include "decay.h"
#include "depot.h"
#include "env.h"
#include "fastbin.h"
#include "harden.h"
#include "large.h"
#include "meta.h"
#include "report.h"
#include "tcache.h"
#include "tune.h"

/* Free blocks are full of this; a pointer made of it faults. */
#define JUNK_BYTE	0xf5
#define JUNK_WORD	0xf5f5f5f5f5f5f5f5UL

/* Of larger blocks only the beginning is filled and looked at. */
#define JUNK_MAX	64UL

typedef uint64_t pair __attribute__((vector_size(16), may_alias));

typedef char bytes __attribute__((vector_size(16)));

static const pair junk_pair = { JUNK_WORD, JUNK_WORD };

/* What has come back last where nothing has. */
static const pair junk_block[JUNK_MAX / sizeof(pair)] = {
	{ JUNK_WORD, JUNK_WORD }, { JUNK_WORD, JUNK_WORD },
	{ JUNK_WORD, JUNK_WORD }, { JUNK_WORD, JUNK_WORD },
};

/**
 * struct junk_at - where the junk of a block is: at its start, and at these distances
 *
 * Sizes of blocks are multiples of 16. In short ones some are the same, or the start
 * again: programs that mix short and long ones would have each test of a size guessed
 * wrong.
 */
struct junk_at {
	uint8_t second;
	uint8_t third;
	uint8_t last;
};

static struct junk_at junk_at(size_t size)
{
	uint8_t last = (uint8_t)(MIN(size, JUNK_MAX) - sizeof(pair));

	return (struct junk_at){
		.second = MIN(last, (uint8_t)sizeof(pair)),
		.third = last == 2 * sizeof(pair) ? 0 : MIN(last, (uint8_t)(2 * sizeof(pair))),
		.last = last,
	};
}

static inline pair *pair_at(const void *p, size_t offset)
{
	return (pair *)((char *)p + offset);
}

static inline void fill_junk(void *p, struct junk_at at)
{
	*pair_at(p, 0) = junk_pair;
	*pair_at(p, at.second) = junk_pair;
	*pair_at(p, at.third) = junk_pair;
	*pair_at(p, at.last) = junk_pair;
}

/*
 * Bits that all have and that any has, so far. Compilers take a copy of each for both: five
 * instructions more. With the words in memory it is seven less, and twice the loads: slower.
 */
static inline void add_bits(const pair *p, pair *all, pair *any)
{
#ifdef __SSE2__
	__asm__("pand %2, %0\n\tpor %2, %1" : "+x"(*all), "+x"(*any) : "x"(*p));
#else
	*all &= *p;
	*any |= *p;
#endif
}

static inline void add_bits_of(const void *p, struct junk_at at, pair *all, pair *any)
{
	add_bits(pair_at(p, at.second), all, any);
	add_bits(pair_at(p, at.third), all, any);
	add_bits(pair_at(p, at.last), all, any);
}

/*
 * Two free blocks at once: where all have the bits of junk, and none has others, each is
 * junk. A sum would miss two changes that make up for each other.
 */
static inline bool untouched(const void *p, const void *q, struct junk_at at)
{
	pair all = *pair_at(p, 0), any = *pair_at(p, 0);

	add_bits(pair_at(q, 0), &all, &any);
	add_bits_of(p, at, &all, &any);
	add_bits_of(q, at, &all, &any);
#ifdef __SSE2__
	all = (pair)((bytes)all == (bytes)junk_pair) & (pair)((bytes)any == (bytes)junk_pair);
	return likely(__builtin_ia32_pmovmskb128((bytes)all) == 0xffff);
#else
	any = (all ^ junk_pair) | (any ^ junk_pair);
	return likely(!(any[0] | any[1]));
#endif
}

/* Pages of a free block may have been returned meanwhile; those read as zero, all of them. */
static void check_untouched(void *p, struct junk_at at, bool may_be_zero)
{
	uint64_t *word = p, *end = word + (at.last + sizeof(pair)) / sizeof(*word), is = JUNK_WORD;

	for (; word < end; word++) {
		if (word == p || (uintptr_t)word % PAGE_SIZE == 0)
			is = may_be_zero && !*word ? 0 : JUNK_WORD;
		if (*word != is)
			pw_heap_error("malloc()", "written to after free:", p);
	}
}

/* ---- perturbed, and blocks of heaps of the program's ---- */

bool perturb_fill(void *p, size_t size)
{
	int perturb = READ_ONCE(pw_tune.perturb);

	if (perturb)
		memset(p, perturb ^ 0xff, size);
	return perturb;
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

/* Behind what was asked for. */
#define CANARY		sizeof(uint64_t)

/* What comes back is kept in a queue of so many blocks, or fewer of larger ones. */
#define MAX_QUEUE	64U
#define QUEUE_BYTES	(32 * KIB)
#define MAX_DELAY	8U

/*
 * Blocks from this size on only wait, all classes together: so many, and of so many
 * bytes if they are more than one.
 */
#define LARGE_SIZE	FASTBIN_BLOCK_MAX
#define MAX_LARGE	8U
#define LARGE_BYTES	MIB

/* Of blocks from this size on, memory that is zero is touched when they leave, not before. */
#define LEAVE_FRESH	256

/**
 * struct hard_bin - free blocks of a class
 * @next: the block that is taken next, chosen among @choices
 * @newest: the block that came back last, or junk_block
 * @head: the one that came back first, in the queue
 * @tail: behind the last one
 * @end: of the queue, where blocks go elsewhere or are moved up
 * @choices: what left the queue; the queue itself follows
 * @choice: one of so many is chosen, a power of two, less one
 * @may_leave: how many of the queue may leave it, as others came back after them; less
 *	       than 0 if @next or one of @choices is missing
 * @room: how many bytes can be asked for, and one more
 * @junk: where it is
 * @nr_choices: how many there are
 *
 * A bin that was not used yet is all zeroes: too few in it, and no room.
 */
struct hard_bin {
	void *next;
	void *newest;
	void **head;
	void **tail;
	void **end;
	void **choices;
	uint32_t choice;
	int32_t may_leave;
	uint32_t room;
	struct junk_at junk;
	uint8_t nr_choices;
} __attribute__((aligned(64)));

static inline size_t room_of(size_t size)
{
	return size - CANARY + 1;
}

/* Its place is known before that of the canary, and mostly on the same line. */
static inline uint64_t *last_word(const void *p, size_t room)
{
	return (uint64_t *)((char *)p + room - 1);
}

/**
 * struct swing - where blocks of a class come from and go to
 * @taken: magazines that came from an arena and were not sorted back
 * @flushed: how many had to go since one was last needed
 */
struct swing {
	uint32_t taken;
	uint32_t flushed;
};

/* So many magazines that go in a row are not sorted back at once. */
#define FLUSH_FEW	4

/**
 * struct hard - a thread's free blocks
 * @random: state of a generator, odd
 * @large_bytes: of the blocks in @large
 * @nr_large: how many they are
 * @large: large blocks that wait, in the order they came back
 * @bins: by class, unused those of large blocks
 * @swings: by class
 */
struct hard {
	uint64_t random;
	size_t large_bytes;
	size_t nr_large;
	void *large[MAX_LARGE];
	struct hard_bin bins[NR_CLASSES];
	struct swing swings[NR_CLASSES];
};

/* For canaries and for placement. */
static uint64_t secret;

/* has_entry(0) */
static uint8_t *has_table;

/*
 * The class that is taken for a small one. From LINES_MIN on blocks are whole lines: one
 * has the junk, which would lie on two of most blocks, and programs that mix sizes have
 * fewer queues.
 */
#define LINE_CLASSES	(64 / MIN_ALIGN)
#define LINES_MIN	256
#define IN_LINES(c)	((c) * MIN_ALIGN < LINES_MIN || ALIGN_UP(c, LINE_CLASSES) > NR_SMALL ? (c) : \
			 ALIGN_UP(c, LINE_CLASSES))
#define FOUR_IN_LINES(c)	IN_LINES(c), IN_LINES((c) + 1), IN_LINES((c) + 2), IN_LINES((c) + 3)
#define SIXTEEN_IN_LINES(c)	FOUR_IN_LINES(c), FOUR_IN_LINES((c) + 4), \
				FOUR_IN_LINES((c) + 8), FOUR_IN_LINES((c) + 12)
static const uint8_t class_in_lines[NR_SMALL + 1] = {
	SIXTEEN_IN_LINES(0), SIXTEEN_IN_LINES(16), SIXTEEN_IN_LINES(32), SIXTEEN_IN_LINES(48),
	IN_LINES(64), IN_LINES(65), IN_LINES(66),
};

/*
 * Whoever comes first makes it. Its lowest byte is no secret: a string's end, written one
 * too far, always changes it.
 */
static noinline void make_secret(void)
{
	uint64_t none = 0;

	WRITE_ONCE(has_table, has_entry(0));
	if (!READ_ONCE(secret))
		__atomic_compare_exchange_n(&secret, &none, (os_secret() & ~0xffUL) | 0xa7,
					    false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

bool harden_attach(struct thread *t)
{
	make_secret();
	if (!t->hard)
		t->hard = pw_meta_alloc(sizeof(*t->hard));
	if (!t->hard)
		return false;
	t->hard->random = (READ_ONCE(secret) ^ (uintptr_t)t) | 1;
	return true;
}

/* Not even if the queue is full. */
#define NONE_MAY_LEAVE	(-2 * (int)MAX_QUEUE)

static inline size_t block_size(const struct hard_bin *bin)
{
	return bin->room + CANARY - 1;
}

static inline void **queue_start(const struct hard_bin *bin)
{
	return bin->choices + bin->choice + 1;
}

static noinline bool set_up(struct hard_bin *bin, unsigned int c)
{
	size_t size = class_size(c), length = MAX_QUEUE, choices;

	while (length > 4 && length * size > QUEUE_BYTES)
		length /= 2;
	choices = MAX(length / 4, 2UL);
	bin->choices = pw_meta_alloc((choices + length) * sizeof(*bin->choices));
	if (!bin->choices)
		return false;
	bin->choice = (uint32_t)choices - 1;
	bin->head = queue_start(bin);
	bin->tail = bin->head;
	bin->end = bin->head + length;
	bin->may_leave = NONE_MAY_LEAVE;
	bin->room = (uint32_t)room_of(size);
	bin->junk = junk_at(size);
	bin->newest = (void *)junk_block;
	return true;
}

static inline size_t queue_length(const struct hard_bin *bin)
{
	return (size_t)(bin->end - queue_start(bin));
}

/* So many travel at a time. */
static inline size_t few(const struct hard_bin *bin)
{
	return MAX(queue_length(bin) / 8 * 3, 1UL);
}

/* So many have to come back before a block leaves the queue. */
static inline size_t delay(const struct hard_bin *bin)
{
	return MIN(MAX(queue_length(bin) / 4, 1UL), MAX_DELAY);
}

static inline size_t nr_queued(const struct hard_bin *bin)
{
	return (size_t)(bin->tail - bin->head);
}

/* There shall be what has to wait and the choices, and one more. */
static inline size_t nr_missing(const struct hard_bin *bin)
{
	size_t enough = delay(bin) + bin->choice + 2, has = bin->nr_choices + nr_queued(bin);

	return enough > has ? enough - has : 0;
}

/*
 * One of the choices, at random, and the oldest of the queue in its place. The
 * generator's multiplier fits into the instruction; of the state the upper half is
 * random. Chosen now, the block is in the caches when it is taken.
 */
static inline void choose(struct hard *hard, struct hard_bin *bin)
{
	void **chosen, *next;

	hard->random *= 0x4c957f2d;
	chosen = &bin->choices[(uint32_t)(hard->random >> 32) & bin->choice];
	next = *chosen;
	*chosen = *bin->head++;
	bin->next = next;
	__builtin_prefetch(next, 1);
	__builtin_prefetch(last_word(next, bin->room), 1);
}

/* The same when there may be too few blocks; those that have to wait are not chosen. */
static void choose_any(struct hard *hard, struct hard_bin *bin)
{
	size_t wait = delay(bin);

	bin->next = NULL;
	bin->may_leave = NONE_MAY_LEAVE;
	while (bin->nr_choices <= bin->choice && nr_queued(bin) > wait)
		bin->choices[bin->nr_choices++] = *bin->head++;
	if (bin->nr_choices > bin->choice && nr_queued(bin) > wait) {
		choose(hard, bin);
		bin->may_leave = (int32_t)(nr_queued(bin) - wait);
	} else if (bin->nr_choices) {
		bin->next = bin->choices[--bin->nr_choices];
	}
}

static void *take_oldest(struct hard_bin *bin)
{
	return nr_queued(bin) ? *bin->head++ : NULL;
}

static inline void keep(struct hard_bin *bin, void *p)
{
	*bin->tail++ = p;
	bin->newest = p;
	bin->may_leave++;
}

static void move_queue(struct hard_bin *bin, void **to)
{
	size_t n = nr_queued(bin);

	memmove(to, bin->head, n * sizeof(*to));
	bin->head = to;
	bin->tail = to + n;
}

/* Blocks from elsewhere were not freed by this thread of late: they are the oldest. */
static void add_old(struct hard_bin *bin, void **blocks, size_t n)
{
	if (bin->head < queue_start(bin) + n)
		move_queue(bin, queue_start(bin) + n);
	bin->head -= n;
	memcpy(bin->head, blocks, n * sizeof(*blocks));
}

struct wanted {
	unsigned int c;
	unsigned int blocks;
	void **to;
	enum content *content;
	enum source source;
	unsigned int got;
};

static bool take_there(struct arena *a, void *arg)
{
	struct wanted *w = arg;

	w->got = bin_take_apart(a, w->c, w->blocks, w->source, w->to, w->content);
	return w->got;
}

/*
 * There is no more memory, but other arenas may have some that is free. What the thread
 * keeps is no help: its bin is being filled.
 */
static unsigned int take_anywhere(struct wanted *w)
{
	if (!arenas_try(take_there, w) && arenas_squeeze(class_size(w->c), false)) {
		w->source = NEW_PAGES;
		arenas_try(take_there, w);
	}
	return w->got;
}

/*
 * From the thread's arena; none without memory. Before it grows, what is in the depot
 * is sorted back if that is worth it.
 */
static unsigned int take_apart(struct thread *t, unsigned int c, unsigned int want,
			       void **blocks, enum content *content)
{
	struct arena *a = arena_enter(&t->arena);
	unsigned int n = bin_take_apart(a, c, want, USED_PAGES, blocks, content);

	if (!n && tcache_worth_sorting(t, a)) {
		unlock(&a->lock);
		fastbins_sort_back();
		a = arena_enter(&t->arena);
	}
	if (!n)
		n = bin_take_apart(a, c, want, NEW_PAGES, blocks, content);
	unlock(&a->lock);
	return n ? n : take_anywhere(&(struct wanted){ c, want, blocks, content, OWN_PAGES, 0 });
}

static bool refill_from_arena(struct thread *t, struct hard_bin *bin, unsigned int c)
{
	size_t want = MAX(few(bin), nr_missing(bin));
	void *blocks[MAGAZINE_BLOCKS];
	enum content content = WAS_FREE;
	unsigned int n = take_apart(t, c, (unsigned int)want, blocks, &content), i;

	for (i = 0; i < n && (content == ANY_BYTES || block_size(bin) < LEAVE_FRESH); i++) {
		if (content == WAS_FREE && untouched(blocks[i], junk_block, bin->junk))
			continue;
		/* From here on there are no zeroes that were not written. */
		if (content == WAS_FREE)
			check_untouched(blocks[i], bin->junk, true);
		fill_junk(blocks[i], bin->junk);
	}
	add_old(bin, blocks, n);
	return n;
}

static bool refill_from_depot(struct hard_bin *bin, unsigned int c)
{
	struct magazine *m = depot_pop(c);

	if (!m)
		return false;
	add_old(bin, m->blocks, m->nr);
	magazine_put(m);
	return true;
}

static bool refill(struct thread *t, struct hard_bin *bin, unsigned int c)
{
	struct swing *swing = &t->hard->swings[c];

	swing->flushed = 0;
	if (refill_from_depot(bin, c))
		return true;
	if (!refill_from_arena(t, bin, c))
		return false;
	swing->taken++;
	return true;
}

static void have_enough(struct thread *t, struct hard_bin *bin, unsigned int c)
{
	while (nr_missing(bin))
		if (!refill(t, bin, c))
			break;
}

/*
 * A few of the oldest go to the depot, or back to their spans; there, too, without memory
 * for a magazine. True: arenas_return() is due.
 */
static bool give_few(struct hard_bin *bin, unsigned int c, bool to_depot)
{
	struct magazine *m = to_depot ? magazine_get() : NULL;
	size_t n = MIN(nr_queued(bin), few(bin));
	void **oldest = bin->head;

	bin->head += n;
	if (!m)
		return blocks_sort_back(oldest, n);
	memcpy(m->blocks, oldest, n * sizeof(*oldest));
	m->nr = n;
	depot_push(c, m);
	return false;
}

/* This is no swing but the end of a phase: what went first goes, too. */
static void sort_back_few(unsigned int c)
{
	struct magazine *m;
	unsigned int i;

	for (i = 0; i < FLUSH_FEW && (m = depot_pop(c)); i++) {
		blocks_sort_back(m->blocks, m->nr);
		magazine_put(m);
	}
}

/*
 * The first few are likely to be wanted again soon, and what came from other threads,
 * by others.
 */
static bool flush(struct hard_bin *bin, struct swing *swing, unsigned int c)
{
	if (!swing->taken || ++swing->flushed <= FLUSH_FEW)
		return give_few(bin, c, true);
	if (swing->flushed == FLUSH_FEW + 1)
		sort_back_few(c);
	swing->taken--;
	return give_few(bin, c, false);
}

/* Of a full queue half may stay. */
static noinline void make_room(struct thread *t, struct hard_bin *bin, unsigned int c)
{
	bool due = false;

	while (nr_queued(bin) > queue_length(bin) / 2)
		due |= flush(bin, &t->hard->swings[c], c);
	move_queue(bin, queue_start(bin));
	bin->may_leave = bin->may_leave < 0 ? NONE_MAY_LEAVE :
			 (int32_t)(nr_queued(bin) - delay(bin));
	if (due)
		arenas_return();
	else if (depot_is_full())
		arenas_collect();
}

/* ---- large blocks ---- */

static bool give_oldest_large(struct hard *hard)
{
	void *oldest = hard->large[0];

	hard->large_bytes -= span_of((uintptr_t)oldest)->block_size;
	memmove(hard->large, hard->large + 1, --hard->nr_large * sizeof(*hard->large));
	return blocks_sort_back(&oldest, 1);
}

static void keep_large(struct hard *hard, void *p, size_t size)
{
	bool due = false;

	while (hard->nr_large == MAX_LARGE ||
	       (hard->nr_large && hard->large_bytes + size > LARGE_BYTES))
		due |= give_oldest_large(hard);
	if (due)
		arenas_return();
	hard->large[hard->nr_large++] = p;
	hard->large_bytes += size;
}

static void *take_large(struct thread *t, unsigned int c)
{
	struct hard *hard = t->hard;
	enum content content;
	void *p;

	/* The bin has none, however often the hit path tries and counts it down. */
	hard->bins[c].may_leave = NONE_MAY_LEAVE;
	if (!take_apart(t, c, 1, &p, &content))
		return NULL;
	if (content == WAS_FREE)
		check_untouched(p, junk_at(LARGE_SIZE), true);
	if (hard->nr_large)
		check_untouched(hard->large[hard->nr_large - 1], junk_at(LARGE_SIZE), false);
	return p;
}

/* ---- all of it ---- */

static void drain_bin(struct hard_bin *bin, unsigned int c)
{
	while (nr_queued(bin))
		give_few(bin, c, true);
	add_old(bin, bin->choices, bin->nr_choices);
	bin->nr_choices = 0;
	if (bin->next)
		add_old(bin, &bin->next, 1);
	bin->next = NULL;
	while (nr_queued(bin))
		give_few(bin, c, true);
	bin->newest = (void *)junk_block;
	bin->may_leave = NONE_MAY_LEAVE;
	bin->head = queue_start(bin);
	bin->tail = bin->head;
}

void harden_drain(struct thread *t)
{
	unsigned int c;

	for (c = 1; c < NR_CLASSES; c++)
		if (t->hard->bins[c].room)
			drain_bin(&t->hard->bins[c], c);
	while (t->hard->nr_large)
		give_oldest_large(t->hard);
}

/* The thread may be using them meanwhile: what makes no sense is nothing. */
__attribute__((no_sanitize("thread")))
static size_t bin_bytes(const struct hard_bin *bin)
{
	void **head = READ_ONCE(bin->head), **tail = READ_ONCE(bin->tail);
	size_t queued = tail > head ? (size_t)(tail - head) : 0;

	if (!READ_ONCE(bin->room))
		return 0;
	return (MIN(queued, MAX_QUEUE) + READ_ONCE(bin->nr_choices) + !!READ_ONCE(bin->next)) *
	       block_size(bin);
}

size_t harden_bytes(const struct hard *hard)
{
	size_t sum = READ_ONCE(hard->large_bytes);
	unsigned int c;

	for (c = 1; c < NR_CLASSES; c++)
		sum += bin_bytes(&hard->bins[c]);
	return sum;
}

void harden_leave(struct thread *t)
{
	harden_drain(t);
	if (depot_is_full())
		arenas_collect();
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

/* What the program has at @p: its byte in the table, 0 for nothing. */
static size_t program_has(const void *p)
{
	size_t distance = units(p);

	return distance >> GRANULE_UNIT_SHIFT < READ_ONCE(pw_heap.granules) ?
	       READ_ONCE(*has_entry(distance)) : 0;
}

bool harden_has(const void *p)
{
	return program_has(p);
}

/*
 * The same of a block of ours, to be read and written. The table's distance from the
 * base, as a constant, would take two more instructions to add.
 */
static inline uint8_t *has_byte(size_t distance)
{
	return HOT_READ(has_table) + distance;
}

/* ---- canaries: a word right behind what was asked for ---- */

static inline uint64_t canary(const void *p)
{
	return HOT_READ(secret) ^ (uintptr_t)p;
}

/* Writes a block's canary; its byte for the table. */
static inline uint8_t write_canary(void *p, size_t room, size_t size)
{
	uint64_t word = canary(p);
	size_t has = room - size;

	memcpy((char *)p + size, &word, sizeof(word));
	if (likely(has < HAS_MANY))
		return (uint8_t)has;
	*last_word(p, room) = word ^ has;
	return HAS_MANY;
}

/* Is the canary there? If @has is not HAS_MANY. */
static inline bool is_intact(const void *p, size_t room, size_t has)
{
	uint64_t word;

	memcpy(&word, (const char *)p + (room - has), sizeof(word));
	return likely(word == canary(p));
}

/* The number that the last word has; more than @room if it was written to. */
static inline size_t read_many(const void *p, size_t room)
{
	size_t has = *last_word(p, room) ^ canary(p);

	return has ?: SIZE_MAX;
}

/* Bytes that were asked for, or SIZE_MAX if something was written behind them. */
static size_t read_canary(const void *p, size_t room, size_t has)
{
	if (has == HAS_MANY)
		has = read_many(p, room);
	return has <= room && is_intact(p, room, has) ? room - has : SIZE_MAX;
}

void harden_seal(void *p, size_t size, size_t room)
{
	uint64_t word;

	make_secret();
	word = canary(p);
	memcpy((char *)p + size, &word, MIN(room - size, CANARY));
}

bool harden_is_sealed(const void *p, size_t size, size_t room)
{
	uint64_t word = canary(p);

	return !memcmp((const char *)p + size, &word, MIN(room - size, CANARY));
}

/* ---- blocks out and in ---- */

static inline size_t class_with_canary(size_t with)
{
	return likely(with <= SMALL_MAX) ? class_in_lines[small_class(with)] :
	       big_class(with);
}

/* A class for so many bytes and a canary, or 0. */
static unsigned int class_for(size_t size, size_t align)
{
	size_t with = size + CANARY;

	if (align > MIN_ALIGN)
		with = ALIGN_UP(with, align);
	/* Classes are multiples of every alignment that a size in them has. */
	return align > GRANULE || with > CLASS_MAX ? 0 : (unsigned int)class_with_canary(with);
}

/* An exiting thread keeps nothing. */
static void *take_alone(unsigned int c)
{
	bool zeroed;

	make_secret();
	return tcache_take_one(c, &zeroed);
}

/* From the thread's bin, which may be new or nearly empty. */
static void *take_checked(struct thread *t, unsigned int c)
{
	struct hard_bin *bin = &t->hard->bins[c];
	void *p;

	if (!bin->room && !set_up(bin, c))
		return NULL;
	have_enough(t, bin, c);
	if (!bin->next)
		choose_any(t->hard, bin);
	p = bin->next ?: take_oldest(bin);
	if (!p)
		return NULL;
	if (!untouched(p, bin->newest, bin->junk)) {
		check_untouched(p, bin->junk, block_size(bin) >= LEAVE_FRESH);
		check_untouched(bin->newest, bin->junk, false);
	}
	if (p == bin->newest)
		bin->newest = (void *)junk_block;
	choose_any(t->hard, bin);
	return p;
}

/* What can be taken without a closer look, or NULL. */
static inline __attribute__((always_inline)) void *take(size_t c, size_t size)
{
	struct hard *hard = tcache_self()->hard;
	struct hard_bin *bin;
	uint8_t *has;
	void *p;

	if (unlikely(!hard))
		return NULL;
	bin = &hard->bins[c];
	if (unlikely(--bin->may_leave < 0))
		return NULL;
	p = bin->next;
	has = has_byte(((uintptr_t)p - HOT_READ(pw_base)) >> UNIT_SHIFT);
	if (unlikely(!untouched(p, bin->newest, bin->junk) || HOT_READ(*has)))
		return NULL;
	choose(hard, bin);
	WRITE_ONCE(*has, write_canary(p, bin->room, size));
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
	size = MAX(size, 1UL);
	p = take(c, size);
	if (likely(p))
		return p;
	t = tcache_thread();
	if (unlikely(!t))
		p = take_alone(c);
	else
		p = class_size(c) < LARGE_SIZE ? take_checked(t, c) : take_large(t, c);
	if (!p)
		return NULL;
	has = has_entry(units(p));
	/* Two threads freed it, at the same moment. */
	if (READ_ONCE(*has))
		pw_heap_error("free()", "double free of", p);
	WRITE_ONCE(*has, write_canary(p, room_of(class_size(c)), size));
	return p;
}

void *harden_malloc(size_t size)
{
	void *p = take(class_with_canary(size + CANARY), size);

	return likely(p) ? p : pw_malloc_hard(size);
}

void *harden_aligned(size_t align, size_t size)
{
	unsigned int c = class_for(size, align);

	return likely(c) ? take(c, size) : NULL;
}

bool harden_resize(struct span *s, void *p, size_t size)
{
	if (size > s->block_size - CANARY)
		return false;
	WRITE_ONCE(*has_entry(units(p)), write_canary(p, room_of(s->block_size), size));
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
	c = READ_ONCE(*map_entry(granule_of((uintptr_t)p))) / MAP_UNIT;
	size = class_size(c);
	WRITE_ONCE(*has_entry(units(p)), 0);
	if (read_canary(p, room_of(size), has) == SIZE_MAX)
		pw_heap_error(call, "written past the end of", p);
	fill_junk(p, junk_at(size));
	t = tcache_thread_that_frees();
	if (t && size >= LARGE_SIZE) {
		keep_large(t->hard, p, size);
		return true;
	}
	bin = t ? &t->hard->bins[c] : NULL;
	if (!bin || (!bin->room && !set_up(bin, c))) {
		if (blocks_sort_back(&p, 1))
			arenas_return();
		return true;
	}
	if (bin->tail == bin->end)
		make_room(t, bin, c);
	keep(bin, p);
	return true;
}

void harden_free(void *p, size_t distance)
{
	struct hard *hard = tcache_self()->hard;
	struct hard_bin *bin;
	uint8_t *entry;
	size_t has;

	if (unlikely(!hard))
		goto slow;
	entry = has_byte(distance);
	has = READ_ONCE(*entry);
	bin = &hard->bins[READ_ONCE(*map_entry(distance >> GRANULE_UNIT_SHIFT)) / MAP_UNIT];
	/* Where the canary is depends on @has, which may take as long to come. */
	__builtin_prefetch(p, 1);
	__builtin_prefetch(last_word(p, bin->room), 1);
	if (unlikely(bin->tail == bin->end))
		goto slow;
	if (unlikely(has - 1 >= HAS_MANY - 1)) {
		has = has ? read_many(p, bin->room) : SIZE_MAX;
		if (has > bin->room)
			goto slow;
	}
	if (unlikely(!is_intact(p, bin->room, has)))
		goto slow;
	WRITE_ONCE(*entry, 0);
	fill_junk(p, bin->junk);
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
	size = read_canary(p, room_of(s->block_size), has);
	if (unlikely(size == SIZE_MAX))
		pw_heap_error(call, "written past the end of", p);
	return size;
}
