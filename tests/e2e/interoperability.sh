#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The export serves the NBD clients that people have: nbdinfo, nbdcopy,
# qemu-img, qemu-io, fio. What they wrote arrives on the standby.
. "$(dirname "$0")/lib.sh"
requires jq cmp openssl nbdinfo nbdcopy qemu-img qemu-io fio

run() {
	"$@" >"$work/out" 2>&1 || fail "$*: $(cat "$work/out")"
}

simple_pair 64M data
export=$(uri a data)
wait_for 60 "replication to begin" replicating a

# What is advertised.
[ "$(nbdinfo --size "$export")" = $((64 << 20)) ] || fail "size $(nbdinfo --size "$export")"
for can in flush fua trim zero multi-conn df fast-zero; do
	nbdinfo --can "$can" "$export" || fail "nbdinfo --can $can"
done
[ "$(nbdinfo --is read-only "$export" && echo ro)" = "" ] || fail "read-only"
nbdinfo --list --json "nbd+unix:///?socket=$work/a/run/stead/db-data.sock" | jq -e '.exports[0]["export-name"] == "data"' \
	>/dev/null || fail "nbdinfo --list"
nbdinfo --map --totals "$export" | grep -q 'hole,zero' || fail "a fresh volume has no holes: $(nbdinfo --map "$export")"
if nbdinfo "nbd+unix:///nosuch?socket=$work/a/run/stead/db-data.sock" >"$work/out" 2>&1; then
	fail "an unknown export was opened"
fi

# In and out, whole.
noise 64M >"$work/image"
run nbdcopy --flush "$work/image" "$export"
run nbdcopy --connections=4 --requests=64 "$export" "$work/copy"
cmp "$work/image" "$work/copy" || fail "nbdcopy read back something else"
run qemu-img compare -f raw -F raw "$work/image" "$export"

# Any alignment, FUA, zeroes with and without holes, trim, flush.
run qemu-io -f raw -d unmap \
	-c 'write -P 1 513 3' -c 'read -P 1 513 3' \
	-c 'write -P 2 -f 4095 2' -c 'read -P 2 4095 2' \
	-c 'write -P 3 1M 32M' -c 'read -P 3 1M 32M' \
	-c 'write -z 2M 1M' -c 'read -P 0 2M 1M' \
	-c 'write -z -u 4M 1M' -c 'read -P 0 4M 1M' \
	-c 'write -z 6291457 4093' -c 'read -P 0 6291457 4093' -c 'read -P 3 6291456 1' -c 'read -P 3 6295550 1' \
	-c 'discard 8M 1M' -c 'flush' "$export"
if qemu-io -f raw -c 'read 64M 4k' "$export" >"$work/out" 2>&1 && ! grep -qi 'error\|beyond\|past' "$work/out"; then
	fail "a read beyond the end went through"
fi

# 128 requests at once on each of several connections, verified.
if fio --enghelp 2>/dev/null | grep -qw nbd; then
	run fio --name=verify --ioengine=nbd --uri="$export" --rw=randwrite --bsrange=512-64k --bs_unaligned=0 \
		--iodepth=128 --size=32M --verify=xxhash --verify_fatal=1 --do_verify=1 --minimal
else
	say "this fio has no nbd engine"
fi
wait_in_step
same_images data
nodes_stop a b
