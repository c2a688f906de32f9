// SPDX-License-Identifier: Apache-2.0
#include "common/log.h"
#include "common/log_journal.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char out[LOG_LINE_MAX];

static const char *__attribute__((format(printf, 1, 2))) format(const char *text, ...)
{
	va_list args;

	va_start(args, text);
	log_format(out, sizeof(out), text, args);
	va_end(args);
	return out;
}

static void test_plain_values(void **state)
{
	(void)state;
	assert_string_equal(
	        format("pair=%s epoch=%" PRIu64 " size=%zu n=%d x=%04x", "db", UINT64_MAX, (size_t)7, -3, 255),
	        "pair=db epoch=18446744073709551615 size=7 n=-3 x=00ff");
	assert_string_equal(format("lag=%.3fs share=%u%% at=%" PRId64, 0.4156, 50u, INT64_MIN),
	                    "lag=0.416s share=50% at=-9223372036854775808");
	assert_string_equal(format("peer=%s:%d flag", "host", 7420), "peer=host:7420 flag");
}

static void test_odd_values_are_quoted(void **state)
{
	(void)state;
	assert_string_equal(format("why=%s", "no space left"), "why=\"no space left\"");
	assert_string_equal(format("why=%s next=%d", "", 1), "why=\"\" next=1");
	assert_string_equal(format("why=%s", (const char *)NULL), "why=\"\"");
	assert_string_equal(format("why=%s", "a\"b\\c"), "why=\"a\\\"b\\\\c\"");
	assert_string_equal(format("why=%s", "a\nlevel=error\x1b[0m"), "why=\"a\\nlevel=error\\u001b[0m\"");
	assert_string_equal(format("why=%s", "x=y"), "why=\"x=y\"");
	assert_string_equal(format("path=%s why=%s", "/a b", "c"), "path=\"/a b\" why=c");
}

static void test_long_values_are_cut(void **state)
{
	char value[5000];

	(void)state;
	memset(value, 'a', sizeof(value) - 1);
	value[sizeof(value) - 1] = 0;
	format("a=%s b=%s", value, value);
	assert_true(strlen(out) < sizeof(out));
	memset(value, '\n', sizeof(value) - 1);
	format("a=%s b=%s", value, value);
	assert_true(strlen(out) < sizeof(out));
}

static size_t __attribute__((format(printf, 3, 4))) entry(char *text, size_t size, const char *format, ...)
{
	va_list args;
	size_t length;

	va_start(args, format);
	length = journal_entry(text, size, LOG_LEVEL_WARNING, "rpo-breached", format, args);
	va_end(args);
	return length;
}

static bool has(const char *text, size_t length, const char *field, size_t field_length)
{
	return memmem(text, length, field, field_length) != NULL;
}

// Each pair is a field; values are as they are, not as in the line.
static void test_journal_fields(void **state)
{
	static const char two_lines[] = "\nSTEAD_REASON\n\3\0\0\0\0\0\0\0a\nb\n";
	char text[JOURNAL_ENTRY_MAX];
	size_t length = entry(text, sizeof(text), "pair=%s lag_seconds=%.1f reason=%s x-1=%s flag", "db", 5.25, "a\nb",
	                      "c \"d\"");
#define HAS(field) assert_true(has(text, length, field, strlen(field)))

	(void)state;
	HAS("MESSAGE=rpo-breached pair=db lag_seconds=5.2 reason=\"a\\nb\" x-1=\"c \\\"d\\\"\" flag\n");
	HAS("\nPRIORITY=4\n");
	HAS("\nSYSLOG_IDENTIFIER=test-log\n");
	HAS("\nSTEAD_EVENT=rpo-breached\n");
	HAS("\nSTEAD_PAIR=db\n");
	HAS("\nSTEAD_LAG_SECONDS=5.2\n");
	HAS("\nSTEAD_X_1=c \"d\"\n");
	HAS("\nSTEAD_FLAG=\n");
	assert_true(has(text, length, two_lines, sizeof(two_lines) - 1));
	assert_int_equal(text[length - 1], '\n');
}

// What does not fit is left out as a whole.
static void test_journal_entry_is_bounded(void **state)
{
	char value[5000], text[JOURNAL_ENTRY_MAX];

	(void)state;
	memset(value, '\n', sizeof(value) - 1);
	value[sizeof(value) - 1] = 0;
	for (size_t size = 1; size < 400; size++) {
		size_t length = entry(text, size, "pair=%s why=%s", "db", value);

		assert_true(length <= size);
		assert_true(length == 0 || text[length - 1] == '\n');
	}
	assert_true(entry(text, sizeof(text), "a=%s b=%s c=%s", value, value, value) <= sizeof(text));
}

// The line as it comes out of stderr.
static void test_line(void **state)
{
	int pipes[2], saved = dup(STDERR_FILENO);
	char line[LOG_LINE_MAX];
	ssize_t count;

	(void)state;
	assert_int_equal(pipe(pipes), 0);
	dup2(pipes[1], STDERR_FILENO);
	setenv("JOURNAL_STREAM", "1:1", 1); // of somebody else
	log_event(LOG_LEVEL_WARNING, "pair-refused", "pair=%s reason=%s", "db", "no such file");
	dup2(saved, STDERR_FILENO);
	count = read(pipes[0], line, sizeof(line) - 1);
	assert_true(count > 0);
	line[count] = 0;
	assert_int_equal(line[4], '-');
	assert_int_equal(line[10], 'T');
	assert_int_equal(line[19], '.');
	assert_string_equal(line + 23, "Z warning pair-refused pair=db reason=\"no such file\"\n");
	close(pipes[0]);
	close(pipes[1]);
	close(saved);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_plain_values),
	        cmocka_unit_test(test_odd_values_are_quoted),
	        cmocka_unit_test(test_long_values_are_cut),
	        cmocka_unit_test(test_journal_fields),
	        cmocka_unit_test(test_journal_entry_is_bounded),
	        cmocka_unit_test(test_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
