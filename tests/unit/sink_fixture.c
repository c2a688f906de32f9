// SPDX-License-Identifier: Apache-2.0
#include "sink_fixture.h"

#include "common/slots.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// cmocka.h needs these before it
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define WALL INT64_C(1700000000000000000)

static const uint64_t disk_bytes[VOLUMES] = {DISK_0, DISK_1};
static const uint64_t volume_bytes[VOLUMES] = {BYTES_0, BYTES_1};
static const unsigned volume_blocks[VOLUMES] = {BLOCKS_0, BLOCKS_1};

static void *need(void *memory)
{
	assert_non_null(memory);
	return memory;
}

static uint64_t mix(uint64_t x)
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

// Clock.

static uint64_t fake_now(struct clock *clock)
{
	return ((struct fake_clock *)clock)->now;
}

static int64_t fake_wall(struct clock *clock)
{
	return WALL + (int64_t)((struct fake_clock *)clock)->now;
}

static void fake_cancel(struct clock *clock, struct timer *timer)
{
	struct fake_clock *fake = (struct fake_clock *)clock;

	for (unsigned i = 0; i < 16; i++) {
		if (fake->armed[i] == timer)
			fake->armed[i] = NULL;
	}
}

static void fake_set(struct clock *clock, struct timer *timer, uint64_t deadline)
{
	struct fake_clock *fake = (struct fake_clock *)clock;
	unsigned i = 0;

	fake_cancel(clock, timer);
	timer->deadline = deadline;
	while (fake->armed[i])
		assert_true(++i < 16);
	fake->armed[i] = timer;
}

static const struct clock_ops clock_ops = {fake_now, fake_wall, fake_set, fake_cancel};

bool fake_clock_fire(struct fake_clock *fake)
{
	for (unsigned i = 0; i < 16; i++) {
		struct timer *timer = fake->armed[i];

		if (!timer || timer->deadline > fake->now)
			continue;
		fake->armed[i] = NULL;
		timer->fire(timer);
		return true;
	}
	return false;
}

void fake_clock_init(struct fake_clock *fake)
{
	*fake = (struct fake_clock){.clock = {&clock_ops}, .now = 1000};
}

// Channel.

static void channel_send_message(struct channel *channel, struct message *message)
{
	struct fake_channel *fake = (struct fake_channel *)channel;

	assert_false(fake->closed);
	message->next = NULL;
	*fake->last = message;
	fake->last = &message->next;
}

static void channel_set_hold(struct channel *channel, bool hold)
{
	struct fake_channel *fake = (struct fake_channel *)channel;

	assert_false(fake->closed);
	fake->held = hold;
}

static void channel_set_closed(struct channel *channel)
{
	struct fake_channel *fake = (struct fake_channel *)channel;

	assert_false(fake->closed);
	fake->closed = true;
}

static const struct channel_ops channel_ops = {channel_send_message, channel_set_hold, channel_set_closed};

static void hear(struct world *world, const struct frame *frame)
{
	struct wire_epoch epoch;

	switch (frame->type) {
	case FRAME_WELCOME:
		assert_int_equal(wire_get_welcome(frame, &world->welcome), 0);
		world->welcomed = true;
		encoder_set_hash_key(world->channel->primary, world->welcome.hash_key);
		break;
	case FRAME_REFUSE:
		assert_int_equal(wire_get_refuse(frame, &world->refusal), 0);
		break;
	case FRAME_REJECT:
		assert_int_equal(wire_get_reject(frame, &world->reject), 0);
		world->rejects++;
		break;
	case FRAME_DURABLE:
		assert_int_equal(wire_get_epoch(frame, &epoch), 0);
		assert_true(epoch.epoch > world->acked);
		world->acked = epoch.epoch;
		break;
	case FRAME_HEARTBEAT:
		assert_int_equal(wire_get_heartbeat(frame, &world->heartbeat), 0);
		world->heartbeats++;
		break;
	case FRAME_MARKED:
		assert_int_equal(wire_get_mark(frame, &world->marked), 0);
		world->marks++;
		break;
	case FRAME_DIFFER:
		assert_int_equal(wire_get_differ(frame, &world->differ), 0);
		world->differs++;
		break;
	default:
		fail_msg("frame of type %u from the standby", frame->type);
	}
}

static bool carry_one(struct fake_channel *fake)
{
	static uint8_t bytes[FRAME_BYTES_MAX];
	struct message *message = fake->first;
	struct frame frame;
	size_t length;

	if (!message)
		return false;
	fake->first = message->next;
	if (!fake->first)
		fake->last = &fake->first;
	if (!fake->closed) {
		length = encoder_encode(fake->encoder, message, bytes);
		message->wire_bytes = length;
		assert_int_equal(frame_check(bytes, length, &frame), 0);
		hear(fake->world, &frame);
	}
	message->done(message);
	return true;
}

static bool deliver_one(struct fake_channel *fake)
{
	struct inbound *inbound;
	struct frame frame;

	if (fake->held || fake->closed || !fake->world->sink || fake->inbound_next == fake->inbound_count)
		return false;
	inbound = &fake->inbound[fake->inbound_next++];
	assert_int_equal(frame_check(inbound->bytes, inbound->length, &frame), 0);
	fake->channel.events->frame(fake->channel.user, &frame);
	return true;
}

static void channel_free(struct fake_channel *fake)
{
	if (!fake)
		return;
	fake->closed = true;
	while (carry_one(fake))
		;
	for (size_t i = 0; i < fake->inbound_count; i++)
		free(fake->inbound[i].bytes);
	free(fake->inbound);
	encoder_free(fake->encoder);
	encoder_free(fake->primary);
	free(fake);
}

static struct fake_channel *channel_new(struct world *world)
{
	struct fake_channel *fake = need(calloc(1, sizeof(*fake)));

	fake->channel.ops = &channel_ops;
	snprintf(fake->channel.peer, sizeof(fake->channel.peer), "192.0.2.1:7420");
	fake->world = world;
	fake->last = &fake->first;
	fake->encoder = need(encoder_new());
	fake->primary = need(encoder_new());
	return fake;
}

// World.

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

static bool changes(unsigned version, unsigned volume, uint64_t block)
{
	return version == 1 || mix(version * 1000 + volume * 100 + block) % 5 == 0;
}

static void make_content(struct world *world, unsigned version)
{
	for (unsigned v = 0; v < VOLUMES; v++) {
		uint8_t *content = need(calloc(volume_blocks[v], BLOCK_SIZE));

		if (version > 0)
			memcpy(content, world->content[version - 1][v], volume_blocks[v] * BLOCK_SIZE);
		for (uint64_t b = 0; version > 0 && b < volume_blocks[v]; b++) {
			uint64_t word = mix(version << 20 | v << 16 | b);

			if (!changes(version, v, b))
				continue;
			for (unsigned i = 0; i < BLOCK_SIZE; i += 8) {
				uint64_t value = word % 4 == 0 ? 0 : mix(word + i); // a quarter is zeroes

				memcpy(content + b * BLOCK_SIZE + i, &value, 8);
			}
		}
		memset(content + volume_bytes[v], 0, volume_blocks[v] * BLOCK_SIZE - volume_bytes[v]);
		world->content[version][v] = content;
	}
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
	world->random = 1;
	world->next_epoch = 1;
	world->volumes[0] = memdisk_new(disk_bytes[0], 512);
	world->volumes[1] = memdisk_new(disk_bytes[1], 4096);
	world->state = memdisk_new(SLOTS_BYTES, 512);
	world->journal = memdisk_new(journal_bytes, 4096);
	world->redo_log = memdisk_new(VOLUMES * 2 * 4096, 4096);
	for (unsigned i = 0; i < VERSIONS; i++)
		make_content(world, i);
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
		if (choice == 6 && world->channel && carry_one(world->channel))
			return true;
		if (choice > 6 && world->channel && deliver_one(world->channel))
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

static void on_stopped(void *user)
{
	struct world *world = user;

	world->stopped = true;
}

void world_stop(struct world *world)
{
	world->stopped = false;
	sink_stop(world->sink, on_stopped, world);
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
	for (unsigned i = 0; i < 16; i++)
		assert_null(world->clock.armed[i]);
}

// Primary.

void world_hello(struct world *world, struct wire_hello *hello)
{
	*hello = (struct wire_hello){
	        .version_min = 1,
	        .version_max = 1,
	        .pair = world->pair.pair,
	        .role = ROLE_PRIMARY,
	        .lineage = world->pair.lineage,
	        .epoch = world->next_epoch - 1,
	        .volume_count = VOLUMES,
	};
	for (unsigned v = 0; v < VOLUMES; v++) {
		memcpy(hello->volumes[v].name, world->pair.volumes[v].name, sizeof(hello->volumes[v].name));
		hello->volumes[v].bytes = world->pair.volumes[v].bytes;
	}
}

void world_attach(struct world *world, const struct wire_hello *hello)
{
	struct fake_channel *before = world->channel;

	world->welcomed = false;
	world->channel = channel_new(world);
	sink_attach(world->sink, &world->channel->channel, hello);
	channel_free(before);
	world_run(world);
}

void world_connect(struct world *world)
{
	struct wire_hello hello;

	world_hello(world, &hello);
	world_attach(world, &hello);
	if (!world->crashed)
		assert_true(world->welcomed);
}

void world_cut(struct world *world)
{
	struct fake_channel *fake = world->channel;

	if (!fake->closed) {
		fake->closed = true;
		fake->channel.events->closed(fake->channel.user, "cut");
	}
	channel_free(fake);
	world->channel = NULL;
}

void send_body(struct world *world, unsigned type, void *body, size_t length, const void *data, size_t data_length)
{
	static uint8_t bytes[FRAME_BYTES_MAX];
	struct message message = {
	        .type = type, .body = body, .body_length = length, .data = data, .data_length = data_length};
	struct fake_channel *fake = world->channel;
	struct inbound *inbound;

	if (!fake)
		return;
	fake->inbound = need(realloc(fake->inbound, (fake->inbound_count + 1) * sizeof(*fake->inbound)));
	inbound = &fake->inbound[fake->inbound_count++];
	inbound->length = encoder_encode(fake->primary, &message, bytes);
	inbound->bytes = need(malloc(inbound->length));
	memcpy(inbound->bytes, bytes, inbound->length);
}

static uint64_t begin_epoch(struct world *world, uint64_t base, enum epoch_kind kind, bool completes, bool partial,
                            unsigned version)
{
	struct wire_begin begin = {
	        .epoch = world->next_epoch++,
	        .base = base,
	        .kind = kind,
	        .completes = completes,
	        .partial = partial,
	        .cut_wall = WALL + (int64_t)version,
	};
	uint8_t body[WIRE_BODY_MAX];

	if (kind == EPOCH_DIRECT)
		begin.sync = world->sync;
	world->version_of[begin.epoch] = (uint8_t)version;
	send_body(world, FRAME_BEGIN, body, wire_put_begin(body, &begin), NULL, 0);
	return begin.epoch;
}

uint64_t send_begin(struct world *world, uint64_t base, enum epoch_kind kind, bool completes, unsigned version)
{
	return begin_epoch(world, base, kind, completes, false, version);
}

uint64_t send_partial(struct world *world, uint64_t base, unsigned version)
{
	return begin_epoch(world, base, EPOCH_DIRECT, false, true, version);
}

void send_end(struct world *world, uint64_t epoch)
{
	struct wire_end end = {.epoch = epoch};
	uint8_t body[WIRE_BODY_MAX];

	send_body(world, FRAME_END, body, wire_put_end(body, &end), NULL, 0);
}

void send_abort(struct world *world, uint64_t epoch)
{
	struct wire_epoch gone = {.epoch = epoch, .wall = WALL};
	uint8_t body[WIRE_BODY_MAX];

	send_body(world, FRAME_ABORT, body, wire_put_epoch(body, &gone), NULL, 0);
}

void send_mark(struct world *world, unsigned volume, uint64_t block)
{
	struct wire_mark mark = {.volume = volume, .block = block};
	uint8_t body[WIRE_BODY_MAX];

	send_body(world, FRAME_MARK, body, wire_put_mark(body, &mark), NULL, 0);
}

void send_heartbeat(struct world *world, uint64_t cut, bool clean)
{
	struct wire_heartbeat heartbeat = {.wall = WALL + 5000000, .cut = cut, .clean = clean};
	uint8_t body[WIRE_BODY_MAX];

	send_body(world, FRAME_HEARTBEAT, body, wire_put_heartbeat(body, &heartbeat), NULL, 0);
}

static void send_content(struct world *world, unsigned type, unsigned version, unsigned volume, uint64_t block,
                         uint32_t count)
{
	struct extent extent = {.first = block, .count = count};
	uint8_t body[BLOCKS_BODY_MAX];
	size_t length = wire_put_blocks(body, volume, &extent, 1);

	send_body(world, type, body, length, world->content[version][volume] + block * BLOCK_SIZE, count * BLOCK_SIZE);
}

void send_block(struct world *world, unsigned version, unsigned volume, uint64_t block, uint32_t count)
{
	send_content(world, FRAME_BLOCKS, version, volume, block, count);
}

void send_compare(struct world *world, unsigned version, unsigned volume, uint64_t block, uint32_t count)
{
	send_content(world, FRAME_COMPARE, version, volume, block, count);
}

void send_changes(struct world *world, unsigned version)
{
	for (unsigned v = 0; v < VOLUMES; v++) {
		for (uint64_t b = 0; b < volume_blocks[v]; b++) {
			uint32_t count = 0;

			while (count < 8 && b + count < volume_blocks[v] && changes(version, v, b + count))
				count++;
			if (count > 0)
				send_block(world, version, v, b, count);
			b += count > 0 ? count - 1 : 0;
		}
	}
}

// The full sync goes on from the cursor that the standby named.
static uint64_t send_sync(struct world *world, uint64_t base)
{
	uint32_t volume = world->welcome.sync_volume;
	uint64_t block = world->welcome.sync_block, epoch;

	if (id_is_none(&world->welcome.hello.sync)) {
		memset(world->sync.bytes, (int)(0x40 + world->next_epoch % 64), 16);
		volume = 0;
		block = 0;
	} else {
		world->sync = world->welcome.hello.sync;
	}
	if (volume == VOLUMES)
		return base;
	epoch = send_begin(world, base, EPOCH_DIRECT, false, 1);
	for (; volume < VOLUMES; volume++, block = 0) {
		while (block < volume_blocks[volume]) {
			uint64_t left = volume_blocks[volume] - block;
			uint32_t count = left < 16 ? (uint32_t)left : 16;

			send_block(world, 1, volume, block, count);
			block += count;
			send_mark(world, volume, block);
		}
	}
	send_end(world, epoch);
	return epoch;
}

void send_all(struct world *world, unsigned version)
{
	uint64_t epoch, base = world->welcome.hello.epoch;
	unsigned from = world->version_of[base];
	bool completes = !world->welcome.consistent;

	if (completes) {
		base = send_sync(world, base);
		from = 1;
	}
	while (from < version) {
		from++;
		epoch = send_begin(world, base, EPOCH_ATOMIC, completes, from);
		send_changes(world, from);
		send_end(world, epoch);
		completes = false;
		base = epoch;
	}
}

bool is_version(const struct world *world, unsigned version)
{
	for (unsigned v = 0; v < VOLUMES; v++) {
		if (memcmp(world->volumes[v]->bytes, world->content[version][v], volume_bytes[v]) != 0)
			return false;
	}
	return true;
}

void assert_version(struct world *world, unsigned version)
{
	for (unsigned v = 0; v < VOLUMES; v++)
		assert_memory_equal(world->volumes[v]->bytes, world->content[version][v], volume_bytes[v]);
}

struct sink_status world_status(struct world *world)
{
	struct sink_status status;

	sink_status(world->sink, &status);
	return status;
}

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
	redo_stop(world->redo, on_stopped, world);
	world_run(world);
	assert_true(world->stopped);
	redo_free(world->redo);
	world->redo = NULL;
}

struct world *world_started(uint64_t journal_bytes)
{
	struct world *world = world_new(journal_bytes);

	world_start(world);
	world_run(world);
	assert_true(world->opened);
	assert_string_equal(world->failed, "");
	return world;
}

struct world *world_synced(uint64_t journal_bytes, unsigned version)
{
	struct world *world = world_started(journal_bytes);

	world_connect(world);
	send_all(world, version);
	world_run(world);
	assert_version(world, version);
	return world;
}

void world_run_until_acked(struct world *world, uint64_t epoch)
{
	while (world->acked < epoch)
		assert_true(world_step(world));
}
