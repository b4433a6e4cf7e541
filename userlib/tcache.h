/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * tcache.h - the thread's own bins
 *
 * The hit paths are inline: no lock, no atomic operation, no call. A thread that
 * has no bins yet uses those of nobody, which miss, so nothing asks whether it
 * was set up.
 */
#ifndef PW_TCACHE_H
#define PW_TCACHE_H

#include "arena.h"
#include "class.h"
#include "heap.h"

/**
 * struct stack - a thread's full lists of one class
 * @lists: first block of the last one in, NULL for none
 * @size: bytes of all blocks of a full list
 * @room: blocks of a full list; 0: the class was never used here
 * @link: bytes into the first block of a list is what leads to the next list
 * @nr: how many lists
 * @budget: how many there may be
 * @low: the least there were since unused ones were last given back
 * @flushed: how many had to go since the last refill
 * @flushed_at: the thread's @spilled when the last one had to
 * @taken: how many were taken from an arena and not sorted back into it
 */
struct stack {
	struct block *lists;
	uint32_t size;
	uint8_t room;
	uint8_t link;
	uint16_t nr;
	uint16_t budget;
	uint16_t low;
	uint32_t flushed;
	uint32_t flushed_at;
	uint32_t taken;
};

/**
 * struct tcache_bin - the tcache's bin of one class
 * @head: first of the bin's list of free blocks
 * @room: how many more may be added until it is full
 *
 * Both in words of their own, and reached without an index: only so do processors
 * hand what one call stores to the load of the next one at once.
 */
struct tcache_bin {
	struct block *head;
	int32_t room;
};

_Static_assert(sizeof(struct tcache_bin) == MAP_UNIT, "the map has distances of bins");

#define NR_GROWN	8

/**
 * struct thread - a thread's caches, and what it needs on the slow paths
 * @bins: by class. Bin 0 is no class: it has no blocks and never room
 * @full: full lists
 * @used: classes that ever had a list here
 * @small_bytes: of the lists of small blocks that the budgets in @full allow
 * @large_bytes: the same of large ones
 * @large_bins: bytes that bins of large blocks may hold
 * @kept: bytes that bins and full lists may hold, counted under a limit only
 * @spilled: KiB of all lists that had to go
 * @tick: counts down to the next look at the clock
 * @swept: when unused lists were last given back, milliseconds
 * @grown: blocks that realloc() made larger
 * @hard: its caches in hardened mode, NULL before the first call
 * @trace_id: its number in the trace, from 1
 * @ending: its end was seen, and will be again
 * @arena: where it allocates
 * @next: in the list of all threads, or of unused ones
 * @prev: in the list of all threads
 */
struct thread {
	struct tcache_bin bins[NR_CLASSES];
	struct stack full[NR_CLASSES];
	uint64_t used[(NR_CLASSES + 63) / 64];
	size_t small_bytes;
	size_t large_bytes;
	size_t large_bins;
	size_t kept;
	uint32_t spilled;
	uint32_t tick;
	uint64_t swept;
	void *grown[NR_GROWN];
	struct hard *hard;
	uint16_t trace_id;
	bool ending;
	struct arena *arena;
	struct thread *next;
	struct thread *prev;
};

/* Whoever has no caches, not yet or not any more: all empty, and no room. */
extern HIDDEN struct thread pw_nobody;

/*
 * The calling thread's bins, the first member of its struct thread. All that is
 * thread-local, so that the library can be loaded later, too.
 */
extern HIDDEN __thread struct tcache_bin *pw_bins __attribute__((tls_model("initial-exec")));

extern struct lock pw_threads_lock;
extern struct thread *pw_threads;
extern uint32_t pw_nr_threads;

/*
 * The bin whose distance the map says. Compilers load the address of the bins
 * first and add then, an instruction more. Volatile, as a call in between may be
 * the thread's first.
 */
static inline struct tcache_bin *bin_at(size_t distance)
{
#if defined(__x86_64__) && !defined(PW_TEST)
	uintptr_t bins;

	__asm__ volatile("movq pw_bins@gottpoff(%%rip), %0\n\t"
			 "addq %%fs:(%0), %1" : "=&r"(bins), "+r"(distance) : : "cc");
	return (struct tcache_bin *)distance;
#else
	return (struct tcache_bin *)((char *)pw_bins + distance);
#endif
}

/* The calling thread, or nobody. */
static inline struct thread *tcache_self(void)
{
	return (struct thread *)pw_bins;
}

static inline bool tcache_attached(const struct thread *t)
{
	return t != &pw_nobody;
}

/* Keeps a value from what compilers know about it. */
#define KEEP(x)	__asm__("" : "+r"(x))

/* Counts one down; true if there was none. Those of nobody are everybody's. */
static inline bool take_room(struct tcache_bin *bin)
{
#ifdef __SANITIZE_THREAD__
	return __atomic_sub_fetch(&bin->room, 1, __ATOMIC_RELAXED) < 0;
#else
	return --bin->room < 0;
#endif
}

/* A block, or NULL; the caller clears its key. */
static inline struct block *bin_unlink(struct tcache_bin *bin)
{
	struct block *b = bin->head;

	if (unlikely(!b))
		return NULL;
	bin->head = b->next;
	bin->room++;
	return b;
}

static inline struct block *bin_pop(struct tcache_bin *bin)
{
	struct block *b = bin_unlink(bin);

	if (likely(b))
		b->key = 0;
	return b;
}

/* A block of the class, or NULL. */
static inline struct block *tcache_pop(size_t c)
{
	return bin_pop(bin_at(c * MAP_UNIT));
}

_Static_assert(sizeof(struct stack) == 2 * sizeof(struct tcache_bin), "found by a bin's place");

/* The full lists of a bin's class: by its distance, as compilers would shift to and fro. */
static inline struct stack *stack_of_bin(struct thread *t, const struct tcache_bin *bin)
{
	return (struct stack *)((char *)t->full + 2 * ((uintptr_t)bin - (uintptr_t)t->bins));
}

/* Where the first block of a full list leads to the next list. */
static inline struct block **stack_link(const struct stack *st, struct block *first)
{
	return (struct block **)((char *)first + st->link);
}

/* As tcache_pop(), for a bin that is empty: from the thread's last full list. */
static inline struct block *tcache_pop_list(struct tcache_bin *bin)
{
	struct thread *t = tcache_self();
	struct stack *st = stack_of_bin(t, bin);
	struct block *b = st->lists;

	if (unlikely(!b))
		return NULL;
	st->lists = *stack_link(st, b);
	if (--st->nr < st->low)
		st->low = st->nr;
	bin->head = b->next;
	bin->room = 1;
	b->key = 0;
	return b;
}

/*
 * Files the full list of a bin and starts a new one; false: tcache_spill(). A
 * bin without room that has no list has no budget either.
 */
static inline bool tcache_push_list(struct tcache_bin *bin, struct block *b)
{
	struct thread *t = tcache_self();
	struct stack *st = stack_of_bin(t, bin);
	struct block *first;

	if (unlikely(st->nr >= st->budget || !--t->tick))
		return false;
	first = bin->head;
	*stack_link(st, first) = st->lists;
	st->lists = first;
	st->nr++;
	b->key = pw_base;
	b->next = NULL;
	bin->head = b;
	bin->room = st->room - 1;
	return true;
}

/* A block from the fast bins, when the thread has no full list; NULL if there is none. */
struct block *tcache_refill(size_t c);

/* A block from an arena, and the tcache's bin filled. */
struct block *tcache_refill_arena(size_t c, bool *fresh);

/* The same without the tcache: in slow mode, and for threads that have none. */
struct block *tcache_take_one(size_t c, bool *fresh);

/* The full list of a bin goes elsewhere, a new one starts with @b. */
void tcache_spill(struct block *b, size_t c);

/* Sorts everything the calling thread has cached back into spans. */
void tcache_drain(void);

/*
 * Notes that realloc() makes @p larger, and that it is at @q now. Says whether
 * it did that before.
 */
bool tcache_grows(void *p);
void tcache_grown(void *q);

/* Sees to it that the end of threads is noticed, the calling one's too. When libc is up. */
void tcache_start(void);

/* The calling thread, or NULL when it is exiting or there is no memory. */
struct thread *tcache_thread(void);

/* The same for a call of free(); NULL for the first few of a thread that called nothing else. */
struct thread *tcache_thread_that_frees(void);

/*
 * Is @b in one of the lists that threads have? What others take and free meanwhile may be
 * missed.
 */
bool tcaches_have(struct block *b, size_t c);

/* Are there enough cached blocks that sorting them back may save @a, locked, a growth? */
bool tcache_worth_sorting(struct thread *t, struct arena *a);

/* Bytes that all threads have cached; approximate. */
size_t tcaches_bytes(void);

/* In the child of a fork(): only the calling thread is left. */
void tcache_fork_child(void);

#endif /* PW_TCACHE_H */
