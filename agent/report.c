// SPDX-License-Identifier: Apache-2.0
#include "report.h"

#include <stdio.h>

static const char *const state_names[] = {
        [SOURCE_STATE_WAITING] = "waiting",         [SOURCE_STATE_FULL_SYNC] = "full-sync",
        [SOURCE_STATE_RESYNC] = "resync",           [SOURCE_STATE_REPLICATING] = "replicating",
        [SOURCE_STATE_PAUSED] = "paused",           [SOURCE_STATE_DIVERGED] = "diverged",
        [SOURCE_STATE_SPLIT_BRAIN] = "split-brain", [SOURCE_STATE_REFUSED] = "refused",
        [SOURCE_STATE_DEMOTED] = "demoted",
};

// Engine's u64 to ours, where 0 may stand for not known.
static int64_t known(uint64_t value, bool zero_is_known)
{
	return value > INT64_MAX || (value == 0 && !zero_is_known) ? UNKNOWN : (int64_t)value;
}

// A node that was replaced knows nothing of what its successor can lose.
static bool replaced(const struct source_status *source)
{
	return source->state == SOURCE_STATE_DEMOTED || source->state == SOURCE_STATE_SPLIT_BRAIN;
}

// Before the primary has heard of its standby it does not know what that one
// holds. The engine knows of no durable epoch while a full sync runs. Where
// nothing is newer than the newest point, the point is as good as now.
static void report_recovery(const struct source_status *source, int64_t wall, struct pair_status *status)
{
	int64_t point = source->recovery_point;

	if (source->inconsistent || (source->connected && source->durable == 0)) {
		status->promotable = 0;
		return;
	}
	if (source->durable == 0)
		return;
	status->promotable = 1;
	status->recovery_epoch = known(source->durable, false);
	if (source->lag == 0)
		point = wall;
	if (point > 0) {
		status->recovery_time = point;
		status->recovery_age = wall > point ? wall - point : 0;
	}
}

static bool apart(const struct source_status *source)
{
	return source->state == SOURCE_STATE_DIVERGED || source->state == SOURCE_STATE_SPLIT_BRAIN ||
	       source->state == SOURCE_STATE_DEMOTED;
}

static void report_sides(const struct source_report *report, struct pair_status *status)
{
	const struct source_status *source = report->status;

	status->diverged = apart(source);
	status->here = (struct status_side){known(source->bytes_behind, true), source->oldest, report->born};
	status->there = (struct status_side){known(source->peer_bytes, true), source->peer_since, source->peer_born};
}

static void report_volumes(const struct source_report *report, struct pair_status *status)
{
	for (unsigned i = 0; i < report->config->volume_count; i++) {
		struct status_volume *volume = &status->volumes[i];

		volume->bytes = known(report->volume_bytes[i], false);
		volume->dirty = known(report->status->volume_dirty[i], true);
		if (!report->devices[i])
			continue;
		snprintf(volume->device, sizeof(volume->device), "%s", report->devices[i]);
		volume->export = report->exports[i];
	}
}

void report_source(const struct source_report *report, struct clock *clock, struct rpo_watch *watch,
                   struct pair_status *status)
{
	const struct source_status *source = report->status;

	status_init(status, report->config, ROLE_PRIMARY);
	status->state = state_names[source->state];
	status->reason = source->reason;
	status->connected = source->connected;
	snprintf(status->peer, sizeof(status->peer), "%s", source->peer);
	status->generation = *report->generation;
	status->open = known(source->open, false);
	status->durable = known(source->durable, false);
	status->applied = known(source->applied, false);
	if (!replaced(source))
		report_recovery(source, clock_wall(clock), status);
	if (!replaced(source) && status->promotable != 0) // else all of it would be lost, and that is no time
		status->lag = known(source->lag, true);
	status->rpo_state = rpo_watch_update(watch, clock_now(clock), status->promotable != 0, status->lag,
	                                     source->outlook, report->config->rpo);
	if (replaced(source))
		status->rpo_state = RPO_UNKNOWN;
	status->breach_total = watch->total;
	status->lags = watch->lags;
	status->bytes_behind = known(source->bytes_behind, true);
	status->change_rate = known(source->change_rate, true);
	status->ship_rate = known(source->ship_rate, true);
	status->wire_bytes = known(source->wire_bytes, true);
	status->eta = source->eta;
	status->syncing = source->syncing;
	status->sync_done = known(source->sync_done, true);
	status->sync_total = known(source->sync_total, true);
	report_sides(report, status);
	report_volumes(report, status);
}
