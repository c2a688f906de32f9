// SPDX-License-Identifier: Apache-2.0
#include "workload.h"

#include "memory.h"
#include "simulation.h"
#include "stamp.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define BUFFER_SLACK 4096

enum kind {
	KIND_WRITE,
	KIND_FUA,
	KIND_READ,
	KIND_ZERO,
	KIND_TRIM,
	KIND_FLUSH,
	KIND_ZERO_GRANULES,
	KIND_MAX,
};

struct client {
	struct event think; // pending: the next request is due
	struct workload *workload;
	struct request request;
	bool busy;
	bool fenced; // the node was, before the request
	uint32_t number; // of the write; 0: not a write
	uint64_t first, count; // grains
	uint64_t submitted; // moment
	uint64_t from; // scheduler's time
	uint8_t *buffer;
	size_t capacity;
};

static struct simulation *sim_of(const struct client *client)
{
	return client->workload->node->sim;
}

static void think(struct client *client)
{
	struct simulation *sim = sim_of(client);
	// Slower before the first full sync has ended.
	uint64_t max = sim->plan.think_max * (client->workload->node->synced || sim->promoted ? 1 : 8);
	bool done = sim->requests >= sim->plan.requests; // what comes now is for the exchanges of roles

	// Some requests follow at once, so that bursts come about.
	if (client->workload->active && !client->busy)
		scheduler_add(&sim->scheduler, &client->think,
		              rng_chance(&sim->rng, 1, 3) && !done ? 0 : rng_below(&sim->rng, done ? 32 * max : max));
}

static void check_read(struct client *client)
{
	struct node *node = client->workload->node;
	char why[512];

	if (!model_check_read(model_of(node), client->request.volume, client->first, client->count,
	                      client->request.data, client->submitted, why, sizeof(why)))
		violate(node->sim, "read of node %u: %s", node->index, why);
}

static bool excused(struct client *client, int error)
{
	struct node *node = client->workload->node;

	switch (error) {
	case -EOPNOTSUPP:
		return client->request.flags & REQUEST_FAST;
	case -ESHUTDOWN:
		return !node->serving || node->stopping || node->fenced;
	case -EIO:
		// What is to be redone comes from the journal.
		return node->volumes[client->request.volume].errors > 0 || (node->redoing && node->journal.errors > 0);
	default:
		return false;
	}
}

// A change has happened for the application.
static void acknowledged(struct client *client)
{
	struct node *node = client->workload->node;
	struct generation *generation = node->generation;

	if (generation->sealed)
		violate(node->sim, "node %u was drained, and accepts a write", node->index);
	if (generation->touched == NEVER)
		generation->touched = model_moment(&generation->model);
}

// While a node hands its role over it must not show what its peer may have
// changed already.
static void check_handed(struct client *client)
{
	struct node *node = client->workload->node;
	const struct generation *child = node->sim->nodes[!node->index].generation;

	if (node->generation->handed && child && child->parent == node->generation &&
	    child->touched < client->submitted)
		violate(node->sim, "node %u handed its role over, and answers a read with what is no longer true",
		        node->index);
}

static void answered(struct request *request, int error)
{
	struct client *client = (struct client *)((char *)request - offsetof(struct client, request));
	struct node *node = client->workload->node;
	struct simulation *sim = node->sim;

	trace(sim, "node %u request of client %u done: %d", node->index, (unsigned)(client - client->workload->clients),
	      error);
	if (node->dying)
		return;
	client->busy = false;
	if (error && !excused(client, error))
		violate(sim, "G10: node %u answers a request with %s", node->index, strerror(-error));
	if (!error && client->number && request->op != REQUEST_TRIM)
		acknowledged(client);
	if (!error && client->fenced && request->op != REQUEST_FLUSH && client->number)
		violate(sim, "G5: node %u accepts a write after it was fenced", node->index);
	if (client->number)
		model_complete(model_of(node), client->number, !error, sim->scheduler.now);
	else if (!error && request->op == REQUEST_FLUSH)
		model_flushed(model_of(node), request->volume, client->submitted);
	else if (!error && request->op == REQUEST_READ) {
		check_read(client);
		check_handed(client);
	}
	think(client);
}

static enum kind draw_kind(struct simulation *sim)
{
	unsigned sum = 0;
	uint64_t pick;

	for (unsigned i = 0; i < KIND_MAX; i++)
		sum += sim->plan.weights[i];
	pick = rng_below(&sim->rng, sum);
	for (unsigned i = 0; i < KIND_MAX; i++) {
		if (pick < sim->plan.weights[i])
			return (enum kind)i;
		pick -= sim->plan.weights[i];
	}
	return KIND_WRITE;
}

static void draw_range(struct client *client, enum kind kind)
{
	struct simulation *sim = sim_of(client);
	struct rng *rng = &sim->rng;
	uint64_t block = BLOCK_SIZE / sim->plan.grain_bytes;
	uint64_t granule = 64 * block;
	uint64_t total = model_of(client->workload->node)->grain_count[client->request.volume];
	uint64_t limit = total;

	if (kind == KIND_ZERO_GRANULES) {
		client->first = rng_below(rng, (total + granule - 1) / granule) * granule;
		client->count = rng_chance(rng, 1, 4) ? total - client->first : granule;
	} else {
		if (rng_chance(rng, 2, 3) && sim->plan.hot_blocks * block < total)
			limit = sim->plan.hot_blocks * block;
		client->first = rng_below(rng, limit);
		client->count = rng_scale(rng, 1, rng_chance(rng, 1, 16) ? total : sim->plan.grains_max);
		if (rng_chance(rng, 1, 2)) {
			client->first -= client->first % block;
			client->count = (client->count + block - 1) / block * block;
		}
	}
	if (client->count > total - client->first)
		client->count = total - client->first;
}

static void draw_buffer(struct client *client)
{
	struct simulation *sim = sim_of(client);
	uint64_t bytes = client->count * sim->plan.grain_bytes;
	size_t shift = rng_chance(&sim->rng, 1, 4) ? 512 * rng_below(&sim->rng, 8) + rng_below(&sim->rng, 2) : 0;

	if (client->capacity < bytes + BUFFER_SLACK) {
		free(client->buffer);
		client->capacity = (bytes + BUFFER_SLACK + 4095) / 4096 * 4096;
		client->buffer = aligned_alloc(4096, client->capacity);
		if (!client->buffer)
			abort();
	}
	client->request.data = client->buffer + shift % BUFFER_SLACK;
}

static void fill(struct client *client)
{
	struct simulation *sim = sim_of(client);
	unsigned bytes = sim->plan.grain_bytes;

	for (uint64_t i = 0; i < client->count; i++)
		stamp_fill((uint8_t *)client->request.data + i * bytes, bytes, client->number, client->request.volume,
		           client->first + i);
}

static void draw_request(struct client *client)
{
	static const enum request_op ops[] = {REQUEST_WRITE, REQUEST_WRITE, REQUEST_READ, REQUEST_ZERO,
	                                      REQUEST_TRIM,  REQUEST_FLUSH, REQUEST_ZERO};
	struct simulation *sim = sim_of(client);
	struct request *request = &client->request;
	enum kind kind = draw_kind(sim);

	memset(request, 0, sizeof(*request));
	request->done = answered;
	request->op = ops[kind];
	request->volume = (unsigned)rng_below(&sim->rng, sim->plan.volume_count);
	if (kind == KIND_FUA || (kind != KIND_READ && kind != KIND_FLUSH && rng_chance(&sim->rng, 1, 16)))
		request->flags |= REQUEST_FUA;
	if (request->op == REQUEST_ZERO && rng_chance(&sim->rng, 1, 3))
		request->flags |= rng_chance(&sim->rng, 1, 2) ? REQUEST_NO_HOLE : REQUEST_FAST;
	if (kind == KIND_FLUSH)
		return;
	draw_range(client, kind);
	request->offset = client->first * sim->plan.grain_bytes;
	request->length = client->count * sim->plan.grain_bytes;
	if (request->op == REQUEST_READ || request->op == REQUEST_WRITE)
		draw_buffer(client);
}

static void note(struct client *client)
{
	struct model *model = model_of(client->workload->node);
	const struct request *request = &client->request;
	enum write_kind kind = request->op == REQUEST_WRITE  ? WRITE_DATA
	                       : request->op == REQUEST_ZERO ? WRITE_ZERO
	                                                     : WRITE_TRIM;

	client->number = 0;
	client->submitted = model_moment(model);
	if (request->op == REQUEST_READ || request->op == REQUEST_FLUSH)
		return;
	client->number =
	        model_submit(model, kind, request->volume, client->first, client->count, request->flags & REQUEST_FUA);
	if (kind == WRITE_DATA)
		fill(client);
}

static void run_think(struct event *event)
{
	static const char *const names[] = {"read", "write", "zero", "trim", "flush"};
	struct client *client = (struct client *)event;
	struct node *node = client->workload->node;
	struct simulation *sim = node->sim;

	if (!client->workload->active || sim->healing || !node->source)
		return;
	draw_request(client);
	note(client);
	client->busy = true;
	client->fenced = node->fenced;
	// Most of them come after the first full sync.
	if (node->synced || sim->promoted || rng_chance(&sim->rng, 1, 4))
		sim->requests++;
	trace(sim, "node %u client %u %s #%u volume %u bytes %" PRIu64 "+%" PRIu64 " flags %u", node->index,
	      (unsigned)(client - client->workload->clients), names[client->request.op], client->number,
	      client->request.volume, client->request.offset, client->request.length, client->request.flags);
	source_submit(node->source, &client->request);
}

void workload_init(struct workload *workload, struct node *node, unsigned clients)
{
	workload->node = node;
	workload->count = clients;
	workload->clients = allocate(clients * sizeof(*workload->clients));
	for (unsigned i = 0; i < clients; i++) {
		workload->clients[i].workload = workload;
		workload->clients[i].think.run = run_think;
	}
}

void workload_done(struct workload *workload)
{
	workload_stop(workload);
	for (unsigned i = 0; i < workload->count; i++)
		free(workload->clients[i].buffer);
	free(workload->clients);
	workload->clients = NULL;
	workload->count = 0;
}

void workload_start(struct workload *workload)
{
	workload->active = true;
	for (unsigned i = 0; i < workload->count; i++)
		think(&workload->clients[i]);
}

void workload_stop(struct workload *workload)
{
	workload->active = false;
	for (unsigned i = 0; i < workload->count; i++)
		scheduler_remove(&workload->node->sim->scheduler, &workload->clients[i].think);
}

void workload_crash(struct workload *workload)
{
	workload_stop(workload);
	for (unsigned i = 0; i < workload->count; i++) {
		struct client *client = &workload->clients[i];

		if (client->busy && client->number)
			model_complete(model_of(workload->node), client->number, false, 0);
		client->busy = false;
	}
}

bool workload_idle(const struct workload *workload)
{
	for (unsigned i = 0; i < workload->count; i++)
		if (workload->clients[i].busy)
			return false;
	return true;
}
