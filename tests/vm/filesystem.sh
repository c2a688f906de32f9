#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# filesystem.sh ublk|nbd ext4|xfs: a disk (with xfs: a logical volume) that
# already has a file system becomes a volume, is mounted as the device instead,
# and takes a load; the standby is promoted in the midst of it: its file system
# is clean and has what was synchronised before.
kind=$1 fs=$2
disks=(a=128M b=512M data=320M)
. "$(dirname "$0")/lib.sh" "$@"

adopted=$(disk data)
[ "$fs" = ext4 ] || logical_volume "$adopted"
mkfs."$fs" -q "$adopted" || fail "mkfs"
mount_at "$adopted" "$work/mnt"
cp -a /stead "$work/mnt/before" || fail "cp"
umount "$work/mnt"
pair_on "$kind" 320M "$adopted"
mount_at "$device" "$work/mnt"
diff -r /stead "$work/mnt/before" || fail "the volume is not what the disk was"
churn_start "$work/mnt"
mkdir "$work/promoted"
! mount "$adopted" "$work/promoted" 2>/dev/null || fail "the disk below can be mounted"
wait_for 120 "a load" churned "$work/mnt" 1
echo survives >"$work/mnt/promised" && sync -f "$work/mnt" || fail "the load broke the file system"
open=$(status a .epoch.open)
wait_for 60 "that to be durable on the standby" status_at_least a .epoch.durable "$open"
kernel_is_content
on b promote db --force >"$work/out" 2>&1 || fail "promote: $(cat "$work/out")"
# The former primary refuses writes: its load ends.
wait "$churn_pid" && fail "the fenced primary still takes writes"
umount "$work/mnt" || fail "umount of the fenced device"
device_of b data
mount_at "$device" "$work/promoted"
[ "$(cat "$work/promoted/promised")" = survives ] || fail "what was durable is gone"
diff -r /stead "$work/promoted/before" || fail "what was there at first is damaged"
umount "$work/promoted"
check_fs "$fs" "$device"
