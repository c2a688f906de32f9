// SPDX-License-Identifier: Apache-2.0
// Metrics say what the status says, in both formats, and leave out what is not
// known.
#include "common/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char status[] =
        "[{\"pair\": \"db\", \"role\": \"primary\", \"state\": \"replicating\", \"reason\": \"link-down\","
        "  \"connected\": false, \"promotable\": null, \"lag_seconds\": 0.41, \"rpo_seconds\": 5, \"rpo_state\": \"at-risk\","
        "  \"breach_seconds_total\": 12.5, \"wire_bytes_total\": 9007199254740993, \"sync\": null,"
        "  \"recovery_point\": {\"epoch\": 42, \"age_seconds\": 1},"
        "  \"volumes\": [{\"name\": \"data\", \"bytes\": 4096, \"dirty_bytes\": 0}, {\"name\": \"log\", \"bytes\": null}],"
        "  \"lag_histogram\": {\"bounds_seconds\": [0.1, 1, 7200], \"counts\": [3, 0, 1, 2], \"sum_seconds\": 9.5}},"
        " {\"pair\": \"web\", \"role\": \"standby\", \"state\": \"refused\", \"reason\": \"volume \\\"a\\\": no\\nfile\","
        "  \"rpo_state\": null, \"volumes\": []},"
        " {\"pair\": \"mail\", \"role\": null, \"state\": \"waiting\", \"reason\": \"opening\", \"rpo_seconds\": 5, \"volumes\": []}]";

static char *make(enum metrics_format format)
{
	json_error_t error;
	json_t *pairs = json_loads(status, 0, &error);
	size_t length;
	char *text;

	assert_non_null(pairs);
	text = metrics_text(pairs, format, &length);
	json_decref(pairs);
	assert_non_null(text);
	assert_int_equal(strlen(text), length);
	return text;
}

static bool has_line(const char *text, const char *line)
{
	size_t length = strlen(line);

	for (const char *at = text; at; at = strchr(at, '\n'), at = at ? at + 1 : NULL)
		if (!strncmp(at, line, length) && at[length] == '\n')
			return true;
	return false;
}

#define DB "{pair=\"db\",role=\"primary\""

static void samples_are_those_of_the_status(void **state)
{
	static const char *const lines[] = {
	        "stead_lag_seconds" DB "} 0.41",
	        "stead_rpo_seconds" DB "} 5",
	        "stead_breach_seconds_total" DB "} 12.5",
	        "stead_wire_bytes_total" DB "} 9007199254740993",
	        "stead_connected" DB "} 0",
	        "stead_recovery_point_epoch" DB "} 42",
	        "stead_state" DB ",state=\"replicating\"} 1",
	        "stead_state" DB ",state=\"full-sync\"} 0",
	        "stead_rpo_state" DB ",state=\"at-risk\"} 1",
	        "stead_reason" DB ",reason=\"link-down\"} 1",
	        "stead_reason{pair=\"web\",role=\"standby\",reason=\"other\"} 1",
	        "stead_volume_size_bytes" DB ",volume=\"data\"} 4096",
	        "stead_volume_dirty_bytes" DB ",volume=\"data\"} 0",
	        "stead_lag_distribution_seconds_bucket" DB ",le=\"0.1\"} 3",
	        "stead_lag_distribution_seconds_bucket" DB ",le=\"1.0\"} 3",
	        "stead_lag_distribution_seconds_bucket" DB ",le=\"7200.0\"} 4",
	        "stead_lag_distribution_seconds_bucket" DB ",le=\"+Inf\"} 6",
	        "stead_lag_distribution_seconds_sum" DB "} 9.5",
	        "stead_lag_distribution_seconds_count" DB "} 6",
	};

	(void)state;
	for (int format = 0; format < METRICS_FORMATS; format++) {
		char *text = make((enum metrics_format)format);

		for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
			if (!has_line(text, lines[i]))
				fail_msg("no line %s", lines[i]);
		free(text);
	}
}

static void what_is_not_known_is_left_out(void **state)
{
	char *text = make(METRICS_PROMETHEUS);

	(void)state;
	assert_null(strstr(text, "stead_promotable{"));
	assert_null(strstr(text, "stead_sync_done_bytes{"));
	assert_null(strstr(text, "volume=\"log\""));
	assert_null(strstr(text, "stead_rpo_state{pair=\"web\""));
	assert_null(strstr(text, "null"));
	assert_null(strstr(text, "pair=\"mail\"")); // its role comes in a moment
	free(text);
}

static void counters_are_named_as_each_format_wants(void **state)
{
	char *prometheus = make(METRICS_PROMETHEUS), *openmetrics = make(METRICS_OPENMETRICS);

	(void)state;
	assert_true(has_line(prometheus, "# TYPE stead_wire_bytes_total counter"));
	assert_null(strstr(prometheus, "# EOF"));
	assert_true(has_line(openmetrics, "# TYPE stead_wire_bytes counter"));
	assert_true(has_line(openmetrics, "# UNIT stead_wire_bytes bytes"));
	assert_string_equal(openmetrics + strlen(openmetrics) - 6, "# EOF\n");
	free(prometheus);
	free(openmetrics);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(samples_are_those_of_the_status),
	        cmocka_unit_test(what_is_not_known_is_left_out),
	        cmocka_unit_test(counters_are_named_as_each_format_wants),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
