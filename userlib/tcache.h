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

struct tcache;

#define NR_GROWN	8

/**
 * struct thread - what a thread needs on the slow paths
 * @full: full lists
 * @used: classes that ever had a list here
 * @bytes: of the lists that the budgets in @full allow, of small and large blocks
 * @spilled: KiB of all lists that had to go
 * @tick: counts down to the next look at the clock
 * @swept: when unused lists were last given back, milliseconds
 * @grown: blocks that realloc() made larger
 * @hard: its caches in hardened mode, NULL before the first call
 * @trace_id: its number in the trace, from 1
 * @trace_quiet: it is inside a call that is recorded as a whole
 * @arena: where it allocates
 * @tcache: its bins
 * @next: in the list of all threads, or of unused ones
 * @prev: in the list of all threads
 */
struct thread {
	struct stack full[NR_CLASSES];
	uint64_t used[(NR_CLASSES + 63) / 64];
	size_t bytes[2];
	uint32_t spilled;
	uint32_t tick;
	uint64_t swept;
	void *grown[NR_GROWN];
	struct hard *hard;
	uint16_t trace_id;
	bool trace_quiet;
	struct arena *arena;
	struct tcache *tcache;
	struct thread *next;
	struct thread *prev;
};

/**
 * struct tcache - the thread-local part: a bin for each class
 * @heads: first of the bin's list of free blocks
 * @rooms: how many more may be added until it is full
 * @gone: the thread is exiting and keeps no caches any more
 * @thread: NULL before the first miss
 *
 * Bin 0 is no class: it has no blocks and never room. All of it has to fit into
 * what libc sets aside for libraries that are loaded later, about 1.6 KiB.
 */
struct tcache {
	struct block *heads[NR_CLASSES];
	struct thread *thread;
	int16_t rooms[NR_CLASSES];
	bool gone;
};

_Static_assert(sizeof(struct tcache) <= 1640, "to be loaded by dlopen()");

extern HIDDEN __thread struct tcache pw_tcache __attribute__((tls_model("initial-exec")));

extern struct lock pw_threads_lock;
extern struct thread *pw_threads;
extern uint32_t pw_nr_threads;

/*
 * Compilers add the thread pointer to an address before they use it. Through
 * its segment a bin costs an instruction less.
 */
#if defined(__x86_64__) && !defined(PW_TEST)
typedef struct block *__seg_fs head_t;
typedef int16_t __seg_fs room_t;
typedef struct thread *__seg_fs thread_t;

static inline uintptr_t tcache_base(void)
{
	uintptr_t base;

	__asm__("movq pw_tcache@gottpoff(%%rip), %0" : "=r"(base));
	return base;
}

/* Counts one down; true if there was none. Compilers make two instructions of it. */
static inline bool take_room(uintptr_t base, size_t c)
{
	bool none;

	__asm__ volatile("subw $1, %%fs:%c3(%1,%2,2)" : "=@ccs"(none)
			 : "r"(base), "r"(c), "i"(offsetof(struct tcache, rooms)) : "memory");
	return none;
}
#else
typedef struct block *head_t;
typedef int16_t room_t;
typedef struct thread *thread_t;

static inline uintptr_t tcache_base(void)
{
	return (uintptr_t)&pw_tcache;
}

static inline bool take_room(uintptr_t base, size_t c)
{
	return --((struct tcache *)base)->rooms[c] < 0;
}
#endif

/*
 * Keeps a value in a register of its own. The head of a bin needs its address in
 * one: with an index in the address, what one call stores reaches the load of the
 * next one late, and a pair of calls takes half as long again (Golden Cove).
 */
#define KEEP(x)	__asm__("" : "+r"(x))

/* And away from that of the result, which would take a move more. */
#ifdef __x86_64__
#define KEEP_AWAY(x)	__asm__("" : "+c"(x))
#else
#define KEEP_AWAY(x)	KEEP(x)
#endif

static inline head_t *head_at(uintptr_t base, size_t c)
{
	return (head_t *)(base + offsetof(struct tcache, heads)) + c;
}

static inline room_t *room_at(uintptr_t base, size_t c)
{
	return (room_t *)(base + offsetof(struct tcache, rooms)) + c;
}

/* The calling thread, NULL before its first miss. */
static inline struct thread *thread_at(uintptr_t base)
{
	return *(thread_t *)(base + offsetof(struct tcache, thread));
}

static inline void set_bin(size_t c, struct block *head, int room)
{
	uintptr_t base = tcache_base();

	*head_at(base, c) = head;
	*room_at(base, c) = (int16_t)room;
}

/* A block of class @c + @add, or NULL; the caller clears its key. */
static inline struct block *bin_unlink(size_t c, size_t add)
{
	uintptr_t base = tcache_base();
	head_t *head = head_at(base, c) + add;
	struct block *b;

	KEEP_AWAY(head);
	b = *head;
	if (unlikely(!b))
		return NULL;
	*head = b->next;
	room_at(base, c)[add]++;
	return b;
}

static inline struct block *bin_pop(size_t c, size_t add)
{
	struct block *b = bin_unlink(c, add);

	if (likely(b))
		b->key = 0;
	return b;
}

/* A block of the class, or NULL. */
static inline struct block *tcache_pop(size_t c)
{
	return bin_pop(c, 0);
}

/* Where the first block of a full list leads to the next list. */
static inline struct block **stack_link(const struct stack *st, struct block *first)
{
	return (struct block **)((char *)first + st->link);
}

/* The same for a bin that is empty: from the thread's last full list. */
static inline struct block *tcache_pop_list(size_t c)
{
	uintptr_t base = tcache_base();
	struct thread *t = thread_at(base);
	struct stack *st;
	struct block *b;

	if (unlikely(!t))
		return NULL;
	st = &t->full[c];
	b = st->lists;
	if (unlikely(!b))
		return NULL;
	st->lists = *stack_link(st, b);
	if (--st->nr < st->low)
		st->low = st->nr;
	*head_at(base, c) = b->next;
	*room_at(base, c) = 1;
	b->key = 0;
	return b;
}

/*
 * Files the full list of a bin and starts a new one; false: tcache_spill(). A
 * bin without room that has no list has no budget either.
 */
static inline bool tcache_push_list(struct block *b, size_t c)
{
	uintptr_t base = tcache_base();
	struct thread *t = thread_at(base);
	struct block *first;
	struct stack *st;

	if (unlikely(!t))
		return false;
	st = &t->full[c];
	if (unlikely(st->nr >= st->budget || !--t->tick))
		return false;
	first = *head_at(base, c);
	*stack_link(st, first) = st->lists;
	st->lists = first;
	st->nr++;
	b->key = pw_base;
	b->next = NULL;
	*head_at(base, c) = b;
	*room_at(base, c) = (int16_t)(st->room - 1);
	return true;
}

/* A block from the fast bins, when the thread has no full list; NULL if there is none. */
struct block *tcache_refill(size_t c);

/* A block from an arena, and the tcache's bin filled. */
struct block *tcache_refill_arena(size_t c, bool *fresh);

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

/* Sees to it that the end of threads is noticed. When libc is up. */
void tcache_start(void);

/* The calling thread, or NULL when it is exiting or there is no memory. */
struct thread *tcache_thread(void);

/* The calling thread's arena. */
struct arena **tcache_arena(void);

/* Is @b in one of the calling thread's lists? */
bool tcache_has(struct block *b, size_t c);

/* Are there enough cached blocks that sorting them back may save @a, locked, a growth? */
bool tcache_worth_sorting(struct thread *t, struct arena *a);

/* Bytes that all threads have cached; approximate. */
size_t tcaches_bytes(void);

/* In the child of a fork(): only the calling thread is left. */
void tcache_fork_child(void);

#endif /* PW_TCACHE_H */
