# SPDX-License-Identifier: Apache-2.0
# What the measurements share. A measurement sets its defaults (runs, seconds,
# size), the names of its sides, cases and metrics, sources this with its
# arguments, takes samples and ends with `results`.
#
#   metrics=(KEY=TITLE=DIGITS ...)   columns of the table, KEYs of the samples
#   reference=SIDE                   what the ratios are to
#   targets=("CASE SIDE METRIC >=|<= NUMBER [OTHER-SIDE]" ...)   what must hold, of the
#                                    ratio to that side in each run, or of the figure
#   wants_own_network=1              two network namespaces, and a wire between them
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

# A network of its own, where it can be had.
if [ -n "${wants_own_network:-}" ] && [ -z "${STEAD_BENCH_NETWORK:-}" ]; then
	for how in "--net" "--map-root-user --net"; do
		# shellcheck disable=SC2086
		unshare $how ip link set lo up 2>/dev/null &&
			STEAD_BENCH_NETWORK=own exec unshare $how "$0" "$@"
	done
	export STEAD_BENCH_NETWORK=shared
fi

STEAD_BUILD=$build_dir
. "$bench/../tests/e2e/lib.sh"
. "$bench/qemu.sh"
requires jq numfmt
[ -x "$build/bench/load" ] || fail "$build has no load generator: install libnbd-dev and build it anew"
declare -A servers
began=$(date -u +%Y-%m-%dT%H:%M:%SZ)
: >"$work/samples"

# -- the wire between two network namespaces: ours, and that of the far end. It
# carries nothing but what is measured, and can be made slow. --

far=() near_address=127.0.0.1 far_address=127.0.0.1 link_device=lo

wire_make() {
	local far_pid

	near_address=10.99.0.1 far_address=10.99.0.2 link_device=wire
	ip link set lo up
	unshare --net sleep infinity &
	far_pid=$!
	wait_for 10 "the network of the far end" network_differs "$far_pid"
	far=(nsenter "--net=/proc/$far_pid/ns/net" --)
	ip link add wire type veth peer name wire netns "$far_pid" || fail "no link between two network namespaces"
	"${far[@]}" ip link set lo up
	ip addr add "$near_address/24" dev wire && ip link set wire up || fail "the near end of the link"
	"${far[@]}" ip addr add "$far_address/24" dev wire && "${far[@]}" ip link set wire up || fail "the far end of the link"
	# Servers that leave Nagle's algorithm on (qemu's before 8.1) would wait 40 ms
	# for a delayed acknowledgement, again and again.
	ip route add "$far_address" dev wire quickack 1 && "${far[@]}" ip route add "$near_address" dev wire quickack 1 ||
		fail "the routes of the link"
	wire_rate unlimited
}

network_differs() {
	[ "$(readlink "/proc/$1/ns/net")" != "$(readlink /proc/self/ns/net)" ]
}

# wire_rate unlimited|RATE, as tc knows it: each way
wire_rate() {
	local end

	for end in near far; do
		local -n within=$end
		"${within[@]}" tc qdisc del dev wire root 2>/dev/null
		if [ "$1" = unlimited ]; then
			"${within[@]}" ip link set wire mtu 65535
		else
			"${within[@]}" ip link set wire mtu 1500
			"${within[@]}" tc qdisc add dev wire root tbf rate "$1" burst 256k latency 50ms
		fi || fail "the rate of the link"
	done
}
near=()
[ "${STEAD_BENCH_NETWORK:-}" != own ] || wire_make

# Bytes that the wire has carried so far, both directions and all headers; awk's %d may end at 2^31.
wire_bytes() {
	awk -v name="$link_device:" '$1 == name { printf "%.0f\n", $2 + (name == "lo:" ? 0 : $10) }' /proc/net/dev
}

# Which nodes are near and which far: nodes_at NEAR FAR
nodes_at() {
	local daemon

	host[$1]=$near_address host[$2]=$far_address
	for daemon in agent receiver; do
		inside[$2.$daemon]=${far[*]}
	done
}

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
