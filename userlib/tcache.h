/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * tcache.h - the thread's own bins
 *
 * The hit paths are inline: no lock, no atomic operation, no call. All zeroes
 * is a valid tcache that misses, so nothing asks whether it was set up.
 */
#ifndef PW_TCACHE_H
#define PW_TCACHE_H

#include "arena.h"
#include "class.h"
#include "heap.h"

/**
 * struct bin - a list of free blocks of one class
 * @head: the first
 * @room: how many more may be added until it is full
 */
struct bin {
	struct block *head;
	int32_t room;
	uint32_t pad;
};

_Static_assert(sizeof(struct bin) == OFF_STEP, "a class's offset is its bin's");

/**
 * struct stack - a thread's full lists of one class
 * @lists: first block of the last one in, NULL for none
 * @size: bytes of all blocks of a full list
 * @room: blocks of a full list; 0: the class was never used here
 * @nr: how many lists
 * @budget: how many there may be
 * @low: the least there were since unused ones were last given back
 * @flushed: how many had to go since the last refill
 * @taken: how many were taken from an arena and not sorted back into it
 */
struct stack {
	struct block *lists;
	uint32_t size;
	uint16_t room;
	uint16_t nr;
	uint16_t budget;
	uint16_t low;
	uint32_t flushed;
	uint32_t taken;
	uint32_t pad;
};

struct tcache;

#define NR_GROWN	8

/**
 * struct thread - what a thread needs on the slow paths
 * @full: full lists
 * @used: classes that ever had a list here
 * @bytes: of the lists that the budgets in @full allow
 * @tick: counts down to the next look at the clock
 * @swept: when unused lists were last given back, milliseconds
 * @grown: blocks that realloc() made larger
 * @arena: where it allocates
 * @tcache: its bins
 * @next: in the list of all threads, or of unused ones
 * @prev: in the list of all threads
 */
struct thread {
	struct stack full[NR_CLASSES];
	uint64_t used[(NR_CLASSES + 63) / 64];
	size_t bytes;
	uint32_t tick;
	uint64_t swept;
	void *grown[NR_GROWN];
	struct arena *arena;
	struct tcache *tcache;
	struct thread *next;
	struct thread *prev;
};

/**
 * struct tcache - the thread-local part
 * @bins: by class; bin 0 is no class: it has no blocks and never room
 * @thread: NULL before the first miss
 * @gone: the thread is exiting and keeps no caches any more
 */
struct tcache {
	struct bin bins[NR_CLASSES];
	struct thread *thread;
	bool gone;
};

extern HIDDEN __thread struct tcache pw_tcache __attribute__((tls_model("initial-exec")));

extern struct lock pw_threads_lock;
extern struct thread *pw_threads;
extern uint32_t pw_nr_threads;

/*
 * Compilers add the thread pointer to an address before they use it. Through
 * its segment a bin costs an instruction less.
 */
#if defined(__x86_64__) && !defined(PW_TEST)
typedef struct bin __seg_fs bin_t;

static inline bin_t *bin_at(size_t off)
{
	__asm__("addq pw_tcache@gottpoff(%%rip), %0" : "+r"(off) : : "cc");
	return (bin_t *)off;
}

/* The way back: with it the hit paths need not keep the offset. */
static inline size_t bin_off(bin_t *bin)
{
	size_t off = (size_t)bin;

	__asm__("subq pw_tcache@gottpoff(%%rip), %0" : "+r"(off) : : "cc");
	return off;
}
#else
typedef struct bin bin_t;

static inline bin_t *bin_at(size_t off)
{
	return (struct bin *)((char *)pw_tcache.bins + off);
}

static inline size_t bin_off(bin_t *bin)
{
	return (size_t)((char *)bin - (char *)pw_tcache.bins);
}
#endif

/* A block of a bin, or NULL. */
static inline struct block *bin_pop(bin_t *bin)
{
	struct block *b = bin->head;

	if (unlikely(!b))
		return NULL;
	bin->head = b->next;
	bin->room++;
	b->key = 0;
	return b;
}

/* A block of the class, or NULL. */
static inline struct block *tcache_pop(size_t off)
{
	return bin_pop(bin_at(off));
}

_Static_assert(sizeof(struct stack) == 2 * OFF_STEP, "so is twice that its stack's");

static inline struct stack *stack_at(struct thread *t, size_t off)
{
	return (struct stack *)((char *)t->full + 2 * off);
}

/* The same for a bin that is empty: from the thread's last full list. */
static inline struct block *tcache_pop_list(size_t off)
{
	struct thread *t = pw_tcache.thread;
	struct stack *st;
	struct block *b;
	bin_t *bin;

	if (unlikely(!t))
		return NULL;
	st = stack_at(t, off);
	b = st->lists;
	if (unlikely(!b))
		return NULL;
	st->lists = *list_link(b, off == OFF_STEP);
	if (--st->nr < st->low)
		st->low = st->nr;
	bin = bin_at(off);
	bin->head = b->next;
	bin->room = 1;
	b->key = 0;
	return b;
}

/* Files the full list of a bin and starts a new one; false: tcache_spill(). */
static inline bool tcache_push_list(struct block *b, size_t off)
{
	struct thread *t = pw_tcache.thread;
	bin_t *bin = bin_at(off);
	struct block *first = bin->head;
	struct stack *st;

	if (unlikely(!t || !first))
		return false;
	st = stack_at(t, off);
	if (unlikely(st->nr >= st->budget || !--t->tick))
		return false;
	*list_link(first, off == OFF_STEP) = st->lists;
	st->lists = first;
	st->nr++;
	b->key = pw_base;
	b->next = NULL;
	bin->head = b;
	bin->room = st->room - 1;
	return true;
}

/* Blocks from the thread's full lists or the fast bins; NULL if there are none. */
struct block *tcache_refill(size_t off);

/* A block from an arena, and the tcache's bin filled. */
struct block *tcache_refill_arena(size_t off, bool *fresh);

/* The full list of a bin goes elsewhere, a new one starts with @b. */
void tcache_spill(struct block *b, size_t off);

/* Sorts everything the calling thread has cached back into spans. */
void tcache_drain(void);

/*
 * Notes that realloc() makes @p larger, and that it is at @q now. Says whether
 * it did that before.
 */
bool tcache_grows(void *p);
void tcache_grown(void *q);

/* The calling thread's arena. */
struct arena **tcache_arena(void);

/* Is @b in one of the calling thread's lists? */
bool tcache_has(struct block *b, size_t off);

/* Bytes that all threads have cached; approximate. */
size_t tcaches_bytes(void);

/* In the child of a fork(): only the calling thread is left. */
void tcache_fork_child(void);

#endif /* PW_TCACHE_H */
