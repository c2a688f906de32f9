#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What each command asks of which daemon, and what it prints of the answer.
. "$(dirname "$0")/lib.sh"

volumes='[{"name":"data","path":"/x","bytes":1073741824,"export":"socket","device":"/run/stead/db-data.sock"}]'
token=stead1:x

# nothing runs
refused 1 "stead-receiver is not running here; start it: stead-receiver --root $node" pair invite db --volume data=/x
refused 1 "no pair db on this node, and no other; see stead pair --help" promote db
pair_file db
pair_file web
refused 1 "no pair other on this node; there is db, web" promote other
refused 1 "no pair other on this node; there is db, web" pause other
refused 1 "no pair other on this node; there is db, web" pair remove other
refused 1 "stead-receiver is not running here; start it" promote db
refused 1 "stead-agent is not running here; start it: stead-agent --root $node" pause db
refused 1 "stead-agent is not running here and may be the one that has db" pair remove db

daemon agent <<END
{"status": {"pairs": []}, "pause": {"pair": "db"}, "resume": {"pair": "db"}, "pair-remove": {"pair": "db"},
 "pair-join": {"pair": "db", "peer": "other:7420", "volumes": $volumes}}
END
daemon receiver <<END
{"status": {"pairs": [{"pair": "db"}]}, "pair-invite": {"token": "$token"}, "pair-remove": "still\nin use",
 "promote": {"pair": "db", "generation": "ab01", "epoch": 42, "time": "2026-01-31T12:00:00.123Z",
             "age_seconds": 0.5, "seconds": 0.25, "volumes": $volumes}}
END

done_well pair invite db --volume data=/x --volume log=img --listen host:1 --expires 10m
[ "$(cat "$work/out")" = "$token" ] || fail "pair invite prints more than the token"
notes "stead pair join TOKEN"
asked receiver '"command":"pair-invite","expires_ns":600000000000,"listen":"host:1","pair":"db"'
asked receiver "{\"name\":\"data\",\"path\":\"/x\"},{\"name\":\"log\",\"path\":\"$PWD/img\"}"

done_well promote db
asked receiver '{"command":"promote","force":false,"pair":"db"}'
says "this node is the primary now, generation ab01"
says "epoch 42 of 2026-01-31T12:00:00.123Z; lost is at most what was written in the last 0.5 s"
says "data: /run/stead/db-data.sock"
says "Took 0.2"
done_well promote --force db
asked receiver '"force":true'

done_well pause db
asked agent '{"command":"pause","pair":"db"}'
done_well resume db
asked agent '{"command":"resume","pair":"db"}'

# the daemon that has the pair is asked to remove it; its refusal is one line
refused 1 "stead: still?in use" pair remove db
asked receiver '{"command":"pair-remove","pair":"db"}'

# promoted, and yet nothing is served
kill "${daemons[1]}"
wait "${daemons[1]}" 2>/dev/null
daemon receiver <<END
{"promote": {"pair": "db", "generation": "ab01", "epoch": 42, "age_seconds": null, "seconds": 0.25,
             "volumes": [{"name": "data"}], "note": "no stead-agent runs on this node"}}
END
run promote db
[ "$code" = 1 ] || fail "exit code $code though nothing is served"
says "this node is the primary now"
says "Recovery point: epoch 42."
says "data: not exported"
notes "stead: pair db is promoted, but no stead-agent runs on this node"
exit 0
