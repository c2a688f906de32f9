// SPDX-License-Identifier: Apache-2.0
// From messages to the network: encoded, encrypted, and sent in batches, the
// next of which is made while one is on its way.
#include "link_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define PLAIN_BYTES (LINK_BATCH_BYTES + FRAME_BYTES_MAX)
#define FAREWELL_BYTES (16 << 10) // of small messages that still go out after a close

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

void link_append(struct message ***end, struct message *message)
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

void link_finish_all(struct link *link)
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

static bool is_bulk(const struct message *message)
{
	return message->data_length > 0;
}

// A batch ends with so much content too: packing it must not take longer than
// what the socket holds takes to be sent.
static bool batch_is_whole(const struct link *link)
{
	return link->batch_content >= LINK_BATCH_BYTES || tls_output_length(link->tls) >= LINK_BATCH_BYTES;
}

// Encodes messages of the queue into plain until there are limit bytes, the batch
// is whole or, when small is set, one with content comes.
static size_t encode(struct link *link, size_t limit, bool small)
{
	size_t fill = 0;

	while (link->queue && fill < limit && !(small ? is_bulk(link->queue) : batch_is_whole(link))) {
		struct message *message = link->queue;

		link->queue = message->next;
		if (!link->queue)
			link->queue_end = &link->queue;
		if (message->type == FRAME_BLOCKS && is_bulk(message)) {
			encoder_set_level(link->encoder, effort_next(&link->effort));
			link->rate_limit = message->rate_limit;
			link->batch_content += message->data_length;
		}
		message->wire_bytes = encoder_encode(link->encoder, message, link->plain + fill);
		fill += message->wire_bytes;
		link_append(&link->batch_end, message);
	}
	return fill;
}

bool link_ready_to_encode(struct link *link)
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
	if (link->queue && !link_ready_to_encode(link)) {
		link_fail(link, true, "out of memory");
		return;
	}
	while (link->queue && !batch_is_whole(link)) {
		size_t length = encode(link, LINK_BATCH_BYTES, false);

		if (tls_write(link->tls, link->plain, length)) {
			link_fail(link, true, "send: %s", tls_reason(link->tls));
			return;
		}
	}
}

static void submit_send(struct link *link)
{
	struct io_uring_sqe *sqe = loop_sqe(link->links->loop, &link->send);
	int flags = MSG_NOSIGNAL | (link->watch.blocked ? MSG_WAITALL : MSG_DONTWAIT);

	io_uring_prep_send(sqe, link->fd, link->output + link->output_done, link->output_length - link->output_done,
	                   flags);
	link->sending = true;
}

void link_flush(struct link *link)
{
	if (link->sending || tls_output_length(link->tls) == 0 || link->output_over)
		return;
	link->output = tls_output(link->tls, &link->output_length);
	link->output_done = 0;
	if (link->batch) {
		*link->sent_end = link->batch;
		link->sent_end = link->batch_end;
		link->batch = NULL;
		link->batch_end = &link->batch;
		link->batch_content = 0;
	}
	submit_send(link);
}

void link_pump_send(struct link *link)
{
	fill_batch(link);
	if (!link->sending) {
		link_flush(link);
		// The next batch is made while this one is sent.
		if (link->sending) {
			fill_batch(link);
			link_round(link);
		}
	}
}

void link_sent(struct op *op, int result, unsigned flags)
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
			link_cut(link);
		else
			link_fail(link, false, "send: %s", strerror(-result));
	} else if (link->output_done < link->output_length) {
		link_blocked(link);
		submit_send(link);
	} else {
		link_unblocked(link);
		finish(link, take(&link->sent, &link->sent_end));
		link_pump_send(link);
		link_pump_receive(link);
	}
	link_settle(link);
}

void link_say_farewell(struct link *link)
{
	size_t length = 0;

	if (link->queue && link_ready_to_encode(link))
		length = encode(link, FAREWELL_BYTES, true);
	if (tls_write(link->tls, link->plain, length) == 0)
		tls_shutdown(link->tls);
	link_end(link, true);
}
