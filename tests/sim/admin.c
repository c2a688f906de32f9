// SPDX-License-Identifier: Apache-2.0
// The administrator: orders promotions, switchovers and resyncs at random
// moments, whether they make sense or not, and at the end of a run what brings
// the two nodes together again.
#include "memory.h"
#include "simulation.h"
#include "snapshot.h"

#include <stddef.h>

enum order {
	ORDER_PROMOTE,
	ORDER_PROMOTE_GENTLY, // without force
	ORDER_SWITCHOVER, // on the primary
	ORDER_ASK, // on the standby
	ORDER_DEMOTE,
	ORDER_RETURN,
	ORDER_DISCARD, // the same, whatever is lost
	ORDER_REGAIN,
	ORDER_YIELD,
	ORDER_PART, // the nodes cannot see each other, and the standby is promoted
	ORDER_SNAPSHOT,
	ORDER_ROLLBACK,
	ORDER_MAX,
};

static const unsigned weights[][ORDER_MAX] = {
        [THEME_FAILBACK] = {4, 2, 2, 1, 1, 6, 4, 1, 2, 1, 0, 0},
        [THEME_SWITCHOVER] = {1, 1, 6, 4, 2, 4, 2, 0, 1, 0, 0, 0},
        [THEME_SPLIT] = {1, 1, 1, 1, 0, 4, 4, 2, 3, 6, 0, 0},
        [THEME_ROLLBACK] = {2, 1, 2, 1, 1, 4, 4, 1, 2, 1, 4, 2},
};

static bool runs_sink(const struct node *node)
{
	return node->sink && node->opened && !node->stopping;
}

static bool promote(struct node *node, bool force)
{
	if (!runs_sink(node) || node->promoting ||
	    (node->sim->generation_count > GENERATIONS_ORDERED && !node->sim->healing))
		return false;
	node_promote(node, force);
	return true;
}

static bool ask(struct node *node)
{
	struct error err;

	return runs_sink(node) && sink_ask_switchover(node->sink, &err) == 0;
}

static void yielded(void *user, int error, const struct error *reason)
{
	struct node *node = user;

	(void)reason;
	trace(node->sim, "node %u gives way: %d", node->index, error);
	node->yielding = false;
}

// Only what was refused needs that.
static bool yield(struct node *node)
{
	struct sink_status *status;
	bool refused;

	if (!runs_sink(node) || node->yielding || node->promoting)
		return false;
	status = resize(NULL, sizeof(*status));
	sink_status(node->sink, status);
	refused = status->met && !status->state.yields &&
	          (status->verdict == VERDICT_DIVERGED || status->verdict == VERDICT_ROLLED_BACK);
	free(status);
	if (!refused)
		return false;
	trace(node->sim, "node %u is to give way", node->index);
	node->yielding = node->gave_way = true;
	sink_yield(node->sink, node, yielded);
	return true;
}

static bool part(struct node *node)
{
	if (!runs_sink(node) || node->promoting || node->sim->network.partitioned)
		return false;
	faults_part(node->sim);
	return promote(node, true);
}

static bool give(struct node *node, enum order order)
{
	switch (order) {
	case ORDER_PROMOTE:
	case ORDER_PROMOTE_GENTLY:
		return promote(node, order == ORDER_PROMOTE);
	case ORDER_SWITCHOVER:
		return exchange_switchover(node);
	case ORDER_ASK:
		return ask(node);
	case ORDER_DEMOTE:
		return exchange_demote(node);
	case ORDER_RETURN:
	case ORDER_DISCARD:
		return exchange_return(node, order == ORDER_DISCARD);
	case ORDER_REGAIN:
		return exchange_regain(node);
	case ORDER_YIELD:
		return yield(node);
	case ORDER_PART:
		return part(node);
	case ORDER_SNAPSHOT:
		return snapshot_take(node);
	case ORDER_ROLLBACK:
		return snapshot_restore(node);
	case ORDER_MAX:
		break;
	}
	return false;
}

static enum order draw_order(struct simulation *sim)
{
	const unsigned *odds = weights[sim->plan.theme];
	unsigned sum = 0, order = 0;
	uint64_t pick;

	for (unsigned i = 0; i < ORDER_MAX; i++)
		sum += odds[i];
	pick = rng_below(&sim->rng, sum);
	while (pick >= odds[order])
		pick -= odds[order++];
	return (enum order)order;
}

// What is nothing to lose is done without being asked for.
static bool return_by_itself(struct node *node)
{
	struct source_status *status;
	bool nothing;

	if (!node->source || node->stopping || node->redoing || !node->fenced || !node->fence_durable)
		return false;
	status = resize(NULL, sizeof(*status));
	source_status(node->source, status);
	nothing = (status->handed || (status->complete && !status->bytes_behind)) && !status->split;
	free(status);
	return nothing && exchange_return(node, false);
}

static void run_order(struct event *event)
{
	struct simulation *sim = (struct simulation *)((char *)event - offsetof(struct simulation, order));
	unsigned first = (unsigned)rng_below(&sim->rng, 2);

	if (sim->healing)
		return;
	if (sim->nodes[0].synced || rng_chance(&sim->rng, 1, 8)) {
		bool given = false;

		for (unsigned i = 0; i < 2 && !given; i++)
			given = rng_chance(&sim->rng, 1, 2) && return_by_itself(&sim->nodes[i]);
		// What does not fit the moment is followed by something else.
		for (unsigned i = 0; i < 8 && !given; i++) {
			enum order order = draw_order(sim);

			given = give(&sim->nodes[first], order) || give(&sim->nodes[!first], order);
		}
	}
	scheduler_add(&sim->scheduler, event, rng_below(&sim->rng, 2 * sim->plan.order_gap) + USEC);
}

void admin_start(struct simulation *sim)
{
	sim->order.run = run_order;
	scheduler_add(&sim->scheduler, &sim->order, sim->plan.order_gap);
}

void admin_heal(struct simulation *sim)
{
	struct node *nodes = sim->nodes;

	for (unsigned i = 0; i < 2; i++)
		if (!return_by_itself(&nodes[i]) && !exchange_return(&nodes[i], true))
			yield(&nodes[i]);
	if (runs_sink(&nodes[0]) && runs_sink(&nodes[1]) && !nodes[0].promoting && !nodes[1].promoting) {
		unsigned first = (unsigned)rng_below(&sim->rng, 2);

		promote(&nodes[nodes[first].promotable ? first : !first], true);
	}
}

void admin_done(struct simulation *sim)
{
	scheduler_remove(&sim->scheduler, &sim->order);
	snapshot_free(sim);
}
