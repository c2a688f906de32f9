#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A standby with 1 GiB of a 64 GiB volume received and not applied is promoted:
# it takes writes at once, to what is not redone yet as well, and its content is
# right all the while, under load, through a crash, and once all is redone.
. "$(dirname "$0")/lib.sh"
requires jq nbdcopy qemu-io

mib=$((${1:-1024} / 2 * 2)) # of the epoch

# write PATTERN OFFSET LENGTH, in MiB but for the length, into the export of b
# and into what is expected there.
write() {
	qemu-io -f raw -c "write -P $1 ${2}M $3" "$(uri b data)" >"$work/out" 2>&1 ||
		fail "write at $2 MiB: $(cat "$work/out")"
	qemu-io -f raw -c "write -P $1 ${2}M $3" "$work/expected" >/dev/null || exit 1
}

holds_expected() {
	{ nbdcopy "$(uri b data)" - 2>/dev/null || true; } | head -c "${mib}M" | cmp - "$work/expected" ||
		fail "the new primary does not hold what was durable, and written since"
}

got() {
	status_at_least b .epoch.durable $((durable + 1))
}

simple_pair 64G data
config_set b start-without-peer yes
wait_in_step
noise "${mib}M" >"$work/expected"
on a pause db >/dev/null || fail "pause"
nbdcopy "$work/expected" "$(uri a data)" || fail "write to the primary"
qemu-io -f raw -c "write -z $((mib / 2))M 1M" "$work/expected" -c "write -z $((mib / 2))M 1M" >/dev/null
qemu-io -f raw -c "write -z $((mib / 2))M 1M" "$(uri a data)" >/dev/null || fail "zero on the primary"
durable=$(status b .epoch.durable)
on a resume db >/dev/null || fail "resume"
wait_for 120 "the epoch to be durable on the standby" got

begin=$(date +%s%N)
on b promote db --force >"$work/out" 2>&1 || fail "promote: $(cat "$work/out")"
promoted=$(date +%s%N)
cat "$work/out"
write 0x11 $((mib - 1)) 4k
end=$(date +%s%N)
say "from stead promote to its end $(((promoted - begin) / 1000000)) ms," \
	"to the first accepted write $(((end - begin) / 1000000)) ms," \
	"redone $(status b '.redo | if . then "\(.done_bytes) of \(.total_bytes) bytes" else "all" end')"

write 0x22 $((mib / 4)) 12k
write 0x33 $((mib / 2)) 4k
daemon_kill b agent
agent_start b
wait_for 30 "the new primary to serve again" status_is b '.volumes[0].device != null' true
say "after a crash redone $(status b '.redo | if . then "\(.done_bytes) of \(.total_bytes) bytes" else "all" end')"
write 0x44 $((mib / 4 * 3)) 64k
write 0x55 1 1M
holds_expected
wait_for 120 "everything to be redone" redone b
holds_expected
daemon_stop b agent
cmp -n "${mib}M" "$work/b/data.img" "$work/expected" || fail "the volume does not hold what its export did"
no_reports
