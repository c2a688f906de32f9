#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# fio-verify.sh ublk|nbd: what four jobs write in mixed sizes reads back as it
# was written, and the standby becomes identical. No thread of the agent waits for
# memory that only a write could free, and what it has stays in memory.
kind=$1
disks=(a=256M b=256M)
. "$(dirname "$0")/lib.sh" "$@"

# As PR_SET_IO_FLUSHER does it: PF_MEMALLOC_NOIO, PF_LOCAL_THROTTLE.
guarded() {
	local stat flags threads=0 locked

	for stat in /proc/"${pid[a.agent]}"/task/*/stat; do
		flags=$(sed 's/.*) //' "$stat" 2>/dev/null | cut -d ' ' -f 7)
		[ -n "$flags" ] || continue # it has ended
		((flags & 0x80000 && flags & 0x100000)) || fail "a thread of the agent may wait for memory: flags $flags"
		threads=$((threads + 1))
	done
	locked=$(awk '/VmLck/ { print $2 }' /proc/"${pid[a.agent]}"/status)
	((threads > 1 && locked > 4096)) || fail "$threads threads, $locked KiB locked"
}

pair_on "$kind" 64M
fio --name=verify --filename="$device" --direct=1 --ioengine=libaio --iodepth=8 --numjobs=4 --size=$((scale * 4))M \
	--offset_increment=16M --rw=randwrite --bssplit=512/10:4k/40:12k/20:64k/20:1m/10 --bs_unaligned=0 --blockalign=512 \
	--verify=crc32c --verify_fatal=1 --do_verify=1 --randrepeat=0 --group_reporting --fsync=64 >"$work/out" 2>&1 ||
	fail "fio: $(cat "$work/out")"
grep -E 'IOPS|verify' "$work/out"
guarded
kernel_is_content
wait_in_step
same_volumes
