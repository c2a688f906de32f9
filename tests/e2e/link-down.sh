#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# With the link down for DOWN_SECONDS (60 is wanted, less by default) under
# load: no write fails or waits for the network, the standby is promotable at
# every moment, and after the link's return the pair catches up by itself.
. "$(dirname "$0")/lib.sh"
requires jq cmp

down=${DOWN_SECONDS:-10}
node_new b
proxy_start link "${port[b]}"
link_port=$proxy_port
simple_pair 64M data wal
wait_for 60 "replication to begin" replicating a
writer_start --seconds "$((down + 4))" --rate 300 --zeroes 2
pause 1
epoch=$(status b .recovery_point.epoch)
# First like a pulled cable, then like a dead peer.
proxy link stall
until=$((SECONDS + down))
while ((SECONDS < until)); do
	((until - SECONDS > down / 2)) || [ "${peer_gone:-}" ] || {
		proxy link down
		peer_gone=1
	}
	status_is b .promotable true || fail "the standby is not promotable while the link is down"
	pause 0.2
done
status_is a '.connected == false and .lag_seconds > 0 and .bytes_behind > 0' true ||
	fail "the primary does not show that it is behind: $(status a .)"
[ "$(status b .recovery_point.epoch)" -ge "$epoch" ] || fail "the standby went back"
proxy link up
writer_finish
[ "$(writer_total errors)" = 0 ] || fail "writes failed"
[ "$(writer_total max_us)" -lt $((down * 1000000 / 2)) ] ||
	fail "a write took $(writer_total max_us) us: it waited for the network"
wait_in_step
same_images data wal
check_cut --complete "$work/stamps" "$work/b/data.img" "$work/b/wal.img"
nodes_stop a b
