#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# left-device.sh ublk|nbd: an agent is killed with its device mounted, and the
# next one may not serve at once. While it waits for its peer the device waits
# too, and the pair is not removed from under it. Once told to serve, all goes
# on. But a device whose volume was promoted elsewhere meanwhile ends: its users
# have errors, and do not wait for ever.
kind=$1
disks=(a=128M b=128M)
. "$(dirname "$0")/lib.sh" "$@"

# Writes durably until that fails.
writer() {
	local number=0

	while echo "$number" >"$work/mnt/number.new" && sync "$work/mnt/number.new" &&
		mv "$work/mnt/number.new" "$work/mnt/number" && sync -f "$work/mnt"; do
		number=$((number + 1))
		echo "$number" >"$work/written"
	done 2>"$work/writer.err"
	echo failed >"$work/writer.end"
}

wrote_since() {
	(($(cat "$work/written") > $1))
}

pair_on "$kind" 32M
mkfs.ext4 -q "$device" || fail "mkfs"
mount_at "$device" "$work/mnt"
echo 0 >"$work/written"
writer &
writer_pid=$!
wait_for 60 "writes" wrote_since 3

daemon_kill a agent
daemon_stop b receiver
agent_start a
wait_for 60 "the pair to wait for its peer" status_is a .state waiting
[ ! -e "$work/writer.end" ] || fail "the writer saw an error"
if on a pair remove db >"$work/out" 2>&1; then
	fail "removed with the device mounted"
fi
say "$(cat "$work/out")"
on a promote db --force >"$work/out" 2>&1 || fail "serve by force: $(cat "$work/out")"
wait_for 60 "writes to go on" wrote_since $(($(cat "$work/written") + 3))
[ ! -e "$work/writer.end" ] || fail "the writer saw an error"
kernel_is_content

receiver_start b
wait_for 120 "replication to go on" replicating a
daemon_kill a agent
on b promote db --force >"$work/out" 2>&1 || fail "promote: $(cat "$work/out")"
agent_start a
wait_for 120 "the left device to end" test -e "$work/writer.end"
{ wait "$writer_pid"; } 2>/dev/null
umount "$work/mnt" || fail "umount"
if [ "$kind" = ublk ]; then
	wait_for 30 "$device to go" test ! -e "$device"
fi
[ ! -e "$work/a/run/stead/db-data" ] || fail "the link is still there"
