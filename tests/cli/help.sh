#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Every --help goes to stdout, fits 80 columns, and ends well; so does
# --version.
. "$(dirname "$0")/lib.sh"

helps() {
	"$@" --help >"$work/out" 2>"$work/err" </dev/null || fail "$*: --help ended badly"
	[ -s "$work/out" ] || fail "$*: --help says nothing on stdout"
	[ ! -s "$work/err" ] || fail "$*: --help says something on stderr"
	grep -q '^Usage: ' "$work/out" || fail "$*: --help does not begin with the usage"
	fits
}

commands='pair invite:pair join:pair remove:status:check:promote:demote:switchover:resync:pause:resume:config check:estimate'
helps "$stead"
all=$(cat "$work/out")
IFS=:
for command in $commands; do
	IFS=' '
	echo "$all" | grep -qF "stead $command " || fail "stead --help does not list $command"
	helps "$stead" $command
	says "stead $command"
	"$stead" --root /nowhere/at/all $command --help >"$work/out" || fail "$command --help needs a root"
done
helps "$stead" pair
helps "$stead" config
for program in "$stead" "$STEAD_BUILD/agent/stead-agent" "$STEAD_BUILD/receiver/stead-receiver"; do
	[ -x "$program" ] || continue
	helps "$program"
	"$program" --version >"$work/out" 2>"$work/err" || fail "$program --version ended badly"
	grep -qE '^stead[a-z-]* [0-9]+\.[0-9]+\.[0-9]+$' "$work/out" || fail "$program --version"
done
exit 0
