// SPDX-License-Identifier: Apache-2.0
// A copy of the primary's machine runs for a while in place of the original, as
// after a failover of a hypervisor that did not know that the original lives.
#ifndef STEAD_SIM_CLONE_H
#define STEAD_SIM_CLONE_H

#include "common/wire.h"
#include "scheduler.h"

struct node;
struct simulation;
struct snapshot;

enum clone_stage {
	CLONE_NONE,
	CLONE_COPIED, // there is a copy
	CLONE_RUNS, // it runs, and the original does not
};

struct clone {
	bool wanted; // in this run
	struct rng rng; // of its own: other runs stay as they are
	enum clone_stage stage;
	struct node *node; // the machine that was copied
	struct snapshot *other; // the one of the two that does not run
	struct id boot; // of the original
	struct event swap;
	unsigned swaps;
};

void clone_init(struct simulation *sim);
void clone_frame(struct simulation *sim, unsigned host, enum frame_type type); // was sent
void clone_done(struct simulation *sim);

#endif
