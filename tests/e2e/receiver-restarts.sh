#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The standby's receiver is killed and started again and again while its primary
# dials: until the pair is open there it is busy. The primary is never told that
# there is no such pair, and calls nobody.
#
#   receiver-restarts.sh [ROUNDS]   default 12
. "$(dirname "$0")/lib.sh"
requires jq

rounds=${1:-12}

# So that it takes a while until all are open.
more_pairs() {
	local i

	for i in 1 2 3 4 5 6; do
		volume_make b "more$i" 8M
		volume_make a "more$i" 8M
		pair_nodes "more$i" a b "more$i"
	done
}

simple_pair 16M data
more_pairs
wait_in_step
for ((round = 1; round <= rounds; round++)); do
	daemon_kill b receiver
	receiver_start b
	wait_for 60 "the primary to find its standby again" in_step a
done
! grep -q 'peer-refused' "$work/a/agent.log" ||
	fail "the primary was refused: $(grep -m1 'peer-refused' "$work/a/agent.log")"
nodes_stop a b
