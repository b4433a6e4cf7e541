// SPDX-License-Identifier: GPL-2.0-only
/*
 * charge.c - charges that go with a page
 *
 * A page is charged to a heap: as what it has committed, or as what it found where
 * nothing was promised. Those that inherited the page by fork, or attached the region
 * that it was shared in on purpose, are not charged for it. When the heap lets go of
 * it, by a copy of its own, an unmap or its end, its counters say nothing of the page
 * any more, but it is there for as long as one of the others has it. So the page takes
 * the charge along, until nobody has it.
 *
 * It does so before the heap lets go: whoever is the last then finds it charged.
 */
#include <linux/mm.h>

#include "heap.h"
#include "limit.h"

/**
 * pw_page_set_payer() - have a page take the charge of another one along
 * @page: the page, which has none
 * @payer: of the other one, which is as new now; or NULL, as it had none either
 */
void pw_page_set_payer(struct page *page, struct pw_payer *payer)
{
	if (!payer)
		return;
	/* On no list of the kernel's: nothing else uses this. */
	page->lru.next = (struct list_head *)payer;
	set_bit(PG_owner_priv_1, &page->flags);
}

/**
 * pw_page_charge() - have a page take its charge along
 * @heap: to which it is charged, and which is about to let go of it
 * @pfn: the page, or the head of a block; others have it in an index
 */
void pw_page_charge(struct pw_heap *heap, u32 pfn)
{
	struct page *page = pfn_to_page(pfn);

	if (test_and_set_bit(PG_owner_priv_1, &page->flags))
		return;
	refcount_inc(&heap->payer->refs);
	page->lru.next = (struct list_head *)heap->payer;
	pw_limit_charge_all(&heap->payers, pw_charged_pages(page));
}

/**
 * pw_charges_end() - give back what was collected
 * @sum: by pw_charges_add()
 */
void pw_charges_end(struct pw_charges *sum)
{
	if (!sum->payer)
		return;
	pw_limit_uncharge(&sum->payer->who, sum->nr);
	pw_payer_put(sum->payer, sum->refs);
	*sum = (struct pw_charges){ .payer = NULL };
}

/**
 * pw_page_split_charge() - a block is pages now, and each takes its part
 * @head: the first of them
 */
void pw_page_split_charge(struct page *head)
{
	struct pw_payer *payer = pw_page_payer(head);
	unsigned int i;

	if (!payer)
		return;
	refcount_add(PW_SLOT_PAGES - 1, &payer->refs);
	for (i = 1; i < PW_SLOT_PAGES; i++)
		pw_page_set_payer(head + i, payer);
}
