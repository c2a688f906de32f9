#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# 100 ms, 1 % loss, 8 Mbit/s between the nodes: the first sync, a load and
# catching up come to an end and the nodes are identical; what the standby is
# promoted to in the midst of a load is one cut.
disks=(a=256M b=256M)
. "$(dirname "$0")/lib.sh" "$@"

net_start
node_disk a "$(disk a)"
node_disk b "$(disk b)"
net_em delay 50ms 5ms loss 1% rate 8mbit
volume_make a data 32M
noise $((4 << 20)) | dd of="$path" conv=notrunc status=none
simple_pair 32M data
wait_for 120 "replication to begin" replicating a
stamps_start 4
wait "$writer_pid" || fail "the writer: $(cat "$work/writer.err")"
say "$(cat "$work/writer.out")"
wait_in_step
same_volumes
qemu-io -f raw -c 'write -z 0 32M' "$(uri a data)" >"$work/out" 2>&1 || fail "zeroes: $(cat "$work/out")"
wait_in_step
stamps_start 100
wait_for 60 "epochs" status_at_least a .epoch.durable $(($(status a .epoch.durable) + 2))
pause "0.$(random_between 100 999)"
on b promote db --force >"$work/out" 2>&1 || fail "promote: $(cat "$work/out")"
end_child KILL "$writer_pid"
served_is_a_cut b
