// SPDX-License-Identifier: GPL-2.0-only
/*
 * idle.c - pages that nobody has touched for a while are packed
 *
 * A touch of a packed page (pack.c) takes a page from the pool and fills it again.
 * That page may not be there, so the only pages that are packed are those of lazy
 * regions, for which nothing was promised; packing others would not give anybody
 * a page. They still count against the limit of their heap: what was granted once
 * is not refused when it comes back.
 *
 * Which pages are idle is what a program says of them (PAGEWELL_ADVISE_COLD), or
 * what a thread of the lowest priority finds out: it looks every idle_s seconds
 * which page table entries the processor has marked as used, and clears the marks.
 */
#include <linux/bitmap.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/mmu_notifier.h>
#include <linux/moduleparam.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/userfaultfd_k.h>
#include <linux/wait.h>

#include "heap.h"
#include "map.h"
#include "pace.h"
#include "pool.h"
#include "stats.h"

/* Pages packed before others may have the chunk. */
#define PACK_BATCH	32

static unsigned int idle_s;
static unsigned int idle_mbps = 64;

/* Entries of a chunk */

static bool bring_back(struct pw_heap *heap, struct pw_chunk *c, unsigned int i)
{
	u32 entry = c->pfn[i], pfn;

	if (!pw_pool_alloc(&pfn, 1, 0) &&
	    !(pw_heaps_reclaim(1) && pw_pool_alloc(&pfn, 1, 0)))
		return false;
	if (!pw_unpack(entry, pfn_to_page(pfn))) {
		pw_pool_free_one(pfn, 0);
		return false;
	}
	c->pfn[i] = pfn;
	__clear_bit(i, c->suspect);
	pw_chunk_packed(heap, c, -1);
	pw_packed_put(entry);
	/* Nothing strict is packed. A relative's page is its own from now on. */
	pw_chunk_pay_copies(heap, c, i, 1);
	pw_stat_inc(unpacked);
	return true;
}

/**
 * pw_chunk_unpack() - bring packed pages back
 * @heap: whose
 * @c: its chunk, locked, not shared
 * @from: first entry
 * @to: entry behind the last
 *
 * Return: false when there is no page for one of them; others may be back.
 */
bool pw_chunk_unpack(struct pw_heap *heap, struct pw_chunk *c,
		     unsigned int from, unsigned int to)
{
	ktime_t start = ktime_get();
	bool done = true;
	unsigned int i;

	lockdep_assert_held(&c->lock);
	for (i = from; i < to && done && c->packed; i++)
		if (pw_pfn_is_packed(c->pfn[i]))
			done = bring_back(heap, c, i);
	pw_stat_add(unpack_ns, ktime_to_ns(ktime_sub(ktime_get(), start)));
	return done;
}

/**
 * struct look - a slot whose idle pages are being packed
 * @heap: whose
 * @slot: which
 * @by_age: what is idle is for us to find out
 * @started: we have
 * @idle: entries that are idle, and have not been tried
 */
struct look {
	struct pw_heap *heap;
	unsigned long slot;
	bool by_age;
	bool started;
	DECLARE_BITMAP(idle, PW_SLOT_PAGES);
};

static unsigned long first_page(const struct look *l)
{
	return l->slot << PW_SLOT_SHIFT;
}

/* Pages of lazy regions. */
static void find_lazy(const struct look *l, const struct pw_chunk *c, unsigned long *lazy)
{
	unsigned int i = find_first_bit(c->used, PW_SLOT_PAGES);
	unsigned long first = first_page(l);
	struct pw_where where;

	for (; i < PW_SLOT_PAGES; i = find_next_bit(c->used, PW_SLOT_PAGES, i)) {
		unsigned int end = i + 1;

		if (pw_region_lookup(l->heap, first + i, &where)) {
			end = min(where.hi - first, (unsigned long)PW_SLOT_PAGES);
			if (!where.promised)
				bitmap_set(lazy, i, end - i);
		}
		i = end;
	}
	bitmap_and(lazy, lazy, c->used, PW_SLOT_PAGES);
	bitmap_andnot(lazy, lazy, c->loose, PW_SLOT_PAGES);
	for_each_set_bit(i, lazy, PW_SLOT_PAGES)
		if (!pw_pfn_is_page(c->pfn[i]))
			__clear_bit(i, lazy);
}

/* What others see of the heap, as KVM's guests do, leaves no trace in its page tables. */
static bool is_seen_by_others(const struct look *l)
{
	return l->by_age && mm_has_notifiers(l->heap->mm);
}

static bool vma_allows(const struct pw_heap *heap, struct vm_area_struct *vma)
{
	return pw_vma_is_ours(vma) && vma->vm_private_data == heap &&
	       !(vma->vm_flags & VM_LOCKED) && !userfaultfd_wp(vma);
}

/**
 * pw_slot_ask_vmas() - which pages may be unmapped behind the program's back?
 * @heap: whose
 * @slot: of which slot
 * @pages: a bit for each; cleared where no VMA allows it
 * @young: if not NULL, a bit is set for pages that are in use
 *
 * Context: mmap_lock held for read.
 */
void pw_slot_ask_vmas(struct pw_heap *heap, unsigned long slot,
		      unsigned long *pages, unsigned long *young)
{
	unsigned long base = pw_heap_addr(heap, slot << PW_SLOT_SHIFT);
	unsigned long addr = base, end = base + PW_SLOT_BYTES, to;
	struct vm_area_struct *vma;

	for (; addr < end; addr = to) {
		bool allowed;

		vma = find_vma_intersection(heap->mm, addr, end);
		allowed = vma && vma->vm_start <= addr && vma_allows(heap, vma);
		to = !vma ? end : vma->vm_start > addr ? vma->vm_start : min(end, vma->vm_end);
		if (!allowed)
			bitmap_clear(pages, (addr - base) >> PAGE_SHIFT, (to - addr) >> PAGE_SHIFT);
		else if (young)
			pw_map_age(vma, addr, to, young);
	}
}

static bool is_due(const struct pw_chunk *c)
{
	return time_after_eq(jiffies, c->looked + (unsigned long)READ_ONCE(idle_s) * HZ);
}

/*
 * Idle by age: there at the last look, and not touched since. What was idle when
 * others had the chunk in between must still be so.
 */
static void choose(struct look *l, struct pw_chunk *c)
{
	DECLARE_BITMAP(pages, PW_SLOT_PAGES) = { };
	DECLARE_BITMAP(young, PW_SLOT_PAGES) = { };

	find_lazy(l, c, pages);
	pw_slot_ask_vmas(l->heap, l->slot, pages, l->by_age ? young : NULL);
	if (l->by_age && !l->started) {
		bitmap_copy(l->idle, c->seen, PW_SLOT_PAGES);
		bitmap_copy(c->seen, pages, PW_SLOT_PAGES);
	}
	l->started = true;
	bitmap_andnot(pages, pages, young, PW_SLOT_PAGES);
	bitmap_and(l->idle, l->idle, pages, PW_SLOT_PAGES);
}

/* A run of entries, unmapped; returns the pages that have become free. */
static unsigned int pack_run(struct look *l, struct pw_chunk *c, unsigned int from,
			     unsigned int to, u32 *pfns)
{
	unsigned int n = 0;
	u32 entry;

	for (; from < to; from++) {
		if (!pw_chunk_may_take(c, from))
			continue;
		entry = pw_pack(pfn_to_page(c->pfn[from]));
		if (!entry)
			continue;
		pw_chunk_take_charge(l->heap, c, from);
		pw_page_uncharge(pfn_to_page(c->pfn[from]));
		pfns[n++] = c->pfn[from];
		c->pfn[from] = entry;
		__clear_bit(from, c->suspect);
	}
	pw_chunk_packed(l->heap, c, n);
	return n;
}

static unsigned int pack_entries(struct look *l, struct pw_chunk *c)
{
	unsigned int from, to, n = 0, tried = 0;
	u32 pfns[PACK_BATCH];

	while (tried < PACK_BATCH && !pw_pack_full()) {
		from = find_first_bit(l->idle, PW_SLOT_PAGES);
		if (from >= PW_SLOT_PAGES)
			break;
		to = find_next_zero_bit(l->idle, from + PACK_BATCH - tried < PW_SLOT_PAGES ?
					from + PACK_BATCH - tried : PW_SLOT_PAGES, from);
		pw_heap_zap(l->heap, first_page(l) + from, first_page(l) + to);
		n += pack_run(l, c, from, to, pfns + n);
		bitmap_clear(l->idle, from, to - from);
		tried += to - from;
	}
	if (n)
		pw_pool_free(pfns, n, 0);
	if (pw_pack_full())
		bitmap_zero(l->idle, PW_SLOT_PAGES);
	return n;
}

/* A block goes as a whole, or when it is cut already, or if it was asked for. */
static bool can_cut(struct look *l, struct pw_chunk *c)
{
	if (l->by_age && c->block && !bitmap_full(l->idle, PW_SLOT_PAGES))
		return false;
	return pw_chunk_cut(l->heap, l->slot, c);
}

static unsigned int pack_locked(struct look *l, struct pw_chunk *c)
{
	ktime_t start = ktime_get();
	unsigned int n = 0;

	if (l->by_age && !l->started) {
		if (!is_due(c))
			return 0;
		c->looked = jiffies;
	}
	choose(l, c);
	if (bitmap_empty(l->idle, PW_SLOT_PAGES))
		return 0;
	if (can_cut(l, c))
		n = pack_entries(l, c);
	else
		bitmap_zero(l->idle, PW_SLOT_PAGES);
	pw_stat_add(pack_ns, ktime_to_ns(ktime_sub(ktime_get(), start)));
	return n;
}

/*
 * Pack some of a slot's idle pages: how many. There may be more while @l->idle is
 * not empty. The mmap_lock is held for read.
 */
static unsigned int pack_some(struct look *l)
{
	struct pw_chunk *c = pw_chunk_lock(l->heap, l->slot);
	unsigned int n = 0;

	if (!c || c->users > 1 || c->shared || is_seen_by_others(l))
		bitmap_zero(l->idle, PW_SLOT_PAGES);
	else
		n = pack_locked(l, c);
	if (c)
		pw_chunk_unlock(c);
	return n;
}

/* By advice */

static void pack_in_slot(struct pw_heap *heap, unsigned long slot,
			 unsigned int from, unsigned int to)
{
	struct look l = { .heap = heap, .slot = slot };

	bitmap_set(l.idle, from, to - from);
	while (!bitmap_empty(l.idle, PW_SLOT_PAGES) && !fatal_signal_pending(current)) {
		mmap_read_lock(heap->mm);
		pack_some(&l);
		mmap_read_unlock(heap->mm);
		cond_resched();
	}
}

/**
 * pw_range_pack() - pack pages now
 * @heap: the caller's own
 * @lo: first page; the range is lazy
 * @hi: page behind the last
 *
 * As many as can be, and none unless packing is on. Takes the mmap_lock for read.
 */
void pw_range_pack(struct pw_heap *heap, unsigned long lo, unsigned long hi)
{
	unsigned long slot = lo >> PW_SLOT_SHIFT;
	unsigned long last = (hi - 1) >> PW_SLOT_SHIFT;

	if (!pw_pack_on())
		return;
	while (!fatal_signal_pending(current) &&
	       pw_slot_next(heap, &slot, last)) {
		unsigned long first = slot << PW_SLOT_SHIFT;

		pack_in_slot(heap, slot, lo > first ? lo - first : 0,
			     min(hi - first, (unsigned long)PW_SLOT_PAGES));
		if (slot++ == last)
			break;
	}
}

/* By age */

static struct task_struct *age_task;
static DECLARE_WAIT_QUEUE_HEAD(idle_wait);

static bool is_on(void)
{
	return READ_ONCE(idle_s) && pw_pack_wanted();
}

static bool go_on(void)
{
	return is_on() && !kthread_should_stop();
}

/* Return: whether marks were cleared. */
static bool age_slot(struct pw_heap *heap, unsigned long slot)
{
	static unsigned long owed;
	struct look l = { .heap = heap, .slot = slot, .by_age = true };
	unsigned int n;

	do {
		/* Whoever wants it for writing does not wait for the likes of us. */
		if (!pw_heap_try_mmap(heap))
			break;
		n = pack_some(&l);
		mmap_read_unlock(heap->mm);
		pw_pace(&owed, n, READ_ONCE(idle_mbps));
		cond_resched();
	} while (go_on() && !bitmap_empty(l.idle, PW_SLOT_PAGES));
	return l.started;
}

/* All that is mapped is promised: nothing to be packed. */
static bool is_strict(struct pw_heap *heap)
{
	return atomic_long_read(&heap->committed) >= atomic_long_read(&heap->mapped);
}

/* A process that is killed meanwhile ends when we let go of its memory. */
static bool age_heap(struct pw_heap *heap)
{
	unsigned long slot;
	bool cleared = false;

	for (slot = 0; go_on() && !is_strict(heap) && !pw_pack_full() &&
	     atomic_read(&heap->mm->mm_users) > 1 &&
	     pw_slot_next(heap, &slot, ULONG_MAX); slot++)
		cleared |= age_slot(heap, slot);
	return cleared;
}

static void age_all(void)
{
	struct pw_heap *heap;
	struct mm_struct *mm;
	bool cleared = false;
	u64 id = 0;

	while (go_on() && (heap = pw_heap_next_alive(&id))) {
		mm = heap->mm;
		cleared |= age_heap(heap);
		pw_heap_put(heap);
		/* The last one: its process has ended meanwhile. */
		mmput(mm);
	}
	if (cleared)
		pw_map_flush();
}

static int age_thread(void *unused)
{
	set_user_nice(current, MAX_NICE);
	while (!kthread_should_stop()) {
		wait_event_interruptible(idle_wait, kthread_should_stop() || is_on());
		if (pw_pack_on())
			age_all();
		schedule_timeout_interruptible(HZ);
	}
	return 0;
}

/**
 * pw_idle_wake() - a setting has changed
 */
void pw_idle_wake(void)
{
	wake_up(&idle_wait);
}

/* Settings */

static int set_and_wake(const char *val, const struct kernel_param *kp)
{
	int err = param_set_uint(val, kp);

	if (!err)
		pw_idle_wake();
	return err;
}

static const struct kernel_param_ops wake_ops = {
	.set = set_and_wake,
	.get = param_get_uint,
};

module_param_cb(idle_s, &wake_ops, &idle_s, 0644);
__MODULE_PARM_TYPE(idle_s, "uint");
MODULE_PARM_DESC(idle_s, "seconds until pages that are not touched are packed (0: never)");

module_param(idle_mbps, uint, 0644);
MODULE_PARM_DESC(idle_mbps, "MiB a second that may be packed by age (0: no limit)");

/**
 * pw_idle_init() - start the thread, which sleeps until it is wanted
 *
 * Return: 0 or -ENOMEM.
 */
int pw_idle_init(void)
{
	age_task = kthread_run(age_thread, NULL, "pagewell_idle");
	return PTR_ERR_OR_ZERO(age_task);
}

/**
 * pw_idle_stop() - stop the thread
 */
void pw_idle_stop(void)
{
	kthread_stop(age_task);
}
