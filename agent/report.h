// SPDX-License-Identifier: Apache-2.0
// The status of a pair on its primary.
#ifndef STEAD_AGENT_REPORT_H
#define STEAD_AGENT_REPORT_H

#include "common/clock.h"
#include "common/status.h"
#include "source.h"

struct source_report {
	const struct pair_config *config;
	const struct source_status *status;
	const struct id *generation;
	int64_t born; // of it, as in struct pair_state
	uint64_t volume_bytes[VOLUMES_MAX];
	const char *devices[VOLUMES_MAX]; // where each is exported; NULL: it is not
	enum export_kind exports[VOLUMES_MAX]; // of those
};

// Brings watch up to now as well.
void report_source(const struct source_report *report, struct clock *clock, struct rpo_watch *watch,
                   struct pair_status *status);

#endif
