// SPDX-License-Identifier: Apache-2.0
// Files of the pair that cannot be written: the state, which is tried again, and
// what the engine says of its write-intent log. The application goes on; that
// what is there is not to be trusted after a power failure is kept beside the
// configuration, and told.
#include "pair_impl.h"
#include "pair_mark.h"

#include "common/events.h"
#include "common/log.h"

#include <string.h>

// What was waiting for the mark, or for it not to be had.
static void settle(struct pair *pair)
{
	bool marked = pair->marked == (pair->marks != 0);

	if (pair->log_waits) {
		pair->log_waits = false;
		source_unlogged(pair->source);
	}
	if (pair->touch_waits) {
		pair->touch_waits = false;
		pair->files.state.untouched = !marked;
		source_touched(pair->source, marked ? 0 : pair->touch_error);
	}
}

static void mark_work(struct job *job)
{
	struct pair *pair = (struct pair *)((char *)job - offsetof(struct pair, mark_job));
	const struct paths *paths = &pair->agent->paths;

	pair->mark_error = pair->marking_on
	                           ? pair_mark_make(paths, pair->name, &pair->mark_generation, &pair->mark_reason)
	                           : pair_mark_remove(paths, pair->name, &pair->mark_reason);
}

static void advance(struct pair *pair);

static void mark_done(struct job *job)
{
	struct pair *pair = (struct pair *)((char *)job - offsetof(struct pair, mark_job));

	pair->marking = false;
	if (pair->mark_error)
		log_event(LOG_LEVEL_ERROR, "mark-failed", "pair=%s reason=%s", pair->name, pair->mark_reason.text);
	else
		pair->marked = pair->marking_on;
	if (!pair->mark_error)
		advance(pair);
	if (!pair->marking)
		settle(pair);
	if (pair->phase == PAIR_STOPPING)
		pair_shut(pair);
}

static void advance(struct pair *pair)
{
	if (pair->marking || pair->marked == (pair->marks != 0))
		return;
	pair->marking_on = pair->marks != 0;
	pair->mark_generation = pair->files.state.lineage.generation;
	pair->mark_job.work = mark_work;
	pair->mark_job.done = mark_done;
	pair->marking = job_start(pair->agent->loop, &pair->mark_job) == 0;
}

static void mark(struct pair *pair, unsigned what, bool on)
{
	pair->marks = on ? pair->marks | what : pair->marks & ~what;
	advance(pair);
	if (!pair->marking)
		settle(pair);
}

void pair_unlogged(struct pair *pair, const char *why)
{
	log_event(LOG_LEVEL_ERROR, "unlogged", "pair=%s reason=%s", pair->name, why);
	snprintf(pair->failing, sizeof(pair->failing), "%s", why);
	pair->log_waits = true;
	// Not from within the engine's call.
	mark(pair, MARK_LOG, true);
}

void pair_logged(struct pair *pair)
{
	log_event(LOG_LEVEL_INFO, "logged", "pair=%s", pair->name);
	mark(pair, MARK_LOG, false);
}

// -- the state --

static void saved_again(void *user, int error)
{
	struct pair *pair = user;

	pair->saving--;
	if (error < 0) {
		pair_state_failed(pair, error);
	} else {
		pair->state_failed = false;
		log_event(LOG_LEVEL_INFO, "state-kept", "pair=%s", pair->name);
		pair_redo_saved(pair);
		mark(pair, MARK_STATE, false);
	}
	if (pair->phase == PAIR_STOPPING)
		pair_shut(pair);
}

void pair_state_failed(struct pair *pair, int error)
{
	if (!pair->state_failed)
		log_event(LOG_LEVEL_ERROR, "state-not-kept", "pair=%s reason=%s", pair->name, strerror(-error));
	snprintf(pair->failing, sizeof(pair->failing), "the state cannot be written: %s", strerror(-error));
	pair->state_failed = true;
}

void pair_untouched_failed(struct pair *pair, int error)
{
	pair_state_failed(pair, error);
	pair->touch_waits = true;
	pair->touch_error = error;
	mark(pair, MARK_STATE, true);
}

void pair_found_marked(struct pair *pair)
{
	pair->marked = pair->files.marked;
	if (!pair->marked)
		return;
	log_event(LOG_LEVEL_WARNING, "mark-found", "pair=%s reason=%s", pair->name,
	          "not all that was changed may have been noted: everything is compared");
	pair->marks = MARK_LOG | MARK_STATE;
	pair->state_failed = true;
}

void pair_watch_files(struct pair *pair, const struct pair_status *status)
{
	bool failing = status->reason && !strcmp(status->reason, "state-failed");

	if (pair->state_failed && !pair->saving && pair->phase == PAIR_RUNNING)
		pair_save(pair, pair, saved_again);
	if (failing == pair->told_failing)
		return;
	pair->told_failing = failing;
	if (failing)
		log_event(LOG_LEVEL_ERROR, "protection-lost", "pair=%s reason=%s", pair->name, pair->failing);
	else
		log_event(LOG_LEVEL_INFO, "protection-restored", "pair=%s", pair->name);
	event_happened(pair->agent->hooks, failing ? HOOK_PROTECTION_LOST : HOOK_PROTECTION_RESTORED, status,
	               failing ? pair->failing : NULL);
}
