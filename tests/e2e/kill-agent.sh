#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The agent is killed twice under load: clients reconnect and go on, nothing
# acknowledged is lost, the pair catches up by itself and becomes identical.
# Then twice more without load, once killed and once restarted in order: the
# change map tells what is left to ship, so nothing is compared.
. "$(dirname "$0")/lib.sh"
requires jq cmp openssl

# What the agent has put on the wire since it started.
wired() {
	status a .wire_bytes_total
}

node_new b
proxy_start link "${port[b]}"
link_port=$proxy_port
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

# The hashes of one region of 1 MiB are 4 KiB: beside 200 blocks of noise a
# comparison of the few that were written would be seen.
for end in daemon_kill daemon_stop; do
	proxy link down
	write_noise a data 200 100 37
	$end a agent
	agent_start a
	status_is a .state waiting || fail "the agent serves before it has heard of its peer"
	proxy link up
	settled a b
	same_images data wal
	carried=$(wired)
	say "$end: $carried bytes carried afterwards for $((200 * 4096)) bytes that were written before"
	((carried * 100 <= 200 * 4096 * 102)) || fail "$carried bytes were carried for 200 blocks"
	((carried >= 200 * 4096)) || fail "$carried bytes were carried for 200 blocks of noise: impossible"
	[ "$(status a .bytes_behind)" = 0 ] || fail "something is left"
done
nodes_stop a b
