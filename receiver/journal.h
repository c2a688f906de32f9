// SPDX-License-Identifier: Apache-2.0
// The redo journal: a ring of records on a disk. Frames of an epoch are
// appended as they come; a commit makes the epoch durable as a whole; the tail
// moves when it has been applied. docs/formats.md, "Journal", has the bytes.
//
// Space is used again only when both superblocks, durably, say that it is free:
// so either of them can be lost.
#ifndef STEAD_JOURNAL_H
#define STEAD_JOURNAL_H

#include "common/clock.h"
#include "common/disk.h"
#include "common/error.h"
#include "common/wire.h"
#include "record.h"

#include <stdbool.h>
#include <stdint.h>

struct journal;

// A record of a committed epoch, to be applied.
struct journal_record;

struct journal_events {
	// The answer to journal_open(). repaired: NULL, or what had to be repaired.
	void (*opened)(void *user, int error, const struct error *err, const char *repaired);
	void (*durable)(void *user, const struct commit *commit);
	// A write or flush did not work: this epoch and all after it are dropped,
	// whether committed or not.
	void (*rejected)(void *user, uint64_t epoch, int error, const struct error *err);
	// What journal functions answered with -EAGAIN or false may have changed.
	void (*progress)(void *user);
};

struct journal_config {
	struct disk *disk;
	struct clock *clock;
	uint64_t memory; // bytes for records, those of the last two aside
	uint64_t (*random)(void *user);
	void *random_user;
	const struct journal_events *events;
	void *user;
};

// NULL without memory.
struct journal *journal_new(const struct journal_config *config);
void journal_free(struct journal *journal); // idle, or to play a crash

// Reads what there is, or makes a new journal where there is none and fresh
// says that there may be none, or where it is empty and of another generation:
// epochs up to base are in the volumes of a new one. Epochs found complete are
// there for journal_next(). After an error opened() does not follow.
int journal_open(struct journal *journal, const struct id *generation, bool fresh, uint64_t base, struct error *err);

// Reads a journal whose epochs are to be redone on a node that was promoted at
// epoch: nothing is added to it any more. What the superblock calls durable was
// checked when it came, so only the chain of headers is followed there; heads of
// frames are to be checked against journal_heads() before they are trusted,
// content when it is used. Its records are there for journal_all().
int journal_open_promoted(struct journal *journal, uint64_t epoch, struct error *err);

// The epoch that is received. -EAGAIN: not yet. -ENOSPC: it cannot fit even
// into an empty ring. -ENOMEM. After an error other than -EAGAIN the caller
// drops the epoch. head: bytes of the frame before its content.
int journal_begin(struct journal *journal, uint64_t epoch);
int journal_append(struct journal *journal, const struct frame *frame, uint32_t head, struct error *err);
int journal_commit(struct journal *journal, const struct commit *commit, struct error *err);
void journal_drop(struct journal *journal); // harmless when none is received

// No commit is under way: what is not durable now will not become so.
bool journal_settled(const struct journal *journal);

// Whether an epoch in it completes this full sync.
bool journal_completes(const struct journal *journal, const struct id *sync);

// The newest durable epoch in it that adopts a lineage; NULL: none.
const struct commit *journal_adoption(const struct journal *journal);

// The oldest durable epoch that is not applied; NULL: none. What follows is
// for that one.
const struct commit *journal_next(const struct journal *journal);

// Its records, in their order; NULL: the first; and NULL after the last.
struct journal_record *journal_record(const struct journal *journal, struct journal_record *after);

// The records of all durable epochs, in their order.
struct journal_record *journal_all(const struct journal *journal, struct journal_record *after);

// Its frames; valid until journal_release(). NULL: call journal_load() and wait
// for done(); -ENOMEM: done() does not follow.
const uint8_t *journal_frames(struct journal_record *record, uint32_t *length);
int journal_load(struct journal *journal, struct journal_record *record, void *user,
                 void (*done)(void *user, int error, const struct error *err));
void journal_release(struct journal *journal, struct journal_record *record);

// Where a record is, and where on the disk its frames are.
uint64_t journal_offset(const struct journal *journal, const struct journal_record *record);
uint64_t journal_frames_offset(const struct journal *journal, const struct journal_record *record, uint32_t *length);

// record_heads() of its frames, as they came.
uint64_t journal_heads(const struct journal_record *record);

// That epoch is in the volumes, and they are flushed: it is forgotten.
void journal_applied(struct journal *journal);

// Asks for an empty ring, that no crash and no lost superblock brings back.
// True when it is so; every epoch must be applied before.
bool journal_drained(struct journal *journal);

// An epoch that was written past the journal, which is drained. Durable when
// journal_saved().
void journal_skip_to(struct journal *journal, uint64_t epoch, int64_t wall);

// The newest superblock says all there is to say.
bool journal_saved(const struct journal *journal);

// Nothing is under way on the disk. stop: begin nothing more by itself.
bool journal_idle(const struct journal *journal);
void journal_stop(struct journal *journal);

uint64_t journal_durable(const struct journal *journal); // epoch
uint64_t journal_newest(const struct journal *journal); // epoch, committed or durable
uint64_t journal_applied_epoch(const struct journal *journal);
int64_t journal_durable_wall(const struct journal *journal); // its cut, ns; 0: none
uint64_t journal_used(const struct journal *journal); // bytes
uint64_t journal_largest(const struct journal *journal); // bytes of frames of an epoch that certainly fit

// Why the superblock cannot be written at the moment; NULL: it can.
const char *journal_trouble(const struct journal *journal);

#endif
