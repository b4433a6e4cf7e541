#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# A machine of 512 MiB that runs out of memory: guest/pressure.py.
set -u
cd "$(dirname "$0")/../.." || exit 1

tests=0
for k in ${KERNELS:-6.1 6.12}; do
	out=$(scripts/vm -k "$k" --mem 512 --pool 16 --pool-max 400 --timeout 400 -- \
		/usr/bin/python3 selftests/system/guest/pressure.py 2>&1)
	status=$?
	while read -r line; do
		case $line in
		"ok "* | "not ok "*)
			tests=$((tests + 1))
			sed -E "s/ok [0-9]+/ok $tests $k:/" <<<"$line"
			;;
		1..*) ;;
		*) echo "# ${line#\# }" ;;
		esac
	done <<<"$out"
	tests=$((tests + 1))
	[ $status = 0 ] || printf 'not '
	echo "ok $tests $k: the machine ends well ($status)"
done
echo "1..$tests"
