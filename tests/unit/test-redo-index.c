// SPDX-License-Identifier: Apache-2.0
// The index against the simplest thing that could be right: a table of blocks.
#include "common/bytes.h"
#include "receiver/redo_index.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

// cmocka.h needs these before it
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define VOLUMES 3
#define BLOCKS 2000
#define NOTHING INT64_MIN
#define ZEROES INT64_C(-1)

struct bench {
	struct redo_index *index;
	struct redo_part part;
	uint32_t frames;
	uint64_t seed;
	int64_t expected[VOLUMES][BLOCKS];
};

static uint64_t random_below(struct bench *bench, uint64_t limit)
{
	bench->seed = bench->seed * UINT64_C(6364136223846793005) + 1442695040888963407;
	return (bench->seed >> 33) % limit;
}

static void set_up(struct bench *bench, uint64_t seed)
{
	memset(bench, 0, sizeof(*bench));
	bench->seed = seed;
	bench->index = redo_index_new();
	assert_non_null(bench->index);
	for (unsigned v = 0; v < VOLUMES; v++)
		for (unsigned i = 0; i < BLOCKS; i++)
			bench->expected[v][i] = NOTHING;
}

static void add(struct bench *bench, unsigned volume, const struct extent *extents, uint32_t count)
{
	uint8_t body[BLOCKS_BODY_MAX];
	struct wire_blocks blocks = {.volume = volume, .extent_count = count, .extents = body + 16};

	wire_put_blocks(body, volume, extents, count);
	assert_int_equal(redo_part_add(&bench->part, bench->frames * 1000 + 1, 500, &blocks), 0);
	for (uint32_t i = 0; i < count; i++)
		for (uint64_t j = extents[i].first; j < extents[i].first + extents[i].count && j < BLOCKS; j++)
			bench->expected[volume][j] = extents[i].zero ? ZEROES : (int64_t)bench->frames;
	bench->frames++;
}

static void check(struct bench *bench)
{
	for (unsigned v = 0; v < VOLUMES; v++) {
		uint64_t at = 0;
		struct redo_segment segment;

		while (redo_index_next(bench->index, v, at, &segment)) {
			assert_true(segment.first >= at && segment.count > 0);
			for (; at < segment.first && at < BLOCKS; at++)
				assert_true(bench->expected[v][at] == NOTHING);
			for (; at < segment.first + segment.count && at < BLOCKS; at++)
				assert_true(bench->expected[v][at] ==
				            (segment.frame == REDO_ZERO ? ZEROES : (int64_t)segment.frame));
			at = segment.first + segment.count;
			if (segment.frame != REDO_ZERO)
				assert_true(redo_index_frame(bench->index, segment.frame)->offset ==
				            segment.frame * UINT64_C(1000) + 1);
		}
		for (; at < BLOCKS; at++)
			assert_true(bench->expected[v][at] == NOTHING);
	}
}

static void an_empty_one(void **state)
{
	struct bench bench;
	struct redo_segment segment;

	(void)state;
	set_up(&bench, 1);
	assert_int_equal(redo_index_seal(bench.index), 0);
	assert_false(redo_index_next(bench.index, 0, 0, &segment));
	redo_index_free(bench.index);
}

static void the_newest_wins(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 60; seed++) {
		struct bench bench;
		unsigned frames = 1 + (unsigned)seed * 4;

		set_up(&bench, seed);
		for (unsigned f = 0; f < frames; f++) {
			struct extent extents[8];
			uint32_t count = 0;
			uint64_t at = random_below(&bench, BLOCKS / 2);

			// of one frame they do not overlap
			while (count < 8 && at < BLOCKS - 80) {
				uint32_t length = 1 + (uint32_t)random_below(&bench, 60);

				extents[count++] = (struct extent){at, length, random_below(&bench, 3) == 0};
				at += length + random_below(&bench, 200);
			}
			add(&bench, (unsigned)random_below(&bench, VOLUMES), extents, count);
			if (random_below(&bench, 5) == 0)
				assert_int_equal(redo_index_take(bench.index, &bench.part), 0);
		}
		assert_int_equal(redo_index_take(bench.index, &bench.part), 0);
		assert_int_equal(redo_index_seal(bench.index), 0);
		check(&bench);
		redo_index_free(bench.index);
	}
}

// Zeroes over terabytes are one segment, and what lies on them cuts it.
static void wide_zeroes_stay_extents(void **state)
{
	const struct extent wide = {10, UINT32_MAX, 1}, again = {10 + (uint64_t)UINT32_MAX, UINT32_MAX, 1};
	const struct extent data = {1000, 7, 0};
	struct bench bench;
	struct redo_segment segment;
	unsigned count = 0;

	(void)state;
	set_up(&bench, 1);
	add(&bench, 1, &wide, 1);
	add(&bench, 1, &again, 1);
	add(&bench, 1, &data, 1);
	assert_int_equal(redo_index_take(bench.index, &bench.part), 0);
	assert_int_equal(redo_index_seal(bench.index), 0);
	check(&bench);
	for (uint64_t at = 0; redo_index_next(bench.index, 1, at, &segment); at = segment.first + segment.count)
		count++;
	assert_true(count <= 4);
	assert_true(redo_index_next(bench.index, 1, UINT64_C(1) << 32, &segment));
	assert_true(segment.first == UINT64_C(1) << 32 && segment.frame == REDO_ZERO);
	assert_false(redo_index_next(bench.index, 1, 10 + 2 * (uint64_t)UINT32_MAX, &segment));
	assert_false(redo_index_next(bench.index, 2, 0, &segment));
	redo_index_free(bench.index);
}

// A head is known when all of it is there, and not believed when it cannot be.
static void heads_are_peeked_at(void **state)
{
	uint8_t frame[FRAME_HEADER_BYTES + BLOCKS_BODY_MAX + 2 * 4096];
	const struct extent extents[] = {{5, 2, 0}, {9, 1, 1}};
	size_t head = FRAME_HEADER_BYTES + 16 + 2 * 16;
	struct wire_blocks blocks;

	(void)state;
	memset(frame, 1, sizeof(frame));
	wire_put_blocks(frame + FRAME_HEADER_BYTES, 2, extents, 2);
	frame_put_header(frame, FRAME_BLOCKS, 7, 16 + 2 * 16 + 2 * 4096);
	for (size_t length = 0; length < head; length++)
		assert_int_equal(wire_peek_blocks(frame, length, &blocks), -EAGAIN);
	assert_int_equal(wire_peek_blocks(frame, head, &blocks), 0);
	assert_true(blocks.volume == 2 && blocks.extent_count == 2 && blocks_extent(&blocks, 1).first == 9);
	frame_put_header(frame, FRAME_BLOCKS, 7, 16 + 2 * 16 + 4096);
	assert_int_equal(wire_peek_blocks(frame, head, &blocks), -EBADMSG);
	frame_put_header(frame, FRAME_BLOCKS, 7, 20);
	assert_int_equal(wire_peek_blocks(frame, head, &blocks), -EBADMSG);
	frame_put_header(frame, FRAME_COMPARE, 7, 16 + 2 * 16 + 2 * 4096);
	assert_int_equal(wire_peek_blocks(frame, head, &blocks), -EBADMSG);
	frame_put_header(frame, FRAME_BLOCKS, 7, 16 + 2 * 16 + 2 * 4096);
	put_u32(frame + FRAME_HEADER_BYTES + 4, BLOCKS_EXTENTS_MAX + 1);
	assert_int_equal(wire_peek_blocks(frame, sizeof(frame), &blocks), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(an_empty_one),
	        cmocka_unit_test(the_newest_wins),
	        cmocka_unit_test(wide_zeroes_stay_extents),
	        cmocka_unit_test(heads_are_peeked_at),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
