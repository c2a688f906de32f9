// SPDX-License-Identifier: Apache-2.0
#include "common/lineage.h"

// cmocka.h needs these before it
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct id id_of(unsigned number)
{
	return (struct id){{(uint8_t)number, (uint8_t)(number >> 8), 7}};
}

// A lineage whose generations are listed oldest first and end with 0.
static struct lineage lineage_of(const unsigned *numbers)
{
	struct lineage lineage = {0};

	for (; *numbers; numbers++) {
		struct id id = id_of(*numbers);

		lineage_push(&lineage, &id, *numbers * 10);
	}
	return lineage;
}

#define LINEAGE(...) lineage_of((const unsigned[]){__VA_ARGS__, 0})

static void test_ids(void **state)
{
	struct id none = {0}, one = id_of(1), two = id_of(2);

	(void)state;
	assert_true(id_is_none(&none));
	assert_false(id_is_none(&one));
	assert_true(id_equal(&one, &one));
	assert_false(id_equal(&one, &two));
}

static void test_push_and_find(void **state)
{
	struct lineage lineage = LINEAGE(1, 2, 3);
	struct id one = id_of(1), two = id_of(2), three = id_of(3);

	(void)state;
	assert_int_equal(lineage.count, 2);
	assert_true(id_equal(&lineage.generation, &three));
	assert_true(id_equal(&lineage.ancestors[0].generation, &two));
	assert_int_equal(lineage_find(&lineage, &two)->epoch, 30);
	assert_int_equal(lineage_find(&lineage, &one)->epoch, 20);
	assert_null(lineage_find(&lineage, &three));
}

static void test_oldest_ancestor_falls_off(void **state)
{
	struct lineage lineage = {0};

	(void)state;
	for (unsigned i = 1; i <= ANCESTORS_MAX + 3; i++) {
		struct id id = id_of(i);

		lineage_push(&lineage, &id, i);
	}
	assert_int_equal(lineage.count, ANCESTORS_MAX);
	for (unsigned i = 1; i <= ANCESTORS_MAX + 3; i++) {
		struct id id = id_of(i);
		const struct ancestor *ancestor = lineage_find(&lineage, &id);

		if (i >= 3 && i < ANCESTORS_MAX + 3)
			assert_int_equal(ancestor->epoch, i + 1);
		else
			assert_null(ancestor);
	}
}

struct judgement {
	struct lineage mine, peers;
	// by roles: mine and peer's are primary and standby, standby and primary, both primary
	enum verdict primary_standby, standby_primary, both_primary;
};

static enum verdict mirrored(enum verdict verdict)
{
	switch (verdict) {
	case VERDICT_FENCED:
		return VERDICT_PEER_FENCED;
	case VERDICT_PEER_FENCED:
		return VERDICT_FENCED;
	default:
		return verdict;
	}
}

static void judge(enum role my_role, const struct lineage *mine, enum role peer_role, const struct lineage *peers,
                  enum verdict expected)
{
	struct standing me = {.role = my_role, .lineage = *mine, .mapped = true, .consistent = true};
	struct standing peer = {.role = peer_role, .lineage = *peers, .mapped = true, .consistent = true};

	assert_int_equal(lineage_judge(&me, &peer), expected);
	assert_int_equal(lineage_judge(&peer, &me), mirrored(expected));
}

static void test_judge_every_combination(void **state)
{
	struct lineage none = {0};
	struct lineage older = LINEAGE(1), crossed_a = LINEAGE(2, 1), crossed_b = LINEAGE(1, 2);
	const struct judgement judgements[] = {
	        // the same generation
	        {LINEAGE(1), LINEAGE(1), VERDICT_CONTINUE, VERDICT_CONTINUE, VERDICT_SPLIT_BRAIN},
	        {LINEAGE(1, 2), LINEAGE(1, 2), VERDICT_CONTINUE, VERDICT_CONTINUE, VERDICT_SPLIT_BRAIN},
	        // the peer descends from us, at once or over several promotions
	        {LINEAGE(1), LINEAGE(1, 2), VERDICT_FENCED, VERDICT_COMPARE, VERDICT_FENCED},
	        {LINEAGE(1), LINEAGE(1, 2, 3, 4), VERDICT_FENCED, VERDICT_COMPARE, VERDICT_FENCED},
	        {LINEAGE(1, 2), LINEAGE(1, 2, 3), VERDICT_FENCED, VERDICT_COMPARE, VERDICT_FENCED},
	        // a common ancestor, but both went on from it
	        {LINEAGE(1, 2), LINEAGE(1, 3), VERDICT_DIVERGED, VERDICT_DIVERGED, VERDICT_SPLIT_BRAIN},
	        // nothing in common
	        {LINEAGE(1), LINEAGE(9), VERDICT_UNRELATED, VERDICT_UNRELATED, VERDICT_UNRELATED},
	        {LINEAGE(1, 2), LINEAGE(8, 9), VERDICT_UNRELATED, VERDICT_UNRELATED, VERDICT_UNRELATED},
	        // no generation, no relation: not even with another that has none
	        {none, older, VERDICT_UNRELATED, VERDICT_UNRELATED, VERDICT_UNRELATED},
	        {none, none, VERDICT_UNRELATED, VERDICT_UNRELATED, VERDICT_UNRELATED},
	        // each claims to descend from the other: cannot be
	        {crossed_a, crossed_b, VERDICT_UNRELATED, VERDICT_UNRELATED, VERDICT_UNRELATED},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(judgements) / sizeof(judgements[0]); i++) {
		const struct judgement *j = &judgements[i];

		judge(ROLE_PRIMARY, &j->mine, ROLE_STANDBY, &j->peers, j->primary_standby);
		judge(ROLE_STANDBY, &j->mine, ROLE_PRIMARY, &j->peers, j->standby_primary);
		judge(ROLE_PRIMARY, &j->mine, ROLE_PRIMARY, &j->peers, j->both_primary);
		judge(ROLE_STANDBY, &j->mine, ROLE_STANDBY, &j->peers, VERDICT_NO_PRIMARY);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_ids),
	        cmocka_unit_test(test_push_and_find),
	        cmocka_unit_test(test_oldest_ancestor_falls_off),
	        cmocka_unit_test(test_judge_every_combination),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
