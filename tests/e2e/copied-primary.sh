#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# An epoch of the primary is on its way when a copy of its machine, made before,
# is started in its place, ships an epoch with the same number, and is put away
# again. The original does not take that for the acknowledgement it waits for:
# both nodes name what has happened, nothing is called in step, and the order to
# go on from here has everything compared.
. "$(dirname "$0")/lib.sh"
requires jq cmp qemu-io openssl

state=$work/a/var/lib/stead/pairs/db
running=$work/a/run/stead/maps/db
image=$work/a/data.img

# Into the same inode: for the node it is the disk that it was.
image_put() {
	dd if="$1" of="$image" bs=1M conv=notrunc status=none
}

# Here the disk of another machine is not: the node has noticed that it was written to.
accept() {
	wait_for 60 "the volume to be refused" status_is a .reason volume-changed
	order a volume accept db data
}

on_its_way() {
	status_is a '.epoch.open - (.epoch.durable // .epoch.open) >= 2' true
}

told_as_copy() {
	status_is "$1" '.state == "refused" and .reason == "copy-of-primary"' true
}

node_new b
proxy_start link "${port[b]}"
link_port=$proxy_port
join_options=(--rpo 4s)
simple_pair 64M data
write_noise a data 64
wait_in_step

say "a copy is made"
daemon_stop a agent
cp -a "$state" "$work/copy"
cp --sparse=always "$image" "$work/copy.img"

say "the original has an epoch on its way, the first since"
config_set a start-without-peer yes
proxy link down
agent_start a
noise 2M >"$work/noise.img"
change a data "write -s $work/noise.img 8m 2m"
proxy link rate 100000
proxy link up
wait_for 60 "an epoch to be on its way" on_its_way
proxy link down
daemon_kill a agent
mv "$state" "$work/original"
mv "$running" "$work/original.map"
cp --sparse=always "$image" "$work/original.img"

say "the copy runs"
mv "$work/copy" "$state"
image_put "$work/copy.img"
proxy link rate 0
proxy link up
agent_start a
accept
wait_in_step
change a data 'write -P 0x55 32m 4k'
wait_in_step
daemon_kill a agent
rm -rf "$state"

say "the original comes back"
mv "$work/original" "$state"
mv "$work/original.map" "$running"
image_put "$work/original.img"
agent_start a
wait_for 60 "the primary to tell that a copy has run" told_as_copy a
wait_for 60 "so does the standby" told_as_copy b
wait_for 60 "the breach" status_is a .rpo_state breached
on a check db >"$work/out"
[ $? = 2 ] || fail "check: not critical: $(cat "$work/out")"
refused 'holds what its primary never had.*--discard-local' b resync db
order b resync db --discard-local
wait_in_step
same_images data
nodes_stop a b
