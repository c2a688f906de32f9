// SPDX-License-Identifier: Apache-2.0
// What a seed decides before its run begins. Which faults there are differs
// from seed to seed: with all of them at once no run would come far.
#include "simulation.h"

#include <string.h>

// Which seeds exchange roles: the others run as they ran before there was such a thing.
#define ROLES_SALT UINT64_C(0x100003e6)

static uint64_t draw_blocks(const struct plan *plan, struct rng *rng)
{
	if (plan->theme == THEME_GIVING_UP)
		return rng_range(rng, 130, 300);
	if (plan->theme == THEME_SLOW_SYNC)
		return rng_range(rng, 130, 260);
	if (plan->theme >= THEME_FAILBACK)
		return rng_scale(rng, 8, 64);
	return rng_scale(rng, 16, rng_chance(rng, 1, 8) ? 256 : 128);
}

static void draw_volumes(struct plan *plan, struct rng *rng)
{
	static const unsigned counts[] = {1, 2, 2, 2, 2, 3};
	static const uint32_t aligns[] = {512, 512, 4096, 1};

	plan->volume_count = counts[rng_below(rng, 6)];
	plan->grain_bytes = rng_chance(rng, 1, 6) ? 64 : 512;
	plan->align[0] = aligns[rng_below(rng, 4)];
	plan->align[1] = aligns[rng_below(rng, 4)];
	for (unsigned v = 0; v < plan->volume_count; v++) {
		uint64_t blocks = draw_blocks(plan, rng);

		plan->volume_bytes[v] = blocks * BLOCK_SIZE;
		if (rng_chance(rng, 1, 3))
			plan->volume_bytes[v] -=
			        rng_range(rng, 1, BLOCK_SIZE / plan->grain_bytes - 1) * plan->grain_bytes;
	}
	plan->has_content = plan->theme == THEME_SLOW_SYNC || rng_chance(rng, 1, 2);
	plan->seeded = plan->has_content ? (unsigned)rng_below(rng, 3) : 2 * (unsigned)rng_below(rng, 2);
}

static void draw_limits(struct plan *plan, struct rng *rng)
{
	static const uint64_t memory[] = {16 << 10, 64 << 10, 256 << 10, 1 << 20, 16 << 20};
	static const uint64_t spill[] = {0, 16 << 10, 64 << 10, 256 << 10, 4 << 20};
	uint64_t total = 0;

	for (unsigned v = 0; v < plan->volume_count; v++)
		total += plan->volume_bytes[v];
	plan->rpo = rng_scale(rng, 20 * MSEC, 2 * SEC);
	plan->bandwidth = rng_chance(rng, 1, 3) ? rng_scale(rng, 32 << 10, 4 << 20) : 0;
	plan->capture_memory = memory[rng_below(rng, 5)];
	plan->region_blocks = 1U << rng_below(rng, 7);
	plan->spill_bytes = spill[rng_below(rng, 5)];
	// Small, so that the ring goes round often, but an epoch always fits.
	plan->journal_bytes = ((384 << 10) + total * 5 / 4 + rng_below(rng, 2 * total)) / PAGE * PAGE;
	// Little memory makes small records, which are written while the epoch still comes.
	plan->apply_memory = rng_scale(rng, 320 << 10, 4 << 20);
	plan->start_without_peer = rng_chance(rng, 1, 4);
}

static void draw_workload(struct plan *plan, struct rng *rng)
{
	plan->clients = (unsigned)rng_range(rng, 1, rng_chance(rng, 1, 4) ? CLIENTS_MAX : 5);
	plan->think_max = rng_scale(rng, MSEC, 100 * MSEC);
	plan->hot_blocks = (unsigned)rng_scale(rng, 1, 32);
	plan->grains_max = (unsigned)rng_scale(rng, 1, 32) * 512 / plan->grain_bytes;
	plan->requests = rng_scale(rng, 100, 600);
	plan->weights[0] = 20;
	plan->weights[1] = (unsigned)rng_below(rng, 4);
	plan->weights[2] = (unsigned)rng_below(rng, 8);
	plan->weights[3] = (unsigned)rng_below(rng, 4);
	plan->weights[4] = (unsigned)rng_below(rng, 4);
	plan->weights[5] = (unsigned)rng_below(rng, 4);
	plan->weights[6] = rng_chance(rng, 1, 2) ? (unsigned)rng_below(rng, 4) : 0;
}

// A full sync that takes seconds, so that its marks matter, on a standby whose
// power fails.
static void draw_slow_sync(struct plan *plan, struct rng *rng)
{
	plan->bandwidth = rng_scale(rng, 64 << 10, 128 << 10);
	plan->faults_early = true;
	memset(plan->faults, 0, sizeof(plan->faults));
	plan->faults[FAULT_POWER_STANDBY] = 6;
	plan->faults[FAULT_CRASH_STANDBY] = 1;
	plan->faults[FAULT_CUT] = 1;
	plan->faults_max = (unsigned)rng_range(rng, 2, 6);
	plan->fault_gap = rng_range(rng, 1, 3) * SEC;
	plan->think_max = 200 * MSEC;
	plan->requests = 100;
}

// Epochs that are given up again and again when a part of them is in the
// standby's journal, which is slow to write it.
static void draw_giving_up(struct plan *plan, struct rng *rng)
{
	plan->bandwidth = rng_chance(rng, 1, 2) ? rng_scale(rng, 256 << 10, 4 << 20) : 0;
	plan->apply_memory = 320 << 10;
	plan->slow_journal = true;
	plan->rpo = rng_range(rng, 20, 200) * MSEC;
	plan->weights[0] = 60;
	plan->grains_max = (32 << 10) / plan->grain_bytes;
	plan->hot_blocks = 200;
	plan->think_max = rng_range(rng, 5, 30) * MSEC;
	plan->requests = rng_range(rng, 200, 500);
	plan->probe = (unsigned)rng_range(rng, 1, 4);
}

// The primary's power fails just when an epoch is on its way.
static void draw_primary_power(struct plan *plan, struct rng *rng)
{
	plan->faults_early = false;
	plan->faults[FAULT_PARTITION] = plan->faults[FAULT_PAUSE] = 0;
	plan->faults_max = (unsigned)rng_range(rng, 1, 6);
	plan->think_max = rng_scale(rng, MSEC, 20 * MSEC);
	plan->rpo = rng_scale(rng, 20 * MSEC, 200 * MSEC);
}

// A standby whose volumes are slow is promoted with what it has not applied,
// and crashes while it redoes that.
static void draw_backlog(struct plan *plan, struct rng *rng)
{
	memset(plan->faults, 0, sizeof(plan->faults));
	plan->rpo = rng_scale(rng, 20 * MSEC, 200 * MSEC);
	plan->bandwidth = 0;
	plan->clients = (unsigned)rng_range(rng, 4, CLIENTS_MAX);
	plan->think_max = rng_scale(rng, MSEC, 10 * MSEC);
	plan->requests = rng_range(rng, 300, 800);
}

static void draw_faults(struct plan *plan, struct rng *rng)
{
	static const unsigned often[FAULT_MAX] = {
	        [FAULT_CUT] = 4,
	        [FAULT_PARTITION] = 2,
	        [FAULT_SLOW] = 2,
	        [FAULT_CRASH_PRIMARY] = 2,
	        [FAULT_CRASH_STANDBY] = 3,
	        [FAULT_POWER_PRIMARY] = 3,
	        [FAULT_POWER_STANDBY] = 3,
	        [FAULT_RESTART_PRIMARY] = 1,
	        [FAULT_REBOOT_PRIMARY] = 1,
	        [FAULT_RESTART_STANDBY] = 1,
	        [FAULT_PAUSE] = 1,
	        [FAULT_LIMITS] = 1,
	        [FAULT_BLINK] = 2,
	};

	// Spread over about as long as the requests take.
	plan->faults_max = (unsigned)rng_scale(rng, 3, 50);
	plan->fault_gap = plan->requests * plan->think_max / 3 / plan->clients / plan->faults_max + MSEC;
	plan->probe = (unsigned)rng_scale(rng, 2, 24);
	plan->probe_steps = (unsigned)rng_scale(rng, plan->theme == THEME_GIVING_UP ? 1000 : 150, 4000);
	plan->faults_early = rng_chance(rng, 1, 5);
	if (plan->theme == THEME_CALM)
		return;
	for (unsigned i = 0; i < FAULT_MAX; i++)
		plan->faults[i] = rng_chance(rng, 1, 2) ? often[i] : 0;
	plan->slow_journal = rng_chance(rng, 1, 3);
	if (plan->theme == THEME_SLOW_SYNC)
		draw_slow_sync(plan, rng);
	else if (plan->theme == THEME_GIVING_UP)
		draw_giving_up(plan, rng);
	else if (plan->theme == THEME_PRIMARY_POWER)
		draw_primary_power(plan, rng);
	else if (plan->theme == THEME_BACKLOG)
		draw_backlog(plan, rng);
	if (rng_chance(rng, 1, 8))
		plan->faults[FAULT_VOLUME_ERRORS] = 2;
	if (rng_chance(rng, 1, 8))
		plan->faults[FAULT_DISK_FULL] = 2;
	plan->promote = rng_chance(rng, 1, 4) ? (unsigned)rng_scale(rng, 2, 32) : 0;
}

// Small and fast, so that the roles come to change often.
static void draw_roles(struct plan *plan, struct rng *rng)
{
	plan->roles = true;
	plan->rpo = rng_scale(rng, 20 * MSEC, 500 * MSEC);
	plan->bandwidth = 0;
	plan->start_without_peer = rng_chance(rng, 1, 4);
	plan->slow_journal = rng_chance(rng, 1, 12);
	plan->think_max = rng_scale(rng, 4 * MSEC, 200 * MSEC);
	plan->requests = rng_scale(rng, 100, 400);
	plan->changes = (unsigned)rng_range(rng, 3, 14);
	plan->order_gap = rng_scale(rng, 20 * MSEC, 4 * SEC);
	plan->ambush = rng_chance(rng, 2, 3) ? (unsigned)rng_scale(rng, 3, 32) : 0;
	plan->fault_gap = 2 * plan->order_gap;
	plan->faults[FAULT_VOLUME_ERRORS] = 0;
	plan->promote = 0;
}

static void draw_theme(struct plan *plan, uint64_t seed, struct rng *rng)
{
	static const unsigned odds[] = {
	        [THEME_CALM] = 2,      [THEME_MIXED] = 8,         [THEME_GIVING_UP] = 2,
	        [THEME_SLOW_SYNC] = 1, [THEME_PRIMARY_POWER] = 2, [THEME_BACKLOG] = 1,
	};
	static const enum theme exchanges[] = {THEME_FAILBACK, THEME_FAILBACK, THEME_SWITCHOVER, THEME_SWITCHOVER,
	                                       THEME_SPLIT,    THEME_ROLLBACK, THEME_ROLLBACK};
	uint64_t hash = rng_mix(seed ^ ROLES_SALT);
	unsigned pick = (unsigned)rng_below(rng, 16);

	while (pick >= odds[plan->theme])
		pick -= odds[plan->theme++];
	if (hash % 3 == 0)
		plan->theme = exchanges[hash / 3 % 7];
}

void plan_draw(struct plan *plan, uint64_t seed, struct rng *rng)
{
	memset(plan, 0, sizeof(*plan));
	draw_theme(plan, seed, rng);
	draw_volumes(plan, rng);
	draw_limits(plan, rng);
	draw_workload(plan, rng);
	draw_faults(plan, rng);
	if (plan->theme >= THEME_FAILBACK)
		draw_roles(plan, rng);
}

// Drawn apart, so that other runs stay as they are.
void plan_tighten(struct plan *plan, uint64_t seed)
{
	struct rng rng;

	if (seed % 8 != 5)
		return;
	rng_seed(&rng, seed ^ 0x7469676874);
	plan->tight_journal = true;
	plan->in_place = rng_chance(&rng, 3, 4);
	plan->journal_bytes = rng_range(&rng, 18, 64) * PAGE;
	// Epochs of many blocks, which take more than a mark to walk.
	plan->volume_bytes[0] = rng_range(&rng, 100, 256) * BLOCK_SIZE;
	plan->hot_blocks = (unsigned)rng_range(&rng, 20, 200);
	plan->grains_max = (unsigned)rng_scale(&rng, 4 << 10, 64 << 10) / plan->grain_bytes;
	plan->think_max = rng_scale(&rng, 5 * MSEC, 50 * MSEC);
	if (rng_chance(&rng, 2, 3))
		plan->rpo = rng_range(&rng, 2, 10) * SEC;
	if (rng_chance(&rng, 2, 3))
		plan->bandwidth = rng_scale(&rng, 24 << 10, 128 << 10);
	if (plan->theme != THEME_CALM)
		plan->faults[FAULT_PAUSE] = plan->faults[FAULT_PARTITION] = 3;
}

// Drawn apart, too. Such runs differ from the others only in what comes of fewer or
// more bytes on the wire.
void plan_pack(struct plan *plan, uint64_t seed)
{
	struct rng rng;

	if (seed % 8 != 4)
		return;
	rng_seed(&rng, seed ^ 0x7061636b);
	plan->packing = rng_next(&rng) | 1;
	for (unsigned i = 0; i < 2; i++)
		plan->plain[i] = rng_chance(&rng, 1, 6);
}

// Drawn apart, too.
void plan_stores(struct plan *plan, uint64_t seed)
{
	rng_seed(&plan->store_rng, seed ^ 0x73746f726573);
	plan->store_deaths = plan->theme != THEME_CALM && rng_chance(&plan->store_rng, 1, 6);
}

// Drawn apart, too. What others read through a page cache changes nothing for an
// engine that goes past it.
void plan_devices(struct plan *plan, uint64_t seed)
{
	struct rng rng;

	rng_seed(&rng, seed ^ 0x64657669636573);
	for (unsigned i = 0; i < 2; i++) {
		plan->read_beside[i] = rng_chance(&rng, 1, 2) ? (unsigned)rng_range(&rng, 1, 8) : 0;
		plan->refuses_unmap[i] = rng_chance(&rng, 1, 12);
	}
}
