#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A primary is demoted while clients write, again and again. Each demotion is
# done, loses nothing that was acknowledged, and leaves both images alike; the
# daemons then stop in order.
#
#   demote-under-load.sh [ROUNDS]   default 3
. "$(dirname "$0")/lib.sh"
requires jq cmp

rounds=${1:-3}

simple_pair 32M data wal
wait_in_step
for ((round = 1; round <= rounds; round++)); do
	writer_start --seconds 600 --connections 8 --depth 4 --zeroes 2
	wait_for 30 "writes" status_is a '.change_bytes_per_second > 0' true
	pause "0.$(random_between 100 700)"
	timeout 120 "$stead_bin" --root "$work/a" demote db >"$work/out" 2>&1 ||
		fail "round $round: demote ended with $?: $(cat "$work/out")"
	wait "$writer_pid" # its servers are gone
	wait_for 60 "a to be a standby" status_is a .role standby
	wait_for 60 "everything applied on b" applied b
	same_images data wal
	check_cut --complete "$work/stamps" "$work/b/data.img" "$work/b/wal.img" >"$work/cut"
	say "round $round: $(cat "$work/cut")"
	order a promote db
	settled a b
done
nodes_stop a b
