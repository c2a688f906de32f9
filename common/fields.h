// SPDX-License-Identifier: Apache-2.0
// The compound fields that state and frames have in common: ids, names,
// lineages and times. Reading checks them.
#ifndef STEAD_FIELDS_H
#define STEAD_FIELDS_H

#include "block.h"
#include "bytes.h"
#include "lineage.h"

#include <stdbool.h>

#define NAME_FIELD_BYTES (NAME_MAX_LENGTH + 1)

// Whether name is what a pair or a volume may be called:
// [A-Za-z0-9][A-Za-z0-9._-]{0,30}
bool name_valid(const char *name);

void write_id(struct writer *writer, const struct id *id);
struct id read_id(struct reader *reader); // may be none
struct id read_some_id(struct reader *reader); // must not be none

// 32 bytes, padded with zeroes.
void write_name(struct writer *writer, const char *name);
void read_name(struct reader *reader, char name[NAME_FIELD_BYTES]);

// Generation, u32 count, u32 zero, and 24 bytes an ancestor. No generation may
// appear in it twice.
void write_lineage(struct writer *writer, const struct lineage *lineage);
void read_lineage(struct reader *reader, struct lineage *lineage);

// Epochs, clocks and durations stay below 2^63, so that the difference of two
// never overflows.
uint64_t read_u63(struct reader *reader);

// u16 length and text without control characters, for people. Writing cuts it
// at REASON_MAX and puts '?' for what must not be in it.
void write_reason(struct writer *writer, const char *reason);
void read_reason(struct reader *reader, char reason[REASON_MAX + 1]);

// Printable ASCII without spaces, in a field of size bytes, padded with zeroes;
// may be empty.
void write_word(struct writer *writer, const char *word, size_t size);
void read_word(struct reader *reader, char *word, size_t size);

// Bytes of a volume: from 1 to VOLUME_BYTES_MAX.
uint64_t read_volume_bytes(struct reader *reader);

#endif
