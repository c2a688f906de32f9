// SPDX-License-Identifier: Apache-2.0
// The bytes of the redo journal: two superblocks, and the records of the ring
// behind them. docs/formats.md says the same in tables. Pure.
#ifndef STEAD_RECORD_H
#define STEAD_RECORD_H

#include "common/block.h"
#include "common/lineage.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SUPERBLOCK_BYTES 4096
#define RING_OFFSET UINT64_C(8192) // where the ring begins on the disk, behind two superblocks
#define RECORD_ALIGN 4096
#define RECORD_HEADER_BYTES 512
#define RECORD_BEFORE 216 // records that a header knows the lengths of
#define COMMIT_BYTES 1024 // payload of a COMMIT record

// Positions are counted in bytes from the making of the journal and never go
// back but for an epoch that is dropped; the place in the ring is position
// modulo ring_bytes.
struct superblock {
	uint64_t sequence; // of the superblock; from 1
	struct id journal; // random, made with the journal
	struct id generation; // that the epochs are numbered in
	uint64_t ring_bytes;

	// the oldest record that is still needed, or the place of the next one
	uint64_t tail;
	uint64_t tail_sequence;
	uint64_t tail_chain;

	uint64_t applied; // the epoch before the tail
	uint64_t durable;
	int64_t durable_wall; // cut of that epoch, ns; 0: none
	uint64_t durable_sequence; // of the record after its COMMIT: so far the chain must reach
	uint64_t durable_position; // where that begins
};

enum record_type {
	RECORD_DATA = 1, // whole BLOCKS frames of one epoch
	RECORD_COMMIT = 2, // the epoch is complete
	RECORD_PAD = 3, // nothing: the next record is at the start of the ring
};

// Each header holds the checksum of the one before it, its chain: what was
// written over, or left over from an epoch that was dropped, never continues
// the chain.
struct record_header {
	enum record_type type;
	uint32_t payload; // bytes
	struct id journal;
	uint64_t sequence;
	uint64_t chain; // of the record before
	uint64_t epoch;
	uint64_t checksum; // of the payload
	uint64_t heads; // record_heads() of the frames in it; 0: not RECORD_DATA
	// lengths of the records before, the nearest first, in units of
	// RECORD_ALIGN; 0: not known, also those before it
	uint16_t before[RECORD_BEFORE];
};

struct commit {
	uint64_t epoch;
	uint64_t base;
	int64_t cut_wall; // ns
	bool completes; // the full sync named in sync
	struct id sync;
	bool adopts; // the standby is of this lineage from here on
	struct lineage lineage;
	int64_t born; // as in struct pair_state
	uint64_t first_sequence; // of the epoch's first record
	uint64_t records; // before this one, padding included
	uint64_t frames;
	uint64_t digest; // as in the END frame
};

void superblock_put(uint8_t *slot, const struct superblock *superblock);
int superblock_get(const uint8_t *slot, struct superblock *superblock); // 0 or -EILSEQ

// Writes the header and returns the chain for the record that follows.
uint64_t record_put(uint8_t *bytes, const struct record_header *header);

// 0 or -EILSEQ. Needs RECORD_HEADER_BYTES.
int record_get(const uint8_t *bytes, struct record_header *header, uint64_t *chain);

uint64_t record_checksum(const uint8_t *payload, size_t length);

// Goes through the heads of a record's frames in their order, from 0 on: what
// lies before the content of each. They are trusted where no content is read.
uint64_t record_heads(uint64_t heads, const uint8_t *head, size_t length);

// Bytes in the ring of a record with so much payload; not for RECORD_PAD.
static inline uint64_t record_bytes(uint64_t payload)
{
	return (RECORD_HEADER_BYTES + payload + RECORD_ALIGN - 1) & ~(uint64_t)(RECORD_ALIGN - 1);
}

void commit_put(uint8_t *payload, const struct commit *commit);
int commit_get(const uint8_t *payload, size_t length, struct commit *commit); // 0 or -EILSEQ

#endif
