// SPDX-License-Identifier: Apache-2.0
// How much content a frame may hold: so much that the channel takes it within a
// moment. Heartbeats wait behind a frame, and one that the end of the connection
// cuts off has travelled for nothing.
#include "parcel.h"

#define MOMENT (NSEC_PER_SEC / 2)
#define LOOK_NSEC (NSEC_PER_SEC / 5) // so long is looked at before it is judged
#define BLOCKS_FIRST 32 // before anything is known
#define FRAMES_MIN 4 // on their way, however slow it is

void fit_init(struct source *source)
{
	source->fit.blocks = BLOCKS_FIRST;
}

static void begin(struct source *source)
{
	source->fit.began = clock_now(source->clock);
	source->fit.wire = source->fit.raw = 0;
}

static uint64_t at_rate(uint64_t rate)
{
	uint64_t blocks = rate / (NSEC_PER_SEC / MOMENT) / BLOCK_SIZE;

	return blocks > PARCEL_BLOCKS ? PARCEL_BLOCKS : blocks ? blocks : 1;
}

void fit_sent(struct source *source)
{
	if (!source->fit.frames++)
		begin(source);
}

void fit_done(struct source *source, const struct message *message)
{
	struct fit *fit = &source->fit;
	uint64_t took = clock_now(source->clock) - fit->began, blocks;

	fit->frames--;
	fit->wire += message->wire_bytes;
	fit->raw += message->data_length;
	if (took < LOOK_NSEC && fit->frames)
		return;
	blocks = at_rate((uint64_t)((double)fit->wire * 1e9 / (double)(took ? took : 1)));
	// What buffers took at once says little.
	if (blocks > fit->blocks && fit->raw >= fit->blocks * BLOCK_SIZE)
		fit->blocks = blocks < fit->blocks * 2 ? (uint32_t)blocks : fit->blocks * 2;
	else if (blocks < fit->blocks && took >= LOOK_NSEC)
		fit->blocks = (uint32_t)blocks;
	begin(source);
}

void fit_lost(struct source *source)
{
	struct fit *fit = &source->fit;

	// It took less than that, whatever it was.
	if (fit->frames && clock_now(source->clock) - fit->began >= MOMENT && fit->blocks > 1)
		fit->blocks /= 2;
}

uint32_t fit_blocks(const struct source *source)
{
	uint64_t limit = source->config.bandwidth ? at_rate(source->config.bandwidth) : PARCEL_BLOCKS;

	return source->fit.blocks < limit ? source->fit.blocks : (uint32_t)limit;
}

unsigned fit_frames(const struct source *source, unsigned max)
{
	uint64_t frames = (uint64_t)fit_blocks(source) * max / PARCEL_BLOCKS;

	return frames < FRAMES_MIN ? FRAMES_MIN : (unsigned)frames;
}
