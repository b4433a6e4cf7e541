/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * meta.h - memory for the library's own tables, apart from the heap
 */
#ifndef PW_META_H
#define PW_META_H

#include "types.h"

extern struct lock pw_meta_lock;

/**
 * pw_meta_place() - is there room for the tables of a window at @start?
 * @start: first address of the window; pw_base is set by success
 * @size: bytes of the window that the first part of the tables must cover
 *
 * Return: 0, or a negative error number.
 */
int pw_meta_place(uintptr_t start, size_t size);

/* Undoes pw_meta_place() when the window cannot be had after all. */
void pw_meta_unplace(void);

/**
 * pw_meta_cover() - have the tables describe the window up to @end
 * @end: an address in the window
 *
 * Return: 0, or -ENOMEM.
 */
int pw_meta_cover(uintptr_t end);

/**
 * pw_meta_alloc() - zeroed memory that lasts as long as the process
 * @size: bytes, any
 *
 * Return: memory aligned to 64 bytes, or NULL.
 */
void *pw_meta_alloc(size_t size);

/* Bytes mapped for tables and for pw_meta_alloc(). */
size_t pw_meta_bytes(void);

#ifdef PW_TEST
/* For tests that turn hardened mode on when the heap is there. */
int pw_meta_harden(void);
#endif

#endif /* PW_META_H */
