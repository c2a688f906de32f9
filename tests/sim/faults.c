// SPDX-License-Identifier: Apache-2.0
// What goes wrong: at random moments one of the faults that the plan allows,
// some of which last for a while.
#include "simulation.h"

#include <stddef.h>

static uint64_t draw_gap(struct simulation *sim)
{
	// One fault in the wake of another finds more than two far apart.
	if (rng_chance(&sim->rng, 1, 4))
		return rng_scale(&sim->rng, 10 * USEC, 100 * MSEC);
	return rng_below(&sim->rng, 2 * sim->plan.fault_gap) + USEC;
}

static void draw_network(struct simulation *sim)
{
	struct network *network = &sim->network;
	struct rng *rng = &sim->rng;

	network->delay_min = rng_scale(rng, 5 * USEC, 20 * MSEC);
	network->delay_max = network->delay_min * rng_range(rng, 1, 8);
	network->bandwidth = rng_chance(rng, 1, 2) ? rng_scale(rng, 64 << 10, 16 << 20) : 0;
	network->window = rng_scale(rng, 4 << 10, 4 << 20);
	network->done_max = rng_scale(rng, 2 * USEC, 20 * MSEC);
	network->dial_failures = rng_chance(rng, 1, 4) ? 3 : 0;
}

static void end_lasting(struct simulation *sim)
{
	sim->network.partitioned = false;
	for (unsigned i = 0; i < 2; i++) {
		struct node *node = &sim->nodes[i];

		node->journal.full = node->spill.full = false;
		node->journal.write_errors = node->journal.read_errors = 0;
		for (unsigned v = 0; v < sim->plan.volume_count; v++)
			node->volumes[v].read_errors = node->volumes[v].write_errors = 0;
		if (node->paused)
			node_pause(node, false);
	}
	draw_network(sim);
}

static void run_repair(struct event *event)
{
	struct simulation *sim = (struct simulation *)((char *)event - offsetof(struct simulation, repair));

	trace(sim, "faults that last are over");
	end_lasting(sim);
}

// The fault lasts for a while.
static void lasts(struct simulation *sim, uint64_t max)
{
	if (!sim->repair.slot)
		scheduler_add(&sim->scheduler, &sim->repair, rng_scale(&sim->rng, MSEC, max));
}

void faults_part(struct simulation *sim)
{
	trace(sim, "the nodes cannot see each other");
	sim->network.partitioned = true;
	lasts(sim, 20 * SEC);
}

void faults_crash(struct simulation *sim, unsigned index, enum sim_loss loss)
{
	struct node *node = &sim->nodes[index];

	if (!node_running(node) && loss == LOSS_PROCESS)
		return;
	node_crash(node, loss);
	node_start_later(node, rng_scale(&sim->rng, MSEC, SEC));
	sim->probe_due |= index == 1 || sim->plan.roles;
}

static void volume_errors(struct simulation *sim)
{
	struct node *node = &sim->nodes[rng_below(&sim->rng, 2)];
	unsigned odds = (unsigned)rng_scale(&sim->rng, 3, 50);
	unsigned *what[] = {&node->volumes[0].read_errors, &node->volumes[0].write_errors, &node->journal.write_errors,
	                    &node->journal.read_errors};

	sim->errors = true;
	*what[rng_below(&sim->rng, 4)] = odds;
	trace(sim, "node %u has disk errors", node->index);
	lasts(sim, SEC);
}

// Who has the role now, as far as that can be said.
static struct node *node_of(struct simulation *sim, enum role role)
{
	bool second = sim->plan.roles && sim->nodes[1].source && !sim->nodes[0].serving;

	return &sim->nodes[second == (role == ROLE_PRIMARY)];
}

static void disk_full(struct simulation *sim)
{
	trace(sim, "disks are full");
	node_of(sim, ROLE_PRIMARY)->spill.full = rng_chance(&sim->rng, 2, 3);
	node_of(sim, ROLE_STANDBY)->journal.full = rng_chance(&sim->rng, 2, 3);
	node_of(sim, ROLE_PRIMARY)->spill.errors++;
	node_of(sim, ROLE_STANDBY)->journal.errors++;
	lasts(sim, 3 * SEC);
}

static void set_limits(struct simulation *sim)
{
	struct node *node = node_of(sim, ROLE_PRIMARY);

	sim->plan.rpo = rng_scale(&sim->rng, 20 * MSEC, 5 * SEC);
	sim->plan.bandwidth = rng_chance(&sim->rng, 1, 2) ? rng_scale(&sim->rng, 32 << 10, 4 << 20) : 0;
	if (sim->plan.tight_journal)
		sim->plan.in_place = rng_chance(&sim->rng, 1, 2);
	if (!node->source || node->stopping)
		return;
	source_set_in_place(node->source, sim->plan.in_place);
	source_set_limits(node->source, sim->plan.rpo, sim->plan.bandwidth);
}

static void happen(struct simulation *sim, enum fault fault)
{
	unsigned primary = node_of(sim, ROLE_PRIMARY)->index;
	static const char *const names[] = {"cut",
	                                    "partition",
	                                    "slow",
	                                    "crash-primary",
	                                    "crash-standby",
	                                    "power-primary",
	                                    "power-standby",
	                                    "restart-primary",
	                                    "reboot-primary",
	                                    "restart-standby",
	                                    "volume-errors",
	                                    "disk-full",
	                                    "pause",
	                                    "limits",
	                                    "blink"};

	trace(sim, "fault %s", names[fault]);
	switch (fault) {
	case FAULT_CUT:
		network_cut(&sim->network);
		break;
	case FAULT_PARTITION:
		faults_part(sim);
		break;
	case FAULT_SLOW:
		sim->network.bandwidth = rng_scale(&sim->rng, 16 << 10, 1 << 20);
		lasts(sim, 5 * SEC);
		break;
	case FAULT_CRASH_PRIMARY:
		faults_crash(sim, primary, LOSS_PROCESS);
		break;
	case FAULT_CRASH_STANDBY:
		faults_crash(sim, !primary, LOSS_PROCESS);
		break;
	case FAULT_POWER_PRIMARY:
		faults_crash(sim, primary, LOSS_POWER);
		break;
	case FAULT_POWER_STANDBY:
		faults_crash(sim, !primary, LOSS_POWER);
		break;
	case FAULT_RESTART_PRIMARY:
	case FAULT_REBOOT_PRIMARY:
		node_restart(&sim->nodes[primary], fault == FAULT_REBOOT_PRIMARY);
		break;
	case FAULT_RESTART_STANDBY:
		node_restart(&sim->nodes[!primary], rng_chance(&sim->rng, 1, 2));
		break;
	case FAULT_VOLUME_ERRORS:
		volume_errors(sim);
		break;
	case FAULT_DISK_FULL:
		disk_full(sim);
		break;
	case FAULT_PAUSE:
		node_pause(&sim->nodes[primary], true);
		lasts(sim, 5 * SEC);
		break;
	case FAULT_LIMITS:
		set_limits(sim);
		break;
	case FAULT_BLINK:
		node_pause(&sim->nodes[primary], true);
		node_pause(&sim->nodes[primary], false);
		break;
	case FAULT_MAX:
		break;
	}
}

// A promotion is cut short.
static void run_ambush(struct event *event)
{
	struct simulation *sim = (struct simulation *)((char *)event - offsetof(struct simulation, ambush));

	unsigned index = sim->plan.roles ? (unsigned)rng_below(&sim->rng, 2) : 1;

	if (!sim->healing)
		faults_crash(sim, index, rng_chance(&sim->rng, 1, 2) ? LOSS_POWER : LOSS_PROCESS);
}

void faults_step(struct simulation *sim)
{
	if (!sim->healing && sim->plan.ambush && !sim->ambush.slot && rng_chance(&sim->rng, 1, sim->plan.ambush))
		scheduler_add(&sim->scheduler, &sim->ambush, rng_scale(&sim->rng, 10 * USEC, 50 * MSEC));
}

// What the application wrote before a crash must stay as it is.
void faults_redoing(struct simulation *sim)
{
	if (!sim->healing && !sim->ambush.slot && rng_chance(&sim->rng, 2, 3))
		scheduler_add(&sim->scheduler, &sim->ambush, rng_scale(&sim->rng, MSEC, 200 * MSEC));
}

static void run_blink(struct event *event)
{
	struct simulation *sim = (struct simulation *)((char *)event - offsetof(struct simulation, blink));

	if (!sim->healing)
		happen(sim, FAULT_BLINK);
}

static void run_outage(struct event *event)
{
	struct simulation *sim = (struct simulation *)((char *)event - offsetof(struct simulation, outage));

	if (sim->healing)
		return;
	if (sim->plan.roles) {
		struct node *standby = node_of(sim, ROLE_STANDBY);

		if (rng_chance(&sim->rng, 1, 2))
			node_promote(standby, true);
		else
			faults_crash(sim, standby->index, rng_chance(&sim->rng, 1, 2) ? LOSS_POWER : LOSS_PROCESS);
	} else if (sim->plan.theme == THEME_BACKLOG) {
		node_promote(&sim->nodes[1], true);
	} else if (sim->plan.theme == THEME_PRIMARY_POWER) {
		happen(sim, FAULT_POWER_PRIMARY);
		node_start_later(&sim->nodes[0], rng_scale(&sim->rng, MSEC, 200 * MSEC));
	} else {
		happen(sim, FAULT_POWER_STANDBY);
	}
}

void faults_sent(struct simulation *sim, enum frame_type type)
{
	struct rng *rng = &sim->rng;

	if (sim->healing)
		return;
	// The primary has not heard of an epoch, or not all of it is there.
	if (sim->plan.roles && sim->plan.ambush && type == FRAME_DURABLE && !sim->outage.slot && rng_chance(rng, 1, 48))
		scheduler_add(&sim->scheduler, &sim->outage, rng_scale(rng, USEC, 20 * MSEC));
	if (sim->promoted || sim->plan.roles)
		return;
	if (sim->plan.tight_journal && sim->plan.theme != THEME_CALM && (type == FRAME_MARK || type == FRAME_MARKED) &&
	    !sim->outage.slot && rng_chance(rng, 1, 4))
		scheduler_add(&sim->scheduler, &sim->outage, rng_scale(rng, 10 * USEC, SEC));
	if (sim->plan.theme == THEME_SLOW_SYNC && type == FRAME_MARKED && !sim->outage.slot && rng_chance(rng, 1, 2))
		scheduler_add(&sim->scheduler, &sim->outage, rng_scale(rng, MSEC, 2 * SEC));
	if (!sim->nodes[0].synced)
		return;
	if (sim->plan.theme == THEME_GIVING_UP && type == FRAME_BLOCKS && !sim->blink.slot && rng_chance(rng, 1, 4))
		scheduler_add(&sim->scheduler, &sim->blink, rng_scale(rng, 10 * USEC, 30 * MSEC));
	if (sim->plan.theme == THEME_BACKLOG && type == FRAME_DURABLE && !sim->outage.slot && rng_chance(rng, 1, 4))
		scheduler_add(&sim->scheduler, &sim->outage, rng_scale(rng, USEC, 20 * MSEC));
	if (sim->plan.theme == THEME_PRIMARY_POWER && (type == FRAME_END || type == FRAME_DURABLE) &&
	    !sim->outage.slot && rng_chance(rng, 1, 12))
		scheduler_add(&sim->scheduler, &sim->outage, rng_scale(rng, USEC, 20 * MSEC));
}

void faults_adopting(struct simulation *sim)
{
	struct rng *rng = &sim->rng;

	if (sim->healing)
		return;
	if (sim->plan.ambush && !sim->outage.slot && rng_chance(rng, 1, 6))
		scheduler_add(&sim->scheduler, &sim->outage, rng_scale(rng, 10 * USEC, 50 * MSEC));
	if (rng_chance(rng, 1, 16))
		disk_full(sim);
}

static void run_fault(struct event *event)
{
	struct simulation *sim = (struct simulation *)((char *)event - offsetof(struct simulation, fault));
	unsigned sum = 0;
	uint64_t pick;

	if (sim->healing)
		return;
	if (!sim->plan.faults_early && !sim->nodes[0].synced && sim->scheduler.now < 60 * SEC) {
		scheduler_add(&sim->scheduler, event, draw_gap(sim));
		return;
	}
	for (unsigned i = 0; i < FAULT_MAX; i++)
		sum += sim->plan.faults[i];
	pick = rng_below(&sim->rng, sum);
	if (sim->plan.promote && rng_chance(&sim->rng, 1, sim->plan.promote)) {
		node_promote(&sim->nodes[1], rng_chance(&sim->rng, 3, 4));
		if (rng_chance(&sim->rng, 1, 3))
			scheduler_add(&sim->scheduler, &sim->ambush, rng_scale(&sim->rng, 10 * USEC, 50 * MSEC));
	} else if (sum) {
		for (unsigned i = 0; i < FAULT_MAX; i++) {
			if (pick < sim->plan.faults[i]) {
				happen(sim, (enum fault)i);
				break;
			}
			pick -= sim->plan.faults[i];
		}
	}
	if (sum && rng_chance(&sim->rng, 1, 2))
		node_snapshot_map(&sim->nodes[rng_below(&sim->rng, 2)]);
	if (++sim->faults < sim->plan.faults_max)
		scheduler_add(&sim->scheduler, event, draw_gap(sim));
}

// A process that has little to store lives until the next time.
static void run_store_death(struct event *event)
{
	struct simulation *sim = (struct simulation *)((char *)event - offsetof(struct simulation, store_death));
	struct rng *rng = &sim->plan.store_rng;

	if (sim->healing)
		return;
	stores_arm(node_of(sim, ROLE_PRIMARY), rng_scale(rng, 1, 200));
	scheduler_add(&sim->scheduler, event, rng_range(rng, 1, 2 * sim->plan.fault_gap) + MSEC);
}

void faults_start(struct simulation *sim)
{
	draw_network(sim);
	sim->fault.run = run_fault;
	sim->repair.run = run_repair;
	sim->ambush.run = run_ambush;
	sim->blink.run = run_blink;
	sim->outage.run = run_outage;
	sim->store_death.run = run_store_death;
	scheduler_add(&sim->scheduler, &sim->fault, draw_gap(sim));
	if (sim->plan.store_deaths)
		scheduler_add(&sim->scheduler, &sim->store_death, sim->plan.fault_gap + MSEC);
}

void faults_heal(struct simulation *sim)
{
	scheduler_remove(&sim->scheduler, &sim->fault);
	scheduler_remove(&sim->scheduler, &sim->repair);
	scheduler_remove(&sim->scheduler, &sim->ambush);
	scheduler_remove(&sim->scheduler, &sim->store_death);
	for (unsigned i = 0; i < 2; i++)
		stores_arm(&sim->nodes[i], 0);
	end_lasting(sim);
	sim->plan.bandwidth = 0;
	sim->plan.in_place = true;
	for (unsigned i = 0; i < 2; i++) {
		if (!sim->nodes[i].source || sim->nodes[i].stopping)
			continue;
		source_set_in_place(sim->nodes[i].source, true);
		source_set_limits(sim->nodes[i].source, sim->plan.rpo, 0);
	}
	sim->network.dial_failures = 0;
	sim->network.bandwidth = 0;
	for (unsigned i = 0; i < 2; i++)
		if (!node_running(&sim->nodes[i]) && !sim->nodes[i].start.slot)
			node_start_later(&sim->nodes[i], MSEC);
}
