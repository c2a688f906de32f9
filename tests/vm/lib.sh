# SPDX-License-Identifier: Apache-2.0
# What the cases in a virtual machine share. A case sets what it needs and
# sources this with its arguments; on the outside that boots the machine, runs
# the case inside of it, and does not return.
#
#   kind=ublk|nbd     which machine: QEMU with kernel 6.12 or User-Mode Linux 6.1
#   machine_kind=ublk-new   with kind=ublk: the newest kernel instead of 6.12
#   more_programs=(PATH...)   of the build directory, linked with nothing that the others are not
#   disks=(NAME=SIZE...)   empty at the first boot
#   memory=MB, limit=SECONDS (of all boots; a machine that hangs is ended)
#
# Inside, node a is in the machine's own network and the receiver of node b in
# another one; between them is a link that net_em makes bad. (The kernel's nbd
# driver is to be had in the machine's own network only, so the agent of b is
# there, too: it matters once b is promoted.) Nodes, waiting and checking are
# those of the end-to-end tests.
# shellcheck shell=bash disable=SC2034,SC2154,SC1091
kind=${kind:-nbd}
[ -n "${STEAD_VM:-}" ] || . "$(dirname "${BASH_SOURCE[0]}")/vm.sh" "$@"

. "$(dirname "${BASH_SOURCE[0]}")/../e2e/lib.sh"
vm_tools=$build/tests/vm
# Loads are smaller where the machine is emulated.
[ "$kind" = ublk ] && scale=1 || scale=4
# The same in each boot: nodes remember paths.
mv "$work" /tmp/nodes
work=/tmp/nodes
[ -z "${TRACE:-}" ] || { PS4="+\\t "; set -x; }
RANDOM=${SEED:=$RANDOM}
say "seed $SEED"

# Programs start slowly here: do not look as often.
pause() {
	local nothing

	read -r -t "${1/#0.05/0.2}" nothing <&"$pause_fd" || true
}

# -- the network --

net_start() {
	modprobe -a veth sch_netem || fail "modprobe veth sch_netem"
	ip netns add b
	ip link add to-b type veth peer name to-a netns b || fail "veth"
	ip addr add 10.1.0.1/24 dev to-b
	ip link set to-b up
	ip -n b addr add 10.1.0.2/24 dev to-a
	ip -n b link set lo up
	ip -n b link set to-a up
	host=([a]=10.1.0.1 [b]=10.1.0.2)
	port=([a]=7420 [b]=7420)
	inside=([b.receiver]='ip netns exec b')
}

# The link as it is from now on, in both directions: net_em delay 50ms loss 1%
net_em() {
	tc qdisc replace dev to-b root netem "$@" || fail "netem $*"
	tc -n b qdisc replace dev to-a root netem "$@" || fail "netem $*"
}

# Bytes that went from a to b so far, with all headers.
net_bytes() {
	cat /sys/class/net/to-b/statistics/tx_bytes
}

# -- disks --

# The device of a disk that the case named: disk NAME
disk() {
	local entry number=1 letters=(a b c d e f g h i j)

	for entry in "${disks[@]}"; do
		if [ "${entry%=*}" = "$1" ]; then
			echo "/dev/$([ "$kind" = nbd ] && echo ubd || echo vd)${letters[number]}"
			return
		fi
		number=$((number + 1))
	done
	fail "no disk $1"
}

# A node's directory is a file system on a device of its own: node_disk NODE DEVICE
node_disk() {
	mkdir -p "$work/$1"
	[ -n "$(blkid -o value -s TYPE "$2")" ] || mkfs.ext4 -q "$2" || fail "mkfs.ext4 $2"
	mount "$2" "$work/$1" || fail "mount $2"
	on_exit_undo "umount -l $work/$1"
}

# What LVM makes of a disk: a device with two names, behind LVM's own data: sets $adopted
logical_volume() {
	modprobe dm-mod || fail "modprobe dm-mod"
	dmsetup create vg0-data --table "0 $(($(blockdev --getsz "$1") - 2048)) linear $1 2048" || fail "dmsetup"
	dmsetup mknodes
	mkdir /dev/vg0
	ln -s ../mapper/vg0-data /dev/vg0/data
	adopted=/dev/vg0/data
}

# -- disks with a volatile cache. NODE has three: NODE, NODE-log and NODE-live.
# What is written goes to NODE-live and to the log; at a power failure NODE is
# made from the log: what was flushed, and of the rest what chance leaves. Writes
# take a while, as on a disk: so a failure finds some under way. --

# The node's state and its volume data are parts of one disk: they fail together.
state_sectors=$((96 << 11))

cache_start() {
	local live log sectors node=$1

	modprobe -a dm-mod dm-log-writes dm-delay || fail "modprobe dm-log-writes dm-delay"
	live=$(disk "$node-live") log=$(disk "$node-log")
	sectors=$(blockdev --getsz "$live")
	dmsetup create "$node-slow" --table "0 $sectors delay $live 0 0 $live 0 ${write_ms:-5}" &&
		dmsetup mknodes &&
		dmsetup create "$node-cache" --table "0 $sectors log-writes /dev/mapper/$node-slow $log" || fail "dm-log-writes"
	dmsetup mknodes
	parts_start "$node" "/dev/mapper/$node-cache"
}

# parts_start NODE DEVICE: mounts the node's directory, and makes its volume
parts_start() {
	local node=$1 total

	dmsetup mknodes
	total=$(blockdev --getsz "$2") || fail "no device-mapper"
	dmsetup create "$node-state" --table "0 $state_sectors linear $2 0" &&
		dmsetup create "$node-data" --table "0 $((total - state_sectors)) linear $2 $state_sectors" || fail "dmsetup"
	dmsetup mknodes
	node_disk "$node" "/dev/mapper/$node-state"
	ln -sf "/dev/mapper/$node-data" "$work/$node/data.img"
}

# What is flushed from now on is not on the disk of a node.
cache_mark() {
	dmsetup message "$1-cache" 0 mark cut || fail "mark"
	# Brings to the log what was not flushed.
	dd if=/dev/null of="/dev/mapper/$1-data" conv=notrunc,fsync status=none
}

# The power of a node fails, with its daemons already killed; its disk is as
# that left it, and in use again.
cache_fail() {
	local node=$1

	cache_mark "$node"
	umount "$work/$node" || fail "umount"
	dmsetup remove "$node-state" && dmsetup remove "$node-data" && dmsetup remove "$node-cache" &&
		dmsetup remove "$node-slow" || fail "dmsetup remove"
	cache_lose "$node"
	cache_start "$node"
	# A machine without power has a new boot id afterwards.
	failures=$((failures + 1))
	cat /proc/sys/kernel/random/uuid >"$work/boot_id.$failures"
	mount --bind "$work/boot_id.$failures" /proc/sys/kernel/random/boot_id || fail "a new boot id"
	on_exit_undo "umount /proc/sys/kernel/random/boot_id"
}
failures=0

# Makes the disk of a node from its log.
cache_lose() {
	local lost

	lost=$("$vm_tools/disk-log" fail "$(disk "$1-log")" "$(disk "$1")" "$(disk "$1-live")" cut "$RANDOM") || fail "disk-log"
	say "power failure of $1: $lost"
}

# -- volumes as devices --

# Two nodes with directories on disks of their own, and the volume of a either
# an image or a device: pair_on KIND SIZE [DEVICE]
pair_on() {
	export_kind=$1
	modprobe -a $([ "$1" = ublk ] && echo ublk_drv || echo nbd) || fail "modprobe for $1"
	net_start
	node_disk a "$(disk a)"
	node_disk b "$(disk b)"
	[ -z "${3:-}" ] || ln -s "$3" "$work/a/data.img"
	simple_pair "$2" data
	wait_for 120 "replication to begin" replicating a
	device_of a data
}

# The device of a volume of db, once it is there: sets $device
device_of() {
	wait_for 30 "the device of $2 on $1" test -b "$work/$1/run/stead/db-$2"
	device=$(readlink -f "$work/$1/run/stead/db-$2")
}

# same_volumes: the volume data of both nodes, below what serves it
same_volumes() {
	local node

	for node in a b; do
		[ ! -b "$work/$node/data.img" ] || blockdev --flushbufs "$work/$node/data.img"
	done
	cmp "$work/a/data.img" "$work/b/data.img" || fail "data differs between the nodes"
}

# The volume of a standby, below what serves it, is one cut of what stamp-writer wrote: data_is_a_cut NODE
data_is_a_cut() {
	[ ! -b "$work/$1/data.img" ] || blockdev --flushbufs "$work/$1/data.img"
	cp --sparse=always "$work/$1/data.img" "$work/cut" || fail "copy"
	check_cut "$work/stamps" "$work/cut"
}

# The same of what a node serves, from the promotion on.
served_is_a_cut() {
	rm -f "$work/cut"
	nbdcopy "$(uri "$1" data)" "$work/cut" || fail "copy"
	check_cut "$work/stamps" "$work/cut"
}

# stamps_start SECONDS: stamped writes to the volume of a until data_is_a_cut judges them.
stamps_start() {
	rm -f "$work/stamps"
	"$tools/stamp-writer" --log "$work/stamps" --uri "$(uri a data)" --zeroes 2 --rate 100 --reconnect --seconds "$1" \
		>"$work/writer.out" 2>"$work/writer.err" &
	writer_pid=$!
}

# One change after the other of a few files in DIR: shake DIR
shake() {
	local change some other

	mkdir -p "$1"
	for ((change = 0; change < scale * 12; change++)); do
		some=$1/$((RANDOM % 12)) other=$1/$((RANDOM % 12))
		# What is not there cannot be changed.
		case $((change % 8)) in
		0) dd if=/stead/order of="$some" bs=999 seek=$((RANDOM % 64)) conv=notrunc ;;
		1) truncate -s $((RANDOM * 4)) "$some" ;;
		2) fallocate -o $((RANDOM * 4)) -l 65536 "$some" ;;
		3) fallocate -p -o $((RANDOM * 2)) -l 50000 "$some" ;;
		4) fallocate -z -o $((RANDOM * 2)) -l 50000 "$some" ;;
		5) ln -f "$some" "$other" ;;
		6) mv -f "$some" "$other.moved" && ln -sf "$other.moved" "$some" ;;
		7) rm -f "$some" "$other.moved" ;;
		esac 2>/dev/null
	done
	sync -f "$1"
}

# Work for a file system until the file DIR.stop is there: data that fio verifies,
# trees that come and go, and files that are changed in every way. churn DIR
churn() {
	local round=0 fio=0

	while [ ! -e "$1.stop" ]; do
		fio --name=churn --directory="$1" --rw=randrw --bssplit=4k/60:512/20:64k/20 --size=${scale}M --numjobs=2 --fsync=16 \
			--verify=crc32c --verify_fatal=1 --do_verify=1 --ioengine=psync --randrepeat=0 --output-format=terse \
			>"$work/fio.out" 2>&1 || { cat "$work/fio.out" && return 1; }
		cp -a /stead "$1/tree.$round" || return 1
		sync -f "$1" && shake "$1/shaken" || return 1
		diff -r /stead "$1/tree.$round" || return 1
		if ((round)); then
			mv "$1/tree.$((round - 1))" "$1/old" && rm -r "$1/old" || return 1
		fi
		round=$((round + 1))
		echo "$round" >"$1.rounds"
	done
}

# churn_start DIR: sets $churn_pid
churn_start() {
	churn "$1" &
	churn_pid=$!
}

churned() {
	[ "$(cat "$1.rounds" 2>/dev/null || echo 0)" -ge "$2" ] || ! kill -0 "$churn_pid"
}

# The load ends without having seen an error, its file system is clean, and the
# nodes are identical: churn_end DIR FS
churn_end() {
	touch "$1.stop"
	wait "$churn_pid" || fail "the load saw an error"
	umount "$1" || fail "umount"
	kernel_is_content
	check_fs "$2" "$device"
	wait_in_step
	same_volumes
}

# fsck FS DEVICE: after a mount that replayed the journal there is nothing to mend.
check_fs() {
	if [ "$1" = ext4 ]; then
		e2fsck -fn "$2" >"$work/fsck.out" 2>&1
	else
		xfs_repair -n "$2" >"$work/fsck.out" 2>&1
	fi || fail "fsck of $2: $(cat "$work/fsck.out")"
}

# What the kernel has said about errors of devices and file systems since the last look.
kernel_is_content() {
	! dmesg -c | grep -E 'I/O error|EXT4-fs (error|warning)|XFS .*(rror|shut)|blocked for more|lost async|Buffer I/O' ||
		fail "the kernel complains"
}
