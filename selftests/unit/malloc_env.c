// SPDX-License-Identifier: GPL-2.0-only
/*
 * malloc_env.c - the PAGEWELL_ variables, and closed descriptors
 */
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "malloc_test.h"

static char text[4096];

/* Runs this program again, as a process that only allocates. */
static int run_again(const char *variable, const char *value, const char *what)
{
	int fds[2], status;
	ssize_t n;
	size_t len = 0;
	pid_t pid;

	CHECK(!pipe(fds));
	pid = fork();
	if (!pid) {
		if (variable)
			setenv(variable, value, 1);
		dup2(fds[1], 2);
		close(fds[0]);
		close(fds[1]);
		execl("/proc/self/exe", "malloc_env", what, NULL);
		_exit(126);
	}
	close(fds[1]);
	while (len + 1 < sizeof(text) && (n = read(fds[0], text + len, sizeof(text) - len - 1)) > 0)
		len += (size_t)n;
	text[len] = '\0';
	close(fds[0]);
	CHECK(waitpid(pid, &status, 0) == pid);
	return status;
}

static void quiet_without(void)
{
	CHECK(!run_again(NULL, NULL, "allocate") && !text[0]);
	CHECK(!run_again("PAGEWELL_BACKEND", "auto", "allocate") && !text[0]);
	CHECK(!run_again("PAGEWELL_BACKEND", "anon", "allocate") && !text[0]);
	CHECK(!run_again("PAGEWELL_OTHER", "x", "allocate") && !text[0]);
}

static void stats(void)
{
	CHECK(!run_again("PAGEWELL_STATS", "1", "allocate"));
	CHECK(strstr(text, "pagewell: statistics of process "));
	CHECK(strstr(text, "in use"));
	if (access("/dev/pagewell", F_OK))
		CHECK(strstr(text, "anonymous memory: /dev/pagewell cannot be opened: "
			     "No such file or directory"));
	CHECK(!run_again("PAGEWELL_STATS", "0", "allocate") && !text[0]);
}

#define ELSEWHERE	50

/* Many commands close standard error before they end; then it is had again, and nothing else. */
static void stats_after_close(void)
{
	FILE *other = tmpfile();
	struct stat st;

	CHECK(!run_again("PAGEWELL_STATS", "1", "close-error"));
	CHECK(strstr(text, "pagewell: statistics of process "));
	CHECK(other && dup2(fileno(other), ELSEWHERE) == ELSEWHERE);
	CHECK(!run_again("PAGEWELL_STATS", "1", "replace-error") && !text[0]);
	CHECK(!fstat(ELSEWHERE, &st) && !st.st_size);
	CHECK(!close(ELSEWHERE) && !fclose(other));
	/* A child that stays does not keep who reads it waiting. */
	CHECK(!run_again("PAGEWELL_STATS", "1", "leave-child"));
}

static int descriptors(void)
{
	int fd, nr = 0;

	for (fd = 0; fd < 1100; fd++)
		nr += fcntl(fd, F_GETFD) >= 0;
	return nr;
}

static bool child_has_one_less(void)
{
	int nr = descriptors(), status;
	pid_t pid = fork();

	if (!pid)
		_exit(descriptors() != nr - 1);
	return waitpid(pid, &status, 0) == pid && !status;
}

static void device_or_nothing(void)
{
	int status = run_again("PAGEWELL_BACKEND", "device", "allocate");

	if (!access("/dev/pagewell", R_OK | W_OK)) {
		CHECK(!status);
		return;
	}
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 127);
	CHECK(!strcmp(text, "pagewell: PAGEWELL_BACKEND=device, but /dev/pagewell cannot be "
		      "opened: No such file or directory\n"));
}

static void limits(void)
{
	size_t size;

	CHECK(!run_again("PAGEWELL_LIMIT", "32M", "limited"));
	CHECK(!run_again("PAGEWELL_LIMIT", "32768K", "limited"));
	CHECK(!run_again("PAGEWELL_LIMIT", "33554432", "limited"));
	CHECK(run_again("PAGEWELL_LIMIT", "1G", "limited"));
	CHECK(pw_parse_size("1T", &size) && size == (size_t)1 << 40);
	CHECK(pw_parse_size("2GiB", &size) && size == 2 * GIB);
	CHECK(pw_parse_size("3GB", &size) && size == 3 * GIB);
	CHECK(pw_parse_size("0", &size) && size == 0);
	CHECK(!pw_parse_size("", &size) && !pw_parse_size("-1", &size));
	CHECK(!pw_parse_size("1X", &size) && !pw_parse_size("1MM", &size));
	CHECK(!pw_parse_size("4Gi", &size) && !pw_parse_size("4GBi", &size));
	CHECK(!pw_parse_size("64 ", &size) && !pw_parse_size("64 B", &size));
	/* What is refused has no effect. */
	size = 5;
	CHECK(!pw_parse_size("1Mb", &size) && !pw_parse_size("5MiBx", &size) && size == 5);
	CHECK(!pw_parse_size("99999999999999999999", &size) && !pw_parse_size("20000000T", &size));
}

/* What was freed serves every other size, wherever it is. */
static void limit_is_for_all_sizes(void)
{
	CHECK(!run_again("PAGEWELL_LIMIT", "64M", "reshaped"));
	setenv("PAGEWELL_HARDEN", "1", 1);
	CHECK(!run_again("PAGEWELL_LIMIT", "64M", "reshaped"));
	unsetenv("PAGEWELL_HARDEN");
}

/* What threads keep that do nothing any more is out of reach, and is little. */
static void limit_is_for_all_threads(void)
{
	CHECK(!run_again("PAGEWELL_LIMIT", "32M", "one-idle"));
	CHECK(!run_again("PAGEWELL_LIMIT", "64M", "many-idle"));
	CHECK(!run_again("PAGEWELL_LIMIT", "64M", "ended"));
	CHECK(!run_again("PAGEWELL_LIMIT", "64M", "left-behind"));
	CHECK(!run_again("PAGEWELL_LIMIT", "64M", "mapped"));
}

/* What is free, or cached, is had again before anything is refused. */
static void limit_leaves_no_holes(void)
{
	CHECK(!run_again("PAGEWELL_LIMIT", "64M", "cached"));
	CHECK(!run_again("PAGEWELL_LIMIT", "64M", "grown-mapped"));
	CHECK(!run_again("PAGEWELL_LIMIT", "64M", "grown-run"));
	CHECK(!run_again("PAGEWELL_LIMIT", "64M", "aligned"));
	CHECK(!run_again("PAGEWELL_LIMIT", "400M", "uneven"));
}

static void bad_values(void)
{
	static const char *const variables[][2] = {
		{ "PAGEWELL_BACKEND", "disk" },
		{ "PAGEWELL_HUGE", "sometimes" },
		{ "PAGEWELL_COMMIT", "" },
		{ "PAGEWELL_LIMIT", "lots" },
		{ "PAGEWELL_STATS", "yes" },
		{ "PAGEWELL_HARDEN", "2" },
		{ "PAGEWELL_TRACE_PID", "mine" },
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(variables); i++) {
		CHECK(!run_again(variables[i][0], variables[i][1], "allocate"));
		CHECK(!strncmp(text, "pagewell: PAGEWELL_", 19));
		CHECK(strstr(text, "has no effect") && strstr(text, variables[i][1]));
		CHECK(strchr(text, '\n') == text + strlen(text) - 1);
	}
}

static void good_values(void)
{
	CHECK(!run_again("PAGEWELL_HUGE", "always", "allocate") && !text[0]);
	CHECK(!run_again("PAGEWELL_HUGE", "never", "allocate") && !text[0]);
	CHECK(!run_again("PAGEWELL_HUGE", "auto", "allocate") && !text[0]);
	CHECK(!run_again("PAGEWELL_COMMIT", "lazy", "allocate") && !text[0]);
	CHECK(!run_again("PAGEWELL_COMMIT", "strict", "allocate") && !text[0]);
	CHECK(!run_again("PAGEWELL_HARDEN", "1", "allocate") && !text[0]);
}

static void closed_descriptors(void)
{
	CHECK(!run_again(NULL, NULL, "close") && !text[0]);
	CHECK(!run_again(NULL, NULL, "replace") && !text[0]);
	CHECK(!run_again(NULL, NULL, "chroot") && !text[0]);
}

/* The system's own policy may be huge pages everywhere; kernels without them have no flag. */
static void no_huge_pages(void)
{
	if (access("/sys/kernel/mm/transparent_hugepage/enabled", F_OK))
		return;
	setenv("PAGEWELL_BACKEND", "anon", 1);
	CHECK(!run_again("PAGEWELL_HUGE", "never", "no-huge") && !text[0]);
	CHECK(run_again("PAGEWELL_HUGE", "auto", "no-huge"));
}

static void written_over(void)
{
	char name[] = "/tmp/malloc_env.XXXXXX";
	int fd = mkstemp(name), status;
	struct stat st;

	CHECK(fd >= 0);
	status = run_again("PAGEWELL_TRACE", name, "title");
	CHECK(!fstat(fd, &st) && !unlink(name));
	CHECK(!status && !text[0]);
	/* The file was opened by its name again, for more than what is recorded before. */
	CHECK(st.st_size > 150000);
}

/* ---- what the process that is run again does ---- */

static void use(unsigned int rounds)
{
	static void *held[1024];
	unsigned int i, slot;

	for (i = 0; i < rounds * ARRAY_SIZE(held); i++) {
		slot = i % ARRAY_SIZE(held);
		pw_free(held[slot]);
		held[slot] = pw_malloc(1 + i * 37 % 300000);
		CHECK(held[slot]);
		*(char *)held[slot] = 1;
	}
	for (i = 0; i < ARRAY_SIZE(held); i++) {
		pw_free(held[i]);
		held[i] = NULL;
	}
	pw_malloc_trim(0);
}

/* Descriptors that take our numbers must be whole afterwards. */
static void replace(void)
{
	int fd, end, other = open("/proc/self/exe", O_RDONLY);

	/* Up to the limit of open files, whatever it is here. */
	for (fd = 3; fd < 1100; fd++)
		if (fd != other && dup2(other, fd) < 0)
			break;
	end = fd;
	use(3);
	for (fd = 3; fd < end; fd++)
		CHECK(fcntl(fd, F_GETFD) >= 0 && lseek(fd, 0, SEEK_END) > 0);
}

/* With what is already open. */
static void replace_all(void)
{
	int fd;

	for (fd = 3; fd < 1100; fd++)
		if (fd != ELSEWHERE && dup2(ELSEWHERE, fd) < 0)
			break;
}

/* With 32 MiB. */
static void use_to_the_limit(void)
{
	size_t got = 0;
	void *p, *last = NULL;

	while ((p = pw_malloc(100 * KIB))) {
		*(void **)p = last;
		last = p;
		got += 100 * KIB;
		CHECK(got < 33 * MIB);
	}
	CHECK(errno == ENOMEM && got > 28 * MIB);
	CHECK(!pw_malloc(10 * MIB));
	while (last) {
		p = last;
		last = *(void **)p;
		pw_free(p);
	}
	/* What was freed can be had again, in another shape. */
	p = pw_malloc(20 * MIB);
	CHECK(p);
	/* Less of it is to be had even if nothing else is. */
	while (pw_malloc(100 * KIB))
		;
	errno = 0;
	p = pw_realloc(p, 4 * MIB);
	CHECK(p && !errno);
	pw_free(p);
}

/* All there is in blocks of @size; a list of them, of @bytes. */
static void **take_all(size_t size, size_t *bytes)
{
	void **p, **last = NULL;

	for (*bytes = 0; (p = pw_malloc(size)); *bytes += size) {
		*p = last;
		last = p;
	}
	CHECK(errno == ENOMEM);
	return last;
}

static void free_list(void **p)
{
	void **next;

	for (; p; p = next) {
		next = *p;
		pw_free(p);
	}
}

/* With 64 MiB. Small, of a class, of a class with an arena of its own, none. */
static void reshape(void)
{
	static const size_t sizes[] = { 1000, 64 * KIB, 600000, 3 * MIB };
	unsigned int i, k;
	void **blocks;
	size_t bytes;

	pw_mallopt(M_MMAP_THRESHOLD, 32 * MIB);
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		for (k = 0; k < ARRAY_SIZE(sizes); k++) {
			blocks = take_all(sizes[i], &bytes);
			CHECK(bytes > 52 * MIB);
			/* One is left, with the highest address perhaps. */
			free_list(*blocks);
			*blocks = NULL;
			free_list(take_all(sizes[k], &bytes));
			printf("# %zu then %zu: %zu KiB\n", sizes[i], sizes[k], bytes / KIB);
			CHECK(bytes > 48 * MIB);
			free_list(blocks);
		}
	}
}

static pthread_barrier_t idle;

/* All there is, again and again: the second time it is known that it is needed again. */
static void *hoard_one_size(void *arg)
{
	size_t bytes;
	int i;

	for (i = 0; i < 3; i++)
		free_list(take_all(100 * KIB, &bytes));
	pthread_barrier_wait(&idle);
	pause();
	return arg;
}

/* One of each size, of those that are not mapped by themselves. */
static void *use_all_sizes(void *arg)
{
	unsigned int c;

	for (c = 1; c < NR_CLASSES; c++)
		pw_free(pw_malloc(class_size(c)));
	return arg;
}

static void *hoard_all_sizes(void *arg)
{
	use_all_sizes(arg);
	pthread_barrier_wait(&idle);
	pause();
	return arg;
}

/* Blocks of all @limit bytes can be had, but for an eighth and what is left over. */
static void leave_to_others(unsigned int threads, void *(*hoard)(void *arg), size_t limit)
{
	pthread_t thread;
	unsigned int i;
	size_t bytes;

	pthread_barrier_init(&idle, NULL, threads + 1);
	for (i = 0; i < threads; i++)
		CHECK(!pthread_create(&thread, NULL, hoard, NULL));
	pthread_barrier_wait(&idle);
	free_list(take_all(100 * KIB, &bytes));
	printf("# %zu of %zu KiB\n", bytes / KIB, limit / KIB);
	CHECK(bytes > limit / 16 * 13);
	fflush(stdout);
	_exit(0);
}

static bool is_kept(size_t size)
{
	void *p = pw_malloc(size);

	pw_free(p);
	return tcache_self()->bins[class_of(size)].head == p;
}

/* What the calling thread may keep is its bins and what their budgets allow. */
static void check_kept(void)
{
	const struct thread *t = tcache_self();
	size_t budgets = 0, bins = 0;
	unsigned int c;

	for (c = 1; c < NR_CLASSES; c++) {
		bins += t->full[c].size;
		budgets += (size_t)t->full[c].budget * t->full[c].size;
	}
	CHECK(budgets == t->small_bytes + t->large_bytes && t->kept == bins + budgets);
}

/* Budgets grow, and fall in favour of the next size's. */
static void keep_in_turns(void)
{
	static void *p[20000];
	size_t size, k;
	int round;

	for (size = 100; size < 1000; size += 100) {
		for (round = 0; round < 3; round++) {
			for (k = 0; k < ARRAY_SIZE(p); k++)
				CHECK((p[k] = pw_malloc(size)));
			for (k = 0; k < ARRAY_SIZE(p); k++)
				pw_free(p[k]);
		}
		check_kept();
		CHECK(tcache_self()->small_bytes);
	}
}

/* With 64 MiB. Blocks that are mapped by themselves are no use to the caches. */
static void map_many_sizes(void)
{
	size_t size, kept;

	CHECK(is_kept(100));
	kept = tcache_self()->kept;
	for (size = 160 * KIB; size < 4 * MIB; size += 300 * KIB)
		CHECK(pw_malloc(size));
	CHECK(pw_mallinfo2().hblks > 10 && tcache_self()->kept == kept);
	CHECK(is_kept(20000));
}

static void *keep_and_end(void *arg)
{
	CHECK(is_kept(20000));
	return use_all_sizes(arg);
}

/* With 64 MiB. What threads kept others may keep when they are gone. */
static void keep_after_others(void)
{
	pthread_t thread;
	int i;

	keep_in_turns();
	for (i = 0; i < 50; i++) {
		CHECK(!pthread_create(&thread, NULL, keep_and_end, NULL));
		CHECK(!pthread_join(thread, NULL));
	}
}

/* Nor are they in the child of a fork(). */
static void keep_in_child(void)
{
	pthread_t thread;
	int status, i;
	pid_t pid;

	pthread_barrier_init(&idle, NULL, 2);
	for (i = 0; i < 50; i++) {
		CHECK(!pthread_create(&thread, NULL, hoard_all_sizes, NULL));
		pthread_barrier_wait(&idle);
	}
	CHECK(!is_kept(20000));
	pid = fork();
	if (!pid) {
		CHECK(is_kept(20000));
		_exit(0);
	}
	CHECK(waitpid(pid, &status, 0) == pid && !status);
	_exit(0);
}

/* With 64 MiB. All that small blocks took is cached, and in the way of one larger than that. */
static void want_more_than_cached(void)
{
	void **p, **last = NULL;
	int i;

	for (i = 0; i < 100000; i++) {
		p = pw_malloc(64);
		CHECK(p);
		*p = last;
		last = p;
	}
	free_list(last);
	CHECK(pw_malloc(60 * MIB));
}

/* With 64 MiB. There is room for it to grow, in place of what is cached, not for a second one. */
static void grow_mapped(void)
{
	void **last = NULL, **p;
	size_t refused;
	char *block;
	int i;

	block = pw_malloc(40 * MIB);
	CHECK(block);
	block[40 * MIB - 1] = 1;
	for (i = 0; i < 100000; i++) {
		p = pw_malloc(64);
		CHECK(p);
		*p = last;
		last = p;
	}
	CHECK(pw_malloc(15 * MIB));
	free_list(last);
	refused = READ_ONCE(pw_refused);
	errno = 0;
	block = pw_realloc(block, 44 * MIB);
	CHECK(block && block[40 * MIB - 1] == 1 && !errno && pw_refused == refused);
}

/* With 64 MiB. The same of what is not mapped by itself, but the last in its arena. */
static void grow_run(void)
{
	char *p, *q;

	pw_mallopt(M_MMAP_THRESHOLD, 32 * MIB);
	p = pw_malloc(30 * MIB);
	CHECK(p);
	q = pw_realloc(p, 40 * MIB);
	CHECK(q == p && !pw_realloc(p, 70 * MIB));
	/* What is behind is not lost. */
	CHECK(pw_malloc(20 * MIB));
}

static void **take_aligned(unsigned int *nr)
{
	void **last = NULL;
	void *p;

	for (*nr = 0; !pw_posix_memalign(&p, 64 * KIB, 64 * KIB); ++*nr) {
		*(void **)p = last;
		last = p;
	}
	return last;
}

/* With 64 MiB. Each block that goes leaves a hole that is as long, and aligned. */
static void refill_aligned(void)
{
	unsigned int nr, again;
	void **p, **other, **last;

	last = take_aligned(&nr);
	CHECK(nr > 700);
	for (p = last; p && *p; p = *p) {
		other = *p;
		*p = *other;
		pw_free(other);
	}
	take_aligned(&again);
	printf("# %u, then %u in their holes\n", nr, again);
	CHECK(again > nr / 2 * 9 / 10);
}

#define UNEVEN	90

/* With 400 MiB. Holes of the right size are not seen behind many that are a bit too short. */
static void refill_uneven(void)
{
	void *p[2][UNEVEN];
	int i, k;

	pw_mallopt(M_MMAP_THRESHOLD, 32 * MIB);
	for (k = 0; k < 2; k++)
		for (i = 0; i < UNEVEN; i++)
			CHECK((p[k][i] = pw_malloc((k ? 1000 : 1100) * KIB)) && pw_malloc(600 * KIB));
	while (pw_malloc(500 * KIB))
		;
	for (k = 0; k < 2; k++)
		for (i = 0; i < UNEVEN; i++)
			pw_free(p[k][i]);
	for (i = 0; pw_malloc(1100 * KIB); i++)
		;
	printf("# %d of %d\n", i, UNEVEN);
	CHECK(i > UNEVEN * 9 / 10);
}

/* As setproctitle() does: the strings are elsewhere from now on. */
static void write_over_environment(void)
{
	char *first = environ[0], *end = first;
	unsigned int i;

	for (i = 0; environ[i]; i++) {
		end = environ[i] + strlen(environ[i]);
		environ[i] = strdup(environ[i]);
	}
	memset(first, 'x', (size_t)(end - first));
}

/* Has each mapping that begins in the window what MADV_NOHUGEPAGE sets? */
static bool all_without_huge_pages(void)
{
	FILE *fp = fopen("/proc/self/smaps", "r");
	unsigned int with = 0, without = 0;
	static char line[4096];
	bool ours = false;
	uintptr_t start;
	char dash;

	CHECK(fp);
	while (fgets(line, sizeof(line), fp)) {
		if (sscanf(line, "%lx%c", &start, &dash) == 2 && dash == '-')
			ours = in_window(start);
		if (ours && !strncmp(line, "VmFlags:", 8)) {
			without += !!strstr(line, " nh");
			with += !strstr(line, " nh");
		}
	}
	fclose(fp);
	return without && !with;
}

static int again(const char *what)
{
	if (!strcmp(what, "reshaped")) {
		reshape();
		return 0;
	}
	if (!strcmp(what, "one-idle"))
		leave_to_others(1, hoard_one_size, 32 * MIB);
	if (!strcmp(what, "many-idle")) {
		pw_mallopt(M_MMAP_THRESHOLD, 32 * MIB);
		leave_to_others(16, hoard_all_sizes, 64 * MIB);
	}
	if (!strcmp(what, "ended")) {
		keep_after_others();
		return 0;
	}
	if (!strcmp(what, "mapped")) {
		map_many_sizes();
		return 0;
	}
	if (!strcmp(what, "left-behind"))
		keep_in_child();
	if (!strcmp(what, "limited")) {
		use_to_the_limit();
		return 0;
	}
	if (!strcmp(what, "cached")) {
		want_more_than_cached();
		return 0;
	}
	if (!strcmp(what, "grown-mapped")) {
		grow_mapped();
		return 0;
	}
	if (!strcmp(what, "grown-run")) {
		grow_run();
		return 0;
	}
	if (!strcmp(what, "aligned")) {
		refill_aligned();
		return 0;
	}
	if (!strcmp(what, "uneven")) {
		refill_uneven();
		return 0;
	}
	use(1);
	if (!strcmp(what, "no-huge")) {
		/* A break, mappings of their own, and one that was resized. */
		CHECK(pw_malloc(1) && pw_malloc(40 * MIB));
		CHECK(pw_realloc(pw_malloc(40 * MIB), 70 * MIB));
		return !all_without_huge_pages();
	}
	if (!strcmp(what, "close"))
		syscall(SYS_close_range, 3, ~0U, 0);
	if (!strcmp(what, "title"))
		write_over_environment();
	if (!strcmp(what, "replace-error"))
		replace_all();
	if (!strcmp(what, "replace-error") || !strcmp(what, "close-error"))
		return close(STDERR_FILENO);
	if (!strcmp(what, "leave-child"))
		return !child_has_one_less();
	if (!strcmp(what, "replace")) {
		replace();
		/* Sanitizers want descriptors at the end, and there may be none left. */
		_exit(0);
	}
	if (!strcmp(what, "chroot")) {
		syscall(SYS_close_range, 3, ~0U, 0);
		if (chroot("/proc/self/fdinfo"))
			return 0;
		use(3);
		/* Sanitizers look for /proc at the end. */
		_exit(0);
	}
	use(3);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{ "nothing is said without being asked", quiet_without },
		{ "PAGEWELL_STATS", stats },
		{ "PAGEWELL_STATS after standard error is closed", stats_after_close },
		{ "PAGEWELL_BACKEND=device", device_or_nothing },
		{ "PAGEWELL_LIMIT", limits },
		{ "all sizes may use what is limited", limit_is_for_all_sizes },
		{ "all threads may use what is limited", limit_is_for_all_threads },
		{ "no holes at the limit", limit_leaves_no_holes },
		{ "values that are not understood", bad_values },
		{ "values that are", good_values },
		{ "PAGEWELL_HUGE=never, on anonymous memory", no_huge_pages },
		{ "an environment that is written over", written_over },
		{ "descriptors closed, replaced, and out of reach", closed_descriptors },
	};

	if (argc > 1)
		return again(argv[1]);
	return run_tests(tests, ARRAY_SIZE(tests));
}
