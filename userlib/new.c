// SPDX-License-Identifier: GPL-2.0-only
/*
 * new.c - operator new and delete of C++
 *
 * Written in C under their linker names, so that the library needs no C++
 * runtime. What a failing operator new has to call, new_handler and
 * std::bad_alloc, belongs to the program's runtime and is looked for only then.
 * What a handler throws at a nothrow form is caught (catch.c).
 */
#include <stdlib.h>

#include "catch.h"
#include "entry.h"
#include "env.h"
#include "report.h"

typedef void (*handler)(void);

/* std::get_new_handler() and std::__throw_bad_alloc(), which both runtimes have. */
handler get_new_handler(void) __asm__("_ZSt15get_new_handlerv") __attribute__((weak));
void throw_bad_alloc(void) __asm__("_ZSt17__throw_bad_allocv") __attribute__((weak));

/* The program's handler, which frees memory, throws, or ends it all; or NULL. */
static handler failure_handler(void)
{
	handler (*get)(void) = (handler (*)(void))runtime_symbol((void *)get_new_handler,
								 "_ZSt15get_new_handlerv");

	return get ? get() : NULL;
}

static __attribute__((noreturn)) void throw_failure(void)
{
	void (*throw)(void) = (void (*)(void))runtime_symbol((void *)throw_bad_alloc,
							     "_ZSt17__throw_bad_allocv");

	if (throw)
		throw();
	pw_note("operator new: out of memory, and no C++ runtime to throw std::bad_alloc");
	abort();
}

static void *aligned_or_null(size_t size, size_t align)
{
	return align <= MIN_ALIGN ? fast_malloc(size) : pw_aligned(align, size);
}

static cold_path void *retry(size_t size, size_t align)
{
	void *p = NULL;

	while (!p) {
		handler h = failure_handler();

		if (!h)
			throw_failure();
		h();
		p = aligned_or_null(size, align);
	}
	return p;
}

static void call_handler(void *h)
{
	((handler)h)();
}

/* What the handler throws is the answer, too: there is no memory. */
static cold_path void *retry_nothrow(size_t size, size_t align)
{
	void *p = NULL;

	while (!p) {
		handler h = failure_handler();

		if (!h || !catch_call(call_handler, (void *)h))
			return NULL;
		p = aligned_or_null(size, align);
	}
	return p;
}

/* Weak, as the runtime's: a program that has the archive may replace some of them. */
#define OPERATOR(ret, c_name, linker_name, ...)				\
	PUBLIC __attribute__((weak)) ret c_name(__VA_ARGS__) __asm__(linker_name);	\
	ret c_name(__VA_ARGS__)

/*
 * Forms that others are made of ([new.delete] in the C++ standard): where the program has
 * replaced @c_name, that is what the name means here, too. Ours is own_ and @c_name.
 */
#define BASE(ret, c_name, linker_name, ...)				\
	static ret own_ ## c_name(__VA_ARGS__);				\
	PUBLIC __attribute__((weak, alias("own_" #c_name)))		\
	ret c_name(__VA_ARGS__) __asm__(linker_name);			\
	static ret own_ ## c_name(__VA_ARGS__)

BASE(void *, new_single, "_Znwm", size_t size)
{
	void *p = fast_malloc(size);

	return likely(p) ? p : retry(size, 0);
}

BASE(void *, new_array, "_Znam", size_t size)
{
	return new_single(size);
}

BASE(void *, new_aligned, "_ZnwmSt11align_val_t", size_t size, size_t align)
{
	void *p = aligned_or_null(size, align);

	return likely(p) ? p : retry(size, align);
}

BASE(void *, new_array_aligned, "_ZnamSt11align_val_t", size_t size, size_t align)
{
	return new_aligned(size, align);
}

/* ---- forms that return NULL ---- */

/*
 * To catch what may be thrown takes longer than most calls, and is needed for the program's
 * functions only. Until our constructor has looked, they may be.
 */
static bool replaced = true;

__attribute__((constructor)) static void look_for_replaced(void)
{
	replaced = new_single != own_new_single || new_array != own_new_array ||
		   new_aligned != own_new_aligned || new_array_aligned != own_new_array_aligned;
}

/**
 * struct attempt - a call that may throw
 * @form: what is called
 * @size: bytes
 * @align: their alignment, for forms that take one
 * @p: what it returned
 */
struct attempt {
	void *(*form)(size_t size, size_t align);
	size_t size;
	size_t align;
	void *p;
};

static void make_attempt(void *arg)
{
	struct attempt *a = arg;

	a->p = a->form(a->size, a->align);
}

static cold_path void *attempt(void *(*form)(size_t size, size_t align), size_t size,
			       size_t align)
{
	struct attempt a = { .form = form, .size = size, .align = align };

	return catch_call(make_attempt, &a) ? a.p : NULL;
}

static void *call_new_single(size_t size, size_t align)
{
	(void)align;
	return new_single(size);
}

static void *call_new_array(size_t size, size_t align)
{
	(void)align;
	return new_array(size);
}

static inline void *own_nothrow(size_t size)
{
	void *p = fast_malloc(size);

	return likely(p) ? p : retry_nothrow(size, 0);
}

OPERATOR(void *, new_nothrow, "_ZnwmRKSt9nothrow_t", size_t size, const void *tag)
{
	(void)tag;
	return unlikely(replaced) ? attempt(call_new_single, size, 0) : own_nothrow(size);
}

OPERATOR(void *, new_array_nothrow, "_ZnamRKSt9nothrow_t", size_t size, const void *tag)
{
	(void)tag;
	return unlikely(replaced) ? attempt(call_new_array, size, 0) : own_nothrow(size);
}

static void *own_nothrow_aligned(size_t size, size_t align)
{
	void *p = aligned_or_null(size, align);

	return likely(p) ? p : retry_nothrow(size, align);
}

OPERATOR(void *, new_aligned_nothrow, "_ZnwmSt11align_val_tRKSt9nothrow_t",
	 size_t size, size_t align, const void *tag)
{
	(void)tag;
	return unlikely(replaced) ? attempt(new_aligned, size, align) :
	       own_nothrow_aligned(size, align);
}

OPERATOR(void *, new_array_aligned_nothrow, "_ZnamSt11align_val_tRKSt9nothrow_t",
	 size_t size, size_t align, const void *tag)
{
	(void)tag;
	return unlikely(replaced) ? attempt(new_array_aligned, size, align) :
	       own_nothrow_aligned(size, align);
}

/* ---- delete ---- */

BASE(void, delete_single, "_ZdlPv", void *p)
{
	fast_free(p);
}

BASE(void, delete_aligned, "_ZdlPvSt11align_val_t", void *p, size_t align)
{
	(void)align;
	fast_free(p);
}

/* A jump to @base: a tag stays in its register. */
#define DELETE(define, base, c_name, linker_name)			\
	define(void, c_name, linker_name, void *p)			\
	{								\
		base(p);						\
	}

#define DELETE_ALIGNED(define, base, c_name, linker_name)		\
	define(void, c_name, linker_name, void *p, size_t align)	\
	{								\
		base(p, align);						\
	}

/* Functions of the program's may have asked for more than it did. */
static inline void *checked(void *p, size_t size)
{
	return unlikely(pw_env.harden) && !replaced ?
	       pw_check_size(p, size, "operator delete()") : p;
}

#define DELETE_SIZED(base, c_name, linker_name)				\
	OPERATOR(void, c_name, linker_name, void *p, size_t size)	\
	{								\
		base(checked(p, size));					\
	}

#define DELETE_SIZED_ALIGNED(base, c_name, linker_name)			\
	OPERATOR(void, c_name, linker_name, void *p, size_t size, size_t align)	\
	{								\
		base(checked(p, size), align);				\
	}

DELETE(BASE, delete_single, delete_array, "_ZdaPv")
DELETE_SIZED(delete_single, delete_sized, "_ZdlPvm")
DELETE_SIZED(delete_array, delete_array_sized, "_ZdaPvm")
DELETE(OPERATOR, delete_single, delete_nothrow, "_ZdlPvRKSt9nothrow_t")
DELETE(OPERATOR, delete_array, delete_array_nothrow, "_ZdaPvRKSt9nothrow_t")
DELETE_ALIGNED(BASE, delete_aligned, delete_array_aligned, "_ZdaPvSt11align_val_t")
DELETE_ALIGNED(OPERATOR, delete_aligned, delete_aligned_nothrow,
	       "_ZdlPvSt11align_val_tRKSt9nothrow_t")
DELETE_ALIGNED(OPERATOR, delete_array_aligned, delete_array_aligned_nothrow,
	       "_ZdaPvSt11align_val_tRKSt9nothrow_t")
DELETE_SIZED_ALIGNED(delete_aligned, delete_sized_aligned, "_ZdlPvmSt11align_val_t")
DELETE_SIZED_ALIGNED(delete_array_aligned, delete_array_sized_aligned, "_ZdaPvmSt11align_val_t")
