#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The web page of both daemons in a real browser: its figures are those of now, a breach shows, and still does to
# who comes later, it says when it has lost its daemon, fits on a phone, and asks nobody but its daemon.
. "$(dirname "$0")/lib.sh"
requires jq curl chromium chromedriver

# -- the browser, by the WebDriver protocol --

driver() {
	local method=$1 path=$2 body=${3:-}
	curl -sf -X "$method" -H 'Content-Type: application/json' ${body:+-d "$body"} "http://127.0.0.1:$driver_port$path"
}

driver_answers() {
	driver GET /status | jq -e .value.ready >"$work/driver.out" 2>&1
}

browser_start() {
	local arguments=(headless=new disable-gpu disable-dev-shm-usage disable-background-networking "user-data-dir=$work/browser/profile"
		"host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
	[ "$(id -u)" != 0 ] || arguments+=(no-sandbox)
	driver_port=$(free_port)
	HOME=$work/browser chromedriver --port="$driver_port" >"$work/driver.log" 2>&1 </dev/null &
	on_exit_undo "kill $!"
	wait_for 30 "the browser's driver" driver_answers
	session=/session/$(driver POST /session "$(jq -n '{capabilities: {alwaysMatch: {
		"goog:loggingPrefs": {performance: "ALL", browser: "ALL"},
		"goog:chromeOptions": {args: $ARGS.positional}}}}' --args "${arguments[@]}")" | jq -r .value.sessionId)
	[ "$session" != /session/ ] || fail "no browser: $(cat "$work/driver.log")"
	on_exit_undo "driver DELETE $session"
}

open_page() {
	driver POST "$session/url" "$(jq -n '{url: $ARGS.positional[0]}' --args "http://$1/")" >"$work/driver.out" ||
		fail "the browser does not open http://$1/"
}

# What an expression of JavaScript gives on the page, as text.
page() {
	driver POST "$session/execute/sync" "$(jq -n '{script: "return \($ARGS.positional[0])", args: []}' --args "$1")" |
		jq -r .value
}

page_is() {
	[ "$(page "$1")" = true ]
}

# The text of what the page calls so, of the pair db: field NAME; figure TITLE
field() {
	page "document.querySelector('[data-pair=db] [data-f=$1]').textContent"
}

says() {
	[ "$(field "$1")" = "$2" ]
}

figure() {
	page "[...document.querySelectorAll('[data-pair=db] dl div')].find((of) => of.firstChild.textContent === '$1')?.lastChild.textContent"
}

differs() {
	[ "$("${@:2}")" != "$1" ]
}

live() {
	page_is "document.getElementById('live').textContent === 'live' && !document.body.classList.contains('lost')"
}

# As wide as this: width PIXELS
width() {
	driver POST "$session/goog/cdp/execute" "{\"cmd\": \"Emulation.setDeviceMetricsOverride\", \"params\":
		{\"width\": $1, \"height\": 844, \"deviceScaleFactor\": 2, \"mobile\": true}}" >"$work/driver.out" ||
		fail "the browser does not change its width"
}

fits() {
	local wide
	for wide in 320 390 1200; do
		width "$wide"
		page_is "innerWidth === $wide && document.documentElement.scrollWidth <= $wide" ||
			fail "$(page document.documentElement.scrollWidth) pixels do not fit into $wide"
	done
}

# -- the nodes --

node_new a
node_new b
agent_options[a]="--metrics 127.0.0.1:$(free_port)"
receiver_options[a]="--metrics 127.0.0.1:0"
agent_options[b]="--metrics off"
receiver_options[b]="--metrics 127.0.0.1:0"
simple_pair 16M data wal
wait_in_step

address() {
	sed -n 's/.* metrics address=//p' "$work/$1/$2.log" | tail -n 1
}

write_some() {
	"$tools/stamp-writer" --log "$work/stamps" --uri "$(uri a data)" --uri "$(uri a wal)" --seconds 1 \
		>"$work/writer.out" 2>&1 || fail "the writer: $(cat "$work/writer.out")"
}

browser_start

# Its figures are those of now.
open_page "$(address a agent)"
wait_for 20 "the page to be live" live
wait_for 20 "the pair in step" page_is "document.querySelector('[data-pair=db]').className === 'tone-ok'"
[ "$(field pair) $(field role) $(field state)" = "db primary replicating" ] ||
	fail "the page says $(field pair) $(field role) $(field state)"
[ "$(field lag)" = "0 s" ] || fail "the lag is $(field lag)"
[[ $(field promise) == *"at most 5 s, kept." ]] || fail "the promise: $(field promise)"
[[ $(field volumes) == data16.0\ MiB*wal16.0\ MiB* ]] || fail "the volumes: $(field volumes)"
fits
shipped=$(figure shipping) point=$(figure "recovery point")
write_some
wait_for 20 "other bytes in all" differs "$shipped" figure shipping
wait_for 20 "another recovery point" differs "$point" figure "recovery point"
wait_for 20 "a curve of what changed" page_is \
	"document.querySelector('.rates .changed').getBBox().height > 5"
page_is "document.querySelector('[data-pair=db] .strip-3') === null" || fail "a breach where there was none"

# A breach shows, and why.
config_set a rpo 500ms
kill -HUP "${pid[a.agent]}"
daemon_kill b receiver
write_some
wait_for 20 "the breach" page_is "document.querySelector('[data-pair=db]').className === 'tone-breached'"
[[ $(field promise) == *"at most 0.5 s, breached." ]] || fail "the promise: $(field promise)"
[ "$(field why)" = "The peer cannot be reached (link-down)." ] || fail "the reason: $(field why)"
wait_for 20 "the breach in the plot" page_is "document.querySelector('[data-pair=db] .strip-3') !== null"
page_is "document.querySelector('.over .stroke').getBBox().y < document.querySelector('.limit-line').getBBox().y" ||
	fail "no curve over the RPO"
fits
lag=$(field lag)
wait_for 20 "the lag to grow" differs "$lag" field lag

# It says when its daemon is gone, and comes back with it.
daemon_stop a agent
wait_for 20 "the loss to show" page_is "document.body.classList.contains('lost')"
[[ $(page "document.getElementById('live').textContent") == "Connection lost: this is as of "* ]] ||
	fail "the loss: $(page "document.getElementById('live').textContent")"
fits
agent_start a
receiver_start b
wait_for 30 "the page to be live again" live
wait_for 30 "the pair in step again" page_is "document.querySelector('[data-pair=db]').className === 'tone-ok'"
daemon_kill b receiver
write_some
wait_for 20 "another breach" page_is "document.querySelector('[data-pair=db] .strip-3') !== null"
receiver_start b
wait_for 30 "its end" page_is "document.querySelector('[data-pair=db]').className === 'tone-ok'"
breached=$(page step)

# The standby's page, and one without pairs.
open_page "$(address b receiver)"
wait_for 20 "the standby's page" live
wait_for 20 "the standby to be one" says role standby
fits
wait_for 20 "the breach to be of a former step" page_is "step > $breached"
open_page "$(address a receiver)"
wait_for 20 "the page without pairs" live
wait_for 20 "the word of no pairs" page_is "document.getElementById('verdict').textContent.startsWith('No pairs here.')"
fits

# The hour is the daemon's: a page just opened has the former breach.
open_page "$(address a agent)"
wait_for 20 "the former breach" page_is "document.querySelector('[data-pair=db].tone-ok .strip-3') !== null"

# Nothing was asked of anybody else, no policy was violated, and no name but its own is answered to.
driver POST "$session/se/log" '{"type": "performance"}' | jq -r '.value[].message | fromjson | .message
	| select(.method == "Network.requestWillBeSent") | .params
	| select(.documentURL | startswith("chrome:") | not) | .request.url' | sort -u >"$work/asked"
grep -q "^http://$(address a agent)/events$" "$work/asked" || fail "what was asked is not known: $(cat "$work/asked")"
grep -vE "^(http://($(address a agent)|$(address a receiver)|$(address b receiver))/|data:)" "$work/asked" >&2 &&
	fail "the page asks others"
driver POST "$session/se/log" '{"type": "browser"}' |
	jq -r '.value[] | select(.message | test("ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED") | not) | .message' >"$work/console"
[ ! -s "$work/console" ] || fail "the browser complains: $(cat "$work/console")"
[ "$(curl -s -o "$work/curl.out" -w '%{http_code}' -H 'Host: rebound.example' "http://$(address a agent)/")" = 421 ] ||
	fail "another name than its own is answered to"
nodes_stop a b
