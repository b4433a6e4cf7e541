// SPDX-License-Identifier: GPL-2.0-only
/*
 * space.c - the library gives addresses back, too: under RLIMIT_AS the program has
 * them for stacks and maps of its own when its heap has fallen, and the heap when it
 * rises again
 */
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "../../userlib/pagewell.h"

#define KIB	1024UL
#define MIB	(1024 * KIB)
#define STACK	(8 * MIB)

/* A program of its own for each test: what "ulimit -v" has; a heap that needs most of it. */
#define TO_DO	"PAGEWELL_TEST_SPACE"
#define SCALE	"PAGEWELL_SPACE_SCALE"

static size_t scale = 1;
#define LIMIT	(scale * 512 * MIB)
#define PEAK	(scale * 384 * MIB)
#define OWN_MAP	(scale * 256 * MIB)
#define THREADS	(scale * 10)

static size_t vm_size(void)
{
	unsigned long pages = 0;
	FILE *f = fopen("/proc/self/statm", "re");

	if (!f || fscanf(f, "%lu", &pages) != 1)
		pages = 0;
	if (f)
		fclose(f);
	return pages * 4096;
}

struct item {
	struct item *next;
	size_t size;
	unsigned long number;
};

static size_t small_block(size_t at)
{
	return 100 + at / 512 % 3000;
}

static size_t large_block(size_t at)
{
	return 700 * KIB + at / 64 % (5 * MIB);
}

static size_t mixed_block(size_t at)
{
	return at / MIB % 8 ? small_block(at) : large_block(at);
}

static void *alloc(pagewell_heap_t *heap, size_t size)
{
	return heap ? pagewell_heap_alloc(heap, size) : malloc(size);
}

/* Blocks with @bytes in them, written from end to end. */
static struct item *fill(pagewell_heap_t *heap, size_t (*size_at)(size_t), size_t bytes)
{
	struct item *list = NULL, *item;
	unsigned long number = 0;
	size_t at, size;

	for (at = 0; at < bytes; at += size) {
		size = size_at(at);
		item = alloc(heap, size);
		if (!item) {
			fprintf(stderr, "# no memory after %zu MiB of the heap, %zu in all\n",
				at / MIB, vm_size() / MIB);
			exit(10);
		}
		memset(item, (int)number, size);
		*item = (struct item){ list, size, number++ };
		list = item;
	}
	return list;
}

static void empty(struct item *list)
{
	struct item *next;

	for (; list; list = next) {
		unsigned char *bytes = (unsigned char *)list;

		next = list->next;
		if (list->size > sizeof(*list) &&
		    bytes[list->size - 1] != (unsigned char)list->number)
			exit(11);
		free(list);
	}
}

static void *wait_for_end(void *arg)
{
	pthread_rwlock_rdlock(arg);
	pthread_rwlock_unlock(arg);
	return NULL;
}

/* What a limit leaves room for beside a heap that has fallen; then it rises again. */
static void others_have_room(size_t (*size_at)(size_t))
{
	pthread_rwlock_t end = PTHREAD_RWLOCK_INITIALIZER;
	pthread_t threads[THREADS];
	pthread_attr_t attr;
	size_t i;
	void *p;

	pthread_rwlock_wrlock(&end);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK);
	for (i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], &attr, wait_for_end, &end)) {
			fprintf(stderr, "# thread %zu, with %zu MiB in all\n", i, vm_size() / MIB);
			exit(12);
		}
	p = mmap(NULL, OWN_MAP, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED) {
		fprintf(stderr, "# no map, with %zu MiB in all\n", vm_size() / MIB);
		exit(13);
	}
	empty(fill(NULL, small_block, 8 * MIB));
	empty(fill(NULL, large_block, 8 * MIB));
	munmap(p, OWN_MAP);
	empty(fill(NULL, size_at, PEAK));
	pthread_rwlock_unlock(&end);
	for (i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

static void rise_and_fall(size_t (*size_at)(size_t))
{
	empty(fill(NULL, size_at, PEAK));
	malloc_trim(0);
	others_have_room(size_at);
}

static int small(void)
{
	rise_and_fall(small_block);
	return 0;
}

static int large(void)
{
	rise_and_fall(large_block);
	return 0;
}

static int mixed(void)
{
	rise_and_fall(mixed_block);
	return 0;
}

/* Nobody asks for it. */
static int by_itself(void)
{
	empty(fill(NULL, mixed_block, PEAK));
	others_have_room(mixed_block);
	return 0;
}

static int private_heap(void)
{
	pagewell_heap_t *heap = pagewell_heap_create(0);

	if (!heap)
		return 2;
	fill(heap, mixed_block, PEAK);
	pagewell_heap_destroy(heap);
	others_have_room(mixed_block);
	return 0;
}

/* The child has what its parent had, and both can let go of it. */
static int child(void)
{
	struct item *list = fill(NULL, mixed_block, PEAK);
	int status;
	pid_t pid = fork();

	if (pid < 0)
		return 2;
	if (!pid) {
		empty(list);
		malloc_trim(0);
		others_have_room(mixed_block);
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid || status)
		return 3;
	empty(list);
	malloc_trim(0);
	pid = fork();
	if (!pid) {
		others_have_room(mixed_block);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
		return 4;
	others_have_room(mixed_block);
	return 0;
}

/* The program has done something to a part of the mapping. */
static int parts(void)
{
	char *locked = aligned_alloc(4096, 4096);

	if (!locked || mlock(locked, 4096))
		return 2;
	rise_and_fall(mixed_block);
	return 0;
}

/* What grows again is not like that part of it. */
static int parts_above(void)
{
	char *advised = pagewell_map(PEAK / 4 * 3, 0, 0), *later;
	int status;
	pid_t pid;

	if (!advised || madvise(advised, PEAK / 4 * 3, MADV_DONTFORK) ||
	    pagewell_remap(advised, MIB, 0) != advised)
		return 2;
	malloc_trim(0);
	later = pagewell_map(PEAK, 0, 0);
	if (!later)
		return 3;
	later[PEAK - 1] = 1;
	pid = fork();
	if (!pid)
		_exit(later[PEAK - 1] != 1);
	return pid > 0 && waitpid(pid, &status, 0) == pid && !status ? 0 : 4;
}

/* Addresses that were used a moment ago are not better than others when they are cut off. */
static int again(void)
{
	char *low = pagewell_map(PEAK / 3, 0, 0), *high = pagewell_map(PEAK / 4, 0, 0), *p;

	if (!low || !high || pagewell_unmap(low) || pagewell_unmap(high))
		return 2;
	malloc_trim(0);
	p = pagewell_map(PEAK / 4, 0, 0);
	if (!p)
		return 3;
	memset(p, 1, PEAK / 4);
	return p < high && vm_size() < PEAK / 2 ? 0 : 4;
}

/* Blocks that moved, and grew where they were. */
static int moved(void)
{
	char *p = NULL, *q;
	size_t i;

	for (i = 4; i * MIB < PEAK / 4; i += 4) {
		q = realloc(p, i * MIB);
		if (!q)
			return 2;
		p = q;
		if (i % 16 == 4 && !malloc(MIB))
			return 3;
		memset(p + (i - 4) * MIB, 1, 4 * MIB);
	}
	p = realloc(p, MIB);
	malloc_trim(0);
	p = realloc(p, 24 * MIB);
	if (!p)
		return 4;
	memset(p, 2, 24 * MIB);
	free(p);
	malloc_trim(0);
	return vm_size() > PEAK / 2 ? 5 : 0;
}

static void *rise_often(void *arg)
{
	size_t (*size_at)(size_t) = (uintptr_t)arg % 2 ? small_block : mixed_block;
	size_t i;

	for (i = 0; i < 8; i++) {
		empty(fill(NULL, size_at, PEAK / 16 * (i % 4)));
		malloc_trim(0);
	}
	return NULL;
}

/* While some have theirs cut, others ask for more. */
static int threads(void)
{
	pthread_t thread[3];
	size_t i;

	for (i = 0; i < 3; i++)
		if (pthread_create(&thread[i], NULL, rise_often, (void *)i))
			return 2;
	for (i = 0; i < 3; i++)
		pthread_join(thread[i], NULL);
	malloc_trim(0);
	others_have_room(mixed_block);
	return 0;
}

static const struct {
	const char *name;
	int (*run)(void);
} programs[] = {
	{ "small", small },
	{ "large", large },
	{ "mixed", mixed },
	{ "by_itself", by_itself },
	{ "private_heap", private_heap },
	{ "child", child },
	{ "parts", parts },
	{ "parts_above", parts_above },
	{ "again", again },
	{ "moved", moved },
	{ "threads", threads },
};

__attribute__((constructor)) static void begin(void)
{
	const char *what = getenv(TO_DO), *times = getenv(SCALE);
	struct rlimit limit;
	size_t i;

	if (!what)
		return;
	if (times)
		scale = strtoul(times, NULL, 0);
	limit = (struct rlimit){ LIMIT, LIMIT };
	setrlimit(RLIMIT_AS, &limit);
	for (i = 0; i < sizeof(programs) / sizeof(*programs); i++)
		if (!strcmp(what, programs[i].name))
			_exit(programs[i].run());
	_exit(1);
}

FIXTURE(space) {
};

FIXTURE_SETUP(space)
{
}

FIXTURE_TEARDOWN(space)
{
}

FIXTURE_VARIANT(space) {
	const char *program;
	const char *environment;
};

#define PROGRAM(_name, _program, _environment)	\
	FIXTURE_VARIANT_ADD(space, _name) { .program = _program, .environment = _environment }

PROGRAM(small, "small", "");
PROGRAM(large, "large", "");
PROGRAM(mixed, "mixed", "");
PROGRAM(by_itself, "by_itself", "");
PROGRAM(private_heap, "private_heap", "");
PROGRAM(child, "child", "");
PROGRAM(parts, "parts", "");
PROGRAM(parts_above, "parts_above", "");
PROGRAM(again, "again", "");
PROGRAM(moved, "moved", "");
PROGRAM(threads, "threads", "");
PROGRAM(lazy, "mixed", "PAGEWELL_COMMIT=lazy");
PROGRAM(limited, "mixed", "PAGEWELL_LIMIT=440M");
PROGRAM(hardened, "large", "PAGEWELL_HARDEN=1");
PROGRAM(all_huge, "small", "PAGEWELL_HUGE=always");

TEST_F_TIMEOUT(space, is_given_back, 900)
{
	char command[256];

	snprintf(command, sizeof(command), TO_DO "=%s %s exec /proc/$PPID/exe",
		 variant->program, variant->environment);
	EXPECT_EQ(0, system(command));
}

TEST_HARNESS_MAIN
