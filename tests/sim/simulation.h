// SPDX-License-Identifier: Apache-2.0
// One run: two nodes, the network between them, the application on the primary,
// and the faults, all drawn from one seed.
#ifndef STEAD_SIM_SIMULATION_H
#define STEAD_SIM_SIMULATION_H

#include "generation.h"
#include "model.h"
#include "network.h"
#include "node.h"
#include "rng.h"
#include "scheduler.h"

#include <stdbool.h>
#include <stdint.h>

enum fault {
	FAULT_CUT,
	FAULT_PARTITION,
	FAULT_SLOW,
	FAULT_CRASH_PRIMARY,
	FAULT_CRASH_STANDBY,
	FAULT_POWER_PRIMARY,
	FAULT_POWER_STANDBY,
	FAULT_RESTART_PRIMARY, // asked to stop
	FAULT_REBOOT_PRIMARY, // asked to stop, then the power goes
	FAULT_RESTART_STANDBY,
	FAULT_VOLUME_ERRORS,
	FAULT_DISK_FULL,
	FAULT_PAUSE,
	FAULT_LIMITS,
	FAULT_BLINK, // paused and resumed at once: an epoch is given up
	FAULT_MAX,
};

enum theme {
	THEME_CALM, // nothing goes wrong
	THEME_MIXED,
	THEME_GIVING_UP,
	THEME_SLOW_SYNC,
	THEME_PRIMARY_POWER,
	THEME_BACKLOG, // promoted with epochs that are not applied
	THEME_FAILBACK, // the standby is promoted by force, the other one returns
	THEME_SWITCHOVER, // roles are exchanged as planned
	THEME_SPLIT, // both are written to while they cannot see each other
	THEME_ROLLBACK, // a node is taken back to a snapshot
};

// What the seed decided before the run begins.
struct plan {
	enum theme theme;
	unsigned volume_count;
	uint64_t volume_bytes[MODEL_VOLUMES];
	unsigned grain_bytes;
	uint32_t align[2];
	uint64_t rpo;
	uint64_t bandwidth;
	uint64_t capture_memory;
	uint64_t spill_bytes;
	uint32_t region_blocks; // of the write-intent log
	uint64_t journal_bytes;
	uint64_t apply_memory;
	bool slow_journal;
	bool tight_journal; // many epochs are larger than it
	bool in_place; // what follows from that
	bool start_without_peer;
	unsigned seeded; // standby's volumes at the begin: 0 blank, 1 alike but for some blocks, 2 garbage
	bool has_content; // primary's volumes at the begin

	unsigned clients;
	uint64_t think_max; // ns
	unsigned hot_blocks;
	unsigned grains_max; // of most requests
	unsigned weights[8]; // by kind of request, see workload.c
	uint64_t requests; // until the run ends

	unsigned faults[FAULT_MAX]; // weights; 0: never
	uint64_t fault_gap; // ns, mean
	unsigned faults_max; // in all
	bool faults_early; // during the first full sync too
	bool roles; // change, many times
	uint64_t order_gap; // ns, mean, between orders of the administrator
	unsigned changes; // of role, until the run ends
	unsigned ambush; // one in so many steps of an exchange is followed by a crash; 0: none
	unsigned promote; // one in so many faults is a promotion; 0: never
	unsigned probe; // one in so many events of the standby is probed
	unsigned probe_steps; // one in so many steps

	bool store_deaths; // the primary dies between stores into its map
	struct rng store_rng; // which
	unsigned read_beside[2]; // of a node's volumes, which are block devices then; as in simcache.h
	bool refuses_unmap[2]; // a node's volumes

	uint64_t packing; // as in network.h
	bool plain[2]; // nodes that do not know zstd
};

struct snapshot;

struct simulation {
	uint64_t seed;
	bool trace;
	struct rng rng;
	struct plan plan;
	struct scheduler scheduler;
	struct network network;
	struct node nodes[2];
	struct generation *generations[GENERATIONS_MAX];
	unsigned generation_count;
	uint64_t sequence; // of moments

	bool promoted; // a standby has become a primary, and started as one
	unsigned changes; // of role
	bool rolled; // a node was taken back to a snapshot
	bool healing; // no faults, no requests, waiting for both to be alike
	bool errors; // a disk has failed something
	uint64_t requests;
	unsigned faults; // that have happened
	uint64_t probes;

	struct event fault, poll;
	struct event repair; // ends the fault that lasts
	struct event blink; // in the middle of an epoch
	struct event outage; // just when an epoch is on its way
	struct event store_death; // is armed now and then
	struct event ambush; // a crash in the middle of a promotion
	struct event order; // of the administrator
	struct snapshot *snapshot; // of a node, to be taken back to
	bool probe_due;
	bool polled; // it is time to see whether the run is over

	bool violated;
	char violation[1024];
};

struct run_figures {
	uint64_t steps;
	bool roles; // were to change
	unsigned changes; // of role
};

// Whether the run was without a violation.
bool simulate(uint64_t seed, bool trace, char *violation, size_t size, struct run_figures *figures);

void violate(struct simulation *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));
void trace(struct simulation *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));

struct model *model_of(const struct node *node);

void plan_draw(struct plan *plan, uint64_t seed, struct rng *rng);
void plan_tighten(struct plan *plan, uint64_t seed); // some seeds: epochs do not fit into the journal
void plan_pack(struct plan *plan, uint64_t seed); // some: frames are packed in all ways
void plan_stores(struct plan *plan, uint64_t seed); // some: processes die between two stores
void plan_devices(struct plan *plan, uint64_t seed); // some: volumes are block devices, or cannot unmap

// probe.c: promotes a copy of a standby as it would be after a crash, and checks what comes out.
void probe(struct simulation *sim, enum sim_loss loss);

// faults.c
void faults_start(struct simulation *sim);
void faults_heal(struct simulation *sim);
void faults_redoing(struct simulation *sim); // a node serves before all is redone
void faults_sent(struct simulation *sim, enum frame_type type); // a frame was sent: some faults wait for that
void faults_adopting(struct simulation *sim); // an epoch that makes a former primary follow is sent
void faults_step(struct simulation *sim); // so do some for a step of an exchange of roles
void faults_part(struct simulation *sim); // nothing arrives for a while
void faults_crash(struct simulation *sim, unsigned index, enum sim_loss loss);

// admin.c: who orders exchanges of roles, and in the end brings the nodes together.
void admin_start(struct simulation *sim);
void admin_heal(struct simulation *sim);
void admin_done(struct simulation *sim);

#endif
