#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What must not be done to a pair is refused with one clear line and code 1,
# and changes nothing: neither role, state and generation, nor the state on
# disk, nor that the volume is served.
. "$(dirname "$0")/lib.sh"
requires jq qemu-io openssl

# A handover that the standby turned down was under way: both states were
# written, and say again what they said.
written=yes
facts() {
	local node

	for node in a b; do
		status "$node" '[.role, .state, .generation, .volumes[0].device]' | tr -d ' \n'
		[ -z "$written" ] || cksum <"$work/$node/var/lib/stead/pairs/db/state.slots"
		ls "$work/$node/var/lib/stead/salvage" 2>/dev/null
	done
}

# Nothing has changed; what began to be handed over may take a moment to go on.
as_before() {
	[ "$(facts)" = "$before" ]
}

# refused TEXT NODE ARGUMENTS..., and all is as it was.
refuses() {
	before=$(facts)
	refused "$@"
	wait_for 10 "all to be as before $*: $before" as_before
	grep -qE '^stead: ([^:]+: )\1' "$work/err" && fail "${*:2}: says it twice: $(cat "$work/err")"
	say "$2: ${*:3}: $(cut -c 8-160 "$work/err")"
}

say "while the first full sync is not complete"
node_new a
node_new b
volume_make a data 64M
noise 64M | dd of="$work/a/data.img" bs=1M iflag=fullblock conv=notrunc status=none
proxy_start link "${port[b]}"
link_port=$proxy_port
proxy_start back "${port[a]}"
back_port=$proxy_port
proxy link rate 3000000
simple_pair 64M data
wait_for 60 "the full sync" status_is a .state full-sync
refused 'not consistent: [0-9]+ of 67108864 bytes of the full sync are done' b promote db
refused 'not consistent: [0-9]+ of 67108864 bytes' b promote db --force
refused 'demote pair db: the standby is not in step yet' a demote db
refused 'switch over pair db: the standby is not in step yet' a switchover db
refused 'switch over pair db: the standby is not in step yet' b switchover db
proxy link rate 0
settled a b

say "beside a primary that lives"
refuses 'a primary at .* is alive and connected; stop it first or use --force' b promote db
refuses 'this node is the primary already, and serves' a promote db --force
refuses 'this node is its primary, not its standby' a promote db
refuses 'this node is not its primary' b demote db
refuses 'this node is the primary, and no newer one is known' a resync db
refuses 'this node is the primary, and no newer one is known' a resync db --discard-local
refuses 'this node is the standby and follows its primary; there is nothing to decide' b resync db
refuses 'this node is the standby and follows its primary; there is nothing to decide' b resync db --discard-local
refuses 'this node is not its primary' b pause db
for command in promote demote switchover resync; do
	refuses 'no pair other on this node; there is db' a "$command" other
done

say "with something that the standby does not have"
order a pause db
change a data 'write -P 1 0 4k'
refuses 'demote pair db: replication is paused; resume it first' a demote db
refuses 'switch over pair db: replication is paused; resume it first' a switchover db
refuses 'switch over pair db: .*replication is paused' b switchover db
order a resume db
settled a b
cut_off
change a data 'write -P 2 4k 8k'
refuses 'demote pair db: the standby is not connected, and 8192 bytes may not be there' a demote db
refuses 'switch over pair db: the standby is not connected, and 8192 bytes' a switchover db
refuses 'switch over pair db: the primary is not connected' b switchover db
reunite
settled a b

say "with nobody to take the role"
daemon_stop a receiver
refuses 'switch over pair db: no stead-receiver runs on this node' a switchover db
refuses 'no stead-receiver runs on this node' b switchover db
change a data 'write -P 3 16k 4k'
receiver_start a
daemon_stop b agent
written=
refuses 'no stead-agent runs on the standby.s node' a switchover db
refuses 'no stead-agent runs on the standby.s node' b switchover db
written=yes
change a data 'write -P 4 20k 4k'
settled a b
daemon_stop b receiver
refused 'switch over pair db: the standby is not connected' a switchover db
refused 'demote pair db: the standby is not connected' a demote db
refused 'stead-receiver is not running here; start it' b switchover db
receiver_start b
agent_start b
settled a b

say "on a node that was promoted over"
node_kill a
order b promote db --force
receiver_start a
agent_start a
wait_for 60 "a to learn of its successor" status_is a '.role == "standby" or .state == "demoted"' true
settled b a
refuses 'a primary at .* is alive and connected' a promote db
order a switchover db
settled a b
same_images data
nodes_stop a b
