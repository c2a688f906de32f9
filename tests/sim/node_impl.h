// SPDX-License-Identifier: Apache-2.0
// What the parts of node.h share: node.c (start, stop and crash of the daemon),
// primary.c and standby.c (its engines), machine.c (what a power failure hits).
#ifndef STEAD_SIM_NODE_IMPL_H
#define STEAD_SIM_NODE_IMPL_H

#include "node.h"

void draw_id(struct rng *rng, struct id *id);

// The clock, the disks and the mapped file.
void machine_init(struct node *node);
void machine_done(struct node *node);
void machine_boot(struct node *node);
void machine_deafen(struct node *node, bool dead); // to what is submitted
void machine_lose(struct node *node, enum sim_loss loss); // what its disks have under way

// The mapped file: all of it, or its first page, is as on the disk; or a power
// failure leaves each page as it was at some moment since.
void machine_sync_map(struct node *node);
void machine_sync_first_page(struct node *node);
void machine_tear_map(struct node *node);

// The engine that the state asks for.
void primary_start(struct node *node);
void standby_start(struct node *node);

void node_stopped(void *user); // the engine: freed from outside its own call

#endif
