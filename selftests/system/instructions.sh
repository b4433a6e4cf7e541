#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# What malloc() and free() may cost, for a few of the loops that bench/user/count has, and
# what a process's start may.
set -u
cd "$(dirname "$0")/../.." || exit 1
. selftests/tap.sh

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

if ! command -v valgrind >/dev/null; then
	skip "instructions" "no valgrind"
	finish
	exit
fi

export LOOPS='pair64 random1024 calloc64 start'
bench/user/count -q >"$tmp/out" 2>&1
same "all within their limits" 0 $?
same "each was counted" 4 "$(grep -cE '^(pair64|random1024|calloc64|start) +[1-9][0-9]* +[0-9]+$' "$tmp/out")"
sed 's/^/# /' "$tmp/out"

# A library that takes longer is noticed; so is a name that no loop has.
LOOPS=pair64 PAGEWELL_HARDEN=1 bench/user/count -q >"$tmp/out" 2>&1
same "one beyond its limit fails" 1 $?
LOOPS=pair6 bench/user/count -q >"$tmp/out" 2>&1
same "no loop fails" 1 $?
finish
