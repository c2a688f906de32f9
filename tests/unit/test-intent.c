// SPDX-License-Identifier: Apache-2.0
#include "common/intent.h"
#include "memdisk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

// cmocka.h needs these before it
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define REGION 256
#define BLOCKS0 (REGION * UINT64_C(40000)) // two pages
#define BLOCKS1 (REGION * UINT64_C(3))

struct fixture {
	struct memdisk *disk;
	struct intent_config config;
	struct intent *intent;
	int loaded;
	unsigned woken;
	struct waiter waiters[8];
};

static struct fixture *current;

static void wrote(void *user)
{
	(void)user;
}

static void loaded(void *user, int error)
{
	((struct fixture *)user)->loaded = error;
}

static void woken(struct waiter *waiter)
{
	(void)waiter;
	current->woken++;
}

static void load(struct fixture *fixture)
{
	if (fixture->intent)
		intent_free(fixture->intent);
	fixture->intent = intent_new(&fixture->config);
	fixture->loaded = 1;
	intent_load(fixture->intent, loaded, fixture);
	memdisk_run(fixture->disk);
}

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	const struct intent_facts facts = {.cut = 1};

	current = fixture;
	fixture->config = (struct intent_config){.generation = {{5}},
	                                         .region_blocks = REGION,
	                                         .volume_count = 2,
	                                         .blocks = {BLOCKS0, BLOCKS1},
	                                         .wrote = wrote};
	fixture->disk = memdisk_new(intent_bytes(2, fixture->config.blocks, REGION), 4096);
	fixture->config.disk = &fixture->disk->disk;
	for (unsigned i = 0; i < 8; i++)
		fixture->waiters[i].wake = woken;
	load(fixture);
	assert_int_equal(fixture->loaded, -ENOENT);
	intent_note(fixture->intent, &facts);
	memdisk_run(fixture->disk);
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	intent_free(fixture->intent);
	memdisk_free(fixture->disk);
	free(fixture);
	return 0;
}

static int pass(struct fixture *fixture, unsigned volume, uint64_t region, unsigned waiter)
{
	return intent_pass(fixture->intent, volume, region * REGION + 1, 1, &fixture->waiters[waiter]);
}

static bool yes(void *user, unsigned volume, uint64_t first, uint64_t count)
{
	(void)user;
	(void)volume;
	(void)first;
	(void)count;
	return true;
}

static bool no(void *user, unsigned volume, uint64_t first, uint64_t count)
{
	return !yes(user, volume, first, count);
}

static void test_waits_until_durable(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(pass(fixture, 0, 7, 0), -EAGAIN);
	assert_int_equal(fixture->woken, 0);
	memdisk_run(fixture->disk);
	assert_int_equal(fixture->woken, 1);
	assert_int_equal(pass(fixture, 0, 7, 0), 0);
	memdisk_power_loss(fixture->disk, 1);
	load(fixture);
	assert_int_equal(fixture->loaded, 0);
	assert_int_equal(intent_next(fixture->intent, 0, 0), 7);
	assert_int_equal(intent_next(fixture->intent, 0, 8), UINT64_MAX);
}

static void test_one_write_for_many(void **state)
{
	struct fixture *fixture = *state;

	fixture->disk->writes = 0;
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(pass(fixture, 0, i * 3, i), -EAGAIN);
	memdisk_run(fixture->disk);
	// The first alone, the others, who came while it was written, together.
	assert_int_equal(fixture->disk->writes, 2);
	for (unsigned i = 0; i < 8; i++)
		if (pass(fixture, 0, i * 3, i) == -EAGAIN)
			memdisk_run(fixture->disk);
	assert_int_equal(fixture->disk->writes, 2);
}

static void test_release_needs_flush_and_standby(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(pass(fixture, 1, 2, 0), -EAGAIN);
	memdisk_run(fixture->disk);
	intent_written(fixture->intent, 1, 2 * REGION, 1);
	intent_release(fixture->intent, yes, NULL);
	assert_int_equal(pass(fixture, 1, 2, 0), 0);
	intent_flush_begins(fixture->intent);
	intent_written(fixture->intent, 1, 2 * REGION, 1); // after the flush began
	intent_flushed(fixture->intent, true);
	intent_release(fixture->intent, yes, NULL);
	assert_int_equal(pass(fixture, 1, 2, 0), 0);
	intent_flush_begins(fixture->intent);
	intent_flushed(fixture->intent, false);
	intent_release(fixture->intent, yes, NULL);
	assert_int_equal(pass(fixture, 1, 2, 0), 0);
	intent_flush_begins(fixture->intent);
	intent_flushed(fixture->intent, true);
	intent_release(fixture->intent, no, NULL);
	assert_int_equal(pass(fixture, 1, 2, 0), 0);
	intent_release(fixture->intent, yes, NULL);
	assert_true(intent_empty(fixture->intent));
	assert_int_equal(pass(fixture, 1, 2, 0), -EAGAIN);
	memdisk_run(fixture->disk);
}

// A region that is released while its page is being written is not in the log.
static void test_released_while_written(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(pass(fixture, 0, 1, 0), -EAGAIN);
	memdisk_run(fixture->disk);
	intent_flush_begins(fixture->intent);
	intent_flushed(fixture->intent, true);
	assert_int_equal(pass(fixture, 0, 2, 1), -EAGAIN); // with region 1 in the page
	intent_release(fixture->intent, yes, NULL);
	memdisk_step(fixture->disk);
	assert_int_equal(pass(fixture, 0, 2, 1), 0);
	assert_int_equal(pass(fixture, 0, 1, 0), -EAGAIN);
	memdisk_run(fixture->disk);
	assert_int_equal(pass(fixture, 0, 1, 0), 0);
}

static void test_error_is_told_and_retried(void **state)
{
	struct fixture *fixture = *state;

	memdisk_fail(fixture->disk, 1U << DISK_WRITE, 0, -EIO, false);
	assert_int_equal(pass(fixture, 0, 1, 0), -EAGAIN);
	memdisk_run(fixture->disk);
	assert_int_equal(fixture->woken, 1);
	assert_int_equal(pass(fixture, 0, 1, 0), -EIO);
	assert_int_equal(pass(fixture, 0, 1, 0), -EAGAIN);
	memdisk_run(fixture->disk);
	assert_int_equal(pass(fixture, 0, 1, 0), 0);
}

// Whatever a power failure does to a page that is being written, what was
// durable before stays.
static void test_torn_page(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(pass(fixture, 0, 39999, 0), -EAGAIN);
	memdisk_run(fixture->disk);
	for (unsigned i = 0; i < 200; i++) {
		pass(fixture, 0, 39000 - i, 1);
		memdisk_power_loss(fixture->disk, i);
		load(fixture);
		assert_int_equal(fixture->loaded, 0);
		assert_int_equal(pass(fixture, 0, 39999, 0), 0);
	}
}

static void test_other_generation(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(pass(fixture, 0, 1, 0), -EAGAIN);
	memdisk_run(fixture->disk);
	fixture->config.generation.bytes[0] = 6;
	load(fixture);
	assert_int_equal(fixture->loaded, -EILSEQ);
	assert_true(intent_empty(fixture->intent));
}

static void test_facts(void **state)
{
	struct fixture *fixture = *state;
	const struct intent_facts facts = {.cut = 77, .acknowledged = 75, .suspect = true};

	intent_note(fixture->intent, &facts);
	assert_int_equal(intent_noted_cut(fixture->intent), 1);
	memdisk_run(fixture->disk);
	assert_int_equal(intent_noted_cut(fixture->intent), 77);
	load(fixture);
	assert_int_equal(intent_facts(fixture->intent)->cut, 77);
	assert_int_equal(intent_facts(fixture->intent)->acknowledged, 75);
	assert_true(intent_facts(fixture->intent)->suspect);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(test_waits_until_durable, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_one_write_for_many, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_release_needs_flush_and_standby, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_released_while_written, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_error_is_told_and_retried, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_torn_page, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_other_generation, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_facts, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
