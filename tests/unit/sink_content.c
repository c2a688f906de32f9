// SPDX-License-Identifier: Apache-2.0
// The versions of what the volumes hold.
#include "sink_fixture_impl.h"

#include <stdlib.h>
#include <string.h>

const uint64_t volume_bytes[VOLUMES] = {BYTES_0, BYTES_1};
const unsigned volume_blocks[VOLUMES] = {BLOCKS_0, BLOCKS_1};

bool content_changes(unsigned version, unsigned volume, uint64_t block)
{
	return version == 1 || mix(version * 1000 + volume * 100 + block) % 5 == 0;
}

void content_make(struct world *world, unsigned version)
{
	for (unsigned v = 0; v < VOLUMES; v++) {
		uint8_t *content = need(calloc(volume_blocks[v], BLOCK_SIZE));

		if (version > 0)
			memcpy(content, world->content[version - 1][v], volume_blocks[v] * BLOCK_SIZE);
		for (uint64_t b = 0; version > 0 && b < volume_blocks[v]; b++) {
			uint64_t word = mix(version << 20 | v << 16 | b);

			if (!content_changes(version, v, b))
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

void world_pack(struct world *world, enum pack_level level)
{
	const size_t part = BLOCK_SIZE / 8;

	world->level = level;
	for (unsigned i = 0; i < VERSIONS; i++) {
		for (unsigned v = 0; v < VOLUMES; v++) {
			for (size_t at = 0; at < volume_bytes[v]; at += part) {
				uint8_t *bytes = world->content[i][v] + at;

				if (at % BLOCK_SIZE != 0)
					memcpy(bytes, bytes - part, part);
			}
			memset(world->content[i][v] + volume_bytes[v], 0,
			       volume_blocks[v] * BLOCK_SIZE - volume_bytes[v]);
		}
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
