// SPDX-License-Identifier: Apache-2.0
// Reading what blocks held at the cut. A capture waits for writes that were in
// flight at the cut, and writes that come after it wait for the capture.
#include "engine.h"

#include "common/mutant.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

// Copy-before-write: one read ahead of a write.
struct early_capture {
	struct capture capture;
	struct early_extent *extent;
	TAILQ_ENTRY(early_capture) link;
};

static void finish(struct capture *capture, int error)
{
	struct source *source = capture->source;
	struct volume *volume = &source->volumes[capture->volume];
	struct waiter *waiters = capture->waiters;

	source->reads--;
	if (!capture->open_to_writes && !capture->cancelled) {
		ranges_remove(&volume->captures, &capture->range);
		TAILQ_REMOVE(&source->captures, capture, gated);
	}
	// The content is in its place before the writers are let on.
	capture->done(capture, capture->cancelled ? -ECANCELED : error);
	waiter_wake_all(&waiters);
}

// A volume may end within its last block.
static uint64_t bytes_of(const struct capture *capture)
{
	const struct volume *volume = &capture->source->volumes[capture->volume];
	uint64_t begin = capture->range.first << BLOCK_SHIFT;
	uint64_t bytes = capture->range.count << BLOCK_SHIFT;

	return bytes < volume->bytes - begin ? bytes : volume->bytes - begin;
}

static void read_done(struct disk_io *io, int error)
{
	struct capture *capture = container_of(io, struct capture, io);
	uint64_t bytes = bytes_of(capture);

	memset(capture->data + bytes, 0, (capture->range.count << BLOCK_SHIFT) - bytes);
	finish(capture, error);
}

static void try_read(struct waiter *waiter)
{
	struct capture *capture = container_of(waiter, struct capture, waiter);
	struct source *source = capture->source;
	struct volume *volume = &source->volumes[capture->volume];
	uint64_t align = volume->disk->align;
	struct request *request = NULL;

	if (capture->cancelled) {
		finish(capture, -ECANCELED);
		return;
	}
	if (!capture->heedless && !MUTANT(CAPTURE_IGNORES_INFLIGHT) &&
	    !(MUTANT(WALK_IGNORES_INFLIGHT) && capture->open_to_writes))
		request =
		        tracker_in_flight(volume, capture->range.first, capture->range.count, source->capturing.number);
	if (request) {
		capture->waiter.wake = try_read;
		waiter_add(&request->waiters, &capture->waiter);
		return;
	}
	capture->io = (struct disk_io){
	        .op = DISK_READ,
	        .flags = capture->stream ? disk_stream(volume->disk) : 0,
	        .offset = capture->range.first << BLOCK_SHIFT,
	        .length = (bytes_of(capture) + align - 1) & ~(align - 1),
	        .data = capture->data,
	        .done = read_done,
	};
	disk_submit(volume->disk, &capture->io);
}

void capture_start(struct capture *capture)
{
	struct source *source = capture->source;

	capture->waiters = NULL;
	capture->cancelled = false;
	source->reads++;
	if (!capture->open_to_writes) {
		ranges_add(&source->volumes[capture->volume].captures, &capture->range);
		TAILQ_INSERT_TAIL(&source->captures, capture, gated);
	}
	try_read(&capture->waiter);
}

void capture_cancel_all(struct source *source)
{
	struct waiter *waiters = NULL;
	struct capture *capture;

	while ((capture = TAILQ_FIRST(&source->captures))) {
		TAILQ_REMOVE(&source->captures, capture, gated);
		ranges_remove(&source->volumes[capture->volume].captures, &capture->range);
		capture->cancelled = true;
		while (capture->waiters) {
			struct waiter *waiter = capture->waiters;

			capture->waiters = waiter->next;
			waiter_add(&waiters, waiter);
		}
	}
	waiter_wake_all(&waiters);
}

static void early_done(struct capture *capture, int error)
{
	struct early_capture *early = container_of(capture, struct early_capture, capture);
	struct source *source = capture->source;

	if (error) {
		early_drop(early->extent);
		if (error != -ECANCELED)
			epoch_widen(source, TROUBLE_READ_ERROR, "a block could not be read before it was overwritten");
	} else {
		early_filled(early->extent);
	}
	TAILQ_REMOVE(&source->early_captures, early, link);
	free(early);
	shipper_pump(source);
	if (source->stopping)
		source_check_stopped(source);
}

void capture_free(struct source *source)
{
	struct early_capture *early;

	while ((early = TAILQ_FIRST(&source->early_captures))) {
		TAILQ_REMOVE(&source->early_captures, early, link);
		free(early);
	}
}

// NULL when the budget is used up.
static struct capture *capture_early(struct source *source, unsigned volume, uint64_t first, uint32_t count)
{
	struct early_capture *early = calloc(1, sizeof(*early));

	if (!early)
		return NULL;
	early->extent = early_reserve(source->early, volume, first, count);
	if (!early->extent) {
		free(early);
		return NULL;
	}
	early->capture.source = source;
	early->capture.volume = volume;
	early->capture.range.first = first;
	early->capture.range.count = count;
	early->capture.data = early->extent->data;
	early->capture.done = early_done;
	TAILQ_INSERT_TAIL(&source->early_captures, early, link);
	capture_start(&early->capture);
	return &early->capture;
}

static int any(struct range *range, void *user)
{
	(void)range;
	(void)user;
	return 1;
}

// Where in the volume the epoch is not yet captured.
static uint64_t captured_to(const struct source *source, unsigned volume)
{
	if (source->cursor.volume != volume)
		return source->cursor.volume > volume ? UINT64_MAX : 0;
	return source->cursor.block;
}

static uint64_t granule_end(uint64_t block)
{
	return (block / GRANULE_BLOCKS + 1) * GRANULE_BLOCKS;
}

// A granule that is frozen as zero needs no capture once everything that was in
// flight in it at the cut has ended well: until then it may yet have to be read.
static struct request *zeroes_in_flight(struct source *source, struct volume *volume, uint64_t block)
{
	uint64_t first = block / GRANULE_BLOCKS * GRANULE_BLOCKS;

	return tracker_in_flight(volume, first, GRANULE_BLOCKS, source->capturing.number);
}

// What was written lately need not be read.
static bool capture_recent(struct source *source, unsigned volume, uint64_t block)
{
	const uint8_t *data = recent_find(source->recent, volume, block);
	struct early_extent *extent = data ? early_reserve(source->early, volume, block, 1) : NULL;

	if (!extent)
		return false;
	memcpy(extent->data, data, BLOCK_SIZE);
	early_filled(extent);
	return true;
}

bool capture_gate(struct source *source, struct request *request)
{
	const struct epoch *epoch = &source->capturing;
	struct volume *volume = &source->volumes[request->volume];
	uint64_t block = request->range.first, end = block + request->range.count;
	struct capture *capture = NULL;
	struct range *range;

	if (!epoch->number || epoch->kind == EPOCH_DIRECT || MUTANT(NO_COPY_BEFORE_WRITE))
		return false;
	range = ranges_find(&volume->captures, block, request->range.count, any, NULL);
	if (range) {
		waiter_add(&container_of(range, struct capture, range)->waiters, &request->waiter);
		return true;
	}
	if (block < captured_to(source, request->volume))
		block = captured_to(source, request->volume);
	while ((block = epoch_next(epoch, source->volumes, request->volume, block)) < end) {
		struct early_extent *extent = early_find(source->early, request->volume, block);
		uint32_t count = end - block < EARLY_BLOCKS_MAX ? (uint32_t)(end - block) : EARLY_BLOCKS_MAX;

		if (extent) {
			block = extent->first + extent->count;
			continue;
		}
		if (epoch_zero(epoch, request->volume, block)) {
			struct request *other = zeroes_in_flight(source, volume, block);

			if (other) {
				waiter_add(&other->waiters, &request->waiter);
				return true;
			}
			block = granule_end(block);
			continue;
		}
		if (capture_recent(source, request->volume, block)) {
			block++;
			continue;
		}
		count = epoch_run(source, request->volume, block, count);
		capture = capture_early(source, request->volume, block, count);
		if (!capture) {
			epoch_widen(source, TROUBLE_SPILL_FULL, "no room for content that is about to be overwritten");
			return false;
		}
		block += count;
	}
	// It asks again when the last one has ended, and then waits for the others.
	if (capture)
		waiter_add(&capture->waiters, &request->waiter);
	return capture != NULL;
}
