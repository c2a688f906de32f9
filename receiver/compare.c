// SPDX-License-Identifier: Apache-2.0
// COMPARE: the blocks that the primary asks about are read and hashed, and it
// is told which of them differ, in the order of its questions.
#include "sink_impl.h"

#include "common/mutant.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define COMPARES_MAX 4 // under way

struct compare;

struct compare_io {
	struct disk_io io;
	struct compare *compare;
	uint8_t *beyond; // content that lies beyond the end of the volume
	size_t beyond_length;
};

struct compare {
	struct sink *sink;
	struct compare *next;
	uint64_t session;
	uint64_t epoch;
	unsigned volume;
	uint32_t blocks;
	unsigned reading;
	int error;
	uint64_t error_offset;
	struct compare_io ios[COMPARE_BLOCKS_MAX];
	uint8_t theirs[COMPARE_BLOCKS_MAX * BLOCKHASH_BYTES];
	uint8_t ours[COMPARE_BLOCKS_MAX * BLOCKHASH_BYTES];
	uint8_t *content; // BLOCKS_RAW_MAX
};

static void free_list(struct compare *compare)
{
	while (compare) {
		struct compare *next = compare->next;

		free(compare->content);
		free(compare);
		compare = next;
	}
}

void compare_free(struct sink *sink)
{
	free_list(sink->compares);
	free_list(sink->spare_compares);
	sink->compares = NULL;
	sink->spare_compares = NULL;
}

bool compare_idle(const struct sink *sink)
{
	return sink->compares == NULL;
}

static int take_spare(struct sink *sink, struct compare **taken)
{
	struct compare *compare = sink->spare_compares;

	if (compare) {
		sink->spare_compares = compare->next;
	} else if (sink->compare_count == COMPARES_MAX) {
		return -EAGAIN;
	} else {
		compare = calloc(1, sizeof(*compare));
		if (compare)
			compare->content = aligned_alloc(BLOCK_SIZE, BLOCKS_RAW_MAX);
		if (!compare || !compare->content) {
			free(compare);
			return -ENOMEM;
		}
		compare->sink = sink;
		sink->compare_count++;
	}
	*taken = compare;
	return 0;
}

static void answer(struct sink *sink, const struct compare *compare)
{
	struct wire_differ differ = {.epoch = compare->epoch, .block_count = compare->blocks};
	uint8_t body[WIRE_BODY_MAX];
	struct error err;

	if (sink->session.stage != SESSION_OPEN || sink->session.number != compare->session)
		return;
	if (compare->error) {
		fail(&err, -compare->error, "read volume %s at offset %" PRIu64 ": %s",
		     sink->state.volumes[compare->volume].name, compare->error_offset, strerror(-compare->error));
		session_end(sink, err.text);
		return;
	}
	for (uint32_t i = 0; i < compare->blocks; i++) {
		if (memcmp(compare->ours + i * BLOCKHASH_BYTES, compare->theirs + i * BLOCKHASH_BYTES,
		           BLOCKHASH_BYTES) != 0)
			differ.bitmap[i / 8] |= (uint8_t)(1 << i % 8);
	}
	session_send(sink, FRAME_DIFFER, body, wire_put_differ(body, &differ));
}

static void read_done(struct disk_io *io, int error)
{
	struct compare_io *read = (struct compare_io *)((char *)io - offsetof(struct compare_io, io));
	struct compare *compare = read->compare;
	struct sink *sink = compare->sink;

	memset(read->beyond, 0, read->beyond_length);
	if (error) {
		compare->error = error;
		compare->error_offset = io->offset;
	}
	if (--compare->reading > 0)
		return;
	if (!compare->error && sink->session.hash && sink->session.number == compare->session)
		blockhash_blocks(sink->session.hash, compare->content, compare->blocks, compare->ours);
	while (sink->compares && sink->compares->reading == 0) {
		compare = sink->compares;
		answer(sink, compare);
		sink->compares = compare->next;
		compare->next = sink->spare_compares;
		sink->spare_compares = compare;
	}
	sink_advance(sink);
}

// The disk is read in units of its own and may be longer than the volume; what
// lies beyond the end of the volume counts as zeroes.
static void read_extent(struct compare *compare, unsigned index, const struct extent *extent, uint8_t *to)
{
	struct sink *sink = compare->sink;
	struct disk *disk = sink->config.volumes[compare->volume];
	uint64_t offset = extent->first * BLOCK_SIZE, length = extent->count * BLOCK_SIZE;
	uint64_t bytes = sink->state.volumes[compare->volume].bytes;

	if (offset + length > bytes)
		length = (bytes + disk->align - 1) / disk->align * disk->align - offset;
	if (offset + length > disk->size)
		length = disk->size - offset;
	compare->ios[index].compare = compare;
	compare->ios[index].beyond = to;
	compare->ios[index].beyond_length = 0;
	if (offset + extent->count * BLOCK_SIZE > bytes) {
		compare->ios[index].beyond = to + (bytes - offset);
		compare->ios[index].beyond_length = offset + extent->count * BLOCK_SIZE - bytes;
	}
	compare->ios[index].io = (struct disk_io){
	        .op = DISK_READ,
	        .flags = disk_stream(disk),
	        .offset = offset,
	        .length = length,
	        .data = to,
	        .done = read_done,
	};
	compare->reading++;
	disk_submit(disk, &compare->ios[index].io);
}

static bool may_read(const struct sink *sink, const struct wire_blocks *blocks)
{
	if (MUTANT(COMPARE_BEFORE_APPLIED) && sink->session.mode == MODE_ATOMIC)
		return true;
	if (sink->session.mode == MODE_ATOMIC)
		return apply_done(sink->apply);
	if (sink->direct.stage != DIRECT_READY)
		return false;
	for (uint32_t i = 0; i < blocks->extent_count; i++) {
		struct extent extent = blocks_extent(blocks, i);

		if (volumes_busy(sink->volumes, blocks->volume, extent.first, extent.count))
			return false;
	}
	return true;
}

int compare_take(struct sink *sink, const struct wire_blocks *blocks, struct error *err)
{
	struct compare *compare, **link = &sink->compares;
	int error;

	if (blocks->extent_count == 0 || blocks->extent_count > COMPARE_BLOCKS_MAX)
		return fail(err, EPROTO, "COMPARE frame has %" PRIu32 " extents, must have 1 to %d",
		            blocks->extent_count, (int)COMPARE_BLOCKS_MAX);
	if (!may_read(sink, blocks))
		return -EAGAIN;
	error = take_spare(sink, &compare);
	if (error == -ENOMEM)
		return fail(err, ENOMEM, "no memory to compare");
	if (error)
		return error;
	compare->next = NULL;
	compare->session = sink->session.number;
	compare->epoch = sink->session.begin.epoch;
	compare->volume = blocks->volume;
	compare->blocks = blocks->raw_length / (uint32_t)BLOCK_SIZE;
	compare->error = 0;
	memcpy(compare->theirs, blocks->payload, blocks->payload_length);
	while (*link)
		link = &(*link)->next;
	*link = compare;
	compare->reading = 0;
	for (uint32_t i = 0, done = 0; i < blocks->extent_count; i++) {
		struct extent extent = blocks_extent(blocks, i);

		read_extent(compare, i, &extent, compare->content + done * BLOCK_SIZE);
		done += extent.count;
	}
	return 0;
}
