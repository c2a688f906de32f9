#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The metrics of both daemons are valid, say what the status says, and nobody
# who asks for them, or has their port, is in the way of replication.
. "$(dirname "$0")/lib.sh"
requires jq curl

node_new a
node_new b
for node in a b; do
	agent_options[$node]="--metrics 127.0.0.1:0"
	receiver_options[$node]="--metrics 127.0.0.1:0"
done
simple_pair 16M data wal
wait_in_step

# address NODE DAEMON
address() {
	sed -n 's/.* metrics address=//p' "$work/$1/$2.log" | tail -n 1
}

# value NODE DAEMON SAMPLE...: of a sample whose line has all of these words
value() {
	local word lines
	lines=$(curl -sf "http://$(address "$1" "$2")/metrics")
	shift 2
	for word; do
		lines=$(grep -F -- "$word" <<<"$lines")
	done
	[ "$(wc -l <<<"$lines")" = 1 ] || return
	echo "${lines##* }"
}

# is VALUE NODE DAEMON SAMPLE...
is() {
	local expected=$1
	shift
	[ "$(value "$@")" = "$expected" ]
}

valid() {
	local what=$1 from
	from=$(address $what)
	curl -sf -o "$work/metrics" "http://$from/metrics" || fail "no metrics from $what"
	if command -v promtool >/dev/null; then
		promtool check metrics <"$work/metrics" >"$work/promtool.out" 2>&1 ||
			fail "promtool: $(cat "$work/promtool.out")"
		[ ! -s "$work/promtool.out" ] || fail "promtool: $(cat "$work/promtool.out")"
	fi
	curl -sf -o "$work/metrics" -D "$work/headers" -H 'Accept: application/openmetrics-text; version=1.0.0' \
		"http://$from/metrics" || fail "no OpenMetrics from $what"
	grep -qi '^content-type: application/openmetrics-text; version=1.0.0' "$work/headers" ||
		fail "not OpenMetrics: $(cat "$work/headers")"
	[ "$(tail -n 1 "$work/metrics")" = "# EOF" ] || fail "OpenMetrics without an end"
}

for daemon in "a agent" "b receiver" "b agent" "a receiver"; do
	valid "$daemon"
done
# Every metric is documented, and nothing else is documented or used.
names() {
	grep -o 'stead_[a-z_]*' "$@" | sed -E 's/_(bucket|sum|count)$//' | sort -u
}
curl -sf "http://$(address a agent)/metrics" | sed -n 's/^# TYPE \([a-z_]*\) .*/\1/p' | names >"$work/made"
sed -n 's/^| `\(stead_[a-z_]*\)`.*/\1/p' "$top/docs/metrics.md" | names >"$work/documented"
diff "$work/made" "$work/documented" >&2 || fail "docs/metrics.md does not list the metrics that there are"
for user in prometheus/stead.rules.yml grafana/stead.json; do
	names "$top/packaging/$user" | comm -23 - "$work/made" >"$work/unknown"
	[ ! -s "$work/unknown" ] || fail "packaging/$user uses $(tr '\n' ' ' <"$work/unknown")"
done
# What the dashboard asks for, as rules: Prometheus says whether it understands them.
jq '{groups: [{name: "dashboard", rules: [.panels[].targets[].expr
	| gsub("[$]__rate_interval"; "1m") | {record: "checked", expr: .}]}]}' \
	"$top/packaging/grafana/stead.json" >"$work/dashboard.json" || fail "the dashboard is no JSON"
[ "$(jq '.groups[0].rules | length' "$work/dashboard.json")" -gt 9 ] || fail "the dashboard asks for nothing"
! command -v promtool >/dev/null || promtool check rules "$work/dashboard.json" >"$work/promtool.out" 2>&1 ||
	fail "the dashboard: $(cat "$work/promtool.out")"

wait_for 10 "replicating on both" is 1 a agent 'stead_state{pair="db",role="primary",state="replicating"}'
wait_for 10 "replicating on both" is 1 b receiver 'stead_state{pair="db",role="standby",state="replicating"}'
wait_for 10 "lag 0" is 0 a agent 'stead_lag_seconds{pair="db",role="primary"}'
is 16777216 a agent 'stead_volume_size_bytes{' 'volume="wal"' || fail "the size of wal"
is 5 a agent 'stead_rpo_seconds{' || fail "the RPO"
is 1 b receiver 'stead_promotable{' || fail "promotable"

# in breach: both sides, and the check says so as well
config_set a rpo 500ms
config_set b rpo 500ms
kill -HUP "${pid[a.agent]}" "${pid[b.receiver]}"
wait_for 10 "the new RPO" is 0.5 a agent 'stead_rpo_seconds{'
daemon_kill b receiver
"$build/tests/e2e/stamp-writer" --log "$work/stamps" --uri "$(uri a data)" --uri "$(uri a wal)" --seconds 1 \
	>"$work/writer.out" 2>&1 || fail "the writer: $(cat "$work/writer.out")"
wait_for 20 "the breach" is 1 a agent 'stead_rpo_state{pair="db",role="primary",state="breached"}'
wait_for 20 "the reason" is 1 a agent 'stead_reason{pair="db",role="primary",reason="link-down"}'
on a check db >"$work/check.out" && fail "check says all is well"
grep -q '^STEAD CRITICAL' "$work/check.out" || fail "check: $(cat "$work/check.out")"

# its port taken: said, and no more than that
receiver_options[b]="--metrics $(address a agent)"
receiver_start b
wait_in_step
grep -q 'warning metrics-off reason="listen on .*another program uses the port"' "$work/b/receiver.log" ||
	fail "a port that is taken is not said"
wait_for 20 "the end of the breach" is 1 a agent 'stead_rpo_state{pair="db",role="primary",state="ok"}'
awk -v seconds="$(value a agent 'stead_breach_seconds_total{')" 'BEGIN { exit !(seconds > 0) }' ||
	fail "no seconds of breach"

# off: nobody listens
daemon_stop a agent
agent_options[a]="--metrics off"
: >"$work/a/agent.log"
agent_start a
wait_in_step
grep -q ' metrics' "$work/a/agent.log" && fail "metrics although they are off"
nodes_stop a b
