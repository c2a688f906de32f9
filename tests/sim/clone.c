// SPDX-License-Identifier: Apache-2.0
#include "clone.h"

#include "simulation.h"
#include "snapshot.h"

#include <stddef.h>

#define CLONE_SALT UINT64_C(0x636c6f6e65)
#define SWAPS_MAX 6
#define PATIENCE (20 * SEC) // of a copy that gets nowhere

static bool serves(const struct node *node)
{
	return node->source && node->serving && !node->stopping && !node->redoing;
}

// One of the two stops where it is, the other one goes on. The original was only
// paused, or its host was cut off.
static void exchange(struct clone *clone)
{
	struct node *node = clone->node;
	struct simulation *sim = node->sim;
	bool copy = clone->stage == CLONE_COPIED;
	struct id boot = node->boot;
	struct snapshot *stopped;

	node_crash(node, copy ? LOSS_PROCESS : LOSS_POWER);
	trace(sim, "%s of node %u runs instead", copy ? "a copy" : "the original", node->index);
	stopped = snapshot_of(node, &clone->rng);
	snapshot_put(node, clone->other);
	snapshot_drop(clone->other);
	clone->other = stopped;
	if (copy) {
		clone->boot = boot;
		draw_id(&clone->rng, &node->boot);
	} else {
		node->boot = clone->boot;
	}
	clone->stage = copy ? CLONE_RUNS : CLONE_COPIED;
	clone->swaps++;
	node_start_later(node, rng_scale(&clone->rng, MSEC, 100 * MSEC));
	if (copy)
		scheduler_add(&sim->scheduler, &clone->swap, PATIENCE);
}

static void run_swap(struct event *event)
{
	struct clone *clone = (struct clone *)((char *)event - offsetof(struct clone, swap));
	struct simulation *sim = (struct simulation *)((char *)clone - offsetof(struct simulation, clone));

	if (sim->healing && clone->stage != CLONE_RUNS)
		return;
	if (clone->stage != CLONE_NONE) {
		exchange(clone);
		return;
	}
	if (!serves(clone->node))
		return;
	trace(sim, "node %u is copied", clone->node->index);
	clone->other = snapshot_of(clone->node, &clone->rng);
	clone->stage = CLONE_COPIED;
}

void clone_init(struct simulation *sim)
{
	struct clone *clone = &sim->clone;

	if (sim->plan.theme != THEME_ROLLBACK || rng_mix(sim->seed ^ CLONE_SALT) % 2)
		return;
	clone->wanted = true;
	clone->swap.run = run_swap;
	rng_seed(&clone->rng, sim->seed ^ CLONE_SALT);
}

// The copy is made when nothing is on its way, takes over when the first epoch
// that it does not know is, and is put away when it has made one.
void clone_frame(struct simulation *sim, unsigned host, enum frame_type type)
{
	struct clone *clone = &sim->clone;
	struct node *node = &sim->nodes[host];

	if (!clone->wanted || sim->healing || clone->swaps >= SWAPS_MAX ||
	    (clone->swap.slot && clone->stage != CLONE_RUNS))
		return;
	if (clone->stage == CLONE_NONE) {
		if (type != FRAME_DURABLE || !serves(&sim->nodes[!host]) || !rng_chance(&clone->rng, 1, 8))
			return;
		clone->node = &sim->nodes[!host];
	} else if (clone->stage == CLONE_COPIED) {
		if ((type != FRAME_BEGIN && type != FRAME_END) || node != clone->node || !rng_chance(&clone->rng, 1, 3))
			return;
	} else if (type != FRAME_DURABLE || node == clone->node || !rng_chance(&clone->rng, 1, 2)) {
		return;
	}
	scheduler_add(&sim->scheduler, &clone->swap, rng_scale(&clone->rng, 10 * USEC, 20 * MSEC));
}

void clone_done(struct simulation *sim)
{
	scheduler_remove(&sim->scheduler, &sim->clone.swap);
	snapshot_drop(sim->clone.other);
}
