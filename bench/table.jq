# SPDX-License-Identifier: Apache-2.0
# A file of results as a table: for each figure the median, the spread (highest
# less lowest, in percent of the median) and, in brackets, the ratio to the
# reference. Columns without any figure are left out.
def spaces($width): [range(0; $width - length) | " "] | join("");
def left($width): . + spaces($width);
def right($width): spaces($width) + .;
def rounded($digits): pow(10; $digits) as $unit | . * $unit | round / $unit;
def cell($digits): if . == null then "-" else
	"\(.median | rounded($digits)) +-\(.spread_percent | round)%" +
	(if .ratio then " [\(.ratio | rounded(2))]" else "" end) end;

"", "\(.measurement): \(.options.runs) runs, \(.options.bytes / 1048576) MiB, build \(.commit) (\(.buildtype)), " +
	"\(.machine.cpus) cpus" + (if .reference == "" then "" else "; [ratios] to \(.reference)" end),
(.metrics as $metrics | .summary | group_by(.order)[] | . as $rows |
	[$metrics[] | select(.key as $key | any($rows[]; .[$key] != null))] as $shown |
	"", (.[0].case | left(28)) + ([$shown[] | .title | right(25)] | join("")),
	($rows[] | . as $row | ("  " + .side | left(28)) +
		([$shown[] | .digits as $digits | $row[.key] | cell($digits) | right(25)] | join("")))),
(.metrics as $metrics | .targets // [] | select(length > 0) |
	"", ("what must hold" | left(86)) + (["wanted", "median", "least..most", ""] | map(right(18)) | join("")),
	(.[] | .metric as $metric | ($metrics | map(select(.key == $metric))[0]) as $shown |
		("  \(.case): \($shown.title) of \(.side)" + (if .other then " / \(.other)" else "" end) | left(86)) +
		([(if .most then "<= " else ">= " end) + "\(.wanted)", "\(.median | rounded(3))",
		  "\(.min | rounded(3))..\(.max | rounded(3))", (if .held then "yes" else "NO" end)] | map(right(18)) | join("")))),
"",
(if .buildtype != "release" then "not a release build: compare nothing with it" else empty end),
(if .machine.network == "shared" then "no network of its own: other traffic on lo is in the wire bytes" else empty end),
(if .machine.busy_percent > 10 then
	"others used \(.machine.busy_percent) % of this machine when it began: believe none of it" else empty end)
