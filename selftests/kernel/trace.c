// SPDX-License-Identifier: GPL-2.0-only
/*
 * trace.c - tracepoints say what a program did, and where it did it
 */
#include <stdarg.h>

#include "pw_test.h"

#define TRACING	"/sys/kernel/tracing/"

static void put(const char *path, const char *what)
{
	int fd = open(path, O_WRONLY | O_TRUNC);

	CHECK(fd >= 0);
	CHECK(write(fd, what, strlen(what)) == (ssize_t)strlen(what));
	close(fd);
}

FIXTURE(trace) {
	struct pw h;
	char *p;
};

FIXTURE_SETUP(trace)
{
	pw_heap(&self->h, 64 * MIB);
	put(TRACING "trace", "\n");
	put(TRACING "events/pagewell/enable", "1");
}

FIXTURE_TEARDOWN(trace)
{
	put(TRACING "events/pagewell/enable", "0");
	put(TRACING "trace", "\n");
	close(self->h.fd);
}

/* How many records of an event begin with what is printed; @pid: of this process. */
static long records(pid_t pid, const char *event, const char *format, ...)
{
	char text[128], line[512], who[16];
	FILE *f = fopen(TRACING "trace", "r");
	long found = 0;
	va_list args;
	int n;

	CHECK(f);
	n = snprintf(text, sizeof(text), ": %s: ", event);
	va_start(args, format);
	vsnprintf(text + n, sizeof(text) - n, format, args);
	va_end(args);
	snprintf(who, sizeof(who), "-%d ", pid);
	while (fgets(line, sizeof(line), f))
		found += strstr(line, text) && strstr(line, who);
	fclose(f);
	return found;
}

TEST_F(trace, what_a_heap_is_asked_for)
{
	char *start, *brk, *p, *q;
	pid_t me = getpid();
	uint32_t id;

	ASSERT_EQ(0, pw_brk_create(self->h.fd, 4 * MIB, &id, &start));
	ASSERT_EQ(0, pw_brk(self->h.fd, id, start + 5 * PAGE, &brk));
	EXPECT_EQ(1, records(me, "pw_brk", "id=%u brk=%p", id, start + 5 * PAGE));

	ASSERT_EQ(0, pw_map(self->h.fd, 0, NULL, MIB, 0, &p));
	EXPECT_EQ(1, records(me, "pw_map", "addr=%p length=%lu", p, MIB));
	*p = 1;
	ASSERT_EQ(0, pw_advise(self->h.fd, PAGEWELL_ADVISE_DONTNEED, p, MIB));
	EXPECT_EQ(1, records(me, "pw_advise", "addr=%p length=%lu advice=dontneed", p, MIB));
	ASSERT_EQ(0, pw_remap(self->h.fd, PAGEWELL_REMAP_MAYMOVE, p, MIB, 2 * MIB, &q));
	EXPECT_EQ(1, records(me, "pw_remap", "addr=%p length=%lu to=%p new_length=%lu",
			     p, MIB, q, 2 * MIB));
	ASSERT_EQ(0, pw_unmap(self->h.fd, q, 2 * MIB));
	EXPECT_EQ(1, records(me, "pw_unmap", "addr=%p length=%lu", q, 2 * MIB));

	/* What fails is no map, but a refusal. */
	ASSERT_EQ(0, pw_set_limit(self->h.fd, 8 * MIB));
	EXPECT_EQ(-ENOMEM, pw_map(self->h.fd, 0, NULL, 32 * MIB, 0, &p));
	EXPECT_EQ(0, records(me, "pw_map", "addr=%p length=%lu", p, 32 * MIB));
	EXPECT_EQ(1, records(me, "pw_refused", "heap="));
}

TEST_F(trace, what_faults_find)
{
	pid_t me = getpid(), child;
	volatile char *p;
	char *map;

	ASSERT_EQ(0, pw_map(self->h.fd, 0, NULL, 4 * MIB, HUGE, &map));
	p = map;
	p[100 * PAGE] = 1;
	EXPECT_EQ(1, records(me, "pw_touch", "addr=%p write pages=", p + 100 * PAGE));
	(void)p[300 * PAGE];
	EXPECT_EQ(1, records(me, "pw_zero_page", "addr=%p", p + 300 * PAGE));
	ASSERT_EQ(0, pw_set_huge(self->h.fd, PAGEWELL_HUGE_ALWAYS));
	p[HUGE] = 1;
	EXPECT_EQ(1, records(me, "pw_touch", "addr=%p write pages=512 huge=1", p + HUGE));
	EXPECT_EQ(0, records(me, "pw_copy", ""));

	child = pw_fork();
	if (!child) {
		p[100 * PAGE] = 2;
		(void)p[4 * MIB];
		_exit(0);
	}
	EXPECT_EQ(128 + SIGSEGV, pw_wait(child));
	EXPECT_EQ(1, records(me, "pw_fork", "heap="));
	EXPECT_EQ(1, records(child, "pw_copy", "addr=%p", p + 100 * PAGE));
	EXPECT_EQ(1, records(child, "pw_segv", "addr=%p", p + 4 * MIB));
}

/*
 * Whoever was here before may have grown it to its ceiling: what is idle goes when the
 * kernel asks for it. Return: what it holds.
 */
static long pool_with_room(long nr)
{
	double end = pw_now() + 20;
	long held;

	while ((held = pw_pool("held_pages")) + nr > pw_pool("max_pages") && pw_now() < end)
		put("/proc/sys/vm/drop_caches", "2");
	return held;
}

TEST_F(trace, what_the_pool_does)
{
	long held = pool_with_room(512);
	char *map;

	ASSERT_EQ(0, pw_set_limit(self->h.fd, NO_LIMIT));
	ASSERT_EQ(0, pw_map(self->h.fd, 0, NULL, (held + 512) * PAGE, 0, &map));
	EXPECT_LE(1, records(getpid(), "pw_pool", "pages=+"));
	ASSERT_EQ(0, pw_unmap(self->h.fd, map, (held + 512) * PAGE));
}

TEST_HARNESS_MAIN
