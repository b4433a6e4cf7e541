#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# What make install puts where, that uninstall takes it away again, and that dkms
# makes a module of the sources that loads.
set -u
cd "$(dirname "$0")/../.." || exit 1
. selftests/tap.sh

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
version=$(sed -n 's/^VERSION[\t ]*:= //p' Makefile)
src=$tmp/root/usr/src/pagewell-$version

# Files and links below the root
files() {
	(cd "$tmp/root" && find . ! -type d | sort)
}

check "installed" scripts/install install "$tmp/root" /usr $version
has "the module's sources, for dkms" "^\./usr/src/pagewell-$version/module/fault\.c$" "$(files)"
has "where dkms looks for its name" "^PACKAGE_VERSION=\"$version\"$" "$(cat "$src/dkms.conf")"
same "nothing is left to fill in" "" "$(grep -l '@[A-Z]*@' "$src/dkms.conf" \
	"$tmp/root/usr/lib/pkgconfig/pagewell.pc")"

# dkms ACTION SERIES: in trees of its own
in_dkms() {
	mkdir -p "$tmp/dkms" "$tmp/modules"
	dkms "$1" -m pagewell -v $version -k "$(scripts/kernel release "$2")" \
		--kernelsourcedir "$(scripts/kernel build "$2")" \
		--sourcetree "$tmp/root/usr/src" --dkmstree "$tmp/dkms" \
		--installtree "$tmp/modules" >"$tmp/log" 2>&1 || { sed 's/^/# /' "$tmp/log"; return 1; }
}

for series in 6.1 6.12; do
	release=$(scripts/kernel release $series)
	check "dkms builds it for $series" in_dkms build $series
	module=$(find "$tmp/dkms/pagewell/$version/$release" -name 'pagewell.ko*' 2>/dev/null)
	same "a module of $series" "$release" "$(modinfo -F vermagic "$module" 2>&1 | cut -d' ' -f1)"
	case $module in
	*.xz) unxz "$module"; module=${module%.xz} ;;
	esac
	cp "$module" build/dkms.ko 2>/dev/null
	has "it loads" '^pagewell ' "$(scripts/vm -k $series --no-module --timeout 300 -- \
		sh -c 'insmod build/dkms.ko && cat /proc/modules' 2>&1)"
	rm -f build/dkms.ko
done

check "removed" scripts/install uninstall "$tmp/root" /usr $version
same "nothing is left" "" "$(files)"

finish
