// SPDX-License-Identifier: Apache-2.0
// Parcels: changed blocks on their way to the channel. Each becomes one BLOCKS
// frame; where content is compared first, it is sent as COMPARE, waits for the
// answer, and then carries only what differs.
//
//   filling ─► reading ─► [COMPARE ─► DIFFER] ─► BLOCKS handed to the channel
#ifndef STEAD_PARCEL_H
#define STEAD_PARCEL_H

#include "engine.h"

#define PARCEL_BLOCKS (BLOCKS_RAW_MAX / BLOCK_SIZE)

struct parcel;

// An empty one that begins at the cursor, in source->parcels; NULL without
// memory. compare: its content is to be compared first.
struct parcel *parcel_new(struct source *source, bool compare);

struct position parcel_start(const struct parcel *parcel);

// Whether so many blocks of content fit, and how many fit at most.
bool parcel_fits(const struct parcel *parcel, uint32_t blocks);
uint32_t parcel_room(const struct parcel *parcel);

// Adds zeroes; false: they belong into the next parcel.
bool parcel_add_zero(struct parcel *parcel, uint64_t first, uint64_t count);

// Adds what was captured early, which leaves the store.
void parcel_add_early(struct parcel *parcel, struct early_extent *extent);

// Adds those of the blocks, from the first one on, that were written lately:
// how many.
uint32_t parcel_add_recent(struct parcel *parcel, uint64_t first, uint32_t count);

// Reads of it that are under way.
unsigned parcel_reading(const struct parcel *parcel);

// Adds blocks that are now captured.
void parcel_add_read(struct parcel *parcel, uint64_t first, uint32_t count);

// Goes on as far as it can: to be called once it is filled.
void parcel_step(struct parcel *parcel);

#endif
