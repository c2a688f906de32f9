// SPDX-License-Identifier: Apache-2.0
#include "network.h"

#include "common/codec.h"
#include "memory.h"
#include "rng.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

struct packet {
	struct packet *next;
	uint64_t due;
	size_t length;
	uint8_t bytes[];
};

struct packet_queue {
	struct packet *first, *last;
	size_t bytes;
};

struct message_queue {
	struct message *first, *last;
};

struct end {
	struct channel channel;
	struct connection *connection;
	struct sim_host *host;
	struct encoder *encoder;
	struct message_queue unsent; // not encoded yet
	struct message_queue sent; // done() is due
	uint64_t checksum; // of the first unsent message, when it was handed over
	struct packet_queue arriving; // towards this end
	uint64_t last_due;
	uint64_t free_at; // the link, for what this end sends
	uint64_t next_sequence; // that arrives

	bool zstd; // its peer unpacks that
	bool held;
	bool deaf; // its user closed it, or is gone
	bool gone; // its user is gone: no done() either
	bool closing; // sends what it has, then ends
	bool broken; // sends nothing more
	bool told; // closed() was called or needs not be

	struct event pump, deliver, done, close;
	const char *why;
};

struct connection {
	struct network *network;
	struct connection *next;
	struct end ends[2]; // by host
};

static struct end *other(struct end *end)
{
	return &end->connection->ends[!end->host->index];
}

static struct network *network_of(struct end *end)
{
	return end->connection->network;
}

static void message_push(struct message_queue *queue, struct message *message)
{
	message->next = NULL;
	if (queue->last)
		queue->last->next = message;
	else
		queue->first = message;
	queue->last = message;
}

static struct message *message_pop(struct message_queue *queue)
{
	struct message *message = queue->first;

	queue->first = message->next;
	if (!queue->first)
		queue->last = NULL;
	return message;
}

static void packet_drop_after(struct packet_queue *queue, unsigned keep)
{
	struct packet **link = &queue->first;

	queue->last = NULL;
	while (*link && keep--) {
		queue->last = *link;
		link = &(*link)->next;
	}
	while (*link) {
		struct packet *packet = *link;

		*link = packet->next;
		queue->bytes -= packet->length;
		free(packet);
	}
}

static uint64_t draw(struct network *network, uint64_t max)
{
	return rng_below(network->rng, max + 1);
}

static void again(struct end *end, struct event *event, uint64_t delay)
{
	if (!event->slot)
		scheduler_add(network_of(end)->scheduler, event, delay);
}

static void end_unlink(struct connection *connection)
{
	struct connection **link = &connection->network->connections;

	while (*link != connection)
		link = &(*link)->next;
	*link = connection->next;
}

static void end_clear(struct end *end)
{
	struct scheduler *scheduler = network_of(end)->scheduler;

	scheduler_remove(scheduler, &end->pump);
	scheduler_remove(scheduler, &end->deliver);
	scheduler_remove(scheduler, &end->done);
	scheduler_remove(scheduler, &end->close);
	packet_drop_after(&end->arriving, 0);
	encoder_free(end->encoder);
	end->encoder = NULL;
}

static bool end_over(const struct end *end)
{
	return end->told && (end->gone || (!end->unsent.first && !end->sent.first));
}

// Nobody can reach an end whose user has let go of it.
static void maybe_free(struct connection *connection)
{
	if (!end_over(&connection->ends[0]) || !end_over(&connection->ends[1]))
		return;
	end_unlink(connection);
	end_clear(&connection->ends[0]);
	end_clear(&connection->ends[1]);
	free(connection);
}

// This end hears of the end of the connection after that delay.
static void tell(struct end *end, uint64_t delay, const char *why)
{
	if (end->told || end->close.slot)
		return;
	end->why = why;
	again(end, &end->close, delay);
}

static void fail_unsent(struct end *end)
{
	while (end->unsent.first) {
		struct message *message = message_pop(&end->unsent);

		message->wire_bytes = 0;
		message_push(&end->sent, message);
	}
	if (end->sent.first && !end->gone)
		again(end, &end->done, draw(network_of(end), network_of(end)->done_max));
}

static void break_end(struct end *end)
{
	end->broken = true;
	fail_unsent(end);
}

static uint64_t message_checksum(const struct message *message)
{
	uint64_t sum = XXH3_64bits(message->body, message->body_length);

	return message->data_length ? sum ^ XXH3_64bits(message->data, message->data_length) : sum;
}

// The real link chooses by what it waits for; here any choice may follow any other.
static enum pack_level next_level(struct end *end)
{
	struct network *network = network_of(end);

	if (!network->packing)
		return PACK_LZ4;
	return (enum pack_level)(rng_mix(network->packing + network->packed++) %
	                         (end->zstd ? PACK_LEVELS : PACK_LZ4 + 1));
}

static void run_pump(struct event *event)
{
	struct end *end = (struct end *)((char *)event - offsetof(struct end, pump));
	struct network *network = network_of(end);
	struct end *peer = other(end);
	struct message *message;
	struct packet *packet;
	struct frame frame;
	uint64_t took = draw(network, 20 * USEC);
	uint64_t due;
	size_t length;

	if (end->broken || !end->unsent.first || peer->arriving.bytes > network->window)
		return; // again when something arrived
	if (network->paced && end->free_at > network->scheduler->now) {
		again(end, event, end->free_at - network->scheduler->now);
		return;
	}
	message = message_pop(&end->unsent);
	if (message_checksum(message) != end->checksum)
		network->misused = "message changed before its done()";
	if (message->type == FRAME_BLOCKS)
		encoder_set_level(end->encoder, next_level(end));
	length = encoder_encode(end->encoder, message, network->scratch);
	message->wire_bytes = length;
	message_push(&end->sent, message);
	if (end->unsent.first)
		end->checksum = message_checksum(end->unsent.first);
	again(end, &end->done, draw(network, network->done_max));
	if (frame_check(network->scratch, length, &frame))
		network->misused = "encoder made a bad frame";
	else if (network->sent)
		network->sent(network->user, end->host->index, &frame);

	packet = resize(NULL, sizeof(*packet) + length);
	packet->next = NULL;
	packet->length = length;
	memcpy(packet->bytes, network->scratch, length);
	if (network->bandwidth)
		took += length * SEC / network->bandwidth;
	end->free_at = network->scheduler->now + took;
	due = network->scheduler->now + took + rng_range(network->rng, network->delay_min, network->delay_max);
	packet->due = due > peer->last_due ? due : peer->last_due;
	peer->last_due = packet->due;
	if (peer->arriving.last)
		peer->arriving.last->next = packet;
	else
		peer->arriving.first = packet;
	peer->arriving.last = packet;
	peer->arriving.bytes += length;
	again(peer, &peer->deliver, packet->due - network->scheduler->now);
	if (end->unsent.first)
		again(end, &end->pump, took);
	else if (end->closing && !peer->arriving.first)
		tell(peer, 0, "closed by the peer");
}

// COMPARE hashes with the key that the standby chose, and content is packed as it
// can unpack it, as in link.h.
static void learn(struct end *end, const struct frame *frame)
{
	struct wire_welcome *welcome = allocate(sizeof(*welcome));

	if (wire_get_welcome(frame, welcome) == 0) {
		encoder_set_hash_key(end->encoder, welcome->hash_key);
		end->zstd = welcome->hello.features & WIRE_FEATURE_ZSTD;
	}
	free(welcome);
}

// Hands one frame to the user; false when the connection may be gone by now.
static void give(struct end *end, struct packet *packet)
{
	struct network *network = network_of(end);
	struct frame frame;

	if (frame_check(packet->bytes, packet->length, &frame) || frame.sequence != end->next_sequence)
		network->misused = "frame out of order";
	end->next_sequence++;
	if (frame.type == FRAME_WELCOME)
		learn(end, &frame);
	if (network->arrived)
		network->arrived(network->user, end->host->index, &frame);
	end->channel.events->frame(end->channel.user, &frame);
}

static void run_deliver(struct event *event)
{
	struct end *end = (struct end *)((char *)event - offsetof(struct end, deliver));
	struct network *network = network_of(end);
	struct packet *packet = end->arriving.first;
	struct end *peer = other(end);

	if (!packet)
		return;
	if (network->partitioned && !end->close.slot) {
		again(end, event, 10 * MSEC + draw(network, 10 * MSEC));
		return;
	}
	if (end->held && !end->deaf)
		return;
	end->arriving.first = packet->next;
	if (!end->arriving.first)
		end->arriving.last = NULL;
	end->arriving.bytes -= packet->length;
	if (end->arriving.first)
		again(end, event,
		      end->arriving.first->due > network->scheduler->now
		              ? end->arriving.first->due - network->scheduler->now
		              : 0);
	else if ((peer->closing || peer->broken) && !peer->unsent.first)
		tell(end, draw(network, MSEC), "closed by the peer");
	if (peer->unsent.first && !peer->broken)
		again(peer, &peer->pump, 0);
	if (!end->deaf)
		give(end, packet);
	free(packet);
}

static void run_done(struct event *event)
{
	struct end *end = (struct end *)((char *)event - offsetof(struct end, done));
	struct connection *connection = end->connection;
	struct network *network = connection->network;
	unsigned count = (unsigned)rng_range(network->rng, 1, 4);

	while (count-- && end->sent.first) {
		struct message *message = message_pop(&end->sent);

		message->done(message);
	}
	if (end->sent.first)
		again(end, event, draw(network, network->done_max));
	maybe_free(connection);
}

static void run_close(struct event *event)
{
	struct end *end = (struct end *)((char *)event - offsetof(struct end, close));
	struct connection *connection = end->connection;

	end->told = true;
	break_end(end);
	packet_drop_after(&end->arriving, 0);
	if (!end->deaf) {
		end->deaf = true;
		end->channel.events->closed(end->channel.user, end->why);
	}
	if (!other(end)->told)
		tell(other(end), draw(connection->network, 50 * MSEC), "connection reset");
	maybe_free(connection);
}

static struct end *to_end(struct channel *channel)
{
	return (struct end *)channel;
}

static void channel_do_send(struct channel *channel, struct message *message)
{
	struct end *end = to_end(channel);

	message->wire_bytes = 0;
	if (end->deaf)
		network_of(end)->misused = "message sent on a channel that was closed";
	if (end->broken || end->deaf) {
		message_push(&end->unsent, message);
		fail_unsent(end);
		return;
	}
	if (!end->unsent.first)
		end->checksum = message_checksum(message);
	message_push(&end->unsent, message);
	again(end, &end->pump, draw(network_of(end), 50 * USEC));
}

static void channel_do_hold(struct channel *channel, bool hold)
{
	struct end *end = to_end(channel);

	end->held = hold;
	if (!hold && end->arriving.first)
		again(end, &end->deliver, draw(network_of(end), 20 * USEC));
}

static void channel_do_close(struct channel *channel)
{
	struct end *end = to_end(channel);
	struct network *network = network_of(end);

	if (end->gone)
		return;
	if (end->deaf) {
		network->misused = "channel closed twice";
		return;
	}
	end->deaf = true;
	end->told = true;
	scheduler_remove(network->scheduler, &end->close);
	if (rng_chance(network->rng, 3, 4) && !end->broken) {
		end->closing = true;
		if (!end->unsent.first && !other(end)->arriving.first)
			tell(other(end), draw(network, 10 * MSEC), "closed by the peer");
	} else {
		break_end(end);
		packet_drop_after(&other(end)->arriving, (unsigned)rng_below(network->rng, 4));
		tell(other(end), draw(network, 50 * MSEC), "connection reset");
	}
	if (!end->sent.first && end_over(end))
		again(end, &end->done, 0); // frees the connection, not from within this call
}

static const struct channel_ops channel_ops = {channel_do_send, channel_do_hold, channel_do_close};

static void end_init(struct connection *connection, struct sim_host *host)
{
	struct end *end = &connection->ends[host->index];

	end->connection = connection;
	end->host = host;
	end->encoder = encoder_new();
	if (!end->encoder)
		abort();
	end->channel.ops = &channel_ops;
	snprintf(end->channel.peer, sizeof(end->channel.peer), "node-%u:7420", host->peer->index);
	memset(end->channel.peer_key, 0x40 + (int)host->peer->index, sizeof(end->channel.peer_key));
	end->pump.run = run_pump;
	end->deliver.run = run_deliver;
	end->done.run = run_done;
	end->close.run = run_close;
}

static void run_dial(struct event *event)
{
	struct sim_dialer *dialer = (struct sim_dialer *)((char *)event - offsetof(struct sim_dialer, event));
	struct sim_host *host = dialer->host;
	struct network *network = host->network;
	struct connection *connection;

	if (!host->peer->listening || network->partitioned ||
	    (network->dial_failures && rng_chance(network->rng, 1, network->dial_failures))) {
		dialer->dialer.failed(dialer->dialer.user, "connect node: connection refused");
		return;
	}
	connection = allocate(sizeof(*connection));
	connection->network = network;
	connection->next = network->connections;
	network->connections = connection;
	end_init(connection, host);
	end_init(connection, host->peer);
	host->peer->accept(host->peer, &connection->ends[host->peer->index].channel);
	dialer->dialer.opened(dialer->dialer.user, &connection->ends[host->index].channel);
}

static void dial(struct dialer *base)
{
	struct sim_dialer *dialer = (struct sim_dialer *)base;
	struct network *network = dialer->host->network;

	if (dialer->event.slot)
		network->misused = "dialled twice";
	scheduler_add(network->scheduler, &dialer->event,
	              network->delay_min + draw(network, network->partitioned ? 3 * SEC : 4 * network->delay_max));
}

static void dial_cancel(struct dialer *base)
{
	struct sim_dialer *dialer = (struct sim_dialer *)base;

	scheduler_remove(dialer->host->network->scheduler, &dialer->event);
}

static const struct dialer_ops dialer_ops = {dial, dial_cancel};

void network_init(struct network *network, struct scheduler *scheduler, struct rng *rng)
{
	memset(network, 0, sizeof(*network));
	network->scheduler = scheduler;
	network->rng = rng;
	network->window = 1 << 20;
	network->scratch = resize(NULL, FRAME_BYTES_MAX);
	for (unsigned i = 0; i < 2; i++) {
		struct sim_host *host = &network->hosts[i];

		host->network = network;
		host->peer = &network->hosts[!i];
		host->index = i;
		host->dialer.dialer.ops = &dialer_ops;
		host->dialer.host = host;
		host->dialer.event.run = run_dial;
	}
}

void network_done(struct network *network)
{
	while (network->connections) {
		struct connection *connection = network->connections;

		network->connections = connection->next;
		end_clear(&connection->ends[0]);
		end_clear(&connection->ends[1]);
		free(connection);
	}
	free(network->scratch);
	network->scratch = NULL;
}

void network_cut(struct network *network)
{
	for (struct connection *connection = network->connections; connection; connection = connection->next) {
		for (unsigned i = 0; i < 2; i++) {
			struct end *end = &connection->ends[i];

			break_end(end);
			packet_drop_after(&end->arriving, (unsigned)rng_below(network->rng, 6));
			tell(end, rng_scale(network->rng, 10 * USEC, 2 * SEC), "connection lost");
		}
	}
}

struct message *network_crash(struct network *network, unsigned host, bool silent)
{
	struct connection *connection = network->connections;
	struct message_queue orphans = {0};

	scheduler_remove(network->scheduler, &network->hosts[host].dialer.event);
	while (connection) {
		struct connection *next = connection->next;
		struct end *end = &connection->ends[host];

		end->gone = end->deaf = end->told = end->broken = true;
		while (end->unsent.first)
			message_push(&orphans, message_pop(&end->unsent));
		while (end->sent.first)
			message_push(&orphans, message_pop(&end->sent));
		scheduler_remove(network->scheduler, &end->pump);
		scheduler_remove(network->scheduler, &end->deliver);
		scheduler_remove(network->scheduler, &end->done);
		scheduler_remove(network->scheduler, &end->close);
		packet_drop_after(&other(end)->arriving, (unsigned)rng_below(network->rng, 6));
		break_end(other(end));
		if (silent)
			tell(other(end), rng_range(network->rng, SEC, 20 * SEC), "connection timed out");
		else
			tell(other(end), rng_scale(network->rng, 10 * USEC, 100 * MSEC), "connection reset");
		maybe_free(connection);
		connection = next;
	}
	return orphans.first;
}

bool network_connected(const struct network *network)
{
	return network->connections != NULL;
}
