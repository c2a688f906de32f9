#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# crash-consistency.sh [RUNS [KIND...]]: 4 connections to each of 2 volumes
# write with hot blocks; at a random moment something breaks; what the standby
# is then promoted to must be one cut across both volumes. After a fault that
# leaves the primary in place the pair must also come back by itself and become
# identical. Kinds: kill-agent kill-receiver cut-link promote.
#
# SECONDS_OF_LOAD=20 with 50 runs is the long form. SEED replays the choice of
# moments (not the moments of the machine).
. "$(dirname "$0")/lib.sh"
requires jq cmp

runs=${1:-8}
shift $(($# ? 1 : 0))
kinds=("$@")
((${#kinds[@]})) || kinds=(kill-agent promote kill-receiver cut-link)
load=${SECONDS_OF_LOAD:-8}
RANDOM=${SEED:=$RANDOM}

forget() {
	local process

	for process in a.agent a.receiver b.agent b.receiver; do
		[ -z "${pid[$process]:-}" ] || end_child KILL "${pid[$process]}"
	done
	end_child KILL "$writer_pid"
	end_child KILL "${proxy_pid[link]}"
	rm -rf "$work"/{a,b,stamps,link.ctl,link.out}
	unset "port[a]" "port[b]"
}

# The standby is taken over while the writers still write to the primary.
promote_standby() {
	on b promote db --force >"$work/promote.out" || fail "promote: $(cat "$work/promote.out")"
	wait_for 60 "everything to be redone" redone b
	check_cut "$work/stamps" "$work/b/data.img" "$work/b/wal.img"
	# Served at once by the node's own agent.
	nbdinfo --size "$(uri b data)" >/dev/null || fail "the promoted volume is not exported"
}

# What breaks, now or at a second random moment after it.
break_it() {
	case $1 in
	kill-agent)
		daemon_kill a agent
		if (($2 % 2)); then
			promote_standby
		else
			agent_start a
		fi
		;;
	kill-receiver)
		daemon_kill b receiver
		receiver_start b
		;;
	cut-link)
		proxy link down
		pause "0.$(random_between 100 999)"
		proxy link up
		;;
	promote)
		promote_standby
		;;
	esac
}

run_once() {
	local number=$1 kind=$2 moment

	moment=$(random_between 0 $((load * 700)))
	node_new b
	proxy_start link "${port[b]}"
	link_port=$proxy_port
	simple_pair 64M data wal
	wait_for 60 "replication to begin" replicating a
	writer_start --seconds "$load" --zeroes 2 --reconnect --seed "$((SEED + number))"
	pause "$((moment / 1000)).$(printf %03d $((moment % 1000)))"
	break_it "$kind" "$number"
	if status_is b .role primary; then
		end_child KILL "$writer_pid"
	else
		# Once more while the pair is catching up, without waiting for it.
		pause "0.$(random_between 100 999)"
		if (($(random_between 0 1))); then
			promote_standby
			end_child KILL "$writer_pid"
		else
			writer_finish
			wait_in_step
			same_images data wal
			check_cut --complete "$work/stamps" "$work/b/data.img" "$work/b/wal.img"
		fi
	fi
	no_reports
	say "run $number: $kind after $moment ms: ok"
	forget
}

requires nbdinfo
say "seed $SEED, $runs runs"
for ((number = 1; number <= runs; number++)); do
	run_once "$number" "${kinds[(number - 1) % ${#kinds[@]}]}"
done
