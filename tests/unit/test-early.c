// SPDX-License-Identifier: Apache-2.0
#include "agent/early.h"
#include "common/block.h"
#include "memdisk.h"

#include <errno.h>
#include <string.h>

// cmocka.h needs these before it
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static unsigned idles;

static void idle(void *user)
{
	(void)user;
	idles++;
}

static struct early_extent *fill(struct early *early, uint64_t first, uint32_t count)
{
	struct early_extent *extent = early_reserve(early, 0, first, count);

	assert_non_null(extent);
	memset(extent->data, (int)first, count * BLOCK_SIZE);
	early_filled(extent);
	return extent;
}

static void test_found_until_dropped(void **state)
{
	struct early *early = early_new(64 * BLOCK_SIZE, NULL, 0, idle, NULL);
	struct early_extent *extent = fill(early, 10, 3);

	(void)state;
	assert_true(early_find(early, 0, 10) == extent);
	assert_true(early_find(early, 0, 12) == extent);
	assert_null(early_find(early, 0, 13));
	assert_null(early_find(early, 1, 10));
	assert_int_equal(early_memory_used(early), 3 * BLOCK_SIZE);
	early_drop(extent);
	assert_null(early_find(early, 0, 11));
	assert_int_equal(early_memory_used(early), 0);
	early_free(early);
}

static void test_budget(void **state)
{
	struct early *early = early_new(4 * BLOCK_SIZE, NULL, 0, idle, NULL);

	(void)state;
	fill(early, 0, 3);
	assert_null(early_reserve(early, 0, 3, 2));
	fill(early, 3, 1);
	assert_null(early_reserve(early, 0, 9, 1));
	early_reset(early);
	fill(early, 9, 4);
	early_free(early);
}

static void test_spills_and_frees_memory(void **state)
{
	struct memdisk *spill = memdisk_new(64 * BLOCK_SIZE, 512);
	struct early *early = early_new(8 * BLOCK_SIZE, &spill->disk, 64 * BLOCK_SIZE, idle, NULL);
	struct early_extent *extents[6];

	(void)state;
	for (unsigned i = 0; i < 6; i++)
		extents[i] = fill(early, i, 1);
	assert_true(early_busy(early));
	idles = 0;
	memdisk_run(spill);
	assert_int_equal(idles, 1);
	assert_false(early_busy(early));
	// It stops spilling at a quarter of the memory.
	assert_int_equal(early_memory_used(early), 2 * BLOCK_SIZE);
	for (unsigned i = 0; i < 6; i++) {
		const uint8_t *data = extents[i]->data;

		if (!data)
			data = spill->bytes + extents[i]->spill_offset;
		assert_int_equal(data[0], i);
		assert_int_equal(data[BLOCK_SIZE - 1], i);
	}
	early_free(early);
	memdisk_free(spill);
}

// A write of an epoch that is gone must not land on content of the next one.
static void test_stale_spill_is_waited_for(void **state)
{
	struct memdisk *spill = memdisk_new(64 * BLOCK_SIZE, 512);
	struct early *early = early_new(4 * BLOCK_SIZE, &spill->disk, 64 * BLOCK_SIZE, idle, NULL);
	unsigned under_way;

	(void)state;
	fill(early, 1, 2);
	under_way = memdisk_pending(spill);
	assert_true(under_way > 0);
	early_reset(early);
	fill(early, 7, 2);
	assert_int_equal(memdisk_pending(spill), under_way);
	while (under_way--)
		memdisk_step(spill);
	assert_int_equal(memdisk_pending(spill), 1);
	memdisk_run(spill);
	assert_int_equal(early_find(early, 0, 7)->place, EARLY_SPILLED);
	assert_int_equal(spill->bytes[0], 7);
	early_free(early);
	memdisk_free(spill);
}

static void test_full_spill_disk(void **state)
{
	struct memdisk *spill = memdisk_new(64 * BLOCK_SIZE, 512);
	struct early *early = early_new(4 * BLOCK_SIZE, &spill->disk, 64 * BLOCK_SIZE, idle, NULL);
	struct early_extent *extent;

	(void)state;
	memdisk_fail(spill, 1U << DISK_WRITE, 0, -ENOSPC, true);
	extent = fill(early, 1, 4);
	memdisk_run(spill);
	assert_true(early_spill_failed(early));
	assert_non_null(extent->data);
	assert_null(early_reserve(early, 0, 9, 1));
	early_reset(early);
	assert_false(early_spill_failed(early));
	early_free(early);
	memdisk_free(spill);
}

static void test_dropped_while_being_read(void **state)
{
	struct early *early = early_new(4 * BLOCK_SIZE, NULL, 0, idle, NULL);
	struct early_extent *extent = early_reserve(early, 0, 1, 2);

	(void)state;
	early_reset(early);
	assert_null(early_find(early, 0, 1));
	assert_int_equal(early_memory_used(early), 2 * BLOCK_SIZE);
	early_filled(extent);
	assert_int_equal(early_memory_used(early), 0);
	early_free(early);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_found_until_dropped),     cmocka_unit_test(test_budget),
	        cmocka_unit_test(test_spills_and_frees_memory), cmocka_unit_test(test_stale_spill_is_waited_for),
	        cmocka_unit_test(test_full_spill_disk),         cmocka_unit_test(test_dropped_while_being_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
