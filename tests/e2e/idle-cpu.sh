#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# An idle pair costs next to nothing. The wanted figure is under 1 % of a core
# for each daemon; a shared machine may blur it, so only a spin fails.
. "$(dirname "$0")/lib.sh"
requires jq getconf

ticks() {
	# Fields 14 and 15 after the name, which is in brackets: user and system time.
	sed 's/.*) //' "/proc/$1/stat" | awk '{ print $12 + $13 }'
}

simple_pair 64M data
wait_in_step
declare -A before
for process in a.agent a.receiver b.agent b.receiver; do
	before[$process]=$(ticks "${pid[$process]}")
done
pause 10
for process in a.agent a.receiver b.agent b.receiver; do
	used=$((($(ticks "${pid[$process]}") - before[$process]) * 1000 / $(getconf CLK_TCK)))
	say "$process: $used ms of CPU in 10 s"
	((used < 500)) || fail "$process spins: $used ms of CPU in 10 idle seconds"
done
nodes_stop a b
