// SPDX-License-Identifier: Apache-2.0
// What the simulator knows of each generation of the pair: the node that serves
// it, what was written to it, and where it left its parent.
#ifndef STEAD_SIM_GENERATION_H
#define STEAD_SIM_GENERATION_H

#include "common/lineage.h"
#include "common/state.h"
#include "model.h"

#include <stdbool.h>
#include <stdint.h>

#define GENERATIONS_MAX 64
#define GENERATIONS_ORDERED 12 // more are not ordered: a lineage has a limit, and each may add two to it

struct simulation;
struct node;

struct generation {
	unsigned number; // in the order in which they were made
	struct lineage lineage;
	unsigned server; // node that serves it, or did
	struct generation *parent; // NULL: made by pairing
	bool alone; // from what its node wrote alone there
	struct model model;
	uint64_t claimed; // newest epoch of it that a standby called durable
	uint64_t touched; // moment of its first acknowledged change; NEVER: none yet
	uint64_t sealed; // moment; drained: nothing is acknowledged until it is opened again; 0: open
	bool handed; // and the peer was told to take over
	bool tainted; // what may differ is not known by blocks: comparing is right
	bool rolled; // a node was taken back to an older state: what was claimed may be gone
};

struct generation *generation_find(struct simulation *sim, const struct id *id); // NULL: unknown
struct generation *generation_first(struct simulation *sim, const struct lineage *lineage, unsigned server);

// A node was promoted, durably, with this state: checks its volumes, which are
// the truth of the new generation from now on.
struct generation *generation_promoted(struct node *node, const struct pair_state *state);

// Whether the volumes are what a promotion of the node with this state may have made.
void check_promoted(const struct node *node, struct sim_disk *const *volumes, const struct pair_state *state);

void generations_done(struct simulation *sim);

// What a handshake would say, as the simulator sees it: whether a standby that
// follows one generation needs to be told only what changed to follow another.
bool generation_differs_by_changes(const struct generation *primary, const struct generation *standby);

// Whether one descends from the other, or is it.
bool generation_descends(const struct generation *child, const struct generation *parent);

#endif
