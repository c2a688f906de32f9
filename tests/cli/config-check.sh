#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# config check: all pairs of the node or one file, with file and line, without
# any daemon.
. "$(dirname "$0")/lib.sh"

done_well config check
says "no pairs"
pair_file db
done_well config check
says "$node/etc/stead/pairs/db.conf: ok, pair db with 1 volume"
pair_file web
refused_twice() {
	run config check
	[ "$code" = 1 ] || fail "exit code $code"
}
refused_twice
notes "stead: /data is a volume of pair db and of pair web; it can be in one only"
sed -i 's,/data,/web,' "$node/etc/stead/pairs/web.conf"
done_well config check
echo 'colour = blue' >>"$node/etc/stead/pairs/db.conf"
run config check
[ "$code" = 1 ] || fail "exit code $code"
notes "stead: $node/etc/stead/pairs/db.conf:5: unknown key colour; [volume NAME] has path, export"
says "web.conf: ok"
refused 1 "db.conf:5: unknown key colour" config check "$node/etc/stead/pairs/db.conf"
done_well config check "$node/etc/stead/pairs/web.conf"
refused 1 "$work/none.conf: No such file" config check "$work/none.conf"
refused 1 "the file of a pair is called PAIR.conf" config check "$work"
mkdir "$work/dir.conf"
refused 1 "not a regular file" config check "$work/dir.conf"
exit 0
