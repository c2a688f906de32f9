// SPDX-License-Identifier: Apache-2.0
// The stamped-write check must be able to fail: broken images of every kind.
#include "stamp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BLOCKS 16
#define CAPACITY 64

static struct stamp_log *stamps;
static uint8_t image[2][BLOCKS * STAMP_BLOCK];

static int setup(void **state)
{
	(void)state;
	stamps = calloc(1, stamp_log_bytes(CAPACITY));
	if (!stamps)
		return -1;
	stamp_log_format(stamps, CAPACITY);
	memset(image, 0, sizeof(image));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	free(stamps);
	return 0;
}

static uint64_t submit(unsigned volume, uint64_t block)
{
	return stamp_submit(stamps, volume, 0, block, 1, false);
}

static uint64_t write_acked(unsigned volume, uint64_t block)
{
	uint64_t id = submit(volume, block);

	stamp_ack(stamps, id);
	return id;
}

static uint64_t zero_acked(unsigned volume, uint64_t block, uint32_t count)
{
	uint64_t id = stamp_submit(stamps, volume, 0, block, count, true);

	stamp_ack(stamps, id);
	return id;
}

// Makes write id visible in a block of the image.
static void show(uint64_t id, unsigned volume, uint64_t block)
{
	struct stamp stamp = {.id = id, .block = block, .volume = (uint16_t)volume};

	stamp_fill(image[volume] + block * STAMP_BLOCK, &stamp);
}

static void clear(unsigned volume, uint64_t block)
{
	memset(image[volume] + block * STAMP_BLOCK, 0, STAMP_BLOCK);
}

static struct stamp_verdict check(bool complete)
{
	struct stamp_image images[2] = {{image[0], BLOCKS}, {image[1], BLOCKS}};
	struct stamp_verdict verdict;

	assert_int_equal(stamp_check(stamps, images, 2, complete, NULL, &verdict), 0);
	return verdict;
}

static void accepts_untouched_images(void **state)
{
	(void)state;
	write_acked(0, 1);
	assert_int_equal(check(false).violations, 0);
	assert_int_equal(check(false).lost, 1);
}

static void accepts_a_prefix(void **state)
{
	(void)state;
	show(write_acked(0, 1), 0, 1);
	show(write_acked(1, 2), 1, 2);
	write_acked(0, 3);
	assert_int_equal(check(false).violations, 0);
	assert_int_equal(check(false).visible, 2);
	assert_int_equal(check(false).lost, 1);
}

static void refuses_a_lost_write_on_the_other_volume(void **state)
{
	(void)state;
	write_acked(0, 1); // not visible
	show(write_acked(1, 2), 1, 2); // depends on it
	assert_int_equal(check(false).violations, 1);
}

static void refuses_an_older_write_in_place_of_a_newer(void **state)
{
	uint64_t older = write_acked(0, 1);

	(void)state;
	write_acked(0, 1);
	show(write_acked(1, 2), 1, 2);
	show(older, 0, 1);
	assert_int_equal(check(false).violations, 1);
}

static void accepts_concurrent_writes_in_either_order(void **state)
{
	uint64_t a = submit(0, 1), b = submit(0, 1);

	(void)state;
	stamp_ack(stamps, a);
	stamp_ack(stamps, b);
	show(write_acked(1, 2), 1, 2);
	show(a, 0, 1);
	assert_int_equal(check(false).violations, 0);
	show(b, 0, 1);
	assert_int_equal(check(false).violations, 0);
}

static void accepts_an_unacknowledged_write_to_be_there_or_not(void **state)
{
	uint64_t lost = submit(0, 1);

	(void)state;
	show(write_acked(1, 2), 1, 2);
	assert_int_equal(check(false).violations, 0);
	show(lost, 0, 1);
	assert_int_equal(check(false).violations, 0);
}

static void refuses_a_torn_block(void **state)
{
	uint64_t a = submit(0, 1), b = submit(0, 1);
	uint8_t torn[STAMP_BLOCK];

	(void)state;
	show(a, 0, 1);
	memcpy(torn, image[0] + STAMP_BLOCK, STAMP_BLOCK);
	show(b, 0, 1);
	memcpy(image[0] + STAMP_BLOCK, torn, 512);
	assert_int_equal(check(false).violations, 1);
}

static void refuses_a_flipped_byte_anywhere(void **state)
{
	uint64_t id = write_acked(0, 1);

	(void)state;
	for (unsigned at = 0; at < STAMP_BLOCK; at++) {
		show(id, 0, 1);
		image[0][STAMP_BLOCK + at] ^= 0x20;
		assert_true(check(false).violations > 0);
	}
}

static void refuses_a_block_in_the_wrong_place(void **state)
{
	uint64_t id = write_acked(0, 1);
	struct stamp stamp = {.id = id, .block = 1, .volume = 0};

	(void)state;
	stamp_fill(image[0] + 2 * STAMP_BLOCK, &stamp);
	assert_int_equal(check(false).violations, 1);
	clear(0, 2);
	stamp_fill(image[1] + STAMP_BLOCK, &stamp);
	assert_int_equal(check(false).violations, 1);
}

static void refuses_a_write_that_never_was(void **state)
{
	(void)state;
	show(7, 0, 1);
	assert_int_equal(check(false).violations, 1);
}

static void refuses_a_missing_half_of_a_long_write(void **state)
{
	uint64_t id = stamp_submit(stamps, 0, 0, 4, 2, false);

	(void)state;
	stamp_ack(stamps, id);
	show(id, 0, 4);
	show(id, 0, 5);
	show(write_acked(1, 2), 1, 2);
	assert_int_equal(check(false).violations, 0);
	clear(0, 5);
	assert_int_equal(check(false).violations, 1);
}

static void judges_zero_writes_as_writes(void **state)
{
	uint64_t before = write_acked(0, 1);

	(void)state;
	zero_acked(0, 0, 4);
	show(write_acked(1, 2), 1, 2);
	assert_int_equal(check(false).violations, 0);
	show(before, 0, 1); // the zeroes over it are missing
	assert_int_equal(check(false).violations, 1);
	show(write_acked(0, 1), 0, 1);
	assert_int_equal(check(false).violations, 0);
}

static void refuses_zeroes_that_are_older_than_a_write(void **state)
{
	(void)state;
	zero_acked(0, 0, 4);
	write_acked(0, 1); // not visible: zero in its place
	show(write_acked(1, 2), 1, 2);
	assert_int_equal(check(false).violations, 1);
}

static void complete_means_every_acknowledged_write(void **state)
{
	uint64_t id = write_acked(0, 1);

	(void)state;
	assert_int_equal(check(true).violations, 1);
	show(id, 0, 1);
	assert_int_equal(check(true).violations, 0);
}

static void a_full_log_takes_no_write(void **state)
{
	(void)state;
	for (unsigned i = 0; i < CAPACITY; i++)
		assert_int_equal(submit(0, 1), i + 1);
	assert_int_equal(submit(0, 1), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(accepts_untouched_images, setup, teardown),
	        cmocka_unit_test_setup_teardown(accepts_a_prefix, setup, teardown),
	        cmocka_unit_test_setup_teardown(refuses_a_lost_write_on_the_other_volume, setup, teardown),
	        cmocka_unit_test_setup_teardown(refuses_an_older_write_in_place_of_a_newer, setup, teardown),
	        cmocka_unit_test_setup_teardown(accepts_concurrent_writes_in_either_order, setup, teardown),
	        cmocka_unit_test_setup_teardown(accepts_an_unacknowledged_write_to_be_there_or_not, setup, teardown),
	        cmocka_unit_test_setup_teardown(refuses_a_torn_block, setup, teardown),
	        cmocka_unit_test_setup_teardown(refuses_a_flipped_byte_anywhere, setup, teardown),
	        cmocka_unit_test_setup_teardown(refuses_a_block_in_the_wrong_place, setup, teardown),
	        cmocka_unit_test_setup_teardown(refuses_a_write_that_never_was, setup, teardown),
	        cmocka_unit_test_setup_teardown(refuses_a_missing_half_of_a_long_write, setup, teardown),
	        cmocka_unit_test_setup_teardown(judges_zero_writes_as_writes, setup, teardown),
	        cmocka_unit_test_setup_teardown(refuses_zeroes_that_are_older_than_a_write, setup, teardown),
	        cmocka_unit_test_setup_teardown(complete_means_every_acknowledged_write, setup, teardown),
	        cmocka_unit_test_setup_teardown(a_full_log_takes_no_write, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
