/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * pagewell.h - what /dev/pagewell offers to programs
 *
 * A heap belongs to a memory descriptor: the first mmap() of the device makes
 * it, and every ioctl, through whichever open file of the device, acts on the
 * heap of the calling process. After fork() the child has a heap of its own
 * that shares pages copy-on-write.
 *
 * The mapping is one VMA: mmap(hint, length, PROT_READ | PROT_WRITE,
 * MAP_SHARED, fd, 0), 2 MiB-aligned (without MAP_FIXED the kernel sees to it).
 * A private, executable or offset mapping is EINVAL, a second one EEXIST. The
 * caller grows it in place with
 * mremap(base, old, new, 0). Inside it, addresses are given out by the module
 * as breaks and maps; only what lies in one of these may be touched, anything
 * else is SIGSEGV. The module never looks at how long the VMA is: an address
 * that it gives out may lie behind the end, and the caller grows the VMA
 * before touching it. The caller may unmap the end, too, where nothing is given
 * out (pagewell_info.heap_end), and grow the VMA again.
 *
 * Rules of the interface:
 *  - Every struct begins with its size in bytes. A larger struct is accepted
 *    as long as what this kernel does not know is zero (E2BIG otherwise), a
 *    smaller one than the first published is EINVAL.
 *  - Unknown flags and non-zero padding are EINVAL, an unknown ioctl ENOTTY.
 *  - Addresses and lengths are in bytes. Addresses are page-aligned unless
 *    stated otherwise.
 *  - Every call but PAGEWELL_IOC_INFO needs a heap: ENXIO without one.
 *  - A struct that cannot be read is EFAULT. So is one that the result cannot be
 *    written to; what was asked for may have been done then.
 *  - Layout is the same for 32-bit and 64-bit callers.
 */
#ifndef _UAPI_PAGEWELL_H
#define _UAPI_PAGEWELL_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define PAGEWELL_DEVICE		"/dev/pagewell"
#define PAGEWELL_ABI_VERSION	1
#define PAGEWELL_IOC_TYPE	0xB7

/* What this module can do: bits of pagewell_info.features. */
#define PAGEWELL_FEATURE_BRK		(1ULL << 0)
#define PAGEWELL_FEATURE_MAP		(1ULL << 1)
#define PAGEWELL_FEATURE_REMAP		(1ULL << 2)
#define PAGEWELL_FEATURE_ADVISE		(1ULL << 3)
#define PAGEWELL_FEATURE_HUGE		(1ULL << 4)
#define PAGEWELL_FEATURE_MAILBOX	(1ULL << 5)
#define PAGEWELL_FEATURE_CONTROL	(1ULL << 6)
#define PAGEWELL_FEATURE_PROTECT	(1ULL << 7)
#define PAGEWELL_FEATURE_SHARE		(1ULL << 8)
#define PAGEWELL_FEATURE_REMAP_FIXED	(1ULL << 9)

/**
 * struct pagewell_info - PAGEWELL_IOC_INFO: what is here, and which heap is mine
 * @size: sizeof(struct pagewell_info)
 * @flags: must be zero
 * @abi: PAGEWELL_ABI_VERSION of the module
 * @page_shift: log2 of the page size
 * @features: PAGEWELL_FEATURE_ bits
 * @heap_base: address of the caller's heap, 0 when it has none
 * @window: largest address range a heap may span, bytes
 * @limit: the heap's limit in bytes, ~0 when there is none
 * @committed: bytes promised to the heap's regions (strict commit)
 * @resident: bytes of pages the heap holds
 * @heap_id: a number no other heap of this boot has had, 0 without a heap
 * @pool_size: bytes the pool holds now
 * @pool_avail: bytes of them neither used nor promised, but for a little that
 *              processors keep at hand
 * @pool_max: bytes the pool may grow to
 * @heap_end: address behind all breaks, their reserves, and regions of the caller's heap,
 *            0 when it has none: the caller may unmap what lies there, and grow the VMA
 *            again later. Not in the struct as first published: 0, too, from a module
 *            that does not know it
 *
 * The one call that works without a heap. A library that lost its file
 * descriptor opens the device again and finds its heap by @heap_base.
 */
struct pagewell_info {
	__u32 size;
	__u32 flags;
	__u32 abi;
	__u32 page_shift;
	__u64 features;
	__u64 heap_base;
	__u64 window;
	__u64 limit;
	__u64 committed;
	__u64 resident;
	__u64 heap_id;
	__u64 pool_size;
	__u64 pool_avail;
	__u64 pool_max;
	__u64 heap_end;
};

/* pagewell_heap.commit */
#define PAGEWELL_COMMIT_STRICT	0	/* brk and map promise pages, or fail */
#define PAGEWELL_COMMIT_LAZY	1	/* pages are found when touched: SIGBUS if not */

/*
 * pagewell_heap.huge: when an aligned 2 MiB of a break or map gets one page, the
 * first time that it is touched. PAGEWELL_ADVISE_ can say otherwise for a range.
 */
#define PAGEWELL_HUGE_AUTO	0	/* in a long walk, and when populating */
#define PAGEWELL_HUGE_ALWAYS	1
#define PAGEWELL_HUGE_NEVER	2

/* pagewell_heap.set: which fields to change; 0 only reads. */
#define PAGEWELL_SET_LIMIT	(1U << 0)
#define PAGEWELL_SET_COMMIT	(1U << 1)
#define PAGEWELL_SET_HUGE	(1U << 2)

/**
 * struct pagewell_heap - PAGEWELL_IOC_HEAP: read and change the heap's policy
 * @size: sizeof(struct pagewell_heap)
 * @set: PAGEWELL_SET_ bits
 * @commit: PAGEWELL_COMMIT_ for breaks and maps made or grown from now on
 * @huge: PAGEWELL_HUGE_
 * @limit: bytes that may be mapped (strict) or resident (lazy), ~0 for none
 *
 * All fields are filled in on return. Lowering @limit is always allowed, below
 * use too: then nothing new is granted. Raising it needs CAP_SYS_RESOURCE
 * (EPERM). @commit can be changed while there is nothing to be touched, before
 * the first break or map grows (EBUSY). A child inherits everything but commitment: what it got by fork()
 * is lazy.
 */
struct pagewell_heap {
	__u32 size;
	__u32 set;
	__u32 commit;
	__u32 huge;
	__u64 limit;
};

/**
 * struct pagewell_brk_create - PAGEWELL_IOC_BRK_CREATE: a new program break
 * @size: sizeof(struct pagewell_brk_create)
 * @flags: must be zero
 * @reserve: in: bytes of address space to keep free behind @start, rounded up
 *           to 2 MiB; out: what was kept
 * @start: out: where the break begins, 2 MiB-aligned; it is empty
 * @id: out: names the break in PAGEWELL_IOC_BRK
 * @pad: must be zero
 * @control: address of a __u64 where the program keeps its break, 0 for none
 *
 * With @control the break that PAGEWELL_IOC_BRK moves is only how far the
 * program may go: up to there, what it stores in the control word is the break,
 * as an address, without a call. Touches behind the word's page are refused,
 * but pages behind it may be brought in ahead. The word is a hint that nothing
 * depends on: where it points beyond what was granted, or cannot be read when
 * a page is touched, what was granted counts. Memory that the word left behind
 * keeps its contents; PAGEWELL_IOC_BRK gives it back.
 *
 * Address space costs no memory. Errors: ENOMEM (no address space left, or
 * too many breaks), EINVAL.
 */
struct pagewell_brk_create {
	__u32 size;
	__u32 flags;
	__u64 reserve;
	__u64 start;
	__u32 id;
	__u32 pad;
	__u64 control;
};

/**
 * struct pagewell_brk - PAGEWELL_IOC_BRK: move a break, as brk(2)
 * @size: sizeof(struct pagewell_brk)
 * @flags: must be zero
 * @id: of the break
 * @pad: must be zero
 * @brk: in: the new break, any address at or above the start, 0 to ask;
 *       out: the break as it is now
 *
 * Memory up to the break, rounded up to a page, may be touched and reads as
 * zero at first. Lowering the break gives pages back. Growing past the reserve
 * works as long as the addresses behind it are free, up to a multiple of 2 MiB
 * from the heap's base. Errors: ENOMEM (limit,
 * RLIMIT_DATA, pool, or addresses taken), EINVAL (below the start), ENOENT (no
 * such break); the break then stays where it was.
 */
struct pagewell_brk {
	__u32 size;
	__u32 flags;
	__u32 id;
	__u32 pad;
	__u64 brk;
};

/**
 * struct pagewell_brk_destroy - PAGEWELL_IOC_BRK_DESTROY: give a break back
 * @size: sizeof(struct pagewell_brk_destroy)
 * @flags: must be zero
 * @id: of the break
 * @pad: must be zero
 *
 * Frees its pages, its addresses and its id. Errors: ENOENT.
 */
struct pagewell_brk_destroy {
	__u32 size;
	__u32 flags;
	__u32 id;
	__u32 pad;
};

/* pagewell_map.flags */
#define PAGEWELL_MAP_FIXED		(1U << 0) /* at addr, replacing maps there */
#define PAGEWELL_MAP_FIXED_NOREPLACE	(1U << 1) /* at addr, or EEXIST */
#define PAGEWELL_MAP_POPULATE		(1U << 2) /* with its pages in place */
#define PAGEWELL_MAP_GUARD		(1U << 3) /* addresses only: touching is SIGSEGV */

/**
 * struct pagewell_map - PAGEWELL_IOC_MAP: map a region
 * @size: sizeof(struct pagewell_map)
 * @flags: PAGEWELL_MAP_ bits
 * @addr: in: where (FIXED, FIXED_NOREPLACE) or from where to look (0: anywhere);
 *        out: where it is
 * @length: bytes, rounded up to a page; 0 is EINVAL
 * @align: a power of two; 0 means a page
 *
 * Without a fixed address a range of this length that was given up just before is
 * taken, or else the lowest gap that fits; not where the program has left a hole in the
 * mapping, or a protection that other maps have, too. With FIXED the new map is counted
 * before what it replaces is given back. Errors: ENOMEM (limit, RLIMIT_DATA, pool,
 * addresses, longer than the window, too many regions), EEXIST (FIXED_NOREPLACE on
 * something; FIXED on a break), EINVAL (alignment, a fixed range outside the window).
 * When populating finds no page, the region is taken back: ENOMEM.
 */
struct pagewell_map {
	__u32 size;
	__u32 flags;
	__u64 addr;
	__u64 length;
	__u64 align;
};

/**
 * struct pagewell_unmap - PAGEWELL_IOC_UNMAP: unmap all maps in a range
 * @size: sizeof(struct pagewell_unmap)
 * @flags: must be zero
 * @addr: start
 * @length: bytes, rounded up to a page; 0 is EINVAL
 *
 * As munmap(2): gaps are no error, regions are split as needed. A range that
 * touches a break is EINVAL and changes nothing, as is ENOMEM: it would make two
 * regions of one, and there are too many.
 */
struct pagewell_unmap {
	__u32 size;
	__u32 flags;
	__u64 addr;
	__u64 length;
};

/* pagewell_remap.flags */
#define PAGEWELL_REMAP_MAYMOVE	(1U << 0)
#define PAGEWELL_REMAP_FIXED	(1U << 1) /* to target, replacing maps there */

/**
 * struct pagewell_remap - PAGEWELL_IOC_REMAP: resize a region, as mremap(2)
 * @size: sizeof(struct pagewell_remap)
 * @flags: PAGEWELL_REMAP_ bits
 * @addr: in: start of the old range; out: start of the new one
 * @old_length: bytes, rounded up to a page; the whole range must be mapped
 * @new_length: bytes, rounded up to a page
 * @target: with FIXED, which needs MAYMOVE: where to; else zero. Not in the struct
 *          as first published: PAGEWELL_FEATURE_REMAP_FIXED says that it is known
 *
 * Shrinks or grows in place, or with MAYMOVE moves by changing which pages the
 * addresses stand for; nothing is copied. With FIXED it always moves. What is added
 * has protection and page size of what was the end of the old range.
 *
 * Errors: EFAULT (old range not wholly mapped), ENOMEM (no room in place and no
 * MAYMOVE; limit, pool, addresses, too many regions; part of a page of 2 MiB that
 * somebody refers to would have to move), EEXIST (FIXED on a break), EINVAL (the
 * target overlaps the old range or leaves the window). The old range is then as it
 * was; maps at the target may be gone.
 */
struct pagewell_remap {
	__u32 size;
	__u32 flags;
	__u64 addr;
	__u64 old_length;
	__u64 new_length;
	__u64 target;
};

/* pagewell_advise.advice */
#define PAGEWELL_ADVISE_POPULATE	1 /* all pages in place now, or ENOMEM */
#define PAGEWELL_ADVISE_WILLNEED	2 /* as many as can be had */
#define PAGEWELL_ADVISE_DONTNEED	3 /* give the pages back; reads as zero again */
#define PAGEWELL_ADVISE_HUGEPAGE	4 /* a page of 2 MiB wherever one fits */
#define PAGEWELL_ADVISE_NOHUGEPAGE	5 /* none, from now on */
#define PAGEWELL_ADVISE_FREE		6 /* may be given back until touched again */
#define PAGEWELL_ADVISE_COLD		7 /* not needed for a while: may be packed */
#define PAGEWELL_ADVISE_COLLAPSE	8 /* one page of 2 MiB for small ones, now */
#define PAGEWELL_ADVISE_HEAPHUGEPAGE	9 /* as the policy of the heap says, again */
#define PAGEWELL_ADVISE_AUTOHUGEPAGE	10 /* in a long walk, and when populating */

/**
 * struct pagewell_advise - PAGEWELL_IOC_ADVISE: advice about a range
 * @size: sizeof(struct pagewell_advise)
 * @advice: PAGEWELL_ADVISE_
 * @addr: start
 * @length: bytes, rounded up to a page; 0 does nothing
 *
 * Works on breaks and maps alike and never changes what may be touched. The page
 * size is advice for all of a break. What is advised FREE leaves the resident set
 * and keeps its contents; a page of a lazy region that is not touched again reads
 * as zero if the pool was short in between. A strict region's pages are promised
 * and are always kept. What is advised COLD is packed if the machine has that set
 * up, and comes back when it is touched; only in lazy regions, again. Errors:
 * ENOMEM (populate: a page cannot be had, or part of the range is not mapped;
 * dontneed in a strict region: a child keeps the page, or somebody refers to it,
 * and no other can be promised for it; in any: it is part of a page of 2 MiB that
 * others have, too, and no copy of the rest can be had; the rest of the range is
 * then untouched; page size: too many regions), EINTR, EINVAL. Populate copies
 * nothing that is shared since a fork: the first write does.
 *
 * Collapse does what can be done in each aligned 2 MiB of the range that lies in
 * one break or map: what is there moves to one page of 2 MiB, holes in it are
 * filled with zeros, and what has such a page already, or nothing at all, is no
 * longer kept from being mapped as a whole by small pages that were there once.
 * EINVAL: there is none, or it may not have pages of 2 MiB; EBUSY: pages are
 * shared since a fork, or somebody refers to them; ENOMEM: no page to be had.
 */
struct pagewell_advise {
	__u32 size;
	__u32 advice;
	__u64 addr;
	__u64 length;
};

/**
 * struct pagewell_mailbox - PAGEWELL_IOC_MAILBOX: calls without a descriptor
 * @size: sizeof(struct pagewell_mailbox)
 * @flags: must be zero
 * @addr: of a struct pagewell_request that this process keeps, 0 for none
 *
 * A library in a program that does not know of it should keep no descriptor
 * open. From here on
 *
 *	msync(base, PAGEWELL_CALL_LENGTH, MS_SYNC)
 *
 * where base is the start of the heap's mapping does what
 * ioctl(fd, request.cmd, request.arg) does, and fails as that does. A child
 * inherits the mailbox with the memory that it lies in. Errors: EINVAL.
 */
struct pagewell_mailbox {
	__u32 size;
	__u32 flags;
	__u64 addr;
};

/* A length that nobody who means to synchronise memory asks for. */
#define PAGEWELL_CALL_LENGTH	(3 * 4096)

/**
 * struct pagewell_request - what lies in the mailbox
 * @cmd: PAGEWELL_IOC_; the module sets it to zero when it takes the request.
 *       Not zero after the call: it did not arrive (the mapping is split)
 * @pad: must be zero
 * @arg: address of the struct of that call
 *
 * Whoever has several threads takes care that one uses it at a time.
 */
struct pagewell_request {
	__u32 cmd;
	__u32 pad;
	__u64 arg;
};

/* pagewell_protect.prot */
#define PAGEWELL_PROT_NONE	0
#define PAGEWELL_PROT_READ	1
#define PAGEWELL_PROT_WRITE	2	/* only together with READ */

/**
 * struct pagewell_protect - PAGEWELL_IOC_PROTECT: what may be done to maps
 * @size: sizeof(struct pagewell_protect)
 * @prot: PAGEWELL_PROT_ bits
 * @addr: start
 * @length: bytes, rounded up to a page; 0 is EINVAL
 *
 * As mprotect(2), but without splitting the mapping: any other touch is SIGSEGV,
 * contents and promises stay. While a map is read-only the kernel refuses
 * long-term pins of the heap (registered buffers of io_uring), as after fork(),
 * and as after reads here and there of memory that was never written, which get
 * the kernel's zero page: PAGEWELL_ADVISE_POPULATE puts an end to that.
 * Errors: ENOMEM (part of the range is not mapped, too many regions), EINVAL (it
 * touches a break), EINTR. Nothing has changed then, unless the kernel ran out of
 * its own memory, ENOMEM too: the first part of the range may have changed.
 */
struct pagewell_protect {
	__u32 size;
	__u32 prot;
	__u64 addr;
	__u64 length;
};

/**
 * struct pagewell_share - PAGEWELL_IOC_SHARE: make or attach a shared region
 * @size: sizeof(struct pagewell_share)
 * @flags: must be zero
 * @addr: in: from where to look for addresses, 0: anywhere; out: where it is,
 *        2 MiB-aligned
 * @length: bytes, rounded up to 2 MiB; to attach, 0 or the region's; out: the
 *          region's
 * @id: in: 0 for a new region, or which one to attach; out: its number
 * @pad: must be zero
 *
 * Whoever has a shared region sees what the others write to it: the process that
 * made it, children it had afterwards, and every process that attached it. To
 * attach a region a process needs a heap that is mapped from the same open file,
 * inherited or received, as the maker's is, and the number; for any other the
 * number is ENOENT. A heap may attach a region as often as it likes.
 *
 * In a strict heap a new region is committed, and its pages are taken, at once.
 * What is attached or inherited counts as mapped, and is backed by the maker's
 * pages. In a lazy heap the region counts against the limit as a whole, however
 * much of it is resident: pages are found when they are touched. Pages stay until
 * the last one who has them has unmapped them, whoever that is; a part that nobody
 * has is empty, also for who attaches the region by another part of it. The number
 * is gone with the last part.
 *
 * Unmapped in multiples of 2 MiB, where it is, or by a map with
 * PAGEWELL_MAP_FIXED: anything else is EINVAL, as is resizing it.
 * PAGEWELL_ADVISE_DONTNEED leaves it as it is. A futex in it works between
 * processes.
 *
 * Errors: ENOMEM (limit, RLIMIT_DATA, pool, addresses, too many regions; with what
 * the heap shares already, longer than the pool may ever be), ENOENT (no such region
 * in this file), EINVAL (length), EINTR.
 */
struct pagewell_share {
	__u32 size;
	__u32 flags;
	__u64 addr;
	__u64 length;
	__u32 id;
	__u32 pad;
};

#define PAGEWELL_IOC_INFO		_IO(PAGEWELL_IOC_TYPE, 0x00)
#define PAGEWELL_IOC_HEAP		_IO(PAGEWELL_IOC_TYPE, 0x01)
#define PAGEWELL_IOC_BRK_CREATE		_IO(PAGEWELL_IOC_TYPE, 0x02)
#define PAGEWELL_IOC_BRK		_IO(PAGEWELL_IOC_TYPE, 0x03)
#define PAGEWELL_IOC_BRK_DESTROY	_IO(PAGEWELL_IOC_TYPE, 0x04)
#define PAGEWELL_IOC_MAP		_IO(PAGEWELL_IOC_TYPE, 0x05)
#define PAGEWELL_IOC_UNMAP		_IO(PAGEWELL_IOC_TYPE, 0x06)
#define PAGEWELL_IOC_REMAP		_IO(PAGEWELL_IOC_TYPE, 0x07)
#define PAGEWELL_IOC_ADVISE		_IO(PAGEWELL_IOC_TYPE, 0x08)
#define PAGEWELL_IOC_MAILBOX		_IO(PAGEWELL_IOC_TYPE, 0x09)
#define PAGEWELL_IOC_PROTECT		_IO(PAGEWELL_IOC_TYPE, 0x0a)
#define PAGEWELL_IOC_SHARE		_IO(PAGEWELL_IOC_TYPE, 0x0b)

#endif /* _UAPI_PAGEWELL_H */
