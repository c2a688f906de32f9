// SPDX-License-Identifier: Apache-2.0
// tcp-proxy: a link that can be made bad without privileges. Forwards TCP from
// a port to another; commands, one a line, come from a fifo:
//
//   up           forward (as at the start)
//   down         reset every connection, and each new one, until `up`
//   drop         reset every connection once
//   stall        keep the connections, carry nothing, like a pulled cable
//   rate BYTES   carry at most so many bytes a second each way; 0: no limit
//   delay MS     deliver everything so much later
//   count        tell how many bytes went there and back so far
//
// Prints `listening PORT` when it is ready and one line for each command when
// it is in effect. Ends on SIGTERM, or when its stdout is gone.
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS_MAX 64
#define CHUNK_BYTES 16384
#define CHUNKS_MAX 64 // in one direction; what a full link holds back

struct chunk {
	uint64_t due; // us
	size_t from, length;
	uint8_t data[CHUNK_BYTES];
};

// One direction of a connection: a queue of chunks.
struct flow {
	struct chunk *chunks;
	unsigned head, count;
	bool ended; // the reading side was closed
	bool closed; // and that was passed on
};

struct connection {
	int fd[2]; // client, server; -1: slot free
	bool connected; // the server side is
	struct flow flow[2]; // flow[i]: from fd[i] to fd[1 - i]
};

static struct proxy {
	struct sockaddr_in to;
	int listener, control;
	char line[128];
	size_t line_length;
	bool down, stalled;
	uint64_t rate, delay; // bytes a second, us
	uint64_t credit[2], filled; // bytes, us
	uint64_t carried[2]; // bytes
	struct connection connections[CONNECTIONS_MAX];
} proxy;

static uint64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void reset(struct connection *connection)
{
	const struct linger linger = {.l_onoff = 1, .l_linger = 0};

	for (int side = 0; side < 2; side++) {
		setsockopt(connection->fd[side], SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
		close(connection->fd[side]);
		connection->fd[side] = -1;
		free(connection->flow[side].chunks);
		connection->flow[side] = (struct flow){0};
	}
}

static void reset_all(void)
{
	for (unsigned i = 0; i < CONNECTIONS_MAX; i++) {
		if (proxy.connections[i].fd[0] >= 0)
			reset(&proxy.connections[i]);
	}
}

static void accept_one(void)
{
	const struct linger linger = {.l_onoff = 1, .l_linger = 0};
	struct connection *connection = NULL;
	int client = accept4(proxy.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	int server = -1, one = 1;

	if (client < 0)
		return;
	for (unsigned i = 0; i < CONNECTIONS_MAX && !connection; i++) {
		if (proxy.connections[i].fd[0] < 0)
			connection = &proxy.connections[i];
	}
	if (!proxy.down && connection)
		server = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (server < 0 ||
	    (connect(server, (struct sockaddr *)&proxy.to, sizeof(proxy.to)) < 0 && errno != EINPROGRESS)) {
		setsockopt(client, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
		close(client);
		if (server >= 0)
			close(server);
		return;
	}
	setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	*connection = (struct connection){.fd = {client, server}};
	for (int side = 0; side < 2; side++) {
		connection->flow[side].chunks = calloc(CHUNKS_MAX, sizeof(struct chunk));
		if (!connection->flow[side].chunks) {
			reset(connection);
			return;
		}
	}
}

// Takes what the side has to say. false: the connection is gone.
static bool take(struct connection *connection, int side)
{
	struct flow *flow = &connection->flow[side];
	struct chunk *chunk = &flow->chunks[(flow->head + flow->count) % CHUNKS_MAX];
	ssize_t got = read(connection->fd[side], chunk->data, CHUNK_BYTES);

	if (got < 0)
		return errno == EAGAIN || errno == EINTR;
	if (got == 0) {
		flow->ended = true;
		return true;
	}
	chunk->due = now_us() + proxy.delay;
	chunk->from = 0;
	chunk->length = (size_t)got;
	flow->count++;
	return true;
}

// Passes on what is due and paid for. false: the connection is gone.
static bool give(struct connection *connection, int side, uint64_t now)
{
	struct flow *flow = &connection->flow[side];

	while (flow->count && flow->chunks[flow->head].due <= now) {
		struct chunk *chunk = &flow->chunks[flow->head];
		size_t length = chunk->length - chunk->from;
		ssize_t sent;

		if (proxy.rate && length > proxy.credit[side])
			length = proxy.credit[side];
		if (length == 0)
			return true;
		sent = send(connection->fd[1 - side], chunk->data + chunk->from, length, MSG_NOSIGNAL);
		if (sent < 0)
			return errno == EAGAIN || errno == EINTR;
		if (proxy.rate)
			proxy.credit[side] -= (size_t)sent;
		proxy.carried[side] += (size_t)sent;
		chunk->from += (size_t)sent;
		if (chunk->from == chunk->length) {
			flow->head = (flow->head + 1) % CHUNKS_MAX;
			flow->count--;
		}
	}
	if (flow->ended && flow->count == 0 && !flow->closed) {
		shutdown(connection->fd[1 - side], SHUT_WR);
		flow->closed = true;
	}
	return true;
}

static void refill(uint64_t now)
{
	uint64_t most = proxy.rate / 20 + CHUNK_BYTES; // bursts of 50 ms

	for (int side = 0; side < 2; side++) {
		proxy.credit[side] += proxy.rate * (now - proxy.filled) / 1000000;
		if (proxy.credit[side] > most)
			proxy.credit[side] = most;
	}
	proxy.filled = now;
}

static void obey(const char *line)
{
	uint64_t value = 0;

	if (!strcmp(line, "up")) {
		proxy.down = proxy.stalled = false;
	} else if (!strcmp(line, "down")) {
		proxy.down = true;
		reset_all();
	} else if (!strcmp(line, "drop")) {
		reset_all();
	} else if (!strcmp(line, "stall")) {
		proxy.stalled = true;
	} else if (sscanf(line, "rate %" SCNu64, &value) == 1) {
		proxy.rate = value;
	} else if (sscanf(line, "delay %" SCNu64, &value) == 1) {
		proxy.delay = value * 1000;
	} else if (!strcmp(line, "count")) {
		printf("carried %" PRIu64 " %" PRIu64 "\n", proxy.carried[0], proxy.carried[1]);
		fflush(stdout);
		return;
	} else {
		printf("unknown command %s\n", line);
		fflush(stdout);
		return;
	}
	printf("%s\n", line);
	fflush(stdout);
}

static void read_control(void)
{
	char byte;

	while (read(proxy.control, &byte, 1) == 1) {
		if (byte != '\n' && proxy.line_length < sizeof(proxy.line) - 1) {
			proxy.line[proxy.line_length++] = byte;
			continue;
		}
		proxy.line[proxy.line_length] = 0;
		proxy.line_length = 0;
		obey(proxy.line);
	}
}

// What to poll a side for; *timeout shrinks to the next moment that matters.
static short interest(const struct connection *connection, int side, uint64_t now, int *timeout)
{
	const struct flow *in = &connection->flow[side], *out = &connection->flow[1 - side];
	short events = 0;

	if (proxy.stalled)
		return 0;
	if (!in->ended && in->count < CHUNKS_MAX)
		events |= POLLIN;
	if (out->count) {
		uint64_t due = out->chunks[out->head].due;
		bool poor = proxy.rate && proxy.credit[1 - side] == 0;
		int wait = due > now ? (int)((due - now) / 1000) + 1 : poor ? 2 : 0;

		if (!wait)
			events |= POLLOUT;
		else if (*timeout < 0 || wait < *timeout)
			*timeout = wait;
	}
	return events;
}

static void serve(struct connection *connection, const struct pollfd *polls, uint64_t now)
{
	for (int side = 0; side < 2; side++) {
		bool gone = polls[side].revents & (POLLERR | POLLNVAL);

		if (!gone && polls[side].events & POLLIN && polls[side].revents & (POLLIN | POLLHUP))
			gone = !take(connection, side);
		if (gone) {
			reset(connection);
			return;
		}
	}
	if (proxy.stalled)
		return;
	for (int side = 0; side < 2; side++) {
		if (!give(connection, side, now)) {
			reset(connection);
			return;
		}
	}
	if (connection->flow[0].closed && connection->flow[1].closed)
		reset(connection);
}

static void loop(void)
{
	for (;;) {
		struct pollfd polls[3 + 2 * CONNECTIONS_MAX] = {
		        {.fd = proxy.listener, .events = proxy.stalled ? 0 : POLLIN},
		        {.fd = proxy.control, .events = POLLIN},
		        {.fd = STDOUT_FILENO},
		};
		uint64_t now = now_us();
		int timeout = -1;

		refill(now);
		for (unsigned i = 0; i < CONNECTIONS_MAX; i++) {
			const struct connection *connection = &proxy.connections[i];

			for (int side = 0; side < 2; side++) {
				polls[3 + 2 * i + side].fd = proxy.stalled ? -1 : connection->fd[side];
				if (connection->fd[0] >= 0)
					polls[3 + 2 * i + side].events = interest(connection, side, now, &timeout);
			}
		}
		if (poll(polls, 3 + 2 * CONNECTIONS_MAX, timeout) < 0 && errno != EINTR)
			return;
		if (polls[2].revents & POLLERR)
			return;
		now = now_us();
		refill(now);
		for (unsigned i = 0; i < CONNECTIONS_MAX; i++) {
			if (proxy.connections[i].fd[0] >= 0)
				serve(&proxy.connections[i], &polls[3 + 2 * i], now);
		}
		if (polls[0].revents)
			accept_one();
		if (polls[1].revents)
			read_control();
	}
}

static int listen_on(uint16_t port, uint16_t *bound)
{
	struct sockaddr_in address = {
	        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t length = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int one = 1;

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&address, length) < 0 || listen(fd, 16) < 0 ||
	    getsockname(fd, (struct sockaddr *)&address, &length) < 0) {
		close(fd);
		return -1;
	}
	*bound = ntohs(address.sin_port);
	return fd;
}

int main(int argc, char **argv)
{
	uint16_t port;

	if (argc != 4) {
		fprintf(stderr, "usage: tcp-proxy PORT TO-PORT FIFO\n");
		return 2;
	}
	for (unsigned i = 0; i < CONNECTIONS_MAX; i++)
		proxy.connections[i].fd[0] = proxy.connections[i].fd[1] = -1;
	proxy.to = (struct sockaddr_in){.sin_family = AF_INET,
	                                .sin_port = htons((uint16_t)strtoul(argv[2], NULL, 10)),
	                                .sin_addr = {htonl(INADDR_LOOPBACK)}};
	proxy.filled = now_us();
	proxy.listener = listen_on((uint16_t)strtoul(argv[1], NULL, 10), &port);
	if (proxy.listener < 0) {
		fprintf(stderr, "tcp-proxy: port %s: %s\n", argv[1], strerror(errno));
		return 1;
	}
	// Read and write, so that the fifo never ends when a writer closes it.
	proxy.control = open(argv[3], O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (proxy.control < 0) {
		fprintf(stderr, "tcp-proxy: %s: %s\n", argv[3], strerror(errno));
		return 1;
	}
	printf("listening %u\n", port);
	fflush(stdout);
	loop();
	return 0;
}
