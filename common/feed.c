// SPDX-License-Identifier: Apache-2.0
#include "feed.h"
#include "history.h"
#include "reason.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TEXT_FLAGS (JSON_COMPACT | JSON_REAL_PRECISION(6))

struct feed {
	const char *program;
	char node[65];
	pthread_mutex_t mutex; // of the history
	struct history *history;
};

static const char *const state_names[] = {
        [HISTORY_UNKNOWN] = NULL,
        [HISTORY_OK] = "ok",
        [HISTORY_AT_RISK] = "at-risk",
        [HISTORY_BREACHED] = "breached",
};

struct feed *feed_new(const char *program)
{
	struct feed *feed = calloc(1, sizeof(*feed));

	if (!feed)
		return NULL;
	feed->program = program;
	if (gethostname(feed->node, sizeof(feed->node) - 1) < 0)
		strcpy(feed->node, "unknown");
	pthread_mutex_init(&feed->mutex, NULL);
	feed->history = history_new();
	if (feed->history)
		return feed;
	feed_free(feed);
	return NULL;
}

void feed_free(struct feed *feed)
{
	if (!feed)
		return;
	history_free(feed->history);
	pthread_mutex_destroy(&feed->mutex);
	free(feed);
}

static float number(json_t *pair, const char *key)
{
	json_t *value = json_object_get(pair, key);

	return json_is_number(value) ? (float)json_number_value(value) : -1;
}

static struct history_point moment_of(json_t *pair)
{
	const char *state = json_string_value(json_object_get(pair, "rpo_state"));
	struct history_point moment = {.lag = number(pair, "lag_seconds"),
	                               .change = number(pair, "change_bytes_per_second"),
	                               .ship = number(pair, "ship_bytes_per_second")};

	for (unsigned i = HISTORY_OK; state && i <= HISTORY_BREACHED; i++)
		if (!strcmp(state, state_names[i]))
			moment.state = i;
	return moment;
}

// Digits that a plot shows, and no more.
static json_t *rounded(float value, double digits)
{
	return value < 0 ? json_null() : json_real((double)(int64_t)(value * digits) / digits);
}

static json_t *point_json(const struct history_point *point)
{
	return json_pack("[o,o,o,i]", rounded(point->lag, 1000), rounded(point->change, 1), rounded(point->ship, 1),
	                 point->state);
}

static void trim_volumes(json_t *volumes)
{
	json_t *volume;
	size_t i;

	json_array_foreach(volumes, i, volume)
	{
		json_object_del(volume, "path");
	}
}

// Into the history, and to what the page is told of it.
static void take(struct feed *feed, json_t *pair, uint64_t now)
{
	const char *name = json_string_value(json_object_get(pair, "pair")),
	           *reason = json_string_value(json_object_get(pair, "reason")),
	           *meaning = reason ? reason_meaning(reason) : NULL;
	const struct history_point moment = moment_of(pair);
	const struct history_series *series = NULL;
	json_t *point = NULL;

	pthread_mutex_lock(&feed->mutex);
	if (name)
		series = history_add(feed->history, name, now, &moment);
	if (series)
		point = point_json(&series->points[series->newest % HISTORY_POINTS]);
	pthread_mutex_unlock(&feed->mutex);
	json_object_set_new(pair, "point", point ? point : json_null());
	json_object_set_new(pair, "meaning", meaning ? json_string(meaning) : json_null());
	json_object_del(pair, "lag_histogram");
	json_object_del(pair, "generation");
	trim_volumes(json_object_get(pair, "volumes"));
}

// The text of an event; takes the value over.
static char *event_text(const char *name, json_t *value, size_t *length)
{
	char *text = NULL;
	FILE *out = value ? open_memstream(&text, length) : NULL;
	int failed;

	if (!out) {
		json_decref(value);
		return NULL;
	}
	fprintf(out, "event: %s\ndata: ", name);
	failed = json_dumpf(value, out, TEXT_FLAGS);
	fprintf(out, "\n\n");
	json_decref(value);
	failed |= ferror(out);
	if (fclose(out) == 0 && !failed)
		return text;
	free(text);
	return NULL;
}

char *feed_now(struct feed *feed, json_t *pairs, uint64_t now, int64_t wall, size_t *length)
{
	json_t *pair;
	size_t i;

	json_array_foreach(pairs, i, pair)
	{
		take(feed, pair, now);
	}
	return event_text("now",
	                  json_pack("{s:s,s:s,s:s,s:I,s:I,s:O}", "program", feed->program, "version", STEAD_VERSION,
	                            "node", feed->node, "time_ms", (json_int_t)(wall / (int64_t)NSEC_PER_MSEC), "step",
	                            (json_int_t)(now / HISTORY_STEP), "pairs", pairs),
	                  length);
}

static json_t *series_json(const struct history_series *series)
{
	json_t *points = json_array();

	for (uint64_t step = series->first; step <= series->newest; step++)
		json_array_append_new(points, point_json(&series->points[step % HISTORY_POINTS]));
	return json_pack("{s:s,s:I,s:o}", "pair", series->pair, "first", (json_int_t)series->first, "points", points);
}

char *feed_history(void *user, size_t *length)
{
	struct history_series *copy = malloc(sizeof(*copy));
	struct feed *feed = user;
	json_t *pairs = json_array();
	bool more = copy;

	for (unsigned i = 0; more; i++) {
		const struct history_series *series;

		pthread_mutex_lock(&feed->mutex);
		series = history_series(feed->history, i);
		if (series)
			*copy = *series;
		pthread_mutex_unlock(&feed->mutex);
		more = series;
		if (more)
			json_array_append_new(pairs, series_json(copy));
	}
	free(copy);
	return event_text("history",
	                  json_pack("{s:i,s:i,s:o}", "step_seconds", (int)(HISTORY_STEP / NSEC_PER_SEC), "steps",
	                            HISTORY_POINTS, "pairs", pairs),
	                  length);
}
