#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Memory that comes and goes under the pool: two modules of it, plugged in and
# offline at first.
set -u
cd "$(dirname "$0")/../../.." || exit 1
. selftests/tap.sh

pw=build/pagewell
tmp=$(mktemp -d)
sys=/sys/devices/system/memory
mkfifo "$tmp/in"

pool() {
	sed -n "s/^$1: //p" /sys/kernel/debug/pagewell/pool
}

# Pages that are free, or of files, where the kernel can have them for itself
others() {
	awk '/^Node/ { movable = $NF == "Movable" }
		!movable && /^ *nr_(free_pages|zone_(in)?active_file) / { n += $2 }
		END { print n }' /proc/zoneinfo
}

# begin [COMMAND...]: a process on the pool, if not another one, then with 150 MiB;
# ask LETTER: what it says of itself
begin() {
	: >"$tmp/out"
	[ $# -gt 0 ] || set -- build/selftests/kernel/subject 150
	$pw run -- "$@" <"$tmp/in" >"$tmp/out" 2>&1 &
	exec 7>"$tmp/in"
	for _ in $(seq 600); do
		! grep -q '^pid\|no memory' "$tmp/out" || break
		sleep 0.1
	done
}

ask() {
	local before
	before=$(wc -l <"$tmp/out")

	echo "$1" >&7
	for _ in $(seq 600); do
		[ "$(wc -l <"$tmp/out")" = "$before" ] || break
		sleep 0.1
	done
	tail -n 1 "$tmp/out"
}

end() {
	echo q >&7
	exec 7>&-
	wait
}

# turn STATE BLOCK...: all of them; the names of those that will not, in $refused
turn() {
	local state=$1 block
	shift

	refused=
	for block; do
		echo "$state" 2>>"$tmp/why" >$sys/"$block"/state || refused+=" $block"
	done
}

mapfile -t blocks < <(grep -l offline $sys/memory*/state | sed 's,/state$,,; s,.*/,,' | sort -V)
half=$((${#blocks[@]} / 2))
first=("${blocks[@]:0:half}")
second=("${blocks[@]:half}")
check "there is memory to come ($((2 * half)) blocks)" test $half -ge 1

# Memory for pages that can be moved is nothing for the pool.
turn online_movable "${first[@]}"
same "movable memory comes" "" "$refused"
begin /usr/bin/python3 -c '
taken = []
try:
    while True:
        taken.append(bytearray(1 << 20))
except MemoryError:
    taken.pop()
    print("no memory", flush=True)
input()
'
echo "# of $(pool max_pages) pages the pool has $(pool held_pages), others $(others)"
check "nor does it count as memory that others have" test "$(others)" -ge \
	"$(($(sed -n 's/MemTotal: *\([0-9]*\) .*/\1/p' /proc/meminfo) / 4 / 32))"
end
same "nobody is killed for it" "oom_kill 0" "$(grep oom_kill /proc/vmstat)"
begin
same "a heap" "whole: yes" "$(ask c)"
turn offline "${first[@]}"
same "movable memory goes while the pool is in use" "" "$refused"
for device in /sys/bus/acpi/devices/PNP0C80:*; do
	[ -e "$device/eject" ] && echo 1 >"$device/eject" && break
done
for _ in $(seq 50); do
	[ -e "$sys/${first[0]}" ] || break
	sleep 0.1
done
check "and its module can be taken out" test ! -e "$sys/${first[0]}"
same "the heap does not care" "whole: yes" "$(ask c)"
end

# Other memory the pool uses, and then it stays.
turn online_kernel "${second[@]}"
same "other memory comes" "" "$refused"
begin
same "a heap on it" "whole: yes" "$(ask c)"
: >"$tmp/why"
turn offline "${second[@]}"
check "it does not go while the pool has pages in it" test -n "$refused"
has "and that is said" 'Device or resource busy' "$(cat "$tmp/why")"
turn online_kernel "${second[@]}"
(
	while [ ! -e "$tmp/stop" ]; do
		turn offline "${second[@]}"
		turn online_kernel "${second[@]}"
	done
) 2>/dev/null &
again=$!
for i in 1 2 3; do
	same "the heap goes on and forks meanwhile ($i)" "whole in a child: yes" "$(ask f)"
	$pw run -- /usr/bin/python3 -c 'b = bytearray(60 << 20)'
	same "and others come and go ($i)" 0 $?
done
touch "$tmp/stop"
wait $again
same "nothing is lost" "whole: yes" "$(ask c)"
end
$pw set pool-max 32M
check "the pool gives back what it can" test "$(pool held_pages)" -le 8192
check "and holds its floor" test "$(pool held_pages)" -ge "$(pool floor_pages)"
same "no page is lost" 0 "$(pool lost_pages)"
same "the pool is sound" "check: ok" "$(cat /sys/kernel/debug/pagewell/check)"
rm -rf "$tmp"
finish
