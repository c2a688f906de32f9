// SPDX-License-Identifier: Apache-2.0
// What the files of a connection share.
//
// Input is received into one large buffer, so that many requests arrive in
// one system call; what is missing of a WRITE's payload then goes straight
// into the request's own buffer. Replies are gathered: those that are ready in
// the same turn of the loop leave in one message.
//
// Memory: a connection may always hold one request's buffer; more, only within
// its own budget and the one that all share. When it may not have another it
// stops reading, until one of its own replies is sent or another connection
// gives memory back. So each connection gets on by itself, as long as its
// client takes the replies and sends the payloads that it announced.
#ifndef STEAD_CONNECTION_PARTS_H
#define STEAD_CONNECTION_PARTS_H

#include "connection.h"

#include <sys/socket.h>

#define SLOTS 256 // requests of one client under way, answers not yet sent included
#define CONNECTION_BYTES ((size_t)64 << 20) // of buffers that one client may hold
#define INPUT_BYTES ((size_t)256 << 10)

// A request, from the moment it is read until its reply is sent.
struct slot {
	struct request request;
	struct connection *connection;
	struct slot *next; // free ones, or replies in their order
	struct nbd_request nbd;
	void *data; // NULL: none
	uint32_t data_size; // as taken from the buffers; 0: the memory is the slot's own
	uint32_t reply_length; // bytes of data that the reply carries
	uint32_t header_length;
	uint8_t header[NBD_REPLY_BYTES_MAX];
};

enum connection_state {
	CONNECTION_OPEN,
	CONNECTION_FINISHING, // reads no more
	CONNECTION_GONE, // answers no more
};

struct connection {
	struct connection_host *host;
	enum connection_state state;
	int fd;
	struct nbd nbd;

	struct op receive;
	bool receiving;
	struct msghdr receive_message;
	struct iovec receive_iov[2];
	uint8_t *input;
	size_t input_start, input_end;
	struct slot *filling; // WRITE whose payload is arriving
	size_t filled;

	struct nbd_request pending; // read, but waits for a slot or memory
	bool has_pending;
	bool stalled; // connection_take_slot() found none
	struct buffer_waiter waiter;

	struct slot *free;
	size_t bytes; // of buffers held
	unsigned in_engine;

	// The iov grows behind what is being sent: the kernel took its own copy,
	// and the number of bytes sent tells how much of it that was.
	struct task flush;
	struct op send; // of what the socket had no room for
	bool sending; // one of the two is under way
	struct msghdr send_message;
	struct iovec iov[2 * SLOTS];
	struct slot *replies, **replies_end;

	struct slot slots[SLOTS];
};

// NULL and -EAGAIN: there will be one after a slot or memory is given back,
// connection_advance() is called then. NULL and -ENOMEM: not even one buffer.
struct slot *connection_take_slot(struct connection *connection, size_t data_size, int *error);
void connection_give_slot(struct slot *slot);

// Takes the pending request up. False: it waits.
bool connection_start_pending(struct connection *connection);

// Hands a request, its payload complete, to the engine.
void connection_submit(struct slot *slot);

// Reads, parses and starts requests until there is something to wait for.
void connection_advance(struct connection *connection);

// Answers with the slot's header and reply_length bytes of its data.
void connection_reply(struct slot *slot);
void connection_flush(struct task *task);
void connection_sent(struct op *op, int result, unsigned flags);
void connection_give_replies(struct connection *connection);

// Ends the connection if it is to end and nothing is under way. It may be gone
// afterwards; every handler calls this last.
void connection_settle(struct connection *connection);
void connection_lost(struct connection *connection); // like connection_drop(), but without settling

#endif
