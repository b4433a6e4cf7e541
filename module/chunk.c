// SPDX-License-Identifier: GPL-2.0-only
/*
 * chunk.c - which pages stand behind a heap's addresses, and how they leave
 *
 * Order of every removal: the new layout is published; then, with the chunk
 * locked, pages are detached from the index, unmapped, and only then dropped.
 * A page that is dropped while an entry still leads to it would look pinned
 * and be lost to the pool.
 */
#include <linux/highmem.h>
#include <linux/page_ref.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/wait_bit.h>

#include "compat.h"
#include "heap.h"
#include "map.h"
#include "pool.h"
#include "stats.h"

/* Pages detached, unmapped and dropped at a time; an array on the stack. */
#define DROP_BATCH	128

static struct kmem_cache *pw_chunk_cache;

int pw_chunk_init(void)
{
	pw_chunk_cache = KMEM_CACHE(pw_chunk, SLAB_ACCOUNT);
	return pw_chunk_cache ? 0 : -ENOMEM;
}

/* Chunks are freed through RCU: wait for the last of them. */
void pw_chunk_exit(void)
{
	rcu_barrier();
	kmem_cache_destroy(pw_chunk_cache);
}

static struct pw_chunk *alloc_chunk(struct pw_heap *owner, gfp_t gfp)
{
	struct pw_chunk *c = kmem_cache_zalloc(pw_chunk_cache, gfp);

	if (!c)
		return NULL;
	mutex_init(&c->lock);
	refcount_set(&c->refs, 1);
	c->users = 1;
	c->owner = owner;
	return c;
}

static void free_chunk_rcu(struct rcu_head *rcu)
{
	kmem_cache_free(pw_chunk_cache,
			container_of(rcu, struct pw_chunk, rcu));
}

/**
 * pw_chunk_put() - drop a reference
 * @c: the chunk
 */
void pw_chunk_put(struct pw_chunk *c)
{
	if (refcount_dec_and_test(&c->refs))
		call_rcu(&c->rcu, free_chunk_rcu);
}

/**
 * pw_chunk_unlock() - let go of a chunk, and of the reference that came with its lock
 * @c: the chunk
 */
void pw_chunk_unlock(struct pw_chunk *c)
{
	mutex_unlock(&c->lock);
	pw_chunk_put(c);
}

/**
 * pw_chunk_lock() - lock the chunk of a slot
 * @heap: whose
 * @slot: which
 *
 * Return: the chunk, to be given to pw_chunk_unlock(), or NULL when the slot
 * has none.
 */
struct pw_chunk *pw_chunk_lock(struct pw_heap *heap, unsigned long slot)
{
	struct pw_chunk *c;

	for (;;) {
		/* In every fault: this kind of a section costs two instructions. */
		rcu_read_lock_sched();
		c = pw_slot_load(heap, slot);
		if (c && !refcount_inc_not_zero(&c->refs)) {
			rcu_read_unlock_sched();
			continue;
		}
		rcu_read_unlock_sched();
		if (!c)
			return NULL;
		mutex_lock(&c->lock);
		/* The slot may have got another one while we waited. */
		if (c->owner == heap)
			return c;
		if (pw_slot_load(heap, slot) == c) {
			if (c->users == 1 && !c->shared) {
				c->owner = heap;
				c->layout = 0;
			}
			return c;
		}
		pw_chunk_unlock(c);
	}
}

/**
 * pw_chunk_lock_new() - lock the chunk of a slot, made if there is none
 * @heap: whose
 * @slot: which
 * @gfp: for it, and for its place in the table
 *
 * Return: the chunk, or NULL without memory for one.
 */
struct pw_chunk *pw_chunk_lock_new(struct pw_heap *heap, unsigned long slot, gfp_t gfp)
{
	struct pw_chunk *c;
	int err;

	for (;;) {
		c = pw_chunk_lock(heap, slot);
		if (c)
			return c;
		c = alloc_chunk(heap, gfp);
		if (!c)
			return NULL;
		refcount_inc(&c->refs);
		mutex_lock(&c->lock);
		/*
		 * Its barrier pairs with that of an unmap that looks for chunks
		 * after it has published: either it finds this one, or we see
		 * the layout that it published.
		 */
		err = pw_slot_fill(heap, slot, c, gfp);
		if (!err)
			return c;
		mutex_unlock(&c->lock);
		kmem_cache_free(pw_chunk_cache, c);
		if (err == -ENOMEM)
			return NULL;
	}
}

/**
 * pw_entry_share() - one more chunk has what an entry stands for
 * @entry: of the index of another one: a page, or what is in place of one
 */
void pw_entry_share(u32 entry)
{
	if (pw_pfn_is_page(entry))
		atomic_long_inc(pw_sharers(pfn_to_page(entry)));
	else if (pw_pfn_is_packed(entry))
		pw_packed_share(entry);
}

/**
 * pw_page_unshare() - let go of a page unless nobody else has it
 * @pfn: which, in an index of the caller's; a page, not what is in place of one
 *
 * Return: true when it was let go; false when the caller is its only owner,
 * and stays that.
 */
bool pw_page_unshare(u32 pfn)
{
	return atomic_long_add_unless(pw_sharers(pfn_to_page(pfn)), -1, 0);
}

/**
 * pw_chunk_clear_suspect() - is a page that was shared ours alone again?
 * @c: an unshared chunk, locked
 * @i: the entry; nobody else has its page in an index
 * @extra: references that the caller knows of
 *
 * Whoever else refers to the page may have got it while it was shared, and
 * must not see what is written from now on.
 *
 * Return: true when nobody does, or the page was never shared.
 */
bool pw_chunk_clear_suspect(struct pw_chunk *c, unsigned int i,
			    unsigned int extra)
{
	struct page *page = pfn_to_page(c->pfn[i]);

	if (!test_bit(i, c->suspect))
		return true;
	if (pw_page_sharers(page) || pw_page_is_held(page, extra))
		return false;
	__clear_bit(i, c->suspect);
	return true;
}

/* Blocks: pages of 2 MiB */

/**
 * pw_block_is_held() - does somebody refer to a chunk's block?
 * @c: the chunk, locked
 * @extra: references that the caller knows of
 */
bool pw_block_is_held(const struct pw_chunk *c, unsigned int extra)
{
	struct page *head = pfn_to_page(c->block);

	return page_count(head) != 1 + extra + pw_compound_mapcount(head);
}

/* Two at a time: one at a time was a fifth of what the touch of a block cost. */
static void fill_pfns(u32 *to, u32 pfn)
{
	union {
		u32 pfn[2];
		u64 both;
	} pair = { { pfn, pfn + 1 } }, step = { { 2, 2 } };
	u64 *pairs = (u64 *)to;
	unsigned int i;

#pragma GCC unroll 16
	for (i = 0; i < PW_SLOT_PAGES / 2; i++, pair.both += step.both)
		pairs[i] = pair.both;
}

/**
 * pw_chunk_set_block() - put a page of 2 MiB into an empty chunk
 * @heap: whose
 * @slot: which
 * @c: its chunk, locked, not shared
 * @pfn: the head of the page, which counts as resident already
 */
void pw_chunk_set_block(struct pw_heap *heap, unsigned long slot,
			struct pw_chunk *c, u32 pfn)
{
	struct page *head = pfn_to_page(pfn);

	fill_pfns(c->pfn, pfn);
	c->block = pfn;
	pw_chunk_filled(c, 0, PW_SLOT_PAGES);
	head->mapping = heap->family->inode->i_mapping;
	head->index = pw_chunk_index(c, slot << PW_SLOT_SHIFT);
}

/**
 * struct zap - pages are being unmapped from all heaps of a family
 * @node: in pw_family.zaps, in the order of @nr
 * @nr: counts them
 */
struct zap {
	struct list_head node;
	u64 nr;
};

static void begin_zap(struct pw_family *family, struct zap *zap)
{
	spin_lock(&family->zap_lock);
	zap->nr = ++family->last_zap;
	list_add_tail(&zap->node, &family->zaps);
	spin_unlock(&family->zap_lock);
}

static void end_zap(struct pw_family *family, struct zap *zap)
{
	spin_lock(&family->zap_lock);
	list_del(&zap->node);
	spin_unlock(&family->zap_lock);
	/* Pairs with the look of a waiter behind its way onto the queue. */
	smp_mb();
	wake_up_var(&family->zaps);
}

/* Is one of those that had begun when @last was the last one still under way? */
static bool zaps_until(struct pw_family *family, u64 last)
{
	struct zap *oldest;
	bool found;

	spin_lock(&family->zap_lock);
	oldest = list_first_entry_or_null(&family->zaps, struct zap, node);
	found = oldest && oldest->nr <= last;
	spin_unlock(&family->zap_lock);
	return found;
}

/**
 * pw_family_zap() - unmap pages from all heaps of a family
 * @heap: one of them
 * @page: the first, heap-relative
 * @nr: how many
 *
 * Hits whatever the others have there, which costs them a fault.
 */
void pw_family_zap(struct pw_heap *heap, unsigned long page, unsigned long nr)
{
	struct pw_family *family = heap->family;
	struct zap zap;

	begin_zap(family, &zap);
	unmap_mapping_range(family->inode->i_mapping, (loff_t)page << PAGE_SHIFT,
			    (loff_t)nr << PAGE_SHIFT, 1);
	end_zap(family, &zap);
}

/**
 * pw_family_wait() - let zaps by relatives come to their end
 * @heap: whose
 *
 * Pages that they unmapped, and nobody else has, have no references of it left. Zaps
 * that begin meanwhile are not waited for: a hostile relative may begin one after
 * the other.
 */
void pw_family_wait(struct pw_heap *heap)
{
	struct pw_family *family = heap->family;
	u64 last;

	if (likely(list_empty_careful(&family->zaps)))
		return;
	spin_lock(&family->zap_lock);
	last = family->last_zap;
	spin_unlock(&family->zap_lock);
	/* Asleep: who is at it may be waiting for our processor. */
	wait_var_event(&family->zaps, !zaps_until(family, last));
}

/* Who is about to map a block has locked it; the chunk's lock keeps others off. */
static void wait_until_mapped(struct page *head)
{
	lock_page(head);
	unlock_page(head);
}

static void unmap_block(struct pw_heap *heap, unsigned long slot,
			struct page *head)
{
	wait_until_mapped(head);
	pw_family_zap(heap, slot << PW_SLOT_SHIFT, PW_SLOT_PAGES);
}

/**
 * pw_chunk_cut() - small pages instead of one of 2 MiB
 * @heap: whose
 * @slot: which
 * @c: its chunk, locked; others may have it too
 *
 * Return: true when the chunk has small pages now; false when somebody refers
 * to the block, it is unmapped then, or when it is shared on purpose.
 */
bool pw_chunk_cut(struct pw_heap *heap, unsigned long slot, struct pw_chunk *c)
{
	struct page *head = pfn_to_page(c->block);

	lockdep_assert_held(&c->lock);
	if (!c->block)
		return true;
	if (c->shared)
		return false;
	unmap_block(heap, slot, head);
	/* Nobody gets hold of a page that is about to change its form. */
	if (pw_page_sharers(head) || !page_ref_freeze(head, 1))
		return false;
	pw_pool_split_huge(c->block);
	page_ref_unfreeze(head, 1);
	pw_page_split_charge(head);
	c->block = 0;
	pw_stat_inc(huge_cut);
	return true;
}

/* Let go of a block, which another chunk may keep. */
static void put_block(u32 pfn, unsigned int flags)
{
	if (pw_page_unshare(pfn))
		return;
	pw_page_uncharge(pfn_to_page(pfn));
	pw_pool_free_huge(pfn, flags);
}

/**
 * pw_chunk_pay() - note that pages were found, and charged, without a promise
 * @heap: who found them
 * @c: its chunk, locked, not shared
 * @i: first entry
 * @nr: how many
 */
void pw_chunk_pay(struct pw_heap *heap, struct pw_chunk *c, unsigned int i,
		  unsigned int nr)
{
	c->payer = heap;
	bitmap_set(c->paid, i, nr);
}

/**
 * pw_chunk_pay_copies() - the same for pages that are there and not charged yet
 * @heap: whose; limits are not in the way
 * @c: its chunk, locked, not shared
 * @i: first entry
 * @nr: how many
 */
void pw_chunk_pay_copies(struct pw_heap *heap, struct pw_chunk *c,
			 unsigned int i, unsigned int nr)
{
	unsigned int to = i + nr, found = 0;

	for (; i < to; i++)
		found += !__test_and_set_bit(i, c->paid);
	c->payer = heap;
	pw_heap_paid(heap, found);
}

/**
 * pw_chunk_pays_for() - is a page charged to a heap that has it?
 * @heap: which
 * @c: its chunk, locked
 * @i: the entry
 * @promised: it lies in a strict region of that heap
 */
bool pw_chunk_pays_for(const struct pw_heap *heap, const struct pw_chunk *c,
		       unsigned int i, bool promised)
{
	return promised || (c->payer == heap && test_bit(i, c->paid));
}

/**
 * pw_chunk_take_charge() - a page goes, but what was in it stays the heap's
 * @heap: whose; a charge that the page has taken along is its own from now on
 * @c: its chunk, locked, not shared
 * @i: the entry
 */
void pw_chunk_take_charge(struct pw_heap *heap, struct pw_chunk *c, unsigned int i)
{
	if (pw_page_is_charged(pfn_to_page(c->pfn[i])))
		pw_chunk_pay_copies(heap, c, i, 1);
}

/*
 * A heap is about to let go of [from, to), and others keep some of that: what is
 * charged to it goes with the pages. Only what was shared can be others'.
 */
static void pass_charge(struct pw_heap *heap, struct pw_chunk *c, unsigned int from,
			unsigned int to, bool promised)
{
	unsigned int i;

	for (i = find_next_bit(c->suspect, to, from); i < to;
	     i = find_next_bit(c->suspect, to, i + 1)) {
		u32 pfn = c->block ?: c->pfn[i];

		if (pw_pfn_is_page(pfn) && pw_chunk_pays_for(heap, c, i, promised) &&
		    (c->users > 1 || pw_page_sharers(pfn_to_page(pfn))))
			pw_page_charge(heap, pfn);
		if (c->block && pw_page_is_charged(pfn_to_page(pfn)))
			return;
	}
}

/* The same for all of a slot. */
static void pass_slot_charge(struct pw_heap *heap, unsigned long slot, struct pw_chunk *c)
{
	unsigned long first = slot << PW_SLOT_SHIFT, end;
	unsigned int i, to;

	for (i = find_first_bit(c->suspect, PW_SLOT_PAGES); i < PW_SLOT_PAGES;
	     i = find_next_bit(c->suspect, PW_SLOT_PAGES, to)) {
		bool promised = pw_region_promised(heap, first + i, &end);

		to = min(end - first, (unsigned long)PW_SLOT_PAGES);
		pass_charge(heap, c, i, to, promised);
	}
}

/* All of a slot are copies now, which are charged where nothing was promised. */
static void pay_for_copies(struct pw_heap *heap, unsigned long slot, struct pw_chunk *c)
{
	unsigned long page = slot << PW_SLOT_SHIFT, hi = page + PW_SLOT_PAGES, end;

	for (; c->users == 1 && page < hi; page = end) {
		bool lazy = pw_region_unpromised(heap, page, &end);

		end = min(hi, end);
		if (lazy)
			pw_chunk_pay_copies(heap, c, page & PW_SLOT_MASK, end - page);
	}
}

/**
 * pw_chunk_copy_block() - small pages for a block that somebody holds, as copies
 * @heap: whose
 * @slot: which
 * @c: its chunk, locked
 * @over: the copies may come beyond the ceiling of the pool
 *
 * What the holder writes or sees from now on is not what the heap does.
 *
 * Return: false without memory; nothing has changed then.
 */
bool pw_chunk_copy_block(struct pw_heap *heap, unsigned long slot,
			 struct pw_chunk *c, bool over)
{
	u32 *pfns = kmalloc_array(PW_SLOT_PAGES, sizeof(*pfns), GFP_KERNEL);
	unsigned int got, i;

	if (!pfns)
		return false;
	/* All or none: the pool grows for that. */
	if (over ? pw_pool_reserve_over(PW_SLOT_PAGES) : pw_pool_reserve(PW_SLOT_PAGES)) {
		kfree(pfns);
		return false;
	}
	got = pw_pool_alloc(pfns, PW_SLOT_PAGES, PW_ALLOC_PROMISED);
	if (got < PW_SLOT_PAGES) {
		pw_pool_free(pfns, got, 0);
		pw_pool_unreserve(PW_SLOT_PAGES - got);
		kfree(pfns);
		return false;
	}
	unmap_block(heap, slot, pfn_to_page(c->block));
	for (i = 0; i < PW_SLOT_PAGES; i++)
		copy_highpage(pfn_to_page(pfns[i]), pfn_to_page(c->pfn[i]));
	pass_slot_charge(heap, slot, c);
	put_block(c->block, 0);
	memcpy(c->pfn, pfns, sizeof(c->pfn));
	bitmap_zero(c->suspect, PW_SLOT_PAGES);
	c->block = 0;
	kfree(pfns);
	pay_for_copies(heap, slot, c);
	pw_stat_inc(huge_cut);
	return true;
}

/* A heap takes its own part of a chunk to another one. */
static void move_paid(struct pw_heap *heap, struct pw_chunk *from,
		      struct pw_chunk *to)
{
	if (from->payer != heap)
		return;
	to->payer = heap;
	bitmap_copy(to->paid, from->paid, PW_SLOT_PAGES);
	from->payer = NULL;
	bitmap_zero(from->paid, PW_SLOT_PAGES);
}

/* A heap lets go of pages [from, to). */
static void stop_paying_for(struct pw_heap *heap, struct pw_chunk *c, unsigned int from,
			    unsigned int to)
{
	unsigned int i, n = 0;

	if (likely(c->payer != heap))
		return;
	for (i = find_next_bit(c->paid, to, from); i < to;
	     i = find_next_bit(c->paid, to, i + 1), n++)
		__clear_bit(i, c->paid);
	if (n)
		pw_heap_unpaid(heap, n);
}

/* A heap lets go of a chunk, or of all that is in it. */
static void stop_paying(struct pw_heap *heap, struct pw_chunk *c)
{
	if (likely(c->payer != heap))
		return;
	pw_heap_unpaid(heap, bitmap_weight(c->paid, PW_SLOT_PAGES));
	bitmap_zero(c->paid, PW_SLOT_PAGES);
	c->payer = NULL;
}

/**
 * pw_chunk_take_away() - take a block away from a heap that shares it
 * @heap: whose
 * @slot: which
 * @c: its chunk, locked, nobody else's
 *
 * Touching it is SIGBUS then.
 */
void pw_chunk_take_away(struct pw_heap *heap, unsigned long slot, struct pw_chunk *c)
{
	u32 block = c->block;

	unmap_block(heap, slot, pfn_to_page(block));
	memset32(c->pfn, PW_PFN_GONE, PW_SLOT_PAGES);
	bitmap_zero(c->suspect, PW_SLOT_PAGES);
	c->block = 0;
	stop_paying(heap, c);
	put_block(block, 0);
}

/* Both chunks hold the pages from now on. */
static void share_pages(struct pw_chunk *c)
{
	unsigned int i;

	if (c->block) {
		pw_entry_share(c->block);
		return;
	}
	for (i = 0; i < PW_SLOT_PAGES; i++)
		pw_entry_share(c->pfn[i]);
}

/**
 * pw_chunk_own() - a chunk of one's own in place of a shared one
 * @heap: whose
 * @slot: which
 * @c: its chunk, locked; returned as it is when it is not shared
 *
 * Return: the heap's own chunk, locked; @c is unlocked if it is another one.
 */
struct pw_chunk *pw_chunk_own(struct pw_heap *heap, unsigned long slot,
			      struct pw_chunk *c)
{
	struct pw_chunk *own;

	lockdep_assert_held(&c->lock);
	if (pw_chunk_is_own(c))
		return c;

	pw_chunk_cut(heap, slot, c);

	own = alloc_chunk(heap, GFP_KERNEL_ACCOUNT | __GFP_NOFAIL);
	refcount_inc(&own->refs);
	mutex_lock_nested(&own->lock, SINGLE_DEPTH_NESTING);
	memcpy(own->pfn, c->pfn, sizeof(c->pfn));
	bitmap_copy(own->used, c->used, PW_SLOT_PAGES);
	bitmap_copy(own->suspect, c->suspect, PW_SLOT_PAGES);
	bitmap_copy(own->zeros, c->zeros, PW_SLOT_PAGES);
	bitmap_copy(own->loose, c->loose, PW_SLOT_PAGES);
	bitmap_copy(own->left, c->left, PW_SLOT_PAGES);
	own->nr = c->nr;
	own->packed = c->packed;
	own->block = c->block;
	move_paid(heap, c, own);
	share_pages(own);
	c->users--;
	pw_slot_set(heap, slot, own);
	pw_chunk_put(c);
	pw_chunk_unlock(c);
	return own;
}

/*
 * The chunk of a slot, locked and nobody else's, for pages that must not be lost.
 * The kernel does not refuse it even to a task that it has killed.
 */
static struct pw_chunk *lock_own(struct pw_heap *heap, unsigned long slot)
{
	return pw_chunk_own(heap, slot,
			    pw_chunk_lock_new(heap, slot, GFP_KERNEL_ACCOUNT | __GFP_NOFAIL));
}

/**
 * pw_chunk_lock_child() - a child's own chunk, while the parent's is locked
 * @child: in fork, so nobody else looks for its chunks
 * @slot: which
 *
 * Return: the chunk, locked, made if there was none.
 */
struct pw_chunk *pw_chunk_lock_child(struct pw_heap *child, unsigned long slot)
{
	struct pw_chunk *c = pw_slot_load(child, slot);

	if (!c) {
		c = alloc_chunk(child, GFP_KERNEL_ACCOUNT | __GFP_NOFAIL);
		WARN_ON_ONCE(pw_slot_fill(child, slot, c, GFP_KERNEL_ACCOUNT | __GFP_NOFAIL));
	}
	refcount_inc(&c->refs);
	mutex_lock_nested(&c->lock, SINGLE_DEPTH_NESTING);
	return c;
}

/**
 * pw_chunk_share() - put a parent's chunk into its child, by reference
 * @child: gets it
 * @slot: which; empty in the child, or this chunk already
 * @c: of the parent, locked
 */
void pw_chunk_share(struct pw_heap *child, unsigned long slot,
		    struct pw_chunk *c)
{
	lockdep_assert_held(&c->lock);
	if (pw_slot_load(child, slot) == c)
		return;
	refcount_inc(&c->refs);
	c->users++;
	c->owner = NULL;
	bitmap_copy(c->suspect, c->used, PW_SLOT_PAGES);
	if (!bitmap_empty(c->loose, PW_SLOT_PAGES))
		WRITE_ONCE(child->loose, true);
	WARN_ON_ONCE(pw_slot_fill(child, slot, c, GFP_KERNEL_ACCOUNT | __GFP_NOFAIL));
	atomic_long_add(c->nr, &child->resident);
	atomic_long_add(c->packed, &child->packed);
}

/* With pages go, in proportion, those that were brought in on a guess. */
static void count_gone(struct pw_heap *heap, unsigned int nr)
{
	long left = atomic_long_sub_return(nr, &heap->resident);
	long guessed = READ_ONCE(heap->guessed);

	if (nr && guessed)
		WRITE_ONCE(heap->guessed, guessed * left / (left + nr));
}

struct batch {
	unsigned int nr;
	unsigned int first;	/* entry of the first page */
	unsigned int end;	/* entry behind the last */
	u32 pfns[DROP_BATCH];
};

/* Take the next pages out of [from, to) of an index; they count as resident still. */
static void detach(struct pw_heap *heap, struct pw_chunk *c, unsigned int from,
		   unsigned int to, struct batch *b)
{
	unsigned int i = find_next_bit(c->used, to, from);

	pw_chunk_keep(c, from, to - from);
	b->nr = 0;
	b->first = i;
	b->end = i;
	for (; i < to && b->nr < DROP_BATCH;
	     i = find_next_bit(c->used, to, i + 1)) {
		if (unlikely(pw_pfn_is_packed(c->pfn[i])))
			pw_chunk_packed(heap, c, -1);
		b->pfns[b->nr++] = c->pfn[i];
		b->end = i + 1;
		c->pfn[i] = 0;
		__clear_bit(i, c->used);
		__clear_bit(i, c->suspect);
	}
	c->nr -= b->nr;
}

/* Give up our hold on pages; those that nobody else has are moved up front. */
static unsigned int drop_shares(u32 *pfns, unsigned int nr)
{
	struct pw_charges charges = { .payer = NULL };
	unsigned int i, last = 0;

	for (i = 0; i < nr; i++) {
		struct page *page;

		if (!pw_pfn_is_page(pfns[i])) {
			if (pw_pfn_is_packed(pfns[i]))
				pw_packed_put(pfns[i]);
			continue;
		}
		page = pfn_to_page(pfns[i]);
		if (pw_page_sharers(page) &&
		    atomic_long_dec_return(pw_sharers(page)) >= 0)
			continue;
		set_page_private(page, 0);
		if (unlikely(pw_page_is_charged(page)))
			pw_charges_add(&charges, page);
		pfns[last++] = pfns[i];
	}
	pw_charges_end(&charges);
	return last;
}

/**
 * pw_pages_drop() - let go of pages that were taken out of an index
 * @pfns: which, unmapped from this heap; the array is used up
 * @nr: how many
 * @flags: for pw_pool_free()
 */
void pw_pages_drop(u32 *pfns, unsigned int nr, unsigned int flags)
{
	nr = drop_shares(pfns, nr);
	if (nr)
		pw_pool_free(pfns, nr, flags);
}

/*
 * The same, and each of the pages becomes a promise again: by itself, or, if
 * others keep it, by one of the @spare promises made for that.
 */
static void drop_keeping_promise(struct pw_heap *heap, u32 *pfns,
				 unsigned int nr, unsigned long *spare)
{
	unsigned int last = drop_shares(pfns, nr);
	unsigned long used = min_t(unsigned long, nr - last, *spare);

	if (last)
		pw_pool_free(pfns, last, PW_FREE_PROMISED);
	*spare -= used;
	atomic_long_add(last + used, &heap->promised);
}

/* Detach a slot that others share too: they keep the pages. */
static void remove_slot(struct pw_heap *heap, unsigned long slot,
			struct pw_chunk *c)
{
	lockdep_assert_held(&c->lock);
	pw_slot_set(heap, slot, NULL);
	stop_paying(heap, c);
	c->users--;
	c->owner = NULL;
	pw_chunk_put(c);
}

/* The same, and the pages go when nobody else has them. */
static void leave(struct pw_heap *heap, unsigned long slot, struct pw_chunk *c,
		  unsigned int nr)
{
	count_gone(heap, nr);
	atomic_long_sub(c->packed, &heap->packed);
	/* A child that has only what it inherited pays for none of that. */
	if (heap->cow && !c->shared && (atomic_long_read(&heap->committed) || c->payer == heap))
		pass_slot_charge(heap, slot, c);
	remove_slot(heap, slot, c);
	if (!c->users && c->nr) {
		pw_family_wait(heap);
		pw_chunk_empty(c);
	}
}

/* The maker of a region was promised its pages; others have them for as long as they like. */
static void pass_shared_charge(struct pw_heap *heap, unsigned long slot, struct pw_chunk *c)
{
	unsigned long end;
	unsigned int i;

	if (c->users == 1 || !pw_region_promised(heap, slot << PW_SLOT_SHIFT, &end))
		return;
	if (c->block) {
		pw_page_charge(heap, c->block);
		return;
	}
	for_each_set_bit(i, c->used, PW_SLOT_PAGES)
		pw_page_charge(heap, c->pfn[i]);
}

/* The chunk stays a part of its region, which goes with its last part. */
static void leave_shared(struct pw_heap *heap, unsigned long slot,
			 struct pw_chunk *c)
{
	atomic_long_dec(&heap->shared_slots);
	pass_shared_charge(heap, slot, c);
	leave(heap, slot, c, PW_SLOT_PAGES);
	pw_shared_put(c->shared);
}

/**
 * pw_chunk_new_shared() - a chunk of a region that is shared on purpose
 * @s: which
 * @place: see struct pw_chunk
 *
 * Return: the chunk, in no heap yet, or NULL.
 */
struct pw_chunk *pw_chunk_new_shared(struct pw_shared *s, unsigned long place)
{
	/* A region may have very many: rather none than kill for them. */
	struct pw_chunk *c = alloc_chunk(NULL, GFP_KERNEL_ACCOUNT |
					 __GFP_NOWARN | __GFP_RETRY_MAYFAIL);

	if (c) {
		c->users = 0;
		c->shared = s;
		c->place = place;
	}
	return c;
}

/**
 * pw_chunk_empty() - let go of all pages of a chunk
 * @c: the chunk; no heap has it
 */
void pw_chunk_empty(struct pw_chunk *c)
{
	if (c->block)
		put_block(c->block, 0);
	else if (c->nr)
		pw_pages_drop(c->pfn, PW_SLOT_PAGES, 0);
	c->block = 0;
	c->nr = 0;
	c->packed = 0;
	memset(c->pfn, 0, sizeof(c->pfn));
	bitmap_zero(c->used, PW_SLOT_PAGES);
}

/**
 * pw_chunk_attach() - put a chunk that is shared on purpose into a heap
 * @heap: gets it
 * @slot: where
 * @c: the chunk, which counts as resident already; the caller holds a reference to
 *     its region
 * @gfp: for the index of the slots
 *
 * Return: 0, -ENOMEM, or -EEXIST when the slot has a chunk.
 */
int pw_chunk_attach(struct pw_heap *heap, unsigned long slot,
		    struct pw_chunk *c, gfp_t gfp)
{
	int err;

	mutex_lock(&c->lock);
	err = pw_slot_fill(heap, slot, c, gfp);
	if (!err) {
		refcount_inc(&c->refs);
		c->users++;
		atomic_long_inc(&heap->shared_slots);
	}
	mutex_unlock(&c->lock);
	return err;
}

/**
 * pw_chunk_leave() - a heap gives up a slot that it has not mapped
 * @heap: whose
 * @slot: which
 */
void pw_chunk_leave(struct pw_heap *heap, unsigned long slot)
{
	struct pw_chunk *c = pw_chunk_lock(heap, slot);

	if (!c)
		return;
	if (c->shared)
		leave_shared(heap, slot, c);
	else
		leave(heap, slot, c, c->nr);
	pw_chunk_unlock(c);
}

/**
 * pw_heap_zap() - unmap pages from all of a heap's VMAs
 * @heap: whose
 * @lo: first page
 * @hi: page behind the last
 *
 * Context: mmap_lock held for read.
 */
void pw_heap_zap(struct pw_heap *heap, unsigned long lo, unsigned long hi)
{
	unsigned long addr = pw_heap_addr(heap, lo);
	unsigned long end = pw_heap_addr(heap, hi);
	struct vm_area_struct *vma;

	mmap_assert_locked(heap->mm);
	while (addr < end) {
		unsigned long to;

		/* Nearly always there is one, and asking for it is cheaper. */
		vma = vma_lookup(heap->mm, addr) ?:
		      find_vma_intersection(heap->mm, addr, end);
		if (!vma)
			return;
		addr = max(addr, vma->vm_start);
		to = min(end, vma->vm_end);
		if (pw_vma_is_ours(vma) && vma->vm_private_data == heap)
			pw_map_zap(vma, addr, to - addr);
		addr = to;
	}
}

/*
 * Pages of a range go. Four ask for that:
 *
 *	pw_range_drop()		an unmap, a break that shrinks: mapped, leave
 *	pw_range_clear()	advice, the region stays: mapped
 *	pw_range_vacate()	the addresses are free: none of the two
 *	forget()		the VMA is gone: none of the two; first it keeps promises
 */
struct drop {
	struct pw_heap *heap;
	bool mapped;		/* there may be entries: zap, under mmap_lock */
	bool leave;		/* for good; what is shared on purpose others keep */
	bool promised;		/* it is, or was, a strict region */
	bool keep_promise;	/* each page becomes a promise again, or the drop fails */
	bool unback;		/* its region stays, and has no promise for it */
	bool mmap_locked;
	int err;		/* where may_fail() */
	unsigned long dropped;	/* pages, but for those left by an unmap before */
};

/* Advice may, and a first try to keep promises; what loses addresses or VMA must go. */
static bool may_fail(const struct drop *d)
{
	return d->keep_promise || (d->mapped && !d->leave);
}

static bool has_pages(const struct pw_chunk *c, unsigned int from,
		      unsigned int to)
{
	return c->nr && find_next_bit(c->used, to, from) < to;
}

/* Pages, or places where the zero page is mapped? */
static bool has_entries(const struct pw_chunk *c, unsigned int from,
			unsigned int to)
{
	return has_pages(c, from, to) ||
	       find_next_bit(c->zeros, to, from) < to;
}

/* Pages of [from, to) that others will keep when we let go of them. */
static unsigned long count_kept(const struct pw_chunk *c, unsigned int from,
				unsigned int to)
{
	unsigned long n = 0;
	unsigned int i;

	if (c->block)
		return pw_page_sharers(pfn_to_page(c->block)) ? to - from : 0;
	for (i = find_next_bit(c->used, to, from); i < to;
	     i = find_next_bit(c->used, to, i + 1))
		n += !pw_pfn_is_page(c->pfn[i]) ||
		     pw_page_sharers(pfn_to_page(c->pfn[i]));
	return n;
}

/* How many of [from, to) an unmap had left there; they are going now. */
static unsigned int end_left(struct pw_chunk *c, unsigned int from, unsigned int to)
{
	unsigned int i, n = 0;

	for (i = find_next_bit(c->left, to, from); i < to;
	     i = find_next_bit(c->left, to, i + 1), n++)
		__clear_bit(i, c->left);
	return n;
}

/* Does somebody refer to one of the pages? */
static bool any_is_held(const struct pw_chunk *c, unsigned int from, unsigned int to)
{
	unsigned int i;

	if (c->block)
		return pw_block_is_held(c, 0);
	for (i = find_next_bit(c->used, to, from); i < to;
	     i = find_next_bit(c->used, to, i + 1))
		if (pw_pfn_is_page(c->pfn[i]) && pw_page_is_held(pfn_to_page(c->pfn[i]), 0))
			return true;
	return false;
}

/*
 * Pages that are lost while their promises are kept are replaced, beyond the
 * ceiling of the pool if need be. That comes to an end for who loses them.
 */
static bool may_keep_promise(const struct pw_chunk *c, unsigned int from, unsigned int to)
{
	return likely(!pw_pool_is_overdrawn()) || !any_is_held(c, from, to);
}

/*
 * Take the block out of a chunk and out of the heap's page tables. It is counted and
 * charged as it was.
 */
static u32 detach_block(struct pw_heap *heap, unsigned long slot,
			struct pw_chunk *c, bool mapped)
{
	unsigned long first = slot << PW_SLOT_SHIFT;
	u32 pfn = c->block;

	c->block = 0;
	memset(c->pfn, 0, sizeof(c->pfn));
	bitmap_zero(c->used, PW_SLOT_PAGES);
	bitmap_zero(c->suspect, PW_SLOT_PAGES);
	bitmap_zero(c->zeros, PW_SLOT_PAGES);
	c->nr = 0;
	if (mapped) {
		wait_until_mapped(pfn_to_page(pfn));
		pw_heap_zap(heap, first, first + PW_SLOT_PAGES);
	}
	return pfn;
}

static void drop_block(struct drop *d, unsigned long slot, struct pw_chunk *c)
{
	unsigned long spare = d->keep_promise ?
			      count_kept(c, 0, PW_SLOT_PAGES) : 0;
	unsigned int left;
	u32 pfn;

	if ((d->keep_promise && !may_keep_promise(c, 0, PW_SLOT_PAGES)) ||
	    (spare && pw_pool_reserve(spare))) {
		d->err = -ENOMEM;
		return;
	}
	left = end_left(c, 0, PW_SLOT_PAGES);
	pass_charge(d->heap, c, 0, PW_SLOT_PAGES, d->promised);
	pfn = detach_block(d->heap, slot, c, d->mapped);
	count_gone(d->heap, PW_SLOT_PAGES);
	stop_paying(d->heap, c);
	pw_family_wait(d->heap);
	d->dropped += PW_SLOT_PAGES - left;
	/* Promised by itself, or by the spare ones if another chunk has it. */
	put_block(pfn, d->keep_promise && !spare ? PW_FREE_PROMISED : 0);
	if (d->keep_promise) {
		atomic_long_add(PW_SLOT_PAGES, &d->heap->promised);
		pw_heap_unpromise(d->heap, left);
	}
}

/* Another chunk has a block too, or had it and somebody may still see it. */
static bool must_leave(const struct pw_chunk *c)
{
	return pw_page_sharers(pfn_to_page(c->block)) || test_bit(0, c->suspect);
}

/*
 * Cut a block. A holder keeps the block in one piece, and what it writes goes
 * to the heap; but if it is held because another chunk has it too, or had it,
 * the heap gets copies.
 */
static bool make_small(struct pw_heap *heap, unsigned long slot,
		       struct pw_chunk *c)
{
	if (pw_chunk_cut(heap, slot, c))
		return true;
	return must_leave(c) && pw_chunk_copy_block(heap, slot, c, false);
}

static bool is_left_over(struct pw_heap *heap, const struct pw_chunk *c,
			 unsigned long first, unsigned int i)
{
	struct pw_where where;

	return test_bit(i, c->left) && !pw_region_lookup(heap, first + i, &where);
}

/*
 * Copies of pages [lo, hi) of a block that the heap has left, which count and are
 * charged as those were. Those of a strict region were promised, and come beyond the
 * ceiling if need be; what cannot be had is lost. What an unmap had left is given up.
 */
static void copy_rest(struct pw_heap *heap, unsigned long lo, unsigned long hi,
		      struct pw_chunk *c, u32 block)
{
	unsigned long first = lo & ~(unsigned long)PW_SLOT_MASK, end;

	for (; lo < hi; lo = end) {
		bool lazy = pw_region_unpromised(heap, lo, &end);
		unsigned int i = lo & PW_SLOT_MASK, to, got = 0;

		if (is_left_over(heap, c, first, i)) {
			__clear_bit(i, c->left);
			count_gone(heap, 1);
			stop_paying_for(heap, c, i, i + 1);
			end = lo + 1;
			continue;
		}
		end = min(hi, end);
		to = i + (end - lo);
		if (lazy) {
			got = pw_pool_alloc(c->pfn + i, to - i, 0);
		} else if (!pw_pool_reserve_over(to - i)) {
			got = pw_pool_alloc(c->pfn + i, to - i, PW_ALLOC_PROMISED);
			pw_pool_unreserve(to - i - got);
		}
		pw_chunk_filled(c, i, to - i);
		if (lazy)
			pw_chunk_pay_copies(heap, c, i, got);
		for (got += i; i < got; i++)
			copy_highpage(pfn_to_page(c->pfn[i]), pfn_to_page(block + i));
		stop_paying_for(heap, c, i, to);
		for (; i < to; i++)
			c->pfn[i] = PW_PFN_GONE;
	}
}

/*
 * Part of a block goes for good, others have or had the block too, and there is
 * no memory to copy all of it: the heap leaves it to them.
 */
static void leave_block(struct drop *d, unsigned long slot, struct pw_chunk *c,
			unsigned int from, unsigned int to)
{
	unsigned long first = slot << PW_SLOT_SHIFT;
	u32 block = c->block;

	unmap_block(d->heap, slot, pfn_to_page(block));
	pass_slot_charge(d->heap, slot, c);
	detach_block(d->heap, slot, c, false);
	count_gone(d->heap, to - from);
	stop_paying_for(d->heap, c, from, to);
	copy_rest(d->heap, first, first + from, c, block);
	copy_rest(d->heap, first + to, first + PW_SLOT_PAGES, c, block);
	d->dropped += to - from - end_left(c, from, to);
	pw_family_wait(d->heap);
	put_block(block, 0);
	pw_stat_inc(huge_cut);
}

/*
 * Part of a block goes, and somebody holds the block, so it stays in one piece:
 * that part is cleared in place, and stays the heap's. If its region goes too, it
 * keeps the page that its promise has become, and goes with what is around it.
 */
static void clear_part(struct drop *d, unsigned long slot, struct pw_chunk *c,
		       unsigned int from, unsigned int to)
{
	unsigned long first = slot << PW_SLOT_SHIFT;

	if (d->leave) {
		d->dropped += to - from - end_left(c, from, to);
		bitmap_set(c->left, from, to - from);
		if (!pw_page_is_charged(pfn_to_page(c->block)))
			pw_chunk_pay_copies(d->heap, c, from, to - from);
	}
	if (d->mapped)
		pw_heap_zap(d->heap, first + from, first + to);
	for (; from < to; from++)
		clear_highpage(pfn_to_page(c->pfn[from]));
}

/*
 * With a part goes what an unmap left on either side of it. That is on its way to no
 * other place: a remap has unmap_lock, as who unmaps a map has; and a break has its
 * slots for itself.
 */
static void widen(struct drop *d, unsigned long slot, const struct pw_chunk *c,
		  unsigned int *from, unsigned int *to)
{
	unsigned long first = slot << PW_SLOT_SHIFT;

	while (*to < PW_SLOT_PAGES && is_left_over(d->heap, c, first, *to))
		++*to;
	while (*from && is_left_over(d->heap, c, first, *from - 1))
		--*from;
}

/*
 * As make_small(), where the part may be in no region any more, so that its charge is
 * not found when the block goes. Not before the block cannot be cut: who cuts it keeps
 * the rest, and is charged for that. Return: false when the part is dealt with.
 */
static bool make_small_for(struct drop *d, unsigned long slot, struct pw_chunk *c,
			   unsigned int from, unsigned int to)
{
	if (pw_chunk_cut(d->heap, slot, c))
		return true;
	if (!must_leave(c)) {
		clear_part(d, slot, c, from, to);
		return false;
	}
	/* For advice the region is there: its charge is found when the block goes. */
	if (!may_fail(d))
		pass_charge(d->heap, c, from, to, d->promised);
	if (pw_chunk_copy_block(d->heap, slot, c, false))
		return true;
	/* What must go goes, whatever that costs the rest. */
	if (may_fail(d))
		d->err = -ENOMEM;
	else
		leave_block(d, slot, c, from, to);
	return false;
}

static void drop_part(struct drop *d, unsigned long slot, struct pw_chunk *c,
		      unsigned int from, unsigned int to)
{
	unsigned long first = slot << PW_SLOT_SHIFT;
	unsigned long spare = 0;
	unsigned int left;
	struct batch b;

	if (d->leave)
		widen(d, slot, c, &from, &to);
	if (c->block && to - from == PW_SLOT_PAGES) {
		drop_block(d, slot, c);
		return;
	}
	if (!make_small_for(d, slot, c, from, to))
		return;

	if (d->keep_promise)
		spare = count_kept(c, from, to);
	if ((d->keep_promise && !may_keep_promise(c, from, to)) ||
	    (spare && pw_pool_reserve(spare))) {
		d->err = -ENOMEM;
		return;
	}
	left = end_left(c, from, to);
	if (!d->keep_promise)
		d->dropped -= left;
	pass_charge(d->heap, c, from, to, d->promised);
	for (;; from = b.end) {
		detach(d->heap, c, from, to, &b);
		if (!b.nr)
			break;
		count_gone(d->heap, b.nr);
		stop_paying_for(d->heap, c, b.first, b.end);
		if (d->mapped)
			pw_heap_zap(d->heap, first + b.first, first + b.end);
		d->dropped += b.nr;
		pw_family_wait(d->heap);
		if (d->keep_promise)
			drop_keeping_promise(d->heap, b.pfns, b.nr, &spare);
		else
			pw_pages_drop(b.pfns, b.nr, 0);
	}
	pw_pool_unreserve(spare);
	if (d->keep_promise)
		pw_heap_unpromise(d->heap, left);
}

/* Nothing but an unmap, which is of whole slots, lets go of these. */
static void drop_shared(struct drop *d, unsigned long slot, struct pw_chunk *c)
{
	unsigned long first = slot << PW_SLOT_SHIFT;

	if (!d->leave)
		return;
	if (c->block)
		wait_until_mapped(pfn_to_page(c->block));
	if (c->nr)
		pw_heap_zap(d->heap, first, first + PW_SLOT_PAGES);
	d->dropped += PW_SLOT_PAGES;
	leave_shared(d->heap, slot, c);
}

/**
 * pw_chunk_drop_zeros() - unmap the zero page
 * @heap: whose
 * @slot: which
 * @c: its chunk, locked, not shared
 * @from: first entry
 * @to: entry behind the last
 * @mapped: it may be mapped
 *
 * Context: mmap_lock held, unless nothing is mapped there any more.
 */
void pw_chunk_drop_zeros(struct pw_heap *heap, unsigned long slot,
			 struct pw_chunk *c, unsigned int from,
			 unsigned int to, bool mapped)
{
	unsigned long first = slot << PW_SLOT_SHIFT;

	if (find_next_bit(c->zeros, to, from) >= to)
		return;
	if (mapped)
		pw_heap_zap(heap, first + from, first + to);
	bitmap_clear(c->zeros, from, to - from);
}

static bool is_unused(const struct pw_chunk *c)
{
	return !c->nr && bitmap_empty(c->zeros, PW_SLOT_PAGES);
}

/*
 * Part of a slot went, and that was the last of it. Programs often map such a
 * part again at once, so the chunk stays until this happens to another one.
 */
static void leave_idle(struct pw_heap *heap, unsigned long slot)
{
	unsigned long old = xchg(&heap->idle_slot, slot);
	struct pw_chunk *c;

	if (old == slot || old == PW_NO_SLOT)
		return;
	c = pw_chunk_lock(heap, old);
	if (!c)
		return;
	if (!c->shared && c->users == 1 && is_unused(c))
		remove_slot(heap, old, c);
	pw_chunk_unlock(c);
}

static void drop_in_slot(struct drop *d, unsigned long slot,
			 unsigned int from, unsigned int to)
{
	struct pw_chunk *c = pw_chunk_lock(d->heap, slot);
	bool entries = c && has_entries(c, from, to);
	bool idle;

	if (entries && d->mapped && !d->mmap_locked) {
		/* The mmap_lock comes before chunks: if it is taken, back off. */
		if (!mmap_read_trylock(d->heap->mm)) {
			pw_chunk_unlock(c);
			mmap_read_lock(d->heap->mm);
			c = pw_chunk_lock(d->heap, slot);
			entries = c && has_entries(c, from, to);
		}
		d->mmap_locked = true;
	}
	if (!c)
		return;
	if (c->shared) {
		drop_shared(d, slot, c);
		pw_chunk_unlock(c);
		return;
	}
	if (entries)
		c = pw_chunk_own(d->heap, slot, c);
	if (entries && has_pages(c, from, to))
		drop_part(d, slot, c, from, to);
	if (entries && c->users == 1)
		pw_chunk_drop_zeros(d->heap, slot, c, from, to, d->mapped);
	idle = is_unused(c) && c->users == 1;
	if (idle && to - from == PW_SLOT_PAGES)
		remove_slot(d->heap, slot, c);
	/* Before anybody finds that they are gone. */
	if (d->unback)
		atomic_long_add(d->dropped, &d->heap->unbacked);
	pw_chunk_unlock(c);
	if (idle && to - from < PW_SLOT_PAGES)
		leave_idle(d->heap, slot);
}

/**
 * pw_let_writers_in() - let go of the mmap_lock if somebody wants it for writing
 * @mm: whose, held for read, and again on return
 *
 * To be called between two slots: a long way holds up nobody's mmap(), nor faults
 * that wait behind that. What was known of VMAs is not known any more.
 */
void pw_let_writers_in(struct mm_struct *mm)
{
	if (mmap_lock_is_contended(mm)) {
		mmap_read_unlock(mm);
		mmap_read_lock(mm);
	}
	cond_resched();
}

static void drop_range(struct drop *d, unsigned long lo, unsigned long hi)
{
	unsigned long slot = lo >> PW_SLOT_SHIFT;
	unsigned long last = (hi - 1) >> PW_SLOT_SHIFT;

	/* Pairs with the barrier in pw_chunk_lock_new(). */
	smp_mb();
	while (!d->err && pw_slot_next(d->heap, &slot, last)) {
		unsigned long first = slot << PW_SLOT_SHIFT;

		drop_in_slot(d, slot, lo > first ? lo - first : 0,
			     min(hi - first, (unsigned long)PW_SLOT_PAGES));
		if (slot++ == last)
			break;
		/* Of what is going for good, munmap() must not find a part. */
		if (d->mmap_locked && !d->leave)
			pw_let_writers_in(d->heap->mm);
	}
	if (d->mmap_locked)
		mmap_read_unlock(d->heap->mm);
}

/**
 * pw_range_drop() - take pages out of a heap, unmap them, let them go
 * @heap: the caller's own
 * @lo: first page
 * @hi: page behind the last
 * @promised: the range was strict
 *
 * Takes the mmap_lock for read if there is something to unmap. Of what is shared
 * on purpose the range has whole slots.
 *
 * Return: pages dropped.
 */
unsigned long pw_range_drop(struct pw_heap *heap, unsigned long lo,
			    unsigned long hi, bool promised)
{
	struct drop d = {
		.heap = heap, .mapped = true, .leave = true, .promised = promised,
	};

	drop_range(&d, lo, hi);
	return d.dropped;
}

/**
 * pw_range_clear() - the same where the range stays mapped: it reads as zero
 * @heap: the caller's own
 * @lo: first page
 * @hi: page behind the last
 * @promised: the range is strict, each page becomes a promise again
 *
 * Return: 0, or -ENOMEM when no promise can be had for a page that a child
 * keeps, or no copies of what is around a part of a block that others have, too;
 * that page, and those behind it, are still there.
 */
int pw_range_clear(struct pw_heap *heap, unsigned long lo, unsigned long hi,
		   bool promised)
{
	struct drop d = {
		.heap = heap, .mapped = true,
		.promised = promised, .keep_promise = promised,
	};

	drop_range(&d, lo, hi);
	return d.err;
}

static void unmap_in_slot(struct pw_heap *heap, unsigned long slot,
			  unsigned int from, unsigned int to)
{
	unsigned long first = slot << PW_SLOT_SHIFT;
	struct pw_chunk *c = pw_chunk_lock(heap, slot);

	if (!c)
		return;
	if (has_entries(c, from, to)) {
		if (c->block)
			wait_until_mapped(pfn_to_page(c->block));
		pw_heap_zap(heap, first + from, first + to);
	}
	pw_chunk_unlock(c);
}

/**
 * pw_range_unmap() - take page table entries out; the pages stay
 * @heap: the caller's own
 * @lo: first page
 * @hi: page behind the last
 *
 * What is touched from then on goes by the regions as they were published
 * before. Takes the mmap_lock for read.
 */
void pw_range_unmap(struct pw_heap *heap, unsigned long lo, unsigned long hi)
{
	unsigned long slot = lo >> PW_SLOT_SHIFT;
	unsigned long last = (hi - 1) >> PW_SLOT_SHIFT;

	mmap_read_lock(heap->mm);
	/* Pairs with the barrier in pw_chunk_lock_new(). */
	smp_mb();
	while (pw_slot_next(heap, &slot, last)) {
		unsigned long first = slot << PW_SLOT_SHIFT;

		unmap_in_slot(heap, slot, lo > first ? lo - first : 0,
			      min(hi - first, (unsigned long)PW_SLOT_PAGES));
		if (slot++ == last)
			break;
		pw_let_writers_in(heap->mm);
	}
	mmap_read_unlock(heap->mm);
}

/* The VMA is gone: pages of a slot go, with their promise when there is none to keep. */
static void forget(struct pw_heap *heap, unsigned long lo, unsigned long hi,
		   bool promised)
{
	struct drop d = {
		.heap = heap, .promised = promised, .keep_promise = promised,
	};

	drop_range(&d, lo, hi);
	if (d.err) {
		d.err = 0;
		d.dropped = 0;
		d.keep_promise = false;
		d.unback = true;
		drop_range(&d, lo, hi);
	}
}

/**
 * pw_range_forget() - let go of the pages of a range whose VMA is gone
 * @heap: whose
 * @lo: first page
 * @hi: page behind the last
 *
 * Promises are kept where that can be: the VMA may grow there again; and who is about
 * to unmap the region gives them back.
 *
 * Context: mmap_lock held.
 */
void pw_range_forget(struct pw_heap *heap, unsigned long lo, unsigned long hi)
{
	unsigned long end;

	for (; lo < hi; lo = end) {
		unsigned long slot = lo >> PW_SLOT_SHIFT;
		bool promised;

		/* A VMA may be much longer than what it was ever used for. */
		if (!pw_slot_next(heap, &slot, (hi - 1) >> PW_SLOT_SHIFT))
			return;
		lo = max(lo, slot << PW_SLOT_SHIFT);
		promised = pw_region_promised(heap, lo, &end);
		end = min3(end, (lo | PW_SLOT_MASK) + 1, hi);
		forget(heap, lo, end, promised);
		cond_resched();
	}
}

/**
 * pw_chunk_is_private() - does no other heap have any of a chunk's pages?
 * @c: the chunk, locked; what it had shared and has for itself again is noted
 */
bool pw_chunk_is_private(struct pw_chunk *c)
{
	unsigned int i;

	if (c->shared)
		return true;
	if (c->users > 1)
		return false;
	if (c->block && !bitmap_empty(c->suspect, PW_SLOT_PAGES)) {
		if (pw_page_sharers(pfn_to_page(c->block)) ||
		    pw_block_is_held(c, 0))
			return false;
		bitmap_zero(c->suspect, PW_SLOT_PAGES);
	}
	for_each_set_bit(i, c->suspect, PW_SLOT_PAGES) {
		if (pw_pfn_is_packed(c->pfn[i])) {
			__clear_bit(i, c->suspect);
			continue;
		}
		if (!pw_pfn_is_page(c->pfn[i]) ||
		    !pw_chunk_clear_suspect(c, i, 0))
			return false;
	}
	return true;
}

/**
 * pw_slot_try_empty() - is there no page in part of a slot?
 * @heap: whose
 * @slot: which
 * @from: first page of the part
 * @to: page behind the last
 *
 * Does not wait: false also when that would be needed to tell.
 *
 * Context: preemption off.
 */
bool pw_slot_try_empty(struct pw_heap *heap, unsigned long slot,
		       unsigned int from, unsigned int to)
{
	struct pw_chunk *c = pw_slot_load(heap, slot);
	bool empty;

	if (!c)
		return true;
	if (c->shared || has_entries(c, from, to) || !mutex_trylock(&c->lock))
		return false;
	empty = pw_slot_load(heap, slot) == c && !has_entries(c, from, to);
	mutex_unlock(&c->lock);
	return empty;
}

/**
 * pw_range_populated() - is any page there, or a region shared on purpose?
 * @heap: whose
 * @lo: first page
 * @hi: page behind the last
 */
bool pw_range_populated(struct pw_heap *heap, unsigned long lo,
			unsigned long hi)
{
	unsigned long slot = lo >> PW_SLOT_SHIFT;
	unsigned long last = (hi - 1) >> PW_SLOT_SHIFT;
	bool found = false;

	while (!found && pw_slot_next(heap, &slot, last)) {
		unsigned long first = slot << PW_SLOT_SHIFT;
		struct pw_chunk *c = pw_chunk_lock(heap, slot);

		if (c) {
			found = c->shared ||
				has_entries(c, lo > first ? lo - first : 0,
					    min(hi - first,
						(unsigned long)PW_SLOT_PAGES));
			pw_chunk_unlock(c);
		}
		if (slot++ == last)
			break;
	}
	return found;
}

/*
 * At most DROP_BATCH pages on their way, and which of the entries they are. They count
 * as resident, and are charged: nobody gets past a limit meanwhile.
 */
struct move {
	struct batch b;
	DECLARE_BITMAP(used, DROP_BATCH);
	DECLARE_BITMAP(suspect, DROP_BATCH);
	DECLARE_BITMAP(paid, DROP_BATCH);
	DECLARE_BITMAP(left, DROP_BATCH);
};

static void attach(struct pw_heap *heap, unsigned long page,
		   const struct move *m)
{
	unsigned int i, n = 0, at = page & PW_SLOT_MASK;
	struct pw_chunk *c = lock_own(heap, page >> PW_SLOT_SHIFT);

	for_each_set_bit(i, m->used, DROP_BATCH) {
		c->pfn[at + i] = m->b.pfns[n++];
		if (pw_pfn_is_packed(c->pfn[at + i]))
			pw_chunk_packed(heap, c, 1);
		pw_chunk_filled(c, at + i, 1);
		if (test_bit(i, m->suspect))
			__set_bit(at + i, c->suspect);
		if (test_bit(i, m->left))
			__set_bit(at + i, c->left);
		if (test_bit(i, m->paid))
			pw_chunk_pay(heap, c, at + i, 1);
	}
	pw_chunk_unlock(c);
}

/* A whole slot, and what stands behind it is one page of 2 MiB. */
static bool move_block(struct pw_heap *heap, unsigned long from,
		       unsigned long to)
{
	unsigned long slot = from >> PW_SLOT_SHIFT;
	struct pw_chunk *c = pw_chunk_lock(heap, slot);
	DECLARE_BITMAP(left, PW_SLOT_PAGES);
	DECLARE_BITMAP(paid, PW_SLOT_PAGES);
	struct pw_heap *payer;
	bool suspect;
	u32 pfn;

	if (!c)
		return false;
	if (c->block)
		c = pw_chunk_own(heap, slot, c);
	if (!c->block) {
		pw_chunk_unlock(c);
		return false;
	}
	suspect = !bitmap_empty(c->suspect, PW_SLOT_PAGES);
	bitmap_copy(paid, c->paid, PW_SLOT_PAGES);
	bitmap_copy(left, c->left, PW_SLOT_PAGES);
	payer = c->payer;
	c->payer = NULL;
	pfn = detach_block(heap, slot, c, true);
	remove_slot(heap, slot, c);
	pw_chunk_unlock(c);

	c = lock_own(heap, to >> PW_SLOT_SHIFT);
	pw_chunk_set_block(heap, to >> PW_SLOT_SHIFT, c, pfn);
	bitmap_copy(c->left, left, PW_SLOT_PAGES);
	bitmap_copy(c->paid, paid, PW_SLOT_PAGES);
	c->payer = payer;
	if (suspect)
		bitmap_fill(c->suspect, PW_SLOT_PAGES);
	pw_chunk_unlock(c);
	return true;
}

static bool slot_moves_whole(unsigned long from, unsigned long to,
			     unsigned long nr)
{
	return !((from | to) & PW_SLOT_MASK) && nr >= PW_SLOT_PAGES;
}

/* Within one slot on either side. */
static void move_part(struct pw_heap *heap, unsigned long from,
		      unsigned long to, unsigned int nr)
{
	unsigned long slot = from >> PW_SLOT_SHIFT;
	struct pw_chunk *c = pw_chunk_lock(heap, slot);
	unsigned int i, at = from & PW_SLOT_MASK;
	struct move m = { };

	if (!c)
		return;
	if (!has_entries(c, at, at + nr)) {
		pw_chunk_unlock(c);
		return;
	}
	c = pw_chunk_own(heap, slot, c);
	for (i = 0; i < nr; i++) {
		if (test_bit(at + i, c->used))
			__set_bit(i, m.used);
		if (test_bit(at + i, c->suspect))
			__set_bit(i, m.suspect);
		if (__test_and_clear_bit(at + i, c->paid))
			__set_bit(i, m.paid);
		if (__test_and_clear_bit(at + i, c->left))
			__set_bit(i, m.left);
	}
	detach(heap, c, at, at + nr, &m.b);
	pw_heap_zap(heap, from, from + nr);
	bitmap_clear(c->zeros, at, nr);
	if (is_unused(c))
		remove_slot(heap, slot, c);
	pw_chunk_unlock(c);
	if (m.b.nr)
		attach(heap, to, &m);
}

/**
 * pw_range_vacate() - make sure that no page stands behind free addresses
 * @heap: the caller's own
 * @lo: first page; nobody may touch the range, and nothing is mapped there
 * @hi: page behind the last
 *
 * A part of a held block stays where it is when its addresses are given up.
 *
 * Return: 0, or -ENOMEM when it is held still.
 */
int pw_range_vacate(struct pw_heap *heap, unsigned long lo, unsigned long hi)
{
	struct drop d = { .heap = heap };

	drop_range(&d, lo, hi);
	return pw_range_populated(heap, lo, hi) ? -ENOMEM : 0;
}

/**
 * pw_range_cut() - prepare for a move: cut the blocks that it takes apart
 * @heap: the caller's own
 * @from: first page of the old range, which nobody may touch now
 * @to: first page of the new one
 * @nr: pages
 *
 * Return: 0, or -ENOMEM when a block is held: by a device, perhaps, that is to find it
 * where it is; or on account of a relative, and there is no memory to copy it.
 */
int pw_range_cut(struct pw_heap *heap, unsigned long from, unsigned long to,
		 unsigned long nr)
{
	int err = 0;

	/* Pairs with the barrier in pw_chunk_lock_new(). */
	smp_mb();
	while (nr && !err) {
		unsigned long n = min(nr, PW_SLOT_PAGES - (from & PW_SLOT_MASK));
		unsigned long slot = from >> PW_SLOT_SHIFT;
		struct pw_chunk *c = NULL;

		if (!slot_moves_whole(from, to, n))
			c = pw_chunk_lock(heap, slot);
		if (c) {
			if (!pw_chunk_cut(heap, slot, c)) {
				/* A relative's zap may have had it for a moment. */
				pw_family_wait(heap);
				c = pw_chunk_own(heap, slot, c);
				err = make_small(heap, slot, c) ? 0 : -ENOMEM;
			}
			pw_chunk_unlock(c);
		}
		from += n;
		to += n;
		nr -= n;
	}
	return err;
}

/**
 * pw_range_move() - let the pages of one range stand behind another
 * @heap: the caller's own
 * @from: first page of the old range, prepared by pw_range_cut()
 * @to: first page of the new one, empty, nobody may touch it
 * @nr: pages
 *
 * Nothing is copied.
 *
 * Context: mmap_lock held for read.
 */
void pw_range_move(struct pw_heap *heap, unsigned long from, unsigned long to,
		   unsigned long nr)
{
	/* Pairs with the barrier in pw_chunk_lock_new(). */
	smp_mb();
	while (nr) {
		unsigned long n = min3(nr, PW_SLOT_PAGES - (from & PW_SLOT_MASK),
				       PW_SLOT_PAGES - (to & PW_SLOT_MASK));

		if (!slot_moves_whole(from, to, n) ||
		    !move_block(heap, from, to)) {
			n = min_t(unsigned long, n, DROP_BATCH);
			move_part(heap, from, to, n);
		}
		from += n;
		to += n;
		nr -= n;
	}
}

/* Pages that may be taken (PAGEWELL_ADVISE_FREE) */

static void loosen_in_slot(struct pw_heap *heap, unsigned long slot,
			   unsigned int from, unsigned int to)
{
	unsigned long first = slot << PW_SLOT_SHIFT;
	struct pw_chunk *c = pw_chunk_lock(heap, slot);
	unsigned int i;

	if (!c)
		return;
	if (c->shared || !has_pages(c, from, to))
		goto out;
	c = pw_chunk_own(heap, slot, c);
	/* A page of 2 MiB is held, or shared: it stays what it is. */
	if (c->block && !make_small(heap, slot, c))
		goto out;
	pw_heap_zap(heap, first + from, first + to);
	for (i = find_next_bit(c->used, to, from); i < to;
	     i = find_next_bit(c->used, to, i + 1))
		if (pw_pfn_is_page(c->pfn[i]))
			__set_bit(i, c->loose);
	/* Whoever sees it sees what it is about. */
	smp_store_release(&heap->loose, true);
out:
	pw_chunk_unlock(c);
}

/**
 * pw_range_loosen() - pages may be taken, until they are touched again
 * @heap: the caller's own
 * @lo: first page
 * @hi: page behind the last
 *
 * They are unmapped, so that a touch is seen. Takes the mmap_lock for read.
 */
void pw_range_loosen(struct pw_heap *heap, unsigned long lo, unsigned long hi)
{
	unsigned long slot = lo >> PW_SLOT_SHIFT;
	unsigned long last = (hi - 1) >> PW_SLOT_SHIFT;

	mmap_read_lock(heap->mm);
	while (pw_slot_next(heap, &slot, last)) {
		unsigned long first = slot << PW_SLOT_SHIFT;

		loosen_in_slot(heap, slot, lo > first ? lo - first : 0,
			       min(hi - first, (unsigned long)PW_SLOT_PAGES));
		if (slot++ == last)
			break;
		pw_let_writers_in(heap->mm);
	}
	mmap_read_unlock(heap->mm);
}

/**
 * pw_chunk_keep() - pages are about to be mapped: they must not be taken now
 * @c: the chunk, locked
 * @i: first entry
 * @nr: how many
 */
void pw_chunk_keep(struct pw_chunk *c, unsigned int i, unsigned int nr)
{
	unsigned int to = i + nr;

	for (i = find_next_bit(c->loose, to, i); i < to;
	     i = find_next_bit(c->loose, to, i + 1))
		__clear_bit(i, c->loose);
}

/**
 * pw_chunk_may_take() - has nobody a page but this index?
 * @c: the chunk, locked
 * @i: the entry, a page that is not mapped
 */
bool pw_chunk_may_take(const struct pw_chunk *c, unsigned int i)
{
	struct page *page = pfn_to_page(c->pfn[i]);

	return !pw_page_sharers(page) && page_count(page) == 1;
}

/* Take pages that may be taken out of an index: how many, at most @max, are in @pfns. */
static unsigned int take_loose(struct pw_heap *heap, struct pw_chunk *c,
			       u32 *pfns, unsigned int max)
{
	unsigned int i, n = 0, unpaid = 0;

	for_each_set_bit(i, c->loose, PW_SLOT_PAGES) {
		if (n == max || !pw_chunk_may_take(c, i))
			continue;
		pfns[n++] = c->pfn[i];
		c->pfn[i] = 0;
		__clear_bit(i, c->used);
		__clear_bit(i, c->suspect);
		__clear_bit(i, c->loose);
		__clear_bit(i, c->left);
		unpaid += __test_and_clear_bit(i, c->paid);
	}
	c->nr -= n;
	count_gone(heap, n);
	if (unpaid)
		pw_heap_unpaid(heap, unpaid);
	return n;
}

/* The same for a slot, unless somebody is at work on it; @more: there may be others. */
static unsigned int take_in_slot(struct pw_heap *heap, unsigned long slot,
				 u32 *pfns, unsigned int max, bool *more)
{
	struct pw_chunk *c;
	unsigned int n = 0;

	*more = false;
	rcu_read_lock();
	c = pw_slot_load(heap, slot);
	if (c && !bitmap_empty(c->loose, PW_SLOT_PAGES)) {
		*more = true;
		if (!refcount_inc_not_zero(&c->refs))
			c = NULL;
	}
	rcu_read_unlock();
	if (!c || !*more)
		return 0;
	if (mutex_trylock(&c->lock)) {
		if (pw_slot_load(heap, slot) == c) {
			if (c->users == 1)
				n = take_loose(heap, c, pfns, max);
			*more = !bitmap_empty(c->loose, PW_SLOT_PAGES);
		}
		mutex_unlock(&c->lock);
	}
	pw_chunk_put(c);
	return n;
}

/**
 * pw_heap_take_loose() - give pages that may be taken back to the pool
 * @heap: any
 * @want: how many would do
 *
 * Does not wait for chunks that somebody else is at work on; the caller may be
 * holding one.
 *
 * Return: how many there were.
 */
unsigned long pw_heap_take_loose(struct pw_heap *heap, unsigned long want)
{
	unsigned long slot, got = 0;
	bool more, any = false;
	unsigned int n;

	/* Whoever gives advice from now on says so again. */
	smp_store_mb(heap->loose, false);
	/* Where there was a batch there may be another. */
	for (slot = 0; got < want &&
	     pw_slot_next(heap, &slot, ULONG_MAX); slot += n < DROP_BATCH) {
		u32 pfns[DROP_BATCH];

		n = take_in_slot(heap, slot, pfns,
				 min_t(unsigned long, want - got, DROP_BATCH), &more);
		any |= more;
		pw_pages_drop(pfns, n, 0);
		got += n;
		cond_resched();
	}
	/* Others may have them too, and let go of them one day. */
	if (any || got >= want)
		WRITE_ONCE(heap->loose, true);
	pw_stat_add(loose_taken, got);
	return got;
}
