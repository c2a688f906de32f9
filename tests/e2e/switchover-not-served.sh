#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A switchover to a node that takes the role but cannot export a volume: the
# order does not end as if all were well, and both nodes say what is missing.
. "$(dirname "$0")/lib.sh"
requires jq cmp qemu-io

simple_pair 16M data
wait_for 60 "replication to begin" replicating a
change a data 'write -P 0x31 0 64k'
mkdir -p "$work/b/run/stead/db-data.sock/in-the-way"
if on a switchover db >"$work/out" 2>"$work/err"; then
	fail "done, though b does not serve: $(cat "$work/out")"
fi
[ ! -s "$work/out" ] || fail "it says: $(cat "$work/out")"
grep -q '^stead: pair db is switched over, with nothing lost, but the peer has not said that its volumes can be used' "$work/err" ||
	fail "it says: $(cat "$work/err")"
say "$(cat "$work/err")"
status_is b '.role + " " + .reason' "primary not-exported" || fail "b says: $(on b status db)"
status_is a '.role + " " + .reason' "standby not-exported" || fail "a says: $(on a status db)"
rm -r "$work/b/run/stead/db-data.sock"
daemon_stop b agent
agent_start b
settled b a
wait_for 60 "a to see it" status_is a '.reason' null
change b data 'read -P 0x31 0 64k'
order b switchover db
grep -q 'nothing was lost' "$work/out" || fail "it says: $(cat "$work/out")"
settled a b
nodes_stop a b
