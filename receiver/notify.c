// SPDX-License-Identifier: Apache-2.0
// What hooks are told of a pair.
#include "standby_impl.h"

#include "common/events.h"

static void tell(struct standby *standby, enum hook_event event, const char *text)
{
	struct pair_status status;

	standby_status(standby, &status);
	event_happened(standby->receiver->hooks, event, &status, text);
}

static void tell_connected(struct standby *standby, bool connected, const char *text)
{
	struct pair_status status;

	standby_status(standby, &status);
	event_connected(&standby->events, standby->receiver->hooks, connected, &status, text);
}

void standby_notify(struct standby *standby, enum sink_event event, const char *text)
{
	switch (event) {
	case SINK_CONNECTED:
		tell_connected(standby, true, text);
		break;
	case SINK_DISCONNECTED:
		tell_connected(standby, false, text);
		break;
	case SINK_REFUSED:
		tell(standby, HOOK_PEER_REFUSED, text);
		break;
	case SINK_SYNC_STARTED:
		tell(standby, HOOK_SYNC_STARTED, NULL);
		break;
	case SINK_SYNC_DONE:
		tell(standby, HOOK_SYNC_DONE, NULL);
		break;
	case SINK_ADOPTED:
		tell(standby, HOOK_RESYNC_DONE, NULL);
		break;
	default:
		break;
	}
}

// The node is the primary from now on, whatever this engine still says.
void standby_notify_promoted(struct standby *standby, const struct pair_state *state)
{
	struct pair_status status;

	standby_status(standby, &status);
	status.role = ROLE_PRIMARY;
	status.generation = state->lineage.generation;
	event_happened(standby->receiver->hooks, HOOK_PROMOTED, &status, NULL);
}
