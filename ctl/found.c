// SPDX-License-Identifier: Apache-2.0
#include "found.h"
#include "common/control.h"
#include "common/status.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *find_pair(json_t *pairs, const char *name)
{
	json_t *pair;
	size_t i;

	json_array_foreach(pairs, i, pair)
	{
		const char *other = json_string_value(json_object_get(pair, "pair"));

		if (other && !strcmp(other, name))
			return pair;
	}
	return NULL;
}

// Right after a promotion both daemons may still know a pair: the primary
// counts. One that has not read its state yet knows less than the other.
static void add_pair(json_t *pairs, json_t *pair, const char *name)
{
	json_t *known = find_pair(pairs, name);

	if (!known)
		json_array_append(pairs, pair);
	else if (json_is_null(json_object_get(known, "role")))
		json_object_update(known, pair);
}

static int add_from_daemon(struct context *context, enum daemon_role daemon, const char *name, int timeout,
                           struct found *found)
{
	json_t *request = json_pack("{s:s}", "command", CONTROL_STATUS);
	json_t *reply, *pair;
	size_t i;
	int code;

	if (name)
		json_object_set_new(request, "pair", json_string(name));
	code = daemon_ask_if_running(context, daemon, request, timeout, &reply);
	found->running[daemon] = reply != NULL;
	json_array_foreach(json_object_get(reply, "pairs"), i, pair)
	{
		const char *other = json_string_value(json_object_get(pair, "pair"));

		if (other && (!name || !strcmp(name, other)))
			add_pair(found->pairs, pair, other);
	}
	json_decref(reply);
	return code;
}

static void add_configured(struct context *context, const char *name, struct found *found)
{
	char file[PATHS_MAX];
	struct pair_config config;
	struct pair_status status;
	struct error err;
	int error = config_read(path_config(&context->paths, name, file), &config, &err);

	if (error == -ENOENT)
		return;
	if (error) {
		config_init(&config);
		snprintf(config.name, sizeof(config.name), "%s", name);
		config.rpo = config.rto = UINT64_MAX; // not known
	}
	status_init(&status, &config, 0);
	status.rpo_state = RPO_UNKNOWN;
	status.breach_total = UINT64_MAX; // not known
	if (error)
		status.reason = "config-invalid";
	else
		status.reason =
		        found->running[DAEMON_AGENT] && found->running[DAEMON_RECEIVER] ? "not-loaded" : "daemon-down";
	json_array_append_new(found->pairs, status_json(&status));
	found->orphans++;
}

static int add_orphans(struct context *context, const char *name, struct found *found)
{
	char(*names)[NAME_MAX_LENGTH + 1];
	struct error err;
	size_t count;

	if (config_list(context->paths.configs, &names, &count, &err))
		return refuse("%s", err.text);
	for (size_t i = 0; i < count; i++)
		if ((!name || !strcmp(name, names[i])) && !find_pair(found->pairs, names[i]))
			add_configured(context, names[i], found);
	free(names);
	return EXIT_DONE;
}

static int compare_pairs(const void *a, const void *b)
{
	return strcmp(json_string_value(json_object_get(*(json_t *const *)a, "pair")),
	              json_string_value(json_object_get(*(json_t *const *)b, "pair")));
}

static void sort_pairs(struct found *found)
{
	size_t count = json_array_size(found->pairs);
	json_t **order = calloc(count + 1, sizeof(json_t *));

	for (size_t i = 0; order && i < count; i++)
		order[i] = json_incref(json_array_get(found->pairs, i));
	if (order) {
		qsort(order, count, sizeof(json_t *), compare_pairs);
		json_array_clear(found->pairs);
		for (size_t i = 0; i < count; i++)
			json_array_append_new(found->pairs, order[i]);
	}
	free(order);
}

// What a pair that is not there may be due to.
static const char *not_running(const struct found *found)
{
	if (!found->running[DAEMON_AGENT] && !found->running[DAEMON_RECEIVER])
		return " (stead-agent and stead-receiver are not running)";
	if (!found->running[DAEMON_AGENT])
		return " (stead-agent is not running)";
	return found->running[DAEMON_RECEIVER] ? "" : " (stead-receiver is not running)";
}

int found_find(struct context *context, const char *name, int timeout, struct found *found)
{
	int code;

	memset(found, 0, sizeof(*found));
	found->pairs = json_array();
	code = add_from_daemon(context, DAEMON_AGENT, name, timeout, found);
	if (!code)
		code = add_from_daemon(context, DAEMON_RECEIVER, name, timeout, found);
	if (!code)
		code = add_orphans(context, name, found);
	if (!code && name && json_array_size(found->pairs) == 0)
		code = unknown_pair(context, name, not_running(found));
	if (!code)
		sort_pairs(found);
	return code;
}
