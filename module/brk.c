// SPDX-License-Identifier: GPL-2.0-only
/*
 * brk.c - breaks: regions that grow and shrink at their end
 */
#include <linux/nospec.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "heap.h"
#include "region.h"
#include "stats.h"

#define PW_MAX_BREAKS	65536

/* So many pages are given back of a reserve that has grown, at least. */
#define MIN_CUT		(32 * PW_SLOT_PAGES)

static void free_break_rcu(struct rcu_head *rcu)
{
	kfree(container_of(rcu, struct pw_break, rcu));
}

static void put_break(struct pw_break *b)
{
	if (refcount_dec_and_test(&b->refs))
		call_rcu(&b->rcu, free_break_rcu);
}

static struct pw_break *get_break(struct pw_heap *heap, u32 id)
{
	struct pw_break *b;

	rcu_read_lock_sched();
	if (id < PW_NEAR_BREAKS)
		b = rcu_dereference_sched(heap->near_breaks[array_index_nospec(id, PW_NEAR_BREAKS)]);
	else
		b = xa_load(&heap->breaks, id);
	if (b && !refcount_inc_not_zero(&b->refs))
		b = NULL;
	rcu_read_unlock_sched();
	return b;
}

/* Where get_break() finds the lowest ids; @b is NULL when the break goes. */
static void set_near_break(struct pw_heap *heap, u32 id, struct pw_break *b)
{
	if (id < PW_NEAR_BREAKS)
		rcu_assign_pointer(heap->near_breaks[id], b);
}

static struct pw_break *alloc_break(unsigned long start, unsigned long end)
{
	struct pw_break *b = kzalloc(sizeof(*b), GFP_KERNEL_ACCOUNT);

	if (!b)
		return NULL;
	refcount_set(&b->refs, 1);
	pw_lock_init(&b->lock);
	b->start = start;
	b->end = end;
	pw_break_set(b, start << PAGE_SHIFT);
	b->strict_from = start;
	return b;
}

static int add_break(struct pw_heap *heap, struct pw_break *b,
		     unsigned long nr)
{
	int err;

	if (heap->dead)
		return -ENXIO;
	if (pw_region_is_full(heap))
		return -ENOMEM;
	err = pw_find_gap(heap, 0, nr, PW_SLOT_PAGES, &b->start);
	if (err)
		return err;
	b->end = b->start + nr;
	b->reserve = nr;
	pw_break_set(b, b->start << PAGE_SHIFT);
	b->strict_from = b->start;
	/* The id is reserved first: once it leads to the break, so may others. */
	err = xa_alloc(&heap->breaks, &b->id, NULL,
		       XA_LIMIT(1, PW_MAX_BREAKS), GFP_KERNEL_ACCOUNT);
	if (err)
		return -ENOMEM;
	err = pw_span_store(heap, b->start, b->end, b, PW_GFP_REGION);
	if (err) {
		xa_release(&heap->breaks, b->id);
		return err;
	}
	xa_store(&heap->breaks, b->id, b, GFP_KERNEL_ACCOUNT);
	set_near_break(heap, b->id, b);
	heap->nr_breaks++;
	return 0;
}

/**
 * pw_brk_create() - a new break
 * @heap: the caller's
 * @arg: see PAGEWELL_IOC_BRK_CREATE
 *
 * Return: 0, -EINVAL, -ENOMEM, or -ENXIO when the heap has lost its last VMA.
 */
int pw_brk_create(struct pw_heap *heap, struct pagewell_brk_create *arg)
{
	unsigned long nr;
	struct pw_break *b;
	int err;

	if (arg->control % sizeof(u64) ||
	    !access_ok(u64_to_user_ptr(arg->control), sizeof(u64)))
		return -EINVAL;
	if (arg->reserve >> PAGE_SHIFT >= heap->window)
		return -ENOMEM;
	nr = max(PW_SLOT_PAGES,
		 ALIGN(pw_pages_up(arg->reserve), PW_SLOT_PAGES));
	b = alloc_break(0, 0);
	if (!b)
		return -ENOMEM;
	b->control = u64_to_user_ptr(arg->control);

	pw_lock(&heap->lock);
	err = add_break(heap, b, nr);
	if (!err) {
		arg->reserve = (u64)nr << PAGE_SHIFT;
		arg->start = pw_heap_addr(heap, b->start);
		arg->id = b->id;
	}
	pw_unlock(&heap->lock);
	if (err)
		kfree(b);
	return err;
}

/* Make the reserve reach to @end when the addresses behind it are free. */
static int extend_reserve(struct pw_heap *heap, struct pw_break *b,
			  unsigned long end)
{
	int err = -ENOMEM;

	if (end > heap->window)
		return -ENOMEM;
	end = min(ALIGN(end, PW_SLOT_PAGES), heap->window);
	pw_lock(&heap->lock);
	if (pw_span_is_free(heap, b->end, end))
		err = pw_span_store(heap, b->start, end, b, PW_GFP_REGION);
	if (!err)
		b->end = end;
	pw_unlock(&heap->lock);
	return err;
}

/* Have it end at @end again: nothing behind that was touched. */
static void cut_reserve(struct pw_heap *heap, struct pw_break *b, unsigned long end)
{
	if (b->end == end)
		return;
	pw_lock(&heap->lock);
	pw_span_store(heap, end, b->end, NULL, PW_GFP_UNMAP);
	b->end = end;
	pw_unlock(&heap->lock);
}

static int grow_break(struct pw_heap *heap, struct pw_break *b,
		      unsigned long brk)
{
	unsigned long old = pw_pages_up(b->brk), new = pw_pages_up(brk), end = b->end;
	bool strict = READ_ONCE(heap->commit) == PAGEWELL_COMMIT_STRICT;
	int err;

	if (new > end) {
		err = extend_reserve(heap, b, new);
		if (err) {
			pw_heap_refused(heap, new - old);
			return err;
		}
	}
	if (new > old) {
		err = pw_heap_commit(heap, new - old, strict);
		if (err) {
			cut_reserve(heap, b, end);
			return err;
		}
		if (!strict)
			WRITE_ONCE(b->strict_from, new);
	}
	pw_break_set(b, brk);
	return 0;
}

/*
 * What lies behind the reserve that was asked for, and far behind the break, others may
 * have again, or the VMA may end before it. Nothing is there any more.
 */
static void give_reserve_back(struct pw_heap *heap, struct pw_break *b)
{
	unsigned long end = max(b->start + b->reserve,
				ALIGN(pw_pages_up(b->brk), PW_SLOT_PAGES));
	unsigned long old = b->end;

	if (old < end + MIN_CUT)
		return;
	/* A fork goes by the tree, so it gives its child either the reserve or the bars. */
	if (!pw_bar_give_up(heap, end, old)) {
		pw_lock(&heap->lock);
		pw_span_store(heap, end, old, NULL, PW_GFP_UNMAP);
		pw_unlock(&heap->lock);
	}
	b->end = end;
}

/*
 * Publish the new break, then drop what lies behind it. Pages below
 * strict_from are lazy and have no promise to give back.
 */
static void shrink_break(struct pw_heap *heap, struct pw_break *b,
			 unsigned long brk)
{
	unsigned long old = pw_pages_up(b->brk), new = pw_pages_up(brk);
	unsigned long strict = clamp(b->strict_from, new, old);
	unsigned long backed;

	if (new == old) {
		pw_break_set(b, brk);
		return;
	}
	pw_begin_drop(heap);
	pw_break_set(b, brk);
	pw_region_changed(heap);
	if (strict < old) {
		backed = pw_range_drop(heap, strict, old, true);
		pw_heap_uncommit(heap, old - strict, true, backed);
	}
	if (new < strict) {
		pw_range_drop(heap, new, strict, false);
		pw_heap_uncommit(heap, strict - new, false, 0);
	}
	pw_end_drop(heap);
	if (b->strict_from > new)
		WRITE_ONCE(b->strict_from, new);
	pw_bar_mend(heap, new, old);
	give_reserve_back(heap, b);
}

/* Nobody knows the break any more, and its addresses are for others before that. */
static void remove_break(struct pw_heap *heap, struct pw_break *b)
{
	bool done = pw_bar_give_up(heap, b->start, b->end);

	pw_lock(&heap->lock);
	if (!done)
		pw_span_store(heap, b->start, b->end, NULL, PW_GFP_UNMAP);
	xa_erase(&heap->breaks, b->id);
	set_near_break(heap, b->id, NULL);
	heap->nr_breaks--;
	b->dead = true;
	pw_unlock(&heap->lock);
}

/**
 * pw_brk_move() - ask for or move a break
 * @heap: the caller's
 * @arg: see PAGEWELL_IOC_BRK
 *
 * Return: 0, -ENOENT, -EINVAL or -ENOMEM; arg->brk is where the break is now,
 * on -ENOMEM too.
 */
int pw_brk_move(struct pw_heap *heap, struct pagewell_brk *arg)
{
	struct pw_break *b = get_break(heap, arg->id);
	unsigned long brk = arg->brk - heap->base, old;
	int err = 0;

	if (!b)
		return -ENOENT;
	pw_lock(&b->lock);
	old = pw_pages_up(b->brk);
	if (b->dead) {
		err = -ENOENT;
	} else if (arg->brk && (arg->brk < heap->base ||
				brk < b->start << PAGE_SHIFT)) {
		err = -EINVAL;
	} else if (arg->brk && brk > heap->window << PAGE_SHIFT) {
		err = -ENOMEM;
		pw_heap_refused(heap, (brk - b->brk) >> PAGE_SHIFT);
	} else if (arg->brk && brk >= b->brk) {
		err = grow_break(heap, b, brk);
	} else if (arg->brk) {
		shrink_break(heap, b, brk);
	}
	if (!err || err == -ENOMEM)
		arg->brk = heap->base + b->brk;
	pw_unlock(&b->lock);
	put_break(b);
	pw_stat_inc(brk_calls);
	if (!err && arg->brk)
		pw_populate_locked(heap, old, pw_pages_up(arg->brk - heap->base));
	return err;
}

/**
 * pw_brk_destroy() - give a break back
 * @heap: the caller's
 * @id: which
 *
 * Return: 0 or -ENOENT.
 */
int pw_brk_destroy(struct pw_heap *heap, u32 id)
{
	struct pw_break *b = get_break(heap, id);
	int err = -ENOENT;

	if (!b)
		return err;
	pw_lock(&b->lock);
	if (!b->dead) {
		shrink_break(heap, b, b->start << PAGE_SHIFT);
		remove_break(heap, b);
		put_break(b);
		err = 0;
	}
	pw_unlock(&b->lock);
	put_break(b);
	return err;
}

/**
 * pw_brk_fork() - give a child a break of its parent
 * @child: new, nobody else sees it
 * @b: the parent's
 * @end: page behind it in the parent's tree
 *
 * Return: 0 or -ENOMEM.
 */
int pw_brk_fork(struct pw_heap *child, const struct pw_break *b, unsigned long end)
{
	struct pw_break *copy = alloc_break(b->start, end);
	int err;

	if (!copy)
		return -ENOMEM;
	copy->id = b->id;
	copy->reserve = b->reserve;
	pw_break_set(copy, READ_ONCE(b->settled));
	copy->strict_from = pw_pages_up(copy->brk);
	copy->huge = READ_ONCE(b->huge);
	copy->control = b->control;
	err = xa_insert(&child->breaks, copy->id, copy, GFP_KERNEL_ACCOUNT);
	if (err) {
		kfree(copy);
		return err;
	}
	set_near_break(child, copy->id, copy);
	child->nr_breaks++;
	atomic_long_add(copy->strict_from - copy->start, &child->mapped);
	return pw_span_store(child, copy->start, copy->end, copy, PW_GFP_REGION);
}

/**
 * pw_brk_forget() - free the breaks of a heap
 * @heap: nobody else uses it any more
 */
void pw_brk_forget(struct pw_heap *heap)
{
	struct pw_break *b;
	unsigned long id;

	xa_for_each(&heap->breaks, id, b) {
		xa_erase(&heap->breaks, id);
		put_break(b);
	}
}
