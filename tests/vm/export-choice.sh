#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# export-choice.sh ublk|nbd: what a volume is used through on this kernel, and why.
# What cannot be is refused with a reason that says what would help, and
# nothing is made; `auto` takes the next best, and says what it would have liked.
kind=$1
disks=(a=128M b=128M data=32M)
. "$(dirname "$0")/lib.sh" "$@"

join() {
	on b pair invite db --volume "data=$work/b/data.img" --listen 10.1.0.2:7420 >"$work/token" 2>"$work/invite.err" ||
		fail "pair invite: $(cat "$work/invite.err")"
	on a pair join - --volume "data=$1" --export "$2" --listen 10.1.0.1:7420 <"$work/token"
}

# not_joined REASON DEVICE EXPORT
not_joined() {
	if join "$2" "$3" >"$work/out" 2>"$work/err"; then
		fail "joined $2 as $3, expected: $1"
	fi
	grep -qE "^stead: .*$1" "$work/err" || fail "joined $2 as $3, expected '$1': $(cat "$work/err")"
	[ ! -e "$work/a/etc/stead/pairs/db.conf" ] || fail "a refused join has made the pair"
	say "$(cat "$work/err")"
}

# The agent starts anew, and what it chooses is what the log says last: chosen EXPORT REASON
chosen() {
	daemon_stop a agent
	: >"$work/a/agent.log"
	agent_start a
	wait_for 60 "the export" grep -qE 'exported|export-failed' "$work/a/agent.log"
	grep -qE "$1 .*reason=.*$2" "$work/a/agent.log" ||
		fail "expected $1, $2: $(grep export "$work/a/agent.log")"
	say "$(grep -hoE '(export=|export-failed).*' "$work/a/agent.log")"
}

export_set() {
	sed -i "s/^export *=.*/export = $1/" "$work/a/etc/stead/pairs/db.conf"
}

# Drivers are loaded when this says so.
echo >/proc/sys/kernel/modprobe
net_start
node_disk a "$(disk a)"
node_disk b "$(disk b)"
node_start a
node_start b
volume_make b data 32M
adopted=$(disk data)
mkfs.ext4 -q "$adopted" || fail "mkfs"
mount_at "$adopted" "$work/mnt"
echo before >"$work/mnt/file"
not_joined "$adopted is mounted at $work/mnt; unmount it first" "$adopted" auto
umount "$work/mnt"
not_joined "modprobe ublk_drv \(Linux 6.5 or newer" "$adopted" ublk
not_joined "modprobe nbd \(Linux 5.14 or newer" "$adopted" nbd

join "$adopted" auto >"$work/out" 2>&1 || fail "join: $(cat "$work/out")"
wait_for 60 "replication to begin" replicating a
chosen 'export=socket' 'modprobe ublk_drv.*modprobe nbd'
[ -S "$(readlink -f "$work/a/run/stead/db-data")" ] || fail "the link is not to the socket"
modprobe nbd || fail "modprobe nbd"
if [ "$kind" = ublk ]; then
	modprobe ublk_drv || fail "modprobe ublk_drv"
	chosen 'export=ublk device=/dev/ublkb0' 'ublk works here'
else
	chosen 'export=nbd device=/dev/nbd0' 'modprobe ublk_drv'
fi
device_of a data
mount_at "$device" "$work/mnt"
[ "$(cat "$work/mnt/file")" = before ] || fail "the volume is not what the disk was"

# It is mounted: it stays what it is, whatever is configured.
export_set socket
chosen export-failed "$device is in use: mounted.*unmount it first, or set export = $kind"
export_set auto
chosen "export=$kind device=$device" "its device is there from before"
[ "$(cat "$work/mnt/file")" = before ] && echo after >"$work/mnt/file" && sync -f "$work/mnt" || fail "the mount is broken"
umount "$work/mnt"
kernel_is_content
daemon_stop a agent
wait_for 30 "the device to end" test ! -e "$work/a/run/stead/db-data"
inside[a.agent]='setpriv --bounding-set -sys_admin --inh-caps -sys_admin'
agent_start a
chosen 'export=socket' 'no permission to make block devices; needs root, that is CAP_SYS_ADMIN'
export_set "$kind"
chosen export-failed 'no permission to make block devices'
