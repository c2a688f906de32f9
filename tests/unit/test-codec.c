// SPDX-License-Identifier: Apache-2.0
#include "common/codec.h"

#include "common/blockhash.h"
#include "common/bytes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

// cmocka.h needs these before it
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <zstd.h>

#define FUZZ_ROUNDS 200000
#define BLOCKS_MAX COMPARE_BLOCKS_MAX // in one message

static const uint8_t key[16] = "a key for tests";

enum content {
	CONTENT_ZERO,
	CONTENT_TEXT,
	CONTENT_NOISE
};

// What a test sends and what came out of it.
struct bench {
	struct encoder *encoder;
	uint8_t body[BLOCKS_BODY_MAX];
	uint8_t *data; // BLOCKS_RAW_MAX
	uint8_t *out; // FRAME_BYTES_MAX
	size_t length;
	struct frame frame;
	struct wire_blocks blocks;
	struct unpacker *unpacker;
	uint8_t *unpacked;
};

static int setup(void **state)
{
	struct bench *bench = calloc(1, sizeof(*bench));

	bench->encoder = encoder_new();
	bench->data = malloc(BLOCKS_RAW_MAX);
	bench->out = malloc(FRAME_BYTES_MAX);
	bench->unpacker = unpacker_new();
	bench->unpacked = malloc(BLOCKS_RAW_MAX);
	srandom(1);
	*state = bench;
	return 0;
}

static int teardown(void **state)
{
	struct bench *bench = *state;

	encoder_free(bench->encoder);
	free(bench->data);
	free(bench->out);
	unpacker_free(bench->unpacker);
	free(bench->unpacked);
	free(bench);
	return 0;
}

static void fill_block(struct bench *bench, size_t block, enum content content)
{
	uint8_t *at = bench->data + block * BLOCK_SIZE;

	for (size_t i = 0; i < BLOCK_SIZE; i++)
		at[i] = content == CONTENT_NOISE ? (uint8_t)random() : content == CONTENT_TEXT ? "abcdef"[i % 6] : 0;
}

static size_t content_of(const struct extent *extents, uint32_t count)
{
	size_t blocks = 0;

	for (uint32_t i = 0; i < count; i++)
		blocks += extents[i].zero ? 0 : extents[i].count;
	return blocks;
}

static void send(struct bench *bench, enum frame_type type, const struct extent *extents, uint32_t count)
{
	struct message message = {
	        .type = type,
	        .body = bench->body,
	        .body_length = wire_put_blocks(bench->body, 3, extents, count),
	        .data = bench->data,
	        .data_length = content_of(extents, count) * BLOCK_SIZE,
	};

	bench->length = encoder_encode(bench->encoder, &message, bench->out);
	assert_int_equal(frame_check(bench->out, bench->length, &bench->frame), 0);
	assert_int_equal(bench->frame.type, type);
	assert_int_equal(wire_get_blocks(&bench->frame, &bench->blocks), 0);
	assert_int_equal(bench->blocks.volume, 3);
}

// The frame says of each block, in the same order, what the message said.
static void expect_same(struct bench *bench, const struct extent *extents, uint32_t count)
{
	size_t sent = 0, got = 0; // blocks of content
	uint32_t extent = 0, within = 0;

	assert_int_equal(blocks_unpack(bench->unpacker, &bench->blocks, bench->unpacked), 0);
	for (uint32_t i = 0; i < bench->blocks.extent_count; i++) {
		struct extent have = blocks_extent(&bench->blocks, i);

		for (uint32_t j = 0; j < have.count; j++) {
			static const uint8_t zeroes[BLOCK_SIZE];
			const uint8_t *before = zeroes, *after = zeroes;

			assert_true(extent < count);
			assert_int_equal(have.first + j, extents[extent].first + within);
			if (!extents[extent].zero)
				before = bench->data + sent++ * BLOCK_SIZE;
			if (!have.zero)
				after = bench->unpacked + got++ * BLOCK_SIZE;
			assert_memory_equal(before, after, BLOCK_SIZE);
			// nothing zero travels
			assert_true(have.zero || memcmp(after, zeroes, BLOCK_SIZE) != 0);
			if (++within == extents[extent].count) {
				extent++;
				within = 0;
			}
		}
	}
	assert_int_equal(extent, count);
	assert_int_equal(got * BLOCK_SIZE, bench->blocks.raw_length);
}

static void test_text_is_packed(void **state)
{
	static const enum codec codecs[PACK_LEVELS] = {CODEC_NONE, CODEC_LZ4, CODEC_ZSTD, CODEC_ZSTD};
	struct bench *bench = *state;
	const struct extent extent = {100, BLOCKS_MAX, 0};

	for (size_t i = 0; i < BLOCKS_MAX; i++)
		fill_block(bench, i, CONTENT_TEXT);
	send(bench, FRAME_BLOCKS, &extent, 1);
	assert_int_equal(bench->blocks.codec, CODEC_LZ4); // what every peer unpacks
	for (unsigned i = 0; i < 3 * PACK_LEVELS; i++) {
		enum pack_level level = i % PACK_LEVELS;

		encoder_set_level(bench->encoder, level);
		send(bench, FRAME_BLOCKS, &extent, 1);
		assert_int_equal(bench->blocks.codec, codecs[level]);
		if (level != PACK_RAW)
			assert_in_range(bench->length, 1, BLOCKS_RAW_MAX / 20);
		expect_same(bench, &extent, 1);
	}
}

static void test_noise_goes_as_it_is(void **state)
{
	struct bench *bench = *state;
	const struct extent extent = {0, BLOCKS_MAX, 0};

	for (size_t i = 0; i < BLOCKS_MAX; i++)
		fill_block(bench, i, CONTENT_NOISE);
	for (unsigned i = 0; i < 30 * PACK_LEVELS; i++) {
		encoder_set_level(bench->encoder, i / 30);
		send(bench, FRAME_BLOCKS, &extent, 1);
		assert_int_equal(bench->blocks.codec, CODEC_NONE);
		assert_int_equal(bench->length, FRAME_HEADER_BYTES + 16 + 16 + BLOCKS_RAW_MAX);
		expect_same(bench, &extent, 1);
	}
}

static void test_packing_comes_back_after_noise(void **state)
{
	struct bench *bench = *state;
	const struct extent extent = {0, 1, 0};

	for (enum pack_level level = PACK_LZ4; level < PACK_LEVELS; level++) {
		unsigned frames = 0;

		encoder_set_level(bench->encoder, level);
		fill_block(bench, 0, CONTENT_NOISE);
		for (unsigned i = 0; i < 1000; i++)
			send(bench, FRAME_BLOCKS, &extent, 1);
		fill_block(bench, 0, CONTENT_TEXT);
		do
			send(bench, FRAME_BLOCKS, &extent, 1);
		while (bench->blocks.codec == CODEC_NONE && ++frames < 1000);
		assert_in_range(frames, 0, 16);
		send(bench, FRAME_BLOCKS, &extent, 1);
		assert_int_not_equal(bench->blocks.codec, CODEC_NONE);
	}
}

static void test_zero_blocks_become_extents(void **state)
{
	struct bench *bench = *state;
	const struct extent extents[] = {{10, 3, 0}, {13, 5, 1}, {18, 2, 0}, {50, 1, 0}};

	fill_block(bench, 0, CONTENT_NOISE);
	fill_block(bench, 1, CONTENT_ZERO);
	fill_block(bench, 2, CONTENT_ZERO);
	fill_block(bench, 3, CONTENT_ZERO);
	fill_block(bench, 4, CONTENT_TEXT);
	fill_block(bench, 5, CONTENT_ZERO);
	send(bench, FRAME_BLOCKS, extents, 4);
	expect_same(bench, extents, 4);
	assert_int_equal(bench->blocks.extent_count, 4); // 10, 11-18 zero, 19, 50 zero
	assert_int_equal(bench->blocks.raw_length, 2 * BLOCK_SIZE);
	assert_int_equal(blocks_extent(&bench->blocks, 1).count, 8);
}

static void test_nothing_but_zeroes(void **state)
{
	struct bench *bench = *state;
	const struct extent extents[] = {{7, BLOCKS_MAX, 0}};
	const struct extent marked = {0, UINT32_MAX, 1};

	memset(bench->data, 0, BLOCKS_RAW_MAX);
	send(bench, FRAME_BLOCKS, extents, 1);
	assert_int_equal(bench->length, FRAME_HEADER_BYTES + 32);
	assert_int_equal(bench->blocks.codec, CODEC_NONE);
	expect_same(bench, extents, 1);
	send(bench, FRAME_BLOCKS, &marked, 1);
	assert_int_equal(blocks_extent(&bench->blocks, 0).count, UINT32_MAX);
	assert_int_equal(blocks_extent(&bench->blocks, 0).zero, 1);
}

static void test_counts_that_cannot_be_merged(void **state)
{
	struct bench *bench = *state;
	const struct extent extents[] = {{0, UINT32_MAX, 1}, {UINT32_MAX, 9, 1}};

	send(bench, FRAME_BLOCKS, extents, 2);
	assert_int_equal(bench->blocks.extent_count, 2);
}

static void test_as_many_extents_as_there_may_be(void **state)
{
	struct bench *bench = *state;
	struct extent extents[BLOCKS_EXTENTS_SEND_MAX];

	// one that splits into as many as can be, the others cannot be merged
	extents[0] = (struct extent){0, BLOCKS_MAX, 0};
	for (uint32_t i = 1; i < BLOCKS_EXTENTS_SEND_MAX; i++)
		extents[i] = (struct extent){1000 + 2 * i, 1, 1};
	for (size_t i = 0; i < BLOCKS_MAX; i++)
		fill_block(bench, i, i % 2 ? CONTENT_ZERO : CONTENT_NOISE);
	send(bench, FRAME_BLOCKS, extents, BLOCKS_EXTENTS_SEND_MAX);
	assert_int_equal(bench->blocks.extent_count, BLOCKS_EXTENTS_SEND_MAX + BLOCKS_MAX - 1);
	expect_same(bench, extents, BLOCKS_EXTENTS_SEND_MAX);
}

static void test_one_byte_is_not_zero(void **state)
{
	struct bench *bench = *state;
	const struct extent extent = {0, 1, 0};

	for (size_t i = 0; i < BLOCK_SIZE; i += i < 64 || i > BLOCK_SIZE - 64 ? 1 : 61) {
		memset(bench->data, 0, BLOCK_SIZE);
		bench->data[i] = 1;
		send(bench, FRAME_BLOCKS, &extent, 1);
		assert_int_equal(bench->blocks.raw_length, BLOCK_SIZE);
		expect_same(bench, &extent, 1);
	}
}

static uint32_t random_extents(struct bench *bench, struct extent *extents, enum content *contents)
{
	uint32_t count = 0;
	uint64_t first = 0;
	size_t blocks = 0;

	do {
		struct extent *extent = &extents[count++];

		first += random() % 2 ? 0 : (uint64_t)random() % 100;
		*extent = (struct extent){first, 1 + (uint32_t)random() % 9, random() % 4 == 0};
		if (!extent->zero && blocks + extent->count > BLOCKS_MAX)
			extent->zero = 1;
		for (uint32_t i = 0; !extent->zero && i < extent->count; i++)
			fill_block(bench, blocks++, contents[random() % 3]);
		first += extent->count;
	} while (count < 40 && random() % 30);
	return count;
}

static void test_random_messages(void **state)
{
	struct bench *bench = *state;
	enum content contents[] = {CONTENT_ZERO, CONTENT_TEXT, CONTENT_NOISE};

	for (unsigned i = 0; i < 3000; i++) {
		struct extent extents[40];
		uint32_t count = random_extents(bench, extents, contents);

		encoder_set_level(bench->encoder, (enum pack_level)(random() % PACK_LEVELS));
		send(bench, FRAME_BLOCKS, extents, count);
		expect_same(bench, extents, count);
		assert_int_equal(bench->frame.sequence, i);
	}
}

static void test_compare(void **state)
{
	struct bench *bench = *state;
	const struct extent extents[] = {{1, 2, 0}, {9, 1, 0}};
	struct blockhash *hash = blockhash_new(key);
	uint8_t hashes[3 * BLOCKHASH_BYTES];

	encoder_set_hash_key(bench->encoder, (const uint8_t[16]){1}); // a former connection's
	encoder_set_hash_key(bench->encoder, key);
	fill_block(bench, 0, CONTENT_ZERO); // zeroes are hashed like anything else
	fill_block(bench, 1, CONTENT_TEXT);
	fill_block(bench, 2, CONTENT_NOISE);
	send(bench, FRAME_COMPARE, extents, 2);
	assert_int_equal(bench->blocks.extent_count, 2);
	assert_int_equal(bench->blocks.raw_length, 3 * BLOCK_SIZE);
	assert_int_equal(bench->blocks.payload_length, sizeof(hashes));
	blockhash_blocks(hash, bench->data, 3, hashes);
	assert_memory_equal(bench->blocks.payload, hashes, sizeof(hashes));
	blockhash_free(hash);
}

static void test_hash(void **state)
{
	struct bench *bench = *state;
	struct blockhash *hash = blockhash_new(key), *other = blockhash_new((const uint8_t[16]){1});
	uint8_t hashes[4 * BLOCKHASH_BYTES], again[BLOCKHASH_BYTES];

	for (size_t i = 0; i < 4; i++)
		fill_block(bench, i, CONTENT_NOISE);
	blockhash_blocks(hash, bench->data, 4, hashes);
	for (size_t i = 0; i < 4; i++) { // the same one by one, in any order, at any address
		memcpy(bench->unpacked + 1, bench->data + (3 - i) * BLOCK_SIZE, BLOCK_SIZE);
		blockhash_blocks(hash, bench->unpacked + 1, 1, again);
		assert_memory_equal(again, hashes + (3 - i) * BLOCKHASH_BYTES, BLOCKHASH_BYTES);
	}
	for (size_t i = 0; i < BLOCK_SIZE * 8; i += 7) { // any bit matters
		memcpy(bench->unpacked, bench->data, BLOCK_SIZE);
		bench->unpacked[i / 8] ^= (uint8_t)(1U << i % 8);
		blockhash_blocks(hash, bench->unpacked, 1, again);
		assert_memory_not_equal(again, hashes, BLOCKHASH_BYTES);
	}
	blockhash_blocks(other, bench->data, 1, again); // and so does the key
	assert_memory_not_equal(again, hashes, BLOCKHASH_BYTES);
	blockhash_free(hash);
	blockhash_free(other);
}

static size_t send_body(struct bench *bench, enum frame_type type, size_t body_length)
{
	struct message message = {.type = type, .body = bench->body, .body_length = body_length};

	bench->length = encoder_encode(bench->encoder, &message, bench->out);
	assert_int_equal(frame_check(bench->out, bench->length, &bench->frame), 0);
	assert_int_equal(bench->frame.type, type);
	return bench->frame.length;
}

static uint64_t send_epoch(struct bench *bench, uint64_t number, unsigned frames)
{
	const struct extent extent = {5, 2, 0};
	struct wire_begin begin = {.epoch = number, .base = number - 1, .kind = EPOCH_ATOMIC};
	struct wire_end end = {.epoch = number, .frames = 99, .digest = 99}, got;
	uint64_t digest = 0;

	send_body(bench, FRAME_BEGIN, wire_put_begin(bench->body, &begin));
	for (unsigned i = 0; i < frames; i++) {
		fill_block(bench, 0, CONTENT_NOISE);
		fill_block(bench, 1, CONTENT_ZERO);
		send(bench, FRAME_BLOCKS, &extent, 1);
		digest = epoch_digest(digest, frame_checksum(&bench->frame));
		send(bench, FRAME_COMPARE, &extent, 1); // does not count
	}
	send_body(bench, FRAME_END, wire_put_end(bench->body, &end));
	assert_int_equal(wire_get_end(&bench->frame, &got), 0);
	assert_int_equal(got.epoch, number);
	assert_int_equal(got.frames, frames);
	assert_int_equal(got.digest, digest);
	return digest;
}

static void test_end_gets_count_and_digest(void **state)
{
	struct bench *bench = *state;
	uint64_t first;

	encoder_set_hash_key(bench->encoder, key);
	assert_int_equal(send_epoch(bench, 1, 0), 0);
	first = send_epoch(bench, 2, 3);
	assert_true(first != 0);
	assert_true(send_epoch(bench, 3, 3) != first);
	// an epoch that was given up leaves nothing in the next
	send_body(bench, FRAME_BEGIN,
	          wire_put_begin(bench->body, &(struct wire_begin){.epoch = 4, .base = 3, .kind = EPOCH_ATOMIC}));
	send(bench, FRAME_BLOCKS, &(struct extent){0, 1, 0}, 1);
	send_body(bench, FRAME_ABORT, wire_put_epoch(bench->body, &(struct wire_epoch){4, 0}));
	send_epoch(bench, 4, 2);
}

static void test_digest_knows_the_order(void **state)
{
	(void)state;
	assert_true(epoch_digest(epoch_digest(0, 1), 2) != epoch_digest(epoch_digest(0, 2), 1));
	assert_true(epoch_digest(0, 0) != 0);
}

static void test_other_bodies_are_unchanged(void **state)
{
	struct bench *bench = *state;
	struct wire_heartbeat heartbeat = {1, 2, 3, 4, true};
	size_t length = wire_put_heartbeat(bench->body, &heartbeat);

	for (uint64_t i = 0; i < 3; i++) {
		assert_int_equal(send_body(bench, FRAME_HEARTBEAT, length), length);
		assert_memory_equal(bench->frame.payload, bench->body, length);
		assert_int_equal(bench->frame.sequence, i);
	}
}

struct defect {
	size_t at; // in the body
	const char *bytes;
	size_t length;
};

#define DEFECT(at, bytes)                                                                                              \
	{                                                                                                              \
		at, bytes, sizeof(bytes) - 1                                                                           \
	}

static int get_blocks(enum frame_type type, const uint8_t *body, size_t length, struct wire_blocks *blocks)
{
	struct frame frame = {.type = type, .payload = body, .length = (uint32_t)length};

	return wire_get_blocks(&frame, blocks);
}

static void expect_refused(enum frame_type type, const uint8_t *body, size_t length, const struct defect *defects,
                           size_t count)
{
	uint8_t *copy = malloc(length + 1);
	struct wire_blocks blocks;

	for (size_t i = 0; i < count; i++) {
		memcpy(copy, body, length);
		memcpy(copy + defects[i].at, defects[i].bytes, defects[i].length);
		if (get_blocks(type, copy, length, &blocks) != -EBADMSG)
			fail_msg("%s with defect %zu at byte %zu was taken", frame_type_name(type), i, defects[i].at);
	}
	memcpy(copy, body, length);
	copy[length] = 0;
	assert_int_equal(get_blocks(type, copy, length, &blocks), 0);
	assert_int_equal(get_blocks(type, copy, length + 1, &blocks), -EBADMSG);
	free(copy);
	for (size_t i = 0; i < length; i++) {
		copy = malloc(i ? i : 1);
		memcpy(copy, body, i);
		assert_int_equal(get_blocks(type, copy, i, &blocks), -EBADMSG);
		free(copy);
	}
}

static void test_raw_blocks_are_checked(void **state)
{
	static const struct defect defects[] = {
	        DEFECT(0, "\x20"), // volume
	        DEFECT(4, "\0"), // extents
	        DEFECT(4, "\1"),
	        DEFECT(4, "\3"),
	        DEFECT(4, "\1\4"), // 1025
	        DEFECT(4, "\xff\xff\xff\xff"),
	        DEFECT(8, "\1"), // raw length
	        DEFECT(8, "\0\0"),
	        DEFECT(8, "\0\x30"),
	        DEFECT(8, "\0\0\0\x80"),
	        DEFECT(12, "\1"), // packed, but not shorter
	        DEFECT(12, "\2"),
	        DEFECT(12, "\3"), // unknown
	        DEFECT(12, "\xff"),
	        DEFECT(13, "\1"),
	        DEFECT(15, "\1"),
	        DEFECT(16, "\xff\xff\xff\xff\xff\xff\xff\xff"), // extent 0: first
	        DEFECT(16, "\0\0\0\0\x40"),
	        DEFECT(16, "\xff\xff\xff\xff\x3f\0\0\0"), // ends one block too late
	        DEFECT(24, "\0"), // count
	        DEFECT(24, "\3"),
	        DEFECT(24, "\xff\xff\xff\xff"),
	        DEFECT(28, "\1"), // zero, but there is content for it
	        DEFECT(28, "\2"),
	        DEFECT(31, "\x80"),
	        DEFECT(40, "\0"), // extent 1, which is zero: count
	        DEFECT(44, "\0"), // content, but there is none for it
	        DEFECT(44, "\3"),
	};
	struct bench *bench = *state;
	const struct extent extents[] = {{0, 2, 0}, {5, 1, 1}};

	fill_block(bench, 0, CONTENT_NOISE);
	fill_block(bench, 1, CONTENT_NOISE);
	send(bench, FRAME_BLOCKS, extents, 2);
	assert_int_equal(bench->blocks.codec, CODEC_NONE);
	expect_refused(FRAME_BLOCKS, bench->frame.payload, bench->frame.length, defects,
	               sizeof(defects) / sizeof(defects[0]));
}

static void test_compare_is_checked(void **state)
{
	static const struct defect defects[] = {
	        DEFECT(0, "\x20"), DEFECT(4, "\0"),  DEFECT(4, "\2"),  DEFECT(8, "\0\x10"),
	        DEFECT(12, "\1"),  DEFECT(12, "\2"), DEFECT(14, "\1"), DEFECT(24, "\0"),
	        DEFECT(24, "\3"),  DEFECT(28, "\2"), DEFECT(28, "\1"), // zero extents have no place here
	};
	struct bench *bench = *state;
	const struct extent extent = {0, 2, 0};

	encoder_set_hash_key(bench->encoder, key);
	fill_block(bench, 0, CONTENT_NOISE);
	fill_block(bench, 1, CONTENT_NOISE);
	send(bench, FRAME_COMPARE, &extent, 1);
	expect_refused(FRAME_COMPARE, bench->frame.payload, bench->frame.length, defects,
	               sizeof(defects) / sizeof(defects[0]));
}

static void test_content_over_the_limit(void **state)
{
	const struct extent extents[] = {{0, BLOCKS_MAX, 0}, {BLOCKS_MAX, 1, 0}, {0, 0x100000, 0}};
	size_t length = BLOCKS_BODY_MAX + BLOCKS_RAW_MAX + BLOCK_SIZE;
	uint8_t *body = calloc(1, length);
	struct wire_blocks blocks;
	size_t used;

	(void)state;
	used = wire_put_blocks(body, 0, extents, 1);
	assert_int_equal(get_blocks(FRAME_BLOCKS, body, used + BLOCKS_RAW_MAX, &blocks), 0);
	used = wire_put_blocks(body, 0, extents, 2);
	assert_int_equal(get_blocks(FRAME_BLOCKS, body, used + BLOCKS_RAW_MAX + BLOCK_SIZE, &blocks), -EBADMSG);
	// 2^20 blocks are 2^32 bytes, which a length of 32 bits takes for none
	used = wire_put_blocks(body, 0, extents + 2, 1);
	assert_int_equal(get_u32(body + 8), 0);
	assert_int_equal(get_blocks(FRAME_BLOCKS, body, used, &blocks), -EBADMSG);
	free(body);
}

static void test_fit(void **state)
{
	static const struct state_volume volumes[] = {{"a", 10 * BLOCK_SIZE}, {"b", 10 * BLOCK_SIZE + 1}};
	static const struct {
		uint32_t volume;
		struct extent extent;
		int error;
	} cases[] = {
	        {0, {0, 10, 1}, 0},        {0, {9, 1, 1}, 0},         {0, {9, 2, 1}, -EBADMSG},
	        {0, {10, 1, 1}, -EBADMSG}, {0, {11, 1, 1}, -EBADMSG}, {0, {0, UINT32_MAX, 1}, -EBADMSG},
	        {1, {0, 11, 1}, 0}, // the last one is short
	        {1, {0, 12, 1}, -EBADMSG}, {2, {0, 1, 1}, -EBADMSG},
	};
	uint8_t body[BLOCKS_BODY_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct extent extents[] = {{0, 1, 1}, cases[i].extent};
		struct wire_blocks blocks;
		size_t length = wire_put_blocks(body, cases[i].volume, extents, 2);

		assert_int_equal(get_blocks(FRAME_BLOCKS, body, length, &blocks), 0);
		assert_int_equal(blocks_fit(&blocks, volumes, 2), cases[i].error);
	}
}

// Unpacks a copy that ends where its memory ends.
static int unpack(struct bench *bench, enum codec codec, const uint8_t *packed, size_t packed_length, size_t length)
{
	uint8_t *copy = malloc(packed_length), *out = malloc(length);
	int error;

	memcpy(copy, packed, packed_length);
	error = unpacker_unpack(bench->unpacker, codec, copy, packed_length, out, length);
	free(copy);
	free(out);
	return error;
}

static void test_damaged_packed_content(void **state)
{
	struct bench *bench = *state;
	const struct extent extent = {0, 3, 0};

	for (size_t i = 0; i < 3; i++)
		fill_block(bench, i, CONTENT_TEXT);
	for (enum pack_level level = PACK_LZ4; level < PACK_LEVELS; level++) {
		const struct wire_blocks *blocks = &bench->blocks;

		encoder_set_level(bench->encoder, level);
		send(bench, FRAME_BLOCKS, &extent, 1);
		assert_int_not_equal(blocks->codec, CODEC_NONE);
		for (size_t length = 1; length < blocks->payload_length; length++)
			assert_int_equal(unpack(bench, blocks->codec, blocks->payload, length, 3 * BLOCK_SIZE),
			                 -EBADMSG);
		// more or less than was announced
		for (size_t length = 1; length < 9 * BLOCK_SIZE;
		     length += length % BLOCK_SIZE == 1 ? BLOCK_SIZE - 2 : 1)
			assert_int_equal(unpack(bench, blocks->codec, blocks->payload, blocks->payload_length, length),
			                 length == 3 * BLOCK_SIZE ? 0 : -EBADMSG);
		for (int codec = 0; codec < 256; codec++)
			if (codec != (int)blocks->codec)
				assert_int_equal(unpack(bench, (enum codec)codec, blocks->payload,
				                        blocks->payload_length, 3 * BLOCK_SIZE),
				                 -EBADMSG);
	}
}

// What the library of zstd would unpack too, or allocate for.
static void test_zstd_is_one_plain_frame(void **state)
{
	static const uint8_t skipped[] = {0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0};
	struct bench *bench = *state;
	uint8_t content[BLOCK_SIZE], packed[2 * BLOCK_SIZE], empty[256];
	ZSTD_CCtx *context = ZSTD_createCCtx();
	size_t length, none;

	memset(content, 7, sizeof(content));
	length = ZSTD_compress(packed, sizeof(packed), content, sizeof(content), 1);
	assert_int_equal(unpack(bench, CODEC_ZSTD, packed, length, BLOCK_SIZE), 0);
	// followed by another one that is empty, or to be skipped
	none = ZSTD_compress(empty, sizeof(empty), content, 0, 1);
	memcpy(packed + length, empty, none);
	assert_int_equal(unpack(bench, CODEC_ZSTD, packed, length + none, BLOCK_SIZE), -EBADMSG);
	memcpy(packed + length, skipped, sizeof(skipped));
	assert_int_equal(unpack(bench, CODEC_ZSTD, packed, length + sizeof(skipped), BLOCK_SIZE), -EBADMSG);
	// led by one that is to be skipped
	memmove(packed + sizeof(skipped), packed, length);
	memcpy(packed, skipped, sizeof(skipped));
	assert_int_equal(unpack(bench, CODEC_ZSTD, packed, length + sizeof(skipped), BLOCK_SIZE), -EBADMSG);
	// of the older formats
	for (uint8_t version = 0x1e; version <= 0x27; version++) {
		length = ZSTD_compress(packed, sizeof(packed), content, sizeof(content), 1);
		packed[0] = version;
		assert_int_equal(unpack(bench, CODEC_ZSTD, packed, length, BLOCK_SIZE), -EBADMSG);
	}
	// without its size
	ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, 0);
	length = ZSTD_compress2(context, packed, sizeof(packed), content, sizeof(content));
	assert_int_equal(unpack(bench, CODEC_ZSTD, packed, length, BLOCK_SIZE), -EBADMSG);
	// with a checksum that is wrong
	ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, 1);
	ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
	length = ZSTD_compress2(context, packed, sizeof(packed), content, sizeof(content));
	packed[length - 1] ^= 1;
	assert_int_equal(unpack(bench, CODEC_ZSTD, packed, length, BLOCK_SIZE), -EBADMSG);
	ZSTD_freeCCtx(context);
}

// A frame that says it is small, and is not: length bytes of content in one
// block that repeats a byte.
static void test_zstd_bomb(void **state)
{
	struct bench *bench = *state;
	uint8_t bomb[] = {0x28, 0xb5, 0x2f, 0xfd, 0x60, 0, 0x0f, 0, 0, 0, 'x'}; // single segment, size of 2 bytes

	for (uint32_t length = 1; length <= 128 << 10; length *= 2) {
		uint32_t block = length << 3 | 1 << 1 | 1; // last, RLE

		for (unsigned i = 0; i < 3; i++)
			bomb[7 + i] = (uint8_t)(block >> 8 * i);
		assert_int_equal(unpack(bench, CODEC_ZSTD, bomb, sizeof(bomb), BLOCK_SIZE),
		                 length == BLOCK_SIZE ? 0 : -EBADMSG);
	}
}

// Random damage to whole payloads: never outside of the buffers, and what is
// taken is within the limits.
static void test_random_mutations(void **state)
{
	enum {
		LZ4,
		ZSTD,
		NOISE,
		COMPARED,
		KINDS
	};
	struct bench *bench = *state;
	const struct extent extents[] = {{1, 2, 0}, {3, 4, 1}, {9, 1, 0}};
	size_t lengths[KINDS];
	uint8_t *payloads[KINDS];

	encoder_set_hash_key(bench->encoder, key);
	for (size_t i = 0; i < KINDS; i++) {
		const struct extent *from = i == COMPARED ? extents + 2 : extents;

		encoder_set_level(bench->encoder, i == ZSTD ? PACK_ZSTD : PACK_LZ4);
		for (size_t j = 0; j < 3; j++)
			fill_block(bench, j, i <= ZSTD ? CONTENT_TEXT : CONTENT_NOISE);
		if (i == ZSTD) // something for each part of the format
			for (size_t j = 0; j < BLOCK_SIZE; j++)
				bench->data[j] = (uint8_t)(random() % 16 ? 'a' + random() % 8 : random());
		send(bench, i == COMPARED ? FRAME_COMPARE : FRAME_BLOCKS, from, i == COMPARED ? 1 : 3);
		lengths[i] = bench->frame.length;
		payloads[i] = malloc(lengths[i]);
		memcpy(payloads[i], bench->frame.payload, lengths[i]);
	}
	for (unsigned round = 0; round < FUZZ_ROUNDS; round++) {
		size_t which = round % KINDS, length = lengths[which];
		struct wire_blocks blocks;
		uint8_t saved[512], *body;
		size_t head = length < sizeof(saved) ? length : sizeof(saved);
		size_t from = which <= ZSTD && random() % 2 ? 64 : 0; // the packed content alone

		if (random() % 8 == 0)
			length = (size_t)random() % length;
		body = payloads[which];
		memcpy(saved, body, head);
		for (long n = random() % 3; n >= 0; n--)
			body[from + (size_t)random() % (head - from)] =
			        (uint8_t)(random() % 2 ? random() : random() % 4);
		if (get_blocks(which == COMPARED ? FRAME_COMPARE : FRAME_BLOCKS, body, length, &blocks) == 0) {
			assert_true(blocks.raw_length <= BLOCKS_RAW_MAX);
			assert_true(blocks.extent_count <= BLOCKS_EXTENTS_MAX);
			if (which != COMPARED) {
				uint8_t *out = malloc(blocks.raw_length ? blocks.raw_length : 1);

				blocks_unpack(bench->unpacker, &blocks, out);
				free(out);
			}
		}
		memcpy(body, saved, head);
	}
	for (size_t i = 0; i < KINDS; i++)
		free(payloads[i]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(test_text_is_packed),
	        TEST(test_noise_goes_as_it_is),
	        TEST(test_packing_comes_back_after_noise),
	        TEST(test_zero_blocks_become_extents),
	        TEST(test_nothing_but_zeroes),
	        TEST(test_counts_that_cannot_be_merged),
	        TEST(test_as_many_extents_as_there_may_be),
	        TEST(test_one_byte_is_not_zero),
	        TEST(test_random_messages),
	        TEST(test_compare),
	        TEST(test_hash),
	        TEST(test_end_gets_count_and_digest),
	        TEST(test_digest_knows_the_order),
	        TEST(test_other_bodies_are_unchanged),
	        TEST(test_raw_blocks_are_checked),
	        TEST(test_compare_is_checked),
	        TEST(test_content_over_the_limit),
	        TEST(test_fit),
	        TEST(test_damaged_packed_content),
	        TEST(test_zstd_is_one_plain_frame),
	        TEST(test_zstd_bomb),
	        TEST(test_random_mutations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
