// SPDX-License-Identifier: Apache-2.0
// Before a role is given up: who else is concerned. Devices must not be in use,
// and for a switchover this node's receiver must be there.
#include "turn_impl.h"

#include "common/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct preflight {
	struct agent *agent;
	char name[NAME_MAX_LENGTH + 1];
	enum turn_kind kind;
	void *user;
	turn_done done;
};

struct wanted { // a switchover that the peer asks for
	struct agent *agent;
	char name[NAME_MAX_LENGTH + 1];
};

static void preflight_over(struct preflight *preflight)
{
	struct agent *agent = preflight->agent;

	free(preflight);
	agent->busy--;
	agent_settle(agent);
}

static void preflight_refuse(struct preflight *preflight, int error, const char *why)
{
	struct error err;

	fail(&err, -error, "%s pair %s: %s", preflight->kind == TURN_SWITCHOVER ? "switch over" : "demote",
	     preflight->name, why);
	preflight->done(preflight->user, error, &err, NULL);
	preflight_over(preflight);
}

static void preflight_drain(struct preflight *preflight)
{
	struct pair *pair = pair_find(preflight->agent, preflight->name);

	if (!pair) {
		preflight_refuse(preflight, -ENOENT, "it is gone");
		return;
	}
	turn_drain(pair, preflight->kind, preflight->user, preflight->done);
	preflight_over(preflight);
}

// This node becomes the standby: somebody has to run that.
static void receiver_answered(void *user, int error, json_t *answer, const struct error *reason)
{
	struct preflight *preflight = user;

	(void)answer;
	(void)reason;
	if (error == -ENOTCONN)
		preflight_refuse(preflight, -ENOTCONN,
		                 "no stead-receiver runs on this node, which becomes the standby: start it first");
	else
		preflight_drain(preflight);
}

// A device that goes away under a file system is an error for it.
static void use_known(void *user, int error, const struct error *reason)
{
	struct preflight *preflight = user;
	struct agent *agent = preflight->agent;

	if (error < 0)
		preflight_refuse(preflight, error, reason->text);
	else if (preflight->kind == TURN_DEMOTE)
		preflight_drain(preflight);
	else if (control_ask_on(agent->loop, agent->paths.receiver_socket,
	                        json_pack("{s:s,s:s}", "command", CONTROL_STATUS, "pair", preflight->name), ASK_MS,
	                        preflight, receiver_answered) < 0)
		preflight_refuse(preflight, -ENOMEM, "out of memory");
}

static void begin(struct pair *pair, enum turn_kind kind, void *user, turn_done done)
{
	struct preflight *preflight = calloc(1, sizeof(*preflight));
	struct error err;

	if (!preflight) {
		done(user, fail(&err, ENOMEM, "pair %s: out of memory", pair->name), &err, NULL);
		return;
	}
	*preflight = (struct preflight){.agent = pair->agent, .kind = kind, .user = user, .done = done};
	snprintf(preflight->name, sizeof(preflight->name), "%s", pair->name);
	pair->agent->busy++;
	if (pair_check_unused(pair, preflight, use_known) < 0)
		preflight_refuse(preflight, -ENOMEM, "out of memory");
}

void turn_demote(struct pair *pair, void *user, turn_done done)
{
	begin(pair, TURN_DEMOTE, user, done);
}

void turn_switchover(struct pair *pair, void *user, turn_done done)
{
	begin(pair, TURN_SWITCHOVER, user, done);
}

// -- asked for by the standby --

static void wanted_done(void *user, int error, const struct error *reason, const struct turned *turned)
{
	struct wanted *wanted = user;
	struct pair *pair = pair_find(wanted->agent, wanted->name);

	(void)turned;
	if (error < 0 && pair && pair->phase == PAIR_RUNNING)
		source_decline(pair->source, reason->text);
	free(wanted);
}

void turn_wanted(struct pair *pair)
{
	struct wanted *wanted = calloc(1, sizeof(*wanted));

	if (!wanted)
		return; // the peer asks again
	wanted->agent = pair->agent;
	snprintf(wanted->name, sizeof(wanted->name), "%s", pair->name);
	log_event(LOG_LEVEL_INFO, "switchover-wanted", "pair=%s", pair->name);
	turn_switchover(pair, wanted, wanted_done);
}
