#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# /sys/kernel/debug/pagewell: every key is there, tables are tables, and heaps
# may come and go while someone reads.
set -u
cd "$(dirname "$0")/../.." || exit 1
. selftests/tap.sh

dir=/sys/kernel/debug/pagewell
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"; kill $(jobs -p) 2>/dev/null' EXIT

keys() {
	sed -n 's/^\([a-z0-9_]*\): [0-9][0-9.]*$/\1/p' "$1" | tr '\n' ' '
}

value() {
	sed -n "s/^$2: //p" "$dir/$1"
}

# soon COMMAND...: what is not read at one moment is found to agree in the end
soon() {
	for _ in $(seq 50); do
		"$@" >"$tmp/said" && return
		sleep 0.1
	done
	cat "$tmp/said"
	return 1
}

# The runs of the buddy and what is on its way to or from there are all free pages.
runs_are_free_pages() {
	cp $dir/pool "$tmp/pool"
	cp $dir/buddy "$tmp/buddy"
	awk 'FILENAME ~ /pool$/ { pool[$1] = $2; next }
		FNR > 1 { runs += ($3 + $4) * 2 ^ $1; column += $5 }
		END {
			free = runs + pool["pcp_pages:"] + pool["zeroing_pages:"]
			if (free == pool["free_pages:"] && column == runs)
				exit 0
			print "# runs", runs, "column", column, "and others", free - runs, \
				"of", pool["free_pages:"]
			exit 1
		}' "$tmp/pool" "$tmp/buddy"
}

no_page_is_used() {
	[ "$(value pool used_pages)" = 0 ]
}

bookkeeping_is_small() {
	awk '{ pool[$1] = $2 }
		END { exit pool["bookkeeping_bytes:"] * 500 >= pool["held_pages:"] * 4096 }' $dir/pool
}

# Every line has as many words as the first.
is_table() {
	awk 'NR == 1 { n = NF } NF != n { print "# " $0; bad = 1 } END { exit bad || !n }' "$1"
}

# column NAME: of all rows but the headings on stdin
column() {
	awk -v name="$1" 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == name) c = i; next }
		{ print $c }'
}

# Waits until heaps has $1 rows whose comm matches $2.
wait_rows() {
	for _ in $(seq 600); do
		[ "$(column comm <$dir/heaps | grep -cE -- "$2")" = "$1" ] && return
		sleep 0.1
	done
	cat $dir/heaps | sed 's/^/# /'
	return 1
}

same "pool has its keys" "floor_pages max_pages held_pages used_pages free_pages clear_pages \
pcp_pages zeroing_pages idle_pages avail_pages promised_pages debt_pages lost_pages heaps \
bookkeeping_bytes fragmentation " \
	"$(keys $dir/pool)"
same "pool has nothing else" "$(keys $dir/pool | wc -w)" "$(wc -l <$dir/pool)"
check "without heaps no page is used" soon no_page_is_used

same "idle has its keys" "max_bytes store_bytes packed_pages same_pages packed_bytes ratio " \
	"$(keys $dir/idle)"

check "the bookkeeping is under 0.2 % of the pool" bookkeeping_is_small
same "check says that all is well" "check: ok" "$(cat $dir/check)"
check "check can be written to" eval 'echo 1 >$dir/check'
counters=$(sed -n 's/^[[:space:]]*X(\([a-z_]*\),.*/\1/p' module/stats.h | tr '\n' ' ')
same "faults has the counters of stats.h" "${counters}pages_per_fault " "$(keys $dir/faults)"

same "buddy has its columns" "order run_kb clear dirty free_pages unusable" \
	"$(head -n 1 $dir/buddy)"
check "buddy is a table" is_table $dir/buddy
same "buddy has a row for each order" "0 1 2 3 4 5 6 7 8 9" \
	"$(column order <$dir/buddy | xargs)"
check "the runs in buddy add up to the pool's free pages" soon runs_are_free_pages
check "unusable grows with the order, from 0 to 1" awk '
	NR > 1 && ($6 < last || $6 > 1) { exit 1 } NR > 1 { last = $6 }' $dir/buddy

header="pid comm id base limit_kb committed_kb resident_kb shared_kb regions breaks \
faults fault_pages cow_copies refused mode huge packed_kb"
same "heaps has its columns" "$header" "$(head -n 1 $dir/heaps)"
same "no heaps, no rows" "1 0" "$(wc -l <$dir/heaps) $(value pool heaps)"

# The program may be at its start still.
resident_is_used() {
	local kb

	kb=$(column resident_kb <$dir/heaps)
	[ "$kb" -gt 0 ] && [ "$kb" = $(($(value pool used_pages) * 4)) ]
}

# A name that would break the table
cp /bin/sleep "$tmp/a b"
build/pagewell run --limit 64M --huge never --lazy -- "$tmp/a b" 300 &
pid=$!
check "a heap has a row, its name one word" wait_rows 1 '^a\\040b$'
check "the table stays a table" is_table $dir/heaps
row=$(grep "^$pid " $dir/heaps)
has "the row tells its pid, limit, mode and huge" "^$pid .* 0x[0-9a-f]+ 65536 .* lazy never 0\$" \
	"$row"
same "pool counts it" 1 "$(value pool heaps)"
check "its pages are the pool's used pages" soon resident_is_used
check "its faults are counted" test "$(column fault_pages <$dir/heaps)" -gt 0
kill $pid
wait $pid 2>/dev/null
check "the row goes with the process" wait_rows 0 .

# More than one page of output
scale=${PAGEWELL_TEST_SCALE:-100}
many=$((150 * scale / 100))
for _ in $(seq $many); do
	build/pagewell run -- sleep 300 &
done
check "many heaps, a row each" wait_rows $many '^sleep$'
same "no heap twice" "$many" "$(column id <$dir/heaps | sort -u | wc -l)"
same "by id" "$(column id <$dir/heaps)" "$(column id <$dir/heaps | sort -n)"
check "small reads see the same" cmp $dir/heaps <(dd if=$dir/heaps bs=61 status=none)

# Readers while all of them go and others come
(
	while [ ! -e "$tmp/stop" ]; do
		cat $dir/heaps >"$tmp/seen" || echo "read"
		is_table "$tmp/seen" || echo "table"
		column id <"$tmp/seen" | sort -n | uniq -d
		cat $dir/pool $dir/buddy $dir/faults >/dev/null
	done
) >"$tmp/bad" 2>&1 &
reader=$!
kill $(jobs -p | grep -v "^$reader\$")
for _ in $(seq $((60 * scale / 100))); do
	build/pagewell run -- true
done
touch "$tmp/stop"
wait $reader
same "readers see a table, and no heap twice, while heaps come and go" "" "$(cat "$tmp/bad")"
check "all rows gone" wait_rows 0 .

finish
