// SPDX-License-Identifier: Apache-2.0
// promote, demote, switchover, resync: which of the two nodes is the primary.
#include "common/control.h"
#include "common/state_file.h"
#include "daemon.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static bool force, discard, no_salvage;

enum {
	OPTION_FORCE = COMMAND_OPTION,
	OPTION_DISCARD,
	OPTION_NO_SALVAGE,
};

static int role_option(int option, const char *value)
{
	(void)value;
	if (option == OPTION_FORCE)
		force = true;
	else if (option == OPTION_DISCARD)
		discard = true;
	else
		no_salvage = true;
	return EXIT_DONE;
}

// The daemon that has the pair, by its state; where that cannot be read, the
// one that is asked otherwise says why.
static enum daemon_role daemon_of(struct context *context, const char *pair, enum daemon_role otherwise)
{
	char path[PATHS_MAX];
	struct pair_state state;

	if (state_file_read(path_pair_file(&context->paths, pair, FILE_STATE, path), &state, NULL) < 0)
		return otherwise;
	return state.role == ROLE_STANDBY ? DAEMON_RECEIVER : DAEMON_AGENT;
}

static void print_volumes(json_t *reply)
{
	json_t *volume;
	size_t i;

	json_array_foreach(json_object_get(reply, "volumes"), i, volume)
	{
		const char *name = json_string_value(json_object_get(volume, "name"));
		const char *device = json_string_value(json_object_get(volume, "device"));

		printf("  %s: %s\n", name ? name : "?", device ? device : "not exported");
	}
}

// planned: the former primary said that this is all there is.
static void print_promoted(const char *pair, json_t *reply, bool planned)
{
	const char *generation = json_string_value(json_object_get(reply, "generation"));
	const char *time = json_string_value(json_object_get(reply, "time"));
	json_t *age = json_object_get(reply, "age_seconds");
	char text[CELL_MAX];

	printf("Pair %s: this node is the primary now, generation %s.\n", pair, generation ? generation : "?");
	printf("Recovery point: epoch %lld", (long long)json_integer_value(json_object_get(reply, "epoch")));
	if (time)
		printf(" of %s", time);
	if (planned)
		printf("; nothing was lost");
	else if (json_is_number(age))
		printf("; lost is at most what was written in the last %s", seconds_cell(age, text));
	printf(".\n");
	print_volumes(reply);
	printf("Took %s.\n", seconds_cell(json_object_get(reply, "seconds"), text));
}

// What is done, and yet something is left to do by hand.
static int end(const char *pair, const char *done, json_t *reply)
{
	const char *note = json_string_value(json_object_get(reply, "note"));
	int code = EXIT_DONE;

	if (note) {
		fflush(stdout);
		code = refuse("pair %s is %s, but %s", pair, done, note);
	}
	json_decref(reply);
	return code;
}

static int force_primary(struct context *context, const char *pair)
{
	json_t *reply;
	int code = daemon_ask(context, DAEMON_AGENT, json_pack("{s:s,s:s}", "command", CONTROL_FORCE, "pair", pair),
	                      ASK_WAIT, &reply);

	if (code)
		return code;
	printf("Pair %s: this node goes on as the primary.\n", pair);
	return end(pair, "served", reply);
}

static int promote(struct context *context, int count, char **arguments)
{
	const char *pair = arguments[0];
	json_t *reply;
	int code = check_pair(context, pair);

	(void)count;
	if (code)
		return code;
	if (force && daemon_of(context, pair, DAEMON_RECEIVER) == DAEMON_AGENT)
		return force_primary(context, pair);
	code = daemon_ask(context, DAEMON_RECEIVER,
	                  json_pack("{s:s,s:s,s:b}", "command", CONTROL_PROMOTE, "pair", pair, "force", force),
	                  ASK_WAIT, &reply);
	if (code)
		return code;
	print_promoted(pair, reply, false);
	return end(pair, "promoted", reply);
}

static int demote(struct context *context, int count, char **arguments)
{
	const char *pair = arguments[0];
	json_t *reply;
	int code = check_pair(context, pair);

	(void)count;
	if (!code)
		code = daemon_ask(context, DAEMON_AGENT,
		                  json_pack("{s:s,s:s}", "command", CONTROL_DEMOTE, "pair", pair), ASK_WAIT, &reply);
	if (code)
		return code;
	printf("Pair %s: this node is a standby now and has everything; nothing is served until one is promoted:\n"
	       "stead promote %s, on either node.\n",
	       pair, pair);
	return end(pair, "demoted", reply);
}

static int switchover(struct context *context, int count, char **arguments)
{
	const char *pair = arguments[0];
	enum daemon_role daemon;
	json_t *reply;
	int code = check_pair(context, pair);

	(void)count;
	if (code)
		return code;
	daemon = daemon_of(context, pair, DAEMON_AGENT);
	code = daemon_ask(context, daemon, json_pack("{s:s,s:s}", "command", CONTROL_SWITCHOVER, "pair", pair),
	                  ASK_WAIT, &reply);
	if (code)
		return code;
	if (daemon == DAEMON_RECEIVER)
		print_promoted(pair, reply, true);
	else
		printf("Pair %s: the peer is the primary now, nothing was lost; this node is its standby.\n", pair);
	return end(pair, "switched over", reply);
}

static int resync(struct context *context, int count, char **arguments)
{
	const char *pair = arguments[0], *salvage;
	json_t *reply;
	char text[CELL_MAX];
	int code = check_pair(context, pair);

	(void)count;
	if (!code)
		code = daemon_ask(context, daemon_of(context, pair, DAEMON_AGENT),
		                  json_pack("{s:s,s:s,s:b,s:b}", "command", CONTROL_RESYNC, "pair", pair, "discard",
		                            discard, "salvage", !no_salvage),
		                  ASK_WAIT, &reply);
	if (code)
		return code;
	salvage = json_string_value(json_object_get(reply, "salvage"));
	printf("Pair %s: this node follows its peer now; see stead status %s.\n", pair, pair);
	printf("Given up here: %s of blocks that the peer never had%s%s.\n",
	       size_cell(json_object_get(reply, "discarded_bytes"), text), salvage ? ", kept in " : "",
	       salvage ? salvage : "");
	return end(pair, "resynced", reply);
}

static const struct option promote_options[] = {
        {"force", no_argument, NULL, OPTION_FORCE},
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
                "              shipped is lost, and it stops serving once it learns of this.\n"
                "              On a primary that waits for its peer, or was promoted over: it\n"
                "              serves again; what the peer was written since then must be\n"
                "              given up there (stead resync --discard-local)\n"
                "  --root DIR  the node below DIR (default /)\n",
        .options = promote_options,
        .least = 1,
        .most = 1,
        .missing = "which pair? stead status lists them",
        .option = role_option,
        .run = promote,
};

const struct command command_demote = {
        .name = "demote",
        .brief = "make this node a standby, on the primary",
        .help = "Usage: stead demote PAIR\n"
                "\n"
                "On the primary: holds writes back, ships what is left, stops serving, and makes\n"
                "this node a standby. Nothing is served until a node is promoted. Refused when\n"
                "the standby cannot get everything: nothing is changed then.\n"
                "\n"
                "  --root DIR  the node below DIR (default /)\n",
        .least = 1,
        .most = 1,
        .missing = "which pair? stead status lists them",
        .run = demote,
};

const struct command command_switchover = {
        .name = "switchover",
        .brief = "exchange the roles of the two nodes, losing nothing",
        .help = "Usage: stead switchover PAIR\n"
                "\n"
                "On either node: the primary holds writes back, ships what is left, and hands\n"
                "over; the standby becomes the primary and exports the volumes, and replication\n"
                "runs the other way. Refused when the nodes are not connected or not in step.\n"
                "Interrupted at any moment, it ends with one primary: the old or the new one.\n"
                "\n"
                "  --root DIR  the node below DIR (default /)\n",
        .least = 1,
        .most = 1,
        .missing = "which pair? stead status lists them",
        .run = switchover,
};

static const struct option resync_options[] = {
        {"discard-local", no_argument, NULL, OPTION_DISCARD},
        {"no-salvage", no_argument, NULL, OPTION_NO_SALVAGE},
        {0},
};

const struct command command_resync = {
        .name = "resync",
        .brief = "let this node be overwritten by its peer, and follow it",
        .help = "Usage: stead resync PAIR [--discard-local] [--no-salvage]\n"
                "\n"
                "On a former primary whose peer was promoted: makes it the standby. It gets back\n"
                "the blocks that it wrote and the peer never had, and those that the peer wrote\n"
                "since, and nothing else. What it gives up is kept in files first:\n"
                "var/lib/stead/salvage/PAIR-TIME. Until the first epoch is complete it can still\n"
                "be promoted to what it held.\n"
                "\n"
                "  --discard-local  also when both nodes were written to (split brain): this is\n"
                "                   the one that loses; or when this standby holds what its\n"
                "                   primary never had\n"
                "  --no-salvage     keeps nothing of what is given up\n"
                "  --root DIR       the node below DIR (default /)\n",
        .options = resync_options,
        .least = 1,
        .most = 1,
        .missing = "which pair? stead status lists them",
        .option = role_option,
        .run = resync,
};
