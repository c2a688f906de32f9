// SPDX-License-Identifier: Apache-2.0
#include "sink_impl.h"

#include <string.h>

static uint64_t synced_bytes(const struct pair_state *state)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < state->sync_volume && i < state->volume_count; i++)
		bytes += state->volumes[i].bytes;
	return bytes + state->sync_block * BLOCK_SIZE;
}

static const char *why_unusable(const struct sink *sink)
{
	if (sink->failed)
		return sink->failed_text.text;
	if (apply_trouble(sink->apply))
		return apply_trouble(sink->apply);
	return journal_trouble(sink->journal);
}

void sink_status(struct sink *sink, struct sink_status *status)
{
	const struct session *session = &sink->session;
	bool standby = sink->state.role == ROLE_STANDBY;

	memset(status, 0, sizeof(*status));
	status->state = sink->state;
	status->opened = sink->opened;
	status->failed = why_unusable(sink);
	status->connected = session->stage == SESSION_OPEN;
	status->state.lineage = sink->lineage;
	status->state.born = sink->born;
	status->state.fenced = sink->fenced;
	status->verdict = sink->verdict;
	status->met = sink->met;
	status->returned = sink->returned;
	if (status->connected)
		memcpy(status->peer, session->channel->peer, sizeof(status->peer));
	status->durable = standby ? journal_durable(sink->journal) : sink->state.promoted_epoch;
	status->applied = standby ? journal_applied_epoch(sink->journal) : sink->state.promoted_epoch;
	status->primary_lag = sink->primary_lag;
	status->primary_outlook = sink->primary_outlook;
	status->primary_trouble = sink->session.trouble;
	status->primary_cut = sink->primary_cut;
	status->heard = sink->heard;
	status->recovery_point = sink->consistent ? sink->recovery_point : 0;
	status->told = sink->told;
	if (sink->told) // both move on, whatever happens to our wall clock
		status->skew = (int64_t)((uint64_t)sink->peer_clock + clock_now(sink->clock) -
		                         (uint64_t)clock_wall(sink->clock));
	status->journal_used = journal_used(sink->journal);
	status->received_bytes = sink->received_bytes;
	status->receive_rate = sink->receive_rate;
	status->promotable = sink->opened && !sink->failed && standby && sink->consistent;
	status->too_large = session->too_large;
	status->syncing = standby && !sink->consistent && !id_is_none(&sink->state.sync);
	status->sync_done = synced_bytes(&sink->state);
	for (unsigned i = 0; i < sink->state.volume_count; i++)
		status->sync_total += sink->state.volumes[i].bytes;
	if (status->sync_done > status->sync_total)
		status->sync_done = status->sync_total;
}
