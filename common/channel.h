// SPDX-License-Identifier: Apache-2.0
// A channel carries messages to the peer and frames from it, in order, over a
// connection whose peer has proved its key. link.h implements it over TLS, the
// simulator implements it with a network that delays and cuts.
#ifndef STEAD_CHANNEL_H
#define STEAD_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct frame;
struct channel;

// What goes out: the body of one frame (wire.h makes it), and for FRAME_BLOCKS
// and FRAME_COMPARE the raw content that the channel compresses or hashes on
// its way (codec.h), off the sender's thread. The sender owns the message and
// leaves it alone until done() is called, exactly once, on the sender's thread
// and never from within channel_send(): when the frame was handed to the
// network, or will never be.
struct message {
	unsigned type; // enum frame_type
	void *body;
	size_t body_length;
	const void *data; // content of the body's extents, in their order
	size_t data_length;
	uint64_t rate_limit; // bytes a second on the wire that the sender keeps to; 0: none
	void (*done)(struct message *message);

	size_t wire_bytes; // set before done(): what went out; 0 when it did not

	// for the implementation
	struct message *next;
};

// What the user of a channel is told, always on the user's thread. The frame
// and its payload are valid during the call only. closed() is the last call
// for a channel, and is not made for one that the user closed; why is a
// message for people.
struct channel_events {
	void (*frame)(void *user, const struct frame *frame);
	void (*closed)(void *user, const char *why);
};

struct channel_ops {
	void (*send)(struct channel *channel, struct message *message);
	void (*hold)(struct channel *channel, bool hold);
	void (*close)(struct channel *channel);
};

struct channel {
	const struct channel_ops *ops;
	const struct channel_events *events;
	void *user;
	char peer[80]; // address of the other end, for people
	uint8_t peer_key[32]; // fingerprint that the other end proved (keys.h)
};

static inline void channel_send(struct channel *channel, struct message *message)
{
	channel->ops->send(channel, message);
}

// While held, no frame is delivered, and the peer's sending comes to a stop.
static inline void channel_hold(struct channel *channel, bool hold)
{
	channel->ops->hold(channel, hold);
}

// What was sent before may or may not arrive. The user hears no event after
// this and must not touch the channel again, but still gets done() of every
// message that it has sent.
static inline void channel_close(struct channel *channel)
{
	channel->ops->close(channel);
}

// Makes connections. The user sets opened and failed; exactly one of the two
// follows each dial(), never from within it. The user takes the channel over
// in opened() by setting its events. cancel() drops a dial under way without
// either.
struct dialer {
	const struct dialer_ops *ops;
	void (*opened)(void *user, struct channel *channel);
	void (*failed)(void *user, const char *why);
	void *user;
};

struct dialer_ops {
	void (*dial)(struct dialer *dialer);
	void (*cancel)(struct dialer *dialer);
};

static inline void dialer_dial(struct dialer *dialer)
{
	dialer->ops->dial(dialer);
}

static inline void dialer_cancel(struct dialer *dialer)
{
	dialer->ops->cancel(dialer);
}

#endif
