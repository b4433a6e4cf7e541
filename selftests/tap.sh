# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# tap.sh - TAP for shell tests: source it, call check and friends, then
# finish. Texts that differ are shown as comments.

tap_count=0

# check NAME COMMAND...: passes when the command succeeds
check() {
	local name=$1
	shift

	tap_count=$((tap_count + 1))
	if "$@"; then
		echo "ok $tap_count $name"
	else
		echo "# failed: $*"
		echo "not ok $tap_count $name"
	fi
}

# same NAME EXPECTED GOT
same() {
	check "$1" tap_same "$2" "$3"
}

tap_same() {
	[ "$1" = "$2" ] && return
	printf '%s\n' "$1" | sed 's/^/# expected: /'
	printf '%s\n' "$2" | sed 's/^/#      got: /'
	return 1
}

# has NAME PATTERN TEXT: TEXT has a line that matches the extended expression
has() {
	check "$1" tap_has "$2" "$3"
}

tap_has() {
	grep -qE -e "$1" <<<"$2" && return
	printf '%s\n' "$2" | tail -n 40 | sed 's/^/# in: /'
	return 1
}

skip() {
	tap_count=$((tap_count + 1))
	echo "ok $tap_count $1 # SKIP $2"
}

finish() {
	echo "1..$tap_count"
}
