#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# malloc_examples.sh - the programs of docs/examples: others' allocators on our pages
#
# TAP.
set -u
cd "$(dirname "$0")/../.." || exit 1

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp build/libpagewell.so "$work/libpagewell.so.1" || exit 1
ln -s libpagewell.so.1 "$work/libpagewell.so"
export LD_LIBRARY_PATH=$work PAGEWELL_BACKEND=anon

# example, library, what it prints last
tests="jemalloc-hooks jemalloc 0 KiB when the arena is gone
mimalloc-arena mimalloc 1000 blocks, all in our pages"

echo "TAP version 13"
echo "1..2"
n=0
failed=0
while read -r name library want; do
	n=$((n + 1))
	if ! echo 'int main(void) { return 0; }' | cc -xc -o "$work/try" - "-l$library" 2>/dev/null; then
		echo "ok $n $name # SKIP no lib$library-dev"
	elif cc -Wall -Wextra -Werror -O1 -Iuserlib -pthread -o "$work/$name" \
			"docs/examples/$name.c" "-l$library" "-L$work" -lpagewell >"$work/out" 2>&1 &&
	     timeout 60 "$work/$name" >"$work/out" 2>&1 &&
	     [ "$(tail -1 "$work/out")" = "$want" ]; then
		echo "ok $n $name"
	else
		echo "not ok $n $name"
		head -20 "$work/out" | sed 's/^/# /'
		failed=1
	fi
done <<<"$tests"
exit $failed
