/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * arena.h - arenas, the spans in them, and the bins that find free ones
 */
#ifndef PW_ARENA_H
#define PW_ARENA_H

#include "class.h"
#include "heap.h"
#include "lock.h"
#include "os.h"

enum span_state {
	SPAN_NONE,	/* no memory of ours */
	SPAN_FREE,	/* a free run */
	SPAN_CLASS,	/* blocks of one class */
	SPAN_RUN,	/* one block of whole granules, in a segment */
	SPAN_LARGE,	/* one block, mapped by itself */
	SPAN_PAGES,	/* pages that the program mapped through us */
};

/* span.flags */
#define SPAN_DIRTY	1U	/* may hold something else than zeroes */
#define SPAN_BINNED	2U	/* in its small bin */
#define SPAN_UNSORTED	4U	/* in the unsorted bin */
#define SPAN_GUARDED	8U	/* mapped with OS_GUARD */
#define SPAN_RETURN	16U	/* blocks came back since pages were last returned */
#define SPAN_BITS	32U	/* its bits are in an array */
#define SPAN_ZEROES	64U	/* pages of free blocks were returned since there were none */

/**
 * struct span - an entry of the span table
 * @head: granule of the span's first entry; set in all entries of a span of
 *	  blocks, and in the first and last of a free run
 * @state: enum span_state
 * @flags: SPAN_ bits
 * @class: number of the class of its blocks
 * @hard: another table says which of its blocks the program has
 * @granules: length
 * @block_size: bytes of its blocks
 * @carved: how many blocks were handed out since the span was empty; those behind are
 *	    untouched without SPAN_DIRTY
 * @nr_blocks: how many fit
 * @nr_free: carved blocks that are here, not in a tcache or with the program
 * @arena: number of the arena it belongs to
 * @returned: a set bit for each part, a 64th or a page, that went back to the OS
 *	      and was not used since
 * @asked: bytes that were asked for, of a block before a guard
 * @bits: a set bit for each of them, without SPAN_BITS
 * @more_bits: the same in an array, with it
 * @size: bytes of the one block of a run or a large span, or of mapped pages
 * @next: in its bin
 * @prev: in its bin
 * @reciprocal: of @block_size, to divide by
 * @offset: of the one block of a large span, from the span's start
 *
 * All but the first entry of a span have nothing but @head. Protected by the
 * lock of the arena; a span of which the caller has a block keeps its state,
 * class and arena without it.
 */
struct span {
	uint32_t head;
	uint8_t state;
	uint8_t flags;
	uint8_t class;
	bool hard;
	uint32_t granules;
	uint32_t block_size;
	uint16_t carved;
	uint16_t nr_blocks;
	uint16_t nr_free;
	uint16_t arena;
	union {
		uint64_t returned;
		size_t asked;
	};
	union {
		uint64_t bits;
		uint64_t *more_bits;
		size_t size;
	};
	struct span *next;
	struct span *prev;
	union {
		uint64_t reciprocal;
		size_t offset;
	};
};

_Static_assert(sizeof(struct span) == SPAN_BYTES, "the span table's layout");
_Static_assert(NR_CLASSES <= UINT8_MAX, "a class fits in a byte");

/* A list of spans; new ones go to the end. */
struct spans {
	struct span *first;
	struct span *last;
};

/**
 * struct segment - a break and what is in it; all but @brk in granules
 * @brk: the break
 * @start: first granule
 * @top: first granule of the top, which nothing has been made of, or not any more
 * @clean: first granule of the top that was never used
 * @end: granule of the break
 * @huge: huge pages were asked for
 * @next: older segment of the arena
 */
struct segment {
	struct os_brk brk;
	uint32_t start;
	uint32_t top;
	uint32_t clean;
	uint32_t end;
	bool huge;
	struct segment *next;
};

/* Runs up to this many granules have a large bin of their own length. */
#define EXACT_RUNS	64
#define RUN_STEP_SHIFT	2
#define NR_LARGE_BINS	(EXACT_RUNS + ((30 - 6) << RUN_STEP_SHIFT))

/**
 * struct decay - what tells when an arena's free pages go back to the system
 * @falling: pages were last returned because it fell
 * @peak_out: the most bytes of blocks that were out since pages were last returned
 * @purged_out: how many were out then
 * @fell_from: how many there were before it began to fall
 * @purged: bytes that were returned then
 * @purged_at: when that was, milliseconds
 * @given: bytes of blocks that came back since
 * @waiting: bytes of those that came back before, and whose pages were not looked at
 */
struct decay {
	bool falling;
	size_t peak_out;
	size_t purged_out;
	size_t fell_from;
	size_t purged;
	uint64_t purged_at;
	size_t given;
	size_t waiting;
};

/**
 * struct arena - segments, the bins of what is free in them, and a lock
 * @lock: protects all of it
 * @id: its number
 * @private: belongs to a heap of the program's; its blocks never enter a tcache
 * @big: for large blocks, which may be touched here and there only: no huge pages
 * @huge_backoff: how many steps went without huge pages when they were slow last
 * @huge_skip: how many still do
 * @contended: threads that found it locked since one last moved off
 * @small: spans with free blocks, by class
 * @small_map: which small bins may have something in them
 * @unsorted: spans that fell empty
 * @large: free runs, by length
 * @longest: in each large bin there is no longer one
 * @large_map: which large bins are not empty
 * @segments: the newest first
 * @size: bytes between starts and breaks
 * @size_max: the most that @size ever was
 * @limit: what @size may grow to, 0 while nobody has the arena
 * @free: granules in the large bins
 * @dirty: granules of those, and of the top, that were used
 * @sorted_size: what @size was when cached blocks were last sorted back for more
 * @sorted_used: what arena_used() was when there were so many that sorting was considered
 * @blocks_out: bytes of blocks and runs that left the bins
 * @decay: what is returned, and when
 * @next_free: the next one that nobody has, while nobody has this one
 */
struct arena {
	struct lock lock;
	uint32_t id;
	bool private;
	bool big;
	uint8_t huge_backoff;
	uint8_t huge_skip;
	uint32_t contended;
	struct spans small[NR_CLASSES];
	uint64_t small_map[(NR_CLASSES + 63) / 64];
	struct spans unsorted;
	struct span *large[NR_LARGE_BINS];
	uint32_t longest[NR_LARGE_BINS];
	uint64_t large_map[(NR_LARGE_BINS + 63) / 64];
	struct segment *segments;
	size_t size;
	size_t size_max;
	size_t limit;
	size_t free;
	size_t dirty;
	size_t sorted_size;
	size_t sorted_used;
	size_t blocks_out;
	struct decay decay;
	struct arena *next_free;
};

#define MAX_ARENAS	1024

/* The arena that blocks from this size on come from. */
#define BIG_ARENA	1
/* From this size on an arena's memory is worth huge pages. */
#define HUGE_FROM	(16 * MIB)
#define BIG_SIZE	(512 * KIB)

extern struct arena *pw_arenas[MAX_ARENAS];
extern uint32_t pw_nr_arenas;
extern struct lock pw_arenas_lock;

/* Span that @addr, an address in the window, is in; its state says whether. */
static inline struct span *span_of(uintptr_t addr)
{
	struct span *s = span_entry(granule_of(addr));

	if (s->state == SPAN_NONE && s->head)
		s = span_entry(s->head);
	return s;
}

static inline size_t span_granule(const struct span *s)
{
	return (size_t)((uintptr_t)s - (uintptr_t)span_entry(0)) / sizeof(*s);
}

static inline uintptr_t span_addr(const struct span *s)
{
	return granule_addr(span_granule(s));
}

static inline struct arena *span_arena(const struct span *s)
{
	return pw_arenas[s->arena];
}

/*
 * Number of the block at @offset of a span; false if none starts there. Of a
 * product with the reciprocal, the upper word is the quotient, and the lower
 * one is less than the reciprocal if it is a whole one: true below 2^32.
 */
static inline bool span_divide(const struct span *s, size_t offset, size_t *index)
{
	unsigned __int128 product = (unsigned __int128)offset * s->reciprocal;

	*index = (size_t)(product >> 64);
	return (uint64_t)product < s->reciprocal;
}

/* Number of the block at @addr, or -1 if none starts there. Needs no lock. */
static inline int span_block_index(const struct span *s, uintptr_t addr)
{
	size_t index;

	if (unlikely(!span_divide(s, addr - span_addr(s), &index) || index >= s->carved))
		return -1;
	return (int)index;
}

/* Words of an array of bits: as many as the smallest class has blocks in a span. */
#define BITS_WORDS	(GRANULE / MIN_ALIGN / 64)

/* Bytes of blocks and runs left the bins of an arena, which is locked. */
static inline void arena_count_out(struct arena *a, size_t bytes)
{
	WRITE_ONCE(a->blocks_out, a->blocks_out + bytes);
	a->decay.peak_out = MAX(a->decay.peak_out, a->blocks_out);
}

/* They came back. */
static inline void arena_count_in(struct arena *a, size_t bytes)
{
	WRITE_ONCE(a->blocks_out, a->blocks_out - bytes);
}

/* Bytes of an arena, which is locked, but for what of its tops was never used. */
static inline size_t arena_used(const struct arena *a)
{
	const struct segment *seg;
	size_t used = a->size;

	for (seg = a->segments; seg; seg = seg->next)
		used -= (size_t)(seg->end - seg->clean) << GRANULE_SHIFT;
	return used;
}

/* Takes the lock of another arena, and lets go of the one before. */
static inline struct arena *move_lock(struct arena *from, struct arena *to)
{
	if (from != to) {
		if (from)
			unlock(&from->lock);
		lock(&to->lock);
	}
	return to;
}

static inline void spans_add(struct spans *list, struct span *s)
{
	s->next = NULL;
	s->prev = list->last;
	if (list->last)
		list->last->next = s;
	else
		list->first = s;
	list->last = s;
}

static inline void spans_del(struct spans *list, struct span *s)
{
	if (s->prev)
		s->prev->next = s->next;
	else
		list->first = s->next;
	if (s->next)
		s->next->prev = s->prev;
	else
		list->last = s->prev;
}

/* arena.c */

/*
 * The arenas that there are from the beginning. Not in their definition, as all of
 * them and the table of arenas would be data in the file.
 */
void arenas_start(void);

/* A new arena, or NULL. Not locked. */
struct arena *arena_create(bool private, size_t limit);

/*
 * A block of a private arena, or NULL and ENOMEM, within the library: what it exports, it
 * would look up whenever a program starts. Not locked.
 */
void *private_alloc(struct arena *a, size_t size);

/* Gives all memory of a private arena back; nothing else refers to it then. */
void arena_destroy(struct arena *a);

/* Locks the arena of the calling thread, which may move to another one. */
struct arena *arena_enter(struct arena **mine);

/*
 * Another arena with free memory in it that is worth moving to, locked; or NULL.
 * @mine is locked.
 */
struct arena *arena_roomy(struct arena *mine);

/* Has a top with @granules free, unless memory or limits do not allow it. */
struct segment *arena_grow(struct arena *a, size_t granules);

/* The same in this segment; 0, or what os_brk_move() says. It has less than that now. */
int arena_grow_segment(struct arena *a, struct segment *seg, size_t granules);

/* Gives a segment with no memory in it back, and its addresses. */
void arena_drop_segment(struct arena *a, struct segment *seg);

/* Calls @try with each arena that all threads may use, locked, until it is true. */
bool arenas_try(bool (*try)(struct arena *a, void *arg), void *arg);

/* Where granules may come from; each includes those before it. */
enum source {
	USED_PAGES,	/* free runs, and the part of a top that was used before */
	OWN_PAGES,	/* all of the tops */
	NEW_PAGES,	/* a break may grow */
};

/* bins.c: small and unsorted bins; arena locked. */

/**
 * struct batch - blocks taken from an arena at once
 * @first: a block of which no byte was written if @fresh
 * @rest: a list of the others
 * @end: where it goes on
 * @nr_rest: how many
 * @fresh: @first reads as zero
 * @reused: @first was free before, not carved from a span just now
 */
struct batch {
	struct block *first;
	struct block *rest;
	struct block **end;
	unsigned int nr_rest;
	bool fresh;
	bool reused;
};

/* Length of a span of class @c. */
size_t bin_span_granules(unsigned int c);

/* Takes up to @want blocks of class @c. */
bool bin_take(struct arena *a, unsigned int c, unsigned int want, enum source source,
	      struct batch *b);

/*
 * The same of larger classes, up to @times the size and as aligned as those of class
 * @c: free blocks in spans that cannot be used for anything else because of the others
 * in them. HOLE_TIMES is the most; none are larger than HOLE_MAX.
 */
#define HOLE_MAX		(4 * KIB)
#define HOLE_TIMES		4
#define HOLE_TIMES_EARLY	2
bool bin_take_larger(struct arena *a, unsigned int c, unsigned int want, size_t times,
		     struct batch *b);

/* What there is in blocks that nothing is written to. */
enum content {
	ALL_ZERO,	/* they were never touched */
	ANY_BYTES,	/* their span was made of memory that was used before */
	AS_LEFT,	/* what their owners left */
	WAS_FREE,	/* that, or zeroes: pages may have been returned */
};

/*
 * Takes up to @want blocks of a class, all from the same span, and writes to
 * none of them. Returns how many.
 */
unsigned int bin_take_apart(struct arena *a, unsigned int c, unsigned int want,
			    enum source source, void **blocks, enum content *content);

/*
 * Makes the only block of a span one of class @c where it is. False: that is not a
 * larger one, there are others, or what lies behind is in use.
 */
bool span_extend(struct arena *a, struct span *s, unsigned int c);

/* Outcomes of giving a block back. */
enum give {
	GIVE_OK,
	GIVE_INVALID,	/* not the start of a block that was ever handed out */
	GIVE_TWICE,	/* it is here already */
};

enum give bin_give(struct arena *a, struct span *s, uintptr_t addr);

/*
 * Gives the first of @n blocks back, as many as follow each other in @s; how many.
 * It is an error if there is none.
 */
size_t bin_give_some(struct arena *a, struct span *s, void **blocks, size_t n);

/* Is there a free block of ours at @addr? Arena locked. */
bool bin_has(struct span *s, uintptr_t addr);

/* Is @addr the start of a block? Needs no lock. */
bool span_block_start(const struct span *s, uintptr_t addr);

/* Makes free runs of the spans in the unsorted bin. */
void bin_sort(struct arena *a);

/* Lets go of what spans hold apart from the segments, before those go. */
void bins_release(struct arena *a);

/* Bytes of a span's free blocks whose pages went back to the OS. */
size_t span_purge(struct span *s);

/* Sorts a list's blocks back into their spans. True: arenas_return() is due. */
bool list_sort_back(struct block *first);

/* Of free records: arrays of bits, segments, breaks; and of the breaks in use. */
extern struct lock pw_records_lock;

#endif /* PW_ARENA_H */
