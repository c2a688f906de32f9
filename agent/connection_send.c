// SPDX-License-Identifier: Apache-2.0
// Replies on their way to the client.
#include "connection_parts.h"

#include <errno.h>
#include <string.h>

// Sends at the end of the turn, with all replies that are there then.
static void start_send(struct connection *connection)
{
	loop_post(connection->host->loop, &connection->flush);
	connection->sending = true;
}

// The client is slow to take them: the ring waits for it.
static void send_rest(struct connection *connection)
{
	struct io_uring_sqe *sqe = loop_sqe(connection->host->loop, &connection->send);

	io_uring_prep_sendmsg(sqe, connection->fd, &connection->send_message, MSG_NOSIGNAL | MSG_WAITALL);
	connection->sending = true;
}

static void append(struct connection *connection, void *data, size_t length)
{
	if (length)
		connection->iov[connection->send_message.msg_iovlen++] = (struct iovec){data, length};
}

void connection_reply(struct slot *slot)
{
	struct connection *connection = slot->connection;

	slot->next = NULL;
	*connection->replies_end = slot;
	connection->replies_end = &slot->next;
	append(connection, slot->header, slot->header_length);
	append(connection, slot->data, slot->reply_length);
	if (!connection->sending)
		start_send(connection);
}

static void give_first_reply(struct connection *connection)
{
	struct slot *slot = connection->replies;

	connection->replies = slot->next;
	if (!slot->next)
		connection->replies_end = &connection->replies;
	connection_give_slot(slot);
}

void connection_give_replies(struct connection *connection)
{
	while (connection->replies)
		give_first_reply(connection);
	connection->send_message.msg_iovlen = 0;
}

// Drops what was sent from the front of the iov, and the slots that were sent
// to their last byte.
static void take_off(struct connection *connection, size_t bytes)
{
	struct iovec *iov = connection->iov;
	size_t count = connection->send_message.msg_iovlen, first = 0;

	while (first < count && bytes >= iov[first].iov_len) {
		struct slot *slot = connection->replies;
		void *end = slot->reply_length ? slot->data : slot->header;

		// A reply's last piece may begin anywhere but ends where it must.
		bytes -= iov[first].iov_len;
		if ((uint8_t *)iov[first].iov_base + iov[first].iov_len ==
		    (uint8_t *)end + (slot->reply_length ? slot->reply_length : slot->header_length))
			give_first_reply(connection);
		first++;
	}
	if (bytes) {
		iov[first].iov_base = (uint8_t *)iov[first].iov_base + bytes;
		iov[first].iov_len -= bytes;
	}
	memmove(iov, iov + first, (count - first) * sizeof(*iov));
	connection->send_message.msg_iovlen = count - first;
}

static void sent(struct connection *connection, int result)
{
	connection->sending = false;
	if (result >= 0)
		take_off(connection, (size_t)result);
	else if (result != -EINTR && result != -EAGAIN)
		connection_lost(connection);

	if (connection->state == CONNECTION_GONE)
		connection_give_replies(connection);
	else if (connection->replies)
		send_rest(connection);
	if (connection->stalled)
		connection_advance(connection);
	connection_settle(connection);
}

void connection_sent(struct op *op, int result, unsigned flags)
{
	(void)flags;
	sent((struct connection *)((char *)op - offsetof(struct connection, send)), result);
}

// Straight to the socket, which mostly has room: by way of the ring it would
// take a turn of the loop more until requests are listened for again.
void connection_flush(struct task *task)
{
	struct connection *connection = (struct connection *)((char *)task - offsetof(struct connection, flush));
	ssize_t result = sendmsg(connection->fd, &connection->send_message, MSG_NOSIGNAL | MSG_DONTWAIT);

	sent(connection, result < 0 ? -errno : (int)result);
}
