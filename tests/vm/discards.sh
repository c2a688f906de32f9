#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# discards.sh ublk|nbd: blkdiscard, fstrim and blkdiscard -z reach the standby
# as extents: they cost next to nothing on the wire, and free the standby's space.
kind=$1
disks=(a=320M b=320M)
. "$(dirname "$0")/lib.sh" "$@"

# A command that reaches the standby as extents: as zeroes even their compressed
# data would be twice as much. travels COMMAND...
travels() {
	local before

	wait_in_step
	before=$(net_bytes)
	"$@" || fail "$*"
	sync
	wait_in_step
	same_volumes
	say "$*: $(($(net_bytes) - before)) bytes on the wire, the standby uses $(space) KiB"
	(($(net_bytes) - before < 128 << 10)) || fail "$* does not travel as extents"
}

space() {
	du -k "$work/b/data.img" | cut -f1
}

fill() {
	noise $((scale * 6 << 20)) | dd of="$1" bs=1M iflag=fullblock conv=notrunc,fsync status=none
	((PIPESTATUS[1] == 0)) || fail "fill $1"
}

pair_on "$kind" 64M
fill "$device"
wait_in_step
full=$(space)
((full >= scale * 6 << 10)) || fail "only $full KiB of the noise are on the standby"
travels blkdiscard "$device"
(($(space) < full / 4)) || fail "the standby did not free what was discarded"
fill "$device"
travels blkdiscard -z "$device"
[ "$(tr -d '\0' <"$device" | wc -c)" = 0 ] || fail "the device is not all zero"

mkfs.ext4 -q -E nodiscard "$device" || fail "mkfs"
mount_at "$device" "$work/mnt"
fill "$work/mnt/noise"
sync
wait_in_step
full=$(space)
rm "$work/mnt/noise"
# Until the journal has that, the space is not free.
sync -f "$work/mnt"
travels fstrim -v "$work/mnt"
(($(space) < full / 2)) || fail "the standby did not free what was trimmed"
umount "$work/mnt"
kernel_is_content
