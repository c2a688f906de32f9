// SPDX-License-Identifier: Apache-2.0
// From messages to frames, and from BLOCKS frames back to content. Pure; runs
// wherever the channel lets it run, off the write path.
#ifndef STEAD_CODEC_H
#define STEAD_CODEC_H

#include "channel.h"
#include "pack.h"
#include "wire.h"

#include <stddef.h>
#include <stdint.h>

// The sending half of one connection: numbers frames, compresses content,
// leaves zero blocks out, hashes for COMPARE, and adds frame count and digest
// to END.
struct encoder;

struct encoder *encoder_new(void); // NULL without memory
void encoder_free(struct encoder *encoder);
void encoder_set_hash_key(struct encoder *encoder, const uint8_t key[16]);

// How content is packed from now on; PACK_LZ4 until this is called.
void encoder_set_level(struct encoder *encoder, enum pack_level level);

#define FRAME_BYTES_MAX (FRAME_HEADER_BYTES + FRAME_PAYLOAD_MAX)

// Encodes one message as one frame into out (FRAME_BYTES_MAX bytes) and returns
// its length. The sequence number of the n-th frame of a connection is n, from
// 0. BLOCKS: blocks of the content that are all zero become zero extents, the
// rest is packed if that makes it smaller. Extents are split as needed but stay
// in order.
size_t encoder_encode(struct encoder *encoder, const struct message *message, uint8_t *out);

// Content of a BLOCKS frame, in the order of its extents that are not zero.
// out holds blocks->raw_length bytes. 0 or -EBADMSG.
int blocks_unpack(struct unpacker *unpacker, const struct wire_blocks *blocks, uint8_t *out);

// Chains a BLOCKS frame's checksum into the digest of its epoch, which begins
// as 0.
uint64_t epoch_digest(uint64_t digest, uint64_t frame_checksum);

#endif
