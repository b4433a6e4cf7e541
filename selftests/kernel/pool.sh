#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The page pool from inside the kernel: pagewell_test.ko, see
# selftests/module/pool_test.c.
set -u
cd "$(dirname "$0")/../.." || exit 1
. selftests/tap.sh

ko=build/$(uname -r)/pagewell_test.ko
secs=${POOL_SECS:-6}

# pool NAME PARAMETER...: run a test, and unload: the pool must be whole
pool() {
	local name=$1
	shift

	check "$name" insmod "$ko" "$@"
	dmesg | grep 'pagewell_test: ' | grep -A9 -E 'wrong: |operations' | tail -n 9 | sed 's/^/# /'
	if [ -d /sys/module/pagewell_test ]; then
		check "$name, unloaded" rmmod pagewell_test
	fi
}

pool "pages of both sizes, room to grow" test=random secs="$secs" max_mb=96
pool "pages of both sizes, others hold some" test=random secs="$secs" max_mb=64 hold=1
pool "pages of both sizes, hardly any" test=random secs="$secs" floor_mb=4 max_mb=8 threads=4
pool "the last page, promised to one only" test=last secs="$secs" floor_mb=2 max_mb=4 threads=4
pool "the last page, growing and shrinking" test=last secs="$secs" floor_mb=2 max_mb=8 \
	threads=4 pool_idle_s=1

# A processor that comes and goes, with what is on its lists.
cpu=/sys/devices/system/cpu/cpu1/online
if [ -e $cpu ]; then
	while sleep 0.3; do echo 0 >$cpu; sleep 0.3; echo 1 >$cpu; done 2>/dev/null &
	pool "the last page, processors come and go" test=last secs="$secs" floor_mb=2 \
		max_mb=4 threads=4
	pool "pages of both sizes, processors come and go" test=random secs="$secs" \
		floor_mb=4 max_mb=16
	kill $!
	wait
	echo 1 >$cpu 2>/dev/null
else
	skip "processors come and go" "there is one that cannot go"
fi

pool "zeroing on free" test=random secs="$secs" zero_on_free=1
pool "a ceiling that comes and goes" test=return floor_mb=4 max_mb=64
pool "pages that others held, replaced" test=parts floor_mb=16 max_mb=16 pool_idle_s=1
pool "the same with room to grow" test=parts floor_mb=16 max_mb=64 pool_idle_s=1
pool "what a processor keeps at hand" test=marks floor_mb=16 max_mb=16
pool "numbers that are read while they change" test=numbers secs=2
pool "nothing is kept of what is not found" test=debt floor_mb=4 max_mb=4
pool "no list is emptied in vain all the time" test=vain floor_mb=16 max_mb=16
pool "nor by reclaim that finds nothing idle" test=scan floor_mb=4 max_mb=32
pool "more promised than the ceiling: no credit, until it is less" test=shut floor_mb=16 max_mb=64
pool "nobody is refused what a try for 2 MiB gives back" test=tries secs="$secs" floor_mb=4 \
	max_mb=4
pool "2 MiB pages after orders of all kinds" test=order floor_mb=64 max_mb=1024
check "an unknown test is refused" eval '! insmod $ko test=nonsense 2>/dev/null'
finish
