// SPDX-License-Identifier: Apache-2.0
// What the parts of the journal share: journal.c (epochs), commit.c (from
// written to durable), ring.c (space and records), superblock.c (tail), recover.c
// and scan.c (what is there at the start).
#ifndef STEAD_JOURNAL_IMPL_H
#define STEAD_JOURNAL_IMPL_H

#include "journal.h"

#define EPOCHS_MAX 256 // committed and not applied
#define RECORD_MAX record_bytes(FRAME_HEADER_BYTES + (uint64_t)FRAME_PAYLOAD_MAX)

struct journal_record {
	struct disk_io io;
	struct journal *journal;
	struct epoch *epoch; // NULL: dropped
	struct journal_record *next; // DATA of the same epoch
	struct journal_record *next_busy;
	enum record_type type;
	uint64_t position;
	uint64_t sequence;
	uint32_t payload; // bytes
	uint32_t room; // bytes of data
	uint64_t heads; // as in its header
	uint8_t *data; // the whole record; NULL: only on the disk
	bool busy; // being written or read
	bool pinned; // data is being used
	void (*loaded_done)(void *user, int error, const struct error *err);
	void *loaded_user;
};

enum epoch_stage {
	EPOCH_RECEIVING,
	EPOCH_COMMITTING,
	EPOCH_FLUSHING, // all written, a flush under way covers it
	EPOCH_DURABLE,
};

// Where a record begins.
struct place {
	uint64_t position;
	uint64_t sequence;
	uint64_t chain; // of the record before
	uint16_t before[RECORD_BEFORE]; // as in its header
};

struct epoch {
	struct epoch *next;
	enum epoch_stage stage;
	struct commit commit;
	struct place begin;
	struct place end;
	struct journal_record *first, **last; // DATA
	unsigned writing; // records
};

struct superblock_slot {
	bool valid;
	uint64_t tail;
	uint64_t applied;
};

struct journal {
	struct journal_config config;
	struct disk *disk;
	struct id id;
	struct id generation;
	uint64_t ring_bytes;
	uint64_t gather; // bytes of a record that is worth being written
	uint64_t memory; // of records, now
	bool stopping;

	struct place tail; // everything before is applied
	struct place head; // the next record
	struct epoch *epochs, **last_epoch;
	unsigned epoch_count;
	struct journal_record *filling; // of the last epoch
	struct journal_record *inflight; // records being written or read
	unsigned busy; // how many these are
	unsigned dropped; // of them written for nobody: the ring past the head is not to be touched yet

	struct disk_io flush;
	bool flushing;

	uint64_t applied;
	uint64_t durable;
	int64_t durable_wall;
	uint64_t durable_sequence, durable_position;

	struct superblock_slot slots[2];
	unsigned next_slot;
	uint64_t superblock_sequence; // of the newest
	uint8_t *superblock; // SUPERBLOCK_BYTES
	struct disk_io superblock_io;
	struct timer superblock_timer;
	struct superblock_slot superblock_slot; // that is being written
	bool superblock_busy;
	bool superblock_wanted;
	bool superblock_retry; // the timer runs
	bool both_wanted; // that both say the same of tail and applied
	bool superblock_doubt; // its write may be lost with another one's error
	bool trouble;
	struct error trouble_text;

	struct recovery *recovery; // while opening
};

// From a record of that length to the next, but for its chain.
void place_advance(struct place *place, uint64_t length);

// The ring: its place on the disk, and whether space is free.
uint64_t ring_offset(const struct journal *journal, uint64_t position);
uint64_t ring_left(const struct journal *journal, uint64_t position); // bytes to its end
uint64_t ring_free_from(const struct journal *journal); // oldest position that may not be overwritten
void ring_resize(struct journal *journal, uint64_t ring_bytes);

// Whether a record of so many bytes and a COMMIT behind it have room: 0,
// -EAGAIN, or -ENOSPC when they never can.
int ring_room(struct journal *journal, const struct epoch *epoch, uint64_t bytes);

// Records that are made here. record_write() gives one its place at the head of
// the ring and begins to write it.
struct journal_record *record_new(struct journal *journal, struct epoch *epoch, enum record_type type, uint64_t room);
void record_trim(struct journal *journal, struct journal_record *record);
void record_write(struct journal *journal, struct journal_record *record);
void record_free(struct journal *journal, struct journal_record *record);

// Forgets data that can be read back; false: there is none.
bool record_evict(struct journal *journal);

struct epoch *epoch_add(struct journal *journal); // NULL without memory
void epoch_free(struct journal *journal, struct epoch *epoch);

// Drops the epoch and all after it, and says why.
void epoch_reject(struct journal *journal, struct epoch *epoch, int error, const struct error *err);

// Flushes what is committed and written.
void commit_advance(struct journal *journal);

// A flush failed: the kernel says so once, for all writes before it. What is
// not durable yet is rejected.
void commits_doubt(struct journal *journal, int error, const struct error *err);

// A record that was found on the disk.
struct journal_record *record_add(struct epoch *epoch, const struct place *place, const struct record_header *header);

// Writes a superblock if one is wanted and possible.
void superblock_write(struct journal *journal);
void superblock_want(struct journal *journal);

// While opening: a superblock was written, or not.
void recovery_superblock(struct journal *journal, int error);
void recovery_free(struct recovery *recovery);

#endif
