// SPDX-License-Identifier: Apache-2.0
// The daemon of a standby: the engine, and what it says.
#include "generation.h"
#include "memory.h"
#include "node_impl.h"
#include "simulation.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

// An epoch is durable on the standby, of the generation that it is of now.
static void claim(struct node *node, uint64_t epoch)
{
	struct sink_status *status = resize(NULL, sizeof(*status));
	struct generation *generation;

	node->said = epoch;
	sink_status(node->sink, status);
	generation = generation_find(node->sim, &status->state.lineage.generation);
	if (!generation)
		violate(node->sim, "G5: node %u follows a generation that nobody made", node->index);
	else if (epoch > generation->claimed)
		generation->claimed = epoch;
	if (generation && generation != node->follows && !generation_descends(generation, node->follows) &&
	    !node->gave_way && !node->sim->rolled)
		violate(node->sim, "G5: node %u follows generation %u, though nobody said that what it has may go",
		        node->index, generation->number);
	if (generation && generation != node->follows) {
		node->gave_way = false;
		trace(node->sim, "node %u follows generation %u from now on", node->index, generation->number);
		node->follows = generation;
	}
	free(status);
}

static void sink_event(void *user, enum sink_event event, uint64_t epoch, const char *text)
{
	static const char *const names[] = {"opened",  "connected", "disconnected", "refused",   "durable",
	                                    "applied", "rejected",  "sync-started", "sync-done", "damage-repaired",
	                                    "adopted", "takeover",  "declined"};
	struct node *node = user;
	struct simulation *sim = node->sim;

	trace(sim, "node %u sink %s %" PRIu64 " %s", node->index, names[event], epoch, text ? text : "");
	switch (event) {
	case SINK_OPENED:
		node->opened = !text;
		if (text && !node->state_disk.errors && !node->journal.errors && !node->volumes[0].errors &&
		    !node->volumes[1].errors && !node->volumes[2].errors)
			violate(sim, "G10: node %u cannot use its state: %s", node->index, text);
		else if (text)
			node_restart(node, false);
		break;
	case SINK_DURABLE:
		claim(node, epoch);
		sim->probe_due |= rng_chance(&sim->rng, 1, sim->plan.probe);
		break;
	case SINK_APPLIED:
		sim->probe_due |= rng_chance(&sim->rng, 1, 2 * sim->plan.probe);
		break;
	case SINK_SYNC_STARTED:
		node->promotable = false;
		break;
	case SINK_SYNC_DONE:
		node->promotable = true;
		sim->probe_due = true;
		break;
	case SINK_DISCONNECTED:
		if (strstr(text, "of a generation that") || strstr(text, "makes us follow"))
			violate(sim, "G10: the primary and its standby, node %u, differ on what is to come: %s",
			        node->index, text);
		break;
	case SINK_ADOPTED:
		sim->probe_due = true;
		break;
	case SINK_TAKEOVER:
		exchange_takeover(node);
		break;
	default:
		break;
	}
}

void standby_start(struct node *node)
{
	const struct plan *plan = &node->sim->plan;
	struct sink_config config = {
	        .clock = &node->clock.clock,
	        .volume_count = plan->volume_count,
	        .state = &node->state_disk.disk,
	        .journal = &node->journal.disk,
	        .apply_memory = plan->apply_memory,
	        .random = node_random,
	        .event = sink_event,
	        .user = node,
	};

	node->is_standby = true;
	node->fenced = node->told_newer = false;
	node->promotable |= node->state.consistent;
	memcpy(node->sink_map, node->map, node->map_bytes);
	config.map = node->sink_map;
	for (unsigned v = 0; v < plan->volume_count; v++)
		config.volumes[v] = &node->volumes[v].disk;
	node->sink = sink_new(&config);
	if (!node->sink)
		abort();
	sink_start(node->sink);
}

static void promoted(void *user, int error, const struct error *reason)
{
	struct node *node = user;
	struct simulation *sim = node->sim;

	trace(sim, "node %u promoted: %d %s", node->index, error, error ? reason->text : "");
	node->promoting = false;
	if (!error) {
		struct pair_state *state = allocate(sizeof(*state));

		if (node_read_state(node, state))
			violate(sim, "G10: the state of node %u cannot be read", node->index);
		else
			node->generation = node->follows = generation_promoted(node, state);
		free(state);
		// A primary that was taken back to an older state knows of no handover.
		if (node->takes_over && !sim->rolled && node->generation && node->generation->parent &&
		    !node->generation->parent->handed)
			violate(sim, "node %u took over, though its peer had not handed over, or no longer",
			        node->index);
		node->is_standby = false;
		node->serve_ordered = true;
		node->map_closed = true; // there is nothing in it
		sim->changes++;
		node_restart(node, false);
	}
	if (error == -EPERM && node->ordered_promotable && node->forced && !node->stopping)
		violate(sim, "G1: node %u is consistent and refuses to be promoted: %s", node->index, reason->text);
	else if (error && error != -EPERM && !node->stopping && !sim->errors)
		violate(sim, "G10: promotion of node %u: %s", node->index, reason->text);
}

void node_promote(struct node *node, bool force)
{
	if (!node->sink || !node->opened || node->stopping || node->promoting ||
	    (node->sim->generation_count > GENERATIONS_ORDERED && !node->sim->healing))
		return;
	trace(node->sim, "node %u is to be promoted%s", node->index, force ? " by force" : "");
	node->promoting = true;
	node->forced = force;
	node->takes_over = false;
	node->ordered_promotable = node->promotable;
	sink_promote(node->sink, force, node, promoted);
}
