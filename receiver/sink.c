// SPDX-License-Identifier: Apache-2.0
#include "sink_impl.h"

#include "common/mutant.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define SAVE_RETRY_DELAY NSEC_PER_SEC
#define DEPTH_MAX 16 // frames that are being written to volumes

static const struct journal_events journal_events;
static const struct apply_events apply_events;

static void volumes_progress(void *user)
{
	sink_advance(user);
}

// A part of the memory unpacks frames, the rest holds records.
static unsigned volume_depth(uint64_t memory)
{
	uint64_t depth = memory / 4 / BLOCKS_RAW_MAX;

	return depth < 1 ? 1 : depth > DEPTH_MAX ? DEPTH_MAX : (unsigned)depth;
}

struct sink *sink_new(const struct sink_config *config)
{
	struct sink *sink = calloc(1, sizeof(*sink));
	unsigned depth = volume_depth(config->apply_memory);

	if (!sink)
		return NULL;
	sink->config = *config;
	sink->clock = config->clock;
	sink->scratch = malloc(BLOCKS_RAW_MAX);
	sink->unpacker = unpacker_new();
	sink->slots = slots_new(config->state, 0, STATE_SLOT_KIND);
	sink->volumes = volumes_new(config->volumes, config->volume_count, depth, volumes_progress, sink);
	sink->journal = journal_new(&(struct journal_config){
	        .disk = config->journal,
	        .clock = config->clock,
	        .memory = config->apply_memory > depth * (uint64_t)BLOCKS_RAW_MAX
	                          ? config->apply_memory - depth * (uint64_t)BLOCKS_RAW_MAX
	                          : 0,
	        .random = config->random,
	        .random_user = config->user,
	        .events = &journal_events,
	        .user = sink,
	});
	if (sink->journal && sink->volumes)
		sink->apply = apply_new(config->clock, sink->journal, sink->volumes, sink->state.volumes,
		                        config->volume_count, &apply_events, sink);
	if (!sink->scratch || !sink->unpacker || !sink->slots || !sink->apply) {
		sink_free(sink);
		return NULL;
	}
	return sink;
}

void sink_free(struct sink *sink)
{
	if (!sink)
		return;
	clock_cancel(sink->clock, &sink->soon);
	clock_cancel(sink->clock, &sink->save_timer);
	session_free(sink);
	compare_free(sink);
	promote_free(sink);
	beyond_free(sink->beyond);
	apply_free(sink->apply);
	journal_free(sink->journal);
	volumes_free(sink->volumes);
	slots_free(sink->slots);
	free(sink->scratch);
	unpacker_free(sink->unpacker);
	free(sink);
}

void sink_event(struct sink *sink, enum sink_event event, uint64_t epoch, const char *text)
{
	sink->config.event(sink->config.user, event, epoch, text);
}

// What has to be done, done in turn, until nothing more can be.

static bool all_idle(const struct sink *sink)
{
	return sink->opened && journal_idle(sink->journal) && apply_idle(sink->apply) && sink_settled(sink);
}

static void soon_fired(struct timer *timer)
{
	struct sink *sink = (struct sink *)((char *)timer - offsetof(struct sink, soon));
	void (*stopped)(void *user) = sink->stopped;

	sink_advance(sink); // what it wants soon is done right below
	sink->soon_set = false;
	promote_report(sink);
	roles_report(sink);
	if (stopped && all_idle(sink)) {
		sink->stopped = NULL;
		stopped(sink->stopped_user); // may free the sink
	}
}

void sink_soon(struct sink *sink)
{
	if (sink->soon_set)
		return;
	sink->soon_set = true;
	sink->soon.fire = soon_fired;
	clock_set(sink->clock, &sink->soon, clock_now(sink->clock));
}

void sink_advance(struct sink *sink)
{
	sink->again = true;
	if (sink->advancing || !sink->opened)
		return;
	sink->advancing = true;
	while (sink->again) {
		sink->again = false;
		if (!sink->failed && sink->state.role == ROLE_STANDBY)
			apply_advance(sink->apply);
		direct_advance(sink);
		session_advance(sink);
		roles_advance(sink);
		promote_advance(sink);
	}
	sink->advancing = false;
	if (sink->stopped && all_idle(sink))
		sink_soon(sink);
}

bool sink_settled(const struct sink *sink)
{
	return journal_settled(sink->journal) && direct_idle(sink) && compare_idle(sink) && !sink->saving;
}

void sink_fail(struct sink *sink, const struct error *err)
{
	if (sink->failed)
		return;
	sink->failed = true;
	sink->failed_text = *err;
	session_end(sink, err->text);
	promote_cancel(sink, err->text);
}

// The state.

static void save_again(struct timer *timer)
{
	struct sink *sink = (struct sink *)((char *)timer - offsetof(struct sink, save_timer));

	sink->save_waits = false;
	sink_advance(sink);
}

static void state_saved(void *user, int error)
{
	struct sink *sink = user;
	void (*saved)(struct sink * sink, int error) = sink->saved;

	sink->saving = false;
	if (!error)
		sink->state = sink->next;
	saved(sink, error);
	sink_advance(sink);
}

void sink_save(struct sink *sink, void (*saved)(struct sink *sink, int error))
{
	uint8_t buffer[STATE_ENCODED_MAX];
	size_t length = state_encode(&sink->next, buffer);

	sink->saving = true;
	sink->saved = saved;
	slots_save(sink->slots, buffer, length, sink, state_saved);
}

// Start.

static void opened(struct sink *sink, const struct error *err)
{
	sink->opened = true;
	if (err) {
		sink->failed = true;
		sink->failed_text = *err;
	}
	sink_event(sink, SINK_OPENED, 0, err ? err->text : NULL);
	if (!err && sink->consistent && !sink->state.consistent)
		sink_event(sink, SINK_SYNC_DONE, journal_durable(sink->journal), NULL);
	sink_advance(sink);
}

static void journal_opened(void *user, int error, const struct error *err, const char *repaired)
{
	struct sink *sink = user;

	if (repaired)
		sink_event(sink, SINK_DAMAGE_REPAIRED, 0, repaired);
	sink->recovery_point = journal_durable_wall(sink->journal);
	sink->consistent = sink->state.consistent || (!error && journal_completes(sink->journal, &sink->state.sync));
	roles_opened(sink);
	opened(sink, error ? err : NULL);
}

static int check_state(struct sink *sink, const void *payload, size_t length, struct error *err)
{
	int error = state_decode(payload, length, &sink->state, err);

	if (error)
		return error;
	if (sink->state.volume_count != sink->config.volume_count)
		return fail(err, EINVAL, "pair has %u volumes, its state says %u", sink->config.volume_count,
		            sink->state.volume_count);
	for (unsigned i = 0; i < sink->state.volume_count; i++) {
		const struct state_volume *volume = &sink->state.volumes[i];

		if (sink->config.volumes[i]->size < volume->bytes)
			return fail(err, EINVAL, "volume %s has %" PRIu64 " bytes, must have at least %" PRIu64,
			            volume->name, sink->config.volumes[i]->size, volume->bytes);
	}
	return 0;
}

static void state_loaded(void *user, int error, const void *payload, size_t length, bool damaged)
{
	struct sink *sink = user;
	bool fresh;
	struct error err;

	if (error == -EILSEQ)
		fail(&err, EILSEQ, "pair state is damaged: neither of its two copies matches its checksum");
	else if (error)
		fail(&err, -error, "read pair state: %s", error == -ENOENT ? "there is none" : strerror(-error));
	if (!error && damaged)
		sink_event(sink, SINK_DAMAGE_REPAIRED, 0, "one copy of the pair state was damaged, the other was used");
	if (!error)
		error = check_state(sink, payload, length, &err);
	if (!error) {
		volumes_describe(sink->volumes, sink->state.volumes);
		sink->consistent = sink->state.consistent;
		sink->recovery_point = sink->state.promoted_point;
		fresh = sink->state.base_epoch || (!sink->state.consistent && id_is_none(&sink->state.sync));
		// once promoted, the volumes are not ours and the journal has nothing to say
		if (sink->state.role == ROLE_STANDBY) {
			error = journal_open(sink->journal, &sink->state.lineage.generation, fresh,
			                     sink->state.base_epoch, &err);
			if (!error)
				return;
		}
		roles_opened(sink);
	}
	opened(sink, error ? &err : NULL);
}

void sink_start(struct sink *sink)
{
	slots_load(sink->slots, sink, state_loaded);
}

void sink_stop(struct sink *sink, void (*stopped)(void *user), void *user)
{
	sink->stopping = true;
	sink->stopped = stopped;
	sink->stopped_user = user;
	session_end(sink, "the receiver stops");
	promote_cancel(sink, "the receiver stops");
	apply_stop(sink->apply);
	journal_stop(sink->journal);
	sink_soon(sink);
}

// What the journal says.

static void journal_durable_event(void *user, const struct commit *commit)
{
	struct sink *sink = user;
	bool completes = commit->completes && !sink->consistent && id_equal(&commit->sync, &sink->state.sync);

	sink->recovery_point = commit->cut_wall;
	if (completes)
		sink->consistent = true;
	if (commit->adopts)
		roles_adopt(sink, commit);
	sink->session.too_large = false;
	session_durable(sink, commit->epoch);
	sink_event(sink, SINK_DURABLE, commit->epoch, NULL);
	if (completes)
		sink_event(sink, SINK_SYNC_DONE, commit->epoch, NULL);
}

static void journal_rejected(void *user, uint64_t epoch, int error, const struct error *err)
{
	session_reject(user, epoch, error == -ENOSPC ? REJECT_DISK_FULL : REJECT_ERROR, err->text);
}

static void progress(void *user)
{
	sink_advance(user);
}

static const struct journal_events journal_events = {
        .opened = journal_opened,
        .durable = journal_durable_event,
        .rejected = journal_rejected,
        .progress = progress,
};

// What apply says.

static void settled(struct sink *sink, int error)
{
	if (!error)
		return;
	sink->save_waits = true;
	sink->save_timer.fire = save_again;
	if (!sink->stopping)
		clock_set(sink->clock, &sink->save_timer, clock_now(sink->clock) + SAVE_RETRY_DELAY);
}

// Before the journal forgets the epoch that says that we are consistent, or of
// another generation, the state has to say it.
static bool settle(void *user, const struct commit *commit)
{
	struct sink *sink = user;

	(void)commit;
	if ((!sink->consistent || sink->state.consistent) && (roles_saved(sink) || MUTANT(ADOPTION_NOT_SAVED)))
		return true;
	if (!sink->saving && !sink->save_waits) {
		sink->next = sink->state;
		sink->next.consistent = sink->consistent;
		sink->next.partial &= !sink->consistent;
		roles_next(sink);
		sink_save(sink, settled);
	}
	return false;
}

static void applied(void *user, uint64_t epoch)
{
	struct sink *sink = user;

	sink->again = true;
	sink_event(sink, SINK_APPLIED, epoch, NULL);
}

static void damaged(void *user, const struct error *err)
{
	sink_fail(user, err);
}

static const struct apply_events apply_events = {
        .settle = settle,
        .applied = applied,
        .damaged = damaged,
        .progress = progress,
};
