// SPDX-License-Identifier: Apache-2.0
// The port. Whoever connects is a stranger: link.h bounds what it may send and
// for how long, here its number is bounded; the oldest gives way to the next.
// Its first frame says what it wants: HELLO for a pair whose pinned key it has
// proved, or JOIN with an invitation.
#include "receiver.h"

#include "standby.h"

#include "common/config.h"
#include "common/fields.h"
#include "common/lock.h"
#include "common/log.h"
#include "common/pairs.h"
#include "common/state_file.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define STRANGERS_MAX 64
#define BIND_RETRY_MS 20
#define RETRY_NSEC (100 * NSEC_PER_MSEC) // after accept() found no descriptor or memory

struct stranger {
	TAILQ_ENTRY(stranger) entry;
	struct listener *listener;
	struct link_waiter waiter;
	struct link *link; // until it is opened
	struct channel *channel; // from then on
	char peer[NET_PEER_MAX];
};

struct listener {
	struct receiver *receiver;
	int fd;
	struct op accept;
	bool accepting, stopping;
	struct timer retry;
	TAILQ_HEAD(strangers, stranger) strangers; // oldest first
	unsigned stranger_count;
};

static void forget(struct stranger *stranger)
{
	struct listener *listener = stranger->listener;

	TAILQ_REMOVE(&listener->strangers, stranger, entry);
	listener->stranger_count--;
	free(stranger);
}

static void drop(struct stranger *stranger)
{
	if (stranger->link)
		link_cancel(stranger->link);
	else
		channel_close(stranger->channel);
	forget(stranger);
}

// -- refusing --

struct refusal_message {
	struct message message; // first
	uint8_t body[WIRE_BODY_MAX];
};

static void refusal_sent(struct message *message)
{
	free(message);
}

static void send_body(struct channel *channel, struct refusal_message *refusal, enum frame_type type, size_t length)
{
	refusal->message =
	        (struct message){.type = type, .body = refusal->body, .body_length = length, .done = refusal_sent};
	channel_send(channel, &refusal->message);
}

static void send_refusal(struct channel *channel, enum refusal code, const char *reason)
{
	struct refusal_message *refusal = malloc(sizeof(*refusal));
	struct wire_refuse body = {.code = code};

	if (refusal) {
		snprintf(body.reason, sizeof(body.reason), "%s", reason);
		send_body(channel, refusal, FRAME_REFUSE, wire_put_refuse(refusal->body, &body));
	}
	channel_close(channel);
}

void refuse_channel(struct receiver *receiver, struct channel *channel, enum refusal code, const char *pair,
                    const char *reason)
{
	(void)receiver;
	log_event(LOG_LEVEL_WARNING, "connection-refused", "peer=%s pair=%s reason=%s", channel->peer, pair ? pair : "",
	          reason);
	send_refusal(channel, code, reason);
}

// -- HELLO --

// A pair that this node is the primary of, known from its files alone: the
// agent has it. False when there is none.
static bool find_primary(struct receiver *receiver, const struct id *id, struct pair_state *state, char *name)
{
	char(*names)[NAME_MAX_LENGTH + 1] = NULL, path[PATHS_MAX];
	size_t count = 0;
	bool found = false;

	if (config_list(receiver->paths.configs, &names, &count, NULL) < 0)
		return false;
	for (size_t i = 0; i < count && !found; i++) {
		if (state_file_read(path_pair_file(&receiver->paths, names[i], FILE_STATE, path), state, NULL) < 0)
			continue;
		found = state->role == ROLE_PRIMARY && id_equal(&state->pair, id);
		if (found)
			strcpy(name, names[i]);
	}
	free(names);
	return found;
}

// A former primary learns from our lineage that it was promoted over. It comes
// again and again; the agents of both nodes log what that means.
static void answer_as_primary(struct channel *channel, const struct pair_state *state)
{
	struct refusal_message *message = calloc(1, sizeof(*message));
	struct wire_welcome *welcome = calloc(1, sizeof(*welcome));

	if (message && welcome) {
		welcome->hello = (struct wire_hello){.version_min = WIRE_VERSION,
		                                     .version_max = WIRE_VERSION,
		                                     .pair = state->pair,
		                                     .role = ROLE_PRIMARY,
		                                     .lineage = state->lineage,
		                                     .born = state->born,
		                                     .untouched = state->untouched,
		                                     .split = state->split,
		                                     .local_bytes = state->local_bytes,
		                                     .local_since = state->local_since,
		                                     .volume_count = state->volume_count};
		for (unsigned i = 0; i < state->volume_count; i++) {
			memcpy(welcome->hello.volumes[i].name, state->volumes[i].name, sizeof(state->volumes[i].name));
			welcome->hello.volumes[i].bytes = state->volumes[i].bytes;
		}
		welcome->consistent = true;
		send_body(channel, message, FRAME_WELCOME, wire_put_welcome(message->body, welcome));
	} else {
		free(message);
	}
	free(welcome);
	send_refusal(channel, REFUSAL_LINEAGE, "this node is the primary of the pair, not its standby");
}

// The peer was promoted over this node, or beside it and later: its agent is
// told. Where that was handed over, soon this node is the standby.
static void meet_primary(struct receiver *receiver, struct channel *channel, const char *name,
                         const struct pair_state *state, const struct wire_hello *hello)
{
	struct standing mine = {.role = ROLE_PRIMARY, .lineage = state->lineage, .born = state->born};
	struct standing peers = wire_standing(hello, true);
	enum verdict verdict = lineage_judge(&mine, &peers);

	if (verdict == VERDICT_FENCED && state->handover)
		send_refusal(channel, REFUSAL_BUSY, "this node hands over");
	else
		answer_as_primary(channel, state);
	if (verdict == VERDICT_FENCED || (verdict == VERDICT_SPLIT_BRAIN && lineage_gives_way(&mine, &peers)))
		fence_pair(receiver, name, state, hello);
}

static void hello(struct receiver *receiver, struct channel *channel, const struct frame *frame)
{
	struct wire_hello hello;
	struct standby *standby;
	struct pair_state state;
	char name[NAME_MAX_LENGTH + 1] = "", reason[REASON_MAX];
	const struct pair_state *known = &state;

	int error = wire_get_hello(frame, &hello);

	if (error < 0 && error != -EPROTONOSUPPORT) {
		refuse_channel(receiver, channel, REFUSAL_PROTOCOL, NULL, "the HELLO is malformed");
		return;
	}
	if (error == -EPROTONOSUPPORT) {
		snprintf(reason, sizeof(reason),
		         "protocol versions %u to %u are not known here; this node speaks version %d",
		         hello.version_min, hello.version_max, WIRE_VERSION);
		refuse_channel(receiver, channel, REFUSAL_VERSION, NULL, reason);
		return;
	}
	standby = standby_find_id(receiver, &hello.pair);
	if (standby) {
		known = standby_state(standby);
		snprintf(name, sizeof(name), "%s", standby_name(standby));
	} else if (!find_primary(receiver, &hello.pair, &state, name)) {
		refuse_channel(receiver, channel, REFUSAL_UNKNOWN_PAIR, NULL, "no such pair on this node; pair anew");
		return;
	}
	if (CRYPTO_memcmp(known->peer_key, channel->peer_key, sizeof(known->peer_key)) != 0) {
		refuse_channel(receiver, channel, REFUSAL_WRONG_KEY, name,
		               "the key is not the one pinned for the pair");
		return;
	}
	link_trust(channel);
	if (standby)
		standby_attach(standby, channel, &hello);
	else
		meet_primary(receiver, channel, name, &state, &hello);
}

// -- strangers --

static void first_frame(void *user, const struct frame *frame)
{
	struct stranger *stranger = user;
	struct receiver *receiver = stranger->listener->receiver;
	struct channel *channel = stranger->channel;
	char reason[80];

	forget(stranger);
	if (frame->type == FRAME_HELLO) {
		hello(receiver, channel, frame);
	} else if (frame->type == FRAME_JOIN) {
		joining_start(receiver, channel, frame);
	} else {
		snprintf(reason, sizeof(reason), "the first frame is %s, not HELLO or JOIN",
		         frame_type_name(frame->type));
		refuse_channel(receiver, channel, REFUSAL_PROTOCOL, NULL, reason);
	}
}

static void closed(void *user, const char *why)
{
	struct stranger *stranger = user;

	log_event(LOG_LEVEL_WARNING, "connection-dropped", "peer=%s reason=%s", stranger->channel->peer, why);
	forget(stranger);
}

static void opened(void *user, struct channel *channel)
{
	static const struct channel_events events = {first_frame, closed};
	struct stranger *stranger = user;

	stranger->link = NULL;
	stranger->channel = channel;
	channel->events = &events;
	channel->user = stranger;
}

static void failed(void *user, const char *why)
{
	struct stranger *stranger = user;

	log_event(LOG_LEVEL_WARNING, "connection-dropped", "peer=%s reason=%s", stranger->peer, why);
	forget(stranger);
}

static void welcome_stranger(struct listener *listener, int fd)
{
	struct stranger *stranger = calloc(1, sizeof(*stranger));

	if (!stranger) {
		close(fd);
		return;
	}
	if (listener->stranger_count == STRANGERS_MAX)
		drop(TAILQ_FIRST(&listener->strangers));
	stranger->listener = listener;
	stranger->waiter = (struct link_waiter){opened, failed, stranger};
	net_peer(fd, stranger->peer);
	net_tune(fd);
	stranger->link = link_accept(listener->receiver->links, fd, &stranger->waiter);
	if (!stranger->link) {
		free(stranger);
		return;
	}
	TAILQ_INSERT_TAIL(&listener->strangers, stranger, entry);
	listener->stranger_count++;
}

// -- the port --

static void start_accept(struct listener *listener)
{
	struct io_uring_sqe *sqe = loop_sqe(listener->receiver->loop, &listener->accept);

	io_uring_prep_accept(sqe, listener->fd, NULL, NULL, SOCK_CLOEXEC);
	listener->accepting = true;
}

static void retry(struct timer *timer)
{
	start_accept((struct listener *)((char *)timer - offsetof(struct listener, retry)));
}

static void gone(struct listener *listener)
{
	struct receiver *receiver = listener->receiver;

	close(listener->fd);
	free(listener);
	receiver->listener = NULL;
	if (!receiver->stopping) // the daemon never ran, and waits for nothing else
		loop_quit(receiver->loop);
	receiver_settle(receiver);
}

static void accepted(struct op *op, int result, unsigned flags)
{
	struct listener *listener = (struct listener *)((char *)op - offsetof(struct listener, accept));
	struct clock *clock = loop_clock(listener->receiver->loop);

	(void)flags;
	listener->accepting = false;
	if (listener->stopping) {
		if (result >= 0)
			close(result);
		gone(listener);
		return;
	}
	if (result >= 0)
		welcome_stranger(listener, result);
	if (result == -EMFILE || result == -ENFILE || result == -ENOBUFS || result == -ENOMEM)
		clock_set(clock, &listener->retry, clock_now(clock) + RETRY_NSEC);
	else
		start_accept(listener);
}

static int bind_port(struct net_address *address, struct error *err)
{
	int fd = net_listen(address, err);

	// A machine without IPv6 still has every address of its own.
	if (fd == -EAFNOSUPPORT && !strcmp(address->host, "::")) {
		strcpy(address->host, "0.0.0.0");
		fd = net_listen(address, err);
	}
	return fd;
}

// A killed receiver's port, too, is free only when the kernel has ended its
// last io_uring request (lock.h). Blocks, at the start of the daemon.
static int bind_port_patiently(struct net_address *address, struct error *err)
{
	const struct timespec pause = {.tv_nsec = BIND_RETRY_MS * 1000000L};
	int fd = bind_port(address, err);

	for (int waited = 0; fd == -EADDRINUSE && waited < LOCK_PATIENCE_MS; waited += BIND_RETRY_MS) {
		nanosleep(&pause, NULL);
		fd = bind_port(address, err);
	}
	return fd;
}

int listener_open(struct receiver *receiver, const char *text, struct error *err)
{
	struct net_address address;
	struct listener *listener;
	int fd = net_parse(text, NET_PORT_DEFAULT, &address, err);

	if (fd >= 0)
		fd = bind_port_patiently(&address, err);
	if (fd < 0)
		return fd;
	listener = calloc(1, sizeof(*listener));
	if (!listener) {
		close(fd);
		return fail(err, ENOMEM, "listen on %s: out of memory", text);
	}
	address.port = net_local_port(fd);
	receiver->listen = address;
	receiver->listener = listener;
	listener->receiver = receiver;
	listener->fd = fd;
	listener->accept.done = accepted;
	listener->retry.fire = retry;
	TAILQ_INIT(&listener->strangers);
	start_accept(listener);
	return 0;
}

void listener_stop(struct listener *listener)
{
	struct loop *loop = listener->receiver->loop;
	struct stranger *stranger, *next;

	listener->stopping = true;
	clock_cancel(loop_clock(loop), &listener->retry);
	for (stranger = TAILQ_FIRST(&listener->strangers); stranger; stranger = next) {
		next = TAILQ_NEXT(stranger, entry);
		drop(stranger);
	}
	if (listener->accepting)
		loop_cancel(loop, &listener->accept);
	else
		gone(listener);
}
