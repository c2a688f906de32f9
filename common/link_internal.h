// SPDX-License-Identifier: Apache-2.0
// What the files of the link share with each other and with nobody else.
#ifndef STEAD_LINK_INTERNAL_H
#define STEAD_LINK_INTERNAL_H

#include "codec.h"
#include "effort.h"
#include "link.h"
#include "token.h"
#include "wire.h"

#include <stdbool.h>
#include <stddef.h>

#define LINK_BATCH_BYTES (512 << 10) // aim of one send, and of the content that is packed for it

#define OF(type, member, pointer) ((type *)((char *)(pointer)-offsetof(type, member)))

// A channel as link_trust() and link_exporter() know it.
struct link_channel {
	struct channel channel; // first: cast
	uint8_t exporter[TOKEN_EXPORTER_BYTES];
	void (*trust)(struct link_channel *channel);
};

struct links {
	struct loop *loop;
	struct clock *clock;
	struct tls_context *tls;
	struct link *first;
	bool stopping;
	struct timer stop_timer;
	void (*stopped)(void *user);
	void *stopped_user;
};

// How the sending of one round went (effort.h).
struct link_watch {
	uint64_t began; // clock_now()
	uint64_t waited; // ns; not for the peer to read
	uint64_t blocked; // since when the socket has not taken all of the send; 0: it has
	bool shut; // then: because the peer does not read
};

enum link_state {
	LINK_CONNECTING,
	LINK_HANDSHAKE,
	LINK_OPEN,
	LINK_ENDING, // the user has been told, or told us; only waits to be freed
};

// Nothing of a link is called from within the functions that its user calls:
// those leave notes and set the kick timer.
struct link {
	struct link_channel base; // first: cast
	struct links *links;
	struct link *next, *previous;
	enum link_state state;
	int fd;
	struct tls *tls;
	struct link_waiter waiter; // until opened
	struct link_dialer *dialer; // while it dials
	void (*finished)(void *user, struct message *message); // in place of message->done()
	void *finished_user;

	struct timer kick; // there is something to do
	struct timer limit; // of the state
	uint64_t since; // clock_now() when it was connected
	struct op connect, receive, send;
	bool connecting, receiving, sending;
	struct net_candidate target;

	bool user_gone; // cancelled, closed, or told that it is over
	bool trusted;
	bool held;
	bool input_over; // the peer sends nothing more
	bool graceful, output_over; // ending: what waits to be sent still goes out
	uint64_t heard; // clock_now()

	// From the network to the user: received bytes go to tls, plaintext
	// comes together to one frame.
	uint8_t *frame;
	size_t frame_size, frame_fill, frame_length; // length: 0 while the header is incomplete
	uint64_t frames; // received

	// From the user to the network: queue, then encoded and encrypted
	// (batch), then in the send under way (sent). Two batches are at work:
	// one is being sent while the next is made.
	struct encoder *encoder;
	struct effort effort;
	uint64_t rate_limit; // of the last content
	struct link_watch watch;
	struct message *queue, **queue_end;
	struct message *batch, **batch_end;
	size_t batch_content; // bytes that were packed for it
	struct message *sent, **sent_end;
	uint8_t *plain;
	const uint8_t *output;
	size_t output_length, output_done;
};

struct link_dialer {
	struct dialer dialer; // first: cast
	struct links *links;
	struct net_address address;
	uint8_t key[FINGERPRINT_BYTES];
	struct link *link; // under way
	struct net_candidate candidates[8];
	unsigned count, tried;
	struct timer refuse; // tells of a failure that dial() itself met
	char why[400];
};

// --- link.c

// A link that is in no state yet; NULL without memory.
struct link *link_new(struct links *links, enum tls_side side, const uint8_t *key);

// Tells the user that it is over, and ends. graceful: what waits to be sent
// (an alert, a farewell) is still sent. To be followed by link_settle().
void link_fail(struct link *link, bool graceful, const char *format, ...) __attribute__((format(printf, 3, 4)));

// Ends without telling.
void link_end(struct link *link, bool graceful);

// Makes the operations of an ending link end soon.
void link_cut(struct link *link);

// To be called at the end of whatever happened to a link; may free it.
void link_settle(struct link *link);

void link_set_limit(struct link *link, uint64_t from, unsigned seconds);

// --- link_dial.c

void link_connect_next(struct link *link);

// --- link_receive.c

// Begins the handshake on link->fd, goes on with it, and opens the channel.
void link_begin(struct link *link);
void link_pump_handshake(struct link *link);

// Delivers what has come and asks for more.
void link_pump_receive(struct link *link);
void link_submit_receive(struct link *link);
void link_received(struct op *op, int result, unsigned flags);

// --- link_send.c

void link_append(struct message ***end, struct message *message);
bool link_ready_to_encode(struct link *link); // false without memory
void link_pump_send(struct link *link); // encodes and sends
void link_flush(struct link *link); // sends what the session has, unless a send is under way
void link_sent(struct op *op, int result, unsigned flags);

// What the user sent just before it closed, as far as it is small, then the
// end of the session.
void link_say_farewell(struct link *link);

// done() for all messages of a link that is ending. Those in flight were
// copied. What a done() sends now is met by the next kick.
void link_finish_all(struct link *link);

// --- link_effort.c

// The socket did not take all of a send; it has taken it.
void link_blocked(struct link *link);
void link_unblocked(struct link *link);

// A batch was made, and a send is about to begin.
void link_round(struct link *link);

// --- for link_thread.c

// Has done() of all messages told to somebody else, who passes it on to the
// user's thread.
void link_set_finished(struct channel *channel, void (*finished)(void *user, struct message *message), void *user);

#endif
