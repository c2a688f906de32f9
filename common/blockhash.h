// SPDX-License-Identifier: Apache-2.0
// A keyed hash of block content, so that two nodes can tell what differs
// without sending it. The key is random, secret and new for each connection:
// whoever chooses the data cannot make two different blocks look the same.
#ifndef STEAD_BLOCKHASH_H
#define STEAD_BLOCKHASH_H

#include <stddef.h>
#include <stdint.h>

#define BLOCKHASH_BYTES 16

struct blockhash;

struct blockhash *blockhash_new(const uint8_t key[16]); // NULL without memory
void blockhash_free(struct blockhash *hash);

// Hashes count blocks of BLOCK_SIZE bytes one by one into out, which holds
// count * BLOCKHASH_BYTES.
void blockhash_blocks(struct blockhash *hash, const void *blocks, size_t count, uint8_t *out);

#endif
