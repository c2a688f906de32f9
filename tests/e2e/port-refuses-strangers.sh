#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# At the receiver's port: plain text, TLS 1.2, a stranger's key, no key, noise,
# and an unknown protocol version are all turned away with a line in the log,
# and the pair goes on undisturbed (G8). A peer whose key is not the pinned one
# gets nothing.
. "$(dirname "$0")/lib.sh"
requires jq openssl cmp

simple_pair 16M data
wait_in_step
log=$work/b/receiver.log
target=127.0.0.1:${port[b]}

# turned_away WHAT PATTERN COMMAND...: and the log gains a line that tells it.
turned_away() {
	local what=$1 pattern=$2 lines
	shift 2
	lines=$(wc -l <"$log")
	"$@" >"$work/out" 2>&1 </dev/null
	wait_for 40 "a line in the log about $what" log_tells "$lines" "$pattern"
	say "$what: $(tail -n "+$((lines + 1))" "$log" | grep -iE "$pattern" | head -n 1)"
	replicating a || fail "$what disturbed the pair"
}

log_tells() {
	tail -n "+$(($1 + 1))" "$log" | grep -qiE "$2"
}

plain() {
	exec 9<>"/dev/tcp/127.0.0.1/${port[b]}"
	printf %b "$1" >&9
	timeout 20 cat <&9
	exec 9<&-
}

openssl req -x509 -newkey ed25519 -keyout "$work/key.pem" -out "$work/cert.pem" -nodes -subj /CN=stranger \
	-days 1 >/dev/null 2>&1 || fail "openssl req"

turned_away "plain text" "tls|handshake|refused|closed" plain 'GET / HTTP/1.0\r\n\r\n'
turned_away "noise" "tls|handshake|refused|closed" plain '\x16\x03\x01\xff\xff\x00\x01\x02\x03\x04\x05\x06'
turned_away "TLS 1.2" "tls|handshake|version|protocol" openssl s_client -connect "$target" -tls1_2 \
	-cert "$work/cert.pem" -key "$work/key.pem"
if grep -q 'Verify return code\|New, TLSv1.2' "$work/out" && grep -q 'Cipher is [A-Z]' "$work/out"; then
	fail "TLS 1.2 was accepted: $(cat "$work/out")"
fi
turned_away "no certificate" "certificate|handshake|tls" openssl s_client -connect "$target" -tls1_3

# A TLS session with a key, and in it what odd-hello makes. The fifo is open for
# writing as well, so that the client does not end before the server hangs up.
mkfifo "$work/hello"
exec 8<>"$work/hello"
say_hello() {
	local key=$1
	shift
	"$tools/odd-hello" "$@" >&8
	timeout 20 openssl s_client -connect "$target" -tls1_3 -quiet -cert "$key" -key "$key" <&8
}
cat "$work/key.pem" "$work/cert.pem" >"$work/stranger.pem"
identity=$work/a/var/lib/stead/identity.pem

turned_away "hello with a stranger's key" "key|unknown|pair" say_hello "$work/stranger.pem" hello 1
turned_away "unknown protocol version" "version" say_hello "$identity" hello 77
turned_away "noise inside TLS" "frame|protocol|message|bad" say_hello "$identity" noise
turned_away "frame of 4 GiB" "frame|protocol|length|large|bad" say_hello "$identity" huge
turned_away "frame before the hello" "frame|protocol|expected|hello|bad" say_hello "$identity" early

# The right pair from a node whose key is another one.
epoch=$(status b .epoch.durable)
daemon_stop a agent
daemon_stop a receiver
mv "$identity" "$work/identity.pem"
receiver_start a
agent_start a
wait_for 60 "the agent to say that it is refused" status_is a '.connected == false and .reason == "peer-refused"' true
[ "$(status b .epoch.durable)" = "$epoch" ] || fail "an epoch came from a node with another key"
status_is b .connected false || fail "a node with another key is connected"
grep -qiE 'key' "$work/b/receiver.log" || fail "the log does not tell of the key"
daemon_stop a agent
daemon_stop a receiver
mv "$work/identity.pem" "$identity"
receiver_start a
agent_start a
wait_in_step
same_images data

# And a standby whose key is another one: the primary sends it nothing.
lines=$(wc -l <"$work/a/agent.log")
daemon_stop b agent
daemon_stop b receiver
mv "$work/b/var/lib/stead/identity.pem" "$work/identity.pem"
lines=$(wc -l <"$work/a/agent.log")
receiver_start b
agent_start b
agent_complained() {
	tail -n "+$((lines + 1))" "$work/a/agent.log" | grep -qi 'key'
}
wait_for 60 "the agent to tell of the key" agent_complained
status_is a .connected false || fail "the agent is connected to a standby with another key"
daemon_stop b agent
daemon_stop b receiver
mv "$work/identity.pem" "$work/b/var/lib/stead/identity.pem"
receiver_start b
agent_start b
wait_in_step
same_images data
nodes_stop a b
