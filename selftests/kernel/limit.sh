#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Limits of users and cgroups: pagewell set user-max and cgroup-max.
set -u
cd "$(dirname "$0")/../.." || exit 1
. selftests/tap.sh

py=/usr/bin/python3
top=/sys/fs/cgroup
tmp=$(mktemp -d)
chmod 755 "$tmp"
# Where nobody may look: the tree may lie in somebody's home.
cp build/pagewell build/libpagewell.so "$tmp/"
pw=$tmp/pagewell
trap 'rm -rf "$tmp"; kill $(jobs -p) 2>/dev/null' EXIT

mountpoint -q $top || mount -t cgroup2 none $top
grep -q "^[^ ]* $top cgroup2 " /proc/mounts || { echo "1..0 # SKIP no cgroup v2"; exit 4; }
mkdir -p $top/pwa/b

as_nobody() {
	setpriv --reuid=65534 --regid=65534 --clear-groups "$@"
}

# in_cgroup PATH COMMAND...
in_cgroup() {
	sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$top$@"
}

# use MIB: a heap of that many MiB, says whether it could be had
use() {
	echo "$pw run --huge never -- $py -c 'b = bytearray($1 << 20); print(\"had\")'"
}

# account KIND NAME COLUMN
account() {
	$pw limits | awk -v kind="$1" -v name="$2" -v c="$3" '$4 == kind && $5 == name { print $c }'
}

committed() {
	account "$1" "$2" 2
}

# Events of limits, until the test is over.
$pw events >"$tmp/events" 2>&1 &
sleep 1

# told REGEX: an event says so
told() {
	for _ in $(seq 100); do
		! grep -qE "$1" "$tmp/events" || return 0
		sleep 0.1
	done
	sed 's/^/# /' "$tmp/events"
	return 1
}

# A user
$pw set user-max nobody 64M
same "a limit is shown" "64.0M" "$(account user nobody 1)"
has "within it a heap works" had "$(as_nobody sh -c "$(use 32)" 2>&1)"
has "beyond it there is no memory" MemoryError "$(as_nobody sh -c "$(use 100)" 2>&1)"
check "an event says whose limit it was" \
	told " limit uid=65534 max=67108864 used=[0-9]+ pid=[0-9]+ comm=python3[^ ]* asked=[0-9]{9}$"
check "that is counted" test "$(account user nobody 3)" -gt 0
has "others are not concerned" had "$(sh -c "$(use 100)" 2>&1)"
same "nothing is left of it" 0 "$(committed user nobody)"

as_nobody $pw run --lazy --huge never -- $py -c 'print(len(b"x" * (32 << 20)))' >"$tmp/out" 2>&1
same "a lazy heap works within it" 33554432 "$(cat "$tmp/out")"
as_nobody $pw run --lazy --huge never -- $py -c 'b"x" * (100 << 20)' >/dev/null 2>&1
same "and finds no page beyond it" $((128 + 7)) $?

mkfifo "$tmp/go"
as_nobody $pw run --huge never -- $py -c '
import sys
b = bytearray(40 << 20)
print("ready", flush=True)
sys.stdin.readline()
try:
    bytearray(8 << 20)
except MemoryError:
    print("refused", flush=True)
print(b.count(0) >> 20)' <"$tmp/go" >"$tmp/out" 2>&1 &
exec 7>"$tmp/go"
for _ in $(seq 100); do
	! grep -qs ready "$tmp/out" || break
	sleep 0.1
done
has "two heaps of a user share it" MemoryError "$(as_nobody sh -c "$(use 32)" 2>&1)"
check "a user may lower their own" as_nobody $pw set user-max nobody 1M
may_not="may lower their own"
check "but not raise it" eval '! as_nobody $pw set user-max nobody 2M 2>"$tmp/err"'
has "and is told so" "$may_not" "$(cat "$tmp/err")"
has "nor set that of others" "$may_not" "$(as_nobody $pw set user-max root 1G 2>&1)"
has "nor that of a cgroup" "needs CAP_SYS_ADMIN" "$(as_nobody $pw set cgroup-max /pwa 1G 2>&1)"
same "users see their own only" "1" "$(as_nobody $pw limits | grep -c '[0-9] user\|[0-9] cgroup')"
echo go >&7
exec 7>&-
wait $!
same "lowered below use: nothing more, nothing less" "ready refused 40" "$(xargs <"$tmp/out")"
$pw set user-max nobody none
same "no limit, no heap, no account" "" "$(account user nobody 1)"

# A cgroup and those below it
$pw set cgroup-max /pwa 64M
# There are no more than five events a second.
sleep 1
has "a cgroup's limit holds below it" MemoryError "$(in_cgroup /pwa/b sh -c "$(use 100)" 2>&1)"
check "an event says which cgroup" told " limit cgroup=/pwa max=67108864 used="
has "within it a heap works" had "$(in_cgroup /pwa/b sh -c "$(use 32)" 2>&1)"
has "outside it does not matter" had "$(sh -c "$(use 100)" 2>&1)"
$pw set cgroup-max /pwa/b 16M
has "the lower one counts, too" MemoryError "$(in_cgroup /pwa/b sh -c "$(use 32)" 2>&1)"
has "not above" had "$(in_cgroup /pwa sh -c "$(use 32)" 2>&1)"
same "nothing is left of it" "0 0" "$(committed cgroup /pwa) $(committed cgroup /pwa/b)"
$pw set cgroup-max /none/such 1M 2>"$tmp/err"
has "an unknown cgroup is refused" 'no cgroup v2 has this path' "$(cat "$tmp/err")"
# long N: a path of so many letters
long() {
	printf '/%0*d' $(($1 - 1)) 0
}
$pw set cgroup-max "$(long 4095)" 1M 2>"$tmp/err"
has "so is the longest path there is" 'no cgroup v2 has this path' "$(cat "$tmp/err")"
$pw set cgroup-max "$(long 5000)" 1M 2>"$tmp/err"
has "and a longer one" 'too long' "$(cat "$tmp/err")"
# unshared COMMAND...: where paths begin at /pwa
unshared() {
	in_cgroup /pwa unshare --cgroup "$@"
}
check "nor where paths begin elsewhere" eval '! unshared $pw set cgroup-max /b 8M 2>"$tmp/err"'
has "and is told so" 'a path begins at the root' "$(cat "$tmp/err")"
same "no other cgroup has got the limit" 16.0M "$(account cgroup /pwa/b 1 | xargs)"
check "a namespace that begins at the root is as good" \
	unshare --cgroup $pw set cgroup-max /pwa/b 17M
same "and its paths are the same" 17.0M "$(account cgroup /pwa/b 1 | xargs)"
odd=$'/pwa/b max=1\e[31m\\'
mkdir "$top$odd"
$pw set cgroup-max "$odd" 16M
has "limits shows nothing a terminal obeys" ' cgroup /pwa/b max=1\\033\[31m\\$' "$($pw limits)"
sleep 1
in_cgroup "$odd" $pw run --huge never -- bash -c 'printf "a b=c\033[" >/proc/$$/comm
	x=$(printf "%*s" 99999999 y)' >/dev/null 2>&1
check "nor does an event, whose fields are its own" \
	told ' limit cgroup=/pwa/b\\040max\\0751\\033\[31m\\134 max=16777216 .* comm=a\\040b\\075c\?\[ asked='
rmdir "$top$odd"
$pw set cgroup-max /pwa none
$pw set cgroup-max /pwa/b none
same "no limit, no heap, no account" "" "$(account cgroup /pwa 1)$(account cgroup /pwa/b 1)"

# A limit does not outlive its cgroup, but for heaps that are still charged to it
$pw set cgroup-max /pwa 64M
$pw set cgroup-max /pwa/b 16M
rmdir $top/pwa/b $top/pwa
same "the limit of a removed cgroup is gone" "" "$(account cgroup /pwa 1)$(account cgroup /pwa/b 1)"
mkdir $top/pwa
$pw set cgroup-max /pwa 64M
rmdir $top/pwa
mkdir $top/pwa
$pw set cgroup-max /pwa 16M
same "a new one of that path has its own" 16.0M "$(account cgroup /pwa 1 | xargs)"
$pw set cgroup-max /pwa none
same "and can do without" "" "$(account cgroup /pwa 1)"
$pw set cgroup-max /pwa 16M
mkfifo "$tmp/stay"
in_cgroup /pwa $pw run --huge never -- $py -c '
import sys
print("ready", flush=True)
sys.stdin.readline()
try:
    bytearray(32 << 20)
except MemoryError:
    print("refused", flush=True)' <"$tmp/stay" >"$tmp/out" 2>&1 &
stays=$!
exec 7>"$tmp/stay"
for _ in $(seq 100); do
	! grep -qs ready "$tmp/out" || break
	sleep 0.1
done
while read -r pid; do
	echo "$pid" >$top/cgroup.procs
done < <(cat $top/pwa/cgroup.procs)
rmdir $top/pwa
same "it is there while a heap is charged to it" 16.0M "$(account cgroup /pwa 1)"
echo go >&7
exec 7>&-
wait $stays
same "and holds" "ready refused" "$(xargs <"$tmp/out")"
same "then no longer" "" "$(account cgroup /pwa 1)"
finish
