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
#include <linux/pagemap.h>
#include <linux/userfaultfd_k.h>
#include <linux/vmstat.h>

#include "compat.h"
#include "heap.h"
#include "map.h"

struct insert_ctx {
	struct vm_area_struct *vma;
	struct pw_chunk *c;
	unsigned int first;	/* entry of the chunk that stands behind @addr */
	unsigned long addr;
	unsigned long sample;
	long inserted;
	long mapped;
	struct pglist_data *node;
};

static unsigned int entry_of(const struct insert_ctx *ctx, unsigned long addr)
{
	return ctx->first + ((addr - ctx->addr) >> PAGE_SHIFT);
}

/* NR_FILE_MAPPED counts pages, not entries: only first mappings reach it. */
static void flush_mapped(struct insert_ctx *ctx)
{
	if (ctx->mapped)
		mod_node_page_state(ctx->node, NR_FILE_MAPPED, ctx->mapped);
	ctx->mapped = 0;
}

static void count_first_mapping(struct insert_ctx *ctx, struct page *page)
{
	if (ctx->node != page_pgdat(page)) {
		flush_mapped(ctx);
		ctx->node = page_pgdat(page);
	}
	ctx->mapped++;
}

static bool is_exclusive(const struct insert_ctx *ctx, unsigned int i,
			 struct page *page)
{
	return ctx->c->users == 1 && !pw_page_sharers(page) &&
	       !test_bit(i, ctx->c->suspect);
}

/*
 * A page that is not ours alone goes in read-only and clean: the kernel makes a
 * dirty read-only entry writable again after mprotect() or a NUMA hint without
 * asking us.
 */
static pte_t make_pte(struct insert_ctx *ctx, unsigned long addr,
		      unsigned int i, struct page *page)
{
	pte_t pte = mk_pte(page, ctx->vma->vm_page_prot);

	if (addr == ctx->sample)
		pte = pte_mkold(pte);
	if (!(ctx->vma->vm_flags & VM_WRITE) || !is_exclusive(ctx, i, page))
		return pte_mkclean(pte_wrprotect(pte));
	return pw_pte_mkwrite(pte_mkdirty(pte));
}

/*
 * A futex between processes is known by file and offset, so its page has to
 * tell. The pool takes that away again before anybody else sees the page.
 */
static void set_place(struct insert_ctx *ctx, unsigned long addr,
		      struct page *page)
{
	page->mapping = ctx->vma->vm_file->f_mapping;
	page->index = linear_page_index(ctx->vma, addr);
}

/*
 * Empty, or the note that userfaultfd leaves where it follows writes to pages
 * that are not there. A page that takes its place counts as written.
 */
static bool is_empty(pte_t pte)
{
	return pte_none(pte) || pte_marker_uffd_wp(pte);
}

static int insert_one(pte_t *ptep, unsigned long addr, void *data)
{
	struct insert_ctx *ctx = data;
	unsigned int i = entry_of(ctx, addr);
	u32 pfn = ctx->c->pfn[i];
	struct page *page;

	if (!pw_pfn_is_page(pfn) || !is_empty(pw_ptep_get(ptep)))
		return 0;

	page = pfn_to_page(pfn);
	get_page(page);
	if (atomic_inc_and_test(&page->_mapcount)) {
		count_first_mapping(ctx, page);
		set_place(ctx, addr, page);
	}
	set_pte_at(ctx->vma->vm_mm, addr, ptep, make_pte(ctx, addr, i, page));
	ctx->inserted++;
	return 0;
}

/**
 * pw_map_insert() - map pages of an index, where nothing is mapped yet
 * @vma: where; the whole range lies inside it
 * @addr: first address
 * @c: the chunk that stands behind it, locked
 * @i: its entry for @addr; holes of the index are left out
 * @nr: pages
 * @sample: one of them that pw_map_accessed() will be asked about, or -1
 *
 * Return: 0, or -ENOMEM when there is no page table to be had.
 */
int pw_map_insert(struct vm_area_struct *vma, unsigned long addr,
		  struct pw_chunk *c, unsigned int i, unsigned int nr,
		  int sample)
{
	struct insert_ctx ctx = {
		.vma = vma, .addr = addr, .c = c, .first = i,
		.sample = sample < 0 ? ULONG_MAX :
			  addr + ((unsigned long)sample << PAGE_SHIFT),
	};
	int err;

	err = apply_to_page_range(vma->vm_mm, addr,
				  (unsigned long)nr << PAGE_SHIFT,
				  insert_one, &ctx);
	flush_mapped(&ctx);
	pw_mm_add_file_pages(vma->vm_mm, ctx.inserted);
	return err;
}

static int mkwrite_one(pte_t *ptep, unsigned long addr, void *data)
{
	struct insert_ctx *ctx = data;
	unsigned int i = entry_of(ctx, addr);
	u32 pfn = ctx->c->pfn[i];
	pte_t pte = pw_ptep_get(ptep);

	/* The kernel wants to see the next write where userfaultfd follows them. */
	if (!pte_present(pte) || pte_write(pte) || pte_uffd_wp(pte) ||
	    !pw_pfn_is_page(pfn) || pte_pfn(pte) != pfn)
		return 0;
	pw_chunk_clear_suspect(ctx->c, i, 0);
	if (is_exclusive(ctx, i, pfn_to_page(pfn)))
		set_pte_at(ctx->vma->vm_mm, addr, ptep,
			   pw_pte_mkwrite(pte_mkdirty(pte)));
	return 0;
}

/**
 * pw_map_mkwrite() - make entries writable whose page is ours alone (again)
 * @vma: a writable VMA; the whole range lies inside it
 * @addr: first address
 * @c: the chunk that stands behind it, locked, not shared
 * @i: its entry for @addr
 * @nr: pages
 *
 * No flush: an entry that gains a right costs another CPU one spurious fault.
 *
 * Return: 0, or an error of the walk.
 */
int pw_map_mkwrite(struct vm_area_struct *vma, unsigned long addr,
		   struct pw_chunk *c, unsigned int i, unsigned int nr)
{
	struct insert_ctx ctx = {
		.vma = vma, .addr = addr, .c = c, .first = i,
	};

	return apply_to_existing_page_range(vma->vm_mm, addr,
					    (unsigned long)nr << PAGE_SHIFT,
					    mkwrite_one, &ctx);
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

/**
 * pw_map_accessed() - has a page been touched since it was put in as a sample?
 * @vma: of the page
 * @addr: its address
 *
 * Takes no lock: an entry that changes meanwhile spoils a guess.
 *
 * Return: true also when there is no entry to ask.
 */
bool pw_map_accessed(struct vm_area_struct *vma, unsigned long addr)
{
	pmd_t *pmd = find_pmd(vma->vm_mm, addr);
	pte_t pte;

	if (!pmd || pmd_trans_huge(*pmd))
		return true;
	pte = pw_ptep_get(pte_offset_kernel(pmd, addr));
	return !pte_present(pte) || pte_young(pte);
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

		next = pmd_addr_end(addr, vma->vm_end);
		if (pmd && !wrprotect_huge(vma->vm_mm, pmd))
			wrprotect_table(vma->vm_mm, pmd, addr, next);
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
