#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A backlog that takes longer than the link ever stays up arrives all the same:
# what the standby has got is continued after each cut, also when its receiver was
# restarted in between, and the standby stays at a consistent point until then.
. "$(dirname "$0")/lib.sh"
requires jq cmp openssl

megabytes=24
node_new b
proxy_start link "${port[b]}"
link_port=$proxy_port
simple_pair 64M data
wait_in_step
on a pause db >/dev/null || fail "pause"
noise $((megabytes << 20)) >"$work/backlog"
change a data "write -s $work/backlog 0 ${megabytes}M"

carried_or_done() {
	[ "$(proxy_carried link)" -ge "$1" ] || in_step a
}

proxy link rate 2000000
first=$(proxy_carried link)
on a resume db >/dev/null || fail "resume"
# Each connection ends after a fifth of the backlog.
for ((cut = 1; cut <= 30; cut++)); do
	wait_for 120 "the link to carry a fifth" carried_or_done $(($(proxy_carried link) + (megabytes << 20) / 5))
	in_step a && break
	status_is b .promotable true || fail "the standby is not promotable after a cut"
	[ $cut = 3 ] && daemon_kill b receiver && receiver_start b
	proxy link drop
done
wait_in_step
say "cut $cut times, carried $(($(proxy_carried link) - first)) bytes for $((megabytes << 20))"
same_images data
[ $cut -le 15 ] || fail "it took $cut connections"
nodes_stop a b
