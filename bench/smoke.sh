#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Every measurement runs to its end, and what it writes is a file of results
# that has a sensible figure of each side. The figures themselves do not matter.
. "$(dirname "$0")/../tests/e2e/lib.sh"
requires jq openssl cmp numfmt ip tc mkfs.ext4 sqlite3

# results_have MEASUREMENT SIDES METRICS
results_have() {
	local file
	file=$(echo "$work/results/$1"-*.json)
	[ -s "$file" ] || fail "no file of results of $1"
	jq -e --argjson sides "$2" --argjson metrics "$3" '
		(.samples | length > 0) and .options.runs == 1 and .machine.cpus > 0 and (.began | fromdate > 0) and
		([.summary[].side] | unique | contains($sides)) and
		all(.summary[] | .[$metrics[]]; .median > 0 and .min <= .median and .median <= .max)' "$file" >/dev/null ||
		fail "results of $1: $(jq -c .summary "$file")"
	"$here/../../bench/run" --show "$file" | grep -qE '^  (stead|engine)' || fail "no table of $1"
}

# Something was wanted, and it is said whether it was reached.
results_have_targets() {
	jq -e '.targets | length > 0 and all(.[]; .held | type == "boolean")' "$work/results/$1"-*.json >/dev/null ||
		fail "no targets of $1"
}

# Afterwards there are its results and no others.
run() {
	rm -rf "$work/results"
	"$top/bench/run" "$@" --build "$build" --out "$work/results" --runs 1 --seconds 1 --size 16M >"$work/bench.log" 2>&1 ||
		fail "bench/run $*: $(cat "$work/bench.log")"
}

run foreground --cases randwrite-4k-qd32
results_have foreground '["raw", "null", "roofline", "stead-disconnected", "stead-replicating"]' '["iops"]'
results_have_targets foreground
run foreground --cases randwrite-4k-qd1-rate1000,randread-4k-qd32-beside2000 --sides stead-replicating
results_have foreground '["stead-replicating"]' '["iops"]'
jq -e '.summary[0].iops.median < 1100 and .summary[1].beside_iops.median > 0' "$work/results"/foreground-*.json >/dev/null ||
	fail "no pace, or nothing written beside: $(jq -c .summary "$work/results"/foreground-*.json)"
run fullsync --cases realistic
results_have fullsync '["stead"]' '["mb_per_second", "wire_mb", "cpu_s_per_gb"]'
run incremental --cases realistic-5
results_have incremental '["stead"]' '["ms", "wire_mb"]'
run hot --cases incompressible --sides stead
results_have hot '["stead"]' '["wire_percent"]'
run rates --cases 50-percent
results_have rates '["stead"]' '["rate"]'
run scale --cases 16t-1000
results_have scale '["engine"]' '["cut_us", "find_ms", "rss_mib"]'
run promote --cases in-step
results_have promote '["stead"]' '["write_ms"]'
run idle
results_have idle '["stead"]' '["core_percent", "rss_mb"]'
run lag --cases idle
[ ! -e "$(echo "$work/results"/lag-*.json)" ] || results_have_targets lag # not without namespaces
! "$top/bench/run" nothing >/dev/null 2>&1 || fail "an unknown measurement is taken"
