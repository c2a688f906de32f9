#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Zeroes and holes are never sent as data: neither in the full sync of a volume
# that is all of both, nor when an application writes, zeroes or trims them.
. "$(dirname "$0")/lib.sh"
requires jq cmp qemu-io

node_new a
node_new b
volume_make a data 512M
dd if=/dev/zero of="$work/a/data.img" bs=1M seek=128 count=128 conv=notrunc status=none
proxy_start link "${port[b]}"
link_port=$proxy_port
simple_pair 512M data
wait_in_step
carried=$(proxy_carried link)
# 512 MiB of zeroes are 2 MiB even when LZ4 has compressed them.
say "full sync of 512 MiB of zeroes: $carried bytes"
((carried < 512 << 10)) || fail "the full sync of nothing carried $carried bytes"

qemu-io -f raw -c 'write -P 0x77 0 64M' "$(uri a data)" >/dev/null || fail "write"
wait_in_step
before=$(proxy_carried link)
qemu-io -f raw -d unmap -c 'write -z 0 32M' -c 'discard 32M 16M' -c 'write -P 0 48M 16M' "$(uri a data)" >/dev/null ||
	fail "zero"
wait_in_step
carried=$(($(proxy_carried link) - before))
say "64 MiB of zeroes: $carried bytes"
((carried < 512 << 10)) || fail "64 MiB of zeroes carried $carried bytes"
same_images data
nodes_stop a b
