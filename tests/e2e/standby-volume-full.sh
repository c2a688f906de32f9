#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The space below the standby's volumes runs out while changes are applied. The
# application goes on, both nodes say what is the matter, the standby stays
# promotable, and goes on by itself when there is room. What it calls promotable
# is promoted in the midst of it, and is read as it must be.
. "$(dirname "$0")/lib.sh"
requires jq cmp nbdcopy
requires_loop

node_new b
truncate -s 100M "$work/volumes.disk"
mkfs.ext4 -q -F -m 0 "$work/volumes.disk" || fail "mkfs.ext4"
device=$(losetup --find --show "$work/volumes.disk") || fail "losetup"
on_exit_undo "loop_detach $device"
mount_at "$device" "$work/volumes"
for volume in data wal; do
	truncate -s 64M "$work/volumes/$volume.img"
	ln -s "$work/volumes/$volume.img" "$work/b/$volume.img"
done
fill() {
	dd if=/dev/zero of="$work/volumes/filler" bs=64k status=none 2>/dev/null
	sync -f "$work/volumes"
}
make_room() {
	rm "$work/volumes/filler"
	sync -f "$work/volumes"
}
simple_pair 64M data wal
wait_for 60 "replication to begin" replicating a

# Nothing is durable on the standby but in its journal.
runs_full() {
	fill
	writer_start --seconds 4 --rate 300
	wait_for 60 "the standby to say so" status_is b '.state + " " + .reason' "replicating standby-disk-full"
	wait_for 60 "the primary to say so" status_is a '.state + " " + .reason' "replicating standby-disk-full"
	writer_finish
	wait_for 60 "everything to be durable" in_step a
	status_is b .promotable true || fail "not promotable: $(on b status db)"
	status_is b '.epoch.applied < .epoch.durable' true || fail "everything was applied on a full disk"
}

say "full, and there is room again"
runs_full
for node in a b; do
	on "$node" check db >"$work/out" && fail "check on $node is content: $(cat "$work/out")"
	grep -q standby-disk-full "$work/out" || fail "check on $node does not say why: $(cat "$work/out")"
done
grep -q 'apply-failed.*No space left' "$work/b/receiver.log" || fail "the cause is not in the standby's log"
told() { # EVENT COUNT
	[ "$(grep -c "$1 .*standby-disk-full" "$work/a/agent.log")" = "$2" ] &&
		[ "$(grep -c "$1 .*standby-disk-full" "$work/b/receiver.log")" = "$2" ]
}
wait_for 60 "both logs to have it" told degraded 1
make_room
wait_in_step
same_images data wal
wait_for 60 "both logs to have its end" told restored 1

say "full, and the primary is lost"
runs_full
node_kill a
order b promote db --force
say "$(cat "$work/out")"
grep -q '/' "$work/out" || fail "no device is named: $(cat "$work/out")"
status_is b '.role + " " + .reason' "primary redo-failed" || fail "b says: $(on b status db)"
wait_for 60 "the cause in the log" grep -q 'redo-failed.*No space left' "$work/b/agent.log"
for volume in data wal; do
	nbdcopy "$(uri b $volume)" "$work/$volume.served" || fail "$volume cannot be read"
done
check_cut --complete "$work/stamps" "$work/data.served" "$work/wal.served"
make_room
wait_for 60 "everything to be redone" redone b
check_cut --complete "$work/stamps" "$work/b/data.img" "$work/b/wal.img"
change b data 'write -P 0x11 0 64k'
nodes_stop b
umount "$work/volumes"
