#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# damaged-state.sh [FLIPS]: a byte of the standby's state or journal, or of the
# primary's state, is changed. Either it does not matter (a mirror, unused
# space) and what is promoted is still one cut, or the pair refuses with a
# reason. It never serves something else.
. "$(dirname "$0")/lib.sh"
requires jq cmp xxd

flips=${1:-12}
simple_pair 16M data wal
wait_for 60 "replication to begin" replicating a
writer_start --seconds 60 --reconnect --rate 200
pause "2.$(random_between 100 999)"
journal=$work/b/var/lib/stead/pairs/db/journal
beginning=$((256 << 20)) # of it; so much is not filled here
head -c "$beginning" "$journal" >"$work/journal.before"
durable=$(status a .epoch.durable)
wait_for 30 "another epoch" status_at_least b .epoch.durable "$((durable + 1))"
# Both are killed in the middle of it, so that the journal is in use.
daemon_kill b receiver
daemon_kill a agent
end_child KILL "$writer_pid"
daemon_stop b agent
mkdir "$work/kept"
cmp -l -n "$beginning" "$work/journal.before" "$journal" | awk '{ print $1 - 1 }' | shuf -n 1000 >"$work/written"
[ -s "$work/written" ] || fail "nothing was written to the journal"
cp -a --sparse=always "$work/b" "$work/kept/b"
cp -a --sparse=always "$work/a" "$work/kept/a"

restore() {
	rm -rf "${work:?}/$1"
	cp -a --sparse=always "$work/kept/$1" "$work/$1"
}

# flip FILE OFFSET
flip() {
	local byte

	byte=$(xxd -s "$2" -l 1 -p "$1")
	printf %b "$(printf '\\x%02x' $((0x$byte ^ 1 << RANDOM % 8)))" |
		dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# A place that was written to lately, or one in the first pages, or any place
# that has something in it.
random_place() {
	local size try at

	size=$(stat -c %s "$1")
	if [ "${1##*/}" = journal ] && ((RANDOM % 3)); then
		shuf -n 1 "$work/written"
		return
	fi
	((size < 32768 || RANDOM % 2)) || size=32768
	for ((try = 0; try < 50; try++)); do
		at=$(random_between 0 $((size - 1)))
		[ "$(xxd -s "$at" -l 64 -p -c 64 "$1" | tr -d 0)" = "" ] || break
	done
	echo "$at"
}

# The answer is final: not that the pair is still being opened.
promoted() {
	on b promote db --force >"$work/out" 2>&1
	! grep -q 'is starting' "$work/out"
}

for ((number = 1; number <= flips; number++)); do
	restore b
	case $((number % 3)) in
	0) file=$work/b/var/lib/stead/pairs/db/state.slots ;;
	*) file=$work/b/var/lib/stead/pairs/db/journal ;;
	esac
	[ -f "$file" ] || fail "there is no ${file##*/}"
	at=$(random_place "$file")
	flip "$file" "$at"
	receiver_start b
	wait_for 30 "the receiver to open the pair" promoted
	if grep -q 'this node is the primary now' "$work/out"; then
		# What was acknowledged as durable must not be dropped in silence.
		epoch=$(sed -n 's/^Recovery point: epoch \([0-9]*\) .*/\1/p' "$work/out")
		((epoch > durable)) || fail "epoch $durable was durable, promoted was $epoch"
		agent_start b
		wait_for 60 "everything to be redone" redone b
		daemon_kill b agent
		check_cut "$work/stamps" "$work/b/data.img" "$work/b/wal.img" >"$work/cut"
		say "flip $number: ${file##*/} at $at: promoted at $epoch, $(cat "$work/cut")"
	else
		[ "$(grep -c '^stead: ' "$work/out")" = 1 ] || fail "no reason: $(cat "$work/out")"
		say "flip $number: ${file##*/} at $at: refused, $(cat "$work/out")"
	fi
	daemon_kill b receiver
	no_reports
done

# The primary: its state is mirrored, and of its map more may be shipped, never less.
for file in state.slots map; do
	restore a
	restore b
	flip "$work/a/var/lib/stead/pairs/db/$file" "$(random_place "$work/a/var/lib/stead/pairs/db/$file")"
	receiver_start b
	agent_start a
	wait_in_step
	same_images data wal
	check_cut --complete "$work/stamps" "$work/b/data.img" "$work/b/wal.img"
	daemon_stop a agent
	daemon_stop b receiver
	no_reports
done
