// SPDX-License-Identifier: GPL-2.0-only
/*
 * trace.c - writes the record of all calls
 *
 * Records are stored into a mapping of the file: whatever ends the program,
 * none is lost. Programs close descriptors they do not know: none is kept.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "lock.h"
#include "report.h"
#include "sys.h"
#include "tcache.h"
#include "tracer.h"
#include "types.h"

/* The records of a window fill whole pages; TRACE_MAGIC moves them into one more. */
#define WINDOW		(TRACE_ROOM * sizeof(struct trace_record))
#define MAGIC		(sizeof(TRACE_MAGIC) - 1)
#define MAPPED		(WINDOW + PAGE_SIZE)

_Static_assert(WINDOW % PAGE_SIZE == 0, "windows start on pages");

static char *window;
static size_t nr_windows;
static unsigned int nr_records;
static struct stat file;
static uint16_t nr_threads;
static bool off;
static struct lock trace_lock;

/* Not with the caches: they are gone before the thread is. */
static __thread bool quiet __attribute__((tls_model("initial-exec")));

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

/* Written, not only made longer: a store finds its place on the disk then. */
static bool write_zeros(int fd, size_t len)
{
	static const char zeros[PAGE_SIZE];

	for (; len; len -= PAGE_SIZE)
		if (!write_all(fd, zeros, PAGE_SIZE))
			return false;
	return true;
}

static int open_file(int flags, struct stat *st)
{
	int fd = (int)sys(SYS_openat, AT_FDCWD, pw_env.trace, O_RDWR | O_CLOEXEC | flags, 0644);

	if (fd >= 0 && sys(SYS_fstat, fd, st)) {
		sys(SYS_close, fd);
		return -1;
	}
	return fd;
}

/*
 * Where there is a trace, another process may have it mapped, and a store into
 * a file that was cut is SIGBUS: it keeps that file, and the name is ours.
 */
static int create_file(void)
{
	int fd = open_file(O_CREAT, &file);

	if (fd < 0 || (S_ISREG(file.st_mode) && !file.st_size))
		return fd;
	sys(SYS_close, fd);
	if (!S_ISREG(file.st_mode))
		return -1;
	sys(SYS_unlink, pw_env.trace);
	return open_file(O_CREAT | O_TRUNC, &file);
}

/* What the name stands for now may be another process's. */
static bool is_own_file(const struct stat *st)
{
	return st->st_dev == file.st_dev && st->st_ino == file.st_ino &&
	       st->st_size == (off_t)(MAGIC + nr_windows * WINDOW);
}

/* What is longer than RLIMIT_FSIZE allows is not only an error, but a signal. */
static bool may_grow(void)
{
	struct rlimit limit;

	return sys(SYS_prlimit64, 0, RLIMIT_FSIZE, NULL, &limit) ||
	       limit.rlim_cur >= MAGIC + (nr_windows + 1) * WINDOW;
}

static int open_next(struct stat *st)
{
	if (!may_grow())
		return -1;
	return nr_windows ? open_file(O_APPEND, st) : create_file();
}

static bool map_window(int fd)
{
	long at = sys(SYS_mmap, NULL, MAPPED, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		      (off_t)(nr_windows * WINDOW));

	if (at < 0)
		return false;
	window = (char *)at;
	nr_windows++;
	nr_records = 0;
	return true;
}

static void next_window(void)
{
	struct stat st;
	int fd = open_next(&st);
	bool good = fd >= 0 &&
		    (nr_windows ? is_own_file(&st) : write_all(fd, TRACE_MAGIC, MAGIC)) &&
		    write_zeros(fd, WINDOW);

	if (window)
		sys(SYS_munmap, window, MAPPED);
	window = NULL;
	if (good)
		good = map_window(fd);
	if (fd >= 0)
		sys(SYS_close, fd);
	if (good)
		return;
	off = true;
	pw_note("cannot write the trace to %s: recording ends", pw_env.trace);
}

static struct trace_record *next_record(void)
{
	if (nr_records == TRACE_ROOM && !off)
		next_window();
	return off ? NULL : (struct trace_record *)(window + MAGIC) + nr_records++;
}

void trace_start(void)
{
	next_window();
}

static uint16_t thread_number(struct thread *t)
{
	if (!t)
		return TRACE_NO_THREAD;
	if (!t->trace_id)
		t->trace_id = ++nr_threads;
	return (uint16_t)(t->trace_id - 1);
}

void trace_add(enum trace_op op, const void *addr, size_t size, size_t align)
{
	struct thread *t = tcache_thread();
	struct trace_record *r;

	if (off || quiet)
		return;
	lock(&trace_lock);
	r = next_record();
	if (r) {
		r->align = align ? (uint8_t)__builtin_ctzl(align) : 0;
		r->thread = thread_number(t);
		r->size = size;
		r->addr = (uintptr_t)addr;
		/* Last: without it, it is none. */
		__atomic_store_n(&r->op, (uint8_t)op, __ATOMIC_RELEASE);
	}
	unlock(&trace_lock);
}

void trace_quiet(void)
{
	quiet = true;
}

void trace_loud(void)
{
	quiet = false;
}

void trace_fork_child(void)
{
	off = true;
}
