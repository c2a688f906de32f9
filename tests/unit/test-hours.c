// SPDX-License-Identifier: Apache-2.0
#include "common/hours.h"

#include <errno.h>
#include <string.h>

// cmocka.h needs these before it
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define M (UINT64_C(1) << 20)

static void test_reads_and_writes(void **state)
{
	static const char *const texts[] = {"08:00-18:00 = 5M", "22:30-06:00 = none", "00:00-00:01 = 4K"};
	struct error err;

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct hours hours;
		char text[HOURS_TEXT_MAX];

		assert_int_equal(hours_parse(texts[i], &hours, &err), 0);
		assert_string_equal(hours_format(&hours, text), texts[i]);
	}
}

static void test_refuses(void **state)
{
	static const struct {
		const char *text, *why;
	} cases[] = {
	        {"8:00-18:00 = 5M", "write them as 08:00-18:00"},
	        {"24:00-18:00 = 5M", "write them as 08:00-18:00"},
	        {"08:60-18:00 = 5M", "write them as 08:00-18:00"},
	        {"08:00 = 5M", "write them as 08:00-18:00"},
	        {"08:00-08:00 = 5M", "write them as 08:00-18:00"},
	        {"08:00-18:00", "has no value"},
	        {"08:00-18:00 5M", "has no value"},
	        {"08:00-18:00 = fast", "is no rate"},
	        {"08:00-18:00 = 1K", "from 4K on"},
	        {"08:00-18:00 =", "is no rate"},
	        {"", "write them as 08:00-18:00"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct hours hours;
		struct error err = {""};

		assert_int_equal(hours_parse(cases[i].text, &hours, &err), -EINVAL);
		if (!strstr(err.text, cases[i].why))
			fail_msg("\"%s\" does not speak of \"%s\"", err.text, cases[i].why);
	}
}

static void test_overlaps(void **state)
{
	const struct hours apart[] = {{480, 1080, M}, {1080, 480, 2 * M}};
	const struct hours over[] = {{480, 1080, M}, {1079, 1200, 2 * M}};
	const struct hours inside[] = {{1200, 480, M}, {60, 120, 2 * M}};
	struct error err;

	(void)state;
	assert_int_equal(hours_check(apart, 2, &err), 0);
	assert_int_equal(hours_check(over, 2, &err), -EINVAL);
	assert_int_equal(hours_check(inside, 2, &err), -EINVAL);
}

static void test_rate(void **state)
{
	const struct hours hours[] = {{480, 1080, M}, {1320, 360, 0}};

	(void)state;
	assert_int_equal(hours_rate(hours, 2, 479, 9), 9);
	assert_int_equal(hours_rate(hours, 2, 480, 9), M);
	assert_int_equal(hours_rate(hours, 2, 1079, 9), M);
	assert_int_equal(hours_rate(hours, 2, 1080, 9), 9);
	assert_int_equal(hours_rate(hours, 2, 1320, 9), 0);
	assert_int_equal(hours_rate(hours, 2, 0, 9), 0);
	assert_int_equal(hours_rate(hours, 2, 359, 9), 0);
	assert_int_equal(hours_rate(hours, 2, 360, 9), 9);
	assert_int_equal(hours_rate(hours, 0, 360, 9), 9);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_reads_and_writes),
	        cmocka_unit_test(test_refuses),
	        cmocka_unit_test(test_overlaps),
	        cmocka_unit_test(test_rate),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
