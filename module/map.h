/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * map.h - page table entries: put in, made writable, made read-only, taken out
 *
 * The only code that knows how the kernel keeps page tables and their
 * accounting. Callers hold the mmap_lock or the VMA's lock, and the chunk's
 * lock for everything but pw_map_zap().
 */
#ifndef PAGEWELL_MAP_H
#define PAGEWELL_MAP_H

#include <linux/mm.h>

struct pw_chunk;

int pw_map_insert(struct vm_area_struct *vma, unsigned long addr,
		  struct pw_chunk *c, unsigned int i, unsigned int nr,
		  int sample);
bool pw_map_accessed(struct vm_area_struct *vma, unsigned long addr);
int pw_map_mkwrite(struct vm_area_struct *vma, unsigned long addr,
		   struct pw_chunk *c, unsigned int i, unsigned int nr);
int pw_map_make_table(struct vm_area_struct *vma, unsigned long addr);
bool pw_map_has_table(struct vm_area_struct *vma, unsigned long addr);
void pw_map_wrprotect(struct vm_area_struct *vma);
void pw_map_zap(struct vm_area_struct *vma, unsigned long addr,
		unsigned long len);

#endif /* PAGEWELL_MAP_H */
