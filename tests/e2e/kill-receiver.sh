#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The receiver is killed three times under load: no write fails, the pair
# catches up by itself and becomes identical.
. "$(dirname "$0")/lib.sh"
requires jq cmp

simple_pair 64M data wal
wait_for 60 "replication to begin" replicating a
writer_start --seconds "${SECONDS_OF_LOAD:-6}" --zeroes 2
for _ in 1 2 3; do
	pause "1.$(random_between 100 999)"
	daemon_kill b receiver
	receiver_start b
	wait_for 30 "the standby to be promotable again" status_is b .promotable true
done
writer_finish
wait_in_step
same_images data wal
check_cut --complete "$work/stamps" "$work/b/data.img" "$work/b/wal.img"
nodes_stop a b
