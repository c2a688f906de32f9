// SPDX-License-Identifier: Apache-2.0
// The walk over an epoch, in device order, from parcel to parcel.
#include "parcel.h"

#include "common/mutant.h"

#define PARCELS_MAX 32
#define PARCELS_AT_ONCE 4 // then requests come first: filling one may be copying all of it
#define STEPS_MAX 1024 // of one parcel, where holes are passed over

// While requests are served, reads take their turns on the disk: so many of a
// parcel at a time, and none of another one before few are left.
#define READS_BESIDE 8
#define READS_LEFT 4
#define LULL_NSEC (10 * NSEC_PER_MSEC) // none for so long: the disk is free

// A standby that holds nothing need not be asked what it holds, and has zeroes
// already.
static bool nothing_there(const struct source *source)
{
	return source->capturing.kind == EPOCH_DIRECT && source->capturing.all && source->blank[source->cursor.volume];
}

enum fill_step {
	FILL_MORE,
	FILL_FULL, // what comes next does not fit: into the next parcel
	FILL_WAIT, // what comes next is just being captured early
	FILL_END, // of the epoch, or of the volume
};

static void pass(struct source *source, uint64_t first, uint64_t count)
{
	source->cursor.block = first + count;
	source->passed += count;
}

static enum fill_step fill_zero(struct source *source, struct parcel *parcel, uint64_t first, uint64_t count)
{
	if (!nothing_there(source) && !parcel_add_zero(parcel, first, count))
		return FILL_FULL;
	pass(source, first, count);
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
// is walked. The disk may have to look through all of the data to find its end,
// so it is asked once for each run of data; what becomes a hole meanwhile is
// read as zeroes.
static bool hole_run(struct source *source, uint64_t block, uint64_t *count)
{
	struct volume *volume = &source->volumes[source->cursor.volume];
	uint64_t begin = block << BLOCK_SHIFT, length = volume->bytes - begin;
	bool hole;

	if (block < source->data_end) {
		*count = source->data_end - block;
		return false;
	}
	hole = disk_hole(volume->disk, begin, &length);
	if (begin + length >= volume->bytes)
		*count = volume->blocks - block;
	else if (hole)
		*count = length >> BLOCK_SHIFT;
	else
		*count = bytes_to_blocks(length);
	if (!hole)
		source->data_end = block + *count;
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

static enum fill_step fill_some(struct source *source, struct parcel *parcel)
{
	const struct epoch *epoch = &source->capturing;
	unsigned volume = parcel_start(parcel).volume;
	uint64_t block = epoch_next(epoch, source->volumes, volume, source->cursor.block);
	uint64_t count = PARCEL_BLOCKS, zeroes;
	uint32_t recent;
	struct early_extent *early;

	if (block == BITMAP_NONE)
		return FILL_END;
	early = early_find(source->early, volume, block);
	if (early && early->place == EARLY_READING)
		return FILL_WAIT;
	if (early) {
		if (!parcel_fits(parcel, early->count))
			return FILL_FULL;
		pass(source, early->first, early->count);
		parcel_add_early(parcel, early);
		return FILL_MORE;
	}
	zeroes = zero_run(source, block);
	if (zeroes)
		return fill_zero(source, parcel, block, zeroes);
	if (epoch->all && hole_run(source, block, &count))
		return fill_zero(source, parcel, block, count);
	if (!parcel_fits(parcel, 1))
		return FILL_FULL;
	if (source->beside_requests && parcel_reading(parcel) >= READS_BESIDE)
		return FILL_FULL;
	if (count > parcel_room(parcel) || !count)
		count = parcel_room(parcel);
	count = epoch_run(source, volume, block, (uint32_t)count);
	recent = parcel_add_recent(parcel, block, (uint32_t)count);
	pass(source, block, recent ? recent : count);
	if (!recent)
		parcel_add_read(parcel, block, (uint32_t)count);
	return FILL_MORE;
}

static bool at_end(const struct source *source)
{
	return source->cursor.volume >= source->volume_count;
}

// Fills one parcel; false when the walk can go no further now.
static bool fill_parcel(struct source *source)
{
	struct parcel *parcel = parcel_new(source, source->capturing.compare && !nothing_there(source));
	enum fill_step step = FILL_MORE;

	if (!parcel) {
		epoch_widen(source, TROUBLE_NO_MEMORY, "no memory to ship it");
		return false;
	}
	for (unsigned i = 0; i < STEPS_MAX && step == FILL_MORE; i++)
		step = fill_some(source, parcel);
	if (step == FILL_END) {
		source->cursor.volume++;
		source->cursor.block = 0;
		source->data_end = 0;
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
	if (source->tokens < 0) {
		clock_set(source->clock, &source->pace,
		          now + (uint64_t)(-source->tokens) * 1000000 / rate * 1000 + 1000);
		return false;
	}
	// Those in use are not counted yet; the end of each leads back here.
	return !source->parcel_count ||
	       (double)source->tokens >= source->parcel_count * (double)BLOCKS_RAW_MAX * source->cadence.ratio;
}

static void begin(struct source *source)
{
	struct epoch *epoch = &source->capturing;
	struct wire_begin frame = {
	        .epoch = epoch->number,
	        .base = source->base,
	        .kind = epoch->kind,
	        .completes = epoch->completes,
	        .adopts = epoch->adopts,
	        .partial = epoch->kind == EPOCH_DIRECT && !epoch->all,
	        .sync = source->map.sync,
	        .cut_wall = epoch->cut_wall,
	};
	uint8_t body[WIRE_BODY_MAX];

	epoch->begun = true;
	source->data_end = 0;
	if (epoch->kind == EPOCH_DIRECT)
		source->durable = 0;
	uplink_send(source, FRAME_BEGIN, body, wire_put_begin(body, &frame));
}

static void end(struct source *source)
{
	struct wire_end frame = {.epoch = source->capturing.number};
	uint8_t body[WIRE_BODY_MAX];

	uplink_send(source, FRAME_END, body, wire_put_end(body, &frame));
	epoch_captured(source);
}

// With few requests at a time there is often none at this very moment.
static bool beside_requests(struct source *source)
{
	uint64_t now = clock_now(source->clock);

	if (source->requests || source->served)
		source->served_at = now;
	source->served = false;
	return source->served_at && now - source->served_at < LULL_NSEC;
}

void shipper_pump(struct source *source)
{
	unsigned filled = 0;

	if (!source->capturing.number || !uplink_ready(source) || source->pumping || source->stopping)
		return;
	// After a power failure the log must know every epoch that the standby
	// may have.
	if (intent_noted_cut(source->intent) < source->capturing.number && !MUTANT(CUT_NOT_NOTED))
		return;
	source->pumping = true;
	source->beside_requests = beside_requests(source);
	if (!source->capturing.begun)
		begin(source);
	while (source->capturing.number && !at_end(source) && source->parcel_count < PARCELS_MAX && may_send(source)) {
		if (source->beside_requests && source->parcel_reads >= READS_LEFT)
			break;
		if (filled++ == PARCELS_AT_ONCE) {
			clock_set(source->clock, &source->pace, clock_now(source->clock));
			break;
		}
		if (!fill_parcel(source))
			break;
	}
	source->pumping = false;
	if (source->capturing.number && uplink_ready(source) && at_end(source) && TAILQ_EMPTY(&source->parcels))
		end(source);
}

// Everything before it was handed to the channel.
static struct position handed_to(const struct source *source)
{
	const struct parcel *parcel = TAILQ_FIRST(&source->parcels);

	return parcel ? parcel_start(parcel) : source->cursor;
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
	    !uplink_ready(source) || source->marking || same_position(to, source->marked))
		return;
	source->marking = true;
	source->mark_epoch = source->capturing.number;
	source->marked_sent = to;
	uplink_send(source, FRAME_MARK, body, wire_put_mark(body, &mark));
	if (MUTANT(MARKED_BITS_LOST) && source->capturing.set)
		oversize_leave(source, to);
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

void shipper_sync_progress(const struct source *source, uint64_t *done, uint64_t *total)
{
	struct position to = source->capturing.number ? handed_to(source) : source->marked;

	*done = 0;
	*total = 0;
	if (source->plan == PLAN_WALK) {
		*total = source->capturing.number ? source->walk_blocks << BLOCK_SHIFT : source_behind(source);
		*done = source->capturing.number ? source->passed << BLOCK_SHIFT : 0;
		return;
	}
	for (unsigned i = 0; i < source->volume_count; i++) {
		uint64_t blocks = source->volumes[i].blocks;

		*total += source->volumes[i].bytes;
		if (i < to.volume)
			*done += source->volumes[i].bytes;
		else if (i == to.volume)
			*done += to.block < blocks ? to.block << BLOCK_SHIFT : source->volumes[i].bytes;
	}
}
