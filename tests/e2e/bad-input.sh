#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Every kind of bad input is refused with one clear line and exit code 1 or 2,
# and nothing is changed by it.
. "$(dirname "$0")/lib.sh"
requires jq md5sum chattr

# What a refused request may not touch.
snapshot() {
	(cd "$work" && find [a-z]/etc [a-z]/var \( -type f -size -1M -exec md5sum {} + \) -o -printf '%y %m %p\n' | sort)
}

cases=0
# refused WHAT PATTERN COMMAND...: the one line must match the pattern.
refused() {
	local what=$1 pattern=$2 status before
	shift 2
	before=$(snapshot)
	"$@" >"$work/out" 2>"$work/err" </dev/null
	status=$?
	[ "$status" = 1 ] || [ "$status" = 2 ] || fail "$what: exit code $status: $(cat "$work/out" "$work/err")"
	[ "$status" = 2 ] || [ "$(wc -l <"$work/err")" = 1 ] || fail "$what: not one line: $(cat "$work/err")"
	grep -q '^stead: ' "$work/err" || fail "$what: does not begin with 'stead: ': $(cat "$work/err")"
	grep -qiE "$pattern" "$work/err" || fail "$what: '$(cat "$work/err")' does not tell of: $pattern"
	[ "$(snapshot)" = "$before" ] || fail "$what changed: $(diff <(echo "$before") <(snapshot))"
	cases=$((cases + 1))
	say "$what: $(head -n 1 "$work/err")"
}

# refused_daemon PATTERN COMMAND...: a daemon that cannot run so ends.
refused_daemon() {
	local pattern=$1 status
	shift
	timeout -k 1 60 "$@" --root "$work/c" >"$work/out" 2>"$work/err" </dev/null
	status=$?
	[ "$status" = 1 ] || [ "$status" = 2 ] || fail "$*: exit code $status: $(cat "$work/err")"
	grep -qE "^stead-[a-z]+: .*$pattern" "$work/err" || fail "$*: '$(cat "$work/err")' does not tell of: $pattern"
	cases=$((cases + 1))
}

invite() {
	on b pair invite "$@" --listen "127.0.0.1:${port[b]}"
}

join() {
	on a pair join "$@" --export socket
}

for node in a b; do
	node_start "$node"
	volume_make "$node" data 16M
	volume_make "$node" small 8M
	volume_make "$node" other 16M
done

# daemons
mkdir "$work/c"
for daemon in "$agent_bin" "$receiver_bin --listen 127.0.0.1:0"; do
	# shellcheck disable=SC2086
	for option in --frobnicate "--metrics nonsense"; do
		refused_daemon "${option%% *}" $daemon $option
	done
done
refused_daemon "99999" "$receiver_bin" --listen 127.0.0.1:99999

# usage
refused "no such command" "frobnicate" on a frobnicate
refused "unknown option" "unknown|unrecognized|option" on a status --frobnicate
refused "invite without a pair" "" on b pair invite
refused "invite without a volume" "volume" on b pair invite db
refused "volume without a path" "data" invite db --volume data
refused "no such pair" "nosuch" on a status nosuch
refused "promote without such a pair" "nosuch" on b promote nosuch
refused "bad duration" "soon" invite db --volume "data=$work/b/data.img" --expires soon
refused "no daemon" "receiver|running|connect" "$stead_bin" --root "$work" status db
refused "root that is no directory" "" "$stead_bin" --root "$work/a/data.img" status

# names
for name in '' . .. a/b 'a b' 'ü' "$(printf 'a\nb')" -x "$(printf '%0200d' 1)"; do
	refused "pair name '${name:0:20}'" "" invite "$name" --volume "data=$work/b/data.img"
done
refused "volume name with a slash" "" invite db --volume "da/ta=$work/b/data.img"
refused "volume twice" "data" invite db --volume "data=$work/b/data.img" --volume "data=$work/b/other.img"

# volumes, on the standby
refused "volume missing" "none.img" invite db --volume "data=$work/b/none.img"
refused "volume is a directory" "director" invite db --volume "data=$work/b"
mkfifo "$work/b/fifo"
refused "volume is a fifo" "fifo" invite db --volume "data=$work/b/fifo"
refused "address without sense" "port|address|99999" on b pair invite db --volume "data=$work/b/data.img" --listen 127.0.0.1:99999
if [ "$(id -u)" = 0 ] && touch "$work/b/fixed.img" && truncate -s 16M "$work/b/fixed.img" &&
	chattr +i "$work/b/fixed.img" 2>/dev/null; then
	on_exit_undo "chattr -i $work/b/fixed.img"
	refused "no permission on the volume" "permi" invite db --volume "data=$work/b/fixed.img"
	chattr -i "$work/b/fixed.img"
fi
if [ "$(id -u)" = 0 ]; then
	chmod 755 "$work" "$work/a"
	refused "no permission on the socket" "permi" setpriv --reuid=65534 --regid=65534 --clear-groups \
		"$stead_bin" --root "$work/a" status db
	refused "no permission on the socket of pair remove" "permi" setpriv --reuid=65534 --regid=65534 \
		--clear-groups "$stead_bin" --root "$work/a" pair remove db
fi
if (requires_loop) >/dev/null 2>&1; then
	truncate -s 16M "$work/b/mounted.img"
	mkfs.ext4 -q -F "$work/b/mounted.img"
	loop=$(losetup --find --show "$work/b/mounted.img")
	on_exit_undo "loop_detach $loop"
	mount_at "$loop" "$work/mnt"
	refused "volume is mounted" "mounted|use" invite db --volume "data=$loop"
	umount "$work/mnt"
	losetup -d "$loop"
fi

# tokens
refused "token is nonsense" "token" join nonsense --volume "data=$work/a/data.img"
refused "token of another version" "token|version" join stead9:AAAA --volume "data=$work/a/data.img"
token=$(invite db --volume "data=$work/b/data.img") || fail "pair invite"
refused "token cut short" "token" join "${token:0:-3}" --volume "data=$work/a/data.img"
flipped=${token:0:40}$(printf %s "${token:40:1}" | tr 'A-Za-z0-9_-' 'B-ZAb-za1-90-_')${token:41}
refused "token with a letter changed" "token" join "$flipped" --volume "data=$work/a/data.img"

# volumes, on the primary
refused "join without a volume" "volume" join "$token"
refused "primary's volume missing" "none.img" join "$token" --volume "data=$work/a/none.img"
refused "primary's volume is a directory" "director" join "$token" --volume "data=$work/a"
refused "join with another volume name" "data|other" join "$token" --volume "other=$work/a/data.img"
refused "join with a volume too many" "other|volumes" join "$token" --volume "data=$work/a/data.img" \
	--volume "other=$work/a/other.img"
small=$(invite tight --volume "data=$work/b/small.img") || fail "pair invite"
refused "standby's volume too small" "small|8388608|8 ?M|bytes" join "$small" --volume "data=$work/a/data.img"
refused "export that is none" "teleport" on a pair join "$token" --volume "data=$work/a/data.img" --export teleport
refused "bad RPO" "rpo" join "$token" --volume "data=$work/a/data.img" --rpo never

# expired
old=$(invite late --volume "data=$work/b/other.img" --expires 1s) || fail "pair invite"
expired() {
	[[ $(join "$old" --volume "data=$work/a/none.img" 2>&1) != *none.img* ]]
}
wait_for 30 "the token to expire" expired
refused "token expired" "expired" join "$old" --volume "data=$work/a/other.img"

# after a pair exists
join "$token" --volume "data=$work/a/data.img" >/dev/null || fail "pair join"
wait_in_step
on a pause db >/dev/null || fail "pause"
refused "token used twice" "token|used|exists|already" join "$token" --volume "data=$work/a/other.img"
refused "pair name in use on the standby" "db" invite db --volume "data=$work/b/other.img"
refused "standby's volume in use by another pair" "db|use" invite second --volume "data=$work/b/data.img"
second=$(invite second --volume "data=$work/b/other.img") || fail "pair invite"
refused "primary's volume in use by another pair" "db|use" join "$second" --volume "data=$work/a/data.img"
refused "promote of a living primary's standby without --force" "force|primary" on b promote db
refused "promote on the primary" "primary" on a promote db
on a resume db >/dev/null || fail "resume"

# configuration
config=$work/a/etc/stead/pairs/db.conf
cp "$config" "$work/db.conf"
echo 'colour = blue' >>"$work/db.conf"
line=$(wc -l <"$work/db.conf")
refused "unknown configuration key" "db.conf:$line.*colour" on a config check "$work/db.conf"
sed 's/^rpo *=.*/rpo = fast/' "$config" >"$work/db.conf"
line=$(grep -n '^rpo' "$work/db.conf" | cut -d: -f1)
refused "bad value in the configuration" "db.conf:$line.*" on a config check "$work/db.conf"
refused "no configuration file" "none.conf" on a config check "$work/none.conf"
refused "configuration that is a directory" "" on a config check "$work"
on a config check "$config" >"$work/out" 2>&1 || fail "a good configuration is refused: $(cat "$work/out")"
on a config check >"$work/out" 2>&1 || fail "a good configuration is refused: $(cat "$work/out")"

# A reload with a bad file goes on with what was good.
cp "$config" "$work/good.conf"
echo 'colour = blue' >>"$config"
kill -HUP "${pid[a.agent]}"
wait_for 30 "the agent to complain" grep -q colour "$work/a/agent.log"
status_is a .role primary || fail "the agent stopped serving after a bad reload"
cp "$work/good.conf" "$config"

# None of all this has hurt.
wait_in_step
same_images data
on a pair remove db >/dev/null || fail "pair remove on the primary"
on b pair remove db >/dev/null || fail "pair remove on the standby"
refused "status of a removed pair" "db" on a status db
nodes_stop a b
say "$cases cases"
