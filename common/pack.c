// SPDX-License-Identifier: Apache-2.0
#include "pack.h"

#include "bytes.h"

#include <errno.h>
#include <lz4.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

struct packer {
	void *lz4; // working memory
	ZSTD_CCtx *zstd; // NULL until it is needed
};

struct unpacker {
	ZSTD_DCtx *zstd;
};

struct packer *packer_new(void)
{
	struct packer *packer = calloc(1, sizeof(*packer));

	if (!packer)
		return NULL;
	packer->lz4 = malloc((size_t)LZ4_sizeofState());
	if (!packer->lz4) {
		free(packer);
		return NULL;
	}
	return packer;
}

void packer_free(struct packer *packer)
{
	if (!packer)
		return;
	free(packer->lz4);
	ZSTD_freeCCtx(packer->zstd);
	free(packer);
}

static size_t pack_lz4(struct packer *packer, const uint8_t *content, size_t length, uint8_t *out, size_t room)
{
	int packed =
	        LZ4_compress_fast_extState(packer->lz4, (const char *)content, (char *)out, (int)length, (int)room, 1);

	return packed > 0 ? (size_t)packed : 0;
}

// A link that is never slow never has a context of zstd.
static size_t pack_zstd(struct packer *packer, int level, const uint8_t *content, size_t length, uint8_t *out,
                        size_t room)
{
	size_t packed;

	if (!packer->zstd)
		packer->zstd = ZSTD_createCCtx();
	if (!packer->zstd)
		return 0;
	packed = ZSTD_compressCCtx(packer->zstd, out, room, content, length, level);
	return ZSTD_isError(packed) ? 0 : packed;
}

size_t packer_pack(struct packer *packer, enum pack_level level, const uint8_t *content, size_t length, uint8_t *out,
                   size_t room, enum codec *codec)
{
	switch (level) {
	case PACK_LZ4:
		*codec = CODEC_LZ4;
		return pack_lz4(packer, content, length, out, room);
	case PACK_ZSTD_FAST:
		*codec = CODEC_ZSTD;
		return pack_zstd(packer, 1, content, length, out, room);
	case PACK_ZSTD:
		*codec = CODEC_ZSTD;
		return pack_zstd(packer, 3, content, length, out, room);
	default:
		*codec = CODEC_NONE;
		return 0;
	}
}

struct unpacker *unpacker_new(void)
{
	struct unpacker *unpacker = calloc(1, sizeof(*unpacker));

	if (!unpacker)
		return NULL;
	unpacker->zstd = ZSTD_createDCtx();
	if (!unpacker->zstd) {
		free(unpacker);
		return NULL;
	}
	return unpacker;
}

void unpacker_free(struct unpacker *unpacker)
{
	if (!unpacker)
		return;
	ZSTD_freeDCtx(unpacker->zstd);
	free(unpacker);
}

static int unpack_lz4(const uint8_t *packed, size_t packed_length, uint8_t *out, size_t length)
{
	int got = LZ4_decompress_safe((const char *)packed, (char *)out, (int)packed_length, (int)length);

	return got >= 0 && (size_t)got == length ? 0 : -EBADMSG;
}

// The library would also take several frames, frames to be skipped, and those of
// its own older formats, for which it allocates: only one of today's is content.
static int unpack_zstd(struct unpacker *unpacker, const uint8_t *packed, size_t packed_length, uint8_t *out,
                       size_t length)
{
	if (packed_length < 4 || get_u32(packed) != ZSTD_MAGICNUMBER ||
	    ZSTD_getFrameContentSize(packed, packed_length) != length ||
	    ZSTD_findFrameCompressedSize(packed, packed_length) != packed_length)
		return -EBADMSG;
	return ZSTD_decompressDCtx(unpacker->zstd, out, length, packed, packed_length) == length ? 0 : -EBADMSG;
}

int unpacker_unpack(struct unpacker *unpacker, enum codec codec, const uint8_t *packed, size_t packed_length,
                    uint8_t *out, size_t length)
{
	switch (codec) {
	case CODEC_NONE:
		if (packed_length != length)
			return -EBADMSG;
		if (length > 0)
			memcpy(out, packed, length);
		return 0;
	case CODEC_LZ4:
		return unpack_lz4(packed, packed_length, out, length);
	case CODEC_ZSTD:
		return unpack_zstd(unpacker, packed, packed_length, out, length);
	}
	return -EBADMSG;
}
