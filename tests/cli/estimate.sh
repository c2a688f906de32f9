#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# estimate: what it takes and refuses; and, where the tracepoints are, that it
# sees what is written to a loop device.
. "$(dirname "$0")/lib.sh"

refused 2 "which device or file?" estimate
refused 2 "--for 10ms is no time of at least 1s" estimate --for 10ms /dev/null
refused 2 "--for soon is no time" estimate --for soon /dev/null
refused 1 "/dev/null is neither a block device nor a file" estimate /dev/null
refused 1 "open $work/nothing: No such file or directory" estimate "$work/nothing"
: >"$work/empty"
refused 1 "$work/empty is empty" estimate "$work/empty"

[ -d /sys/kernel/tracing/instances ] && [ "$(id -u)" = 0 ] || exit 0
truncate -s 16M "$work/image"
device=$(losetup --find --show "$work/image" 2>/dev/null) || exit 0
trap 'losetup -d "$device"; rm -rf "$work"' EXIT
"$stead" estimate "$device" --for 3s >"$work/out" 2>"$work/err" </dev/null &
until ls -d /sys/kernel/tracing/instances/stead-estimate-$! >/dev/null 2>&1; do
	kill -0 $! 2>/dev/null || fail "estimate ended: $(cat "$work/err")"
done
until [ "$(cat /sys/kernel/tracing/instances/stead-estimate-$!/events/block/block_bio_queue/enable 2>/dev/null)" = 1 ]; do
	kill -0 $! 2>/dev/null || fail "estimate ended: $(cat "$work/err")"
done
for ((i = 0; i < 5; i++)); do # the same 64 blocks
	dd if=/dev/zero of="$device" bs=64k count=4 oflag=direct 2>/dev/null || fail "dd"
done
wait $! || fail "estimate: $(cat "$work/err")"
says "16.0 MiB: 1.2 MiB written in 3.0 s."
says "5.0 s   "
grep -qE '^5.0 s .* 256 KiB$' "$work/out" || fail "overwrites are not counted once: $(cat "$work/out")"
[ ! -e /sys/kernel/tracing/instances/stead-estimate-$! ] || fail "the trace was left behind"
exit 0
