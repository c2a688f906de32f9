// SPDX-License-Identifier: Apache-2.0
// The early store: content that was captured because the application was about
// to overwrite it. It waits in memory up to a budget and in the spill file up
// to another, until the shipper comes to it. It lives for one epoch; the spill
// file is filled from its beginning in each.
#ifndef STEAD_EARLY_H
#define STEAD_EARLY_H

#include "common/disk.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#define EARLY_BLOCKS_MAX 64 // in one extent

struct early;

enum early_place {
	EARLY_READING, // being captured
	EARLY_MEMORY,
	EARLY_SPILLING,
	EARLY_SPILLED,
};

// Consecutive blocks captured together.
struct early_extent {
	unsigned volume;
	uint64_t first;
	uint32_t count; // blocks
	enum early_place place;
	uint8_t *data; // while it is in memory
	uint64_t spill_offset;

	// for the store
	struct early *early;
	TAILQ_ENTRY(early_extent) all;
	TAILQ_ENTRY(early_extent) queue;
	bool queued;
	bool dropped;
	struct disk_io io;
};

// spill may be NULL; idle() is called when its last write under way has ended.
// NULL without memory.
struct early *early_new(uint64_t memory_bytes, struct disk *spill, uint64_t spill_bytes, void (*idle)(void *user),
                        void *user);
void early_free(struct early *early); // also with I/O under way that will never complete

// Room for an extent, with data to read it into; NULL when the budgets are used
// up. Nothing else of the epoch may overlap it.
struct early_extent *early_reserve(struct early *early, unsigned volume, uint64_t first, uint32_t count);

// The data is there. May be spilled from now on; gone if it was dropped.
void early_filled(struct early_extent *extent);

// The extent that holds the block, or NULL.
struct early_extent *early_find(const struct early *early, unsigned volume, uint64_t block);

// Drops one extent: it was shipped, or could not be read.
void early_drop(struct early_extent *extent);

// Drops everything, for the next epoch. Extents that are being captured stay
// valid for the reader until early_filled() or early_drop().
void early_reset(struct early *early);

bool early_any(const struct early *early); // holds anything
uint64_t early_memory_used(const struct early *early);
bool early_spill_failed(const struct early *early); // full, or an error, in this epoch
bool early_busy(const struct early *early); // a write to the spill file is under way

#endif
