// SPDX-License-Identifier: Apache-2.0
// What the daemon of a primary does when roles are exchanged: it keeps what it
// was told, hands its role over, and becomes a standby. Each step is durable
// before the next, and after each the simulator may end it.
#include "common/mutant.h"
#include "common/slots.h"
#include "generation.h"
#include "memory.h"
#include "node_impl.h"
#include "simulation.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

static bool busy(const struct node *node)
{
	return !node->source || node->stopping || node->dying;
}

// -- fenced --

static void fence_saved(void *user, int error)
{
	struct node *node = user;

	node->fence_durable = !error;
	faults_step(node->sim);
}

// Both were written to as primaries, and this one heard so: that is to be told.
static void check_split(const struct node *node, const struct source_status *status)
{
	const struct generation *generation = node->generation, *child = node->sim->nodes[!node->index].generation;
	const struct cut *left = NULL;

	if (node->sim->rolled || generation->tainted || !node->serving || generation->handed || !node->told_touched ||
	    status->split || !child)
		return;
	if (child->parent == generation)
		left = model_find_cut(&generation->model, child->lineage.ancestors[0].epoch);
	if (left && model_acked_after(&generation->model, left->moment))
		violate(node->sim,
		        "G5: node %u was written to after its peer went on, and does not call it a split brain",
		        node->index);
}

void exchange_fenced(struct node *node)
{
	struct source_status *status = resize(NULL, sizeof(*status));

	source_status(node->source, status);
	check_split(node, status);
	node->state.fenced = true;
	node->state.split = status->split;
	node->state.local_bytes = status->bytes_behind;
	node->state.local_since = status->oldest;
	node->state.handover = false;
	free(status);
	node_save(node, fence_saved);
}

// -- handing over --

static void handover_saved(void *user, int error)
{
	struct node *node = user;

	if (error || busy(node) || node->fenced)
		return;
	trace(node->sim, "node %u tells its peer to take over", node->index);
	node->generation->handed = true;
	source_take_over(node->source);
	faults_step(node->sim);
}

static void drained(void *user, int error)
{
	struct node *node = user;

	trace(node->sim, "node %u is drained: %d", node->index, error);
	if (error || busy(node) || node->fenced)
		return;
	node->generation->sealed = model_moment(&node->generation->model);
	node->state.handover = true;
	node_save(node, handover_saved);
	faults_step(node->sim);
}

static void opened_again(void *user, int error)
{
	struct node *node = user;

	if (error || busy(node) || node->fenced)
		return;
	node->generation->sealed = 0;
	node->generation->handed = false;
	source_undrain(node->source);
	faults_step(node->sim);
}

void exchange_not_taken(struct node *node)
{
	node->state.handover = false;
	node_save(node, opened_again);
}

static bool drain(struct node *node, void (*done)(void *user, int error))
{
	struct error err;

	if (busy(node) || node->fenced || source_drain(node->source, node, done, &err) < 0)
		return false;
	trace(node->sim, "node %u drains", node->index);
	return true;
}

bool exchange_switchover(struct node *node)
{
	return drain(node, drained);
}

void exchange_wanted(struct node *node)
{
	if (rng_chance(&node->sim->rng, 1, 4) || !drain(node, drained))
		source_decline(node->source, "the administrator says no");
}

// The daemon asks others first, and answers when it has heard of them.
static void answer(struct event *event)
{
	struct node *node = (struct node *)((char *)event - offsetof(struct node, answer));

	if (!node->sink || node->stopping || node->promoting || !sink_asked(node->sink))
		return;
	if (rng_chance(&node->sim->rng, 1, 8) || node->sim->generation_count > GENERATIONS_ORDERED) {
		sink_decline(node->sink, "the administrator says no");
	} else {
		node_promote(node, true);
		node->takes_over = true;
	}
	faults_step(node->sim);
}

void exchange_takeover(struct node *node)
{
	node->answer.run = answer;
	scheduler_add(&node->sim->scheduler, &node->answer, rng_scale(&node->sim->rng, USEC, 2 * SEC));
	faults_step(node->sim);
}

// -- becoming a standby --

static void drained_for_good(void *user, int error)
{
	struct node *node = user;

	trace(node->sim, "node %u is drained for good: %d", node->index, error);
	if (error || busy(node) || node->fenced)
		return;
	if (node->redoing) { // it would have to end first
		source_undrain(node->source);
		return;
	}
	node->generation->sealed = model_moment(&node->generation->model);
	node_stop(node, THEN_RETURN, false);
	faults_step(node->sim);
}

bool exchange_demote(struct node *node)
{
	return drain(node, drained_for_good);
}

bool exchange_return(struct node *node, bool discard)
{
	if (busy(node) || node->redoing || !node->fenced || !node->fence_durable)
		return false;
	trace(node->sim, "node %u is to follow its peer%s", node->index, discard ? " and to discard what it has" : "");
	node_stop(node, THEN_RETURN, discard);
	return true;
}

bool exchange_regain(struct node *node)
{
	if (busy(node) || node->redoing || !node->fenced || !node->fence_durable ||
	    node->sim->generation_count > GENERATIONS_ORDERED)
		return false;
	trace(node->sim, "node %u is promoted anew by force", node->index);
	node_stop(node, THEN_REGAIN, false);
	return true;
}

static void returned(void *user, int error)
{
	struct node *node = user;
	struct simulation *sim = node->sim;

	if (!error) {
		trace(sim, "node %u is a standby, at epoch %" PRIu64 "%s", node->index, node->next.base_epoch,
		      node->held_beyond ? ", beyond" : "");
		node->state = node->next;
		node->is_standby = node->promotable = true;
		sim->changes++;
		sim->probe_due = true;
		faults_step(sim);
	}
	node_changed(node);
}

static void wiped(struct disk_io *io, int error);

static void wipe(struct node *node, struct sim_disk *disk, enum disk_op op)
{
	node->wipe = (struct disk_io){.op = op, .length = op == DISK_ZERO ? disk->disk.size : 0, .done = wiped};
	disk_submit(&disk->disk, &node->wipe);
}

// The journal, then the log of the redo, as if they were made anew.
static void wiped(struct disk_io *io, int error)
{
	struct node *node = (struct node *)((char *)io - offsetof(struct node, wipe));

	if (error) {
		node_changed(node);
	} else if (io->op == DISK_ZERO) {
		wipe(node, io->disk == &node->journal.disk ? &node->journal : &node->redo_log, DISK_FLUSH);
	} else if (io->disk == &node->journal.disk) {
		wipe(node, &node->redo_log, DISK_ZERO);
	} else {
		uint8_t encoded[STATE_ENCODED_MAX];

		slots_save(node->slots, encoded, state_encode(&node->next, encoded), node, returned);
	}
	faults_step(node->sim);
}

// A standby that says it holds nothing beyond an epoch holds just that.
static void check_base(const struct node *node)
{
	const struct generation *generation = node->generation;
	char why[512];

	if (node->next.base_epoch != node->held_cut)
		return;
	if (model_find_cut(&generation->model, node->held_cut) &&
	    !model_check_cut(&generation->model, node->volume_list, node->held_cut, why, sizeof(why)))
		violate(node->sim, "G5: node %u says it holds nothing beyond epoch %" PRIu64 ", but: %s", node->index,
		        node->held_cut, why);
}

static void begin_return(struct node *node)
{
	if (node->generation->sealed && !node->state.fenced && node->held_beyond)
		violate(node->sim, "node %u was drained, and holds blocks beyond", node->index);
	node->next = node->state;
	node->gave_way = node->discard;
	state_return(&node->next, node->held_cut, node->held_beyond, node->discard, clock_wall(&node->clock.clock));
	node->next.local_bytes = 0;
	node->next.local_since = 0;
	check_base(node);
	wipe(node, &node->journal, DISK_ZERO);
}

static void regained(void *user, int error)
{
	struct node *node = user;

	if (!error) {
		node->state = node->next;
		node->generation = node->follows = generation_promoted(node, &node->state);
		node->serve_ordered = true;
		node->sim->changes++;
		faults_step(node->sim);
	}
	node_changed(node);
}

static void begin_regain(struct node *node)
{
	struct pair_state *next = &node->next;
	uint8_t encoded[STATE_ENCODED_MAX];
	struct id alone, generation;

	*next = node->state;
	draw_id(&node->sim->rng, &alone);
	draw_id(&node->sim->rng, &generation);
	lineage_push(&next->lineage, &alone, node->held_cut);
	lineage_push(&next->lineage, &generation, node->held_cut + 1);
	next->promoted_epoch = node->held_cut + 1;
	next->promoted_point = next->born = clock_wall(&node->clock.clock);
	next->local_bytes = 0;
	next->local_since = 0;
	next->fenced = next->split = next->handover = next->untouched = false;
	slots_save(node->slots, encoded, state_encode(next, encoded), node, regained);
}

void exchange_stopped(struct node *node)
{
	if (node->then == THEN_RETURN)
		begin_return(node);
	else
		begin_regain(node);
	faults_step(node->sim);
}
