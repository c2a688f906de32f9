// SPDX-License-Identifier: Apache-2.0
// null-server: an NBD server that does nothing, as fast as it can: zeroes for a
// read, and writes are thrown away. What is left is the cost of the protocol
// and of the load generator; with that of the file itself, the roofline.
//
//   null-server SOCKET BYTES
//
// One thread a connection; any export name. Knows simple replies only.
#include "agent/nbd.h"
#include "agent/nbd_wire.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#define INPUT_BYTES (256 << 10)
#define LONGEST (32 << 20)
#define REPLIES_MAX 512

static uint64_t size;
static uint8_t zeroes[LONGEST];

struct client {
	int fd;
	uint8_t *input;
	size_t from, to; // what of it is not looked at yet
	uint8_t replies[REPLIES_MAX][NBD_SIMPLE_BYTES];
	struct iovec parts[2 * REPLIES_MAX];
	unsigned reply_count, part_count;
};

// Whatever goes wrong ends the connection.
static bool send_all(int fd, const void *data, size_t length)
{
	for (const uint8_t *next = data; length > 0;) {
		ssize_t sent = send(fd, next, length, MSG_NOSIGNAL);

		if (sent <= 0)
			return false;
		next += sent;
		length -= (size_t)sent;
	}
	return true;
}

static bool receive_all(int fd, void *data, size_t length)
{
	return length == 0 || recv(fd, data, length, MSG_WAITALL) == (ssize_t)length;
}

static bool option_reply(int fd, uint32_t option, uint32_t type, const void *data, uint32_t length)
{
	uint8_t reply[NBD_OPTION_REPLY_BYTES];

	nbd_put32(nbd_put32(nbd_put32(nbd_put64(reply, NBD_MAGIC_OPTION_REPLY), option), type), length);
	return send_all(fd, reply, sizeof(reply)) && send_all(fd, data, length);
}

static bool handshake(int fd)
{
	uint8_t greeting[NBD_GREETING_BYTES], option[NBD_OPTION_BYTES], data[4096], info[12];

	nbd_put16(nbd_put64(nbd_put64(greeting, NBD_MAGIC_GREETING), NBD_MAGIC_OPTION),
	          NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES);
	if (!send_all(fd, greeting, sizeof(greeting)) || !receive_all(fd, data, NBD_CLIENT_FLAGS_BYTES))
		return false;
	for (;;) {
		uint32_t number, length;

		if (!receive_all(fd, option, sizeof(option)))
			return false;
		number = nbd_get32(option + 8);
		length = nbd_get32(option + 12);
		if (length > sizeof(data) || !receive_all(fd, data, length) || number == NBD_OPT_ABORT)
			return false;
		if (number == NBD_OPT_GO)
			break;
		if (!option_reply(fd, number, NBD_REP_ERR_UNSUP, NULL, 0))
			return false;
	}
	nbd_put16(nbd_put64(nbd_put16(info, NBD_INFO_EXPORT), size),
	          NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_CAN_MULTI_CONN);
	return option_reply(fd, NBD_OPT_GO, NBD_REP_INFO, info, sizeof(info)) &&
	       option_reply(fd, NBD_OPT_GO, NBD_REP_ACK, NULL, 0);
}

static bool replies_send(struct client *client)
{
	struct iovec *part = client->parts;
	unsigned left = client->part_count;

	client->part_count = client->reply_count = 0;
	while (left > 0) {
		ssize_t sent = writev(client->fd, part, (int)left);

		if (sent <= 0)
			return false;
		for (; left > 0 && (size_t)sent >= part->iov_len; part++, left--)
			sent -= (ssize_t)part->iov_len;
		if (left > 0) {
			part->iov_base = (uint8_t *)part->iov_base + sent;
			part->iov_len -= (size_t)sent;
		}
	}
	return true;
}

static bool reply_add(struct client *client, uint64_t cookie, uint32_t length)
{
	uint8_t *reply = client->replies[client->reply_count++];

	nbd_put64(nbd_put32(nbd_put32(reply, NBD_MAGIC_SIMPLE), 0), cookie);
	client->parts[client->part_count++] = (struct iovec){reply, NBD_SIMPLE_BYTES};
	if (length > 0)
		client->parts[client->part_count++] = (struct iovec){zeroes, length};
	return client->reply_count < REPLIES_MAX || replies_send(client);
}

// At least so many bytes; answers what there is before it waits.
static bool input_has(struct client *client, size_t bytes)
{
	if (client->to - client->from >= bytes)
		return true;
	memmove(client->input, client->input + client->from, client->to - client->from);
	client->to -= client->from;
	client->from = 0;
	if (!replies_send(client))
		return false;
	while (client->to < bytes) {
		ssize_t got = recv(client->fd, client->input + client->to, INPUT_BYTES - client->to, 0);

		if (got <= 0)
			return false;
		client->to += (size_t)got;
	}
	return true;
}

static bool payload_skip(struct client *client, uint32_t length)
{
	while (length > 0) {
		size_t there = client->to - client->from, part = there < length ? there : length;

		client->from += part;
		length -= (uint32_t)part;
		if (length > 0 && !input_has(client, 1))
			return false;
	}
	return true;
}

static bool request_serve(struct client *client)
{
	const uint8_t *header;
	uint64_t cookie;
	uint32_t length;
	uint16_t command;

	if (!input_has(client, NBD_REQUEST_BYTES))
		return false;
	header = client->input + client->from;
	command = nbd_get16(header + 6);
	cookie = nbd_get64(header + 8);
	length = nbd_get32(header + 24);
	if (nbd_get32(header) != NBD_MAGIC_REQUEST || command == NBD_CMD_DISC || length > LONGEST)
		return false;
	client->from += NBD_REQUEST_BYTES;
	if (command == NBD_CMD_WRITE && !payload_skip(client, length))
		return false;
	return reply_add(client, cookie, command == NBD_CMD_READ ? length : 0);
}

static void *serve(void *argument)
{
	struct client *client = argument;

	if (handshake(client->fd)) {
		while (request_serve(client))
			;
	}
	close(client->fd);
	free(client->input);
	free(client);
	return NULL;
}

static void client_start(int fd)
{
	struct client *client = calloc(1, sizeof(*client));
	pthread_t thread;

	if (client) {
		client->fd = fd;
		client->input = malloc(INPUT_BYTES);
		if (client->input && pthread_create(&thread, NULL, serve, client) == 0) {
			pthread_detach(thread);
			return;
		}
		free(client->input);
		free(client);
	}
	close(fd);
}

int main(int argc, char **argv)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int listener;

	if (argc != 3 || strlen(argv[1]) >= sizeof(address.sun_path)) {
		fprintf(stderr, "usage: null-server SOCKET BYTES\n");
		return 2;
	}
	strcpy(address.sun_path, argv[1]);
	size = strtoull(argv[2], NULL, 10);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(listener, 16) < 0) {
		fprintf(stderr, "null-server: listen at %s: %s\n", argv[1], strerror(errno));
		return 1;
	}
	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

		if (fd >= 0)
			client_start(fd);
	}
}
