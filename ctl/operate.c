// SPDX-License-Identifier: Apache-2.0
// pause, resume
#include "common/control.h"
#include "daemon.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

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
