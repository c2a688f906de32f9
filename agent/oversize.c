// SPDX-License-Identifier: Apache-2.0
// More changes than the standby's journal can hold. Either the standby stays at
// its last epoch, promotable, and nothing is tried until something has changed;
// or what changed is written in place. While that goes on the standby is not
// consistent: blocks may leave the set as soon as they are durable there, what
// is written meanwhile is in the open set, and an atomic epoch completes it.
#include "engine.h"

#include <stdio.h>

#define MIB (UINT64_C(1) << 20)

// Room for what changed, however badly it compresses.
static uint64_t journal_that_would_do(const struct source *source)
{
	uint64_t behind = source_behind(source);

	return (behind + behind / 16) / MIB + 5;
}

void oversize_explain(const struct source *source, const char *reason, char *text, size_t size)
{
	bool in_place = source->config.in_place || source->plan == PLAN_COMPLETE;

	snprintf(text, size, "%s; journal = %lluM on the standby would do; %s", reason,
	         (unsigned long long)journal_that_would_do(source),
	         in_place ? "now it is written in place, and the standby is inconsistent until that is complete"
	                  : "or journal-full = inconsistent here, or resume to try again");
}

static void go_in_place(struct source *source)
{
	bool all = source->plan == PLAN_COMPARE && source->map.suspect;

	// A standby that is inconsistent already stays in the sync that it is in.
	if (source->plan != PLAN_COMPLETE)
		source->map.sync = id_random(source->config.random, source->config.user);
	source->map.partial = !all;
	for (unsigned i = 0; i < source->volume_count; i++)
		source->blank[i] = false;
	source->marked = (struct position){0};
	source->plan = all ? PLAN_FULL_SYNC : PLAN_WALK;
	map_save(&source->map);
	source_tell(source, SOURCE_SYNC_STARTED, 0, NULL);
}

void oversize_rejected(struct source *source)
{
	if (source->plan == PLAN_FULL_SYNC || source->plan == PLAN_WALK)
		return; // in place already: it is tried again after a while
	handover_lost(source); // nobody waits that long with the application held
	if (source->plan == PLAN_COMPLETE || source->config.in_place) {
		go_in_place(source);
	} else {
		source->stuck = true;
		source->stuck_blocks = 0;
	}
}

void oversize_retry(struct source *source)
{
	if (!source->stuck)
		return;
	source->stuck = false;
	source->not_before = 0;
	epoch_consider(source);
}

// Blocks whose content would have to travel.
static uint64_t content_blocks(const struct source *source)
{
	uint64_t blocks = set_blocks(&source->map, source->open), zero = 0;

	for (unsigned i = 0; i < source->volume_count; i++)
		zero += source->open->zero[i].count * GRANULE_BLOCKS;
	return blocks > zero ? blocks - zero : 0;
}

// Changes are only added to, but what was discarded or zeroed takes no room.
void oversize_tick(struct source *source)
{
	uint64_t blocks;

	if (!source->stuck || source->merging)
		return;
	blocks = content_blocks(source);
	if (!source->stuck_blocks)
		source->stuck_blocks = blocks;
	else if (blocks < source->stuck_blocks - source->stuck_blocks / 8)
		oversize_retry(source);
}

void oversize_begin(struct source *source)
{
	source->marked = (struct position){0};
	source->walk_blocks = set_blocks(&source->map, source->capturing.set);
}

static void leave(struct change_set *set, unsigned volume, uint64_t from, uint64_t to)
{
	struct bitmap *dirty = &set->dirty[volume], *zero = &set->zero[volume];

	while ((from = bitmap_next(dirty, from)) < to) {
		uint64_t count = bitmap_run(dirty, from, to - from);
		uint64_t granule = from / GRANULE_BLOCKS;

		bitmap_clear(dirty, from, count);
		bitmap_clear(zero, granule, (from + count - 1) / GRANULE_BLOCKS - granule + 1);
		from += count;
	}
}

void oversize_leave(struct source *source, struct position to)
{
	struct position from = source->marked;
	struct epoch *epoch = &source->capturing;

	// A standby that is put back to what it was before lacks them again.
	source->map.acknowledged = epoch->number;
	map_save(&source->map);
	regions_note(source);
	for (unsigned i = from.volume; i < source->volume_count && i <= to.volume; i++)
		leave(epoch->set, i, i == from.volume ? from.block : 0,
		      i == to.volume ? to.block : source->volumes[i].blocks);
}

void source_set_in_place(struct source *source, bool in_place)
{
	source->config.in_place = in_place;
	oversize_retry(source);
}
