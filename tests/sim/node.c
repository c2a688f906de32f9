// SPDX-License-Identifier: Apache-2.0
#include "node.h"

#include "common/slots.h"
#include "generation.h"
#include "listener.h"
#include "memory.h"
#include "receiver/redo.h"
#include "redone.h"
#include "simulation.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

uint64_t node_random(void *user)
{
	struct node *node = user;

	return rng_next(&node->sim->rng);
}

static void draw_id(struct rng *rng, struct id *id)
{
	uint64_t parts[2] = {rng_next(rng), rng_next(rng)};

	memcpy(id->bytes, parts, sizeof(id->bytes));
}

static void boot(struct node *node)
{
	struct rng *rng = &node->sim->rng;

	draw_id(rng, &node->boot);
	node->clock.offset = rng_range(rng, SEC, 1000 * SEC) - node->sim->scheduler.now;
}

static void snapshot_map(struct node *node, uint8_t *to)
{
	memcpy(to, node->map, node->map_bytes);
}

static void sync_map(struct node *node)
{
	snapshot_map(node, node->map_synced);
	snapshot_map(node, node->map_former);
}

static void sync_first_page(struct node *node)
{
	memcpy(node->map_synced, node->map, PAGE);
	memcpy(node->map_former, node->map, PAGE);
}

// What a power failure leaves of a mapped file: each page as it was at some
// moment since it was synced, some of them torn.
static void tear_map(struct node *node)
{
	struct rng *rng = &node->sim->rng;
	size_t unit = rng_chance(rng, 1, 2) ? PAGE : SECTOR;
	unsigned mode = (unsigned)rng_below(rng, 4);

	for (size_t at = 0; at < node->map_bytes; at += unit) {
		unsigned pick = mode < 3 && rng_chance(rng, 7, 8) ? mode : (unsigned)rng_below(rng, 3);

		if (pick == 1)
			memcpy(node->map + at, node->map_former + at, unit);
		else if (pick == 2)
			memcpy(node->map + at, node->map_synced + at, unit);
	}
	sync_map(node);
}

void node_save(struct node *node, void (*saved)(void *user, int error))
{
	uint8_t encoded[STATE_ENCODED_MAX];

	slots_save(node->slots, encoded, state_encode(&node->state, encoded), node, saved);
}

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
		if (node->map_trusted)
			violate(sim, "G10: the map of node %u is damaged: %s", node->index, text);
		break;
	default:
		break;
	}
}

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

int node_read_state(const struct node *node, struct pair_state *state)
{
	uint8_t *area = resize(NULL, SLOTS_BYTES);
	const void *payload;
	size_t length;
	bool damaged;
	struct error err;
	int rc;

	sim_disk_read(&node->state_disk, 0, area, SLOTS_BYTES);
	rc = slots_pick(area, STATE_SLOT_KIND, &payload, &length, &damaged);
	if (!rc)
		rc = state_decode(payload, length, state, &err);
	free(area);
	return rc;
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
	sync_first_page(node);
	source_start(node->source);
}

static void stopped(void *user);

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
	redo_stop(node->redo, stopped, node);
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
static void load_state(struct node *node)
{
	node->slots = slots_new(&node->state_disk.disk, 0, STATE_SLOT_KIND);
	if (!node->slots)
		abort();
	slots_load(node->slots, node, state_loaded);
}

static void start_sink(struct node *node)
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

void node_start(struct node *node)
{
	struct simulation *sim = node->sim;

	scheduler_remove(&sim->scheduler, &node->start);
	if (node_running(node))
		return;
	if (node_read_state(node, &node->state)) {
		violate(sim, "G10: the state of node %u cannot be read", node->index);
		return;
	}
	trace(sim, "node %u starts as %s", node->index, node->state.role == ROLE_PRIMARY ? "primary" : "standby");
	node->host->listening = true;
	if (node->state.role == ROLE_PRIMARY)
		load_state(node);
	else
		start_sink(node);
}

static void run_start(struct event *event)
{
	node_start((struct node *)((char *)event - offsetof(struct node, start)));
}

void node_start_later(struct node *node, uint64_t delay)
{
	scheduler_add(&node->sim->scheduler, &node->start, delay);
}

bool node_running(const struct node *node)
{
	return node->source || node->sink || node->slots;
}

static void each_disk(struct node *node, enum sim_loss loss)
{
	for (unsigned v = 0; v < node->sim->plan.volume_count; v++)
		sim_disk_crash(&node->volumes[v], loss);
	sim_disk_crash(&node->state_disk, loss);
	sim_disk_crash(&node->journal, loss);
	sim_disk_crash(&node->spill, loss);
	sim_disk_crash(&node->intent, loss);
	sim_disk_crash(&node->redo_log, loss);
}

// The primary's engine takes its messages with it, the standby's leaves them to
// their channels.
static void forget_engine(struct node *node, struct message *orphans)
{
	if (node->source)
		source_free(node->source);
	redo_free(node->redo);
	node->redo = NULL;
	if (node->sink) {
		sink_free(node->sink);
		while (orphans) {
			struct message *message = orphans;

			orphans = message->next;
			message->done(message);
		}
	}
	if (node->slots && node->then == THEN_START)
		slots_free(node->slots);
	if (node->then == THEN_START)
		node->slots = NULL;
	if (!node->fence_durable)
		node->fenced = node->told_newer = false; // it may have forgotten
	listener_clear(node);
	scheduler_remove(&node->sim->scheduler, &node->answer);
	node->source = NULL;
	node->sink = NULL;
	node->serving = false;
	node->opened = false;
	node->stopping = false;
	node->promoting = node->yielding = false;
	node->host->listening = false;
}

static void check_after_power_loss(struct node *node)
{
	struct simulation *sim = node->sim;
	struct redone *redone = redone_new(node);
	char why[512];

	if (!model_check_power_loss(model_of(node), redone_volumes(redone), why, sizeof(why)))
		violate(sim, "durability of node %u: %s", node->index, why);
	model_rebase(model_of(node), redone_volumes(redone));
	redone_free(redone);
}

void node_crash(struct node *node, enum sim_loss loss)
{
	struct simulation *sim = node->sim;
	bool primary = node->generation && !node->is_standby;
	bool intent_idle = sim_disk_idle(&node->intent);
	struct message *orphans;

	trace(sim, "node %u %s", node->index, loss == LOSS_POWER ? "loses power" : "crashes");
	scheduler_remove(&sim->scheduler, &node->start);
	scheduler_remove(&sim->scheduler, &node->finish);
	each_disk(node, loss);
	sim_clock_crash(&node->clock);
	orphans = network_crash(&sim->network, node->index, loss == LOSS_POWER);
	node->then = THEN_START;
	forget_engine(node, orphans);
	workload_crash(&node->workload);
	node->power_off = node->changed = false;
	// A write-intent log that was only being made is of no use, and all is compared.
	if (primary && node->generation->number && !intent_idle)
		node->generation->tainted = true;
	if (loss != LOSS_POWER)
		return;
	tear_map(node);
	boot(node);
	if (primary) {
		node->generation->tainted |= !node->map_closed;
		check_after_power_loss(node);
		model_of(node)->lag_from = model_of(node)->write_count;
	}
}

// All that was acknowledged is durable.
static void check_after_clean_stop(struct node *node)
{
	struct simulation *sim = node->sim;
	struct redone *redone = redone_new(node);
	char why[512];

	if (!sim->errors && !model_check_now(model_of(node), redone_volumes(redone), why, sizeof(why)))
		violate(sim, "durability of node %u after a clean stop: %s", node->index, why);
	model_rebase(model_of(node), redone_volumes(redone));
	redone_free(redone);
}

static void after_stop(struct node *node)
{
	struct simulation *sim = node->sim;
	bool primary = node->source != NULL;
	struct message *orphans;

	// What the daemon wants to keep is kept before it ends.
	if ((node->fenced && !node->fence_durable) || !sim_disk_idle(&node->state_disk)) {
		scheduler_add(&sim->scheduler, &node->finish, MSEC);
		return;
	}
	if (primary) {
		sync_map(node);
		source_map_close(node->map);
		sync_map(node);
		node->map_closed = true;
	}
	for (unsigned v = 0; v < sim->plan.volume_count; v++)
		if (!sim_disk_idle(&node->volumes[v]))
			violate(sim, "node %u stopped with I/O under way", node->index);
	sim_clock_crash(&node->clock);
	workload_crash(&node->workload);
	orphans = network_crash(&sim->network, node->index, false);
	forget_engine(node, orphans);
	if (node->power_off) {
		each_disk(node, LOSS_POWER);
		tear_map(node);
		boot(node);
		if (primary)
			check_after_clean_stop(node);
	}
	node->power_off = false;
	if (node->then == THEN_START) {
		node_start_later(node, rng_scale(&sim->rng, MSEC, 3 * SEC));
		return;
	}
	check_after_clean_stop(node);
	exchange_stopped(node);
}

static void stopped(void *user)
{
	struct node *node = user;
	struct source_status *status = resize(NULL, sizeof(*status));

	trace(node->sim, "node %u has stopped", node->index);
	if (node->source) {
		source_status(node->source, status);
		node->held_beyond = !status->complete || status->bytes_behind;
		node->held_cut = node->held_beyond      ? status->open - 1
		                 : status->acknowledged ? status->acknowledged
		                                        : node->state.promoted_epoch;
	}
	free(status);
	// The engine is freed from outside its own call.
	scheduler_add(&node->sim->scheduler, &node->finish, 0);
}

static void source_stopped(void *user)
{
	struct node *node = user;

	if (node->redo)
		redo_stop(node->redo, stopped, node);
	else
		stopped(node);
}

static void run_finish(struct event *event)
{
	struct node *node = (struct node *)((char *)event - offsetof(struct node, finish));

	if (!node->changed) {
		after_stop(node);
		return;
	}
	node->changed = false;
	slots_free(node->slots);
	node->slots = NULL;
	node_start_later(node, rng_scale(&node->sim->rng, MSEC, SEC));
}

void node_changed(struct node *node)
{
	node->then = THEN_START;
	node->changed = true;
	scheduler_add(&node->sim->scheduler, &node->finish, 0);
}

void node_stop(struct node *node, enum afterwards then, bool discard)
{
	node->then = then;
	node->discard = discard;
	node->stopping = true;
	node->power_off = false;
	workload_stop(&node->workload);
	source_stop(node->source, source_stopped, node);
}

void node_restart(struct node *node, bool power_off)
{
	if (!(node->source || node->sink) || node->stopping)
		return;
	trace(node->sim, "node %u is asked to stop", node->index);
	node->stopping = true;
	node->power_off = power_off;
	workload_stop(&node->workload);
	if (node->source)
		source_stop(node->source, source_stopped, node);
	else
		sink_stop(node->sink, stopped, node);
}

void node_pause(struct node *node, bool pause)
{
	node->paused = pause;
	trace(node->sim, "node %u %s", node->index, pause ? "pauses" : "resumes");
	if (node->source && !node->stopping)
		source_pause(node->source, pause);
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

static void watch_disk(const struct sim_disk *disk, const struct disk_io *io, const char *what, int error)
{
	static const char *const ops[] = {"read", "write", "zero", "flush"};
	const struct node *node = disk->watcher;

	trace(node->sim, "node %u %s %s %" PRIu64 "+%" PRIu64 " flags %u %s%s%s", node->index, disk->name, ops[io->op],
	      io->offset, io->length, io->flags, what, error ? ": " : "", error ? strerror(-error) : "");
}

static void init_disk(struct node *node, struct sim_disk *disk, const char *name, uint64_t size, uint32_t align)
{
	struct rng *rng = &node->sim->rng;

	sim_disk_init(disk, &node->sim->scheduler, rng, size, align);
	disk->name = name;
	disk->watcher = node;
	if (node->sim->trace)
		disk->watch = watch_disk;
	disk->latency_min = rng_scale(rng, 2 * USEC, 500 * USEC);
	if (rng_chance(rng, 1, 6))
		disk->latency_min = rng_scale(rng, MSEC, 16 * MSEC);
	disk->latency_max = disk->latency_min * rng_range(rng, 1, 40);
	disk->stall = rng_chance(rng, 1, 2) ? (unsigned)rng_scale(rng, 8, 400) : 0;
	disk->has_zero = rng_chance(rng, 3, 4);
	disk->has_unmap = disk->has_zero && rng_chance(rng, 3, 4);
	disk->tells_holes = rng_chance(rng, 3, 4);
}

// Written as the daemon that makes a pair writes it: both slots alike.
static void state_saved(void *user, int error)
{
	*(bool *)user = !error;
}

static void save_state(struct node *node)
{
	uint8_t encoded[STATE_ENCODED_MAX];
	struct slots *slots = slots_new(&node->state_disk.disk, 0, STATE_SLOT_KIND);
	bool saved = false;

	if (!slots)
		abort();
	slots_save(slots, encoded, state_encode(&node->state, encoded), &saved, state_saved);
	while (!saved && scheduler_step(&node->sim->scheduler))
		;
	slots_free(slots);
}

static void make_state(struct node *node)
{
	const struct plan *plan = &node->sim->plan;
	struct pair_state *state = &node->state;
	struct rng rng;

	rng_seed(&rng, node->sim->seed ^ 0x70616972); // both nodes draw the same
	draw_id(&rng, &state->pair);
	draw_id(&rng, &state->lineage.generation);
	// Many former promotions make a state of more than one sector.
	state->lineage.count = rng_chance(&rng, 1, 2) ? (unsigned)rng_range(&rng, 8, ANCESTORS_MAX) : 0;
	for (unsigned i = 0; i < state->lineage.count; i++) {
		draw_id(&rng, &state->lineage.ancestors[i].generation);
		state->lineage.ancestors[i].epoch = 1000 - i;
	}
	state->role = node->index == 0 ? ROLE_PRIMARY : ROLE_STANDBY;
	memset(state->peer_key, 0x40 + !node->index, sizeof(state->peer_key));
	state->volume_count = plan->volume_count;
	for (unsigned v = 0; v < plan->volume_count; v++) {
		snprintf(state->volumes[v].name, sizeof(state->volumes[v].name), "v%u", v);
		state->volumes[v].bytes = plan->volume_bytes[v];
	}
	save_state(node);
}

static uint64_t redo_log_bytes_of(const struct plan *plan)
{
	struct pair_state state = {.volume_count = plan->volume_count};

	for (unsigned v = 0; v < plan->volume_count; v++)
		state.volumes[v].bytes = plan->volume_bytes[v];
	return redo_log_bytes(&state, plan->region_blocks);
}

void node_init(struct node *node, struct simulation *sim, unsigned index)
{
	const struct plan *plan = &sim->plan;
	static const char *const names[] = {"volume 0", "volume 1", "volume 2"};
	uint32_t align = plan->align[index];

	memset(node, 0, sizeof(*node));
	node->sim = sim;
	node->index = index;
	node->host = &sim->network.hosts[index];
	node->host->accept = listener_accept;
	node->start.run = run_start;
	node->finish.run = run_finish;
	sim_clock_init(&node->clock, &sim->scheduler);
	node->clock.wall = INT64_C(1700000000) * (int64_t)SEC + (int64_t)rng_below(&sim->rng, 10 * SEC);
	node->clock.lateness = rng_chance(&sim->rng, 1, 2) ? rng_scale(&sim->rng, USEC, 20 * MSEC) : 0;
	boot(node);
	for (unsigned v = 0; v < plan->volume_count; v++) {
		init_disk(node, &node->volumes[v], names[v], (plan->volume_bytes[v] + align - 1) / align * align,
		          align);
		node->volume_list[v] = &node->volumes[v];
		if ((plan->theme == THEME_GIVING_UP && index == 0) || // so that an epoch comes bit by bit
		    (plan->theme == THEME_BACKLOG && index == 1)) {
			node->volumes[v].latency_min = MSEC;
			node->volumes[v].latency_max = rng_scale(&sim->rng, 10 * MSEC, 80 * MSEC);
		}
	}
	init_disk(node, &node->state_disk, "state", SLOTS_BYTES, 4096);
	init_disk(node, &node->journal, "journal", plan->journal_bytes, 4096);
	// Records in flight outlive the epoch that they belong to.
	if (plan->slow_journal) {
		node->journal.latency_min = MSEC;
		node->journal.latency_max = rng_scale(&sim->rng, 2 * MSEC, 500 * MSEC);
		node->journal.stall = (unsigned)rng_scale(&sim->rng, 4, 32);
	}
	init_disk(node, &node->spill, "spill", plan->spill_bytes, 4096);
	init_disk(node, &node->intent, "intent",
	          source_intent_bytes(plan->volume_count, plan->volume_bytes, plan->region_blocks), 4096);
	init_disk(node, &node->redo_log, "redo log", redo_log_bytes_of(plan), 4096);
	node->map_bytes = (source_map_bytes(plan->volume_count, plan->volume_bytes) + PAGE - 1) / PAGE * PAGE;
	node->map = aligned_alloc(PAGE, node->map_bytes);
	if (!node->map)
		abort();
	memset(node->map, 0, node->map_bytes);
	node->map_former = allocate(node->map_bytes);
	node->map_synced = allocate(node->map_bytes);
	node->sink_map = aligned_alloc(PAGE, node->map_bytes);
	if (!node->sink_map)
		abort();
	workload_init(&node->workload, node, plan->clients);
	make_state(node);
	node->is_standby = index != 0;
	if (index == 0)
		node->generation = generation_first(sim, &node->state.lineage, 0);
	node->follows = sim->generations[0];
}

void node_done(struct node *node)
{
	node->then = THEN_START;
	if (node_running(node)) {
		workload_stop(&node->workload);
		each_disk(node, LOSS_PROCESS);
		sim_clock_crash(&node->clock);
		forget_engine(node, network_crash(&node->sim->network, node->index, false));
	}
	workload_done(&node->workload);
	listener_clear(node);
	for (unsigned v = 0; v < node->sim->plan.volume_count; v++)
		sim_disk_done(&node->volumes[v]);
	sim_disk_done(&node->state_disk);
	sim_disk_done(&node->journal);
	sim_disk_done(&node->spill);
	sim_disk_done(&node->intent);
	sim_disk_done(&node->redo_log);
	sim_clock_done(&node->clock);
	free(node->map);
	free(node->map_former);
	free(node->map_synced);
	free(node->sink_map);
}

void node_snapshot_map(struct node *node)
{
	snapshot_map(node, node->map_former);
}
