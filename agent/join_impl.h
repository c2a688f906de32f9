// SPDX-License-Identifier: Apache-2.0
// What join.c and join_talk.c share of a join.
#ifndef STEAD_JOIN_IMPL_H
#define STEAD_JOIN_IMPL_H

#include "agent.h"

#include "common/channel.h"
#include "common/config.h"
#include "common/job.h"
#include "common/link_thread.h"
#include "common/state.h"
#include "common/token.h"
#include "common/wire.h"

struct join {
	TAILQ_ENTRY(join) entry;
	struct agent *agent;
	struct control_call *call;
	struct token token;
	struct pair_config config;
	struct pair_state state;
	bool prepared, aborted, working, waiting;
	int result;
	struct error reason;
	struct job job;
	struct link_thread *links;
	struct channel *channel;
	struct timer timer;
	uint8_t expected[TOKEN_PROOF_BYTES]; // of the standby
	struct message message;
	uint8_t body[WIRE_BODY_MAX];
};

// join.c
void join_commit(struct join *join); // the standby has proved that it knows the secret
void join_give_up(struct join *join); // reason is set

// join_talk.c: dials, sends JOIN, and calls one of the two.
void join_talk(struct join *join);

#endif
