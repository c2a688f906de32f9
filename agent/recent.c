// SPDX-License-Identifier: Apache-2.0
#include "recent.h"

#include "common/block.h"

#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX
#define PLACES_MAX (UINT32_C(1) << 28)
#define CHAINS_PER_PLACE 4 // most are empty: a block that is not kept is mostly found out at its chain's head

// A place for one block. It stays the block's own while the block is rewritten
// again and again, so that a small hot set stays small.
struct place {
	uint64_t block, epoch;
	uint32_t volume;
	uint32_t next; // in its chain
	bool holds; // the content
};

struct recent {
	uint32_t count; // of places
	uint32_t chain_count; // a power of two
	uint32_t touched; // places ever taken: the others cost no memory
	uint32_t turn; // among those, the one that came first
	uint32_t held;
	uint64_t captured; // epoch
	uint8_t *data; // these three: NULL until they are needed
	struct place *places;
	uint32_t *chains;
};

struct recent *recent_new(uint64_t bytes)
{
	struct recent *recent = calloc(1, sizeof(*recent));
	uint64_t count = bytes >> BLOCK_SHIFT;

	if (!recent)
		return NULL;
	recent->count = count < PLACES_MAX ? (uint32_t)count : PLACES_MAX;
	recent->chain_count = CHAINS_PER_PLACE;
	while (recent->chain_count < CHAINS_PER_PLACE * recent->count)
		recent->chain_count *= 2;
	return recent;
}

void recent_clear(struct recent *recent)
{
	free(recent->data);
	free(recent->places);
	free(recent->chains);
	recent->data = NULL;
	recent->places = NULL;
	recent->chains = NULL;
	recent->touched = recent->turn = recent->held = 0;
}

void recent_free(struct recent *recent)
{
	recent_clear(recent);
	free(recent);
}

// Without memory nothing is kept, and everything read.
static bool set_up(struct recent *recent)
{
	if (recent->chains)
		return true;
	if (!recent->count)
		return false;
	recent->data = aligned_alloc(BLOCK_SIZE, recent->count * BLOCK_SIZE);
	recent->places = malloc(recent->count * sizeof(*recent->places));
	recent->chains = malloc(recent->chain_count * sizeof(*recent->chains));
	if (!recent->data || !recent->places || !recent->chains) {
		recent_clear(recent);
		return false;
	}
	memset(recent->chains, 0xff, recent->chain_count * sizeof(*recent->chains));
	return true;
}

static uint32_t *chain_of(const struct recent *recent, unsigned volume, uint64_t block)
{
	uint64_t hash = (block + ((uint64_t)volume << 52)) * UINT64_C(0x9e3779b97f4a7c15) >> 20;

	return &recent->chains[hash & (recent->chain_count - 1)];
}

static uint32_t find(const struct recent *recent, unsigned volume, uint64_t block)
{
	uint32_t i = *chain_of(recent, volume, block);

	while (i != NONE && (recent->places[i].block != block || recent->places[i].volume != volume))
		i = recent->places[i].next;
	return i;
}

static void leave_chain(struct recent *recent, uint32_t index)
{
	const struct place *place = &recent->places[index];
	uint32_t *link = chain_of(recent, place->volume, place->block);

	while (*link != index)
		link = &recent->places[*link].next;
	*link = place->next;
}

static bool needed(const struct recent *recent, uint32_t index)
{
	const struct place *place = &recent->places[index];

	return place->holds && place->epoch > recent->captured;
}

// Gives up what is in the place that it returns.
static uint32_t vacate_place(struct recent *recent)
{
	uint32_t index = recent->turn;

	if (index < recent->touched && !needed(recent, index)) {
		leave_chain(recent, index);
		recent->held -= recent->places[index].holds;
	} else if (recent->touched < recent->count) {
		return recent->touched++;
	} else {
		return NONE;
	}
	recent->turn = (index + 1) % recent->touched;
	return index;
}

static uint32_t take_place(struct recent *recent, unsigned volume, uint64_t block)
{
	uint32_t index = vacate_place(recent), *chain;

	if (index == NONE)
		return NONE;
	chain = chain_of(recent, volume, block);
	recent->places[index] = (struct place){.block = block, .volume = volume, .next = *chain};
	*chain = index;
	return index;
}

void recent_keep(struct recent *recent, unsigned volume, uint64_t block, uint64_t epoch, const uint8_t *data)
{
	struct place *place;
	uint32_t index;

	if (!set_up(recent))
		return;
	index = find(recent, volume, block);
	if (index == NONE)
		index = take_place(recent, volume, block);
	if (index == NONE)
		return;
	place = &recent->places[index];
	memcpy(recent->data + index * BLOCK_SIZE, data, BLOCK_SIZE);
	place->epoch = epoch;
	recent->held += !place->holds;
	place->holds = true;
}

void recent_captured(struct recent *recent, uint64_t epoch)
{
	recent->captured = epoch;
}

static void drop(struct recent *recent, uint32_t index)
{
	recent->held -= recent->places[index].holds;
	recent->places[index].holds = false;
}

void recent_drop(struct recent *recent, unsigned volume, uint64_t first, uint64_t count)
{
	if (!recent->held)
		return;
	if (count > recent->count) {
		for (uint32_t i = 0; i < recent->touched; i++) {
			const struct place *place = &recent->places[i];

			if (place->volume == volume && place->block >= first && place->block - first < count)
				drop(recent, i);
		}
		return;
	}
	for (uint64_t block = first; block < first + count; block++) {
		uint32_t index = find(recent, volume, block);

		if (index != NONE)
			drop(recent, index);
	}
}

const uint8_t *recent_find(const struct recent *recent, unsigned volume, uint64_t block)
{
	uint32_t index;

	if (!recent->held)
		return NULL;
	index = find(recent, volume, block);
	return index != NONE && recent->places[index].holds ? recent->data + index * BLOCK_SIZE : NULL;
}
