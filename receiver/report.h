// SPDX-License-Identifier: Apache-2.0
// The status of a pair on its standby. What a disaster now would lose is known
// only to the primary; the standby says what it was told last, and adds the time
// since.
#ifndef STEAD_RECEIVER_REPORT_H
#define STEAD_RECEIVER_REPORT_H

#include "common/clock.h"
#include "common/status.h"
#include "sink.h"

#define REPORT_SILENCE_MAX NSEC_PER_SEC // two heartbeats

// Brings watch up to now as well.
void report_sink(const struct pair_config *config, const struct sink_status *sink, struct clock *clock,
                 struct rpo_watch *watch, struct pair_status *status);

// How old the newest recovery point is, estimated: ns or UNKNOWN.
int64_t sink_recovery_age(const struct sink_status *sink, int64_t wall);

#endif
