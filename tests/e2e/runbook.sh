#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs docs/operations.md: each command of each block, in order, on the node
# that its prompt names (a# b# c#), and compares what is seen with what is
# written below it. Each line there must be seen, in that order, `...` stands for
# anything; a line `stead: ...` says that the command is refused. What only looks
# (status, ls, cat) is asked again until it shows that. A block without prompts
# has to say what it is (```fstab); anything else fails.
#
# Comments `<!-- test: EVENT -->` say what happens to the nodes in between; what
# this machine has no use for (apt-get, mount) is checked, not done.
. "$(dirname "$0")/lib.sh"
requires jq qemu-io openssl nbdinfo dpkg-query

# Also where the output is that of a command.
exec {err_fd}>&2
eval "lib_$(declare -f fail)"
fail() {
	lib_fail "$@" 2>&"$err_fd"
}

document=$top/docs/operations.md
declare -A ran=()

# -- names: what the document says, and what it is here --

# The node's own paths, and everybody's addresses.
here_of() {
	sed -E "s#/dev/vg0/([a-z]+)#$work/$node/\1.img#g
		s#(^|[ '=])/(run|var/lib|etc)/stead#\1$work/$node/\2/stead#g
		s#(^|[ '=])/(srv)/#\1$work/$node/\2/#g
		s#a\.example:7420#127.0.0.1:$back_port#g; s#b\.example:7420#127.0.0.1:$link_port#g
		s#c\.example:7420#127.0.0.1:${port[c]}#g" <<<"$1"
}

document_of() {
	sed -E "s#$work/$node/([a-z]+)\.img#/dev/vg0/\1#g; s#$work/$node/#/#g" "$1"
}

# -- commands --

stead() {
	local more=()

	[ "$*" != "${*#pair join}" ] && more=(--export socket)
	"$stead_bin" --root "$work/$node" "$@" "${more[@]}" <"$work/token"
}

systemctl() {
	local unit daemon

	case $1 in
	daemon-reload) return ;;
	enable) shift ;;
	esac
	for unit in "${@:2}"; do
		daemon=${unit#stead-}
		case $1 in
		--now)
			find "$work/installed" -name "$unit.service" | grep -q . || fail "no unit $unit is installed"
			"${daemon}_start" "$node"
			;;
		restart)
			daemon_stop "$node" "$daemon"
			"${daemon}_start" "$node"
			;;
		reload) kill -HUP "${pid[$node.$daemon]}" ;;
		*) fail "systemctl $1 is not known here" ;;
		esac
	done
}

apt-get() {
	local package

	[ "$1" = install ] || fail "apt-get $1 is not known here"
	for package in "${@:2}"; do
		dpkg-query -W "$package" >/dev/null || fail "there is no package $package"
	done
}

meson() {
	case $1 in
	setup) command meson setup "$work/configured" "$top" "${@:3}" ;;
	install) DESTDIR=$work/installed command meson install -C "$build" --no-rebuild ;;
	*) fail "meson $1 is not known here" ;;
	esac
}

umount() {
	mkdir -p "$1"
}

mount() {
	[ "$1" != -o ] || shift 2
	[ -S "$1" ] && [ -d "$2" ] || fail "nothing to mount at $1"
}

# -- events --

both_settled() {
	settled a b
}

snapshot_taken() {
	daemon_stop a agent
	daemon_stop a receiver
	mkdir "$work/older"
	cp -a --sparse=always "$work/a/var" "$work/a/data.img" "$work/a/log.img" "$work/older"
	receiver_start a
	agent_start a
	settled a b
}

snapshot_restored() {
	change a data 'write -P 0x44 4M 8k'
	settled a b
	change a log 'write -P 0x45 4M 8k'
	settled a b
	node_kill a
	rm -r "$work/a/var"
	cp -a --sparse=always "$work/older/." "$work/a"
	rm -r "$work/older"
	receiver_start a
	agent_start a
}

event() {
	case $1 in
	'the same on b')
		receiver_start b
		agent_start b
		;;
	'a dies under load')
		settled a b
		change a log 'write -P 0x01 0 64k'
		settled a b
		cut_off
		change a data 'write -P 0x02 1M 32k'
		node_kill a
		;;
	'a comes back')
		change b data 'write -P 0x03 2M 16k'
		reunite
		receiver_start a
		agent_start a
		;;
	'the link is cut, and both are written to')
		settled a b
		cut_off
		change a data 'write -P 0x04 3M 16k'
		order b promote db --force
		change b log 'write -P 0x05 3M 24k'
		reunite
		;;
	'home again, and the same once more')
		settled b a
		same_images data log
		order b switchover db
		event 'the link is cut, and both are written to'
		wait_for 60 "the split" status_is a .state split-brain
		;;
	'a is restored from an older copy')
		settled a b
		same_images data log
		snapshot_taken
		snapshot_restored
		;;
	'home again, and a is restored from an older copy once more')
		settled b a
		same_images data log
		order b switchover db
		settled a b
		snapshot_taken
		snapshot_restored
		;;
	'b is lost')
		settled a b
		same_images data log
		change a data 'write -P 0x06 5M 16k'
		node_kill b
		;;
	'c dies, and a is started again')
		wait_for 60 "c to have everything" applied c
		node_kill c
		daemon_stop a agent
		agent_start a
		;;
	'c is back')
		change a data 'write -P 0x07 6M 16k'
		receiver_start c
		agent_start c
		settled a c
		;;
	*) fail "line $number: nobody knows how to do: $1" ;;
	esac
}

# -- blocks --

# Each expected line is among those that were seen, in that order.
as_written() {
	local line seen_line

	exec {seen_fd}<"$work/seen"
	for line in "${expected[@]}"; do
		missing=$line
		[ "$line" = ... ] && continue
		while :; do
			IFS= read -r seen_line <&"$seen_fd" || { exec {seen_fd}<&-; return 1; }
			# shellcheck disable=SC2053
			[[ "$seen_line" == ${line//.../*} ]] && break
		done
	done
	exec {seen_fd}<&-
}

look() {
	eval "$here" >"$work/raw" 2>&1
	code=$?
	document_of "$work/raw" >"$work/seen"
	[ $code = "$wanted" ] && as_written
}

run_command() {
	local wanted=0 here code missing=''

	[ -n "$node" ] || return 0
	here=$(here_of "$typed")
	[[ "${expected[*]}" == *'stead: '* ]] && wanted=1
	ran[$node]=$((${ran[$node]:-0} + 1))
	case $typed in
	'stead status'* | 'ls '* | 'cat '*)
		seen_wait 60
		;;
	*)
		look || fail "line $at: $node# $typed: ended with $code, expected '$missing': $(cat "$work/seen")"
		;;
	esac
	[ "$typed" = "${typed#stead pair invite}" ] || cp "$work/raw" "$work/token"
	say "$node# $typed"
	node=
}

seen_wait() {
	local deadline=$((SECONDS + $1 * ${STEAD_PATIENCE:-1}))

	until look; do
		((SECONDS < deadline)) ||
			fail "line $at: $node# $typed: ended with $code, '$missing' is not to be seen: $(cat "$work/seen")"
		pause 0.1
	done
}

in_block= kind= node= number=0
touch "$work/token"
for node in a b c; do
	node_new "$node"
	mkdir -p "$work/$node/srv/data"
	volume_make "$node" data 64M
	volume_make "$node" log 16M
done
node=
proxy_start link "${port[b]}"
link_port=$proxy_port
proxy_start back "${port[a]}"
back_port=$proxy_port
receiver_start c
agent_start c
umask 077
while IFS= read -r line <&3; do
	number=$((number + 1))
	if [[ $line == '```'* ]]; then
		if [ -n "$in_block" ]; then
			[ "$kind" != commands ] || run_command
			in_block=
		else
			in_block=$number kind=${line#'```'} commands=0
			case $kind in
			'') kind=commands ;;
			fstab) ;;
			*) fail "line $number: a block of $kind; is it run?" ;;
			esac
		fi
	elif [ -n "$in_block" ] && [ "$kind" = commands ]; then
		if [[ $line =~ ^([a-z]+)#\ (.*)$ ]]; then
			next=("${BASH_REMATCH[@]}")
			run_command
			node=${next[1]} typed=${next[2]} at=$number expected=()
			[ -d "$work/$node" ] || fail "line $number: there is no node $node"
		elif [ -n "$node" ]; then
			expected+=("$line")
		else
			fail "line $number: a block that begins with no command; what is it?"
		fi
	elif [[ $line == '<!-- test: '*' -->' ]]; then
		line=${line#'<!-- test: '}
		event "${line%' -->'}"
	fi
done 3<"$document"
[ -z "$in_block" ] || fail "line $in_block: the block does not end"
for node in a b c; do
	[ "${ran[$node]:-0}" -gt 0 ] || fail "the document has nothing for $node"
done
for volume in data log; do
	cmp "$work/a/$volume.img" "$work/c/$volume.img" || fail "$volume differs between the nodes"
done
nodes_stop a c
