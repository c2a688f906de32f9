// SPDX-License-Identifier: Apache-2.0
#include "apply.h"

#include "stored.h"

#include "common/mutant.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define RETRY_DELAY NSEC_PER_SEC

enum stage {
	STAGE_NONE, // between two epochs
	STAGE_WRITING,
	STAGE_FLUSHING,
	STAGE_SETTLING, // flushed
	STAGE_RETRYING, // after an error, until the timer fires
	STAGE_DAMAGED, // for good
};

struct apply {
	struct clock *clock;
	struct journal *journal;
	struct volumes *volumes;
	const struct state_volume *table;
	unsigned volume_count;
	const struct apply_events *events;
	void *user;

	enum stage stage;
	struct journal_record *record; // that is being applied
	uint32_t offset; // of its next frame
	bool ended; // no record follows
	bool loading;
	bool held;
	bool stopping;
	struct timer timer;
	bool trouble;
	struct error text;
};

struct apply *apply_new(struct clock *clock, struct journal *journal, struct volumes *volumes,
                        const struct state_volume *table, unsigned volume_count, const struct apply_events *events,
                        void *user)
{
	struct apply *apply = calloc(1, sizeof(*apply));

	if (!apply)
		return NULL;
	apply->clock = clock;
	apply->journal = journal;
	apply->volumes = volumes;
	apply->table = table;
	apply->volume_count = volume_count;
	apply->events = events;
	apply->user = user;
	return apply;
}

void apply_free(struct apply *apply)
{
	if (apply)
		clock_cancel(apply->clock, &apply->timer);
	free(apply);
}

static void retry(struct timer *timer)
{
	struct apply *apply = (struct apply *)((char *)timer - offsetof(struct apply, timer));

	apply->stage = STAGE_NONE;
	apply->events->progress(apply->user);
}

// The epoch is begun anew, as if it had never been touched: what a failed
// write or flush left behind is not known.
static void stumble(struct apply *apply, const struct error *err)
{
	if (apply->record)
		journal_release(apply->journal, apply->record);
	apply->record = NULL;
	apply->trouble = true;
	apply->text = *err;
	apply->stage = STAGE_RETRYING;
	apply->timer.fire = retry;
	if (!apply->stopping)
		clock_set(apply->clock, &apply->timer, clock_now(apply->clock) + RETRY_DELAY);
}

static void damage(struct apply *apply, const struct error *err)
{
	apply->stage = STAGE_DAMAGED;
	apply->trouble = true;
	apply->text = *err;
	if (apply->record)
		journal_release(apply->journal, apply->record);
	apply->record = NULL;
	apply->events->damaged(apply->user, err);
}

static void damaged_record(struct apply *apply, const char *why)
{
	struct error err;

	fail(&err, EILSEQ, "journal is damaged: record at offset %" PRIu64 ": %s: epoch %" PRIu64 " was durable",
	     journal_offset(apply->journal, apply->record), why, journal_next(apply->journal)->epoch);
	damage(apply, &err);
}

static void loaded(void *user, int error, const struct error *err)
{
	struct apply *apply = user;

	apply->loading = false;
	if (error == -EILSEQ)
		damaged_record(apply, "checksum does not match");
	else if (error)
		stumble(apply, err);
	apply->events->progress(apply->user);
}

// Begins to write the frame at offset of the record. 0 or why it is not one.
static const char *put_frame(struct apply *apply, const uint8_t *frames, uint32_t left, int *error)
{
	struct wire_blocks blocks;
	struct frame frame;
	const char *why = stored_frame(frames, left, &frame);

	if (!why)
		why = stored_blocks(&frame, apply->table, apply->volume_count, &blocks);
	if (why)
		return why;
	*error = volumes_put(apply->volumes, &blocks, 0);
	if (*error == -EBADMSG)
		return "content does not unpack";
	if (!*error)
		apply->offset += FRAME_HEADER_BYTES + frame.length;
	return NULL;
}

static bool next_record(struct apply *apply)
{
	struct journal_record *next = journal_record(apply->journal, apply->record);

	if (apply->record)
		journal_release(apply->journal, apply->record);
	apply->record = next;
	apply->offset = 0;
	apply->ended = !next;
	return next != NULL;
}

// Puts as many frames on their way as there is room for. True when all are.
static bool put_frames(struct apply *apply)
{
	const uint8_t *frames;
	const char *why = NULL;
	struct error err;
	uint32_t length;
	int error = 0;

	while (!error && !apply->ended) {
		if (!apply->record && !next_record(apply))
			break;
		if (apply->loading)
			return false;
		frames = journal_frames(apply->record, &length);
		if (!frames) {
			error = journal_load(apply->journal, apply->record, apply, loaded);
			apply->loading = !error;
			continue;
		}
		while (!error && !why && apply->offset < length && volumes_ready(apply->volumes))
			why = put_frame(apply, frames + apply->offset, length - apply->offset, &error);
		if (why) {
			damaged_record(apply, why);
			return false;
		}
		if (apply->offset < length && !error)
			return false;
		if (!error)
			next_record(apply);
	}
	if (error) {
		fail(&err, -error, "no memory to apply epoch %" PRIu64, journal_next(apply->journal)->epoch);
		stumble(apply, &err);
	}
	return !error;
}

static void flushed(void *user, int error, const struct error *err)
{
	struct apply *apply = user;

	if (error)
		stumble(apply, err);
	else
		apply->stage = STAGE_SETTLING;
	apply->events->progress(apply->user);
}

static void write_epoch(struct apply *apply)
{
	struct error err;
	bool all = !volumes_error(apply->volumes, NULL) && put_frames(apply);

	if (apply->stage != STAGE_WRITING || !volumes_idle(apply->volumes) || apply->loading)
		return;
	if (volumes_error(apply->volumes, &err)) {
		stumble(apply, &err);
		return;
	}
	if (!all)
		return;
	if (MUTANT(TAIL_FREED_BEFORE_FLUSH)) {
		apply->stage = STAGE_SETTLING;
		return;
	}
	apply->stage = STAGE_FLUSHING;
	volumes_flush(apply->volumes, apply, flushed);
}

static void settle_epoch(struct apply *apply)
{
	const struct commit *commit = journal_next(apply->journal);
	uint64_t epoch = commit->epoch;

	if (!apply->events->settle(apply->user, commit))
		return;
	journal_applied(apply->journal);
	apply->stage = STAGE_NONE;
	apply->trouble = false;
	apply->events->applied(apply->user, epoch);
}

static void leave_epoch(struct apply *apply)
{
	if (apply->record)
		journal_release(apply->journal, apply->record);
	apply->record = NULL;
	apply->stage = STAGE_NONE;
}

void apply_advance(struct apply *apply)
{
	enum stage before;

	do {
		before = apply->stage;
		if (apply->stage == STAGE_NONE && !apply->stopping && !apply->held && volumes_idle(apply->volumes) &&
		    journal_next(apply->journal)) {
			volumes_forgive(apply->volumes);
			apply->record = NULL;
			apply->ended = false;
			apply->stage = STAGE_WRITING;
		}
		if (apply->stage == STAGE_WRITING && (apply->stopping || apply->held)) {
			// the epoch is begun anew some time
			if (volumes_idle(apply->volumes) && !apply->loading)
				leave_epoch(apply);
		} else if (apply->stage == STAGE_WRITING) {
			write_epoch(apply);
		}
		if (apply->stage == STAGE_SETTLING)
			settle_epoch(apply);
	} while (apply->stage != before);
}

bool apply_done(const struct apply *apply)
{
	return apply->stage == STAGE_NONE && !journal_next(apply->journal) && journal_settled(apply->journal);
}

bool apply_hold(struct apply *apply, bool hold)
{
	bool before = apply->held;

	apply->held = hold;
	return before != hold;
}

void apply_stop(struct apply *apply)
{
	apply->stopping = true;
	clock_cancel(apply->clock, &apply->timer);
}

bool apply_idle(const struct apply *apply)
{
	switch (apply->stage) {
	case STAGE_WRITING:
	case STAGE_FLUSHING:
		return false;
	case STAGE_SETTLING:
		return apply->stopping;
	default:
		return volumes_idle(apply->volumes);
	}
}

const char *apply_trouble(const struct apply *apply)
{
	return apply->trouble ? apply->text.text : NULL;
}
