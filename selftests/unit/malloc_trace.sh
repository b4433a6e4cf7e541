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
#include <signal.h>
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
	if (getenv("END"))
		kill(getpid(), atoi(getenv("END")));
	if (getenv("LEAVE"))
		_exit(0);
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

# What a thread does when the library has already taken leave of it.
cat >"$work/late.c" <<'END'
#include <pthread.h>
#include <stdlib.h>

static pthread_key_t key;

static void grow(void *buf)
{
	free(realloc(buf, 400000));
}

static void *work(void *arg)
{
	pthread_setspecific(key, malloc(100));
	return arg;
}

int main(void)
{
	pthread_t t;
	int i;

	pthread_key_create(&key, grow);
	for (i = 0; i < 10; i++) {
		pthread_create(&t, NULL, work, NULL);
		pthread_join(t, NULL);
	}
	return 0;
}
END
cc -O1 -fno-builtin -pthread -o "$work/late" "$work/late.c" || exit 1

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

# counted STATUS [ARG...]: all that the program calls is in the trace, however it ends
counted()
{
	local status=$1
	shift

	"$pagewell" record -o "$work/trace" -- "$work/calls" "$@" >"$work/out" 2>&1
	[ $? = "$status" ] && "$pagewell" replay "$work/trace" >>"$work/out" 2>&1 &&
		awk '$1 == "calls" { exit !($2 >= 21000 && $2 < 21200 && $4 >= 3 && $4 <= 4) }' "$work/out"
}

# made CODE: a trace, written by Python: r(OP, ADDR, SIZE) is a record
made()
{
	/usr/bin/python3 -c '
import struct, sys
MALLOC, FREE, FROM, TO = 1, 4, 5, 6
def r(op, addr, size=0):
    return struct.pack("=BBHIQQ", op, 0, 0, 0, size, addr)
sys.stdout.buffer.write(b"pagewell trace 1" + '"$1"')' >"$work/made"
}

# damaged RECORD CODE: replay refuses such a trace, and says where
damaged()
{
	made "$2"
	! "$pagewell" replay "$work/made" >"$work/out" 2>&1 &&
		grep -q "^pagewell: record $1 .* damaged\$" "$work/out"
}

# cpu: seconds that the replay of that trace takes
cpu()
{
	local TIMEFORMAT=%U

	{ time "$pagewell" replay "$work/made" >"$work/out" 2>&1; } 2>&1
}

# takes FROM TO: MiB that the replay of that trace takes
takes()
{
	"$pagewell" replay "$work/made" >"$work/out" 2>&1 &&
		awk -v from="$1" -v to="$2" '$1 == "memory" {
			mib = $2 * ($2 ~ /K$/ ? 1 / 1024 : $2 ~ /G$/ ? 1024 : 1)
			exit !(from <= mib && mib < to)
		}' "$work/out"
}

echo "TAP version 13"
counted 0
result $? "every call of every thread, and none of a child"
counted 0 closed
result $? "of a program that closes descriptors"
LEAVE=1 counted 0
result $? "of one that ends by _exit()"
END=15 counted 143
result $? "by a signal"
END=9 counted 137
result $? "by SIGKILL"
LD_PRELOAD=$PWD/build/libpagewell.so PAGEWELL_BACKEND=anon \
	"$pagewell" replay -n 3 "$work/trace" >"$work/out" 2>&1
result $? "replayed with the library preloaded"

"$pagewell" record -o "$work/made" -- "$work/late" >"$work/out" 2>&1 &&
	"$pagewell" replay "$work/made" >>"$work/out" 2>&1 &&
	awk '$1 == "calls" { exit !($2 >= 30 && $4 >= 1 && $4 <= 2) }' "$work/out"
result $? "threads that resize a block at their very end"

# Two windows of records fit, and a bit.
(ulimit -S -f 100; "$pagewell" record -o "$work/made" -- "$work/calls") >"$work/out" 2>&1
[ $? = 0 ] && grep -q '^pagewell: cannot write the trace to .*: recording ends$' "$work/out" &&
	"$pagewell" replay "$work/made" >>"$work/out" 2>&1 &&
	[ "$(stat -c %s "$work/made")" = $((16 + 2 * 2048 * 24)) ]
result $? "a limit on the size of files ends the record, not the program"
(ulimit -S -f 1; "$pagewell" record -o "$work/made" -- "$work/calls") >"$work/out" 2>&1
[ $? = 0 ] && grep -q 'recording ends$' "$work/out"
result $? "also from the beginning"

# Without record's word who is to write, all do, each a file of its own.
LD_PRELOAD=$PWD/build/libpagewell.so PAGEWELL_BACKEND=anon PAGEWELL_TRACE=$work/made \
	bash -c 'x=({1..9999}); /bin/true; y=({1..9999}); echo "${#x[@]} ${#y[@]}"' \
	>"$work/out" 2>&1
[ $? = 0 ] && grep -qx "9999 9999" "$work/out"
result $? "nobody is hurt by another who writes to the same name"

cp "$work/trace" "$work/kept"
"$pagewell" record -o "$work/kept" -- /nonexistent >"$work/out" 2>&1
[ $? = 127 ] && cmp "$work/trace" "$work/kept" >>"$work/out"
result $? "a command that cannot be run leaves the last trace as it was"
"$pagewell" record -o "$work/new" -- /nonexistent >"$work/out" 2>&1
[ $? = 127 ] && ! [ -e "$work/new" ]
result $? "and none where there was none"
: >"$work/new"
"$pagewell" record -o "$work/new" -- /etc/passwd >"$work/out" 2>&1
[ $? = 126 ] && [ -e "$work/new" ]
result $? "an empty file stays, too"
"$pagewell" record -o /dev/null -- true >"$work/out" 2>&1
[ $? = 125 ] && grep -q '^pagewell: cannot write a trace to /dev/null: it is no file$' "$work/out" &&
	[ -c /dev/null ]
result $? "a device is no place for one"

made 'b"".join(r(MALLOC, 4096, 100) + r(FREE, 4096) for i in range(500000))'
takes 0 1
result $? "what the trace takes itself is not in the memory of the replay"
made 'r(MALLOC, 4096, 64 << 20)'
takes 63 65
result $? "what it takes is"
made 'r(MALLOC, 4096, 100) + r(FREE, 4096)[:-1]'
takes 0 1 && grep -q '^pagewell: the last record of .* is cut, and left out$' "$work/out" &&
	grep -q '^calls  *1 ' "$work/out"
result $? "a last record that is cut"
made 'r(MALLOC, 4096, 100) + r(FROM, 4096) + r(TO, 8192, 64 << 20) + r(TO, 4096, 64 << 20)'
takes 127 129
result $? "a block is resized once, not twice"

damaged 0 'b"\xff" * 2400'
result $? "a damaged trace: no such call"
damaged 1 'r(MALLOC, 4096, 100) + r(MALLOC, 4096, 100)'
result $? "two blocks at one place"
damaged 3 'r(MALLOC, 4096, 100) + r(MALLOC, 8192, 100) + r(FROM, 4096) + r(TO, 8192, 200)'
result $? "one resized to where another is"
damaged 1 'r(MALLOC, 4096, 100) + r(0, 0) + r(FREE, 4096)'
result $? "a gap"
made '(r(0, 0) * 2048)'
takes 0 1 && grep -q '^calls  *0 ' "$work/out"
result $? "room for more, as it is left"
made '(r(0, 0) * 2049)'
! "$pagewell" replay "$work/made" >"$work/out" 2>&1 &&
	grep -q '^pagewell: .* more room than is .* damaged$' "$work/out"
result $? "more room than is ever left"
mkfifo "$work/fifo"
timeout 20 "$pagewell" replay "$work/fifo" >"$work/out" 2>&1
[ $? = 1 ] && grep -q '^pagewell: .*fifo is no trace' "$work/out"
result $? "a FIFO, which nobody writes to"
made 'b"".join(r(MALLOC, i << 4, 1) for i in range(100000))'
plain=$(cpu)
made 'b"".join(r(MALLOC, i << 42, 1) for i in range(100000))'
chosen=$(cpu)
echo "$plain s, $chosen s" >>"$work/out"
awk "BEGIN { exit !($chosen < 10 * ($plain + 0.02)) }" && grep -q '^calls  *100000 ' "$work/out"
result $? "addresses that were chosen to be slow"
! "$pagewell" replay "$work/calls.c" >"$work/out" 2>&1 && grep -q '^pagewell: .* is no trace' "$work/out"
result $? "a file that is no trace"
echo "1..$n"
exit $failed
