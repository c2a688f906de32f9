// SPDX-License-Identifier: Apache-2.0
#include "node_impl.h"

#include "common/slots.h"
#include "generation.h"
#include "listener.h"
#include "memory.h"
#include "receiver/redo.h"
#include "redone.h"
#include "simulation.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint64_t node_random(void *user)
{
	struct node *node = user;

	return rng_next(&node->sim->rng);
}

void draw_id(struct rng *rng, struct id *id)
{
	uint64_t parts[2] = {rng_next(rng), rng_next(rng)};

	memcpy(id->bytes, parts, sizeof(id->bytes));
}

void node_save(struct node *node, void (*saved)(void *user, int error))
{
	uint8_t encoded[STATE_ENCODED_MAX];

	slots_save(node->slots, encoded, state_encode(&node->state, encoded), node, saved);
}

int state_on_disk(const struct sim_disk *disk, struct pair_state *state)
{
	uint8_t *area = resize(NULL, SLOTS_BYTES);
	const void *payload;
	size_t length;
	bool damaged;
	struct error err;
	int rc;

	sim_disk_read(disk, 0, area, SLOTS_BYTES);
	rc = slots_pick(area, STATE_SLOT_KIND, &payload, &length, &damaged);
	if (!rc)
		rc = state_decode(payload, length, state, &err);
	free(area);
	return rc;
}

int node_read_state(const struct node *node, struct pair_state *state)
{
	return state_on_disk(&node->state_disk, state);
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
		primary_start(node);
	else
		standby_start(node);
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
	machine_lose(node, loss);
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
	machine_tear_map(node);
	machine_boot(node);
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

	stores_arm(node, 0);
	// What the daemon wants to keep is kept before it ends.
	if ((node->fenced && !node->fence_durable) || !sim_disk_idle(&node->state_disk)) {
		scheduler_add(&sim->scheduler, &node->finish, MSEC);
		return;
	}
	if (primary) {
		machine_sync_map(node);
		source_map_close(node->map);
		machine_sync_map(node);
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
		machine_lose(node, LOSS_POWER);
		machine_tear_map(node);
		machine_boot(node);
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

void node_stopped(void *user)
{
	struct node *node = user;
	struct source_status *status = resize(NULL, sizeof(*status));

	trace(node->sim, "node %u has stopped", node->index);
	if (node->source) {
		source_status(node->source, status);
		// What its peer has was never found out: it cannot say what it holds beyond.
		node->generation->tainted |= node->then == THEN_RETURN && !status->complete;
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
		redo_stop(node->redo, node_stopped, node);
	else
		node_stopped(node);
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
		sink_stop(node->sink, node_stopped, node);
}

void node_pause(struct node *node, bool pause)
{
	node->paused = pause;
	trace(node->sim, "node %u %s", node->index, pause ? "pauses" : "resumes");
	if (node->source && !node->stopping)
		source_pause(node->source, pause);
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

void node_init(struct node *node, struct simulation *sim, unsigned index)
{
	const struct plan *plan = &sim->plan;

	memset(node, 0, sizeof(*node));
	node->sim = sim;
	node->index = index;
	node->host = &sim->network.hosts[index];
	node->host->accept = listener_accept;
	node->start.run = run_start;
	node->finish.run = run_finish;
	machine_init(node);
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
		machine_lose(node, LOSS_PROCESS);
		sim_clock_crash(&node->clock);
		forget_engine(node, network_crash(&node->sim->network, node->index, false));
	}
	workload_done(&node->workload);
	listener_clear(node);
	machine_done(node);
}
