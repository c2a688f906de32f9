# SPDX-License-Identifier: Apache-2.0
# What the tests of the command share. Each script tests one behaviour; the
# first thing that is not as it should be ends it.
set -u

stead=$STEAD_BUILD/ctl/stead
fake=$STEAD_BUILD/tests/cli/fake-daemon
work=$(mktemp -d "${TMPDIR:-/tmp}/stead-cli.XXXXXX") || exit 1
node=$work/node
mkdir -p "$node/etc/stead/pairs" "$node/run/stead"
chmod 700 "$node/run/stead"
daemons=()

finish() {
	local pid
	for pid in "${daemons[@]}"; do
		kill "$pid" 2>/dev/null
		wait "$pid" 2>/dev/null
	done
	rm -rf "$work"
}
trap finish EXIT

fail() {
	echo "FAILED: $*" >&2
	[ ! -s "$work/out" ] || sed 's/^/out: /' "$work/out" >&2
	[ ! -s "$work/err" ] || sed 's/^/err: /' "$work/err" >&2
	exit 1
}

# run ARGUMENTS...: the command on the test's node; out, err and code.
run() {
	"$stead" --root "$node" "$@" >"$work/out" 2>"$work/err" </dev/null
	code=$?
}

# refused CODE PATTERN ARGUMENTS...: one line on stderr that begins with
# "stead: " and has the words, nothing on stdout.
refused() {
	local expected=$1 pattern=$2
	shift 2
	run "$@"
	[ "$code" = "$expected" ] || fail "stead $*: exit code $code, not $expected"
	[ ! -s "$work/out" ] || fail "stead $*: something on stdout"
	[ "$(wc -l <"$work/err")" = 1 ] || fail "stead $*: not one line on stderr"
	grep -q '^stead: ' "$work/err" || fail "stead $*: does not begin with 'stead: '"
	grep -qF -- "$pattern" "$work/err" || fail "stead $*: does not say: $pattern"
}

# done_well ARGUMENTS...
done_well() {
	run "$@"
	[ "$code" = 0 ] || fail "stead $*: exit code $code"
}

# says PATTERN: on stdout
says() {
	grep -qF -- "$1" "$work/out" || fail "stdout does not say: $1"
}

# notes PATTERN: on stderr
notes() {
	grep -qF -- "$1" "$work/err" || fail "stderr does not say: $1"
}

fits() {
	local long
	long=$(awk 'length($0) > 80' "$work/out")
	[ -z "$long" ] || fail "wider than 80 columns: $long"
}

# daemon agent|receiver: answers what stands on standard input. What it was
# asked is in $work/NAME.asked.
daemon() {
	cat >"$work/$1.json"
	mkfifo "$work/$1.ready"
	"$fake" "$node/run/stead/$1.sock" "$work/$1.json" "$work/$1.ready" >"$work/$1.asked" 2>"$work/$1.log" &
	daemons+=($!)
	cat "$work/$1.ready"
	rm "$work/$1.ready"
	[ ! -s "$work/$1.log" ] || fail "fake $1: $(cat "$work/$1.log")"
}

# asked agent|receiver PATTERN: the last request
asked() {
	tail -n 1 "$work/$1.asked" | grep -qF -- "$2" || fail "$1 was asked $(tail -n 1 "$work/$1.asked"), not $2"
}

pair_file() {
	printf '[pair]\npeer = other:7420\n[volume data]\npath = /data\n' >"$node/etc/stead/pairs/$1.conf"
}
