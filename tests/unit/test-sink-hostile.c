// SPDX-License-Identifier: Apache-2.0
// Primaries that are none of ours, or do not keep to the protocol.
#include "sink_fixture.h"

#include <stdlib.h>
#include <string.h>

// cmocka.h needs these before it
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

// What a primary must not send. It gets a world in step with version 2.

static void base_that_is_not_there(struct world *world)
{
	send_begin(world, world->acked + 1, EPOCH_ATOMIC, false, 3);
}

static void begin_within_an_epoch(struct world *world)
{
	send_begin(world, world->acked, EPOCH_ATOMIC, false, 3);
	send_begin(world, world->acked, EPOCH_ATOMIC, false, 3);
}

static void blocks_before_begin(struct world *world)
{
	send_block(world, 3, 0, 0, 1);
}

static void end_before_begin(struct world *world)
{
	send_end(world, 3);
}

static void end_of_another_epoch(struct world *world)
{
	send_end(world, send_begin(world, world->acked, EPOCH_ATOMIC, false, 3) + 1);
}

static void mark_in_an_atomic_epoch(struct world *world)
{
	send_begin(world, world->acked, EPOCH_ATOMIC, false, 3);
	send_mark(world, 0, 1);
}

static void frame_of_the_standby(struct world *world)
{
	struct wire_epoch durable = {.epoch = 1};
	uint8_t body[WIRE_BODY_MAX];

	send_body(world, FRAME_DURABLE, body, wire_put_epoch(body, &durable), NULL, 0);
}

static void blocks_beyond_the_volume(struct world *world)
{
	struct extent outside = {.first = BLOCKS_1 - 1, .count = 2};
	uint8_t body[BLOCKS_BODY_MAX];

	send_begin(world, world->acked, EPOCH_ATOMIC, false, 3);
	send_body(world, FRAME_BLOCKS, body, wire_put_blocks(body, 1, &outside, 1), world->content[3][1],
	          2 * BLOCK_SIZE);
}

static void sync_that_is_complete(struct world *world)
{
	send_begin(world, world->acked, EPOCH_DIRECT, false, 3);
}

static void abort_before_begin(struct world *world)
{
	send_abort(world, 3);
}

static void digest_of_more_than_came(struct world *world)
{
	struct fake_channel *fake = world->channel;
	uint64_t epoch = send_begin(world, world->acked, EPOCH_ATOMIC, false, 3);

	send_block(world, 3, 0, 0, 1);
	send_block(world, 3, 0, 1, 1);
	free(fake->inbound[--fake->inbound_count].bytes);
	send_end(world, epoch);
}

static void wrong_end_of_a_comparison(struct world *world)
{
	send_begin(world, world->acked, EPOCH_ATOMIC, false, 3);
	send_compare(world, 3, 0, 0, 1);
	world_run(world);
	assert_int_equal(world->differs, 1);
	send_end(world, 1);
}

static void wrong_frames_close_the_connection(void **state)
{
	static void (*const wrong[])(struct world * world) = {
	        base_that_is_not_there, begin_within_an_epoch,   blocks_before_begin,      end_before_begin,
	        end_of_another_epoch,   mark_in_an_atomic_epoch, frame_of_the_standby,     blocks_beyond_the_volume,
	        sync_that_is_complete,  abort_before_begin,      digest_of_more_than_came, wrong_end_of_a_comparison,
	};
	struct world *world = world_synced(JOURNAL, 2);

	(void)state;
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		unsigned disconnected = world->disconnected;

		if (!world->channel)
			world_connect(world);
		wrong[i](world);
		world_run(world);
		assert_true(world->channel->closed);
		assert_int_equal(world->disconnected, disconnected + 1);
		assert_true(strlen(world->why) > 10);
		world_cut(world);
		world_run(world);
		assert_version(world, 2);
		assert_int_equal(world_status(world).durable, 2);
	}
	world_catch_up(world, 3);
	world_end(world);
}

// Nothing is a part of what nobody has the rest of.
static void part_of_an_unknown_sync_is_refused(void **state)
{
	struct world *world = world_synced(JOURNAL, 2);
	uint64_t base = world->acked;

	(void)state;
	memset(world->sync.bytes, 7, 16);
	send_partial(world, base, 3);
	send_block(world, 3, 0, 0, 16);
	world_run(world);
	world_connect(world);
	memset(world->sync.bytes, 8, 16);
	send_partial(world, base, 3);
	world_run(world);
	assert_true(world->channel->closed);
	assert_non_null(strstr(world->why, "does not have"));
	world_end(world);
}

static void refuses_strangers(void **state)
{
	struct world *world = world_started(JOURNAL);
	struct wire_hello hello;

	(void)state;
	for (unsigned i = 0; i < 5; i++) {
		static const enum refusal codes[] = {REFUSAL_VERSION, REFUSAL_VOLUMES, REFUSAL_VOLUMES, REFUSAL_LINEAGE,
		                                     REFUSAL_LINEAGE};

		world_hello(world, &hello);
		if (i == 0)
			hello.version_min = hello.version_max = 2;
		if (i == 1)
			hello.volumes[1].bytes++;
		if (i == 2)
			hello.volume_count = 1;
		if (i == 3)
			memset(hello.lineage.generation.bytes, 77, 16);
		if (i == 4)
			hello.role = ROLE_STANDBY;
		world_attach(world, &hello);
		assert_false(world->welcomed);
		assert_int_equal(world->refusal.code, codes[i]);
		assert_int_equal(world->refused, i + 1);
		assert_true(world->channel->closed);
	}
	world_end(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(wrong_frames_close_the_connection),
	        cmocka_unit_test(part_of_an_unknown_sync_is_refused),
	        cmocka_unit_test(refuses_strangers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
