// SPDX-License-Identifier: Apache-2.0
#include "agent.h"
#include "pair.h"
#include "turn.h"

#include "common/daemon.h"
#include "common/pairs.h"
#include "common/removal.h"
#include "common/request.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SERVE_SECONDS 15 // how long pair-start waits for the pair to serve

// A pair that is run here, by the request's name; else the call is answered.
static struct pair *find(struct agent *agent, struct control_call *call, json_t *request)
{
	struct error err;
	const char *name = request_pair(request, &err);
	struct pair *pair = name ? pair_find(agent, name) : NULL;

	if (pair)
		return pair;
	if (name && pair_exists(&agent->paths, name))
		fail(&err, EREMOTE, "pair %s: this node is not its primary", name);
	else if (name)
		fail(&err, ENOENT, "pair %s does not exist on this node; see stead status", name);
	control_refuse(call, err.text);
	return NULL;
}

json_t *agent_status(struct agent *agent, const char *name)
{
	json_t *array = json_array();
	struct pair *pair;

	for (pair = TAILQ_FIRST(&agent->pairs); pair; pair = pair_next(pair)) {
		struct pair *newer = pair_find(agent, pair_name(pair));
		struct pair_status status;

		// One that still stops has perhaps been started anew.
		if ((newer && newer != pair) || (name && strcmp(name, pair_name(pair)) != 0))
			continue;
		pair_status(pair, &status);
		json_array_append_new(array, status_json(&status));
	}
	return array;
}

static void status(struct agent *agent, struct control_call *call, json_t *request)
{
	const char *name = json_string_value(json_object_get(request, "pair"));

	control_reply(call, json_pack("{s:o}", "pairs", agent_status(agent, name)));
}

// -- pause, resume --

static void answer(void *user, int error, const struct error *reason)
{
	struct control_call *call = user;

	if (error < 0)
		control_refuse(call, reason->text);
	else
		control_reply(call, json_pack("{s:O}", "pair", json_object_get(control_request(call), "pair")));
}

static void fence(struct agent *agent, struct control_call *call, json_t *request)
{
	struct pair *pair = find(agent, call, request);

	const struct pair_successor successor = {
	        .forked = json_is_true(json_object_get(request, "forked")),
	        .epoch = (uint64_t)json_integer_value(json_object_get(request, "epoch")),
	        .untouched = json_is_true(json_object_get(request, "untouched")),
	        .bytes = (uint64_t)json_integer_value(json_object_get(request, "bytes")),
	        .since = json_integer_value(json_object_get(request, "since")),
	        .born = json_integer_value(json_object_get(request, "born")),
	};

	if (pair)
		pair_fence(pair, &successor, call, answer);
}

static void pause_or_resume(struct agent *agent, struct control_call *call, json_t *request, bool pause)
{
	struct pair *pair = find(agent, call, request);

	if (pair)
		pair_pause(pair, pause, call, answer);
}

// -- changes of role --

static void turned(void *user, int error, const struct error *reason, const struct turned *turned)
{
	struct control_call *call = user;
	json_t *reply;

	if (error < 0) {
		control_refuse(call, reason->text);
		return;
	}
	reply = json_pack("{s:O,s:I}", "pair", json_object_get(control_request(call), "pair"), "discarded_bytes",
	                  (json_int_t)turned->discarded);
	if (reply && turned->salvage[0])
		json_object_set_new(reply, "salvage", json_string(turned->salvage));
	if (reply && turned->note)
		json_object_set_new(reply, "note", json_string(turned->note));
	control_reply(call, reply);
}

static void turn(struct agent *agent, struct control_call *call, json_t *request, const char *command)
{
	struct pair *pair = find(agent, call, request);

	if (!pair)
		return;
	if (!strcmp(command, CONTROL_DEMOTE))
		turn_demote(pair, call, turned);
	else if (!strcmp(command, CONTROL_SWITCHOVER))
		turn_switchover(pair, call, turned);
	else if (!strcmp(command, CONTROL_FORCE))
		turn_force(pair, call, turned);
	else
		turn_resync(pair, json_is_true(json_object_get(request, "discard")),
		            !json_is_false(json_object_get(request, "salvage")), call, turned);
}

// -- pair-start --

struct starting {
	struct agent *agent;
	struct control_call *call;
};

static void started(void *user, int error, const struct error *reason)
{
	struct starting *starting = user;
	json_t *request = control_request(starting->call), *volumes = json_array();
	struct pair *pair = pair_find(starting->agent, json_string_value(json_object_get(request, "pair")));

	if (error < 0 || !pair) {
		control_refuse(starting->call, error < 0 ? reason->text : "the pair was removed meanwhile");
		json_decref(volumes);
	} else {
		for (unsigned i = 0; i < pair_config(pair)->volume_count; i++) {
			char device[PATHS_MAX];

			json_array_append_new(volumes,
			                      json_pack("{s:s,s:s}", "name", pair_config(pair)->volumes[i].name,
			                                "device", pair_device(pair, i, device)));
		}
		control_reply(starting->call, json_pack("{s:o}", "volumes", volumes));
	}
	free(starting);
}

static void start(struct agent *agent, struct control_call *call, json_t *request)
{
	struct error err;
	const char *name = request_pair(request, &err);
	struct pair *pair = name ? pair_find(agent, name) : NULL;
	struct starting *starting;

	if (!name) {
		control_refuse(call, err.text);
		return;
	}
	if (!pair && !pair_exists(&agent->paths, name)) {
		fail(&err, ENOENT, "pair %s does not exist on this node; see stead status", name);
		control_refuse(call, err.text);
		return;
	}
	if (pair)
		pair_reload(pair); // opens it again if it was refused
	else
		pair = pair_start(agent, name);
	starting = malloc(sizeof(*starting));
	if (!pair || !starting) {
		free(starting);
		control_refuse(call, "start the pair: out of memory");
		return;
	}
	*starting = (struct starting){agent, call};
	pair_serve(pair);
	if (pair_await(pair, SERVE_SECONDS, starting, started) < 0) {
		free(starting);
		control_refuse(call, "start the pair: out of memory");
	}
}

// -- pair-remove --

static void removed(void *user)
{
	struct agent *agent = user;

	agent->busy--;
	agent_settle(agent);
}

struct removing {
	struct agent *agent;
	struct control_call *call;
};

// Nobody uses it.
static void start_removal(struct agent *agent, struct control_call *call)
{
	const struct removal_plan plan = {
	        .loop = agent->loop, .paths = &agent->paths, .call = call, .over = removed, .user = agent};
	struct pair *pair = find(agent, call, control_request(call));
	struct removal *removal;

	if (!pair)
		return;
	removal = removal_new(&plan, pair_name(pair));
	if (!removal) {
		control_refuse(call, "remove the pair: out of memory");
		return;
	}
	agent->busy++;
	pair_stop(pair, removal_start, removal);
}

static void checked_unused(void *user, int error, const struct error *reason)
{
	struct removing removing = *(struct removing *)user;

	free(user);
	if (error < 0)
		control_refuse(removing.call, reason->text);
	else if (removing.agent->stopping)
		control_refuse(removing.call, "the agent is stopping");
	else
		start_removal(removing.agent, removing.call);
	removed(removing.agent);
}

static void remove_pair(struct agent *agent, struct control_call *call, json_t *request)
{
	struct pair *pair = find(agent, call, request);
	struct removing *removing;

	if (!pair)
		return;
	removing = malloc(sizeof(*removing));
	if (removing)
		*removing = (struct removing){agent, call};
	if (!removing || pair_check_unused(pair, removing, checked_unused) < 0) {
		free(removing);
		control_refuse(call, "remove the pair: out of memory");
		return;
	}
	agent->busy++;
}

void agent_control(void *user, struct control_call *call, const char *command, json_t *request)
{
	struct agent *agent = user;

	if (!strcmp(command, CONTROL_STATUS))
		status(agent, call, request);
	else if (agent->stopping)
		control_refuse(call, "the agent is stopping");
	else if (!strcmp(command, CONTROL_PAIR_JOIN))
		join_start(agent, call, request);
	else if (!strcmp(command, CONTROL_PAIR_REMOVE))
		remove_pair(agent, call, request);
	else if (!strcmp(command, CONTROL_PAIR_START))
		start(agent, call, request);
	else if (!strcmp(command, CONTROL_PAIR_FENCE))
		fence(agent, call, request);
	else if (!strcmp(command, CONTROL_DEMOTE) || !strcmp(command, CONTROL_SWITCHOVER) ||
	         !strcmp(command, CONTROL_RESYNC) || !strcmp(command, CONTROL_FORCE))
		turn(agent, call, request, command);
	else if (!strcmp(command, CONTROL_PAUSE))
		pause_or_resume(agent, call, request, true);
	else if (!strcmp(command, CONTROL_RESUME))
		pause_or_resume(agent, call, request, false);
	else if (!strcmp(command, CONTROL_RELOAD))
		control_reply(call, json_pack("{s:I}", "pairs", (json_int_t)daemon_reload(agent->daemon)));
	else if (!strcmp(command, CONTROL_TAKE_UP))
		control_reply(call, json_pack("{s:I}", "pairs", (json_int_t)daemon_take_up(agent->daemon)));
	else
		control_refuse(call, "the agent does not know this command; is stead of the same version?");
}
