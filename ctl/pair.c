// SPDX-License-Identifier: Apache-2.0
// pair invite, join, remove
#include "common/clock.h"
#include "common/control.h"
#include "common/net.h"
#include "common/token.h"
#include "common/units.h"
#include "daemon.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
	OPTION_VOLUME = COMMAND_OPTION,
	OPTION_LISTEN,
	OPTION_EXPIRES,
	OPTION_EXPORT,
	OPTION_RPO,
	OPTION_RTO,
};

static struct {
	const char *listen;
	const char *export;
	uint64_t expires, rpo, rto; // ns; 0: not given
} given;

static int listen_option(const char *value)
{
	struct net_address address;
	struct error err;

	if (net_parse(value, NET_PORT_DEFAULT, &address, &err))
		return misuse("--listen %s: write HOST:PORT or [IPV6]:PORT, as the other node reaches this one", value);
	if (strlen(value) >= CONFIG_ADDRESS_MAX)
		return misuse("--listen is longer than %d bytes", CONFIG_ADDRESS_MAX - 1);
	given.listen = value;
	return EXIT_DONE;
}

static int time_option(const char *name, const char *value, uint64_t *time)
{
	if (parse_duration(value, time))
		return misuse("%s %s is no time; write a number with ms, s, m, h or d, for example 5s", name, value);
	if (*time == 0)
		return misuse("%s %s: zero is not possible", name, value);
	return EXIT_DONE;
}

static int export_option(const char *value)
{
	enum export_kind kind;
	struct error err;

	given.export = value;
	return export_parse(value, &kind, &err) < 0 ? misuse("%s", err.text) : EXIT_DONE;
}

static int pair_option(int option, const char *value)
{
	switch (option) {
	case OPTION_VOLUME:
		return volume_option(value);
	case OPTION_LISTEN:
		return listen_option(value);
	case OPTION_EXPIRES:
		return time_option("--expires", value, &given.expires);
	case OPTION_EXPORT:
		return export_option(value);
	case OPTION_RPO:
		return time_option("--rpo", value, &given.rpo);
	default:
		return time_option("--rto", value, &given.rto);
	}
}

static void add_given(json_t *request)
{
	json_object_set_new(request, "volumes", volume_options());
	if (given.listen)
		json_object_set_new(request, "listen", json_string(given.listen));
	if (given.export)
		json_object_set_new(request, "export", json_string(given.export));
	if (given.expires)
		json_object_set_new(request, "expires_ns", json_integer((json_int_t)given.expires));
	if (given.rpo)
		json_object_set_new(request, "rpo_ns", json_integer((json_int_t)given.rpo));
	if (given.rto)
		json_object_set_new(request, "rto_ns", json_integer((json_int_t)given.rto));
}

static int invite(struct context *context, int count, char **arguments)
{
	const char *pair = arguments[0], *token;
	json_t *request, *reply;
	int code = check_pair_name(pair);

	(void)count;
	if (code)
		return code;
	if (volume_option_count() == 0)
		return misuse("pair invite: which volumes? Add --volume NAME=PATH for each; "
		              "see stead pair invite --help");
	request = json_pack("{s:s,s:s}", "command", CONTROL_PAIR_INVITE, "pair", pair);
	add_given(request);
	code = daemon_ask(context, DAEMON_RECEIVER, request, ASK_WAIT, &reply);
	if (code)
		return code;
	token = json_string_value(json_object_get(reply, "token"));
	if (token) {
		printf("%s\n", token);
		fflush(stdout);
		fprintf(stderr,
		        "On the primary, once and before it expires: stead pair join TOKEN --volume NAME=PATH\n");
	} else {
		code = refuse("stead-receiver made no token; is it of the same version?");
	}
	json_decref(reply);
	return code;
}

static int read_token(const char *argument, char *text, size_t size)
{
	struct token token;
	struct error err;
	size_t length;
	int error;

	if (!strcmp(argument, "-")) {
		if (!fgets(text, (int)size, stdin))
			return misuse("pair join -: no token on standard input");
	} else {
		snprintf(text, size, "%s", argument);
	}
	length = strcspn(text, "\r\n");
	text[length] = '\0';
	error = token_decode(text, (int64_t)time(NULL), &token, &err);
	memset(&token, 0, sizeof(token));
	return error ? refuse("%s", err.text) : EXIT_DONE;
}

static void print_text(json_t *reply, const char *key, const char *format)
{
	const char *text = json_string_value(json_object_get(reply, key));

	if (text)
		printf(format, text);
}

static void print_joined(json_t *reply)
{
	json_t *volume;
	size_t i;

	print_text(reply, "pair", "Pair %s: this node is the primary");
	print_text(reply, "peer", ", the standby is at %s");
	printf(".\n");
	json_array_foreach(json_object_get(reply, "volumes"), i, volume)
	{
		const char *name = json_string_value(json_object_get(volume, "name"));
		const char *device = json_string_value(json_object_get(volume, "device"));
		char size[CELL_MAX];

		printf("  %s, %s: use it through %s\n", name ? name : "?",
		       size_cell(json_object_get(volume, "bytes"), size), device ? device : "(not exported yet)");
	}
	print_text(reply, "pair", "Watch the first full sync: stead status %s --watch\n");
}

static int join(struct context *context, int count, char **arguments)
{
	char token[TOKEN_TEXT_MAX + 64];
	json_t *request, *reply;
	int code;

	(void)count;
	if (volume_option_count() == 0)
		return misuse("pair join: which volumes? Add --volume NAME=PATH for each; see stead pair join --help");
	code = read_token(arguments[0], token, sizeof(token));
	if (code)
		return code;
	request = json_pack("{s:s,s:s}", "command", CONTROL_PAIR_JOIN, "token", token);
	add_given(request);
	memset(token, 0, sizeof(token));
	code = daemon_ask(context, DAEMON_AGENT, request, ASK_WAIT, &reply);
	if (code)
		return code;
	print_joined(reply);
	json_decref(reply);
	return EXIT_DONE;
}

// Whether the daemon runs the pair, and that it answers at all.
static int find_pair(struct context *context, enum daemon_role daemon, const char *pair, bool *runs_pair, bool *running)
{
	json_t *reply;
	int code = daemon_ask_if_running(
	        context, daemon, json_pack("{s:s,s:s}", "command", CONTROL_STATUS, "pair", pair), ASK_SOON, &reply);

	*running = reply != NULL;
	*runs_pair = json_array_size(json_object_get(reply, "pairs")) > 0;
	json_decref(reply);
	return code;
}

static int remove_from(struct context *context, enum daemon_role daemon, const char *pair)
{
	json_t *reply;
	int code = daemon_ask(context, daemon, json_pack("{s:s,s:s}", "command", CONTROL_PAIR_REMOVE, "pair", pair),
	                      ASK_WAIT, &reply);

	if (code == EXIT_DONE)
		printf("Pair %s is removed from this node; its volumes stay as they are.\n", pair);
	json_decref(reply);
	return code;
}

static int remove_pair(struct context *context, int count, char **arguments)
{
	bool runs_pair[2], running[2];
	const char *pair = arguments[0];
	char file[PATHS_MAX], how[HOW_TO_START_MAX];
	struct pair_config config;
	struct error err;
	int code = check_pair_name(pair);

	(void)count;
	for (int daemon = DAEMON_AGENT; !code && daemon <= DAEMON_RECEIVER; daemon++) {
		code = find_pair(context, (enum daemon_role)daemon, pair, &runs_pair[daemon], &running[daemon]);
		if (!code && runs_pair[daemon])
			return remove_from(context, (enum daemon_role)daemon, pair);
	}
	if (code)
		return code;
	if (config_read(path_config(&context->paths, pair, file), &config, &err) == -ENOENT)
		return unknown_pair(context, pair, "");
	for (int daemon = DAEMON_AGENT; daemon <= DAEMON_RECEIVER; daemon++)
		if (!running[daemon])
			return refuse("%s is not running here and may be the one that has %s; start it: %s",
			              daemon_name((enum daemon_role)daemon), pair,
			              how_to_start(context, (enum daemon_role)daemon, how));
	// Configured, but neither could start it: its state says whose it is.
	return remove_from(context, DAEMON_RECEIVER, pair);
}

static const struct option invite_options[] = {
        {"volume", required_argument, NULL, OPTION_VOLUME},
        {"listen", required_argument, NULL, OPTION_LISTEN},
        {"expires", required_argument, NULL, OPTION_EXPIRES},
        {0},
};

const struct command command_invite = {
        .name = "pair invite",
        .brief = "make a token, on the standby",
        .help = "Usage: stead pair invite PAIR --volume NAME=PATH [--volume ...] [options]\n"
                "\n"
                "On the node that is to be the standby: prints a token, valid once, that the\n"
                "primary joins with. Whoever has the token may join: keep it secret.\n"
                "\n"
                "  --volume NAME=PATH  a block device or image file, at least as large as on\n"
                "                      the primary; its content will be replaced\n"
                "  --listen ADDR       HOST:PORT where the primary reaches this node\n"
                "  --expires TIME      how long the token is valid (default 1h)\n"
                "  --root DIR          the node below DIR (default /)\n"
                "\n"
                "Example: stead pair invite db --volume data=/dev/vg/data --listen node2:7420\n",
        .options = invite_options,
        .least = 1,
        .most = 1,
        .missing = "which pair? Give it a name",
        .option = pair_option,
        .run = invite,
};

static const struct option join_options[] = {
        {"volume", required_argument, NULL, OPTION_VOLUME}, {"listen", required_argument, NULL, OPTION_LISTEN},
        {"export", required_argument, NULL, OPTION_EXPORT}, {"rpo", required_argument, NULL, OPTION_RPO},
        {"rto", required_argument, NULL, OPTION_RTO},       {0},
};

const struct command command_join = {
        .name = "pair join",
        .brief = "join a standby with its token, on the primary",
        .help = "Usage: stead pair join TOKEN --volume NAME=PATH [--volume ...] [options]\n"
                "\n"
                "On the node that has the data: pairs with the standby that made the token,\n"
                "exports the volumes, and begins the first full sync. From then on use the\n"
                "volumes only through what is exported. TOKEN - reads it from standard input.\n"
                "\n"
                "  --volume NAME=PATH  names as in the invitation, paths of this node\n"
                "  --export KIND       what the volumes are used through: ublk or nbd (a block\n"
                "                      device), socket (NBD), or auto (default): the first\n"
                "                      of them that works on this machine\n"
                "  --listen ADDR       HOST:PORT where the standby reaches this node's own\n"
                "                      receiver once the roles have swapped\n"
                "  --rpo TIME          how much may be lost at most (default 5s)\n"
                "  --rto TIME          how long a promotion may take (default 60s)\n"
                "  --root DIR          the node below DIR (default /)\n",
        .options = join_options,
        .least = 1,
        .most = 1,
        .missing = "which token? stead pair invite on the standby prints it",
        .option = pair_option,
        .run = join,
};

const struct command command_remove = {
        .name = "pair remove",
        .brief = "forget a pair on this node",
        .help = "Usage: stead pair remove PAIR\n"
                "\n"
                "Ends replication of the pair on this node and forgets its configuration and\n"
                "state. The volumes and their content stay. Do the same on the other node.\n"
                "\n"
                "  --root DIR  the node below DIR (default /)\n",
        .least = 1,
        .most = 1,
        .missing = "which pair? stead status lists them",
        .run = remove_pair,
};
