// SPDX-License-Identifier: Apache-2.0
// status
#include "found.h"
#include "live.h"
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

static int status_option(int option, const char *value)
{
	(void)value;
	if (option == OPTION_JSON)
		as_json = true;
	else
		watch = true;
	return EXIT_DONE;
}

static void print_json(json_t *value)
{
	json_dumpf(value, stdout, JSON_REALS | (watch ? JSON_COMPACT : JSON_INDENT(2)));
	printf("\n");
}

static void print_found(const char *name, struct found *found)
{
	bool colour = view_colours();

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
	int code = found_find(context, name, ASK_SOON, &found);

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
	struct timespec second = {.tv_sec = 1};
	sigset_t ends;
	int code;

	sigemptyset(&ends);
	sigaddset(&ends, SIGINT);
	sigaddset(&ends, SIGTERM);
	sigprocmask(SIG_BLOCK, &ends, NULL);
	do {
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
	if (!watch)
		return show_once(context, name);
	if (!as_json && isatty(STDOUT_FILENO))
		return live(context, name);
	return show_on_and_on(context, name);
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
                "  --watch     again each second, until ctrl-C: on a terminal with the course of\n"
                "              the lag; with --json one line each\n"
                "  --root DIR  the node below DIR (default /)\n"
                "\n"
                "LAG is what a disaster now would lose. RPO is ok, at-risk (will be\n"
                "breached at this rate) or breached. POINT is the age of the newest recovery\n"
                "point.\n",
        .options = status_options,
        .most = 1,
        .option = status_option,
        .run = status,
};
