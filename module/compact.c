// SPDX-License-Identifier: GPL-2.0-only
/*
 * compact.c - pages are moved so that there are free pages of 2 MiB
 *
 * When somebody looks for a page of 2 MiB and there is none, or the kernel is to have
 * some back, though free pages would make two and more, a thread chooses blocks with
 * few pages in use (evacuate.c) and moves these to where others are. Whoever looked
 * has small pages meanwhile, as always when there are no others.
 *
 * Which heap has a page is not written anywhere, so the thread goes through all
 * heaps: once to see whether the pages of a block can be moved at all, and again
 * to move them. A page can be when it is in one index only and nobody else refers
 * to it. Its entry is taken out of the page table, so a touch meanwhile waits for
 * the chunk, and finds the page in its new place.
 */
#include <linux/bitmap.h>
#include <linux/kthread.h>
#include <linux/sched/mm.h>

#include "evacuate.h"
#include "heap.h"
#include "pace.h"
#include "stats.h"

/* Pages moved, and chunks looked at, before others may have the locks. */
#define MOVE_BATCH	32
#define LOOK_BATCH	64

/* A page that somebody refers to just now may be free of that in a moment. */
#define ROUNDS		2
#define MISSES		8

/* Choices of blocks until it is given up: others may be better than they look. */
#define CHOICES		4

/* When the mmap_lock is taken: so often, a tick apart. */
#define TRIES		5

static struct task_struct *compact_task;

/**
 * struct walk - through all heaps
 * @evac: the blocks whose pages are looked for
 * @moving: these are moved, not counted
 * @full: there is nowhere to move them to
 * @id: the heap that comes next
 * @slot: its slot that comes next
 * @entry: and the entry in that
 * @looked: chunks looked at and pages moved since the last rest
 * @tried: how often the heap's mmap_lock was taken
 * @misses: of each block, pages that could not be moved
 */
struct walk {
	struct pw_evac evac;
	bool moving;
	bool full;
	u64 id;
	unsigned long slot;
	unsigned int entry;
	unsigned int looked;
	unsigned int tried;
	unsigned int misses[PW_EVAC_BLOCKS];
};

static bool go_on(void)
{
	return READ_ONCE(pw_compact_mbps) && !kthread_should_stop();
}

/*
 * Entries from w->entry on whose pages are looked for, and may move; @allowed: out:
 * all that may be unmapped.
 */
static bool find_entries(struct walk *w, struct pw_heap *heap, const struct pw_chunk *c,
			 unsigned long *found, unsigned long *allowed)
{
	unsigned int i = w->entry;
	bool any = false;

	bitmap_zero(found, PW_SLOT_PAGES);
	for_each_set_bit_from(i, c->used, PW_SLOT_PAGES) {
		int block = pw_pfn_is_page(c->pfn[i]) ?
			    pw_evac_find(&w->evac, c->pfn[i]) : -1;

		if (block < 0 || w->misses[block] > MISSES ||
		    pw_page_sharers(pfn_to_page(c->pfn[i])))
			continue;
		__set_bit(i, found);
		any = true;
	}
	if (!any)
		return false;
	bitmap_fill(allowed, PW_SLOT_PAGES);
	pw_slot_ask_vmas(heap, w->slot, allowed, NULL);
	return bitmap_and(found, found, allowed, PW_SLOT_PAGES);
}

static void count_entries(struct walk *w, const struct pw_chunk *c,
			  const unsigned long *found)
{
	unsigned int i;

	for_each_set_bit(i, found, PW_SLOT_PAGES)
		w->evac.found[pw_evac_find(&w->evac, c->pfn[i])]++;
}

/* Behind the last of the first @nr entries. */
static unsigned int end_of(const unsigned long *found, unsigned int nr)
{
	unsigned int i, end = 0;

	for_each_set_bit(i, found, PW_SLOT_PAGES) {
		if (!nr--)
			break;
		end = i + 1;
	}
	return end;
}

/* Neighbours of the pages go, too: that is cheaper, and they soon come back. */
static void unmap_entries(struct walk *w, struct pw_heap *heap, unsigned int from,
			  unsigned int end, const unsigned long *allowed)
{
	unsigned long first = w->slot << PW_SLOT_SHIFT;
	unsigned int to;

	for (; from < end; from = find_next_bit(allowed, end, to)) {
		to = find_next_zero_bit(allowed, end, from);
		pw_heap_zap(heap, first + from, first + to);
	}
	pw_family_wait(heap);
}

/* Return: pages that have been moved; what is left begins at w->entry. */
static unsigned int move_entries(struct walk *w, struct pw_heap *heap, struct pw_chunk *c,
				 const unsigned long *found, const unsigned long *allowed)
{
	unsigned int i = find_first_bit(found, PW_SLOT_PAGES), got, n = 0;
	u32 pfns[MOVE_BATCH], old;

	got = min_t(unsigned int, bitmap_weight(found, PW_SLOT_PAGES), MOVE_BATCH);
	unmap_entries(w, heap, i, end_of(found, got), allowed);
	got = pw_evac_take(&w->evac, pfns, got);
	if (!got) {
		w->full = true;
		return 0;
	}
	w->entry = end_of(found, got);
	for_each_set_bit_from(i, found, w->entry) {
		struct pw_payer *payer;

		old = c->pfn[i];
		payer = pw_page_payer(pfn_to_page(old));
		if (!pw_evac_copy(old, pfns[n])) {
			w->misses[pw_evac_find(&w->evac, old)]++;
			continue;
		}
		pw_page_set_payer(pfn_to_page(pfns[n]), payer);
		c->pfn[i] = pfns[n];
		__clear_bit(i, c->suspect);
		pfns[n++] = old;
	}
	/* Those that the pages came from, and those that were not needed. */
	pw_evac_put(pfns, got);
	pw_stat_add(pages_moved, n);
	return n;
}

/* The chunk at w->slot; moves on. Return: pages that have been moved. */
static unsigned int walk_chunk(struct walk *w, struct pw_heap *heap)
{
	struct pw_chunk *c = pw_chunk_lock(heap, w->slot);
	DECLARE_BITMAP(found, PW_SLOT_PAGES);
	DECLARE_BITMAP(allowed, PW_SLOT_PAGES);
	unsigned int n = 0;
	bool more = false;

	if (c && c->users == 1 && !c->shared && !c->block &&
	    find_entries(w, heap, c, found, allowed)) {
		if (w->moving) {
			n = move_entries(w, heap, c, found, allowed);
			more = find_next_bit(found, PW_SLOT_PAGES, w->entry) <
			       PW_SLOT_PAGES;
		} else {
			count_entries(w, c, found);
		}
	}
	if (c)
		pw_chunk_unlock(c);
	w->looked += 1 + n;
	if (!more) {
		w->slot++;
		w->entry = 0;
	}
	return n;
}

/* Some of a heap. Return: whether there is more; @moved: out: pages. */
static bool walk_some(struct walk *w, struct pw_heap *heap, unsigned int *moved)
{
	unsigned int looked;

	for (looked = 0; looked < LOOK_BATCH && !*moved && !w->full; looked++) {
		unsigned long slot = w->slot;

		if (!pw_slot_next(heap, &slot, ULONG_MAX))
			return false;
		if (slot != w->slot)
			w->entry = 0;
		w->slot = slot;
		*moved = walk_chunk(w, heap);
		cond_resched();
	}
	return true;
}

static void next_heap(struct walk *w, u64 id)
{
	w->id = id;
	w->slot = 0;
	w->entry = 0;
	w->tried = 0;
}

/*
 * A process that is killed meanwhile ends when we let go of its memory, so that
 * is not held for long.
 */
static bool walk_step(struct walk *w, unsigned int *moved)
{
	u64 next = w->id;
	struct pw_heap *heap = pw_heap_next_alive(&next);
	struct mm_struct *mm;
	bool more = false;

	*moved = 0;
	if (!heap)
		return false;
	mm = heap->mm;
	if (heap->id != w->id)
		next_heap(w, heap->id);
	/* Whoever wants it for writing does not wait for the likes of us. */
	if (pw_heap_try_mmap(heap)) {
		more = walk_some(w, heap, moved);
		mmap_read_unlock(mm);
		w->tried = 0;
	} else {
		more = w->tried++ < TRIES;
	}
	if (!more)
		next_heap(w, next);
	pw_heap_put(heap);
	mmput(mm);
	if (w->tried)
		schedule_timeout_interruptible(1);
	return true;
}

static unsigned int walk_heaps(struct walk *w)
{
	static unsigned long owed;
	unsigned int moved, sum = 0;

	next_heap(w, 0);
	while (!w->full && go_on() && walk_step(w, &moved)) {
		pw_pace(&owed, w->looked, READ_ONCE(pw_compact_mbps));
		w->looked = 0;
		sum += moved;
		cond_resched();
	}
	return sum;
}

/* Empty blocks of one node. Return: how many, or -1 when there are none to empty. */
static int empty_blocks(int node, unsigned int nr)
{
	struct walk w = { };
	unsigned int round;

	if (!pw_evac_begin(&w.evac, node, nr))
		return -1;
	walk_heaps(&w);
	if (pw_evac_choose(&w.evac)) {
		w.moving = true;
		for (round = 0; round < ROUNDS; round++)
			if (!walk_heaps(&w))
				break;
	}
	return pw_evac_end(&w.evac);
}

/* Return: pages of 2 MiB that are free now. */
static unsigned int compact(void)
{
	unsigned int wanted = pw_evac_begin_all(), won = 0, choice;
	int node, n;

	for_each_node_state(node, N_MEMORY) {
		for (choice = 0; choice < CHOICES && won < wanted && go_on(); choice++) {
			n = empty_blocks(node, wanted - won);
			if (n < 0)
				break;
			won += n;
		}
	}
	return won;
}

/* Of no low priority: it has locks that faults wait for. */
static int compact_thread(void *unused)
{
	u64 before = 0;

	while (!kthread_should_stop()) {
		wait_event_interruptible(pw_evac_wait, kthread_should_stop() ||
					 pw_evac_wanted());
		if (kthread_should_stop())
			break;
		if (!compact())
			schedule_timeout_interruptible(HZ);
		pw_stat_add(compact_ns, pw_pace_ran(&before));
	}
	return 0;
}

/**
 * pw_compact_init() - start the thread, which sleeps until it is wanted
 *
 * Return: 0 or -ENOMEM.
 */
int pw_compact_init(void)
{
	compact_task = kthread_run(compact_thread, NULL, "pagewell_compact");
	return PTR_ERR_OR_ZERO(compact_task);
}

/**
 * pw_compact_stop() - stop the thread
 */
void pw_compact_stop(void)
{
	kthread_stop(compact_task);
}
