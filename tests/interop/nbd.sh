#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Other people's NBD clients, and a demanding one of our own, against the
# export. Overwrites what is exported, which must have 200 MiB.
#
#   nbd.sh NBD-CLIENT NBD-PASSTHROUGH     against a file that is passed through
#   nbd.sh NBD-CLIENT URI                 against a server that runs already
set -u -o pipefail

for tool in nbdinfo nbdcopy qemu-img qemu-io fio cmp; do
	command -v "$tool" >/dev/null || { echo "SKIPPED: $tool is not installed"; exit 77; }
done

client=$(realpath "$1")
server=
work=$(mktemp -d) || exit 1
trap 'kill $server 2>/dev/null; wait; cd /; rm -rf "$work"' EXIT

passthrough=
[ ! -x "$2" ] || passthrough=$(realpath "$2")
cd "$work" || exit 1

fail() {
	printf 'FAILED: %s\n' "$*" >&2
	exit 1
}

run() {
	"$@" >"$work/out" 2>&1 || fail "$*: $(cat "$work/out")"
}

# start_server OPTION... : sets uri
start_server() {
	mkfifo "$work/ready"
	"$passthrough" "$@" "$work/s" "$work/image" >"$work/ready" 2>"$work/log" &
	server=$!
	exec 3<"$work/ready"
	rm "$work/ready"
	read -r -u 3 line && [ "$line" = ready ] || fail "server: $(cat "$work/log")"
	uri="nbd+unix:///data?socket=$work/s"
}

# The server must end in good order and leave no socket; sets most_in_flight.
stop_server() {
	kill -TERM "$server"
	wait "$server" || fail "server: $(cat "$work/log")"
	server=
	read -r -u 3 line
	exec 3<&-
	most_in_flight=${line##* }
	[ ! -e "$work/s" ] || fail "the socket was left behind"
}

tools() {
	local size

	size=$(nbdinfo --size "$uri") || fail "nbdinfo --size"
	[ "$size" -ge $((200 << 20)) ] || fail "size $size"
	for can in flush fua trim zero multi-conn df fast-zero; do
		run nbdinfo --can "$can" "$uri"
	done
	nbdinfo --list "$uri" | grep -q 'export="data"' || fail "nbdinfo --list"
	nbdinfo "$uri" | grep -q 'block_size_maximum: 33554432' || fail "nbdinfo: block size"
	nbdinfo "${uri/data/nosuch}" >"$work/out" 2>&1 && fail "an unknown export was opened"
	run qemu-img info -f raw "$uri"

	# A sparse image in and out, by different tools.
	truncate -s "$size" "$work/in"
	dd if=/dev/urandom of="$work/in" bs=1M count=40 seek=10 conv=notrunc status=none
	dd if=/dev/urandom of="$work/in" bs=1000 count=77 seek=100001 conv=notrunc status=none
	run nbdcopy --flush --connections=4 --requests=64 "$work/in" "$uri"
	run nbdcopy "$uri" "$work/out1"
	cmp "$work/in" "$work/out1" || fail "nbdcopy brought back something else"
	run qemu-img convert -f raw -O raw "$uri" "$work/out2"
	cmp "$work/in" "$work/out2" || fail "qemu-img brought back something else"
	run qemu-img compare -f raw -F raw "$work/in" "$uri"
	run qemu-img map -f raw --output=json "$uri"
	grep -q '"zero": false, "data": true' "$work/out" || fail "qemu-img map: no data: $(cat "$work/out")"
	dd if=/dev/urandom of="$work/in" bs=1M count=40 seek=100 conv=notrunc status=none
	run qemu-img convert -n -W -m 16 -f raw -O raw "$work/in" "$uri"
	run nbdcopy --synchronous "$uri" "$work/out1"
	cmp "$work/in" "$work/out1" || fail "qemu-img wrote something else"

	run qemu-io -f raw -d unmap \
		-c 'write -P 1 513 3' -c 'read -P 1 513 3' \
		-c 'write -P 2 -f 4095 2' -c 'read -P 2 4095 2' -c 'flush' \
		-c 'write -P 3 1M 32M' -c 'read -P 3 1M 32M' \
		-c 'write -P 4 3000001 5000003' -c 'read -P 4 3000001 5000003' -c 'read -P 3 3000000 1' \
		-c 'write -z 2M 1M' -c 'read -P 0 2M 1M' \
		-c 'write -z -u 4M 1M' -c 'read -P 0 4M 1M' \
		-c 'write -z -f 6291457 4093' -c 'read -P 0 6291457 4093' -c 'read -P 4 6291456 1' \
		-c 'discard 8M 1M' -c 'flush' "$uri"
	grep -qi 'verification failed\|error' "$work/out" && fail "qemu-io: $(cat "$work/out")"

	if fio --enghelp | grep -qw nbd; then
		run fio --name=verify --ioengine=nbd --uri="$uri" --rw=randrw --bsrange=512-128k --iodepth=128 \
			--size=100M --verify=crc32c --verify_fatal=1 --verify_state_save=0 --do_verify=1 --minimal
		run fio --name=verify --ioengine=nbd --uri="$uri" --rw=randwrite --bs=4k --iodepth=32 --numjobs=4 \
			--size=40M --offset_increment=50M --verify=crc32c --verify_fatal=1 --verify_state_save=0 --do_verify=1 --minimal
	fi
}

if [ "$passthrough" ]; then
	truncate -s 200M "$work/image"
	start_server
	"$passthrough" "$work/s" "$work/image" >"$work/out" 2>&1 && fail "two servers on one socket"
	grep -q 'another process serves it' "$work/out" || fail "second server: $(cat "$work/out")"
	[ "$(stat -c %a "$work/s")" = 600 ] || fail "socket mode $(stat -c %a "$work/s")"
	tools
	run timeout 300 "$client" "$uri"

	# The socket of a killed server is no obstacle for the next one.
	kill -KILL "$server"
	wait "$server" 2>/dev/null
	[ -S "$work/s" ] || fail "nothing is left of the killed server"
	start_server --delay 30
	run timeout 300 "$client" "$uri"
	stop_server
	[ "$most_in_flight" -ge 512 ] || fail "only $most_in_flight requests were in flight at once"
else
	uri=$2
	tools
	run timeout 300 "$client" "$uri"
fi
exit 0
