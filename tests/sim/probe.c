// SPDX-License-Identifier: Apache-2.0
// At any moment, whatever the standby can be promoted to must be the content of
// one cut: so a copy of it is promoted, and looked at.
#include "common/slots.h"
#include "memory.h"
#include "redone.h"
#include "simulation.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define STEPS_MAX 200000

struct copy {
	struct rng rng;
	struct scheduler scheduler;
	struct sim_clock clock;
	struct sim_disk volumes[MODEL_VOLUMES];
	struct sim_disk *list[MODEL_VOLUMES];
	struct sim_disk state, journal, log;
	struct sink *sink;
	const struct node *node;
	uint8_t *map;
	bool opened, failed, finished;
	int error;
	struct error reason;
};

static uint64_t copy_random(void *user)
{
	return rng_next(&((struct copy *)user)->rng);
}

static void copy_event(void *user, enum sink_event event, uint64_t epoch, const char *text)
{
	struct copy *copy = user;

	(void)epoch;
	if (event != SINK_OPENED)
		return;
	copy->opened = true;
	copy->failed = text != NULL;
	if (text)
		snprintf(copy->reason.text, sizeof(copy->reason.text), "%s", text);
}

static void copy_promoted(void *user, int error, const struct error *reason)
{
	struct copy *copy = user;

	copy->finished = true;
	copy->error = error;
	if (error)
		copy->reason = *reason;
}

static void copy_disk(struct copy *copy, struct sim_disk *to, struct sim_disk *from, enum sim_loss loss)
{
	sim_disk_init(to, &copy->scheduler, &copy->rng, from->disk.size, from->disk.align);
	to->latency_min = 1;
	to->latency_max = 1000;
	sim_disk_clone(from, loss, to, &copy->rng);
}

static void copy_init(struct copy *copy, struct node *node, enum sim_loss loss)
{
	struct simulation *sim = node->sim;

	memset(copy, 0, sizeof(*copy));
	rng_seed(&copy->rng, rng_next(&sim->rng));
	scheduler_init(&copy->scheduler, &copy->rng);
	copy->scheduler.now = sim->scheduler.now;
	sim_clock_init(&copy->clock, &copy->scheduler);
	copy->clock.wall = node->clock.wall;
	for (unsigned v = 0; v < sim->plan.volume_count; v++) {
		copy_disk(copy, &copy->volumes[v], &node->volumes[v], loss);
		copy->list[v] = &copy->volumes[v];
	}
	copy_disk(copy, &copy->state, &node->state_disk, loss);
	copy_disk(copy, &copy->journal, &node->journal, loss);
	copy_disk(copy, &copy->log, &node->redo_log, loss);
	copy->node = node;
	copy->map = aligned_alloc(PAGE, node->map_bytes);
	if (!copy->map)
		abort();
}

static void copy_done(struct copy *copy, unsigned volume_count)
{
	for (unsigned v = 0; v < volume_count; v++)
		sim_disk_done(&copy->volumes[v]);
	sim_disk_done(&copy->state);
	sim_disk_done(&copy->journal);
	sim_disk_done(&copy->log);
	sim_clock_done(&copy->clock);
	scheduler_done(&copy->scheduler);
	free(copy->map);
}

static void run_until(struct copy *copy, const bool *flag, uint64_t *steps)
{
	while (!*flag && *steps && scheduler_step(&copy->scheduler))
		--*steps;
}

static void copy_start(struct simulation *sim, struct copy *copy)
{
	struct sink_config config = {
	        .clock = &copy->clock.clock,
	        .volume_count = sim->plan.volume_count,
	        .state = &copy->state.disk,
	        .map = copy->map,
	        .journal = &copy->journal.disk,
	        .apply_memory = sim->plan.apply_memory,
	        .random = copy_random,
	        .event = copy_event,
	        .user = copy,
	};

	for (unsigned v = 0; v < sim->plan.volume_count; v++)
		config.volumes[v] = &copy->volumes[v].disk;
	memcpy(copy->map, copy->node->map, copy->node->map_bytes);
	copy->opened = copy->failed = copy->finished = false;
	copy->sink = sink_new(&config);
	if (!copy->sink)
		abort();
	sink_start(copy->sink);
}

static void copy_crash(struct copy *copy, unsigned volume_count, enum sim_loss loss)
{
	for (unsigned v = 0; v < volume_count; v++)
		sim_disk_crash(&copy->volumes[v], loss);
	sim_disk_crash(&copy->state, loss);
	sim_disk_crash(&copy->journal, loss);
	sim_clock_crash(&copy->clock);
	sink_free(copy->sink);
	copy->sink = NULL;
}

// Recovers and promotes, for at most so many steps; then the power fails.
static void copy_promote(struct simulation *sim, struct copy *copy, uint64_t steps)
{
	copy_start(sim, copy);
	run_until(copy, &copy->opened, &steps);
	if (copy->opened && !copy->failed) {
		sink_promote(copy->sink, true, copy, copy_promoted);
		run_until(copy, &copy->finished, &steps);
	}
	copy_crash(copy, sim->plan.volume_count, LOSS_POWER);
}

static bool is_promoted(const struct copy *copy)
{
	struct pair_state state;

	return state_on_disk(&copy->state, &state) || state.role == ROLE_PRIMARY;
}

// What it was promoted to, once everything is redone.
static void check_copy(struct simulation *sim, struct copy *copy, const struct pair_state *state)
{
	struct redo_disks disks = {&copy->clock,   &copy->rng, copy->list,
	                           &copy->journal, &copy->log, sim->plan.region_blocks};
	const char *why = redo_to_end(&disks, state);

	if (why)
		violate(sim, "G10: after the promotion of the standby: %s", why);
	else
		check_promoted(copy->node, copy->list, state);
}

static void judge(struct simulation *sim, struct copy *copy)
{
	const struct node *node = copy->node;
	struct pair_state state;

	if (!copy->opened)
		violate(sim, "G10: recovery of the standby does not end");
	else if (copy->failed)
		violate(sim, "G10: the standby cannot be opened: %s", copy->reason.text);
	else if (!copy->finished)
		violate(sim, "G10: promotion of the standby does not end");
	else if (copy->error == -EPERM && node->promotable)
		violate(sim, "G1: the standby cannot be promoted: %s", copy->reason.text);
	else if (copy->error && copy->error != -EPERM)
		violate(sim, "G10: promotion of the standby: %s", copy->reason.text);
	else if (state_on_disk(&copy->state, &state))
		violate(sim, "G10: the state of the promoted standby cannot be read");
	else if (!copy->error && state.role != ROLE_PRIMARY)
		violate(sim, "G5: the promotion was not durable");
	else if (!copy->error)
		check_copy(sim, copy, &state);
}

static void misuse(struct simulation *sim, struct copy *copy)
{
	for (unsigned v = 0; v < sim->plan.volume_count; v++)
		if (copy->volumes[v].misused)
			violate(sim, "copy of volume %u: %s", v, copy->volumes[v].misused);
	if (copy->state.misused || copy->journal.misused)
		violate(sim, "copy of state or journal: %s",
		        copy->state.misused ? copy->state.misused : copy->journal.misused);
}

// A node that is a standby, by what is known of it; NULL: neither is.
static struct node *choose(struct simulation *sim)
{
	struct node *nodes = sim->nodes;

	if (!sim->plan.roles)
		return sim->promoted ? NULL : &nodes[1];
	if (nodes[0].is_standby && nodes[1].is_standby)
		return &nodes[rng_below(&sim->rng, 2)];
	return nodes[0].is_standby ? &nodes[0] : nodes[1].is_standby ? &nodes[1] : NULL;
}

void probe(struct simulation *sim, enum sim_loss loss)
{
	struct node *node = sim->violated ? NULL : choose(sim);
	struct copy *copy;
	struct pair_state state;

	if (!node)
		return;
	copy = resize(NULL, sizeof(*copy));
	sim->probes++;
	copy_init(copy, node, loss);
	// Whatever crashes on the way, trying again must end well.
	for (unsigned i = (unsigned)rng_below(&copy->rng, 6); i < 2 && !is_promoted(copy); i++)
		copy_promote(sim, copy, rng_scale(&copy->rng, 1, 200));
	if (state_on_disk(&copy->state, &state)) {
		violate(sim, "G10: the state of the standby cannot be read");
	} else if (state.role == ROLE_PRIMARY) {
		// Or it is the primary still, and only about to become a standby.
		if (!generation_find(sim, &state.lineage.generation))
			check_copy(sim, copy, &state);
	} else {
		copy_promote(sim, copy, STEPS_MAX);
		judge(sim, copy);
	}
	misuse(sim, copy);
	copy_done(copy, sim->plan.volume_count);
	free(copy);
}
