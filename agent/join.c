// SPDX-License-Identifier: Apache-2.0
// The primary's half of pairing:
//
//   check volumes, write the state ─► dial, JOIN ─► JOINED ─► write the configuration ─► start
//
// The configuration comes last: it is what makes the pair exist, so a node that
// fails in between has no pair and tries again with another token.
#include "export.h"
#include "join_impl.h"
#include "pair.h"
#include "pair_files.h"

#include "common/daemon.h"
#include "common/log.h"
#include "common/pairs.h"
#include "common/request.h"
#include "common/token.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SERVE_SECONDS 15 // to wait for the pair to serve, before the reply goes out anyway

static void finish(struct join *join)
{
	struct agent *agent = join->agent;

	TAILQ_REMOVE(&agent->joins, join, entry);
	OPENSSL_cleanse(&join->token, sizeof(join->token));
	free(join);
	agent_settle(agent);
}

// -- the end, good or bad --

static void work(struct join *join, void (*what)(struct job *job), void (*done)(struct job *job))
{
	join->working = true;
	join->job.work = what;
	join->job.done = done;
	if (job_start(join->agent->loop, &join->job) < 0) {
		what(&join->job);
		done(&join->job);
	}
}

static struct join *of_job(struct job *job)
{
	return (struct join *)((char *)job - offsetof(struct join, job));
}

static void undo_work(struct job *job)
{
	struct join *join = of_job(job);

	if (join->prepared)
		(void)pair_erase(&join->agent->paths, join->config.name, NULL);
}

static void undo_done(struct job *job)
{
	struct join *join = of_job(job);

	log_event(LOG_LEVEL_ERROR, "join-failed", "pair=%s reason=%s", join->config.name, join->reason.text);
	control_refuse(join->call, join->reason.text);
	finish(join);
}

static void failed_links_stopped(void *user)
{
	struct join *join = user;

	join->links = NULL;
	work(join, undo_work, undo_done);
}

// reason is set.
void join_give_up(struct join *join)
{
	join->aborted = true;
	clock_cancel(loop_clock(join->agent->loop), &join->timer);
	if (join->channel)
		channel_close(join->channel);
	join->channel = NULL;
	if (join->links)
		link_thread_stop(join->links, failed_links_stopped, join);
	else
		work(join, undo_work, undo_done);
}

static json_t *volumes_json(struct pair *pair)
{
	const struct pair_config *config = pair_config(pair);
	json_t *volumes = json_array();

	for (unsigned i = 0; i < config->volume_count; i++) {
		char device[PATHS_MAX];

		json_array_append_new(volumes, json_pack("{s:s,s:s,s:I,s:s,s:s}", "name", config->volumes[i].name,
		                                         "path", config->volumes[i].path, "bytes",
		                                         (json_int_t)pair_volume_bytes(pair, i), "export",
		                                         export_name(config->volumes[i].export), "device",
		                                         pair_device(pair, i, device)));
	}
	return volumes;
}

static void started(void *user, int error, const struct error *reason)
{
	struct join *join = user;
	struct pair *pair = pair_find(join->agent, join->config.name);

	if (error == -EINPROGRESS)
		error = 0; // the pair is made; status says what it waits for
	if (error < 0 || !pair)
		control_refuse(join->call, error < 0 ? reason->text : "the pair was removed meanwhile");
	else
		control_reply(join->call, json_pack("{s:s,s:s,s:o}", "pair", join->config.name, "peer",
		                                    join->config.peer, "volumes", volumes_json(pair)));
	finish(join);
}

static void joined_links_stopped(void *user)
{
	struct join *join = user;
	struct pair *pair = join->agent->stopping ? NULL : pair_start(join->agent, join->config.name);

	join->links = NULL;
	log_event(LOG_LEVEL_INFO, "joined", "pair=%s peer=%s", join->config.name, join->config.peer);
	join->waiting = true;
	if (!pair || pair_await(pair, SERVE_SECONDS, join, started) < 0) {
		struct error reason;

		fail(&reason, ESHUTDOWN, "pair %s is made, but the agent is stopping or out of memory",
		     join->config.name);
		started(join, -ESHUTDOWN, &reason);
	}
}

static void commit_work(struct job *job)
{
	struct join *join = of_job(job);

	join->result = pair_commit(&join->agent->paths, &join->config, &join->reason);
}

static void commit_done(struct job *job)
{
	struct join *join = of_job(job);

	join->working = false;
	if (join->result < 0) {
		join_give_up(join);
	} else {
		join->prepared = false; // to be kept
		link_thread_stop(join->links, joined_links_stopped, join);
	}
}

void join_commit(struct join *join)
{
	work(join, commit_work, commit_done);
}

// -- the beginning --

// A pair whose volumes cannot be used as they are asked for is not made.
static int check_exports(struct join *join)
{
	struct error why;
	int result = 0;

	for (unsigned i = 0; !result && i < join->config.volume_count; i++) {
		const struct config_volume *volume = &join->config.volumes[i];

		if (export_probe(volume->export, &why) < 0)
			result = fail(&join->reason, ENODEV, "export %s: %s", volume->name, why.text);
	}
	return result;
}

static void prepare_work(struct job *job)
{
	struct join *join = of_job(job);
	struct pair_state *state = &join->state;
	uint64_t bytes[VOLUMES_MAX] = {0};
	const char *name = join->config.name;

	if (pair_exists(&join->agent->paths, name)) {
		join->result = fail(&join->reason, EEXIST,
		                    "pair %s exists on this node; remove it first: stead pair remove %s", name, name);
		return;
	}
	join->result = pair_check_volumes(&join->agent->paths, name, join->config.volumes, join->config.volume_count,
	                                  bytes, false, &join->reason);
	if (!join->result)
		join->result = check_exports(join);
	if (join->result < 0)
		return;
	state->pair = id_random(daemon_random, NULL);
	state->role = ROLE_PRIMARY;
	state->lineage.generation = id_random(daemon_random, NULL);
	memcpy(state->peer_key, join->token.fingerprint, sizeof(state->peer_key));
	state->consistent = true;
	state->volume_count = join->config.volume_count;
	for (unsigned i = 0; i < state->volume_count; i++) {
		memcpy(state->volumes[i].name, join->config.volumes[i].name, sizeof(state->volumes[i].name));
		state->volumes[i].bytes = bytes[i];
	}
	join->result = pair_prepare(&join->agent->paths, name, state, &join->reason);
	join->prepared = join->result != -EEXIST;
	if (!join->result)
		join->result = pair_files_reserve(&join->agent->paths, name, state, &join->reason);
}

static void prepare_done(struct job *job)
{
	struct join *join = of_job(job);

	join->working = false;
	if (join->result < 0 || join->aborted)
		join_give_up(join);
	else
		join_talk(join);
}

static int parse(struct join *join, json_t *request)
{
	struct error *err = &join->reason;
	struct pair_config *config = &join->config;
	const char *text = control_text(request, "token", err), *export = NULL;
	enum export_kind kind = EXPORT_AUTO;
	int result;

	if (!text)
		return -EINVAL;
	config_init(config);
	result = token_decode(text, (int64_t)time(NULL), &join->token, err);
	if (!result)
		result = request_volumes(request, config, err);
	if (!result)
		result = request_listen(request, config, err);
	if (!result)
		result = request_duration(request, "rpo_ns", &config->rpo, err);
	if (!result)
		result = request_duration(request, "rto_ns", &config->rto, err);
	if (!result && json_object_get(request, "export")) {
		export = control_text(request, "export", err);
		result = export ? export_parse(export, &kind, err) : -EINVAL;
	}
	if (result < 0)
		return result;
	for (unsigned i = 0; i < config->volume_count; i++)
		config->volumes[i].export = kind;
	snprintf(config->name, sizeof(config->name), "%s", join->token.pair);
	snprintf(config->peer, sizeof(config->peer), "%s", join->token.address);
	return config_check(config, err);
}

void join_start(struct agent *agent, struct control_call *call, json_t *request)
{
	struct join *join = calloc(1, sizeof(*join)), *other;

	if (!join) {
		control_refuse(call, "join the pair: out of memory");
		return;
	}
	join->agent = agent;
	join->call = call;
	if (parse(join, request) < 0) {
		control_refuse(call, join->reason.text);
		free(join);
		return;
	}
	TAILQ_FOREACH(other, &agent->joins, entry)
	{
		if (!strcmp(other->config.name, join->config.name)) {
			control_refuse(call, "the pair is just being joined");
			free(join);
			return;
		}
	}
	TAILQ_INSERT_TAIL(&agent->joins, join, entry);
	work(join, prepare_work, prepare_done);
}

void joins_abort(struct agent *agent)
{
	struct join *join, *next;

	for (join = TAILQ_FIRST(&agent->joins); join; join = next) {
		next = TAILQ_NEXT(join, entry);
		// A job ends by itself; one that waits for its pair is told by it.
		if (join->aborted || join->waiting)
			continue;
		fail(&join->reason, ESHUTDOWN, "join pair %s: the agent is stopping", join->config.name);
		if (join->working)
			join->aborted = true;
		else if (join->timer.armed)
			join_give_up(join);
	}
}
