// SPDX-License-Identifier: Apache-2.0
// A small record that is replaced as a whole: two mirrored slots on a disk,
// each with version, sequence number and checksum. A save writes one slot,
// flushes, writes the other, flushes: a torn write leaves the former record
// valid, and after a completed save any single damaged slot is survived.
#ifndef STEAD_SLOTS_H
#define STEAD_SLOTS_H

#include "disk.h"
#include "error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SLOT_BYTES 8192
#define SLOT_PAYLOAD_MAX 8064
#define SLOTS_BYTES (2 * SLOT_BYTES) // size of the whole area

struct slots;

// The area begins at offset of disk and is used by nobody else. kind tells
// records of different meaning apart. NULL without memory.
struct slots *slots_new(struct disk *disk, uint64_t offset, uint32_t kind);

// Not while a load or save is under way.
void slots_free(struct slots *slots);

// Reads the newest valid record. done() gets 0 and the payload (valid during
// the call), -ENOENT when the area was never written (all zero), or -EILSEQ
// when neither slot is valid, or the disk's error. Unless both slots hold the
// record, it is made durable in both before done(). damaged says that one slot
// was not valid (a save cut short by a crash, or damage: it cannot be told
// apart) and was repaired from the other: this deserves a line in the log.
void slots_load(struct slots *slots, void *user,
                void (*done)(void *user, int error, const void *payload, size_t length, bool damaged));

// Replaces the record; payload (at most SLOT_PAYLOAD_MAX) is copied. An area
// that may hold a record already is loaded before the first save. A save that
// is asked for while another is under way follows it; done() of each runs when
// its record, or a newer one, is durable. After an error the former record may
// or may not be valid.
void slots_save(struct slots *slots, const void *payload, size_t length, void *user,
                void (*done)(void *user, int error));

// Pure: what slots_load() decides, for tests and for tools that read files.
int slots_pick(const uint8_t *area, uint32_t kind, const void **payload, size_t *length, bool *damaged);

#endif
