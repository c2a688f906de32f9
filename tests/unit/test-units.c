// SPDX-License-Identifier: Apache-2.0
#include "common/units.h"

#include "common/clock.h"

#include <errno.h>
#include <stdlib.h>

// cmocka.h needs these before it
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define SECOND NSEC_PER_SEC
#define KIB UINT64_C(1024)

struct reading {
	const char *text;
	int error;
	uint64_t value;
};

static void check(const struct reading *readings, size_t count, int (*parse)(const char *, uint64_t *))
{
	for (size_t i = 0; i < count; i++) {
		uint64_t value = 12345;
		int error = parse(readings[i].text, &value);

		if (error != readings[i].error || value != (error ? 12345 : readings[i].value))
			fail_msg("\"%s\" gives %d and %llu", readings[i].text, error, (unsigned long long)value);
	}
}

static void test_parse_size(void **state)
{
	static const struct reading readings[] = {
	        {"0", 0, 0},
	        {"1", 0, 1},
	        {"4096", 0, 4096},
	        {"0004", 0, 4},
	        {"64K", 0, 64 * KIB},
	        {"3M", 0, 3 * KIB * KIB},
	        {"2G", 0, 2 * KIB * KIB * KIB},
	        {"5T", 0, 5 * KIB * KIB * KIB * KIB},
	        {"8388607T", 0, 8388607 * KIB * KIB * KIB * KIB},
	        {"8388608T", -ERANGE, 0},
	        {"9223372036854775807", 0, INT64_MAX},
	        {"9223372036854775808", -ERANGE, 0},
	        {"18446744073709551616", -ERANGE, 0},
	        {"99999999999999999999999", -ERANGE, 0},
	        {"18014398509481984K", -ERANGE, 0},
	        {"", -EINVAL, 0},
	        {"K", -EINVAL, 0},
	        {"-1", -EINVAL, 0},
	        {"+1", -EINVAL, 0},
	        {" 1", -EINVAL, 0},
	        {"1 ", -EINVAL, 0},
	        {"1 K", -EINVAL, 0},
	        {"1k", -EINVAL, 0},
	        {"1KB", -EINVAL, 0},
	        {"1.5G", -EINVAL, 0},
	        {"0x10", -EINVAL, 0},
	        {"1P", -EINVAL, 0},
	};

	(void)state;
	check(readings, sizeof(readings) / sizeof(readings[0]), parse_size);
}

static void test_parse_duration(void **state)
{
	static const struct reading readings[] = {
	        {"0", 0, 0},
	        {"0s", 0, 0},
	        {"500ms", 0, 500 * NSEC_PER_MSEC},
	        {"5s", 0, 5 * SECOND},
	        {"2m", 0, 120 * SECOND},
	        {"1h", 0, 3600 * SECOND},
	        {"7d", 0, 7 * 86400 * SECOND},
	        {"106751d", 0, UINT64_C(106751) * 86400 * SECOND},
	        {"106752d", -ERANGE, 0},
	        {"9223372036855ms", -ERANGE, 0},
	        {"99999999999999999999s", -ERANGE, 0},
	        {"", -EINVAL, 0},
	        {"s", -EINVAL, 0},
	        {"5", -EINVAL, 0},
	        {"00", -EINVAL, 0},
	        {"5 s", -EINVAL, 0},
	        {"5S", -EINVAL, 0},
	        {"-5s", -EINVAL, 0},
	        {"1.5s", -EINVAL, 0},
	        {"1h30m", -EINVAL, 0},
	        {"5us", -EINVAL, 0},
	        {"1w", -EINVAL, 0},
	};

	(void)state;
	check(readings, sizeof(readings) / sizeof(readings[0]), parse_duration);
}

static void test_format(void **state)
{
	char text[UNITS_TEXT_MAX];

	(void)state;
	assert_string_equal(format_size(0, text, sizeof(text)), "0");
	assert_string_equal(format_size(1000, text, sizeof(text)), "1000");
	assert_string_equal(format_size(1536, text, sizeof(text)), "1536");
	assert_string_equal(format_size(64 * KIB, text, sizeof(text)), "64K");
	assert_string_equal(format_size(KIB << 40, text, sizeof(text)), "1024T");
	assert_string_equal(format_duration(0, text, sizeof(text)), "0ms");
	assert_string_equal(format_duration(1500 * NSEC_PER_MSEC, text, sizeof(text)), "1500ms");
	assert_string_equal(format_duration(60 * SECOND, text, sizeof(text)), "1m");
	assert_string_equal(format_duration(90 * SECOND, text, sizeof(text)), "90s");
	assert_string_equal(format_duration(7 * 86400 * SECOND, text, sizeof(text)), "7d");
	assert_string_equal(format_duration(5 * NSEC_PER_MSEC + 1, text, sizeof(text)), "5ms");
	assert_string_equal(format_size(UINT64_MAX, text, sizeof(text)), "18446744073709551615");
}

static void test_formatted_reads_back(void **state)
{
	(void)state;
	srandom(1);
	for (unsigned i = 0; i < 100000; i++) {
		uint64_t value = ((uint64_t)random() << 32 | (uint64_t)random()) >> (1 + random() % 62), back;
		char text[UNITS_TEXT_MAX];

		if (random() % 2)
			value = value >> 20 << 20;
		assert_int_equal(parse_size(format_size(value, text, sizeof(text)), &back), 0);
		assert_int_equal(back, value);
		value -= value % NSEC_PER_MSEC;
		assert_int_equal(parse_duration(format_duration(value, text, sizeof(text)), &back), 0);
		assert_int_equal(back, value);
	}
}

static void test_human_size(void **state)
{
	char text[UNITS_TEXT_MAX];

	(void)state;
	assert_string_equal(human_size(0, text, sizeof(text)), "0 B");
	assert_string_equal(human_size(1023, text, sizeof(text)), "1023 B");
	assert_string_equal(human_size(1024, text, sizeof(text)), "1.0 KiB");
	assert_string_equal(human_size(1536, text, sizeof(text)), "1.5 KiB");
	assert_string_equal(human_size(100 * KIB, text, sizeof(text)), "100 KiB");
	assert_string_equal(human_size(KIB * KIB - 1, text, sizeof(text)), "1.0 MiB");
	assert_string_equal(human_size(KIB * KIB, text, sizeof(text)), "1.0 MiB");
	assert_string_equal(human_size(1023 * KIB, text, sizeof(text)), "1023 KiB");
	assert_string_equal(human_size(KIB << 30, text, sizeof(text)), "1.0 TiB");
	assert_string_equal(human_size(UINT64_MAX, text, sizeof(text)), "16.0 EiB");
}

static void test_human_duration(void **state)
{
	char text[UNITS_TEXT_MAX];

	(void)state;
	assert_string_equal(human_duration(0, text, sizeof(text)), "0 ms");
	assert_string_equal(human_duration(99 * NSEC_PER_MSEC, text, sizeof(text)), "99 ms");
	assert_string_equal(human_duration(100 * NSEC_PER_MSEC, text, sizeof(text)), "0.1 s");
	assert_string_equal(human_duration(9999 * NSEC_PER_MSEC, text, sizeof(text)), "9.9 s");
	assert_string_equal(human_duration(59 * SECOND, text, sizeof(text)), "59 s");
	assert_string_equal(human_duration(60 * SECOND, text, sizeof(text)), "1 min");
	assert_string_equal(human_duration(125 * SECOND, text, sizeof(text)), "2 min 5 s");
	assert_string_equal(human_duration(3600 * SECOND, text, sizeof(text)), "1 h");
	assert_string_equal(human_duration(12000 * SECOND, text, sizeof(text)), "3 h 20 min");
	assert_string_equal(human_duration(90000 * SECOND, text, sizeof(text)), "1 d 1 h");
	assert_string_equal(human_duration(UINT64_MAX, text, sizeof(text)), "213503 d 23 h");
}

static void test_short_buffer(void **state)
{
	char text[4];

	(void)state;
	assert_string_equal(human_duration(UINT64_MAX, text, sizeof(text)), "213");
	assert_string_equal(human_size(1023, text, sizeof(text)), "102");
	assert_string_equal(format_size(123456, text, sizeof(text)), "123");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_parse_size),   cmocka_unit_test(test_parse_duration),
	        cmocka_unit_test(test_format),       cmocka_unit_test(test_formatted_reads_back),
	        cmocka_unit_test(test_human_size),   cmocka_unit_test(test_human_duration),
	        cmocka_unit_test(test_short_buffer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
