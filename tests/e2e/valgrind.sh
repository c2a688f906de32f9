#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Both daemons under valgrind through pairing, full sync, load, a cut link and
# an orderly end: no error, no leak.
. "$(dirname "$0")/lib.sh"
requires jq cmp valgrind

if nm -a "$agent_bin" 2>/dev/null | grep -q __asan_init || grep -q __asan_init "$agent_bin"; then
	skip "a sanitizer build does this itself"
fi
export STEAD_AGENT_WRAPPER="valgrind --quiet --leak-check=full --show-leak-kinds=definite,indirect
	--errors-for-leak-kinds=definite,indirect --error-exitcode=98 --child-silent-after-fork=yes"
export STEAD_RECEIVER_WRAPPER=$STEAD_AGENT_WRAPPER
node_new b
proxy_start link "${port[b]}"
link_port=$proxy_port
simple_pair 8M data wal
wait_for 120 "replication to begin" replicating a
writer_start --seconds 4 --connections 2 --zeroes 2
pause 2
proxy link drop
writer_finish
wait_in_step
same_images data wal
nodes_stop a b
! grep -hE '^==[0-9]+==' "$work"/[ab]/*.log || fail "valgrind reported"
