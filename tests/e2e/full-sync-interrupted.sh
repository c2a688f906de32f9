#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A full sync of 2 GiB, a quarter of it zeroes and a quarter holes, over a link
# of 100 MB/s; kill -9 five times, either side. It continues where it was: the
# link carries about the data once. No zero is sent as data.
. "$(dirname "$0")/lib.sh"
requires jq cmp openssl

size=${SIZE_MIB:-2048}
quarter=$((size / 4))
node_new a
node_new b
volume_make a data "${size}M"
volume_make b data "${size}M"
noise ${quarter}M | dd of="$work/a/data.img" bs=1M iflag=fullblock conv=notrunc status=none
dd if=/dev/zero of="$work/a/data.img" bs=1M seek=$quarter count=$quarter conv=notrunc status=none
noise ${quarter}M | dd of="$work/a/data.img" bs=1M seek=$((2 * quarter)) iflag=fullblock conv=notrunc status=none
proxy_start link "${port[b]}"
proxy link rate "$((size * 50000))"
link_port=$proxy_port
simple_pair "${size}M" data

synced_share() {
	status_at_least a '(.sync.done_bytes // 0) / (.sync.total_bytes // 1)' "$1"
}

not_promotable() {
	on b promote db --force >"$work/out" 2>&1 && fail "an incomplete standby was promoted"
	grep -q '^stead: ' "$work/out" || fail "no reason for the refusal: $(cat "$work/out")"
}

for share in 0.1 0.2 0.3 0.35 0.4; do
	wait_for 60 "$share of the full sync" synced_share "$share"
	status_is a .state full-sync || fail "state $(status a .state) at $share"
	not_promotable
	case $share in
	0.1 | 0.3 | 0.4) daemon_kill b receiver && receiver_start b ;;
	*) daemon_kill a agent && agent_start a ;;
	esac
	say "killed at $share: $(proxy_carried link) bytes so far"
done
wait_in_step 180
carried=$(proxy_carried link)
data=$((2 * quarter << 20))
say "the link carried $carried bytes for $data bytes of data"
((carried < data * 5 / 4)) || fail "the link carried $carried bytes for $data bytes of data: it started over"
((carried >= data)) || fail "the link carried $carried bytes for $data bytes of noise: impossible"
same_images data
stored=$(($(stat -c '%b * %B' "$work/b/data.img")))
((stored < data * 11 / 10)) || fail "the standby stores $stored bytes: holes were filled"
nodes_stop a b
