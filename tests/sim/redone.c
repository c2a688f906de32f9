// SPDX-License-Identifier: Apache-2.0
#include "redone.h"

#include "memory.h"
#include "receiver/redo.h"
#include "simulation.h"

#include <errno.h>
#include <stdlib.h>

#define STEPS_MAX 400000

struct run {
	struct redo *redo;
	bool opened, done;
	int error;
};

struct redone {
	struct rng rng;
	struct scheduler scheduler;
	struct sim_clock clock;
	unsigned volume_count;
	struct sim_disk volumes[MODEL_VOLUMES];
	struct sim_disk *list[MODEL_VOLUMES];
	struct sim_disk journal, log;
	bool copied;
};

static void run_opened(void *user, int error, const struct error *err)
{
	struct run *run = user;

	(void)err;
	run->opened = true;
	run->error = error;
}

static void run_done(void *user)
{
	((struct run *)user)->done = true;
}

static void run_trouble(void *user, const struct error *err)
{
	(void)err;
	((struct run *)user)->error = -EIO;
}

static void run_for(const struct redo_disks *disks, const struct pair_state *state, struct run *run, uint64_t steps)
{
	static const struct redo_events events = {run_opened, run_done, run_trouble};
	struct redo_config config = {
	        .clock = &disks->clock->clock,
	        .journal = &disks->journal->disk,
	        .log = &disks->log->disk,
	        .volume_count = state->volume_count,
	        .state = state,
	        .region_blocks = disks->region_blocks,
	        .events = &events,
	        .user = run,
	};

	for (unsigned v = 0; v < state->volume_count; v++)
		config.volumes[v] = &disks->volumes[v]->disk;
	*run = (struct run){.redo = redo_new(&config)};
	if (!run->redo)
		abort();
	redo_start(run->redo);
	while (!run->done && !run->error && steps-- && scheduler_step(disks->clock->scheduler))
		;
	for (unsigned v = 0; v < state->volume_count; v++)
		sim_disk_crash(disks->volumes[v], LOSS_POWER);
	sim_disk_crash(disks->journal, LOSS_POWER);
	sim_disk_crash(disks->log, LOSS_POWER);
	sim_clock_crash(disks->clock);
	redo_free(run->redo);
}

const char *redo_to_end(const struct redo_disks *disks, const struct pair_state *state)
{
	struct run run;

	if (!state->redo)
		return NULL;
	for (unsigned i = (unsigned)rng_below(disks->rng, 6); i < 2; i++)
		run_for(disks, state, &run, rng_scale(disks->rng, 1, 200));
	run_for(disks, state, &run, STEPS_MAX);
	if (run.error)
		return run.opened ? "something cannot be redone" : "what is to be redone cannot be read";
	return run.done ? NULL : "the redo does not end";
}

static void copy_disk(struct redone *redone, struct sim_disk *to, struct sim_disk *from)
{
	sim_disk_init(to, &redone->scheduler, &redone->rng, from->disk.size, from->disk.align);
	to->latency_min = 1;
	to->latency_max = 1000;
	sim_disk_clone(from, LOSS_PROCESS, to, &redone->rng);
}

struct redone *redone_new(struct node *node)
{
	struct redone *redone = allocate(sizeof(*redone));
	struct redo_disks disks = {&redone->clock,   &redone->rng, redone->list,
	                           &redone->journal, &redone->log, node->sim->plan.region_blocks};
	struct pair_state state;
	const char *why;

	redone->volume_count = node->sim->plan.volume_count;
	for (unsigned v = 0; v < redone->volume_count; v++)
		redone->list[v] = &node->volumes[v];
	if (node_read_state(node, &state) || !state.redo)
		return redone;
	redone->copied = true;
	rng_seed(&redone->rng, rng_next(&node->sim->rng));
	scheduler_init(&redone->scheduler, &redone->rng);
	sim_clock_init(&redone->clock, &redone->scheduler);
	for (unsigned v = 0; v < redone->volume_count; v++) {
		copy_disk(redone, &redone->volumes[v], &node->volumes[v]);
		redone->list[v] = &redone->volumes[v];
	}
	copy_disk(redone, &redone->journal, &node->journal);
	copy_disk(redone, &redone->log, &node->redo_log);
	why = redo_to_end(&disks, &state);
	if (why)
		violate(node->sim, "G10: after the promotion of node %u: %s", node->index, why);
	return redone;
}

struct sim_disk *const *redone_volumes(const struct redone *redone)
{
	return redone->list;
}

void redone_free(struct redone *redone)
{
	if (redone->copied) {
		for (unsigned v = 0; v < redone->volume_count; v++)
			sim_disk_done(&redone->volumes[v]);
		sim_disk_done(&redone->journal);
		sim_disk_done(&redone->log);
		sim_clock_done(&redone->clock);
		scheduler_done(&redone->scheduler);
	}
	free(redone);
}
