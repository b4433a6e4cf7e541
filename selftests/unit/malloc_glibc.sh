#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# malloc_glibc.sh - glibc's own tests of malloc, with the library preloaded
#
# Built here from Debian's glibc-source with the headers of the system; nothing
# of them is kept. TAP. With -v all they print is shown.
set -u
cd "$(dirname "$0")/../.." || exit 1

lib=$PWD/build/libpagewell.so
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
verbose=${1-}

# Left out are those of glibc's insides, of which nothing is exported
# (tst-dynarray*, tst-alloc_buffer, tst-scratch_buffer), those that bring a
# malloc of their own (tst-interpose*), or look for glibc's: its hooks, its
# tunables and the words it has before and in blocks (tst-compathooks*,
# tst-malloc-backtrace, tst-malloc-check, tst-malloc-usable*, tst-mallocstate,
# tst-mtrace, tst-mxfast, tst-safe-linking). And tst-mallocfork2, which takes
# minutes on a busy machine with any malloc; malloc_fork does what it does.
tests="mallocbug tst-calloc tst-free-errno tst-mallinfo2 tst-malloc
	tst-malloc-fork-deadlock tst-malloc-stats-cancellation
	tst-malloc-tcache-leak tst-malloc-thread-exit tst-malloc-thread-fail
	tst-malloc-too-large tst-malloc_info tst-mallocalign1 tst-mallocfork
	tst-mallocfork3 tst-mallopt tst-memalign tst-obstack
	tst-posix_memalign tst-pvalloc tst-pvalloc-fortify tst-realloc
	tst-reallocarray tst-tcfree1 tst-tcfree2 tst-tcfree3 tst-trim1 tst-valloc"

echo "TAP version 13"
archive=$(find /usr/src/glibc -name 'glibc-*.tar.xz' 2>/dev/null | sort | tail -1)
if [ -z "$archive" ]; then
	echo "1..0 # SKIP no glibc-source in /usr/src/glibc"
	exit 4
fi
tar -C "$work" --strip-components=1 -xf "$archive" --wildcards '*/malloc/tst-*' \
	'*/malloc/mallocbug.c' '*/support/*.[ch]' '*/test-skeleton.c' \
	'*/include/libc-diag.h' '*/include/array_length.h' '*/include/intprops.h' \
	'*/include/xalloc.h' '*/sysdeps/generic/malloc-size.h' \
	'*/sysdeps/generic/malloc-alignment.h' '*/include/libc-pointer-arith.h' 2>/dev/null

# Of glibc's own headers those that the tests use, and no others: the
# declarations in the rest are for building glibc itself.
mkdir "$work/headers"
cp "$work"/include/*.h "$work"/sysdeps/generic/*.h "$work/headers/" || exit 1
: >"$work/headers/libc-symbols.h"
for word in 'libc_hidden_proto(name)' 'libc_hidden_def(name)' 'TIMEOUTFACTOR 10' 'NAME_MAX 255'; do
	echo "#define $word"
done >"$work/headers/config.h"

compile()
{
	gcc -O1 -w -std=gnu11 -D_GNU_SOURCE -pthread -include "$work/headers/config.h" \
		-I"$work/headers" -I"$work" -I"$work/malloc" -I"$work/support" "$@"
}

# All of it that builds by itself; what a test lacks then is told by the linker.
mkdir "$work/objects"
for source in "$work"/support/*.c; do
	compile -c -o "$work/objects/$(basename "$source" .c).o" "$source" 2>/dev/null
done
echo 'const char support_objdir_root[] = "/";' >"$work/root.c"
compile -c -o "$work/objects/root.o" "$work/root.c"
ar rcs "$work/support.a" "$work"/objects/*.o

# shellcheck disable=SC2086  # words
set -- $tests
echo "1..$#"
n=0
failed=0
for name; do
	n=$((n + 1))
	if compile -o "$work/$name" "$work/malloc/$name.c" "$work/support.a" >"$work/out" 2>&1; then
		LD_PRELOAD=$lib PAGEWELL_BACKEND=anon \
			timeout 400 "$work/$name" >"$work/out" 2>&1
		status=$?
	else
		status=build
	fi
	case $status in
	0)	echo "ok $n $name" ;;
	77)	echo "ok $n $name # SKIP $(tail -1 "$work/out")" ;;
	*)	echo "not ok $n $name: $status"
		head -30 "$work/out" | sed 's/^/# /'
		failed=1 ;;
	esac
	[ -z "$verbose" ] || sed 's/^/# /' "$work/out"
done
exit $failed
