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
	return align <= MIN_ALIGN ? fast_malloc(size) : memalign(align, size);
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

/* What the handler throws is the answer, too: there is no memory. */
static cold_path void *retry_nothrow(size_t size, size_t align)
{
	void *p = NULL;

	while (!p) {
		handler h = failure_handler();

		if (!h || !catch_call(h))
			return NULL;
		p = aligned_or_null(size, align);
	}
	return p;
}

#define OPERATOR(ret, c_name, linker_name, ...)				\
	PUBLIC ret c_name(__VA_ARGS__) __asm__(linker_name);		\
	ret c_name(__VA_ARGS__)

OPERATOR(void *, new_single, "_Znwm", size_t size)
{
	void *p = fast_malloc(size);

	return likely(p) ? p : retry(size, 0);
}

OPERATOR(void *, new_array, "_Znam", size_t size)
{
	void *p = fast_malloc(size);

	return likely(p) ? p : retry(size, 0);
}

OPERATOR(void *, new_nothrow, "_ZnwmRKSt9nothrow_t", size_t size, const void *tag)
{
	void *p = fast_malloc(size);

	(void)tag;
	return likely(p) ? p : retry_nothrow(size, 0);
}

OPERATOR(void *, new_array_nothrow, "_ZnamRKSt9nothrow_t", size_t size, const void *tag)
{
	return new_nothrow(size, tag);
}

OPERATOR(void *, new_aligned, "_ZnwmSt11align_val_t", size_t size, size_t align)
{
	void *p = aligned_or_null(size, align);

	return likely(p) ? p : retry(size, align);
}

OPERATOR(void *, new_array_aligned, "_ZnamSt11align_val_t", size_t size, size_t align)
{
	return new_aligned(size, align);
}

OPERATOR(void *, new_aligned_nothrow, "_ZnwmSt11align_val_tRKSt9nothrow_t",
	 size_t size, size_t align, const void *tag)
{
	void *p = aligned_or_null(size, align);

	(void)tag;
	return likely(p) ? p : retry_nothrow(size, align);
}

OPERATOR(void *, new_array_aligned_nothrow, "_ZnamSt11align_val_tRKSt9nothrow_t",
	 size_t size, size_t align, const void *tag)
{
	return new_aligned_nothrow(size, align, tag);
}

/* Every form of delete is free(): further arguments stay in their registers. */
#define DELETE(c_name, linker_name)	\
	OPERATOR(void, c_name, linker_name, void *p) { fast_free(p); }

DELETE(delete_single, "_ZdlPv")
DELETE(delete_array, "_ZdaPv")
DELETE(delete_sized, "_ZdlPvm")
DELETE(delete_array_sized, "_ZdaPvm")
DELETE(delete_nothrow, "_ZdlPvRKSt9nothrow_t")
DELETE(delete_array_nothrow, "_ZdaPvRKSt9nothrow_t")
DELETE(delete_aligned, "_ZdlPvSt11align_val_t")
DELETE(delete_array_aligned, "_ZdaPvSt11align_val_t")
DELETE(delete_sized_aligned, "_ZdlPvmSt11align_val_t")
DELETE(delete_array_sized_aligned, "_ZdaPvmSt11align_val_t")
DELETE(delete_aligned_nothrow, "_ZdlPvSt11align_val_tRKSt9nothrow_t")
DELETE(delete_array_aligned_nothrow, "_ZdaPvSt11align_val_tRKSt9nothrow_t")
