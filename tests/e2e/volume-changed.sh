#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What was written to a volume, or restored into it, while stead did not run it
# is noticed at the next start and refused by name: a file system mounted once,
# an older image put back, an older state put back.
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

# noticed NODE DAEMON
noticed() {
	wait_for 30 "$1 to be refused" refused_for "$1" volume-changed
	grep -q 'pair-refused.*volume data: .*written to, or restored, behind' "$work/$1/$2.log" || fail "the log of $1 does not say it"
}

accept() {
	on "$1" volume accept db data >"$work/out" 2>&1 || fail "accept: $(cat "$work/out")"
	settled a b
	same_images data
}

simple_pair 32M data
noise_at a data 0 4
settled a b

say "the standby's image is an older one"
daemon_stop b receiver
cp "$work/b/data.img" "$work/older.img"
receiver_start b
settled a b
noise_at a data 1 2
settled a b
daemon_stop b receiver
cat "$work/older.img" >"$work/b/data.img"
receiver_start b
noticed b receiver
status_is b .promotable false || fail "promotable"
accept b

say "the standby's image had one write that nobody would look at"
daemon_stop b receiver
dd if=/dev/urandom of="$work/b/data.img" bs=4096 seek=7777 count=1 conv=notrunc status=none
receiver_start b
noticed b receiver
accept b

say "the primary's state is an older one, of a stop in order"
daemon_stop a agent
cp -a "$work/a/var/lib/stead/pairs" "$work/older-state"
agent_start a
settled a b
daemon_stop b receiver
on a pause db >/dev/null || fail "pause"
noise_at a data 9 1
daemon_stop a agent
rm -rf "$work/a/var/lib/stead/pairs"
mv "$work/older-state" "$work/a/var/lib/stead/pairs"
receiver_start b
agent_start a
noticed a agent
on a volume accept db data >"$work/out" 2>&1 || fail "accept: $(cat "$work/out")"
say "the standby holds what the run after that state had cut"
wait_for 60 "the primary to tell that it was rolled back" status_is a .reason peer-rolled-back
order b resync db --discard-local
settled a b
same_images data

say "the primary's image was written to"
daemon_stop a agent
dd if=/dev/urandom of="$work/a/data.img" bs=4096 seek=100 count=3 conv=notrunc status=none
agent_start a
noticed a agent
say "and is still refused after a violent end"
daemon_kill a agent
agent_start a
noticed a agent
accept a

say "a damaged note says nothing"
daemon_stop a agent
echo '{' >"$work/a/var/lib/stead/pairs/db/volumes"
agent_start a
settled a b
grep -q 'volumes-forgotten.*is damaged' "$work/a/agent.log" || fail "nobody told of the damage"
nodes_stop a b
