// SPDX-License-Identifier: Apache-2.0
// One NBD client of an export.
#ifndef STEAD_CONNECTION_H
#define STEAD_CONNECTION_H

#include "buffers.h"
#include "nbd.h"
#include "source.h"

#include "common/loop.h"

struct connection;

// What the connections of an export share.
struct connection_host {
	struct loop *loop;
	struct buffers *buffers;
	struct nbd_export export;
	struct source *source;
	unsigned volume;
	void (*ended)(struct connection_host *host, struct connection *connection); // it is freed next

	// For a client that must not wait for memory: so many requests at a time,
	// each with so much of its own. NULL: as the buffers allow.
	uint8_t *memory; // slots * slot_bytes, page aligned
	unsigned slots;
	uint32_t slot_bytes; // longer requests take from the buffers
};

// Serves a client until it leaves. Takes fd over; NULL without memory.
struct connection *connection_new(struct connection_host *host, int fd);

// The same for the kernel's own client, of which there is one a host.
struct connection *connection_new_attached(struct connection_host *host, int fd);

// Reads no further request, answers those under way, then ends; maybe from
// within the call.
void connection_finish(struct connection *connection);

// The same, but without a care for the answers.
void connection_drop(struct connection *connection);

#endif
