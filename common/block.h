// SPDX-License-Identifier: Apache-2.0
// Sizes that both nodes and every format agree on.
#ifndef STEAD_BLOCK_H
#define STEAD_BLOCK_H

#include <stdint.h>

#define BLOCK_SHIFT 12
#define BLOCK_SIZE UINT64_C(4096) // the unit of change tracking

#define VOLUMES_MAX 32 // in a pair
#define NAME_MAX_LENGTH 31 // of pairs and volumes: [A-Za-z0-9][A-Za-z0-9._-]*
#define REASON_MAX 255 // bytes of a text that one node tells the other
#define VOLUME_BYTES_MAX (UINT64_C(1) << 50)

// A run of blocks of one volume.
struct extent {
	uint64_t first; // block number
	uint32_t count; // blocks, at least 1
	uint32_t zero; // 1: all of it reads as zeroes and no content travels
};

// A volume whose size is no multiple of the block size ends in a short block;
// its content travels padded with zeroes.
static inline uint64_t bytes_to_blocks(uint64_t bytes)
{
	return (bytes + BLOCK_SIZE - 1) >> BLOCK_SHIFT;
}

#endif
