// SPDX-License-Identifier: Apache-2.0
// A standby's engine with everything that it lives on, in memory: disks that
// are stepped by hand, a clock that is set by hand, and a primary that sends
// what the test tells it to.
#ifndef STEAD_TEST_SINK_FIXTURE_H
#define STEAD_TEST_SINK_FIXTURE_H

#include "fake_clock.h"
#include "memdisk.h"

#include "common/codec.h"
#include "receiver/redo.h"
#include "receiver/sink.h"

#define VOLUMES 2
#define BLOCKS_0 64 // the last one is short
#define BLOCKS_1 40
#define BYTES_0 (63 * 4096 + 1000)
#define BYTES_1 (BLOCKS_1 * 4096)
#define DISK_0 (63 * 4096 + 1024)
#define DISK_1 (48 * 4096)
#define VERSIONS 8 // of the content, each with some blocks changed
#define EPOCHS_TOLD 4096
#define JOURNAL (8192 + (1 << 20))
#define SMALL_JOURNAL (8192 + (256 << 10)) // an epoch or two, so it wraps

struct fake_channel {
	struct channel channel;
	struct world *world;
	bool held, closed;
	struct message *first, **last; // to the primary
	struct encoder *encoder; // of the standby's frames
	struct encoder *primary; // of the primary's
	struct inbound {
		uint8_t *bytes;
		size_t length;
	} * inbound; // not delivered yet
	size_t inbound_count, inbound_next;
};

struct world {
	struct fake_clock clock;
	struct memdisk *volumes[VOLUMES], *state, *journal, *redo_log;
	uint64_t journal_bytes, memory;
	struct sink *sink;
	struct redo *redo;
	struct pair_state promoted; // that it redoes
	bool redo_opened, redo_done;
	int redo_error;
	struct error redo_reason;
	unsigned redo_troubles;
	struct fake_channel *channel;
	struct pair_state pair;
	struct id sync;
	enum pack_level level; // of what the primary sends
	unsigned zstd_frames; // that it sent
	unsigned seed; // 0: operations complete in their order
	uint64_t random;

	uint64_t ops_left; // until the crash; counts down
	bool crashed;
	bool frozen; // nothing happens on the volumes
	bool stuck; // nor on the journal

	// events
	bool opened;
	char failed[400];
	unsigned repaired, sync_started, sync_done, rejected, connected, disconnected, refused;
	char why[400]; // of the last disconnection, refusal or rejection
	uint64_t event_durable, event_applied;

	// frames from the standby
	bool welcomed;
	struct wire_welcome welcome;
	struct wire_refuse refusal;
	struct wire_reject reject;
	unsigned rejects, heartbeats, marks, differs;
	struct wire_mark marked;
	struct wire_differ differ;
	struct wire_heartbeat heartbeat;
	uint64_t acked; // DURABLE, of all connections

	// what the primary did
	uint64_t next_epoch;
	uint8_t version_of[EPOCHS_TOLD]; // epochs
	uint8_t *content[VERSIONS][VOLUMES];

	bool stopped;
	bool promote_over;
	int promote_error;
	struct error promote_reason;
};

struct world *world_new(uint64_t journal_bytes);
void world_free(struct world *world);

// Before anything is sent: content that shrinks, packed at that level.
void world_pack(struct world *world, enum pack_level level);

void world_start(struct world *world); // makes a sink; SINK_OPENED comes with world_run()
void world_open(struct world *world); // also that, and it can be used
void world_stop(struct world *world); // in good order, and frees it

void world_end(struct world *world); // the same, and nothing is left

// Opened; also with the full sync of that version and what followed it.
struct world *world_started(uint64_t journal_bytes);
struct world *world_synced(uint64_t journal_bytes, unsigned version);

bool world_step(struct world *world); // one thing that can happen now; false: none

// Makes everything happen that can without time passing. False: ops_left came
// to 0, the sink is in the middle of something.
bool world_run(struct world *world);
void world_run_until_acked(struct world *world, uint64_t epoch);
void world_sleep(struct world *world, uint64_t ns); // time passes

// The sink, or the redo, is gone; with power, what was not flushed may be, too.
void world_crash(struct world *world, bool power, unsigned seed);

void world_connect(struct world *world); // HELLO
void world_catch_up(struct world *world, unsigned version); // connects, and gets that version
void world_hello(struct world *world, struct wire_hello *hello); // the one that world_connect() sends
void world_attach(struct world *world, const struct wire_hello *hello);
void world_cut(struct world *world); // the connection is lost

// Frames of the primary.
void send_body(struct world *world, unsigned type, void *body, size_t length, const void *data, size_t data_length);
uint64_t send_begin(struct world *world, uint64_t base, enum epoch_kind kind, bool completes, unsigned version);
uint64_t send_partial(struct world *world, uint64_t base, unsigned version); // BEGIN of what changed, in place
void send_end(struct world *world, uint64_t epoch);
void send_abort(struct world *world, uint64_t epoch);
void send_mark(struct world *world, unsigned volume, uint64_t block);
void send_heartbeat(struct world *world, uint64_t cut, bool clean);
void send_block(struct world *world, unsigned version, unsigned volume, uint64_t block, uint32_t count);
void send_changes(struct world *world, unsigned version); // since the version before
void send_compare(struct world *world, unsigned version, unsigned volume, uint64_t block, uint32_t count);

// An atomic epoch of what changed since the version before.
uint64_t send_epoch(struct world *world, uint64_t base, unsigned version);

// All that a primary at this version would send now, after WELCOME; and what
// follows the last epoch that was acknowledged.
void send_all(struct world *world, unsigned version);
void send_on(struct world *world, unsigned version);

// Whether the volumes hold this version.
bool is_version(const struct world *world, unsigned version);
void assert_version(struct world *world, unsigned version);

// What a promotion left in the journal is redone, in regions of so many blocks.
void world_redo_start(struct world *world, uint32_t region_blocks); // opened() comes with world_run()
void world_redo(struct world *world); // to its end, and frees it

struct sink_status world_status(struct world *world);
void world_promote(struct world *world, bool force);

#endif
