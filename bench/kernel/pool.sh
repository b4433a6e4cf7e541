#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# pool.sh - instructions of the pool's operations, one line each
#
#	scripts/vm --icount --no-module -- bench/kernel/pool.sh
#
# See selftests/module/pool_bench.c.
set -eu
cd "$(dirname "$0")/../.."

sleep "${1:-20}"	# what the boot left to do
echo 0 >/proc/sys/kernel/watchdog
insmod "build/$(uname -r)/pagewell_test.ko" test=bench floor_mb=64 max_mb=256 zero_mbps=0
rmmod pagewell_test
dmesg | sed -n 's/.*pagewell_test: bench //p'
