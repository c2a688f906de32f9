// SPDX-License-Identifier: Apache-2.0
#include "history.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct history {
	struct history_series *series[HISTORY_PAIRS];
	unsigned count;
	unsigned next; // where the next pair is looked for first: they come in one order
};

static const struct history_point nothing = {-1, -1, -1, HISTORY_UNKNOWN};

struct history *history_new(void)
{
	return calloc(1, sizeof(struct history));
}

void history_free(struct history *history)
{
	if (!history)
		return;
	for (unsigned i = 0; i < history->count; i++)
		free(history->series[i]);
	free(history);
}

const struct history_series *history_series(const struct history *history, unsigned index)
{
	return index < history->count ? history->series[index] : NULL;
}

// A series of its own, or that of a pair that is gone for so long that nothing
// of it would be shown.
static struct history_series *begin(struct history *history, const char *pair, uint64_t step)
{
	struct history_series *series = NULL;

	if (history->count < HISTORY_PAIRS) {
		series = malloc(sizeof(*series));
		if (series)
			history->series[history->count++] = series;
	}
	for (unsigned i = 0; !series && i < history->count; i++)
		if (step - history->series[i]->newest >= HISTORY_POINTS)
			series = history->series[i];
	if (!series)
		return NULL;
	*series = (struct history_series){.first = step, .newest = step};
	snprintf(series->pair, sizeof(series->pair), "%s", pair);
	series->points[step % HISTORY_POINTS] = nothing;
	return series;
}

static struct history_series *find(struct history *history, const char *pair)
{
	for (unsigned i = 0; i < history->count; i++) {
		unsigned index = (history->next + i) % history->count;

		if (!strcmp(history->series[index]->pair, pair)) {
			history->next = index + 1;
			return history->series[index];
		}
	}
	return NULL;
}

// Nothing is known of the steps between.
static void go_to(struct history_series *series, uint64_t step)
{
	if (step == series->newest)
		return;
	if (step - series->newest > HISTORY_POINTS)
		series->newest = step - HISTORY_POINTS;
	while (series->newest < step)
		series->points[++series->newest % HISTORY_POINTS] = nothing;
	if (step - series->first >= HISTORY_POINTS)
		series->first = step - HISTORY_POINTS + 1;
	series->changes = series->ships = 0;
}

static void take_mean(float *mean, unsigned *count, float value)
{
	if (value < 0)
		return;
	if (++*count == 1)
		*mean = value;
	else
		*mean += (value - *mean) / (float)*count;
}

const struct history_series *history_add(struct history *history, const char *pair, uint64_t now,
                                         const struct history_point *moment)
{
	struct history_series *series = find(history, pair);
	uint64_t step = now / HISTORY_STEP;
	struct history_point *point;

	if (!series)
		series = begin(history, pair, step);
	if (!series)
		return NULL;
	go_to(series, step);
	point = &series->points[step % HISTORY_POINTS];
	if (moment->lag > point->lag)
		point->lag = moment->lag;
	if (moment->state > point->state)
		point->state = moment->state;
	take_mean(&point->change, &series->changes, moment->change);
	take_mean(&point->ship, &series->ships, moment->ship);
	return series;
}
