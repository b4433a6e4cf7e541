// SPDX-License-Identifier: GPL-2.0-only
/*
 * tcache.c - the slow half of the thread caches; threads that come and go
 */
#include <pthread.h>

#include "decay.h"
#include "env.h"
#include "fastbin.h"
#include "fork.h"
#include "harden.h"
#include "meta.h"
#include "probe.h"
#include "sys.h"
#include "tcache.h"

/*
 * What all full lists of a thread may hold, of small and of large blocks. Small
 * ones, a part of what the thread's arena has out if that is more.
 */
#define SMALL_BYTES	(2 * MIB)
#define SMALL_SHIFT_OUT	6
#define LARGE_BYTES	(32 * MIB)

/*
 * And no more than their share of this, where there are many threads. Bins of large blocks
 * have a share of as much again.
 */
#define ALL_SMALL_BYTES	(64 * MIB)
#define ALL_LARGE_BYTES	(128 * MIB)

/*
 * Under a limit, what a thread keeps that does nothing any more is lost for the others:
 * bins and full lists of all threads may hold an eighth of it, those of one thread its
 * share of a sixteenth.
 */
#define ALL_KEPT_SHIFT	3
#define KEPT_SHIFT	4

/*
 * And of small blocks in one class. Lists keep the order in which blocks were
 * freed; many of them hand out memory in an order that no cache likes, while
 * what is sorted back into spans comes out of them by address.
 */
#define STACK_BLOCKS	1280
#define LIST_LARGE	(64 * KIB)

/* What went when so many KiB followed is not missed. */
#define LONG_AGO	2048

/* So many full lists that go in a row are not sorted back at once. */
#define FLUSH_FEW	4

/* From this size on, what a block takes in page faults is more than its list saves. */
#define LARGE_BLOCK	(36 * KIB)

/* Blocks that a thread takes of a class first, and twice as many each time from then on. */
#define FIRST_BLOCKS	8U
#define FIRST_TIMES	3U

/* Lists that were not needed for so long are given back, if frees go on. */
#define SWEEP_TICKS	256
#define SWEEP_MS	500

/* Cached lists are worth sorting back when they hold this part of an arena. */
#define WORTH_SHIFT	4
#define WORTH_SMALL_SHIFT	3
#define WORTH_LEAST	(128 * KIB)
#ifdef PW_TEST
#define SORT_MAX	(512 * KIB)
#else
#define SORT_MAX	(8 * MIB)
#endif

/*
 * It takes less in a heap above that of which a good part is free, most of it in parts of
 * spans: a cached block may be what keeps a whole span from falling empty. They are looked
 * at whenever the heap has used so much more.
 */
#define HOLES_SHIFT	2
#define WORTH_HOLES_SHIFT	7
#define USED_STEP_SHIFT	6

struct thread pw_nobody;
__thread struct tcache_bin *pw_bins __attribute__((tls_model("initial-exec"))) = pw_nobody.bins;

/* It is exiting and keeps no caches any more. */
static __thread bool thread_gone __attribute__((tls_model("initial-exec")));

struct lock pw_threads_lock;
struct thread *pw_threads;
uint32_t pw_nr_threads;

static struct thread *free_threads;
static struct thread first_thread;
static bool first_taken;

/* What all threads may keep together, by the count that each has, under a limit. */
static size_t all_kept;

static pthread_key_t exit_key;
static bool exit_key_made;

static void thread_ends(void *arg);
static void thread_exit(struct thread *t);

static bool is_first(void)
{
	return sys(SYS_gettid) == sys(SYS_getpid);
}

static void make_exit_key(void)
{
	static struct lock key_lock;

	/* The lock is not one of those that fork() takes: hardly anybody gets so far. */
	if (likely(__atomic_load_n(&exit_key_made, __ATOMIC_ACQUIRE)))
		return;
	lock(&key_lock);
	if (!exit_key_made && !pthread_key_create(&exit_key, thread_ends))
		__atomic_store_n(&exit_key_made, true, __ATOMIC_RELEASE);
	unlock(&key_lock);
}

/* The first thread may be here before libc can do this; tcache_start() makes up for it. */
static bool watch_exit(struct thread *t)
{
	if (!READ_ONCE(exit_key_made) && is_first())
		return true;
	make_exit_key();
	return READ_ONCE(exit_key_made) && !pthread_setspecific(exit_key, t);
}

void tcache_start(void)
{
	struct thread *t = tcache_self();

	make_exit_key();
	if (tcache_attached(t))
		watch_exit(t);
}

static struct thread *thread_alloc(void)
{
	struct thread *t;

	lock(&pw_threads_lock);
	t = first_taken ? free_threads : &first_thread;
	if (t && first_taken)
		free_threads = t->next;
	first_taken = true;
	unlock(&pw_threads_lock);
	return t ? t : pw_meta_alloc(sizeof(*t));
}

static void thread_dispose(struct thread *t)
{
	lock(&pw_threads_lock);
	t->next = free_threads;
	free_threads = t;
	unlock(&pw_threads_lock);
}

static noinline struct thread *thread_attach(void)
{
	struct thread *t;

	if (thread_gone || !pw_heap_start())
		return NULL;
	t = thread_alloc();
	if (!t)
		return NULL;
	if (pw_env.harden && !harden_attach(t)) {
		thread_dispose(t);
		return NULL;
	}
	/* That of the thread before, where what it freed is. */
	if (!t->arena)
		t->arena = pw_arenas[0];
	t->tick = SWEEP_TICKS;
	t->prev = NULL;
	lock(&pw_threads_lock);
	t->next = pw_threads;
	if (t->next)
		t->next->prev = t;
	pw_threads = t;
	WRITE_ONCE(pw_nr_threads, pw_nr_threads + 1);
	unlock(&pw_threads_lock);
	pw_bins = t->bins;
	/* libc says so once it is up, which may be long before our constructor runs. */
	pw_fork_watch(single_threaded());
	/* Whose end we would not see keeps no caches: they end with its stack. */
	if (!watch_exit(t)) {
		thread_exit(t);
		return NULL;
	}
	return t;
}

struct thread *tcache_thread(void)
{
	struct thread *t = tcache_self();

	return likely(tcache_attached(t)) ? t : thread_attach();
}

/*
 * libc frees what belongs to a thread when that has ended as far as we are told: a few
 * frees do not make caches, which nobody would give back then.
 */
#define LONE_FREES	8

static __thread uint8_t lone_frees __attribute__((tls_model("initial-exec")));

struct thread *tcache_thread_that_frees(void)
{
	struct thread *t = tcache_self();

	if (likely(tcache_attached(t)))
		return t;
	if (lone_frees < LONE_FREES) {
		lone_frees++;
		return NULL;
	}
	return thread_attach();
}

static void thread_unlist(struct thread *t)
{
	lock(&pw_threads_lock);
	if (t->prev)
		t->prev->next = t->next;
	else
		pw_threads = t->next;
	if (t->next)
		t->next->prev = t->prev;
	WRITE_ONCE(pw_nr_threads, pw_nr_threads - 1);
	unlock(&pw_threads_lock);
	thread_dispose(t);
}

/* ---- lists in and out ---- */

static struct block *stack_pop(struct stack *st)
{
	struct block *first = st->lists;

	if (!first)
		return NULL;
	st->lists = *stack_link(st, first);
	st->nr--;
	st->low = MIN(st->low, st->nr);
	return first;
}

static size_t share(size_t all)
{
	return all / MAX(READ_ONCE(pw_nr_threads), 1U);
}

/*
 * A handler that interrupts us may fork(), and in the child all is what this thread has:
 * the thread's own count is never the lower one.
 */
static void keep_less(struct thread *t, size_t bytes)
{
	if (likely(pw_env.limit == SIZE_MAX))
		return;
	__atomic_fetch_sub(&all_kept, bytes, __ATOMIC_RELAXED);
	t->kept -= bytes;
}

/* May the thread keep so much more? It is counted, then. */
static bool may_keep(struct thread *t, size_t bytes)
{
	size_t all;

	if (likely(pw_env.limit == SIZE_MAX))
		return true;
	if (t->kept + bytes > share(pw_env.limit >> KEPT_SHIFT))
		return false;
	t->kept += bytes;
	all = __atomic_add_fetch(&all_kept, bytes, __ATOMIC_RELAXED);
	if (all <= pw_env.limit >> ALL_KEPT_SHIFT)
		return true;
	keep_less(t, bytes);
	return false;
}

/*
 * Bins of large blocks count without a limit, too: one block of each size is many megabytes,
 * which a thread that does nothing any more keeps.
 */
static bool may_keep_bin(struct thread *t, size_t size, size_t bytes)
{
	bool counts = size >= LARGE_BLOCK;

	if (counts && t->large_bins + bytes > share(ALL_LARGE_BYTES))
		return false;
	if (!may_keep(t, bytes))
		return false;
	t->large_bins += counts ? bytes : 0;
	return true;
}

static inline void set_bin(struct thread *t, size_t c, struct block *head, unsigned int room)
{
	t->bins[c] = (struct tcache_bin){ .head = head, .room = (int32_t)room };
}

/* Large sizes of which the thread has nothing any more leave their share to others. */
static bool leave_empty_bins(struct thread *t)
{
	unsigned int c = (unsigned int)big_class(LARGE_BLOCK);
	bool any = false;

	for (; c < NR_CLASSES; c++) {
		struct stack *st = &t->full[c];
		size_t bytes = st->size;

		if (!st->room || st->nr || st->budget || t->bins[c].head)
			continue;
		t->used[c / 64] &= ~(1UL << (c % 64));
		*st = (struct stack){ 0 };
		set_bin(t, c, NULL, 0);
		t->large_bins -= bytes;
		keep_less(t, bytes);
		any = true;
	}
	return any;
}

/* From now on the thread uses the class, if it may keep a list of it. */
static noinline struct stack *stack_start(struct thread *t, unsigned int c)
{
	unsigned int room = class_room(class_size(c));
	struct stack *st = &t->full[c];
	size_t size = class_size(c);

	if (!may_keep_bin(t, size, room * size) &&
	    !(size >= LARGE_BLOCK && leave_empty_bins(t) && may_keep_bin(t, size, room * size)))
		return NULL;
	st->room = (uint8_t)room;
	st->link = c == 1 ? sizeof(struct block *) : sizeof(struct block);
	st->size = (uint32_t)(room * class_size(c));
	/* What is a list too much by chance comes back here, not to other threads. */
	if (st->size < LIST_LARGE && may_keep(t, st->size)) {
		st->budget = 1;
		t->small_bytes += st->size;
	}
	t->used[c / 64] |= 1UL << (c % 64);
	return st;
}

/* The stack of a class, or NULL if the thread may keep none of it. */
static inline struct stack *stack_of(struct thread *t, unsigned int c)
{
	return likely(t->full[c].room) ? &t->full[c] : stack_start(t, c);
}

/* Empties a bin. Without room for more, its blocks were no full list. */
static struct block *bin_unload(struct thread *t, unsigned int c, unsigned int room,
				unsigned int *blocks)
{
	struct block *first = t->bins[c].head;

	*blocks = class_room(class_size(c)) - (unsigned int)t->bins[c].room;
	set_bin(t, c, NULL, room);
	return first;
}

/* Sorts back what a thread has of a class in full lists, and in its bin. */
static void drain_stack(struct thread *t, unsigned int c)
{
	struct block *first;

	while ((first = stack_pop(&t->full[c])))
		list_sort_back(first);
}

static void drain_class(struct thread *t, unsigned int c)
{
	unsigned int blocks;
	struct block *first = bin_unload(t, c, t->full[c].room, &blocks);

	if (first)
		list_sort_back(first);
	drain_stack(t, c);
}

static void drain_large(struct thread *t)
{
	unsigned int c = (unsigned int)big_class(LARGE_BLOCK);

	for (; c < NR_CLASSES; c++)
		if (t->full[c].room)
			drain_class(t, c);
}

/*
 * Programs go on to other sizes. What is kept in those they left comes back as
 * memory for these, and is likely to be in the caches still.
 */
static void reclaim_small(struct thread *t, const struct stack *keep)
{
	size_t kept = (size_t)keep->budget * keep->size;
	unsigned int c;

	for (c = 1; c < NR_CLASSES; c++) {
		struct stack *st = &t->full[c];

		if (!st->budget || st->size >= LIST_LARGE || st == keep)
			continue;
		drain_stack(t, c);
		st->budget = 0;
		st->low = 0;
	}
	keep_less(t, t->small_bytes - kept);
	t->small_bytes = kept;
}

static size_t small_limit(const struct thread *t)
{
	return MIN(MAX(SMALL_BYTES, READ_ONCE(t->arena->blocks_out) >> SMALL_SHIFT_OUT),
		   share(ALL_SMALL_BYTES));
}

static size_t large_limit(void)
{
	return MIN(LARGE_BYTES, share(ALL_LARGE_BYTES));
}

static size_t *bytes_of(struct thread *t, const struct stack *st)
{
	return st->size >= LIST_LARGE ? &t->large_bytes : &t->small_bytes;
}

/*
 * The budget follows what was missed: lists that had to go and were needed
 * again. Growing it where they go would make threads that only free hoard.
 * When much else went in between, no cache would have them any more, and the
 * memory serves what is freed and allocated now.
 */
static void grow_budget(struct thread *t, struct stack *st)
{
	bool is_large = st->size >= LIST_LARGE;
	size_t most = is_large ? UINT16_MAX : STACK_BLOCKS / st->room;
	size_t more = MIN((size_t)st->flushed, most - st->budget);
	size_t limit = is_large ? large_limit() : small_limit(t), left;
	size_t *bytes = bytes_of(t, st);

	st->flushed = 0;
	if (!is_large && t->spilled - st->flushed_at > LONG_AGO)
		return;
	if (!is_large && t->small_bytes + more * st->size > limit)
		reclaim_small(t, st);
	left = limit - MIN(limit, *bytes);
	more = MIN(more, left / st->size);
	while (more && !may_keep(t, more * st->size))
		more /= 2;
	st->budget = (uint16_t)(st->budget + more);
	*bytes += more * st->size;
}

/* Half of the lists that were never needed of late go to the fast bins. */
static void sweep_class(struct thread *t, unsigned int c)
{
	struct stack *st = &t->full[c];
	unsigned int unused = (st->low + 1U) / 2;
	unsigned int less = MIN(unused, (unsigned int)st->budget);
	size_t *bytes = bytes_of(t, st);
	struct block *first;

	st->budget = (uint16_t)(st->budget - less);
	*bytes -= (size_t)less * st->size;
	keep_less(t, (size_t)less * st->size);
	/* What is pushed may have everything of this thread's sorted back. */
	while (unused-- && (first = stack_pop(st)))
		fastbin_push(c, first, st->room);
	st->low = st->nr;
}

static void sweep(struct thread *t)
{
	uint64_t now = arena_now();
	unsigned int c;

	t->tick = SWEEP_TICKS;
	if (now - t->swept < SWEEP_MS)
		return;
	t->swept = now;
	for (c = 1; c < NR_CLASSES; c++)
		if (t->full[c].low)
			sweep_class(t, c);
}

struct block *tcache_refill(size_t c)
{
	struct thread *t = tcache_thread();
	struct block *b;
	struct stack *st;
	uintptr_t word;

	if (unlikely(!t))
		return NULL;
	/* What is mapped by itself next, and never cached, must not count as kept. */
	if (unlikely(!t->full[c].room && !READ_ONCE(pw_fastbins[c].lists)))
		return NULL;
	st = stack_of(t, c);
	if (unlikely(!st))
		return NULL;
	if (unlikely(st->flushed))
		grow_budget(t, st);
	word = fastbin_pop(c);
	if (!word)
		return NULL;
	b = list_first(word);
	set_bin(t, c, b->next, st->room - list_blocks(word) + 1);
	b->key = 0;
	return b;
}

/* Sorts back what a thread has of all classes that it used. */
static void drain_all(struct thread *t)
{
	unsigned int c;

	for (c = 1; c < NR_CLASSES; c++)
		if (t->full[c].room)
			drain_class(t, c);
}

__attribute__((no_sanitize("thread")))
static size_t stacks_bytes(const struct thread *t)
{
	size_t sum = 0;
	unsigned int c;

	for (c = 1; c < NR_CLASSES; c++)
		sum += (size_t)READ_ONCE(t->full[c].nr) * t->full[c].size;
	return sum;
}

__attribute__((no_sanitize("thread")))
static size_t bin_bytes(const struct tcache_bin *bin, unsigned int c)
{
	size_t size = class_size(c);
	int blocks = (int)class_room(size) - READ_ONCE(bin->room);

	return READ_ONCE(bin->head) && blocks > 0 ? (size_t)blocks * size : 0;
}

/* What a thread has cached, but for the first @few bytes of each bin. */
static size_t thread_bytes(const struct thread *t, size_t few)
{
	size_t sum = stacks_bytes(t);
	unsigned int c;

	for (c = 1; c < NR_CLASSES; c++) {
		size_t bytes = bin_bytes(&t->bins[c], c);

		sum += bytes - MIN(bytes, few);
	}
	return sum;
}

/*
 * It is tried once for each eighth that the arena grows by, as what is sorted back
 * is missed in the caches; and whenever they are a good part of a small arena.
 */
bool tcache_worth_sorting(struct thread *t, struct arena *a)
{
	size_t cached;

	/* Nor can there be much in a heap that has just begun. */
	if (a->size < WORTH_LEAST)
		return false;
	if (a->size < a->sorted_size + a->sorted_size / 8 && a->size > SORT_MAX)
		return false;
	a->sorted_size = a->size;
	/* A page of each size is what all programs have. */
	cached = thread_bytes(t, PAGE_SIZE) + READ_ONCE(pw_fastbin_bytes);
	if (a->size > SORT_MAX)
		return cached > a->size >> WORTH_SHIFT;
	return cached > MAX(a->size >> WORTH_SMALL_SHIFT, WORTH_LEAST);
}

/* Is a good part of a large heap free? */
static bool has_holes(const struct arena *a)
{
	size_t used;

	if (a->size <= SORT_MAX)
		return false;
	used = arena_used(a);
	return used - MIN(used, a->blocks_out) >= used >> HOLES_SHIFT;
}

/* Is it worth sorting them back before a page of the top is first used? */
static bool worth_sorting_for_pages(struct thread *t, struct arena *a)
{
	size_t used;

	if (!has_holes(a))
		return false;
	used = arena_used(a);
	/* It fell since, or grew by a step. */
	if (used - a->sorted_used < used >> USED_STEP_SHIFT)
		return false;
	a->sorted_used = used;
	return thread_bytes(t, 0) + READ_ONCE(pw_fastbin_bytes) > used >> WORTH_HOLES_SHIFT;
}

static struct arena *enter(struct thread *t, unsigned int c)
{
	struct arena *big = pw_arenas[BIG_ARENA];

	return arena_enter(class_size(c) >= BIG_SIZE ? &big : &t->arena);
}

/* Sorts all back that is cached, @a unlocked meanwhile; the thread's arena, locked. */
static struct arena *sort_all_back(struct thread *t, struct arena *a, unsigned int c)
{
	unlock(&a->lock);
	drain_all(t);
	fastbins_sort_back();
	return enter(t, c);
}

/*
 * Threads that moved off a contended arena leave what is freed there behind:
 * back to it before another one grows. Locked, or NULL if none is worth it.
 */
static struct arena *enter_roomy(struct thread *t)
{
	struct arena *a = arena_roomy(t->arena);

	if (a)
		t->arena = a;
	return a;
}

/* A large block in what small ones left, where no huge pages are. */
static bool take_left(struct thread *t, unsigned int c, struct batch *batch)
{
	struct arena *a = arena_enter(&t->arena);
	bool done = a->size < HUGE_FROM && bin_take(a, c, 1, USED_PAGES, batch);

	unlock(&a->lock);
	return done;
}

/* What is free or cached in place of pages that were never used, which it touches. */
static bool take_for_pages(struct thread *t, struct arena **a, unsigned int c,
			   unsigned int want, struct batch *batch)
{
	if (bin_take_larger(*a, c, want, HOLE_TIMES, batch))
		return true;
	if (!worth_sorting_for_pages(t, *a))
		return false;
	*a = sort_all_back(t, *a, c);
	return bin_take(*a, c, want, USED_PAGES, batch) ||
	       bin_take_larger(*a, c, want, HOLE_TIMES, batch);
}

struct wanted {
	unsigned int c;
	unsigned int blocks;
	enum source source;
	struct batch *batch;
};

static bool take_there(struct arena *a, void *arg)
{
	struct wanted *w = arg;

	return bin_take(a, w->c, w->blocks, w->source, w->batch);
}

/*
 * There is no more memory, but what other threads freed may be free in other arenas,
 * and the tops of these may be of use to all.
 */
static bool take_anywhere(struct wanted *w)
{
	if (arenas_try(take_there, w))
		return true;
	if (!arenas_squeeze(class_size(w->c), true))
		return false;
	w->source = NEW_PAGES;
	return arenas_try(take_there, w);
}

static bool take(struct thread *t, unsigned int c, unsigned int want, struct batch *batch)
{
	bool is_large = class_size(c) >= LARGE_BLOCK, fits_holes = class_size(c) < HOLE_MAX, done;
	struct arena *a, *roomy;

	if (class_size(c) >= BIG_SIZE && take_left(t, c, batch))
		return true;
	a = enter(t, c);
	/* Empty spans can become anything, so first what is of no other use. */
	done = fits_holes && !a->small[c].first && has_holes(a) &&
	       bin_take_larger(a, c, want, HOLE_TIMES_EARLY, batch);
	if (!done)
		done = bin_take(a, c, want, USED_PAGES, batch);
	if (!done && fits_holes)
		done = take_for_pages(t, &a, c, want, batch);
	if (!done && !is_large)
		done = bin_take(a, c, want, OWN_PAGES, batch);

	/* Pages that this thread keeps in another size are better than fresh ones. */
	if (!done && is_large) {
		unlock(&a->lock);
		drain_large(t);
		a = enter(t, c);
		done = bin_take(a, c, want, OWN_PAGES, batch);
	}
	if (!done && tcache_worth_sorting(t, a))
		a = sort_all_back(t, a, c);
	if (!done && !a->big) {
		roomy = enter_roomy(t);
		if (roomy) {
			unlock(&a->lock);
			a = roomy;
		}
	}
	if (!done)
		done = bin_take(a, c, want, NEW_PAGES, batch);
	unlock(&a->lock);
	return done || take_anywhere(&(struct wanted){ c, want, OWN_PAGES, batch });
}

struct block *tcache_take_one(size_t c, bool *fresh)
{
	struct batch batch;
	struct wanted wanted = { (unsigned int)c, 1, OWN_PAGES, &batch };
	struct arena *a, *first;
	struct thread *t;
	bool done;

	if (!pw_heap_start())
		return NULL;
	t = tcache_thread();
	first = pw_arenas[0];
	a = arena_enter(t ? &t->arena : &first);
	done = bin_take(a, wanted.c, 1, NEW_PAGES, &batch);
	unlock(&a->lock);
	if (!done && !take_anywhere(&wanted))
		return NULL;
	*fresh = batch.fresh;
	batch.first->key = 0;
	return batch.first;
}

/*
 * A thread may want but one block of a class. What it takes at first leaves the rest
 * of a page to others.
 */
static inline unsigned int first_few(const struct stack *st)
{
	if (likely(st->flushed_at || st->taken >= FIRST_TIMES))
		return st->room;
	return MIN((unsigned int)st->room, FIRST_BLOCKS << st->taken);
}

struct block *tcache_refill_arena(size_t c, bool *fresh)
{
	struct thread *t = tcache_thread();
	struct batch batch;
	struct stack *st;

	if (unlikely(!t))
		return tcache_take_one(c, fresh);
	st = stack_of(t, c);
	if (!take(t, c, likely(st) ? first_few(st) : 1, &batch))
		return NULL;
	probe(refill, class_size(c), batch.nr_rest + 1);
	if (likely(st)) {
		st->taken++;
		set_bin(t, c, batch.rest, st->room - batch.nr_rest);
	}
	*fresh = batch.fresh;
	batch.first->key = 0;
	return batch.first;
}

/* This is no swing but the end of a phase: what went first goes, too. */
static void sort_back_few(unsigned int c)
{
	unsigned int i;
	uintptr_t word;

	for (i = 0; i < FLUSH_FEW && (word = fastbin_pop(c)); i++)
		list_sort_back(list_first(word));
}

void tcache_spill(struct block *b, size_t c)
{
	struct block *first;
	struct thread *t;
	struct stack *st;

	/* It was counted down for a block that does not come to be there. */
	if (unlikely(!tcache_attached(tcache_self())))
		WRITE_ONCE(pw_nobody.bins[c].room, 0);
	t = tcache_thread_that_frees();
	st = t ? stack_of(t, c) : NULL;
	b->next = NULL;
	b->key = pw_base;
	if (unlikely(!st)) {
		if (t)
			set_bin(t, c, NULL, 0);
		if (list_sort_back(b))
			arenas_return();
		return;
	}
	/* If that was all, the list stays here: others' blocks are between its own. */
	if (!t->tick)
		sweep(t);
	first = t->bins[c].head;
	if (first && tcache_push_list(&t->bins[c], b))
		return;
	set_bin(t, c, b, st->room - 1U);
	if (first) {
		st->flushed++;
		t->spilled += st->size / KIB;
		st->flushed_at = t->spilled;
		probe(spill, class_size(c), st->room);
		/*
		 * The first few are likely to be wanted again soon, and what came
		 * from other threads, by others.
		 */
		if (st->taken && st->flushed > FLUSH_FEW) {
			if (st->flushed == FLUSH_FEW + 1)
				sort_back_few(c);
			st->taken--;
			if (list_sort_back(first))
				arenas_return();
		} else {
			fastbin_push(c, first, st->room);
		}
	}
}

/*
 * Their threads run on meanwhile: what is followed may by now be what a program wrote
 * there. It ends where that leads out of the blocks of classes.
 */
__attribute__((no_sanitize("thread")))
static struct block *follow(struct block *const *link)
{
	uintptr_t next = (uintptr_t)READ_ONCE(*link);

	return !(next % MIN_ALIGN) && in_window(next) && READ_ONCE(*map_entry(granule_of(next))) ?
	       (struct block *)next : NULL;
}

static bool list_has(struct block *first, struct block *b, unsigned int most)
{
	struct block *p;

	for (p = first; p && most; p = follow(&p->next), most--)
		if (p == b)
			return true;
	return false;
}

__attribute__((no_sanitize("thread")))
static bool thread_has(const struct thread *t, struct block *b, size_t c)
{
	const struct stack *st = &t->full[c];
	unsigned int lists = READ_ONCE(st->nr);
	struct block *first = follow(&st->lists);

	if (list_has(follow(&t->bins[c].head), b, st->room))
		return true;
	for (; first && lists; first = follow(stack_link(st, first)), lists--)
		if (list_has(first, b, st->room))
			return true;
	return false;
}

bool tcaches_have(struct block *b, size_t c)
{
	bool found = false;
	struct thread *t;

	lock(&pw_threads_lock);
	for (t = pw_threads; t && !found; t = t->next)
		/* Once may be a pointer of the program's. */
		found = thread_has(t, b, c) && thread_has(t, b, c);
	unlock(&pw_threads_lock);
	return found;
}

/* ---- blocks that grow ---- */

static void **grown_slot(struct thread *t, void *p)
{
	return &t->grown[((uintptr_t)p >> 4 ^ (uintptr_t)p >> 10) % NR_GROWN];
}

bool tcache_grows(void *p)
{
	return *grown_slot(tcache_self(), p) == p;
}

void tcache_grown(void *q)
{
	struct thread *t = tcache_self();

	if (tcache_attached(t))
		*grown_slot(t, q) = q;
}

/* ---- the end of a thread ---- */

static void give_class_back(struct thread *t, unsigned int c)
{
	struct stack st = t->full[c];
	unsigned int blocks;
	struct block *first = bin_unload(t, c, 0, &blocks);

	/* First: what is pushed may have everything of this thread's sorted back. */
	t->full[c] = (struct stack){ .lists = NULL };
	if (first)
		fastbin_push(c, first, blocks);
	while ((first = stack_pop(&st)))
		fastbin_push(c, first, st.room);
}

static void thread_exit(struct thread *t)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(t->used); i++) {
		while (t->used[i]) {
			unsigned int bit = (unsigned int)__builtin_ctzl(t->used[i]);

			t->used[i] &= t->used[i] - 1;
			give_class_back(t, i * 64 + bit);
		}
	}
	if (t->hard)
		harden_leave(t);
	/* What libc still frees for this thread goes straight to its span. */
	t->small_bytes = 0;
	t->large_bytes = 0;
	t->large_bins = 0;
	keep_less(t, t->kept);
	t->ending = false;
	thread_gone = true;
	pw_bins = pw_nobody.bins;
	thread_unlist(t);
}

/*
 * Our key is among the first: destructors of others, which may free all that the thread
 * has, come later. They find its caches if we ask to be called once more.
 */
static void thread_ends(void *arg)
{
	struct thread *t = arg;

	if (t->ending || pthread_setspecific(exit_key, t))
		thread_exit(t);
	else
		t->ending = true;
}

void tcache_drain(void)
{
	struct thread *t = tcache_self();
	unsigned int c;

	if (!tcache_attached(t))
		return;
	if (t->hard)
		harden_drain(t);
	for (c = 1; c < NR_CLASSES; c++)
		drain_class(t, c);
}

size_t tcaches_bytes(void)
{
	struct thread *t;
	size_t sum = 0;

	lock(&pw_threads_lock);
	for (t = pw_threads; t; t = t->next)
		sum += t->hard ? harden_bytes(t->hard) : thread_bytes(t, 0);
	unlock(&pw_threads_lock);
	return sum;
}

void tcache_fork_child(void)
{
	struct thread *self = tcache_self();
	bool attached = tcache_attached(self);

	pw_threads = attached ? self : NULL;
	pw_nr_threads = attached;
	all_kept = attached ? self->kept : 0;
	if (attached) {
		self->next = NULL;
		self->prev = NULL;
	}
}
