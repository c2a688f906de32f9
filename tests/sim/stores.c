// SPDX-License-Identifier: Apache-2.0
// Death between two stores into the change map. The engine's call cannot be left
// half way: it goes on, but nothing that it does any more has an effect, and what
// the map held at its last store is what the next process finds.
#include "common/store.h"
#include "node_impl.h"
#include "simulation.h"

#include <string.h>

static struct simulation *watched;

static void stored(const void *at)
{
	for (unsigned i = 0; watched && i < 2; i++) {
		struct node *node = &watched->nodes[i];

		if (!node->stores || (const uint8_t *)at < node->map ||
		    (const uint8_t *)at >= node->map + node->map_bytes || --node->stores)
			continue;
		trace(watched, "node %u dies after a store at %zu of its map", i,
		      (size_t)((const uint8_t *)at - node->map));
		memcpy(node->map_left, node->map, node->map_bytes);
		node->dying = true;
		machine_deafen(node, true);
	}
}

void (*store_point)(const void *at) = stored;

void stores_watch(struct simulation *sim)
{
	watched = sim;
}

void stores_arm(struct node *node, uint64_t stores)
{
	node->stores = node->dying ? 0 : stores;
}

void stores_reap(struct simulation *sim)
{
	for (unsigned i = 0; i < 2; i++) {
		struct node *node = &sim->nodes[i];

		if (!node->dying)
			continue;
		node->dying = false;
		machine_deafen(node, false);
		memcpy(node->map, node->map_left, node->map_bytes);
		// A part of the map that does not check is compared, or shipped as a whole.
		node->generation->tainted = true;
		faults_crash(sim, i, LOSS_PROCESS);
	}
}
