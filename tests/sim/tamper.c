// SPDX-License-Identifier: Apache-2.0
// The disk of a standby is changed behind its back while its daemon does not
// run: a block, or all of it. It is noticed when the nodes meet, before anything
// is shipped, and compared once somebody has said which side is right. That a
// disk was changed is never said of one that was not.
#include "generation.h"
#include "memory.h"
#include "simulation.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

// Drawn apart: the others run as they ran before.
#define TAMPER_SALT UINT64_C(0x74616d706572)

void tamper_plan(struct simulation *sim)
{
	rng_seed(&sim->tamper_rng, sim->seed ^ TAMPER_SALT);
	sim->tampers = !sim->plan.roles && !sim->plan.flap && rng_chance(&sim->tamper_rng, 1, 3);
}

static void spoil(struct node *node, unsigned v, uint64_t block)
{
	uint64_t bytes = node->sim->plan.volume_bytes[v], offset = block * BLOCK_SIZE;
	uint8_t content[BLOCK_SIZE];

	for (unsigned i = 0; i < sizeof(content); i++)
		content[i] = (uint8_t)rng_below(&node->sim->tamper_rng, 256);
	if (bytes - offset < BLOCK_SIZE) // what lies beyond the end is nobody's
		sim_disk_preset(&node->volumes[v], offset, content, bytes - offset);
	else
		sim_disk_preset(&node->volumes[v], offset, content, BLOCK_SIZE);
}

// Before its daemon starts.
void tamper_standby(struct node *node)
{
	struct simulation *sim = node->sim;
	unsigned v;

	if (!sim->tampers || sim->tamper || sim->healing || sim->promoted || !node->state.consistent ||
	    node->state.doubt || !rng_chance(&sim->tamper_rng, 1, 3))
		return;
	v = (unsigned)rng_below(&sim->tamper_rng, sim->plan.volume_count);
	if (rng_chance(&sim->tamper_rng, 1, 4)) {
		for (uint64_t block = 0; block < bytes_to_blocks(sim->plan.volume_bytes[v]); block++)
			spoil(node, v, block);
	} else {
		spoil(node, v, rng_below(&sim->tamper_rng, bytes_to_blocks(sim->plan.volume_bytes[v])));
	}
	sim->tamper = TAMPER_UNSEEN;
	trace(sim, "volume %u of node %u was changed behind its back", v, node->index);
}

// -- somebody decides --

static void accepted(void *user, int error)
{
	struct node *node = user;

	if (error)
		tamper_decide(node->sim);
	else if (node->source && !node->stopping && !node->dying)
		source_compare_all(node->source);
}

static void decide(struct event *event)
{
	struct simulation *sim = (struct simulation *)((char *)event - offsetof(struct simulation, tamper_order));

	sim->deciding = false;
	for (unsigned i = 0; i < 2; i++) {
		struct node *node = &sim->nodes[i];

		if (!node->source || node->stopping || node->dying || node->fenced)
			continue;
		trace(sim, "node %u is said to be right", i);
		node->state.doubt = DOUBT_COMPARE;
		node_save(node, accepted);
		return;
	}
	tamper_decide(sim);
}

void tamper_decide(struct simulation *sim)
{
	if (sim->deciding)
		return;
	sim->deciding = true;
	sim->tamper_order.run = decide;
	scheduler_add(&sim->scheduler, &sim->tamper_order, rng_scale(&sim->tamper_rng, MSEC, 2 * SEC));
}

void tamper_doubted(struct node *node, const char *text)
{
	struct simulation *sim = node->sim;

	if (!sim->tamper && !sim->rolled)
		violate(sim, "G12: node %u doubts what was not changed: %s", node->index, text);
	sim->tamper = TAMPER_ALARMED;
	tamper_decide(sim);
}

// -- what may be believed --

// What was marked when the nodes met is not looked at; once it was shipped, all
// must be as it was.
static void meet(struct simulation *sim, const struct node *primary, const struct node *standby)
{
	struct source_status *source = allocate(sizeof(*source));
	struct sink_status *sink = allocate(sizeof(*sink));

	source_status(primary->source, source);
	sink_status(standby->sink, sink);
	if (sim->tamper == TAMPER_UNSEEN && (sim->starved || sim->errors)) {
		// a standby that cannot write to its volumes does not look at them
	} else if (sim->tamper == TAMPER_UNSEEN && source->connected && sink->connected) {
		sim->tamper = TAMPER_PASSED;
		sim->tamper_epoch = source->open;
	} else if (sim->tamper == TAMPER_PASSED && sink->durable >= sim->tamper_epoch) {
		sim->tamper = TAMPER_NONE;
	} else if (sim->tamper == TAMPER_ALARMED && !sink->doubted) {
		sim->tamper = TAMPER_NONE;
	}
	free(source);
	free(sink);
}

void tamper_step(struct simulation *sim)
{
	struct node *nodes = sim->nodes;

	if (!sim->tamper)
		return;
	for (unsigned i = 0; i < 2; i++)
		if (nodes[i].source && nodes[!i].sink && nodes[!i].opened)
			meet(sim, &nodes[i], &nodes[!i]);
}
