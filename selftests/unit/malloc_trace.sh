#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# malloc_trace.sh - pagewell record notes every call, pagewell replay makes it. TAP.
set -u
cd "$(dirname "$0")/../.." || exit 1

pagewell=$PWD/build/pagewell
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# 7 calls a round and thread; libc and the loader make some more of their own.
cat >"$work/calls.c" <<'END'
#define _GNU_SOURCE
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void *work(void *arg)
{
	int i;

	for (i = 0; i < 1000; i++) {
		char *p = malloc(i), *q = calloc(3, i), *r = aligned_alloc(64, 128);

		p = realloc(p, 2 * i + 1);
		p[0] = q ? 1 : 0;
		free(p);
		free(q);
		free(r);
	}
	/* A thread that comes when another is gone may have its number. */
	if (arg)
		pthread_barrier_wait(arg);
	return arg;
}

int main(int argc, char **argv)
{
	pthread_barrier_t all;
	pthread_t t[3];
	int i;

	pthread_barrier_init(&all, NULL, 3);
	for (i = 0; i < 3; i++)
		pthread_create(&t[i], NULL, work, &all);
	for (i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	/* A program that closes what it does not know, and a child. */
	if (argc > 1)
		for (i = 3; i < 100; i++)
			close(i);
	if (!fork()) {
		work(NULL);
		exit(0);
	}
	wait(NULL);
	/* Another program, which has the same environment. */
	if (!fork()) {
		execl("/bin/true", "true", NULL);
		_exit(1);
	}
	wait(NULL);
	return 0;
}
END
cc -O1 -fno-builtin -pthread -o "$work/calls" "$work/calls.c" || exit 1

n=0
failed=0
result()
{
	n=$((n + 1))
	if [ "$1" = 0 ]; then
		echo "ok $n $2"
	else
		echo "not ok $n $2"
		sed 's/^/# /' "$work/out" | head -20
		failed=1
	fi
}

counted()
{
	"$pagewell" record -o "$work/trace" -- "$work/calls" "$@" >"$work/out" 2>&1 &&
		"$pagewell" replay "$work/trace" >>"$work/out" 2>&1 &&
		awk '$1 == "calls" { exit !($2 >= 21000 && $2 < 21200 && $4 >= 3 && $4 <= 4) }' "$work/out"
}

echo "TAP version 13"
echo "1..6"
counted
result $? "every call of every thread, and none of a child"
counted closed
result $? "of a program that closes descriptors"
LD_PRELOAD=$PWD/build/libpagewell.so PAGEWELL_BACKEND=anon \
	"$pagewell" replay -n 3 "$work/trace" >"$work/out" 2>&1
result $? "replayed with the library preloaded"
head -c 100000 "$work/trace" >"$work/cut"
"$pagewell" replay "$work/cut" >"$work/out" 2>&1
result $? "a trace of a program that was killed"
{ head -c 16 "$work/trace"; head -c 2400 /dev/zero | tr '\0' '\377'; } >"$work/bad"
! "$pagewell" replay "$work/bad" >"$work/out" 2>&1 && grep -q '^pagewell: record 0 .* damaged$' "$work/out"
result $? "a damaged trace"
! "$pagewell" replay "$work/calls.c" >"$work/out" 2>&1 && grep -q '^pagewell: .* is no trace' "$work/out"
result $? "a file that is no trace"
exit $failed
