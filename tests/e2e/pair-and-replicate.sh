#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What is written on the primary arrives on the standby: after the writers
# stop, lag is 0 and the images are identical; an orderly end is clean.
. "$(dirname "$0")/lib.sh"
requires jq cmp

simple_pair 64M data wal
wait_for 60 "replication to begin" replicating a
writer_start --seconds "${SECONDS_OF_LOAD:-5}" --zeroes 2
writer_finish
wait_in_step
same_images data wal
check_cut --complete "$work/stamps" "$work/b/data.img" "$work/b/wal.img"

# Every field that scripts depend on is there, in its place, whichever role
# prints it; more may follow.
fields='["pair","node","role","state","reason","connected","peer","generation","epoch","lag_seconds","rpo_seconds",
	"rto_seconds","rpo_state","breach_seconds_total","bytes_behind","change_bytes_per_second",
	"ship_bytes_per_second","wire_bytes_total","eta_seconds","sync","promotable","recovery_point","volumes"]'
for node in a b; do
	[ "$(on "$node" status db --json | jq -c "$fields as \$fields | keys_unsorted[:(\$fields | length)] == \$fields")" = true ] ||
		fail "status of $node: $(on "$node" status db --json | jq -c keys_unsorted)"
	[ "$(on "$node" status --json | jq -r '.[0].pair')" = db ] || fail "status of all pairs on $node"
done
status_is a .role primary || fail "a is not the primary"
status_is b .role standby || fail "b is not the standby"
status_is b .promotable true || fail "b cannot be promoted"

# Restarted in order, both go on where they were.
generation=$(status a .generation)
nodes_stop a b
for node in b a; do
	receiver_start "$node"
	agent_start "$node"
done
wait_for 60 "replication after the restart" replicating a
status_is a .generation "$generation" || fail "the generation changed"
writer_start --seconds 1 --hot 4
writer_finish
wait_in_step
same_images data wal
nodes_stop a b
