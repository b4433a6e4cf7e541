/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * kept.h - guarded mappings that nobody has, kept for the next large blocks
 */
#ifndef PW_KEPT_H
#define PW_KEPT_H

#include "lock.h"
#include "types.h"

extern struct lock pw_kept_lock;

/**
 * kept_put() - keep a mapping instead of unmapping it
 * @addr: its start
 * @length: its length, without the guard
 * @block: the block that was in it, and ended at the guard
 * @in_use: bytes of large blocks that the program still has
 *
 * Takes &pw_kept_lock. What is kept at most follows @in_use: a program that lets go of
 * its large blocks gets rid of these, too. Older ones are unmapped for it.
 *
 * Return: false if it is too long to be kept, and still the caller's.
 */
bool kept_put(uintptr_t addr, size_t length, void *block, size_t in_use);

/**
 * kept_take() - the shortest mapping that will do
 * @length: at least so many bytes, and not many times as many; set to how long it is
 *
 * It holds what was in it. Takes &pw_kept_lock. A write to the block that was freed last
 * in it is an error, as far as it can be seen.
 *
 * Return: its start, or 0 if there is none.
 */
uintptr_t kept_take(size_t *length);

/**
 * kept_drop() - unmap all of them
 *
 * Takes &pw_kept_lock.
 *
 * Return: whether there were any.
 */
bool kept_drop(void);

#endif /* PW_KEPT_H */
