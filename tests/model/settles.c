// SPDX-License-Identifier: Apache-2.0
// The end of a planned switchover.
#include "engine.h"
#include "steps.h"

#include <string.h>

// The primary dials, and ships what there is.
static void meet(struct world *world, unsigned index)
{
	struct connection *connection = &world->connections[0];
	struct node *node = &world->nodes[index];

	dial(world, index);
	hello_arrives(world, 0);
	if (connection->stage == STAGE_WELCOME)
		welcome_arrives(world, connection);
	while (may_ship(world, node)) {
		ship(world, node);
		while (connection->stage && connection->out[0].type)
			letter_arrives(world, connection);
		while (connection->stage && connection->back[0].type)
			answer_arrives(world, connection);
	}
	if (connection->stage)
		connection_breaks(world);
}

static bool holds_all(const struct world *world, const struct node *node)
{
	for (unsigned write = 1; write <= world->writes; write++)
		if (!(world->lost & (1u << write)) && !world_contains(world, node->content[0], write) &&
		    !world_contains(world, node->content[1], write))
			return false;
	return true;
}

const char *world_settles(const struct world *before)
{
	struct world world = *before;
	unsigned serving = 0;

	for (unsigned i = 0; i < NODES; i++) {
		crash(&world, &world.nodes[i]);
		restart(&world.nodes[i]);
	}
	memset(world.connections, 0, sizeof(world.connections));
	for (unsigned round = 0; round < 4; round++) {
		for (unsigned i = 0; i < NODES; i++) {
			struct node *node = &world.nodes[i];

			if (node->role == ROLE_PRIMARY && !node->fenced)
				meet(&world, i);
			else if (node->role == ROLE_PRIMARY && (node->handover || !behind(node)))
				give_up(&world, node, false);
		}
	}
	if (violation)
		return violation;
	for (unsigned i = 0; i < NODES; i++) {
		serving += serves(&world.nodes[i]);
		if (!holds_all(&world, &world.nodes[i]))
			return "after restarts and contact an acknowledged write is on one node only, or on none";
	}
	if (serving != 1)
		return "after restarts and contact not exactly one node serves";
	if (memcmp(world.nodes[0].content, world.nodes[1].content, BLOCKS) != 0)
		return "after restarts and contact the contents differ";
	return NULL;
}
