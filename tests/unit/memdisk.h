// SPDX-License-Identifier: Apache-2.0
// A disk in memory for unit tests. Nothing completes by itself: operations
// wait in a queue until the test takes a step, in the order that it wants, so
// that every interleaving can be written down. Operations take effect when they
// complete. The disk has a volatile cache: what was not flushed can be lost.
#ifndef STEAD_TEST_MEMDISK_H
#define STEAD_TEST_MEMDISK_H

#include "common/disk.h"

#define MEMDISK_SECTOR 512 // written as a whole or not at all

struct memdisk_record {
	enum disk_op op;
	unsigned flags;
	uint64_t offset;
	uint64_t length;
};

struct memdisk {
	struct disk disk; // give &memdisk->disk to the code under test
	uint8_t *bytes; // content as a read would see it now; the test may change it

	// What completed, in order, since memdisk_new() or since the test set
	// record_count to 0.
	struct memdisk_record *records;
	size_t record_count;

	// Counts of completed operations; the test may reset them.
	unsigned reads, writes, zeroes, flushes;

	// Returned for DISK_ZERO with DISK_FAST, DISK_UNMAP or none: 0 unless the
	// test wants to see how the code deals with -EOPNOTSUPP.
	int zero_error;

	// private
	struct disk_io *first, *last; // queue, in the order of submission
	struct flush_point *points;
	uint8_t *durable;
	uint64_t *durable_version; // of each sector
	uint64_t *version; // of each sector; differs: not flushed
	uint64_t versions;
	unsigned fail_ops;
	unsigned fail_after;
	int fail_error;
	bool fail_forever;
	size_t record_room;
};

// size is a multiple of MEMDISK_SECTOR; align as in struct disk. All zero and
// durable at first. Fails the test without memory.
struct memdisk *memdisk_new(uint64_t size, uint32_t align);

// Operations still queued are forgotten: their done() never runs.
void memdisk_free(struct memdisk *memdisk);

// Number of operations that are queued.
unsigned memdisk_pending(const struct memdisk *memdisk);

// The operation at this place of the queue, 0 being the oldest; NULL: none.
struct disk_io *memdisk_peek(const struct memdisk *memdisk, unsigned index);

// Completes one operation; false when there is none.
bool memdisk_step(struct memdisk *memdisk); // the oldest
bool memdisk_step_at(struct memdisk *memdisk, unsigned index); // any, to complete out of order

// Steps until nothing is queued; returns how many operations completed.
unsigned memdisk_run(struct memdisk *memdisk);

// After skip further operations of the kinds in ops (bits: 1 << DISK_WRITE ...)
// have completed, the next one of them fails with error (negative), or all of
// them from then on when forever. A failed write leaves a random part of its
// sectors written. error 0 ends it.
void memdisk_fail(struct memdisk *memdisk, unsigned ops, unsigned skip, int error, bool forever);

// The process that used the disk is gone: queued operations are dropped, each
// write among them may have reached the disk, whole or in part, by the seed.
void memdisk_crash(struct memdisk *memdisk, unsigned seed);

// The same, and then the power fails: each sector that was not flushed either
// keeps what was last written or falls back to what was last flushed.
void memdisk_power_loss(struct memdisk *memdisk, unsigned seed);

#endif
