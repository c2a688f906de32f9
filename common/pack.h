// SPDX-License-Identifier: Apache-2.0
// Content made small, and made whole again. Pure, and independent of frames.
#ifndef STEAD_PACK_H
#define STEAD_PACK_H

#include <stddef.h>
#include <stdint.h>

// How content of a BLOCKS frame is packed, as in docs/protocol.md.
enum codec {
	CODEC_NONE = 0,
	CODEC_LZ4 = 1,
	CODEC_ZSTD = 2,
};
#define CODEC_MAX CODEC_ZSTD

// What may be spent on a byte, the cheapest first.
enum pack_level {
	PACK_RAW,
	PACK_LZ4,
	PACK_ZSTD_FAST,
	PACK_ZSTD,
	PACK_LEVELS
};

struct packer;

struct packer *packer_new(void); // NULL without memory
void packer_free(struct packer *packer);

// Packs length bytes (1 to BLOCKS_RAW_MAX) into at most room bytes, fewer than
// length. Returns how many, and sets codec; 0: they do not fit, or level is
// PACK_RAW.
size_t packer_pack(struct packer *packer, enum pack_level level, const uint8_t *content, size_t length, uint8_t *out,
                   size_t room, enum codec *codec);

struct unpacker;

struct unpacker *unpacker_new(void); // NULL without memory
void unpacker_free(struct unpacker *unpacker);

// Unpacks exactly length bytes, from whomever they came, and allocates nothing.
// 0 or -EBADMSG.
int unpacker_unpack(struct unpacker *unpacker, enum codec codec, const uint8_t *packed, size_t packed_length,
                    uint8_t *out, size_t length);

#endif
