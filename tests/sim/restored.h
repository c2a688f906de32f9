// SPDX-License-Identifier: Apache-2.0
// The primary's own files are put back to what they were some time ago, and its
// volumes are not: a system disk that was taken back.
#ifndef STEAD_SIM_RESTORED_H
#define STEAD_SIM_RESTORED_H

#include "common/wire.h"
#include "scheduler.h"

struct node;
struct simulation;
struct snapshot;

struct restored {
	bool wanted; // in this run
	struct rng rng; // of its own: other runs stay as they are
	struct node *node;
	struct snapshot *files; // NULL: nothing was kept yet
	unsigned starts; // of the daemon, then
	struct event event;
	unsigned tries, times;
};

void restored_init(struct simulation *sim);
void restored_frame(struct simulation *sim, unsigned host, enum frame_type type); // was sent
void restored_done(struct simulation *sim);

#endif
