/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * trace.h - a record of all calls, for pagewell replay
 *
 * With PAGEWELL_TRACE=FILE every call goes the slow way and leaves a record in
 * FILE. Only the process that was started with it writes; its children do not.
 */
#ifndef PW_TRACE_H
#define PW_TRACE_H

#include <stdint.h>

#define TRACE_MAGIC	"pagewell trace 1"

/* The number of threads that are about to end, or have no memory for one. */
#define TRACE_NO_THREAD	65535

/* A file is made longer by so many records at a time. */
#define TRACE_ROOM	2048

enum trace_op {
	TRACE_MALLOC = 1,
	TRACE_CALLOC,
	TRACE_ALIGNED,		/* has @align */
	TRACE_FREE,
	TRACE_REALLOC_FROM,	/* @addr is what is resized */
	TRACE_REALLOC_TO,	/* and where it is now, with @size */
};

/**
 * struct trace_record - one call, or half of a realloc(); host byte order
 * @op: enum trace_op
 * @align: log2 of the alignment
 * @thread: number of the thread, the first one is 0; or TRACE_NO_THREAD
 * @size: bytes asked for
 * @addr: the block
 *
 * Blocks are gone before the record of their end is followed by another one
 * at their address. The file begins with TRACE_MAGIC, 16 bytes, and ends with
 * room for up to TRACE_ROOM more records, whose @op is 0.
 */
struct trace_record {
	uint8_t op;
	uint8_t align;
	uint16_t thread;
	uint32_t pad;
	uint64_t size;
	uint64_t addr;
};

#endif /* PW_TRACE_H */
