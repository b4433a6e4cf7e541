/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * malloc_test.h - what the tests of the library share
 *
 * The library is compiled into each test with PW_PREFIX: its malloc() is
 * pw_malloc(), and the test's own memory is libc's.
 */
#ifndef MALLOC_TEST_H
#define MALLOC_TEST_H

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>


#include "arena.h"
#include "entry.h"
#include "fastbin.h"
#include "env.h"
#include "meta.h"
#include "os.h"
#include "types.h"

#include "kselftest.h"

/* Says which condition does not hold, and where, and ends the process. */
#define CHECK(cond) do {						\
	if (!(cond)) {							\
		printf("# %s:%d:%s: (%s) is not so, errno %d\n",	\
		       __FILE__, __LINE__, __func__, #cond, errno);	\
		fflush(stdout);						\
		_exit(KSFT_FAIL);					\
	}								\
} while (0)

struct test {
	const char *name;
	void (*run)(void);
};

/* Runs @run in a child; what it wrote to standard error is left in @text. */
static inline int in_child(void (*run)(void), char *text, size_t size)
{
	size_t len = 0;
	int fds[2], status;
	ssize_t n;
	pid_t pid;

	CHECK(!pipe(fds));
	fflush(stdout);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		close(fds[0]);
		dup2(fds[1], 2);
		run();
		_exit(0);
	}
	close(fds[1]);
	while (len + 1 < size && (n = read(fds[0], text + len, size - len - 1)) > 0)
		len += (size_t)n;
	text[len] = '\0';
	close(fds[0]);
	CHECK(waitpid(pid, &status, 0) == pid);
	return status;
}

/* Each test in a process of its own, so that one cannot spoil the next. */
static inline int run_tests(const struct test *tests, unsigned int nr)
{
	static char text[4096];
	unsigned int i;

	ksft_print_header();
	ksft_set_plan(nr);
	for (i = 0; i < nr; i++) {
		int status = in_child(tests[i].run, text, sizeof(text));

		if (status)
			ksft_print_msg("status %#x: %s\n", status, text);
		ksft_test_result(!status, "%s\n", tests[i].name);
	}
	ksft_finished();
}

/* Hardened mode, in a process that has no blocks yet. */
static inline void harden(void)
{
	setenv("PAGEWELL_HARDEN", "1", 1);
	pw_env_read();
	CHECK(!pw_meta_harden());
	harden_start();
	pw_heap_slow_mode();
}

#endif /* MALLOC_TEST_H */
