# SPDX-License-Identifier: Apache-2.0
# What is copied from one node to another, and how long that took; sourced after
# lib.sh by measurements of a full sync. A case begins with the name of its
# content: incompressible, realistic or seeded.
# shellcheck shell=bash disable=SC2034,SC2154

# A file system with a database of a sixteenth of its size, programs and texts;
# the other half of it is zeroes, and all of it is allocated: realistic_make FILE BYTES
realistic_make() {
	local tree=$work/tree part=$(($2 / 64 * 15))

	mkdir "$tree" "$tree/programs" "$tree/texts"
	sqlite3 "$tree/database" "CREATE TABLE entry (id INTEGER PRIMARY KEY, name TEXT, amount REAL, token BLOB);
		CREATE INDEX name ON entry (name);
		WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $2 / 16 / 150)
		INSERT INTO entry SELECT i, printf('customer %d of branch %d', abs(random()) % 100000, i % 97),
			abs(random()) % 1000000 / 100.0, randomblob(24) FROM n" || fail "no database"
	# The archive is cut off, and its last file with it.
	tar -c -C /usr bin lib 2>/dev/null | head -c "$part" | tar -x --no-same-owner -C "$tree/programs" 2>/dev/null
	tar -c -C /usr share include 2>/dev/null | head -c "$part" | tar -x --no-same-owner -C "$tree/texts" 2>/dev/null
	truncate -s "$2" "$work/file-system"
	mkfs.ext4 -q -F -i 4096 -m 0 -d "$tree" "$work/file-system" >"$work/mkfs.out" 2>&1 || fail "mkfs.ext4: $(cat "$work/mkfs.out")"
	cp --sparse=never "$work/file-system" "$1" || exit 1
	rm -rf "$tree" "$work/file-system"
}

# At 100 Mbit/s an eighth of the volume, which takes as long as the whole elsewhere.
case_bytes() {
	[[ $1 == *-100mbit ]] && echo $((bytes / 8)) || echo "$bytes"
}

# The source of a case, and the seed of its standby if it has one: sets source, seed
images_of() {
	local content=${1%%-*} count

	count=$(case_bytes "$1") seed=
	[ "$content" != seeded ] || content=realistic
	source=$work/$content-$count.img
	if [ ! -e "$source" ]; then
		progress "making an image for $1"
		[ "$content" = realistic ] && realistic_make "$source" "$count" || noise "$count" >"$source"
		[ "$(stat -c %s "$source")" = "$count" ] || fail "the image $source is not $count bytes"
	fi
	[[ $1 == seeded* ]] || return 0
	seed=$work/seed-$count.img
	if [ ! -e "$seed" ]; then
		cp --reflink=never "$source" "$seed" || exit 1
		load --pattern randwrite --distinct 1 --depth 16 --requests $((count / 4096 / 100 + 1)) "$seed"
	fi
}

# What a copy begins with: an empty volume, or the seed
copy_make() {
	if [ -n "$seed" ]; then
		cp --reflink=never "$seed" "$1" || exit 1
		cold "$1"
	else
		truncate -s "$(stat -c %s "$source")" "$1"
	fi
}

# When a line of this kind came into a log first
seconds_of() {
	date -d "$(sed -n "s/^\([^ ]*\) info $1 .*/\1/p" "$2" | head -n 1)" +%s.%N
}

# From the first frame to a standby that could be promoted: full_sync_seconds PRIMARY STANDBY
full_sync_seconds() {
	awk "BEGIN { print $(seconds_of sync-done "$work/$2/receiver.log") - $(seconds_of sync-started "$work/$1/agent.log") }"
}
