// SPDX-License-Identifier: Apache-2.0
// A connection's life, and what it receives.
#include "connection.h"

#include "connection_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// From here on a payload is worth a system call of its own.
#define PAYLOAD_ALONE ((size_t)128 << 10)

#define SOCKET_BYTES (4 << 20)

static void start_receive(struct connection *connection)
{
	struct io_uring_sqe *sqe = loop_sqe(connection->host->loop, &connection->receive);
	struct slot *slot = connection->filling;

	if (slot) { // the input is empty
		uint8_t *data = (uint8_t *)slot->data + connection->filled;
		size_t left = slot->nbd.length - connection->filled;

		connection->receive_iov[0] = (struct iovec){data, left};
		connection->receive_iov[1] = (struct iovec){connection->input, INPUT_BYTES};
		connection->receive_message = (struct msghdr){.msg_iov = connection->receive_iov, .msg_iovlen = 2};
		if (left >= PAYLOAD_ALONE)
			io_uring_prep_recv(sqe, connection->fd, data, left, MSG_WAITALL);
		else
			io_uring_prep_recvmsg(sqe, connection->fd, &connection->receive_message, 0);
	} else {
		size_t left = connection->input_end - connection->input_start;

		memmove(connection->input, connection->input + connection->input_start, left);
		connection->input_start = 0;
		connection->input_end = left;
		io_uring_prep_recv(sqe, connection->fd, connection->input + left, INPUT_BYTES - left, 0);
	}
	connection->receiving = true;
}

// Moves payload from the input to where it belongs.
static void fill_from_input(struct connection *connection)
{
	struct slot *slot = connection->filling;
	size_t length = connection->input_end - connection->input_start;

	if (length > slot->nbd.length - connection->filled)
		length = slot->nbd.length - connection->filled;
	memcpy((uint8_t *)slot->data + connection->filled, connection->input + connection->input_start, length);
	connection->input_start += length;
	connection->filled += length;
}

// Takes the next message out of the input. False: there is something to wait
// for first, or it was the last.
static bool next_message(struct connection *connection)
{
	struct nbd_input input = {
	        .data = connection->input + connection->input_start,
	        .length = connection->input_end - connection->input_start,
	};
	struct nbd_output output = {0};
	struct slot *slot = NULL;
	enum nbd_step step;
	int error;

	if (nbd_in_handshake(&connection->nbd)) {
		slot = connection_take_slot(connection, 2 * NBD_OUTPUT_MAX, &error);
		if (!slot && error == -ENOMEM)
			connection_lost(connection);
		if (!slot)
			return false;
		output = (struct nbd_output){.data = slot->data, .size = 2 * NBD_OUTPUT_MAX};
	}
	step = nbd_step(&connection->nbd, &input, &output, &connection->pending);
	connection->input_start = connection->input_end - input.length;
	if (slot && output.length) {
		slot->reply_length = output.length;
		connection_reply(slot);
	} else if (slot) {
		connection_give_slot(slot);
	}

	switch (step) {
	case NBD_SEND:
		return true;
	case NBD_REQUEST:
		connection->has_pending = true;
		return true;
	case NBD_MORE:
		start_receive(connection);
		return false;
	case NBD_GOODBYE:
		connection->state = CONNECTION_FINISHING;
		return false;
	case NBD_BROKEN:
		connection_lost(connection);
		return false;
	}
	return false;
}

void connection_advance(struct connection *connection)
{
	while (connection->state == CONNECTION_OPEN && !connection->receiving) {
		struct slot *slot = connection->filling;

		if (slot) {
			fill_from_input(connection);
			if (connection->filled < slot->nbd.length) {
				start_receive(connection);
				return;
			}
			connection->filling = NULL;
			connection_submit(slot);
		} else if (connection->has_pending) {
			if (!connection_start_pending(connection))
				return;
		} else if (!next_message(connection)) {
			return;
		}
	}
}

static void received(struct op *op, int result, unsigned flags)
{
	struct connection *connection = (struct connection *)((char *)op - offsetof(struct connection, receive));

	(void)flags;
	connection->receiving = false;
	if (result > 0 && connection->filling) {
		size_t left = connection->filling->nbd.length - connection->filled;
		size_t payload = (size_t)result < left ? (size_t)result : left;

		connection->filled += payload;
		connection->input_start = 0;
		connection->input_end = (size_t)result - payload;
	} else if (result > 0) {
		connection->input_end += (size_t)result;
	} else if (connection->state == CONNECTION_OPEN && result != -EINTR && result != -EAGAIN) {
		connection_lost(connection);
	}
	connection_advance(connection);
	connection_settle(connection);
}

static void memory_ready(struct buffer_waiter *waiter)
{
	struct connection *connection = (struct connection *)((char *)waiter - offsetof(struct connection, waiter));

	connection_advance(connection);
	connection_settle(connection);
}

// Wakes both operations, and the client.
void connection_lost(struct connection *connection)
{
	connection->state = CONNECTION_GONE;
	shutdown(connection->fd, SHUT_RDWR);
	if (!connection->sending)
		connection_give_replies(connection);
}

void connection_settle(struct connection *connection)
{
	struct connection_host *host = connection->host;

	if (connection->state == CONNECTION_OPEN || connection->receiving || connection->sending ||
	    connection->in_engine)
		return;
	if (connection->filling)
		connection_give_slot(connection->filling);
	buffers_unwait(host->buffers, &connection->waiter);
	close(connection->fd);
	host->ended(host, connection);
	free(connection->input);
	free(connection);
}

void connection_finish(struct connection *connection)
{
	if (connection->state == CONNECTION_OPEN) {
		connection->state = CONNECTION_FINISHING;
		if (connection->receiving)
			loop_cancel(connection->host->loop, &connection->receive);
	}
	connection_settle(connection);
}

void connection_drop(struct connection *connection)
{
	connection_lost(connection);
	connection_settle(connection);
}

static void greet(struct connection *connection, struct slot *slot)
{
	struct nbd_output output = {.data = slot->data, .size = NBD_OUTPUT_MAX};

	nbd_start(&connection->nbd, &connection->host->export, &output);
	slot->reply_length = output.length;
	connection_reply(slot);
}

// Everything but how it begins. The descriptor is closed when there is no memory.
static struct connection *make(struct connection_host *host, int fd)
{
	static const int socket_bytes = SOCKET_BYTES;
	unsigned slots = host->memory && host->slots < SLOTS ? host->slots : SLOTS;
	struct connection *connection = calloc(1, sizeof(*connection));

	if (connection)
		connection->input = malloc(INPUT_BYTES);
	if (!connection || !connection->input) {
		free(connection);
		close(fd);
		return NULL;
	}
	connection->host = host;
	connection->fd = fd;
	connection->receive.done = received;
	connection->flush.run = connection_flush;
	connection->send.done = connection_sent;
	connection->send_message.msg_iov = connection->iov;
	connection->replies_end = &connection->replies;
	connection->waiter.ready = memory_ready;
	for (unsigned i = 0; i < slots; i++) {
		connection->slots[i].connection = connection;
		connection->slots[i].next = i + 1 < slots ? &connection->slots[i + 1] : NULL;
	}
	connection->free = connection->slots;
	// More of a long reply at once; as far as the system allows.
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &socket_bytes, sizeof(socket_bytes));
	return connection;
}

struct connection *connection_new(struct connection_host *host, int fd)
{
	struct connection *connection = make(host, fd);
	struct slot *slot;
	int error;

	if (!connection)
		return NULL;
	slot = connection_take_slot(connection, NBD_OUTPUT_MAX, &error);
	if (!slot) {
		free(connection->input);
		free(connection);
		close(fd);
		return NULL;
	}
	greet(connection, slot);
	connection_advance(connection);
	return connection;
}

struct connection *connection_new_attached(struct connection_host *host, int fd)
{
	struct connection *connection = make(host, fd);

	if (!connection)
		return NULL;
	nbd_start_attached(&connection->nbd, &host->export);
	connection_advance(connection);
	return connection;
}
