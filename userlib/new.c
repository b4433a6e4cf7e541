// SPDX-License-Identifier: GPL-2.0-only
/*
 * new.c - operator new and delete of C++
 *
 * Written in C under their linker names, so that the library needs no C++
 * runtime. What a failing operator new has to call, new_handler and
 * std::bad_alloc, belongs to the program's runtime and is looked for only then.
 * What a handler throws at a nothrow form is caught (catch.c).
 */
#include <dlfcn.h>
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
	void (*throw)(void) = (void (*)(void))runtime_symbol(LINKED(throw_bad_alloc),
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

/* Forms that others are made of ([new.delete] in the C++ standard). */
#define BASE_FORMS(form)							\
	form(void *, new_single, "_Znwm", (size_t size))			\
	form(void *, new_array, "_Znam", (size_t size))				\
	form(void *, new_aligned, "_ZnwmSt11align_val_t", (size_t size, size_t align))	\
	form(void *, new_array_aligned, "_ZnamSt11align_val_t", (size_t size, size_t align)) \
	form(void, delete_single, "_ZdlPv", (void *p))				\
	form(void, delete_array, "_ZdaPv", (void *p))				\
	form(void, delete_aligned, "_ZdlPvSt11align_val_t", (void *p, size_t align))	\
	form(void, delete_array_aligned, "_ZdaPvSt11align_val_t", (void *p, size_t align))

#define DEFINE_BASE(ret, c_name, linker_name, args)			\
	static ret own_ ## c_name args;					\
	PUBLIC __attribute__((weak, alias("own_" #c_name)))		\
	ret c_name args __asm__(linker_name);
BASE_FORMS(DEFINE_BASE)

/*
 * Where the program has replaced one of them, that is what the others call, too. To catch what
 * may be thrown takes longer than most calls, and is needed for the program's functions only.
 * Until somebody has looked, they may be.
 */
static bool replaced = true;

#ifdef PW_SHARED
#define FORM_POINTER(ret, c_name, linker_name, args)	ret (*c_name) args;
static struct forms {
	BASE_FORMS(FORM_POINTER)
} forms;

#define FIND_FORM(ret, c_name, linker_name, args)					\
	forms.c_name = (runs_cxx ? (ret (*) args)dlsym(RTLD_DEFAULT, linker_name) : NULL) ?:	\
		       own_ ## c_name;							\
	any |= forms.c_name != own_ ## c_name;

/*
 * Symbols that we refer to are looked up in every process: of the nine names these are
 * three, which tell whether the others may be anybody's. A program with a runtime of its own
 * in it shows none of that, but what it has replaced.
 */
__attribute__((constructor)) static void look_for_replaced(void)
{
	bool runs_cxx = get_new_handler || new_single != own_new_single ||
			new_array != own_new_array;
	bool any = false;

	BASE_FORMS(FIND_FORM)
	__atomic_store_n(&replaced, any, __ATOMIC_RELEASE);
}

/* Constructors may come before ours. */
static cold_path const struct forms *find_forms(void)
{
	if (!forms.delete_array_aligned)
		look_for_replaced();
	return &forms;
}

#define THEIRS(c_name)		find_forms()->c_name
#define CALL(c_name, ...)	\
	(unlikely(replaced) ? THEIRS(c_name)(__VA_ARGS__) : own_ ## c_name(__VA_ARGS__))
#else
#define FORM_DIFFERS(ret, c_name, linker_name, args)	|| c_name != own_ ## c_name

__attribute__((constructor)) static void look_for_replaced(void)
{
	replaced = false BASE_FORMS(FORM_DIFFERS);
}

#define THEIRS(c_name)		c_name
#define CALL(c_name, ...)	c_name(__VA_ARGS__)
#endif

static void *own_new_single(size_t size)
{
	void *p = fast_malloc(size);

	return likely(p) ? p : retry(size, 0);
}

static void *own_new_array(size_t size)
{
	return CALL(new_single, size);
}

/* No handler can help; the standard leaves it open, and the runtimes do that. */
static bool is_no_alignment(size_t align)
{
	return !align || align & (align - 1);
}

static void *own_new_aligned(size_t size, size_t align)
{
	void *p;

	if (unlikely(is_no_alignment(align)))
		throw_failure();
	p = aligned_or_null(size, align);
	return likely(p) ? p : retry(size, align);
}

static void *own_new_array_aligned(size_t size, size_t align)
{
	return CALL(new_aligned, size, align);
}

/* ---- forms that return NULL ---- */

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
	return CALL(new_single, size);
}

static void *call_new_array(size_t size, size_t align)
{
	(void)align;
	return CALL(new_array, size);
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
	void *p;

	if (unlikely(is_no_alignment(align)))
		return NULL;
	p = aligned_or_null(size, align);
	return likely(p) ? p : retry_nothrow(size, align);
}

OPERATOR(void *, new_aligned_nothrow, "_ZnwmSt11align_val_tRKSt9nothrow_t",
	 size_t size, size_t align, const void *tag)
{
	(void)tag;
	return unlikely(replaced) ? attempt(THEIRS(new_aligned), size, align) :
	       own_nothrow_aligned(size, align);
}

OPERATOR(void *, new_array_aligned_nothrow, "_ZnamSt11align_val_tRKSt9nothrow_t",
	 size_t size, size_t align, const void *tag)
{
	(void)tag;
	return unlikely(replaced) ? attempt(THEIRS(new_array_aligned), size, align) :
	       own_nothrow_aligned(size, align);
}

/* ---- delete ---- */

static void own_delete_single(void *p)
{
	fast_free(p);
}

static void own_delete_aligned(void *p, size_t align)
{
	(void)align;
	fast_free(p);
}

static void own_delete_array(void *p)
{
	CALL(delete_single, p);
}

static void own_delete_array_aligned(void *p, size_t align)
{
	CALL(delete_aligned, p, align);
}

/* A jump to @base: a tag stays in its register. */
#define DELETE(base, c_name, linker_name)				\
	OPERATOR(void, c_name, linker_name, void *p)			\
	{								\
		CALL(base, p);						\
	}

#define DELETE_ALIGNED(base, c_name, linker_name)			\
	OPERATOR(void, c_name, linker_name, void *p, size_t align)	\
	{								\
		CALL(base, p, align);					\
	}

/* Functions of the program's may have asked for more than it did. */
static void *checked(void *p, size_t size)
{
	return pw_env.harden && !replaced ? pw_check_size(p, size, "operator delete()") : p;
}

/* Not in the function, which would save a register for the call. */
#define DELETE_SIZED(base, c_name, linker_name)				\
	static cold_path void c_name ## _checked(void *p, size_t size)	\
	{								\
		CALL(base, checked(p, size));				\
	}								\
	OPERATOR(void, c_name, linker_name, void *p, size_t size)	\
	{								\
		if (unlikely(pw_env.harden))				\
			c_name ## _checked(p, size);			\
		else							\
			CALL(base, p);					\
	}

#define DELETE_SIZED_ALIGNED(base, c_name, linker_name)			\
	static cold_path void c_name ## _checked(void *p, size_t size, size_t align)	\
	{								\
		CALL(base, checked(p, size), align);			\
	}								\
	OPERATOR(void, c_name, linker_name, void *p, size_t size, size_t align)	\
	{								\
		if (unlikely(pw_env.harden))				\
			c_name ## _checked(p, size, align);		\
		else							\
			CALL(base, p, align);				\
	}

DELETE_SIZED(delete_single, delete_sized, "_ZdlPvm")
DELETE_SIZED(delete_array, delete_array_sized, "_ZdaPvm")
DELETE(delete_single, delete_nothrow, "_ZdlPvRKSt9nothrow_t")
DELETE(delete_array, delete_array_nothrow, "_ZdaPvRKSt9nothrow_t")
DELETE_ALIGNED(delete_aligned, delete_aligned_nothrow,
	       "_ZdlPvSt11align_val_tRKSt9nothrow_t")
DELETE_ALIGNED(delete_array_aligned, delete_array_aligned_nothrow,
	       "_ZdaPvSt11align_val_tRKSt9nothrow_t")
DELETE_SIZED_ALIGNED(delete_aligned, delete_sized_aligned, "_ZdlPvmSt11align_val_t")
DELETE_SIZED_ALIGNED(delete_array_aligned, delete_array_sized_aligned, "_ZdaPvmSt11align_val_t")
