/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * pool_hit.h - one page to or from the lists of this CPU
 *
 * What nearly every call ends in, so instructions are counted here. No cache
 * line that other CPUs write is touched. When a list or the credit does not do,
 * nothing is changed, and the caller goes the long way.
 */
#ifndef PAGEWELL_POOL_HIT_H
#define PAGEWELL_POOL_HIT_H

#include <linux/page_ref.h>
#include <linux/sched.h>

#include "pool_int.h"

/* Then the lists, which have pages of their own node, may not do. */
static __always_inline bool pw_has_policy(void)
{
#ifdef CONFIG_NUMA
	return pw_nodes() && current->mempolicy;
#else
	return false;
#endif
}

static __always_inline bool pw_is_far(const struct pw_pcp *pcp, u32 pfn)
{
	return pw_nodes() && page_to_nid(pfn_to_page(pfn)) != pcp->node;
}

/* Return: a page, or 0. @flags: PW_ALLOC_ */
static __always_inline u32 pw_hit_alloc(unsigned int flags)
{
	enum pw_kind kind = flags & PW_ALLOC_ZERO ? PW_CLEAR : PW_DIRTY;
	struct pw_pcp *pcp;
	u32 pfn, nr;

	if (pw_has_policy())
		return 0;
	pcp = pw_pcp_get();
	nr = pcp->nr[kind];
	if (unlikely(!nr))
		goto miss;
	if (!(flags & PW_ALLOC_PROMISED)) {
		if (unlikely(!pcp->credit))
			goto miss;
		pcp->credit--;
	}
	pcp->nr[kind] = --nr;
	pfn = pcp->pfn[kind][nr];
	pw_pcp_unlock(pcp);
	return pfn;
miss:
	pw_pcp_unlock(pcp);
	return 0;
}

/*
 * Make the page as new, unless someone else still has it. No page table maps
 * it any more, so nobody can newly come by it but a lockless get_user_pages()
 * that read the entry before it went: it looks at the entry again once it has
 * its reference, finds the entry gone, and lets go. That entry was cleared by an
 * atomic operation before we look at the count, so either we see its reference
 * or it sees the entry gone.
 */
static __always_inline bool pw_page_recycle(struct page *page)
{
	if (unlikely(page_ref_count(page) != 1))
		return false;
	if (unlikely(page->flags & (PAGE_FLAGS_CHECK_AT_PREP | PW_FLAGS_HELD))) {
		if (page->flags & PW_FLAGS_HELD)
			return false;
		page->flags &= ~PAGE_FLAGS_CHECK_AT_PREP;
	}
	page->mapping = NULL;
	set_page_private(page, 0);
	return true;
}

/* Return: whether the page could be put on a list. @flags: PW_FREE_ */
static __always_inline bool pw_hit_free(u32 pfn, unsigned int flags)
{
	struct pw_pcp *pcp;
	u32 nr;

	if (pw_zero_on_free() || unlikely(!pw_page_recycle(pfn_to_page(pfn))))
		return false;
	pcp = pw_pcp_get();
	nr = pcp->nr[PW_DIRTY];
	if (unlikely(nr >= pcp->limit) || pw_is_far(pcp, pfn))
		goto miss;
	if (!(flags & PW_FREE_PROMISED)) {
		if (unlikely(pcp->credit >= pcp->credit_limit))
			goto miss;
		pcp->credit++;
	}
	pcp->pfn[PW_DIRTY][nr] = pfn;
	pcp->nr[PW_DIRTY] = nr + 1;
	pw_pcp_unlock(pcp);
	return true;
miss:
	pw_pcp_unlock(pcp);
	return false;
}

/**
 * pw_pool_alloc_one() - pw_pool_alloc() of one page, without a call on a hit
 * @flags: PW_ALLOC_
 *
 * Return: its page frame number, or 0.
 */
static __always_inline u32 pw_pool_alloc_one(unsigned int flags)
{
	u32 pfn = pw_hit_alloc(flags);

	if (unlikely(!pfn))
		pw_pool_alloc(&pfn, 1, flags);
	return pfn;
}

/*
 * Promise pages with preemption off, where the pool need not grow and nobody be told.
 * Return: whether it could be done.
 */
static __always_inline bool pw_hit_reserve(unsigned long nr)
{
	long avail = atomic_long_read(&pw_pool.avail);
	struct pw_pcp *pcp;
	bool hit;

	if (nr > PW_PCP_BATCH)
		return avail >= (long)(nr + READ_ONCE(pw_pool.low)) &&
		       atomic_long_try_cmpxchg(&pw_pool.avail, &avail, avail - nr);
	pcp = pw_pcp_get_here();
	hit = nr <= pcp->credit;
	if (likely(hit))
		pcp->credit -= nr;
	pw_pcp_put_here(pcp);
	return hit;
}

/* The other way round. If CPUs are kept from credit, the next few pages end that. */
static __always_inline bool pw_hit_unreserve(unsigned long nr)
{
	struct pw_pcp *pcp;
	bool hit;

	if (nr > PW_PCP_BATCH) {
		atomic_long_add(nr, &pw_pool.avail);
		return true;
	}
	pcp = pw_pcp_get_here();
	hit = nr + pcp->credit <= pcp->credit_limit;
	if (likely(hit))
		pcp->credit += nr;
	pw_pcp_put_here(pcp);
	return hit;
}

/* Return: the head of a page of 2 MiB, or 0. @flags: PW_ALLOC_ */
static __always_inline u32 pw_hit_alloc_huge(enum pw_kind kind, unsigned int flags)
{
	struct pw_pcp *pcp;
	u32 pfn = 0, nr;

	if (pw_has_policy())
		return 0;
	pcp = pw_pcp_get();
	nr = pcp->nr_huge[kind];
	if (likely(nr) && (flags & PW_ALLOC_PROMISED || pw_hit_reserve(PW_BLOCK_PAGES))) {
		pcp->nr_huge[kind] = --nr;
		pfn = pcp->huge[kind][nr];
	}
	pw_pcp_unlock(pcp);
	return pfn;
}

/* Return: whether the page of 2 MiB could be put on a list. */
static __always_inline bool pw_hit_free_huge(u32 pfn)
{
	struct pw_pcp *pcp = pw_pcp_get();
	u32 nr = pcp->nr_huge[PW_DIRTY];
	bool hit = nr < PW_PCP_HUGE && pcp->limit && !pw_is_far(pcp, pfn);

	if (likely(hit)) {
		pcp->huge[PW_DIRTY][nr] = pfn;
		pcp->nr_huge[PW_DIRTY] = nr + 1;
	}
	pw_pcp_unlock(pcp);
	return hit;
}

#endif /* PAGEWELL_POOL_HIT_H */
