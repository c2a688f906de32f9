#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The link is reset, again and again, and slow in between: no write fails, each
# time the pair goes on by itself, and in the end the images are identical.
. "$(dirname "$0")/lib.sh"
requires jq cmp

node_new b
proxy_start link "${port[b]}"
link_port=$proxy_port
simple_pair 64M data wal
wait_for 60 "replication to begin" replicating a
writer_start --seconds "${SECONDS_OF_LOAD:-6}" --zeroes 2
for rate in 0 4000000 500000 0; do
	pause "0.$(random_between 100 999)"
	proxy link rate "$rate"
	proxy link drop
	status_is b .promotable true || fail "the standby is not promotable after a cut"
done
proxy link delay 20
writer_finish
wait_in_step
same_images data wal
check_cut --complete "$work/stamps" "$work/b/data.img" "$work/b/wal.img"
nodes_stop a b
