// SPDX-License-Identifier: Apache-2.0
#include "generation.h"

#include "memory.h"
#include "redone.h"
#include "simulation.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

// Numbers of writes tell the generation they belong to.
#define WRITES_OF_ONE 0x01000000

struct generation *generation_find(struct simulation *sim, const struct id *id)
{
	for (unsigned i = 0; i < sim->generation_count; i++)
		if (id_equal(&sim->generations[i]->lineage.generation, id))
			return sim->generations[i];
	return NULL;
}

static struct generation *add(struct simulation *sim, const struct lineage *lineage, unsigned server)
{
	struct generation *generation = allocate(sizeof(*generation));

	if (sim->generation_count == GENERATIONS_MAX)
		abort();
	generation->number = sim->generation_count;
	generation->lineage = *lineage;
	generation->server = server;
	generation->touched = NEVER;
	model_init(&generation->model, sim->plan.grain_bytes, sim->plan.volume_count, sim->plan.volume_bytes,
	           &sim->sequence, 1 + generation->number * WRITES_OF_ONE);
	sim->generations[sim->generation_count++] = generation;
	return generation;
}

struct generation *generation_first(struct simulation *sim, const struct lineage *lineage, unsigned server)
{
	return add(sim, lineage, server);
}

// The generation that a promotion went on from. What a node wrote alone is a
// generation of its own in between, which nobody else can hold an epoch of.
static struct generation *parent_of(struct simulation *sim, const struct lineage *lineage, bool *alone)
{
	struct generation *parent = generation_find(sim, &lineage->ancestors[0].generation);

	*alone = !parent && lineage->count > 1;
	return *alone ? generation_find(sim, &lineage->ancestors[1].generation) : parent;
}

// One generation after its parent, or two.
static bool descends(const struct generation *parent, const struct pair_state *state, unsigned steps)
{
	const struct lineage *from = &parent->lineage, *child = &state->lineage;
	unsigned count = from->count + steps < ANCESTORS_MAX ? from->count + steps : ANCESTORS_MAX;

	if (child->count != count || child->ancestors[0].epoch != state->promoted_epoch ||
	    id_equal(&child->generation, &from->generation))
		return false;
	return !memcmp(&child->ancestors[steps], from->ancestors, (count - steps) * sizeof(from->ancestors[0]));
}

struct generation *generation_promoted(struct node *node, const struct pair_state *state)
{
	struct simulation *sim = node->sim;
	struct redone *redone = redone_new(node);
	struct generation *generation;

	trace(sim, "node %u is primary from epoch %" PRIu64 " on", node->index, state->promoted_epoch);
	check_promoted(node, redone_volumes(redone), state);
	generation = add(sim, &state->lineage, node->index);
	generation->parent = parent_of(sim, &state->lineage, &generation->alone);
	model_rebase(&generation->model, redone_volumes(redone));
	redone_free(redone);
	sim->promoted = true;
	return generation;
}

void generations_done(struct simulation *sim)
{
	for (unsigned i = 0; i < sim->generation_count; i++) {
		model_done(&sim->generations[i]->model);
		free(sim->generations[i]);
	}
}

bool generation_descends(const struct generation *child, const struct generation *parent)
{
	while (child && child != parent)
		child = child->parent;
	return child != NULL;
}

bool generation_differs_by_changes(const struct generation *primary, const struct generation *standby)
{
	if (primary->tainted || standby->tainted)
		return false;
	return primary == standby || (primary->parent == standby && !primary->alone);
}

// A node that was promoted goes on from what it follows, or from the generation
// of its peer's that it has just begun to follow.
static bool goes_on(const struct node *node, const struct generation *parent)
{
	return parent == node->follows || parent == node->sim->nodes[!node->index].generation ||
	       (parent->rolled && parent->server != node->index);
}

void check_promoted(const struct node *node, struct sim_disk *const *volumes, const struct pair_state *state)
{
	struct simulation *sim = node->sim;
	bool alone;
	struct generation *parent = parent_of(sim, &state->lineage, &alone);
	uint64_t epoch = state->promoted_epoch;
	char why[512];

	if (!parent || !descends(parent, state, 1 + alone))
		violate(sim, "G5: the lineage of the promoted standby is not that of a child");
	else if (!goes_on(node, parent))
		violate(sim, "G3: node %u is promoted from generation %u, but was in generation %u", node->index,
		        parent->number, node->follows ? node->follows->number : 0);
	else if (parent->server == node->index) {
		if (!model_check_now(&parent->model, volumes, why, sizeof(why)))
			violate(sim, "G1: node %u goes on from what it served itself: %s", node->index, why);
	} else if (epoch < parent->claimed && !parent->rolled)
		violate(sim, "G3: promoted at epoch %" PRIu64 ", but epoch %" PRIu64 " was called durable", epoch,
		        parent->claimed);
	else if (!model_check_cut(&parent->model, volumes, epoch, why, sizeof(why)))
		violate(sim, "G1, G2: promoted at epoch %" PRIu64 ": %s", epoch, why);
	else if (parent->sealed && !parent->rolled &&
	         !model_check_at(&parent->model, volumes, parent->sealed, why, sizeof(why)))
		violate(sim, "node %u was drained, but promoted at epoch %" PRIu64 " its peer lacks: %s",
		        parent->server, epoch, why);
}
