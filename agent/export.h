// SPDX-License-Identifier: Apache-2.0
// A volume as an NBD server on a unix socket: any number of clients up to
// EXPORT_CLIENTS_MAX, further ones wait for a place.
#ifndef STEAD_EXPORT_H
#define STEAD_EXPORT_H

#include "buffers.h"
#include "source.h"

#include "common/error.h"
#include "common/loop.h"

#define EXPORT_CLIENTS_MAX 64
#define EXPORT_MEMORY ((size_t)128 << 20) // budget of a pool of its own

struct export;

struct export_config {
	const char *path; // of the socket; only its owner may use it
	const char *name; // of the export; clients may also ask for the empty name
	const char *description; // may be NULL
	uint64_t size; // bytes
	unsigned volume; // of the source
	struct source *source; // outlives the export
	struct buffers *buffers; // shared by exports of the same loop; NULL: one of its own
};

// Listens at once. A socket that a dead process left behind is replaced; one
// that answers is an error. NULL with the reason.
struct export *export_open(struct loop *loop, const struct export_config *config, struct error *err);

// Removes the socket, takes no further requests, answers those under way,
// hangs up on clients and calls closed(), not from within. A client that does
// not take its replies is waited for but shortly; the source, as long as it
// needs.
void export_close(struct export *export, void (*closed)(void *user), void *user);

#endif
