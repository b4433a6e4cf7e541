// SPDX-License-Identifier: GPL-2.0-only
/*
 * malloc.c - the entry points of the C interface
 */
#include <errno.h>
#include <string.h>

#include "decay.h"
#include "entry.h"
#include "env.h"
#include "fastbin.h"
#include "guarded.h"
#include "harden.h"
#include "large.h"
#include "probe.h"
#include "report.h"
#include "tcache.h"
#include "tracer.h"
#include "tune.h"

size_t pw_refused;

cold_path void *pw_no_memory(void)
{
	probe(no_memory);
	__atomic_fetch_add(&pw_refused, 1, __ATOMIC_RELAXED);
	errno = ENOMEM;
	return NULL;
}

/* What could not be had was not needed. */
static cold_path void not_refused(int saved_errno)
{
	__atomic_fetch_sub(&pw_refused, 1, __ATOMIC_RELAXED);
	errno = saved_errno;
}

/* ---- slow paths ---- */

static void *class_alloc(size_t size, size_t c, bool *zeroed)
{
	void *p;

	p = unlikely(pw_heap.slow) ? NULL : tcache_refill(c);
	if (likely(p))
		return p;
	if (size >= READ_ONCE(pw_tune.mmap_threshold)) {
		p = pw_heap_start() ? large_alloc(size, MIN_ALIGN, zeroed) : NULL;
		if (p)
			return p;
	}
	return unlikely(pw_heap.slow) ? tcache_take_one(c, zeroed) :
	       tcache_refill_arena(c, zeroed);
}

static void *alloc_slow(size_t size, size_t c, bool *zeroed)
{
	void *p;

	*zeroed = false;
	if (unlikely(size > PTRDIFF_MAX))
		return pw_no_memory();
	/* A block of no bytes is one of the smallest class. */
	if (unlikely(!size)) {
		c = 1;
		p = tcache_pop(c);
		if (p)
			return p;
	}
	p = c ? class_alloc(size, c, zeroed) : big_alloc(size, MIN_ALIGN, zeroed);
	if (unlikely(pw_heap.slow) && p && perturb_fill(p, size))
		*zeroed = false;
	return likely(p) ? p : pw_no_memory();
}

/* What is mapped by itself has a guard page. If it cannot be, a class has canaries. */
static void *harden_alloc(size_t size, size_t align, bool *zeroed)
{
	void *p = NULL;

	*zeroed = false;
	if (size > PTRDIFF_MAX || align > PTRDIFF_MAX - size)
		return pw_no_memory();
	if (size >= READ_ONCE(pw_tune.mmap_threshold) && pw_heap_start())
		p = large_alloc(size, align, zeroed);
	if (p)
		return p;
	*zeroed = false;
	p = harden_take(size, size, align) ?: big_alloc(size, align, zeroed);
	return p ? p : pw_no_memory();
}

noinline void *pw_malloc_hard(size_t size)
{
	bool zeroed;
	void *p = harden_alloc(size, MIN_ALIGN, &zeroed);

	trace(TRACE_MALLOC, p, size, 0);
	return p;
}

/*
 * The first call of all may be that of a constructor that runs before ours: nobody has
 * read the variables yet.
 */
static bool is_hard(void)
{
	if (unlikely(!READ_ONCE(pw_heap.ready)))
		pw_heap_start();
	return unlikely(pw_env.harden);
}

static noinline void *malloc_any(size_t size, size_t c)
{
	bool zeroed;
	void *p;

	if (is_hard())
		return pw_malloc_hard(size);
	p = alloc_slow(size, c, &zeroed);
	trace(TRACE_MALLOC, p, size, 0);
	return p;
}

noinline void *pw_malloc_slow(size_t size, struct tcache_bin *bin)
{
	void *p;

	if (size - 1 < HOT_READ(pw_tune.hard_most))
		return size <= HARDEN_SMALL_MAX ? harden_small(size) : harden_malloc(size);
	p = tcache_pop_list(bin);
	return likely(p) ? p : malloc_any(size, (size_t)(bin - pw_bins));
}

/* Is @b in a list? It may be one of a smaller class. */
static bool is_listed(struct block *b, unsigned int c)
{
	size_t size = class_size(c);

	for (; c && class_size(c) * HOLE_TIMES >= size; c--)
		if (tcaches_have(b, c) || fastbin_has(c, b))
			return true;
	return false;
}

/* Is a block with the key of a free one really free? */
static bool is_free(struct block *b)
{
	struct span *s = span_of((uintptr_t)b);
	struct arena *a = span_arena(s);
	bool found;

	if (is_listed(b, s->class))
		return true;
	lock(&a->lock);
	found = bin_has(s, (uintptr_t)b);
	unlock(&a->lock);
	return found;
}

static noinline void check_not_free(struct block *b, const char *call)
{
	if (is_free(b))
		pw_heap_error(call, "double free of", b);
	/* Its span may have gone meanwhile, and blocks of another size be there. */
	if (!span_block_start(span_of((uintptr_t)b), (uintptr_t)b))
		pw_heap_error(call, "invalid pointer", b);
}

/* Blocks of heaps of the program's, and all blocks in slow mode. */
static void give(struct span *s, struct block *b, const char *call)
{
	struct arena *a = span_arena(s);
	enum give ret;

	lock(&a->lock);
	ret = bin_give(a, s, (uintptr_t)b);
	arena_freed(a);
	unlock(&a->lock);
	if (ret != GIVE_OK)
		pw_heap_error(call, ret == GIVE_TWICE ? "double free of" : "invalid pointer", b);
}

noinline void pw_free_any(void *p, const char *call)
{
	struct span *s;

	if (!p)
		return;
	trace(TRACE_FREE, p, 0, 0);
	if (!in_window((uintptr_t)p))
		pw_heap_error(call, "invalid pointer", p);
	s = span_of((uintptr_t)p);
	if (unlikely(pw_env.harden && pw_env.trace) && harden_give(p, call))
		return;
	if (s->state == SPAN_CLASS && unlikely(s->hard))
		pw_heap_error(call, span_block_start(s, (uintptr_t)p) ? "double free of" :
			      "invalid pointer", p);
	if (unlikely(pw_heap.slow))
		slow_freed(s, p, call);
	switch (s->state) {
	case SPAN_CLASS:
		if (!span_block_start(s, (uintptr_t)p))
			pw_heap_error(call, "invalid pointer", p);
		give(s, p, call);
		break;
	case SPAN_RUN:
	case SPAN_LARGE:
		big_free(s, call, p);
		break;
	default:
		pw_heap_error(call, "invalid pointer", p);
	}
}

/* Out of the window, misaligned, NULL; or everything, in slow mode. */
noinline void pw_free_slow(void *p, uintptr_t d)
{
	if (likely(d < HOT_READ(pw_hard_limit)))
		harden_free(p, d);
	else
		pw_free_any(p, "free()");
}

noinline void pw_free_hard(void *p)
{
	if (!harden_give(p, "free()"))
		pw_free_any(p, "free()");
}

static noinline void free_unusual(void *p, size_t c)
{
	if (!c) {
		pw_free_any(p, "free()");
		return;
	}
	check_not_free(p, "free()");
	tcache_spill(p, c);
}

/* The bin has no room, or is bin 0: not a block of a class. */
noinline void pw_free_full(void *p, struct tcache_bin *bin)
{
	if (unlikely(bin == pw_bins || ((struct block *)p)->key == pw_base)) {
		WRITE_ONCE(bin->room, 0);
		free_unusual(p, (size_t)(bin - pw_bins));
		return;
	}
	if (unlikely(!tcache_push_list(bin, p)))
		tcache_spill(p, (size_t)(bin - pw_bins));
}

/* The key of a free block; the bin's room has been counted down for it. */
noinline void pw_free_twice(void *p, struct tcache_bin *bin)
{
	struct block *b = p;

	check_not_free(b, "free()");
	b->next = bin->head;
	bin->head = b;
}

/* ---- size of a block ---- */

/* The span of a block of the program's, or an error. */
static struct span *block_span(void *p, const char *call)
{
	struct span *s;

	if (!in_window((uintptr_t)p))
		pw_heap_error(call, "invalid pointer", p);
	s = span_of((uintptr_t)p);
	if (s->state != SPAN_CLASS && s->state != SPAN_RUN && s->state != SPAN_LARGE)
		pw_heap_error(call, "invalid pointer", p);
	return s;
}

static size_t usable(struct span *s, void *p, const char *call)
{
	if (s->state == SPAN_LARGE && (s->flags & SPAN_GUARDED)) {
		if (!big_block_start(s, (uintptr_t)p))
			pw_heap_error(call, "invalid pointer", p);
		return guarded_size(s, call);
	}
	if (s->state != SPAN_CLASS)
		return big_usable(s, (uintptr_t)p);
	return s->hard ? harden_size(s, p, call) : s->block_size;
}

PUBLIC size_t NAME(malloc_usable_size)(void *p)
{
	return p ? usable(block_span(p, "malloc_usable_size()"), p, "malloc_usable_size()") : 0;
}

/* ---- malloc, free, calloc ---- */

PUBLIC void *NAME(malloc)(size_t size)
{
	return fast_malloc(size);
}

PUBLIC void NAME(free)(void *p)
{
	fast_free(p);
}

/*
 * Class sizes are multiples of 16, and blocks aligned to it. Programs that mix
 * small sizes would have each test of a size guessed wrong: stores that meet do
 * without most of them.
 */
static inline void zero_block(void *p, size_t size)
{
	typedef long pair __attribute__((vector_size(16), may_alias));
	const pair zero = { 0 };
	pair *first = p, *last = (pair *)((char *)p + size) - 1;
	size_t half = size / (2 * sizeof(pair));

	if (unlikely(size > 128)) {
		memset(p, 0, size);
		return;
	}
	first[0] = zero;
	last[0] = zero;
	first[half] = zero;
	last[-(ptrdiff_t)half] = zero;
	if (size <= 64)
		return;
	first[1] = zero;
	first[2] = zero;
	last[-1] = zero;
	last[-2] = zero;
}

static noinline void *calloc_hard(size_t size)
{
	void *p = size <= HARDEN_SMALL_MAX ? harden_small(size) : harden_malloc(size);

	return likely(p) ? memset(p, 0, size) : NULL;
}

static noinline void *calloc_slow(size_t size, struct tcache_bin *bin)
{
	bool zeroed = false;
	void *p;

	if (size - 1 < HOT_READ(pw_tune.hard_most))
		return calloc_hard(size);
	p = tcache_pop_list(bin);
	if (!p)
		p = is_hard() ? harden_alloc(size, MIN_ALIGN, &zeroed) :
		    alloc_slow(size, (size_t)(bin - pw_bins), &zeroed);
	trace(TRACE_CALLOC, p, size, 0);
	if (p && !zeroed)
		memset(p, 0, size);
	return p;
}

static noinline void *calloc_big(size_t size)
{
	size_t c = size <= CLASS_MAX ? big_class(size) : 0;
	struct block *b = c ? tcache_pop(c) : NULL;

	return b ? memset(b, 0, size) : calloc_slow(size, pw_bins + c);
}

PUBLIC void *NAME(calloc)(size_t n, size_t each)
{
	struct tcache_bin *bin;
	struct block *b;
	size_t size;

	if (unlikely(__builtin_mul_overflow(n, each, &size)))
		return pw_no_memory();
	/* As in fast_malloc(). */
#ifdef PW_HARDEN
	if (likely(size - 1 < HOT_READ(pw_tune.hard_most)))
		return calloc_hard(size);
#endif
	if (unlikely(size > SMALL_MAX))
		return calloc_big(size);
	bin = bin_at(small_class(size) * MAP_UNIT);
	b = bin_unlink(bin);
	if (unlikely(!b))
		return calloc_slow(size, bin);
	zero_block(b, ALIGN_UP(size, MIN_ALIGN));
	return b;
}

/* ---- realloc ---- */

#define DOUBLE_MAX	(64 * KIB)

/*
 * A block that grows a little is likely to grow again: an eighth more, which
 * is the next class. One that did it before is made twice as large, so that
 * growing by small steps copies each byte about once.
 */
static size_t with_slack(void *p, size_t old, size_t size)
{
	if (size <= old || size - old > old / 4 || size > CLASS_MAX / 2)
		return size;
	if (!tcache_grows(p))
		return size + size / 8;
	return old <= DOUBLE_MAX ? 2 * old : size + size / 4;
}

/* Spans of blocks from this size on have a single one. */
#define EXTEND_MIN	(128 * KIB)

#define OWN_COPY_MAX	(64 * KIB)

/* Whole blocks that lie in the caches: for these a call costs more. */
static void copy_block(void *to, const void *from, size_t size)
{
	typedef long pair __attribute__((vector_size(16), may_alias));
	const pair *f = from;
	pair *t = to;
	size_t i;

	if (size > OWN_COPY_MAX) {
		memcpy(to, from, size);
		return;
	}
	for (i = 0; i < size / sizeof(pair); i += 4) {
		pair a = f[i], b = f[i + 1], c = f[i + 2], d = f[i + 3];

		t[i] = a;
		t[i + 1] = b;
		t[i + 2] = c;
		t[i + 3] = d;
	}
}

/* Blocks up to here that grow are not mapped by themselves if glibc's rule is on. */
#define GROWN_MAX	MIB

/* A block that will soon be too small again: mapping it would not pay. */
static void *alloc_grown(size_t size)
{
	size_t c;
	bool zeroed;
	void *p;

	if (size < MMAP_THRESHOLD || size > GROWN_MAX || pw_heap.slow ||
	    !READ_ONCE(pw_tune.dynamic))
		return fast_malloc(size);
	c = big_class(size);
	p = tcache_pop(c);
	if (!p)
		p = tcache_pop_list(pw_bins + c);
	if (!p)
		p = tcache_refill(c);
	if (!p)
		p = tcache_refill_arena(c, &zeroed);
	return p ? p : pw_no_memory();
}

/* Hardened, a block says to the byte how long it is; the rest is room to grow. */
static void *alloc_room(size_t size, size_t room)
{
	struct span *s;
	void *p;

	if (likely(!pw_env.harden))
		return alloc_grown(room);
	if (room < READ_ONCE(pw_tune.mmap_threshold))
		return harden_take(size, room, MIN_ALIGN) ?: pw_no_memory();
	p = pw_malloc_hard(room);
	s = p ? span_of((uintptr_t)p) : NULL;
	if (s && s->hard)
		harden_resize(s, p, size);
	else if (s && (s->flags & SPAN_GUARDED))
		guarded_resize(s, size);
	return p;
}

static void *move_block(void *p, size_t old, size_t size, size_t ask)
{
	int saved = errno;
	void *q = ask > size ? alloc_room(size, ask) : alloc_grown(size);

	if (unlikely(!q) && ask > size) {
		not_refused(saved);
		q = fast_malloc(size);
	}
	if (unlikely(!q))
		return NULL;
	/* Both are whole multiples of 64 bytes from there on. */
	if (MIN(old, size) >= 256 && old < size && !(old % 64))
		copy_block(q, p, old);
	else
		memcpy(q, p, MIN(old, size));
	if (ask > size)
		tcache_grown(q);
	fast_free(p);
	return q;
}

/* Shrinking needs no memory: where there is none to move to, the block stays. */
static void *resize_by_moving(void *p, size_t old, size_t size, size_t ask)
{
	int saved = errno;
	void *q = move_block(p, old, size, ask);

	if (q || size > old)
		return q;
	not_refused(saved);
	return p;
}

/* What the search for a second block has set free may be enough to make this one longer. */
static void *move_or_resize(struct span *s, void *p, size_t old, size_t size)
{
	int saved = errno;
	void *q = resize_by_moving(p, old, size, size);

	if (q)
		return q;
	q = big_resize(s, size, true);
	if (q)
		not_refused(saved);
	return q;
}

/* Blocks of heaps of the program's do not leave them. */
static void *resize_private(void *p, size_t old, size_t size)
{
	return size <= old ? p : pw_no_memory();
}

/* A block that ends at its guard cannot grow there: what grows by little gets room. */
static void *resize_guarded(struct span *s, void *p, size_t size)
{
	size_t old = guarded_size(s, "realloc()"), ask = size;
	void *q;

	/* Less than half of it: another block will do. */
	if ((size > old || size > guarded_room(s) / 2) && guarded_resize(s, size))
		return p;
	if (size > old && size - old <= old / 4) {
		ask += size / 8;
		q = guarded_grow(s, size, ask);
		if (q)
			return q;
	}
	q = resize_by_moving(p, old, size, ask);
	if (q == p)
		guarded_resize(s, size);
	return q;
}

static noinline void *realloc_big(struct span *s, void *p, size_t size)
{
	size_t old = big_usable(s, (uintptr_t)p);
	void *q;

	if (!big_block_start(s, (uintptr_t)p))
		pw_heap_error("realloc()", "invalid pointer", p);
	if (unlikely(s->state == SPAN_LARGE && (s->flags & SPAN_GUARDED)))
		return resize_guarded(s, p, size);
	/* Less than half of it: a class will do, or another kind of block. */
	if (size > old / 2 || size > CLASS_MAX) {
		if (size <= old && size > old / 2 && old - size < GRANULE)
			return p;
		q = big_resize(s, size, false);
		if (q)
			return q;
	}
	if (s->state == SPAN_RUN && span_arena(s)->private)
		return resize_private(p, old, size);
	return move_or_resize(s, p, old, size);
}

static bool extend_in_place(void *p, size_t size)
{
	struct span *s = span_of((uintptr_t)p);
	struct arena *a = span_arena(s);
	bool done;

	lock(&a->lock);
	done = span_extend(a, s, (unsigned int)big_class(size));
	unlock(&a->lock);
	return done;
}

/* What is large enough to be mapped by itself, with a guard behind it, is not made here. */
static void *realloc_hard(struct span *s, void *p, size_t old, size_t size)
{
	size_t ask = with_slack(p, old, size);
	void *q;

	/* Less than half of it: another block will do. */
	if ((size > old || size >= s->block_size / 2) && harden_resize(s, p, size))
		return p;
	if (size > old && old >= EXTEND_MIN && ask <= HARDEN_MAX &&
	    ask < READ_ONCE(pw_tune.mmap_threshold) &&
	    extend_in_place(p, ask + CLASS_MAX - HARDEN_MAX) && harden_resize(s, p, size))
		return p;
	q = resize_by_moving(p, old, size, ask);
	if (q == p)
		harden_resize(s, p, size);
	return q;
}

static noinline void *realloc_any(void *p, size_t size)
{
	uintptr_t d = distance(p);
	struct span *s;
	size_t old;

	if (d < HOT_READ(pw_hard_limit) && harden_fit(p, d, size))
		return p;
	s = block_span(p, "realloc()");
	if (s->state != SPAN_CLASS)
		return realloc_big(s, p, size);
	if (!span_block_start(s, (uintptr_t)p) ||
	    (pw_heap.slow && !s->hard && slow_is_free(s, p)))
		pw_heap_error("realloc()", "invalid pointer", p);
	old = usable(s, p, "realloc()");
	if (s->hard)
		return realloc_hard(s, p, old, size);
	if (size <= old && size > old / 2)
		return p;
	if (span_arena(s)->private)
		return resize_private(p, old, size);
	return resize_by_moving(p, old, size, with_slack(p, old, size));
}

/* One call, in two records: another thread may have the address before we return. */
static cold_path void *realloc_traced(void *p, size_t size)
{
	void *q;

	trace(TRACE_REALLOC_FROM, p, 0, 0);
	trace_quiet();
	q = realloc_any(p, size);
	trace_loud();
	trace(TRACE_REALLOC_TO, q ? q : p, q ? size : 0, 0);
	return q;
}

static noinline void *realloc_move(void *p, size_t old, size_t size)
{
	struct span *s = span_of((uintptr_t)p);
	size_t ask = with_slack(p, old, size), index;

	if (unlikely(!span_divide(s, (uintptr_t)p - span_addr(s), &index)))
		pw_heap_error("realloc()", "invalid pointer", p);
	if (size > old && old >= EXTEND_MIN && ask <= CLASS_MAX && extend_in_place(p, ask))
		return p;
	return resize_by_moving(p, old, size, ask);
}

PUBLIC void *NAME(realloc)(void *p, size_t size)
{
	size_t c, old;

	if (unlikely(!p))
		return fast_malloc(size);
	if (unlikely(size - 1 >= PTRDIFF_MAX)) {
		if (size)
			return pw_no_memory();
		fast_free(p);
		return NULL;
	}
	c = fast_class(p);
	if (unlikely(!c))
		return unlikely(pw_env.trace) ? realloc_traced(p, size) : realloc_any(p, size);
	if (unlikely(((struct block *)p)->key == pw_base))
		check_not_free(p, "realloc()");
	old = class_size((unsigned int)c);
	if (size <= old && size > old / 2)
		return p;
	return realloc_move(p, old, size);
}

PUBLIC void *NAME(reallocarray)(void *p, size_t n, size_t each)
{
	size_t size;

	if (unlikely(__builtin_mul_overflow(n, each, &size)))
		return pw_no_memory();
	return NAME(realloc)(p, size);
}

/* ---- aligned blocks ---- */

/*
 * Spans start on granules, so the blocks of a class whose size is a multiple
 * of the alignment are all aligned. That of a size rounded up to the alignment
 * is: where classes are less than the alignment apart, each such size has one
 * of its own. 0: no class will do.
 */
static inline size_t aligned_class(size_t align, size_t size)
{
	size = size ? ALIGN_UP(size, align) : align;
	if (likely(size <= SMALL_MAX))
		return small_class(size);
	return align > GRANULE || size > CLASS_MAX ? 0 : big_class(size);
}

static noinline void *aligned_slow(size_t align, size_t size, size_t c)
{
	bool zeroed;
	void *p;

	if (likely(c && READ_ONCE(pw_heap.ready) && !pw_heap.slow))
		return pw_malloc_slow(class_size((unsigned int)c), pw_bins + c);
	if (is_hard())
		p = harden_alloc(size, align, &zeroed);
	else if (c)
		p = alloc_slow(class_size((unsigned int)c), c, &zeroed);
	else
		p = big_alloc(size, align, &zeroed) ?: pw_no_memory();
	trace(TRACE_ALIGNED, p, size, align);
	if (unlikely(pw_heap.slow) && p)
		perturb_fill(p, size);
	return p;
}

/* @align is a power of two. */
static noinline void *aligned_miss(size_t align, size_t size)
{
	struct block *b;
	size_t c;

	if (align <= MIN_ALIGN)
		return fast_malloc(size);
	if (size - 1 < HOT_READ(pw_tune.hard_most)) {
		b = harden_aligned(align, size);
		if (likely(b))
			return b;
	}
	if (size > PTRDIFF_MAX || align > PTRDIFF_MAX - size)
		return pw_no_memory();
	c = aligned_class(align, size);
	b = c ? tcache_pop(c) : NULL;
	return b ? b : aligned_slow(align, size, c);
}

/* A block from the tcache, or NULL. */
static inline void *aligned_hit(size_t align, size_t size)
{
#ifdef PW_HARDEN
	if (likely(size - 1 < HOT_READ(pw_tune.hard_most)))
		return harden_aligned(align, size);
#endif
	size = ALIGN_UP(size, align);
	/* Nothing that wrapped around, is large, or is of no bytes. */
	if (likely(size - 1 < SMALL_MAX && align >= MIN_ALIGN))
		return tcache_pop(size / MIN_ALIGN);
	if (likely(size - 1 < CLASS_MAX && align - MIN_ALIGN <= GRANULE - MIN_ALIGN))
		return tcache_pop(big_class(size));
	return NULL;
}

static inline void *aligned(size_t align, size_t size)
{
	void *p = aligned_hit(align, size);

	return likely(p) ? p : aligned_miss(align, size);
}

noinline void *pw_aligned(size_t align, size_t size)
{
	return aligned(align, size);
}

static inline bool power_of_two(size_t n)
{
	return n && !(n & (n - 1));
}

/* As with glibc, errno says it, too. */
static noinline int posix_memalign_miss(void **out, size_t align, size_t size)
{
	void *p = aligned_miss(align, size);

	if (!p)
		return ENOMEM;
	*out = p;
	return 0;
}

PUBLIC int NAME(posix_memalign)(void **out, size_t align, size_t size)
{
	void *p;

	if (unlikely(!power_of_two(align) || align % sizeof(void *)))
		return EINVAL;
	p = aligned_hit(align, size);
	if (unlikely(!p))
		return posix_memalign_miss(out, align, size);
	*out = p;
	return 0;
}

PUBLIC void *NAME(aligned_alloc)(size_t align, size_t size)
{
	if (unlikely(!power_of_two(align))) {
		errno = EINVAL;
		return NULL;
	}
	return aligned(align, size);
}

/* The oldest of them rounds an odd alignment up. */
PUBLIC void *NAME(memalign)(size_t align, size_t size)
{
	if (unlikely(!power_of_two(align))) {
		if (align > SIZE_MAX / 2 + 1) {
			errno = EINVAL;
			return NULL;
		}
		align = align < 2 ? 1 : (size_t)1 << (64 - __builtin_clzl(align - 1));
	}
	return aligned(align, size);
}

PUBLIC void *NAME(valloc)(size_t size)
{
	return aligned(PAGE_SIZE, size);
}

PUBLIC void *NAME(pvalloc)(size_t size)
{
	if (unlikely(size > PTRDIFF_MAX))
		return pw_no_memory();
	return aligned(PAGE_SIZE, size ? ALIGN_UP(size, PAGE_SIZE) : PAGE_SIZE);
}

/* ---- sized free: the address tells the class; hardened, the size is looked at ---- */

/* Does free() take it, of a kind that knows the size to the byte? */
static bool has_exact_size(const struct span *s, void *p)
{
	if (s->state == SPAN_LARGE && (s->flags & SPAN_GUARDED))
		return big_block_start(s, (uintptr_t)p);
	return s->state == SPAN_CLASS && s->hard && harden_has(p);
}

noinline void *pw_check_size(void *p, size_t size, const char *call)
{
	struct span *s = in_window((uintptr_t)p) ? span_of((uintptr_t)p) : NULL;

	/* A block of no bytes is one of a byte. */
	if (s && has_exact_size(s, p) && MAX(usable(s, p, call), 1UL) != MAX(size, 1UL))
		pw_heap_error(call, "freed with another size:", p);
	return p;
}

PUBLIC void NAME(free_sized)(void *p, size_t size)
{
	fast_free(unlikely(pw_env.harden) ? pw_check_size(p, size, "free_sized()") : p);
}

PUBLIC void NAME(free_aligned_sized)(void *p, size_t align, size_t size)
{
	(void)align;
	fast_free(unlikely(pw_env.harden) ? pw_check_size(p, size, "free_aligned_sized()") : p);
}

/* Programs linked before glibc 2.26 call it. */
PUBLIC void NAME(cfree)(void *p)
{
	fast_free(p);
}

/* The same function by a name that the linker cannot give to another one. */
extern __typeof__(NAME(malloc)) pw_own_malloc
	__attribute__((alias(NAME_STRING(malloc)), copy(NAME(malloc)), visibility("hidden")));

bool pw_malloc_is_ours(void)
{
	return NAME(malloc) == pw_own_malloc;
}

#ifndef PW_PREFIX
/*
 * glibc's own names. Programs that bring some functions of malloc's call them for the
 * others' work; what these return comes to our free() all the same, and ours to theirs.
 */
#define LIBC_NAME(name)	\
	PUBLIC extern __typeof__(name) __libc_ ## name __attribute__((alias(#name), copy(name)))

LIBC_NAME(malloc);
LIBC_NAME(free);
LIBC_NAME(calloc);
LIBC_NAME(realloc);
LIBC_NAME(memalign);
LIBC_NAME(valloc);
LIBC_NAME(pvalloc);
#endif
