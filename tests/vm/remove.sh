#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# remove.sh ublk|nbd: a pair whose device is mounted is not removed, and gives its
# role away neither, with a reason and without a change; once it is unmounted it
# is removed, and device and link are gone. A device that somebody else ends is there
# again, behind the same link, and while it is not the status says so.
kind=$1
disks=(a=128M b=128M)
more_programs=(tests/vm/end-device)
. "$(dirname "$0")/lib.sh" "$@"

pair_on "$kind" 32M

ended() {
	[ "$(grep -c "export-lost .*device=$device" "$work/a/agent.log")" = "$1" ]
}

exported() {
	(($(grep -c ' exported ' "$work/a/agent.log") > $1))
}

# Nobody has it open.
before=$(grep -c ' exported ' "$work/a/agent.log")
echo content | dd of="$device" conv=fsync status=none
"$vm_tools/end-device" "$device" || fail "end $device"
wait_for 30 "the end of $device" ended 1
wait_for 30 "the export" exported "$before"
wait_for 30 "the status" status_is a .reason null
device_of a data
[ "$(head -n 1 "$device")" = content ] || fail "what was written is gone"

# It is mounted.
mkfs.ext4 -q "$device" || fail "mkfs"
mount_at "$device" "$work/mnt"
echo kept >"$work/mnt/file" && sync -f "$work/mnt" || fail "write"
before=$((before + 1)) count=$(($(grep -c "export-lost .*device=$device" "$work/a/agent.log") + 1))
"$vm_tools/end-device" "$device" || fail "end $device"
wait_for 30 "the end of $device" ended "$count"
if [ "$kind" = nbd ]; then
	# The kernel attaches it again only once it is not in use.
	wait_for 30 "the status" status_is a .reason not-exported
	wait_for 30 "a reason" grep -q "device-not-attached .*device=$device .*advice=.unmount it" "$work/a/agent.log"
	[ ! -e "$work/a/run/stead/db-data" ] || fail "the link leads nowhere"
fi
umount "$work/mnt" || fail "umount"
wait_for 30 "the export" exported "$before"
wait_for 30 "the status" status_is a .reason null
device_of a data
mount_at "$device" "$work/mnt"
[ "$(cat "$work/mnt/file")" = kept ] || fail "what was synced is gone"
umount "$work/mnt" || fail "umount"
wait_in_step
same_volumes
dmesg -c >/dev/null

mkfs.ext4 -q "$device" || fail "mkfs"
mount_at "$device" "$work/mnt"
for command in "pair remove" demote switchover; do
	# shellcheck disable=SC2086
	refused "$device is in use: mounted" a $command db
	say "$(cat "$work/err")"
done
echo still >"$work/mnt/works" && sync -f "$work/mnt" || fail "the refusal broke the device"
replicating a || fail "the refusal ended the replication"
umount "$work/mnt"
on a pair remove db >"$work/out" 2>&1 || fail "remove: $(cat "$work/out")"
[ ! -e "$work/a/run/stead/db-data" ] || fail "the link is still there"
if [ "$kind" = ublk ]; then
	[ ! -e "$device" ] || fail "$device is still there"
else
	[ "$(blockdev --getsize64 "$device" 2>/dev/null || echo 0)" = 0 ] || fail "$device is still attached"
fi
kernel_is_content
