#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The whole of a disaster, several times over: the primary is killed under load,
# the standby promoted by force and written to, the former primary returns,
# follows by delta, and a switchover brings the roles home. The resync carries
# the union of what changed on both sides, without its zeroes, and next to
# nothing beside it.
#
#   failback.sh [RUNS]   default 3
. "$(dirname "$0")/lib.sh"
requires jq qemu-io openssl cmp perl

runs=${1:-3}

# Blocks, one "OFFSET LENGTH" a line: those that a gave up in a volume, and
# those that b was written.
union() {
	{
		awk '!/^#/ { for (at = $1; at < $1 + $2; at += 4096) print at }' "$salvage/$1.extents"
		cat "$work/$1.written"
	} | sort -nu
}

# Bytes of them on a node that are not zeroes: content NODE VOLUME
content() {
	union "$2" | perl -e 'open(F, "<:raw", $ARGV[0]) or die;
		while (<STDIN>) { seek(F, $_, 0); read(F, $block, 4096); print $block if $block =~ /[^\0]/; }' "$work/$1/$2.img" | wc -c
}

# write_noise on b, and notes where: write_there VOLUME COUNT FIRST STRIDE
write_there() {
	write_noise b "$@"
	seq "$(($3 * 4096))" "$(($4 * 4096))" "$((($3 + ($2 - 1) * $4) * 4096))" >"$work/$1.written"
}

simple_pair 64M data wal
wait_in_step
for ((run = 1; run <= runs; run++)); do
	writer_start --seconds 60 --zeroes 2
	pause "0.$(random_between 500 999)"
	node_kill a
	wait "$writer_pid" 2>/dev/null
	order b promote db --force
	status_is b .role primary || fail "b is no primary after its promotion"
	write_there data 200 "$((run * 30))" 3
	write_there wal 400 "$((run * 50))" 1

	receiver_start a
	agent_start a
	wait_for 60 "a to learn of its successor" status_is a '.state == "demoted"' true
	takes_no_writes a data
	wait_for 60 "b to see its predecessor" status_is b .state diverged
	before=$(status b .wire_bytes_total)
	order a resync db
	salvage=$(sed -n 's/.*kept in \(.*\)\.$/\1/p' "$work/out")
	[ -n "$salvage" ] || fail "nothing was kept: $(cat "$work/out")"
	settled b a
	carried=$(($(status b .wire_bytes_total) - before))
	same_images data wal
	blocks=$(($(union data | wc -l) + $(union wal | wc -l)))
	content=$(($(content b data) + $(content b wal)))
	# A fast link carries it as it is.
	((carried * 100 <= content * 105)) ||
		fail "the resync carried $carried bytes; the $blocks blocks of the union have $content bytes of content"
	write_noise b data 20
	settled b a
	order b switchover db
	settled a b
	same_images data wal
	say "run $run: $carried bytes carried for $blocks blocks, which have $content bytes of content"
	rm -f "$work/stamps"
done
nodes_stop a b
