// SPDX-License-Identifier: Apache-2.0
// The status of pairs as metrics: the same names and numbers as in `stead
// status --json`, for both daemons. docs/metrics.md lists them.
#ifndef STEAD_METRICS_H
#define STEAD_METRICS_H

#include <jansson.h>
#include <stddef.h>

enum metrics_format {
	METRICS_PROMETHEUS, // text format 0.0.4
	METRICS_OPENMETRICS, // 1.0.0
	METRICS_FORMATS,
};

const char *metrics_content_type(enum metrics_format format);

// pairs is an array of what status_json() makes; what is null there is left
// out. The text is the caller's; NULL without memory.
char *metrics_text(json_t *pairs, enum metrics_format format, size_t *length);

#endif
