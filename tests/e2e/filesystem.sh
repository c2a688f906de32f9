#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The main job: ext4 with a database under load on the primary's volume, the
# primary killed in mid-write, the standby promoted and mounted: the file
# system and the database are clean, and the transactions that survived are the
# first of those that were acknowledged.
. "$(dirname "$0")/lib.sh"
. "$here/transactions.sh"
requires jq sqlite3 e2fsck stdbuf
requires_loop
requires_fuse

simple_pair 128M data
wait_for 60 "replication to begin" replicating a
attach "$(uri a data)"
mkfs.ext4 -q -F "$device" || fail "mkfs.ext4"
mount_at "$device" "$work/mnt"
transactions_start
wait_for 120 "transactions" acknowledged_at_least "${TRANSACTIONS:-1000}"
node_kill a
wait "$transactions_pid"
total=$(acknowledged)
umount -l "$work/mnt"
detach "$device" 2>/dev/null

on b promote db >"$work/out" 2>&1 || fail "promote: $(cat "$work/out")"
attach "$(uri b data)"
# Replays the journal as a mount does, then a check must find nothing.
mount_at "$device" "$work/mnt"
transactions_check
say "$total acknowledged, $survived survived"
((survived <= total + 1)) || fail "transaction $survived survived, but only $total were acknowledged"
umount "$work/mnt"
e2fsck -fn "$device" >"$work/out" 2>&1 || fail "e2fsck: $(cat "$work/out")"
detach "$device"
nodes=(b)
nodes_stop "${nodes[@]}"
