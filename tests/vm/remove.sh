#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# remove.sh ublk|nbd: a pair whose device is mounted is not removed, and gives its
# role away neither, with a reason and without a change; once it is unmounted it
# is removed, and device and link are gone.
kind=$1
disks=(a=128M b=128M)
. "$(dirname "$0")/lib.sh" "$@"

pair_on "$kind" 32M
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
