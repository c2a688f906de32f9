// SPDX-License-Identifier: Apache-2.0
// What `stead status` tells of a pair, whichever role this node has in it, and
// its JSON. Who fills it: agent/report.h on the primary, receiver/report.h on
// the standby. docs/status-json.md is for those who read it.
#ifndef STEAD_STATUS_H
#define STEAD_STATUS_H

#include "clock.h"
#include "config.h"
#include "lineage.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define RPO_WATCH_NSEC (500 * NSEC_PER_MSEC)

#define UNKNOWN INT64_C(-1) // of every number below; null in the JSON

// How often the lag was at most so much; the last one is for any.
#define LAG_BOUNDS 13
extern const double lag_bounds[LAG_BOUNDS - 1]; // seconds

struct lag_histogram {
	uint64_t counts[LAG_BOUNDS]; // over the bound before and up to this one
	uint64_t sum; // ns
};

// Adds up for how long the RPO was not held, since the daemon started. Zeroed
// before the first use; one a pair.
struct rpo_watch {
	uint64_t last; // clock_now(); 0: never updated
	bool breached; // since then
	uint64_t total; // ns
	struct lag_histogram lags;
};

// Takes the lag into the histogram; once each RPO_WATCH_NSEC. UNKNOWN: it is
// left out.
void rpo_watch_sample(struct rpo_watch *watch, int64_t lag);

enum rpo_state {
	RPO_OK,
	RPO_AT_RISK, // will be breached at this rate
	RPO_BREACHED, // lag over it, or nothing to recover to
	RPO_UNKNOWN,
};

// lag UNKNOWN with protected: what cannot be known does not count as a breach.
// outlook: ns, what the lag will come to. Call it with every status, and at
// least as often as RPO_WATCH_NSEC.
enum rpo_state rpo_watch_update(struct rpo_watch *watch, uint64_t now, bool is_protected, int64_t lag, uint64_t outlook,
                                uint64_t rpo);

struct status_volume {
	char device[256]; // where it is exported; empty: it is not
	enum export_kind export; // EXPORT_AUTO: as configured
	int64_t bytes;
	int64_t dirty; // bytes
};

// What a node holds of its own, beside what its peer has.
struct status_side {
	int64_t bytes;
	int64_t since; // wall clock of the oldest write among them, ns
	int64_t promoted; // wall clock of the promotion that made its generation, ns; 0: made by pairing
};

struct pair_status {
	const struct pair_config *config; // names, paths, limits
	char node[65];
	enum role role; // 0: not known
	const char *state; // design's state
	const char *reason; // design's reason code, NULL: none
	bool connected;
	char peer[80]; // empty: not known
	struct id generation;
	int64_t open, durable, applied; // epochs
	int64_t lag; // ns
	enum rpo_state rpo_state;
	uint64_t breach_total; // ns
	struct lag_histogram lags;
	int64_t bytes_behind;
	int64_t change_rate, ship_rate, wire_bytes;
	int64_t eta; // ns
	bool syncing;
	int64_t sync_done, sync_total; // bytes
	bool redoing; // what its promotion left in the journal
	int64_t redo_done, redo_total; // bytes
	int promotable; // 0, 1, or UNKNOWN
	int64_t recovery_epoch;
	int64_t recovery_time; // wall clock of the primary, ns
	int64_t recovery_age; // ns
	bool diverged; // the two nodes do not follow one another
	struct status_side here, there;
	struct status_volume volumes[VOLUMES_MAX];
};

// All unknown, names from the configuration, which must outlive the status;
// node is this machine's name.
void status_init(struct pair_status *status, const struct pair_config *config, enum role role);

// A new object with exactly the fields of `stead status --json`, in their
// order. NULL without memory.
json_t *status_json(const struct pair_status *status);

#define WALL_TEXT_MAX 32
#define ID_TEXT_MAX 33

// 2026-01-31T12:00:00.123Z
void wall_text(int64_t wall, char text[WALL_TEXT_MAX]);

// 32 hexadecimal digits.
void id_text(const struct id *id, char text[ID_TEXT_MAX]);

#endif
