// SPDX-License-Identifier: Apache-2.0
// What the files of the primary's engine share. Each names the part of struct
// source that it owns; the others only read it.
//
//   requests.c   requests: check, hand reads to the disk, finish
//   tracker.c    changes: gates, mark, hand to the disk
//   unaligned.c  requests that touch parts of sectors
//   regions.c    the write-intent log in the write path
//   capture.c    reading frozen blocks, and the gate that writes pass
//   epoch.c      cut, widen, durable, rejoin
//   shipper.c    the walk over an epoch
//   parcel.c     blocks on their way to the channel
//   oversize.c   changes that the standby's journal cannot hold
//   uplink.c     the connection with the standby
//   greeting.c   what the two nodes are to each other
//   handover.c   changes that are held back: before the first, and at the end
//   outlook.c    what is to be expected, and what it waits for
#ifndef STEAD_ENGINE_H
#define STEAD_ENGINE_H

#include "cadence.h"
#include "common/intent.h"
#include "common/map.h"
#include "common/waiter.h"
#include "common/wire.h"
#include "early.h"
#include "ranges.h"
#include "recent.h"
#include "source.h"

#include <sys/queue.h>

#define container_of(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

struct parcel;
struct note;
struct early_capture;

// Reading blocks of the epoch that is being captured. Owned by whoever embeds
// it until done().
struct capture {
	struct source *source;
	unsigned volume;
	struct range range;
	uint8_t *data; // range.count blocks, aligned
	void (*done)(struct capture *capture, int error); // -ECANCELED: the epoch was given up
	struct disk_io io;
	struct waiter waiter; // for a write in flight
	struct waiter *waiters; // writes that wait for this
	TAILQ_ENTRY(capture) gated;
	bool cancelled;
	bool open_to_writes; // DIRECT: nobody waits for it
	bool heedless; // nor does it wait for writes: they are in the open set
	bool stream; // all of the volume is read, in order
};

struct volume {
	struct disk *disk;
	uint64_t bytes, blocks;
	struct change_set *open; // the set that takes marks
	struct ranges writes; // requests in flight
	struct ranges captures;
	bool no_unmap; // the disk cannot make holes: trims do nothing
};

enum plan {
	PLAN_CHANGES, // ship what changed
	PLAN_COMPARE, // first compare everything, in one atomic epoch
	PLAN_FULL_SYNC, // walk everything, in place
	PLAN_WALK, // walk what changed, in place: the standby's journal cannot hold it
	PLAN_COMPLETE, // the walk is done: the next epoch makes the standby consistent
};

struct epoch {
	uint64_t number; // 0: this entry is free
	enum epoch_kind kind;
	bool all; // every block belongs to it, not only those of its set
	bool compare; // content travels only where hashes differ
	bool completes;
	bool adopts;
	bool begun; // BEGIN was sent
	struct change_set *set; // NULL: DIRECT, and all
	int64_t cut_wall;
	uint64_t cut_at; // clock_now()
	uint64_t content; // bytes, of its set
};

struct position {
	unsigned volume;
	uint64_t block;
};

enum session_state {
	SESSION_IDLE, // a redial is due, or nothing is wanted
	SESSION_DIALING,
	SESSION_GREETING, // HELLO sent
	SESSION_LEARNING, // what the standby holds beyond
	SESSION_READY,
};

struct meter { // bytes a second, smoothed over some seconds
	uint64_t total, last;
	uint64_t rate;
};

enum drain {
	DRAIN_NONE,
	DRAIN_SHIPPING, // what there was
	DRAIN_HOLDING, // and what came meanwhile; changes wait
	DRAIN_DRY, // nothing is left; changes wait
};

TAILQ_HEAD(request_list, request);
TAILQ_HEAD(capture_list, capture);
TAILQ_HEAD(parcel_list, parcel);
TAILQ_HEAD(note_list, note);
TAILQ_HEAD(early_list, early_capture);

struct source {
	struct source_config config;
	struct clock *clock;
	struct pair_state state; // as at source_new()
	struct volume volumes[VOLUMES_MAX];
	unsigned volume_count;
	bool serving, fenced, stopping, paused;
	struct timer tick; // twice a second
	bool half; // of one
	void (*stopped)(void *user);
	void *stopped_user;
	bool stop_flushing;
	struct timer stop_timer;
	struct disk_io stop_io;
	unsigned stop_volume;

	// handover.c
	bool untouched; // no change before the state says so
	bool touching; // it is being made to say so
	int touch_error; // it could not be
	struct waiter *held; // changes
	enum drain drain;
	uint64_t drain_epoch; // that holds what there was when draining began; DRY: the last one there is
	struct timer drain_timer;
	void (*drained)(void *user, int error);
	void *drain_user;
	bool handover; // the standby was told to take over
	bool handed; // and did

	// requests.c
	struct request_list bounced; // reads that go through a buffer
	struct request_list finished; // to be told later
	struct timer finish;
	unsigned requests; // not yet done
	bool served; // one was done since shipper.c asked

	// tracker.c
	struct request_list changes; // marked or waiting to be
	struct meter changed;

	// regions.c
	struct intent *intent;
	bool loading;
	void (*loaded)(struct source *source);
	bool taken_back; // this node, or its successor, was taken back to an older state
	bool map_kept; // the map was trusted when it was opened
	bool doubtful; // what is marked was found in the log: it may be the same on both nodes
	bool flushing;
	struct disk_io flush_io;
	unsigned flush_volume;
	bool flush_failed;
	uint64_t flush_at; // clock_now() of the next flush

	// capture.c
	struct capture_list captures; // that writes may wait for
	struct early_list early_captures;
	unsigned reads; // under way, cancelled ones too
	struct early *early;
	struct recent *recent; // filled by tracker.c

	// epoch.c
	struct map map;
	unsigned map_damaged; // parts
	struct change_set *open; // as in every volume
	struct change_set *merging; // rejoins the open set
	unsigned merge_volume;
	uint64_t merge_index;
	struct timer merge_timer;
	struct timer cut_timer;
	enum plan plan;
	struct epoch capturing; // number 0: none
	struct epoch sent[MAP_SETS]; // awaiting DURABLE, oldest first
	unsigned sent_count;
	uint64_t base; // what the next BEGIN bases on
	uint64_t settled; // the last epoch that the standby said it has
	bool rejected; // no BEGIN until all sent ones are settled
	uint64_t not_before; // clock_now() of the next cut: after a rejection or error
	uint64_t retry_delay;
	struct cadence cadence;
	uint64_t cut_at; // clock_now() of the last cut
	uint64_t changed_at_cut; // changed.total then
	uint64_t measured, measured_at; // wire bytes and clock_now() when the last epoch became durable
	enum trouble trouble; // why the last epoch was given up

	// shipper.c
	struct position cursor;
	uint64_t data_end; // block of the cursor's volume: no hole up to there
	struct parcel_list parcels; // not yet wholly handed to the channel, in order of the walk
	struct parcel_list comparing; // waiting for DIFFER, in order
	struct parcel_list every, idle; // all in use, also those that the channel still has; kept for reuse
	unsigned parcel_count; // in use
	unsigned parcel_reads; // under way, cancelled ones too
	bool pumping;
	uint64_t served_at; // clock_now() when requests were last seen
	bool beside_requests; // reads leave the disk to them
	struct timer pace;
	int64_t tokens; // bytes that may be sent now
	uint64_t tokens_at;
	struct meter shipped; // on the wire
	struct meter walked; // by a sync, whether it had to travel or not
	struct position marked_sent, marked; // sync in place: asked for, confirmed
	uint64_t mark_epoch; // that it was asked for in
	bool marking; // asked and not answered
	uint64_t passed; // blocks that the walk has passed
	bool blank[VOLUMES_MAX]; // the standby's volume holds nothing

	// oversize.c
	bool stuck; // nothing is tried until something has changed
	uint64_t stuck_blocks; // what did not fit; 0: not counted yet
	uint64_t walk_blocks; // of PLAN_WALK

	// uplink.c
	enum session_state session;
	struct channel *channel;
	char peer[80];
	struct timer redial;
	unsigned attempts;
	uint64_t heard;
	struct note_list notes; // small messages that a channel still has
	uint64_t durable, applied; // of the standby; 0: not known
	int64_t recovery_point;
	unsigned peer_held; // percent of its last second in which the standby could take nothing
	enum source_state verdict; // REFUSED, DIVERGED, SPLIT_BRAIN, DEMOTED; else REPLICATING
	bool split;
	bool adopting; // the next atomic epoch makes the standby follow our generation
	uint64_t peer_bytes;
	int64_t peer_since, peer_born;
	bool ever_ready;

	// outlook.c
	unsigned late, late_there; // percent of the last seconds: the oldest write was late; and that by the standby
};

// source.c
void source_tell(struct source *source, enum source_event event, uint64_t epoch, const char *text);
void source_check_stopped(struct source *source); // after anything under way has ended

// handover.c
// 0: the change may go on; -EAGAIN: it waits; or an error.
int handover_pass(struct source *source, struct request *request);
void handover_check(struct source *source); // something was finished
void handover_lost(struct source *source); // the connection
void handover_end(struct source *source); // what is held goes on, or is turned away
void handover_contact(struct source *source, const char *why); // the standby did not take over
void handover_init(struct source *source);

// requests.c
void request_finish(struct request *request, int error); // from a completion
void request_finish_later(struct request *request, int error); // from a call of the application
void request_submit_io(struct request *request); // its io is filled in

// tracker.c
void tracker_admit(struct request *request); // a change, from its first gate on
void tracker_done(struct request *request, int error); // the device has carried out a change
// A change that was marked before the cut and overlaps, other than except; or NULL.
struct request *tracker_in_flight(struct volume *volume, uint64_t first, uint64_t count, uint64_t cut);

// unaligned.c
bool request_is_aligned(const struct request *request);
void unaligned_read(struct request *request);
int unaligned_prepare(struct request *request); // 0 or -ENOMEM
void unaligned_change(struct request *request); // marked and alone on its blocks

// regions.c
int regions_init(struct source *source);
void regions_load(struct source *source, void (*loaded)(struct source *source));
// 0: the regions of the change are in the log; -EAGAIN: it waits; or an error.
int regions_pass(struct source *source, struct request *request);
void regions_note(struct source *source); // what map.h keeps in memory has changed
void regions_tick(struct source *source);
bool regions_busy(const struct source *source);

// capture.c
void capture_start(struct capture *capture);
void capture_cancel_all(struct source *source);
void capture_free(struct source *source); // what never completed
// Whether the change has to wait for a capture first; if so it is woken.
bool capture_gate(struct source *source, struct request *request);

// epoch.c
void epoch_consider(struct source *source); // cuts if it is time, or sets the timer
void epoch_captured(struct source *source); // all of it was handed to the channel
void epoch_widen(struct source *source, enum trouble trouble, const char *why);
void epoch_durable(struct source *source, uint64_t number);
void epoch_rejected(struct source *source, uint64_t number, enum reject_cause cause);
void epoch_disconnected(struct source *source);
void epoch_settle(struct source *source, uint64_t durable); // what the handshake says of sent epochs
int epoch_init(struct source *source);
uint64_t epoch_next(const struct epoch *epoch, const struct volume *volumes, unsigned volume, uint64_t block);
bool epoch_zero(const struct epoch *epoch, unsigned volume, uint64_t block);
// Blocks of the epoch that follow one another from a member on, are not zero
// granules and were not captured early; at most max.
uint32_t epoch_run(struct source *source, unsigned volume, uint64_t block, uint32_t max);

// shipper.c
void shipper_pump(struct source *source);
void shipper_mark(struct source *source); // sync in place: asks to make the progress durable
void shipper_init(struct source *source);
void shipper_sync_progress(const struct source *source, uint64_t *done, uint64_t *total);

// oversize.c
void oversize_explain(const struct source *source, const char *reason, char *text, size_t size);
void oversize_rejected(struct source *source); // the sets rejoin
void oversize_retry(struct source *source); // something has changed
void oversize_tick(struct source *source);
void oversize_begin(struct source *source); // PLAN_WALK was cut
void oversize_leave(struct source *source, struct position to); // it is durable up to there

// parcel.c
void parcels_cancel(struct source *source); // of an epoch that is given up
void parcels_differ(struct source *source, const struct wire_differ *differ);
void parcels_trim(struct source *source); // gives memory back that is not in use
void parcels_free(struct source *source);

// uplink.c
void uplink_start(struct source *source);
void uplink_stop(struct source *source);
void uplink_free(struct source *source);
void uplink_tick(struct source *source);
void uplink_lost(struct source *source, const char *why);
bool uplink_ready(const struct source *source);
void uplink_heartbeat(struct source *source);
// Sends a frame without content; body is copied.
void uplink_send(struct source *source, enum frame_type type, const void *body, size_t length);

// greeting.c
void greeting_send(struct source *source); // HELLO
void greeting_welcome(struct source *source, const struct frame *frame); // its answer
void greeting_beyond(struct source *source, const struct wire_beyond *beyond); // what follows it
void greeting_refuse(struct source *source, enum source_state verdict, const char *why); // no replication

// outlook.c
void outlook_tick(struct source *source); // once a second
uint64_t outlook_lag(struct source *source); // the most to expect at this rate, ns, or OUTLOOK_NEVER
enum trouble outlook_trouble(struct source *source);
int64_t outlook_eta(const struct source *source, const struct source_status *status);

// source.c
uint64_t source_behind(const struct source *source); // bytes
int64_t source_oldest(const struct source *source); // wall clock of the first write that is behind; 0: none
uint64_t source_lag(struct source *source); // ns
bool source_walks_changes(const struct source *source); // the journal could not hold them: in place

#endif
