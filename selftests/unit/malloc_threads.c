// SPDX-License-Identifier: GPL-2.0-only
/*
 * malloc_threads.c - threads that have no caches, and what the others leave
 */
#include <pthread.h>
#include <semaphore.h>
#include <sys/mman.h>

#include "malloc_test.h"
#include "../../userlib/pagewell.h"

/* All that is free is in the arena of large blocks, between those. */
static void fill_all_but_a_hole(void)
{
	void *hole, *behind;

	pw_mallopt(M_MMAP_THRESHOLD, 32 * MIB);
	hole = pw_malloc(6 * MIB);
	behind = pw_malloc(6 * MIB);
	CHECK(hole && behind);
	pw_os_fail_after = 1;
	while (pw_malloc(100 * KIB))
		;
	while (pw_malloc(100))
		;
	pw_free(hole);
}

/* No thread uses its caches. */
static void perturbed(void)
{
	unsigned int i;

	CHECK(pw_mallopt(M_PERTURB, 0x55) == 1);
	fill_all_but_a_hole();
	for (i = 0; i < 1000; i++)
		CHECK(pw_malloc(100));
}

static pthread_key_t last_key;
static sem_t started, go_on;
static void *got;

/* Destructors of keys that are set again are called again. */
static bool called_again(void *arg)
{
	static __thread bool called;
	bool again = called;

	called = true;
	CHECK(again || !pthread_setspecific(last_key, arg));
	return again;
}

/* The first time its caches are there, then they have been given back. */
static void allocate_last(void *arg)
{
	bool again = called_again(arg);

	CHECK(tcache_attached(tcache_self()) == !again);
	if (again)
		got = pw_malloc(100);
}

static void *allocate_and_end(void *arg)
{
	pw_free(pw_malloc(5000));
	CHECK(!pthread_setspecific(last_key, &last_key));
	sem_post(&started);
	sem_wait(&go_on);
	return arg;
}

/* A thread that allocates after its end, as far as we are told; @meanwhile before that. */
static void end_of_thread(void (*meanwhile)(void))
{
	pthread_t thread;

	/* Keys made later are looked at later. */
	pw_free(pw_malloc(5000));
	CHECK(!pthread_key_create(&last_key, allocate_last));
	CHECK(!pthread_create(&thread, NULL, allocate_and_end, NULL));
	sem_wait(&started);
	meanwhile();
	sem_post(&go_on);
	CHECK(!pthread_join(thread, NULL) && got);
}

static void without_caches(void)
{
	end_of_thread(fill_all_but_a_hole);
}

static void contend(void)
{
	lock(&pw_arenas[0]->lock);
	pw_arenas[0]->contended = 100;
}

/* The first arena is taken by another one: that is no reason to lose it. */
static void without_arena(void)
{
	struct arena *first;

	CHECK(pw_mallopt(M_PERTURB, 0x55) == 1);
	pw_free(pw_malloc(1));
	first = pw_arenas[0];
	end_of_thread(contend);
	CHECK(span_arena(span_of((uintptr_t)got)) != first);
	CHECK(pw_arenas[0] == first);
}

#define NODES		200000
#define NODE_SIZE	512

static bool free_at_once;

static void free_nodes(void *arg)
{
	void **p = arg, **next;

	if (!free_at_once && !called_again(arg))
		return;
	for (; p; p = next) {
		next = *p;
		pw_free(p);
	}
}

static void *own_nodes(void *arg)
{
	void **p, **last = NULL;
	int i;

	for (i = 0; i < NODES; i++) {
		p = pw_malloc(NODE_SIZE);
		CHECK(p);
		*p = last;
		last = p;
	}
	CHECK(!pthread_setspecific(last_key, last));
	return arg;
}

/* What a thread frees when it ends goes back to the system, as what it frees before. */
static void returned_at_the_end(void)
{
	struct os_stats stats;
	pthread_t thread;

	pw_free(pw_malloc(5000));
	CHECK(!pthread_key_create(&last_key, free_nodes));
	CHECK(!pthread_create(&thread, NULL, own_nodes, NULL));
	CHECK(!pthread_join(thread, NULL));
	os_get_stats(&stats);
	printf("# %zu of %d MiB\n", stats.returned / MIB, NODES / 2048);
	CHECK(stats.returned > NODES / 8 * 7 * (size_t)NODE_SIZE);
}

static void returned_with_caches(void)
{
	free_at_once = true;
	returned_at_the_end();
}

static void returned_hardened(void)
{
	harden();
	returned_at_the_end();
}

#define PAGES_LENGTH	(8 * MIB)

static char *pages;
static bool done;

static void *advise(void *arg)
{
	CHECK(!pagewell_advise(pages, PAGES_LENGTH, PAGEWELL_POPULATE));
	__atomic_store_n(&done, true, __ATOMIC_RELEASE);
	return arg;
}

static void *unmap(void *arg)
{
	CHECK(!pagewell_unmap(pages));
	return arg;
}

static bool is_advised(void)
{
	return __atomic_load_n(&done, __ATOMIC_ACQUIRE);
}

static bool is_unmapped(void)
{
	unsigned char resident;

	return mincore(pages, PAGE_SIZE, &resident) && errno == ENOMEM;
}

/* What takes as long as there are pages does not keep others from growing meanwhile. */
static void beside_the_lock(void *(*call)(void *arg), void *arg, bool (*is_done)(void))
{
	pthread_t thread;
	unsigned int ms;

	lock(&pw_os_lock);
	CHECK(!pthread_create(&thread, NULL, call, arg));
	for (ms = 0; ms < 10000 && !is_done(); ms++)
		usleep(1000);
	CHECK(is_done());
	unlock(&pw_os_lock);
	CHECK(!pthread_join(thread, NULL));
}

static void long_calls(void)
{
	pages = pagewell_map(PAGES_LENGTH, 0, 0);
	CHECK(pages && !os_is_device((uintptr_t)pages));
	beside_the_lock(advise, NULL, is_advised);
	beside_the_lock(unmap, NULL, is_unmapped);
	CHECK(pagewell_map(PAGES_LENGTH, 0, 0) == pages);
}

/* Still there, but without its page. */
static bool is_dropped(void)
{
	unsigned char resident = 1;

	CHECK(!mincore(pages, PAGE_SIZE, &resident));
	return !(resident & 1);
}

static void *trim(void *arg)
{
	pw_malloc_trim(0);
	return arg;
}

static void *destroy(void *arg)
{
	pagewell_heap_destroy(arg);
	return NULL;
}

static void *shrink(void *arg)
{
	CHECK(pw_realloc(arg, 34 * MIB) == arg);
	return NULL;
}

/* A break that falls, one that goes, and the end of a mapped block: pages go first. */
static void long_ways_down(void)
{
	const size_t size = 400 * KIB;
	pagewell_heap_t *h = pagewell_heap_create(0);
	char *p;

	CHECK(h && pw_mallopt(M_MMAP_THRESHOLD, 32 * MIB));
	p = pw_malloc(size);
	CHECK(p);
	pages = (char *)ALIGN_UP((uintptr_t)memset(p, 1, size), PAGE_SIZE);
	pw_free(p);
	tcache_drain();
	beside_the_lock(trim, NULL, is_dropped);
	p = pagewell_heap_alloc(h, size);
	CHECK(p);
	pages = (char *)ALIGN_UP((uintptr_t)memset(p, 1, size), PAGE_SIZE);
	beside_the_lock(destroy, h, is_dropped);
	p = pw_malloc(40 * MIB);
	CHECK(p);
	pages = p + 39 * MIB;
	memset(pages, 1, MIB);
	beside_the_lock(shrink, p, is_dropped);
}

int main(void)
{
	static const struct test tests[] = {
		{ "perturbed, with memory in another arena only", perturbed },
		{ "a thread without caches, the same", without_caches },
		{ "a thread without caches, and its arena is locked", without_arena },
		{ "what a key's destructor frees", returned_with_caches },
		{ "the same when the thread's caches are gone", returned_at_the_end },
		{ "the same, hardened", returned_hardened },
		{ "advice and unmapping on anonymous memory, without a lock", long_calls },
		{ "the pages of what becomes smaller, without a lock", long_ways_down },
	};

	return run_tests(tests, ARRAY_SIZE(tests));
}
