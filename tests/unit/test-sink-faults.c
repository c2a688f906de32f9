// SPDX-License-Identifier: Apache-2.0
#include "sink_fixture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

// cmocka.h needs these before it
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void journal_error_rejects_the_epoch(void **state)
{
	struct world *world = world_synced(JOURNAL, 2);

	(void)state;
	for (unsigned skip = 0; skip < 4; skip++) {
		uint64_t base = world->acked;
		unsigned rejects = world->rejects;

		memdisk_fail(world->journal, 1 << DISK_WRITE | 1 << DISK_FLUSH, skip, -ENOSPC, false);
		send_on(world, 3);
		world_run(world);
		memdisk_fail(world->journal, 0, 0, 0, false);
		world_sleep(world, 2 * NSEC_PER_SEC); // a superblock is written again
		if (world->rejects > rejects) {
			assert_int_equal(world->reject.cause, REJECT_DISK_FULL);
			assert_int_equal(world->acked, base);
			send_epoch(world, base, 3);
			world_run(world);
		}
		assert_true(world->acked > base);
		assert_version(world, 3);
		assert_null(world_status(world).failed);
		world->version_of[world->acked] = 2; // once more the same
	}
	assert_true(world->rejects >= 2);
	world_end(world);
}

// Records of a dropped epoch that are still being written, and those that take
// their place.
static void dropped_records_are_waited_for(void **state)
{
	(void)state;
	for (unsigned seed = 1; seed < 60; seed++) {
		struct world *world = world_synced(JOURNAL, 2);
		uint64_t epoch = send_begin(world, world->acked, EPOCH_ATOMIC, false, 3);

		world->seed = seed;
		world->frozen = true;
		for (uint64_t b = 0; b < BLOCKS_0; b += 8)
			send_block(world, 7, 0, b, 8);
		send_abort(world, epoch);
		epoch = send_epoch(world, world->acked, 3);
		world->stuck = true;
		world_run(world);
		world->stuck = false;
		world_run(world);
		assert_int_equal(world->acked, epoch);
		world_crash(world, true, seed);
		world->frozen = false;
		world_open(world);
		assert_int_equal(world_status(world).durable, epoch);
		assert_version(world, 3);
		world_end(world);
	}
}

// Once more a full sync, of a standby that was consistent.
static void crash_in_another_full_sync(void **state)
{
	bool whole = false;

	(void)state;
	for (uint64_t op = 0; !whole; op++) {
		struct world *world = world_synced(JOURNAL, 3);

		world->seed = (unsigned)op;
		world->ops_left = op;
		world->welcome.hello.epoch = world->acked;
		world->welcome.consistent = false;
		world->welcome.hello.sync = (struct id){{0}};
		send_all(world, 5);
		world_run(world);
		whole = !world->crashed;
		world_crash(world, true, (unsigned)op);
		world->ops_left = UINT64_MAX;
		world_open(world);
		assert_true(world_status(world).durable >= world->acked);
		if (world_status(world).promotable)
			assert_version(world, world->version_of[world_status(world).durable]);
		world_catch_up(world, 6);
		assert_true(world_status(world).promotable);
		world_end(world);
	}
}

// With durable epochs in the journal that are not applied yet.
static void find_damage(struct world *world)
{
	unsigned failures = 0, repairs = 0;
	uint8_t *copies[4];

	world_catch_up(world, 2);
	world->frozen = true;
	send_on(world, 4);
	world_run(world);
	assert_int_equal(world->acked, 4);
	world_crash(world, false, 1);
	world->frozen = false;

	struct memdisk *disks[] = {world->volumes[0], world->volumes[1], world->state, world->journal};

	for (unsigned i = 0; i < 4; i++) {
		copies[i] = malloc(disks[i]->disk.size);
		assert_non_null(copies[i]);
		memcpy(copies[i], disks[i]->bytes, disks[i]->disk.size);
	}
	for (uint64_t at = 0; at < SMALL_JOURNAL; at += at < 8192 + 512 ? 37 : 997) {
		for (unsigned i = 0; i < 4; i++)
			memcpy(disks[i]->bytes, copies[i], disks[i]->disk.size);
		world->journal->bytes[at] ^= (uint8_t)(1 << at % 8);
		world->repaired = 0;
		world_start(world);
		world_run(world);
		assert_true(world->opened);
		repairs += world->repaired;
		if (world->failed[0]) {
			failures++;
			assert_non_null(strstr(world->failed, "journal"));
			assert_false(world_status(world).promotable);
			world_promote(world, true);
			assert_int_equal(world->promote_error, -EIO);
		} else {
			assert_int_equal(world_status(world).durable, 4);
			assert_version(world, 4);
		}
		world_stop(world);
	}
	assert_true(failures > 10);
	assert_true(repairs > 100);
	for (unsigned i = 0; i < 4; i++)
		free(copies[i]);
	world_free(world);
}

static void damaged_bytes_are_found(void **state)
{
	(void)state;
	find_damage(world_started(SMALL_JOURNAL));
}

static void damaged_zstd_is_found(void **state)
{
	struct world *world = world_started(SMALL_JOURNAL);

	(void)state;
	world_pack(world, PACK_ZSTD);
	find_damage(world);
}

// The journal has no record of an epoch that was written in place: both
// superblocks say that it is durable.
static void direct_epoch_survives_a_lost_superblock(void **state)
{
	(void)state;
	for (unsigned lost = 0; lost < 2; lost++) {
		struct world *world = world_started(JOURNAL);

		world_connect(world);
		send_all(world, 1);
		world_run_until_acked(world, 1);
		world_crash(world, true, lost);
		world->journal->bytes[lost * 4096 + 100] ^= 1;
		world_open(world);
		assert_int_equal(world->repaired, 1);
		assert_int_equal(world_status(world).durable, 1);
		world_catch_up(world, 3);
		world_end(world);
	}
}

static void volume_error_is_tried_again(void **state)
{
	struct world *world = world_synced(JOURNAL, 2);

	(void)state;
	memdisk_fail(world->volumes[0], 1 << DISK_WRITE | 1 << DISK_ZERO, 1, -EIO, false);
	send_on(world, 3);
	world_run(world);
	assert_non_null(world_status(world).failed);
	assert_non_null(strstr(world_status(world).failed, "vol0"));
	world_sleep(world, 2 * NSEC_PER_SEC);
	assert_null(world_status(world).failed);
	assert_version(world, 3);
	memdisk_fail(world->volumes[1], 1 << DISK_FLUSH, 0, -EIO, false);
	send_on(world, 4);
	world_sleep(world, 3 * NSEC_PER_SEC);
	assert_version(world, 4);
	assert_int_equal(world->event_applied, world->acked);
	world_end(world);
}

static void full_sync_survives_a_volume_error(void **state)
{
	struct world *world = world_started(JOURNAL);

	(void)state;
	world_connect(world);
	memdisk_fail(world->volumes[1], 1 << DISK_WRITE | 1 << DISK_ZERO, 0, -EIO, false);
	send_all(world, 2);
	world_run(world);
	assert_int_equal(world->rejects, 1);
	assert_int_equal(world->reject.cause, REJECT_ERROR);
	assert_false(world_status(world).promotable);
	world_cut(world);
	world_connect(world);
	assert_int_equal(world->welcome.sync_volume, 0);
	assert_int_equal(world->welcome.sync_block, 64);
	send_all(world, 2);
	world_run(world);
	assert_version(world, 2);
	assert_true(world_status(world).promotable);
	world_end(world);
}

// A crash after each operation on any disk in turn, in the middle of a full
// sync and of epochs; then another start, and on to the end.
static void crash_everywhere(struct world *world, uint64_t op, bool power, unsigned seed, bool *whole)
{
	unsigned version;
	uint64_t acked;

	world->seed = seed;
	world->ops_left = op;
	world_start(world);
	if (world_run(world)) {
		world_connect(world);
		if (!world->crashed) {
			send_all(world, 5);
			world_run(world);
		}
	}
	*whole = !world->crashed;
	acked = world->acked;
	world_crash(world, power, (unsigned)op + seed);
	world->ops_left = UINT64_MAX;
	world_open(world);
	assert_true(world_status(world).durable >= acked);
	assert_int_equal(world_status(world).applied, world_status(world).durable);
	version = world->version_of[world_status(world).durable];
	if (version > 1)
		assert_true(world_status(world).promotable);
	if (world_status(world).promotable)
		assert_version(world, version);
	world_catch_up(world, 6);
	assert_int_equal(world->rejects, 0);
	// an acknowledged epoch stays, also when the power fails once more
	world_crash(world, true, seed);
	world_open(world);
	assert_int_equal(world_status(world).durable, world->acked);
	assert_version(world, 6);
	world_stop(world);
}

static void crash_while_promoting(void **state)
{
	bool whole = false;

	(void)state;
	for (uint64_t op = 0; !whole; op++) {
		struct world *world = world_synced(JOURNAL, 3);
		uint64_t durable;
		bool redo;

		send_on(world, 4);
		world->ops_left = op;
		world_run(world);
		if (!world->crashed)
			world_promote(world, true);
		whole = !world->crashed;
		world_crash(world, true, (unsigned)op);
		world->ops_left = UINT64_MAX;
		world_open(world);
		if (whole)
			assert_int_equal(world_status(world).state.role, ROLE_PRIMARY);
		durable = world_status(world).durable;
		redo = world_status(world).state.redo;
		assert_true(durable >= world->acked);
		world_stop(world);
		if (redo)
			world_redo(world);
		assert_version(world, world->version_of[durable]);
		world_free(world);
	}
}

static void crash_at_every_operation(void **state)
{
	for (unsigned seed = 0; seed < 3; seed++) {
		for (unsigned power = 0; power < 2; power++) {
			bool whole = false;

			for (uint64_t op = 0; !whole; op++) {
				struct world *world = world_new(SMALL_JOURNAL);

				crash_everywhere(world, op, power, seed, &whole);
				world_free(world);
			}
		}
	}
	(void)state;
}

// Crash after crash, with the same disks.
static void many_crashes(void **state)
{
	(void)state;
	for (unsigned seed = 1; seed <= 40; seed++) {
		struct world *world = world_new(SMALL_JOURNAL);

		if (seed % 2)
			world_pack(world, seed % 4 == 1 ? PACK_ZSTD_FAST : PACK_ZSTD);
		world->random = seed * 100000;
		world->seed = seed;
		for (unsigned round = 0; round < 25; round++) {
			uint64_t acked = world->acked;

			world->ops_left = seed * 7 % 40 + round * 13 % 150;
			world_start(world);
			if (world_run(world)) {
				assert_string_equal(world->failed, "");
				assert_true(world_status(world).durable >= acked);
				world_connect(world);
				if (!world->crashed) {
					send_all(world, VERSIONS - 1);
					world_run(world);
				}
			}
			world_crash(world, round % 2, seed + round);
		}
		world->ops_left = UINT64_MAX;
		world_open(world);
		assert_true(world_status(world).durable >= world->acked);
		if (world_status(world).promotable)
			assert_version(world, world->version_of[world_status(world).durable]);
		world_catch_up(world, VERSIONS - 1);
		world_end(world);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(journal_error_rejects_the_epoch),
	        cmocka_unit_test(dropped_records_are_waited_for),
	        cmocka_unit_test(crash_in_another_full_sync),
	        cmocka_unit_test(damaged_bytes_are_found),
	        cmocka_unit_test(damaged_zstd_is_found),
	        cmocka_unit_test(direct_epoch_survives_a_lost_superblock),
	        cmocka_unit_test(volume_error_is_tried_again),
	        cmocka_unit_test(full_sync_survives_a_volume_error),
	        cmocka_unit_test(crash_while_promoting),
	        cmocka_unit_test(crash_at_every_operation),
	        cmocka_unit_test(many_crashes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
