#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The pagewell command on this machine: arguments, exit statuses, and what it
# says where there is no module.
set -u
cd "$(dirname "$0")/../.." || exit 1
. selftests/tap.sh

pw=$PWD/build/pagewell
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# ends STATUS PATTERN ARG...: exit status and the first line on stderr
ends() {
	local status=$1 pattern=$2
	shift 2

	"$pw" "$@" >"$tmp/out" 2>"$tmp/err"
	same "pagewell $*: exit status" "$status" $?
	has "pagewell $*: says why" "$pattern" "$(head -n 1 "$tmp/err")"
}

# runs ARG...: exit status 0, and nothing on stderr
runs() {
	"$pw" "$@" >"$tmp/out" 2>"$tmp/err"
	same "pagewell $*: succeeds" "0 " "$? $(cat "$tmp/err")"
}

# Sizes
for size in "" x -1 1.5G 1Q 1KB1 4Gi 4GBi 4B " 1" 0x10 99999999999999999999 16777216T; do
	ends 125 'not a size' run --limit "$size" -- true
	ends 2 'not a size' set pool-max "$size"
done
ends 125 'not a size' run --limit 0 -- true
for size in 4096 1k 1K 1KiB 2MB 3g 1T; do
	runs run --fallback --limit "$size" -- true
done
same "a size reaches the library in bytes" 3221225472 \
	"$("$pw" run --fallback --limit 3g -- sh -c 'echo $PAGEWELL_LIMIT')"

# run
ends 125 'no command given' run
ends 125 'no command given' run --fallback --
ends 125 'not one of auto, always, never' run --huge maybe -- true
ends 125 "unrecognized option" run --nope -- true
ends 127 'cannot run /nonexistent: No such file' run --fallback -- /nonexistent
ends 127 'cannot run no-such-command: No such file' run --fallback -- no-such-command
ends 126 'cannot run /etc/passwd: Permission denied' run --fallback -- /etc/passwd
"$pw" run --fallback -- sh -c 'exit 42'
same "run passes the exit status" 42 $?
same "run --fallback lets the library choose" auto \
	"$("$pw" run --fallback -- sh -c 'echo $PAGEWELL_BACKEND')"
same "options of the command stay its own" "--limit x" \
	"$("$pw" run --fallback echo --limit x)"
# Nobody in particular may look at the tree, perhaps.
chmod 755 "$tmp"
mkdir "$tmp/nobody"
cp build/pagewell build/libpagewell.so /bin/true "$tmp/nobody/"
chmod 777 "$tmp/nobody"
as_nobody() {
	setpriv --reuid=65534 --regid=65534 --clear-groups "$@"
}
if /usr/bin/python3 -c '
import os, struct, sys
caps = struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0)
os.setxattr(sys.argv[1], "security.capability", caps)' "$tmp/nobody/true" 2>/dev/null; then
	has "run warns about file capabilities" 'true has file capabilities: its heap stays' \
		"$(as_nobody "$tmp/nobody/pagewell" run --fallback -- "$tmp/nobody/true" 2>&1)"
	has "record too" 'true has file capabilities: nothing is recorded' \
		"$(as_nobody "$tmp/nobody/pagewell" record -o "$tmp/nobody/trace" -- \
			"$tmp/nobody/true" 2>&1)"
	same "root gains nothing by them" "" \
		"$("$tmp/nobody/pagewell" run --fallback -- "$tmp/nobody/true" 2>&1)"
else
	skip "run warns about file capabilities" "no right to set them"
fi
for c in "run --fallback" "record -o $tmp/trace"; do
	for fd in 0 1 2; do
		# shellcheck disable=SC2086  # words
		(eval "exec $fd>&-"; exec "$pw" $c -- sh -c "test ! -e /proc/\$\$/fd/$fd")
		same "${c%% *} leaves a standard stream closed ($fd)" 0 $?
	done
done
mkdir "$tmp/a b"
cp build/pagewell build/libpagewell.so "$tmp/a b/"
"$tmp/a b/pagewell" run --fallback -- true 2>"$tmp/err"
same "a library that cannot be preloaded: 125" 125 $?
has "and why" 'space or colon' "$(cat "$tmp/err")"
mkdir "$tmp/alone"
cp build/pagewell "$tmp/alone/"
if [ -e /usr/local/lib/libpagewell.so ]; then
	skip "without the library: 125" "it is installed here"
else
	"$tmp/alone/pagewell" run --fallback -- true 2>"$tmp/err"
	same "without the library: 125" 125 $?
	has "and says where it looked" 'cannot find libpagewell.so' "$(cat "$tmp/err")"
fi

# record
ends 125 'no command to record' record
ends 125 'unrecognized option' record --nope -- true
ends 125 'cannot write /nonexistent/trace: No such file' record -o /nonexistent/trace -- true
ends 126 'cannot execute /etc/passwd: Permission denied' record -o "$tmp/trace" -- /etc/passwd
ends 127 'cannot execute /nonexistent: No such file' record -o "$tmp/trace" -- /nonexistent
runs record -o "$tmp/trace" -- true
runs record --output "$tmp/trace" -- true
"$pw" record -o "$tmp/trace" -- sh -c 'exit 42'
same "record passes the exit status" 42 $?

# replay
ends 2 'one trace, please' replay
ends 2 '-n takes a number from 1' replay -n 0 "$tmp/trace"
ends 1 'cannot read /nonexistent: No such file' replay /nonexistent
runs replay -n 2 "$tmp/trace"
runs replay --times 2 "$tmp/trace"

# The others
ends 2 'no command nope' nope
ends 2 'no command nope' help nope
ends 2 'not a process number' stat x
ends 2 'not a process number' stat 0
ends 2 'not a process number' stat 1 2
ends 2 '--json or --openmetrics, not both' stat --json --openmetrics
ends 2 '--json or --openmetrics, not both' stat --openmetrics --json
ends 2 'say what to set' set
ends 2 'say what to set' set pool-min 1G
for path in "" user.slice ./x; do
	ends 2 'not the path of a cgroup' set cgroup-max "$path" 8M
done
ends 2 'give the number of a process' map
ends 2 'give a size' explain
ends 2 'give a size' explain lots
ends 2 'takes no arguments' events 1
ends 2 'not a number of seconds' top -d 0
ends 2 'not a number from 1' top -n 0
"$pw" >"$tmp/out"
same "without arguments: 2" 2 $?
has "and a list of the commands" '^  explain ' "$(cat "$tmp/out")"
has "--version" '^pagewell [0-9.]+, interface 1$' "$("$pw" --version)"
for c in run stat top events set limits explain map record replay; do
	has "$c --help" "^usage: pagewell $c" "$("$pw" $c --help)"
	has "help $c" "^usage: pagewell $c" "$("$pw" help $c)"
	has "help lists $c" "^  $c " "$("$pw" help)"
done
"$pw" help >/dev/full 2>"$tmp/err"
same "output that gets lost is an error" 1 $?
"$pw" help >&- 2>"$tmp/err"
same "so it is with no standard output" 1 $?
same "that is said" "pagewell: cannot write: Bad file descriptor" "$(cat "$tmp/err")"

# No module
if [ -e /dev/pagewell ]; then
	skip "without the module" "it is loaded here"
else
	ends 125 'no /dev/pagewell: the module is not loaded' run -- true
	for c in stat "top -b -n 1" events "set pool-max 1G" "explain 100" "map 1"; do
		# shellcheck disable=SC2086  # words
		ends 1 'the module is not loaded' $c
	done
fi

finish
