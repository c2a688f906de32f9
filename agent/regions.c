// SPDX-License-Identifier: Apache-2.0
// The write-intent log in the write path: what a power failure left in it, the
// gate that changes pass, and when regions may leave it.
#include "engine.h"

#include "common/mutant.h"

#include <errno.h>

static void wrote(void *user)
{
	struct source *source = user;

	if (source->stopping)
		source_check_stopped(source);
	else
		shipper_pump(source);
}

int regions_init(struct source *source)
{
	struct intent_config config = {
	        .disk = source->config.intent,
	        .generation = source->state.lineage.generation,
	        .region_blocks = source->config.region_blocks,
	        .volume_count = source->volume_count,
	        .wrote = wrote,
	        .user = source,
	};

	for (unsigned i = 0; i < source->volume_count; i++)
		config.blocks[i] = source->volumes[i].blocks;
	source->intent = intent_new(&config);
	return source->intent ? 0 : -ENOMEM;
}

// The map was lost with the power: whatever was logged may have changed.
static void mark_logged(struct source *source)
{
	for (unsigned i = 0; i < source->volume_count; i++) {
		for (uint64_t region = intent_next(source->intent, i, 0); region != BITMAP_NONE;
		     region = intent_next(source->intent, i, region + 1)) {
			uint64_t size = source->config.region_blocks, first = region * size;
			uint64_t left = source->volumes[i].blocks - first;

			bitmap_set(&source->open->dirty[i], first, left < size ? left : size);
		}
	}
	if (!set_empty(&source->map, source->open))
		source->open->opened = clock_now(source->clock);
}

static void loaded(void *user, int error)
{
	struct source *source = user;
	const struct intent_facts *facts = intent_facts(source->intent);

	source->loading = false;
	if (error) {
		if (!source->state.untouched)
			map_suspect(&source->map);
	} else {
		// A map that was kept is at least as new as what was noted.
		if (!source->map_kept) {
			source->map.suspect = facts->suspect || source->taken_back;
			mark_logged(source);
			source->doubtful = true;
			source->map.acknowledged = facts->acknowledged;
		}
		if (source->map.cut < facts->cut)
			source->map.cut = facts->cut;
	}
	map_save(&source->map);
	regions_note(source);
	source->loaded(source);
}

void regions_load(struct source *source, void (*done)(struct source *source))
{
	source->loaded = done;
	source->loading = true;
	intent_load(source->intent, loaded, source);
}

int regions_pass(struct source *source, struct request *request)
{
	return intent_pass(source->intent, request->volume, request->range.first, request->range.count,
	                   &request->waiter);
}

void regions_note(struct source *source)
{
	struct intent_facts facts = {
	        .cut = source->map.cut,
	        .acknowledged = source->map.acknowledged,
	        .suspect = source->map.suspect,
	};

	intent_note(source->intent, &facts);
}

static int any(struct range *range, void *user)
{
	(void)range;
	(void)user;
	return 1;
}

// Whether the standby has what these blocks hold.
static bool clean(void *user, unsigned volume, uint64_t first, uint64_t count)
{
	struct source *source = user;

	if (MUTANT(REGION_RELEASED_UNSHIPPED))
		return true;
	// A standby that is put back to what it was before lacks them again: the
	// log must know how far it was.
	if (intent_noted_acknowledged(source->intent) < source->map.acknowledged)
		return false;
	for (unsigned i = 0; i < MAP_SETS; i++)
		if (bitmap_next(&source->map.sets[i].dirty[volume], first) < first + count)
			return false;
	return !source->map.suspect && !ranges_find(&source->volumes[volume].writes, first, count, any, NULL);
}

static void flush_next(struct source *source);

static void flushed(struct disk_io *io, int error)
{
	struct source *source = container_of(io, struct source, flush_io);

	source->flush_failed |= error != 0;
	source->flush_volume++;
	flush_next(source);
}

static void flush_next(struct source *source)
{
	if (source->flush_volume == source->volume_count) {
		source->flushing = false;
		intent_flushed(source->intent, !source->flush_failed);
		if (source->stopping)
			source_check_stopped(source);
		else
			intent_release(source->intent, clean, source);
		return;
	}
	source->flush_io = (struct disk_io){.op = DISK_FLUSH, .done = flushed};
	disk_submit(source->volumes[source->flush_volume].disk, &source->flush_io);
}

// Without writes there is nothing to flush, and an idle pair has an empty log
// in the end.
void regions_tick(struct source *source)
{
	uint64_t now = clock_now(source->clock);

	intent_retry(source->intent);
	if (source->flushing || now < source->flush_at || intent_empty(source->intent))
		return;
	source->flush_at = now + 2 * source->config.rpo;
	if (!intent_wants_flush(source->intent) || MUTANT(REGION_RELEASED_UNFLUSHED)) {
		intent_flush_begins(source->intent);
		intent_flushed(source->intent, true);
		intent_release(source->intent, clean, source);
		return;
	}
	source->flushing = true;
	source->flush_failed = false;
	source->flush_volume = 0;
	intent_flush_begins(source->intent);
	flush_next(source);
}

bool regions_busy(const struct source *source)
{
	return source->flushing || source->loading || intent_busy(source->intent);
}
