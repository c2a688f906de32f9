// SPDX-License-Identifier: Apache-2.0
// What goes wrong below: files of our own that cannot be read or written for a
// while, and disks whose flushes fail and lose what they should have made
// durable. In a share of the seeds; drawn apart, so that the others stay as
// they are.
#include "simulation.h"

#include <errno.h>
#include <stddef.h>

#define FILES_SALT UINT64_C(0x66696c6573)
#define FLUSH_SALT UINT64_C(0x666c757368)
#define FILES 5

void plan_files(struct plan *plan, uint64_t seed)
{
	// Where links never hold, what has to be compared as a whole never ends.
	if (plan->theme == THEME_CALM || plan->flap_stays)
		return;
	plan->file_faults = rng_mix(seed ^ FILES_SALT) % 6 == 0;
	plan->marks = rng_mix(seed ^ FILES_SALT) / 6 % 2;
	plan->flush_faults = rng_mix(seed ^ FLUSH_SALT) % 6 == 0;
}

static struct simulation *sim_of_begin(struct event *event)
{
	return (struct simulation *)((char *)event - offsetof(struct simulation, file_fault));
}

static void draw_file_fault(struct simulation *sim, struct node *node)
{
	static const char *const whats[] = {"reads", "writes", "reads and writes", "space", "leave to write"};
	struct sim_disk *files[FILES] = {&node->intent, &node->intent, &node->spill, &node->state_disk,
	                                 &node->redo_log};
	struct rng *rng = &sim->file_rng;
	struct sim_disk *disk = files[rng_below(rng, FILES)];
	unsigned what = (unsigned)rng_below(rng, 5), odds = (unsigned)rng_scale(rng, 1, 4);

	trace(sim, "node %u %s: no %s", node->index, disk->name, whats[what]);
	if (what == 0 || what == 2)
		disk->read_errors = odds;
	if (what == 1 || what == 2)
		disk->write_errors = odds;
	if (what == 3)
		disk->refuses = -ENOSPC;
	if (what == 4)
		disk->refuses = -EROFS;
}

static void draw_flush_fault(struct simulation *sim, struct node *node)
{
	unsigned odds = (unsigned)rng_scale(&sim->file_rng, 1, 8);
	struct sim_disk *own[] = {&node->intent, &node->journal, &node->state_disk, &node->redo_log};

	trace(sim, "node %u: flushes fail, one in %u", node->index, odds);
	// Where roles change, a model of each generation would have to know what the one
	// before has lost.
	for (unsigned v = 0; v < sim->plan.volume_count && !sim->plan.roles; v++)
		node->volumes[v].flush_errors = odds;
	for (unsigned i = 0; i < 4; i++)
		own[i]->flush_errors = rng_chance(&sim->file_rng, 1, 2) ? odds : 0;
}

static void end(struct simulation *sim)
{
	for (unsigned i = 0; i < 2; i++) {
		struct node *node = &sim->nodes[i];
		struct sim_disk *own[] = {&node->intent, &node->spill, &node->journal, &node->state_disk,
		                          &node->redo_log};

		for (unsigned k = 0; k < 5; k++) {
			own[k]->flush_errors = own[k]->read_errors = own[k]->write_errors = 0;
			own[k]->refuses = 0;
		}
		for (unsigned v = 0; v < sim->plan.volume_count; v++)
			node->volumes[v].flush_errors = 0;
	}
}

static void run_repair(struct event *event)
{
	end((struct simulation *)((char *)event - offsetof(struct simulation, file_repair)));
}

static void next(struct simulation *sim)
{
	scheduler_add(&sim->scheduler, &sim->file_fault,
	              rng_below(&sim->file_rng, 2 * sim->plan.fault_gap) + 10 * MSEC);
}

static void run_fault(struct event *event)
{
	struct simulation *sim = sim_of_begin(event);
	struct node *node = &sim->nodes[rng_below(&sim->file_rng, 2)];
	bool flush = sim->plan.flush_faults && (!sim->plan.file_faults || rng_chance(&sim->file_rng, 1, 2));

	if (sim->healing)
		return;
	// A sync in place that finds what it lacks by comparing is not what this is for.
	if (flush && node->is_standby && !node->promotable) {
		next(sim);
		return;
	}
	if (sim->nodes[0].synced || rng_chance(&sim->file_rng, 1, 8)) {
		sim->errors = true;
		if (flush)
			draw_flush_fault(sim, node);
		else
			draw_file_fault(sim, node);
		if (!sim->file_repair.slot)
			scheduler_add(&sim->scheduler, &sim->file_repair, rng_scale(&sim->file_rng, MSEC, 3 * SEC));
	}
	next(sim);
}

void file_faults_start(struct simulation *sim)
{
	if (!sim->plan.file_faults && !sim->plan.flush_faults)
		return;
	rng_seed(&sim->file_rng, sim->seed ^ FILES_SALT);
	sim->file_fault.run = run_fault;
	sim->file_repair.run = run_repair;
	next(sim);
}

void file_faults_heal(struct simulation *sim)
{
	if (!sim->plan.file_faults && !sim->plan.flush_faults)
		return;
	scheduler_remove(&sim->scheduler, &sim->file_fault);
	scheduler_remove(&sim->scheduler, &sim->file_repair);
	end(sim);
}
