// SPDX-License-Identifier: Apache-2.0
// The last hour of a pair: the worst of each step, what is not known as such,
// in memory that does not grow; and the page is told the same.
#include "common/feed.h"
#include "common/history.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HOUR (HISTORY_STEP * HISTORY_POINTS)

static struct history *history;
static const struct history_point calm = {.lag = 1, .change = 100, .ship = 10, .state = HISTORY_OK};
static const struct history_point breach = {.lag = 9, .change = 300, .ship = -1, .state = HISTORY_BREACHED};
static const struct history_point unknown = {-1, -1, -1, HISTORY_UNKNOWN};

static int begin(void **state)
{
	(void)state;
	history = history_new();
	assert_non_null(history);
	return 0;
}

static int end(void **state)
{
	(void)state;
	history_free(history);
	return 0;
}

// Of the step that this moment is in.
static struct history_point at(const struct history_series *series, uint64_t now)
{
	uint64_t step = now / HISTORY_STEP;

	assert_true(step >= series->first && step <= series->newest);
	return series->points[step % HISTORY_POINTS];
}

static void is(struct history_point point, double lag, double change, double ship, enum history_state state)
{
	assert_true(point.lag == (float)lag);
	assert_true(point.change == (float)change);
	assert_true(point.ship == (float)ship);
	assert_int_equal(point.state, state);
}

static void a_step_keeps_its_worst(void **state)
{
	const struct history_series *series;
	uint64_t now = 1000 * HISTORY_STEP;

	(void)state;
	series = history_add(history, "db", now, &calm);
	is(at(series, now), 1, 100, 10, HISTORY_OK);
	history_add(history, "db", now + NSEC_PER_SEC, &breach);
	is(at(series, now), 9, 200, 10, HISTORY_BREACHED);
	history_add(history, "db", now + 2 * NSEC_PER_SEC, &calm);
	history_add(history, "db", now + 3 * NSEC_PER_SEC, &unknown);
	is(at(series, now), 9, (100 + 300 + 100) / 3.0, 10, HISTORY_BREACHED);
	history_add(history, "db", now + HISTORY_STEP, &calm);
	is(at(series, now), 9, (100 + 300 + 100) / 3.0, 10, HISTORY_BREACHED);
	is(at(series, now + HISTORY_STEP), 1, 100, 10, HISTORY_OK);
}

static void what_was_not_told_is_not_known(void **state)
{
	const struct history_series *series;
	uint64_t now = 1000 * HISTORY_STEP;

	(void)state;
	history_add(history, "db", now, &calm);
	series = history_add(history, "db", now + 4 * HISTORY_STEP, &calm);
	for (unsigned i = 1; i <= 3; i++)
		is(at(series, now + i * HISTORY_STEP), -1, -1, -1, HISTORY_UNKNOWN);
	is(at(series, now), 1, 100, 10, HISTORY_OK);
	series = history_add(history, "db", now + 4 * HISTORY_STEP + 3 * HOUR, &unknown);
	assert_int_equal(series->newest - series->first, HISTORY_POINTS - 1);
	for (uint64_t step = series->first; step <= series->newest; step++)
		is(at(series, step * HISTORY_STEP), -1, -1, -1, HISTORY_UNKNOWN);
}

static void an_hour_is_kept(void **state)
{
	const struct history_series *series = NULL;
	uint64_t now = 1000 * HISTORY_STEP;

	(void)state;
	for (unsigned i = 0; i < 3 * HISTORY_POINTS; i++) {
		struct history_point moment = {.lag = (float)i, .change = -1, .ship = -1, .state = HISTORY_OK};

		series = history_add(history, "db", now + i * HISTORY_STEP, &moment);
		assert_int_equal(series->newest, 1000 + i);
		assert_int_equal(series->first, i < HISTORY_POINTS ? 1000 : 1000 + i - HISTORY_POINTS + 1);
	}
	for (uint64_t step = series->first; step <= series->newest; step++)
		is(at(series, step * HISTORY_STEP), (double)(step - 1000), -1, -1, HISTORY_OK);
}

static const char *name(unsigned number)
{
	static char text[16];

	snprintf(text, sizeof(text), "p%u", number);
	return text;
}

// Pairs come in one order, and another one may come between.
static void pairs_are_bounded_and_make_room(void **state)
{
	uint64_t now = 1000 * HISTORY_STEP;

	(void)state;
	for (unsigned round = 0; round < 3; round++)
		for (unsigned i = 0; i < HISTORY_PAIRS; i++)
			assert_string_equal(history_add(history, name(i), now, &calm)->pair, name(i));
	assert_null(history_add(history, "more", now, &calm));
	assert_null(history_series(history, HISTORY_PAIRS));
	assert_non_null(history_series(history, HISTORY_PAIRS - 1));
	for (unsigned i = 1; i < HISTORY_PAIRS; i++)
		history_add(history, name(i), now + HOUR - HISTORY_STEP, &calm);
	assert_null(history_add(history, "more", now + HOUR - HISTORY_STEP, &calm));
	assert_non_null(history_add(history, "more", now + HOUR, &breach));
	assert_null(history_series(history, HISTORY_PAIRS));
	assert_null(history_add(history, name(0), now + HOUR, &calm));
	is(at(history_add(history, name(1), now + HOUR, &calm), now + HOUR - HISTORY_STEP), 1, 100, 10, HISTORY_OK);
}

// What follows "data: " of the event that it has to be.
static json_t *data(char *text, size_t length, const char *event)
{
	char head[40];
	json_t *value;

	assert_non_null(text);
	assert_int_equal(strlen(text), length);
	snprintf(head, sizeof(head), "event: %s\ndata: ", event);
	assert_int_equal(strncmp(text, head, strlen(head)), 0);
	assert_string_equal(strchr(text + strlen(head), '\n'), "\n\n");
	value = json_loads(text + strlen(head), 0, NULL);
	assert_non_null(value);
	free(text);
	return value;
}

static json_t *now_of(struct feed *feed, const char *pairs, uint64_t now)
{
	json_t *array = json_loads(pairs, 0, NULL);
	size_t length;
	char *text;

	assert_non_null(array);
	text = feed_now(feed, array, now, 5000 * (int64_t)NSEC_PER_MSEC, &length);
	json_decref(array);
	return data(text, length, "now");
}

#define PAIR                                                                                                           \
	"[{\"pair\":\"a\\n\\\"b\",\"reason\":\"link-down\",\"lag_seconds\":%s,\"change_bytes_per_second\":7,"          \
	"\"ship_bytes_per_second\":null,\"rpo_state\":\"at-risk\",\"lag_histogram\":{},\"generation\":\"x\","          \
	"\"volumes\":[{\"name\":\"data\",\"path\":\"/secret\"}]}]"

static void the_page_is_told(void **state)
{
	struct feed *feed = feed_new("stead-agent");
	json_t *event, *pair, *series;
	uint64_t now = 1000 * HISTORY_STEP;
	char *text, pairs[512];
	size_t length;

	(void)state;
	assert_non_null(feed);
	snprintf(pairs, sizeof(pairs), PAIR, "4.25");
	event = now_of(feed, pairs, now);
	assert_string_equal(json_string_value(json_object_get(event, "program")), "stead-agent");
	assert_int_equal(json_integer_value(json_object_get(event, "step")), 1000);
	assert_int_equal(json_integer_value(json_object_get(event, "time_ms")), 5000);
	pair = json_array_get(json_object_get(event, "pairs"), 0);
	assert_string_equal(json_string_value(json_object_get(pair, "pair")), "a\n\"b");
	assert_string_equal(json_string_value(json_object_get(pair, "meaning")), "the peer cannot be reached");
	assert_null(json_object_get(pair, "lag_histogram"));
	assert_null(json_object_get(pair, "generation"));
	assert_null(json_object_get(json_array_get(json_object_get(pair, "volumes"), 0), "path"));
	json_decref(event);
	snprintf(pairs, sizeof(pairs), PAIR, "null");
	json_decref(now_of(feed, pairs, now + 2 * HISTORY_STEP));
	json_decref(now_of(feed, "[]", now + 3 * HISTORY_STEP));
	text = feed_history(feed, &length);
	event = data(text, length, "history");
	assert_int_equal(json_integer_value(json_object_get(event, "step_seconds")), 5);
	assert_int_equal(json_integer_value(json_object_get(event, "steps")), HISTORY_POINTS);
	series = json_array_get(json_object_get(event, "pairs"), 0);
	assert_int_equal(json_integer_value(json_object_get(series, "first")), 1000);
	text = json_dumps(json_object_get(series, "points"), JSON_COMPACT);
	assert_string_equal(text, "[[4.25,7.0,null,2],[null,null,null,0],[null,7.0,null,2]]");
	free(text);
	json_decref(event);
	feed_free(feed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(a_step_keeps_its_worst, begin, end),
	        cmocka_unit_test_setup_teardown(what_was_not_told_is_not_known, begin, end),
	        cmocka_unit_test_setup_teardown(an_hour_is_kept, begin, end),
	        cmocka_unit_test_setup_teardown(pairs_are_bounded_and_make_room, begin, end),
	        cmocka_unit_test(the_page_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
