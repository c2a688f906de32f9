# SPDX-License-Identifier: Apache-2.0
# A database whose content tells what happened to it: table t of $work/mnt/db
# gets the rows 1, 2, 3 and so on, each a transaction. Sourced after lib.sh.
# shellcheck shell=bash disable=SC2154

transactions() {
	local n

	echo '.bail on'
	echo 'PRAGMA synchronous = FULL;'
	for ((n = 1; n <= 1000000; n++)); do
		echo "INSERT INTO t VALUES ($n, hex(randomblob(200))); SELECT $n;"
	done
}

# Until that fails; sets $transactions_pid.
transactions_start() {
	sqlite3 "$work/mnt/db" 'PRAGMA journal_mode = WAL;
		CREATE TABLE t (n INTEGER PRIMARY KEY, text TEXT NOT NULL);' >/dev/null || fail "sqlite3"
	transactions 2>/dev/null | stdbuf -oL sqlite3 "$work/mnt/db" >"$work/acknowledged" 2>/dev/null &
	transactions_pid=$!
}

acknowledged() {
	grep -cE '^[0-9]+$' "$work/acknowledged"
}

acknowledged_at_least() {
	[ "$(acknowledged)" -ge "$1" ]
}

# The database is sound and has the first transactions: sets $survived, their number.
transactions_check() {
	local first last

	[ "$(sqlite3 "$work/mnt/db" 'PRAGMA integrity_check;')" = ok ] || fail "the database is damaged"
	read -r survived first last <<<"$(sqlite3 -separator ' ' "$work/mnt/db" 'SELECT count(*), min(n), max(n) FROM t;')"
	((survived > 0)) || fail "nothing survived"
	((first == 1 && last == survived)) || fail "$first to $last, $survived of them: not the first ones"
}
