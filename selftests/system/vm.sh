#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# scripts/vm: what goes in, what comes out, and that nothing stays behind.
set -u
cd "$(dirname "$0")/../.." || exit 1
. selftests/tap.sh

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
# Whatever the tool leaves in a temporary directory would be found here.
export TMPDIR=$tmp/left
mkdir "$TMPDIR"

vm() {
	scripts/vm --timeout 400 "$@"
}

# Runs in the background what must not end by itself; sets $vm and $qemu.
vm_background() {
	# What is there of the last one is no sign of this one.
	rm -f "$tmp/up"
	scripts/vm --no-module -- sh -c 'echo up; sleep 1000' >"$tmp/up" 2>"$tmp/err" &
	vm=$!
	for _ in $(seq 1800); do
		[ ! -s "$tmp/up" ] || break
		sleep 0.1
	done
	qemu=$(pgrep -P $vm -x qemu-system-x86)
	check "a command runs in the background ($1)" test -n "$qemu" -a -s "$tmp/up"
}

gone() {
	for _ in $(seq 50); do
		# A container's process 1 may leave it a zombie.
		grep -qs '^State:.*[^Z] (' "/proc/$1/status" || return 0
		sleep 0.1
	done
	return 1
}

# Streams, status, environment, directory
head -c 1000000 /dev/urandom >"$tmp/in"
cd docs || exit 1
FOO=$'a b"c\'\n$d' ../scripts/vm --no-module --timeout 400 -- bash -c \
	'cat; pwd >&2; printf "%s\n" "$FOO" "$HOME" "$#" "$2" >&2; exit 42' x 1 "t w o" \
	<"$tmp/in" >"$tmp/out" 2>"$tmp/err"
same "exit status" 42 $?
cd ..
check "input and output, byte for byte" cmp "$tmp/in" "$tmp/out"
same "directory, environment, home and arguments, on stderr" \
	"$PWD/docs"$'\na b"c\'\n$d\n'"$HOME"$'\n2\nt w o' "$(cat "$tmp/err")"

# Two at a time; death by a signal
vm --no-module -k 6.1 -- sh -c 'sleep 3; kill -9 $$' &
first=$!
out=$(vm --no-module -k 6.12 -- sh -c 'sleep 3; uname -r' </dev/null)
has "a second machine at the same time" '^6\.12\.' "$out"
wait $first
same "death by a signal" 137 $?

vm --no-module -- nosuchprogram 2>"$tmp/err"
same "a command that is not there" 127 $?
has "and the error says so" nosuchprogram "$(cat "$tmp/err")"

vm --no-module -- yes 2>/dev/null | head -n 1 >/dev/null
same "nobody reads the output" 141 "${PIPESTATUS[0]}"

same "and inside" 141 "$(vm --no-module -- bash -c \
	'yes 2>/dev/null | head -n 1 >/dev/null; echo "${PIPESTATUS[0]}"' </dev/null)"

# Inside
for k in 6.1 6.12; do
	out=$(vm -k $k --smp 1 --mem 1024 --pool 16 --pool-max 128 -- bash -c '
		cat /sys/kernel/debug/pagewell/pool
		echo "cpus: $(nproc)"
		echo "release: $(uname -r)"
		test -c /dev/pagewell && echo "device: yes"
		test -d /sys/kernel/tracing/events/sched && echo "tracefs: yes"
		ping -c 1 -W 5 127.0.0.1 >/dev/null 2>&1 || (</dev/tcp/127.0.0.1/9) 2>&1 |
			grep -q refused && echo "loopback: yes"
		echo x >/tmp/pagewell-vm-test && echo "tmp: yes"
		echo x >'"$PWD"'/pagewell-vm-test && echo "tree: yes"
		truncate -s 64M /tmp/img && mkfs.ext4 -q /tmp/img && modprobe loop &&
			mkdir /tmp/mnt && mount -o loop /tmp/img /tmp/mnt && echo "ext4: yes"
		test -w /dev/shm && echo "shm: yes"
		echo "ptys: $(script -qc tty /dev/null | tr -d "\r")"
		bash -c "echo substitution: \$(cat <(echo yes))"' 2>&1 </dev/null)
	for line in "floor_pages: 4096" "max_pages: 32768" "cpus: 1" "device: yes" \
			"tracefs: yes" "loopback: yes" "tmp: yes" "tree: yes" "ext4: yes" \
			"shm: yes" "ptys: /dev/pts/[0-9]" "substitution: yes" "release: $k\.[0-9]"; do
		has "$k: $line" "^$line" "$out"
	done
done
check "writes stay inside" test ! -e /tmp/pagewell-vm-test -a ! -e pagewell-vm-test

# Both processors may stay in an int3 of the scheduler's, if that is patched.
out=$(vm -k 6.1 --pool 16 -- bash -c '
	while :; do echo x; done | cat >/dev/null &
	for i in $(seq 200); do
		echo $((i % 2)) >/sys/kernel/tracing/events/pagewell/enable
	done
	echo "$i turns"
	kill %1' </dev/null)
same "tracepoints on and off, under load" "200 turns" "$out"

out=$(vm --no-module --icount -- sh -c 'nproc; grep -c erms /proc/cpuinfo' </dev/null)
same "counting instructions: one plain processor" $'1\n0' "$out"

out=$(printf 'tty; uname -r; exit 3\n' |
	script -qec "scripts/vm --no-module --timeout 400" /dev/null)
same "a shell: its exit status" 3 $?
# What was typed, and the prompt, may stand before it on the line.
has "a shell: on a terminal" '/dev/pts/[0-9]' "$out"

# Reports of the kernel
mkdir "$tmp/warn"
cat >"$tmp/warn/warn.c" <<'END'
#include <linux/module.h>
static int __init warn_init(void)
{
	WARN_ON(1);
	return 0;
}
module_init(warn_init);
MODULE_LICENSE("GPL");
END
echo 'obj-m := warn.o' >"$tmp/warn/Kbuild"
make -s -C "$(scripts/kernel build 6.12)" M="$tmp/warn" CONFIG_DEBUG_INFO_BTF_MODULES= modules
vm --no-module -- sh -c "insmod $tmp/warn/warn.ko; echo went on" >"$tmp/out" 2>"$tmp/err"
same "a WARNING makes it 99" 99 $?
same "and the command goes on" "went on" "$(cat "$tmp/out")"
has "and the report is shown" 'WARNING: .*warn_init' "$(cat "$tmp/err")"

scripts/vm --no-module --timeout 10 -- sh -c "insmod $tmp/warn/warn.ko; sleep 1000" 2>"$tmp/err"
same "a WARNING and no end: 99, too" 99 $?
has "and both are said" 'no end after 10 seconds' "$(cat "$tmp/err")"
has "once" '^1$' "$(grep -c 'WARNING: .*warn_init' "$tmp/err")"

vm --no-module -- sh -c 'echo c >/proc/sysrq-trigger; sleep 1000' 2>"$tmp/err"
same "a panic makes it 99" 99 $?
has "and is shown" 'Kernel panic' "$(cat "$tmp/err")"

vm --no-module -- sh -c 'echo "x: MDS CPU bug present, WARNING: no BUG: here" >/dev/kmsg'
same "a line about bugs is no report" 0 $?

# A machine that stands still while it boots is another one's turn.
# Its input is there for that one, too.
seq 100000 >"$tmp/in"
scripts/vm --no-module --timeout 200 -- sh -c 'uname -r; cat' <"$tmp/in" >"$tmp/out" 2>"$tmp/err" &
vm=$!
for _ in $(seq 600); do
	qemu=$(pgrep -P $vm -x qemu-system-x86)
	[ -z "$qemu" ] || break
	sleep 0.1
done
kill -STOP "$qemu"
wait $vm
same "a boot that stands still is tried again" 0 $?
has "and the command has run" '^6\.12\.' "$(head -n 1 "$tmp/out")"
check "with all of its input" cmp "$tmp/in" <(tail -n +2 "$tmp/out")
has "and it is said" 'not a word for 40 seconds' "$(cat "$tmp/err")"
check "nothing is left of the first" gone "$qemu"

# The end, early
scripts/vm --no-module --timeout 5 -- sleep 1000 2>"$tmp/err"
same "time-out" 124 $?
has "and it is said" 'no end after 5 seconds' "$(cat "$tmp/err")"
has "and where an idle processor was" 'processor [01] was in the kernel at ffff' "$(cat "$tmp/err")"
scripts/vm --no-module --timeout 5 -- sh -c 'while :; do :; done' 2>"$tmp/err"
has "and a busy one" 'processor [01] was in a program at' "$(cat "$tmp/err")"

for end in INT:130 TERM:143 KILL:137 QUIT:124; do
	vm_background "SIG${end%:*}"
	kill -"${end%:*}" $vm
	wait $vm 2>/dev/null
	same "status after SIG${end%:*}" "${end#*:}" $?
	check "no QEMU after SIG${end%:*}" gone "$qemu"
done
has "SIGQUIT: where it was is said" 'told to end' "$(cat "$tmp/err")"
same "no files left" "" "$(ls "$TMPDIR")"

# What is wrong is said in a line
mkdir -p "$tmp/tree"
cp -r scripts "$tmp/tree/"
"$tmp/tree/scripts/vm" -- true 2>"$tmp/err"
same "module not built: status" 125 $?
has "module not built: says what to do" 'pagewell\.ko; run make' "$(cat "$tmp/err")"

while read -r args; do
	# shellcheck disable=SC2086  # words
	scripts/vm $args >/dev/null 2>"$tmp/err"
	same "scripts/vm $args: status 2, one line" "2 1" "$? $(wc -l <"$tmp/err")"
done <<'END'
-k 7.0 -- true
--smp 0 -- true
--smp x -- true
--mem 1 -- true
--timeout -5 -- true
--pool
--bogus -- true
true
--
END

finish
