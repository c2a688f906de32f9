// SPDX-License-Identifier: Apache-2.0
// What a promotion left in the journal (receiver/redo.h), under a pair's engine:
// from its opening until the pair's state says durably that it is done. A fenced
// pair, that has no engine, redoes it too: its volumes are to be what they were
// promoted to before they can be anything else.
#include "pair_impl.h"

#include "common/log.h"
#include "common/state_file.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

static void opened(void *user, int error, const struct error *err)
{
	struct pair *pair = user;
	struct redo_status status;

	redo_status(pair->redo, &status);
	if (!error)
		log_event(LOG_LEVEL_INFO, "redo-started", "pair=%s bytes=%" PRIu64, pair->name, status.total);
	pair_opened(pair, error, err);
}

// The files are let go by whoever changes the pair's role next.
static void stopped_fenced(void *user)
{
	struct pair *pair = user;

	redo_free(pair->redo);
	slots_free(pair->slots);
	pair->redo = NULL;
	pair->slots = NULL;
	pair->redo_stopping = false;
	if (pair->phase == PAIR_STOPPING)
		pair_shut(pair);
	else
		(void)turn_found_fenced(pair); // its role may be changed from now on
}

static void saved(void *user, int error)
{
	struct pair *pair = user;
	char path[PATHS_MAX];

	pair->saving--;
	if (error < 0) {
		// the log is still there: the next start does it again, or finds it done
		log_event(LOG_LEVEL_ERROR, "state-not-kept", "pair=%s reason=%s", pair->name, strerror(-error));
	} else {
		redo_release(pair->redo);
		(void)unlink(path_pair_file(&pair->agent->paths, pair->name, FILE_REDO, path));
		log_event(LOG_LEVEL_INFO, "redo-done", "pair=%s", pair->name);
	}
	if (pair->phase == PAIR_STOPPING) {
		pair_shut(pair);
	} else if (pair->phase == PAIR_FENCED) {
		pair->redo_stopping = true;
		redo_stop(pair->redo, stopped_fenced, pair);
	} else if (pair->files.state.fenced && !pair->turn) {
		turn_fenced(pair); // likewise
	}
}

static void save(struct pair *pair)
{
	pair->files.state.redo = false;
	pair_save(pair, pair, saved);
}

static void slots_loaded(void *user, int error, const void *payload, size_t length, bool damaged)
{
	struct pair *pair = user;

	(void)payload;
	(void)length;
	(void)damaged;
	pair->saving--;
	if (error < 0)
		log_event(LOG_LEVEL_ERROR, "state-unreadable", "pair=%s reason=%s", pair->name, strerror(-error));
	if (pair->phase == PAIR_STOPPING)
		pair_shut(pair);
	else
		save(pair);
}

static void done(void *user)
{
	struct pair *pair = user;

	if (pair->phase != PAIR_FENCED) {
		save(pair);
		return;
	}
	pair->slots = slots_new(pair->files.state_disk, 0, STATE_SLOT_KIND_PAIR);
	if (!pair->slots)
		return; // the next start does it again
	pair->saving++;
	slots_load(pair->slots, pair, slots_loaded);
}

static void trouble(void *user, const struct error *err)
{
	log_event(LOG_LEVEL_ERROR, "redo-failed", "pair=%s reason=%s", ((struct pair *)user)->name, err->text);
}

int pair_redo_start(struct pair *pair, struct error *err)
{
	static const struct redo_events events = {opened, done, trouble};
	struct pair_files *files = &pair->files;
	struct redo_config config = {
	        .clock = loop_clock(pair->agent->loop),
	        .journal = files->journal,
	        .log = files->redo,
	        .volume_count = files->state.volume_count,
	        .state = &files->state,
	        .region_blocks = REDO_REGION_BLOCKS,
	        .events = &events,
	        .user = pair,
	};

	memcpy(config.volumes, files->volumes, sizeof(config.volumes));
	pair->redo = redo_new(&config);
	if (!pair->redo)
		return fail(err, ENOMEM, "start pair %s: out of memory", pair->name);
	redo_start(pair->redo);
	return 0;
}

struct disk *pair_disk(struct pair *pair, unsigned volume)
{
	return pair->redo ? redo_disk(pair->redo, volume) : pair->files.volumes[volume];
}

bool pair_redoes(const struct pair *pair)
{
	return pair->files.state.redo || (pair->redo && pair->phase == PAIR_FENCED);
}

static void stopped(void *user)
{
	struct pair *pair = user;

	pair->redo_stopping = false;
	pair->redo_stopped = true;
	pair_shut(pair);
}

bool pair_redo_busy(struct pair *pair)
{
	if (pair->redo && !pair->redo_stopping && !pair->redo_stopped) {
		pair->redo_stopping = true;
		redo_stop(pair->redo, stopped, pair);
	}
	return pair->redo_stopping;
}

void pair_redo_report(const struct pair *pair, struct pair_status *status)
{
	struct redo_status redo;

	if (!pair->redo || !pair->files.state.redo)
		return;
	redo_status(pair->redo, &redo);
	status->redoing = true;
	status->redo_done = (int64_t)redo.done;
	status->redo_total = (int64_t)redo.total;
	if (redo.trouble)
		status->reason = "redo-failed";
	else if (!status->reason)
		status->reason = "redoing";
}
