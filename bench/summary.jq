# SPDX-License-Identifier: Apache-2.0
# Samples to a file of results: a summary for each case and side, and the
# samples themselves.
def median: sort | if length % 2 == 1 then .[(length - 1) / 2] else (.[length / 2 - 1] + .[length / 2]) / 2 end;

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
		$sides[] as $side | [$of_case[] | select(.side == $side)] as $of_side | select($of_side | length > 0) |
		{order: $order, case: $case, side: $side} + ($metrics | map(.key as $key | {key: $key, value:
			([$of_side[][$key]] | figures | if . == null then null else
				. + {ratio: (if ($base[$key].median // 0) == 0 then null else .median / $base[$key].median end)} end)}) |
			from_entries)
	],
	samples: $samples
}
