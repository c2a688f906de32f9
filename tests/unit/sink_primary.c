// SPDX-License-Identifier: Apache-2.0
// What a primary sends.
#include "sink_fixture_impl.h"

#include <string.h>

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

void world_connect(struct world *world)
{
	struct wire_hello hello;

	world_hello(world, &hello);
	world_attach(world, &hello);
	if (!world->crashed)
		assert_true(world->welcomed);
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
	        .cut_wall = FAKE_WALL + (int64_t)version,
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
	struct wire_epoch gone = {.epoch = epoch, .wall = FAKE_WALL};
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
	struct wire_heartbeat heartbeat = {.wall = FAKE_WALL + 5000000, .cut = cut, .clean = clean};
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

			while (count < 8 && b + count < volume_blocks[v] && content_changes(version, v, b + count))
				count++;
			if (count > 0)
				send_block(world, version, v, b, count);
			b += count > 0 ? count - 1 : 0;
		}
	}
}

uint64_t send_epoch(struct world *world, uint64_t base, unsigned version)
{
	uint64_t epoch = send_begin(world, base, EPOCH_ATOMIC, false, version);

	send_changes(world, version);
	send_end(world, epoch);
	return epoch;
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

void send_on(struct world *world, unsigned version)
{
	world->welcome.hello.epoch = world->acked;
	world->welcome.consistent = true;
	send_all(world, version);
}
