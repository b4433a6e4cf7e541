/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * map.h - page table entries: put in, made writable, made read-only, taken out
 *
 * The only code that knows how the kernel keeps page tables and their
 * accounting. Callers hold the mmap_lock or the VMA's lock, but for pw_map_flush();
 * and who puts entries in or makes them writable, the lock of their chunk.
 */
#ifndef PAGEWELL_MAP_H
#define PAGEWELL_MAP_H

#include <linux/mm.h>

struct pw_chunk;

#define PW_NO_SAMPLE	(-1)

/**
 * struct pw_run - pages of a chunk, and where they are mapped
 * @vma: all of it lies inside
 * @pmd: where its page table is, or will be, if that is known; else NULL
 * @c: the chunk, locked; holes of its index are left out
 * @addr: of the first page
 * @i: its entry
 * @nr: pages
 * @step: from one to the next, in pages; may be negative
 * @sample: one that pw_map_accessed() will be asked about, or PW_NO_SAMPLE
 * @writable: region and VMA let it be written
 */
struct pw_run {
	struct vm_area_struct *vma;
	pmd_t *pmd;
	struct pw_chunk *c;
	unsigned long addr;
	unsigned int i;
	int nr;
	int step;
	int sample;
	bool writable;
};

int pw_map_insert(const struct pw_run *run);
bool pw_map_insert_new(struct vm_area_struct *vma, pmd_t *pmd,
		       unsigned long addr, u32 pfn, bool writable);
void pw_map_age(struct vm_area_struct *vma, unsigned long addr,
		unsigned long end, unsigned long *young);
void pw_map_flush(void);
bool pw_map_accessed(struct vm_area_struct *vma, unsigned long addr);
int pw_map_zero(struct vm_area_struct *vma, unsigned long addr);
int pw_map_mkwrite(const struct pw_run *run);
int pw_map_make_table(struct vm_area_struct *vma, unsigned long addr);
bool pw_map_has_table(struct vm_area_struct *vma, unsigned long addr);
void pw_map_wrprotect(struct vm_area_struct *vma);
bool pw_map_free_table(struct vm_area_struct *vma, unsigned long addr);
void pw_map_zap(struct vm_area_struct *vma, unsigned long addr,
		unsigned long len);

#endif /* PAGEWELL_MAP_H */
