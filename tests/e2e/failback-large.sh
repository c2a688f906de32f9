#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A failback costs what changed, not the size of the volume: 64 GiB, sparse, of
# which 1,000 blocks changed, 300 on the former primary and 700 on the new one.
. "$(dirname "$0")/lib.sh"
requires jq qemu-io qemu-img openssl

# Milliseconds since SINCE
took() {
	echo $(($(date +%s%3N) - $1))
}

apart_pair 64G data
wait_in_step
# All over the volume: 64 GiB are 16,777,216 blocks.
write_noise a data 50 7 300007
settled a b
cut_off
write_noise a data 300 5 50021
node_kill a
order b promote db --force
write_noise b data 700 11 23011
reunite
receiver_start a
agent_start a
wait_for 60 "a to learn of its successor" status_is a '.state == "demoted" and .divergence.here.bytes == 300 * 4096' true
wait_for 60 "b to see its predecessor" status_is b '.state == "diverged" and .bytes_behind == 700 * 4096' true
before=$(status b .wire_bytes_total)
began=$(date +%s%3N)
order a resync db
ordered=$(took "$began")
settled b a
carried=$(($(status b .wire_bytes_total) - before))
say "1000 blocks: $carried bytes carried; stead resync took $ordered ms, in step after $(took "$began") ms"
((carried <= 1000 * 4096 * 115 / 100)) || fail "$carried bytes were carried for 1000 blocks"
((carried >= 700 * 4096)) || fail "$carried bytes were carried for 700 blocks of noise: impossible"
qemu-img compare -f raw -F raw "$work/a/data.img" "$work/b/data.img" >"$work/out" || fail "$(cat "$work/out")"
began=$(date +%s%3N)
order b switchover db
settled a b
say "home again after $(took "$began") ms"
qemu-img compare -f raw -F raw "$work/a/data.img" "$work/b/data.img" >"$work/out" || fail "$(cat "$work/out")"
nodes_stop a b
