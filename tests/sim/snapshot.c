// SPDX-License-Identifier: Apache-2.0
#include "snapshot.h"

#include "generation.h"
#include "memory.h"
#include "redone.h"
#include "simulation.h"

#include <string.h>

#define DISKS_MAX (MODEL_VOLUMES + 5)

struct snapshot {
	unsigned index; // node
	struct sim_disk disks[DISKS_MAX];
	uint8_t *map;
	bool map_closed, is_standby, promotable;
	struct generation *generation, *follows;
};

static unsigned disks_of(struct node *node, struct sim_disk *disks[DISKS_MAX])
{
	unsigned count = 0;

	disks[count++] = &node->state_disk;
	disks[count++] = &node->journal;
	disks[count++] = &node->spill;
	disks[count++] = &node->intent;
	disks[count++] = &node->redo_log;
	for (unsigned v = 0; v < node->sim->plan.volume_count; v++)
		disks[count++] = &node->volumes[v];
	return count;
}

void snapshot_free(struct simulation *sim)
{
	if (!sim->snapshot)
		return;
	for (unsigned i = 0; i < DISKS_MAX; i++)
		sim_disk_done(&sim->snapshot->disks[i]);
	free(sim->snapshot->map);
	free(sim->snapshot);
	sim->snapshot = NULL;
}

bool snapshot_take(struct node *node)
{
	struct simulation *sim = node->sim;
	struct sim_disk *disks[DISKS_MAX];
	struct snapshot *snapshot;
	unsigned count = disks_of(node, disks);

	// It is of use when it has become old.
	if (sim->snapshot && !rng_chance(&sim->rng, 1, 8))
		return false;
	trace(sim, "a snapshot of node %u is made", node->index);
	snapshot_free(sim);
	snapshot = sim->snapshot = allocate(sizeof(*snapshot));
	snapshot->index = node->index;
	for (unsigned i = 0; i < count; i++) {
		sim_disk_init(&snapshot->disks[i], &sim->scheduler, &sim->rng, disks[i]->disk.size,
		              disks[i]->disk.align);
		sim_disk_clone(disks[i], LOSS_PROCESS, &snapshot->disks[i], &sim->rng);
	}
	snapshot->map = resize(NULL, node->map_bytes);
	memcpy(snapshot->map, node->map, node->map_bytes);
	snapshot->map_closed = node->map_closed;
	snapshot->is_standby = node->is_standby;
	snapshot->promotable = node->promotable;
	snapshot->generation = node->generation;
	snapshot->follows = node->follows;
	return true;
}

// What it serves, or would go on from, is what its volumes hold now. What was
// called durable may be gone, and nobody knows by blocks what differs.
static void tell_models(struct node *node)
{
	struct simulation *sim = node->sim;
	struct generation *generation;
	struct pair_state state;
	struct redone *redone;

	sim->rolled = true;
	for (unsigned i = 0; i < sim->generation_count; i++) {
		generation = sim->generations[i];
		generation->rolled = generation->tainted = generation->model.any_cut = true;
		generation->sealed = 0;
	}
	if (node_read_state(node, &state))
		return; // it is found out when it starts
	generation = generation_find(sim, &state.lineage.generation);
	if (!generation || (state.role == ROLE_STANDBY && !state.returned))
		return;
	redone = redone_new(node);
	model_rebase(&generation->model, redone_volumes(redone));
	generation->model.lag_from = generation->model.write_count;
	redone_free(redone);
	node->generation = generation;
}

bool snapshot_restore(struct node *node)
{
	struct simulation *sim = node->sim;
	const struct snapshot *snapshot = sim->snapshot;
	struct sim_disk *disks[DISKS_MAX];
	unsigned count = disks_of(node, disks);

	if (!snapshot || snapshot->index != node->index)
		return false;
	node_crash(node, LOSS_POWER);
	trace(sim, "node %u is taken back to its snapshot", node->index);
	for (unsigned i = 0; i < count; i++)
		sim_disk_restore(disks[i], &snapshot->disks[i]);
	memcpy(node->map, snapshot->map, node->map_bytes);
	memcpy(node->map_former, snapshot->map, node->map_bytes);
	memcpy(node->map_synced, snapshot->map, node->map_bytes);
	node->map_closed = snapshot->map_closed;
	node->is_standby = snapshot->is_standby;
	node->promotable = snapshot->promotable;
	node->generation = snapshot->generation;
	node->follows = snapshot->follows;
	node->fenced = node->fence_durable = node->told_newer = node->serve_ordered = false;
	tell_models(node);
	node_start_later(node, rng_scale(&sim->rng, MSEC, SEC));
	return true;
}
