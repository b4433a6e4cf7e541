// SPDX-License-Identifier: GPL-2.0-only
/*
 * explain.c - pagewell explain: one malloc(), step by step, measured
 *
 * A child with the library preloaded does the steps and reports what it sees
 * of itself after each; then it waits while the parent asks the module about
 * its heap, so that asking does not disturb what is measured.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tool.h"

/* The child: pagewell explain CHILD SIZE FD */
#define CHILD	"--child"

enum step { START, MALLOC, TOUCH, TOUCH_ALL, FREE, AGAIN, NR_STEPS };

/**
 * struct seen - what the child sees of itself after a step
 * @block: address of the block, 0 if malloc() failed
 * @usable: bytes of it
 * @faults: minor faults of the process
 * @mi: mallinfo2()
 */
struct seen {
	uint64_t block;
	uint64_t usable;
	uint64_t faults;
	struct mallinfo2 mi;
};

/**
 * struct state - all that is known after a step
 * @seen: by the child
 * @heap: by the module
 */
struct state {
	struct seen seen;
	struct heap heap;
};

/* ---- the child ---- */

static void report(int fd, void *block)
{
	struct seen seen = {
		.block = (uintptr_t)block,
		.usable = malloc_usable_size(block),
		.mi = mallinfo2(),
	};
	struct rusage ru;
	char go;

	getrusage(RUSAGE_SELF, &ru);
	seen.faults = ru.ru_minflt;
	if (write(fd, &seen, sizeof(seen)) != sizeof(seen) || read(fd, &go, 1) != 1)
		_exit(1);
}

static void touch(volatile char *block, size_t from, size_t size)
{
	size_t i;

	for (i = from; i < size; i += 4096)
		block[i] = 1;
}

/* Nothing but the calls that are explained, and no output. */
static int child(size_t size, int fd)
{
	void *volatile first = malloc(1);
	void *block;

	/* What only the first call of its kind does is over now. */
	free(first);
	report(fd, NULL);

	block = malloc(size);
	report(fd, block);
	if (!block)
		return 0;
	touch(block, 0, size ? 1 : 0);
	report(fd, block);
	touch(block, 4096, size);
	if (size)
		touch(block, size - 1, size);
	report(fd, block);
	free(block);
	report(fd, NULL);
	block = malloc(size);
	report(fd, block);
	free(block);
	return 0;
}

/* ---- the parent ---- */

static pid_t start_child(const char *size, int fds[2])
{
	char fd[12];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds)) {
		say("cannot make a socket: %s", strerror(errno));
		return -1;
	}
	pid = fork();
	if (pid < 0)
		say("cannot fork: %s", strerror(errno));
	if (pid)
		return pid;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	fcntl(fds[1], F_SETFD, 0);
	snprintf(fd, sizeof(fd), "%d", fds[1]);
	execl("/proc/self/exe", "pagewell", "explain", CHILD, size, fd, NULL);
	say("cannot run myself: %s", strerror(errno));
	_exit(1);
}

static void print_size(const char *label, uint64_t bytes)
{
	char text[SIZE_TEXT];

	printf("%s%s", label, size_text(bytes, text));
}

static void print_changes(const struct state *a, const struct state *b)
{
	char to[SIZE_TEXT];

	printf("    committed %s", size_text(a->heap.committed, to));
	print_size(" -> ", b->heap.committed);
	printf(", resident %s", size_text(a->heap.resident, to));
	print_size(" -> ", b->heap.resident);
	printf("; %" PRIu64 " faults, %" PRIu64 " pages put in place\n",
	       b->heap.faults - a->heap.faults, b->heap.fault_pages - a->heap.fault_pages);
}

static void print_place(const struct state *s)
{
	printf("    at 0x%" PRIx64, s->seen.block);
	if (s->heap.has_base && s->seen.block >= s->heap.base)
		print_size(", inside the heap at base + ", s->seen.block - s->heap.base);
	printf("; %" PRIu64 " bytes usable\n", s->seen.usable);
}

/* Where the library got the block from, read off what its figures did. */
static void explain_malloc(const struct state *a, const struct state *b)
{
	if (!b->seen.block) {
		printf("    refused, errno ENOMEM: %s\n", b->heap.refused > a->heap.refused ?
		       "the module has no memory left to promise, or the limit is reached" :
		       "the library did not ask the module for it");
		return;
	}
	print_place(b);
	if (b->seen.mi.hblks > a->seen.mi.hblks)
		printf("    above the mmap threshold: a region of its own, mapped by a call of the module\n");
	else if (b->seen.mi.arena > a->seen.mi.arena)
		printf("    from the arena's top, after its break moved up by %zu KiB, one call of the module\n",
		       (b->seen.mi.arena - a->seen.mi.arena) >> 10);
	else
		printf("    from memory that the arena had: no system call for memory\n");
}

/* pagemap(5)-style entry of the page at @addr; 0 when it cannot be read. */
static uint64_t pagemap_entry(pid_t pid, uint64_t addr)
{
	uint64_t entry = 0;
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	if (pread(fd, &entry, sizeof(entry), addr / 4096 * sizeof(entry)) != sizeof(entry))
		entry = 0;
	close(fd);
	return entry;
}

static void explain_page(pid_t pid, uint64_t addr)
{
	uint64_t entry = pagemap_entry(pid, addr);
	uint64_t frame = entry & ((1ULL << 55) - 1);

	if (!(entry >> 63))
		printf("    page table entry: none\n");
	else if (!frame)
		printf("    page table entry: present (the frame number is for root)\n");
	else
		printf("    page table entry: present, page frame 0x%" PRIx64 "\n", frame);
}

static void explain_touch(const struct state *a, const struct state *b)
{
	if (b->heap.faults == a->heap.faults)
		printf("    no fault: its pages were in place already\n");
	else
		printf("    %.2f pages a fault: neighbours were put in place along with it\n",
		       ratio(b->heap.fault_pages - a->heap.fault_pages,
			     b->heap.faults - a->heap.faults));
}

static void explain_free(const struct state *a, const struct state *b)
{
	if (b->heap.resident < a->heap.resident)
		printf("    its pages went back to the pool\n");
	else if (b->heap.committed < a->heap.committed)
		printf("    its addresses went back to the module\n");
	else
		printf("    kept by the library for the next request: the module was not asked\n");
}

static void explain_again(const struct state *a, const struct state *b, uint64_t first)
{
	if (!b->seen.block) {
		printf("    refused\n");
		return;
	}
	printf("    at 0x%" PRIx64 "%s\n", b->seen.block,
	       b->seen.block == first ? ", the same block" : "");
	if (b->heap.committed == a->heap.committed)
		printf("    from what the library had kept\n");
}

static void explain_step(enum step step, const struct state *s, uint64_t size, pid_t pid)
{
	const struct state *before = &s[step - 1], *after = &s[step];

	switch (step) {
	case START:
		return;
	case MALLOC:
		printf("malloc(%" PRIu64 ")\n", size);
		explain_malloc(before, after);
		break;
	case TOUCH:
		printf("touch its first byte\n");
		explain_touch(before, after);
		break;
	case TOUCH_ALL:
		printf("touch all of it\n");
		explain_touch(before, after);
		break;
	case FREE:
		printf("free()\n");
		explain_free(before, after);
		break;
	case AGAIN:
		printf("malloc(%" PRIu64 ") once more\n", size);
		explain_again(before, after, s[MALLOC].seen.block);
		break;
	case NR_STEPS:
		return;
	}
	print_changes(before, after);
	if (after->seen.block)
		explain_page(pid, after->seen.block);
}

/* @ended: set to the step that the child did not come to, if it is not there any more. */
static bool explain_all(struct mod *mod, int fd, pid_t pid, uint64_t size, enum step *ended)
{
	struct state s[NR_STEPS] = { };
	enum step step;

	for (step = START; step < NR_STEPS; step++) {
		if (read(fd, &s[step].seen, sizeof(s->seen)) != sizeof(s->seen)) {
			*ended = step;
			return false;
		}
		if (!mod_get_heap(mod, pid, &s[step].heap))
			return false;
		explain_step(step, s, size, pid);
		if (write(fd, "", 1) != 1)
			return false;
		if (step == MALLOC && !s[step].seen.block)
			break;
	}
	return true;
}

static bool print_pool_line(struct mod *mod)
{
	char held[SIZE_TEXT], avail[SIZE_TEXT];
	struct pool pool;

	if (!mod_get_pool(mod, &pool))
		return false;
	printf("the pool holds %s, %s of it free and not promised\n",
	       size_text(pool.held, held), size_text(pool.avail, avail));
	return true;
}

static void say_end(enum step step, int status)
{
	static const char *const steps[] = {
		[MALLOC] = "malloc()",
		[TOUCH] = "touch its first byte",
		[TOUCH_ALL] = "touch all of it",
		[FREE] = "free()",
		[AGAIN] = "malloc() once more",
	};

	if (step == START)
		say("the process to be measured did not start on our pages");
	else if (WIFSIGNALED(status))
		say("the process to be measured died at \"%s\": %s", steps[step],
		    strsignal(WTERMSIG(status)));
	else
		say("the process to be measured ended at \"%s\" with status %d", steps[step],
		    WEXITSTATUS(status));
}

static bool measure(struct mod *mod, const char *text, uint64_t size)
{
	enum step ended = NR_STEPS;
	int fds[2], status;
	pid_t pid;
	bool ok;

	pid = start_child(text, fds);
	if (pid < 0)
		return false;
	close(fds[1]);
	ok = explain_all(mod, fds[0], pid, size, &ended);
	close(fds[0]);
	if (waitpid(pid, &status, 0) == pid && ended < NR_STEPS)
		say_end(ended, status);
	return ok;
}

static bool explain(uint64_t size)
{
	static const struct launch launch = { };
	char text[24];
	struct mod *mod;
	bool ok;

	mod = mod_open();
	if (!mod)
		return false;
	snprintf(text, sizeof(text), "%" PRIu64, size);
	ok = print_pool_line(mod) && launch_prepare(&launch) && measure(mod, text, size);
	mod_close(mod);
	return ok;
}

int cmd_explain(int argc, char **argv)
{
	static const struct option options[] = {
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	uint64_t size;
	long fd;
	int c;

	if (argc == 4 && !strcmp(argv[1], CHILD) && parse_size(argv[2], &size) &&
	    parse_number(argv[3], 0, 1 << 20, &fd))
		return child(size, fd);

	while ((c = getopt_long(argc, argv, "+h", options, NULL)) != -1) {
		if (c != 'h')
			return EXIT_USAGE;
		print_usage("explain");
		return 0;
	}
	if (argc - optind != 1 || !parse_size(argv[optind], &size)) {
		bad_usage("explain", "give a size: a number, then K, M, G, T or nothing");
		return EXIT_USAGE;
	}
	return !explain(size);
}
