// SPDX-License-Identifier: GPL-2.0-only
/*
 * abi.c - the rules every ioctl keeps, and what may be mapped
 */
#include "pw_test.h"

#define BAD_KERNEL	((void *)0xffff888000000000UL)

union arg {
	uint32_t size;
	struct {
		uint32_t size_;
		uint32_t flags;
	};
	struct pagewell_info info;
	struct pagewell_heap heap;
	struct pagewell_brk_create brk_create;
	struct pagewell_brk brk;
	struct pagewell_brk_destroy brk_destroy;
	struct pagewell_map map;
	struct pagewell_unmap unmap;
	struct pagewell_remap remap;
	struct pagewell_advise advise;
	struct pagewell_protect protect;
	struct pagewell_share share;
	char bytes[2 * PAGE];
};

static const struct call {
	const char *name;
	unsigned long cmd;
	size_t size;
	uint32_t known;		/* bits the second word may have */
	size_t first;		/* size as first published, 0 for the same */
} calls[] = {
	{ "info", PAGEWELL_IOC_INFO, sizeof(struct pagewell_info), 0,
	  offsetof(struct pagewell_info, heap_end) },
	{ "heap", PAGEWELL_IOC_HEAP, sizeof(struct pagewell_heap), 7 },
	{ "brk_create", PAGEWELL_IOC_BRK_CREATE, sizeof(struct pagewell_brk_create), 0 },
	{ "brk", PAGEWELL_IOC_BRK, sizeof(struct pagewell_brk), 0 },
	{ "brk_destroy", PAGEWELL_IOC_BRK_DESTROY, sizeof(struct pagewell_brk_destroy), 0 },
	{ "map", PAGEWELL_IOC_MAP, sizeof(struct pagewell_map), 15 },
	{ "unmap", PAGEWELL_IOC_UNMAP, sizeof(struct pagewell_unmap), 0 },
	{ "remap", PAGEWELL_IOC_REMAP, sizeof(struct pagewell_remap), 3,
	  offsetof(struct pagewell_remap, target) },
	{ "advise", PAGEWELL_IOC_ADVISE, sizeof(struct pagewell_advise), 7 },
	{ "mailbox", PAGEWELL_IOC_MAILBOX, sizeof(struct pagewell_mailbox), 0 },
	{ "protect", PAGEWELL_IOC_PROTECT, sizeof(struct pagewell_protect), 3 },
	{ "share", PAGEWELL_IOC_SHARE, sizeof(struct pagewell_share), 0 },
};

FIXTURE(abi) {
	struct pw h;
	union arg *arg;
};

FIXTURE_SETUP(abi)
{
	pw_heap(&self->h, 16 * MIB);
	self->arg = mmap(NULL, sizeof(union arg), PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	ASSERT_NE(MAP_FAILED, self->arg);
}

FIXTURE_TEARDOWN(abi)
{
	close(self->h.fd);
}

/* Fills in arguments with which the call succeeds. */
static void valid(struct pw *h, union arg *arg, const struct call *call)
{
	char *start;

	memset(arg, 0, sizeof(*arg));
	switch (call->cmd) {
	case PAGEWELL_IOC_BRK:
		CHECK(pw_brk_create(h->fd, 0, &arg->brk.id, &start) == 0);
		break;
	case PAGEWELL_IOC_BRK_DESTROY:
		CHECK(pw_brk_create(h->fd, 0, &arg->brk_destroy.id, &start) == 0);
		break;
	case PAGEWELL_IOC_MAP:
		arg->map.length = PAGE;
		break;
	case PAGEWELL_IOC_UNMAP:
		arg->unmap.addr = (uintptr_t)pw_map_pages(h, 1);
		arg->unmap.length = PAGE;
		break;
	case PAGEWELL_IOC_REMAP:
		arg->remap.addr = (uintptr_t)pw_map_pages(h, 2);
		arg->remap.old_length = 2 * PAGE;
		arg->remap.new_length = PAGE;
		break;
	case PAGEWELL_IOC_ADVISE:
		arg->advise.addr = (uintptr_t)pw_map_pages(h, 1);
		arg->advise.length = PAGE;
		arg->advise.advice = PAGEWELL_ADVISE_DONTNEED;
		break;
	case PAGEWELL_IOC_PROTECT:
		arg->protect.addr = (uintptr_t)pw_map_pages(h, 1);
		arg->protect.length = PAGE;
		break;
	case PAGEWELL_IOC_SHARE:
		arg->share.length = HUGE;
		break;
	}
	arg->size = call->size;
}

TEST_F(abi, valid_calls)
{
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		valid(&self->h, self->arg, &calls[i]);
		EXPECT_EQ(0, pw_ioctl(self->h.fd, calls[i].cmd, self->arg))
			TH_LOG("%s", calls[i].name);
		EXPECT_EQ(calls[i].size, self->arg->size)
			TH_LOG("%s", calls[i].name);
	}
}

TEST_F(abi, too_small)
{
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		uint32_t first = calls[i].first ?: calls[i].size;
		uint32_t sizes[] = { 0, 1, 4, 8, first - 8, first - 1 };

		for (size_t j = 0; j < ARRAY_SIZE(sizes); j++) {
			valid(&self->h, self->arg, &calls[i]);
			self->arg->size = sizes[j];
			EXPECT_EQ(-EINVAL, pw_ioctl(self->h.fd, calls[i].cmd, self->arg))
				TH_LOG("%s with size %u", calls[i].name, sizes[j]);
		}
	}
}

/* Programs that were built when a struct was shorter go on working. */
TEST_F(abi, as_first_published)
{
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		if (!calls[i].first)
			continue;
		valid(&self->h, self->arg, &calls[i]);
		self->arg->size = calls[i].first;
		memset(self->arg->bytes + calls[i].first, 0x5a, 64);
		EXPECT_EQ(0, pw_ioctl(self->h.fd, calls[i].cmd, self->arg))
			TH_LOG("%s", calls[i].name);
		for (int k = 0; k < 64; k++)
			ASSERT_EQ(0x5a, self->arg->bytes[calls[i].first + k]);
	}
}

TEST_F(abi, larger_with_zero_tail)
{
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		uint32_t sizes[] = { calls[i].size + 1, calls[i].size + 8,
				     calls[i].size + 64, 1024, PAGE };

		for (size_t j = 0; j < ARRAY_SIZE(sizes); j++) {
			valid(&self->h, self->arg, &calls[i]);
			self->arg->size = sizes[j];
			EXPECT_EQ(0, pw_ioctl(self->h.fd, calls[i].cmd, self->arg))
				TH_LOG("%s with size %u", calls[i].name, sizes[j]);
			for (size_t k = calls[i].size; k < sizeof(*self->arg); k++)
				ASSERT_EQ(0, self->arg->bytes[k]);
		}
	}
}

TEST_F(abi, larger_with_unknown_tail)
{
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		size_t size = calls[i].size + 32;

		for (size_t at = calls[i].size; at < size; at += 31) {
			valid(&self->h, self->arg, &calls[i]);
			self->arg->size = size;
			self->arg->bytes[at] = 1;
			EXPECT_EQ(-E2BIG, pw_ioctl(self->h.fd, calls[i].cmd, self->arg))
				TH_LOG("%s, byte %zu", calls[i].name, at);
		}
		valid(&self->h, self->arg, &calls[i]);
		self->arg->size = ~0U;
		EXPECT_NE(0, pw_ioctl(self->h.fd, calls[i].cmd, self->arg))
			TH_LOG("%s with size ~0", calls[i].name);
	}
}

TEST_F(abi, unknown_flags)
{
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		for (int bit = 0; bit < 32; bit++) {
			if (calls[i].known & (1U << bit))
				continue;
			valid(&self->h, self->arg, &calls[i]);
			self->arg->flags |= 1U << bit;
			EXPECT_EQ(-EINVAL, pw_ioctl(self->h.fd, calls[i].cmd, self->arg))
				TH_LOG("%s with bit %d", calls[i].name, bit);
		}
	}
}

TEST_F(abi, unknown_values)
{
	uint32_t advice[] = { 0, 15, 16, 0x80000000, ~0U };
	struct pagewell_heap heap;
	char *p = pw_map_pages(&self->h, 1);

	for (size_t i = 0; i < ARRAY_SIZE(advice); i++) {
		EXPECT_EQ(-EINVAL, pw_advise(self->h.fd, advice[i], p, PAGE));
	}
	for (uint32_t v = 2; v; v = v == 2 ? ~0U : 0) {
		heap = (struct pagewell_heap){ .set = PAGEWELL_SET_COMMIT, .commit = v };
		EXPECT_EQ(-EINVAL, pw_policy(self->h.fd, &heap));
	}
	for (uint32_t v = 3; v; v = v == 3 ? ~0U : 0) {
		heap = (struct pagewell_heap){ .set = PAGEWELL_SET_HUGE, .huge = v };
		EXPECT_EQ(-EINVAL, pw_policy(self->h.fd, &heap));
	}
	/* A refused change changes nothing, the good half of it neither. */
	heap = (struct pagewell_heap){
		.set = PAGEWELL_SET_COMMIT | PAGEWELL_SET_HUGE | PAGEWELL_SET_LIMIT,
		.commit = PAGEWELL_COMMIT_LAZY, .huge = 77, .limit = PAGE,
	};
	EXPECT_EQ(-EINVAL, pw_policy(self->h.fd, &heap));
	heap = (struct pagewell_heap){ 0 };
	EXPECT_EQ(0, pw_policy(self->h.fd, &heap));
	EXPECT_EQ(PAGEWELL_COMMIT_STRICT, heap.commit);
	EXPECT_EQ(PAGEWELL_HUGE_AUTO, heap.huge);
	EXPECT_EQ(NO_LIMIT, heap.limit);
}

TEST_F(abi, padding)
{
	const struct { int call; size_t at; } pads[] = {
		{ 2, offsetof(struct pagewell_brk_create, pad) },
		{ 3, offsetof(struct pagewell_brk, pad) },
		{ 4, offsetof(struct pagewell_brk_destroy, pad) },
		{ 11, offsetof(struct pagewell_share, pad) },
	};

	for (size_t i = 0; i < ARRAY_SIZE(pads); i++) {
		for (int byte = 0; byte < 4; byte++) {
			const struct call *call = &calls[pads[i].call];

			valid(&self->h, self->arg, call);
			self->arg->bytes[pads[i].at + byte] = 0x80;
			EXPECT_EQ(-EINVAL, pw_ioctl(self->h.fd, call->cmd, self->arg))
				TH_LOG("%s, byte %d", call->name, byte);
		}
	}
}

TEST_F(abi, bad_pointers)
{
	char *pages = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	union arg *split;

	ASSERT_NE(MAP_FAILED, pages);
	ASSERT_EQ(0, mprotect(pages + PAGE, PAGE, PROT_NONE));
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		void *bad[] = { NULL, (void *)1, BAD_KERNEL, (void *)-8L, pages + PAGE };
		unsigned long cmd = calls[i].cmd;

		for (size_t j = 0; j < ARRAY_SIZE(bad); j++) {
			EXPECT_EQ(-EFAULT, pw_ioctl(self->h.fd, cmd, bad[j]))
				TH_LOG("%s at %p", calls[i].name, bad[j]);
		}
		/* The size can be read, the rest cannot. */
		valid(&self->h, self->arg, &calls[i]);
		split = (union arg *)(pages + PAGE - 8);
		memcpy(split, self->arg, 8);
		EXPECT_EQ(-EFAULT, pw_ioctl(self->h.fd, cmd, split))
			TH_LOG("%s over the edge", calls[i].name);
	}
}

TEST_F(abi, argument_inside_the_heap)
{
	char *p = pw_map_pages(&self->h, 2);

	/* An untouched page: copying the argument faults in the heap itself. */
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		EXPECT_EQ(0, pw_advise(self->h.fd, PAGEWELL_ADVISE_DONTNEED, p, 2 * PAGE));
		EXPECT_EQ(-EINVAL, pw_ioctl(self->h.fd, calls[i].cmd, p + PAGE - 8))
			TH_LOG("%s", calls[i].name);
		valid(&self->h, self->arg, &calls[i]);
		memcpy(p + PAGE - 8, self->arg, 128);
		EXPECT_EQ(0, pw_ioctl(self->h.fd, calls[i].cmd, p + PAGE - 8))
			TH_LOG("%s", calls[i].name);
	}
	/* A call that takes its own argument away. */
	struct pagewell_unmap *u = (void *)p;

	*u = (struct pagewell_unmap){ sizeof(*u), 0, (uintptr_t)p, 2 * PAGE };
	pw_ioctl(self->h.fd, PAGEWELL_IOC_UNMAP, u);
	EXPECT_EQ(SIGSEGV, pw_try_read(p));
}

TEST_F(abi, unknown_ioctls)
{
	unsigned long cmds[] = {
		_IO(PAGEWELL_IOC_TYPE, 0x3f), _IO(PAGEWELL_IOC_TYPE, 0x7f),
		_IO(PAGEWELL_IOC_TYPE, 0xff), _IO(0xB6, 0), _IO(0xB8, 1),
		_IOR(PAGEWELL_IOC_TYPE, 0, struct pagewell_info),
		_IOW(PAGEWELL_IOC_TYPE, 5, struct pagewell_map),
		0x5401 /* TCGETS */, 0, ~0U,
	};

	for (size_t i = 0; i < ARRAY_SIZE(cmds); i++) {
		valid(&self->h, self->arg, &calls[0]);
		EXPECT_EQ(-ENOTTY, pw_ioctl(self->h.fd, cmds[i], self->arg))
			TH_LOG("%#lx", cmds[i]);
	}
}

TEST(enxio_without_heap)
{
	int fd = pw_open();
	struct pagewell_info info;
	union arg arg;

	for (size_t i = 1; i < ARRAY_SIZE(calls); i++) {
		memset(&arg, 0, sizeof(arg));
		arg.size = calls[i].size;
		if (calls[i].cmd == PAGEWELL_IOC_ADVISE)
			arg.advise.advice = PAGEWELL_ADVISE_DONTNEED;
		if (calls[i].cmd == PAGEWELL_IOC_MAP)
			arg.map.length = PAGE;
		if (calls[i].cmd == PAGEWELL_IOC_UNMAP)
			arg.unmap.length = PAGE;
		if (calls[i].cmd == PAGEWELL_IOC_REMAP)
			arg.remap.old_length = arg.remap.new_length = PAGE;
		EXPECT_EQ(-ENXIO, pw_ioctl(fd, calls[i].cmd, &arg))
			TH_LOG("%s", calls[i].name);
	}
	ASSERT_EQ(0, pw_info(fd, &info));
	EXPECT_EQ(0, info.heap_base);
	EXPECT_EQ(0, info.heap_end);
	EXPECT_EQ(0, info.heap_id);
	EXPECT_EQ(PAGEWELL_ABI_VERSION, info.abi);
}

TEST(enxio_after_munmap)
{
	struct pagewell_info info;
	struct pw h;
	char *at;

	pw_heap(&h, 4 * MIB);
	pw_fill(pw_map_pages(&h, 64), 64, 1);
	ASSERT_EQ(0, munmap(h.base, h.len));
	EXPECT_EQ(-ENXIO, pw_map(h.fd, 0, NULL, PAGE, 0, &at));
	ASSERT_EQ(0, pw_info(h.fd, &info));
	EXPECT_EQ(0, info.heap_base);
	EXPECT_EQ(0, info.committed);
	EXPECT_TRUE(pw_pool_whole());
	/* And a new one may be made, through the same file. */
	pw_heap_at(&h, h.fd, 4 * MIB);
	EXPECT_EQ(-1, pw_nonzero(pw_map_pages(&h, 64), 64));
}

TEST_F(abi, info)
{
	struct pagewell_info info;
	char *p = pw_map_pages(&self->h, 10);

	pw_fill(p, 3, 1);
	ASSERT_EQ(0, pw_info(self->h.fd, &info));
	EXPECT_EQ(PAGEWELL_ABI_VERSION, info.abi);
	EXPECT_EQ(12, info.page_shift);
	EXPECT_EQ(PAGEWELL_FEATURE_BRK | PAGEWELL_FEATURE_MAP |
		  PAGEWELL_FEATURE_REMAP | PAGEWELL_FEATURE_ADVISE, info.features & 15);
	EXPECT_EQ((uintptr_t)self->h.base, info.heap_base);
	EXPECT_GE(info.window, GIB);
	EXPECT_EQ(NO_LIMIT, info.limit);
	EXPECT_EQ(10 * PAGE, info.committed);
	EXPECT_GE(info.resident, 3 * PAGE);
	EXPECT_LE(info.resident, 10 * PAGE);
	EXPECT_NE(0, info.heap_id);
	EXPECT_EQ(pw_pool("held_pages") * PAGE, info.pool_size);
	EXPECT_LE(info.pool_avail, info.pool_size);
	EXPECT_EQ(pw_pool("max_pages") * PAGE, info.pool_max);
	EXPECT_EQ((uintptr_t)p + 10 * PAGE, info.heap_end);
}

/* What the region calls must refuse, and leave as it was. */
TEST_F(abi, bad_map)
{
	int fd = self->h.fd;
	char *p = pw_map_pages(&self->h, 4), *base = self->h.base, *at;
	uint64_t committed = pw_committed(fd);

	pw_fill(p, 4, 1);
	EXPECT_EQ(-EINVAL, pw_map(fd, 0, NULL, 0, 0, NULL));
	EXPECT_EQ(-ENOMEM, pw_map(fd, 0, NULL, ~0ULL, 0, NULL));
	EXPECT_EQ(-ENOMEM, pw_map(fd, 0, NULL, ~0ULL - PAGE + 2, 0, NULL));
	EXPECT_EQ(-ENOMEM, pw_map(fd, 0, NULL, 1ULL << 62, 0, NULL));
	EXPECT_EQ(-ENOMEM, pw_map(fd, PAGEWELL_MAP_GUARD, NULL, 1ULL << 62, 0, NULL));
	EXPECT_EQ(-EINVAL, pw_map(fd, 0, NULL, PAGE, 3 * PAGE, NULL));
	EXPECT_EQ(-EINVAL, pw_map(fd, 0, NULL, PAGE, PAGE + 1, NULL));
	EXPECT_NE(0, pw_map(fd, 0, NULL, PAGE, 1ULL << 63, NULL));
	for (int flag = PAGEWELL_MAP_FIXED; flag <= PAGEWELL_MAP_FIXED_NOREPLACE;
	     flag = flag << 1) {
		EXPECT_EQ(-EINVAL, pw_map(fd, flag, p + 1, PAGE, 0, NULL));
		EXPECT_EQ(-EINVAL, pw_map(fd, flag, p + 2048, PAGE, 0, NULL));
		EXPECT_EQ(-EINVAL, pw_map(fd, flag, base - PAGE, PAGE, 0, NULL));
		EXPECT_EQ(-EINVAL, pw_map(fd, flag, base - PAGE, 3 * PAGE, 0, NULL));
		EXPECT_EQ(-EINVAL, pw_map(fd, flag, NULL, PAGE, 0, NULL));
		EXPECT_EQ(-EINVAL, pw_map(fd, flag, (void *)-PAGE, PAGE, 0, NULL));
		EXPECT_EQ(-EINVAL, pw_map(fd, flag, (void *)-PAGE, 2 * PAGE, 0, NULL));
		EXPECT_EQ(-EINVAL, pw_map(fd, flag, p, (uint64_t)-(uintptr_t)p, 0, NULL));
		EXPECT_EQ(-EINVAL, pw_map(fd, flag, p, (uint64_t)-PAGE, 0, NULL));
	}
	EXPECT_EQ(-EEXIST, pw_map(fd, PAGEWELL_MAP_FIXED_NOREPLACE, p + PAGE, PAGE, 0, NULL));
	EXPECT_EQ(committed, pw_committed(fd));
	EXPECT_EQ(-1, pw_wrong(p, 4, 1));
	/* Odd lengths are rounded up. */
	EXPECT_EQ(0, pw_map(fd, 0, NULL, PAGE + 1, 0, &at));
	EXPECT_EQ(committed + 2 * PAGE, pw_committed(fd));
}

TEST_F(abi, bad_unmap)
{
	int fd = self->h.fd;
	char *p = pw_map_pages(&self->h, 4);
	uint64_t committed;
	uint32_t id;
	char *start;

	pw_fill(p, 4, 1);
	ASSERT_EQ(0, pw_brk_create(fd, MIB, &id, &start));
	ASSERT_EQ(0, pw_brk(fd, id, start + 2 * PAGE, NULL));
	pw_cover(&self->h, start + 2 * PAGE);
	pw_fill(start, 2, 2);
	committed = pw_committed(fd);
	EXPECT_EQ(-EINVAL, pw_unmap(fd, p, 0));
	EXPECT_EQ(-EINVAL, pw_unmap(fd, p + 1, PAGE));
	EXPECT_EQ(-EINVAL, pw_unmap(fd, p, ~0ULL));
	EXPECT_EQ(-EINVAL, pw_unmap(fd, p, (uint64_t)-(uintptr_t)p));
	EXPECT_EQ(-EINVAL, pw_unmap(fd, p, (uint64_t)-PAGE));
	EXPECT_EQ(-EINVAL, pw_unmap(fd, NULL, PAGE));
	EXPECT_EQ(-EINVAL, pw_unmap(fd, self->h.base - PAGE, 2 * PAGE));
	EXPECT_EQ(-EINVAL, pw_unmap(fd, start, PAGE));
	EXPECT_EQ(-EINVAL, pw_unmap(fd, start + PAGE, 64 * PAGE));
	/* The reserve of a break belongs to it, in use or not. */
	EXPECT_EQ(-EINVAL, pw_unmap(fd, start + 16 * PAGE, PAGE));
	EXPECT_EQ(-EINVAL, pw_unmap(fd, p < start ? p : start,
				    (p < start ? start - p : p - start) + PAGE));
	EXPECT_EQ(committed, pw_committed(fd));
	EXPECT_EQ(-1, pw_wrong(p, 4, 1));
	EXPECT_EQ(-1, pw_wrong(start, 2, 2));
}

TEST_F(abi, bad_remap)
{
	int fd = self->h.fd;
	char *p = pw_map_pages(&self->h, 4);
	uint64_t committed;

	pw_fill(p, 4, 1);
	ASSERT_EQ(0, pw_unmap(fd, p + 3 * PAGE, PAGE));
	committed = pw_committed(fd);
	for (int flag = 0; flag <= PAGEWELL_REMAP_MAYMOVE; flag++) {
		EXPECT_EQ(-EINVAL, pw_remap(fd, flag, p + 8, PAGE, PAGE, NULL));
		EXPECT_EQ(-EINVAL, pw_remap(fd, flag, p, PAGE, 0, NULL));
		EXPECT_EQ(-EINVAL, pw_remap(fd, flag, p, 0, PAGE, NULL));
		EXPECT_NE(0, pw_remap(fd, flag, p, ~0ULL, PAGE, NULL));
		EXPECT_NE(0, pw_remap(fd, flag, p, PAGE, ~0ULL, NULL));
		EXPECT_EQ(-EFAULT, pw_remap(fd, flag, p, 4 * PAGE, 8 * PAGE, NULL));
		EXPECT_EQ(-EFAULT, pw_remap(fd, flag, p, 4 * PAGE, PAGE, NULL));
		EXPECT_EQ(-EFAULT, pw_remap(fd, flag, p + 3 * PAGE, PAGE, PAGE, NULL));
		EXPECT_EQ(-ENOMEM, pw_remap(fd, flag, p, 3 * PAGE, 1ULL << 62, NULL));
	}
	EXPECT_EQ(committed, pw_committed(fd));
	EXPECT_EQ(-1, pw_wrong(p, 3, 1));
}

TEST_F(abi, bad_remap_target)
{
	const uint32_t fixed = PAGEWELL_REMAP_MAYMOVE | PAGEWELL_REMAP_FIXED;
	int fd = self->h.fd;
	char *p = pw_map_pages(&self->h, 10), *q = pw_map_pages(&self->h, 1), *start;
	uint64_t committed = pw_committed(fd), window;
	uint32_t id;

	self->arg->info = (struct pagewell_info){ .size = sizeof(self->arg->info) };
	ASSERT_EQ(0, pw_ioctl(fd, PAGEWELL_IOC_INFO, self->arg));
	EXPECT_TRUE(self->arg->info.features & PAGEWELL_FEATURE_REMAP_FIXED);
	window = self->arg->info.window;
	pw_fill(p, 10, 1);
	pw_fill(q, 1, 2);
	ASSERT_EQ(0, pw_brk_create(fd, HUGE, &id, &start));
	EXPECT_EQ(-EINVAL, pw_remap_to(fd, PAGEWELL_REMAP_FIXED, p, 2 * PAGE, PAGE, q));
	EXPECT_EQ(-EINVAL, pw_remap_to(fd, PAGEWELL_REMAP_MAYMOVE, p, 2 * PAGE, PAGE, q));
	EXPECT_EQ(-EINVAL, pw_remap_to(fd, fixed, p, 2 * PAGE, PAGE, q + 8));
	EXPECT_EQ(-EINVAL, pw_remap_to(fd, fixed, p, 2 * PAGE, PAGE, NULL));
	EXPECT_EQ(-EINVAL, pw_remap_to(fd, fixed, p, 2 * PAGE, PAGE, self->h.base - PAGE));
	EXPECT_EQ(-EINVAL, pw_remap_to(fd, fixed, p, 2 * PAGE, 2 * PAGE,
				       self->h.base + window - PAGE));
	/* Over the old range, at either end, and all of it. */
	EXPECT_EQ(-EINVAL, pw_remap_to(fd, fixed, p + PAGE, 2 * PAGE, 2 * PAGE, p));
	EXPECT_EQ(-EINVAL, pw_remap_to(fd, fixed, p + PAGE, 2 * PAGE, PAGE, p + 2 * PAGE));
	EXPECT_EQ(-EINVAL, pw_remap_to(fd, fixed, p + PAGE, 2 * PAGE, 2 * PAGE, p + PAGE));
	EXPECT_EQ(-EEXIST, pw_remap_to(fd, fixed, p, 2 * PAGE, PAGE, start + 7 * PAGE));
	EXPECT_EQ(-EFAULT, pw_remap_to(fd, fixed, p + 500 * PAGE, PAGE, PAGE, q));
	EXPECT_EQ(committed, pw_committed(fd));
	EXPECT_EQ(-1, pw_wrong(p, 10, 1));
	EXPECT_EQ(-1, pw_wrong(q, 1, 2));
}

TEST_F(abi, bad_advise)
{
	int fd = self->h.fd;
	char *p = pw_map_pages(&self->h, 4);

	pw_fill(p, 4, 1);
	ASSERT_EQ(0, pw_unmap(fd, p + 3 * PAGE, PAGE));
	for (int advice = PAGEWELL_ADVISE_POPULATE;
	     advice <= PAGEWELL_ADVISE_COLD; advice++) {
		EXPECT_EQ(0, pw_advise(fd, advice, p, 0));
		EXPECT_EQ(-EINVAL, pw_advise(fd, advice, p + 1, PAGE));
		EXPECT_EQ(-EINVAL, pw_advise(fd, advice, p, ~0ULL));
		EXPECT_EQ(-EINVAL, pw_advise(fd, advice, p, (uint64_t)-(uintptr_t)p));
		EXPECT_NE(0, pw_advise(fd, advice, (void *)-PAGE, 2 * PAGE));
	}
	EXPECT_EQ(-1, pw_wrong(p, 3, 1));
	EXPECT_EQ(-ENOMEM, pw_advise(fd, PAGEWELL_ADVISE_POPULATE, p, 4 * PAGE));
	EXPECT_EQ(SIGSEGV, pw_try_read(p + 3 * PAGE));
}

TEST_F(abi, bad_brk)
{
	int fd = self->h.fd;
	char *start, *now;
	uint32_t id;

	EXPECT_EQ(-ENOMEM, pw_brk_create(fd, 1ULL << 62, &id, &start));
	EXPECT_NE(0, pw_brk_create(fd, ~0ULL, &id, &start));
	ASSERT_EQ(0, pw_brk_create(fd, MIB, &id, &start));
	ASSERT_EQ(0, pw_brk(fd, id, start + 5 * PAGE, NULL));
	EXPECT_EQ(-EINVAL, pw_brk(fd, id, start - 1, NULL));
	EXPECT_EQ(-EINVAL, pw_brk(fd, id, (void *)1, NULL));
	EXPECT_NE(0, pw_brk(fd, id, (void *)-1L, NULL));
	EXPECT_NE(0, pw_brk(fd, id, (void *)-PAGE, NULL));
	EXPECT_NE(0, pw_brk(fd, id, (void *)(1UL << 62), NULL));
	EXPECT_EQ(-ENOENT, pw_brk(fd, id + 1, NULL, NULL));
	EXPECT_EQ(-ENOENT, pw_brk(fd, ~0U, NULL, NULL));
	EXPECT_EQ(-ENOENT, pw_brk_destroy(fd, id + 1));
	EXPECT_EQ(-ENOENT, pw_brk_destroy(fd, ~0U));
	ASSERT_EQ(0, pw_brk(fd, id, NULL, &now));
	EXPECT_EQ(start + 5 * PAGE, now);
	EXPECT_EQ(5 * PAGE, pw_committed(fd));
}

/* The device's other file operations. */
static int map_errno(void *hint, int prot, int flags, int fd, off_t off)
{
	return mmap(hint, 4 * MIB, prot, flags, fd, off) == MAP_FAILED ? errno : 0;
}

TEST(mmap_rules)
{
	int fd = pw_open(), ro, rw = PROT_READ | PROT_WRITE;
	struct pagewell_info info;
	char *p;

	EXPECT_EQ(EINVAL, map_errno(NULL, rw, MAP_PRIVATE, fd, 0));
	EXPECT_EQ(EINVAL, map_errno(NULL, PROT_READ, MAP_PRIVATE, fd, 0));
	EXPECT_EQ(EINVAL, map_errno(NULL, rw, MAP_SHARED, fd, PAGE));
	EXPECT_EQ(EINVAL, map_errno(NULL, rw, MAP_SHARED, fd, 2 * MIB));
	EXPECT_EQ(EINVAL, map_errno(PW_HINT + PAGE, rw, MAP_SHARED | MAP_FIXED, fd, 0));
	/* Or EPERM, where /dev is mounted noexec. */
	EXPECT_NE(0, map_errno(NULL, rw | PROT_EXEC, MAP_SHARED, fd, 0));
	ro = open(PAGEWELL_DEVICE, O_RDONLY);
	if (ro >= 0) {
		EXPECT_EQ(EACCES, map_errno(NULL, rw, MAP_SHARED, ro, 0));
		EXPECT_EQ(EINVAL, map_errno(NULL, rw, MAP_PRIVATE, ro, 0));
		EXPECT_EQ(EINVAL, map_errno(NULL, PROT_READ, MAP_SHARED, ro, 0));
	}
	ASSERT_EQ(0, pw_info(fd, &info));
	EXPECT_EQ(0, info.heap_base);

	p = mmap(PW_HINT, 4 * MIB, rw, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, p);
	EXPECT_EQ(EEXIST, map_errno(NULL, rw, MAP_SHARED, fd, 0));
	EXPECT_EQ(EEXIST, map_errno(NULL, rw, MAP_SHARED, pw_open(), 0));
	/* The pages right behind, where a VMA might be merged. */
	EXPECT_EQ(EINVAL, map_errno(p + 4 * MIB, rw, MAP_SHARED | MAP_FIXED_NOREPLACE,
				    fd, 4 * MIB));
	EXPECT_EQ(-1, mprotect(p, PAGE, rw | PROT_EXEC));
	EXPECT_EQ(EACCES, errno);
	ASSERT_EQ(0, pw_info(fd, &info));
	EXPECT_EQ((uintptr_t)p, info.heap_base);
}

/* What is refused leaves what is there alone. */
TEST(mmap_over_things)
{
	int fd = pw_open(), rw = PROT_READ | PROT_WRITE;
	char *p = mmap(PW_HINT, 4 * MIB, rw, MAP_SHARED, fd, 0), *q;
	uint32_t id;

	ASSERT_NE(MAP_FAILED, p);
	ASSERT_EQ(0, pw_brk_create(fd, 4 * MIB, &id, &q));
	ASSERT_EQ((void *)p, (void *)q);
	ASSERT_EQ(0, pw_brk(fd, id, q + 4 * MIB, &q));
	pw_fill(p, 1024, 1);
	EXPECT_EQ(EEXIST, map_errno(p + 2 * MIB, rw, MAP_SHARED | MAP_FIXED, fd, 0));
	EXPECT_EQ(EEXIST, map_errno(p, rw, MAP_SHARED | MAP_FIXED, fd, 0));
	EXPECT_EQ(EINVAL, map_errno(p + PAGE, rw, MAP_SHARED | MAP_FIXED, fd, 0));
	EXPECT_EQ(-1, pw_wrong(p, 1024, 1));
	EXPECT_EQ(4 * MIB, pw_committed(fd));
}

/* Without a hint the kernel finds an aligned place. */
TEST(mmap_is_aligned)
{
	for (size_t len = PAGE; len < 64 * MIB; len *= 5) {
		int fd = pw_open();
		char *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

		ASSERT_NE(MAP_FAILED, p);
		EXPECT_EQ(0, (uintptr_t)p % HUGE);
		ASSERT_EQ(0, munmap(p, len));
		p = mmap(PW_HINT + 3 * PAGE, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		ASSERT_NE(MAP_FAILED, p);
		EXPECT_EQ(0, (uintptr_t)p % HUGE);
		ASSERT_EQ(0, munmap(p, len));
	}
}

TEST(no_read_write_seek)
{
	int fd = pw_open();
	char c = 0;

	EXPECT_EQ(-1, read(fd, &c, 1));
	EXPECT_EQ(-1, write(fd, &c, 1));
	EXPECT_EQ(-1, ftruncate(fd, MIB));
	EXPECT_EQ(-1, fallocate(fd, 0, 0, MIB));
}

/* The window holds what is mapped; the lengths of the file do not matter. */
TEST(mmap_odd_lengths)
{
	const size_t lens[] = { 1, PAGE, 3 * PAGE, 2 * MIB - PAGE, 2 * MIB + PAGE };

	for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
		struct pw h;
		char *at;

		pw_heap(&h, lens[i]);
		ASSERT_EQ(0, pw_map(h.fd, 0, NULL, PAGE, 0, &at));
		h.len = (lens[i] + PAGE - 1) & -PAGE;
		pw_cover(&h, at + PAGE);
		pw_fill(at, 1, i);
		EXPECT_EQ(-1, pw_wrong(at, 1, i));
		ASSERT_EQ(0, munmap(h.base, h.len));
		close(h.fd);
	}
}

#ifdef __x86_64__
static long int80(long nr, long a, long b, long c)
{
	long ret;

	asm volatile("int $0x80" : "=a"(ret)
		     : "a"(nr), "b"(a), "c"(b), "d"(c)
		     : "memory", "r8", "r9", "r10", "r11");
	return (int)ret;
}

static bool have_int80(void)
{
	bool ok = false;

	PW_TRY(ok = int80(20 /* getpid */, 0, 0, 0) == getpid());
	return ok;
}

/* The system call of a 32-bit program: compat_ioctl, the same structs. */
TEST_F(abi, compat)
{
	char *p;

	if (!have_int80())
		SKIP(return, "this kernel runs no 32-bit programs");
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		valid(&self->h, self->arg, &calls[i]);
		EXPECT_EQ(0, int80(54, self->h.fd, calls[i].cmd, (long)self->arg))
			TH_LOG("%s", calls[i].name);
		self->arg->size = (calls[i].first ?: calls[i].size) - 1;
		EXPECT_EQ(-EINVAL, int80(54, self->h.fd, calls[i].cmd, (long)self->arg))
			TH_LOG("%s", calls[i].name);
	}
	valid(&self->h, self->arg, &calls[5]);
	ASSERT_EQ(0, int80(54, self->h.fd, PAGEWELL_IOC_MAP, (long)self->arg));
	p = (char *)self->arg->map.addr;
	EXPECT_GE(p, self->h.base);
	pw_cover(&self->h, p + PAGE);
	pw_fill(p, 1, 9);
	EXPECT_EQ(-1, pw_wrong(p, 1, 9));
	EXPECT_EQ(-ENOTTY, int80(54, self->h.fd, _IO(PAGEWELL_IOC_TYPE, 63), (long)self->arg));
}

/* It need not know of 2 MiB to map the device, either. */
TEST(compat_mmap)
{
	const size_t lens[] = { PAGE, HUGE, HUGE + PAGE, 3 * HUGE + 5 * PAGE };
	struct {
		uint32_t addr, len, prot, flags, fd, offset;
	} *arg = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	struct pw h = { .fd = pw_open() };

	if (!have_int80())
		SKIP(return, "this kernel runs no 32-bit programs");
	ASSERT_NE(MAP_FAILED, arg);
	arg->prot = PROT_READ | PROT_WRITE;
	arg->flags = MAP_SHARED;
	arg->fd = h.fd;
	for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
		uint32_t at;

		arg->len = lens[i];
		at = int80(90 /* mmap */, (long)arg, 0, 0);
		ASSERT_LE(at, -4096U) TH_LOG("%zu bytes: %d", lens[i], -(int)at);
		EXPECT_EQ(0, at % HUGE);
		h.base = (char *)(uintptr_t)at;
		h.len = lens[i];
		pw_fill(pw_map_pages(&h, 1), 1, i);
		EXPECT_EQ(-1, pw_wrong(h.base, 1, i));
		ASSERT_EQ(0, munmap(h.base, h.len));
	}
}
#endif

PW_TEST_POOL_WHOLE

TEST_HARNESS_MAIN
