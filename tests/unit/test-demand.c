// SPDX-License-Identifier: Apache-2.0
#include "ctl/demand.h"

// cmocka.h needs these before it
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define MS UINT64_C(1000000)
#define SECOND (1000 * MS)
#define BLOCK UINT64_C(4096)

enum {
	RPO_1S,
	RPO_5S,
	RPO_30S,
	RPO_5M
};

static struct demand_figures figures_of(struct demand *demand, uint64_t now, unsigned rpo)
{
	struct demand_figures figures;

	demand_figures(demand, now, rpo, &figures);
	return figures;
}

// The same block again and again costs one block an epoch.
static void test_overwrites_count_once(void **state)
{
	struct demand *demand = demand_new(1 << 20, SECOND);

	(void)state;
	for (unsigned ms = 0; ms < 100000; ms++)
		demand_write(demand, SECOND + ms * MS, 5 * BLOCK + 512, 512);
	assert_int_equal(demand_written(demand), 100000 * 512);
	assert_int_equal(figures_of(demand, 101 * SECOND, RPO_1S).mean, 4 * BLOCK);
	assert_int_equal(figures_of(demand, 101 * SECOND, RPO_1S).peak, 4 * BLOCK);
	assert_int_equal(figures_of(demand, 101 * SECOND, RPO_30S).largest, BLOCK);
	assert_int_equal(figures_of(demand, 101 * SECOND, RPO_30S).epochs, 13);
	demand_free(demand);
}

static void test_what_is_new_costs_all(void **state)
{
	struct demand *demand = demand_new(UINT64_C(1) << 30, 0);

	(void)state;
	for (uint64_t i = 0; i < 10000; i++) // 1000 blocks a second
		demand_write(demand, i * MS, i * BLOCK, BLOCK);
	assert_int_equal(figures_of(demand, 10 * SECOND, RPO_1S).mean, 1000 * BLOCK);
	assert_int_equal(figures_of(demand, 10 * SECOND, RPO_5S).largest, 1250 * BLOCK);
	assert_int_equal(figures_of(demand, 10 * SECOND, RPO_5M).epochs, 0);
	demand_free(demand);
}

// A burst makes the peak and not the mean, and silence counts.
static void test_burst(void **state)
{
	struct demand *demand = demand_new(UINT64_C(1) << 30, 0);

	(void)state;
	demand_write(demand, 10 * SECOND + MS, 0, 4000 * BLOCK);
	assert_int_equal(figures_of(demand, 100 * SECOND, RPO_1S).peak, 16000 * BLOCK);
	assert_int_equal(figures_of(demand, 100 * SECOND, RPO_1S).mean, 40 * BLOCK);
	demand_free(demand);
}

// What lies outside, or reaches beyond the end, is no block of the volume.
static void test_outside(void **state)
{
	struct demand *demand = demand_new(10 * BLOCK, 0);

	(void)state;
	demand_write(demand, 1, 9 * BLOCK, 100 * BLOCK);
	demand_write(demand, 1, 50 * BLOCK, BLOCK);
	demand_write(demand, 1, 3 * BLOCK, 0);
	assert_int_equal(figures_of(demand, SECOND, RPO_1S).largest, BLOCK);
	demand_free(demand);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_overwrites_count_once),
	        cmocka_unit_test(test_what_is_new_costs_all),
	        cmocka_unit_test(test_burst),
	        cmocka_unit_test(test_outside),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
