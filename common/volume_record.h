// SPDX-License-Identifier: Apache-2.0
// The file `volumes` of a pair's state directory: what each volume is, as the
// system says, and, once the pair has stopped in order, what it held then.
// docs/formats.md has the text. Everything here blocks.
#ifndef STEAD_VOLUME_RECORD_H
#define STEAD_VOLUME_RECORD_H

#include "block.h"
#include "error.h"
#include "volume_facts.h"
#include "volume_sample.h"

#include <stdbool.h>
#include <stdint.h>

struct volume_record {
	char name[NAME_MAX_LENGTH + 1];
	struct facts identity;

	// The witness: only after a stop in order, and until the next start.
	bool stopped;
	int64_t stopped_at; // wall clock, ns
	struct facts stillness;
	struct sample sample;
};

struct volume_records {
	unsigned count;
	struct volume_record list[VOLUMES_MAX];
};

// 0, also with none where there is no file; -EILSEQ (damaged), -EINVAL (of
// another version), or the error of reading; with the reason, and none.
int volume_records_read(const char *path, struct volume_records *records, struct error *err);

// Replaces the file, durably.
int volume_records_write(const char *path, const struct volume_records *records, struct error *err);

// By its name; NULL: there is none. With make: a new one then.
struct volume_record *volume_record_find(struct volume_records *records, const char *name, bool make);

#endif
