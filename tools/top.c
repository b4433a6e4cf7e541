// SPDX-License-Identifier: GPL-2.0-only
/*
 * top.c - pagewell top: the pool and the heaps, again and again
 */
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <ncurses.h>

#include "tool.h"

/**
 * struct view - what one look found
 * @pool: the pool
 * @heaps: the heaps, the largest first
 * @faults: faults a second since the look before
 * @when: the time of it, in seconds
 */
struct view {
	struct pool pool;
	struct heaps heaps;
	double faults;
	double when;
};

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static void rest(double seconds)
{
	struct timespec ts = { .tv_sec = (time_t)seconds };

	ts.tv_nsec = (long)((seconds - (double)ts.tv_sec) * 1e9);
	nanosleep(&ts, NULL);
}

static int by_resident(const void *a, const void *b)
{
	const struct heap *x = a, *y = b;

	if (x->resident != y->resident)
		return x->resident < y->resident ? 1 : -1;
	return x->id < y->id ? -1 : x->id > y->id;
}

static bool look(struct mod *mod, struct view *v)
{
	uint64_t before = pool_counter(&v->pool, "faults");
	double then = v->when;

	free(v->heaps.heap);
	v->heaps = (struct heaps) { };
	if (!mod_get_pool(mod, &v->pool) || !mod_get_heaps(mod, &v->heaps))
		return false;
	v->when = now();
	v->faults = then ? (pool_counter(&v->pool, "faults") - before) / (v->when - then) : 0;
	if (v->heaps.nr)
		qsort(v->heaps.heap, v->heaps.nr, sizeof(*v->heaps.heap), by_resident);
	return true;
}

static int pool_line(char *buf, size_t size, const struct view *v)
{
	const struct pool *p = &v->pool;
	char held[SIZE_TEXT], max[SIZE_TEXT], used[SIZE_TEXT], avail[SIZE_TEXT];

	return snprintf(buf, size, "pool %s of %s, %s used, %s available; %zu heaps, %.0f faults/s",
			size_text(p->held, held), size_text(p->max, max),
			size_text(pool_used(p), used), size_text(p->avail, avail),
			v->heaps.nr, v->faults);
}

static int heading(char *buf, size_t size)
{
	return snprintf(buf, size, "%7s %8s %9s %8s %8s %9s %7s %s", "PID", "RESIDENT",
			"COMMITTED", "SHARED", "LIMIT", "FAULTS", "REFUSED", "COMMAND");
}

static int heap_line(char *buf, size_t size, const struct heap *h)
{
	char limit[SIZE_TEXT], committed[SIZE_TEXT], resident[SIZE_TEXT], shared[SIZE_TEXT];

	return snprintf(buf, size, "%7" PRIu32 " %8s %9s %8s %8s %9" PRIu64 " %7" PRIu64 " %s",
			h->pid, size_text(h->resident, resident),
			size_text(h->committed, committed), size_text(h->shared, shared),
			size_text(h->limit, limit), h->faults, h->refused, h->comm);
}

static bool print_all(struct mod *mod, long times, double delay)
{
	struct view v = { };
	char line[256];
	bool ok = true;
	size_t i;
	long n;

	for (n = 0; ok && (!times || n < times); n++) {
		if (n)
			rest(delay);
		ok = look(mod, &v);
		if (!ok)
			break;
		pool_line(line, sizeof(line), &v);
		printf("%s%s\n", n ? "\n" : "", line);
		heading(line, sizeof(line));
		printf("%s\n", line);
		for (i = 0; i < v.heaps.nr; i++) {
			heap_line(line, sizeof(line), &v.heaps.heap[i]);
			printf("%s\n", line);
		}
		ok = !fflush(stdout);
	}
	free(v.heaps.heap);
	return ok;
}

/* Cut to the window; what does not fit below is left out. */
static void draw(const struct view *v)
{
	char line[256];
	size_t i;

	erase();
	pool_line(line, sizeof(line), v);
	mvaddnstr(0, 0, line, COLS);
	heading(line, sizeof(line));
	attron(A_REVERSE);
	mvaddnstr(1, 0, line, COLS);
	attroff(A_REVERSE);
	for (i = 0; i < v->heaps.nr && (int)i + 2 < LINES; i++) {
		heap_line(line, sizeof(line), &v->heaps.heap[i]);
		mvaddnstr(i + 2, 0, line, COLS);
	}
	refresh();
}

/* Draws anew when the window changes. Return: false for q. */
static bool wait_for_key(const struct view *v, double seconds)
{
	double end = now() + seconds;
	int key;

	do {
		double left = end - now();

		timeout(left > 0 ? (int)(left * 1000) : 0);
		key = getch();
		if (key == 'q' || key == 'Q')
			return false;
		if (key == KEY_RESIZE)
			draw(v);
	} while (key != ERR && key != ' ');
	/* Nobody there to press one: without a pause it would draw all the time. */
	if (key == ERR && now() < end)
		rest(end - now());
	return true;
}

/* Messages are for the screen that stays. */
static void leave_screen(void)
{
	if (!isendwin())
		endwin();
}

static bool draw_all(struct mod *mod, long times, double delay)
{
	struct view v = { };
	bool ok = true;
	long n;

	setlocale(LC_ALL, "");
	if (!initscr())
		return false;
	before_words = leave_screen;
	cbreak();
	noecho();
	curs_set(0);
	keypad(stdscr, TRUE);
	for (n = 0; !times || n < times; n++) {
		ok = look(mod, &v);
		if (!ok)
			break;
		draw(&v);
		if (!wait_for_key(&v, delay))
			break;
	}
	leave_screen();
	free(v.heaps.heap);
	return ok;
}

static bool parse_delay(const char *s, double *delay)
{
	char *end;

	*delay = strtod(s, &end);
	return end != s && !*end && *delay >= 0.05 && *delay <= 86400;
}

static int top(bool batch, long times, double delay)
{
	struct mod *mod = mod_open();
	bool ok;

	if (!mod)
		return 1;
	ok = (batch ? print_all : draw_all)(mod, times, delay);
	mod_close(mod);
	return !ok;
}

int cmd_top(int argc, char **argv)
{
	static const struct option options[] = {
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	bool batch = false;
	double delay = 2;
	long times = 0;
	int c;

	while ((c = getopt_long(argc, argv, "bd:n:h", options, NULL)) != -1) {
		switch (c) {
		case 'b':
			batch = true;
			break;
		case 'd':
			if (!parse_delay(optarg, &delay)) {
				bad_usage("top", "-d %s: not a number of seconds from 0.05 on", optarg);
				return EXIT_USAGE;
			}
			break;
		case 'n':
			if (!parse_number(optarg, 1, INT_MAX, &times)) {
				bad_usage("top", "-n %s: not a number from 1 on", optarg);
				return EXIT_USAGE;
			}
			break;
		case 'h':
			print_usage("top");
			return 0;
		default:
			return EXIT_USAGE;
		}
	}
	if (optind != argc) {
		bad_usage("top", "%s: takes no arguments", argv[optind]);
		return EXIT_USAGE;
	}
	if (!batch && !isatty(STDOUT_FILENO)) {
		say("top draws on a terminal; -b prints instead");
		return 1;
	}
	return top(batch, times, delay);
}
