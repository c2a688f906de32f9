# SPDX-License-Identifier: Apache-2.0
# Samples to a file of results: a summary for each case and side, the targets,
# and the samples themselves.
def median: sort | if length % 2 == 1 then .[(length - 1) / 2] else (.[length / 2 - 1] + .[length / 2]) / 2 end;

# One figure of each run: its own, or its ratio to that of another side.
def of_run($case; $side; $metric; $other): . as $samples |
	[$samples[] | select(.case == $case and .side == $side) | .run as $run | .[$metric] as $value |
	 if $other == null then $value else
		([$samples[] | select(.case == $case and .side == $other and .run == $run)][0][$metric] // 0) as $base |
		if $value == null or $base == 0 then null else $value / $base end
	 end];

def figures: map(select(. != null)) | if length == 0 then null else
	{median: median, min: min, max: max,
	 spread_percent: (if median == 0 then 0 else (max - min) / median * 100 end)} end;

($metrics | map({key: .[0], title: .[1], digits: (.[2] | tonumber)})) as $metrics |
{
	measurement: $measurement, began: $began, commit: $commit, buildtype: $buildtype,
	machine: {cpu: $cpu, cpus: $cpus, kernel: $kernel, disk: $disk, network: $network, busy_percent: $busy},
	options: {runs: $runs, seconds: $seconds, bytes: $bytes},
	reference: $reference, metrics: $metrics,
	summary: [
		# Cases in the order in which they came, sides as they were given.
		reduce $samples[].case as $case ([]; if index([$case]) then . else . + [$case] end) | to_entries[] |
		.key as $order | .value as $case | [$samples[] | select(.case == $case)] as $of_case |
		($metrics | map({key: .key, value: (.key as $key |
			[$of_case[] | select(.side == $reference) | .[$key]] | figures)}) | from_entries) as $base |
		($sides + ([$samples[].side] | unique - $sides))[] as $side | [$of_case[] | select(.side == $side)] as $of_side | select($of_side | length > 0) |
		{order: $order, case: $case, side: $side} + ($metrics | map(.key as $key | {key: $key, value:
			([$of_side[][$key]] | figures | if . == null then null else
				. + {ratio: (if ($base[$key].median // 0) == 0 then null else .median / $base[$key].median end)} end)}) |
			from_entries)
	],
	targets: [$targets[] | {case: .[0], side: .[1], metric: .[2], most: (.[3] == "<="), wanted: (.[4] | tonumber), other: .[5]} |
		. as $target | ($samples | of_run($target.case; $target.side; $target.metric; $target.other) | figures) |
		select(. != null) | $target + . + {held: (if $target.most then .median <= $target.wanted else .median >= $target.wanted end)}],
	samples: $samples
}
