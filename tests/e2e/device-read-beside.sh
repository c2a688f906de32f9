#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Somebody reads a volume's block device through the page cache (a backup, blkid)
# while the application writes, and has it open all the time, so that the cache
# keeps what is no longer true. Neither a comparison of everything nor what is
# kept of blocks that are given up takes it for the volume, and once stead has
# closed the device it is gone.
. "$(dirname "$0")/lib.sh"
requires jq cmp openssl perl
requires_slow_device
size=32M

direct() {
	dd if="$device" of="$1" bs=1M iflag=direct status=none || fail "read $device"
}

# Whether the page cache shows anything else than the device.
cache_differs() {
	dd if="$device" of="$work/cached" bs=64k status=none || fail "read $device"
	direct "$work/now"
	! cmp -s "$work/cached" "$work/now"
}

# Writes with somebody who reads beside, until that has left its mark.
write_read_beside() {
	local try reader

	for ((try = 0; try < 10; try++)); do
		while :; do dd if="$device" of=/dev/null bs=64k status=none; done &
		reader=$!
		rm -f "$work/stamps"
		"$tools/stamp-writer" --log "$work/stamps" --uri "$(uri a data)" --seconds 2 >"$work/writer.out" 2>&1 ||
			fail "the writer: $(cat "$work/writer.out")"
		end_child KILL "$reader"
		! cache_differs || return 0
	done
	skip "this kernel keeps the page cache of a device in step"
}

same_everywhere() {
	direct "$work/now"
	cmp "$work/now" "$work/b/data.img" || fail "$1: the nodes differ"
}

node_new a
node_new b
slow_device a "$size"
exec {held}<"$device"
ln -s "$device" "$work/a/data.img"
apart_pair "$size" data
wait_in_step
write_read_beside
wait_in_step
same_everywhere "in step"

# Paired anew, all is compared.
order a pair remove db
order b pair remove db
pair_nodes db a b data
wait_in_step
same_everywhere "everything was compared"

# What a holds beyond its peer is given up, and kept in files.
cut_off
write_read_beside
direct "$work/want"
order b promote db --force
write_noise b data 20
reunite
wait_for 60 "a to see the split" status_is a .state split-brain
wait_for 60 "b to see the split" status_is b .state split-brain
cache_differs || fail "the page cache came right by itself"
order a resync db --discard-local
salvage=$(sed -n 's/.*kept in \(.*\)\.$/\1/p' "$work/out")
[ -n "$salvage" ] || fail "nothing was kept: $(cat "$work/out")"
checked=0
while read -r offset length; do
	cmp -n "$length" -i "$offset" "$salvage/data.img" "$work/want" || fail "the kept content at $offset is not what a held"
	checked=$((checked + length))
done < <(grep -v '^#' "$salvage/data.extents")
((checked > 0)) || fail "nothing was kept"
settled b a
same_everywhere "resynced"
nodes_stop a b
! cache_differs || fail "the page cache holds what is no longer true, and nothing of stead runs"
