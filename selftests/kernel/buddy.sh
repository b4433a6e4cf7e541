#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The buddy's KUnit suite, in kernels that have KUnit: pagewell_kunit.ko, see
# selftests/module/buddy_kunit.c.
set -u
cd "$(dirname "$0")/../.." || exit 1
. selftests/tap.sh

if [ ! -d /sys/kernel/debug/kunit ]; then
	echo "1..0 # SKIP no KUnit in this kernel"
	exit 4
fi
check "the suite loads" insmod "build/$(uname -r)/pagewell_kunit.ko"
results=$(cat /sys/kernel/debug/kunit/pagewell_buddy/results)
# Every case is a line of its own, those with parameters one level further in.
while read -r ok name; do
	same "$name" "ok" "$ok"
done < <(sed -nE 's/^ {4}ok [0-9]+ /ok /p; s/^ {4}not ok [0-9]+ /not_ok /p
	s/^ {8}ok [0-9]+ /ok /p; s/^ {8}not ok [0-9]+ /not_ok /p' <<<"$results")
has "the suite passes" '^ok 1 pagewell_buddy' "$results"
same "every case ran" "$(grep -c $'^\t{ test_' selftests/unit/buddy_cases.c)" \
	"$(grep -cE '^ {8}(not )?ok ' <<<"$results")"
check "and goes" rmmod pagewell_kunit
finish
