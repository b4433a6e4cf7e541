// SPDX-License-Identifier: GPL-2.0-only
/*
 * map.c - mapping, unmapping, resizing and advising regions
 */
#include "pw_test.h"

FIXTURE(map) {
	struct pw h;
};

FIXTURE_SETUP(map)
{
	pw_heap(&self->h, 64 * MIB);
}

FIXTURE_TEARDOWN(map)
{
	close(self->h.fd);
}

TEST_F(map, reads_zero_keeps_data)
{
	char *p = pw_map_pages(&self->h, 1100);

	EXPECT_EQ(-1, pw_nonzero(p, 1100));
	pw_fill(p, 1100, 1);
	EXPECT_EQ(-1, pw_wrong(p, 1100, 1));
	EXPECT_EQ(1100 * PAGE, pw_committed(self->h.fd));
	EXPECT_EQ(1100 * PAGE, pw_resident(self->h.fd));
	ASSERT_EQ(0, pw_unmap(self->h.fd, p, 1100 * PAGE));
	EXPECT_EQ(0, pw_committed(self->h.fd));
	EXPECT_EQ(0, pw_resident(self->h.fd));
	for (int i = 0; i < 1100; i += 99)
		EXPECT_EQ(SIGSEGV, pw_try_read(p + i * PAGE));
}

TEST_F(map, unmap_parts)
{
	char *p = pw_map_pages(&self->h, 1030);

	pw_fill(p, 1030, 1);
	/* Both ends, the middle, over the slot boundary, and again. */
	ASSERT_EQ(0, pw_unmap(self->h.fd, p, PAGE));
	ASSERT_EQ(0, pw_unmap(self->h.fd, p + 1029 * PAGE, 1));
	ASSERT_EQ(0, pw_unmap(self->h.fd, p + 500 * PAGE, 30 * PAGE));
	ASSERT_EQ(0, pw_unmap(self->h.fd, p + 490 * PAGE, 50 * PAGE));
	EXPECT_EQ(978 * PAGE, pw_committed(self->h.fd));
	EXPECT_EQ(978 * PAGE, pw_resident(self->h.fd));
	EXPECT_EQ(SIGSEGV, pw_try_read(p));
	EXPECT_EQ(SIGSEGV, pw_try_write(p + 490 * PAGE, 1));
	EXPECT_EQ(SIGSEGV, pw_try_write(p + 512 * PAGE, 1));
	EXPECT_EQ(SIGSEGV, pw_try_read(p + 540 * PAGE - 1));
	EXPECT_EQ(SIGSEGV, pw_try_read(p + 1029 * PAGE));
	for (int i = 1; i < 1029; i++) {
		if (i < 490 || i >= 540)
			ASSERT_EQ(*(uint64_t *)(p + i * PAGE), pw_word(1, i, 0));
	}
	/* Gaps are no error. */
	ASSERT_EQ(0, pw_unmap(self->h.fd, p, 2000 * PAGE));
	EXPECT_EQ(0, pw_committed(self->h.fd));
	ASSERT_EQ(0, pw_unmap(self->h.fd, p, 2000 * PAGE));
}

TEST_F(map, hole_is_reused_clean)
{
	char *p = pw_map_pages(&self->h, 20), *q;

	pw_fill(p, 20, 7);
	ASSERT_EQ(0, pw_unmap(self->h.fd, p + 5 * PAGE, 10 * PAGE));
	q = pw_map_pages(&self->h, 10);
	EXPECT_EQ(p + 5 * PAGE, q);
	EXPECT_EQ(-1, pw_nonzero(q, 10));
	EXPECT_EQ(-1, pw_wrong(p, 5, 7));
}

TEST_F(map, lowest_gap)
{
	char *p[8];

	for (int i = 0; i < 8; i++)
		p[i] = pw_map_pages(&self->h, 4);
	for (int i = 1; i < 8; i++)
		EXPECT_EQ(p[i - 1] + 4 * PAGE, p[i]);
	ASSERT_EQ(0, pw_unmap(self->h.fd, p[2], 4 * PAGE));
	ASSERT_EQ(0, pw_unmap(self->h.fd, p[5], 8 * PAGE));
	EXPECT_EQ(p[5], pw_map_pages(&self->h, 5));
	EXPECT_EQ(p[2], pw_map_pages(&self->h, 4));
	EXPECT_EQ(p[5] + 5 * PAGE, pw_map_pages(&self->h, 1));
}

TEST_F(map, alignment)
{
	char *at;

	for (size_t align = 1; align <= 64 * MIB; align *= 2) {
		ASSERT_EQ(0, pw_map(self->h.fd, 0, NULL, 3 * PAGE, align, &at));
		EXPECT_EQ(0, (uintptr_t)at % align);
		EXPECT_EQ(0, (uintptr_t)at % PAGE);
		pw_cover(&self->h, at + 3 * PAGE);
		pw_fill(at, 3, align);
		EXPECT_EQ(-1, pw_wrong(at, 3, align));
	}
}

/* The lowest gap that has an aligned place, not the lowest that must have one. */
TEST_F(map, aligned_gaps)
{
	const size_t slot = 512 * PAGE;
	char *base, *at;

	ASSERT_EQ(0, pw_map(self->h.fd, PAGEWELL_MAP_GUARD, NULL, 12 * slot, slot, &base));
	/* Too short; long enough, in vain; just the place; with a rest on either side. */
	ASSERT_EQ(0, pw_unmap(self->h.fd, base + PAGE, slot / 2));
	ASSERT_EQ(0, pw_unmap(self->h.fd, base + slot + PAGE, slot + 100 * PAGE));
	ASSERT_EQ(0, pw_unmap(self->h.fd, base + 4 * slot, slot));
	ASSERT_EQ(0, pw_unmap(self->h.fd, base + 7 * slot - PAGE, slot + 2 * PAGE));
	ASSERT_EQ(0, pw_map(self->h.fd, 0, NULL, slot, slot, &at));
	EXPECT_EQ((void *)(base + 4 * slot), (void *)at);
	ASSERT_EQ(0, pw_map(self->h.fd, 0, NULL, slot, slot, &at));
	EXPECT_EQ((void *)(base + 7 * slot), (void *)at);
	ASSERT_EQ(0, pw_map(self->h.fd, 0, NULL, slot, slot, &at));
	EXPECT_GE((void *)at, (void *)(base + 12 * slot));
	/* Many in vain: behind them all the same. */
	ASSERT_EQ(0, pw_map(self->h.fd, PAGEWELL_MAP_GUARD, NULL, 100 * slot, slot, &base));
	for (int i = 0; i < 99; i++)
		ASSERT_EQ(0, pw_unmap(self->h.fd, base + i * slot + PAGE, slot - PAGE));
	ASSERT_EQ(0, pw_map(self->h.fd, 0, base, slot - PAGE, slot, &at));
	EXPECT_GE((void *)at, (void *)(base + 100 * slot));
}

TEST_F(map, hints)
{
	char *want = self->h.base + 24 * MIB, *at;

	ASSERT_EQ(0, pw_map(self->h.fd, 0, want, 4 * PAGE, 0, &at));
	EXPECT_EQ(want, at);
	/* Taken: the next gap above. */
	ASSERT_EQ(0, pw_map(self->h.fd, 0, want, 4 * PAGE, 0, &at));
	EXPECT_EQ(want + 4 * PAGE, at);
	/* A hint that makes no sense is none. */
	ASSERT_EQ(0, pw_map(self->h.fd, 0, (void *)PAGE, PAGE, 0, &at));
	EXPECT_GE(at, self->h.base);
	ASSERT_EQ(0, pw_map(self->h.fd, 0, (void *)-PAGE, PAGE, 0, &at));
	EXPECT_GE(at, self->h.base);
	EXPECT_LT(at, self->h.base + 24 * MIB);
}

TEST_F(map, fixed)
{
	char *p = pw_map_pages(&self->h, 600), *at;
	int fd = self->h.fd;

	pw_fill(p, 600, 1);
	/* Over a part: what was there is gone, the rest is not. */
	ASSERT_EQ(0, pw_map(fd, PAGEWELL_MAP_FIXED, p + 500 * PAGE, 50 * PAGE, 0, &at));
	EXPECT_EQ(p + 500 * PAGE, at);
	EXPECT_EQ(-1, pw_nonzero(at, 50));
	EXPECT_EQ(-1, pw_wrong(p, 500, 1));
	EXPECT_EQ(*(uint64_t *)(p + 550 * PAGE), pw_word(1, 550, 0));
	EXPECT_EQ(600 * PAGE, pw_committed(fd));
	/* Over the end and the gap behind it. */
	ASSERT_EQ(0, pw_map(fd, PAGEWELL_MAP_FIXED, p + 590 * PAGE, 20 * PAGE, 0, &at));
	EXPECT_EQ(-1, pw_nonzero(at, 20));
	EXPECT_EQ(610 * PAGE, pw_committed(fd));
	EXPECT_EQ(-EEXIST, pw_map(fd, PAGEWELL_MAP_FIXED_NOREPLACE, p + 605 * PAGE,
				  10 * PAGE, 0, NULL));
	EXPECT_EQ(-EEXIST, pw_map(fd, PAGEWELL_MAP_FIXED_NOREPLACE, p, 1000 * PAGE, 0, NULL));
	EXPECT_EQ(0, pw_map(fd, PAGEWELL_MAP_FIXED_NOREPLACE, p + 610 * PAGE, PAGE, 0, &at));
	EXPECT_EQ(p + 610 * PAGE, at);
	EXPECT_EQ(-1, pw_wrong(p, 500, 1));
	EXPECT_EQ(611 * PAGE, pw_committed(fd));
}

TEST_F(map, breaks_and_maps_keep_apart)
{
	int fd = self->h.fd;
	char *start, *at;
	uint32_t id;

	ASSERT_EQ(0, pw_brk_create(fd, 2 * MIB, &id, &start));
	ASSERT_EQ(0, pw_brk(fd, id, start + 8 * PAGE, NULL));
	pw_cover(&self->h, start + 4 * MIB);
	pw_fill(start, 8, 3);
	for (int i = 0; i <= 8; i += 4) {
		EXPECT_EQ(-EEXIST, pw_map(fd, PAGEWELL_MAP_FIXED, start + i * PAGE, PAGE, 0, NULL));
		EXPECT_EQ(-EEXIST, pw_map(fd, PAGEWELL_MAP_FIXED_NOREPLACE,
					  start + i * PAGE, PAGE, 0, NULL));
		EXPECT_EQ(-EEXIST, pw_map(fd, PAGEWELL_MAP_FIXED | PAGEWELL_MAP_GUARD,
					  start + i * PAGE, PAGE, 0, NULL));
	}
	/* A map that begins before and reaches into it: nothing changes. */
	ASSERT_EQ(0, pw_map(fd, PAGEWELL_MAP_FIXED_NOREPLACE, start + 2 * MIB, 4 * PAGE, 0, &at));
	pw_fill(at, 4, 4);
	EXPECT_EQ(-EEXIST, pw_map(fd, PAGEWELL_MAP_FIXED, start + 2 * MIB - PAGE,
				  3 * PAGE, 0, NULL));
	EXPECT_EQ(-1, pw_wrong(at, 4, 4));
	EXPECT_EQ(-EINVAL, pw_unmap(fd, start + 2 * MIB - PAGE, 2 * PAGE));
	EXPECT_EQ(-1, pw_wrong(at, 4, 4));
	EXPECT_NE(0, pw_remap(fd, PAGEWELL_REMAP_MAYMOVE, start, PAGE, 2 * PAGE, NULL));
	EXPECT_EQ(-1, pw_wrong(start, 8, 3));
	EXPECT_EQ(12 * PAGE, pw_committed(fd));
}

TEST_F(map, guard)
{
	int fd = self->h.fd;
	char *p = pw_map_pages(&self->h, 12), *g;

	pw_fill(p, 12, 1);
	ASSERT_EQ(0, pw_map(fd, PAGEWELL_MAP_FIXED | PAGEWELL_MAP_GUARD, p + 4 * PAGE,
			    4 * PAGE, 0, &g));
	EXPECT_EQ(8 * PAGE, pw_committed(fd));
	EXPECT_EQ(SIGSEGV, pw_try_read(g));
	EXPECT_EQ(SIGSEGV, pw_try_write(g + 4 * PAGE - 1, 1));
	EXPECT_EQ(0, pw_try_write(g - 1, 1));
	EXPECT_EQ(0, pw_try_write(g + 4 * PAGE, 1));
	EXPECT_EQ(-EEXIST, pw_map(fd, PAGEWELL_MAP_FIXED_NOREPLACE, g, PAGE, 0, NULL));
	EXPECT_EQ(-ENOMEM, pw_advise(fd, PAGEWELL_ADVISE_POPULATE, p, 12 * PAGE));
	EXPECT_EQ(SIGSEGV, pw_try_read(g));
	/* Addresses are not given to others; then they are. */
	EXPECT_EQ(p + 12 * PAGE, pw_map_pages(&self->h, 2));
	ASSERT_EQ(0, pw_unmap(fd, g, 4 * PAGE));
	EXPECT_EQ(g, pw_map_pages(&self->h, 4));
	EXPECT_EQ(-1, pw_nonzero(g, 4));
	/* Costs no memory, however large. */
	EXPECT_EQ(0, pw_map(fd, PAGEWELL_MAP_GUARD, NULL, 1024 * GIB, 0, &g));
	EXPECT_EQ(0, pw_unmap(fd, g, 1024 * GIB));
}

TEST_F(map, populate)
{
	int fd = self->h.fd;
	struct rusage before, after;
	char *p;

	ASSERT_EQ(0, pw_map(fd, PAGEWELL_MAP_POPULATE, NULL, 700 * PAGE, 0, &p));
	EXPECT_EQ(700 * PAGE, pw_resident(fd));
	EXPECT_EQ(700 * 4, pw_smaps(self->h.base, self->h.len, "Rss"));
	getrusage(RUSAGE_SELF, &before);
	for (int i = 0; i < 700; i++)
		p[i * PAGE] = 1;
	getrusage(RUSAGE_SELF, &after);
	EXPECT_LE(after.ru_minflt - before.ru_minflt, 8);

	p = pw_map_pages(&self->h, 300);
	p[7 * PAGE] = 7;
	ASSERT_EQ(0, pw_advise(fd, PAGEWELL_ADVISE_POPULATE, p, 300 * PAGE));
	EXPECT_EQ(1000 * PAGE, pw_resident(fd));
	EXPECT_EQ(7, p[7 * PAGE]);
	ASSERT_EQ(0, pw_advise(fd, PAGEWELL_ADVISE_POPULATE, p, 300 * PAGE));
	EXPECT_EQ(1000 * PAGE, pw_resident(fd));

	p = pw_map_pages(&self->h, 10);
	ASSERT_EQ(0, pw_advise(fd, PAGEWELL_ADVISE_WILLNEED, p, 10 * PAGE));
	EXPECT_EQ(1010 * PAGE, pw_resident(fd));
}

TEST_F(map, populate_behind_the_vma)
{
	char *p;

	/* No VMA there: nothing can be put in place, and nothing stays behind. */
	EXPECT_EQ(-ENOMEM, pw_map(self->h.fd, PAGEWELL_MAP_POPULATE, NULL, 80 * MIB, 0, NULL));
	EXPECT_EQ(0, pw_committed(self->h.fd));
	EXPECT_EQ(0, pw_resident(self->h.fd));
	p = pw_map_pages(&self->h, 1);
	EXPECT_EQ(self->h.base, p);
	EXPECT_EQ(-1, pw_nonzero(p, 1));
}

/* Asked for where nothing is mapped: nothing stays behind. */
TEST(populate_leaves_nothing)
{
	const long slots = 32 * KIB;
	long slab = pw_key("/proc/meminfo", "SUnreclaim");
	struct pw h;

	pw_heap(&h, slots * HUGE);
	for (long i = 0; i < slots; i++)
		ASSERT_EQ(-ENOMEM, pw_advise(h.fd, PAGEWELL_ADVISE_POPULATE,
					     h.base + i * HUGE, PAGE));
	EXPECT_LT(pw_key("/proc/meminfo", "SUnreclaim"), slab + slots / 2);
}

TEST_F(map, dontneed)
{
	int fd = self->h.fd;
	char *p = pw_map_pages(&self->h, 1200);

	pw_fill(p, 1200, 1);
	ASSERT_EQ(0, pw_advise(fd, PAGEWELL_ADVISE_DONTNEED, p + 400 * PAGE, 300 * PAGE));
	EXPECT_EQ(900 * PAGE, pw_resident(fd));
	EXPECT_EQ(1200 * PAGE, pw_committed(fd));
	EXPECT_EQ(-1, pw_nonzero(p + 400 * PAGE, 300));
	EXPECT_EQ(-1, pw_wrong(p, 400, 1));
	EXPECT_EQ(*(uint64_t *)(p + 700 * PAGE), pw_word(1, 700, 0));
	/* Over gaps, guards and breaks. */
	ASSERT_EQ(0, pw_unmap(fd, p + 100 * PAGE, 100 * PAGE));
	ASSERT_EQ(0, pw_advise(fd, PAGEWELL_ADVISE_DONTNEED, p, 1200 * PAGE));
	EXPECT_EQ(0, pw_resident(fd));
	EXPECT_EQ(1100 * PAGE, pw_committed(fd));
	EXPECT_EQ(-1, pw_nonzero(p, 100));
	EXPECT_EQ(SIGSEGV, pw_try_read(p + 100 * PAGE));
}

TEST_F(map, remap_in_place)
{
	int fd = self->h.fd;
	char *p = pw_map_pages(&self->h, 100), *at;

	pw_fill(p, 100, 1);
	ASSERT_EQ(0, pw_remap(fd, 0, p, 100 * PAGE, 40 * PAGE, &at));
	EXPECT_EQ(p, at);
	EXPECT_EQ(40 * PAGE, pw_committed(fd));
	EXPECT_EQ(SIGSEGV, pw_try_read(p + 40 * PAGE));
	ASSERT_EQ(0, pw_remap(fd, 0, p, 40 * PAGE, 900 * PAGE, &at));
	EXPECT_EQ(p, at);
	EXPECT_EQ(900 * PAGE, pw_committed(fd));
	EXPECT_EQ(-1, pw_wrong(p, 40, 1));
	EXPECT_EQ(-1, pw_nonzero(p + 40 * PAGE, 860));
	ASSERT_EQ(0, pw_remap(fd, 0, p, 900 * PAGE - 5, 900 * PAGE, &at));
	EXPECT_EQ(p, at);
	EXPECT_EQ(900 * PAGE, pw_committed(fd));
	EXPECT_EQ(-1, pw_wrong(p, 40, 1));
	/* Something in the way. */
	ASSERT_EQ(0, pw_map(fd, PAGEWELL_MAP_FIXED_NOREPLACE, p + 950 * PAGE, PAGE, 0, NULL));
	EXPECT_EQ(-ENOMEM, pw_remap(fd, 0, p, 900 * PAGE, 951 * PAGE, NULL));
	EXPECT_EQ(0, pw_remap(fd, 0, p, 900 * PAGE, 950 * PAGE, NULL));
	EXPECT_EQ(-1, pw_wrong(p, 40, 1));
	EXPECT_EQ(951 * PAGE, pw_committed(fd));
}

TEST_F(map, remap_moves_without_copying)
{
	int fd = self->h.fd;
	char *p = pw_map_pages(&self->h, 1000), *wall = pw_map_pages(&self->h, 1), *at;
	long pages;

	/* Holes in it stay holes that read as zero. */
	for (int i = 0; i < 1000; i += 10)
		pw_fill(p + i * PAGE, 1, i);
	pages = pw_resident(fd) / PAGE;
	ASSERT_EQ(0, pw_remap(fd, PAGEWELL_REMAP_MAYMOVE, p, 1000 * PAGE, 1500 * PAGE, &at));
	EXPECT_NE(p, at);
	EXPECT_EQ(pages, pw_resident(fd) / PAGE);
	pw_cover(&self->h, at + 1500 * PAGE);
	for (int i = 0; i < 1000; i += 10)
		ASSERT_EQ(-1, pw_wrong(at + i * PAGE, 1, i));
	/* The pages were not allocated anew. */
	EXPECT_EQ(pages, pw_resident(fd) / PAGE);
	EXPECT_EQ(SIGSEGV, pw_try_read(p));
	EXPECT_EQ(SIGSEGV, pw_try_write(p + 999 * PAGE, 1));
	EXPECT_EQ(-1, pw_nonzero(at + 1 * PAGE, 9));
	EXPECT_EQ(-1, pw_nonzero(at + 1000 * PAGE, 500));
	EXPECT_EQ(1501 * PAGE, pw_committed(fd));
	/* The old place is free. */
	EXPECT_EQ(p, pw_map_pages(&self->h, 1000));
	EXPECT_EQ(-1, pw_nonzero(p, 1000));
	EXPECT_EQ(p + 1000 * PAGE, wall);
}

TEST_F(map, remap_refused)
{
	int fd = self->h.fd;
	char *p = pw_map_pages(&self->h, 64), *at;

	pw_fill(p, 64, 1);
	ASSERT_EQ(0, pw_set_limit(fd, 100 * PAGE));
	EXPECT_EQ(-ENOMEM, pw_remap(fd, 0, p, 64 * PAGE, 101 * PAGE, NULL));
	EXPECT_EQ(-ENOMEM, pw_remap(fd, PAGEWELL_REMAP_MAYMOVE, p, 64 * PAGE, 101 * PAGE, NULL));
	EXPECT_EQ(64 * PAGE, pw_committed(fd));
	EXPECT_EQ(-1, pw_wrong(p, 64, 1));
	EXPECT_EQ(SIGSEGV, pw_try_read(p + 64 * PAGE));
	EXPECT_EQ(0, pw_remap(fd, PAGEWELL_REMAP_MAYMOVE, p, 64 * PAGE, 100 * PAGE, &at));
	EXPECT_EQ(p, at);
}

/* Part of a map may be resized: the rest stays what it was. */
TEST_F(map, remap_part)
{
	int fd = self->h.fd;
	char *p = pw_map_pages(&self->h, 30), *at;

	pw_fill(p, 30, 1);
	ASSERT_EQ(0, pw_remap(fd, 0, p + 10 * PAGE, 10 * PAGE, 5 * PAGE, &at));
	EXPECT_EQ(p + 10 * PAGE, at);
	EXPECT_EQ(SIGSEGV, pw_try_read(p + 15 * PAGE));
	EXPECT_EQ(SIGSEGV, pw_try_read(p + 20 * PAGE - 1));
	EXPECT_EQ(-1, pw_wrong(p, 15, 1));
	EXPECT_EQ(*(uint64_t *)(p + 20 * PAGE), pw_word(1, 20, 0));
	ASSERT_EQ(0, pw_remap(fd, PAGEWELL_REMAP_MAYMOVE, p + 2 * PAGE, 2 * PAGE, 9 * PAGE, &at));
	pw_cover(&self->h, at + 9 * PAGE);
	EXPECT_EQ(((uint64_t *)at)[0], pw_word(1, 2, 0));
	EXPECT_EQ(((uint64_t *)(at + PAGE))[5], pw_word(1, 3, 5));
	EXPECT_EQ(SIGSEGV, pw_try_read(p + 2 * PAGE));
	EXPECT_EQ(-1, pw_wrong(p, 2, 1));
	EXPECT_EQ(*(uint64_t *)(p + 4 * PAGE), pw_word(1, 4, 0));
}

#define TO_FIXED	(PAGEWELL_REMAP_MAYMOVE | PAGEWELL_REMAP_FIXED)

/* To a place of the program's choice; what is there goes. */
TEST_F(map, remap_fixed)
{
	int fd = self->h.fd;
	char *p = pw_map_pages(&self->h, 700), *to = pw_map_pages(&self->h, 1000);
	long pages;

	pw_fill(p, 700, 1);
	pw_fill(to, 1000, 2);
	pages = pw_resident(fd) / PAGE;
	/* As long as it is, over one end of a map. */
	ASSERT_EQ(0, pw_remap_to(fd, TO_FIXED, p, 700 * PAGE, 700 * PAGE, to + 600 * PAGE));
	pw_cover(&self->h, to + 3000 * PAGE);
	EXPECT_EQ(-1, pw_wrong(to + 600 * PAGE, 700, 1));
	EXPECT_EQ(-1, pw_wrong(to, 600, 2));
	EXPECT_EQ(SIGSEGV, pw_try_read(p));
	EXPECT_EQ(SIGSEGV, pw_try_read(p + 699 * PAGE));
	EXPECT_EQ(1300 * PAGE, pw_committed(fd));
	EXPECT_EQ((pages - 400), (long)(pw_resident(fd) / PAGE));
	/* Longer: what is added reads as zero. */
	ASSERT_EQ(0, pw_remap_to(fd, TO_FIXED, to, 600 * PAGE, 650 * PAGE, p));
	EXPECT_EQ(-1, pw_wrong(p, 600, 2));
	EXPECT_EQ(-1, pw_nonzero(p + 600 * PAGE, 50));
	EXPECT_EQ(SIGSEGV, pw_try_read(p + 650 * PAGE));
	EXPECT_EQ(SIGSEGV, pw_try_read(to));
	EXPECT_EQ(1350 * PAGE, pw_committed(fd));
	/* Shorter, out of the middle, to where nothing is: the rest of that part goes. */
	ASSERT_EQ(0, pw_remap_to(fd, TO_FIXED, p + 100 * PAGE, 200 * PAGE, 50 * PAGE,
				 to + 2000 * PAGE));
	EXPECT_EQ(*(uint64_t *)(to + 2000 * PAGE), pw_word(2, 100, 0));
	EXPECT_EQ(*(uint64_t *)(to + 2049 * PAGE), pw_word(2, 149, 0));
	EXPECT_EQ(SIGSEGV, pw_try_read(to + 2050 * PAGE));
	EXPECT_EQ(-1, pw_wrong(p, 100, 2));
	for (int i = 100; i < 300; i += 33)
		EXPECT_EQ(SIGSEGV, pw_try_read(p + i * PAGE));
	EXPECT_EQ(*(uint64_t *)(p + 300 * PAGE), pw_word(2, 300, 0));
	EXPECT_EQ(1200 * PAGE, pw_committed(fd));
}

/* Pages of 2 MiB go along where they lie as before, and are cut where not. */
TEST_F(map, remap_fixed_huge)
{
	int fd = self->h.fd;
	char *p, *to;

	ASSERT_EQ(0, pw_set_huge(fd, PAGEWELL_HUGE_ALWAYS));
	ASSERT_EQ(0, pw_map(fd, 0, NULL, 2 * HUGE, HUGE, &p));
	ASSERT_EQ(0, pw_map(fd, 0, NULL, 4 * HUGE, HUGE, &to));
	pw_cover(&self->h, to + 4 * HUGE);
	pw_fill(p, 1024, 1);
	pw_fill(to, 2048, 2);
	ASSERT_EQ(0, pw_remap_to(fd, TO_FIXED, p, 2 * HUGE, 2 * HUGE, to + HUGE));
	EXPECT_EQ(-1, pw_wrong(to + HUGE, 1024, 1));
	EXPECT_EQ(-1, pw_wrong(to, 512, 2));
	EXPECT_EQ(*(uint64_t *)(to + 3 * HUGE), pw_word(2, 1536, 0));
	ASSERT_EQ(0, pw_remap_to(fd, TO_FIXED, to + HUGE, 2 * HUGE, 2 * HUGE, p + 5 * PAGE));
	pw_cover(&self->h, p + 5 * PAGE + 2 * HUGE);
	EXPECT_EQ(-1, pw_wrong(p + 5 * PAGE, 1024, 1));
	/* Five pages of what is left lay where it ends. */
	EXPECT_EQ(4 * HUGE - 5 * PAGE, pw_committed(fd));
}

/* What it has no room for leaves the old range as it was. */
TEST_F(map, remap_fixed_refused)
{
	int fd = self->h.fd;
	char *p = pw_map_pages(&self->h, 64), *to = pw_map_pages(&self->h, 30);

	pw_fill(p, 64, 1);
	pw_fill(to, 30, 2);
	ASSERT_EQ(0, pw_set_limit(fd, 100 * PAGE));
	EXPECT_EQ(-ENOMEM, pw_remap_to(fd, TO_FIXED, p, 64 * PAGE, 71 * PAGE, to));
	EXPECT_EQ(94 * PAGE, pw_committed(fd));
	EXPECT_EQ(-1, pw_wrong(p, 64, 1));
	EXPECT_EQ(-1, pw_wrong(to, 30, 2));
	EXPECT_EQ(0, pw_remap_to(fd, TO_FIXED, p, 64 * PAGE, 70 * PAGE, to));
	EXPECT_EQ(70 * PAGE, pw_committed(fd));
	EXPECT_EQ(-1, pw_wrong(to, 64, 1));
}

/* What is added is as what it is added to. */
TEST_F(map, remap_grows_alike)
{
	int fd = self->h.fd;
	char *p = pw_map_pages(&self->h, 20), *at;

	pw_fill(p, 20, 1);
	ASSERT_EQ(0, pw_protect(fd, PAGEWELL_PROT_READ, p + 10 * PAGE, 10 * PAGE));
	ASSERT_EQ(0, pw_remap(fd, 0, p, 20 * PAGE, 30 * PAGE, NULL));
	EXPECT_EQ(0, pw_try_read(p + 25 * PAGE));
	EXPECT_EQ(SIGSEGV, pw_try_write(p + 25 * PAGE, 1));
	EXPECT_EQ(0, pw_try_write(p + 5 * PAGE, 1));
	ASSERT_EQ(0, pw_map(fd, PAGEWELL_MAP_FIXED, p + 30 * PAGE, PAGE, 0, NULL));
	ASSERT_EQ(0, pw_remap(fd, PAGEWELL_REMAP_MAYMOVE, p, 30 * PAGE, 40 * PAGE, &at));
	pw_cover(&self->h, at + 40 * PAGE);
	EXPECT_EQ(SIGSEGV, pw_try_write(at + 35 * PAGE, 1));
	EXPECT_EQ(0, pw_try_read(at + 35 * PAGE));

	/* The page size, too: a touch maps 2 MiB. */
	ASSERT_EQ(0, pw_set_huge(fd, PAGEWELL_HUGE_NEVER));
	ASSERT_EQ(0, pw_map(fd, 0, NULL, 2 * HUGE, HUGE, &p));
	ASSERT_EQ(0, pw_unmap(fd, p + PAGE, 2 * HUGE - PAGE));
	pw_cover(&self->h, p + 2 * HUGE);
	ASSERT_EQ(0, pw_advise(fd, PAGEWELL_ADVISE_HUGEPAGE, p, PAGE));
	ASSERT_EQ(0, pw_remap(fd, 0, p, PAGE, 2 * HUGE, NULL));
	EXPECT_EQ(0, pw_try_write(p + HUGE, 1));
	EXPECT_EQ((long)(HUGE / KIB), pw_smaps(p + HUGE, HUGE, "FilePmdMapped"));
}

static double fork_time(void)
{
	double least = 1e9;

	for (int i = 0; i < 5; i++) {
		double t = pw_now();
		pid_t pid = pw_fork();

		if (!pid)
			_exit(0);
		CHECK(pw_wait(pid) == 0);
		t = pw_now() - t;
		least = t < least ? t : least;
	}
	return least;
}

/* A mapping may be as long as it likes: where nothing is there is nothing to do. */
TEST_F(map, length_costs_nothing)
{
	const size_t len = 60UL << 40;
	double usual = fork_time(), t, least = 1e9;
	char *p;

	ASSERT_EQ(0, munmap(self->h.base, self->h.len));
	p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, self->h.fd, 0);
	ASSERT_NE(MAP_FAILED, p);
	EXPECT_LE(fork_time(), 30 * usual);
	for (int i = 3; i > 0; i--) {
		t = pw_now();
		ASSERT_EQ(0, munmap(p + i * len / 4, len / 4));
		t = pw_now() - t;
		least = t < least ? t : least;
	}
	EXPECT_LE(least, 100 * usual);
}

TEST_F_TIMEOUT(map, many_regions, 900)
{
	const long count = pw_scaled(100000);
	int fd = self->h.fd;
	char *base, *at;

	/* Every other page a region, guards between: nothing can be merged. */
	ASSERT_EQ(0, pw_map(fd, PAGEWELL_MAP_GUARD, NULL, count * 2 * PAGE, 0, &base));
	pw_cover(&self->h, base + count * 2 * PAGE);
	for (long i = 0; i < count; i++)
		ASSERT_EQ(0, pw_map(fd, PAGEWELL_MAP_FIXED, base + 2 * i * PAGE, PAGE, 0, &at));
	EXPECT_EQ(count * PAGE, pw_committed(fd));
	for (long i = 0; i < count; i += 211) {
		*(long *)(base + 2 * i * PAGE) = i;
		ASSERT_EQ(SIGSEGV, pw_try_read(base + (2 * i + 1) * PAGE));
	}
	for (long i = 0; i < count; i += 211)
		ASSERT_EQ(i, *(long *)(base + 2 * i * PAGE));
	ASSERT_EQ(0, pw_unmap(fd, base, count * 2 * PAGE));
	EXPECT_EQ(0, pw_committed(fd));
	EXPECT_EQ(0, pw_resident(fd));
	EXPECT_EQ(base, pw_map_pages(&self->h, 1));
}

/* A column of what the module says of the caller's heap; it has one. */
static long heap_column(const char *name)
{
	char line[1024], *word, *save;
	int column = 0;
	FILE *f = fopen(PW_DEBUGFS "heaps", "re");

	CHECK(f && fgets(line, sizeof(line), f));
	for (word = strtok_r(line, " \n", &save); word && strcmp(word, name);
	     word = strtok_r(NULL, " \n", &save))
		column++;
	CHECK(word);
	do {
		CHECK(fgets(line, sizeof(line), f));
		word = strtok_r(line, " \n", &save);
	} while (atol(word) != getpid());
	fclose(f);
	while (column--)
		word = strtok_r(NULL, " \n", &save);
	return atol(word);
}

static long regions(void)
{
	return heap_column("regions");
}

/* Like with like, on either side and both, and of a kind only. */
TEST_F(map, neighbours_are_one_region)
{
	int fd = self->h.fd;
	char *p;

	ASSERT_EQ(0, pw_map(fd, 0, NULL, 64 * PAGE, 0, &p));
	EXPECT_EQ(1, regions());
	ASSERT_EQ(0, pw_unmap(fd, p + 10 * PAGE, PAGE));
	EXPECT_EQ(2, regions());
	ASSERT_EQ(0, pw_unmap(fd, p + 20 * PAGE, 10 * PAGE));
	EXPECT_EQ(3, regions());
	ASSERT_EQ(0, pw_map(fd, PAGEWELL_MAP_FIXED, p + 22 * PAGE, 4 * PAGE, 0, NULL));
	EXPECT_EQ(4, regions());
	ASSERT_EQ(0, pw_map(fd, PAGEWELL_MAP_FIXED, p + 20 * PAGE, 2 * PAGE, 0, NULL));
	EXPECT_EQ(3, regions());
	ASSERT_EQ(0, pw_map(fd, PAGEWELL_MAP_FIXED, p + 26 * PAGE, 4 * PAGE, 0, NULL));
	EXPECT_EQ(2, regions());
	ASSERT_EQ(0, pw_map(fd, PAGEWELL_MAP_FIXED | PAGEWELL_MAP_GUARD, p + 10 * PAGE, PAGE, 0,
			    NULL));
	EXPECT_EQ(3, regions());
	ASSERT_EQ(0, pw_map(fd, PAGEWELL_MAP_FIXED, p + 10 * PAGE, PAGE, 0, NULL));
	EXPECT_EQ(1, regions());
	ASSERT_EQ(0, pw_protect(fd, PW_READ, p + 30 * PAGE, 4 * PAGE));
	EXPECT_EQ(3, regions());
	ASSERT_EQ(0, pw_protect(fd, PW_BOTH, p + 30 * PAGE, 4 * PAGE));
	EXPECT_EQ(1, regions());
	ASSERT_EQ(0, pw_unmap(fd, p, 64 * PAGE));
	EXPECT_EQ(0, regions());
}

/* Also where what was just unmapped is mapped again. */
TEST_F(map, a_hole_that_is_filled_is_none)
{
	int fd = self->h.fd;
	char *p, *again;

	ASSERT_EQ(0, pw_map(fd, 0, NULL, 4 * PAGE, 0, &p));
	for (int i = 1; i < 9; i++) {
		ASSERT_EQ(0, pw_map(fd, 0, NULL, 4 * PAGE, 0, &again));
		ASSERT_EQ((void *)(p + 4 * i * PAGE), (void *)again);
	}
	EXPECT_EQ(1, regions());
	/* One; two side by side; more than are kept apart. */
	for (int n = 1; n < 8; n++) {
		for (int i = 1; i <= n; i++)
			ASSERT_EQ(0, pw_unmap(fd, p + 4 * i * PAGE, 4 * PAGE));
		EXPECT_EQ(2, regions());
		for (int i = 1; i <= n; i++)
			ASSERT_EQ(0, pw_map(fd, 0, NULL, 4 * PAGE, 0, &again));
		EXPECT_EQ(1, regions());
	}
	ASSERT_EQ(0, pw_unmap(fd, p, 9 * 4 * PAGE));
	EXPECT_EQ(0, regions());
}

/* A part of what was unmapped and mapped again, of the length mapped last, and all of it. */
TEST_F(map, a_part_of_a_hole_that_was_filled)
{
	int fd = self->h.fd;
	char *p, *q, *again, *more;

	ASSERT_EQ(0, pw_map(fd, 0, NULL, 8 * PAGE, 0, &p));
	ASSERT_EQ(0, pw_map(fd, 0, NULL, 8 * PAGE, 0, &q));
	ASSERT_EQ(0, pw_unmap(fd, p, 8 * PAGE));
	ASSERT_EQ(0, pw_map(fd, 0, NULL, 8 * PAGE, 0, &again));
	ASSERT_EQ((void *)p, (void *)again);
	ASSERT_EQ(0, pw_map(fd, 0, NULL, 4 * PAGE, 0, &more));
	EXPECT_EQ(20 * PAGE, pw_committed(fd));
	ASSERT_EQ(0, pw_unmap(fd, p, 4 * PAGE));
	EXPECT_EQ(16 * PAGE, pw_committed(fd));
	EXPECT_EQ(SIGSEGV, pw_try_write(p, 1));
	ASSERT_EQ(0, pw_unmap(fd, p, 8 * PAGE));
	EXPECT_EQ(12 * PAGE, pw_committed(fd));
	EXPECT_EQ(SIGSEGV, pw_try_write(p + 7 * PAGE, 1));
	ASSERT_EQ(0, pw_map(fd, 0, NULL, 8 * PAGE, 0, &again));
	ASSERT_EQ(0, pw_map(fd, 0, NULL, 4 * PAGE, 0, &more));
	EXPECT_TRUE(more >= again + 8 * PAGE || more + 4 * PAGE <= again);
	EXPECT_EQ(24 * PAGE, pw_committed(fd));
}

/* There is an end to them, and what is there can still go, or stay. */
TEST_F(map, too_many_regions)
{
	long max = pw_get_param("max_regions"), n;
	int fd = self->h.fd;
	char *base, *one, *brk, *start;
	uint32_t id, other;

	ASSERT_EQ(0, pw_brk_create(fd, 0, &id, &brk));
	ASSERT_EQ(0, pw_map(fd, 0, NULL, 4 * PAGE, 0, &one));
	ASSERT_EQ(0, pw_map(fd, PAGEWELL_MAP_GUARD, NULL, 4000 * PAGE, 0, &base));
	ASSERT_EQ(0, pw_set_param("max_regions", 1000));
	for (n = 0; n < 2000; n++)
		if (pw_unmap(fd, base + (2 * n + 1) * PAGE, PAGE))
			break;
	EXPECT_GE(n, 990);
	EXPECT_LE(n, 1000);
	EXPECT_GE(regions(), 1000);
	EXPECT_LE(regions(), 1004);
	EXPECT_EQ(-ENOMEM, pw_unmap(fd, base + (2 * n + 1) * PAGE, PAGE));
	EXPECT_EQ(-ENOMEM, pw_map(fd, 0, NULL, 3 * PAGE, 0, NULL));
	EXPECT_EQ(-ENOMEM, pw_map(fd, PAGEWELL_MAP_GUARD, NULL, 3 * PAGE, 0, NULL));
	EXPECT_EQ(-ENOMEM, pw_protect(fd, PW_READ, one + PAGE, PAGE));
	EXPECT_EQ(-ENOMEM, pw_remap(fd, PAGEWELL_REMAP_MAYMOVE, one, PAGE, 8 * PAGE, NULL));
	EXPECT_EQ(-ENOMEM, pw_advise(fd, PAGEWELL_ADVISE_NOHUGEPAGE, one + PAGE, PAGE));
	EXPECT_EQ(-ENOMEM, pw_brk_create(fd, 0, &other, &start));
	/* What makes no other region may be done. */
	EXPECT_EQ(0, pw_protect(fd, PW_READ, one, 4 * PAGE));
	EXPECT_EQ(0, pw_protect(fd, PW_BOTH, one, 4 * PAGE));
	EXPECT_EQ(0, pw_advise(fd, PAGEWELL_ADVISE_NOHUGEPAGE, one, 4 * PAGE));
	EXPECT_EQ(0, pw_advise(fd, PAGEWELL_ADVISE_NOHUGEPAGE, brk + PAGE, PAGE));
	ASSERT_EQ(0, pw_unmap(fd, base, 20 * PAGE));
	EXPECT_EQ(0, pw_unmap(fd, base + (2 * n + 1) * PAGE, PAGE));
	ASSERT_EQ(0, pw_set_param("max_regions", max));
	ASSERT_EQ(0, pw_map(fd, 0, NULL, 3 * PAGE, 0, NULL));
}

TEST_F(map, larger_than_everything)
{
	int fd = self->h.fd;
	long refused = pw_stat("refused");
	char *p = pw_map_pages(&self->h, 1);
	uint64_t sizes[] = {
		(pw_pool("max_pages") + 1) * PAGE, 1ULL << 40, 1ULL << 43, 1ULL << 44,
		1ULL << 47, 1ULL << 63,
	};

	pw_fill(p, 1, 1);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		EXPECT_EQ(-ENOMEM, pw_map(fd, 0, NULL, sizes[i], 0, NULL));
		EXPECT_EQ(-ENOMEM, pw_remap(fd, PAGEWELL_REMAP_MAYMOVE, p, PAGE, sizes[i], NULL));
	}
	EXPECT_EQ(PAGE, pw_committed(fd));
	EXPECT_EQ(-1, pw_wrong(p, 1, 1));
	EXPECT_GE(pw_stat("refused") - refused, 2 * ARRAY_SIZE(sizes));
}

PW_TEST_POOL_WHOLE

TEST_HARNESS_MAIN
