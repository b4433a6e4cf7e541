// SPDX-License-Identifier: GPL-2.0-only
/*
 * map.c - page table entries: put in, made writable, made read-only, taken out
 *
 * Insertion does by hand what the kernel does for a page of a file: a
 * reference and a map count for the entry, MM_FILEPAGES for the process,
 * NR_FILE_MAPPED for the node. Removal is always the kernel's own zap, which
 * undoes just that.
 */
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/pagemap.h>
#include <linux/smp.h>
#include <linux/userfaultfd_k.h>
#include <linux/vmstat.h>
#include <asm/pgalloc.h>
#include <asm/tlbflush.h>

#include "compat.h"
#include "heap.h"
#include "map.h"

/* What has been put in so far, for the counters of process and node. */
struct tally {
	long inserted;
	long mapped;
	struct pglist_data *node;
};

/* The page middle directory entry for an address, NULL if there is no table. */
static pmd_t *find_pmd(struct mm_struct *mm, unsigned long addr)
{
	pgd_t *pgd = pgd_offset(mm, addr);
	p4d_t *p4d;
	pud_t *pud;
	pmd_t *pmd;

	if (pgd_none(*pgd))
		return NULL;
	p4d = p4d_offset(pgd, addr);
	if (p4d_none(*p4d))
		return NULL;
	pud = pud_offset(p4d, addr);
	if (pud_none(*pud))
		return NULL;
	pmd = pmd_offset(pud, addr);
	return pmd_none(*pmd) ? NULL : pmd;
}

/* As far as one page table reaches, or would if there were one further up. */
static unsigned long table_end(struct mm_struct *mm, unsigned long addr, unsigned long end)
{
	pgd_t *pgd = pgd_offset(mm, addr);
	p4d_t *p4d;

	/* A level that the kernel is built without has no end of its own. */
	end = pgd_addr_end(addr, end);
	if (pgd_none(*pgd))
		return end;
	p4d = p4d_offset(pgd, addr);
	end = p4d_addr_end(addr, end);
	if (p4d_none(*p4d))
		return end;
	end = pud_addr_end(addr, end);
	return pud_none(*pud_offset(p4d, addr)) ? end : pmd_addr_end(addr, end);
}

/* NR_FILE_MAPPED counts pages, not entries: only first mappings reach it. */
static void flush_mapped(struct tally *t)
{
	if (t->mapped)
		mod_node_page_state(t->node, NR_FILE_MAPPED, t->mapped);
	t->mapped = 0;
}

static void count_first_mapping(struct tally *t, struct page *page)
{
	if (t->node != page_pgdat(page)) {
		flush_mapped(t);
		t->node = page_pgdat(page);
	}
	t->mapped++;
}

static bool is_exclusive(const struct pw_run *run, unsigned int i,
			 struct page *page)
{
	return pw_chunk_is_own(run->c) && !pw_page_sharers(page) &&
	       !test_bit(i, run->c->suspect);
}

/*
 * A page that is not ours alone goes in read-only and clean: the kernel makes a
 * dirty read-only entry writable again after mprotect() or a NUMA hint without
 * asking us.
 */
static pte_t make_pte(const struct pw_run *run, int k, unsigned int i,
		      struct page *page)
{
	pte_t pte = mk_pte(page, run->vma->vm_page_prot);

	if (k == run->sample)
		pte = pte_mkold(pte);
	if (!run->writable || !is_exclusive(run, i, page))
		return pte_mkclean(pte_wrprotect(pte));
	return pw_pte_mkwrite(pte_mkdirty(pte));
}

/*
 * A futex between processes is known by file and offset, so its page has to
 * tell. The pool takes that away again before anybody else sees the page.
 */
static void set_place(const struct pw_run *run, unsigned long addr,
		      struct page *page)
{
	page->mapping = run->vma->vm_file->f_mapping;
	page->index = pw_chunk_index(run->c, linear_page_index(run->vma, addr));
}

/*
 * Empty, or the note that userfaultfd leaves where it follows writes to pages
 * that are not there. A page that takes its place counts as written.
 */
static bool is_empty(pte_t pte)
{
	return pte_none(pte) || pte_marker_uffd_wp(pte);
}

static void insert_one(const struct pw_run *run, int k, pte_t *ptep,
		       struct tally *t)
{
	unsigned long addr = run->addr + (long)k * run->step * (long)PAGE_SIZE;
	unsigned int i = run->i + k * run->step;
	u32 pfn = run->c->pfn[i];
	struct page *page;

	if (!pw_pfn_is_page(pfn) || !is_empty(pw_ptep_get(ptep)))
		return;

	page = pfn_to_page(pfn);
	get_page(page);
	if (atomic_inc_and_test(&page->_mapcount)) {
		count_first_mapping(t, page);
		set_place(run, addr, page);
	}
	set_pte_at(run->vma->vm_mm, addr, ptep, make_pte(run, k, i, page));
	t->inserted++;
}

/* The run's first entry with its table locked; NULL without memory for one. */
static pte_t *lock_table(const struct pw_run *run, spinlock_t **ptl)
{
	struct mm_struct *mm = run->vma->vm_mm;
	pmd_t *pmd = run->pmd ?: find_pmd(mm, run->addr);

	if (!pmd || pmd_none(*pmd)) {
		if (pw_map_make_table(run->vma, run->addr))
			return NULL;
		pmd = find_pmd(mm, run->addr);
	}
	/* The chunk has small pages, and nobody maps others while we lock it. */
	if (WARN_ON_ONCE(pmd_trans_huge(*pmd)))
		return NULL;
	*ptl = pte_lockptr(mm, pmd);
	spin_lock(*ptl);
	return pte_offset_kernel(pmd, run->addr);
}

/**
 * pw_map_insert() - map pages of an index, where nothing is mapped yet
 * @run: which, and where
 *
 * A walk of our own: page tables do not go away while the mmap_lock or the
 * VMA's lock is held, and the kernel's walk costs as much as all the rest.
 *
 * Return: 0, or -ENOMEM when there is no page table to be had.
 */
int pw_map_insert(const struct pw_run *run)
{
	struct tally t = { };
	spinlock_t *ptl;
	pte_t *ptep = lock_table(run, &ptl);
	int k;

	if (!ptep)
		return -ENOMEM;
	for (k = 0; k < run->nr; k++, ptep += run->step)
		insert_one(run, k, ptep, &t);
	spin_unlock(ptl);
	flush_mapped(&t);
	pw_mm_add_file_pages(run->vma->vm_mm, t.inserted);
	return 0;
}

/* A page that nobody else has: what the kernel sees of it is set, not counted up. */
static void set_new(struct vm_area_struct *vma, unsigned long addr, pte_t *ptep,
		    u32 pfn, bool writable)
{
	pte_t pte = pfn_pte(pfn, vma->vm_page_prot);
	struct page *page = pfn_to_page(pfn);

	pte = writable ? pw_pte_mkwrite(pte_mkdirty(pte)) :
			 pte_mkclean(pte_wrprotect(pte));
	page_ref_inc(page);
	atomic_set(&page->_mapcount, 0);
	page->mapping = vma->vm_file->f_mapping;
	page->index = linear_page_index(vma, addr);
	__mod_node_page_state(page_pgdat(page), NR_FILE_MAPPED, 1);
	set_pte_at(vma->vm_mm, addr, ptep, pte);
}

/**
 * pw_map_insert_new() - map one page that is new and the heap's alone
 * @vma: of the address
 * @pmd: where its page table is, if there is one
 * @addr: where
 * @pfn: the page, in no page table yet
 * @writable: region and VMA let it be written
 *
 * The short way for a page by itself; of a chunk that is not shared on purpose.
 *
 * Return: false when that is for pw_map_insert() to do.
 */
bool pw_map_insert_new(struct vm_area_struct *vma, pmd_t *pmd,
		       unsigned long addr, u32 pfn, bool writable)
{
	spinlock_t *ptl;
	pte_t *ptep;
	bool done;

	if (unlikely(pmd_none(*pmd) || pmd_trans_huge(*pmd)))
		return false;
	ptl = pte_lockptr(vma->vm_mm, pmd);
	ptep = pte_offset_kernel(pmd, addr);
	spin_lock(ptl);
	done = likely(pte_none(pw_ptep_get(ptep)));
	if (done)
		set_new(vma, addr, ptep, pfn, writable);
	spin_unlock(ptl);
	if (done)
		pw_mm_add_file_pages(vma->vm_mm, 1);
	return done;
}

/**
 * pw_map_zero() - map the kernel's zero page where nothing is mapped yet
 * @vma: has pw_vm_ops_cow, or the kernel would let it be written
 * @addr: where
 *
 * Return: 0, or -ENOMEM when there is no page table to be had.
 */
int pw_map_zero(struct vm_area_struct *vma, unsigned long addr)
{
	const struct pw_run run = { .vma = vma, .addr = addr };
	spinlock_t *ptl;
	pte_t *ptep = lock_table(&run, &ptl);
	pte_t pte;

	if (!ptep)
		return -ENOMEM;
	pte = pte_mkspecial(pfn_pte(my_zero_pfn(addr), vma->vm_page_prot));
	if (pte_none(pw_ptep_get(ptep)))
		set_pte_at(vma->vm_mm, addr, ptep,
			   pte_mkclean(pte_wrprotect(pte)));
	spin_unlock(ptl);
	return 0;
}

static void mkwrite_one(const struct pw_run *run, int k, pte_t *ptep)
{
	unsigned int i = run->i + k;
	u32 pfn = run->c->pfn[i];
	pte_t pte = pw_ptep_get(ptep);

	/* The kernel wants to see the next write where userfaultfd follows them. */
	if (!pte_present(pte) || pte_write(pte) || pte_uffd_wp(pte) ||
	    !pw_pfn_is_page(pfn) || pte_pfn(pte) != pfn)
		return;
	pw_chunk_clear_suspect(run->c, i, 0);
	if (is_exclusive(run, i, pfn_to_page(pfn)))
		set_pte_at(run->vma->vm_mm,
			   run->addr + ((unsigned long)k << PAGE_SHIFT), ptep,
			   pw_pte_mkwrite(pte_mkdirty(pte)));
}

/**
 * pw_map_mkwrite() - make entries writable whose page is ours alone (again)
 * @run: which, and where; the chunk is not shared, the region writable
 *
 * No flush: an entry that gains a right costs another CPU one spurious fault.
 *
 * Return: 0, or -ENOMEM when there is no page table to be had.
 */
int pw_map_mkwrite(const struct pw_run *run)
{
	spinlock_t *ptl;
	pte_t *ptep = lock_table(run, &ptl);
	int k;

	if (!ptep)
		return -ENOMEM;
	for (k = 0; k < run->nr; k++, ptep++)
		mkwrite_one(run, k, ptep);
	spin_unlock(ptl);
	return 0;
}

/*
 * The fields of entries that the processor sets may change under us; what
 * would be lost is a dirty bit, and clean is what we want. As the kernel's
 * ptep_set_wrprotect() this writes the entry itself: it stays present, so no
 * hypervisor wants to know, and set_pte() would be a call for each.
 */
static void wrprotect_table(struct mm_struct *mm, pmd_t *pmd,
			    unsigned long addr, unsigned long end)
{
	spinlock_t *ptl = pte_lockptr(mm, pmd);
	pte_t *ptep = pte_offset_kernel(pmd, addr);

	spin_lock(ptl);
	for (; addr < end; addr += PAGE_SIZE, ptep++) {
		pte_t pte = pw_ptep_get(ptep);

		/* PROT_NONE entries count as present, and must be clean too. */
		if (pte_present(pte) && (pte_write(pte) || pte_dirty(pte)))
			WRITE_ONCE(*ptep, pte_wrprotect(pte_mkclean(pte)));
	}
	spin_unlock(ptl);
}

/* As above, for an entry that maps 2 MiB: true if it does. */
static bool wrprotect_huge(struct mm_struct *mm, pmd_t *pmd)
{
	spinlock_t *ptl = pmd_lock(mm, pmd);
	bool huge = pmd_trans_huge(*pmd);

	if (huge && (pmd_write(*pmd) || pmd_dirty(*pmd)))
		set_pmd(pmd, pmd_mkclean(pmd_wrprotect(*pmd)));
	spin_unlock(ptl);
	return huge;
}

/**
 * pw_map_accessed() - has a page been touched since it was put in as a sample?
 * @vma: of the page
 * @addr: its address
 *
 * Takes no lock: an entry that changes meanwhile spoils a guess. The VMA's lock or
 * the mmap_lock keeps tables.
 *
 * Return: true also when there is no entry to ask.
 */
bool pw_map_accessed(struct vm_area_struct *vma, unsigned long addr)
{
	pmd_t *pmdp = find_pmd(vma->vm_mm, addr), pmd;
	pte_t pte;

	if (!pmdp)
		return true;
	/* Once: 2 MiB may come and go meanwhile. */
	pmd = READ_ONCE(*pmdp);
	if (pmd_none(pmd) || pmd_trans_huge(pmd))
		return true;
	pte = pw_ptep_get(pte_offset_kernel(&pmd, addr));
	return !pte_present(pte) || pte_young(pte);
}

static void age_table(struct mm_struct *mm, pmd_t *pmd, unsigned long addr,
		      unsigned long end, unsigned int i, unsigned long *young)
{
	spinlock_t *ptl = pte_lockptr(mm, pmd);
	pte_t *ptep = pte_offset_kernel(pmd, addr);

	spin_lock(ptl);
	for (; addr < end; addr += PAGE_SIZE, ptep++, i++) {
		pte_t pte = pw_ptep_get(ptep);

		if (!pte_present(pte) || !pte_young(pte))
			continue;
		__set_bit(i, young);
		/* The processor may set the dirty bit meanwhile. */
		while (!try_cmpxchg(&ptep->pte, &pte.pte, pte_mkold(pte).pte))
			;
	}
	spin_unlock(ptl);
}

/* As above, for an entry that maps 2 MiB, or nothing now: false for a table. */
static bool age_huge(struct mm_struct *mm, pmd_t *pmd, unsigned int from,
		     unsigned int nr, unsigned long *young)
{
	spinlock_t *ptl = pmd_lock(mm, pmd);
	pmd_t old = *pmd;
	bool huge = pmd_trans_huge(old);

	if (huge && pmd_young(old)) {
		bitmap_set(young, from, nr);
		while (!try_cmpxchg(&pmd->pmd, &old.pmd, pmd_mkold(old).pmd))
			;
	}
	spin_unlock(ptl);
	return huge || pmd_none(old);
}

/**
 * pw_map_age() - which pages have been touched since this was asked last?
 * @vma: the range lies inside it
 * @addr: first address
 * @end: behind the last, in the same slot
 * @young: a bit for each page of the slot, set for those
 *
 * What a TLB has is not marked again when it is touched: call pw_map_flush() when
 * everything has been asked for.
 */
void pw_map_age(struct vm_area_struct *vma, unsigned long addr,
		unsigned long end, unsigned long *young)
{
	unsigned int from = linear_page_index(vma, addr) & PW_SLOT_MASK;
	struct mm_struct *mm = vma->vm_mm;
	pmd_t *pmd = find_pmd(mm, addr);

	if (pmd && !age_huge(mm, pmd, from, (end - addr) >> PAGE_SHIFT, young))
		age_table(mm, pmd, addr, end, from, young);
}

static void flush_cpu(void *unused)
{
	__flush_tlb_all();
}

/**
 * pw_map_flush() - let all processors forget what they know of page tables
 */
void pw_map_flush(void)
{
	on_each_cpu(flush_cpu, NULL, 1);
}

static int leave_entry(pte_t *ptep, unsigned long addr, void *data)
{
	return 0;
}

/**
 * pw_map_make_table() - have a page table for an address
 * @vma: of the address
 * @addr: which
 *
 * The kernel maps a page of 2 MiB as a whole only where there is none.
 *
 * Return: 0 or -ENOMEM.
 */
int pw_map_make_table(struct vm_area_struct *vma, unsigned long addr)
{
	return apply_to_page_range(vma->vm_mm, addr, PAGE_SIZE, leave_entry,
				   NULL);
}

/**
 * pw_map_has_table() - is there a page table for an address?
 * @vma: of the address
 * @addr: which
 */
bool pw_map_has_table(struct vm_area_struct *vma, unsigned long addr)
{
	pmd_t *pmd = find_pmd(vma->vm_mm, addr);

	return pmd && !pmd_trans_huge(*pmd);
}

/**
 * pw_map_wrprotect() - make all entries of a VMA read-only and clean
 * @vma: of the parent, in fork, which flushes the TLB when it is done
 *
 * A walk of our own: the kernel's costs twice as much an entry, and this is
 * what fork costs.
 *
 * Context: mmap_lock held for write and the VMA locked, so tables stay.
 */
void pw_map_wrprotect(struct vm_area_struct *vma)
{
	unsigned long addr, next;

	mmap_assert_write_locked(vma->vm_mm);
	for (addr = vma->vm_start; addr < vma->vm_end; addr = next) {
		pmd_t *pmd = find_pmd(vma->vm_mm, addr);

		next = table_end(vma->vm_mm, addr, vma->vm_end);
		if (pmd && !wrprotect_huge(vma->vm_mm, pmd))
			wrprotect_table(vma->vm_mm, pmd, addr, next);
		cond_resched();
	}
}

/**
 * pw_map_zap() - unmap a range
 * @vma: the range lies inside it
 * @addr: first address
 * @len: bytes
 *
 * When it returns no entry, no TLB and no page walk of this mm leads to the
 * pages any more. Sleeps.
 */
void pw_map_zap(struct vm_area_struct *vma, unsigned long addr,
		unsigned long len)
{
	pw_zap_page_range(vma, addr, len);
}

static bool table_is_empty(pmd_t *pmd, unsigned long addr)
{
	pte_t *ptep = pte_offset_kernel(pmd, addr & PMD_MASK);
	unsigned int i;

	for (i = 0; i < PTRS_PER_PTE; i++)
		if (!pte_none(pw_ptep_get(ptep + i)))
			return false;
	return true;
}

/* Take a table that is empty out of its directory; nobody can fill it now. */
static bool detach_table(struct mm_struct *mm, pmd_t *pmd, unsigned long addr)
{
	spinlock_t *pml = pmd_lock(mm, pmd);
	spinlock_t *ptl = pte_lockptr(mm, pmd);
	bool empty;

	if (ptl != pml)
		spin_lock_nested(ptl, SINGLE_DEPTH_NESTING);
	empty = table_is_empty(pmd, addr);
	if (empty)
		pmd_clear(pmd);
	if (ptl != pml)
		spin_unlock(ptl);
	spin_unlock(pml);
	return empty;
}

PW_DEFINE_PTLOCK_FREE

/**
 * pw_map_free_table() - take away the page table of 2 MiB
 * @vma: all of them lie inside; locked, so no fault is under way
 * @addr: in them
 *
 * Who walks page tables holds the mmap_lock, a VMA's lock, the i_mmap lock or,
 * without any, a processor with interrupts off; who has no lock but that is
 * done when the processor has taken the interrupt that flushes its TLB, which
 * may have kept where the table was. An IOMMU that shares our page tables may
 * have, too, and can be told by the kernel only: then the table stays.
 *
 * Context: mmap_lock held for write.
 *
 * Return: true when there is no table any more; false when it has entries.
 */
bool pw_map_free_table(struct vm_area_struct *vma, unsigned long addr)
{
	struct address_space *mapping = vma->vm_file->f_mapping;
	struct mm_struct *mm = vma->vm_mm;
	pmd_t *pmd = find_pmd(mm, addr), old;
	bool done;

	mmap_assert_write_locked(mm);
	if (!pmd || pmd_trans_huge(*pmd))
		return true;
	if (mm_has_notifiers(mm))
		return false;
	i_mmap_lock_write(mapping);
	old = *pmd;
	done = detach_table(mm, pmd, addr);
	i_mmap_unlock_write(mapping);
	if (!done)
		return false;
	pw_map_flush();
	mm_dec_nr_ptes(mm);
	pte_free(mm, pmd_pgtable(old));
	return true;
}
