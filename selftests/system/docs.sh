#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# What the documents say of the code, where that can be looked up.
set -u
cd "$(dirname "$0")/../.." || exit 1
. selftests/tap.sh

py=/usr/bin/python3

check "the spec of the netlink family has the header's names, in their order" $py - <<'END'
import re, sys, yaml
header = open("module/uapi/pagewell_netlink.h").read()
spec = yaml.safe_load(open("docs/netlink/pagewell.yaml"))
there = [re.findall(r"^\s(PAGEWELL_\w+)(?: = 1)?,$", e, re.M)
         for e in re.findall(r"^enum \{\n(.*?)^\};", header, re.M | re.S)]


def enum(prefix, entries):
    return [(prefix + e["name"]).replace("-", "_").upper() for e in entries]


told = [enum("pagewell-a-%s-" % s["name"], s["attributes"]) for s in spec["attribute-sets"]]
told.append(enum("pagewell-cmd-", spec["operations"]["list"]))
for a, b in zip(told, there):
    for x, y in zip(a + [None], b + [None]):
        if x != y:
            sys.exit("# the spec has %s, the header %s" % (x, y))
if len(told) != len(there):
    sys.exit("# the spec has %d enums, the header %d" % (len(told), len(there)))
for s in [spec["name"]] + [g["name"] for g in spec["mcast-groups"]["list"]]:
    assert '"%s"' % s in header, s
END

check "the functions of the tour are where it says" $py - <<'END'
import glob, re, sys
tour = open("docs/tour.md").read()
files = {f: open(f).read() for f in glob.glob("userlib/*.[ch]") + glob.glob("module/*.[ch]")}


def defined(name, text):
    return re.search(r"^[a-z][^;{}=]*\b%s\([^;{}]*\)\s*\{" % name, text, re.M)


group = r"`[a-z_0-9]+\(\)`(?:, `[a-z_0-9]+\(\)`)* in `([a-z_/.]+)`"
bad = ["%s() is not in %s" % (name, m.group(1))
       for m in re.finditer(group, tour)
       for name in re.findall(r"`([a-z_0-9]+)\(\)", m.group(0))
       if not defined(name, files.get(m.group(1), ""))]
# msync() and the like are the system's.
bad += ["%s() is nowhere" % name
        for name in set(re.findall(r"`([a-z0-9]+_[a-z_0-9]+)\(\)`", tour))
        if not any(defined(name, text) for text in files.values())]
bad += ["there is no %s" % f for f in set(re.findall(r"`((?:module|userlib)/[a-z_]+\.[ch])`", tour))
        if f not in files]
print("".join("# %s\n" % b for b in bad), end="")
sys.exit(bool(bad))
END

# named FILE WORD...: the words that do not stand in it
named() {
	local file=$1 word
	shift

	for word; do
		grep -qE "(^|[^a-z_])${word}([^a-z_]|\$)" "$file" || echo "$word"
	done
}

# shellcheck disable=SC2046  # words
same "pagewell(4) names every key of debugfs pool" "" "$(named docs/man/pagewell.4 \
	$(sed -n '/^static int pool_show/,/^}/s/.*seq_printf(m, "\([a-z_]*\): .*/\1/p' module/debugfs.c))"
files=$(sed -n 's/.*debugfs_create_file("\([a-z]*\)".*/\1/p' module/debugfs.c)
# shellcheck disable=SC2086  # words
same "and every file there" "" "$(named docs/man/pagewell.4 $files)"
same "README too" "" "$(for f in $files; do grep -q "debug/pagewell.*\`$f\`" README.md || echo "$f"; done)"

# terms FILE: the list under a file of debugfs in pagewell(4), a word and its text a line
terms() {
	sed -n "/^\.B $1\$/,/^\.RE/p" docs/man/pagewell.4 | sed -n '/^\.I /{s///;N;s/\n/ /;p}'
}

same "it tells the columns of heaps" \
	"$(sed -n '/^static int heaps_show/,/return/s/.*seq_puts(m, " *\([a-z_ ]*\).*/\1/p' module/debugfs.c |
		xargs -n 1)" "$(terms heaps | cut -d ' ' -f 1)"
same "and the counters of stats.h, in the words of that" \
	"$(sed -nE 's/^\tX\(([a-z_]*),\s*"(.*)"\).*/\1 \2/p' module/stats.h)" \
	"$(terms faults | grep -v ^pages_per_fault)"
params=$(sed -nE 's/^module_param[a-z_]*\(([a-z_]*),.*/\1/p' module/*.c | sort)
same "it tells the module's parameters" "$params" "$(sed -n '/^\.SH "MODULE PAR/,/^\.SH "IDLE/p' \
	docs/man/pagewell.4 | sed -n '/^\.TP/{n;s/^\.B //p}' | sort)"
same "all of them in its synopsis" "$params" \
	"$(sed -nE 's/^\.RB \[ ([a-z_]+)=.*/\1/p' docs/man/pagewell.4 | sort)"

commands=$(sed -n 's/^\t{ "\([a-z]*\)", cmd_.*/\1/p' tools/pagewell.c)
same "README has every command" "" \
	"$(for c in $commands; do grep -q "build/pagewell $c" README.md || echo "$c"; done)"
for c in $commands; do
	# shellcheck disable=SC2046  # words
	same "pagewell(1) names the options of $c" "" "$(named docs/man/pagewell.1 "pagewell $c" \
		$(sed -n 's/^\t\t{ "\([a-z]*\)", .*/\\\\-\\\\-\1/p' "tools/$c.c") \
		$(sed -n 's/.*getopt_long(argc, argv, "+*\([a-z:]*\)".*/\1/p' "tools/$c.c" |
			sed 's/:*\([a-z]\):*/\\\\-\1 /g'))"
done

finish
