// SPDX-License-Identifier: Apache-2.0
#include "events.h"
#include "log.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VARIABLES_MAX 80
#define NAME_BYTES 64

struct environment {
	char **list;
	unsigned count;
	bool failed;
};

// lag_seconds to STEAD_LAG_SECONDS.
static void put(struct environment *environment, const char *name, const char *value)
{
	char *text;
	int length;

	if (environment->count == VARIABLES_MAX || environment->failed)
		return;
	length = asprintf(&text, "STEAD_%s=%s", name, value);
	if (length < 0) {
		environment->failed = true;
		return;
	}
	for (char *at = text; *at != '='; at++)
		*at = (char)toupper((unsigned char)*at);
	environment->list[environment->count++] = text;
}

static void put_json(struct environment *environment, const char *name, json_t *value)
{
	const char *key;
	char text[40] = "";
	json_t *member;

	if (json_is_object(value)) {
		json_object_foreach(value, key, member)
		{
			char inner[NAME_BYTES];

			snprintf(inner, sizeof(inner), "%s%s%s", name, *name ? "_" : "", key);
			put_json(environment, inner, member);
		}
		return;
	}
	if (json_is_array(value))
		return;
	if (json_is_boolean(value))
		snprintf(text, sizeof(text), "%s", json_is_true(value) ? "true" : "false");
	else if (json_is_integer(value))
		snprintf(text, sizeof(text), "%lld", (long long)json_integer_value(value));
	else if (json_is_real(value))
		snprintf(text, sizeof(text), "%.12g", json_real_value(value));
	put(environment, name, json_is_string(value) ? json_string_value(value) : text);
}

char **event_environment(const char *event, const struct pair_status *status, const char *text)
{
	struct environment environment = {.list = calloc(VARIABLES_MAX + 2, sizeof(char *))};
	json_t *json = status_json(status);

	if (environment.list && json) {
		environment.list[environment.count++] =
		        strdup("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
		environment.failed = !environment.list[0];
		put(&environment, "event", event);
		put(&environment, "text", text ? text : "");
		put_json(&environment, "", json);
	}
	json_decref(json);
	if (environment.list && json && !environment.failed)
		return environment.list;
	environment_free(environment.list);
	return NULL;
}

static void run(struct hooks *hooks, const char *path, enum hook_event event, const struct pair_status *status,
                const char *text)
{
	char **environment;

	if (!*path)
		return;
	environment = event_environment(hook_name(event), status, text);
	if (environment)
		hooks_run(hooks, status->config->name, hook_name(event), path, environment);
	else
		log_event(LOG_LEVEL_ERROR, "hook-dropped", "pair=%s for=%s path=%s reason=%s", status->config->name,
		          hook_name(event), path, "out of memory");
}

void event_happened(struct hooks *hooks, enum hook_event event, const struct pair_status *status, const char *text)
{
	run(hooks, status->config->hooks[event], event, status, text);
	run(hooks, status->config->hooks[HOOK_ANY], event, status, text);
}

static void log_rpo(const struct pair_status *status, enum hook_event event)
{
	const char *reason = status->reason ? status->reason : status->promotable == 1 ? "none" : "not-promotable";
	enum log_level level = event == HOOK_RPO_BREACHED ? LOG_LEVEL_ERROR : LOG_LEVEL_WARNING;
	double rpo = (double)status->config->rpo / 1e9, total = (double)status->breach_total / 1e9;

	if (event == HOOK_RPO_RECOVERED)
		log_event(LOG_LEVEL_INFO, hook_name(event), "pair=%s rpo_seconds=%.3f breach_seconds_total=%.1f",
		          status->config->name, rpo, total);
	else if (status->lag >= 0)
		log_event(level, hook_name(event), "pair=%s lag_seconds=%.3f rpo_seconds=%.3f reason=%s",
		          status->config->name, (double)status->lag / 1e9, rpo, reason);
	else
		log_event(level, hook_name(event), "pair=%s rpo_seconds=%.3f reason=%s", status->config->name, rpo,
		          reason);
}

void event_watch(struct event_watch *watch, struct hooks *hooks, const struct pair_status *status, uint64_t now)
{
	static const enum hook_event events[] = {
	        [RPO_OK] = HOOK_RPO_RECOVERED,
	        [RPO_AT_RISK] = HOOK_RPO_AT_RISK,
	        [RPO_BREACHED] = HOOK_RPO_BREACHED,
	};
	enum rpo_state rpo = status->rpo_state;
	bool still_at_risk = rpo == RPO_AT_RISK && watch->at_risk;

	if (!watch->begun)
		watch->begun = now;
	if (status->connected || now - watch->begun >= EVENTS_SETTLE_NSEC)
		watch->settled = true;
	if (!watch->settled || rpo == RPO_UNKNOWN)
		return;
	watch->at_risk = rpo == RPO_AT_RISK;
	// A risk that is over at the next look is none; and a breach ends when it
	// is not one any more, whatever follows.
	if (rpo == RPO_AT_RISK && (!still_at_risk || watch->told == RPO_BREACHED))
		rpo = watch->told == RPO_BREACHED ? RPO_OK : watch->told;
	if (rpo == watch->told)
		return;
	watch->told = rpo;
	log_rpo(status, events[rpo]);
	event_happened(hooks, events[rpo], status, NULL);
}

void event_connected(struct event_watch *watch, struct hooks *hooks, bool connected, const struct pair_status *status,
                     const char *text)
{
	if (watch->connected == connected)
		return;
	watch->connected = connected;
	watch->settled |= connected;
	event_happened(hooks, connected ? HOOK_CONNECTED : HOOK_DISCONNECTED, status, text);
}
