// SPDX-License-Identifier: Apache-2.0
// Promotion: the engine makes this node the primary, the pair's files are let
// go, and the node's agent takes them up and serves.
#include "receiver.h"
#include "report.h"
#include "standby.h"

#include "common/job.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define AGENT_MS 20000 // for the agent to open the pair and serve

struct promotion {
	struct receiver *receiver;
	struct standby *standby; // until it is promoted
	struct control_call *call; // NULL: nobody waits
	char name[NAME_MAX_LENGTH + 1];
	uint64_t begun; // clock_now()
	int64_t age; // ns; UNKNOWN
	struct pair_config config;
	struct pair_state state; // afterwards
	char note[500];
	struct job job;
};

static void finish(struct promotion *promotion)
{
	struct receiver *receiver = promotion->receiver;

	free(promotion);
	receiver->busy--;
	receiver_settle(receiver);
}

static void refuse(struct promotion *promotion, const struct error *reason)
{
	if (promotion->call)
		control_refuse(promotion->call, reason->text);
	standby_decline(promotion->standby, reason->text);
	finish(promotion);
}

static json_t *seconds(int64_t ns)
{
	int64_t ms = ns / (int64_t)NSEC_PER_MSEC;

	return ns < 0 ? json_null() : json_real((double)ms / 1000);
}

// volumes are the agent's, or NULL with a note why not.
static void reply(struct promotion *promotion, json_t *volumes, const char *note)
{
	struct clock *clock = loop_clock(promotion->receiver->loop);
	char generation[ID_TEXT_MAX], time[WALL_TEXT_MAX];
	json_t *object;

	id_text(&promotion->state.lineage.generation, generation);
	wall_text(promotion->state.promoted_point, time);
	if (!volumes) {
		volumes = json_array();
		for (unsigned i = 0; i < promotion->config.volume_count; i++)
			json_array_append_new(volumes, json_pack("{s:s}", "name", promotion->config.volumes[i].name));
	}
	object = json_pack("{s:s,s:s,s:I,s:o,s:o,s:o}", "pair", promotion->name, "generation", generation, "epoch",
	                   (json_int_t)promotion->state.promoted_epoch, "age_seconds", seconds(promotion->age),
	                   "seconds", seconds((int64_t)(clock_now(clock) - promotion->begun)), "volumes", volumes);
	if (object && promotion->state.promoted_point > 0)
		json_object_set_new(object, "time", json_string(time));
	if (object && note)
		json_object_set_new(object, "note", json_string(note));
	if (promotion->call)
		control_reply(promotion->call, object);
	else
		json_decref(object);
	finish(promotion);
}

// The order to serve was given: it must not be lost because the agent is not
// there, nor wait for a peer that may be the reason for the promotion.
static void leave_order(struct job *job)
{
	struct promotion *promotion = (struct promotion *)((char *)job - offsetof(struct promotion, job));
	const struct paths *paths = &promotion->receiver->paths;
	char path[PATHS_MAX];
	struct error err;
	int fd = open(path_pair_file(paths, promotion->name, FILE_SERVE, path), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0 || sync_directory(path_pair(paths, promotion->name, path), &err) < 0)
		log_event(LOG_LEVEL_ERROR, "order-not-kept", "pair=%s reason=%s", promotion->name, strerror(errno));
	if (fd >= 0)
		close(fd);
}

static void order_left(struct job *job)
{
	struct promotion *promotion = (struct promotion *)((char *)job - offsetof(struct promotion, job));

	reply(promotion, NULL, promotion->note);
}

static void agent_answered(void *user, int error, json_t *answer, const struct error *reason)
{
	struct promotion *promotion = user;

	if (!error) {
		reply(promotion, json_incref(json_object_get(answer, "volumes")), NULL);
		return;
	}
	if (error == -ENOTCONN)
		snprintf(promotion->note, sizeof(promotion->note),
		         "no stead-agent runs on this node: start it to export the volumes");
	else
		snprintf(promotion->note, sizeof(promotion->note), "stead-agent does not export the volumes: %s",
		         reason->text);
	log_event(LOG_LEVEL_ERROR, "promoted-not-served", "pair=%s reason=%s", promotion->name, promotion->note);
	promotion->job.work = leave_order;
	promotion->job.done = order_left;
	if (job_start(promotion->receiver->loop, &promotion->job) < 0) {
		leave_order(&promotion->job);
		order_left(&promotion->job);
	}
}

static void released(void *user)
{
	struct promotion *promotion = user;
	json_t *request = json_pack("{s:s,s:s}", "command", CONTROL_PAIR_START, "pair", promotion->name);

	if (control_ask_on(promotion->receiver->loop, promotion->receiver->paths.agent_socket, request, AGENT_MS,
	                   promotion, agent_answered) < 0)
		reply(promotion, NULL, "out of memory to tell stead-agent: restart it to export the volumes");
}

static void promoted(void *user, int error, const struct error *reason)
{
	struct promotion *promotion = user;
	struct sink_status status;
	char generation[ID_TEXT_MAX], point[WALL_TEXT_MAX] = "unknown";

	if (error < 0) {
		log_event(LOG_LEVEL_WARNING, "promote-refused", "pair=%s reason=%s", promotion->name, reason->text);
		refuse(promotion, reason);
		return;
	}
	if (standby_sink(promotion->standby, &status))
		promotion->state = status.state;
	standby_notify_promoted(promotion->standby, &promotion->state);
	id_text(&promotion->state.lineage.generation, generation);
	if (promotion->state.promoted_point > 0)
		wall_text(promotion->state.promoted_point, point);
	// What is lost at most is told here and by the state, whoever ordered it and has gone.
	log_event(LOG_LEVEL_WARNING, "promoted", "pair=%s epoch=%" PRIu64 " point=%s age_ms=%" PRId64 " generation=%s",
	          promotion->name, promotion->state.promoted_epoch, point,
	          promotion->age < 0 ? promotion->age : promotion->age / (int64_t)NSEC_PER_MSEC, generation);
	standby_stop(promotion->standby, released, promotion);
}

void promote(struct receiver *receiver, struct standby *standby, struct control_call *call, bool force)
{
	struct promotion *promotion = calloc(1, sizeof(*promotion));
	struct sink_status status;
	struct error err;

	if (!promotion) {
		if (call)
			control_refuse(call, "promote: out of memory");
		return;
	}
	promotion->receiver = receiver;
	promotion->standby = standby;
	promotion->call = call;
	strcpy(promotion->name, standby_name(standby));
	promotion->begun = clock_now(loop_clock(receiver->loop));
	promotion->config = *standby_config(standby);
	promotion->age = standby_sink(standby, &status)
	                         ? sink_recovery_age(&status, clock_wall(loop_clock(receiver->loop)))
	                         : UNKNOWN;
	receiver->busy++;
	if (standby_promote(standby, force, promotion, promoted, &err) < 0) {
		refuse(promotion, &err);
	}
}
