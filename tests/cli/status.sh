#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# status: both daemons' pairs and those that nobody runs, as a table, in detail
# and as JSON.
. "$(dirname "$0")/lib.sh"

pair() { # NAME ROLE STATE MORE
	cat <<END
{"pair": "$1", "node": "n1", "role": "$2", "state": "$3", "reason": null, "connected": true,
 "peer": "other:7420", "generation": "ab", "epoch": {"open": 43, "durable": 42, "applied": 42},
 "lag_seconds": 0.41, "rpo_seconds": 5, "rto_seconds": 60, "rpo_state": "ok", "breach_seconds_total": 0,
 "bytes_behind": 1048576, "change_bytes_per_second": 1000, "ship_bytes_per_second": 500,
 "wire_bytes_total": 12345678, "eta_seconds": null, "sync": null, "promotable": true,
 "recovery_point": {"epoch": 42, "time": "2026-01-31T12:00:00.123Z", "age_seconds": 0.5},
 "volumes": [{"name": "data", "path": "/dev/vg/data", "bytes": 1073741824, "export": "socket",
              "device": "/run/stead/db-data.sock", "dirty_bytes": 4096}]${4-}}
END
}

done_well status
says "No pairs yet"
done_well status --json
[ "$(cat "$work/out")" = "[]" ] || fail "no pairs are no empty array"
refused 1 "no pair db on this node, and no other (stead-agent and stead-receiver are not running)" status db

sync=', "sync": {"done_bytes": 512, "total_bytes": 1024}, "eta_seconds": 90, "reason": "link-slow"'
longest=$(printf '%031d' 0 | tr 0 x)
# a key given again replaces the former one
daemon agent <<END
{"status": {"pairs": [$(pair web primary replicating), $(pair both primary replicating),
                      $(pair bad primary refused ', "reason": "volume data: open /dev/vg/data: no such file or directory; is the volume group active, and is its name still the same as before"')]}}
END
daemon receiver <<END
{"status": {"pairs": [$(pair db standby full-sync "$sync"), $(pair both standby waiting)]}}
END
pair_file lost
pair_file web
echo nonsense >"$node/etc/stead/pairs/broken.conf"

done_well status
fits
[ "$(awk 'NR > 1 && !/^ / { print $1, $2, $3 }' "$work/out" | tr '\n' ,)" = \
	"bad primary refused,both primary replicating,broken - waiting,db standby full-sync,lost - waiting,web primary replicating," ] ||
	fail "not the six pairs in their order"
says "[########........] 50%  512 B of 1.0 KiB, 1 min 30 s left"
says "link-slow: what there is to send waits for the link"
says "not-loaded: configured, but no daemon runs it"
says "config-invalid: the configuration is wrong; see stead config check"
grep -q "$(printf '\033')" "$work/out" && fail "colours without a terminal"

for name in web db lost broken bad; do
	done_well status "$name"
	fits
	says "pair       $name,"
done
done_well status web
says "lag        0.4"
says "epoch 42 of 2026-01-31T12:00:00.123Z, 0.5 s old; promotable"
says "use      /run/stead/db-data.sock (socket)"
says "4.0 KiB not yet durable"
refused 1 "no pair nosuch on this node; there is broken, lost, web" status nosuch

done_well status --json
[ "$(grep -c '"pair":' "$work/out")" = 6 ] || fail "not an array of six"
says '"lag_seconds": 0.41,'
done_well status web --json
[ "$(head -c 1 "$work/out")" = "{" ] || fail "one pair is no object"
done_well status --json lost
says '"role": null'
says '"rpo_state": null'

# --watch goes on until interrupted, and that is no failure
mkfifo "$work/watched"
"$stead" --root "$node" status --json --watch >"$work/watched" 2>"$work/err" &
pid=$!
exec 4<"$work/watched"
for i in 1 2; do
	read -r line <&4 || fail "--watch stopped"
	case $line in
	'[{"pair":"bad"'*) ;;
	*) fail "--watch --json: $line" ;;
	esac
done
kill -INT "$pid"
wait "$pid" || fail "--watch: exit code $? after ctrl-C"
exec 4<&-

# colours and 80 columns on a terminal, with the longest name
if command -v script >/dev/null && script -qec true /dev/null </dev/null >/dev/null 2>&1; then
	kill "${daemons[0]}"
	wait "${daemons[0]}" 2>/dev/null
	daemon agent <<-END
		{"status": {"pairs": [$(pair "$longest" primary split-brain)]}}
	END
	env -u NO_COLOR TERM=xterm script -qec "$stead --root $node status" /dev/null </dev/null >"$work/out"
	grep -q "$(printf '\033')\[1;31msplit-brain" "$work/out" || fail "no colours on a terminal"
	NO_COLOR=1 script -qec "$stead --root $node status" /dev/null </dev/null | tr -d '\r' >"$work/out"
	grep -q "$(printf '\033')" "$work/out" && fail "colours in spite of NO_COLOR"
	fits
fi
exit 0
