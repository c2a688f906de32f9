#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A switchover drains, with clients that write, and cannot end as the standby
# answers no more. Then the primary's agent is stopped, or the pair is removed:
# whoever ordered the switchover is told, the stop or removal is done, and the
# agent lives on for its other pairs.
. "$(dirname "$0")/lib.sh"
requires jq

# Of two orders one is refused, at once: then the other one drains. Unless the
# standby's silence was noticed before.
drains() {
	local orders=() i

	wait_for 60 "replication to go on" replicating a
	kill -STOP "${pid[b.receiver]}"
	wait_for 30 "something to drain" status_is a '.bytes_behind > 0' true
	rm -f "$work"/order.*
	for i in 1 2; do
		on a switchover db >"$work/order.$i" 2>&1 &
		orders+=($!)
	done
	wait_for 30 "one of the orders to be refused" answered
	for i in 1 2; do
		grep -q 'just being changed' "$work/order.$((3 - i))" || continue
		reply=$work/order.$i ordered=${orders[i - 1]}
		return
	done
	kill -CONT "${pid[b.receiver]}"
	wait "${orders[@]}"
	return 1
}

answered() {
	[ "$(cat "$work"/order.* 2>/dev/null | wc -l)" -gt 0 ]
}

drain() {
	writer_start --seconds 600 --connections 4 --depth 2
	wait_for 30 "writes" status_is a '.change_bytes_per_second > 0' true
	wait_for 120 "a switchover to drain" drains
}

go_on() {
	kill -CONT "${pid[b.receiver]}"
	wait "$ordered" && fail "the switchover was done: $(cat "$reply")"
	grep -q '^stead: .*pair db is stopping' "$reply" || fail "whoever ordered it was told: $(cat "$reply")"
	{ wait "$writer_pid"; } 2>/dev/null
}

simple_pair 32M data wal
wait_in_step
drain
daemon_stop a agent
go_on
agent_start a
wait_in_step
same_images data wal
check_cut --complete "$work/stamps" "$work/b/data.img" "$work/b/wal.img" >"$work/cut"

drain
on a pair remove db >"$work/out" 2>&1 || fail "pair remove: $(cat "$work/out")"
go_on
kill -0 "${pid[a.agent]}" || fail "the agent ended with the pair"
on a status >"$work/out" 2>&1 || fail "the agent does not answer: $(cat "$work/out")"
nodes_stop a b
