// SPDX-License-Identifier: GPL-2.0-only
/*
 * malloc_fuzz.c - traces of operations, mutated from ones that led somewhere new
 *
 * usage: malloc_fuzz [SECONDS [SEED]], or: malloc_fuzz -r TRACE
 *
 * A trace is a string of bytes, four an operation. Traces that bring the heap
 * into a state of a kind not seen before are kept and mutated further; a state
 * is what statistics tell of it, in powers of two. Contents are checked all the
 * time, and at the end of a trace everything must be free. A trace that fails
 * is printed, for -r.
 */
#include <sys/mman.h>
#include <time.h>

#include "malloc_test.h"
#include "../../userlib/pagewell.h"

#define OPS		256
#define SLOTS		64
#define CORPUS		512
#define STATES		(1 << 16)

struct op {
	uint8_t kind;
	uint8_t slot;
	uint8_t size;
	uint8_t more;
};

struct trace {
	struct op op[OPS];
};

struct slot {
	unsigned char *p;
	size_t size;
	unsigned char tag;
};

static struct slot slots[SLOTS];
static struct trace corpus[CORPUS];
/* Shared with the parent, who prints it when the child fails. */
static struct trace *shared;
#define running	(*shared)
static unsigned int nr_corpus;
static uint8_t seen[STATES];
static uint64_t state_random;

static uint64_t next(void)
{
	state_random ^= state_random << 13;
	state_random ^= state_random >> 7;
	state_random ^= state_random << 17;
	return state_random;
}

/* A byte picks the power of two, another one where in it: up to 8 MiB. */
static size_t size_of_op(const struct op *op)
{
	size_t power = (size_t)1 << (op->size % 24);

	return power - 1 + power * op->more / 256;
}

static void fill(struct slot *s)
{
	CHECK(pw_malloc_usable_size(s->p) >= s->size);
	memset(s->p, s->tag, MIN(s->size, 64UL));
	if (s->size)
		s->p[s->size - 1] = s->tag;
}

static void check(const struct slot *s, size_t size)
{
	size_t i;

	for (i = 0; i < MIN(size, 64UL); i++)
		CHECK(s->p[i] == s->tag);
	if (size && size == s->size)
		CHECK(s->p[size - 1] == s->tag);
}

static void drop(struct slot *s)
{
	if (s->p)
		check(s, s->size);
	pw_free(s->p);
	s->p = NULL;
}

static void resize(struct slot *s, size_t size)
{
	size_t kept = MIN(MIN(size, s->size), 64UL), i;

	if (!s->p || !size)
		return;
	check(s, s->size);
	s->p = pw_realloc(s->p, size);
	CHECK(s->p);
	for (i = 0; i < kept; i++)
		CHECK(s->p[i] == s->tag);
	s->size = size;
	fill(s);
}

static void step(const struct op *op, unsigned int n)
{
	struct slot *s = &slots[op->slot % SLOTS];
	size_t size = size_of_op(op), i;

	switch (op->kind % 12) {
	case 0:
	case 1:
	case 2:
		drop(s);
		s->p = pw_malloc(size);
		break;
	case 3:
		drop(s);
		s->p = pw_calloc(1, size);
		for (i = 0; i < size; i += i < 64 ? 1 : 61)
			CHECK(!s->p[i]);
		break;
	case 4:
		drop(s);
		i = (size_t)16 << (op->more % 14);
		s->p = pw_aligned_alloc(i, size);
		CHECK((uintptr_t)s->p % i == 0);
		break;
	case 5:
	case 6:
		resize(s, size);
		return;
	case 7:
		resize(s, s->size + op->more + 1);
		return;
	case 8:
		/* Many of a size, to and fro. */
		for (i = 0; i < SLOTS; i++) {
			drop(&slots[i]);
			slots[i] = (struct slot){ pw_malloc(size % 5000), size % 5000, 1 };
			CHECK(slots[i].p);
			fill(&slots[i]);
		}
		return;
	case 9:
		for (i = op->more % 4; i < SLOTS; i += 1 + op->size % 4)
			drop(&slots[i]);
		return;
	case 10:
		if (op->more < 16)
			pw_malloc_trim(op->size * 4096);
		return;
	default:
		drop(s);
		return;
	}
	CHECK(s->p);
	s->size = size;
	s->tag = (unsigned char)(n * 7 + 1);
	fill(s);
}

static unsigned int log_of(size_t n)
{
	return n ? 64 - (unsigned int)__builtin_clzl(n) : 0;
}

/* Has the heap never been in such a state? */
static bool is_new(void)
{
	struct pagewell_stats s;
	uint32_t hash;

	CHECK(!pagewell_get_stats(&s, sizeof(s)));
	hash = log_of(s.in_use) * 31 + log_of(s.cached);
	hash = hash * 31 + log_of(s.arenas);
	hash = hash * 31 + log_of(s.mapped) * 3 + log_of(s.committed - s.in_use);
	hash %= STATES;
	if (seen[hash])
		return false;
	seen[hash] = 1;
	return true;
}

static void print_trace(void)
{
	const uint8_t *byte = (const uint8_t *)&running;
	size_t i;

	printf("# malloc_fuzz -r ");
	for (i = 0; i < sizeof(running); i++)
		printf("%02x", byte[i]);
	printf("\n");
	fflush(stdout);
}

static bool run_trace(void)
{
	bool new = false;
	unsigned int i;

	for (i = 0; i < OPS; i++) {
		step(&running.op[i], i);
		if (i % 16 == 15)
			new |= is_new();
	}
	for (i = 0; i < SLOTS; i++)
		drop(&slots[i]);
	pw_malloc_trim(0);
	CHECK(pw_mallinfo2().uordblks == 0 && pw_mallinfo2().hblks == 0);
	return new;
}

static void mutate(void)
{
	uint8_t *byte = (uint8_t *)&running;
	unsigned int n = 1 + (unsigned int)(next() % 24), at;
	size_t i;

	if (!nr_corpus || next() % 8 == 0) {
		for (i = 0; i < sizeof(running); i++)
			byte[i] = (uint8_t)next();
		return;
	}
	running = corpus[next() % nr_corpus];
	while (n--)
		byte[next() % sizeof(running)] = (uint8_t)next();
	/* The end of another one. */
	if (next() % 4 == 0) {
		at = (unsigned int)(next() % OPS);
		memcpy(&running.op[at], &corpus[next() % nr_corpus].op[at],
		       (OPS - at) * sizeof(struct op));
	}
}

static unsigned long long seed;
static long seconds = 10;

static void fuzz(void)
{
	time_t end = time(NULL) + seconds;
	unsigned long traces = 0;

	state_random = seed * 0x9e3779b97f4a7c15UL | 1;
	while (time(NULL) < end) {
		mutate();
		if (run_trace())
			corpus[nr_corpus < CORPUS ? nr_corpus++ : next() % CORPUS] = running;
		traces++;
	}
	printf("# seed %llu: %lu traces, %u kept\n", seed, traces, nr_corpus);
	CHECK(nr_corpus > 10);
}

static void fuzz_in_child(bool hardened)
{
	pid_t pid;
	int status;

	fflush(stdout);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		if (hardened)
			harden();
		fuzz();
		fflush(stdout);
		_exit(0);
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	if (status)
		print_trace();
	CHECK(!status);
}

static void fuzz_default(void)
{
	fuzz_in_child(false);
}

static void fuzz_hardened(void)
{
	fuzz_in_child(true);
}

static bool read_trace(const char *hex)
{
	uint8_t *byte = (uint8_t *)&running;
	unsigned int value;
	size_t i;

	for (i = 0; i < sizeof(running); i++, hex += 2) {
		if (sscanf(hex, "%2x", &value) != 1)
			return false;
		byte[i] = (uint8_t)value;
	}
	return true;
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{ "mutated traces", fuzz_default },
		{ "mutated traces, hardened", fuzz_hardened },
	};

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	CHECK(shared != MAP_FAILED);
	if (argc > 2 && !strcmp(argv[1], "-r")) {
		if (read_trace(argv[2]))
			run_trace();
		return 0;
	}
	if (argc > 1)
		seconds = atol(argv[1]);
	seed = argc > 2 ? strtoull(argv[2], NULL, 0) : (unsigned long long)time(NULL);
	return run_tests(tests, ARRAY_SIZE(tests));
}
