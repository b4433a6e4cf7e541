/* SPDX-License-Identifier: GPL-2.0-only */
/* buddy_drive.h - the buddy against a trivial model, operations from bytes */
#ifndef PAGEWELL_BUDDY_DRIVE_H
#define PAGEWELL_BUDDY_DRIVE_H

#ifdef __KERNEL__
#include <linux/types.h>
#else
#include <stddef.h>
#include <stdint.h>
#endif

/**
 * buddy_drive() - run operations and compare with the model after each
 * @data: which operations, on what; any bytes will do
 * @len: how many bytes
 *
 * Return: NULL when buddy and model agreed all along, else where they did not.
 */
const char *buddy_drive(const uint8_t *data, size_t len);

#endif /* PAGEWELL_BUDDY_DRIVE_H */
