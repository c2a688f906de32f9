#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# zero-copy.sh: where the kernel can, the disk is given the memory of a request as
# it is. An agent that is killed then is followed by one that has no place to
# register memory in, and this by one that has: the load under a file system sees
# pauses and no error, and the nodes become identical.
kind=ublk
machine_kind=ublk-new
disks=(a=256M b=256M)
more_programs=(tests/vm/no-table.so)
. "$(dirname "$0")/lib.sh" "$@"

exported_with() {
	grep -c "exported .*device=$device zero-copy=$1" "$work/a/agent.log"
}

load() {
	fio --name=load --filename="$1" --direct=1 --ioengine=libaio --iodepth=8 --size=8M --rw=randrw \
		--bssplit=512/10:4k/40:12k/20:64k/20:1m/10 --blockalign=512 --verify=crc32c --verify_fatal=1 --do_verify=1 \
		--randrepeat=0 >"$work/out" 2>&1 || fail "fio: $(cat "$work/out")"
}

pair_on "$kind" 48M
before=$device
load "$device"
mkfs.ext4 -q "$device" || fail "mkfs"
mount_at "$device" "$work/mnt"
churn_start "$work/mnt"
for table in no yes; do
	wait_for 120 "a load" churned "$work/mnt" $(($(cat "$work/mnt.rounds" 2>/dev/null || echo 0) + 1))
	daemon_kill a agent
	STEAD_AGENT_WRAPPER=
	[ "$table" = yes ] || STEAD_AGENT_WRAPPER="env LD_PRELOAD=$vm_tools/no-table.so"
	agent_start a
	device_of a data
	[ "$device" = "$before" ] || fail "the device was $before and is $device"
done
wait_for 120 "a load" churned "$work/mnt" $(($(cat "$work/mnt.rounds") + 1))
churn_end "$work/mnt" ext4
[ "$(exported_with yes)" = 3 ] || fail "not served with zero copy: $(grep exported "$work/a/agent.log")"

# One that has no such table from the start has the driver copy.
daemon_stop a agent
STEAD_AGENT_WRAPPER="env LD_PRELOAD=$vm_tools/no-table.so"
agent_start a
device_of a data
[ "$(exported_with no)" = 1 ] || fail "served with zero copy: $(grep exported "$work/a/agent.log")"
load "$device"
