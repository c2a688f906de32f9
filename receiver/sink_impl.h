// SPDX-License-Identifier: Apache-2.0
// What the parts of the sink share: sink.c (life and state), sink_status.c,
// session.c (one connection), welcome.c (how it begins), frames.c (what the peer
// sends), direct.c (full sync), compare.c, promote.c. Each part has an advance
// function that does what can be done now; sink_advance() calls them all whenever
// anything has changed.
#ifndef STEAD_SINK_IMPL_H
#define STEAD_SINK_IMPL_H

#include "apply.h"
#include "beyond.h"
#include "common/blockhash.h"
#include "common/slots.h"
#include "journal.h"
#include "sink.h"
#include "volumes.h"

enum session_stage {
	SESSION_NONE,
	SESSION_SETTLING, // what former connections began is being finished, then WELCOME
	SESSION_OPEN,
	SESSION_REFUSED, // until REFUSE has gone out
};

enum session_mode {
	MODE_NONE, // between two epochs
	MODE_ATOMIC,
	MODE_DIRECT,
	MODE_DROPPING, // until a BEGIN that continues what was kept
};

struct session {
	enum session_stage stage;
	uint64_t number; // of all sessions, to tell answers that come too late
	struct channel *channel;
	struct outbox *outbox;
	struct timer tick;
	struct wire_hello hello; // the peer's
	bool takes_epochs; // it is our primary
	bool adopting; // the next atomic epoch makes us follow its generation
	uint64_t adoption; // the epoch that did; 0: none
	bool tells_beyond; // the rest of what we hold beyond is to be told
	bool takeover; // was asked for, and not answered
	bool too_large; // the last epoch was, for the journal
	bool held;
	uint64_t held_at; // clock_now(): since then, or the last heartbeat
	uint64_t held_for; // ns, since the last heartbeat
	enum trouble trouble; // of the primary
	bool in_frame; // the channel is in a call to us
	uint8_t *stash; // a frame that has to wait; NULL: none
	size_t stash_length;
	struct blockhash *hash;

	enum session_mode mode;
	struct wire_begin begin; // of the epoch under way
	uint64_t frames, digest;
	uint64_t received; // the last epoch that is complete or was durable
};

enum direct_stage {
	DIRECT_NONE,
	DIRECT_DRAINING, // earlier epochs are applied
	DIRECT_SAVING, // that we are inconsistent
	DIRECT_READY,
	DIRECT_LEAVING, // given up; writes are under way
	DIRECT_FLUSHING, // the end
	DIRECT_ENDING, // the cursor is saved
	DIRECT_NUMBERING, // the journal learns that the epoch is durable
};

struct direct {
	enum direct_stage stage;
	struct wire_begin begin;
	bool abandoned; // while it is SAVING
	uint64_t session; // that asked
	bool marking; // a MARK is being made durable
	bool mark_flushed;
	struct wire_mark mark;
};

struct promotion {
	struct promotion *next;
	void *user;
	void (*done)(void *user, int error, const struct error *reason);
	bool over;
	int error;
	struct error reason;
};

struct sink {
	struct sink_config config;
	struct clock *clock;
	struct slots *slots;
	struct journal *journal;
	struct volumes *volumes;
	struct apply *apply;
	uint8_t *scratch; // BLOCKS_RAW_MAX
	struct unpacker *unpacker;

	struct pair_state state; // as it is on the disk
	// As state says, or as a durable epoch in the journal does.
	bool consistent, returned, fenced, yields;
	struct lineage lineage;
	int64_t born;
	struct beyond *beyond; // returned, and the map could be read
	bool saving;
	struct pair_state next; // that is being saved
	void (*saved)(struct sink *sink, int error);
	bool save_waits; // after an error, for its timer
	struct timer save_timer;

	bool opened;
	bool failed;
	struct error failed_text;
	int64_t recovery_point;
	uint64_t heard; // clock_now()
	uint64_t primary_lag, primary_cut, primary_outlook;
	uint64_t told; // clock_now() when the primary sent its last heartbeat, estimated; 0: none came
	int64_t peer_clock; // its wall clock minus our clock_now(), of those that were the least on their way
	uint64_t received_bytes, counted_bytes, receive_rate;

	struct session session;
	enum verdict verdict; // of the last handshake
	bool met; // there was one
	struct direct direct;
	struct compare *compares; // in the order of their frames
	struct compare *spare_compares;
	unsigned compare_count;
	struct promotion *promotions;
	bool promoting;
	void *yield_user;
	void (*yielded)(void *user, int error, const struct error *reason); // NULL: none is under way
	bool yield_over;
	int yield_error;

	bool advancing, again;
	struct timer soon;
	bool soon_set;
	bool stopping;
	void (*stopped)(void *user);
	void *stopped_user;
};

// sink.c
void sink_advance(struct sink *sink);
void sink_soon(struct sink *sink); // sink_advance() from the loop
void sink_event(struct sink *sink, enum sink_event event, uint64_t epoch, const char *text);
void sink_fail(struct sink *sink, const struct error *err); // for good

// Makes sink->next the state; saved() gets the result, after sink->state was
// replaced. Not while sink->saving.
void sink_save(struct sink *sink, void (*saved)(struct sink *sink, int error));

// Whether nothing that an earlier connection began is under way.
bool sink_settled(const struct sink *sink);

// session.c
void session_send(struct sink *sink, unsigned type, const void *body, size_t length);
bool session_crowded(const struct sink *sink); // answers wait for the network: make no more
void session_end(struct sink *sink, const char *why); // closes the channel
void session_advance(struct sink *sink);
void session_free(struct sink *sink);
void session_durable(struct sink *sink, uint64_t epoch); // sends DURABLE
void session_reject(struct sink *sink, uint64_t epoch, enum reject_cause cause, const char *reason);

// welcome.c: the answer to the session's HELLO.
bool welcome_due(struct sink *sink); // false: REFUSE was sent, whatever there is here
void welcome_send(struct sink *sink); // once settled: WELCOME, or REFUSE

// frames.c. 0, -EAGAIN (again when something has changed), or the reason to
// close the connection.
int frames_take(struct sink *sink, const struct frame *frame, struct error *err);

// direct.c
void direct_begin(struct sink *sink);
int direct_blocks(struct sink *sink, const struct wire_blocks *blocks, struct error *err);
int direct_mark(struct sink *sink, const struct wire_mark *mark);
int direct_end(struct sink *sink);
void direct_abandon(struct sink *sink);
bool direct_idle(const struct sink *sink);
void direct_advance(struct sink *sink);

// roles.c
struct standing roles_standing(const struct sink *sink); // as the peer of the session has to see it
uint64_t roles_left_at(const struct sink *sink); // epoch at which that peer left our generation; 0: it never was in it
bool roles_beyond(const struct sink *sink); // holds what no other node can have
void roles_opened(struct sink *sink); // the journal was read
void roles_adopt(struct sink *sink, const struct commit *commit); // durable
bool roles_saved(const struct sink *sink); // the state says what the journal does
void roles_next(struct sink *sink); // so that it says it
void roles_takeover(struct sink *sink, uint64_t epoch);
void roles_advance(struct sink *sink);
void roles_report(struct sink *sink); // calls yielded()

// compare.c
int compare_take(struct sink *sink, const struct wire_blocks *blocks, struct error *err);
bool compare_idle(const struct sink *sink);
void compare_free(struct sink *sink);

// promote.c
void promote_advance(struct sink *sink);
void promote_report(struct sink *sink); // calls done() of what is over
void promote_cancel(struct sink *sink, const char *why); // unless it is being saved
void promote_free(struct sink *sink);

#endif
