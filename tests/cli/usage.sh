#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Wrong usage ends with code 2 and one line that says what would be right.
. "$(dirname "$0")/lib.sh"

"$stead" >"$work/out" 2>"$work/err" && fail "no command is taken as one"
notes "stead: no command; see stead --help"

refused 2 "no command frobnicate in this version; there are pair invite, pair join, pair remove, status, check, promote, demote, switchover, resync, pause, resume, config check, estimate" frobnicate
for later in verify points drill; do
	refused 2 "no command $later in this version" "$later"
done
refused 2 "pair what? There are pair invite, pair join, pair remove" pair
refused 2 "no command pair frobnicate; there are pair invite" pair frobnicate
refused 2 "config what? There are config check" config
refused 2 "unknown option --frobnicate before the command" --frobnicate status
refused 2 "status: unknown option --frobnicate; see stead status --help" status --frobnicate
refused 2 "status: unknown option -x" status -x
refused 2 "status: unknown option -x" status -xy
refused 2 "status: --json takes no value" status --json=yes
refused 2 "status has no --rpo; stead pair join has it" status --rpo 5s
refused 2 "pair invite has no --export; stead pair join has it" pair invite db --export auto
refused 2 "pair join has no --expires; stead pair invite has it" pair join stead1:x --expires 1h
refused 2 "pause has no --force; stead promote has it" pause db --force
refused 2 "--version stands alone" status --version
refused 2 "pair invite: --volume needs a value" pair invite db --volume
refused 2 "pair invite: which pair?" pair invite
refused 2 "pair invite: which volumes? Add --volume NAME=PATH" pair invite db
refused 2 "pair invite: 'web' is one argument too many" pair invite db web
refused 2 "pair join: which token?" pair join
refused 2 "pair join: which volumes?" pair join stead1:x
for command in "pair remove" promote pause resume; do
	refused 2 "$command: which pair? stead status lists them" $command
	refused 2 "one argument too many" $command db web
	refused 2 "pair name 'd b' is not possible; use 1 to 31 of A-Z a-z 0-9 . _ -" $command "d b"
done
refused 2 "one argument too many" status db web
refused 2 "one argument too many" config check a b
for name in "" . .. a/b "a b" -- "ü" '$(id)' "$(printf 'a\nb')" "$(printf '%040d' 1)"; do
	refused 2 "" pair invite "$name" --volume data=/x
done
for volume in data = =/x data= ; do
	refused 2 "write NAME=PATH, for example" pair invite db --volume "$volume"
done
refused 2 "volume name 'da/ta' is not possible" pair invite db --volume da/ta=/x
refused 2 "longer than 31" pair invite db --volume "$(printf '%040d' 1)=/x"
refused 2 "volume data is given twice" pair invite db --volume data=/x --volume data=/y
refused 2 "volumes data and log have the same path /x" pair invite db --volume data=/x --volume log=/x
refused 2 "control character" pair invite db --volume "data=/x$(printf '\ty')"
refused 2 "path is not UTF-8" pair invite db --volume "data=/x$(printf '\377')"
many=()
for i in $(seq 33); do many+=(--volume "v$i=/v$i"); done
refused 2 "more than 32 volumes" pair invite db "${many[@]}"
refused 2 "--listen 1.2.3.4:99999: write HOST:PORT" pair invite db --volume data=/x --listen 1.2.3.4:99999
refused 2 "--expires soon is no time; write a number with ms, s, m, h or d" pair invite db --volume data=/x --expires soon
refused 2 "--rpo 0: zero is not possible" pair join stead1:x --volume data=/x --rpo 0
refused 2 "--rto 5 is no time" pair join stead1:x --volume data=/x --rto 5
refused 2 "export 'teleport' is not known; use auto, ublk, nbd or socket" pair join stead1:x --volume data=/x --export teleport
refused 1 "" pair join nonsense --volume data=/x
refused 2 "no token on standard input" pair join - --volume data=/x
"$stead" --root "$work/none" status >"$work/out" 2>"$work/err" && fail "a root that is not there"
notes "$work/none"
exit 0
