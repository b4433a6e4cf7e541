/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * harden.h - what slow mode adds: junk in free blocks, checks, perturbing
 *
 * Slow mode (PAGEWELL_HARDEN=1, or mallopt(M_PERTURB)) keeps nothing in
 * tcaches: every block goes straight to its span, whose bits are apart from
 * the heap and tell free blocks for certain.
 */
#ifndef PW_HARDEN_H
#define PW_HARDEN_H

#include "arena.h"

/* A block of a class, straight from the thread's arena. */
void *harden_take(size_t c, bool *zeroed);

/* What M_PERTURB asks of a new block. */
void harden_fill(void *p, size_t size);

/* A block came back: an error if it cannot have. */
void harden_freed(struct span *s, void *p, const char *call);

bool harden_is_free(struct span *s, void *p);

#endif /* PW_HARDEN_H */
