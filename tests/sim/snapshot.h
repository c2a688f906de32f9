// SPDX-License-Identifier: Apache-2.0
// A node is taken back to what all its disks held some time ago, as one does who
// restores a virtual machine from a snapshot.
#ifndef STEAD_SIM_SNAPSHOT_H
#define STEAD_SIM_SNAPSHOT_H

#include <stdbool.h>

struct node;
struct simulation;

bool snapshot_take(struct node *node); // replaces the one there was, of any node
bool snapshot_restore(struct node *node); // false: there is none of this node
void snapshot_free(struct simulation *sim);

#endif
