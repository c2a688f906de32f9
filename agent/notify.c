// SPDX-License-Identifier: Apache-2.0
// What hooks are told of a pair.
#include "pair_impl.h"

#include "common/events.h"

static void tell(struct pair *pair, enum hook_event event, const char *text)
{
	struct pair_status status;

	pair_status(pair, &status);
	event_happened(pair->agent->hooks, event, &status, text);
}

static void tell_connected(struct pair *pair, bool connected, const char *text)
{
	struct pair_status status;

	pair_status(pair, &status);
	event_connected(&pair->events, pair->agent->hooks, connected, &status, text);
}

// The peer was promoted; or it may not follow.
static void tell_refused(struct pair *pair, const char *text, bool fenced)
{
	struct source_status status;

	source_status(pair->source, &status);
	if (status.state == SOURCE_STATE_SPLIT_BRAIN)
		tell(pair, HOOK_SPLIT_BRAIN, text);
	else if (status.state == SOURCE_STATE_DIVERGED)
		tell(pair, HOOK_DIVERGED, text);
	else
		tell(pair, fenced ? HOOK_DEMOTED : HOOK_PEER_REFUSED, text);
}

void pair_notify(struct pair *pair, enum source_event event, const char *text)
{
	switch (event) {
	case SOURCE_CONNECTED:
		tell_connected(pair, true, text);
		break;
	case SOURCE_DISCONNECTED:
		tell_connected(pair, false, text);
		break;
	case SOURCE_SERVING:
		tell(pair, HOOK_SERVING, NULL);
		break;
	case SOURCE_FENCED:
	case SOURCE_REFUSED:
		tell_refused(pair, text, event == SOURCE_FENCED);
		break;
	case SOURCE_SYNC_STARTED:
		tell(pair, HOOK_SYNC_STARTED, NULL);
		break;
	case SOURCE_SYNC_DONE:
		tell(pair, HOOK_SYNC_DONE, NULL);
		break;
	default:
		break;
	}
}

void pair_notify_paused(struct pair *pair, bool paused)
{
	tell(pair, paused ? HOOK_PAUSED : HOOK_RESUMED, NULL);
}
