// SPDX-License-Identifier: Apache-2.0
// From the network to the user: the handshake, then frames.
#include "link_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define INPUT_STRANGER (16 << 10) // bytes in one receive
#define INPUT_TRUSTED (512 << 10)
#define OUTPUT_MAX (2 * LINK_BATCH_BYTES + FRAME_BYTES_MAX) // no more is received before some of it is gone

void link_submit_receive(struct link *link)
{
	size_t size = link->trusted ? INPUT_TRUSTED : INPUT_STRANGER;
	void *input;

	if (link->receiving || link->input_over)
		return;
	input = tls_input(link->tls, size);
	if (!input) {
		link_fail(link, false, "out of memory");
		return;
	}
	io_uring_prep_recv(loop_sqe(link->links->loop, &link->receive), link->fd, input, size, 0);
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

// The channel's own part in the conversation: the key for COMPARE, and how
// content may be packed.
static int take_welcome(struct link *link, const struct frame *frame)
{
	struct wire_welcome welcome;

	if (wire_get_welcome(frame, &welcome))
		return -EBADMSG;
	if (!link_ready_to_encode(link))
		return -ENOMEM;
	encoder_set_hash_key(link->encoder, welcome.hash_key);
	if (welcome.hello.features & WIRE_FEATURE_ZSTD)
		effort_allow(&link->effort, PACK_ZSTD);
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
	if (frame.type == FRAME_WELCOME && take_welcome(link, &frame)) {
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

void link_pump_receive(struct link *link)
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
				link_submit_receive(link);
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
		link_set_limit(link, link->heard, LINK_SILENCE_SECONDS);
	else
		link_set_limit(link, link->since, LINK_STRANGER_SECONDS);
	if (!channel->events && !link->user_gone) {
		link->user_gone = true; // nobody took it over
		clock_set(link->links->clock, &link->kick, 0);
	}
}

void link_pump_handshake(struct link *link)
{
	int result = tls_handshake(link->tls);

	link_flush(link);
	if (link->state != LINK_HANDSHAKE)
		return;
	if (result == -EAGAIN) {
		link_submit_receive(link);
	} else if (result < 0) {
		link_fail(link, true, "TLS handshake: %s", tls_reason(link->tls));
	} else {
		open_link(link);
		link_pump_receive(link);
	}
}

void link_begin(struct link *link)
{
	net_tune(link->fd);
	net_peer(link->fd, link->base.channel.peer);
	link->state = LINK_HANDSHAKE;
	link->since = clock_now(link->links->clock);
	link_set_limit(link, link->since, LINK_HANDSHAKE_SECONDS);
	clock_set(link->links->clock, &link->kick, 0);
}

void link_received(struct op *op, int result, unsigned flags)
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
		} else if (result > 0) {
			tls_feed(link->tls, (size_t)result);
		}
		link->heard = clock_now(link->links->clock);
		if (link->state == LINK_HANDSHAKE)
			link_pump_handshake(link);
		else
			link_pump_receive(link);
		if (link->state == LINK_OPEN && !link->sending)
			link_flush(link);
	}
	link_settle(link);
}
