// SPDX-License-Identifier: Apache-2.0
#include "status.h"
#include "clock.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

const double lag_bounds[LAG_BOUNDS - 1] = {0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200};

void rpo_watch_sample(struct rpo_watch *watch, int64_t lag)
{
	unsigned i = 0;

	if (lag < 0)
		return;
	while (i < LAG_BOUNDS - 1 && (double)lag > lag_bounds[i] * (double)NSEC_PER_SEC)
		i++;
	watch->lags.counts[i]++;
	watch->lags.sum += (uint64_t)lag;
}

enum rpo_state rpo_watch_update(struct rpo_watch *watch, uint64_t now, bool is_protected, int64_t lag, uint64_t outlook,
                                uint64_t rpo)
{
	bool breached = !is_protected || (lag >= 0 && (uint64_t)lag > rpo);

	if (watch->last && watch->breached && now > watch->last)
		watch->total += now - watch->last;
	watch->last = now;
	watch->breached = breached;
	if (breached)
		return RPO_BREACHED;
	return lag > 0 && outlook > rpo ? RPO_AT_RISK : RPO_OK;
}

void status_init(struct pair_status *status, const struct pair_config *config, enum role role)
{
	memset(status, 0, sizeof(*status));
	status->config = config;
	status->role = role;
	status->state = "waiting";
	if (gethostname(status->node, sizeof(status->node) - 1) < 0)
		snprintf(status->node, sizeof(status->node), "unknown");
	status->open = status->durable = status->applied = UNKNOWN;
	status->lag = UNKNOWN;
	status->bytes_behind = UNKNOWN;
	status->change_rate = status->ship_rate = status->wire_bytes = UNKNOWN;
	status->eta = UNKNOWN;
	status->sync_done = status->sync_total = UNKNOWN;
	status->promotable = (int)UNKNOWN;
	status->recovery_epoch = status->recovery_time = status->recovery_age = UNKNOWN;
	for (unsigned i = 0; i < VOLUMES_MAX; i++)
		status->volumes[i].bytes = status->volumes[i].dirty = UNKNOWN;
}

void wall_text(int64_t wall, char text[WALL_TEXT_MAX])
{
	int64_t ms = wall / (int64_t)NSEC_PER_MSEC;
	time_t seconds = (time_t)(ms / 1000);
	struct tm utc;

	if (wall < 0 || !gmtime_r(&seconds, &utc) || utc.tm_year + 1900 > 9999) {
		snprintf(text, WALL_TEXT_MAX, "1970-01-01T00:00:00.000Z");
		return;
	}
	snprintf(text, WALL_TEXT_MAX, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", (utc.tm_year + 1900) % 10000,
	         (utc.tm_mon + 1) % 100, utc.tm_mday % 100, utc.tm_hour % 100, utc.tm_min % 100, utc.tm_sec % 100,
	         (int)(ms % 1000));
}

void id_text(const struct id *id, char text[ID_TEXT_MAX])
{
	for (unsigned i = 0; i < sizeof(id->bytes); i++)
		snprintf(text + (size_t)i * 2, 3, "%02x", id->bytes[i]);
}

// json_t of what is known, null of what is not. New references.
static json_t *number(int64_t value)
{
	return value < 0 ? json_null() : json_integer(value);
}

// Seconds to the millisecond: no digits that mean nothing.
static json_t *seconds(int64_t ns)
{
	int64_t ms = ns / (int64_t)NSEC_PER_MSEC;

	if (ns < 0)
		return json_null();
	return ms % 1000 ? json_real((double)ms / 1000) : json_integer(ms / 1000);
}

static json_t *text(const char *value)
{
	json_t *string = value && *value ? json_string(value) : NULL;

	return string ? string : json_null();
}

static json_t *sync_json(const struct pair_status *status)
{
	if (!status->syncing)
		return json_null();
	return json_pack("{s:o,s:o}", "done_bytes", number(status->sync_done), "total_bytes",
	                 number(status->sync_total));
}

static json_t *redo_json(const struct pair_status *status)
{
	if (!status->redoing)
		return json_null();
	return json_pack("{s:o,s:o}", "done_bytes", number(status->redo_done), "total_bytes",
	                 number(status->redo_total));
}

static json_t *recovery_json(const struct pair_status *status)
{
	char time[WALL_TEXT_MAX];

	if (status->recovery_epoch < 0 && status->recovery_time < 0)
		return json_null();
	wall_text(status->recovery_time, time);
	return json_pack("{s:o,s:o,s:o}", "epoch", number(status->recovery_epoch), "time",
	                 text(status->recovery_time < 0 ? NULL : time), "age_seconds", seconds(status->recovery_age));
}

static json_t *volumes_json(const struct pair_status *status)
{
	json_t *array = json_array();

	for (unsigned i = 0; i < status->config->volume_count; i++) {
		const struct config_volume *volume = &status->config->volumes[i];
		const struct status_volume *facts = &status->volumes[i];
		enum export_kind export = facts->export != EXPORT_AUTO ? facts->export : volume->export;
		json_t *object =
		        json_pack("{s:o,s:o,s:o,s:s,s:o,s:o}", "name", text(volume->name), "path", text(volume->path),
		                  "bytes", number(facts->bytes), "export", export_name(export), "device",
		                  text(facts->device), "dirty_bytes", number(facts->dirty));

		if (!object || json_array_append_new(array, object) < 0) {
			json_decref(array);
			return NULL;
		}
	}
	return array;
}

static json_t *wall(int64_t time)
{
	char out[WALL_TEXT_MAX];

	wall_text(time, out);
	return text(time > 0 ? out : NULL);
}

static json_t *side_json(const struct status_side *side)
{
	return json_pack("{s:o,s:o,s:o}", "bytes", number(side->bytes), "since", wall(side->since), "promoted",
	                 wall(side->promoted));
}

static json_t *divergence_json(const struct pair_status *status)
{
	if (!status->diverged)
		return json_null();
	return json_pack("{s:o,s:o}", "here", side_json(&status->here), "peer", side_json(&status->there));
}

// Bounds and counts in one order; the last count is for what is over all of
// them.
static json_t *lags_json(const struct lag_histogram *lags)
{
	json_t *bounds = json_array(), *counts = json_array();

	for (unsigned i = 0; i < LAG_BOUNDS - 1; i++)
		json_array_append_new(bounds, json_real(lag_bounds[i]));
	for (unsigned i = 0; i < LAG_BOUNDS; i++)
		json_array_append_new(counts, json_integer((json_int_t)lags->counts[i]));
	return json_pack("{s:o,s:o,s:o}", "bounds_seconds", bounds, "counts", counts, "sum_seconds",
	                 seconds((int64_t)lags->sum));
}

json_t *status_json(const struct pair_status *status)
{
	static const char *const rpo_names[] = {"ok", "at-risk", "breached", NULL};
	static const char *const role_names[] = {[ROLE_PRIMARY] = "primary", [ROLE_STANDBY] = "standby"};
	char generation[ID_TEXT_MAX];

	id_text(&status->generation, generation);
	return json_pack(
	        "{s:o,s:o,s:o,s:s,s:o,s:b,s:o,s:o,s:{s:o,s:o,s:o},s:o,s:o,s:o,s:o,s:o,"
	        "s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o}",
	        "pair", text(status->config->name), "node", text(status->node), "role", text(role_names[status->role]),
	        "state", status->state, "reason", text(status->reason), "connected", status->connected, "peer",
	        text(*status->peer ? status->peer : status->config->peer), "generation",
	        text(id_is_none(&status->generation) ? NULL : generation), "epoch", "open", number(status->open),
	        "durable", number(status->durable), "applied", number(status->applied), "lag_seconds",
	        seconds(status->lag), "rpo_seconds", seconds((int64_t)status->config->rpo), "rto_seconds",
	        seconds((int64_t)status->config->rto), "rpo_state", text(rpo_names[status->rpo_state]),
	        "breach_seconds_total", seconds((int64_t)status->breach_total), "bytes_behind",
	        number(status->bytes_behind), "change_bytes_per_second", number(status->change_rate),
	        "ship_bytes_per_second", number(status->ship_rate), "wire_bytes_total", number(status->wire_bytes),
	        "eta_seconds", seconds(status->eta), "sync", sync_json(status), "promotable",
	        status->promotable < 0 ? json_null() : json_boolean(status->promotable), "recovery_point",
	        recovery_json(status), "volumes", volumes_json(status), "divergence", divergence_json(status), "redo",
	        redo_json(status), "lag_histogram", lags_json(&status->lags));
}
