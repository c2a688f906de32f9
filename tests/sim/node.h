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
struct generation;

// What follows when the daemon has stopped.
enum afterwards {
	THEN_START,
	THEN_RETURN, // the primary becomes a standby
	THEN_REGAIN, // the fenced primary is made one anew, by force
};

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
	bool map_closed; // complete and synced
	uint8_t *map_left; // by a process that dies
	bool dying; // it has made its last store, and is gone when this step is over
	uint64_t stores; // until then; 0: it does not die of it
	uint8_t *sink_map; // what the standby's engine was given: a copy
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

	struct generation *generation; // that it serves or served last
	struct generation *follows; // the newest whose content it surely has
	bool is_standby; // by what is known of its state

	// exchange.c
	enum afterwards then;
	bool discard; // RETURN: the administrator said so
	uint64_t held_cut; // as the engine left it
	bool held_beyond;
	struct pair_state next; // that is being saved
	struct disk_io wipe;
	bool wiped, changed;
	bool serve_ordered; // by the promotion, until it serves
	struct event answer; // to a primary that hands its role over
	bool takes_over; // the promotion under way is that answer
	bool gave_way; // the administrator said that what it has may go
	bool told_touched; // the peer, of which it heard, was written to

	// primary
	bool serving;
	bool fenced; // was told of a newer generation
	bool fence_durable; // and will always know
	bool adopts; // the epoch that it sends
	struct slots *slots; // to keep that
	bool told_newer; // a frame that says so has arrived
	bool synced; // the first full sync was done
	uint64_t durable; // newest epoch it calls durable on the standby
	struct workload workload;

	// standby
	bool opened;
	bool promotable; // said so, and must stay so
	uint64_t said; // the last epoch that it called durable
	bool yielding;
	bool promoting, forced, ordered_promotable;
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

// stores.c: the primary's process dies after so many more stores into its map.
void stores_watch(struct simulation *sim); // the run that is under way
void stores_arm(struct node *node, uint64_t stores);
void stores_reap(struct simulation *sim); // after each step: who has died is gone

// What a power failure may leave of the map's pages.
void node_snapshot_map(struct node *node);

// The state as the disk has it. 0 or -errno.
int state_on_disk(const struct sim_disk *disk, struct pair_state *state);
int node_read_state(const struct node *node, struct pair_state *state);

// Asks the primary's daemon to stop, for what is to follow.
void node_stop(struct node *node, enum afterwards then, bool discard);

// Makes the state durable, as the daemon of a primary does.
void node_save(struct node *node, void (*saved)(void *user, int error));

// Nothing of its daemon runs any more: it starts again with what its state says.
void node_changed(struct node *node);

uint64_t node_random(void *user);

// exchange.c: the daemon's part in an exchange of roles.
void exchange_fenced(struct node *node);
void exchange_not_taken(struct node *node);
void exchange_wanted(struct node *node); // by the peer: a switchover
void exchange_takeover(struct node *node);
void exchange_stopped(struct node *node); // the engine: what was to follow begins
bool exchange_switchover(struct node *node);
bool exchange_demote(struct node *node);
bool exchange_return(struct node *node, bool discard); // stead resync
bool exchange_regain(struct node *node); // stead promote --force, of a fenced primary

#endif
