// SPDX-License-Identifier: Apache-2.0
#include "world.h"

#include "agent/report.h"
#include "common/slots.h"
#include "receiver/report.h"
#include "tests/sim/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOISE (UINT64_C(8) << 20) // more than LZ4 looks back
#define WRITE_MAX (UINT64_C(1) << 20)
#define WALL (INT64_C(1769860800) * (int64_t)SEC)
#define DELAY (2 * MSEC) // one way

static uint64_t draw(void *user)
{
	struct world *world = user;

	return rng_next(&world->rng);
}

static void source_event(void *user, enum source_event event, uint64_t epoch, const char *text)
{
	struct world *world = user;

	(void)epoch;
	(void)text;
	world->serving |= event == SOURCE_SERVING;
	world->synced |= event == SOURCE_SYNC_DONE;
}

static void sink_event(void *user, enum sink_event event, uint64_t epoch, const char *text)
{
	struct world *world = user;

	(void)epoch;
	world->opened |= event == SINK_OPENED && !text;
}

struct greeting { // a connection that has not said HELLO
	struct world *world;
	struct channel *channel;
};

static void greeting_frame(void *user, const struct frame *frame)
{
	struct greeting *greeting = user;
	struct wire_hello *hello = allocate(sizeof(*hello));

	if (wire_get_hello(frame, hello) < 0)
		abort();
	sink_attach(greeting->world->sink, greeting->channel, hello);
	free(hello);
	free(greeting);
}

static void greeting_closed(void *user, const char *why)
{
	(void)why;
	free(user);
}

static void accept_channel(struct sim_host *host, struct channel *channel)
{
	static const struct channel_events events = {greeting_frame, greeting_closed};
	struct greeting *greeting = allocate(sizeof(*greeting));

	*greeting = (struct greeting){host->network->user, channel};
	channel->events = &events;
	channel->user = greeting;
}

static void make_state(struct world *world)
{
	memset(world->state.pair.bytes, 0x11, sizeof(world->state.pair.bytes));
	memset(world->state.lineage.generation.bytes, 0x22, sizeof(world->state.lineage.generation.bytes));
	world->state.role = ROLE_PRIMARY;
	world->state.volume_count = 1;
	strcpy(world->state.volumes[0].name, "data");
	world->state.volumes[0].bytes = WORLD_BYTES;
	config_init(&world->config);
	strcpy(world->config.name, "db");
	world->config.volume_count = 1;
	strcpy(world->config.volumes[0].name, "data");
}

static void make_disks(struct world *world, const struct world_speeds *speeds)
{
	uint64_t bytes = WORLD_BYTES;
	struct scheduler *scheduler = &world->scheduler;

	timed_disk_init(&world->primary.volume, scheduler, bytes, 200000000);
	timed_disk_init(&world->standby.volume, scheduler, bytes, 100000000);
	timed_disk_init(&world->intent, scheduler, source_intent_bytes(1, &bytes, SOURCE_REGION_BLOCKS), 200000000);
	timed_disk_init(&world->spill, scheduler, bytes, 200000000);
	timed_disk_init(&world->slots, scheduler, SLOTS_BYTES, 100000000);
	timed_disk_init(&world->journal, scheduler, 2 * bytes, speeds->journal ? speeds->journal : 100000000);
	world->map = aligned_alloc(BLOCK_SIZE, source_map_bytes(1, &bytes));
	if (!world->map)
		abort();
	memset(world->map, 0, source_map_bytes(1, &bytes));
}

static void make_link(struct world *world, uint64_t rate)
{
	network_init(&world->network, &world->scheduler, &world->rng);
	world->network.user = world;
	world->network.bandwidth = rate;
	world->network.paced = true;
	world->network.delay_min = world->network.delay_max = DELAY;
	world->network.done_max = 100 * USEC;
	world->network.window = 512 << 10;
	world->network.hosts[1].accept = accept_channel;
	world->network.hosts[1].listening = true;
}

static void saved(void *user, int error)
{
	((struct world *)user)->saved = !error;
}

static void until(struct world *world, const bool *happened)
{
	while (!*happened)
		if (!scheduler_step(&world->scheduler))
			abort();
}

static void start_standby(struct world *world)
{
	struct sink_config config = {
	        .clock = &world->standby.clock.clock,
	        .volume_count = 1,
	        .volumes = {&world->standby.volume.disk},
	        .state = &world->slots.disk,
	        .journal = &world->journal.disk,
	        .apply_memory = 16 << 20,
	        .random = draw,
	        .event = sink_event,
	        .user = world,
	};
	struct slots *slots = slots_new(&world->slots.disk, 0, STATE_SLOT_KIND);
	struct pair_state state = world->state;
	uint8_t encoded[STATE_ENCODED_MAX];

	state.role = ROLE_STANDBY;
	if (!slots)
		abort();
	slots_save(slots, encoded, state_encode(&state, encoded), world, saved);
	until(world, &world->saved);
	slots_free(slots);
	world->sink = sink_new(&config);
	if (!world->sink)
		abort();
	sink_start(world->sink);
	until(world, &world->opened);
}

static void start_primary(struct world *world, const struct world_speeds *speeds)
{
	struct source_config config = {
	        .clock = &world->primary.clock.clock,
	        .dialer = &world->network.hosts[0].dialer.dialer,
	        .volume_count = 1,
	        .volumes = {{&world->primary.volume.disk, WORLD_BYTES}},
	        .state = &world->state,
	        .map = world->map,
	        .boot = {{1}},
	        .intent = &world->intent.disk,
	        .region_blocks = SOURCE_REGION_BLOCKS,
	        .spill = &world->spill.disk,
	        .spill_bytes = WORLD_BYTES,
	        .capture_memory = 16 << 20,
	        .rpo = speeds->rpo,
	        .random = draw,
	        .event = source_event,
	        .user = world,
	};

	world->source = source_new(&config);
	if (!world->source)
		abort();
	source_start(world->source);
	until(world, &world->synced);
}

static void make_writes(struct world *world)
{
	world->writes = allocate(WORLD_WRITES * sizeof(*world->writes));
	for (unsigned i = 0; i < WORLD_WRITES; i++) {
		world->writes[i].world = world;
		world->writes[i].next = world->idle;
		world->idle = &world->writes[i];
	}
	world->noise = allocate(NOISE);
	for (uint64_t i = 0; i < NOISE / 8; i++)
		((uint64_t *)(void *)world->noise)[i] = rng_next(&world->rng);
}

struct world *world_new(const struct world_speeds *speeds)
{
	struct world *world = allocate(sizeof(*world));

	rng_seed(&world->rng, 5);
	scheduler_init(&world->scheduler, &world->rng);
	sim_clock_init(&world->primary.clock, &world->scheduler);
	sim_clock_init(&world->standby.clock, &world->scheduler);
	world->primary.clock.offset = 100 * SEC;
	world->standby.clock.offset = 7 * SEC;
	world->primary.clock.wall = WALL;
	world->standby.clock.wall = WALL + speeds->ahead;
	make_state(world);
	make_disks(world, speeds);
	make_link(world, speeds->link);
	make_writes(world);
	start_standby(world);
	start_primary(world, speeds);
	world_run(world, 2 * SEC);
	return world;
}

void world_free(struct world *world)
{
	struct message *unsent, *next;

	sim_clock_crash(&world->primary.clock);
	sim_clock_crash(&world->standby.clock);
	unsent = network_crash(&world->network, 1, false);
	sink_free(world->sink);
	for (; unsent; unsent = next) {
		next = unsent->next;
		unsent->done(unsent);
	}
	source_free(world->source);
	network_done(&world->network);
	timed_disk_free(&world->primary.volume);
	timed_disk_free(&world->standby.volume);
	timed_disk_free(&world->intent);
	timed_disk_free(&world->spill);
	timed_disk_free(&world->slots);
	timed_disk_free(&world->journal);
	sim_clock_done(&world->primary.clock);
	sim_clock_done(&world->standby.clock);
	scheduler_done(&world->scheduler);
	for (unsigned i = 0; i < WORLD_WRITES; i++)
		free(world->writes[i].data);
	free(world->writes);
	free(world->noise);
	free(world->map);
	free(world);
}

static void stop_here(struct event *event)
{
	(void)event;
}

void world_run(struct world *world, uint64_t ns)
{
	struct event end = {.run = stop_here};

	scheduler_add(&world->scheduler, &end, ns);
	while (end.slot)
		scheduler_step(&world->scheduler);
}

static void write_done(struct request *request, int error)
{
	struct world_write *write = (struct world_write *)request;

	if (error)
		abort();
	free(write->data);
	write->data = NULL;
	write->next = write->world->idle;
	write->world->idle = write;
}

void world_write(struct world *world, uint64_t offset, uint64_t length)
{
	struct world_write *write = world->idle;

	if (!write) {
		world->turned_away++;
		return;
	}
	world->idle = write->next;
	length *= 512;
	write->data = aligned_alloc(BLOCK_SIZE, (length + BLOCK_SIZE - 1) / BLOCK_SIZE * BLOCK_SIZE);
	if (!write->data || length > WRITE_MAX)
		abort();
	// Half of each sector is noise, the rest is empty.
	for (uint64_t at = 0; at < length; at += 512) {
		memcpy(write->data + at, world->noise + rng_below(&world->rng, NOISE / 256) * 256, 256);
		memset(write->data + at + 256, 0, 256);
	}
	world->written += length;
	write->request = (struct request){
	        .op = REQUEST_WRITE, .offset = offset * 512, .length = length, .data = write->data, .done = write_done};
	source_submit(world->source, &write->request);
}

void world_status(struct world *world, struct pair_status *primary, struct pair_status *standby)
{
	struct source_status source;
	struct sink_status sink;
	struct source_report report = {
	        .config = &world->config, .status = &source, .generation = &world->state.lineage.generation};

	source_status(world->source, &source);
	sink_status(world->sink, &sink);
	report_source(&report, &world->primary.clock.clock, &world->primary.watch, primary);
	report_sink(&world->config, &sink, &world->standby.clock.clock, &world->standby.watch, standby);
}
