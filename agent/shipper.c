// SPDX-License-Identifier: Apache-2.0
// The walk over an epoch. Blocks are gathered into parcels, each of which
// becomes one BLOCKS frame; where content is compared first, a parcel is sent
// as COMPARE, waits for the answer, and then carries only what differs.
//
//   filling ─► reading ─► [COMPARE ─► DIFFER] ─► BLOCKS handed to the channel
#include "engine.h"

#include "common/mutant.h"

#include <stdlib.h>
#include <string.h>

#define PARCEL_BLOCKS (BLOCKS_RAW_MAX / BLOCK_SIZE)
#define PARCEL_EXTENTS 128
#define PARCELS_MAX 32
#define STEPS_MAX 1024 // of one parcel, where holes are passed over

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

// A standby that holds nothing need not be asked what it holds, and has zeroes
// already.
static bool nothing_there(const struct source *source)
{
	return source->capturing.kind == EPOCH_DIRECT && source->blank[source->cursor.volume];
}

static struct parcel *parcel_new(struct source *source)
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
	parcel->compare = source->capturing.compare && !nothing_there(source);
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

static void parcel_step(struct parcel *parcel);

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

static void parcel_step(struct parcel *parcel)
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

void shipper_differ(struct source *source, const struct wire_differ *differ)
{
	struct parcel *parcel = TAILQ_FIRST(&source->comparing);

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

static void piece_read(struct capture *capture, int error)
{
	struct parcel *parcel = container_of(capture, struct piece, capture)->parcel;
	struct source *source = parcel->source;

	parcel->reading--;
	if (parcel->cancelled) {
		if (!parcel->reading && !parcel->in_channel)
			parcel_release(parcel);
		return;
	}
	if (error) {
		epoch_widen(source, "read-error", "a changed block could not be read");
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
static void add_early(struct parcel *parcel, struct early_extent *extent)
{
	struct source *source = parcel->source;
	struct piece *piece = add_content(parcel, extent->first, extent->count);

	if (extent->data) {
		memcpy(piece->capture.data, extent->data, extent->count * BLOCK_SIZE);
	} else {
		parcel->reading++;
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
	source->cursor.block = extent->first + extent->count;
	early_drop(extent);
}

static void add_read(struct parcel *parcel, uint64_t first, uint32_t count)
{
	struct source *source = parcel->source;
	struct piece *piece = add_content(parcel, first, count);

	piece->capture.open_to_writes = source->capturing.kind == EPOCH_DIRECT;
	parcel->reading++;
	source->cursor.block = first + count;
	capture_start(&piece->capture);
}

enum fill_step {
	FILL_MORE,
	FILL_FULL, // what comes next does not fit: into the next parcel
	FILL_WAIT, // what comes next is just being captured early
	FILL_END, // of the epoch, or of the volume
};

static bool room_for(const struct parcel *parcel, uint32_t blocks)
{
	return parcel->blocks + blocks <= PARCEL_BLOCKS && parcel->extent_count < PARCEL_EXTENTS &&
	       !(parcel->compare && parcel->extent_count > 0 && !parcel->blocks);
}

static enum fill_step fill_zero(struct parcel *parcel, uint64_t first, uint64_t count)
{
	struct source *source = parcel->source;

	if (parcel->compare && parcel->blocks)
		return FILL_FULL;
	if (!nothing_there(source) && !add_extent(parcel, first, count, true))
		return FILL_FULL;
	source->cursor.block = first + count;
	return FILL_MORE;
}

// Blocks from block on that are frozen as zero and whose zeroes are on the
// disk.
static uint64_t zero_run(struct source *source, uint64_t block)
{
	const struct epoch *epoch = &source->capturing;
	unsigned index = source->cursor.volume;
	struct volume *volume = &source->volumes[index];
	uint64_t end = block;

	while (end < volume->blocks && end - block < UINT32_MAX / 2 && epoch_zero(epoch, index, end)) {
		uint64_t next = (end / GRANULE_BLOCKS + 1) * GRANULE_BLOCKS;

		if (next > volume->blocks)
			next = volume->blocks;
		if (tracker_in_flight(volume, end, next - end, epoch->number)) {
			// It may still fail: read what is there then.
			bitmap_clear(&epoch->set->zero[index], end / GRANULE_BLOCKS, 1);
			break;
		}
		end = next;
	}
	return end - block;
}

// How many blocks from block on are of one kind, hole or not, where everything
// is walked.
static bool hole_run(struct source *source, uint64_t block, uint64_t *count)
{
	struct volume *volume = &source->volumes[source->cursor.volume];
	uint64_t begin = block << BLOCK_SHIFT, length = volume->bytes - begin;
	bool hole = disk_hole(volume->disk, begin, &length);

	if (begin + length >= volume->bytes)
		*count = volume->blocks - block;
	else if (hole)
		*count = length >> BLOCK_SHIFT;
	else
		*count = bytes_to_blocks(length);
	if (!hole || !*count)
		return false;
	if (*count > UINT32_MAX)
		*count = UINT32_MAX;
	if (source->capturing.kind == EPOCH_DIRECT)
		return true;
	if (early_any(source->early))
		*count = epoch_run(source, source->cursor.volume, block,
		                   *count < STEPS_MAX ? (uint32_t)*count : STEPS_MAX);
	return !tracker_in_flight(volume, block, *count, source->capturing.number);
}

static enum fill_step fill_some(struct parcel *parcel)
{
	struct source *source = parcel->source;
	const struct epoch *epoch = &source->capturing;
	unsigned volume = parcel->start.volume;
	uint64_t block = epoch_next(epoch, source->volumes, volume, source->cursor.block);
	uint64_t count = PARCEL_BLOCKS, zeroes;
	struct early_extent *early;

	if (block == BITMAP_NONE)
		return FILL_END;
	early = early_find(source->early, volume, block);
	if (early && early->place == EARLY_READING)
		return FILL_WAIT;
	if (early) {
		if (!room_for(parcel, early->count))
			return FILL_FULL;
		add_early(parcel, early);
		return FILL_MORE;
	}
	zeroes = zero_run(source, block);
	if (zeroes)
		return fill_zero(parcel, block, zeroes);
	if (epoch->all && hole_run(source, block, &count))
		return fill_zero(parcel, block, count);
	if (!room_for(parcel, 1))
		return FILL_FULL;
	if (count > PARCEL_BLOCKS - parcel->blocks || !count)
		count = PARCEL_BLOCKS - parcel->blocks;
	add_read(parcel, block, epoch_run(source, volume, block, (uint32_t)count));
	return FILL_MORE;
}

static bool at_end(const struct source *source)
{
	return source->cursor.volume >= source->volume_count;
}

// Fills one parcel; false when the walk can go no further now.
static bool fill_parcel(struct source *source)
{
	struct parcel *parcel = parcel_new(source);
	enum fill_step step = FILL_MORE;

	if (!parcel) {
		epoch_widen(source, "no-memory", "no memory to ship it");
		return false;
	}
	for (unsigned i = 0; i < STEPS_MAX && step == FILL_MORE; i++)
		step = fill_some(parcel);
	if (step == FILL_END) {
		source->cursor.volume++;
		source->cursor.block = 0;
	}
	parcel_step(parcel);
	return step != FILL_WAIT;
}

static bool may_send(struct source *source)
{
	uint64_t now = clock_now(source->clock), rate = source->config.bandwidth;
	int64_t most = (int64_t)(rate / 4); // what an idle link may catch up at once

	if (!rate)
		return true;
	source->tokens += (int64_t)((double)(now - source->tokens_at) * (double)rate / 1e9);
	source->tokens_at = now;
	if (source->tokens > most)
		source->tokens = most;
	if (source->tokens >= 0)
		return true;
	clock_set(source->clock, &source->pace, now + (uint64_t)(-source->tokens) * 1000000 / rate * 1000 + 1000);
	return false;
}

static void begin(struct source *source)
{
	struct epoch *epoch = &source->capturing;
	struct wire_begin frame = {
	        .epoch = epoch->number,
	        .base = source->base,
	        .kind = epoch->kind,
	        .completes = epoch->completes,
	        .sync = source->map.sync,
	        .cut_wall = epoch->cut_wall,
	};
	uint8_t body[WIRE_BODY_MAX];

	epoch->begun = true;
	uplink_send(source, FRAME_BEGIN, body, wire_put_begin(body, &frame));
}

static void end(struct source *source)
{
	struct wire_end frame = {.epoch = source->capturing.number};
	uint8_t body[WIRE_BODY_MAX];

	uplink_send(source, FRAME_END, body, wire_put_end(body, &frame));
	epoch_captured(source);
}

void shipper_pump(struct source *source)
{
	if (!source->capturing.number || !uplink_ready(source) || source->pumping || source->stopping)
		return;
	// After a power failure the log must know every epoch that the standby
	// may have.
	if (intent_noted_cut(source->intent) < source->capturing.number && !MUTANT(CUT_NOT_NOTED))
		return;
	source->pumping = true;
	if (!source->capturing.begun)
		begin(source);
	while (source->capturing.number && !at_end(source) && source->parcel_count < PARCELS_MAX && may_send(source))
		if (!fill_parcel(source))
			break;
	source->pumping = false;
	if (source->capturing.number && uplink_ready(source) && at_end(source) && TAILQ_EMPTY(&source->parcels))
		end(source);
}

void shipper_cancel(struct source *source)
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

// Everything before it was handed to the channel.
static struct position handed_to(const struct source *source)
{
	const struct parcel *parcel = TAILQ_FIRST(&source->parcels);

	return parcel ? parcel->start : source->cursor;
}

static bool same_position(struct position a, struct position b)
{
	return a.volume == b.volume && a.block == b.block;
}

void shipper_mark(struct source *source)
{
	struct position to = handed_to(source);
	struct wire_mark mark = {.volume = to.volume, .block = to.block};
	uint8_t body[WIRE_BODY_MAX];

	if (!source->capturing.number || source->capturing.kind != EPOCH_DIRECT || !source->capturing.begun ||
	    !uplink_ready(source) || !same_position(source->marked, source->marked_sent) ||
	    same_position(to, source->marked))
		return;
	source->marked_sent = to;
	uplink_send(source, FRAME_MARK, body, wire_put_mark(body, &mark));
}

static void paced(struct timer *timer)
{
	shipper_pump(container_of(timer, struct source, pace));
}

void shipper_init(struct source *source)
{
	TAILQ_INIT(&source->parcels);
	TAILQ_INIT(&source->comparing);
	TAILQ_INIT(&source->every);
	TAILQ_INIT(&source->idle);
	source->pace.fire = paced;
	source->tokens_at = clock_now(source->clock);
}

void shipper_trim(struct source *source)
{
	struct parcel *parcel;

	while (!source->capturing.number && (parcel = TAILQ_FIRST(&source->idle))) {
		TAILQ_REMOVE(&source->idle, parcel, link);
		free(parcel->data);
		free(parcel);
	}
}

void shipper_free(struct source *source)
{
	struct parcel *parcel;

	while ((parcel = TAILQ_FIRST(&source->every)))
		parcel_release(parcel);
	source->capturing.number = 0;
	shipper_trim(source);
}

void shipper_sync_progress(const struct source *source, uint64_t *done, uint64_t *total)
{
	struct position to = source->capturing.number ? handed_to(source) : source->marked;

	*done = 0;
	*total = 0;
	for (unsigned i = 0; i < source->volume_count; i++) {
		uint64_t blocks = source->volumes[i].blocks;

		*total += source->volumes[i].bytes;
		if (i < to.volume)
			*done += source->volumes[i].bytes;
		else if (i == to.volume)
			*done += to.block < blocks ? to.block << BLOCK_SHIFT : source->volumes[i].bytes;
	}
}
