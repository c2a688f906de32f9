// SPDX-License-Identifier: Apache-2.0
#include "parcel.h"

#include <stdlib.h>
#include <string.h>

#define PARCEL_EXTENTS 128

struct piece {
	struct capture capture;
	struct parcel *parcel;
};

struct parcel {
	struct source *source;
	TAILQ_ENTRY(parcel) link; // in parcels, or idle
	TAILQ_ENTRY(parcel) waiting; // in comparing
	TAILQ_ENTRY(parcel) any; // in every
	struct message message;
	struct position start;
	struct extent extents[PARCEL_EXTENTS];
	unsigned extent_count;
	uint32_t blocks; // of content
	uint8_t *data;
	struct piece pieces[PARCEL_BLOCKS];
	unsigned piece_count, reading;
	bool compare; // content is to be compared first
	bool asked, answered; // COMPARE sent, DIFFER received
	bool in_channel;
	bool handed; // BLOCKS were given to the channel
	bool cancelled;
	struct wire_differ differ;
	uint8_t body[16 + PARCEL_EXTENTS * 16];
};

_Static_assert(PARCEL_EXTENTS <= BLOCKS_EXTENTS_SEND_MAX, "the encoder has room to split");

struct parcel *parcel_new(struct source *source, bool compare)
{
	struct parcel *parcel = TAILQ_FIRST(&source->idle);
	uint8_t *data;

	if (parcel) {
		TAILQ_REMOVE(&source->idle, parcel, link);
		data = parcel->data;
	} else {
		parcel = malloc(sizeof(*parcel));
		data = aligned_alloc(BLOCK_SIZE, BLOCKS_RAW_MAX);
		if (!parcel || !data) {
			free(parcel);
			free(data);
			return NULL;
		}
	}
	memset(parcel, 0, offsetof(struct parcel, extents));
	parcel->source = source;
	parcel->start = source->cursor;
	parcel->extent_count = 0;
	parcel->blocks = 0;
	parcel->data = data;
	parcel->piece_count = 0;
	parcel->reading = 0;
	parcel->compare = compare;
	parcel->asked = parcel->answered = parcel->in_channel = parcel->handed = parcel->cancelled = false;
	TAILQ_INSERT_TAIL(&source->parcels, parcel, link);
	TAILQ_INSERT_TAIL(&source->every, parcel, any);
	source->parcel_count++;
	return parcel;
}

// Taken off all lists but every before.
static void parcel_release(struct parcel *parcel)
{
	struct source *source = parcel->source;

	TAILQ_REMOVE(&source->every, parcel, any);
	TAILQ_INSERT_TAIL(&source->idle, parcel, link);
	source->parcel_count--;
	if (source->stopping)
		source_check_stopped(source);
}

static void message_done(struct message *message)
{
	struct parcel *parcel = container_of(message, struct parcel, message);
	struct source *source = parcel->source;

	parcel->in_channel = false;
	source->tokens -= (int64_t)message->wire_bytes;
	source->shipped.total += message->wire_bytes;
	if (parcel->handed || (parcel->cancelled && !parcel->reading))
		parcel_release(parcel);
	else
		parcel_step(parcel);
	shipper_pump(source);
}

static void send_parcel(struct parcel *parcel, enum frame_type type)
{
	parcel->message = (struct message){
	        .type = type,
	        .body = parcel->body,
	        .body_length =
	                wire_put_blocks(parcel->body, parcel->start.volume, parcel->extents, parcel->extent_count),
	        .data = parcel->data,
	        .data_length = parcel->blocks * BLOCK_SIZE,
	        .rate_limit = parcel->source->config.bandwidth,
	        .done = message_done,
	};
	parcel->in_channel = true;
	channel_send(parcel->source->channel, &parcel->message);
}

static void keep_block(struct parcel *parcel, uint64_t block, uint32_t from)
{
	struct extent *last = parcel->extent_count ? &parcel->extents[parcel->extent_count - 1] : NULL;

	if (from != parcel->blocks)
		memcpy(parcel->data + parcel->blocks * BLOCK_SIZE, parcel->data + from * BLOCK_SIZE, BLOCK_SIZE);
	parcel->blocks++;
	if (last && last->first + last->count == block)
		last->count++;
	else
		parcel->extents[parcel->extent_count++] = (struct extent){.first = block, .count = 1};
}

// Leaves in the parcel what the standby does not have.
static void keep_differing(struct parcel *parcel)
{
	struct extent extents[PARCEL_BLOCKS];
	unsigned extent_count = parcel->extent_count;
	uint32_t index = 0;

	memcpy(extents, parcel->extents, extent_count * sizeof(extents[0]));
	parcel->extent_count = 0;
	parcel->blocks = 0;
	for (unsigned i = 0; i < extent_count; i++)
		for (uint32_t j = 0; j < extents[i].count; j++, index++)
			if (parcel->differ.bitmap[index / 8] >> (index % 8) & 1)
				keep_block(parcel, extents[i].first + j, index);
}

static void hand_over(struct parcel *parcel)
{
	TAILQ_REMOVE(&parcel->source->parcels, parcel, link);
	parcel->handed = true;
	if (parcel->extent_count)
		send_parcel(parcel, FRAME_BLOCKS);
	else
		parcel_release(parcel);
}

void parcel_step(struct parcel *parcel)
{
	if (parcel->reading || parcel->in_channel || parcel->cancelled)
		return;
	if (parcel->compare && parcel->blocks && !parcel->asked) {
		parcel->asked = true;
		TAILQ_INSERT_TAIL(&parcel->source->comparing, parcel, waiting);
		send_parcel(parcel, FRAME_COMPARE);
		return;
	}
	if (parcel->asked && !parcel->answered)
		return;
	if (parcel->answered)
		keep_differing(parcel);
	hand_over(parcel);
}

void parcels_differ(struct source *source, const struct wire_differ *differ)
{
	struct parcel *parcel = TAILQ_FIRST(&source->comparing);

	if (!source->capturing.number || differ->epoch != source->capturing.number)
		return; // of an epoch that was given up
	if (!parcel || parcel->blocks != differ->block_count) {
		uplink_lost(source, "the standby answered a comparison that was not asked for");
		return;
	}
	TAILQ_REMOVE(&source->comparing, parcel, waiting);
	parcel->differ = *differ;
	parcel->answered = true;
	parcel_step(parcel);
	shipper_pump(source);
}

static void expect_read(struct parcel *parcel)
{
	parcel->reading++;
	parcel->source->parcel_reads++;
}

static void piece_read(struct capture *capture, int error)
{
	struct parcel *parcel = container_of(capture, struct piece, capture)->parcel;
	struct source *source = parcel->source;

	parcel->reading--;
	source->parcel_reads--;
	if (parcel->cancelled) {
		if (!parcel->reading && !parcel->in_channel)
			parcel_release(parcel);
		shipper_pump(source); // those of the next epoch may have waited for it
		return;
	}
	if (error) {
		epoch_widen(source, TROUBLE_READ_ERROR, "a changed block could not be read");
		return;
	}
	parcel_step(parcel);
	shipper_pump(source);
}

static void spill_read(struct disk_io *io, int error)
{
	struct capture *capture = container_of(io, struct capture, io);

	capture->source->reads--;
	piece_read(capture, error);
}

static bool add_extent(struct parcel *parcel, uint64_t first, uint64_t count, bool zero)
{
	if (parcel->extent_count == PARCEL_EXTENTS || count > UINT32_MAX)
		return false;
	parcel->extents[parcel->extent_count++] =
	        (struct extent){.first = first, .count = (uint32_t)count, .zero = zero};
	return true;
}

static struct piece *add_content(struct parcel *parcel, uint64_t first, uint32_t count)
{
	struct piece *piece = &parcel->pieces[parcel->piece_count++];

	add_extent(parcel, first, count, false);
	*piece = (struct piece){.parcel = parcel};
	piece->capture.source = parcel->source;
	piece->capture.volume = parcel->start.volume;
	piece->capture.range.first = first;
	piece->capture.range.count = count;
	piece->capture.data = parcel->data + parcel->blocks * BLOCK_SIZE;
	piece->capture.done = piece_read;
	parcel->blocks += count;
	return piece;
}

// Content that was captured early moves from the store into the parcel.
void parcel_add_early(struct parcel *parcel, struct early_extent *extent)
{
	struct source *source = parcel->source;
	struct piece *piece = add_content(parcel, extent->first, extent->count);

	if (extent->data) {
		memcpy(piece->capture.data, extent->data, extent->count * BLOCK_SIZE);
	} else {
		expect_read(parcel);
		source->reads++;
		piece->capture.io = (struct disk_io){
		        .op = DISK_READ,
		        .offset = extent->spill_offset,
		        .length = extent->count * BLOCK_SIZE,
		        .data = piece->capture.data,
		        .done = spill_read,
		};
		disk_submit(source->config.spill, &piece->capture.io);
	}
	early_drop(extent);
}

uint32_t parcel_add_recent(struct parcel *parcel, uint64_t first, uint32_t count)
{
	uint8_t *to = parcel->data + parcel->blocks * BLOCK_SIZE;
	const uint8_t *data;
	uint32_t added = 0;

	while (added < count && (data = recent_find(parcel->source->recent, parcel->start.volume, first + added)))
		memcpy(to + added++ * BLOCK_SIZE, data, BLOCK_SIZE);
	if (added)
		add_content(parcel, first, added);
	return added;
}

void parcel_add_read(struct parcel *parcel, uint64_t first, uint32_t count)
{
	struct source *source = parcel->source;
	struct piece *piece = add_content(parcel, first, count);

	piece->capture.open_to_writes = source->capturing.kind == EPOCH_DIRECT;
	piece->capture.heedless = piece->capture.open_to_writes && source->capturing.all;
	piece->capture.stream = source->capturing.all;
	expect_read(parcel);
	capture_start(&piece->capture);
}

bool parcel_fits(const struct parcel *parcel, uint32_t blocks)
{
	return parcel->blocks + blocks <= PARCEL_BLOCKS && parcel->extent_count < PARCEL_EXTENTS &&
	       !(parcel->compare && parcel->extent_count > 0 && !parcel->blocks);
}

uint32_t parcel_room(const struct parcel *parcel)
{
	return (uint32_t)PARCEL_BLOCKS - parcel->blocks;
}

// Content that is compared first, and zeroes, travel apart.
bool parcel_add_zero(struct parcel *parcel, uint64_t first, uint64_t count)
{
	return !(parcel->compare && parcel->blocks) && add_extent(parcel, first, count, true);
}

unsigned parcel_reading(const struct parcel *parcel)
{
	return parcel->reading;
}

struct position parcel_start(const struct parcel *parcel)
{
	return parcel->start;
}

void parcels_cancel(struct source *source)
{
	struct parcel *parcel;

	TAILQ_INIT(&source->comparing);
	while ((parcel = TAILQ_FIRST(&source->parcels))) {
		TAILQ_REMOVE(&source->parcels, parcel, link);
		parcel->cancelled = true;
		if (!parcel->reading && !parcel->in_channel)
			parcel_release(parcel);
	}
}

void parcels_trim(struct source *source)
{
	struct parcel *parcel;

	while (!source->capturing.number && (parcel = TAILQ_FIRST(&source->idle))) {
		TAILQ_REMOVE(&source->idle, parcel, link);
		free(parcel->data);
		free(parcel);
	}
}

void parcels_free(struct source *source)
{
	struct parcel *parcel;

	while ((parcel = TAILQ_FIRST(&source->every)))
		parcel_release(parcel);
	source->capturing.number = 0;
	parcels_trim(source);
}
