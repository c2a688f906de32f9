// SPDX-License-Identifier: Apache-2.0
// status: the pairs of both daemons, and those that are configured and that
// neither runs.
#include "common/status.h"
#include "common/control.h"
#include "daemon.h"
#include "view.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define JSON_REALS JSON_REAL_PRECISION(12) // milliseconds, without the noise of binary fractions

enum {
	OPTION_JSON = COMMAND_OPTION,
	OPTION_WATCH,
};

static bool as_json, watch;

struct found {
	json_t *pairs; // array
	bool running[2]; // enum daemon_role
	size_t orphans; // configured, not running
};

static int status_option(int option, const char *value)
{
	(void)value;
	if (option == OPTION_JSON)
		as_json = true;
	else
		watch = true;
	return EXIT_DONE;
}

static bool has_pair(json_t *pairs, const char *name)
{
	json_t *pair;
	size_t i;

	json_array_foreach(pairs, i, pair)
	{
		const char *other = json_string_value(json_object_get(pair, "pair"));

		if (other && !strcmp(other, name))
			return true;
	}
	return false;
}

static int add_from_daemon(struct context *context, enum daemon_role daemon, const char *name, struct found *found)
{
	json_t *request = json_pack("{s:s}", "command", CONTROL_STATUS);
	json_t *reply, *pair;
	size_t i;
	int code;

	if (name)
		json_object_set_new(request, "pair", json_string(name));
	code = daemon_ask_if_running(context, daemon, request, ASK_SOON, &reply);
	found->running[daemon] = reply != NULL;
	json_array_foreach(json_object_get(reply, "pairs"), i, pair)
	{
		const char *other = json_string_value(json_object_get(pair, "pair"));

		// Right after a promotion both may still know it: the primary counts.
		if (other && (!name || !strcmp(name, other)) && !has_pair(found->pairs, other))
			json_array_append(found->pairs, pair);
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
		if ((!name || !strcmp(name, names[i])) && !has_pair(found->pairs, names[i]))
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

static int find_all(struct context *context, const char *name, struct found *found)
{
	int code;

	memset(found, 0, sizeof(*found));
	found->pairs = json_array();
	code = add_from_daemon(context, DAEMON_AGENT, name, found);
	if (!code)
		code = add_from_daemon(context, DAEMON_RECEIVER, name, found);
	if (!code)
		code = add_orphans(context, name, found);
	if (!code && name && json_array_size(found->pairs) == 0)
		code = unknown_pair(context, name, not_running(found));
	if (!code)
		sort_pairs(found);
	return code;
}

static void print_json(json_t *value)
{
	json_dumpf(value, stdout, JSON_REALS | (watch ? JSON_COMPACT : JSON_INDENT(2)));
	printf("\n");
}

static void print_found(const char *name, struct found *found)
{
	bool colour = isatty(STDOUT_FILENO) && !getenv("NO_COLOR");

	if (as_json)
		print_json(name ? json_array_get(found->pairs, 0) : found->pairs);
	else if (name)
		view_pair(stdout, json_array_get(found->pairs, 0), colour);
	else if (json_array_size(found->pairs) == 0)
		printf("No pairs yet. On the standby: stead pair invite --help\n");
	else
		view_table(stdout, found->pairs, colour);
	fflush(stdout);
}

// Where pairs are missed, which daemon may have them.
static void say_missing(struct context *context, struct found *found)
{
	char how[HOW_TO_START_MAX];

	for (int daemon = DAEMON_AGENT; found->orphans && daemon <= DAEMON_RECEIVER; daemon++)
		if (!found->running[daemon])
			refuse("note: %s is not running here; start it: %s", daemon_name((enum daemon_role)daemon),
			       how_to_start(context, (enum daemon_role)daemon, how));
}

static int show_once(struct context *context, const char *name)
{
	struct found found;
	int code = find_all(context, name, &found);

	if (!code) {
		print_found(name, &found);
		say_missing(context, &found);
	}
	json_decref(found.pairs);
	return code;
}

// Until interrupted, which is how it ends well, or until something fails.
static int show_on_and_on(struct context *context, const char *name)
{
	bool clear = isatty(STDOUT_FILENO) && !as_json;
	struct timespec second = {.tv_sec = 1};
	sigset_t ends;
	int code;

	sigemptyset(&ends);
	sigaddset(&ends, SIGINT);
	sigaddset(&ends, SIGTERM);
	sigprocmask(SIG_BLOCK, &ends, NULL);
	do {
		if (clear)
			printf("\033[H\033[J");
		code = show_once(context, name);
		if (!code && ferror(stdout))
			code = EXIT_REFUSED; // nobody reads on
	} while (!code && sigtimedwait(&ends, NULL, &second) < 0);
	return code;
}

static int status(struct context *context, int count, char **arguments)
{
	const char *name = count ? arguments[0] : NULL;
	int code = name ? check_pair_name(name) : EXIT_DONE;

	if (code)
		return code;
	return watch ? show_on_and_on(context, name) : show_once(context, name);
}

static const struct option status_options[] = {
        {"json", no_argument, NULL, OPTION_JSON},
        {"watch", no_argument, NULL, OPTION_WATCH},
        {0},
};

const struct command command_status = {
        .name = "status",
        .brief = "role, state, lag and recovery point of pairs",
        .help = "Usage: stead status [PAIR] [--json] [--watch]\n"
                "\n"
                "Without PAIR a table of all pairs of this node, with PAIR all about one.\n"
                "\n"
                "  --json      for scripts, stable: an object, without PAIR an array of them\n"
                "  --watch     again each second, until ctrl-C; with --json one line each\n"
                "  --root DIR  the node below DIR (default /)\n"
                "\n"
                "LAG is what a disaster now would lose. RPO is ok, at-risk (lag over three\n"
                "quarters of it) or breached. POINT is the age of the newest recovery point.\n",
        .options = status_options,
        .most = 1,
        .option = status_option,
        .run = status,
};
