// SPDX-License-Identifier: Apache-2.0
#include "codec.h"

#include "blockhash.h"
#include "bytes.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <xxhash.h>

// Where things are in a BLOCKS body, see wire_put_blocks().
#define COUNT_AT 4
#define RAW_LENGTH_AT 8
#define CODEC_AT 12
#define EXTENTS_AT 16
#define EXTENT_BYTES 16

// Where things are in an END body, see wire_put_end().
#define FRAMES_AT 8
#define DIGEST_AT 16

#define BACK_OFF_MAX 4 // as a power of two
#define BACK_OFF_MAX_ZSTD 1 // the wire is slow: an attempt costs less than a frame that was not made small

// A frame that does not shrink by this part is sent as it is: unpacking it
// would cost the receiver more than it saves.
#define WORTH_WHILE 32

struct encoder {
	uint64_t sequence;
	uint64_t frames; // BLOCKS frames since BEGIN
	uint64_t digest;
	struct blockhash *hash; // NULL: no key yet
	unsigned misses; // attempts to compress that failed, one after another
	unsigned skip; // frames to send without an attempt
	uint8_t *dense; // content without its zero blocks, BLOCKS_RAW_MAX
	struct packer *packer;
	enum pack_level level;
};

struct encoder *encoder_new(void)
{
	struct encoder *encoder = calloc(1, sizeof(*encoder));

	if (!encoder)
		return NULL;
	encoder->dense = malloc(BLOCKS_RAW_MAX);
	encoder->packer = packer_new();
	if (!encoder->dense || !encoder->packer) {
		encoder_free(encoder);
		return NULL;
	}
	encoder->level = PACK_LZ4;
	return encoder;
}

void encoder_free(struct encoder *encoder)
{
	if (!encoder)
		return;
	blockhash_free(encoder->hash);
	free(encoder->dense);
	packer_free(encoder->packer);
	free(encoder);
}

void encoder_set_hash_key(struct encoder *encoder, const uint8_t key[16])
{
	blockhash_free(encoder->hash);
	encoder->hash = blockhash_new(key);
	if (!encoder->hash)
		abort(); // out of memory; a COMPARE without hashes must not exist
}

void encoder_set_level(struct encoder *encoder, enum pack_level level)
{
	encoder->level = level;
}

static bool block_is_zero(const uint8_t *block)
{
	static const uint8_t zeroes[BLOCK_SIZE];

	return memcmp(block, zeroes, BLOCK_SIZE) == 0;
}

// The extents of a frame that is being made.
struct extents {
	uint8_t *at; // the first, encoded
	uint32_t count;
	struct extent last; // not encoded before another one follows
};

static void extents_end(struct extents *extents)
{
	uint8_t *at = extents->at + (size_t)extents->count * EXTENT_BYTES;

	if (extents->last.count == 0)
		return;
	put_u64(at, extents->last.first);
	put_u32(at + 8, extents->last.count);
	put_u32(at + 12, extents->last.zero);
	extents->count++;
}

static void extents_add(struct extents *extents, uint64_t first, uint32_t count, uint32_t zero)
{
	struct extent *last = &extents->last;

	if (last->count > 0 && last->zero == zero && last->first + last->count == first &&
	    count <= UINT32_MAX - last->count) {
		last->count += count;
		return;
	}
	extents_end(extents);
	*last = (struct extent){.first = first, .count = count, .zero = zero};
}

// Writes the extents of the frame with those blocks taken out that are zero.
// Returns the content that is left; its length goes to *raw_length.
static const uint8_t *take_zeroes_out(struct encoder *encoder, const struct message *message, struct extents *extents,
                                      uint32_t *raw_length)
{
	const uint8_t *body = message->body, *data = message->data;
	uint32_t count = get_u32(body + COUNT_AT);
	bool any_zero = false;
	uint32_t kept = 0, seen = 0; // blocks

	for (uint32_t i = 0; i < count; i++) {
		const uint8_t *at = body + EXTENTS_AT + (size_t)i * EXTENT_BYTES;
		uint64_t first = get_u64(at);
		uint32_t blocks = get_u32(at + 8);

		if (get_u32(at + 12)) {
			extents_add(extents, first, blocks, 1);
			continue;
		}
		for (uint32_t j = 0; j < blocks; j++, seen++) {
			const uint8_t *block = data + seen * BLOCK_SIZE;

			if (block_is_zero(block)) {
				// what came before stays where it is until now
				if (!any_zero)
					memcpy(encoder->dense, data, seen * BLOCK_SIZE);
				any_zero = true;
				extents_add(extents, first + j, 1, 1);
				continue;
			}
			if (any_zero)
				memcpy(encoder->dense + kept * BLOCK_SIZE, block, BLOCK_SIZE);
			kept++;
			extents_add(extents, first + j, 1, 0);
		}
	}
	extents_end(extents);
	*raw_length = (uint32_t)(kept * BLOCK_SIZE);
	return any_zero ? encoder->dense : data;
}

// Packs content into out and returns the length; 0: send it as it is. Data that
// does not shrink comes in long runs: after each attempt in vain twice as many
// frames are sent without one, up to a limit.
static size_t pack(struct encoder *encoder, const uint8_t *content, uint32_t length, uint8_t *out, enum codec *codec)
{
	unsigned most = encoder->level >= PACK_ZSTD_FAST ? BACK_OFF_MAX_ZSTD : BACK_OFF_MAX;
	size_t packed;

	if (length == 0 || encoder->level == PACK_RAW)
		return 0;
	if (encoder->skip > 0) {
		encoder->skip--;
		return 0;
	}
	packed = packer_pack(encoder->packer, encoder->level, content, length, out, length - length / WORTH_WHILE - 1,
	                     codec);
	if (packed > 0) {
		encoder->misses = 0;
		return packed;
	}
	encoder->misses = encoder->misses < most ? encoder->misses + 1 : most;
	encoder->skip = 1U << encoder->misses;
	return 0;
}

static size_t put_content(struct encoder *encoder, const struct message *message, uint8_t *payload)
{
	struct extents extents = {.at = payload + EXTENTS_AT};
	const uint8_t *content;
	enum codec codec = CODEC_NONE;
	uint32_t raw_length;
	uint8_t *out;
	size_t length;

	content = take_zeroes_out(encoder, message, &extents, &raw_length);
	out = extents.at + (size_t)extents.count * EXTENT_BYTES;
	memcpy(payload, message->body, EXTENTS_AT);
	put_u32(payload + COUNT_AT, extents.count);
	put_u32(payload + RAW_LENGTH_AT, raw_length);
	length = pack(encoder, content, raw_length, out, &codec);
	if (length > 0) {
		payload[CODEC_AT] = (uint8_t)codec;
	} else if (raw_length > 0) {
		length = raw_length;
		memcpy(out, content, length);
	}
	return EXTENTS_AT + (size_t)extents.count * EXTENT_BYTES + length;
}

static size_t put_hashes(struct encoder *encoder, const struct message *message, uint8_t *payload)
{
	size_t blocks = message->data_length / BLOCK_SIZE;

	assert(encoder->hash);
	memcpy(payload, message->body, message->body_length);
	blockhash_blocks(encoder->hash, message->data, blocks, payload + message->body_length);
	return message->body_length + blocks * BLOCKHASH_BYTES;
}

size_t encoder_encode(struct encoder *encoder, const struct message *message, uint8_t *out)
{
	uint8_t *payload = out + FRAME_HEADER_BYTES;
	size_t length = message->body_length;

	// made by this program: anything else is its own mistake
	assert(message->data_length <= BLOCKS_RAW_MAX && length <= BLOCKS_BODY_MAX);
	if (message->type == FRAME_BLOCKS || message->type == FRAME_COMPARE)
		assert(get_u32((const uint8_t *)message->body + RAW_LENGTH_AT) == message->data_length);

	if (message->type == FRAME_BLOCKS)
		length = put_content(encoder, message, payload);
	else if (message->type == FRAME_COMPARE)
		length = put_hashes(encoder, message, payload);
	else if (length > 0)
		memcpy(payload, message->body, length);

	if (message->type == FRAME_BEGIN) {
		encoder->frames = 0;
		encoder->digest = 0;
	} else if (message->type == FRAME_END) {
		put_u64(payload + FRAMES_AT, encoder->frames);
		put_u64(payload + DIGEST_AT, encoder->digest);
	}
	frame_put_header(out, message->type, encoder->sequence++, (uint32_t)length);
	if (message->type == FRAME_BLOCKS) {
		struct frame frame = {.bytes = out};

		encoder->frames++;
		encoder->digest = epoch_digest(encoder->digest, frame_checksum(&frame));
	}
	return FRAME_HEADER_BYTES + length;
}

int blocks_unpack(struct unpacker *unpacker, const struct wire_blocks *blocks, uint8_t *out)
{
	return unpacker_unpack(unpacker, blocks->codec, blocks->payload, blocks->payload_length, out,
	                       blocks->raw_length);
}

uint64_t epoch_digest(uint64_t digest, uint64_t checksum)
{
	uint8_t link[16];

	put_u64(link, digest);
	put_u64(link + 8, checksum);
	return XXH3_64bits(link, sizeof(link));
}
