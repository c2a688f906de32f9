// SPDX-License-Identifier: Apache-2.0
// What else is ordered of a standby: to take over, by its primary or by an
// administrator here; and to give way.
#include "receiver.h"

#include "standby_impl.h"

#include "common/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AGENT_MS 20000
#define SWITCHOVER_NSEC (100 * NSEC_PER_SEC) // the primary's own limit is less

// -- switchover --

struct takeover {
	struct receiver *receiver;
	char name[NAME_MAX_LENGTH + 1];
};

static void refuse_with(struct standby *standby, const char *text)
{
	struct control_call *call = standby->switchover;

	clock_cancel(loop_clock(standby->receiver->loop), &standby->switchover_timer);
	standby->switchover = NULL;
	if (call)
		control_refuse(call, text);
}

static void refuse_call(struct standby *standby, const char *why)
{
	struct error err;

	fail(&err, EPERM, "switch over pair %s: %s", standby->name, why);
	refuse_with(standby, err.text);
}

static void switchover_due(struct timer *timer)
{
	refuse_call((struct standby *)((char *)timer - offsetof(struct standby, switchover_timer)),
	            "the primary did not hand over in time; see stead status");
}

void order_switchover(struct receiver *receiver, struct standby *standby, struct control_call *call)
{
	struct clock *clock = loop_clock(receiver->loop);
	struct error err, why;

	if (standby->phase != STANDBY_RUNNING || standby->switchover) {
		fail(&err, EAGAIN, "switch over pair %s: %s", standby->name,
		     standby->switchover                 ? "it is just being done"
		     : standby->phase == STANDBY_REFUSED ? standby->reason.text
		                                         : "it is starting; try again");
		control_refuse(call, err.text);
		return;
	}
	if (sink_ask_switchover(standby->sink, &why) < 0) {
		fail(&err, EPERM, "switch over pair %s: %s", standby->name, why.text);
		control_refuse(call, err.text);
		return;
	}
	standby->switchover = call;
	standby->switchover_timer.fire = switchover_due;
	clock_set(clock, &standby->switchover_timer, clock_now(clock) + SWITCHOVER_NSEC);
}

void standby_decline(struct standby *standby, const char *why)
{
	if (standby->sink)
		sink_decline(standby->sink, why);
}

static void decline(struct standby *standby, const char *why)
{
	log_event(LOG_LEVEL_WARNING, "takeover-declined", "pair=%s reason=%s", standby->name, why);
	standby_decline(standby, why);
	refuse_call(standby, why);
}

// Whoever takes over has to serve: its agent must be there.
static void agent_answered(void *user, int error, json_t *answer, const struct error *reason)
{
	struct takeover *takeover = user;
	struct receiver *receiver = takeover->receiver;
	struct standby *standby = standby_find(receiver, takeover->name);
	struct control_call *call;

	(void)answer;
	if (standby && standby->phase == STANDBY_RUNNING) {
		if (!sink_asked(standby->sink)) {
			decline(standby, "the connection to the primary ended");
		} else if (error == -ENOTCONN) {
			decline(standby,
			        "no stead-agent runs on the standby's node, which would have to serve: start it");
		} else if (error < 0) {
			decline(standby, reason->text);
		} else {
			call = standby->switchover;
			standby->switchover = NULL;
			clock_cancel(loop_clock(receiver->loop), &standby->switchover_timer);
			promote(receiver, standby, call, true);
		}
	}
	free(takeover);
	receiver->busy--;
	receiver_settle(receiver);
}

static void take_over(struct standby *standby)
{
	struct receiver *receiver = standby->receiver;
	struct takeover *takeover;

	if (!standby->files.config.peer[0]) {
		decline(standby, "the standby does not know where its peer is reached: set peer in its configuration");
		return;
	}
	takeover = calloc(1, sizeof(*takeover));
	if (takeover) {
		takeover->receiver = receiver;
		snprintf(takeover->name, sizeof(takeover->name), "%s", standby->name);
		if (control_ask_on(receiver->loop, receiver->paths.agent_socket,
		                   json_pack("{s:s,s:s}", "command", CONTROL_STATUS, "pair", standby->name), AGENT_MS,
		                   takeover, agent_answered) == 0) {
			receiver->busy++;
			return;
		}
	}
	free(takeover);
	decline(standby, "out of memory");
}

void orders_event(struct standby *standby, enum sink_event event, const char *text)
{
	if (event == SINK_TAKEOVER)
		take_over(standby);
	else if (event == SINK_DECLINED)
		refuse_with(standby, text); // the primary has said what it refuses
	else if (event == SINK_DISCONNECTED)
		refuse_call(standby, "the connection to the primary ended");
}

void orders_stop(struct standby *standby)
{
	refuse_call(standby, "the receiver is stopping");
}

// -- resync --

struct yielding {
	struct receiver *receiver;
	struct standby *standby;
	struct control_call *call;
};

static void yielded(void *user, int error, const struct error *reason)
{
	struct yielding *yielding = user;
	struct standby *standby = yielding->standby;
	struct receiver *receiver = yielding->receiver;

	if (error < 0) {
		control_refuse(yielding->call, reason->text);
	} else {
		log_event(LOG_LEVEL_WARNING, "yields", "pair=%s", standby->name);
		control_reply(yielding->call, json_pack("{s:s,s:i}", "pair", standby->name, "discarded_bytes", 0));
	}
	standby->promoting--;
	if (standby->stop_wanted)
		standby_shut_later(standby);
	free(yielding);
	receiver->busy--;
	receiver_settle(receiver);
}

static int check_yield(const struct standby *standby, const struct sink_status *status, bool discard, struct error *err)
{
	if (standby->phase != STANDBY_RUNNING || standby->promoting)
		return fail(err, EAGAIN, "resync pair %s: %s", standby->name,
		            standby->phase == STANDBY_REFUSED ? standby->reason.text : "it is starting; try again");
	if (!status->met || (status->verdict != VERDICT_DIVERGED && status->verdict != VERDICT_ROLLED_BACK))
		return fail(
		        err, EPERM,
		        "resync pair %s: this node is the standby and follows its primary%s; there is nothing to decide",
		        standby->name, status->connected ? "" : " as soon as it is connected");
	if (!discard)
		return fail(
		        err, EPERM,
		        "resync pair %s: this standby holds what its primary never had; to have it overwritten: stead "
		        "resync %s --discard-local",
		        standby->name, standby->name);
	return 0;
}

void order_resync(struct receiver *receiver, struct standby *standby, struct control_call *call, bool discard)
{
	struct yielding *yielding;
	struct sink_status status = {0};
	struct error err;

	if (standby->sink)
		sink_status(standby->sink, &status);
	if (check_yield(standby, &status, discard, &err) < 0) {
		control_refuse(call, err.text);
		return;
	}
	yielding = calloc(1, sizeof(*yielding));
	if (!yielding) {
		control_refuse(call, "resync: out of memory");
		return;
	}
	*yielding = (struct yielding){receiver, standby, call};
	standby->promoting++; // it must not go meanwhile
	receiver->busy++;
	sink_yield(standby->sink, yielding, yielded);
}
