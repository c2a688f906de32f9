// SPDX-License-Identifier: Apache-2.0
#include "daemon.h"
#include "common/control.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

const char *daemon_name(enum daemon_role daemon)
{
	return daemon == DAEMON_AGENT ? "stead-agent" : "stead-receiver";
}

static const char *socket_path(const struct context *context, enum daemon_role daemon)
{
	return daemon == DAEMON_AGENT ? context->paths.agent_socket : context->paths.receiver_socket;
}

char *how_to_start(struct context *context, enum daemon_role daemon, char text[HOW_TO_START_MAX])
{
	if (*context->paths.root)
		snprintf(text, HOW_TO_START_MAX, "%s --root %s", daemon_name(daemon), context->paths.root);
	else
		snprintf(text, HOW_TO_START_MAX, "systemctl start %s", daemon_name(daemon));
	return text;
}

static int ask(struct context *context, enum daemon_role daemon, json_t *request, int timeout, json_t **reply,
               bool must_run)
{
	char how[HOW_TO_START_MAX];
	struct error err;
	int error = control_ask(socket_path(context, daemon), request, timeout, reply, &err);

	if (!error)
		return EXIT_DONE;
	*reply = NULL;
	if (error == -ENOTCONN && !must_run)
		return EXIT_DONE;
	if (error == -ENOTCONN)
		return refuse("%s is not running here; start it: %s", daemon_name(daemon),
		              how_to_start(context, daemon, how));
	if (error == -EACCES || error == -EPERM)
		return refuse("%s: no permission to talk to %s; only its user may, usually root",
		              socket_path(context, daemon), daemon_name(daemon));
	return refuse("%s", printable(err.text));
}

int daemon_ask(struct context *context, enum daemon_role daemon, json_t *request, int timeout, json_t **reply)
{
	return ask(context, daemon, request, timeout, reply, true);
}

int daemon_ask_if_running(struct context *context, enum daemon_role daemon, json_t *request, int timeout,
                          json_t **reply)
{
	return ask(context, daemon, request, timeout, reply, false);
}
