// SPDX-License-Identifier: Apache-2.0
#include "common/map.h"

#include <stdlib.h>
#include <string.h>

// cmocka.h needs these before it
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct fixture {
	struct map_identity identity;
	size_t bytes;
	uint8_t *memory;
	struct map map;
};

static void open_map(struct fixture *fixture)
{
	unsigned damaged;

	assert_int_equal(map_open(&fixture->map, fixture->memory, &fixture->identity, 99, &damaged), 0);
	map_save(&fixture->map);
	assert_int_equal(damaged, 0);
}

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	fixture->identity = (struct map_identity){
	        .pair = {{1}}, .generation = {{2}}, .boot = {{3}}, .volume_count = 2, .blocks = {100000, 70}};
	fixture->bytes = map_bytes(2, fixture->identity.blocks);
	fixture->memory = aligned_alloc(4096, fixture->bytes);
	memset(fixture->memory, 0, fixture->bytes);
	open_map(fixture);
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	map_destroy(&fixture->map);
	free(fixture->memory);
	free(fixture);
	return 0;
}

static void reopen(struct fixture *fixture)
{
	map_destroy(&fixture->map);
	open_map(fixture);
}

static void test_survives_the_process(void **state)
{
	struct fixture *fixture = *state;
	struct change_set *set = map_free_set(&fixture->map);

	assert_true(fixture->map.suspect);
	fixture->map.suspect = false;
	fixture->map.cut = 41;
	set->state = SET_FROZEN;
	set->epoch = 41;
	set->oldest = 12345;
	bitmap_set(&set->dirty[0], 99990, 10);
	bitmap_set(&set->dirty[1], 69, 1);
	map_save(&fixture->map);
	assert_true(map_trusted(fixture->memory, &fixture->identity));
	reopen(fixture);
	assert_false(fixture->map.suspect);
	assert_int_equal(fixture->map.cut, 41);
	assert_int_equal(fixture->map.sets[0].state, SET_FROZEN);
	assert_int_equal(fixture->map.sets[0].epoch, 41);
	assert_int_equal(fixture->map.sets[0].oldest, 12345);
	assert_int_equal(set_blocks(&fixture->map, &fixture->map.sets[0]), 11);
	assert_true(map_free_set(&fixture->map) == &fixture->map.sets[1]);
}

static void test_open_set_was_not_cut(void **state)
{
	struct fixture *fixture = *state;
	struct change_set *set = map_free_set(&fixture->map);

	set->state = SET_OPEN;
	map_save(&fixture->map);
	bitmap_set(&set->dirty[0], 5, 1);
	reopen(fixture);
	assert_int_equal(fixture->map.sets[0].state, SET_FROZEN);
	assert_int_equal(fixture->map.sets[0].epoch, 0);
}

static void test_not_trusted(void **state)
{
	struct fixture *fixture = *state;
	struct map_identity other = fixture->identity;

	other.boot.bytes[0] = 9;
	assert_false(map_trusted(fixture->memory, &other));
	map_close(fixture->memory);
	assert_true(map_trusted(fixture->memory, &other));
	other = fixture->identity;
	other.generation.bytes[0] = 9;
	assert_false(map_trusted(fixture->memory, &other));
	other = fixture->identity;
	other.pair.bytes[0] = 9;
	assert_false(map_trusted(fixture->memory, &other));
	other = fixture->identity;
	other.blocks[1]++;
	assert_false(map_trusted(fixture->memory, &other));
}

// Any byte of the first page: the map is refused, or opens with nothing lost.
static void test_every_byte_flipped(void **state)
{
	struct fixture *fixture = *state;
	struct change_set *set = map_free_set(&fixture->map);
	uint8_t *saved = malloc(fixture->bytes);
	unsigned refused = 0;

	fixture->map.suspect = false;
	fixture->map.cut = 7;
	set->state = SET_FROZEN;
	set->epoch = 7;
	bitmap_set(&set->dirty[0], 1000, 1);
	map_save(&fixture->map);
	memcpy(saved, fixture->memory, fixture->bytes);
	for (size_t i = 0; i < 4096; i++) {
		memcpy(fixture->memory, saved, fixture->bytes);
		fixture->memory[i] ^= 0x10;
		if (!map_trusted(fixture->memory, &fixture->identity)) {
			refused++;
			continue;
		}
		reopen(fixture);
		assert_int_equal(fixture->map.cut, 7);
		assert_int_equal(fixture->map.sets[0].epoch, 7);
		assert_int_equal(set_blocks(&fixture->map, &fixture->map.sets[0]), 1);
	}
	assert_true(refused > 300);
	free(saved);
}

static void test_merge(void **state)
{
	struct fixture *fixture = *state;
	struct change_set *from = &fixture->map.sets[0], *into = &fixture->map.sets[1];
	unsigned volume = 0;
	uint64_t index = 0;

	// Granules 0 and 1 were zeroed; block 70, in granule 1, was written since.
	bitmap_set(&from->dirty[0], 0, 128);
	bitmap_set(&from->zero[0], 0, 2);
	bitmap_set(&from->dirty[1], 3, 1);
	bitmap_set(&into->dirty[0], 70, 1);
	from->oldest = 5;
	into->oldest = 9;
	while (!set_merge(&fixture->map, into, from, &volume, &index))
		;
	assert_int_equal(set_blocks(&fixture->map, into), 129);
	assert_true(bitmap_test(&into->zero[0], 0));
	assert_false(bitmap_test(&into->zero[0], 1));
	assert_int_equal(into->oldest, 5);
	set_release(&fixture->map, from);
	assert_true(set_empty(&fixture->map, from));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(test_survives_the_process, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_open_set_was_not_cut, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_not_trusted, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_every_byte_flipped, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_merge, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
