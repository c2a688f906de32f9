// SPDX-License-Identifier: Apache-2.0
// A node is taken back to what all its disks held some time ago, as one does who
// restores a virtual machine from a snapshot.
#ifndef STEAD_SIM_SNAPSHOT_H
#define STEAD_SIM_SNAPSHOT_H

#include <stdbool.h>

struct generation;
struct node;
struct rng;
struct simulation;

struct snapshot;

// All that the node's disks and its mapped file hold now.
struct snapshot *snapshot_of(struct node *node, struct rng *rng);
// It is what they hold from now on; its daemon does not run.
void snapshot_put(struct node *node, const struct snapshot *snapshot);
// So are its own files and the map; the volumes stay as they are.
void snapshot_put_files(struct node *node, const struct snapshot *snapshot);
const struct generation *snapshot_generation(const struct snapshot *snapshot);
void snapshot_drop(struct snapshot *snapshot); // may be NULL

bool snapshot_take(struct node *node); // replaces the one there was, of any node
bool snapshot_restore(struct node *node); // false: there is none of this node
void snapshot_free(struct simulation *sim);

#endif
