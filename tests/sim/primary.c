// SPDX-License-Identifier: Apache-2.0
// The daemon of a primary: the engine, and what it says.
#include "common/slots.h"
#include "generation.h"
#include "memory.h"
#include "node_impl.h"
#include "receiver/redo.h"
#include "simulation.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static void touch_saved(void *user, int error)
{
	struct node *node = user;

	if (node->source)
		source_touched(node->source, error);
}

static void started_serving(struct node *node)
{
	struct simulation *sim = node->sim;
	const struct node *other = &sim->nodes[!node->index];

	if (node->fenced)
		violate(sim, "G5: node %u serves again after it was fenced", node->index);
	if (other->serving && other->generation == node->generation)
		violate(sim, "G5: both nodes serve generation %u", node->generation->number);
	node->serving = true;
	node->serve_ordered = false;
	node->generation->sealed = 0;
	node->generation->handed = false;
	workload_start(&node->workload);
	if (node->redoing)
		faults_redoing(sim);
}

static void was_fenced(struct node *node, const char *why)
{
	struct simulation *sim = node->sim;
	const struct node *other = &sim->nodes[!node->index];

	if (!sim->rolled && (!other->generation || generation_descends(node->generation, other->generation)))
		violate(sim, "G5: node %u was fenced though nobody was promoted: %s", node->index, why);
	exchange_fenced(node);
	node->fenced = true;
	node->serving = false;
	workload_stop(&node->workload);
}

static void source_event(void *user, enum source_event event, uint64_t epoch, const char *text)
{
	static const char *const names[] = {"connected", "disconnected",      "serving",   "fenced",     "touched",
	                                    "not-taken", "switchover-wanted", "refused",   "cut",        "durable",
	                                    "widened",   "sync-started",      "sync-done", "map-damaged"};
	struct node *node = user;
	struct simulation *sim = node->sim;

	trace(sim, "node %u source %s %" PRIu64 " %s", node->index, names[event], epoch, text ? text : "");
	if (node->dying)
		return;
	switch (event) {
	case SOURCE_SERVING:
		started_serving(node);
		break;
	case SOURCE_FENCED:
		was_fenced(node, text);
		break;
	case SOURCE_NOT_TAKEN:
		exchange_not_taken(node);
		break;
	case SOURCE_SWITCHOVER_WANTED:
		exchange_wanted(node);
		break;
	case SOURCE_TOUCHED:
		node->state.untouched = false;
		node_save(node, touch_saved);
		break;
	case SOURCE_REFUSED:
		if (!sim->promoted && !sim->errors && !sim->rolled)
			violate(sim, "G10: node %u was refused: %s", node->index, text);
		break;
	case SOURCE_CUT:
		model_cut(model_of(node), epoch, sim->scheduler.now);
		node->generation->sealed = 0; // it lost power after it was drained: the standby has more
		break;
	case SOURCE_DURABLE:
		if (epoch > node->durable)
			node->durable = epoch;
		// A full sync in place ends before its standby is of the generation.
		if (epoch > node->generation->claimed && epoch != sim->nodes[!node->index].said)
			violate(sim, "G3: node %u calls epoch %" PRIu64 " durable, the standby has only said %" PRIu64,
			        node->index, epoch, node->generation->claimed);
		break;
	case SOURCE_SYNC_STARTED:
		if (node->synced && !sim->errors && !sim->rolled && !sim->plan.tight_journal)
			violate(sim, "G10: node %u began a full sync again", node->index);
		break;
	case SOURCE_SYNC_DONE:
		node->synced = true;
		break;
	case SOURCE_MAP_DAMAGED:
		if (node->map_trusted && !node->sim->plan.store_deaths)
			violate(sim, "G10: the map of node %u is damaged: %s", node->index, text);
		break;
	default:
		break;
	}
}

static void start_source(struct node *node)
{
	const struct plan *plan = &node->sim->plan;
	struct source_config config = {
	        .clock = &node->clock.clock,
	        .dialer = &node->host->dialer.dialer,
	        .volume_count = plan->volume_count,
	        .state = &node->state,
	        .map = node->map,
	        .boot = node->boot,
	        .intent = &node->intent.disk,
	        .region_blocks = plan->region_blocks,
	        .spill = plan->spill_bytes ? &node->spill.disk : NULL,
	        .spill_bytes = plan->spill_bytes,
	        .capture_memory = plan->capture_memory,
	        .rpo = plan->rpo,
	        .bandwidth = plan->bandwidth,
	        .in_place = plan->in_place,
	        .start_without_peer =
	                plan->start_without_peer || node->serve_ordered || (!plan->roles && node->index != 0),
	        .random = node_random,
	        .event = source_event,
	        .user = node,
	};

	node->state.paused = node->paused;
	for (unsigned v = 0; v < plan->volume_count; v++) {
		config.volumes[v].disk = node->redo ? redo_disk(node->redo, v) : &node->volumes[v].disk;
		config.volumes[v].bytes = plan->volume_bytes[v];
	}
	// The daemon begins with a new file then; the engine copes without.
	node->map_trusted = source_map_trusted(&config);
	if (!node->map_trusted && rng_chance(&node->sim->rng, 1, 2))
		memset(node->map, 0, node->map_bytes);
	node->source = source_new(&config);
	if (!node->source)
		abort();
	node->map_closed = false;
	if (!node->dying)
		machine_sync_first_page(node);
	source_start(node->source);
}

static void redo_opened(void *user, int error, const struct error *err)
{
	struct node *node = user;

	if (!error) {
		start_source(node);
		return;
	}
	if (!node->sim->errors)
		violate(node->sim, "G10: node %u cannot redo: %s", node->index, err->text);
	node->stopping = true;
	redo_stop(node->redo, node_stopped, node);
}

static void redo_saved(void *user, int error)
{
	struct node *node = user;

	if (error || !node->redo)
		return;
	trace(node->sim, "node %u has redone everything", node->index);
	redo_release(node->redo);
	node->redoing = false;
}

// As the daemon does when it is told.
static void redo_done(void *user)
{
	struct node *node = user;
	uint8_t encoded[STATE_ENCODED_MAX];

	node->state.redo = false;
	slots_save(node->slots, encoded, state_encode(&node->state, encoded), node, redo_saved);
}

static void redo_trouble(void *user, const struct error *err)
{
	struct node *node = user;

	if (!node->sim->errors)
		violate(node->sim, "G10: node %u: %s", node->index, err->text);
}

static void start_redo(struct node *node)
{
	static const struct redo_events events = {redo_opened, redo_done, redo_trouble};
	const struct plan *plan = &node->sim->plan;
	struct redo_config config = {
	        .clock = &node->clock.clock,
	        .journal = &node->journal.disk,
	        .log = &node->redo_log.disk,
	        .volume_count = plan->volume_count,
	        .state = &node->state,
	        .region_blocks = plan->region_blocks,
	        .events = &events,
	        .user = node,
	};

	for (unsigned v = 0; v < plan->volume_count; v++)
		config.volumes[v] = &node->volumes[v].disk;
	node->redo = redo_new(&config);
	if (!node->redo)
		abort();
	redo_start(node->redo);
}

static void state_loaded(void *user, int error, const void *payload, size_t length, bool damaged)
{
	struct node *node = user;
	struct simulation *sim = node->sim;

	(void)payload;
	(void)length;
	(void)damaged;
	if (error) {
		violate(sim, "G10: the state of node %u cannot be loaded: %s", node->index, strerror(-error));
		return;
	}
	node->generation = generation_find(sim, &node->state.lineage.generation);
	if (!node->generation)
		node->generation = generation_promoted(node, &node->state);
	if (node->generation->number)
		sim->promoted = true;
	if (node->generation->server != node->index)
		violate(sim, "G5: node %u begins to serve a generation of its peer", node->index);
	node->follows = node->generation;
	node->is_standby = false;
	node->fenced = node->fence_durable = node->state.fenced;
	node->told_newer &= node->fenced;
	node->redoing = node->state.redo;
	if (sim->violated)
		return;
	if (node->redoing)
		start_redo(node);
	else
		start_source(node);
}

// What was read may not be durable before it was loaded: nothing may come of
// it until then.
void primary_start(struct node *node)
{
	node->slots = slots_new(&node->state_disk.disk, 0, STATE_SLOT_KIND);
	if (!node->slots)
		abort();
	slots_load(node->slots, node, state_loaded);
}
