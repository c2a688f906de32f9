// SPDX-License-Identifier: Apache-2.0
// The standby's engine for one pair: takes epochs from the primary into the
// redo journal, acknowledges them when durable, applies them to the volumes,
// and recovers all of it after a crash. No system calls: it lives on a clock
// and disks that it is given, all of one thread.
#ifndef STEAD_SINK_H
#define STEAD_SINK_H

#include "common/channel.h"
#include "common/clock.h"
#include "common/disk.h"
#include "common/error.h"
#include "common/lineage.h"
#include "common/state.h"
#include "common/wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sink;

enum sink_event {
	SINK_OPENED, // recovered; text: NULL, or why it cannot be used
	SINK_CONNECTED,
	SINK_DISCONNECTED, // text: why
	SINK_REFUSED, // the peer, by us; text: why
	SINK_DURABLE, // epoch
	SINK_APPLIED, // epoch
	SINK_REJECTED, // epoch; text: why
	SINK_SYNC_STARTED, // standby inconsistent from now on
	SINK_SYNC_DONE, // consistent from now on
	SINK_DAMAGE_REPAIRED, // text: what was read from its mirror
	SINK_ADOPTED, // epoch: of the primary's generation from now on
	SINK_TAKEOVER, // epoch: the primary asks us to take over; answer with sink_promote() or sink_decline()
	SINK_DECLINED, // by the primary: a switchover; text: why
};

struct sink_config {
	struct clock *clock;
	unsigned volume_count;
	struct disk *volumes[VOLUMES_MAX];
	struct disk *state; // slots (slots.h) from offset 0, kind STATE_SLOT_KIND
	void *map; // the change map of a standby that was a primary, which is changed in place; NULL: there is none
	struct disk *journal; // its size is the budget; a multiple of 4096, at least 4 MiB
	uint64_t apply_memory; // bytes, at least 1 MiB: buffers for journal and apply

	uint64_t (*random)(void *user);
	void (*event)(void *user, enum sink_event event, uint64_t epoch, const char *text);
	void *user;
};

struct sink_status {
	struct pair_state state;
	bool opened;
	const char *failed; // why it cannot be used; NULL: it can
	bool connected;
	enum verdict verdict; // of the last handshake
	bool met; // there was one
	bool returned; // was a primary, and follows no other yet
	char peer[80];
	uint64_t durable, applied; // epochs
	uint64_t primary_lag; // ns, as last heard
	uint64_t primary_outlook; // what it will come to at this rate, ns, or OUTLOOK_NEVER (wire.h), as last heard
	enum trouble primary_trouble; // of this connection
	uint64_t primary_cut; // epoch, as last heard
	uint64_t heard; // clock_now() of the last frame from the peer; 0: never
	uint64_t told; // clock_now() at which the peer sent what it told last, estimated; 0: nothing yet
	int64_t recovery_point; // wall clock of the primary at the newest point, ns; 0: none
	int64_t skew; // peer's wall clock minus ours, ns, as far as is known
	uint64_t journal_used; // bytes
	uint64_t received_bytes, receive_rate; // wire; bytes, bytes a second
	bool promotable;
	bool too_large; // what the primary sends is, for the journal: it stays at its last epoch
	bool syncing;
	uint64_t sync_done, sync_total; // bytes
};

// NULL without memory. SINK_OPENED follows sink_start() once the state is read
// and the journal recovered; only then may anything else be called.
struct sink *sink_new(const struct sink_config *config);
void sink_start(struct sink *sink);

// Closes the connection, waits for what is under way and calls stopped().
void sink_stop(struct sink *sink, void (*stopped)(void *user), void *user);
void sink_free(struct sink *sink); // after stopped(), or to model a crash

// Takes over a connection whose HELLO named this pair and whose peer proved
// the pinned key. Answers with WELCOME or REFUSE. A connection that was there
// before is closed: the peer has only one at a time.
void sink_attach(struct sink *sink, struct channel *channel, const struct wire_hello *hello);

// Makes this node the primary: new generation, durable before done(). 0,
// -EPERM with the reason (not consistent, or a live primary answers and force
// is not set), or the error of the disk. With force a connection is closed
// first. Afterwards the sink accepts no epochs any more, answers a HELLO with
// its newer lineage, and is to be stopped. The lineage is pushed with the last
// durable epoch. The state's redo says that durable epochs are not in the
// volumes yet: these must not be used then but through redo.h.
void sink_promote(struct sink *sink, bool force, void *user,
                  void (*done)(void *user, int error, const struct error *reason));

// Whether SINK_TAKEOVER still waits for its answer: a primary whose connection
// has ended may have learnt that nobody took over.
bool sink_asked(const struct sink *sink);

// The daemon cannot take over; the primary goes on.
void sink_decline(struct sink *sink, const char *why);

// Asks the primary for a switchover: SINK_TAKEOVER or SINK_DECLINED follows,
// unless the connection ends. 0, or -EPERM with the reason.
int sink_ask_switchover(struct sink *sink, struct error *err);

// What this standby holds may be overwritten by its primary, though that does
// not descend from it. done() as for sink_promote().
void sink_yield(struct sink *sink, void *user, void (*done)(void *user, int error, const struct error *reason));

void sink_status(struct sink *sink, struct sink_status *status);

#define STATE_SLOT_KIND 0x54415453 // "STAT"

#endif
