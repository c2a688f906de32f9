// SPDX-License-Identifier: Apache-2.0
#include "sink_fixture_impl.h"

#include "common/slots.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t disk_bytes[VOLUMES] = {DISK_0, DISK_1};

void *need(void *memory)
{
	assert_non_null(memory);
	return memory;
}

uint64_t mix(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

static uint64_t next_random(void *user)
{
	struct world *world = user;

	return mix(world->random++);
}

static void event(void *user, enum sink_event what, uint64_t epoch, const char *text)
{
	struct world *world = user;

	switch (what) {
	case SINK_OPENED:
		world->opened = true;
		snprintf(world->failed, sizeof(world->failed), "%s", text ? text : "");
		break;
	case SINK_CONNECTED:
		world->connected++;
		break;
	case SINK_DISCONNECTED:
		world->disconnected++;
		break;
	case SINK_REFUSED:
		world->refused++;
		break;
	case SINK_DURABLE:
		world->event_durable = epoch;
		break;
	case SINK_APPLIED:
		world->event_applied = epoch;
		break;
	case SINK_REJECTED:
		world->rejected++;
		break;
	case SINK_SYNC_STARTED:
		world->sync_started++;
		break;
	case SINK_SYNC_DONE:
		world->sync_done++;
		break;
	case SINK_DAMAGE_REPAIRED:
		world->repaired++;
		break;
	case SINK_ADOPTED:
	case SINK_TAKEOVER:
	case SINK_DECLINED:
		break;
	}
	if (text)
		snprintf(world->why, sizeof(world->why), "%s", text);
}

static void saved(void *user, int error)
{
	assert_int_equal(error, 0);
	*(bool *)user = true;
}

static void save_state(struct world *world)
{
	struct slots *slots = need(slots_new(&world->state->disk, 0, STATE_SLOT_KIND));
	uint8_t buffer[STATE_ENCODED_MAX];
	size_t length = state_encode(&world->pair, buffer);
	bool done = false;

	slots_save(slots, buffer, length, &done, saved);
	memdisk_run(world->state);
	assert_true(done);
	slots_free(slots);
}

struct world *world_new(uint64_t journal_bytes)
{
	struct world *world = need(calloc(1, sizeof(*world)));

	fake_clock_init(&world->clock);
	world->journal_bytes = journal_bytes;
	world->memory = 1 << 20;
	world->ops_left = UINT64_MAX;
	world->level = PACK_LZ4;
	world->random = 1;
	world->next_epoch = 1;
	world->volumes[0] = memdisk_new(disk_bytes[0], 512);
	world->volumes[1] = memdisk_new(disk_bytes[1], 4096);
	world->state = memdisk_new(SLOTS_BYTES, 512);
	world->journal = memdisk_new(journal_bytes, 4096);
	world->redo_log = memdisk_new(VOLUMES * 2 * 4096, 4096);
	for (unsigned i = 0; i < VERSIONS; i++)
		content_make(world, i);
	memset(world->pair.pair.bytes, 7, 16);
	world->pair.role = ROLE_STANDBY;
	memset(world->pair.lineage.generation.bytes, 9, 16);
	world->pair.volume_count = VOLUMES;
	for (unsigned v = 0; v < VOLUMES; v++) {
		snprintf(world->pair.volumes[v].name, sizeof(world->pair.volumes[v].name), "vol%u", v);
		world->pair.volumes[v].bytes = volume_bytes[v];
	}
	save_state(world);
	return world;
}

void world_free(struct world *world)
{
	sink_free(world->sink);
	channel_free(world->channel);
	for (unsigned i = 0; i < VERSIONS; i++) {
		for (unsigned v = 0; v < VOLUMES; v++)
			free(world->content[i][v]);
	}
	memdisk_free(world->volumes[0]);
	memdisk_free(world->volumes[1]);
	memdisk_free(world->state);
	memdisk_free(world->journal);
	memdisk_free(world->redo_log);
	redo_free(world->redo);
	free(world);
}

void world_start(struct world *world)
{
	struct sink_config config = {
	        .clock = &world->clock.clock,
	        .volume_count = VOLUMES,
	        .volumes = {&world->volumes[0]->disk, &world->volumes[1]->disk},
	        .state = &world->state->disk,
	        .journal = &world->journal->disk,
	        .apply_memory = world->memory,
	        .random = next_random,
	        .event = event,
	        .user = world,
	};

	assert_null(world->sink);
	world->opened = false;
	world->crashed = false;
	world->sink = need(sink_new(&config));
	sink_start(world->sink);
}

void world_open(struct world *world)
{
	world_start(world);
	world_run(world);
	assert_true(world->opened);
	assert_string_equal(world->failed, "");
}

static bool step_disk(struct world *world, struct memdisk *disk)
{
	unsigned pending = memdisk_pending(disk);

	if (pending == 0)
		return false;
	if (world->ops_left == 0) {
		world->crashed = true;
		return false;
	}
	world->ops_left--;
	return memdisk_step_at(disk, world->seed ? (unsigned)(next_random(world) % pending) : 0);
}

bool world_step(struct world *world)
{
	struct memdisk *disks[] = {world->volumes[0], world->volumes[1], world->state, world->journal, world->redo_log};
	unsigned first = world->seed ? (unsigned)(next_random(world) % 9) : 0;

	for (unsigned i = 0; i < 9; i++) {
		unsigned choice = (first + i) % 9;

		if (choice < 5 && !(world->frozen && choice < VOLUMES) && !(world->stuck && choice == 3) &&
		    step_disk(world, disks[choice]))
			return true;
		if (world->crashed)
			return false;
		if (choice == 5 && fake_clock_fire(&world->clock))
			return true;
		if (choice == 6 && world->channel && channel_carry(world->channel))
			return true;
		if (choice > 6 && world->channel && channel_deliver(world->channel))
			return true;
	}
	return false;
}

bool world_run(struct world *world)
{
	while (world_step(world))
		;
	return !world->crashed;
}

void world_sleep(struct world *world, uint64_t ns)
{
	for (uint64_t end = world->clock.now + ns; world->clock.now < end; world->clock.now += ns / 10)
		world_run(world);
	world_run(world);
}

void world_stopped(void *user)
{
	struct world *world = user;

	world->stopped = true;
}

void world_stop(struct world *world)
{
	world->stopped = false;
	sink_stop(world->sink, world_stopped, world);
	world_run(world);
	assert_true(world->stopped);
	sink_free(world->sink);
	world->sink = NULL;
	channel_free(world->channel);
	world->channel = NULL;
}

void world_crash(struct world *world, bool power, unsigned seed)
{
	struct memdisk *disks[] = {world->volumes[0], world->volumes[1], world->state, world->journal, world->redo_log};

	for (unsigned i = 0; i < 5; i++) {
		if (power)
			memdisk_power_loss(disks[i], seed * 5 + i);
		else
			memdisk_crash(disks[i], seed * 5 + i);
	}
	sink_free(world->sink);
	world->sink = NULL;
	redo_free(world->redo);
	world->redo = NULL;
	channel_free(world->channel);
	world->channel = NULL;
	for (unsigned i = 0; i < FAKE_TIMERS; i++)
		assert_null(world->clock.armed[i]);
}

struct sink_status world_status(struct world *world)
{
	struct sink_status status;

	sink_status(world->sink, &status);
	return status;
}

void world_end(struct world *world)
{
	world_stop(world);
	world_free(world);
}

struct world *world_started(uint64_t journal_bytes)
{
	struct world *world = world_new(journal_bytes);

	world_open(world);
	return world;
}

void world_catch_up(struct world *world, unsigned version)
{
	world_connect(world);
	send_all(world, version);
	world_run(world);
	assert_version(world, version);
}

struct world *world_synced(uint64_t journal_bytes, unsigned version)
{
	struct world *world = world_started(journal_bytes);

	world_catch_up(world, version);
	return world;
}

void world_run_until_acked(struct world *world, uint64_t epoch)
{
	while (world->acked < epoch)
		assert_true(world_step(world));
}
