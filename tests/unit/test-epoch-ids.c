// SPDX-License-Identifier: Apache-2.0
#include "common/epoch_ids.h"
#include "common/lineage.h"

// cmocka.h needs these before it
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct id id_of(unsigned number)
{
	return (struct id){{(uint8_t)number, 7}};
}

static void add(struct epoch_ids *ids, uint64_t epoch)
{
	struct id id = id_of((unsigned)epoch);

	epoch_ids_add(ids, epoch, &id);
}

static enum epoch_match match(const struct epoch_ids *ids, uint64_t epoch, unsigned id_number)
{
	struct id id = id_number ? id_of(id_number) : (struct id){{0}};

	return epoch_ids_match(ids, epoch, &id);
}

static void test_match(void **state)
{
	struct epoch_ids ids = {0};

	(void)state;
	add(&ids, 4);
	add(&ids, 7);
	assert_int_equal(match(&ids, 4, 4), EPOCH_OURS);
	assert_int_equal(match(&ids, 7, 7), EPOCH_OURS);
	assert_int_equal(match(&ids, 7, 99), EPOCH_FOREIGN);
	assert_int_equal(match(&ids, 5, 5), EPOCH_FOREIGN); // a number that was never given
	assert_int_equal(match(&ids, 3, 99), EPOCH_UNKNOWN); // the standby was put back
	assert_int_equal(match(&ids, 7, 0), EPOCH_UNKNOWN);
	epoch_ids_keep_from(&ids, 7);
	assert_int_equal(ids.count, 1);
	assert_int_equal(match(&ids, 4, 4), EPOCH_UNKNOWN);
	assert_int_equal(match(&ids, 7, 7), EPOCH_OURS);
}

// The first is what the standby has; the newest are what it may come to have.
static void test_too_many(void **state)
{
	struct epoch_ids ids = {0};
	unsigned last = EPOCH_IDS_MAX + 5;

	(void)state;
	for (unsigned i = 1; i <= last; i++)
		add(&ids, i);
	assert_int_equal(ids.count, EPOCH_IDS_MAX);
	assert_int_equal(match(&ids, 1, 1), EPOCH_OURS);
	assert_int_equal(match(&ids, 2, 2), EPOCH_UNKNOWN);
	assert_int_equal(match(&ids, 6, 99), EPOCH_UNKNOWN);
	for (unsigned i = 7; i <= last; i++)
		assert_int_equal(match(&ids, i, i), EPOCH_OURS);
	epoch_ids_keep_from(&ids, last);
	assert_int_equal(ids.count, 1);
	add(&ids, last + 1);
	assert_int_equal(match(&ids, last + 1, 99), EPOCH_FOREIGN);
}

// Judged alike by both sides.
static enum verdict judge(const struct standing *primary, const struct standing *standby)
{
	enum verdict verdict = lineage_judge(primary, standby);

	assert_int_equal(lineage_judge(standby, primary), verdict);
	return verdict;
}

static void test_copy_is_named(void **state)
{
	struct standing primary = {.role = ROLE_PRIMARY, .lineage.generation = {{1}}, .epoch = 8};
	struct standing standby = {
	        .role = ROLE_STANDBY, .lineage.generation = {{1}}, .epoch = 8, .epoch_id = {{99}}, .consistent = true};

	(void)state;
	add(&primary.cuts, 7);
	add(&primary.cuts, 8);
	assert_int_equal(judge(&primary, &standby), VERDICT_COPIED);
	standby.yields = true;
	assert_int_equal(judge(&primary, &standby), VERDICT_COMPARE);
	standby.yields = false;
	standby.consistent = false;
	assert_int_equal(judge(&primary, &standby), VERDICT_CONTINUE);
	standby.consistent = true;
	standby.epoch_id = id_of(8);
	assert_int_equal(judge(&primary, &standby), VERDICT_CONTINUE);
	standby.epoch = 9;
	assert_int_equal(judge(&primary, &standby), VERDICT_ROLLED_BACK);
}

// The primary's generation left that of the standby at an epoch: at which one
// of that number?
static void test_left_at_a_copys_epoch(void **state)
{
	struct standing primary = {.role = ROLE_PRIMARY, .lineage.generation = {{1}}};
	struct standing standby = {
	        .role = ROLE_STANDBY, .lineage.generation = {{1}}, .epoch = 8, .epoch_id = {{99}}, .consistent = true};
	struct id left = id_of(8), generation = {{2}};

	(void)state;
	lineage_push(&primary.lineage, &generation, 8, &left);
	assert_int_equal(judge(&primary, &standby), VERDICT_DIVERGED);
	standby.yields = true;
	assert_int_equal(judge(&primary, &standby), VERDICT_COMPARE);
	standby.yields = false;
	standby.epoch_id = (struct id){{0}};
	assert_int_equal(judge(&primary, &standby), VERDICT_COMPARE);
	standby.epoch_id = left;
	assert_int_equal(judge(&primary, &standby), VERDICT_RESYNC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_match),
	        cmocka_unit_test(test_too_many),
	        cmocka_unit_test(test_copy_is_named),
	        cmocka_unit_test(test_left_at_a_copys_epoch),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
