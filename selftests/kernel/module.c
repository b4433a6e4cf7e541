// SPDX-License-Identifier: GPL-2.0-only
/*
 * module.c - the module cannot go while it is used, goes when it is not, and
 * comes back
 *
 * PAGEWELL_KO is the module's file. It is loaded again with the parameters
 * that it had.
 */
#include "pw_test.h"

#define PARAMETERS "/sys/module/pagewell/parameters/"

static int unload(void)
{
	return syscall(SYS_delete_module, "pagewell", O_NONBLOCK) ? errno : 0;
}

static bool is_busy(void)
{
	int err = unload();

	return err == EBUSY || err == EWOULDBLOCK;
}

static long parameter(const char *name)
{
	char path[128];
	long value = -1;
	FILE *f;

	snprintf(path, sizeof(path), PARAMETERS "%s", name);
	f = fopen(path, "r");
	CHECK(f && fscanf(f, "%ld", &value) == 1);
	fclose(f);
	return value;
}

static int load(const char *parameters)
{
	const char *ko = getenv("PAGEWELL_KO");
	int fd = open(ko, O_RDONLY), err;

	CHECK(fd >= 0);
	err = syscall(SYS_finit_module, fd, parameters, 0) ? errno : 0;
	close(fd);
	return err;
}

static bool have_file(void)
{
	const char *ko = getenv("PAGEWELL_KO");

	return ko && !access(ko, R_OK);
}

TEST(open_file_holds_it)
{
	int fd = pw_open();

	EXPECT_TRUE(is_busy());
	close(fd);
}

TEST(mapping_holds_it)
{
	struct pw h;
	char *p;

	pw_heap(&h, 4 * MIB);
	p = pw_map_pages(&h, 10);
	pw_fill(p, 10, 1);
	close(h.fd);
	EXPECT_TRUE(is_busy());
	EXPECT_EQ(-1, pw_wrong(p, 10, 1));
	h.fd = pw_open();
	EXPECT_EQ(0, pw_unmap(h.fd, p, 10 * PAGE));
}

TEST(a_part_of_a_mapping_holds_it)
{
	struct pw h;

	pw_heap(&h, 4 * MIB);
	close(h.fd);
	ASSERT_EQ(0, munmap(h.base, 2 * MIB));
	EXPECT_TRUE(is_busy());
}

TEST(child_holds_it)
{
	int *step = pw_shared();
	struct pw h;
	pid_t pid;
	char *p;

	pw_heap(&h, 4 * MIB);
	p = pw_map_pages(&h, 10);
	pw_fill(p, 10, 1);
	pid = pw_fork();
	if (!pid) {
		close(h.fd);
		pw_wait_for(step, 1);
		CHECK(pw_wrong(p, 10, 1) == -1);
		_exit(0);
	}
	ASSERT_EQ(0, munmap(h.base, h.len));
	close(h.fd);
	EXPECT_TRUE(is_busy());
	pw_set(step, 1);
	EXPECT_EQ(0, pw_wait(pid));
}

TEST(goes_and_comes_back)
{
	char parameters[128];
	long floor = pw_pool("floor_pages"), max = pw_pool("max_pages");

	if (!have_file())
		SKIP(return, "PAGEWELL_KO names no module file");
	snprintf(parameters, sizeof(parameters), "pool_mb=%ld pool_max_mb=%ld",
		 parameter("pool_mb"), parameter("pool_max_mb"));
	for (int i = 0; i < 3; i++) {
		ASSERT_EQ(0, unload());
		EXPECT_EQ(-1, access(PAGEWELL_DEVICE, F_OK));
		EXPECT_EQ(-1, access(PW_DEBUGFS, F_OK));
		ASSERT_EQ(0, load(parameters));
		EXPECT_EQ(floor, pw_pool("floor_pages"));
		EXPECT_EQ(max, pw_pool("max_pages"));
		EXPECT_EQ(floor, pw_pool("held_pages"));
	}
}

/* @pid: 0 for the thread that calls */
static void keep_to(int cpu, pid_t pid)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	CHECK(sched_setaffinity(pid, sizeof(set), &set) == 0);
}

/* The module's thread that packs. */
static pid_t packer(void)
{
	FILE *f = popen("pgrep -x pagewell_idle", "r");
	int pid;

	CHECK(f && fscanf(f, "%d", &pid) == 1);
	pclose(f);
	return pid;
}

/* Leaves nobody else any time on a processor, for less than the kernel permits. */
static void *occupy(void *arg)
{
	struct sched_param param = { .sched_priority = 1 };
	double end = pw_now() + 0.7;

	keep_to(1, 0);
	CHECK(sched_setscheduler(0, SCHED_FIFO, &param) == 0);
	while (pw_now() < end)
		;
	return arg;
}

/*
 * The thread that packs sleeps most of the time when it may pack little, with a heap
 * in its hands that is the last of its file by the time it wakes, and is kept from
 * letting go of it. If it may do so too late, KASAN says so.
 */
TEST(goes_while_a_heap_is_looked_at)
{
	char parameters[128];
	pthread_t thread;
	long packed;
	struct pw h;
	double end;
	char *p;

	if (!have_file())
		SKIP(return, "PAGEWELL_KO names no module file");
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP(return, "one processor");
	if (!pw_can_pack())
		SKIP(return, "this kernel has no zsmalloc or no lz4");
	ASSERT_EQ(0, pw_set_param("idle_max_mb", 64));
	snprintf(parameters, sizeof(parameters), "pool_mb=%ld pool_max_mb=%ld",
		 parameter("pool_mb"), parameter("pool_max_mb"));
	keep_to(0, 0);
	keep_to(1, packer());
	pw_heap(&h, 64 * MIB);
	ASSERT_EQ(0, pw_set_commit(h.fd, PAGEWELL_COMMIT_LAZY));
	p = pw_map_pages(&h, 2000);
	pw_fill(p, 2000, 1);
	packed = pw_stat("packed");
	ASSERT_EQ(0, pw_set_param("idle_mbps", 1));
	ASSERT_EQ(0, pw_set_param("idle_s", 1));
	for (end = pw_now() + 60; pw_stat("packed") == packed; usleep(1000))
		ASSERT_GT(end, pw_now());
	/* It is at the end of a few pages by now, and asleep for ten times as long. */
	usleep(10000);
	ASSERT_EQ(0, pthread_create(&thread, NULL, occupy, NULL));
	ASSERT_EQ(0, munmap(h.base, h.len));
	close(h.fd);
	ASSERT_EQ(0, unload());
	pthread_join(thread, NULL);
	/* Not before it has woken. */
	usleep(100000);
	ASSERT_EQ(0, load(parameters));
}

/*
 * The kernel keeps freed pages in lists by CPU, some for seconds, and does not
 * count them: give it time to get to @enough.
 */
static long free_kb(long enough)
{
	long kb;

	for (int i = 0; i < 100; i++) {
		kb = pw_key("/proc/meminfo", "MemFree");
		if (kb >= enough)
			break;
		usleep(100 * 1000);
	}
	return kb;
}

/*
 * Freed memory is not all counted as free at once, so leaks are looked for over
 * a few rounds.
 */
TEST(memory_goes_back_to_the_kernel)
{
	long floor = pw_pool("floor_pages") * 4, first = 0, without = 0;
	char parameters[128];

	if (!have_file())
		SKIP(return, "PAGEWELL_KO names no module file");
	snprintf(parameters, sizeof(parameters), "pool_mb=%ld pool_max_mb=%ld",
		 parameter("pool_mb"), parameter("pool_max_mb"));
	for (int i = 0; i < 6; i++) {
		long with = pw_key("/proc/meminfo", "MemFree");

		ASSERT_EQ(0, unload());
		without = free_kb(with + floor / 2);
		ASSERT_EQ(0, load(parameters));
		EXPECT_GE(without - with, floor / 2);
		first = first ?: without;
	}
	EXPECT_GE(without, first - floor);
}

/* What cannot be had is refused, and nothing stays behind. */
TEST(bad_parameters)
{
	static const char *const bad[] = {
		"pool_mb=x", "pool_mb=-1", "pool_mb=1048576", "pool_mb=64 pool_max_mb=32",
		"pool_max_mb=-5",
	};
	char parameters[128];

	if (!have_file())
		SKIP(return, "PAGEWELL_KO names no module file");
	snprintf(parameters, sizeof(parameters), "pool_mb=%ld pool_max_mb=%ld",
		 parameter("pool_mb"), parameter("pool_max_mb"));
	ASSERT_EQ(0, unload());
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		int err = load(bad[i]);

		EXPECT_NE(0, err)
			TH_LOG("%s was accepted", bad[i]);
		if (!err)
			unload();
	}
	EXPECT_EQ(0, load(parameters));
	EXPECT_EQ(0, access(PAGEWELL_DEVICE, F_OK));
}

/* The sum of all counters of the kernel's whose names begin so. */
static long vmstat(const char *begin)
{
	char name[64];
	long value, sum = 0;
	FILE *f = fopen("/proc/vmstat", "re");

	CHECK(f);
	while (fscanf(f, "%63s %ld", name, &value) == 2)
		if (!strncmp(name, begin, strlen(begin)))
			sum += value;
	fclose(f);
	return sum;
}

/* The machine has so much memory, but others use a part of it: they keep it. */
TEST(more_than_is_available)
{
	char parameters[128], all[64];
	long stalls, kills;

	if (!have_file())
		SKIP(return, "PAGEWELL_KO names no module file");
	snprintf(parameters, sizeof(parameters), "pool_mb=%ld pool_max_mb=%ld",
		 parameter("pool_mb"), parameter("pool_max_mb"));
	snprintf(all, sizeof(all), "pool_mb=%ld",
		 pw_key("/proc/meminfo", "MemTotal") / (long)KIB);
	ASSERT_EQ(0, unload());
	stalls = vmstat("allocstall");
	kills = vmstat("oom_kill");
	EXPECT_EQ(ENOMEM, load(all));
	EXPECT_EQ(stalls, vmstat("allocstall"));
	EXPECT_EQ(kills, vmstat("oom_kill"));
	EXPECT_EQ(0, load(parameters));
}

PW_TEST_POOL_WHOLE

TEST_HARNESS_MAIN
