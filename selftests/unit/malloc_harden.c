// SPDX-License-Identifier: GPL-2.0-only
/*
 * malloc_harden.c - what hardened mode does besides finding errors
 */
#include <pthread.h>
#include <sys/mman.h>

#include "guarded.h"
#include "malloc_test.h"

/* The program may use what it asked for, to the byte. */
static void exact_sizes(void)
{
	size_t size, align;
	unsigned char *p;

	harden();
	for (size = 1; size < 100 * KIB; size += size / 16 + 1) {
		p = pw_malloc(size);
		CHECK(pw_malloc_usable_size(p) == size);
		memset(p, 0xff, size);
		p = pw_realloc(p, size + 3);
		CHECK(p[size - 1] == 0xff && pw_malloc_usable_size(p) == size + 3);
		pw_free(p);
		p = pw_calloc(1, size);
		CHECK(!p[0] && !p[size / 2] && !p[size - 1]);
		pw_free(p);
		for (align = 16; align <= 64 * KIB; align *= 8) {
			p = pw_aligned_alloc(align, size);
			CHECK(p && (uintptr_t)p % align == 0);
			memset(p, 0xff, size);
			pw_free(p);
		}
	}
}

/* A block that grows by steps: its contents, and its end to the byte. */
static void growth(void)
{
	unsigned char *p, *before;
	unsigned int moves = 0;
	size_t size, at;

	harden();
	p = pw_malloc(1);
	for (size = 1; size < 20 * KIB; size += 7) {
		before = p;
		p = pw_realloc(p, size);
		CHECK(p && pw_malloc_usable_size(p) == size);
		moves += p != before;
		memset(p + (size < 8 ? 0 : size - 7), (int)(size % 251), size < 8 ? size : 7);
	}
	printf("# %u moves\n", moves);
	CHECK(moves < 100);
	for (at = 1; at + 7 < size; at += 7)
		CHECK(p[at] == (at + 7) % 251);
	p = pw_realloc(p, size / 2 + 1);
	CHECK(pw_malloc_usable_size(p) == size / 2 + 1 && p[8] == 15);
	pw_free(p);
}

/* A block is not used again for some time. */
static void delay(void)
{
	unsigned int i, k;
	void *p, *q[6];

	harden();
	for (i = 0; i < 200; i++) {
		p = pw_malloc(64);
		pw_free(p);
		for (k = 0; k < ARRAY_SIZE(q); k++) {
			q[k] = pw_malloc(64);
			CHECK(q[k] != p);
		}
		for (k = 0; k < ARRAY_SIZE(q); k++)
			pw_free(q[k]);
	}
}

/* However many are allocated, it waits for others to be freed. */
static void delay_by_frees(void)
{
	static const size_t sizes[] = { 16, 64, 1000, 2000, 8000, 20000, 60000, 120000 };
	void *others[8], *p;
	unsigned int i, k;

	harden();
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		for (k = 0; k < ARRAY_SIZE(others); k++)
			others[k] = pw_malloc(sizes[i]);
		p = pw_malloc(sizes[i]);
		for (k = 0; k < ARRAY_SIZE(others); k++)
			pw_free(others[k]);
		pw_free(p);
		for (k = 0; k < 200; k++)
			CHECK(pw_malloc(sizes[i]) != p);
	}
}

/* What waits of large blocks is little, whatever their sizes. */
static void large_blocks_wait(void)
{
	size_t before, i;
	void *p[32];

	harden();
	pw_mallopt(M_MMAP_THRESHOLD, 32 * MIB);
	before = pw_mallinfo2().uordblks;
	for (i = 0; i < ARRAY_SIZE(p); i++)
		p[i] = pw_malloc(40000 + 11000 * i);
	for (i = 0; i < ARRAY_SIZE(p); i++)
		pw_free(p[i]);
	CHECK(pw_mallinfo2().uordblks - before <= MIB);
}

/* A large block grows where it is, if it can; its end is where it was asked to. */
static void growth_in_place(void)
{
	unsigned int moves = 0;
	unsigned char *p, *q;
	size_t size;

	harden();
	pw_mallopt(M_MMAP_THRESHOLD, 32 * MIB);
	p = pw_calloc(1, 200 * KIB);
	for (size = 210 * KIB; size < 2 * MIB; size += 10 * KIB) {
		p[size - 10 * KIB - 1] = (unsigned char)(size >> 12);
		q = pw_realloc(p, size);
		CHECK(pw_malloc_usable_size(q) == size);
		CHECK(q[size - 10 * KIB - 1] == (unsigned char)(size >> 12));
		moves += p != q;
		p = q;
	}
	printf("# %u moves\n", moves);
	CHECK(moves < 8);
	pw_free(p);
}

/* Blocks do not lie side by side in the order of the calls. */
static void placement(void)
{
	unsigned int up = 0, i;
	char *p[200];

	harden();
	for (i = 0; i < ARRAY_SIZE(p); i++) {
		p[i] = pw_malloc(64);
		up += i && p[i] > p[i - 1];
	}
	printf("# %u of %zu upwards\n", up, ARRAY_SIZE(p));
	CHECK(up > 60 && up < 150);
	for (i = 0; i < ARRAY_SIZE(p); i++)
		pw_free(p[i]);
}

static void write_behind(void)
{
	volatile char *p;

	signal(SIGSEGV, SIG_DFL);
	p = pw_malloc(MIB);
	p[MIB - 1] = 1;
	dprintf(2, "here");
	p[MIB] = 1;
}

static void write_behind_first(void)
{
	harden();
	write_behind();
}

/* Without memory a block that is to be smaller stays, and says where it ends. */
static void smaller_where_it_is(void)
{
	unsigned char *p;

	harden();
	p = pw_malloc(5000);
	memset(p, 7, 5000);
	while (pw_malloc(100 * KIB) && pw_mallinfo2().arena < 64 * MIB)
		pw_os_fail_after = 1;
	while (pw_malloc(100))
		pw_os_fail_after = 1;
	errno = 0;
	pw_os_fail_after = 1;
	CHECK(pw_realloc(p, 100) == p && !errno && p[99] == 7);
	CHECK(pw_malloc_usable_size(p) == 100);
	pw_free(p);
}

/* One that stayed for want of memory has room: growing again, it keeps all of its span. */
static void smaller_and_larger_where_it_is(void)
{
	unsigned int class;
	struct arena *a;
	struct span *s;
	void *p;

	harden();
	pw_mallopt(M_MMAP_THRESHOLD, 32 * MIB);
	p = pw_malloc(MIB);
	s = span_of((uintptr_t)p);
	class = s->class;
	pw_os_fail_after = 1;
	while (pw_malloc(100 * KIB))
		;
	CHECK(pw_realloc(p, 200 * KIB) == p && pw_malloc_usable_size(p) == 200 * KIB);
	CHECK(pw_realloc(p, 210 * KIB) == p && pw_malloc_usable_size(p) == 210 * KIB);
	CHECK(s->class == class);
	a = span_arena(s);
	lock(&a->lock);
	CHECK(!span_extend(a, s, class - 1) && !span_extend(a, s, class));
	unlock(&a->lock);
	CHECK(s->class == class);
	pw_free(p);
}

/* The threshold would follow what is freed. */
static void write_behind_later(void)
{
	harden();
	pw_free(pw_malloc(10 * MIB));
	write_behind();
}

/* It is mapped still, for the next one. */
static void read_what_was_freed(void)
{
	volatile char *p;

	harden();
	signal(SIGSEGV, SIG_DFL);
	p = pw_malloc(MIB);
	pw_free((void *)p);
	dprintf(2, "here");
	(void)p[5000];
}

static void guard_page(void)
{
	char text[64];
	int status = in_child(write_behind_first, text, sizeof(text));

	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV && !strcmp(text, "here"));
	status = in_child(write_behind_later, text, sizeof(text));
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV && !strcmp(text, "here"));
	status = in_child(read_what_was_freed, text, sizeof(text));
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV && !strcmp(text, "here"));
}

#define HANDED_OVER	2000

static void *handed_over[HANDED_OVER];

static void *free_all(void *arg)
{
	unsigned int i;

	for (i = 0; i < HANDED_OVER; i++)
		pw_free(handed_over[i]);
	return arg;
}

/* What one thread frees serves another one, or is sorted back. */
static void handover(void)
{
	unsigned int round, i;
	pthread_t thread;

	harden();
	for (round = 0; round < 10; round++) {
		for (i = 0; i < HANDED_OVER; i++)
			handed_over[i] = pw_malloc(100 + i % 100);
		CHECK(pw_mallinfo2().fsmblks < 100 * KIB);
		CHECK(!pthread_create(&thread, NULL, free_all, NULL));
		pthread_join(thread, NULL);
		CHECK(pw_mallinfo2().fsmblks > 200 * KIB);
	}
	pw_malloc_trim(0);
	CHECK(!pw_mallinfo2().fsmblks && !pw_mallinfo2().uordblks);
}

static void *exchange(void *arg)
{
	void **slots = arg;
	unsigned int i;

	for (i = 0; i < 20000; i++) {
		size_t size = 1 + i * 7 % 2000;
		char *p = pw_malloc(size);

		memset(p, 1, size);
		pw_free(__atomic_exchange_n(&slots[i % 100], p, __ATOMIC_ACQ_REL));
	}
	return NULL;
}

/* Blocks that other threads free, threads that end: nothing stays behind. */
static void threads(void)
{
	static void *slots[100];
	pthread_t thread[4];
	unsigned int i;

	harden();
	for (i = 0; i < 4; i++)
		CHECK(!pthread_create(&thread[i], NULL, exchange, slots));
	for (i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	for (i = 0; i < ARRAY_SIZE(slots); i++)
		pw_free(slots[i]);
	pw_malloc_trim(0);
	CHECK(pw_mallinfo2().uordblks == 0);
}

/* Pages that went back to the system read as zero; nobody wrote that. */
static void small_blocks_whose_pages_went(void)
{
	static void *p[40000];
	unsigned int round, i;

	harden();
	for (round = 0; round < 3; round++) {
		for (i = 0; i < ARRAY_SIZE(p); i++)
			p[i] = p[i] ?: pw_malloc(100);
		for (i = 0; i < ARRAY_SIZE(p); i++) {
			if (i % 200 == round)
				continue;
			pw_free(p[i]);
			p[i] = NULL;
		}
		pw_malloc_trim(0);
	}
	for (i = 0; i < ARRAY_SIZE(p); i++)
		pw_free(p[i]);
}

static bool is_mapped(void *p)
{
	unsigned char vec;

	return !mincore((void *)((uintptr_t)p & ~(PAGE_SIZE - 1)), PAGE_SIZE, &vec);
}

/* A block with a guard behind it cannot grow in place; it is not copied at each step. */
static void guarded_growth(void)
{
	unsigned int moves = 0;
	unsigned char *p, *q;
	size_t size;

	harden();
	p = pw_malloc(200 * KIB);
	for (size = 200 * KIB + 64; size < 400 * KIB; size += 64) {
		p[size - 65] = (unsigned char)(size >> 6);
		q = pw_realloc(p, size);
		CHECK(pw_malloc_usable_size(q) == size);
		CHECK(q[size - 65] == (unsigned char)(size >> 6));
		moves += p != q;
		p = q;
	}
	printf("# %u moves\n", moves);
	CHECK(moves < 10);
	pw_free(p);
}

/* One that cannot grow where it is takes its pages along; nothing is left behind. */
static void guarded_growth_elsewhere(void)
{
	unsigned char *p, *q;
	struct span *s;
	void *behind;
	size_t i;

	harden();
	p = pw_malloc(200000);
	memset(p, 7, 200000);
	behind = pw_malloc(200000);
	q = pw_realloc(p, 210000);
	CHECK(q != p && !is_mapped(p) && pw_malloc_usable_size(q) == 210000);
	CHECK(q[0] == 7 && q[199999] == 7);
	memset(q, 8, 210000);
	pw_free(behind);
	for (i = 0; i < 8; i++)
		CHECK(pw_malloc(130000 + 20000 * i));
	s = span_of((uintptr_t)q);
	CHECK(guarded_room(s) >= 210000 && is_mapped((void *)(span_addr(s) + s->size - 1)));
	CHECK(!is_mapped((void *)(span_addr(s) + s->size)));
	pw_free(q);
}

/* One that shrinks stays, with room to grow into again, while it needs half of its mapping. */
static void guarded_shrinking(void)
{
	static const size_t sizes[] = { 150000, 150004, 199995, 101000, 200000, 120000 };
	unsigned char *p, *q;
	unsigned int i;

	harden();
	p = pw_malloc(200000);
	memset(p, 7, 200000);
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		CHECK(pw_realloc(p, sizes[i]) == p);
		CHECK(pw_malloc_usable_size(p) == sizes[i] && p[100000] == 7);
	}
	q = pw_realloc(p, 90000);
	CHECK(q != p && q[89999] == 7 && pw_malloc_usable_size(q) == 90000);
	pw_free(q);
}

/* Without memory for a smaller one it stays, too, and can grow again. */
static void guarded_smaller_where_it_is(void)
{
	unsigned char *p;

	harden();
	p = pw_malloc(MIB);
	p[99] = 7;
	pw_os_fail_after = 1;
	while (pw_malloc(100))
		;
	CHECK(pw_realloc(p, 100) == p && p[99] == 7);
	CHECK(pw_malloc_usable_size(p) == 100);
	CHECK(pw_realloc(p, 1000) == p && pw_malloc_usable_size(p) == 1000);
	pw_free(p);
}

/* What was freed is mapped still, for the next one that fits; its guard is at the same place. */
static void guarded_again(void)
{
	unsigned char *p, *q, *other;
	struct os_stats stats;
	size_t mapped;

	harden();
	other = pw_malloc(8 * MIB);
	p = pw_malloc(3 * MIB);
	memset(p, 1, 3 * MIB);
	mapped = pw_mallinfo2().hblkhd;
	pw_free(p);
	q = pw_malloc(MIB + 5);
	CHECK(q + MIB + 16 == p + 3 * MIB);
	CHECK(pw_malloc_usable_size(q) == MIB + 5);
	CHECK(pw_mallinfo2().hblkhd == mapped);
	pw_free(q);
	q = pw_calloc(1, 2 * MIB);
	CHECK(q + 2 * MIB == p + 3 * MIB);
	CHECK(!q[0] && !q[64] && !q[MIB] && !q[2 * MIB - 1]);
	pw_free(q);
	/* Too long for this, and for what is in use too much. */
	q = pw_malloc(200 * KIB);
	CHECK(q < p || q > p + 3 * MIB);
	pw_free(q);
	pw_free(other);
	q = pw_malloc(7 * MIB);
	os_get_stats(&stats);
	CHECK(stats.committed < 12 * MIB);
	pw_free(q);
}

/* Canaries are the secret, changed by where they are. */
static void write_secret(void)
{
	uint64_t word;
	char *p;

	harden();
	p = pw_malloc(104);
	memcpy(&word, p + 104, sizeof(word));
	dprintf(2, "%lx", word ^ (uintptr_t)p);
}

/* What the kernel gave the program at its start is the same for both. */
static void secrets(void)
{
	char one[64], other[64];

	CHECK(!in_child(write_secret, one, sizeof(one)) && strlen(one) > 8);
	CHECK(!in_child(write_secret, other, sizeof(other)) && strcmp(one, other));
	/* Its end is no secret. */
	CHECK(!strcmp(one + strlen(one) - 2, "a7"));
}

/* What waits to be used again is no block of the program's. */
static void nothing_in_use(void)
{
	static void *p[600];
	size_t before;
	int i;

	harden();
	before = pw_mallinfo2().uordblks;
	for (i = 0; i < 600; i++)
		p[i] = pw_malloc((size_t)(i % 5) * 100);
	CHECK(pw_mallinfo2().uordblks - before > 600 * 200);
	for (i = 0; i < 600; i++)
		pw_free(p[i]);
	/* Many are in the depot now: too few magazines to be sorted back. */
	CHECK(pw_mallinfo2().fsmblks > 600 * 50 && pw_mallinfo2().smblks > 150);
	pw_free(pw_malloc(100 * KIB));
	CHECK(pw_mallinfo2().uordblks == before);
}

/* The kernel has an end of mappings; behind it blocks have no guard. */
static void more_than_can_be_guarded(void)
{
	char *p[100];
	int i;

	harden();
	for (i = 0; i < 100; i++) {
		p[i] = pw_malloc(200 * KIB);
		CHECK(p[i]);
		CHECK(pw_malloc_usable_size(p[i]) == 200 * KIB);
		memset(p[i], i, 200 * KIB);
	}
	CHECK(pw_mallinfo2().hblks == 64);
	p[99] = pw_realloc(p[99], 220 * KIB);
	CHECK(p[99] && pw_malloc_usable_size(p[99]) == 220 * KIB);
	for (i = 0; i < 100; i++) {
		CHECK(p[i][0] == i && p[i][200 * KIB - 1] == i);
		pw_free(p[i]);
	}
}

/* Programs protect parts of their blocks; who has the memory next knows nothing of it. */
static void protected_and_freed(void)
{
	char *p;

	harden();
	p = pw_aligned_alloc(PAGE_SIZE, MIB);
	CHECK(!mprotect(p, MIB, PROT_NONE));
	pw_free(p);
	p = pw_aligned_alloc(PAGE_SIZE, MIB);
	CHECK(!mprotect(p + PAGE_SIZE, PAGE_SIZE, PROT_READ));
	pw_free(p);
	p = pw_aligned_alloc(PAGE_SIZE, MIB);
	memset(p, 1, MIB);
	pw_free(p);
}

/* What is kept goes when the program trims, or wants the memory for something else. */
static void guarded_goes(void)
{
	char *other, *p;

	harden();
	other = pw_malloc(8 * MIB);
	p = pw_malloc(2 * MIB);
	pw_free(p);
	CHECK(is_mapped(p));
	CHECK(pw_malloc_trim(0) == 1);
	CHECK(!is_mapped(p));
	p = pw_malloc(2 * MIB);
	pw_free(p);
	CHECK(is_mapped(p));
	pw_os_fail_after = 1;
	CHECK(!pw_malloc(64 * MIB));
	pw_os_fail_after = 0;
	CHECK(!is_mapped(p));
	pw_free(other);
}

/* ---- errors: the line that the library says ---- */

static bool ends_with(void (*run)(void), const char *line)
{
	static char text[512];
	int status = in_child(run, text, sizeof(text));

	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && strstr(text, line))
		return true;
	printf("# status %#x, said: %s\n", status, text);
	return false;
}

/* One word more by as much as another one is less: their sum is what it was. */
static void write_two_after_free(void)
{
	uint64_t *p;

	harden();
	p = pw_malloc(100);
	pw_free(p);
	p[2]++;
	p[4]--;
	pw_malloc(100);
}

static void two_words_after_free(void)
{
	CHECK(ends_with(write_two_after_free, "malloc(): written to after free:"));
}

/* The block stays where it is: the canary that moves was looked at. */
static void write_behind_and_resize(void)
{
	volatile char *p;

	harden();
	p = pw_malloc(100);
	p[100] ^= 1;
	(void)!pw_realloc((void *)p, 101);
}

static void resized_where_it_is(void)
{
	CHECK(ends_with(write_behind_and_resize, "realloc(): written past the end of"));
}

static size_t front_size, front_align;

static void write_in_front(void)
{
	volatile char *p;

	harden();
	p = pw_aligned_alloc(front_align, front_size);
	p[-1] ^= 1;
	pw_free((void *)p);
}

static void in_front(void)
{
	static const size_t sizes[] = { 200000, 256 * KIB, 256 * KIB - 8, MIB };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		front_size = sizes[i];
		for (front_align = 16; front_align <= PAGE_SIZE; front_align *= 16)
			CHECK(ends_with(write_in_front, "free(): written in front of"));
	}
}

static void ask_the_middle(void)
{
	char *p;

	harden();
	p = pw_malloc(200000);
	CHECK(pw_malloc_usable_size(p) == 200000);
	pw_malloc_usable_size(p + 16);
}

static void usable_size_of_the_middle(void)
{
	CHECK(ends_with(ask_the_middle, "malloc_usable_size(): invalid pointer"));
}

static size_t sized;

static void free_with_one_more(void)
{
	harden();
	pw_free_sized(pw_malloc(sized), sized + (sized ? 1 : 2));
}

static void free_aligned_with_one_less(void)
{
	harden();
	pw_free_aligned_sized(pw_aligned_alloc(64, sized + 2), 64, sized + 1);
}

static void other_sizes(void)
{
	static const size_t sizes[] = { 0, 1, 100, 104, 5000, 100000, 300000 };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		sized = sizes[i];
		CHECK(ends_with(free_with_one_more, "free_sized(): freed with another size:"));
		CHECK(ends_with(free_aligned_with_one_less,
				"free_aligned_sized(): freed with another size:"));
	}
}

static void right_sizes(void)
{
	size_t size;

	harden();
	pw_free_sized(NULL, 5);
	pw_free_sized(pw_malloc(0), 0);
	pw_free_sized(pw_malloc(0), 1);
	for (size = 1; size < 400 * KIB; size += size / 8 + 1) {
		pw_free_sized(pw_malloc(size), size);
		pw_free_sized(pw_calloc(1, size), size);
		pw_free_sized(pw_realloc(pw_malloc(size), size + 5), size + 5);
		pw_free_sized(pw_realloc(pw_malloc(2 * size), size), size);
		pw_free_aligned_sized(pw_aligned_alloc(256, size), 256, size);
	}
}

int main(void)
{
	static const struct test tests[] = {
		{ "blocks end where they were asked to", exact_sizes },
		{ "a block that grows", growth },
		{ "a freed block is not used again at once", delay },
		{ "a freed block waits for others to be freed", delay_by_frees },
		{ "large blocks that wait", large_blocks_wait },
		{ "a large block that grows", growth_in_place },
		{ "blocks are placed at random", placement },
		{ "smaller where it is", smaller_where_it_is },
		{ "smaller where it is, and larger again", smaller_and_larger_where_it_is },
		{ "a guard page behind large blocks", guard_page },
		{ "a guarded block that grows", guarded_growth },
		{ "a guarded block that grows elsewhere", guarded_growth_elsewhere },
		{ "a guarded block that shrinks", guarded_shrinking },
		{ "a guarded block that cannot move", guarded_smaller_where_it_is },
		{ "a guarded block where another one was", guarded_again },
		{ "a guarded block that the program protected", protected_and_freed },
		{ "more large blocks than can be guarded", more_than_can_be_guarded },
		{ "memory of guarded blocks that nobody has", guarded_goes },
		{ "a secret that the start-up's bytes do not tell", secrets },
		{ "statistics", nothing_in_use },
		{ "blocks that another thread frees", handover },
		{ "two changes after free that make up for each other", two_words_after_free },
		{ "a byte behind a block that grows where it is", resized_where_it_is },
		{ "a byte in front of a large block", in_front },
		{ "the usable size of the middle of a large block", usable_size_of_the_middle },
		{ "freed with another size", other_sizes },
		{ "freed with the size it has", right_sizes },
		{ "small blocks whose pages were returned", small_blocks_whose_pages_went },
		{ "threads that exchange blocks, and end", threads },
	};

	return run_tests(tests, ARRAY_SIZE(tests));
}
