#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Planned switchovers under load, ordered on either node: nothing that was
# acknowledged is lost, the order is kept, and both images are identical. Then
# each of the four processes, and each node, is killed at some moment of a
# switchover: after all run again one node serves and the other follows by itself, nothing that was
# acknowledged is lost, and the next switchover is done.
#
#   switchover.sh [ROUNDS]   kills, default 6
. "$(dirname "$0")/lib.sh"
requires jq cmp

rounds=${1:-6}

# What the application has in front: whichever node serves. A client that
# connects again finds it there.
move_to() {
	ln -sfn "$work/$1/run/stead" "$work/next"
	mv -T "$work/next" "$work/served"
}

front_writer() {
	"$tools/stamp-writer" --log "$work/stamps" --reconnect --rate 400 --zeroes 2 --seconds 600 \
		--uri "nbd+unix:///data?socket=$work/served/db-data.sock" \
		--uri "nbd+unix:///wal?socket=$work/served/db-wal.sock" >"$work/writer.out" 2>"$work/writer.err" &
	writer_pid=$!
}

other() {
	[ "$1" = a ] && echo b || echo a
}

# Sets $primary to the node that serves while the other one follows: one of the
# two sensible states. Neither: not yet.
decided() {
	for primary in a b; do
		status_is "$primary" '.role == "primary" and .state == "replicating" and .connected' true &&
			follows "$(other $primary)" && return
	done
	return 1
}

# Everything that was acknowledged is on both nodes.
nothing_lost() {
	settled "$primary" "$(other "$primary")"
	same_images data wal
	check_cut --complete "$work/stamps" "$work/$primary/data.img" "$work/$primary/wal.img" >"$work/cut"
}

simple_pair 16M data wal
wait_in_step
primary=a
move_to a
front_writer
for by in a b b a; do
	pause "0.$(random_between 300 700)"
	order "$by" switchover db
	if [ "$by" = "$primary" ]; then
		grep -q 'the peer is the primary now, nothing was lost' "$work/out" || fail "it says: $(cat "$work/out")"
	else
		grep -q 'this node is the primary now' "$work/out" || fail "it says: $(cat "$work/out")"
	fi
	primary=$(other "$primary")
	move_to "$primary"
	wait_for 60 "the roles to be exchanged" decided
	pause 0.3
done
[ "$primary" = a ] || fail "four switchovers end on $primary"
writer_stop
[ "$(writer_total reconnects)" -gt 0 ] || fail "the writers never moved"
nothing_lost
say "four switchovers: $(cat "$work/cut")"

done=0
for ((round = 1; round <= rounds; round++)); do
	victims=('a agent' 'a receiver' 'b agent' 'b receiver' 'a agent receiver' 'b agent receiver')
	read -r node daemons <<<"${victims[round % 6]}"
	by=$([ "$(random_between 0 1)" = 0 ] && echo a || echo b)
	before=$primary
	front_writer
	wait_for 30 "writes" test -s "$work/stamps"
	on "$by" switchover db >"$work/out" 2>&1 &
	ordered=$!
	pause "0.$(printf %03d "$(random_between 0 200)")"
	for daemon in $daemons; do
		daemon_kill "$node" "$daemon"
	done
	for daemon in $daemons; do
		"${daemon}_start" "$node"
	done
	wait "$ordered"
	wait_for 60 "one to serve and the other to follow" decided
	[ "$primary" = "$before" ] || done=$((done + 1))
	move_to "$primary"
	writer_stop >/dev/null
	nothing_lost
	say "round $round: $daemons of $node killed, ordered on $by: $before to $primary: $(head -n 1 "$work/out")"
done
say "$done of $rounds were done, the others were as if they had not been ordered"
order "$primary" switchover db
primary=$(other "$primary")
wait_for 60 "the roles to be exchanged" decided
nothing_lost
nodes_stop a b
