#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Machines of another make: one of 512 MiB that runs out of memory, two with two
# nodes, one whose memory comes and goes.
set -u
cd "$(dirname "$0")/../.." || exit 1

tests=0

# guest TEXT COMMAND...: what a test in a VM prints, and how it and the VM end
guest() {
	local text=$1 out status line plan=none came=0
	shift

	out=$("$@" 2>&1)
	status=$?
	while read -r line; do
		case $line in
		"ok "* | "not ok "*)
			tests=$((tests + 1))
			came=$((came + 1))
			sed -E "s/ok [0-9]+( -)?/ok $tests $text:/" <<<"$line"
			;;
		1..*) plan=${line#1..} ;;
		*) echo "# ${line#\# }" ;;
		esac
	done <<<"$out"
	tests=$((tests + 1))
	[ "$plan" = $came ] || printf 'not '
	echo "ok $tests $text: all that was planned came ($plan, $came)"
	tests=$((tests + 1))
	[ $status = 0 ] || printf 'not '
	echo "ok $tests $text: the machine ends well ($status)"
}

for k in ${KERNELS:-6.1 6.12}; do
	guest "$k, 512 MiB" scripts/vm -k "$k" --mem 512 --pool 16 --pool-max 400 --timeout 400 -- \
		/usr/bin/python3 selftests/system/guest/pressure.py
	guest "$k, 512 MiB, scattered" scripts/vm -k "$k" --mem 512 --pool 16 --pool-max 400 \
		--timeout 400 -- /usr/bin/python3 selftests/system/guest/pressure.py scattered
	guest "$k, two nodes" scripts/vm -k "$k" --nodes 2 --mem 1024 --no-module --timeout 300 -- \
		selftests/system/guest/nodes.sh
	guest "$k, two nodes, one without memory" scripts/vm -k "$k" --nodes 2 --bare 1 --no-module \
		--timeout 200 -- selftests/system/guest/nodes.sh bare
	guest "$k, memory modules" scripts/vm -k "$k" --mem 512 --dimms 256 --pool 16 \
		--pool-max 380 --timeout 400 -- selftests/system/guest/dimms.sh
done
echo "1..$tests"
