# SPDX-License-Identifier: Apache-2.0
# What the measurements share. A measurement sets its defaults (runs, seconds,
# size), the names of its sides, cases and metrics, sources this with its
# arguments, takes samples and ends with `results`.
#
#   metrics=(KEY=TITLE=DIGITS ...)   columns of the table, KEYs of the samples
#   reference=SIDE                   what the ratios are to
#   targets=("CASE SIDE METRIC >=|<= NUMBER [OTHER-SIDE]" ...)   what must hold, of the
#                                    ratio to that side in each run, or of the figure
#   wants_own_network=1              lo carries nothing but this measurement
#
# Nodes, waiting and cleaning up are those of the end-to-end tests.
# shellcheck shell=bash disable=SC2034,SC1091
export LC_ALL=C

bench=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
name=$(basename "$0")
results_dir=$bench/results
build_dir=$bench/../build-bench

usage() {
	echo "usage: $name [--runs N] [--seconds N] [--size SIZE] [--sides A,B] [--cases A,B] [--build DIR] [--out DIR]" >&2
	echo "sides: ${sides[*]}" >&2
	echo "cases: ${cases[*]}" >&2
	exit 2
}

# What of the list $1 is named in $2 (A,B,...); a name that is not in it is an error.
chosen() {
	local -n list=$1
	local item picked=()

	IFS=, read -ra picked <<<"$2"
	for item in "${picked[@]}"; do
		[[ " ${list[*]} " == *" $item "* ]] || usage
	done
	list=("${picked[@]}")
}

options() {
	while (($#)); do
		(($# > 1)) || usage
		case $1 in
		--runs) runs=$2 ;;
		--seconds) seconds=$2 ;;
		--size) size=$2 ;;
		--sides) chosen sides "$2" ;;
		--cases) chosen cases "$2" ;;
		--build) build_dir=$2 ;;
		--out) results_dir=$2 ;;
		*) usage ;;
		esac
		shift 2
	done
	[[ $runs =~ ^[1-9][0-9]*$ && $seconds =~ ^[1-9][0-9]*$ ]] || usage
	bytes=$(numfmt --from=iec "$size") || usage
	((bytes >= 1 << 20 && bytes % (1 << 20) == 0)) || usage
}
options "$@"

# A network of its own, where it can be had: the counter of lo then counts only
# what is measured.
if [ -n "${wants_own_network:-}" ] && [ -z "${STEAD_BENCH_NETWORK:-}" ]; then
	for how in "--net" "--map-root-user --net"; do
		# shellcheck disable=SC2086
		unshare $how ip link set lo up 2>/dev/null &&
			STEAD_BENCH_NETWORK=own exec unshare $how "$0" "$@"
	done
	export STEAD_BENCH_NETWORK=shared
fi
if [ "${STEAD_BENCH_NETWORK:-}" = own ]; then
	ip link set lo up
	# Servers that leave Nagle's algorithm on (qemu's before 8.1) would wait 40 ms
	# for a delayed acknowledgement, again and again.
	for route in 127.0.0.0/8 127.0.0.1; do
		ip route replace table local local "$route" dev lo proto kernel scope host src 127.0.0.1 quickack 1 || exit 1
	done
fi

STEAD_BUILD=$build_dir
. "$bench/../tests/e2e/lib.sh"
. "$bench/qemu.sh"
requires jq numfmt
[ -x "$build/bench/load" ] || fail "$build has no load generator: install libnbd-dev and build it anew"
declare -A servers
began=$(date -u +%Y-%m-%dT%H:%M:%SZ)
: >"$work/samples"

# How much of the machine others use: percent of all CPUs in the next second.
busy_percent() {
	local before after

	before=$(head -n 1 /proc/stat)
	pause 1
	after=$(head -n 1 /proc/stat)
	awk '{ for (i = 2; i <= 9; i++) { total += $i * (NR * 2 - 3); if (i == 5 || i == 6) idle += $i * (NR * 2 - 3) } }
		END { printf "%.0f\n", total ? (1 - idle / total) * 100 : 0 }' <<<"$before"$'\n'"$after"
}
busy=$(busy_percent)
all_sides=("${sides[@]}")

# Leaves out the sides whose program is not here: side_needs SIDE PROGRAM
side_needs() {
	local side kept=()

	command -v "$2" >/dev/null && return
	for side in "${sides[@]}"; do
		[ "$side" = "$1" ] || kept+=("$side")
	done
	((${#kept[@]} == ${#sides[@]})) || say "$name: without $1: $2 is not installed"
	sides=("${kept[@]}")
}

# The sides in another order with each run, so that none always follows the same one: sets turn
take_turns() {
	local first=$(($1 % ${#sides[@]}))

	turn=("${sides[@]:first}" "${sides[@]:0:first}")
}

# Takes a file out of the page cache: nobody finds it there, and no direct write has to throw it out.
cold() {
	dd of="$1" oflag=nocache conv=notrunc,fdatasync count=0 status=none
}

progress() {
	[ ! -t 2 ] || printf '\r\033[K%s: %s' "$name" "$*" >&2
}

# The load generator; its figures are in $work/load.json: load OPTION... TARGET
load() {
	"$build/bench/load" "$@" >"$work/load.json" 2>"$work/load.err" || fail "load $*: $(cat "$work/load.err")"
}

# Files of this machine: content that is neither noise nor empty.
files() {
	while tar -c -C / usr 2>/dev/null; do :; done | head -c "$1"
}

# CPU time that processes, and children that they have awaited, used so far, in ms: cpu_ms PID...
cpu_ms() {
	local pid

	# Fields 14 to 17, counted after the name, which is in brackets.
	for pid; do
		sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null
	done | awk -v hz="$(getconf CLK_TCK)" '{ used += $12 + $13 + $14 + $15 } END { printf "%d\n", used * 1000 / hz }'
}

# Bytes that lo has carried so far, both directions and all headers.
lo_bytes() {
	awk '$1 == "lo:" { print $2 }' /proc/net/dev
}

# sample CASE SIDE RUN OBJECT
sample() {
	jq -cn --arg case "$1" --arg side "$2" --argjson run "$3" --argjson values "$4" \
		'{case: $case, side: $side, run: $run} + $values' >>"$work/samples" || fail "no figures of $2, $1: $4"
}

# Writes the file of results and prints its table.
results() {
	local file

	progress
	mkdir -p "$results_dir" || exit 1
	file=$results_dir/$name-${began//:/}.json
	jq -n --slurpfile samples "$work/samples" --arg measurement "$name" --arg began "$began" \
		--arg commit "$(git -C "$top" describe --always --dirty 2>/dev/null)" \
		--arg kernel "$(uname -r)" --arg cpu "$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)" \
		--argjson cpus "$(nproc)" --arg disk "$(stat -f -c %T "$work")" --arg network "${STEAD_BENCH_NETWORK:-none}" \
		--argjson busy "$busy" --argjson sides "$(printf '%s\n' "${all_sides[@]}" | jq -R . | jq -s .)" \
		--arg buildtype "$(jq -r '.[] | select(.name == "buildtype").value' "$build/meson-info/intro-buildoptions.json")" \
		--argjson runs "$runs" --argjson seconds "$seconds" --argjson bytes "$bytes" --arg reference "$reference" \
		--argjson metrics "$(printf '%s\n' "${metrics[@]}" | jq -R 'split("=")' | jq -s .)" \
		--argjson targets "$(printf '%s\n' "${targets[@]}" | jq -R 'split(" ") | select(length > 1)' | jq -s .)" \
		-f "$bench/summary.jq" >"$work/results" || fail "the figures make no result"
	cp "$work/results" "$file" || exit 1
	jq -rf "$bench/table.jq" "$file"
	say "$file"
}
