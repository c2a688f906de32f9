// SPDX-License-Identifier: Apache-2.0
#include "link_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define INPUT_STRANGER (16 << 10) // bytes in one receive
#define INPUT_TRUSTED (512 << 10)
#define BATCH_BYTES (512 << 10) // aim of one send
#define PLAIN_BYTES (BATCH_BYTES + FRAME_BYTES_MAX)
#define OUTPUT_MAX (PLAIN_BYTES + BATCH_BYTES) // no more is received before some of it is gone
#define FAREWELL_BYTES (16 << 10) // of small messages that still go out after a close

#define OF(type, member, pointer) ((type *)((char *)(pointer)-offsetof(type, member)))

static const struct channel_ops channel_ops;
static void trust(struct link_channel *channel);
static void kicked(struct timer *timer);
static void limit_passed(struct timer *timer);
static void received(struct op *op, int result, unsigned flags);
static void sent(struct op *op, int result, unsigned flags);

static struct link *link_of(struct channel *channel)
{
	return (struct link *)channel;
}

static void kick(struct link *link)
{
	if (!link->kick.armed)
		clock_set(link->links->clock, &link->kick, 0);
}

static void set_limit(struct link *link, uint64_t from, unsigned seconds)
{
	clock_set(link->links->clock, &link->limit, from + seconds * NSEC_PER_SEC);
}

struct link *link_new(struct links *links, enum tls_side side, const uint8_t *key)
{
	struct link *link = calloc(1, sizeof(*link));

	if (!link)
		return NULL;
	link->tls = tls_new(links->tls, side, key);
	if (!link->tls) {
		free(link);
		return NULL;
	}
	link->base.channel.ops = &channel_ops;
	link->base.trust = trust;
	link->links = links;
	link->fd = -1;
	link->trusted = key != NULL;
	link->queue_end = &link->queue;
	link->batch_end = &link->batch;
	link->sent_end = &link->sent;
	link->kick.fire = kicked;
	link->limit.fire = limit_passed;
	link->receive.done = received;
	link->send.done = sent;
	link->next = links->first;
	if (link->next)
		link->next->previous = link;
	links->first = link;
	return link;
}

static void free_link(struct link *link)
{
	struct links *links = link->links;

	clock_cancel(links->clock, &link->kick);
	clock_cancel(links->clock, &link->limit);
	if (link->previous)
		link->previous->next = link->next;
	else
		links->first = link->next;
	if (link->next)
		link->next->previous = link->previous;
	if (link->fd >= 0)
		close(link->fd);
	tls_free(link->tls);
	encoder_free(link->encoder);
	free(link->input);
	free(link->frame);
	free(link->plain);
	free(link->output);
	free(link);
	if (links->stopping && !links->first)
		clock_set(links->clock, &links->stop_timer, 0);
}

static void finish(struct link *link, struct message *list)
{
	struct message *next;

	for (; list; list = next) {
		next = list->next;
		if (link->finished)
			link->finished(link->finished_user, list);
		else
			list->done(list);
	}
}

static struct message *take(struct message **list, struct message ***end)
{
	struct message *taken = *list;

	*list = NULL;
	*end = list;
	return taken;
}

static void append(struct message ***end, struct message *message)
{
	message->next = NULL;
	**end = message;
	*end = &message->next;
}

static void finish_unsent(struct link *link, struct message *list)
{
	for (struct message *message = list; message; message = message->next)
		message->wire_bytes = 0;
	finish(link, list);
}

// The messages of a link that is ending. Those in flight were copied. What a
// done() sends now is met by the next kick.
static void finish_all(struct link *link)
{
	struct message *in_flight = take(&link->sent, &link->sent_end);
	struct message *batch = take(&link->batch, &link->batch_end);
	struct message *queue = take(&link->queue, &link->queue_end);

	if (link->graceful) {
		finish(link, in_flight);
		finish(link, batch);
	} else {
		finish_unsent(link, in_flight);
		finish_unsent(link, batch);
	}
	finish_unsent(link, queue);
}

// Makes operations under way end soon.
static void cut(struct link *link)
{
	link->graceful = false;
	link->output_over = link->input_over = true;
	if (link->fd >= 0)
		(void)shutdown(link->fd, SHUT_RDWR);
	if (link->connecting)
		loop_cancel(link->links->loop, &link->connect);
	if (link->receiving)
		loop_cancel(link->links->loop, &link->receive);
	if (link->sending)
		loop_cancel(link->links->loop, &link->send);
}

static void begin_end(struct link *link, bool graceful)
{
	struct clock *clock = link->links->clock;

	link->state = LINK_ENDING;
	link->graceful = graceful;
	if (graceful)
		set_limit(link, clock_now(clock), LINK_LINGER_SECONDS);
	else
		clock_cancel(clock, &link->limit);
	if (!graceful)
		cut(link);
}

void link_fail(struct link *link, bool graceful, const char *format, ...)
{
	struct link_waiter waiter = link->waiter;
	bool opened = link->state == LINK_OPEN, told = link->user_gone;
	char why[400];
	va_list args;

	if (link->state == LINK_ENDING)
		return;
	link->dialer = NULL;
	va_start(args, format);
	vsnprintf(why, sizeof(why), format, args);
	va_end(args);

	if (opened && graceful)
		tls_shutdown(link->tls);
	begin_end(link, graceful);
	finish_all(link);
	if (told || link->user_gone)
		return;
	link->user_gone = true;
	if (opened)
		link->base.channel.events->closed(link->base.channel.user, why);
	else
		waiter.failed(waiter.user, why);
}

// --- sending

static bool is_bulk(const struct message *message)
{
	return message->data_length > 0;
}

// Encodes messages of the queue into plain until there are limit bytes or,
// when small is set, one with content comes.
static size_t encode(struct link *link, size_t limit, bool small)
{
	size_t fill = 0;

	while (link->queue && fill < limit && !(small && is_bulk(link->queue))) {
		struct message *message = link->queue;

		link->queue = message->next;
		if (!link->queue)
			link->queue_end = &link->queue;
		message->wire_bytes = encoder_encode(link->encoder, message, link->plain + fill);
		fill += message->wire_bytes;
		append(&link->batch_end, message);
	}
	return fill;
}

static bool ready_to_encode(struct link *link)
{
	if (!link->encoder)
		link->encoder = encoder_new();
	if (!link->plain)
		link->plain = malloc(PLAIN_BYTES);
	return link->encoder && link->plain;
}

static void fill_batch(struct link *link)
{
	if (link->state != LINK_OPEN || link->user_gone)
		return;
	if (link->queue && !ready_to_encode(link)) {
		link_fail(link, true, "out of memory");
		return;
	}
	while (link->queue && tls_output_length(link->tls) < BATCH_BYTES) {
		size_t length = encode(link, BATCH_BYTES, false);

		if (tls_write(link->tls, link->plain, length)) {
			link_fail(link, true, "send: %s", tls_reason(link->tls));
			return;
		}
	}
}

static void submit_send(struct link *link)
{
	struct io_uring_sqe *sqe = loop_sqe(link->links->loop, &link->send);

	io_uring_prep_send(sqe, link->fd, link->output + link->output_done, link->output_length - link->output_done,
	                   MSG_NOSIGNAL | MSG_WAITALL);
	link->sending = true;
}

// Sends all that the session has for the peer, unless a send is under way.
static void flush_output(struct link *link)
{
	size_t length = tls_output_length(link->tls);

	if (link->sending || length == 0 || link->output_over)
		return;
	if (length > link->output_size) {
		free(link->output);
		link->output = malloc(length);
		link->output_size = link->output ? length : 0;
		if (!link->output) {
			link_fail(link, false, "out of memory");
			return;
		}
	}
	link->output_length = tls_output(link->tls, link->output, length);
	link->output_done = 0;
	if (link->batch) {
		*link->sent_end = link->batch;
		link->sent_end = link->batch_end;
		link->batch = NULL;
		link->batch_end = &link->batch;
	}
	submit_send(link);
}

static void pump_send(struct link *link)
{
	fill_batch(link);
	if (!link->sending) {
		flush_output(link);
		// The next batch is made while this one is sent.
		if (link->sending)
			fill_batch(link);
	}
}

static void pump_receive(struct link *link);

static void sent(struct op *op, int result, unsigned flags)
{
	struct link *link = OF(struct link, send, op);

	(void)flags;
	link->sending = false;
	if (result > 0)
		link->output_done += (size_t)result;
	if (link->output_over) {
		// only waited for
	} else if (result < 0 && result != -EINTR && result != -EAGAIN) {
		if (link->state == LINK_ENDING)
			cut(link);
		else
			link_fail(link, false, "send: %s", strerror(-result));
	} else if (link->output_done < link->output_length) {
		submit_send(link);
	} else {
		finish(link, take(&link->sent, &link->sent_end));
		pump_send(link);
		pump_receive(link);
	}
	link_settle(link);
}

// --- receiving

static void submit_receive(struct link *link)
{
	size_t size = link->trusted ? INPUT_TRUSTED : INPUT_STRANGER;
	struct io_uring_sqe *sqe;

	if (link->receiving || link->input_over)
		return;
	if (link->input_size < size) {
		free(link->input);
		link->input = malloc(size);
		link->input_size = link->input ? size : 0;
		if (!link->input) {
			link_fail(link, false, "out of memory");
			return;
		}
	}
	sqe = loop_sqe(link->links->loop, &link->receive);
	io_uring_prep_recv(sqe, link->fd, link->input, link->input_size, 0);
	link->receiving = true;
}

static bool make_frame_room(struct link *link, size_t size)
{
	uint8_t *frame;

	if (size <= link->frame_size)
		return true;
	frame = realloc(link->frame, size);
	if (!frame)
		return false;
	link->frame = frame;
	link->frame_size = size;
	return true;
}

// The channel's own part in the conversation: the key for COMPARE.
static int take_hash_key(struct link *link, const struct frame *frame)
{
	struct wire_welcome welcome;

	if (wire_get_welcome(frame, &welcome))
		return -EBADMSG;
	if (!ready_to_encode(link))
		return -ENOMEM;
	encoder_set_hash_key(link->encoder, welcome.hash_key);
	return 0;
}

static void deliver(struct link *link)
{
	struct frame frame;

	if (frame_check(link->frame, link->frame_length, &frame)) {
		link_fail(link, true, "frame %llu is damaged", (unsigned long long)link->frames);
		return;
	}
	if (frame.sequence != link->frames) {
		link_fail(link, true, "frame %llu has number %llu", (unsigned long long)link->frames,
		          (unsigned long long)frame.sequence);
		return;
	}
	if (frame.type == FRAME_WELCOME && take_hash_key(link, &frame)) {
		link_fail(link, true, "frame %llu: bad WELCOME", (unsigned long long)link->frames);
		return;
	}
	link->frames++;
	link->frame_fill = link->frame_length = 0;
	link->base.channel.events->frame(link->base.channel.user, &frame);
}

// Looks at what has come of a frame. False when the link has failed.
static bool advance_frame(struct link *link)
{
	if (!link->frame_length && link->frame_fill == FRAME_HEADER_BYTES) {
		uint32_t max = link->trusted ? FRAME_PAYLOAD_MAX : FRAME_PAYLOAD_STRANGER_MAX;
		int64_t length = frame_payload_length(link->frame, max);

		if (length < 0) {
			link_fail(link, true, "frame %llu is of unknown type or too long%s",
			          (unsigned long long)link->frames, link->trusted ? "" : " for a stranger");
			return false;
		}
		link->frame_length = FRAME_HEADER_BYTES + (size_t)length;
		if (!make_frame_room(link, link->frame_length)) {
			link_fail(link, true, "out of memory");
			return false;
		}
	}
	if (link->frame_length && link->frame_fill == link->frame_length)
		deliver(link);
	return link->state == LINK_OPEN;
}

static void read_failed(struct link *link, ssize_t error)
{
	if (error == -EPIPE)
		link_fail(link, true,
		          link->frame_fill ? "the peer ended the connection within a frame"
		                           : "the peer ended the connection");
	else
		link_fail(link, true, "%s", tls_reason(link->tls));
}

// Delivers what has come and asks for more.
static void pump_receive(struct link *link)
{
	while (link->state == LINK_OPEN && !link->held && !link->user_gone) {
		size_t want = link->frame_length ? link->frame_length : FRAME_HEADER_BYTES;
		ssize_t got;

		if (!make_frame_room(link, want)) {
			link_fail(link, true, "out of memory");
			return;
		}
		got = tls_read(link->tls, link->frame + link->frame_fill, want - link->frame_fill);
		if (got == -EAGAIN) {
			if (tls_output_length(link->tls) < OUTPUT_MAX)
				submit_receive(link);
			return;
		}
		if (got < 0) {
			read_failed(link, got);
			return;
		}
		link->frame_fill += (size_t)got;
		if (!advance_frame(link))
			return;
	}
}

// --- handshake

static void open_link(struct link *link)
{
	struct channel *channel = &link->base.channel;
	struct link_waiter waiter = link->waiter;

	if (tls_export(link->tls, TOKEN_EXPORTER_LABEL, link->base.exporter, sizeof(link->base.exporter))) {
		link_fail(link, true, "TLS handshake: no exported secret");
		return;
	}
	memcpy(channel->peer_key, tls_peer_key(link->tls), sizeof(channel->peer_key));
	link->state = LINK_OPEN;
	link->heard = clock_now(link->links->clock);
	if (link->dialer)
		link->dialer->link = NULL;
	link->dialer = NULL;
	waiter.opened(waiter.user, channel);
	if (link->trusted)
		set_limit(link, link->heard, LINK_SILENCE_SECONDS);
	else
		set_limit(link, link->since, LINK_STRANGER_SECONDS);
	if (!channel->events && !link->user_gone) {
		link->user_gone = true; // nobody took it over
		kick(link);
	}
}

static void pump_handshake(struct link *link)
{
	int result = tls_handshake(link->tls);

	flush_output(link);
	if (link->state != LINK_HANDSHAKE)
		return;
	if (result == -EAGAIN) {
		submit_receive(link);
	} else if (result < 0) {
		link_fail(link, true, "TLS handshake: %s", tls_reason(link->tls));
	} else {
		open_link(link);
		pump_receive(link);
	}
}

void link_begin(struct link *link)
{
	net_tune(link->fd);
	net_peer(link->fd, link->base.channel.peer);
	link->state = LINK_HANDSHAKE;
	link->since = clock_now(link->links->clock);
	set_limit(link, link->since, LINK_HANDSHAKE_SECONDS);
	kick(link);
}

static void received(struct op *op, int result, unsigned flags)
{
	struct link *link = OF(struct link, receive, op);

	(void)flags;
	link->receiving = false;
	if (link->state == LINK_ENDING) {
		if (result <= 0 && result != -EINTR && result != -EAGAIN)
			link->input_over = true; // what still comes is thrown away
	} else if (result < 0 && result != -EINTR && result != -EAGAIN) {
		link_fail(link, false, "receive: %s", strerror(-result));
	} else {
		if (result == 0) {
			link->input_over = true;
			tls_feed_end(link->tls);
		} else if (result > 0 && tls_feed(link->tls, link->input, (size_t)result)) {
			link_fail(link, false, "out of memory");
		}
		link->heard = clock_now(link->links->clock);
		if (link->state == LINK_HANDSHAKE)
			pump_handshake(link);
		else
			pump_receive(link);
		if (link->state == LINK_OPEN && !link->sending)
			flush_output(link);
	}
	link_settle(link);
}

// --- ending

// What the user sent just before it closed, as far as it is small, then the
// farewell.
static void say_farewell(struct link *link)
{
	size_t length = 0;

	if (link->queue && ready_to_encode(link))
		length = encode(link, FAREWELL_BYTES, true);
	if (tls_write(link->tls, link->plain, length) == 0)
		tls_shutdown(link->tls);
	begin_end(link, true);
}

static void pump_ending(struct link *link)
{
	if (link->graceful) {
		flush_output(link);
		if (!link->sending && !link->output_over) {
			link->output_over = true;
			(void)shutdown(link->fd, SHUT_WR);
		}
		// Closing with bytes unread would reset the connection, and take
		// from the peer what it has not read yet.
		submit_receive(link);
	}
}

void link_settle(struct link *link)
{
	if (link->state != LINK_ENDING || !link->user_gone)
		return;
	pump_ending(link);
	if (link->connecting || link->receiving || link->sending || link->kick.armed)
		return;
	if (link->queue || link->batch || link->sent)
		kick(link);
	else
		free_link(link);
}

static void kicked(struct timer *timer)
{
	struct link *link = OF(struct link, kick, timer);

	switch (link->state) {
	case LINK_CONNECTING:
		if (link->user_gone)
			begin_end(link, false);
		else
			link_connect_next(link);
		break;
	case LINK_HANDSHAKE:
		if (link->user_gone)
			begin_end(link, false);
		else
			pump_handshake(link);
		break;
	case LINK_OPEN:
		if (link->user_gone) {
			say_farewell(link);
			finish_all(link);
			break;
		}
		pump_send(link);
		pump_receive(link);
		break;
	case LINK_ENDING:
		finish_all(link);
		break;
	}
	link_settle(link);
}

static void limit_passed(struct timer *timer)
{
	struct link *link = OF(struct link, limit, timer);
	uint64_t now = clock_now(link->links->clock);

	switch (link->state) {
	case LINK_CONNECTING:
		loop_cancel(link->links->loop, &link->connect);
		break;
	case LINK_HANDSHAKE:
		link_fail(link, false, "TLS handshake: no answer within %d s", LINK_HANDSHAKE_SECONDS);
		break;
	case LINK_OPEN:
		if (!link->trusted)
			link_fail(link, true, "the peer did not introduce itself within %d s", LINK_STRANGER_SECONDS);
		else if (!link->receiving)
			set_limit(link, now, LINK_SILENCE_SECONDS); // it is we who do not listen
		else if (now >= link->heard + LINK_SILENCE_SECONDS * NSEC_PER_SEC)
			link_fail(link, false, "the peer was silent for %d s", LINK_SILENCE_SECONDS);
		else
			set_limit(link, link->heard, LINK_SILENCE_SECONDS);
		break;
	case LINK_ENDING:
		cut(link);
		break;
	}
	link_settle(link);
}

// --- what the user calls

static void channel_send_message(struct channel *channel, struct message *message)
{
	struct link *link = link_of(channel);

	message->wire_bytes = 0;
	append(&link->queue_end, message);
	kick(link);
}

static void channel_set_hold(struct channel *channel, bool hold)
{
	struct link *link = link_of(channel);

	if (link->held && !hold) {
		link->heard = clock_now(link->links->clock);
		kick(link);
	}
	link->held = hold;
}

static void channel_drop(struct channel *channel)
{
	struct link *link = link_of(channel);

	link->user_gone = true;
	kick(link);
}

static const struct channel_ops channel_ops = {channel_send_message, channel_set_hold, channel_drop};

static void trust(struct link_channel *channel)
{
	struct link *link = link_of(&channel->channel);

	if (link->trusted)
		return;
	link->trusted = true;
	if (link->state == LINK_OPEN)
		set_limit(link, link->heard, LINK_SILENCE_SECONDS);
}

void link_trust(struct channel *channel)
{
	struct link_channel *base = (struct link_channel *)channel;

	base->trust(base);
}

const uint8_t *link_exporter(const struct channel *channel)
{
	return ((const struct link_channel *)channel)->exporter;
}

void link_set_finished(struct channel *channel, void (*finished)(void *user, struct message *message), void *user)
{
	struct link *link = link_of(channel);

	link->finished = finished;
	link->finished_user = user;
}

struct link *link_accept(struct links *links, int fd, const struct link_waiter *waiter)
{
	struct link *link = links->stopping ? NULL : link_new(links, TLS_SERVER, NULL);

	if (!link) {
		close(fd);
		return NULL;
	}
	link->waiter = *waiter;
	link->fd = fd;
	link_begin(link);
	return link;
}

void link_cancel(struct link *link)
{
	if (link->dialer)
		link->dialer->link = NULL;
	link->dialer = NULL;
	link->user_gone = true;
	kick(link);
}

// --- the set of links

static void all_stopped(struct timer *timer)
{
	struct links *links = OF(struct links, stop_timer, timer);

	if (!links->first)
		links->stopped(links->stopped_user);
}

struct links *links_new(struct loop *loop, struct tls_context *tls)
{
	struct links *links = calloc(1, sizeof(*links));

	if (!links)
		return NULL;
	links->loop = loop;
	links->clock = loop_clock(loop);
	links->tls = tls;
	links->stop_timer.fire = all_stopped;
	return links;
}

void links_stop(struct links *links, void (*stopped)(void *user), void *user)
{
	links->stopping = true;
	links->stopped = stopped;
	links->stopped_user = user;
	for (struct link *link = links->first; link; link = link->next)
		if (link->state == LINK_CONNECTING || link->state == LINK_HANDSHAKE)
			link_cancel(link);
	if (!links->first)
		clock_set(links->clock, &links->stop_timer, 0);
}

void links_free(struct links *links)
{
	free(links);
}
