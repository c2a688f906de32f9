#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Others read a volume through the page cache while it is written past it: what a
# disk of ours shows afterwards is what was written, on a block device, on the file
# systems where it streams through the cache, and on some where it does not.
. "$(dirname "$0")/lib.sh"
requires_slow_device
rounds=${ROUNDS:-40}

# race WHAT PATH [sees]: sees: the other reader is known to come between
race() {
	local figures
	figures=$("$tools/cache-race" "$2" "$rounds") || fail "$1: $figures"
	say "$1: $figures"
	[ -z "${3:-}" ] || [[ $figures != *"overtaken 0"* ]] || fail "$1: nobody read beside a write: $figures"
}

# on_file_system TYPE SIZE [sees]: in a file of it on a device of its own
on_file_system() {
	command -v "mkfs.$1" >/dev/null || {
		say "$1: no mkfs.$1"
		return 0
	}
	slow_device "$1" "$2"
	"mkfs.$1" -q "$device" >"$work/out" 2>&1 || fail "mkfs.$1: $(cat "$work/out")"
	mkdir "$work/$1"
	if mount -t "$1" "$device" "$work/$1" 2>/dev/null; then
		on_exit_undo "umount -l $work/$1"
		truncate -s 1M "$work/$1/image"
		race "$1" "$work/$1/image" "${3:-}"
		overlaid "$1"
		umount "$work/$1"
	else
		say "$1: this kernel cannot mount it"
	fi
	losetup -d "$device"
}

# An overlay over that file system has the cache of what is below.
overlaid() {
	local at=$work/$1

	mkdir "$at/lower" "$at/upper" "$at/work" "$at/over"
	mount -t overlay -o "lowerdir=$at/lower,upperdir=$at/upper,workdir=$at/work" none "$at/over" 2>/dev/null || return 0
	on_exit_undo "umount -l $at/over"
	truncate -s 1M "$at/over/image"
	race "overlay on $1" "$at/over/image"
	umount "$at/over"
}

slow_device disk 16M
race "block device" "$device" sees
losetup -d "$device"
race "fuse" "${fuse_of[$device]}/volume"
on_file_system ext4 64M sees
on_file_system xfs 512M sees
on_file_system ext2 64M
on_file_system btrfs 256M
