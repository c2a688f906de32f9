// SPDX-License-Identifier: Apache-2.0
#include "sink_fixture.h"

#include <errno.h>
#include <string.h>

// cmocka.h needs these before it
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void full_sync_then_epochs(void **state)
{
	struct world *world = world_started(JOURNAL);
	struct sink_status status = world_status(world);

	(void)state;
	assert_false(status.promotable);
	world_connect(world);
	assert_false(world->welcome.consistent);
	assert_true(world->welcome.hello.volumes[0].blank);
	assert_true(world->welcome.hello.volumes[1].blank);
	assert_int_equal(world->welcome.hello.epoch, 0);
	send_all(world, 5);
	world_run(world);
	assert_version(world, 5);
	assert_int_equal(world->acked, 5);
	assert_int_equal(world->event_applied, 5);
	assert_int_equal(world->sync_started, 1);
	assert_int_equal(world->sync_done, 1);
	assert_int_equal(world->marks, 7);
	status = world_status(world);
	assert_true(status.promotable);
	assert_true(status.state.consistent);
	assert_int_equal(status.durable, 5);
	assert_int_equal(status.applied, 5);
	assert_int_equal(status.recovery_point % 1000, 5);
	assert_int_equal(status.journal_used, 0);
	world_end(world);
}

static void survives_a_restart(void **state)
{
	struct world *world = world_synced(JOURNAL, 3);

	(void)state;
	world_stop(world);
	world_open(world);
	assert_int_equal(world_status(world).durable, 3);
	assert_int_equal(world_status(world).applied, 3);
	assert_int_equal(world_status(world).recovery_point % 1000, 3);
	world_connect(world);
	assert_true(world->welcome.consistent);
	assert_int_equal(world->welcome.hello.epoch, 3);
	send_all(world, 7);
	world_run(world);
	assert_version(world, 7);
	world_end(world);
}

static void ring_wraps_and_holds_the_channel(void **state)
{
	struct world *world = world_synced(SMALL_JOURNAL, 2);

	(void)state;
	for (unsigned i = 0; i < 20; i++) {
		unsigned version = 3 + i % 5;

		if (version == 3) { // the difference from 7 back to 2 is sent whole
			uint64_t epoch = send_begin(world, world->acked, EPOCH_ATOMIC, false, 2);

			for (uint64_t b = 0; b < BLOCKS_0; b += 16)
				send_block(world, 2, 0, b, 16);
			send_end(world, epoch);
			epoch = send_begin(world, epoch, EPOCH_ATOMIC, false, 2);
			for (uint64_t b = 0; b < BLOCKS_1; b += 8)
				send_block(world, 2, 1, b, 8);
			send_end(world, epoch);
			world_run(world);
			assert_version(world, 2);
		}
		uint64_t epoch = send_epoch(world, world->acked, version);

		world_run(world);
		assert_int_equal(world->acked, epoch);
		assert_version(world, version);
	}
	assert_int_equal(world->rejects, 0);
	world_end(world);
}

static void several_epochs_on_their_way(void **state)
{
	struct world *world = world_synced(SMALL_JOURNAL, 2);

	(void)state;
	// more than the ring holds, before anything is answered
	send_on(world, 7);
	world_run(world);
	assert_int_equal(world->rejects, 0);
	assert_version(world, 7);
	world_end(world);
}

static void epoch_larger_than_the_ring_is_rejected(void **state)
{
	struct world *world = world_synced(8192 + (128 << 10), 2);
	uint64_t epoch = send_begin(world, world->acked, EPOCH_ATOMIC, false, 3), base = world->acked;

	(void)state;
	for (uint64_t b = 0; b < 48; b++)
		send_block(world, 1, 0, b, 1);
	send_end(world, epoch);
	// based on what is going to be rejected: dropped, too
	send_epoch(world, epoch, 4);
	world_run(world);
	assert_int_equal(world->rejects, 1);
	assert_int_equal(world->reject.cause, REJECT_TOO_LARGE);
	assert_non_null(strstr(world->reject.reason, "does not fit"));
	assert_int_equal(world->acked, base);
	assert_version(world, 2);
	epoch = send_epoch(world, base, 3);
	world_run(world);
	assert_int_equal(world->acked, epoch);
	assert_version(world, 3);
	world_end(world);
}

static void assert_partial(struct world *world)
{
	struct sink_status status = world_status(world);

	assert_false(status.promotable);
	assert_true(status.syncing);
	assert_true(status.state.partial);
	world_promote(world, true);
	assert_int_equal(world->promote_error, -EPERM);
	assert_non_null(strstr(world->promote_reason.text, "the journal could not hold"));
}

static void what_the_ring_cannot_hold_comes_in_place(void **state)
{
	struct world *world = world_synced(8192 + (128 << 10), 2);
	uint64_t epoch, base = world->acked;

	(void)state;
	send_begin(world, base, EPOCH_ATOMIC, false, 3);
	for (uint64_t b = 0; b < 48; b++)
		send_block(world, 1, 0, b, 1);
	world_run(world);
	assert_int_equal(world->reject.cause, REJECT_TOO_LARGE);
	assert_true(world_status(world).too_large);
	assert_true(world_status(world).promotable);
	assert_version(world, 2);

	memset(world->sync.bytes, 7, 16);
	send_partial(world, base, 3);
	world_run(world);
	assert_int_equal(world->sync_started, 2);
	assert_false(world_status(world).too_large);
	send_block(world, 3, 0, 0, 16);
	send_mark(world, 0, 16);
	world_run(world);
	assert_int_equal(world->marked.block, 16);
	assert_partial(world);

	world_crash(world, true, 1);
	world_start(world);
	world_run(world);
	assert_partial(world);
	world_connect(world);
	assert_false(world->welcome.consistent);
	assert_true(id_equal(&world->welcome.hello.sync, &world->sync));
	assert_int_equal(world->welcome.sync_block, 16);
	base = world->welcome.hello.epoch;
	epoch = send_partial(world, base, 3);
	send_changes(world, 3);
	send_end(world, epoch);
	world_run(world);
	assert_int_equal(world->acked, epoch);
	assert_partial(world);
	base = epoch;

	world_connect(world);
	assert_int_equal(world->welcome.sync_volume, VOLUMES);
	epoch = send_begin(world, base, EPOCH_ATOMIC, true, 4);
	send_changes(world, 4);
	send_end(world, epoch);
	world_run(world);
	assert_int_equal(world->acked, epoch);
	assert_version(world, 4);
	assert_true(world_status(world).promotable);
	assert_false(world_status(world).state.partial);
	world_end(world);
}

static void abort_and_loss_drop_the_epoch(void **state)
{
	struct world *world = world_synced(JOURNAL, 2);
	uint64_t epoch = send_begin(world, world->acked, EPOCH_ATOMIC, false, 3);

	(void)state;
	send_changes(world, 4);
	send_abort(world, epoch);
	epoch = send_epoch(world, world->acked, 3);
	world_run(world);
	assert_int_equal(world->acked, epoch);
	assert_version(world, 3);
	send_begin(world, world->acked, EPOCH_ATOMIC, false, 4);
	send_changes(world, 4);
	world_run(world);
	world_cut(world);
	world_run(world);
	assert_version(world, 3);
	assert_int_equal(world_status(world).journal_used, 0);
	world_connect(world);
	assert_int_equal(world->welcome.hello.epoch, epoch);
	send_all(world, 5);
	world_run(world);
	assert_version(world, 5);
	world_end(world);
}

static void assert_none_differ(const struct world *world, unsigned blocks)
{
	for (unsigned i = 0; i < blocks; i++)
		assert_int_equal(world->differ.bitmap[i / 8] >> i % 8 & 1, 0);
}

static void compare_tells_what_differs(void **state)
{
	struct world *world = world_synced(JOURNAL, 2);
	uint64_t epoch;

	(void)state;
	// in step and beyond the end of a short block
	memset(world->volumes[0]->bytes + BYTES_0, 0xff, DISK_0 - BYTES_0);
	epoch = send_begin(world, world->acked, EPOCH_ATOMIC, false, 3);
	send_compare(world, 2, 0, 0, BLOCKS_0);
	world_run(world);
	assert_int_equal(world->differs, 1);
	assert_int_equal(world->differ.block_count, BLOCKS_0);
	assert_none_differ(world, BLOCKS_0);
	send_compare(world, 3, 1, 0, BLOCKS_1);
	for (unsigned i = 0; i < 8; i++)
		send_compare(world, 3, 0, i * 8, 8);
	world_run(world);
	assert_int_equal(world->differs, 10);
	send_changes(world, 3);
	send_end(world, epoch);
	// waits until its base is applied
	send_begin(world, epoch, EPOCH_ATOMIC, false, 4);
	send_compare(world, 3, 1, 0, BLOCKS_1);
	world_run(world);
	assert_int_equal(world->differs, 11);
	assert_none_differ(world, BLOCKS_1);
	send_compare(world, 4, 1, 0, BLOCKS_1);
	world_run(world);
	for (unsigned i = 0; i < BLOCKS_1; i++)
		assert_int_equal(world->differ.bitmap[i / 8] >> i % 8 & 1,
		                 memcmp(world->content[3][1] + i * BLOCK_SIZE, world->content[4][1] + i * BLOCK_SIZE,
		                        BLOCK_SIZE) != 0);
	world_end(world);
}

static void standby_that_never_was_is_not_promotable(void **state)
{
	struct world *world = world_started(JOURNAL);

	(void)state;
	world_promote(world, true);
	assert_int_equal(world->promote_error, -EPERM);
	assert_non_null(strstr(world->promote_reason.text, "not consistent"));
	world_connect(world);
	memset(world->sync.bytes, 5, 16);
	send_begin(world, 0, EPOCH_DIRECT, false, 1);
	send_block(world, 1, 0, 0, 16);
	send_mark(world, 0, 16);
	world_run(world);
	assert_int_equal(world->marks, 1);
	world_promote(world, true);
	assert_int_equal(world->promote_error, -EPERM);
	assert_non_null(strstr(world->promote_reason.text, "65536 of"));
	assert_int_equal(world_status(world).sync_done, 65536);
	world_cut(world);
	world_connect(world); // the sync goes on from its mark
	assert_false(world->welcome.hello.volumes[1].blank);
	assert_int_equal(world->welcome.sync_block, 16);
	send_all(world, 3);
	world_run(world);
	assert_version(world, 3);
	world_end(world);
}

static void promotes(void **state)
{
	struct world *world = world_synced(JOURNAL, 3);
	uint64_t epoch = world->acked, writes;
	struct id generation = world->pair.lineage.generation;
	struct sink_status status;
	struct wire_hello hello;

	(void)state;
	world_promote(world, false);
	assert_int_equal(world->promote_error, -EPERM);
	assert_non_null(strstr(world->promote_reason.text, "192.0.2.1:7420"));
	send_begin(world, epoch, EPOCH_ATOMIC, false, 4);
	send_changes(world, 4);
	world_run(world);
	world_promote(world, true);
	assert_int_equal(world->promote_error, 0);
	assert_version(world, 3);
	status = world_status(world);
	assert_int_equal(status.state.role, ROLE_PRIMARY);
	assert_int_equal(status.state.promoted_epoch, epoch);
	assert_int_equal(status.state.promoted_point % 1000, 3);
	assert_int_equal(status.state.lineage.count, 1);
	assert_true(id_equal(&status.state.lineage.ancestors[0].generation, &generation));
	assert_int_equal(status.state.lineage.ancestors[0].epoch, epoch);
	world_promote(world, true);
	assert_int_equal(world->promote_error, -EPERM);
	// the old primary comes back and is told
	world_hello(world, &hello);
	world_attach(world, &hello);
	assert_true(world->welcomed);
	assert_int_equal(world->welcome.hello.role, ROLE_PRIMARY);
	send_begin(world, epoch, EPOCH_ATOMIC, false, 4);
	world_run(world);
	assert_true(world->channel->closed);
	world_stop(world);
	// and the volumes are never touched again
	writes = world->volumes[0]->writes + world->volumes[1]->writes;
	world_start(world);
	world_run(world);
	assert_int_equal(world_status(world).state.role, ROLE_PRIMARY);
	assert_int_equal(world->volumes[0]->writes + world->volumes[1]->writes, writes);
	world_end(world);
}

static void promotes_what_is_not_applied_yet(void **state)
{
	unsigned left = 0;

	(void)state;
	for (unsigned seed = 0; seed < 20; seed++) {
		struct world *world = world_synced(JOURNAL, 2);

		world->seed = seed;
		send_on(world, 4);
		world_run_until_acked(world, 4);
		world_promote(world, true);
		assert_int_equal(world->promote_error, 0);
		left += world_status(world).state.redo;
		world_stop(world);
		world_redo(world);
		assert_version(world, 4);
		world_free(world);
	}
	assert_true(left > 0);
}

static void compare_waits_for_its_base(void **state)
{
	struct world *world = world_synced(JOURNAL, 2);
	uint64_t epoch;

	(void)state;
	world->frozen = true;
	epoch = send_epoch(world, world->acked, 3);
	send_begin(world, epoch, EPOCH_ATOMIC, false, 4);
	send_compare(world, 3, 0, 0, BLOCKS_0);
	world_run(world);
	assert_int_equal(world->acked, epoch);
	assert_true(world->channel->held);
	world->frozen = false;
	world_run(world);
	assert_int_equal(world->differs, 1);
	assert_none_differ(world, BLOCKS_0);
	world_end(world);
}

static void features_of_both_are_in_force(void **state)
{
	struct world *world = world_synced(JOURNAL, 2);
	struct wire_hello hello;

	(void)state;
	world_hello(world, &hello);
	assert_int_equal(hello.features, 0); // as before there were any
	world_attach(world, &hello);
	assert_true(world->welcomed);
	assert_int_equal(world->welcome.hello.features, 0);
	hello.features = UINT64_MAX;
	world_attach(world, &hello);
	assert_true(world->welcomed);
	assert_int_equal(world->welcome.hello.features, WIRE_FEATURE_ZSTD);
	world_end(world);
}

static void silence_ends_the_connection(void **state)
{
	struct world *world = world_synced(JOURNAL, 2);

	(void)state;
	for (unsigned i = 0; i < 10; i++) {
		send_heartbeat(world, world->acked, true);
		world_sleep(world, NSEC_PER_SEC);
	}
	assert_int_equal(world_status(world).recovery_point % 1000000000, 5000000);
	assert_true(world->heartbeats >= 9);
	assert_int_equal(world->heartbeat.applied, 2);
	assert_false(world->channel->closed);
	world_sleep(world, 7 * NSEC_PER_SEC);
	assert_true(world->channel->closed);
	assert_non_null(strstr(world->why, "no word"));
	world_promote(world, false); // nobody is there any more
	assert_int_equal(world->promote_error, 0);
	world_end(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(full_sync_then_epochs),
	        cmocka_unit_test(survives_a_restart),
	        cmocka_unit_test(ring_wraps_and_holds_the_channel),
	        cmocka_unit_test(several_epochs_on_their_way),
	        cmocka_unit_test(epoch_larger_than_the_ring_is_rejected),
	        cmocka_unit_test(what_the_ring_cannot_hold_comes_in_place),
	        cmocka_unit_test(abort_and_loss_drop_the_epoch),
	        cmocka_unit_test(compare_tells_what_differs),
	        cmocka_unit_test(standby_that_never_was_is_not_promotable),
	        cmocka_unit_test(promotes),
	        cmocka_unit_test(promotes_what_is_not_applied_yet),
	        cmocka_unit_test(compare_waits_for_its_base),
	        cmocka_unit_test(features_of_both_are_in_force),
	        cmocka_unit_test(silence_ends_the_connection),
	};

	return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
