#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The primary's power fails under load and its disk loses what was not flushed,
# also what the standby already has (G4): afterwards the standby can still be
# promoted to one cut, the pair comes back by itself, and both volumes are the
# same to the byte.
disks=(a=128M a-log=2G a-live=128M b=128M)
. "$(dirname "$0")/lib.sh" "$@"

net_start
cache_start a
node_disk b "$(disk b)"
truncate -s 32M "$work/b/data.img"
simple_pair 32M data
wait_for 60 "replication to begin" replicating a
for ((round = 1; round <= ${ROUNDS:-2}; round++)); do
	stamps_start 100
	wait_for 60 "epochs" status_at_least a .epoch.durable $(($(status a .epoch.durable) + 2))
	pause "0.$(random_between 100 999)"
	node_kill a
	end_child KILL "$writer_pid"
	cache_fail a
	wait_for 60 "everything applied on the standby" applied b
	data_is_a_cut b
	receiver_start a
	agent_start a
	wait_in_step
	same_volumes
	# The next round's stamps begin anew.
	qemu-io -f raw -c 'write -z 0 32M' "$(uri a data)" >"$work/out" 2>&1 || fail "zeroes: $(cat "$work/out")"
	wait_in_step
	same_volumes
done
