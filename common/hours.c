// SPDX-License-Identifier: Apache-2.0
#include "hours.h"

#include "units.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define DAY (24 * 60)
#define RATE_MIN 4096

static bool read_minute(const char **text, uint16_t *minute)
{
	unsigned hour, rest;
	int length = 0;

	if (sscanf(*text, "%2u:%2u%n", &hour, &rest, &length) != 2 || length != 5 || hour > 23 || rest > 59)
		return false;
	*minute = (uint16_t)(hour * 60 + rest);
	*text += length;
	return true;
}

int hours_parse(const char *text, struct hours *hours, struct error *err)
{
	const char *at = text;
	bool times = read_minute(&at, &hours->begin) && *at++ == '-' && read_minute(&at, &hours->end);

	if (!times || hours->begin == hours->end)
		return fail(err, EINVAL, "bandwidth %.40s: the hours are no hours; write them as 08:00-18:00", text);
	at += strspn(at, " \t");
	if (*at++ != '=')
		return fail(err, EINVAL, "bandwidth %.40s has no value; give a rate, for example 5M, or none", text);
	at += strspn(at, " \t");
	hours->rate = 0;
	if (strcmp(at, "none") != 0 && (parse_size(at, &hours->rate) < 0 || hours->rate < RATE_MIN))
		return fail(err, EINVAL,
		            "bandwidth %.40s is no rate; write bytes a second from 4K on with K, M, G or T, or none",
		            text);
	return 0;
}

char *hours_format(const struct hours *hours, char text[HOURS_TEXT_MAX])
{
	char rate[UNITS_TEXT_MAX] = "none";

	if (hours->rate)
		format_size(hours->rate, rate, sizeof(rate));
	snprintf(text, HOURS_TEXT_MAX, "%02u:%02u-%02u:%02u = %s", hours->begin / 60U % 24, hours->begin % 60U,
	         hours->end / 60U % 24, hours->end % 60U, rate);
	return text;
}

static bool within(const struct hours *hours, unsigned minute)
{
	unsigned length = (unsigned)(hours->end + DAY - hours->begin) % DAY;

	return (minute + DAY - hours->begin) % DAY < length;
}

int hours_check(const struct hours *hours, unsigned count, struct error *err)
{
	char one[HOURS_TEXT_MAX], other[HOURS_TEXT_MAX];

	for (unsigned i = 0; i < count; i++) {
		if (hours[i].begin >= DAY || hours[i].end >= DAY || hours[i].begin == hours[i].end ||
		    (hours[i].rate && hours[i].rate < RATE_MIN))
			return fail(err, EINVAL, "hours of bandwidth are out of range");
		for (unsigned j = 0; j < i; j++)
			if (within(&hours[i], hours[j].begin) || within(&hours[j], hours[i].begin))
				return fail(err, EINVAL, "bandwidth %s and %s are at the same time",
				            hours_format(&hours[j], one), hours_format(&hours[i], other));
	}
	return 0;
}

uint64_t hours_rate(const struct hours *hours, unsigned count, unsigned minute, uint64_t otherwise)
{
	for (unsigned i = 0; i < count; i++)
		if (within(&hours[i], minute))
			return hours[i].rate;
	return otherwise;
}
