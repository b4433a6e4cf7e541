// SPDX-License-Identifier: GPL-2.0-only
/*
 * malloc_errors.c - misuse of the heap ends in one clear line and SIGABRT
 */
#include <pthread.h>
#include <semaphore.h>

#include "malloc_test.h"
#include "../../userlib/pagewell.h"

#define MANY	160

static sem_t freed;

static void expect(const char *text, const void *p)
{
	/* Told to the parent through the pipe, before the error itself. */
	dprintf(2, "pagewell: %s %p\n", text, p);
}

static void twice_at_once(void)
{
	void *p = pw_malloc(100);

	pw_free(p);
	expect("free(): double free of", p);
	pw_free(p);
}

static void twice_later(void)
{
	void *p[200];
	int i;

	for (i = 0; i < 200; i++)
		p[i] = pw_malloc(48);
	for (i = 0; i < 200; i++)
		pw_free(p[i]);
	/* Long since in a full list. */
	expect("free(): double free of", p[5]);
	pw_free(p[5]);
}

static void twice_sorted_back(void)
{
	void *p[200];
	int i;

	for (i = 0; i < 200; i++)
		p[i] = pw_malloc(48);
	for (i = 0; i < 199; i++)
		pw_free(p[i]);
	pw_malloc_trim(0);
	expect("free(): double free of", p[0]);
	/* The page went back with the key in it: the span's bits know. */
	((uintptr_t *)p[0])[1] = pw_base;
	pw_free(p[0]);
}

/* Between blocks of 208 bytes that stay, what takes 144 gets free ones of 208. */
static void twice_as_smaller(void)
{
	static void *p[20000];
	void *q;
	int i;

	for (i = 0; i < 20000; i++)
		p[i] = pw_malloc(208);
	for (i = 1; i < 20000; i += 2)
		pw_free(p[i]);
	pw_malloc_trim(0);
	do
		q = pw_malloc(144);
	while (pw_malloc_usable_size(q) != 208);
	/* The next one waits in the thread's bin for 144. */
	for (i = 1; p[i] != q; i += 2)
		;
	expect("free(): double free of", p[i + 2]);
	pw_free(p[i + 2]);
}

/* Before, the calling thread took as many and freed them: it keeps them now. */
static void free_all(void **blocks, unsigned int nr)
{
	void *own[MANY];
	unsigned int round, i;

	for (round = 0; round < 10; round++) {
		for (i = 0; i < nr; i++)
			own[i] = pw_malloc(2000);
		for (i = 0; i < nr && round < 9; i++)
			pw_free(own[i]);
	}
	for (i = 0; i < nr; i++)
		pw_free(blocks[i]);
}

static void *free_one(void *block)
{
	pw_free(block);
	sem_post(&freed);
	return pause() ? NULL : block;
}

static void *free_many(void *blocks)
{
	free_all(blocks, MANY);
	CHECK(tcache_self()->full[class_of(2000)].nr == MANY / class_room(2000) - 1);
	return free_one(pw_malloc(1));
}

/* What another thread has freed, and keeps. */
static void free_by_another(void *(*run)(void *), void *what)
{
	pthread_t thread;

	CHECK(!sem_init(&freed, 0, 0));
	CHECK(!pthread_create(&thread, NULL, run, what));
	CHECK(!sem_wait(&freed));
}

static void twice_by_two(void)
{
	void *p = pw_malloc(100);

	free_by_another(free_one, p);
	expect("free(): double free of", p);
	pw_free(p);
}

static void twice_by_two_later(void)
{
	static void *p[MANY];
	int i;

	for (i = 0; i < MANY; i++)
		p[i] = pw_malloc(2000);
	free_by_another(free_many, p);
	expect("free(): double free of", p[MANY / 2]);
	pw_free(p[MANY / 2]);
}

/* The key is there, but the block is the program's: nothing is wrong. */
static void key_by_chance(void)
{
	void *p = pw_malloc(100), *q = pw_malloc(100);

	free_by_another(free_one, p);
	((uintptr_t *)q)[1] = pw_base;
	pw_free(q);
	expect("free(): double free of", q);
	pw_free(q);
}

static void twice_large(void)
{
	void *p = pw_malloc(40 * MIB);

	pw_free(p);
	expect("free(): invalid pointer", p);
	pw_free(p);
}

static void twice_in_realloc(void)
{
	void *p = pw_malloc(100);

	pw_free(p);
	expect("realloc(): double free of", p);
	pw_realloc(p, 5000);
}

static void from_the_stack(void)
{
	char buf[64] __attribute__((aligned(16)));
	void *p = buf;

	__asm__("" : "+r"(p));
	expect("free(): invalid pointer", p);
	pw_free(p);
}

static void small_number(void)
{
	pw_free(pw_malloc(1));
	expect("free(): invalid pointer", (void *)0x1234560);
	pw_free((void *)0x1234560);
}

static void misaligned(void)
{
	char *p = pw_malloc(100);

	expect("free(): invalid pointer", p + 8);
	pw_free(p + 8);
}

static void middle_of_large(void)
{
	char *p = pw_malloc(MIB);

	expect("free(): invalid pointer", p + 64);
	pw_free(p + 64);
}

static void middle_of_block(void)
{
	char *p[100];
	int i;

	for (i = 0; i < 100; i++)
		p[i] = pw_malloc(160);
	/* Noticed when the list is sorted back, not at once. */
	expect("free(): invalid pointer", p[50] + 32);
	pw_free(p[50] + 32);
	pw_malloc_trim(0);
}

static void middle_with_key(void)
{
	char *p = pw_malloc(2000);

	/* As a block has it that was freed before one of 2,000 bytes came to lie there. */
	((uintptr_t *)(p + 48))[1] = pw_base;
	expect("free(): invalid pointer", p + 48);
	pw_free(p + 48);
}

static void overwritten_list(void)
{
	uintptr_t *p[10];
	int i;

	for (i = 0; i < 10; i++)
		p[i] = pw_malloc(160);
	for (i = 0; i < 10; i++)
		pw_free(p[i]);
	p[5][0] = 0x4141414141414141;
	expect("malloc(): overwritten after free:", p[5]);
	pw_malloc_trim(0);
}

static void realloc_wild(void)
{
	char buf[64] __attribute__((aligned(16)));
	void *p = buf;

	__asm__("" : "+r"(p));
	expect("realloc(): invalid pointer", p);
	pw_realloc(p, 10);
}

static void realloc_middle(void)
{
	char *p = pw_malloc(160);

	expect("realloc(): invalid pointer", p + 32);
	pw_realloc(p + 32, 1000);
}

/* It would fit where it is. */
static void realloc_middle_of_mapped(void)
{
	char *p = pw_malloc(300000);

	expect("realloc(): invalid pointer", p + 16);
	pw_realloc(p + 16, 295000);
}

static void realloc_middle_of_run(void)
{
	char *p;

	pw_mallopt(M_MMAP_THRESHOLD, 32 * MIB);
	p = pw_malloc(6 * MIB);
	expect("realloc(): invalid pointer", p + 16);
	pw_realloc(p + 16, 6 * MIB - 1000);
}

static void wrong_heap(void)
{
	pagewell_heap_t *a = pagewell_heap_create(0), *b = pagewell_heap_create(0);
	void *p = pagewell_heap_alloc(a, 100);

	expect("pagewell_heap_free(): not a block of this heap:", p);
	pagewell_heap_free(b, p);
}

static void twice_in_heap(void)
{
	pagewell_heap_t *heap = pagewell_heap_create(0);
	void *p = pagewell_heap_alloc(heap, 100);

	pagewell_heap_free(heap, p);
	expect("pagewell_heap_free(): double free of", p);
	pagewell_heap_free(heap, p);
}

static void middle_of_heap_block(void)
{
	pagewell_heap_t *heap = pagewell_heap_create(0);
	char *p = pagewell_heap_alloc(heap, 300000);

	expect("pagewell_heap_free(): invalid pointer", p + 16);
	pagewell_heap_free(heap, p + 16);
}

static void wrong_heap_realloc(void)
{
	pagewell_heap_t *a = pagewell_heap_create(0);
	void *p = pw_malloc(100);

	expect("pagewell_heap_realloc(): not a block of this heap:", p);
	pagewell_heap_realloc(a, p, 1000);
}

static void wrong_pool(void)
{
	pagewell_pool_t *a = pagewell_pool_create(100, 0, 0), *b = pagewell_pool_create(100, 0, 0);
	void *p = pagewell_pool_alloc(a);

	expect("pagewell_pool_free(): not an object of this pool:", p);
	pagewell_pool_free(b, p);
}

static void middle_of_object(void)
{
	pagewell_pool_t *pool = pagewell_pool_create(100, 0, 0);
	char *p = pagewell_pool_alloc(pool);

	expect("pagewell_pool_free(): not an object of this pool:", p + 16);
	pagewell_pool_free(pool, p + 16);
}

static void pool_twice(void)
{
	pagewell_pool_t *pool = pagewell_pool_create(100, 0, 0);
	void *p = pagewell_pool_alloc(pool);

	pagewell_pool_free(pool, p);
	expect("pagewell_pool_free(): double free of", p);
	pagewell_pool_free(pool, p);
}

static void pool_twice_when_full(void)
{
	pagewell_pool_t *pool = pagewell_pool_create(100, 0, 0);
	static void *p[1000];
	int i;

	for (i = 0; i < 1000; i++)
		p[i] = pagewell_pool_alloc(pool);
	/* The pool's own list has long been full when the last ones come. */
	for (i = 0; i < 1000; i++)
		pagewell_pool_free(pool, p[i]);
	pagewell_pool_alloc(pool);
	expect("pagewell_pool_free(): double free of", p[999]);
	pagewell_pool_free(pool, p[999]);
}

static void free_of_map(void)
{
	void *p = pagewell_map(MIB, 0, 0);

	expect("free(): invalid pointer", p);
	pw_free(p);
}

static void hardened_twice(void)
{
	void *p;

	harden();
	p = pw_malloc(100);
	pw_free(p);
	memset(p, 0, 100);
	expect("free(): double free of", p);
	pw_free(p);
}

static void hardened_twice_by_two(void)
{
	void *p;

	harden();
	p = pw_malloc(100);
	pw_free(p);
	/* As if another thread had not seen yet that it is free. */
	*has_entry(((uintptr_t)p - pw_base) >> UNIT_SHIFT) = 1;
	expect("free(): double free of", p);
	for (int i = 0; i < 10000; i++)
		pw_free(pw_malloc(100));
}

static void hardened_middle(void)
{
	char *p;

	harden();
	p = pw_malloc(160);
	expect("free(): invalid pointer", p + 32);
	pw_free(p + 32);
}

static void hardened_use_after_free(void)
{
	char *p;

	harden();
	p = pw_malloc(160);
	pw_free(p);
	p[40] = 1;
	expect("malloc(): written to after free:", p);
	pw_malloc(160);
}

/* As memory that was never used, or went back to the system, reads. */
static void hardened_zero_after_free(void)
{
	char *p;

	harden();
	p = pw_malloc(100);
	pw_free(p);
	memset(p, 0, 100);
	expect("malloc(): written to after free:", p);
	pw_malloc(100);
}

static void hardened_ones_after_free(void)
{
	char *p;

	harden();
	p = pw_malloc(100);
	pw_free(p);
	memset(p, 0xff, 100);
	expect("malloc(): written to after free:", p);
	pw_malloc(100);
}

static void hardened_null_after_free(void)
{
	void **p[40];
	int i;

	harden();
	for (i = 0; i < 40; i++)
		p[i] = pw_malloc(3000);
	pw_free(p[0]);
	*p[0] = NULL;
	expect("malloc(): written to after free:", p[0]);
	pw_malloc(3000);
}

/* Of a word that is looked at more than once, as the block is short. */
static void highest_bit(size_t size, size_t at)
{
	unsigned char *p;

	harden();
	p = pw_malloc(size);
	pw_free(p);
	p[at] ^= 0x80;
	expect("malloc(): written to after free:", p);
	pw_malloc(size);
}

static void hardened_bit_after_free_of_8(void)
{
	highest_bit(8, 7);
}

static void hardened_bit_after_free_of_40(void)
{
	highest_bit(40, 39);
}

static void hardened_use_long_after_free(void)
{
	void *p;

	harden();
	p = pw_malloc(160);
	pw_free(p);
	for (int i = 0; i < 20; i++)
		pw_free(pw_malloc(160));
	((char *)p)[40] = 1;
	expect("malloc(): written to after free:", p);
	for (int i = 0; i < 10000; i++)
		pw_free(pw_malloc(160));
}

static void hardened_twice_in_depot(void)
{
	static void *p[1000];
	int i;

	harden();
	for (i = 0; i < 1000; i++)
		p[i] = pw_malloc(100);
	for (i = 0; i < 1000; i++)
		pw_free(p[i]);
	expect("free(): double free of", p[3]);
	pw_free(p[3]);
}

static void hardened_use_of_large_after_free(void)
{
	char *p;

	harden();
	p = pw_malloc(100000);
	pw_free(p);
	p[40] = 1;
	expect("malloc(): written to after free:", p);
	pw_malloc(100000);
}

/* What lies between the block and its guard, because of its alignment. */
static void hardened_past_before_the_guard(void)
{
	volatile char *p;

	harden();
	p = pw_aligned_alloc(64, 300000);
	p[300000] ^= 1;
	expect("free(): written past the end of", (void *)p);
	pw_free((void *)p);
}

static void hardened_past_the_widely_aligned(void)
{
	volatile char *p;

	harden();
	p = pw_aligned_alloc(64 * KIB, 24);
	p[31] ^= 1;
	expect("realloc(): written past the end of", (void *)p);
	pw_realloc((void *)p, 100);
}

/* By one byte past what realloc() made of it. */
static void past_the_guarded_end(size_t from, size_t to)
{
	volatile char *p;

	harden();
	p = pw_realloc(pw_malloc(from), to);
	p[to] ^= 1;
	expect("free(): written past the end of", (void *)p);
	pw_free((void *)p);
}

static void hardened_past_the_shrunk_before_the_guard(void)
{
	past_the_guarded_end(200000, 150000);
}

static void hardened_past_the_grown_before_the_guard(void)
{
	past_the_guarded_end(190000, 200000);
}

/* With room to grow it is long enough for a guard. */
static void hardened_past_what_got_a_guard(void)
{
	past_the_guarded_end(120000, 125000);
}

/* It would be mapped, but nothing may be. */
static void hardened_past_what_has_no_guard(void)
{
	pw_mallopt(M_MMAP_MAX, 0);
	past_the_guarded_end(190000, 200000);
}

static void hardened_guarded_twice(void)
{
	char *p;

	harden();
	p = pw_malloc(300000);
	pw_free(p);
	expect("free(): invalid pointer", p);
	pw_free(p);
}

static void hardened_past_the_grown_end(void)
{
	volatile char *p;

	harden();
	pw_mallopt(M_MMAP_THRESHOLD, 32 * MIB);
	p = pw_realloc(pw_malloc(200 * KIB), 300 * KIB);
	p[300 * KIB] = 1;
	expect("free(): written past the end of", (void *)p);
	pw_free((void *)p);
}

static void hardened_one_past_the_end(void)
{
	volatile char *p;

	harden();
	p = pw_malloc(100);
	p[100] = 1;
	expect("free(): written past the end of", (void *)p);
	pw_free((void *)p);
}

static void hardened_past_the_new_end(void)
{
	volatile char *p;

	harden();
	p = pw_realloc(pw_malloc(100), 90);
	p = pw_realloc((void *)p, 99);
	p[99] = 1;
	expect("free(): written past the end of", (void *)p);
	pw_free((void *)p);
}

static void hardened_zero_past_the_end(void)
{
	volatile char *p;

	harden();
	/* No slack: what follows is the canary itself. */
	p = pw_malloc(104);
	p[104] ^= 1;
	expect("realloc(): written past the end of", (void *)p);
	pw_realloc((void *)p, 200);
}

static void hardened_realloc_of_free(void)
{
	void *p;

	harden();
	p = pw_malloc(100);
	pw_free(p);
	expect("realloc(): use after free of", p);
	pw_realloc(p, 200);
}

static void hardened_never_given(void)
{
	char *p;

	harden();
	/* In the same span, never handed out by malloc(). */
	p = pw_malloc(2000);
	pw_free(p);
	p = pw_malloc(8);
	p = (char *)ALIGN_DOWN((uintptr_t)p, GRANULE) + GRANULE - 16;
	expect("free(): invalid pointer", p);
	pw_free(p);
}

/* As programs have one that want to say where they were. */
static void allocate_then_abort(int sig)
{
	void *p[3] = { pw_malloc(100), pw_malloc(3000), pw_malloc(10 * MIB) };

	if (p[0] && p[1] && p[2])
		pw_free(p[1]);
	signal(sig, SIG_DFL);
}

static void handler_allocates(void)
{
	signal(SIGABRT, allocate_then_abort);
	alarm(20);
	overwritten_list();
}

static void *nothing(void *arg)
{
	return arg;
}

static void handler_allocates_threaded(void)
{
	pthread_t thread;

	CHECK(!pthread_create(&thread, NULL, nothing, NULL) && !pthread_join(thread, NULL));
	handler_allocates();
}

/* The mapping that is in the way of a new one was written to. */
/* Both lines, the expected one and the library's, must be there and equal. */
static bool as_expected(void (*run)(void))
{
	static char text[512];
	int status = in_child(run, text, sizeof(text));
	char *second = strchr(text, '\n');

	if (!second || !WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT) {
		ksft_print_msg("status %#x, output: %s\n", status, text);
		return false;
	}
	second++;
	if (strlen(second) == (size_t)(second - text) && !memcmp(text, second, strlen(second)))
		return true;
	ksft_print_msg("expected, and got: %s\n", text);
	return false;
}

int main(void)
{
	static const struct test tests[] = {
		{ "double free at once", twice_at_once },
		{ "double free of a block in a full list", twice_later },
		{ "double free of a block that was sorted back", twice_sorted_back },
		{ "double free of a block that is to be a smaller one", twice_as_smaller },
		{ "double free by two threads", twice_by_two },
		{ "double free by two threads, of a block in a full list", twice_by_two_later },
		{ "a block with the key of a free one, and then double free", key_by_chance },
		{ "double free of a large block", twice_large },
		{ "realloc of a free block", twice_in_realloc },
		{ "free of a local variable", from_the_stack },
		{ "free of a small number", small_number },
		{ "free of a misaligned address", misaligned },
		{ "free of the middle of a large block", middle_of_large },
		{ "free of the middle of a block", middle_of_block },
		{ "double free of a block that a larger one covers by now", middle_with_key },
		{ "a free block that was written to", overwritten_list },
		{ "realloc of a local variable", realloc_wild },
		{ "realloc of the middle of a block", realloc_middle },
		{ "realloc of the middle of a mapped block, smaller", realloc_middle_of_mapped },
		{ "realloc of the middle of a run, smaller", realloc_middle_of_run },
		{ "a block given to another heap", wrong_heap },
		{ "a block given to its heap twice", twice_in_heap },
		{ "the middle of a block given to its heap", middle_of_heap_block },
		{ "a block of malloc given to a heap", wrong_heap_realloc },
		{ "an object given to another pool", wrong_pool },
		{ "the middle of an object given to its pool", middle_of_object },
		{ "an object given to its pool twice", pool_twice },
		{ "an object given to a pool with a full list twice", pool_twice_when_full },
		{ "free of mapped pages", free_of_map },
		{ "a handler of SIGABRT that allocates", handler_allocates },
		{ "the same with threads", handler_allocates_threaded },
		{ "hardened: double free of a block that was overwritten", hardened_twice },
		{ "hardened: double free by two threads", hardened_twice_by_two },
		{ "hardened: free of the middle of a block, at once", hardened_middle },
		{ "hardened: a write after free", hardened_use_after_free },
		{ "hardened: zeroes written after free", hardened_zero_after_free },
		{ "hardened: all bits written after free", hardened_ones_after_free },
		{ "hardened: a bit of 8 bytes after free", hardened_bit_after_free_of_8 },
		{ "hardened: a bit of 40 bytes after free", hardened_bit_after_free_of_40 },
		{ "hardened: a null pointer written after free", hardened_null_after_free },
		{ "hardened: a write to a block that has been free for long",
		  hardened_use_long_after_free },
		{ "hardened: double free of a block in the depot", hardened_twice_in_depot },
		{ "hardened: a write after free to a large block",
		  hardened_use_of_large_after_free },
		{ "hardened: a byte between the end and the guard",
		  hardened_past_before_the_guard },
		{ "hardened: a byte past the end, widely aligned",
		  hardened_past_the_widely_aligned },
		{ "hardened: a byte past the end that shrank, before the guard",
		  hardened_past_the_shrunk_before_the_guard },
		{ "hardened: a byte past the end that grew, before the guard",
		  hardened_past_the_grown_before_the_guard },
		{ "hardened: a byte past the end of what grew and got a guard",
		  hardened_past_what_got_a_guard },
		{ "hardened: a byte past the end of what can have no guard",
		  hardened_past_what_has_no_guard },
		{ "hardened: double free of a block with a guard", hardened_guarded_twice },
		{ "hardened: a byte past the end that grew", hardened_past_the_grown_end },
		{ "hardened: a byte past the end", hardened_one_past_the_end },
		{ "hardened: a byte past the end that realloc moved", hardened_past_the_new_end },
		{ "hardened: a bit past the end, seen by realloc", hardened_zero_past_the_end },
		{ "hardened: realloc of a free block", hardened_realloc_of_free },
		{ "hardened: free of a block that never was", hardened_never_given },
	};
	unsigned int i;

	ksft_print_header();
	ksft_set_plan(ARRAY_SIZE(tests));
	for (i = 0; i < ARRAY_SIZE(tests); i++)
		ksft_test_result(as_expected(tests[i].run), "%s\n", tests[i].name);
	ksft_finished();
}
