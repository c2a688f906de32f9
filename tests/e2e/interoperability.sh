#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The agent's export serves the NBD clients that people have (nbdinfo, nbdcopy,
# qemu-img, qemu-io, fio), and whatever they did to it arrives on the standby.
. "$(dirname "$0")/lib.sh"
requires jq cmp openssl nbdinfo nbdcopy qemu-img qemu-io fio

run() {
	"$@" >"$work/out" 2>&1 || fail "$*: $(cat "$work/out")"
}

simple_pair 200M data
export=$(uri a data)
wait_for 60 "replication to begin" replicating a

# A whole image in and out.
noise 64M >"$work/image"
run nbdcopy --flush "$work/image" "$export"
run nbdcopy --connections=4 --requests=64 "$export" "$work/copy"
cmp -n $((64 << 20)) "$work/image" "$work/copy" || fail "nbdcopy read back something else"
wait_in_step
same_images data

# Sub-block writes, zeroes, trims and all the rest.
run qemu-io -f raw -d unmap \
	-c 'write -P 1 513 3' -c 'read -P 1 513 3' \
	-c 'write -P 2 -f 4095 2' -c 'read -P 2 4095 2' \
	-c 'write -z 6291457 4093' -c 'read -P 0 6291457 4093' \
	-c 'discard 8M 1M' -c 'flush' "$export"
run "$top/tests/interop/nbd.sh" "$build/tests/interop/nbd-client" "$export"
wait_in_step
same_images data
nodes_stop a b
