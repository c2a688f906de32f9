// SPDX-License-Identifier: Apache-2.0
#include "sink_impl.h"

#include <errno.h>
#include <string.h>

static uint64_t synced_bytes(const struct pair_state *state)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < state->sync_volume && i < state->volume_count; i++)
		bytes += state->volumes[i].bytes;
	return bytes + state->sync_block * BLOCK_SIZE;
}

// It stays promotable: what is durable is in the journal.
enum trouble sink_trouble(const struct sink *sink)
{
	switch (apply_trouble(sink->apply, NULL)) {
	case 0:
		return journal_trouble(sink->journal) ? TROUBLE_STANDBY_DISK_ERROR : TROUBLE_NONE;
	case -ENOSPC:
	case -EDQUOT:
		return TROUBLE_STANDBY_DISK_FULL;
	case -ENOMEM:
		return TROUBLE_NO_MEMORY;
	default:
		return TROUBLE_STANDBY_DISK_ERROR;
	}
}

void sink_status(struct sink *sink, struct sink_status *status)
{
	const struct session *session = &sink->session;
	bool standby = sink->state.role == ROLE_STANDBY;

	memset(status, 0, sizeof(*status));
	status->state = sink->state;
	status->opened = sink->opened;
	status->failed = sink->failed ? sink->failed_text.text : NULL;
	status->disk = sink->opened && standby ? sink_trouble(sink) : TROUBLE_NONE;
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
	status->primary_told = sink->session.told;
	status->primary_cut = sink->primary_cut;
	status->heard = sink->heard;
	status->recovery_point = sink->consistent ? sink->recovery_point : 0;
	status->told = sink->told;
	if (sink->point_at) // both move on, whatever happens to the wall clocks
		status->skew = (int64_t)((uint64_t)sink->recovery_point - (uint64_t)sink->point_at +
		                         clock_now(sink->clock) - (uint64_t)clock_wall(sink->clock));
	else if (sink->told)
		status->skew = (int64_t)((uint64_t)sink->peer_clock + clock_now(sink->clock) -
		                         (uint64_t)clock_wall(sink->clock));
	status->journal_used = journal_used(sink->journal);
	status->received_bytes = sink->received_bytes;
	status->receive_rate = sink->receive_rate;
	status->promotable = sink->opened && !sink->failed && standby && sink->consistent && !sink->doubt;
	status->doubted = sink->doubt;
	status->too_large = session->too_large;
	status->syncing = standby && !sink->consistent && !id_is_none(&sink->state.sync);
	status->sync_done = synced_bytes(&sink->state);
	for (unsigned i = 0; i < sink->state.volume_count; i++)
		status->sync_total += sink->state.volumes[i].bytes;
	if (status->sync_done > status->sync_total)
		status->sync_done = status->sync_total;
}
