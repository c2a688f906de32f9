// SPDX-License-Identifier: Apache-2.0
// The space below the volumes of a standby runs out, for long: what is durable
// stays in its journal. It is promoted all the same, and what it serves then is
// what it was promoted to.
#include "simulation.h"

#include <stddef.h>

// Which runs know it, and what happens in them, is drawn apart: the others run as they ran before.
#define STARVE_SALT UINT64_C(0x737461727665)

static struct simulation *sim_of(struct event *event)
{
	return (struct simulation *)((char *)event - offsetof(struct simulation, starve));
}

static void fill(struct simulation *sim, struct node *node, bool full)
{
	for (unsigned v = 0; v < sim->plan.volume_count; v++) {
		node->volumes[v].full = full && rng_chance(&sim->starve_rng, 3, 4);
		node->volumes[v].errors += node->volumes[v].full;
	}
	trace(sim, "volumes of node %u are %s", node->index, full ? "full" : "no longer full");
}

static struct node *standby_of(struct simulation *sim)
{
	unsigned first = (unsigned)rng_below(&sim->starve_rng, 2);

	for (unsigned i = 0; i < 2; i++) {
		struct node *node = &sim->nodes[i ? !first : first];

		if (node->sink && node->opened && node->promotable && !node->stopping)
			return node;
	}
	return NULL;
}

static void begin(struct event *event);

static void end(struct event *event)
{
	struct simulation *sim = sim_of(event);

	for (unsigned i = 0; i < 2; i++)
		fill(sim, &sim->nodes[i], false);
	event->run = begin;
	if (!sim->healing)
		scheduler_add(&sim->scheduler, event, rng_scale(&sim->starve_rng, 10 * MSEC, 5 * SEC));
}

// Somebody promotes it in the midst of it.
static void burn(struct event *event)
{
	struct simulation *sim = sim_of(event);
	struct node *node = standby_of(sim);

	if (!sim->healing && node && !node->promoting)
		node_promote(node, true);
	event->run = end;
	scheduler_add(&sim->scheduler, event, rng_range(&sim->starve_rng, 1, 20) * SEC);
}

static void begin(struct event *event)
{
	struct simulation *sim = sim_of(event);
	struct node *node = sim->healing ? NULL : standby_of(sim);
	bool promotes;

	if (sim->healing)
		return;
	if (!node) {
		scheduler_add(&sim->scheduler, event, rng_scale(&sim->starve_rng, 10 * MSEC, 500 * MSEC));
		return;
	}
	sim->starved = true;
	fill(sim, node, true);
	promotes = sim->plan.roles ? rng_chance(&sim->starve_rng, 1, 2) : sim->requests > sim->plan.requests / 2;
	event->run = promotes ? burn : end;
	scheduler_add(&sim->scheduler, event, rng_scale(&sim->starve_rng, 100 * MSEC, 5 * SEC));
}

void starve_start(struct simulation *sim)
{
	if (sim->plan.theme == THEME_CALM || sim->plan.theme == THEME_SLOW_SYNC ||
	    rng_mix(sim->seed ^ STARVE_SALT) % 5 != 0)
		return;
	rng_seed(&sim->starve_rng, sim->seed ^ STARVE_SALT);
	sim->starve.run = begin;
	sim->plan.weights[2] += 10; // reads of what cannot be redone
	scheduler_add(&sim->scheduler, &sim->starve, rng_scale(&sim->starve_rng, 10 * MSEC, 5 * SEC));
}

void starve_heal(struct simulation *sim)
{
	if (sim->starve.run && sim->starved) {
		scheduler_remove(&sim->scheduler, &sim->starve);
		end(&sim->starve);
	}
}
