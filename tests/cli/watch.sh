#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# status --watch on a terminal: draws again each second with the course of the
# lag, and leaves the terminal as it was.
. "$(dirname "$0")/lib.sh"
command -v script >/dev/null && script -qec true /dev/null </dev/null >/dev/null 2>&1 || exit 77

daemon agent <<END
{"status": {"pairs": [{"pair": "db", "node": "n1", "role": "primary", "state": "replicating", "reason": null,
 "connected": true, "peer": "other:7420", "epoch": {"open": 43, "durable": 42, "applied": 42},
 "lag_seconds": 7.5, "rpo_seconds": 5, "rpo_state": "breached", "eta_seconds": null, "sync": null,
 "promotable": true, "bytes_behind": 4096,
 "recovery_point": {"epoch": 42, "time": "2026-01-31T12:00:00.123Z", "age_seconds": 0.5},
 "volumes": [{"name": "data", "path": "/dev/vg/data", "bytes": 1073741824, "export": "socket"}]}]}}
END

# watched KEY|SIGNAL ARGUMENTS...: lets it draw three times, ends it, and keeps
# what the terminal was sent, with what stty said before and after.
watched() {
	local how=$1 frames=0 line pid
	shift
	rm -f "$work/screen" "$work/keys" "$work/pid"
	mkfifo "$work/screen" "$work/keys"
	cat >"$work/session" <<-END
		stty rows 30 cols 80
		stty -g >"$work/before"
		sh -c 'echo \$\$ >"$work/pid"; exec "$stead" --root "$node" status --watch $*'
		echo "ended with \$?"
		stty -g >"$work/after"
	END
	env -u NO_COLOR TERM=xterm script -qec "sh $work/session" /dev/null <"$work/keys" >"$work/screen" &
	daemons+=($!)
	exec 5>"$work/keys" 4<"$work/screen"
	: >"$work/out"
	while IFS= read -r line <&4; do
		printf '%s\n' "$line" >>"$work/out"
		case $line in
		*"s ago"*) frames=$((frames + 1)) ;;
		*"ended with"*) break ;;
		esac
		if [ "$frames" = 3 ]; then
			pid=$(cat "$work/pid")
			case $how in
			q) printf q >&5 ;;
			*) kill "-$how" "$pid" ;;
			esac
			frames=-1000
		fi
	done
	exec 5>&-
	cat <&4 >/dev/null
	exec 4<&-
}

escape=$(printf '\033')
for how in INT TERM q; do
	watched $how db
	says "ended with 0"
	says "$escape[?1049h"
	says "$escape[?25h$escape[?1049l"
	cmp -s "$work/before" "$work/after" || fail "the terminal is not as it was after $how"
done
says "replicating"
says "5.0 s |-----"
says "lag        7.5 s of 5.0 s at most, $escape[1;31mbreached"
says "not converging at this rate"
says "$escape[1;31m#"
# without colours no line is wider than the terminal
sed "s/$escape\[[0-9;?]*[A-Za-z]//g; s/\r//g" "$work/out" >"$work/plain"
mv "$work/plain" "$work/out"
fits
watched INT
says "ended with 0"
grep -qE "^(.*H)?PAIR  ROLE" <(sed "s/$escape\[[0-9;?]*[A-Za-z]//g" "$work/out") || fail "no table of all pairs"

# A daemon that is gone meanwhile is said, and not the end.
kill "${daemons[0]}"
wait "${daemons[0]}" 2>/dev/null
pair_file db
watched INT db
says "daemon-down"
says "ended with 0"
exit 0
