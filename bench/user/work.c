// SPDX-License-Identifier: GPL-2.0-only
/*
 * work.c - workloads for comparing allocators
 *
 * usage: work WORKLOAD [THREADS]
 *	  work run LIBRARY COMMAND [ARG...]
 *
 * Prints "nanoseconds KiB": the CPU time of all threads, and the largest RSS.
 * With run, those of a command and all its children, LIBRARY preloaded, to
 * standard error.
 */
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_THREADS	16

static int threads = 2;

static uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static uint32_t next(uint32_t *r)
{
	*r ^= *r << 13;
	*r ^= *r >> 17;
	*r ^= *r << 5;
	return *r;
}

static void run_threads(void *(*fn)(void *))
{
	pthread_t thread[MAX_THREADS];
	long i;

	for (i = 0; i < threads; i++)
		if (pthread_create(&thread[i], NULL, fn, (void *)i))
			abort();
	for (i = 0; i < threads; i++)
		pthread_join(thread[i], NULL);
}

/* One size after the other, each block freed at once: the hit path. */
static void pairs(void)
{
	int i, k;
	size_t size;

	for (i = 0; i < 60; i++) {
		for (size = 8; size <= 4096; size += 8) {
			for (k = 0; k < 400; k++) {
				char *p = malloc(size);

				*(volatile char *)p = 1;
				free(p);
			}
		}
	}
}

/* A thousand blocks at a time, freed in the order they came, or the other way. */
static void batches(void)
{
	static void *held[1000];
	uint32_t r = 21;
	int round, i;

	for (round = 0; round < 4000; round++) {
		size_t size = 16 + next(&r) % 1000;

		for (i = 0; i < 1000; i++) {
			held[i] = malloc(size);
			*(char *)held[i] = 1;
		}
		for (i = 0; i < 1000; i++)
			free(held[round % 2 ? i : 999 - i]);
	}
}

/* As a server: random blocks are replaced; a thread's blocks go to its successor. */
#define SLOTS	5000

static void *slots[MAX_THREADS][SLOTS];

static void *serve(void *arg)
{
	void **slot = slots[(long)arg];
	uint32_t r = 1 + (uint32_t)(long)arg;
	int i;

	for (i = 0; i < 250000; i++) {
		void **s = &slot[next(&r) % SLOTS];

		free(*s);
		*s = malloc(8 + next(&r) % 1000);
		*(char *)*s = 1;
	}
	return arg;
}

static void server(void)
{
	int round, i;
	void *tmp[SLOTS];

	for (round = 0; round < 8; round++) {
		run_threads(serve);
		/* The next thread has another one's blocks. */
		memcpy(tmp, slots[0], sizeof(tmp));
		for (i = 0; i + 1 < threads; i++)
			memcpy(slots[i], slots[i + 1], sizeof(tmp));
		memcpy(slots[threads - 1], tmp, sizeof(tmp));
	}
}

/* One allocates, another frees: batches travel through a ring. */
#define BATCH	256
#define RING	16

struct ring {
	void **batch[RING];
	unsigned int head, tail;
};

static struct ring rings[MAX_THREADS];

static void *half(void *arg)
{
	struct ring *ring = &rings[(long)arg / 2];
	bool allocates = (long)arg % 2 == 0;
	uint32_t r = 77;
	int round, i;

	for (round = 0; round < 6000; round++) {
		void **batch;

		if (allocates) {
			batch = malloc(BATCH * sizeof(*batch));
			for (i = 0; i < BATCH; i++) {
				batch[i] = malloc(16 + next(&r) % 240);
				*(char *)batch[i] = 1;
			}
			while (__atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE) + RING == ring->head)
				sched_yield();
			ring->batch[ring->head % RING] = batch;
			__atomic_store_n(&ring->head, ring->head + 1, __ATOMIC_RELEASE);
		} else {
			while (__atomic_load_n(&ring->head, __ATOMIC_ACQUIRE) == ring->tail)
				sched_yield();
			batch = ring->batch[ring->tail % RING];
			for (i = 0; i < BATCH; i++)
				free(batch[i]);
			free(batch);
			__atomic_store_n(&ring->tail, ring->tail + 1, __ATOMIC_RELEASE);
		}
	}
	return arg;
}

static void handover(void)
{
	run_threads(half);
}

/* One thread fills arrays with blocks, the other frees them in no order. */
#define ARRAY	20000

static void **passed;

static void *fill_arrays(void *arg)
{
	uint32_t r = 31;
	int round, i;

	for (round = 0; round < 100; round++) {
		void **array = malloc(ARRAY * sizeof(*array));

		for (i = 0; i < ARRAY; i++) {
			uint32_t k = next(&r) % (uint32_t)(i + 1);

			array[i] = array[k];
			array[k] = malloc(16 + (i * 37 & 511));
			*(char *)array[k] = 1;
		}
		while (__atomic_load_n(&passed, __ATOMIC_ACQUIRE))
			sched_yield();
		__atomic_store_n(&passed, array, __ATOMIC_RELEASE);
	}
	return arg;
}

static void *free_arrays(void *arg)
{
	int round, i;

	for (round = 0; round < 100; round++) {
		void **array;

		while (!(array = __atomic_exchange_n(&passed, NULL, __ATOMIC_ACQ_REL)))
			sched_yield();
		for (i = 0; i < ARRAY; i++)
			free(array[i]);
		free(array);
	}
	return arg;
}

static void *asymmetric_half(void *arg)
{
	return (long)arg % 2 ? free_arrays(arg) : fill_arrays(arg);
}

/* Always two threads. */
static void asymmetric(void)
{
	int asked = threads;

	threads = 2;
	run_threads(asymmetric_half);
	threads = asked;
}

/* Many live blocks of all sizes, replaced at random. */
static void random_sizes(void)
{
	static void *held[50000];
	uint32_t r = 5;
	int i;

	for (i = 0; i < 3000000; i++) {
		void **h = &held[next(&r) % 50000];
		size_t size = (size_t)1 << (next(&r) % 12);

		free(*h);
		*h = malloc(size + next(&r) % size);
		*(char *)*h = 1;
	}
}

/* Strings that grow by pieces, several at a time. */
static void grow(void)
{
	char *text[32] = { NULL };
	size_t size[32] = { 0 };
	uint32_t r = 9;
	int i;

	for (i = 0; i < 600000; i++) {
		unsigned int k = next(&r) % 32;

		size[k] += 16 + next(&r) % 100;
		text[k] = realloc(text[k], size[k]);
		text[k][size[k] - 1] = 1;
		if (size[k] > 300000) {
			free(text[k]);
			text[k] = NULL;
			size[k] = 0;
		}
	}
}

/* Blocks on cache lines and pages, as for vectors and buffers. */
static void aligned(void)
{
	static void *held[3000];
	uint32_t r = 13;
	int i;

	for (i = 0; i < 1500000; i++) {
		void **h = &held[next(&r) % 3000];
		size_t align = (size_t)32 << (next(&r) % 8);

		free(*h);
		if (posix_memalign(h, align, 1 + next(&r) % 4000))
			abort();
		*(char *)*h = 1;
	}
}

/* Phases of other sizes, and a fifth of each phase's blocks outlives it. */
static void fragments(void)
{
	static void *held[60000];
	uint32_t r = 17;
	int phase, i;

	for (phase = 0; phase < 40; phase++) {
		size_t from = 16 + (next(&r) % 60) * 16, span = 16 + next(&r) % 500;

		for (i = 0; i < 60000; i++) {
			if (held[i] && next(&r) % 5 == 0)
				continue;
			free(held[i]);
			held[i] = malloc(from + next(&r) % span);
			*(char *)held[i] = 1;
		}
	}
}

/* Words in a table, replaced by their neighbours put together. */
static void strings(void)
{
	static char *word[20000];
	uint32_t r = 19;
	int i;

	for (i = 0; i < 2000000; i++) {
		uint32_t a = next(&r) % 20000, b = next(&r) % 20000;
		size_t la = word[a] ? strlen(word[a]) : 0, lb = word[b] ? strlen(word[b]) : 0;
		char *s;

		if (la + lb > 400) {
			free(word[a]);
			word[a] = strdup("word");
			continue;
		}
		s = malloc(la + lb + 8);
		memcpy(s, word[a] ?: "", la);
		memcpy(s + la, word[b] ?: "", lb);
		memcpy(s + la + lb, "letters", 8);
		free(word[a]);
		word[a] = s;
	}
}

static void first_touch(void)
{
	int i;

	for (i = 0; i < 8192; i++)
		memset(malloc(65536), 1, 65536);
}

static void large(void)
{
	void *held[16] = { NULL };
	uint32_t r = 3;
	int i;

	for (i = 0; i < 20000; i++) {
		void **h = &held[next(&r) % 16];
		size_t size = (1 + next(&r) % 16) << 20, at;

		free(*h);
		*h = malloc(size);
		for (at = 0; at < size; at += 4096 * 16)
			((char *)*h)[at] = 1;
	}
}

/* A tree of nodes with strings, built and taken down. */
struct node {
	struct node *left, *right;
	char *name;
};

static struct node *plant(int depth, uint32_t *r)
{
	struct node *n = malloc(sizeof(*n));

	n->name = calloc(1, 8 + next(r) % 56);
	n->left = depth ? plant(depth - 1, r) : NULL;
	n->right = depth ? plant(depth - 1, r) : NULL;
	return n;
}

static void fell(struct node *n)
{
	if (!n)
		return;
	fell(n->left);
	fell(n->right);
	free(n->name);
	free(n);
}

static void *woods(void *arg)
{
	uint32_t r = 11;
	int i;

	for (i = 0; i < 12; i++)
		fell(plant(15, &r));
	return arg;
}

static void trees(void)
{
	run_threads(woods);
}

static void *visit(void *arg)
{
	void *p[64];
	int i;

	for (i = 0; i < 64; i++)
		p[i] = malloc((size_t)i * 24 + 1);
	for (i = 0; i < 64; i++)
		free(p[i]);
	return arg;
}

static void come_and_go(void)
{
	int i;

	for (i = 0; i < 4000; i++)
		run_threads(visit);
}

/* Not from getrusage(), which would tell the parent's too. */
static long peak_rss(void)
{
	FILE *fp = fopen("/proc/self/status", "r");
	char line[128];
	long kib = 0;

	while (fp && fgets(line, sizeof(line), fp))
		if (!strncmp(line, "VmHWM:", 6))
			kib = atol(line + 6);
	return kib;
}

static int run_command(const char *library, char **command)
{
	struct rusage ru;
	int status;
	pid_t pid = fork();

	if (!pid) {
		setenv("LD_PRELOAD", library, 1);
		execvp(command[0], command);
		perror(command[0]);
		_exit(127);
	}
	if (pid < 0 || wait4(pid, &status, 0, &ru) != pid)
		return 126;
	fprintf(stderr, "%lld %ld\n",
		((long long)ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) * 1000000000 +
		((long long)ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) * 1000, ru.ru_maxrss);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 125;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} works[] = {
		{ "pairs", pairs }, { "batches", batches }, { "random", random_sizes },
		{ "aligned", aligned }, { "strings", strings }, { "fragments", fragments },
		{ "grow", grow }, { "large", large }, { "touch", first_touch },
		{ "trees", trees }, { "server", server }, { "handover", handover },
		{ "asymmetric", asymmetric }, { "threads", come_and_go },
	};
	uint64_t start;
	unsigned int i;

	if (argc > 3 && !strcmp(argv[1], "run"))
		return run_command(argv[2], argv + 3);
	if (argc > 2)
		threads = atoi(argv[2]);
	if (threads < 2 || threads > MAX_THREADS || threads % 2) {
		fprintf(stderr, "work: 2 to %d threads, an even number\n", MAX_THREADS);
		return 2;
	}
	for (i = 0; argc > 1 && i < sizeof(works) / sizeof(works[0]); i++) {
		if (strcmp(argv[1], works[i].name))
			continue;
		start = now();
		works[i].run();
		start = now() - start;
		printf("%llu %ld\n", (unsigned long long)start, peak_rss());
		return 0;
	}
	fprintf(stderr, "usage: work WORKLOAD [THREADS] | run LIBRARY COMMAND...; workloads:");
	for (i = 0; i < sizeof(works) / sizeof(works[0]); i++)
		fprintf(stderr, " %s", works[i].name);
	fprintf(stderr, "\n");
	return 2;
}
