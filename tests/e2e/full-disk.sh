#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The disk under the journal, and the one under the spill file, is full: the
# pair says so, writes of the application go on, the standby stays promotable,
# and when there is room again it comes back by itself.
. "$(dirname "$0")/lib.sh"
requires jq cmp fallocate
requires_loop

fill() {
	dd if=/dev/zero of="$work/$1/var/lib/stead/filler" bs=64k status=none 2>/dev/null
	sync "$work/$1/var/lib/stead/filler"
}

make_room() {
	rm "$work/$1/var/lib/stead/filler"
	sync -f "$work/$1/var/lib/stead"
}

for node in a b; do
	node_new "$node"
	small_disk "$node" 160M
	receiver_start "$node"
	agent_start "$node"
done

# A disk that is full beforehand: pairing is refused, since its space is taken
# before anything is promised, and no half pair is left behind.
for node in a b; do
	volume_make "$node" data 64M
	volume_make "$node" wal 64M
done
refuses_for_space() {
	fill "$1"
	if (pair_nodes db a b data wal) >"$work/out" 2>&1; then
		fail "paired although the disk of $1 is full"
	fi
	grep -qi 'space' "$work/out" || fail "no reason for the refusal: $(cat "$work/out")"
	say "refused: $(grep -i space "$work/out" | head -n 1)"
	make_room "$1"
	[ "$(on a status --json)" = '[]' ] || fail "half a pair is left on a: $(on a status)"
	[ "$(on b status --json)" = '[]' ] || fail "half a pair is left on b: $(on b status)"
}
refuses_for_space a
refuses_for_space b

proxy_start link "${port[b]}"
link_port=$proxy_port
pair_nodes db a b data wal
config_set b journal 64M
config_set a spill 256M
config_set a capture-memory 1M
for node in a b; do
	daemon_stop "$node" agent
	daemon_stop "$node" receiver
	receiver_start "$node"
	agent_start "$node"
done
wait_for 60 "replication to begin" replicating a

say "full disk under the spill file"
fill a
proxy link rate 1000000
writer_start --seconds 8 --rate 300
pause 4
status_is b .promotable true || fail "not promotable with a full spill disk"
proxy link rate 0
writer_finish
make_room a
wait_in_step
same_images data wal

say "full disk under the journal"
fill b
writer_start --seconds 6 --rate 300
pause 3
status_is b .promotable true || fail "not promotable with a full journal disk"
say "primary: $(status a '.state + " " + (.reason // "-")'), standby: $(status b '.state + " " + (.reason // "-")')"
writer_finish
make_room b
wait_in_step
same_images data wal
check_cut --complete "$work/stamps" "$work/b/data.img" "$work/b/wal.img"
nodes_stop a b
umount "$work/a/var/lib/stead" "$work/b/var/lib/stead"
