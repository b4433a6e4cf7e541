// SPDX-License-Identifier: GPL-2.0-only
/*
 * heap.c - heaps: made, found, counted, limited, taken down
 */
#include <linux/capability.h>
#include <linux/hashtable.h>
#include <linux/pid.h>
#include <linux/rcupdate_wait.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "counter.h"
#include "heap.h"
#include "pool_hit.h"
#include "stats.h"
#include "trace.h"
#include "watch.h"

/*
 * Protects changes of both tables. The table by mm is read under RCU; whoever
 * holds the lock may use the mm of a heap that is in it, because a heap leaves
 * the tables when its last VMA goes, before the mm does.
 */
static DEFINE_MUTEX(pw_heaps_lock);
DEFINE_HASHTABLE(pw_heaps_by_mm, PW_HEAPS_BITS);
static DEFINE_XARRAY(pw_heaps_by_id);
static u64 pw_heap_last_id;
static unsigned long pw_nr_heaps;

/* All heaps are gone: every VMA holds the module. */
void pw_heap_exit(void)
{
	rcu_barrier();
	xa_destroy(&pw_heaps_by_id);
}

/**
 * pw_heap_create() - make a heap and let it be found
 * @mm: whose; it has none yet
 * @family: of the file that it is mapped from
 * @base: address of its page 0
 * @window: pages it may span
 * @gfp: GFP_KERNEL, with __GFP_NOFAIL where the caller cannot fail
 *
 * Context: mmap_lock of @mm held for write.
 *
 * Return: the heap, with one reference that stands for its VMAs, or NULL.
 */
struct pw_heap *pw_heap_create(struct mm_struct *mm, struct pw_family *family,
			       unsigned long base, unsigned long window,
			       gfp_t gfp)
{
	struct pw_heap *heap = kzalloc(sizeof(*heap), gfp);
	int i;

	if (!heap)
		return NULL;
	heap->payer = pw_payer_new(gfp);
	if (!heap->payer) {
		kfree(heap);
		return NULL;
	}
	heap->payers = heap->payer->who;
	heap->mm = mm;
	heap->family = family;
	refcount_inc(&family->refs);
	heap->base = base;
	heap->window = window;
	heap->limit = PW_NO_LIMIT;
	refcount_set(&heap->refs, 1);
	pw_lock_init(&heap->lock);
	pw_lock_init(&heap->unmap_lock);
	xa_init_flags(&heap->breaks, XA_FLAGS_ALLOC1);
	ida_init(&heap->vma_ids);
	heap->idle_slot = PW_NO_SLOT;
	pw_region_init(heap);
	for (i = 0; i < PW_STREAMS; i++) {
		heap->streams.next[i] = U32_MAX;
		heap->streams.at[i] = U32_MAX / 2;
		heap->streams.stream[i].step = 1;
	}

	mutex_lock(&pw_heaps_lock);
	heap->id = pw_heap_last_id + 1;
	if (xa_err(xa_store(&pw_heaps_by_id, heap->id, heap, gfp))) {
		mutex_unlock(&pw_heaps_lock);
		pw_payer_put(heap->payer, 1);
		pw_region_destroy(heap);
		pw_family_put(family);
		kfree(heap);
		return NULL;
	}
	pw_heap_last_id = heap->id;
	WRITE_ONCE(pw_nr_heaps, pw_nr_heaps + 1);
	hash_add_rcu(pw_heaps_by_mm, &heap->hash_node, (unsigned long)mm);
	mutex_unlock(&pw_heaps_lock);

	mutex_lock(&family->lock);
	list_add_tail(&heap->family_node, &family->heaps);
	mutex_unlock(&family->lock);
	return heap;
}

/**
 * pw_heap_get_by_mm() - find a process's heap
 * @mm: whose
 *
 * Return: the heap with a reference for the caller, or NULL.
 */
struct pw_heap *pw_heap_get_by_mm(struct mm_struct *mm)
{
	struct pw_heap *heap;

	/* In every call: this kind of a section costs two instructions. */
	rcu_read_lock_sched();
	heap = pw_heap_find(mm);
	if (heap && !refcount_inc_not_zero(&heap->refs))
		heap = NULL;
	rcu_read_unlock_sched();
	return heap;
}

static void free_heap_rcu(struct rcu_head *rcu)
{
	kfree(container_of(rcu, struct pw_heap, rcu));
}

void pw_heap_put(struct pw_heap *heap)
{
	if (!refcount_dec_and_test(&heap->refs))
		return;
	pw_heap_free_pages(heap);
	WARN_ON_ONCE(atomic_long_read(&heap->paid));
	pw_limit_uncharge(&heap->payers, atomic_long_read(&heap->committed));
	pw_payer_put(heap->payer, 1);
	pw_region_destroy(heap);
	xa_destroy(&heap->breaks);
	ida_destroy(&heap->vma_ids);
	pw_slots_free(heap);
	pw_lock_destroy(&heap->lock);
	pw_lock_destroy(&heap->unmap_lock);
	pw_family_put(heap->family);
	call_rcu(&heap->rcu, free_heap_rcu);
}

/**
 * pw_heap_free_pages() - let go of every page and promise
 * @heap: nothing of it is mapped any more
 */
void pw_heap_free_pages(struct pw_heap *heap)
{
	unsigned long slot;

	for (slot = 0; pw_slot_next(heap, &slot, ULONG_MAX); slot++)
		pw_chunk_leave(heap, slot);
	pw_pool_unreserve(atomic_long_xchg(&heap->promised, 0));
}

/*
 * Until it has no pages relatives find them here, and may take what they need. What
 * they shared with it may be theirs alone now.
 */
static void leave_family(struct pw_heap *heap)
{
	struct pw_family *family = heap->family;
	struct pw_heap *h;

	mutex_lock(&family->lock);
	list_del(&heap->family_node);
	if (heap->cow)
		list_for_each_entry(h, &family->heaps, family_node)
			WRITE_ONCE(h->ask_cow, true);
	mutex_unlock(&family->lock);
}

/**
 * pw_heap_kill() - the last VMA is gone
 * @heap: drops the reference that stood for the VMAs
 *
 * Whoever is still in an ioctl finds @dead set when it gets the lock; what
 * such a straggler put into the heap before goes with the last reference.
 *
 * Context: mmap_lock of the heap's mm held, by munmap() for reading only: it took
 * the VMA out for writing, and nobody else does that before it is done.
 */
void pw_heap_kill(struct pw_heap *heap)
{
	mutex_lock(&pw_heaps_lock);
	hash_del_rcu(&heap->hash_node);
	xa_erase(&pw_heaps_by_id, heap->id);
	WRITE_ONCE(pw_nr_heaps, pw_nr_heaps - 1);
	mutex_unlock(&pw_heaps_lock);

	pw_lock(&heap->lock);
	heap->dead = true;
	pw_unlock(&heap->lock);

	/* Other threads may be in quick.c, and have no reference. */
	if (atomic_read(&heap->mm->mm_users) > 1)
		synchronize_rcu();

	pw_heap_free_pages(heap);
	leave_family(heap);
	pw_heap_put(heap);
}

/**
 * pw_heaps_reclaim() - the pool is short: take what programs said may be taken
 * @nr: pages that were just refused; what lacks may be more, see pw_pool_lack()
 *
 * Context: may be called with a chunk locked.
 *
 * Return: whether to ask again: the pool has got a page more, or lacks none.
 */
bool pw_heaps_reclaim(unsigned long nr)
{
	unsigned long id, lack = pw_pool_lack(nr), got = 0;
	struct pw_heap *heap;

	/* No page of others goes for a request that is too large whatever they give. */
	if (nr > pw_pool_max() || lack > pw_pool_held())
		return false;
	/* Whoever is in the table stays whole while we hold this. */
	mutex_lock(&pw_heaps_lock);
	xa_for_each(&pw_heaps_by_id, id, heap) {
		if (got >= lack)
			break;
		if (READ_ONCE(heap->loose))
			got += pw_heap_take_loose(heap, lack - got);
	}
	mutex_unlock(&pw_heaps_lock);
	return got || !lack;
}

/**
 * pw_heap_next_alive() - walk the heaps that somebody uses, from outside
 * @id: in: look at this id and above; out: the id after the one found
 *
 * Return: a heap with a reference, and one to its mm, for the caller; or NULL.
 */
struct pw_heap *pw_heap_next_alive(u64 *id)
{
	unsigned long index = *id;
	struct pw_heap *heap;

	mutex_lock(&pw_heaps_lock);
	for (heap = xa_find(&pw_heaps_by_id, &index, ULONG_MAX, XA_PRESENT); heap;
	     heap = xa_find_after(&pw_heaps_by_id, &index, ULONG_MAX, XA_PRESENT))
		if (mmget_not_zero(heap->mm)) {
			refcount_inc(&heap->refs);
			*id = index + 1;
			break;
		}
	mutex_unlock(&pw_heaps_lock);
	return heap;
}

/**
 * pw_heap_try_mmap() - take a heap's mmap_lock for read, from outside
 * @heap: from pw_heap_next_alive()
 *
 * Return: false when somebody has or wants it for writing, or the process has no
 * memory to look at: it has ended, or its fork has failed half-way.
 */
bool pw_heap_try_mmap(struct pw_heap *heap)
{
	struct mm_struct *mm = heap->mm;

	if (atomic_read(&mm->mm_users) == 1 || !mmap_read_trylock(mm))
		return false;
	if (!test_bit(MMF_UNSTABLE, &mm->flags))
		return true;
	mmap_read_unlock(mm);
	return false;
}

static bool over_rlimit_data(struct pw_heap *heap, unsigned long nr)
{
	unsigned long limit = rlimit(RLIMIT_DATA) >> PAGE_SHIFT;

	return atomic_long_read(&heap->mapped) + nr + current->mm->data_vm >
	       limit;
}

static unsigned long limit_bytes(const struct pw_heap *heap)
{
	unsigned long limit = READ_ONCE(heap->limit);

	return limit == PW_NO_LIMIT ? limit : limit << PAGE_SHIFT;
}

/**
 * pw_heap_refused() - count a refusal and tell whoever listens
 * @heap: which
 * @nr: pages that were asked for
 */
void pw_heap_refused(struct pw_heap *heap, unsigned long nr)
{
	struct pw_heap_stat st = {
		.id = heap->id,
		.pid = task_tgid_nr(current),
		.limit = limit_bytes(heap),
		.committed = atomic_long_read(&heap->committed) << PAGE_SHIFT,
	};

	get_task_comm(st.comm, current);
	atomic64_inc(&heap->refused);
	pw_stat_inc(refused);
	trace_pw_refused(heap->id, nr);
	pw_netlink_heap_limit(&st, nr << PAGE_SHIFT);
}

/* Add to what may be touched, up to a limit. */
static bool map_within(struct pw_heap *heap, unsigned long nr,
		       unsigned long limit)
{
	long old = atomic_long_read(&heap->mapped);

	do {
		if (nr > limit || old > limit - nr)
			return false;
	} while (!atomic_long_try_cmpxchg(&heap->mapped, &old, old + nr));
	return true;
}

/*
 * What is counted and charged before it is looked for may be more than is found, and
 * nobody is to be refused for that: neither another thread, nor another process of
 * the same user. Return: for end_trial(), whether anybody can be refused at all.
 */
static bool begin_trial(struct pw_heap *heap)
{
	if (likely(READ_ONCE(heap->limit) == PW_NO_LIMIT) &&
	    !static_branch_unlikely(&pw_limits_key))
		return false;
	down_read(&heap->payers.user->trials);
	return true;
}

static void end_trial(struct pw_heap *heap, bool limited)
{
	if (limited)
		up_read(&heap->payers.user->trials);
}

/* Whether something is refused is decided while nobody else has any on trial. */
static void begin_verdict(struct pw_heap *heap)
{
	down_write(&heap->payers.user->trials);
}

static void end_verdict(struct pw_heap *heap)
{
	up_write(&heap->payers.user->trials);
}

/* Reserve what the pool has, or has when it takes what programs said may be taken. */
static bool reserve(unsigned long nr)
{
	return !pw_pool_reserve(nr) || (pw_heaps_reclaim(nr) && !pw_pool_reserve(nr));
}

/* @loud: as of pw_limit_charge_some(); @limited: out: it is a limit that stands against it */
static bool commit_strict(struct pw_heap *heap, unsigned long nr, bool loud, bool *limited)
{
	*limited = true;
	if (!map_within(heap, nr, READ_ONCE(heap->limit)))
		return false;
	if (!pw_limit_charge(&heap->payers, nr, loud))
		goto unmap;
	*limited = false;
	if (!reserve(nr))
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

static bool try_commit_strict(struct pw_heap *heap, unsigned long nr)
{
	bool trial = begin_trial(heap), limited;
	bool done = commit_strict(heap, nr, !trial, &limited);

	end_trial(heap, trial);
	if (done || !trial || !limited)
		return done;
	begin_verdict(heap);
	done = commit_strict(heap, nr, true, &limited);
	end_verdict(heap);
	return done;
}

/**
 * pw_heap_commit() - take on more pages that may be touched
 * @heap: the caller's own
 * @nr: pages
 * @strict: promise each of them, within the heap's limit
 *
 * What a child inherited counts against its limit like what it asks for.
 *
 * Return: 0, or -ENOMEM and nothing has changed.
 */
int pw_heap_commit(struct pw_heap *heap, unsigned long nr, bool strict)
{
	if (!over_rlimit_data(heap, nr) &&
	    (strict ? try_commit_strict(heap, nr) : map_within(heap, nr, LONG_MAX)))
		return 0;
	pw_heap_refused(heap, nr);
	return -ENOMEM;
}

/**
 * pw_heap_unpromise() - give promises back, as many as there are left
 * @heap: whose
 * @nr: pages; those that had no promise may be among them, all others keep theirs
 */
void pw_heap_unpromise(struct pw_heap *heap, unsigned long nr)
{
	nr -= pw_counter_take_some(&heap->unbacked, nr);
	pw_pool_unreserve(pw_counter_take_some(&heap->promised, nr));
}

/**
 * pw_heap_uncommit() - pages that may not be touched any more
 * @heap: which
 * @nr: pages
 * @strict: they were strict
 * @backed: how many of them were pages, not promises, until now
 */
void pw_heap_uncommit(struct pw_heap *heap, unsigned long nr, bool strict,
		      unsigned long backed)
{
	atomic_long_sub(nr, &heap->mapped);
	if (!strict)
		return;
	atomic_long_sub(nr, &heap->committed);
	pw_limit_uncharge(&heap->payers, nr);
	pw_heap_unpromise(heap, nr - backed);
}

/*
 * Count up to @nr pages, but no fewer than @least, as resident before they are
 * looked for: threads that do so at once do not pass the limit together. A lazy heap
 * is held to its limit here; a strict one was when the pages were mapped, those it
 * inherited too. Return: how many, which may be 0.
 */
static unsigned long grow_resident(struct pw_heap *heap, unsigned long least,
				   unsigned long nr)
{
	unsigned long limit = READ_ONCE(heap->limit), some;
	long have;

	if (likely(limit == PW_NO_LIMIT || heap->commit == PAGEWELL_COMMIT_STRICT)) {
		atomic_long_add(nr, &heap->resident);
		return nr;
	}
	have = atomic_long_read(&heap->resident);
	do {
		some = have >= limit ? 0 : min(nr, limit - have);
		if (!some || some < least)
			return 0;
	} while (!atomic_long_try_cmpxchg(&heap->resident, &have, have + some));
	return some;
}

static bool attach(struct pw_heap *heap, unsigned long nr)
{
	bool strict = READ_ONCE(heap->commit) == PAGEWELL_COMMIT_STRICT;

	if (!grow_resident(heap, nr, nr))
		return false;
	if (map_within(heap, nr, strict ? READ_ONCE(heap->limit) : LONG_MAX))
		return true;
	atomic_long_sub(nr, &heap->resident);
	return false;
}

static bool try_attach(struct pw_heap *heap, unsigned long nr)
{
	bool limited = begin_trial(heap), done = attach(heap, nr);

	end_trial(heap, limited);
	if (done || !limited)
		return done;
	begin_verdict(heap);
	done = attach(heap, nr);
	end_verdict(heap);
	return done;
}

/**
 * pw_heap_attach() - take on pages that are shared on purpose, not promised
 * @heap: the caller's own
 * @nr: pages; they count as mapped, and as resident all of them
 *
 * Return: 0, or -ENOMEM and nothing has changed.
 */
int pw_heap_attach(struct pw_heap *heap, unsigned long nr)
{
	if (!over_rlimit_data(heap, nr) && try_attach(heap, nr))
		return 0;
	pw_heap_refused(heap, nr);
	return -ENOMEM;
}

/**
 * pw_heap_paid() - count pages that a heap has without a promise, limit or not
 * @heap: whose
 * @nr: pages
 */
void pw_heap_paid(struct pw_heap *heap, unsigned int nr)
{
	pw_limit_charge_all(&heap->payers, nr);
	atomic_long_add(nr, &heap->paid);
}

/**
 * pw_heap_unpaid() - they are gone
 * @heap: whose
 * @nr: pages
 */
void pw_heap_unpaid(struct pw_heap *heap, unsigned int nr)
{
	pw_limit_uncharge(&heap->payers, nr);
	atomic_long_sub(nr, &heap->paid);
}

/*
 * Pages that nothing was promised for, as many as all limits permit, and at least
 * @least as far as that of the heap does. They count as resident. @loud: as of
 * pw_limit_charge_some().
 */
static unsigned int charge_found(struct pw_heap *heap, unsigned int least, unsigned int nr,
				 bool loud)
{
	unsigned int counted = grow_resident(heap, least, nr);

	nr = counted ? pw_limit_charge_some(&heap->payers, counted, loud) : 0;
	atomic_long_add(nr, &heap->paid);
	if (unlikely(nr < counted))
		atomic_long_sub(counted - nr, &heap->resident);
	return nr;
}

static void uncharge_found(struct pw_heap *heap, unsigned int nr)
{
	atomic_long_sub(nr, &heap->resident);
	pw_heap_unpaid(heap, nr);
}

/* All of them or none: others shall not miss what is of no use here. */
static bool charge_holes(struct pw_heap *heap, unsigned int nr)
{
	unsigned int counted = grow_resident(heap, nr, nr);

	if (counted == nr && pw_limit_charge(&heap->payers, nr, false)) {
		atomic_long_add(nr, &heap->paid);
		return true;
	}
	atomic_long_sub(counted, &heap->resident);
	return false;
}

static unsigned int find_pages(u32 *pfns, unsigned int nr)
{
	unsigned int got = pw_pool_alloc(pfns, nr, PW_ALLOC_ZERO);

	if (!got && pw_heaps_reclaim(1))
		got = pw_pool_alloc(pfns, 1, PW_ALLOC_ZERO);
	return got;
}

/* For a strict region that lacks promises. */
static noinline unsigned int find_unbacked(struct pw_heap *heap, u32 *pfns, unsigned int nr)
{
	unsigned int got = find_pages(pfns, nr);

	pw_counter_take_some(&heap->unbacked, got);
	return got;
}

/* @loud, @limited: as of commit_strict() */
static unsigned int charge_and_find(struct pw_heap *heap, u32 *pfns, unsigned int nr,
				    bool loud, bool *limited)
{
	unsigned int got = 0;

	nr = charge_found(heap, 1, nr, loud);
	*limited = !nr;
	if (nr)
		got = find_pages(pfns, nr);
	if (got < nr)
		uncharge_found(heap, nr - got);
	return got;
}

static noinline unsigned int find_charged(struct pw_heap *heap, u32 *pfns, unsigned int nr)
{
	bool trial = begin_trial(heap), limited;
	unsigned int got = charge_and_find(heap, pfns, nr, !trial, &limited);

	end_trial(heap, trial);
	if (got || !trial || !limited)
		return got;
	begin_verdict(heap);
	got = charge_and_find(heap, pfns, 1, true, &limited);
	end_verdict(heap);
	return got;
}

/**
 * pw_heap_alloc() - zeroed pages for a first touch
 * @heap: which
 * @pfns: filled in
 * @nr: pages wanted
 * @promised: they lie in a strict region
 *
 * A promise may be missing where a page was shared when it was given up (munmap
 * inside the heap); then the page is looked for like in a lazy heap.
 *
 * Return: how many there are, which count as resident; none when nothing can be had.
 */
unsigned int pw_heap_alloc(struct pw_heap *heap, u32 *pfns, unsigned int nr,
			   bool promised)
{
	unsigned int had = promised ? pw_counter_take_some(&heap->promised, nr) : 0, got;

	if (likely(had)) {
		got = pw_pool_alloc(pfns, had, PW_ALLOC_PROMISED | PW_ALLOC_ZERO);
		if (unlikely(got < had))
			atomic_long_add(had - got, &heap->promised);
	} else {
		got = promised ? find_unbacked(heap, pfns, nr) : find_charged(heap, pfns, nr);
	}
	if (promised)
		atomic_long_add(got, &heap->resident);
	return got;
}

/**
 * pw_heap_alloc_one() - the same for one page that was promised
 * @heap: which
 *
 * Return: its page frame number, or 0; the caller counts it as resident.
 */
u32 pw_heap_alloc_one(struct pw_heap *heap)
{
	long have = atomic_long_read(&heap->promised);
	u32 pfn = 0;

	do {
		if (unlikely(have <= 0)) {
			find_unbacked(heap, &pfn, 1);
			return pfn;
		}
	} while (!atomic_long_try_cmpxchg(&heap->promised, &have, have - 1));
	pfn = pw_pool_alloc_one(PW_ALLOC_PROMISED | PW_ALLOC_ZERO);
	if (unlikely(!pfn))
		atomic_long_inc(&heap->promised);
	return pfn;
}

static u32 find_block(struct pw_heap *heap)
{
	bool limited = begin_trial(heap);
	u32 pfn = 0;

	if (charge_holes(heap, PW_SLOT_PAGES)) {
		pfn = pw_pool_alloc_huge(PW_ALLOC_ZERO);
		if (!pfn)
			uncharge_found(heap, PW_SLOT_PAGES);
	}
	end_trial(heap, limited);
	return pfn;
}

/**
 * pw_heap_alloc_block() - a zeroed page of 2 MiB for a first touch
 * @heap: which
 * @promised: it lies in a strict region
 *
 * Return: its page frame number, and it counts as resident; 0 when there is none;
 * small pages may be there all the same.
 */
u32 pw_heap_alloc_block(struct pw_heap *heap, bool promised)
{
	u32 pfn;

	if (!promised)
		return find_block(heap);
	if (!pw_counter_take(&heap->promised, PW_SLOT_PAGES))
		return 0;
	pfn = pw_pool_alloc_huge(PW_ALLOC_PROMISED | PW_ALLOC_ZERO);
	atomic_long_add(PW_SLOT_PAGES, pfn ? &heap->resident : &heap->promised);
	return pfn;
}

static void unswap(struct pw_heap *heap, unsigned long holes, bool promised,
		   unsigned long used)
{
	atomic_long_sub(holes, &heap->resident);
	atomic_long_add(used, &heap->promised);
	if (!promised)
		pw_heap_unpaid(heap, holes);
}

static u32 swap_block(struct pw_heap *heap, unsigned long holes, bool promised,
		      unsigned long *used)
{
	u32 pfn;

	*used = 0;
	if (!promised && !charge_holes(heap, holes))
		return 0;
	if (promised) {
		*used = pw_counter_take_some(&heap->promised, holes);
		atomic_long_add(holes, &heap->resident);
	}
	pfn = pw_pool_swap_huge(*used);
	if (!pfn)
		unswap(heap, holes, promised, *used);
	return pfn;
}

/**
 * pw_heap_swap_block() - a page of 2 MiB to take the place of small ones
 * @heap: which
 * @holes: small pages that are not there
 * @promised: they lie in a strict region
 * @used: out: promises for the holes that were used up, for the way back
 *
 * Those that are there go to the pool when they have been copied, so all it
 * costs in the end is the holes, which count as resident now.
 *
 * Return: its page frame number, contents undefined; 0 when there is none.
 */
u32 pw_heap_swap_block(struct pw_heap *heap, unsigned long holes,
		       bool promised, unsigned long *used)
{
	bool limited = begin_trial(heap);
	u32 pfn = swap_block(heap, holes, promised, used);

	end_trial(heap, limited);
	return pfn;
}

/**
 * pw_heap_unswap_block() - give such a page back unused
 * @heap: which
 * @pfn: the page
 * @holes: as pw_heap_swap_block() was told
 * @promised: the same
 * @used: as it said
 */
void pw_heap_unswap_block(struct pw_heap *heap, u32 pfn, unsigned long holes,
			  bool promised, unsigned long used)
{
	pw_pool_free_huge(pfn, PW_FREE_PROMISED);
	pw_pool_unreserve(PW_SLOT_PAGES - used);
	unswap(heap, holes, promised, used);
}

static int check_policy(struct pw_heap *heap, const struct pagewell_heap *arg)
{
	if (arg->set & ~(PAGEWELL_SET_LIMIT | PAGEWELL_SET_COMMIT |
			 PAGEWELL_SET_HUGE))
		return -EINVAL;
	if ((arg->set & PAGEWELL_SET_COMMIT) &&
	    arg->commit > PAGEWELL_COMMIT_LAZY)
		return -EINVAL;
	if ((arg->set & PAGEWELL_SET_HUGE) && arg->huge > PAGEWELL_HUGE_NEVER)
		return -EINVAL;
	if ((arg->set & PAGEWELL_SET_COMMIT) && arg->commit != heap->commit &&
	    atomic_long_read(&heap->mapped))
		return -EBUSY;
	if ((arg->set & PAGEWELL_SET_LIMIT) &&
	    arg->limit >> PAGE_SHIFT > heap->limit &&
	    !capable(CAP_SYS_RESOURCE))
		return -EPERM;
	return 0;
}

/**
 * pw_heap_policy() - read and change limit, commit mode and page size
 * @heap: which
 * @arg: see PAGEWELL_IOC_HEAP
 *
 * Return: 0, -EINVAL, -EBUSY or -EPERM; on an error nothing has changed.
 */
int pw_heap_policy(struct pw_heap *heap, struct pagewell_heap *arg)
{
	int err;

	pw_lock(&heap->lock);
	err = check_policy(heap, arg);
	if (err)
		goto out;
	if (arg->set & PAGEWELL_SET_LIMIT)
		WRITE_ONCE(heap->limit, arg->limit == ~0ULL ?
			   PW_NO_LIMIT : arg->limit >> PAGE_SHIFT);
	if (arg->set & PAGEWELL_SET_COMMIT)
		heap->commit = arg->commit;
	if (arg->set & PAGEWELL_SET_HUGE)
		heap->huge = arg->huge;
	pw_region_changed(heap);
	arg->commit = heap->commit;
	arg->huge = heap->huge;
	arg->limit = limit_bytes(heap);
out:
	pw_unlock(&heap->lock);
	return err;
}

/* The three change while they are read. */
static u64 resident_bytes(struct pw_heap *heap)
{
	long pages = atomic_long_read(&heap->resident) - atomic_long_read(&heap->packed) -
		     (long)pw_shared_missing(heap);

	return (u64)max(pages, 0L) << PAGE_SHIFT;
}

/**
 * pw_heap_info() - the heap's part of PAGEWELL_IOC_INFO
 * @heap: which
 * @info: filled in
 */
void pw_heap_info(struct pw_heap *heap, struct pagewell_info *info)
{
	info->heap_base = heap->base;
	info->heap_id = heap->id;
	info->window = (u64)heap->window << PAGE_SHIFT;
	info->limit = limit_bytes(heap);
	info->committed = atomic_long_read(&heap->committed) << PAGE_SHIFT;
	info->resident = resident_bytes(heap);
	info->heap_end = pw_heap_addr(heap, pw_region_end(heap));
}

/* Pages of chunks that are shared. A snapshot: chunks change meanwhile. */
static unsigned long count_shared(struct pw_heap *heap)
{
	unsigned long slot, nr = 0;
	struct pw_chunk *c;

	rcu_read_lock();
	for (slot = 0; pw_slot_next(heap, &slot, ULONG_MAX); slot++) {
		c = pw_slot_load(heap, slot);
		if (c && READ_ONCE(c->users) > 1)
			nr += READ_ONCE(c->nr) - READ_ONCE(c->packed);
		cond_resched_rcu();
	}
	rcu_read_unlock();
	return nr;
}

/* The mm's owner is the process; between fork and exit there always is one. */
static void describe_owner(struct pw_heap *heap, struct pw_heap_stat *st)
{
#ifdef CONFIG_MEMCG
	struct task_struct *task;

	rcu_read_lock();
	task = rcu_dereference(heap->mm->owner);
	if (task) {
		st->pid = task_tgid_vnr(task);
		get_task_comm(st->comm, task);
	}
	rcu_read_unlock();
#endif
}

/* The next heap at or above an id, of a process or, with 0, of any; with a reference. */
static struct pw_heap *get_next(u64 *id, pid_t pid, struct pw_heap_stat *st)
{
	unsigned long index = *id;
	struct pw_heap *heap;

	mutex_lock(&pw_heaps_lock);
	for (heap = xa_find(&pw_heaps_by_id, &index, ULONG_MAX, XA_PRESENT); heap;
	     heap = xa_find_after(&pw_heaps_by_id, &index, ULONG_MAX, XA_PRESENT)) {
		memset(st, 0, sizeof(*st));
		describe_owner(heap, st);
		if (pid && st->pid != pid)
			continue;
		refcount_inc(&heap->refs);
		*id = index + 1;
		break;
	}
	mutex_unlock(&pw_heaps_lock);
	return heap;
}

bool pw_heap_next_stat(u64 *id, pid_t pid, struct pw_heap_stat *st)
{
	struct pw_heap *heap = get_next(id, pid, st);

	if (!heap)
		return false;
	/* Counting takes long in a large heap, and holds up nobody here. */
	st->id = heap->id;
	st->base = heap->base;
	st->limit = limit_bytes(heap);
	st->committed = atomic_long_read(&heap->committed) << PAGE_SHIFT;
	st->packed = atomic_long_read(&heap->packed) << PAGE_SHIFT;
	st->resident = resident_bytes(heap);
	st->shared = count_shared(heap) << PAGE_SHIFT;
	st->breaks = READ_ONCE(heap->nr_breaks);
	st->regions = pw_region_count(heap);
	st->faults = atomic64_read(&heap->faults);
	st->fault_pages = atomic64_read(&heap->fault_pages);
	st->cow_copies = atomic64_read(&heap->cow_copies);
	st->refused = atomic64_read(&heap->refused);
	st->lazy = heap->commit == PAGEWELL_COMMIT_LAZY;
	st->huge = heap->huge;
	pw_heap_put(heap);
	return true;
}

unsigned long pw_heap_count(void)
{
	return READ_ONCE(pw_nr_heaps);
}
