#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The volume is on something that can neither punch holes nor zero by itself: what
# the application zeroes is zero all the same, from its first request on.
. "$(dirname "$0")/lib.sh"
requires jq cmp
requires_root

mkdir -p "$work/a"
mount -t ramfs none "$work/a" 2>/dev/null || skip "no ramfs here"
on_exit_undo "umount -l $work/a"
volume_make a data 16M
! fallocate --punch-hole --length 64k "$work/a/data.img" 2>/dev/null || skip "this file system can punch holes"
simple_pair 16M data
wait_in_step
"$tools/stamp-writer" --log "$work/stamps" --uri "$(uri a data)" --seconds 2 --zeroes 50 >"$work/writer.out" 2>&1 ||
	fail "the writer: $(cat "$work/writer.out")"
say "writer: $(cat "$work/writer.out")"
wait_in_step
same_images data
check_cut --complete "$work/stamps" "$work/b/data.img"
nodes_stop a b
