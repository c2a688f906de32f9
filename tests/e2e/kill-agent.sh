#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The agent is killed twice under load: clients reconnect and go on, nothing
# acknowledged is lost, the pair catches up by itself and becomes identical.
. "$(dirname "$0")/lib.sh"
requires jq cmp

simple_pair 64M data wal
wait_for 60 "replication to begin" replicating a
writer_start --seconds "${SECONDS_OF_LOAD:-6}" --reconnect --zeroes 2
for _ in 1 2; do
	pause "1.$(random_between 100 999)"
	daemon_kill a agent
	status_is b .promotable true || fail "the standby is not promotable while the agent is gone"
	agent_start a
done
writer_finish
[ "$(writer_total reconnects)" -gt 0 ] || fail "the writers never lost their connection"
wait_in_step
same_images data wal
check_cut --complete "$work/stamps" "$work/a/data.img" "$work/a/wal.img"
nodes_stop a b
