#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The primary's wall clock is two hours ahead when the pair is made, and is set
# by hours while the standby is away: the token is good, the lag goes on as
# before, and the breach stays one. What is asserted of the lag are bounds that
# were measured beside, on one clock.
. "$(dirname "$0")/lib.sh"
requires jq qemu-io

offset=$work/offset
echo 7200 >"$offset"
inside[a.agent]="env LD_PRELOAD=$tools/libclock-offset.so CLOCK_OFFSET=$offset"
simple_pair 16M data
config_set a rpo 2s
kill -HUP "${pid[a.agent]}"
wait_for 10 "the new limit" status_is a .rpo_seconds 2
wait_in_step

daemon_stop b receiver
qemu-io -f raw -c "write -P 7 0 1M" "$(uri a data)" >/dev/null || fail "write"
breached() {
	status_is a .rpo_state breached
}
wait_for 60 "the breach" breached

# sane WHAT: more than before, by no more than the time since
sane() {
	local before=$lag since=$at

	lag=$(status a .lag_seconds)
	at=$EPOCHREALTIME
	jq -en "$lag >= $before and $lag <= $before + $at - $since + 1" >/dev/null ||
		fail "$1: the lag was $before s, and is $lag s after $(jq -n "$at - $since") s"
	breached || fail "$1: $(status a .rpo_state)"
	on a check db >"$work/check"
	[ $? = 2 ] || fail "$1: $(cat "$work/check")"
}

# lag GREATER: it went on
went_on() {
	jq -en "$(status a .lag_seconds) > $1" >/dev/null
}

at=$EPOCHREALTIME
lag=$(status a .lag_seconds)
for to in 3600 -3600 10800; do
	echo "$to" >"$offset"
	wait_for 10 "the lag to go on" went_on "$lag"
	sane "the clock was set to be $to s off"
done
daemon_kill a agent
agent_start a
wait_for 10 "the lag to go on" went_on "$lag"
sane "the agent was killed"

receiver_start b
wait_in_step
for node in a b; do
	age=$(status $node .recovery_point.age_seconds)
	jq -en "$age >= 0 and $age < 60" >/dev/null || fail "$node says that its point is $age s old"
done
daemon_stop a agent
daemon_stop b receiver
same_images data
no_reports
say "lag $lag s at the end"
