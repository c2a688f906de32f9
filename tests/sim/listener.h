// SPDX-License-Identifier: Apache-2.0
// The accepting side of a node, as the daemons have it: hands a connection to
// the standby's engine, or tells a primary that this node is one too.
#ifndef STEAD_SIM_LISTENER_H
#define STEAD_SIM_LISTENER_H

struct channel;
struct node;
struct sim_host;

void listener_accept(struct sim_host *host, struct channel *channel);

// The daemon is gone, and with it the connections not handed over.
void listener_clear(struct node *node);

#endif
