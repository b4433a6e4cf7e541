#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The scripts that build, install and run tests, as far as they need no machine.
set -u
cd "$(dirname "$0")/../.." || exit 1
. selftests/tap.sh

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# scripts/reports: what is one, and what is none
reports=$(grep -E -f scripts/reports <<'END'
WARNING: CPU: 0 PID: 66 at module/pool.c:12 pw_pool_free+0x1/0x2 [pagewell]
BUG: unable to handle page fault for address: ffffdead
Oops: 0000 [#1] PREEMPT SMP NOPTI
general protection fault: 0000 [#1] PREEMPT SMP
general protection fault, probably for non-canonical address 0xdead000000000100: 0000 [#1] PREEMPT SMP
Oops: general protection fault, probably for non-canonical address 0xdead000000000100: 0000 [#1] PREEMPT SMP
invalid opcode: 0000 [#2] SMP
END
)
same "reports are known" 7 "$(wc -l <<<"$reports")"
same "other lines are not" "" "$(grep -E -f scripts/reports <<'END'
MDS: Mitigation: Clear CPU buffers; no BUG: here, nor a WARNING:
pagewell: 64 MiB held: 0000 of them in use
x86/fpu: xstate_offset[2]:  576, xstate_sizes[2]: 256
END
)"

# scripts/check
scripts/check --help >"$tmp/out" 2>"$tmp/err"
same "check --help succeeds" 0 $?
has "on stdout" '^usage: scripts/check ' "$(cat "$tmp/out")"
same "and there only" "" "$(cat "$tmp/err")"
scripts/check 7.0 >"$tmp/out" 2>"$tmp/err"
same "a kernel there is not: 2" 2 $?
has "on stderr" '^usage: scripts/check ' "$(cat "$tmp/err")"
# Another tree, where nothing is built.
mkdir "$tmp/tree"
cp -r Makefile scripts selftests userlib tools bench module "$tmp/tree/"
rm -f "$tmp"/tree/selftests/*/*.sh
env -u UNIT_TESTS -u KERNEL_TESTS "$tmp/tree/scripts/check" --only malloc_fork host >"$tmp/out" 2>&1
same "programs that make did not hand over are not left out" 1 $?
has "nor those that were not built" '^FAIL host  build/selftests/unit/malloc_fork was not built' \
	"$(cat "$tmp/out")"
env -u UNIT_TESTS -u KERNEL_TESTS "$tmp/tree/scripts/check" --only killstorm 6.12 >"$tmp/out" 2>&1
has "the kernel's neither" '^FAIL 6.12  build/selftests/kernel/killstorm was not built' \
	"$(cat "$tmp/out")"

# scripts/module
mkdir "$tmp/a b"
cp -r scripts "$tmp/a b/"
"$tmp/a b/scripts/module" / >"$tmp/out" 2>"$tmp/err"
same "a tree with a space in its path: 1" 1 $?
same "in a line" "module: the kernel's build takes no path with a space in it: /, $tmp/a b" \
	"$(cat "$tmp/err")"

# scripts/install
mkdir -p "$tmp"/root/usr/local/{bin,include,lib,share/man/man4} "$tmp/root/usr/src"
touch "$tmp/root/usr/local/share/man/man4/other.4"
look() {
	(cd "$tmp/root" && find . | sort)
}
before=$(look)
check "install installs" scripts/install install "$tmp/root" /usr/local 1.0
has "man pages, for instance" 'man4/pagewell\.4$' "$(look)"
check "uninstall takes it away" scripts/install uninstall "$tmp/root" /usr/local 1.0
same "all of it, and nothing else" "$before" "$(look)"
for prefix in /usr/local /opt/a /opt/b; do
	scripts/install install "$tmp/root" $prefix 1.0
done
scripts/install uninstall "$tmp/root" /usr/local 1.0
rm "$tmp/root/opt/b/bin/pagewell"
has "the module's sources stay while another prefix is there" 'src/pagewell-1\.0/module/fault\.c$' \
	"$(look)"
scripts/install uninstall "$tmp/root" /opt/a 1.0
same "and go with the last one" "" "$(look | grep usr/src/)"

# Somebody who may not look at the tree, perhaps, and may not write to /usr/src.
mkdir "$tmp/open"
cp -r --parents build/pagewell build/libpagewell.* userlib module docs/man packaging Kbuild \
	scripts/install "$tmp/open"
chmod -R a+rX "$tmp"
mkdir -m 777 "$tmp/home"
as_user() {
	if [ "$(id -u)" = 0 ]; then
		setpriv --reuid=65534 --regid=65534 --clear-groups "$@"
	else
		"$@"
	fi
}
if as_user test -w /usr/src; then
	skip "install by an ordinary user" "/usr/src is everybody's"
else
	as_user "$tmp/open/scripts/install" install "" "$tmp/home/.local" 1.0 2>"$tmp/err"
	same "an ordinary user may install into a prefix" 0 $?
	same "and is told what is missing" \
		"install: no right to write to /usr/src: the module's sources are left out" \
		"$(cat "$tmp/err")"
	has "the rest is there" '/pkgconfig/pagewell\.pc$' "$(find "$tmp/home")"
	as_user "$tmp/open/scripts/install" uninstall "" "$tmp/home/.local" 1.0 2>"$tmp/err"
	same "and uninstall" "0 " "$? $(cat "$tmp/err")"
	same "all of it" "" "$(find "$tmp/home" ! -type d)"
fi

finish
