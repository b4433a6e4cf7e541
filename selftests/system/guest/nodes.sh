#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Where the pool's pages come from on two nodes: pagewell_test.ko, test=node, and
# programs that are bound to one. With the argument "bare", where one of the nodes has
# no memory.
set -u
cd "$(dirname "$0")/../../.." || exit 1
. selftests/tap.sh

ko=build/$(uname -r)/pagewell_test.ko

# pool NAME PARAMETER...: a test that knows no policy
pool() {
	local name=$1
	shift

	check "$name" insmod "$ko" "$@"
	dmesg | grep 'pagewell_test: ' | tail -n 5 | sed 's/^/# /'
	rmmod pagewell_test
}

if [ "${1-}" = bare ]; then
	pool "a processor without memory has lists and a stock" test=bare floor_mb=64 \
		max_mb=64 zero_stock_mb=64
	finish
	exit
fi

# under MODE NODES COMMAND...: after set_mempolicy(MODE, NODES)
under() {
	/usr/bin/python3 -c '
import ctypes, os, sys
nodes = ctypes.c_ulong(int(sys.argv[2]))
if ctypes.CDLL(None).syscall(238, int(sys.argv[1]), ctypes.byref(nodes), 64):
    sys.exit("set_mempolicy failed")
os.execvp(sys.argv[3], sys.argv[3:])' "$@"
}

# node NAME MODE NODES PARAMETER...: what such a task gets
node() {
	local name=$1 mode=$2 nodes=$3
	shift 3

	check "$name" under "$mode" "$nodes" insmod "$ko" test=node floor_mb=64 "$@"
	dmesg | grep 'pagewell_test: ' | tail -n 5 | sed 's/^/# /'
	rmmod pagewell_test
}

node "pages come from the processor's node" 0 0
node "or from where MPOL_BIND says" 2 2 node=1
node "or MPOL_PREFERRED" 1 1 node=0
node "or from all in turn" 3 3 node=-2

pool "the pool grows where pages are wanted" test=share floor_mb=64 max_mb=256 \
	pool_idle_s=3600
pool "and at its ceiling gives up others for them" test=share floor_mb=64 max_mb=64 \
	pool_idle_s=3600
pool "meanwhile the last page is promised to one only" test=last secs=4 floor_mb=2 max_mb=4 \
	threads=4 pool_idle_s=1
pool "and pages of both sizes are whole" test=random secs=4 floor_mb=16 max_mb=64
pool "no list is emptied in vain all the time" test=vain floor_mb=64 max_mb=64
pool "zeroed pages of the other node are not zeroed again" test=far floor_mb=64 max_mb=64 \
	zero_stock_mb=64

# on_node NODE: the thread of a node keeps to its processors, and has done something
on_node() {
	local pid ran
	pid=$(pgrep -x "pagewell_zero/$1") || return
	read -r ran _ <"/proc/$pid/schedstat"
	tap_same "$(cat "/sys/devices/system/node/node$1/cpulist")" \
		"$(sed -n 's/^Cpus_allowed_list:\t//p' "/proc/$pid/status")" && [ "$ran" -gt 1000000 ]
}

check "each node has its part of the stock" insmod "$ko" test=zero floor_mb=64 max_mb=64
dmesg | grep 'pagewell_test: zero: ' | sed 's/^/# /'
check "zeroed by a thread of its own on node 0" on_node 0
check "and on node 1" on_node 1
rmmod pagewell_test

# touch MB: has a heap of so much and tells how many pages of it are on either node
touch='
import re, sys
size = int(sys.argv[1]) << 20
mine = bytearray(size)
mine[::4096] = bytes(size // 4096)
nodes = [0, 0]
for line in open("/proc/self/numa_maps"):
    if "/dev/pagewell" in line:
        for node, pages in re.findall(r" N(\d)=(\d+)", line):
            nodes[int(node)] += int(pages)
print(*nodes)'

# bound MB: the same bound to node 1, when no node has anything to reclaim
bound() {
	sync
	echo 3 >/proc/sys/vm/drop_caches
	read -r far near < <(under 2 2 build/pagewell run -- /usr/bin/python3 -c "$touch" "$1")
	echo "# of $1 MiB $((near >> 8)) on the node, $((far >> 8)) on the other"
	[ $((far + near)) -ge $(($1 << 8)) ]
}

is_near() {
	local far near
	bound "$1" && [ $((far * 10)) -lt "$near" ]
}

# spares MB: both nodes have some, and the one that it is bound to keeps some
spares() {
	local far near
	bound "$1" && [ "$far" -gt 0 ] && [ "$near" -gt $(($1 << 7)) ]
}

# refused MB: in a cpuset of node 1, nothing comes from the other
refused() {
	local group=/sys/fs/cgroup/pagewell_nodes

	echo +cpuset >/sys/fs/cgroup/cgroup.subtree_control && mkdir -p $group &&
		echo 1 >$group/cpuset.mems || return
	echo 3 >/proc/sys/vm/drop_caches
	sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' $group build/pagewell run -- \
		/usr/bin/python3 -c "$touch" "$1" 2>&1 | tail -n 1 | grep -x MemoryError
}

not_killed() {
	! dmesg | grep -i "out of memory\|oom-kill"
}

node_mb=$(awk '/MemTotal/ { print int($4 / 1024) }' /sys/devices/system/node/node1/meminfo)
check "the module is loaded" insmod "build/$(uname -r)/pagewell.ko" pool_mb=64 \
	pool_max_mb=$((node_mb * 3 / 2))
check "a heap has pages of the node that it is bound to" is_near $((node_mb / 3))
check "and of others when that has none to spare" spares $((node_mb * 5 / 4))
check "again" spares $((node_mb * 5 / 4))
check "in a cpuset of one node that is refused" refused $((node_mb * 5 / 4))
check "nobody is killed for what the node lacks" not_killed
rmmod pagewell
finish
