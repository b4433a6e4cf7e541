/* SPDX-License-Identifier: GPL-2.0-only */
/* buddy_cases.h - what the buddy must do, for user space and for KUnit */
#ifndef PAGEWELL_BUDDY_CASES_H
#define PAGEWELL_BUDDY_CASES_H

#include "buddy.h"

#ifdef __KERNEL__
#include <linux/printk.h>
#define buddy_say(fmt, ...)	pr_info("buddy: " fmt "\n", ##__VA_ARGS__)
#else
#include <stdio.h>
#define buddy_say(fmt, ...)	printf("# " fmt "\n", ##__VA_ARGS__)
#endif

/**
 * struct buddy_case - one thing that the buddy must do
 * @run: does it?
 * @name: what it is
 */
struct buddy_case {
	bool (*run)(void);
	const char *name;
};

/* Ends with an empty one. */
extern const struct buddy_case buddy_cases[];

/**
 * buddy_random() - random operations against the model of buddy_drive.h
 * @seed: the same operations for the same one
 * @runs: how many, of a thousand operations
 *
 * Return: whether buddy and model agreed in all of them.
 */
bool buddy_random(u32 seed, unsigned int runs);

#endif /* PAGEWELL_BUDDY_CASES_H */
