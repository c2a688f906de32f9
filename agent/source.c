// SPDX-License-Identifier: Apache-2.0
#include "source.h"

#include "engine.h"

#include "common/mutant.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TICK (NSEC_PER_SEC / 2)

size_t source_map_bytes(unsigned volume_count, const uint64_t *volume_bytes)
{
	uint64_t blocks[VOLUMES_MAX];

	for (unsigned i = 0; i < volume_count; i++)
		blocks[i] = bytes_to_blocks(volume_bytes[i]);
	return map_bytes(volume_count, blocks);
}

uint64_t source_intent_bytes(unsigned volume_count, const uint64_t *volume_bytes, uint32_t region_blocks)
{
	uint64_t blocks[VOLUMES_MAX];

	for (unsigned i = 0; i < volume_count; i++)
		blocks[i] = bytes_to_blocks(volume_bytes[i]);
	return intent_bytes(volume_count, blocks, region_blocks);
}

static struct map_identity identity_of(const struct source_config *config)
{
	struct map_identity identity = {
	        .pair = config->state->pair,
	        .generation = config->state->lineage.generation,
	        .boot = config->boot,
	        .volume_count = config->volume_count,
	};

	for (unsigned i = 0; i < config->volume_count; i++)
		identity.blocks[i] = bytes_to_blocks(config->volumes[i].bytes);
	return identity;
}

bool source_map_trusted(const struct source_config *config)
{
	struct map_identity identity = identity_of(config);

	return map_trusted(config->map, &identity);
}

void source_map_close(void *map)
{
	map_close(map);
}

void source_tell(struct source *source, enum source_event event, uint64_t epoch, const char *text)
{
	if (source->config.event)
		source->config.event(source->config.user, event, epoch, text);
}

static void meter_tick(struct meter *meter)
{
	uint64_t now = meter->total - meter->last;

	meter->last = meter->total;
	meter->rate = (meter->rate * 3 + now) / 4;
}

// A sync that begins anew, or goes on from a mark, is at an earlier place.
static void tick_walked(struct source *source)
{
	uint64_t done, total;

	shipper_sync_progress(source, &done, &total);
	if (done < source->walked.last)
		source->walked.last = done;
	source->walked.total = done;
	meter_tick(&source->walked);
}

// What was written is on the standby: there is nothing left to capture.
static void trim_recent(struct source *source)
{
	if (!source_behind(source) || !uplink_ready(source))
		recent_clear(source->recent);
}

static void tick(struct timer *timer)
{
	struct source *source = container_of(timer, struct source, tick);

	clock_set(source->clock, timer, clock_now(source->clock) + TICK);
	uplink_tick(source);
	source->half = !source->half;
	if (source->half)
		return;
	outlook_tick(source);
	meter_tick(&source->changed);
	meter_tick(&source->shipped);
	tick_walked(source);
	parcels_trim(source);
	trim_recent(source);
	regions_tick(source);
	oversize_tick(source);
}

static void finish_requests(struct timer *timer)
{
	struct source *source = container_of(timer, struct source, finish);
	struct request_list list = TAILQ_HEAD_INITIALIZER(list);
	struct request *request;

	TAILQ_CONCAT(&list, &source->finished, changes);
	while ((request = TAILQ_FIRST(&list))) {
		TAILQ_REMOVE(&list, request, changes);
		request_finish(request, request->error);
	}
}

static bool all_zero(const uint8_t *bytes, size_t length)
{
	return !bytes[0] && !memcmp(bytes, bytes + 1, length - 1);
}

static int open_map(struct source *source)
{
	const struct source_config *config = &source->config;
	struct map_identity identity = identity_of(config);

	source->map_kept =
	        map_trusted(config->map, &identity) && !(MUTANT(UNTOUCHED_KEPT_MAP_RESET) && source->state.untouched);
	if (MUTANT(UNTOUCHED_KEPT_MAP_RESET) && source->state.untouched)
		memset(config->map, 0, BLOCK_SIZE);
	if (!source->map_kept && !all_zero(config->map, BLOCK_SIZE))
		map_wipe(config->map, &identity);
	if (map_open(&source->map, config->map, &identity, config->random(config->user), &source->map_damaged) < 0)
		return -ENOMEM;
	// Nothing was written since the promotion: an empty map is the whole of it.
	if (!source->map_kept && source->state.untouched) {
		source->map.suspect = false;
		source->map.cut = source->state.promoted_epoch;
	}
	map_save(&source->map);
	return 0;
}

static void init_volumes(struct source *source)
{
	source->volume_count = source->config.volume_count;
	for (unsigned i = 0; i < source->volume_count; i++) {
		source->volumes[i].disk = source->config.volumes[i].disk;
		source->volumes[i].bytes = source->config.volumes[i].bytes;
		source->volumes[i].blocks = bytes_to_blocks(source->config.volumes[i].bytes);
	}
}

static void early_idle(void *user)
{
	struct source *source = user;

	if (source->stopping)
		source_check_stopped(source);
}

struct source *source_new(const struct source_config *config)
{
	struct source *source = calloc(1, sizeof(*source));

	if (!source)
		return NULL;
	source->config = *config;
	source->clock = config->clock;
	source->state = *config->state;
	source->paused = source->state.paused;
	source->fenced = source->state.fenced;
	source->split = source->state.split;
	source->verdict = !source->fenced       ? SOURCE_STATE_REPLICATING
	                  : source->state.split ? SOURCE_STATE_SPLIT_BRAIN
	                                        : SOURCE_STATE_DEMOTED;
	handover_init(source);
	source->tick.fire = tick;
	source->finish.fire = finish_requests;
	TAILQ_INIT(&source->changes);
	TAILQ_INIT(&source->bounced);
	TAILQ_INIT(&source->finished);
	TAILQ_INIT(&source->captures);
	TAILQ_INIT(&source->early_captures);
	TAILQ_INIT(&source->notes);
	init_volumes(source);
	shipper_init(source);
	source->early = early_new(config->capture_memory, config->spill, config->spill_bytes, early_idle, source);
	source->recent = recent_new(config->capture_memory);
	if (!source->early || !source->recent || open_map(source) < 0 || regions_init(source) < 0) {
		source_free(source);
		return NULL;
	}
	source->config.state = NULL;
	epoch_init(source);
	return source;
}

static void started(struct source *source)
{
	if (source->stopping) {
		source_check_stopped(source);
		return;
	}
	clock_set(source->clock, &source->tick, clock_now(source->clock) + TICK);
	uplink_start(source);
}

void source_start(struct source *source)
{
	if (source->map_damaged)
		source_tell(source, SOURCE_MAP_DAMAGED, 0, "parts of the change map are damaged and count as changed");
	regions_load(source, started);
}

void source_free(struct source *source)
{
	struct request *request;

	source->stopping = false; // nobody waits for that any more
	clock_cancel(source->clock, &source->tick);
	clock_cancel(source->clock, &source->finish);
	clock_cancel(source->clock, &source->merge_timer);
	clock_cancel(source->clock, &source->cut_timer);
	clock_cancel(source->clock, &source->pace);
	clock_cancel(source->clock, &source->redial);
	clock_cancel(source->clock, &source->stop_timer);
	clock_cancel(source->clock, &source->drain_timer);
	TAILQ_FOREACH(request, &source->changes, changes)
	free(request->bounce);
	TAILQ_FOREACH(request, &source->bounced, changes)
	free(request->bounce);
	uplink_free(source);
	capture_free(source);
	parcels_free(source);
	if (source->early)
		early_free(source->early);
	if (source->recent)
		recent_free(source->recent);
	if (source->intent)
		intent_free(source->intent);
	map_destroy(&source->map);
	free(source);
}

static void flush_next(struct source *source);

static void stop_flushed(struct disk_io *io, int error)
{
	struct source *source = container_of(io, struct source, stop_io);

	// The standby may hold what the device still loses: a clean stop must not
	// hide that.
	if (error) {
		map_suspect(&source->map);
		map_save(&source->map);
	}
	source->stop_volume++;
	flush_next(source);
}

static void flush_next(struct source *source)
{
	if (source->stop_volume == source->volume_count) {
		source->stopped(source->stopped_user);
		return;
	}
	source->stop_io = (struct disk_io){.op = DISK_FLUSH, .done = stop_flushed};
	disk_submit(source->volumes[source->stop_volume].disk, &source->stop_io);
}

void source_check_stopped(struct source *source)
{
	if (source->requests || source->reads || source->parcel_count || !TAILQ_EMPTY(&source->notes) ||
	    early_busy(source->early) || regions_busy(source) || source->stop_flushing)
		return;
	source->stop_flushing = true;
	flush_next(source);
}

static void check_stopped(struct timer *timer)
{
	source_check_stopped(container_of(timer, struct source, stop_timer));
}

void source_stop(struct source *source, void (*stopped)(void *user), void *user)
{
	source->stopped = stopped;
	source->stopped_user = user;
	source->stopping = true;
	clock_cancel(source->clock, &source->tick);
	clock_cancel(source->clock, &source->cut_timer);
	clock_cancel(source->clock, &source->pace);
	uplink_stop(source);
	handover_end(source);
	// Not from within this call.
	source->stop_timer.fire = check_stopped;
	clock_set(source->clock, &source->stop_timer, 0);
}

bool source_hole(struct source *source, unsigned volume, uint64_t offset, uint64_t *length)
{
	return disk_hole(source->volumes[volume].disk, offset, length);
}

void source_pause(struct source *source, bool pause)
{
	if (source->paused == pause)
		return;
	source->paused = pause;
	if (pause)
		epoch_widen(source, TROUBLE_NONE, "replication was paused");
	else
		epoch_consider(source);
	oversize_retry(source);
}

void source_set_limits(struct source *source, uint64_t rpo, uint64_t bandwidth)
{
	source->config.rpo = rpo;
	source->cadence.rpo = rpo;
	source->cadence.limit = bandwidth;
	source->config.bandwidth = bandwidth;
	source->tokens = 0;
	oversize_retry(source);
	epoch_consider(source);
	shipper_pump(source);
}

int64_t source_oldest(const struct source *source)
{
	int64_t oldest = 0;

	for (unsigned i = 0; i < MAP_SETS; i++) {
		const struct change_set *set = &source->map.sets[i];

		if (set->state != SET_FREE && set->oldest && (!oldest || set->oldest < oldest))
			oldest = set->oldest;
	}
	return oldest;
}

uint64_t source_lag(struct source *source)
{
	int64_t oldest = source_oldest(source), now = clock_wall(source->clock);

	return !oldest ? 0 : now > oldest ? (uint64_t)(now - oldest) : 1;
}

static uint64_t dirty_bytes(const struct source *source, unsigned volume)
{
	uint64_t blocks = 0;

	for (unsigned i = 0; i < MAP_SETS; i++)
		blocks += source->map.sets[i].dirty[volume].count;
	return blocks << BLOCK_SHIFT;
}

uint64_t source_behind(const struct source *source)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < source->volume_count; i++)
		bytes += dirty_bytes(source, i);
	return bytes;
}

bool source_dirty(struct source *source, unsigned volume, uint64_t *block, uint64_t *count)
{
	return map_next(&source->map, volume, 0, block, count);
}

static bool inconsistent(const struct source *source)
{
	return source->plan == PLAN_FULL_SYNC || source->plan == PLAN_WALK || source->plan == PLAN_COMPLETE;
}

bool source_walks_changes(const struct source *source)
{
	return source->plan == PLAN_WALK || (source->plan == PLAN_COMPLETE && source->map.partial);
}

static enum source_state state_of(const struct source *source)
{
	if (source->verdict != SOURCE_STATE_REPLICATING)
		return source->verdict;
	if (source->handover || (!source->ever_ready && !source->serving))
		return SOURCE_STATE_WAITING;
	if (source->paused)
		return SOURCE_STATE_PAUSED;
	if (inconsistent(source))
		return source_walks_changes(source) ? SOURCE_STATE_RESYNC : SOURCE_STATE_FULL_SYNC;
	return source->plan == PLAN_COMPARE || source->adopting ? SOURCE_STATE_RESYNC : SOURCE_STATE_REPLICATING;
}

// A sync of everything looks through the volumes; that of the differences
// through them as well, and what it found is counted as behind already.
static void report_sync(const struct source *source, struct source_status *status)
{
	bool all = source->plan == PLAN_FULL_SYNC || (source->plan == PLAN_COMPARE && source->map.suspect);

	status->syncing =
	        all || source->plan == PLAN_WALK || (status->connected && status->state == SOURCE_STATE_RESYNC);
	if (!status->syncing)
		return;
	shipper_sync_progress(source, &status->sync_done, &status->sync_total);
	if (all)
		status->bytes_behind += status->sync_total - status->sync_done;
	else if (source->sent_count && !source->capturing.number)
		status->sync_done = status->sync_total; // sent, and not yet durable
}

void source_status(struct source *source, struct source_status *status)
{
	*status = (struct source_status){
	        .state = state_of(source),
	        .reason = trouble_name(outlook_trouble(source)),
	        .connected = uplink_ready(source),
	        .serving = source->serving && !source->handover,
	        .fenced = source->fenced,
	        .handed = source->handed,
	        .acknowledged = source->map.acknowledged,
	        .split = source->split,
	        .complete = !source->map.suspect && !source->doubtful,
	        .oldest = source_oldest(source),
	        .peer_bytes = source->peer_bytes,
	        .peer_since = source->peer_since,
	        .peer_born = source->peer_born,
	        .open = source->map.cut + 1,
	        .durable = source->durable,
	        .applied = source->applied,
	        .lag = source_lag(source),
	        .outlook = outlook_lag(source),
	        .change_rate = source->changed.rate,
	        .ship_rate = source->shipped.rate,
	        .wire_bytes = source->shipped.total,
	        .recovery_point = source->recovery_point,
	        .inconsistent = inconsistent(source),
	};
	memcpy(status->peer, source->peer, sizeof(status->peer));
	for (unsigned i = 0; i < source->volume_count; i++) {
		status->volume_dirty[i] = dirty_bytes(source, i);
		status->bytes_behind += status->volume_dirty[i];
	}
	report_sync(source, status);
	status->eta = outlook_eta(source, status);
}
