#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The write-intent log cannot be written for a while. The application goes on, and
# so does replication; it is told at once, and is over when it can be written
# again. A power failure meanwhile has everything compared.
. "$(dirname "$0")/lib.sh"
requires jq cmp nbdkit
requires_fuse
requires_loop

simple_pair 256M data
wait_for 60 "replication to begin" replicating a
daemon_stop a agent

intent=$work/a/var/lib/stead/pairs/db/intent
nbdkit -U "$work/log.sock" -P "$work/log.pid" --filter=error memory "$(stat -c %s "$intent")" \
	error-pwrite=ENOSPC error-pwrite-rate=100% error-pwrite-file="$work/bad"
wait_for 30 "nbdkit" test -s "$work/log.pid"
on_exit_undo "kill $(cat "$work/log.pid")"
touch "$work/log.fuse"
nbdfuse "$work/log.fuse" --unix "$work/log.sock" </dev/null >"$work/nbdfuse.out" 2>&1 &
on_exit_undo "umount -l $work/log.fuse"
wait_for 30 "nbdfuse" test -s "$work/log.fuse"
device=$(losetup --direct-io=on --find --show "$work/log.fuse") || fail "losetup"
on_exit_undo "loop_detach $device"
ln -sf "$device" "$intent"
agent_start a
wait_in_step

mark=$work/a/etc/stead/pairs/db.unlogged
write() { # MEBIBYTE
	qemu-io -f raw "$(uri a data)" -c "write -P $1 ${1}M 64k" -c flush >"$work/qemu-io.out" ||
		fail "a write fails: $(cat "$work/qemu-io.out")"
}
check_is() {
	local code=0
	on a check db >"$work/check.out" || code=$?
	[ $code = "$1" ]
}

touch "$work/bad"
for mebibyte in 10 20 30 40 50; do
	write $mebibyte
done
wait_for 60 "it to be told" status_is a .reason state-failed
wait_for 30 "check to be critical" check_is 2
grep -q state-failed "$work/check.out" || fail "check does not say why: $(cat "$work/check.out")"
test -e "$mark" || fail "there is no mark beside the configuration"
wait_for 60 "the log to tell it" grep -q 'protection-lost .*No space left' "$work/a/agent.log"
wait_for 60 "what was written to be on the standby" status_is a .bytes_behind 0
rm "$work/bad"
wait_for 60 "its end" grep -q 'protection-restored ' "$work/a/agent.log"
wait_for 60 "check to be well" check_is 0
wait_for 30 "the mark to go" test ! -e "$mark"

# As after a power failure, which leaves no change map that could be trusted.
touch "$work/bad"
on a pause db
write 60
write 70
wait_for 60 "it to be told again" status_is a .reason state-failed
test -e "$mark" || fail "there is no mark any more"
daemon_kill a agent
rm -f "$work/a/var/lib/stead/pairs/db/map" "$work/a/run/stead/db.map" "$work/bad"
agent_start a
wait_for 60 "the mark to be found" grep -q 'mark-found ' "$work/a/agent.log"
on a resume db
wait_in_step
wait_for 60 "the mark to go" test ! -e "$mark"
same_images data
nodes_stop a b
wait_for 30 "the log to be closed" losetup -d "$device"
