// SPDX-License-Identifier: Apache-2.0
#include "volume_accept.h"

#include "pair_impl.h"

#include "common/log.h"
#include "common/pairs.h"
#include "common/state_file.h"
#include "common/volume_guard.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define START_SECONDS 15 // the reply waits for the pair to start

struct accepting {
	struct agent *agent;
	struct control_call *call;
	char pair[NAME_MAX_LENGTH + 1], volume[NAME_MAX_LENGTH + 1];
	struct job job;
	bool running; // the engine has the state
	struct pair_config config; // of a pair that runs
	int result;
	struct error reason;
};

static void finish(struct accepting *accepting)
{
	struct agent *agent = accepting->agent;

	if (accepting->result < 0) {
		control_refuse(accepting->call, accepting->reason.text);
	} else {
		log_event(LOG_LEVEL_WARNING, "volume-accepted", "pair=%s volume=%s", accepting->pair,
		          accepting->volume);
		control_reply(accepting->call, json_pack("{s:s,s:s}", "pair", accepting->pair, "role", "primary"));
	}
	free(accepting);
	agent->busy--;
	agent_settle(agent);
}

// -- a pair that does not run: its files are changed --

static int change_files(struct accepting *accepting)
{
	const struct paths *paths = &accepting->agent->paths;
	struct pair_config config;
	struct pair_state state;
	char path[PATHS_MAX];
	int lock = pair_open(paths, accepting->pair, ROLE_PRIMARY, &config, &state, &accepting->reason), result;

	if (lock == -EREMOTE)
		fail(&accepting->reason, EREMOTE, "pair %s: this node is its standby now", accepting->pair);
	if (lock < 0)
		return lock;
	if (state.redo) {
		result = fail(
		        &accepting->reason, EPERM,
		        "volume %s: what had come before this node was promoted is not in the volumes yet, and would be "
		        "written over it; bring back the disk, or promote the peer and pair anew",
		        accepting->volume);
	} else {
		// The order to compare comes first: it does no harm alone.
		state.doubt = DOUBT_COMPARE;
		state.untouched = false;
		result = state_file_write(path_pair_file(paths, accepting->pair, FILE_STATE, path), &state,
		                          &accepting->reason);
	}
	if (!result)
		result = volume_guard_accept(paths, &config, accepting->volume, &accepting->reason);
	close(lock);
	return result;
}

static void started(void *user, int error, const struct error *reason)
{
	struct accepting *accepting = user;

	if (error < 0 && error != -EINPROGRESS) {
		accepting->result = error;
		accepting->reason = *reason;
	}
	finish(accepting);
}

// -- a pair that runs --

static void saved(void *user, int error)
{
	struct accepting *accepting = user;
	struct pair *pair = pair_find(accepting->agent, accepting->pair);

	if (error < 0)
		accepting->result = fail(&accepting->reason, -error, "save the state of pair %s: %s", accepting->pair,
		                         strerror(-error));
	if (pair) {
		pair->saving--;
		if (!error)
			source_compare_all(pair->source);
	}
	finish(accepting);
}

static void work(struct job *job)
{
	struct accepting *accepting = (struct accepting *)((char *)job - offsetof(struct accepting, job));

	if (accepting->running)
		accepting->result = volume_guard_accept(&accepting->agent->paths, &accepting->config, accepting->volume,
		                                        &accepting->reason);
	else
		accepting->result = change_files(accepting);
}

static void done(struct job *job)
{
	struct accepting *accepting = (struct accepting *)((char *)job - offsetof(struct accepting, job));
	struct pair *pair = pair_find(accepting->agent, accepting->pair);

	if (!accepting->result && (!pair || accepting->running != (pair->phase == PAIR_RUNNING)))
		accepting->result =
		        fail(&accepting->reason, EAGAIN, "pair %s was changed meanwhile; try again", accepting->pair);
	if (accepting->result < 0) {
		finish(accepting);
	} else if (accepting->running) {
		pair->files.state.doubt = DOUBT_COMPARE;
		pair->files.state.untouched = false;
		pair_save(pair, accepting, saved);
	} else {
		pair_reload(pair);
		if (pair_await(pair, START_SECONDS, accepting, started) < 0)
			finish(accepting);
	}
}

static const struct config_volume *find_volume(const struct pair *pair, const char *name)
{
	const struct pair_config *config = &pair->files.config;

	for (unsigned i = 0; i < config->volume_count; i++)
		if (!strcmp(config->volumes[i].name, name))
			return &config->volumes[i];
	return NULL;
}

static int check(const struct pair *pair, const char *volume, struct error *err)
{
	if (!find_volume(pair, volume))
		return fail(err, ENOENT, "pair %s has no volume %.40s; see stead status %s", pair->name, volume,
		            pair->name);
	if (pair->phase == PAIR_REFUSED ? pair->files.lock >= 0 : pair->phase != PAIR_RUNNING || pair->turn)
		return fail(err, EAGAIN, "pair %s: it is starting, or its role is being changed; try again",
		            pair->name);
	if (pair->phase == PAIR_RUNNING && pair->files.state.fenced)
		return fail(err, EPERM, "pair %s was promoted on its peer: decide there, or stead resync %s",
		            pair->name, pair->name);
	return 0;
}

void volume_accept(struct pair *pair, struct control_call *call)
{
	struct error err;
	const char *volume = control_text(control_request(call), "volume", &err);
	struct accepting *accepting;

	if (!volume || check(pair, volume, &err) < 0) {
		control_refuse(call, err.text);
		return;
	}
	accepting = calloc(1, sizeof(*accepting));
	if (!accepting) {
		control_refuse(call, "volume accept: out of memory");
		return;
	}
	accepting->agent = pair->agent;
	accepting->call = call;
	accepting->running = pair->phase == PAIR_RUNNING;
	accepting->config = pair->files.config;
	snprintf(accepting->pair, sizeof(accepting->pair), "%s", pair->name);
	snprintf(accepting->volume, sizeof(accepting->volume), "%s", volume);
	accepting->job.work = work;
	accepting->job.done = done;
	pair->agent->busy++;
	if (job_start(pair->agent->loop, &accepting->job) < 0) {
		accepting->result = fail(&accepting->reason, EAGAIN, "volume accept: no thread");
		finish(accepting);
	}
}
