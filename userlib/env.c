// SPDX-License-Identifier: GPL-2.0-only
/*
 * env.c - the PAGEWELL_ variables
 */
#include <dlfcn.h>
#include <limits.h>
#include <string.h>
#include <sys/auxv.h>

#include "env.h"
#include "report.h"
#include "sys.h"

/*
 * How hardened builds are when nothing else is said; not before it could be said. Tests say
 * so themselves, when they want it.
 */
#if defined(PW_HARDEN) && !defined(PW_TEST)
#define HARDEN	true
#else
#define HARDEN	false
#endif

struct env pw_env = {
	.limit = SIZE_MAX,
};

/* The dynamic loader's note of where the kernel put argc, argv and envp. */
extern void *__libc_stack_end __attribute__((weak));
extern char **environ;

/*
 * Where argc is, and behind it argv, envp and the auxiliary vector; or NULL: once libc's own
 * constructor has run, and set environ, the program may have changed them.
 */
static uintptr_t *first_stack(void)
{
	return environ || !&__libc_stack_end ? NULL : __libc_stack_end;
}

static char **first_environment(void)
{
	uintptr_t *stack = first_stack();

	return stack ? (char **)(stack + 1 + stack[0] + 1) : environ;
}

#ifdef PW_SHARED
/* Its name is looked up when it is needed, not whenever a program starts. */
static uintptr_t libc_auxiliary(uintptr_t type)
{
	static __typeof__(&getauxval) get;

	if (!get)
		get = (__typeof__(&getauxval))dlsym(RTLD_DEFAULT, "getauxval");
	return get(type);
}

/* In dlopen(), where dlsym() waits for nobody; later a lock is held that dlopen() may want. */
__attribute__((constructor)) static void find_getauxval(void)
{
	if (!first_stack())
		libc_auxiliary(AT_NULL);
}
#else
#define libc_auxiliary	getauxval
#endif

/* A word of the auxiliary vector, 0 if it has none of that type. */
static uintptr_t auxiliary(uintptr_t type)
{
	char **e = first_environment();
	uintptr_t *v;

	if (!first_stack())
		return libc_auxiliary(type);
	while (*e)
		e++;
	for (v = (uintptr_t *)(e + 1); v[0] != AT_NULL && v[0] != type; v += 2)
		;
	return v[0] == type ? v[1] : 0;
}

/* How many bits to the left for a unit, 0 if it is none. */
static unsigned int unit_shift(char unit)
{
	switch (unit & ~0x20) {
	case 'K':
		return 10;
	case 'M':
		return 20;
	case 'G':
		return 30;
	case 'T':
		return 40;
	default:
		return 0;
	}
}

bool pw_parse_size(const char *s, size_t *size)
{
	size_t v = 0;

	if (*s < '0' || *s > '9')
		return false;
	for (; *s >= '0' && *s <= '9'; s++)
		if (__builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (size_t)(*s - '0'), &v))
			return false;
	if (*s) {
		unsigned int shift = unit_shift(*s);

		if (!shift || __builtin_mul_overflow(v, (size_t)1 << shift, &v))
			return false;
		s++;
		if (*s == 'i' && s[1] == 'B')
			s += 2;
		else if (*s == 'B')
			s++;
	}
	if (*s)
		return false;
	*size = v;
	return true;
}

/* Index of @value among up to three words, or -1 and a line that says what is allowed. */
static int one_of(const char *name, const char *value, const char *const *words)
{
	int i;

	for (i = 0; words[i]; i++)
		if (same_string(value, words[i]))
			return i;
	pw_note("%s=%s is not understood and has no effect: it may be %s, %s%s%s", name, value,
		words[0], words[1], i > 2 ? ", " : "", i > 2 ? words[2] : "");
	return -1;
}

static void set_switch(const char *name, const char *value, bool *flag)
{
	static const char *const words[] = { "0", "1", NULL };
	int i = one_of(name, value, words);

	if (i >= 0)
		*flag = i;
}

/* Programs write their titles over the environment they were started with. */
static void set_trace(const char *name, const char *value)
{
	static char copy[PATH_MAX];
	size_t size = string_length(value) + 1;

	if (size > sizeof(copy))
		pw_note("%s is too long and has no effect", name);
	pw_env.trace = size > 1 && size <= sizeof(copy) ? memcpy(copy, value, size) : NULL;
}

/* The process that is recorded, not what it starts; it may call exec() itself. */
static bool traced = true;

static void read_variable(const char *name, const char *value)
{
	static const char *const backends[] = { "auto", "device", "anon", NULL };
	static const char *const huges[] = { "auto", "always", "never", NULL };
	static const char *const commits[] = { "strict", "lazy", NULL };
	size_t pid;
	int i;

	if (same_string(name, "PAGEWELL_BACKEND")) {
		i = one_of(name, value, backends);
		if (i >= 0)
			pw_env.backend = (enum backend_choice)i;
	} else if (same_string(name, "PAGEWELL_HUGE")) {
		i = one_of(name, value, huges);
		if (i >= 0)
			pw_env.huge = (enum huge_choice)i;
	} else if (same_string(name, "PAGEWELL_COMMIT")) {
		i = one_of(name, value, commits);
		if (i >= 0)
			pw_env.lazy = i;
	} else if (same_string(name, "PAGEWELL_LIMIT")) {
		if (!pw_parse_size(value, &pw_env.limit))
			pw_note("%s=%s is no size and has no effect", name, value);
	} else if (same_string(name, "PAGEWELL_STATS")) {
		set_switch(name, value, &pw_env.stats);
	} else if (same_string(name, "PAGEWELL_HARDEN")) {
		set_switch(name, value, &pw_env.harden);
	} else if (same_string(name, "PAGEWELL_TRACE")) {
		set_trace(name, value);
	} else if (same_string(name, "PAGEWELL_TRACE_PID")) {
		if (pw_parse_size(value, &pid))
			traced = pid == (size_t)sys(SYS_getpid);
		else
			pw_note("%s=%s is no number and has no effect", name, value);
	}
}

void pw_env_read(void)
{
	char **e = first_environment();
	char name[24];

	pw_env.harden = HARDEN;
	pw_env.random = (const void *)auxiliary(AT_RANDOM);
	if (!e || auxiliary(AT_SECURE))
		return;
	for (; *e; e++) {
		const char *s = *e;
		size_t len;

		if (s[0] != 'P' || s[1] != 'A' || s[2] != 'G')
			continue;
		for (len = 0; len < sizeof(name) && s[len] && s[len] != '='; len++)
			name[len] = s[len];
		if (len == sizeof(name) || !s[len])
			continue;
		name[len] = '\0';
		read_variable(name, s + len + 1);
	}
	if (!traced)
		pw_env.trace = NULL;
}
