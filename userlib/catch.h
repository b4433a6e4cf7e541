/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * catch.h - what operator new needs of the program's C++ runtime
 */
#ifndef PW_CATCH_H
#define PW_CATCH_H

#include "types.h"

/* Each symbol that a shared library refers to is looked up when a process starts. */
#ifdef PW_SHARED
#define LINKED(name)	NULL
#else
#define LINKED(name)	((void *)(name))
#endif

/* What the program's C++ runtime calls @name; @linked if the linker found it. */
void *runtime_symbol(void *linked, const char *name);

/* Calls @fn(@arg). True if it returned; false if it threw, and that was caught. */
bool catch_call(void (*fn)(void *arg), void *arg);

#endif /* PW_CATCH_H */
