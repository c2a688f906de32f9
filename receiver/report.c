// SPDX-License-Identifier: Apache-2.0
#include "report.h"

#include <stdio.h>
#include <string.h>

static int64_t known(uint64_t value)
{
	return value > INT64_MAX ? UNKNOWN : (int64_t)value;
}

int64_t sink_recovery_age(const struct sink_status *sink, int64_t wall)
{
	int64_t age;

	if (sink->recovery_point <= 0)
		return UNKNOWN;
	if (__builtin_sub_overflow(wall, sink->recovery_point, &age) || __builtin_add_overflow(age, sink->skew, &age))
		return UNKNOWN;
	return age > 0 ? age : 0;
}

static bool within(uint64_t moment, uint64_t now)
{
	return now <= moment || now - moment <= REPORT_SILENCE_MAX;
}

// What a disaster of the primary now would lose, estimated: ns or UNKNOWN.
// What it said some time ago, and has written or not shipped ever since; but
// without lag no more than a second is needed to say so again. It cannot be more
// than the age of the newest point, which is all there is after a restart.
static int64_t sink_lag(const struct sink_status *sink, uint64_t now, int64_t wall)
{
	uint64_t lag = sink->primary_lag, since = now > sink->told ? now - sink->told : 0;
	int64_t age = sink_recovery_age(sink, wall);

	if (!sink->state.consistent)
		return UNKNOWN;
	if (sink->told == 0)
		return age;
	if (lag == 0 && sink->connected && within(sink->told, now))
		return 0;
	if (__builtin_add_overflow(lag, since, &lag))
		return UNKNOWN;
	return age > 0 && (uint64_t)age < lag ? age : known(lag);
}

// The primary knows best. But when what it says is late, so is what it ships:
// expect that for as long again.
static uint64_t sink_outlook(const struct sink_status *sink, int64_t lag, uint64_t now)
{
	uint64_t outlook;

	if (!sink->connected || !within(sink->heard, now))
		return OUTLOOK_NEVER;
	if (lag < 0 || !sink->told || within(sink->told, now))
		return sink->primary_outlook;
	outlook = (uint64_t)lag + (now - sink->told);
	return outlook > sink->primary_outlook ? outlook : sink->primary_outlook;
}

static void report_state(const struct sink_status *sink, struct pair_status *status)
{
	if (sink->failed) {
		status->state = "refused";
		status->reason = "standby-failed";
	} else if (!sink->opened) {
		status->state = "waiting";
		status->reason = "opening";
	} else {
		if (sink->syncing)
			status->state = sink->state.partial ? "resync" : "full-sync";
		else if (sink->met && sink->verdict == VERDICT_DIVERGED)
			status->state = "diverged";
		else if (sink->met && sink->verdict == VERDICT_ROLLED_BACK)
			status->state = "refused";
		else if (sink->returned)
			status->state = "resync";
		else if (sink->state.consistent)
			status->state = "replicating";
		else
			status->state = "waiting";
		if (!strcmp(status->state, "refused"))
			status->reason = "peer-rolled-back";
		else if (!sink->connected)
			status->reason = "link-down";
		else if (sink->too_large || (sink->syncing && sink->state.partial))
			status->reason = "journal-full";
		else
			status->reason = trouble_name(sink->primary_trouble);
	}
}

void report_sink(const struct pair_config *config, const struct sink_status *sink, struct clock *clock,
                 struct rpo_watch *watch, struct pair_status *status)
{
	uint64_t now = clock_now(clock);
	int64_t wall = clock_wall(clock);

	status_init(status, config, ROLE_STANDBY);
	report_state(sink, status);
	status->connected = sink->connected;
	snprintf(status->peer, sizeof(status->peer), "%s", sink->peer);
	if (sink->opened) {
		status->generation = sink->state.lineage.generation;
		status->durable = known(sink->durable);
		status->applied = known(sink->applied);
		status->lag = sink_lag(sink, now, wall);
		status->promotable = sink->promotable;
		status->ship_rate = known(sink->receive_rate);
		status->wire_bytes = known(sink->received_bytes);
	}
	status->rpo_state = rpo_watch_update(watch, now, status->promotable == 1, status->lag,
	                                     sink_outlook(sink, status->lag, now), config->rpo);
	status->breach_total = watch->total;
	status->lags = watch->lags;
	if (sink->connected && status->lag == 0 && !sink->syncing)
		status->eta = 0;
	status->syncing = sink->opened && sink->syncing;
	status->sync_done = known(sink->sync_done);
	status->sync_total = known(sink->sync_total);
	if (status->promotable == 1) {
		status->recovery_epoch = known(sink->durable);
		if (sink->recovery_point > 0) {
			status->recovery_time = sink->recovery_point;
			status->recovery_age = sink_recovery_age(sink, wall);
		}
	}
	for (unsigned i = 0; i < config->volume_count; i++)
		for (unsigned j = 0; j < sink->state.volume_count; j++)
			if (sink->opened && !strcmp(config->volumes[i].name, sink->state.volumes[j].name))
				status->volumes[i].bytes = known(sink->state.volumes[j].bytes);
}
