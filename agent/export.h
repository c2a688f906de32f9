// SPDX-License-Identifier: Apache-2.0
// What an application uses a volume through: a block device of the kernel
// (ublk or nbd), or an NBD server on a unix socket.
//
// A kernel device outlives this process: whoever has it open or mounted waits
// until another process takes it up, and has no error. So devices are not
// remembered but found, by the id of the volume that they carry.
#ifndef STEAD_EXPORT_H
#define STEAD_EXPORT_H

#include "buffers.h"
#include "source.h"

#include "common/config.h"
#include "common/error.h"
#include "common/loop.h"

#define EXPORT_ID_MAX 1200 // with its end
#define EXPORT_MEMORY ((size_t)128 << 20) // budget of a pool of buffers

struct export;

// The device of an open export is gone, as somebody else ended or disconnected
// it; or it is there again, perhaps under another name. Tried until it is.
typedef void export_presence_fn(void *user, struct export *export, bool there, const char *why);

struct export_config {
	enum export_kind kind; // EXPORT_AUTO: the best that works here
	const char *id; // of the volume on this machine: what its device is found by
	const char *path; // of the socket; only its owner may use it
	const char *name; // of the export; clients may also ask for the empty name
	const char *description; // may be NULL
	uint64_t size; // bytes
	uint32_t sector; // bytes: the unit that a device is addressed in, as the disk below; 0: 512
	unsigned volume; // of the source
	struct source *source; // outlives the export
	export_presence_fn *presence; // with the user of export_open(); may be NULL for a socket
	struct buffers *buffers; // shared by exports of the same loop; NULL: one of its own
};

enum export_end {
	EXPORT_LEAVE, // this process ends, another will come: a device that is in use waits for it
	EXPORT_END, // no process will come: whoever still uses it has errors
};

// Called once, never from within export_open(). error 0: it can be used. Else
// the reason; the export is gone when the call returns.
typedef void export_opened_fn(void *user, struct export *export, int error, const struct error *reason);

// NULL without memory or thread, with the reason. The strings are copied.
struct export *export_open(struct loop *loop, const struct export_config *config, export_opened_fn *opened, void *user,
                           struct error *err);

// Once it is open:
enum export_kind export_kind(const struct export *export);
const char *export_target(const struct export *export); // path of the device or socket; "none": it is gone
const char *export_why(const struct export *export); // why it is of this kind
bool export_zero_copy(const struct export *export); // no data passes through this process's memory

// Answers what is under way and calls closed(), not from within. May be called
// before it is open: then opened() is not called any more.
void export_close(struct export *export, enum export_end end, void (*closed)(void *user), void *user);

// Whether devices of a kind can be made here, else why not. Blocks.
int export_probe(enum export_kind kind, struct error *reason);

// -- about devices of a volume, whichever process made them; each blocks --

// -EBUSY with the reason when one is open or mounted.
int export_in_use(const char *id, struct error *reason);

// Ends those that no process serves: whoever uses one has errors.
int export_end_left(const char *id, struct error *err);

#endif
