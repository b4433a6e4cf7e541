// SPDX-License-Identifier: GPL-2.0-only
/*
 * shared.c - regions that several processes have on purpose
 *
 * Such a region is a row of chunks that any heap of the family may have in its
 * slots, at whatever addresses. Everything else about them is what the chunks
 * of a heap are: pages behind the slots' entries, found by the same faults. The
 * region holds a reference to each of its chunks, each slot one to the region.
 *
 * Chunks come into a heap, and are handed to a child, under pw_heap.lock along
 * with the region tree's entry: where the tree says shared, they are there.
 */
#include <linux/fs.h>
#include <linux/overflow.h>
#include <linux/rcupdate_wait.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "heap.h"
#include "pool.h"
#include "stats.h"

/* A window for each region's pages in the inode, behind that of the heaps. */
#define MAX_PLACES	((MAX_LFS_FILESIZE >> PAGE_SHIFT) / PW_WINDOW_PAGES)

/**
 * struct pw_shared - a shared region
 * @family: whose heaps may attach it
 * @refs: lifetime; one for each slot of a heap that has a part of it, one for
 *        each ioctl at work
 * @id: in @family
 * @nr: slots
 * @chunks: what stands behind them
 */
struct pw_shared {
	struct pw_family *family;
	refcount_t refs;
	u32 id;
	unsigned int nr;
	struct pw_chunk *chunks[];
};

/**
 * pw_shared_put() - drop a reference
 * @s: the region; when it was the last, no heap has any of its chunks
 */
void pw_shared_put(struct pw_shared *s)
{
	unsigned int i;

	if (!refcount_dec_and_test(&s->refs))
		return;
	xa_erase(&s->family->shared, s->id);
	for (i = 0; i < s->nr && s->chunks[i]; i++) {
		pw_chunk_empty(s->chunks[i]);
		pw_chunk_put(s->chunks[i]);
	}
	kvfree(s);
}

static struct pw_shared *get_shared(struct pw_family *family, u32 id)
{
	struct pw_shared *s;

	/* The last reference erases the entry under this lock, and then frees. */
	xa_lock(&family->shared);
	s = xa_load(&family->shared, id);
	if (s && !refcount_inc_not_zero(&s->refs))
		s = NULL;
	xa_unlock(&family->shared);
	return s;
}

/* Its number is taken, but leads to it when it is complete. */
static struct pw_shared *alloc_shared(struct pw_family *family,
				      unsigned int nr)
{
	struct pw_shared *s;
	int err;

	s = kvzalloc(struct_size(s, chunks, nr),
		     GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	if (!s)
		return NULL;
	s->family = family;
	refcount_set(&s->refs, 1);
	s->nr = nr;
	err = xa_alloc_cyclic(&family->shared, &s->id, NULL,
			      XA_LIMIT(1, MAX_PLACES - 1), &family->shared_id,
			      GFP_KERNEL_ACCOUNT);
	if (err < 0) {
		kvfree(s);
		return NULL;
	}
	return s;
}

/*
 * All pages of a chunk now, against the promises of the heap that makes it, where the
 * region as a whole counts as resident.
 */
static int populate(struct pw_heap *heap, struct pw_chunk *c)
{
	unsigned int got;
	u32 block = 0;

	if (READ_ONCE(heap->huge) != PAGEWELL_HUGE_NEVER)
		block = pw_heap_alloc_block(heap, true);
	if (block) {
		pw_chunk_set_block(heap, 0, c, block);
		atomic_long_sub(PW_SLOT_PAGES, &heap->resident);
		return 0;
	}
	while (c->nr < PW_SLOT_PAGES) {
		got = pw_heap_alloc(heap, c->pfn + c->nr, PW_SLOT_PAGES - c->nr,
				    true);
		if (!got)
			return -ENOMEM;
		pw_chunk_filled(c, c->nr, got);
		atomic_long_sub(got, &heap->resident);
	}
	return 0;
}

static int make_chunks(struct pw_heap *heap, struct pw_shared *s, bool strict)
{
	unsigned long place = (unsigned long)s->id * PW_WINDOW_PAGES;
	unsigned int i;
	int err = 0;

	for (i = 0; i < s->nr && !err; i++, place += PW_SLOT_PAGES) {
		s->chunks[i] = pw_chunk_new_shared(s, place);
		if (!s->chunks[i])
			return -ENOMEM;
		if (strict)
			err = populate(heap, s->chunks[i]);
		if (fatal_signal_pending(current))
			err = -EINTR;
		cond_resched();
	}
	return err;
}

/* What a region that is being made has taken of the heap's promises. */
static unsigned long count_pages(const struct pw_shared *s)
{
	unsigned long nr = 0;
	unsigned int i;

	for (i = 0; i < s->nr && s->chunks[i]; i++)
		nr += s->chunks[i]->nr;
	return nr;
}

/* Free the slot for another chunk: what is there belongs to free addresses. */
static int vacate(struct pw_heap *heap, unsigned long slot)
{
	unsigned long first = slot << PW_SLOT_SHIFT;
	int err;

	if (!pw_slot_load(heap, slot))
		return 0;
	err = pw_range_vacate(heap, first, first + PW_SLOT_PAGES);
	if (!err)
		pw_chunk_leave(heap, slot);
	return err;
}

static int install_slot(struct pw_heap *heap, unsigned long slot,
			struct pw_chunk *c)
{
	int err = vacate(heap, slot);

	if (err)
		return err;
	/* A wild touch may leave an empty chunk behind at any time. */
	while ((err = pw_chunk_attach(heap, slot, c, GFP_KERNEL_ACCOUNT)) ==
	       -EEXIST)
		pw_chunk_leave(heap, slot);
	return err;
}

/**
 * pw_shared_uninstall() - take chunks out of a heap that still counts them as resident
 * @heap: the caller's
 * @slot: the first one
 * @nr: how many
 */
void pw_shared_uninstall(struct pw_heap *heap, unsigned long slot, unsigned long nr)
{
	atomic_long_add(nr << PW_SLOT_SHIFT, &heap->resident);
	while (nr--)
		pw_chunk_leave(heap, slot + nr);
}

/**
 * pw_shared_install() - put the chunks of a shared region into a heap
 * @heap: the caller's
 * @s: the region, which counts as resident already
 * @slot: the first one; the addresses are free
 *
 * Context: pw_heap.lock held.
 *
 * Return: 0, or -ENOMEM and nothing has changed.
 */
int pw_shared_install(struct pw_heap *heap, struct pw_shared *s,
		      unsigned long slot)
{
	unsigned int i;
	int err = 0;

	pw_lock_assert_held(&heap->lock);
	for (i = 0; i < s->nr; i++) {
		err = install_slot(heap, slot + i, s->chunks[i]);
		if (err)
			break;
		refcount_inc(&s->refs);
	}
	if (err)
		pw_shared_uninstall(heap, slot, i);
	return err;
}

/**
 * pw_shared_fork() - a child gets what its parent has of shared regions
 * @child: new, nobody else sees it
 * @parent: whose
 * @lo: first page of a range that the parent's tree has as shared
 * @hi: page behind the last
 *
 * Context: pw_heap.lock of both held.
 */
void pw_shared_fork(struct pw_heap *child, struct pw_heap *parent,
		    unsigned long lo, unsigned long hi)
{
	unsigned long slot;

	pw_lock_assert_held(&parent->lock);
	for (slot = lo >> PW_SLOT_SHIFT; slot < hi >> PW_SLOT_SHIFT; slot++) {
		/* It stays there while the lock is held: no need to lock it. */
		struct pw_chunk *c = pw_slot_load(parent, slot);

		if (WARN_ON_ONCE(!c || !c->shared))
			continue;
		refcount_inc(&c->shared->refs);
		atomic_long_add(PW_SLOT_PAGES, &child->resident);
		pw_chunk_attach(child, slot, c,
				GFP_KERNEL_ACCOUNT | __GFP_NOFAIL);
	}
}

/**
 * pw_shared_missing() - pages of shared regions that nobody has touched yet
 * @heap: whose; all of them count as resident
 */
unsigned long pw_shared_missing(struct pw_heap *heap)
{
	unsigned long slot, nr = 0;
	struct pw_chunk *c;

	if (!atomic_long_read(&heap->shared_slots))
		return 0;
	rcu_read_lock();
	for (slot = 0; pw_slot_next(heap, &slot, ULONG_MAX); slot++) {
		c = pw_slot_load(heap, slot);
		if (c && c->shared)
			nr += PW_SLOT_PAGES - READ_ONCE(c->nr);
		cond_resched_rcu();
	}
	rcu_read_unlock();
	return nr;
}

static unsigned long shared_pages(struct pw_heap *heap)
{
	return atomic_long_read(&heap->shared_slots) << PW_SLOT_SHIFT;
}

static int commit(struct pw_heap *heap, unsigned long nr, bool strict)
{
	int err;

	if (strict) {
		err = pw_heap_commit(heap, nr, true);
		if (!err)
			atomic_long_add(nr, &heap->resident);
		return err;
	}
	/* The index of what could never have pages would cost memory. */
	if (nr + shared_pages(heap) > pw_pool_max()) {
		pw_heap_refused(heap, nr);
		return -ENOMEM;
	}
	return pw_heap_attach(heap, nr);
}

/* Take back what commit() or pw_heap_attach() has counted. */
static void uncommit(struct pw_heap *heap, unsigned long nr, bool strict,
		     unsigned long backed)
{
	atomic_long_sub(nr, &heap->resident);
	pw_heap_uncommit(heap, nr, strict, backed);
}

static int make(struct pw_heap *heap, struct pagewell_share *arg)
{
	bool strict = READ_ONCE(heap->commit) == PAGEWELL_COMMIT_STRICT;
	unsigned long nr, backed;
	struct pw_shared *s;
	int err;

	if (!arg->length)
		return -EINVAL;
	if (arg->length > (u64)heap->window << PAGE_SHIFT) {
		pw_heap_refused(heap, arg->length >> PAGE_SHIFT);
		return -ENOMEM;
	}
	nr = ALIGN(arg->length, PW_SLOT_BYTES) >> PAGE_SHIFT;
	err = commit(heap, nr, strict);
	if (err)
		return err;

	s = alloc_shared(heap->family, nr >> PW_SLOT_SHIFT);
	err = s ? make_chunks(heap, s, strict) : -ENOMEM;
	/* Counted now: when pw_region_add_shared() fails it may empty the chunks. */
	backed = s && strict ? count_pages(s) : 0;
	if (!err)
		err = pw_region_add_shared(heap, s, nr, strict, &arg->addr);
	if (!err) {
		/* Nobody shares it before it is paid for; there is a place for it. */
		xa_store(&heap->family->shared, s->id, s, GFP_KERNEL_ACCOUNT);
		arg->id = s->id;
		arg->length = (u64)nr << PAGE_SHIFT;
	}
	if (s)
		pw_shared_put(s);
	if (err)
		uncommit(heap, nr, strict, backed);
	return err;
}

static int attach(struct pw_heap *heap, struct pagewell_share *arg)
{
	struct pw_shared *s = get_shared(heap->family, arg->id);
	unsigned long nr;
	int err = -EINVAL;

	if (!s)
		return -ENOENT;
	nr = (unsigned long)s->nr << PW_SLOT_SHIFT;
	if (arg->length && DIV_ROUND_UP_ULL(arg->length, PW_SLOT_BYTES) != s->nr)
		goto out;
	err = pw_heap_attach(heap, nr);
	if (err)
		goto out;
	err = pw_region_add_shared(heap, s, nr, false, &arg->addr);
	if (err)
		uncommit(heap, nr, false, 0);
	else
		arg->length = (u64)nr << PAGE_SHIFT;
out:
	pw_shared_put(s);
	return err;
}

/**
 * pw_share() - make or attach a shared region
 * @heap: the caller's
 * @arg: see PAGEWELL_IOC_SHARE
 *
 * Return: 0, -EINVAL, -ENOENT, -ENOMEM, -EINTR or -ENXIO.
 */
int pw_share(struct pw_heap *heap, struct pagewell_share *arg)
{
	int err = arg->id ? attach(heap, arg) : make(heap, arg);

	if (!err)
		pw_stat_inc(map_calls);
	return err;
}
