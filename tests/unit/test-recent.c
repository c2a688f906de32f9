// SPDX-License-Identifier: Apache-2.0
#include "agent/recent.h"
#include "common/block.h"

#include <string.h>

// cmocka.h needs these before it
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define PLACES 8

static struct recent *recent;

static int setup(void **state)
{
	(void)state;
	recent = recent_new(PLACES * BLOCK_SIZE);
	return recent ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	recent_free(recent);
	return 0;
}

static void keep(unsigned volume, uint64_t block, uint64_t epoch, uint8_t value)
{
	uint8_t data[BLOCK_SIZE];

	memset(data, value, sizeof(data));
	recent_keep(recent, volume, block, epoch, data);
}

static bool holds(unsigned volume, uint64_t block, uint8_t value)
{
	const uint8_t *data = recent_find(recent, volume, block);

	return data && data[0] == value && !memcmp(data, data + 1, BLOCK_SIZE - 1);
}

static void test_found_until_dropped(void **state)
{
	(void)state;
	assert_null(recent_find(recent, 0, 5));
	recent_drop(recent, 0, 0, 100);
	keep(0, 5, 1, 50);
	keep(1, 5, 1, 51);
	keep(0, UINT64_C(1) << 37, 1, 52);
	assert_true(holds(0, 5, 50));
	assert_true(holds(1, 5, 51));
	assert_true(holds(0, UINT64_C(1) << 37, 52));
	assert_null(recent_find(recent, 0, 4));
	recent_drop(recent, 0, 4, 2);
	assert_null(recent_find(recent, 0, 5));
	assert_true(holds(1, 5, 51));
	keep(0, 5, 1, 53);
	assert_true(holds(0, 5, 53));
	recent_clear(recent);
	assert_null(recent_find(recent, 0, 5));
	keep(0, 5, 1, 54);
	assert_true(holds(0, 5, 54));
}

// A range that is longer than all there are places for.
static void test_a_long_range_is_dropped(void **state)
{
	(void)state;
	for (unsigned i = 0; i < PLACES; i++)
		keep(i % 2, 1000 * i, 1, (uint8_t)i);
	recent_drop(recent, 1, 1001, 4000);
	for (unsigned i = 0; i < PLACES; i++)
		assert_int_equal(recent_find(recent, i % 2, 1000 * i) == NULL, i == 3 || i == 5);
}

static void test_what_is_not_captured_stays(void **state)
{
	(void)state;
	for (unsigned i = 0; i < PLACES; i++)
		keep(0, i, 1 + i / 4, (uint8_t)i);
	keep(0, 100, 2, 100);
	assert_null(recent_find(recent, 0, 100));
	// A block that has its place is kept anew there.
	keep(0, 2, 2, 200);
	assert_true(holds(0, 2, 200));

	// Of what was captured the first goes first.
	recent_captured(recent, 1);
	keep(0, 100, 2, 100);
	keep(0, 101, 2, 101);
	assert_true(holds(0, 100, 100));
	assert_true(holds(0, 101, 101));
	assert_null(recent_find(recent, 0, 0));
	assert_null(recent_find(recent, 0, 1));
	// The next in turn is to be captured with the second epoch.
	keep(0, 102, 2, 102);
	assert_null(recent_find(recent, 0, 102));
	recent_drop(recent, 0, 2, 1);
	keep(0, 102, 2, 102);
	assert_true(holds(0, 102, 102));
	for (unsigned i = 3; i < PLACES; i++)
		assert_true(holds(0, i, (uint8_t)i));
}

// Chains stay whole while blocks come and go.
static void test_many_blocks(void **state)
{
	(void)state;
	for (uint64_t i = 0; i < 10000; i++) {
		uint64_t block = i * 7 % 37;

		recent_captured(recent, i);
		recent_drop(recent, 0, block, 1);
		keep(0, block, i + 1, (uint8_t)i);
		assert_true(holds(0, block, (uint8_t)i));
		if (i >= PLACES)
			assert_null(recent_find(recent, 0, (i - PLACES) * 7 % 37));
	}
}

static void test_without_budget_nothing_is_kept(void **state)
{
	struct recent *none = recent_new(BLOCK_SIZE - 1);
	uint8_t data[BLOCK_SIZE] = {0};

	(void)state;
	assert_non_null(none);
	recent_keep(none, 0, 1, 1, data);
	recent_drop(none, 0, 0, 10);
	assert_null(recent_find(none, 0, 1));
	recent_free(none);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(test_found_until_dropped, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_a_long_range_is_dropped, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_what_is_not_captured_stays, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_many_blocks, setup, teardown),
	        cmocka_unit_test(test_without_budget_nothing_is_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
