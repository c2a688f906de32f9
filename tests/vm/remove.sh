#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# remove.sh ublk|nbd: a pair whose device is mounted is not removed, with a reason
# and without a change; once it is unmounted it is, and device and link are gone.
# `auto` takes what this kernel has.
kind=$1
disks=(a=128M b=128M)
. "$(dirname "$0")/lib.sh" "$@"

pair_on "$kind" 32M
mkfs.ext4 -q "$device" || fail "mkfs"
mount_at "$device" "$work/mnt"
if on a pair remove db >"$work/out" 2>&1; then
	fail "removed with the device mounted"
fi
grep -qE '^stead: .*(mounted|in use|busy)' "$work/out" || fail "no reason: $(cat "$work/out")"
say "$(cat "$work/out")"
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

on b pair remove db >"$work/out" 2>&1 || fail "remove: $(cat "$work/out")"
rm "$work/b/data.img"
truncate -s 32M "$work/b/data.img"
export_kind=auto
pair_nodes db a b data
wait_for 60 "replication to begin" replicating a
device_of a data
case $kind:$device in
ublk:/dev/ublkb* | nbd:/dev/nbd*) ;;
*) fail "auto took $device here" ;;
esac
daemon_stop a agent
[ ! -e "$work/a/run/stead/db-data" ] || [ ! -b "$work/a/run/stead/db-data" ] || say "the device stays for the next agent"
