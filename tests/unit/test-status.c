// SPDX-License-Identifier: Apache-2.0
// The status of a pair: exactly the promised fields from either role, honest
// numbers, and null for what is not known.
#include "agent/report.h"
#include "receiver/report.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define SEC ((int64_t)NSEC_PER_SEC)
#define START (INT64_C(1769860800) * SEC) // 2026-01-31T12:00:00Z

static uint64_t now_value;
static int64_t wall_value;

static uint64_t fixed_now(struct clock *clock)
{
	(void)clock;
	return now_value;
}

static int64_t fixed_wall(struct clock *clock)
{
	(void)clock;
	return wall_value;
}

static const struct clock_ops ops = {.now = fixed_now, .wall = fixed_wall};
static struct clock fixed = {&ops};
static struct pair_config config;

static int prepare(void **state)
{
	(void)state;
	now_value = 1000 * NSEC_PER_SEC;
	wall_value = START;
	config_init(&config);
	strcpy(config.name, "db");
	strcpy(config.peer, "other:7420");
	config.volume_count = 2;
	strcpy(config.volumes[0].name, "data");
	strcpy(config.volumes[0].path, "/dev/data");
	strcpy(config.volumes[1].name, "log");
	strcpy(config.volumes[1].path, "/dev/log");
	config.volumes[1].export = EXPORT_SOCKET;
	return 0;
}

static void expect_keys(json_t *object, const char *const *keys)
{
	const char *key;
	json_t *value;
	size_t i = 0;

	assert_true(json_is_object(object));
	json_object_foreach(object, key, value)
	{
		assert_non_null(keys[i]);
		assert_string_equal(key, keys[i]);
		i++;
	}
	assert_null(keys[i]);
}

static void expect_fields(json_t *json)
{
	static const char *const top[] = {"pair",
	                                  "node",
	                                  "role",
	                                  "state",
	                                  "reason",
	                                  "connected",
	                                  "peer",
	                                  "generation",
	                                  "epoch",
	                                  "lag_seconds",
	                                  "rpo_seconds",
	                                  "rto_seconds",
	                                  "rpo_state",
	                                  "breach_seconds_total",
	                                  "bytes_behind",
	                                  "change_bytes_per_second",
	                                  "ship_bytes_per_second",
	                                  "wire_bytes_total",
	                                  "eta_seconds",
	                                  "sync",
	                                  "promotable",
	                                  "recovery_point",
	                                  "volumes",
	                                  "divergence",
	                                  "redo",
	                                  "lag_histogram",
	                                  NULL};
	static const char *const epoch[] = {"open", "durable", "applied", NULL};
	static const char *const sync[] = {"done_bytes", "total_bytes", NULL};
	static const char *const point[] = {"epoch", "time", "age_seconds", NULL};
	static const char *const volume[] = {"name", "path", "bytes", "export", "device", "dirty_bytes", NULL};
	json_t *volumes = json_object_get(json, "volumes");

	expect_keys(json, top);
	expect_keys(json_object_get(json, "epoch"), epoch);
	if (!json_is_null(json_object_get(json, "sync")))
		expect_keys(json_object_get(json, "sync"), sync);
	if (!json_is_null(json_object_get(json, "recovery_point")))
		expect_keys(json_object_get(json, "recovery_point"), point);
	assert_int_equal(json_array_size(volumes), config.volume_count);
	for (size_t i = 0; i < json_array_size(volumes); i++)
		expect_keys(json_array_get(volumes, i), volume);
}

static struct id generation = {{0xab, 0xcd, [15] = 1}};
static struct rpo_watch watch;

static json_t *primary(const struct source_status *source)
{
	struct source_report report = {.config = &config,
	                               .status = source,
	                               .generation = &generation,
	                               .volume_bytes = {4096, 8192},
	                               .devices = {"/run/stead/db-data.sock", NULL}};
	struct pair_status status;
	json_t *json;

	report_source(&report, &fixed, &watch, &status);
	json = status_json(&status);
	expect_fields(json);
	return json;
}

static json_t *standby(const struct sink_status *sink)
{
	struct pair_status status;
	json_t *json;

	report_sink(&config, sink, &fixed, &watch, &status);
	json = status_json(&status);
	expect_fields(json);
	return json;
}

static void expect_text(json_t *json, const char *key, const char *text)
{
	json_t *value = json_object_get(json, key);

	assert_non_null(value);
	if (text)
		assert_string_equal(json_string_value(value), text);
	else
		assert_true(json_is_null(value));
}

static void expect_number(json_t *json, const char *key, double number)
{
	json_t *value = json_object_get(json, key);

	assert_true(json_is_number(value));
	assert_true(json_number_value(value) > number - 0.0005 && json_number_value(value) < number + 0.0005);
}

static void expect_null(json_t *json, const char *key)
{
	assert_true(json_is_null(json_object_get(json, key)));
}

static void primary_in_step(void **state)
{
	struct source_status source = {
	        .state = SOURCE_STATE_REPLICATING,
	        .connected = true,
	        .serving = true,
	        .peer = "192.0.2.7:7420",
	        .open = 43,
	        .durable = 42,
	        .applied = 41,
	        .lag = 410 * NSEC_PER_MSEC,
	        .bytes_behind = 1 << 20,
	        .change_rate = 100,
	        .ship_rate = 50,
	        .wire_bytes = 12345,
	        .eta = -1,
	        .recovery_point = START - SEC / 2,
	        .volume_dirty = {4096, 0},
	};
	json_t *json, *volumes, *point;

	(void)state;
	watch = (struct rpo_watch){0};
	json = primary(&source);
	expect_text(json, "pair", "db");
	expect_text(json, "role", "primary");
	expect_text(json, "state", "replicating");
	expect_text(json, "reason", NULL);
	assert_true(json_is_true(json_object_get(json, "connected")));
	expect_text(json, "peer", "192.0.2.7:7420");
	expect_text(json, "generation", "abcd0000000000000000000000000001");
	expect_number(json_object_get(json, "epoch"), "open", 43);
	expect_number(json_object_get(json, "epoch"), "durable", 42);
	expect_number(json_object_get(json, "epoch"), "applied", 41);
	expect_number(json, "lag_seconds", 0.41);
	expect_number(json, "rpo_seconds", 5);
	assert_true(json_is_integer(json_object_get(json, "rpo_seconds")));
	expect_number(json, "rto_seconds", 60);
	expect_text(json, "rpo_state", "ok");
	expect_number(json, "breach_seconds_total", 0);
	expect_number(json, "bytes_behind", 1 << 20);
	expect_null(json, "eta_seconds");
	expect_null(json, "sync");
	assert_true(json_is_true(json_object_get(json, "promotable")));
	point = json_object_get(json, "recovery_point");
	expect_number(point, "epoch", 42);
	expect_text(point, "time", "2026-01-31T11:59:59.500Z");
	expect_number(point, "age_seconds", 0.5);
	volumes = json_object_get(json, "volumes");
	expect_text(json_array_get(volumes, 0), "device", "/run/stead/db-data.sock");
	expect_text(json_array_get(volumes, 0), "export", "auto");
	expect_number(json_array_get(volumes, 0), "bytes", 4096);
	expect_number(json_array_get(volumes, 0), "dirty_bytes", 4096);
	expect_text(json_array_get(volumes, 1), "device", NULL);
	expect_number(json_array_get(volumes, 1), "dirty_bytes", 0);
	json_decref(json);
}

static void primary_that_has_heard_nothing(void **state)
{
	struct source_status source = {.state = SOURCE_STATE_WAITING, .reason = "link-down", .eta = -1};
	json_t *json;

	(void)state;
	watch = (struct rpo_watch){0};
	json = primary(&source);
	expect_text(json, "state", "waiting");
	expect_text(json, "reason", "link-down");
	expect_text(json, "peer", "other:7420"); // as configured
	expect_null(json_object_get(json, "epoch"), "open");
	expect_null(json_object_get(json, "epoch"), "durable");
	expect_null(json, "promotable");
	expect_null(json, "recovery_point");
	json_decref(json);
}

// Nothing newer exists: the age of the last epoch says nothing.
static void idle_primary_is_as_good_as_now(void **state)
{
	struct source_status source = {.state = SOURCE_STATE_REPLICATING,
	                               .connected = true,
	                               .durable = 42,
	                               .recovery_point = START - 3600 * SEC};
	json_t *json;

	(void)state;
	watch = (struct rpo_watch){0};
	json = primary(&source);
	expect_number(json, "lag_seconds", 0);
	expect_number(json, "eta_seconds", 0);
	expect_number(json_object_get(json, "recovery_point"), "age_seconds", 0);
	json_decref(json);
	source.lag = NSEC_PER_SEC;
	json = primary(&source);
	expect_number(json_object_get(json, "recovery_point"), "age_seconds", 3600);
	json_decref(json);

	// paused in the middle of a full sync
	source = (struct source_status){.state = SOURCE_STATE_PAUSED, .reason = "paused", .connected = true};
	json = primary(&source);
	assert_true(json_is_false(json_object_get(json, "promotable")));
	expect_text(json, "rpo_state", "breached");
	json_decref(json);
}

static void full_sync_has_nothing_to_recover_to(void **state)
{
	struct source_status source = {.state = SOURCE_STATE_FULL_SYNC,
	                               .connected = true,
	                               .durable = 3,
	                               .inconsistent = true,
	                               .syncing = true,
	                               .sync_done = 4096,
	                               .sync_total = 8192,
	                               .eta = 7 * SEC};
	struct sink_status sink = {.opened = true,
	                           .connected = true,
	                           .syncing = true,
	                           .sync_done = 4096,
	                           .sync_total = 8192,
	                           .heard = now_value};
	json_t *json;

	(void)state;
	watch = (struct rpo_watch){0};
	json = primary(&source);
	expect_text(json, "state", "full-sync");
	expect_null(json, "lag_seconds");
	expect_text(json, "rpo_state", "breached");
	expect_null(json, "recovery_point");
	assert_true(json_is_false(json_object_get(json, "promotable")));
	expect_number(json, "eta_seconds", 7);
	expect_number(json_object_get(json, "sync"), "done_bytes", 4096);
	expect_number(json_object_get(json, "sync"), "total_bytes", 8192);
	json_decref(json);

	watch = (struct rpo_watch){0};
	json = standby(&sink);
	expect_text(json, "state", "full-sync");
	expect_null(json, "lag_seconds");
	expect_text(json, "rpo_state", "breached");
	expect_null(json, "recovery_point");
	expect_number(json_object_get(json, "sync"), "done_bytes", 4096);
	json_decref(json);
}

static void changes_in_place_have_nothing_to_recover_to(void **state)
{
	struct source_status source = {.state = SOURCE_STATE_RESYNC, .reason = "journal-full", .inconsistent = true};
	struct sink_status sink = {.opened = true,
	                           .connected = true,
	                           .too_large = true,
	                           .promotable = true,
	                           .state = {.consistent = true},
	                           .heard = now_value};
	json_t *json;

	(void)state;
	watch = (struct rpo_watch){0};
	json = primary(&source); // not connected, and it knows
	assert_true(json_is_false(json_object_get(json, "promotable")));
	expect_null(json, "lag_seconds");
	json_decref(json);
	json = standby(&sink);
	expect_text(json, "state", "replicating");
	expect_text(json, "reason", "journal-full");
	assert_true(json_is_true(json_object_get(json, "promotable")));
	json_decref(json);
	sink = (struct sink_status){
	        .opened = true, .connected = true, .syncing = true, .state = {.partial = true}, .heard = now_value};
	json = standby(&sink);
	expect_text(json, "state", "resync");
	expect_text(json, "reason", "journal-full");
	assert_true(json_is_false(json_object_get(json, "promotable")));
	json_decref(json);
}

static void replaced_primary_claims_nothing(void **state)
{
	struct source_status source = {
	        .state = SOURCE_STATE_DEMOTED, .durable = 42, .recovery_point = START, .eta = -1};
	json_t *json;

	(void)state;
	watch = (struct rpo_watch){0};
	json = primary(&source);
	expect_text(json, "state", "demoted");
	expect_text(json, "rpo_state", NULL);
	expect_null(json, "lag_seconds");
	expect_null(json, "promotable");
	expect_null(json, "recovery_point");
	json_decref(json);
}

static void breaches_add_up(void **state)
{
	struct source_status source = {.state = SOURCE_STATE_REPLICATING, .connected = true, .durable = 1, .eta = -1};
	json_t *json;
	static const struct {
		int64_t lag_ms, outlook_ms;
		const char *state;
		double total;
	} steps[] = {{0, 0, "ok", 0},
	             {3750, 5000, "ok", 0},
	             {3750, 5001, "at-risk", 0},
	             {5000, 5000, "ok", 0},
	             {5001, 5001, "breached", 0},
	             {6000, 9000, "breached", 1},
	             {9000, 0, "breached", 2},
	             {100, 200, "ok", 3},
	             {5100, 5100, "breached", 3},
	             {0, 9000, "ok", 4},
	             {0, 0, "ok", 4}};

	(void)state;
	watch = (struct rpo_watch){0};
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		source.lag = (uint64_t)steps[i].lag_ms * NSEC_PER_MSEC;
		source.outlook = (uint64_t)steps[i].outlook_ms * NSEC_PER_MSEC;
		json = primary(&source);
		expect_text(json, "rpo_state", steps[i].state);
		expect_number(json, "breach_seconds_total", steps[i].total);
		json_decref(json);
		now_value += NSEC_PER_SEC;
	}
}

static void lags_are_counted_by_size(void **state)
{
	struct source_status source = {.state = SOURCE_STATE_REPLICATING, .connected = true, .durable = 1};
	static const int64_t lags[] = {0, SEC / 10, SEC / 10 + 1, SEC, 8000 * SEC, UNKNOWN};
	json_t *json, *histogram, *counts;

	(void)state;
	watch = (struct rpo_watch){0};
	for (size_t i = 0; i < sizeof(lags) / sizeof(lags[0]); i++)
		rpo_watch_sample(&watch, lags[i]);
	json = primary(&source);
	histogram = json_object_get(json, "lag_histogram");
	counts = json_object_get(histogram, "counts");
	assert_int_equal(json_array_size(counts), LAG_BOUNDS);
	assert_int_equal(json_array_size(json_object_get(histogram, "bounds_seconds")), LAG_BOUNDS - 1);
	for (unsigned i = 0; i < LAG_BOUNDS; i++)
		assert_int_equal(json_integer_value(json_array_get(counts, i)),
		                 i == 0                                    ? 2
		                 : i == 1 || i == 3 || i == LAG_BOUNDS - 1 ? 1
		                                                           : 0);
	expect_number(histogram, "sum_seconds", 8001.2);
	json_decref(json);
}

static struct sink_status sink_in_step(void)
{
	struct sink_status sink = {.opened = true,
	                           .connected = true,
	                           .peer = "192.0.2.9:50000",
	                           .durable = 42,
	                           .applied = 41,
	                           .primary_lag = 300 * NSEC_PER_MSEC,
	                           .primary_cut = 43,
	                           .heard = now_value,
	                           .told = now_value,
	                           .recovery_point = START - 2 * SEC,
	                           .skew = SEC,
	                           .received_bytes = 999,
	                           .receive_rate = 10,
	                           .promotable = true};

	sink.state.consistent = true;
	sink.state.lineage.generation = generation;
	sink.state.volume_count = 2;
	strcpy(sink.state.volumes[0].name, "log"); // in another order
	sink.state.volumes[0].bytes = 8192;
	strcpy(sink.state.volumes[1].name, "data");
	sink.state.volumes[1].bytes = 4096;
	return sink;
}

static void standby_in_step(void **state)
{
	struct sink_status sink = sink_in_step();
	json_t *json, *volumes, *point;

	(void)state;
	watch = (struct rpo_watch){0};
	json = standby(&sink);
	expect_text(json, "role", "standby");
	expect_text(json, "state", "replicating");
	expect_text(json, "reason", NULL);
	expect_text(json, "generation", "abcd0000000000000000000000000001");
	expect_null(json_object_get(json, "epoch"), "open");
	expect_number(json_object_get(json, "epoch"), "durable", 42);
	expect_number(json, "lag_seconds", 0.3);
	expect_text(json, "rpo_state", "ok");
	expect_null(json, "bytes_behind");
	expect_null(json, "change_bytes_per_second");
	expect_number(json, "ship_bytes_per_second", 10);
	expect_number(json, "wire_bytes_total", 999);
	assert_true(json_is_true(json_object_get(json, "promotable")));
	point = json_object_get(json, "recovery_point");
	expect_number(point, "epoch", 42);
	expect_text(point, "time", "2026-01-31T11:59:58.000Z");
	expect_number(point, "age_seconds", 3); // the primary's clock is a second ahead
	volumes = json_object_get(json, "volumes");
	expect_number(json_array_get(volumes, 0), "bytes", 4096);
	expect_number(json_array_get(volumes, 1), "bytes", 8192);
	expect_null(json_array_get(volumes, 0), "dirty_bytes");
	json_decref(json);
}

static void silence_is_added_to_the_lag(void **state)
{
	struct sink_status sink = sink_in_step();
	json_t *json;

	(void)state;
	watch = (struct rpo_watch){0};
	now_value += REPORT_SILENCE_MAX; // heartbeats may be that late
	wall_value += (int64_t)REPORT_SILENCE_MAX;
	json = standby(&sink);
	expect_number(json, "lag_seconds", 1.3);
	json_decref(json);
	sink.primary_lag = 0; // it had none then
	json = standby(&sink);
	expect_number(json, "lag_seconds", 0);
	json_decref(json);
	now_value++;
	json = standby(&sink);
	expect_number(json, "lag_seconds", 1);
	json_decref(json);
	sink.primary_lag = 8 * NSEC_PER_SEC; // but what is durable by now is not lost any more
	json = standby(&sink);
	expect_number(json, "lag_seconds", 4);
	json_decref(json);
	sink.primary_lag = 300 * NSEC_PER_MSEC;
	now_value += 10 * NSEC_PER_SEC - REPORT_SILENCE_MAX - 1;
	wall_value += 10 * SEC - (int64_t)REPORT_SILENCE_MAX;
	json = standby(&sink);
	expect_number(json, "lag_seconds", 10.3);
	expect_text(json, "rpo_state", "breached");
	expect_number(json_object_get(json, "recovery_point"), "age_seconds", 13);
	json_decref(json);

	// a cut link is silence from the start
	sink.connected = false;
	sink.heard = sink.told = now_value - NSEC_PER_SEC;
	json = standby(&sink);
	expect_text(json, "state", "replicating");
	expect_text(json, "reason", "link-down");
	expect_number(json, "lag_seconds", 1.3);
	json_decref(json);

	// after a restart only the age of the point bounds it
	sink.heard = sink.told = 0;
	sink.skew = 0;
	json = standby(&sink);
	expect_number(json, "lag_seconds", 12);
	json_decref(json);
	sink.recovery_point = 0;
	json = standby(&sink);
	expect_null(json, "lag_seconds");
	expect_null(json_object_get(json, "recovery_point"), "age_seconds");
	expect_null(json_object_get(json, "recovery_point"), "time");
	json_decref(json);
}

// Until nothing is heard any more: then the lag cannot but grow.
static void risk_is_what_the_primary_expects(void **state)
{
	struct sink_status sink = sink_in_step();
	json_t *json;

	(void)state;
	watch = (struct rpo_watch){0};
	sink.primary_outlook = 5 * NSEC_PER_SEC;
	json = standby(&sink);
	expect_text(json, "rpo_state", "ok");
	json_decref(json);
	sink.primary_outlook++;
	json = standby(&sink);
	expect_text(json, "rpo_state", "at-risk");
	json_decref(json);
	sink.primary_outlook = 0;
	now_value += REPORT_SILENCE_MAX + 1;
	json = standby(&sink);
	expect_text(json, "rpo_state", "at-risk");
	json_decref(json);
	sink.heard = now_value;
	sink.connected = false;
	json = standby(&sink);
	expect_text(json, "rpo_state", "at-risk");
	json_decref(json);
}

static void standby_says_what_the_primary_waits_for(void **state)
{
	static const char *const reasons[] = {NULL,         "paused",       "link-slow",         "standby-slow",
	                                      "spill-full", "journal-full", "standby-disk-full", "standby-error",
	                                      "read-error", "no-memory"};
	struct sink_status sink = sink_in_step();
	json_t *json;

	(void)state;
	watch = (struct rpo_watch){0};
	for (sink.primary_trouble = 0; sink.primary_trouble <= TROUBLE_WIRE_MAX; sink.primary_trouble++) {
		json = standby(&sink);
		expect_text(json, "reason", reasons[sink.primary_trouble]);
		json_decref(json);
	}
	sink.connected = false;
	sink.primary_trouble = TROUBLE_LINK_SLOW;
	json = standby(&sink);
	expect_text(json, "reason", "link-down");
	json_decref(json);
}

// What the standby says of time it says by the primary's clock.
static void clocks_may_differ_by_an_hour(void **state)
{
	static const int64_t skews[] = {3600 * SEC, -3600 * SEC};

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct sink_status sink = sink_in_step();
		json_t *json, *point;

		watch = (struct rpo_watch){0};
		sink.skew = skews[i];
		sink.recovery_point = START + skews[i] - 2 * SEC;
		json = standby(&sink);
		expect_number(json, "lag_seconds", 0.3);
		expect_text(json, "rpo_state", "ok");
		point = json_object_get(json, "recovery_point");
		expect_number(point, "age_seconds", 2);
		expect_text(point, "time", i ? "2026-01-31T10:59:58.000Z" : "2026-01-31T12:59:58.000Z");
		json_decref(json);
		sink.connected = false;
		sink.heard = sink.told = now_value - NSEC_PER_SEC;
		json = standby(&sink);
		expect_number(json, "lag_seconds", 1.3);
		json_decref(json);
	}
}

static void standby_that_cannot_be_used(void **state)
{
	struct sink_status sink = {.opened = false};
	json_t *json;

	(void)state;
	watch = (struct rpo_watch){0};
	json = standby(&sink);
	expect_text(json, "state", "waiting");
	expect_text(json, "reason", "opening");
	expect_text(json, "rpo_state", "breached");
	expect_null(json, "generation");
	expect_null(json, "promotable");
	json_decref(json);
	sink.failed = "journal damaged";
	json = standby(&sink);
	expect_text(json, "state", "refused");
	expect_text(json, "reason", "standby-failed");
	json_decref(json);
	sink = (struct sink_status){.opened = true, .connected = true};
	json = standby(&sink);
	expect_text(json, "state", "waiting");
	assert_true(json_is_false(json_object_get(json, "promotable")));
	json_decref(json);
}

static void wild_numbers_become_null(void **state)
{
	struct source_status source = {.state = SOURCE_STATE_DEMOTED,
	                               .open = UINT64_MAX,
	                               .durable = UINT64_MAX,
	                               .lag = UINT64_MAX,
	                               .bytes_behind = UINT64_MAX,
	                               .recovery_point = INT64_MAX,
	                               .eta = INT64_MIN};
	struct sink_status sink = sink_in_step();
	json_t *json;

	(void)state;
	watch = (struct rpo_watch){0};
	json = primary(&source);
	expect_null(json, "lag_seconds");
	expect_null(json, "eta_seconds");
	expect_null(json_object_get(json, "epoch"), "open");
	json_decref(json);
	sink.primary_lag = UINT64_MAX;
	sink.skew = INT64_MAX;
	sink.recovery_point = 1;
	sink.durable = UINT64_MAX;
	sink.connected = false;
	json = standby(&sink);
	expect_null(json, "lag_seconds");
	expect_null(json_object_get(json, "recovery_point"), "age_seconds");
	json_decref(json);
}

static void times_and_ids_as_text(void **state)
{
	char text[WALL_TEXT_MAX];

	(void)state;
	wall_text(START + 123 * (int64_t)NSEC_PER_MSEC, text);
	assert_string_equal(text, "2026-01-31T12:00:00.123Z");
	wall_text(0, text);
	assert_string_equal(text, "1970-01-01T00:00:00.000Z");
	wall_text(INT64_MAX, text);
	assert_string_equal(text, "2262-04-11T23:47:16.854Z");
	wall_text(INT64_MIN, text);
	assert_string_equal(text, "1970-01-01T00:00:00.000Z");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup(primary_in_step, prepare),
	        cmocka_unit_test_setup(primary_that_has_heard_nothing, prepare),
	        cmocka_unit_test_setup(idle_primary_is_as_good_as_now, prepare),
	        cmocka_unit_test_setup(full_sync_has_nothing_to_recover_to, prepare),
	        cmocka_unit_test_setup(changes_in_place_have_nothing_to_recover_to, prepare),
	        cmocka_unit_test_setup(replaced_primary_claims_nothing, prepare),
	        cmocka_unit_test_setup(breaches_add_up, prepare),
	        cmocka_unit_test_setup(lags_are_counted_by_size, prepare),
	        cmocka_unit_test_setup(risk_is_what_the_primary_expects, prepare),
	        cmocka_unit_test_setup(standby_says_what_the_primary_waits_for, prepare),
	        cmocka_unit_test_setup(clocks_may_differ_by_an_hour, prepare),
	        cmocka_unit_test_setup(standby_in_step, prepare),
	        cmocka_unit_test_setup(silence_is_added_to_the_lag, prepare),
	        cmocka_unit_test_setup(standby_that_cannot_be_used, prepare),
	        cmocka_unit_test_setup(wild_numbers_become_null, prepare),
	        cmocka_unit_test(times_and_ids_as_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
