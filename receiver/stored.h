// SPDX-License-Identifier: Apache-2.0
// Frames as the journal keeps them: one after the other, as they came.
#ifndef STEAD_STORED_H
#define STEAD_STORED_H

#include "common/wire.h"

#include <stdint.h>

// The frame that begins a stretch of left bytes: NULL, or why it is none.
const char *stored_frame(const uint8_t *bytes, uint32_t left, struct frame *frame);

// Its content, within the volumes of the table: NULL, or why it is none.
const char *stored_blocks(const struct frame *frame, const struct state_volume *table, unsigned volume_count,
                          struct wire_blocks *blocks);

#endif
