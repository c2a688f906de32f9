// SPDX-License-Identifier: Apache-2.0
#include "redo_frames.h"

#include "stored.h"

#include "common/codec.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define ALIGN UINT64_C(4096)

enum stage {
	STAGE_EMPTY,
	STAGE_READING,
	STAGE_READY,
	STAGE_FAILED, // until somebody was told
};

struct redo_content {
	struct redo_frames *frames;
	enum stage stage;
	uint32_t number;
	unsigned users;
	uint64_t used; // when it was asked for last
	int error;
	struct error reason;
	struct disk_io io;
	uint8_t *read; // while it is being read
	uint32_t volume, extent_count;
	struct extent *extents; // BLOCKS_EXTENTS_MAX
	uint8_t *raw; // BLOCKS_RAW_MAX
};

struct redo_frames {
	struct disk *journal;
	const struct redo_index *index;
	const struct pair_state *state;
	void (*progress)(void *user);
	void *user;
	struct unpacker *unpacker;
	unsigned reading;
	uint64_t uses;
	unsigned depth;
	struct redo_content contents[];
};

struct redo_frames *redo_frames_new(struct disk *journal, const struct redo_index *index,
                                    const struct pair_state *state, unsigned depth, void (*progress)(void *user),
                                    void *user)
{
	struct redo_frames *frames = calloc(1, sizeof(*frames) + depth * sizeof(frames->contents[0]));

	if (!frames)
		return NULL;
	frames->unpacker = unpacker_new();
	if (!frames->unpacker) {
		free(frames);
		return NULL;
	}
	frames->journal = journal;
	frames->index = index;
	frames->state = state;
	frames->progress = progress;
	frames->user = user;
	frames->depth = depth;
	return frames;
}

void redo_frames_free(struct redo_frames *frames)
{
	if (!frames)
		return;
	for (unsigned i = 0; i < frames->depth; i++) {
		free(frames->contents[i].read);
		free(frames->contents[i].extents);
		free(frames->contents[i].raw);
	}
	unpacker_free(frames->unpacker);
	free(frames);
}

bool redo_frames_idle(const struct redo_frames *frames)
{
	return frames->reading == 0;
}

// What is wrong with the frame, or NULL; then its content is unpacked.
static const char *take(struct redo_content *content, const uint8_t *bytes, uint32_t length)
{
	const struct pair_state *state = content->frames->state;
	struct wire_blocks blocks;
	struct frame frame;
	const char *why = stored_frame(bytes, length, &frame);

	if (!why)
		why = stored_blocks(&frame, state->volumes, state->volume_count, &blocks);
	if (why)
		return why;
	if (blocks_unpack(content->frames->unpacker, &blocks, content->raw))
		return "content does not unpack";
	content->volume = blocks.volume;
	content->extent_count = blocks.extent_count;
	for (uint32_t i = 0; i < blocks.extent_count; i++)
		content->extents[i] = blocks_extent(&blocks, i);
	return NULL;
}

static void read_done(struct disk_io *io, int error)
{
	struct redo_content *content = (struct redo_content *)((char *)io - offsetof(struct redo_content, io));
	struct redo_frames *frames = content->frames;
	const struct redo_frame *frame = redo_index_frame(frames->index, content->number);
	const char *why = error ? NULL : take(content, content->read + (frame->offset - io->offset), frame->length);

	if (error)
		content->error = fail(&content->reason, -error, "read journal at offset %" PRIu64 ": %s", frame->offset,
		                      strerror(-error));
	else if (why)
		content->error = fail(&content->reason, EILSEQ, "journal is damaged: frame at offset %" PRIu64 ": %s",
		                      frame->offset, why);
	content->stage = content->error ? STAGE_FAILED : STAGE_READY;
	free(content->read);
	content->read = NULL;
	frames->reading--;
	frames->progress(frames->user);
}

static int begin_read(struct redo_content *content, uint32_t number)
{
	const struct redo_frame *frame = redo_index_frame(content->frames->index, number);
	uint64_t begin = frame->offset & ~(ALIGN - 1);
	uint64_t end = (frame->offset + frame->length + ALIGN - 1) & ~(ALIGN - 1);

	if (!content->raw)
		content->raw = aligned_alloc(BLOCK_SIZE, BLOCKS_RAW_MAX);
	if (!content->extents)
		content->extents = malloc(BLOCKS_EXTENTS_MAX * sizeof(*content->extents));
	content->read = aligned_alloc(ALIGN, end - begin);
	if (!content->raw || !content->extents || !content->read) {
		free(content->read);
		content->read = NULL;
		return -ENOMEM;
	}
	content->number = number;
	content->error = 0;
	content->stage = STAGE_READING;
	content->frames->reading++;
	content->io = (struct disk_io){
	        .op = DISK_READ,
	        .offset = begin,
	        .length = end - begin,
	        .data = content->read,
	        .done = read_done,
	};
	disk_submit(content->frames->journal, &content->io);
	return 0;
}

// The content of that frame, or the place that can best be done without; NULL:
// all are in use.
static struct redo_content *place_for(struct redo_frames *frames, uint32_t number)
{
	struct redo_content *best = NULL;

	for (unsigned i = 0; i < frames->depth; i++) {
		struct redo_content *content = &frames->contents[i];

		content->frames = frames;
		if (content->stage != STAGE_EMPTY && content->number == number)
			return content;
		if (content->stage == STAGE_READING || content->users > 0)
			continue;
		if (!best || content->used < best->used)
			best = content;
	}
	if (best)
		best->stage = STAGE_EMPTY;
	return best;
}

int redo_frames_get(struct redo_frames *frames, uint32_t number, struct redo_content **content, struct error *err)
{
	struct redo_content *place = place_for(frames, number);
	int error;

	if (!place)
		return -EAGAIN;
	place->used = ++frames->uses;
	switch (place->stage) {
	case STAGE_READY:
		place->users++;
		*content = place;
		return 0;
	case STAGE_FAILED:
		place->stage = STAGE_EMPTY; // the next one tries again
		*err = place->reason;
		return place->error;
	case STAGE_EMPTY:
		error = begin_read(place, number);
		if (error)
			return fail(err, -error, "no memory to redo");
		return -EAGAIN;
	default:
		return -EAGAIN;
	}
}

void redo_frames_put(struct redo_frames *frames, struct redo_content *content)
{
	(void)frames;
	content->users--;
}

void redo_frames_want(struct redo_frames *frames, uint32_t number)
{
	struct redo_content *place = place_for(frames, number);

	if (!place || place->stage != STAGE_EMPTY)
		return;
	place->used = ++frames->uses;
	(void)begin_read(place, number); // who needs it asks again
}

const uint8_t *redo_content_block(const struct redo_content *content, unsigned volume, uint64_t block, uint64_t *count)
{
	uint64_t raw = 0;

	if (content->volume != volume)
		return NULL;
	for (uint32_t i = 0; i < content->extent_count; i++) {
		const struct extent *extent = &content->extents[i];

		if (extent->zero)
			continue;
		if (block >= extent->first && block < extent->first + extent->count) {
			uint64_t left = extent->first + extent->count - block;

			if (*count > left)
				*count = left;
			return content->raw + (raw + block - extent->first) * BLOCK_SIZE;
		}
		raw += extent->count;
	}
	return NULL;
}
