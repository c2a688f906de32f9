// SPDX-License-Identifier: Apache-2.0
// What happens to a pair, for hooks: each event with the facts of the status
// in the environment of the executable.
#ifndef STEAD_EVENTS_H
#define STEAD_EVENTS_H

#include "hooks.h"
#include "status.h"

// Runs what the pair's configuration has for the event, and for any. text says
// more, and may be NULL.
void event_happened(struct hooks *hooks, enum hook_event event, const struct pair_status *status, const char *text);

// What was told last; one a pair, zeroed before the first use.
struct event_watch {
	uint64_t begun; // clock_now(); 0: not yet
	bool connected, settled;
	enum rpo_state told;
	bool at_risk; // when it was looked at last
};

#define EVENTS_SETTLE_NSEC (5 * NSEC_PER_SEC)

// Once each RPO_WATCH_NSEC while the pair runs: tells, also in the log, when
// the RPO comes to be at risk, for longer than one look at it, when it begins
// to be breached, and when that is over. After a start, what is not known before
// the peer was heard is given a few seconds.
void event_watch(struct event_watch *watch, struct hooks *hooks, const struct pair_status *status, uint64_t now);

// A connection that never was does not end.
void event_connected(struct event_watch *watch, struct hooks *hooks, bool connected, const struct pair_status *status,
                     const char *text);

// NAME=VALUE of all facts, as in `stead status --json`. NULL without memory.
char **event_environment(const char *event, const struct pair_status *status, const char *text);

#endif
