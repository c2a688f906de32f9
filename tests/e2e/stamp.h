// SPDX-License-Identifier: Apache-2.0
// The stamped-write check. Every block that a writer writes says which write
// it is from; a log says in which order writes were submitted and
// acknowledged. From both follows whether images of several volumes are one
// cut: for any visible write, every write that was acknowledged before it was
// submitted is visible too, or was overwritten by a later one.
#ifndef STEAD_TESTS_STAMP_H
#define STEAD_TESTS_STAMP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define STAMP_BLOCK 4096
#define STAMP_VOLUMES_MAX 8

// Both numbers are drawn from one counter of the whole log: submit before the
// request is handed over, ack after its reply was seen. So ack(A) < submit(B)
// is never claimed unless A really was acknowledged first.
struct stamp_record {
	_Atomic uint64_t submit; // 0: never submitted
	_Atomic uint64_t ack; // 0: never acknowledged, may or may not have happened
	uint64_t block;
	uint32_t count; // blocks
	uint16_t volume;
	uint16_t connection;
	uint32_t zero; // wrote zeroes, which carry no stamp
	uint32_t reserved;
};

// Mapped from a file, so that it outlives its writer's kill. The id of a write
// is its index in records plus one.
struct stamp_log {
	char magic[8];
	uint64_t capacity;
	_Atomic uint64_t sequence;
	_Atomic uint64_t used;
	uint8_t reserved[4096 - 32];
	struct stamp_record records[];
};

struct stamp {
	uint64_t id;
	uint64_t block;
	uint16_t volume;
	uint16_t connection;
};

enum stamp_kind {
	STAMP_ZERO, // all zero: initial content, or a zero write
	STAMP_WHOLE,
	STAMP_BROKEN, // torn, or never written by a stamp writer
};

struct stamp_image {
	const uint8_t *data;
	uint64_t blocks;
};

struct stamp_verdict {
	uint64_t violations;
	uint64_t visible; // blocks that hold a stamp
	uint64_t cut; // greatest submit number that is visible
	uint64_t lost; // acknowledged writes that are missing; after the cut that is allowed
};

// Makes the log, or continues the one that is there. NULL with errno.
struct stamp_log *stamp_log_open(const char *path, uint64_t capacity);

// Maps an existing log for reading. NULL with errno.
const struct stamp_log *stamp_log_read(const char *path);

size_t stamp_log_bytes(uint64_t capacity);
void stamp_log_format(struct stamp_log *log, uint64_t capacity);

// The id of a new write; 0 when the log is full. Any thread.
uint64_t stamp_submit(struct stamp_log *log, unsigned volume, unsigned connection, uint64_t block, uint32_t count,
                      bool zero);
void stamp_ack(struct stamp_log *log, uint64_t id);

void stamp_fill(uint8_t *block, const struct stamp *stamp);
enum stamp_kind stamp_read(const uint8_t *block, struct stamp *stamp);

// Judges images that were all zero before the log began. complete: every
// acknowledged write must be there. Describes the first violations to out.
// 0 or -ENOMEM.
int stamp_check(const struct stamp_log *log, const struct stamp_image *images, unsigned image_count, bool complete,
                FILE *out, struct stamp_verdict *verdict);

#endif
