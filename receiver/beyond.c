// SPDX-License-Identifier: Apache-2.0
#include "beyond.h"

#include "common/map.h"
#include "common/mutant.h"

#include <stdlib.h>

struct beyond {
	struct map map;
	unsigned volume_count;
	uint64_t after; // sets of epochs up to this one do not count
	unsigned volume;
	uint64_t block;
	bool over;
};

struct beyond *beyond_open(void *memory, const struct pair_state *state)
{
	struct map_identity identity = {
	        .pair = state->pair, .generation = state->lineage.generation, .volume_count = state->volume_count};
	struct beyond *beyond;
	unsigned damaged;

	for (unsigned i = 0; i < state->volume_count; i++)
		identity.blocks[i] = bytes_to_blocks(state->volumes[i].bytes);
	if (!memory || !map_trusted(memory, &identity))
		return NULL;
	beyond = calloc(1, sizeof(*beyond));
	if (!beyond)
		return NULL;
	beyond->volume_count = state->volume_count;
	if (map_open(&beyond->map, memory, &identity, 0, &damaged) < 0) {
		free(beyond);
		return NULL;
	}
	if (beyond->map.suspect) {
		beyond_free(beyond);
		return NULL;
	}
	beyond_rewind(beyond, 0);
	return beyond;
}

void beyond_free(struct beyond *beyond)
{
	if (beyond)
		map_destroy(&beyond->map);
	free(beyond);
}

bool beyond_covers(const struct beyond *beyond, uint64_t after)
{
	return (after >= beyond->map.acknowledged || MUTANT(LOST_EPOCHS_BELIEVED)) && after <= beyond->map.cut;
}

uint64_t beyond_cut(const struct beyond *beyond)
{
	return beyond->map.cut;
}

void beyond_rewind(struct beyond *beyond, uint64_t after)
{
	beyond->after = MUTANT(BEYOND_OF_SHARED_EPOCHS) ? 0 : after;
	beyond->volume = 0;
	beyond->block = 0;
	beyond->over = false;
}

bool beyond_next(struct beyond *beyond, struct wire_beyond *frame)
{
	uint64_t count;

	if (beyond->over)
		return false;
	frame->volume = beyond->volume;
	frame->extent_count = 0;
	frame->last = false;
	while (frame->extent_count < BEYOND_EXTENTS_MAX && !frame->last) {
		if (map_next(&beyond->map, beyond->volume, beyond->after, &beyond->block, &count)) {
			frame->extents[frame->extent_count++] =
			        (struct extent){.first = beyond->block, .count = (uint32_t)count};
			beyond->block += count;
			continue;
		}
		if (beyond->volume + 1 == beyond->volume_count) {
			frame->last = true;
		} else {
			beyond->volume++;
			beyond->block = 0;
			if (frame->extent_count)
				break;
			frame->volume = beyond->volume;
		}
	}
	beyond->over = frame->last;
	return true;
}
