// SPDX-License-Identifier: Apache-2.0
// The load generator on an NBD export. libnbd connects and negotiates; from then
// on the requests go in batches over its sockets, one send for all that are
// ready and one receive for all that came: libnbd's own requests cost several
// system calls each, and it is exhausted before a good server is.
#include "load.h"

#include "agent/nbd.h"
#include "agent/nbd_wire.h"

#include <errno.h>
#include <fcntl.h>
#include <libnbd.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

#define INPUT_BYTES (256 << 10)
#define PARTS_MAX 1024 // of one sendmsg()

struct connection {
	struct nbd_handle *nbd;
	int fd;
	struct iovec parts[2 * DEPTH_MAX]; // that wait to be sent
	unsigned first, end;
	uint8_t *input;
	size_t input_length;
	uint64_t payload; // bytes of the reply to a read that are yet to come
	unsigned reading; // the slot that they belong to
};

static struct connection *connections;
static uint8_t headers[DEPTH_MAX][NBD_REQUEST_BYTES];

static void connection_open(struct connection *connection, const char *uri)
{
	struct nbd_handle *nbd = nbd_create();

	// Simple replies: there is nothing else to parse then.
	if (!nbd || nbd_set_request_structured_replies(nbd, false) < 0 || nbd_connect_uri(nbd, uri) < 0)
		complain("connect to %s: %s", uri, nbd_get_error());
	connection->nbd = nbd;
	connection->fd = nbd_aio_get_fd(nbd);
	connection->input = malloc(INPUT_BYTES);
	if (connection->fd < 0 || !connection->input || fcntl(connection->fd, F_SETFL, 0) < 0)
		complain("take over the socket of libnbd: %s", strerror(errno));
}

static void nbd_target_open(struct load *load, const char *where)
{
	connections = calloc(load->connections, sizeof(*connections));
	if (!connections)
		complain("out of memory");
	for (unsigned i = 0; i < load->connections; i++)
		connection_open(&connections[i], where);
	load->size = (uint64_t)nbd_get_size(connections[0].nbd);
}

static void part_add(struct connection *connection, void *data, size_t length)
{
	if (connection->end == 2 * DEPTH_MAX) {
		connection->end -= connection->first;
		memmove(connection->parts, connection->parts + connection->first,
		        connection->end * sizeof(connection->parts[0]));
		connection->first = 0;
	}
	connection->parts[connection->end++] = (struct iovec){data, length};
}

static void nbd_target_put(struct load *load, unsigned index)
{
	static const uint16_t commands[] = {
	        [LOAD_READ] = NBD_CMD_READ, [LOAD_WRITE] = NBD_CMD_WRITE, [LOAD_FLUSH] = NBD_CMD_FLUSH};
	struct connection *connection = &connections[index % load->connections];
	const struct load_slot *slot = &load->slots[index];
	uint8_t *header = headers[index];

	nbd_put32(header, NBD_MAGIC_REQUEST);
	nbd_put16(header + 4, 0);
	nbd_put16(header + 6, commands[slot->op]);
	nbd_put64(header + 8, index);
	nbd_put64(header + 16, slot->op == LOAD_FLUSH ? 0 : slot->offset);
	nbd_put32(header + 24, slot->op == LOAD_FLUSH ? 0 : slot->length);
	part_add(connection, header, NBD_REQUEST_BYTES);
	if (slot->op == LOAD_WRITE)
		part_add(connection, slot->data, slot->length);
}

// Sends what the socket takes.
static void connection_send(struct connection *connection)
{
	while (connection->first < connection->end) {
		struct iovec *part = &connection->parts[connection->first];
		unsigned count = connection->end - connection->first;
		struct msghdr message = {.msg_iov = part, .msg_iovlen = count < PARTS_MAX ? count : PARTS_MAX};
		ssize_t sent = sendmsg(connection->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent < 0 && errno == EAGAIN)
			return;
		if (sent < 0)
			complain("send: %s", strerror(errno));
		for (; sent > 0 && (size_t)sent >= part->iov_len; part++, connection->first++)
			sent -= (ssize_t)part->iov_len;
		if (sent > 0) {
			part->iov_base = (uint8_t *)part->iov_base + sent;
			part->iov_len -= (size_t)sent;
		}
	}
	connection->first = connection->end = 0;
}

// The replies that are whole, and what of a read's data is there: nobody looks
// at it.
static void connection_parse(struct load *load, struct connection *connection)
{
	const uint8_t *next = connection->input, *end = next + connection->input_length;

	for (;;) {
		uint64_t cookie;

		if (connection->payload > 0) {
			uint64_t there = (uint64_t)(end - next);
			uint64_t length = connection->payload < there ? connection->payload : there;

			connection->payload -= length;
			next += length;
			if (connection->payload > 0)
				break;
			load_done(load, connection->reading, 0);
		}
		if (end - next < NBD_SIMPLE_BYTES)
			break;
		cookie = nbd_get64(next + 8);
		if (nbd_get32(next) != NBD_MAGIC_SIMPLE || cookie >= load->depth)
			complain("the server's reply is none");
		if (nbd_get32(next + 4) != 0 || load->slots[cookie].op != LOAD_READ) {
			load_done(load, (unsigned)cookie, (int)nbd_get32(next + 4));
		} else {
			connection->reading = (unsigned)cookie;
			connection->payload = load->slots[cookie].length;
		}
		next += NBD_SIMPLE_BYTES;
	}
	connection->input_length = (size_t)(end - next);
	memmove(connection->input, next, connection->input_length);
}

// false: nothing was there
static bool connection_receive(struct load *load, struct connection *connection, int flags)
{
	ssize_t got = recv(connection->fd, connection->input + connection->input_length,
	                   INPUT_BYTES - connection->input_length, flags);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (got <= 0)
		complain("receive: %s", got ? strerror(errno) : "the server hung up");
	connection->input_length += (size_t)got;
	connection_parse(load, connection);
	return true;
}

static void connections_poll(struct load *load, uint64_t until)
{
	struct pollfd polls[DEPTH_MAX];
	struct timespec left = {0};
	uint64_t now;

	for (unsigned i = 0; i < load->connections; i++) {
		short output = connections[i].first < connections[i].end ? POLLOUT : 0;

		polls[i] = (struct pollfd){.fd = connections[i].fd, .events = (short)(POLLIN | output)};
	}
	if (until != UINT64_MAX) {
		now = now_ns();
		left.tv_sec = until > now ? (time_t)((until - now) / 1000000000) : 0;
		left.tv_nsec = until > now ? (long)((until - now) % 1000000000) : 0;
	}
	if (ppoll(polls, load->connections, until == UINT64_MAX ? NULL : &left, NULL) < 0 && errno != EINTR)
		complain("poll: %s", strerror(errno));
	for (unsigned i = 0; i < load->connections; i++) {
		if (polls[i].revents & ~POLLOUT)
			connection_receive(load, &connections[i], MSG_DONTWAIT);
	}
}

static void nbd_target_run(struct load *load, uint64_t until)
{
	bool sent = true;

	for (unsigned i = 0; i < load->connections; i++) {
		connection_send(&connections[i]);
		sent &= connections[i].end == 0;
	}
	// One call less where there is nothing else to wait for.
	if (load->connections == 1 && sent && until == UINT64_MAX)
		connection_receive(load, &connections[0], 0);
	else
		connections_poll(load, until);
}

static void nbd_target_close(struct load *load)
{
	for (unsigned i = 0; i < load->connections; i++) {
		uint8_t header[NBD_REQUEST_BYTES] = {0};

		nbd_put32(header, NBD_MAGIC_REQUEST);
		nbd_put16(header + 6, NBD_CMD_DISC);
		if (send(connections[i].fd, header, sizeof(header), MSG_NOSIGNAL) < 0)
			complain("hang up: %s", strerror(errno));
		nbd_close(connections[i].nbd);
		free(connections[i].input);
	}
	free(connections);
}

const struct load_target nbd_target = {nbd_target_open, nbd_target_put, nbd_target_run, nbd_target_close};
