// SPDX-License-Identifier: Apache-2.0
// The primary's engine for one pair: the write path of its volumes, cuts and
// epochs, capture, and the conversation with the standby. No system calls: it
// lives on a clock, disks, a dialer and a piece of mapped memory that it is
// given, all of one thread.
#ifndef STEAD_SOURCE_H
#define STEAD_SOURCE_H

#include "common/channel.h"
#include "common/clock.h"
#include "common/disk.h"
#include "common/error.h"
#include "common/lineage.h"
#include "common/state.h"
#include "common/waiter.h"

#include "ranges.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

struct source;

enum request_op {
	REQUEST_READ,
	REQUEST_WRITE,
	REQUEST_ZERO, // must read back as zeroes
	REQUEST_TRIM, // advisory: does nothing where the disk cannot make holes
	REQUEST_FLUSH,
};

enum request_flags {
	REQUEST_FUA = 1 << 0,
	REQUEST_NO_HOLE = 1 << 1, // ZERO: keep the space allocated
	REQUEST_FAST = 1 << 2, // ZERO: -EOPNOTSUPP rather than slow
};

// Of a write: what is not longer is kept for capture, if the engine can see it.
#define SOURCE_KEPT_BYTES (UINT64_C(64) << 10)

// One request of the application. Same ownership rules as struct disk_io.
struct request {
	enum request_op op;
	unsigned flags;
	unsigned volume; // index
	uint64_t offset; // bytes, any alignment; checked against the volume
	uint64_t length; // bytes; READ and WRITE at most 32 MiB
	void *data; // READ and WRITE; any alignment works, 4096 avoids a copy
	unsigned registered; // instead of data, as in struct disk_io: only what needs no copy
	void (*done)(struct request *request, int error);

	// for the engine
	struct source *source;
	TAILQ_ENTRY(request) changes; // WRITE, ZERO, TRIM under way
	struct range range; // blocks touched
	struct disk_io io;
	struct waiter waiter; // this request waits
	struct waiter *waiters; // others wait for it
	uint64_t cut; // the last cut when it was marked
	uint8_t *bounce;
	unsigned step;
	int error;
	bool exclusive; // reads, changes and writes back parts of sectors
	bool marked;
	bool contended; // another change was under way on some of the same blocks: either may have been the last
};

struct source_volume {
	struct disk *disk;
	uint64_t bytes; // replicated and exported; at most disk->size
};

enum source_event {
	SOURCE_CONNECTED,
	SOURCE_DISCONNECTED, // text: why
	SOURCE_SERVING, // writes are accepted from now on
	SOURCE_FENCED, // nothing is served from now on; the caller keeps state.fenced, .split and what status says; text: why
	SOURCE_TOUCHED, // first write since the promotion: the caller makes state.untouched false, then source_touched()
	SOURCE_NOT_TAKEN, // the peer did not take over; the caller makes state.handover false, then source_undrain(); text: why
	SOURCE_SWITCHOVER_WANTED, // on the peer; the caller answers with source_drain() or source_decline()
	SOURCE_REFUSED, // by the peer, or we refuse it; text: why
	SOURCE_CUT, // epoch
	SOURCE_DURABLE, // epoch
	SOURCE_WIDENED, // epoch given up; text: why
	SOURCE_SYNC_STARTED,
	SOURCE_SYNC_DONE,
	SOURCE_MAP_DAMAGED, // text: what was done about it
};

#define SOURCE_REGION_BLOCKS 256 // 1 MiB

struct source_config {
	struct clock *clock;
	struct dialer *dialer; // opened, failed and user are set by the engine
	unsigned volume_count;
	struct source_volume volumes[VOLUMES_MAX];
	const struct pair_state *state; // read at source_new() only

	void *map; // source_map_bytes() of memory, page aligned, that outlives a process crash
	struct id boot; // of this boot of the machine

	struct disk *intent; // source_intent_bytes() for the write-intent log
	uint32_t region_blocks; // its regions: SOURCE_REGION_BLOCKS, in tests less
	struct disk *spill; // may be NULL: none
	uint64_t spill_bytes;
	uint64_t capture_memory; // bytes, at least 1 MiB
	uint64_t rpo; // ns
	uint64_t bandwidth; // bytes a second on the wire; 0: no limit
	bool in_place; // changes that the standby's journal cannot hold are written in place, else it keeps its epoch
	bool start_without_peer;

	uint64_t (*random)(void *user); // secret enough for ids
	void (*event)(void *user, enum source_event event, uint64_t epoch, const char *text);
	void *user;
};

enum source_state {
	SOURCE_STATE_WAITING, // has not spoken to its peer yet; serves nothing
	SOURCE_STATE_FULL_SYNC,
	SOURCE_STATE_RESYNC,
	SOURCE_STATE_REPLICATING,
	SOURCE_STATE_PAUSED,
	SOURCE_STATE_DIVERGED, // the peer was primary before us and may hold writes of its own
	SOURCE_STATE_SPLIT_BRAIN,
	SOURCE_STATE_REFUSED,
	SOURCE_STATE_DEMOTED, // a newer generation exists
};

struct source_status {
	enum source_state state;
	const char *reason; // design's reason code, NULL: none
	bool connected;
	bool serving;
	bool fenced;
	bool split; // fenced: both nodes had been written to
	bool handed; // fenced: this node had asked its peer to take over, and had shipped everything
	uint64_t acknowledged; // the last epoch that the standby is known to have had
	bool complete; // the dirty blocks are all that may differ; else it is not known what does
	int64_t oldest; // wall clock of the first acknowledged write that is not durable on the standby, ns; 0: none
	uint64_t peer_bytes; // DIVERGED, SPLIT_BRAIN, DEMOTED: what the peer says it holds of its own
	int64_t peer_since, peer_born; // wall clock, ns; 0: none
	char peer[80];
	uint64_t open, durable, applied; // epochs; durable, applied: 0 when not known
	uint64_t lag; // ns
	uint64_t outlook; // what the lag will come to at this rate, ns; OUTLOOK_NEVER (wire.h): it will not end
	uint64_t bytes_behind;
	uint64_t change_rate, ship_rate; // bytes a second
	uint64_t wire_bytes; // since source_new()
	int64_t eta; // ns; -1: not converging or not known; 0: in step
	bool inconsistent; // the standby, as far as is known: it can be promoted to nothing
	bool syncing;
	uint64_t sync_done, sync_total; // bytes
	int64_t recovery_point; // wall clock of the standby's newest point, ns; 0: none
	uint64_t volume_dirty[VOLUMES_MAX]; // bytes
};

// Size of the map memory for these volumes.
size_t source_map_bytes(unsigned volume_count, const uint64_t *volume_bytes);

// Size of the write-intent log for these volumes.
uint64_t source_intent_bytes(unsigned volume_count, const uint64_t *volume_bytes, uint32_t region_blocks);

// Whether the map memory holds what this pair needs to go on without comparing
// everything: written in this boot, or closed cleanly. Where it does not,
// source_new() begins with an empty map; fresh zero memory makes that cheaper.
bool source_map_trusted(const struct source_config *config);

// NULL without memory. Nothing happens before source_start(), and before that
// the caller syncs the map's first page: a power failure must not bring back a
// page that calls the map closed.
struct source *source_new(const struct source_config *config);
void source_start(struct source *source);

// Stops shipping, waits for requests in flight, flushes the volumes and calls
// stopped() when nothing of the engine is under way any more. New requests fail
// with -ESHUTDOWN. clean: the map is complete and may be trusted at the next
// start once the caller has synced it to its file and called
// source_map_close().
void source_stop(struct source *source, void (*stopped)(void *user), void *user);
void source_free(struct source *source); // after stopped(), or to model a crash

// Marks a map as complete. The caller syncs it before and after.
void source_map_close(void *map);

// Takes requests in any number at any time. -ESHUTDOWN while not serving.
void source_submit(struct source *source, struct request *request);

// Whether a hole begins at offset of the volume (disk.h).
bool source_hole(struct source *source, unsigned volume, uint64_t offset, uint64_t *length);

// The caller makes pausing durable.
void source_pause(struct source *source, bool pause);
void source_set_limits(struct source *source, uint64_t rpo, uint64_t bandwidth);
void source_set_in_place(struct source *source, bool in_place);

// Starts to serve without having heard of the peer.
void source_serve(struct source *source);

// The first write of this generation may go on, or fails with the error.
void source_touched(struct source *source, int error);

// What a peer that was promoted said of itself, not over the dialer's
// connection.
struct source_successor {
	struct lineage lineage;
	bool untouched;
};
void source_fence(struct source *source, const struct source_successor *successor, const char *why);

// Ships all there is, holding back changes at the end; done(0) when the standby
// has all that was acknowledged: from then on changes are held until
// source_undrain() or source_stop(). done(-ENOTCONN) when the connection ends
// before. 0, or -EPERM with the reason: done() does not follow.
int source_drain(struct source *source, void *user, void (*done)(void *user, int error), struct error *err);
void source_undrain(struct source *source);
void source_decline(struct source *source, const char *why);

// Drained, and state.handover is durable: tells the standby to take over.
// SOURCE_FENCED or SOURCE_NOT_TAKEN follows, whenever it is known.
void source_take_over(struct source *source);

// The first block at or after *block that is not known to be on the standby;
// count: how many follow one another. False: none.
bool source_dirty(struct source *source, unsigned volume, uint64_t *block, uint64_t *count);

void source_status(struct source *source, struct source_status *status);

#endif
