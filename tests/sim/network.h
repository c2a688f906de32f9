// SPDX-License-Identifier: Apache-2.0
// The network between two nodes: connections that encode messages with the real
// codec, carry the bytes in order and late, and break at any moment. The two
// ends learn of a break at different times.
#ifndef STEAD_SIM_NETWORK_H
#define STEAD_SIM_NETWORK_H

#include "common/channel.h"
#include "common/wire.h"
#include "scheduler.h"

#include <stdbool.h>
#include <stdint.h>

struct network;
struct connection;
struct sim_host;

struct sim_dialer {
	struct dialer dialer;
	struct sim_host *host;
	struct event event; // pending: a dial is under way
};

// One machine's place in the network.
struct sim_host {
	struct network *network;
	struct sim_host *peer;
	struct sim_dialer dialer;
	bool listening;
	unsigned index;

	// Takes over a connection that the peer dialled.
	void (*accept)(struct sim_host *host, struct channel *channel);
};

struct network {
	struct scheduler *scheduler;
	struct rng *rng;
	struct sim_host hosts[2];
	struct connection *connections;

	// as the seed chose, and faults change
	uint64_t delay_min, delay_max; // ns, one way
	uint64_t bandwidth; // bytes a second; 0: no limit
	bool paced; // held to that exactly, also where messages come one by one
	uint64_t window; // bytes on their way in one direction
	uint64_t done_max; // ns, how late done() may be
	bool partitioned; // nothing arrives, nobody is told
	unsigned dial_failures; // one in so many; 0: none
	uint64_t packing; // chooses how each frame with content is packed; 0: all with LZ4
	uint64_t packed; // such frames, so far

	const char *misused;

	// Sees each frame as it is sent and as it arrives; may be NULL.
	void (*sent)(void *user, unsigned host, const struct frame *frame);
	void (*arrived)(void *user, unsigned host, const struct frame *frame);
	void *user;
	uint8_t *scratch; // one frame
};

void network_init(struct network *network, struct scheduler *scheduler, struct rng *rng);
void network_done(struct network *network);

// The connection breaks: what is on its way may still arrive, as far as it came.
void network_cut(struct network *network);

// The engine that owned this end of all connections is gone. silent: its
// machine too, so that the peer is not told soon. Returns the messages that
// will never be done, in a list.
struct message *network_crash(struct network *network, unsigned host, bool silent);

bool network_connected(const struct network *network);

#endif
