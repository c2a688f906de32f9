// SPDX-License-Identifier: Apache-2.0
#include "units.h"

#include "clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct unit {
	const char *suffix;
	uint64_t factor;
};

// Smallest first.
static const struct unit size_units[] = {
        {"", 1}, {"K", UINT64_C(1) << 10}, {"M", UINT64_C(1) << 20}, {"G", UINT64_C(1) << 30}, {"T", UINT64_C(1) << 40},
};

static const struct unit time_units[] = {
        {"ms", NSEC_PER_MSEC},      {"s", NSEC_PER_SEC},         {"m", 60 * NSEC_PER_SEC},
        {"h", 3600 * NSEC_PER_SEC}, {"d", 86400 * NSEC_PER_SEC},
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static int parse(const char *text, const struct unit *units, size_t count, uint64_t *value)
{
	const char *suffix = text + strspn(text, "0123456789");
	const struct unit *unit = units;
	uint64_t number = 0;

	while (unit < units + count && strcmp(unit->suffix, suffix) != 0)
		unit++;
	if (suffix == text || unit == units + count)
		return -EINVAL;
	for (; text < suffix; text++) {
		if (__builtin_mul_overflow(number, 10, &number) ||
		    __builtin_add_overflow(number, (uint64_t)(*text - '0'), &number))
			return -ERANGE;
	}
	if (__builtin_mul_overflow(number, unit->factor, &number) || number > INT64_MAX)
		return -ERANGE;
	*value = number;
	return 0;
}

int parse_size(const char *text, uint64_t *bytes)
{
	return parse(text, size_units, COUNT(size_units), bytes);
}

int parse_duration(const char *text, uint64_t *ns)
{
	if (strcmp(text, "0") == 0) {
		*ns = 0;
		return 0;
	}
	return parse(text, time_units, COUNT(time_units), ns);
}

// In the largest unit that divides the value.
static char *format(uint64_t value, const struct unit *units, size_t count, char *text, size_t size)
{
	const struct unit *unit = units + count - 1;

	while (unit > units && (value == 0 || value % unit->factor != 0))
		unit--;
	snprintf(text, size, "%" PRIu64 "%s", value / unit->factor, unit->suffix);
	return text;
}

char *format_size(uint64_t bytes, char *text, size_t size)
{
	return format(bytes, size_units, COUNT(size_units), text, size);
}

char *format_duration(uint64_t ns, char *text, size_t size)
{
	return format(ns - ns % NSEC_PER_MSEC, time_units, COUNT(time_units), text, size);
}

char *human_size(uint64_t bytes, char *text, size_t size)
{
	static const char prefixes[] = "KMGTPE";
	const char *prefix = prefixes;
	double value = (double)bytes / 1024;

	if (bytes < 1024) {
		snprintf(text, size, "%" PRIu64 " B", bytes);
		return text;
	}
	while (value >= 1023.5) { // would be printed as 1024
		value /= 1024;
		prefix++;
	}
	snprintf(text, size, value < 99.95 ? "%.1f %ciB" : "%.0f %ciB", value, *prefix);
	return text;
}

static char *human_two(char *text, size_t size, uint64_t large, const char *large_unit, uint64_t small,
                       const char *small_unit)
{
	int length = snprintf(text, size, "%" PRIu64 " %s", large, large_unit);

	if (small > 0 && (size_t)length < size)
		snprintf(text + length, size - (size_t)length, " %" PRIu64 " %s", small, small_unit);
	return text;
}

char *human_duration(uint64_t ns, char *text, size_t size)
{
	uint64_t ms = ns / NSEC_PER_MSEC, seconds = ns / NSEC_PER_SEC;

	if (ms < 100)
		snprintf(text, size, "%" PRIu64 " ms", ms);
	else if (seconds < 10)
		snprintf(text, size, "%" PRIu64 ".%" PRIu64 " s", seconds, ms / 100 % 10);
	else if (seconds < 60)
		snprintf(text, size, "%" PRIu64 " s", seconds);
	else if (seconds < 3600)
		return human_two(text, size, seconds / 60, "min", seconds % 60, "s");
	else if (seconds < 86400)
		return human_two(text, size, seconds / 3600, "h", seconds / 60 % 60, "min");
	else
		return human_two(text, size, seconds / 86400, "d", seconds / 3600 % 24, "h");
	return text;
}
