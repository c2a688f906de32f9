#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A few of the writes to the standby's volume fail, and its receiver is killed
# now and then. It is told on both nodes, and after the last error both are alike.
. "$(dirname "$0")/lib.sh"
requires jq cmp nbdkit
requires_fuse
requires_loop

node_new b
nbdkit -U "$work/disk.sock" -P "$work/disk.pid" --filter=error memory 64M error-pwrite=EIO error-pwrite-rate=3% \
	error-pwrite-file="$work/bad" error-zero=EIO error-zero-rate=3% error-zero-file="$work/bad"
wait_for 30 "nbdkit" test -s "$work/disk.pid"
on_exit_undo "kill $(cat "$work/disk.pid")"
fuse=$work/disk.fuse
touch "$fuse"
nbdfuse "$fuse" --unix "$work/disk.sock" </dev/null >"$work/nbdfuse.out" 2>&1 &
on_exit_undo "umount -l $fuse"
wait_for 30 "nbdfuse" test -s "$fuse"
device=$(losetup --direct-io=on --find --show "$fuse") || fail "losetup"
on_exit_undo "loop_detach $device"
ln -s "$device" "$work/b/data.img"
simple_pair 64M data wal
wait_for 60 "replication to begin" replicating a

writer_start --seconds 60 --rate 200
touch "$work/bad"
told() {
	grep -q 'apply-failed .*volume data.*Input/output error' "$work/b/receiver.log" &&
		grep -q 'degraded .*standby-disk-error' "$work/b/receiver.log" &&
		grep -q 'degraded .*standby-disk-error' "$work/a/agent.log"
}
wait_for 120 "both nodes to have told it" told
for ((kills = 0; kills < 4; kills++)); do
	durable=$(status b .epoch.durable)
	wait_for 60 "more to be durable" status_at_least b .epoch.durable "$((durable + 1))"
	status_is b .promotable true || fail "not promotable: $(on b status db)"
	daemon_kill b receiver
	receiver_start b
	wait_for 60 "the primary to be there again" status_is b .connected true
done
writer_stop
rm "$work/bad"
wait_in_step
same_images data wal
dd if="$device" of="$work/data.stored" bs=1M iflag=direct status=none
check_cut --complete "$work/stamps" "$work/data.stored" "$work/b/wal.img"
wait_for 60 "its end to be told" grep -q 'restored ' "$work/a/agent.log"
nodes_stop a b
wait_for 30 "the volume to be closed" losetup -d "$device"
