// SPDX-License-Identifier: Apache-2.0
// The connection with the standby: dial, hand its frames to whom they concern,
// and keep it alive.
#include "engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SILENCE_MAX (5 * NSEC_PER_SEC)
#define REDIAL_MIN (200 * NSEC_PER_MSEC)
#define REDIAL_MAX (10 * NSEC_PER_SEC)
#define REDIAL_APART (2 * NSEC_PER_SEC) // an administrator decides there, and waits for it to be seen here

// A message without content.
struct note {
	struct message message;
	struct source *source;
	TAILQ_ENTRY(note) link;
	uint8_t body[];
};

bool uplink_ready(const struct source *source)
{
	return source->session == SESSION_READY;
}

static void note_done(struct message *message)
{
	struct note *note = container_of(message, struct note, message);
	struct source *source = note->source;

	TAILQ_REMOVE(&source->notes, note, link);
	source->shipped.total += message->wire_bytes;
	free(note);
	if (source->stopping)
		source_check_stopped(source);
}

void uplink_send(struct source *source, enum frame_type type, const void *body, size_t length)
{
	struct note *note = malloc(sizeof(*note) + length);

	if (!note) {
		uplink_lost(source, "no memory for a message");
		return;
	}
	memcpy(note->body, body, length);
	note->source = source;
	note->message = (struct message){.type = type, .body = note->body, .body_length = length, .done = note_done};
	TAILQ_INSERT_TAIL(&source->notes, note, link);
	channel_send(source->channel, &note->message);
}

static void redial_later(struct source *source)
{
	uint64_t delay = REDIAL_MIN;

	for (unsigned i = 0; i < source->attempts && delay < REDIAL_MAX; i++)
		delay *= 2;
	if (delay > REDIAL_MAX)
		delay = REDIAL_MAX;
	if (source->verdict != SOURCE_STATE_REPLICATING && delay > REDIAL_APART)
		delay = REDIAL_APART;
	source->attempts++;
	// Jitter: many pairs lose the same link at once.
	delay = delay / 2 + source->config.random(source->config.user) % delay;
	clock_set(source->clock, &source->redial, clock_now(source->clock) + delay);
}

// Forgets the connection, which is closed or about to be.
static void end_session(struct source *source, const char *why)
{
	source->session = SESSION_IDLE;
	source->channel = NULL;
	source->applied = 0;
	source->peer_held = 0;
	handover_lost(source);
	source_tell(source, SOURCE_DISCONNECTED, 0, why);
	epoch_disconnected(source);
	if (!source->fenced && !source->stopping)
		redial_later(source);
}

void uplink_lost(struct source *source, const char *why)
{
	struct channel *channel = source->channel;

	if (!channel)
		return;
	channel_close(channel);
	end_session(source, why);
}

static void channel_closed(void *user, const char *why)
{
	end_session(user, why);
}

static void got_refuse(struct source *source, const struct frame *frame)
{
	struct wire_refuse body;
	char why[REASON_MAX + 40];

	if (wire_get_refuse(frame, &body) < 0) {
		uplink_lost(source, "the peer sent a malformed REFUSE");
		return;
	}
	snprintf(why, sizeof(why), "the standby refused: %s", body.reason);
	if (body.code == REFUSAL_BUSY)
		uplink_lost(source, why); // it starts, or is being promoted: soon it says more
	else
		greeting_refuse(source, SOURCE_STATE_REFUSED, why);
}

static void got_marked(struct source *source, const struct wire_mark *mark)
{
	struct position at = {mark->volume, mark->block};

	if (!source->marking || at.volume != source->marked_sent.volume || at.block != source->marked_sent.block) {
		uplink_lost(source, "the standby confirmed a mark that was not asked for");
		return;
	}
	source->marking = false;
	// Of changes that were given up since, some may have been written again.
	if (source->capturing.number == source->mark_epoch && source->capturing.set)
		oversize_leave(source, at);
	if (source->capturing.number == source->mark_epoch || source->plan == PLAN_FULL_SYNC)
		source->marked = at;
}

static void got_reject(struct source *source, const struct wire_reject *reject)
{
	char text[REASON_MAX + 250];

	if (reject->cause == REJECT_TOO_LARGE)
		oversize_explain(source, reject->reason, text, sizeof(text));
	source_tell(source, SOURCE_WIDENED, reject->epoch, reject->cause == REJECT_TOO_LARGE ? text : reject->reason);
	epoch_rejected(source, reject->epoch, reject->cause);
}

static void got_heartbeat(struct source *source, const struct wire_heartbeat *heartbeat)
{
	source->applied = heartbeat->applied;
	source->peer_held = heartbeat->held;
}

// A session that is ready. False: not understood.
static bool got_frame(struct source *source, const struct frame *frame)
{
	union {
		struct wire_epoch epoch;
		struct wire_reject reject;
		struct wire_differ differ;
		struct wire_mark mark;
		struct wire_heartbeat heartbeat;
		struct wire_decline decline;
	} body;

	switch (frame->type) {
	case FRAME_DURABLE:
		if (wire_get_epoch(frame, &body.epoch) < 0)
			return false;
		epoch_durable(source, body.epoch.epoch);
		return true;
	case FRAME_REJECT:
		if (wire_get_reject(frame, &body.reject) < 0)
			return false;
		got_reject(source, &body.reject);
		return true;
	case FRAME_DIFFER:
		if (wire_get_differ(frame, &body.differ) < 0)
			return false;
		parcels_differ(source, &body.differ);
		return true;
	case FRAME_MARKED:
		if (wire_get_mark(frame, &body.mark) < 0)
			return false;
		got_marked(source, &body.mark);
		return true;
	case FRAME_HEARTBEAT:
		if (wire_get_heartbeat(frame, &body.heartbeat) < 0)
			return false;
		got_heartbeat(source, &body.heartbeat);
		return true;
	case FRAME_DECLINE:
		if (wire_get_decline(frame, &body.decline) < 0)
			return false;
		handover_contact(source, body.decline.reason);
		return true;
	case FRAME_SWITCHOVER:
		source_tell(source, SOURCE_SWITCHOVER_WANTED, 0, NULL);
		return true;
	case FRAME_REFUSE:
		got_refuse(source, frame);
		return true;
	default:
		return false;
	}
}

// A session whose standby tells what it holds beyond. False: not understood.
static bool got_learning_frame(struct source *source, const struct frame *frame)
{
	struct wire_beyond beyond;
	struct wire_heartbeat heartbeat;

	if (frame->type == FRAME_BEYOND && wire_get_beyond(frame, &beyond) == 0)
		greeting_beyond(source, &beyond);
	else if (frame->type == FRAME_HEARTBEAT && wire_get_heartbeat(frame, &heartbeat) == 0)
		got_heartbeat(source, &heartbeat);
	else if (frame->type == FRAME_REFUSE)
		got_refuse(source, frame);
	else
		return false;
	return true;
}

static void channel_frame(void *user, const struct frame *frame)
{
	struct source *source = user;
	char why[80];
	bool known;

	source->heard = clock_now(source->clock);
	if (source->session == SESSION_READY) {
		known = got_frame(source, frame);
	} else if (source->session == SESSION_LEARNING) {
		known = got_learning_frame(source, frame);
	} else {
		known = frame->type == FRAME_WELCOME || frame->type == FRAME_REFUSE;
		if (frame->type == FRAME_WELCOME)
			greeting_welcome(source, frame);
		else if (known)
			got_refuse(source, frame);
	}
	if (known)
		return;
	snprintf(why, sizeof(why), "the peer sent an unexpected or malformed %s", frame_type_name(frame->type));
	uplink_lost(source, why);
}

static const struct channel_events events = {.frame = channel_frame, .closed = channel_closed};

static void opened(void *user, struct channel *channel)
{
	struct source *source = user;

	channel->events = &events;
	channel->user = source;
	source->channel = channel;
	source->session = SESSION_GREETING;
	source->heard = clock_now(source->clock);
	greeting_send(source);
}

static void failed(void *user, const char *why)
{
	struct source *source = user;

	source->session = SESSION_IDLE;
	source_tell(source, SOURCE_DISCONNECTED, 0, why);
	redial_later(source);
}

static void dial(struct timer *timer)
{
	struct source *source = container_of(timer, struct source, redial);

	source->session = SESSION_DIALING;
	dialer_dial(source->config.dialer);
}

void uplink_start(struct source *source)
{
	struct dialer *dialer = source->config.dialer;

	dialer->opened = opened;
	dialer->failed = failed;
	dialer->user = source;
	source->redial.fire = dial;
	if (!source->fenced)
		clock_set(source->clock, &source->redial, 0);
	if (source->config.start_without_peer)
		source_serve(source);
}

void uplink_stop(struct source *source)
{
	clock_cancel(source->clock, &source->redial);
	if (source->session == SESSION_DIALING)
		dialer_cancel(source->config.dialer);
	uplink_lost(source, "this node is stopping");
	source->session = SESSION_IDLE;
}

void uplink_free(struct source *source)
{
	struct note *note;

	while ((note = TAILQ_FIRST(&source->notes))) {
		TAILQ_REMOVE(&source->notes, note, link);
		free(note);
	}
}

void uplink_heartbeat(struct source *source)
{
	uint64_t lag = source_lag(source);
	enum trouble trouble = outlook_trouble(source);
	struct wire_heartbeat heartbeat = {
	        .wall = clock_wall(source->clock),
	        .cut = source->map.cut,
	        .lag = lag,
	        .clean = lag == 0 && source->durable == source->map.cut,
	        .trouble = trouble <= TROUBLE_WIRE_MAX ? trouble : TROUBLE_NONE,
	        .outlook = outlook_lag(source),
	};
	uint8_t body[WIRE_BODY_MAX];

	uplink_send(source, FRAME_HEARTBEAT, body, wire_put_heartbeat(body, &heartbeat));
}

void uplink_tick(struct source *source)
{
	if (!source->channel)
		return;
	if (clock_now(source->clock) - source->heard > SILENCE_MAX) {
		uplink_lost(source, "the peer has been silent for 5 seconds");
		return;
	}
	if (uplink_ready(source))
		shipper_mark(source);
	if (source->session >= SESSION_LEARNING)
		uplink_heartbeat(source);
}
