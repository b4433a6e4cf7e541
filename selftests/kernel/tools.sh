#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The pagewell command with the module: what it sets, shows and refuses.
set -u
cd "$(dirname "$0")/../.." || exit 1
. selftests/tap.sh

py=/usr/bin/python3
tmp=$(mktemp -d)
chmod 755 "$tmp"
# Where nobody may look: the tree may lie in somebody's home.
cp build/pagewell build/libpagewell.so "$tmp/"
pw=$tmp/pagewell
trap 'rm -rf "$tmp"; kill $(jobs -p) 2>/dev/null; chmod 666 /dev/pagewell' EXIT

as_nobody() {
	setpriv --reuid=65534 --regid=65534 --clear-groups "$@"
}

# A process with a heap, to be looked at: 40 MiB touched of 64 at most.
$pw run --limit 64M -- $py -c 'import time; a = b"x" * (40 << 20); time.sleep(1000)' &
pid=$!
for _ in $(seq 100); do
	[ "$($pw stat --json | $py -c '
import json, sys
print(sum(h["resident"] for h in json.load(sys.stdin)["heaps"]) >> 20)')" -lt 40 ] || break
	sleep 0.1
done

# run
has "run puts the heap on the device" '/dev/pagewell' "$($pw run -- cat /proc/self/maps)"
same "run hands the environment over" "67108864 never lazy device" "$($pw run --limit 64M \
	--huge never --lazy -- env 2>/dev/null | sed -n 's/^PAGEWELL_//p' | sort >"$tmp/env"
	for k in LIMIT HUGE COMMIT BACKEND; do sed -n "s/^$k=//p" "$tmp/env"; done | xargs)"
has "run keeps what was preloaded" "libpagewell.so:/lib/x86_64-linux-gnu/libm.so.6" \
	"$(LD_PRELOAD=/lib/x86_64-linux-gnu/libm.so.6 $pw run -- sh -c 'echo $LD_PRELOAD')"
$pw run -- sh -c 'exit 42'
same "run passes the exit status" 42 $?
$pw run -- sh -c 'kill -9 $$'
same "run passes the signal" 137 $?
$pw run --limit 16M -- $py -c 'bytearray(64 << 20)' 2>"$tmp/err"
has "beyond the limit malloc fails" '^MemoryError' "$(cat "$tmp/err")"
chmod 600 /dev/pagewell
as_nobody $pw run -- true 2>"$tmp/err"
same "run without permission: 125" 125 $?
has "and says so" '^pagewell: no permission to open /dev/pagewell' "$(cat "$tmp/err")"
chmod 666 /dev/pagewell
same "anyone may run with permission" "" "$(as_nobody $pw run -- true 2>&1)"
cat >"$tmp/static.c" <<'END'
int main(void) { return 0; }
END
if gcc -static -o "$tmp/static" "$tmp/static.c" 2>/dev/null; then
	has "run warns about a static program" 'is statically linked' \
		"$($pw run -- "$tmp/static" 2>&1)"
else
	skip "run warns about a static program" "no static libc"
fi

# stat
has "stat shows the process" "^ *$pid python3 +64\.0M" "$($pw stat)"
has "stat PID shows it" "^ *$pid python3" "$($pw stat $pid)"
$pw stat $$ 2>"$tmp/err"
same "stat of a process without a heap fails" 1 $?
same "in one line" "pagewell: process $$ has no heap on our pages" "$(cat "$tmp/err")"
$pw stat --json $pid >"$tmp/json"
check "stat --json is right" $py - "$tmp/json" "$pid" <<'END'
import json, re, sys
d = json.load(open(sys.argv[1]))
h, = d["heaps"]
assert h["pid"] == int(sys.argv[2]) and h["comm"] == "python3", h
assert h["limit"] == 64 << 20 and h["resident"] >= 40 << 20 <= h["committed"], h
assert re.fullmatch("0x[0-9a-f]+", h["base"]) and h["commit"] == "strict", h
p = d["pool"]
assert p["held"] == p["used"] + p["free"] and p["used"] >= h["resident"], p
assert p["free"] == p["avail"] + p["promised"], p
assert d["counters"]["fault_pages"] >= h["fault_pages"] >= 10240, d
END
has "without a limit it is null" '"limit":	null' "$($pw run -- $pw stat --json)"
$pw stat --openmetrics >"$tmp/om"
check "stat --openmetrics is OpenMetrics" $py - "$tmp/om" "$pid" <<'END'
import sys
sys.path.insert(0, "/usr/lib/python3/dist-packages")
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse
text = open(sys.argv[1]).read()
families = {f.name: f for f in parse(text)}
limit, = families["pagewell_heap_limit_bytes"].samples
assert limit.value == 64 << 20 and limit.labels["pid"] == sys.argv[2], limit
assert families["pagewell_faults"].type == "counter"
assert families["pagewell_pool_held_bytes"].samples[0].value > 0
assert families["pagewell_zero_ahead_seconds"].type == "counter"
assert families["pagewell_heap_resident_bytes"].samples[0].value >= 40 << 20
END
has "ordinary users may look" "^ *$pid python3" "$(as_nobody $pw stat)"
has "but not at addresses" '^0$' "$(as_nobody $pw stat --json | grep -c '"base"')"

# top
$pw top -b -n 2 -d 0.1 >"$tmp/top"
same "top -b looks twice" 2 "$(grep -c '^pool ' "$tmp/top")"
has "top shows the process" "^ *$pid .* python3\$" "$(cat "$tmp/top")"
same "a long rest is long" 1 "$(timeout 2 $pw top -b -n 2 -d 4295 | grep -c '^pool ')"
(sleep 1; echo -n q) | TERM=xterm timeout 20 script -qec \
	"stty rows 4 cols 20; $pw top" /dev/null >"$tmp/top"
same "top ends well with q" 0 "${PIPESTATUS[1]}"
has "it draws on a small terminal" "$pid" "$(cat "$tmp/top")"
same "top needs a terminal" "pagewell: top draws on a terminal; -b prints instead" \
	"$($pw top 2>&1 >/dev/null)"

# map
map=$($pw map $pid)
has "map shows the heap" "^process $pid \(python3\), heap [0-9]+ at 0x" "$map"
has "map shows where it lies" '^[0-9a-f]{16}-[0-9a-f]{16} rw-s +[0-9.]+M +4[0-9.]+M' "$map"
$pw map $$ 2>/dev/null
same "map of a process without a heap fails" 1 $?
# filled FILE: something is in it, before long
filled() {
	for _ in $(seq 100); do
		[ ! -s "$1" ] || return 0
		sleep 0.1
	done
	return 1
}
mkdir "$tmp/jail"
unshare -m sh -c "mount --rbind / '$tmp/jail' && exec $pw run -- chroot '$tmp/jail' \
	$py -c 'import time; print(flush=True); time.sleep(1000)'" >"$tmp/jailed" &
jailed=$!
check "a process in another root" filled "$tmp/jailed"
has "its mapping is called after what leads there" " $tmp/jail/dev/pagewell\$" \
	"$(cat /proc/$jailed/maps)"
area='^[0-9a-f]{16}-[0-9a-f]{16} rw-s '
has "map shows it" "$area" "$($pw map $jailed 2>&1)"
has "also to whom addresses are not told" "$area" \
	"$(setpriv --bounding-set -sys_admin --inh-caps -sys_admin $pw map $jailed 2>&1)"
kill $jailed
wait $jailed 2>/dev/null
# The command is a file of this name, too.
mkdir "$tmp/dev"
cp build/pagewell build/libpagewell.so "$tmp/dev/"
"$tmp/dev/pagewell" run -- "$tmp/dev/pagewell" events >/dev/null &
command=$!
for _ in $(seq 100); do
	grep -q "rw-s .*/dev/pagewell" /proc/$command/maps && break
	sleep 0.1
done
same "map shows nothing else" "" "$($pw map $command 2>&1 | grep '^[0-9a-f]*-' | grep -vE "$area")"
kill $command
wait $command 2>/dev/null
# shellcheck disable=SC2046  # words
mknod "$tmp/node" c $(tr : ' ' </sys/class/misc/pagewell/dev)
chmod 666 "$tmp/node"
setpriv --reuid=65534 --regid=65534 --clear-groups $py - "$tmp/node" >"$tmp/other" <<'END' &
import mmap, os, sys, time
fd = os.open(sys.argv[1], os.O_RDWR)
heap = mmap.mmap(fd, 2 << 20)
print(flush=True)
time.sleep(1000)
END
other=$!
check "a process that knows the device by another name" filled "$tmp/other"
has "map finds the heap by its address" "$area" "$($pw map $other 2>&1)"
as_nobody $pw map $other >/dev/null 2>"$tmp/err"
same "who is not told that: 1" 1 $?
same "and why" "pagewell: the heap of process $other is not found in /proc/$other/smaps" \
	"$(cat "$tmp/err")"
kill $other
wait $other 2>/dev/null

# explain
has "a small block comes from memory that is there" 'no system call for memory' \
	"$($pw explain 100)"
text=$($pw explain 8M)
has "a large one is mapped" 'above the mmap threshold' "$text"
has "all of it is put in place" 'resident [0-9.]+[KM] -> 8\.0M' "$text"
has "and goes back" 'its pages went back to the pool' "$text"
has "what cannot be had is refused" 'refused, errno ENOMEM' "$($pw explain 900T)"

# set
max=$(sed -n 's/^max_pages: //p' /sys/kernel/debug/pagewell/pool)
check "set pool-max" $pw set pool-max 200M
same "takes effect" 51200 "$(sed -n 's/^max_pages: //p' /sys/kernel/debug/pagewell/pool)"
PAGEWELL_COMMIT=lazy $pw explain 400M >/dev/null 2>"$tmp/err"
same "explain of more than the pool may hold: 1" 1 $?
same "and says how that ended" \
	'pagewell: the process to be measured died at "touch all of it": Bus error' \
	"$(cat "$tmp/err")"
$pw set pool-max 1M 2>"$tmp/err"
same "below the floor is refused" 1 $?
has "with a reason" "cannot set pool-max: .*floor" "$(cat "$tmp/err")"
as_nobody $pw set pool-max 300M 2>"$tmp/err"
same "ordinary users may not set" 1 $?
same "and are told why" "pagewell: cannot set pool-max: you need CAP_SYS_ADMIN (be root)" \
	"$(cat "$tmp/err")"
check "set back" $pw set pool-max $((max * 4))K

# events
$pw events >"$tmp/events" &
events=$!
for _ in $(seq 50); do
	$pw run --limit 16M -- $py -c 'bytearray(64 << 20)' 2>/dev/null
	[ ! -s "$tmp/events" ] || break
	sleep 0.1
done
has "events tells of a limit, at once" \
	"^[0-9T:+-]+ heap-limit pid=[0-9]+ comm=python3 heap=[0-9]+ limit=16777216 committed=[0-9]+ asked=[0-9]+\$" \
	"$(cat "$tmp/events")"
kill $events
wait $events 2>/dev/null
for to in "/dev/full No space left on device" "&- Bad file descriptor"; do
	eval "exec timeout 20 $pw events >${to%% *}" 2>"$tmp/err" &
	events=$!
	for _ in $(seq 50); do
		kill -0 $events 2>/dev/null || break
		$pw run --limit 16M -- $py -c 'bytearray(64 << 20)' 2>/dev/null
		sleep 0.1
	done
	wait $events
	same "events >${to%% *} ends with the first event" 1 $?
	same "and says why" "pagewell: cannot write: ${to#* }" "$(cat "$tmp/err")"
done
for c in "top -b -n 1" stat limits; do
	$pw $c >&- 2>"$tmp/err"
	same "$c without a standard output: 1" 1 $?
	same "and says why" "pagewell: cannot write: Bad file descriptor" "$(cat "$tmp/err")"
done

# Another network namespace
for c in stat "stat $pid" "top -b -n 1" events "set pool-max 1G" "explain 100" "map $pid"; do
	unshare -n $pw $c >/dev/null 2>"$tmp/err"
	same "$c in another network namespace: 1" 1 $?
	same "and says why" \
		"pagewell: the module is loaded, but answers in the initial network namespace only" \
		"$(cat "$tmp/err")"
done
check "run runs there" unshare -n $pw run -- true

# Without the module: one line, exit 1 (run: 125)
kill $pid
wait $pid 2>/dev/null
$pw events >/dev/null 2>"$tmp/err" &
events=$!
TERM=xterm timeout 20 script -qec "$pw top -d 0.1" "$tmp/script" </dev/null >/dev/null 2>&1 &
top=$!
sleep 1
for _ in $(seq 50); do
	rmmod pagewell 2>/dev/null && break
	sleep 0.1
done
wait $top
# What it was asking for just then is one of several things.
same "so does top, and says why when it has left its screen" 'pagewell: ' \
	"$(grep -ao '\[?1049.\|pagewell: ' "$tmp/script" | tail -n 1)"
wait $events
same "events ends when the module goes" "pagewell: the module was unloaded" "$(cat "$tmp/err")"
for c in stat "stat $pid" "top -b -n 1" events "set pool-max 1G" "explain 100" "map 1"; do
	$pw $c >"$tmp/out" 2>"$tmp/err"
	same "$c without the module: 1" 1 $?
	has "in one line that says how to load it" 'the module is not loaded' "$(cat "$tmp/err")"
	same "and no other" "1 0" "$(wc -l <"$tmp/err") $(wc -l <"$tmp/out")"
done
$pw run -- true 2>"$tmp/err"
same "run without the module: 125" 125 $?
has "and says how to load it" 'the module is not loaded' "$(cat "$tmp/err")"
same "run --fallback runs" hi "$($pw run --fallback -- echo hi 2>&1)"
insmod "${PAGEWELL_KO:-build/$(uname -r)/pagewell.ko}"
check "and with the module again" $pw run -- true

finish
