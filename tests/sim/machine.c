// SPDX-License-Identifier: Apache-2.0
#include "node_impl.h"

#include "common/slots.h"
#include "memory.h"
#include "receiver/redo.h"
#include "simulation.h"

#include <inttypes.h>
#include <string.h>

void machine_boot(struct node *node)
{
	struct rng *rng = &node->sim->rng;

	draw_id(rng, &node->boot);
	node->clock.offset = rng_range(rng, SEC, 1000 * SEC) - node->sim->scheduler.now;
}

void machine_sync_map(struct node *node)
{
	memcpy(node->map_synced, node->map, node->map_bytes);
	memcpy(node->map_former, node->map, node->map_bytes);
}

void machine_sync_first_page(struct node *node)
{
	memcpy(node->map_synced, node->map, PAGE);
	memcpy(node->map_former, node->map, PAGE);
}

// What a power failure leaves of a mapped file: each page as it was at some
// moment since it was synced, some of them torn.
void machine_tear_map(struct node *node)
{
	struct rng *rng = &node->sim->rng;
	size_t unit = rng_chance(rng, 1, 2) ? PAGE : SECTOR;
	unsigned mode = (unsigned)rng_below(rng, 4);

	for (size_t at = 0; at < node->map_bytes; at += unit) {
		unsigned pick = mode < 3 && rng_chance(rng, 7, 8) ? mode : (unsigned)rng_below(rng, 3);

		if (pick == 1)
			memcpy(node->map + at, node->map_former + at, unit);
		else if (pick == 2)
			memcpy(node->map + at, node->map_synced + at, unit);
	}
	machine_sync_map(node);
}

void node_snapshot_map(struct node *node)
{
	memcpy(node->map_former, node->map, node->map_bytes);
}

void machine_deafen(struct node *node, bool dead)
{
	for (unsigned v = 0; v < node->sim->plan.volume_count; v++)
		node->volumes[v].dead = dead;
	node->state_disk.dead = node->journal.dead = node->spill.dead = node->intent.dead = node->redo_log.dead = dead;
}

void machine_lose(struct node *node, enum sim_loss loss)
{
	for (unsigned v = 0; v < node->sim->plan.volume_count; v++)
		sim_disk_crash(&node->volumes[v], loss);
	sim_disk_crash(&node->state_disk, loss);
	sim_disk_crash(&node->journal, loss);
	sim_disk_crash(&node->spill, loss);
	sim_disk_crash(&node->intent, loss);
	sim_disk_crash(&node->redo_log, loss);
}

static void watch_disk(const struct sim_disk *disk, const struct disk_io *io, const char *what, int error)
{
	static const char *const ops[] = {"read", "write", "zero", "flush"};
	const struct node *node = disk->watcher;

	trace(node->sim, "node %u %s %s %" PRIu64 "+%" PRIu64 " flags %u %s%s%s", node->index, disk->name, ops[io->op],
	      io->offset, io->length, io->flags, what, error ? ": " : "", error ? strerror(-error) : "");
}

static void init_disk(struct node *node, struct sim_disk *disk, const char *name, uint64_t size, uint32_t align)
{
	struct rng *rng = &node->sim->rng;

	sim_disk_init(disk, &node->sim->scheduler, rng, size, align);
	disk->name = name;
	disk->watcher = node;
	if (node->sim->trace)
		disk->watch = watch_disk;
	disk->latency_min = rng_scale(rng, 2 * USEC, 500 * USEC);
	if (rng_chance(rng, 1, 6))
		disk->latency_min = rng_scale(rng, MSEC, 16 * MSEC);
	disk->latency_max = disk->latency_min * rng_range(rng, 1, 40);
	disk->stall = rng_chance(rng, 1, 2) ? (unsigned)rng_scale(rng, 8, 400) : 0;
	disk->has_zero = rng_chance(rng, 3, 4);
	disk->has_unmap = disk->has_zero && rng_chance(rng, 3, 4);
	disk->tells_holes = rng_chance(rng, 3, 4);
}

static uint64_t redo_log_bytes_of(const struct plan *plan)
{
	struct pair_state state = {.volume_count = plan->volume_count};

	for (unsigned v = 0; v < plan->volume_count; v++)
		state.volumes[v].bytes = plan->volume_bytes[v];
	return redo_log_bytes(&state, plan->region_blocks);
}

void machine_init(struct node *node)
{
	const struct plan *plan = &node->sim->plan;
	struct simulation *sim = node->sim;
	static const char *const names[] = {"volume 0", "volume 1", "volume 2"};
	unsigned index = node->index;
	uint32_t align = plan->align[index];

	sim_clock_init(&node->clock, &sim->scheduler);
	node->clock.wall = INT64_C(1700000000) * (int64_t)SEC + (int64_t)rng_below(&sim->rng, 10 * SEC);
	node->clock.lateness = rng_chance(&sim->rng, 1, 2) ? rng_scale(&sim->rng, USEC, 20 * MSEC) : 0;
	machine_boot(node);
	for (unsigned v = 0; v < plan->volume_count; v++) {
		init_disk(node, &node->volumes[v], names[v], (plan->volume_bytes[v] + align - 1) / align * align,
		          align);
		node->volume_list[v] = &node->volumes[v];
		node->volumes[v].disk.streams = !plan->read_beside[index];
		node->volumes[v].refuses_unmap = plan->refuses_unmap[index];
		sim_disk_cached(&node->volumes[v], sim->seed ^ rng_mix(index * MODEL_VOLUMES + v),
		                plan->read_beside[index]);
		if ((plan->theme == THEME_GIVING_UP && index == 0) || // so that an epoch comes bit by bit
		    (plan->theme == THEME_BACKLOG && index == 1)) {
			node->volumes[v].latency_min = MSEC;
			node->volumes[v].latency_max = rng_scale(&sim->rng, 10 * MSEC, 80 * MSEC);
		}
	}
	init_disk(node, &node->state_disk, "state", SLOTS_BYTES, 4096);
	init_disk(node, &node->journal, "journal", plan->journal_bytes, 4096);
	// Records in flight outlive the epoch that they belong to.
	if (plan->slow_journal) {
		node->journal.latency_min = MSEC;
		node->journal.latency_max = rng_scale(&sim->rng, 2 * MSEC, 500 * MSEC);
		node->journal.stall = (unsigned)rng_scale(&sim->rng, 4, 32);
	}
	init_disk(node, &node->spill, "spill", plan->spill_bytes, 4096);
	init_disk(node, &node->intent, "intent",
	          source_intent_bytes(plan->volume_count, plan->volume_bytes, plan->region_blocks), 4096);
	init_disk(node, &node->redo_log, "redo log", redo_log_bytes_of(plan), 4096);
	node->map_bytes = (source_map_bytes(plan->volume_count, plan->volume_bytes) + PAGE - 1) / PAGE * PAGE;
	node->map = aligned_alloc(PAGE, node->map_bytes);
	if (!node->map)
		abort();
	memset(node->map, 0, node->map_bytes);
	node->map_former = allocate(node->map_bytes);
	node->map_synced = allocate(node->map_bytes);
	node->map_left = allocate(node->map_bytes);
	node->sink_map = aligned_alloc(PAGE, node->map_bytes);
	if (!node->sink_map)
		abort();
}

void machine_done(struct node *node)
{
	for (unsigned v = 0; v < node->sim->plan.volume_count; v++)
		sim_disk_done(&node->volumes[v]);
	sim_disk_done(&node->state_disk);
	sim_disk_done(&node->journal);
	sim_disk_done(&node->spill);
	sim_disk_done(&node->intent);
	sim_disk_done(&node->redo_log);
	sim_clock_done(&node->clock);
	free(node->map);
	free(node->map_former);
	free(node->map_synced);
	free(node->map_left);
	free(node->sink_map);
}
