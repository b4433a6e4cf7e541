// SPDX-License-Identifier: GPL-2.0-only
/*
 * vm-init.c - process 1 of the machine that scripts/vm boots
 *
 * It loads the modules it needs, puts a tmpfs overlay on the host's root
 * (shared read-only over 9p), loads our module, runs one command there and
 * carries its three streams over virtio-serial ports. A fourth port is the
 * control channel. From the host: one job when it starts (see read_job()), then
 * "winsize ROWS COLS\n" lines. To the host:
 *
 *	start\n			the command runs
 *	error TEXT\n		it cannot be run; nothing follows
 *	exit CODE OUT ERR\n	it ended, after that many bytes on each stream
 *
 * When the kernel prints a report it does so on the console, which the host
 * reads; a line there marks the end of what belongs to the command.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <linux/reboot.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PORT_IN = 1, PORT_OUT, PORT_ERR, PORT_CONTROL };

#define END_MARK "pagewell-vm: end\n"

struct job {
	char *cwd;
	char *module;		/* path of pagewell.ko, empty: none */
	char *params;		/* its parameters */
	char *own_modules;	/* the kernel's own, on the host */
	char *hostname;
	char *seed;		/* hexadecimal, for the random number generator */
	char *rows, *cols;	/* of the terminal, empty: pipes, not a terminal */
	char **argv;
	char **envp;
};

/* One direction of one stream: bytes read from one end, written to the other. */
struct stream {
	int from, to;		/* -1: closed */
	size_t start, end;
	unsigned long long total;	/* written */
	char buf[65536];
};

static int control = -1;
static struct stream in, out, err;

static void say(const char *fmt, ...)
{
	char line[512];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (n >= (int)sizeof(line))
		n = sizeof(line) - 1;
	if (write(control >= 0 ? control : STDERR_FILENO, line, n) != n)
		_exit(1);
}

static void power_off(void)
{
	/* The host ends the machine as soon as it has the message. */
	sleep(20);
	reboot(LINUX_REBOOT_CMD_RESTART);
	for (;;)
		pause();
}

static void fail(const char *what, const char *name)
{
	say("error %s %s: %s\n", what, name, strerror(errno));
	power_off();
}

static void mount_at(const char *type, const char *dir, unsigned long flags,
		     const char *options)
{
	mkdir(dir, 0755);
	if (mount(type, dir, type, flags, options))
		fail("cannot mount", dir);
}

/* Nice to have: not every kernel has it. */
static void try_mount(const char *type, const char *dir)
{
	mkdir(dir, 0755);
	mount(type, dir, type, 0, NULL);
}

static int load_module(const char *path, const char *params)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int ret;

	if (fd < 0)
		return -1;
	ret = syscall(SYS_finit_module, fd, params, 0);
	close(fd);
	return ret;
}

static void load_boot_modules(void)
{
	FILE *list = fopen("/modules.list", "re");
	char path[256];

	if (!list)
		fail("cannot read", "/modules.list");
	while (fgets(path, sizeof(path), list)) {
		path[strcspn(path, "\n")] = '\0';
		if (load_module(path, "") && errno != EEXIST)
			fail("cannot load", path);
	}
	fclose(list);
}

/* The kernel finds ports one after the other, in the background. */
static int open_port(int nr, int flags)
{
	char path[32];
	int fd, tries;

	snprintf(path, sizeof(path), "/dev/vport0p%d", nr);
	for (tries = 0; tries < 20000; tries++) {
		fd = open(path, flags | O_CLOEXEC);
		if (fd >= 0)
			return fd;
		usleep(1000);
	}
	fail("cannot open", path);
	return -1;
}

static void read_all(int fd, char *buf, size_t len)
{
	while (len) {
		ssize_t n = read(fd, buf, len);

		if (n <= 0)
			fail("cannot read", "the job");
		buf += n;
		len -= n;
	}
}

static char *next_string(char **p)
{
	char *s = *p;

	*p += strlen(s) + 1;
	return s;
}

static char **next_list(char **p)
{
	int i, n = atoi(next_string(p));
	char **list = calloc(n + 1, sizeof(*list));

	if (!list)
		fail("no memory for", "the job");
	for (i = 0; i < n; i++)
		list[i] = next_string(p);
	return list;
}

/* Eight hexadecimal digits of length, then strings, each ended by a NUL. */
static void read_job(struct job *job)
{
	char digits[9] = "";
	size_t len;
	char *p;

	read_all(control, digits, 8);
	len = strtoul(digits, NULL, 16);
	p = calloc(1, len + 1);
	if (!p)
		fail("no memory for", "the job");
	read_all(control, p, len);

	job->cwd = next_string(&p);
	job->module = next_string(&p);
	job->params = next_string(&p);
	job->own_modules = next_string(&p);
	job->hostname = next_string(&p);
	job->seed = next_string(&p);
	job->rows = next_string(&p);
	job->cols = next_string(&p);
	job->argv = next_list(&p);
	job->envp = next_list(&p);
}

static void mount_root(void)
{
	mount_at("9p", "/lower", MS_RDONLY,
		 "trans=virtio,version=9p2000.L,msize=512000,cache=loose");
	mount_at("tmpfs", "/upper", 0, "mode=0755");
	mkdir("/upper/data", 0755);
	mkdir("/upper/work", 0755);
	mkdir("/root", 0755);
	if (mount("overlay", "/root", "overlay", 0,
		  "lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work"))
		fail("cannot mount", "the overlay");
	if (chdir("/root") || mount(".", "/", NULL, MS_MOVE, NULL) ||
	    chroot(".") || chdir("/"))
		fail("cannot enter", "the overlay");
}

static void mount_system(void)
{
	mount_at("proc", "/proc", 0, NULL);
	mount_at("sysfs", "/sys", 0, NULL);
	mount_at("devtmpfs", "/dev", 0, NULL);
	mount_at("devpts", "/dev/pts", 0, "gid=5,mode=620,ptmxmode=666");
	mount_at("tmpfs", "/dev/shm", 0, "mode=1777");
	try_mount("mqueue", "/dev/mqueue");
	try_mount("debugfs", "/sys/kernel/debug");
	try_mount("tracefs", "/sys/kernel/tracing");
	try_mount("cgroup2", "/sys/fs/cgroup");
	symlink("/proc/self/fd", "/dev/fd");
	symlink("/proc/self/fd/0", "/dev/stdin");
	symlink("/proc/self/fd/1", "/dev/stdout");
	symlink("/proc/self/fd/2", "/dev/stderr");
}

static void bind_own_modules(const char *from)
{
	char dir[256], release[128] = "";
	FILE *f = fopen("/proc/sys/kernel/osrelease", "re");

	if (!f || !fgets(release, sizeof(release), f))
		fail("cannot read", "the kernel release");
	fclose(f);
	release[strcspn(release, "\n")] = '\0';
	mkdir("/lib/modules", 0755);
	snprintf(dir, sizeof(dir), "/lib/modules/%s", release);
	mkdir(dir, 0755);
	if (mount(from, dir, NULL, MS_BIND, NULL))
		fail("cannot bind", dir);
}

static void loopback_up(void)
{
	struct ifreq ifr = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &ifr))
		fail("cannot bring up", "lo");
	close(fd);
}

static void seed_random(const char *hex)
{
	struct {
		struct rand_pool_info info;
		__u32 words[8];
	} pool = { .info = { .entropy_count = 256, .buf_size = 32 } };
	int fd = open("/dev/random", O_RDWR | O_CLOEXEC);
	int i;

	for (i = 0; i < 8; i++)
		sscanf(hex + 8 * i, "%8x", &pool.words[i]);
	if (fd >= 0) {
		ioctl(fd, RNDADDENTROPY, &pool);
		close(fd);
	}
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, text, strlen(text)) < 0)
		dprintf(STDERR_FILENO, "cannot write %s\n", path);
	close(fd);
}

static void set_winsize(int fd, const char *rows, const char *cols)
{
	struct winsize size = { .ws_row = atoi(rows), .ws_col = atoi(cols) };

	ioctl(fd, TIOCSWINSZ, &size);
}

/*
 * Where the emulator runs each processor in a thread, the kernel has booted with one (see
 * kernel_line() in vm): the others begin when it no longer patches itself. Elsewhere all of
 * them are here already, and nothing happens.
 */
static void start_processors(void)
{
	char path[64];
	int nr, fd;

	for (nr = 1; ; nr++) {
		snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/online", nr);
		fd = open(path, O_WRONLY | O_CLOEXEC);
		if (fd < 0)
			return;
		if (write(fd, "1", 1) != 1)
			fail("cannot write", path);
		close(fd);
	}
}

/* The limits of a login on Debian, rather than those of process 1. */
static void set_limits(void)
{
	struct rlimit nofile = { 1024, 1048576 };

	setrlimit(RLIMIT_NOFILE, &nofile);
}

static void child(const struct job *job, int fd0, int fd1, int fd2)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	setsid();
	if (*job->rows)
		ioctl(fd0, TIOCSCTTY, 0);
	/* 0 to 2 are open in process 1: no descriptor here is below 3. */
	dup2(fd0, 0);
	dup2(fd1, 1);
	dup2(fd2, 2);
	set_limits();
	if (chdir(job->cwd)) {
		dprintf(2, "vm: cannot enter %s: %s\n", job->cwd, strerror(errno));
		_exit(126);
	}
	environ = job->envp;
	execvp(job->argv[0], job->argv);
	dprintf(2, "vm: cannot run %s: %s\n", job->argv[0], strerror(errno));
	_exit(errno == ENOENT ? 127 : 126);
}

static void make_pipe(int fd[2])
{
	if (pipe2(fd, O_CLOEXEC))
		fail("cannot make", "a pipe");
}

static void set_nonblock(int fd)
{
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

static pid_t start(const struct job *job)
{
	int i[2], o[2], e[2];
	pid_t pid;

	if (*job->rows) {
		int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
		int slave;

		if (master < 0 || grantpt(master) || unlockpt(master))
			fail("cannot open", "a terminal");
		set_winsize(master, job->rows, job->cols);
		slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
		i[1] = master;
		o[0] = dup(master);
		e[0] = -1;
		i[0] = o[1] = e[1] = slave;
	} else {
		make_pipe(i);
		make_pipe(o);
		make_pipe(e);
	}

	pid = fork();
	if (pid < 0)
		fail("cannot", "fork");
	if (!pid)
		child(job, i[0], o[1], e[1]);
	close(i[0]);
	close(o[1]);
	if (e[1] != o[1])
		close(e[1]);
	in.to = i[1];
	out.from = o[0];
	err.from = e[0];
	set_nonblock(in.to);
	set_nonblock(out.from);
	if (err.from >= 0)
		set_nonblock(err.from);
	return pid;
}

static void close_end(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* Moves what can be moved without waiting. */
static void pump(struct stream *s)
{
	ssize_t n;

	if (s->from >= 0 && s->start == s->end) {
		s->start = 0;
		s->end = 0;
		n = read(s->from, s->buf, sizeof(s->buf));
		if (n > 0)
			s->end = n;
		else if (n == 0 || (errno != EAGAIN && errno != EINTR))
			close_end(&s->from);
	}
	if (s->to >= 0 && s->start < s->end) {
		n = write(s->to, s->buf + s->start, s->end - s->start);
		if (n > 0) {
			s->start += n;
			s->total += n;
		} else if (n < 0 && errno != EAGAIN && errno != EINTR) {
			close_end(&s->to);
			close_end(&s->from);
		}
	}
	if (s->from < 0 && s->start == s->end && s == &in)
		close_end(&s->to);
}

/* Waits for the side that the stream is stuck on. */
static void poll_stream(const struct stream *s, struct pollfd *p)
{
	bool full = s->start < s->end;

	p->fd = full ? s->to : s->from;
	p->events = full ? POLLOUT : POLLIN;
	p->revents = 0;
}

static void read_control(int tty)
{
	char line[64], rows[16], cols[16];
	ssize_t n = read(control, line, sizeof(line) - 1);

	if (n <= 0)
		return;
	line[n] = '\0';
	if (tty >= 0 && sscanf(line, "winsize %15s %15s", rows, cols) == 2)
		set_winsize(tty, rows, cols);
}

/* Reaps all that died; true when the command is among them. */
static bool reap(pid_t pid, int *status)
{
	bool ended = false;
	pid_t dead;
	int st;

	while ((dead = waitpid(-1, &st, WNOHANG)) > 0) {
		if (dead == pid) {
			*status = st;
			ended = true;
		}
	}
	return ended;
}

static int run(const struct job *job, int sigfd)
{
	pid_t pid = start(job);
	bool ended = false;
	int status = 0;

	say("start\n");
	set_nonblock(control);
	/* After the end only output counts, up to its end. */
	while (!ended || out.from >= 0 || err.from >= 0 ||
	       out.start < out.end || err.start < err.end) {
		struct pollfd p[5] = {
			[3] = { .fd = sigfd, .events = POLLIN },
			[4] = { .fd = ended ? -1 : control, .events = POLLIN },
		};
		struct signalfd_siginfo info;

		poll_stream(&in, &p[0]);
		poll_stream(&out, &p[1]);
		poll_stream(&err, &p[2]);
		if (ended)
			p[0].fd = -1;
		poll(p, 5, -1);
		if (p[0].revents)
			pump(&in);
		if (p[1].revents)
			pump(&out);
		if (p[2].revents)
			pump(&err);
		if (p[4].revents & POLLIN)
			read_control(*job->rows ? in.to : -1);
		if (p[3].revents && read(sigfd, &info, sizeof(info)) > 0 &&
		    reap(pid, &status)) {
			ended = true;
			close_end(&in.to);
			kill(-1, SIGKILL);
		}
	}
	while (waitpid(-1, NULL, 0) > 0)
		;
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* Not dprintf(): it seeks, which /dev/kmsg refuses. */
static void log_line(int kmsg, const char *text)
{
	char line[300];
	int n = snprintf(line, sizeof(line), "<4>%s", text);

	if (write(kmsg, line, n) != n)
		say("error cannot write to the kernel's log: %s\n", strerror(errno));
}

/* Leaks found by the kernel go to its log, where the host looks for reports. */
static void report_leaks(int kmsg)
{
	static const char path[] = "/sys/kernel/debug/kmemleak";
	char line[256];
	FILE *f;

	if (access(path, W_OK))
		return;
	/* It wants to see an object lost for five seconds, and twice. */
	sleep(6);
	write_file(path, "scan");
	write_file(path, "scan");
	f = fopen(path, "re");
	if (!f)
		return;
	for (int first = 1; fgets(line, sizeof(line), f); first = 0) {
		if (first)
			log_line(kmsg, "kmemleak: leaked objects:\n");
		log_line(kmsg, line);
	}
	fclose(f);
}

int main(void)
{
	struct job job = { 0 };
	sigset_t child_mask;
	int sigfd, kmsg, code;

	mount_at("devtmpfs", "/dev", 0, NULL);
	load_boot_modules();
	control = open_port(PORT_CONTROL, O_RDWR);
	in.from = open_port(PORT_IN, O_RDONLY | O_NONBLOCK);
	out.to = open_port(PORT_OUT, O_WRONLY | O_NONBLOCK);
	err.to = open_port(PORT_ERR, O_WRONLY | O_NONBLOCK);
	read_job(&job);
	mount_root();
	mount_system();
	bind_own_modules(job.own_modules);
	sethostname(job.hostname, strlen(job.hostname));
	seed_random(job.seed);
	loopback_up();
	kmsg = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	write_file("/sys/kernel/debug/kmemleak", "clear");
	start_processors();
	if (*job.module && load_module(job.module, job.params))
		fail("cannot load", job.module);

	sigemptyset(&child_mask);
	sigaddset(&child_mask, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child_mask, NULL);
	signal(SIGPIPE, SIG_IGN);
	sigfd = signalfd(-1, &child_mask, SFD_CLOEXEC);
	code = run(&job, sigfd);
	report_leaks(kmsg);
	log_line(kmsg, END_MARK);
	fcntl(control, F_SETFL, fcntl(control, F_GETFL) & ~O_NONBLOCK);
	say("exit %d %llu %llu\n", code, out.total, err.total);
	power_off();
	return 0;
}
