// SPDX-License-Identifier: Apache-2.0
// Connections, each end of which can be gone, and what is on its way.
#include "engine_impl.h"

#include <string.h>

const char *violation;

struct connection *connection_of(struct world *world, unsigned slot)
{
	return world->connections[slot].stage ? &world->connections[slot] : NULL;
}

struct node *dialer_of(struct world *world, const struct connection *connection)
{
	return &world->nodes[connection->dialer];
}

struct node *listener_of(struct world *world, const struct connection *connection)
{
	return &world->nodes[!connection->dialer];
}

void letter_put(struct letter *letters, struct letter letter)
{
	for (unsigned i = 0; i < IN_FLIGHT; i++) {
		if (letters[i].type == LETTER_NONE) {
			letters[i] = letter;
			return;
		}
	}
}

struct letter letter_get(struct letter *letters)
{
	struct letter first = letters[0];

	memmove(&letters[0], &letters[1], (IN_FLIGHT - 1) * sizeof(letters[0]));
	letters[IN_FLIGHT - 1] = (struct letter){0};
	return first;
}

void connection_forget(struct connection *connection)
{
	*connection = (struct connection){0};
}

// Nothing that is left of it can have an effect.
void connection_tidy(struct connection *connection)
{
	bool to_dialer = connection->stage == STAGE_WELCOME || connection->back[0].type;

	if (connection->stage == STAGE_HELLO)
		return;
	if (connection->listener_gone ? connection->dialer_gone || !to_dialer
	                              : connection->dialer_gone && !connection->out[0].type && !connection->takeover)
		connection_forget(connection);
}

void dialer_ends(struct world *world, struct node *node)
{
	struct connection *connection = connection_of(world, 0);

	node->adopting = node->comparing = node->base = 0;
	if (!connection || dialer_of(world, connection) != node)
		return;
	connection->dialer_gone = 1;
	memset(connection->back, 0, sizeof(connection->back));
	if (connection->stage == STAGE_WELCOME)
		connection->stage = STAGE_OPEN;
	connection_tidy(connection);
	if (connection->stage)
		world->connections[1] = *connection;
	connection_forget(connection);
}

void listener_ends(struct world *world, const struct node *node)
{
	for (unsigned i = 0; i < 2; i++) {
		struct connection *connection = connection_of(world, i);

		if (!connection || listener_of(world, connection) != node || connection->stage == STAGE_HELLO)
			continue;
		connection->listener_gone = 1;
		connection->takeover = connection->adopting = connection->received = 0;
		memset(connection->out, 0, sizeof(connection->out));
		connection_tidy(connection);
	}
}

// Also what is on its way to it.
void listener_dies(struct world *world, const struct node *node)
{
	listener_ends(world, node);
	for (unsigned i = 0; i < 2; i++) {
		struct connection *connection = connection_of(world, i);

		if (connection && listener_of(world, connection) == node && connection->stage == STAGE_HELLO)
			connection_forget(connection);
	}
}

void connection_breaks(struct world *world)
{
	dialer_ends(world, dialer_of(world, &world->connections[0]));
}

void dial(struct world *world, unsigned index)
{
	const struct node *node = &world->nodes[index];

	world->connections[0] = (struct connection){
	        .stage = STAGE_HELLO,
	        .dialer = (uint8_t)index,
	        .hello_generation = node->generation,
	        .hello_cut = node->cut,
	        .hello_untouched = node->untouched,
	};
}
