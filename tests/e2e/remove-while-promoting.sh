#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A pair is to be removed while its standby is being promoted: one of the two is
# refused, the other one done, and the receiver ends when it is asked to.
. "$(dirname "$0")/lib.sh"
requires jq

# So many clients have connected to the receiver's control socket.
asked() {
	[ "$(grep -c "$work/b/run/stead/receiver.sock" /proc/net/unix)" -gt "$1" ]
}

ended() {
	! kill -0 "$1" 2>/dev/null
}

simple_pair 16M data
wait_in_step
daemon_kill a agent
wait_for 30 "the standby to miss its primary" status_is b .connected false
# Both orders wait in the socket, the promotion first.
kill -STOP "${pid[b.receiver]}"
on b promote db --force >"$work/promote.out" 2>&1 &
promote=$!
wait_for 30 "the promotion to be ordered" asked 1
on b pair remove db >"$work/remove.out" 2>&1 &
remove=$!
wait_for 30 "the removal to be ordered" asked 2
kill -CONT "${pid[b.receiver]}"
wait_for 60 "an answer to the promotion" ended "$promote"
wait_for 60 "an answer to the removal" ended "$remove"
if wait "$promote"; then
	wait "$remove" && fail "a pair was removed while it was being promoted"
	grep -q '^stead: .*just being changed' "$work/remove.out" || fail "the removal says: $(cat "$work/remove.out")"
	status_is b .role primary || fail "b is no primary"
	order b pair remove db
else # the other one was read first
	grep -q '^stead: .*is stopping' "$work/promote.out" || fail "promote: $(cat "$work/promote.out")"
	wait "$remove" || fail "pair remove: $(cat "$work/remove.out")"
fi
nodes_stop b
