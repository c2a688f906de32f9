// SPDX-License-Identifier: Apache-2.0
// A promotion, and what it leaves to be redone.
#include "sink_fixture_impl.h"

#include "common/slots.h"

#include <string.h>

static void on_promoted(void *user, int error, const struct error *reason)
{
	struct world *world = user;

	world->promote_over = true;
	world->promote_error = error;
	world->promote_reason = *reason;
}

void world_promote(struct world *world, bool force)
{
	world->promote_over = false;
	sink_promote(world->sink, force, world, on_promoted);
	world_run(world);
	if (!world->crashed)
		assert_true(world->promote_over);
}

static void on_redo_opened(void *user, int error, const struct error *err)
{
	struct world *world = user;

	world->redo_opened = true;
	world->redo_error = error;
	if (error)
		world->redo_reason = *err;
}

static void on_redo_done(void *user)
{
	((struct world *)user)->redo_done = true;
}

static void on_redo_trouble(void *user, const struct error *err)
{
	struct world *world = user;

	world->redo_troubles++;
	world->redo_reason = *err;
}

static void read_promoted(struct world *world)
{
	const void *payload;
	size_t length;
	bool damaged;
	struct error err;

	assert_int_equal(slots_pick(world->state->bytes, STATE_SLOT_KIND, &payload, &length, &damaged), 0);
	assert_int_equal(state_decode(payload, length, &world->promoted, &err), 0);
	assert_int_equal(world->promoted.role, ROLE_PRIMARY);
}

void world_redo_start(struct world *world, uint32_t region_blocks)
{
	static const struct redo_events events = {on_redo_opened, on_redo_done, on_redo_trouble};
	struct redo_config config = {
	        .clock = &world->clock.clock,
	        .journal = &world->journal->disk,
	        .log = &world->redo_log->disk,
	        .volume_count = VOLUMES,
	        .volumes = {&world->volumes[0]->disk, &world->volumes[1]->disk},
	        .state = &world->promoted,
	        .region_blocks = region_blocks,
	        .events = &events,
	        .user = world,
	};

	read_promoted(world);
	world->crashed = false;
	world->redo_opened = world->redo_done = false;
	world->redo_error = 0;
	world->redo = need(redo_new(&config));
	redo_start(world->redo);
}

void world_redo(struct world *world)
{
	world_redo_start(world, 4);
	world_run(world);
	assert_true(world->redo_opened);
	assert_int_equal(world->redo_error, 0);
	assert_true(world->redo_done);
	world->stopped = false;
	redo_stop(world->redo, world_stopped, world);
	world_run(world);
	assert_true(world->stopped);
	redo_free(world->redo);
	world->redo = NULL;
}
