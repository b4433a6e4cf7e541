// SPDX-License-Identifier: GPL-2.0-only
/*
 * brk.c - program breaks: what brk(2) promises, for any number of them
 */
#include "pw_test.h"

FIXTURE(brk) {
	struct pw h;
	uint32_t id;
	char *start;
};

FIXTURE_SETUP(brk)
{
	pw_heap(&self->h, 32 * MIB);
	ASSERT_EQ(0, pw_brk_create(self->h.fd, 16 * MIB, &self->id, &self->start));
	ASSERT_EQ(0, (uintptr_t)self->start % HUGE);
	ASSERT_GE(self->start, self->h.base);
	pw_cover(&self->h, self->start + 16 * MIB);
}

FIXTURE_TEARDOWN(brk)
{
	close(self->h.fd);
}

static int move(FIXTURE_DATA(brk) *self, size_t to)
{
	char *now;
	int err = pw_brk(self->h.fd, self->id, self->start + to, &now);

	if (!err)
		CHECK(now == self->start + to);
	return err;
}

static size_t query(FIXTURE_DATA(brk) *self)
{
	char *now;

	CHECK(pw_brk(self->h.fd, self->id, NULL, &now) == 0);
	return now - self->start;
}

TEST_F(brk, empty_at_first)
{
	EXPECT_EQ(0, query(self));
	EXPECT_EQ(SIGSEGV, pw_try_read(self->start));
	EXPECT_EQ(SIGSEGV, pw_try_write(self->start, 1));
	EXPECT_EQ(0, pw_committed(self->h.fd));
}

TEST_F(brk, grows_and_shrinks)
{
	ASSERT_EQ(0, move(self, 10 * PAGE));
	EXPECT_EQ(10 * PAGE, pw_committed(self->h.fd));
	EXPECT_EQ(-1, pw_nonzero(self->start, 10));
	pw_fill(self->start, 10, 1);
	EXPECT_EQ(SIGSEGV, pw_try_write(self->start + 10 * PAGE, 1));
	EXPECT_EQ((void *)(self->start + 10 * PAGE), (void *)pw_fault_addr);

	ASSERT_EQ(0, move(self, 4 * PAGE));
	EXPECT_EQ(4 * PAGE, query(self));
	EXPECT_EQ(4 * PAGE, pw_committed(self->h.fd));
	EXPECT_LE(pw_resident(self->h.fd), 4 * PAGE);
	EXPECT_EQ(SIGSEGV, pw_try_read(self->start + 4 * PAGE));
	EXPECT_EQ(SIGSEGV, pw_try_read(self->start + 9 * PAGE));
	EXPECT_EQ(-1, pw_wrong(self->start, 4, 1));

	/* Memory that comes back is zero again. */
	ASSERT_EQ(0, move(self, 10 * PAGE));
	EXPECT_EQ(-1, pw_wrong(self->start, 4, 1));
	EXPECT_EQ(-1, pw_nonzero(self->start + 4 * PAGE, 6));

	ASSERT_EQ(0, move(self, 0));
	EXPECT_EQ(SIGSEGV, pw_try_read(self->start));
	EXPECT_EQ(0, pw_resident(self->h.fd));
	EXPECT_EQ(0, pw_committed(self->h.fd));
}

TEST_F(brk, any_address)
{
	ASSERT_EQ(0, move(self, 100));
	EXPECT_EQ(100, query(self));
	EXPECT_EQ(PAGE, pw_committed(self->h.fd));
	EXPECT_EQ(0, pw_try_write(self->start + PAGE - 1, 1));
	EXPECT_EQ(SIGSEGV, pw_try_write(self->start + PAGE, 1));
	ASSERT_EQ(0, move(self, PAGE + 1));
	EXPECT_EQ(2 * PAGE, pw_committed(self->h.fd));
	EXPECT_EQ(0, pw_try_write(self->start + 2 * PAGE - 1, 1));
	ASSERT_EQ(0, move(self, 1));
	EXPECT_EQ(1, self->start[PAGE - 1]);
	EXPECT_EQ(SIGSEGV, pw_try_read(self->start + PAGE));
}

TEST_F(brk, steps_of_all_sizes)
{
	size_t pages = 0;
	uint64_t rnd = 88172645463325252ULL;

	/* Up and down over slot boundaries, the contents always right. */
	for (int i = 0; i < 300; i++) {
		size_t to = pw_random(&rnd) % 1600;

		if (i % 7 == 0)
			to = 512 * (pw_random(&rnd) % 4) + pw_random(&rnd) % 3;
		ASSERT_EQ(0, move(self, to * PAGE));
		for (size_t p = pages; p < to; p += 1 + pw_random(&rnd) % 50) {
			ASSERT_EQ(-1, pw_nonzero(self->start + p * PAGE, 1));
			pw_fill(self->start + p * PAGE, 1, p);
		}
		if (to)
			EXPECT_EQ(0, pw_try_read(self->start + to * PAGE - 1));
		EXPECT_EQ(SIGSEGV, pw_try_read(self->start + to * PAGE));
		pages = to;
		ASSERT_EQ(to * PAGE, pw_committed(self->h.fd));
	}
}

TEST_F(brk, past_the_reserve)
{
	uint32_t id;
	char *start, *wall;

	ASSERT_EQ(0, pw_brk_create(self->h.fd, 1, &id, &start));
	pw_cover(&self->h, start + 32 * MIB);
	ASSERT_EQ(0, pw_brk(self->h.fd, id, start + 9 * MIB, NULL));
	pw_fill(start + 9 * MIB - 8 * PAGE, 8, 5);
	EXPECT_EQ(-1, pw_wrong(start + 9 * MIB - 8 * PAGE, 8, 5));

	ASSERT_EQ(0, pw_map(self->h.fd, PAGEWELL_MAP_FIXED_NOREPLACE,
			    start + 16 * MIB, PAGE, 0, &wall));
	pw_fill(wall, 1, 6);
	EXPECT_EQ(0, pw_brk(self->h.fd, id, start + 16 * MIB, NULL));
	EXPECT_EQ(-ENOMEM, pw_brk(self->h.fd, id, start + 16 * MIB + 1, NULL));
	EXPECT_EQ(-ENOMEM, pw_brk(self->h.fd, id, start + 20 * MIB, NULL));
	ASSERT_EQ(0, pw_brk(self->h.fd, id, NULL, &start));
	EXPECT_EQ(wall, start);
	EXPECT_EQ(-1, pw_wrong(wall, 1, 6));
	EXPECT_EQ(16 * MIB + PAGE, pw_committed(self->h.fd));
	ASSERT_EQ(0, pw_unmap(self->h.fd, wall, PAGE));
	EXPECT_EQ(0, pw_brk(self->h.fd, id, start + PAGE, NULL));
	EXPECT_EQ(-1, pw_nonzero(start, 1));
}

TEST_F(brk, limit)
{
	ASSERT_EQ(0, pw_set_limit(self->h.fd, MIB));
	ASSERT_EQ(0, move(self, MIB));
	pw_fill(self->start, 256, 1);
	EXPECT_EQ(-ENOMEM, move(self, MIB + 1));
	EXPECT_EQ(-ENOMEM, move(self, 12 * MIB));
	EXPECT_EQ(-ENOMEM, pw_map(self->h.fd, 0, NULL, PAGE, 0, NULL));
	EXPECT_EQ(MIB, query(self));
	EXPECT_EQ(MIB, pw_committed(self->h.fd));
	EXPECT_EQ(-1, pw_wrong(self->start, 256, 1));
	/* Below what is in use: nothing is lost and nothing new is granted. */
	ASSERT_EQ(0, pw_set_limit(self->h.fd, MIB / 2));
	EXPECT_EQ(-1, pw_wrong(self->start, 256, 1));
	EXPECT_EQ(0, move(self, MIB * 3 / 4));
	EXPECT_EQ(-ENOMEM, move(self, MIB * 3 / 4 + PAGE));
	EXPECT_EQ(0, move(self, MIB / 4));
	EXPECT_EQ(0, move(self, MIB / 2));
	ASSERT_EQ(0, pw_set_limit(self->h.fd, NO_LIMIT));
	EXPECT_EQ(0, move(self, 12 * MIB));
}

/* What is refused takes no addresses either. */
TEST_F(brk, refused_growth_keeps_no_addresses)
{
	char *before, *after;

	ASSERT_EQ(0, move(self, MIB));
	ASSERT_EQ(0, pw_map(self->h.fd, 0, NULL, 3 * PAGE, 0, &before));
	ASSERT_EQ(0, pw_unmap(self->h.fd, before, 3 * PAGE));
	ASSERT_EQ(0, pw_set_limit(self->h.fd, 2 * MIB));
	EXPECT_EQ(-ENOMEM, move(self, 100 * MIB));
	EXPECT_EQ(-ENOMEM, move(self, 1UL << 40));
	ASSERT_EQ(0, pw_map(self->h.fd, 0, NULL, 5 * PAGE, 0, &after));
	EXPECT_EQ((void *)before, (void *)after);
	/* The break is in order, and so is its reserve. */
	EXPECT_EQ(MIB, query(self));
	EXPECT_EQ(-ENOMEM, move(self, 16 * MIB + PAGE));
	ASSERT_EQ(0, pw_set_limit(self->h.fd, NO_LIMIT));
	EXPECT_EQ(0, move(self, 16 * MIB));
	EXPECT_EQ(-ENOMEM, move(self, 16 * MIB + PAGE));
	ASSERT_EQ(0, pw_unmap(self->h.fd, after, 5 * PAGE));
	EXPECT_EQ(0, move(self, 16 * MIB + PAGE));
}

TEST_F(brk, raising_the_limit_needs_a_capability)
{
	struct pagewell_heap heap = { 0 };

	ASSERT_EQ(0, pw_set_limit(self->h.fd, MIB));
	ASSERT_EQ(0, setresuid(65534, 65534, 65534));
	EXPECT_EQ(0, pw_set_limit(self->h.fd, MIB));
	EXPECT_EQ(-EPERM, pw_set_limit(self->h.fd, MIB + PAGE));
	EXPECT_EQ(-EPERM, pw_set_limit(self->h.fd, NO_LIMIT));
	EXPECT_EQ(0, pw_set_limit(self->h.fd, MIB / 2));
	EXPECT_EQ(-EPERM, pw_set_limit(self->h.fd, MIB));
	ASSERT_EQ(0, pw_policy(self->h.fd, &heap));
	EXPECT_EQ(MIB / 2, heap.limit);
}

TEST_F(brk, rlimit_data)
{
	struct rlimit rlim = { 8 * MIB, RLIM_INFINITY }, none = { RLIM_INFINITY, RLIM_INFINITY };
	uint64_t committed;
	char *at;

	ASSERT_EQ(0, setrlimit(RLIMIT_DATA, &rlim));
	ASSERT_EQ(0, move(self, 2 * MIB));
	pw_fill(self->start, 512, 3);
	EXPECT_EQ(-ENOMEM, move(self, 9 * MIB));
	EXPECT_EQ(2 * MIB, query(self));
	EXPECT_EQ(-ENOMEM, pw_map(self->h.fd, 0, NULL, 8 * MIB, 0, NULL));
	ASSERT_EQ(0, pw_map(self->h.fd, 0, NULL, MIB, 0, &at));
	EXPECT_EQ(-ENOMEM, pw_remap(self->h.fd, PAGEWELL_REMAP_MAYMOVE, at, MIB, 8 * MIB, NULL));
	/* Guards are no data. */
	EXPECT_EQ(0, pw_map(self->h.fd, PAGEWELL_MAP_GUARD, NULL, 64 * MIB, 0, NULL));
	committed = pw_committed(self->h.fd);
	EXPECT_EQ(3 * MIB, committed);
	EXPECT_EQ(-1, pw_wrong(self->start, 512, 3));
	ASSERT_EQ(0, setrlimit(RLIMIT_DATA, &none));
	EXPECT_EQ(0, move(self, 9 * MIB));
}

TEST_F(brk, rlimit_as)
{
	long vm = pw_key("/proc/self/status", "VmSize") * 1024;
	struct rlimit rlim = { vm + 8 * MIB, RLIM_INFINITY };

	ASSERT_EQ(0, move(self, PAGE));
	pw_fill(self->start, 1, 4);
	ASSERT_EQ(0, setrlimit(RLIMIT_AS, &rlim));
	EXPECT_EQ(MAP_FAILED, mremap(self->h.base, self->h.len, self->h.len + 64 * MIB, 0));
	EXPECT_EQ(ENOMEM, errno);
	EXPECT_EQ(self->h.base, mremap(self->h.base, self->h.len, self->h.len + 4 * MIB, 0));
	EXPECT_EQ(-1, pw_wrong(self->start, 1, 4));
}

TEST_F(brk, the_vma_may_end_before)
{
	uint32_t id;
	char *start;

	/* Addresses behind the mapping are given out, touching waits for it. */
	ASSERT_EQ(0, pw_brk_create(self->h.fd, 64 * MIB, &id, &start));
	ASSERT_EQ(0, pw_brk(self->h.fd, id, start + 40 * MIB, NULL));
	EXPECT_EQ(SIGSEGV, pw_try_write(start + 40 * MIB - 1, 1));
	pw_cover(&self->h, start + 40 * MIB);
	EXPECT_EQ(0, pw_try_write(start + 40 * MIB - 1, 1));
	EXPECT_EQ(SIGSEGV, pw_try_write(start + 40 * MIB, 1));
	/* And so it may again. */
	pw_fill(start, 4, 9);
	ASSERT_EQ(self->h.base, mremap(self->h.base, self->h.len, start + 4 * PAGE - self->h.base, 0));
	EXPECT_EQ(-1, pw_wrong(start, 4, 9));
	EXPECT_EQ(SIGSEGV, pw_try_write(start + 4 * PAGE, 1));
}

static char *heap_end(FIXTURE_DATA(brk) *self)
{
	struct pagewell_info info;

	CHECK(!pw_info(self->h.fd, &info));
	return (char *)(uintptr_t)info.heap_end;
}

TEST_F(brk, heap_end)
{
	char *at;

	EXPECT_EQ(self->start + 16 * MIB, heap_end(self));
	ASSERT_EQ(0, pw_map(self->h.fd, 0, NULL, 3 * PAGE, 0, &at));
	EXPECT_EQ(at + 3 * PAGE, heap_end(self));
	ASSERT_EQ(0, pw_unmap(self->h.fd, at, PAGE));
	EXPECT_EQ(at + 3 * PAGE, heap_end(self));
	ASSERT_EQ(0, pw_unmap(self->h.fd, at, 3 * PAGE));
	EXPECT_EQ(self->start + 16 * MIB, heap_end(self));
	ASSERT_EQ(0, pw_map(self->h.fd, PAGEWELL_MAP_GUARD, NULL, PAGE, 0, &at));
	EXPECT_EQ(at + PAGE, heap_end(self));
	ASSERT_EQ(0, pw_unmap(self->h.fd, at, PAGE));
	ASSERT_EQ(0, pw_brk_destroy(self->h.fd, self->id));
	EXPECT_EQ(self->h.base, heap_end(self));
}

/* As much as it was made with stays the break's. */
TEST_F(brk, reserve_that_grew)
{
	char *at;

	ASSERT_EQ(0, move(self, 120 * MIB));
	pw_cover(&self->h, self->start + 120 * MIB);
	pw_fill(self->start, 2, 5);
	pw_fill(self->start + 120 * MIB - PAGE, 1, 6);
	ASSERT_EQ(0, move(self, 100 * MIB));
	EXPECT_EQ(self->start + 120 * MIB, heap_end(self));
	ASSERT_EQ(0, move(self, 2 * PAGE));
	EXPECT_EQ(self->start + 16 * MIB, heap_end(self));
	ASSERT_EQ(0, pw_map(self->h.fd, 0, NULL, PAGE, 0, &at));
	EXPECT_EQ(self->start + 16 * MIB, at);
	EXPECT_EQ(-1, pw_nonzero(at, 1));
	EXPECT_EQ(-ENOMEM, move(self, 17 * MIB));
	ASSERT_EQ(0, move(self, 16 * MIB));
	ASSERT_EQ(0, pw_unmap(self->h.fd, at, PAGE));
	ASSERT_EQ(0, move(self, 120 * MIB));
	EXPECT_EQ(-1, pw_nonzero(self->start + 120 * MIB - PAGE, 1));
	EXPECT_EQ(-1, pw_wrong(self->start, 2, 5));
	pw_fill(self->start + 120 * MIB - PAGE, 1, 7);
	/* A child goes by what is left of it. */
	ASSERT_EQ(0, move(self, 2 * PAGE));
	pid_t pid = pw_fork();

	if (!pid)
		_exit(heap_end(self) != self->start + 16 * MIB ||
		      pw_wrong(self->start, 2, 5) != -1 ||
		      pw_map(self->h.fd, 0, NULL, PAGE, 0, &at) ||
		      at != self->start + 16 * MIB);
	EXPECT_EQ(0, pw_wait(pid));
}

/* What the program did to a part of it is not met by others. */
TEST_F(brk, reserve_that_grew_and_was_split)
{
	char *at;

	ASSERT_EQ(0, move(self, 120 * MIB));
	pw_cover(&self->h, self->start + 120 * MIB);
	pw_fill(self->start + 20 * MIB, 3, 5);
	ASSERT_EQ(0, mprotect(self->start + 20 * MIB, 3 * PAGE, PROT_READ));
	ASSERT_EQ(0, move(self, PAGE));
	EXPECT_EQ(self->start + 16 * MIB, heap_end(self));
	ASSERT_EQ(0, pw_map(self->h.fd, 0, NULL, 8 * MIB, 0, &at));
	EXPECT_EQ(self->start + 16 * MIB, at);
	EXPECT_EQ(0, pw_try_write(self->start + 20 * MIB, 1));
}

/* The end of the VMA is cut and grows again, and what is free is found from the bottom. */
TEST_F(brk, the_end_is_cut)
{
	size_t len = self->start + 16 * MIB - self->h.base;
	char *low, *high;

	pw_cover(&self->h, self->start + 80 * MIB);
	ASSERT_EQ(0, pw_map(self->h.fd, 0, NULL, 2 * MIB, 0, &low));
	ASSERT_EQ(0, pw_map(self->h.fd, 0, NULL, MIB, 0, &high));
	pw_fill(high, 256, 1);
	ASSERT_EQ(0, pw_unmap(self->h.fd, low, 2 * MIB));
	ASSERT_EQ(0, pw_unmap(self->h.fd, high, MIB));
	ASSERT_EQ(0, munmap(self->h.base + len, self->h.len - len));
	self->h.len = len;
	EXPECT_EQ(self->h.base + len, heap_end(self));
	ASSERT_EQ(0, pw_map(self->h.fd, 0, NULL, MIB, 0, &low));
	EXPECT_EQ(self->h.base + len, low);
	EXPECT_EQ(SIGSEGV, pw_try_write(low, 1));
	pw_cover(&self->h, low + MIB);
	EXPECT_EQ(-1, pw_nonzero(low, 256));
	pw_fill(low, 256, 2);
	EXPECT_EQ(-1, pw_wrong(low, 256, 2));
}

TEST_F(brk, thousand)
{
	const int count = 1000;
	uint32_t id[1000];
	char *start[1000];

	for (int i = 0; i < count; i++) {
		ASSERT_EQ(0, pw_brk_create(self->h.fd, 1, &id[i], &start[i]));
		ASSERT_EQ(0, pw_brk(self->h.fd, id[i], start[i] + (1 + i % 3) * PAGE, NULL));
		pw_cover(&self->h, start[i] + HUGE);
		pw_fill(start[i], 1, i);
	}
	for (int i = 0; i < count; i += 2)
		ASSERT_EQ(0, pw_brk_destroy(self->h.fd, id[i]));
	for (int i = 0; i < count; i++) {
		if (i % 2) {
			ASSERT_EQ(-1, pw_wrong(start[i], 1, i));
		} else {
			ASSERT_EQ(-ENOENT, pw_brk(self->h.fd, id[i], NULL, NULL));
			if (i % 50 == 0)
				ASSERT_EQ(SIGSEGV, pw_try_read(start[i]));
		}
	}
	for (int i = 0; i < count; i += 2) {
		ASSERT_EQ(0, pw_brk_create(self->h.fd, 1, &id[i], &start[i]));
		ASSERT_EQ(0, pw_brk(self->h.fd, id[i], start[i] + PAGE, NULL));
		pw_cover(&self->h, start[i] + HUGE);
		ASSERT_EQ(-1, pw_nonzero(start[i], 1));
	}
	for (int i = 1; i < count; i += 2)
		ASSERT_EQ(-1, pw_wrong(start[i], 1, i));
}

TEST_F(brk, destroy)
{
	ASSERT_EQ(0, move(self, 700 * PAGE));
	pw_fill(self->start, 700, 1);
	ASSERT_EQ(0, pw_brk_destroy(self->h.fd, self->id));
	EXPECT_EQ(SIGSEGV, pw_try_read(self->start));
	EXPECT_EQ(SIGSEGV, pw_try_read(self->start + 699 * PAGE));
	EXPECT_EQ(0, pw_committed(self->h.fd));
	EXPECT_EQ(0, pw_resident(self->h.fd));
	EXPECT_EQ(-ENOENT, pw_brk_destroy(self->h.fd, self->id));
	EXPECT_EQ(-ENOENT, pw_brk(self->h.fd, self->id, NULL, NULL));
	/* The addresses are free for others, and clean. */
	EXPECT_EQ(0, pw_map(self->h.fd, PAGEWELL_MAP_FIXED_NOREPLACE, self->start,
			    700 * PAGE, 0, NULL));
	EXPECT_EQ(-1, pw_nonzero(self->start, 700));
}

TEST_F(brk, reserve_is_kept_free)
{
	struct pagewell_brk_create arg = {
		.size = sizeof(arg), .reserve = 3 * MIB,
	};
	char *at;

	ASSERT_EQ(0, pw_ioctl(self->h.fd, PAGEWELL_IOC_BRK_CREATE, &arg));
	EXPECT_EQ(4 * MIB, arg.reserve);
	for (int i = 0; i < 64; i++) {
		ASSERT_EQ(0, pw_map(self->h.fd, 0, NULL, MIB, 0, &at));
		EXPECT_TRUE((uintptr_t)at + MIB <= arg.start ||
			    (uintptr_t)at >= arg.start + 4 * MIB);
		EXPECT_TRUE(at + MIB <= self->start || at >= self->start + 16 * MIB);
	}
	EXPECT_EQ(-EEXIST, pw_map(self->h.fd, PAGEWELL_MAP_FIXED,
				  (void *)(arg.start + 2 * MIB), PAGE, 0, NULL));
	EXPECT_EQ(0, pw_brk(self->h.fd, arg.id, (void *)(arg.start + 4 * MIB), NULL));
}

TEST_F(brk, lazy)
{
	struct rlimit rlim = { 8 * MIB, RLIM_INFINITY };

	ASSERT_EQ(0, pw_set_commit(self->h.fd, PAGEWELL_COMMIT_LAZY));
	ASSERT_EQ(0, move(self, MIB));
	EXPECT_EQ(0, pw_committed(self->h.fd));
	pw_fill(self->start, 100, 1);
	EXPECT_EQ(-1, pw_wrong(self->start, 100, 1));
	/* Lazy memory is data, too. */
	ASSERT_EQ(0, setrlimit(RLIMIT_DATA, &rlim));
	EXPECT_EQ(-ENOMEM, move(self, 9 * MIB));
	EXPECT_EQ(-ENOMEM, pw_map(self->h.fd, 0, NULL, 8 * MIB, 0, NULL));
	ASSERT_EQ(0, move(self, MIB / 2));
	EXPECT_EQ(-1, pw_wrong(self->start, 100, 1));
	ASSERT_EQ(0, move(self, 0));
	EXPECT_EQ(0, pw_resident(self->h.fd));
}

/* The mode can be changed while there is nothing to be touched. */
TEST_F(brk, mode_is_settled_by_use)
{
	struct pagewell_heap heap = { 0 };

	ASSERT_EQ(0, pw_set_commit(self->h.fd, PAGEWELL_COMMIT_LAZY));
	ASSERT_EQ(0, pw_set_commit(self->h.fd, PAGEWELL_COMMIT_STRICT));
	ASSERT_EQ(0, move(self, PAGE));
	EXPECT_EQ(-EBUSY, pw_set_commit(self->h.fd, PAGEWELL_COMMIT_LAZY));
	EXPECT_EQ(0, pw_set_commit(self->h.fd, PAGEWELL_COMMIT_STRICT));
	ASSERT_EQ(0, pw_policy(self->h.fd, &heap));
	EXPECT_EQ(PAGEWELL_COMMIT_STRICT, heap.commit);
	ASSERT_EQ(0, move(self, 0));
	EXPECT_EQ(0, pw_set_commit(self->h.fd, PAGEWELL_COMMIT_LAZY));
}

/* A break that the program moves by itself, within what it was granted. */
FIXTURE(control) {
	struct pw h;
	struct pagewell_brk_create b;
	volatile uint64_t *word;	/* stores in order with the touches */
	char *start;
};

FIXTURE_SETUP(control)
{
	pw_heap(&self->h, 16 * MIB);
	self->word = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->word);
	self->b = (struct pagewell_brk_create){
		.size = sizeof(self->b), .reserve = 8 * MIB,
		.control = (uintptr_t)self->word,
	};
	ASSERT_EQ(0, pw_ioctl(self->h.fd, PAGEWELL_IOC_BRK_CREATE, &self->b));
	self->start = (char *)(uintptr_t)self->b.start;
	*self->word = self->b.start;
	ASSERT_EQ(0, pw_brk(self->h.fd, self->b.id, self->start + 4 * MIB, NULL));
	EXPECT_EQ(4 * MIB, pw_committed(self->h.fd));
}

FIXTURE_TEARDOWN(control)
{
	close(self->h.fd);
}

TEST_F(control, grows)
{
	EXPECT_EQ(SIGSEGV, pw_try_write(self->start, 1));
	for (size_t i = 0; i < 1000; i++) {
		*self->word += PAGE;
		EXPECT_EQ(0, pw_try_write(self->start + i * PAGE, 1));
	}
	/* One that was brought in ahead may be touched, one far off not. */
	EXPECT_EQ(SIGSEGV, pw_try_write(self->start + 4 * MIB, 1));
	*self->word = self->b.start + 100 * MIB;
	EXPECT_EQ(0, pw_try_write(self->start + 4 * MIB - 1, 1));
	EXPECT_EQ(SIGSEGV, pw_try_write(self->start + 4 * MIB, 1));
}

TEST_F(control, means_nothing_else)
{
	static const uint64_t words[] = { 0, 1, PAGE, ~0ULL, 1ULL << 63 };

	/* Below the heap, or beyond everything: what was granted counts. */
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		*self->word = words[i];
		EXPECT_EQ(0, pw_try_write(self->start + 3 * MIB + i * 50 * PAGE, 1));
		EXPECT_EQ(SIGSEGV, pw_try_write(self->start + 4 * MIB, 1));
	}
	*self->word = self->b.start + PAGE;
	EXPECT_EQ(SIGSEGV, pw_try_write(self->start + 2 * MIB, 1));
	/* Calls do not care. */
	ASSERT_EQ(0, pw_advise(self->h.fd, PAGEWELL_ADVISE_DONTNEED, self->start, 4 * MIB));
	EXPECT_EQ(0, pw_resident(self->h.fd));
	/* Gone: what was granted counts. */
	ASSERT_EQ(0, munmap((void *)self->word, PAGE));
	EXPECT_EQ(0, pw_try_write(self->start + 2 * MIB, 1));
	EXPECT_EQ(SIGSEGV, pw_try_write(self->start + 4 * MIB, 1));
}

/* Shrinking by call frees what the word had left behind, too. */
TEST_F(control, shrinks)
{
	*self->word = self->b.start + MIB;
	pw_fill(self->start, MIB / PAGE, 1);
	*self->word = self->b.start + PAGE;
	ASSERT_EQ(0, pw_brk(self->h.fd, self->b.id, self->start + PAGE, NULL));
	EXPECT_EQ(PAGE, pw_resident(self->h.fd));
	ASSERT_EQ(0, pw_brk(self->h.fd, self->b.id, self->start + MIB, NULL));
	*self->word = self->b.start + MIB;
	EXPECT_EQ(-1, pw_wrong(self->start, 1, 1));
	EXPECT_EQ(-1, pw_nonzero(self->start + PAGE, MIB / PAGE - 1));
}

/* The word is memory like any other: the child has its own. */
TEST_F(control, fork)
{
	pid_t pid;

	*self->word = self->b.start + MIB;
	pw_fill(self->start, 256, 1);
	pid = pw_fork();
	if (!pid) {
		*self->word = self->b.start + 2 * MIB;
		CHECK(pw_try_write(self->start + 2 * MIB - PAGE, 1) == 0);
		CHECK(pw_wrong(self->start, 256, 1) == -1);
		_exit(0);
	}
	EXPECT_EQ(0, pw_wait(pid));
	EXPECT_EQ(SIGSEGV, pw_try_write(self->start + 2 * MIB - PAGE, 1));
}

TEST_F(control, refused)
{
	self->b.control = (uintptr_t)self->word + 4;
	EXPECT_EQ(-EINVAL, pw_ioctl(self->h.fd, PAGEWELL_IOC_BRK_CREATE, &self->b));
	self->b.control = ~7ULL;
	EXPECT_EQ(-EINVAL, pw_ioctl(self->h.fd, PAGEWELL_IOC_BRK_CREATE, &self->b));
}

PW_TEST_POOL_WHOLE

TEST_HARNESS_MAIN
