#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The whole of a disaster, several times over: the primary is killed under load,
# the standby promoted by force and written to, the former primary returns,
# follows by delta, and a switchover brings the roles home.
#
#   failback.sh [RUNS]   default 3
. "$(dirname "$0")/lib.sh"
requires jq qemu-io

runs=${1:-3}
size=64M

# Bytes that went over the wire from NODE so far, by its own account.
wired() {
	status "$1" .wire_bytes_total
}

follows() {
	status_is "$1" '.role == "standby" and .state == "replicating" and .connected and .promotable' true
}

write_some() { # NODE COUNT: blocks of noise all over the volume
	local i commands=()

	for ((i = 0; i < $2; i++)); do
		commands+=(-c "write -P $(random_between 1 255) $(random_between 0 16000)k 4k")
	done
	qemu-io -f raw "${commands[@]}" "$(uri "$1" data)" >"$work/out" 2>&1 ||
		fail "the volume on $1 takes no writes: $(cat "$work/out")"
}

node_in_step() {
	status_is "$1" '.role == "primary" and .state == "replicating" and .connected and .lag_seconds == 0 and .bytes_behind == 0' true
}

simple_pair $size data wal
wait_in_step
for ((run = 1; run <= runs; run++)); do
	writer_start --seconds 60 --zeroes 2
	pause "1.$(random_between 100 999)"
	node_kill a
	wait "$writer_pid" 2>/dev/null
	on b promote db --force >"$work/out" 2>&1 || fail "promote --force: $(cat "$work/out")"
	status_is b .role primary || fail "b is no primary after its promotion"
	write_some b 50

	receiver_start a
	agent_start a
	wait_for 60 "a to learn of its successor" status_is a '.state == "demoted"' true
	if qemu-io -f raw -c 'write -P 0x11 2M 4k' "$(uri a data)" >"$work/out" 2>&1; then
		fail "the former primary takes writes"
	fi
	wait_for 60 "b to see its predecessor" status_is b .state diverged
	on a resync db >"$work/out" 2>&1 || fail "resync: $(cat "$work/out")"
	grep -q 'kept in ' "$work/out" && salvage=$(sed -n 's/.*kept in \(.*\)\./\1/p' "$work/out")
	wait_for 60 "a to follow" follows a
	write_some b 20
	wait_for 60 "b to be in step" node_in_step b
	wait_for 60 "everything applied on a" applied a
	on b switchover db >"$work/out" 2>&1 || fail "switchover: $(cat "$work/out")"
	wait_for 60 "a to serve again" node_in_step a
	wait_for 60 "b to follow" follows b
	wait_for 60 "everything applied on b" applied b
	same_images data wal
	say "run $run: $(tail -n 1 "$work/out")"
	rm -f "$work/stamps"
done
nodes_stop a b
