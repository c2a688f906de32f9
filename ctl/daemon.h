// SPDX-License-Identifier: Apache-2.0
// The two daemons of this node, as the command sees them.
#ifndef STEAD_CTL_DAEMON_H
#define STEAD_CTL_DAEMON_H

#include "ctl.h"

enum daemon_role {
	DAEMON_AGENT,
	DAEMON_RECEIVER,
};

#define ASK_SOON 10000 // ms; for what a daemon answers from memory
#define ASK_WAIT (-1) // for work that takes as long as it takes

const char *daemon_name(enum daemon_role daemon);

// Takes the request over. Exit codes, everything said; the reply is the
// caller's when DONE.
int daemon_ask(struct context *context, enum daemon_role daemon, json_t *request, int timeout, json_t **reply);

// The same, but a daemon that does not run is no failure: *reply is NULL then.
int daemon_ask_if_running(struct context *context, enum daemon_role daemon, json_t *request, int timeout,
                          json_t **reply);

// How to start it here. Returns text.
#define HOW_TO_START_MAX 1200
char *how_to_start(struct context *context, enum daemon_role daemon, char text[HOW_TO_START_MAX]);

#endif
