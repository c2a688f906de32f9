// SPDX-License-Identifier: Apache-2.0
#include "redo_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_AHEAD 32 // regions that one request wants at once

static const struct disk_ops wrapped_ops;

uint64_t redo_log_bytes(const struct pair_state *state, uint32_t region_blocks)
{
	uint64_t blocks[VOLUMES_MAX];

	for (unsigned i = 0; i < state->volume_count; i++)
		blocks[i] = bytes_to_blocks(state->volumes[i].bytes);
	return intent_bytes(state->volume_count, blocks, region_blocks);
}

static void log_wrote(void *user)
{
	redo_soon(user);
}

static void frames_progress(void *user)
{
	redo_pump(user);
}

static int init_volume(struct redo *redo, unsigned index)
{
	const struct redo_config *config = &redo->config;
	const struct state_volume *volume = &config->state->volumes[index];
	struct wrapped *wrapped = &redo->volumes[index];
	uint64_t regions = (bytes_to_blocks(volume->bytes) + config->region_blocks - 1) / config->region_blocks;

	wrapped->redo = redo;
	wrapped->raw = config->volumes[index];
	wrapped->disk = (struct disk){&wrapped_ops, wrapped->raw->size, wrapped->raw->align, wrapped->raw->streams};
	wrapped->bytes = volume->bytes;
	memcpy(wrapped->name, volume->name, sizeof(wrapped->name));
	wrapped->flush.redo = redo;
	wrapped->flush.volume = index;
	if (bitmap_init(&wrapped->owed, regions) < 0 || bitmap_init(&wrapped->pending, regions) < 0 ||
	    bitmap_init(&wrapped->unflushed, regions) < 0 || bitmap_init(&wrapped->flushing, regions) < 0 ||
	    bitmap_init(&wrapped->failed, regions) < 0)
		return -ENOMEM;
	return 0;
}

struct redo *redo_new(const struct redo_config *config)
{
	struct redo *redo = calloc(1, sizeof(*redo));
	struct intent_config log = {
	        .disk = config->log,
	        .generation = config->state->lineage.generation,
	        .region_blocks = config->region_blocks,
	        .volume_count = config->volume_count,
	        .wrote = log_wrote,
	        .user = redo,
	};

	if (!redo)
		return NULL;
	redo->config = *config;
	redo->count = config->volume_count;
	redo->last_parked = &redo->parked;
	for (unsigned i = 0; i < redo->count; i++) {
		log.blocks[i] = bytes_to_blocks(config->state->volumes[i].bytes);
		if (init_volume(redo, i) < 0) {
			redo_free(redo);
			return NULL;
		}
	}
	redo->log = intent_new(&log);
	redo->index = redo_index_new();
	if (redo->index)
		redo->frames = redo_frames_new(config->journal, redo->index, config->state, CONTENTS_MAX,
		                               frames_progress, redo);
	if (!redo->log || !redo->frames) {
		redo_free(redo);
		return NULL;
	}
	return redo;
}

void redo_free(struct redo *redo)
{
	if (!redo)
		return;
	clock_cancel(redo->config.clock, &redo->soon);
	clock_cancel(redo->config.clock, &redo->retry);
	clock_cancel(redo->config.clock, &redo->scan_due);
	for (unsigned i = 0; i < redo->count; i++) {
		bitmap_destroy(&redo->volumes[i].owed);
		bitmap_destroy(&redo->volumes[i].pending);
		bitmap_destroy(&redo->volumes[i].unflushed);
		bitmap_destroy(&redo->volumes[i].flushing);
		bitmap_destroy(&redo->volumes[i].failed);
	}
	scan_free(redo->scan);
	journal_free(redo->journal);
	redo_frames_free(redo->frames);
	redo_index_free(redo->index);
	if (redo->log)
		intent_free(redo->log);
	free(redo);
}

void redo_start(struct redo *redo)
{
	redo_open(redo);
}

struct disk *redo_disk(struct redo *redo, unsigned volume)
{
	return &redo->volumes[volume].disk;
}

void redo_troubled(struct redo *redo, const struct error *err)
{
	if (redo->trouble)
		return;
	redo->trouble = true;
	redo->trouble_text = *err;
	redo->config.events->trouble(redo->config.user, err);
}

// The requests.

static void forward(struct wrapped *wrapped, struct disk_io *io)
{
	io->next = NULL;
	disk_submit(wrapped->raw, io);
}

static void park(struct redo *redo, struct disk_io *io)
{
	io->next = NULL;
	*redo->last_parked = io;
	redo->last_parked = &io->next;
}

// Whether the request may pass. If not, what it needs is on its way, or failed
// has the job that could not be done. A region is looked at in which only other
// blocks are pending, but it is not waited for.
static bool may_pass(struct redo *redo, const struct disk_io *io, struct job **failed)
{
	struct wrapped *wrapped = (struct wrapped *)io->disk;
	unsigned volume = wrapped->flush.volume, ahead = 0;
	const struct bitmap *regions = io->op == DISK_READ ? &wrapped->pending : &wrapped->owed;
	uint64_t size = redo->config.region_blocks;
	uint64_t first = io->offset / BLOCK_SIZE, end = (io->offset + io->length + BLOCK_SIZE - 1) / BLOCK_SIZE;
	uint64_t region = bitmap_next(regions, first / size);

	for (; region != BITMAP_NONE && region * size < end && ahead < LOOK_AHEAD;
	     region = bitmap_next(regions, region + 1)) {
		uint64_t from = region * size < first ? first : region * size;
		uint64_t to = (region + 1) * size < end ? (region + 1) * size : end;
		struct redo_segment segment;
		struct job *job = NULL;

		if (!redo_index_next(redo->index, volume, from, &segment) || segment.first >= to ||
		    job_want(redo, volume, region, io->op != DISK_READ, &job))
			continue;
		if (ahead == 0)
			*failed = job;
		ahead++;
	}
	return ahead == 0;
}

static void submit(struct disk *disk, struct disk_io *io)
{
	struct wrapped *wrapped = (struct wrapped *)disk;
	struct redo *redo = wrapped->redo;
	struct job *failed;

	if (redo->released) {
		forward(wrapped, io);
	} else if (io->op == DISK_FLUSH) {
		flush_join(redo, wrapped->flush.volume, io);
	} else if (may_pass(redo, io, &failed)) {
		forward(wrapped, io);
	} else {
		park(redo, io);
		redo_soon(redo);
	}
}

// Nothing pending counts as a hole, whatever the device holds there now.
static bool hole(struct disk *disk, uint64_t offset, uint64_t *length)
{
	struct wrapped *wrapped = (struct wrapped *)disk;
	struct redo *redo = wrapped->redo;
	uint64_t size = redo->config.region_blocks;
	uint64_t first = offset / BLOCK_SIZE, end = (offset + *length + BLOCK_SIZE - 1) / BLOCK_SIZE;
	uint64_t region = redo->released ? BITMAP_NONE : bitmap_next(&wrapped->pending, first / size);

	for (; region != BITMAP_NONE && region * size < end; region = bitmap_next(&wrapped->pending, region + 1)) {
		uint64_t from = region * size < first ? first : region * size, begin;
		struct redo_segment segment;

		if (!redo_index_next(redo->index, wrapped->flush.volume, from, &segment) ||
		    segment.first >= (region + 1) * size || segment.first >= end)
			continue;
		begin = segment.first * BLOCK_SIZE;
		if (begin <= offset) {
			uint64_t left = begin + segment.count * BLOCK_SIZE - offset;

			*length = left < *length ? left : *length;
			return false;
		}
		*length = begin - offset;
		break;
	}
	return disk_hole(wrapped->raw, offset, length);
}

static const struct disk_ops wrapped_ops = {submit, hole};

// The parked ones, each looked at once more. Those that end may bring new ones.
static void unpark(struct redo *redo)
{
	struct disk_io *io = redo->parked, *over = NULL, **last_over = &over, *next;

	redo->parked = NULL;
	redo->last_parked = &redo->parked;
	for (; io; io = next) {
		struct job *failed = NULL;

		next = io->next;
		if (redo->released || may_pass(redo, io, &failed)) {
			forward((struct wrapped *)io->disk, io);
		} else if (failed) {
			io->progress = (uint64_t)(failed->error == -EILSEQ ? EIO : -failed->error);
			io->next = NULL;
			*last_over = io;
			last_over = &io->next;
		} else {
			park(redo, io);
		}
	}
	for (io = over; io; io = next) {
		next = io->next;
		io->done(io, -(int)io->progress);
	}
}

// Doing what can be done.

static bool all_idle(const struct redo *redo)
{
	return !redo->parked && jobs_idle(redo) && (!redo->frames || redo_frames_idle(redo->frames)) &&
	       !intent_busy(redo->log) && !redo_opening(redo);
}

void redo_pump(struct redo *redo)
{
	redo->again = true;
	if (redo->pumping || !redo->opened || !redo->index)
		return;
	redo->pumping = true;
	while (redo->again) {
		redo->again = false;
		jobs_advance(redo);
		unpark(redo);
		jobs_forget_failed(redo);
	}
	redo->pumping = false;
	if (redo->released && jobs_idle(redo) && redo_frames_idle(redo->frames)) {
		redo_frames_free(redo->frames);
		redo_index_free(redo->index);
		redo->frames = NULL;
		redo->index = NULL;
	}
	if ((redo->stopped && all_idle(redo)) || (redo->finished && !redo->told))
		redo_soon(redo);
}

static void soon_fired(struct timer *timer)
{
	struct redo *redo = (struct redo *)((char *)timer - offsetof(struct redo, soon));
	void (*stopped)(void *user) = redo->stopped;

	redo_pump(redo);
	redo->soon_set = false; // what the pump wants soon is done right below
	if (redo->finished && !redo->told && !redo->stopping) {
		redo->told = true;
		redo->config.events->done(redo->config.user);
	}
	if (stopped && all_idle(redo)) {
		redo->stopped = NULL;
		stopped(redo->stopped_user); // may free it
	}
}

void redo_soon(struct redo *redo)
{
	if (redo->soon_set)
		return;
	redo->soon_set = true;
	redo->soon.fire = soon_fired;
	clock_set(redo->config.clock, &redo->soon, clock_now(redo->config.clock));
}

void redo_release(struct redo *redo)
{
	redo->released = true;
	redo_soon(redo);
}

void redo_stop(struct redo *redo, void (*stopped)(void *user), void *user)
{
	redo->stopping = true;
	redo->stopped = stopped;
	redo->stopped_user = user;
	clock_cancel(redo->config.clock, &redo->retry);
	redo_soon(redo);
}

void redo_status(const struct redo *redo, struct redo_status *status)
{
	uint64_t bytes = redo->config.region_blocks * BLOCK_SIZE, left = 0;

	for (unsigned i = 0; i < redo->count; i++)
		left += redo->volumes[i].pending.count;
	status->total = redo->total * bytes;
	status->done = (redo->total - left) * bytes;
	status->trouble = redo->trouble ? redo->trouble_text.text : NULL;
}
