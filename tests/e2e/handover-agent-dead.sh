#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The agent of the former primary dies just when it has handed over, and stays
# dead; its receiver lives. The new primary serves, also after a restart of its
# own agent, and the other node follows as soon as its agent is there again.
. "$(dirname "$0")/lib.sh"
requires jq qemu-io

# It handed over, and did not live to hear that its peer was promoted.
hands_over() {
	wait_for 60 "a to serve" serves_in_step a
	: >"$work/a/agent.log"
	proxy back down
	on a switchover db >"$work/out" 2>&1 &
	until grep -q ' handover ' "$work/a/agent.log" || ! kill -0 $! 2>/dev/null; do :; done
	daemon_kill a agent
	{ wait $!; } 2>/dev/null
	wait_for 60 "b to decide" status_is b '.role != null' true
	if status_is b .role primary && ! grep -q ' fenced ' "$work/a/agent.log"; then
		return
	fi
	proxy back up
	agent_start a
	status_is b .role primary || return 1
	settled b a
	order b switchover db
	settled a b
	return 1
}

apart_pair 16M data
wait_in_step
wait_for 300 "a's agent to die between handing over and knowing the outcome" hands_over
proxy back up
daemon_kill b agent
agent_start b
wait_for 60 "the new primary to serve" status_is b '[.volumes[].device] | all' true
change b data 'write -P 0x5a 1M 64k'
agent_start a
settled b a
same_images data
nodes_stop a b
