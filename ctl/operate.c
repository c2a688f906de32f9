// SPDX-License-Identifier: Apache-2.0
// promote, pause, resume
#include "common/control.h"
#include "daemon.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static bool force;

// Whether this node has the pair at all; the daemon says the rest.
static int check_pair(struct context *context, const char *pair)
{
	char file[PATHS_MAX];
	struct pair_config config;
	struct error err;
	int code = check_pair_name(pair);

	if (code)
		return code;
	if (config_read(path_config(&context->paths, pair, file), &config, &err) == -ENOENT)
		return unknown_pair(context, pair, "");
	return EXIT_DONE;
}

static void print_promoted(const char *pair, json_t *reply)
{
	const char *generation = json_string_value(json_object_get(reply, "generation"));
	const char *time = json_string_value(json_object_get(reply, "time"));
	json_t *age = json_object_get(reply, "age_seconds");
	char text[CELL_MAX];
	json_t *volume;
	size_t i;

	printf("Pair %s: this node is the primary now, generation %s.\n", pair, generation ? generation : "?");
	printf("Recovery point: epoch %lld", (long long)json_integer_value(json_object_get(reply, "epoch")));
	if (time)
		printf(" of %s", time);
	if (json_is_number(age))
		printf("; lost is at most what was written in the last %s", seconds_cell(age, text));
	printf(".\n");
	json_array_foreach(json_object_get(reply, "volumes"), i, volume)
	{
		const char *name = json_string_value(json_object_get(volume, "name"));
		const char *device = json_string_value(json_object_get(volume, "device"));

		printf("  %s: %s\n", name ? name : "?", device ? device : "not exported");
	}
	printf("Took %s.\n", seconds_cell(json_object_get(reply, "seconds"), text));
}

static int promote(struct context *context, int count, char **arguments)
{
	const char *pair = arguments[0], *note;
	json_t *reply;
	int code = check_pair(context, pair);

	(void)count;
	if (code)
		return code;
	code = daemon_ask(context, DAEMON_RECEIVER,
	                  json_pack("{s:s,s:s,s:b}", "command", CONTROL_PROMOTE, "pair", pair, "force", force),
	                  ASK_WAIT, &reply);
	if (code)
		return code;
	print_promoted(pair, reply);
	note = json_string_value(json_object_get(reply, "note"));
	if (note) { // done, and yet the application cannot go on
		fflush(stdout);
		code = refuse("pair %s is promoted, but %s", pair, note);
	}
	json_decref(reply);
	return code;
}

static int promote_option(int option, const char *value)
{
	(void)option;
	(void)value;
	force = true;
	return EXIT_DONE;
}

static int tell_agent(struct context *context, const char *command, const char *pair, const char *said)
{
	json_t *reply;
	int code = check_pair(context, pair);

	if (!code)
		code = daemon_ask(context, DAEMON_AGENT, json_pack("{s:s,s:s}", "command", command, "pair", pair),
		                  ASK_WAIT, &reply);
	if (code)
		return code;
	printf(said, pair);
	json_decref(reply);
	return EXIT_DONE;
}

static int pause_pair(struct context *context, int count, char **arguments)
{
	(void)count;
	return tell_agent(context, CONTROL_PAUSE, arguments[0],
	                  "Pair %s is paused: changes are marked, nothing is sent, and its lag grows.\n");
}

static int resume_pair(struct context *context, int count, char **arguments)
{
	(void)count;
	return tell_agent(context, CONTROL_RESUME, arguments[0], "Pair %s is resumed.\n");
}

static const struct option promote_options[] = {
        {"force", no_argument, NULL, COMMAND_OPTION},
        {0},
};

const struct command command_promote = {
        .name = "promote",
        .brief = "make this node the primary, on the standby",
        .help = "Usage: stead promote PAIR [--force]\n"
                "\n"
                "On the standby: makes it the primary at its newest recovery point and exports\n"
                "the volumes here. Prints that point and what is lost at most. Refused while\n"
                "the standby is not consistent, and while the primary is connected.\n"
                "\n"
                "  --force     also while the primary is connected: what it has not yet\n"
                "              shipped is lost, and it stops serving once it learns of this\n"
                "  --root DIR  the node below DIR (default /)\n",
        .options = promote_options,
        .least = 1,
        .most = 1,
        .missing = "which pair? stead status lists them",
        .option = promote_option,
        .run = promote,
};

const struct command command_pause = {
        .name = "pause",
        .brief = "stop shipping, on the primary",
        .help = "Usage: stead pause PAIR\n"
                "\n"
                "On the primary: ships nothing until resumed. The application goes on; changes\n"
                "stay marked; the lag grows. Survives restarts.\n"
                "\n"
                "  --root DIR  the node below DIR (default /)\n",
        .least = 1,
        .most = 1,
        .missing = "which pair? stead status lists them",
        .run = pause_pair,
};

const struct command command_resume = {
        .name = "resume",
        .brief = "ship again, on the primary",
        .help = "Usage: stead resume PAIR\n"
                "\n"
                "On the primary: ends stead pause.\n"
                "\n"
                "  --root DIR  the node below DIR (default /)\n",
        .least = 1,
        .most = 1,
        .missing = "which pair? stead status lists them",
        .run = resume_pair,
};
