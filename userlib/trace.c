// SPDX-License-Identifier: GPL-2.0-only
/*
 * trace.c - writes the record of all calls
 */
#include <fcntl.h>

#include "lock.h"
#include "report.h"
#include "sys.h"
#include "tcache.h"
#include "tracer.h"

#define BUFFERED	2048

static struct trace_record buffer[BUFFERED];
static unsigned int nr_buffered;
static uint16_t nr_threads;
static bool begun, off;
static struct lock trace_lock;

static bool write_all(int fd, const void *data, size_t len)
{
	const char *at = data;

	while (len) {
		long n = sys(SYS_write, fd, at, len);

		if (n == -EINTR)
			continue;
		if (n <= 0)
			return false;
		at += n;
		len -= (size_t)n;
	}
	return true;
}

/* Programs close descriptors they do not know: none is kept open. */
static void write_buffer(void)
{
	int fd = (int)sys(SYS_openat, AT_FDCWD, pw_env.trace,
			  O_WRONLY | O_CREAT | O_CLOEXEC | (begun ? O_APPEND : O_TRUNC), 0644);
	bool good = fd >= 0;

	if (good && !begun)
		good = write_all(fd, TRACE_MAGIC, sizeof(TRACE_MAGIC) - 1);
	begun = true;
	if (good)
		good = write_all(fd, buffer, nr_buffered * sizeof(*buffer));
	if (fd >= 0)
		sys(SYS_close, fd);
	nr_buffered = 0;
	if (!good) {
		off = true;
		pw_note("cannot write the trace to %s: recording ends", pw_env.trace);
	}
}

void trace_add(enum trace_op op, const void *addr, size_t size, size_t align)
{
	struct thread *t = tcache_thread();

	if (off || (t && t->trace_quiet))
		return;
	lock(&trace_lock);
	if (t && !t->trace_id)
		t->trace_id = ++nr_threads;
	buffer[nr_buffered++] = (struct trace_record){
		.op = (uint8_t)op,
		.align = align ? (uint8_t)__builtin_ctzl(align) : 0,
		.thread = t ? (uint16_t)(t->trace_id - 1) : 0,
		.size = size,
		.addr = (uintptr_t)addr,
	};
	if (nr_buffered == BUFFERED)
		write_buffer();
	unlock(&trace_lock);
}

void trace_quiet(void)
{
	struct thread *t = tcache_thread();

	if (t)
		t->trace_quiet = true;
}

void trace_loud(void)
{
	struct thread *t = tcache_thread();

	if (t)
		t->trace_quiet = false;
}

void trace_flush(void)
{
	if (off)
		return;
	lock(&trace_lock);
	write_buffer();
	unlock(&trace_lock);
}

void trace_fork_child(void)
{
	off = true;
}
