// SPDX-License-Identifier: Apache-2.0
// Which epochs a primary cut. Its numbers do not say that: a copy of the machine
// counts on from the same one. So each cut draws an id, and a primary remembers
// those of the epochs that its standby may hold: the last one that it called
// durable, and what was cut since.
#ifndef STEAD_EPOCH_IDS_H
#define STEAD_EPOCH_IDS_H

#include "id.h"

#define EPOCH_IDS_MAX 16

struct epoch_id {
	uint64_t epoch; // number, not 0
	struct id id; // not none
};

struct epoch_ids {
	uint64_t forgotten; // whose epochs up to this one are is not known, unless they are in the list
	unsigned count;
	struct epoch_id list[EPOCH_IDS_MAX]; // their numbers rise
};

enum epoch_match {
	EPOCH_OURS,
	EPOCH_FOREIGN, // another one cut it
	EPOCH_UNKNOWN,
};

// The epoch was cut, after all others in the list. Where there are too many the
// oldest but the first is forgotten: that is the one that the standby has.
void epoch_ids_add(struct epoch_ids *ids, uint64_t epoch, const struct id *id);

// The standby holds the epoch: it is never going to name one before it, unless
// it was put back to an older state.
void epoch_ids_keep_from(struct epoch_ids *ids, uint64_t epoch);

// The id of the epoch, or none.
struct id epoch_ids_find(const struct epoch_ids *ids, uint64_t epoch);

// Whether the epoch that somebody holds is the one that was cut here. It is not
// known where it is older than those in the list, or either has no id.
enum epoch_match epoch_ids_match(const struct epoch_ids *ids, uint64_t epoch, const struct id *id);

#endif
