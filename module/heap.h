/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * heap.h - a process's heap: its regions, its pages, its policy
 *
 * Words used throughout:
 *   heap    what one memory descriptor (mm) has on our pages; heap-relative
 *           page numbers start at 0 at heap->base
 *   region  a range of pages that may be touched: a break or a map
 *   slot    2 MiB of heap addresses, 512 pages; one chunk stands behind it
 *   chunk   the index of a slot: which page is where; shared by fork
 *   entry   of a chunk: the number of a page, 0, or what is in place of a page
 *           (PW_PFN_PACKED, PW_PFN_GONE); suspect, loose, paid, left and seen are
 *           said of entries, see struct pw_chunk
 *   block   one page of 2 MiB that stands behind a whole chunk
 *   promise a claim on a page of the pool (pool.h); pages of a strict region have
 *           one until they are there, those of a lazy region have none
 *   payer   the user and the cgroup that promises, and pages found without one, are
 *           charged to (limit.h)
 *   family  the heaps reached through one open file: a process, its children,
 *           and whoever was handed the descriptor
 *
 * Lock order, outermost first:
 *   pw_break.lock, pw_heap.unmap_lock   ioctls, and a fault that has let go of all
 *                                       else (fault.c); never both at once
 *   mm->mmap_lock, or the VMA's lock in faults
 *   pw_heap.lock                        what the region tree holds
 *   pw_family.lock                      who is in the family
 *   pw_chunk.lock                       a new, private chunk nests in the old
 *   i_mmap_rwsem, page lock, page table locks, pool locks   taken below us
 *
 * What quick.c takes, it only tries, in whatever order.
 *
 * Below the chunk's lock: that of the tables of all heaps (heap.c), under which
 * other chunks are only tried; and pw_account.trials, with that of the tables inside. A
 * leaf below the chunk's lock: that of the accounts (limit.c).
 */
#ifndef PAGEWELL_HEAP_H
#define PAGEWELL_HEAP_H

#include <linux/atomic.h>
#include <linux/bitmap.h>
#include <linux/hashtable.h>
#include <linux/idr.h>
#include <linux/list.h>
#include <linux/maple_tree.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/refcount.h>
#include <linux/xarray.h>

#include "limit.h"
#include "lock.h"
#include "pagewell.h"
#include "pool.h"

#define PW_SLOT_SHIFT	9
#define PW_SLOT_PAGES	(1U << PW_SLOT_SHIFT)
#define PW_SLOT_BYTES	((unsigned long)PW_SLOT_PAGES << PAGE_SHIFT)
#define PW_SLOT_MASK	(PW_SLOT_PAGES - 1)

/* A heap spans at most this many pages: 16 TiB. */
#define PW_WINDOW_PAGES	(1UL << 32)

/*
 * In place of a page: one that is packed, by what pack.c knows it by; and one that
 * is gone, where touching it is SIGBUS: taken away from a child, or not copied for it.
 */
#define PW_PFN_PACKED	PW_PFN_END
#define PW_PFN_GONE	U32_MAX

#define PW_NO_SLOT	ULONG_MAX

/* The table of slots: chunks in a leaf, leaves in a branch, branches in the heap. */
#define PW_WINDOW_SLOTS	(PW_WINDOW_PAGES >> PW_SLOT_SHIFT)
#define PW_LEAF_SHIFT	9
#define PW_LEAF_CHUNKS	(1U << PW_LEAF_SHIFT)
#define PW_LEAF_MASK	(PW_LEAF_CHUNKS - 1UL)
#define PW_BRANCH_LEAVES	128U
#define PW_BRANCH_SHIFT	(PW_LEAF_SHIFT + 7)
#define PW_BRANCH_MASK	((1UL << PW_BRANCH_SHIFT) - 1)
#define PW_SLOT_BRANCHES	(PW_WINDOW_SLOTS >> PW_BRANCH_SHIFT)

#define PW_STREAMS	8
#define PW_SPARES	4
#define PW_NEAR_BREAKS	16

struct pw_heap;
struct pw_shared;

/**
 * struct pw_family - the heaps behind one open file
 * @inode: of our own, so that its i_mmap holds this family's VMAs only
 * @refs: lifetime; one for the file, one for each heap
 * @lock: protects @heaps
 * @heaps: all heaps that have pages, by pw_heap.family_node; one that is dead, and has no
 *         VMA, is on its way out
 * @shared: regions that they share on purpose, by id
 * @shared_id: the last id given out
 * @zap_lock: protects the rest; innermost
 * @zaps: pages are being unmapped from all of them: references to pages that
 *        nobody else holds may linger until that is done
 * @last_zap: how many there have been
 */
struct pw_family {
	struct inode *inode;
	refcount_t refs;
	struct mutex lock;
	struct list_head heaps;
	struct xarray shared;
	u32 shared_id;
	spinlock_t zap_lock;	/* see above */
	struct list_head zaps;
	u64 last_zap;
};

/**
 * struct pw_where - what the region tree says about a page
 * @lo: first page of the same kind
 * @hi: page behind the last one
 * @promised: a promise stands behind each of them
 * @prot: PAGEWELL_PROT_
 * @huge: PAGEWELL_HUGE_, of the region or else of the heap
 * @control: of a break that has one, else NULL
 */
struct pw_where {
	unsigned long lo;
	unsigned long hi;
	bool promised;
	u8 prot;
	u8 huge;
	u64 __user *control;
};

/**
 * struct pw_chunk - which pages stand behind 2 MiB of a heap
 * @lock: protects the rest, and every PTE of the slot against insertion
 * @refs: lifetime; one for each heap that has it in a slot, one for each user
 *        on the way to @lock
 * @users: heaps that have it in a slot; above one the chunk is shared, its
 *         PTEs are read-only, and it must be unshared before it is changed
 * @nr: entries of @pfn in use
 * @packed: of these, pages that are packed
 * @owner: a heap that is known to have it in a slot and that nobody shares it
 *         with, or NULL, as always with @shared
 * @layout: pw_heap.layout of @owner when @where was looked up, 0: it was not
 * @where: what the region tree said about a page of the slot
 * @block: they are the parts of one page of 2 MiB, and this is its head; else 0
 * @shared: the region it is part of that is shared on purpose, else NULL
 * @place: in that case, its first page in the inode; unlike a heap page it is
 *         the same for all, and behind all of those
 * @used: the entries that @nr counts
 * @suspect: entries that were shared, and that someone who had them then may
 *           still hold by a reference (a pipe, direct I/O); their pages must
 *           not be written before a look at the reference count
 * @zeros: entries where the kernel's zero page may be mapped in a heap that has
 *         the chunk; there is no page yet, or one that nobody has written to
 * @loose: entries whose pages may be taken when the pool is short; nothing maps
 *         them
 * @paid: entries whose pages @payer found without a promise, and is charged for
 * @payer: that heap, which has the chunk in a slot; or NULL
 * @left: entries whose region was unmapped while somebody held the block: their
 *        pages stayed, and a region that is mapped there now did not pay for
 *        them with a promise
 * @seen: entries that had a page, mapped or not, at the last look at its age
 * @looked: when that was, in jiffies
 * @rcu: frees it
 * @pfn: page frame numbers, 0 where there is no page
 *
 * A page of an index carries one page reference however many chunks hold it;
 * page_private() counts the chunks beyond the first. It goes back to the pool
 * with the last one. A page of 2 MiB has one chunk, which may be shared as
 * a whole; it is cut into pages before the chunk is unshared.
 *
 * A chunk with @shared is never unshared, cut or copied: whoever has it sees
 * and writes the same pages. It may stand in several slots, at different
 * addresses, and its pages go with the last of @users.
 */
struct pw_chunk {
	struct mutex lock;
	refcount_t refs;
	unsigned int users;
	unsigned int nr;
	unsigned int packed;
	struct pw_heap *owner;
	unsigned long layout;
	struct pw_where where;
	u32 block;
	struct pw_shared *shared;
	unsigned long place;
	DECLARE_BITMAP(used, PW_SLOT_PAGES);
	DECLARE_BITMAP(suspect, PW_SLOT_PAGES);
	DECLARE_BITMAP(zeros, PW_SLOT_PAGES);
	DECLARE_BITMAP(loose, PW_SLOT_PAGES);
	DECLARE_BITMAP(paid, PW_SLOT_PAGES);
	struct pw_heap *payer;
	DECLARE_BITMAP(left, PW_SLOT_PAGES);
	DECLARE_BITMAP(seen, PW_SLOT_PAGES);
	unsigned long looked;
	struct rcu_head rcu;
	u32 pfn[PW_SLOT_PAGES] __aligned(8);
};

/**
 * struct pw_break - a program break
 * @id: its name in the interface
 * @refs: lifetime; one for pw_heap.breaks, one for each ioctl at work
 * @lock: one mover at a time
 * @dead: destroyed, by @lock
 * @start: first page
 * @end: page behind the reserve; the region tree holds [start, end)
 * @reserve: pages of it that were asked for
 * @brk: the break, bytes from the heap's base; faults read it without a lock
 * @settled: the same, but not what is only tried; a fork reads it without a lock
 * @huge: PW_REGION_HUGE, _SMALL, _AUTO or 0, then the heap's policy rules
 * @control: the program's word for where its break is, up to @brk; or NULL
 * @strict_from: pages from here to the break are promised, those below are
 *               lazy: what a child inherits, or all of it in a lazy heap
 * @rcu: frees it
 */
struct pw_break {
	u32 id;
	refcount_t refs;
	struct pw_lock lock;
	bool dead;
	unsigned long start;
	unsigned long end;
	unsigned long reserve;
	unsigned long brk;
	unsigned long settled;
	u64 __user *control;
	unsigned long strict_from;
	unsigned long huge;
	struct rcu_head rcu;
};

/* What the region tree holds for a map (xa_value); for a break: its pointer. */
#define PW_REGION_MAP	0x1	/* may be touched */
#define PW_REGION_LAZY	0x2	/* not promised */
#define PW_REGION_GUARD	0x4	/* must not be touched */
#define PW_REGION_DYING	0x8	/* being unmapped, addresses not free yet */
#define PW_REGION_HUGE	0x10	/* 2 MiB pages wherever one fits */
#define PW_REGION_SMALL	0x20	/* never 2 MiB pages */
#define PW_REGION_AUTO	0x30	/* in a long walk, whatever the heap's policy is */
#define PW_REGION_READ	0x40	/* read only */
#define PW_REGION_NONE	0x80	/* neither read nor written */
#define PW_REGION_SHARED 0x100	/* others have the same pages, on purpose */
#define PW_REGION_BARRED 0x400	/* a guard of ours: no VMA there, or not as it was */

#define PW_REGION_SPARE	0x200	/* not a flag: the entry of a struct pw_spare */

/**
 * struct pw_spare - a range whose entry in the region tree leads here
 * @lo: first page
 * @hi: page behind the last, 0: not in use
 * @flags: PW_REGION_ bits of the map that is there, 0: free
 *
 * Changed under pw_heap.lock; faults read @flags without it.
 */
struct pw_spare {
	unsigned long lo;
	unsigned long hi;
	unsigned long flags;
};

/**
 * struct pw_stream - one run of touches, in equal steps
 * @step: between them, in pages; may be negative, is never 0
 * @run: pages touched or brought in since it began
 * @guess: pages of the last batch that were brought in untouched
 * @sample: one of them, whose use tells whether the guess was right
 */
struct pw_stream {
	s32 step;
	u32 run;
	u32 guess;
	u32 sample;
};

/**
 * struct pw_streams - hints for fault-around, read and written without a lock
 * @next: page where the next touch of each run is expected
 * @at: page that was touched last
 * @stream: more of them; what all are searched for stands by itself
 */
struct pw_streams {
	u32 next[PW_STREAMS];
	u32 at[PW_STREAMS];
	struct pw_stream stream[PW_STREAMS];
};

struct pw_slot_leaf {
	struct pw_chunk *chunk[PW_LEAF_CHUNKS];
};

struct pw_slot_branch {
	struct pw_slot_leaf *leaf[PW_BRANCH_LEAVES];
};

/**
 * struct pw_heap - one process's heap
 * @mm: whose; compared, dereferenced only by its own process or under
 *      pw_heaps_lock while @vmas is not zero
 * @id: never used twice
 * @base: address of page 0
 * @window: pages it may span
 * @refs: lifetime; one for its VMAs, one for each ioctl at work
 * @vmas: VMAs of @mm that are ours; changed by whoever has taken the mmap_lock for
 *        write, even if munmap() has it for reading by then
 * @vma_ids: they tell these from each other (fork.c)
 * @dead: the last VMA is gone; set under @lock
 * @poisoned: made by a fork that ran out of memory: every touch is SIGBUS
 * @cow: shares or has shared pages, has a read-only region, or the zero page
 *       mapped, so its VMAs have pw_vm_ops_cow
 * @zeros: the zero page was mapped since @cow was set
 * @shares: pages were shared by a fork since then
 * @loose: some of its pages may be taken, as far as is known
 * @ask_cow: something that @cow was set for is gone: is there anything else?
 * @split: the VMA is in parts, or has been since its end was last cut, or a part is
 *         missing; then what has been done to it is looked at before addresses are
 *         given out again (bar.c)
 * @commit: PAGEWELL_COMMIT_
 * @unusual: these three in one, for quick.c: it is for heaps where all of them are 0
 * @family: the open file it was mapped from
 * @family_node: in @family
 * @hash_node: by @mm, in the table that ioctls look in
 * @rcu: frees it
 * @lock: protects changes of @regions, @breaks and the policy
 * @unmap_lock: one unmap, replacing map, remap or protect at a time: what they
 *              drop stays reserved until no PTE maps it any more
 * @regions: pages to regions; read under RCU
 * @bars: ranges of @regions that are barred, and perhaps some that were
 * @nr_entries: of @regions, those of spares too
 * @nr_read: of these, read-only ones
 * @spares: ranges that were given up a moment ago
 * @spares_moved: counts how often one stopped to stand for its range
 * @next_spare: the one to use next
 * @map_size: pages of the map that was made last
 * @layout: counts changes that take away what may be touched, or how
 * @breaks: by id
 * @near_breaks: those of the lowest ids again; read under RCU
 * @nr_breaks: entries of @breaks
 * @dying: drops under way; a fork meanwhile copies page by page
 * @slots: slots to chunks, see slot.c; read under RCU
 * @idle_slot: where a chunk was left that has no pages any more, or PW_NO_SLOT
 * @shared_slot: where pages were found to be shared when @ask_cow was answered last
 * @mailbox: user address of a struct pagewell_request, NULL: none
 * @limit: pages that may be mapped or, lazy, resident; PW_NO_LIMIT: none
 * @huge: PAGEWELL_HUGE_
 * @mapped: pages that may be touched; what the limit of a strict heap is for
 * @payers: the user and the cgroup that @committed and @paid are charged to
 * @payer: the same, for pages to refer to
 * @paid: pages found without a promise
 * @committed: of @mapped, pages in strict regions
 * @promised: promises held and not yet turned into pages
 * @unbacked: pages of strict regions that have neither a promise nor a page
 * @resident: pages in the index, shared ones too; all of a region that is shared
 *            on purpose
 * @packed: of these, pages that are packed
 * @shared_slots: slots of regions that are shared on purpose
 * @faults: faults that put pages in place
 * @fault_pages: what those put in place
 * @cow_copies: pages copied
 * @refused: requests refused
 * @guessed: pages brought in untouched, and not seen to be used since
 * @streams: for fault-around
 */
struct pw_heap {
	struct mm_struct *mm;
	u64 id;
	unsigned long base;
	unsigned long window;
	refcount_t refs;
	unsigned int vmas;
	struct ida vma_ids;
	bool dead;
	bool poisoned;
	bool cow;
	bool zeros;
	bool shares;
	bool loose;
	union {
		struct {
			bool ask_cow;
			bool split;
			u8 commit;
		};
		u32 unusual;
	};
	struct pw_family *family;
	struct list_head family_node;
	struct hlist_node hash_node;
	struct rcu_head rcu;

	struct pw_lock lock;
	struct pw_lock unmap_lock;
	struct maple_tree regions;
	struct maple_tree bars;
	unsigned long nr_entries;
	unsigned long nr_read;
	struct pw_spare spares[PW_SPARES];
	unsigned long spares_moved;
	unsigned int next_spare;
	unsigned long map_size;
	atomic_long_t layout;
	struct xarray breaks;
	struct pw_break __rcu *near_breaks[PW_NEAR_BREAKS];
	unsigned int nr_breaks;
	atomic_t dying;
	struct pw_slot_branch *slots[PW_SLOT_BRANCHES];
	unsigned long idle_slot;
	unsigned long shared_slot;

	struct pagewell_request __user *mailbox;

	unsigned long limit;
	u32 huge;

	atomic_long_t mapped;
	atomic_long_t committed;
	struct pw_limits payers;
	struct pw_payer *payer;
	atomic_long_t paid;
	atomic_long_t promised;
	atomic_long_t unbacked;
	atomic_long_t resident;
	atomic_long_t packed;
	atomic_long_t shared_slots;

	atomic64_t faults;
	atomic64_t fault_pages;
	atomic64_t cow_copies;
	atomic64_t refused;
	long guessed;
	struct pw_streams streams;
};

/* device.c */
int pw_device_init(void);
void pw_device_exit(void);
void pw_family_put(struct pw_family *family);
long pw_ioctl_long_way(struct file *file, unsigned int cmd, unsigned long uarg);

/* heap.c */
#define PW_HEAPS_BITS	10

extern struct hlist_head pw_heaps_by_mm[1 << PW_HEAPS_BITS];

/* For somebody with preemption off, and for as long. */
static __always_inline struct pw_heap *pw_heap_find(struct mm_struct *mm)
{
	struct hlist_head *head = &pw_heaps_by_mm[hash_long((unsigned long)mm, PW_HEAPS_BITS)];
	struct hlist_node *node;

	for (node = rcu_dereference_sched(hlist_first_rcu(head)); node;
	     node = rcu_dereference_sched(hlist_next_rcu(node))) {
		struct pw_heap *heap = hlist_entry(node, struct pw_heap, hash_node);

		/* No heap begins with its node: NULL is not asked for again. */
		if (!heap)
			__builtin_unreachable();
		if (heap->mm == mm)
			return heap;
	}
	return NULL;
}

void pw_heap_exit(void);
struct pw_heap *pw_heap_create(struct mm_struct *mm, struct pw_family *family,
			       unsigned long base, unsigned long window,
			       gfp_t gfp);
struct pw_heap *pw_heap_get_by_mm(struct mm_struct *mm);
void pw_heap_put(struct pw_heap *heap);
void pw_heap_free_pages(struct pw_heap *heap);
void pw_heap_kill(struct pw_heap *heap);
int pw_heap_commit(struct pw_heap *heap, unsigned long nr, bool strict);
void pw_heap_uncommit(struct pw_heap *heap, unsigned long nr, bool strict,
		      unsigned long backed);
void pw_heap_unpromise(struct pw_heap *heap, unsigned long nr);
int pw_heap_attach(struct pw_heap *heap, unsigned long nr);
int pw_heap_policy(struct pw_heap *heap, struct pagewell_heap *arg);
void pw_heap_info(struct pw_heap *heap, struct pagewell_info *info);
bool pw_heaps_reclaim(unsigned long nr);
struct pw_heap *pw_heap_next_alive(u64 *id);
bool pw_heap_try_mmap(struct pw_heap *heap);
void pw_heap_refused(struct pw_heap *heap, unsigned long nr);
unsigned int pw_heap_alloc(struct pw_heap *heap, u32 *pfns, unsigned int nr,
			   bool promised);
u32 pw_heap_alloc_one(struct pw_heap *heap);
u32 pw_heap_alloc_block(struct pw_heap *heap, bool promised);
u32 pw_heap_swap_block(struct pw_heap *heap, unsigned long holes,
		       bool promised, unsigned long *used);
void pw_heap_unswap_block(struct pw_heap *heap, u32 pfn, unsigned long holes,
			  bool promised, unsigned long used);
void pw_heap_paid(struct pw_heap *heap, unsigned int nr);
void pw_heap_unpaid(struct pw_heap *heap, unsigned int nr);

static inline unsigned long pw_heap_addr(const struct pw_heap *heap,
					 unsigned long page)
{
	return heap->base + (page << PAGE_SHIFT);
}

/* region.c */
bool pw_region_lookup(struct pw_heap *heap, unsigned long page,
		      struct pw_where *where);
bool pw_region_unpromised(struct pw_heap *heap, unsigned long page,
			  unsigned long *end);
bool pw_region_promised(struct pw_heap *heap, unsigned long page, unsigned long *end);
bool pw_region_passed(struct pw_heap *heap, unsigned long page,
		      const struct pw_where *where);
void pw_region_init(struct pw_heap *heap);
void pw_region_destroy(struct pw_heap *heap);
int pw_region_fork(struct pw_heap *child, struct pw_heap *parent);
int pw_region_store(struct pw_heap *heap, unsigned long lo, unsigned long hi,
		    void *entry, gfp_t gfp);
unsigned long pw_region_count(struct pw_heap *heap);
unsigned long pw_region_end(struct pw_heap *heap);

/* bar.c */
void pw_bar_look(struct pw_heap *heap, const struct vm_area_struct *vma);
void pw_bar_hole(struct pw_heap *heap, struct vm_area_struct *closing);

/* brk.c */
int pw_brk_create(struct pw_heap *heap, struct pagewell_brk_create *arg);
int pw_brk_move(struct pw_heap *heap, struct pagewell_brk *arg);
int pw_brk_destroy(struct pw_heap *heap, u32 id);

/* mmap.c */
int pw_map(struct pw_heap *heap, struct pagewell_map *arg);
int pw_unmap(struct pw_heap *heap, u64 addr, u64 length);
int pw_region_add_shared(struct pw_heap *heap, struct pw_shared *s,
			 unsigned long nr, bool strict, u64 *addr);

/* remap.c */
int pw_remap(struct pw_heap *heap, struct pagewell_remap *arg);

/* advice.c */
int pw_protect(struct pw_heap *heap, u64 addr, u64 length, u32 prot);
int pw_advise(struct pw_heap *heap, u64 addr, u64 length, u32 advice);

/* collapse.c */
int pw_collapse(struct pw_heap *heap, unsigned long lo, unsigned long hi);

/* compact.c */
int pw_compact_init(void);
void pw_compact_stop(void);

/* idle.c */
int pw_idle_init(void);
void pw_idle_stop(void);
void pw_idle_wake(void);
void pw_slot_ask_vmas(struct pw_heap *heap, unsigned long slot,
		      unsigned long *pages, unsigned long *young);
void pw_range_pack(struct pw_heap *heap, unsigned long lo, unsigned long hi);
bool pw_chunk_unpack(struct pw_heap *heap, struct pw_chunk *c,
		     unsigned int from, unsigned int to);

/* pack.c */
void pw_pack_init(void);
void pw_pack_exit(void);
bool pw_pack_wanted(void);
bool pw_pack_on(void);
bool pw_pack_full(void);
u32 pw_pack(struct page *page);
bool pw_unpack(u32 entry, struct page *page);
void pw_packed_share(u32 entry);
void pw_packed_put(u32 entry);

/* shared.c */
int pw_share(struct pw_heap *heap, struct pagewell_share *arg);
int pw_shared_install(struct pw_heap *heap, struct pw_shared *s,
		      unsigned long slot);
void pw_shared_uninstall(struct pw_heap *heap, unsigned long slot, unsigned long nr);
void pw_shared_fork(struct pw_heap *child, struct pw_heap *parent,
		    unsigned long lo, unsigned long hi);
void pw_shared_put(struct pw_shared *s);
unsigned long pw_shared_missing(struct pw_heap *heap);

/*
 * To be called when a change has been published, before its consequences: what
 * chunks remember of the regions is out of date.
 */
static inline void pw_region_changed(struct pw_heap *heap)
{
	/* Orders the change before the count, and that before what follows. */
	smp_mb__before_atomic();
	atomic_long_inc(&heap->layout);
	smp_mb__after_atomic();
}

static inline void pw_break_set(struct pw_break *b, unsigned long brk)
{
	WRITE_ONCE(b->brk, brk);
	WRITE_ONCE(b->settled, brk);
}

/* To be called before the regions say that pages will go. */
static inline void pw_begin_drop(struct pw_heap *heap)
{
	atomic_inc(&heap->dying);
	/* Pairs with the barrier in share_chunk(). */
	smp_mb__after_atomic();
}

static inline void pw_end_drop(struct pw_heap *heap)
{
	smp_mb__before_atomic();
	atomic_dec(&heap->dying);
}

/* spare.c */
void *pw_spare_walk(struct pw_heap *heap, struct ma_state *mas);
int pw_spare_take_back(struct pw_heap *heap, unsigned long lo,
		       unsigned long hi, gfp_t gfp);
void pw_spare_flush(struct pw_heap *heap);
unsigned long pw_spare_count(struct pw_heap *heap);
struct pw_spare *pw_spare_find(struct pw_heap *heap, unsigned long nr,
			       unsigned long align);
struct pw_spare *pw_spare_at(struct pw_heap *heap, unsigned long lo,
			     unsigned long hi);

/*
 * Is a range free, @nr pages long and at a multiple of @align pages, or 0? It is a
 * map when its flags say so. pw_heap.lock is held.
 */
static __always_inline bool pw_spare_fits(const struct pw_heap *heap,
					  const struct pw_spare *s,
					  unsigned long nr, unsigned long align)
{
	return s->hi - s->lo == nr && !s->flags &&
	       (!align || IS_ALIGNED((heap->base >> PAGE_SHIFT) + s->lo, align));
}

bool pw_spare_set(struct pw_heap *heap, unsigned long lo, unsigned long hi,
		  unsigned long flags);
bool pw_spare_add(struct pw_heap *heap, unsigned long lo, unsigned long hi,
		  unsigned long flags);

/* quick.c */
long pw_ioctl(struct file *file, unsigned int cmd, unsigned long uarg);

/* slot.c */
int pw_slot_fill(struct pw_heap *heap, unsigned long slot, struct pw_chunk *c,
		 gfp_t gfp);
void pw_slot_set(struct pw_heap *heap, unsigned long slot, struct pw_chunk *c);
bool pw_slot_next(struct pw_heap *heap, unsigned long *slot,
		  unsigned long last);
void pw_slots_free(struct pw_heap *heap);

static inline unsigned int pw_slot_leaf(unsigned long slot)
{
	return slot >> PW_LEAF_SHIFT & (PW_BRANCH_LEAVES - 1);
}

/* The chunk that stands in a slot, or NULL. Read under RCU. */
static inline struct pw_chunk *pw_slot_load(const struct pw_heap *heap,
					    unsigned long slot)
{
	const struct pw_slot_branch *b;
	const struct pw_slot_leaf *l;

	if (unlikely(slot >= PW_WINDOW_SLOTS))
		return NULL;
	b = READ_ONCE(heap->slots[slot >> PW_BRANCH_SHIFT]);
	if (!b)
		return NULL;
	l = READ_ONCE(b->leaf[pw_slot_leaf(slot)]);
	return l ? READ_ONCE(l->chunk[slot & PW_LEAF_MASK]) : NULL;
}

/* chunk.c */
int pw_chunk_init(void);
void pw_chunk_exit(void);
void pw_chunk_put(struct pw_chunk *c);
void pw_chunk_unlock(struct pw_chunk *c);
struct pw_chunk *pw_chunk_lock(struct pw_heap *heap, unsigned long slot);
struct pw_chunk *pw_chunk_lock_new(struct pw_heap *heap, unsigned long slot,
				   gfp_t gfp);
void pw_entry_share(u32 entry);
bool pw_page_unshare(u32 pfn);
bool pw_chunk_clear_suspect(struct pw_chunk *c, unsigned int i,
			    unsigned int extra);
bool pw_chunk_is_private(struct pw_chunk *c);
struct pw_chunk *pw_chunk_own(struct pw_heap *heap, unsigned long slot,
			      struct pw_chunk *c);
struct pw_chunk *pw_chunk_lock_child(struct pw_heap *child, unsigned long slot);
void pw_chunk_share(struct pw_heap *child, unsigned long slot,
		    struct pw_chunk *c);
struct pw_chunk *pw_chunk_new_shared(struct pw_shared *s, unsigned long place);
void pw_chunk_empty(struct pw_chunk *c);
int pw_chunk_attach(struct pw_heap *heap, unsigned long slot,
		    struct pw_chunk *c, gfp_t gfp);
void pw_chunk_leave(struct pw_heap *heap, unsigned long slot);
bool pw_slot_try_empty(struct pw_heap *heap, unsigned long slot,
		       unsigned int from, unsigned int to);
bool pw_range_populated(struct pw_heap *heap, unsigned long lo,
			unsigned long hi);

/* Say that @nr entries from @i on, which were empty, have been filled in. */
static inline void pw_chunk_filled(struct pw_chunk *c, unsigned int i,
				   unsigned int nr)
{
	bitmap_set(c->used, i, nr);
	c->nr += nr;
}

/* May the heap write to the pages of @c, as far as that depends on @c? */
static inline bool pw_chunk_is_own(const struct pw_chunk *c)
{
	return c->users == 1 || c->shared;
}

/* Where heap page @page, of chunk @c, is in the inode. */
static inline pgoff_t pw_chunk_index(const struct pw_chunk *c,
				     unsigned long page)
{
	return c->shared ? c->place + (page & PW_SLOT_MASK) : page;
}

static inline bool pw_pfn_is_page(u32 pfn)
{
	return pfn && pfn < PW_PFN_PACKED;
}

static inline bool pw_pfn_is_packed(u32 pfn)
{
	return pfn >= PW_PFN_PACKED && pfn != PW_PFN_GONE;
}

/* Say that @nr more entries are packed; fewer when it is negative. */
static inline void pw_chunk_packed(struct pw_heap *heap, struct pw_chunk *c,
				   int nr)
{
	c->packed += nr;
	atomic_long_add(nr, &heap->packed);
}

/* How many chunks beyond the first have a page in their index. */
static inline atomic_long_t *pw_sharers(struct page *page)
{
	return (atomic_long_t *)&page->private;
}

static inline unsigned long pw_page_sharers(struct page *page)
{
	return atomic_long_read(pw_sharers(page));
}

/*
 * Does somebody refer to a small page of an index, but for that, the page tables, and
 * @extra references that the caller knows of? True also of a page that is being mapped
 * this moment: its two counts cannot be read at once.
 */
static inline bool pw_page_is_held(struct page *page, unsigned int extra)
{
	return page_count(page) != 1 + extra + atomic_read(&page->_mapcount) + 1;
}

/* block.c */
bool pw_block_is_held(const struct pw_chunk *c, unsigned int extra);
void pw_chunk_set_block(struct pw_heap *heap, unsigned long slot,
			struct pw_chunk *c, u32 pfn);
bool pw_chunk_cut(struct pw_heap *heap, unsigned long slot,
		  struct pw_chunk *c);
bool pw_chunk_copy_block(struct pw_heap *heap, unsigned long slot,
			 struct pw_chunk *c, bool over);
void pw_chunk_take_away(struct pw_heap *heap, unsigned long slot, struct pw_chunk *c);

/* Nobody else has the chunk's block, or may still see what was there when somebody had. */
static inline bool pw_block_is_exclusive(const struct pw_chunk *c)
{
	return pw_chunk_is_own(c) && !test_bit(0, c->suspect) &&
	       !pw_page_sharers(pfn_to_page(c->block));
}

/* pay.c */
void pw_chunk_pay(struct pw_heap *heap, struct pw_chunk *c, unsigned int i,
		  unsigned int nr);
void pw_chunk_pay_copies(struct pw_heap *heap, struct pw_chunk *c,
			 unsigned int i, unsigned int nr);
bool pw_chunk_pays_for(const struct pw_heap *heap, const struct pw_chunk *c,
		       unsigned int i, bool promised);
void pw_chunk_take_charge(struct pw_heap *heap, struct pw_chunk *c, unsigned int i);

/* zap.c */
void pw_family_zap(struct pw_heap *heap, unsigned long page, unsigned long nr);
void pw_family_wait(struct pw_heap *heap);
void pw_heap_zap(struct pw_heap *heap, unsigned long lo, unsigned long hi);
void pw_chunk_drop_zeros(struct pw_heap *heap, unsigned long slot,
			 struct pw_chunk *c, unsigned int from,
			 unsigned int to, bool mapped);
void pw_let_writers_in(struct mm_struct *mm);
void pw_range_unmap(struct pw_heap *heap, unsigned long lo, unsigned long hi);

/* drop.c */
void pw_pages_drop(u32 *pfns, unsigned int nr, unsigned int flags);
unsigned long pw_range_drop(struct pw_heap *heap, unsigned long lo,
			    unsigned long hi, bool promised);
int pw_range_clear(struct pw_heap *heap, unsigned long lo, unsigned long hi,
		   bool promised);
void pw_range_forget(struct pw_heap *heap, unsigned long lo, unsigned long hi);
int pw_range_vacate(struct pw_heap *heap, unsigned long lo, unsigned long hi);

/* move.c */
int pw_range_cut(struct pw_heap *heap, unsigned long from, unsigned long to,
		 unsigned long nr);
void pw_range_move(struct pw_heap *heap, unsigned long from, unsigned long to,
		   unsigned long nr);

/* loose.c */
void pw_range_loosen(struct pw_heap *heap, unsigned long lo, unsigned long hi);
void pw_chunk_keep(struct pw_chunk *c, unsigned int i, unsigned int nr);
bool pw_chunk_may_take(const struct pw_chunk *c, unsigned int i);
unsigned long pw_heap_take_loose(struct pw_heap *heap, unsigned long want);

/* charge.c */

/**
 * struct pw_charges - charges of one payer that pages had taken along
 * @payer: whose, NULL for nobody's
 * @nr: pages
 * @refs: references to @payer that go with them, one for each page or block
 */
struct pw_charges {
	struct pw_payer *payer;
	unsigned long nr;
	unsigned int refs;
};

void pw_page_charge(struct pw_heap *heap, u32 pfn);
void pw_charges_end(struct pw_charges *sum);
void pw_page_split_charge(struct page *head);
void pw_page_set_payer(struct page *page, struct pw_payer *payer);

/* A bit that the pool clears from pages, and the kernel leaves to their owner. */
static inline bool pw_page_is_charged(const struct page *page)
{
	return test_bit(PG_owner_priv_1, &page->flags);
}

/* Of the page, or of the block that it is the head of. */
static inline unsigned int pw_charged_pages(struct page *page)
{
	return PageHead(page) ? PW_SLOT_PAGES : 1;
}

/* To whom a page is charged that has taken its charge along; or NULL. No reference. */
static inline struct pw_payer *pw_page_payer(const struct page *page)
{
	return pw_page_is_charged(page) ? (struct pw_payer *)page->lru.next : NULL;
}

/*
 * Nobody has a page any more that has taken its charge along, or somebody is charged
 * for it again: @sum takes it, to be given back with others of the same payer.
 */
static inline void pw_charges_add(struct pw_charges *sum, struct page *page)
{
	struct pw_payer *payer = (struct pw_payer *)page->lru.next;

	clear_bit(PG_owner_priv_1, &page->flags);
	if (unlikely(sum->payer != payer)) {
		pw_charges_end(sum);
		sum->payer = payer;
	}
	sum->nr += pw_charged_pages(page);
	sum->refs++;
}

/* To be called when nobody has a page any more. */
static inline void pw_page_uncharge(struct page *page)
{
	struct pw_charges sum = { .payer = NULL };

	if (likely(!pw_page_is_charged(page)))
		return;
	pw_charges_add(&sum, page);
	pw_charges_end(&sum);
}

/* fault.c */
extern const struct vm_operations_struct pw_vm_ops;
extern const struct vm_operations_struct pw_vm_ops_cow;
int pw_populate(struct pw_heap *heap, unsigned long lo, unsigned long hi);

/* fork.c */
int pw_heap_begin_cow(struct pw_heap *heap);
void pw_heap_end_cow(struct pw_heap *heap);
struct vm_area_struct *pw_heap_vma(struct pw_heap *heap, unsigned long addr);
void pw_vma_set_prot(struct vm_area_struct *vma);
void pw_vma_open(struct vm_area_struct *vma);
void pw_vma_close(struct vm_area_struct *vma);

static inline bool pw_vma_is_ours(const struct vm_area_struct *vma)
{
	return vma->vm_ops == &pw_vm_ops || vma->vm_ops == &pw_vm_ops_cow;
}

#endif /* PAGEWELL_HEAP_H */
