#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# malloc_programs.sh - real programs print the same with the library preloaded
#
# Each is run without and with build/libpagewell.so on anonymous memory, and
# hardened; output and exit status must be equal. TAP.
set -u
cd "$(dirname "$0")/../.." || exit 1

lib=$PWD/build/libpagewell.so
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# name, needed program, command; the command's work directory is $work.
tests=(
"shell pipelines|bash|for i in 1 2 3 4 5; do seq \$((i * 2000)) | sort -R --random-source=/dev/zero | sort -n | tail -1; done"
"python: json and dicts|python3|python3 -c 'import json; d = {str(i): list(range(i % 60)) for i in range(20000)}; s = json.dumps(d); assert json.loads(s) == d; print(len(s), hash(s) != 0)'"
"python: every object on malloc|python3|PYTHONMALLOC=malloc python3 -c 'print(sum(len(str(i) * (i % 40)) for i in range(100000)))'"
"python: threads and subprocesses|python3|python3 -c '
import subprocess, threading
def work():
    for i in range(100):
        x = [bytes(k * 7 % 5000) for k in range(200)]
ts = [threading.Thread(target=work) for _ in range(8)]
for t in ts: t.start()
for i in range(20): subprocess.run([\"true\"], check=True)
for t in ts: t.join()
print(\"done\")'"
"gcc|gcc|gcc -O2 -D_GNU_SOURCE -I\"\$src/userlib\" -S -o - \"\$src/userlib/bins.c\""
"perl|perl|perl -e 'my %h; \$h{\$_} = \$_ x 5 for 1..100000; my \$n = 0; \$n += length for values %h; print \"\$n\\n\"'"
"sqlite3|sqlite3|sqlite3 :memory: 'create table t(a integer, b text); with recursive n(i) as (select 1 union all select i + 1 from n where i < 50000) insert into t select i, hex(i * 7919) from n; create index ta on t(a); create index tb on t(b); select count(*), sum(length(b)), max(b) from t where b > \"4\";'"
"git|git|git init -q r && cd r && for i in 1 2 3 4 5; do seq \$((i * 1000)) >f; git add f; git -c user.name=n -c user.email=e@e commit -q --date=2001-01-01T00:00:00 -m \$i; done; git log -p --format=%s | sha1sum; git gc -q; git fsck --full 2>&1 | tail -1"
"tar and xz|xz|tar -C \"\$src\" --sort=name --owner=0 --group=0 --mtime=@0 -cf - userlib | xz -T2 -1 | xz -dc | sha1sum"
"files and directories|ls|mkdir -p a/b && cp -r \"\$src/userlib\" a && mv a/userlib a/b && ls -R a && stat -c %s a/b/userlib/*.c && find a -name '*.h' | sort"
"awk and sed|awk|seq 100000 | awk '{ a[\$1 % 1000] = a[\$1 % 1000] \$1 } END { for (i in a) n += length(a[i]); print n }' | sed 's/\$/./'"
)

run()
{
	rm -rf "$work/dir"
	mkdir "$work/dir"
	(
		cd "$work/dir" || exit 1
		[ -z "$1" ] || export LD_PRELOAD=$lib PAGEWELL_HARDEN=$1
		PAGEWELL_BACKEND=anon src=$OLDPWD timeout 120 bash -c "$2"
		echo "status $?"
	) >"$work/$3" 2>&1
}

compare()
{
	n=$((n + 1))
	if [ -z "$3" ]; then
		echo "ok $n $1 # SKIP no $4"
	elif run "$2" "$3" with && cmp -s "$work/without" "$work/with" &&
	     grep -q '^status 0$' "$work/with"; then
		echo "ok $n $1"
	else
		echo "not ok $n $1"
		diff "$work/without" "$work/with" | head -20 | sed 's/^/# /'
		failed=1
	fi
}

echo "TAP version 13"
echo "1..$((2 * ${#tests[@]}))"
failed=0
n=0
for t in "${tests[@]}"; do
	name=${t%%|*}
	rest=${t#*|}
	program=${rest%%|*}
	command=${rest#*|}
	if type "$program" >/dev/null 2>&1; then
		run "" "$command" without
	else
		command=
	fi
	compare "$name" 0 "$command" "$program"
	compare "$name, hardened" 1 "$command" "$program"
done
exit $failed
