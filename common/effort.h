// SPDX-License-Identifier: Apache-2.0
// How much CPU a byte on the wire is worth now. The effort is a level of pack.h
// or a share of the next one; it rises while the wire, or a limit of the sender,
// is what packed frames wait for, and falls when the wire waits for frames, or
// they wait for the peer.
// Pure, and no allocation.
#ifndef STEAD_EFFORT_H
#define STEAD_EFFORT_H

#include "pack.h"

#include <stdbool.h>
#include <stdint.h>

// What came of making one batch and of handing over the one before.
struct effort_round {
	uint64_t period; // ns since the last round
	uint64_t waited; // of it: a whole batch was ready, but the wire not
	bool dry; // the wire could have carried more, or what it waits for is the peer
	bool backlog; // there was content to pack, and more is to be sent
	uint64_t limit; // bytes a second that the sender keeps to; 0: none
	uint64_t sent; // bytes handed over
};

struct effort {
	double level; // 0 to top
	double share; // of the next higher level, that is due
	double step; // of the last fall, while it lasts
	double ahead; // ns: what the sender's limit would take longer
	enum pack_level top;
};

// At LZ4, which is as far as it goes.
void effort_init(struct effort *effort);

// The peer unpacks all levels up to this one.
void effort_allow(struct effort *effort, enum pack_level top);

void effort_round(struct effort *effort, const struct effort_round *round);

// The level of the next frame: over many frames, they make the effort.
enum pack_level effort_next(struct effort *effort);

#endif
