// SPDX-License-Identifier: Apache-2.0
// What was written lately, as the disk holds it now, so that capture need not
// read it back. Only blocks are kept that hold for certain what is in here:
// whoever begins to change a block drops it first.
#ifndef STEAD_RECENT_H
#define STEAD_RECENT_H

#include <stdbool.h>
#include <stdint.h>

struct recent;

// NULL without memory. The budget, in bytes, is taken up as it is needed.
struct recent *recent_new(uint64_t bytes);
void recent_free(struct recent *recent);

// The disk holds this block now; it is captured with that epoch. Not kept where
// it would take the place of one that is yet to be captured.
void recent_keep(struct recent *recent, unsigned volume, uint64_t block, uint64_t epoch, const uint8_t *data);

// Everything up to this epoch was captured.
void recent_captured(struct recent *recent, uint64_t epoch);

// They are about to change.
void recent_drop(struct recent *recent, unsigned volume, uint64_t first, uint64_t count);

// The content of a block until the next call that changes anything, or NULL.
const uint8_t *recent_find(const struct recent *recent, unsigned volume, uint64_t block);

// Drops all and gives the memory back.
void recent_clear(struct recent *recent);

#endif
