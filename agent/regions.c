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

static uint64_t draw(void *user)
{
	const struct source *source = user;

	return source->config.random(source->config.user);
}

int regions_init(struct source *source)
{
	struct intent_config config = {
	        .disk = source->config.intent,
	        .generation = source->state.lineage.generation,
	        .region_blocks = source->config.region_blocks,
	        .volume_count = source->volume_count,
	        .random = draw,
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

// Found with a map that was kept, in the same boot: the process may have died
// with a flush under way, and nobody was told how that ended.
static void doubt_found(struct source *source, const struct intent_facts *facts)
{
	if (source->map.rebooted)
		return;
	source->doubts = facts->doubts;
	for (unsigned i = 0; i < source->volume_count; i++)
		intent_doubt(source->intent, i, NULL, NULL);
}

static void loaded(void *user, int error)
{
	struct source *source = user;
	const struct intent_facts *facts = intent_facts(source->intent);

	source->loading = false;
	if (error) {
		// A map that began when the log was lost, too, knows no more of what was cut.
		source->notes_lost = !source->state.untouched && (!source->map_kept || source->map.suspect);
		source->unflushed = !source->state.untouched;
		if (!source->state.untouched)
			map_suspect(&source->map);
	} else {
		source->notes_lost = facts->lost;
		// A map that was kept is at least as new as what was noted.
		if (!source->map_kept) {
			source->map.suspect = facts->suspect || source->taken_back;
			mark_logged(source);
			source->doubtful = true;
			source->map.acknowledged = facts->acknowledged;
		} else {
			source->unflushed = facts->suspect;
			doubt_found(source, facts);
		}
		// So it is where one was begun anew, and the process died before this.
		if (source->map.cut < facts->cut) {
			source->map.cut = facts->cut;
			source->map.ids = facts->ids;
		}
	}
	if (source->state.doubt == DOUBT_COMPARE || (source->state.doubt && source->fenced))
		map_suspect(&source->map);
	if (source->unlogged && !source->map_kept && !MUTANT(UNLOGGED_FORGOTTEN)) {
		map_suspect(&source->map);
		source->notes_lost = true;
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
	int error = intent_pass(source->intent, request->volume, request->range.first, request->range.count,
	                        &request->waiter);

	return !error || error == -EAGAIN ? error : unlogged_pass(source, request, error);
}

void regions_note(struct source *source)
{
	struct intent_facts facts = {
	        .cut = source->map.cut,
	        .acknowledged = source->map.acknowledged,
	        .ids = source->map.ids,
	        .suspect = source->map.suspect || (source->unflushed && !MUTANT(UNFLUSHED_FORGOTTEN)),
	        .lost = source->notes_lost,
	        .doubts = source->doubts,
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

// Flushes that failed. From the next one on that works a disk says nothing of
// what it has lost; and it may show that for as long as it has it in a cache.

static void mark_doubtful(void *user, unsigned volume, uint64_t first, uint64_t count)
{
	struct source *source = user;
	struct change_set *set = source->volumes[volume].open;
	uint64_t granule = first / GRANULE_BLOCKS, last = (first + count - 1) / GRANULE_BLOCKS;

	bitmap_set(&set->dirty[volume], first, count);
	bitmap_clear(&set->zero[volume], granule, last - granule + 1);
	recent_drop(source->recent, volume, first, count);
	if (!set->opened) {
		set->opened = clock_now(source->clock);
		epoch_consider(source);
	}
}

static void doubt(struct source *source, unsigned volume)
{
	intent_doubt(source->intent, volume, mark_doubtful, source);
	source->unflushable |= source->unflushed;
	source->flush_failed = true;
	if (source->doubts >> volume & 1)
		return;
	source->doubts |= UINT32_C(1) << volume;
	regions_note(source);
}

// What the application asks to be durable. Of two flushes under way at once one
// may be told of the error and the other one not: so ours says nothing before
// those of the application have ended that were there with it.

void regions_sync_begins(struct request *request)
{
	struct volume *volume = &request->source->volumes[request->volume];

	request->syncs = true;
	request->sync_phase = volume->sync_phase;
	volume->syncs[request->sync_phase]++;
}

static void check_flushed(struct source *source);

void regions_sync_ended(struct request *request, int error)
{
	struct source *source = request->source;
	bool refused;

	if (!request->syncs)
		return;
	request->syncs = false;
	source->volumes[request->volume].syncs[request->sync_phase]--;
	// A change that there is no room or way for comes to no flush.
	refused = request->op != REQUEST_FLUSH && (error == -EOPNOTSUPP || error == -ENOSPC);
	if (error && !refused && !MUTANT(SYNC_OF_APPLICATION_UNWATCHED))
		doubt(source, request->volume);
	check_flushed(source);
}

static void check_flushed(struct source *source)
{
	if (!source->flushed)
		return;
	for (unsigned i = 0; i < source->volume_count; i++)
		if (source->volumes[i].syncs[!source->volumes[i].sync_phase])
			return;
	source->flushed = source->flushing = false;
	intent_flushed(source->intent);
	if (source->unflushed && !source->flush_failed && !source->unflushable) {
		source->unflushed = false;
		regions_note(source);
	}
	if (source->stopping)
		source_check_stopped(source);
	else
		intent_release(source->intent, clean, source);
}

static void flush_next(struct source *source);

static void flushed(struct disk_io *io, int error)
{
	struct source *source = container_of(io, struct source, flush_io);

	if (error) {
		doubt(source, source->flush_volume);
		source->volumes[source->flush_volume].flush_untold = !MUTANT(FAILED_FLUSH_KEPT_FROM_APPLICATION);
	}
	source->flush_volume++;
	flush_next(source);
}

static void flush_next(struct source *source)
{
	if (source->flush_volume == source->volume_count) {
		source->flushed = true;
		for (unsigned i = 0; i < source->volume_count; i++)
			source->volumes[i].sync_phase = !source->volumes[i].sync_phase;
		check_flushed(source);
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

	unlogged_tick(source);
	intent_retry(source->intent);
	if (source->flushing || now < source->flush_at || (intent_empty(source->intent) && !source->unflushed))
		return;
	source->flush_at = now + 2 * source->config.rpo;
	if ((!intent_wants_flush(source->intent) && (!source->unflushed || source->unflushable)) ||
	    MUTANT(REGION_RELEASED_UNFLUSHED)) {
		intent_flush_begins(source->intent);
		intent_flushed(source->intent);
		intent_release(source->intent, clean, source);
		return;
	}
	source->flushing = true;
	source->flush_failed = false;
	source->flush_volume = 0;
	intent_flush_begins(source->intent);
	flush_next(source);
}

void regions_stop_failed(struct source *source, unsigned volume)
{
	doubt(source, volume);
	if (!source->unflushed)
		return;
	map_suspect(&source->map);
	map_save(&source->map);
}

// At the end of a stop, with all that was written flushed. In another boot of the
// machine it can be seen what a flush that failed has lost: so what is in doubt
// is in the map.
void regions_stopped(struct source *source)
{
	intent_flush_begins(source->intent);
	intent_flushed(source->intent);
	intent_release(source->intent, clean, source);
	for (unsigned i = 0; i < source->volume_count; i++)
		if (source->doubts >> i & 1)
			intent_doubtful(source->intent, i, mark_doubtful, source);
}

bool regions_busy(const struct source *source)
{
	return source->flushing || source->loading || intent_busy(source->intent);
}
