#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A working set larger than the capture memory (16 MiB), overwritten ten times
# faster than the link carries it, still gives a new recovery point again and
# again, and no write fails.
. "$(dirname "$0")/lib.sh"
requires jq cmp

node_new b
proxy_start link "${port[b]}"
link_port=$proxy_port
simple_pair 64M data wal
config_set a capture-memory 16M
daemon_stop a agent
agent_start a
wait_for 60 "replication to begin" replicating a
# 24 MiB of blocks, about 20 MB a second over a link of 2.
writer_start --seconds 600 --hot 0 --span 3072 --rate 325
wait_for 60 "the working set to be dirty once" status_at_least a .change_bytes_per_second 10000000
proxy link rate 2000000
for ((point = 1; point <= 4; point++)); do
	epoch=$(status b .recovery_point.epoch)
	wait_for 90 "recovery point $point" status_at_least b .recovery_point.epoch "$((epoch + 1))"
	say "recovery point $(status b .recovery_point.epoch), lag $(status a .lag_seconds) s," \
		"change $(status a .change_bytes_per_second), ship $(status a .ship_bytes_per_second) bytes a second"
done
status_is b .promotable true || fail "not promotable"
on b promote db --force >"$work/out" || fail "promote: $(cat "$work/out")"
wait_for 60 "everything to be redone" redone b
check_cut "$work/stamps" "$work/b/data.img" "$work/b/wal.img"
no_reports
