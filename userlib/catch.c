// SPDX-License-Identifier: GPL-2.0-only
/*
 * catch.c - catch (...) for a library without a C++ runtime
 *
 * A frame says in its unwind table which function, its personality, is asked
 * whether it handles an exception (Itanium C++ ABI, "Exception Handling", 1.6).
 * C has no way to write such a frame, so the one call that may throw is made
 * from a few lines of assembly; all the functions of the runtime that are
 * needed belong to the program, and are there if something was thrown.
 */
#include <dlfcn.h>
#include <unwind.h>

#include "catch.h"

typedef void (*end_fn)(void);

/* Of libgcc_s and libstdc++, or LLVM's. */
extern void _Unwind_SetGR(struct _Unwind_Context *ctx, int reg, _Unwind_Word value)
	__attribute__((weak));
extern void _Unwind_SetIP(struct _Unwind_Context *ctx, _Unwind_Ptr ip) __attribute__((weak));
extern void *__cxa_begin_catch(void *exception) __attribute__((weak));
extern void __cxa_end_catch(void) __attribute__((weak));

/* Weak symbols of a runtime that was loaded after us are not filled in. */
void *runtime_symbol(void *linked, const char *name)
{
	return linked ? linked : dlsym(RTLD_DEFAULT, name);
}

/* Each symbol that a shared library refers to is looked up when a process starts. */
#ifdef PW_SHARED
#define LINKED(name)	NULL
#else
#define LINKED(name)	((void *)(name))
#endif
#define RUNTIME(name)	((__typeof__(&(name)))runtime_symbol(LINKED(name), #name))

#if defined(__x86_64__)

/* The register in which an exception arrives at its landing pad: DWARF's 0, rax. */
#define EXCEPTION_REG	0

bool pw_catch_frame(void (*fn)(void *arg), void *arg);
extern const char pw_catch_landing[];
_Unwind_Reason_Code pw_catch_personality(int version, _Unwind_Action actions,
					 _Unwind_Exception_Class class,
					 struct _Unwind_Exception *exception,
					 struct _Unwind_Context *ctx);
void pw_catch_end(void *exception);

__asm__(
	".pushsection .text\n"
	".hidden pw_catch_frame, pw_catch_landing, pw_catch_personality, pw_catch_end\n"
	".type pw_catch_frame, @function\n"
	".globl pw_catch_frame, pw_catch_landing\n"
	"pw_catch_frame:\n"
	"	.cfi_startproc\n"
	"	.cfi_personality 0x1b, pw_catch_personality\n"	/* a distance of 32 bits */
	"	sub $8, %rsp\n"
	"	.cfi_adjust_cfa_offset 8\n"
	"	mov %rdi, %rax\n"
	"	mov %rsi, %rdi\n"
	"	call *%rax\n"
	"	mov $1, %eax\n"
	"	add $8, %rsp\n"
	"	.cfi_adjust_cfa_offset -8\n"
	"	ret\n"
	"	.cfi_adjust_cfa_offset 8\n"
	"pw_catch_landing:\n"
	"	mov %rax, %rdi\n"
	"	call pw_catch_end\n"
	"	xor %eax, %eax\n"
	"	add $8, %rsp\n"
	"	.cfi_adjust_cfa_offset -8\n"
	"	ret\n"
	"	.cfi_endproc\n"
	".size pw_catch_frame, . - pw_catch_frame\n"
	".popsection\n");

/* Everything ends here, except threads that exit or are cancelled. */
__attribute__((used))
_Unwind_Reason_Code pw_catch_personality(int version, _Unwind_Action actions,
					 _Unwind_Exception_Class class,
					 struct _Unwind_Exception *exception,
					 struct _Unwind_Context *ctx)
{
	__typeof__(&_Unwind_SetGR) set_gr = RUNTIME(_Unwind_SetGR);
	__typeof__(&_Unwind_SetIP) set_ip = RUNTIME(_Unwind_SetIP);

	(void)class;
	if (version != 1 || (actions & _UA_FORCE_UNWIND) || !set_gr || !set_ip)
		return _URC_CONTINUE_UNWIND;
	if (actions & _UA_SEARCH_PHASE)
		return _URC_HANDLER_FOUND;
	set_gr(ctx, EXCEPTION_REG, (_Unwind_Word)(uintptr_t)exception);
	set_ip(ctx, (_Unwind_Ptr)pw_catch_landing);
	return _URC_INSTALL_CONTEXT;
}

__attribute__((used))
void pw_catch_end(void *exception)
{
	__typeof__(&__cxa_begin_catch) begin = RUNTIME(__cxa_begin_catch);
	end_fn end = RUNTIME(__cxa_end_catch);

	if (!begin || !end)
		return;
	begin(exception);
	end();
}

bool catch_call(void (*fn)(void *arg), void *arg)
{
	return pw_catch_frame(fn, arg);
}

#else

bool catch_call(void (*fn)(void *arg), void *arg)
{
	fn(arg);
	return true;
}

#endif
