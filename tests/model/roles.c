// SPDX-License-Identifier: Apache-2.0
// Generations, orders, and what a node keeps when its role changes.
#include "engine_impl.h"

#include <string.h>

void leaves_map(struct node *node)
{
	node->map_kept = node->suspect = node->cut = node->acknowledged = 0;
	node->open = 0;
	memset(node->frozen, 0, sizeof(node->frozen));
}

void leaves_log(struct node *node)
{
	node->logged = node->logged_cut = node->logged_acknowledged = node->logged_suspect = 0;
}

void log_note(struct node *node)
{
	node->logged_cut = node->cut;
	node->logged_acknowledged = node->acknowledged;
	node->logged_suspect = node->suspect;
}

// Sets of epochs that the standby has are cleared, the others rejoin.
void settle_sets(struct node *node, unsigned durable)
{
	for (unsigned i = 0; i < IN_FLIGHT; i++) {
		if (node->frozen[i].epoch > durable)
			node->open |= node->frozen[i].bits;
		node->frozen[i] = (struct frozen){0};
	}
}

void acknowledge(struct node *node, unsigned durable)
{
	if (durable > node->acknowledged && !VARIANT(LOST_ACK_FORGOTTEN))
		node->acknowledged = (uint8_t)durable;
}

void fence(struct world *world, struct node *node, unsigned successor)
{
	unsigned left = world_left_at(world, successor, node->generation);
	bool known = world_descends(world, successor, node->generation);

	dialer_ends(world, node);
	if (known && !node->suspect && left <= node->cut && (left >= node->acknowledged || VARIANT(MAP_SPAN_IGNORED))) {
		settle_sets(node, left);
		acknowledge(node, left);
	} else {
		settle_sets(node, 0);
		node->suspect |= known;
	}
	node->handover &= !node->suspect; // all was handed over: there is nothing beyond
	node->serving = node->drained = 0;
	node->fenced = 1;
}

static void make_generation(struct world *world, struct node *node, unsigned epoch)
{
	world->parents[world->generations] = node->generation;
	world->left_at[world->generations] = (uint8_t)epoch;
	node->generation = world->generations++;
	node->role = ROLE_PRIMARY;
	node->fenced = node->returned = node->yields = node->handover = 0;
	node->apart = node->asked = node->ordered = node->learnt = node->doubtful = 0;
	node->epoch = (uint8_t)epoch;
	leaves_map(node);
	leaves_log(node);
	node->map_kept = 1;
	node->cut = (uint8_t)epoch;
	node->serving = 1;
	memcpy(node->flushed, node->content, sizeof(node->flushed));
}

// What a former primary wrote without its peer is no epoch that a standby could
// hold: it becomes a generation between, that nobody else has.
static void keep_apart(struct world *world, struct node *node, unsigned cut)
{
	if (VARIANT(ALONE_AS_EPOCH))
		return;
	world->parents[world->generations] = node->generation;
	world->left_at[world->generations] = (uint8_t)cut;
	node->generation = world->generations++;
}

void promote(struct world *world, struct node *node)
{
	listener_ends(world, node);
	if (node->returned && node->epoch > node->cut)
		keep_apart(world, node, node->cut);
	make_generation(world, node, node->epoch);
	node->untouched = 1;
	log_note(node);
}

void force(struct world *world, struct node *node)
{
	if (node->handover) {
		node->handover = node->drained = 0;
		node->serving = 1;
		return;
	}
	keep_apart(world, node, node->cut);
	make_generation(world, node, node->cut + 1u);
	node->suspect = 1;
	log_note(node);
}

bool behind(const struct node *node)
{
	return node->open || node->frozen[0].bits || node->frozen[1].bits || node->suspect || node->doubtful;
}

static void become_standby(struct world *world, struct node *node)
{
	dialer_ends(world, node);
	node->role = ROLE_STANDBY;
	node->returned = !VARIANT(RETURNED_IGNORED);
	node->epoch = behind(node) && node->returned ? node->cut + 1 : node->cut;
	node->fenced = node->untouched = node->handover = node->drained = node->serving = 0;
	node->doubtful = node->apart = 0;
	node->learnt = 0;
	leaves_log(node);
	memcpy(node->flushed, node->content, sizeof(node->flushed));
}

void demote(struct world *world, struct node *node)
{
	become_standby(world, node);
	node->ordered = 1;
}

void give_up(struct world *world, struct node *node, bool discard)
{
	become_standby(world, node);
	node->yields = discard;
	node->ordered = discard ? 2 : 1;
}

void give_way(struct world *world, struct node *node)
{
	listener_ends(world, node);
	node->yields = 1;
	node->ordered = 2;
}

void take_over(struct world *world, struct node *node)
{
	const struct connection *connection = NULL;

	for (unsigned i = 0; i < 2; i++)
		if (connection_of(world, i) && listener_of(world, &world->connections[i]) == node &&
		    world->connections[i].takeover)
			connection = &world->connections[i];
	node->asked = 0;
	if (connection || VARIANT(TAKEOVER_LATE))
		promote(world, node);
}

void no_takeover(struct connection *connection)
{
	connection->takeover = 0;
	letter_put(connection->back, (struct letter){.type = LETTER_DECLINE});
}

void decline(struct world *world, struct node *node)
{
	node->asked = 0;
	for (unsigned i = 0; i < 2; i++) {
		struct connection *connection = connection_of(world, i);

		if (!connection || listener_of(world, connection) != node || !connection->takeover)
			continue;
		no_takeover(connection);
		connection_tidy(connection);
	}
}
