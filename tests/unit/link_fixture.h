// SPDX-License-Identifier: Apache-2.0
// Two nodes on one loop with a listening socket between them: the server takes
// connections with link_accept(), the client dials with a dialer of either kind.
#ifndef STEAD_TEST_LINK_FIXTURE_H
#define STEAD_TEST_LINK_FIXTURE_H

#include "common/channel.h"
#include "common/link.h"
#include "common/link_thread.h"
#include "common/wire.h"
#include "nodes.h"

#include <stdbool.h>
#include <stdint.h>

// One end of the connection, and the checks that every test makes: frames in
// order and intact, done() once for each message, nothing after the end.
struct end {
	const char *name;
	struct channel *channel; // NULL: not opened yet, or over
	bool opened, failed, closed;
	char why[500]; // failed, closed
	unsigned frames, heartbeats, blocks; // received
	uint64_t frame_bytes;
	unsigned sent, sent_heartbeats, done, went_out; // messages; went_out: with wire_bytes
	uint64_t wire_bytes;
	bool held;

	void (*on_open)(struct end *end);
	void (*on_frame)(struct end *end, const struct frame *frame);
	void (*on_done)(struct end *end);
};

extern struct loop *loop;
extern struct node client_node, server_node;
extern struct links *links, *client_links; // the latter for a client without thread
extern struct end client, server;
extern struct net_address listening;

int nodes_set_up(void **state); // once a program
int nodes_tear_down(void **state);

int set_up(void **state); // before each test
int set_up_threaded(void **state); // the client has a thread of its own
int tear_down(void **state); // closes what is open, waits for all, checks the balance

// Dials and waits until both ends are open. Unless stranger, the server trusts.
void open_both(bool stranger);
void dial(void); // with the dialer of the test; what follows is in client
void dial_to(const struct net_address *address, const uint8_t *key);
void cancel_dial(void);
void accept_nothing(void); // stops taking connections; they pile up in the backlog

// Runs the loop until the condition holds, which is looked at after each event.
void run_until(bool (*condition)(void));
void run_for(unsigned milliseconds); // for what must not happen
void poke(void); // look at the condition

void send_heartbeat(struct end *end); // numbered
void send_blocks(struct end *end, unsigned seed, unsigned blocks); // content made from seed
void send_body(struct end *end, unsigned type, const void *body, size_t length);
void fill_blocks(uint8_t *content, unsigned seed, unsigned blocks); // what send_blocks() sends
void close_end(struct end *end);

bool both_open(void);
bool client_over(void); // failed or closed
bool server_over(void);
bool all_done(void); // every message of both ends has come back

// Makes time go a hundred times as fast for the links.
void accelerate(void);

#endif
