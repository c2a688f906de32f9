// SPDX-License-Identifier: Apache-2.0
// The life of an epoch: cut, captured, sent, durable — or given up, whereupon
// its set rejoins the open one and a later epoch replaces it.
#include "engine.h"

#include "common/mutant.h"

#include <errno.h>

#define RETRY_MIN (100 * NSEC_PER_MSEC)
#define RETRY_MAX (10 * NSEC_PER_SEC)

uint64_t epoch_next(const struct epoch *epoch, const struct volume *volumes, unsigned volume, uint64_t block)
{
	if (epoch->all)
		return block < volumes[volume].blocks ? block : BITMAP_NONE;
	return bitmap_next(&epoch->set->dirty[volume], block);
}

bool epoch_zero(const struct epoch *epoch, unsigned volume, uint64_t block)
{
	return epoch->set && bitmap_test(&epoch->set->zero[volume], block / GRANULE_BLOCKS);
}

uint32_t epoch_run(struct source *source, unsigned volume, uint64_t block, uint32_t max)
{
	const struct epoch *epoch = &source->capturing;
	uint64_t left = source->volumes[volume].blocks - block;
	uint32_t count = 1;

	if (max > left)
		max = (uint32_t)left;
	if (!epoch->all)
		max = (uint32_t)bitmap_run(&epoch->set->dirty[volume], block, max);
	while (count < max && !epoch_zero(epoch, volume, block + count) &&
	       !early_find(source->early, volume, block + count))
		count++;
	return count;
}

static void set_open(struct source *source, struct change_set *set)
{
	set->state = SET_OPEN;
	source->open = set;
	for (unsigned i = 0; i < source->volume_count; i++)
		source->volumes[i].open = set;
}

// Sets that rejoin are frozen and belong to no epoch.
static struct change_set *next_to_merge(struct source *source)
{
	for (unsigned i = 0; i < MAP_SETS; i++)
		if (source->map.sets[i].state == SET_FROZEN && !source->map.sets[i].epoch)
			return &source->map.sets[i];
	return NULL;
}

static void merge(struct source *source)
{
	for (;;) {
		if (!source->merging) {
			source->merging = next_to_merge(source);
			source->merge_volume = 0;
			source->merge_index = 0;
		}
		if (!source->merging)
			break;
		if (!set_merge(&source->map, source->open, source->merging, &source->merge_volume,
		               &source->merge_index)) {
			clock_set(source->clock, &source->merge_timer, 0);
			return;
		}
		if (!source->open->opened)
			source->open->opened = clock_now(source->clock);
		if (source->merging->opened && source->merging->opened < source->open->opened)
			source->open->opened = source->merging->opened;
		set_release(&source->map, source->merging);
		source->merging = NULL;
	}
	epoch_consider(source);
	handover_check(source);
}

static void merge_more(struct timer *timer)
{
	merge(container_of(timer, struct source, merge_timer));
}

static void cut_due(struct timer *timer)
{
	epoch_consider(container_of(timer, struct source, cut_timer));
}

int epoch_init(struct source *source)
{
	struct change_set *set = map_free_set(&source->map);

	source->merge_timer.fire = merge_more;
	source->cut_timer.fire = cut_due;
	source->retry_delay = RETRY_MIN;
	cadence_init(&source->cadence, source->config.rpo, source->config.bandwidth);
	// A process that died has left at most one open and three frozen.
	if (!set) {
		set = next_to_merge(source);
		if (!set)
			set = &source->map.sets[0];
		set->epoch = 0;
		set->opened = clock_now(source->clock);
	}
	set_open(source, set);
	map_save(&source->map);
	return 0;
}

static void freeze(struct source *source, struct change_set *free_set)
{
	struct change_set *set = source->open;

	set->state = SET_FROZEN;
	set->epoch = source->map.cut;
	source->capturing.set = set;
	set_open(source, free_set);
	for (unsigned i = 1; MUTANT(CUT_PER_VOLUME) && i < source->volume_count; i++)
		source->volumes[i].open = set;
}

static void cut(struct source *source, struct change_set *free_set)
{
	enum plan plan = source->plan;
	bool in_place = plan == PLAN_FULL_SYNC || plan == PLAN_WALK;

	source->map.cut++;
	source->capturing = (struct epoch){
	        .number = source->map.cut,
	        .kind = in_place ? EPOCH_DIRECT : EPOCH_ATOMIC,
	        .all = plan == PLAN_FULL_SYNC || (plan == PLAN_COMPARE && source->map.suspect),
	        .compare = plan == PLAN_FULL_SYNC || plan == PLAN_COMPARE || (plan == PLAN_WALK && source->doubtful),
	        .completes = plan == PLAN_COMPLETE,
	        .adopts = source->adopting && !in_place,
	        .cut_wall = clock_wall(source->clock),
	};
	source->cut_at = source->capturing.cut_at = clock_now(source->clock);
	source->changed_at_cut = source->changed.total;
	source->capturing.content = set_blocks(&source->map, source->open) << BLOCK_SHIFT;
	if (plan != PLAN_FULL_SYNC)
		freeze(source, free_set);
	if (plan == PLAN_WALK)
		oversize_begin(source);
	source->cursor = in_place ? source->marked : (struct position){0};
	source->passed = 0;
	map_save(&source->map);
	regions_note(source);
	source_tell(source, SOURCE_CUT, source->map.cut, NULL);
	shipper_pump(source);
}

// Since when it is shipped: where epochs follow one another without a pause, since
// the one before was durable.
static uint64_t begun(const struct source *source, const struct epoch *epoch)
{
	return epoch->cut_at > source->measured_at ? epoch->cut_at : source->measured_at;
}

// How long what was sent is expected to take still.
static uint64_t ahead(const struct source *source)
{
	uint64_t expected = 0, elapsed;

	if (!source->sent_count)
		return 0;
	for (unsigned i = 0; i < source->sent_count; i++)
		expected += cadence_estimate(&source->cadence, source->sent[i].content);
	elapsed = clock_now(source->clock) - begun(source, &source->sent[0]);
	return expected > elapsed ? expected - elapsed : 0;
}

// Whether it is time to cut the open set; else when to ask again.
static bool due(struct source *source, uint64_t *again)
{
	struct cadence_load load = {
	        .open = set_blocks(&source->map, source->open) << BLOCK_SHIFT,
	        .opened = source->open->opened,
	        .changed = source->changed.total,
	        .cut = source->cut_at,
	        .written = source->changed.total - source->changed_at_cut,
	        .ahead = ahead(source),
	        .busy = source->sent_count > 0,
	};

	if (source->drain != DRAIN_NONE || source->adopting)
		return true;
	return cadence_due(&source->cadence, clock_now(source->clock), &load, again);
}

void epoch_consider(struct source *source)
{
	struct change_set *free_set = map_free_set(&source->map);
	uint64_t when = source->not_before, again;

	if (!uplink_ready(source) || source->paused || source->stopping || source->stuck || source->capturing.number ||
	    source->merging || source->rejected)
		return;
	// What is not an epoch of changes is waited for; a full sync needs no set.
	if ((source->plan != PLAN_CHANGES || source->adopting) && source->sent_count)
		return;
	if (source->plan != PLAN_FULL_SYNC && !free_set)
		return;
	if (source->plan == PLAN_CHANGES) {
		if (set_empty(&source->map, source->open) && !source->adopting)
			return;
		if (!due(source, &again) && again > when)
			when = again;
	}
	if (when > clock_now(source->clock))
		clock_set(source->clock, &source->cut_timer, when);
	else
		cut(source, free_set);
}

static void rejoin(struct source *source, struct change_set *set)
{
	if (!set)
		return;
	set->epoch = 0;
	map_save(&source->map);
}

// Not before a while, and a longer one each time.
static void back_off(struct source *source, enum trouble trouble)
{
	source->trouble = trouble;
	source->not_before = clock_now(source->clock) + source->retry_delay;
	source->retry_delay = source->retry_delay * 2 < RETRY_MAX ? source->retry_delay * 2 : RETRY_MAX;
}

// The epoch is no longer captured; writers that waited for it go on.
static void give_up_capture(struct source *source)
{
	struct change_set *set = source->capturing.set;

	if (!source->capturing.number)
		return;
	source->capturing.number = 0;
	for (unsigned i = 0; i < source->volume_count; i++)
		source->volumes[i].open = source->open;
	parcels_cancel(source);
	early_reset(source->early);
	if (MUTANT(WIDEN_FORGETS_CAPTURED) && set)
		set_release(&source->map, set);
	else
		rejoin(source, set);
	capture_cancel_all(source);
}

void epoch_widen(struct source *source, enum trouble trouble, const char *why)
{
	uint64_t number = source->capturing.number;
	struct wire_epoch abort = {.epoch = number, .wall = clock_wall(source->clock)};
	uint8_t body[WIRE_BODY_MAX];

	if (!number)
		return;
	if (source->capturing.begun && uplink_ready(source))
		uplink_send(source, FRAME_ABORT, body, wire_put_epoch(body, &abort));
	if (trouble)
		back_off(source, trouble);
	give_up_capture(source);
	source_tell(source, SOURCE_WIDENED, number, why);
	merge(source);
}

void epoch_captured(struct source *source)
{
	struct epoch *epoch = &source->capturing;

	if (MUTANT(CLEARED_WHEN_SENT) && epoch->set) {
		set_release(&source->map, epoch->set);
		epoch->set = NULL;
	}
	for (unsigned i = 0; i < source->volume_count; i++)
		source->volumes[i].open = source->open;
	recent_captured(source->recent, epoch->number);
	source->base = epoch->number;
	source->sent[source->sent_count++] = *epoch;
	epoch->number = 0;
	early_reset(source->early);
	epoch_consider(source);
}

static void drop_sent(struct source *source, unsigned index)
{
	source->sent_count--;
	for (unsigned i = index; i < source->sent_count; i++)
		source->sent[i] = source->sent[i + 1];
}

static void measure(struct source *source, const struct epoch *epoch)
{
	uint64_t now = clock_now(source->clock), bytes = source->shipped.total - source->measured;

	if (epoch->kind == EPOCH_ATOMIC && !epoch->compare)
		cadence_shipped(&source->cadence, epoch->content, bytes, now - begun(source, epoch));
	source->measured = source->shipped.total;
	source->measured_at = now;
}

static void completed(struct source *source, const struct epoch *epoch)
{
	if (epoch->kind == EPOCH_DIRECT) {
		source->plan = PLAN_COMPLETE;
		if (epoch->set) {
			source->map.acknowledged = epoch->number;
			set_release(&source->map, epoch->set);
		}
		return;
	}
	source->map.acknowledged = epoch->number;
	source->durable = epoch->number;
	source->recovery_point = epoch->cut_wall;
	if (epoch->adopts)
		source->adopting = false;
	if (epoch->compare || epoch->completes) {
		source->plan = PLAN_CHANGES;
		source->map.suspect = false;
		source->doubtful = false;
		source->map.sync = (struct id){{0}};
		source->map.partial = false;
	}
	if (epoch->set)
		set_release(&source->map, epoch->set);
	else
		map_save(&source->map);
	regions_note(source);
	if (epoch->completes)
		source_tell(source, SOURCE_SYNC_DONE, epoch->number, NULL);
}

void epoch_durable(struct source *source, uint64_t number)
{
	bool known = false;

	for (unsigned i = 0; i < source->sent_count; i++)
		known |= source->sent[i].number == number;
	if (!known) {
		uplink_lost(source, "the standby acknowledged an epoch that is not on its way");
		return;
	}
	while (source->sent_count && source->sent[0].number <= number) {
		struct epoch epoch = source->sent[0];

		drop_sent(source, 0);
		measure(source, &epoch);
		completed(source, &epoch);
	}
	source->settled = number;
	source->retry_delay = RETRY_MIN;
	source->trouble = TROUBLE_NONE;
	if (source->rejected && !source->sent_count) {
		source->rejected = false;
		source->base = source->settled;
	}
	source_tell(source, SOURCE_DURABLE, number, NULL);
	// What the standby holds is as young as now again, which it cannot know.
	if (!source_lag(source))
		uplink_heartbeat(source);
	epoch_consider(source);
	handover_check(source);
}

void epoch_rejected(struct source *source, uint64_t number, enum reject_cause cause)
{
	static const enum trouble troubles[] = {
	        [REJECT_ERROR] = TROUBLE_STANDBY_ERROR,
	        [REJECT_DISK_FULL] = TROUBLE_STANDBY_DISK_FULL,
	        [REJECT_TOO_LARGE] = TROUBLE_JOURNAL_FULL,
	};

	back_off(source, troubles[cause]);
	give_up_capture(source);
	while (source->sent_count && source->sent[source->sent_count - 1].number >= number) {
		rejoin(source, source->sent[source->sent_count - 1].set);
		source->sent_count--;
	}
	// What was sent before it may still become durable, and is then the base.
	source->rejected = source->sent_count > 0;
	if (!source->rejected)
		source->base = source->settled;
	if (cause == REJECT_TOO_LARGE)
		oversize_rejected(source);
	merge(source);
}

void epoch_disconnected(struct source *source)
{
	give_up_capture(source);
	for (unsigned i = 0; MUTANT(FROZEN_LOST_ON_DISCONNECT) && i < source->sent_count; i++)
		if (source->sent[i].set)
			set_release(&source->map, source->sent[i].set);
	// Their sets stay frozen until the standby says which epochs it has.
	source->sent_count = 0;
	source->rejected = false;
	merge(source);
}

void epoch_settle(struct source *source, uint64_t durable)
{
	for (unsigned i = 0; i < MAP_SETS; i++) {
		struct change_set *set = &source->map.sets[i];

		if (set->state != SET_FROZEN || !set->epoch)
			continue;
		if (set->epoch <= durable || MUTANT(UNACKED_TAKEN_AS_DURABLE))
			set_release(&source->map, set);
		else
			rejoin(source, set);
	}
	merge(source);
}
