/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * trace.h - tracepoints: /sys/kernel/tracing/events/pagewell
 *
 * What a heap is asked for and what its faults find, each with the addresses the
 * program uses; what the pool takes and gives. The process is in every record.
 * Not one of them is evaluated while nobody listens.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM pagewell

#if !defined(PW_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define PW_TRACE_H

#include <linux/tracepoint.h>

#include "pagewell.h"

#ifndef PW_TRACE_ADVICE
#define PW_TRACE_ADVICE							\
	{ PAGEWELL_ADVISE_POPULATE, "populate" },			\
	{ PAGEWELL_ADVISE_WILLNEED, "willneed" },			\
	{ PAGEWELL_ADVISE_DONTNEED, "dontneed" },			\
	{ PAGEWELL_ADVISE_HUGEPAGE, "hugepage" },			\
	{ PAGEWELL_ADVISE_NOHUGEPAGE, "nohugepage" },			\
	{ PAGEWELL_ADVISE_FREE, "free" },				\
	{ PAGEWELL_ADVISE_COLD, "cold" },				\
	{ PAGEWELL_ADVISE_COLLAPSE, "collapse" },			\
	{ PAGEWELL_ADVISE_HEAPHUGEPAGE, "heaphugepage" }
#endif

/* A break was moved by an ioctl; what the control page does, only faults show. */
TRACE_EVENT(pw_brk,
	TP_PROTO(u32 id, u64 brk),
	TP_ARGS(id, brk),
	TP_STRUCT__entry(
		__field(u64, brk)
		__field(u32, id)
	),
	TP_fast_assign(
		__entry->brk = brk;
		__entry->id = id;
	),
	TP_printk("id=%u brk=0x%llx", __entry->id, __entry->brk)
);

DECLARE_EVENT_CLASS(pw_range,
	TP_PROTO(u64 addr, u64 length),
	TP_ARGS(addr, length),
	TP_STRUCT__entry(
		__field(u64, addr)
		__field(u64, length)
	),
	TP_fast_assign(
		__entry->addr = addr;
		__entry->length = length;
	),
	TP_printk("addr=0x%llx length=%llu", __entry->addr, __entry->length)
);

DEFINE_EVENT(pw_range, pw_map, TP_PROTO(u64 addr, u64 length), TP_ARGS(addr, length));
DEFINE_EVENT(pw_range, pw_unmap, TP_PROTO(u64 addr, u64 length), TP_ARGS(addr, length));

/* @to is where it is now. */
TRACE_EVENT(pw_remap,
	TP_PROTO(u64 addr, u64 length, u64 to, u64 new_length),
	TP_ARGS(addr, length, to, new_length),
	TP_STRUCT__entry(
		__field(u64, addr)
		__field(u64, length)
		__field(u64, to)
		__field(u64, new_length)
	),
	TP_fast_assign(
		__entry->addr = addr;
		__entry->length = length;
		__entry->to = to;
		__entry->new_length = new_length;
	),
	TP_printk("addr=0x%llx length=%llu to=0x%llx new_length=%llu", __entry->addr,
		  __entry->length, __entry->to, __entry->new_length)
);

TRACE_EVENT(pw_advise,
	TP_PROTO(u64 addr, u64 length, u32 advice),
	TP_ARGS(addr, length, advice),
	TP_STRUCT__entry(
		__field(u64, addr)
		__field(u64, length)
		__field(u32, advice)
	),
	TP_fast_assign(
		__entry->addr = addr;
		__entry->length = length;
		__entry->advice = advice;
	),
	TP_printk("addr=0x%llx length=%llu advice=%s", __entry->addr, __entry->length,
		  __print_symbolic(__entry->advice, PW_TRACE_ADVICE))
);

/* A touch where nothing was brought @nr pages in; if @huge, as one of 2 MiB. */
TRACE_EVENT(pw_touch,
	TP_PROTO(unsigned long addr, bool write, unsigned int nr, bool huge),
	TP_ARGS(addr, write, nr, huge),
	TP_STRUCT__entry(
		__field(unsigned long, addr)
		__field(unsigned int, nr)
		__field(bool, write)
		__field(bool, huge)
	),
	TP_fast_assign(
		__entry->addr = addr;
		__entry->nr = nr;
		__entry->write = write;
		__entry->huge = huge;
	),
	TP_printk("addr=0x%lx %s pages=%u huge=%d", __entry->addr,
		  __entry->write ? "write" : "read", __entry->nr, __entry->huge)
);

DECLARE_EVENT_CLASS(pw_at,
	TP_PROTO(unsigned long addr),
	TP_ARGS(addr),
	TP_STRUCT__entry(
		__field(unsigned long, addr)
	),
	TP_fast_assign(
		__entry->addr = addr;
	),
	TP_printk("addr=0x%lx", __entry->addr)
);

/* A read that the kernel's zero page was enough for. */
DEFINE_EVENT(pw_at, pw_zero_page, TP_PROTO(unsigned long addr), TP_ARGS(addr));
/* A write to a page that a relative has, too. */
DEFINE_EVENT(pw_at, pw_copy, TP_PROTO(unsigned long addr), TP_ARGS(addr));
/* No region allows the touch: SIGSEGV. */
DEFINE_EVENT(pw_at, pw_segv, TP_PROTO(unsigned long addr), TP_ARGS(addr));
/* There is no page for it, or not any more: SIGBUS. */
DEFINE_EVENT(pw_at, pw_no_page, TP_PROTO(unsigned long addr), TP_ARGS(addr));

TRACE_EVENT(pw_fork,
	TP_PROTO(u64 heap, u64 child),
	TP_ARGS(heap, child),
	TP_STRUCT__entry(
		__field(u64, heap)
		__field(u64, child)
	),
	TP_fast_assign(
		__entry->heap = heap;
		__entry->child = child;
	),
	TP_printk("heap=%llu child=%llu", __entry->heap, __entry->child)
);

/* A limit or the pool stood against so many pages more. */
TRACE_EVENT(pw_refused,
	TP_PROTO(u64 heap, unsigned long nr),
	TP_ARGS(heap, nr),
	TP_STRUCT__entry(
		__field(u64, heap)
		__field(unsigned long, nr)
	),
	TP_fast_assign(
		__entry->heap = heap;
		__entry->nr = nr;
	),
	TP_printk("heap=%llu pages=%lu", __entry->heap, __entry->nr)
);

/* The pool has so many pages more from the kernel, or fewer, and holds @held now. */
TRACE_EVENT(pw_pool,
	TP_PROTO(long change, unsigned long held),
	TP_ARGS(change, held),
	TP_STRUCT__entry(
		__field(long, change)
		__field(unsigned long, held)
	),
	TP_fast_assign(
		__entry->change = change;
		__entry->held = held;
	),
	TP_printk("pages=%+ld held=%lu", __entry->change, __entry->held)
);

/* The background thread of a node zeroed so many pages in one turn. */
TRACE_EVENT(pw_zeroed,
	TP_PROTO(int node, unsigned int nr),
	TP_ARGS(node, nr),
	TP_STRUCT__entry(
		__field(int, node)
		__field(unsigned int, nr)
	),
	TP_fast_assign(
		__entry->node = node;
		__entry->nr = nr;
	),
	TP_printk("node=%d pages=%u", __entry->node, __entry->nr)
);

#endif /* PW_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
