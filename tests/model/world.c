// SPDX-License-Identifier: Apache-2.0
#include "world.h"

#include <string.h>

enum variant variant;

// Node 0 is the primary, node 1 its standby, both empty and in step.
void world_init(struct world *world)
{
	*world = (struct world){.generations = 1};
	world->nodes[0] = (struct node){.role = ROLE_PRIMARY,
	                                .map_kept = 1,
	                                .up = 1,
	                                .serving = 1,
	                                .cut = 1,
	                                .acknowledged = 1,
	                                .logged_cut = 1,
	                                .logged_acknowledged = 1,
	                                .epoch = 1};
	world->nodes[1] = (struct node){.role = ROLE_STANDBY, .up = 1, .epoch = 1};
}

// Packing: one list of fields, read in both directions.

struct bits {
	uint8_t *bytes;
	size_t at; // bits
	bool unpacks;
};

static void field(struct bits *bits, uint8_t *value, unsigned width)
{
	unsigned byte = (unsigned)(bits->at / 8), shift = (unsigned)(bits->at % 8), mask = (1u << width) - 1;
	unsigned word;

	if (bits->unpacks) {
		word = bits->bytes[byte] | (unsigned)bits->bytes[byte + 1] << 8;
		*value = (uint8_t)(word >> shift & mask);
	} else {
		word = (*value & mask) << shift;
		bits->bytes[byte] |= (uint8_t)word;
		bits->bytes[byte + 1] |= (uint8_t)(word >> 8);
	}
	bits->at += width;
}

static void flag(struct bits *bits, uint8_t *value)
{
	field(bits, value, 1);
}

static void epoch(struct bits *bits, uint8_t *value)
{
	field(bits, value, 4);
}

static void contents(struct bits *bits, uint8_t *values)
{
	for (unsigned i = 0; i < BLOCKS; i++)
		field(bits, &values[i], 2);
}

static void walk_node(struct bits *bits, struct node *node)
{
	field(bits, &node->role, 2);
	field(bits, &node->generation, 3);
	flag(bits, &node->fenced);
	flag(bits, &node->untouched);
	flag(bits, &node->handover);
	flag(bits, &node->returned);
	flag(bits, &node->yields);
	epoch(bits, &node->epoch);
	flag(bits, &node->map_kept);
	flag(bits, &node->suspect);
	epoch(bits, &node->cut);
	epoch(bits, &node->acknowledged);
	field(bits, &node->open, BLOCKS);
	for (unsigned i = 0; i < IN_FLIGHT; i++) {
		epoch(bits, &node->frozen[i].epoch);
		field(bits, &node->frozen[i].bits, BLOCKS);
	}
	field(bits, &node->logged, BLOCKS);
	epoch(bits, &node->logged_cut);
	epoch(bits, &node->logged_acknowledged);
	flag(bits, &node->logged_suspect);
	contents(bits, node->content);
	contents(bits, node->flushed);
	flag(bits, &node->up);
	flag(bits, &node->serving);
	flag(bits, &node->drained);
	flag(bits, &node->adopting);
	flag(bits, &node->comparing);
	flag(bits, &node->doubtful);
	epoch(bits, &node->base);
	flag(bits, &node->apart);
	flag(bits, &node->asked);
	field(bits, &node->ordered, 2);
	flag(bits, &node->learnt);
}

static void walk_letter(struct bits *bits, struct letter *letter)
{
	field(bits, &letter->type, 3);
	epoch(bits, &letter->epoch);
	epoch(bits, &letter->base);
	flag(bits, &letter->adopts);
	field(bits, &letter->mask, BLOCKS);
	contents(bits, letter->content);
}

static void walk_connection(struct bits *bits, struct connection *connection)
{
	field(bits, &connection->stage, 2);
	flag(bits, &connection->dialer);
	flag(bits, &connection->dialer_gone);
	flag(bits, &connection->listener_gone);
	field(bits, &connection->hello_generation, 3);
	epoch(bits, &connection->hello_cut);
	flag(bits, &connection->hello_untouched);
	field(bits, &connection->role, 2);
	field(bits, &connection->generation, 3);
	epoch(bits, &connection->epoch);
	flag(bits, &connection->returned);
	flag(bits, &connection->mapped);
	flag(bits, &connection->yields);
	field(bits, &connection->beyond, BLOCKS);
	epoch(bits, &connection->received);
	flag(bits, &connection->adopting);
	flag(bits, &connection->takeover);
	for (unsigned i = 0; i < IN_FLIGHT; i++) {
		walk_letter(bits, &connection->out[i]);
		field(bits, &connection->back[i].type, 3);
		epoch(bits, &connection->back[i].epoch);
	}
}

static size_t walk(struct world *world, uint8_t *bytes, bool unpacks)
{
	struct bits bits = {.bytes = bytes, .unpacks = unpacks};

	for (unsigned i = 0; i < NODES; i++) {
		walk_node(&bits, &world->nodes[i]);
		walk_connection(&bits, &world->connections[i]);
	}
	walk_node(&bits, &world->snapshot);
	field(&bits, &world->snapshot_of, 2);
	field(&bits, &world->generations, 3);
	for (unsigned i = 0; i < GENERATIONS_MAX; i++) {
		field(&bits, &world->parents[i], 3);
		epoch(&bits, &world->left_at[i]);
	}
	field(&bits, &world->writes, 2);
	for (unsigned i = 0; i <= WRITES_MAX; i++)
		field(&bits, &world->before[i], 2);
	field(&bits, &world->lost, WRITES_MAX + 1);
	field(&bits, &world->promotions, 3);
	field(&bits, &world->crashes, 3);
	field(&bits, &world->losses, 3);
	flag(&bits, &world->rolled_back);
	return (bits.at + 7) / 8 + 1; // a field is read as two bytes
}

size_t world_pack(const struct world *world, uint8_t *bytes)
{
	memset(bytes, 0, WORLD_PACKED_MAX);
	return walk((struct world *)world, bytes, false);
}

void world_unpack(struct world *world, const uint8_t *bytes)
{
	memset(world, 0, sizeof(*world));
	walk(world, (uint8_t *)bytes, true);
}

// Generations.

static struct id id_of(unsigned generation)
{
	return (struct id){{(uint8_t)(generation + 1)}};
}

void world_lineage(const struct world *world, unsigned generation, struct lineage *lineage)
{
	struct id id = id_of(generation);

	if (generation)
		world_lineage(world, world->parents[generation], lineage);
	else
		*lineage = (struct lineage){0};
	lineage_push(lineage, &id, world->left_at[generation]);
}

bool world_descends(const struct world *world, unsigned generation, unsigned from)
{
	while (generation && generation != from) {
		generation = world->parents[generation];
		if (generation == from)
			return true;
	}
	return false;
}

unsigned world_left_at(const struct world *world, unsigned generation, unsigned from)
{
	while (generation) {
		if (world->parents[generation] == from)
			return world->left_at[generation];
		generation = world->parents[generation];
	}
	return 0;
}

struct standing world_standing(const struct world *world, const struct node *node)
{
	struct standing standing = {
	        .role = node->role,
	        .born = node->generation,
	        .epoch = node->role == ROLE_PRIMARY ? node->cut : node->epoch,
	        .consistent = true,
	        .returned = node->returned,
	        .mapped = node->role == ROLE_PRIMARY ? !node->suspect : node->map_kept && !node->suspect,
	        .yields = node->yields,
	};

	world_lineage(world, node->generation, &standing.lineage);
	return standing;
}

// Content.

bool world_contains(const struct world *world, unsigned content, unsigned write)
{
	while (content && content != write)
		content = world->before[content];
	return content == write;
}

bool serves(const struct node *node)
{
	return node->up && node->serving && !node->handover;
}

static bool frozen_any(const struct node *node)
{
	return node->frozen[0].epoch || node->frozen[1].epoch;
}

// The primary believes that its standby holds all there is.
static bool in_step(const struct world *world)
{
	const struct connection *connection = &world->connections[0];
	const struct node *primary = &world->nodes[connection->dialer];

	return connection->stage == STAGE_OPEN && !connection->dialer_gone && !connection->listener_gone &&
	       !primary->adopting && !primary->comparing && !primary->suspect && !primary->open && !frozen_any(primary);
}

const char *world_check(const struct world *world, const struct bounds *bounds)
{
	const struct node *a = &world->nodes[0], *b = &world->nodes[1];

	if (serves(a) && serves(b) && a->generation == b->generation)
		return "both nodes serve writes in one generation";
	if (serves(a) && serves(b) && bounds->switchover)
		return "both nodes serve writes, and nobody gave an order by force";
	for (unsigned i = 0; i < NODES; i++)
		if (serves(&world->nodes[i]) && world->nodes[i].learnt)
			return "a node serves writes that has learnt of a newer generation";
	if (in_step(world) && memcmp(a->content, b->content, BLOCKS) != 0)
		return "the pair is in step, and the contents differ";
	return NULL;
}
