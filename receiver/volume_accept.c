// SPDX-License-Identifier: Apache-2.0
// stead volume accept, on the standby: a volume is taken as it is now. What it
// holds is no epoch: until all was compared with the primary's there is nothing
// to be promoted to.
#include "standby.h"

#include "standby_impl.h"

#include "common/log.h"
#include "common/pairs.h"
#include "common/state_file.h"
#include "common/volume_guard.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct accepting {
	struct receiver *receiver;
	struct control_call *call;
	char pair[NAME_MAX_LENGTH + 1], volume[NAME_MAX_LENGTH + 1];
	struct job job;
	int result;
	struct error reason;
};

static void finish(struct accepting *accepting)
{
	struct receiver *receiver = accepting->receiver;

	if (accepting->result < 0) {
		control_refuse(accepting->call, accepting->reason.text);
	} else {
		log_event(LOG_LEVEL_WARNING, "volume-accepted", "pair=%s volume=%s", accepting->pair,
		          accepting->volume);
		control_reply(accepting->call, json_pack("{s:s,s:s}", "pair", accepting->pair, "role", "standby"));
	}
	free(accepting);
	receiver->busy--;
	receiver_settle(receiver);
}

// As a standby that holds nothing yet; what is in its journal was for what the
// volumes held.
static void forget_content(struct pair_state *state)
{
	state->consistent = false;
	state->partial = false;
	state->sync = (struct id){{0}};
	state->sync_volume = 0;
	state->sync_block = 0;
	state->returned = false;
	state->base_epoch = 0;
	state->base_id = (struct id){{0}};
	state->yields = true;
	state->doubt = DOUBT_NONE;
}

static int change_files(struct accepting *accepting)
{
	const struct paths *paths = &accepting->receiver->paths;
	struct pair_config config;
	struct pair_state state;
	char path[PATHS_MAX];
	int lock = pair_open(paths, accepting->pair, ROLE_STANDBY, &config, &state, &accepting->reason), result;

	if (lock == -EREMOTE)
		fail(&accepting->reason, EREMOTE, "pair %s: this node is its primary now", accepting->pair);
	if (lock < 0)
		return lock;
	forget_content(&state);
	result = state_file_write(path_pair_file(paths, accepting->pair, FILE_STATE, path), &state, &accepting->reason);
	if (!result)
		result = volume_guard_accept(paths, &config, accepting->volume, &accepting->reason);
	close(lock);
	return result;
}

static void started(void *user, int error, const struct error *reason)
{
	struct accepting *accepting = user;

	if (error < 0) {
		accepting->result = error;
		accepting->reason = *reason;
	}
	finish(accepting);
}

static void work(struct job *job)
{
	struct accepting *accepting = (struct accepting *)((char *)job - offsetof(struct accepting, job));

	accepting->result = change_files(accepting);
}

// Also where nothing was changed: it had run before.
static void done(struct job *job)
{
	struct accepting *accepting = (struct accepting *)((char *)job - offsetof(struct accepting, job));
	struct receiver *receiver = accepting->receiver;
	struct standby *standby = receiver->stopping ? NULL : standby_start(receiver, accepting->pair);

	if (standby && !accepting->result)
		standby_await(standby, accepting, started);
	else
		finish(accepting);
}

static void stopped(void *user)
{
	struct accepting *accepting = user;

	accepting->job.work = work;
	accepting->job.done = done;
	if (job_start(accepting->receiver->loop, &accepting->job) == 0)
		return;
	accepting->result = fail(&accepting->reason, EAGAIN, "volume accept: no thread");
	done(&accepting->job);
}

static int check(const struct standby *standby, const char *volume, struct error *err)
{
	const struct pair_config *config = &standby->files.config;
	unsigned i = 0;

	while (i < config->volume_count && strcmp(config->volumes[i].name, volume) != 0)
		i++;
	if (i == config->volume_count)
		return fail(err, ENOENT, "pair %s has no volume %.40s; see stead status %s", standby->name, volume,
		            standby->name);
	if (standby->phase == STANDBY_OPENING || standby->promoting)
		return fail(err, EAGAIN, "pair %s: it is starting, or being promoted; try again", standby->name);
	return 0;
}

void order_accept(struct receiver *receiver, struct standby *standby, struct control_call *call)
{
	struct error err;
	const char *volume = control_text(control_request(call), "volume", &err);
	struct accepting *accepting;

	if (!volume || check(standby, volume, &err) < 0) {
		control_refuse(call, err.text);
		return;
	}
	accepting = calloc(1, sizeof(*accepting));
	if (!accepting) {
		control_refuse(call, "volume accept: out of memory");
		return;
	}
	accepting->receiver = receiver;
	accepting->call = call;
	snprintf(accepting->pair, sizeof(accepting->pair), "%s", standby->name);
	snprintf(accepting->volume, sizeof(accepting->volume), "%s", volume);
	receiver->busy++;
	standby_stop(standby, stopped, accepting);
}
