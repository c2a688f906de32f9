#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What both nodes say of the lag is true: 0 of an idle pair, and the age of the
# first write that the standby does not have once the link is cut; the breach
# begins and ends with it, and status, metrics, hook, log and check agree. What
# is asserted of times are bounds that were measured beside, on one clock.
. "$(dirname "$0")/lib.sh"
requires jq curl qemu-io

rpo=3
cat >"$work/hook" <<END
#!/bin/bash
echo "\$EPOCHREALTIME \$STEAD_EVENT \$STEAD_ROLE \$STEAD_LAG_SECONDS" >>"$work/told"
END
chmod +x "$work/hook"
: >"$work/told"

node_new b
proxy_start link "${port[b]}"
link_port=$proxy_port
agent_options[a]="--metrics 127.0.0.1:0"
receiver_options[b]="--metrics 127.0.0.1:0"
simple_pair 16M data
wait_in_step
for node in a b; do
	config_set $node rpo ${rpo}s
	printf '\n[hooks]\nany = %s\n' "$work/hook" >>"$work/$node/etc/stead/pairs/db.conf"
done
kill -HUP "${pid[a.agent]}" "${pid[b.receiver]}"
for node in a b; do
	wait_for 10 "the new limits" status_is $node .rpo_seconds $rpo
done

# metric NODE DAEMON: whether it says breached, made anew each second
metric() {
	local address

	address=$(sed -n 's/.* metrics address=//p' "$work/$1/$2.log" | tail -n 1)
	curl -sf "http://$address/metrics" | sed -n 's/^stead_rpo_state{.*state="breached"} //p'
}

metrics_say() {
	[ -n "$(metric a agent)" ] && [ -n "$(metric b receiver)" ]
}
wait_for 10 "metrics of the pair" metrics_say

# look NODE DAEMON: what it says now, between two times
look() {
	local node=$1 from status metric check

	from=$EPOCHREALTIME
	status=$(on "$node" status db --json)
	printf '{"from":%s,"to":%s,"status":%s,' "$from" "$EPOCHREALTIME" "$status"
	metric=$(metric "$node" "$2")
	on "$node" check db >/dev/null
	check=$?
	printf '"metric":%s,"check":%s,"end":%s}\n' "$metric" $check "$EPOCHREALTIME"
}

look_at_both() {
	look a agent >>"$work/seen.a"
	look b receiver >>"$work/seen.b"
}

# of NODE FILTER [OPTION...]: a fact of all that was seen must be so
of() {
	jq -es "${@:3}" "$2" "$work/seen.$1" >/dev/null || fail "$1: $2 of $(jq -c 'del(.status.lag_histogram)' "$work/seen.$1")"
}

# idle: nothing to lose, and the point does not age
for ((i = 0; i < 16; i++)); do
	look_at_both
	pause 0.5
done
for node in a b; do
	of $node 'all(.status.lag_seconds == 0 and .metric == 0 and .check == 0)'
	of $node 'last.end - first.from > 7 and (map(.status.recovery_point.age_seconds) | max) < 5'
	: >"$work/seen.$node"
done

told() {
	awk -v event="$1" -v role="$2" '$2 == event && $3 == role { print $1 }' "$work/told" | tail -n 1
}

both_told() {
	look_at_both
	[ -n "$(told "$1" primary)" ] && [ -n "$(told "$1" standby)" ]
}

# like a pulled cable, and then the first write
proxy link stall
from=$EPOCHREALTIME
change a data 'write -P 1 0 4k'
to=$EPOCHREALTIME
wait_for 60 "the breach" both_told rpo-breached
for ((i = 0; i < 8; i++)); do
	look_at_both
	pause 0.5
done
proxy link up
up=$EPOCHREALTIME
wait_for 60 "its end" both_told rpo-recovered
wait_in_step
# The metrics are made anew each second.
pause 2
look_at_both

times=(--argjson rpo $rpo --argjson from "$from" --argjson to "$to" --argjson up "$up")
down='map(select(.from > $to and .to < $up))'
of a "$down | length > 4 and all(.status.lag_seconds <= .to - \$from + 0.002 and .status.lag_seconds >= .from - \$to - 0.002)" "${times[@]}"
# It hears of no write; but it has heard of nothing else since the link was cut.
of b "$down | all(.status.lag_seconds <= .to - \$from + 3 and .status.lag_seconds >= .from - \$to - 1.002)" "${times[@]}"
for node in a b; do
	role=primary daemon=agent
	[ $node = a ] || role=standby daemon=receiver
	# The figures are rounded.
	of $node 'all((.status.lag_seconds - $rpo | fabs) < 0.01 or (.status.rpo_state == "breached") == (.status.lag_seconds > $rpo))' "${times[@]}"
	began=$(told rpo-breached $role) ended=$(told rpo-recovered $role) risk=$(awk -v role=$role \
		'$2 == "rpo-at-risk" && $3 == role { print $1; exit }' "$work/told")
	jq -en "$risk < $began and $began < $ended and $began >= $from + $rpo - 3 and $ended > $up" >/dev/null ||
		fail "$role: at risk $risk, breached $began, recovered $ended, first write $from, link up $up"
	awk -v role=$role -v rpo=$rpo '$2 == "rpo-breached" && $3 == role { exit !($4 >= rpo) }' "$work/told" ||
		fail "the $role told a breach with a lag of less: $(cat "$work/told")"
	for event in rpo-at-risk rpo-breached rpo-recovered; do
		grep -q " $event pair=db " "$work/$node/$daemon.log" || fail "no $event in the log of $node"
	done
	# Well within the breach all say so, and before the first write and at the end none does.
	times+=(--argjson began "$began")
	of $node 'map(select(.from > $began + 2 and .end < $up)) | length > 0 and all(.status.rpo_state == "breached" and .metric == 1 and .check == 2)' \
		"${times[@]}"
	of $node 'last | .status.rpo_state == "ok" and .status.lag_seconds == 0 and .metric == 0 and .check == 0'
	of $node 'last.status.breach_seconds_total as $total | $total > $up - $began - 2 and $total < last.to - $from' "${times[@]}"
	say "the $role told the breach $(jq -n "$began - $from - $rpo") s after the lag passed the RPO"
done
nodes_stop a b
