// SPDX-License-Identifier: Apache-2.0
// Requests between the client and the engine.
#include "connection_parts.h"

#include <errno.h>

struct slot *connection_take_slot(struct connection *connection, size_t data_size, int *error)
{
	struct buffers *buffers = connection->host->buffers;
	struct slot *slot = connection->free;
	bool none = connection->bytes == 0;
	void *data = NULL;

	*error = -EAGAIN;
	connection->stalled = true;
	if (!slot)
		return NULL;
	if (data_size && connection->host->memory && data_size <= connection->host->slot_bytes) {
		data = connection->host->memory + (size_t)(slot - connection->slots) * connection->host->slot_bytes;
		data_size = 0;
	} else if (data_size) {
		if (!none && connection->bytes + buffers_cost(data_size) > CONNECTION_BYTES)
			return NULL;
		data = buffers_take(buffers, data_size, none);
		if (!data && none) {
			connection->stalled = false;
			*error = -ENOMEM;
			return NULL;
		}
		if (!data) {
			buffers_wait(buffers, &connection->waiter);
			return NULL;
		}
		connection->bytes += buffers_cost(data_size);
	}
	connection->stalled = false;
	connection->free = slot->next;
	slot->data = data;
	slot->data_size = data_size;
	slot->reply_length = slot->header_length = 0;
	return slot;
}

static void give_data(struct slot *slot)
{
	struct connection *connection = slot->connection;

	if (slot->data && slot->data_size) {
		buffers_give(connection->host->buffers, slot->data, slot->data_size);
		connection->bytes -= buffers_cost(slot->data_size);
	}
	slot->data = NULL;
}

void connection_give_slot(struct slot *slot)
{
	give_data(slot);
	slot->next = slot->connection->free;
	slot->connection->free = slot;
}

static void answer(struct slot *slot, int error)
{
	bool carries = slot->nbd.command == NBD_CMD_READ && !error;

	if (!carries)
		give_data(slot);
	slot->header_length = nbd_put_reply(&slot->connection->nbd, &slot->nbd, error, slot->header);
	slot->reply_length = carries ? slot->nbd.length : 0;
	connection_reply(slot);
}

static void request_done(struct request *request, int error)
{
	struct slot *slot = (struct slot *)((char *)request - offsetof(struct slot, request));
	struct connection *connection = slot->connection;

	connection->in_engine--;
	if (connection->state == CONNECTION_GONE)
		connection_give_slot(slot);
	else
		answer(slot, error);
	if (connection->stalled)
		connection_advance(connection);
	connection_settle(connection);
}

static enum request_op engine_op(enum nbd_command command)
{
	switch (command) {
	case NBD_CMD_READ:
		return REQUEST_READ;
	case NBD_CMD_WRITE:
		return REQUEST_WRITE;
	case NBD_CMD_TRIM:
		return REQUEST_TRIM;
	case NBD_CMD_WRITE_ZEROES:
		return REQUEST_ZERO;
	default:
		return REQUEST_FLUSH;
	}
}

void connection_submit(struct slot *slot)
{
	struct connection *connection = slot->connection;
	unsigned flags = slot->nbd.flags;

	slot->request = (struct request){
	        .op = engine_op(slot->nbd.command),
	        .flags = (flags & NBD_CMD_FLAG_FUA ? REQUEST_FUA : 0) |
	                 (flags & NBD_CMD_FLAG_NO_HOLE ? REQUEST_NO_HOLE : 0) |
	                 (flags & NBD_CMD_FLAG_FAST_ZERO ? REQUEST_FAST : 0),
	        .volume = connection->host->volume,
	        .offset = slot->nbd.offset,
	        .length = slot->nbd.length,
	        .data = slot->data,
	        .done = request_done,
	};
	connection->in_engine++;
	source_submit(connection->host->source, &slot->request);
}

static bool hole(void *user, uint64_t offset, uint64_t *length)
{
	struct connection_host *host = user;

	return source_hole(host->source, host->volume, offset, length);
}

static void start(struct connection *connection, struct slot *slot)
{
	struct nbd_request *nbd = &slot->nbd;

	if (nbd->error) {
		answer(slot, nbd->error);
	} else if (nbd->command == NBD_CMD_BLOCK_STATUS) {
		slot->reply_length = nbd_put_status(nbd, hole, connection->host, slot->data);
		connection_reply(slot);
	} else if (nbd->length == 0 && nbd->command != NBD_CMD_FLUSH) {
		answer(slot, 0);
	} else if (nbd->command == NBD_CMD_WRITE) {
		connection->filling = slot;
		connection->filled = 0;
	} else {
		connection_submit(slot);
	}
}

bool connection_start_pending(struct connection *connection)
{
	const struct nbd_request *nbd = &connection->pending;
	size_t data_size = 0;
	struct slot *slot;
	int error;

	if (nbd->error == 0 && (nbd->command == NBD_CMD_READ || nbd->command == NBD_CMD_WRITE))
		data_size = nbd->length;
	else if (nbd->error == 0 && nbd->command == NBD_CMD_BLOCK_STATUS)
		data_size = NBD_STATUS_BYTES_MAX;

	slot = connection_take_slot(connection, data_size, &error);
	if (!slot && error == -EAGAIN)
		return false;
	connection->has_pending = false;
	if (!slot) {
		nbd_reject(&connection->nbd, nbd, error);
		return true;
	}
	slot->nbd = *nbd;
	start(connection, slot);
	return true;
}
