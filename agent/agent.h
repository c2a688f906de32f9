// SPDX-License-Identifier: Apache-2.0
// The agent: the pairs that this node serves as primary, and what they share.
// Everything here is of the loop's thread.
#ifndef STEAD_AGENT_H
#define STEAD_AGENT_H

#include "buffers.h"

#include "common/control.h"
#include "common/hooks.h"
#include "common/lineage.h"
#include "common/loop.h"
#include "common/paths.h"
#include "common/tls.h"

#include <jansson.h>
#include <sys/queue.h>

struct daemon;
struct pair;
struct join;

struct agent {
	struct daemon *daemon;
	struct loop *loop;
	struct paths paths;
	struct tls_context *tls;
	struct id boot; // of this boot of the machine
	struct buffers *buffers; // of all exports
	struct hooks *hooks;
	bool stopping;
	unsigned busy; // work under way that no pair or join stands for
	TAILQ_HEAD(, pair) pairs;
	TAILQ_HEAD(, join) joins; // under way
};

// control.c: a new array of status_json(), of all pairs or those of the name.
json_t *agent_status(struct agent *agent, const char *name);

// control.c: every command of the control socket.
void agent_control(void *user, struct control_call *call, const char *command, json_t *request);

// A pair or a join is gone, or other work is done.
void agent_settle(struct agent *agent);

// join.c: the primary's half of pairing. The call is answered when the pair
// runs, or with the reason.
void join_start(struct agent *agent, struct control_call *call, json_t *request);
void joins_abort(struct agent *agent); // the agent stops

#endif
