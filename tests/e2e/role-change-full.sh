#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The disks under the state of both nodes are small, and full by the time that
# roles change. What that needs was reserved when they were paired: they change as
# ever. Where it is not there any more, nothing is given up for it.
. "$(dirname "$0")/lib.sh"
requires jq cmp qemu-io
requires_loop

for node in a b; do
	node_new "$node"
	small_disk "$node" 200M
done
simple_pair 64M data
for said in invite.err join.out; do
	grep -q 'a journal of .* a quarter of the .* free' "$work/$said" || fail "$said does not tell of the journal: $(cat "$work/$said")"
done
say "$(grep journal "$work/join.out")"
wait_for 60 "replication to begin" replicating a

fill() {
	dd if=/dev/zero of="$work/$1/var/lib/stead/filler" bs=64k status=none 2>/dev/null
	dd if=/dev/zero of="$work/$1/var/lib/stead/filler2" bs=512 status=none 2>/dev/null
	sync -f "$work/$1/var/lib/stead"
}
make_room() {
	rm "$work/$1/var/lib/stead/filler" "$work/$1/var/lib/stead/filler2"
	sync -f "$work/$1/var/lib/stead"
}
fill a
fill b

say "switchover, there and back"
change a data 'write -P 0x21 0 1M'
order a switchover db
grep -q 'nothing was lost' "$work/out" || fail "it says: $(cat "$work/out")"
status_is b '.role + " " + ([.volumes[].device] | all | tostring)' "primary true" || fail "b does not serve: $(on b status db)"
settled b a
change b data 'write -P 0x22 0 1M'
order a switchover db
settled a b
same_images data

say "promotion by force"
change a data 'write -P 0x23 0 1M'
wait_for 60 "it to be durable" in_step a
node_kill a
order b promote db --force
say "$(cat "$work/out")"
change b data 'read -P 0x23 0 1M' 'write -P 0x24 1M 1M'
receiver_start a
agent_start a
settled b a
same_images data

say "reserved files are lost, and there is no room for them"
generation=$(status b .generation)
rm "$work/a/var/lib/stead/pairs/db/"{intent,redo}
fill a 2>/dev/null
refused 'no space for what a change of role needs.*free at least' b switchover db
refused 'no space for what a change of role needs.*free at least' a switchover db
refused 'no space for what a change of role needs.*free at least' a promote db --force
settled b a
change b data 'write -P 0x25 2M 1M'
rm "$work/b/var/lib/stead/pairs/db/journal"
fill b 2>/dev/null
refused 'no space for what a change of role needs.*journal' b switchover db
refused 'no space for what a change of role needs.*journal' b demote db
settled b a
status_is b .generation "$generation" || fail "something was given up"
grep -q 'promote-refused.*No space left' "$work/a/receiver.log" || fail "the reason is not in the log"

say "with room again"
make_room a
make_room b
order b switchover db
settled a b
change a data 'read -P 0x25 2M 1M'
same_images data
nodes_stop a b
umount "$work/a/var/lib/stead" "$work/b/var/lib/stead"
