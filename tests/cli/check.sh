#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# check: one line on stdout, performance data, and the exit code of monitoring
# plugins, whatever happens.
. "$(dirname "$0")/lib.sh"

# agent_tells STATE MORE: the only pair; a key given again replaces the former
agent_tells() {
	local pid
	for pid in "${daemons[@]}"; do
		kill "$pid"
		wait "$pid" 2>/dev/null
	done
	daemons=()
	daemon agent <<-END
		{"status": {"pairs": [{"pair": "db", "node": "n1", "role": "primary", "state": "$1", "reason": null,
		 "connected": true, "peer": "other:7420", "lag_seconds": 0.41, "rpo_seconds": 5, "rpo_state": "ok",
		 "breach_seconds_total": 12.5, "bytes_behind": 1048576, "change_bytes_per_second": 1000,
		 "ship_bytes_per_second": 500, "wire_bytes_total": 12345678, "sync": null, "promotable": true,
		 "recovery_point": {"epoch": 42, "time": "2026-01-31T12:00:00.123Z", "age_seconds": 0.5}${2-}}]}}
	END
}

# checked CODE WORD: as a plugin has to
checked() {
	run check "${3-db}"
	[ "$code" = "$1" ] || fail "exit code $code, not $1"
	[ ! -s "$work/err" ] || fail "something on stderr"
	[ "$(wc -l <"$work/out")" = 1 ] || fail "not one line on stdout"
	grep -q "^STEAD $2 - " "$work/out" || fail "does not begin with STEAD $2"
}

checked 3 UNKNOWN
says "no pair db on this node"
checked 3 UNKNOWN "d b"
says "pair name 'd b' is not possible"
run check
[ "$code" = 3 ] || fail "exit code $code for wrong usage"
says "STEAD UNKNOWN - check: which pair?"
run check db --frobnicate
[ "$code" = 3 ] || fail "exit code $code for an unknown option"
[ ! -s "$work/err" ] || fail "something on stderr"
pair_file db
checked 2 CRITICAL
says "daemon-down"
says "lag=U;3.75;5;0 "

agent_tells replicating
checked 0 OK
[ "$(cat "$work/out")" = "STEAD OK - db: primary replicating, lag 0.4 s of 5.0 s, RPO ok, recovery point 0.5 s old | \
lag=0.41s;3.75;5;0 point=0.5s breached=12.5s behind=1048576B changed=1000B shipped=500B wire=12345678c" ] ||
	fail "not the line that was expected"

agent_tells replicating ', "rpo_state": "at-risk"'
checked 1 WARNING
says "RPO at-risk"
agent_tells replicating ', "rpo_state": "breached", "reason": "link-slow"'
checked 2 CRITICAL
says "link-slow: what there is to send waits for the link |"
agent_tells replicating ', "connected": false, "reason": "link-down"'
checked 1 WARNING
agent_tells paused ', "reason": "paused"'
checked 1 WARNING
agent_tells demoted ', "rpo_state": null, "lag_seconds": null'
checked 1 WARNING
says " lag=U;3.75;5;0 "
agent_tells full-sync ', "rpo_state": "breached", "promotable": false, "lag_seconds": null, "recovery_point": null,
 "sync": {"done_bytes": 512, "total_bytes": 1024}'
checked 2 CRITICAL
says "not promotable, 512 B of 1.0 KiB looked through"
for state in waiting refused split-brain diverged; do
	agent_tells $state
	checked 2 CRITICAL
done
agent_tells refused ', "reason": "volume a|b: open: no\nsuch file", "rpo_state": null'
checked 2 CRITICAL
says "volume a/b: open: no?such file |"
[ "$(tr -dc '|' <"$work/out")" = "|" ] || fail "more than one |"
agent_tells replicating ', "rpo_state": null'
checked 3 UNKNOWN
exit 0
