#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The link is cut and both nodes are written to as primaries: seen at the first
# contact, both refuse to replicate, the older one stops serving, and status and
# log of both name both sides. Nothing is overwritten before an administrator
# names the side that loses; what that one held is kept. Four splits: either
# side loses, a promotion that was never written to is none, and a real fork, in
# which both were promoted.
. "$(dirname "$0")/lib.sh"
requires jq qemu-io cmp

split() {
	status_is "$1" '.state == "split-brain"' true
}

# Blocks that the sides are to have written: expect_sides NODE HERE PEER
expect_sides() {
	local sides

	status_is "$1" "[.divergence.here.bytes, .divergence.peer.bytes] == [$2 * 4096, $3 * 4096]" true ||
		fail "$1 is to tell of $2 blocks here and $3 there: $(status "$1" .divergence)"
	status_is "$1" '[.divergence.here.since, .divergence.peer.since] | all(type == "string")' true ||
		fail "$1 does not tell the ages: $(status "$1" .divergence)"
	on "$1" status db >"$work/out"
	sides=$(grep -cE "^  (here|peer) +($(($2 * 4))|$(($3 * 4))).0 KiB of its own, the oldest of 20" "$work/out")
	[ "$sides" = 2 ] || fail "status of $1 does not show both sides: $(cat "$work/out")"
}

# The newest line of the log that tells of both: logged NODE HERE PEER
logged() {
	grep "error split-brain pair=" "$work/$1/agent.log" | tail -n 1 >"$work/line"
	grep -q "local_bytes=$(($2 * 4096)) .*local_since=20.*peer_bytes=$(($3 * 4096)) .*peer_since=20" "$work/line"
}

apart_pair 16M data
wait_in_step
change a data 'write -P 0x01 0 64k'
settled a b

say "both are written to: the former primary loses"
cut_off
change a data 'write -P 0xaa 1M 32k'
order b promote db --force
change b data 'write -P 0xbb 1M 16k' 'write -P 0xbb 2M 8k'
refused 'no newer one is known' a resync db --discard-local
reunite
wait_for 60 "a to see the split" split a
wait_for 60 "b to see the split" split b
wait_for 30 "a to know what b holds" status_is a '.divergence.peer.bytes' 24576
expect_sides a 8 6
expect_sides b 6 8
wait_for 30 "the log of a" logged a 8 6
wait_for 30 "the log of b" logged b 6 8
takes_no_writes a data
change b data 'write -P 0xbc 3M 4k'
say "$(on a status db | sed -n '/^diverged/,/^  to go on/p')"

refused 'both nodes were written to; .*(32768 bytes).*resync db --discard-local' a resync db
split a || fail "a refused resync changed the state: $(status a .)"
order a resync db --discard-local
salvage=$(sed -n 's/.*kept in \(.*\)\.$/\1/p' "$work/out")
[ -d "$salvage" ] || fail "no salvage: $(cat "$work/out")"
settled b a
same_images data
qemu-io -f raw -r -c 'read -P 0xbb 1M 16k' -c 'read -P 0 1040k 16k' "$work/a/data.img" | grep -q 'verification failed' &&
	fail "a does not hold what b wrote"
# What was given up, block by block, and nothing else.
grep -v '^#' "$salvage/data.extents" >"$work/extents"
[ "$(cat "$work/extents")" = "1048576 32768" ] || fail "kept extents: $(cat "$work/extents")"
qemu-io -f raw -r -c 'read -P 0xaa 1M 32k' "$salvage/data.img" >"$work/out"
grep -q 'verification failed' "$work/out" && fail "the salvage is not what a had written"
[ "$(stat -c %s "$salvage/data.img")" = $((16 << 20)) ] || fail "the salvage has another size"
[ "$(stat -c %a "$salvage")" = 700 ] || fail "the salvage can be read by others"

say "both are written to: the promoted one loses"
cut_off
change b data 'write -P 0xcc 4M 12k'
order a promote db --force
change a data 'write -P 0xdd 4M 4k'
reunite
wait_for 60 "a to see the split" split a
wait_for 60 "b to see the split" split b
takes_no_writes b data
order b promote db --force
change b data 'write -P 0xce 5M 4k'
wait_for 60 "a to give way" status_is a '[.role, .state] == ["primary", "split-brain"] and .volumes[0].device == null' true
takes_no_writes a data
refused 'both nodes were written to' a resync db
order a resync db --discard-local
settled b a
same_images data
for check in '0xcc 4M 12k' '0xce 5M 4k'; do
	qemu-io -f raw -r -c "read -P $check" "$work/a/data.img" | grep -q 'verification failed' && fail "a lacks $check"
done

say "neither was written to: no split"
cut_off
order a promote db --force
reunite
wait_for 60 "b to follow by itself" follows b
settled a b
same_images data

say "a real fork: both are promoted"
order a demote db
follows b && fail "b follows a standby"
cut_off
order b promote db --force
order a promote db --force
change a data 'write -P 0x0a 6M 8k'
change b data 'write -P 0x0b 6M 16k'
reunite
wait_for 60 "a to see the split" split a
wait_for 60 "b to see the split" split b
wait_for 60 "b to have stopped" status_is b '.volumes[0].device' null
takes_no_writes b data
status_is a '.volumes[0].device | type' string || fail "the newer one stopped"
wait_for 60 "b to know both sides" status_is b '[.divergence.here.bytes, .divergence.peer.bytes] == [16384, 8192]' true
refused 'both nodes were written to' b resync db
order b resync db --discard-local --no-salvage
grep -q 'kept in' "$work/out" && fail "--no-salvage kept something: $(cat "$work/out")"
settled a b
same_images data
nodes_stop a b
