#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The main job: ext4 with a database under load on the primary's volume, the
# primary killed in mid-write, the standby promoted and mounted: the file
# system and the database are clean, and the transactions that survived are the
# first of those that were acknowledged.
. "$(dirname "$0")/lib.sh"
requires jq sqlite3 e2fsck stdbuf
requires_loop
requires_fuse

simple_pair 128M data
wait_for 60 "replication to begin" replicating a
attach "$(uri a data)"
mkfs.ext4 -q -F "$device" || fail "mkfs.ext4"
mount_at "$device" "$work/mnt"
sqlite3 "$work/mnt/db" 'PRAGMA journal_mode = WAL;
	CREATE TABLE t (n INTEGER PRIMARY KEY, text TEXT NOT NULL);' >/dev/null || fail "sqlite3"

transactions() {
	local n

	echo '.bail on'
	echo 'PRAGMA synchronous = FULL;'
	for ((n = 1; n <= 1000000; n++)); do
		echo "INSERT INTO t VALUES ($n, hex(randomblob(200))); SELECT $n;"
	done
}

acknowledged() {
	grep -cE '^[0-9]+$' "$work/acknowledged"
}

transactions 2>/dev/null | stdbuf -oL sqlite3 "$work/mnt/db" >"$work/acknowledged" 2>/dev/null &
load=$!
enough() {
	[ "$(acknowledged)" -ge "${TRANSACTIONS:-1000}" ]
}
wait_for 120 "transactions" enough
node_kill a
wait "$load"
total=$(acknowledged)
umount -l "$work/mnt"
detach "$device" 2>/dev/null

on b promote db >"$work/out" 2>&1 || fail "promote: $(cat "$work/out")"
attach "$(uri b data)"
# Replays the journal as a mount does, then a check must find nothing.
mount_at "$device" "$work/mnt"
[ "$(sqlite3 "$work/mnt/db" 'PRAGMA integrity_check;')" = ok ] || fail "the database is damaged"
read -r count first last <<<"$(sqlite3 -separator ' ' "$work/mnt/db" 'SELECT count(*), min(n), max(n) FROM t;')"
say "$total acknowledged, $count survived"
((count > 0)) || fail "nothing survived"
((first == 1 && last == count)) || fail "$first to $last, $count of them: not the first ones"
((last <= total + 1)) || fail "transaction $last survived, but only $total were acknowledged"
umount "$work/mnt"
e2fsck -fn "$device" >"$work/out" 2>&1 || fail "e2fsck: $(cat "$work/out")"
detach "$device"
nodes=(b)
nodes_stop "${nodes[@]}"
