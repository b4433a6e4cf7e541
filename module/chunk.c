// SPDX-License-Identifier: GPL-2.0-only
/*
 * chunk.c - which pages stand behind a heap's addresses: chunks, and the heaps that have them
 *
 * A chunk is found in its slot without a lock, and may have left the slot by the time it
 * is locked: who has locked it looks there again. One that several heaps share is not
 * changed; who wants to change it gets one of its own first.
 */
#include <linux/slab.h>

#include "chunk.h"
#include "heap.h"

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
	pw_chunk_move_paid(heap, c, own);
	share_pages(own);
	c->users--;
	pw_slot_set(heap, slot, own);
	pw_chunk_put(c);
	pw_chunk_unlock(c);
	return own;
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

/**
 * pw_chunk_remove() - take a chunk out of a slot; others that have it keep the pages
 * @heap: whose
 * @slot: which
 * @c: its chunk, locked
 */
void pw_chunk_remove(struct pw_heap *heap, unsigned long slot,
		     struct pw_chunk *c)
{
	lockdep_assert_held(&c->lock);
	pw_slot_set(heap, slot, NULL);
	pw_chunk_stop_paying(heap, c);
	c->users--;
	c->owner = NULL;
	pw_chunk_put(c);
}

/* The same, and the pages go when nobody else has them. */
static void leave(struct pw_heap *heap, unsigned long slot, struct pw_chunk *c,
		  unsigned int nr)
{
	pw_pages_gone(heap, nr);
	atomic_long_sub(c->packed, &heap->packed);
	/* A child that has only what it inherited pays for none of that. */
	if (heap->cow && !c->shared && (atomic_long_read(&heap->committed) || c->payer == heap))
		pw_slot_pass_charge(heap, slot, c);
	pw_chunk_remove(heap, slot, c);
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

/**
 * pw_chunk_leave_shared() - a heap gives up a chunk that is shared on purpose
 * @heap: whose
 * @slot: where it stands; nothing is mapped there
 * @c: the chunk, locked
 *
 * It stays a part of its region, which goes with its last part.
 */
void pw_chunk_leave_shared(struct pw_heap *heap, unsigned long slot,
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
		pw_block_put(c->block, 0);
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
		pw_chunk_leave_shared(heap, slot, c);
	else
		leave(heap, slot, c, c->nr);
	pw_chunk_unlock(c);
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
	if (c->shared || pw_chunk_has_entries(c, from, to) || !mutex_trylock(&c->lock))
		return false;
	empty = pw_slot_load(heap, slot) == c && !pw_chunk_has_entries(c, from, to);
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
				pw_chunk_has_entries(c, lo > first ? lo - first : 0,
						     min(hi - first,
							 (unsigned long)PW_SLOT_PAGES));
			pw_chunk_unlock(c);
		}
		if (slot++ == last)
			break;
	}
	return found;
}
