// SPDX-License-Identifier: Apache-2.0
#include "invitation.h"
#include "receiver.h"
#include "standby.h"

#include "common/daemon.h"
#include "common/pairs.h"
#include "common/removal.h"
#include "common/request.h"

#include <errno.h>
#include <string.h>

// A pair that is run here, by the request's name; else the call is answered.
static struct standby *find(struct receiver *receiver, struct control_call *call, json_t *request)
{
	struct error err;
	const char *name = request_pair(request, &err);
	struct standby *standby = name ? standby_find(receiver, name) : NULL;

	if (standby)
		return standby;
	if (name && pair_exists(&receiver->paths, name))
		fail(&err, EREMOTE, "pair %s: this node is its primary, not its standby", name);
	else if (name)
		fail(&err, ENOENT, "pair %s does not exist on this node; see stead status", name);
	control_refuse(call, err.text);
	return NULL;
}

json_t *receiver_status(struct receiver *receiver, const char *name)
{
	json_t *array = json_array();
	struct standby *standby;

	for (standby = TAILQ_FIRST(&receiver->standbys); standby; standby = standby_next(standby)) {
		struct standby *newer = standby_find(receiver, standby_name(standby));
		struct pair_status status;

		// One that still stops has perhaps been started anew.
		if ((newer && newer != standby) || (name && strcmp(name, standby_name(standby)) != 0))
			continue;
		standby_status(standby, &status);
		json_array_append_new(array, status_json(&status));
	}
	return array;
}

static void status(struct receiver *receiver, struct control_call *call, json_t *request)
{
	const char *name = json_string_value(json_object_get(request, "pair"));

	control_reply(call, json_pack("{s:o}", "pairs", receiver_status(receiver, name)));
}

// -- pair-remove --

static void removed(void *user)
{
	struct receiver *receiver = user;

	receiver->busy--;
	receiver_settle(receiver);
}

static void remove_pair(struct receiver *receiver, struct control_call *call, json_t *request)
{
	const struct removal_plan plan = {.loop = receiver->loop,
	                                  .paths = &receiver->paths,
	                                  .call = call,
	                                  .erase_more = invitation_remove,
	                                  .over = removed,
	                                  .user = receiver};
	struct standby *standby = find(receiver, call, request);
	struct removal *removal;

	if (!standby)
		return;
	removal = removal_new(&plan, standby_name(standby));
	if (!removal) {
		control_refuse(call, "remove the pair: out of memory");
		return;
	}
	receiver->busy++;
	standby_stop(standby, removal_start, removal);
}

static void promote_pair(struct receiver *receiver, struct control_call *call, json_t *request)
{
	struct standby *standby = find(receiver, call, request);

	if (standby)
		promote(receiver, standby, call, json_is_true(json_object_get(request, "force")));
}

static void switch_over(struct receiver *receiver, struct control_call *call, json_t *request)
{
	struct standby *standby = find(receiver, call, request);

	if (standby)
		order_switchover(receiver, standby, call);
}

static void resync(struct receiver *receiver, struct control_call *call, json_t *request)
{
	struct standby *standby = find(receiver, call, request);

	if (standby)
		order_resync(receiver, standby, call, json_is_true(json_object_get(request, "discard")));
}

void receiver_control(void *user, struct control_call *call, const char *command, json_t *request)
{
	struct receiver *receiver = user;

	if (!strcmp(command, CONTROL_STATUS))
		status(receiver, call, request);
	else if (receiver->stopping)
		control_refuse(call, "the receiver is stopping");
	else if (!strcmp(command, CONTROL_PAIR_INVITE))
		invite(receiver, call, request);
	else if (!strcmp(command, CONTROL_PAIR_REMOVE))
		remove_pair(receiver, call, request);
	else if (!strcmp(command, CONTROL_PROMOTE))
		promote_pair(receiver, call, request);
	else if (!strcmp(command, CONTROL_SWITCHOVER))
		switch_over(receiver, call, request);
	else if (!strcmp(command, CONTROL_RESYNC))
		resync(receiver, call, request);
	else if (!strcmp(command, CONTROL_RELOAD))
		control_reply(call, json_pack("{s:I}", "pairs", (json_int_t)daemon_reload(receiver->daemon)));
	else if (!strcmp(command, CONTROL_TAKE_UP))
		control_reply(call, json_pack("{s:I}", "pairs", (json_int_t)daemon_take_up(receiver->daemon)));
	else
		control_refuse(call, "the receiver does not know this command; is stead of the same version?");
}
