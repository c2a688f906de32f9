// SPDX-License-Identifier: Apache-2.0
// Where the newest version of each block is that a journal holds: built once
// from the extents of all its frames, in their order, then only asked. It takes
// memory for extents, never for blocks or for the size of a volume. Pure.
#ifndef STEAD_REDO_INDEX_H
#define STEAD_REDO_INDEX_H

#include "common/wire.h"

#include <stdbool.h>
#include <stdint.h>

struct redo_index;

// Frames that follow one another in the journal, collected apart so that parts
// of it can be read side by side.
struct redo_part {
	struct redo_frame *frames;
	struct redo_entry *entries;
	uint32_t frame_count, frame_room;
	uint32_t entry_count, entry_room;
};

struct redo_frame {
	uint64_t offset; // on the journal's disk
	uint32_t length; // with its header
};

#define REDO_ZERO UINT32_MAX

// Blocks that follow one another and whose newest version is in one frame.
struct redo_segment {
	uint64_t first;
	uint64_t count;
	uint32_t frame; // REDO_ZERO: they are zeroes
};

// Adds the frame at offset. 0 or -ENOMEM.
int redo_part_add(struct redo_part *part, uint64_t offset, uint32_t length, const struct wire_blocks *blocks);
void redo_part_clear(struct redo_part *part); // may be used again

struct redo_index *redo_index_new(void); // NULL without memory
void redo_index_free(struct redo_index *index);

// Appends a part, whose content it takes. 0, -ENOMEM, or -E2BIG: there are more
// frames than can be numbered.
int redo_index_take(struct redo_index *index, struct redo_part *part);

// Decides which frame wins each block; nothing may be added afterwards. 0 or
// -ENOMEM.
int redo_index_seal(struct redo_index *index);

// The first segment of the volume that ends after block from, its part before
// from cut off. False: there is none.
bool redo_index_next(const struct redo_index *index, unsigned volume, uint64_t from, struct redo_segment *segment);

const struct redo_frame *redo_index_frame(const struct redo_index *index, uint32_t number);

#endif
