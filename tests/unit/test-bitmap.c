// SPDX-License-Identifier: Apache-2.0
// Bitmaps and ranges against the simplest thing that could be right.
#include "agent/ranges.h"
#include "common/bitmap.h"
#include "common/block.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

// cmocka.h needs these before it
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define BITS 300000 // three levels, the last word not full

static uint64_t random_below(uint64_t *seed, uint64_t limit)
{
	*seed = *seed * UINT64_C(6364136223846793005) + 1442695040888963407;
	return (*seed >> 33) % limit;
}

static void compare(const struct bitmap *bitmap, const bool *model, uint64_t from)
{
	uint64_t next = from, run = 0;

	while (next < BITS && !model[next])
		next++;
	assert_int_equal(bitmap_next(bitmap, from), next < BITS ? next : BITMAP_NONE);
	while (from + run < BITS && run < 100 && model[from + run])
		run++;
	assert_int_equal(bitmap_run(bitmap, from, 100), run);
	assert_int_equal(bitmap_test(bitmap, from), model[from]);
}

static void exercise(struct bitmap *bitmap, unsigned steps, uint64_t seed)
{
	bool *model = calloc(BITS, sizeof(*model));
	uint64_t members = 0;

	for (unsigned i = 0; i < steps; i++) {
		uint64_t first = random_below(&seed, BITS);
		uint64_t count = 1 + random_below(&seed, random_below(&seed, 8) ? 70 : 5000);
		bool value = random_below(&seed, 3) > 0;

		if (count > BITS - first)
			count = BITS - first;
		(value ? bitmap_set : bitmap_clear)(bitmap, first, count);
		memset(model + first, value, count);
		for (unsigned j = 0; j < 4; j++)
			compare(bitmap, model, random_below(&seed, BITS));
		compare(bitmap, model, first);
		compare(bitmap, model, BITS - 1);
	}
	for (uint64_t i = 0; i < BITS; i++)
		members += model[i];
	assert_int_equal(bitmap->count, members);
	bitmap_clear_all(bitmap);
	assert_int_equal(bitmap->count, 0);
	assert_int_equal(bitmap_next(bitmap, 0), BITMAP_NONE);
	free(model);
}

static void test_own_memory(void **state)
{
	struct bitmap bitmap;

	(void)state;
	assert_int_equal(bitmap_init(&bitmap, BITS), 0);
	exercise(&bitmap, 3000, 1);
	bitmap_destroy(&bitmap);
}

static void test_tiny(void **state)
{
	struct bitmap bitmap;

	(void)state;
	assert_int_equal(bitmap_init(&bitmap, 1), 0);
	assert_int_equal(bitmap_next(&bitmap, 0), BITMAP_NONE);
	bitmap_set(&bitmap, 0, 1);
	assert_int_equal(bitmap_next(&bitmap, 0), 0);
	assert_int_equal(bitmap_next(&bitmap, 1), BITMAP_NONE);
	assert_int_equal(bitmap_run(&bitmap, 0, 9), 1);
	bitmap_destroy(&bitmap);
}

struct area {
	uint64_t *words, *sums;
};

static struct area area_new(void)
{
	return (struct area){calloc(bitmap_words(BITS), 8), calloc(bitmap_sum_words(BITS), 8)};
}

static void area_free(struct area *area)
{
	free(area->words);
	free(area->sums);
}

static void test_adopted_again(void **state)
{
	struct area area = area_new();
	struct bitmap bitmap;
	unsigned damaged = 0;

	(void)state;
	assert_int_equal(bitmap_adopt(&bitmap, BITS, area.words, area.sums, 12345, &damaged), 0);
	exercise(&bitmap, 500, 2);
	bitmap_set(&bitmap, 77, 5);
	bitmap_set(&bitmap, BITS - 3, 3);
	bitmap_destroy(&bitmap);
	assert_int_equal(bitmap_adopt(&bitmap, BITS, area.words, area.sums, 12345, &damaged), 0);
	assert_int_equal(damaged, 0);
	assert_int_equal(bitmap.count, 8);
	assert_int_equal(bitmap_next(&bitmap, 0), 77);
	assert_int_equal(bitmap_next(&bitmap, 82), BITS - 3);
	bitmap_destroy(&bitmap);
	area_free(&area);
}

// A bit that flips in the memory must not make a member vanish.
static void test_flipped_bits(void **state)
{
	struct area area = area_new();
	struct bitmap bitmap;
	uint64_t seed = 3;

	(void)state;
	for (unsigned i = 0; i < 500; i++) {
		unsigned damaged = 0;
		uint64_t member = random_below(&seed, BITS), flip;
		uint64_t part = member / 64 / BITMAP_WORDS_PER_SUM * BITMAP_WORDS_PER_SUM * 64;

		memset(area.words, 0, bitmap_words(BITS) * 8);
		memset(area.sums, 0, bitmap_sum_words(BITS) * 8);
		assert_int_equal(bitmap_adopt(&bitmap, BITS, area.words, area.sums, i, &damaged), 0);
		bitmap_set(&bitmap, member, 1);
		bitmap_destroy(&bitmap);
		flip = i % 2 ? member : part + random_below(&seed, BITS - part < 32768 ? BITS - part : 32768);
		area.words[flip / 64] ^= UINT64_C(1) << (flip % 64);
		assert_int_equal(bitmap_adopt(&bitmap, BITS, area.words, area.sums, i, &damaged), 0);
		assert_int_equal(damaged, 1);
		assert_true(bitmap_test(&bitmap, member));
		bitmap_destroy(&bitmap);
	}
	area_free(&area);
}

static uint64_t *untouched(uint64_t words)
{
	void *memory =
	        mmap(NULL, words * 8, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	assert_true(memory != MAP_FAILED);
	return memory;
}

// As large as a volume can be; what is not touched costs nothing.
static void test_largest(void **state)
{
	uint64_t bits = bytes_to_blocks(VOLUME_BYTES_MAX), words = bitmap_words(bits), sums = bitmap_sum_words(bits);
	struct area area = {untouched(words), untouched(sums)};
	struct bitmap bitmap;
	unsigned damaged = 0;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(bitmap_adopt(&bitmap, bits, area.words, area.sums, 12345, &damaged), 0);
		bitmap_set(&bitmap, 1000, 1);
		bitmap_set(&bitmap, bits - 1, 1);
		assert_int_equal(bitmap_next(&bitmap, 0), 1000);
		assert_int_equal(bitmap_next(&bitmap, 1001), bits - 1);
		assert_int_equal(bitmap.count, 2);
		bitmap_destroy(&bitmap);
	}
	assert_int_equal(damaged, 0);
	munmap(area.words, words * 8);
	munmap(area.sums, sums * 8);
}

static int matches(struct range *range, void *user)
{
	(void)range;
	++*(unsigned *)user;
	return 0;
}

static void test_ranges(void **state)
{
	struct ranges ranges = {0};
	struct range pool[200];
	bool used[200] = {false};
	uint64_t seed = 4;

	(void)state;
	for (unsigned i = 0; i < 20000; i++) {
		unsigned k = (unsigned)random_below(&seed, 200), found = 0, expected = 0;
		uint64_t first = random_below(&seed, 200000);
		uint64_t count = 1 + random_below(&seed, random_below(&seed, 4) ? 300 : 100000);

		if (used[k]) {
			ranges_remove(&ranges, &pool[k]);
		} else {
			pool[k].first = random_below(&seed, 200000);
			pool[k].count = 1 + random_below(&seed, random_below(&seed, 4) ? 200 : 3000);
			ranges_add(&ranges, &pool[k]);
		}
		used[k] = !used[k];
		for (unsigned j = 0; j < 200; j++)
			expected += used[j] && pool[j].first < first + count && first < pool[j].first + pool[j].count;
		assert_null(ranges_find(&ranges, first, count, matches, &found));
		assert_int_equal(found, expected);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_own_memory),    cmocka_unit_test(test_tiny),
	        cmocka_unit_test(test_adopted_again), cmocka_unit_test(test_flipped_bits),
	        cmocka_unit_test(test_largest),       cmocka_unit_test(test_ranges),
	};

	return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
