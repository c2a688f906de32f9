// SPDX-License-Identifier: Apache-2.0
#include "simulation.h"

#include "memory.h"
#include "stamp.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define STEPS_MAX 400000
#define BUSY_MAX (120 * SEC) // of virtual time, while the application works
#define ROLES_MAX (600 * SEC) // where they exchange roles
#define HEAL_MAX (900 * SEC) // and after it has ended
#define POLL (100 * MSEC)

void violate(struct simulation *sim, const char *format, ...)
{
	va_list args;

	if (sim->violated)
		return;
	sim->violated = true;
	va_start(args, format);
	vsnprintf(sim->violation, sizeof(sim->violation), format, args);
	va_end(args);
	trace(sim, "VIOLATION %s", sim->violation);
}

void trace(struct simulation *sim, const char *format, ...)
{
	va_list args;

	if (!sim->trace)
		return;
	printf("%7" PRIu64 " %12.6f ", sim->scheduler.steps, (double)sim->scheduler.now / 1e9);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
}

struct model *model_of(const struct node *node)
{
	return &node->generation->model;
}

// What a standby says it has, it has.
static void sent_welcome(struct simulation *sim, const struct frame *frame)
{
	struct wire_welcome *welcome = allocate(sizeof(*welcome));
	struct generation *generation;

	if (wire_get_welcome(frame, welcome) == 0 && welcome->hello.role == ROLE_STANDBY && !welcome->hello.returned) {
		generation = generation_find(sim, &welcome->hello.lineage.generation);
		if (generation && welcome->hello.epoch > generation->claimed)
			generation->claimed = welcome->hello.epoch;
	}
	free(welcome);
}

// Whether the primary has to find out what differs.
static bool may_compare(const struct simulation *sim, const struct node *node)
{
	return !sim->nodes[0].synced || sim->errors ||
	       !generation_differs_by_changes(node->generation, sim->nodes[!node->index].follows);
}

// An epoch that makes a former primary follow holds what was changed since, and
// what the other held beyond, and no more.
static void check_adopting(const struct node *node, const struct frame *frame)
{
	const struct generation *primary = node->generation, *standby = node->sim->nodes[!node->index].follows;
	uint64_t grains = BLOCK_SIZE / node->sim->plan.grain_bytes;
	const struct cut *left;
	struct wire_blocks blocks;

	if (!node->adopts || primary->parent != standby || may_compare(node->sim, node) ||
	    wire_get_blocks(frame, &blocks) < 0)
		return;
	left = model_find_cut(&standby->model, primary->lineage.ancestors[0].epoch);
	for (uint32_t i = 0; i < blocks.extent_count; i++) {
		struct extent extent = blocks_extent(&blocks, i);

		for (uint64_t block = extent.first; block < extent.first + extent.count; block++)
			if (!model_changed(&primary->model, blocks.volume, block * grains, grains, 0) &&
			    !model_changed(&standby->model, blocks.volume, block * grains, grains,
			                   left ? left->moment : 0)) {
				violate(node->sim,
				        "G7: node %u sends block %" PRIu64 " of volume %u, which nobody changed",
				        node->index, block, blocks.volume);
				return;
			}
	}
}

static void frame_sent(void *user, unsigned host, const struct frame *frame)
{
	struct simulation *sim = user;
	struct node *node = &sim->nodes[host];
	struct wire_begin begin;

	trace(sim, "node %u sends %s %u bytes", host, frame_type_name(frame->type), frame->length);
	if (frame->type == FRAME_COMPARE && !may_compare(sim, node))
		violate(sim, "G10: node %u compares, though it is known what differs", host);
	if (frame->type == FRAME_COMPARE && sim->nodes[0].synced)
		node->generation->tainted = true; // until it has ended, it may be done again
	if (frame->type == FRAME_BEGIN && wire_get_begin(frame, &begin) == 0)
		node->adopts = begin.adopts;
	if (frame->type == FRAME_BEGIN && node->adopts && sim->plan.roles)
		faults_adopting(sim);
	if (frame->type == FRAME_BLOCKS)
		check_adopting(node, frame);
	faults_sent(sim, frame->type);
	if (frame->type == FRAME_WELCOME)
		sent_welcome(sim, frame);
}

// The rule of a split brain: the older one stops serving.
static bool gives_way(const struct pair_state *mine, const struct wire_hello *peers)
{
	if (mine->born != peers->born)
		return mine->born < peers->born;
	return memcmp(&mine->lineage.generation, &peers->lineage.generation, sizeof(struct id)) < 0;
}

// A primary that hears of a newer generation knows it from now on.
static void heard(struct node *node, const struct wire_hello *hello)
{
	struct standing mine = {
	        .role = ROLE_PRIMARY, .lineage = node->state.lineage, .born = node->state.born, .epoch = NEVER / 4};
	struct standing peers = wire_standing(hello, true);
	enum verdict verdict;

	if (!node->source || hello->role != ROLE_PRIMARY)
		return;
	verdict = lineage_judge(&mine, &peers);
	node->told_touched = !hello->untouched;
	if (verdict == VERDICT_FENCED || (verdict == VERDICT_SPLIT_BRAIN && gives_way(&node->state, hello)))
		node->told_newer = true;
}

static void frame_arrived(void *user, unsigned host, const struct frame *frame)
{
	struct simulation *sim = user;
	struct wire_welcome *welcome;
	struct wire_blocks blocks;
	struct wire_begin begin;

	trace(sim, "node %u gets %s", host, frame_type_name(frame->type));
	if (frame->type == FRAME_BEGIN && wire_get_begin(frame, &begin) == 0 && begin.kind == EPOCH_DIRECT)
		sim->nodes[host].promotable = false;
	if (frame->type == FRAME_BLOCKS && sim->plan.plain[host] && wire_get_blocks(frame, &blocks) == 0 &&
	    blocks.codec == CODEC_ZSTD)
		violate(sim, "node %u gets content packed with zstd, which it does not know", host);
	if (frame->type != FRAME_WELCOME)
		return;
	welcome = allocate(sizeof(*welcome));
	if (wire_get_welcome(frame, welcome) == 0)
		heard(&sim->nodes[host], &welcome->hello);
	free(welcome);
}

// Content that was there before: on the primary, and perhaps on the standby,
// alike or not.
static void preset(struct simulation *sim)
{
	const struct plan *plan = &sim->plan;
	struct model *model = &sim->generations[0]->model;
	uint8_t grain[512];

	for (unsigned v = 0; v < plan->volume_count; v++) {
		uint32_t number =
		        plan->has_content ? model_submit(model, WRITE_DATA, v, 0, model->grain_count[v], true) : 0;
		uint64_t hole = rng_below(&sim->rng, model->grain_count[v]); // nothing there up to here

		if (number)
			model_complete(model, number, false, 0); // holds where it is found below
		for (uint64_t i = 0; i < model->grain_count[v]; i++) {
			uint64_t offset = i * plan->grain_bytes;

			stamp_fill(grain, plan->grain_bytes, number, v, i);
			if (number && i >= hole)
				sim_disk_preset(&sim->nodes[0].volumes[v], offset, grain, plan->grain_bytes);
			if (plan->seeded == 1 && i >= hole && !rng_chance(&sim->rng, 1, 100))
				sim_disk_preset(&sim->nodes[1].volumes[v], offset, grain, plan->grain_bytes);
			if (plan->seeded == 2 && rng_chance(&sim->rng, 1, 16)) {
				stamp_fill(grain, plan->grain_bytes, 0x7fffffff, v, i);
				sim_disk_preset(&sim->nodes[1].volumes[v], offset, grain, plan->grain_bytes);
			}
		}
	}
	model_rebase(model, sim->nodes[0].volume_list);
}

static void check_disks(struct simulation *sim)
{
	for (unsigned i = 0; i < 2; i++) {
		struct node *node = &sim->nodes[i];
		struct sim_disk *all[MODEL_VOLUMES + 5] = {&node->state_disk, &node->journal, &node->spill,
		                                           &node->intent, &node->redo_log};

		for (unsigned v = 0; v < sim->plan.volume_count; v++)
			all[5 + v] = &node->volumes[v];
		for (unsigned d = 0; d < 5 + sim->plan.volume_count; d++)
			if (all[d]->misused)
				violate(sim, "disk %u of node %u: %s", d, i, all[d]->misused);
	}
	if (sim->network.misused)
		violate(sim, "network: %s", sim->network.misused);
}

static void check_fence(struct simulation *sim)
{
	for (unsigned i = 0; i < 2; i++) {
		struct node *node = &sim->nodes[i];
		struct source_status status;

		if (!node->told_newer || !node->source)
			continue;
		source_status(node->source, &status);
		if (status.serving || node->serving)
			violate(sim, "G5: node %u serves though it was told of a newer generation", i);
	}
}

// The lag that is reported is never less than what a disaster would lose.
static void check_lag(struct node *node)
{
	struct simulation *sim = node->sim;
	struct source_status *status;
	uint64_t oldest, age;

	if (!node->source || node->stopping || node->fenced || node->generation->rolled)
		return;
	oldest = model_oldest_behind(model_of(node), node->generation->claimed);
	if (oldest == NEVER)
		return;
	status = resize(NULL, sizeof(*status));
	source_status(node->source, status);
	age = sim->scheduler.now - oldest;
	if (status->lag < age)
		violate(sim, "lag: node %u says %" PRIu64 " ns, a write acknowledged %" PRIu64 " ns ago is not durable",
		        node->index, status->lag, age);
	free(status);
}

static bool alike(struct simulation *sim)
{
	uint8_t pages[2][PAGE];

	for (unsigned v = 0; v < sim->plan.volume_count; v++) {
		for (uint64_t at = 0; at < sim->plan.volume_bytes[v]; at += PAGE) {
			uint64_t length = sim->plan.volume_bytes[v] - at < PAGE ? sim->plan.volume_bytes[v] - at : PAGE;

			sim_disk_read(&sim->nodes[0].volumes[v], at, pages[0], length);
			sim_disk_read(&sim->nodes[1].volumes[v], at, pages[1], length);
			if (memcmp(pages[0], pages[1], length)) {
				violate(sim, "G4: nothing is behind, but volume %u differs in block %" PRIu64, v,
				        at / PAGE);
				return false;
			}
		}
	}
	return true;
}

// The node that serves, or would.
static struct node *primary_of(struct simulation *sim)
{
	return &sim->nodes[sim->plan.roles && !sim->nodes[0].source ? 1 : 0];
}

static bool in_step(struct simulation *sim)
{
	struct node *primary = primary_of(sim), *standby = &sim->nodes[!primary->index];
	struct source_status *source = resize(NULL, sizeof(*source));
	struct sink_status *sink = resize(NULL, sizeof(*sink));
	bool all = false;

	if (primary->source && standby->sink && standby->opened && primary->serving) {
		source_status(primary->source, source);
		sink_status(standby->sink, sink);
		all = source->state == SOURCE_STATE_REPLICATING && source->connected && !source->lag &&
		      !source->bytes_behind && !source->syncing && sink->promotable && sink->applied == sink->durable;
		// One of them may not know yet that its connection is gone.
		if (sim->plan.roles)
			all = all && !primary->redoing && sink->connected && !sink->returned &&
			      standby->follows == primary->generation;
		for (unsigned v = 0; v < sim->plan.volume_count; v++)
			all = all && !source->volume_dirty[v];
	}
	free(source);
	free(sink);
	return all;
}

static void stuck(struct simulation *sim)
{
	struct node *primary = primary_of(sim), *standby = &sim->nodes[!primary->index];
	struct source_status *source = allocate(sizeof(*source));
	struct sink_status *sink = allocate(sizeof(*sink));

	if (primary->source)
		source_status(primary->source, source);
	if (standby->sink && standby->opened)
		sink_status(standby->sink, sink);
	violate(sim,
	        "G4: the nodes do not come together: node %u: source %d serving %d state %d reason %s connected %d open %" PRIu64
	        " durable %" PRIu64 " lag %" PRIu64 " behind %" PRIu64 "; sink %d opened %d failed %s durable %" PRIu64
	        " applied %" PRIu64 " promotable %d",
	        primary->index, primary->source != NULL, primary->serving, (int)source->state,
	        source->reason ? source->reason : "none", source->connected, source->open, source->durable, source->lag,
	        source->bytes_behind, standby->sink != NULL, standby->opened, sink->failed ? sink->failed : "no",
	        sink->durable, sink->applied, sink->promotable);
	free(source);
	free(sink);
}

// After a promotion: the old primary has learned of it, the new one serves.
static bool settled(struct simulation *sim)
{
	return sim->nodes[0].source && sim->nodes[0].fenced && sim->nodes[0].fence_durable && sim->nodes[1].source &&
	       sim->nodes[1].serving && !sim->nodes[1].redoing;
}

static bool over(struct simulation *sim)
{
	char why[512];

	if (!workload_idle(&sim->nodes[0].workload) || !workload_idle(&sim->nodes[1].workload))
		return false;
	if (!sim->promoted || sim->plan.roles) {
		struct node *primary = primary_of(sim);

		if (!in_step(sim))
			return false;
		if (alike(sim) &&
		    !model_check_now(model_of(primary), sim->nodes[!primary->index].volume_list, why, sizeof(why)))
			violate(sim, "G4: in step, but %s", why);
		probe(sim, LOSS_POWER);
		return true;
	}
	if (!settled(sim))
		return false;
	for (unsigned i = 0; i < 2; i++)
		if (!model_check_now(model_of(&sim->nodes[i]), sim->nodes[i].volume_list, why, sizeof(why)))
			violate(sim, "content of node %u: %s", i, why);
	return true;
}

static void run_poll(struct event *event)
{
	struct simulation *sim = (struct simulation *)((char *)event - offsetof(struct simulation, poll));

	// What a disk error has stopped, an administrator starts again.
	for (unsigned i = 0; i < 2; i++) {
		struct node *node = &sim->nodes[i];

		if (node->sink && node->opened && !node->stopping && sim->errors) {
			struct sink_status *status = resize(NULL, sizeof(*status));

			sink_status(node->sink, status);
			if (status->failed)
				node_restart(node, false);
			free(status);
		}
	}
	if (sim->healing && sim->plan.roles)
		admin_heal(sim);
	sim->polled = true;
	scheduler_add(&sim->scheduler, event, POLL);
}

static void after_step(struct simulation *sim)
{
	stores_reap(sim);
	check_disks(sim);
	check_fence(sim);
	if (sim->probe_due || rng_chance(&sim->rng, 1, sim->plan.probe_steps)) {
		sim->probe_due = false;
		check_lag(&sim->nodes[0]);
		if (sim->plan.roles)
			check_lag(&sim->nodes[1]);
		probe(sim, rng_chance(&sim->rng, 1, 2) ? LOSS_POWER : LOSS_PROCESS);
	}
}

static void trace_plan(struct simulation *sim)
{
	static const char *const themes[] = {"calm",    "mixed",    "giving-up",  "slow-sync", "primary-power",
	                                     "backlog", "failback", "switchover", "split",     "rollback"};
	const struct plan *plan = &sim->plan;

	trace(sim,
	      "plan %s: %u volumes of %" PRIu64 ", %" PRIu64 ", %" PRIu64 " bytes, align %u and %u, rpo %" PRIu64
	      " us, bandwidth %" PRIu64 ", memory %" PRIu64 ", spill %" PRIu64 ", journal %" PRIu64
	      ", %u clients, %" PRIu64 " requests, at most %u faults",
	      themes[plan->theme], plan->volume_count, plan->volume_bytes[0], plan->volume_bytes[1],
	      plan->volume_bytes[2], plan->align[0], plan->align[1], plan->rpo / USEC, plan->bandwidth,
	      plan->capture_memory, plan->spill_bytes, plan->journal_bytes, plan->clients, plan->requests,
	      plan->faults_max);
}

static void setup(struct simulation *sim)
{
	plan_draw(&sim->plan, sim->seed, &sim->rng);
	if (!sim->plan.roles)
		plan_tighten(&sim->plan, sim->seed);
	plan_pack(&sim->plan, sim->seed);
	plan_stores(&sim->plan, sim->seed);
	plan_devices(&sim->plan, sim->seed);
	trace_plan(sim);
	scheduler_init(&sim->scheduler, &sim->rng);
	network_init(&sim->network, &sim->scheduler, &sim->rng);
	sim->network.packing = sim->plan.packing;
	sim->network.sent = frame_sent;
	sim->network.arrived = frame_arrived;
	sim->network.user = sim;
	for (unsigned i = 0; i < 2; i++)
		node_init(&sim->nodes[i], sim, i);
	preset(sim);
	faults_start(sim);
	sim->poll.run = run_poll;
	scheduler_add(&sim->scheduler, &sim->poll, POLL);
	node_start_later(&sim->nodes[0], rng_below(&sim->rng, 10 * MSEC));
	node_start_later(&sim->nodes[1], rng_below(&sim->rng, 10 * MSEC));
	if (sim->plan.roles)
		admin_start(sim);
}

// The application has done its work, and the roles have changed often enough.
static bool worked(const struct simulation *sim)
{
	uint64_t max = sim->plan.roles ? ROLES_MAX : BUSY_MAX;

	return (sim->requests >= sim->plan.requests && sim->changes >= sim->plan.changes) || sim->scheduler.now > max ||
	       (sim->plan.roles && sim->scheduler.steps > STEPS_MAX / 4);
}

static void run(struct simulation *sim)
{
	uint64_t heal_at = 0;

	while (!sim->violated) {
		uint64_t now = sim->scheduler.now;

		if (!sim->healing && worked(sim)) {
			trace(sim, "everything is mended");
			sim->healing = true;
			heal_at = now;
			faults_heal(sim);
		}
		if (sim->healing && sim->polled && over(sim))
			return;
		sim->polled = false;
		if (sim->healing && now > heal_at + HEAL_MAX)
			stuck(sim);
		else if (sim->scheduler.steps > STEPS_MAX)
			violate(sim, "the run does not end");
		else if (!scheduler_step(&sim->scheduler))
			violate(sim, "nothing is pending");
		else
			after_step(sim);
	}
}

static void teardown(struct simulation *sim)
{
	for (unsigned i = 0; i < 2; i++)
		node_done(&sim->nodes[i]);
	admin_done(sim);
	generations_done(sim);
	network_done(&sim->network);
	scheduler_done(&sim->scheduler);
}

bool simulate(uint64_t seed, bool tracing, char *violation, size_t size, struct run_figures *figures)
{
	struct simulation *sim = allocate(sizeof(*sim));
	bool clean;

	sim->seed = seed;
	sim->trace = tracing;
	rng_seed(&sim->rng, seed);
	stores_watch(sim);
	setup(sim);
	run(sim);
	clean = !sim->violated;
	snprintf(violation, size, "%s", sim->violation);
	figures->steps = sim->scheduler.steps;
	figures->roles = sim->plan.roles;
	figures->changes = sim->changes;
	teardown(sim);
	free(sim);
	return clean;
}
