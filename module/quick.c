// SPDX-License-Identifier: GPL-2.0-only
/*
 * quick.c - break, map and unmap where nothing is in the way
 *
 * Most of what programs ask for takes a few stores: the break moves inside its
 * reserve over memory that nobody has touched, or a map takes the addresses
 * that one of its length gave up. It is done here, without waiting, without a
 * reference, and without a word to anybody about it.
 *
 * Preemption is off, so all that is found is found under RCU. Whatever is not
 * plain is refused, unchanged, and goes the long way (brk.c, mmap.c), where errors are
 * made, too; so does everything while somebody listens to the tracepoints.
 */
#include <linux/mm.h>
#include <linux/nospec.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>

#include "heap.h"
#include "pool_hit.h"
#include "stats.h"
#include "trace.h"

/*
 * Words of the program's, with one look at whether all could be had. As
 * unsafe_get_user(), which looks after each. Return: 0, or an error.
 */
#ifdef CONFIG_X86_64
static __always_inline long get_words(const void __user *from, u64 *a, u64 *b, u64 *c)
{
	long err = 0;

	asm volatile("1: mov (%[from]), %[a]\n"
		     "2: mov 8(%[from]), %[b]\n"
		     "3: mov 16(%[from]), %[c]\n"
		     "4:\n"
		     _ASM_EXTABLE_TYPE_REG(1b, 4b, EX_TYPE_EFAULT_REG, %[err])
		     _ASM_EXTABLE_TYPE_REG(2b, 4b, EX_TYPE_EFAULT_REG, %[err])
		     _ASM_EXTABLE_TYPE_REG(3b, 4b, EX_TYPE_EFAULT_REG, %[err])
		     : [a] "=&r" (*a), [b] "=&r" (*b), [c] "=&r" (*c), [err] "+r" (err)
		     : [from] "r" (from) : "memory");
	return err;
}
#else
static __always_inline long get_words(const void __user *from, u64 *a, u64 *b, u64 *c)
{
	const u64 __user *word = from;

	unsafe_get_user(*a, word, fault);
	unsafe_get_user(*b, word + 1, fault);
	unsafe_get_user(*c, word + 2, fault);
	return 0;

fault:
	return -EFAULT;
}
#endif

static __always_inline long read_three(const void __user *from, u64 *a, u64 *b, u64 *c)
{
	long err;

	if (!user_read_access_begin(from, 3 * sizeof(u64))) {
		*a = *b = *c = 0;
		return -EFAULT;
	}
	err = get_words(from, a, b, c);
	user_read_access_end();
	return err;
}

/* What the longest map may touch of the table of slots. */
#define MOST_SLOTS	4

static __always_inline bool is_over_rlimit(unsigned long nr)
{
	unsigned long max = rlimit(RLIMIT_DATA);

	return max != RLIM_INFINITY && nr + current->mm->data_vm > max >> PAGE_SHIFT;
}

/* What is locked as soon as it is mapped is put in place, too: the long way. */
static __always_inline bool is_locked(void)
{
	return unlikely(data_race(current->mm->def_flags & VM_LOCKED));
}

static __always_inline bool charge_and_commit(struct pw_heap *heap, unsigned long nr,
					      unsigned long limit, bool limited)
{
	long mapped = atomic_long_read(&heap->mapped);

	if (is_locked() ||
	    (limited && mapped + nr > limit) || is_over_rlimit(mapped + nr) ||
	    !atomic_long_try_cmpxchg(&heap->mapped, &mapped, mapped + nr))
		return false;
	if (!limited)
		pw_limit_charge_all(&heap->payers, nr);
	else if (!pw_limit_charge(&heap->payers, nr, false))
		goto unmap;
	if (unlikely(!pw_hit_reserve(nr) && !pw_pcp_credit_take(nr)))
		goto uncharge;
	atomic_long_add(nr, &heap->committed);
	atomic_long_add(nr, &heap->promised);
	return true;

uncharge:
	pw_limit_uncharge(&heap->payers, nr);
unmap:
	atomic_long_sub(nr, &heap->mapped);
	return false;
}

/* What may be given up again is on trial (heap.c). */
static noinline bool commit_limited(struct pw_heap *heap, unsigned long nr, unsigned long limit)
{
	struct rw_semaphore *trials = &heap->payers.user->trials;
	bool done;

	if (!down_read_trylock(trials))
		return false;
	done = charge_and_commit(heap, nr, limit, true);
	up_read(trials);
	return done;
}

/* As pw_heap_commit(), of promises. */
static __always_inline bool commit(struct pw_heap *heap, unsigned long nr)
{
	unsigned long limit = READ_ONCE(heap->limit);

	if (unlikely(limit != PW_NO_LIMIT) || static_branch_unlikely(&pw_limits_key))
		return commit_limited(heap, nr, limit);
	return charge_and_commit(heap, nr, limit, false);
}

/* As pw_heap_uncommit(), of promises that no page stands behind. */
static __always_inline void uncommit(struct pw_heap *heap, unsigned long nr)
{
	long promised = atomic_long_read(&heap->promised);

	atomic_long_sub(nr, &heap->mapped);
	atomic_long_sub(nr, &heap->committed);
	pw_limit_uncharge_quick(&heap->payers, nr);
	if (unlikely(promised < (long)nr || atomic_long_read(&heap->unbacked) ||
		     !atomic_long_try_cmpxchg(&heap->promised, &promised, promised - nr)))
		pw_heap_unpromise(heap, nr);
	else if (unlikely(!pw_hit_unreserve(nr)))
		pw_pool_unreserve(nr);
}

static noinline bool are_empty(struct pw_heap *heap, unsigned long lo, unsigned long hi)
{
	unsigned long slot = lo >> PW_SLOT_SHIFT, last = (hi - 1) >> PW_SLOT_SHIFT;

	if (last - slot >= MOST_SLOTS)
		return false;
	for (; slot <= last; slot++) {
		unsigned long first = slot << PW_SLOT_SHIFT;

		if (!pw_slot_try_empty(heap, slot, lo > first ? lo - first : 0,
				       min(hi - first, (unsigned long)PW_SLOT_PAGES)))
			return false;
	}
	return true;
}

/*
 * On the way to the chunk of a slot the first entry of a table that is empty, or
 * else the last one.
 */
static __always_inline void **find_entry(struct pw_heap *heap, unsigned long slot)
{
	struct pw_slot_branch **b = &heap->slots[slot >> PW_BRANCH_SHIFT];
	struct pw_slot_branch *branch = READ_ONCE(*b);
	struct pw_slot_leaf **l, *leaf;

	if (!branch)
		return (void **)b;
	l = &branch->leaf[pw_slot_leaf(slot)];
	leaf = READ_ONCE(*l);
	return leaf ? (void **)&leaf->chunk[slot & PW_LEAF_MASK] : (void **)l;
}

/* A range, and the entry where there would be something if it had a page. */
struct place {
	unsigned long lo, hi;
	void **entry;
};

static __always_inline struct place place_of(struct pw_heap *heap, unsigned long lo,
					     unsigned long hi)
{
	static void *is_several = &is_several;

	return (struct place){
		.lo = lo, .hi = hi,
		.entry = unlikely((lo ^ (hi - 1)) >> PW_SLOT_SHIFT) ? &is_several :
			 find_entry(heap, lo >> PW_SLOT_SHIFT),
	};
}

/*
 * Is there no page in a range, as far as can be told without waiting? If it has
 * been published that the range must not be touched any more, then it stays so.
 */
static __always_inline bool is_untouched(struct pw_heap *heap, const struct place *p)
{
	return likely(!READ_ONCE(*p->entry)) || are_empty(heap, p->lo, p->hi);
}

static __always_inline bool shrink_break(struct pw_heap *heap, struct pw_break *b,
					 unsigned long brk, unsigned long new,
					 unsigned long old)
{
	struct place gone = place_of(heap, new, old);
	unsigned long was = b->brk;
	bool done;

	if (new < b->strict_from || !is_untouched(heap, &gone))
		return false;
	/* Should pages have come by now, they are not for a child that forks off. */
	pw_begin_drop(heap);
	WRITE_ONCE(b->brk, brk);
	pw_region_changed(heap);
	done = is_untouched(heap, &gone);
	pw_break_set(b, done ? brk : was);
	if (unlikely(!done))
		pw_region_changed(heap);
	pw_end_drop(heap);
	if (done)
		uncommit(heap, old - new);
	return done;
}

static __always_inline bool move_break(struct pw_heap *heap, struct pw_break *b,
				       unsigned long brk)
{
	unsigned long old = PAGE_ALIGN(b->brk) >> PAGE_SHIFT;
	unsigned long new = PAGE_ALIGN(brk) >> PAGE_SHIFT;

	if (b->dead || brk < b->start << PAGE_SHIFT || brk > b->end << PAGE_SHIFT)
		return false;
	if (new < old)
		return shrink_break(heap, b, brk, new, old);
	if (new > old && !commit(heap, new - old))
		return false;
	pw_break_set(b, brk);
	return true;
}

static __always_inline bool move_near_break(struct pw_heap *heap, u64 id, u64 addr)
{
	struct pw_break *b;
	bool done;

	b = rcu_dereference_sched(heap->near_breaks[array_index_nospec(id, PW_NEAR_BREAKS)]);
	if (!b || !pw_lock_try(&b->lock))
		return false;
	done = move_break(heap, b, addr - heap->base);
	pw_lock_untry(&b->lock);
	return done;
}

/* Whose VMA goes waits for those who have found it here. */
static __always_inline struct pw_heap *find_heap(void)
{
	struct pw_heap *heap = pw_heap_find(current->mm);

	BUILD_BUG_ON(PAGEWELL_COMMIT_STRICT);
	return heap && likely(!READ_ONCE(heap->unusual)) ? heap : NULL;
}

static noinline long quick_brk(struct file *file, unsigned long arg)
{
	struct pagewell_brk __user *uarg = (void __user *)arg;
	struct pw_heap *heap;
	u64 head, id, brk;
	long err;
	bool done;

	/* The id's other half must be zero, as the flags must, behind the size. */
	err = read_three(uarg, &head, &id, &brk);
	if (unlikely(err | (head ^ sizeof(*uarg))) || id >= PW_NEAR_BREAKS ||
	    trace_pw_brk_enabled())
		goto long_way;

	rcu_read_lock_sched();
	heap = find_heap();
	done = heap && move_near_break(heap, id, brk);
	rcu_read_unlock_sched();
	if (!done)
		goto long_way;
	pw_stat_inc(brk_calls);
	/* The break is where it was wanted, as the program's struct says already. */
	return 0;

long_way:
	return pw_ioctl_long_way(file, PAGEWELL_IOC_BRK, arg);
}

static __always_inline bool map_spare(struct pw_heap *heap, unsigned long nr,
				      unsigned long align, u64 *addr)
{
	struct pw_spare *s = heap->spares;
	int i;

	for (i = 0; i < PW_SPARES; i++, s++) {
		if (!pw_spare_fits(heap, s, nr, align))
			continue;
		if (!commit(heap, nr))
			break;
		heap->map_size = nr;
		WRITE_ONCE(s->flags, PW_REGION_MAP);
		*addr = pw_heap_addr(heap, s->lo);
		return true;
	}
	return false;
}

static __always_inline bool map(struct pw_heap *heap, unsigned long nr,
				unsigned long align, u64 *addr)
{
	bool done;

	if (!pw_lock_try(&heap->lock))
		return false;
	done = !heap->dead && map_spare(heap, nr, align, addr);
	pw_lock_untry(&heap->lock);
	return done;
}

static noinline long quick_map(struct file *file, unsigned long arg)
{
	struct pagewell_map __user *uarg = (void __user *)arg;
	struct pw_heap *heap;
	u64 head, addr, length, align;
	unsigned long nr;
	long err;
	bool done;

	if (!user_read_access_begin(uarg, sizeof(*uarg)))
		goto long_way;
	err = get_words(uarg, &head, &addr, &length);
	unsafe_get_user(align, &uarg->align, fault);
	user_read_access_end();
	nr = PAGE_ALIGN(length) >> PAGE_SHIFT;
	if (unlikely(err | (head ^ sizeof(*uarg)) | addr) || !nr || align & (align - 1) ||
	    trace_pw_map_enabled())
		goto long_way;

	rcu_read_lock_sched();
	heap = find_heap();
	done = heap && map(heap, nr, align >> PAGE_SHIFT, &addr);
	rcu_read_unlock_sched();
	if (!done)
		goto long_way;
	pw_stat_inc(map_calls);
	if (!user_write_access_begin(&uarg->addr, sizeof(addr)))
		return -EFAULT;
	unsafe_put_user(addr, &uarg->addr, lost);
	user_write_access_end();
	return 0;

lost:
	user_write_access_end();
	return -EFAULT;
fault:
	user_read_access_end();
long_way:
	return pw_ioctl_long_way(file, PAGEWELL_IOC_MAP, arg);
}

static __always_inline bool unmap_spare(struct pw_heap *heap, struct pw_spare *s)
{
	struct place gone = place_of(heap, s->lo, s->hi);
	unsigned long flags = s->flags;

	if ((flags & (PW_REGION_MAP | PW_REGION_LAZY)) != PW_REGION_MAP ||
	    !is_untouched(heap, &gone))
		return false;
	WRITE_ONCE(s->flags, 0);
	pw_region_changed(heap);
	if (likely(is_untouched(heap, &gone))) {
		uncommit(heap, gone.hi - gone.lo);
		return true;
	}
	WRITE_ONCE(s->flags, flags);
	pw_region_changed(heap);
	return false;
}

static __always_inline bool unmap_range(struct pw_heap *heap, unsigned long lo,
					unsigned long hi)
{
	struct pw_spare *s = heap->spares;
	int i;

	for (i = 0; i < PW_SPARES; i++, s++)
		if (s->lo == lo && s->hi == hi)
			return unmap_spare(heap, s);
	return false;
}

static __always_inline bool unmap(struct pw_heap *heap, u64 addr, unsigned long nr)
{
	unsigned long lo = (addr - heap->base) >> PAGE_SHIFT;
	bool done = false;

	if (!pw_lock_try(&heap->unmap_lock))
		return false;
	if (pw_lock_try(&heap->lock)) {
		done = unmap_range(heap, lo, lo + nr);
		pw_lock_untry(&heap->lock);
	}
	pw_lock_untry(&heap->unmap_lock);
	return done;
}

static noinline long quick_unmap(struct file *file, unsigned long arg)
{
	struct pagewell_unmap __user *uarg = (void __user *)arg;
	struct pw_heap *heap;
	u64 head, addr, length;
	unsigned long nr;
	long err;
	bool done;

	err = read_three(uarg, &head, &addr, &length);
	nr = PAGE_ALIGN(length) >> PAGE_SHIFT;
	if (unlikely(err | (head ^ sizeof(*uarg))) || !PAGE_ALIGNED(addr) || !nr ||
	    trace_pw_unmap_enabled())
		goto long_way;

	rcu_read_lock_sched();
	heap = find_heap();
	done = heap && unmap(heap, addr, nr);
	rcu_read_unlock_sched();
	if (!done)
		goto long_way;
	pw_stat_inc(unmap_calls);
	return 0;

long_way:
	return pw_ioctl_long_way(file, PAGEWELL_IOC_UNMAP, arg);
}

/**
 * pw_ioctl() - the device's ioctl()
 * @file: does not matter: heaps are found by mm
 * @cmd: PAGEWELL_IOC_
 * @arg: its struct
 *
 * Return: 0 or a negative error.
 */
long pw_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	if (cmd == PAGEWELL_IOC_BRK)
		return quick_brk(file, arg);
	if (cmd == PAGEWELL_IOC_MAP)
		return quick_map(file, arg);
	if (cmd == PAGEWELL_IOC_UNMAP)
		return quick_unmap(file, arg);
	return pw_ioctl_long_way(file, cmd, arg);
}
