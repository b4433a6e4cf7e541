// SPDX-License-Identifier: GPL-2.0-only
/*
 * library.c - the library's breaks on the device: most moves are a store
 */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>

#include "kselftest_harness.h"
#include "../../userlib/pagewell.h"

#define GRANULE		(16UL << 10)
#define MIB		(1UL << 20)
#define DEBUGFS		"/sys/kernel/debug/pagewell/"

/* A number of a file in debugfs, by the word before it; -1: not there. */
static long counter(const char *file, const char *name)
{
	char path[128], word[64];
	long value, found = -1;
	FILE *f;

	snprintf(path, sizeof(path), DEBUGFS "%s", file);
	f = fopen(path, "r");
	while (f && fscanf(f, "%63s", word) == 1)
		if (!strcmp(word, name) && fscanf(f, "%ld", &value) == 1) {
			found = value;
			break;
		}
	if (f)
		fclose(f);
	return found;
}

static long brk_calls(void)
{
	return counter("faults", "brk_calls:");
}

/* Grow by @steps granules, each filled with its number. */
static size_t grow(pagewell_brk_t *b, size_t steps)
{
	unsigned char *p;
	size_t i;

	for (i = 0; i < steps; i++) {
		p = pagewell_sbrk(b, GRANULE);
		if (!p)
			break;
		memset(p, (int)(i % 251), GRANULE);
	}
	return i;
}

static bool is_filled(const unsigned char *start, size_t steps)
{
	size_t i;

	for (i = 0; i < steps * GRANULE; i += 512)
		if (start[i] != i / GRANULE % 251)
			return false;
	return true;
}

TEST(sbrk_is_a_store)
{
	pagewell_brk_t *b = pagewell_brk_create(256 * MIB);
	long before = brk_calls(), calls;
	unsigned char *start;

	ASSERT_NE(NULL, b);
	ASSERT_LE(0, before);
	start = pagewell_sbrk(b, 0);
	ASSERT_EQ(4096, grow(b, 4096));
	calls = brk_calls() - before;
	EXPECT_LE(1, calls);
	EXPECT_GE(60, calls);
	EXPECT_TRUE(is_filled(start, 4096));

	/* Down and up again: what was given back reads as zero. */
	ASSERT_NE(NULL, pagewell_sbrk(b, -(long)(32 * MIB)));
	ASSERT_EQ(start + 32 * MIB, pagewell_sbrk(b, GRANULE));
	EXPECT_EQ(0, start[32 * MIB]);
	EXPECT_EQ(0, memcmp(start + 32 * MIB, start + 32 * MIB + 1, GRANULE - 1));
	EXPECT_TRUE(is_filled(start, 2048));
	pagewell_brk_destroy(b);
}

TEST(arenas_grow_by_stores)
{
	long before = brk_calls();
	size_t i;

	for (i = 0; i < 64 * 1024; i++) {
		void **p = malloc(1000);

		ASSERT_NE(NULL, p);
		*p = p;
	}
	EXPECT_GE(60, brk_calls() - before);
}

/*
 * A test is a child, with what it inherited on its account. This one runs in a
 * program of its own, whose heap has a limit.
 */
#define FILLER	"PAGEWELL_TEST_FILLS"

static int fill_heap(size_t limit)
{
	pagewell_brk_t *b = pagewell_brk_create(2 * limit);
	size_t steps;

	if (!b)
		return 2;
	steps = grow(b, SIZE_MAX);
	if (!is_filled((unsigned char *)pagewell_sbrk(b, 0) - steps * GRANULE, steps))
		return 3;
	/* Other breaks have little of it. */
	return steps * GRANULE + MIB >= limit ? 0 : 4;
}

/* Blocks that cannot grow where they are: wherever they move, the mapping is there already. */
static int move_blocks(void)
{
	size_t first, i;
	char *p;

	for (first = 1; first < 12; first++) {
		if (!malloc(first * MIB / 2))
			return 2;
		p = malloc(3 * MIB);
		if (!p || !malloc(MIB))
			return 3;
		p = realloc(p, (14 + first) * MIB);
		if (!p)
			return 4;
		for (i = 0; i < (14 + first) * MIB; i += 4096)
			p[i] = 1;
	}
	return 0;
}

/* Whatever a program does to a part of the heap, the rest goes on growing. */
static int grow_in_parts(void)
{
	char *p = aligned_alloc(4096, 4096), *q;
	size_t i, k;

	if (!p || mlock(p, 4096) || munlock(p, 4096))
		return 2;
	for (k = 0; k < 10; k++) {
		q = aligned_alloc(4096, 8 * MIB);
		if (!q)
			return 3;
		for (i = 0; i < 8 * MIB; i += 4096)
			q[i] = 1;
		if (mprotect(q + MIB, 4096, PROT_READ) ||
		    mprotect(q + MIB, 4096, PROT_READ | PROT_WRITE) ||
		    madvise(q + 2 * MIB, 4096, MADV_DONTDUMP))
			return 4;
		q[MIB] = 2;
	}
	return 0;
}

__attribute__((constructor)) static void begin(void)
{
	const char *what = getenv(FILLER);

	if (what)
		_exit(*what == 'm' ? move_blocks() : *what == 'p' ? grow_in_parts() :
		      fill_heap(64 * MIB));
}

/* What is committed ahead is given up when there is no more. */
TEST(to_the_last_page)
{
	EXPECT_EQ(0, system(FILLER "=1 PAGEWELL_LIMIT=64M exec /proc/$PPID/exe"));
}

/* What is asked for ahead and refused is no refusal each time: the program has all it wants. */
TEST(refused_once)
{
	long before = counter("faults", "refused:");

	EXPECT_EQ(0, system(FILLER "=1 PAGEWELL_LIMIT=64M exec /proc/$PPID/exe"));
	EXPECT_GE(20, counter("faults", "refused:") - before);
}

TEST(blocks_that_move)
{
	EXPECT_EQ(0, system(FILLER "=move exec /proc/$PPID/exe"));
}

TEST(a_heap_in_parts)
{
	EXPECT_EQ(0, system(FILLER "=parts exec /proc/$PPID/exe"));
}

/* All of it gets to the module; each says here that it has been heard. */
TEST(advice)
{
	const size_t size = 4 * MIB;
	unsigned char *p = pagewell_map(size, 2 * MIB, 0);
	long collapsed = counter("faults", "huge_collapsed:");
	size_t i;

	ASSERT_NE(NULL, p);
	EXPECT_EQ(0, pagewell_advise(p, size, PAGEWELL_NOHUGEPAGE));
	memset(p, 1, size);
	EXPECT_EQ(0, pagewell_advise(p, size, PAGEWELL_HUGEPAGE));
	EXPECT_EQ(0, pagewell_advise(p, size, PAGEWELL_COLLAPSE));
	EXPECT_EQ(collapsed + 2, counter("faults", "huge_collapsed:"));
	EXPECT_EQ(-1, pagewell_advise(p, MIB, PAGEWELL_COLLAPSE));
	EXPECT_EQ(0, pagewell_advise(p, size, PAGEWELL_FREE));
	EXPECT_EQ(0, pagewell_advise(p, size, PAGEWELL_COLD));
	for (i = 0; i < size; i += 4096)
		ASSERT_EQ(1, p[i]);
	EXPECT_EQ(0, pagewell_advise(p, size, PAGEWELL_DONTNEED));
	for (i = 0; i < size; i += 4096)
		ASSERT_EQ(0, p[i]);
	EXPECT_EQ(0, pagewell_unmap(p));
}

TEST(child_goes_on)
{
	pagewell_brk_t *b = pagewell_brk_create(64 * MIB);
	unsigned char *start = pagewell_sbrk(b, 0);
	int status;
	pid_t pid;

	ASSERT_EQ(300, grow(b, 300));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(grow(b, 300) != 300 || !is_filled(start, 300) ||
		      !is_filled(start + 300 * GRANULE, 300));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(start + 300 * GRANULE, pagewell_sbrk(b, 0));
	ASSERT_EQ(300, grow(b, 300));
	EXPECT_TRUE(is_filled(start + 300 * GRANULE, 300));
}

#define TRAP_FLAG	0x100

static volatile pid_t stepped_to_fork;

/* Before each instruction; what it looks for is the system call that takes a request over. */
static void step(int sig, siginfo_t *info, void *context)
{
	greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
	const uint8_t *code = (const uint8_t *)regs[REG_RIP];

	if (code[0] != 0x0f || code[1] != 0x05 || regs[REG_RAX] != SYS_msync)
		return;
	stepped_to_fork = fork();
	regs[REG_EFL] &= ~TRAP_FLAG;
}

/* The child returns from the handler into the same request. */
TEST(fork_in_the_middle_of_a_request)
{
	struct sigaction act = { .sa_sigaction = step, .sa_flags = SA_SIGINFO };
	unsigned char *p;
	int status;

	stepped_to_fork = -1;
	ASSERT_EQ(0, sigaction(SIGTRAP, &act, NULL));
	__asm__ volatile("leaq -128(%%rsp), %%rsp\n\t"
			 "pushfq\n\t"
			 "orq %0, (%%rsp)\n\t"
			 "popfq\n\t"
			 "leaq 128(%%rsp), %%rsp" : : "i"(TRAP_FLAG) : "cc", "memory");
	p = pagewell_map(MIB, 0, 0);
	if (!stepped_to_fork) {
		if (!p)
			_exit(2);
		memset(p, 1, MIB);
		_exit(pagewell_unmap(p) ? 3 : 0);
	}
	ASSERT_LT(0, stepped_to_fork);
	ASSERT_NE(NULL, p);
	memset(p, 2, MIB);
	ASSERT_EQ(stepped_to_fork, waitpid(stepped_to_fork, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(2, p[MIB - 1]);
	EXPECT_EQ(0, pagewell_unmap(p));
}

TEST_HARNESS_MAIN
