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

/* To compare one block with. */
static const pair junk_block[JUNK_MAX / sizeof(pair)] = {
	{ JUNK_WORD, JUNK_WORD }, { JUNK_WORD, JUNK_WORD },
	{ JUNK_WORD, JUNK_WORD }, { JUNK_WORD, JUNK_WORD },
};

/*
 * Where the second half of the junk is, that may be the first one again: blocks are of 32
 * bytes or more, and multiples of 16. Programs that mix short and long ones would have each
 * test of a size guessed wrong.
 */
static uint8_t junk_end(size_t size)
{
	return (uint8_t)(MIN(size, JUNK_MAX) - 2 * sizeof(pair));
}

static inline pair *pair_at(const void *p, size_t offset)
{
	return (pair *)((char *)p + offset);
}

static inline void fill_junk(void *p, size_t end)
{
	*pair_at(p, 0) = junk_pair;
	*pair_at(p, sizeof(pair)) = junk_pair;
	*pair_at(p, end) = junk_pair;
	*pair_at(p, end + sizeof(pair)) = junk_pair;
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

static inline void add_bits_of(const void *p, size_t end, pair *all, pair *any)
{
	add_bits(pair_at(p, sizeof(pair)), all, any);
	add_bits(pair_at(p, end), all, any);
	add_bits(pair_at(p, end + sizeof(pair)), all, any);
}

/*
 * Two free blocks at once: where all have the bits of junk, and none has others, each is
 * junk. A sum would miss two changes that make up for each other.
 */
static inline bool untouched(const void *p, const void *q, size_t end)
{
	pair all = *pair_at(p, 0), any = *pair_at(p, 0);

	add_bits(pair_at(q, 0), &all, &any);
	add_bits_of(p, end, &all, &any);
	add_bits_of(q, end, &all, &any);
#ifdef __SSE2__
	all = (pair)((bytes)all == (bytes)junk_pair) & (pair)((bytes)any == (bytes)junk_pair);
	return likely(__builtin_ia32_pmovmskb128((bytes)all) == 0xffff);
#else
	any = (all ^ junk_pair) | (any ^ junk_pair);
	return likely(!(any[0] | any[1]));
#endif
}

/* Pages of a free block may have been returned meanwhile; those read as zero, all of them. */
static void check_untouched(const void *p, size_t end, bool may_be_zero)
{
	const uint64_t *word = p, *behind = word + (end + 2 * sizeof(pair)) / sizeof(*word);
	uint64_t is = JUNK_WORD;

	for (; word < behind; word++) {
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
 * @next: the block that is taken next
 * @tail: behind the block that came back last, in the queue
 * @head: the one that came back first; not behind @next, as compilers would join the stores
 * @end: up to here there is room; then some go elsewhere, or all are moved to the start
 * @random: state of a generator, odd
 * @start: of the array that the queue is in
 * @may_leave: how many of the queue may leave it, as others came back after them and there
 *	       are choices; less than 0 if there is no @next
 * @choice: one of so many, those that came back first, is chosen, a power of two, less one
 * @room: how many bytes can be asked for, and one more
 * @junk: where the second half of it is
 * @length: how many the queue may have besides the choices
 *
 * A bin that was not used yet is all zeroes: too few in it, and no room.
 */
struct hard_bin {
	void *next;
	void **tail;
	void **head;
	void **end;
	uint64_t random;
	void **start;
	int32_t may_leave;
	uint32_t choice;
	uint32_t room;
	uint8_t junk;
	uint8_t length;
} __attribute__((aligned(64)));

#define BIN_SHIFT	6
_Static_assert(sizeof(struct hard_bin) == 1 << BIN_SHIFT, "found by the map's entries");

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
 * @bins: by class, unused those of large blocks
 * @random: state of a generator for those of the bins, odd
 * @large_bytes: of the blocks in @large
 * @nr_large: how many they are
 * @large: large blocks that wait, in the order they came back
 * @spare: an empty magazine, or NULL
 * @swings: by class
 */
struct hard {
	struct hard_bin bins[NR_CLASSES];
	uint64_t random;
	size_t large_bytes;
	size_t nr_large;
	void *large[MAX_LARGE];
	struct magazine *spare;
	struct swing swings[NR_CLASSES];
};

/* Whoever has no caches has bins that are not used. */
static struct hard_bin no_bins[NR_CLASSES];

/* The calling thread's, as pw_bins. */
HIDDEN __thread struct hard_bin *pw_hard_bins __attribute__((tls_model("initial-exec"))) = no_bins;

/* The bin at a distance; as bin_at(). */
static inline struct hard_bin *hard_bin_at(size_t distance)
{
#if defined(__x86_64__) && !defined(PW_TEST)
	uintptr_t bins;

	__asm__ volatile("movq pw_hard_bins@gottpoff(%%rip), %0\n\t"
			 "addq %%fs:(%0), %1" : "=&r"(bins), "+r"(distance) : : "cc");
	return (struct hard_bin *)distance;
#else
	return (struct hard_bin *)((char *)pw_hard_bins + distance);
#endif
}

/* For canaries and for placement. */
static uint64_t secret;

/* has_entry(0), and what would be the entry of address 0. */
static uint8_t *has_table;
static uint8_t *has_of_zero;

/*
 * How far the bin is of the class that is taken for a small one: not the first class, which
 * has no room for the junk's two halves. From LINES_MIN on blocks are whole lines: one
 * has the junk, which would lie on two of most blocks, and programs that mix sizes have
 * fewer queues.
 */
#define LINE_CLASSES	(64 / MIN_ALIGN)
#define LINES_MIN	256
#define IN_LINES(c)	((c) < 2 ? 2 : \
			 (c) * MIN_ALIGN < LINES_MIN ? (c) : \
			 ALIGN_UP(c, LINE_CLASSES) > NR_SMALL ? (c) : ALIGN_UP(c, LINE_CLASSES))
#define BIN_OF(c)		(IN_LINES(c) << BIN_SHIFT)
#define FOUR_BINS_OF(c)		BIN_OF(c), BIN_OF((c) + 1), BIN_OF((c) + 2), BIN_OF((c) + 3)
#define SIXTEEN_BINS_OF(c)	FOUR_BINS_OF(c), FOUR_BINS_OF((c) + 4), \
				FOUR_BINS_OF((c) + 8), FOUR_BINS_OF((c) + 12)
static const uint16_t small_bins[NR_SMALL + 1] = {
	SIXTEEN_BINS_OF(0), SIXTEEN_BINS_OF(16), SIXTEEN_BINS_OF(32), SIXTEEN_BINS_OF(48),
	BIN_OF(64), BIN_OF(65), BIN_OF(66),
};

void harden_start(void)
{
	has_table = has_entry(0);
	has_of_zero = has_entry(0) - (pw_base >> UNIT_SHIFT);
	/* The lowest byte is none: a string's end, written one too far, always changes it. */
	secret = (os_secret() & ~0xffUL) | 0xa7;
}

bool harden_attach(struct thread *t)
{
	if (!t->hard)
		t->hard = pw_meta_alloc(sizeof(*t->hard));
	if (!t->hard)
		return false;
	t->hard->random = (secret ^ (uintptr_t)t) | 1;
	pw_hard_bins = t->hard->bins;
	return true;
}

/* Not even if the queue is full. */
#define NONE_MAY_LEAVE	(-2 * (int)MAX_QUEUE)

static inline size_t block_size(const struct hard_bin *bin)
{
	return bin->room + CANARY - 1;
}

/* Each bin's is its own. */
static uint64_t new_generator(struct hard *hard)
{
	hard->random *= 0x5851f42d4c957f2dUL;
	return (hard->random ^ hard->random >> 32) | 1;
}

static noinline bool set_up(struct hard *hard, struct hard_bin *bin, unsigned int c)
{
	size_t size = class_size(c), length = MAX_QUEUE, choices;

	while (length > 4 && length * size > QUEUE_BYTES)
		length /= 2;
	choices = MAX(length / 4, 2UL);
	/* Twice what it has to hold: it is moved to the start once as many have left. */
	bin->start = pw_meta_alloc(2 * (choices + length) * sizeof(*bin->start));
	if (!bin->start)
		return false;
	bin->choice = (uint32_t)choices - 1;
	bin->head = bin->start;
	bin->tail = bin->start;
	bin->end = bin->start + choices + length;
	bin->random = new_generator(hard);
	bin->may_leave = NONE_MAY_LEAVE;
	bin->room = (uint32_t)room_of(size);
	bin->junk = junk_end(size);
	bin->length = (uint8_t)length;
	return true;
}

/* What the queue holds at most while blocks only come back. */
static inline size_t most_queued(const struct hard_bin *bin)
{
	return bin->length + bin->choice + 1;
}

/* So many travel at a time. */
static inline size_t few(const struct hard_bin *bin)
{
	return MAX(bin->length / 8 * 3, 1);
}

/* So many have to come back before a block leaves the queue. */
static inline size_t delay(const struct hard_bin *bin)
{
	return MIN(MAX(bin->length / 4U, 1U), MAX_DELAY);
}

static inline size_t nr_queued(const struct hard_bin *bin)
{
	return (size_t)(bin->tail - bin->head);
}

/* There shall be what has to wait and the choices, and one more. */
static inline size_t nr_missing(const struct hard_bin *bin)
{
	size_t enough = delay(bin) + bin->choice + 2, has = nr_queued(bin);

	return enough > has ? enough - has : 0;
}

/*
 * One of the choices, at random, and the oldest in its place. The generator's multiplier
 * fits into the instruction; of the state the upper half is random. Chosen now, the block
 * is in the caches when it is taken.
 */
static inline void choose(struct hard_bin *bin)
{
	void **head = bin->head, **chosen, *next;

	bin->random *= 0x4c957f2d;
	chosen = &head[(uint32_t)(bin->random >> 32) & bin->choice];
	next = *chosen;
	*chosen = *head;
	bin->head = head + 1;
	bin->next = next;
	__builtin_prefetch(next, 1);
	__builtin_prefetch(last_word(next, bin->room), 1);
}

/* One of the oldest @n that are fewer. */
static void choose_of(struct hard_bin *bin, size_t n)
{
	void **chosen;

	bin->random *= 0x4c957f2d;
	chosen = &bin->head[(bin->random >> 32) * n >> 32];
	bin->next = *chosen;
	*chosen = *bin->head++;
}

/* The same when there may be too few blocks; those that have to wait are not chosen. */
static void choose_any(struct hard_bin *bin)
{
	size_t n = nr_queued(bin), wait = delay(bin), choices = bin->choice + 1;

	bin->next = NULL;
	bin->may_leave = NONE_MAY_LEAVE;
	if (n >= wait + choices) {
		choose(bin);
		bin->may_leave = (int32_t)(n - wait - choices);
	} else if (n > wait) {
		choose_of(bin, n - wait);
	}
}

static void *take_oldest(struct hard_bin *bin)
{
	return nr_queued(bin) ? *bin->head++ : NULL;
}

static inline void keep(struct hard_bin *bin, void *p)
{
	*bin->tail++ = p;
	bin->may_leave++;
}

static void move_queue(struct hard_bin *bin, void **to)
{
	size_t n = nr_queued(bin);

	memmove(to, bin->head, n * sizeof(*to));
	bin->head = to;
	bin->tail = to + n;
}

/* Blocks that were never touched, or whose pages were returned, have no junk yet. */
static void have_junk(struct hard_bin *bin, void *p)
{
	if (untouched(p, junk_block, bin->junk))
		return;
	check_untouched(p, bin->junk, block_size(bin) >= LEAVE_FRESH);
	fill_junk(p, bin->junk);
}

/*
 * Blocks from elsewhere were not freed by this thread of late: they are the oldest. The
 * last one in the queue is looked at again and again.
 */
static void add_old(struct hard_bin *bin, void **blocks, size_t n)
{
	if (bin->head == bin->tail)
		have_junk(bin, blocks[n - 1]);
	if (bin->head < bin->start + n)
		move_queue(bin, bin->start + n);
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
	bool as_is = content == AS_LEFT ||
		     (content != ANY_BYTES && block_size(bin) >= LEAVE_FRESH);

	for (i = 0; i < n && !as_is; i++) {
		if (content == WAS_FREE && untouched(blocks[i], junk_block, bin->junk))
			continue;
		/* From here on there are no zeroes that were not written. */
		if (content == WAS_FREE)
			check_untouched(blocks[i], bin->junk, true);
		fill_junk(blocks[i], bin->junk);
	}
	if (n)
		add_old(bin, blocks, n);
	return n;
}

static bool refill_from_depot(struct hard *hard, struct hard_bin *bin, unsigned int c)
{
	struct magazine *m = depot_pop(c, &hard->spare);

	if (!m)
		return false;
	add_old(bin, m->blocks, m->nr);
	if (hard->spare)
		magazine_put(m);
	else
		hard->spare = m;
	return true;
}

static bool refill(struct thread *t, struct hard_bin *bin, unsigned int c)
{
	struct swing *swing = &t->hard->swings[c];

	swing->flushed = 0;
	if (refill_from_depot(t->hard, bin, c))
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
static bool give_few(struct hard *hard, struct hard_bin *bin, unsigned int c, bool to_depot)
{
	struct magazine *m = to_depot ? hard->spare ?: magazine_get() : NULL;
	size_t n = MIN(nr_queued(bin), few(bin));
	void **oldest = bin->head;

	bin->head += n;
	if (!m)
		return blocks_sort_back(oldest, n);
	memcpy(m->blocks, oldest, n * sizeof(*oldest));
	m->nr = n;
	hard->spare = depot_push(c, m);
	return false;
}

/* This is no swing but the end of a phase: what went first goes, too. */
static void sort_back_few(unsigned int c)
{
	struct magazine *m, *none = NULL;
	unsigned int i;

	for (i = 0; i < FLUSH_FEW && (m = depot_pop(c, &none)); i++) {
		blocks_sort_back(m->blocks, m->nr);
		magazine_put(m);
	}
}

/*
 * The first few are likely to be wanted again soon, and what came from other threads,
 * by others.
 */
static bool flush(struct hard *hard, struct hard_bin *bin, unsigned int c)
{
	struct swing *swing = &hard->swings[c];

	if (!swing->taken || ++swing->flushed <= FLUSH_FEW)
		return give_few(hard, bin, c, true);
	if (swing->flushed == FLUSH_FEW + 1)
		sort_back_few(c);
	swing->taken--;
	return give_few(hard, bin, c, false);
}

/*
 * The queue has come to the end of its room, as blocks come and go: it goes on from the
 * start. False: it is full.
 */
static bool move_to_start(struct hard_bin *bin)
{
	size_t n = nr_queued(bin), most = most_queued(bin);

	if (n > most - most / 4)
		return false;
	move_queue(bin, bin->start);
	bin->end = bin->start + most + n / 2;
	return true;
}

/* Of a full queue half may stay. */
static noinline void make_room(struct thread *t, struct hard_bin *bin, unsigned int c)
{
	bool due = false;

	while (nr_queued(bin) > bin->choice + 1 + bin->length / 2U)
		due |= flush(t->hard, bin, c);
	move_queue(bin, bin->start);
	bin->end = bin->start + most_queued(bin);
	bin->may_leave = bin->may_leave < 0 ? NONE_MAY_LEAVE :
			 (int32_t)(nr_queued(bin) - delay(bin) - bin->choice);
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
	if (content >= AS_LEFT)
		check_untouched(p, junk_end(LARGE_SIZE), true);
	if (hard->nr_large)
		check_untouched(hard->large[hard->nr_large - 1], junk_end(LARGE_SIZE), false);
	return p;
}

/* ---- all of it ---- */

static void drain_bin(struct hard *hard, struct hard_bin *bin, unsigned int c)
{
	while (nr_queued(bin))
		give_few(hard, bin, c, true);
	if (bin->next) {
		add_old(bin, &bin->next, 1);
		bin->next = NULL;
		give_few(hard, bin, c, true);
	}
	bin->may_leave = NONE_MAY_LEAVE;
	bin->head = bin->start;
	bin->tail = bin->start;
	bin->end = bin->start + most_queued(bin);
}

void harden_drain(struct thread *t)
{
	unsigned int c;

	for (c = 1; c < NR_CLASSES; c++)
		if (t->hard->bins[c].room)
			drain_bin(t->hard, &t->hard->bins[c], c);
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
	return (MIN(queued, 2 * MAX_QUEUE) + !!READ_ONCE(bin->next)) * block_size(bin);
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
	pw_hard_bins = no_bins;
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

static inline uint8_t *has_byte_of(const void *p)
{
	return HOT_READ(has_of_zero) + ((uintptr_t)p >> UNIT_SHIFT);
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
	uint64_t word = canary(p);

	if (likely(room - size >= CANARY))
		memcpy((char *)p + size, &word, CANARY);
	else
		memcpy((char *)p + size, &word, room - size);
}

bool harden_is_sealed(const void *p, size_t size, size_t room)
{
	uint64_t word = canary(p), found = word;

	memcpy(&found, (const char *)p + size, MIN(room - size, CANARY));
	return found == word;
}

/* ---- blocks out and in ---- */

/* Distance of the bin for so many bytes, the canary's too. */
static inline size_t bin_for(size_t with)
{
	return likely(with <= SMALL_MAX) ? small_bins[small_class(with)] :
	       big_class(with) << BIN_SHIFT;
}

/* The same for so many bytes and a canary, or 0. */
static size_t aligned_bin_for(size_t size, size_t align)
{
	size_t with = size + CANARY;

	if (align > MIN_ALIGN)
		with = ALIGN_UP(with, align);
	/* Classes are multiples of every alignment that a size in them has. */
	return align > GRANULE || with > CLASS_MAX ? 0 : bin_for(with);
}

/* An exiting thread keeps nothing. */
static void *take_alone(unsigned int c)
{
	bool zeroed;

	/* Nobody's bin has none, however often it is counted down. */
	WRITE_ONCE(no_bins[c].may_leave, 0);
	return tcache_take_one(c, &zeroed);
}

/* From the thread's bin, which may be new or nearly empty. */
static void *take_checked(struct thread *t, unsigned int c)
{
	struct hard_bin *bin = &t->hard->bins[c];
	const void *newest;
	void *p;

	if (!bin->room && !set_up(t->hard, bin, c))
		return NULL;
	have_enough(t, bin, c);
	if (!bin->next)
		choose_any(bin);
	p = bin->next ?: take_oldest(bin);
	if (!p)
		return NULL;
	newest = nr_queued(bin) ? bin->tail[-1] : junk_block;
	if (!untouched(p, newest, bin->junk)) {
		check_untouched(p, bin->junk, block_size(bin) >= LEAVE_FRESH);
		check_untouched(newest, bin->junk, false);
	}
	choose_any(bin);
	return p;
}

/* Counts one down; true if none may leave. Those of nobody are everybody's. */
static inline bool none_may_leave(struct hard_bin *bin)
{
#ifdef __SANITIZE_THREAD__
	return __atomic_sub_fetch(&bin->may_leave, 1, __ATOMIC_RELAXED) < 0;
#else
	return --bin->may_leave < 0;
#endif
}

/*
 * What can be taken without a closer look, or NULL. The block that came back last, which
 * is in the caches, is looked at, too.
 */
static inline __attribute__((always_inline)) void *take(struct hard_bin *bin, size_t size,
								bool small)
{
	uint8_t *has;
	void *p;

	if (unlikely(none_may_leave(bin)))
		return NULL;
	p = bin->next;
	has = has_byte_of(p);
	if (unlikely(!untouched(p, bin->tail[-1], bin->junk) || HOT_READ(*has)))
		return NULL;
	choose(bin);
	/* One test less: even whole lines are no more than that. */
	if (small && bin->room - size >= HAS_MANY)
		__builtin_unreachable();
	WRITE_ONCE(*has, write_canary(p, bin->room, size));
	return p;
}

void *harden_take(size_t size, size_t room, size_t align)
{
	size_t distance = aligned_bin_for(MAX(room, 1UL), align);
	unsigned int c = (unsigned int)(distance >> BIN_SHIFT);
	struct thread *t;
	uint8_t *has;
	void *p;

	if (!c || !pw_heap_start())
		return NULL;
	size = MAX(size, 1UL);
	p = take(hard_bin_at(distance), size, false);
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
	void *p = take(hard_bin_at(bin_for(size + CANARY)), size, false);

	return likely(p) ? p : pw_malloc_hard(size);
}

void *harden_small(size_t size)
{
	void *p = take(hard_bin_at(small_bins[small_class(size + CANARY)]), size, true);

	return likely(p) ? p : pw_malloc_hard(size);
}

void *harden_aligned(size_t align, size_t size)
{
	size_t distance = aligned_bin_for(size, align);

	return likely(distance) ? take(hard_bin_at(distance), size, false) : NULL;
}

bool harden_resize(struct span *s, void *p, size_t size)
{
	if (size > s->block_size - CANARY)
		return false;
	WRITE_ONCE(*has_entry(units(p)), write_canary(p, room_of(s->block_size), size));
	return true;
}

bool harden_fit(void *p, size_t distance, size_t size)
{
	unsigned int c = READ_ONCE(*map_entry(distance >> GRANULE_UNIT_SHIFT)) / MAP_UNIT;
	uint8_t *entry = has_byte(distance);
	size_t has = READ_ONCE(*entry), room, old;

	if (!has)
		return false;
	room = room_of(class_size(c));
	old = read_canary(p, room, has);
	if (old == SIZE_MAX || size >= room || (size <= old && size < class_size(c) / 2))
		return false;
	WRITE_ONCE(*entry, write_canary(p, room, size));
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
	fill_junk(p, junk_end(size));
	t = tcache_thread_that_frees();
	if (t && size >= LARGE_SIZE) {
		keep_large(t->hard, p, size);
		return true;
	}
	bin = t ? &t->hard->bins[c] : NULL;
	if (!bin || (!bin->room && !set_up(t->hard, bin, c))) {
		if (blocks_sort_back(&p, 1))
			arenas_return();
		return true;
	}
	if (bin->tail == bin->end)
		make_room(t, bin, c);
	keep(bin, p);
	return true;
}

/* Not in harden_free(), which would save registers for a call. */
static noinline void free_at_end(void *p, size_t distance, struct hard_bin *bin)
{
	if (bin->room && move_to_start(bin))
		harden_free(p, distance);
	else
		pw_free_hard(p);
}

void harden_free(void *p, size_t distance)
{
	size_t map = HOT_READ(*map_entry(distance >> GRANULE_UNIT_SHIFT));
	struct hard_bin *bin = hard_bin_at(map * (sizeof(*bin) / MAP_UNIT));
	uint8_t *entry = has_byte(distance);
	size_t has = HOT_READ(*entry);

	/* Where the canary is depends on @has, which may take as long to come. */
	__builtin_prefetch(p, 1);
	__builtin_prefetch(last_word(p, bin->room), 1);
	if (unlikely(bin->tail == bin->end)) {
		free_at_end(p, distance, bin);
		return;
	}
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
