/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * os.h - the one boundary to the operating system's memory
 *
 * Two backends: os_device.c asks /dev/pagewell, os_anon.c uses anonymous
 * memory. Both give out addresses of the one window. When the device is lost
 * (descriptor closed and reopening impossible), what it gave stays in use and
 * new memory is anonymous, in the part of the window behind the device's.
 *
 * Conditions common to all: lengths and addresses are multiples of a page,
 * everything given out starts on a granule, and fresh memory reads as zero.
 * Breaks and maps are whole granules, so that gaps between them are too.
 * Functions return 0 or a negative error number and on error change nothing.
 * They are safe in any thread and leave errno alone.
 */
#ifndef PW_OS_H
#define PW_OS_H

#include "lock.h"
#include "types.h"

extern struct lock pw_os_lock;

/**
 * struct os_brk - a program break
 * @start: first address, aligned to HUGE_SIZE
 * @brk: first address behind the usable memory, a multiple of a granule
 * @id: the backend's name for it
 * @reserved: anonymous: end of the addresses kept for it
 * @granted: device: how far the break may go without a call
 * @refused: device: more than was needed was refused up to there, or 0
 * @word: device: @brk, where the module reads it; the struct must not move
 */
struct os_brk {
	uintptr_t start;
	uintptr_t brk;
	uintptr_t reserved;
	uintptr_t granted;
	uintptr_t refused;
	uint64_t word;
	uint32_t id;
};

/* os_map() flags */
#define OS_GUARD	1U	/* a page that faults right behind the memory */

enum os_advice {
	OS_DONTNEED,	/* give the pages back; they read as zero again */
	OS_POPULATE,	/* have the pages in place, or -ENOMEM */
	OS_WILLNEED,	/* the same, as far as possible */
	OS_FREE,	/* contents may go until something is written */
	OS_COLD,	/* not needed for a while */
	OS_HUGEPAGE,	/* huge pages, please */
	OS_NOHUGEPAGE,	/* or none */
	OS_COLLAPSE,	/* huge pages now; -EBUSY, -EAGAIN, -EINVAL: not everywhere */
};

/**
 * struct os_stats - what the OS boundary has seen
 * @backend: "device", "anonymous", or "device, then anonymous": the device was lost
 * @why: why it is not the device: empty, or a clause for a person
 * @committed: bytes in breaks and maps now
 * @limit: bytes there may be, SIZE_MAX for no limit
 * @window: start of the window
 * @brk_moves: breaks grown or shrunk
 * @maps: maps made
 * @remaps: maps resized without copying
 * @returned: bytes given back by advice
 */
struct os_stats {
	const char *backend;
	char why[96];
	size_t committed;
	size_t limit;
	uintptr_t window;
	size_t brk_moves;
	size_t maps;
	size_t remaps;
	size_t returned;
};

/* Chooses the backend as pw_env says and lays out the window. Called once. */
bool os_start(void);

/* A new break with no memory in it, and @reserve bytes of addresses behind. */
int os_brk_create(size_t reserve, struct os_brk *b);

/*
 * Moves a break to @brk, at or above its start. Growing past the reserve works
 * while the addresses there are free. -ENOMEM: no memory, or the limit;
 * -EAGAIN: this break cannot be moved there, another one may.
 */
int os_brk_move(struct os_brk *b, uintptr_t brk);

/* Is a small move upwards no more than a store? */
bool os_brk_is_cheap(const struct os_brk *b);

/*
 * The pages of what is given back next may go: where that takes as long as there are pages,
 * they go now, while no lock is held that other requests wait for.
 */
void os_drop_pages(uintptr_t addr, size_t length);

/* Gives the break, its memory and its addresses back. */
int os_brk_destroy(struct os_brk *b);

/* Maps @length bytes, aligned to @align (a power of two, a granule at least). */
int os_map(size_t length, size_t align, unsigned int flags, uintptr_t *addr);

/* Unmaps a map of @length bytes, made with the same flags. */
int os_unmap(uintptr_t addr, size_t length, unsigned int flags);

/*
 * Resizes a map, made with the same flags, in place or, if @addr may change, elsewhere.
 * -EOPNOTSUPP: the backend cannot, copy instead.
 */
int os_remap(uintptr_t *addr, size_t old_length, size_t new_length, unsigned int flags,
	     bool may_move);

/*
 * Gives addresses back that nothing is in any more, if they are many. What is given back
 * by other calls does so, too, but not every time.
 */
void os_trim(void);

/* Is this memory of ours the device's? */
bool os_is_device(uintptr_t addr);

/* Advice about part of a break or map. */
int os_advise(uintptr_t addr, size_t length, enum os_advice advice);

/*
 * Memory of this break, from here on, may come in huge pages. False: whether it
 * does is not for us to say.
 */
bool os_brk_grew_large(struct os_brk *b, uintptr_t from);

/* If everything else were given back, could there be so many bytes? */
bool os_can_ever_have(size_t bytes);

void os_get_stats(struct os_stats *stats);

/* Bits that nobody outside can know, others each time. */
uint64_t os_secret(void);

/* The module's number of this heap, 0 without one. */
uint64_t os_heap_id(void);

/* After fork(), in the child. */
void os_fork_child(void);

#ifdef PW_TEST
/* The Nth call from now on fails with -ENOMEM, and all after it; 0: never. */
extern long pw_os_fail_after;
#endif

#endif /* PW_OS_H */
