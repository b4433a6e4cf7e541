#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# What people do to a process from outside, with its memory on our pages:
# limits, pmap, debugger, core dumps, profiler, checkpoint. The process is
# selftests/kernel/subject.c.
set -u
cd "$(dirname "$0")/../.." || exit 1
. selftests/tap.sh

subject=$PWD/build/selftests/kernel/subject
pw=$PWD/build/pagewell
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"; kill $(jobs -p) 2>/dev/null' EXIT
cd "$tmp" || exit 1
mib=40
pages=$((mib * 256))
mkfifo in

# begin COMMAND...: a subject in the background; sets $job, $pid, $list and $block
begin() {
	: >out
	# The shell tells of its death there, not here.
	sh -c '"$@"; exit $?' sh "$@" <in >out 2>&1 &
	job=$!
	exec 7>in
	for _ in $(seq 600); do
		! grep -qs '^pid\|no memory' out || break
		sleep 0.1
	done
	read -r pid list block < <(sed -n 's/^pid \([0-9]*\) list \(.*\) block \(.*\)/\1 \2 \3/p' out)
}

# ask LETTER: what the subject says to it
ask() {
	local before
	before=$(wc -l <out)

	echo "$1" >&7
	for _ in $(seq 600); do
		[ "$(wc -l <out)" = "$before" ] || break
		sleep 0.1
	done
	tail -n 1 out
}

end() {
	echo "$1" >&7
	exec 7>&-
	wait $job 2>/dev/null
}

# distinct FILE: how many pages of the block are in a file, which may have holes
distinct() {
	/usr/bin/python3 -c '
import os, re, sys
fd, at, seen = os.open(sys.argv[1], os.O_RDONLY), 0, set()
while True:
    try:
        at = os.lseek(fd, at, os.SEEK_DATA)
    except OSError:
        break
    data = os.pread(fd, 1 << 20, at)
    seen.update(re.findall(rb"page-\d{8}-of-the-block", data))
    at += len(data)
missing = [i for i in range(int(sys.argv[2])) if b"page-%08d-of-the-block" % i not in seen]
if missing:
    print("# %s: %d bytes, without page %d" % (sys.argv[1], at, missing[0]), file=sys.stderr)
print(len(seen))' "$1" $pages
}

# ulimit -v
begin bash -c "ulimit -v 2097152; exec $pw run -- $subject $mib"
same "under ulimit -v of 2 GiB it runs" "whole: yes" "$(ask c)"
same "forks" "whole in a child: yes" "$(ask f)"
same "and locks its memory" "whole and locked: yes" "$(ask l)"
end q
has "and what does not fit is refused" '^no memory' \
	"$(bash -c "ulimit -v 2097152; exec $pw run --lazy -- $subject 3000" </dev/null)"

# pmap and smaps
begin "$pw" run -- "$subject" $mib
rss=$(pmap -x "$pid" | awk '/pagewell$/ { sum += $3 } END { print sum }')
check "pmap -x shows what is there ($rss KiB)" test "$rss" -ge $((mib << 10)) \
	-a "$rss" -le $((mib * 9 / 8 << 10))
same "smaps_rollup has it, too" yes "$(awk -v rss="$rss" '
	$1 == "Rss:" { print ($2 >= rss && $2 < rss + 20000) ? "yes" : $2 }' /proc/$pid/smaps_rollup)"
check "and ps" test "$(ps -o rss= "$pid")" -ge "$rss"

# A debugger; it leaves shared mappings of files out of what gcore writes unless
# told not to.
echo 0x3b >"/proc/$pid/coredump_filter"
gdb -batch -nx -p "$pid" -ex 'print list->number' -ex 'print list->next->name' \
	-ex "x/s block + 4096 * 77" -ex 'set var list->next->number = 4711' \
	-ex 'print list->next->number' -ex 'set var list->next->number = 2' \
	-ex 'gcore live' >gdb 2>&1
has "gdb attaches and prints a number" '^\$1 = 1$' "$(cat gdb)"
has "a string" '^\$2 = "item 2"' "$(cat gdb)"
has "and a text in a block" '"page-00000077-of-the-block"' "$(cat gdb)"
has "and changes a value" '^\$3 = 4711' "$(cat gdb)"
same "gcore has the whole block" $pages "$(distinct live)"
gdb -batch -nx -ex 'print list->next->next->name' "$subject" live >gdb 2>&1
has "and the list" '^\$1 = "item 3"' "$(cat gdb)"
same "the process goes on" "whole: yes" "$(ask c)"
rm -f live

# A checkpoint
if [ -e /proc/self/map_files ] && criu check >/dev/null 2>&1; then
	mkdir dump
	criu dump -t "$pid" -D dump -j >criu 2>&1
	check "CRIU refuses" test $? != 0
	has "and says why" "Can't handle non-regular mapping on $pid's map" "$(cat criu)"
	same "the process goes on" "whole: yes" "$(ask c)"
else
	skip "CRIU refuses" "this kernel has not all that CRIU needs"
fi
end q

# Core dumps, by the kernel
pattern=$(cat /proc/sys/kernel/core_pattern)
echo "$tmp/core" >/proc/sys/kernel/core_pattern
ulimit -c unlimited

# dies LETTER: milliseconds from the letter to the end
dies() {
	local start
	start=$(date +%s%3N)

	end "$1" 2>/dev/null
	echo $(($(date +%s%3N) - start))
}

# plain LETTER, ours LETTER, larger LETTER: the same for a process of each kind
plain() {
	begin "$subject" $mib
	dies "$1"
}

ours() {
	begin "$pw" run -- "$subject" $mib
	dies "$1"
}

larger() {
	begin "$pw" run -- "$subject" $mib
	ask g >larger
	dies "$1"
}

# within TIMES KIND OTHER: KIND takes less than TIMES as long as OTHER. On a busy
# machine either may be unlucky now and then: the best of each counts.
within() {
	local times=$1 kind=$2 other=$3 try a b least_a=999999 least_b=999999

	for try in 1 2 3 4 5 6; do
		a=$($other a)
		b=$($kind a)
		echo "# try $try: $kind $b ms, $other $a ms"
		least_a=$((a < least_a ? a : least_a))
		least_b=$((b < least_b ? b : least_b))
		[ $least_b -ge $((least_a * times)) ] || return 0
	done
	return 1
}

for letter in a s; do
	ours $letter >/dev/null
	same "a core ($letter) has the whole block" $pages "$(distinct core)"
	check "and the list" grep -aq 'item 1000' core
	rm -f core
done
check "takes the time of another heap's" within 2 ours plain
rm -f core
# Its mapping is 11 times as large, and the kernel asks for each page of it.
check "of a heap that was larger, no more than that" within 11 larger ours
same "which is whole" "whole after that: yes" "$(cat larger)"
same "and the core as large" $pages "$(distinct core)"
rm -f core
echo "$pattern" >/proc/sys/kernel/core_pattern

# A profiler. The first event patches the scheduler's code, and a second after
# the last one it is patched back: where a processor is emulated, another one may
# meanwhile run into a breakpoint that is there no more (Oops: int3).
processors() {
	for f in /sys/devices/system/cpu/cpu[1-9]*/online; do
		[ ! -e "$f" ] || echo "$1" >"$f"
	done
}
processors 0
perf record -q -e page-faults -c 1 -d -o perf.data "$pw" run --huge never -- \
	"$subject" $mib </dev/null >out 2>perf.err
block=$(sed -n 's/.* block //p' out)
perf script -i perf.data -F addr >addresses 2>>perf.err
check "perf record -d has the addresses of faults in the block" /usr/bin/python3 -c '
import sys
start = int(sys.argv[1], 16)
hits = sum(start <= int(line, 16) < start + int(sys.argv[2]) for line in open("addresses"))
print("# %d faults" % hits)
sys.exit(hits < 10)' "$block" $((mib << 20))
if perf mem record -o mem.data -- "$pw" run -- "$subject" 1 </dev/null >mem 2>&1; then
	has "perf mem knows where it loads from" pagewell \
		"$(perf mem -i mem.data report --stdio --sort symbol_daddr,dso_daddr 2>&1)"
else
	skip "perf mem" "this processor has no events for loads and stores"
fi
sleep 2
processors 1
finish
