// SPDX-License-Identifier: Apache-2.0
// volume accept
#include "common/control.h"
#include "common/state_file.h"
#include "daemon.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

// The daemon that has the pair, by its state.
static enum daemon_role daemon_of(struct context *context, const char *pair)
{
	char path[PATHS_MAX];
	struct pair_state state;

	if (state_file_read(path_pair_file(&context->paths, pair, FILE_STATE, path), &state, NULL) < 0)
		return DAEMON_AGENT;
	return state.role == ROLE_STANDBY ? DAEMON_RECEIVER : DAEMON_AGENT;
}

static int accept_volume(struct context *context, int count, char **arguments)
{
	const char *pair = arguments[0], *volume = arguments[1], *role;
	json_t *reply;
	int code = check_pair(context, pair);

	(void)count;
	if (!code)
		code = daemon_ask(
		        context, daemon_of(context, pair),
		        json_pack("{s:s,s:s,s:s}", "command", CONTROL_VOLUME_ACCEPT, "pair", pair, "volume", volume),
		        ASK_WAIT, &reply);
	if (code)
		return code;
	role = json_string_value(json_object_get(reply, "role"));
	printf("Pair %s: volume %s is taken as it is now.\n", pair, volume);
	if (role && !strcmp(role, "standby"))
		printf("All of the pair is compared with the primary, and what differs is overwritten here. Until\n"
		       "that is complete this standby holds nothing to be promoted to; see stead status %s.\n",
		       pair);
	else
		printf("All of the pair is compared with the standby, and what differs is overwritten there. Until\n"
		       "that is complete the standby stays at its last recovery point; see stead status %s.\n",
		       pair);
	json_decref(reply);
	return EXIT_DONE;
}

const struct command command_volume_accept = {
        .name = "volume accept",
        .brief = "take a volume as it is, after it was refused",
        .help = "Usage: stead volume accept PAIR VOLUME\n"
                "\n"
                "On the node whose volume it is. A volume that is not the disk that it was, or\n"
                "was written to or restored while stead did not run it, is refused. This takes\n"
                "it as it is now:\n"
                "\n"
                "  on the primary  its content is right. All of the pair is compared, and what\n"
                "                  differs is overwritten on the standby, in one step\n"
                "  on the standby  its content is not. All of the pair is compared, and what\n"
                "                  differs is overwritten here; until that is complete there is\n"
                "                  nothing to be promoted to\n"
                "\n"
                "Where the primary's disk is the wrong one, do not accept it: promote the\n"
                "standby.\n"
                "\n"
                "  --root DIR  the node below DIR (default /)\n",
        .least = 2,
        .most = 2,
        .missing = "which pair, and which volume? stead status PAIR lists them",
        .run = accept_volume,
};
