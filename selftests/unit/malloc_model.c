// SPDX-License-Identifier: GPL-2.0-only
/*
 * malloc_model.c - random calls, checked against a model
 *
 * The model knows each block's size and fills it to the last usable byte with
 * a pattern of its own, so two blocks that overlap, a block that moved without
 * its contents, and memory that was returned too early all show. Threads pass
 * blocks to one another.
 */
#include <pthread.h>

#include "malloc_test.h"

#define THREADS		4
#define SLOTS		512
#define MAILBOXES	64

struct held {
	unsigned char *p;
	size_t size;
	size_t usable;
	unsigned char tag;
};

struct worker {
	struct held held[SLOTS];
	uint64_t random;
	unsigned long steps;
};

static struct held *mailbox[MAILBOXES];

static uint64_t next(struct worker *w)
{
	w->random ^= w->random << 13;
	w->random ^= w->random >> 7;
	w->random ^= w->random << 17;
	return w->random;
}

/* Mostly small, now and then a few MiB. */
static size_t some_size(struct worker *w)
{
	unsigned int shift = (unsigned int)(next(w) % 100);

	if (shift < 70)
		return next(w) % 512;
	if (shift < 90)
		return next(w) % (16 * KIB);
	if (shift < 98)
		return next(w) % (200 * KIB);
	return next(w) % (6 * MIB);
}

/* The first and last bytes, and a sample between: large blocks take time. */
static size_t stride(size_t size)
{
	return size > 4096 ? 509 : 1;
}

static void fill(struct held *h, struct worker *w)
{
	size_t i;

	h->usable = pw_malloc_usable_size(h->p);
	CHECK(h->usable >= h->size);
	CHECK((uintptr_t)h->p % MIN_ALIGN == 0);
	h->tag = (unsigned char)next(w);
	for (i = 0; i < h->usable; i += stride(h->usable))
		h->p[i] = (unsigned char)(h->tag + i);
	h->p[h->usable - 1] = h->tag;
}

static void check(const struct held *h, size_t size)
{
	size_t i;

	for (i = 0; i < size; i += stride(h->usable))
		CHECK(h->p[i] == (unsigned char)(h->tag + i) || i == h->usable - 1);
	if (size == h->usable)
		CHECK(h->p[size - 1] == h->tag);
}

static void check_zero(const struct held *h)
{
	size_t i;

	for (i = 0; i < h->size; i++)
		CHECK(!h->p[i]);
}

static void get(struct held *h, struct worker *w)
{
	size_t align;
	void *p;

	h->size = some_size(w);
	switch (next(w) % 8) {
	case 0:
		h->p = pw_calloc(1, h->size);
		CHECK(h->p);
		check_zero(h);
		break;
	case 1:
		align = (size_t)8 << (next(w) % 14);
		CHECK(!pw_posix_memalign(&p, align, h->size));
		CHECK((uintptr_t)p % align == 0);
		h->p = p;
		break;
	case 2:
		align = (size_t)1 << (next(w) % 18);
		h->p = pw_aligned_alloc(align, h->size);
		CHECK(h->p && (uintptr_t)h->p % align == 0);
		break;
	default:
		h->p = pw_malloc(h->size);
	}
	CHECK(h->p);
	fill(h, w);
}

static void put(struct held *h)
{
	check(h, h->usable);
	pw_free(h->p);
	h->p = NULL;
}

static void resize(struct held *h, struct worker *w)
{
	size_t size = some_size(w) + 1, kept = MIN(size, h->usable);
	unsigned char *p;

	check(h, h->usable);
	if (next(w) % 2)
		size = h->size + 64;
	kept = MIN(size, h->size);
	p = pw_realloc(h->p, size);
	CHECK(p);
	h->p = p;
	h->size = size;
	check(h, kept);
	fill(h, w);
}

/* Leaves a block for another thread and takes what is there. */
static void swap(struct held *h, struct worker *w)
{
	struct held *mine = malloc(sizeof(*mine));
	struct held *theirs;

	*mine = *h;
	theirs = __atomic_exchange_n(&mailbox[next(w) % MAILBOXES], mine, __ATOMIC_ACQ_REL);
	if (theirs)
		*h = *theirs;
	else
		h->p = NULL;
	free(theirs);
}

static void *work(void *arg)
{
	struct worker *w = arg;
	unsigned long i;

	for (i = 0; i < w->steps; i++) {
		struct held *h = &w->held[next(w) % SLOTS];

		if (!h->p)
			get(h, w);
		else if (next(w) % 8 == 0)
			resize(h, w);
		else if (next(w) % 4 == 0)
			swap(h, w);
		else
			put(h);
		if (next(w) % 4096 == 0)
			pw_malloc_trim(0);
	}
	for (i = 0; i < SLOTS; i++)
		if (w->held[i].p)
			put(&w->held[i]);
	return NULL;
}

static void start(struct worker *w, unsigned int seed, unsigned long steps)
{
	w->random = 0x9e3779b97f4a7c15UL * (seed + 1);
	w->steps = steps;
}

static void empty_mailboxes(void)
{
	unsigned int i;

	for (i = 0; i < MAILBOXES; i++) {
		if (mailbox[i])
			put(mailbox[i]);
		free(mailbox[i]);
		mailbox[i] = NULL;
	}
}

/* With nothing in use, nothing may be counted as in use, and little is kept. */
static void check_empty(void)
{
	struct mallinfo2 mi;

	pw_malloc_trim(0);
	mi = pw_mallinfo2();
	if (mi.uordblks) printf("# %zu in use\n", mi.uordblks);
	CHECK(mi.uordblks == 0);
	CHECK(mi.hblkhd == 0 && mi.hblks == 0);
}

static void one_thread(void)
{
	static struct worker w;

	start(&w, 1, 60000);
	work(&w);
	empty_mailboxes();
	check_empty();
}

static void many_threads(void)
{
	static struct worker w[THREADS];
	pthread_t thread[THREADS];
	unsigned int i, round;

	for (round = 0; round < 3; round++) {
		for (i = 0; i < THREADS; i++) {
			start(&w[i], round * THREADS + i, 10000);
			CHECK(!pthread_create(&thread[i], NULL, work, &w[i]));
		}
		for (i = 0; i < THREADS; i++)
			CHECK(!pthread_join(thread[i], NULL));
	}
	empty_mailboxes();
	check_empty();
}

/* A cache that was not given back when its thread ended would add up. */
static void *touch(void *arg)
{
	unsigned int i;

	for (i = 1; i < 64; i++)
		pw_free(pw_malloc(i * 97));
	return arg;
}

static void threads_come_and_go(void)
{
	size_t before = 0;
	pthread_t thread;
	unsigned int i;

	for (i = 0; i < 1500; i++) {
		CHECK(!pthread_create(&thread, NULL, touch, NULL));
		CHECK(!pthread_join(thread, NULL));
		if (i == 100)
			before = pw_mallinfo2().arena;
	}
	CHECK(pw_mallinfo2().arena <= before);
	check_empty();
}

static void slow_mode(void)
{
	static struct worker w;

	harden();
	start(&w, 2, 10000);
	work(&w);
	empty_mailboxes();
	check_empty();
}

int main(void)
{
	static const struct test tests[] = {
		{ "random calls of one thread", one_thread },
		{ "random calls of several, who exchange blocks", many_threads },
		{ "threads that come and go", threads_come_and_go },
		{ "random calls, hardened", slow_mode },
	};

	return run_tests(tests, ARRAY_SIZE(tests));
}
