#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A database on the device, and the power of everything fails under load; the
# disks of both nodes lose what was not flushed. The primary stays away: the
# standby is promoted after the boot, file system and database are sound, and
# the transactions are the first ones, at least those that were durable there.
disks=(a=160M a-log=2G a-live=160M b=160M b-log=2G b-live=160M)
. "$(dirname "$0")/lib.sh" "$@"
. "$here/transactions.sh"

in_log() {
	"$vm_tools/disk-log" find "$(disk "$1-log")" cut
}

export_kind=nbd
modprobe nbd || fail "modprobe nbd"
net_start
if [ "$boot" = 1 ]; then
	cache_start a
	cache_start b
	simple_pair 64M data
	wait_for 60 "replication to begin" replicating a
	device_of a data
	mkfs.ext4 -q "$device" || fail "mkfs"
	mount_at "$device" "$work/mnt"
	transactions_start
	wait_for 60 "transactions" acknowledged_at_least 200
	promised=$(acknowledged)
	durable=$(status a .epoch.open)
	wait_for 60 "them to be durable on the standby" status_at_least a .epoch.durable "$durable"
	pause "0.$(random_between 100 999)"
	echo "vm: keep promised=$promised"
	cache_mark a
	cache_mark b
	wait_for 60 "the log of the disks" in_log a
	wait_for 60 "the log of the disks" in_log b
	echo "vm: power failure"
	# Ended from outside.
	wait
fi
cache_lose b
parts_start b "$(disk b)"
node_start b
on b promote db >"$work/out" 2>&1 || fail "promote: $(cat "$work/out")"
device_of b data
mount_at "$device" "$work/mnt"
transactions_check
say "$promised transactions were durable, $survived survived"
((survived >= promised)) || fail "transactions that were durable are gone"
umount "$work/mnt"
check_fs ext4 "$device"
kernel_is_content
