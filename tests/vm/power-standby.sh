#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The standby's power fails under load and its disk loses what was not flushed.
# Every epoch that the primary was told is durable is still there (G3), the pair
# goes on from there, and what the standby is promoted to is one cut (G1).
disks=(b=128M b-log=2G b-live=128M a=128M)
. "$(dirname "$0")/lib.sh" "$@"
# One epoch after the other, so that the standby is always busy.
join_options=(--rpo 200ms)

net_start
cache_start b
node_disk a "$(disk a)"
truncate -s 32M "$work/a/data.img"
simple_pair 32M data
wait_for 60 "replication to begin" replicating a
stamps_start 200
for ((round = 1; round <= ${ROUNDS:-3}; round++)); do
	wait_for 60 "epochs" status_at_least a .epoch.durable $(($(status a .epoch.durable) + 2))
	pause "0.$(random_between 100 999)"
	# What the primary was told before must be there after, without its help.
	durable=$(status a .epoch.durable)
	ip link set to-b down
	node_kill b
	cache_fail b
	receiver_start b
	agent_start b
	wait_for 60 "the standby to know its epoch" status_at_least b .epoch.durable 1
	status_at_least b .epoch.durable "$durable" || fail "epoch $durable was durable, now it is $(status b .epoch.durable)"
	((round < ${ROUNDS:-3})) || break
	ip link set to-b up
	wait_for 60 "replication to go on" status_at_least a .epoch.durable $((durable + 1))
done
end_child KILL "$writer_pid"
on b promote db >"$work/out" 2>&1 || fail "promote: $(cat "$work/out")"
served_is_a_cut b
