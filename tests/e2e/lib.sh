# SPDX-License-Identifier: Apache-2.0
# What the end-to-end tests share. A test sources this, names what it requires,
# and makes nodes: two roots on one machine are two nodes.
#
#   STEAD_BUILD          build directory (default: ./build)
#   STEAD_AGENT_WRAPPER, STEAD_RECEIVER_WRAPPER   put before the daemon, e.g. strace -f
#   STEAD_KEEP=1         leave the working directory behind
#
# Exit codes: 0 passed, 77 skipped, else failed.
# shellcheck shell=bash disable=SC2034
set -u -o pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$here/../.." && pwd)
build=$(cd "${STEAD_BUILD:-$top/build}" && pwd) || exit 1
test_name=$(basename "$0" .sh)
work=
undo=()
declare -A port pid proxy_pid agent_options receiver_options
# Where a node is, when it is not simply this machine: its address, and what starts NODE.agent or NODE.receiver there.
declare -A host inside

stead_bin=$build/ctl/stead
agent_bin=$build/agent/stead-agent
receiver_bin=$build/receiver/stead-receiver
tools=$build/tests/e2e

# A daemon of a sanitizer build must not pass by with a report in its log.
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1:abort_on_error=0:exitcode=99}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1:halt_on_error=1:exitcode=99}

say() {
	printf '%s\n' "$*"
}

# Ends the test. The logs of the daemons say why.
fail() {
	printf 'FAILED: %s\n' "$*" >&2
	show_logs >&2
	exit 1
}

skip() {
	printf 'SKIPPED: %s\n' "$*"
	exit 77
}

# Looks nowhere else: a file system on a device that nobody serves would hold us up.
show_logs() {
	local node log

	[ -n "$work" ] || return 0
	for node in "${!port[@]}"; do
		for log in "$work/$node"/*.log; do
			[ -s "$log" ] || continue
			printf -- '--- %s\n' "${log#"$work"/}"
			tail -n 40 "$log"
		done
	done
}

requires() {
	local command

	for command; do
		command -v "$command" >/dev/null || skip "$command is not installed"
	done
}

requires_root() {
	[ "$(id -u)" = 0 ] || skip "needs root"
}

# Loop devices and mounts: not there in every container.
requires_loop() {
	requires_root
	requires losetup mount umount mkfs.ext4
	[ -e /dev/loop-control ] || skip "no loop devices here"
	truncate -s 1M "$work/loop-probe"
	local device
	device=$(losetup --find --show "$work/loop-probe" 2>/dev/null) || skip "loop devices are not permitted here"
	losetup -d "$device"
	rm -f "$work/loop-probe"
}

# Detaches it if it is ours: its number may belong to another test by now.
loop_detach() {
	case $(losetup -n -O BACK-FILE "$1" 2>/dev/null) in
	"$work"/*) losetup -d "$1" ;;
	esac
}

requires_fuse() {
	requires nbdfuse fusermount3
	[ -w /dev/fuse ] || skip "no /dev/fuse here"
}

# -- own processes, mounts and files: whatever happens, none is left behind --

cleanup() {
	local status=$? item

	trap - EXIT INT TERM HUP
	for ((item = ${#undo[@]} - 1; item >= 0; item--)); do
		eval "${undo[item]}" >/dev/null 2>&1
	done
	# Children of this shell that it has not yet seen to the end.
	for item in $(jobs -p); do
		kill -9 "$item" 2>/dev/null
	done
	{ wait; } 2>/dev/null
	if [ -n "$work" ] && [ -z "${STEAD_KEEP:-}" ]; then
		rm -rf "$work"
	elif [ -n "$work" ]; then
		say "kept $work"
	fi
	exit "$status"
}

# What cleanup has to take back, the latest first.
on_exit_undo() {
	undo+=("$*")
}

trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

work=$(mktemp -d "${TMPDIR:-/tmp}/stead-$test_name.XXXXXX") || exit 1

# Ends a child: end_child SIGNAL PID
end_child() {
	kill "-$1" "$2" 2>/dev/null
	{ wait "$2"; } 2>/dev/null
	return 0
}

# Awaits a condition by asking for it again: wait_for SECONDS WHAT COMMAND...
# The deadline only bounds a hang; no test judges by time.
wait_for() {
	local seconds=$1 what=$2 deadline
	shift 2
	deadline=$((SECONDS + seconds * ${STEAD_PATIENCE:-1}))
	until "$@"; do
		((SECONDS < deadline)) || fail "waited $seconds s for: $what"
		pause 0.05
	done
}

# Between two looks at something that has no event to wait for.
pause() {
	local nothing

	read -r -t "$1" nothing <&"$pause_fd" || true
}
mkfifo "$work/never"
exec {pause_fd}<>"$work/never"

# A number in FROM..TO
random_between() {
	echo $(($1 + (RANDOM * 32768 + RANDOM) % ($2 - $1 + 1)))
}

free_port() {
	local candidate

	while :; do
		candidate=$(random_between 10000 31999)
		# Nothing answers there now. Outgoing connections use other numbers.
		(exec 3<>"/dev/tcp/127.0.0.1/$candidate") 2>/dev/null || break
	done
	echo "$candidate"
}

# -- nodes --

# stead of a node: on NODE ARGUMENTS...
on() {
	local node=$1
	shift
	"$stead_bin" --root "$work/$node" "$@"
}

node_new() {
	mkdir -p "$work/$1"
	port[$1]=${port[$1]:-$(free_port)}
}

# What a daemon that was just started says of its pairs, it knows.
pairs_are_read() {
	[ "$(on "$1" status --json 2>/dev/null | jq 'all(.role != null or .reason != "opening")')" = true ]
}

# The control socket answers.
daemon_ready() {
	[ -S "$work/$1/run/stead/$2.sock" ] && kill -0 "${pid[$1.$2]}" 2>/dev/null
}

daemon_alive_or_ready() {
	kill -0 "${pid[$1.$2]}" 2>/dev/null || fail "$2 of $1 ended while starting"
	[ -S "$work/$1/run/stead/$2.sock" ]
}

agent_start() {
	local node=$1

	rm -f "$work/$node/run/stead/agent.sock"
	# shellcheck disable=SC2086
	${inside[$node.agent]:-} ${STEAD_AGENT_WRAPPER:-} "$agent_bin" --root "$work/$node" ${agent_options[$node]:-} \
		>>"$work/$node/agent.log" 2>&1 </dev/null &
	pid[$node.agent]=$!
	wait_for 30 "agent of $node to start" daemon_alive_or_ready "$node" agent
	wait_for 30 "$node to read its pairs" pairs_are_read "$node"
}

receiver_start() {
	local node=$1

	rm -f "$work/$node/run/stead/receiver.sock"
	# shellcheck disable=SC2086
	${inside[$node.receiver]:-} ${STEAD_RECEIVER_WRAPPER:-} "$receiver_bin" --root "$work/$node" \
		--listen "${host[$node]:-127.0.0.1}:${port[$node]}" \
		${receiver_options[$node]:-} >>"$work/$node/receiver.log" 2>&1 </dev/null &
	pid[$node.receiver]=$!
	wait_for 30 "receiver of $node to start" daemon_alive_or_ready "$node" receiver
	wait_for 30 "$node to read its pairs" pairs_are_read "$node"
}

# Time for neither cleanup nor flush: daemon_kill NODE agent|receiver
daemon_kill() {
	end_child KILL "${pid[$1.$2]}"
}

# An orderly end must be clean: exit 0, also under sanitizers.
daemon_stop() {
	local status

	kill -TERM "${pid[$1.$2]}" 2>/dev/null
	wait "${pid[$1.$2]}"
	status=$?
	[ "$status" = 0 ] || fail "$2 of $1 ended with $status on SIGTERM"
}

node_start() {
	node_new "$1"
	receiver_start "$1"
	agent_start "$1"
}

node_kill() {
	daemon_kill "$1" agent
	daemon_kill "$1" receiver
}

# Stops all daemons in order and looks for reports of a sanitizer.
nodes_stop() {
	local node

	for node; do
		daemon_stop "$node" agent
		daemon_stop "$node" receiver
	done
	no_reports
}

no_reports() {
	! grep -qE 'ERROR: AddressSanitizer|LeakSanitizer|runtime error:|ThreadSanitizer' "$work"/*/*.log ||
		fail "a sanitizer reported: $(grep -hm1 -E 'Sanitizer|runtime error:' "$work"/*/*.log)"
}

# -- a link that can be made bad: proxy_start NAME TO-PORT sets proxy_port --

proxy_start() {
	mkfifo "$work/$1.ctl"
	"$tools/tcp-proxy" 0 "$2" "$work/$1.ctl" >"$work/$1.out" 2>&1 &
	proxy_pid[$1]=$!
	wait_for 10 "the proxy to start" grep -qs ^listening "$work/$1.out"
	proxy_port=$(sed -n 's/^listening //p' "$work/$1.out")
}

# proxy NAME COMMAND...: returns when the command is in effect.
proxy() {
	local name=$1 before
	shift
	before=$(wc -l <"$work/$name.out")
	echo "$*" >"$work/$name.ctl"
	wait_for 10 "the proxy to obey" proxy_obeyed "$name" "$before"
}

# Bytes that went from the primary to the standby so far.
proxy_carried() {
	proxy "$1" count
	sed -n 's/^carried \([0-9]*\) .*/\1/p' "$work/$1.out" | tail -n 1
}

proxy_obeyed() {
	[ "$(wc -l <"$work/$1.out")" -gt "$2" ]
}

# -- pairs --

# volume_make NODE NAME SIZE: sets $path
volume_make() {
	path=$work/$1/$2.img
	truncate -s "$3" "$path"
}

# pair_nodes PAIR PRIMARY STANDBY VOLUME... with the images NODE/VOLUME.img there.
# link_port, back_port: other ways to the standby and to the primary than their own ports (proxies).
# export_kind: what the volumes are exported as. join_options: more for `pair join`.
link_port=
back_port=
export_kind=socket
join_options=()
pair_nodes() {
	local pair=$1 primary=$2 standby=$3 volume token
	local invite=() join=()
	shift 3
	for volume; do
		invite+=(--volume "$volume=$work/$standby/$volume.img")
		join+=(--volume "$volume=$work/$primary/$volume.img")
	done
	token=$(on "$standby" pair invite "$pair" "${invite[@]}" \
		--listen "${host[$standby]:-127.0.0.1}:${link_port:-${port[$standby]}}" 2>"$work/invite.err") ||
		fail "pair invite: $(cat "$work/invite.err")"
	on "$primary" pair join "$token" "${join[@]}" --export "$export_kind" \
		--listen "${host[$primary]:-127.0.0.1}:${back_port:-${port[$primary]}}" \
		"${join_options[@]}" >"$work/join.out" 2>&1 || fail "pair join: $(cat "$work/join.out")"
}

# Two nodes a and b, a volume for each name, paired as db:
# simple_pair SIZE VOLUME...
simple_pair() {
	local size=$1 node volume
	shift
	for node in a b; do
		node_new "$node"
		for volume; do
			[ -e "$work/$node/$volume.img" ] || volume_make "$node" "$volume" "$size"
		done
		receiver_start "$node"
		agent_start "$node"
	done
	pair_nodes db a b "$@"
}

# NBD address of an exported volume: uri NODE VOLUME
uri() {
	echo "nbd+unix:///$2?socket=$work/$1/run/stead/db-$2.sock"
}

# A field of the status: status NODE FILTER
status() {
	on "$1" status db --json 2>/dev/null | jq -r "$2"
}

status_is() {
	[ "$(status "$1" "$2")" = "$3" ]
}

# status_at_least NODE FILTER NUMBER
status_at_least() {
	local value

	value=$(status "$1" "$2")
	[ -n "$value" ] && [ "$value" != null ] && jq -en "$value >= $3" >/dev/null
}

replicating() {
	status_is "$1" '.state == "replicating" and .connected' true
}

# Everything acknowledged so far is durable on the standby.
in_step() {
	status_is "$1" '.state == "replicating" and .connected and .lag_seconds == 0 and .bytes_behind == 0' true
}

applied() {
	status_is "$1" '.epoch.durable == .epoch.applied and .epoch.durable != null' true
}

wait_in_step() {
	wait_for "${1:-120}" "lag 0 on the primary" in_step a
	wait_for 60 "everything applied on the standby" applied b
}

# What the promotion of a node left in its journal is in its volumes.
redone() {
	status_is "$1" '.role == "primary" and .redo == null and .reason != "opening"' true
}

same_images() {
	local volume

	for volume; do
		cmp "$work/a/$volume.img" "$work/b/$volume.img" || fail "$volume differs between the nodes"
	done
}

# What a promotion now would show: fails unless the images are one cut.
check_cut() {
	"$tools/stamp-check" "$@" || fail "the images are not one cut"
}

# -- roles --

# The node is the standby, and gets what its peer is written.
follows() {
	status_is "$1" '.role == "standby" and .state == "replicating" and .connected and .promotable' true
}

# The node is the primary, and its peer has everything.
serves_in_step() {
	status_is "$1" '.role == "primary" and .state == "replicating" and .connected and .lag_seconds == 0
		and .bytes_behind == 0 and ([.volumes[].device] | all)' true
}

# Everything that was acknowledged is in the images of both: settled PRIMARY STANDBY
settled() {
	wait_for 60 "$1 to serve, with its peer in step" serves_in_step "$1"
	wait_for 60 "$2 to follow" follows "$2"
	wait_for 60 "everything applied on $2" applied "$2"
}

# A command of stead that must be done; what it printed is in $work/out: order NODE ARGUMENTS...
order() {
	on "$@" >"$work/out" 2>&1 || fail "$*: $(cat "$work/out")"
}

# A command of stead that must be refused: code 1, nothing printed but one line
# that says this and no more than a line, nothing changed: refused TEXT NODE ARGUMENTS...
refused() {
	local text=$1 code
	shift
	on "$@" >"$work/out" 2>"$work/err"
	code=$?
	[ $code = 1 ] || fail "$*: ended with $code: $(cat "$work/out" "$work/err")"
	[ ! -s "$work/out" ] && [ "$(wc -l <"$work/err")" = 1 ] || fail "$*: not one line: $(cat "$work/out" "$work/err")"
	grep -qE "^stead: .*$text" "$work/err" || fail "$*: expected '$text': $(cat "$work/err")"
}

# The nodes cannot talk, in neither direction; needs the proxies link and back
# in between (apart_pair).
cut_off() {
	proxy link down
	proxy back down
}

reunite() {
	proxy link up
	proxy back up
}

# simple_pair whose link can be cut.
apart_pair() {
	node_new a
	node_new b
	proxy_start link "${port[b]}"
	link_port=$proxy_port
	proxy_start back "${port[a]}"
	back_port=$proxy_port
	simple_pair "$@"
}

# Writes to a volume of db, by qemu-io: change NODE VOLUME COMMAND...
change() {
	local node=$1 volume=$2 command commands=()
	shift 2
	for command; do
		commands+=(-c "$command")
	done
	qemu-io -f raw "${commands[@]}" "$(uri "$node" "$volume")" >"$work/out" 2>&1 ||
		fail "$volume on $node takes no writes: $(cat "$work/out")"
}

# The node serves the volume no more, or fails what it is asked.
takes_no_writes() {
	qemu-io -f raw -c 'write -P 0x11 0 4k' "$(uri "$1" "$2")" >"$work/out" 2>&1 &&
		fail "$2 on $1 takes writes"
	return 0
}

# Blocks that do not compress, one every STRIDE from FIRST on: write_noise NODE VOLUME COUNT [FIRST [STRIDE]]
write_noise() {
	local node=$1 volume=$2 count=$3 first=${4:-0} stride=${5:-1} i

	rm -rf "$work/noise"
	mkdir "$work/noise"
	noise $((count * 4096)) | split -b 4096 -a 5 -d - "$work/noise/"
	for ((i = 0; i < count; i++)); do
		printf 'write -s %s/noise/%05d %dk 4k\n' "$work" $i $(((first + i * stride) * 4))
	done | qemu-io -f raw "$(uri "$node" "$volume")" >"$work/out" 2>&1 ||
		fail "$volume on $node takes no writes: $(tail -n 3 "$work/out")"
	[ "$(grep -c 'wrote 4096/4096' "$work/out")" = "$count" ] ||
		fail "not all writes to $volume on $node were done: $(tail -n 3 "$work/out")"
}

# Changes the configuration of db on a node: config_set NODE KEY VALUE. In
# effect after the next start of its daemons, or SIGHUP.
config_set() {
	local file=$work/$1/etc/stead/pairs/db.conf

	sed -i "/^$2 *=/d; /^\[pair\]/a $2 = $3" "$file"
	on "$1" config check "$file" >/dev/null || fail "the configuration of $1 with $2 = $3"
}

# A file of noise that does not compress: noise BYTES
noise() {
	openssl enc -aes-128-ctr -pass "pass:$RANDOM$RANDOM" -nosalt -pbkdf2 -iter 1 </dev/zero 2>/dev/null |
		head -c "$1"
}

# -- file systems: an NBD socket as a file (nbdfuse), the file as a block
# device (losetup), the device mounted. attach URI sets $device; mount_at and
# detach do the rest.

attach() {
	local fuse
	fuse=$(mktemp -d "$work/fuse.XXXXXX") || exit 1
	nbdfuse "$fuse/volume" "$1" </dev/null >>"$work/nbdfuse.out" 2>&1 &
	on_exit_undo "umount -l $fuse"
	wait_for 30 "nbdfuse" test -e "$fuse/volume"
	device=$(losetup --find --show "$fuse/volume") || fail "losetup"
	on_exit_undo "loop_detach $device"
	fuse_of[$device]=$fuse
}
declare -A fuse_of

# A block device of SIZE that takes 10 ms for a write, so that others can read
# beside it; sets $device: slow_device NAME SIZE
slow_device() {
	local fuse
	truncate -s "$2" "$work/$1.disk"
	nbdkit --foreground --unix "$work/$1.nbd" --filter=delay file "$work/$1.disk" wdelay=10ms \
		</dev/null >>"$work/nbdkit.out" 2>&1 &
	wait_for 30 "nbdkit" test -S "$work/$1.nbd"
	fuse=$(mktemp -d "$work/fuse.XXXXXX") || exit 1
	nbdfuse "$fuse/volume" "nbd+unix:///?socket=$work/$1.nbd" </dev/null >>"$work/nbdfuse.out" 2>&1 &
	on_exit_undo "umount -l $fuse"
	wait_for 30 "nbdfuse" test -e "$fuse/volume"
	device=$(losetup --find --show --direct-io=on "$fuse/volume") || fail "losetup"
	on_exit_undo "loop_detach $device"
	fuse_of[$device]=$fuse
}

requires_slow_device() {
	requires_loop
	requires_fuse
	requires nbdkit
}

mount_at() {
	mkdir -p "$2"
	mount "$1" "$2" || fail "mount $1"
	on_exit_undo "umount -l $2"
}

# The state of a node on a disk of its own: small_disk NODE SIZE
small_disk() {
	local device

	truncate -s "$2" "$work/$1.disk"
	mkfs.ext4 -q -F -m 0 "$work/$1.disk" || fail "mkfs.ext4"
	device=$(losetup --find --show "$work/$1.disk") || fail "losetup"
	on_exit_undo "loop_detach $device"
	mkdir -p "$work/$1/var/lib/stead"
	mount_at "$device" "$work/$1/var/lib/stead"
	on_exit_undo "umount -l $work/$1/var/lib/stead"
}

# In order, or what can be done of it when the server is gone.
detach() {
	losetup -d "$1"
	wait_for 30 "$1 to be free" loop_free "$1"
	umount "${fuse_of[$1]}" || umount -l "${fuse_of[$1]}"
}

loop_free() {
	! losetup "$1" >/dev/null 2>&1
}

# -- writers: writer_start OPTIONS...; volumes are data and wal --

writer_start() {
	"$tools/stamp-writer" --log "$work/stamps" --uri "$(uri a data)" --uri "$(uri a wal)" "$@" \
		>"$work/writer.out" 2>"$work/writer.err" &
	writer_pid=$!
}

writer_finish() {
	wait "$writer_pid" || fail "the writer: $(cat "$work/writer.err" "$work/writer.out")"
	say "writer: $(cat "$work/writer.out")"
}

writer_stop() {
	kill -TERM "$writer_pid" 2>/dev/null
	writer_finish
}

# A value of the writer's totals: writer_total max_us
writer_total() {
	sed -n "s/.*\b$1=\([0-9]*\).*/\1/p" "$work/writer.out"
}
