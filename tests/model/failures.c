// SPDX-License-Identifier: Apache-2.0
// The application and the device, and what fails.
#include "engine_impl.h"

#include <string.h>

void application_writes(struct world *world, struct node *node, unsigned block)
{
	uint8_t write = ++world->writes;

	if (!VARIANT(UNTOUCHED_FOREVER))
		node->untouched = 0;
	node->logged |= (blocks)(1 << block);
	node->open |= (blocks)(1 << block);
	world->before[write] = node->content[block];
	node->content[block] = write;
}

void device_flushes(struct node *node)
{
	memcpy(node->flushed, node->content, sizeof(node->flushed));
	if (!node->suspect)
		node->logged &= node->open | node->frozen[0].bits | node->frozen[1].bits;
}

// Failures.

void crash(struct world *world, struct node *node)
{
	dialer_ends(world, node);
	listener_dies(world, node);
	node->up = node->serving = node->drained = node->doubtful = node->apart = node->asked = 0;
	if (VARIANT(HANDOVER_NOT_KEPT))
		node->handover = 0;
	if (VARIANT(FENCE_NOT_KEPT))
		node->fenced = 0;
}

static void lose(struct world *world, unsigned content, unsigned kept)
{
	for (unsigned write = content; write && !world_contains(world, kept, write); write = world->before[write])
		world->lost |= (uint8_t)(1 << write);
}

void power_fails(struct world *world, struct node *node, blocks lost)
{
	crash(world, node);
	for (unsigned i = 0; i < BLOCKS; i++) {
		if (lost & (1u << i)) {
			lose(world, node->content[i], node->flushed[i]);
			node->content[i] = node->flushed[i];
		}
		node->flushed[i] = node->content[i];
	}
	if (node->role != ROLE_PRIMARY)
		return;
	leaves_map(node);
}

void restart(struct node *node)
{
	node->up = 1;
	if (node->role != ROLE_PRIMARY || node->map_kept)
		return;
	node->map_kept = 1;
	node->open = node->logged;
	node->cut = node->logged_cut;
	node->acknowledged = node->logged_acknowledged;
	node->suspect = node->logged_suspect;
	node->doubtful = 1;
	if (node->untouched && VARIANT(UNTOUCHED_FOREVER)) {
		node->open = 0;
		node->suspect = node->doubtful = 0;
	}
}

void take_snapshot(struct world *world, unsigned index)
{
	struct world copy = *world;

	power_fails(&copy, &copy.nodes[index], 0);
	world->snapshot = copy.nodes[index];
	world->snapshot_of = (uint8_t)(index + 1);
}

void roll_back(struct world *world)
{
	struct node *node = &world->nodes[world->snapshot_of - 1];

	crash(world, node);
	*node = world->snapshot;
	world->snapshot = (struct node){0};
	world->snapshot_of = 0;
	world->rolled_back = 1;
}
