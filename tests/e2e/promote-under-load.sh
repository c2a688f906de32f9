#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A forced promotion under load shows one cut across both volumes and is served
# at once; the former primary learns of it and fences itself (G5). Without
# --force a promotion beside a living primary is refused.
. "$(dirname "$0")/lib.sh"
requires jq nbdinfo qemu-io

simple_pair 64M data wal
wait_for 60 "replication to begin" replicating a
writer_start --seconds 60 --zeroes 2 --reconnect
pause "2.$(random_between 100 999)"
generation=$(status a .generation)
if on b promote db >"$work/out" 2>&1; then
	fail "promoted beside a living primary without --force"
fi
[ "$(grep -c '^stead: ' "$work/out")" = 1 ] || fail "the refusal is not one line: $(cat "$work/out")"
status_is b .role standby || fail "a refused promotion changed the role"

on b promote db --force >"$work/out" 2>&1 || fail "promote --force: $(cat "$work/out")"
say "$(cat "$work/out")"
wait_for 60 "everything to be redone" redone b
grep -qE ' promoted pair=db epoch=[0-9]+ point=20[^ ]* age_ms=[0-9]+ generation=' "$work/b/receiver.log" ||
	fail "the log does not keep what is lost at most: $(grep ' promoted ' "$work/b/receiver.log")"
cp --sparse=always "$work/b/data.img" "$work/data.cut"
cp --sparse=always "$work/b/wal.img" "$work/wal.cut"
check_cut "$work/stamps" "$work/data.cut" "$work/wal.cut"
status_is b .role primary || fail "the standby is not primary after its promotion"
[ "$(status b .generation)" != "$generation" ] || fail "the promotion made no new generation"
[ "$(nbdinfo --size "$(uri b data)")" = $((64 << 20)) ] || fail "the promoted volume is not exported"
qemu-io -f raw -c 'write -P 0x5a 1M 64k' -c 'read -P 0x5a 1M 64k' "$(uri b data)" >"$work/out" 2>&1 ||
	fail "the promoted volume takes no writes: $(cat "$work/out")"

# The former primary reaches nobody who would tell it here, so it is told by
# the handshake with the promoted node's receiver.
wait_for 60 "the former primary to fence itself" status_is a '.state == "demoted" or .state == "refused"' true
kill -TERM "$writer_pid" 2>/dev/null
wait "$writer_pid"
if qemu-io -f raw -c 'write -P 0x11 2M 4k' "$(uri a data)" >"$work/out" 2>&1; then
	fail "the fenced primary still takes writes"
fi

# The new primary keeps its role over a restart of the node.
daemon_stop b agent
daemon_stop b receiver
receiver_start b
agent_start b
status_is b .role primary || fail "the promoted node forgot its role"
no_reports
