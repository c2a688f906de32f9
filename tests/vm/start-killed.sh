#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# start-killed.sh: the agent is killed at any moment while it makes its device, the
# kernel's look for partitions included, which waits for the agent with the driver
# locked. The next one always gets a device, with the same content.
kind=ublk
disks=(a=128M b=128M volume=32M)
. "$(dirname "$0")/lib.sh" "$@"

# reads_take MS: of the disk below the volume
reads_take() {
	dmsetup suspend slow && dmsetup reload slow --table "0 $sectors delay $(disk volume) 0 $1 $(disk volume) 0 0" &&
		dmsetup resume slow || fail "dm-delay"
}

begun() {
	compgen -G '/sys/class/ublk-char/ublkc*' >/dev/null
}

scanned() {
	compgen -G '/sys/block/ublkb*' >/dev/null
}

modprobe -a ublk_drv dm-mod dm-delay || fail "modprobe"
sectors=$(blockdev --getsz "$(disk volume)")
dmsetup create slow --table "0 $sectors delay $(disk volume) 0 0 $(disk volume) 0 0" && dmsetup mknodes || fail "dm-delay"
net_start
node_disk a "$(disk a)"
node_disk b "$(disk b)"
ln -s /dev/mapper/slow "$work/a/data.img"
export_kind=ublk
simple_pair 32M data
wait_for 120 "replication to begin" replicating a
device_of a data
noise $((1 << 20)) | dd of="$device" bs=1M oflag=direct status=none
sum=$(dd if="$device" bs=1M count=1 iflag=direct status=none | cksum)
for moment in begun scanned begun scanned scanned; do
	daemon_stop a agent
	wait_for 30 "the device to go" test ! -b "$device"
	reads_take 300
	agent_start a
	wait_for 60 "a device" "$moment"
	[ "$moment" = begun ] || pause "0.$(random_between 100 999)"
	daemon_kill a agent
	reads_take 0
	agent_start a
	device_of a data
	[ "$(dd if="$device" bs=1M count=1 iflag=direct status=none | cksum)" = "$sum" ] || fail "the content of $device"
	say "killed when it was $moment: $device"
done
kernel_is_content
wait_in_step
same_volumes
