/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * os_backend.h - what os.c and its two backends know of each other
 */
#ifndef PW_OS_BACKEND_H
#define PW_OS_BACKEND_H

#include "os.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE	0x100000
#endif

/* A place for a window that is probably free, another one each time. */
uintptr_t os_random_place(void);

/* Notes why the device is not used. */
void os_set_why(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/*
 * The device backend: all called with pw_os_lock held. -ENODEV: it is lost, what is new is
 * anonymous from now on. -EAGAIN, of a break: it cannot be moved there, another one may.
 * -EOPNOTSUPP: the module cannot do that, and nothing else is wrong.
 */
int os_device_start(void);
bool os_device_usable(void);
bool os_device_owns(uintptr_t addr);
uintptr_t os_device_end(void);
uintptr_t os_device_high(void);

/*
 * What moves to the lowest gap that fits ends no further than its length and this behind
 * everything: a block with pages of 2 MiB lies in them as it lay before.
 */
#define MOVE_SLACK	(2 * HUGE_SIZE)

bool os_device_has_control(void);
int os_device_brk_create(size_t reserve, struct os_brk *b);
int os_device_brk_move(struct os_brk *b, uintptr_t brk);
int os_device_brk_destroy(struct os_brk *b);
int os_device_map(size_t length, size_t align, unsigned int flags, uintptr_t *addr);
int os_device_unmap(uintptr_t addr, size_t length);
int os_device_remap(uintptr_t *addr, size_t old_length, size_t new_length, bool may_move);
int os_device_advise(uintptr_t addr, size_t length, enum os_advice advice);
uint64_t os_device_heap_id(void);

/*
 * Cuts the end off the mapping that nothing is in, if that is most of it, with @used bytes
 * in breaks and maps. Or so when it is time, after what was given back in a range: of a
 * break, all addresses from its start on, as the reserve behind it may be another one.
 */
void os_device_cut(size_t used);
void os_device_gave_back(uintptr_t from, uintptr_t to, size_t used);
void os_device_fork_child(void);

/* Anonymous memory: with the lock held, but for advice, and os_anon_unmap(). */
int os_anon_start(uintptr_t from);
bool os_anon_started(void);
uintptr_t os_anon_high(void);
int os_anon_brk_create(size_t reserve, struct os_brk *b);
int os_anon_brk_move(struct os_brk *b, uintptr_t brk);
int os_anon_brk_destroy(struct os_brk *b);
int os_anon_map(size_t length, size_t align, unsigned int flags, uintptr_t *addr);

/* Afterwards the addresses are given back if it is true; else they stay taken. */
bool os_anon_unmap(uintptr_t addr, size_t length);
void os_anon_give_place(uintptr_t addr, size_t length);
bool os_anon_could_have(size_t bytes);
int os_anon_remap(uintptr_t *addr, size_t old_length, size_t new_length, unsigned int flags,
		  bool may_move);
int os_anon_advise(uintptr_t addr, size_t length, enum os_advice advice);
void os_anon_huge(uintptr_t addr, size_t length);

#endif /* PW_OS_BACKEND_H */
