// SPDX-License-Identifier: Apache-2.0
// Which node may follow which: generations, their ancestors, and the judgement
// that every handshake begins with.
#ifndef STEAD_LINEAGE_H
#define STEAD_LINEAGE_H

#include <stdbool.h>
#include <stdint.h>

#define ANCESTORS_MAX 32

struct id {
	uint8_t bytes[16]; // random; all zero: none
};

enum role {
	ROLE_PRIMARY = 1,
	ROLE_STANDBY = 2,
};

struct ancestor {
	struct id generation;
	uint64_t epoch; // the last epoch of it that its descendant holds
};

struct lineage {
	struct id generation;
	unsigned count;
	struct ancestor ancestors[ANCESTORS_MAX]; // newest first; the oldest fall off
};

enum verdict {
	VERDICT_CONTINUE, // same generation, one primary, one standby
	VERDICT_FENCED, // the peer was promoted over us: stop serving
	VERDICT_PEER_FENCED, // we were promoted over the peer: it must stop serving
	VERDICT_SPLIT_BRAIN, // both are primary, neither descends from the other
	VERDICT_UNRELATED, // not both primary, and neither descends from the other
	VERDICT_NO_PRIMARY, // both are standby
};

bool id_equal(const struct id *a, const struct id *b);
bool id_is_none(const struct id *id);

// Makes generation the newest of the lineage, its parent left at epoch.
void lineage_push(struct lineage *lineage, const struct id *generation, uint64_t epoch);

// Looks generation up among the ancestors; NULL when it is not one.
const struct ancestor *lineage_find(const struct lineage *lineage, const struct id *generation);

enum verdict lineage_judge(enum role my_role, const struct lineage *mine, enum role peer_role,
                           const struct lineage *peers);

#endif
