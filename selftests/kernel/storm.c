// SPDX-License-Identifier: GPL-2.0-only
/*
 * storm.c - everything at once, in the same few slots
 *
 * Processes of a family and their threads do whatever there is to a range that
 * they all use, at random; they fork, and are killed. Nothing is expected of a
 * call but that it returns. What is seen in the range is zero, or was written
 * there by one of them; what a thread keeps for itself stays as it is; and in the
 * end all is given back. A lock that is never let go of shows as a test that does
 * not end.
 *
 * PAGEWELL_TEST_SEED (1) makes it another storm, PAGEWELL_TEST_SCALE (100, percent)
 * a longer one.
 */
#include "pw_test.h"

#include <sys/uio.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif

#define SLOTS		5UL
#define THREADS		3
#define OWN_PAGES	40UL
#define DEPTH		2
#define TAG		0xc0de000000000000ULL
#define TAG_MASK	0xffff000000000000ULL

/* Seconds of each test. */
#define DURATION	(4 * pw_scaled(100) / 100.)

/* Shared by all processes. */
static struct common {
	double end;
	int bad;
	long done;
	uint32_t ids[4];
} *all;

struct thread {
	pthread_t id;
	struct pw *h;
	char *at;		/* what all use */
	char *own;
	uint64_t rnd;
	uint64_t seed;		/* of its own pages */
	int depth;
	int pipe[2];
};

static void storm(struct thread *t);

static uint64_t rnd(struct thread *t, uint64_t n)
{
	return pw_random(&t->rnd) % n;
}

struct range {
	char *at;
	size_t len;
};

/* Mostly small, sometimes whole slots. */
static struct range any(struct thread *t)
{
	unsigned long nr = SLOTS * HUGE / PAGE, from, pages;

	if (rnd(t, 4) == 0) {
		from = rnd(t, SLOTS) * (HUGE / PAGE);
		pages = (1 + rnd(t, 2)) * (HUGE / PAGE);
	} else {
		from = rnd(t, nr);
		pages = 1 + rnd(t, rnd(t, 2) ? 8 : 600);
	}
	if (from + pages > nr)
		pages = nr - from;
	return (struct range){ t->at + from * PAGE, pages * PAGE };
}

static void touch(struct thread *t)
{
	volatile uint64_t *p = (void *)(t->at + rnd(t, SLOTS * HUGE / 8) * 8);
	uint64_t seen = 0;

	if (t->rnd % 2)
		PW_TRY(*p = TAG | (t->rnd & ~TAG_MASK));
	else
		PW_TRY(seen = *p);
	if (seen && (seen & TAG_MASK) != TAG) {
		fprintf(stderr, "# %p: %#llx is nothing that was written there\n", p,
			(unsigned long long)seen);
		pw_set(&all->bad, 1);
	}
}

static void do_map(struct thread *t)
{
	static const uint32_t flags[] = {
		PAGEWELL_MAP_FIXED, PAGEWELL_MAP_FIXED, PAGEWELL_MAP_FIXED_NOREPLACE,
		PAGEWELL_MAP_FIXED | PAGEWELL_MAP_POPULATE,
		PAGEWELL_MAP_FIXED | PAGEWELL_MAP_GUARD, 0,
	};
	struct range r = any(t);

	pw_map(t->h->fd, flags[rnd(t, 6)], r.at, r.len, 0, NULL);
}

static void do_remap(struct thread *t)
{
	struct range r = any(t), to = any(t);

	if (rnd(t, 3))
		pw_remap(t->h->fd, rnd(t, 2) ? PAGEWELL_REMAP_MAYMOVE : 0, r.at, r.len, to.len,
			 NULL);
	else
		pw_remap_to(t->h->fd, PAGEWELL_REMAP_MAYMOVE | PAGEWELL_REMAP_FIXED, r.at, r.len,
			    to.len, to.at);
}

/* What is made is left to the unmaps of everybody. */
static void do_share(struct thread *t)
{
	uint32_t *slot = &all->ids[rnd(t, 4)], id = rnd(t, 4) ? *slot : 0;
	uint64_t len = id ? 0 : (1 + rnd(t, 2)) * HUGE;
	char *at = t->at + rnd(t, SLOTS) * HUGE;

	if (!pw_share(t->h->fd, &id, &len, &at))
		*slot = id;
}

static void do_break(struct thread *t)
{
	uint32_t id;
	char *start;

	if (pw_brk_create(t->h->fd, HUGE + rnd(t, 4) * PAGE, &id, &start))
		return;
	for (int i = 0; i < 4; i++) {
		pw_brk(t->h->fd, id, start + rnd(t, HUGE), NULL);
		pw_try_write(start + rnd(t, HUGE), 0);
	}
	pw_brk_destroy(t->h->fd, id);
}

static void do_advise(struct thread *t)
{
	struct range r = any(t);

	pw_advise(t->h->fd, 1 + rnd(t, 8), r.at, r.len);
}

static void do_madvise(struct thread *t)
{
	static const int advice[] = {
		MADV_DONTNEED, MADV_WILLNEED, MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_PAGEOUT,
		MADV_COLD, MADV_COLLAPSE, MADV_POPULATE_READ, MADV_POPULATE_WRITE,
	};
	struct range r = any(t);

	madvise(r.at, r.len, advice[rnd(t, 9)]);
}

static void do_mprotect(struct thread *t)
{
	struct range r = any(t);

	mprotect(r.at, r.len, rnd(t, 3) ? PROT_READ | PROT_WRITE : PROT_READ);
}

static void do_protect(struct thread *t)
{
	static const uint32_t prot[] = { PW_BOTH, PW_BOTH, PW_READ, PW_NONE };
	struct range r = any(t);

	pw_protect(t->h->fd, prot[rnd(t, 4)], r.at, r.len);
}

static void do_policy(struct thread *t)
{
	pw_set_huge(t->h->fd, rnd(t, 3));
}

/* References that last a while: put into a pipe, taken out later. */
static void do_pipe(struct thread *t)
{
	struct range r = any(t);
	struct iovec iov = { r.at, r.len > 8 * PAGE ? 8 * PAGE : r.len };
	char buf[4 * PAGE];

	vmsplice(t->pipe[1], &iov, 1, SPLICE_F_NONBLOCK);
	if (rnd(t, 2))
		while (read(t->pipe[0], buf, sizeof(buf)) > 0)
			;
}

static void do_vm_read(struct thread *t)
{
	struct range r = any(t);
	char buf[3 * PAGE];
	struct iovec to = { buf, sizeof(buf) }, from = { r.at, sizeof(buf) };

	if (rnd(t, 2))
		process_vm_readv(getpid(), &to, 1, &from, 1, 0);
	else
		process_vm_readv(getppid(), &to, 1, &from, 1, 0);
}

static void do_mlock(struct thread *t)
{
	struct range r = any(t);

	if (rnd(t, 2))
		mlock(r.at, r.len);
	else
		munlock(t->at, SLOTS * HUGE);
}

static void do_smaps(struct thread *t)
{
	char buf[1024];
	int fd = open("/proc/self/smaps", O_RDONLY | O_CLOEXEC);

	while (read(fd, buf, sizeof(buf)) > 0)
		;
	close(fd);
}

static bool own_is_right(struct thread *t)
{
	bool right = pw_wrong(t->own, OWN_PAGES, t->seed) == -1;

	if (!right) {
		fprintf(stderr, "# pages of a thread alone have changed\n");
		pw_set(&all->bad, 1);
	}
	return right;
}

static void renew_own(struct thread *t)
{
	own_is_right(t);
	t->seed++;
	if (rnd(t, 2))
		pw_advise(t->h->fd, PAGEWELL_ADVISE_DONTNEED, t->own, OWN_PAGES * PAGE);
	pw_fill(t->own, OWN_PAGES, t->seed);
}

/* A hole in the mapping is for good: not where all children come from. */
static void do_munmap(struct thread *t)
{
	struct range r = any(t);

	if (t->depth && rnd(t, 20) == 0)
		munmap(r.at, r.len);
}

/* A copy may be refused to it. Everything else that ends a child is wrong. */
static void child_ended(int status, bool killed)
{
	if (!status || status == 128 + SIGBUS || (killed && status == 128 + SIGKILL))
		return;
	fprintf(stderr, "# a child ended with status %d\n", status);
	pw_set(&all->bad, 1);
}

static void do_fork(struct thread *t)
{
	bool killed;
	pid_t pid;

	if (t->depth == DEPTH)
		return;
	pid = pw_fork();
	if (!pid) {
		t->depth++;
		t->rnd ^= getpid() * 0x9e3779b97f4a7c15ULL;
		own_is_right(t);
		storm(t);
		_exit(0);
	}
	usleep(rnd(t, 30000));
	killed = rnd(t, 2);
	if (killed)
		kill(pid, SIGKILL);
	child_ended(pw_wait(pid), killed);
}

static void (*const ops[])(struct thread *t) = {
	do_map, do_map, do_map, do_remap, do_share, do_share, do_break, do_advise, do_advise,
	do_madvise, do_mprotect, do_protect, do_policy, do_pipe, do_vm_read, do_mlock,
	do_smaps, do_munmap, renew_own,
};

static void unmap_some(struct thread *t)
{
	struct range r = any(t);

	if (rnd(t, 2))
		r = (struct range){ t->at + rnd(t, SLOTS) * HUGE, HUGE };
	pw_unmap(t->h->fd, r.at, r.len);
}

static bool is_over(struct thread *t)
{
	/* A child lives for a part of a second. */
	return pw_get(&all->bad) || pw_now() > all->end || (t->depth && rnd(t, 40) == 0);
}

static void storm(struct thread *t)
{
	while (!is_over(t)) {
		for (int i = 0; i < 6; i++)
			touch(t);
		ops[rnd(t, ARRAY_SIZE(ops))](t);
		if (rnd(t, 4) == 0)
			unmap_some(t);
		if (rnd(t, 30) == 0)
			do_fork(t);
		__atomic_add_fetch(&all->done, 1, __ATOMIC_RELAXED);
	}
	own_is_right(t);
}

static void *run_thread(void *arg)
{
	storm(arg);
	return NULL;
}

/* Threads, each with pages of its own beside the range. */
static void run_process(struct pw *h, char *at, uint64_t seed)
{
	struct thread threads[THREADS];

	for (int i = 0; i < THREADS; i++) {
		struct thread *t = &threads[i];

		*t = (struct thread){
			.h = h, .at = at, .rnd = seed * 7919 + i * 104729 + 1, .seed = seed + i,
		};
		t->own = pw_map_pages(h, OWN_PAGES);
		pw_fill(t->own, OWN_PAGES, t->seed);
		CHECK(pipe2(t->pipe, O_NONBLOCK | O_CLOEXEC) == 0);
	}
	for (int i = 0; i < THREADS; i++)
		CHECK(pthread_create(&threads[i].id, NULL, run_thread, &threads[i]) == 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i].id, NULL);
}

FIXTURE(storm) {
	struct pw h;
	char *at;
	long idle_s;
	long idle_max_mb;
};

FIXTURE_VARIANT(storm) {
	uint32_t commit;
	uint32_t huge;
	bool idle;
};

FIXTURE_VARIANT_ADD(storm, strict) {
	.commit = PAGEWELL_COMMIT_STRICT, .huge = PAGEWELL_HUGE_AUTO,
};

FIXTURE_VARIANT_ADD(storm, huge) {
	.commit = PAGEWELL_COMMIT_STRICT, .huge = PAGEWELL_HUGE_ALWAYS,
};

FIXTURE_VARIANT_ADD(storm, lazy) {
	.commit = PAGEWELL_COMMIT_LAZY, .huge = PAGEWELL_HUGE_AUTO, .idle = true,
};

FIXTURE_SETUP(storm)
{
	self->idle_s = pw_get_param("idle_s");
	self->idle_max_mb = pw_get_param("idle_max_mb");
	if (variant->idle) {
		ASSERT_EQ(0, pw_set_param("idle_max_mb", 16));
		ASSERT_EQ(0, pw_set_param("idle_s", 1));
	}
	/* The range that all use, with room for what goes elsewhere behind it. */
	pw_heap(&self->h, 64 * MIB);
	self->at = self->h.base + 8 * HUGE;
	ASSERT_EQ(0, pw_set_commit(self->h.fd, variant->commit));
	ASSERT_EQ(0, pw_set_huge(self->h.fd, variant->huge));
	all = mmap(NULL, sizeof(*all), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, (void *)all);
	all->end = pw_now() + DURATION;
}

FIXTURE_TEARDOWN(storm)
{
	pw_set_param("idle_s", self->idle_s);
	pw_set_param("idle_max_mb", self->idle_max_mb);
	close(self->h.fd);
}

TEST_F(storm, family)
{
	uint64_t seed = getenv("PAGEWELL_TEST_SEED") ? atol(getenv("PAGEWELL_TEST_SEED")) : 1;
	pid_t pid = pw_fork();

	if (!pid) {
		run_process(&self->h, self->at, seed + 1000);
		_exit(0);
	}
	run_process(&self->h, self->at, seed);
	EXPECT_EQ(0, pw_wait(pid));
	EXPECT_EQ(0, all->bad);
	EXPECT_LT(pw_scaled(20), all->done);
	ASSERT_EQ(0, munmap(self->h.base, self->h.len));
	EXPECT_TRUE(pw_pool_whole());
}

PW_TEST_POOL_WHOLE

TEST_HARNESS_MAIN
