// SPDX-License-Identifier: Apache-2.0
#include "restored.h"

#include "memory.h"
#include "simulation.h"
#include "snapshot.h"

#include <stddef.h>
#include <stdlib.h>

#define RESTORED_SALT UINT64_C(0x726573746f7265)
#define TIMES_MAX 6
#define TRIES_MAX 500

static bool serves(const struct node *node)
{
	return node->source && node->serving && !node->stopping && !node->redoing;
}

static void forget(struct restored *restored)
{
	snapshot_drop(restored->files);
	restored->files = NULL;
	restored->tries = 0;
}

static bool behind(const struct node *node, bool *announced)
{
	struct source_status *status = resize(NULL, sizeof(*status));
	bool behind;

	source_status(node->source, status);
	behind = status->bytes_behind;
	*announced = status->announced;
	free(status);
	return behind;
}

// Whether it matters and can be found out: by a run since then of which the
// standby knows.
static bool shows(const struct restored *restored)
{
	const struct node *node = restored->node;
	bool announced;

	if (!behind(node, &announced))
		return false;
	return announced && node->starts > restored->starts;
}

static void restore(struct restored *restored)
{
	struct node *node = restored->node;

	node_crash(node, LOSS_POWER);
	trace(node->sim, "the files of node %u are put back", node->index);
	snapshot_put_files(node, restored->files);
	forget(restored);
	restored->times++;
	node_start_later(node, rng_scale(&restored->rng, MSEC, 20 * MSEC));
}

static void keep(struct restored *restored)
{
	struct node *node = restored->node;
	bool announced;

	if (behind(node, &announced))
		return;
	trace(node->sim, "the files of node %u are kept", node->index);
	restored->files = snapshot_of(node, &restored->rng);
	restored->starts = node->starts;
	node_crash(node, LOSS_PROCESS);
	node_start_later(node, rng_scale(&restored->rng, MSEC, 20 * MSEC));
}

static void run(struct event *event)
{
	struct restored *restored = (struct restored *)((char *)event - offsetof(struct restored, event));
	struct simulation *sim = (struct simulation *)((char *)restored - offsetof(struct simulation, restored));
	struct node *node = restored->node;

	if (sim->healing || (restored->files && ++restored->tries > TRIES_MAX)) {
		forget(restored);
		return;
	}
	if (!serves(node)) {
		// it starts, or is not what it was
	} else if (!restored->files) {
		keep(restored);
	} else if (node->generation != snapshot_generation(restored->files)) {
		forget(restored);
		return;
	} else if (shows(restored)) {
		restore(restored);
		return;
	}
	if (restored->files)
		scheduler_add(&sim->scheduler, event, rng_scale(&restored->rng, 100 * USEC, 5 * MSEC));
}

void restored_init(struct simulation *sim)
{
	struct restored *restored = &sim->restored;

	if (sim->plan.theme != THEME_ROLLBACK || rng_mix(sim->seed ^ RESTORED_SALT) % 2)
		return;
	restored->wanted = true;
	restored->event.run = run;
	rng_seed(&restored->rng, sim->seed ^ RESTORED_SALT);
}

void restored_frame(struct simulation *sim, unsigned host, enum frame_type type)
{
	struct restored *restored = &sim->restored;

	if (!restored->wanted || sim->healing || restored->files || restored->event.slot ||
	    restored->times >= TIMES_MAX || type != FRAME_DURABLE || !serves(&sim->nodes[!host]) ||
	    !rng_chance(&restored->rng, 1, 3))
		return;
	restored->node = &sim->nodes[!host];
	scheduler_add(&sim->scheduler, &restored->event, rng_scale(&restored->rng, 10 * USEC, 20 * MSEC));
}

void restored_done(struct simulation *sim)
{
	scheduler_remove(&sim->scheduler, &sim->restored.event);
	forget(&sim->restored);
}
