#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# malloc_link.sh - every way to have the library in a program
#
# Preloaded, linked with pkg-config's words, linked statically, loaded by
# dlopen(); operator new and delete of C++ in all their forms. TAP.
set -u
cd "$(dirname "$0")/../.." || exit 1

root=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PAGEWELL_BACKEND=anon

mkdir -p "$work/prefix/lib/pkgconfig" "$work/prefix/include"
cp build/libpagewell.a userlib/pagewell.h "$work/prefix/include/"
mv "$work/prefix/include/libpagewell.a" "$work/prefix/lib/"
cp build/libpagewell.so "$work/prefix/lib/libpagewell.so.1"
ln -s libpagewell.so.1 "$work/prefix/lib/libpagewell.so"
sed "s|^prefix=.*|prefix=$work/prefix|" build/libpagewell.pc >"$work/prefix/lib/pkgconfig/pagewell.pc"
export PKG_CONFIG_PATH=$work/prefix/lib/pkgconfig LD_LIBRARY_PATH=$work/prefix/lib

cat >"$work/use.c" <<'END'
#include <malloc.h>
#include <pagewell.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *thread(void *arg)
{
	void *p[100];
	int i;

	for (i = 0; i < 100; i++)
		p[i] = calloc(1, i * 100);
	for (i = 0; i < 100; i++)
		free(p[i]);
	return arg;
}

int main(void)
{
	pagewell_heap_t *h = pagewell_heap_create(0);
	struct pagewell_stats before, after;
	pthread_t t;
	char *p;

	pagewell_get_stats(&before, sizeof(before));
	p = strdup("a block of libc's goes through us");
	p = realloc(p, 100000);
	pagewell_get_stats(&after, sizeof(after));
	if (after.in_use < before.in_use + 100000)
		return 1;
	free(p);
	pthread_create(&t, NULL, thread, NULL);
	pthread_join(t, NULL);
	p = pagewell_heap_alloc(h, 100);
	pagewell_heap_destroy(h);
	puts(p ? "used" : "not used");
	return 0;
}
END

cat >"$work/load.c" <<'END'
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static pthread_barrier_t used, closed;

static void *use(void *get)
{
	((void *(*)(size_t))get)(100);
	pthread_barrier_wait(&used);
	pthread_barrier_wait(&closed);
	return NULL;
}

int main(int argc, char **argv)
{
	void *lib = dlopen(argv[1], RTLD_NOW), *p;
	void *(*get)(size_t) = lib ? dlsym(lib, "malloc") : NULL;
	void (*put)(void *) = lib ? dlsym(lib, "free") : NULL;
	pthread_t thread;

	if (argc < 2 || !get || !put) {
		puts(dlerror());
		return 1;
	}
	p = get(1000);
	memset(p, 1, 1000);
	put(p);
	/* A thread that used it ends when it is closed. */
	pthread_barrier_init(&closed, NULL, 2);
	pthread_barrier_init(&used, NULL, 2);
	pthread_create(&thread, NULL, use, get);
	pthread_barrier_wait(&used);
	dlclose(lib);
	pthread_barrier_wait(&closed);
	pthread_join(thread, NULL);
	puts("loaded");
	return 0;
}
END

cat >"$work/ops.cc" <<'END'
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <initializer_list>
#include <malloc.h>
#include <new>
#include <pagewell.h>
#include <pthread.h>

static int failures, calls;

static void check(bool good, const char *what)
{
	if (!good) {
		std::printf("wrong: %s\n", what);
		failures++;
	}
}

static std::size_t in_use()
{
	pagewell_stats s;

	pagewell_get_stats(&s, sizeof(s));
	return s.in_use;
}

template <typename F> static bool throws(F f)
{
	try {
		return !f();
	} catch (const std::bad_alloc &) {
		return true;
	}
}

static void handler()
{
	if (++calls == 3)
		std::set_new_handler(nullptr);
}

struct unwound {
	bool *gone;
	~unwound() { *gone = true; }
};

static bool gone;

static void throwing()
{
	unwound mark = { &gone };

	calls++;
	throw std::bad_alloc();
}

static void throwing_other()
{
	throw 5;
}

/* Null, the handler's frame unwound, nothing in flight afterwards. */
template <typename F> static bool caught(F f, std::new_handler h)
{
	calls = 0;
	gone = false;
	std::set_new_handler(h);
	try {
		return !f() && (h != throwing || (calls == 1 && gone)) &&
		       !std::uncaught_exceptions() && !std::current_exception();
	} catch (...) {
		return false;
	}
}

static void thrower()
{
	throw std::bad_alloc();
}

static bool within_handler(std::size_t huge)
{
	std::set_new_handler(thrower);
	try {
		throw 1;
	} catch (int i) {
		return !::operator new(huge, std::nothrow) && i == 1 && std::current_exception();
	}
}

static void *cancelled(void *arg)
{
	std::set_new_handler([] { pthread_exit(&gone); });
	return ::operator new(*(volatile std::size_t *)arg, std::nothrow);
}

int main()
{
	/* Not a constant: compilers know what cannot work. */
	volatile std::size_t huge = SIZE_MAX / 2 - 4096;
	const auto wide = std::align_val_t(256);
	std::size_t before;
	void *p;

	p = ::operator new(100);
	::operator delete(p);
	before = in_use();
#define FORM(get, put) do {					\
	p = get;						\
	check(p && in_use() > before, #get);			\
	put;							\
	check(in_use() == before, #put);			\
} while (0)
#define WIDE(get, put) FORM(get, (check(!((std::uintptr_t)p & 255), "alignment"), put))
	FORM(::operator new(100), ::operator delete(p));
	FORM(::operator new(100), ::operator delete(p, std::size_t(100)));
	FORM(::operator new(100, std::nothrow), ::operator delete(p, std::nothrow));
	FORM(::operator new[](100), ::operator delete[](p));
	FORM(::operator new[](100), ::operator delete[](p, std::size_t(100)));
	FORM(::operator new[](100, std::nothrow), ::operator delete[](p, std::nothrow));
	WIDE(::operator new(100, wide), ::operator delete(p, wide));
	WIDE(::operator new(100, wide), ::operator delete(p, std::size_t(100), wide));
	WIDE(::operator new(100, wide, std::nothrow), ::operator delete(p, wide, std::nothrow));
	WIDE(::operator new[](100, wide), ::operator delete[](p, wide));
	WIDE(::operator new[](100, wide), ::operator delete[](p, std::size_t(100), wide));
	WIDE(::operator new[](100, wide, std::nothrow), ::operator delete[](p, wide, std::nothrow));
	::operator delete(nullptr);
	::operator delete[](nullptr, wide);

	check(throws([&] { return ::operator new(huge); }), "new throws");
	check(throws([&] { return ::operator new[](huge); }), "new[] throws");
	check(throws([&] { return ::operator new(huge, wide); }), "aligned new throws");
	check(throws([&] { return ::operator new[](huge, wide); }), "aligned new[] throws");
	for (std::size_t align : { 0, 24, 4097 }) {
		const auto no_power = std::align_val_t(align);

		check(throws([&] { return ::operator new(40, no_power); }), "an alignment that is none");
		check(!::operator new[](40, no_power, std::nothrow), "the same without exceptions");
	}
	check(!::operator new(huge, std::nothrow), "nothrow new returns null");
	check(!::operator new[](huge, std::nothrow), "nothrow new[] returns null");
	check(!::operator new(huge, wide, std::nothrow), "aligned nothrow new returns null");
	check(!::operator new[](huge, wide, std::nothrow), "aligned nothrow new[] returns null");
	std::set_new_handler(handler);
	check(throws([&] { return ::operator new(huge); }) && calls == 3, "the handler is called again and again");
	check(caught([&] { return ::operator new(huge, std::nothrow); }, throwing), "nothrow new catches");
	check(caught([&] { return ::operator new[](huge, std::nothrow); }, throwing), "nothrow new[] catches");
	check(caught([&] { return ::operator new(huge, wide, std::nothrow); }, throwing),
	      "aligned nothrow new catches");
	check(caught([&] { return ::operator new[](huge, wide, std::nothrow); }, throwing),
	      "aligned nothrow new[] catches");
	check(caught([&] { return ::operator new(huge, std::nothrow); }, throwing_other),
	      "nothrow new catches an int");
	check(within_handler(huge), "nothrow new in a catch block");
	check(throws([&] { return ::operator new(huge); }), "a handler's exception leaves new");

	pthread_t thread;

	pthread_create(&thread, nullptr, cancelled, (void *)&huge);
	pthread_join(thread, &p);
	check(p == &gone, "a handler may end the thread");
	if (!failures)
		std::puts("all forms");
	return failures;
}
END

# It replaces the two basic forms, or four with -DALIGNED: all others come to these.
cat >"$work/replace.cc" <<'END'
#include <cstdio>
#include <cstdlib>
#include <new>

static char memory[1 << 16];
static std::size_t at;
static int news, deletes, aligned_news, aligned_deletes;
static bool full;

static void *from_memory(std::size_t size)
{
	void *p = memory + at;

	if (full)
		throw std::bad_alloc();
	at += (size + 63) / 64 * 64;
	return p;
}

void *operator new(std::size_t size)
{
	news++;
	return from_memory(size);
}

void operator delete(void *) noexcept
{
	deletes++;
}

#ifdef ALIGNED
void *operator new(std::size_t size, std::align_val_t)
{
	aligned_news++;
	return from_memory(size);
}

void operator delete(void *, std::align_val_t) noexcept
{
	aligned_deletes++;
}
#endif

/* Before main(), and before any constructor of ours if it is linked so. */
static void *early = ::operator new[](10);

int main()
{
	const auto wide = std::align_val_t(64);
	const auto none = std::nothrow;

	::operator delete[](early);
	::operator delete(::operator new(10), std::size_t(10));
	::operator delete(::operator new(10, none), none);
	::operator delete[](::operator new[](10), std::size_t(10));
	::operator delete[](::operator new[](10, none), none);
	::operator delete(::operator new(10, wide), wide);
	::operator delete(::operator new(10, wide), std::size_t(10), wide);
	::operator delete(::operator new(10, wide, none), wide, none);
	::operator delete[](::operator new[](10, wide), wide);
	::operator delete[](::operator new[](10, wide), std::size_t(10), wide);
	::operator delete[](::operator new[](10, wide, none), wide, none);
	if (news != 5 || deletes != 5) {
		std::printf("%d new, %d delete\n", news, deletes);
		return 1;
	}
	full = true;
	if (::operator new(10, none) || ::operator new[](10, none) || news != 7)
		return 2;
#ifdef ALIGNED
	if (aligned_news != 6 || aligned_deletes != 6 || ::operator new(10, wide, none) ||
	    ::operator new[](10, wide, none) || aligned_news != 8) {
		std::printf("aligned: %d new, %d delete\n", aligned_news, aligned_deletes);
		return 3;
	}
#endif
	std::puts("replaced");
	return 0;
}
END

# A plugin that alone has a C++ runtime: no name of that is in the global scope.
cat >"$work/plugin.cc" <<'END'
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <sys/resource.h>

static int calls;

static void handler()
{
	if (++calls == 3)
		std::set_new_handler(nullptr);
}

static void throwing()
{
	calls++;
	throw 5;
}

static bool throws(std::size_t size)
{
	try {
		return !::operator new(size);
	} catch (const std::bad_alloc &) {
		return true;
	}
}

/* The first failure of all, with nothing left that a look-up might take. */
static bool throws_in_the_end()
{
	struct rlimit limit = { 1 << 28, 1 << 28 };
	std::size_t size;

	setrlimit(RLIMIT_AS, &limit);
	for (size = 10000; size; size--)
		while (std::malloc(size))
			;
	return throws(10000) && throws(100) && throws(1);
}

extern "C" const char *try_new()
{
	volatile std::size_t huge = SIZE_MAX / 2 - 4096;

	/* The loader gives the runtime its thread-local memory at the first throw. */
	try {
		throw 1;
	} catch (int) {
	}
	if (!throws_in_the_end())
		return "new does not throw";
	std::set_new_handler(handler);
	if (!throws(huge) || calls != 3)
		return "the handler is not called";
	std::set_new_handler(throwing);
	if (::operator new(huge, std::nothrow) || calls != 4)
		return "nothrow new does not catch";
	return "caught";
}
END

cat >"$work/host.c" <<'END'
#include <dlfcn.h>
#include <unistd.h>
#include <string.h>

int main(int argc, char **argv)
{
	void *plugin = dlopen(argv[1], RTLD_NOW);
	const char *(*try_new)(void) = plugin ? dlsym(plugin, "try_new") : NULL;
	const char *said = try_new ? try_new() : dlerror();

	/* All memory may be in use. */
	return write(1, said, strlen(said)) < 0 || write(1, "\n", 1) != 1 || argc != 2;
}
END

# A library's constructor may come before ours; whatever it calls is the first call.
cat >"$work/early.c" <<'END'
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void *first(char call)
{
	void *p = NULL;

	switch (call) {
	case 'm':
		return malloc(552);
	case 'c':
		return calloc(1, 552);
	case 'r':
		return realloc(NULL, 552);
	case 'a':
		return aligned_alloc(512, 552);
	case 'p':
		return posix_memalign(&p, 512, 552) ? NULL : p;
	case 'l':
		return malloc(300000);
	}
	return NULL;
}

__attribute__((constructor)) static void early(void)
{
	const char *call = getenv("FIRST");
	char *p = first(*call);

	if (!p || malloc_usable_size(p) < 552 || (strchr("ap", *call) && (uintptr_t)p % 512))
		abort();
	memset(p, 1, 552);
	p = realloc(p, 1000);
	free(p);
}
END

# Its malloc() is its own, and gets its memory from the library; it forks all the while.
cat >"$work/own.c" <<'END'
#include <pagewell.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static char memory[1 << 24];
static size_t used;

void *malloc(size_t size)
{
	return memory + __atomic_fetch_add(&used, (size + 31) / 16 * 16, __ATOMIC_RELAXED);
}

void *calloc(size_t n, size_t each)
{
	return malloc(n * each);
}

void free(void *p)
{
	(void)p;
}

static void *map_and_unmap(void *arg)
{
	for (;;)
		pagewell_unmap(pagewell_map(1 << 20, 0, 0));
	return arg;
}

int main(void)
{
	pthread_t thread;
	int i, status;

	pthread_create(&thread, NULL, map_and_unmap, NULL);
	for (i = 0; i < 300; i++) {
		pid_t pid = fork();

		if (!pid) {
			alarm(5);
			pagewell_unmap(pagewell_map(1 << 20, 0, 0));
			_exit(0);
		}
		if (waitpid(pid, &status, 0) != pid || status)
			return 1;
	}
	dprintf(1, "forked\n");
	_exit(0);
}
END

# It counts calls of malloc() and free(), and leaves the other functions alone.
cat >"$work/wrap.c" <<'END'
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern void *__libc_malloc(size_t size);
extern void *__libc_realloc(void *p, size_t size);
extern void __libc_free(void *p);
extern int __libc_mallopt(int param, int value);
extern struct mallinfo __libc_mallinfo(void);

static int taken, freed;

void *malloc(size_t size)
{
	taken++;
	return __libc_malloc(size);
}

void free(void *p)
{
	freed++;
	__libc_free(p);
}

int main(void)
{
	void *p[6] = { malloc(100), calloc(1, 100), aligned_alloc(64, 128), strdup("libc's"),
		       realloc(malloc(100), 100000), __libc_realloc(malloc(100), 100000) };
	int i, before = freed;
	struct mallinfo seen;

	if (taken != 4)
		return 1;
	for (i = 0; i < 6; i++)
		free(p[i]);
	/* What it tunes and sees is the heap that it uses. */
	seen = __libc_mallinfo();
	if (!__libc_mallopt(M_MMAP_MAX, 0))
		return 2;
	p[0] = malloc(4 << 20);
	if (__libc_mallinfo().hblks != seen.hblks ||
	    __libc_mallinfo().uordblks - seen.uordblks < 4 << 20)
		return 3;
	__libc_free(p[0]);
	puts(freed - before == 6 ? "wrapped" : "not wrapped");
	return 0;
}
END

# A library that holds its lock over fork(), as many do, and a thread that allocates with it.
cat >"$work/held.c" <<'END'
#include <pthread.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

void hold(void)
{
	pthread_mutex_lock(&mutex);
}

void let_go(void)
{
	pthread_mutex_unlock(&mutex);
}

__attribute__((constructor)) static void watch_fork(void)
{
	pthread_atfork(hold, let_go, let_go);
}
END
cat >"$work/holds.c" <<'END'
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

void hold(void);
void let_go(void);

static void *churn(void *arg)
{
	for (;;) {
		hold();
		free(malloc(50000000));
		let_go();
	}
	return arg;
}

int main(void)
{
	pthread_t thread;
	int i;

	alarm(20);
	pthread_create(&thread, NULL, churn, NULL);
	for (i = 0; i < 300; i++) {
		pid_t pid = fork();

		if (!pid)
			_exit(0);
		waitpid(pid, NULL, 0);
	}
	puts("forked");
	return 0;
}
END

n=0
failed=0
test_case()
{
	local name=$1 want=$2
	shift 2
	n=$((n + 1))
	if "$@" >"$work/out" 2>&1 && grep -qx "$want" "$work/out"; then
		echo "ok $n $name"
	else
		echo "not ok $n $name"
		sed 's/^/# /' "$work/out" | head -20
		failed=1
	fi
}

with_pkg_config()
{
	# shellcheck disable=SC2046  # words
	cc -pthread -o "$work/use" "$work/use.c" $(pkg-config --cflags --libs pagewell) &&
		ldd "$work/use" | grep -q libpagewell && "$work/use"
}

own_malloc()
{
	# shellcheck disable=SC2046  # words
	cc -O1 -fno-builtin -pthread -o "$work/own" "$work/own.c" $(pkg-config --cflags --libs pagewell) &&
		"$work/own"
}

with_archive()
{
	cc -pthread "-I$work/prefix/include" -o "$work/use-a" "$work/use.c" \
		"$work/prefix/lib/libpagewell.a" && ! ldd "$work/use-a" | grep libpagewell &&
		"$work/use-a" && PAGEWELL_STATS=1 "$work/use-a" 2>&1 >/dev/null |
		grep -q "^pagewell: statistics"
}

# The program calls its own copy; the other one has nothing to say, nor to map.
two_copies()
{
	cc -pthread "-I$work/prefix/include" -o "$work/use-a" "$work/use.c" \
		"$work/prefix/lib/libpagewell.a" &&
		LD_PRELOAD=$root/build/libpagewell.so PAGEWELL_STATS=1 "$work/use-a" 2>&1 |
		grep -c "^pagewell: statistics"
}

# Without a variable that asks for it; one can ask for less. Also where the first call of all
# is that of free().
hardened()
{
	cat >"$work/past.c" <<-'END'
		#include <stdlib.h>
		extern void *pagewell_map(size_t size, size_t align, unsigned int flags)
			__attribute__((weak));
		int main(int argc, char **argv)
		{
			volatile char *p = argc > 1 ? pagewell_map(4096, 0, 0) : malloc(100);

			p[100] = 1;
			free((void *)p);
			return 0;
		}
	END
	cc -O1 -fno-builtin -o "$work/past" "$work/past.c" &&
		make -s -f userlib/build.mk "USERLIB_BUILD=$work/hardened" HARDEN=1 userlib || return 1
	LD_PRELOAD=$work/hardened/libpagewell.so PAGEWELL_HARDEN=0 "$work/past" || return 1
	(LD_PRELOAD=$work/hardened/libpagewell.so exec "$work/past" map) 2>&1 |
		grep -q "^pagewell: free(): invalid pointer" || return 1
	(LD_PRELOAD=$work/hardened/libpagewell.so exec "$work/past") 2>&1 | sed 's/ 0x.*//'
}

# The library, and how it is to be hardened: every kind of first call.
early()
{
	local call

	if [ ! -e "$work/early" ]; then
		cc -O1 -fno-builtin -shared -fPIC -o "$work/libearly.so" "$work/early.c" &&
			echo '#include <stdio.h>
			int main(void) { puts("started"); return 0; }' >"$work/main.c" &&
			cc -o "$work/early" "$work/main.c" -Wl,--no-as-needed "-L$work" -learly \
				"-Wl,-rpath,$work" || return 1
	fi
	for call in m c r a p l; do
		FIRST=$call LD_PRELOAD=$1 PAGEWELL_HARDEN=$2 "$work/early" || return 1
	done
}

held()
{
	cc -shared -fPIC -o "$work/libheld.so" "$work/held.c" &&
		cc -O1 -fno-builtin -pthread -o "$work/holds" "$work/holds.c" "-L$work" -lheld \
			"-Wl,-rpath,$work" && LD_PRELOAD=$root/build/libpagewell.so "$work/holds"
}

wrapped()
{
	cc -O1 -fno-builtin -o "$work/wrap" "$work/wrap.c" && "$work/wrap" &&
		LD_PRELOAD=$root/build/libpagewell.so "$work/wrap" &&
		LD_PRELOAD=$root/build/libpagewell.so PAGEWELL_HARDEN=1 "$work/wrap"
}

# As build/ is after make.
in_place()
{
	cc -o "$work/use-b" -pthread -Iuserlib "$work/use.c" "-L$root/build" -lpagewell &&
		LD_LIBRARY_PATH=$root/build "$work/use-b"
}

all_static()
{
	cc -static -pthread "-I$work/prefix/include" -o "$work/use-s" "$work/use.c" \
		"$work/prefix/lib/libpagewell.a" 2>/dev/null && "$work/use-s"
}

loaded()
{
	cc -o "$work/load" "$work/load.c" && "$work/load" "$work/prefix/lib/libpagewell.so.1"
}

operators()
{
	g++ -std=c++17 "-I$work/prefix/include" -O1 -fno-builtin -o "$work/ops" "$work/ops.cc" \
		"-L$work/prefix/lib" -lpagewell && "$work/ops"
}

operators_archive()
{
	g++ -std=c++17 "-I$work/prefix/include" -O1 -fno-builtin -o "$work/ops-a" "$work/ops.cc" \
		"$work/prefix/lib/libpagewell.a" && "$work/ops-a"
}

# Linked, preloaded, and from the archive, where there must not be two of a kind.
operators_replaced()
{
	local cxx=(g++ -std=c++17 -O1 -fno-builtin -o "$work/replace" "$work/replace.cc") more

	for more in -UALIGNED -DALIGNED; do
		"${cxx[@]}" "$more" "-L$work/prefix/lib" -lpagewell && "$work/replace" &&
			"${cxx[@]}" "$more" "$work/prefix/lib/libpagewell.a" && "$work/replace" &&
			"${cxx[@]}" "$more" &&
			LD_PRELOAD=$root/build/libpagewell.so "$work/replace" || return 1
	done
}

# What is deleted as what it is passes; then a type is deleted as a shorter one.
deleted_sized()
{
	local -x PAGEWELL_HARDEN=1

	local more

	cat >"$work/sized.cc" <<-'END'
		#include <string>
		#include <vector>
		struct small { char bytes[40]; };
		struct large { char bytes[41]; };
		struct alignas(64) lines { char bytes[100]; };
		int main(int argc, char **)
		{
			std::vector<std::string> strings(1000, std::string(100, 'x'));
			strings.resize(10000);
			lines *volatile l = new lines;
			delete l;
			std::string *volatile s = new std::string[7];
			delete[] s;
			large *volatile p = new large;
			if (argc > 1)
				delete reinterpret_cast<small *>(p);
			else
				delete p;
			return 0;
		}
	END
	g++ -w -std=c++17 -O1 -fno-builtin -o "$work/sized" "$work/sized.cc" || return 1
	LD_PRELOAD=$root/build/libpagewell.so "$work/sized" || return 1
	LD_PRELOAD=$root/build/libpagewell.so "$work/sized" wrong 2>&1 | sed 's/ 0x.*//'
}

operators_plugin()
{
	cc -o "$work/host" "$work/host.c" &&
		g++ -std=c++17 -O1 -fno-builtin -shared -fPIC -o "$work/plugin.so" "$work/plugin.cc" &&
		LD_PRELOAD=$root/build/libpagewell.so "$work/host" "$work/plugin.so"
}

# It frees what the program allocated, and the other way round. It is found by the program's
# own path, so the loader must see who has called dlopen().
deep_plugin()
{
	mkdir -p "$work/plugins"
	cc -x c -fno-builtin -shared -fPIC -o "$work/plugins/libdeep.so" - <<-'END' || return 1
		#include <stdlib.h>
		void *swap(void *p)
		{
			free(p);
			return malloc(1000);
		}
	END
	cc -x c -fno-builtin -o "$work/deep" "-Wl,-rpath,\$ORIGIN/plugins" - <<-'END' || return 1
		#define _GNU_SOURCE
		#include <dlfcn.h>
		#include <stdio.h>
		#include <stdlib.h>
		int main(void)
		{
			void *h = dlopen("libdeep.so", RTLD_NOW | RTLD_DEEPBIND);
			void *(*swap)(void *) = h ? (void *(*)(void *))dlsym(h, "swap") : NULL;
			int i;
			if (!swap)
				return puts(dlerror()) < 0;
			for (i = 0; i < 100; i++)
				free(swap(malloc(100 + i * 50)));
			return puts("swapped") < 0;
		}
	END
	LD_PRELOAD=$root/build/libpagewell.so "$work/deep"
}

# The library's header and the device's, in either order, as C and as C++.
headers()
{
	local first second

	for first in module/uapi/pagewell.h userlib/pagewell.h; do
		second=userlib/pagewell.h
		[ $first != $second ] || second=module/uapi/pagewell.h
		printf '#include "%s"\n' "$root/$first" "$root/$second" >"$work/headers.c"
		cat >>"$work/headers.c" <<-'END'
			pagewell_brk_t *of_library;
			struct pagewell_brk of_device = { .size = sizeof(struct pagewell_brk) };
			char complete[sizeof(pagewell_brk_t *) + sizeof(struct pagewell_heap)];
			pagewell_heap_t *heap;
		END
		cc -Wall -Werror -c -o /dev/null "$work/headers.c" &&
			g++ -Wall -Werror -Wno-missing-field-initializers -x c++ -c -o /dev/null \
				"$work/headers.c" || return 1
		# A type of its own, of which nobody has the size.
		echo 'unsigned long size = sizeof(pagewell_brk_t);' >>"$work/headers.c"
		! cc -c -o /dev/null "$work/headers.c" 2>/dev/null || return 1
	done
	echo "both"
}

# The loader's calls come before libc could tell us of a thread's end.
first_ends()
{
	cc -x c -fno-builtin -pthread -o "$work/first" - <<-'END' || return 1
		#include <malloc.h>
		#include <pthread.h>
		#include <stdio.h>
		#include <stdlib.h>
		static pthread_t first;
		static void *other(void *arg)
		{
			pthread_join(first, NULL);
			malloc_info(0, stdout);
			exit(0);
		}
		int main(void)
		{
			pthread_t thread;
			first = pthread_self();
			free(malloc(100));
			pthread_create(&thread, NULL, other, NULL);
			pthread_exit(NULL);
		}
	END
	LD_PRELOAD=$root/build/libpagewell.so "$work/first" | grep -o "tcache. count=.1"
}

# What programs may link against: ours with a version, libc's without.
symbols()
{
	nm -D --defined-only "$root/build/libpagewell.so" | awk '
		$3 ~ /^pagewell_/ && $3 !~ /@@PAGEWELL_1\.0$/ { print "no version: " $3; bad = 1 }
		$3 !~ /^pagewell_/ && $3 ~ /@/ { print "a version: " $3; bad = 1 }
		$3 ~ /^pw_/ { print "internal: " $3; bad = 1 }
		END { if (!bad) print "as they should be" }'
}

# A program with probes of its own, before those of the archive.
probes_of_two()
{
	cat >"$work/own.c" <<-'END'
		#include <stdio.h>
		#include <stdlib.h>
		#include <sys/sdt.h>
		int main(void)
		{
			DTRACE_PROBE(own, begin);
			free(malloc(10));
			return puts("linked") < 0;
		}
	END
	gcc -o "$work/own" "$work/own.c" "$root/build/libpagewell.a" -lpthread && "$work/own"
}

# A program that has the archive may call its own functions what it likes.
symbols_archive()
{
	local libc="malloc|free|calloc|realloc|reallocarray|cfree|memalign|aligned_alloc"

	libc+="|valloc|pvalloc|mallopt|mallinfo"

	nm -g --defined-only "$root/build/libpagewell.a" | awk 'NF == 3 { print $3 }' |
		grep -vE "^(pagewell_.*|_Z.*|_\.stapsdt\.base|(__libc_)?($libc)|posix_memalign|free_(aligned_)?sized)$" |
		grep -vE "^mall(info2|oc_(info|stats|trim|usable_size))$" && return 1
	echo "no others"
}

# Each takes a thousand instructions when a program starts. What programs may replace is one.
looked_up()
{
	readelf -rW "$root/build/libpagewell.so" | awk '/GLOB_DAT|JUMP_SLO/ { print $5 }' |
		grep -E "^(pagewell_.*|str(n?cmp|r?chr|len)|memchr)@" && return 1
	echo "only what must be"
}

# What debuggers and tracers see: a block of 100 bytes, then one too many.
probes()
{
	cc -x c -fno-builtin -o "$work/probed" - <<-'END'
		#include <stdlib.h>
		int main(void)
		{
			void *volatile p = malloc(100);
			volatile size_t most = -1;

			free(p);
			p = malloc(most);
			return p != NULL;
		}
	END
	PAGEWELL_BACKEND=anon gdb -q -batch -ex "set startup-with-shell off" \
		-ex "set environment LD_PRELOAD $root/build/libpagewell.so" \
		-ex "break main" -ex run \
		-ex "break -probe-stap pagewell:refill" \
		-ex "break -probe-stap pagewell:no_memory" -ex continue \
		-ex 'printf "blocks of %d\n", $_probe_arg0' -ex continue "$work/probed" 2>&1 |
		grep -oE "^blocks of 112|no_memory \(\)" | tr '\n' ' '
}

echo "TAP version 13"
echo "1..26"
test_case "linked with what pkg-config says" used with_pkg_config
test_case "linked with what is in build" used in_place
test_case "a hardened build" "pagewell: free(): written past the end of" hardened
test_case "the first call in a constructor" started early "$root/build/libpagewell.so" 0
test_case "the first call in a constructor, hardened" started early "$root/build/libpagewell.so" 1
test_case "the first call in a constructor, a hardened build that is not to be" started \
	early "$work/hardened/libpagewell.so" 0
test_case "fork beside a thread that has another library's lock" forked held
test_case "a program that wraps malloc and free" wrapped wrapped
test_case "a program with a malloc of its own forks" forked own_malloc
test_case "linked with the archive" used with_archive
test_case "preloaded into a program that has its own copy" 1 two_copies
test_case "a static program" used all_static
test_case "loaded by dlopen" loaded loaded
test_case "operator new and delete, shared" "all forms" operators
test_case "operator new and delete, archive" "all forms" operators_archive
test_case "operator new and delete, some of them the program's" replaced operators_replaced
test_case "delete with the size of another type" \
	"pagewell: operator delete(): freed with another size:" deleted_sized
test_case "operator new of a plugin that alone has a C++ runtime" caught operators_plugin
test_case "the first thread ends, with what it cached" 'tcache" count="1' first_ends
test_case "the library's header beside the device's" both headers
test_case "probes" "blocks of 112 no_memory () " probes
test_case "probes of the program's own beside the archive's" linked probes_of_two
test_case "the exported names and their versions" "as they should be" symbols
test_case "the archive's names" "no others" symbols_archive
test_case "a plugin that finds its own libraries first" swapped deep_plugin
test_case "names that are looked up at the start" "only what must be" looked_up
exit $failed
