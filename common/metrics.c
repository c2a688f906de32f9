// SPDX-License-Identifier: Apache-2.0
#include "metrics.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind {
	GAUGE,
	COUNTER, // its name ends in _total
	FLAG, // true is 1
};

struct metric {
	const char *name, *unit; // without stead_ and, for a counter, _total; unit NULL: none
	enum kind kind;
	const char *path; // in the status, from object to object by dots
	const char *help;
};

static const struct metric pair_metrics[] = {
        {"lag_seconds", "seconds", GAUGE, "lag_seconds", "What a disaster now would lose."},
        {"rpo_seconds", "seconds", GAUGE, "rpo_seconds", "The limit that is set for the lag."},
        {"rto_seconds", "seconds", GAUGE, "rto_seconds", "The limit that is set for a promotion."},
        {"breach_seconds", "seconds", COUNTER, "breach_seconds_total", "For how long the RPO was breached."},
        {"connected", NULL, FLAG, "connected", "Whether the two nodes talk."},
        {"promotable", NULL, FLAG, "promotable", "Whether the standby could be promoted now."},
        {"behind_bytes", "bytes", GAUGE, "bytes_behind", "Changed blocks that are not durable on the standby."},
        {"change_bytes_per_second", NULL, GAUGE, "change_bytes_per_second", "Rate at which blocks change."},
        {"ship_bytes_per_second", NULL, GAUGE, "ship_bytes_per_second", "Rate on the wire."},
        {"wire_bytes", "bytes", COUNTER, "wire_bytes_total", "Bytes on the wire: sent, or received."},
        {"eta_seconds", "seconds", GAUGE, "eta_seconds", "Until the standby is in step."},
        {"sync_done_bytes", "bytes", GAUGE, "sync.done_bytes", "Looked through by the sync under way."},
        {"sync_size_bytes", "bytes", GAUGE, "sync.total_bytes", "To be looked through by the sync under way."},
        {"recovery_point_age_seconds", "seconds", GAUGE, "recovery_point.age_seconds",
         "Age of the newest point that could be promoted to."},
        {"recovery_point_epoch", NULL, GAUGE, "recovery_point.epoch", "Its epoch."},
        {"epoch_open", NULL, GAUGE, "epoch.open", "Epoch that takes the writes."},
        {"epoch_durable", NULL, GAUGE, "epoch.durable", "Newest epoch that is durable on the standby."},
        {"epoch_applied", NULL, GAUGE, "epoch.applied", "Newest epoch in the standby's volumes."},
};

static const struct metric volume_metrics[] = {
        {"volume_size_bytes", "bytes", GAUGE, "bytes", "Size of the volume."},
        {"volume_dirty_bytes", "bytes", GAUGE, "dirty_bytes",
         "Its changed blocks that are not durable on the standby."},
};

// One of several words, as one sample for each that is 1 or 0.
struct word_metric {
	const char *name, *label, *path, *help;
	const char *words[12];
};

static const struct word_metric word_metrics[] = {
        {"state",
         "state",
         "state",
         "The state of the pair: 1 for the one it is in.",
         {"waiting", "full-sync", "resync", "replicating", "paused", "diverged", "split-brain", "refused", "demoted"}},
        {"rpo_state",
         "state",
         "rpo_state",
         "Whether the RPO is held: 1 for what is so.",
         {"ok", "at-risk", "breached"}},
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct page {
	FILE *out;
	json_t *pairs;
	enum metrics_format format;
};

const char *metrics_content_type(enum metrics_format format)
{
	return format == METRICS_OPENMETRICS ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
	                                     : "text/plain; version=0.0.4; charset=utf-8";
}

static void put_family(const struct page *page, const char *name, const char *type, const char *unit, const char *help)
{
	// A counter's family has the name of its samples in one format only.
	bool suffix = page->format == METRICS_PROMETHEUS && !strcmp(type, "counter");

	fprintf(page->out, "# HELP stead_%s%s %s\n", name, suffix ? "_total" : "", help);
	fprintf(page->out, "# TYPE stead_%s%s %s\n", name, suffix ? "_total" : "", type);
	if (unit && page->format == METRICS_OPENMETRICS)
		fprintf(page->out, "# UNIT stead_%s %s\n", name, unit);
}

static const char *text_of(json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

// Names of pairs and volumes need no escaping: see name_valid().
static void put_labels(const struct page *page, json_t *pair)
{
	fprintf(page->out, "{pair=\"%s\",role=\"%s\"", text_of(pair, "pair"), text_of(pair, "role"));
}

static json_t *find(json_t *object, const char *path)
{
	const char *dot = strchr(path, '.');
	char key[40];

	if (!dot)
		return json_object_get(object, path);
	snprintf(key, sizeof(key), "%.*s", (int)(dot - path), path);
	return find(json_object_get(object, key), dot + 1);
}

static bool known(json_t *value)
{
	return json_is_number(value) || json_is_boolean(value);
}

static void put_value(const struct page *page, json_t *value)
{
	if (json_is_boolean(value))
		fprintf(page->out, "} %d\n", json_is_true(value));
	else if (json_is_integer(value))
		fprintf(page->out, "} %lld\n", (long long)json_integer_value(value));
	else
		fprintf(page->out, "} %.15g\n", json_number_value(value));
}

static void put_sample(const struct page *page, const struct metric *metric, json_t *pair, const char *volume,
                       json_t *value)
{
	if (!known(value))
		return;
	fprintf(page->out, "stead_%s%s", metric->name, metric->kind == COUNTER ? "_total" : "");
	put_labels(page, pair);
	if (volume)
		fprintf(page->out, ",volume=\"%s\"", volume);
	put_value(page, value);
}

static void put_metric(const struct page *page, const struct metric *metric, bool of_volumes)
{
	json_t *pair, *volume;
	size_t i, j;

	put_family(page, metric->name, metric->kind == COUNTER ? "counter" : "gauge", metric->unit, metric->help);
	json_array_foreach(page->pairs, i, pair)
	{
		if (!of_volumes) {
			put_sample(page, metric, pair, NULL, find(pair, metric->path));
			continue;
		}
		json_array_foreach(json_object_get(pair, "volumes"), j, volume)
		{
			put_sample(page, metric, pair, text_of(volume, "name"), find(volume, metric->path));
		}
	}
}

static void put_words(const struct page *page, const struct word_metric *metric)
{
	json_t *pair;
	size_t i;

	put_family(page, metric->name, "gauge", NULL, metric->help);
	json_array_foreach(page->pairs, i, pair)
	{
		const char *word = text_of(pair, metric->path);

		for (unsigned j = 0; *word && metric->words[j]; j++) {
			fprintf(page->out, "stead_%s", metric->name);
			put_labels(page, pair);
			fprintf(page->out, ",%s=\"%s\"} %d\n", metric->label, metric->words[j],
			        !strcmp(word, metric->words[j]));
		}
	}
}

// A reason may be a sentence for people: no label.
static const char *reason_code(const char *reason)
{
	return strspn(reason, "abcdefghijklmnopqrstuvwxyz-") == strlen(reason) ? reason : "other";
}

static void put_reasons(const struct page *page)
{
	json_t *pair;
	size_t i;

	put_family(page, "reason", "gauge", NULL, "Why the state of the pair is not better: 1 for the reason, if any.");
	json_array_foreach(page->pairs, i, pair)
	{
		const char *reason = text_of(pair, "reason");

		if (!*reason)
			continue;
		fprintf(page->out, "stead_reason");
		put_labels(page, pair);
		fprintf(page->out, ",reason=\"%s\"} 1\n", reason_code(reason));
	}
}

static void put_bucket(const struct page *page, json_t *pair, const char *bound, json_int_t count)
{
	fprintf(page->out, "stead_lag_distribution_seconds_bucket");
	put_labels(page, pair);
	fprintf(page->out, ",le=\"%s\"} %lld\n", bound, (long long)count);
}

#define BOUND_MAX 32

// As the formats want it: always with a fraction.
static void bound_text(double bound, char text[BOUND_MAX])
{
	snprintf(text, BOUND_MAX, "%.10g", bound);
	if (!strpbrk(text, ".e"))
		strcat(text, ".0");
}

static void put_histogram(const struct page *page, json_t *pair)
{
	json_t *histogram = json_object_get(pair, "lag_histogram");
	json_t *bounds = json_object_get(histogram, "bounds_seconds"), *counts = json_object_get(histogram, "counts");
	json_int_t count = 0;
	json_t *value;
	size_t i;

	if (!histogram)
		return;
	json_array_foreach(counts, i, value)
	{
		char bound[BOUND_MAX] = "+Inf";

		if (i < json_array_size(bounds))
			bound_text(json_number_value(json_array_get(bounds, i)), bound);
		count += json_integer_value(value);
		put_bucket(page, pair, bound, count);
	}
	fprintf(page->out, "stead_lag_distribution_seconds_sum");
	put_labels(page, pair);
	put_value(page, json_object_get(histogram, "sum_seconds"));
	fprintf(page->out, "stead_lag_distribution_seconds_count");
	put_labels(page, pair);
	fprintf(page->out, "} %lld\n", (long long)count);
}

static void put_all(const struct page *page)
{
	json_t *pair;
	size_t i;

	put_family(page, "build_info", "gauge", NULL, "The version, and always 1.");
	fprintf(page->out, "stead_build_info{version=\"%s\"} 1\n", STEAD_VERSION);
	for (i = 0; i < COUNT(pair_metrics); i++)
		put_metric(page, &pair_metrics[i], false);
	for (i = 0; i < COUNT(word_metrics); i++)
		put_words(page, &word_metrics[i]);
	put_reasons(page);
	for (i = 0; i < COUNT(volume_metrics); i++)
		put_metric(page, &volume_metrics[i], true);
	put_family(page, "lag_distribution_seconds", "histogram", "seconds", "The lag, looked at twice a second.");
	json_array_foreach(page->pairs, i, pair)
	{
		put_histogram(page, pair);
	}
	if (page->format == METRICS_OPENMETRICS)
		fprintf(page->out, "# EOF\n");
}

// Without those that are still being opened: a role that is empty for a moment
// would make series of its own.
static json_t *with_role(json_t *pairs)
{
	json_t *array = json_array(), *pair;
	size_t i;

	json_array_foreach(pairs, i, pair)
	{
		if (*text_of(pair, "role"))
			json_array_append(array, pair);
	}
	return array;
}

char *metrics_text(json_t *pairs, enum metrics_format format, size_t *length)
{
	char *text = NULL;
	struct page page = {.out = open_memstream(&text, length), .format = format};
	bool failed;

	if (!page.out)
		return NULL;
	page.pairs = with_role(pairs);
	put_all(&page);
	json_decref(page.pairs);
	failed = ferror(page.out);
	if (fclose(page.out) != 0 || failed) {
		free(text);
		return NULL;
	}
	return text;
}
