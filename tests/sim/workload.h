// SPDX-License-Identifier: Apache-2.0
// The application on a primary: clients that write, read, zero, trim and flush,
// and know what they must find.
#ifndef STEAD_SIM_WORKLOAD_H
#define STEAD_SIM_WORKLOAD_H

#include "model.h"

#include <stdbool.h>
#include <stdint.h>

#define CLIENTS_MAX 12

struct node;
struct client;

struct workload {
	struct node *node;
	struct client *clients;
	unsigned count;
	bool active;
};

void workload_init(struct workload *workload, struct node *node, unsigned clients);
void workload_done(struct workload *workload);

void workload_start(struct workload *workload); // the volumes are served from now on
void workload_stop(struct workload *workload); // no new requests
void workload_crash(struct workload *workload); // those in flight will not be answered
bool workload_idle(const struct workload *workload);

#endif
