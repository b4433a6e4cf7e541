// SPDX-License-Identifier: GPL-2.0-only
/*
 * jemalloc-hooks.c - jemalloc on our pages
 *
 * cc jemalloc-hooks.c -ljemalloc -lpagewell
 *
 * jemalloc asks for extents and gives them back through hooks (jemalloc(3),
 * arena.<i>.extent_hooks). An arena that is created with these has all of its
 * memory from pagewell_map(): from the device, committed, within the limit.
 * The allocator that comes first on the command line is the program's malloc().
 */
#include <jemalloc/jemalloc.h>
#include <pagewell.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/**
 * struct map - what pagewell_map() returned
 * @start: where it is, NULL if the entry is free
 * @size: its bytes
 * @left: bytes of it that jemalloc has
 */
struct map {
	char *start;
	size_t size;
	size_t left;
};

#define MAPS	1024

static struct map maps[MAPS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static struct map *map_of(const char *addr)
{
	struct map *m;

	for (m = maps; m < maps + MAPS; m++)
		if (m->start && addr >= m->start && addr < m->start + m->size)
			return m;
	return NULL;
}

static struct map *free_entry(void)
{
	struct map *m;

	for (m = maps; m < maps + MAPS; m++)
		if (!m->start)
			return m;
	return NULL;
}

static void *get(extent_hooks_t *hooks, void *addr, size_t size, size_t align,
		 bool *zero, bool *commit, unsigned int arena)
{
	struct map *m;

	(void)hooks;
	(void)arena;
	/* A certain address cannot be asked for. */
	if (addr)
		return NULL;
	pthread_mutex_lock(&lock);
	m = free_entry();
	if (m) {
		m->start = pagewell_map(size, align, 0);
		m->size = size;
		m->left = size;
		addr = m->start;
	}
	pthread_mutex_unlock(&lock);
	*zero = true;
	*commit = true;
	return addr;
}

/* A map goes back as a whole, when jemalloc is done with all its parts. */
static void part_done(struct map *m, size_t size)
{
	m->left -= size;
	if (m->left)
		return;
	pagewell_unmap(m->start);
	m->start = NULL;
}

static void destroy(extent_hooks_t *hooks, void *addr, size_t size, bool committed,
		    unsigned int arena)
{
	(void)hooks;
	(void)committed;
	(void)arena;
	pthread_mutex_lock(&lock);
	part_done(map_of(addr), size);
	pthread_mutex_unlock(&lock);
}

/*
 * From here on, false is yes. Parts are not taken back: jemalloc keeps them for
 * later, and purges their pages. They come with the end of the arena.
 */
static bool give(extent_hooks_t *hooks, void *addr, size_t size, bool committed,
		 unsigned int arena)
{
	struct map *m;
	bool whole;

	(void)hooks;
	(void)committed;
	(void)arena;
	pthread_mutex_lock(&lock);
	m = map_of(addr);
	whole = m->size == size;
	if (whole)
		part_done(m, size);
	pthread_mutex_unlock(&lock);
	return !whole;
}

/* Pages that are not needed now; they read as zero when they are again. */
static bool purge(extent_hooks_t *hooks, void *addr, size_t size, size_t offset,
		  size_t length, unsigned int arena)
{
	(void)hooks;
	(void)size;
	(void)arena;
	return pagewell_advise((char *)addr + offset, length, PAGEWELL_DONTNEED);
}

static bool split(extent_hooks_t *hooks, void *addr, size_t size, size_t a, size_t b,
		  bool committed, unsigned int arena)
{
	(void)hooks;
	(void)addr;
	(void)size;
	(void)a;
	(void)b;
	(void)committed;
	(void)arena;
	return false;
}

/* Neighbours, if they are parts of one map. */
static bool merge(extent_hooks_t *hooks, void *a, size_t size_a, void *b, size_t size_b,
		  bool committed, unsigned int arena)
{
	bool apart;

	(void)hooks;
	(void)size_a;
	(void)size_b;
	(void)committed;
	(void)arena;
	pthread_mutex_lock(&lock);
	apart = map_of(a) != map_of(b);
	pthread_mutex_unlock(&lock);
	return apart;
}

static extent_hooks_t hooks = {
	.alloc = get,
	.dalloc = give,
	.destroy = destroy,
	.purge_forced = purge,
	.split = split,
	.merge = merge,
};

static void need(int error, const char *what)
{
	if (!error)
		return;
	fprintf(stderr, "jemalloc-hooks: %s: %s\n", what, strerror(error));
	exit(1);
}

static size_t committed(void)
{
	struct pagewell_stats stats;

	pagewell_get_stats(&stats, sizeof(stats));
	return stats.committed;
}

int main(void)
{
	extent_hooks_t *given = &hooks;
	size_t before = committed(), size, i;
	size_t size_of_arena = sizeof(unsigned int);
	static char *blocks[1000];
	unsigned int arena;
	char name[32];
	int flags;

	need(mallctl("arenas.create", &arena, &size_of_arena, &given, sizeof(given)),
	     "arenas.create");
	flags = MALLOCX_ARENA(arena) | MALLOCX_TCACHE_NONE;
	for (i = 0; i < 1000; i++) {
		size = 100 + i * 37;
		blocks[i] = mallocx(size, flags);
		need(!blocks[i], "mallocx");
		memset(blocks[i], (int)i, size);
	}
	printf("%zu KiB from Pagewell for %zu blocks\n", (committed() - before) / 1024, i);
	if (!map_of(blocks[0]) || !map_of(blocks[999]))
		return 1;
	for (i = 0; i < 1000; i++) {
		size = 100 + i * 37;
		if (blocks[i][0] != (char)i || blocks[i][size - 1] != (char)i)
			return 1;
		dallocx(blocks[i], flags);
	}
	snprintf(name, sizeof(name), "arena.%u.destroy", arena);
	need(mallctl(name, NULL, NULL, NULL, 0), name);
	printf("%zu KiB when the arena is gone\n", (committed() - before) / 1024);
	return committed() != before;
}
