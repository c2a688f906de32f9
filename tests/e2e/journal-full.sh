#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# More changes than the standby's journal can hold. journal-full = inconsistent:
# they are written in place, the standby is not promotable meanwhile and says
# so, interruptions do not begin it anew, and in the end both are alike.
# journal-full = stop: the standby stays promotable at its last epoch, nothing
# is shipped in vain, and a larger journal helps. A former primary that follows
# its successor is served in place like any other.
. "$(dirname "$0")/lib.sh"
requires jq cmp openssl qemu-io
requires_loop

# The journal takes a quarter of the space that there is when a pair is made.
node_new b
small_disk b 96M
proxy_start link "${port[b]}"
link_port=$proxy_port
size=32
# What is on its way fills buffers of some 30 MiB; marks come behind that.
large=96
simple_pair 128M data wal
wait_for 60 "replication to begin" replicating a

policy() { # stop|inconsistent
	config_set a journal-full "$1"
	kill -HUP "${pid[a.agent]}"
}
change() { # MIB [NODE]: of the first volume, and a little of the second
	noise "$1M" >"$work/noise"
	qemu-io -f raw -c "write -s $work/noise 8M $1M" "$(uri "${2:-a}" data)" >"$work/out" 2>&1 || fail "write: $(cat "$work/out")"
	noise 1M >"$work/noise"
	qemu-io -f raw -c "write -s $work/noise 0 1M" "$(uri "${2:-a}" wal)" >"$work/out" 2>&1 || fail "write: $(cat "$work/out")"
}
change_at_once() {
	on a pause db >"$work/out" || fail "pause"
	change "$1"
	on a resume db >"$work/out" || fail "resume"
}

say "inconsistent"
change 4
wait_in_step
policy inconsistent
proxy link rate 8000000
change_at_once $large
wait_for 60 "the changes to come in place" status_is b '.state + " " + .reason + " " + (.promotable | tostring)' \
	"resync journal-full false"
proxy link rate 4000000
status_is a '.state + " " + .reason + " " + (.promotable | tostring)' "resync journal-full false" ||
	fail "the primary says: $(on a status db)"
status_is a '.lag_seconds' null || fail "a lag is told though all would be lost"
status_is a '.sync.total_bytes' $(((large + 1) << 20)) || fail "not what changed is walked: $(on a status db --json)"
if on b promote db --force >"$work/out" 2>&1; then
	fail "promoted though it is inconsistent"
fi
grep -q 'not consistent.*journal could not hold' "$work/out" || fail "no reason: $(cat "$work/out")"
say "refused: $(cat "$work/out")"

# What has left the set with a mark does not come back.
behind_less() { # BYTES
	local bytes

	bytes=$(status a .bytes_behind)
	[ -n "$bytes" ] && ((bytes < $1))
}
walks() {
	status_is a '.state + " " + (.connected | tostring)' "resync true"
}
wait_for 60 "a mark" behind_less $(((large - 3) << 20))
marked=$(status a .bytes_behind)
daemon_kill b receiver
receiver_start b
wait_for 30 "the standby to open" status_is b '.promotable != null' true
status_is b '.state + " " + (.promotable | tostring)' "resync false" || fail "a restart made it promotable"
wait_for 60 "the walk to go on" walks
behind_less $((marked + 1)) || fail "$(status a .bytes_behind) bytes are to be shipped again"
wait_for 60 "a later mark" behind_less "$marked"
marked=$(status a .bytes_behind)
daemon_kill a agent
agent_start a
wait_for 60 "the walk to go on" walks
behind_less $((marked + 1)) || fail "after a restart of the agent $(status a .bytes_behind) bytes are to be shipped again"
change 2
proxy link rate 0
wait_in_step
same_images data wal
status_is b .promotable true || fail "not promotable when all is done"
grep -q 'sync-done' "$work/a/agent.log" || fail "the end is not logged"

say "stop, and a larger journal"
policy stop
stops() {
	change_at_once $size
	wait_for 60 "the primary to say so" status_is a '.state + " " + .reason' "replicating journal-full"
	wait_for 60 "the standby to say so" status_is b '.state + " " + .reason' "replicating journal-full"
	status_is a .eta_seconds null || fail "it is said to converge: $(on a status db --json)"
	status_is b .promotable true || fail "not promotable"
}
stops
grep -q 'journal = [0-9]*M on the standby would do; or journal-full = inconsistent' "$work/a/agent.log" ||
	fail "no hint in the log"
lag=$(status a '.lag_seconds')
carried=$(proxy_carried link)
wait_for 60 "time to go by" status_at_least a .lag_seconds "$lag + 5"
more=$(($(proxy_carried link) - carried))
((more < 1 << 20)) || fail "$more bytes were shipped in vain"
if on a switchover db >"$work/out" 2>&1; then
	fail "switched over though the standby lacks what was written"
fi
say "refused: $(cat "$work/out")"
config_set b journal 48M
daemon_stop b receiver
receiver_start b
wait_in_step
same_images data wal

say "stop, and a promotion"
size=50
cp --sparse=always "$work/b/data.img" "$work/data.before"
cp --sparse=always "$work/b/wal.img" "$work/wal.before"
stops
on b promote db --force >"$work/out" 2>&1 || fail "promote --force: $(cat "$work/out")"
say "$(cat "$work/out")"
for volume in data wal; do
	cmp "$work/$volume.before" "$work/b/$volume.img" || fail "$volume is not at its last epoch"
done

say "a former primary follows, in place"
wait_for 60 "a to learn of its successor" status_is a .state demoted
change 8 b
config_set b journal-full inconsistent
config_set b bandwidth 8M
kill -HUP "${pid[b.agent]}"
config_set a journal 16M # which is made now
on a resync db >"$work/out" 2>&1 || fail "resync: $(cat "$work/out")"
wait_for 60 "the changes to come in place" status_is a '.role + " " + .state + " " + .reason + " " + (.promotable | tostring)' \
	"standby resync journal-full false"
daemon_kill a receiver
receiver_start a
wait_for 60 "the walk to go on" status_is b '.state + " " + .reason + " " + (.promotable | tostring)' "resync journal-full false"
config_set b bandwidth none
kill -HUP "${pid[b.agent]}"
wait_for 60 "both to be in step" in_step b
wait_for 60 "everything to be applied" applied a
same_images data wal
status_is a .promotable true || fail "not promotable when all is done"
nodes_stop a b
umount "$work/b/var/lib/stead"
