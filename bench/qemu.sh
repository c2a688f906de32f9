# SPDX-License-Identifier: Apache-2.0
# qemu-storage-daemon for the measurements, with a monitor that takes orders,
# and the shared key that it, nbdkit and nbdcopy know each other by over TLS.
# shellcheck shell=bash disable=SC2154
declare -A monitor

psk_make() {
	mkdir "$work/psk"
	echo "qemu:$(openssl rand -hex 32)" >"$work/psk/keys.psk"
	chmod 600 "$work/psk/keys.psk"
	# With a shared key GnuTLS would take ChaCha20, several times slower here than
	# the AES that both sides of stead use: no fair reference.
	printf '[overrides]\ntls-disabled-cipher = chacha20-poly1305\n' >"$work/gnutls.conf"
	export GNUTLS_SYSTEM_PRIORITY_FILE=$work/gnutls.conf
}

# With the image past the page cache as node "volume": qsd_start NAME IMAGE OPTION...
qsd_start() {
	local name=$1 image=$2
	shift 2
	rm -f "$work/$name.qmp".*
	mkfifo "$work/$name.qmp.in" "$work/$name.qmp.out"
	exec {monitor[$name]}<>"$work/$name.qmp.out"
	: >"$work/$name.qmp.said"
	# shellcheck disable=SC2086
	${within:-} qemu-storage-daemon --chardev "pipe,id=qmp,path=$work/$name.qmp" --monitor chardev=qmp \
		--blockdev "driver=file,node-name=volume,filename=$image,cache.direct=on,aio=io_uring" \
		"$@" >"$work/$name.out" 2>&1 </dev/null &
	servers[$name]=$!
	qmp "$name" qmp_capabilities
}

qsd_stop() {
	local fd=${monitor[$1]}

	end_child TERM "${servers[$1]}"
	exec {fd}>&-
}

# A daemon that serves its image to an application: qsd_serve NAME IMAGE; at unix socket NAME.sock
qsd_serve() {
	qsd_start "$1" "$2" --object "tls-creds-psk,id=tls,endpoint=client,dir=$work/psk" \
		--nbd-server "addr.type=unix,addr.path=$work/$1.sock" \
		--export type=nbd,id=data,node-name=volume,name=data,writable=on
}

# A daemon that an image is copied to, over TLS, at a port or a path: qsd_receive NAME IMAGE WHERE
qsd_receive() {
	local within="${far[*]}" at="addr.type=inet,addr.host=$far_address,addr.port=$3"

	[[ $3 != /* ]] || at="addr.type=unix,addr.path=$3"
	qsd_start "$1" "$2" --object "tls-creds-psk,id=tls,endpoint=server,dir=$work/psk" --nbd-server "$at,tls-creds=tls" \
		--export type=nbd,id=data,node-name=volume,name=data,writable=on
}

# The image of another daemon as node "peer"; zeroes go by as such: qsd_connect NAME WHERE
qsd_connect() {
	qmp "$1" blockdev-add "$(jq -cn --arg where "$2" --arg host "$far_address" '{driver: "nbd", "node-name": "peer", export: "data",
		"tls-creds": "tls", "detect-zeroes": "on", discard: "unmap", server: (if $where | startswith("/")
		then {type: "unix", path: $where} else {type: "inet", host: $host, port: $where} end)}')"
}

# What the monitor says next. It is kept: events are asked for later.
qmp_hear() {
	local line

	read -r -t 600 line <&"${monitor[$1]}" || fail "$1 says no more: $(cat "$work/$1.out")"
	echo "$line" >>"$work/$1.qmp.said"
	heard=$line
}

# qmp NAME COMMAND [ARGUMENTS]; what it returns is in $heard
qmp() {
	local arguments=${3:-}

	jq -cn --arg command "$2" --argjson arguments "${arguments:-null}" \
		'{execute: $command} + if $arguments then {arguments: $arguments} else {} end' >"$work/$1.qmp.in"
	while :; do
		qmp_hear "$1"
		case $heard in
		'{"return"'*) return ;;
		'{"error"'*) fail "$1: $2 $arguments: $heard" ;;
		esac
	done
}

# qmp_event NAME EVENT JOB: when it has come
qmp_event() {
	until grep -q "\"event\": \"$2\".*\"device\": \"$3\"" "$work/$1.qmp.said"; do
		qmp_hear "$1"
	done
	! grep -q "\"device\": \"$3\".*\"error\":" "$work/$1.qmp.said" || fail "$1: $3: $heard"
}

# All that the mirror job has to do is done.
qsd_mirrored() {
	qmp "$1" query-block-jobs
	jq -e '.return[0] | .len == .offset' <<<"$heard" >/dev/null
}

# Seconds from the creation of a job to an event of it, by qemu's own clock: qmp_seconds NAME JOB EVENT
qmp_seconds() {
	jq -s --arg job "$2" --arg event "$3" 'def at: .timestamp | .seconds + .microseconds / 1e6;
		([.[] | select(.event == $event and .data.device == $job)][0] | at) -
		([.[] | select(.event == "JOB_STATUS_CHANGE" and .data.id == $job and .data.status == "created")][0] | at)' \
		"$work/$1.qmp.said"
}
