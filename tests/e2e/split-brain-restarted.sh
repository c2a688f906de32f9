#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Both nodes were written to as primaries while they could not see each other,
# and the older one was started anew before they met, or only its receiver ran.
# Also with auto-resync = yes that is told as a split brain, and nothing that was
# acknowledged is given up by itself.
. "$(dirname "$0")/lib.sh"
requires jq qemu-io

apart_pair 16M data
for node in a b; do
	config_set $node auto-resync yes
	kill -HUP "${pid[$node.agent]}" "${pid[$node.receiver]}"
done

# split FIRST-BLOCK: a and b are written to apart, and a's daemons killed.
split() {
	settled a b
	cut_off
	wait_for 60 "b to miss a" status_is b .connected false
	wait_for 60 "a to miss b" status_is a .connected false
	order b promote db --force
	change a data "write -P 0xa1 $1 64k"
	change b data "write -P 0xb1 $1 64k"
	node_kill a
	reunite
}

# Nothing of a is overwritten, until somebody says so.
undecided() {
	wait_for 60 "a to call it a split brain" status_is a .state split-brain
	wait_for 60 "b to hear of it" status_is b .state split-brain
	[ ! -e "$work/a/var/lib/stead/salvage" ] || fail "something was given up"
	qemu-io -r -f raw -c "read -P 0xa1 $1 64k" "$work/a/data.img" >"$work/out" 2>&1 ||
		fail "what a acknowledged is not there: $(cat "$work/out")"
	order a resync db --discard-local
	settled b a
	same_images data
	rm -rf "$work/a/var/lib/stead/salvage"
	order b switchover db
}

split 1M
receiver_start a
agent_start a
undecided 1M

split 2M
receiver_start a
wait_for 60 "a's receiver to hear of b" grep -q ' fenced pair=db' "$work/a/receiver.log"
agent_start a
undecided 2M
settled a b
nodes_stop a b
