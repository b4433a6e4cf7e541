// SPDX-License-Identifier: GPL-2.0-only
/*
 * malloc_fork.c - fork() at bad moments: every child has a heap in order
 */
#include <pthread.h>
#include <semaphore.h>
#include <sys/time.h>
#include <ucontext.h>

#include "depot.h"
#include "guarded.h"
#include "malloc_test.h"
#include "tcache.h"

#define THREADS	3

static bool stop;

static void *churn(void *arg)
{
	static const size_t sizes[] = { 16, 48, 100, 1000, 5000, 40000, 200000 };
	void *held[64] = { NULL };
	unsigned int i;

	for (i = 0; !__atomic_load_n(&stop, __ATOMIC_RELAXED); i++) {
		void **h = &held[i * 7 % ARRAY_SIZE(held)];

		pw_free(*h);
		*h = pw_malloc(sizes[i % ARRAY_SIZE(sizes)]);
		CHECK(*h);
		if (i % 512 == 0)
			pw_malloc_trim(0);
	}
	for (i = 0; i < ARRAY_SIZE(held); i++)
		pw_free(held[i]);
	return arg;
}

/* Uses every kind of block, in all arenas and bins. */
static void use_heap(void)
{
	size_t size;
	void *p;

	for (size = 1; size < 2 * MIB; size = size * 2 + 3) {
		p = pw_malloc(size);
		CHECK(p);
		memset(p, 1, size);
		p = pw_realloc(p, size * 3);
		CHECK(p);
		pw_free(p);
	}
	pw_malloc_trim(0);
}

/* Waits for a child; one that hangs is killed by its own alarm. */
static void wait_for(pid_t pid)
{
	int status;

	CHECK(pid > 0);
	while (waitpid(pid, &status, 0) != pid)
		CHECK(errno == EINTR);
	CHECK(!status);
}

static void fork_children(int children)
{
	pid_t pid;
	int i;

	for (i = 0; i < children; i++) {
		pid = fork();
		if (!pid) {
			alarm(20);
			use_heap();
			_exit(0);
		}
		wait_for(pid);
	}
}

static void while_threads_allocate(void)
{
	pthread_t thread[THREADS];
	int i;

	for (i = 0; i < THREADS; i++)
		CHECK(!pthread_create(&thread[i], NULL, churn, NULL));
	fork_children(100);
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < THREADS; i++)
		CHECK(!pthread_join(thread[i], NULL));
}

/* Handlers of another library that allocate, registered before and after. */
static void allocate(void)
{
	pw_free(pw_malloc(100));
	pw_free(pw_malloc(300000));
}

static void with_other_handlers(void)
{
	CHECK(!pthread_atfork(allocate, allocate, allocate));
	while_threads_allocate();
}

static volatile sig_atomic_t forks;

static void fork_in_handler(int sig)
{
	pid_t pid;

	(void)sig;
	pid = fork();
	if (!pid) {
		/* Back into whatever was interrupted, and on until the end. */
		signal(SIGALRM, SIG_DFL);
		setitimer(ITIMER_REAL, &(struct itimerval){ .it_value = { 20, 0 } }, NULL);
		forks = -1;
		return;
	}
	waitpid(pid, NULL, WNOHANG);
	forks++;
}

/*
 * The timer is short enough to hit inside malloc() and free(). Not with other
 * threads here: libc's own fork() would wait for locks they hold.
 */
static void from_a_signal_handler(void)
{
	struct itimerval often = { { 0, 2000 }, { 0, 2000 } };
	struct sigaction sa = { .sa_handler = fork_in_handler, .sa_flags = SA_RESTART };
	void *held[64] = { NULL };
	unsigned int i;
	pid_t pid;
	int status;

	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	for (i = 0; forks >= 0 && forks < 200; i++) {
		void **h = &held[i % ARRAY_SIZE(held)];

		pw_free(*h);
		*h = pw_malloc(1 + i * 31 % 60000);
		CHECK(*h);
	}
	if (forks < 0) {
		use_heap();
		_exit(0);
	}
	setitimer(ITIMER_REAL, &(struct itimerval){ 0 }, NULL);
	while ((pid = waitpid(-1, &status, 0)) > 0)
		CHECK(!status);
}

static volatile sig_atomic_t handled;

static void fork_beside(int sig)
{
	pid_t pid = fork();

	(void)sig;
	if (!pid)
		_exit(0);
	waitpid(pid, NULL, 0);
	handled++;
}

static void *fork_too(void *arg)
{
	sigset_t alarm;
	pid_t pid;

	sigemptyset(&alarm);
	sigaddset(&alarm, SIGALRM);
	pthread_sigmask(SIG_BLOCK, &alarm, NULL);
	while (handled < 200) {
		pid = fork();
		if (!pid)
			_exit(0);
		waitpid(pid, NULL, 0);
	}
	return arg;
}

/* One has a lock that it was interrupted with, the other one all the others. */
static void two_at_once(void)
{
	struct itimerval often = { { 0, 2000 }, { 0, 2000 } };
	struct sigaction sa = { .sa_handler = fork_beside, .sa_flags = SA_RESTART };
	void *held[64] = { NULL };
	pthread_t thread;
	unsigned int i;

	CHECK(!pthread_create(&thread, NULL, fork_too, NULL));
	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	for (i = 0; handled < 200; i++) {
		void **h = &held[i % ARRAY_SIZE(held)];

		pw_free(*h);
		*h = pw_malloc(1 + i * 31 % 60000);
		CHECK(*h);
	}
	setitimer(ITIMER_REAL, &(struct itimerval){ 0 }, NULL);
	pthread_join(thread, NULL);
}

#ifdef __x86_64__
#define TRAP_FLAG	0x100UL

static unsigned int steps;

/*
 * After every instruction of the code under test. The child goes on from there
 * without more of this; the parent forks again after the next one.
 */
static void fork_at_step(int sig, siginfo_t *si, void *context)
{
	greg_t *flags = &((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL];
	pid_t pid;

	(void)sig;
	(void)si;
	steps++;
	pid = fork();
	if (!pid) {
		alarm(20);
		forks = -1;
		*flags &= ~(greg_t)TRAP_FLAG;
		return;
	}
	wait_for(pid);
}

static inline void step(bool on)
{
	unsigned long flags = __builtin_ia32_readeflags_u64();

	__builtin_ia32_writeeflags_u64(on ? flags | TRAP_FLAG : flags & ~TRAP_FLAG);
}

static void *sleeper(void *arg)
{
	pause();
	return arg;
}

/* A lock is taken and let go of by itself: all of malloc() would take long. */
static void at_every_instruction(void)
{
	struct sigaction sa = { .sa_sigaction = fork_at_step, .sa_flags = SA_SIGINFO };
	struct lock *l = &pw_arenas[0]->lock;

	use_heap();
	sigaction(SIGTRAP, &sa, NULL);
	alarm(60);
	forks = 0;
	step(true);
	lock(l);
	unlock(l);
	step(false);
	if (forks < 0) {
		use_heap();
		_exit(0);
	}
	CHECK(steps > 10);
}

/* Locks are atomic then. */
static void at_every_instruction_threaded(void)
{
	pthread_t thread;

	CHECK(!pthread_create(&thread, NULL, sleeper, NULL));
	at_every_instruction();
}
#endif

/* How many of them this thread holds, or, @of_anybody, are not free. */
static unsigned int count_locks(bool of_anybody)
{
	struct lock *all[] = {
		&pw_start_lock, &pw_threads_lock, &pw_arenas_lock, &pw_guarded_lock, &pw_os_lock,
		&pw_meta_lock, &pw_records_lock,
	};
	unsigned int nr = 0, i;

#define COUNT(l)	(of_anybody ? !!(l)->word : lock_is_mine(l))
	for (i = 0; i < ARRAY_SIZE(all); i++)
		nr += COUNT(all[i]);
	for (i = 0; i < pw_nr_arenas; i++)
		nr += COUNT(&pw_arenas[i]->lock);
	for (i = 1; i < NR_CLASSES; i++)
		nr += COUNT(&pw_fastbins[i].lock);
	return nr;
}

static unsigned int nr_locks(void)
{
	return 7 + pw_nr_arenas + NR_CLASSES - 1;
}

/*
 * Handlers of a library that comes before ours: before fork() they are called when
 * our locks are taken, in the parent when they still are.
 */
static void (*when_taken)(void), (*when_forked)(void);

static void call_when_taken(void)
{
	if (when_taken)
		when_taken();
}

static void call_when_forked(void)
{
	if (when_forked)
		when_forked();
}

__attribute__((constructor(101))) static void come_before(void)
{
	pthread_atfork(call_when_taken, call_when_forked, NULL);
}

static bool nested;

/* A signal's handler forks, and we have them still. */
static void fork_within_fork(void)
{
	if (nested)
		return;
	nested = true;
	CHECK(count_locks(false) == nr_locks());
	raise(SIGUSR1);
	CHECK(count_locks(false) == nr_locks());
}

/* Returns into the outer fork() in its child, too. */
static void fork_and_return(int sig)
{
	pid_t pid = fork();

	(void)sig;
	if (!pid) {
		alarm(20);
		forks = -1;
		return;
	}
	wait_for(pid);
}

static void in_forks_handlers(void)
{
	pid_t pid;

	when_taken = fork_within_fork;
	use_heap();
	signal(SIGUSR1, fork_and_return);
	pid = fork();
	if (!pid)
		alarm(20);
	use_heap();
	if (!pid)
		_exit(0);
	wait_for(pid);
	CHECK(nested);
	if (forks < 0)
		_exit(0);
}

static void in_forks_handlers_threaded(void)
{
	pthread_t thread;

	CHECK(!pthread_create(&thread, NULL, churn, NULL));
	in_forks_handlers();
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	CHECK(!pthread_join(thread, NULL));
	CHECK(!count_locks(true));
}

static sem_t filled, may_end;

static void *fill_and_end(void *arg)
{
	pw_free(pw_malloc(64));
	sem_post(&filled);
	sem_wait(&may_end);
	return arg;
}

/* And in what takes their place, hardened. */
static size_t bytes_in_fastbins(void)
{
	struct magazine *m;
	size_t bytes = 0;
	unsigned int c;

	for (c = 1; c < NR_CLASSES; c++) {
		bytes += pw_fastbins[c].nr_blocks * class_size(c);
		for (m = pw_depots[c].full; m; m = m->next)
			bytes += m->nr * class_size(c);
	}
	return bytes;
}

/* Until it waits for the lock of a fast bin. */
static void let_it_end(void)
{
	sem_post(&may_end);
	usleep(300 * 1000);
}

/* What a thread was about to put into a fast bin never comes to be there. */
static void count_of_fastbins(void)
{
	pthread_t thread;
	pid_t pid;

	CHECK(!pthread_create(&thread, NULL, fill_and_end, NULL));
	sem_wait(&filled);
	when_taken = let_it_end;
	pid = fork();
	if (!pid) {
		CHECK(pw_fastbin_bytes == bytes_in_fastbins());
		_exit(0);
	}
	wait_for(pid);
	CHECK(!pthread_join(thread, NULL));
	CHECK(bytes_in_fastbins() && pw_fastbin_bytes == bytes_in_fastbins());
}

static void count_of_depots(void)
{
	harden();
	count_of_fastbins();
}

#ifdef __x86_64__
extern const char __executable_start[], etext[];

#define STRIDE	101

/* Not inside libc: it has locks of its own in fork(). */
static void fork_at_some_steps(int sig, siginfo_t *si, void *context)
{
	mcontext_t *at = &((ucontext_t *)context)->uc_mcontext;
	uintptr_t ip = (uintptr_t)at->gregs[REG_RIP];

	(void)si;
	if (ip < (uintptr_t)__executable_start || ip >= (uintptr_t)etext || steps++ % STRIDE)
		return;
	nested = true;
	fork_and_return(sig);
	nested = false;
	if (forks < 0)
		at->gregs[REG_EFL] &= ~(greg_t)TRAP_FLAG;
}

static void step_on(void)
{
	if (!nested && forks >= 0)
		step(true);
}

static void step_off(void)
{
	step(false);
}

static void all_are_held(void)
{
	step(false);
	CHECK(count_locks(false) == nr_locks());
}

/* At moments all over our handlers, before fork() and in the parent, the same for each run. */
static void at_steps_of_fork(void)
{
	struct sigaction sa = { .sa_sigaction = fork_at_some_steps, .sa_flags = SA_SIGINFO };
	int status;
	pid_t pid;

	use_heap();
	when_taken = all_are_held;
	when_forked = step_on;
	CHECK(!pthread_atfork(step_on, step_off, NULL));
	sigaction(SIGTRAP, &sa, NULL);
	alarm(60);
	pid = fork();
	CHECK(!count_locks(true));
	use_heap();
	if (!pid)
		_exit(0);
	if (forks < 0) {
		/* Or a sister's, where fork() had been called already. */
		CHECK(waitpid(pid, &status, 0) != pid || !status);
		_exit(0);
	}
	wait_for(pid);
	printf("# %u steps\n", steps);
	CHECK(steps > 20 * STRIDE);
}

static void at_steps_of_fork_threaded(void)
{
	pthread_t thread;

	CHECK(!pthread_create(&thread, NULL, sleeper, NULL));
	at_steps_of_fork();
}
#endif

static void grandchildren(void)
{
	pid_t pid = fork();

	if (!pid) {
		fork_children(5);
		_exit(0);
	}
	wait_for(pid);
}

int main(void)
{
	static const struct test tests[] = {
		{ "fork while threads allocate", while_threads_allocate },
		{ "fork with handlers that allocate", with_other_handlers },
		{ "fork from a signal handler in malloc", from_a_signal_handler },
		{ "the same while another thread forks", two_at_once },
#ifdef __x86_64__
		{ "fork after every instruction of a lock", at_every_instruction },
		{ "the same with another thread", at_every_instruction_threaded },
		{ "fork at many moments of a fork", at_steps_of_fork },
		{ "the same with another thread", at_steps_of_fork_threaded },
#endif
		{ "fork from a signal handler in a handler of fork", in_forks_handlers },
		{ "the same with a thread that allocates", in_forks_handlers_threaded },
		{ "children of children", grandchildren },
		{ "fast bins that a thread was about to fill", count_of_fastbins },
		{ "the same, hardened", count_of_depots },
	};

	return run_tests(tests, ARRAY_SIZE(tests));
}
