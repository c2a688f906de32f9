// SPDX-License-Identifier: Apache-2.0
// What the volumes of a node that was promoted hold once everything is redone:
// found by redoing it, on disks that nobody else uses.
#ifndef STEAD_SIM_REDONE_H
#define STEAD_SIM_REDONE_H

#include "common/state.h"
#include "model.h"
#include "scheduler.h"
#include "simdisk.h"

struct node;

// The disks of a promoted node, all of one scheduler.
struct redo_disks {
	struct sim_clock *clock;
	struct rng *rng;
	struct sim_disk *const *volumes;
	struct sim_disk *journal, *log;
	uint32_t region_blocks;
};

// Redoes to the end what a state with redo leaves to be done, through crashes
// with loss. NULL, or what is wrong.
const char *redo_to_end(const struct redo_disks *disks, const struct pair_state *state);

// A copy of a node's volumes as they are to the application. For a state
// without redo they are those of the node.
struct redone;
struct redone *redone_new(struct node *node);
struct sim_disk *const *redone_volumes(const struct redone *redone);
void redone_free(struct redone *redone);

#endif
