// SPDX-License-Identifier: Apache-2.0
// HELLO and WELCOME.
#include "engine_impl.h"

// Of a primary, or of a generation that another one made.
static void learn(const struct world *world, struct node *node, unsigned role, unsigned generation)
{
	bool newer = world_descends(world, generation, node->generation);
	bool split = role == ROLE_PRIMARY && generation > node->generation &&
	             !world_descends(world, node->generation, generation);

	if (node->role == ROLE_PRIMARY && (newer || split))
		node->learnt = 1;
}

static blocks beyond(const struct node *node, unsigned after)
{
	blocks bits = node->open;

	for (unsigned i = 0; i < IN_FLIGHT; i++)
		if (node->frozen[i].epoch > after)
			bits |= node->frozen[i].bits;
	return VARIANT(BEYOND_IGNORED) ? 0 : bits;
}

static enum verdict judge(const struct world *world, const struct standing *mine, const struct standing *peers,
                          const struct node *primary, const struct node *standby)
{
	enum verdict verdict = lineage_judge(mine, peers);

	if (VARIANT(DIVERGED_AS_COMPARE) && verdict == VERDICT_DIVERGED)
		return VERDICT_COMPARE;
	if (VARIANT(GRANDCHILD_AS_CHILD) && verdict == VERDICT_COMPARE &&
	    world_descends(world, primary->generation, standby->generation) &&
	    world->parents[primary->generation] != standby->generation)
		return VERDICT_RESYNC;
	return verdict;
}

static struct standing hello_standing(const struct world *world, const struct connection *connection)
{
	struct node node = {
	        .role = ROLE_PRIMARY, .generation = connection->hello_generation, .cut = connection->hello_cut};

	return world_standing(world, &node);
}

static void as_standby(struct world *world, struct connection *connection, struct node *node)
{
	struct standing mine = world_standing(world, node), peers = hello_standing(world, connection);
	unsigned left = world_left_at(world, connection->hello_generation, node->generation);
	struct node primary = {.generation = connection->hello_generation};
	enum verdict verdict;

	// A map answers for the epochs since the last one that was cleared from it,
	// up to the last cut.
	if (node->returned && (left < node->acknowledged || left > node->cut) && !VARIANT(MAP_SPAN_IGNORED))
		mine.mapped = false;
	verdict = judge(world, &mine, &peers, &primary, node);
	connection->returned = mine.returned;
	connection->mapped = mine.mapped;
	connection->yields = node->yields;
	connection->epoch = connection->received = node->epoch;
	connection->adopting = verdict == VERDICT_RESYNC || verdict == VERDICT_COMPARE;
	if (verdict == VERDICT_RESYNC && mine.returned)
		connection->beyond = beyond(node, left);
	if (verdict != VERDICT_CONTINUE && !connection->adopting)
		connection->listener_gone = 1;
}

static void as_primary(struct world *world, struct connection *connection, struct node *node)
{
	struct standing mine = world_standing(world, node), peers = hello_standing(world, connection);
	enum verdict verdict;
	bool gives_way;

	connection->epoch = 0;
	connection->listener_gone = 1;
	learn(world, node, ROLE_PRIMARY, connection->hello_generation);
	verdict = lineage_judge(&mine, &peers);
	gives_way = verdict == VERDICT_SPLIT_BRAIN && lineage_gives_way(&mine, &peers) && !VARIANT(SPLIT_BOTH_SERVE) &&
	            !VARIANT(SPLIT_HELLO_IGNORED);
	if (!node->fenced && (verdict == VERDICT_FENCED || gives_way))
		fence(world, node, connection->hello_generation);
}

void hello_arrives(struct world *world, unsigned slot)
{
	struct connection *connection = &world->connections[slot], *other = connection_of(world, !slot);
	struct node *node = listener_of(world, connection);

	if (other && listener_of(world, other) == node)
		listener_ends(world, node);
	connection->stage = STAGE_WELCOME;
	connection->role = node->role;
	connection->generation = node->generation;
	if (node->role == ROLE_STANDBY)
		as_standby(world, connection, node);
	else
		as_primary(world, connection, node);
	if (connection->dialer_gone)
		connection->stage = STAGE_OPEN;
	connection_tidy(connection);
}

static void settle(struct node *node, const struct connection *connection, enum verdict verdict)
{
	unsigned durable = connection->epoch;

	node->adopting = verdict != VERDICT_CONTINUE;
	if (node->acknowledged && (node->adopting || durable < node->acknowledged) && !VARIANT(REPLACED_TRUSTED))
		node->suspect = 1;
	if (verdict == VERDICT_COMPARE)
		node->suspect = 1;
	if (verdict == VERDICT_CONTINUE && !node->suspect) {
		settle_sets(node, durable);
		acknowledge(node, durable);
	} else {
		settle_sets(node, 0);
	}
	if (verdict == VERDICT_RESYNC)
		node->open |= connection->beyond;
	node->comparing = node->suspect || node->doubtful;
	if (node->cut < durable)
		node->cut = (uint8_t)durable;
	node->base = node->epoch = (uint8_t)durable;
	log_note(node);
}

void welcome_arrives(struct world *world, struct connection *connection)
{
	struct node *node = dialer_of(world, connection);
	struct node peer = {.role = connection->role,
	                    .generation = connection->generation,
	                    .epoch = connection->epoch,
	                    .cut = connection->epoch,
	                    .returned = connection->returned,
	                    .map_kept = connection->mapped,
	                    .yields = connection->yields};
	struct standing mine = world_standing(world, node), peers = world_standing(world, &peer);
	enum verdict verdict = judge(world, &mine, &peers, node, &peer);
	bool gives_way =
	        verdict == VERDICT_SPLIT_BRAIN && lineage_gives_way(&mine, &peers) && !VARIANT(SPLIT_BOTH_SERVE);

	learn(world, node, connection->role, connection->generation);
	connection->stage = STAGE_OPEN;
	if (verdict == VERDICT_FENCED || gives_way) {
		fence(world, node, connection->generation);
		return;
	}
	if (verdict != VERDICT_UNRELATED && verdict != VERDICT_DIVERGED && verdict != VERDICT_ROLLED_BACK) {
		node->handover = node->drained = 0;
		node->serving = 1;
	}
	if (verdict == VERDICT_CONTINUE || verdict == VERDICT_RESYNC || verdict == VERDICT_COMPARE) {
		node->apart = 0;
		settle(node, connection, verdict);
		connection->beyond = 0;
		connection_tidy(connection);
		return;
	}
	node->apart = verdict != VERDICT_PEER_FENCED || peer.role == ROLE_PRIMARY;
	dialer_ends(world, node);
}
