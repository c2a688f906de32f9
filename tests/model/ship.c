// SPDX-License-Identifier: Apache-2.0
// Epochs, a switchover, and what the two nodes answer.
#include "engine_impl.h"

#include <string.h>

bool ready(const struct world *world, const struct node *node)
{
	const struct connection *connection = &world->connections[0];

	return node->up && connection->stage == STAGE_OPEN && !connection->dialer_gone &&
	       &world->nodes[connection->dialer] == node;
}

bool dry(const struct world *world, const struct node *node)
{
	return ready(world, node) && !node->open && !node->frozen[0].epoch && !node->frozen[1].epoch &&
	       !node->adopting && !node->comparing;
}

bool may_ship(const struct world *world, const struct node *node)
{
	if (!ready(world, node) || node->cut == EPOCHS_MAX)
		return false;
	if (node->adopting || node->comparing)
		return !node->frozen[0].epoch;
	return node->open && !node->frozen[1].epoch;
}

void ship(struct world *world, struct node *node)
{
	struct connection *connection = &world->connections[0];
	struct letter letter = {.type = LETTER_EPOCH, .base = node->base, .adopts = node->adopting};
	struct frozen *frozen = node->frozen[0].epoch ? &node->frozen[1] : &node->frozen[0];

	letter.epoch = ++node->cut;
	letter.mask = node->suspect ? (1 << BLOCKS) - 1 : node->open;
	memcpy(letter.content, node->content, sizeof(letter.content));
	*frozen = (struct frozen){letter.epoch, node->open};
	node->open = 0;
	node->base = letter.epoch;
	log_note(node);
	if (!connection->listener_gone)
		letter_put(connection->out, letter);
}

void hand_over(struct node *node)
{
	node->handover = node->drained = 1;
}

void tell_takeover(struct world *world, struct node *node)
{
	struct connection *connection = &world->connections[0];

	node->drained = 0;
	if (!connection->listener_gone)
		letter_put(connection->out, (struct letter){.type = LETTER_TAKEOVER, .epoch = node->epoch});
}

// What the standby is told.

static void overwrite(struct world *world, struct node *node, unsigned generation, unsigned block, unsigned content)
{
	unsigned order = world_descends(world, generation, node->generation) ? 1 : 2;

	for (unsigned write = node->content[block]; write && !world_contains(world, content, write);
	     write = world->before[write])
		if (!(world->lost & (1u << write)) && node->ordered < order)
			violation = "an acknowledged write was overwritten, and no order gave it up";
	node->content[block] = node->flushed[block] = (uint8_t)content;
}

static void take_epoch(struct world *world, struct connection *connection, struct node *node,
                       const struct letter *letter)
{
	if (letter->base != connection->received || letter->adopts != connection->adopting) {
		listener_ends(world, node);
		return;
	}
	for (unsigned i = 0; i < BLOCKS; i++)
		if (letter->mask & (1u << i))
			overwrite(world, node, connection->hello_generation, i, letter->content[i]);
	if (memcmp(node->content, letter->content, BLOCKS) != 0 && !violation)
		violation = "an epoch is durable, and the standby does not hold the content of its cut";
	node->epoch = connection->received = letter->epoch;
	if (letter->adopts) {
		node->generation = connection->hello_generation;
		node->returned = node->yields = node->ordered = 0;
		leaves_map(node);
	}
	connection->adopting = 0;
	if (!connection->dialer_gone)
		letter_put(connection->back, (struct letter){.type = LETTER_DURABLE, .epoch = letter->epoch});
}

static void take_takeover(struct connection *connection, struct node *node, const struct letter *letter)
{
	if (connection->adopting || letter->epoch != node->epoch) {
		if (!connection->dialer_gone)
			no_takeover(connection);
		return;
	}
	connection->takeover = node->asked = 1;
}

void letter_arrives(struct world *world, struct connection *connection)
{
	struct letter letter = letter_get(connection->out);
	struct node *node = listener_of(world, connection);

	if (letter.type == LETTER_EPOCH)
		take_epoch(world, connection, node, &letter);
	else
		take_takeover(connection, node, &letter);
	if (connection->stage)
		connection_tidy(connection);
}

static void durable(struct node *node, unsigned epoch)
{
	for (unsigned i = 0; i < IN_FLIGHT; i++)
		if (node->frozen[i].epoch && node->frozen[i].epoch <= epoch)
			node->frozen[i] = (struct frozen){0};
	if (!node->frozen[0].epoch) {
		node->frozen[0] = node->frozen[1];
		node->frozen[1] = (struct frozen){0};
	}
	node->acknowledged = node->epoch = (uint8_t)epoch;
	node->adopting = 0;
	if (node->comparing)
		node->comparing = node->suspect = node->doubtful = 0;
	else if (VARIANT(LOG_ACK_LATE))
		return;
	log_note(node);
}

void answer_arrives(struct world *world, struct connection *connection)
{
	struct letter letter = letter_get(connection->back);
	struct node *node = dialer_of(world, connection);

	if (letter.type == LETTER_DURABLE) {
		durable(node, letter.epoch);
	} else {
		node->handover = node->drained = 0;
		node->serving = 1;
	}
	connection_tidy(connection);
}
