/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * evacuate.h - blocks whose pages are to be moved, and where these go
 *
 * One worker at a time goes
 *
 *	pw_evac_begin()		what is to be emptied
 *	pw_evac_choose()	of that, what can be, when it has been looked for
 *	pw_evac_take() pw_evac_copy() pw_evac_put()	again and again
 *	pw_evac_end()		what has been
 *
 * May sleep; the caller holds no spinlock.
 */
#ifndef PAGEWELL_EVACUATE_H
#define PAGEWELL_EVACUATE_H

#include <linux/types.h>
#include <linux/wait.h>

/* Blocks that are emptied at a time. */
#define PW_EVAC_BLOCKS	8

/**
 * struct pw_evac - blocks that are to be emptied
 * @node: theirs
 * @nr: how many
 * @base: page frame number of the first page of each
 * @found: for the caller to count: pages of each that can be moved
 */
struct pw_evac {
	int node;
	unsigned int nr;
	u32 base[PW_EVAC_BLOCKS];
	unsigned int found[PW_EVAC_BLOCKS];
};

extern unsigned int pw_compact_mbps;
extern wait_queue_head_t pw_evac_wait;

unsigned long pw_evac_could(void);
void pw_evac_want(unsigned int nr);
bool pw_evac_wanted(void);
unsigned int pw_evac_begin_all(void);
bool pw_evac_begin(struct pw_evac *e, int node, unsigned int nr);
int pw_evac_find(const struct pw_evac *e, u32 pfn);
bool pw_evac_choose(struct pw_evac *e);
unsigned int pw_evac_take(const struct pw_evac *e, u32 *pfns, unsigned int nr);
bool pw_evac_copy(u32 from, u32 to);
void pw_evac_put(const u32 *pfns, unsigned int nr);
unsigned int pw_evac_end(struct pw_evac *e);

#endif /* PAGEWELL_EVACUATE_H */
