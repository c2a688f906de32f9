// SPDX-License-Identifier: Apache-2.0
#include "early.h"

#include "common/block.h"
#include "common/mutant.h"

#include <stdlib.h>

#define SPILLS_MAX 32 // writes under way
#define SLOTS_MIN 256

// One entry a block: open addressing, emptied only as a whole, so that a
// dropped extent leaves a mark that lookups pass over.
struct slot {
	uint64_t block;
	uint32_t volume; // + 1; 0: empty
	struct early_extent *extent; // NULL: dropped
};

TAILQ_HEAD(extent_list, early_extent);

struct early {
	uint64_t memory_bytes, memory_used;
	struct disk *spill;
	uint64_t spill_bytes, spill_next; // offsets
	void (*idle)(void *user);
	void *user;
	unsigned spilling, stale; // writes under way: in all, and of dropped extents
	uint64_t spilling_bytes;
	bool spill_failed;
	struct slot *slots;
	size_t slot_count, slots_used; // a power of two; including dropped ones
	struct extent_list all;
	struct extent_list queue; // in memory and not yet spilled, oldest first
};

struct early *early_new(uint64_t memory_bytes, struct disk *spill, uint64_t spill_bytes, void (*idle)(void *user),
                        void *user)
{
	struct early *early = calloc(1, sizeof(*early));

	if (!early)
		return NULL;
	early->memory_bytes = memory_bytes;
	early->spill = spill;
	early->spill_bytes = spill ? spill_bytes : 0;
	early->idle = idle;
	early->user = user;
	TAILQ_INIT(&early->all);
	TAILQ_INIT(&early->queue);
	return early;
}

static void give_memory_back(struct early_extent *extent)
{
	if (extent->data)
		extent->early->memory_used -= extent->count * BLOCK_SIZE;
	free(extent->data);
	extent->data = NULL;
}

static void free_extent(struct early_extent *extent)
{
	give_memory_back(extent);
	if (extent->queued)
		TAILQ_REMOVE(&extent->early->queue, extent, queue);
	TAILQ_REMOVE(&extent->early->all, extent, all);
	free(extent);
}

void early_free(struct early *early)
{
	while (!TAILQ_EMPTY(&early->all))
		free_extent(TAILQ_FIRST(&early->all));
	free(early->slots);
	free(early);
}

static struct slot *probe(struct slot *slots, size_t count, unsigned volume, uint64_t block)
{
	size_t i = (size_t)((block + ((uint64_t)volume << 52)) * UINT64_C(0x9e3779b97f4a7c15) >> 20) & (count - 1);

	while (slots[i].volume && (slots[i].volume != volume + 1 || slots[i].block != block))
		i = (i + 1) & (count - 1);
	return &slots[i];
}

static bool grow(struct early *early, size_t more)
{
	size_t count = early->slot_count ? early->slot_count : SLOTS_MIN;
	struct slot *slots;

	if ((early->slots_used + more) * 2 <= early->slot_count)
		return true;
	while ((early->slots_used + more) * 2 > count)
		count *= 2;
	slots = calloc(count, sizeof(*slots));
	if (!slots)
		return false;
	for (size_t i = 0; i < early->slot_count; i++)
		if (early->slots[i].volume)
			*probe(slots, count, early->slots[i].volume - 1, early->slots[i].block) = early->slots[i];
	free(early->slots);
	early->slots = slots;
	early->slot_count = count;
	return true;
}

struct early_extent *early_reserve(struct early *early, unsigned volume, uint64_t first, uint32_t count)
{
	uint64_t bytes = count * BLOCK_SIZE;
	struct early_extent *extent;

	if (early->memory_used + bytes > early->memory_bytes || !grow(early, count))
		return NULL;
	extent = calloc(1, sizeof(*extent));
	if (!extent)
		return NULL;
	extent->data = aligned_alloc(BLOCK_SIZE, bytes);
	if (!extent->data) {
		free(extent);
		return NULL;
	}
	extent->early = early;
	extent->volume = volume;
	extent->first = first;
	extent->count = count;
	extent->place = EARLY_READING;
	TAILQ_INSERT_TAIL(&early->all, extent, all);
	early->memory_used += bytes;
	early->slots_used += count;
	for (uint32_t i = 0; i < count; i++)
		*probe(early->slots, early->slot_count, volume, first + i) =
		        (struct slot){.block = first + i, .volume = volume + 1, .extent = extent};
	return extent;
}

static void spill_some(struct early *early);

static void spilled(struct disk_io *io, int error)
{
	struct early_extent *extent = (struct early_extent *)((char *)io - offsetof(struct early_extent, io));
	struct early *early = extent->early;

	early->spilling--;
	early->spilling_bytes -= extent->count * BLOCK_SIZE;
	if (extent->dropped) {
		early->stale--;
		free_extent(extent);
	} else if (error) {
		early->spill_failed = true;
		extent->place = EARLY_MEMORY;
	} else {
		extent->place = EARLY_SPILLED;
		give_memory_back(extent);
	}
	spill_some(early);
	if (!early->spilling)
		early->idle(early->user);
}

// Begins early, so that there is memory left while the writes are under way.
// What an epoch before left under way must not land on newer content.
static void spill_some(struct early *early)
{
	while (!TAILQ_EMPTY(&early->queue) && early->spilling < SPILLS_MAX && !early->stale && !early->spill_failed &&
	       early->memory_used - early->spilling_bytes > early->memory_bytes / 4) {
		struct early_extent *extent = TAILQ_FIRST(&early->queue);
		uint64_t bytes = extent->count * BLOCK_SIZE;

		if (early->spill_next + bytes > early->spill_bytes) {
			early->spill_failed = early->spill_bytes > 0;
			return;
		}
		TAILQ_REMOVE(&early->queue, extent, queue);
		extent->queued = false;
		extent->place = EARLY_SPILLING;
		extent->spill_offset = early->spill_next;
		if (!MUTANT(SPILL_SLOT_REUSED))
			early->spill_next += bytes;
		extent->io = (struct disk_io){
		        .op = DISK_WRITE,
		        .offset = extent->spill_offset,
		        .length = bytes,
		        .data = extent->data,
		        .done = spilled,
		};
		early->spilling++;
		early->spilling_bytes += bytes;
		disk_submit(early->spill, &extent->io);
	}
}

void early_filled(struct early_extent *extent)
{
	struct early *early = extent->early;

	if (extent->dropped) {
		free_extent(extent);
		return;
	}
	extent->place = EARLY_MEMORY;
	extent->queued = true;
	TAILQ_INSERT_TAIL(&early->queue, extent, queue);
	spill_some(early);
}

struct early_extent *early_find(const struct early *early, unsigned volume, uint64_t block)
{
	if (!early->slots_used)
		return NULL;
	return probe(early->slots, early->slot_count, volume, block)->extent;
}

void early_drop(struct early_extent *extent)
{
	struct early *early = extent->early;

	for (uint32_t i = 0; i < extent->count && !extent->dropped; i++)
		probe(early->slots, early->slot_count, extent->volume, extent->first + i)->extent = NULL;
	if (extent->place == EARLY_SPILLING && !extent->dropped) {
		extent->dropped = true;
		early->stale++;
		return;
	}
	free_extent(extent);
}

void early_reset(struct early *early)
{
	struct early_extent *extent, *next;

	for (extent = TAILQ_FIRST(&early->all); extent; extent = next) {
		next = TAILQ_NEXT(extent, all);
		if (extent->dropped)
			continue;
		if (extent->place == EARLY_READING)
			extent->dropped = true;
		else
			early_drop(extent);
	}
	free(early->slots);
	early->slots = NULL;
	early->slot_count = 0;
	early->slots_used = 0;
	early->spill_next = 0;
	early->spill_failed = false;
}

bool early_any(const struct early *early)
{
	return early->slots_used > 0;
}

uint64_t early_memory_used(const struct early *early)
{
	return early->memory_used;
}

bool early_spill_failed(const struct early *early)
{
	return early->spill_failed;
}

bool early_busy(const struct early *early)
{
	return early->spilling > 0;
}
