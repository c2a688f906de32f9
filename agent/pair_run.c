// SPDX-License-Identifier: Apache-2.0
// A pair that runs: waiting for it, pausing, reloading, telling of it.
#include "pair.h"

#include "pair_impl.h"

#include "common/log.h"
#include "common/units.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

// -- waiting --

int pair_fenced(const struct pair *pair, struct error *reason)
{
	return fail(reason, EPERM, "pair %s was promoted on its peer: this node must not serve it any more",
	            pair->name);
}

static void answer(struct await *await, int error, const struct error *reason)
{
	clock_cancel(loop_clock(await->pair->agent->loop), &await->timer);
	await->done(await->user, error, reason);
	free(await);
}

void pair_answer(struct pair *pair, int error, const struct error *reason)
{
	struct await *await = pair->awaits, *next;

	pair->awaits = NULL;
	for (; await; await = next) {
		next = await->next;
		answer(await, error, reason);
	}
}

static void remove_await(struct await *await)
{
	struct await **at = &await->pair->awaits;

	while (*at != await)
		at = &(*at)->next;
	*at = await->next;
}

// What is so already is told from the timer too: never from within.
static void await_due(struct timer *timer)
{
	struct await *await = (struct await *)((char *)timer - offsetof(struct await, timer));
	struct pair *pair = await->pair;
	struct error reason;

	remove_await(await);
	if (pair->serving) {
		answer(await, 0, NULL);
	} else if (pair->phase == PAIR_REFUSED) {
		answer(await, -EINVAL, &pair->reason);
	} else if (pair->files.state.fenced) {
		answer(await, pair_fenced(pair, &reason), &reason);
	} else {
		answer(await, fail(&reason, EINPROGRESS, "pair %s waits for its peer", pair->name), &reason);
	}
}

int pair_await(struct pair *pair, unsigned seconds, void *user,
               void (*done)(void *user, int error, const struct error *reason))
{
	struct clock *clock = loop_clock(pair->agent->loop);
	struct await *await = calloc(1, sizeof(*await));
	bool settled =
	        (pair->serving && !pair->exports_opening) || pair->phase == PAIR_REFUSED || pair->files.state.fenced;

	if (!await)
		return -ENOMEM;
	await->timer.fire = await_due;
	await->pair = pair;
	await->user = user;
	await->done = done;
	await->next = pair->awaits;
	pair->awaits = await;
	clock_set(clock, &await->timer, clock_now(clock) + (settled ? 0 : seconds * NSEC_PER_SEC));
	return 0;
}

// -- pausing --

struct pausing {
	struct pair *pair;
	bool pause;
	void *user;
	void (*done)(void *user, int error, const struct error *reason);
};

static void paused(void *user, int error)
{
	struct pausing *pausing = user;
	struct pair *pair = pausing->pair;
	struct error err = {""};

	if (error < 0) {
		pair->files.state.paused = !pausing->pause;
		fail(&err, -error, "save the state of pair %s: %s", pair->name, strerror(-error));
	} else {
		log_event(LOG_LEVEL_INFO, pausing->pause ? "paused" : "resumed", "pair=%s", pair->name);
		source_pause(pair->source, pausing->pause);
		pair_notify_paused(pair, pausing->pause);
	}
	pausing->done(pausing->user, error, &err);
	free(pausing);
	pair->saving--;
	if (pair->phase == PAIR_STOPPING)
		pair_shut(pair);
}

void pair_pause(struct pair *pair, bool pause, void *user,
                void (*done)(void *user, int error, const struct error *reason))
{
	struct pausing *pausing;
	struct error err;

	if (pair->phase != PAIR_RUNNING) {
		done(user,
		     fail(&err, EAGAIN, "pair %s does not run: %s", pair->name,
		          pair->reason.text[0] ? pair->reason.text : "it is starting, or was promoted on its peer"),
		     &err);
		return;
	}
	pausing = malloc(sizeof(*pausing));
	if (!pausing) {
		done(user, fail(&err, ENOMEM, "pause pair %s: out of memory", pair->name), &err);
		return;
	}
	*pausing = (struct pausing){pair, pause, user, done};
	pair->files.state.paused = pause;
	pair_save(pair, pausing, paused);
}

// -- both sides --

// Of a node that was replaced its own dial hears only that; how much the
// successor holds is told by that one when it dials.
static struct status_side peers_side(const struct pair *pair, const struct status_side *heard)
{
	const struct pair_successor *successor = &pair->successor;

	if (!pair->files.state.fenced)
		return *heard;
	if (!successor->born)
		return (struct status_side){.bytes = UNKNOWN, .promoted = heard->promoted};
	return (struct status_side){(int64_t)successor->bytes, successor->since, successor->born};
}

static const char *when(int64_t wall, const char *otherwise, char text[WALL_TEXT_MAX])
{
	if (wall <= 0)
		return otherwise;
	wall_text(wall, text);
	return text;
}

void pair_log_sides(const struct pair *pair)
{
	struct source_status status;
	struct status_side peer;
	char since[WALL_TEXT_MAX], promoted[WALL_TEXT_MAX], peer_since[WALL_TEXT_MAX], peer_promoted[WALL_TEXT_MAX];
	char peer_bytes[24] = "unknown";

	source_status(pair->source, &status);
	if (status.state != SOURCE_STATE_SPLIT_BRAIN && status.state != SOURCE_STATE_DIVERGED)
		return;
	peer = (struct status_side){(int64_t)status.peer_bytes, status.peer_since, status.peer_born};
	peer = peers_side(pair, &peer);
	if (peer.bytes != UNKNOWN)
		snprintf(peer_bytes, sizeof(peer_bytes), "%" PRId64, peer.bytes);
	log_event(LOG_LEVEL_ERROR, status.state == SOURCE_STATE_SPLIT_BRAIN ? "split-brain" : "diverged",
	          "pair=%s local_bytes=%" PRIu64
	          " local_since=%s local_promoted=%s peer=%s peer_bytes=%s peer_since=%s peer_promoted=%s",
	          pair->name, status.bytes_behind, when(status.oldest, "unknown", since),
	          when(pair->files.state.born, "never", promoted), status.peer, peer_bytes,
	          when(peer.since, "unknown", peer_since), when(peer.promoted, "never", peer_promoted));
}

// -- fencing from outside --

struct fencing {
	struct pair *pair;
	void *user;
	void (*done)(void *user, int error, const struct error *reason);
};

static void fenced(void *user, int error)
{
	struct fencing *fencing = user;
	struct pair *pair = fencing->pair;
	struct error err = {""};

	if (error < 0)
		fail(&err, -error, "save the state of pair %s: %s", pair->name, strerror(-error));
	fencing->done(fencing->user, error, &err);
	free(fencing);
	pair->saving--;
	if (pair->phase == PAIR_STOPPING)
		pair_shut(pair);
}

void pair_fence(struct pair *pair, const struct pair_successor *successor, void *user,
                void (*done)(void *user, int error, const struct error *reason))
{
	static const struct id generation = {{1}}; // which one does not matter
	struct source_successor newer = {.untouched = successor->untouched};
	struct fencing *fencing;
	struct error err;
	bool news = successor->born != pair->successor.born;

	pair->successor = *successor;
	if (pair->phase == PAIR_RUNNING && pair->files.state.fenced && news)
		pair_log_sides(pair);
	if (pair->phase != PAIR_RUNNING || pair->files.state.fenced) {
		done(user, pair->files.state.fenced ? 0 : fail(&err, EAGAIN, "pair %s does not run", pair->name), &err);
		return;
	}
	if (!successor->forked)
		newer.lineage = pair->files.state.lineage;
	lineage_push(&newer.lineage, &generation, successor->epoch);
	source_fence(pair->source, &newer, "its peer was promoted and told this node's receiver");
	fencing = malloc(sizeof(*fencing));
	if (!fencing) {
		done(user, fail(&err, ENOMEM, "fence pair %s: out of memory", pair->name), &err);
		return;
	}
	// The engine's event has saved it once; this save tells when it is durable.
	*fencing = (struct fencing){pair, user, done};
	pair_save(pair, fencing, fenced);
}

// -- reloading --

static bool same_otherwise(const struct pair_config *a, const struct pair_config *b)
{
	bool same = !strcmp(a->peer, b->peer) && a->volume_count == b->volume_count &&
	            a->capture_memory == b->capture_memory && a->spill == b->spill && a->journal == b->journal;

	for (unsigned i = 0; same && i < a->volume_count; i++) {
		unsigned j = 0;

		while (j < b->volume_count && strcmp(a->volumes[i].name, b->volumes[j].name) != 0)
			j++;
		same = j < b->volume_count && !strcmp(a->volumes[i].path, b->volumes[j].path) &&
		       a->volumes[i].export == b->volumes[j].export;
	}
	return same;
}

uint64_t pair_bandwidth(const struct pair *pair)
{
	const struct pair_config *config = &pair->files.config;
	time_t now = (time_t)(clock_wall(loop_clock(pair->agent->loop)) / (int64_t)NSEC_PER_SEC);
	struct tm tm;

	localtime_r(&now, &tm);
	return hours_rate(config->hours, config->hours_count, (unsigned)(tm.tm_hour * 60 + tm.tm_min),
	                  config->bandwidth);
}

void pair_keep_hours(struct pair *pair)
{
	uint64_t bandwidth = pair_bandwidth(pair);
	char text[UNITS_TEXT_MAX] = "none";

	if (bandwidth == pair->bandwidth)
		return;
	pair->bandwidth = bandwidth;
	source_set_limits(pair->source, pair->files.config.rpo, bandwidth);
	if (bandwidth)
		format_size(bandwidth, text, sizeof(text));
	log_event(LOG_LEVEL_INFO, "bandwidth", "pair=%s limit=%s", pair->name, text);
}

void pair_reload(struct pair *pair)
{
	struct pair_config *config = &pair->files.config, new;
	char path[PATHS_MAX];
	struct error err;

	if (pair->phase == PAIR_REFUSED && pair->files.lock < 0) {
		pair_reopen(pair);
		return;
	}
	if (pair->phase != PAIR_RUNNING)
		return;
	if (config_read(path_config(&pair->agent->paths, pair->name, path), &new, &err) < 0) {
		log_event(LOG_LEVEL_ERROR, "config-rejected", "pair=%s reason=%s", pair->name, err.text);
		return;
	}
	if (!same_otherwise(config, &new))
		log_event(LOG_LEVEL_WARNING, "config-needs-restart", "pair=%s reason=%s", pair->name,
		          "volumes, peer and budgets change with the next start of the agent");
	config->rpo = new.rpo;
	config->rto = new.rto;
	config->bandwidth = new.bandwidth;
	config->hours_count = new.hours_count;
	memcpy(config->hours, new.hours, sizeof(config->hours));
	config->journal_full = new.journal_full;
	config->start_without_peer = new.start_without_peer;
	config->auto_resync = new.auto_resync;
	memcpy(config->listen, new.listen, sizeof(config->listen));
	memcpy(config->hooks, new.hooks, sizeof(config->hooks));
	source_set_in_place(pair->source, config->journal_full == JOURNAL_FULL_INCONSISTENT);
	pair->bandwidth = pair_bandwidth(pair);
	source_set_limits(pair->source, config->rpo, pair->bandwidth);
	log_event(LOG_LEVEL_INFO, "config-reloaded", "pair=%s", pair->name);
}

// -- telling --

// Found fenced at its start: nothing runs, the state says what is known.
static void report_fenced(const struct pair *pair, struct pair_status *status)
{
	const struct pair_state *state = &pair->files.state;

	status->state = state->split ? "split-brain" : "demoted";
	status->reason = "promoted-over";
	status->diverged = true;
	status->here = (struct status_side){(int64_t)state->local_bytes, state->local_since, state->born};
	status->there = peers_side(pair, &(struct status_side){0});
}

void pair_status(struct pair *pair, struct pair_status *status)
{
	struct source_status source;
	struct source_report report = {.config = &pair->files.config,
	                               .status = &source,
	                               .generation = &pair->files.state.lineage.generation,
	                               .born = pair->files.state.born};
	char devices[VOLUMES_MAX][sizeof(status->volumes[0].device)], path[PATHS_MAX];
	bool missing = false;

	if (!pair->source) {
		status_init(status, &pair->files.config, ROLE_PRIMARY);
		status->generation = pair->files.state.lineage.generation;
		if (pair->phase == PAIR_OPENING && !pair->redo) {
			status->role = 0; // its state is not read yet
			status->reason = "opening";
		} else if (pair->phase == PAIR_REFUSED) {
			status->state = "refused";
			status->reason = pair->reason.text;
		} else if (pair->phase == PAIR_FENCED) {
			report_fenced(pair, status);
		}
		pair_redo_report(pair, status);
		return;
	}
	source_status(pair->source, &source);
	for (unsigned i = 0; i < pair->files.state.volume_count; i++) {
		report.volume_bytes[i] = pair->files.state.volumes[i].bytes;
		missing |= pair->export_missing[i];
		if (pair->exported[i] && pair->serving) {
			report.exports[i] = export_kind(pair->exports[i]);
			snprintf(devices[i], sizeof(devices[i]), "%s", pair_device(pair, i, path));
			report.devices[i] = devices[i];
		}
	}
	report_source(&report, loop_clock(pair->agent->loop), &pair->watch, status);
	if (missing && pair->serving)
		status->reason = "not-exported";
	status->there = peers_side(pair, &status->there);
	pair_redo_report(pair, status);
}
