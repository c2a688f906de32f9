// SPDX-License-Identifier: Apache-2.0
// What some blocks of a volume hold, as hashes under a key of their own: where
// file systems and partitions have what names them, and blocks drawn at random
// from those with content. Everything here blocks, reading past the page cache
// with many reads at once.
#ifndef STEAD_VOLUME_SAMPLE_H
#define STEAD_VOLUME_SAMPLE_H

#include "blockhash.h"
#include "disk.h"

#include <stdbool.h>
#include <stdint.h>

#define SAMPLE_MAX 400 // blocks

struct sample {
	unsigned count;
	uint8_t key[16];
	uint64_t blocks[SAMPLE_MAX];
	uint8_t hashes[SAMPLE_MAX * BLOCKHASH_BYTES];
};

struct sample_volume {
	int fd;
	uint32_t align; // of reads, as disk->align
	uint64_t bytes; // of the volume; the file may be longer
	unsigned beside; // volumes that are looked at, this one too: of many, less of each is drawn
};

// 0, or -ENOMEM. What cannot be read is left out.
int sample_take(const struct sample_volume *volume, struct sample *sample);

// How many of the blocks hold something else now, and the first of them; what
// cannot be read does not count. -errno when nothing can be told.
int sample_compare(const struct sample_volume *volume, const struct sample *sample, uint64_t *first);

#endif
