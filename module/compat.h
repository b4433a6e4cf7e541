/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * compat.h - the one place that knows kernel versions
 *
 * The rest of the module reads like code for the newest supported kernel.
 */
#ifndef PAGEWELL_COMPAT_H
#define PAGEWELL_COMPAT_H

#include <linux/mm.h>
#include <linux/shrinker.h>
#include <linux/sched/coredump.h>
#include <linux/slab.h>
#include <linux/version.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 1, 0)
#error "Pagewell needs Linux 6.1 or newer"
#endif

/* A large variable that is filled in anyway: the compiler must not clear it. */
#if __has_attribute(__uninitialized__)
#define __pw_uninitialized	__attribute__((__uninitialized__))
#else
#define __pw_uninitialized
#endif

/* The counters behind RSS; add_mm_counter() is not exported. */
static inline void pw_mm_add_file_pages(struct mm_struct *mm, long nr)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0)
	percpu_counter_add(&mm->rss_stat[MM_FILEPAGES], nr);
#else
	atomic_long_add(nr, &mm->rss_stat.count[MM_FILEPAGES]);
#endif
}

static inline pte_t pw_ptep_get(pte_t *ptep)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
	return ptep_get(ptep);
#else
	return READ_ONCE(*ptep);
#endif
}

static inline pte_t pw_pte_mkwrite(pte_t pte)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 7, 0)
	return pte_mkwrite_novma(pte);
#else
	return pte_mkwrite(pte);
#endif
}

/* No pages of 2 MiB, by madvise() or prctl(); later series say so in other ways. */
static inline bool pw_vma_wants_small(const struct vm_area_struct *vma)
{
	return (vma->vm_flags & VM_NOHUGEPAGE) ||
	       test_bit(MMF_DISABLE_THP, &vma->vm_mm->flags);
}

/*
 * Where lock debugging makes the lock of a page table too large for its struct
 * page, pte_free() needs a function that is not exported. This one is ours.
 */
#if defined(CONFIG_SPLIT_PTE_PTLOCKS)	/* from 6.12 on */
#define PW_PTLOCK_ALLOCATED	ALLOC_SPLIT_PTLOCKS
#elif defined(USE_SPLIT_PTE_PTLOCKS)
#define PW_PTLOCK_ALLOCATED	(USE_SPLIT_PTE_PTLOCKS && ALLOC_SPLIT_PTLOCKS)
#else
#define PW_PTLOCK_ALLOCATED	0
#endif
#if PW_PTLOCK_ALLOCATED
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
#define PW_DEFINE_PTLOCK_FREE void ptlock_free(struct ptdesc *t) { kfree(t->ptl); }
#else
#define PW_DEFINE_PTLOCK_FREE void ptlock_free(struct page *t) { kfree(t->ptl); }
#endif
#else
#define PW_DEFINE_PTLOCK_FREE
#endif

/* Page table entries that lead to a compound page, or to a part of it. */
static inline int pw_compound_mapcount(struct page *head)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 9, 0)
	return folio_mapcount(page_folio(head));
#else
	int whole = compound_mapcount(head), n = whole, i;

	/* The parts of a page that is not anonymous count mappings of the whole, too. */
	if (PageDoubleMap(head))
		for (i = 0; i < HPAGE_PMD_NR; i++)
			n += atomic_read(&head[i]._mapcount) + 1 - whole;
	return n;
#endif
}

/* Each series exports another one of the two. */
static inline void pw_zap_page_range(struct vm_area_struct *vma,
				     unsigned long addr, unsigned long len)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
	zap_page_range_single(vma, addr, len, NULL);
#else
	zap_page_range(vma, addr, len);
#endif
}

/* Release the lock that a fault came with, to return VM_FAULT_RETRY. */
static inline void pw_fault_unlock(struct vm_fault *vmf)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
	release_fault_lock(vmf);
#else
	mmap_read_unlock(vmf->vma->vm_mm);
#endif
}

/* Keeps per-VMA-lock faults out until the mmap_lock is released. */
static inline void pw_vma_start_write(struct vm_area_struct *vma)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 4, 0)
	vma_start_write(vma);
#endif
}

static inline bool pw_vma_is_sealed(const struct vm_area_struct *vma)
{
#ifdef VM_SEALED
	return vma->vm_flags & VM_SEALED;
#else
	return false;
#endif
}

static inline void pw_vm_flags_set(struct vm_area_struct *vma, unsigned long flags)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
	vm_flags_set(vma, flags);
#else
	vma->vm_flags |= flags;
#endif
}

static inline void pw_vm_flags_clear(struct vm_area_struct *vma,
				     unsigned long flags)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
	vm_flags_clear(vma, flags);
#else
	vma->vm_flags &= ~flags;
#endif
}

/*
 * Compound pages made and unmade by hand, for prep_compound_page() is not
 * exported: what a series keeps in the pages behind the head. On a series that
 * nobody has looked at there are none.
 */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0) && \
	LINUX_VERSION_CODE < KERNEL_VERSION(6, 13, 0)
#define PW_HAVE_COMPOUND	1
/* 34,000 instructions for 2 MiB, 13,600 when they are no compound page. */
#define PW_COMPOUND_FREES_SLOWLY	1

static inline void pw_compound_begin(struct page *head, unsigned int order)
{
	struct folio *folio = (struct folio *)head;

	folio->_flags_1 = (folio->_flags_1 & ~PAGE_FLAGS_SECOND) | order;
	folio->_folio_nr_pages = 1U << order;
	atomic_set(&folio->_large_mapcount, -1);
	atomic_set(&folio->_entire_mapcount, -1);
	atomic_set(&folio->_nr_pages_mapped, 0);
	atomic_set(&folio->_pincount, 0);
	INIT_LIST_HEAD(&folio->_deferred_list);
}

static inline void pw_compound_end(struct page *head)
{
	head[1].flags &= ~PAGE_FLAGS_SECOND;
}

static inline void pw_compound_recycle(struct page *head)
{
}
#elif LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
#define PW_HAVE_COMPOUND	1
#define PW_COMPOUND_FREES_SLOWLY	0

static inline void pw_compound_begin(struct page *head, unsigned int order)
{
	set_compound_page_dtor(head, COMPOUND_PAGE_DTOR);
	set_compound_order(head, order);
	atomic_set(compound_mapcount_ptr(head), -1);
	atomic_set(compound_pincount_ptr(head), 0);
}

static inline void pw_compound_end(struct page *head)
{
	ClearPageDoubleMap(head);
}

static inline void pw_compound_recycle(struct page *head)
{
	ClearPageDoubleMap(head);
}
#else
#define PW_HAVE_COMPOUND	0
#define PW_COMPOUND_FREES_SLOWLY	0

static inline void pw_compound_begin(struct page *head, unsigned int order)
{
}

static inline void pw_compound_end(struct page *head)
{
}

static inline void pw_compound_recycle(struct page *head)
{
}
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 7, 0)
static inline struct shrinker *shrinker_alloc(unsigned int flags, const char *name)
{
	struct shrinker *shrinker = kzalloc(sizeof(*shrinker), GFP_KERNEL);

	if (shrinker)
		shrinker->flags = flags;
	return shrinker;
}

static inline void shrinker_register(struct shrinker *shrinker)
{
	if (register_shrinker(shrinker, "pagewell"))
		pr_warn("pagewell: no memory to register the shrinker\n");
}

static inline void shrinker_free(struct shrinker *shrinker)
{
	unregister_shrinker(shrinker);
	kfree(shrinker);
}
#endif

#endif /* PAGEWELL_COMPAT_H */
