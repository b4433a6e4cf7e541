// SPDX-License-Identifier: GPL-2.0-only
/*
 * report.c - lines on standard error, without stdio and without malloc
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lock.h"
#include "report.h"
#include "sys.h"

/* Above the numbers that programs get, and within what select() takes. */
#define KEPT_FD	1000

static int kept = -1;
static struct stat kept_file;

struct out {
	char *buf;
	size_t size;
	size_t len;
};

static void put(struct out *o, char c)
{
	if (o->len + 1 < o->size)
		o->buf[o->len++] = c;
}

static void put_number(struct out *o, unsigned long v, unsigned int base, int width)
{
	char digits[24];
	int n = 0;

	do {
		digits[n++] = "0123456789abcdef"[v % base];
		v /= base;
	} while (v);
	for (; width > n; width--)
		put(o, ' ');
	while (n)
		put(o, digits[--n]);
}

static void put_string(struct out *o, const char *s, int width)
{
	bool left = width < 0;
	int len = (int)string_length(s);
	int pad = (left ? -width : width) - len;

	for (; !left && pad > 0; pad--)
		put(o, ' ');
	while (*s)
		put(o, *s++);
	for (; left && pad > 0; pad--)
		put(o, ' ');
}

static void put_signed(struct out *o, int v, int width)
{
	if (v < 0)
		put(o, '-');
	put_number(o, v < 0 ? -(unsigned long)v : (unsigned long)v, 10, width);
}

int pw_vformat(char *buf, size_t size, const char *fmt, va_list ap)
{
	struct out o = { buf, size, 0 };

	for (; *fmt; fmt++) {
		bool is_long = false, left = false;
		unsigned long number;
		int width = 0;

		if (*fmt != '%') {
			put(&o, *fmt);
			continue;
		}
		if (*++fmt == '-') {
			left = true;
			fmt++;
		}
		for (; *fmt >= '0' && *fmt <= '9'; fmt++)
			width = width * 10 + (*fmt - '0');
		for (; *fmt == 'l' || *fmt == 'z'; fmt++)
			is_long = true;
		switch (*fmt) {
		case 's':
			put_string(&o, va_arg(ap, const char *), left ? -width : width);
			break;
		case 'c':
			put(&o, (char)va_arg(ap, int));
			break;
		case 'd':
			put_signed(&o, va_arg(ap, int), width);
			break;
		case 'u':
		case 'x':
			number = is_long ? va_arg(ap, unsigned long) : va_arg(ap, unsigned int);
			put_number(&o, number, *fmt == 'x' ? 16 : 10, width);
			break;
		case 'p':
			put_string(&o, "0x", 0);
			put_number(&o, (unsigned long)va_arg(ap, void *), 16, 0);
			break;
		default:
			put(&o, *fmt);
		}
	}
	if (size)
		buf[o.len] = '\0';
	return (int)o.len;
}

int pw_format(char *buf, size_t size, const char *fmt, ...)
{
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = pw_vformat(buf, size, fmt, ap);
	va_end(ap);
	return len;
}

static void write_line(const char *prefix, const char *fmt, va_list ap)
{
	char buf[512];
	size_t len = string_length(prefix), done = 0;

	memcpy(buf, prefix, len);
	len += (size_t)pw_vformat(buf + len, sizeof(buf) - len - 1, fmt, ap);
	buf[len++] = '\n';
	while (done < len) {
		long n = sys(SYS_write, STDERR_FILENO, buf + done, len - done);

		if (n == -EINTR)
			continue;
		if (n <= 0)
			return;
		done += (size_t)n;
	}
}

void pw_note(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	write_line("pagewell: ", fmt, ap);
	va_end(ap);
}

void pw_line(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	write_line("", fmt, ap);
	va_end(ap);
}

void pw_keep_stderr(void)
{
	if (kept < 0 && !sys(SYS_fstat, STDERR_FILENO, &kept_file))
		kept = (int)sys(SYS_fcntl, STDERR_FILENO, F_DUPFD_CLOEXEC, KEPT_FD);
}

/* Is the copy still ours? The program may have closed it and taken the number. */
static bool kept_is_ours(void)
{
	struct stat st;

	return kept >= 0 && !sys(SYS_fstat, kept, &st) && st.st_dev == kept_file.st_dev &&
	       st.st_ino == kept_file.st_ino;
}

void pw_drop_stderr(void)
{
	if (kept_is_ours())
		sys(SYS_close, kept);
	kept = -1;
}

void pw_reopen_stderr(void)
{
	if (sys(SYS_fcntl, STDERR_FILENO, F_GETFD) == -EBADF && kept_is_ours())
		sys(SYS_dup3, kept, STDERR_FILENO, O_CLOEXEC);
}

void pw_heap_error(const char *call, const char *what, const void *p)
{
	pw_note("%s: %s %p", call, what, p);
	locks_pass_own();
	abort();
}
