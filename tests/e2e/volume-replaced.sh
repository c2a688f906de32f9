#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A volume that is not the disk that it was is refused by name, on whichever
# node: not served, not applied to, not promotable, and told on both. Accepted,
# everything is compared. Neither an orderly nor a violent end of the daemons
# alone is taken for that.
. "$(dirname "$0")/lib.sh"
requires jq cmp qemu-io openssl

# noise_at NODE VOLUME MIB COUNT
noise_at() {
	noise "$(($4 << 20))" >"$work/noise"
	qemu-io -f raw -t none -c "write -q -s $work/noise $3M $4M" "$(uri "$1" "$2")" >"$work/out" 2>&1 &&
		[ ! -s "$work/out" ] || fail "$2 on $1 takes no writes: $(cat "$work/out")"
}

refused_for() {
	status_is "$1" ".state == \"refused\" and .reason == \"$2\"" true
}

check_says() {
	on "$1" check db >"$work/check"
	[ $? = 2 ] && grep -q "$2" "$work/check"
}

simple_pair 32M data log
noise_at a data 0 8
noise_at a log 4 1
settled a b

say "the same disks, after every kind of end"
for ((round = 0; round < 3; round++)); do
	daemon_stop a agent
	agent_start a
	daemon_stop b receiver
	receiver_start b
	settled a b
	noise_at a data $((8 + round)) 1
	daemon_kill a agent
	agent_start a
	daemon_kill b receiver
	receiver_start b
	settled a b
done
same_images data log

say "the standby's disk is an empty one of the same name and size"
daemon_stop b receiver
rm "$work/b/data.img"
volume_make b data 32M
receiver_start b
wait_for 30 "the standby to be refused" refused_for b volume-replaced
status_is b .promotable false || fail "refused, and promotable: $(status b .promotable)"
wait_for 30 "the primary to tell" refused_for a peer-refused
check_says b 'volume data: .*data.img is not the disk that it was' || fail "check of b: $(cat "$work/check")"
check_says a 'the standby refused: volume data: .*not the disk that it was' || fail "check of a: $(cat "$work/check")"
refused 'volume data: .*is not the disk that it was.*stead volume accept db data' b promote db --force
refused 'pair db has no volume nothing' b volume accept db nothing
noise_at a data 20 1
on b volume accept db data >"$work/out" || fail "accept: $(cat "$work/out")"
grep -q 'nothing to be promoted to' "$work/out" || fail "accept says: $(cat "$work/out")"
settled a b
same_images data log

say "the primary's disk is an empty one; the standby is not overwritten"
daemon_stop a agent
mv "$work/a/data.img" "$work/good.img"
volume_make a data 32M
agent_start a
wait_for 30 "the primary to be refused" refused_for a volume-replaced
check_says a 'is not the disk that it was' || fail "check of a: $(cat "$work/check")"
cmp "$work/good.img" "$work/b/data.img" || fail "the good copy was overwritten"
daemon_kill a agent
agent_start a
refused_for a volume-replaced || fail "after a restart it is taken: $(status a '[.state, .reason] | tostring')"
say "and is brought back"
mv "$work/good.img" "$work/a/data.img"
daemon_stop a agent
agent_start a
settled a b
same_images data log

say "the primary's disk is a copy, and somebody says that it is right"
daemon_stop a agent
cp "$work/a/data.img" "$work/a/other.img"
dd if=/dev/zero of="$work/a/other.img" bs=1M seek=3 count=1 conv=notrunc status=none
mv "$work/a/other.img" "$work/a/data.img"
agent_start a
wait_for 30 "the primary to be refused" refused_for a volume-replaced
on a volume accept db data >"$work/out" || fail "accept: $(cat "$work/out")"
grep -q 'overwritten there' "$work/out" || fail "accept says: $(cat "$work/out")"
wait_for 60 "all to be compared" grep -q volumes-compared "$work/a/agent.log"
settled a b
same_images data log

say "accepted while it runs: all is compared once more"
compared=$(grep -c volumes-compared "$work/a/agent.log")
on a volume accept db log >"$work/out" || fail "accept: $(cat "$work/out")"
again() {
	[ "$(grep -c volumes-compared "$work/a/agent.log")" -gt "$compared" ]
}
wait_for 60 "all to be compared" again
settled a b
same_images data log

say "the roles change, and the disks are the same"
on a switchover db >"$work/out" || fail "switchover: $(cat "$work/out")"
settled b a
on b switchover db >"$work/out" || fail "switchover: $(cat "$work/out")"
settled a b
same_images data log
nodes_stop a b
