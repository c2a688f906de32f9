// SPDX-License-Identifier: Apache-2.0
// A machine: its disks, its mapped memory, its clock, and the daemon that runs
// on it, agent or receiver by what its state says.
#ifndef STEAD_SIM_NODE_H
#define STEAD_SIM_NODE_H

#include "agent/source.h"
#include "network.h"
#include "receiver/sink.h"
#include "scheduler.h"
#include "simdisk.h"
#include "workload.h"

#include <stdbool.h>
#include <stdint.h>

struct simulation;

struct node {
	struct simulation *sim;
	unsigned index;
	struct sim_host *host;
	struct sim_clock clock;

	struct sim_disk volumes[MODEL_VOLUMES];
	struct sim_disk *volume_list[MODEL_VOLUMES];
	struct sim_disk state_disk, journal, spill, intent, redo_log;

	uint8_t *map, *map_former, *map_synced; // as it is, as it was some time, as it was synced
	size_t map_bytes;
	bool map_trusted; // at the last start
	struct id boot;
	bool paused;

	struct pair_state state; // as the daemon read it at its start
	struct source *source; // at most one of the two
	struct sink *sink;
	struct redo *redo; // under a source that was promoted with a backlog
	bool redoing; // the state says so
	bool stopping;
	bool power_off; // when it has stopped
	struct event start, finish;
	struct greeting *greetings; // connections that were accepted and not handed over

	// primary
	bool serving;
	bool fenced; // was told of a newer generation
	bool fence_durable; // and will always know
	struct slots *slots; // to keep that
	bool told_newer; // a frame that says so has arrived
	bool synced; // the first full sync was done
	uint64_t durable; // newest epoch it calls durable on the standby
	uint64_t power_failures;
	struct workload workload;

	// standby
	bool opened;
	bool promotable; // said so, and must stay so
	uint64_t durable_claimed; // newest epoch that it called durable, to anybody
	bool promoting, forced, ordered_promotable;
	bool was_promoted; // durably
};

void node_init(struct node *node, struct simulation *sim, unsigned index);
void node_done(struct node *node);

// Starts the daemon that the state asks for.
void node_start(struct node *node);
void node_start_later(struct node *node, uint64_t delay);

// The daemon ends without warning; the machine stays up or loses its power.
void node_crash(struct node *node, enum sim_loss loss);

// Asks the daemon to stop; starts it again afterwards, power_off: after a power cycle.
void node_restart(struct node *node, bool power_off);

// Asks the standby's daemon to promote its node.
void node_promote(struct node *node, bool force);

bool node_running(const struct node *node);
void node_pause(struct node *node, bool pause);

// What a power failure may leave of the map's pages.
void node_snapshot_map(struct node *node);

// The state as the disk has it. 0 or -errno.
int node_read_state(const struct node *node, struct pair_state *state);

// Makes a new primary's volumes the truth of its own application.
void node_promoted(struct node *node);

#endif
