// SPDX-License-Identifier: Apache-2.0
// One connection with the primary: frames in, answers out, heartbeats, silence.
#include "sink_impl.h"

#include "common/mutant.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEARTBEAT_PERIOD NSEC_PER_SEC
#define SILENCE_MAX (5 * NSEC_PER_SEC)
#define ANSWERS_MAX 64 // on their way

// Counts what is on its way out; it outlives the session until the last done().
struct outbox {
	struct sink *sink; // NULL: the session is over
	unsigned pending;
};

struct outgoing {
	struct message message;
	struct outbox *outbox;
	uint8_t body[];
};

static void sent(struct message *message)
{
	struct outgoing *outgoing = (struct outgoing *)((char *)message - offsetof(struct outgoing, message));
	struct outbox *outbox = outgoing->outbox;
	struct sink *sink = outbox->sink;
	bool refusal = message->type == FRAME_REFUSE;

	free(outgoing);
	outbox->pending--;
	if (!sink) {
		if (outbox->pending == 0)
			free(outbox);
		return;
	}
	if (refusal)
		session_end(sink, "refused");
	sink_advance(sink);
}

void session_send(struct sink *sink, unsigned type, const void *body, size_t length)
{
	struct session *session = &sink->session;
	struct outgoing *outgoing;

	if (session->stage == SESSION_NONE)
		return;
	outgoing = calloc(1, sizeof(*outgoing) + length);
	if (!outgoing) {
		session_end(sink, "no memory for an answer");
		return;
	}
	if (length)
		memcpy(outgoing->body, body, length);
	outgoing->outbox = session->outbox;
	outgoing->message = (struct message){
	        .type = type,
	        .body = outgoing->body,
	        .body_length = length,
	        .done = sent,
	};
	session->outbox->pending++;
	channel_send(session->channel, &outgoing->message);
}

bool session_crowded(const struct sink *sink)
{
	return sink->session.outbox->pending >= ANSWERS_MAX;
}

void session_durable(struct sink *sink, uint64_t epoch)
{
	struct wire_epoch durable = {.epoch = epoch, .wall = clock_wall(sink->clock)};
	uint8_t body[WIRE_BODY_MAX];

	if (sink->session.stage == SESSION_OPEN)
		session_send(sink, FRAME_DURABLE, body, wire_put_epoch(body, &durable));
}

// The epoch and what came after it is gone; the peer begins anew after what was
// kept.
void session_reject(struct sink *sink, uint64_t epoch, enum reject_cause cause, const char *reason)
{
	struct session *session = &sink->session;
	struct wire_reject reject = {.epoch = epoch, .cause = cause};
	uint8_t body[WIRE_BODY_MAX];

	snprintf(reject.reason, sizeof(reject.reason), "%.*s", REASON_MAX, reason);
	if (session->stage == SESSION_OPEN) {
		session->received = journal_newest(sink->journal);
		session->mode = MODE_DROPPING;
		session->too_large = cause == REJECT_TOO_LARGE;
		session->adopting |=
		        session->adoption && epoch <= session->adoption && !MUTANT(REJECTED_ADOPTION_FORGOTTEN);
		session_send(sink, FRAME_REJECT, body, wire_put_reject(body, &reject));
	}
	sink_event(sink, SINK_REJECTED, epoch, reason);
}

// The end.

static void drop_epoch(struct sink *sink)
{
	struct session *session = &sink->session;

	if (MUTANT(APPLIED_WITHOUT_END) && session->mode == MODE_ATOMIC) {
		const struct commit commit = {
		        .epoch = session->begin.epoch,
		        .base = session->begin.base,
		        .cut_wall = session->begin.cut_wall,
		        .completes = session->begin.completes,
		        .sync = sink->state.sync,
		        .frames = session->frames,
		        .digest = session->digest,
		};

		if (journal_commit(sink->journal, &commit, NULL) == 0)
			return;
	}
	if (session->mode == MODE_ATOMIC)
		journal_drop(sink->journal);
	direct_abandon(sink);
}

static void forget(struct sink *sink)
{
	struct session *session = &sink->session;
	uint64_t number = session->number;

	clock_cancel(sink->clock, &session->tick);
	if (session->outbox) {
		session->outbox->sink = NULL;
		if (session->outbox->pending == 0)
			free(session->outbox);
	}
	free(session->stash);
	blockhash_free(session->hash);
	*session = (struct session){.number = number + 1, .in_frame = session->in_frame};
}

void session_free(struct sink *sink)
{
	forget(sink);
}

static void closed(void *user, const char *why)
{
	struct sink *sink = user;
	bool connected = sink->session.stage == SESSION_OPEN;

	drop_epoch(sink);
	forget(sink);
	if (connected)
		sink_event(sink, SINK_DISCONNECTED, 0, why);
	sink_advance(sink);
}

void session_end(struct sink *sink, const char *why)
{
	if (sink->session.stage == SESSION_NONE)
		return;
	channel_close(sink->session.channel);
	closed(sink, why);
}

// Frames.

static void stash(struct sink *sink, const struct frame *frame)
{
	struct session *session = &sink->session;
	size_t length = FRAME_HEADER_BYTES + (size_t)frame->length;

	session->stash = malloc(length);
	if (!session->stash) {
		session_end(sink, "no memory for a frame");
		return;
	}
	memcpy(session->stash, frame->bytes, length);
	session->stash_length = length;
	session->held = true;
	session->held_at = clock_now(sink->clock);
	channel_hold(session->channel, true);
}

static void frame_arrived(void *user, const struct frame *frame)
{
	struct sink *sink = user;
	struct session *session = &sink->session;
	uint64_t number;
	struct error err;
	int error;

	if (session->stage == SESSION_REFUSED)
		return;
	sink->heard = clock_now(sink->clock);
	sink->received_bytes += FRAME_HEADER_BYTES + (uint64_t)frame->length;
	number = session->number;
	session->in_frame = true;
	if (session->stash)
		error = fail(&err, EPROTO, "frame arrived on a connection that is held");
	else
		error = frames_take(sink, frame, &err);
	if (error == -EAGAIN && session->number == number)
		stash(sink, frame);
	else if (error && session->number == number)
		session_end(sink, err.text);
	sink_advance(sink);
	session->in_frame = false;
	if (session->stash)
		sink_soon(sink);
}

static const struct channel_events events = {.frame = frame_arrived, .closed = closed};

// The frame that had to wait, once more.
static void unstash(struct sink *sink)
{
	struct session *session = &sink->session;
	uint64_t number = session->number;
	struct frame frame;
	struct error err;
	uint8_t *bytes;
	int error;

	if (!session->stash || session->in_frame)
		return;
	error = frame_check(session->stash, session->stash_length, &frame);
	if (!error)
		error = frames_take(sink, &frame, &err);
	if (error == -EAGAIN || session->number != number)
		return;
	if (error) {
		session_end(sink, err.text);
		return;
	}
	bytes = session->stash;
	session->stash = NULL;
	free(bytes);
	session->held = false;
	sink->heard = clock_now(sink->clock);
	session->held_for += sink->heard - session->held_at;
	sink->again = true;
	channel_hold(session->channel, false);
}

// Heartbeats.

// Percent of the time since it was asked last.
static unsigned share_held(struct sink *sink)
{
	struct session *session = &sink->session;
	uint64_t now = clock_now(sink->clock), held = session->held_for + (session->held ? now - session->held_at : 0);

	session->held_for = 0;
	session->held_at = now;
	return held < HEARTBEAT_PERIOD ? (unsigned)(held * 100 / HEARTBEAT_PERIOD) : 100;
}

static void send_heartbeat(struct sink *sink)
{
	struct wire_heartbeat heartbeat = {
	        .wall = clock_wall(sink->clock),
	        .cut = journal_durable(sink->journal),
	        .applied = journal_applied_epoch(sink->journal),
	        .held = share_held(sink),
	};
	uint8_t body[WIRE_BODY_MAX];

	if (!session_crowded(sink))
		session_send(sink, FRAME_HEARTBEAT, body, wire_put_heartbeat(body, &heartbeat));
}

static void ticked(struct timer *timer)
{
	struct sink *sink = (struct sink *)((char *)timer - offsetof(struct sink, session.tick));
	struct session *session = &sink->session;
	uint64_t now = clock_now(sink->clock);

	// while we hold the channel, the silence is ours
	if (!session->held && now - sink->heard >= SILENCE_MAX) {
		session_end(sink, "no word from the primary for 5 s");
		return;
	}
	sink->receive_rate = (3 * sink->receive_rate + sink->received_bytes - sink->counted_bytes) / 4;
	sink->counted_bytes = sink->received_bytes;
	clock_set(sink->clock, &session->tick, now + HEARTBEAT_PERIOD);
	if (session->stage == SESSION_OPEN)
		send_heartbeat(sink);
}

// The handshake.

static void send_beyond(struct sink *sink)
{
	struct wire_beyond frame;
	uint8_t body[WIRE_BODY_MAX];

	if (beyond_next(sink->beyond, &frame))
		session_send(sink, FRAME_BEYOND, body, wire_put_beyond(body, &frame));
	else
		sink->session.tells_beyond = false;
}

void session_advance(struct sink *sink)
{
	if (sink->session.stage == SESSION_SETTLING && sink_settled(sink))
		welcome_send(sink);
	while (sink->session.stage == SESSION_OPEN && sink->session.tells_beyond && !session_crowded(sink))
		send_beyond(sink);
	if (sink->session.stage == SESSION_OPEN)
		unstash(sink);
}

void sink_attach(struct sink *sink, struct channel *channel, const struct wire_hello *hello)
{
	struct session *session = &sink->session;
	uint64_t now;

	session_end(sink, "the primary opened another connection");
	session->channel = channel;
	channel->events = &events;
	channel->user = sink;
	session->outbox = calloc(1, sizeof(*session->outbox));
	if (!session->outbox) {
		channel_close(channel);
		session->channel = NULL;
		sink_event(sink, SINK_REFUSED, 0, "no memory for a connection");
		return;
	}
	session->outbox->sink = sink;
	session->stage = SESSION_SETTLING;
	now = clock_now(sink->clock);
	sink->heard = now;
	session->tick.fire = ticked;
	clock_set(sink->clock, &session->tick, sink->heard + HEARTBEAT_PERIOD);
	session->hello = *hello;
	if (welcome_due(sink))
		sink_soon(sink);
}
