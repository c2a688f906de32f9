// SPDX-License-Identifier: Apache-2.0
// Reads of what cannot be redone for now, as the volume does not take it: what
// the journal has is laid over what the volume holds.
#include "redo_impl.h"

#include "common/mutant.h"

#include <errno.h>
#include <string.h>

static void ended(struct disk_io *io, int error)
{
	struct around *around = (struct around *)((char *)io - offsetof(struct around, io));

	around->reading = false;
	around->error = error;
	redo_pump(around->redo);
}

bool read_around(struct redo *redo, struct disk_io *request)
{
	struct wrapped *wrapped = (struct wrapped *)request->disk;
	uint64_t size = redo->config.region_blocks * BLOCK_SIZE;
	struct around *around = redo->arounds;

	while (around < redo->arounds + AROUNDS_MAX && around->request)
		around++;
	if (around == redo->arounds + AROUNDS_MAX)
		return false;
	*around = (struct around){.redo = redo, .first = request->offset / size, .next = request->offset / BLOCK_SIZE};
	if (bitmap_init(&around->pending, (request->offset + request->length - 1) / size - around->first + 1) < 0)
		return false; // tried again when something has changed
	// A region that is redone while this read is under way may be written to, too.
	for (uint64_t region = bitmap_next(&wrapped->pending, around->first);
	     region != BITMAP_NONE && region - around->first < around->pending.bits;
	     region = bitmap_next(&wrapped->pending, region + 1))
		bitmap_set(&around->pending, region - around->first, 1);
	around->request = request;
	around->reading = true;
	around->io = (struct disk_io){.op = DISK_READ,
	                              .flags = request->flags,
	                              .offset = request->offset,
	                              .length = request->length,
	                              .data = request->data,
	                              .done = ended};
	disk_submit(wrapped->raw, &around->io);
	return true;
}

// The part of the request that these blocks are.
static uint8_t *part_of(const struct around *around, uint64_t block, uint64_t count, uint64_t *skip, uint64_t *length)
{
	const struct disk_io *request = around->request;
	uint64_t begin = block * BLOCK_SIZE, end = begin + count * BLOCK_SIZE;
	uint64_t from = begin > request->offset ? begin : request->offset;

	if (end > request->offset + request->length)
		end = request->offset + request->length;
	*skip = from - begin;
	*length = end - from;
	return (uint8_t *)request->data + (from - request->offset);
}

// 0, -EAGAIN, or why the journal does not give it.
static int lay(struct around *around, const struct redo_segment *segment)
{
	struct redo *redo = around->redo;
	struct wrapped *wrapped = (struct wrapped *)around->request->disk;
	uint64_t count = segment->count, skip, length;
	struct redo_content *content = NULL;
	const uint8_t *data = NULL;
	struct error err;
	uint8_t *to;
	int error = 0;

	if (segment->frame != REDO_ZERO) {
		error = redo_frames_get(redo->frames, segment->frame, &content, &err);
		if (error)
			return error;
		data = redo_content_block(content, wrapped->flush.volume, segment->first, &count);
		if (!data)
			error = -EILSEQ;
	}
	if (!error) {
		to = part_of(around, segment->first, count, &skip, &length);
		if (!MUTANT(READ_AROUND_STALE)) {
			if (data)
				memcpy(to, data + skip, length);
			else
				memset(to, 0, length);
		}
		around->laid += length;
		around->next = segment->first + count;
	}
	if (content)
		redo_frames_put(redo->frames, content);
	return error;
}

// Goes on with what the journal has of it. -EAGAIN: it has to wait.
static int lay_all(struct around *around)
{
	const struct disk_io *request = around->request;
	struct redo *redo = around->redo;
	uint64_t end = (request->offset + request->length + BLOCK_SIZE - 1) / BLOCK_SIZE;
	unsigned volume = ((struct wrapped *)request->disk)->flush.volume;
	uint64_t size = redo->config.region_blocks;
	int error = 0;

	while (!error && around->next < end) {
		uint64_t region = around->next / size, stop = (region + 1) * size < end ? (region + 1) * size : end;
		struct redo_segment segment;

		if (!bitmap_test(&around->pending, region - around->first) ||
		    !redo_index_next(redo->index, volume, around->next, &segment) || segment.first >= stop) {
			around->next = stop;
			continue;
		}
		if (segment.count > stop - segment.first)
			segment.count = stop - segment.first;
		error = lay(around, &segment);
	}
	return error;
}

void reads_advance(struct redo *redo)
{
	for (unsigned i = 0; i < AROUNDS_MAX; i++) {
		struct around *around = &redo->arounds[i];
		struct disk_io *request = around->request;
		int error;

		if (!request || around->reading)
			continue;
		error = lay_all(around);
		if (error == -EAGAIN)
			continue;
		// What the volume cannot give is not missed where the journal has all of it.
		if (!error && around->laid < request->length)
			error = around->error;
		bitmap_destroy(&around->pending);
		around->request = NULL;
		redo->again = true;
		request->done(request, error == -EILSEQ ? -EIO : error);
	}
}

bool reads_idle(const struct redo *redo)
{
	for (unsigned i = 0; i < AROUNDS_MAX; i++)
		if (redo->arounds[i].request)
			return false;
	return true;
}

void reads_free(struct redo *redo)
{
	for (unsigned i = 0; i < AROUNDS_MAX; i++)
		if (redo->arounds[i].request)
			bitmap_destroy(&redo->arounds[i].pending);
}
