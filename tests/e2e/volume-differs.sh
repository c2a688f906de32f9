#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# After a violent end nothing is noted of what the volumes held. What was changed
# then behind stead's back is found when the nodes meet, before anything is
# shipped: told on both, not promotable, not overwritten before somebody has said
# which side is right. A violent end alone is no difference.
. "$(dirname "$0")/lib.sh"
requires jq cmp qemu-io openssl

doubts() {
	status_is "$1" '.state == "refused" and .reason == "volume-changed"' true
}

check_says() {
	on "$1" check db >"$work/check"
	[ $? = 2 ] && grep -q "$2" "$work/check"
}

# zeroes NODE FIRST-MIB COUNT
zeroes() {
	dd if=/dev/zero of="$work/$1/data.img" bs=1M seek="$2" count="$3" conv=notrunc status=none
}

simple_pair 32M data
noise 16777216 >"$work/noise16"
qemu-io -f raw -t none -c "write -q -s $work/noise16 0 16M" "$(uri a data)" >"$work/out" 2>&1 || fail "write: $(cat "$work/out")"
settled a b

say "no alarm"
for ((round = 0; round < 3; round++)); do
	write_noise a data 64 $((round * 500)) 7
	node_kill b
	receiver_start b
	agent_start b
	write_noise a data 64 $((round * 300)) 3
	daemon_kill a agent
	agent_start a
	settled a b
done
same_images data

say "half of the standby's content is gone"
daemon_kill b receiver
zeroes b 0 8
receiver_start b
wait_for 60 "the standby to doubt" doubts b
wait_for 60 "the primary to doubt" doubts a
status_is b .promotable false || fail "doubted, and promotable"
check_says a 'blocks looked at differ from the standby' || check_says a 'differ where neither has written' || fail "check of a: $(cat "$work/check")"
check_says b 'differ' || fail "check of b: $(cat "$work/check")"
grep -q 'volumes-differ.*volume data: [0-9]* of [0-9]* blocks' "$work/b/receiver.log" || fail "the log of b does not say it"
refused 'differ where neither has written' b promote db
say "also after both were killed"
node_kill a
node_kill b
receiver_start b
agent_start b
receiver_start a
agent_start a
wait_for 60 "the standby to doubt" doubts b
wait_for 60 "the primary to doubt" doubts a
on a volume accept db data >"$work/out" 2>&1 || fail "accept: $(cat "$work/out")"
settled a b
same_images data
node_kill b
receiver_start b
agent_start b
settled a b

say "half of the primary's content is gone: the standby is not overwritten, and takes over"
cp "$work/b/data.img" "$work/good.img"
node_kill a
zeroes a 0 8
receiver_start a
agent_start a
wait_for 60 "the primary to doubt" doubts a
wait_for 60 "the standby to doubt" doubts b
status_is a '[.volumes[].device] | all' false || fail "it is served"
cmp "$work/good.img" "$work/b/data.img" || fail "the good copy was overwritten"
order b promote db --force
wait_for 60 "the standby to serve" status_is b '.role == "primary" and ([.volumes[].device] | all)' true
wait_for 60 "the former primary to learn of it" status_is a '.state == "demoted" or .state == "split-brain" or .role == "standby"' true
[ "$(status a .role)" = standby ] || order a resync db
settled b a
same_images data
nodes_stop a b
