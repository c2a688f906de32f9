#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# agent-restart.sh ublk|nbd: under a mounted file system with a load the agent is
# killed, restarted in order, and killed while the link is down: the load sees
# pauses and no error, the file system is clean, and the nodes become identical.
kind=$1
disks=(a=256M b=256M)
. "$(dirname "$0")/lib.sh" "$@"

pair_on "$kind" 64M
before=$device
mkfs.ext4 -q "$device" || fail "mkfs"
mount_at "$device" "$work/mnt"
churn_start "$work/mnt"
wait_for 120 "a load" churned "$work/mnt" 1
for how in KILL KILL TERM KILL; do
	pause "0.$(random_between 100 999)"
	end_child "$how" "${pid[a.agent]}"
	# Whatever the load does now waits.
	pause "0.$(random_between 100 999)"
	agent_start a
	device_of a data
	[ "$device" = "$before" ] || fail "the device was $before and is $device"
	wait_for 120 "the load to go on" churned "$work/mnt" $(($(cat "$work/mnt.rounds") + 1))
done
churn_end "$work/mnt" ext4
