// SPDX-License-Identifier: Apache-2.0
// Limits of the bandwidth by the time of day: `bandwidth 08:00-18:00 = 5M` in a
// pair's configuration, local time, across midnight where the end comes first.
#ifndef STEAD_HOURS_H
#define STEAD_HOURS_H

#include "error.h"

#include <stddef.h>
#include <stdint.h>

#define HOURS_MAX 8
#define HOURS_TEXT_MAX 48

struct hours {
	uint16_t begin, end; // minutes since midnight; the end is not in them
	uint64_t rate; // bytes a second; 0: no limit
};

// "08:00-18:00 = 5M", or none for the rate. 0 or -EINVAL with what would be right.
int hours_parse(const char *text, struct hours *hours, struct error *err);

// What hours_parse() reads back. Returns text.
char *hours_format(const struct hours *hours, char text[HOURS_TEXT_MAX]);

// 0, or -EINVAL with the reason: out of range, or two at the same time.
int hours_check(const struct hours *hours, unsigned count, struct error *err);

// The limit at a minute of the day: what the hours say, or else otherwise.
uint64_t hours_rate(const struct hours *hours, unsigned count, unsigned minute, uint64_t otherwise);

#endif
